"""MLX LM, the library beneath mlx_lm.server: pip install mlx-lm (on Linux also "mlx[cpu]")."""

import importlib.metadata

import mlx.core as mx
import mlx_lm
from lines import serve
from mlx_lm.sample_utils import make_sampler


def load(model):
    weights, tokenizer = mlx_lm.load(model)

    def generate(ask, emit):
        for key in ("stop", "ignore_eos"):
            if key in ask:
                raise ValueError(f"this engine has no `{key}`")
        if "messages" in ask:
            prompt = tokenizer.apply_chat_template(ask["messages"], add_generation_prompt=True)
        else:
            prompt = tokenizer.encode(ask["prompt"])
        mx.random.seed(ask["seed"])
        sampler = make_sampler(temp=ask["temperature"], top_p=ask.get("top_p", 0.0))
        answer = mlx_lm.stream_generate(
            weights, tokenizer, prompt, max_tokens=ask["max_tokens"], sampler=sampler
        )
        for last in answer:
            emit(last.text, tokens=1)
        return {
            "finish_reason": last.finish_reason,
            "prompt_tokens": last.prompt_tokens,
            "cached_tokens": 0,
            "output_tokens": last.generation_tokens,
            "model": model,
            "version": importlib.metadata.version("mlx-lm"),
        }

    return generate


serve(load)
