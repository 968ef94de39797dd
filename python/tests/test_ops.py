# SPDX-License-Identifier: Apache-2.0
"""Compares ops with numpy in float64. The bounds are those of the C++ tests, counted in roundings of a float."""

import numpy
import pytest
import stilla

U = 2.0**-24  # half an ulp of 1: what one rounding costs


def test_rms_norm(noise):
    for shape in [(7, 896), (2, 3, 100), (64,)]:
        x, weight = noise(shape, 1), noise(shape[-1], 2)
        wide = x.astype(numpy.float64)
        expected = wide / numpy.sqrt((wide**2).mean(-1, keepdims=True) + 1e-6) * weight
        size = numpy.maximum(abs(expected), abs(expected / weight))
        y = stilla.rms_norm(x, weight, 1e-6)
        assert y.dtype == numpy.float32 and y.shape == shape
        assert (abs(y - expected) <= (3 + 0.5 * (shape[-1] / 16 + 8) + 4) * U * size).all()


def test_softmax(noise):
    for shape in [(5, 300), (1000,), (2, 2, 17)]:
        x = 4 * noise(shape)
        powers = numpy.exp(x.astype(numpy.float64) - x.max(-1, keepdims=True))
        expected = powers / powers.sum(-1, keepdims=True)
        bound = (2 * (32 + 2) + shape[-1] / 16 + 6) * U * expected
        assert (abs(stilla.softmax(x) - expected) <= bound).all()


def test_silu_mul(noise):
    gate, up = 3 * noise((9, 4864), 1), noise((9, 4864), 2)
    wide = gate.astype(numpy.float64)
    expected = wide / (1 + numpy.exp(-wide)) * up
    assert (abs(stilla.silu_mul(gate, up) - expected) <= 5.01 * U * abs(expected)).all()


def turned(x, positions, base, rotary_dim, interleaved):
    """Computes RoPE in float64, by the definition: pairs are complex numbers."""
    pairs = rotary_dim // 2
    angles = numpy.multiply.outer(positions, base ** (-2.0 * numpy.arange(pairs) / rotary_dim))
    turn = numpy.exp(1j * angles)[:, None, :]
    out = x.astype(numpy.float64)
    first, second = (slice(0, rotary_dim, 2), slice(1, rotary_dim, 2)) if interleaved else (slice(0, pairs), slice(pairs, rotary_dim))
    z = (out[..., first] + 1j * out[..., second]) * turn
    out[..., first], out[..., second] = z.real, z.imag
    return out


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("rotary_dim", [None, 32])
def test_rope(noise, interleaved, rotary_dim):
    x = numpy.clip(noise((6, 3, 64)), -1, 1)
    positions = numpy.array([0, 1, 5, 1000, 4000, 131071])
    y = stilla.rope(x, positions, base=1e6, rotary_dim=rotary_dim, interleaved=interleaved)
    expected = turned(x, positions, 1e6, rotary_dim or 64, interleaved)
    assert abs(y - expected).max() <= 4 * U + 131071 * 8e-16
    following = stilla.rope(x, 7, base=1e6, rotary_dim=rotary_dim, interleaved=interleaved)
    assert numpy.array_equal(following, stilla.rope(x, numpy.arange(7, 13), base=1e6, rotary_dim=rotary_dim, interleaved=interleaved))


@pytest.mark.parametrize("form", ["f32", "f16", "bf16"])
def test_matmul_with_float_weights(noise, form):
    w, x, bias = noise((50, 200), 1), noise((9, 200), 2), noise(50, 3)
    packed = stilla.pack(w, form)
    weights = packed.unpack().astype(numpy.float64)
    if form == "f32":
        assert numpy.array_equal(packed.unpack(), w)
    expected = x @ weights.T + bias
    size = abs(x) @ abs(weights.T) + abs(bias)
    assert (abs(stilla.matmul(packed, x, bias=bias) - expected) <= 201 * U * size).all()


@pytest.mark.parametrize("form", stilla.formats(encodable=True))
@pytest.mark.parametrize("bits", [8, 16])
def test_matmul_with_rounded_activations(noise, form, bits):
    w, x = noise((40, 512), 1), noise((9, 512), 2)
    packed = stilla.pack(w, form)
    assert packed.shape == (40, 512) and packed.format == form
    weights = packed.unpack().astype(numpy.float64)
    # A block's scale is a power of two. It is at most twice the block's largest value divided by 127 levels, and 256 times as
    # fine with 16 bits.
    step = 2 * abs(x).reshape(9, -1, 32).max(-1).repeat(32, axis=-1) / (127 * (1 if bits == 8 else 256))
    bound = (step / 2) @ abs(weights.T) + 1e-5 * (abs(x) @ abs(weights.T))
    y = stilla.matmul(packed, x, bits)
    assert (abs(y - x @ weights.T) <= bound).all()
    # The product of a row that is multiplied alone has the same bits as that of the same row among others.
    assert numpy.array_equal(stilla.matmul(packed, x[3], bits), y[3])


