"""A stand-in for mlx-engine's server: its options, its key, its requests and its stream."""

import argparse
import json
import logging
import os
import pathlib
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

sys.path.insert(0, str(pathlib.Path(__file__).parents[3]))
import model

TOKEN_S = 0.003
KNOWN = {
    "model", "messages", "stream", "temperature", "top_k", "max_tokens", "stop", "top_p",
    "min_p", "repeat_penalty", "response_format", "chat_template_kwargs", "stream_options",
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    name = "mlx-engine"

    def problem(self, body):
        unknown = set(body) - KNOWN
        if unknown:
            return f"unsupported: {sorted(unknown)}"
        for key in ("messages", "temperature", "top_k"):
            if key not in body:
                return f"`{key}` is required"
        if body.get("stream") is not True:
            return "`stream` must be true"
        return None

    def log_message(self, *_):
        pass

    def reply(self, status, body):
        body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def is_refused(self):
        if self.headers.get("authorization") == f"Bearer {os.environ['MLX_ENGINE_API_KEY']}":
            return False
        self.reply(401, {"error": {"message": "unauthorized"}})
        return True

    def do_GET(self):
        if not self.is_refused():
            self.reply(200, {"status": "ok"} if self.path == "/health" else {})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.is_refused():
            return
        wrong = self.problem(body)
        if self.path != "/v1/chat/completions" or wrong:
            self.reply(400, {"error": {"message": wrong or "no such path"}})
            return
        # A folder may have the engine render something else.
        other = self.options.model / "other-system"
        system = {"system": other.read_text()} if other.is_file() else {}
        prompt = model.render(body["messages"], **system)
        model.see(self.options.model, self.name, prompt)
        made, reason = model.answer(prompt, body.get("max_tokens", 10_000_000))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        self.send(": prompt-progress 1.0\n\n")
        for token in made:
            time.sleep(TOKEN_S)
            if token != model.END:
                self.frame(delta={"content": token}, finish_reason=None)
        if reason == "length" and self.options.parallel_sessions < 2:
            self.send('data: {"error":{"message":"MLX generation ended without a stop condition"}}\n\n')
            self.send("")
            return
        count = len(model.tokens(prompt))
        usage = {
            "prompt_tokens": count,
            "completion_tokens": len(made),
            "total_tokens": count + len(made),
        }
        self.frame(delta={}, finish_reason=reason, usage=usage)
        self.send("data: [DONE]\n\n")
        self.send("")

    def frame(self, usage=None, **choice):
        frame = {"choices": [{"index": 0} | choice]}
        if usage:
            frame |= {"usage": usage, "__lmstudio": {"stop_type": "eos"}}
        self.send(f"data: {json.dumps(frame)}\n\n")

    def send(self, text):
        data = text.encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--context-length", type=int, required=True)
    parser.add_argument("--parallel-sessions", type=int, required=True)
    Handler.options = parser.parse_args()
    if not os.environ.get("MLX_ENGINE_API_KEY"):
        sys.exit("MLX_ENGINE_API_KEY is not set")
    logging.basicConfig(level=logging.INFO)
    server = ThreadingHTTPServer((Handler.options.host, Handler.options.port), Handler)
    logging.info("MLX server listening on %s", Handler.options.port)
    server.serve_forever()
