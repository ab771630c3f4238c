"""OpenVINO GenAI, which reads GGUF files itself: pip install openvino-genai."""

import openvino_genai as ov
from lines import serve


def load(model, device="CPU", **properties):
    pipeline = ov.LLMPipeline(model, device, **properties)

    def generate(ask, emit):
        config = ov.GenerationConfig()
        config.max_new_tokens = ask["max_tokens"]
        config.ignore_eos = ask.get("ignore_eos", False)
        config.stop_strings = set(ask.get("stop", []))
        config.do_sample = ask["temperature"] > 0
        if config.do_sample:
            config.temperature = ask["temperature"]
            config.top_p = ask.get("top_p", 1.0)
            config.rng_seed = ask["seed"]
        config.apply_chat_template = "messages" in ask
        prompt = ov.ChatHistory(ask["messages"]) if "messages" in ask else ask["prompt"]

        def streamer(text):
            # A text may be of several tokens, and the library does not say of how many.
            emit(text)
            return ov.StreamingStatus.RUNNING

        result = pipeline.generate(prompt, config, streamer)
        told = result.perf_metrics
        tokens = told.get_num_generated_tokens()
        return {
            "finish_reason": result.finish_reasons[0].name.lower(),
            "prompt_tokens": told.get_num_input_tokens(),
            "output_tokens": tokens,
            "prefill_ns": round(told.get_ttft().mean * 1e6),
            "decode_ns": round(told.get_tpot().mean * 1e6 * max(tokens - 1, 0)),
            "version": ov.__version__,
        }

    return generate


serve(load)
