// SPDX-License-Identifier: Apache-2.0
//
// Tests of the reader of tokenizer.json and of the files beside it, one setting at a time: what each form of a setting means, and the
// message with which every other form is refused. hugging_face_test.cpp tests whole folders.
#include <stilla/io/hugging_face_chat_template.hpp>
#include <stilla/io/hugging_face_vocabulary.hpp>

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

// Other test files have helpers with the same names, and all files of this program are compiled as one (a unity build). So the helpers
// of this file are in a namespace of their own.
namespace vocabulary_of_a_folder { namespace {

using namespace stilla;
using nlohmann::json;

// The files of a small vocabulary. The tokens 0 to 4 are ordinary, 5 and 6 are special, and 7 is an added word.
struct Files {
  json tokenizer = json::parse(R"({
    "added_tokens": [{"id": 5, "content": "<s>", "special": true}, {"id": 6, "content": "</s>", "special": true},
                     {"id": 7, "content": "word", "special": false, "lstrip": false, "rstrip": false, "single_word": false}],
    "normalizer": null,
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
      {"type": "Digits", "individual_digits": true}, {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true}]},
    "post_processor": null,
    "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
              "byte_fallback": false, "ignore_merges": false, "vocab": {"a": 0, "b": 1, "ab": 2, "1": 3, "x": 4}, "merges": ["a b"]}})");
  std::optional<json> tokenizer_config, generation_config, config;

  // Returns the files in the form in which the reader takes them. `parsed` is the parsed tokenizer.json, or null to leave this file
  // out.
  HuggingFaceTexts texts(const HuggingFaceTokenizer* parsed) const {
    const auto pointer = [](const std::optional<json>& file) { return file ? &*file : nullptr; };
    return {"F", parsed, pointer(tokenizer_config), pointer(generation_config), pointer(config)};
  }
  Result<Vocabulary> vocabulary() const { return vocabulary_of(tokenizer.dump()); }
  Result<Vocabulary> vocabulary_of(std::string_view text) const {
    const Result<HuggingFaceTokenizer> parsed = parse_hugging_face_tokenizer(std::as_bytes(std::span(text)), "F/tokenizer.json");
    if (!parsed) return parsed.error();
    return read_hugging_face_vocabulary(texts(&*parsed));
  }
};

using Edit = std::function<void(Files&)>;

// Returns an edit that replaces the value at `pointer`, a JSON pointer, in tokenizer.json.
Edit set(const std::string& pointer, const json& value) {
  return [=](Files& files) { files.tokenizer[json::json_pointer(pointer)] = value; };
}
Edit set(const std::string& pointer, const char* text) { return set(pointer, json::parse(text)); }
Edit erase(const std::string& object, const std::string& key) {
  return [=](Files& files) { files.tokenizer[json::json_pointer(object)].erase(key); };
}
Edit tokenizer_config(const char* text) {
  return [=](Files& files) { files.tokenizer_config = json::parse(text); };
}
Edit generation_config(const char* text) {
  return [=](Files& files) { files.generation_config = json::parse(text); };
}
Edit config(const char* text) {
  return [=](Files& files) { files.config = json::parse(text); };
}
Edit both(const Edit& first, const Edit& second) {
  return [=](Files& files) {
    first(files);
    second(files);
  };
}

struct RefusedFile {
  std::string message;  // without "F/tokenizer.json: key " or the name of the other file
  Edit edit;
};

void expect_refused(const std::string& begin, const std::vector<RefusedFile>& cases) {
  for (const RefusedFile& c : cases) {
    Files files;
    c.edit(files);
    const Result<Vocabulary> vocabulary = files.vocabulary();
    ASSERT_FALSE(vocabulary) << c.message;
    EXPECT_EQ(vocabulary.error().message, begin + c.message);
    EXPECT_EQ(vocabulary.error().kind, ErrorKind::refused_file);
  }
}

Vocabulary vocabulary_with(const Edit& edit) {
  Files files;
  edit(files);
  const Result<Vocabulary> vocabulary = files.vocabulary();
  EXPECT_TRUE(vocabulary) << vocabulary.error().message;
  return vocabulary ? *vocabulary : Vocabulary{};
}

const std::string tokenizer_key = "F/tokenizer.json: key ";

TEST(HuggingFaceVocabulary, ReadsTokensTypesAndMerges) {
  const Vocabulary vocabulary = vocabulary_with([](Files&) {});
  EXPECT_EQ(vocabulary.tokens, (std::vector<std::string>{"a", "b", "ab", "1", "x", "<s>", "</s>", "word"}));
  const auto normal = TokenType::normal, control = TokenType::control;
  EXPECT_EQ(vocabulary.types,
            (std::vector<stilla::TokenType>{normal, normal, normal, normal, normal, control, control, TokenType::user_defined}));
  EXPECT_EQ(vocabulary.merges, std::vector<std::string>{"a b"});
  EXPECT_EQ(vocabulary.pretokenizer, "smollm");
  EXPECT_EQ(vocabulary.nfc, false);
  EXPECT_FALSE(vocabulary.bos || vocabulary.eos || vocabulary.eot || vocabulary.padding || vocabulary.unknown || vocabulary.add_bos);
}

