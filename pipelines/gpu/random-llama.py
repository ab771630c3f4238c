"""Makes a random Llama, as a folder for transformers and as a GGUF file of the same shape:
random-llama.py FOLDER [HIDDEN LAYERS]

It answers nonsense, which takes an engine the same steps as sense does. Needs numpy, safetensors,
tokenizers and gguf. The default, 2048 and 24, has 1.5 billion weights.
"""

import json
import pathlib
import sys

import gguf
import numpy
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

HEAD, KV_HEADS, CONTEXT = 64, 8, 4096
SPECIAL = ["<pad>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = """{% for message in messages %}<|im_start|>{{ message['role'] }}
{{ message['content'] }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def shapes(hidden, layers, vocabulary):
    """Names in GGUF and in transformers, with the shape."""
    key = KV_HEADS * HEAD
    yield "token_embd", "model.embed_tokens", (vocabulary, hidden)
    yield "output_norm", "model.norm", (hidden,)
    yield "output", "lm_head", (vocabulary, hidden)
    for layer in range(layers):
        short, long = f"blk.{layer}.", f"model.layers.{layer}."
        yield short + "attn_norm", long + "input_layernorm", (hidden,)
        yield short + "attn_q", long + "self_attn.q_proj", (hidden, hidden)
        yield short + "attn_k", long + "self_attn.k_proj", (key, hidden)
        yield short + "attn_v", long + "self_attn.v_proj", (key, hidden)
        yield short + "attn_output", long + "self_attn.o_proj", (hidden, hidden)
        yield short + "ffn_norm", long + "post_attention_layernorm", (hidden,)
        yield short + "ffn_gate", long + "mlp.gate_proj", (4 * hidden, hidden)
        yield short + "ffn_up", long + "mlp.up_proj", (4 * hidden, hidden)
        yield short + "ffn_down", long + "mlp.down_proj", (hidden, 4 * hidden)


def write_folder(folder, hidden, layers, tokens):
    random = numpy.random.default_rng(0)
    tensors = {}
    for _, name, shape in shapes(hidden, layers, len(tokens)):
        norm = len(shape) == 1
        values = numpy.ones(shape) if norm else random.standard_normal(shape, numpy.float32) * 0.02
        tensors[name + ".weight"] = values.astype(numpy.float16)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": 4 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": hidden // HEAD,
        "num_key_value_heads": KV_HEADS,
        "max_position_embeddings": CONTEXT,
        "vocab_size": len(tokens),
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "dtype": "float16",
    }
    (folder / "config.json").write_text(json.dumps(config))
    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    tokenizer.save(str(folder / "tokenizer.json"))
    of_tokenizer = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": SPECIAL[1],
        "eos_token": SPECIAL[2],
        "pad_token": SPECIAL[0],
        "chat_template": TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(of_tokenizer))


def write_gguf(path, hidden, layers, tokens):
    random = numpy.random.default_rng(0)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(hidden)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(4 * hidden)
    writer.add_head_count(hidden // HEAD)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_dimension_count(HEAD)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(len(tokens))
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    control = [gguf.TokenType.CONTROL] * len(SPECIAL)
    writer.add_token_types(control + [gguf.TokenType.NORMAL] * (len(tokens) - len(SPECIAL)))
    # Without any the file is refused; no token is made of these two.
    writer.add_token_merges(["Ā Ā"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(0)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
    for name, _, shape in shapes(hidden, layers, len(tokens)):
        if len(shape) == 1:
            writer.add_tensor(name + ".weight", numpy.ones(shape, numpy.float32))
            continue
        # Blocks of 32 weights: a scale, and 8 bits for each.
        blocks = numpy.empty((shape[0], shape[1] // 32, 34), numpy.uint8)
        blocks[..., :2] = numpy.array([0.0003], numpy.float16).view(numpy.uint8)
        blocks[..., 2:] = random.integers(0, 256, (*blocks.shape[:2], 32), numpy.uint8)
        quantised = blocks.reshape(shape[0], -1)
        kind = gguf.GGMLQuantizationType.Q8_0
        writer.add_tensor(name + ".weight", quantised, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    folder = pathlib.Path(sys.argv[1])
    hidden, layers = map(int, sys.argv[2:4] or ("2048", "24"))
    folder.mkdir(parents=True, exist_ok=True)
    # Every byte is a token, so nothing has to be trained.
    tokens = SPECIAL + sorted(pre_tokenizers.ByteLevel.alphabet())
    write_folder(folder, hidden, layers, tokens)
    write_gguf(folder / "model.gguf", hidden, layers, tokens)


main()
