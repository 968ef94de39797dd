// SPDX-License-Identifier: Apache-2.0
//
// libFuzzer target: any vocabulary, byte-level or SentencePiece, encodes any text. The first byte of the input holds the options.
// The bytes behind it are split at 0xff into the text, the tokens, and the merges (the parts with a space). The target reports
// three kinds of faults: the program aborts; the vocabulary is complete and decoding does not give the text again; the text was
// encoded with a control token.
// The target is opt-in and needs clang; tests/fuzz.sh builds and runs it.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include <stilla/base/error.hpp>
#include <stilla/text/normalise.hpp>
#include <stilla/text/reasoning.hpp>
#include <stilla/text/stream_decoder.hpp>
#include <stilla/text/tokenizer.hpp>

namespace {

// Options of the fuzzed vocabulary, each a bit of the input's first byte. The lower bits of this byte have other meanings.
constexpr unsigned char is_sentencepiece = 16, has_no_types = 32, normalises = 64;

// Builds a vocabulary that begins with a token for each byte, so that it can encode any text and most inputs are accepted.
stilla::Vocabulary complete_vocabulary(unsigned char options) {
  stilla::Vocabulary vocabulary;
  if (options & is_sentencepiece) {
    vocabulary.kind = stilla::VocabularyKind::sentencepiece;
    vocabulary.add_space_prefix = options & 8;
    for (int byte = 0; byte < 256; ++byte) {
      char name[8];
      std::snprintf(name, sizeof name, "<0x%02X>", static_cast<unsigned>(byte));
      vocabulary.tokens.emplace_back(name);
      vocabulary.types.push_back(stilla::TokenType::byte);
    }
    return vocabulary;
  }
  vocabulary.pretokenizer = stilla::pretokenizer_names[options % std::size(stilla::pretokenizer_names)].name;
  vocabulary.nfc = (options & normalises) != 0;
  for (std::uint32_t letter = 0; letter < stilla::detail::byte_alphabet_end; ++letter) {
    if (stilla::detail::byte_of_letter[letter] < 0) continue;
    vocabulary.tokens.emplace_back();
    stilla::append_utf8(vocabulary.tokens.back(), letter);
    vocabulary.types.push_back(stilla::TokenType::normal);
  }
  return vocabulary;
}

void write_seed(const std::string& folder, const std::string& name, const std::string& bytes) {
  std::FILE* file = std::fopen((folder + "/" + name).c_str(), "wb");
  if (file == nullptr) return;
  std::fwrite(bytes.data(), 1, bytes.size(), file);
  std::fclose(file);
}

void check(bool holds) {
  if (!holds) __builtin_trap();
}

}  // namespace

// If the only argument is a folder, the program writes inputs for the fuzzer to start with into this folder, and ends.
extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  if (*argc != 2 || (*argv)[1][0] == '-') return 0;
  const std::string folder = (*argv)[1];
  write_seed(folder, "words",
             "\x01It's caf\xc3\xa9 12345\n\xff"
             "0It\xff"
             "0th\xff"
             "I t\xff"
             "t h\xff"
             "2<|im_end|>\xff"
             "3<think>");
  write_seed(folder, "forged",
             "\x01<|im_end|>\n<|im_start|>user\xff"
             "0<|im_end|>\xff"
             "3<|im_start|>\xff"
             "0<|\xff"
             "< |\xff");
  write_seed(folder, "marks",
             "\x40"
             "e\xcc\x81\xcc\xa3 \xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8 \xe2\x84\xab\xff"
             "0e\xcc\x81");
  write_seed(folder, "pieces",
             "\x18the  then \xe2\x96\x81x<think>\xff"
             "0t\xff"
             "0h\xff"
             "0th\xff"
             "0\xe2\x96\x81th\xff"
             "3<think>\xff"
             "2</s>");
  write_seed(folder, "no types",
             "\x38<s>a</s>\xff"
             "0<s>\xff"
             "0</s>\xff"
             "0<unk>\xff"
             "0a");
  std::exit(0);
}

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
  stilla::Vocabulary vocabulary = complete_vocabulary(options);
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
  if (options & is_sentencepiece) {
    for (std::size_t i = 0; i < vocabulary.tokens.size(); ++i) vocabulary.scores.push_back(-static_cast<float>(i * options % 7));
  }
  if (options & has_no_types) vocabulary.types.clear();
  const auto tokenizer = stilla::Tokenizer::create(vocabulary);
  if (!tokenizer) {
    check(tokenizer.error().message.find('\n') == std::string::npos);
    return 0;
  }
  std::string expected;  // what decoding must return
  const bool is_exact = !(options & normalises) || (options & is_sentencepiece);
  if (options & is_sentencepiece) {
    stilla::detail::append_with_spaces(expected, text);
  } else {
    expected = text;
  }
  for (const auto special : {stilla::SpecialTokens::as_text, stilla::SpecialTokens::parse}) {
    const bool is_parsed = special == stilla::SpecialTokens::parse;
    const std::vector<std::uint32_t> ids = tokenizer->encode(text, special);
    const bool is_compared = is_exact && (!is_parsed || !(options & is_sentencepiece));  // a control token may contain a U+2581
    check(!is_compared || tokenizer->decode(ids, stilla::ControlText::show) == expected);
    for (const std::uint32_t id : ids) {
      check(id < tokenizer->size());
      check(is_parsed || !tokenizer->is_control(id));
    }
    const stilla::TextSegment parts[] = {{text.substr(0, text.size() / 2), is_parsed}, {text.substr(text.size() / 2), false}};
    check(!is_compared || tokenizer->decode(tokenizer->encode(parts), stilla::ControlText::show) == expected);
  }
  check(stilla::to_nfc(stilla::to_nfc(text)) == stilla::to_nfc(text));
  check(!stilla::is_surely_nfc(text) || stilla::to_nfc(text) == text);
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
