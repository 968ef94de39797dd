// SPDX-License-Identifier: Apache-2.0
//
// What a target wants of rounded activations beside the arrays that all targets read (ActivationQ8): an arrangement of its
// own, in memory that ActivationBuffer lends and matmuls of that target find as ActivationQ8::arranged. A target that wants one
// specialises ActivationForm in its activation_form.hpp; no other file changes.
//
//   id                      the target whose form it is; kernels ask for it
//   bytes(rows, cols, bits)   memory for so many tokens, 0 where their matmuls want no form
//   arrange(to, from, m, block, blocks)   writes what stands in `to` for `blocks` blocks of row m, whose arrays in `from` are filled
//   arrange_sums(to, from, m)             the same for the rounded sums of row m, after all its blocks
//   tokens_per_task(x)      how many tokens a task of a matmul takes at once; x.rows unless the form is too large for a cache
//
// Rows are independent: threads call for different rows, or for different blocks of a row, at the same time.
#pragma once

#include <cstddef>

#include <stilla/base/target.hpp>
#include <stilla/contract/activation_q8.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

template <class Target>
struct ActivationForm : ActivationForm<typename Target::Fallback> {};

// Where the chain of fallbacks ends: none.
struct NoActivationForm {
  static constexpr TargetId id{""};
  static std::size_t bytes(std::size_t, std::size_t, ActivationBits) { return 0; }
  static void arrange(const ArrangedActivations&, const ActivationQ8&, std::size_t, std::size_t, std::size_t) {}
  static void arrange_sums(const ArrangedActivations&, const ActivationQ8&, std::size_t) {}
  static std::size_t tokens_per_task(const ActivationQ8& x) { return x.rows; }
};
template <class Target>
  requires(!requires { typename Target::Fallback; })
struct ActivationForm<Target> : NoActivationForm {};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
