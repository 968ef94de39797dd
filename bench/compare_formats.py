#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures what rounding a model's weights to each format costs. It makes the tables in include/stilla/format/README.md and format/st4.hpp.

    pip install torch==2.15.0 transformers==5.23.0 accelerate==1.15.0 gguf==0.19.0 numpy==2.4.6
    bench/compare_formats.py MODEL.gguf [FORMAT[+CHANGE]...] [--program build/release/bin/stilla] [--text FILE] [--imatrix FILE]

All matrices but embedding and head are encoded and decoded by this library (compiled here, with $CXX or c++). transformers then runs
in float32 with the decoded weights: nothing else is rounded. The file's own weights, dequantised, count as the original, which makes
formats that are like the file's look better than they are. Prompts, reference and measures are those of check_fidelity.py. Blocks
follow each other through the whole matrix, across the ends of rows, so that formats with blocks of 256 can be compared where the
length of a row is not a multiple of 256.
With --program each format gets a second line, with the logits of that program from a file that was packed with --weights. Packing
leaves a matrix as it is if the length of its rows is not a multiple of the format's block.

A CHANGE is what `stilla pack` does to the weights before they are encoded: rotations (residual,down: --rotate), or calibration
(--calibrate FILE of --text). Lines with a change come from the program alone: int4_channel+residual,down+calibrated. The exception
is FORMAT+importance: it uses the importance matrix of --imatrix, and this script simulates it too.

    bits     per weight
    nmse     sum (decoded - original)^2 / sum original^2, over all matrices
    KL       divergence of the tokens' probabilities from the original's, mean over positions, in nats, and its standard error
    top-1    share of positions whose most likely token is the original's
    ppl      perplexity of the prompts alone, except their first tokens; the text that the original adds to a prompt is not counted
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

from check_fidelity import compare, log_softmax, program_logits, reference

FORMATS = ["q8_0", "int8_channel", "q4_k", "st4", "iq4_nl", "iq4_xs", "int4_g128_min", "q4_0", "int4_g128", "int4_channel"]

SOURCE = r"""
#include <ctime>
#include <vector>
#include <stilla/format/format.hpp>
#include <stilla/format/importance.hpp>

// Rounds rows of `columns` weights in place to the format of this name. Bytes they take, or 0 for a format without an encoder.
// mean_squares: of the inputs, or null.
extern "C" std::size_t round_weights(const char* name, float* weights, std::size_t rows, std::size_t columns, const float* mean_squares,
                                     double* seconds) {
  std::size_t bytes = 0;
  stilla::for_each_type(stilla::Formats{}, [&]<class F>(F) {
    if constexpr (stilla::EncodableFormat<F>) {
      if (F::name != name) return;
      // Blocks take no notice of rows.
      const std::size_t count = rows * columns / F::block_weights * F::block_weights;
      const std::size_t step = stilla::RowScaledFormat<F> ? columns : F::block_weights;
      std::vector<std::byte> row(stilla::row_bytes<F>(step));
      std::vector<float> of_row(columns), importance(step);
      if (mean_squares != nullptr && (!stilla::ImportanceFormat<F> || !stilla::prepare_importance({mean_squares, columns}, of_row.data()))) return;
      const std::clock_t start = std::clock();
      for (std::size_t k = 0; k < count; k += step) {
        if constexpr (stilla::ImportanceFormat<F>) {
          if (mean_squares != nullptr) {
            for (std::size_t i = 0; i < step; ++i) importance[i] = of_row[(k + i) % columns];
            stilla::encode_row<F>(weights + k, row.data(), step, importance.data());
          }
        }
        if (mean_squares == nullptr) stilla::encode_row<F>(weights + k, row.data(), step);
        stilla::decode_row<F>(row.data(), weights + k, step);
        bytes += row.size();
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
        subprocess.run([compiler, "-std=c++20", "-O2", "-shared", "-fPIC", "-DSTILLA_SEPARATE_KERNELS=1", f"-I{include}", source, "-o", library], check=True)
        return ctypes.CDLL(str(library)).round_weights


PARTS = {"q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output", "gate_proj": "ffn_gate", "up_proj": "ffn_up",
         "down_proj": "ffn_down"}


def importance_of(path):
    """Returns a function that gives the mean squares of the inputs of a matrix of transformers' model by its name, from a GGUF file."""
    from gguf import GGUFReader

    tensors = {tensor.name: tensor.data.reshape(-1) for tensor in GGUFReader(path).tensors}

    def of(name):  # model.layers.3.mlp.up_proj
        *_, layer, _, part = name.split(".")
        weight = f"blk.{layer}.{PARTS[part]}.weight"
        return np.ascontiguousarray(tensors[weight + ".in_sum2"] / tensors[weight + ".counts"][0], np.float32)

    return of


