// SPDX-License-Identifier: Apache-2.0
//
// Memory for rounded activations (contract/activation_q8.hpp). quantise() fills it, and every call reuses it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <new>
#include <utility>

#include <stilla/base/aligned.hpp>
#include <stilla/contract/activation_q8.hpp>
#include <stilla/row_kernels.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// With mixed activations this buffer holds all rows with 8 bits. A second buffer inside it holds the wide rows once more, with 16
// bits.
class ActivationBuffer {
 public:
  explicit ActivationBuffer(ActivationBits bits = ActivationBits::eight) : wanted_bits_(bits), bits_(bits) {}
  ActivationBuffer(ActivationBuffer&&) noexcept;
  ActivationBuffer& operator=(ActivationBuffer&&) noexcept;
  ~ActivationBuffer();

  // Makes room for `rows` rows of `cols` values, none of them wide. Returns false and does nothing if memory is short. If the
  // matmuls of the active target read rounded activations in an arrangement of their own (ArrangedActivations in
  // contract/activation_q8.hpp), this function makes room for the arrangement of these rows too. If memory suffices for
  // everything but the arrangement, there is none; matmuls then only take longer.
  [[nodiscard]] bool resize(std::size_t rows, std::size_t cols) { return resize(rows, cols, wanted_bits_, false); }
  // Does the same with `bits` instead of the bits given to the constructor, for this call only. If `has_factors` is set, there is
  // room for a factor for each row (ActivationQ8::row_factors).
  [[nodiscard]] bool resize(std::size_t rows, std::size_t cols, ActivationBits bits, bool has_factors) {
    // The limit for the rows assumes that a value takes 16 bytes in all arrays together.
    const std::size_t max_rows = std::numeric_limits<std::size_t>::max() / 16 / (cols == 0 ? 1 : cols);
    if (max_rows < 16 || rows > max_rows - 16) return false;
    if (bits == ActivationBits::mixed && !resize_wide(rows, cols)) return false;
    const ActivationBits of_all = bits == ActivationBits::sixteen ? bits : ActivationBits::eight;
    const detail::ActivationFormFunctions form = detail::activation_form(active_target());
    Parts parts(rows, cols, of_all, has_factors, form.bytes(rows, cols, of_all));
    if (!memory_.resize(parts.bytes)) {
      parts = Parts(rows, cols, of_all, has_factors, 0);
      if (!memory_.resize(parts.bytes)) return false;
    }
    bits_ = bits;
    has_factors_ = has_factors;
    scales_are_powers_ = true;
    form_ = form.id;
    parts_ = parts;
    rows_ = rows;
    cols_ = cols;
    forget_wide();
    return true;
  }
  ActivationQ8 view() const {
    return {at<std::int8_t>(parts_.values),
            at<float>(parts_.scales),
            at<std::int32_t>(parts_.sums),
            at<float>(parts_.scaled_sums),
            at<RoundedSums>(parts_.rounded_sums),
            rows_,
            cols_,
            has_low() ? at<std::int8_t>(parts_.low) : nullptr,
            arranged(),
            has_factors_ ? at<float>(parts_.factors) : nullptr,
            scales_are_powers_,
            wide_rows()};
  }
  // The bits of the activations that the buffer holds.
  ActivationBits bits() const { return bits_; }
  bool is_mixed() const { return bits_ == ActivationBits::mixed; }
  std::int8_t* row_values(std::size_t m) { return at<std::int8_t>(parts_.values) + m * cols_; }
  // The lower plane of row m; null if the values have 8 bits.
  std::int8_t* row_low(std::size_t m) { return has_low() ? at<std::int8_t>(parts_.low) + m * cols_ : nullptr; }
  float* row_scales(std::size_t m) { return at<float>(parts_.scales) + m * (cols_ / activation_block); }
  std::int32_t* row_sums(std::size_t m) { return at<std::int32_t>(parts_.sums) + m * (cols_ / activation_block) * 2; }
  float* row_scaled_sums(std::size_t m) { return at<float>(parts_.scaled_sums) + m * (cols_ / activation_block); }
  RoundedSums* row_rounded_sums(std::size_t m) { return at<RoundedSums>(parts_.rounded_sums) + m * (cols_ / sums_block); }
  float* row_factors() { return at<float>(parts_.factors); }  // only if there are factors
  // Says whether all scales are powers of two. If they are not, there is no arrangement either.
  void set_scales_are_powers(bool are) {
    scales_are_powers_ = are;
    if (!are) parts_.arranged_bytes = 0;
  }
  std::size_t rows() const { return rows_; }
  std::size_t cols() const { return cols_; }

  bool has_arrangement() const { return parts_.arranged_bytes != 0; }
  // The memory for the same activations in the order that one target's kernels read (ArrangedActivations), and that target. Its data
  // is null if there is no such memory.
  ArrangedActivations arranged() const {
    if (!has_arrangement()) return {};
    auto* const data = const_cast<std::byte*>(memory_.data()) + parts_.arranged;
    return {form_, data, rows_, cols_, 0, has_low()};
  }
  // Removes the arrangement unless it is the one that the target `form` reads. The other arrays stay.
  void keep_arrangement_of(TargetId form) {
    if (has_arrangement() && !(form_ == form)) parts_.arranged_bytes = 0;
  }

