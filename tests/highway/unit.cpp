// SPDX-License-Identifier: Apache-2.0
//
// A file of an application that has kernels of its own, written with Highway, and uses Stilla beside them. CMakeLists.txt
// compiles it several times, with these macros:
//
//   HIGHWAY_UNIT     the unit's name
//   HIGHWAY_FOREACH  1: the file is compiled for every target of Highway, as gemma.cpp's files are; 0: for the static target
//   STILLA_PLACE     1: Stilla's headers come before Highway's; 2: after them; 0: nowhere. With 1 and 2, the file also
//                    includes stilla/softmax.hpp behind Highway's headers, each time that it is compiled for a target.
#include <cmath>
#include <cstddef>

#include "unit.hpp"

#if STILLA_PLACE == 1
#include <stilla/norm.hpp>
#endif

#if HIGHWAY_FOREACH
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "unit.cpp"
#include <hwy/foreach_target.h>
#endif
#include <hwy/highway.h>
#if STILLA_PLACE == 2
#include <stilla/norm.hpp>
#endif
#include <hwy/contrib/math/math-inl.h>  // Highway's own header that is read once for each target
#if STILLA_PLACE != 0
#include <stilla/softmax.hpp>
#endif

HWY_BEFORE_NAMESPACE();
namespace HIGHWAY_UNIT { namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// y = exp(x / sqrt(mean(x^2)) * weight) with Stilla's rms_norm(), or exp(x * weight) in a unit without Stilla. n is a multiple of
// 64.
HWY_MAYBE_UNUSED void exp_of_norm(float* y, const float* x, const float* weight, std::size_t n) {
#if STILLA_PLACE != 0
  if (!stilla::rms_norm(stilla::Matrix(y, 1, n), stilla::ConstMatrix(x, 1, n), weight, 0.0f)) return;
#else
  for (std::size_t i = 0; i < n; ++i) y[i] = x[i] * weight[i];
#endif
  const hn::ScalableTag<float> d;
  HWY_DASSERT(n % hn::Lanes(d) == 0);
  for (std::size_t i = 0; i < n; i += hn::Lanes(d)) hn::StoreU(hn::Exp(d, hn::LoadU(d, y + i)), d, y + i);
}
HWY_MAYBE_UNUSED std::int64_t this_pass() { return HWY_TARGET; }

}  // namespace HWY_NAMESPACE
}  // namespace HIGHWAY_UNIT
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace HIGHWAY_UNIT {

#if HIGHWAY_FOREACH
HWY_EXPORT(exp_of_norm);
HWY_EXPORT(this_pass);
#define HIGHWAY_CALL HWY_DYNAMIC_DISPATCH
#else
#define HIGHWAY_CALL HWY_STATIC_DISPATCH
#endif

bool results_are_right() {
  constexpr std::size_t n = 128;
  float x[n], y[n], weight[n];
  double squares = 0;
  for (std::size_t i = 0; i < n; ++i) {
    x[i] = static_cast<float>(i) / 64.0f - 1.0f;
    weight[i] = 1.0f;
    squares += double{x[i]} * x[i];
  }
  const double norm = STILLA_PLACE != 0 ? std::sqrt(squares / n) : 1.0;
  HIGHWAY_CALL(exp_of_norm)(y, x, weight, n);
  for (std::size_t i = 0; i < n; ++i) {
    const double expected = std::exp(x[i] / norm);
    if (!(std::fabs(y[i] - expected) <= 1e-5 * expected)) return false;
  }
  return true;
}

highway_units::Facts facts() {
  highway_units::Facts facts{HWY_STATIC_TARGET, HWY_TARGETS, HWY_TARGET, HWY_STR(HWY_NAMESPACE), HWY_ONCE, HWY_IS_DEBUG_BUILD, {}};
#if HIGHWAY_FOREACH
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    facts.passes.push_back(HIGHWAY_CALL(this_pass)());
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
#else
  facts.passes.push_back(HIGHWAY_CALL(this_pass)());
#endif
  return facts;
}

}  // namespace HIGHWAY_UNIT
#endif  // HWY_ONCE
