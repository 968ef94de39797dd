// SPDX-License-Identifier: Apache-2.0
//
// Rotary position embedding (Su et al., 2021). At position p, pair i of a head is rotated by the angle
//
//     p * base^(-2i / rotary_dim) / factor[i]          i = 0 .. rotary_dim / 2 - 1
//
// where factor[i] is 1 unless the model gives divisors (as Llama 3 does for long contexts). Angles, cosines and sines are computed in
// double. They are therefore right to the last bit of a float up to position 131 071 and beyond. (transformers computes the angle
// in float, whose error is up to 0.004 at such positions.) Cosines and sines depend on the position only, so that one row of their
// table serves all heads and layers.
//
// Scalings for texts longer than those of the training, as transformers computes them:
//
//     linear   all angles are divided by the factor of the scaling (RopeScaling::factor)
//     YaRN     (Peng et al., 2023) pairs that turn often in the original context keep their angle; pairs that turn less than
//              once have it divided by this factor; pairs between these get a mixture of the two. Cosines and sines are
//              multiplied by 0.1 ln(factor) + 1, so that attention is as sharp as before
//
// With every scaling, cosines and sines are also multiplied by `magnitude`, as in llama.cpp.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <stilla/base/check.hpp>
#include <stilla/base/math.hpp>
#include <stilla/base/matrix.hpp>
#include <stilla/base/parallel.hpp>
#include <stilla/contract/elementwise.hpp>
#include <stilla/dispatch.hpp>
#include <stilla/row_kernels.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

enum class RopeLayout : std::uint8_t {
  half_split,   // pairs (x[i], x[i + rotary_dim / 2]): Qwen2, GPT-NeoX
  interleaved,  // pairs (x[2i], x[2i + 1]): Llama in GGUF files
};

struct RopeScaling {
  enum class Type : std::uint8_t { none, linear, yarn };
  Type type = Type::none;
  double factor = 1.0;              // at least 1
  double original_context = 0.0;    // YaRN: positions of the context before scaling
  double magnitude = 1.0;           // factor of cosines and sines, in addition to YaRN's
  double fast_turns = 32.0;         // YaRN: pairs with more turns in the original context keep their angle
  double slow_turns = 1.0;          // YaRN: pairs with fewer turns have their angle divided by the whole factor
};

// The angle by which each pair turns from one position to the next, in radians. The angles are computed once for a model.
class RopeFrequencies {
 public:
  RopeFrequencies() = default;
  // base is in [1, 1e30]; rotary_dim is even; factors are rotary_dim / 2 divisors of the angles (Llama 3's long-context scaling), or
  // null.
  RopeFrequencies(double base, std::size_t rotary_dim, const float* factors = nullptr, const RopeScaling& scaling = {})
      : radians_(rotary_dim / 2) {
    const bool is_yarn = scaling.type == RopeScaling::Type::yarn;
    double first = 0.0, last = 0.0;  // YaRN: pairs between these two get a mixture of the angle and the divided angle
    if (is_yarn) {
      const auto pair_that_turns = [&](double turns) {
        constexpr double two_pi = 6.283185307179586;
        return static_cast<double>(rotary_dim) * logarithm(scaling.original_context / (turns * two_pi)) / (2.0 * logarithm(base));
      };
      first = std::max(std::floor(pair_that_turns(scaling.fast_turns)), 0.0);
      last = std::min(std::ceil(pair_that_turns(scaling.slow_turns)), static_cast<double>(rotary_dim) - 1.0);
      if (first == last) last += 0.001;
      magnitude_ = std::fma(0.1, logarithm(scaling.factor), 1.0);
    }
    magnitude_ *= scaling.magnitude;
    for (std::size_t i = 0; i < radians_.size(); ++i) {
      const double angle = power(base, -2.0 * static_cast<double>(i) / static_cast<double>(rotary_dim));
      const double slow = is_yarn ? std::clamp((static_cast<double>(i) - first) / (last - first), 0.0, 1.0)
                          : scaling.type == RopeScaling::Type::linear ? 1.0
                                                                      : 0.0;
      const double slower = angle / scaling.factor;
      radians_[i] = slow == 0.0 ? angle : slow == 1.0 ? slower : std::fma(angle, 1.0 - slow, slower * slow);
      if (factors != nullptr) radians_[i] /= static_cast<double>(factors[i]);
    }
  }

