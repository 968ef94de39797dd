#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The hot loops of the matmul tiles on CPUs that are not at hand, as llvm-mca simulates them.

    bench/port_limits.py                                   q4_0 with g++ and clang++-19
    bench/port_limits.py --formats Q4_0,Q4_K,Q8_0 --cpus znver4 --tiles 'panels_few<.*, 1, 1>'

Compiles the tiles, takes of each the loop that has most dot products, and prints, per 256 multiply-adds (256 weights for one
token), the cycles of the simulation (front end, latencies and ports; every load hits L1) beside two limits: `ports`, what the
busiest port needs for all instructions of the loop, and `dot`, what the dot products alone need. `of dot` is dot / cycles.
`stack` counts the loop's loads from and stores to the stack: where a tile keeps nothing there, registers that a compiler spills.

CPUs of one line have the same scheduling model in LLVM: LLVM 19 knows Zen 5 as Zen 4, and Lunar Lake and Arrow Lake as the P core
of Alder Lake. Its Zen 4 counts a vpdpbusd of three zmm registers as two cycles but one with a memory operand as one, which is
what a Zen 4 does; where a model has that flaw, the loop is simulated with memory operands. Zen 5 servers do two in a cycle, not
one: the lines of znver4 say nothing of their distance from that. Loads beyond L1, and sums that pass through memory faster
than a model thinks, are not in these figures, nor is what Q4_K and Q5_K do once in 256 weights, outside the loop. Needs
llvm-mca of LLVM 19 (Debian: llvm-19) and c++filt (binutils).
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Functions with a hot loop, by name, as kernels/stilla/generic/ has them.
HOT_FUNCTIONS = ("panels_few", "sweep_tile")
# The targets whose folder has a vocabulary for those functions: name, which is their namespace too, to type and dot instruction.
# Read from the list of targets and from their folders.
DOT = re.compile(r"(vpdpbusd|maddubs|vdotq_s32|sdot)")
DOT_NAMES = {"maddubs": "vpmaddubsw", "vdotq_s32": "sdot"}


def vocabularies():
    for folder, kind in re.findall(r"^  target\((\w+), (\w+)\)", (ROOT / "kernels/stilla/targets.hpp").read_text(), re.M):
        vector = ROOT / "kernels/stilla" / folder / "vector.hpp"
        if vector.exists() and (found := DOT.search(re.sub(r"//.*", "", vector.read_text()))):
            name = re.search(r'TargetId id\{"(\w+)"\}', (vector.parent / "target.hpp").read_text())[1]
            yield name, (kind, DOT_NAMES.get(found[1], found[1]))


TARGETS = dict(vocabularies())
CPUS = (  # for llvm-mca, and the target that runs there
    ("lunarlake", "avxvnni"), ("arrowlake", "avxvnni"), ("znver4", "avx512vnni"), ("znver5", "avx512vnni"),
    ("sapphirerapids", "avx512vnni"), ("skylake", "avx2"),
)
MODELS = {"ADLP": "Alder Lake P", "SKL": "Skylake", "SPR": "Sapphire Rapids", "Zn4": "Zen 4"}  # prefixes of resources
PRODUCTS = {"xmm": 16, "ymm": 32, "zmm": 64}  # of a dot product of bytes
LABEL = re.compile(r"^([.\w$]+):")
JUMP = re.compile(r"^\s+j[a-z]+\s+([.\w$]+)\s*$")


def run(command, **options):
    done = subprocess.run(command, text=True, capture_output=True, check=False, **options)
    if done.returncode != 0:
        sys.exit(f"{command[0]}: {(done.stderr.strip().splitlines() or ['failed'])[0]}")
    return done.stdout


