// SPDX-License-Identifier: Apache-2.0
//
// Example 4: from logits to the next token. The program draws 100 000 times among six tokens with each of several settings. For every
// token it prints how often the token was drawn, and next to that the token's probability, which is computed here from the definition
// of each filter:
//
//     top-k   keep the k most likely             top-p   keep the fewest that together reach p
//     min-p   keep those at least min_p times as likely as the best
//     then    probability ~ e^(logit / temperature) among what was kept
//
//   c++ -std=c++20 -O2 -Istilla/include -Istilla/kernels 04_sampling.cpp -o 04 && ./04
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include <stilla/sampling.hpp>

namespace {

// The logits are sorted from likely to unlikely, because this example's own filters, below, are short for sorted logits. The library's
// sampler takes logits in any order.
const std::vector<float> logits{3.0f, 2.5f, 2.0f, 1.0f, 0.0f, -1.0f};

std::vector<double> softmax(const std::vector<float>& x, double temperature, std::size_t kept) {
  std::vector<double> p(x.size(), 0.0);
  double sum = 0.0;
  for (std::size_t i = 0; i < kept; ++i) sum += p[i] = std::exp(double{x[i]} / temperature);
  for (double& value : p) value /= sum;
  return p;
}

std::vector<double> expected(const stilla::SamplingOptions& options) {
  std::size_t kept = logits.size();
  if (options.top_k != 0 && options.top_k < kept) kept = options.top_k;
  // top-p and min-p use the probabilities at temperature 1, because the temperature is applied last.
  const std::vector<double> p = softmax(logits, 1.0, kept);
  double sum = 0.0;
  for (std::size_t i = 0; i < kept; ++i) {
    if (p[i] < double{options.min_p} * p[0]) kept = i;
    sum += p[i];
    if (sum >= double{options.top_p}) kept = i + 1;
  }
  return softmax(logits, double{options.temperature}, kept);
}

bool draws_follow(const char* name, const stilla::SamplingOptions& options) {
  constexpr int draws = 100000;
  std::vector<int> count(logits.size(), 0);
  stilla::Sampler sampler(options);
  for (int i = 0; i < draws; ++i) ++count[*sampler.sample(logits)];

  bool ok = true;
  std::printf("%-34s", name);
  const std::vector<double> p = expected(options);
  for (std::size_t t = 0; t < p.size(); ++t) {
    // The number of times that a token was drawn may differ from its expected value by five standard deviations of a binomial
    // distribution. With a correct sampler it differs by more only once in two million times.
    const double off = std::fabs(count[t] - draws * p[t]);
    ok = ok && off <= 5 * std::sqrt(draws * p[t] * (1 - p[t])) + 1e-6 * draws;
    std::printf("  %.3f (%.3f)", static_cast<double>(count[t]) / draws, p[t]);
  }
  std::printf("%s\n", ok ? "" : "  WRONG");
  return ok;
}

std::vector<std::uint32_t> tokens(std::uint64_t seed) {
  stilla::SamplingOptions options;
  options.seed = seed;
  stilla::Sampler sampler(options);
  std::vector<std::uint32_t> drawn;
  for (int i = 0; i < 20; ++i) drawn.push_back(*sampler.sample(logits));
  return drawn;
}

}  // namespace

int main() {
  bool ok = true;
  std::printf("frequency (probability) of token 0, 1, ...\n");
  stilla::SamplingOptions plain;
  plain.temperature = 1.0f;
  plain.top_p = 1.0f;
  ok &= draws_follow("temperature 1", plain);
  stilla::SamplingOptions hot = plain;
  hot.temperature = 2.0f;
  ok &= draws_follow("temperature 2", hot);
  stilla::SamplingOptions top_k = plain;
  top_k.top_k = 3;
  ok &= draws_follow("top-k 3", top_k);
  stilla::SamplingOptions top_p = plain;
  top_p.top_p = 0.8f;
  ok &= draws_follow("top-p 0.8", top_p);
  stilla::SamplingOptions min_p = plain;
  min_p.min_p = 0.3f;
  ok &= draws_follow("min-p 0.3", min_p);
  ok &= draws_follow("the default: 0.6, top-p 0.95", stilla::SamplingOptions{});

  // With temperature 0 the choice is greedy: the best token is always chosen, whatever the seed is.
  stilla::SamplingOptions greedy;
  greedy.temperature = 0.0f;
  ok &= *stilla::Sampler(greedy).sample(logits) == 0 && *stilla::greedy_token(logits) == 0;

  // A token that the text already holds can be made less likely: with a repetition penalty of 1.5, the logit 3.0 of token 0
  // becomes 2.0, which is less than the logit 2.5 of token 1.
  greedy.repetition_penalty = 1.5f;
  stilla::Sampler penalised(greedy);
  penalised.accept(0);
  ok &= *penalised.sample(logits) == 1;
  std::printf("\ngreedy: token 0; once token 0 was said, with a repetition penalty of 1.5: token 1\n");

  // The random generator is the library's own, so a seed gives the same text on every machine.
  for (const std::uint64_t seed : {std::uint64_t{1}, std::uint64_t{2}}) {
    std::printf("seed %d:", static_cast<int>(seed));
    for (const std::uint32_t t : tokens(seed)) std::printf(" %u", t);
    std::printf("\n");
  }
  ok &= tokens(1) == tokens(1) && tokens(1) != tokens(2);

  std::printf("%s\n", ok ? "ok: draws follow the probabilities, seeds repeat" : "WRONG");
  return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
