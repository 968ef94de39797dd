#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Puts Stilla's products into a model of transformers, and compares the result with transformers: the tokens, and the speed.

    bench/compare_transformers.py MODEL.gguf [--format q4_0] [--bits 8] [--threads 1] [--tokens 48] [--rounds 3]

Needs the Python package (`pip install .`), torch and transformers (.ci/requirements.txt). transformers reads MODEL.gguf and dequantises it.
Four models are made of it:

    float     in float32, with every torch.nn.Linear's weights rounded to the format
    stilla    the same rounded weights, packed and multiplied by torch.ops.stilla.int4_linear (stilla.torch.quantise, one call)
    float32   transformers as it is
    bfloat16  transformers as it is

`float` writes the answer, with greedy choice. `stilla` is then given the same tokens one by one and must choose the same next token
wherever the best logit of `float` is more than 0.1 above its second best. If it chooses another token there, the script ends with
status 1. Each round times the decoding of `stilla`, `float32` and `bfloat16` in turns, with the same number of threads.
"""

import argparse
import copy
import os
import statistics
import sys
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import stilla
import stilla.torch
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

PROMPT = "Write a Python function that returns the n-th Fibonacci number, and explain it."
MARGIN = 0.1


def rounded(model, form):
    """Rounds the weights of all linear layers to the format. A head that shares its weights with the embedding gets its own."""
    for layer in model.modules():
        if type(layer) is torch.nn.Linear:
            layer.weight = torch.nn.Parameter(torch.from_numpy(stilla.pack(layer.weight.detach().numpy(), form).unpack()))
    return model


@torch.no_grad()
def decode(model, prompt, count, forced=None):
    """Returns `count` rows of logits, and the seconds for all but the first. The tokens `forced` continue the text if they are given,
    otherwise the likeliest tokens do."""
    ids, cache, rows = torch.tensor([prompt]), None, []
    for i in range(count):
        out = model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        if i == 0:
            begin = time.perf_counter()
        cache = out.past_key_values
        rows.append(out.logits[0, -1].float())
        ids = torch.tensor([[forced[i] if forced else int(rows[-1].argmax())]])
    return torch.stack(rows), time.perf_counter() - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a GGUF file that transformers can read")
    parser.add_argument("--format", default="q4_0")
    parser.add_argument("--bits", type=int, default=8, help="what inputs of the products are rounded to: 8 or 16")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    stilla.set_threads(options.threads)
    source = dict(pretrained_model_name_or_path=os.path.dirname(os.path.abspath(options.model)), gguf_file=os.path.basename(options.model))
    tokenizer = AutoTokenizer.from_pretrained(**source)
    original = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32).eval()
    models = {"stilla": stilla.torch.quantise(copy.deepcopy(original), options.format, options.bits)}
    prompt = tokenizer.apply_chat_template([{"role": "user", "content": PROMPT}], add_generation_prompt=True, return_dict=False)

    reference = rounded(copy.deepcopy(original), options.format)
    expected, _ = decode(reference, prompt, options.tokens)
    del reference
    chosen = expected.argmax(1).tolist()
    found, _ = decode(models["stilla"], prompt, options.tokens, chosen)
    best = expected.topk(2).values
    is_clear = best[:, 0] - best[:, 1] > MARGIN
    is_same = found.argmax(1) == expected.argmax(1)
    error = float(((found - expected) ** 2).sum() / (expected**2).sum())
    print(f"{tokenizer.decode(chosen)!r}")
    print(f"{options.tokens} tokens: {int(is_same.sum())} the same; of {int(is_clear.sum())} with a margin above {MARGIN}, "
          f"{int((is_same & is_clear).sum())} the same; nmse of the logits {error:.1e}")

    models["bfloat16"] = copy.deepcopy(original).to(torch.bfloat16)
    models["float32"] = original
    seconds = {name: [] for name in models}
    for turn in range(options.rounds):
        for name in list(models)[:: 1 if turn % 2 == 0 else -1]:
            seconds[name].append(decode(models[name], prompt, options.tokens, chosen)[1])
    speeds = {name: (options.tokens - 1) / statistics.median(times) for name, times in seconds.items()}
    for name, speed in speeds.items():
        print(f"{name:8} {speed:6.2f} tokens/s, stilla / {name} {speeds['stilla'] / speed:5.2f}")
    return 0 if bool((is_same | ~is_clear).all()) else 1


if __name__ == "__main__":
    sys.exit(main())