def assembly(compiler, targets, formats):
    """Assembly of the tiles of all targets and formats, as lines."""
    keep = [f"extern const auto {target}_{name} = &stilla::MatmulPanels<stilla::{TARGETS[target][0]}, stilla::{name}>::run;"
            for target in targets for name in formats]
    source = "\n".join(["#include <stilla/matmul.hpp>", *keep, ""])
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "tiles.cpp")
        file.write_text(source, encoding="utf-8")
        flags = ["-std=c++20", "-O2", "-S", "-o", "-", f"-I{ROOT}/include", f"-I{ROOT}/kernels", "-fno-asynchronous-unwind-tables"]
        return run([compiler, *flags, file]).splitlines()


def functions(lines):
    """{demangled name: lines} of the hot functions."""
    names = [match[1] for match in map(LABEL.match, lines) if match and match[1].startswith("_Z")]
    readable = dict(zip(names, run(["c++filt"], input="\n".join(names)).splitlines()))
    found, current = {}, None
    for line in lines:
        match = LABEL.match(line)
        if match and match[1] in readable:
            name = readable[match[1]]
            current = found.setdefault(name, []) if any(f"::{hot}<" in name for hot in HOT_FUNCTIONS) else None
        elif line.lstrip().startswith(".size"):
            current = None
        elif current is not None and (match or (line.startswith("\t") and not line.lstrip().startswith((".", "#")))):
            current.append(line.split(" #")[0].split("\t#")[0].rstrip())
    for hot in HOT_FUNCTIONS:
        if not any(f"::{hot}<" in name for name in found):
            sys.exit(f"kernels/stilla/generic/ has no function {hot} any more: correct HOT_FUNCTIONS")
    return found


def tile_name(function):
    """void stilla::v0::avx2::panels_few<stilla::v0::Q4_0, 1ul, 1ul>(...) -> (avx2, panels_few<Q4_0, 1, 1>)"""
    match = re.search(r"(\w+)::(\w+<.*?>)\(", function)
    return match[1], re.sub(r"(\d+)ul", r"\1", re.sub(r"[\w:]+::", "", match[2]))


def hot_loop(lines, instruction):
    """The innermost loop with most dot products, or None."""
    labels = {match[1]: at for at, match in enumerate(map(LABEL.match, lines)) if match}
    spans = {(labels[match[1]], at) for at, match in enumerate(map(JUMP.match, lines)) if match and labels.get(match[1], at) < at}
    dots = {span: sum(instruction in line for line in lines[span[0]:span[1]]) for span in spans}
    inner = [a for a in spans if dots[a] and not any(b != a and dots[b] and a[0] <= b[0] and b[1] <= a[1] for b in spans)]
    best = max(inner, key=dots.get, default=None)
    return lines[best[0]:best[1] + 1] if best else None


def simulate(mca, loop, cpu):
    """Per iteration: cycles, cycles of the busiest port; and the cycles of each instruction by itself; and the model's name."""
    iterations = 200
    out = run([mca, "-mtriple=x86_64", f"-mcpu={cpu}", f"-iterations={iterations}", "-skip-unsupported-instructions=any"],
              input="\n".join(loop) + "\n")
    prefix = os.path.commonprefix(re.findall(r"^\[[\d.]+\]\s+- (\w+)", out, re.M)).removesuffix("Port")
    alone = [float(value) for value in re.findall(r"^ *\d+ +\d+ +([\d.]+) +(?:[*U]+ +)*\S", out, re.M)]
    cycles = int(re.search(r"Total Cycles:\s+(\d+)", out)[1]) / iterations
    return cycles, float(re.search(r"Block RThroughput:\s+([\d.]+)", out)[1]), alone, MODELS.get(prefix, prefix)


def forms(instruction, register):
    """An instruction of registers, and the same with a memory operand."""
    vex = "{vex} " if instruction == "vpdpbusd" and register == "ymm" else ""
    return [f"\t{vex}{instruction} {operand}, %{register}2, %{register}3" for operand in (f"%{register}1", "(%rsp)")]


