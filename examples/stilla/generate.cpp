// SPDX-License-Identifier: Apache-2.0
#include "generate.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include <stilla/text/reasoning.hpp>

#include "output.hpp"
#include "platform.hpp"
#include "stopwatch.hpp"

namespace program {
namespace {

double rate(std::size_t count, double seconds) { return seconds > 0 ? static_cast<double>(count) / seconds : 0.0; }

}  // namespace

std::string Generation::rates() const {
  std::string out =
      fmt::format("prompt {} tokens, {:.1f} tokens/s; generated {} tokens", prompt_tokens, rate(prompt_tokens, prompt_seconds), tokens);
  // The evaluation of the prompt gives the first token, so the speed of generation does not count
  // this token.
  if (tokens > 1) out += fmt::format(", {:.1f} tokens/s", rate(tokens - 1, seconds));
  if (guesses > 0) out += fmt::format(", {} of {} guesses right", right_guesses, guesses);
  if (thought_tokens > 0) {
    out += fmt::format("; thought {} tokens in {:.1f} s{}, answer {} in {:.1f} s", thought_tokens, thought_seconds, was_cut ? " (cut)" : "",
                       tokens - thought_tokens, seconds - thought_seconds);
  }
  if (reason == StopReason::stop_text) out += fmt::format("; ended before '{}'", stilla::printable(stop_text));
  return out;
}

std::string Generation::limit_text() const {
  if (reason != StopReason::limit || tokens == 0 || thought_tokens != tokens) return "";
  return fmt::format(
      "the limit of -n ended the thought after {} tokens, before an answer; a larger -n, or a --think-budget well below "
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
    : engine_(&engine), tokenizer_(&tokenizer), options_(&options),
      decoder_(engine.session(), sampling, {options.use_lookup && engine.batches_are_exact(), engine.draft()}),
      closing_(tokenizer.encode(stilla::closing_words, stilla::SpecialTokens::parse)) {}

void Generator::begin(std::span<const std::uint32_t> prompt, Generation& result) {
  const Stopwatch watch;
  ProgressLine progress("reading the prompt");
  result.prompt_tokens += value_of(decoder_.begin(prompt, [&](std::size_t done, std::size_t total) {
    if (done < total) progress.show(done, total);
    return !interrupted();
  }));
  result.prompt_seconds += watch.seconds();
}

void Generator::take(std::uint32_t id, Generation& result) {
  ++result.tokens;
  result.ids.push_back(id);
  decoder_.push(id);
  if (const std::optional<stilla::TextLoop> loop = loops_.push(id)) {
    if (stderr_is_terminal()) write_note("\n");
    message(
        fmt::format("the text goes round in circles: its last {} tokens are {} times the same {}; --dry-multiplier 0.8 helps "
                    "against that",
                    loop->tokens, loop->tokens / loop->period, loop->period));
  }
}

void Generator::run(std::span<const std::uint32_t> prompt, bool is_thinking, Generation& result, const Emit& emit) {
  const auto most = options_->limit >= 0 ? static_cast<std::uint64_t>(options_->limit) : std::numeric_limits<std::uint64_t>::max();
  const std::size_t guesses = decoder_.guesses(), right_guesses = decoder_.right_guesses();
  begin(prompt, result);
  loops_.clear();

  const Stopwatch watch;
  bool is_stopped = false;
  double thought_end = is_thinking ? -1.0 : 0.0;  // seconds; negative: the thought is not over
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
    const std::uint64_t room = std::min<std::uint64_t>(most - result.tokens, stilla::Decoder::no_limit);
    const stilla::Result<std::uint32_t> chosen = decoder_.choose(static_cast<std::size_t>(room));
    // When no token can be chosen because the logits are NaN or infinite, the error is of the kind refused_file.
    if (!chosen && chosen.error().kind == stilla::ErrorKind::refused_file) engine_->blame_weights();
    if (!chosen) fail(chosen.error());
    engine_->begin_verification();
    engine_->check_verification();
    const std::uint32_t id = *chosen;
    if (tokenizer_->is_end_of_generation(id)) {
      result.reason = StopReason::end_of_text;
      ++result.tokens;
      break;
    }
    take(id, result);
    show({&id, 1});
    if (is_stopped) continue;
    const bool cuts_thought = is_thinking && options_->think_budget != 0 && result.thought_tokens >= options_->think_budget;
    if (result.tokens >= most) continue;
    if (cuts_thought && closing_.size() > most - result.tokens) {  // no room to close the thought, and so none for an answer
      result.reason = StopReason::limit;
      break;
    }
    const std::size_t closing = cuts_thought ? closing_.size() : 0;
    if (decoder_.size() + closing > engine_->context()) {
      result.reason = StopReason::context_full;
      break;
    }
    if (cuts_thought) {
      result.was_cut = true;
      for (const std::uint32_t word : closing_) take(word, result);
      show(closing_);
    }
  }
  decoder_.finish();
  engine_->check_files();
  result.guesses += decoder_.guesses() - guesses;
  result.right_guesses += decoder_.right_guesses() - right_guesses;
  const double seconds = watch.seconds();
  result.seconds += seconds;
  result.thought_seconds += thought_end < 0.0 ? seconds : thought_end;
}

}  // namespace program
