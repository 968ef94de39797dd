// SPDX-License-Identifier: Apache-2.0
//
// Tests of the key/value cache: its layout, its growth, going back to an earlier position, and shapes that are
// refused.
#include <stilla/attention.hpp>
#include <stilla/kv_cache.hpp>

#include <fstream>
#include <limits>

#if defined(__linux__)
#include <sys/resource.h>
#include <unistd.h>
#endif

#include "test_util.hpp"

namespace {

using namespace stilla_test;

KvCache make_cache(const KvShape& shape) {
  Result<KvCache> made = KvCache::create(shape);
  EXPECT_TRUE(made) << made.error().message;
  return std::move(*made);
}

std::string refusal(const KvShape& shape) {
  const Result<KvCache> made = KvCache::create(shape);
  return made ? std::string("made") : made.error().message;
}

// keys_of() and values_of() return the address of the keys and of the values of one head in a chunk, for a cache of floats of type
// E.
template <class E>
const E* keys_of(const KvCache& cache, std::size_t layer, std::size_t chunk, std::size_t head) {
  return reinterpret_cast<const E*>(cache.head_chunk(layer, chunk, head));
}
template <class E>
const E* values_of(const KvCache& cache, std::size_t layer, std::size_t chunk, std::size_t head) {
  return keys_of<E>(cache, layer, chunk, head) + kv_chunk * cache.shape().head_dim;
}

template <class E>
class KvCacheOf : public ::testing::Test {};
struct ElementNames {
  template <class E>
  static std::string GetName(int) {
    return std::is_same_v<E, float> ? "f32" : std::is_same_v<E, f16> ? "f16" : "bf16";
  }
};
using Elements = ::testing::Types<float, f16, bf16>;
TYPED_TEST_SUITE(KvCacheOf, Elements, ElementNames);

// Keys are stored transposed in tiles of 16 positions, values in rows. Each number is rounded once.
TYPED_TEST(KvCacheOf, StoresEveryElementWhereTheDrawingSays) {
  using E = TypeParam;
  constexpr std::size_t layers = 2, G = 3, D = 48, stored = 300;
  KvCache cache = make_cache({layers, G, D, *kv_type(ElementNames::GetName<E>(0))});
  ASSERT_TRUE(cache.reserve(stored));
  for (std::size_t l = 0; l < layers; ++l) {
    for (std::size_t j = 0; j < stored; ++j) {
      EXPECT_TRUE(cache.store(l, j, noise_values(static_cast<std::uint32_t>(2 * (l * stored + j)), G * D).data(),
                              noise_values(static_cast<std::uint32_t>(2 * (l * stored + j) + 1), G * D).data()));
    }
  }
  for (std::size_t l = 0; l < layers; ++l) {
    for (std::size_t j = 0; j < stored; ++j) {
      for (std::size_t g = 0; g < G; ++g) {
        const E* keys = keys_of<E>(cache, l, j / 256, g);
        const E* values = values_of<E>(cache, l, j / 256, g);
        for (std::size_t d = 0; d < D; ++d) {
          const float key = noise(static_cast<std::uint32_t>(2 * (l * stored + j)), g * D + d);
          const float value = noise(static_cast<std::uint32_t>(2 * (l * stored + j) + 1), g * D + d);
          const std::size_t in_chunk = j % 256;
          ASSERT_EQ(to_float(keys[in_chunk / 16 * 16 * D + d * 16 + in_chunk % 16]), to_float(from_float<E>(key)));
          ASSERT_EQ(to_float(values[in_chunk * D + d]), to_float(from_float<E>(value)));
        }
      }
    }
  }
}

TYPED_TEST(KvCacheOf, GrowsByChunksAndKeepsWhatIsStored) {
  using E = TypeParam;
  const KvShape shape{3, 2, 64, *kv_type(ElementNames::GetName<E>(0))};
  KvCache cache = make_cache(shape);
  EXPECT_EQ(cache.size(), 0u);
  EXPECT_EQ(cache.bytes(), 0u);
  const std::size_t chunk = 3 * 2 * 2 * 256 * 64 * sizeof(E);  // layers * heads * (keys and values) * positions * head_dim
  ASSERT_TRUE(cache.reserve(0));
  EXPECT_EQ(cache.bytes(), 0u);
  ASSERT_TRUE(cache.reserve(1));
  EXPECT_EQ(cache.bytes(), chunk);
  EXPECT_TRUE(cache.store(2, 5, noise_values(1, 128).data(), noise_values(2, 128).data()));
  const E* before = keys_of<E>(cache, 2, 0, 1);
  for (const auto& [count, chunks] : {std::pair{256u, 1u}, {257u, 2u}, {100u, 2u}, {1024u, 4u}, {1025u, 5u}}) {
    ASSERT_TRUE(cache.reserve(count));
    EXPECT_EQ(cache.bytes(), chunks * chunk) << count;
  }
  EXPECT_EQ(shape.bytes(1025), cache.bytes());
  EXPECT_EQ(keys_of<E>(cache, 2, 0, 1), before);  // growing moves no chunk
  EXPECT_EQ(to_float(values_of<E>(cache, 2, 0, 1)[5 * 64]), to_float(from_float<E>(noise(2, 64))));
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(before) % 64, 0u);
}

