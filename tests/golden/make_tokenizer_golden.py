#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/golden/tokenizer/*.gguf: small vocabularies with token ids made by Hugging Face tokenizers, and chats
rendered by transformers.

    pip install transformers==5.23.0 tokenizers==0.23.3 gguf==0.19.0 jinja2
    python tests/golden/make_tokenizer_golden.py --models FOLDER --r1-vocabulary R1.gguf

The vocabularies are trained here on strings of tests/tokenizer_strings.py, one for each pre-tokenizer that Stilla knows.
Besides the usual tokenizer.* keys, a file holds
    golden.strings       [string]
    golden.ids           [uint16]   of all strings, one after the other; special tokens are found in the text
    golden.counts        [uint16]   ids of each string
    golden.word_bytes    [uint16]   bytes of the words into which the pre-tokenizer cuts the strings, one after the other
    golden.text_strings, golden.text_ids, golden.text_counts    the same for strings whose control tokens are read as text

chat.gguf is written if both options are given. It holds conversations, and what the models' own chat templates make of them.
The templates are taken from the files that the command line names: FOLDER has qwen2.5-coder-0.5b-instruct-q4_k_m.gguf and
smollm2-135m-instruct-q4_1.gguf, and R1.gguf is any file of DeepSeek-R1-Distill-Qwen. The templates themselves are not kept.
Those of Llama 3 are written out below; they have the same effect as the original.
    golden.template, golden.messages    [string], [uint16]    of each case: its template, its number of messages
    golden.roles, golden.texts          [string]              of all messages
    golden.prompt, golden.history       [string]              with the generation prompt and without
