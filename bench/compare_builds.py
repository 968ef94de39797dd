#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares two builds of a benchmark: runs both in turns and prints, for each test, the ratio of their speeds and its spread.

    bench/compare_builds.py OLD/bin/stilla build/release/bin/stilla -- bench -m MODEL.gguf -p 512 -n 32 -t 1
    bench/compare_builds.py OLD/bin/matmul_bench build/release/bin/matmul_bench -- --benchmark_filter='/q4_0/1.5B_down/a8/M1/T1$'

The programs are `stilla`, with the arguments of its command bench, or programs of Google Benchmark. Each round runs both, and the
one that begins changes from round to round. A ratio is that of the two runs of one round, so a machine that becomes slower meanwhile
slows both. `B / A` is the median of the rounds' ratios, above 1 where B is faster, with its bootstrap 95 % interval: a difference counts
only if the interval excludes 1. A and B are medians, in tokens per second (stilla) or in microseconds for one iteration.
"""

import argparse
import json
import statistics
import subprocess
import sys

from medians import interval_of_median

MICROSECONDS = {"ns": 1e-3, "us": 1.0, "ms": 1e3, "s": 1e6}


def output(command):
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        sys.exit(f"compare_builds: {' '.join(command)}: exit status {ended.returncode}\n{ended.stderr[-2000:]}")
    try:
        return json.loads(ended.stdout)
    except json.JSONDecodeError:
        sys.exit(f"compare_builds: {' '.join(command)}: no JSON, but: {ended.stdout[:200]}")


def stilla_run(program, arguments):
    """Returns the tokens per second of each test of `stilla bench`, and the checksums of their logits."""
    speeds, checksums = {}, {}
    for row in output([program, *arguments, "--output", "json"]):
        parts = [f"{word}{row[key]}" for word, key in (("pp", "n_prompt"), ("tg", "n_gen"), ("@", "n_depth")) if row[key]]
        name = f"{''.join(parts)}, {row['n_threads']} threads"
        speeds[name] = row["avg_ts"]
        checksums[name] = row["checksum"]
    return speeds, checksums


def google_run(program, arguments):
    """Returns the microseconds of one iteration of each benchmark: the median if a benchmark is repeated."""
    repetitions = {}
    for row in output([program, *arguments, "--benchmark_format=json"])["benchmarks"]:
        if row.get("error_occurred"):
            sys.exit(f"compare_builds: {program}: {row['name']}: {row['error_message']}")
        if row["run_type"] == "iteration":
            repetitions.setdefault(row["name"], []).append(row["real_time"] * MICROSECONDS[row["time_unit"]])
    return {name: statistics.median(times) for name, times in repetitions.items()}, {}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("a", metavar="A", help="the program that is the base")
    parser.add_argument("b", metavar="B", help="the program that is compared with it")
    parser.add_argument("-r", "--rounds", type=int, default=5)
    parser.usage = "%(prog)s [-h] [-r ROUNDS] A B [-- ARGUMENT ...]"
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    options, arguments = parser.parse_args(words[:end]), words[end + 1:]
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    is_stilla = arguments[:1] == ["bench"]
    run = stilla_run if is_stilla else google_run

    figures = {options.a: {}, options.b: {}} if options.a != options.b else parser.error("A and B are the same file")
    checksums = {}
    for turn in range(options.rounds):
        for program in (options.a, options.b)[:: 1 if turn % 2 == 0 else -1]:
            measured, checksums[program] = run(program, arguments)
            for name, figure in measured.items():
                figures[program].setdefault(name, []).append(figure)

    for program, other in ((options.a, options.b), (options.b, options.a)):
        for name in figures[program].keys() - figures[other].keys():
            print(f"only in {program}: {name}", file=sys.stderr)
    names = [name for name in figures[options.a] if name in figures[options.b]]
    if not names:
        sys.exit("compare_builds: there is no test that both programs have")
    print(f"A: {options.a}\nB: {options.b}\n{options.rounds} rounds; {'tokens/s' if is_stilla else 'microseconds'}\n")
    width = max(map(len, names))
    print(f"| {'test':{width}} | {'A':>10} | {'B':>10} | {'B / A':>6} | 95 % interval  |")
    print(f"|{'-' * (width + 2)}|-----------:|-----------:|-------:|----------------|")
    for name in names:
        a, b = figures[options.a][name], figures[options.b][name]
        ratios = [(y / x if is_stilla else x / y) for x, y in zip(a, b)]
        low, high = interval_of_median(ratios)
        print(f"| {name:{width}} | {statistics.median(a):10.4g} | {statistics.median(b):10.4g} | {statistics.median(ratios):6.3f} "
              f"| {low:.3f} to {high:.3f} |")
    different = [name for name in names if checksums[options.a].get(name) != checksums[options.b].get(name)]
    for name in different:
        print(f"{name}: the logits differ: checksum {checksums[options.a][name]} and {checksums[options.b][name]}")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
