#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/golden/tokenizer/sentencepiece.gguf and sentencepiece-phrases.gguf: small vocabularies with the token ids that Google's
sentencepiece gives for strings of tests/tokenizer_strings.py, under the keys that make_tokenizer_golden.py explains.

    pip install sentencepiece==0.2.3 gguf==0.19.0 numpy==2.4.6
    python tests/golden/make_sentencepiece_golden.py
"""

import pathlib
import random
import sys

from gguf import GGUFValueType

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import sentencepiece_models as models  # noqa: E402
from tokenizer_strings import strings  # noqa: E402


def main():
    texts = strings(3000, 201)
    rng = random.Random(1)
    texts = ["", *rng.sample(texts[:1200], 200), *rng.sample(texts[1200:], 320), "▁", " ", "  a", "\u2581\u2581 x", "<s></s><unk><0x41>", "A" * 999]
    for name, file in (("llama", "sentencepiece"), ("phrases", "sentencepiece-phrases")):
        processor, user_defined = models.train(name, 1200)
        writer = models.writer_of(name, processor, user_defined)
        ids = processor.encode(texts)
        writer.add_array("golden.strings", texts)
        for key, numbers in (("ids", [i for row in ids for i in row]), ("counts", [len(row) for row in ids])):
            writer.add_key_value(f"golden.{key}", numbers, GGUFValueType.ARRAY, GGUFValueType.UINT16)
        writer.add_array("golden.decoded", [processor.decode(row) for row in ids])
        path = HERE / "tokenizer" / f"{file}.gguf"
        models.write_file(path, writer)
        print(path.name, path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
