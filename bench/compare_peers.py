#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares stilla with its peers that PyPI has, side by side on this machine.

    bench/compare_peers.py -m MODEL.gguf                        whole models: tokens/s of prompt and generation
    bench/compare_peers.py --matmul                             one int4 product: q4_0 against ONNX Runtime's MatMulNBits
    bench/compare_peers.py -m MODEL.gguf --target avxvnni --peers llama     as on a CPU that has AVX-VNNI and nothing newer
    bench/compare_peers.py -m MODEL.gguf --matmul -p 512 -n 64 -t 1 --rounds 15 -o report.json

Peers: llama-cpp-python and openvino-genai read the same GGUF file. onnxruntime's MatMulNBits has blocks of 32 weights with one scale
each and int8 arithmetic (accuracy_level 4), and so has q4_0. Each peer is installed into an environment of its own below
--environments when it is first asked for. (llama-cpp-python is compiled for this CPU or for --target, which takes a while.) A peer
that cannot be installed or run is reported and left out.

The contenders take turns, round after round (A B C, A B C, ...), because the machine's speed drifts. A cell is the median with the
10th and 90th percentile. "stilla / peer" is the median of the ratios within rounds, with its bootstrap 95 % interval: a difference
counts only if that interval excludes 1. Peers stay loaded between their turns and do nothing then.
"""

import argparse
import importlib.metadata
import itertools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

from medians import interval_of_median, percentile

ROOT = pathlib.Path(__file__).resolve().parent.parent
PEERS = {  # the worker's name: its pip requirements
    "llama": ["llama-cpp-python==0.3.36"],
    "openvino": ["openvino-genai==2026.4.1.0"],
    "onnxruntime": ["onnxruntime==1.31.1", "onnx==1.23.2"],
}
LLAMA_BUILDS = {  # Stilla's target: the options that give llama.cpp the same instructions; it has AVX2, FMA and F16C without an option
    "": "-DGGML_NATIVE=ON",
    "avx2": "-DGGML_NATIVE=OFF",
    "avxvnni": "-DGGML_NATIVE=OFF -DGGML_AVX_VNNI=ON",
}
SHAPES = {  # (N, K) of each matrix, by the names that matmul_bench has for them
    "1.5B_q": (1536, 1536), "1.5B_gate": (8960, 1536), "1.5B_down": (1536, 8960),
    "7B_gate": (18944, 3584), "7B_down": (3584, 18944),
    "14B_gate": (13824, 5120), "14B_down": (5120, 13824),
}


# A worker runs this file in the environment of a peer. It answers each line {"test": ..., "n": ...} with a line {"value": ...}, the
# tokens or operations per second.

def token_ids(count, turn=itertools.count()):
    """Returns token ids that differ at each call. With the same ids, a peer that keeps prompts (openvino-genai) would compute nothing."""
    start = next(turn) * 1009
    return [1000 + (start + i * 37) % 20000 for i in range(count)]


class LlamaWorker:
    package = "llama-cpp-python"

    def __init__(self, options):
        import llama_cpp
        self.model = llama_cpp.Llama(options["model"], n_ctx=options["context"], n_batch=512, n_ubatch=512, verbose=False,
                                     n_threads=options["threads"], n_threads_batch=options["threads"])

    def run(self, test, n):
        self.model.reset()
        ids = token_ids(n)
        start = time.perf_counter()
        for part in [ids] if test == "pp" else [[i] for i in ids]:
            self.model.eval(part)
        return n / (time.perf_counter() - start)


class OpenvinoWorker:
    package = "openvino-genai"

    def __init__(self, options):
        import openvino_genai
        self.model = openvino_genai.LLMPipeline(options["model"], "CPU", INFERENCE_NUM_THREADS=options["threads"])

    def run(self, test, n):
        import numpy as np
        import openvino
        import openvino_genai
        ids = np.array([token_ids(n if test == "pp" else 1)], dtype=np.int64)
        prompt = openvino_genai.TokenizedInputs(openvino.Tensor(ids), openvino.Tensor(np.ones_like(ids)))
        config = openvino_genai.GenerationConfig()
        config.max_new_tokens = 1 if test == "pp" else n
        config.ignore_eos = True
        config.do_sample = False
        metrics = self.model.generate(prompt, config).perf_metrics
        return 1000 * n / metrics.get_ttft().mean if test == "pp" else 1000 / metrics.get_tpot().mean


class OnnxruntimeWorker:
    """Measures the operations per second of a matrix product. It uses a ring of nodes, whose weights together do not fit in the caches."""
    package = "onnxruntime"

    def __init__(self, options):
        self.threads = options["threads"]
        self.sessions = {}

    def session(self, N, K, M):
        import numpy as np
        import onnx
        import onnxruntime
        if (N, K, M) in self.sessions:
            return self.sessions[N, K, M]
        self.sessions.clear()
        # A model is a protocol buffer, which cannot be larger than 2 GiB, so the nodes have about 2^29 bytes of weights. With a large M
        # about 2^26 bytes suffice, because each weight that comes from memory is then used many times.
        nodes = max(4, -(-(2**29 if M < 32 else 2**26) // (N * K // 2)))
        source = np.random.default_rng(1)
        packed = source.integers(0, 256, (N, K // 32, 16), dtype=np.uint8)
        scales = source.random(N * K // 32, dtype=np.float32) * 0.01
        initializers, graph_nodes, outputs = [], [], []
        for i in range(nodes):
            initializers += [onnx.numpy_helper.from_array(np.roll(packed, i, axis=0), f"w{i}"),
                             onnx.numpy_helper.from_array(scales, f"s{i}")]
            graph_nodes.append(onnx.helper.make_node("MatMulNBits", ["x", f"w{i}", f"s{i}"], [f"y{i}"], domain="com.microsoft",
                                                     K=K, N=N, bits=4, block_size=32, accuracy_level=4))
            outputs.append(onnx.helper.make_tensor_value_info(f"y{i}", onnx.TensorProto.FLOAT, [M, N]))
        x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [M, K])
        graph = onnx.helper.make_graph(graph_nodes, "ring", [x], outputs, initializers)
        model = onnx.helper.make_model(graph, ir_version=10, opset_imports=[
            onnx.helper.make_opsetid("", 21), onnx.helper.make_opsetid("com.microsoft", 1)])
        session_options = onnxruntime.SessionOptions()
        session_options.intra_op_num_threads = self.threads
        session_options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # spinning would disturb the turns of other peers
        session = onnxruntime.InferenceSession(model.SerializeToString(), session_options, providers=["CPUExecutionProvider"])
        self.sessions[N, K, M] = session, nodes, source.standard_normal((M, K), dtype=np.float32)
        return self.sessions[N, K, M]

    def run(self, test, n):
        shape, M = test.rsplit("/M", 1)
        N, K = SHAPES[shape]
        session, nodes, x = self.session(N, K, int(M))
        session.run(None, {"x": x})
        passes = 0
        start = time.perf_counter()
        while passes < 1 or time.perf_counter() - start < n / 1000:
            session.run(None, {"x": x})
            passes += 1
        return passes * nodes * 2 * int(M) * N * K / (time.perf_counter() - start)


WORKERS = {"llama": LlamaWorker, "openvino": OpenvinoWorker, "onnxruntime": OnnxruntimeWorker}


def serve(name, options):
    answers = sys.stdout
    sys.stdout = sys.stderr  # answers go to standard output, so what a library prints must not
    worker = WORKERS[name](options)
    print(json.dumps({"version": importlib.metadata.version(worker.package)}), file=answers, flush=True)
    for line in sys.stdin:
        question = json.loads(line)
        print(json.dumps({"value": worker.run(question["test"], question["n"])}), file=answers, flush=True)


# The programs that are compared. measure(test, n) gives the tokens or operations per second.

class Peer:
    def __init__(self, name, options, environments, target):
        python = install(name, environments, target)
        self.log = environments / f"{name}.log"
        with open(self.log, "a", encoding="utf-8") as log:
            self.process = subprocess.Popen([python, __file__, "--worker", name, json.dumps(options)], stdin=subprocess.PIPE,
                                            stdout=subprocess.PIPE, stderr=log, text=True)
        self.label = f"{WORKERS[name].package} {self.read()['version']}"

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            last = (self.log.read_text(encoding="utf-8").strip().splitlines() or ["no message"])[-1]
            raise RuntimeError(f"ended with status {self.process.wait()}: {last}; see {self.log}")
        return json.loads(line)

    def measure(self, test, n):
        self.process.stdin.write(json.dumps({"test": test, "n": n}) + "\n")
        self.process.stdin.flush()
        return self.read()["value"]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def install(name, environments, target):
    """Returns the path of Python in the peer's virtual environment, which is made if it is not there yet."""
    requirements = PEERS[name]
    options, variables, folder = [], {}, environments / name
    if name == "llama":
        options = ["--no-cache-dir"]  # otherwise pip would reuse a wheel that it built with other CMAKE_ARGS
        variables = {"CMAKE_ARGS": LLAMA_BUILDS[target]}
        folder = environments / "-".join(filter(None, (name, target)))
    python = folder / "bin" / "python"
    marker = folder / "installed"
    if marker.exists() and marker.read_text(encoding="utf-8").split() == requirements:
        return python
    print(f"installing {' '.join(requirements)} into {folder}", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
    done = subprocess.run([python, "-m", "pip", "install", "-q", *options, *requirements], text=True, capture_output=True,
                          check=False, env={**os.environ, **variables})
    if done.returncode != 0:
        (environments / f"{name}.log").write_text(done.stdout + done.stderr, encoding="utf-8")
        reason = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
        raise RuntimeError(f"{' '.join(requirements)} cannot be installed: {reason}; see {environments / name}.log")
    marker.write_text("\n".join(requirements), encoding="utf-8")
    return python


class Stilla:
    def __init__(self, arguments, activations):
        self.label = ", ".join(filter(None, (f"stilla, {activations} activations", arguments.target)))
        self.command = [arguments.bin / "stilla", "bench", "-m", arguments.model, "-t", str(arguments.threads), "-r", "1",
                        "--activations", activations, "-o", "json", *(["--target", arguments.target] if arguments.target else [])]

    def measure(self, test, n):
        counts = ["-p", str(n), "-n", "0"] if test == "pp" else ["-p", "0", "-n", str(n)]
        done = subprocess.run([*self.command, *counts], check=True, capture_output=True, text=True)
        return json.loads(done.stdout)[0]["avg_ts"]

    def close(self):
        pass


class StillaMatmul:
    def __init__(self, arguments, activations):
        self.label = f"stilla, {'int8' if activations == 'a8' else 'int16'} activations"
        self.arguments = arguments
        self.activations = activations
        names = self.run("--benchmark_list_tests", "--benchmark_filter=/q4_0/1.5B_q/")
        self.target = arguments.target or names.split("/")[1]  # the list begins with the best target

    def run(self, *options):
        command = [self.arguments.bin / "matmul_bench", *options]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def measure(self, test, n):
        shape, M = test.rsplit("/", 1)
        name = f"MatMul/{self.target}/q4_0/{shape}/{self.activations}/{M}/T{self.arguments.threads}$"
        report = json.loads(self.run(f"--benchmark_filter={name}", f"--benchmark_min_time={n / 1000}", "--benchmark_format=json"))
        return 1e9 * report["benchmarks"][0]["GOP/s"]

    def close(self):
        pass


def compare(contenders, tests, rounds, unit):
    """Runs and prints a table for each test; returns {test: {label: [values]}}."""
    report = {}
    for test, n in tests:
        title = test + str(n) if test in ("pp", "tg") else test
        values = {contender.label: [] for contender in contenders}
        for turn in range(-1, rounds):  # the first round warms up
            for contender in list(contenders):
                try:
                    value = contender.measure(test, n)
                except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
                    print(f"{contender.label}: {title}: {error}", file=sys.stderr)
                    contenders.remove(contender)
                    del values[contender.label]
                    continue
                if turn >= 0:
                    values[contender.label].append(value)
        if not values:
            return report
        base = next(iter(values))
        print(f"\n| {title}, {rounds} rounds | {unit[0]} (p10 to p90) | {base} / this | 95 % interval |")
        print("|---|---:|---:|---:|")
        for label, numbers in values.items():
            ratios = [ours / theirs for ours, theirs in zip(values[base], numbers)]
            low, high = interval_of_median(ratios)
            shown = [v * unit[1] for v in (statistics.median(numbers), percentile(numbers, 0.1), percentile(numbers, 0.9))]
            print(f"| {label} | {shown[0]:.1f} ({shown[1]:.1f} to {shown[2]:.1f}) | {statistics.median(ratios):.2f} "
                  f"| {low:.2f} to {high:.2f} |", flush=True)
        report[title] = values
    return report


def main():
    if sys.argv[1:2] == ["--worker"]:
        return serve(sys.argv[2], json.loads(sys.argv[3]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", help="a GGUF file for whole-model tests")
    parser.add_argument("--matmul", action="store_true", help="compare one int4 product")
    parser.add_argument("--shapes", default="1.5B_gate,1.5B_down", help=f"of --matmul: {', '.join(SHAPES)}")
    parser.add_argument("-p", "--n-prompt", type=int, default=512)
    parser.add_argument("-n", "--n-gen", type=int, default=64)
    parser.add_argument("-t", "--threads", type=int, default=1, help="1, or all cores (default 1)")
    parser.add_argument("--target", default="", choices=[t for t in LLAMA_BUILDS if t],
                        help="force our kernels and compile llama.cpp for these instructions; other peers choose by themselves")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--peers", default="llama,openvino,onnxruntime", help="which of them (default all)")
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "build/release/bin", help="where stilla and matmul_bench are")
    parser.add_argument("--environments", type=pathlib.Path, default=pathlib.Path.home() / ".cache/stilla-peers")
    parser.add_argument("-o", "--output", type=pathlib.Path, help="write every measured value as JSON")
    arguments = parser.parse_args()
    if not arguments.model and not arguments.matmul:
        parser.error("nothing to compare: -m MODEL, --matmul or both")
    wanted = arguments.peers.split(",")
    unknown = set(wanted) - set(PEERS) - {""} | set(arguments.shapes.split(",")) - set(SHAPES)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    arguments.environments.mkdir(parents=True, exist_ok=True)

    def peers(names):
        options = {"model": arguments.model, "threads": arguments.threads,
                   "context": max(arguments.n_prompt, arguments.n_gen) + 8}
        for name in names:
            if name in wanted:
                try:
                    yield Peer(name, options, arguments.environments, arguments.target)
                except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
                    print(f"{name}: left out: {error}", file=sys.stderr)

    report = {}
    jobs = []
    if arguments.model:
        tests = [(test, n) for test, n in (("pp", arguments.n_prompt), ("tg", arguments.n_gen)) if n > 0]
        jobs.append((lambda: [*(Stilla(arguments, kind) for kind in ("mixed", "int8", "int16")), *peers(["llama", "openvino"])],
                     tests, ("tokens/s", 1)))
    if arguments.matmul:
        tests = [(f"{shape}/M{M}", 300) for shape in arguments.shapes.split(",") for M in (1, 8, 512)]
        jobs.append((lambda: [StillaMatmul(arguments, "a8"), StillaMatmul(arguments, "a16"), *peers(["onnxruntime"])],
                     tests, ("GOP/s", 1e-9)))
    for start, tests, unit in jobs:
        contenders = start()
        everyone = list(contenders)
        report |= compare(contenders, tests, arguments.rounds, unit)
        for contender in everyone:
            contender.close()
    if arguments.output:
        arguments.output.write_text(json.dumps(report, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
