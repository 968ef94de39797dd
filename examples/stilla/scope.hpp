// SPDX-License-Identifier: Apache-2.0
//
// What a small model was made for. A model file may say so in the key `stilla.scope`. Then the program tells the user honestly
// when a question is outside of this scope, by three rules that need no trust in the model:
//
//   - A question without two numbers is not put to the model at all.
//   - An answer without \boxed{} is no answer: the model was trained to write one unless it does not know such questions.
//   - A thought whose first two numbers are not those of the question is about another question.
//
// A model with a scope knows only single questions, so a conversation does not remember earlier ones.
#pragma once

#include <string>
#include <string_view>

#include <stilla/io/model_source.hpp>

namespace program {

class Scope {
 public:
  explicit Scope(const stilla::ModelSource& source);

  // Whether the file names a scope. If it does not, every question is inside the scope.
  bool is_limited() const { return !text_.empty(); }
  std::string introduction() const;

  // Returns the message that the user gets instead of the model's answer, or nothing if the model may be asked.
  std::string refusal(std::string_view question) const;
  // Returns a message to the user that doubts what the model wrote, or nothing.
  std::string doubt(std::string_view question, std::string_view written) const;

 private:
  std::string text_;
};

}  // namespace program
