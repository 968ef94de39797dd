#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks what a compiler does not: the layers, the house rules for library headers, the links between pages, words, and how long
functions are.

Run from anywhere; prints one line per finding and exits 1 if there is any.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
MAX_LINES = 600
MAX_FUNCTION_LINES = 80
FORBIDDEN_INCLUDES = {"iostream", "regex", "filesystem", "ranges", "format", "expected"}

# The layers, from low to high. The set of a layer names the other layers that it may include. A header's layer is its folder; FILES
# names the layer of headers that lie in no folder. Folders of kernels/stilla/ that are not named here are targets.
LAYERS = {
    "base": set(),
    "format": {"base"},  # weight formats: blocks as files hold them
    "layout": {"base", "format"},  # weights as kernels read them
    "contract": {"base", "format", "layout"},  # what every kernel of an op computes, to the last bit
    "generic": {"base", "format", "layout", "contract"},  # kernels on any target's vector operations
    "target": {"base", "format", "layout", "contract", "generic"},  # one folder for each instruction set
    "targets": {"base", "format", "layout", "contract", "target"},  # the list of targets
    "all_targets": {"base", "format", "contract", "generic", "targets", "target"},  # an op's kernels of all targets
    "dispatch": {"base", "format", "contract", "targets", "all_targets"},
    "op": {"base", "format", "layout", "contract", "all_targets", "targets", "dispatch", "sampling"},
    "sampling": {"base", "contract", "all_targets", "dispatch"},
    "io": {"base", "format", "layout", "op"},  # includes op, because writing a packed file packs weights
    "text": {"base", "io"},
    "model": {"base", "format", "layout", "contract", "dispatch", "op", "sampling", "io", "text"},
    "umbrella": {"base", "format", "layout", "contract", "dispatch", "op", "sampling", "io", "text", "model"},
}
# Bindings are built on the library and compiled. They include what users include.
BINDINGS = {"c_api": LAYERS["umbrella"], "python": LAYERS["umbrella"]}
FILES = {"region": "base", "targets": "targets", "devices": "targets", "dispatch": "dispatch", "row_kernels": "dispatch",
         "stilla": "umbrella"}


def layer(path):
    """Returns the layer of a header, whose path is given as in an include line, for example stilla/format/q4_0.hpp."""
    folder, *rest = pathlib.PurePosixPath(path).with_suffix("").parts[1:]
    return (folder if folder in LAYERS else "target") if rest else FILES.get(folder, "op")


def findings():
    present = {p.relative_to(ROOT).as_posix() for base in ("include", "kernels") for p in (ROOT / base).rglob("*.hpp")}
    spelled = {name.split("/", 1)[1] for name in present}
    for name in sorted(present):
        text = (ROOT / name).read_text(encoding="utf-8")
        lines = text.splitlines()
        here = layer(name.split("/", 1)[1])
        if len(lines) > MAX_LINES:
            yield f"{name}: {len(lines)} lines, at most {MAX_LINES}"
        if lines[0] != "// SPDX-License-Identifier: Apache-2.0":
            yield f"{name}:1: no SPDX line"
        if "#pragma once" not in lines and not name.endswith("-inl.hpp"):  # Highway reads those several times
            yield f"{name}: no #pragma once"
        if "STILLA_ABI {" in text and not ("base/push_macros-inl.hpp" in text and "base/pop_macros-inl.hpp" in text):
            yield f"{name}: no push_macros-inl.hpp behind its includes and pop_macros-inl.hpp at its end"
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

    for folder, allowed in BINDINGS.items():
        for path in sorted((ROOT / folder).glob("*.[hc]pp")):
            name, lines = path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8").splitlines()
            if len(lines) > MAX_LINES:
                yield f"{name}: {len(lines)} lines, at most {MAX_LINES}"
            if lines[0] != "// SPDX-License-Identifier: Apache-2.0":
                yield f"{name}:1: no SPDX line"
            for number, line in enumerate(lines, 1):
                match = re.match(r"\s*#\s*include\s+<(stilla/[^>]+\.hpp)>", line)
                if match and layer(match[1]) not in allowed:
                    yield f"{name}:{number}: {folder}/ must not include '{layer(match[1])}' ({match[1]})"

    for name in sorted(p.relative_to(ROOT).as_posix() for folder in ("include", "kernels", "c_api", "python", "examples", "tests", "bench")
                       for p in (ROOT / folder).rglob("*.[hc]pp")):
        for number, line in enumerate((ROOT / name).read_text(encoding="utf-8").splitlines(), 1):
            if re.search(r"(defined\s*\(?|#\s*ifdef)\s*STILLA_(ARCH|HAS)_", line):
                yield f"{name}:{number}: always defined, as 0 or 1: write #if"


# Extensions that only some compilers have, and the macros that tell compilers and systems apart. __GNUC__ stands for GCC and for
# clang, but clang-cl does not define it.
OF_SOME_COMPILERS = re.compile(r"__builtin_\w+|__attribute__|__asm__|\basm\b")
COMPILERS_AND_SYSTEMS = re.compile(r"\b(__GNUC__|__clang__|_MSC_VER|__MINGW32__|__hexagon__|__HVX__|__linux__|__APPLE__|_WIN32)\b")