def test_matmul_operator(noise):
    w, x = stilla.pack(noise((48, 64), 1), "q8_0"), noise((64, 5), 2)
    assert numpy.array_equal(w @ x[:, 0].copy(), stilla.matmul(w, x[:, 0].copy()))
    assert (w @ x).shape == (48, 5)
    assert numpy.array_equal(w @ x, stilla.matmul(w, numpy.ascontiguousarray(x.T)).T)


def test_packing_keeps_what_a_format_holds(noise):
    w = noise((33, 256))
    blocks = w.reshape(33, 8, 32)
    q4 = stilla.pack(w, "q4_0").unpack().reshape(blocks.shape)
    largest = abs(blocks).max(-1, keepdims=True)
    assert (abs(q4 - blocks) <= largest / 8 * 1.001).all()
    assert abs(stilla.pack(w, "f16").unpack() - w.astype(numpy.float16)).max() == 0


def test_packing_encoded_bytes():
    """The blocks of q8_0 are made by hand: each has a scale in half precision and 32 codes."""
    random = numpy.random.default_rng(0)
    codes = random.integers(-127, 128, (20, 4, 32), dtype=numpy.int8)
    scales = random.uniform(0.01, 0.1, (20, 4, 1)).astype(numpy.float16)
    blocks = numpy.concatenate([scales.view(numpy.uint8).reshape(20, 4, 2), codes.view(numpy.uint8)], axis=-1)
    packed = stilla.pack(blocks, "q8_0", shape=(20, 128))
    expected = (scales.astype(numpy.float32) * codes).reshape(20, 128)
    assert numpy.array_equal(packed.unpack(), expected)
    assert numpy.array_equal(packed.row(19), expected[19])
    assert numpy.array_equal(stilla.pack(blocks.tobytes(), "q8_0", shape=(20, 128)).unpack(), expected)
    assert packed.nbytes >= blocks.nbytes


def test_packed_weights_in_memory_of_others(noise):
    packed, x = stilla.pack(noise((40, 64)), "q4_0"), noise((3, 64))
    panels = packed.panels
    assert panels.dtype == numpy.uint8 and panels.nbytes == packed.nbytes and not panels.flags.writeable
    expected = stilla.matmul(packed, x)
    borrowed = stilla.PackedMatrix.borrow(panels, "q4_0", (40, 64))
    del packed, panels  # `borrowed` still uses the memory, so the memory stays
    assert numpy.array_equal(stilla.matmul(borrowed, x), expected)
    with pytest.raises(ValueError, match="panels have 64 bytes, expected"):
        stilla.PackedMatrix.borrow(borrowed.panels[:64], "q4_0", (40, 64))
    moved = numpy.zeros(borrowed.nbytes + 65, numpy.uint8)
    odd = moved[(1 - moved.ctypes.data) % 64 :][: borrowed.nbytes]
    with pytest.raises(ValueError, match="no multiple of 64"):
        stilla.PackedMatrix.borrow(odd, "q4_0", (40, 64))


