#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Judges `stilla export --to qnn`. onnx.checker reads the graphs. Qualcomm's HTP compiler, which is in the wheel
onnxruntime-qnn, must accept every graph of the body as a whole, without the CPU, and its x86 emulator runs them. Each block's
outputs are compared with those that onnxruntime computes on the CPU from the same graph. With --problems the whole model solves
problems, its body in the emulator, embeddings and head on the CPU. With --only-binaries device binaries are made.

Nothing here runs on an NPU.
"""

import argparse
import json
import pathlib
import random
import sys
import tempfile
import time

import numpy as np

import common
import stages

ROOT = pathlib.Path(__file__).resolve().parents[2]
USER, ASSISTANT, END = "<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>"
HTP_ARCH = {60: 73, 88: 81}  # the keys are soc_models: Snapdragon X and X2


class Runtimes:
    """Makes sessions of onnxruntime: either on the CPU, each operator as it is, or with a whole graph on the HTP emulator."""

    def __init__(self, ort, qnn):
        self.ort, self.qnn = ort, qnn
        ort.register_execution_provider_library("QNNExecutionProvider", qnn.get_library_path())
        self.devices = [d for d in ort.get_ep_devices() if d.ep_name == "QNNExecutionProvider"]

    def _function(self, session):
        outputs, inputs = [o.name for o in session.get_outputs()], {i.name for i in session.get_inputs()}

        def run(feeds):
            return dict(zip(outputs, session.run(None, {name: value for name, value in feeds.items() if name in inputs})))
        return run

    def cpu(self, path, as_it_stands=True):
        options = self.ort.SessionOptions()
        if as_it_stands:
            options.graph_optimization_level = self.ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        return self._function(self.ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]))

    def htp(self, path, soc=60, entries=()):
        options = self.ort.SessionOptions()
        options.log_severity_level = 3
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        for name, value in entries:
            options.add_session_config_entry(name, value)
        options.add_provider_for_devices(self.devices, {"backend_path": self.qnn.get_qnn_htp_path(), "soc_model": str(soc),
                                                        "htp_arch": str(HTP_ARCH[soc])})
        return self._function(self.ort.InferenceSession(str(path), options))

    def binary_bytes(self, graphs, folder, soc):
        """Compiles graphs into one device binary, in which they share weights, and returns its size."""
        folder.mkdir()
        for graph in graphs:
            entries = [("ep.context_enable", "1"), ("ep.context_embed_mode", "0"),
                       ("ep.context_file_path", str(folder / graph.name))]
            if len(graphs) > 1:
                entries.append(("ep.share_ep_contexts", "1"))
            if len(graphs) > 1 and graph == graphs[-1]:
                entries.append(("ep.stop_share_ep_contexts", "1"))
            self.htp(graph, soc, entries)
        return sum(path.stat().st_size for path in folder.glob("*.bin"))


def drop_texts(count):
    """Returns conversations from the training scripts, in the form in which Stilla Drop was trained on them."""
    sys.path.insert(0, str(ROOT / "examples" / "training"))
    import data
    texts = []
    for problem in data.training_problems(random.Random(7), count):
        thought, answer = problem.response()
        texts.append(f"{USER}{problem.question}{ASSISTANT}<think>\n{thought}</think>{answer}{END}")
    return texts


def chained(parts):
    """Returns a function that runs the body's parts one after the other, as one."""
    def run(feeds):
        out, feeds = {}, dict(feeds)
        for part in parts:
            done = part(feeds)
            out.update(done)
            feeds["hidden"] = done["hidden_out"]
        return out
    return run


