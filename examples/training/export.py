# SPDX-License-Identifier: Apache-2.0
"""Writes the model as two GGUF files: one in F16, and one with the same weights in Q4_0."""
import os

from gguf import GGMLQuantizationType as T
from gguf import GGUFWriter, LlamaFileType, TokenType
from gguf.quants import quantize

import tokenizer as tokenizers

NAME = "stilla-drop"
# The questions that the model knows. If a user asks another question, the program names them (examples/stilla/scope.hpp).
SCOPE = ("arithmetic with whole numbers: sums and differences up to 4 digits, small products, division by one digit and remainders, "
         "which number is larger, sorting up to 4, and stories of two such steps")


def write(model, tokenizer, folder):
    for name, matrices, file_type in ((f"{NAME}-f16.gguf", T.F16, LlamaFileType.MOSTLY_F16), (f"{NAME}-q4_0.gguf", T.Q4_0, LlamaFileType.MOSTLY_Q4_0)):
        path = folder / name
        write_file(model, tokenizer, path.with_suffix(".new"), matrices, file_type)
        os.replace(path.with_suffix(".new"), path)


def write_file(model, tokenizer, path, matrices, file_type):
    c = model.c
    w = GGUFWriter(path, "qwen2")
    w.add_name("Stilla Drop")
    w.add_description("Solves arithmetic by thinking, digit by digit; made to show and to test the inference of reasoning models")
    w.add_license("apache-2.0")
    w.add_string("stilla.scope", SCOPE)
    w.add_file_type(file_type)
    w.add_quantization_version(2)
    w.add_block_count(c.layers)
    w.add_context_length(c.context)
    w.add_embedding_length(c.hidden)
    w.add_feed_forward_length(c.ffn)
    w.add_head_count(c.heads)
    w.add_head_count_kv(c.kv_heads)
    w.add_key_length(c.head_dim)
    w.add_value_length(c.head_dim)
    w.add_rope_freq_base(c.rope_base)
    w.add_layer_norm_rms_eps(c.epsilon)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("deepseek-r1-qwen")
    tokens = tokenizer.tokens()
    special = set(tokenizers.SPECIAL)
    w.add_token_list(tokens)
    w.add_token_types([TokenType.NORMAL if t not in special else TokenType.USER_DEFINED if t in tokenizers.PRINTED else TokenType.CONTROL
                       for t in tokens])
    w.add_token_merges(tokenizer.merges())
    w.add_bos_token_id(tokenizer.bos)
    w.add_eos_token_id(tokenizer.eos)
    w.add_pad_token_id(tokenizer.ids["<|vision_pad|>"])
    w.add_add_bos_token(True)
    w.add_add_eos_token(False)
    w.add_chat_template(tokenizers.CHAT_TEMPLATE)
    for name, p in model.named_parameters():
        values = p.detach().float().numpy()
        if values.ndim == 1:
            w.add_tensor(name, values)
        else:
            w.add_tensor(name, quantize(values, matrices), raw_dtype=matrices)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
