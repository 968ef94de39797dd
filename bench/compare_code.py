#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares the machine code of two builds, function by function. It shows whether a change touched kernels that it should not touch.

    bench/compare_code.py OLD.o... -- NEW.o...         for example matmul.cpp.o of libstilla_kernels.a, before and after

Functions are matched by their demangled names without the ABI namespace. Two functions count as the same if their instructions are
the same. Offsets of arguments in memory are ignored, because a struct that grew moves them, and so are the targets of jumps. The
script prints how many functions are the same and how many differ. It then lists those that differ and those that only one side has,
with their numbers of instructions. It needs objdump and c++filt; the CPU need not have the instructions.
"""

import argparse
import re
import subprocess
import sys


def output(command, **options):
    return subprocess.run(command, capture_output=True, text=True, check=True, **options).stdout


def normal(instruction):
    """Returns an instruction without the parts that may differ between two equal functions, or nothing for padding."""
    text = re.sub(r"<[^>]*>", "", instruction.split("#")[0]).strip()
    if re.match(r"(cs )?(nop|data16)|xchg +%ax,%ax", text):
        return ""
    text = re.sub(r"^(j\w+|call)\s.*", r"\1", text)  # without the target
    text = re.sub(r"-?0x[0-9a-f]+\(%rip\)", "(%rip)", text)
    return re.sub(r"-?0x[0-9a-f]+\((?=%)", "(", text)


def functions(objects):
    """Returns {readable name: instructions}."""
    found = {}
    for path in objects:
        current = None
        for line in output(["objdump", "-d", "--no-show-raw-insn", path]).splitlines():
            if match := re.match(r"^[0-9a-f]+ <(.*)>:$", line):
                current = found.setdefault(match[1], [])
            elif current is not None and (match := re.match(r"^\s+[0-9a-f]+:\s+(.*)$", line)):
                if text := normal(match[1]):
                    current.append(text)
    readable = output(["c++filt"], input="\n".join(found)).splitlines()
    return {re.sub(r"stilla::v0_\w+::", "stilla::", name): code for name, code in zip(readable, found.values())}


def main():
    if "--" not in sys.argv or sys.argv[1:2] in (["-h"], ["--help"]):
        argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                usage="compare_code.py OLD.o... -- NEW.o...").parse_args(["-h"])
    middle = sys.argv.index("--")
    old, new = functions(sys.argv[1:middle]), functions(sys.argv[middle + 1:])
    differing = sorted(name for name in old.keys() & new.keys() if old[name] != new[name])
    same = len(old.keys() & new.keys()) - len(differing)
    print(f"{same} functions are the same, {len(differing)} differ, {len(old.keys() - new.keys())} are in the old build only, "
          f"{len(new.keys() - old.keys())} in the new one only")
    for name in differing:
        print(f"differs, {len(old[name])} and {len(new[name])} instructions: {name}")
    for label, names, code in (("old", old.keys() - new.keys(), old), ("new", new.keys() - old.keys(), new)):
        for name in sorted(names):
            print(f"only {label}, {len(code[name])} instructions: {name}")


if __name__ == "__main__":
    main()
