#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Judges `stilla export --to onnx`. onnx.checker reads the graph. onnxruntime-genai loads the folder on the CPU and must make
the same token ids as `stilla tokenize`. It decodes greedily, and must write the tokens that `stilla logits` finds likeliest for
the same quantised weights, wherever the two best logits differ by more than 0.1.
"""

import argparse
import json
import pathlib
import tempfile

import numpy as np

import common

TEXTS = ["def reverse(s):\n    return", "What is 347 + 589?", "  Zwei Wörter,\tdrei 数字 123456 -- don't!\n\n\nWe'LL see.",
         "The capital of France is"]


def judge(options):
    onnx = common.wheel("onnx")
    og = common.wheel("onnxruntime-genai", "onnxruntime_genai")
    judge = common.Judge()
    program = common.Program(options.program, options.model)
    weights, changes = ["--weights", options.weights] if options.weights else [], common.changes_of(options)
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        folder, said, same = program.export("onnx", pathlib.Path(scratch) / "model", "--ctx", 512, *weights,
                                            *changes)
        reference, to_requantise = program.reference(scratch, weights, changes)
        print(said)
        judge.claim(same, "two exports have the same bytes")
        common.check_graph(onnx, folder / "model.onnx")
        judge.claim(True, "onnx.checker takes the graph")
        model = og.Model(str(folder))
        tokenizer = og.Tokenizer(model)
        equal = 0
        for text in TEXTS:
            found, expected = list(map(int, tokenizer.encode(text))), program.tokens(text)
            equal += found == expected
            if found != expected:
                print(f"{text!r}: genai {found}, stilla {expected}")
        judge.claim(equal == len(TEXTS), f"token ids of onnxruntime-genai are ours for {equal} of {len(TEXTS)} texts")

        vocabulary = json.loads((folder / "genai_config.json").read_text())["model"]["vocab_size"]
        compared = close = differ = 0
        worst = 0.0
        for text in TEXTS:
            ids = program.tokens(text)
            parameters = og.GeneratorParams(model)
            length = len(ids) + options.tokens
            parameters.set_search_options(do_sample=False, max_length=length, min_length=length)
            generator = og.Generator(model, parameters)
            generator.append_tokens(np.array(ids, np.int32))
            theirs = []
            while not generator.is_done() and len(theirs) < options.tokens:
                theirs.append(np.array(generator.get_logits(), np.float32).reshape(-1, vocabulary)[-1])
                generator.generate_next_token()
            written = list(map(int, generator.get_sequence(0)))
            ours = reference.logits(written[:-1], *to_requantise)[len(ids) - 1:]
            for step, token in enumerate(written[len(ids):]):
                best = np.sort(ours[step])[-2:]
                compared += 1
                close += best[1] - best[0] <= 0.1
                differ += best[1] - best[0] > 0.1 and int(ours[step].argmax()) != int(theirs[step].argmax())
                worst = max(worst, common.nmse(theirs[step], ours[step]))
        judge.claim(compared >= options.tokens and differ == 0,
                    f"executed by onnxruntime-genai on the CPU: {compared} greedy tokens, {close} with a margin of at most 0.1, "
                    f"{differ} others differ; NMSE of a row of logits at most {worst:.1e}")
    judge.end()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", help="the program stilla")
    parser.add_argument("model", help="a Qwen2 model, a GGUF file")
    parser.add_argument("--weights", help="the format that the layers are requantised to, here and there")
    common.add_changes(parser)
    parser.add_argument("--tokens", type=int, default=32, help="tokens to write for each text (default: 32)")
    parser.add_argument("--scratch", help="folder for the exported files (default: the system's)")
    judge(parser.parse_args())


if __name__ == "__main__":
    main()
