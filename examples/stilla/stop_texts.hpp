// SPDX-License-Identifier: Apache-2.0
//
// --stop: texts before which an answer ends. A text may be split over tokens in any way, so what may become one is held back until it
// is known: bytes that turn out to be no stop text are shown then, and those of a stop text never. Knuth, Morris and Pratt's automaton
// for each text: linear in the answer, whatever it is.
//
//   StopTexts stops({"User:"});
//   stops.push("Hello U");       // "Hello "
//   stops.push("lf. Us");        // "Ulf. "
//   stops.push("er: more");      // "", and stops.found() is "User:"
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace program {

class StopTexts {
 public:
  // None of the texts is empty.
  explicit StopTexts(const std::vector<std::string>& texts);

  // Adds bytes of the answer. Those that can be shown now, in their order; nothing behind a stop text.
  std::string push(std::string_view bytes);
  // The answer is over: what is held back, unless a stop text was found.
  std::string finish();

  // The text that ended the answer; of several that end at one byte the longest. Empty: none so far.
  const std::string& found() const { return found_; }
  // Bytes of the answer from the stop text on.
  std::size_t bytes_not_shown() const { return bytes_not_shown_; }

 private:
  struct Matcher {
    std::string text;
    std::vector<std::size_t> fallback;  // how much of the text is still matched when the byte behind so many does not fit
    std::size_t matched = 0;
  };

  std::vector<Matcher> matchers_;
  std::string held_;
  std::string found_;
  std::size_t bytes_not_shown_ = 0;
};

}  // namespace program
