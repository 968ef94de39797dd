#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures how far a model's logits are from exact arithmetic, which is Hugging Face transformers in float32 on the dequantised weights.

    pip install torch==2.15.0 transformers==5.23.0 accelerate==1.15.0 gguf==0.19.0 numpy==2.4.6
    bench/check_fidelity.py build/release/bin/stilla MODEL.gguf... [-- --kv f32 --target scalar ...]

The reference continues each prompt greedily by 48 tokens. `stilla logits` gets the prompt and this continuation as ids, so that
both see the same text from beginning to end. The logits are compared at every position:

    nmse    sum (ours - reference)^2 / sum reference^2
    KL      divergence of our tokens' probabilities from the reference's, mean over positions, in nats
    top-1   share of positions whose most likely token is the reference's
    greedy  positions of the continuation where our most likely token is another one, although the reference's best logit is more
            than 0.1 above its second best
    text    what `stilla run --raw --special` writes at temperature 0: how many of its first bytes equal the reference's text. That text
            ends at the first position at which the reference's two best logits are not more than 0.1 apart

Decode needs no table of its own, because its logits have the same bits as those of prefill (tests/real_model_test.cpp). The script
fails if a model misses a gate: nmse of the worst prompt 4.7e-4, mean KL 0.0006, KL of the worst position 0.05, top-1 97.7 %, and no
difference in greedy and text. (For comparison, llama.cpp on Qwen2 0.5B Q4_K_M: nmse 4.7e-4, KL 0.0013, top-1 97.7 %.) Options behind
`--` are passed on to the program. References are kept in ~/.cache/stilla-reference.

With --own the reference is the program itself with activations of 16 bits. This is for models for which transformers takes too long or
too much memory in float32. The texts are then the prompts and what the program continues them with, or, with --texts, the texts of the
reference of a smaller model that has the same vocabulary. The column text is not compared then.

    bench/check_fidelity.py --own --texts SMALL.gguf build/release/bin/stilla LARGE.gguf -- --activations int8
