// SPDX-License-Identifier: Apache-2.0
//
// Reads files of unknown origin safely: arithmetic that reports overflow, and one cursor through which every byte is read.
//
// Parsers that were attacked successfully in practice had three kinds of mistakes: arithmetic on a number from the file before it
// was bounded, an allocation whose size came from the file before it was compared with the bytes left, and a typed read that
// trusted a declared type. With the tools of this header parsers avoid the first two: they compare a count of records with the number of
// bytes left, ByteCursor::remaining(), divided by the size of the smallest record, and compute sizes only by checked_add and
// checked_mul.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <type_traits>

#include <stilla/base/types.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// checked_add, checked_mul and checked_align_up return false, and do not change the result, if the true value needs more than 64
// bits.
constexpr bool checked_add(std::uint64_t a, std::uint64_t b, std::uint64_t& sum) {
  if (a > std::numeric_limits<std::uint64_t>::max() - b) return false;
  sum = a + b;
  return true;
}

constexpr bool checked_mul(std::uint64_t a, std::uint64_t b, std::uint64_t& product) {
  if (a != 0 && b > std::numeric_limits<std::uint64_t>::max() / a) return false;
  product = a * b;
  return true;
}

// checked_add, checked_sub and checked_mul of signed numbers return false, and do not change the result, if the true value is
// beyond std::int64_t. They look for an overflow before they compute, because an overflow of signed integers is undefined behaviour.
constexpr bool checked_add(std::int64_t a, std::int64_t b, std::int64_t& sum) {
  using Limits = std::numeric_limits<std::int64_t>;
  if (b < 0 ? a < Limits::min() - b : a > Limits::max() - b) return false;
  sum = a + b;
  return true;
}

constexpr bool checked_sub(std::int64_t a, std::int64_t b, std::int64_t& difference) {
  using Limits = std::numeric_limits<std::int64_t>;
  if (b < 0 ? a > Limits::max() + b : a < Limits::min() + b) return false;
  difference = a - b;
  return true;
}

constexpr bool checked_mul(std::int64_t a, std::int64_t b, std::int64_t& product) {
  const auto magnitude = [](std::int64_t x) { return x < 0 ? 0 - static_cast<std::uint64_t>(x) : static_cast<std::uint64_t>(x); };
  const bool is_negative = (a < 0) != (b < 0);
  const std::uint64_t most = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()) + (is_negative ? 1u : 0u);
  std::uint64_t size = 0;
  if (!checked_mul(magnitude(a), magnitude(b), size) || size > most) return false;
  product = static_cast<std::int64_t>(is_negative ? 0 - size : size);
  return true;
}

// Rounds `value` up to a multiple of `alignment`, a power of two.
constexpr bool checked_align_up(std::uint64_t value, std::uint64_t alignment, std::uint64_t& aligned) {
  std::uint64_t sum = 0;
  if (!checked_add(value, alignment - 1, sum)) return false;
  aligned = sum & ~(alignment - 1);
  return true;
}

// Returns the last words of a message about a tensor whose bytes go beyond the end of the file. They name what may be wrong: the file
// may be truncated. If the tensor begins behind the end of the file, or is larger than the whole file, the file may also be complete,
// and the offset, the shape or the type of the tensor may be wrong.
constexpr std::string_view why_beyond_end(std::uint64_t offset, std::uint64_t tensor_bytes, std::uint64_t file_bytes) {
  return offset > file_bytes         ? "it is truncated, or the offset of this tensor is wrong"
         : tensor_bytes > file_bytes ? "it is truncated, or the shape or the type of this tensor is wrong"
                                     : "it is truncated or damaged";
}

// Reads little-endian values from a span, from front to back. A read that goes beyond the span does not move the cursor and
// returns false; wanted() then tells how many bytes this read wanted, for the error message.
class ByteCursor {
 public:
  explicit ByteCursor(std::span<const std::byte> bytes) : bytes_(bytes) {}

  std::uint64_t offset() const { return offset_; }
  std::uint64_t remaining() const { return bytes_.size() - offset_; }
  std::uint64_t wanted() const { return wanted_; }

  // Gives a view of the next `count` bytes and moves the cursor behind them.
  bool take(std::uint64_t count, std::span<const std::byte>& view) {
    wanted_ = count;
    if (count > remaining()) return false;
    view = bytes_.subspan(offset_, static_cast<std::size_t>(count));
    offset_ += static_cast<std::size_t>(count);
    return true;
  }

  bool skip(std::uint64_t count) {
    std::span<const std::byte> ignored;
    return take(count, ignored);
  }

  template <class T>
    requires std::is_arithmetic_v<T>
  bool read(T& value) {
    std::span<const std::byte> view;
    if (!take(sizeof(T), view)) return false;
    value = load_as<T>(view.data());
    return true;
  }

  // Reads a string: a 64-bit length, and then as many bytes as the length says, of any content. If fewer than 8 bytes are left, the
  // cursor stays where it was. If fewer bytes are left than the length says, the cursor stands behind the length.
  bool read_string(std::string_view& text) {
    std::uint64_t length = 0;
    std::span<const std::byte> view;
    if (!read(length) || !take(length, view)) return false;
    text = {reinterpret_cast<const char*>(view.data()), view.size()};
    return true;
  }

 private:
  std::span<const std::byte> bytes_;
  std::size_t offset_ = 0;
  std::uint64_t wanted_ = 0;
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
