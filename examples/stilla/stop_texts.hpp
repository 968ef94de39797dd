// SPDX-License-Identifier: Apache-2.0
//
// The option --stop: texts before which an answer ends. A stop text may be split over tokens in any way. So bytes that may be the
// beginning of a stop text are held back until later bytes decide that. If they do not begin a stop text, they are shown then. Bytes
// of a stop text are never shown. Each text has an automaton of Knuth, Morris and Pratt, so the time is linear in the length of the
// answer, whatever the answer is.
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
  // Begins an answer. None of the stop texts may be empty.
  explicit StopTexts(const std::vector<std::string>& texts);

  // Adds bytes of the answer. Returns the bytes that can be shown now, in their order, and nothing that follows a stop text.
  std::string push(std::string_view bytes);
  // Ends the answer. Returns the bytes that are held back, unless a stop text was found.
  std::string finish();

  // Returns the stop text that ended the answer, or nothing if none was found so far. If several stop texts end at the same byte,
  // this is the longest of them.
  const std::string& found() const { return found_; }
  // Returns the number of bytes of the answer from the stop text on.
  std::size_t bytes_not_shown() const { return bytes_not_shown_; }

 private:
  struct Matcher {
    std::string text;
    // fallback[n] is used when the answer ends with the first n bytes of the stop text and the next byte of the answer does not fit.
    // It is the length of the longest shorter beginning of the stop text that the answer also ends with.
    std::vector<std::size_t> fallback;
    std::size_t matched = 0;
  };

  std::vector<Matcher> matchers_;
  std::string held_;
  std::string found_;
  std::size_t bytes_not_shown_ = 0;
};

}  // namespace program
