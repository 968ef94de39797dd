// SPDX-License-Identifier: Apache-2.0
//
// The arithmetic of XDNA2's compute tiles in plain C++. It takes operands in the layout of tiles.hpp and multiplies one block by
// another, as an instruction of the hardware does. On every machine the results are, bit for bit, what is written here. Nobody
// compared them with the hardware.
//
// To each number of C, one instruction adds the products of a row of A's block and a column of B's block, 8 products along K:
//
//   int8    acc += sum of a * b                       exact in int32
//   bf16    acc = round(acc + sum of a * b)           each product is exact; they are added in double, in the order of k
//   bfp16   acc = round(acc + 2^e * sum of a * b)     a and b are integer mantissas, and their sum is exact; e = exponent_a +
//                                                     exponent_b - 266
//
// `round` rounds to float, ties to even; a subnormal result becomes 0. Subnormal operands of bf16 count as 0.
//
// What is known of the hardware, and from where:
//   - products of bf16 and the sum are single precision, "the bfloat16 vector multiplier is immediately followed by an fp32
//     adder", and subnormals are flushed to zero: AMD UG1603 (AI Engine-ML Kernel and Graph Programming Guide), "Floating-Point
//     Accuracy". That guide is for AIE-ML; AIE2P is its successor;
//   - all products and the accumulator are shifted to one exponent, added as integers and then normalised: AMD AM020 (AIE-ML
//     architecture manual), "Floating-Point Vector Unit". So the order of k within an instruction does not matter there;
//   - products of block floating point are added to a float accumulator: UG1603, "Block Floating Type Operations".
// What is assumed:
//   - the bits that are shifted out before the numbers are added do not matter, so that an instruction rounds once;
//   - an instruction rounds to the nearest;
//   - blocks follow each other in the order of K, as in mlir-aie's kernels;
//   - int8 has the float step that is described below. The author of a kernel for the NPU may do it in another way.
//
// With int8, the scales of activations and of weights are applied in float: where a group of K ends, y = fma(scale_w * scale_x,
// float(sum), y), and the sum starts from 0 again. Neither AMD's libraries nor mlir-aie prescribe this.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <stilla/base/types.hpp>
#include <stilla/format/bfp16.hpp>
#include <stilla/npu_xdna/tiles.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace xdna {

namespace detail {

inline float flushed(float x) { return (std::bit_cast<std::uint32_t>(x) & 0x7f800000u) == 0 ? std::copysign(0.0f, x) : x; }
// Returns acc + sum, rounded once. `sum` is the sum of the products of one instruction, as a double.
inline float accumulated(float acc, double sum) { return flushed(static_cast<float>(static_cast<double>(acc) + sum)); }

// These functions return what one instruction adds to one number of C. `a` is a row of A's block, `b` a column of B's block, whose
// numbers are b_step bytes apart.
inline std::int32_t dot_int8(const std::byte* a, const std::byte* b, std::size_t b_step) {
  std::int32_t sum = 0;
  for (std::size_t i = 0; i < 8; ++i) sum += std::int32_t{load_as<std::int8_t>(a + i)} * load_as<std::int8_t>(b + i * b_step);
  return sum;
}
inline double dot_bf16(const std::byte* a, const std::byte* b, std::size_t b_step) {
  double sum = 0;
  for (std::size_t i = 0; i < 8; ++i) {
    const float x = flushed(to_float(load_as<bf16>(a + 2 * i))), w = flushed(to_float(load_as<bf16>(b + i * b_step)));
    // The product of two bf16 numbers has at most 16 significant bits, so it is exact in double. So the sum is the same if a compiler
    // fuses the multiplication and the addition.
    sum += static_cast<double>(x) * static_cast<double>(w);
  }
  return sum;
}
inline double dot_bfp16(const std::byte* a, const std::byte* b) {
  float x[8], w[8];
  BFP16EBS8::decode(a, x);
  BFP16EBS8::decode(b, w);
  double sum = 0;  // integers times one power of two: exact in any order
  for (std::size_t i = 0; i < 8; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(w[i]);
  return sum;
}

}  // namespace detail

// Multiplies one core tile of A by one of B, but only the blocks with the number `k_block` along K, and adds the products to C. The
// tiles are stored as tiles.hpp draws them. Acc, the type of C's numbers, is std::int32_t for int8, otherwise float. Rows of C from
// `rows` on are not changed, because they hold no token.
template <Form form, class Acc>
void multiply_blocks(CoreTile tile, std::size_t k_block, Acc* c, const std::byte* a, const std::byte* b, std::size_t rows) {
  constexpr BlockShape shape = block_shape(form);
  [[maybe_unused]] constexpr std::size_t b_step = unit_bytes(form) * shape.t;  // bytes from one k to the next in a block of B
  const std::size_t k = k_block * shape.s;
  for (std::size_t m = 0; m < tile.m && m < rows; ++m) {
    const std::byte* row = a + a_offset(form, tile, m, k);
    for (std::size_t n0 = 0; n0 < tile.n; n0 += shape.t) {
      Acc* acc = c + c_index(form, tile, m, n0);
      for (std::size_t j = 0; j < shape.t; ++j) {
        const std::byte* column = b + b_offset(form, tile, k, n0 + j);
        if constexpr (form == Form::int8) acc[j] += detail::dot_int8(row, column, b_step);
        else if constexpr (form == Form::bf16) acc[j] = detail::accumulated(acc[j], detail::dot_bf16(row, column, b_step));
        else acc[j] = detail::accumulated(acc[j], detail::dot_bfp16(row, column));
      }
    }
  }
}

}}}  // namespace stilla::xdna

#include <stilla/base/pop_macros-inl.hpp>
