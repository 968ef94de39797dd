#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes real_models.bin: what transformers, in float32 on the dequantised weights, computes from prompts, for the real models
that scripts/fetch_models.sh fetches.

    pip install torch==2.15.0 transformers==5.23.0 accelerate==1.15.0 gguf==0.19.0 numpy==2.4.6
    python make_real_model_golden.py FOLDER_OF_MODELS tests/golden/real_models.bin

The file consists of records, little endian:  u32 name bytes | name | u32 count | count float32. For each model and prompt:
  FILE/PROMPT/ids        the prompt's tokens and the reference's greedy continuation of 48
  FILE/PROMPT/length     the number of the prompt's tokens
  FILE/PROMPT/top        for every position the 16 most likely tokens: 16 ids, then their 16 logits
  FILE/PROMPT/logsumexp  of all logits, for every position
  FILE/PROMPT/sample     logits of 32 tokens spread over the vocabulary, ids i * (vocabulary // 32), for every position
"""
import os
import struct
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "bench"))
from check_fidelity import reference  # noqa: E402

MODELS = ["qwen2.5-coder-0.5b-instruct-q4_k_m.gguf", "smollm2-135m-instruct-q4_1.gguf"]
PROMPTS = ["python", "french", "chinese", "whitespace", "chat", "maths"]
TOP = 16
SAMPLE = 32


def record(out, name, values):
    values = np.asarray(values, np.float32).ravel()
    out.write(struct.pack("<I", len(name)) + name.encode() + struct.pack("<I", values.size) + values.tobytes())


def main(folder, path):
    with open(path, "wb") as out:
        for model in MODELS:
            exact = reference(os.path.join(folder, model), "~/.cache/stilla-reference")
            for prompt in PROMPTS:
                told, logits = exact[prompt]
                logits = np.asarray(logits)
                best = np.argsort(-logits, axis=-1, kind="stable")[:, :TOP]
                values = np.take_along_axis(logits, best, -1)
                wide = logits.astype(np.float64)
                top = wide.max(-1)
                name = f"{model}/{prompt}"
                record(out, f"{name}/ids", told["ids"])
                record(out, f"{name}/length", [told["length"]])
                record(out, f"{name}/top", np.concatenate([best.astype(np.float32), values], -1))
                record(out, f"{name}/sample", logits[:, np.arange(SAMPLE) * (logits.shape[1] // SAMPLE)])
                record(out, f"{name}/logsumexp", top + np.log(np.exp(wide - top[:, None]).sum(-1)))


if __name__ == "__main__":
    main(*sys.argv[1:])
