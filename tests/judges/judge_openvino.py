#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Judges `stilla export --to openvino`: onnx.checker reads the graphs; OpenVINO's CPU device runs them with float32 hints and
gives the logits of `stilla logits` for the same quantised weights, by windows of 64 tokens and one by one; with --npu Intel's
NPU4 compiler, which the Windows wheel has and wine runs, makes a blob of the body whose size is that of int4 weights.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import common
import stages

TEXT = ("A model's weights are read once for each token, so a step of one token is bound by memory, and a prompt, which has many "
        "tokens, by arithmetic. What is 347 + 589? Ones: 7 + 9 = 16, carry 1. Tens: 4 + 8 + 1 = 13, carry 1. "
        "Hundreds: 3 + 5 + 1 = 9.")


def runner(core, path):
    compiled = core.compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32",
                                                     "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"})
    inputs = [i.get_names() for i in compiled.inputs]  # a tensor may have several

    def run(feeds):
        result = compiled([next(feeds[name] for name in names if name in feeds) for names in inputs])
        return {name: result[i] for i, output in enumerate(compiled.outputs) for name in output.get_names()}
    return run


def constant_bytes(graph):
    """Bytes of the weights in a graph as int4, and of their scales as float16."""
    levels = scales = 0
    for tensor in graph.graph.initializer:
        count = 1
        for dim in tensor.dims:
            count *= dim
        if tensor.name.endswith(".levels"):
            levels += count // 2
        elif tensor.name.endswith(".scales"):
            scales += 2 * count
    return levels, scales


def judge_npu(judge, onnx, folder, options, scratch):
    """A blob for NPU4 by the vendor's compiler. Nothing runs: there is no device."""
    libraries = pathlib.Path(options.npu) / "openvino" / "libs"
    if not (libraries / "openvino_intel_npu_compiler.dll").exists():
        print(f"skipped: {options.npu} is not the unpacked Windows wheel of openvino, which has Intel's NPU compiler")
        return
    source = pathlib.Path(__file__).with_name("npu_compile.c")
    compiler = os.environ.get("STILLA_MINGW_CC", "x86_64-w64-mingw32-gcc-posix")
    wine = os.environ.get("STILLA_WINE", "/usr/lib/wine/wine64")
    program = libraries / "stilla_npu_compile.exe"
    try:
        subprocess.run([compiler, "-O1", "-I" + str(libraries.parent / "include"), str(source),
                        str(libraries / "openvino_c.lib"), "-o", str(program)], check=True)
        for name in ("iterator", "context"):
            blob = pathlib.Path(scratch) / (name + ".blob")
            done = subprocess.run([wine, program.name, "Z:" + str(folder / (name + ".onnx")), "NPU", "Z:" + str(blob),
                                   "NPU_COMPILER_TYPE=PLUGIN", "NPU_PLATFORM=NPU4000"],
                                  cwd=libraries, capture_output=True, text=True, timeout=1200, check=False,
                                  env={**os.environ, "WINEDEBUG": "-all"})
            if done.returncode != 0 or not blob.exists():
                judge.claim(False, f"compiled by Intel's NPU4 compiler: {name}: {done.stdout[-400:]}{done.stderr[-400:]}")
                continue
            graph = onnx.load(str(folder / (name + ".onnx")), load_external_data=False)
            levels, scales = constant_bytes(graph)
            expected, found = levels + scales, section_bytes(blob.read_bytes())
            judge.claim(found <= 1.05 * expected and found >= 0.95 * levels,
                        f"compiled by Intel's NPU4 compiler (nothing was run): {name}, blob {blob.stat().st_size} bytes, "
                        f"constants {found}, int4 weights and scales {expected}: {found / expected:.3f}")
    except FileNotFoundError as error:
        print(f"skipped: the NPU4 compiler needs {error.filename}, which is not installed here")


def section_bytes(blob):
    """Bytes of the constants in a blob, an ELF file: of all sections of data whose names say so."""
    import struct
    offset, = struct.unpack_from("<Q", blob, 0x28)
    size, count, names = struct.unpack_from("<HHH", blob, 0x3A)
    headers = [struct.unpack_from("<IIQQQQIIQQ", blob, offset + i * size) for i in range(count)]
    strings = headers[names][4]
    total = 0
    for header in headers:
        start = strings + header[0]
        name = blob[start:blob.index(b"\0", start)].decode()
        if "onst" in name:
            total += header[5]
    return total


def judge(options):
    onnx = common.wheel("onnx")
    ov = common.wheel("openvino")
    judge = common.Judge()
    program = common.Program(options.program, options.model)
    weights = ["--weights", options.weights]
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        folder, said, same = program.export("openvino", pathlib.Path(scratch) / "model", "--ctx", options.context, *weights)
        print(said)
        judge.claim(same, "two exports have the same bytes")
        names = ("embeddings", "context", "iterator", "head")
        for name in names:
            common.check_graph(onnx, folder / (name + ".onnx"))
        judge.claim(True, f"onnx.checker takes {', '.join(names)}")
        if not options.only_npu:
            core = ov.Core()
            run = {name: runner(core, folder / (name + ".onnx")) for name in names}
            config = json.loads((folder / "stilla_export.json").read_text())
            model = stages.Stages(config, run["embeddings"], {64: run["context"], 1: run["iterator"]}, run["head"])
            ids = program.tokens(TEXT)
            single = {0, 1, 2, *range(len(ids) - 4, len(ids))}
            found, expected = model.evaluate(ids, single), program.logits(ids, *weights)
            error = common.nmse(found, expected)
            same_best = (found.argmax(1) == expected.argmax(1)).sum()
            judge.claim(error <= 1e-4, f"executed by OpenVINO on the CPU, float32 hints: {len(ids)} tokens, {len(single)} "
                        f"of them one by one, NMSE {error:.1e}; the likeliest token is ours {same_best} times")
        if options.npu:
            judge_npu(judge, onnx, folder, options, scratch)
        else:
            print("skipped: Intel's NPU4 compiler, for which --npu names the unpacked Windows wheel of openvino")
    judge.end()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", help="the program stilla")
    parser.add_argument("model", help="a Qwen2 model, a GGUF file")
    parser.add_argument("--weights", default="int4_channel", help="int4_channel (default), int8_channel or int4_g128")
    parser.add_argument("--context", type=int, default=256, help="positions that the graphs have (default: 256)")
    parser.add_argument("--npu", help="the unpacked Windows wheel of openvino, for Intel's NPU4 compiler under wine")
    parser.add_argument("--only-npu", action="store_true", help="compile for NPU4 and run nothing")
    parser.add_argument("--scratch", help="folder for the exported files (default: the system's)")
    judge(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