"""

import argparse
import json
import pathlib
import random
import sys

from gguf import GGUFReader, GGUFValueType, GGUFWriter
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from tokenizer_strings import strings  # noqa: E402

QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN35 = QWEN2.replace(r"?\p{L}+|", r"?[\p{L}\p{M}]+|").replace(r"[^\s\p{L}\p{N}]", r"[^\s\p{L}\p{M}\p{N}]")
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA = QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")


def by_pattern(pattern):
    return pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def by_digits():
    return pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])


CHATML = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
R1 = ["<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<｜begin▁of▁sentence｜>", "<|EOT|>"]
LLAMA3_CONTROL = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
# name: pre-tokenizer, control tokens, bos, eos, whether BOS is added, whether whole words are looked up first
VOCABULARIES = {
    "qwen2": (by_pattern(QWEN2), [*CHATML, "<|im_end|>\n", "<|im_end|"], "<|endoftext|>", "<|im_end|>", False, False),
    "deepseek-r1-qwen": (by_pattern(QWEN2), R1, "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", True, False),
    "llama-bpe": (by_pattern(LLAMA), LLAMA3_CONTROL, "<|begin_of_text|>", "<|eot_id|>", True, True),
    "gpt-2": (by_pattern(GPT2), CHATML, "<|endoftext|>", "<|im_end|>", False, False),
    "qwen35": (by_pattern(QWEN35), CHATML, "<|endoftext|>", "<|im_end|>", False, False),
    "smollm": (by_digits(), [*CHATML, "<repo_name>"], "<|im_start|>", "<|im_end|>", False, False),
}
NFC = ["qwen2", "qwen35"]  # their tokenizers bring text into Unicode's form C
USER_DEFINED = ["<think>", "</think>", "<tool_call>", "</tool_call>"]
UNREACHABLE = ["qzqzqz", "Ġzqzqz"]  # no merge makes these tokens: only llama-bpe finds them, as whole words


SEEDS = {"qwen2": 100, "deepseek-r1-qwen": 101, "llama-bpe": 102, "smollm": 103, "gpt-2": 104, "qwen35": 105}


def write_ids(writer, name, ids):
    for key, numbers in (("ids", [i for row in ids for i in row]), ("counts", [len(row) for row in ids])):
        writer.add_key_value(f"golden.{name}{key}", numbers, GGUFValueType.ARRAY, GGUFValueType.UINT16)


def write_file(path, writer):
    writer.write_header_to_file(path=path)
    writer.write_kv_data_to_file()
    writer.close()
    print(path.name, path.stat().st_size, "bytes")


def write_vocabulary(name, folder):
    seed = SEEDS[name]
    pre_tokenizer, control, bos, eos, add_bos, whole_words = VOCABULARIES[name]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=1200, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(strings(6000, seed), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    merges = [tuple(merge) for merge in model["merges"]]
    if name == "smollm":  # the real vocabulary lacks bytes as well
        tokens.remove("Ć")  # 0x06
        merges = [m for m in merges if "Ć" not in "".join(m)]
        tokens = [t for t in tokens if "Ć" not in t]
    tokens += UNREACHABLE
    types = [1] * len(tokens)
    tokens += control + USER_DEFINED + ["[PAD0]", "[PAD1]"]
    types += [3] * len(control) + [4] * len(USER_DEFINED) + [5, 5]
    vocabulary = {t: i for i, t in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=whole_words))
    tokenizer.pre_tokenizer = pre_tokenizer
    if name in NFC:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in control])
    tokenizer.add_tokens([AddedToken(t, normalized=False, special=False) for t in USER_DEFINED])
    assert len(set(tokens)) == len(tokens)

    rng = random.Random(seed)
    texts = strings(3000, seed + 1)
    texts = rng.sample(texts[:1200], 250) + rng.sample(texts[1200:], 250)
    texts = ["", *texts, *control, "".join(control), "<|im_end|>\n<|<|im_end|", "qzqzqz zqzqz zqzqzqz qzqzqzq", "A" * 999]
    if name in NFC:
        texts += ["e\u0301", "\u00e9", "<think>e\u0301<|im_end|>\u0301", "\u1100\u1161\u11a8 \u212b", "e\u0323\u0301 \u0301e"]
    parsed = [tokenizer.encode(t, add_special_tokens=False).ids for t in texts]
    tokenizer.encode_special_tokens = True
    as_text = [tokenizer.encode(t, add_special_tokens=False).ids for t in texts]
    others = [i for i in range(len(texts)) if parsed[i] != as_text[i]]

    writer = GGUFWriter(None, "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(name)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([" ".join(m) for m in merges])
    writer.add_bos_token_id(tokens.index(bos))
    writer.add_eos_token_id(tokens.index(eos))
    writer.add_add_bos_token(add_bos)
    writer.add_array("golden.strings", texts)
    write_ids(writer, "", parsed)
    words = [len(word) for t in texts for word, _ in pre_tokenizer.pre_tokenize_str(t)]  # a word has one letter for each of its bytes
    assert sum(words) == sum(len(t.encode()) for t in texts)
    writer.add_key_value("golden.word_bytes", words, GGUFValueType.ARRAY, GGUFValueType.UINT16)
    writer.add_array("golden.text_strings", [texts[i] for i in others])
    write_ids(writer, "text_", [as_text[i] for i in others])
    write_file(folder / f"{name}.gguf", writer)


LLAMA3 = r"""{%- for m in messages -%}
{%- if loop.first %}{{ bos_token }}{% endif -%}
{{- '<|start_header_id|>' ~ m['role'] ~ '<|end_header_id|>\n\n' ~ (m['content'] | trim) ~ '<|eot_id|>' -}}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif -%}"""

LLAMA31 = r"""{%- set first = messages[0]['content'] | trim if messages[0]['role'] == 'system' else '' -%}
{{- bos_token ~ '<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\nToday Date: ' -}}
{{- '26 Jul 2024\n\n' ~ first ~ '<|eot_id|>' -}}
{%- for m in (messages[1:] if messages[0]['role'] == 'system' else messages) -%}
{{- '<|start_header_id|>' ~ m['role'] ~ '<|end_header_id|>\n\n' ~ (m['content'] | trim) ~ '<|eot_id|>' -}}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif -%}"""

CHATS = [
    [("user", "Hello")],
    [("system", "You are terse."), ("user", "2+2?")],
    [("user", "Hi"), ("assistant", "Hello! How can I help?"), ("user", "Say it in French, s'il te plaît.")],
    [("user", "\n  spaces around \u3000\x1f\t\n"), ("assistant", "\n\nanswer\n"), ("user", " 再说一遍 \u00a0")],
    [("user", "why"), ("assistant", "<think>\nhm\n</think>\n\nbecause"), ("user", "sure?"),
     ("assistant", "a</think>b</think>\nyes")],
    [("system", "one"), ("user", "x"), ("system", " two "), ("user", "y")],
    [("user", ""), ("assistant", ""), ("user", "  ")],
    [("user", "first line\r\nsecond line\n\n"), ("assistant", "int main() {\n\treturn 0;\n}"),
     ("user", "it's 12345 ok")],
]


def file_template(path):
    return GGUFReader(str(path)).fields["tokenizer.chat_template"].contents()


def write_chats(options, folder):
    r1 = file_template(options.r1_vocabulary).replace("<｜Assistant｜><think>\\n", "<｜Assistant｜>")
    opening = r1.replace("{{'<｜Assistant｜>'}}", "{{'<｜Assistant｜><think>\\n'}}")
    assert opening != r1
    r1_bos = "<｜begin▁of▁sentence｜>"
    llama_bos = "<|begin_of_text|>"
    templates = {
        "qwen2.5": (file_template(options.models / "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"), "<|endoftext|>"),
        "smollm2": (file_template(options.models / "smollm2-135m-instruct-q4_1.gguf"), "<|im_start|>"),
        "deepseek-r1": (r1, r1_bos),
        "deepseek-r1-think": (opening, r1_bos),
        "llama-3": (LLAMA3, llama_bos),
        "llama-3.1": (LLAMA31, llama_bos),
    }
    cases, roles, texts, prompts, histories, counts = [], [], [], [], [], []
    for name, (jinja, bos) in templates.items():
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), bos_token=bos)
        for chat in CHATS:
            messages = [{"role": role, "content": text} for role, text in chat]
            render = [
                tokenizer.apply_chat_template(messages, chat_template=jinja, tokenize=False, add_generation_prompt=prompt)
                for prompt in (True, False)
            ]
            cases.append(name)
            counts.append(len(chat))
            roles += [role for role, _ in chat]
            texts += [text for _, text in chat]
            prompts.append(render[0])
            histories.append(render[1])
    writer = GGUFWriter(None, "llama")
    writer.add_array("golden.template", cases)
    writer.add_key_value("golden.messages", counts, GGUFValueType.ARRAY, GGUFValueType.UINT16)
    writer.add_array("golden.roles", roles)
    writer.add_array("golden.texts", texts)
    writer.add_array("golden.prompt", prompts)
    writer.add_array("golden.history", histories)
    write_file(folder / "chat.gguf", writer)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", type=pathlib.Path)
    parser.add_argument("--r1-vocabulary", type=pathlib.Path)
    options = parser.parse_args()
    folder = HERE / "tokenizer"
    folder.mkdir(exist_ok=True)
    for name in VOCABULARIES:
        write_vocabulary(name, folder)
    if options.models and options.r1_vocabulary:
        write_chats(options, folder)


if __name__ == "__main__":
    main()
