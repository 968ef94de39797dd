// SPDX-License-Identifier: Apache-2.0
//
// The loop that writes a text: evaluate the new tokens, choose the next token, and so on. Guesses at the next tokens come from
// the text itself (sampling/lookup.hpp) and from a small model (model/draft_model.hpp). They are checked in the same batch as the
// new tokens. A right guess saves an evaluation, and a wrong one leaves no trace. The text is the same to the byte as without
// guesses, greedy or sampled.
//
//   Decoder decoder(session, sampling_options, {.draft = &small_session});
//   decoder.begin(prompt);
//   while (text is to go on) {
//     const Result<std::uint32_t> id = decoder.choose();
//     if (!id || tokenizer.is_end_of_generation(*id)) break;
//     decoder.push(*id);                // or another token: the caller decides how the text goes on
//   }
//   decoder.finish();                   // the session holds the text, without guesses
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include <stilla/base/error.hpp>
#include <stilla/model/draft_model.hpp>
#include <stilla/model/forward.hpp>
#include <stilla/sampling.hpp>
#include <stilla/sampling/draft_policy.hpp>
#include <stilla/sampling/lookup.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

struct DecoderOptions {
  bool lookup = true;        // whether guesses are looked up in the text itself
  // The session of a small model with the same vocabulary, which makes guesses; null: there is none. The session must outlive
  // the decoder, and only the decoder may use it.
  Session* draft = nullptr;
  // How many guesses the small model writes each time; all of them are checked. 0: it writes as many as are worth their time.
  std::size_t draft_guesses = 0;
};

class Decoder {
 public:
  static constexpr std::size_t no_limit = static_cast<std::size_t>(-1);

  // `session` must outlive the decoder. Its batches (SessionOptions::batch) must have room for the guesses: in a batch of b tokens
  // there are at most b - 1 guesses.
  Decoder(Session& session, const SamplingOptions& sampling, const DecoderOptions& options = {})
      : session_(&session), sampler_(sampling), lookup_(options.lookup), draft_guesses_(options.draft_guesses) {
    if (options.draft != nullptr) draft_.emplace(*options.draft, sampling.vocabulary);
  }

  // Begins a text that continues `prompt`, which has at least one token. The beginning that the session's text has in common with
  // the prompt is not evaluated again. The rest is evaluated in pieces. After each piece progress(done, total) is called. If it
  // returns false, begin() stops: the session keeps what was evaluated, and no token can be chosen. Returns how many tokens were
  // evaluated.
  Result<std::size_t> begin(std::span<const std::uint32_t> prompt,
                            const std::function<bool(std::size_t done, std::size_t total)>& progress = {}) {
    if (prompt.empty()) return Error{ErrorKind::bad_argument, "nothing to continue: the prompt has no tokens"};
    sampler_.begin(prompt);
    index_.clear();
    text_.assign(prompt.begin(), prompt.end());
    if (lookup_) {
      for (const std::uint32_t id : prompt) index_.push(id);
    }
    guesses_.clear();
    right_ = pending_ = 0;
    const std::span<const std::uint32_t> held = session_->ids();
    // At least the last token of the prompt is evaluated, because its logits are needed.
    const std::size_t most = std::min(held.size(), prompt.size() - 1);
    std::size_t kept = 0;
    while (kept < most && held[kept] == prompt[kept]) ++kept;
    session_->truncate(kept);
    for (std::size_t at = kept; at < prompt.size();) {
      const std::span<const std::uint32_t> piece = prompt.subspan(at, std::min(prompt_piece, prompt.size() - at));
      at += piece.size();
      const Status status = at < prompt.size() ? session_->append(piece) : evaluate(piece, 0);
      if (!status) return status.error();
      if (progress && !progress(at - kept, prompt.size() - kept)) return at - kept;
    }
    return prompt.size() - kept;
  }

  // Returns the sampler's choice of the next token. The token becomes part of the text only with push(). `room` says how many more
  // tokens the caller may want, including this one, so that no useless guesses are checked.
  Result<std::uint32_t> choose(std::size_t room = no_limit) {
    if (pending_ != 0) {
      if (Status s = evaluate_pending(room); !s) return s.error();
    }
    const std::optional<std::uint32_t> id =
        candidates_.empty() ? sampler_.sample(logits_[right_]) : sampler_.sample_from(candidates_[right_]);
    if (!id) return Error{ErrorKind::refused_file, "the model's logits are not numbers: its weights may be damaged"};
    return *id;
  }

  // Appends the token `id` to the text.
  void push(std::uint32_t id) {
    text_.push_back(id);
    sampler_.accept(id);
    if (lookup_) index_.push(id);
    if (pending_ == 0 && right_ < guesses_.size() && guesses_[right_] == id) {  // the session has evaluated `id` as a guess
      ++right_;
      ++right_guesses_;
    } else {
      ++pending_;
    }
  }

  // Removes from the session what is not part of the text, that is, guesses. The session then holds the text so far, without tokens
  // that were pushed but not evaluated.
  void finish() { session_->truncate(evaluated()); }

  // The number of tokens of the prompt and the text behind it.
  std::size_t size() const { return text_.size(); }
  // The number of guesses that were checked, and how many of them were right.
  std::size_t guesses() const { return checked_guesses_; }
  std::size_t right_guesses() const { return right_guesses_; }

 private:
  static constexpr std::size_t prompt_piece = 128;

