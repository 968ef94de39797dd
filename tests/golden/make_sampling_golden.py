#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes sampling.bin: what each step of a sampling chain leaves or changes, for tests/sampling_steps_test.cpp.

    pip install torch==2.15.0 transformers==5.23.0 numpy==2.4.6
    python make_sampling_golden.py sampling.bin

Top-k, top-p, min-p, typical and the repetition penalty come from transformers, in float64. DRY and XTC are the loops of their
author's proposals (text-generation-webui, pull requests 5677 and 6335), and mirostat 2 is algorithm 2 of Basu et al. (2021);
all three are written out here. Format and inputs are those of make_op_golden.py: records whose names carry parameters, and
numbers from noise().
"""
import math
import struct
import sys

import numpy as np
import torch
from transformers.generation import logits_process as hf

from make_op_golden import noise, noise_bits

SHAPES = [(1, 4, 3), (2, 50, 4), (3, 300, 6), (4, 300, 1), (5, 700, 8)]  # seed, tokens, scale of the logits


def logits(seed, count, scale):
    return torch.from_numpy(noise(seed, count) * np.float32(scale)).double()


def kept(warper, values):
    return torch.nonzero(torch.isfinite(warper(torch.zeros(1, 1, dtype=torch.long), values[None])[0])).flatten()


def warpers(out):
    for seed, count, scale in SHAPES:
        values = logits(seed, count, scale)
        for k in (1, 3, 40):
            out[f"top_k/{seed}/{count}/{scale}/{k}"] = kept(hf.TopKLogitsWarper(k), values)
        for p in (0.05, 0.5, 0.9, 0.95, 0.999):
            out[f"top_p/{seed}/{count}/{scale}/{p}"] = kept(hf.TopPLogitsWarper(p), values)
        for p in (0.01, 0.1, 0.7):
            out[f"min_p/{seed}/{count}/{scale}/{p}"] = kept(hf.MinPLogitsWarper(p), values)
        for p in (0.1, 0.5, 0.9):
            out[f"typical/{seed}/{count}/{scale}/{p}"] = kept(hf.TypicalLogitsWarper(p), values)
        for threshold in (0.005, 0.05, 0.2):
            p = torch.softmax(values, 0)
            order = torch.argsort(p, descending=True)
            top = int((p >= threshold).sum())
            left = order[top - 1:] if top >= 2 else order
            out[f"xtc/{seed}/{count}/{scale}/{threshold}"] = torch.sort(left)[0]


def repetition(out):
    for seed, count, scale in SHAPES:
        values = logits(seed, count, scale)
        text = torch.from_numpy(noise_bits(seed + 50, 20).astype(np.int64) % count)
        for penalty in (1.25, 0.75):
            changed = hf.RepetitionPenaltyLogitsProcessor(penalty)(text[None], values[None])[0]
            out[f"repetition/{seed}/{count}/{scale}/{penalty}"] = changed


def dry_penalties(text, multiplier, base, allowed, breakers, tokens):
    penalties = [0.0] * tokens
    if text[-1] in breakers:
        return penalties
    lengths = {}
    for i in range(len(text) - 1):
        if text[i] != text[-1] or text[i + 1] in breakers:
            continue
        length = 1
        while i - length >= 0 and text[i - length] == text[-1 - length] and text[-1 - length] not in breakers:
            length += 1
        lengths[text[i + 1]] = max(length, lengths.get(text[i + 1], 0))
    for token, length in lengths.items():
        if length >= allowed:
            penalties[token] = multiplier * base ** (length - allowed)
    return penalties


def dry(out):
    for seed in range(12):
        for tokens, length in ((2, 40), (3, 80), (6, 60), (20, 200)):
            text = [int(t) % tokens for t in noise_bits(seed + 70, length)]
            if seed % 2:
                text += text[:length // 3]  # repeats a long passage
            for multiplier, base, allowed, breaker in ((0.8, 1.75, 2, 0), (1.0, 1.5, 1, tokens), (0.5, 1.1, 4, 1)):
                name = f"dry/{seed}/{tokens}/{length}/{multiplier}/{base}/{allowed}/{breaker}"
                out[name] = torch.tensor(dry_penalties(text, multiplier, base, allowed, {breaker}, tokens))


def mirostat(out):
    """Adds pairs: the number of candidates that are left, and mu after the draw. Each step draws the least likely of these candidates."""
    for seed, count, scale in SHAPES:
        for tau, eta in ((5.0, 0.1), (2.0, 0.5)):
            mu, steps = 2 * tau, []
            for step in range(20):
                p = torch.softmax(logits(seed + step, count, scale), 0)
                surprise = torch.sort(-torch.log2(p))[0].tolist()
                left = max(1, sum(s <= mu for s in surprise))
                mu -= eta * (surprise[left - 1] - tau)
                steps += [left, mu]
            out[f"mirostat/{seed}/{count}/{scale}/{tau}/{eta}"] = torch.tensor(steps)


def main():
    out = {}
    for make in [warpers, repetition, dry, mirostat]:
        make(out)
    assert all(math.isfinite(v) for values in out.values() for v in values.flatten().tolist())
    with open(sys.argv[1], "wb") as file:
        for name, values in out.items():
            flat = values.double().reshape(-1).numpy()
            file.write(struct.pack("<I", len(name)) + name.encode() + struct.pack("<I", flat.size) + flat.astype("<f8").tobytes())


if __name__ == "__main__":
    main()
