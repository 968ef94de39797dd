#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes ops.bin: what PyTorch computes in float64 from the ops' inputs, for the tests of the ops (tests/*_test.cpp).

    pip install torch==2.15.0 gguf==0.19.0 numpy==2.4.6 mpmath==1.3.0
    python make_op_golden.py ops.bin

The file consists of records, little endian:  u32 name bytes | name | u32 count | count float64.
A name carries the parameters, for example "attention/f16/14/2/64/257/2". Inputs are not stored: noise() here and in
test_util.hpp makes the same numbers from a seed. The results of RoPE's tables come from mpmath with 50 digits.
"""
import struct
import sys

import mpmath
import numpy as np
import torch
import torch.nn.functional as F
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as T
from gguf.quants import dequantize

HALVES = {
    T.F32: [], T.F16: [], T.BF16: [], T.Q8_0: [0], T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2],
    T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208], T.IQ4_NL: [0], T.IQ4_XS: [0],
    T.Q2_K: [80, 82], T.Q3_K: [108], T.IQ2_XXS: [0], T.IQ2_XS: [0], T.IQ2_S: [0], T.IQ3_XXS: [0], T.IQ3_S: [0],
}


def noise_bits(seed, count):
    x = np.arange(count, dtype=np.uint32) * np.uint32(0x9E3779B9) + np.uint32(seed * 0x85EBCA6B & 0xFFFFFFFF)
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x7FEB352D)
    x ^= x >> np.uint32(15)
    x *= np.uint32(0x846CA68B)
    x ^= x >> np.uint32(16)
    return x


def noise(seed, *shape):
    """Returns random float32 numbers that are uniform in [-1, 1) and multiples of 2^-23."""
    bits = noise_bits(seed, int(np.prod(shape)))
    return (((bits >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24) - np.float32(0.5)) * np.float32(2)).reshape(shape)


def double(array):
    return torch.from_numpy(np.ascontiguousarray(array)).to(torch.float64)


def random_blocks(qtype, seed, count):
    """Returns random blocks of a format as bytes [count, block bytes]. test_util.hpp makes the same blocks."""
    weights, size = GGML_QUANT_SIZES[qtype]
    if weights == 1:
        values = torch.from_numpy(noise(seed, count))
        stored = values.to({T.F32: torch.float32, T.F16: torch.float16, T.BF16: torch.bfloat16}[qtype])
        return stored.reshape(count, 1).view(torch.uint8).numpy()
    raw = (noise_bits(seed, count * size) >> np.uint32(24)).astype(np.uint8).reshape(count, size)
    columns = HALVES[qtype]
    r = noise_bits(seed + 1000, count * len(columns)).reshape(count, len(columns))
    halves = (r & 0x8000) | (5 + (r >> 16 & 3)) << 10 | (r & 0x3FF)
    for i, column in enumerate(columns):
        raw[:, column:column + 2] = halves[:, i:i + 1].astype(np.uint16).view(np.uint8)
    return raw


def int8_activations(x):
    """Rounds x to int8 with one scale, a power of two, for every 32 values, and converts the integers back to float64."""
    blocks = double(x).reshape(x.shape[0], -1, 32)
    scale = 2 ** torch.ceil(torch.log2(blocks.abs().amax(-1, keepdim=True) / 127))
    return (torch.round(blocks / scale) * scale).reshape(x.shape)  # ties to even


def matmul(out):
    rows, tokens = 19, 3
    for qtype in HALVES:
        weights, _ = GGML_QUANT_SIZES[qtype]
        cols = {1: 70, 32: 96, 256: 512}[weights]
        blocks = random_blocks(qtype, 11, rows * cols // weights)
        w = double(dequantize(blocks.reshape(rows, -1), qtype).astype(np.float32).reshape(rows, cols))
        x = noise(12, tokens, cols)
        used = double(x) if weights == 1 else int8_activations(x)
        bias = double(noise(13, rows))
        out[f"matmul/{qtype.name.lower()}/{rows}/{cols}/{tokens}"] = F.linear(used, w, bias)


def rows(out):
    for n in [1, 2, 15, 16, 17, 40, 64, 896]:
        for eps in ["1e-06", "1e-05"]:
            x = 3 * double(noise(21, n))
            out[f"rms_norm/{n}/{eps}"] = F.rms_norm(x, (n,), 1 + double(noise(22, n)), float(np.float32(eps)))
    for n in [1, 2, 15, 16, 17, 40, 64, 1000]:
        out[f"softmax/{n}"] = F.softmax(double(noise(23, n) * np.float32(16)), dim=-1)
        out[f"silu_mul/{n}"] = F.silu(double(noise(24, n) * np.float32(32))) * double(noise(25, n))


def rope(out):
    mpmath.mp.dps = 50
    for base in [10000, 1000000]:
        for dim in [64, 128]:
            for position in [0, 1, 1000, 131071]:
                angles = [position * mpmath.mpf(base) ** (-mpmath.mpf(2 * i) / dim) for i in range(dim // 2)]
                table = [float(mpmath.cos(a)) for a in angles] + [float(mpmath.sin(a)) for a in angles]
                out[f"rope_table/{base}/{dim}/{position}"] = torch.tensor(table, dtype=torch.float64)
    # Rotations in double: rotate_half of transformers' Qwen2, and complex multiplication as in Meta's Llama.
    for layout in ["half_split", "interleaved"]:
        for head_dim, rotary_dim in [(64, 64), (80, 32), (128, 128)]:
            for position in [0, 1, 1000, 131071]:
                x = double(noise(31, 2, head_dim))
                turning, rest = x[:, :rotary_dim], x[:, rotary_dim:]
                angle = position * 10000.0 ** (-torch.arange(0, rotary_dim, 2, dtype=torch.float64) / rotary_dim)
                if layout == "half_split":
                    cos, sin = angle.cos().repeat(2), angle.sin().repeat(2)
                    first, second = turning.chunk(2, dim=-1)
                    turned = turning * cos + torch.cat((-second, first), -1) * sin
                else:
                    pairs = torch.view_as_complex(turning.reshape(2, -1, 2).contiguous())
                    turned = torch.view_as_real(pairs * torch.polar(torch.ones_like(angle), angle)).flatten(1)
                out[f"rope/{layout}/{head_dim}/{rotary_dim}/{position}"] = torch.cat((turned, rest), -1)


def rope_scaling(out):
    """Adds the radians by which each pair rotates from one position to the next, and behind them the magnitude. transformers computes
    them in float32."""
    from transformers import Qwen2Config
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    for kind, base, factor, original in [("linear", 1e4, 8.0, 4096), ("yarn", 1e6, 4.0, 32768), ("yarn", 1e4, 16.0, 4096),
                                         ("yarn", 1e6, 2.5, 8192)]:
        told = {"rope_type": kind, "rope_theta": base, "factor": factor, "original_max_position_embeddings": original}
        config = Qwen2Config(hidden_size=256, num_attention_heads=2, rope_parameters=told, max_position_embeddings=int(factor * original))
        radians, magnitude = ROPE_INIT_FUNCTIONS[kind](config, "cpu")
        out[f"rope_scaling/{kind}/{base:g}/{factor:g}/{original}"] = torch.cat((radians.double(), torch.tensor([magnitude]).double()))


def attention(out):
    stored = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
    # query heads, KV heads, head size, positions, and M: the last M positions are queries
    cases = [(4, 4, 64, 1, 1), (4, 2, 80, 15, 1), (5, 1, 96, 16, 3), (6, 1, 128, 17, 1), (7, 1, 64, 255, 1), (2, 1, 256, 256, 1),
             (2, 2, 64, 12, 12), (10, 2, 64, 258, 4)]
    typed = [(14, 2, 64, 257, 2), (12, 2, 128, 600, 1)]
    for kind, dtype in stored.items():
        for H, G, D, positions, M in (cases if kind == "f32" else []) + typed:
            query = double(noise(41, M, H, D) * np.float32(8)).transpose(0, 1)
            key = torch.from_numpy(noise(42, positions, G, D)).to(dtype).double().transpose(0, 1)
            value = torch.from_numpy(noise(43, positions, G, D)).to(dtype).double().transpose(0, 1)
            visible = torch.arange(positions) <= torch.arange(positions - M, positions)[:, None]
            result = F.scaled_dot_product_attention(query[None], key[None], value[None], attn_mask=visible, enable_gqa=True)
            out[f"attention/{kind}/{H}/{G}/{D}/{positions}/{M}"] = result[0].transpose(0, 1)


def main():
    out = {}
    for make in [matmul, rows, rope, rope_scaling, attention]:
        make(out)
    with open(sys.argv[1], "wb") as file:
        for name, values in out.items():
            flat = values.reshape(-1).numpy()
            file.write(struct.pack("<I", len(name)) + name.encode() + struct.pack("<I", flat.size) + flat.astype("<f8").tobytes())


if __name__ == "__main__":
    main()
