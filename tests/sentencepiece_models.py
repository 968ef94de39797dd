# SPDX-License-Identifier: Apache-2.0
"""Makes small SentencePiece models of the BPE kind as GGUF files. The sentencepiece library trains them on the strings that
tokenizer_strings.py makes."""

import io

import sentencepiece
from gguf import GGUFWriter

from tokenizer_strings import CODE, PUNCTUATION, WORDS, strings

CONTROL = ["<|im_start|>", "<|im_end|>", "[INST]", "[/INST]"]
USER_DEFINED = ["<think>", "</think>", "<tool_call>", "▁▁▁▁", "\n\n"]
# The first model has Llama's own settings. The second has tokens that reach across words, and no space in front of a text. The
# third has no tokens for bytes, but an unknown token.
MODELS = {
    "llama": dict(user_defined_symbols=USER_DEFINED[:3]),
    "phrases": dict(split_by_whitespace=False, add_dummy_prefix=False, user_defined_symbols=USER_DEFINED),
    "no-bytes": dict(byte_fallback=False, character_coverage=0.99),
}


def train(name, vocabulary=1500, seed=7):
    """Trains a model. Returns its SentencePieceProcessor and its user-defined symbols."""
    out = io.BytesIO()
    settings = dict(
        model_type="bpe", vocab_size=vocabulary, byte_fallback=True, normalization_rule_name="identity",
        remove_extra_whitespaces=False, split_digits=True, allow_whitespace_only_pieces=True, character_coverage=0.998,
        control_symbols=CONTROL, num_threads=1, minloglevel=2)
    settings.update(MODELS[name])
    # Without this filter, the trainer would make tokens of rare characters until there is no room for others.
    common = {c for text in WORDS + CODE + PUNCTUATION for c in text} | {chr(c) for c in range(32, 127)}
    texts = [text for text in ("".join(c for c in text if c in common) for text in strings(6000, seed)) if text]
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(texts), model_writer=out, **settings)
    return sentencepiece.SentencePieceProcessor(model_proto=out.getvalue()), settings.get("user_defined_symbols", [])


def writer_of(name, processor, user_defined):
    """Returns a GGUFWriter that holds the vocabulary of the processor."""
    def kind(i):
        if processor.is_unknown(i):
            return 2
        if processor.is_control(i):
            return 3
        if processor.is_byte(i):
            return 6
        return 4 if processor.id_to_piece(i) in user_defined else 1

    ids = range(processor.get_piece_size())
    writer = GGUFWriter(None, "llama")
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([processor.id_to_piece(i) for i in ids])
    writer.add_token_scores([processor.get_score(i) for i in ids])
    writer.add_token_types([kind(i) for i in ids])
    writer.add_bos_token_id(processor.bos_id())
    writer.add_eos_token_id(processor.eos_id())
    writer.add_unk_token_id(processor.unk_id())
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(MODELS[name].get("add_dummy_prefix", True))
    return writer


def write_file(path, writer):
    writer.write_header_to_file(path=path)
    writer.write_kv_data_to_file()
    writer.close()
