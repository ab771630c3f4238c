"""Makes the folder of a random Llama with a byte-level vocabulary: tiny-llama.py FOLDER

It answers nonsense, which takes an engine the same steps as sense does. Needs numpy,
safetensors and tokenizers.
"""

import json
import pathlib
import sys

import numpy
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

HIDDEN, LAYERS, HEADS, KV_HEADS = 64, 2, 4, 2
SPECIAL = ["<pad>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = """{% for message in messages %}<|im_start|>{{ message['role'] }}
{{ message['content'] }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def weights(vocabulary):
    random = numpy.random.default_rng(0)

    def matrix(*shape):
        return (random.standard_normal(shape) * 0.05).astype(numpy.float32)

    ones = numpy.ones(HIDDEN, numpy.float32)
    head = HIDDEN // HEADS
    tensors = {
        "model.embed_tokens.weight": matrix(vocabulary, HIDDEN),
        "model.norm.weight": ones,
        "lm_head.weight": matrix(vocabulary, HIDDEN),
    }
    for layer in range(LAYERS):
        at = f"model.layers.{layer}."
        tensors |= {
            at + "self_attn.q_proj.weight": matrix(HIDDEN, HIDDEN),
            at + "self_attn.k_proj.weight": matrix(KV_HEADS * head, HIDDEN),
            at + "self_attn.v_proj.weight": matrix(KV_HEADS * head, HIDDEN),
            at + "self_attn.o_proj.weight": matrix(HIDDEN, HIDDEN),
            at + "mlp.gate_proj.weight": matrix(2 * HIDDEN, HIDDEN),
            at + "mlp.up_proj.weight": matrix(2 * HIDDEN, HIDDEN),
            at + "mlp.down_proj.weight": matrix(HIDDEN, 2 * HIDDEN),
            at + "input_layernorm.weight": ones,
            at + "post_attention_layernorm.weight": ones,
        }
    return tensors


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    # Every byte is a token, so nothing has to be trained.
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate(SPECIAL + alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    tokenizer.save(str(folder / "tokenizer.json"))
    save_file(weights(len(vocabulary)), folder / "model.safetensors", metadata={"format": "mlx"})
    ends = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    config = ends | {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": HIDDEN,
        "intermediate_size": 2 * HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HIDDEN // HEADS,
        "rms_norm_eps": 1e-5,
        "vocab_size": len(vocabulary),
        "rope_theta": 10000.0,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": False,
        "hidden_act": "silu",
        "torch_dtype": "float32",
    }
    of_tokenizer = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<pad>",
        "model_max_length": 4096,
        "clean_up_tokenization_spaces": False,
        "chat_template": TEMPLATE,
    }
    for name, content in [
        ("config.json", config),
        ("generation_config.json", ends),
        ("tokenizer_config.json", of_tokenizer),
    ]:
        (folder / name).write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
