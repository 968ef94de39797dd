#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures how many branches of the file readers the tests take, and fails if they are fewer than 95 % in all.

    tests/reader_coverage.py [--show HEADER]        --show prints the lines of a header whose branches were not taken both ways

Builds the preset `coverage` (clang 19) and runs the tests of the readers and the hostile files. A branch is one outcome of a condition
in the source, as clang counts it: `a && b` has four. A header that is compiled into several programs is counted once: an outcome
counts as taken if any of the programs took it.
"""

import argparse
import collections
import json
import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "coverage"
TESTS = ["checked_test", "damaged_weights_test", "gguf_test", "imatrix_test", "kv_cache_test", "mapped_file_test", "model_tests",
         "reading_tests"]
# The headers that read bytes which somebody else wrote. Two headers of these folders are left out (NO_READERS), because they write
# files and catch signals.
READERS = ["include/stilla/io/*.hpp", "include/stilla/model/config.hpp", "include/stilla/model/required_tensors.hpp",
           "include/stilla/model/session_file.hpp", "include/stilla/text/source_tokenizer.hpp", "include/stilla/text/token_table.hpp",
           "include/stilla/text/token_types.hpp", "include/stilla/text/chat_template.hpp", "include/stilla/text/jinja/*.hpp"]
NO_READERS = {"atomic_file.hpp", "mapping_guard.hpp"}
MUST = 95


def run(*command, **more):
    subprocess.run([str(part) for part in command], check=True, cwd=ROOT, **more)


def measure():
    """Builds the programs, runs the tests and the hostile files, and merges the counts of all runs. Returns the programs' paths."""
    counts, files = BUILD / "counts", BUILD / "hostile"
    for folder in (counts, files):
        shutil.rmtree(folder, ignore_errors=True)
    environment = dict(os.environ, LLVM_PROFILE_FILE=str(counts / "%m.profraw"))  # one file for each program, which its runs add to
    run("cmake", "--preset", "coverage")
    run("cmake", "--build", BUILD, "--target", "stilla_program", *TESTS)
    program = BUILD / "bin" / "stilla"
    for test in TESTS:
        run(BUILD / "tests" / test, "--gtest_brief=1", env=environment)
    run(sys.executable, "tests/make_hostile_files.py", program, files, env=environment)
    run(sys.executable, "tests/check_hostile_files.py", program, files, env=environment)
    run("llvm-profdata-19", "merge", "-o", BUILD / "counts.profdata", *counts.glob("*.profraw"))
    return [program, *(BUILD / "tests" / test for test in TESTS)]


def branches(programs):
    """Returns {header: {(line, column, end line, end column, outcome): how often it was taken}}."""
    objects = [part for program in programs[1:] for part in ("-object", program)]
    command = ["llvm-cov-19", "export", "-skip-expansions", "-instr-profile", BUILD / "counts.profdata", programs[0], *objects,
               *sorted(path for pattern in READERS for path in ROOT.glob(pattern) if path.name not in NO_READERS)]
    exported = json.loads(subprocess.run([str(part) for part in command], check=True, capture_output=True, cwd=ROOT).stdout)
    found = {}
    for file in exported["data"][0]["files"]:
        counts = found.setdefault(pathlib.Path(file["filename"]).relative_to(ROOT).as_posix(), collections.Counter())
        for *place, if_true, if_false, _, _, _ in file["branches"]:  # a template has its branches once for each instance
            counts[(*place, True)] += if_true
            counts[(*place, False)] += if_false
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--show", default="", metavar="HEADER", help="print the branches of this header that were not taken")
    options = parser.parse_args()
    found = branches(measure())
    taken, total = 0, 0
    for header, counts in sorted(found.items()):
        good = sum(count > 0 for count in counts.values())
        taken, total = taken + good, total + len(counts)
        print(f"{header:48} {good:5} of {len(counts):5}  {100 * good / max(len(counts), 1):5.1f} %")
        if options.show and header.endswith(options.show):
            for line, column, _, _, outcome in sorted(place for place, count in counts.items() if count == 0):
                print(f"    {header}:{line}:{column} was never {str(outcome).lower()}")
    share = 100 * taken / max(total, 1)
    print(f"{'all readers':48} {taken:5} of {total:5}  {share:5.1f} %, must be {MUST}")
    return 0 if share >= MUST else 1


if __name__ == "__main__":
    sys.exit(main())
