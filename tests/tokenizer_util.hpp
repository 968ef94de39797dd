// SPDX-License-Identifier: Apache-2.0
//
// Helpers that make tokenizers for tests, and open the golden vocabularies
// (golden/make_tokenizer_golden.py makes these).
#pragma once

#include <string_view>
#include <utility>

#include <gtest/gtest.h>

#include <stilla/io/gguf.hpp>
#include <stilla/text/tokenizer.hpp>

#include "test_paths.hpp"

namespace stilla {

inline GgufFile open_golden(std::string_view name) {
  Result<GgufFile> file = GgufFile::open(concat(stilla_test::test_data, "/tokenizer/", name, ".gguf"));
  EXPECT_TRUE(file) << file.error().message;
  return std::move(*file);
}

inline Tokenizer make_tokenizer(const Vocabulary& vocabulary) {
  Result<Tokenizer> tokenizer = Tokenizer::create(vocabulary);
  EXPECT_TRUE(tokenizer) << tokenizer.error().message;
  return std::move(*tokenizer);
}

}  // namespace stilla
