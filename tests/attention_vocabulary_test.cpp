// SPDX-License-Identifier: Apache-2.0
//
// Compares the operations that generic/attention_chunk-inl.hpp is written against with plain C++: each operation of each target's
// attention kernels, on random numbers, on zeros, infinities and NaN, and on the largest sums that the kernels allow. Also compares
// the operations that only the target i8mm has (arm_i8mm/pair_sweep.hpp) and that belong to no vocabulary. For a new target with
// attention kernels of its own, lines are added to this file as for the others.
#if defined(__GNUC__) && !defined(__clang__)
// GCC's warning -Wmaybe-uninitialized is false here. It comes from GCC 12's own AVX-512 header (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <stilla/all_targets/attention.hpp>
#include <stilla/all_targets/matmul.hpp>
#include <stilla/base/math.hpp>
#include <stilla/base/types.hpp>
#include <stilla/contract/attention.hpp>

#include "test_util.hpp"

namespace stilla_test {

struct AttentionNumbers {
  float a[16], b[16], c[16];   // any numbers, NaN and infinities too
  float not_nan[16];           // any numbers but NaN; infinities are among them
  float not_positive[16];      // at most 0, or NaN
  float small[16], scale;      // each small[i] * scale is below 2^22 in magnitude
  std::int32_t integers_a[16], integers_b[16];
  stilla::f16 f16s[16];
  stilla::bf16 bf16s[16];
  std::uint8_t codes[80];      // 128 codes of KvInt5
};

struct FloatResults {
  float zero[16], set[16], add[16], sub[16], mul[16], fused_multiply_add[16], higher[16], negated[16], reversed[16];
  float even_lanes_first[16], alternating[16], store_alternating[32], exponential[16];
  float first_lanes[17][16], load16[17][16], store16[17][16];
  float load_stored_f32[16], load_stored_f16[16], load_stored_bf16[16];
  float highest_lane, sum_of_lanes;
};

struct IntegerResults {
  std::int32_t set_s32[16], add_s32[16], sub_s32[16], max_s32[16], magnitude_bits[16], round_products[16];
  float to_floats[16];
  std::int32_t highest_lane, sum_of_lanes;
  std::uint8_t unpacked[128];
};

struct ProductNumbers {
  static constexpr std::size_t most_rows = 8, tile_bytes = 16 * stilla::kv_chunk;
  std::int32_t rows[most_rows][stilla::kv_chunk];
  alignas(64) std::uint8_t codes[2 * tile_bytes];  // two tiles
  std::size_t length;                              // how many numbers of each row `products` multiplies
};

struct AttentionVocabulary {
  void (*floats)(const AttentionNumbers&, FloatResults&);
  void (*integers)(const AttentionNumbers&, IntegerResults&);
  void (*products)(const ProductNumbers&, std::size_t bytes, std::size_t tiles, std::int32_t* out);
  std::size_t key_rows, value_rows;  // how many rows `products` takes: with numbers of 1 byte, and of 2 bytes
};

}  // namespace stilla_test

