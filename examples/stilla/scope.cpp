// SPDX-License-Identifier: Apache-2.0
#include "scope.hpp"

#include <algorithm>
#include <vector>

#include <fmt/format.h>

#include "output.hpp"

namespace program {
namespace {

// Returns the numbers in the text (neighbouring digits), in their order and at most `most` of them.
std::vector<std::string_view> numbers_in(std::string_view text, std::size_t most) {
  constexpr std::string_view digits = "0123456789";
  std::vector<std::string_view> out;
  while (out.size() < most) {
    const std::size_t begin = text.find_first_of(digits);
    if (begin == std::string_view::npos) break;
    text.remove_prefix(begin);
    out.push_back(text.substr(0, text.find_first_not_of(digits)));
    text.remove_prefix(out.back().size());
  }
  return out;
}

}  // namespace

Scope::Scope(const stilla::ModelSource& source) {
  constexpr std::string_view key = "stilla.scope";
  if (source.has(key)) text_ = one_line(value_of(source.get_string(key)));
}

std::string Scope::introduction() const { return fmt::format("this model knows {}; each question stands alone", text_); }

std::string Scope::refusal(std::string_view question) const {
  if (!is_limited() || numbers_in(question, 2).size() == 2) return {};
  return fmt::format("that is outside what this model was trained for: {}", text_);
}

std::string Scope::doubt(std::string_view question, std::string_view written) const {
  if (!is_limited()) return {};
  if (written.find("\\boxed{") == std::string_view::npos) {
    return fmt::format("this model was trained only for {}", text_);
  }
  const std::vector<std::string_view> asked = numbers_in(question, question.size());
  for (const std::string_view number : numbers_in(written, 2)) {
    if (std::find(asked.begin(), asked.end(), number) == asked.end()) {
      return fmt::format("do not trust this: the thought is not about the numbers of the question. The model was trained only for {}",
                         text_);
    }
  }
  return {};
}

}  // namespace program
