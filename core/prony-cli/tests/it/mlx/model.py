"""The model of both stand-ins: its tokens, its chat template and its answers.

They share nothing with prony: the template is the one in the folder's
`tokenizer_config.json`, written again by hand, and so is the tokenizer.
"""

import json
import pathlib
import re
import zlib

SPECIAL = re.compile(r"(<\|im_start\|>|<\|im_end\|>)")
WORDS = re.compile(r"\w+|[^\w\s]+")
END = "<|im_end|>"
# Tokens of an answer, the end token included.
LENGTH = 12


def tokens(text):
    parts = SPECIAL.split(text)
    return [t for part in parts for t in ([part] if SPECIAL.match(part) else WORDS.findall(part))]


def render(messages, system="You are a helpful assistant."):
    if messages[0]["role"] != "system":
        messages = [{"role": "system", "content": system}] + messages
    turns = [f"<|im_start|>{it['role']}\n{said(it['content'])}<|im_end|>\n" for it in messages]
    return "".join(turns) + "<|im_start|>assistant\n"


def said(content):
    """A text, or a list of parts: an image is a word of its bytes."""
    if isinstance(content, str):
        return content
    parts = [it.get("text") or f"image{zlib.crc32(it['image_url']['url'].encode())}" for it in content]
    return " ".join(parts)


def answer(prompt, max_tokens):
    """The tokens of the answer, and why it ends. Another prompt gives another answer."""
    seed = zlib.crc32(" ".join(tokens(prompt)).encode())
    words = [f" word{(seed >> shift) % 97}" for shift in range(LENGTH - 1)]
    full = words + [END]
    return full[:max_tokens], "stop" if max_tokens >= LENGTH else "length"


def see(folder, engine, prompt):
    """Keeps what the model was given, for the test."""
    with open(pathlib.Path(folder) / f"{engine}.jsonl", "a") as log:
        log.write(json.dumps(prompt) + "\n")