def attended(queries, keys, values, first, scale=None, window=None, soft_cap=None, causal=True):
    """Computes attention in float64, by the definition."""
    M, H, D = queries.shape
    out = numpy.empty((M, H, D))
    group = H // keys.shape[1]
    for m in range(M):
        end = first + (m + 1 if causal else M)
        begin = 0 if window is None else max(0, end - window)
        for h in range(H):
            k, v = (a[begin:end, h // group].astype(numpy.float64) for a in (keys, values))
            scores = k @ queries[m, h].astype(numpy.float64) * (scale or D**-0.5)
            if soft_cap:
                scores = soft_cap * numpy.tanh(scores / soft_cap)
            powers = numpy.exp(scores - scores.max())
            out[m, h] = powers @ v / powers.sum()
    return out


# The bounds are about twice the worst error of all head sizes in tests/attention_test.cpp, whose queries are larger than these.
@pytest.mark.parametrize("kv_type, allowed", [("f32", 3e-6), ("f16", 1.5e-3), ("bf16", 1.1e-2), ("int8", 6.4e-2), ("int5", 0.44)])
def test_attention(noise, kv_type, allowed):
    keys, values = numpy.clip(noise((300, 2, 64), 1), -1, 1), numpy.clip(noise((300, 2, 64), 2), -1, 1)
    cache = stilla.KvCache(layers=2, heads=2, head_dim=64, type=kv_type)
    cache.store(1, keys[:280], values[:280])
    cache.store(1, keys[280:], values[280:])
    assert (cache.stored(0), cache.stored(1)) == (0, 300)
    for M in [1, 5, 20]:
        queries = noise((M, 6, 64), 3)
        y = stilla.attention(queries, cache, layer=1)
        assert abs(y - attended(queries, keys, values, 300 - M)).max() <= allowed
    # A query that is computed alone has the same result as among the queries of a prefill.
    one = stilla.attention(queries[4:5].copy(), cache, 1, 284)
    assert numpy.array_equal(one[0], y[4])


def test_attention_options(noise):
    keys, values, queries = noise((40, 1, 32), 1), noise((40, 1, 32), 2), noise((4, 2, 32), 3)
    cache = stilla.KvCache(1, 1, 32, "f32")
    cache.store(0, keys, values)
    for options in [{"scale": 0.3}, {"window": 7}, {"soft_cap": 2.0}, {"causal": False}]:
        y = stilla.attention(queries, cache, 0, 20, **options)
        assert abs(y - attended(queries, keys, values, 20, **options)).max() <= 3e-6, options


@pytest.mark.parametrize("kv_type", ["f16", "int8"])
def test_a_cache_in_memory_of_the_caller(noise, kv_type):
    keys, values, queries = noise((300, 2, 64), 1), noise((300, 2, 64), 2), noise((300, 6, 64), 3)
    own = stilla.KvCache(1, 2, 64, kv_type)
    own.store(0, keys, values)
    chunk = stilla.kv_chunk_bytes(2, 64, kv_type)
    memory = numpy.full(2 * chunk + 64, 255, numpy.uint8)
    lent = memory[-memory.ctypes.data % 64 :][: 2 * chunk].reshape(2, chunk)
    prompt = stilla.gqa_decode(queries[:280], keys[:280], values[:280], lent, 0, kv_type)
    assert numpy.array_equal(prompt, stilla.attention(queries[:280], own, 0, 0))
    for p in range(280, 300):
        step = slice(p, p + 1)
        y = stilla.gqa_decode(queries[step], keys[step], values[step], lent, p, kv_type)
        assert numpy.array_equal(y, stilla.attention(queries[step], own, 0, p))
    with pytest.raises(ValueError, match="2 rows from position 511 of a cache of 512"):
        stilla.gqa_decode(queries[:2], keys[:2], values[:2], lent, 511, kv_type)
    with pytest.raises(ValueError, match="cache has the shape .1, "):
        stilla.gqa_decode(queries[:1], keys[:1], values[:1], lent.reshape(1, -1), 0, kv_type)
    lent.flags.writeable = False
    with pytest.raises(TypeError):
        stilla.gqa_decode(queries[:1], keys[:1], values[:1], lent, 0, kv_type)


def test_storing_again_replaces(noise):
    cache = stilla.KvCache(1, 1, 32, "f32")
    cache.store(0, noise((10, 1, 32), 1), noise((10, 1, 32), 2))
    keys, values = noise((10, 1, 32), 3), noise((10, 1, 32), 4)
    cache.store(0, keys, values, position=0)
    queries = noise((1, 1, 32), 5)
    assert abs(stilla.attention(queries, cache) - attended(queries, keys, values, 9)).max() <= 3e-6
    cache.truncate(3)
    assert cache.stored() == 3


def test_rows_of_a_wider_array(noise):
    wide, weight = noise((6, 300), 1), noise(100, 2)
    part = wide[:, 100:200]
    assert numpy.array_equal(stilla.rms_norm(part, weight), stilla.rms_norm(part.copy(), weight))
    every_second = wide[::2, :100]
    assert numpy.array_equal(stilla.softmax(every_second), stilla.softmax(every_second.copy()))


def test_targets_have_the_same_bits(noise):
    x, packed = noise((9, 512), 1), stilla.pack(noise((40, 512), 2), "q4_0")
    assert stilla.target() in stilla.targets()
    expected = stilla.matmul(packed, x)
    try:
        for name in stilla.targets():
            stilla.set_target(name)
            assert stilla.target() == name
            assert numpy.array_equal(stilla.matmul(packed, x), expected), name
    finally:
        stilla.set_target(None)


def test_threads_do_not_matter(noise):
    x, packed = noise((64, 512), 1), stilla.pack(noise((400, 512), 2), "q4_0")
    expected = stilla.matmul(packed, x)
    try:
        for count in [1, 3]:
            stilla.set_threads(count)
            assert stilla.threads() == count
            assert numpy.array_equal(stilla.matmul(packed, x), expected)
    finally:
        stilla.set_threads(None)
    assert stilla.threads() >= 1


def test_arrays_without_elements(noise):
    packed = stilla.pack(noise((16, 32)), "q4_0")
    assert stilla.matmul(packed, noise((0, 32))).shape == (0, 16)
    assert stilla.softmax(noise((0, 5))).shape == (0, 5)
    assert stilla.rope(noise((0, 2, 8)), 0).shape == (0, 2, 8)


def test_results_own_their_memory(noise):
    y = stilla.softmax(noise((4, 8)))
    copy = y.copy()
    for _ in range(100):
        stilla.softmax(noise((4, 8), 5))
    assert numpy.array_equal(y, copy) and y.flags.writeable
