// SPDX-License-Identifier: Apache-2.0
//
// A small model guesses what a large one will say. Both have the same vocabulary; the large one checks all guesses in one batch
// (model/decoder.hpp), so the text stays its own.
//
//   DraftModel draft(session_of_the_small_model);
//   draft.guess(text, out, pays)
//
// The small model follows the text: what its session holds of it is not evaluated again. A session that has fallen far behind,
// because guessing did not pay for a while, begins anew with the end of the text, which costs one small batch. So it never reads
// more than the last `most_context` tokens at a time, and a long prompt costs it next to nothing.
//
// Speculative decoding: Leviathan et al., 2023; Chen et al., 2023. Their rule of acceptance is not needed, because the checked text
// is sampled as ever from logits that are the same bits in a batch as one by one.
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
  static constexpr std::size_t most_context = 512;  // of the text's end, where the session begins anew
  static constexpr std::size_t most_behind = 64;    // tokens that are evaluated to catch up

  // `session`: of the small model. It outlives this, and its text is this object's from now on. `vocabulary`: the ids that both
  // models have; the large one never guesses others.
  DraftModel(Session& session, std::size_t vocabulary) : session_(&session) { request_ = {2, {}, vocabulary}; }

  // Writes guesses at what follows `text` until `out` is full or pays(confidence of the guess just written) says that no further
  // one is worth its time. Confidence is the chance of the best token if there were only the best two: 0.5 to 1. Returns how many
  // guesses it wrote; 0 as well where the small model's context is full.
  template <class Pays>
  Result<std::size_t> guess(std::span<const std::uint32_t> text, std::span<std::uint32_t> out, Pays&& pays) {
    std::size_t written = 0;
    if (text.empty()) return written;
    std::span<const std::uint32_t> ids = follow(text);
    while (written < out.size() && ids.size() <= session_->context() - session_->size()) {
      const Result<std::span<const Candidate>> best = session_->evaluate(ids, request_);
      if (!best) return best.error();
      // Ties and order are the sampler's (ranks_before); NaN of a damaged model is no guess.
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
  // Makes the session's text a beginning of `text`, or of its end, and returns what is left to evaluate: at least one token.
  std::span<const std::uint32_t> follow(std::span<const std::uint32_t> text) {
    const std::span<const std::uint32_t> held = session_->ids(), expected = text.subspan(std::min(skipped_, text.size()));
    const std::size_t most = std::min(held.size(), expected.size());
    std::size_t kept = 0;
    while (kept < most && held[kept] == expected[kept]) ++kept;
    if (kept == expected.size() && kept > 0) --kept;  // the last one is evaluated for its logits
    const bool is_far = expected.size() - kept > most_behind, is_full = expected.size() + most_behind > session_->context();
    if (kept == 0 || is_far || is_full) {
      kept = 0;
      skipped_ = text.size() - std::min({text.size(), most_context, session_->context() / 2 + 1});
    }
    session_->truncate(kept);
    return text.subspan(skipped_ + kept);
  }

  Session* session_;
  LogitRequest request_;
  std::size_t skipped_ = 0;  // tokens of the text before the session's
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
