// SPDX-License-Identifier: Apache-2.0
#include "generate.hpp"

#include <algorithm>
#include <chrono>
#include <optional>

#include <fmt/format.h>

#include "output.hpp"
#include "platform.hpp"

namespace program {
namespace {

// Prompt tokens between two looks at Ctrl-C. Each piece also computes one row of logits, below 1 % of its work.
constexpr std::size_t prompt_piece = 128;

class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count(); }

 private:
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

double rate(std::size_t count, double seconds) { return seconds > 0 ? static_cast<double>(count) / seconds : 0.0; }

}  // namespace

std::string Generation::rates() const {
  std::string out = fmt::format("prompt {} tokens, {:.1f} tokens/s; generated {} tokens", prompt_tokens,
                                rate(prompt_tokens, prompt_seconds), tokens);
  // The first token comes out of the prompt's evaluation.
  if (tokens > 1) out += fmt::format(", {:.1f} tokens/s", rate(tokens - 1, seconds));
  return out;
}

std::span<const float> Generator::evaluate_prompt(std::span<const std::uint32_t> prompt, Generation& result) {
  const std::size_t most = std::min(evaluated_.size(), prompt.size() - 1);  // at least one, for its logits
  const auto [there, same] =
      std::mismatch(evaluated_.begin(), evaluated_.begin() + static_cast<std::ptrdiff_t>(most), prompt.begin());
  const auto kept = static_cast<std::size_t>(same - prompt.begin());
  evaluated_.erase(there, evaluated_.end());
  engine_->truncate(kept);

  const Stopwatch watch;
  ProgressLine progress("reading the prompt");
  std::span<const float> logits;
  for (std::size_t at = kept; at < prompt.size() && !interrupted();) {
    const std::span<const std::uint32_t> piece = prompt.subspan(at, std::min(prompt_piece, prompt.size() - at));
    logits = engine_->evaluate(piece);
    evaluated_.insert(evaluated_.end(), piece.begin(), piece.end());
    at += piece.size();
    result.prompt_tokens += piece.size();
    if (at < prompt.size()) progress.show(at - kept, prompt.size() - kept);
  }
  result.prompt_seconds = watch.seconds();
  return logits;
}

std::uint32_t Generator::sample(std::span<const float> logits) {
  const std::optional<std::uint32_t> id = sampler_.sample(logits);
  if (!id) fail(exit_failed, "the model's logits are not numbers: its weights may be damaged");
  sampler_.accept(*id);
  return *id;
}

Generation Generator::run(std::span<const std::uint32_t> prompt, std::int64_t limit,
                          const std::function<void(std::string_view)>& emit) {
  Generation result;
  std::span<const float> logits = evaluate_prompt(prompt, result);
  sampler_.begin(prompt);

  const Stopwatch watch;
  while (true) {
    if (interrupted()) {
      result.reason = StopReason::interrupted;
      break;
    }
    if (limit >= 0 && result.tokens >= static_cast<std::uint64_t>(limit)) {
      result.reason = StopReason::limit;
      break;
    }
    const std::uint32_t id = sample(logits);
    ++result.tokens;
    if (tokenizer_->is_end_of_generation(id)) break;
    emit(tokenizer_->piece(id));
    if (limit >= 0 && result.tokens >= static_cast<std::uint64_t>(limit)) continue;  // nobody asks what follows
    if (engine_->size() == engine_->context()) {
      result.reason = StopReason::context_full;
      break;
    }
    logits = engine_->evaluate({&id, 1});
    evaluated_.push_back(id);
  }
  result.seconds = watch.seconds();
  return result;
}

}  // namespace program
