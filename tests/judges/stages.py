# SPDX-License-Identifier: Apache-2.0
"""Runs a model that is exported in stages: embeddings, the body for 64 tokens or for one, the head. Whose runtime runs which
stage is the caller's choice."""

import numpy as np

WINDOW = 64


class Stages:
    """embed, head: functions from a dict of inputs to one of outputs; body: the same by the number of tokens, 64 and 1."""

    def __init__(self, config, embed, body, head):
        self.embed, self.body, self.head = embed, body, head
        self.layers, self.heads, self.width = config["layers"], config["kv_heads"], config["head_dim"]
        self.context = config["context"]
        self.clear()

    def clear(self):
        """Begins a new text."""
        self.length = 0
        shape = (1, self.heads, self.context, self.width)
        self.cache = {f"{what}.{layer}": np.zeros(shape, np.float32) for layer in range(self.layers) for what in ("key", "value")}

    def inputs(self, ids, size):
        """What the body gets for at most `size` tokens."""
        padded = np.zeros((1, size), np.int64)
        padded[0, :len(ids)] = ids
        feeds = dict(self.embed({"ids": padded, "past_length": np.array([self.length], np.int64)}))
        places = self.context - size
        for name, values in self.cache.items():
            feeds["past_" + name] = np.ascontiguousarray(values[:, :, :places])
        return feeds

    def step(self, ids, size):
        """Hidden states of the tokens, which join the text."""
        assert len(ids) <= size and self.length + len(ids) <= self.context - (0 if size == 1 else size) + len(ids)
        out = self.body[size](self.inputs(ids, size))
        for name, values in self.cache.items():
            values[:, :, self.length:self.length + len(ids)] = out[name][:, :, :len(ids)]
        self.length += len(ids)
        return out["hidden_out"][:, :len(ids)]

    def evaluate(self, ids, single=()):
        """Logits of every token, float32 [tokens, vocabulary]: windows of 64, the tokens at the places `single` one by one."""
        rows, at = [], 0
        while at < len(ids):
            is_single = at in single or self.length + WINDOW > self.context
            end = at + 1 if is_single else min([at + WINDOW, len(ids)] + [s for s in single if s > at])
            hidden = self.step(ids[at:end], 1 if is_single else WINDOW)
            rows.append(np.asarray(self.head({"hidden_out": np.ascontiguousarray(hidden)})["logits"])[0])
            at = end
        return np.concatenate(rows)
