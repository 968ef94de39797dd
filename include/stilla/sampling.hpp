// SPDX-License-Identifier: Apache-2.0
//
// Chooses the next token from logits. First come the wishes of the caller: ids behind the vocabulary (padding), banned tokens and
// tokens that a mask forbids are removed, and logit biases are added. Then come the steps of SamplingOptions::order. Each step is
// off unless its option turns it on. The default order is that of llama.cpp, so that settings for llama.cpp can be used here:
//
//   penalties, dry                       sampling/penalties.hpp
//   top_k, typ_p, top_p, min_p, xtc      sampling/filters.hpp; mirostat 2, if it is on, replaces all five
//   temperature                          the probabilities from here on are those of logits / temperature
//
// At the end a token is drawn. Temperature 0 takes the highest logit, and the lowest id among equal ones; of the steps only
// penalties and dry then have an effect. Penalties use the logits of the model, wherever they stand in the order.
//
// Greedy choice, and orders whose first filter is top_k, need only a few of the logits. request() says which. The head then need
// not write a whole row of logits (stilla/head.hpp, Session::evaluate). sample_from() draws the same token from the few logits:
//
//   const LogitRequest* request = sampler.request();  // null: it needs all logits, as top_p over all tokens does
//   id = request != nullptr ? sampler.sample_from(*text.evaluate(ids, *request)) : sampler.sample(*text.evaluate(ids));
//
// The same seed gives the same tokens on every target and platform. NaN logits are never chosen. A token of probability 0 is not
// chosen either if there are others. No memory is allocated once a text with this vocabulary has been sampled. The defaults are
// DeepSeek's advice for R1: temperature 0.6, top-p 0.95. bench/sampling_bench.cpp measures the cost.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <stilla/base/error.hpp>
#include <stilla/base/random.hpp>
#include <stilla/sampling/candidates.hpp>
#include <stilla/sampling/filters.hpp>
#include <stilla/sampling/penalties.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

enum class SamplingStep : std::uint8_t { penalties, dry, top_k, typ_p, top_p, min_p, xtc, temperature };

// The names of the sampling steps, as llama.cpp uses them.
inline constexpr std::string_view sampling_step_names[] = {"penalties", "dry", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature"};
inline constexpr std::string_view default_sampling_order = "penalties;dry;top_k;typ_p;top_p;min_p;xtc;temperature";

// The sampling steps in the order in which they are done. Each occurs at most once. A step that is not in the order is not done.
class SamplingOrder {
 public:
  // Makes the default order, which is that of llama.cpp.
  constexpr SamplingOrder() = default;

  // Reads an order such as "top_k;top_p;temperature".
  static Result<SamplingOrder> parse(std::string_view text) {
    SamplingOrder order;
    order.count_ = 0;
    while (!text.empty()) {
      const std::size_t end = std::min(text.find(';'), text.size());
      const std::string_view name = text.substr(0, end);
      const auto found = std::find(std::begin(sampling_step_names), std::end(sampling_step_names), name);
      if (found == std::end(sampling_step_names)) {
        return Error{ErrorKind::bad_argument,
                     concat("sampling step '", printable(name), "' is not known; known: ", default_sampling_order)};
      }
      const auto step = static_cast<SamplingStep>(found - std::begin(sampling_step_names));
      if (order.has(step)) return Error{ErrorKind::bad_argument, concat("sampling step '", name, "' is there twice")};
      order.steps_[order.count_++] = step;
      text.remove_prefix(std::min(end + 1, text.size()));
    }
    return order;
  }

  const SamplingStep* begin() const { return steps_.data(); }
  const SamplingStep* end() const { return steps_.data() + count_; }
  bool has(SamplingStep step) const { return std::find(begin(), end(), step) != end(); }

 private:
  std::array<SamplingStep, 8> steps_{SamplingStep::penalties, SamplingStep::dry,   SamplingStep::top_k, SamplingStep::typ_p,
                                     SamplingStep::top_p,     SamplingStep::min_p, SamplingStep::xtc,   SamplingStep::temperature};
  std::size_t count_ = 8;
};

struct SamplingOptions {
  float temperature = 0.6f;         // 0: greedy
  std::size_t top_k = 0;            // 0: off
  float top_p = 0.95f;              // 1: off
  float min_p = 0.0f;               // 0: off
  float typical_p = 1.0f;           // 1: off
  float xtc_probability = 0.0f;     // 0: off
  float xtc_threshold = 0.1f;
  bool mirostat = false;            // mirostat 2
  float mirostat_tau = 5.0f;        // the surprise to keep, in bits
  float mirostat_eta = 0.1f;
  float repetition_penalty = 1.0f;  // 1: off
  float presence_penalty = 0.0f;
  float frequency_penalty = 0.0f;
  std::size_t penalty_window = 64;  // how many of the last tokens these three penalties see
  DryPenalty::Options dry{};
  std::size_t dry_window = 0;       // 0: the whole text
  std::vector<std::pair<std::uint32_t, float>> logit_bias{};
  std::vector<std::uint32_t> banned{};
  std::size_t vocabulary = 0;       // ids from here on are padding; 0: there is no padding
  SamplingOrder order{};
  std::uint64_t seed = 0;
};

// Returns the id of the highest logit, and the lowest id among equal logits. Returns nothing if no logit is a number.
inline std::optional<std::uint32_t> greedy_token(std::span<const float> logits) {
  std::optional<std::uint32_t> best;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (std::isnan(logits[i])) continue;
    if (!best || logits[i] > logits[*best]) best = static_cast<std::uint32_t>(i);
  }
  return best;
}

