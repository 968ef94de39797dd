#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Shows how fast the hot loops of the matmul tiles are on CPUs that are not at hand, as llvm-mca simulates them.

    bench/port_limits.py                                   q4_0 with g++ and clang++-19
    bench/port_limits.py --formats Q4_0,Q4_K,Q8_0 --cpus znver4 --tiles 'panels_few<.*, 1, 1>'
    bench/port_limits.py --cpus oryon-1,neoverse-v2 --tiles sweep_tile,pair_tile      with aarch64-linux-gnu-g++ and clang++-19

The script compiles the tiles and takes from each the loop that has most dot products. It prints, per 256 multiply-adds (256 weights
for one token), the cycles of the simulation (front end, latencies and ports; every load hits L1) beside three limits: `ports`, the
cycles that the busiest port needs for all instructions of the loop, `loads`, those that the loads alone need, and `dot`, those that the
dot products alone need. `of dot` is dot / cycles. `stack` counts the loop's loads from and stores to the stack for each dot product:
where a tile itself keeps nothing on the stack, they are registers that the compiler spills.

Targets of Arm are compiled by cross compilers. For them `dot` counts sdot instructions, or in pair_tile smmla instructions, each of
which does twice the work of an sdot; so compare the cycles of the two, not `dot`. LLVM 19's model of Oryon knows neither an sdot that
takes a lane of a register nor scvtf. The loops are simulated with an sdot of whole registers and with fcvtl, which is a conversion
too, in their places.

