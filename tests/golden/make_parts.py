#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a tiny random model as one GGUF file and as three parts: parts/whole.gguf and parts/tiny-0000N-of-00003.gguf.

    pip install gguf==0.19.0 numpy==2.4.6 torch==2.15.0 transformers==5.23.0 tokenizers==0.23.3
    python make_parts.py tests/golden

gguf-py itself splits the file, in the way of llama.cpp's gguf-split --no-tensor-first-split: the first part has all keys and no
tensor. Afterwards gguf-py reads all files again, and every tensor of the parts must equal that of the whole file.
"""
import os
import sys

import numpy as np
from gguf import GGMLQuantizationType as T
from gguf import GGUFReader, GGUFWriter, TokenType
from gguf.quants import quantize

from make_tiny_models import CHATML, TOKENS, tokenizer

HIDDEN, FFN, HEADS, KV_HEADS, LAYERS = 64, 96, 2, 1, 2


def write(path, **splitting):
    rng = np.random.default_rng(20)
    w = GGUFWriter(path, "qwen2", **splitting)
    w.add_name("Stilla parts")
    w.add_block_count(LAYERS)
    w.add_context_length(256)
    w.add_embedding_length(HIDDEN)
    w.add_feed_forward_length(FFN)
    w.add_head_count(HEADS)
    w.add_head_count_kv(KV_HEADS)
    w.add_rope_freq_base(1e6)
    w.add_layer_norm_rms_eps(1e-6)
    tokens, merges = tokenizer()
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("qwen2")
    w.add_token_list(tokens)
    w.add_token_types([TokenType.NORMAL] * (TOKENS - 3) + [TokenType.CONTROL] * 3)
    w.add_token_merges(merges)
    w.add_eos_token_id(TOKENS - 1)
    w.add_chat_template(CHATML)

    def matrix(name, rows, cols):
        values = rng.standard_normal((rows, cols)).astype(np.float32) / np.sqrt(cols)
        w.add_tensor(name, quantize(values, T.Q4_0), raw_dtype=T.Q4_0)

    def vector(name, size, middle=0.0):
        w.add_tensor(name, (middle + 0.2 * rng.standard_normal(size)).astype(np.float32))

    kv = KV_HEADS * HIDDEN // HEADS
    matrix("token_embd.weight", TOKENS, HIDDEN)
    for l in range(LAYERS):
        vector(f"blk.{l}.attn_norm.weight", HIDDEN, 1.0)
        for name, rows in (("attn_q", HIDDEN), ("attn_k", kv), ("attn_v", kv)):
            matrix(f"blk.{l}.{name}.weight", rows, HIDDEN)
            vector(f"blk.{l}.{name}.bias", rows)
        matrix(f"blk.{l}.attn_output.weight", HIDDEN, HIDDEN)
        vector(f"blk.{l}.ffn_norm.weight", HIDDEN, 1.0)
        matrix(f"blk.{l}.ffn_gate.weight", FFN, HIDDEN)
        matrix(f"blk.{l}.ffn_up.weight", FFN, HIDDEN)
        matrix(f"blk.{l}.ffn_down.weight", HIDDEN, FFN)
    vector("output_norm.weight", HIDDEN, 1.0)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return w


def main(folder):
    parts = os.path.join(folder, "parts")
    os.makedirs(parts, exist_ok=True)
    for name in os.listdir(parts):
        os.remove(os.path.join(parts, name))
    write(os.path.join(parts, "whole.gguf"))
    write(os.path.join(parts, "tiny.gguf"), split_max_tensors=16, small_first_shard=True)
    names = sorted(os.listdir(parts))
    assert names == [f"tiny-0000{i}-of-00003.gguf" for i in (1, 2, 3)] + ["whole.gguf"], names
    whole = {t.name: t for t in GGUFReader(os.path.join(parts, "whole.gguf")).tensors}
    found = [t for name in names[:3] for t in GGUFReader(os.path.join(parts, name)).tensors]
    assert sorted(t.name for t in found) == sorted(whole)
    assert all(np.array_equal(t.data, whole[t.name].data) for t in found)
    print(f"{len(found)} tensors in 3 parts, as in the whole file")


if __name__ == "__main__":
    main(sys.argv[1])
