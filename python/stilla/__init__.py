# SPDX-License-Identifier: Apache-2.0
"""Transformer inference on CPUs: language models, and the kernels that they run on, for numpy.

    import stilla

    model = stilla.load("model.gguf")
    for piece in model.chat([{"role": "user", "content": "Why is the sky blue?"}]):
        if not piece.thought:
            print(piece.text, end="", flush=True)

Arrays are float32 and on the CPU; other arrays are refused with a ValueError. Kernels run without the GIL.
"""

from ._core import (
    ArgumentError,
    Error,
    KvCache,
    Model,
    PackedMatrix,
    Piece,
    Session,
    Stream,
    Tokenizer,
    __version__,
    attention,
    formats,
    gqa_decode,
    kv_chunk_bytes,
    load,
    matmul,
    pack,
    rms_norm,
    rope,
    set_target,
    set_threads,
    silu_mul,
    softmax,
    target,
    targets,
    threads,
)

__all__ = [
    "ArgumentError",
    "Error",
    "KvCache",
    "Model",
    "PackedMatrix",
    "Piece",
    "Session",
    "Stream",
    "Tokenizer",
    "__version__",
    "attention",
    "formats",
    "gqa_decode",
    "kv_chunk_bytes",
    "load",
    "matmul",
    "pack",
    "rms_norm",
    "rope",
    "set_target",
    "set_threads",
    "silu_mul",
    "softmax",
    "target",
    "targets",
    "threads",
]

for _exception in (Error, ArgumentError):  # tracebacks then name them as users import them
    _exception.__module__ = __name__
del _exception
