// SPDX-License-Identifier: Apache-2.0
//
// Finds weights that are not numbers. A model with NaN or infinity among its weights computes nothing useful. When a file is opened it
// is not searched for such weights, because a search has to read the whole file. Code that sees logits which are not numbers, or that
// reads every weight anyway, can ask find_damaged_tensor() which tensor is the cause.
#pragma once

#include <algorithm>
#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include <stilla/base/aligned.hpp>
#include <stilla/base/error.hpp>
#include <stilla/base/math.hpp>
#include <stilla/base/parallel.hpp>
#include <stilla/base/types.hpp>
#include <stilla/format/format.hpp>
#include <stilla/io/model_source.hpp>
#include <stilla/layout/pack.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// Whether none of the values is NaN or infinity.
inline bool all_finite(std::span<const float> values) {
  return std::all_of(values.begin(), values.end(), [](float value) { return detail::is_finite(value); });
}

namespace detail {

// True for formats whose scales and minimums are floats of 16 bits (halves). A weight of such a format is the scale times integers
// below 128, plus or minus the minimum (if the format has one) times such integers. So the weight is finite if the scale and the
// minimum are. Only these halves are tested, because decoding everything took most of the time of `stilla pack`.
template <class F>
inline constexpr bool has_half_scales = false;
template <QuantisedFormat F>
  requires(!RowScaledFormat<F> &&
           requires(const std::byte* block) {
             { F::scale(block) } -> std::same_as<f16>;
           })
inline constexpr bool has_half_scales<F> = true;

template <class F>
bool has_finite_scales(const std::byte* row, std::size_t K) {
  for (std::size_t k = 0; k < K; k += F::block_weights) {
    const std::byte* const block = block_of<F>(row, k);
    if (!is_finite(to_float(F::scale(block)))) return false;
    if constexpr (F::has_minimum) {
      if (!is_finite(to_float(F::minimum(block)))) return false;
    }
  }
  return true;
}

// Whether the decoded weights of a row are finite. `decoded` is memory for K floats.
template <class F>
bool is_finite_row(const std::byte* row, std::span<float> decoded) {
  if constexpr (has_half_scales<F>) return has_finite_scales<F>(row, decoded.size());
  decode_row<F>(row, decoded.data(), decoded.size());
  return all_finite(decoded);
}

}  // namespace detail

// Returns the first tensor with a weight that is NaN or infinity after decoding; null if there is none. Tensors of unsupported types are
// skipped. Rows are decoded, or only their scales are read if these alone tell whether the weights are finite. Each thread needs
// memory for one row. `progress` is called with the number of tensors done and the number of all tensors. If it returns false the
// search ends and the result is null. If memory is short the result is an error.
inline Result<const TensorInfo*> find_damaged_tensor(const ModelSource& source, Parallel parallel = {},
                                                     const std::function<bool(std::size_t, std::size_t)>& progress = {}) {
  constexpr std::size_t rows_of_a_task = 64;
  for (std::size_t i = 0; i < source.tensor_count(); ++i) {
    const TensorInfo& tensor = source.tensor(i);
    if (progress && !progress(i, source.tensor_count())) return nullptr;
    if (tensor.format == no_format) continue;
    const auto N = static_cast<std::size_t>(tensor.rows()), K = static_cast<std::size_t>(tensor.columns());
    const std::byte* const bytes = source.tensor_bytes(tensor).data();
    std::atomic<bool> is_damaged{false}, has_memory{true};
    with_format(tensor.format, [&](auto tag) {
      using F = decltype(tag);
      const PackedView packed{tensor.format, N, K, bytes};
      parallel((N + rows_of_a_task - 1) / rows_of_a_task, [&](std::size_t task) {
        AlignedBuffer<float> row;
        if (is_damaged || !row.resize(K)) {
          has_memory = has_memory && is_damaged;
          return;
        }
        const std::size_t end = std::min(N, (task + 1) * rows_of_a_task);
        for (std::size_t n = task * rows_of_a_task; n < end; ++n) {
          if (!tensor.is_packed) {
            if (!detail::is_finite_row<F>(bytes + n * row_bytes<F>(K), {row.data(), K})) is_damaged = true;
            continue;
          }
          unpack_row<F>(packed, n, row.data());
          if (!all_finite({row.data(), K})) is_damaged = true;
        }
      });
    });
    if (is_damaged) return &tensor;
    if (!has_memory) return out_of_memory("a row of weights", K * sizeof(float));
  }
  return nullptr;
}

// Searches as find_damaged_tensor() does and returns an error if there is a damaged tensor: "m.gguf: tensor
// 'blk.0.ffn_up.weight' at byte 123: holds weights that are not numbers (NaN or infinity); the file is damaged".
inline Status check_weights_are_numbers(const ModelSource& source, Parallel parallel = {},
                                        const std::function<bool(std::size_t, std::size_t)>& progress = {}) {
  const Result<const TensorInfo*> damaged = find_damaged_tensor(source, parallel, progress);
  if (!damaged) return damaged.error();
  if (*damaged == nullptr) return success();
  return source.tensor_error(**damaged, "holds weights that are not numbers (NaN or infinity); the file is damaged");
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