class Sampler {
 public:
  explicit Sampler(SamplingOptions options)
      : options_(std::move(options)), random_(options_.seed), mirostat_(options_.mirostat_tau, options_.mirostat_eta) {
    std::sort(options_.dry.breakers.begin(), options_.dry.breakers.end());
    has_temperature_ = options_.order.has(SamplingStep::temperature);
    window_ = options_.order.has(SamplingStep::penalties) && penalties().is_on() ? options_.penalty_window : 0;
    if (options_.order.has(SamplingStep::dry) && options_.dry.multiplier != 0.0f) {
      window_ = options_.dry_window == 0 ? unbounded : std::max(window_, options_.dry_window);
    }
    if (window_ > unbounded / 4) window_ = unbounded;  // longer than any text, and 2 * window_ does not overflow
  }

  const SamplingOptions& options() const { return options_; }

  // Begins a new text, which starts with these tokens. Earlier tokens no longer count. The random numbers continue.
  void begin(std::span<const std::uint32_t> text) {
    text_.clear();
    mirostat_.reset();
    for (const std::uint32_t id : text.last(std::min(text.size(), window_))) accept(id);
  }

  // Tells the sampler that this token was added to the text, for the penalties. Call it for prompt tokens too if they are to
  // count.
  void accept(std::uint32_t token) {
    if (window_ == 0) return;
    if (window_ != unbounded && text_.size() == 2 * window_) {
      text_.erase(text_.begin(), text_.end() - static_cast<std::ptrdiff_t>(window_));
    }
    text_.push_back(token);
  }

  // Says which logits the next token depends on. The pointer is valid until the next call. It is null if the token depends on all
  // logits. `guesses` are tokens that lookup decoding may accept before this token.
  const LogitRequest* request(std::span<const std::uint32_t> guesses = {}) {
    const std::size_t best = deciding_logits();
    const std::span<const std::uint32_t> text = last(window_);
    const std::size_t others = options_.banned.size() + options_.logit_bias.size() + text.size() + guesses.size();
    if (best == 0 || best > max_requested || others > max_requested) return nullptr;
    request_.best = best;
    request_.vocabulary = options_.vocabulary;
    std::vector<std::uint32_t>& also = request_.also;  // ids whose logits may change
    also.assign(options_.banned.begin(), options_.banned.end());
    for (const auto& bias : options_.logit_bias) also.push_back(bias.first);
    also.insert(also.end(), text.begin(), text.end());
    if (window_ != 0) also.insert(also.end(), guesses.begin(), guesses.end());
    std::sort(also.begin(), also.end());
    also.erase(std::unique(also.begin(), also.end()), also.end());
    return &request_;
  }

  // Draws the token that sample() would draw from the whole row of logits, given only the candidates that request() asked for.
  std::optional<std::uint32_t> sample_from(std::span<const Candidate> candidates) {
    candidates_.assign(candidates);
    return draw();
  }

  // Draws the next token. Returns nothing if no allowed token has a logit that is a number. It does not call accept().
  std::optional<std::uint32_t> sample(std::span<const float> logits) { return sample(logits, nullptr); }

