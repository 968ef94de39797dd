#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures what guesses gain: tokens per second with and without them, and whether the text is the same.

    bench/compare_guesses.py build/release/bin/stilla MODEL.gguf [--draft SMALL.gguf] [--runs 3] [-n 200] [-t THREADS]

Without --draft, guesses are looked up in the text itself. Texts that repeat themselves (code with a small change, a passage to be
repeated) are written greedily. Texts that do not repeat themselves are sampled at a high temperature (1.3), without filters. With
--draft a small model guesses too, and the texts are new code and prose, greedy and sampled. Runs with and without guesses take turns.
The reported figure is the median, and `ratio` is the median of the ratios of neighbouring runs.
"""
import argparse
import re
import statistics
import subprocess
import sys

CODE = '''def checkout(cart, catalogue, discount):
    total = 0
    for name, count in cart.items():
        price = catalogue[name]
        if count > 10:
            price = price * (1 - discount)
        total = total + price * count
    if total > 100:
        total = total - 5
    return total


def report(carts, catalogue, discount):
    for customer, cart in carts.items():
        total = checkout(cart, catalogue, discount)
        print(f"{customer}: {total:.2f}")
'''
PASSAGE = ("The keeper of the light at Cape Farrow wrote down the weather every evening for thirty-one years. He noted the wind, the "
           "colour of the sea, the ships that passed and the birds that did not. When the lamp was made electric he went on "
           "writing, because nobody had told him to stop, and because the evenings were long.")
HOT = ["--temp", "1.3", "--top-p", "1", "--seed"]
TEXTS = [
    ("repeats: edit this code", f"Rename `catalogue` to `prices` in this program and show the whole program:\n```python\n{CODE}```", ["--temp", "0"]),
    ("repeats: say it again", f"Repeat this text word by word:\n\n{PASSAGE}", ["--temp", "0"]),
    ("does not: a story", "Write a strange story about a lighthouse keeper.", HOT + ["1"]),
    ("does not: words", "Write down many unusual words, each only once.", HOT + ["2"]),
]
DRAFTED = [
    ("code, greedy", "Write a Python class for a binary search tree with insert, delete and an iterator in order.", ["--temp", "0"]),
    ("code, sampled", "Write a C function that parses an integer and reports overflow.", ["--temp", "0.6", "--seed", "3"]),
    ("prose, greedy", "Explain to a child why the sky is blue and the evening red.", ["--temp", "0"]),
    ("prose, sampled", "Tell the story of a lighthouse that is to be closed.", ["--temp", "0.8", "--seed", "4"]),
]


def generate(arguments, prompt, more, guesses):
    command = [arguments.stilla, "run", "-m", arguments.model, "-p", prompt, "-n", str(arguments.n), *guesses, *more]
    if arguments.threads:
        command += ["-t", str(arguments.threads)]
    ended = subprocess.run(command, capture_output=True, check=True)
    found = re.search(rb"generated (\d+) tokens, ([\d.]+) tokens/s", ended.stderr)
    if not found:
        sys.exit(f"no rate in: {ended.stderr.decode(errors='replace')}")
    return ended.stdout, int(found[1]), float(found[2])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stilla")
    parser.add_argument("model")
    parser.add_argument("--draft", metavar="FILE")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("-n", type=int, default=200)
    parser.add_argument("-t", "--threads", type=int)
    arguments = parser.parse_args()
    print("| text | tokens | off, t/s | on, t/s | ratio | same text |\n|---|---|---|---|---|---|")
    all_same = True
    without, guessing = ["--lookup", "off"], ["--draft", arguments.draft] if arguments.draft else []
    for name, prompt, more in (DRAFTED if arguments.draft else []) + TEXTS:
        runs = [(generate(arguments, prompt, more, without), generate(arguments, prompt, more, guessing)) for _ in range(arguments.runs)]
        same = all(off[:2] == on[:2] for off, on in runs)
        all_same = all_same and same
        off, on = (statistics.median(run[i][2] for run in runs) for i in (0, 1))
        ratio = statistics.median(b[2] / a[2] for a, b in runs)
        print(f"| {name} | {runs[0][0][1]} | {off:.1f} | {on:.1f} | {ratio:.2f} | {'yes' if same else 'NO'} |", flush=True)
    return 0 if all_same else 1


if __name__ == "__main__":
    sys.exit(main())
