// SPDX-License-Identifier: Apache-2.0
//
// The tokenizer of a model source, whatever kind of file its vocabulary comes from.
#pragma once

#include <string>
#include <utility>

#include <stilla/base/error.hpp>
#include <stilla/io/model_source.hpp>
#include <stilla/text/pretokenizer.hpp>
#include <stilla/text/tokenizer.hpp>

namespace stilla { inline namespace STILLA_ABI {

// Tokenizer::notes() tells what was ignored, corrected or guessed.
inline Result<Tokenizer> read_tokenizer(const ModelSource& source) {
  Result<Vocabulary> vocabulary = source.vocabulary();
  if (!vocabulary) return std::move(vocabulary).error();
  const Result<std::string_view> chat_template = source.chat_template();
  if (!chat_template) return chat_template.error();
  vocabulary->chat_template = *chat_template;
  if (vocabulary->kind == VocabularyKind::byte_level) {
    if (const auto known = pretokenizer_by_name(vocabulary->pretokenizer); !known) {
      return source.key_error("tokenizer.ggml.pre", known.error().message);
    }
  }
  Result<Tokenizer> tokenizer = Tokenizer::create(*vocabulary);
  if (tokenizer) return tokenizer;
  return Error{tokenizer.error().kind, concat(source.vocabulary_place(), ": ", tokenizer.error().message)};
}

}}  // namespace stilla
