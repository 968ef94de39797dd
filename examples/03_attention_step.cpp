// SPDX-License-Identifier: Apache-2.0
//
// Example 3: one attention step of a decoder, in the shape of a layer of R1-Distill-Qwen-1.5B: 12 query heads share 2
// key/value heads of 128 dimensions (grouped-query attention). The text has 300 tokens already; one more arrives:
//
//     rotate its query and key by their position (RoPE)
//     append key and value to the cache
//     out[h] = sum over j of softmax_j(query[h] . key[j] / sqrt(128)) * value[j]        j: all 301 positions
//
// The result is compared with a plain loop in double precision over the same numbers.
//
//   c++ -std=c++20 -O2 -Istilla/include -Istilla/kernels 03_attention_step.cpp -o 03 && ./03
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include <stilla/attention.hpp>
#include <stilla/kv_cache.hpp>
#include <stilla/base/random.hpp>
#include <stilla/rope.hpp>

namespace {

// Prints the error and ends the program if an op refused its arguments.
void must(const stilla::Status& status) {
  if (status) return;
  std::fprintf(stderr, "attention_step: %s\n", status.error().message.c_str());
  std::exit(EXIT_FAILURE);
}

constexpr std::size_t n_heads = 12, n_kv_heads = 2, D = 128, T = 301;
constexpr double rope_base = 10000.0;

std::vector<float> noise(std::size_t count, std::uint64_t seed) {
  stilla::Random random(seed);
  std::vector<float> values(count);
  for (float& v : values) v = static_cast<float>(2 * random.uniform() - 1);
  return values;
}

// Rotates one head of 128 values, as RoPE does: the pair (i, i + 64) is rotated by the angle position / base^(i / 64).
void rotate(const float* x, std::size_t position, double* rotated) {
  for (std::size_t i = 0; i < D / 2; ++i) {
    const double angle = static_cast<double>(position) * std::pow(rope_base, -2.0 * static_cast<double>(i) / D);
    rotated[i] = x[i] * std::cos(angle) - x[i + D / 2] * std::sin(angle);
    rotated[i + D / 2] = x[i] * std::sin(angle) + x[i + D / 2] * std::cos(angle);
  }
}

// Returns the attention of the last position, computed in double precision. Also sets *magnitude to the highest sum of
// |query * key| / sqrt(D) over the D values of a head, among all query heads and positions. If keys are rounded with a relative
// error of up to u, no score changes by more than u times *magnitude.
std::vector<double> naive_attention(const std::vector<float>& q, const std::vector<float>& keys, const std::vector<float>& values,
                                    double* magnitude) {
  std::vector<double> out(n_heads * D, 0.0), scores(T);
  double query[D], key[D];
  *magnitude = 0.0;
  for (std::size_t h = 0; h < n_heads; ++h) {
    const std::size_t g = h / (n_heads / n_kv_heads);  // neighbouring query heads share a key/value head
    rotate(q.data() + h * D, T - 1, query);
    for (std::size_t j = 0; j < T; ++j) {
      rotate(keys.data() + (j * n_kv_heads + g) * D, j, key);
      double score = 0.0, size = 0.0;
      for (std::size_t d = 0; d < D; ++d) {
        score += query[d] * key[d];
        size += std::fabs(query[d] * key[d]);
      }
      scores[j] = score / std::sqrt(double{D});
      *magnitude = std::max(*magnitude, size / std::sqrt(double{D}));
    }
    const double highest = *std::max_element(scores.begin(), scores.end());
    double sum = 0.0;
    for (double& s : scores) sum += s = std::exp(s - highest);
    for (std::size_t j = 0; j < T; ++j) {
      const float* value = values.data() + (j * n_kv_heads + g) * D;
      for (std::size_t d = 0; d < D; ++d) out[h * D + d] += scores[j] / sum * double{value[d]};
    }
  }
  return out;
}

}  // namespace

int main() {
  const std::vector<float> q = noise(n_heads * D, 3);         // the new token's query heads
  const std::vector<float> k = noise(T * n_kv_heads * D, 4);  // keys of all tokens, not yet rotated
  const std::vector<float> v = noise(T * n_kv_heads * D, 5);
  double magnitude = 0.0;
  const std::vector<double> expected = naive_attention(q, k, v, &magnitude);

  // The cosines and sines of a rotation depend only on the position: one row of them serves all heads and layers.
  const stilla::RopeFrequencies frequencies(rope_base, D);
  std::vector<float> cos(D / 2), sin(D / 2);
  const stilla::ConstMatrix cos_row(cos.data(), 1, D / 2), sin_row(sin.data(), 1, D / 2);

  bool ok = true;
  std::printf("cache   bytes     out[0]        in double     highest error   allowed\n");
  for (const stilla::KvType type : {stilla::KvType::f32, stilla::KvType::f16, stilla::KvType::bf16}) {
    auto cache = stilla::KvCache::create({1, n_kv_heads, D, type});
    if (!cache || !cache->reserve(T)) return EXIT_FAILURE;

    for (std::size_t position = 0; position < T; ++position) {  // 300 steps of the past, then the new one
      std::vector<float> key(k.begin() + static_cast<std::ptrdiff_t>(position * n_kv_heads * D),
                             k.begin() + static_cast<std::ptrdiff_t>((position + 1) * n_kv_heads * D));
      frequencies.table_row(cos.data(), sin.data(), position);
      must(stilla::rope({key.data(), 1, key.size()}, D, cos_row, sin_row, stilla::RopeLayout::half_split));
      must(cache->store(0, position, key.data(), v.data() + position * n_kv_heads * D));
      cache->set_size(position + 1);
    }
    std::vector<float> query = q, out(n_heads * D);  // cos and sin now hold the last position's row
    must(stilla::rope({query.data(), 1, query.size()}, D, cos_row, sin_row, stilla::RopeLayout::half_split));
    must(stilla::attention({out.data(), 1, out.size()}, {query.data(), 1, query.size()}, *cache, 0, T - 1, n_heads));

    double error = 0.0;
    for (std::size_t i = 0; i < out.size(); ++i) error = std::max(error, std::fabs(double{out[i]} - expected[i]));
    // The cache rounds keys and values with a relative error of up to `unit`. A score then changes by up to unit * magnitude, where
    // magnitude is the highest sum of |query * key| / sqrt(128) over a head. So a weight of the softmax changes, relatively, by up to twice
    // as much. The values are at most 1. With a float cache only the roundings of the sums remain: a score adds up 128 terms, and a
    // value of the result adds up 301.
    const double unit = type == stilla::KvType::f32 ? 0.0 : type == stilla::KvType::f16 ? 0x1p-11 : 0x1p-8;
    const double allowed = (unit + 0x1p-24 * D) * 2 * magnitude + unit + 0x1p-24 * T;
    ok = ok && error <= allowed;
    std::printf("%-7s %-9zu %-13.7f %-13.7f %-15.2g %.2g\n",
                type == stilla::KvType::f32   ? "f32"
                : type == stilla::KvType::f16 ? "f16"
                                              : "bf16",
                cache->bytes(), out[0], expected[0], error, allowed);
  }
  std::printf("%s\n", ok ? "ok: within the bounds" : "WRONG");
  return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
