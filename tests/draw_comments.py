#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws comments at random, to test whether a reader can understand them without the code.

    tests/draw_comments.py [--count 100] [--seed 1] [FOLDER...]        default: include kernels examples bench tests c_api python

Prints a line of a comment and where it is, with the rest of its comment around it, because a line may be the middle of a sentence.
"""

import argparse
import pathlib
import random
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent
COMMENT = re.compile(r"^\s*//(?! (?:SPDX|clang-format|NOLINT)) ?(.*\w.*)$")


def comments(path):
    """Yields (number of the line, its text, the whole comment) for each line of a comment."""
    lines = path.read_text(encoding="utf-8").splitlines()
    begin = 0
    while begin < len(lines):
        end = begin
        while end < len(lines) and lines[end].lstrip().startswith("//"):
            end += 1
        whole = "\n".join(line.strip() for line in lines[begin:end])
        for number in range(begin, end):
            if match := COMMENT.match(lines[number]):
                yield number + 1, match[1], whole
        begin = max(end, begin + 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("folders", nargs="*", default=["include", "kernels", "examples", "bench", "tests", "c_api", "python"])
    arguments = parser.parse_args()
    found = []
    for folder in arguments.folders:
        for path in sorted((ROOT / folder).rglob("*.[hc]pp")):
            found += [(path.relative_to(ROOT), *comment) for comment in comments(path)]
    for path, number, line, whole in random.Random(arguments.seed).sample(found, min(arguments.count, len(found))):
        print(f"{path}:{number}: {line}\n  of: {whole}\n".replace("\n//", "\n      //"))


if __name__ == "__main__":
    main()
