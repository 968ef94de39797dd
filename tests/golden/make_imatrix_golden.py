#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes imatrix.gguf and imatrix.dat, importance matrices in both forms of llama.cpp, for tests/imatrix_test.cpp.

    pip install gguf==0.19.0 numpy==2.4.6
    python make_imatrix_golden.py FOLDER

gguf-py's writer makes the GGUF form, with the keys and tensors of save_imatrix() in llama.cpp's tools/imatrix/imatrix.cpp; struct makes
the older form, with the fields of save_imatrix_legacy(). The mean square of input k of matrix i is (100 i + k) / 32 in both. The GGUF
file also has a matrix with three experts, and a matrix that got no input, as models with a mixture of experts cause them. Like newer
files, it has sums of inputs too.
"""
import pathlib
import struct
import sys

import gguf
import numpy as np

MATRICES = {"blk.0.attn_q.weight": 32, "blk.0.ffn_down.weight": 64, "blk.1.attn_q.weight": 32}
TEXTS = ["texts/a.txt", "texts/ü.txt"]


def means(i, width):
    return (100 * i + np.arange(width, dtype=np.float32)) / 32


def write_gguf(path):
    writer = gguf.GGUFWriter(path, arch="")  # llama-imatrix writes no architecture
    writer.add_type(gguf.GGUFType.IMATRIX)
    writer.add_array(gguf.Keys.IMatrix.DATASETS, TEXTS)
    writer.add_uint32(gguf.Keys.IMatrix.CHUNK_COUNT, 7)
    writer.add_uint32(gguf.Keys.IMatrix.CHUNK_SIZE, 512)

    def add(name, sums, counts):
        writer.add_tensor(name + ".in_sum2", sums)
        writer.add_tensor(name + ".counts", np.array(counts, np.float32).reshape(-1, 1))
        writer.add_tensor(name + ".in_sum", -sums)

    for i, (name, width) in enumerate(MATRICES.items()):
        add(name, means(i, width).reshape(1, -1) * 3584, [3584])
    add("blk.0.ffn_up_exps.weight", np.ones((3, 32), np.float32), [5, 0, 2])
    add("blk.1.ffn_up.weight", np.zeros((1, 32), np.float32), [0])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_dat(path):
    out = struct.pack("<i", len(MATRICES))
    for i, (name, width) in enumerate(MATRICES.items()):
        out += struct.pack("<i", len(name)) + name.encode() + struct.pack("<ii", 7, width)
        out += (means(i, width) * 7).astype("<f4").tobytes()
    text = TEXTS[-1].encode()
    path.write_bytes(out + struct.pack("<ii", 7, len(text)) + text)


def main():
    folder = pathlib.Path(sys.argv[1])
    write_gguf(folder / "imatrix.gguf")
    write_dat(folder / "imatrix.dat")


if __name__ == "__main__":
    main()
