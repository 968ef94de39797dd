#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tiny random models as transformers saves them, and what transformers computes and tokenizes with them.

    pip install torch==2.15.0 transformers==5.23.0 numpy==2.4.6 tokenizers==0.23.3
    python make_hugging_face_folders.py tests/golden/hugging_face          the small ones, which are committed
    python make_hugging_face_folders.py FOLDER --all                       those and more

Each folder is what save_pretrained() of the model and the tokenizer wrote, and is not changed afterwards. Beside it, NAME.bin
has records as in make_tiny_models.py: NAME/ids, NAME/logits (all positions, float32, eager attention on the saved weights), and
NAME/text-ids (ids of TEXT, with special tokens as text and no template).
"""
import argparse
import json
import os
import shutil

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import numpy as np
import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, LlamaConfig, PreTrainedTokenizerFast, Qwen2Config, Qwen3Config

from make_tiny_models import CHATML, TEXT as CORPUS, record

TEXT = "The answer of 12345 is in the glass; don't say:\n\n  return values[i]  # \u00e9t\u00e9 \u4e2d\u6587 \U0001f4a7 <think>five"
WORD = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
ARCHITECTURES = {"qwen2": Qwen2Config, "qwen3": Qwen3Config, "llama": LlamaConfig}
LLAMA3 = dict(rope_type="llama3", rope_theta=10000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=32)
YARN = dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=32)
FOLDERS = {
    "qwen2": dict(seed=1, committed=True, dtype=torch.bfloat16, shard="16KB", pre="qwen2", config=dict(tie_word_embeddings=True)),
    "llama": dict(seed=2, committed=True, dtype=torch.float16, pre="llama3", config=dict(tie_word_embeddings=False, rope_parameters=LLAMA3)),
    "qwen3": dict(seed=3, committed=True, dtype=torch.bfloat16, pre="qwen2", config=dict(tie_word_embeddings=True, head_dim=16)),
    "qwen2-f32-yarn": dict(seed=4, dtype=torch.float32, pre="qwen2", config=dict(tie_word_embeddings=False, rope_parameters=YARN)),
    "llama-smollm-biases": dict(seed=5, dtype=torch.bfloat16, shard="60KB", pre="smollm",
                                config=dict(tie_word_embeddings=True, attention_bias=True, mlp_bias=True, hidden_size=96, intermediate_size=160,
                                            num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=3)),
    "llama-linear": dict(seed=6, dtype=torch.float16, pre="llama3",
                         config=dict(tie_word_embeddings=False, head_dim=48, rope_parameters=dict(rope_type="linear", rope_theta=5000.0, factor=2.0))),
}
PROMPT = 48


def tokenizer_of(pre):
    bpe = Tokenizer(models.BPE(ignore_merges=pre == "llama3"))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pre == "smollm")
    if pre == "smollm":
        first = pre_tokenizers.Digits(individual_digits=True)
    else:
        first = pre_tokenizers.Split(Regex(WORD % (r"\p{N}{1,3}" if pre == "llama3" else r"\p{N}")), "isolated")
    bpe.pre_tokenizer = pre_tokenizers.Sequence([first, byte_level])
    bpe.decoder = decoders.ByteLevel()
    if pre == "qwen2":
        bpe.normalizer = normalizers.NFC()
    bpe.train_from_iterator([CORPUS], trainers.BpeTrainer(vocab_size=320, show_progress=False,
                                                          initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"] if pre != "llama3" else ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|eom_id|>"]
    bpe.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in specials])
    bpe.add_tokens([AddedToken("<think>", normalized=False), AddedToken("</think>", normalized=False)])
    if pre == "llama3":
        bos = specials[0]
        template = processors.TemplateProcessing(single=f"{bos}:0 $A:0", pair=f"{bos}:0 $A:0 {bos}:1 $B:1",
                                                 special_tokens=[(bos, bpe.token_to_id(bos))])
        bpe.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    elif pre == "qwen2":
        bpe.post_processor = processors.ByteLevel(trim_offsets=False)
    named = dict(bos_token=specials[0], eos_token=specials[1]) if pre == "llama3" else dict(eos_token=specials[2], pad_token=specials[0])
    fast = PreTrainedTokenizerFast(tokenizer_object=bpe, clean_up_tokenization_spaces=False, **named)
    fast.chat_template = CHATML
    return fast, [fast.convert_tokens_to_ids(s) for s in (specials[1:] if pre == "llama3" else [specials[2], specials[0]])]


def write(name, folder):
    spec = FOLDERS[name]
    torch.manual_seed(spec["seed"])
    tokenizer, ends = tokenizer_of(spec["pre"])
    rows = (len(tokenizer) + 15) // 16 * 16
    sizes = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, vocab_size=rows,
                 max_position_embeddings=256, bos_token_id=tokenizer.bos_token_id, eos_token_id=ends[0])
    sizes.update(spec["config"])
    architecture = name.split("-")[0]
    config = ARCHITECTURES[architecture](**sizes)
    config._attn_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for key, value in model.named_parameters():
            if key.endswith("norm.weight"):
                value.copy_(torch.exp(0.4 * torch.randn_like(value)))
            elif key.endswith(".bias"):
                value.copy_(0.3 * torch.randn_like(value))
            else:
                value.copy_(torch.randn_like(value) * (value.shape[1] ** -0.5 if "embed" not in key else 0.5))
    model = model.to(spec["dtype"])
    model.generation_config = GenerationConfig(eos_token_id=ends, bos_token_id=tokenizer.bos_token_id)
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder, **(dict(max_shard_size=spec["shard"]) if "shard" in spec else {}))
    tokenizer.save_pretrained(folder)

    saved = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    ids = np.random.default_rng(spec["seed"]).integers(0, len(tokenizer), PROMPT)
    with torch.no_grad():
        logits = saved(torch.tensor(ids[None])).logits[0].numpy()
    text_ids = AutoTokenizer.from_pretrained(folder)(TEXT, add_special_tokens=False).input_ids
    with open(folder + ".bin", "wb") as out:
        record(out, f"{name}/ids", ids)
        record(out, f"{name}/logits", logits)
        record(out, f"{name}/text-ids", text_ids)
    files = {f: os.path.getsize(os.path.join(folder, f)) for f in sorted(os.listdir(folder))}
    print(f"{name}: logits of std {logits.std():.2f}, {len(text_ids)} ids of the text, ends {ends}, {json.dumps(files)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--all", action="store_true", help="the larger ones too")
    options = parser.parse_args()
    torch.set_num_threads(1)  # the order of sums, and so their last bits, depends on the number of threads
    os.makedirs(options.folder, exist_ok=True)
    with open(os.path.join(options.folder, "text.txt"), "w", encoding="utf-8") as out:
        out.write(TEXT)
    for name, spec in FOLDERS.items():
        if options.all or spec.get("committed"):
            write(name, os.path.join(options.folder, name))


if __name__ == "__main__":
    main()
