"""prony's lines of JSON (docs/stdio.md) for any library. Needs the standard library only.

load(model, **options) returns generate(ask, emit), which calls emit(text, tokens) for each piece
of the answer and returns the fields of the last line, such as finish_reason and output_tokens.
"""

import json
import os
import sys
import time


def serve(load):
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # What the library prints goes to the log.
    generate = None
    for line in sys.stdin:
        ask = {}

        def answer(**fields):
            answers.write(json.dumps({"id": ask.get("id"), **fields}) + "\n")
            answers.flush()

        def emit(text, tokens=None):
            # Not time.monotonic_ns(), which is another clock on macOS.
            answer(at_ns=time.clock_gettime_ns(time.CLOCK_MONOTONIC), text=text, tokens=tokens)

        try:
            ask.update(json.loads(line))
            last = {}
            if ask["op"] == "load":
                generate = load(ask["model"], **ask["options"])
            elif ask["op"] == "generate":
                last = generate(ask, emit)
            answer(done=True, **last)
        except Exception as error:
            answer(error=f"{type(error).__name__}: {error}")