// The operations of attention's vocabulary are compiled once for each target, with the instruction sets that the target's own code has.
// The target portable is written with the library Highway: on x86-64 for AVX2, on AArch64 for NEON.
#if STILLA_HAS_PORTABLE && STILLA_ARCH_X86
STILLA_TARGET_BEGIN(HWY_TARGET_STR_AVX2)
namespace stilla { inline namespace STILLA_ABI { namespace portable_attention_test {
using namespace portable_kernels;
using namespace portable_kernels::attention_kernels;
#include "attention_vocabulary_cases-inl.hpp"
}}}  // namespace stilla::portable_attention_test
STILLA_TARGET_END
STILLA_TARGET_BEGIN(HWY_TARGET_STR_AVX2 ",avxvnni")
namespace stilla { inline namespace STILLA_ABI { namespace avxvnni_attention {
#include "attention_vocabulary_cases-inl.hpp"
}}}  // namespace stilla::avxvnni_attention
STILLA_TARGET_END
#endif
#if STILLA_ARCH_X86
STILLA_TARGET_BEGIN(STILLA_SETS_AVX512VNNI)
namespace stilla { inline namespace STILLA_ABI { namespace avx512vnni::attention_kernels {
#include "attention_vocabulary_cases-inl.hpp"
}}}  // namespace stilla::avx512vnni::attention_kernels
STILLA_TARGET_END
#endif
#if STILLA_HAS_DOTPROD && STILLA_HAS_PORTABLE
STILLA_TARGET_BEGIN(STILLA_SETS_DOTPROD "+crypto")
namespace stilla { inline namespace STILLA_ABI {
namespace portable_attention_test {
using namespace portable_kernels;
using namespace portable_kernels::attention_kernels;
#include "attention_vocabulary_cases-inl.hpp"
}  // namespace portable_attention_test
namespace dotprod_attention {
#include "attention_vocabulary_cases-inl.hpp"
}  // namespace dotprod_attention
}}  // namespace stilla
STILLA_TARGET_END
#endif
#if STILLA_HAS_I8MM
STILLA_TARGET_BEGIN(STILLA_SETS_I8MM)
namespace stilla { inline namespace STILLA_ABI { namespace i8mm {
STILLA_NOINLINE inline void run_operations(const std::int32_t* numbers, const float* floats, std::int32_t* sums, float (*halves)[4]) {
  dotprod::store(sums, multiply(dotprod::load(numbers), dotprod::load(numbers + 4), dotprod::load(numbers + 8)));
  const Float a = dotprod::load_floats(floats), b = dotprod::load_floats(floats + 4);
  dotprod::store_floats(halves[0], first_halves(a, b));
  dotprod::store_floats(halves[1], second_halves(a, b));
  store_pairs(halves + 2, a);
}
}}}  // namespace stilla::i8mm
STILLA_TARGET_END
#endif

