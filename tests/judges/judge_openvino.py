#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Judges `stilla export --to openvino`. onnx.checker reads the graphs. OpenVINO's CPU device runs them with float32 hints and
must give the logits of `stilla logits` for the same quantised weights, in windows of 64 tokens and one by one. With --npu,
Intel's NPU4 compiler, which is in the Windows wheel and which wine runs, makes a blob of the body whose size must be that of
int4 weights. NPUW, the part of OpenVINO that drives NPUs, must recognise the weights: the nodes behind them are those of its
matchers, and it computes with them in its own way.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

import common
import stages

TEXT = ("A model's weights are read once for each token, so a step of one token is bound by memory, and a prompt, which has many "
        "tokens, by arithmetic. What is 347 + 589? Ones: 7 + 9 = 16, carry 1. Tens: 4 + 8 + 1 = 13, carry 1. "
        "Hundreds: 3 + 5 + 1 = 9.")


def runner(core, path):
    compiled = core.compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32",
                                                     "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"})
    inputs = [i.get_names() for i in compiled.inputs]  # a tensor may have several names

    def run(feeds):
        result = compiled([next(feeds[name] for name in names if name in feeds) for names in inputs])
        return {name: result[i] for i, output in enumerate(compiled.outputs) for name in output.get_names()}
    return run


def constant_bytes(graph):
    """Returns the bytes of a graph's weights as int4, and those of their scales as float16."""
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


def node_sequence(output):
    """Describes the nodes behind a MatMul's weights, as "Transpose(Multiply(Convert(i4[8,16]),f32[8,1]))"."""
    node = output.get_node()
    if node.get_type_name() == "Constant":
        return f"{output.get_element_type().get_type_name()}{list(output.get_shape())}".replace(" ", "")
    inputs = node.inputs()[:1 if node.get_type_name() in ("Transpose", "Reshape", "Convert") else None]
    return f"{node.get_type_name()}({','.join(node_sequence(i.get_source_output()) for i in inputs)})"


def expected_sequence(format_name, rows, columns):
    """Returns what NPUW's matchers require of a matrix [N, K], according to partitioning/patterns/opt.cpp and compute.cpp of
    openvino's src/plugins/intel_npu/src/plugin/npuw, as of 2026. DQMatMulCWi_Transpose takes Convert, Multiply and a Transpose of two
    dimensions, directly behind the weights and scales, and DQMatMulCWi takes scales [N, 1]. DQMatMulGQi (activations of one
    row) and DQMatMulGQiP take Convert, Multiply and Reshape of weights [G, K / G, N] with scales [G, 1, N], float32 or float16.
    All require a MatMul without transposition. The weights are inputs there because NPUW takes constants out of repeated
    blocks. If there is one more node in between, nothing matches; the Reshape with which OpenVINO reads a blocked
    DequantizeLinear is such a node."""
    bits = format_name[3]
    if format_name.endswith("_channel"):
        return f"Transpose(Multiply(Convert(i{bits}[{rows},{columns}]),f32[{rows},1]))"
    groups = columns // 128
    return f"Reshape(Multiply(Convert(i{bits}[{groups},128,{rows}]),f32[{groups},1,{rows}]))"


def judge_npuw(judge, core, folder, config, format_name):
    """Tests NPUW without an NPU: it divides the graph and rewrites its blocks as for an NPU, and the CPU device computes
    them."""
    found = matched = 0
    for name in ("context", "iterator"):
        for node in core.read_model(str(folder / (name + ".onnx"))).get_ops():
            if node.get_type_name() != "MatMul" or node.input_value(1).get_partial_shape().rank.get_length() != 2:
                continue
            columns, rows = node.input_value(1).get_shape()
            sequence = node_sequence(node.input_value(1))
            if sequence.startswith("f32"):
                continue  # this is Hadamard's matrix
            attributes, activations = node.get_attributes(), node.input_value(0).get_shape()
            is_plain = not attributes["transpose_a"] and not attributes["transpose_b"] and len(activations) == 3
            found += 1
            matched += is_plain and sequence == expected_sequence(format_name, rows, columns)
            if matched != found:
                print(f"{node.get_friendly_name()}: activations {list(activations)}, weights {sequence}")
    judge.claim(found == 2 * 7 * config["layers"] and matched == found,
                f"{matched} of {found} products have the nodes of NPUW's matchers for {format_name}")
    worst, equal = 0.0, 0
    for name in ("context", "iterator"):
        model = core.read_model(str(folder / (name + ".onnx")))
        random = np.random.default_rng(1)
        feeds = [random.normal(size=list(i.shape)).astype(np.float32) * 0.3 for i in model.inputs]
        outputs = {}
        for has_dq in ("NO", "YES"):
            try:
                compiled = core.compile_model(model.clone(), "NPU", {
                    "NPU_USE_NPUW": "YES", "NPUW_DEVICES": "CPU", "NPUW_FOLD": "YES", "NPUW_DQ": has_dq,
                    "NPUW_ONLINE_KEEP_BLOCK_SIZE": "2", "NPUW_ONLINE_KEEP_BLOCKS": "2", "NPUW_ONLINE_MIN_SIZE": "3"})
            except RuntimeError as error:
                print(f"skipped: NPUW, which this OpenVINO does not start: {str(error).splitlines()[-1]}")
                return
            outputs[has_dq] = [np.array(o) for o in compiled.create_infer_request().infer(feeds).values()]
        worst = max([worst, *map(common.nmse, outputs["YES"], outputs["NO"])])
        equal += all(np.array_equal(*pair) for pair in zip(outputs["YES"], outputs["NO"]))
    judge.claim(equal == 0 and worst <= 1e-4,
                f"executed by NPUW with the CPU device: with NPUW_DQ it computes the products its own way in {2 - equal} of 2 graphs (other "
                f"bits), NMSE of an output against the graph as it stands at most {worst:.1e}")


def judge_npu(judge, onnx, folder, options, scratch):
    """Makes a blob for NPU4 with the vendor's compiler. Nothing is run, because there is no device."""
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
    """Returns the bytes of the constants in a blob, which is an ELF file: of all data sections whose names say so."""
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
    weights, changes = ["--weights", options.weights], common.changes_of(options)
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        folder, said, same = program.export("openvino", pathlib.Path(scratch) / "model", "--ctx", options.context, *weights,
                                            *changes)
        reference, to_requantise = program.reference(scratch, weights, changes)
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
            found, expected = model.evaluate(ids, single), reference.logits(ids, *to_requantise)
            error = common.nmse(found, expected)
            same_best = (found.argmax(1) == expected.argmax(1)).sum()
            judge.claim(error <= 1e-4, f"executed by OpenVINO on the CPU, float32 hints: {len(ids)} tokens, {len(single)} "
                        f"of them one by one, NMSE {error:.1e}; the likeliest token is ours {same_best} times")
            judge_npuw(judge, core, folder, config, options.weights)
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
    common.add_changes(parser)
    parser.add_argument("--context", type=int, default=256, help="positions that the graphs have (default: 256)")
    parser.add_argument("--npu", help="the unpacked Windows wheel of openvino, for Intel's NPU4 compiler under wine")
    parser.add_argument("--only-npu", action="store_true", help="compile for NPU4 and run nothing")
    parser.add_argument("--scratch", help="folder for the exported files (default: the system's)")
    judge(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
