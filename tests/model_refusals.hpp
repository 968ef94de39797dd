// SPDX-License-Identifier: Apache-2.0
//
// Helpers for tests of model files that must be refused. They check that the message is one line, and that it names the file and
// all that the test asks for.
#pragma once

#include <gtest/gtest.h>

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "model_util.hpp"

namespace stilla_test {

// A text that a message must contain.
struct Part {
  Part(const char* text) : text_(text) {}
  Part(std::string_view text) : text_(text) {}
  Part(std::string text) : text_(std::move(text)) {}

  std::string text_;
};

inline void expect_one_line(const std::string& message, std::initializer_list<Part> parts) {
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  for (const Part& part : parts) {
    EXPECT_NE(message.find(part.text_), std::string::npos) << "\"" << message << "\" says nothing of " << part.text_;
  }
}

inline void expect_refused(const ModelFile& file, std::initializer_list<Part> parts) {
  const LoadedModel model(file);
  ASSERT_FALSE(model) << "loaded though it should name " << parts.begin()->text_;
  expect_one_line(model.error(), {"memory.gguf"});
  expect_one_line(model.error(), parts);
}

}  // namespace stilla_test
