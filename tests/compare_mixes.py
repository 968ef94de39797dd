#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests files of every mix of weight types that llama-quantize makes: each must load, and give the logits of its own weights.

    pip install gguf==0.19.0 numpy==2.4.6
    tests/compare_mixes.py build/release/bin/stilla [--architectures qwen2,llama,qwen3] [--mixes Q2_K,IQ3_XS]

A mix says which type each kind of tensor has. The type depends on the layer, on how many query heads share a key head, and on
whether the embedding is the head too (MIXES below, after llama.cpp's rules for dense models). For each mix and architecture a
tiny random model is written with gguf-py. Weights are encoded where gguf-py can encode them; elsewhere they are random blocks,
all of them valid. The program's logits (16-bit activations, a cache of float32) are compared with a forward pass in float64 on
the weights as gguf-py decodes them. The targets that --targets names must give the same bytes as the target that the program
chooses. Fails if the normalised mean square error is above 1e-5, or if a target's bytes differ.
"""
import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGUFReader, GGUFWriter
from gguf import GGMLQuantizationType as T
from gguf.quants import dequantize, quantize

GATE = 1e-5
LAYERS = 8
IDS = [5, 301, 17, 17, 44, 260, 3, 118, 400, 77, 9, 250, 31, 2, 199, 512, 64, 90, 411, 7]  # so many that the kernels for many tokens run
VOCABULARY = Path(__file__).resolve().parent / "golden/tiny-qwen2.gguf"
ENCODED = (T.F32, T.F16, T.BF16, T.Q8_0, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1)
# The types that gguf-py cannot encode. Each has the byte offset of a block's scale, that of its minimum's scale, and the middle of
# the codes.
RANDOM = {T.Q2_K: (80, 82, 1.5), T.Q3_K: (108, None, 0), T.Q4_K: (0, 2, 7.5), T.Q5_K: (0, 2, 15.5), T.Q6_K: (208, None, 0)}
RANDOM |= {t: (0, None, 0) for t in (T.IQ2_XXS, T.IQ2_XS, T.IQ2_S, T.IQ3_XXS, T.IQ3_S, T.IQ4_NL, T.IQ4_XS)}

# For each architecture: hidden size, feed-forward size, query heads, key heads, head size, and whether the head is the embedding.
SHAPES = {
    "qwen2": (256, 512, 8, 2, 32, True),
    "llama": (256, 256, 4, 2, 64, False),
    "qwen3": (256, 512, 8, 2, 64, False),
}


def more_bits(layer):
    """Returns whether the mixes with M in their name give this layer more bits: the first and the last eighth of the layers have them,
    and every third layer in between."""
    return layer < LAYERS // 8 or layer >= 7 * LAYERS // 8 or (layer - LAYERS // 8) % 3 == 2


def first(layer, part):
    return layer < LAYERS // part


# For each mix: the type of most tensors, and for some kinds of tensors a type or a function (layer, shares) -> type. `shares`
# says whether four query heads or more share a key head. The kinds are embd, head, q, k, v, o, gate, up, down. A head is q6_k
# unless the mix says otherwise.
MIXES = {
    "F32": (T.F32, {"head": T.F32}),
    "F16": (T.F16, {"head": T.F16}),
    "BF16": (T.BF16, {"head": T.BF16}),
    "Q8_0": (T.Q8_0, {"head": T.Q8_0}),
    "MXFP4_MOE": (T.Q8_0, {"head": T.Q8_0}),  # mxfp4 is for experts, and dense models have none
    "Q4_0": (T.Q4_0, {}),
    "Q4_1": (T.Q4_1, {}),
    "Q5_0": (T.Q5_0, {}),
    "Q5_1": (T.Q5_1, {}),
    "Q2_K": (T.Q2_K, {"v": lambda i, s: T.Q4_K if s else T.Q3_K, "o": T.Q3_K, "down": T.Q3_K}),
    "Q2_K_S": (T.Q2_K, {"v": lambda i, s: T.Q4_K if s else T.Q2_K, "down": lambda i, s: T.Q4_K if first(i, 8) else T.Q2_K}),
    "Q3_K_S": (T.Q3_K, {}),
    "Q3_K_M": (T.Q3_K, {"v": lambda i, s: T.Q5_K if i < 2 else T.Q4_K, "o": T.Q4_K,
                        "down": lambda i, s: T.Q5_K if first(i, 16) else T.Q4_K}),
    "Q3_K_L": (T.Q3_K, {"v": T.Q5_K, "o": T.Q5_K, "down": T.Q5_K}),
    "Q4_K_S": (T.Q4_K, {"v": lambda i, s: T.Q5_K if i < 4 else T.Q4_K, "down": lambda i, s: T.Q5_K if first(i, 8) else T.Q4_K}),
    "Q4_K_M": (T.Q4_K, {k: lambda i, s: T.Q6_K if more_bits(i) else T.Q4_K for k in ("v", "down")}),
    "Q5_K_S": (T.Q5_K, {}),
    "Q5_K_M": (T.Q5_K, {k: lambda i, s: T.Q6_K if more_bits(i) else T.Q5_K for k in ("v", "down")}),
    "Q6_K": (T.Q6_K, {}),
    "IQ4_NL": (T.IQ4_NL, {"v": lambda i, s: T.Q5_K if s else T.IQ4_NL, "down": lambda i, s: T.Q5_K if first(i, 8) else T.IQ4_NL}),
    "IQ4_XS": (T.IQ4_XS, {"v": lambda i, s: T.Q5_K if s else T.IQ4_XS, "down": lambda i, s: T.Q5_K if first(i, 8) else T.IQ4_XS}),
    "IQ3_M": (T.IQ3_S, {"v": T.Q4_K, "o": T.Q4_K, "down": lambda i, s: T.Q4_K if first(i, 8) else T.IQ3_S}),
    "IQ3_S": (T.IQ3_S, {"v": lambda i, s: T.Q4_K if s else T.IQ3_S}),
    "IQ3_XS": (T.IQ3_S, {"v": lambda i, s: T.Q4_K if s else T.IQ3_S, "q": T.IQ3_XXS, "k": T.IQ3_XXS}
               | {k: lambda i, s: T.IQ3_XXS if not first(i, 8) and i < 7 * LAYERS // 8 else T.IQ3_S for k in ("gate", "up")}),
    "IQ3_XXS": (T.IQ3_XXS, {"embd": T.IQ3_S, "head": T.Q5_K, "q": T.IQ2_S, "k": T.IQ2_S, "o": T.IQ3_S,
                            "v": lambda i, s: T.Q4_K if s else T.IQ3_XXS}),
    "IQ2_M": (T.IQ2_S, {"embd": T.IQ3_S, "head": T.Q5_K, "v": lambda i, s: T.Q4_K if s else T.IQ3_S, "o": T.IQ3_S,
                        "down": lambda i, s: T.IQ3_S if first(i, 8) else T.IQ2_S}),
    "IQ2_S": (T.IQ2_XS, {"embd": T.IQ3_S, "head": T.Q5_K, "v": lambda i, s: T.Q4_K if s else T.IQ3_S, "o": T.IQ3_S,
                         "down": lambda i, s: T.IQ3_S if first(i, 8) else T.IQ2_XS}),
    "IQ2_XS": (T.IQ2_XS, {"embd": T.Q2_K, "head": T.Q5_K, "v": lambda i, s: T.Q4_K if s else T.Q2_K,
                          "down": lambda i, s: T.Q2_K if first(i, 8) else T.IQ2_XS}),
    "IQ2_XXS": (T.IQ2_XXS, {"embd": T.Q2_K, "head": T.Q5_K, "v": lambda i, s: T.Q4_K if s else T.Q2_K,
                            "down": lambda i, s: T.Q2_K if first(i, 8) else T.IQ2_XXS}),
}
KINDS = {"token_embd": "embd", "output": "head", "attn_q": "q", "attn_k": "k", "attn_v": "v", "attn_output": "o",
         "ffn_gate": "gate", "ffn_up": "up", "ffn_down": "down"}


def type_of(mix, name, shares, is_tied):
    base, others = MIXES[mix]
    layer = int(name.split(".")[1]) if name.startswith("blk.") else 0
    kind = KINDS[name.removesuffix(".weight").split(".")[-1]]
    if kind == "head" or (kind == "embd" and is_tied):
        return others.get("head", T.Q6_K)
    found = others.get(kind, base)
    return found if isinstance(found, T) else found(layer, shares)


def encode(rng, qtype, rows, cols, spread):
    """Returns a random matrix with standard deviation `spread`, as the bytes of each row."""
    if qtype in ENCODED:
        return quantize((rng.standard_normal((rows, cols)) * spread).astype(np.float32), qtype)
    block_weights, block_bytes = GGML_QUANT_SIZES[qtype]
    scale_at, minimum_at, middle = RANDOM[qtype]
    blocks = rng.integers(0, 256, (rows * cols // block_weights, block_bytes), np.uint8)

    def set_scales(scales):
        blocks[:, scale_at:scale_at + 2] = np.asarray(scales, np.float16)[:, None].view(np.uint8)
        if minimum_at is not None:
            blocks[:, minimum_at:minimum_at + 2] = np.asarray(scales * middle, np.float16)[:, None].view(np.uint8)

    set_scales(np.full(len(blocks), 2.0**-6))
    unit = dequantize(blocks, qtype).std() * 2**6
    set_scales(spread / unit * rng.uniform(0.5, 1.5, len(blocks)))
    return blocks.reshape(rows, -1)


def write(path, arch, mix, seed):
    """Writes the file. Returns its weights as gguf-py decodes them, and how often each type was used."""
    hidden, ffn, heads, kv_heads, size, is_tied = SHAPES[arch]
    rng = np.random.default_rng(seed)
    writer = GGUFWriter(path, arch)
    writer.add_block_count(LAYERS)
    writer.add_context_length(512)
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(ffn)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    if arch == "llama":
        writer.add_rope_dimension_count(size)
    if arch == "qwen3":
        writer.add_key_length(size)
        writer.add_value_length(size)
    fields = GGUFReader(VOCABULARY).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    if arch == "llama":
        writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm" if arch == "llama" else "qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(fields["tokenizer.ggml.token_type"].contents())
    writer.add_token_merges(fields["tokenizer.ggml.merges"].contents())
    writer.add_eos_token_id(fields["tokenizer.ggml.eos_token_id"].contents())
    weights, used = {}, {}

    def matrix(name, rows, cols, spread):
        qtype = type_of(mix, name, heads >= 4 * kv_heads, is_tied)
        raw = encode(rng, qtype, rows, cols, spread)
        used[qtype.name] = used.get(qtype.name, 0) + 1
        weights[name] = dequantize(raw, qtype).reshape(rows, cols).astype(np.float64)
        if qtype in (T.F32, T.F16):
            writer.add_tensor(name, raw)
        else:
            writer.add_tensor(name, np.ascontiguousarray(raw).view(np.uint8).reshape(rows, -1), raw_dtype=qtype)

    def vector(name, size, mean, spread):
        values = (mean + spread * rng.standard_normal(size)).astype(np.float32)
        weights[name] = values.astype(np.float64)
        writer.add_tensor(name, values)

    matrix("token_embd.weight", len(tokens), hidden, 1.0)
    vector("output_norm.weight", hidden, 1.0, 0.1)
    if not is_tied:
        matrix("output.weight", len(tokens), hidden, 0.1)
    for i in range(LAYERS):
        at = f"blk.{i}."
        for kind, rows, cols in (("attn_q", heads * size, hidden), ("attn_k", kv_heads * size, hidden),
                                 ("attn_v", kv_heads * size, hidden), ("attn_output", hidden, heads * size),
                                 ("ffn_gate", ffn, hidden), ("ffn_up", ffn, hidden), ("ffn_down", hidden, ffn)):
            matrix(f"{at}{kind}.weight", rows, cols, cols**-0.5)
        vector(at + "attn_norm.weight", hidden, 1.0, 0.1)
        vector(at + "ffn_norm.weight", hidden, 1.0, 0.1)
        if arch == "qwen2":
            for kind, rows in (("attn_q", heads * size), ("attn_k", kv_heads * size), ("attn_v", kv_heads * size)):
                vector(f"{at}{kind}.bias", rows, 0.0, 0.1)
        if arch == "qwen3":
            vector(at + "attn_q_norm.weight", size, 1.0, 0.1)
            vector(at + "attn_k_norm.weight", size, 1.0, 0.1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return weights, used


def rms_norm(x, weight):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * weight


def rotate(x, is_interleaved):
    """Applies rotary positions to x[token, head, size]: pairs are neighbours, or numbers half a head apart."""
    size = x.shape[-1]
    angles = np.arange(len(x))[:, None] * 10000.0 ** (-np.arange(0, size, 2) / size)
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    out = np.empty_like(x)
    a, b = (np.s_[..., 0::2], np.s_[..., 1::2]) if is_interleaved else (np.s_[..., :size // 2], np.s_[..., size // 2:])
    out[a], out[b] = x[a] * cos - x[b] * sin, x[b] * cos + x[a] * sin
    return out


def forward(arch, w):
    hidden, _, heads, kv_heads, size, is_tied = SHAPES[arch]
    x = w["token_embd.weight"][IDS]
    tokens = len(IDS)
    mask = np.triu(np.full((tokens, tokens), -np.inf), 1)
    for i in range(LAYERS):
        at = f"blk.{i}."
        h = rms_norm(x, w[at + "attn_norm.weight"])
        q, k, v = (h @ w[f"{at}attn_{n}.weight"].T + w.get(f"{at}attn_{n}.bias", 0.0) for n in "qkv")
        q, k, v = q.reshape(tokens, heads, size), k.reshape(tokens, kv_heads, size), v.reshape(tokens, kv_heads, size)
        if arch == "qwen3":
            q, k = rms_norm(q, w[at + "attn_q_norm.weight"]), rms_norm(k, w[at + "attn_k_norm.weight"])
        q, k = rotate(q, arch == "llama"), rotate(k, arch == "llama")
        k, v = (np.repeat(n, heads // kv_heads, axis=1) for n in (k, v))
        scores = np.einsum("qhs,khs->hqk", q, k) / np.sqrt(size) + mask
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = np.einsum("hqk,khs->qhs", scores / scores.sum(-1, keepdims=True), v).reshape(tokens, heads * size)
        x = x + mixed @ w[at + "attn_output.weight"].T
        h = rms_norm(x, w[at + "ffn_norm.weight"])
        gate = h @ w[at + "ffn_gate.weight"].T
        x = x + (gate / (1.0 + np.exp(-gate)) * (h @ w[at + "ffn_up.weight"].T)) @ w[at + "ffn_down.weight"].T
    return rms_norm(x, w["output_norm.weight"]) @ w["token_embd.weight" if is_tied else "output.weight"].T


def program_logits(program, model, target):
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "logits.npy")
        subprocess.run([program, "logits", "-m", model, "--ids", ",".join(map(str, IDS)), "-o", out, "--kv", "f32",
                        "--activations", "int16", *(["--target", target] if target else [])], check=True)
        return np.load(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="the program stilla")
    parser.add_argument("--architectures", default="qwen2,llama,qwen3", help="default: %(default)s")
    parser.add_argument("--mixes", default=",".join(MIXES), help="default: all of them")
    parser.add_argument("--targets", default="scalar", help="compared with this CPU's best one; default: %(default)s")
    arguments = parser.parse_args()
    worst, failures, count = 0.0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        for arch in arguments.architectures.split(","):
            for mix in arguments.mixes.split(","):
                model = os.path.join(folder, f"{arch}-{mix}.gguf")
                weights, used = write(model, arch, mix, count)
                ours = program_logits(arguments.program, model, None)
                differing = [t for t in arguments.targets.split(",") if t
                             and program_logits(arguments.program, model, t).tobytes() != ours.tobytes()]
                expected = forward(arch, weights)
                error = ((ours - expected) ** 2).sum() / (expected**2).sum()
                is_good = error <= GATE and not differing
                print(f"{arch:6} {mix:9} nmse {error:.1e}  {', '.join(f'{n} {t.lower()}' for t, n in sorted(used.items()))}"
                      + ("" if is_good else "  FAILED" + "".join(f", {t} differs" for t in differing)))
                os.remove(model)
                worst, failures, count = max(worst, error), failures + (not is_good), count + 1
    print(f"{count} files, the worst nmse {worst:.1e} of {GATE:.0e} allowed, {failures} failures")
    sys.exit(failures != 0)


if __name__ == "__main__":
    main()