namespace {

using namespace stilla;
using namespace stilla_test;

// Returns a float that is made of random bits, and is often NaN, infinite, zero or subnormal. All other floats have magnitudes from
// 5e-10 to 8e9, and a bit of `kind` says whether below or above 2.
float any_float(std::uint32_t bits, std::uint32_t kind) {
  switch (kind % 16) {
    case 0: return 0.0f;
    case 1: return -0.0f;
    case 2: return std::numeric_limits<float>::infinity();
    case 3: return -std::numeric_limits<float>::infinity();
    case 4: return std::numeric_limits<float>::quiet_NaN();
    case 5: return std::bit_cast<float>(bits & 0x807fffffu);  // subnormal
    default: return std::bit_cast<float>((bits & 0x8fffffffu) | (kind & 0x100u ? 0x30000000u : 0x40000000u));
  }
}

AttentionNumbers random_numbers(std::uint32_t seed) {
  AttentionNumbers in{};
  std::size_t next = 0;
  const auto bits = [&] { return noise_bits(seed, next++); };
  for (std::size_t i = 0; i < 16; ++i) {
    for (float* x : {in.a + i, in.b + i, in.c + i}) {
      const std::uint32_t kind = bits();
      *x = any_float(bits(), seed % 4 == 0 ? kind : (kind | 15u));
    }
    const std::uint32_t kind = bits();
    const float x = any_float(bits(), kind);
    in.not_nan[i] = std::isnan(x) ? 1.0f : x;
    in.not_positive[i] = std::isnan(x) ? x : seed % 2 == 0 ? -std::fabs(x) : -120.0f * std::fabs(noise(seed, next++));
    in.integers_a[i] = static_cast<std::int32_t>(bits());
    in.integers_b[i] = bits() % 8 == 0 ? in.integers_a[i] : static_cast<std::int32_t>(bits());
    in.f16s[i].bits = static_cast<std::uint16_t>(bits());
    in.bf16s[i].bits = static_cast<std::uint16_t>(bits());
    in.small[i] = seed % 3 == 0 ? 0.5f * static_cast<float>(static_cast<int>(bits() % 255) - 127) : noise(seed, next++);  // 0: ties
  }
  in.scale = seed % 3 == 0 ? 1.0f : seed % 3 == 1 ? largest_query : largest_weight;
  for (std::uint8_t& code : in.codes) code = static_cast<std::uint8_t>(bits());
  return in;
}

std::uint32_t bits_of(float x) { return std::isnan(x) ? 0x7fc00000u : std::bit_cast<std::uint32_t>(x); }  // a NaN equals any NaN

// Returns the name of the first operation on floats whose results are wrong, or an empty string.
std::string wrong_floats(const AttentionVocabulary& vocabulary, const AttentionNumbers& in) {
  FloatResults r{};
  vocabulary.floats(in, r);
  const auto differs = [](const float* found, auto expected, std::size_t n = 16) {
    for (std::size_t i = 0; i < n; ++i) {
      if (bits_of(found[i]) != bits_of(expected(i))) return true;
    }
    return false;
  };
  if (differs(r.zero, [](std::size_t) { return 0.0f; })) return "zero";
  if (differs(r.set, [&](std::size_t) { return in.a[5]; })) return "set";
  if (differs(r.add, [&](std::size_t i) { return in.a[i] + in.b[i]; })) return "add";
  if (differs(r.sub, [&](std::size_t i) { return in.a[i] - in.b[i]; })) return "sub";
  if (differs(r.mul, [&](std::size_t i) { return in.a[i] * in.b[i]; })) return "mul";
  if (differs(r.fused_multiply_add, [&](std::size_t i) { return std::fma(in.a[i], in.b[i], in.c[i]); })) return "fused_multiply_add";
  if (differs(r.higher, [&](std::size_t i) { return in.a[i] > in.b[i] ? in.a[i] : in.b[i]; })) return "higher";
  if (differs(r.negated, [&](std::size_t i) { return -in.a[i]; })) return "negated";
  if (differs(r.reversed, [&](std::size_t i) { return in.a[15 - i]; })) return "reversed";
  if (differs(r.even_lanes_first, [&](std::size_t i) { return in.a[i < 8 ? 2 * i : 2 * i - 15]; })) return "even_lanes_first";
  if (differs(r.alternating, [&](std::size_t i) { return in.a[i % 2]; })) return "alternating";
  if (differs(r.store_alternating, [&](std::size_t i) { return (i % 2 == 0 ? in.a : in.b)[i / 2]; }, 32)) return "store_alternating";
  if (differs(r.exponential, [&](std::size_t i) { return exp_approximate(in.not_positive[i]); })) return "exponential";
  for (std::size_t count = 0; count <= 16; ++count) {
    const auto first = [&](std::size_t i) { return i < count ? in.a[i] : 0.0f; };
    if (differs(r.first_lanes[count], first)) return "first_lanes";
    if (differs(r.load16[count], first)) return "load16";
    if (differs(r.store16[count], [&](std::size_t i) { return i < count ? in.a[i] : in.b[i]; })) return "store16";
  }
  if (differs(r.load_stored_f32, [&](std::size_t i) { return in.a[i]; })) return "load_stored of f32";
  if (differs(r.load_stored_f16, [&](std::size_t i) { return to_float(in.f16s[i]); })) return "load_stored of f16";
  if (differs(r.load_stored_bf16, [&](std::size_t i) { return to_float(in.bf16s[i]); })) return "load_stored of bf16";
  if (r.highest_lane != *std::max_element(in.not_nan, in.not_nan + 16)) return "highest_lane of floats";
  float lanes[16];
  std::copy(in.a, in.a + 16, lanes);
  const float sum = stilla::detail::fold_lanes(lanes);
  if (differs(&r.sum_of_lanes, [&](std::size_t) { return sum; }, 1)) return "sum_of_lanes of floats";
  return "";
}

std::int32_t wrapped(std::int64_t x) { return static_cast<std::int32_t>(static_cast<std::uint32_t>(x)); }

// Returns the name of the first operation on integers whose results are wrong, or an empty string.
std::string wrong_integers(const AttentionVocabulary& vocabulary, const AttentionNumbers& in) {
  IntegerResults r{};
  vocabulary.integers(in, r);
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < 16; ++i) {
    const std::int64_t a = in.integers_a[i], b = in.integers_b[i];
    sum += a;
    if (r.set_s32[i] != in.integers_a[3]) return "set_s32";
    if (r.add_s32[i] != wrapped(a + b)) return "add_s32";
    if (r.sub_s32[i] != wrapped(a - b)) return "sub_s32";
    if (r.max_s32[i] != std::max(a, b)) return "max_s32";
    if (r.to_floats[i] != static_cast<float>(in.integers_a[i])) return "to_floats";
    if (r.magnitude_bits[i] != static_cast<std::int32_t>(std::bit_cast<std::uint32_t>(in.a[i]) & 0x7fffffffu)) return "magnitude_bits";
    if (r.round_products[i] != stilla::detail::round_product(in.small[i], in.scale)) return "round_products";
  }
  if (r.highest_lane != *std::max_element(in.integers_a, in.integers_a + 16)) return "highest_lane of integers";
  if (r.sum_of_lanes != wrapped(sum)) return "sum_of_lanes of integers";
  for (std::size_t i = 0; i < 128; ++i) {
    if (r.unpacked[i] != code_at<KvInt5>(reinterpret_cast<const std::byte*>(in.codes), i) + 128) return "unpack_codes";
  }
  return "";
}

