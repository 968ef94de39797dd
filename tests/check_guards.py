#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks how headers react to macros: those of compilers and CPUs that may not be here, and those of other people's code.

Each case defines such macros for a compiler that is here. It states what must hold, or the sentence with which the header
refuses. Microsoft's compiler is imitated by its macros and by an <intrin.h> of one line; nothing that only it could compile is
compiled.

At last all public headers are compiled while macros with the names in PROMISED are defined: once with all of these macros, where
the kernels are compiled too, and then with each half of them, so that no macro is taken care of only because another one is there.
Compiling once for each name would take many minutes; the whole script must stay below a minute on a slow core.
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
# Names of other people's macros that the library promises to bear. They are written here again, so that a name that is deleted
# from push_macros-inl.hpp is still tested.
PROMISED = """abs B0 bit Bool check D E emit F far I interface K M major max min minor N near None radians round S signals slots small
Status Success T""".split()
# The cases for a compiler for Arm, in the form of CASES. Microsoft's compiler for Arm defines no __ARM_NEON.
ARM_CASES = [
    ("Arm", [], "STILLA_HAS_PORTABLE && STILLA_HAS_DOTPROD", None),
    ("Arm without __ARM_NEON", ["-U__ARM_NEON"], "!STILLA_HAS_PORTABLE && !stilla::Portable::is_compiled", None),
]
STANDARD = """algorithm array atomic bit charconv chrono cmath complex concepts condition_variable cstddef cstdint cstdlib cstring
deque fstream functional limits map memory mutex new numeric optional queue random set span sstream string string_view
system_error thread tuple type_traits unordered_map utility variant vector immintrin.h cpuid.h"""
OPTIONAL = ("nlohmann/json.hpp", "xsimd/xsimd.hpp")  # headers that include one of these are compiled only where it is installed
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


def public_headers():
    """Returns all headers that a user may include, as include lines name them. windows.hpp is left out, because it is for Windows."""
    folder = ROOT / "include"
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.h*") if not p.name.endswith("-inl.hpp"))
    return [name for name in names if name != "stilla/base/windows.hpp"]


def headers_that_include(other):
    """Returns the public headers that include the header `other`, themselves or by another public header."""
    included = {name: re.findall(r"(?m)^#include <([^>]+)>", (ROOT / "include" / name).read_text(encoding="utf-8"))
                for name in public_headers()}
    found, before = {other}, set()
    while found != before:
        before = found
        found = before | {name for name, others in included.items() if not before.isdisjoint(others)}
    return found


def including(name, others):
    """Returns the lines that include the header `name` if the headers `others` are installed."""
    return "\n".join([*(f"#if __has_include(<{other}>)" for other in others), f"#include <{name}>", *["#endif"] * len(others)])


def macro_source(names):
    """Returns a file that includes the library while these macros are defined, most of them as text that never compiles."""
    functions = {"min": "(a, b) (((a) < (b)) ? (a) : (b))", "max": "(a, b) (((a) > (b)) ? (a) : (b))"}
    functions.update({name: "(x) ((x) * 1000)" for name in ("abs", "bit", "radians", "round")})
    # Other people's headers come first, because they would not survive the macros.
    lines = [f"#include <{name}>" for name in STANDARD.split()] + [including(other, [other]) for other in OPTIONAL]
    lines += [f"#define {name}{functions.get(name, ' ) other_peoples (')}" for name in names]
    needs = {other: headers_that_include(other) for other in OPTIONAL}
    lines += [including(name, [other for other in OPTIONAL if name in needs[other]]) for name in public_headers()]
    lines += [f"#ifndef {name}\n#error \"{name} is gone\"\n#endif" for name in names]
    return "\n".join(lines) + "\n"


def macro_failures(compiler, folder):
    listed = (ROOT / "include/stilla/base/push_macros-inl.hpp").read_text(encoding="utf-8")
    for name in sorted(set(re.findall(r'push_macro\("(\w+)"\)', listed)) ^ set(PROMISED)):
        yield f"the macro {name}: push_macros-inl.hpp and PROMISED of {pathlib.Path(__file__).name} must both have it"
    flags = ["-DSTILLA_FORMATS=F32,Q4_0", "-Wall", "-Wextra"]
    half = len(PROMISED) // 2
    for names, kernels in ((PROMISED, 0), (PROMISED[:half], 1), (PROMISED[half:], 1)):
        done = compiled(compiler, folder, [*flags, f"-DSTILLA_SEPARATE_KERNELS={kernels}"], macro_source(names), "-fsyntax-only")
        if done.returncode != 0:
            yield f"other people's macros {' '.join(names)}: not compiled\n{done.stderr[:1200]}"


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
