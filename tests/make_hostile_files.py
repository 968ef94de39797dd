#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes files that must be refused, and controls that must load: GGUF, split GGUF, Hugging Face folders, packed files, sessions,
templates, importance matrices.

The files are the same each time. Packed files and sessions begin as the program itself writes them. Their checksums are
corrected after each change, because whoever makes a hostile file can compute them too. `cases.json` in the output folder lists
all files:

    {"name": ..., "kind": "gguf", "parts", "folder", "packed", "session", "template" or "imatrix", "expect": "control", "refused",
     "text", "damaged", "altered" or "survived", "file": ...}

"file" is there only if the case is a folder of which the commands get one file. "expect" says what must happen:
text: commands that need the vocabulary refuse the file. `pack` accepts it, since `logits` can use a packed file without a vocabulary.
damaged: some weights are NaN or infinite. `inspect` accepts the file, because it does not read weights.
altered: `inspect --verify` detects the change.
survived: the file may be accepted or refused, and must do no harm.
tests/check_hostile_files.py runs the program on all files.
"""

import argparse
import copy
import json
import pathlib
import shutil
import struct
import subprocess
import tempfile

from hostile_gguf import ARRAY, BOOL, F32, F64, I32, MASK, STRING, U8, U16, U32, U64, Gguf, Raw, xxh64

GOLDEN = pathlib.Path(__file__).resolve().parent / "golden"
NAN, INFINITY = float("nan"), float("inf")


class Cases:
    def __init__(self, folder):
        self.folder, self.list = folder, []

    def add(self, kind, what, data, expect="refused", file=""):
        """Adds a case. `data` is the bytes of a file, or a function that fills a new folder. If `file` is given, the commands get this
        file of the folder, and otherwise the folder."""
        name = f"{kind}-{len(self.list):03d}-{what}"
        path = self.folder / name
        if callable(data):
            path.mkdir()
            data(path)
        else:
            path.write_bytes(data)
        self.list.append({"name": name, "kind": kind, "expect": expect} | ({"file": file} if file else {}))


def cuts(data, count, more=()):
    """Returns lengths to which the data can be cut: `count` lengths at equal distances, and lengths around the borders in `more`."""
    places = {len(data) * i // count for i in range(count)} | {b + d for b in more for d in (-1, 0, 1)}
    return sorted(p for p in places if 0 <= p < len(data))


def gguf_adder(cases):
    """Returns a function add(what, change, expect). It adds a Gguf that `change` has altered, or the bytes that `change` returns."""
    def add(what, change=None, expect="refused"):
        file = Gguf()
        done = change(file) if change else None
        cases.add("gguf", what, done if isinstance(done, bytes) else file.bytes(), expect)

    return add


def gguf_header_cases(cases):
    add, whole = gguf_adder(cases), Gguf().bytes()
    add("control", expect="control")
    add("control-trailing", lambda f: setattr(f, "more", b"x" * 40), "control")
    add("control-unknown-key", lambda f: f.key("unknown.key", ARRAY, (F32, [1.0] * 10)), "control")
    for place in cuts(whole, 24, Gguf().header()[1][::4]):
        add(f"cut-{place}", lambda f, p=place: whole[:p])
    for magic in (b"", b"GGUf", b"FUGG", b"ggml", b"\0\0\0\0", b"PK\3\4"):
        add("magic", lambda f, m=magic: m + whole[4:])
    for version in (0, 1, 4, 3 << 24, 0xffffffff):
        add(f"version-{version}", lambda f, v=version: setattr(f, "version", v))
    for count in (0, 1, 15, 1 << 20, 1 << 32, 1 << 60, (1 << 63) - 1, 1 << 63, MASK):
        add(f"tensors-{count}", lambda f, c=count: setattr(f, "tensor_count", c))
        add(f"keys-{count}", lambda f, c=count: setattr(f, "key_count", c))
    for length in (MASK, 1 << 63, 1 << 40, 1 << 20):
        add(f"key-name-{length}", lambda f, n=length: whole[:24] + struct.pack("<Q", n) + whole[32:])
        add(f"string-{length}", lambda f, n=length: f.key("general.name", STRING, Raw(struct.pack("<Q", n) + b"x")))
    add("key-name-empty", lambda f: f.key("", U32, 1))
    add("key-name-long", lambda f: f.key("k" * 70000, U32, 1))
    add("key-twice", lambda f: f.key("twice.1", U32, 1).key("twice.2", U32, 1).bytes().replace(b"twice.2", b"twice.1"))
    for kind in (13, 255, 0xffffffff):
        add(f"key-type-{kind}", lambda f, k=kind: f.key("x", k, b"1234"))
    add("array-of-arrays", lambda f: f.key("x", ARRAY, Raw(struct.pack("<IQ", ARRAY, 1) + struct.pack("<IQ", U8, 1) + b"1")))
    add("array-of-type-99", lambda f: f.key("x", ARRAY, Raw(struct.pack("<IQ", 99, 1) + b"1")))
    for kind in (U8, F64, STRING):
        for count in (1 << 61, MASK, 1 << 30):
            add(f"array-{kind}-{count}", lambda f, k=kind, c=count: f.key("x", ARRAY, Raw(struct.pack("<IQ", k, c) + b"1234567890")))
    # One bit of the header is changed in each of these files. Such a file may be accepted or refused.
    header = len(Gguf().header()[0])
    for i in range(60):
        at = 24 + (i * 7919) % (header - 24)
        add(f"flip-{at}", lambda f, a=at, b=1 << i % 8: whole[:a] + bytes([whole[a] ^ b]) + whole[a + 1:], "survived")


def gguf_config_cases(cases):
    add = gguf_adder(cases)
    required = ["general.architecture", "qwen2.block_count", "qwen2.embedding_length", "qwen2.feed_forward_length",
                "qwen2.attention.head_count", "qwen2.context_length", "qwen2.attention.layer_norm_rms_epsilon", "tokenizer.ggml.model",
                "tokenizer.ggml.tokens"]
    for name in required:
        expect = "text" if name.startswith("tokenizer.") else "refused"
        add(f"without-{name}", lambda f, n=name: f.without(n), expect)
        add(f"array-{name}", lambda f, n=name: f.key(n, ARRAY, (U8, [1, 2, 3])), expect)
        add(f"bool-{name}", lambda f, n=name: f.key(n, BOOL, 1), expect)
    for name in required[1:6] + ["qwen2.attention.head_count_kv"]:
        for kind, value in ((U32, 0), (I32, -1), (U32, 0xffffffff), (U64, 1 << 63), (U64, MASK), (F32, 2.0), (STRING, "2")):
            add(f"{name}-{kind}-{value}", lambda f, n=name, k=kind, v=value: f.key(n, k, v))
    for value in (NAN, INFINITY, -1.0, 1.0, 1e30):
        add(f"epsilon-{value}", lambda f, v=value: f.key("qwen2.attention.layer_norm_rms_epsilon", F32, v))
    for name, value in (("head_count", 3), ("head_count", 5), ("head_count_kv", 3), ("key_length", 0), ("key_length", 3), ("key_length", 1 << 31)):
        add(f"{name}-{value}", lambda f, n=name, v=value: f.key(f"qwen2.attention.{n}", U32, v))
    for value in (0.0, -1.0, NAN, INFINITY):
        add(f"rope-base-{value}", lambda f, v=value: f.key("qwen2.rope.freq_base", F32, v))
    add("architecture-unknown", lambda f: f.key("general.architecture", STRING, "\x1b[2J"))
    add("architecture-moe", lambda f: f.key("general.architecture", STRING, "qwen3moe"))
    add("experts", lambda f: f.key("qwen2.expert_count", U32, 8))
    add("logit-scale", lambda f: f.key("qwen2.logit_scale", F32, 0.5))
    for kind, value in ((U32, 0), (U32, 3), (U32, 1 << 31), (I32, 32), (STRING, "32"), (U64, 32)):
        add(f"alignment-{kind}-{value}", lambda f, k=kind, v=value: f.key("general.alignment", k, v), "survived" if (kind, value) == (U64, 32) else "refused")


def gguf_vocabulary_cases(cases):
    add = gguf_adder(cases)
    tokens = Gguf().keys["tokenizer.ggml.tokens"][1][1]
    add("tokens-of-numbers", lambda f: f.key("tokenizer.ggml.tokens", ARRAY, (U32, list(range(260)))), "text")
    add("tokens-none", lambda f: f.key("tokenizer.ggml.tokens", ARRAY, (STRING, [])), "text")
    add("tokens-more-than-rows", lambda f: f.key("tokenizer.ggml.tokens", ARRAY, (STRING, tokens + ["x", "y"])))
    add("tokens-not-utf8", lambda f: f.key("tokenizer.ggml.tokens", ARRAY, (STRING, tokens[:-1] + [b"\xff\xfe"])), "survived")
    add("tokens-empty-text", lambda f: f.key("tokenizer.ggml.tokens", ARRAY, (STRING, tokens[:-1] + [""])), "survived")
    add("types-of-bytes", lambda f: f.key("tokenizer.ggml.token_type", ARRAY, (U8, [1] * 260)), "survived")
    add("types-too-few", lambda f: f.key("tokenizer.ggml.token_type", ARRAY, (I32, [1] * 10)), "text")
    add("types-unknown", lambda f: f.key("tokenizer.ggml.token_type", ARRAY, (I32, [77] * 260)), "text")
    add("types-negative", lambda f: f.key("tokenizer.ggml.token_type", ARRAY, (I32, [-1] * 260)), "text")
    add("merges-without-space", lambda f: f.key("tokenizer.ggml.merges", ARRAY, (STRING, ["ab"])), "text")
    add("merges-unknown", lambda f: f.key("tokenizer.ggml.merges", ARRAY, (STRING, ["zz qq"])), "text")
    add("merges-numbers", lambda f: f.key("tokenizer.ggml.merges", ARRAY, (F32, [1.0])), "text")
    add("merges-many", lambda f: f.key("tokenizer.ggml.merges", ARRAY, (STRING, ["a b"] * 20000)), "survived")
    add("model-unknown", lambda f: f.key("tokenizer.ggml.model", STRING, "t5"), "text")
    add("pre-unknown", lambda f: f.key("tokenizer.ggml.pre", STRING, "\x1b]0;x\x07"), "text")
    for token in (260, 1 << 31, 0xffffffff):
        for name in ("bos", "eos", "padding", "unknown"):
            add(f"{name}-{token}", lambda f, n=name, t=token: f.key(f"tokenizer.ggml.{n}_token_id", U32, t), "survived")
    add("add-bos-without", lambda f: f.key("tokenizer.ggml.add_bos_token", BOOL, 1), "text")
    add("template-number", lambda f: f.key("tokenizer.chat_template", U32, 1), "text")
    add("template-unknown", lambda f: f.key("tokenizer.chat_template", STRING, "{% include '/etc/passwd' %}"), "text")


def gguf_tensor_cases(cases):
    add = gguf_adder(cases)
    for name in [t[0] for t in Gguf().tensors]:
        add(f"without-{name}", lambda f, n=name: f.without(n))
        add(f"narrow-{name}", lambda f, n=name: f.tensor(n).__setitem__(1, [f.tensor(n)[1][0] // 2] + f.tensor(n)[1][1:]))
    for dims in ([], [32, 260, 1, 1, 1], [0, 260], [32, 0], [1 << 63, 1], [1 << 32, 1 << 32], [MASK, MASK], [32, 1 << 40], (0xffffffff, [32])):
        add(f"dims-{len(str(dims))}", lambda f, d=dims: f.tensor("token_embd.weight").__setitem__(1, d))
    for kind in (4, 5, 29, 39, 99, 0x7fffffff, 0xffffffff, 0x80000000, 0x80000002):
        add(f"type-{kind}", lambda f, k=kind: f.tensor("blk.0.ffn_up.weight").__setitem__(2, k))
    for kind in (2, 8, 12, 14):
        add(f"type-{kind}-short-rows", lambda f, k=kind: f.tensor("blk.0.ffn_norm.weight").__setitem__(2, k))
    for offset in (1, 16, 1 << 40, 1 << 63, MASK - 31):
        add(f"offset-{offset}", lambda f, o=offset: f.tensor("blk.0.ffn_up.weight").__setitem__(3, o))
    add("offset-shared", lambda f: f.tensor("blk.0.ffn_up.weight").__setitem__(3, 0), "survived")
    add("tensor-twice", lambda f: f.tensors.append(copy.deepcopy(f.tensors[1])))
    for name in ("", "x" * 100, "blk.0.ffn_up.weight\0x", "blk.00.ffn_up.weight", "blk.18446744073709551616.ffn_up.weight", "output.bias", "\x1b[2J"):
        add("tensor-name", lambda f, n=name: f.tensors.append([n, [32], 0, None, b"\1" * 128]))
    for value in (NAN, INFINITY, -INFINITY):
        # The token 256 is in every prompt, so its row of the embedding is read.
        for name, at in (("token_embd.weight", 256 * Gguf.WIDTH), ("blk.0.attn_norm.weight", 0), ("blk.0.ffn_down.weight", 0)):

            def damage(f, n=name, begin=4 * at, v=value):
                data = f.tensor(n)[4]
                f.tensor(n)[4] = data[:begin] + struct.pack("<f", v) + data[begin + 4:]

            add(f"weights-{value}-{name}", damage, "damaged")
    add("zeros", lambda f: f.bytes()[:len(f.bytes()) - 4096] + b"\0" * 4096)
    add("split", lambda f: f.key("split.count", U16, 2).key("split.no", U16, 0).key("split.tensors.count", I32, 28))
    add("split-many", lambda f: f.key("split.count", U16, 65535).key("split.no", U16, 65534))


def parts_cases(cases):
    """Adds models that are split into two files, which lie in a folder of their own. The commands get the first file."""
    names = ["model-00001-of-00002.gguf", "model-00002-of-00002.gguf"]

    def split():
        """Returns the two parts of a model. The first has all keys and the first half of the tensors."""
        first, second = Gguf(), Gguf()
        total, half = len(first.tensors), len(first.tensors) // 2
        first.tensors, second.tensors, second.keys = first.tensors[:half], second.tensors[half:], {}
        for number, part in enumerate((first, second)):
            part.key("split.no", U16, number).key("split.count", U16, 2).key("split.tensors.count", I32, total)
        return [first, second]

    def add(what, more=lambda first, second: None, expect="refused", change=lambda files: None):
        """`more` changes the two parts. Then `change` changes the dictionary {name: bytes} of the files."""
        parts = split()
        more(*parts)
        files = {name: part.bytes() for name, part in zip(names, parts)}
        change(files)

        def fill(path):
            for name, content in files.items():
                (path / name).write_bytes(content)

        cases.add("parts", what, fill, expect, names[0])

    add("control", expect="control")
    add("control-no-tensors", lambda a, b: (b.tensors.__setitem__(slice(0, 0), a.tensors), a.tensors.clear()), "control")
    add("missing", change=lambda files: files.pop(names[1]))
    add("empty", change=lambda files: files.update({names[1]: b""}))
    add("another-model", change=lambda files: files.update({names[1]: Gguf().bytes()}))
    add("first-again", change=lambda files: files.update({names[1]: files[names[0]]}))
    add("swapped", change=lambda files: files.update({names[0]: files[names[1]], names[1]: files[names[0]]}))
    for number in (0, 2, 65535):
        add(f"no-{number}", lambda a, b, n=number: b.key("split.no", U16, n))
    add("no-both-first", lambda a, b: (a.key("split.no", U16, 1), b.key("split.no", U16, 0)))
    for count in (0, 1, 3, 65535):
        add(f"count-{count}", lambda a, b, c=count: b.key("split.count", U16, c))
        add(f"count-both-{count}", lambda a, b, c=count: [part.key("split.count", U16, c) for part in (a, b)])
    for tensors in (0, 1, 13, 15, -1, (1 << 31) - 1):
        add(f"tensors-{tensors}", lambda a, b, t=tensors: b.key("split.tensors.count", I32, t))
        add(f"tensors-both-{tensors}", lambda a, b, t=tensors: [part.key("split.tensors.count", I32, t) for part in (a, b)])
    for key in ("split.no", "split.count", "split.tensors.count"):
        add(f"without-{key}", lambda a, b, k=key: b.without(k))
        add(f"text-{key}", lambda a, b, k=key: b.key(k, STRING, "1"))
    add("tensor-twice", lambda a, b: b.tensors.__setitem__(0, copy.deepcopy(a.tensors[0])))
    add("tensor-missing", lambda a, b: (b.tensors.pop(), [part.key("split.tensors.count", I32, 13) for part in (a, b)]))
    second = split()[1]
    for place in cuts(second.bytes(), 6, second.header()[1][::4]):
        add(f"cut-{place}", change=lambda files, p=place: files.update({names[1]: files[names[1]][:p]}))
    # The model's keys are read from the first part only.
    add("keys-in-second", lambda a, b: b.key("qwen2.block_count", U32, 1 << 31), "survived")


HUGGING_FACE = GOLDEN / "hugging_face" / "llama"


def folder_adder(cases):
    """Returns a function add(what, files, expect). It adds a copy of a good folder in which `files`, {name: bytes}, replace files.
    None instead of bytes removes a file."""
    def add(what, files, expect="refused"):
        def fill(path):
            for file in HUGGING_FACE.iterdir():
                shutil.copyfile(file, path / file.name)
            for name, content in files.items():
                (path / name).unlink(missing_ok=True)
                if content is not None:
                    (path / name).write_bytes(content)
        cases.add("folder", what, fill, expect)

    return add


def safetensors_cases(cases):
    add, weights = folder_adder(cases), (HUGGING_FACE / "model.safetensors").read_bytes()
    size = struct.unpack_from("<Q", weights)[0]
    header, data = json.loads(weights[8:8 + size]), weights[8 + size:]
    first = next(name for name in header if name != "__metadata__")

    def safetensors(table, body=None, length=None):
        encoded = table if isinstance(table, bytes) else json.dumps(table).encode()
        return struct.pack("<Q", len(encoded) if length is None else length) + encoded + (data if body is None else body)

    def tensors(what, change, expect="refused"):
        table = copy.deepcopy(header)
        add(what, {"model.safetensors": change(table) or safetensors(table)}, expect)

    for place in cuts(weights, 8, [8, 8 + size]):
        add(f"cut-{place}", {"model.safetensors": weights[:place]})
    for length in (0, 1, size - 1, size + 1, len(weights), 1 << 32, 1 << 62, 1 << 63, MASK):
        add(f"header-length-{length}", {"model.safetensors": safetensors(header, length=length)})
    tensors("header-array", lambda t: safetensors(b"[]"))
    tensors("header-twice", lambda t: safetensors(json.dumps(t)[:-1].encode() + b"," + json.dumps({first: t[first]})[1:].encode()))
    for dtype in ("F4", "", "f32", "I64", "F8_E4M3", 5, None):
        tensors(f"dtype-{dtype}", lambda t, d=dtype: t[first].__setitem__("dtype", d))
    for shape in ([], [-1, 32], [1.5], [0, 32], [1 << 62, 8], [MASK], "x", [[1]], [1] * 20, [1 << 32, 1 << 32, 4]):
        tensors(f"shape-{len(str(shape))}", lambda t, s=shape: t[first].__setitem__("shape", s))
    for offsets in ([0], [], [4, 0], [-1, 4], [0, 1 << 62], [MASK, MASK], [0, len(data) + 1], [1.5, 3], "x", [0, 0]):
        tensors(f"offsets-{len(str(offsets))}", lambda t, o=offsets: t[first].__setitem__("data_offsets", o))
    tensors("overlap", lambda t: t[first].__setitem__("data_offsets", t[list(t)[-1]]["data_offsets"]))
    tensors("hole", lambda t: safetensors(t, body=data + b"\0" * 64))
    tensors("tensor-missing", lambda t: t.pop("model.norm.weight", None) and None)
    tensors("tensor-unknown", lambda t: t.__setitem__("model.layers.0.mlp.other.weight", t.pop("model.norm.weight")))
    tensors("member-unknown", lambda t: t[first].__setitem__("more", 1), "survived")
    add("index-outside", {"model.safetensors": None, "model.safetensors.index.json": json.dumps(
        {"weight_map": {first: "../../../etc/passwd"}}).encode()})
    add("index-empty", {"model.safetensors": None, "model.safetensors.index.json": b'{"weight_map": {}}'})
    add("index-itself", {"model.safetensors": None, "model.safetensors.index.json": json.dumps(
        {"weight_map": {name: "config.json" for name in header if name != "__metadata__"}}).encode()})


def folder_cases(cases):
    add = folder_adder(cases)

    def change_json(file, what, change, expect="refused"):
        value = json.loads((HUGGING_FACE / file).read_text())
        change(value)
        add(what, {file: json.dumps(value).encode()}, expect)

    add("control", {}, "control")
    for file in ("config.json", "tokenizer.json", "model.safetensors"):
        whole = (HUGGING_FACE / file).read_bytes()
        add(f"without-{file}", {file: None})
        add(f"empty-{file}", {file: b""})
        add(f"deep-{file}", {file: b"[" * 200000})
        add(f"deep-objects-{file}", {file: b'{"a":' * 100000})
        add(f"null-{file}", {file: b"null"})
        add(f"half-{file}", {file: whole[:len(whole) // 2]})
        add(f"not-utf8-{file}", {file: b'{"\xff\xfe": 1}'})
    numbers = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size", "vocab_size",
               "max_position_embeddings")
    for name in numbers:
        for value in (0, -1, 1.5, 1 << 62, "8", [2]):
            change_json("config.json", f"{name}-{value}", lambda c, n=name, v=value: c.__setitem__(n, v))
    for value in (0, -1, 1e9, "x", None):
        change_json("config.json", f"epsilon-{value}", lambda c, v=value: c.__setitem__("rms_norm_eps", v), "survived" if value in (0, None) else "refused")
    change_json("config.json", "model-type", lambda c: c.__setitem__("model_type", "\x1b[2J"))
    change_json("config.json", "activation", lambda c: c.__setitem__("hidden_act", "gelu"))
    change_json("config.json", "window", lambda c: c.__setitem__("sliding_window", 16), "survived")
    change_json("config.json", "quantised", lambda c: c.__setitem__("quantization_config", {"quant_method": "awq"}))
    change_json("config.json", "rope-type", lambda c: c["rope_parameters"].__setitem__("rope_type", "dynamic"))
    change_json("config.json", "rope-factor", lambda c: c["rope_parameters"].__setitem__("factor", -1))
    change_json("tokenizer.json", "vocab-negative", lambda t: t["model"]["vocab"].__setitem__("zzz", -5))
    change_json("tokenizer.json", "vocab-huge", lambda t: t["model"]["vocab"].__setitem__("zzz", 1 << 40))
    change_json("tokenizer.json", "vocab-array", lambda t: t["model"].__setitem__("vocab", []))
    change_json("tokenizer.json", "merges-number", lambda t: t["model"].__setitem__("merges", [1]))
    change_json("tokenizer.json", "merges-three", lambda t: t["model"].__setitem__("merges", [["a", "b", "c"]]))
    change_json("tokenizer.json", "merges-unknown", lambda t: t["model"].__setitem__("merges", ["qqqq zzzz"]), "text")
    change_json("tokenizer.json", "type", lambda t: t["model"].__setitem__("type", "WordPiece"))
    change_json("tokenizer.json", "added-huge", lambda t: t["added_tokens"][0].__setitem__("id", 1 << 33))
    change_json("tokenizer.json", "added-negative", lambda t: t["added_tokens"][0].__setitem__("id", -1))
    change_json("tokenizer.json", "pre-tokenizer", lambda t: t.__setitem__("pre_tokenizer", {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated"}))


def run(program, *arguments, **more):
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, timeout=600, check=False, **more)
    if done.returncode != 0:
        raise SystemExit(f"{arguments[0]}: status {done.returncode}: {done.stderr.decode(errors='replace')}")


def packed_cases(cases, program, scratch):
    model, output = scratch / "control.gguf", scratch / "control.stilla"
    model.write_bytes(Gguf().bytes())
    run(program, "pack", "-m", model, "-o", output)
    whole = output.read_bytes()
    name = b"stilla.packed.checksum"
    checksum_at = whole.index(name) + len(name) + 4

    def sealed(data, end=None):
        data = bytearray(data)
        data[checksum_at:checksum_at + 8] = struct.pack("<Q", xxh64(bytes(data[:checksum_at] + data[checksum_at + 8:end or header])))
        return bytes(data)

    # The header ends at the place for which the checksum equals the one that the program wrote.
    header = next(end for end in range(4096, len(whole) + 1, 4096) if sealed(whole, end) == whole)

    def replaced(old, new):
        return sealed(whole.replace(old, new, 1))

    def number(key, fmt, value):
        at = whole.index(key) + len(key) + 4
        return sealed(whole[:at] + struct.pack(fmt, value) + whole[at + struct.calcsize(fmt):])

    cases.add("packed", "control", whole, "control")
    cases.add("packed", "control-sealed", sealed(whole), "control")
    for place in cuts(whole, 16, [header]):
        cases.add("packed", f"cut-{place}", whole[:place])
    for i in range(12):
        at = 64 + i * 997 % (header // 2)
        cases.add("packed", f"flip-{at}", whole[:at] + bytes([whole[at] ^ 1 << i % 8]) + whole[at + 1:])
    for layout in (0, 1, 0xffffffff):
        cases.add("packed", f"layout-{layout}", number(b"stilla.packed.layout", "<I", layout))
    for alignment in (0, 1, 32, 1 << 31):
        cases.add("packed", f"alignment-{alignment}", number(b"general.alignment", "<I", alignment))
    cases.add("packed", "heads", number(b"qwen2.attention.head_count", "<I", 31))
    cases.add("packed", "width", number(b"qwen2.embedding_length", "<I", 64))
    for count in (0, 13, 15, 1 << 61):
        at = whole.index(b"stilla.packed.tensor_checksums") + len(b"stilla.packed.tensor_checksums") + 8
        cases.add("packed", f"checksums-{count}", sealed(whole[:at] + struct.pack("<Q", count) + whole[at + 8:]))
    at = whole.index(b"blk.0.ffn_up.weight") + len("blk.0.ffn_up.weight")
    for what, place, fmt, value in (("dims", 0, "<I", 9), ("columns", 4, "<Q", 1 << 62), ("rows", 12, "<Q", 31), ("rows", 12, "<Q", 1 << 62),
                                    ("type", 20, "<I", 0x80000063), ("type", 20, "<I", 0x80000002), ("type", 20, "<I", 0xffffffff),
                                    ("offset", 24, "<Q", 64), ("offset", 24, "<Q", 1 << 62), ("offset", 24, "<Q", MASK - 4095)):
        # With this type, bytes of f32 are read as panels of q4_0, which need fewer bytes. So the file is accepted with other
        # weights. `inspect --verify` detects this, as it detects all other changes.
        expect = "altered" if value == 0x80000002 else "refused"
        cases.add("packed", f"{what}-{value}", sealed(whole[:at + place] + struct.pack(fmt, value) + whole[at + place + struct.calcsize(fmt):]),
                  expect)
    cases.add("packed", "vector-packed", replaced(b"output_norm.weight\1\0\0\0\x20\0\0\0\0\0\0\0\0\0\0\0",
                                                  b"output_norm.weight\1\0\0\0\x20\0\0\0\0\0\0\0\0\0\0\x80"))
    # Here a byte of the data is changed, and the header is right. `inspect --verify` detects the change, and the change does no
    # harm.
    for i in range(6):
        at = header + (len(whole) - header) * i // 6
        at = next(place for place in range(at, len(whole)) if whole[place] != 0)  # skips the padding between tensors, which has no checksum
        cases.add("packed", f"data-{at}", whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1:], "altered")


def session_cases(cases, program, scratch):
    model, output = scratch / "control.gguf", scratch / "control.session"
    model.write_bytes(Gguf().bytes())
    run(program, "chat", "-m", model, "--commands", "-n", "2", "--temp", "0", input=f"ab\n/save {output}\n".encode())
    whole = output.read_bytes()
    tokens, note_bytes = struct.unpack_from("<QQ", whole, 40)
    note_at = 72 + 4 * tokens
    note = whole[note_at:note_at + note_bytes]

    def sealed(data):
        data = bytearray(data)
        data[56:64] = struct.pack("<Q", xxh64(bytes(data[72:])))
        data[64:72] = struct.pack("<Q", xxh64(bytes(data[:64])))
        return bytes(data)

    def with_note(value):
        return sealed(whole[:48] + struct.pack("<Q", len(value)) + whole[56:note_at] + value + whole[note_at + note_bytes:])

    def message(**members):
        return json.dumps({"messages": [{"ids": [97], "role": "user", "text": "a"} | members]}).encode()

    cases.add("session", "control", whole, "control")
    cases.add("session", "control-sealed", sealed(whole), "control")
    cases.add("session", "cache-nan", sealed(whole[:note_at + note_bytes] + b"\x7f" * (len(whole) - note_at - note_bytes)))
    for place in cuts(whole, 12, [8, 72, note_at]):
        cases.add("session", f"cut-{place}", whole[:place])
    for at, fmt, value in ((8, "<I", 1), (8, "<I", 99), (12, "<I", 3), (12, "<I", 0xffffffff), (16, "<Q", 1), (24, "<I", 0), (24, "<I", 0xffffffff),
                           (28, "<I", 77), (32, "<I", 77), (36, "<I", 5), (40, "<Q", 0), (40, "<Q", tokens + 1), (40, "<Q", 64), (40, "<Q", 1 << 62),
                           (40, "<Q", MASK), (48, "<Q", 0), (48, "<Q", note_bytes + 1), (48, "<Q", 1 << 63), (48, "<Q", MASK)):
        cases.add("session", f"header-{at}-{value}", sealed(whole[:at] + struct.pack(fmt, value) + whole[at + struct.calcsize(fmt):]))
    for token in (260, 1 << 31, 0xffffffff):
        cases.add("session", f"token-{token}", sealed(whole[:72] + struct.pack("<I", token) + whole[76:]))
    notes = [b"", b"{}", b"[]", b"null", b"\xff", note + b"x", note[:-1], b"[" * 100000, b'{"messages":' * 10000, message(role="tool"), message(role=1),
             message(ids=[257]), message(ids=[256]), message(ids=[1 << 32]), message(ids=[-1]), message(ids=[1.5]), message(ids="a"), message(text=1),
             message(more=1), message(ids=[[97]]), b'{"messages":[{"ids":[97],"role":"user"}]}', b'{"messages":[1]}', b'{"messages":[],"messages":[]}']
    for i, value in enumerate(notes):
        cases.add("session", f"note-{i}", with_note(value))
    cases.add("session", "note-many-messages", with_note(
        json.dumps({"messages": [{"ids": [], "role": "user", "text": ""}] * 20000}).encode()))


def template_cases(cases):
    refused = {
        "open": "{{ messages", "open-block": "{% if", "end": "{% endfor %}", "no-end": "{% for m in messages %}", "include": "{% include 'x' %}",
        "import": "{% import 'os' as os %}", "extends": "{% extends 'base' %}", "deep-parentheses": "{{ " + "(" * 100000 + "1" + ")" * 100000 + " }}",
        "deep-lists": "{{ " + "[" * 100000, "deep-if": "{% if 1 %}" * 50000, "deep-not": "{{ " + "not " * 100000 + "1 }}",
        "deep-minus": "{{ " + "-" * 100000 + "1 }}", "filter": "{{ 'a'|system }}", "attribute": "{{ ''.__class__.__mro__ }}",
        "call": "{{ messages.__getitem__(0) }}", "raise": "{{ raise_exception('\x1b[2J') }}", "endless": "{% for i in range(1000000000) %}x{% endfor %}",
        "nested": "{% for a in range(10000) %}{% for b in range(10000) %}{% for c in range(10000) %}x{% endfor %}{% endfor %}{% endfor %}",
        "output": "{% set ns = namespace(s='xxxxxxxxxx') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s }}",
        "recursion": "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}", "divide": "{{ 1 // 0 }}", "modulo": "{{ 1 % 0 }}",
        "range-huge": "{{ range(9223372036854775807)|length }}", "slice-zero": "{{ 'abc'[::0] }}", "string": "{{ 'abc", "unknown-test": "{{ 1 is prime }}",
        "multiply": "{{ 9223372036854775807 * 9223372036854775807 }}", "empty-expression": "{{ }}", "minus-only": "{%- -%}",
        "long-number": "{{ " + "9" * 100000 + " }}", "many-braces": "{" * 500000, "many-blocks": "{%" * 100000,
        "join": "{{ (['x' * 1] | list)|join('y' * 10) }}", "call-number": "{{ 1() }}", "index": "{{ messages[99].content.x.y }}"}
    uncertain = {"join", "multiply", "index", "many-braces", "call", "attribute", "range-huge", "output", "long-number"}
    cases.add("template", "control", b"{% for m in messages %}{{ m.content }}{% endfor %}", "control")
    for name, source in refused.items():
        cases.add("template", name, source.encode(), "survived" if name in uncertain else "refused")
    cases.add("template", "not-utf8", b"{{ '\xff\xfe' }}{{ messages[0].content }}", "survived")
    cases.add("template", "nul", b"{{ '\0' }}{{ messages[0].content }}", "survived")


def imatrix_cases(cases):
    names = [f"blk.0.{part}.weight" for part in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")]
    width, big = Gguf.WIDTH, 1 << 31

    def entry(name, calls=2, values=width, length=None, sums=(1.0,) * width):
        name = name.encode()
        return struct.pack("<i", len(name) if length is None else length) + name + struct.pack("<ii", calls, values) + struct.pack(f"<{len(sums)}f", *sums)

    tail = struct.pack("<ii", 2, 5) + b"a.txt"
    whole = struct.pack("<i", len(names)) + b"".join(map(entry, names)) + tail
    one = lambda **changes: struct.pack("<i", 1) + entry(names[0], **changes) + tail
    cases.add("imatrix", "control-dat", whole, "control")
    ends = (len(whole) - len(tail), len(whole) - len(tail) + 4)
    for place in cuts(whole, 12, [4, 8, 40, *ends]):
        cases.add("imatrix", f"dat-cut-{place}", whole[:place], "survived" if place in ends else "refused")
    for count in (0, -1, -big, big - 1, len(names) + 1, 1 << 24):
        cases.add("imatrix", f"dat-count-{count}", struct.pack("<i", count) + whole[4:])
    for length in (0, -1, -big, big - 1, 1000):
        cases.add("imatrix", f"dat-name-{length}", one(length=length))
    for values in (0, -1, -big, big - 1, 1 << 29, width + 1000):
        cases.add("imatrix", f"dat-values-{values}", one(values=values))
    for calls in (-1, -big):
        cases.add("imatrix", f"dat-calls-{calls}", one(calls=calls))
    for i, bad in enumerate((NAN, INFINITY, -INFINITY, -1.0)):
        cases.add("imatrix", f"dat-sum-{i}", one(sums=(1.0,) * (width - 1) + (bad,)))
    for i, count in enumerate((width - 1, width + 1, 1)):
        cases.add("imatrix", f"dat-width-{i}", one(values=count, sums=(1.0,) * count))
    cases.add("imatrix", "dat-twice", struct.pack("<i", 2) + entry(names[0]) * 2)
    cases.add("imatrix", "dat-another-model", struct.pack("<i", 1) + entry("blk.0.attn_qkv.weight"))
    cases.add("imatrix", "dat-name-control", struct.pack("<i", 2) + entry(names[0]) + entry("\x1b[2J\n"), "survived")

    def gguf(change=lambda f: f):
        file = Gguf()
        file.keys = {"general.type": (STRING, "imatrix"), "imatrix.datasets": (ARRAY, (STRING, ["a.txt"])), "imatrix.chunk_count": (U32, 2),
                     "imatrix.chunk_size": (U32, 512)}
        file.tensors = []
        for name in names:
            file.tensors.append([name + ".in_sum2", [width, 1], 0, None, struct.pack(f"<{width}f", *[1.0] * width)])
            file.tensors.append([name + ".counts", [1, 1], 0, None, struct.pack("<f", 2)])
        change(file)
        return file.bytes()

    cases.add("imatrix", "control-gguf", gguf(), "control")
    cases.add("imatrix", "gguf-a-model", Gguf().bytes())
    cases.add("imatrix", "gguf-no-type", gguf(lambda f: f.without("general.type")))
    cases.add("imatrix", "gguf-type-number", gguf(lambda f: f.key("general.type", U32, 1)))
    cases.add("imatrix", "gguf-no-counts", gguf(lambda f: f.without(names[0] + ".counts")))
    cases.add("imatrix", "gguf-no-sums", gguf(lambda f: f.without(names[0] + ".in_sum2")))
    cases.add("imatrix", "gguf-no-tensors", gguf(lambda f: f.tensors.clear()))
    for i, bad in enumerate((NAN, INFINITY, -1.0, -0.5)):
        cases.add("imatrix", f"gguf-count-{i}", gguf(lambda f: f.tensor(names[0] + ".counts").__setitem__(4, struct.pack("<f", bad))))
        cases.add("imatrix", f"gguf-sum-{i}", gguf(lambda f: f.tensor(names[0] + ".in_sum2").__setitem__(4, struct.pack(f"<{width}f", *[bad] * width))))
    for i, dims in enumerate(([width - 1, 1], [width], [width, 2], [1 << 60, 1], [0, 1], [width, 1 << 60])):
        cases.add("imatrix", f"gguf-shape-{i}", gguf(lambda f: f.tensor(names[0] + ".in_sum2").__setitem__(1, dims)), "survived" if dims == [width] else "refused")
    for place in cuts(gguf(), 12, []):
        cases.add("imatrix", f"gguf-cut-{place}", gguf()[:place])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="the program stilla, which packs a file and saves a session")
    parser.add_argument("folder", type=pathlib.Path, help="a new folder for the files")
    options = parser.parse_args()
    program = str(pathlib.Path(options.program).resolve())
    options.folder.mkdir(parents=True)
    cases = Cases(options.folder)
    for make in (gguf_header_cases, gguf_config_cases, gguf_vocabulary_cases, gguf_tensor_cases, parts_cases, safetensors_cases, folder_cases,
                 template_cases, imatrix_cases):
        make(cases)
    with tempfile.TemporaryDirectory() as scratch:
        packed_cases(cases, program, pathlib.Path(scratch))
        session_cases(cases, program, pathlib.Path(scratch))
    (options.folder / "cases.json").write_text(json.dumps(cases.list, indent=1))
    kinds = sorted({case["kind"] for case in cases.list})
    print(f"{len(cases.list)} cases:", ", ".join(f"{sum(c['kind'] == kind for c in cases.list)} {kind}" for kind in kinds))


if __name__ == "__main__":
    main()