// Returns rows of integers and tiles of codes. With seeds 0 and 1 all of them have the largest magnitude, so that the sums of their
// products are the largest, too: with seed 0 all integers are `largest`, with seed 1 all are -largest. With other seeds the numbers
// are random.
ProductNumbers random_products(std::uint32_t seed, std::int32_t largest, std::size_t length) {
  ProductNumbers in{};
  in.length = length;
  for (std::size_t h = 0; h < ProductNumbers::most_rows; ++h) {
    for (std::size_t i = 0; i < length; ++i) {  // the numbers of a row behind its first `length` stay 0
      const auto random =
          static_cast<std::int32_t>(noise_bits(seed + static_cast<std::uint32_t>(h), i) % (2u * static_cast<std::uint32_t>(largest) + 1));
      in.rows[h][i] = seed == 0 ? largest : seed == 1 ? -largest : random - largest;
    }
  }
  for (std::size_t i = 0; i < std::size(in.codes); ++i) in.codes[i] = static_cast<std::uint8_t>(seed < 2 ? 255 : noise_bits(seed + 99, i));
  return in;
}

// Multiplies rows by tiles with the operation integer_products. Returns a message about the first wrong product, or an empty string
// if all are right.
std::string wrong_products(const AttentionVocabulary& vocabulary, std::uint32_t seed, std::size_t bytes, std::size_t tiles,
                           std::size_t length) {
  const auto in = std::make_unique<ProductNumbers>(
      random_products(seed, static_cast<std::int32_t>(bytes == 1 ? largest_query : largest_weight), length));
  const std::size_t rows = bytes == 1 ? vocabulary.key_rows : vocabulary.value_rows;
  std::vector<std::int32_t> found(rows * tiles * 16);
  vocabulary.products(*in, bytes, tiles, found.data());
  for (std::size_t h = 0; h < rows; ++h) {
    for (std::size_t t = 0; t < tiles; ++t) {
      for (std::size_t lane = 0; lane < 16; ++lane) {
        std::int64_t sum = 0;
        for (std::size_t i = 0; i < length; ++i) {
          sum += std::int64_t{in->rows[h][i]} * in->codes[t * ProductNumbers::tile_bytes + i / 4 * 64 + lane * 4 + i % 4];
        }
        if (found[(h * tiles + t) * 16 + lane] != sum) {
          return concat("integer_products, row ", h, ", tile ", t, ", lane ", lane, ": found ", found[(h * tiles + t) * 16 + lane],
                        "; expected ", sum);
        }
      }
    }
  }
  return "";
}

