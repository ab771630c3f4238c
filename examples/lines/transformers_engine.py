"""Hugging Face transformers on any device: pip install torch transformers."""

import torch
import transformers
from lines import serve


class Streamer(transformers.generation.streamers.BaseStreamer):
    """Hands text over as soon as its last character is whole, with its number of tokens."""

    def __init__(self, tokenizer, emit):
        self.tokenizer, self.emit = tokenizer, emit
        self.tokens, self.told, self.shown = None, 0, ""

    def put(self, tokens):
        if self.tokens is None:
            self.tokens = []  # The first call has the prompt.
            return
        self.tokens += tokens.flatten().tolist()
        self.hand_over(is_last=False)

    def end(self):
        self.hand_over(is_last=True)

    def hand_over(self, is_last):
        text = self.tokenizer.decode(self.tokens)
        if len(self.tokens) > self.told and (is_last or not text.endswith("\ufffd")):
            self.emit(text[len(self.shown) :], tokens=len(self.tokens) - self.told)
            self.told, self.shown = len(self.tokens), text


def load(model, device="cpu", attention="sdpa", dtype="auto"):
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    net = transformers.AutoModelForCausalLM.from_pretrained(
        model, dtype=dtype, attn_implementation=attention
    ).to(device)

    def generate(ask, emit):
        if "stop" in ask:
            raise ValueError("this engine has no `stop`")
        if "messages" in ask:
            prompt = tokenizer.apply_chat_template(
                ask["messages"], add_generation_prompt=True, tokenize=False
            )
        else:
            prompt = ask["prompt"]
        tokens = tokenizer(prompt, return_tensors="pt", add_special_tokens="messages" not in ask)
        tokens = tokens.to(device)
        options = {"do_sample": ask["temperature"] > 0, "max_new_tokens": ask["max_tokens"]}
        if options["do_sample"]:
            torch.manual_seed(ask["seed"])
            options |= {"temperature": ask["temperature"], "top_p": ask.get("top_p", 1.0)}
        if ask.get("ignore_eos"):
            options["min_new_tokens"] = ask["max_tokens"]
        answer = net.generate(**tokens, **options, streamer=Streamer(tokenizer, emit))
        count = answer.shape[1] - tokens["input_ids"].shape[1]
        return {
            "finish_reason": "length" if count >= ask["max_tokens"] else "stop",
            "prompt_tokens": tokens["input_ids"].shape[1],
            "cached_tokens": 0,
            "output_tokens": count,
            "version": transformers.__version__,
        }

    return generate


serve(load)