  std::size_t pairs() const { return radians_.size(); }
  // The angle of pair i at position 1, in radians.
  double radians(std::size_t i) const { return radians_[i]; }
  // The factor by which all cosines and sines are multiplied.
  double magnitude() const { return magnitude_; }

  // Writes the cosines and the sines for one position (below 2^20), pairs() floats of each.
  void table_row(float* cos, float* sin, std::size_t position) const { table_row_at(cos, sin, static_cast<double>(position)); }
  void table_row_at(float* cos, float* sin, double position) const {
    for (std::size_t i = 0; i < radians_.size(); ++i) {
      const SinCos angle = sin_cos(position * radians_[i]);
      cos[i] = static_cast<float>(angle.cos * magnitude_);
      sin[i] = static_cast<float>(angle.sin * magnitude_);
    }
  }

 private:
  std::vector<double> radians_;
  double magnitude_ = 1.0;
};

// Rotates, in place, every head of every row. x is M x (heads * head_dim). cos and sin are M x pairs, with 2 * pairs <= head_dim;
// the dimensions from 2 * pairs on stay as they are. Task m rotates row m (base/parallel.hpp). Each task must run only once, because
// it works in place.
struct RopeJob {
  Matrix x;
  std::size_t head_dim = 0;
  ConstMatrix cos, sin;
  RopeLayout layout = RopeLayout::half_split;
  RopeFunction kernel = detail::row_kernel<Rope>(active_target());
};

// It is always checked that the shapes fit and that rows are whole heads (base/check.hpp). With STILLA_CHECK it is also checked that x
// overlaps neither the table of cosines nor that of sines.
inline Status rope_check(const RopeJob& job) {
  constexpr const char* op = "rope";
  if (job.head_dim == 0 || job.x.cols % job.head_dim != 0) {
    return detail::bad_argument(concat(op, ": ", job.x.cols, " columns are no whole heads of ", job.head_dim));
  }
  if (job.cos.cols > job.head_dim / 2) {
    return detail::bad_argument(
        concat(op, ": ", job.cos.cols, " pairs, expected at most ", job.head_dim / 2, " in a head of ", job.head_dim));
  }
  if (Status s = detail::check_shape(op, "x", job.x, job.x.rows, job.x.cols); !s) return s;
  if (Status s = detail::check_shape(op, "cos", job.cos, job.x.rows, job.cos.cols); !s) return s;
  if (Status s = detail::check_shape(op, "sin", job.sin, job.x.rows, job.cos.cols); !s) return s;
  if (!checks_everything()) return success();
  if (Status s = detail::check_apart(op, "x", job.x, "cos", job.cos); !s) return s;
  return detail::check_apart(op, "x", job.x, "sin", job.sin);
}
inline std::size_t rope_tasks(const RopeJob& job) { return rope_check(job) ? job.x.rows : 0; }
inline void rope_run(const RopeJob& job, std::size_t m) {
  for (float *head = job.x.row(m), *end = head + job.x.cols; head != end; head += job.head_dim) {
    job.kernel(head, job.cos.row(m), job.sin.row(m), job.cos.cols, job.layout == RopeLayout::half_split);
  }
}

inline Status rope(Matrix x, std::size_t head_dim, ConstMatrix cos, ConstMatrix sin, RopeLayout layout, Parallel parallel = {}) {
  const RopeJob job{x, head_dim, cos, sin, layout};
  if (Status s = rope_check(job); !s) return s;
  parallel(x.rows, [&](std::size_t m) { rope_run(job, m); });
  return success();
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
