"""An adapter for the program in toy/engine.py, which speaks lines of JSON. Change `encode` and
`decode` to your engine's words.

prony sends and receives; this says what to send, and explains afterwards what came back.
"""

import json

from prony_plugin import Command, Ending, Error, Message, Ready, StdioPlan

MANIFEST = {
    "description": "{{ description }}",
    # Leave out "chat" if the engine takes plain prompts only; prony then renders conversations.
    "apis": ["chat", "completions"],
    "history": True,
    "config_schema": {
        "type": "object",
        "additionalProperties": False,
        "required": ["command"],
        "properties": {
            "command": {
                "type": "array",
                "items": {"type": "string"},
                "minItems": 1,
                "description": "Program and arguments, for example `[python3, toy/engine.py]`.",
            },
        },
    },
}


def message(id, **line):
    """A line that is answered by lines with its id, the last one with `done` or `error`."""
    return Message({"id": id, **line}, [str(id)], [Ending("/done"), Ending("/error", failed=True)])


def launch(config, model):
    """How to start the engine, and how its lines belong to messages."""
    return StdioPlan(
        Command(config["command"]),
        Ready(),
        id_at=["/id"],
        opening=[message(0, op="load", model=model.path or model.id)],
        closing=[message(0, op="unload")],
    )


def encode(config, model, request, number):
    """One request. All that is in it is sent, or refused: other engines get the same work."""
    line = {
        "op": "generate",
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "seed": request.seed,
        "ignore_eos": request.ignore_eos,
    }
    if request.api == "completions":
        if request.system is not None or request.history:
            raise Error("unsupported", "a plain completion has neither system message nor history: use `api: chat`")
        line["prompt"] = request.prompt
    else:
        system = [("system", request.system)] if request.system is not None else []
        said = system + [(it.role, it.content) for it in request.history] + [("user", request.prompt)]
        line["messages"] = [{"role": role, "content": content} for role, content in said]
    if request.top_p is not None:
        line["top_p"] = request.top_p
    if request.stop:
        line["stop"] = request.stop
    return message(number, **line)


def decode(config, response, events):
    """What came back: the request's own lines, with `text`, or `error`, or `done` at the end."""
    for read, line in response.lines():
        said = json.loads(line)
        if "error" in said:
            events.failure(read, str(said["error"]))
        if said.get("text"):
            events.text(read, 1, said["text"])
        if "done" in said:
            events.count(read, "prompt-tokens", said["prompt_tokens"])
            events.count(read, "output-tokens", said["output_tokens"])
            events.finish(read, said["done"])
            events.end(read)