  enum class Source : std::uint8_t { none, lookup, draft };

  std::size_t evaluated() const { return text_.size() - pending_; }

  Status evaluate_pending(std::size_t room) {
    learn_right();
    const std::size_t pending = pending_;
    session_->truncate(evaluated());
    if (pending > session_->context() - session_->size()) {
      return Error{ErrorKind::bad_argument, concat("the context of ", session_->context(), " tokens is full")};
    }
    room = std::min(room == 0 ? 0 : room - 1, session_->context() - session_->size() - pending);
    if (Status s = make_guesses(std::min(room, max_guesses(pending))); !s) return s;
    batch_.assign(text_.end() - static_cast<std::ptrdiff_t>(pending), text_.end());
    batch_.insert(batch_.end(), guesses_.begin(), guesses_.end());
    const auto begin = std::chrono::steady_clock::now();
    if (Status s = evaluate(batch_, guesses_.size()); !s) return s;
    if (pending == 1) times_.learn_time(guesses_.size(), seconds_since(begin));
    pending_ = 0;
    checked_guesses_ += guesses_.size();
    return success();
  }

  // The most guesses that join a batch in which `pending` tokens are evaluated that were pushed (added to the text) before. If a caller
  // has pushed several tokens at once (closing words, for example), there are no guesses: this is rare, so the time that guesses could
  // save does not matter.
  std::size_t max_guesses(std::size_t pending) const { return pending > 1 ? 0 : std::min(DraftPolicy::max_guesses, session_->batch() - 1); }

  Status make_guesses(std::size_t most) {
    guesses_.resize(most);
    source_ = Source::none;
    std::size_t count = 0;
    if (lookup_ && most > 0) {
      from_text_ = index_.draft(guesses_);
      count = times_.length(from_text_);
      if (count > 0) source_ = Source::lookup;
    }
    if (count == 0 && draft_ && most > 0) {
      const Result<std::size_t> written = guess_by_model();
      if (!written) return written.error();
      count = *written;
      if (count > 0) source_ = Source::draft;
    }
    guesses_.resize(count);
    return success();
  }

  // Lets the small model fill guesses_, and returns how many of them to check.
  Result<std::size_t> guess_by_model() {
    if (draft_guesses_ != 0) {
      guesses_.resize(std::min(draft_guesses_, guesses_.size()));
      return draft_->guess(text_, guesses_, [](float) { return true; });
    }
    if (!by_model_.begins(times_)) return std::size_t{0};
    const auto begin = std::chrono::steady_clock::now();
    Result<std::size_t> written = draft_->guess(text_, guesses_, [&](float confidence) { return by_model_.goes_on(confidence, times_); });
    if (!written) return written;
    by_model_.learn_time(seconds_since(begin), times_);
    return by_model_.length(times_);
  }

  void learn_right() {
    if (source_ == Source::lookup) times_.learn_right(from_text_, guesses_.size(), right_);
    if (source_ == Source::draft && draft_guesses_ == 0) by_model_.learn_right(guesses_.size(), right_);
    source_ = Source::none;
    right_ = 0;
  }

  // Appends `ids` to the session's text; the last `guesses` of them are guesses. Computes the logits for the token after each guess,
  // and for the token after the last id before the guesses.
  Status evaluate(std::span<const std::uint32_t> ids, std::size_t guesses) {
    const LogitRequest* request = sampler_.request(ids.last(guesses));
    logits_.clear();
    candidates_.clear();
    if (guesses == 0 && request == nullptr) {
      const Result<std::span<const float>> row = session_->evaluate(ids);
      if (!row) return row.error();
      logits_.push_back(*row);
    } else if (guesses == 0) {
      const Result<std::span<const Candidate>> row = session_->evaluate(ids, *request);
      if (!row) return row.error();
      candidates_.push_back(*row);
    } else if (request == nullptr) {
      return session_->evaluate_all(ids, [&](std::size_t, ConstMatrix rows) {
        for (std::size_t m = 0; m < rows.rows; ++m) logits_.emplace_back(rows.row(m), rows.cols);
      });
    } else {
      return session_->evaluate_all(ids, *request, [&](std::size_t, std::span<const Candidate> row) { candidates_.push_back(row); });
    }
    return success();
  }

  static double seconds_since(std::chrono::steady_clock::time_point begin) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }

  Session* session_;
  Sampler sampler_;
  bool lookup_;
  std::size_t draft_guesses_;
  std::optional<DraftModel> draft_;
  NgramIndex index_;
  DraftPolicy times_;
  ModelDraftPolicy by_model_;
  Draft from_text_;
  Source source_ = Source::none;       // where guesses_ come from
  std::vector<std::uint32_t> text_;    // prompt and text; the last pending_ tokens are not evaluated
  std::size_t pending_ = 0;
  // The guesses of the latest batch, which the session evaluated behind the text. The first right_ of them were right and have
  // become part of the text.
  std::vector<std::uint32_t> guesses_;
  std::size_t right_ = 0;
  std::vector<std::uint32_t> batch_;
  std::size_t checked_guesses_ = 0, right_guesses_ = 0;
  // The logits for the token after the text and for the token after each guess. Only one of these vectors is filled: logits_ with whole
  // rows of logits, or candidates_ with those logits of each row that the sampler needs.
  std::vector<std::span<const float>> logits_;
  std::vector<std::span<const Candidate>> candidates_;
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