CPUs that the output names in one line share a scheduling model in LLVM: LLVM 19 treats Zen 5 as Zen 4, and Lunar Lake and Arrow Lake as
the P core of Alder Lake. Its model of Zen 4 counts a vpdpbusd of three zmm registers as two cycles, but one with a memory operand as one
cycle, which is what a Zen 4 takes. Where a model has that flaw, the loop is simulated with memory operands. Zen 5 servers do two vpdpbusd
in a cycle, not one, so the lines of znver4 do not say how far Zen 5 servers are from their own limit. The figures do not account for
three things: loads that miss L1, sums that a CPU stores and loads again faster than its model says, and what Q4_K and Q5_K do once in
256 weights, outside the loop. The script needs llvm-mca of LLVM 19 (Debian: llvm-19) and c++filt (binutils).
"""

import argparse
import itertools
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
# The names of the functions that have a hot loop: those of kernels/stilla/generic/, and one of arm_i8mm.
HOT_FUNCTIONS = ("panels_few", "sweep_tile")
PAIR_FUNCTION = "pair_tile"
# vocabularies() finds the targets whose folder has a vocabulary for those functions. For each target it yields the name, which is its
# namespace too, with the type and the dot-product instruction. They are read from targets.hpp and from the targets' folders.
DOT = re.compile(r"(vpdpbusd|maddubs|vdotq_s32)")
DOT_NAMES = {"maddubs": "vpmaddubsw", "vdotq_s32": "sdot"}


def vocabularies():
    for folder, kind in re.findall(r"^  target\((\w+), (\w+)\)", (ROOT / "kernels/stilla/targets.hpp").read_text(), re.M):
        vector = ROOT / "kernels/stilla" / folder / "vector.hpp"
        name = re.search(r'TargetId id\{"(\w+)"\}', (vector.parent / "target.hpp").read_text())[1]
        if (vector.parent / "pair_sweep.hpp").exists():
            yield name, (kind, "smmla")
        elif vector.exists() and (found := DOT.search(re.sub(r"//.*", "", vector.read_text()))):
            yield name, (kind, DOT_NAMES.get(found[1], found[1]))


TARGETS = dict(vocabularies())
CPUS = (  # the CPU as llvm-mca calls it, and the target that runs there
    ("lunarlake", "avxvnni"), ("arrowlake", "avxvnni"), ("znver4", "avx512vnni"), ("znver5", "avx512vnni"),
    ("sapphirerapids", "avx512vnni"), ("skylake", "avx2"),
    ("oryon-1", "dotprod"), ("oryon-1", "i8mm"), ("neoverse-v2", "dotprod"), ("neoverse-v2", "i8mm"), ("neoverse-v1", "dotprod"),
    ("neoverse-v1", "i8mm"), ("neoverse-n2", "dotprod"), ("neoverse-n2", "i8mm"), ("neoverse-n1", "dotprod"),
)
X86_CPUS = tuple(dict.fromkeys(cpu for cpu, target in CPUS if target.startswith("avx")))
MODELS = {"ADLP": "Alder Lake P", "SKL": "Skylake", "SPR": "Sapphire Rapids", "Zn4": "Zen 4", "Oryon": "Oryon", "N1": "Neoverse N1",
          "N2": "Neoverse N2", "V1": "Neoverse V1", "V2": "Neoverse V2"}  # the names of a model's ports begin with its key here
PRODUCTS = {"xmm": 16, "ymm": 32, "zmm": 64, "sdot": 16, "smmla": 32}  # products of bytes that one dot-product instruction computes
LABEL = re.compile(r"^([.\w$]+):")
JUMP = re.compile(r"^\s+(?:j[a-z]+|b(?:\.?[a-z]{2})?|cbn?z\s+\w+,|tbn?z\s+\w+, *#?\d+,)\s+([.\w$]+)\s*$")
# Instructions that LLVM 19's model of Oryon does not know, and the instructions that stand for them.
ORYON = ((re.compile(r"(sdot.*\.)4b\s*\[\d\]"), r"\g<1>16b"), (re.compile(r"scvtf(\s+v\d+\.4s, v\d+)\.4s"), r"fcvtl\1.4h"))


def is_arm(target):
    return not target.startswith("avx")


def run(command, **options):
    done = subprocess.run(command, text=True, capture_output=True, check=False, **options)
    if done.returncode != 0:
        sys.exit(f"{command[0]}: {(done.stderr.strip().splitlines() or ['failed'])[0]}")
    return done.stdout


def compilers_for(targets, compilers):
    """Yields the installed compilers: the name that the table gives a compiler, and its command. For Arm they are cross compilers."""
    for compiler in compilers:
        command = [compiler]
        if is_arm(targets[0]):
            command = [compiler, "--target=aarch64-linux-gnu"] if "clang" in compiler else [f"aarch64-linux-gnu-{compiler}"]
            command += ["-idirafter", "/usr/include"]  # Highway, as cmake/toolchain-aarch64.cmake has it
        if shutil.which(command[0]):
            yield compiler, command


def assembly(compiler, targets, weights):
    """Returns the assembly of the tiles of all targets for one format, as lines. `compiler` is a command."""
    keep = [f"extern const auto {target}_kernel = &stilla::MatmulPanels<stilla::{TARGETS[target][0]}, stilla::{weights}>::run;"
            for target in targets]
    source = "\n".join(["#include <stilla/matmul.hpp>", *keep, ""])
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "tiles.cpp")
        file.write_text(source, encoding="utf-8")
        flags = ["-std=c++20", "-O2", "-S", "-o", "-", f"-I{ROOT}/include", f"-I{ROOT}/kernels", "-fno-asynchronous-unwind-tables"]
        return run([*compiler, *flags, file]).splitlines()


def functions(lines):
    """Returns {demangled name: lines} of the hot functions."""
    names = [match[1] for match in map(LABEL.match, lines) if match and match[1].startswith("_Z")]
    readable = dict(zip(names, run(["c++filt"], input="\n".join(names)).splitlines()))
    found, current = {}, None
    for line in lines:
        match = LABEL.match(line)
        if match and match[1] in readable:
            name = readable[match[1]]
            current = found.setdefault(name, []) if any(f"::{hot}<" in name for hot in (*HOT_FUNCTIONS, PAIR_FUNCTION)) else None
        elif line.lstrip().startswith(".size"):
            current = None
        elif current is not None and (match or (line.startswith("\t") and not line.lstrip().startswith((".", "#", "//")))):
            current.append(re.split(r"[ \t]#(?![-\d:])|//", line)[0].rstrip())
    for hot in HOT_FUNCTIONS:
        if not any(f"::{hot}<" in name for name in found):
            sys.exit(f"kernels/stilla/generic/ has no function {hot} any more: correct HOT_FUNCTIONS")
    return found


def tile_name(function, weights):
    """void stilla::v0::avx2::panels_few<stilla::v0::Q4_0, 1ul, 1ul>(...) -> (avx2, panels_few<Q4_0, 1, 1>). Tiles of a sweep have the
    form of unpacked weights in place of the format; they get the name of the format that was compiled."""
    match = re.search(r"(\w+)::(\w+<.*?>)\(", re.sub(r"[\w:]+::SweepForm<.*?>", weights, function))
    return match[1], re.sub(r"(\d+)ul", r"\1", re.sub(r"[\w:]+::", "", match[2]))


def hot_loop(lines, instruction):
    """Returns the one of a function's innermost loops that has the most dot products, or None if none has any."""
    labels = {match[1]: at for at, match in enumerate(map(LABEL.match, lines)) if match}
    spans = {(labels[match[1]], at) for at, match in enumerate(map(JUMP.match, lines)) if match and labels.get(match[1], at) < at}
    dots = {span: sum(instruction in line for line in lines[span[0]:span[1]]) for span in spans}
    inner = [a for a in spans if dots[a] and not any(b != a and dots[b] and a[0] <= b[0] and b[1] <= a[1] for b in spans)]
    best = max(inner, key=dots.get, default=None)
    return lines[best[0]:best[1] + 1] if best else None