// Each of these edits writes a setting of the files in another form that means the same. So the vocabulary stays the same.
TEST(HuggingFaceVocabulary, OtherFormsOfTheSameSetting) {
  const Vocabulary expected = vocabulary_with([](Files&) {});
  const std::vector<Edit> edits = {
      erase("/model", "type"),
      set("/model/continuing_subword_prefix", json("")),
      set("/model/dropout", json(0.0)),
      erase("/model", "byte_fallback"),
      erase("/model", "ignore_merges"),
      set("/model/merges", R"([["a", "b"]])"),
      set("/model/vocab/word", "7"),  // an added token may also be one of the vocabulary, with the same id
      erase("/added_tokens/2", "special"),
      set("/normalizer", R"({"type": "Sequence", "normalizers": []})"),
      erase("/pre_tokenizer/pretokenizers/1", "use_regex"),
      set("/post_processor", R"({"type": "ByteLevel"})"),
      set("/post_processor", R"({"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}}]})"),
      tokenizer_config("{}"),
      tokenizer_config(R"({"bos_token": null, "eos_token": null, "pad_token": null, "unk_token": "none", "add_bos_token": null})"),
      generation_config("{}"),
      config("{}"),
      config(R"({"bos_token_id": 8})"),
      config(R"({"bos_token_id": "x"})"),
  };
  for (std::size_t i = 0; i < edits.size(); ++i) {
    const Vocabulary found = vocabulary_with(edits[i]);
    EXPECT_EQ(found.tokens, expected.tokens) << i;
    EXPECT_EQ(found.types, expected.types) << i;
    EXPECT_EQ(found.merges, expected.merges) << i;
    EXPECT_EQ(found.nfc, expected.nfc) << i;
    EXPECT_FALSE(found.bos || found.eos || found.padding || found.unknown || found.add_bos) << i;
  }
}

TEST(HuggingFaceVocabulary, WithoutAddedTokens) {
  const Vocabulary vocabulary = vocabulary_with(erase("", "added_tokens"));
  EXPECT_EQ(vocabulary.tokens, (std::vector<std::string>{"a", "b", "ab", "1", "x"}));
}

TEST(HuggingFaceVocabulary, IdsWithoutATokenAreUnused) {
  const Vocabulary vocabulary = vocabulary_with(set("/added_tokens/2/id", "9"));
  ASSERT_EQ(vocabulary.tokens.size(), 10u);
  EXPECT_EQ(vocabulary.tokens[8], "[PAD8]");
  EXPECT_EQ(vocabulary.types[8], TokenType::unused);
  // The reader makes up the text [PAD8] for id 8, because no token has this id. If a file names a token [PAD8], it does not mean
  // this made-up text, so the file is refused.
  expect_refused("F/tokenizer_config.json: key ", {{"'eos_token': found '[PAD8]', which is no token",
                                                    both(set("/added_tokens/2/id", "9"), tokenizer_config(R"({"eos_token": "[PAD8]"})"))}});
}

TEST(HuggingFaceVocabulary, TokensThatAreRefused) {
  expect_refused(
      tokenizer_key,
      {{"'model': is missing; expected an object", erase("", "model")},
       {"'model': found an array; expected an object", set("/model", "[]")},
       {"'model.type': found 'WordPiece'; expected 'BPE', the only kind that is supported", set("/model/type", json("WordPiece"))},
       {"'model.type': found 1; expected 'BPE', the only kind that is supported", set("/model/type", "1")},
       {"'model.continuing_subword_prefix': found '##'; expected none", set("/model/continuing_subword_prefix", json("##"))},
       {"'model.end_of_word_suffix': found an array; expected none", set("/model/end_of_word_suffix", "[]")},
       {"'model.dropout': merges that are left out by chance are not supported; expected none", set("/model/dropout", "0.5")},
       {"'model.byte_fallback': found true: tokens that are no bytes, as SentencePiece has them, are not supported in a folder; a GGUF "
        "file of the model may run",
        set("/model/byte_fallback", "true")},
       {"'model.vocab': expected an object of tokens and their ids", erase("/model", "vocab")},
       {"'model.vocab': expected an object of tokens and their ids", set("/model/vocab", R"(["a"])")},
       {"'model.vocab': expected an object of tokens and their ids", set("/model/vocab", "{}")},
       {"'model.vocab': token 'b': found a float as its id; expected 0 to 65551, which is 65535 and twice the number of tokens in the file",
        set("/model/vocab/b", "1.0")},
       {"'model.vocab': token 'b': found 65552 as its id; expected 0 to 65551, which is 65535 and twice the number of tokens in the file",
        set("/model/vocab/b", "65552")},
       {"'model.vocab': tokens 'ab' and 'b' have the same id 2", set("/model/vocab/b", "2")},
       {"'added_tokens': found an object; expected an array", set("/added_tokens", R"({"<s>": 5})")},
       {"'added_tokens': found a token without content or id", set("/added_tokens/0", json("<s>"))},
       {"'added_tokens': found a token without content or id", set("/added_tokens/0/content", "5")},
       {"'added_tokens': found a token without content or id", erase("/added_tokens/0", "id")},
       {"'added_tokens': tokens 'a' and '<s>' have the same id 0", set("/added_tokens/0/id", "0")},
       {"'added_tokens': token 'ab' has two ids, 2 and 7", set("/added_tokens/2/content", json("ab"))},
       {"'added_tokens': token '<s>' has two ids, 5 and 6", set("/added_tokens/1/content", json("<s>"))},
       {"'added_tokens': token '<s>': found a string as its id; expected 0 to 65551, which is 65535 and twice the number of tokens in the "
        "file",
        set("/added_tokens/0/id", json("5"))},
       {"'added_tokens': token '<s>': 'special': found 1; expected true or false", set("/added_tokens/0/special", "1")},
       {"'added_tokens': token '<s>': 'special': found 'true'; expected true or false", set("/added_tokens/0/special", json("true"))},
       {"'added_tokens': token 'word': 'lstrip' is not supported; expected false", set("/added_tokens/2/lstrip", "true")},
       {"'added_tokens': token 'word': 'rstrip' is not supported; expected false", set("/added_tokens/2/rstrip", "true")},
       // With rstrip, a special token takes the white space behind it. This would change the ids of the template's own text.
       {"'added_tokens': token '<s>': 'rstrip' is not supported; expected false", set("/added_tokens/0/rstrip", "true")},
       {"'added_tokens': token 'word': 'single_word' is not supported; expected false", set("/added_tokens/2/single_word", "true")},
       {"'model.merges': expected an array", erase("/model", "merges")},
       {"'model.merges': expected an array", set("/model/merges", "{}")},
       {"'model.merges': merge 0: found an object; expected two texts without spaces", set("/model/merges/0", "{}")},
       {"'model.merges': merge 0: found an array of 3 values; expected two texts without spaces",
        set("/model/merges/0", R"(["a", "b", "x"])")},
       {"'model.merges': merge 0: found an array of 2 values; expected two texts without spaces", set("/model/merges/0", R"([0, "b"])")},
       {"'model.merges': merge 0: found an array of 2 values; expected two texts without spaces", set("/model/merges/0", R"(["a", 1])")},
       {"'model.merges': merge 0: found an array of 2 values; expected two texts without spaces", set("/model/merges/0", R"(["a ", "b"])")},
       {"'model.merges': merge 1: found an array of 2 values; expected two texts without spaces",
        set("/model/merges/1", R"(["a", " b"])")}});
}

