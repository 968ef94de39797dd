// SPDX-License-Identifier: Apache-2.0
//
// What a small model was made for. A file may say so in the key `stilla.scope`; then the program tells the user honestly
// when a question is outside, by three rules that need no trust in the model:
//
//   - a question without two numbers is not put to the model at all;
//   - an answer without \boxed{} is none: the model was trained to write one unless it does not know such questions;
//   - a thought whose first two numbers are not the question's is about another question.
//
// Such a model knows single questions, so a conversation does not remember.
#pragma once

#include <string>
#include <string_view>

#include <stilla/io/model_source.hpp>

namespace program {

class Scope {
 public:
  explicit Scope(const stilla::ModelSource& source);

  // The file names a scope; without one, everything is inside.
  bool is_limited() const { return !text_.empty(); }
  std::string introduction() const;

  // What to tell the user instead of asking the model; empty: ask it.
  std::string refusal(std::string_view question) const;
  // What to tell the user of what the model wrote; empty: nothing.
  std::string doubt(std::string_view question, std::string_view written) const;

 private:
  std::string text_;
};

}  // namespace program
