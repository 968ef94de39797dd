#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes xdna.bin: where mlir-aie puts the bytes of bfp16ebs8 tiles, and which numbers it reads in them, for
tests/xdna_test.cpp.

    python make_xdna_golden.py mlir-aie/programming_examples/ml/block_datatypes/helper.h xdna.bin

Two functions of that header (Apache 2.0 with LLVM exceptions), shuffleMatrixForBfp16ebs8 and bfp16ebs8ToFloat, are compiled by
g++ in a temporary folder that is removed again. Needs numpy. The repository's xdna.bin was made with the header of commit
1351c7a5.

Records have the form that golden_records() in tests/test_util.hpp reads. "tile/WIDTH/HEIGHT/rows" are random units of a matrix,
row by row, each byte as a number. ".../tiles" are the same units in one core tile of that size. ".../values" are the floats
that the rows stand for.
"""
import argparse
import pathlib
import struct
import subprocess
import tempfile

import numpy as np

SHAPES = [(64, 16)]  # numbers along K, rows
DRIVER = """
#include "helper.h"
#include <cstdlib>
int main(int, char** arguments) {
  const size_t width = std::strtoul(arguments[1], nullptr, 10), height = std::strtoul(arguments[2], nullptr, 10);
  std::vector<uint8_t> rows(width / 8 * 9 * height);
  if (std::fread(rows.data(), 1, rows.size(), stdin) != rows.size()) return 1;
  const std::vector<uint8_t> tiles = shuffleMatrixForBfp16ebs8(width, height, width, height, rows);
  const std::vector<float> values = bfp16ebs8ToFloat(static_cast<int>(rows.size()), rows.data());
  std::fwrite(tiles.data(), 1, tiles.size(), stdout);
  std::fwrite(values.data(), 4, values.size(), stdout);
}
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("helper", type=pathlib.Path, help="mlir-aie's helper.h")
    parser.add_argument("output", type=pathlib.Path, help="xdna.bin")
    arguments = parser.parse_args()
    rng = np.random.default_rng(20250304)
    out = bytearray()

    def record(name, values):
        nonlocal out
        text = name.encode()
        out += struct.pack("<I", len(text)) + text + struct.pack("<I", values.size) + values.astype("<f8").tobytes()

    with tempfile.TemporaryDirectory() as folder:
        source, program = pathlib.Path(folder) / "driver.cpp", pathlib.Path(folder) / "driver"
        source.write_text(DRIVER)
        subprocess.run(["g++", "-O1", "-w", f"-I{arguments.helper.resolve().parent}", str(source), "-o", str(program)],
                       check=True)
        for width, height in SHAPES:
            units = rng.integers(0, 256, (width // 8 * height, 9), dtype=np.uint8)
            units[:, 0] = rng.integers(100, 150, len(units))  # the exponents, by which the header shifts an int
            made = subprocess.run([str(program), str(width), str(height)], input=units.tobytes(), stdout=subprocess.PIPE,
                                  check=True).stdout
            name = f"tile/{width}/{height}"
            record(name + "/rows", units.ravel())
            record(name + "/tiles", np.frombuffer(made, np.uint8, units.size))
            record(name + "/values", np.frombuffer(made, np.float32, offset=units.size))
    arguments.output.write_bytes(out)
    print(arguments.output, len(out), "bytes")


if __name__ == "__main__":
    main()