TEST(HuggingFaceVocabulary, TheFileHoldsAnObject) {
  expect_refused("F/tokenizer.json: found ",
                 {{"null; expected an object", set("", "null")}, {"an array; expected an object", set("", "[]")}});
}

TEST(HuggingFaceVocabulary, Normalizers) {
  for (const char* nfc : {R"({"type": "NFC"})", R"({"type": "Sequence", "normalizers": [{"type": "NFC"}]})"}) {
    EXPECT_EQ(vocabulary_with(set("/normalizer", nfc)).nfc, true);
  }
  const std::string supported = "; supported: none, 'NFC'";
  expect_refused(tokenizer_key, {{"'normalizer': found 'NFKC'" + supported, set("/normalizer", R"({"type": "NFKC"})")},
                                 {"'normalizer': found none" + supported, set("/normalizer", "{}")},
                                 {"'normalizer': found 'NFC'" + supported + "", set("/normalizer", json("NFC"))},
                                 {"'normalizer': found 1" + supported, set("/normalizer", R"({"type": 1})")},
                                 {"'normalizer': found 'Sequence'" + supported, set("/normalizer", R"({"type": "Sequence"})")},
                                 {"'normalizer': found 'Sequence'" + supported,
                                  set("/normalizer", R"({"type": "Sequence", "normalizers": {"type": "NFC"}})")},
                                 {"'normalizer': found 'Prepend'" + supported,
                                  set("/normalizer", R"({"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Prepend"}]})")}});
}

