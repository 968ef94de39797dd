#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes a single header of the library, for projects that prefer to copy one file instead of two folders.

    scripts/amalgamate.py [-o stilla.hpp] [HEADER...]        default: stilla/stilla.hpp, the whole library

The macros of stilla/base/config.hpp choose which parts of it are compiled, as they do for the folders.

How it works: each #include of a header of the library is replaced by the header's text. The text of a header with `#pragma once`
stands where the header is included first. If that place is under an #if whose condition may be false at a later #include of the
header, the text stands at the later place too. A macro for each header ensures that only one of these texts is read.
"""

import argparse
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDERS = [ROOT / "include", ROOT / "kernels"]
INCLUDE = re.compile(r"#\s*include\s+<(stilla/[^>]+)>\s*(//.*)?$")
LOW_LAYERS = ("base", "contract", "layout", "format")
PASS = "stilla/base/include_each-inl.hpp"  # includes a header for each entry of a list


def find(name):
    for folder in FOLDERS:
        if (folder / name).is_file():
            return folder / name
    return None


def joined_lines(text):
    """Returns the lines of `text`. A line that ends in a backslash is joined to the next."""
    return re.sub(r"\\\n\s*", " ", text).splitlines()


class Amalgam:
    def __init__(self):
        self.places = {}     # by the name of a header: for each place of its text the conditions there, as numbers of #if and #else
        self.conditions = 0  # how many #if and #else were met so far
        self.lists = {}      # by the name of a list macro: its entries, some of which may name other lists

    def entries(self, macro):
        for name, argument in self.lists[macro]:
            yield from self.entries(name) if name in self.lists else [argument]

    def expand(self, name, under=()):
        """Yields the lines of a header that is included under the conditions `under`."""
        path = find(name)
        if path is None:
            sys.exit(f"amalgamate: {name} is not a header of the library")
        text = path.read_text()
        once = re.search(r"^#pragma once$", text, re.MULTILINE) is not None
        if once:
            places = self.places.setdefault(name, [])
            if any(place == under[:len(place)] for place in places):
                return
            places.append(under)
        macro = "STILLA_HAS_READ_" + re.sub(r"\W", "_", name.removeprefix("stilla/")).upper()
        yield f"// ======== {name}"
        if once:
            yield f"#ifndef {macro}"
            yield f"#define {macro}"
        yield from self.body(text, under)
        if once:
            yield "#endif"

    def body(self, text, under):
        for line in joined_lines(text):
            definition = re.match(r"#define (STILLA_\w+_LIST)\(\w+\) (.+)", line)
            if definition:
                self.lists[definition[1]] = re.findall(r"(\w+)\((\w+)", definition[2])
        each_list = each_header = None
        for line in text.splitlines():
            directive = re.match(r"\s*#\s*(\w+)", line)
            word = directive[1] if directive else ""
            if word in ("elif", "else", "endif"):
                under = under[:-1]
            if word in ("if", "ifdef", "ifndef", "elif", "else"):
                self.conditions += 1
                under = (*under, self.conditions)
            if line == "#pragma once" or line == "// SPDX-License-Identifier: Apache-2.0":
                continue
            if each := re.match(r"#define STILLA_EACH_LIST (\w+)", line):
                each_list = each[1]
                continue
            if each := re.match(r"#define STILLA_EACH_HEADER\((\w+)\) <(.+)>", line):
                each_header = re.sub(rf"\b{each[1]}\b", "{}", each[2])
                continue
            include = INCLUDE.match(line.strip())
            if include and include[1] == PASS:
                for entry in self.entries(each_list):
                    if find(each_header.format(entry)):
                        yield from self.expand(each_header.format(entry), under)
            elif include:
                yield from self.expand(include[1], under)
            else:
                yield re.sub(r"__has_include\(<(stilla/[^>]+)>\)", lambda m: "1" if find(m[1]) else "0", line)


def amalgamate(headers):
    reached = Amalgam()
    for header in headers:
        list(reached.expand(header))
    # The lowest layers come first, because they work without the others. Where other headers include them, they are under many
    # different conditions, so their text would be repeated many times.
    low = sorted(header for header in reached.places if header.split("/")[1] in LOW_LAYERS)
    amalgam = Amalgam()
    lines = [line for header in (*low, *headers) for line in amalgam.expand(header)]
    yield "// SPDX-License-Identifier: Apache-2.0"
    yield "//"
    yield f"// {', '.join(headers)} of Stilla in one file, made by scripts/amalgamate.py. It is not for reading: the headers are."
    yield "#ifndef STILLA_SINGLE_HEADER"
    yield "#define STILLA_SINGLE_HEADER"
    yield from lines
    yield "#endif"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=pathlib.Path, default=pathlib.Path("stilla.hpp"))
    parser.add_argument("headers", nargs="*", default=["stilla/stilla.hpp"], metavar="HEADER")
    arguments = parser.parse_args()
    lines = list(amalgamate(arguments.headers))
    try:
        arguments.output.write_text("\n".join(lines) + "\n")
    except OSError as error:
        sys.exit(f"amalgamate: {arguments.output}: {error.strerror}")
    print(f"{arguments.output}: {len(lines)} lines")


if __name__ == "__main__":
    main()