"""
import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

GREEDY = 48
MARGIN = 0.1
GATES = {"nmse": 4.7e-4, "kl": 0.0006, "worst": 0.05, "top1": 0.977}

PROMPTS = {
    "python": 'def merge_sort(items):\n    """Return a sorted copy of items."""\n    if len(items) <= 1:\n'
              "        return list(items)\n    middle = len(items) // 2\n",
    "c++": "#include <vector>\n#include <cstdint>\n\n// Returns the greatest common divisor of a and b.\n"
           "template <typename T>\nT gcd(T a, T b) {\n  while (b != 0) {\n",
    "french": "Il était une fois, dans un petit village au bord de la mer, un vieux pêcheur qui n'avait jamais "
              "quitté son île. Chaque matin, avant l'aube, il",
    "chinese": "人工智能正在改变我们的生活方式。例如,在医疗领域,医生可以利用机器学习来",
    "whitespace": "name\tqty   price\n\n  apples\t 3    1.50\n\tpears  \t12   0.80   \n\n\n   total:\t",
    "chat": "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nWhy is the sky blue? "
            "Answer in two sentences.<|im_end|>\n<|im_start|>assistant\n",
    "maths": "Question: A train travels 180 km in 2.5 hours. What is its average speed in km/h?\n"
             "Solution: The average speed is the distance divided by the time, so",
    "mixed": "Привет, мир! ¿Cómo estás? 🙂🚀 naïve café — “quotes” … ½ × ∑xᵢ² ≈ 3.14159; don't can't I'll\n",
}


def reference(model_path, cache):
    """Returns {prompt name: (its ids, length and texts, logits)}. The logits are memory-mapped."""
    model_path = Path(model_path).resolve()
    key = hashlib.sha256(json.dumps([model_path.name, model_path.stat().st_size, PROMPTS, GREEDY]).encode())
    with open(model_path, "rb") as f:
        key.update(f.read(1 << 20))
    folder = Path(cache).expanduser() / key.hexdigest()[:16]
    if not (folder / "done").exists():
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        folder.mkdir(parents=True, exist_ok=True)
        where = {"pretrained_model_name_or_path": str(model_path.parent), "gguf_file": model_path.name}
        tokenizer = AutoTokenizer.from_pretrained(**where)
        model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32).eval()
        for name, text in PROMPTS.items():
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            length = len(ids)
            with torch.no_grad():
                result = model(torch.tensor([ids]), use_cache=True)
                rows = [result.logits[0].numpy()]
                for step in range(GREEDY):
                    ids.append(int(rows[-1][-1].argmax()))
                    result = model(torch.tensor([ids[-1:]]), past_key_values=result.past_key_values, use_cache=True)
                    rows.append(result.logits[0].numpy())
            np.save(folder / f"{name}.npy", np.concatenate(rows))
            greedy = ids[length:]
            if tokenizer.eos_token_id in greedy:
                greedy = greedy[:greedy.index(tokenizer.eos_token_id)]
            texts = [tokenizer.decode(greedy[:i], skip_special_tokens=True) for i in range(len(greedy) + 1)]
            (folder / f"{name}.json").write_text(json.dumps({"ids": ids, "length": length, "texts": texts}))
            print(f"reference of {model_path.name}, {name}: {texts[-1]!r}", file=sys.stderr)
        (folder / "done").touch()
    return {name: (json.loads((folder / f"{name}.json").read_text()), np.load(folder / f"{name}.npy", mmap_mode="r"))
            for name in PROMPTS}


def own_reference(program, model_path, texts, options):
    """Returns what reference() returns, but computed by the program with activations of 16 bits, and without texts to compare.
    texts: {prompt name: ids and length}; if it is empty, the program continues the prompts itself."""
    if "--activations" in options:
        at = options.index("--activations")
        options = options[:at] + options[at + 2:]
    options = [*options, "--activations", "int16"]
    if not texts:
        texts = {}
        for name, prompt in PROMPTS.items():
            text = prompt + program_text(program, model_path, prompt, options).decode(errors="ignore")
            texts[name] = {"ids": program_ids(program, model_path, text), "length": len(program_ids(program, model_path, prompt))}
    return {name: ({**told, "texts": [""]}, program_logits(program, model_path, told["ids"], options))
            for name, told in texts.items()}


def program_ids(program, model_path, text):
    done = subprocess.run([program, "tokenize", "-m", model_path, "--special", text], check=True, stdout=subprocess.PIPE)
    return [int(word) for word in done.stdout.split()]


def program_logits(program, model_path, ids, options):
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "logits.npy")
        subprocess.run([program, "logits", "-m", model_path, "--ids", ",".join(map(str, ids)), "-o", out, *options],
                       check=True, stderr=subprocess.DEVNULL)
        return np.load(out)


def program_text(program, model_path, prompt, options):
    command = [program, "run", "-m", model_path, "--raw", "--special", "-p", prompt, "-n", str(GREEDY), "--temp", "0"]
    return subprocess.run(command + options, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout


def log_softmax(x):
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def compare(ours, exact, length):
    """Returns the measures of one prompt. Those whose mean is reported later have one value for each position."""
    assert ours.shape == exact.shape, (ours.shape, exact.shape)
    ours, exact = ours.astype(np.float64), np.asarray(exact, np.float64)
    expected, found = log_softmax(exact), log_softmax(ours)
    two_best = np.partition(exact, -2, axis=-1)[:, -2:]
    same = ours.argmax(-1) == exact.argmax(-1)
    clear = two_best[:, 1] - two_best[:, 0] > MARGIN
    return {
        "nmse": ((ours - exact) ** 2).sum() / (exact**2).sum(),
        "kl": (np.exp(expected) * (expected - found)).sum(-1),
        "top1": same,
        "greedy": int((~same & clear)[length - 1:-1].sum()),
        "clear": clear[length - 1:-1],
    }


def common_bytes(text, expected):
    expected = expected.rstrip("\ufffd").encode()  # the replacement character stands for a character that was cut in two
    return len(os.path.commonprefix([text, expected])), len(expected)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("program")
    p.add_argument("models", nargs="+")
    p.add_argument("--cache", default="~/.cache/stilla-reference")
    p.add_argument("--own", action="store_true", help="compare with the program's own activations of 16 bits")
    arguments, options = sys.argv[1:], []
    if "--" in arguments:
        at = arguments.index("--")
        arguments, options = arguments[:at], arguments[at + 1:]
    p.add_argument("--texts", metavar="MODEL", help="with --own: the texts of this model's reference")
    a = p.parse_args(arguments)
    failed = False
    for model in a.models:
        print(f"\n{' '.join([os.path.basename(model), *options])}\n"
              f"{'prompt':12} {'tokens':>6} {'nmse':>9} {'mean KL':>9} {'top-1':>7} {'greedy':>10} {'text':>12}")
        results = []
        if a.own:
            texts = {name: told for name, (told, _) in reference(a.texts, a.cache).items()} if a.texts else {}
            told_of = own_reference(a.program, model, texts, options)
        else:
            told_of = reference(model, a.cache)
        for name, (told, logits) in told_of.items():
            r = compare(program_logits(a.program, model, told["ids"], options), logits, told["length"])
            first_close = int(np.append(np.flatnonzero(~r["clear"]), GREEDY)[0])
            expected = told["texts"][min(first_close, len(told["texts"]) - 1)]
            r["same"], r["bytes"] = 0, 0
            if not a.own:
                r["same"], r["bytes"] = common_bytes(program_text(a.program, model, PROMPTS[name], options), expected)
            results.append(r)
            print(f"{name:12} {len(r['kl']):6} {r['nmse']:9.2e} {r['kl'].mean():9.2e} {r['top1'].mean():7.1%} "
                  f"{r['greedy']:4} of {r['clear'].sum():2} {r['same']:5} of {r['bytes']:3}", flush=True)
        worst = max(r["nmse"] for r in results)
        kl = np.concatenate([r["kl"] for r in results])
        top1 = np.concatenate([r["top1"] for r in results]).mean()
        greedy = sum(r["greedy"] for r in results)
        same, expected = sum(r["same"] for r in results), sum(r["bytes"] for r in results)
        print(f"{'all':12} {len(kl):6} {worst:9.2e} {kl.mean():9.2e} {top1:7.1%} "
              f"{greedy:4} of {sum(r['clear'].sum() for r in results)} {same:4} of {expected}\n"
              f"nmse is the worst prompt's; KL +- {kl.std() / len(kl)**0.5:.1e}, worst position {kl.max():.2e}")
        missed = [name for name, is_missed in (("nmse", worst > GATES["nmse"]), ("mean KL", kl.mean() > GATES["kl"]),
                                               ("worst position", kl.max() > GATES["worst"]), ("top-1", top1 < GATES["top1"]),
                                               ("greedy", greedy > 0), ("text", same < expected)) if is_missed]
        if missed:
            print(f"{os.path.basename(model)}: gate missed: {', '.join(missed)}", file=sys.stderr)
            failed = True
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
