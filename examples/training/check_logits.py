#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares the program's logits with PyTorch's, for the same GGUF file. PyTorch computes in float32. The texts are unseen problems of
data.py.

    examples/training/check_logits.py build/release/bin/stilla examples/models/stilla-drop-f16.gguf [-- --target scalar ...]

The program runs with a float32 cache; weights of F16 are multiplied by float inputs. The script fails if the normalised squared error
of a text, sum (ours - reference)^2 / sum reference^2, is above 1e-6. The cosines and sines, RMSNorm and softmax are PyTorch's own.
"""
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from gguf import GGUFReader
from gguf.quants import dequantize

import data
import tokenizer as tokenizers
from model import Config, Model

TEXTS = 21
GATE = 1e-6


def main():
    program, file, *options = [a for a in sys.argv[1:] if a != "--"]
    model = Model(Config())
    weights = {t.name: torch.from_numpy(dequantize(t.data, t.tensor_type).copy()) for t in GGUFReader(file).tensors}
    model.load_state_dict({name: weights[name].view_as(p) for name, p in model.state_dict().items()})
    tokenizer = tokenizers.make()
    problems = data.test_problems(data.TABLE_SEED, TEXTS)
    worst = 0.0
    for prompt, response in zip(tokenizer.prompts([p.question for p in problems]), tokenizer.responses(problems)):
        ids = prompt + response
        with torch.no_grad():
            exact = model(torch.tensor([ids]))[0].double().numpy()
        with tempfile.TemporaryDirectory() as folder:
            out = str(Path(folder) / "logits.npy")
            subprocess.run([program, "logits", "-m", file, "--kv", "f32", "--ids", ",".join(map(str, ids)), "-o", out, *options],
                           check=True, stderr=subprocess.DEVNULL)
            ours = np.load(out).astype(np.float64)
        worst = max(worst, ((ours - exact) ** 2).sum() / (exact**2).sum())
    print(f"{Path(file).name}: worst nmse of {TEXTS} texts {worst:.2e}")
    return int(worst > GATE)  # the comparison gives a bool of numpy, which cannot be an exit status


if __name__ == "__main__":
    sys.exit(main())
