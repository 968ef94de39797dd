#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks how headers react to macros: those of compilers and CPUs that may not be here, and those of other people's code.

Each case defines such macros for a compiler that is here. It states what must hold, or the sentence with which the header
refuses. Microsoft's compiler is imitated by its macros and by an <intrin.h> of one line; nothing that only it could compile is
compiled. At last all public headers are compiled while macros with the same names as the library's names are defined.
"""

import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
MSVC = ["-D_MSC_VER=1944", "-D_MSVC_LANG=202002L", "-U__FMA__", "-U__F16C__", "-U__BMI2__", "-U__BMI__"]
BIG_ENDIAN = ["-U__BYTE_ORDER__", "-D__BYTE_ORDER__=__ORDER_BIG_ENDIAN__"]
# Each case has a name, compiler flags, and an expression that must hold, or the words of the error.
CASES = [
    ("-ffast-math", ["-ffast-math"], None, "fast-math"),
    ("/fp:fast", ["-D_M_FP_FAST=1"], None, "/fp:fast"),
    ("a big-endian CPU", BIG_ENDIAN, None, "little-endian"),
    ("C++17", ["-std=c++17"], None, "C++20"),
    ("MSVC's traditional preprocessor", [*MSVC, "-D_MSVC_TRADITIONAL=1"], None, "/Zc:preprocessor"),
    ("MSVC with /Zc:preprocessor", [*MSVC, "-D_MSVC_TRADITIONAL=0"], "true", None),
    ("no flags", [], "!STILLA_FLAGS_GIVE_AVX2", None),
    ("-mavx2 alone", ["-mavx2"], "!STILLA_FLAGS_GIVE_AVX2", None),
    ("-march=haswell", ["-march=haswell"], "STILLA_FLAGS_GIVE_AVX2", None),
    ("/arch:AVX", [*MSVC, "-mavx"], "!STILLA_FLAGS_GIVE_AVX2", None),
    ("/arch:AVX2", [*MSVC, "-mavx2"], "STILLA_FLAGS_GIVE_AVX2", None),
    ("/arch:AVX2, one target", [*MSVC, "-mavx2", "-DSTILLA_SINGLE_TARGET=1"],
     "std::is_same_v<stilla::BestTarget, stilla::Avx2>", None),
    ("-march=haswell, one target", ["-march=haswell", "-DSTILLA_SINGLE_TARGET=1"],
     "std::is_same_v<stilla::BestTarget, stilla::Avx2>", None),
]
# The same for a compiler for Arm. Microsoft's compiler for Arm defines no __ARM_NEON.
ARM_CASES = [
    ("Arm", [], "STILLA_HAS_PORTABLE && STILLA_HAS_DOTPROD", None),
    ("Arm without __ARM_NEON", ["-U__ARM_NEON"], "!STILLA_HAS_PORTABLE && !stilla::Portable::is_compiled", None),
]
STANDARD = """algorithm array atomic bit charconv chrono cmath complex concepts condition_variable cstddef cstdint cstdlib cstring
deque fstream functional limits map memory mutex new numeric optional queue random set span sstream string string_view
system_error thread tuple type_traits unordered_map utility variant vector immintrin.h cpuid.h"""
SOURCE = """#include <type_traits>
#include <stilla/targets.hpp>
namespace stilla {{
template <class List> struct FirstOf;
template <class T, class... Ts> struct FirstOf<TypeList<T, Ts...>> {{ using Type = T; }};
using BestTarget = FirstOf<Targets>::Type;
}}
static_assert({});
"""
NAMESPACE = "#include <stilla/base/config.hpp>\n#define TEXT(x) TEXT_(x)\n#define TEXT_(x) #x\nname: TEXT(STILLA_ABI)\n"


def compiled(compiler, folder, flags, source, *more):
    command = [compiler, "-std=c++20", "-x", "c++", f"-I{ROOT}/include", f"-I{ROOT}/kernels", f"-I{folder}", *flags, *more, "-"]
    return subprocess.run(command, input=source, capture_output=True, text=True, check=False)


def case_failures(compiler, folder, cases):
    for name, flags, holds, words in cases:
        done = compiled(compiler, folder, flags, SOURCE.format(holds or "true"), "-fsyntax-only")
        if holds and done.returncode != 0:
            yield f"{name}: not true or not compiled: {holds}\n{done.stderr[-600:]}"
        if words and (done.returncode == 0 or words not in done.stderr):
            yield f"{name}: not refused with '{words}'\n{done.stderr[-600:]}"


def namespace_failures(compiler, folder):
    # Objects that are compiled for different instruction sets must not share names.
    names = {}
    for flags in ([*MSVC, "-mno-avx"], [*MSVC, "-mavx"], [*MSVC, "-mavx2"], [*MSVC, "-mavx512f"]):
        done = compiled(compiler, folder, flags, NAMESPACE, "-E", "-P")
        name = done.stdout.strip().splitlines()[-1]
        if name in names:
            yield f"{flags[-1]} and {names[name]} share a namespace: {name}"
        names[name] = flags[-1]


def macro_source():
    """A file that includes the library while every macro of push_macros-inl.hpp is defined, most of them as text that never
    compiles."""
    listed = (ROOT / "include/stilla/base/push_macros-inl.hpp").read_text(encoding="utf-8")
    names = re.findall(r'push_macro\("(\w+)"\)', listed)
    functions = {"min": "(a, b) (((a) < (b)) ? (a) : (b))", "max": "(a, b) (((a) > (b)) ? (a) : (b))"}
    functions.update({name: "(x) ((x) * 1000)" for name in ("abs", "bit", "radians", "round")})
    lines = [f"#include <{name}>" for name in STANDARD.split()]  # included first, because these would not survive the macros
    lines += [f"#define {name}{functions.get(name, ' ) other_peoples (')}" for name in names]
    lines += ["#include <stilla/stilla.hpp>"]
    lines += [f"#ifndef {name}\n#error \"{name} is gone\"\n#endif" for name in names]
    return "\n".join(lines) + "\n"


def macro_failures(compiler, folder):
    source = macro_source()
    flags = ["-DSTILLA_FORMATS=F32,Q4_0", "-Wall", "-Wextra"]
    done = compiled(compiler, folder, flags, source, "-fsyntax-only")
    if done.returncode != 0:
        yield f"other people's macros: not compiled\n{done.stderr[:1200]}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("compiler", nargs="?", default="g++")
    parser.add_argument("--arm", default="aarch64-linux-gnu-g++", help="a compiler for Arm; its cases are skipped where it is missing")
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "intrin.h").write_text("#include <immintrin.h>\nextern void __cpuidex(int*, int, int);\n", encoding="utf-8")
        compiler, arm = parser.parse_args().compiler, parser.parse_args().arm
        found = [*case_failures(compiler, folder, CASES), *namespace_failures(compiler, folder), *macro_failures(compiler, folder)]
        if shutil.which(arm):
            found += case_failures(arm, folder, ARM_CASES)
        else:
            print(f"check_guards: the cases for Arm are skipped, because {arm} is not installed")
    for line in found:
        print(line)
    print(f"check_guards: {len(found)} findings")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
