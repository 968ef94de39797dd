# SPDX-License-Identifier: Apache-2.0
"""Tests the operators for PyTorch. The tests are skipped where torch is not installed."""

import copy

import numpy
import pytest
import stilla

torch = pytest.importorskip("torch")
import stilla.torch  # noqa: E402


class Mlp(torch.nn.Module):
    """SwiGLU, as language models have it, with one layer that is used twice."""

    def __init__(self):
        super().__init__()
        self.gate = torch.nn.Linear(256, 512, bias=False)
        self.up = torch.nn.Linear(256, 512)
        self.down = torch.nn.Linear(512, 256)
        self.again = self.down

    def forward(self, x):
        return self.again(torch.nn.functional.silu(self.gate(x)) * self.up(x))


@pytest.fixture
def mlp():
    torch.manual_seed(0)
    return Mlp().eval()


def nmse(found, expected):
    found, expected = found.detach(), expected.detach()
    return float(((found - expected) ** 2).sum() / (expected**2).sum())


@pytest.mark.parametrize("form", ["q4_0", "q8_0", "f16"])
@pytest.mark.parametrize("bits", [8, 16])
def test_the_operator_is_matmul(noise, form, bits):
    w, x, bias = noise((40, 64), 1), noise((2, 3, 64), 2), noise(40, 3)
    packed = stilla.pack(w, form)
    panels = torch.from_numpy(packed.panels.copy()).clone()
    y = torch.ops.stilla.int4_linear(torch.from_numpy(x), panels, torch.from_numpy(bias), 40, form, bits)
    assert numpy.array_equal(y.numpy(), stilla.matmul(packed, x, bits, bias))


def test_the_operator_by_torchs_own_checks(noise):
    panels = torch.from_numpy(stilla.pack(noise((40, 64)), "q4_0").panels.copy()).clone()
    for x in [torch.randn(3, 64), torch.randn(64, dtype=torch.bfloat16), torch.randn(0, 64)]:
        torch.library.opcheck(stilla.torch.int4_linear, (x, panels, None, 40, "q4_0", 8))
    with pytest.raises(ValueError, match="panels have"):
        stilla.torch.int4_linear(torch.randn(3, 96), panels, None, 40, "q4_0", 8)


def test_panels_on_any_boundary(noise):
    packed, x = stilla.pack(noise((40, 64)), "q4_0"), torch.randn(3, 64)
    wide = torch.zeros(packed.nbytes + 1, dtype=torch.uint8)
    wide[1:] = torch.from_numpy(packed.panels.copy())
    y = stilla.torch.int4_linear(x, wide[1:], None, 40, "q4_0", 8)
    assert numpy.array_equal(y.numpy(), stilla.matmul(packed, x.numpy()))


# If weights are spread evenly from -1 to 1 and rounded in steps of s, the error has s^2 / 4 of their power: 1.5e-5 for q8_0 (s =
# 1 / 127) and 4e-3 for q4_0 (s = 1 / 8), in each of three layers. Inputs of 8 bits add about 1e-4 in each layer, because a
# block's scale is a power of two.
@pytest.mark.parametrize("form, bits, allowed", [("q8_0", 16, 1e-4), ("q8_0", 8, 1e-3), ("q4_0", 8, 3e-2)])
def test_quantise(mlp, form, bits, allowed):
    x = torch.randn(7, 256)
    expected = mlp(x).detach()
    assert stilla.torch.quantise(mlp, form, bits) is mlp
    assert mlp.again is mlp.down and isinstance(mlp.gate, stilla.torch.QuantisedLinear)
    assert not list(mlp.parameters())
    assert 0 < nmse(mlp(x), expected) < allowed


def test_what_is_skipped(mlp):
    stilla.torch.quantise(mlp, skip=["gate"])
    assert type(mlp.gate) is torch.nn.Linear and type(mlp.up) is not torch.nn.Linear
    outer = torch.nn.Sequential(Mlp(), torch.nn.Linear(256, 33))
    stilla.torch.quantise(outer, skip=["0.up"])
    assert type(outer[0].up) is torch.nn.Linear and type(outer[0].gate) is not torch.nn.Linear
    assert isinstance(stilla.torch.quantise(torch.nn.Linear(64, 8)), stilla.torch.QuantisedLinear)


def test_nothing_is_replaced_if_a_layer_does_not_fit():
    layers = torch.nn.Sequential(torch.nn.Linear(64, 33), torch.nn.Linear(33, 8))
    with pytest.raises(ValueError, match="33 columns are not a multiple of the q4_0 block of 32"):
        stilla.torch.quantise(layers)
    assert all(type(layer) is torch.nn.Linear for layer in layers)


def test_state_dict(mlp):
    other = stilla.torch.quantise(Mlp())
    x = torch.randn(2, 256)
    stilla.torch.quantise(mlp)
    other.load_state_dict(mlp.state_dict())
    assert torch.equal(other(x), mlp(x)) and torch.equal(copy.deepcopy(mlp)(x), mlp(x))


