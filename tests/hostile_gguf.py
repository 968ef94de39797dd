# SPDX-License-Identifier: Apache-2.0
"""Makes GGUF files of which every part can be wrong, and computes the checksum of packed files, for make_hostile_files.py."""

import functools
import struct

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
PACK = {U8: "<B", I8: "<b", U16: "<H", I16: "<h", U32: "<I", I32: "<i", F32: "<f", BOOL: "<B", U64: "<Q", I64: "<q", F64: "<d"}
MASK = (1 << 64) - 1


def xxh64(data):
    """Returns the hash XXH64 of the data, with seed 0."""
    p1, p2, p3, p4, p5 = 11400714785074694791, 14029467366897019727, 1609587929392839161, 9650029242287828579, 2870177450012600261
    rotate = lambda x, n: (x << n | x >> (64 - n)) & MASK
    round_ = lambda a, lane: rotate((a + lane * p2) & MASK, 31) * p1 & MASK
    at, size = 0, len(data)
    if size >= 32:
        v = [(p1 + p2) & MASK, p2, 0, -p1 & MASK]
        lanes = struct.unpack(f"<{size // 32 * 4}Q", data[:size // 32 * 32])
        for i in range(0, len(lanes), 4):
            v = [round_(v[j], lanes[i + j]) for j in range(4)]
        at = size // 32 * 32
        h = (rotate(v[0], 1) + rotate(v[1], 7) + rotate(v[2], 12) + rotate(v[3], 18)) & MASK
        for x in v:
            h = ((h ^ round_(0, x)) * p1 + p4) & MASK
    else:
        h = p5
    h = (h + size) & MASK
    while at + 8 <= size:
        h = (rotate(h ^ round_(0, struct.unpack_from("<Q", data, at)[0]), 27) * p1 + p4) & MASK
        at += 8
    if at + 4 <= size:
        h = (rotate(h ^ (struct.unpack_from("<I", data, at)[0] * p1 & MASK), 23) * p2 + p3) & MASK
        at += 4
    for byte in data[at:]:
        h = rotate(h ^ (byte * p5 & MASK), 11) * p1 & MASK
    h = (h ^ h >> 33) * p2 & MASK
    h = (h ^ h >> 29) * p3 & MASK
    return h ^ h >> 32


def text(value):
    value = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(value)) + value


class Raw(bytes):
    """A value that is given as its bytes."""


@functools.cache
def byte_spellings():
    """Returns the letters with which GPT-2's vocabulary writes the 256 bytes."""
    letters = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = [b for b in range(256) if b not in letters]
    return [chr(b if b in letters else 256 + others.index(b)) for b in range(256)]


@functools.cache
def some_weights(count, seed):
    return struct.pack(f"<{count}f", *[((k * 37 + seed * 11) % 41 - 20) / 64 + 0.001 for k in range(count)])


class Gguf:
    """A small Qwen2 model of one layer. Every part of its file can be changed."""

    WIDTH, HEADS, HEAD, FFN = 32, 2, 16, 32

    def __init__(self):
        tokens = byte_spellings() + ["<|im_start|>", "<|im_end|>", "ab", "abc"]
        self.magic, self.version, self.tensor_count, self.key_count = b"GGUF", 3, None, None
        self.keys = {
            "general.architecture": (STRING, "qwen2"), "general.name": (STRING, "hostile"),
            "qwen2.block_count": (U32, 1), "qwen2.embedding_length": (U32, self.WIDTH), "qwen2.feed_forward_length": (U32, self.FFN),
            "qwen2.attention.head_count": (U32, self.HEADS), "qwen2.attention.head_count_kv": (U32, 1),
            "qwen2.context_length": (U32, 64), "qwen2.attention.layer_norm_rms_epsilon": (F32, 1e-6),
            "tokenizer.ggml.model": (STRING, "gpt2"), "tokenizer.ggml.pre": (STRING, "qwen2"),
            "tokenizer.ggml.tokens": (ARRAY, (STRING, tokens)),
            "tokenizer.ggml.token_type": (ARRAY, (I32, [1] * 256 + [3, 3, 1, 1])),
            "tokenizer.ggml.merges": (ARRAY, (STRING, ["a b", "ab c"])), "tokenizer.ggml.eos_token_id": (U32, 257),
            "tokenizer.chat_template": (STRING, "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"),
        }
        w, kv = self.WIDTH, self.HEAD
        shapes = {"token_embd.weight": [w, len(tokens)], "output_norm.weight": [w], "blk.0.attn_norm.weight": [w],
                  "blk.0.attn_q.weight": [w, w], "blk.0.attn_k.weight": [w, kv], "blk.0.attn_v.weight": [w, kv],
                  "blk.0.attn_q.bias": [w], "blk.0.attn_k.bias": [kv], "blk.0.attn_v.bias": [kv], "blk.0.attn_output.weight": [w, w],
                  "blk.0.ffn_norm.weight": [w], "blk.0.ffn_gate.weight": [w, self.FFN], "blk.0.ffn_up.weight": [w, self.FFN],
                  "blk.0.ffn_down.weight": [self.FFN, w]}
        self.tensors = []  # name, dimensions, type, offset or None, data
        for i, (name, dims) in enumerate(shapes.items()):
            count = dims[0] * (dims[1] if len(dims) > 1 else 1)
            self.tensors.append([name, dims, 0, None, some_weights(count, i)])
        self.more = b""

    def key(self, name, kind, value):
        self.keys[name] = (kind, value)
        return self

    def without(self, name):
        self.keys.pop(name, None)
        self.tensors = [t for t in self.tensors if t[0] != name]
        return self

    def tensor(self, name):
        return next(t for t in self.tensors if t[0] == name)

    @classmethod
    def value(cls, kind, value):
        if isinstance(value, Raw):
            return bytes(value)
        if kind == STRING:
            return text(value)
        if kind == ARRAY:
            inner, items = value[:2]
            count = value[2] if len(value) > 2 else len(items)
            return struct.pack("<IQ", inner, count) + b"".join(cls.value(inner, item) for item in items)
        return struct.pack(PACK[kind], value)

    def header(self):
        """Returns the bytes, and where their parts begin."""
        out, borders = bytearray(), [4, 8, 16]
        out += self.magic + struct.pack("<I", self.version)
        out += struct.pack("<QQ", len(self.tensors) if self.tensor_count is None else self.tensor_count,
                           len(self.keys) if self.key_count is None else self.key_count)
        for name, (kind, value) in self.keys.items():
            borders.append(len(out))
            out += text(name) + struct.pack("<I", kind) + (self.value(kind, value) if kind in PACK or kind in (STRING, ARRAY) else bytes(value))
        offset = 0
        for name, dims, kind, place, data in self.tensors:
            borders.append(len(out))
            out += text(name) + struct.pack("<I", dims[0] if isinstance(dims, tuple) else len(dims))
            out += b"".join(struct.pack("<Q", d) for d in (dims[1] if isinstance(dims, tuple) else dims))
            out += struct.pack("<IQ", kind, offset if place is None else place)
            offset += (len(data) + 31) // 32 * 32
        return bytes(out), borders

    def bytes(self):
        out, _ = self.header()
        out += b"\0" * (-len(out) % 32)
        for tensor in self.tensors:
            out += tensor[4]
            out += b"\0" * (-len(out) % 32) if tensor is not self.tensors[-1] else b""
        return out + self.more
