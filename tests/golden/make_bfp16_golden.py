#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes bfp16.bin: weights, and the values to which AMD Quark's own CPU kernel rounds them, for tests/bfp16_test.cpp.

    pip download --no-deps --dest quark amd-quark==0.13
    python make_bfp16_golden.py quark/amd_quark-0.13-py3-none-any.whl bfp16.bin

The kernel is compiled by g++ from the source in the wheel (MIT), in a temporary folder that is removed again. Needs numpy.

The file consists of records, little endian, as golden_records() in tests/test_util.hpp reads them:
    u32 bytes of the name | the name | u32 count | count doubles
"bfp16/input" are the weights, in blocks of 8. "bfp16/saturate/TIES" are the same weights as the kernel returns them, for its
three rounding modes. "bfp16/next_exponent/TIES" are those that its `use_compiler_version_cpu_kernel` returns.
"""
import argparse
import ctypes
import pathlib
import struct
import subprocess
import tempfile
import zipfile

import numpy as np

OPERATORS = "quark/onnx/operators/custom_ops/"
BLOCK = 8
BIT_WIDTH = 16
TIES = {"away_from_zero": 0, "up": 1, "to_even": 2}
OVERFLOW = {"saturate": 0, "next_exponent": 1}
CALLER = """
#include "bfp/cpu/bfp_kernel.h"
extern "C" void to_bfp(const float* in, float* out, int n, int bits, int block, int ties, int version) {
  LaunchBFPCPUKernel(in, out, n, bits, block, ties, version);
}
"""


def quark_kernel(wheel, folder):
    """Returns the wheel's kernel as a function of a shared library."""
    folder = pathlib.Path(folder)
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.startswith(OPERATORS + "src/bf") or name.startswith(OPERATORS + "include/bfp/"):
                archive.extract(name, folder)
    root = folder / OPERATORS
    (folder / "caller.cc").write_text(CALLER)
    library = folder / "bfp.so"
    subprocess.run(["g++", "-O1", "-w", "-shared", "-fPIC", "-ffp-contract=off", f"-I{root}/include", f"-I{root}/src",
                    str(root / "src/bfp/cpu/bfp_kernel.cc"), str(folder / "caller.cc"), "-o", str(library)], check=True)
    return ctypes.CDLL(str(library)).to_bfp


def weights():
    """Returns blocks of 8 weights: usual ones, ties, blocks whose largest weight is about 127.5 times a power of two (where
    rounding may need the next exponent), wide and narrow ranges, and the smallest and largest floats."""
    rng = np.random.default_rng(20250303)
    blocks = list(rng.standard_normal((16, BLOCK)) * 0.02)
    blocks += list(rng.standard_normal((8, BLOCK)) * 10.0 ** rng.integers(-30, 30, (8, 1)))
    blocks += list(rng.standard_normal((8, BLOCK)) * 2.0 ** rng.integers(-30, 1, (8, BLOCK)))  # exponents far apart
    ties = rng.integers(-127, 127, (24, BLOCK)) + 0.5
    ties[:, 0] = rng.choice([64, -64, 100, -127, 127], 24)
    blocks += list(ties * 2.0 ** rng.integers(-20, 20, (24, 1)))
    ties = (rng.integers(-15, 15, (8, BLOCK)) + 0.5) * 2.0 ** -rng.integers(0, 4, (8, BLOCK))
    ties[:, 3] = 64
    blocks += list(ties)
    near = [126.5, 127, 127.25, 127.49999, 127.5, 127.75, 127.99999]
    for value in near + [-x for x in near]:
        block = rng.integers(-128, 129, BLOCK) / 2
        block[rng.integers(0, BLOCK)] = value
        blocks.append(block)
        blocks.append(block * 2.0 ** -126)
    blocks.append([127.5, -127.5, 127.5, 0.5, 1.5, -0.5, -1.5, 63.5])
    for one in (1.0, -1.0, 0.75, 3e-20):
        block = np.zeros(BLOCK)
        block[rng.integers(0, BLOCK)] = one
        blocks.append(block)
    blocks += [np.zeros(BLOCK), -np.zeros(BLOCK), np.full(BLOCK, 0.25), np.full(BLOCK, -0.25)]
    blocks += list(rng.standard_normal((6, BLOCK)) * 2.0 ** -127)  # about the smallest normal float
    blocks += list(rng.integers(-2**22, 2**22, (6, BLOCK)) * 2.0 ** -149)  # subnormal
    blocks += list((rng.integers(-63, 63, (4, BLOCK)) + 0.5) * 2.0 ** -133)  # ties of subnormal weights
    blocks += list(rng.uniform(-1, 1, (8, BLOCK)) * np.finfo(np.float32).max)
    blocks.append(np.full(BLOCK, np.finfo(np.float32).max))
    blocks.append(np.full(BLOCK, -np.finfo(np.float32).max))
    return np.array(blocks, np.float32)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", help="amd_quark-0.13-py3-none-any.whl")
    parser.add_argument("output", help="bfp16.bin")
    arguments = parser.parse_args()
    out = bytearray()

    def record(name, values):
        nonlocal out
        text = name.encode()
        out += struct.pack("<I", len(text)) + text + struct.pack("<I", values.size) + values.astype("<f8").tobytes()

    values = weights()
    record("bfp16/input", values)
    with tempfile.TemporaryDirectory() as folder:
        kernel = quark_kernel(arguments.wheel, folder)
        for overflow, version in OVERFLOW.items():
            for ties, mode in TIES.items():
                result = np.zeros_like(values)
                pointer = ctypes.POINTER(ctypes.c_float)
                kernel(values.ctypes.data_as(pointer), result.ctypes.data_as(pointer), values.size, BIT_WIDTH, BLOCK, mode,
                       version)
                record(f"bfp16/{overflow}/{ties}", result)
    pathlib.Path(arguments.output).write_bytes(out)
    print(arguments.output, len(out), "bytes,", len(values), "blocks")


if __name__ == "__main__":
    main()
