#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares token ids and decoded text with Google's sentencepiece on random and adversarial strings.

    pip install sentencepiece==0.2.3 gguf==0.19.0 numpy==2.4.6
    python tests/compare_sentencepiece.py BUILD/bin/tokenize_lines [--count 100000] [--seed 1]

The library itself trains three small models (sentencepiece_models.py), which are written as GGUF files. tokenize_lines also
compares the text that decoding returns with the string. Exit status 1 if anything differs.
"""

import argparse
import pathlib
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from compare_tokenizer import our_ids  # noqa: E402
from tokenizer_strings import strings  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="tokenize_lines")
    parser.add_argument("--count", type=int, default=100000, help="strings for each model (default 100000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--models", help="names with commas between them (default: all)")
    options = parser.parse_args()
    import sentencepiece_models as models

    texts = strings(options.count, options.seed)
    failed = False
    for name in options.models.split(",") if options.models else models.MODELS:
        processor, user_defined = models.train(name)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / f"{name}.gguf"
            models.write_file(path, models.writer_of(name, processor, user_defined))
            begin = time.time()
            ours = our_ids(options.program, path, "text", texts)
            seconds = time.time() - begin
        wrong = 0
        for text, ids, expected in zip(texts, ours, processor.encode(texts), strict=True):
            if ids != expected:
                wrong += 1
                if wrong <= 10:
                    print(f"{text!r}\n  found    {ids}\n  expected {expected}")
        megabytes = sum(len(text.encode()) for text in texts) / 1e6
        print(f"{name}: {len(texts)} strings ({megabytes:.1f} MB in {seconds:.2f} s), {wrong} differ")
        failed = failed or wrong > 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
