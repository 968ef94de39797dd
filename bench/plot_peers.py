#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws how fast programs read a prompt and write, as bars, from a table of bench/README.md.

    bench/plot_peers.py bench/README.md -o bench/peers.svg

The table is the first one of the page that has the columns "prompt of ..." and "... generated", in tokens/s. There is one plot for each
of these columns. The script needs matplotlib (pip install matplotlib; 3.10 was used).
"""

import argparse
import pathlib
import re
import sys


def read_table(page):
    """Returns (titles, rows): the titles of the two columns, and (name, speed, speed) of each program."""
    titles, rows = None, []
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
        if titles is None:
            if len(cells) >= 4 and cells[1].startswith("prompt of") and cells[3].endswith("generated"):
                titles = cells[1], cells[3]
        elif not cells:
            break
        elif re.fullmatch(r"[\d.]+", cells[1]) and re.fullmatch(r"[\d.]+", cells[3]):
            rows.append((cells[0], float(cells[1]), float(cells[3])))
    if titles is None or not rows:
        sys.exit("there is no table with the columns 'prompt of ...' and '... generated'")
    return titles, rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", type=pathlib.Path)
    parser.add_argument("-o", "--output", type=pathlib.Path, default=pathlib.Path("peers.svg"))
    arguments = parser.parse_args()
    titles, rows = read_table(arguments.page.read_text(encoding="utf-8"))

    try:
        import matplotlib
    except ImportError:
        sys.exit("matplotlib is missing: pip install matplotlib")
    matplotlib.use("svg" if arguments.output.suffix == ".svg" else "agg")
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "stilla", "font.family": "sans-serif"})
    import matplotlib.pyplot as plt

    names = [name for name, _, _ in rows]
    colours = ["#1f6f5c" if name.startswith("Stilla") else "#b7b7b7" for name in names]
    figure, plots = plt.subplots(1, 2, figsize=(8.4, 0.5 + 0.42 * len(rows)), sharey=True)
    for column, (plot, title) in enumerate(zip(plots, titles), start=1):
        speeds = [row[column] for row in rows]
        plot.barh(names, speeds, color=colours)
        for place, speed in enumerate(speeds):
            plot.annotate(f" {speed:g}", (speed, place), va="center", fontsize=9)
        plot.set_title(f"{title}, tokens/s", fontsize=10)
        plot.set_xlim(0, 1.15 * max(speeds))
        plot.set_xticks([])
        plot.spines[["top", "right", "bottom"]].set_visible(False)
        plot.tick_params(axis="y", length=0, labelsize=9)
    plots[0].invert_yaxis()
    figure.tight_layout()
    figure.savefig(arguments.output, metadata={"Date": None, "Creator": None} if arguments.output.suffix == ".svg" else None)
    print(arguments.output)


if __name__ == "__main__":
    main()