// Returns an edit that sets a pre-tokenizer which splits by a regular expression, as those of Qwen2 and Llama 3 do.
Edit split(const json& pattern, const std::string& behavior = "Isolated") {
  const json first = {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", behavior}, {"invert", false}};
  const json second = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
  return set("/pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {first, second}}});
}

TEST(HuggingFaceVocabulary, PreTokenizers) {
  const std::string qwen2{detail::known_pretokenizers[0].pattern}, llama3{detail::known_pretokenizers[1].pattern};
  EXPECT_EQ(vocabulary_with(split(qwen2)).pretokenizer, "qwen2");
  EXPECT_EQ(vocabulary_with(both(split(llama3), set("/model/ignore_merges", "true"))).pretokenizer, "llama-bpe");
  EXPECT_EQ(vocabulary_with(split(std::string(detail::known_pretokenizers[2].pattern))).pretokenizer, "qwen35");
  EXPECT_EQ(vocabulary_with(set("/pre_tokenizer", R"({"type": "ByteLevel", "add_prefix_space": false})")).pretokenizer, "gpt-2");
  const std::string advice =
      " is not known; known are those of Qwen2, Qwen3.5, Llama 3, SmolLM and GPT-2. A GGUF file of this model may run, since it names its "
      "pre-tokenizer";
  const std::string isolated = "'pre_tokenizer': expected a Split by a Regex with the behavior Isolated, not inverted";
  const auto split_and = [&](const std::string& pointer, const char* value) {
    return both(split(qwen2), set("/pre_tokenizer/pretokenizers" + pointer, value));
  };
  // Stilla knows none of the pre-tokenizers in this list. The vocabulary can be read all the same. Whoever makes a tokenizer of it
  // is told that its pre-tokenizer is not known, and may name another one.
  const std::pair<std::string, Edit> unknown[] = {
      {"the sequence of nothing", erase("", "pre_tokenizer")},
      {"the sequence 'ByteLevel' with its settings", set("/pre_tokenizer", R"({"type": "ByteLevel", "add_prefix_space": true})")},
      {"the sequence 'ByteLevel' with its settings", set("/pre_tokenizer", R"({"type": "ByteLevel", "use_regex": false})")},
      {"the sequence none with its settings", set("/pre_tokenizer", "{}")},
      {"the sequence 'Split', 'Digits' with its settings", split_and("/1/type", "\"Digits\"")},
      {"the sequence 'Punctuation', 'ByteLevel' with its settings", split_and("/0/type", "\"Punctuation\"")},
      {"the sequence 'Split', 'ByteLevel' with its settings", split_and("/1/use_regex", "true")},
      {"the sequence 'Split', 'ByteLevel' with its settings", split_and("/1/use_regex", "null")},
      {"the sequence 'Split', 'ByteLevel' with its settings", split_and("/1/add_prefix_space", "true")},
      {"the sequence 'Digits', 'ByteLevel' with its settings", set("/pre_tokenizer/pretokenizers/0/individual_digits", "false")},
      {"the sequence 'Digits', 'ByteLevel' with its settings", set("/pre_tokenizer/pretokenizers/1/add_prefix_space", "true")},
      {"the sequence 'Digits', 'ByteLevel' with its settings", set("/pre_tokenizer/pretokenizers/1/use_regex", "false")},
      {"the regular expression '[0-9]'", split("[0-9]")}};
  for (const auto& [text, edit] : unknown) {
    const Vocabulary vocabulary = vocabulary_with(edit);
    EXPECT_EQ(vocabulary.unknown_pretokenizer, text + advice);
    EXPECT_EQ(vocabulary.pretokenizer, "");
  }
  expect_refused(tokenizer_key, {{isolated, split_and("/0/pattern", "null")},
                                 {isolated, split_and("/0/pattern", R"({"String": " "})")},
                                 {isolated, split_and("/0/behavior", "null")},
                                 {isolated, split(qwen2, "Removed")},
                                 {isolated, split_and("/0/invert", "true")},
                                 {"'model.ignore_merges': found false; expected true with the pre-tokenizer 'llama-bpe'", split(llama3)},
                                 {"'model.ignore_merges': found true; expected false with the pre-tokenizer 'smollm'",
                                  set("/model/ignore_merges", "true")}});
}

TEST(HuggingFaceVocabulary, SpecialTokens) {
  const Vocabulary named = vocabulary_with(tokenizer_config(
      R"({"bos_token": "<s>", "eos_token": {"content": "</s>"}, "pad_token": "</s>", "unk_token": "x", "add_bos_token": true})"));
  EXPECT_EQ(named.bos, 5u);
  EXPECT_EQ(named.eos, 6u);
  EXPECT_EQ(named.padding, 6u);
  EXPECT_EQ(named.unknown, 4u);
  EXPECT_TRUE(named.add_bos);
  EXPECT_EQ(vocabulary_with(config(R"({"bos_token_id": 4})")).bos, 4u);
  const Edit other_in_config = both(tokenizer_config(R"({"bos_token": "<s>"})"), config(R"({"bos_token_id": 4})"));
  EXPECT_EQ(vocabulary_with(other_in_config).bos, 5u);
  const std::string text = "; expected a string, or an object with the string 'content'";
  expect_refused("F/tokenizer_config.json: key ",
                 {{"'bos_token': found 'y', which is no token", tokenizer_config(R"({"bos_token": "y"})")},
                  {"'eos_token': found 'y', which is no token", tokenizer_config(R"({"eos_token": {"content": "y"}})")},
                  {"'bos_token': found an integer" + text, tokenizer_config(R"({"bos_token": 5})")},
                  {"'bos_token': found an array" + text, tokenizer_config(R"({"bos_token": ["<s>"]})")},
                  {"'bos_token': found an object" + text, tokenizer_config(R"({"bos_token": {"content": 5}})")},
                  {"'eos_token': found an object" + text, tokenizer_config(R"({"eos_token": {"lstrip": false}})")},
                  {"'pad_token': found an integer" + text, tokenizer_config(R"({"pad_token": 3})")},
                  {"'unk_token': found a boolean" + text, tokenizer_config(R"({"unk_token": true})")},
                  {"'add_bos_token': found an integer; expected true or false", tokenizer_config(R"({"add_bos_token": 1})")},
                  {"'add_bos_token': is true, and there is no bos_token", tokenizer_config(R"({"add_bos_token": true})")}});
}

// tokenizer_config.json lists tokens too, under added_tokens_decoder and under keys for special tokens. What these lists say of a
// token must be what tokenizer.json says of it. If a token is only in these lists, it is not used, and a note says so.
TEST(HuggingFaceVocabulary, ListsOfSpecialTokensAgree) {
  const Vocabulary same = vocabulary_with(tokenizer_config(R"({"added_tokens_decoder": {"5": {"content": "<s>", "lstrip": false},
      "7": {"content": "word"}}, "additional_special_tokens": ["<s>", {"content": "</s>"}], "extra_special_tokens": {"image": "<s>"}})"));
  EXPECT_EQ(same.tokens.size(), 8u);
  EXPECT_TRUE(same.notes.empty() && vocabulary_with(tokenizer_config(R"({"add_prefix_space": false})")).notes.empty());
  EXPECT_EQ(vocabulary_with(tokenizer_config(R"({"add_prefix_space": true})")).notes,
            std::vector<std::string>{
                "key 'add_prefix_space' of tokenizer_config.json is true and not used: only tokenizer.json says how texts begin"});
  EXPECT_EQ(vocabulary_with(tokenizer_config(R"({"added_tokens_decoder": null, "additional_special_tokens": null})")).tokens.size(), 8u);
  EXPECT_EQ(
      vocabulary_with(tokenizer_config(R"({"additional_special_tokens": ["<s>", "new"], "extra_special_tokens": {"image": "x1"}})")).notes,
      (std::vector<std::string>{
          "key 'additional_special_tokens' of tokenizer_config.json: not used, because tokenizer.json has no such token: 'new'",
          "key 'extra_special_tokens' of tokenizer_config.json: not used, because tokenizer.json has no such token: 'x1'"}));
  const json many(std::vector<std::string>(100, "new"));
  EXPECT_EQ(vocabulary_with([&](Files& files) { files.tokenizer_config = json{{"additional_special_tokens", many}}; }).notes,
            std::vector<std::string>{"key 'additional_special_tokens' of tokenizer_config.json: not used, because tokenizer.json has no "
                                     "such token: 'new', 'new', 'new', 'new', 'new', 'new', 'new', 'new', ..."});
  expect_refused(
      "F/tokenizer_config.json: key ",
      {{"'added_tokens_decoder': token '<s>' has the id 6, and 5 in tokenizer.json; expected the same",
        tokenizer_config(R"({"added_tokens_decoder": {"6": {"content": "<s>"}}})")},
       {"'added_tokens_decoder': token 'new' has the id 8, and none in tokenizer.json; expected the same",
        tokenizer_config(R"({"added_tokens_decoder": {"8": {"content": "new"}}})")},
       {"'added_tokens_decoder': token '<s>': 'lstrip' is not supported; expected false",
        tokenizer_config(R"({"added_tokens_decoder": {"5": {"content": "<s>", "lstrip": true}}})")},
       {"'added_tokens_decoder': id 5: expected an object with a content", tokenizer_config(R"({"added_tokens_decoder": {"5": "<s>"}})")},
       {"'added_tokens_decoder': found an array; expected an object", tokenizer_config(R"({"added_tokens_decoder": [1]})")},
       {"'extra_special_tokens': found a string; expected texts of tokens", tokenizer_config(R"({"extra_special_tokens": "<s>"})")},
       {"'additional_special_tokens': found an integer; expected texts of tokens",
        tokenizer_config(R"({"additional_special_tokens": [5]})")}});
}

// Returns an edit that sets a post-processor which adds tokens to a text. Each letter of `before` is a token before the text: s is
// <s>, e is </s>, and any other is y. `after` is a token behind the text. The sequence A stands for the text itself.
Edit adds(const std::string& before, const std::string& after = {}) {
  json single = json::array();
  for (const char c : before) single.push_back({{"SpecialToken", {{"id", c == 's' ? "<s>" : c == 'e' ? "</s>" : "y"}}}});
  single.push_back({{"Sequence", {{"id", "A"}}}});
  if (!after.empty()) single.push_back({{"SpecialToken", {{"id", after}}}});
  const json tokens = {{"<s>", {{"id", "<s>"}, {"ids", {5}}, {"tokens", {"<s>"}}}}};
  const json part = {{"type", "TemplateProcessing"}, {"single", single}, {"special_tokens", tokens}};
  return set("/post_processor", {{"type", "Sequence"}, {"processors", {{{"type", "ByteLevel"}}, part}}});
}

TEST(HuggingFaceVocabulary, PostProcessors) {
  const Vocabulary from_template = vocabulary_with(adds("s"));
  EXPECT_TRUE(from_template.add_bos);
  EXPECT_EQ(from_template.bos, 5u);
  const Edit named = tokenizer_config(R"({"bos_token": "<s>"})");
  EXPECT_TRUE(vocabulary_with(both(adds("s"), named)).add_bos);
  EXPECT_FALSE(vocabulary_with(named).add_bos);
  const Edit off = tokenizer_config(R"({"bos_token": "<s>", "add_bos_token": false})");
  EXPECT_FALSE(vocabulary_with(both(adds("s"), off)).add_bos);
  const std::string single = R"({"type": "TemplateProcessing", "single": )";
  const auto with_single = [&](const std::string& items) { return set("/post_processor", json::parse(single + items + "}")); };
  const std::string objects = "; expected objects with a Sequence or a SpecialToken, which has an id", once = "; expected 'A', once";
  const std::string text = R"({"Sequence": {"id": "A", "type_id": 0}})";
  expect_refused(
      tokenizer_key,
      {{"'post_processor.single': found a string" + objects, with_single(R"(["<s>", "$A"])")},
       {"'post_processor.single': found an object" + objects, with_single(R"([{"Other": 1}, )" + text + "]")},
       {"'post_processor.single': found an object" + objects, with_single(R"([{"Sequence": {"type_id": 0}}])")},
       {"'post_processor.single': found an object" + objects, with_single(R"([{"Sequence": {"id": "A"}, "SpecialToken": {"id": "<s>"}}])")},
       {"'post_processor.single': found the sequence 'A' after the text" + once, with_single("[" + text + ", " + text + "]")},
       {"'post_processor.single': found the sequence 'B'" + once, with_single(R"([{"Sequence": {"id": "B"}}])")},
       {"'post_processor.single': found the sequence 'B' after the text" + once,
        with_single("[" + text + R"(, {"Sequence": {"id": "B"}}])")},
       {"'post_processor.single': has no place for the text; expected the sequence 'A', once", with_single("[]")},
       {"'post_processor.single': has no place for the text; expected the sequence 'A', once",
        both(adds("s"), [](Files& files) { files.tokenizer["post_processor"]["processors"][1]["single"].erase(1); })}});
  const std::string ids_of_s = "'post_processor.special_tokens': token '<s>': found ", is_5 = "; expected its id, 5";
  const auto with_ids = [&](const char* ids) { return both(adds("s"), set("/post_processor/processors/1/special_tokens/<s>/ids", ids)); };
  expect_refused(tokenizer_key, {{ids_of_s + "4" + is_5, with_ids("[4]")},
                                 {ids_of_s + "-5" + is_5, with_ids("[-5]")},
                                 {ids_of_s + "2 ids" + is_5, with_ids("[5, 5]")},
                                 {ids_of_s + "0 ids" + is_5, with_ids("[]")},
                                 {ids_of_s + "an integer" + is_5, with_ids("5")},
                                 {ids_of_s + "a string" + is_5, with_ids(R"(["<s>"])")},
                                 {ids_of_s + "no ids" + is_5, with_ids("null")},
                                 {ids_of_s + "no ids" + is_5, both(adds("s"), erase("/post_processor/processors/1", "special_tokens"))}});
  const std::string supported = "; supported: BOS once before it", bos_is_s = "; supported: BOS ('<s>') once before it";
  expect_refused(
      tokenizer_key,
      {{"'post_processor': found 'BertProcessing'; supported: ByteLevel, TemplateProcessing",
        set("/post_processor", R"({"type": "BertProcessing"})")},
       {"'post_processor.single': expected an array", set("/post_processor", R"({"type": "TemplateProcessing"})")},
       {"'post_processor.single': expected an array", set("/post_processor", R"({"type": "TemplateProcessing", "single": "<s> $A"})")},
       {"'post_processor.single': adds the token '</s>' after a text" + bos_is_s, adds("s", "</s>")},
       {"'post_processor.single': adds the token '<s>' before a text" + bos_is_s, adds("ss")},
       {"'post_processor.single': adds the token 'y' before a text" + supported, adds("y")},
       {"'post_processor.single': adds the token '</s>' before a text" + bos_is_s, both(adds("e"), named)}});
}

TEST(HuggingFaceVocabulary, BosIdsThatAreNoneAreTold) {
  for (const auto& [value, found] : std::vector<std::pair<const char*, std::string>>{
           {"8", "8"}, {"-1", "-1"}, {R"("x")", "a string"}, {"[5]", "an array"}, {"5.0", "a float"}}) {
    const std::string text = std::string(R"({"bos_token_id": )") + value + "}";
    const std::string end = ": found " + found + ", which is none of the 8 tokens and is ignored";
    const Vocabulary from_config = vocabulary_with(config(text.c_str())),
                     from_generation = vocabulary_with(generation_config(text.c_str()));
    EXPECT_FALSE(from_config.bos || from_generation.bos);
    EXPECT_EQ(from_config.notes, std::vector<std::string>{"key 'bos_token_id' of config.json" + end});
    EXPECT_EQ(from_generation.notes, std::vector<std::string>{"key 'bos_token_id' of generation_config.json" + end});
  }
  for (const char* fine : {R"({"bos_token_id": null})", R"({"bos_token_id": 5})"}) {
    EXPECT_TRUE(vocabulary_with(both(config(fine), generation_config(fine))).notes.empty());
  }
}

// The library tokenizers numbers the added tokens itself. If a file has other ids, texts have other ids here, which a note tells.
TEST(HuggingFaceVocabulary, IdsOfAddedTokensThatTheLibraryWouldNotGiveAreTold) {
  EXPECT_TRUE(vocabulary_with([](Files&) {}).notes.empty());
  const Vocabulary moved = vocabulary_with(set("/added_tokens/1/id", "9"));
  EXPECT_EQ(moved.tokens.at(9), "</s>");
  ASSERT_EQ(moved.notes.size(), 1u);
  EXPECT_EQ(moved.notes[0],
            "key 'added_tokens' of tokenizer.json: token '</s>' has the id 9, which is used; the library tokenizers would give it 6");
}

TEST(HuggingFaceVocabulary, ADecoderThatIsNotUsedIsTold) {
  const std::string end = "; tokens become text as 'ByteLevel' makes it";
  for (const auto& [value, found] : std::vector<std::pair<const char*, std::string>>{
           {"null", "none"},
           {R"({"type": "Sequence", "decoders": []})", "none"},
           {R"({"type": "Metaspace", "replacement": "_"})", "'Metaspace'"},
           {R"({"type": "Sequence", "decoders": [{"type": "ByteLevel"}, {"type": "Strip"}]})", "'ByteLevel', 'Strip'"},
           {R"({"type": "Sequence", "decoders": [{"type": "a"}, {"type": "b"}, {"type": "c"}, {"type": "d"}, {"type": "e"}, {"type": "f"},
               {"type": "g"}, {"type": "h"}, {"type": "i"}]})",
            "'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', ..."},
           {R"("ByteLevel")", "none"}}) {
    EXPECT_EQ(vocabulary_with(set("/decoder", value)).notes,
              std::vector<std::string>{"key 'decoder' of tokenizer.json: found " + found + end});
  }
  EXPECT_EQ(vocabulary_with(erase("", "decoder")).notes.size(), 1u);
  EXPECT_TRUE(vocabulary_with(set("/decoder", R"({"type": "Sequence", "decoders": [{"type": "ByteLevel"}]})")).notes.empty());
}

