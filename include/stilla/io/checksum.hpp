// SPDX-License-Identifier: Apache-2.0
//
// XXH64 by Yann Collet, written after its published specification (xxHash's doc/xxhash_spec.md). It is a 64-bit checksum that
// detects all accidental damage in practice, and is faster than a disk. It does not protect against somebody who wants a
// collision.
//
//   Checksum sum;                  // or Checksum(seed)
//   sum.add(first); sum.add(rest);
//   sum.value();                   // the same as if both had been added as one piece
//
// The state is four numbers of 64 bits, the lanes. Of every 32 bytes, each lane takes in 8. At the end the four lanes are mixed into
// one number. The bytes that are left, fewer than 32, are then added to this number in steps of 8, 4 and 1 bytes.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include <stilla/base/types.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

class Checksum {
 public:
  explicit Checksum(std::uint64_t seed = 0) : lanes_{seed + prime1 + prime2, seed + prime2, seed, seed - prime1}, seed_(seed) {}

  void add(std::span<const std::byte> bytes) {
    if (bytes.empty()) return;
    const std::size_t kept = static_cast<std::size_t>(total_ % stripe_bytes);  // bytes of earlier calls that are still in rest_
    total_ += bytes.size();
    if (kept != 0) {
      const std::size_t count = std::min(stripe_bytes - kept, bytes.size());
      std::memcpy(rest_.data() + kept, bytes.data(), count);
      bytes = bytes.subspan(count);
      if (kept + count < stripe_bytes) return;
      add_stripe(rest_.data());
    }
    for (; bytes.size() >= stripe_bytes; bytes = bytes.subspan(stripe_bytes)) add_stripe(bytes.data());
    if (!bytes.empty()) std::memcpy(rest_.data(), bytes.data(), bytes.size());
  }

  // The checksum of everything added so far.
  std::uint64_t value() const {
    std::uint64_t hash = seed_ + prime5;
    if (total_ >= stripe_bytes) {
      hash = std::rotl(lanes_[0], 1) + std::rotl(lanes_[1], 7) + std::rotl(lanes_[2], 12) + std::rotl(lanes_[3], 18);
      for (const std::uint64_t lane : lanes_) hash = (hash ^ round(0, lane)) * prime1 + prime4;
    }
    hash += total_;
    const std::byte* at = rest_.data();
    const std::byte* end = at + total_ % stripe_bytes;
    for (; end - at >= 8; at += 8) hash = std::rotl(hash ^ round(0, load_as<std::uint64_t>(at)), 27) * prime1 + prime4;
    for (; end - at >= 4; at += 4) hash = std::rotl(hash ^ load_as<std::uint32_t>(at) * prime1, 23) * prime2 + prime3;
    for (; at != end; ++at) hash = std::rotl(hash ^ std::to_integer<std::uint64_t>(*at) * prime5, 11) * prime1;
    hash = (hash ^ hash >> 33) * prime2;
    hash = (hash ^ hash >> 29) * prime3;
    return hash ^ hash >> 32;
  }

 private:
  static constexpr std::size_t stripe_bytes = 32;
  static constexpr std::uint64_t prime1 = 0x9e3779b185ebca87u;
  static constexpr std::uint64_t prime2 = 0xc2b2ae3d27d4eb4fu;
  static constexpr std::uint64_t prime3 = 0x165667b19e3779f9u;
  static constexpr std::uint64_t prime4 = 0x85ebca77c2b2ae63u;
  static constexpr std::uint64_t prime5 = 0x27d4eb2f165667c5u;

  static std::uint64_t round(std::uint64_t lane, std::uint64_t input) { return std::rotl(lane + input * prime2, 31) * prime1; }
  void add_stripe(const std::byte* bytes) {
    for (std::size_t i = 0; i < lanes_.size(); ++i) lanes_[i] = round(lanes_[i], load_as<std::uint64_t>(bytes + 8 * i));
  }

  std::array<std::uint64_t, 4> lanes_;
  std::uint64_t seed_;
  std::uint64_t total_ = 0;
  std::array<std::byte, stripe_bytes> rest_{};  // the last total_ % stripe_bytes bytes
};

inline std::uint64_t checksum(std::span<const std::byte> bytes, std::uint64_t seed = 0) {
  Checksum sum(seed);
  sum.add(bytes);
  return sum.value();
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
