// SPDX-License-Identifier: Apache-2.0
//
// The part of GgufFile that reads the vocabulary. gguf.hpp includes it and lists the keys tokenizer.ggml.* that it reads.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <stilla/io/gguf.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

inline Status GgufFile::read_strings(std::string_view key, std::vector<std::string>& out) const {
  const Result<GgufStrings> strings = get_strings(key);
  if (!strings) return strings.error();
  out.reserve(strings->size());  // at most four times the bytes that the strings take in the file
  for (const std::string_view text : *strings) out.emplace_back(text);
  return success();
}

inline Status GgufFile::read_token_types(std::size_t tokens, std::vector<TokenType>& out) const {
  constexpr std::string_view key = "tokenizer.ggml.token_type";
  if (!has(key)) return success();
  const Result<std::vector<std::int32_t>> types = get_array<std::int32_t>(key);
  if (!types) return types.error();
  if (types->size() != tokens) return key_error(key, "found ", types->size(), " types; expected ", tokens);
  out.reserve(tokens);
  for (std::size_t i = 0; i < tokens; ++i) {
    const std::int32_t type = (*types)[i];
    if (type < 1 || type > 6) return key_error(key, "found type ", type, " for token ", i, "; expected 1 to 6");
    out.push_back(static_cast<TokenType>(type));
  }
  return success();
}

inline void GgufFile::note_id_outside(std::string_view key, std::int64_t id, Vocabulary& out) {
  out.notes.push_back(
      concat("key '", key, "': found ", id, ", which is outside the vocabulary of ", out.tokens.size(), " tokens and is ignored"));
}

// Adds a note to out.notes that names those keys tokenizer.ggml.* of the file that are not known. Keys that only other architectures need
// are not named.
inline void GgufFile::note_unknown_keys(Vocabulary& out) const {
  constexpr std::string_view prefix = "tokenizer.ggml.";
  constexpr std::string_view known[] = {"model",
                                        "pre",
                                        "tokens",
                                        "token_type",
                                        "token_type_count",
                                        "scores",
                                        "merges",
                                        "add_bos_token",
                                        "add_eos_token",
                                        "add_sep_token",
                                        "eos_token_ids",
                                        "bos_token_id",
                                        "eos_token_id",
                                        "eot_token_id",
                                        "eom_token_id",
                                        "unknown_token_id",
                                        "padding_token_id",
                                        "seperator_token_id",
                                        "cls_token_id",
                                        "mask_token_id",
                                        "prefix_token_id",
                                        "suffix_token_id",
                                        "middle_token_id",
                                        "fim_pre_token_id",
                                        "fim_suf_token_id",
                                        "fim_mid_token_id",
                                        "fim_pad_token_id",
                                        "fim_rep_token_id",
                                        "fim_sep_token_id",
                                        "add_space_prefix",
                                        "remove_extra_whitespaces"};
  std::vector<std::string> unknown;
  for (const std::string_view key : keys_under(prefix)) {
    const bool is_known = std::find(std::begin(known), std::end(known), key.substr(prefix.size())) != std::end(known);
    if (!is_known) unknown.emplace_back(key);
  }
  if (auto note = unknown_keys_note(unknown)) out.notes.push_back(std::move(*note));
}

inline Status GgufFile::read_token_id(std::string_view key, std::optional<std::uint32_t>& id, Vocabulary& out) const {
  if (!has(key)) return success();
  const Result<std::int64_t> found = get_int(key);
  if (!found) return found.error();
  if (*found >= 0 && std::cmp_less(*found, out.tokens.size())) {
    id = static_cast<std::uint32_t>(*found);
  } else {
    note_id_outside(key, *found, out);
  }
  return success();
}

inline Status GgufFile::read_token_ids(Vocabulary& out) const {
  std::optional<std::uint32_t> eom;
  const std::pair<std::string_view, std::optional<std::uint32_t>&> ids[] = {
      {"tokenizer.ggml.bos_token_id", out.bos},         {"tokenizer.ggml.eos_token_id", out.eos},
      {"tokenizer.ggml.eot_token_id", out.eot},         {"tokenizer.ggml.eom_token_id", eom},
      {"tokenizer.ggml.padding_token_id", out.padding}, {"tokenizer.ggml.unknown_token_id", out.unknown},
  };
  for (const auto& [key, id] : ids) {
    if (Status s = read_token_id(key, id, out); !s) return s.error();
  }
  if (eom) out.ends.push_back(*eom);
  for (const std::string_view key : {std::string_view("tokenizer.ggml.eos_token_ids"), end_ids_key}) {
    if (!has(key)) continue;
    const Result<std::vector<std::int64_t>> ends = get_array<std::int64_t>(key);
    if (!ends) return ends.error();
    if (ends->size() > max_end_tokens) return key_error(key, "found ", ends->size(), " ids; expected at most ", max_end_tokens);
    for (const std::int64_t end : *ends) {
      if (end >= 0 && std::cmp_less(end, out.tokens.size())) {
        out.ends.push_back(static_cast<std::uint32_t>(end));
      } else {
        note_id_outside(key, end, out);
      }
    }
  }
  // Older files of Llama 3 do not have the key add_bos_token. llama.cpp, which they were made for, begins a text with BOS if the file names
  // the pre-tokenizer of Llama 3 or one of a few others: those in begin_with_bos.
  constexpr std::string_view begin_with_bos[] = {"llama3", "llama-v3", "llama-bpe", "falcon3", "pixtral", "midm-2.0", "lfm2"};
  const bool adds_bos = out.kind == VocabularyKind::sentencepiece ||
                        std::find(std::begin(begin_with_bos), std::end(begin_with_bos), out.pretokenizer) != std::end(begin_with_bos);
  const Result<bool> add_bos = get_bool_or("tokenizer.ggml.add_bos_token", adds_bos && out.bos);
  if (!add_bos) return add_bos.error();
  out.add_bos = *add_bos;
  const Result<bool> add_eos = get_bool_or("tokenizer.ggml.add_eos_token", false);
  if (!add_eos) return add_eos.error();
  out.add_eos = *add_eos;
  return success();
}

