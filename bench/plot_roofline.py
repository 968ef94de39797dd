#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws the roofline plot of a matmul_bench or attention_bench report.

    build/release/bin/matmul_bench --benchmark_filter=... --benchmark_out=report.json
    bench/plot_roofline.py report.json -o roofline.png

There is one plot for each number of threads: operations per byte against operations per second. The sloping line is the read bandwidth,
and the flat lines are the dot-product peaks of the targets. Both are medians of what was measured around the loops of that report. A line
joins the token counts of one target, format and matrix. The script needs matplotlib (pip install matplotlib; 3.10 was used).
"""

import argparse
import collections
import json
import pathlib
import re
import statistics
import sys

# A benchmark's name has these parts: target, `what` (format, matrix, activations, or what else the program puts there), M or C, threads.
NAME = re.compile(r"(?:MatMul|Layer|Attention)/(?P<target>[^/]+)/(?P<what>.+)/(?P<step>[MC]\d+)/T(?P<threads>\d+)(?:/|$)")


def read_points(report):
    """Returns {threads: {(target, what): [benchmark, ...]}}, with the medians of benchmarks that were repeated."""
    rows = report["benchmarks"]
    if any(row.get("aggregate_name") == "median" for row in rows):
        rows = [row for row in rows if row.get("aggregate_name") == "median"]
    plots = collections.defaultdict(lambda: collections.defaultdict(list))
    for row in rows:
        match = NAME.match(row["name"])
        if match and "GOP/s" in row and "GB/s" in row:
            plots[int(match["threads"])][match["target"], match["what"]].append(row)
    return dict(sorted(plots.items()))


def draw(axes, threads, curves, context):
    rows = [row for curve in curves.values() for row in curve]
    intensities = [row["GOP/s"] / row["GB/s"] for row in rows]
    left, right = min(intensities) / 2, max(intensities) * 2
    read = statistics.median(row["read GB/s"] for row in rows if "read GB/s" in row)
    peaks = {}
    for target in {target for target, _ in curves}:
        seen = [row["peak GOP/s"] for key, curve in curves.items() if key[0] == target for row in curve if "peak GOP/s" in row]
        if seen:
            peaks[target] = statistics.median(seen)
    highest = max(peaks.values(), default=read * right)
    axes.plot([left, highest / read], [read * left, highest], color="black", linewidth=1)
    axes.annotate(f"read {read:.1f} GB/s", (left, read * left), fontsize=7, rotation=35, va="bottom")
    for target, peak in sorted(peaks.items(), key=lambda item: item[1]):
        axes.plot([peak / read, right], [peak, peak], color="black", linewidth=1, linestyle="--")
        axes.annotate(f"{target} {peak:.0f} GOP/s", (right, peak), fontsize=7, ha="right", va="bottom")
    for (target, what), curve in sorted(curves.items()):
        points = sorted((row["GOP/s"] / row["GB/s"], row["GOP/s"]) for row in curve)
        axes.plot(*zip(*points), marker="o", markersize=3, linewidth=0.8, label=f"{target} {what}")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
    axes.set_xlabel("operations per byte of weights (a multiply-add is two)")
    axes.set_ylabel("GOP/s")
    axes.set_title(f"{threads} thread{'s' if threads > 1 else ''}, {context.get('date', '')}", fontsize=9)
    axes.grid(True, which="both", linewidth=0.3)
    axes.legend(fontsize=6, loc="lower right")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=pathlib.Path, help="JSON of --benchmark_out")
    parser.add_argument("-o", "--output", type=pathlib.Path, default=pathlib.Path("roofline.png"), help=".png, .svg, .pdf")
    arguments = parser.parse_args()
    report = json.loads(arguments.report.read_text(encoding="utf-8"))
    plots = read_points(report)
    if not plots:
        sys.exit(f"{arguments.report}: no benchmark with GB/s and GOP/s")
    try:
        import matplotlib
    except ImportError:
        sys.exit("this needs matplotlib: pip install matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(plots), figsize=(8 * len(plots), 6), squeeze=False)
    for (threads, curves), one in zip(plots.items(), axes[0]):
        draw(one, threads, curves, report.get("context", {}))
    figure.tight_layout()
    figure.savefig(arguments.output, dpi=150)
    print(arguments.output)


if __name__ == "__main__":
    main()
