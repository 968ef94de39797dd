// SPDX-License-Identifier: Apache-2.0
//
// What a small model was made for. A file may say so in the key `stilla.scope`. Then the program tells the user honestly when a
// question is outside of that, by three rules that need no trust in the model:
//
//   - A question without two numbers is not put to the model at all.
//   - An answer without \boxed{} is no answer: the model was trained to write one unless it does not know such questions.
//   - A thought whose first two numbers are not those of the question is about another question.
//
// Such a model knows only single questions, so a conversation does not remember earlier ones.
#pragma once

#include <string>
#include <string_view>

#include <stilla/io/model_source.hpp>

namespace program {

class Scope {
 public:
  explicit Scope(const stilla::ModelSource& source);

  // Whether the file names a scope. Without one, every question is inside.
  bool is_limited() const { return !text_.empty(); }
  std::string introduction() const;

  // The message to the user instead of asking the model; empty: the model may be asked.
  std::string refusal(std::string_view question) const;
  // The message to the user about what the model wrote; empty: there is none.
  std::string doubt(std::string_view question, std::string_view written) const;

 private:
  std::string text_;
};

}  // namespace program
