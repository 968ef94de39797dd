# SPDX-License-Identifier: Apache-2.0
"""Stilla's quantised products and attention as operators of PyTorch, on the CPU, for inference.

    import stilla.torch

    stilla.torch.quantise(model, "q4_0", skip=["lm_head"])   # in place: every torch.nn.Linear but the head
    stilla.torch.quantise(model, "q8_0")                     # then the head too

    cache = stilla.torch.new_kv_cache(texts=2, positions=1024, heads=8, head_dim=128)        # for each layer
    y = torch.ops.stilla.gqa_decode(query, key, value, cache, position)                       # each step

The operators are torch.ops.stilla.int4_linear and torch.ops.stilla.gqa_decode. They have fake versions, which only tell the shape of a
result, so torch.compile and torch.export accept models that call them. They have no gradient. stilla.set_threads() sets how many
threads they use, and torch.set_num_threads() sets how many threads torch's own operators use.
"""

from typing import Collection, Optional

import torch

from . import PackedMatrix, kv_chunk_bytes, matmul, pack
from . import gqa_decode as decode_text

__all__ = ["QuantisedLinear", "gqa_decode", "int4_linear", "new_kv_cache", "quantise"]


@torch.library.custom_op("stilla::int4_linear", mutates_args=(), device_types="cpu")
def int4_linear(
    x: torch.Tensor, panels: torch.Tensor, bias: Optional[torch.Tensor], rows: int, format: str, bits: int
) -> torch.Tensor:
    """Computes y = x W^T + bias. x [..., K] has any float type, and y [..., rows] has the same type.

    panels: W[rows, K] of the format `format`, as stilla.PackedMatrix.panels has it: uint8 on a boundary of 64 bytes. (Panels on another
    boundary are copied for each call.) bias: float32 [rows]. bits: x is rounded to 8 or 16 bits.
    """
    if panels.data_ptr() % 64 != 0:
        panels = panels.clone()
    weights = PackedMatrix.borrow(panels.numpy(), format, (rows, x.shape[-1]))
    y = matmul(weights, x.detach().to(torch.float32).contiguous().numpy(), bits, None if bias is None else bias.detach().numpy())
    return torch.from_numpy(y).to(x.dtype)


@int4_linear.register_fake
def _(x, panels, bias, rows, format, bits):
    return x.new_empty((*x.shape[:-1], rows))


def new_kv_cache(texts: int, positions: int, heads: int, head_dim: int, type: str = "f16") -> torch.Tensor:
    """Returns memory for the keys and values of one layer: uint8 [texts, chunks of 256 positions, bytes of a chunk].

    It is an ordinary tensor: slice it, copy it, or write it to a file. heads: the number of key/value heads.
    type: "f32", "f16", "bf16", "int8" or "int5"; smaller types round more.
    """
    return torch.zeros((texts, (positions + 255) // 256, kv_chunk_bytes(heads, head_dim, type)), dtype=torch.uint8)


@torch.library.custom_op("stilla::gqa_decode", mutates_args=("cache",), device_types="cpu")
def gqa_decode(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cache: torch.Tensor,
    position: torch.Tensor,
    type: str = "f16",
    scale: Optional[float] = None,
    window: Optional[int] = None,
    soft_cap: Optional[float] = None,
) -> torch.Tensor:
    """One decoding step of grouped-query attention for a batch of texts, which may have different lengths.

    query [texts, H, D], key and value [texts, G, D], of any float type; query and key are rotated already, and H is a multiple of
    G. Stores key and value of text b at position[b] of cache[b], and returns the attention of the query over the positions 0 to
    position[b], [texts, H, D] in the query's type. Earlier steps have stored the positions before.
    cache: memory that new_kv_cache() made for this `type`. position: int64 [texts].
    scale: the factor of query . key; None: 1 / sqrt(D). window: a query sees at most so many positions, of which its own is the last.
    soft_cap: a score s becomes soft_cap * tanh(s / soft_cap).
    """
    q, k, v = (tensor.detach().to(torch.float32).contiguous().numpy() for tensor in (query, key, value))
    if not len(q) == len(k) == len(v) == len(cache) == len(position):
        raise ValueError(
            f"gqa_decode: {len(q)} queries, {len(k)} keys, {len(v)} values, {len(position)} positions and caches of {len(cache)} texts"
        )
    y = torch.empty(query.shape, dtype=torch.float32)
    for b, at in enumerate(position.tolist()):
        step = slice(b, b + 1)
        y[b] = torch.from_numpy(
            decode_text(q[step], k[step], v[step], cache[b].numpy(), at, type, scale=scale, window=window, soft_cap=soft_cap)
        )[0]
    return y.to(query.dtype)


@gqa_decode.register_fake
def _(query, key, value, cache, position, type="f16", scale=None, window=None, soft_cap=None):
    return query.new_empty(query.shape)


class QuantisedLinear(torch.nn.Module):
    """A torch.nn.Linear whose weights are packed. They are a buffer, `panels`, so state_dict() has them."""

    def __init__(self, linear: torch.nn.Linear, format: str = "q4_0", bits: int = 8):
        super().__init__()
        floats = lambda tensor: tensor.detach().to("cpu", torch.float32).contiguous()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.format, self.bits = format, bits
        # The panels are copied into torch's own memory, because a buffer may be written to.
        panels = torch.from_numpy(pack(floats(linear.weight).numpy(), format).panels.copy())
        self.register_buffer("panels", panels if panels.data_ptr() % 64 == 0 else panels.clone())
        self.register_buffer("bias", None if linear.bias is None else floats(linear.bias).clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return int4_linear(x, self.panels, self.bias, self.out_features, self.format, self.bits)

    def _apply(self, fn, recurse=True):
        """Module.to(bfloat16) and the like do not convert the bias, because the operator takes a float32 bias."""
        bias = self.bias
        super()._apply(fn, recurse)
        if bias is not None and self.bias.dtype != bias.dtype:
            self.bias = bias
        return self

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, format={self.format}, bits={self.bits}, bias={self.bias is not None}"


def quantise(module: torch.nn.Module, format: str = "q4_0", bits: int = 8, skip: Collection[str] = ()) -> torch.nn.Module:
    """Replaces every torch.nn.Linear within `module` by a QuantisedLinear, in place, and returns `module`.

    If `module` itself is a torch.nn.Linear, the QuantisedLinear made of it is returned.
    format: a name of stilla.formats(encodable=True). bits: the inputs are rounded to 8 or 16 bits.
    skip: names of layers that stay as they are, for example "lm_head" or "model.layers.0.mlp.down_proj". Subclasses of Linear stay too,
    because their owners may use the weights in ways of their own. It is an error if the number of columns of a layer is not a multiple
    of the format's block. Nothing is replaced then.
    """
    if type(module) is torch.nn.Linear:
        return QuantisedLinear(module, format, bits)
    made, places = {}, []
    for path, parent in module.named_modules():
        for name, child in parent._modules.items():  # named_children() would list a layer with two names only once
            if type(child) is not torch.nn.Linear or name in skip or (f"{path}.{name}" if path else name) in skip:
                continue
            if child not in made:
                made[child] = QuantisedLinear(child, format, bits)
            places.append((parent, name, made[child]))
    for parent, name, layer in places:
        setattr(parent, name, layer)
    return module
