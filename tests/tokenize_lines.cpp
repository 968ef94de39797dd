// SPDX-License-Identifier: Apache-2.0
//
// tokenize_lines MODEL.gguf text|parse < strings > ids
//
// Encodes strings with the tokenizer of a model. The second argument says what becomes of control tokens, such as <|im_end|>, that are
// written out in a string. With `text` they are ordinary characters, and with `parse` each of them becomes its token. Each string is read
// as a 32-bit length and that many bytes. Its ids are written as a 32-bit count and that many 32-bit ids. All numbers are little-endian.
// compare_tokenizer.py and compare_sentencepiece.py run this program. Each result is also decoded and compared with its string as the
// tokenizer normalises it, unless the vocabulary lacks bytes or the result has the unknown token.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include <stilla/io/gguf.hpp>
#include <stilla/text/normalise.hpp>
#include <stilla/text/source_tokenizer.hpp>

namespace {

// Returns the string as the tokenizer normalises it, which is what decoding must return.
std::string normalised(const stilla::Tokenizer& tokenizer, const std::string& text) {
  if (tokenizer.kind() == stilla::VocabularyKind::byte_level) return tokenizer.nfc() ? stilla::to_nfc(text) : text;
  std::string out;
  stilla::detail::append_with_spaces(out, text);
  return out;
}

bool has_all_bytes(const stilla::Tokenizer& tokenizer) {
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    if (!tokenizer.find({&c, 1})) return false;
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view mode = argc == 3 ? argv[2] : "";
  if (mode != "text" && mode != "parse") {
    std::fputs("usage: tokenize_lines MODEL.gguf text|parse\n", stderr);
    return 2;
  }
  const auto file = stilla::GgufFile::open(argv[1]);
  if (!file) {
    std::fprintf(stderr, "%s\n", file.error().message.c_str());
    return 3;
  }
  const auto tokenizer = stilla::read_tokenizer(*file);
  if (!tokenizer) {
    std::fprintf(stderr, "%s\n", tokenizer.error().message.c_str());
    return 3;
  }
  const bool is_sentencepiece = tokenizer->kind() == stilla::VocabularyKind::sentencepiece;
  const bool is_complete = is_sentencepiece || has_all_bytes(*tokenizer);
  const auto special = mode == "parse" ? stilla::SpecialTokens::parse : stilla::SpecialTokens::as_text;
  std::uint32_t length = 0;
  std::string text;
  std::uint64_t number = 0;
  while (std::fread(&length, sizeof length, 1, stdin) == 1) {
    text.resize(length);
    if (std::fread(text.data(), 1, length, stdin) != length) return 1;
    const std::vector<std::uint32_t> ids = tokenizer->encode(text, special);
    const bool has_unknown =
        std::any_of(ids.begin(), ids.end(), [&](std::uint32_t id) { return tokenizer->type(id) == stilla::TokenType::unknown; });
    if (is_complete && !has_unknown && tokenizer->decode(ids, stilla::ControlText::show) != normalised(*tokenizer, text)) {
      std::fprintf(stderr, "string %llu does not survive\n", static_cast<unsigned long long>(number));
      return 1;
    }
    const auto count = static_cast<std::uint32_t>(ids.size());
    std::fwrite(&count, sizeof count, 1, stdout);
    std::fwrite(ids.data(), sizeof(std::uint32_t), ids.size(), stdout);
    ++number;
  }
  return 0;
}
