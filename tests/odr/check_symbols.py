#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that no inline function of the library has the same name in two objects of different levels but different code there.
The linker keeps one copy, and that copy could hold instructions that the CPU lacks.

    check_symbols.py OBJDUMP LEVEL=OBJECT...
"""

import re
import subprocess
import sys


def functions(objdump, path):
    """Returns the weak functions of an object file, as mangled name -> instructions and relocations in text form."""
    table = subprocess.run([objdump, "--syms", path], capture_output=True, text=True, check=True).stdout
    weak = set(re.findall(r"^[0-9a-f]+ +w[^\n]*F [^\n]*\s(\S+)$", table, re.M))
    listing = subprocess.run(
        [objdump, "-d", "-r", "--no-addresses", "--no-show-raw-insn", path], capture_output=True, text=True, check=True
    ).stdout
    found = {}
    for match in re.finditer(r"^<(\S+)>:\n(.*?)(?=^<|^Disassembly|\Z)", listing, re.M | re.S):
        if match[1] in weak:
            found[match[1]] = re.sub(r"\.(LC|rodata)[^\s]*", ".constant", match[2])
    return found


def main():
    objdump, *objects = sys.argv[1:]
    seen = {}  # name -> {level: code}
    for argument in objects:
        level, path = argument.split("=", 1)
        for name, code in functions(objdump, path).items():
            seen.setdefault(name, {}).setdefault(level, code)
    differing = sorted(name for name, codes in seen.items() if len(set(codes.values())) > 1)
    ours = [name for name in differing if "6stilla" in name]
    for name in ours:
        print(f"{name}: different code under one name in levels {', '.join(sorted(seen[name]))}")
    print(f"{len(seen)} inline functions, {sum('6stilla' in name for name in seen)} of them Stilla's")
    print(f"different in levels: {len(ours)} of Stilla's, {len(differing) - len(ours)} of the standard library's own")
    return 1 if ours else 0


if __name__ == "__main__":
    sys.exit(main())
