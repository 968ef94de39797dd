#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes small random models (tiny-qwen2.gguf, tiny-llama.gguf, tiny-qwen3.gguf) and what transformers computes from them in
float32 on the dequantised weights (models.bin). Together the models use the weight formats F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1,
Q8_0, Q4_K, Q5_K, Q6_K, IQ4_NL and IQ4_XS.

    pip install torch==2.15.0 transformers==5.23.0 accelerate==1.15.0 gguf==0.19.0 numpy==2.4.6 tokenizers==0.23.3
    python make_tiny_models.py tests/golden

The models know nothing, but have what trained models have: biases of Q, K and V with one huge bias of K, norm weights far from
1, grouped heads, more embedding rows than tokens, a byte-level BPE tokenizer and ChatML. The Qwen3 has heads twice as wide as
hidden / heads, and norms of queries and keys. Formats that gguf-py cannot encode are blocks of random bytes, with scales that
give weights of the wanted standard deviation.

models.bin consists of records, little endian:  u32 name bytes | name | u32 count | count float32.
  MODEL/ids, MODEL/logits            a prompt, and the logits of all its positions, row after row
  MODEL/greedy, MODEL/margin         the greedy continuation, and by how much the logit of each token exceeds the second highest
  MODEL/long-ids, /long-positions, /long-logits    a prompt longer than a chunk of the cache, logits of some positions
  MODEL/linear-logits, MODEL/yarn-logits, MODEL/llama3-logits      like long-logits, with SCALINGS of the rotary positions
  MODEL/llama3-factors               the divisors of the angles for llama3-logits, as GGUF files of Llama 3 have them in rope_freqs.weight
  tiny-qwen3/tied-logits             logits of the prompt with the embedding as head
"""
import copy
import os
import struct
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import numpy as np
import torch
from gguf import GGML_QUANT_SIZES, GGUFWriter, TokenType
from gguf import GGMLQuantizationType as T
from gguf.quants import dequantize, quantize
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM

TOKENS = 512
PROMPT = 40
LONG = 300
LONG_POSITIONS = [0, 1, 254, 255, 256, 257, 298, 299]
GREEDY = 32
# Scalings as in the configuration of a model whose context was extended. The test sets GGUF's keys for them.
SCALINGS = {"linear": dict(factor=4.0), "yarn": dict(factor=4.0, original_max_position_embeddings=128),
            "llama3": dict(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=128)}

# The text from which the vocabulary is learned: words as they occur in English and in code.
TEXT = """The drop falls from the still into the glass, and the next one follows it. What is the sum of two and three?
The answer is five, because two and three are five. A model reads a text from left to right and writes the next token.
You are a helpful assistant. for (int i = 0; i < count; ++i) { sum += values[i]; } return sum; def main(): print("hello")
if x is None: raise ValueError("no value") else: return [float(v) for v in x] // SPDX-License-Identifier: Apache-2.0
There are many ways to say the same thing, some of them shorter than the others; the shortest is often the best of them.
Water boils at one hundred degrees and freezes at zero. The sky is blue, the grass is green, and the night is dark."""
CHATML = ("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + "
          "'\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")

MODELS = {
    "tiny-qwen2": dict(
        arch="qwen2", seed=1, pre="qwen2", rows=544, hidden=256, ffn=512, heads=8, kv_heads=2, base=1e6, eps=1e-6,
        embedding=T.Q6_K, head=T.Q8_0,
        layers=[
            dict(q=T.Q4_K, k=T.Q5_0, v=T.Q6_K, o=T.Q4_0, gate=T.Q4_K, up=T.IQ4_XS, down=T.Q6_K),
            dict(q=T.Q5_K, k=T.Q8_0, v=T.Q4_K, o=T.Q5_K, gate=T.Q4_0, up=T.Q4_K, down=T.Q5_K),
        ]),
    "tiny-llama": dict(
        arch="llama", seed=2, pre="smollm", rows=512, hidden=192, ffn=384, heads=6, kv_heads=2, base=1e4, eps=1e-5,
        embedding=T.Q8_0, head=None,
        layers=[
            dict(q=T.F16, k=T.BF16, v=T.F32, o=T.Q4_1, gate=T.Q5_1, up=T.IQ4_NL, down=T.Q4_1),
            dict(q=T.Q4_1, k=T.Q8_0, v=T.Q5_1, o=T.F16, gate=T.Q4_1, up=T.BF16, down=T.IQ4_NL),
        ]),
    "tiny-qwen3": dict(
        arch="qwen3", seed=3, pre="qwen2", rows=544, hidden=256, ffn=512, heads=8, kv_heads=2, head_dim=64, base=1e6, eps=1e-6,
        embedding=T.Q4_K, head=T.Q6_K,
        layers=[
            dict(q=T.Q4_K, k=T.Q6_K, v=T.Q8_0, o=T.Q4_K, gate=T.Q4_K, up=T.Q4_K, down=T.Q6_K),
            dict(q=T.Q4_0, k=T.Q4_K, v=T.Q5_K, o=T.Q5_0, gate=T.IQ4_XS, up=T.Q4_K, down=T.Q4_K),
        ]),
}

# Formats written as random blocks. For each: the byte offset of a block's scale, that of its minimum's scale, and the middle of
# the codes.
RANDOM_BLOCKS = {
    T.Q4_K: (0, 2, 7.5), T.Q5_K: (0, 2, 15.5), T.Q6_K: (208, None, 0), T.IQ4_NL: (0, None, 0), T.IQ4_XS: (0, None, 0),
}


def half(values):
    return np.asarray(values, np.float16)[:, None].view(np.uint8)


def encode(rng, qtype, rows, cols, spread):
    """Returns a random matrix of mean about 0 and standard deviation `spread`, as the bytes of each row."""
    if qtype not in RANDOM_BLOCKS:
        weights = (rng.standard_normal((rows, cols)) * spread).astype(np.float32)
        return quantize(weights, qtype)
    block_weights, block_bytes = GGML_QUANT_SIZES[qtype]
    scale_at, minimum_at, middle = RANDOM_BLOCKS[qtype]
    count = rows * cols // block_weights
    blocks = rng.integers(0, 256, (count, block_bytes), np.uint8)

    def set_scales(scales):
        blocks[:, scale_at:scale_at + 2] = half(scales)
        if minimum_at is not None:
            blocks[:, minimum_at:minimum_at + 2] = half(scales * middle)

    set_scales(np.full(count, 2**-6))
    unit = dequantize(blocks, qtype).std() * 2**6
    set_scales(spread / unit * rng.uniform(0.5, 1.5, count))
    return blocks.reshape(rows, -1)


def tokenizer():
    """Returns (tokens, merges). The tokens are 256 bytes, those that merges learned from TEXT make, and three control tokens."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bpe.train_from_iterator([TEXT], trainers.BpeTrainer(vocab_size=TOKENS - 3, initial_alphabet=alphabet,
                                                        show_progress=False))
    ids = bpe.get_vocab()
    tokens = sorted(ids, key=ids.get) + ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    assert len(tokens) == TOKENS
    import json
    merges = json.loads(bpe.to_str())["model"]["merges"]
    return tokens, [" ".join(m) for m in merges]


