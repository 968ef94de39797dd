#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What rounding a model's weights to each format costs: the table in include/stilla/format/st4.hpp.

    pip install torch==2.15.0 transformers==5.23.0 accelerate==1.15.0 gguf==0.19.0 numpy==2.4.6
    scripts/compare_formats.py MODEL.gguf [FORMAT...]

All matrices but embedding and head are encoded and decoded by this library (compiled here, with $CXX or c++), and transformers
runs in float32 with what comes out: nothing else is rounded. The file's own weights, dequantised, count as the original,
which flatters formats like the file's. Prompts, reference and measures are those of check_fidelity.py. Blocks follow each
other through the whole matrix, so that formats with blocks of 256 can be compared where rows are no multiple of it.

    bits     per weight
    nmse     sum (decoded - original)^2 / sum original^2, over all matrices
    KL       of the logits from the original's, mean over positions, in nats, and its standard error
    top-1    share of positions whose most likely token is the original's
    M/s      million weights encoded and decoded per second of processor time
"""
import argparse
import ctypes
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from check_fidelity import compare, reference

SOURCE = r"""
#include <ctime>
#include <vector>
#include <stilla/format/format.hpp>

// Rounds `count` weights in place to the format of this name. The block's bytes, or 0 for a format without an encoder.
extern "C" std::size_t round_weights(const char* name, float* weights, std::size_t count, std::size_t* block_weights,
                                     double* seconds) {
  std::size_t bytes = 0;
  stilla::for_each_type(stilla::Formats{}, [&]<class F>(F) {
    if constexpr (stilla::EncodableFormat<F>) {
      if (F::name != name) return;
      bytes = F::block_bytes;
      *block_weights = F::block_weights;
      std::vector<std::byte> block(F::block_bytes);
      const std::clock_t start = std::clock();
      for (std::size_t k = 0; k < count / F::block_weights * F::block_weights; k += F::block_weights) {
        F::encode(weights + k, block.data());
        F::decode(block.data(), weights + k);
      }
      *seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    }
  });
  return bytes;
}
"""


def build():
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "round.cpp"), Path(folder, "round.so")
        source.write_text(SOURCE)
        include = Path(__file__).resolve().parent.parent / "include"
        compiler = os.environ.get("CXX", "c++")
        subprocess.run([compiler, "-std=c++20", "-O2", "-shared", "-fPIC", f"-I{include}", source, "-o", library], check=True)
        return ctypes.CDLL(str(library)).round_weights


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("formats", nargs="*", default=["q4_0", "iq4_nl", "iq4_xs", "q4_k", "st4"])
    p.add_argument("--cache", default="~/.cache/stilla-reference")
    a = p.parse_args()
    round_weights = build()
    round_weights.restype = ctypes.c_size_t
    exact = reference(a.model, a.cache)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch
    from transformers import AutoModelForCausalLM

    path = Path(a.model).resolve()
    model = AutoModelForCausalLM.from_pretrained(str(path.parent), gguf_file=path.name, dtype=torch.float32).eval()
    matrices = [m for name, m in model.named_modules() if isinstance(m, torch.nn.Linear) and name != "lm_head"]
    originals = [m.weight.detach().numpy().copy() for m in matrices]
    print(f"{'format':8} {'bits':>6} {'nmse':>9} {'KL':>8} {'+-':>7} {'top-1':>7} {'M/s':>6}")
    for name in a.formats:
        error = energy = seconds = 0.0
        count = 0
        for matrix, original in zip(matrices, originals):
            rounded = np.ascontiguousarray(original.copy())
            block_weights, took = ctypes.c_size_t(), ctypes.c_double()
            block_bytes = round_weights(name.encode(), rounded.ctypes.data_as(ctypes.c_void_p),
                                        ctypes.c_size_t(rounded.size), ctypes.byref(block_weights), ctypes.byref(took))
            if block_bytes == 0:
                sys.exit(f"{name}: no format with an encoder has this name")
            error += float(((rounded - original).astype(np.float64) ** 2).sum())
            energy += float((original.astype(np.float64) ** 2).sum())
            seconds += took.value
            count += rounded.size
            matrix.weight.data = torch.from_numpy(rounded)
        results = []
        for told, logits in exact.values():
            with torch.no_grad():
                ours = model(torch.tensor([told["ids"]])).logits[0].numpy()[:len(logits)]
            results.append(compare(ours, logits, told["length"]))
        kl = np.concatenate([r["kl"] for r in results])
        top1 = np.concatenate([r["top1"] for r in results]).mean()
        print(f"{name:8} {8 * block_bytes / block_weights.value:6.4g} {error / energy:9.5f} {kl.mean():8.4f} "
              f"{kl.std() / len(kl)**0.5:7.4f} {top1:7.1%} {count / seconds / 1e6:6.1f}", flush=True)


if __name__ == "__main__":
    main()
