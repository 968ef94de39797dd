# SPDX-License-Identifier: Apache-2.0
"""Quantised linear layers that are split among the processes of a torch.distributed group, for models that need several machines.

    torch.distributed.init_process_group("gloo")
    mlp.gate = stilla.distributed.ColumnSplitLinear(mlp.gate, "q4_0", gather=False)   # each process computes a part of the outputs
    mlp.up = stilla.distributed.ColumnSplitLinear(mlp.up, "q4_0", gather=False)
    mlp.down = stilla.distributed.RowSplitLinear(mlp.down, "q4_0")                    # takes this part, returns the whole result

The names are those of Shoeybi et al., "Megatron-LM" (2019), where a layer is y = x A: columns of A are outputs, rows of A are inputs.
Every process makes the layer from the same torch.nn.Linear and keeps only its own part of the weights. The layers are for inference.
"""

from typing import Optional

import torch
import torch.distributed as dist

from .torch import QuantisedLinear

__all__ = ["ColumnSplitLinear", "RowSplitLinear"]


def _own_part(count: int, what: str, group) -> slice:
    """The part of `count` inputs or outputs that belongs to this process: one of equal parts, in the order of the processes."""
    processes = dist.get_world_size(group)
    if count % processes != 0:
        raise ValueError(f"{count} {what} cannot be divided equally among {processes} processes")
    part = count // processes
    return slice(dist.get_rank(group) * part, (dist.get_rank(group) + 1) * part)


def _linear(weight: torch.Tensor, bias: Optional[torch.Tensor]) -> torch.nn.Linear:
    linear = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    linear.weight = torch.nn.Parameter(weight.detach(), requires_grad=False)
    if bias is not None:
        linear.bias = torch.nn.Parameter(bias.detach(), requires_grad=False)
    return linear


def _gathered(y: torch.Tensor, group) -> list:
    """The tensors y of all processes, in their order."""
    parts = [torch.empty_like(y) for _ in range(dist.get_world_size(group))]
    dist.all_gather(parts, y.contiguous(), group=group)
    return parts


class ColumnSplitLinear(torch.nn.Module):
    """Each process computes an equal part of the outputs from the whole input.

    linear: the whole layer, the same in every process. format, bits: as those of stilla.torch.QuantisedLinear.
    group: the processes; None: all of them. gather: whether forward() returns all outputs, [..., out_features], or only the process's own
    part, [..., out_features / processes]. The bits are those of the whole layer in one process. It is an error if the outputs cannot be
    divided equally.
    """

    def __init__(self, linear: torch.nn.Linear, format: str = "q4_0", bits: int = 8, group=None, gather: bool = True):
        super().__init__()
        own = _own_part(linear.out_features, "outputs", group)
        self.group, self.gather = group, gather
        self.own = QuantisedLinear(_linear(linear.weight[own], None if linear.bias is None else linear.bias[own]), format, bits)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.own(x)
        return torch.cat(_gathered(y, self.group), dim=-1) if self.gather else y


class RowSplitLinear(torch.nn.Module):
    """Each process multiplies an equal part of the inputs by its part of the weights, and the products are added up.

    linear, format, bits, group: as those of ColumnSplitLinear. The input of forward() is the process's own part, [..., in_features /
    processes], as ColumnSplitLinear(gather=False) returns it; the result is whole, and has the same bits in every process, because the
    products are added in the order of the processes. It differs from the whole layer in one process only by the rounding of these sums.
    It is an error if the inputs cannot be divided equally into whole blocks of the format.
    """

    def __init__(self, linear: torch.nn.Linear, format: str = "q4_0", bits: int = 8, group=None):
        super().__init__()
        own = _own_part(linear.in_features, "inputs", group)
        self.group = group
        self.own = QuantisedLinear(_linear(linear.weight[:, own], None), format, bits)
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach().to("cpu", torch.float32).clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total = None
        for part in _gathered(self.own(x.to(torch.float32)), self.group):
            total = part if total is None else total + part
        return (total if self.bias is None else total + self.bias).to(x.dtype)