void expect_right(const AttentionVocabulary& vocabulary) {
  ASSERT_LE(std::max(vocabulary.key_rows, vocabulary.value_rows), ProductNumbers::most_rows);
  for (std::uint32_t seed = 0; seed < 2000; ++seed) {
    const AttentionNumbers in = random_numbers(seed);
    ASSERT_EQ(wrong_floats(vocabulary, in), "") << "seed " << seed;
    ASSERT_EQ(wrong_integers(vocabulary, in), "") << "seed " << seed;
  }
  for (std::uint32_t seed = 0; seed < 10; ++seed) {
    for (const std::size_t length : {4u, 12u, 16u, 20u, 64u, 100u, 256u}) {
      SCOPED_TRACE(concat("seed ", seed, ", length ", length));
      ASSERT_EQ(wrong_products(vocabulary, seed, 1, 2, length), "");
      ASSERT_EQ(wrong_products(vocabulary, seed, 2, 2, length), "");
      ASSERT_EQ(wrong_products(vocabulary, seed, 2, 1, length), "");
    }
  }
}

template <class T>
class AttentionVocabularyOf : public TargetTest<T> {};
#if STILLA_HAS_PORTABLE && STILLA_ARCH_X86
using AttentionVocabularyOfPortable = AttentionVocabularyOf<Portable>;
using AttentionVocabularyOfAvxVnni = AttentionVocabularyOf<AvxVnni>;
TEST_F(AttentionVocabularyOfPortable, Operations) { expect_right(portable_attention_test::vocabulary_of_attention); }
TEST_F(AttentionVocabularyOfAvxVnni, Operations) { expect_right(avxvnni_attention::vocabulary_of_attention); }
#endif
#if STILLA_ARCH_X86
using AttentionVocabularyOfAvx512Vnni = AttentionVocabularyOf<Avx512Vnni>;
TEST_F(AttentionVocabularyOfAvx512Vnni, Operations) { expect_right(avx512vnni::attention_kernels::vocabulary_of_attention); }
#endif
#if STILLA_HAS_DOTPROD && STILLA_HAS_PORTABLE
using AttentionVocabularyOfDotprod = AttentionVocabularyOf<Dotprod>;
TEST_F(AttentionVocabularyOfDotprod, OperationsOfPortable) { expect_right(portable_attention_test::vocabulary_of_attention); }
TEST_F(AttentionVocabularyOfDotprod, Operations) { expect_right(dotprod_attention::vocabulary_of_attention); }
#endif
#if STILLA_HAS_I8MM
using VocabularyOfI8mm = AttentionVocabularyOf<I8mm>;
TEST_F(VocabularyOfI8mm, Operations) {
  for (std::uint32_t seed = 0; seed < 2000; ++seed) {
    std::int32_t numbers[12], sums[4];
    float floats[8], halves[4][4];
    for (std::size_t i = 0; i < 12; ++i)
      numbers[i] = seed == 0 ? static_cast<std::int32_t>(0x80808080) : static_cast<std::int32_t>(noise_bits(seed, i));
    // The first four of the twelve numbers are sums, to which products of the other numbers' bytes are added. The four are made so
    // small that nothing overflows.
    for (std::size_t i = 0; i < 4; ++i) numbers[i] >>= 8;
    for (std::size_t i = 0; i < 8; ++i) floats[i] = any_float(noise_bits(seed, 20 + i), noise_bits(seed, 40 + i));
    i8mm::run_operations(numbers, floats, sums, halves);
    const auto* bytes = reinterpret_cast<const std::int8_t*>(numbers);
    for (std::size_t i = 0; i < 4; ++i) {
      std::int32_t sum = numbers[i];
      for (std::size_t k = 0; k < 8; ++k) sum += bytes[16 + i / 2 * 8 + k] * bytes[32 + i % 2 * 8 + k];
      ASSERT_EQ(sums[i], sum) << "multiply, seed " << seed;
      ASSERT_EQ(bits_of(halves[0][i]), bits_of(floats[i < 2 ? i : i + 2])) << "first_halves, seed " << seed;
      ASSERT_EQ(bits_of(halves[1][i]), bits_of(floats[i < 2 ? i + 2 : i + 4])) << "second_halves, seed " << seed;
      ASSERT_EQ(bits_of(halves[2][i]), bits_of(floats[i % 2])) << "store_pairs, seed " << seed;
      ASSERT_EQ(bits_of(halves[3][i]), bits_of(floats[2 + i % 2])) << "store_pairs, seed " << seed;
    }
  }
}
#endif

}  // namespace
