// SPDX-License-Identifier: Apache-2.0
//
// Compares the vocabulary of vector operations, which the kernels of generic/ are written against, with plain C++: each operation
// of each target's vector.hpp. For a new target with a vocabulary, lines are added to this file as for the others.
#if defined(__GNUC__) && !defined(__clang__)
// GCC's warning -Wmaybe-uninitialized is false here. It comes from GCC 12's own AVX-512 header (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <stilla/arm_dotprod/vector.hpp>
#include <stilla/format/format.hpp>
#include <stilla/skeleton/vector.hpp>
#include <stilla/x86_avx2/vector.hpp>
#include <stilla/x86_avx512vnni/vector.hpp>
#include <stilla/x86_avxvnni/vector.hpp>

#include "test_util.hpp"

// The operations are compiled once for each target, with the instruction sets that the target's own code has.
namespace stilla { inline namespace STILLA_ABI { namespace skeleton {
#include "vocabulary_cases-inl.hpp"
}}}  // namespace stilla::skeleton
#if STILLA_ARCH_X86
STILLA_TARGET_BEGIN(STILLA_SETS_AVX2)
namespace stilla { inline namespace STILLA_ABI { namespace avx2 {
#include "vocabulary_cases-inl.hpp"
}}}  // namespace stilla::avx2
STILLA_TARGET_END
STILLA_TARGET_BEGIN(STILLA_SETS_AVXVNNI)
namespace stilla { inline namespace STILLA_ABI { namespace avxvnni {
#include "vocabulary_cases-inl.hpp"
}}}  // namespace stilla::avxvnni
STILLA_TARGET_END
STILLA_TARGET_BEGIN(STILLA_SETS_AVX512VNNI)
namespace stilla { inline namespace STILLA_ABI { namespace avx512vnni {
#include "vocabulary_cases-inl.hpp"
}}}  // namespace stilla::avx512vnni
STILLA_TARGET_END
#endif
#if STILLA_HAS_DOTPROD
STILLA_TARGET_BEGIN(STILLA_SETS_DOTPROD)
namespace stilla { inline namespace STILLA_ABI { namespace dotprod {
#include "vocabulary_cases-inl.hpp"
}}}  // namespace stilla::dotprod
STILLA_TARGET_END
#endif

namespace {

using namespace stilla_test;

using WrongOperation = const char* (*)(const std::int32_t*, const float*);

void expect_right(WrongOperation wrong_operation) {
  for (std::uint32_t seed = 0; seed < 2000; ++seed) {
    std::int32_t numbers[64];
    float floats[64];
    for (std::size_t i = 0; i < 64; ++i) {
      numbers[i] = static_cast<std::int32_t>(noise_bits(seed, i));
      floats[i] = std::ldexp(noise(seed + 5000, i), static_cast<int>(noise_bits(seed + 9000, i) % 60) - 40);
      const std::uint32_t special = noise_bits(seed + 12000, i) % 97;
      if (special == 0) floats[i] = std::nanf("");
      if (special == 1) floats[i] = 0.0f;
      if (special == 2) floats[i] = -0.0f;
      if (special == 3) numbers[i] = INT32_MIN;
      if (special == 4) numbers[i] = 0x7c00fc01;  // halves that are infinite and NaN
    }
    const char* wrong = wrong_operation(numbers, floats);
    ASSERT_EQ(wrong, nullptr) << wrong << ", seed " << seed;
  }
}

TEST(Vocabulary, Skeleton) { expect_right(stilla::skeleton::wrong_operation); }

template <class T>
class VocabularyOf : public TargetTest<T> {};
#if STILLA_ARCH_X86
using VocabularyOfAvx2 = VocabularyOf<Avx2>;
using VocabularyOfAvxVnni = VocabularyOf<AvxVnni>;
using VocabularyOfAvx512Vnni = VocabularyOf<Avx512Vnni>;
TEST_F(VocabularyOfAvx2, Operations) { expect_right(stilla::avx2::wrong_operation); }
TEST_F(VocabularyOfAvxVnni, Operations) { expect_right(stilla::avxvnni::wrong_operation); }
TEST_F(VocabularyOfAvx512Vnni, Operations) { expect_right(stilla::avx512vnni::wrong_operation); }
#endif
#if STILLA_HAS_DOTPROD
using VocabularyOfDotprod = VocabularyOf<Dotprod>;
TEST_F(VocabularyOfDotprod, Operations) { expect_right(stilla::dotprod::wrong_operation); }
#endif

}  // namespace
