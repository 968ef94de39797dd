// SPDX-License-Identifier: Apache-2.0
//
// The streaming loop of `run` and `chat`: evaluate the prompt, then sample, show, evaluate, until the model ends, the
// limit, a stop text or the context is reached, or Ctrl-C was pressed. A thought that reaches its budget is closed for the model, which
// goes on to the answer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <stilla/model/decoder.hpp>
#include <stilla/sampling.hpp>
#include <stilla/text/loop_detector.hpp>
#include <stilla/text/tokenizer.hpp>

#include "engine.hpp"
#include "options.hpp"

namespace program {

enum class StopReason { end_of_text, stop_text, limit, context_full, interrupted };

// What was generated. A text that is continued adds up.
struct Generation {
  StopReason reason = StopReason::end_of_text;
  std::size_t prompt_tokens = 0;  // evaluated now: those the cache already held are not counted
  double prompt_seconds = 0;
  std::vector<std::uint32_t> ids;  // generated, without the one that ended the text
  std::size_t tokens = 0;          // the same with it
  double seconds = 0;
  std::size_t answer_begin = 0;    // of the ids: behind the thought
  std::size_t thought_tokens = 0;
  double thought_seconds = 0;
  bool was_cut = false;            // the thought reached its budget
  std::size_t guesses = 0;         // checked, of the text's own and of a draft model's
  std::size_t right_guesses = 0;
  std::string stop_text;           // that the answer ended before
  std::size_t bytes_not_shown = 0;  // of the text of the ids: from the stop text on

  // "prompt 25 tokens, 45.1 tokens/s; generated 64 tokens, 12.3 tokens/s; thought 40 tokens in 3.2 s, answer 24 in 2.0 s"
  std::string rates() const;
  // What to tell of an answer that -n ended while it was still a thought; empty for another.
  std::string limit_text() const;
  // Counts and times of another one; not its ids.
  void add(const Generation& other);
};

class Generator {
 public:
  struct Emitted {
    bool is_thinking = false;  // a thought is open behind what was generated so far
    bool is_stopped = false;   // nothing more is wanted
  };
  // `emit` gets the bytes of each generated token; control tokens have none.
  using Emit = std::function<Emitted(std::string_view)>;

  Generator(Engine& engine, const stilla::Tokenizer& tokenizer, const TextOptions& options, const stilla::SamplingOptions& sampling);

  // Continues `prompt`, at least one id and at most engine.context(). What the engine's text has in common with it is not
  // evaluated again. `is_thinking`: the prompt has opened a thought.
  void run(std::span<const std::uint32_t> prompt, bool is_thinking, Generation& result, const Emit& emit);

 private:
  void begin(std::span<const std::uint32_t> prompt, Generation& result);
  // The text goes on with this token.
  void take(std::uint32_t id, Generation& result);

  Engine* engine_;
  const stilla::Tokenizer* tokenizer_;
  const TextOptions* options_;
  stilla::Decoder decoder_;
  std::vector<std::uint32_t> closing_;  // what closes a thought that reached its budget
  stilla::LoopDetector loops_;
};

}  // namespace program
