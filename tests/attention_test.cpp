// SPDX-License-Identifier: Apache-2.0
//
// Tests of attention. The target `scalar` is compared with PyTorch. Every target is compared with scalar for every cache type,
// bit for bit, whatever the number of queries, the chunks of a prefill, the scratch memory and the number of threads.
#include <stilla/attention.hpp>

#include <memory>

#include "test_util.hpp"

namespace {

using namespace stilla_test;

template <class E>
constexpr KvType kv_type_of = std::is_same_v<E, float>    ? KvType::f32
                              : std::is_same_v<E, f16>    ? KvType::f16
                              : std::is_same_v<E, bf16>   ? KvType::bf16
                              : std::is_same_v<E, KvInt8> ? KvType::int8
                                                          : KvType::int5;

struct Shape {
  std::size_t heads;     // H
  std::size_t kv_heads;  // G
  std::size_t head_dim;  // D
};

// Stores noise as the keys and values of position j, in a cache of a model with one layer. Caches whose key/value heads have the
// same number and size get the same noise.
void store_noise(KvCache& cache, const Shape& s, std::size_t j) {
  const std::size_t width = s.kv_heads * s.head_dim;
  std::vector<float> key(width), value(width);
  for (std::size_t i = 0; i < width; ++i) {
    key[i] = noise(42, j * width + i);
    value[i] = noise(43, j * width + i);
  }
  EXPECT_TRUE(cache.store(0, j, key.data(), value.data()));
  cache.set_size(j + 1);
}

// Returns a cache with room for `room` positions, the first `stored` of which hold noise. All others hold NaN, which no result
// may use.
KvCache filled_cache(const Shape& s, KvType type, std::size_t stored, std::size_t room) {
  Result<KvCache> made = KvCache::create({1, s.kv_heads, s.head_dim, type});
  EXPECT_TRUE(made);
  KvCache cache = std::move(*made);
  EXPECT_TRUE(cache.reserve(room));
  const std::vector<float> nothing(s.kv_heads * s.head_dim, std::nanf(""));
  for (std::size_t j = 0; j < (room + kv_chunk - 1) / kv_chunk * kv_chunk; ++j) {
    if (j < stored) {
      store_noise(cache, s, j);
    } else {
      EXPECT_TRUE(cache.store(0, j, nothing.data(), nothing.data()));
    }
  }
  return cache;
}
KvCache filled_cache(const Shape& s, KvType type, std::size_t stored) { return filled_cache(s, type, stored, stored); }

std::vector<float> noise_queries(const Shape& s, std::size_t rows) { return noise_values(41, rows * s.heads * s.head_dim, 8.0f); }

// Calls attention() for queries whose first one stands at position `first_position`. The output and the scratch memory end at
// guard pages, which cannot be touched.
std::vector<float> attend(TargetId target, const Shape& s, const KvCache& cache, std::span<const float> queries, std::size_t first_position,
                          bool with_scratch, Parallel parallel = {}, const KeyBias& bias = {}) {
  const OnTarget on(target);
  const std::size_t width = s.heads * s.head_dim, rows = queries.size() / width;
  GuardedArray<float> input(queries);
  GuardedArray<float> out(queries.size());
  GuardedArray<float> scratch(attention_scratch_floats(rows, s.heads, s.head_dim, first_position + rows));
  std::fill(scratch.data(), scratch.data() + scratch.size(), std::nanf(""));
  EXPECT_TRUE(attention(Matrix(out.data(), rows, width), ConstMatrix(input.data(), rows, width), cache, 0, first_position, s.heads,
                        with_scratch ? scratch.data() : nullptr, parallel, bias));
  return {out.data(), out.data() + out.size()};
}

ThreadPool& pool_of(std::size_t threads) {
  static std::map<std::size_t, std::unique_ptr<ThreadPool>> pools;
  auto& pool = pools[threads];
  if (!pool) pool = std::make_unique<ThreadPool>(threads);
  return *pool;
}

// Two numbers about the scores of one query head, which are its products with the keys of all positions that it may see.
// `magnitude` is the highest sum of |query[d] * key[d]| / sqrt(D) at any of these positions; D is the number of values of a head.
// `spread` is the difference of the highest and the lowest score.
struct Scores {
  double magnitude = 0;
  double spread = 0;
};
Scores scores(const Shape& s, std::span<const float> query, std::size_t head, std::size_t visible) {
  Scores r;
  double lowest = HUGE_VAL, highest = -HUGE_VAL;
  const std::size_t g = head / (s.heads / s.kv_heads);
  for (std::size_t j = 0; j < visible; ++j) {
    double score = 0, magnitude = 0;
    for (std::size_t d = 0; d < s.head_dim; ++d) {
      const double key = double{noise(42, (j * s.kv_heads + g) * s.head_dim + d)};
      const double product = double{query[head * s.head_dim + d]} * key / std::sqrt(static_cast<double>(s.head_dim));
      score += product;
      magnitude += std::fabs(product);
    }
    lowest = std::fmin(lowest, score);
    highest = std::fmax(highest, score);
    r.magnitude = std::fmax(r.magnitude, magnitude);
  }
  r.spread = highest - lowest;
  return r;
}

// A key bias, which is one vector for all positions, and the tables with which attention rotates it by the angles of a position.
// The bias has a few large values, as that of Qwen2 has.
struct Biased {
  Biased(const Shape& s, std::size_t positions, double base = 1e6, std::size_t rotary_dim = 0, RopeLayout layout = RopeLayout::half_split)
      : tables(RopeFrequencies(base, rotary_dim == 0 ? s.head_dim : rotary_dim), s.head_dim, layout),
        values(noise_values(77, s.kv_heads * s.head_dim, 2.0f)) {
    tables.reserve(positions);
    for (std::size_t g = 0; g < s.kv_heads; ++g) values[(g + 1) * s.head_dim - 2] = 150.0f;
  }
  operator KeyBias() const { return {&tables, values.data()}; }

