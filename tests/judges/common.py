# SPDX-License-Identifier: Apache-2.0
"""What the judges share: running the program `stilla`, comparing files, and the end of a judge.

A judge is a script that tests the exported models. It runs what `stilla export` wrote in another project's runtime or compiler
and compares the numbers with Stilla's. It prints a line for each claim. Its exit status is 1 if a claim does not hold. If it
skips something, it says so in one sentence.
"""

import hashlib
import importlib
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np


class Judge:
    """Prints claims and counts those that do not hold."""

    def __init__(self):
        self.failed = 0

    def claim(self, holds, text):
        print(("holds   " if holds else "FAILS   ") + text, flush=True)
        self.failed += not holds
        return holds

    def end(self):
        print(f"{self.failed} claims failed" if self.failed else "all claims hold")
        sys.exit(1 if self.failed else 0)


def wheel(name, module=None):
    """Imports a Python package. If it is missing, the judge ends with status 0 and a sentence that says so."""
    try:
        return importlib.import_module(module or name)
    except ImportError as error:
        print(f"skipped: the wheel {name} cannot be imported here ({error}); .ci/requirements-judges.txt names it")
        sys.exit(0)


class Program:
    """Runs the program `stilla` with one model."""

    def __init__(self, program, model):
        self.program, self.model = str(program), str(model)

    def run(self, *arguments):
        done = subprocess.run([self.program, *map(str, arguments)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"stilla {' '.join(map(str, arguments))}: status {done.returncode}: {done.stderr.strip()}")
        return done

    def export(self, stack, folder, *options):
        """Exports the model twice. Returns the first folder, what the program said, and whether both folders hold the same bytes."""
        first, second = pathlib.Path(folder), pathlib.Path(str(folder) + "-again")
        said = self.run("export", "--to", stack, "-m", self.model, "-o", first, *options).stderr
        self.run("export", "--to", stack, "-m", self.model, "-o", second, *options)
        return first, said.strip(), hashes(first) == hashes(second)

    def tokens(self, text, *options):
        return [int(i) for i in self.run("tokenize", "-m", self.model, *options, "--", text).stdout.replace(",", " ").split()]

    def text(self, folder, ids):
        """Returns the text of the tokens, according to the exported tokenizer.json."""
        if not hasattr(self, "pieces"):
            tokenizer = json.loads((pathlib.Path(folder) / "tokenizer.json").read_text(encoding="utf-8"))
            printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
            rest = [b for b in range(256) if b not in printable]
            byte = {chr(b): b for b in printable} | {chr(0x100 + i): b for i, b in enumerate(rest)}
            self.pieces = {i: bytes(byte[c] for c in piece) for piece, i in tokenizer["model"]["vocab"].items()}
            self.pieces |= {token["id"]: token["content"].encode() for token in tokenizer["added_tokens"]}
        return b"".join(self.pieces.get(i, b"") for i in ids).decode(errors="replace")

    def logits(self, ids, *options):
        """Returns the logits of every token, float32 [tokens, vocabulary], with activations of 16 bits and a float32 cache."""
        with tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder) / "logits.npy"
            self.run("logits", "-m", self.model, "--ids", ",".join(map(str, ids)), "--kv", "f32", "--activations", "int16",
                     "-o", out, *options)
            return np.load(out)


    def reference(self, folder, weights, changes):
        """Returns the program and options whose logits are the reference for an export. They use the same weights as the export. If
        the export changed the weights (rotated, calibrated), the program packs a file with the same changes for this."""
        if not changes:
            return self, weights
        packed = pathlib.Path(folder) / "reference.stilla"
        self.run("pack", "-m", self.model, "-o", packed, *weights, *changes)
        return Program(self.program, packed), []


def add_changes(parser):
    """Adds the options for what the program does to weights beside requantising them."""
    parser.add_argument("--rotate", help="the rotations of `stilla export --rotate`")
    parser.add_argument("--calibrate", help="the text of `stilla export --calibrate`")


def changes_of(options):
    """Returns the options that add_changes() added, as arguments of `stilla export` and `stilla pack`."""
    return [text for name in ("rotate", "calibrate") if getattr(options, name) for text in ("--" + name, getattr(options, name))]


def hashes(folder):
    def digest(path):
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    return {path.name: digest(path) for path in sorted(pathlib.Path(folder).iterdir())}


def nmse(found, expected):
    """Returns the normalised mean square error: sum (found - expected)^2 / sum expected^2."""
    expected = np.asarray(expected, np.float64)
    return float(((np.asarray(found, np.float64) - expected) ** 2).sum() / (expected ** 2).sum())


def snr_db(found, expected):
    return float(-10 * np.log10(max(nmse(found, expected), 1e-30)))


def check_graph(onnx, path):
    """Runs onnx.checker on a graph file. It does not know SimplifiedLayerNormalization, which onnxruntime has in ONNX's own set
    of operators, so the function first moves that operator to another set. The checker reads the weights too, so the changed
    graph is written beside them."""
    graph = onnx.load(str(path), load_external_data=False)
    for node in graph.graph.node:
        if node.op_type == "SimplifiedLayerNormalization":
            node.domain = "com.microsoft"
    beside = path.with_suffix(".checked")
    try:
        onnx.save(graph, str(beside))
        onnx.checker.check_model(str(beside), full_check=True)
    finally:
        beside.unlink()