def test_other_types(mlp):
    x = torch.randn(5, 256)
    stilla.torch.quantise(mlp)
    expected = mlp(x)
    half = mlp.to(torch.bfloat16)
    y = half(x.to(torch.bfloat16))
    assert y.dtype == torch.bfloat16 and nmse(y.float(), expected) < 1e-3


def test_export_and_compile(mlp):
    x = torch.randn(5, 256)
    stilla.torch.quantise(mlp)
    with torch.no_grad():
        expected = mlp(x)
        assert torch.equal(torch.export.export(mlp, (x,)).module()(x), expected)
        # The backend has no code generator: this test is about torch's graph.
        assert torch.equal(torch.compile(mlp, backend="aot_eager", fullgraph=True)(x), expected)


def expected_attention(query, keys, values, **options):
    """torch's own attention: query [H, D], keys and values [positions, G, D]."""
    group = query.shape[0] // keys.shape[1]
    k, v = (a.transpose(0, 1).repeat_interleave(group, dim=0) for a in (keys, values))
    return torch.nn.functional.scaled_dot_product_attention(query[:, None], k, v, **options)[:, 0]


# The bounds are those of test_attention in test_ops.py.
@pytest.mark.parametrize("kv_type, allowed", [("f32", 3e-6), ("f16", 1.5e-3), ("bf16", 1.1e-2), ("int8", 6.4e-2)])
def test_decoding_is_torchs_attention(kv_type, allowed):
    torch.manual_seed(1)
    G, H, D, begins = 2, 6, 64, [0, 0, 250]  # 250 positions of the third text are stored before the first step
    keys, values = torch.rand(3, 300, G, D) * 2 - 1, torch.rand(3, 300, G, D) * 2 - 1
    cache = stilla.torch.new_kv_cache(3, 300, G, D, kv_type)
    prompt = numpy.zeros((begins[2], H, D), numpy.float32)
    stilla.gqa_decode(prompt, keys[2, : begins[2]].numpy(), values[2, : begins[2]].numpy(), cache[2].numpy(), 0, kv_type)
    for step in range(40):
        position = torch.tensor([begin + step for begin in begins])
        of = lambda a: torch.stack([a[b, p] for b, p in enumerate(position)])
        query = torch.randn(3, H, D)
        y = torch.ops.stilla.gqa_decode(query, of(keys), of(values), cache, position, kv_type)
        for b, p in enumerate(position):
            assert (y[b] - expected_attention(query[b], keys[b, : p + 1], values[b, : p + 1])).abs().max() <= allowed


def test_options_of_decoding():
    torch.manual_seed(2)
    keys, values, query = torch.randn(1, 30, 1, 32), torch.randn(1, 30, 1, 32), torch.randn(1, 4, 32)
    cache = stilla.torch.new_kv_cache(1, 30, 1, 32, "f32")
    for p in range(30):
        step = (query, keys[:, p], values[:, p], cache, torch.tensor([p]), "f32")
        y = torch.ops.stilla.gqa_decode(*step)
    scaled = torch.ops.stilla.gqa_decode(*step, scale=0.3)
    assert (scaled[0] - expected_attention(query[0], keys[0], values[0], scale=0.3)).abs().max() <= 3e-6
    short = torch.ops.stilla.gqa_decode(*step, window=7)
    assert (short[0] - expected_attention(query[0], keys[0, 23:], values[0, 23:])).abs().max() <= 3e-6
    # The step is repeated in bfloat16. It stores the same keys and values again, and half as many digits must agree.
    assert torch.equal(torch.ops.stilla.gqa_decode(*step), y)
    half = torch.ops.stilla.gqa_decode(query.to(torch.bfloat16), *step[1:])
    assert half.dtype == torch.bfloat16 and nmse(half.float(), y) < 1e-4


def test_decoding_by_torchs_own_checks():
    cache = stilla.torch.new_kv_cache(2, 256, 1, 32)
    arguments = (torch.randn(2, 2, 32), torch.randn(2, 1, 32), torch.randn(2, 1, 32), cache, torch.tensor([0, 3]))
    torch.library.opcheck(stilla.torch.gqa_decode, arguments)
    with pytest.raises(ValueError, match="1 rows from position 256 of a cache of 256"):
        stilla.torch.gqa_decode(*arguments[:4], torch.tensor([0, 256]))
    with pytest.raises(ValueError, match="expected .chunks, "):
        stilla.torch.gqa_decode(*arguments, "f32")
    with pytest.raises(ValueError, match="on no boundary of 64"):
        wide = torch.zeros(cache[0].numel() + 1, dtype=torch.uint8)
        stilla.torch.gqa_decode(*(a[:1] for a in arguments[:3]), wide[1:].view(1, 1, -1), torch.tensor([0]))
    with pytest.raises(ValueError, match="2 queries, 2 keys, 2 values, 1 positions and caches of 2 texts"):
        stilla.torch.gqa_decode(*arguments[:4], torch.tensor([0]))