  // For mixed activations. First every row is marked with mark_row(), from any thread. Then collect_wide() makes room for the
  // wide rows, in order, in a buffer of their own; that buffer keeps an arrangement only for the target `form`. Instead of these
  // two steps, take_wide() makes the same room for the rows that are wide in other activations, `like`. From then on view() names
  // the wide rows.
  void mark_row(std::size_t m, bool is_wide);
  void collect_wide(TargetId form);
  void take_wide(const WideRows& like, TargetId form);
  ActivationBuffer& wide();
  WideRows wide_rows() const;

 private:
  struct Wide;

  void forget_wide();
  void make_room_for_wide(TargetId form);
  bool has_low() const { return bits_ == ActivationBits::sixteen; }
  bool resize_wide(std::size_t rows, std::size_t cols);

  // Offsets of all parts in one array. One large array can have large pages; many small ones could not. Each part begins on a
  // cache line of its own.
  struct Parts {
    Parts() = default;
    Parts(std::size_t rows, std::size_t cols, ActivationBits bits, bool has_factors, std::size_t bytes_of_arranged)
        : arranged_bytes(bytes_of_arranged) {
      const std::size_t planes = bits == ActivationBits::sixteen ? 2 : 1, blocks = rows * (cols / activation_block);
      values = add<std::int8_t>(rows * cols);
      low = add<std::int8_t>(rows * cols * (planes - 1));
      scales = add<float>(blocks);
      sums = add<std::int32_t>(2 * blocks);
      scaled_sums = add<float>(blocks);
      rounded_sums = add<RoundedSums>(rows * (cols / sums_block));
      factors = add<float>(has_factors ? rows : 0);
      arranged = add<std::byte>(arranged_bytes);
    }

    std::size_t values = 0, low = 0, scales = 0, sums = 0, scaled_sums = 0, rounded_sums = 0, factors = 0;
    std::size_t arranged = 0, arranged_bytes = 0;
    std::size_t bytes = 0;

   private:
    template <class T>
    std::size_t add(std::size_t count) {
      const std::size_t begin = bytes;
      bytes += (count * sizeof(T) + cache_line_bytes - 1) / cache_line_bytes * cache_line_bytes;
      return begin;
    }
  };

  template <class T>
  T* at(std::size_t offset) {
    return reinterpret_cast<T*>(memory_.data() + offset);
  }
  template <class T>
  const T* at(std::size_t offset) const {
    return reinterpret_cast<const T*>(memory_.data() + offset);
  }

  ActivationBits wanted_bits_, bits_;
  bool has_factors_ = false, scales_are_powers_ = true;
  AlignedBuffer<std::byte> memory_;
  Parts parts_;
  TargetId form_;
  std::size_t rows_ = 0;
  std::size_t cols_ = 0;
  std::unique_ptr<Wide> wide_;  // null unless the activations are mixed
};

// The wide rows of mixed activations. There is room for as many wide rows as there are rows, so that collect_wide() and
// take_wide() cannot fail. The part of this memory that nobody writes to costs nothing.
struct ActivationBuffer::Wide {
  ActivationBuffer buffer{ActivationBits::sixteen};
  ActivationQ8 view;
  AlignedBuffer<std::uint8_t> is_wide;  // for every row: whether it is wide
  AlignedBuffer<std::uint32_t> numbers;
  std::size_t count = 0;
};

inline ActivationBuffer::ActivationBuffer(ActivationBuffer&&) noexcept = default;
inline ActivationBuffer& ActivationBuffer::operator=(ActivationBuffer&&) noexcept = default;
inline ActivationBuffer::~ActivationBuffer() = default;

inline bool ActivationBuffer::resize_wide(std::size_t rows, std::size_t cols) {
  if (rows > std::numeric_limits<std::uint32_t>::max()) return false;
  if (wide_ == nullptr) wide_.reset(new (std::nothrow) Wide);
  if (wide_ == nullptr || !wide_->is_wide.resize(rows) || !wide_->numbers.resize(rows)) return false;
  return wide_->buffer.resize(rows, cols);
}

inline void ActivationBuffer::forget_wide() {
  if (wide_ != nullptr) wide_->count = 0;
}

inline void ActivationBuffer::mark_row(std::size_t m, bool is_wide) { wide_->is_wide[m] = is_wide ? 1 : 0; }

inline void ActivationBuffer::collect_wide(TargetId form) {
  Wide& w = *wide_;
  w.count = 0;
  for (std::size_t m = 0; m < rows_; ++m) {
    if (w.is_wide[m] != 0) w.numbers[w.count++] = static_cast<std::uint32_t>(m);
  }
  make_room_for_wide(form);
}

inline void ActivationBuffer::take_wide(const WideRows& like, TargetId form) {
  wide_->count = 0;
  for (std::size_t i = 0; i < like.count() && like.row(i) < rows_; ++i) {
    wide_->numbers[wide_->count++] = static_cast<std::uint32_t>(like.row(i));
  }
  make_room_for_wide(form);
}

inline void ActivationBuffer::make_room_for_wide(TargetId form) {
  Wide& w = *wide_;
  if (w.count == 0) return;
  (void)w.buffer.resize(w.count, cols_);  // this needs no memory: there is already room for more rows
  w.buffer.keep_arrangement_of(form);
  w.view = w.buffer.view();
}

inline ActivationBuffer& ActivationBuffer::wide() { return wide_->buffer; }

inline WideRows ActivationBuffer::wide_rows() const {
  if (wide_ == nullptr || wide_->count == 0) return {};
  return {wide_->numbers.data(), &wide_->view, 0, wide_->count, 0};
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
