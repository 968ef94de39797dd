# SPDX-License-Identifier: Apache-2.0
"""The tokenizer: byte-level BPE with R1-Distill-Qwen's pre-tokenizer, special tokens and chat template.

Every digit is a token of its own, because the pre-tokenizer keeps merges away from digits. The ids of the special tokens
differ from the real model's, whose vocabulary has 151643 ordinary tokens before them.
"""
import json
import random
import sys
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

VOCABULARY = 640
CORPUS = 20000  # problems from which merges are learned

# The special tokens, in the order of the real vocabulary. The tokens in PRINTED are printed as text, such as the tags of the
# thought. The others are control tokens, which have no text.
BOS, EOS, USER, ASSISTANT = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"
SPECIAL = [
    EOS, USER, ASSISTANT, BOS, "<|EOT|>", "<think>", "</think>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>",
    "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>", "<tool_call>", "</tool_call>", "<|fim_prefix|>",
    "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>",
]
PRINTED = {"<think>", "</think>", "<tool_call>", "</tool_call>"}
WORDS = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
CHAT_TEMPLATE = (Path(__file__).parent / "chat_template.jinja").read_text(encoding="utf-8")


class StillaTokenizer:
    def __init__(self, bpe):
        self.bpe = bpe
        self.ids = bpe.get_vocab()
        self.bos, self.eos, self.user, self.assistant = (self.ids[t] for t in (BOS, EOS, USER, ASSISTANT))
        self.think, self.end_think = self.ids["<think>"], self.ids["</think>"]

    def encode(self, texts):
        return [e.ids for e in self.bpe.encode_batch_fast(texts, add_special_tokens=False)]

    def prompts(self, questions):
        """Returns the token ids of each question as the chat template writes the first turn of a chat."""
        return [[self.bos, self.user, *ids, self.assistant] for ids in self.encode(questions)]

    def responses(self, problems):
        parts = [p.response() for p in problems]
        thoughts, answers = self.encode(["\n" + t for t, _ in parts]), self.encode([a for _, a in parts])
        return [[self.think, *t, self.end_think, *a, self.eos] for t, a in zip(thoughts, answers)]

    def decode(self, ids):
        return self.bpe.decode(ids, skip_special_tokens=False)

    def tokens(self):
        return sorted(self.ids, key=self.ids.get)

    def merges(self):
        return [" ".join(pair) for pair in json.loads(self.bpe.to_str())["model"]["merges"]]


def train(problems):
    """Learns the merges from `problems`. The same problems give the same tokenizer."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(WORDS), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY - len(SPECIAL), initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
                                  show_progress=False)
    bpe.train_from_iterator((text for p in problems for text in (p.question, "\n" + p.thought, p.response()[1])), trainer)
    bpe.add_special_tokens(SPECIAL)
    assert bpe.get_vocab_size() == VOCABULARY
    return StillaTokenizer(bpe)


def make(seed=0):
    import data

    return train(data.training_problems(random.Random(seed), CORPUS))


if __name__ == "__main__":
    tokenizer = make()
    print(*map(repr, tokenizer.tokens()[256:]), sep="\n")
    for text in sys.argv[1:]:
        print([tokenizer.decode([i]) for i in tokenizer.encode([text])[0]])
