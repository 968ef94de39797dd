// SPDX-License-Identifier: Apache-2.0
#include "generate.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "output.hpp"
#include "platform.hpp"
#include "stopwatch.hpp"

namespace program {
namespace {

// Prompt tokens between two looks at Ctrl-C.
constexpr std::size_t prompt_piece = 128;

double rate(std::size_t count, double seconds) { return seconds > 0 ? static_cast<double>(count) / seconds : 0.0; }

}  // namespace

std::string Generation::rates() const {
  std::string out = fmt::format("prompt {} tokens, {:.1f} tokens/s; generated {} tokens", prompt_tokens,
                                rate(prompt_tokens, prompt_seconds), tokens);
  // The first token comes out of the prompt's evaluation.
  if (tokens > 1) out += fmt::format(", {:.1f} tokens/s", rate(tokens - 1, seconds));
  if (guesses > 0) out += fmt::format(", {} of {} guesses right", right_guesses, guesses);
  if (thought_tokens > 0) {
    out += fmt::format("; thought {} tokens in {:.1f} s{}, answer {} in {:.1f} s", thought_tokens, thought_seconds,
                       was_cut ? " (cut)" : "", tokens - thought_tokens, seconds - thought_seconds);
  }
  if (reason == StopReason::stop_text) out += fmt::format("; ended before '{}'", stilla::printable(stop_text));
  return out;
}

std::string Generation::limit_text() const {
  if (reason != StopReason::limit || tokens == 0 || thought_tokens != tokens) return "";
  return fmt::format("the limit of -n ended the thought after {} tokens, before an answer; a larger -n, or a --think-budget well below "
                     "it, leaves room for one",
                     tokens);
}

void Generation::add(const Generation& other) {
  prompt_tokens += other.prompt_tokens;
  prompt_seconds += other.prompt_seconds;
  tokens += other.tokens;
  seconds += other.seconds;
  thought_tokens += other.thought_tokens;
  thought_seconds += other.thought_seconds;
  guesses += other.guesses;
  right_guesses += other.right_guesses;
}

Generator::Generator(Engine& engine, const stilla::Tokenizer& tokenizer, const TextOptions& options,
                     const stilla::SamplingOptions& sampling)
    : engine_(&engine),
      tokenizer_(&tokenizer),
      options_(&options),
      uses_lookup_(options.use_lookup && engine.batches_are_exact()),
      sampler_(sampling),
      closing_(tokenizer.encode("\n\nI have thought long enough, so here is my answer.\n</think>\n\n",
                                stilla::SpecialTokens::parse)) {}

void Generator::evaluate_prompt(std::span<const std::uint32_t> prompt, Generation& result) {
  const std::span<const std::uint32_t> held = engine_->ids();
  const std::size_t most = std::min(held.size(), prompt.size() - 1);  // at least one, for its logits
  const auto there =
      std::mismatch(held.begin(), held.begin() + static_cast<std::ptrdiff_t>(most), prompt.begin()).first;
  const auto kept = static_cast<std::size_t>(there - held.begin());
  engine_->truncate(kept);

  const Stopwatch watch;
  ProgressLine progress("reading the prompt");
  for (std::size_t at = kept; at < prompt.size() && !interrupted();) {
    const std::span<const std::uint32_t> piece = prompt.subspan(at, std::min(prompt_piece, prompt.size() - at));
    at += piece.size();
    if (at < prompt.size()) {
      engine_->append(piece);
      progress.show(at - kept, prompt.size() - kept);
    } else {
      evaluate(piece, 0);
    }
    result.prompt_tokens += piece.size();
  }
  result.prompt_seconds += watch.seconds();
}

void Generator::evaluate(std::span<const std::uint32_t> ids, std::size_t guesses) {
  const stilla::LogitRequest* request = sampler_.request(ids.last(guesses));
  logits_.clear();
  candidates_.clear();
  if (guesses == 0 && request == nullptr) {
    logits_.push_back(engine_->evaluate(ids));
  } else if (guesses == 0) {
    candidates_.push_back(engine_->evaluate(ids, *request));
  } else if (request == nullptr) {
    engine_->evaluate_all(ids, [&](std::span<const float> row) { logits_.push_back(row); });
  } else {
    engine_->evaluate_all(ids, *request, [&](std::span<const stilla::Candidate> row) { candidates_.push_back(row); });
  }
}

std::uint32_t Generator::sample(std::size_t guesses) {
  const std::optional<std::uint32_t> id =
      candidates_.empty() ? sampler_.sample(logits_[guesses]) : sampler_.sample_from(candidates_[guesses]);
  if (!id) engine_->blame_weights();
  return *id;
}

void Generator::evaluate_next(std::uint32_t id, std::size_t most_guesses, Generation& result) {
  std::array<std::uint32_t, 1 + stilla::DraftPolicy::most_guesses> batch{id};
  const std::span<std::uint32_t> guesses(batch.data() + 1, std::min(most_guesses, stilla::DraftPolicy::most_guesses));
  draft_ = uses_lookup_ ? index_.draft(guesses) : stilla::Draft{};
  guesses_.assign(batch.begin() + 1, batch.begin() + 1 + static_cast<std::ptrdiff_t>(policy_.length(draft_)));
  result.guesses += guesses_.size();
  const Stopwatch watch;
  evaluate({batch.data(), 1 + guesses_.size()}, guesses_.size());
  policy_.learn_time(guesses_.size(), watch.seconds());
}

void Generator::take(std::span<const std::uint32_t> ids, Generation& result) {
  result.tokens += ids.size();
  result.ids.insert(result.ids.end(), ids.begin(), ids.end());
  for (const std::uint32_t id : ids) {
    sampler_.accept(id);
    if (uses_lookup_) index_.push(id);
    if (const std::optional<stilla::TextLoop> loop = loops_.push(id)) {
      if (stderr_is_terminal()) write_note("\n");
      message(
          fmt::format("the text goes round in circles: its last {} tokens are {} times the same {}; --dry-multiplier "
                      "0.8 helps against that",
                      loop->tokens, loop->tokens / loop->period, loop->period));
    }
  }
}

void Generator::run(std::span<const std::uint32_t> prompt, bool is_thinking, Generation& result, const Emit& emit) {
  const auto most = options_->limit >= 0 ? static_cast<std::uint64_t>(options_->limit)
                                         : std::numeric_limits<std::uint64_t>::max();
  sampler_.begin(prompt);
  evaluate_prompt(prompt, result);
  loops_.clear();
  index_.clear();
  if (uses_lookup_) {
    for (const std::uint32_t id : prompt) index_.push(id);
  }
  guesses_.clear();
  std::size_t right = 0;                  // of the guesses
  std::size_t length = engine_->size();   // of the text, without guesses that nobody took

  const Stopwatch watch;
  bool is_stopped = false;
  double thought_end = is_thinking ? -1.0 : 0.0;  // seconds; negative: not over
  const auto show = [&](std::span<const std::uint32_t> ids) {
    std::string bytes;
    for (const std::uint32_t id : ids) bytes += tokenizer_->piece(id);
    const Emitted emitted = emit(bytes);
    is_stopped = emitted.is_stopped;
    const bool was_thinking = std::exchange(is_thinking, emitted.is_thinking);
    if (was_thinking || is_thinking) result.thought_tokens += ids.size();
    if (is_thinking) thought_end = -1.0;
    if (was_thinking && !is_thinking) {
      result.answer_begin = result.ids.size();
      thought_end = watch.seconds();
    }
  };
  while (true) {
    if (is_stopped) {
      result.reason = StopReason::stop_text;
      break;
    }
    if (interrupted()) {
      result.reason = StopReason::interrupted;
      break;
    }
    if (result.tokens >= most) {
      result.reason = StopReason::limit;
      break;
    }
    const std::uint32_t id = sample(right);
    if (tokenizer_->is_end_of_generation(id)) {
      result.reason = StopReason::end_of_text;
      ++result.tokens;
      break;
    }
    take({&id, 1}, result);
    show({&id, 1});
    if (is_stopped) continue;
    const bool cuts_thought =
        is_thinking && options_->think_budget != 0 && result.thought_tokens >= options_->think_budget;
    if (right < guesses_.size() && guesses_[right] == id && !cuts_thought) {  // evaluated already
      ++right;
      ++result.right_guesses;
      ++length;
      continue;
    }
    if (!guesses_.empty()) policy_.learn_right(draft_, guesses_.size(), right);
    engine_->truncate(length);
    const std::size_t needed = 1 + (cuts_thought ? closing_.size() : 0);
    if (result.tokens >= most) continue;  // nobody asks what follows
    if (cuts_thought && closing_.size() > most - result.tokens) {  // no room to close the thought, so none for an answer
      result.reason = StopReason::limit;
      break;
    }
    if (engine_->context() - length < needed) {
      result.reason = StopReason::context_full;
      break;
    }
    right = 0;
    length += needed;
    if (cuts_thought) {
      guesses_.clear();
      result.was_cut = true;
      engine_->append({&id, 1});
      take(closing_, result);
      show(closing_);
      evaluate(closing_, 0);
    } else {
      const std::uint64_t room = std::min<std::uint64_t>(engine_->context() - length, most - result.tokens - 1);
      evaluate_next(id, static_cast<std::size_t>(room), result);
    }
  }
  engine_->truncate(length);
  const double seconds = watch.seconds();
  result.seconds += seconds;
  result.thought_seconds += thought_end < 0.0 ? seconds : thought_end;
}

}  // namespace program
