// SPDX-License-Identifier: Apache-2.0
//
// A table that gives the text of each token by its id. For the tokens that merges may make, it also gives the id by the text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <stilla/base/config.hpp>
#include <stilla/text/byte_pair.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace detail {

class TokenTable {
 public:
  static constexpr std::uint32_t none = UINT32_MAX;

  TokenTable() : TokenTable(0, 0) {}
  // Makes room for `tokens` tokens, fewer than 2^31, whose texts have `bytes` bytes together, fewer than 2^32.
  TokenTable(std::size_t tokens, std::size_t bytes) {
    pieces_.reserve(bytes);
    piece_ends_.reserve(tokens + 1);
    piece_ends_.push_back(0);
    std::size_t places = 4;
    while (places < 2 * tokens) places *= 2;
    places_.assign(places, none);
  }

  // Adds the text of the next id.
  void add(std::string_view text) {
    pieces_.append(text);
    piece_ends_.push_back(static_cast<std::uint32_t>(pieces_.size()));
  }

  enum class Added : std::uint8_t { yes, repeats, crowded };

  // After this call find() returns `id` for the text of this token, unless another id with the same text was made findable before.
  Added make_findable(std::uint32_t id) {
    const std::size_t place = place_of(text(id));
    if (places_[place] != none) return Added::repeats;
    if (((place - home_of(text(id))) & (places_.size() - 1)) > longest_search) return Added::crowded;
    places_[place] = id;
    return Added::yes;
  }

  // The token that has exactly these bytes, among those for which make_findable() was called; `none` if there is none.
  std::uint32_t find(std::string_view text) const { return places_[place_of(text)]; }

  std::string_view text(std::uint32_t id) const {
    return std::string_view(pieces_).substr(piece_ends_[id], piece_ends_[id + 1] - piece_ends_[id]);
  }
  std::size_t size() const { return piece_ends_.size() - 1; }

 private:
  std::size_t home_of(std::string_view text) const {
    std::uint64_t hash = text.size();
    for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
    return static_cast<std::size_t>(hash ^ hash >> 32) & (places_.size() - 1);
  }

  // The place in the hash table of the findable token with this text, or the empty place where this token would be.
  std::size_t place_of(std::string_view wanted) const {
    std::size_t place = home_of(wanted);
    while (places_[place] != none && text(places_[place]) != wanted) place = (place + 1) & (places_.size() - 1);
    return place;
  }

  std::string pieces_;                     // all texts, one after the other
  std::vector<std::uint32_t> piece_ends_;  // piece_ends_[id] .. piece_ends_[id + 1] in pieces_
  std::vector<std::uint32_t> places_;      // hash table of findable ids, at most half full
};

}  // namespace detail
}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