// If a cache goes back to an earlier position and stores the same keys and values again, attention's results are the same,
// whatever was stored there in between.
TYPED_TEST(KvCacheOf, RollbackLeavesNoTrace) {
  using E = TypeParam;
  constexpr std::size_t G = 2, D = 32, H = 4, text = 270, suffix = 12;
  KvCache cache = make_cache({1, G, D, *kv_type(ElementNames::GetName<E>(0))});
  ASSERT_TRUE(cache.reserve(600));
  const auto store = [&](std::size_t position, std::uint32_t seed) {
    const auto at = static_cast<std::uint32_t>(position);
    EXPECT_TRUE(cache.store(0, position, noise_values(seed + 2 * at, G * D).data(), noise_values(seed + 2 * at + 1, G * D).data()));
    cache.set_size(position + 1);
  };
  const auto evaluate = [&](std::size_t first, std::size_t count) {  // evaluates one position after the other
    std::vector<float> all;
    for (std::size_t j = first; j < first + count; ++j) {
      store(j, 1000);
      std::vector<float> query = noise_values(static_cast<std::uint32_t>(9000 + j), H * D, 4.0f);
      std::vector<float> out(H * D);
      EXPECT_TRUE(attention(Matrix(out.data(), 1, H * D), ConstMatrix(query.data(), 1, H * D), cache, 0, j, H));
      all.insert(all.end(), out.begin(), out.end());
    }
    return all;
  };
  const std::vector<float> first = evaluate(0, text);
  const std::vector<float> once = evaluate(text, suffix);
  cache.set_size(text - 20);
  EXPECT_EQ(cache.size(), text - 20);
  for (std::size_t j = text - 20; j < 590; ++j) store(j, 50000);  // stores another continuation, which is longer
  cache.set_size(text - 20);
  const std::vector<float> again = evaluate(text - 20, 20);
  EXPECT_TRUE(same_bits(again, std::span(first).subspan((text - 20) * H * D)));
  EXPECT_TRUE(same_bits(evaluate(text, suffix), once));
}

TEST(KvCacheShape, HeadSizesAreMultiplesOf4UpTo256) {
  for (std::size_t size = 4; size <= 256; size += 4) EXPECT_EQ(refusal({1, 1, size, KvType::f16}), "made");
  for (const std::size_t size : {0u, 1u, 2u, 18u, 70u, 250u, 260u, 512u}) {
    EXPECT_EQ(refusal({1, 1, size, KvType::f16}), concat("head size ", size, " is not supported: it must be a multiple of 4 up to 256"));
  }
}

