#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks what a compiler does not: the header list, the layers, and the house rules for library headers.

Run from anywhere; prints one line per finding and exits 1 if there is any.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
MAX_LINES = 600
FORBIDDEN_INCLUDES = {"iostream", "regex", "filesystem", "ranges", "format", "expected"}

# Layers, low to high: a header may include its own layer and those that its line names. FOLDERS and FILES say which
# header is where; another folder is a target, another file directly below stilla/ an op.
LAYERS = {
    "base": set(),
    "storage": {"base"},  # weight formats and packed weights
    "target": {"base", "storage", "contract"},  # one folder per instruction set
    "contract": {"base", "storage", "target"},  # its last fallback is a target
    "dispatch": {"base", "storage", "target", "contract"},
    "op": {"base", "storage", "target", "contract", "dispatch"},
    "text": {"base", "io"},
    "io": {"base", "storage"},
    "model": {"base", "storage", "contract", "dispatch", "op", "io", "text"},
    "umbrella": {"base", "storage", "contract", "dispatch", "op", "io", "text", "model"},
}
FOLDERS = {"detail": "base", "format": "storage", "contract": "contract", "text": "text", "io": "io", "model": "model",
           "sampling": "op"}
FILES = {
    **dict.fromkeys(["aligned", "config", "cpu", "error", "math", "matrix", "parallel"], "base"),
    **dict.fromkeys(["region", "target", "types", "version"], "base"),
    **dict.fromkeys(["dispatch", "targets"], "dispatch"),
    **dict.fromkeys(["pack", "quantise"], "storage"),
    "stilla": "umbrella",
}


def layer(path):
    """The layer of a header named as in an include line, say stilla/format/q4_0.hpp."""
    folder, *rest = pathlib.PurePosixPath(path).with_suffix("").parts[1:]
    return FOLDERS.get(folder, "target") if rest else FILES.get(folder, "op")


def findings():
    listed = set(re.findall(r"^\s+((?:include|kernels)/\S+?)\)?$", (ROOT / "cmake/StillaHeaders.cmake").read_text(), re.M))
    present = {p.relative_to(ROOT).as_posix() for base in ("include", "kernels") for p in (ROOT / base).rglob("*.hpp")}
    for name in sorted(present - listed):
        yield f"{name}: not in cmake/StillaHeaders.cmake"
    for name in sorted(listed - present):
        yield f"cmake/StillaHeaders.cmake: {name} does not exist"

    spelled = {name.split("/", 1)[1] for name in present}
    for name in sorted(present):
        text = (ROOT / name).read_text(encoding="utf-8")
        lines = text.splitlines()
        here = layer(name.split("/", 1)[1])
        if len(lines) > MAX_LINES:
            yield f"{name}: {len(lines)} lines, at most {MAX_LINES}"
        if lines[0] != "// SPDX-License-Identifier: Apache-2.0":
            yield f"{name}:1: no SPDX line"
        if "#pragma once" not in lines and not name.endswith("-inl.hpp"):  # those Highway reads several times
            yield f"{name}: no #pragma once"
        for number, line in enumerate(lines, 1):
            if re.match(r"\s*#\s*include\s+\"", line):
                yield f"{name}:{number}: include with angle brackets, from a root"
            if re.search(r"(?<!\.)\b(assert|abort|exit)\s*\(", line.split("//")[0]):
                yield f"{name}:{number}: errors are values, never the end of the program: {line.strip()}"
            match = re.match(r"\s*#\s*include\s+<([^>]+)>", line)
            if not match:
                continue
            included = match[1]
            if included in FORBIDDEN_INCLUDES:
                yield f"{name}:{number}: <{included}> is not for library headers"
            if included.startswith("stilla/"):
                if included not in spelled:
                    yield f"{name}:{number}: <{included}> does not exist"
                there = layer(included)
                if there != here and there not in LAYERS[here]:
                    yield f"{name}:{number}: the layer '{here}' must not include '{there}' ({included})"

    for name in sorted(p.relative_to(ROOT).as_posix() for folder in ("include", "kernels", "examples", "tests", "bench")
                       for p in (ROOT / folder).rglob("*.[hc]pp")):
        for number, line in enumerate((ROOT / name).read_text(encoding="utf-8").splitlines(), 1):
            if re.search(r"(defined\s*\(?|#\s*ifdef)\s*STILLA_(ARCH|HAS)_", line):
                yield f"{name}:{number}: always defined, as 0 or 1: write #if"


def main():
    found = list(findings())
    print(*found, sep="\n", end="\n" if found else "")
    print(f"check_tree: {len(found)} findings")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