def outside_branches(lines):
    """Yields the extensions of a compiler that stand in no preprocessor branch for certain compilers or systems, each with the number
    of its line. An #else or #elif belongs to the branches before it: its lines are read where their conditions do not hold."""
    depends = []  # for each open #if: whether a condition of it names a compiler or system
    for number, line in enumerate(lines, 1):
        code = line.split("//")[0]
        if directive := re.match(r"\s*#\s*(if|ifdef|ifndef|elif|endif)\b(.*)", code):
            if directive[1] == "endif":
                depends.pop()
            elif directive[1] == "elif":
                depends[-1] |= bool(COMPILERS_AND_SYSTEMS.search(directive[2]))
            else:
                depends.append(bool(COMPILERS_AND_SYSTEMS.search(directive[2])))
        elif not any(depends) and (match := OF_SOME_COMPILERS.search(code)):
            yield number, match[0]


def compiler_findings():
    """Yields a finding for each extension of a compiler that stands in code which every compiler reads."""
    folders = [ROOT / folder for folder in ("include", "kernels", "c_api", "examples/stilla")]
    for path in sorted([p for folder in folders for p in folder.rglob("*.[hc]*") if p.suffix in {".h", ".hpp", ".cpp"}]
                       + [ROOT / "bench/roofline.hpp"]):
        for number, what in outside_branches(path.read_text(encoding="utf-8").splitlines()):
            yield f"{path.relative_to(ROOT)}:{number}: {what} outside a branch for compilers that have it (#if defined(__GNUC__))"


# Words that comments, messages and pages must not use, and what to write in their place. kernels/README.md explains the words that
# this project uses.
WORDS = {"times the time": "per cent more or less", "likewise": "what is the same", "but for": "except", "none but": "only",
         "thereof": "of it", "anew": "again", "tokeniser": "tokenizer", "superblock": "super-block", "zero-point": "zero point",
         "dequantise": "decode"}


def words():
    """Yields a finding for each use of a word that WORDS replaces."""
    known = re.compile(r"\b(" + "|".join(WORDS) + r")\b", re.IGNORECASE)
    for folder in ("include", "kernels", "c_api", "python", "examples", "bench", "tests", "cmake", "scripts", "."):
        pattern = "*.md" if folder == "." else "**/*"
        for path in sorted((ROOT / folder).glob(pattern)):
            if path.suffix not in {".hpp", ".h", ".c", ".cpp", ".md", ".py", ".sh", ".cmake"} or path.samefile(__file__):
                continue
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                if match := known.search(line):
                    yield f"{path.relative_to(ROOT)}:{number}: '{match[1]}': write {WORDS[match[1].lower()]}"


def anchor(heading):
    """Returns the end of a link to this heading, the part behind the #, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def broken_links():
    """Yields a finding for each link in a page to a file or a heading that is not there."""
    pages = [path for path in ROOT.rglob("*.md") if "build" not in path.relative_to(ROOT).parts]
    for page in sorted(pages):
        text = re.sub(r"(?ms)^(`{3,})[^`\n]*$.*?^\1$", "", page.read_text(encoding="utf-8"))  # without examples
        for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", text)):
            file, _, part = target.partition("#")
            there = page.parent / file if file else page
            if not there.exists():
                yield f"{page.relative_to(ROOT)}: {target} does not exist"
            elif part and part not in map(anchor, re.findall(r"(?m)^#+ (.+)$", there.read_text(encoding="utf-8"))):
                yield f"{page.relative_to(ROOT)}: {target}: there is no such heading"


def long_functions():
    """Yields a finding for each C++ function of more than 80 lines whose comment does not give the reason, in a sentence with "more
    than 80 lines because".

    A function ends with a line that is "}" in column 0 or 2 (types and tables end in "};", namespaces with a comment), and begins
    with the line above it that is the nearest of those that are not indented more.
    """
    reason = f"more than {MAX_FUNCTION_LINES} lines because"
    no_function = re.compile(r" *(namespace|extern|if|for|while|do|switch|else|case|default)\b| *\}")
    for folder in ("include", "kernels", "c_api", "python", "examples", "tests", "bench"):
        for path in sorted(p for p in (ROOT / folder).rglob("*") if p.suffix in {".hpp", ".cpp", ".h", ".c"}):
            lines = path.read_text(encoding="utf-8").splitlines()
            for last, line in enumerate(lines):
                if line not in {"}", "  }"}:
                    continue
                outer = re.compile(r"[^\s#]" if line == "}" else r"(  )?[^\s#]")
                first = next((n for n in range(last - 1, -1, -1) if outer.match(lines[n])), 0)
                length = last - first + 1
                if length <= MAX_FUNCTION_LINES or no_function.match(lines[first]):
                    continue
                comment = first
                while comment > 0 and lines[comment - 1].strip().startswith(("//", "template <")):
                    comment -= 1
                if reason not in " ".join(text.strip().removeprefix("// ") for text in lines[comment:first]):
                    yield (f"{path.relative_to(ROOT)}:{first + 1}: a function of {length} lines, at most {MAX_FUNCTION_LINES}; divide it, "
                           f"or say in its comment that it has {reason} ...")


def main():
    found = [*findings(), *compiler_findings(), *broken_links(), *words(), *long_functions()]
    print(*found, sep="\n", end="\n" if found else "")
    print(f"check_tree: {len(found)} findings")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
