// SPDX-License-Identifier: Apache-2.0
//
// Memory for rounded activations (contract/activation_q8.hpp). quantise() fills it, and every call reuses it. The memory belongs to
// the buffer or to the caller:
//
//   const std::size_t bytes = stilla::activation_bytes(max_tokens, K);   // enough for fewer tokens and for smaller K too
//   std::byte* memory = my_arena.take(bytes, 64);
//   stilla::ActivationBuffer x8({memory, bytes});
//   stilla::Status rounded = stilla::quantise(x8, x);                    // an error if the memory is too small
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <new>
#include <span>

#include <stilla/base/aligned.hpp>
#include <stilla/base/memory.hpp>
#include <stilla/contract/activation_q8.hpp>
#include <stilla/row_kernels.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// Returns how many bytes an ActivationBuffer in memory of the caller needs for `rows` rows of `cols` values. Fewer rows or columns
// never need more bytes. If the matmuls of the active target read rounded activations in an arrangement of their own
// (ArrangedActivations in contract/activation_q8.hpp), the bytes of this arrangement are included. With `has_factors` there is room for
// a float for each row, by which the row's results are multiplied. import_activations() needs the bytes of ActivationBits::sixteen with
// `has_factors`, which are also enough for 8 bits. Returns impossible_bytes if no memory is large enough.
inline std::size_t activation_bytes(std::size_t rows, std::size_t cols, ActivationBits bits = ActivationBits::eight,
                                    bool has_factors = false);

// With mixed activations this buffer holds all rows with 8 bits. A second buffer inside its memory holds the wide rows once more,
// with 16 bits. A buffer that owned its memory may be used again after it was moved from: call resize() or quantise() first. Memory
// that the caller lent moves to the new buffer, and the old one has none left.
class ActivationBuffer {
 public:
  explicit ActivationBuffer(ActivationBits bits = ActivationBits::eight) : wanted_bits_(bits), bits_(bits) {}
  // Makes a buffer in memory of the caller, which is on a 64-byte boundary and must outlive the buffer. Such a buffer allocates
  // nothing.
  explicit ActivationBuffer(std::span<std::byte> memory, ActivationBits bits = ActivationBits::eight)
      : wanted_bits_(bits), bits_(bits), memory_(memory) {}