inline Status GgufFile::read_byte_level(Vocabulary& out) const {
  const Result<std::string_view> pretokenizer = get_string_or("tokenizer.ggml.pre", "");
  if (!pretokenizer) return pretokenizer.error();
  out.pretokenizer = *pretokenizer;
  if (has(nfc_key)) {
    const Result<bool> nfc = get_bool_or(nfc_key, false);
    if (!nfc) return nfc.error();
    out.nfc = *nfc;
  }
  return read_strings("tokenizer.ggml.merges", out.merges);
}

inline Status GgufFile::read_sentencepiece(Vocabulary& out) const {
  constexpr std::string_view key = "tokenizer.ggml.scores";
  if (!has(key)) return missing_key(key, "an array of floats; a SentencePiece vocabulary cannot be read without its scores");
  Result<std::vector<float>> scores = get_array<float>(key);
  if (!scores) return scores.error();
  if (scores->size() != out.tokens.size()) return key_error(key, "found ", scores->size(), " scores; expected ", out.tokens.size());
  out.scores = std::move(*scores);
  const Result<bool> add_space_prefix = get_bool_or("tokenizer.ggml.add_space_prefix", true);
  if (!add_space_prefix) return add_space_prefix.error();
  out.add_space_prefix = *add_space_prefix;
  constexpr std::string_view normalisation = "tokenizer.ggml.remove_extra_whitespaces";
  const Result<bool> removes_spaces = get_bool_or(normalisation, false);
  if (!removes_spaces) return removes_spaces.error();
  if (*removes_spaces) return key_error(normalisation, "found true; expected false: text that is normalised first is not supported");
  return success();
}

inline Result<Vocabulary> GgufFile::vocabulary() const {
  const Result<std::string_view> model = get_string("tokenizer.ggml.model");
  if (!model) return model.error();
  Vocabulary out;
  if (*model == "llama") {
    out.kind = VocabularyKind::sentencepiece;
  } else if (*model != "gpt2") {
    const std::string_view name = *model == "t5" ? " (SentencePiece of the unigram kind)" : *model == "bert" ? " (WordPiece)" : "";
    return key_error("tokenizer.ggml.model", "found '", printable(*model), "'", name,
                     "; expected 'gpt2' (byte-level BPE) or 'llama' (SentencePiece of the BPE kind), the kinds that are supported");
  }
  if (Status s = read_strings("tokenizer.ggml.tokens", out.tokens); !s) return s.error();
  const std::size_t tokens = out.tokens.size();
  if (tokens == 0) return key_error("tokenizer.ggml.tokens", "found no tokens");
  const Status parts = out.kind == VocabularyKind::sentencepiece ? read_sentencepiece(out) : read_byte_level(out);
  if (!parts) return parts.error();
  if (Status s = read_token_types(tokens, out.types); !s) return s.error();
  if (Status s = read_token_ids(out); !s) return s.error();
  note_unknown_keys(out);
  return out;
}

// Names the place of the vocabulary, for messages. The text has the byte offsets of two keys, that of the tokens and that of the merges
// or scores, because a fault is often that these two keys contradict each other.
inline std::string GgufFile::vocabulary_place() const {
  std::string out = concat(printable_path(path()), ": keys 'tokenizer.ggml.*'");
  const GgufKey* tokens = find("tokenizer.ggml.tokens");
  if (!tokens) return out;
  const GgufKey* merges = find("tokenizer.ggml.merges");
  const GgufKey* scores = find("tokenizer.ggml.scores");
  if (merges) return concat(out, ", tokens at byte ", tokens->record_offset, " and merges at byte ", merges->record_offset);
  return scores ? concat(out, ", tokens at byte ", tokens->record_offset, " and scores at byte ", scores->record_offset) : out;
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
