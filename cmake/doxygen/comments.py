#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Doxygen's input filter. It turns the library's // comments into documentation without changing them: text becomes text, and indented
lines (formulas, diagrams, code) stay as they are set."""

import re
import sys

COMMENT = re.compile(r"(\s*)//( ?)(.*)$")
TOOLS = ("SPDX", "NOLINT", "clang-format")
# A target takes the kernels that it lacks from its fallback, by a template that derives from itself. Doxygen takes that for a
# cycle.
FALLBACK = re.compile(r" : (?:public )?\w+<typename Target::Fallback[^{]*(?=\{)")


def escaped(text):
    return re.sub(r'([\\@#<>&%"]|::)', r"\\\1", text)


def converted(lines):
    verbatim = False
    for line in lines:
        comment = COMMENT.match(line)
        is_set = comment is not None and comment[3].startswith("   ")
        indent = comment[1] if comment else ""
        if verbatim and not is_set:
            yield f"{indent}/// @endverbatim"
            verbatim = False
        if comment is None or comment[3].startswith(TOOLS):
            yield FALLBACK.sub(" ", line)
        elif is_set:
            if not verbatim:
                yield f"{indent}/// @verbatim"
                verbatim = True
            yield f"{indent}/// {comment[3]}"
        else:
            yield f"{indent}/// {escaped(comment[3])}"


sys.stdout.reconfigure(encoding="utf-8")
with open(sys.argv[1], encoding="utf-8") as header:
    print("\n".join(converted(header.read().splitlines())))
