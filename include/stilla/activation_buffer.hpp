// SPDX-License-Identifier: Apache-2.0
//
// Memory for rounded activations (contract/activation_q8.hpp), reused from call to call: what quantise() in matmul.hpp fills.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

#include <stilla/base/aligned.hpp>
#include <stilla/dispatch.hpp>
#include <stilla/contract/activation_q8.hpp>

namespace stilla { inline namespace STILLA_ABI {

class ActivationBuffer {
 public:
  explicit ActivationBuffer(ActivationBits bits = ActivationBits::eight) : bits_(bits) {}

  // Room for `rows` rows of `cols` values; false, and nothing done, when memory is short. Many rows get room for TileActivations
  // too if the active target takes them (and memory is not short: without them it only takes longer).
  [[nodiscard]] bool resize(std::size_t rows, std::size_t cols) {
    const std::size_t most_rows = std::numeric_limits<std::size_t>::max() / 16 / (cols == 0 ? 1 : cols);  // of 16 bytes a value
    if (most_rows < 16 || rows > most_rows - 16) return false;
    Parts parts(rows, cols, bits_, rows >= fewest_tokens_for_tiles && target_takes_tiles());
    if (!memory_.resize(parts.bytes)) {
      parts = Parts(rows, cols, bits_, false);
      if (!memory_.resize(parts.bytes)) return false;
    }
    parts_ = parts;
    rows_ = rows;
    cols_ = cols;
    return true;
  }
  ActivationQ8 view() const {
    TileActivations tiles;
    if (has_tiles()) {
      tiles = {at<std::uint16_t>(parts_.tile_values), bits_ == ActivationBits::eight ? nullptr : at<std::uint16_t>(parts_.tile_low),
               at<float>(parts_.tile_sums), at<std::uint16_t>(parts_.tile_rounded_sums), tile_stride(rows_)};
    }
    return {at<std::int8_t>(parts_.values),
            at<float>(parts_.scales),
            at<std::int32_t>(parts_.sums),
            at<float>(parts_.scaled_sums),
            at<RoundedSums>(parts_.rounded_sums),
            rows_,
            cols_,
            bits_ == ActivationBits::eight ? nullptr : at<std::int8_t>(parts_.low),
            tiles};
  }
  ActivationBits bits() const { return bits_; }
  std::int8_t* row_values(std::size_t m) { return at<std::int8_t>(parts_.values) + m * cols_; }
  std::int8_t* row_low(std::size_t m) {  // null: 8 bits
    return bits_ == ActivationBits::eight ? nullptr : at<std::int8_t>(parts_.low) + m * cols_;
  }
  float* row_scales(std::size_t m) { return at<float>(parts_.scales) + m * (cols_ / activation_block); }
  std::int32_t* row_sums(std::size_t m) { return at<std::int32_t>(parts_.sums) + m * (cols_ / activation_block) * 2; }
  float* row_scaled_sums(std::size_t m) { return at<float>(parts_.scaled_sums) + m * (cols_ / activation_block); }
  RoundedSums* row_rounded_sums(std::size_t m) { return at<RoundedSums>(parts_.rounded_sums) + m * (cols_ / sums_block); }
  std::size_t rows() const { return rows_; }
  std::size_t cols() const { return cols_; }

  bool has_tiles() const { return parts_.has_tiles; }
  std::uint16_t* tile_values() { return at<std::uint16_t>(parts_.tile_values); }
  std::uint16_t* tile_low() {  // null: 8 bits
    return bits_ == ActivationBits::eight ? nullptr : at<std::uint16_t>(parts_.tile_low);
  }
  float* tile_sums() { return at<float>(parts_.tile_sums); }
  std::uint16_t* tile_rounded_sums() { return at<std::uint16_t>(parts_.tile_rounded_sums); }

 private:
  // Where everything is in one array (which has large pages, as many small ones would not), each part on a cache line of its own.
  struct Parts {
    Parts() = default;
    Parts(std::size_t rows, std::size_t cols, ActivationBits bits, bool with_tiles) : has_tiles(with_tiles) {
      const std::size_t planes = bits == ActivationBits::sixteen ? 2 : 1, blocks = rows * (cols / activation_block);
      values = add<std::int8_t>(rows * cols);
      low = add<std::int8_t>(rows * cols * (planes - 1));
      scales = add<float>(blocks);
      sums = add<std::int32_t>(2 * blocks);
      scaled_sums = add<float>(blocks);
      rounded_sums = add<RoundedSums>(rows * (cols / sums_block));
      if (!with_tiles) return;
      const std::size_t tile_blocks = cols / activation_block * tile_stride(rows), pairs = (cols / sums_block + 1) / 2;
      tile_values = add<std::uint16_t>(tile_blocks * activation_block);
      tile_low = add<std::uint16_t>(tile_blocks * activation_block * (planes - 1));
      tile_sums = add<float>(tile_blocks);
      tile_rounded_sums = add<std::uint16_t>(pairs * tile_stride(rows) * activation_block);
    }

    std::size_t values = 0, low = 0, scales = 0, sums = 0, scaled_sums = 0, rounded_sums = 0;
    std::size_t tile_values = 0, tile_low = 0, tile_sums = 0, tile_rounded_sums = 0;
    bool has_tiles = false;
    std::size_t bytes = 0;

   private:
    template <class T>
    std::size_t add(std::size_t count) {
      const std::size_t begin = bytes;
      bytes += (count * sizeof(T) + cache_line_bytes - 1) / cache_line_bytes * cache_line_bytes;
      return begin;
    }
  };

  static bool target_takes_tiles() {
    bool takes = false;
    with_target(active_target(), [&](auto target) { takes = takes_tile_activations<decltype(target)>; });
    return takes;
  }
  static constexpr std::size_t tile_stride(std::size_t rows) { return rows + 16; }
  template <class T>
  T* at(std::size_t offset) {
    return reinterpret_cast<T*>(memory_.data() + offset);
  }
  template <class T>
  const T* at(std::size_t offset) const {
    return reinterpret_cast<const T*>(memory_.data() + offset);
  }

  ActivationBits bits_;
  AlignedBuffer<std::byte> memory_;
  Parts parts_;
  std::size_t rows_ = 0;
  std::size_t cols_ = 0;
};

}}  // namespace stilla