  KeyBiasTables tables;
  std::vector<float> values;
};

TEST(AttentionGolden, ScalarIsCloseToPyTorch) {
  double worst = 0;
  for_each_golden("attention", [&](const std::vector<std::string>& parameters, std::span<const double> expected) {
    const Shape s{std::stoul(parameters[1]), std::stoul(parameters[2]), std::stoul(parameters[3])};
    const std::size_t stored = std::stoul(parameters[4]), rows = std::stoul(parameters[5]);
    const KvCache cache = filled_cache(s, *kv_type(parameters[0]), stored);
    const std::vector<float> queries = noise_queries(s, rows);
    const std::vector<float> out = attend(Scalar::id, s, cache, queries, stored - rows, false);
    const std::size_t width = s.heads * s.head_dim;
    for (std::size_t m = 0; m < rows; ++m) {
      for (std::size_t h = 0; h < s.heads; ++h) {
        const Scores size = scores(s, std::span(queries).subspan(m * width, width), h, stored - rows + m + 1);
        // The largest error of a score, which is the dot product of the scaled query and a key of D values. The scale 1 / sqrt(D)
        // has a rounded root and a rounded quotient, and the scaled query is rounded: 3 u, where u is half a unit in the last
        // place. D fused multiply-adds follow, with u each. A cache of halves changes a key's values by at most 2^-9 of themselves,
        // which the factor 1.01 covers.
        const double score_error = static_cast<double>(s.head_dim + 3) * unit_roundoff * 1.01 * size.magnitude;
        // The error of an attention weight e^(s - max), where s is a score and max the highest one, has these parts: the errors of these
        // two scores, the rounding of their difference, and the rounding of exp (2 u, where u is half a unit in the last place). Two
        // chunks of the cache are merged with one more exp, of the difference of the chunks' maxima. So each merge adds the rounding of a
        // difference and that of exp once more. Attention weights are in their own sum and in the weighted sum of values, so their error
        // counts twice. The weighted sum adds the 256 terms of a chunk one after the other; all values are below 1. Some more roundings
        // come from the merges and from the reciprocal of the sum of attention weights.
        const double merges = static_cast<double>(stored / kv_chunk);
        const double weight_error = 2 * score_error + unit_roundoff * (1 + merges) * (size.spread + 3);
        const double bound = 2 * weight_error + unit_roundoff * (256 + 16 + 4 + 4 * merges + 3);
        for (std::size_t d = 0; d < s.head_dim; ++d) {
          const std::size_t i = m * width + h * s.head_dim + d;
          const double error = std::fabs(double{out[i]} - expected[i]);
          worst = std::fmax(worst, error);
          ASSERT_LE(error, bound) << "row " << m << " head " << h << " dimension " << d;
        }
      }
    }
  });
  std::printf("attention: worst difference from PyTorch %.3g, values up to 1\n", worst);
}

template <class C>
class Attention : public TargetTest<typename C::Target> {};

struct CaseNames {
  template <class C>
  static std::string GetName(int) {
    using E = typename C::Second;
    return std::string(C::Target::id.name) + "_" + std::string(kv_type_name(kv_type_of<E>));
  }
};
using AttentionCases = Product<Targets, TypeList<float, f16, bf16, KvInt8, KvInt5>>::Types;
TYPED_TEST_SUITE(Attention, AttentionCases, CaseNames);

STILLA_CASE_TEST(Attention, EqualsScalarInEveryShape) {
  constexpr KvType type = kv_type_of<Second>;
  for (const Shape s : {Shape{1, 1, 64}, Shape{2, 2, 16}, Shape{4, 2, 80}, Shape{5, 1, 96}, Shape{12, 2, 128}, Shape{7, 1, 64},
                        Shape{9, 1, 48}, Shape{2, 1, 256}, Shape{16, 1, 80}, Shape{17, 1, 32}}) {
    for (const std::size_t stored : {1u, 2u, 15u, 16u, 17u, 255u, 256u, 257u, 600u}) {
      if (stored == 600 && s.kv_heads == 1) continue;
      const KvCache cache = filled_cache(s, type, stored);
      const std::vector<float> query = noise_queries(s, 1);
      const std::vector<float> expected = attend(Scalar::id, s, cache, query, stored - 1, false);
      for (const bool with_scratch : {false, true}) {
        ASSERT_TRUE(same_bits(attend(target, s, cache, query, stored - 1, with_scratch), expected))
            << "H " << s.heads << " G " << s.kv_heads << " D " << s.head_dim << " T " << stored;
      }
      if (leaves_out_key_bias(type)) {
        const Biased bias(s, stored);
        ASSERT_TRUE(same_bits(attend(target, s, cache, query, stored - 1, false, {}, bias),
                              attend(Scalar::id, s, cache, query, stored - 1, false, {}, bias)))
            << "biased H " << s.heads << " G " << s.kv_heads << " D " << s.head_dim << " T " << stored;
      }
      for (const float x : expected) ASSERT_TRUE(std::isfinite(x));  // NaN stands behind the last stored position, and no result used it
    }
  }
}

// With heads of every size, the results of each target have the bits of scalar, and they are close to attention computed in
// double.
STILLA_CASE_TEST(Attention, EveryHeadSize) {
  constexpr KvType type = kv_type_of<Second>;
  // The largest difference from attention in double that is allowed, for each type of cache: about twice the worst difference of
  // all head sizes, which is 1.5e-6 (f32), 7.3e-4 (f16), 5.4e-3 (bf16), 0.032 (int8), 0.22 (int5). The queries have values up to 8,
  // which amplifies the rounding of keys.
  constexpr double allowed = type == KvType::f32    ? 3e-6
                             : type == KvType::f16  ? 1.5e-3
                             : type == KvType::bf16 ? 1.1e-2
                             : type == KvType::int8 ? 6.4e-2
                                                    : 0.44;
  constexpr std::size_t stored = 19;
  double worst = 0.0;
  for (std::size_t D = head_dim_step; D <= max_head_dim; D += head_dim_step) {
    const Shape s{3, 1, D};
    const KvCache cache = filled_cache(s, type, stored);
    const std::vector<float> query = noise_queries(s, 1);
    const std::vector<float> expected = attend(Scalar::id, s, cache, query, stored - 1, true);
    ASSERT_TRUE(same_bits(attend(target, s, cache, query, stored - 1, true), expected)) << "D " << D;
    ASSERT_TRUE(same_bits(attend(target, s, cache, query, stored - 1, false), expected)) << "D " << D;
    if (leaves_out_key_bias(type)) {
      const Biased bias(s, stored);
      ASSERT_TRUE(same_bits(attend(target, s, cache, query, stored - 1, false, {}, bias),
                            attend(Scalar::id, s, cache, query, stored - 1, false, {}, bias)))
          << "biased D " << D;
    }
    for (std::size_t h = 0; h < s.heads; ++h) {
      std::vector<double> weights(stored);
      double sum = 0.0;
      for (std::size_t j = 0; j < stored; ++j) {
        for (std::size_t d = 0; d < D; ++d) weights[j] += double{query[h * D + d]} * double{noise(42, j * D + d)};
        weights[j] = std::exp(weights[j] / std::sqrt(static_cast<double>(D)));
        sum += weights[j];
      }
      for (std::size_t d = 0; d < D; ++d) {
        double value = 0.0;
        for (std::size_t j = 0; j < stored; ++j) value += weights[j] / sum * double{noise(43, j * D + d)};
        worst = std::max(worst, std::fabs(value - double{expected[h * D + d]}));
        ASSERT_NEAR(expected[h * D + d], value, allowed) << "D " << D << " head " << h << " value " << d;
      }
    }
  }
  if (target == Scalar::id)
    std::printf("every head size, %s: worst difference from double %.3g\n", std::string(kv_type_name(type)).c_str(), worst);
}

// When several tokens are computed in one call, each sees the positions up to its own, although later ones are stored already. So
// a prefill of several tokens gives the same bits as decoding them one at a time.
STILLA_CASE_TEST(Attention, PrefillEqualsDecodeInAnyChunks) {
  constexpr KvType type = kv_type_of<Second>;
  const Shape s{6, 2, 32};
  const std::size_t width = s.heads * s.head_dim;
  for (const std::size_t rows : {1u, 2u, 7u, 8u, 9u, 20u}) {
    for (const std::size_t first : {0u, 5u, 250u, 509u}) {
      KvCache cache = filled_cache(s, type, first, first + rows);
      const std::vector<float> queries = noise_queries(s, rows);
      std::vector<float> decoded;
      for (std::size_t m = 0; m < rows; ++m) {
        store_noise(cache, s, first + m);
        const std::span<const float> query = std::span(queries).subspan(m * width, width);
        const std::vector<float> out = attend(target, s, cache, query, first + m, m % 2 == 0);
        decoded.insert(decoded.end(), out.begin(), out.end());
      }
      for (const bool with_scratch : {false, true}) {
        ASSERT_TRUE(same_bits(attend(target, s, cache, queries, first, with_scratch), decoded)) << rows << " from " << first;
      }
      std::vector<float> chunked;
      for (std::size_t m = 0; m < rows; m += 3) {
        const std::size_t count = std::min<std::size_t>(3, rows - m);
        const std::span<const float> some = std::span(queries).subspan(m * width, count * width);
        const std::vector<float> out = attend(target, s, cache, some, first + m, true);
        chunked.insert(chunked.end(), out.begin(), out.end());
      }
      ASSERT_TRUE(same_bits(chunked, decoded)) << rows << " from " << first;
    }
  }
}

STILLA_CASE_TEST(Attention, ThreadsDoNotMatter) {
  constexpr KvType type = kv_type_of<Second>;
  const Shape s{10, 2, 32};
  for (const std::size_t rows : {1u, 3u, 8u, 19u}) {
    const KvCache cache = filled_cache(s, type, 300 + rows);
    const std::vector<float> queries = noise_queries(s, rows);
    const std::vector<float> alone = attend(target, s, cache, queries, 300, false);
    for (const std::size_t threads : {2u, 3u, 7u, 16u}) {
      for (const bool with_scratch : {false, true}) {
        ASSERT_TRUE(same_bits(attend(target, s, cache, queries, 300, with_scratch, pool_of(threads)), alone))
            << rows << " rows, " << threads << " threads";
      }
    }
  }
}

// The texts are so long that one task computes several chunks of the cache, and the last task fewer. The results have the same
// bits as without scratch memory, where the chunks of a query head are not divided among tasks.
STILLA_CASE_TEST(Attention, ChunksTogetherDoNotMatter) {
  constexpr KvType type = kv_type_of<Second>;
  const Shape s{9, 9, 16};
  for (const std::size_t rows : {1u, 8u}) {
    const KvCache cache = filled_cache(s, type, 3900 + rows);  // 9 teams of query heads, each of which reads 16 chunks of the cache
    const std::vector<float> queries = noise_queries(s, rows);
    const std::vector<float> alone = attend(target, s, cache, queries, 3900, false);
    for (const std::size_t threads : {1u, 3u}) {
      ASSERT_TRUE(same_bits(attend(target, s, cache, queries, 3900, true, pool_of(threads)), alone)) << rows << " " << threads;
    }
  }
}

// Keys and queries hold NaN or infinity. Every target gives the results of scalar, which is the specification: NaN for the same
// values, and the same bits for all others.
STILLA_CASE_TEST(Attention, NanAndInfinityAreTheSpecifications) {
  constexpr KvType type = kv_type_of<Second>;
  const Shape s{5, 1, 32};
  constexpr float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  for (const float odd : {nan, infinity, -infinity}) {
    for (const std::size_t first : {0u, 3u, 20u}) {  // the first key with the odd value: all 21 keys have it, or 18, or one
      Result<KvCache> made = KvCache::create({1, 1, s.head_dim, type});
      ASSERT_TRUE(made && made->reserve(21));
      for (std::size_t j = 0; j < 21; ++j) {
        std::vector<float> key = noise_values(static_cast<std::uint32_t>(j), s.head_dim);
        if (j >= first) key[7] = odd;
        EXPECT_TRUE(made->store(0, j, key.data(), noise_values(static_cast<std::uint32_t>(100 + j), s.head_dim).data()));
      }
      std::vector<float> query = noise_queries(s, 1);
      for (const bool in_query : {false, true}) {
        if (in_query) query[s.head_dim + 3] = odd;  // the second head's query
        const std::vector<float> found = attend(target, s, *made, query, 20, false);
        const std::vector<float> expected = attend(Scalar::id, s, *made, query, 20, false);
        for (std::size_t i = 0; i < expected.size(); ++i) {
          ASSERT_TRUE(std::isnan(expected[i]) ? std::isnan(found[i]) : same_bits(found[i], expected[i]))
              << odd << " from key " << first << " on, " << in_query << ", at " << i << ": " << found[i] << ", expected " << expected[i];
        }
      }
    }
  }
}

// Attention whose query heads share a key/value head equals multi-head attention in which each key/value head is repeated.
STILLA_CASE_TEST(Attention, GroupsEqualRepeatedHeads) {
  constexpr KvType type = kv_type_of<Second>;
  constexpr std::size_t G = 2, D = 32, stored = 300;
  for (std::size_t group = 1; group <= 9; ++group) {
    const Shape grouped{G * group, G, D}, repeated{G * group, G * group, D};
    const KvCache cache = filled_cache(grouped, type, stored);
    Result<KvCache> made = KvCache::create({1, repeated.kv_heads, D, type});
    ASSERT_TRUE(made);
    KvCache wide = std::move(*made);
    ASSERT_TRUE(wide.reserve(stored));
    std::vector<float> key(repeated.kv_heads * D), value(repeated.kv_heads * D);
    for (std::size_t j = 0; j < stored; ++j) {
      for (std::size_t h = 0; h < repeated.kv_heads; ++h) {
        for (std::size_t d = 0; d < D; ++d) {
          key[h * D + d] = noise(42, (j * G + h / group) * D + d);
          value[h * D + d] = noise(43, (j * G + h / group) * D + d);
        }
      }
      EXPECT_TRUE(wide.store(0, j, key.data(), value.data()));
    }
    const std::vector<float> queries = noise_queries(grouped, 2);
    ASSERT_TRUE(
        same_bits(attend(target, grouped, cache, queries, stored - 2, true), attend(target, repeated, wide, queries, stored - 2, true)))
        << "groups of " << group;
  }
}

// Tests scores that are so far apart that whole chunks of the cache have no weight, and scores that are all equal.
STILLA_CASE_TEST(Attention, ExtremeScores) {
  constexpr KvType type = kv_type_of<Second>;
  const Shape s{5, 1, 16};
  for (const float scale : {0.0f, 1e-30f, 1000.0f, 1e6f}) {
    const KvCache cache = filled_cache(s, type, 515);
    std::vector<float> query = noise_queries(s, 1);
    for (float& q : query) q *= scale;
    const std::vector<float> expected = attend(Scalar::id, s, cache, query, 514, false);
    ASSERT_TRUE(same_bits(attend(target, s, cache, query, 514, true), expected)) << scale;
    const float most = type == KvType::int5   ? 1.5f
                       : type == KvType::int8 ? 1.05f
                                              // A result of attention is an average of stored values, none of which exceeds 1 in
                                              // magnitude. These limits for the results exceed 1, because the cache rounds the
                                              // values that it stores, and the average is rounded, too.
                                              : 1.001f;
    for (const float x : expected) ASSERT_TRUE(std::fabs(x) <= most) << x;  // a result is an average of values
  }
}

// Compares each target with scalar for each number of query heads, 1 to 16, that share one key/value head, with every head size
// that models have.
STILLA_CASE_TEST(Attention, EqualsScalarInEveryGroup) {
  constexpr KvType type = kv_type_of<Second>;
  for (const std::size_t D : {64u, 80u, 96u, 128u, 256u}) {
    for (std::size_t group = 1; group <= 16; ++group) {
      const Shape s{group, 1, D};
      const KvCache cache = filled_cache(s, type, 37);
      const std::vector<float> query = noise_queries(s, 3);
      ASSERT_TRUE(same_bits(attend(target, s, cache, query, 34, false), attend(Scalar::id, s, cache, query, 34, false)))
          << "group " << group << " D " << D;
    }
  }
}

// Neither the rows of queries nor those of results lie directly behind each other in memory, and the padding between the rows of
// results must stay unchanged.
STILLA_CASE_TEST(Attention, StridesOfQueriesAndResults) {
  constexpr KvType type = kv_type_of<Second>;
  const Shape s{4, 2, 32};
  constexpr std::size_t rows = 3, width = 128, in_stride = 131, out_stride = 130;
  const KvCache cache = filled_cache(s, type, 40);
  const std::vector<float> queries = noise_queries(s, rows);
  const std::vector<float> expected = attend(target, s, cache, queries, 37, false);
  std::vector<float> apart(rows * in_stride, std::nanf(""));
  for (std::size_t m = 0; m < rows; ++m) {
    std::copy(queries.data() + m * width, queries.data() + (m + 1) * width, apart.data() + m * in_stride);
  }
  std::vector<float> out(rows * out_stride, 3.0f);
  const OnTarget on(target);
  EXPECT_TRUE(
      attention(Matrix(out.data(), rows, width, out_stride), ConstMatrix(apart.data(), rows, width, in_stride), cache, 0, 37, s.heads));
  for (std::size_t m = 0; m < rows; ++m) {
    EXPECT_TRUE(same_bits(std::span(out).subspan(m * out_stride, width), std::span(expected).subspan(m * width, width)));
    EXPECT_EQ(out[m * out_stride + width], 3.0f);
    EXPECT_EQ(out[m * out_stride + width + 1], 3.0f);
  }
}

// Computes attention in double from the codes and scales of an integer cache and from the key bias, without any rounding of queries
// and attention weights. `bounds` receives the largest error that attention() may have, one number for each query head.
template <class E>
std::vector<double> attend_to_codes(const Shape& s, const KvCache& cache, std::span<const float> query, std::size_t stored,
                                    const std::vector<float>& bias, double base, std::size_t rotary_dim, RopeLayout layout,
                                    std::vector<double>& bounds) {
  const std::size_t D = s.head_dim, pairs = rotary_dim / 2;
  std::vector<double> out;
  const double run = static_cast<double>(hadamard_run(D));
  for (std::size_t head = 0; head < s.heads; ++head) {
    const std::size_t g = head / (s.heads / s.kv_heads);
    std::vector<float> turned(query.begin() + static_cast<std::ptrdiff_t>(head * D),
                              query.begin() + static_cast<std::ptrdiff_t>((head + 1) * D));
    double largest = 0;
    stilla::detail::row_kernel<Hadamard>(Scalar::id)(turned.data(), D);
    for (const float x : turned) largest = std::fmax(largest, std::fabs(double{x}));
    std::vector<double> scores(stored);
    double error = 0, highest = -HUGE_VAL;
    for (std::size_t j = 0; j < stored; ++j) {
      const std::byte* chunk = cache.head_chunk(0, j / kv_chunk, g);
      const std::size_t at = j % kv_chunk;
      const double scale = load_as<float>(chunk + KvLayout<E>::key_scales + at * sizeof(float));
      double score = 0, off = 0;
      for (std::size_t d = 0; d < D; ++d) {
        const int code = key_code<E>(chunk, D, at, d);
        score += double{turned[d]} * code * scale;
        off += std::abs(code) * scale * (largest / double{largest_query} / 2 + std::fabs(double{turned[d]}) * 8 * unit_roundoff);
      }
      for (std::size_t d = 0; d < D && !bias.empty(); ++d) {
        const bool split = layout == RopeLayout::half_split;
        const std::size_t pair = split ? d % pairs : d / 2;
        const bool rotates = d < rotary_dim;
        const bool is_first = split ? d < pairs : d % 2 == 0;
        const double angle =
            rotates ? static_cast<double>(j) * std::pow(base, -2.0 * static_cast<double>(pair) / static_cast<double>(rotary_dim)) : 0;
        const std::size_t other = split ? (is_first ? d + pairs : d - pairs) : d ^ 1u;
        const double own = bias[g * D + d], its = rotates ? bias[g * D + other] : 0;
        const double rotated = own * std::cos(angle) + (is_first ? -its : its) * std::sin(angle);
        const double q = query[head * D + d];
        score += q * rotated;
        off += std::fabs(q) * (std::fabs(own) + std::fabs(its)) * 40 * unit_roundoff;
      }
      scores[j] = score / std::sqrt(static_cast<double>(D));
      error = std::fmax(error, off / std::sqrt(static_cast<double>(D)));
      highest = std::fmax(highest, scores[j]);
    }
    double sum = 0, largest_value = 0;
    std::vector<double> weighted(D);
    for (std::size_t j = 0; j < stored; ++j) {
      const std::byte* chunk = cache.head_chunk(0, j / kv_chunk, g);
      const std::size_t at = j % kv_chunk;
      const double e = std::exp(scores[j] - highest);
      const double scale = load_as<float>(chunk + KvLayout<E>::value_scales + at * sizeof(float));
      sum += e;
      for (std::size_t d = 0; d < D; ++d) weighted[d] += e * scale * value_code<E>(chunk, D, at, d);
      largest_value = std::fmax(largest_value, double{E::largest_code} * scale);
    }
    std::vector<float> back(weighted.begin(), weighted.end());
    stilla::detail::row_kernel<Hadamard>(Scalar::id)(back.data(), D);
    for (const float x : back) out.push_back(x / sum);
    // The largest error of a result that is allowed. It adds the errors that an attention weight e^(s - max) can have: those of two
    // scores, s and the highest score max; that of exp (1e-6); and that of rounding the weight to an integer. The largest weight of
    // a chunk becomes the integer largest_weight, so the rounding adds 1 / (2 largest_weight) of that weight for each position of
    // the chunk. The sum is multiplied by the largest value that is stored, because a single attention weight may be the whole sum
    // of the weights, and by the length of a Hadamard run, because the transform back adds up the errors of all values of a run.
    bounds.push_back(largest_value * run *
                     (2 * error + 1e-6 + static_cast<double>(std::min(stored, kv_chunk)) / (2 * double{largest_weight})));
  }
  return out;
}

template <class E>
void expect_close_to_the_codes() {
  for (const Shape s : {Shape{2, 1, 16}, Shape{4, 2, 64}, Shape{3, 1, 80}, Shape{12, 2, 128}, Shape{1, 1, 256}}) {
    for (const std::size_t stored : {1u, 100u, 600u}) {
      const KvCache cache = filled_cache(s, kv_type_of<E>, stored);
      const std::vector<float> query = noise_queries(s, 1);
      for (const double base : {1e4, 1e6}) {
        for (const bool partial : {false, true}) {
          for (const RopeLayout layout : {RopeLayout::half_split, RopeLayout::interleaved}) {
            const std::size_t rotary_dim = partial ? s.head_dim / 2 : s.head_dim;
            const Biased bias(s, stored, base, rotary_dim, layout);
            std::vector<double> bounds;
            const std::vector<double> expected = attend_to_codes<E>(s, cache, query, stored, bias.values, base, rotary_dim, layout, bounds);
            const std::vector<float> found = attend(Scalar::id, s, cache, query, stored - 1, false, {}, bias);
            for (std::size_t i = 0; i < found.size(); ++i) {
              ASSERT_LE(std::fabs(found[i] - expected[i]), bounds[i / s.head_dim])
                  << "H " << s.heads << " D " << s.head_dim << " T " << stored << " base " << base << " rotary " << rotary_dim << " at "
                  << i;
            }
          }
        }
      }
    }
  }
}

TEST(AttentionInt8, ScalarIsCloseToTheCodes) { expect_close_to_the_codes<KvInt8>(); }
TEST(AttentionInt5, ScalarIsCloseToTheCodes) { expect_close_to_the_codes<KvInt5>(); }

// An int8 cache stores keys without the key bias, and attention adds the bias's part to the scores. Here keys are stored that are equal
// to the key bias, at the far end of a long context. The cache therefore holds zeros for them, and their scores come from the bias
// alone. So the results show whether attention rotates the bias by the right angles.
TEST(AttentionInt8, TheBiasIsExactAtTheFarEnd) {
  constexpr std::size_t stored = 131072;
  const Shape s{2, 1, 64};
  Result<KvCache> made = KvCache::create({1, 1, s.head_dim, KvType::int8});
  ASSERT_TRUE(made && made->reserve(stored));
  const std::vector<float> none(s.head_dim);
  for (std::size_t j = stored - 300; j < stored; ++j) {
    EXPECT_TRUE(made->store(0, j, none.data(), noise_values(static_cast<std::uint32_t>(j), s.head_dim).data()));
  }
  const Biased bias(s, stored);
  const std::vector<float> query = noise_queries(s, 1);
  std::vector<double> bounds;
  const std::vector<double> expected =
      attend_to_codes<KvInt8>(s, *made, query, stored, bias.values, 1e6, s.head_dim, RopeLayout::half_split, bounds);
  for_each_available_target([&](TargetId target) {
    const std::vector<float> found = attend(target, s, *made, query, stored - 1, true, {}, bias);
    for (std::size_t i = 0; i < found.size(); ++i) ASSERT_LE(std::fabs(found[i] - expected[i]), bounds[i / s.head_dim]) << i;
  });
}

}  // namespace