def losses(logits, told):
    """Returns -log p of each token of the prompt, from the second token on."""
    length = told["length"]
    return -log_softmax(np.asarray(logits[:length - 1], np.float64))[np.arange(length - 1), told["ids"][1:length]]


def measures(exact, logits_of):
    """Returns KL, its standard error, top-1 and perplexity of logits_of(ids), as text."""
    results, loss = [], []
    for told, logits in exact.values():
        ours = logits_of(told["ids"])[:len(logits)]
        results.append(compare(ours, logits, told["length"]))
        loss.append(losses(ours, told))
    kl = np.concatenate([r["kl"] for r in results])
    top1 = np.concatenate([r["top1"] for r in results]).mean()
    return f"{kl.mean():8.4f} {kl.std() / len(kl)**0.5:7.4f} {top1:7.1%} {np.exp(np.concatenate(loss).mean()):7.2f}"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("formats", nargs="*", default=FORMATS)
    p.add_argument("--program")
    p.add_argument("--text", help="the text to calibrate by")
    p.add_argument("--imatrix", help="the importance matrix, a GGUF file as llama-imatrix writes it")
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
    names, matrices = zip(*[(name, m) for name, m in model.named_modules() if isinstance(m, torch.nn.Linear) and name != "lm_head"])
    importance = importance_of(a.imatrix) if a.imatrix else None
    originals = [m.weight.detach().numpy().copy() for m in matrices]

    def rounded_logits(ids):
        with torch.no_grad():
            return model(torch.tensor([ids])).logits[0].numpy()

    loss = np.concatenate([losses(logits, told) for told, logits in exact.values()])
    print(f"{'format':18} {'bits':>6} {'nmse':>9} {'M/s':>6} {'KL':>8} {'+-':>7} {'top-1':>7} {'ppl':>7}")
    print(f"{'original':18} {'':32} {'':15} {np.exp(loss.mean()):7.2f}", flush=True)
    def program_measures(format_name, changes):
        options = []
        for change in changes:
            options += {"calibrated": ["--calibrate", a.text], "importance": ["--imatrix", a.imatrix]}.get(change, ["--rotate", change])
        with tempfile.TemporaryDirectory() as folder:
            packed = os.path.join(folder, "packed.stilla")
            subprocess.run([a.program, "pack", "-m", a.model, "--weights", format_name, "-o", packed, *options], check=True,
                           stderr=subprocess.DEVNULL)
            return measures(exact, lambda ids: program_logits(a.program, packed, ids, []))

    for name in a.formats:
        name, *changes = name.split("+")
        is_weighted = changes == ["importance"]
        if is_weighted and not a.imatrix:
            p.error("importance needs --imatrix")
        if changes and not is_weighted:
            if not a.program or ("calibrated" in changes and not a.text):
                p.error("changes of the weights need --program, and calibrated needs --text")
            print(f"{'+'.join([name, *changes]):41} {program_measures(name, changes)}", flush=True)
            continue
        error = energy = seconds = 0.0
        count = total_bytes = 0
        for matrix_name, matrix, original in zip(names, matrices, originals):
            rounded = np.ascontiguousarray(original.copy())
            took = ctypes.c_double()
            squares = importance(matrix_name) if is_weighted else None  # kept alive while its memory is used
            count_bytes = round_weights(name.encode(), rounded.ctypes.data_as(ctypes.c_void_p),
                                        ctypes.c_size_t(rounded.shape[0]), ctypes.c_size_t(rounded.shape[1]), squares if squares is None else squares.ctypes.data_as(ctypes.c_void_p),
                                        ctypes.byref(took))
            if count_bytes == 0:
                sys.exit(f"{name}: no format with an encoder" + (" that uses importance" if is_weighted else "") + " has this name")
            error += float(((rounded - original).astype(np.float64) ** 2).sum())
            energy += float((original.astype(np.float64) ** 2).sum())
            seconds += took.value
            count += rounded.size
            total_bytes += count_bytes
            matrix.weight.data = torch.from_numpy(rounded)
        print(f"{'+'.join([name, *changes]):18} {8 * total_bytes / count:6.4g} {error / energy:9.5f} {count / seconds / 1e6:6.1f} "
              f"{measures(exact, rounded_logits)}", flush=True)
        if a.program:
            print(f"{'':29} {'program':>12} {program_measures(name, changes)}", flush=True)


if __name__ == "__main__":
    main()
