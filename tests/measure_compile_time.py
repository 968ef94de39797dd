#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What including the library costs, per compiler; exits 1 if a budget is exceeded.

    tests/measure_compile_time.py [--runs 5] [COMPILER...]        default: g++ and clang++-14

Each figure is the least user + system time of compiling a file that includes one header and nothing else. Budgets are
multiples of what the same compiler takes for a few headers of the standard library, measured in between, because the
seconds are the machine's.
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
MEASURED = [  # what, headers, further flags, budget in times the standard headers
    ("standard headers", STANDARD, [], 1),
    ("matmul", ["stilla/matmul.hpp"], [], 4),
    ("all", ["stilla/stilla.hpp"], [], 8),
    ("all, single target", ["stilla/stilla.hpp"], ["-DSTILLA_SINGLE_TARGET=1", "-march=x86-64-v3"], 6),
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
    print(f"{'compiler':14}{'included':22}{'seconds':>8}{'times':>8}{'budget':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for compiler in filter(shutil.which, arguments.compilers):
            commands = []
            for number, (_, headers, flags, _) in enumerate(MEASURED):
                source = pathlib.Path(folder, f"file{number}.cpp")
                source.write_text("".join(f"#include <{header}>\n" for header in headers))
                commands.append([compiler, *BASE, *flags, "-c", source, "-o", source.with_suffix(".o")])
            runs = [[seconds(command) for command in commands] for _ in range(arguments.runs)]
            least = [min(run[number] for run in runs) for number in range(len(commands))]
            for (what, _, _, budget), time in zip(MEASURED, least):
                times = time / least[0]
                late = times > budget
                exceeded += late
                print(f"{compiler:14}{what:22}{time:8.2f}{times:8.1f}{budget:8}{'  exceeded' if late else ''}", flush=True)
    return 1 if exceeded else 0


if __name__ == "__main__":
    sys.exit(main())
