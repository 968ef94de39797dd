#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures the peak of resident memory that `stilla export` takes for matrices of the 7B's shape, mapped pages of the model
included: it must stay below 2 GB. Memory is taken by the matrix, so a model of some layers and the whole vocabulary shows it.
"""

import argparse
import pathlib
import resource
import tempfile

import common
import shape_model


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", help="the program stilla")
    parser.add_argument("--shape", default="7b", choices=shape_model.SHAPES)
    parser.add_argument("--layers", type=int, default=2, help="layers of the model (default: 2)")
    parser.add_argument("--scratch", help="folder for some GB of files (default: the system's)")
    options = parser.parse_args()
    judge = common.Judge()
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        scratch = pathlib.Path(scratch)
        shape_model.write(scratch / "model.gguf", options.shape, options.layers)
        (scratch / "text.txt").write_text("The quick brown fox jumps over the lazy dog. " * 100)
        program = common.Program(options.program, scratch / "model.gguf")
        for stack, more in (("onnx", ("--ctx", 4096)), ("openvino", ("--weights", "int4_channel")),
                            ("qnn", ("--weights", "int4_channel", "--calibration", scratch / "text.txt"))):
            program.run("export", "--to", stack, "-m", program.model, "-o", scratch / "out", *more)
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024  # of all children so far
            judge.claim(peak <= 2e9, f"--to {stack}, {options.layers} layers and the vocabulary of the {options.shape}: "
                        f"at most {peak / 1e9:.2f} GB resident, the mapped model included")
    judge.end()


if __name__ == "__main__":
    main()
