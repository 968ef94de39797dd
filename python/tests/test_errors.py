# SPDX-License-Identifier: Apache-2.0
"""Tests what is refused, with one sentence that names the op, the argument, what was found and what was expected."""

import numpy
import pytest
import stilla

FLOATS = numpy.zeros((4, 64), numpy.float32)
CACHE = stilla.KvCache(1, 2, 32)
CASES = {
    "float64": (lambda: stilla.softmax(FLOATS.astype(numpy.float64)), "softmax: x has the type float64, expected float32"),
    "integers": (lambda: stilla.rms_norm(FLOATS.astype(int), FLOATS[0]), "rms_norm: x has the type int64, expected float32"),
    "transposed": (lambda: stilla.softmax(FLOATS.T), "softmax: x does not lie row after row in memory; numpy.ascontiguousarray"),
    "reversed": (lambda: stilla.softmax(FLOATS[::-1]), "does not lie row after row"),
    "weights of a norm": (lambda: stilla.rms_norm(FLOATS, FLOATS[0, :63]), "rms_norm: weight has 63 elements, expected 64"),
    "two shapes": (lambda: stilla.silu_mul(FLOATS, FLOATS[:3]), r"silu_mul: up has the shape \[3, 64\], expected that of gate, \[4, 64\]"),
    "columns": (lambda: stilla.matmul(stilla.pack(FLOATS, "q4_0"), FLOATS[:, :32]), r"matmul: x has the shape \[4, 32\], expected \[..., 64\]"),
    "bits": (lambda: stilla.matmul(stilla.pack(FLOATS, "q4_0"), FLOATS, bits=4), "matmul: bits is 4, expected 8 or 16"),
    "format": (lambda: stilla.pack(FLOATS, "q9_9"), "pack: the format 'q9_9' is not known; see stilla.formats"),
    "block": (lambda: stilla.pack(FLOATS[:, :33].copy(), "q4_0"), "33 columns are not a multiple of the q4_0 block of 32"),
    "no shape": (lambda: stilla.pack(b"1234", "q4_0"), r"pack: encoded weights need shape=\(rows, columns\)"),
    "bytes": (lambda: stilla.pack(b"1234", "q4_0", (1, 32)), "pack: 1 x 32 weights take 18 bytes in q4_0, found 4"),
    "infinity": (lambda: stilla.pack(FLOATS + numpy.inf, "q4_0"), "row 0, column 0: inf cannot be encoded as q4_0"),
    "position": (lambda: stilla.rope(FLOATS.reshape(4, 2, 32), -1), "rope: position -1, expected 0 to 1048575"),
    "positions": (lambda: stilla.rope(FLOATS.reshape(4, 2, 32), numpy.arange(3)), r"rope: positions are int64 \[3\], expected a number or int64 \[4\]"),
    "dimensions": (lambda: stilla.rope(FLOATS, 0), r"rope: x has the shape \[4, 64\], expected 3 dimensions"),
    "head size": (lambda: stilla.KvCache(1, 1, 30), "head size 30 is not supported"),
    "kv type": (lambda: stilla.KvCache(1, 1, 32, "f8"), "the type 'f8' of a key/value cache is not known"),
    "layer": (lambda: CACHE.store(1, FLOATS.reshape(4, 2, 32), FLOATS.reshape(4, 2, 32)), "KvCache.store: layer 1 of a cache of 1"),
    "gap": (lambda: CACHE.store(0, FLOATS.reshape(4, 2, 32), FLOATS.reshape(4, 2, 32), 7), "position 7 of layer 0, which holds 0: there would be a gap"),
    "nothing stored": (lambda: stilla.attention(FLOATS.reshape(4, 2, 32), CACHE), "attention: 4 rows from position 0, but layer 0 holds 0"),
    "threads": (lambda: stilla.set_threads(0), "threads: found 0, expected at least 1"),
    "target": (lambda: stilla.set_target("z80"), "unknown target 'z80'"),
}


@pytest.mark.parametrize("name", CASES)
def test_arguments(name):
    call, message = CASES[name]
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert isinstance(caught.value, stilla.Error)
    assert "\n" not in str(caught.value)


def test_errors_are_runtime_errors():
    assert issubclass(stilla.Error, RuntimeError)
    assert issubclass(stilla.ArgumentError, stilla.Error) and issubclass(stilla.ArgumentError, ValueError)


def test_no_array_is_a_type_error():
    with pytest.raises(TypeError):
        stilla.softmax("text")


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        stilla.load(tmp_path / "nothing.gguf")
    assert caught.value.filename == tmp_path / "nothing.gguf"


def test_refused_file(tmp_path):
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"GGUF" + b"\xff" * 100)
    with pytest.raises(stilla.Error, match="broken.gguf") as caught:
        stilla.load(path)
    assert not isinstance(caught.value, ValueError)
    (tmp_path / "folder").mkdir()
    with pytest.raises(stilla.Error, match="folder"):
        stilla.load(tmp_path / "folder")


def test_chats(model):
    user = {"role": "user", "content": "1+1"}
    for messages, message in [
        ([], "messages: found none"),
        ([user, {"role": "tool", "content": ""}], r"messages\[1\]: the role 'tool' is not known"),
        ([{"role": "user"}], r"messages\[0\]: expected a dict with the texts 'role' and 'content'"),
        (["hello"], r"messages\[0\]: expected a dict"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.chat(messages)
    for options, message in [({"temperature": -1}, "temperature: found -1"), ({"top_p": 2}, "top_p: found 2"), ({"min_p": -1}, "min_p")]:
        with pytest.raises(ValueError, match=message):
            model.chat([user], **options)
    with pytest.raises(ValueError, match="does not fit the context"):
        model.generate([5] * (model.context + 1))
    with pytest.raises(ValueError, match="the prompt has no tokens"):
        model.generate([])
    with pytest.raises(ValueError, match="outside the model's vocabulary"):
        model.session().evaluate([model.vocabulary])
    with pytest.raises(ValueError, match="was trained for"):
        model.session(context=10**9)