  // Draws the next token among those that the caller allows, by a grammar for instance: allowed(id) is called for each id.
  template <class Allowed>
  std::optional<std::uint32_t> sample(std::span<const float> logits, Allowed&& allowed) {
    if (options_.vocabulary != 0) logits = logits.first(std::min(logits.size(), options_.vocabulary));
    candidates_.assign(logits);
    if constexpr (!std::is_null_pointer_v<std::remove_cvref_t<Allowed>>) {
      candidates_.remove_if([&](const Candidate& c) { return !allowed(c.id); });
    }
    return draw();
  }

 private:
  static constexpr std::size_t unbounded = static_cast<std::size_t>(-1);
  // The largest number of ids in a request. With more ids, a request would not be shorter than a whole row of logits of a small vocabulary.
  static constexpr std::size_t max_requested = 1024;

  bool is_greedy() const { return has_temperature_ && !(options_.temperature > 0.0f); }

  // Returns how many logits must be requested so that the token is the same as with the whole row of logits: the best ones among the
  // logits that no option changes. (The logits that an option changes are always requested as well.) Returns 0 if no number of logits
  // is enough. For top-k the number is one more than top-k keeps: top-k then has something to remove, and sorts the candidates, as it
  // would with the whole row.
  std::size_t deciding_logits() const {
    if (is_greedy()) return 1;
    if (options_.mirostat || options_.top_k == 0 || options_.top_k >= max_requested) return 0;
    for (const SamplingStep step : options_.order) {
      if (step == SamplingStep::top_k) return options_.top_k + 1;
      if (step == SamplingStep::typ_p && options_.typical_p < 1.0f) return 0;
      if (step == SamplingStep::top_p && options_.top_p < 1.0f) return 0;
      if (step == SamplingStep::min_p && options_.min_p > 0.0f) return 0;
      if (step == SamplingStep::xtc && options_.xtc_probability > 0.0f) return 0;
    }
    return 0;
  }

  std::optional<std::uint32_t> draw() {
    for (const std::uint32_t id : options_.banned) {
      candidates_.change(id, [](float& logit) { logit = std::nanf(""); });
    }
    for (const auto& bias : options_.logit_bias) {
      candidates_.change(bias.first, [&](float& logit) { logit += bias.second; });
    }
    candidates_.settle();

    for (const SamplingStep step : options_.order) {
      if (!is_greedy() || step == SamplingStep::penalties || step == SamplingStep::dry) apply(step);
    }
    if (candidates_.empty()) return std::nullopt;
    if (is_greedy()) return candidates_.best().id;
    if (options_.mirostat) mirostat_.keep(candidates_);
    const Candidate drawn = candidates_.at(random_.uniform());
    if (options_.mirostat) mirostat_.observe(candidates_, drawn);
    return drawn.id;
  }

  RepeatPenalties penalties() const { return {options_.repetition_penalty, options_.presence_penalty, options_.frequency_penalty}; }
  std::span<const std::uint32_t> last(std::size_t count) const {
    const std::span<const std::uint32_t> text = text_;
    return text.last(std::min(text.size(), count));
  }

  void apply(SamplingStep step) {
    switch (step) {
      case SamplingStep::penalties: return penalise_repeats(candidates_, penalties(), last(options_.penalty_window), scratch_);
      case SamplingStep::dry:
        return dry_.apply(candidates_, options_.dry, last(options_.dry_window == 0 ? unbounded : options_.dry_window));
      case SamplingStep::temperature: return candidates_.set_temperature(options_.temperature);
      default: break;
    }
    if (options_.mirostat) return;
    switch (step) {
      case SamplingStep::top_k: return keep_top_k(candidates_, options_.top_k);
      case SamplingStep::typ_p: return typical_.keep(candidates_, options_.typical_p);
      case SamplingStep::top_p: return keep_top_p(candidates_, options_.top_p);
      case SamplingStep::min_p: return keep_min_p(candidates_, options_.min_p);
      case SamplingStep::xtc: return exclude_top_choices(candidates_, options_.xtc_probability, options_.xtc_threshold, random_);
      default: return;
    }
  }

  SamplingOptions options_;
  Random random_;
  Mirostat mirostat_;
  TypicalFilter typical_;
  DryPenalty dry_;
  Candidates candidates_;
  LogitRequest request_;
  std::vector<std::uint32_t> text_;  // the end of the text, as far as steps look back
  std::vector<std::uint32_t> scratch_;
  std::size_t window_ = 0;  // how many tokens of the text count
  bool has_temperature_ = false;
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
