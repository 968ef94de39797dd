// SPDX-License-Identifier: Apache-2.0
//
// The tokenizer of a model source, for vocabularies from any kind of file.
//
// GGUF files from the first months of the format name no pre-tokenizer, or name "default". With the wrong pre-tokenizer a model reads
// other words than those it was trained on, and answers badly. For such a file the pre-tokenizer is therefore derived from the
// architecture and from the markup in the vocabulary. As a check, the pre-tokenizer must agree with the vocabulary on whether numbers
// of several digits are tokens. A model that is not recognised in this way is refused; TokenizerOptions::pretokenizer can then name
// the pre-tokenizer.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include <stilla/base/error.hpp>
#include <stilla/io/model_source.hpp>
#include <stilla/text/pretokenizer.hpp>
#include <stilla/text/tokenizer.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

struct TokenizerOptions {
  // A name of pretokenizer_names or pretokenizer_aliases that replaces the name of the source. Empty: the source's name is used.
  std::string pretokenizer;
};

namespace detail {

// The pre-tokenizer of a byte-level vocabulary that names none. Empty if the model is not recognised.
inline std::string_view recognised_pretokenizer(const Vocabulary& vocabulary, std::string_view architecture) {
  const auto has = [&](std::initializer_list<std::string_view> names) {
    return std::all_of(names.begin(), names.end(), [&](std::string_view name) {
      return std::find(vocabulary.tokens.begin(), vocabulary.tokens.end(), name) != vocabulary.tokens.end();
    });
  };
  const bool has_numbers = has({"100"});
  if (!has_numbers && !has({"10"})) {
    if (has({"<｜User｜>", "<｜Assistant｜>"})) return "deepseek-r1-qwen";
    if (architecture.starts_with("qwen35")) return "qwen35";
    if (architecture.starts_with("qwen2") || architecture.starts_with("qwen3")) return "qwen2";
    if (has({"<|im_start|>", "<repo_name>", "<gh_stars>"})) return "smollm";
  }
  if (has_numbers && has({"<|begin_of_text|>", "<|eot_id|>"})) return "llama-bpe";
  return {};
}

// Sets vocabulary.pretokenizer to the name in `options`, if there is one. Otherwise it keeps the name that the source gives. If the
// source gives no name, or "default", and the model is recognised, the function sets the name of the pre-tokenizer that this model
// needs, and adds a note to vocabulary.notes.
inline Status choose_pretokenizer(Vocabulary& vocabulary, const ModelSource& source, const TokenizerOptions& options) {
  constexpr std::string_view key = "tokenizer.ggml.pre";
  if (!options.pretokenizer.empty()) {
    vocabulary.pretokenizer = options.pretokenizer;
    const auto known = pretokenizer_by_name(vocabulary.pretokenizer);
    if (!known) return Error{ErrorKind::bad_argument, known.error().message};
    return success();
  }
  if (!vocabulary.unknown_pretokenizer.empty()) {
    return source.key_error(key, vocabulary.unknown_pretokenizer,
                            "; if it means the same as one of these, choose one by name: ", pretokenizers_text());
  }
  if (vocabulary.pretokenizer.empty() || vocabulary.pretokenizer == "default") {
    const Result<std::string_view> architecture = source.get_string_or("general.architecture", "");
    if (!architecture) return architecture.error();
    const std::string_view recognised = recognised_pretokenizer(vocabulary, *architecture);
    if (!recognised.empty()) {
      const std::string found = vocabulary.pretokenizer.empty() ? "is missing" : "is 'default'";
      vocabulary.notes.push_back(concat("key '", key, "' ", found, "; by its architecture and tokens the model has '", recognised, "'"));
      vocabulary.pretokenizer = recognised;
    }
  }
  if (const auto known = pretokenizer_by_name(vocabulary.pretokenizer); !known) return source.key_error(key, known.error().message);
  return success();
}

}  // namespace detail

// Makes the tokenizer of a model source. Tokenizer::notes() tells what was ignored, corrected or guessed.
inline Result<Tokenizer> read_tokenizer(const ModelSource& source, const TokenizerOptions& options = {}) {
  Result<Vocabulary> vocabulary = source.vocabulary();
  if (!vocabulary) return std::move(vocabulary).error();
  const Result<std::string_view> chat_template = source.chat_template();
  if (!chat_template) return chat_template.error();
  vocabulary->chat_template = *chat_template;
  if (vocabulary->kind == VocabularyKind::byte_level) {
    if (Status s = detail::choose_pretokenizer(*vocabulary, source, options); !s) return s.error();
  }
  Result<Tokenizer> tokenizer = Tokenizer::create(*vocabulary);
  if (tokenizer) return tokenizer;
  return Error{tokenizer.error().kind, concat(source.vocabulary_place(), ": ", tokenizer.error().message)};
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
