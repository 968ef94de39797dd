// SPDX-License-Identifier: Apache-2.0
#include "stop_texts.hpp"

#include <algorithm>
#include <utility>

namespace program {

StopTexts::StopTexts(const std::vector<std::string>& texts) {
  for (const std::string& text : texts) {
    Matcher m{text, std::vector<std::size_t>(text.size() + 1)};
    for (std::size_t i = 1, k = 0; i < text.size(); ++i) {
      while (k > 0 && text[i] != text[k]) k = m.fallback[k];
      k += text[i] == text[k];
      m.fallback[i + 1] = k;
    }
    matchers_.push_back(std::move(m));
  }
}

std::string StopTexts::push(std::string_view bytes) {
  if (!found_.empty()) {
    bytes_not_shown_ += bytes.size();
    return {};
  }
  std::string shown = std::exchange(held_, {});
  std::size_t may_match = 0;  // bytes at the end of `shown` that may become a stop text
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    shown += bytes[i];
    may_match = 0;
    for (Matcher& m : matchers_) {
      while (m.matched > 0 && (m.matched == m.text.size() || bytes[i] != m.text[m.matched])) m.matched = m.fallback[m.matched];
      m.matched += bytes[i] == m.text[m.matched];
      may_match = std::max(may_match, m.matched);
      if (m.matched == m.text.size() && m.text.size() > found_.size()) found_ = m.text;
    }
    if (found_.empty()) continue;
    shown.resize(shown.size() - found_.size());
    bytes_not_shown_ = found_.size() + bytes.size() - (i + 1);
    return shown;
  }
  if (bytes.empty()) may_match = shown.size();
  held_ = shown.substr(shown.size() - may_match);
  shown.resize(shown.size() - may_match);
  return shown;
}

std::string StopTexts::finish() { return std::exchange(held_, {}); }

}  // namespace program
