"""A stand-in for an engine, so that everything here runs before yours does.

It reads a JSON object a line from its standard input and answers in the same way: the words of the
prompt, again and again, one every few milliseconds. Needs the standard library only.
"""

import argparse
import itertools
import json
import sys
import time

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--pause-ms", type=float, default=2, help="time of a token")
options = parser.parse_args()


def answer(**fields):
    print(json.dumps(fields), flush=True)


for line in sys.stdin:
    ask = json.loads(line)
    if ask["op"] != "generate":
        answer(id=ask["id"], done="ok")
        continue
    if ask.get("stop") or ask.get("top_p") is not None:
        answer(id=ask["id"], error="this engine has neither `stop` nor `top_p`")
        continue
    prompt = ask["prompt"] if "prompt" in ask else ask["messages"][-1]["content"]
    words = prompt.split() or ["nothing"]
    for word in itertools.islice(itertools.cycle(words), ask["max_tokens"]):
        time.sleep(options.pause_ms / 1000)
        answer(id=ask["id"], text=word + " ")
    counts = {"prompt_tokens": len(words), "output_tokens": ask["max_tokens"]}
    answer(id=ask["id"], done="length", **counts)