def simulate(mca, loop, cpu):
    """Returns four things: the cycles of an iteration of the loop, the cycles of its busiest port, a list with the cycles of each
    instruction alone, and the model's name."""
    iterations = 200
    triple = ["-mtriple=x86_64"] if cpu in X86_CPUS else ["-mtriple=aarch64", "-mattr=+dotprod,+i8mm"]
    if cpu.startswith("oryon"):
        for pattern, known in ORYON:
            loop = [pattern.sub(known, line) for line in loop]
    out = run([mca, *triple, f"-mcpu={cpu}", f"-iterations={iterations}", "-skip-unsupported-instructions=any"],
              input="\n".join(loop) + "\n")
    prefix = os.path.commonprefix(re.findall(r"^\[[\d.]+\]\s+- (\w+)", out, re.M)).removesuffix("Port").removesuffix("Unit")
    alone = [float(value) for value in re.findall(r"^ *\d+ +\d+ +([\d.]+) +(?:[*U]+ +)*\S", out, re.M)]
    cycles = int(re.search(r"Total Cycles:\s+(\d+)", out)[1]) / iterations
    return cycles, float(re.search(r"Block RThroughput:\s+([\d.]+)", out)[1]), alone, MODELS.get(prefix, prefix)


def forms(instruction, register):
    """Returns the instruction with register operands, and the same with a memory operand if it can have one."""
    if register == "v":
        return [f"\t{instruction} v3.4s, v1.16b, v2.16b"] * 2
    vex = "{vex} " if instruction == "vpdpbusd" and register == "ymm" else ""
    return [f"\t{vex}{instruction} {operand}, %{register}2, %{register}3" for operand in (f"%{register}1", "(%rsp)")]


