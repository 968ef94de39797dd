#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What including the library costs, per compiler; exits 1 if a budget is exceeded.

    scripts/measure_compile_time.py [--runs 5] [COMPILER...]        default: g++ and clang++-14

Each figure is the median user + system time of compiling a file that includes one header and nothing else.
"""

import argparse
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
BASE = ["-std=c++20", "-O2", f"-I{ROOT}/include", f"-I{ROOT}/kernels"]
MEASURED = [  # what, header, further flags, budget in seconds
    ("matmul", "stilla/matmul.hpp", [], 2.0),
    ("all", "stilla/stilla.hpp", [], 8.0),
    ("all, single target", "stilla/stilla.hpp", ["-DSTILLA_SINGLE_TARGET=1", "-march=x86-64-v3"], 3.5),
]


def seconds(command):
    before = os.times()
    if subprocess.run(command).returncode != 0:
        sys.exit(f"{command[0]}: does not compile")
    after = os.times()
    return after.children_user - before.children_user + after.children_system - before.children_system


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("compilers", nargs="*", default=["g++", "clang++-14"], metavar="COMPILER")
    arguments = parser.parse_args()

    exceeded = 0
    print(f"{'compiler':14}{'included':22}{'seconds':>8}{'budget':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for compiler in filter(shutil.which, arguments.compilers):
            for what, header, flags, budget in MEASURED:
                source = pathlib.Path(folder, "file.cpp")
                source.write_text(f"#include <{header}>\n")
                command = [compiler, *BASE, *flags, "-c", source, "-o", source.with_suffix(".o")]
                median = statistics.median(seconds(command) for _ in range(arguments.runs))
                late = median > budget
                exceeded += late
                print(f"{compiler:14}{what:22}{median:8.2f}{budget:8.1f}{'  exceeded' if late else ''}", flush=True)
    return 1 if exceeded else 0


if __name__ == "__main__":
    sys.exit(main())
