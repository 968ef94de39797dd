// SPDX-License-Identifier: Apache-2.0
//
// tokenize_lines MODEL.gguf text|parse < strings > ids
//
// Strings come as a 32-bit length and that many bytes, ids go as a 32-bit count and that many 32-bit ids; both
// little-endian. compare_tokenizer.py drives it. If the vocabulary has all bytes, each result is also decoded and compared
// with its string.
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include <stilla/io/gguf.hpp>
#include <stilla/text/source_tokenizer.hpp>

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
  bool has_all_bytes = true;
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    has_all_bytes = has_all_bytes && tokenizer->find({&c, 1});
  }
  const auto special = mode == "parse" ? stilla::SpecialTokens::parse : stilla::SpecialTokens::as_text;
  std::uint32_t length = 0;
  std::string text;
  std::uint64_t number = 0;
  while (std::fread(&length, sizeof length, 1, stdin) == 1) {
    text.resize(length);
    if (std::fread(text.data(), 1, length, stdin) != length) return 1;
    const std::vector<std::uint32_t> ids = tokenizer->encode(text, special);
    if (has_all_bytes && tokenizer->decode(ids, stilla::ControlText::show) != text) {
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
