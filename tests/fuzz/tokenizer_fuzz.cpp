// SPDX-License-Identifier: Apache-2.0
//
// libFuzzer target: any vocabulary with any text. The bytes are cut at 0xff into the text, the first byte's options, tokens
// and merges (those with a space). An abort is a finding; so is a text that a complete vocabulary does not give back.
// Opt-in, with clang; tests/fuzz.sh builds and runs it.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <stilla/text/reasoning.hpp>
#include <stilla/text/stream_decoder.hpp>
#include <stilla/text/tokenizer.hpp>

namespace {

// A token for each byte first, so that most vocabularies are accepted.
stilla::Vocabulary complete_vocabulary() {
  stilla::Vocabulary vocabulary;
  for (std::uint32_t letter = 0; letter < stilla::detail::byte_alphabet_end; ++letter) {
    if (stilla::detail::byte_of_letter[letter] < 0) continue;
    vocabulary.tokens.emplace_back();
    stilla::append_utf8(vocabulary.tokens.back(), letter);
    vocabulary.types.push_back(stilla::TokenType::normal);
  }
  return vocabulary;
}

void check(bool holds) {
  if (!holds) __builtin_trap();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  const auto options = static_cast<unsigned char>(rest.front());
  rest.remove_prefix(1);
  const auto take = [&rest] {
    const std::size_t end = rest.find('\xff');
    const std::string_view part = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    return part;
  };
  const std::string text(take());
  stilla::Vocabulary vocabulary = complete_vocabulary();
  vocabulary.pretokenizer = stilla::pretokenizer_names[options % 4].name;
  vocabulary.bos = options;
  while (!rest.empty()) {
    const std::string_view part = take();
    if (part.find(' ') != std::string_view::npos) {
      vocabulary.merges.emplace_back(part);
      continue;
    }
    const auto type = static_cast<stilla::TokenType>(part.empty() ? 5 : 1 + static_cast<unsigned char>(part[0]) % 4);
    vocabulary.tokens.emplace_back(part.substr(part.empty() ? 0 : 1));
    vocabulary.types.push_back(type);
  }
  const auto tokenizer = stilla::Tokenizer::create(vocabulary);
  if (!tokenizer) {
    check(tokenizer.error().message.find('\n') == std::string::npos);
    return 0;
  }
  for (const auto special : {stilla::SpecialTokens::as_text, stilla::SpecialTokens::parse}) {
    const std::vector<std::uint32_t> ids = tokenizer->encode(text, special);
    check(tokenizer->decode(ids, stilla::ControlText::show) == text);
    for (const std::uint32_t id : ids) {
      check(id < tokenizer->size());
      check(special == stilla::SpecialTokens::parse || !tokenizer->is_control(id));
    }
    const stilla::TextSegment parts[] = {{text.substr(0, text.size() / 2), special == stilla::SpecialTokens::parse},
                                         {text.substr(text.size() / 2), false}};
    check(tokenizer->decode(tokenizer->encode(parts), stilla::ControlText::show) == text);
  }
  stilla::StreamDecoder decoder(stilla::InvalidBytes::keep);
  stilla::ReasoningSplitter splitter(options & 4);
  std::string seen;
  const auto emit = [&seen](stilla::TextKind, std::string_view part) { seen.append(part); };
  for (std::size_t at = 0; at < text.size(); at += 3) splitter.push(decoder.push(text.substr(at, 3)), emit);
  splitter.push(decoder.flush(), emit);
  splitter.finish(emit);
  check(seen == text);
  return 0;
}
