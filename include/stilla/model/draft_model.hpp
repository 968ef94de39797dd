// SPDX-License-Identifier: Apache-2.0
//
// A small model guesses what a large one will say. Both have the same vocabulary. The large model checks all guesses in one batch
// (model/decoder.hpp), so that the text is the same as without the small model.
//
//   DraftModel draft(session_of_the_small_model);
//   draft.guess(text, out, pays)
//
// The session of the small model follows the text and does not evaluate again what it already holds. If it has fallen far behind,
// because guessing did not pay for a while, it begins again with only the end of the text, which costs one small batch. It
// therefore never reads more than the last `max_context` tokens at a time, and a long prompt costs it next to nothing.
//
// This is speculative decoding (Leviathan et al., 2023; Chen et al., 2023). The acceptance rule of these papers is not needed: the
// checked text is sampled as always, and the logits have the same bits in a batch as one by one.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

#include <stilla/base/error.hpp>
#include <stilla/model/forward.hpp>
#include <stilla/sampling/candidates.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

class DraftModel {
 public:
  static constexpr std::size_t max_context = 512;  // tokens at the end of the text with which the session begins again
  static constexpr std::size_t max_behind = 64;    // the session evaluates at most this many tokens to catch up with the text

  // `session` is a session of the small model. It must outlive this object, which changes its text. `vocabulary` is the number of
  // ids that both models have; ids from there on are never guessed.
  DraftModel(Session& session, std::size_t vocabulary) : session_(&session) { request_ = {2, {}, vocabulary}; }

  // Writes guesses at what follows `text`. The function stops if `out` is full, or if pays(confidence of the guess just written) says that
  // another guess is not worth its time. The confidence is the probability of the best token if only the two best were possible:
  // 0.5 to 1. Returns the number of guesses written. It may be 0, for example if the context of the small model is full.
  template <class Pays>
  Result<std::size_t> guess(std::span<const std::uint32_t> text, std::span<std::uint32_t> out, Pays&& pays) {
    std::size_t written = 0;
    if (text.empty()) return written;
    std::span<const std::uint32_t> ids = follow(text);
    while (written < out.size() && ids.size() <= session_->context() - session_->size()) {
      const Result<std::span<const Candidate>> best = session_->evaluate(ids, request_);
      if (!best) return best.error();
      // The guess is the best candidate in the order of the sampler (ranks_before), which also decides between equal logits. If its
      // logit is NaN, which happens with a damaged model, guessing ends.
      const auto first = std::min_element(best->begin(), best->end(), ranks_before);
      if (first == best->end() || std::isnan(first->logit)) break;
      float second = -std::numeric_limits<float>::infinity();
      for (const Candidate& c : *best) {
        if (c.id != first->id && c.logit > second) second = c.logit;
      }
      out[written] = first->id;
      ids = out.subspan(written, 1);
      ++written;
      if (!pays(1.0f / (1.0f + std::exp(second - first->logit)))) break;
    }
    return written;
  }

 private:
  // Prepares the session of the small model for `text`. The session does not hold the first skipped_ tokens of `text`. Of its own
  // tokens it keeps those that agree, from the first one on, with the tokens of `text` behind the skipped ones, and forgets the others.
  // It begins again with at most the last `max_context` tokens of `text` if no token agrees, if more than `max_behind` tokens are missing,
  // or if its context is nearly full. Returns the tokens of `text` that the session has yet to evaluate, at least one.
  std::span<const std::uint32_t> follow(std::span<const std::uint32_t> text) {
    const std::span<const std::uint32_t> held = session_->ids(), expected = text.subspan(std::min(skipped_, text.size()));
    const std::size_t most = std::min(held.size(), expected.size());
    std::size_t kept = 0;
    while (kept < most && held[kept] == expected[kept]) ++kept;
    if (kept == expected.size() && kept > 0) --kept;  // the last token is evaluated again for its logits
    const bool is_far = expected.size() - kept > max_behind, is_full = expected.size() + max_behind > session_->context();
    if (kept == 0 || is_far || is_full) {
      kept = 0;
      skipped_ = text.size() - std::min({text.size(), max_context, session_->context() / 2 + 1});
    }
    session_->truncate(kept);
    return text.subspan(skipped_ + kept);
  }

  Session* session_;
  LogitRequest request_;
  std::size_t skipped_ = 0;  // the number of tokens of the text before the first one of the session
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
