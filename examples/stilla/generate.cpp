// SPDX-License-Identifier: Apache-2.0
#include "generate.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <limits>
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
  if (guesses > 0) out += fmt::format(", {} of {} guesses right", right_guesses, guesses);
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

std::span<const float> Generator::evaluate_next(std::uint32_t id, std::size_t most_guesses, Generation& result) {
  std::array<std::uint32_t, 1 + stilla::DraftPolicy::most_guesses> batch{id};
  const std::span<std::uint32_t> guesses(batch.data() + 1, std::min(most_guesses, stilla::DraftPolicy::most_guesses));
  draft_ = index_.draft(guesses);
  guesses_.assign(batch.begin() + 1, batch.begin() + 1 + static_cast<std::ptrdiff_t>(policy_.length(draft_)));
  result.guesses += guesses_.size();
  const Stopwatch watch;
  const std::span<const float> rows = engine_->evaluate_each({batch.data(), 1 + guesses_.size()});
  policy_.learn_time(guesses_.size(), watch.seconds());
  return rows;
}

Generation Generator::run(std::span<const std::uint32_t> prompt, std::int64_t limit,
                          const std::function<void(std::string_view)>& emit) {
  Generation result;
  const auto most = limit >= 0 ? static_cast<std::uint64_t>(limit) : std::numeric_limits<std::uint64_t>::max();
  std::span<const float> rows = evaluate_prompt(prompt, result);  // logits: of the last token, and of each guess behind it
  sampler_.begin(prompt);
  index_.clear();
  if (use_lookup_) {
    for (const std::uint32_t id : prompt) index_.push(id);
  }
  guesses_.clear();
  std::size_t right = 0;  // of the guesses

  const Stopwatch watch;
  while (true) {
    if (interrupted()) {
      result.reason = StopReason::interrupted;
      break;
    }
    if (result.tokens >= most) {
      result.reason = StopReason::limit;
      break;
    }
    const std::size_t width = rows.size() / (1 + guesses_.size());
    const std::uint32_t id = sample(rows.subspan(right * width, width));
    ++result.tokens;
    if (tokenizer_->is_end_of_generation(id)) break;
    emit(tokenizer_->piece(id));
    if (right < guesses_.size() && guesses_[right] == id) {  // evaluated already
      ++right;
      ++result.right_guesses;
      evaluated_.push_back(id);
      if (use_lookup_) index_.push(id);
      continue;
    }
    if (!guesses_.empty()) policy_.learn_right(draft_, guesses_.size(), right);
    engine_->truncate(evaluated_.size());
    if (result.tokens >= most) continue;  // nobody asks what follows
    if (engine_->size() == engine_->context()) {
      result.reason = StopReason::context_full;
      break;
    }
    if (use_lookup_) index_.push(id);
    const std::uint64_t room = std::min<std::uint64_t>(engine_->context() - engine_->size() - 1, most - result.tokens - 1);
    rows = evaluate_next(id, use_lookup_ ? static_cast<std::size_t>(room) : 0, result);
    evaluated_.push_back(id);
    right = 0;
  }
  engine_->truncate(evaluated_.size());
  result.seconds = watch.seconds();
  return result;
}

}  // namespace program
