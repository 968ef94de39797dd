// SPDX-License-Identifier: Apache-2.0
//
// The streaming loop of `run` and `chat`: evaluate the prompt, then sample, show, evaluate, until the model ends, the
// limit or the context is reached, or Ctrl-C was pressed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <stilla/lookup.hpp>
#include <stilla/sampling.hpp>
#include <stilla/text/tokenizer.hpp>

#include "engine.hpp"
#include "options.hpp"

namespace program {

enum class StopReason { end_of_text, limit, context_full, interrupted };

struct Generation {
  StopReason reason = StopReason::end_of_text;
  std::size_t prompt_tokens = 0;  // evaluated now: those the cache already held are not counted
  double prompt_seconds = 0;
  std::size_t tokens = 0;  // generated
  double seconds = 0;
  std::size_t guesses = 0;  // checked by lookup decoding
  std::size_t right_guesses = 0;

  // "prompt 25 tokens, 45.1 tokens/s; generated 64 tokens, 12.3 tokens/s"
  std::string rates() const;
};

class Generator {
 public:
  Generator(Engine& engine, const stilla::Tokenizer& tokenizer, const stilla::SamplingOptions& sampling, bool use_lookup)
      : engine_(&engine), tokenizer_(&tokenizer), sampler_(sampling), use_lookup_(use_lookup) {}

  // Continues `prompt`, at least one id and at most engine.context(). What the last call's text has in common with it
  // is not evaluated again. `emit` gets the bytes of each generated token; control tokens have none.
  Generation run(std::span<const std::uint32_t> prompt, std::int64_t limit,
                 const std::function<void(std::string_view)>& emit);

 private:
  std::span<const float> evaluate_prompt(std::span<const std::uint32_t> prompt, Generation& result);
  std::uint32_t sample(std::span<const float> logits);
  // Evaluates id and as many guesses behind it as pay; gives the logits behind each.
  std::span<const float> evaluate_next(std::uint32_t id, std::size_t most_guesses, Generation& result);

  Engine* engine_;
  const stilla::Tokenizer* tokenizer_;
  stilla::Sampler sampler_;
  bool use_lookup_;
  stilla::NgramIndex index_;
  stilla::DraftPolicy policy_;
  stilla::Draft draft_;
  std::vector<std::uint32_t> guesses_;    // evaluated behind the text
  std::vector<std::uint32_t> evaluated_;  // the text in the engine's cache
};

}  // namespace program
