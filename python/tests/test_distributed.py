# SPDX-License-Identifier: Apache-2.0
"""Compares split layers in two processes with whole layers in one process. The test is skipped where torch is not installed."""

import pytest
import stilla

torch = pytest.importorskip("torch")
import stilla.distributed  # noqa: E402
import torch.distributed as dist  # noqa: E402

processes = 2


def layers():
    """Returns the three layers of a SwiGLU, two of them with a bias, and an input. They are the same in every process."""
    torch.manual_seed(5)
    return (torch.nn.Linear(256, 512, bias=False), torch.nn.Linear(256, 512), torch.nn.Linear(512, 256)), torch.randn(7, 256)


def mlp(gate, up, down, x):
    return down(torch.nn.functional.silu(gate(x)) * up(x))


def work(rank, meeting_place, results):
    dist.init_process_group("gloo", init_method=f"file://{meeting_place}", rank=rank, world_size=processes)
    try:
        (gate, up, down), x = layers()
        column, row = stilla.distributed.ColumnSplitLinear, stilla.distributed.RowSplitLinear
        found = {"whole": column(up)(x), "bfloat16": column(up)(x.to(torch.bfloat16))}
        parts = column(gate, gather=False), column(up, gather=False), row(down)
        found["mlp"] = mlp(*parts, x)
        found["bytes"] = sum(part.own.panels.numel() for part in parts)
        for make in (lambda: column(torch.nn.Linear(64, 33)), lambda: row(torch.nn.Linear(33, 64)), lambda: row(torch.nn.Linear(96, 64))):
            try:
                make()
                found.setdefault("errors", []).append("none")
            except ValueError as error:
                found.setdefault("errors", []).append(str(error))
        torch.save(found, f"{results}.{rank}")
    finally:
        dist.destroy_process_group()


def test_two_processes_are_one(tmp_path):
    torch.multiprocessing.spawn(work, (tmp_path / "meeting", tmp_path / "results"), nprocs=processes)
    first, second = (torch.load(f"{tmp_path / 'results'}.{rank}") for rank in range(processes))
    (gate, up, down), x = layers()
    gate, up, down = (stilla.torch.QuantisedLinear(layer) for layer in (gate, up, down))
    for name in ("whole", "bfloat16", "mlp"):
        assert torch.equal(first[name], second[name])
    assert torch.equal(first["whole"], up(x)) and torch.equal(first["bfloat16"], up(x.to(torch.bfloat16)))
    expected = mlp(gate, up, down, x)
    assert ((first["mlp"] - expected) ** 2).sum() <= 1e-12 * (expected**2).sum()
    assert 0 < first["bytes"] == second["bytes"] == sum(layer.panels.numel() for layer in (gate, up, down)) // processes
    assert first["errors"] == [
        "33 outputs cannot be divided equally among 2 processes",
        "33 inputs cannot be divided equally among 2 processes",
        first["errors"][2],
    ]
    assert "48 columns are not a multiple of the q4_0 block of 32" in first["errors"][2]
