// SPDX-License-Identifier: Apache-2.0
//
// The streaming loop of `run` and `chat`. It evaluates the prompt and then repeats: sample, show, evaluate. It ends when the
// model ends the text, when the limit, a stop text or the end of the context is reached, or when Ctrl-C was pressed. If a thought
// reaches its budget, the loop appends tokens that close the thought, and the model goes on to its answer.
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

// What was generated. If a text is continued, the counts of its parts are added up.
struct Generation {
  StopReason reason = StopReason::end_of_text;
  std::size_t prompt_tokens = 0;  // evaluated now; tokens that the cache already held are not counted
  double prompt_seconds = 0;
  std::vector<std::uint32_t> ids;  // the generated ids, without the one that ended the text
  std::size_t tokens = 0;          // the number of generated tokens, with the one that ended the text
  double seconds = 0;
  std::size_t answer_begin = 0;    // index in `ids` of the first id behind the thought
  std::size_t thought_tokens = 0;
  double thought_seconds = 0;
  bool was_cut = false;            // the thought reached its budget
  std::size_t guesses = 0;         // guesses that were checked, from the text itself and from a draft model
  std::size_t right_guesses = 0;
  std::string stop_text;           // the stop text before which the answer ended
  std::size_t bytes_not_shown = 0;  // bytes of the ids' text from the stop text on

  // Returns a line such as
  // "prompt 25 tokens, 45.1 tokens/s; generated 64 tokens, 12.3 tokens/s; thought 40 tokens in 3.2 s, answer 24 in 2.0 s"
  std::string rates() const;
  // Returns the message for an answer that the limit -n ended while it was still a thought, or nothing for any other answer.
  std::string limit_text() const;
  // Adds the counts and times of another generation, but not its ids.
  void add(const Generation& other);
};

class Generator {
 public:
  struct Emitted {
    bool is_thinking = false;  // a thought is open at the end of what was generated so far
    bool is_stopped = false;   // no more tokens are wanted
  };
  // A function that gets the bytes of each generated token; control tokens have none.
  using Emit = std::function<Emitted(std::string_view)>;

  Generator(Engine& engine, const stilla::Tokenizer& tokenizer, const TextOptions& options, const stilla::SamplingOptions& sampling);

  // Continues `prompt`, which has at least one id and at most engine.context(). Ids at the beginning that the engine's text
  // already has are not evaluated again. `is_thinking`: the prompt has opened a thought.
  void run(std::span<const std::uint32_t> prompt, bool is_thinking, Generation& result, const Emit& emit);

 private:
  void begin(std::span<const std::uint32_t> prompt, Generation& result);
  // Appends the token `id` to the text.
  void take(std::uint32_t id, Generation& result);

  Engine* engine_;
  const stilla::Tokenizer* tokenizer_;
  const TextOptions* options_;
  stilla::Decoder decoder_;
  std::vector<std::uint32_t> closing_;  // the tokens that close a thought when it reaches its budget
  stilla::LoopDetector loops_;
};

}  // namespace program
