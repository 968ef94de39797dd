// SPDX-License-Identifier: Apache-2.0
//
// The vocabulary and the chat template text of a GGUF file.
//
//   tokenizer.ggml.model           must be "gpt2": byte-level BPE
//   tokenizer.ggml.pre             name of the pre-tokenizer (pretokenizer.hpp)
//   tokenizer.ggml.tokens          [string], spelled in the byte alphabet; control and user-defined ones in plain text
//   tokenizer.ggml.token_type      [int32], optional
//   tokenizer.ggml.merges          [string], "left right"
//   tokenizer.ggml.{bos,eos,eot,padding,unknown}_token_id, tokenizer.ggml.add_bos_token     optional
//   tokenizer.chat_template        a Jinja program (chat_template.hpp recognises it), optional
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <stilla/base/error.hpp>
#include <stilla/io/gguf.hpp>
#include <stilla/text/tokenizer.hpp>
#include <stilla/text/vocabulary.hpp>

namespace stilla { inline namespace STILLA_ABI {

namespace detail {

inline Status read_strings(const GgufFile& file, std::string_view key, std::vector<std::string>& out) {
  const Result<GgufStrings> strings = file.get_strings(key);
  if (!strings) return strings.error();
  out.reserve(strings->size());  // at most four times the bytes that they take in the file
  for (const std::string_view text : *strings) out.emplace_back(text);
  return success();
}

inline Status read_token_types(const GgufFile& file, std::size_t tokens, std::vector<TokenType>& out) {
  constexpr std::string_view name = "tokenizer.ggml.token_type";
  const GgufKey* key = file.find(name);
  if (key == nullptr) return success();
  const Result<std::vector<std::int32_t>> types = file.get_array<std::int32_t>(name);
  if (!types) return types.error();
  if (types->size() != tokens) return file.key_error(*key, "found ", types->size(), " types; expected ", tokens);
  out.reserve(tokens);
  for (std::size_t i = 0; i < tokens; ++i) {
    const std::int32_t type = (*types)[i];
    if (type < 1 || type > 6) return file.key_error(*key, "found type ", type, " for token ", i, "; expected 1 to 6");
    out.push_back(static_cast<TokenType>(type));
  }
  return success();
}

inline Status read_token_id(const GgufFile& file, std::string_view key, std::size_t tokens,
                            std::optional<std::uint32_t>& out) {
  if (!file.has(key)) return success();
  const Result<std::uint64_t> id = file.get_uint(key, tokens - 1);
  if (!id) return id.error();
  out = static_cast<std::uint32_t>(*id);
  return success();
}

}  // namespace detail

inline Result<Vocabulary> gguf_vocabulary(const GgufFile& file) {
  const Result<std::string_view> model = file.get_string("tokenizer.ggml.model");
  if (!model) return model.error();
  if (*model != "gpt2") {
    return file.key_error(*file.find("tokenizer.ggml.model"), "found '", printable(*model),
                          "'; expected 'gpt2' (byte-level BPE), the only kind that is supported");
  }
  const Result<std::string_view> pretokenizer = file.get_string("tokenizer.ggml.pre");
  if (!pretokenizer) return pretokenizer.error();
  if (const auto known = pretokenizer_by_name(*pretokenizer); !known) {
    return file.key_error(*file.find("tokenizer.ggml.pre"), known.error().message);
  }
  Vocabulary vocabulary;
  vocabulary.pretokenizer = *pretokenizer;
  if (Status s = detail::read_strings(file, "tokenizer.ggml.tokens", vocabulary.tokens); !s) return s.error();
  const std::size_t tokens = vocabulary.tokens.size();
  if (tokens == 0) return file.key_error(*file.find("tokenizer.ggml.tokens"), "found no tokens");
  if (Status s = detail::read_strings(file, "tokenizer.ggml.merges", vocabulary.merges); !s) return s.error();
  if (Status s = detail::read_token_types(file, tokens, vocabulary.types); !s) return s.error();
  const std::pair<std::string_view, std::optional<std::uint32_t>&> ids[] = {
      {"tokenizer.ggml.bos_token_id", vocabulary.bos},         {"tokenizer.ggml.eos_token_id", vocabulary.eos},
      {"tokenizer.ggml.eot_token_id", vocabulary.eot},         {"tokenizer.ggml.padding_token_id", vocabulary.padding},
      {"tokenizer.ggml.unknown_token_id", vocabulary.unknown},
  };
  for (const auto& [key, id] : ids) {
    if (Status s = detail::read_token_id(file, key, tokens, id); !s) return s.error();
  }
  const Result<bool> add_bos = file.get_bool_or("tokenizer.ggml.add_bos_token", false);
  if (!add_bos) return add_bos.error();
  vocabulary.add_bos = *add_bos;
  return vocabulary;
}

// The file's tokenizer.
inline Result<Tokenizer> gguf_tokenizer(const GgufFile& file) {
  Result<Vocabulary> vocabulary = gguf_vocabulary(file);
  if (!vocabulary) return std::move(vocabulary).error();
  Result<Tokenizer> tokenizer = Tokenizer::create(*vocabulary);
  if (tokenizer) return tokenizer;
  // What is left to find are tokens and merges that contradict each other; they are told by their numbers.
  return Error{tokenizer.error().kind,
               concat(printable_path(file.path()), ": keys 'tokenizer.ggml.*', tokens at byte ",
                      file.find("tokenizer.ggml.tokens")->record_offset, " and merges at byte ",
                      file.find("tokenizer.ggml.merges")->record_offset, ": ", tokenizer.error().message)};
}

// The Jinja text of the chat template; empty if the file has none.
inline Result<std::string_view> gguf_chat_template(const GgufFile& file) {
  return file.get_string_or("tokenizer.chat_template", "");
}

}}  // namespace stilla
