#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures for each compiler how long a file that calls matmul() takes to compile; exits 1 if a budget is exceeded.

    tests/measure_compile_time.py [--runs 5] [COMPILER...]        default: g++ and clang++-14

Each figure is the least user + system time of compiling one file. A budget is a multiple of the time that the same compiler
takes for a few headers of the standard library, because seconds depend on the machine. The runs with these headers alternate with
the other runs. A file that takes long is compiled once.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
BASE = ["-std=c++20", "-O2", f"-I{ROOT}/include", f"-I{ROOT}/kernels"]
STANDARD = ["algorithm", "functional", "iostream", "map", "memory", "regex", "string", "thread", "vector"]
MULTIPLY = """#include <stilla/matmul.hpp>
void multiply(stilla::Matrix y, const stilla::PackedView& w, const stilla::ActivationQ8& x) { (void)stilla::matmul(y, w, x); }
"""
# On a machine that compiles the standard headers in 0.6 s, the budgets allow 1.2, 3.5 and 40 seconds.
LONG = 20  # a file with at least this budget is compiled once
MEASURED = [  # what, source, flags, budget as a multiple of the standard headers' time
    ("standard headers", "".join(f"#include <{header}>\n" for header in STANDARD), [], 1),
    ("separate kernels", MULTIPLY, ["-DSTILLA_SEPARATE_KERNELS=1"], 2),
    ("one format", MULTIPLY, ["-DSTILLA_FORMATS=Q8_0"], 5.8),
    ("default formats", MULTIPLY, [], 66),
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
    print(f"{'compiler':14}{'compiled':22}{'seconds':>8}{'times':>8}{'budget':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for compiler in filter(shutil.which, arguments.compilers):
            commands = []
            for number, (_, text, flags, _) in enumerate(MEASURED):
                source = pathlib.Path(folder, f"file{number}.cpp")
                source.write_text(text)
                commands.append([compiler, *BASE, *flags, "-c", source, "-o", source.with_suffix(".o")])
            least = [seconds(command) for command in commands]
            for _ in range(arguments.runs - 1):
                for number, (_, _, _, budget) in enumerate(MEASURED):
                    if budget < LONG:
                        least[number] = min(least[number], seconds(commands[number]))
            for (what, _, _, budget), time in zip(MEASURED, least):
                times = time / least[0]
                late = times > budget
                exceeded += late
                print(f"{compiler:14}{what:22}{time:8.2f}{times:8.1f}{budget:8}{'  exceeded' if late else ''}", flush=True)
    return 1 if exceeded else 0


if __name__ == "__main__":
    sys.exit(main())