TEST(HuggingFaceVocabulary, KeysThatAreNotUsedAreTold) {
  const auto notes = [](const Edit& edit) { return vocabulary_with(edit).notes; };
  const auto unknown = [](const std::string& file, const std::string& keys, bool many = false) {
    return std::vector<std::string>{file + (many ? ": keys that are" : ": a key that is") + " not known here and not used: " + keys};
  };
  EXPECT_TRUE(notes(both(set("/version", json("1.0")), both(set("/truncation", "null"), set("/padding", "null")))).empty());
  EXPECT_EQ(notes(set("/truncation", R"({"max_length": 2})")), unknown("tokenizer.json", "'truncation'"));
  EXPECT_EQ(notes(both(set("/padding", "{}"), both(set("/other", "1"), set("/model/new", "1")))),
            unknown("tokenizer.json", "'other', 'padding', 'model.new'", true));
  EXPECT_EQ(notes(set("/version", json("9.9"))), unknown("tokenizer.json", "'version'"));
  EXPECT_EQ(notes(tokenizer_config(R"({"do_lower_case": true, "split_special_tokens": true, "add_eos_token": true, "new": 1})")),
            unknown("tokenizer_config.json", "'add_eos_token', 'do_lower_case', 'new', 'split_special_tokens'", true));
  // This tokenizer_config.json has the keys that the published folders of Qwen2.5, Llama 3 and DeepSeek-R1 have. There are no notes
  // about these keys.
  EXPECT_TRUE(notes(tokenizer_config(R"({"add_bos_token": false, "add_eos_token": false, "add_prefix_space": false,
      "added_tokens_decoder": {}, "additional_special_tokens": ["<s>"], "bos_token": {"__type": "AddedToken", "content": "<s>"},
      "clean_up_tokenization_spaces": false, "eos_token": "</s>", "errors": "replace", "legacy": true, "model_max_length": 131072,
      "model_input_names": ["input_ids", "attention_mask"], "pad_token": "</s>", "padding_side": "left", "sp_model_kwargs": {},
      "split_special_tokens": false, "tokenizer_class": "Qwen2Tokenizer", "unk_token": null, "use_default_system_prompt": false})"))
                  .empty());
  const auto generation = [](const char* text) { return unused_generation_keys(json::parse(text), "F/generation_config.json"); };
  EXPECT_FALSE(generation(R"({"bos_token_id": 1, "do_sample": true, "eos_token_id": [1, 2], "pad_token_id": 1, "repetition_penalty": 1.1,
      "temperature": 0.7, "top_k": 20, "top_p": 0.8, "transformers_version": "4.37.0", "_from_model_config": true, "max_new_tokens": 9,
      "suppress_tokens": [], "bad_words_ids": null})"));
  EXPECT_EQ(generation(R"({"suppress_tokens": [5], "forced_eos_token_id": 5, "forced_bos_token_id": null, "stop_strings": ["x"]})"),
            unknown("F/generation_config.json", "'forced_eos_token_id', 'stop_strings', 'suppress_tokens'", true)[0]);
}

