#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Counts the packets that Hexagon's inner loops take for 256 weights, from a disassembly, and compares them with a recorded
table.

A packet issues up to four instructions. The program itself shows how many packets a loop has, so this is a measure of the code,
not of time. llvm-objdump-19 names the sweeps of kernels/stilla/npu_hexagon/matmul.hpp. The loop with the most vrmpy is a
sweep's, and the number of its vrmpy tells the number of weights: two of them multiply 256 weights by one column. A token of
int8 is one column, one of int16 two columns.
The loops of the float step are counted too, for each row and token: one conversion to float belongs to one row. So are the
loops of the Hadamard transform (fixed_point.hpp), for 64 values: the vectors that a loop loads tell how many values it takes at
a time.
"""

import argparse
import collections
import pathlib
import re
import subprocess
import sys

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "kernels/stilla/npu_hexagon"
HEADER, TRANSFORM_HEADER = FOLDER / "matmul.hpp", FOLDER / "fixed_point.hpp"
# The most packets that a sweep may take for 256 weights and all its columns, whatever the recorded table says. The keys are the
# numbers of columns.
MUST = {1: 2.0, 2: 4.25, 4: 4 * 1.75}

# The loops of the Hadamard transform. For each: the first instruction that only this loop and later ones have, and how many
# vectors are loaded for 64 values.
TRANSFORM = {"narrowing": ("vasr(", 2), "highest": ("vmax(", 2), "steps of 1 to 32": ("vdeal(", 1), "each later step": ("vsub(", 2)}

Loop = collections.namedtuple("Loop", "packets instructions work")


def functions(elf):
    """Yields the demangled name of each function, and its instructions as (address, text)."""
    text = subprocess.run(["llvm-objdump-19", "-d", "-C", "--mcpu=hexagonv73", "--no-show-raw-insn", elf],
                          check=True, capture_output=True, text=True).stdout
    name, instructions = None, []
    for line in text.splitlines():
        if head := re.match(r"[0-9a-f]+ <(.*)>:", line):
            if name:
                yield name, instructions
            name, instructions = head[1], []
        elif instruction := re.match(r"\s*([0-9a-f]+):\s+(.*)", line):
            instructions.append((int(instruction[1], 16), instruction[2]))
    if name:
        yield name, instructions


def bodies(instructions):
    """Yields the instructions of each hardware loop of a function that contains no other loop."""
    for i, (_, text) in enumerate(instructions):
        if start := re.search(r"loop0\((0x[0-9a-f]+),", text):
            body = []
            for address, inner in instructions[i:]:
                if address >= int(start[1], 16):
                    body.append(inner)
                    if "endloop0" in inner:
                        break
            yield body


def inner_loops(instructions, name, share, also=""):
    """Yields the loops that have the instruction `name` and the instruction `also`. The work of a loop is counted in units: `share`
    instructions `name` are one unit."""
    for body in bodies(instructions):
        work = sum(name in inner for inner in body) / share
        if work and any(also in inner for inner in body):
            yield Loop(sum("}" in inner for inner in body), len(body), work)


def sweeps(elf):
    """Returns the main loop of each sweep, whose unit is 256 weights: {(form, columns, first group): Loop}. Also returns the
    loops of the float step, whose unit is a row: [(type of the tokens, Loop)]. Loops that compute one
    row at a time, the rest of the rows, are left out."""
    found, steps = {}, []
    for name, instructions in functions(elf):
        if kernel := re.search(r"sweep_(\w+)<[^,]*, (\d+)u?, \d+u?, (\d+)u?>\(", name):
            columns = int(kernel[2])
            loops = list(inner_loops(instructions, "vrmpy", 2 * columns))
            if loops:
                found[kernel[1], columns, int(kernel[3])] = max(loops, key=lambda loop: loop.work)
        else:
            for conversion, tokens in (("convert_w2sf", "int8"), ("convert_d2sf", "int16")):
                steps += [(tokens, loop) for loop in inner_loops(instructions, conversion, 1, "+= sfmpy") if loop.work > 1]
    return found, steps


def transforms(elf):
    """Returns the loops of the Hadamard transform, whose unit is 64 values: {part: Loop}. If the compiler unrolled a loop and
    made another one for the rest of the values, only the loop with the most work is returned."""
    found = {}
    for name, instructions in functions(elf):
        if not re.search(r"::hadamard<", name):
            continue
        for body in bodies(instructions):
            part = next((part for part, (word, _) in TRANSFORM.items() if any(word in inner for inner in body)), None)
            loads = sum(bool(re.search(r"v\d+(\.cur|\.tmp)? = vmem\(", inner)) for inner in body)
            if part and loads:
                loop = Loop(sum("}" in inner for inner in body), len(body), loads / TRANSFORM[part][1])
                found[part] = max(found.get(part, loop), loop, key=lambda loop: loop.work)
    return found


def recorded_transform():
    """Reads the table in the header of the Hadamard transform: {part: packets for 64 values}."""
    rows = re.findall(r"^// +(\S.*?)  +([0-9.]+)$", TRANSFORM_HEADER.read_text(encoding="utf-8"), re.MULTILINE)
    return {part: float(packets) for part, packets in rows if part in TRANSFORM}


def recorded():
    """Reads the table in the header of the matmul: {(form, columns): packets for 256 weights}."""
    rows = re.findall(r"^//\s+sweep_(\w+)\s+(\d)\s.*\s([0-9.]+)$", HEADER.read_text(encoding="utf-8"), re.MULTILINE)
    return {(form, int(columns)): float(packets) for form, columns, packets in rows}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("elf", nargs="+", help="programs for Hexagon")
    arguments = parser.parse_args()
    worst, worst_transform = {}, {}
    print("program            sweep         columns  packets  instructions  per packet  packets/256 weights  and column")
    for elf in arguments.elf:
        found, steps = sweeps(elf)
        for (form, columns, first), loop in sorted(found.items()):
            packets = loop.packets / loop.work
            worst[form, columns] = max(worst.get((form, columns), 0.0), packets)
            print(f"{pathlib.Path(elf).name:18} {form:13} {columns} from {first} {loop.packets:8} {loop.instructions:13} "
                  f"{loop.instructions / loop.packets:11.2f} {packets:20.3f} {packets / columns:11.3f}")
        for tokens in sorted({tokens for tokens, _ in steps}):
            rows = [loop.packets / loop.work for kind, loop in steps if kind == tokens]
            span = f"{min(rows):.2f} to {max(rows):.2f}"
            print(f"{pathlib.Path(elf).name:18} float step of {tokens}: {span} packets for a row and token")
        for part, loop in transforms(elf).items():
            worst_transform[part] = max(worst_transform.get(part, 0.0), loop.packets / loop.work)
            print(f"{pathlib.Path(elf).name:18} Hadamard transform, {part}: {loop.packets / loop.work:.2f} packets for 64 values "
                  f"({loop.instructions / loop.packets:.2f} instructions a packet)")
    table, wrong = recorded(), []
    of_transform = recorded_transform()
    for part in TRANSFORM:
        if part not in worst_transform or part not in of_transform:
            wrong.append(f"Hadamard transform, {part}: missing in the programs or in {TRANSFORM_HEADER.name}")
        elif worst_transform[part] > of_transform[part] + 0.005:
            wrong.append(f"Hadamard transform, {part}: {worst_transform[part]:.3f} packets for 64 values, recorded {of_transform[part]}")
    for key in sorted(set(table) | set(worst)):
        if key not in worst or key not in table:
            wrong.append(f"sweep_{key[0]} of {key[1]} columns: missing in {'the programs' if key in table else HEADER.name}")
        elif worst[key] > table[key] + 0.005:
            wrong.append(f"sweep_{key[0]} of {key[1]} columns: {worst[key]:.3f} packets for 256 weights, recorded {table[key]}")
        elif worst[key] > MUST[key[1]]:
            wrong.append(f"sweep_{key[0]} of {key[1]} columns: {worst[key]:.3f} packets for 256 weights, at most {MUST[key[1]]}")
    if not worst:
        wrong.append("no sweep was found")
    print(*[f"packets: {line}" for line in wrong], sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
