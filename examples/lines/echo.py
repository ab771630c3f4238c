"""A skeleton: repeats the words of the prompt, one every few milliseconds."""

import itertools
import time

from lines import serve


def load(model, pause_ms=2):
    def generate(ask, emit):
        for key in ("stop", "top_p"):
            if key in ask:
                raise ValueError(f"this engine has no `{key}`")
        prompt = ask.get("prompt") or ask["messages"][-1]["content"]
        words = prompt.split()
        for word in itertools.islice(itertools.cycle(words), ask["max_tokens"]):
            time.sleep(pause_ms / 1000)
            emit(word + " ", tokens=1)
        return {
            "finish_reason": "length",
            "prompt_tokens": len(words),
            "cached_tokens": 0,
            "output_tokens": ask["max_tokens"],
            "model": model,
        }

    return generate


serve(load)