TEST(HuggingFaceVocabulary, Ends) {
  const Vocabulary one = vocabulary_with(config(R"({"eos_token_id": 6})"));
  EXPECT_EQ(one.eos, 6u);
  EXPECT_FALSE(one.eot);
  // GGUF has keys for two end tokens, eos and eot. tokenizer_config.json gives eos here. So the first further id in
  // generation_config.json becomes eot, and the others stay in a list.
  const Vocabulary many =
      vocabulary_with(both(tokenizer_config(R"({"eos_token": "</s>"})"), generation_config(R"({"eos_token_id": [7, 6, 7, 4, 3]})")));
  EXPECT_EQ(many.eos, 6u);
  EXPECT_EQ(many.eot, 7u);
  EXPECT_EQ(many.ends, (std::vector<std::uint32_t>{4, 3}));
  const Vocabulary first = vocabulary_with(generation_config(R"({"eos_token_id": [7, 6]})"));
  EXPECT_EQ(first.eos, 7u);
  EXPECT_EQ(first.eot, 6u);
  // The ids of end tokens in generation_config.json take precedence over those in config.json.
  EXPECT_EQ(vocabulary_with(both(generation_config(R"({"eos_token_id": 7})"), config(R"({"eos_token_id": 6})"))).eos, 7u);
  const std::string expected = "; expected ids from 0 to 7";
  const json many_ids(std::vector<int>(65, 6));
  const Vocabulary none = vocabulary_with(generation_config(R"({"eos_token_id": [-1, 6]})"));
  EXPECT_EQ(none.eos, 6u);
  EXPECT_EQ(none.notes,
            std::vector<std::string>{"key 'eos_token_id' of generation_config.json: found -1, which is no token and is ignored"});
  expect_refused("F/generation_config.json: key 'eos_token_id': found ",
                 {{"8" + expected, generation_config(R"({"eos_token_id": 8})")},
                  {"18446744073709551615" + expected, generation_config(R"({"eos_token_id": 18446744073709551615})")},
                  {"a boolean" + expected, generation_config(R"({"eos_token_id": true})")},
                  {"an array" + expected, generation_config(R"({"eos_token_id": [6, [6]]})")},
                  {"an object" + expected, generation_config(R"({"eos_token_id": {}})")},
                  {"null" + expected, generation_config(R"({"eos_token_id": [null]})")},
                  {"65 ids; expected at most 64", [&](Files& files) { files.generation_config = json{{"eos_token_id", many_ids}}; }}});
  expect_refused("F/config.json: key 'eos_token_id': found ", {{"a string" + expected, config(R"({"eos_token_id": "x"})")}});
}

