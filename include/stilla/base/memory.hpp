// SPDX-License-Identifier: Apache-2.0
//
// The memory of an object that keeps data between ops: ActivationBuffer, TopLogits, ExpertPlan. It is either the object's own, and
// grows when more is needed, or it was lent by the caller, and then too little of it is an error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <utility>

#include <stilla/base/aligned.hpp>
#include <stilla/base/error.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// What the functions that tell a size in bytes return if no memory is large enough.
inline constexpr std::size_t impossible_bytes = std::numeric_limits<std::size_t>::max() / cache_line_bytes * cache_line_bytes;

namespace detail {

// Lays out arrays one behind the other in one piece of memory. Each begins on a cache line of its own. One large piece can have
// large pages, which many small ones could not have.
class MemoryLayout {
 public:
  // Adds an array of rows * cols elements and returns its offset in bytes.
  template <class T>
  std::size_t add(std::size_t rows, std::size_t cols = 1) {
    const std::size_t begin = bytes_, most = (impossible_bytes - begin) / sizeof(T);
    if (cols != 0 && rows > most / cols) {
      bytes_ = impossible_bytes;
      return 0;
    }
    bytes_ += (rows * cols * sizeof(T) + cache_line_bytes - 1) / cache_line_bytes * cache_line_bytes;
    return begin;
  }
  // The bytes of all arrays together; impossible_bytes if that number does not fit into a size_t.
  std::size_t bytes() const { return bytes_; }

 private:
  std::size_t bytes_ = 0;
};

class Memory {
 public:
  Memory() = default;
  explicit Memory(std::span<std::byte> lent) : lent_(lent), is_lent_(true) {}
  // A new Memory takes over what was lent to `other`. `other` then has no memory left, and its resize() refuses to make room.
  Memory(Memory&& other) noexcept : own_(std::move(other.own_)), lent_(std::exchange(other.lent_, {})), is_lent_(other.is_lent_) {}
  Memory& operator=(Memory&& other) noexcept {
    own_ = std::move(other.own_);
    lent_ = std::exchange(other.lent_, {});
    is_lent_ = other.is_lent_;
    return *this;
  }
  ~Memory() = default;

  bool is_lent() const { return is_lent_; }
  std::byte* data() { return is_lent_ ? lent_.data() : own_.data(); }
  const std::byte* data() const { return is_lent_ ? lent_.data() : own_.data(); }
  template <class T>
  T* at(std::size_t offset) {
    return reinterpret_cast<T*>(data() + offset);
  }
  template <class T>
  const T* at(std::size_t offset) const {
    return reinterpret_cast<const T*>(data() + offset);
  }

  // Returns the part of lent memory that lies behind its first `bytes` bytes, as a Memory of its own.
  Memory rest(std::size_t bytes) const { return Memory(lent_.subspan(bytes)); }

  // Makes room for `bytes` bytes with unspecified contents. Memory that is large enough stays where it is. `what` is the name of
  // the memory in error messages. After an error the memory is as it was.
  Status resize(std::string_view what, std::size_t bytes) {
    if (!is_lent_) {
      if (!own_.resize(bytes)) return out_of_memory(what, bytes);
      return success();
    }
    if (bytes > lent_.size()) {
      return Error{ErrorKind::bad_argument, concat(what, ": memory of ", lent_.size(), " bytes, expected ", bytes)};
    }
    if (reinterpret_cast<std::uintptr_t>(lent_.data()) % cache_line_bytes != 0) {
      return Error{ErrorKind::bad_argument, concat(what, ": memory at an address that is no multiple of ", cache_line_bytes)};
    }
    return success();
  }

 private:
  AlignedBuffer<std::byte> own_;
  std::span<std::byte> lent_;
  bool is_lent_ = false;
};

}  // namespace detail

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
