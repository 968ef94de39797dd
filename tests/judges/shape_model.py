#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a Qwen2 model with random q4_0 weights in the shape of an R1-Distill-Qwen, with as many layers as wanted, as a GGUF
file. It is for judges that test what a compiler makes of a layer, or how much memory an export takes. The text of such a model
means nothing.
"""

import argparse
import struct

import numpy as np

SHAPES = {  # hidden, ffn, heads, kv heads, layers, vocabulary
    "1.5b": (1536, 8960, 12, 2, 28, 151936),
    "7b": (3584, 18944, 28, 4, 28, 152064),
    "14b": (5120, 13824, 40, 8, 48, 152064),
}
HEAD_DIM = 128
ALIGNMENT = 32
F32, Q4_0 = 0, 2


def byte_letters():
    """Returns GPT-2's letters for the 256 bytes."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in printable]
    letters = {b: chr(b) for b in printable} | {b: chr(0x100 + i) for i, b in enumerate(others)}
    return [letters[b] for b in range(256)]


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def key(name, value):
    if isinstance(value, str):
        return text(name) + struct.pack("<I", 8) + text(value)
    if isinstance(value, float):
        return text(name) + struct.pack("<If", 6, value)
    if isinstance(value, list):
        body = b"".join(map(text, value)) if value and isinstance(value[0], str) else np.array(value, "<i4").tobytes()
        kind = 8 if not value or isinstance(value[0], str) else 5
        return text(name) + struct.pack("<IIQ", 9, kind, len(value)) + body
    return text(name) + struct.pack("<II", 4, value)


def tensors(shape, layers, vocabulary):
    hidden, ffn, heads, kv_heads = shape[:4]
    query, kv = heads * HEAD_DIM, kv_heads * HEAD_DIM
    yield "token_embd.weight", (hidden, vocabulary), Q4_0
    for layer in range(layers):
        for name, dims, kind in (("attn_norm.weight", (hidden,), F32), ("attn_q.weight", (hidden, query), Q4_0),
                                 ("attn_q.bias", (query,), F32), ("attn_k.weight", (hidden, kv), Q4_0),
                                 ("attn_k.bias", (kv,), F32),
                                 ("attn_v.weight", (hidden, kv), Q4_0), ("attn_v.bias", (kv,), F32),
                                 ("attn_output.weight", (query, hidden), Q4_0), ("ffn_norm.weight", (hidden,), F32),
                                 ("ffn_gate.weight", (hidden, ffn), Q4_0), ("ffn_up.weight", (hidden, ffn), Q4_0),
                                 ("ffn_down.weight", (ffn, hidden), Q4_0)):
            yield f"blk.{layer}.{name}", dims, kind
    yield "output_norm.weight", (hidden,), F32
    yield "output.weight", (hidden, vocabulary), Q4_0


def size(dims, kind):
    count = int(np.prod(dims))
    return count * 4 if kind == F32 else count // 32 * 18


def random_bytes(random, name, dims, kind):
    """Yields pieces of a tensor's bytes. Rows have length 1 on average, as initialised weights have."""
    if kind == F32:
        scale = 0.1 if "bias" in name else 0.02
        yield (random.normal(size=dims) * scale + ("norm" in name)).astype("<f4").tobytes()
        return
    blocks = int(np.prod(dims)) // 32
    for at in range(0, blocks, 1 << 20):
        count = min(1 << 20, blocks - at)
        piece = random.integers(0, 256, (count, 18), np.uint8)
        scales = (random.uniform(0.5, 1.5, count) / (4.6 * np.sqrt(dims[0]))).astype("<f2")
        piece[:, :2] = scales.view(np.uint8).reshape(count, 2)
        yield piece.tobytes()


def write(path, name, layers=None, vocabulary=None, seed=1):
    """Writes a model of SHAPES to a file. Fewer layers or a smaller vocabulary make it smaller."""
    shape = SHAPES[name]
    layers, vocabulary = layers or shape[4], vocabulary or shape[5]
    words = byte_letters() + [f"[{i}]" for i in range(256, vocabulary)]
    keys = [key("general.architecture", "qwen2"), key("general.name", f"random {name}"), key("qwen2.block_count", layers),
            key("qwen2.embedding_length", shape[0]), key("qwen2.feed_forward_length", shape[1]),
            key("qwen2.attention.head_count", shape[2]), key("qwen2.attention.head_count_kv", shape[3]),
            key("qwen2.context_length", 131072), key("qwen2.rope.freq_base", 1e6 if name == "14b" else 1e4),
            key("qwen2.attention.layer_norm_rms_epsilon", 1e-5 if name == "14b" else 1e-6), key("tokenizer.ggml.model", "gpt2"),
            key("tokenizer.ggml.pre", "qwen2"), key("tokenizer.ggml.tokens", words),
            key("tokenizer.ggml.token_type", [1] * 256 + [5] * (vocabulary - 256)), key("tokenizer.ggml.merges", []),
            key("tokenizer.ggml.eos_token_id", 0)]
    listed = list(tensors(shape, layers, vocabulary))
    header = b"GGUF" + struct.pack("<IQQ", 3, len(listed), len(keys)) + b"".join(keys)
    offset = 0
    for tensor, dims, kind in listed:
        header += text(tensor) + struct.pack(f"<I{len(dims)}Q", len(dims), *dims) + struct.pack("<IQ", kind, offset)
        offset += -(-size(dims, kind) // ALIGNMENT) * ALIGNMENT
    random = np.random.default_rng(seed)
    with open(path, "wb") as file:
        file.write(header + bytes(-len(header) % ALIGNMENT))
        for tensor, dims, kind in listed:
            for piece in random_bytes(random, tensor, dims, kind):
                file.write(piece)
            file.write(bytes(-size(dims, kind) % ALIGNMENT))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("output", help="the GGUF file to write")
    parser.add_argument("--layers", type=int, help="layers (default: the model's)")
    parser.add_argument("--vocabulary", type=int, help="words (default: the model's)")
    options = parser.parse_args()
    write(options.output, options.shape, options.layers, options.vocabulary)


if __name__ == "__main__":
    main()
