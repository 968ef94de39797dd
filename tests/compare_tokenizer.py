#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares token ids with Hugging Face transformers on random and adversarial strings.

    pip install transformers==5.23.0 tokenizers==0.23.3 gguf==0.19.0
    python tests/compare_tokenizer.py BUILD/bin/tokenize_lines MODEL.gguf [--count 100000] [--seed 1]

The reference is AutoTokenizer.from_pretrained(folder, gguf_file=name), once as it is (special tokens are found in the text) and
once with split_special_tokens (control tokens are text). Four things of the reference are repaired first, and only for strings
that are affected by them (the number of such strings is printed):
  - control tokens spelled outside the byte alphabet, such as <｜User｜>, are left out by transformers' GGUF reader;
  - tokens that the file does not have are added past the end of the vocabulary;
  - for `qwen2` it does not bring text into Unicode's form C, though Qwen's own tokenizer.json does;
  - for `smollm` it does not isolate digits, though the model's own tokenizer.json does.
Exit status 1 if anything differs.
"""

import argparse
import json
import pathlib
import struct
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from tokenizer_strings import strings  # noqa: E402


def reference_tokenizers(path):
    """Returns (the tokenizer as transformers reads the file, the repaired one, a test for texts on which the two differ)."""
    from gguf import GGUFReader
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    as_read = AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name)._tokenizer
    fields = GGUFReader(str(path)).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    types = fields["tokenizer.ggml.token_type"].contents()
    state = json.loads(as_read.to_str())
    spelling = {index: text for text, index in state["model"]["vocab"].items()}
    added = {token["id"]: token["content"] for token in state["added_tokens"]}
    broken = [content for index, content in added.items() if index >= len(tokens)]
    state["added_tokens"] = [token for token in state["added_tokens"] if token["id"] < len(tokens)]
    for index, (text, kind) in enumerate(zip(tokens, types)):
        if kind == 3 and index not in added:
            broken.append(text)
            del state["model"]["vocab"][spelling[index]]
            state["model"]["vocab"][text] = index
            state["added_tokens"].append(dict(id=index, content=text, single_word=False, lstrip=False, rstrip=False,
                                              normalized=False, special=True))
    state["added_tokens"].sort(key=lambda token: token["id"])
    state["post_processor"] = None
    if fields["tokenizer.ggml.pre"].contents() == "qwen2":
        state["normalizer"] = {"type": "NFC"}
        broken.append("")
    if fields["tokenizer.ggml.pre"].contents() == "smollm":
        state["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [
            {"type": "Digits", "individual_digits": True},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}]}
        broken.append("")
    return as_read, Tokenizer.from_str(json.dumps(state)), broken


def our_ids(program, path, mode, texts):
    request = b"".join(struct.pack("<I", len(t)) + t for t in (text.encode() for text in texts))
    done = subprocess.run([program, str(path), mode], input=request, stdout=subprocess.PIPE, check=True)
    words = memoryview(done.stdout).cast("I")
    out, at = [], 0
    while at < len(words):
        out.append(words[at + 1 : at + 1 + words[at]].tolist())
        at += 1 + words[at]
    return out


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--count", type=int, default=100000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    as_read, repaired, broken = reference_tokenizers(options.model)
    texts = strings(options.count, options.seed)
    needs_repair = [any(text in string for text in broken) for string in texts]
    failed = False
    for mode in ("parse", "text"):
        begin = time.time()
        ours = our_ids(options.program, options.model, mode, texts)
        seconds = time.time() - begin
        assert len(ours) == len(texts)
        for tokenizer in (as_read, repaired):
            tokenizer.encode_special_tokens = mode == "text"
        wrong = 0
        for text, repair, ids in zip(texts, needs_repair, ours):
            expected = (repaired if repair else as_read).encode(text, add_special_tokens=False).ids
            if ids != expected:
                wrong += 1
                if wrong <= 10:
                    print(f"{mode}: {text!r}\n  found    {ids}\n  expected {expected}")
        megabytes = sum(len(text.encode()) for text in texts) / 1e6
        print(f"{options.model.name}, {mode}: {len(texts)} strings ({megabytes:.1f} MB in {seconds:.2f} s), "
              f"{sum(needs_repair)} by the repaired reference, {wrong} differ")
        failed = failed or wrong > 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
