// SPDX-License-Identifier: Apache-2.0
//
// Lets a target have rounded activations in an arrangement of its own, beside the arrays that all targets read (ActivationQ8).
// ActivationBuffer lends the memory for it, and the matmuls of that target find it as ActivationQ8::arranged. A target that wants
// an arrangement of its own specialises ActivationForm in its activation_form.hpp; no other file changes. An ActivationForm has
// these members:
//
//   id                      the target whose arrangement this is; kernels compare it with the id of their own
//   bytes(rows, cols, bits)   the bytes of an arrangement of `rows` tokens; 0 where the target's matmuls want no arrangement
//   arrange(to, from, m, block, blocks)   writes into `to` what belongs to `blocks` blocks of row m, from `block` on. The arrays of
//                                         row m in `from` are already filled
//   arrange_sums(to, from, m)             writes what belongs to the rounded sums of row m, after all blocks of the row
//   tokens_per_task(x)      how many tokens a task of a matmul takes at once: x.rows unless the arrangement is too large for a cache
//
// Rows are independent: threads may call arrange and arrange_sums for different rows, or for different blocks of a row, at the same
// time.
#pragma once

#include <cstddef>

#include <stilla/base/target.hpp>
#include <stilla/contract/activation_q8.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

template <class Target>
struct ActivationForm : ActivationForm<typename Target::Fallback> {};

// What a target has if neither it nor any of its fallbacks specialises ActivationForm: no arrangement.
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
