// SPDX-License-Identifier: Apache-2.0
//
// Puts a model's matrices into the weight file, with the weights as they are or requantised, as integers and scales in the order
// that an operator wants. A matrix that two graphs use is stored once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <stilla/base/error.hpp>
#include <stilla/io/gguf.hpp>

#include "../requantised.hpp"
#include "integer_rows.hpp"
#include "source_weights.hpp"
#include "weight_file.hpp"

namespace program {

// The order in which a matrix W[N, K] of integers is stored in the weight file.
enum class Storage : std::uint8_t {
  biased_rows,     // for MatMulNBits: [N, K], unsigned: level + 2^(bits - 1), or the code itself if the format has zero points
  signed_rows,     // for DequantizeLinear on axis 0 (one scale for each row) or, blocked, on axis 1: [N, K], two's complement
  byte_rows,       // for the embedding: like signed_rows, but int8 whatever the levels' bits are, because Gather takes no int4
  signed_columns,  // for DequantizeLinear on axis 1 or, blocked, on axis 0: the transposed matrix [K, N], two's complement
};

// What is stored in the weight file beside the integers of a matrix (its levels) and the scales.
enum class Offsets : std::uint8_t {
  none,
  zero_points,   // weight = scale * (level - zero point)
  minimums,      // weight = scale * level + minimum
  block_scales,  // weight = (scale * block scale) * level, with one scale for each row
};

struct PlacedMatrix {
  std::size_t rows = 0, columns = 0;  // N, K
  stilla::FormatId format = stilla::no_format;
  IntegerForm form;
  Storage storage = Storage::signed_rows;
  onnx::FilePlace levels;   // integers of level_bits() bits
  onnx::FilePlace scales;   // float32: [N] with block scales, otherwise [G, N] with signed_columns or [N, G]; G groups in a row
  // The place of what is stored beside the integers and scales of a matrix of N rows with G groups each. Zero points are unsigned
  // integers of as many bits as the weights, [N, G], and each row has whole bytes; minimums are float32 [N, G]; block scales are
  // uint8 [G, N], and only a transposed matrix (signed_columns) has them.
  onnx::FilePlace offsets;

  unsigned level_bits() const { return storage == Storage::byte_rows ? 8 : form.bits; }
  std::size_t groups() const { return form.group == 0 ? 1 : columns / form.group; }
};

class Matrices {
 public:
  // The model's weights (`source`), the weight file (`weights`) and this object itself must live until the jobs that write the weight
  // file have run.
  Matrices(const SourceWeights& source, WeightFile& weights) : source_(source), weights_(weights) {}
  Matrices(const Matrices&) = delete;
  Matrices& operator=(const Matrices&) = delete;

  // Places a tensor in `format`, which is its own format or one with an encoder. It refuses a format without an integer form; a
  // format that is not the tensor's own and has no encoder; and rows that are not a whole number of blocks.
  stilla::Result<PlacedMatrix> place(const stilla::GgufTensor& tensor, stilla::FormatId format, Storage storage,
                                     Offsets offsets = Offsets::none);
  // Places a tensor of any format as float16, [N, K].
  onnx::FilePlace place_halves(const stilla::GgufTensor& tensor);

  // Reserves a place for zeros in the weight file, for zero points that a graph must have although they are all 0. Zeros of the same
  // size are stored only once.
  onnx::FilePlace place_zeros(std::uint64_t bytes);

  // Reserves a place in the weight file for Hadamard's matrix [n, n] in natural order, where n is a power of two. Its type is float32, and
  // its numbers are divided by the square root of n; or its type is int8, with hadamard_level in place of 1 and -hadamard_level in place
  // of -1.
  static constexpr std::int8_t hadamard_level = 127;
  onnx::FilePlace place_hadamard(std::size_t n, onnx::ElementType type);

  // Returns whether for every group of the tensor -minimum / scale is an integer zero point, from 0 to 2^bits - 1.
  bool has_exact_zero_points(const stilla::GgufTensor& tensor) const;

  // Returns which matrices were requantised and with what error, in the order of the file. Valid after the weight file was
  // written.
  const std::vector<Requantised>& requantised() const { return requantised_; }

 private:
  std::map<std::pair<std::string, Storage>, PlacedMatrix> placed_;
  std::map<std::string, onnx::FilePlace> halves_;
  std::map<std::uint64_t, onnx::FilePlace> zeros_;
  std::map<std::pair<std::size_t, onnx::ElementType>, onnx::FilePlace> hadamards_;
  const SourceWeights& source_;
  WeightFile& weights_;
  std::vector<Requantised> requantised_;
};

}  // namespace program