// Tests the bytes that a cache for 32768 positions of R1-Distill-Qwen-1.5B takes.
TEST(KvCacheShape, Bytes) {
  const auto bytes = [](KvType type) { return KvShape{28, 2, 128, type}.bytes(32768); };
  EXPECT_EQ(bytes(KvType::f32), 1879048192u);
  EXPECT_EQ(bytes(KvType::f16), 939524096u);
  EXPECT_EQ(bytes(KvType::bf16), 939524096u);
  EXPECT_EQ(bytes(KvType::int8), 484442112u);
  EXPECT_EQ(bytes(KvType::int5), 308281344u);
}

// Keys and values in integer caches are Hadamard transforms of what was stored, as codes and scales. Each transformed value is off
// by at most half the distance between two neighbouring values that codes can stand for. So transforming back gives nearly what was
// stored.
template <class E>
void expect_codes_close(KvType type) {
  for (const std::size_t D : {16u, 64u, 80u, 96u, 128u, 256u}) {
    KvCache cache = make_cache({1, 1, D, type});
    ASSERT_TRUE(cache.reserve(300));
    for (const std::size_t j : {0u, 17u, 255u, 256u, 299u}) {
      const std::vector<float> key = noise_values(static_cast<std::uint32_t>(j), D, 100.0f);
      const std::vector<float> value = noise_values(static_cast<std::uint32_t>(j + 1000), D);
      EXPECT_TRUE(cache.store(0, j, key.data(), value.data()));
      const std::byte* chunk = cache.head_chunk(0, j / kv_chunk, 0);
      const std::size_t at = j % kv_chunk;
      for (const bool is_key : {true, false}) {
        const auto offset = is_key ? KvLayout<E>::key_scales : KvLayout<E>::value_scales;
        const auto scale = load_as<float>(chunk + offset + at * sizeof(float));
        std::vector<float> found(D);
        for (std::size_t d = 0; d < D; ++d) {
          const int code = is_key ? key_code<E>(chunk, D, at, d) : value_code<E>(chunk, D, at, d);
          ASSERT_LE(std::abs(code), static_cast<int>(E::largest_code));
          ASSERT_TRUE(E::bits == 8 || code % 2 != 0);
          found[d] = static_cast<float>(code) * scale;
        }
        stilla::detail::row_kernel<Hadamard>(Scalar::id)(found.data(), D);
        // Each transformed value is off by at most half the distance between the values of two neighbouring codes. The transform
        // back adds up the errors of all values of one run, which it mixes.
        const auto run = static_cast<float>(hadamard_run(D));
        for (std::size_t d = 0; d < D; ++d) {
          EXPECT_NEAR(found[d], (is_key ? key : value)[d], (E::bits == 8 ? 0.5f : 1.0f) * scale * run * 1.001f)
              << D << " " << j << " " << d;
        }
      }
    }
  }
}

TEST(KvCacheIntegers, CodesAreCloseToWhatWasStored) {
  expect_codes_close<KvInt8>(KvType::int8);
  expect_codes_close<KvInt5>(KvType::int5);
}

TEST(KvCacheInt8, RowsThatCannotBeRounded) {
  KvCache cache = make_cache({1, 1, 16, KvType::int8});
  ASSERT_TRUE(cache.reserve(1));
  const auto scale_of = [&](float odd) {
    std::vector<float> row(16, 1.0f);
    row[3] = odd;
    if (odd == 0.0f) std::fill(row.begin(), row.end(), 0.0f);
    EXPECT_TRUE(cache.store(0, 0, row.data(), row.data()));
    for (std::size_t d = 0; d < 16; ++d) {
      EXPECT_EQ(key_code<KvInt8>(cache.head_chunk(0, 0, 0), 16, 0, d), 0);
    }
    return load_as<float>(cache.head_chunk(0, 0, 0) + KvLayout<KvInt8>::value_scales);
  };
  EXPECT_EQ(scale_of(0.0f), 0.0f);
  EXPECT_TRUE(std::isnan(scale_of(HUGE_VALF)));
  EXPECT_TRUE(std::isnan(scale_of(std::nanf(""))));
}

