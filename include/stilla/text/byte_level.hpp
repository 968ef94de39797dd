// SPDX-License-Identifier: Apache-2.0
//
// Encodes text with a byte-level vocabulary: text -> words (pretokenizer.hpp) -> bytes -> merges (byte_pair.hpp). Any bytes are a
// valid text, and none is lost or changed, with one exception: if the model's tokenizer does so, text is first brought into
// Unicode's normalisation form C (normalise.hpp).
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <stilla/base/error.hpp>
#include <stilla/io/vocabulary.hpp>
#include <stilla/text/byte_alphabet.hpp>
#include <stilla/text/byte_pair.hpp>
#include <stilla/text/normalise.hpp>
#include <stilla/text/pretokenizer.hpp>
#include <stilla/text/token_table.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace detail {

class ByteLevelEncoder {
 public:
  ByteLevelEncoder() = default;
  ByteLevelEncoder(PreTokenizer pretokenizer, bool nfc)
      : pretokenizer_(pretokenizer), nfc_(nfc), prefers_whole_words_(pretokenizer == PreTokenizer::llama_bpe) {}

  PreTokenizer pretokenizer() const { return pretokenizer_; }
  bool nfc() const { return nfc_; }

  // Reads the merges of the vocabulary. `types` are the types of the tokens (token_types.hpp). All three tokens of a merge (left,
  // right, merged) must be normal. If one of them is not, the merge is left out if the type of one of the three was corrected, and
  // otherwise the vocabulary is refused.
  Result<MergeTable> read(const Vocabulary& vocabulary, const std::vector<TokenType>& types, const TokenTable& table);

  // Appends the ids of `text`.
  void encode(std::string_view text, const TokenTable& table, WordMerger& merger, std::vector<std::uint32_t>& symbols,
              std::vector<std::uint32_t>& ids) const {
    std::string normalised;
    if (nfc_ && !is_surely_nfc(text)) text = normalised = to_nfc(text);
    split_words(pretokenizer_, text, [&](std::string_view word) {
      while (word.size() > max_word_bytes) {
        encode_word(word.substr(0, max_word_bytes), table, merger, symbols, ids);
        word.remove_prefix(max_word_bytes);
      }
      encode_word(word, table, merger, symbols, ids);
    });
  }

  // Returns how many of the 256 bytes have no token. encode() leaves these bytes of a text out.
  std::size_t missing_bytes() const {
    return static_cast<std::size_t>(std::count(byte_tokens_.begin(), byte_tokens_.end(), TokenTable::none));
  }

 private:
  static constexpr std::size_t max_word_bytes = std::size_t{1} << 31;  // a longer word is cut, because places have 32 bits

  void encode_word(std::string_view word, const TokenTable& table, WordMerger& merger, std::vector<std::uint32_t>& symbols,
                   std::vector<std::uint32_t>& ids) const {
    if (prefers_whole_words_) {
      const std::uint32_t id = table.find(word);
      if (id != TokenTable::none) {
        ids.push_back(id);
        return;
      }
    }
    symbols.clear();
    for (const char c : word) {
      const std::uint32_t id = byte_tokens_[static_cast<unsigned char>(c)];
      if (id != TokenTable::none) symbols.push_back(id);
    }
    merger.merge(symbols);
    ids.insert(ids.end(), symbols.begin(), symbols.end());
  }

  std::array<std::uint32_t, 256> byte_tokens_{};
  PreTokenizer pretokenizer_ = PreTokenizer::qwen2;
  bool nfc_ = false;
  bool prefers_whole_words_ = false;  // a word that is a token is used without merges (Llama 3's ignore_merges)
};

inline Result<MergeTable> ByteLevelEncoder::read(const Vocabulary& vocabulary, const std::vector<TokenType>& types,
                                                 const TokenTable& table) {
  const auto refuse = [](const auto&... parts) { return Error{ErrorKind::refused_file, concat(parts...)}; };
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    byte_tokens_[static_cast<std::size_t>(byte)] = table.find({&c, 1});
  }
  // The texts of the tokens that are `normal` in the file, and to which this library gave another type because of their text.
  std::vector<std::string> corrected;
  for (std::size_t i = 0; i < types.size(); ++i) {
    const bool was_normal = vocabulary.types.empty() || vocabulary.types[i] == TokenType::normal;
    if (was_normal && types[i] != TokenType::normal) corrected.emplace_back(table.text(static_cast<std::uint32_t>(i)));
  }
  std::sort(corrected.begin(), corrected.end());
  if (vocabulary.merges.size() > INT32_MAX) return refuse("vocabulary has ", vocabulary.merges.size(), " merges");
  MergeTable merges(vocabulary.merges.size());
  std::string left, right;
  for (std::size_t rank = 0; rank < vocabulary.merges.size(); ++rank) {
    const std::string_view merge = vocabulary.merges[rank];
    const std::size_t space = merge.find(' ');
    if (space == 0 || space >= merge.size() - 1 || merge.find(' ', space + 1) != std::string_view::npos) {
      return refuse("merge ", rank, " '", printable(merge), "' is not two tokens with a space between them");
    }
    left.clear();
    right.clear();
    append_spelled_bytes(left, merge.substr(0, space));
    append_spelled_bytes(right, merge.substr(space + 1));
    const std::uint32_t left_id = table.find(left);
    const std::uint32_t right_id = table.find(right);
    const std::uint32_t merged_id = table.find(left + right);
    if (left_id == TokenTable::none || right_id == TokenTable::none || merged_id == TokenTable::none) {
      const auto is_corrected = [&](const std::string& text) { return std::binary_search(corrected.begin(), corrected.end(), text); };
      if (is_corrected(left) || is_corrected(right) || is_corrected(left + right)) continue;
      const bool is_left = left_id == TokenTable::none, is_right = !is_left && right_id == TokenTable::none;
      std::string name(is_left ? merge.substr(0, space) : is_right ? merge.substr(space + 1) : merge);
      if (!is_left && !is_right) name.erase(space, 1);
      const auto found = std::find(vocabulary.tokens.begin(), vocabulary.tokens.end(), name);
      const std::string what = found == vocabulary.tokens.end()
                                   ? std::string("is no token of the vocabulary")
                                   : concat("is token ", found - vocabulary.tokens.begin(), ", which is not of the type `normal`");
      return refuse("merge ", rank, " '", printable(merge), "': ",
                    is_left    ? "its left part"
                    : is_right ? "its right part"
                               : "what it makes",
                    ", '", printable(name), "', ", what);
    }
    const auto added = merges.add({left_id, right_id, static_cast<std::uint32_t>(rank), merged_id});
    if (added == MergeTable::Added::repeats) {
      return refuse("merge ", rank, " '", printable(merge), "' repeats merge ", merges.find(left_id, right_id)->rank);
    }
    if (added == MergeTable::Added::crowded) {
      return refuse("merge ", rank, " '", printable(merge), "': too many merges share its hash");
    }
  }
  return merges;
}

}  // namespace detail
}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
