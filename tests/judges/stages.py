# SPDX-License-Identifier: Apache-2.0
"""Runs a model that was exported in stages. The stages are the embeddings, the body (all layers) and the head. There are two
bodies, one for 64 tokens and one for a single token. The caller chooses the runtime for each stage."""

import numpy as np

WINDOW = 64


class Stages:
    """A model whose stages are functions. Each takes a dict of inputs and returns a dict of outputs: `embed`, `head`, body[64]
    for up to 64 tokens and body[1] for one token."""

    def __init__(self, config, embed, body, head):
        self.embed, self.body, self.head = embed, body, head
        self.layers, self.heads, self.width = config["layers"], config["kv_heads"], config["head_dim"]
        self.context = config["context"]
        self.clear()

    def clear(self):
        """Forgets the text, so that a new one can begin."""
        self.length = 0
        shape = (1, self.heads, self.context, self.width)
        self.cache = {f"{what}.{layer}": np.zeros(shape, np.float32) for layer in range(self.layers) for what in ("key", "value")}

    def inputs(self, ids, size):
        """Returns the inputs of body[size] for `ids`, which are at most `size` tokens."""
        padded = np.zeros((1, size), np.int64)
        padded[0, :len(ids)] = ids
        feeds = dict(self.embed({"ids": padded, "past_length": np.array([self.length], np.int64)}))
        places = self.context - size
        for name, values in self.cache.items():
            feeds["past_" + name] = np.ascontiguousarray(values[:, :, :places])
        return feeds

    def step(self, ids, size):
        """Appends the tokens to the text and returns their hidden states."""
        assert len(ids) <= size and self.length + len(ids) <= self.context - (0 if size == 1 else size) + len(ids)
        out = self.body[size](self.inputs(ids, size))
        for name, values in self.cache.items():
            values[:, :, self.length:self.length + len(ids)] = out[name][:, :, :len(ids)]
        self.length += len(ids)
        return out["hidden_out"][:, :len(ids)]

    def evaluate(self, ids, single=()):
        """Appends the tokens to the text and returns the logits of every one, float32 [tokens, vocabulary]. They are computed in
        windows of up to 64 tokens. A token whose place is in `single` is computed alone."""
        rows, at = [], 0
        while at < len(ids):
            is_single = at in single or self.length + WINDOW > self.context
            end = at + 1 if is_single else min([at + WINDOW, len(ids)] + [s for s in single if s > at])
            hidden = self.step(ids[at:end], 1 if is_single else WINDOW)
            rows.append(np.asarray(self.head({"hidden_out": np.ascontiguousarray(hidden)})["logits"])[0])
            at = end
        return np.concatenate(rows)
