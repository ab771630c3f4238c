"""An adapter for the server in toy/server.py. Change `encode` and `decode` to your engine's words.

prony sends and receives; this says what to send, and explains afterwards what came back.
"""

import json

from prony_plugin import Error, Ready, attach, post_json, spawn

MANIFEST = {
    "description": "{{ description }}",
    # Leave out "chat" if the engine takes plain prompts only; prony then renders conversations.
    "apis": ["chat", "completions"],
    "history": True,
    "config_schema": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "base_url": {
                "type": "string",
                "description": "Address of a server that runs, for example `http://127.0.0.1:8000`.",
            },
            "program": {
                "type": "array",
                "items": {"type": "string"},
                "minItems": 1,
                "description": "Command that starts a server; `--host` and `--port` are added.",
            },
        },
    },
}


def launch(config, model, at):
    """How to start or reach the engine."""
    ready = Ready(http="/health")
    if "base_url" in config:
        return attach(config["base_url"], ready)
    if "program" in config:
        return spawn(config["program"] + ["--host", at.host, "--port", str(at.port)], at, ready)
    raise Error("invalid-config", "give `base_url` of a server that runs, or `program` to start one")


def encode(config, model, request):
    """One request. All that is in it is sent, or refused: other engines get the same work."""
    body = {
        "model": model.id,
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "seed": request.seed,
        "ignore_eos": request.ignore_eos,
    }
    if request.api == "completions":
        if request.system is not None or request.history:
            raise Error("unsupported", "a plain completion has neither system message nor history: use `api: chat`")
        body["prompt"] = request.prompt
    else:
        system = [("system", request.system)] if request.system is not None else []
        said = system + [(it.role, it.content) for it in request.history] + [("user", request.prompt)]
        body["messages"] = [{"role": role, "content": content} for role, content in said]
    if request.top_p is not None:
        body["top_p"] = request.top_p
    if request.stop:
        body["stop"] = request.stop
    return post_json("/generate", body)


def decode(config, response, events):
    """What came back: a JSON object a line, with `text`, or `error`, or `done` at the end."""
    if response.status != 200:
        events.failure(response.last_read, response.text()[:200] or f"status {response.status}")
        return
    for read, line in response.lines():
        if not line.strip():
            continue
        message = json.loads(line)
        if "error" in message:
            events.failure(read, str(message["error"]))
        if message.get("text"):
            events.text(read, 1, message["text"])
        if "done" in message:
            events.count(read, "prompt-tokens", message["prompt_tokens"])
            events.count(read, "output-tokens", message["output_tokens"])
            events.finish(read, message["done"])
            events.end(read)
