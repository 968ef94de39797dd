#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures the peak of resident memory that `stilla export` takes for matrices in the shape of the 7B model, mapped pages of
the model included. The peak must stay below 2 GB for each stack, with rotated weights too. Memory is taken matrix by matrix, so
a model of a few layers with the whole vocabulary is enough to measure this peak. (--calibrate is not tested here: it reads a text
with the whole model and keeps moments of the model's inputs, 4 GB of them at a time.)
"""

import argparse
import os
import pathlib
import subprocess
import tempfile

import common
import shape_model


def peak_bytes(arguments):
    """Returns the peak of resident memory of one process, without other children."""
    process = subprocess.Popen(list(map(str, arguments)), stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_maxrss * 1024 if process.returncode == 0 else None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", help="the program stilla")
    parser.add_argument("--shape", default="7b", choices=shape_model.SHAPES)
    parser.add_argument("--layers", type=int, default=2, help="layers of the model (default: 2)")
    parser.add_argument("--to", nargs="+", default=["onnx", "openvino", "qnn"], metavar="STACK", help="the stacks (default: all three)")
    parser.add_argument("--scratch", help="folder for some GB of files (default: the system's)")
    options = parser.parse_args()
    judge = common.Judge()
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        scratch = pathlib.Path(scratch)
        shape_model.write(scratch / "model.gguf", options.shape, options.layers)
        (scratch / "text.txt").write_text("The quick brown fox jumps over the lazy dog. " * 100)
        cases = [("onnx", ("--ctx", 4096)), ("openvino", ()), ("qnn", ("--calibration", scratch / "text.txt"))]
        cases = [case for case in cases if case[0] in options.to]
        rotated = [(stack, (*more, "--rotate", "all")) for stack, more in cases]
        for stack, more in cases + rotated:
            peak = peak_bytes([options.program, "export", "--to", stack, "-m", scratch / "model.gguf", "-o", scratch / "out", *more])
            what = f"--to {stack}{' --rotate all' if '--rotate' in more else ''}, {options.layers} layers and the vocabulary of the " \
                   f"{options.shape}"
            if peak is None:
                judge.claim(False, f"{what}: the export failed")
            else:
                judge.claim(peak <= 2e9, f"{what}: at most {peak / 1e9:.2f} GB resident, the mapped model included")
    judge.end()


if __name__ == "__main__":
    main()