class Cpu:
    """A CPU that llvm-mca knows, for one target."""

    def __init__(self, mca, name, target):
        self.mca, self.name, self.target = mca, name, target
        self.instruction = TARGETS[target][1]
        self.register = "v" if is_arm(target) else "zmm" if target == "avx512vnni" else "ymm"
        of_registers, of_memory = (simulate(mca, [form], name) for form in forms(self.instruction, self.register))
        self.model = of_registers[3]
        self.dot_cycles = min(of_registers[2][0], of_memory[2][0])
        self.is_flawed = of_registers[2][0] > of_memory[2][0]

    def measure(self, loop):
        """Returns cycles, port limit, load limit and dot limit per 256 multiply-adds, and the number of dot products in the loop."""
        dots = [line for line in loop if self.instruction in line]
        products = sum(PRODUCTS[self.instruction if is_arm(self.target) else re.search(r"%([xyz]mm)\d+\s*$", line)[1]] for line in dots)
        if self.is_flawed:
            loop = [re.sub(rf"({self.instruction}\s+)%\w+", r"\1(%rsp)", line) for line in loop]
        cycles, ports, _, _ = simulate(self.mca, loop, self.name)
        loads = simulate(self.mca, loads_of(loop), self.name)[1]
        return [value * 256 / products for value in (cycles, ports, loads, self.dot_cycles * len(dots))], len(dots)


def loads_of(loop):
    """Returns the loads of a loop. On x86, where other instructions have memory operands, a load of the operand stands for each of them."""
    arm = [line for line in loop if re.match(r"\s*ld", line)]
    operand = re.compile(r"([-\w]*\(%[^()]*\))(?:, *%([xyz]mm)\d+)?")
    x86 = [match for line in loop if "lea" not in line and (match := operand.search(line)) and not line.rstrip().endswith(")")]
    return arm or [f"\tvmovups {match[1]}, %{match[2]}0" if match[2] else f"\tmovq {match[1]}, %rax" for match in x86] or ["\tnop"]


def stack_accesses(loop):
    """Returns how many of a loop's instructions load vectors from the stack or store vectors there."""
    x86 = [line for line in loop if re.search(r"\(%r[sb]p[,)]", line) and re.search(r"%[xyz]mm", line)]
    arm = [line for line in loop if re.search(r"\s(ld[rpu]|ldur|st[rpu]|stur)\s+[qdv]\d+,.*\[sp\b", line)]
    return len(x86) + len(arm)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--formats", default="Q4_0", help="weight formats, as the types are called (default Q4_0)")
    parser.add_argument("--cpus", default=",".join(X86_CPUS), help="which of: " + ", ".join(dict.fromkeys(cpu for cpu, _ in CPUS)) +
                        " (default: all of x86)")
    parser.add_argument("--tiles", default=r"", help="regular expression: only tiles whose name has it")
    parser.add_argument("--compilers", default="g++,clang++-19")
    parser.add_argument("--mca", default="llvm-mca-19")
    parser.add_argument("--show", action="store_true", help="print the loops too")
    arguments = parser.parse_args()
    cpus = [(cpu, target) for cpu, target in CPUS if cpu in arguments.cpus.split(",")]
    for tool in (arguments.mca, "c++filt"):
        if not shutil.which(tool):
            sys.exit(f"{tool} is not installed (Debian: llvm-19, binutils)")
    loops = {}
    for targets in (sorted({target for _, target in cpus if is_arm(target) == arm}) for arm in (False, True)):
        compilers = compilers_for(targets, arguments.compilers.split(",")) if targets else ()
        for (compiler, command), weights in itertools.product(compilers, arguments.formats.split(",")):
            for function, lines in functions(assembly(command, targets, weights)).items():
                target, tile = tile_name(function, weights)
                loop = target in TARGETS and hot_loop(lines, TARGETS[target][1])
                if loop and re.search(arguments.tiles, tile):
                    loops[target, tile, compiler] = loop
    if not cpus or not loops:
        sys.exit("nothing to do: no such CPU or tile, or no compiler installed")
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
        print(f"{'tile':36}{'compiler':13}{'cycles':>8}{'ports':>8}{'loads':>8}{'dot':>8}{'of dot':>8}{'stack':>8}")
        for (of, tile, compiler), loop in sorted(loops.items()):
            if of != target:
                continue
            (cycles, ports, loads, dot), dots = same[0].measure(loop)
            print(f"{tile:36}{compiler:13}{cycles:8.2f}{ports:8.2f}{loads:8.2f}{dot:8.2f}{dot / cycles:8.0%}"
                  f"{stack_accesses(loop) / dots:8.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