class Cpu:
    """A CPU that llvm-mca knows, for one target."""

    def __init__(self, mca, name, target):
        self.mca, self.name, self.target = mca, name, target
        self.instruction = TARGETS[target][1]
        self.register = "zmm" if target == "avx512vnni" else "ymm"
        of_registers, of_memory = (simulate(mca, [form], name) for form in forms(self.instruction, self.register))
        self.model = of_registers[3]
        self.dot_cycles = min(of_registers[2][0], of_memory[2][0])
        self.is_flawed = of_registers[2][0] > of_memory[2][0]

    def measure(self, loop):
        """Cycles, port limit and dot limit per 256 multiply-adds."""
        dots = [line for line in loop if self.instruction in line]
        products = sum(PRODUCTS[re.search(r"%([xyz]mm)\d+\s*$", line)[1]] for line in dots)
        if self.is_flawed:
            loop = [re.sub(rf"({self.instruction}\s+)%\w+", r"\1(%rsp)", line) for line in loop]
        cycles, ports, _, _ = simulate(self.mca, loop, self.name)
        return [value * 256 / products for value in (cycles, ports, self.dot_cycles * len(dots))]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--formats", default="Q4_0", help="weight formats, as the types are called (default Q4_0)")
    parser.add_argument("--cpus", default=",".join(cpu for cpu, _ in CPUS), help="which of: %(default)s")
    parser.add_argument("--tiles", default=r"", help="regular expression: only tiles whose name has it")
    parser.add_argument("--compilers", default="g++,clang++-19")
    parser.add_argument("--mca", default="llvm-mca-19")
    parser.add_argument("--show", action="store_true", help="print the loops too")
    arguments = parser.parse_args()
    cpus = [(cpu, target) for cpu, target in CPUS if cpu in arguments.cpus.split(",")]
    compilers = [compiler for compiler in arguments.compilers.split(",") if shutil.which(compiler)]
    for tool in (arguments.mca, "c++filt"):
        if not shutil.which(tool):
            sys.exit(f"{tool} is not installed (Debian: llvm-19, binutils)")
    if not cpus or not compilers:
        sys.exit("nothing to do: no such CPU, or no compiler installed")

    targets = sorted({target for _, target in cpus})
    loops = {}
    for compiler in compilers:
        for function, lines in functions(assembly(compiler, targets, arguments.formats.split(","))).items():
            target, tile = tile_name(function)
            loop = hot_loop(lines, TARGETS[target][1])
            if loop and re.search(arguments.tiles, tile):
                loops[target, tile, compiler] = loop
    if not loops:
        sys.exit(f"no loop with dot products in {', '.join(HOT_FUNCTIONS)}: have they been renamed?")
    if arguments.show:
        for key, loop in sorted(loops.items()):
            print(*key, *loop, "", sep="\n")

    groups = {}
    for name, target in cpus:
        cpu = Cpu(arguments.mca, name, target)
        groups.setdefault((cpu.model, target), []).append(cpu)
    for (model, target), same in groups.items():
        note = ", dot products with memory operands" if same[0].is_flawed else ""
        print(f"\n{', '.join(cpu.name for cpu in same)}: model {model}{note}, target {target}")
        print(f"{'tile':30}{'compiler':13}{'cycles':>8}{'ports':>8}{'dot':>8}{'of dot':>8}{'stack loads, stores':>22}")
        for (of, tile, compiler), loop in sorted(loops.items()):
            if of != target:
                continue
            cycles, ports, dot = same[0].measure(loop)
            stack = [line for line in loop if re.search(r"\(%r[sb]p[,)]", line) and re.search(r"%[xyz]mm", line)]
            stores = sum(bool(re.search(r"\(%r[sb]p[^()]*\)\s*$", line)) for line in stack)
            print(f"{tile:30}{compiler:13}{cycles:8.2f}{ports:8.2f}{dot:8.2f}{dot / cycles:8.0%}{len(stack) - stores:14d},{stores:7d}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
