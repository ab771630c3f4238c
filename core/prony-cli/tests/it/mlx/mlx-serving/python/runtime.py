"""A stand-in for mlx-serving's Python runtime: JSON-RPC 2.0 over standard input and output."""

import json
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))
import model

TOKEN_S = 0.012


def send(message):
    print(json.dumps({"jsonrpc": "2.0"} | message), flush=True)


def notify(method, params):
    send({"method": method, "params": params})


def load_model(params):
    folder = pathlib.Path(params["model_id"])
    if not (folder / "tokenizer_config.json").is_file():
        raise RuntimeError(f"Failed to load model: {folder}")
    return {"model_id": params["model_id"], "state": "ready", "context_length": params.get("context_length")}


def generate(params, answer_to):
    """Answers at once, then notifies: tokens one by one, and the last ones together."""
    begin, stream = time.monotonic(), {"stream_id": params["stream_id"]}
    send({"id": answer_to, "result": stream | {"started_at": time.time()}})
    model.see(params["model_id"], "mlx-serving", params["prompt"])
    made, reason = model.answer(params["prompt"], params["max_tokens"])
    text, first, rest = "", None, []
    for index, token in enumerate(made):
        time.sleep(TOKEN_S)
        first = first or time.monotonic() - begin
        text += "" if token == model.END else token
        one = {
            "token": "" if token == model.END else token, "token_id": index,
            "is_final": False, "cumulative_text": text, "logprob": 0.0,
        }
        if index < len(made) - 2:
            notify("stream.chunk", stream | one)
        else:
            rest.append(stream | one)
    notify("stream.chunk", stream | {"tokens": rest, "batch_size": len(rest), "is_batch": True})
    total = time.monotonic() - begin
    notify("stream.stats", stream | {
        "tokens_generated": len(made), "tokens_per_second": len(made) / total,
        "time_to_first_token": first, "total_time": total,
    })
    notify("stream.event", stream | {"event": "completed", "is_final": True, "finish_reason": reason})


def main():
    pathlib.Path("config/runtime.yaml").read_text()
    print("MLX Runtime ready", file=sys.stderr, flush=True)
    for line in sys.stdin:
        call = json.loads(line)
        method, params, answer_to = call["method"], call.get("params", {}), call["id"]
        try:
            if method == "generate":
                generate(params, answer_to)
                continue
            known = {"load_model": load_model, "unload_model": lambda _: {"success": True}}
            if method == "shutdown":
                send({"id": answer_to, "result": {"success": True}})
                return
            if method not in known:
                send({"id": answer_to, "error": {"code": -32602, "message": f"Unknown method: {method}"}})
                continue
            send({"id": answer_to, "result": known[method](params)})
        except RuntimeError as error:
            send({"id": answer_to, "error": {"code": -32001, "message": str(error)}})


if __name__ == "__main__":
    main()
