# SPDX-License-Identifier: Apache-2.0
"""Qwen2 in PyTorch. Tensors have the names that GGUF gives them. Training can round the weights to 4 bits."""
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass(frozen=True)
class Config:
    vocabulary: int = 640
    hidden: int = 256
    ffn: int = 256
    layers: int = 4
    heads: int = 12      # six query heads for each KV head, as in R1-Distill-Qwen-1.5B
    kv_heads: int = 2
    head_dim: int = 64
    context: int = 512
    rope_base: float = 10000.0
    epsilon: float = 1e-6


def round_q4_0(w):
    """Returns the weights as Q4_0 keeps them. Each block of 32 along a row has a scale in half precision: the value farthest
    from zero, divided by -8."""
    blocks = w.reshape(-1, 32)
    farthest = blocks.gather(1, blocks.abs().argmax(1, keepdim=True))
    scale = farthest / -8
    inverse = torch.where(scale == 0, 0.0, 1 / scale)
    codes = torch.clamp(torch.floor(blocks * inverse + 8.5), 0, 15) - 8
    return (codes * scale.half().float()).reshape(w.shape)


class Linear(nn.Linear):
    """Rounds its weights to Q4_0 in the forward pass while `rounding` is set. The gradient ignores the rounding."""
    rounding = False

    def used_weight(self):
        w = self.weight
        if Linear.rounding:
            with torch.no_grad():
                error = round_q4_0(w) - w
            w = w + error
        return w

    def forward(self, x):
        return F.linear(x, self.used_weight(), self.bias)


def side_by_side(x, linears):
    """Returns the outputs of several Linear for one input, computed as one matrix product."""
    weight = torch.cat([l.used_weight() for l in linears])
    return F.linear(x, weight, None if linears[0].bias is None else torch.cat([l.bias for l in linears]))


@contextmanager
def rounded(on):
    Linear.rounding = on
    try:
        yield
    finally:
        Linear.rounding = False


class RMSNorm(nn.Module):
    def __init__(self, size, epsilon):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.epsilon = epsilon

    def forward(self, x):
        y = self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.epsilon))
        return y.to(torch.get_autocast_dtype("cpu")) if torch.is_autocast_enabled("cpu") else y


def rope_table(c):
    angles = torch.arange(c.context)[:, None].double() * c.rope_base ** (-torch.arange(0, c.head_dim, 2).double() / c.head_dim)
    angles = torch.cat([angles, angles], -1)
    return angles.cos().float(), angles.sin().float()


def rope(x, cos, sin):
    """Rotates pairs by position: x[i] and x[i + D/2] are one pair."""
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat([-b, a], -1) * sin


def attention(q, k, v):
    """Computes all query heads of a KV head as one matrix product. With PyTorch's own attention, training on CPUs takes three times
    as long at these sizes."""
    (B, H, T, D), G = q.shape, k.shape[1]
    scores = (q * D**-0.5).reshape(B, G, H // G * T, D) @ k.transpose(2, 3)
    mask = torch.full((T, T), float("-inf"), dtype=scores.dtype).triu(1)
    weights = (scores.view(B, G, H // G, T, T) + mask).softmax(-1).view(B, G, H // G * T, T)
    return (weights @ v).view(B, H, T, D)


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.attn_norm = RMSNorm(c.hidden, c.epsilon)
        self.attn_q = Linear(c.hidden, c.heads * c.head_dim)
        self.attn_k = Linear(c.hidden, c.kv_heads * c.head_dim)
        self.attn_v = Linear(c.hidden, c.kv_heads * c.head_dim)
        self.attn_output = Linear(c.heads * c.head_dim, c.hidden, bias=False)
        self.ffn_norm = RMSNorm(c.hidden, c.epsilon)
        self.ffn_gate = Linear(c.hidden, c.ffn, bias=False)
        self.ffn_up = Linear(c.hidden, c.ffn, bias=False)
        self.ffn_down = Linear(c.ffn, c.hidden, bias=False)

    def forward(self, x, cos, sin):
        c, (B, T, _) = self.c, x.shape
        h = side_by_side(self.attn_norm(x), [self.attn_q, self.attn_k, self.attn_v])
        h = h.view(B, T, c.heads + 2 * c.kv_heads, c.head_dim).transpose(1, 2)
        qk, v = h.split([c.heads + c.kv_heads, c.kv_heads], 1)
        q, k = rope(qk, cos, sin).split([c.heads, c.kv_heads], 1)
        x = x + self.attn_output(attention(q, k, v).transpose(1, 2).reshape(B, T, -1))
        gate, up = side_by_side(self.ffn_norm(x), [self.ffn_gate, self.ffn_up]).chunk(2, -1)
        return x + self.ffn_down(F.silu(gate) * up)


class Model(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.token_embd = nn.Embedding(c.vocabulary, c.hidden)
        self.blk = nn.ModuleList(Layer(c) for _ in range(c.layers))
        self.output_norm = RMSNorm(c.hidden, c.epsilon)
        self.output = Linear(c.hidden, c.vocabulary, bias=False)
        self.cos, self.sin = rope_table(c)
        nn.init.normal_(self.token_embd.weight, std=0.5)
        for name, p in self.named_parameters():
            if p.dim() == 2 and not name.startswith("token_embd"):
                nn.init.normal_(p, std=p.shape[1] ** -0.5)
            if name.endswith(("attn_output.weight", "ffn_down.weight")):
                nn.init.normal_(p, std=p.shape[1] ** -0.5 / (2 * c.layers) ** 0.5)
            if name.endswith("bias"):
                nn.init.zeros_(p)

    def hidden_states(self, ids):
        cos, sin = self.cos[:ids.shape[1]], self.sin[:ids.shape[1]]
        x = self.token_embd(ids)
        if Linear.rounding:
            with torch.no_grad():
                error = F.embedding(ids, round_q4_0(self.token_embd.weight)) - x
            x = x + error
        for layer in self.blk:
            x = layer(x, cos, sin)
        return self.output_norm(x)

    def forward(self, ids):
        return self.output(self.hidden_states(ids))
