#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures what each type of the key/value cache costs: compares a program's logits with each --kv to its logits with --kv f32.

    pip install numpy==2.4.6
    bench/compare_caches.py build/release/bin/stilla MODEL.gguf [--types f16 int8 ...] [-- --target scalar ...]

The texts are the prompts of check_fidelity.py and the beginnings of three files of this repository, which are prose and code.

    KL      divergence of the tokens' probabilities from those with f32, in nats: the mean over positions, with its standard error, and
            that of the worst position
    top-1   share of positions whose most likely token is the same as with f32

The script fails if int8 misses its gate (KL 0.0005, top-1 98.5 %) or if int5, the compact type, misses its own (KL 0.010).
"""
import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np

from check_fidelity import PROMPTS, compare, program_logits

ROOT = Path(__file__).resolve().parent.parent
FILES = {"README.md": 1500, "include/stilla/kv_cache.hpp": 1500, "kernels/README.md": 1500}
GATES = {"int8": (0.0005, 0.985), "int5": (0.010, 0.0)}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("program")
    p.add_argument("model")
    p.add_argument("--types", nargs="+", default=["f16", "bf16", "int8", "int5"])
    arguments, options = sys.argv[1:], []
    if "--" in arguments:
        at = arguments.index("--")
        arguments, options = arguments[:at], arguments[at + 1:]
    a = p.parse_args(arguments)
    texts = [*PROMPTS.values(), *((ROOT / name).read_text()[:count] for name, count in FILES.items())]
    results = {kv: [] for kv in a.types}
    for text in texts:
        told = subprocess.run([a.program, "tokenize", "-m", a.model, text], check=True, stdout=subprocess.PIPE, text=True).stdout
        ids = [int(number) for number in told.split()]
        exact = program_logits(a.program, a.model, ids, ["--kv", "f32", *options])
        for kv in a.types:
            results[kv].append(compare(program_logits(a.program, a.model, ids, ["--kv", kv, *options]), exact, 1))
    failed = False
    print(f"{'cache':6} {'KL':>9} {'+-':>8} {'worst':>8} {'top-1':>7} {'positions':>9}")
    for kv, measured in results.items():
        kl = np.concatenate([r["kl"] for r in measured])
        top1 = np.concatenate([r["top1"] for r in measured]).mean()
        print(f"{kv:6} {kl.mean():9.6f} {kl.std() / len(kl)**0.5:8.6f} {kl.max():8.4f} {top1:7.2%} {len(kl):9}")
        max_kl, min_top1 = GATES.get(kv, (np.inf, 0.0))
        failed |= kl.mean() > max_kl or top1 < min_top1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