def judge_blocks(judge, runtimes, folder, config, ids, expected):
    """Compares all blocks together, as onnxruntime computes them on the CPU, with `expected`, the program's logits of the same
    weights. Then runs every block alone in the emulator, with the inputs that it had in the CPU's pass over the text."""
    count = len(config["parts"])
    names = {64: [f"context.{i}.onnx" if count > 1 else "context.onnx" for i in range(count)],
             1: [f"iterator.{i}.onnx" if count > 1 else "iterator.onnx" for i in range(count)]}
    embed, head = runtimes.cpu(folder / "embeddings.onnx"), runtimes.cpu(folder / "head.onnx", False)
    cpu = {size: [runtimes.cpu(folder / name) for name in of_size] for size, of_size in names.items()}
    model = stages.Stages(config, embed, {size: chained(parts) for size, parts in cpu.items()}, head)
    error = common.nmse(model.evaluate(ids, {128}), expected)
    judge.claim(error <= 1e-3, f"executed by onnxruntime on the CPU, 16-bit activations: NMSE of the logits against ours {error:.1e}")
    model.clear()
    for size, text in ((64, ids[64:128]), (1, ids[128:129])):
        if size == 64:
            model.step(ids[:64], 64)
        feeds = model.inputs(text, size)
        model.step(text, size)
        worst, seconds = None, 0.0
        for part, name in enumerate(names[size]):
            expected = cpu[size][part](feeds)
            start = time.time()
            found = runtimes.htp(folder / name)(feeds)
            seconds += time.time() - start
            for output, values in expected.items():
                snr = common.snr_db(found[output], values)
                if worst is None or snr < worst[0]:
                    worst = (snr, name, output)
            feeds = {**feeds, "hidden": expected["hidden_out"]}
        judge.claim(worst[0] >= 45, f"executed in Qualcomm's x86 emulator, all operators on HTP: {count} blocks of {size} tokens, "
                    f"SNR against onnxruntime on the CPU at least {worst[0]:.1f} dB ({worst[2]} of {worst[1]}), {seconds:.0f} s")


def solve(model, program, prompt, draft, end, most):
    """Returns what greedy decoding writes after the prompt. The draft, a guess of this text, is evaluated at once. Its tokens are
    kept up to the first one that the model would not have written. From there on the tokens are decoded one by one."""
    model.clear()
    text = prompt + draft
    logits = model.evaluate(text[:model.context])
    written = []
    for place in range(len(prompt) - 1, len(text)):
        token = int(logits[place].argmax())
        written.append(token)
        if token == end:
            return written
        if place + 1 == len(text) or text[place + 1] != token:
            break
    model.length = len(prompt) + len(written) - 1
    while len(written) < most and model.length < model.context:
        token = int(model.evaluate([written[-1]], {0})[0].argmax())
        written.append(token)
        if token == end:
            break
    return written


def judge_problems(judge, runtimes, program, folder, config, count):
    body = {size: chained([runtimes.htp(folder / name) for name in names])
            for size, names in ((64, ["context.onnx"]), (1, ["iterator.onnx"]))}
    model = stages.Stages(config, runtimes.cpu(folder / "embeddings.onnx"), body, runtimes.cpu(folder / "head.onnx", False))
    lines = (ROOT / "tests" / "golden" / "drop-problems.txt").read_text(encoding="utf-8").splitlines()
    end = program.tokens(END, "--special")[0]
    begin = program.tokens("<｜begin▁of▁sentence｜>", "--special")[0]
    right, start, steps = 0, time.time(), 0
    for line in lines[:count]:
        _, question, answer = line.split("\t")
        prompt = f"{USER}{question}{ASSISTANT}<think>\n"
        draft = program.run("run", "-m", program.model, "--raw", "--special", "-p", prompt, "--temp", 0, "-n", 250).stdout
        ids = [begin] + program.tokens(prompt, "--special")
        written = solve(model, program, ids, program.tokens(draft + END, "--special"), end, 300)
        text = program.text(folder, written)
        steps += len(written)
        thought = text.find("</think>")
        is_right = thought >= 0 and "\\boxed{" + answer + "}" in text[thought:]
        right += is_right
        if not is_right:
            print(f"wrong: {question!r}, expected {answer}: {text!r}")
    judge.claim(right >= 0.96 * count, f"executed in Qualcomm's x86 emulator, body of the whole model: {right} of {count} unseen "
                f"problems right ({steps} tokens, {time.time() - start:.0f} s)")


