#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures for each compiler how long a file that calls matmul() takes to compile; exits 1 if a budget is exceeded.

    tests/measure_compile_time.py [--runs 5] [COMPILER...]        default: g++ and clang++-14

Each figure is the user + system time of compiling one file, the median of the runs. A budget is a multiple of the time that the same
compiler takes for a few headers of the standard library, because seconds depend on the machine. A machine's clock changes within
a minute. So each run is divided by the time of these headers just before and after it, and the median of these quotients counts. A file
that takes long is compiled once.
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
STANDARD = ["algorithm", "functional", "iostream", "map", "memory", "regex", "string", "thread", "vector"]
MULTIPLY = """#include <stilla/matmul.hpp>
void multiply(stilla::Matrix y, const stilla::PackedView& w, const stilla::ActivationQ8& x) { (void)stilla::matmul(y, w, x); }
"""
# On a machine that compiles the standard headers in 0.6 s, the budgets allow 1.2, 3.5 and 40 seconds.
LONG = 20  # a file with at least this budget is compiled once
MEASURED = [  # what, source, flags, budget as a multiple of the standard headers' time
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


def measure(command, headers, runs):
    """Returns the median of the seconds that the command takes, and the median of its multiples of the command `headers`."""
    before = seconds(headers)
    times, multiples = [], []
    for _ in range(runs):
        times.append(seconds(command))
        after = seconds(headers)
        multiples.append(times[-1] / ((before + after) / 2))
        before = after
    return statistics.median(times), statistics.median(multiples)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("compilers", nargs="*", default=["g++", "clang++-14"], metavar="COMPILER")
    arguments = parser.parse_args()

    exceeded = 0
    print(f"{'compiler':14}{'compiled':22}{'seconds':>8}{'times':>8}{'budget':>8}")
    with tempfile.TemporaryDirectory() as folder:

        def command_for(compiler, name, text, flags):
            source = pathlib.Path(folder, f"{name}.cpp")
            source.write_text(text)
            return [compiler, *BASE, *flags, "-c", source, "-o", source.with_suffix(".o")]

        for compiler in filter(shutil.which, arguments.compilers):
            headers = command_for(compiler, "headers", "".join(f"#include <{header}>\n" for header in STANDARD), [])
            print(f"{compiler:14}{'standard headers':22}{seconds(headers):8.2f}{1:8}", flush=True)
            for what, text, flags, budget in MEASURED:
                command = command_for(compiler, "measured", text, flags)
                time, multiple = measure(command, headers, 1 if budget >= LONG else arguments.runs)
                late = multiple > budget
                exceeded += late
                print(f"{compiler:14}{what:22}{time:8.2f}{multiple:8.1f}{budget:8}{'  exceeded' if late else ''}", flush=True)
    return 1 if exceeded else 0


if __name__ == "__main__":
    sys.exit(main())
