#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes formats.bin: blocks that gguf-py decodes, and weights that it encodes, with the results, for tests/format_test.cpp.

    pip install gguf==0.19.0 numpy==2.4.6
    python make_format_golden.py formats.bin

The file consists of records, little endian:
    u32 GGUF tensor type | u32 0 = decode, 1 = encode | u32 blocks | the blocks' bytes | their weights, float32
The weights of a decode record are gguf.quants.dequantize(blocks); the blocks of an encode record are
gguf.quants.quantize(weights).
Blocks hold random bytes with finite scales of all magnitudes, or one repeated byte (all bits zero, all bits one, lowest and
highest codes). Weights are normal, sparse, of one sign, huge, tiny, subnormal, ties, and zero.
"""
import struct
import sys

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as T
from gguf.quants import dequantize, quantize

# For each type, the byte offsets of the halves (16-bit floats) in a block.
HALVES = {
    T.F32: [], T.F16: [], T.BF16: [], T.Q8_0: [0], T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2],
    T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208], T.IQ4_NL: [0], T.IQ4_XS: [0],
}
ENCODED = [T.F32, T.F16, T.BF16, T.Q8_0, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1]
# These types were added later and have random numbers of their own, so that the records of the types above stay the same.
LATER_HALVES = {
    T.Q2_K: [80, 82], T.Q3_K: [108], T.IQ2_XXS: [0], T.IQ2_XS: [0], T.IQ2_S: [0], T.IQ3_XXS: [0], T.IQ3_S: [0],
}
SCALES = np.array([0.0, -0.0, 6e-8, -6e-8, 5.9e-5, 6.2e-5, 0.0043, -0.02, 1.0, -1.0, 17.3, 65504.0, -65504.0], np.float16)


def decode_blocks(rng, qtype):
    weights, size = GGML_QUANT_SIZES[qtype]
    if weights == 1:
        raw = rng.integers(0, 256, size=(1024, size), dtype=np.uint8)
        values = dequantize(raw.reshape(1, -1), qtype).reshape(-1)
        return raw[np.isfinite(values)]
    n = 64 if weights == 32 else 14
    raw = rng.integers(0, 256, size=(n, size), dtype=np.uint8)
    raw[:6] = np.array([0x00, 0xff, 0x0f, 0xf0, 0x80, 0x7f], np.uint8)[:, None]
    for column in (HALVES | LATER_HALVES)[qtype]:
        raw[:, column:column + 2] = rng.choice(SCALES, n).reshape(n, 1).view(np.uint8)
        raw[:2, column:column + 2] = np.array([[0.01], [3.0]], np.float16).view(np.uint8)
    return raw


def every_entry(rng, qtype):
    """Returns blocks that together have every entry of the type's grid, with random signs and scales. For a type
    without a grid, it returns no block."""
    if not qtype.name.startswith(("IQ2", "IQ3")):
        return np.zeros((0, GGML_QUANT_SIZES[qtype][1]), np.uint8)
    count = {T.IQ2_XXS: 256, T.IQ2_XS: 512, T.IQ2_S: 1024, T.IQ3_XXS: 256, T.IQ3_S: 512}[qtype]
    at_once = 32 if qtype.name.startswith("IQ2") else 64
    blocks = count // at_once
    raw = rng.integers(0, 256, size=(blocks, GGML_QUANT_SIZES[qtype][1]), dtype=np.uint8)
    raw[:, :2] = np.array([1.0], np.float16).view(np.uint8)
    index = np.arange(count).reshape(blocks, at_once)
    low = (index & 255).astype(np.uint8)
    if qtype == T.IQ2_XXS:
        raw[:, 2:].reshape(blocks, 8, 8)[:, :, :4] = low.reshape(blocks, 8, 4)
    elif qtype == T.IQ2_XS:
        words = index | rng.integers(0, 128, index.shape) << 9
        raw[:, 2:66] = words.astype("<u2").view(np.uint8)
    else:
        raw[:, 2:2 + at_once] = low
        if qtype == T.IQ2_S:
            pairs = (index >> 8).reshape(blocks, 8, 4)
            raw[:, 66:74] = (pairs << np.array([0, 2, 4, 6])).sum(axis=2)
        if qtype == T.IQ3_S:
            raw[:, 66:74] = np.packbits((index >> 8).reshape(blocks, 8, 8), axis=2, bitorder="little").reshape(blocks, 8)
    return raw


def encode_weights(rng):
    normal = rng.standard_normal((40, 32)).astype(np.float32) * np.float32(0.02)
    rows = list(normal)
    rows += list(rng.standard_normal((8, 32)).astype(np.float32) * np.float32(10.0) ** rng.integers(-6, 4, (8, 1)).astype(np.float32))
    sparse = np.zeros((4, 32), np.float32)
    sparse[np.arange(4), [0, 5, 16, 31]] = [1, -1, 0.5, -3]
    rows += list(sparse)
    rows += list(np.abs(normal[:4])) + list(-np.abs(normal[4:8])) + list(normal[8:12] + np.float32(5))
    rows += [np.zeros(32, np.float32), np.full(32, 0.25, np.float32), np.full(32, -0.25, np.float32)]
    rows += [np.full(32, -0.0, np.float32)]
    rows += list(normal[12:14] * np.float32(1e6)) + list(normal[14:16] * np.float32(1e37))   # infinite as halves
    rows += list(normal[16:18] * np.float32(1e-6)) + list(normal[18:20] * np.float32(1e-30))
    rows += list(normal[20:22] * np.float32(1e-36))
    rows += list(normal[22:24] * np.float32(1e-38))     # subnormal weights; 1 / scale is infinite
    grid = np.arange(32, dtype=np.float32)
    rows += [(grid - 16) / 2, 16 - grid, (grid - 8) * 0.5, (grid - 15.5), grid * np.float32(127 / 31), -grid]   # codes and ties
    rows += list(np.round(rng.uniform(-127, 127, (6, 32)) * 2).astype(np.float32) / 2)
    for row in rows[-6:]:
        row[0] = 127                                     # scale 1: every x.5 is a tie of q8_0
    return np.array(rows, np.float32)


def main():
    rng = np.random.default_rng(20240607)
    out = bytearray()

    def record(qtype, kind, blocks, weights):
        nonlocal out
        out += struct.pack("<III", int(qtype), kind, len(blocks)) + blocks.tobytes() + weights.astype("<f4").tobytes()

    with np.errstate(all="ignore"):
        for qtype in HALVES:
            raw = decode_blocks(rng, qtype)
            record(qtype, 0, raw, dequantize(raw.reshape(len(raw), -1), qtype).reshape(-1))
        weights = encode_weights(rng)
        for qtype in ENCODED:
            raw = np.ascontiguousarray(quantize(weights, qtype)).view(np.uint8)
            record(qtype, 1, raw.reshape(-1, GGML_QUANT_SIZES[qtype][1]), weights.reshape(-1))
        rng = np.random.default_rng(20261126)
        for qtype in LATER_HALVES:
            raw = np.concatenate([decode_blocks(rng, qtype), every_entry(rng, qtype)])
            record(qtype, 0, raw, dequantize(raw.reshape(len(raw), -1), qtype).reshape(-1))
    with open(sys.argv[1], "wb") as file:
        file.write(out)
    print(sys.argv[1], len(out), "bytes")


if __name__ == "__main__":
    main()