def judge_binaries(judge, onnx, runtimes, folder, scratch):
    """Makes device binaries with Qualcomm's compiler. Nothing is run."""
    graph = onnx.load(str(folder / "context.onnx"), load_external_data=False).graph
    weights = sum(int(np.prod(t.dims)) for t in graph.initializer if t.name.endswith(".levels")) // 2
    for soc in HTP_ARCH:
        graphs = [folder / (name + ".onnx") for name in ("context", "iterator")]
        context, iterator = (runtimes.binary_bytes([path], pathlib.Path(scratch) / f"{path.stem}-{soc}", soc) for path in graphs)
        both = runtimes.binary_bytes(graphs, pathlib.Path(scratch) / f"both-{soc}", soc)
        judge.claim(0 < context <= 1.05 * weights and 0 < iterator <= 1.05 * weights and both < context + iterator,
                    f"compiled by Qualcomm's HTP compiler for soc {soc}, nothing was run: context {context} bytes, iterator "
                    f"{iterator}, int4 weights {weights}: {context / weights:.3f} and {iterator / weights:.3f}; "
                    f"both in one file {both}")


def judge(options):
    onnx = common.wheel("onnx")
    ort = common.wheel("onnxruntime")
    qnn = common.wheel("onnxruntime-qnn", "onnxruntime_qnn")
    judge = common.Judge()
    program = common.Program(options.program, options.model)
    runtimes = Runtimes(ort, qnn)
    is_drop = options.problems > 0
    texts = drop_texts(options.texts) if is_drop else [(ROOT / "kernels/README.md").read_text(encoding="utf-8")[:20000]]
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        calibration = pathlib.Path(scratch) / "calibration.txt"
        calibration.write_text("\n---\n".join(texts), encoding="utf-8")
        export_options = ["--ctx", options.context, "--weights", options.weights, "--calibration", calibration,
                          *common.changes_of(options)]
        if not options.only_binaries:
            blocks, said, same = program.export("qnn", pathlib.Path(scratch) / "blocks", *export_options, "--part-layers", 1)
            print(said)
            judge.claim(same, "two exports have the same bytes")
            for path in sorted(blocks.glob("*.onnx")):
                common.check_graph(onnx, path)
            judge.claim(True, f"onnx.checker takes {len(list(blocks.glob('*.onnx')))} graphs")
            config = json.loads((blocks / "stilla_export.json").read_text())
            text = drop_texts(3) if is_drop else texts
            weights, changes = ["--weights", options.weights], common.changes_of(options)
            reference, to_requantise = program.reference(scratch, weights, changes)
            ids = program.tokens("".join(text), "--special")[:129]
            judge_blocks(judge, runtimes, blocks, config, ids, reference.logits(ids, *to_requantise))
        if options.problems or options.only_binaries:
            whole, said, _ = program.export("qnn", pathlib.Path(scratch) / "whole", *export_options)
            print(said)
            if options.only_binaries:
                judge_binaries(judge, onnx, runtimes, whole, scratch)
            else:
                config = json.loads((whole / "stilla_export.json").read_text())
                judge_problems(judge, runtimes, program, whole, config, options.problems)
    judge.end()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", help="the program stilla")
    parser.add_argument("model", help="a Qwen2 model, a GGUF file")
    parser.add_argument("--weights", default="int4_channel", help="int4_channel (default), lpbq32, lpbq64, lpbq128")
    common.add_changes(parser)
    parser.add_argument("--context", type=int, default=320, help="positions that the graphs have (default: 320)")
    parser.add_argument("--problems", type=int, default=0, help="the model is Stilla Drop: solve so many unseen problems")
    parser.add_argument("--texts", type=int, default=60, help="calibration texts of Stilla Drop (default: 60)")
    parser.add_argument("--only-binaries", action="store_true",
                        help="make device binaries of the body for soc 60 and 88, and run nothing")
    parser.add_argument("--scratch", help="folder for the exported files (default: the system's)")
    judge(parser.parse_args())


if __name__ == "__main__":
    main()