def write(name, path):
    m = MODELS[name]
    rng = np.random.default_rng(m["seed"])
    hidden, ffn, head_dim = m["hidden"], m["ffn"], m.get("head_dim", m["hidden"] // m["heads"])
    query, kv = m["heads"] * head_dim, m["kv_heads"] * head_dim
    w = GGUFWriter(path, m["arch"])
    w.add_name(f"Stilla {name}")
    w.add_block_count(len(m["layers"]))
    w.add_context_length(512)
    w.add_embedding_length(hidden)
    w.add_feed_forward_length(ffn)
    w.add_head_count(m["heads"])
    w.add_head_count_kv(m["kv_heads"])
    w.add_rope_freq_base(m["base"])
    w.add_layer_norm_rms_eps(m["eps"])
    if "head_dim" in m:
        w.add_key_length(head_dim)
        w.add_value_length(head_dim)
    if m["arch"] == "llama":
        w.add_rope_dimension_count(head_dim)
        w.add_vocab_size(m["rows"])
    tokens, merges = tokenizer()
    padding = m["rows"] - TOKENS
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre(m["pre"])
    w.add_token_list(tokens + [f"[PAD{TOKENS + i}]" for i in range(padding)])
    w.add_token_types([TokenType.NORMAL] * (TOKENS - 3) + [TokenType.CONTROL] * 3 + [TokenType.UNUSED] * padding)
    w.add_token_merges(merges)
    w.add_eos_token_id(TOKENS - 1)
    w.add_bos_token_id(TOKENS - 3)
    w.add_add_bos_token(False)
    w.add_chat_template(CHATML)

    def matrix(tensor, qtype, rows, cols, gain=1.0, zero_from=None):
        data = encode(rng, qtype, rows, cols, gain / np.sqrt(cols))
        if zero_from is not None:
            data[zero_from:] = 0
        w.add_tensor(tensor, data, raw_dtype=qtype)

    def vector(tensor, values):
        w.add_tensor(tensor, np.asarray(values, np.float32))

    def norm(tensor, middle, width=hidden):
        vector(tensor, middle * np.exp(0.5 * rng.standard_normal(width)))

    matrix("token_embd.weight", m["embedding"], m["rows"], hidden, gain=np.sqrt(hidden) * 0.2, zero_from=TOKENS)
    for l, types in enumerate(m["layers"]):
        b = f"blk.{l}."
        norm(b + "attn_norm.weight", 1.5)
        matrix(b + "attn_q.weight", types["q"], query, hidden)
        matrix(b + "attn_k.weight", types["k"], kv, hidden)
        matrix(b + "attn_v.weight", types["v"], kv, hidden)
        if m["arch"] == "qwen2":
            k_bias = rng.standard_normal(kv)
            k_bias[head_dim - 1] = 150.0  # belongs to the slowest pair of the first head, where trained models have their huge bias
            vector(b + "attn_q.bias", rng.standard_normal(hidden))
            vector(b + "attn_k.bias", k_bias)
            vector(b + "attn_v.bias", 0.2 * rng.standard_normal(kv))
        if m["arch"] == "qwen3":
            norm(b + "attn_q_norm.weight", 1.5, head_dim)
            norm(b + "attn_k_norm.weight", 1.0, head_dim)
        matrix(b + "attn_output.weight", types["o"], hidden, query)
        norm(b + "ffn_norm.weight", 1.0)
        matrix(b + "ffn_gate.weight", types["gate"], ffn, hidden)
        matrix(b + "ffn_up.weight", types["up"], ffn, hidden)
        matrix(b + "ffn_down.weight", types["down"], hidden, ffn)
    norm("output_norm.weight", 2.0)
    if m["head"] is not None:
        matrix("output.weight", m["head"], m["rows"], hidden, zero_from=TOKENS)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def llama3_factors(base, head_dim, factor, low_freq_factor, high_freq_factor, original_max_position_embeddings):
    """Returns the divisors of the angles with which Llama 3 is scaled for long contexts. A pair that rotates often within the original
    context has the divisor 1, and one that rotates less than once has `factor`. Pairs in between have a harmonic mean of both."""
    turns = original_max_position_embeddings / (2 * np.pi * base ** (np.arange(0, head_dim, 2) / head_dim))
    share = np.clip((turns - low_freq_factor) / (high_freq_factor - low_freq_factor), 0, 1)
    return 1 / ((1 - share) / factor + share)


def load(folder, name):
    """Loads the model as transformers reads it from the GGUF file. Transformers does not read the width of heads
    for all architectures, so this function sets it."""
    file = dict(gguf_file=f"{name}.gguf")
    config = AutoConfig.from_pretrained(folder, **file)
    config.head_dim = MODELS[name].get("head_dim", MODELS[name]["hidden"] // MODELS[name]["heads"])
    return AutoModelForCausalLM.from_pretrained(folder, config=config, dtype=torch.float32, attn_implementation="eager",
                                                **file).eval()


def record(out, name, values):
    values = np.asarray(values, np.float32).ravel()
    out.write(struct.pack("<I", len(name)) + name.encode() + struct.pack("<I", values.size) + values.tobytes())


def main(folder):
    torch.set_num_threads(1)  # the order of sums, and so their last bits, depends on the number of threads
    with open(os.path.join(folder, "models.bin"), "wb") as out:
        for name, m in MODELS.items():
            write(name, os.path.join(folder, f"{name}.gguf"))
            model = load(folder, name)
            rng = np.random.default_rng(100 + m["seed"])
            ids = rng.integers(0, TOKENS, PROMPT)
            long_ids = rng.integers(0, TOKENS, LONG)
            with torch.no_grad():
                logits = model(torch.tensor(ids[None])).logits[0].numpy()
                long_logits = model(torch.tensor(long_ids[None])).logits[0].numpy()
                text, margin = list(ids), []
                for _ in range(GREEDY):
                    row = model(torch.tensor([text])).logits[0, -1].numpy()
                    best = np.argsort(-row, kind="stable")[:2]
                    text.append(int(best[0]))
                    margin.append(row[best[0]] - row[best[1]])
            scaled_logits = {}
            for kind, parameters in SCALINGS.items():
                config = copy.deepcopy(model.config)
                config.rope_parameters = dict(rope_type=kind, rope_theta=m["base"], **parameters)
                model.model.rotary_emb = type(model.model.rotary_emb)(config)
                with torch.no_grad():
                    scaled_logits[kind] = model(torch.tensor(long_ids[None])).logits[0].numpy()
            record(out, f"{name}/ids", ids)
            record(out, f"{name}/logits", logits)
            record(out, f"{name}/greedy", text[PROMPT:])
            record(out, f"{name}/margin", margin)
            record(out, f"{name}/long-ids", long_ids)
            record(out, f"{name}/long-positions", LONG_POSITIONS)
            record(out, f"{name}/long-logits", long_logits[LONG_POSITIONS])
            for kind, scaled in scaled_logits.items():
                record(out, f"{name}/{kind}-logits", scaled[LONG_POSITIONS])
            record(out, f"{name}/llama3-factors", llama3_factors(m["base"], model.config.head_dim, **SCALINGS["llama3"]))
            if m["arch"] == "qwen3":
                model.model.rotary_emb = type(model.model.rotary_emb)(model.config)
                model.lm_head.weight = model.model.embed_tokens.weight
                with torch.no_grad():
                    record(out, f"{name}/tied-logits", model(torch.tensor(ids[None])).logits[0].numpy())
            print(f"{name}: logits of std {logits.std():.2f}, greedy {text[PROMPT:]}, least margin {min(margin):.3f}")


if __name__ == "__main__":
    main(sys.argv[1])