// The keys of a file may have any order. A name that stands twice in one object is refused, wherever in the file this object is.
TEST(HuggingFaceVocabulary, TablesAreReadFromTheText) {
  Files files;
  const std::string rest = R"("pre_tokenizer": {"type": "Sequence", "pretokenizers": [
      {"type": "Digits", "individual_digits": true}, {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true}]})";
  const auto read = [&](const std::string& model) { return files.vocabulary_of("{\"model\": {" + model + "}, " + rest + "}"); };
  for (const std::string model : {R"("merges": [["a", "b"]], "vocab": {"ab": 2, "a": 0, "b": 1}, "type": "BPE")",
                                  R"("vocab": {"b": 1, "ab": 2, "a": 0}, "type": "BPE", "merges": ["a b"])"}) {
    const Result<Vocabulary> vocabulary = read(model);
    ASSERT_TRUE(vocabulary) << vocabulary.error().message;
    EXPECT_EQ(vocabulary->tokens, (std::vector<std::string>{"a", "b", "ab"}));
    EXPECT_EQ(vocabulary->merges, std::vector<std::string>{"a b"});
  }
  const std::string merges = R"("merges": [])", vocab = R"("vocab": {"a": 0})";
  const auto message = [&](const std::string& model) { return read(model).error().message; };
  EXPECT_EQ(message(R"("vocab": {"a": 0, "b": 1, "a": 0}, )" + merges), tokenizer_key + "'model.vocab': the token 'a' stands twice in it");
  EXPECT_EQ(message(vocab + ", " + vocab + ", " + merges), "F/tokenizer.json: the name 'vocab' stands twice in one object");
  EXPECT_EQ(message(vocab + ", " + merges + ", " + merges), "F/tokenizer.json: the name 'merges' stands twice in one object");
  EXPECT_EQ(message(R"("vocab": {"a": {"x": 0, "x": 1}}, )" + merges), "F/tokenizer.json: the name 'x' stands twice in one object");
  EXPECT_EQ(message(R"("vocab": [["a", 0]], )" + merges), tokenizer_key + "'model.vocab': expected an object of tokens and their ids");
  EXPECT_EQ(message(vocab + R"(, "merges": {"x": "a b"})"), tokenizer_key + "'model.merges': expected an array");
  EXPECT_EQ(message(vocab + R"(, "merges": ["a a", [["a"], "a"]])"),
            tokenizer_key + "'model.merges': merge 1: found an array of 2 values; expected two texts without spaces");
}