  // Makes room for `rows` rows of `cols` values, none of them wide. After an error the buffer is as it was. It is an error if
  // memory of the caller is smaller than activation_bytes(). If the buffer owns its memory and the system has enough for everything
  // but the arrangement of the active target (ArrangedActivations), the call succeeds without an arrangement; matmuls then only
  // take longer.
  Status resize(std::size_t rows, std::size_t cols) { return resize(rows, cols, wanted_bits_, false); }
  // Makes room as resize(rows, cols) does, but with `bits` instead of the bits given to the constructor, for this call only. If
  // `has_factors` is set, there is also room for a factor for each row (ActivationQ8::row_factors).
  Status resize(std::size_t rows, std::size_t cols, ActivationBits bits, bool has_factors) {
    Status done = place(rows, cols, bits, has_factors, true);
    if (!done && !memory_.is_lent()) done = place(rows, cols, bits, has_factors, false);
    return done;
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
  // Says whether the activations that the buffer holds have 8 bits, have 16 bits, or are mixed.
  ActivationBits bits() const { return bits_; }
  bool is_mixed() const { return bits_ == ActivationBits::mixed; }
  std::int8_t* row_values(std::size_t m) { return at<std::int8_t>(parts_.values) + m * cols_; }
  // The lower plane of row m; null if the values have 8 bits.
  std::int8_t* row_low(std::size_t m) { return has_low() ? at<std::int8_t>(parts_.low) + m * cols_ : nullptr; }
  float* row_scales(std::size_t m) { return at<float>(parts_.scales) + m * (cols_ / activation_block); }
  std::int32_t* row_sums(std::size_t m) { return at<std::int32_t>(parts_.sums) + m * (cols_ / activation_block) * 2; }
  float* row_scaled_sums(std::size_t m) { return at<float>(parts_.scaled_sums) + m * (cols_ / activation_block); }
  RoundedSums* row_rounded_sums(std::size_t m) { return at<RoundedSums>(parts_.rounded_sums) + m * (cols_ / sums_block); }
  float* row_factors() { return at<float>(parts_.factors); }  // only if resize() made room for factors
  // Tells the buffer whether all scales of its activations are powers of two. If they are not, this call removes the arrangement for
  // one target's kernels (ArrangedActivations).
  void set_scales_are_powers(bool are) {
    scales_are_powers_ = are;
    if (!are) parts_.arranged_bytes = 0;
  }
  std::size_t rows() const { return rows_; }
  std::size_t cols() const { return cols_; }

  bool has_arrangement() const { return parts_.arranged_bytes != 0; }
  // The memory for the activations of this buffer in the order that one target's kernels read (ArrangedActivations), and that target.
  // The pointer `data` is null if there is no such memory.
  ArrangedActivations arranged() const {
    if (!has_arrangement()) return {};
    auto* const data = const_cast<std::byte*>(memory_.data()) + parts_.arranged;
    return {form_, data, rows_, cols_, 0, has_low()};
  }
  // Removes the arrangement (ArrangedActivations) unless it is the one that the kernels of the target `form` read. The other arrays
  // stay.
  void keep_arrangement_of(TargetId form) {
    if (has_arrangement() && !(form_ == form)) parts_.arranged_bytes = 0;
  }

  // These functions are for mixed activations. First mark_row() says of every row whether it is wide; any thread may call it. Then
  // collect_wide() makes room for the wide rows, in order, in a buffer of their own; that buffer keeps an arrangement only for the
  // target `form`. Instead of these two steps, take_wide() makes the same room for the rows that are wide in other activations,
  // `like`. From then on view() names the wide rows.
  void mark_row(std::size_t m, bool is_wide);
  void collect_wide(TargetId form);
  void take_wide(const WideRows& like, TargetId form);
  ActivationBuffer& wide();
  WideRows wide_rows() const;

 private:
  struct Wide;

  // The offsets of all arrays of the buffer in its memory.
  struct Parts {
    Parts() = default;
    Parts(std::size_t rows, std::size_t cols, ActivationBits bits, bool has_factors, bool is_arranged);

    std::size_t values = 0, low = 0, scales = 0, sums = 0, scaled_sums = 0, rounded_sums = 0, factors = 0;
    std::size_t arranged = 0, arranged_bytes = 0;
    std::size_t wide = 0, is_wide = 0, numbers = 0, wide_memory = 0, wide_bytes = 0;  // only of mixed activations
    std::size_t bytes = 0;
  };

  friend std::size_t activation_bytes(std::size_t rows, std::size_t cols, ActivationBits bits, bool has_factors);

  Status place(std::size_t rows, std::size_t cols, ActivationBits bits, bool has_factors, bool is_arranged);
  void make_room_for_wide(TargetId form);
  bool has_low() const { return bits_ == ActivationBits::sixteen; }
  template <class T>
  T* at(std::size_t offset) {
    return memory_.at<T>(offset);
  }
  template <class T>
  const T* at(std::size_t offset) const {
    return memory_.at<T>(offset);
  }

  ActivationBits wanted_bits_, bits_;
  bool has_factors_ = false, scales_are_powers_ = true, is_arranged_ = false;
  detail::Memory memory_;
  Parts parts_;
  TargetId form_;
  std::size_t rows_ = 0;
  std::size_t cols_ = 0;
  Wide* wide_ = nullptr;  // lies in memory_; null unless the activations are mixed
};

// The wide rows of mixed activations. There is room for as many wide rows as there are rows, so that collect_wide() and
// take_wide() cannot fail. The system gives no memory to pages that nobody writes to, so the unused part of this room costs
// nothing. This struct lies in the memory of the buffer and owns nothing, so it is never destroyed.
struct ActivationBuffer::Wide {
  ActivationBuffer buffer;
  std::uint8_t* is_wide;  // for every row: whether it is wide
  std::uint32_t* numbers;
  std::size_t count = 0;
  ActivationQ8 view = {};
};

inline ActivationBuffer::Parts::Parts(std::size_t rows, std::size_t cols, ActivationBits bits, bool has_factors, bool is_arranged) {
  // Up to max_rows rows no size in bytes overflows. The limit assumes that a value takes at most 16 bytes in all arrays of the
  // buffer together.
  const std::size_t max_rows = std::numeric_limits<std::size_t>::max() / 16 / (cols == 0 ? 1 : cols);
  const bool has_wide = bits == ActivationBits::mixed, has_low = bits == ActivationBits::sixteen;
  if (max_rows < 16 || rows > max_rows - 16 || (has_wide && rows > std::numeric_limits<std::uint32_t>::max())) {
    bytes = impossible_bytes;
    return;
  }
  const ActivationBits of_all = has_low ? bits : ActivationBits::eight;
  if (is_arranged) arranged_bytes = detail::activation_form(active_target()).bytes(rows, cols, of_all);
  detail::MemoryLayout layout;
  values = layout.add<std::int8_t>(rows, cols);
  low = layout.add<std::int8_t>(has_low ? rows : 0, cols);
  scales = layout.add<float>(rows, cols / activation_block);
  sums = layout.add<std::int32_t>(rows, cols / activation_block * 2);
  scaled_sums = layout.add<float>(rows, cols / activation_block);
  rounded_sums = layout.add<RoundedSums>(rows, cols / sums_block);
  factors = layout.add<float>(has_factors ? rows : 0);
  arranged = layout.add<std::byte>(arranged_bytes);
  if (has_wide) {
    wide_bytes = Parts(rows, cols, ActivationBits::sixteen, false, is_arranged).bytes;
    wide = layout.add<Wide>(1);
    is_wide = layout.add<std::uint8_t>(rows);
    numbers = layout.add<std::uint32_t>(rows);
    wide_memory = layout.add<std::byte>(wide_bytes);
  }
  bytes = layout.bytes();
}

inline std::size_t activation_bytes(std::size_t rows, std::size_t cols, ActivationBits bits, bool has_factors) {
  return ActivationBuffer::Parts(rows, cols, bits, has_factors, true).bytes;
}

inline Status ActivationBuffer::place(std::size_t rows, std::size_t cols, ActivationBits bits, bool has_factors, bool is_arranged) {
  const Parts parts(rows, cols, bits, has_factors, is_arranged);
  if (Status s = memory_.resize("rounded activations", parts.bytes); !s) return s;
  bits_ = bits;
  has_factors_ = has_factors;
  scales_are_powers_ = true;
  is_arranged_ = is_arranged;
  form_ = detail::activation_form(active_target()).id;
  parts_ = parts;
  rows_ = rows;
  cols_ = cols;
  wide_ = nullptr;
  if (is_mixed()) {
    const std::span<std::byte> memory(at<std::byte>(parts.wide_memory), parts.wide_bytes);
    wide_ = ::new (static_cast<void*>(at<std::byte>(parts.wide)))
        Wide{ActivationBuffer(memory, ActivationBits::sixteen), at<std::uint8_t>(parts.is_wide), at<std::uint32_t>(parts.numbers)};
  }
  return success();
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
  // The memory of the wide rows has room for all rows of the buffer. But its size was chosen for the target that was active when the
  // buffer was resized. If another target is active now, its arrangement of the wide rows may not fit. The wide rows then have no
  // arrangement.
  if (!w.buffer.place(w.count, cols_, ActivationBits::sixteen, false, is_arranged_)) {
    (void)w.buffer.place(w.count, cols_, ActivationBits::sixteen, false, false);
  }
  w.buffer.keep_arrangement_of(form);
  w.view = w.buffer.view();
}

inline ActivationBuffer& ActivationBuffer::wide() { return wide_->buffer; }

inline WideRows ActivationBuffer::wide_rows() const {
  if (wide_ == nullptr || wide_->count == 0) return {};
  return {wide_->numbers, &wide_->view, 0, wide_->count, 0};
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
