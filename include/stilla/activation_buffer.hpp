// SPDX-License-Identifier: Apache-2.0
//
// Memory for rounded activations (format/activation_q8.hpp), reused from call to call: what quantise() in matmul.hpp fills.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

#include <stilla/aligned.hpp>
#include <stilla/dispatch.hpp>
#include <stilla/format/activation_q8.hpp>

namespace stilla::inline STILLA_ABI {

class ActivationBuffer {
 public:
  explicit ActivationBuffer(ActivationBits bits = ActivationBits::eight) : bits_(bits) {}

  // Room for `rows` rows of `cols` values; false when memory is short. Many rows get room for TileActivations too if the
  // active target takes them (and memory is not short: without them it only takes longer).
  [[nodiscard]] bool resize(std::size_t rows, std::size_t cols) {
    if (cols != 0 && rows > std::numeric_limits<std::size_t>::max() / cols) return false;
    const std::size_t blocks = cols / activation_block;
    if (bits_ == ActivationBits::sixteen && !low_.resize(rows * cols)) return false;
    if (!values_.resize(rows * cols) || !scales_.resize(rows * blocks) || !sums_.resize(2 * rows * blocks)) return false;
    if (!scaled_sums_.resize(rows * blocks) || !rounded_sums_.resize(rows * (cols / sums_block))) return false;
    rows_ = rows;
    cols_ = cols;
    has_tiles_ = rows >= fewest_tokens_for_tiles && target_takes_tiles() && resize_tiles();
    return true;
  }
  ActivationQ8 view() const {
    const std::int8_t* low = bits_ == ActivationBits::sixteen ? low_.data() : nullptr;
    TileActivations tiles;
    if (has_tiles_) {
      tiles = {tile_values_.data(), low == nullptr ? nullptr : tile_low_.data(), tile_sums_.data(), tile_rounded_sums_.data(),
               tile_stride()};
    }
    return {values_.data(), scales_.data(), sums_.data(), scaled_sums_.data(), rounded_sums_.data(), rows_, cols_, low, tiles};
  }
  ActivationBits bits() const { return bits_; }
  std::int8_t* row_values(std::size_t m) { return values_.data() + m * cols_; }
  std::int8_t* row_low(std::size_t m) {  // null: 8 bits
    return bits_ == ActivationBits::sixteen ? low_.data() + m * cols_ : nullptr;
  }
  float* row_scales(std::size_t m) { return scales_.data() + m * (cols_ / activation_block); }
  std::int32_t* row_sums(std::size_t m) { return sums_.data() + m * (cols_ / activation_block) * 2; }
  float* row_scaled_sums(std::size_t m) { return scaled_sums_.data() + m * (cols_ / activation_block); }
  RoundedSums* row_rounded_sums(std::size_t m) { return rounded_sums_.data() + m * (cols_ / sums_block); }
  std::size_t rows() const { return rows_; }
  std::size_t cols() const { return cols_; }

  bool has_tiles() const { return has_tiles_; }
  std::uint16_t* tile_values() { return tile_values_.data(); }
  std::uint16_t* tile_low() { return bits_ == ActivationBits::sixteen ? tile_low_.data() : nullptr; }  // null: 8 bits
  float* tile_sums() { return tile_sums_.data(); }
  std::uint16_t* tile_rounded_sums() { return tile_rounded_sums_.data(); }

 private:
  static bool target_takes_tiles() {
    bool takes = false;
    with_target(active_target(), [&](auto target) { takes = takes_tile_activations<decltype(target)>; });
    return takes;
  }
  bool resize_tiles() {
    const std::size_t sums = cols_ / activation_block * tile_stride();
    if (bits_ == ActivationBits::sixteen && !tile_low_.resize(sums * activation_block)) return false;
    const std::size_t pairs = (cols_ / sums_block + 1) / 2;
    return tile_values_.resize(sums * activation_block) && tile_sums_.resize(sums) &&
           tile_rounded_sums_.resize(pairs * tile_stride() * activation_block);
  }
  std::size_t tile_stride() const { return rows_ + 16; }

  ActivationBits bits_;
  bool has_tiles_ = false;
  AlignedBuffer<std::int8_t> values_;
  AlignedBuffer<std::int8_t> low_;
  AlignedBuffer<float> scales_;
  AlignedBuffer<std::int32_t> sums_;
  AlignedBuffer<float> scaled_sums_;
  AlignedBuffer<RoundedSums> rounded_sums_;
  AlignedBuffer<std::uint16_t> tile_values_;
  AlignedBuffer<std::uint16_t> tile_low_;
  AlignedBuffer<float> tile_sums_;
  AlignedBuffer<std::uint16_t> tile_rounded_sums_;
  std::size_t rows_ = 0;
  std::size_t cols_ = 0;
};

}  // namespace stilla::STILLA_ABI