TEST(HuggingFaceVocabulary, ChatTemplates) {
  const auto found = [](const Edit& edit) {
    Files files;
    edit(files);
    const Result<std::string> text = read_hugging_face_chat_template(files.texts(nullptr));
    return text ? *text : text.error().message;
  };
  EXPECT_EQ(found([](Files&) {}), "");
  EXPECT_EQ(found(tokenizer_config("{}")), "");
  EXPECT_EQ(found(tokenizer_config(R"({"chat_template": "text"})")), "text");
  EXPECT_EQ(
      found(tokenizer_config(R"({"chat_template": [{"name": "default", "template": "first"}, {"name": "default", "template": "plain"}]})")),
      "plain");
  const std::string expected = "; expected a string, or a list with a template that is called 'default'";
  const std::string refusal = "F/tokenizer_config.json: key 'chat_template': found ";
  EXPECT_EQ(found(tokenizer_config(
                R"({"chat_template": [{"name": "tool_use", "template": "tools"}, {"template": "x"}, {"name": "default"}, 1]})")),
            refusal + "an array" + expected);
  EXPECT_EQ(found(tokenizer_config(R"({"chat_template": 7})")), refusal + "an integer" + expected);
  EXPECT_EQ(found(tokenizer_config(R"({"chat_template": {"default": "plain"}})")), refusal + "an object" + expected);
}

}}  // namespace vocabulary_of_a_folder