TEST(KvCacheShape, CountsOfLayersAndHeadsAreChecked) {
  constexpr std::size_t huge = std::numeric_limits<std::size_t>::max();
  for (const std::size_t heads : {std::size_t{0}, std::size_t{65536}, huge / 2, huge}) {
    EXPECT_EQ(refusal({1, heads, 64, KvType::f32}), concat("a key/value cache of ", heads, " heads is not supported: 1 to 65535"));
  }
  for (const std::size_t layers : {std::size_t{0}, std::size_t{65536}, huge}) {
    EXPECT_EQ(refusal({layers, 1, 64, KvType::f32}), concat("a key/value cache of ", layers, " layers is not supported: 1 to 65535"));
  }
}

// A number of positions that exceeds the address space is refused before anything is changed, and the cache stays
// usable.
TEST(KvCacheGrowth, TooManyPositionsAreRefused) {
  KvCache cache = make_cache({2, 2, 16, KvType::f32});
  ASSERT_TRUE(cache.reserve(256));
  const std::size_t bytes = cache.bytes();
  constexpr std::size_t huge = std::numeric_limits<std::size_t>::max();
  for (const std::size_t count : {huge, huge - 300, huge / 2}) {
    const Status status = cache.reserve(count);
    ASSERT_FALSE(status) << count;
    EXPECT_EQ(status.error().kind, ErrorKind::system);
    EXPECT_TRUE(status.error().message.starts_with("not enough memory for the key/value cache")) << status.error().message;
    EXPECT_EQ(cache.bytes(), bytes);
  }
  EXPECT_TRUE(cache.store(1, 255, noise_values(1, 32).data(), noise_values(2, 32).data()));
  EXPECT_EQ(values_of<float>(cache, 1, 0, 1)[255 * 16], noise(2, 16));
}

#if !defined(__linux__) || !defined(__x86_64__) || defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
// The test that limits the program's memory is left out with emulators, which ignore the limit, and with sanitizers,
// which need more address space than the limit leaves.
#define STILLA_HAS_MEMORY_LIMIT 0
#elif defined(__has_feature)
#define STILLA_HAS_MEMORY_LIMIT !(__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#else
#define STILLA_HAS_MEMORY_LIMIT 1
#endif
#if STILLA_HAS_MEMORY_LIMIT
// A limit for the program's memory suffices for some of the new chunks of a growing cache and not for all. The growth is refused,
// and the chunks that were allocated before the failure are freed.
TEST(KvCacheGrowth, WhatDoesNotFitKeepsNoMemory) {
  KvCache cache = make_cache({32, 8, 128, KvType::f32});  // a chunk of 64 MiB
  ASSERT_TRUE(cache.reserve(256));
  const std::size_t bytes = cache.bytes();
  std::size_t pages = 0;
  ASSERT_TRUE(std::ifstream("/proc/self/statm") >> pages);
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_AS, &before), 0);
  const rlimit limit{pages * static_cast<std::size_t>(sysconf(_SC_PAGESIZE)) + 4 * bytes, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_AS, &limit), 0);
  const Status refused = cache.reserve(20 * 256);
  const std::size_t kept = cache.bytes();
  const Status smaller = cache.reserve(3 * 256);
  ASSERT_EQ(setrlimit(RLIMIT_AS, &before), 0);
  EXPECT_FALSE(refused);
  EXPECT_EQ(kept, bytes);
  EXPECT_TRUE(smaller) << "what was given back is free";
}
#endif

TEST(KvCacheShape, TypesHaveNames) {
  EXPECT_EQ(kv_type("f32"), KvType::f32);
  EXPECT_EQ(kv_type("f16"), KvType::f16);
  EXPECT_EQ(kv_type("bf16"), KvType::bf16);
  for (const char* name : {"", "F16", "f64", "int9", "f16 "}) EXPECT_FALSE(kv_type(name).has_value()) << name;
  for (const KvType type : kv_types) EXPECT_EQ(kv_type(kv_type_name(type)), type);
}

}  // namespace
