// SPDX-License-Identifier: Apache-2.0
//
// Integers of 4 bits in ONNX's order: two in a byte, the first in the low bits.
#pragma once

#include <cstddef>
#include <cstdint>

namespace program {

// Adds one integer, modulo 16, at `index`; the bytes are zero before.
inline void put_nibble(std::byte* bytes, std::size_t index, int value) {
  bytes[index / 2] |= static_cast<std::byte>((static_cast<unsigned>(value) & 15u) << (index % 2 * 4));
}

}  // namespace program
