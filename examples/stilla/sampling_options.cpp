// SPDX-License-Identifier: Apache-2.0
//
// The options of the sampling chain, which have the names that llama.cpp gives them.
#include <algorithm>
#include <cmath>
#include <random>

#include "options.hpp"
#include "output.hpp"

namespace program {
namespace {

constexpr auto max_count = std::size_t{std::numeric_limits<std::int32_t>::max()};

// Reads a token id and the bias of its logit: "15043+1", "15043-0.5" or "15043-inf".
std::pair<std::uint32_t, float> parse_bias(std::string_view text) {
  const std::size_t sign = std::min(text.find_first_of("+-"), text.size());
  const auto id = number_of<std::uint32_t>(text.substr(0, sign), 0, std::numeric_limits<std::uint32_t>::max());
  const std::string_view amount = text.substr(std::min(sign + 1, text.size()));
  const std::optional<float> size = amount == "inf" ? std::optional(HUGE_VALF) : number_of(amount, 0.0f, 1e6f);
  if (!id || !size) {
    throw CLI::ValidationError("--logit-bias", fmt::format("found '{}'; expected a token id and what to add to its logit, "
                                                           "such as 15043+1, 15043-0.5 or 15043-inf",
                                                           stilla::printable(text)));
  }
  return {*id, text[sign] == '-' ? -*size : *size};
}

constexpr const char* group = "Sampling";

template <class T>
void add_sampling_number(CLI::App& app, const char* name, T& value, T least, T most, const char* help) {
  add_number<T>(app, name, value, least, most, help)->group(group);
}

void add_filters(CLI::App& app, stilla::SamplingOptions& s) {
  add_sampling_number(app, "--temp", s.temperature, 0.0f, 100.0f,
                      "Temperature (default 0.6, which DeepSeek advises for R1): higher for more varied text; 0 always takes the likeliest "
                      "token");
  add_sampling_number(app, "--top-k", s.top_k, std::size_t{0}, max_count, "Keep the k likeliest tokens; 0: all (default 0)");
  add_sampling_number(app, "--top-p", s.top_p, 0.0f, 1.0f,
                      "Keep the likeliest tokens that together reach p (default 0.95, which DeepSeek advises for R1): lower to leave out "
                      "unlikely words; 1: all");
  add_sampling_number(app, "--min-p", s.min_p, 0.0f, 1.0f, "Drop tokens less than p times as likely as the best (default 0)");
  add_sampling_number(app, "--typical", s.typical_p, 0.0f, 1.0f, "Keep the most typical tokens that together reach p; 1: all (default)");
  add_sampling_number(app, "--xtc-probability", s.xtc_probability, 0.0f, 1.0f,
                      "How often to drop all likely tokens but the last (default 0)");
  add_sampling_number(app, "--xtc-threshold", s.xtc_threshold, 0.0f, 1.0f, "What is likely enough for that (default 0.1)");
}

void add_penalties(CLI::App& app, SamplingChoice& choice) {
  stilla::SamplingOptions& s = choice.options;
  add_sampling_number(app, "--repeat-penalty", s.repetition_penalty, 0.01f, 100.0f, "Penalty on repeated tokens; 1: none (default)");
  add_sampling_number(app, "--presence-penalty", s.presence_penalty, -100.0f, 100.0f, "Taken from tokens that occurred (default 0)");
  add_sampling_number(app, "--frequency-penalty", s.frequency_penalty, -100.0f, 100.0f,
                      "Taken from tokens for each time they occurred (default 0)");
  add_sampling_number(app, "--repeat-last-n", s.penalty_window, std::size_t{0}, max_count,
                      "How many tokens back these three look (default 64)");
  add_sampling_number(app, "--dry-multiplier", s.dry.multiplier, 0.0f, 100.0f,
                      "Penalty on tokens that would carry on a repeated passage; 0: none (default)");
  add_sampling_number(app, "--dry-base", s.dry.base, 1.0f, 100.0f, "It grows by this for each further token (default 1.75)");
  add_sampling_number(app, "--dry-allowed-length", s.dry.allowed_length, std::size_t{0}, max_count,
                      "Passages shorter than this may be repeated (default 2)");
  add_sampling_number(app, "--dry-penalty-last-n", s.dry_window, std::size_t{0}, max_count,
                      "How many tokens back it looks; 0: the whole text (default)");
  app.add_option("--dry-sequence-breaker", choice.dry_breakers,
                 "Passages do not reach over this text (default: the end of a line, : \" *); none: no text does")
      ->type_name("TEXT")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->allow_extra_args(false)  // otherwise CLI11 would read [END] as a list
      ->group(group);
}

void add_mirostat(CLI::App& app, stilla::SamplingOptions& s) {
  app.add_option_function<std::string>(
         "--mirostat",
         [&s](const std::string& text) {
           if (text != "0" && text != "2") {
             throw CLI::ValidationError("--mirostat", fmt::format("found '{}'; supported: 0 (off), 2", stilla::printable(text)));
           }
           s.mirostat = text == "2";
         },
         "2: mirostat 2 instead of the filters above (default 0)")
      ->type_name("N")
      ->group(group);
  add_sampling_number(app, "--mirostat-ent", s.mirostat_tau, 0.0f, 100.0f, "The surprise that mirostat keeps, in bits (default 5)");
  add_sampling_number(app, "--mirostat-lr", s.mirostat_eta, 0.0f, 10.0f, "How fast it learns (default 0.1)");
}

}  // namespace

void add_sampling_options(CLI::App& app, SamplingChoice& choice) {
  stilla::SamplingOptions& s = choice.options;
  add_filters(app, s);
  add_penalties(app, choice);
  add_mirostat(app, s);
  app.add_option_function<std::vector<std::string>>(
         "-l,--logit-bias",
         [&s](const std::vector<std::string>& texts) {
           s.logit_bias.clear();
           s.banned.clear();
           for (const std::string& text : texts) {
             const auto bias = parse_bias(text);
             if (bias.second == -HUGE_VALF) {
               s.banned.push_back(bias.first);
             } else {
               s.logit_bias.push_back(bias);
             }
           }
         },
         "Add to a token's logit: 15043+1; 15043-inf bans it")
      ->type_name("ID+N")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->group(group);
  app.add_option_function<std::string>(
         "--samplers",
         [&s](const std::string& text) {
           const stilla::Result<stilla::SamplingOrder> order = stilla::SamplingOrder::parse(text);
           if (!order) throw CLI::ValidationError("--samplers", order.error().message);
           s.order = *order;
         },
         fmt::format("The steps and their order (default {})", stilla::default_sampling_order))
      ->type_name("LIST")
      ->group(group);
  app.add_option_function<std::string>(
         "-s,--seed",
         [&choice](const std::string& text) {
           choice.seed.reset();
           if (text == "-1") return;
           choice.seed = parse_number<std::uint64_t>("--seed", text, 0, std::numeric_limits<std::uint64_t>::max());
         },
         "The same seed gives the same text (default: another each time; --verbose tells it)")
      ->type_name("N")
      ->group(group);
}

stilla::SamplingOptions sampling_options(const SamplingChoice& choice, const stilla::Tokenizer& tokenizer) {
  stilla::SamplingOptions out = choice.options;
  out.vocabulary = tokenizer.size();
  const auto check_id = [&](std::uint32_t id) {
    if (id < tokenizer.size()) return;
    fail(exit_usage, fmt::format("--logit-bias: token id {} is outside the vocabulary of {} tokens", id, tokenizer.size()));
  };
  for (const std::pair<std::uint32_t, float>& bias : out.logit_bias) check_id(bias.first);
  for (const std::uint32_t id : out.banned) check_id(id);
  if (choice.seed) {
    out.seed = *choice.seed;
  } else {
    std::random_device device;
    out.seed = std::uint64_t{device()} << 32 | device();
  }
  if (out.dry.multiplier == 0.0f) return out;
  for (std::uint32_t id = 0; id < tokenizer.size(); ++id) {
    const std::string_view piece = tokenizer.piece(id, stilla::ControlText::show);
    const auto is_inside = [&](const std::string& breaker) { return breaker != "none" && piece.find(breaker) != std::string_view::npos; };
    if (std::any_of(choice.dry_breakers.begin(), choice.dry_breakers.end(), is_inside)) out.dry.breakers.push_back(id);
  }
  return out;
}

}  // namespace program
