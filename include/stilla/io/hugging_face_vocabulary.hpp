// SPDX-License-Identifier: Apache-2.0
//
// The vocabulary of a Hugging Face folder: tokenizer.json, and what tokenizer_config.json, generation_config.json and config.json
// say about special tokens. This header is opt-in: it needs nlohmann/json.hpp (checked_json.hpp).
//
// The columns of this table are the file, its keys, and what is read from them:
//
//     tokenizer.json          model.vocab, model.merges    tokens and merges of a byte-level BPE; ids without a token are unused
//                             added_tokens                 special ones are control tokens, others user-defined
//                             pre_tokenizer                a known regular expression; gives the name that GGUF files use
//                             normalizer                   none or NFC
//                             post_processor               whether BOS comes first
//                             decoder                      ByteLevel; a note names any other, which is not used
//     tokenizer_config.json   add_bos_token, {bos,eos,pad,unk}_token
//     generation_config.json  eos_token_id: all tokens after which a model ends; if it is missing, the key of config.json
//
// A setting with which Stilla would encode a text to other ids than transformers does is refused. The error names its file and key.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <stilla/base/error.hpp>
#include <stilla/io/checked_json.hpp>
#include <stilla/io/hugging_face_keys.hpp>
#include <stilla/io/hugging_face_token_ids.hpp>
#include <stilla/io/vocabulary.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// The contents of tokenizer.json. Its two large tables are in `tokens` and `merges` and not in `json`. As JSON values, an object of 150,000
// tokens and as many arrays of two strings, they take 50 % more time to read and to release than in these two members.
// NOLINTNEXTLINE(bugprone-exception-escape): moving it moves members whose move constructors are noexcept, nlohmann's too
struct HuggingFaceTokenizer {
  nlohmann::json json;  // its model.vocab and model.merges are empty
  std::vector<std::pair<std::string, nlohmann::json>> tokens;  // the names and values of model.vocab, in the order of the file
  std::vector<std::string> merges;  // the elements of model.merges, as "left right"
  std::optional<std::size_t> bad_merge;  // the first element of model.merges that is no merge
  std::string found_merge;  // what stands there
};

// Parses the text of a tokenizer.json. `place` is what messages call this text.
inline Result<HuggingFaceTokenizer> parse_hugging_face_tokenizer(std::span<const std::byte> text, std::string_view place);

// The contents of the files that the vocabulary is read from. A pointer is null if there is no such file.
struct HuggingFaceTexts {
  std::string folder;  // for messages
  const HuggingFaceTokenizer* tokenizer = nullptr;
  const nlohmann::json* tokenizer_config = nullptr;
  const nlohmann::json* generation_config = nullptr;
  const nlohmann::json* config = nullptr;
};

namespace detail {

// The known regular expressions of the key pre_tokenizer, with the names that GGUF files use for them.
struct KnownPreTokenizer {
  std::string_view pattern;
  std::string_view name;
};
inline constexpr KnownPreTokenizer known_pretokenizers[] = {
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)", "qwen2"},
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)", "llama-bpe"},
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     "qwen35"},
};

// A merge as "left right", read from a string of this form or from an array ["left", "right"]. Nothing if it is neither.
inline std::optional<std::string> merge_of(const nlohmann::json& merge) {
  if (const std::string* text = text_of(&merge)) return *text;
  const bool is_pair = merge.is_array() && merge.size() == 2;
  const std::string* left = is_pair ? text_of(&merge[0]) : nullptr;
  const std::string* right = is_pair ? text_of(&merge[1]) : nullptr;
  if (left == nullptr || right == nullptr || left->find(' ') != std::string::npos || right->find(' ') != std::string::npos) {
    return std::nullopt;
  }
  return *left + " " + *right;
}

class HuggingFaceVocabularyReader {
 public:
  explicit HuggingFaceVocabularyReader(const HuggingFaceTexts& texts) : texts_(texts) {}

  Result<Vocabulary> read() {
    if (texts_.tokenizer == nullptr) {
      return Error{ErrorKind::refused_file, concat(texts_.folder,
                                                   ": has no tokenizer.json; expected one, as AutoTokenizer.from_pretrained(FOLDER)."
                                                   "save_pretrained(FOLDER) writes it")};
    }
    for (const auto step : {&HuggingFaceVocabularyReader::read_tokens, &HuggingFaceVocabularyReader::read_added_tokens,
                            &HuggingFaceVocabularyReader::fill_holes, &HuggingFaceVocabularyReader::read_merges,
                            &HuggingFaceVocabularyReader::read_normalizer, &HuggingFaceVocabularyReader::read_pretokenizer,
                            &HuggingFaceVocabularyReader::read_special_tokens, &HuggingFaceVocabularyReader::read_post_processor,
                            &HuggingFaceVocabularyReader::read_ends, &HuggingFaceVocabularyReader::check_decoder,
                            &HuggingFaceVocabularyReader::note_unknown_keys}) {
      if (Status s = (this->*step)(); !s) return s.error();
    }
    return std::move(out_);
  }

 private:
  using Json = nlohmann::json;
  static constexpr TokenType no_token{0};  // the type of an id that no token has so far

  template <class... Parts>
  Error refuse_in(std::string_view file, std::string_view key, const Parts&... parts) const {
    return {ErrorKind::refused_file, concat(texts_.folder, "/", file, ": key '", key, "': ", parts...)};
  }
  template <class... Parts>
  Error refuse(std::string_view key, const Parts&... parts) const {
    return refuse_in("tokenizer.json", key, parts...);
  }
  const Json* find_in_tokenizer(std::string_view key) const { return find_member(texts_.tokenizer->json, key); }
  static std::string shown(const Json* value) { return value ? json_value_text(*value) : "none"; }

  Status read_tokens() {
    const Json& json = texts_.tokenizer->json;
    if (!json.is_object()) {
      return Error{ErrorKind::refused_file, concat(texts_.folder, "/tokenizer.json: found ", json_type_text(json), "; expected an object")};
    }
    const Json* model = find_in_tokenizer("model");
    if (model == nullptr || !model->is_object()) return refuse("model", json_found_text(model), "; expected an object");
    const std::string* type = text_of(find_member(*model, "type"));
    // In a tokenizer.json of an old version, model.type is missing if the model is BPE.
    if (const Json* found = find_member(*model, "type"); found != nullptr && (type == nullptr || *type != "BPE")) {
      return refuse("model.type", "found ", shown(found), "; expected 'BPE', the only kind that is supported");
    }
    for (const std::string_view key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      const Json* value = find_member(*model, key);
      if (value != nullptr && !(value->is_string() && value->get_ref<const std::string&>().empty())) {
        return refuse(concat("model.", key), "found ", shown(value), "; expected none");
      }
    }
    if (const Json* dropout = find_member(*model, "dropout"); dropout != nullptr && *dropout != 0) {
      return refuse("model.dropout", "merges that are left out by chance are not supported; expected none");
    }
    if (const Json* fallback = find_member(*model, "byte_fallback"); fallback != nullptr && *fallback != false) {
      return refuse("model.byte_fallback",
                    "found true: tokens that are no bytes, as SentencePiece has them, are not supported in a "
                    "folder; a GGUF file of the model may run");
    }
    const Json* vocabulary = find_member(*model, "vocab");
    const auto& tokens = texts_.tokenizer->tokens;
    if (vocabulary == nullptr || !vocabulary->is_object() || tokens.empty()) {
      return refuse("model.vocab", "expected an object of tokens and their ids");
    }
    // Every id up to the largest gets a token; if the file has no token for an id, the id gets a token of the type `unused`. Ids are
    // limited, because a small file with one very large id would otherwise need much memory.
    const Json* added = find_in_tokenizer("added_tokens");
    max_id_ = 65535 + 2 * (std::uint64_t{tokens.size()} + (added ? added->size() : 0));
    ids_.reserve(tokens.size());
    for (const auto& [token, id] : tokens) {
      if (Status s = set(token, id, "model.vocab", TokenType::normal); !s) return s;
      ids_.add(token, static_cast<std::uint32_t>(*count_of(id)), false);
    }
    return success();
  }

  Status set(const std::string& token, const Json& value, std::string_view key, TokenType type) {
    const std::optional<std::uint64_t> id = count_of(value);
    if (!id || *id > max_id_) {
      return refuse(key, "token '", printable(token), "': found ", id ? concat(*id) : json_no_count_text(value),
                    " as its id; expected 0 to ", max_id_, ", which is 65535 and twice the number of tokens in the file");
    }
    const auto at = static_cast<std::size_t>(*id);
    if (at >= out_.tokens.size()) {
      out_.tokens.resize(at + 1);
      out_.types.resize(at + 1, no_token);
    }
    if (out_.types[at] != no_token && out_.tokens[at] != token) {
      return refuse(key, "tokens '", printable(out_.tokens[at]), "' and '", printable(token), "' have the same id ", at);
    }
    out_.tokens[at] = token;
    out_.types[at] = type;
    return success();
  }

  Status read_added_tokens() {
    const Json* added = find_in_tokenizer("added_tokens");
    if (added == nullptr) return sort_ids();
    if (!added->is_array()) return refuse("added_tokens", "found ", json_type_text(*added), "; expected an array");
    LibraryTokenIds library_ids(texts_.tokenizer->tokens.size());
    for (const Json& entry : *added) {
      const std::string* content = text_of(find_member(entry, "content"));
      const Json* id = find_member(entry, "id");
      if (content == nullptr || id == nullptr) return refuse("added_tokens", "found a token without content or id");
      const Json* special = find_member(entry, "special");
      if (special != nullptr && !special->is_boolean()) {
        return refuse("added_tokens", "token '", printable(*content), "': 'special': found ", json_value_text(*special),
                      "; expected true or false");
      }
      const bool is_control = special != nullptr && *special == true;
      for (const std::string_view key : {"lstrip", "rstrip", "single_word"}) {
        const Json* value = find_member(entry, key);
        if (value != nullptr && *value != false) {
          return refuse("added_tokens", "token '", printable(*content), "': '", key, "' is not supported; expected false");
        }
      }
      const bool is_in_vocabulary = has_normal_token(*content, *id);
      if (Status s = set(*content, *id, "added_tokens", is_control ? TokenType::control : TokenType::user_defined); !s) return s;
      if (auto note = library_ids.add(*content, *count_of(*id), is_in_vocabulary)) out_.notes.push_back(std::move(*note));
      ids_.add(*content, static_cast<std::uint32_t>(*count_of(*id)), true);
    }
    return sort_ids();
  }

  bool has_normal_token(const std::string& token, const Json& id) const {
    const std::optional<std::uint64_t> at = count_of(id);
    return at && *at < out_.tokens.size() && out_.types[static_cast<std::size_t>(*at)] == TokenType::normal &&
           out_.tokens[static_cast<std::size_t>(*at)] == token;
  }

  // Refuses a text with two ids: the library tokenizers keeps the first, and changes the ids of the tokens that stand behind the second.
  Status sort_ids() {
    const auto found = ids_.sort();
    if (!found) return success();
    if (!found->is_added) return refuse("model.vocab", "the token '", printable(found->text), "' stands twice in it");
    return refuse("added_tokens", "token '", printable(found->text), "' has two ids, ", found->first, " and ", found->second);
  }

  // Gives each id that has no token a token of the type `unused`.
  Status fill_holes() {
    for (std::size_t i = 0; i < out_.tokens.size(); ++i) {
      if (out_.types[i] != no_token) continue;
      out_.tokens[i] = concat("[PAD", i, "]");
      out_.types[i] = TokenType::unused;
    }
    return success();
  }

  Status read_merges() {
    const Json* merges = find_member(*find_in_tokenizer("model"), "merges");
    if (merges == nullptr || !merges->is_array()) return refuse("model.merges", "expected an array");
    if (const auto& bad = texts_.tokenizer->bad_merge) {
      return refuse("model.merges", "merge ", *bad, ": found ", texts_.tokenizer->found_merge, "; expected two texts without spaces");
    }
    out_.merges = texts_.tokenizer->merges;
    return success();
  }

  // The parts of a value of tokenizer.json: if its type is "Sequence", the elements of its array `parts_key` ("normalizers",
  // "pretokenizers" or "processors"), otherwise the value itself.
  static std::vector<const Json*> parts_of(const Json* value, std::string_view parts_key) {
    if (value == nullptr) return {};
    const std::string* type = text_of(find_member(*value, "type"));
    const Json* parts = find_member(*value, parts_key);
    if (type == nullptr || *type != "Sequence" || parts == nullptr || !parts->is_array()) return {value};
    std::vector<const Json*> out;
    for (const Json& part : *parts) out.push_back(&part);
    return out;
  }
  static bool is_type(const Json& part, std::string_view name) {
    const std::string* type = text_of(find_member(part, "type"));
    return type != nullptr && *type == name;
  }
  static bool is_set(const Json& part, std::string_view key) {
    const Json* value = find_member(part, key);
    return value != nullptr && *value == true;
  }
  // Whether the key has another value than false, for example true or a value of a wrong type.
  static bool may_be_set(const Json& part, std::string_view key) {
    const Json* value = find_member(part, key);
    return value != nullptr && *value != false;
  }

  Status read_normalizer() {
    out_.nfc = false;
    for (const Json* part : parts_of(find_in_tokenizer("normalizer"), "normalizers")) {
      if (!is_type(*part, "NFC")) {
        return refuse("normalizer", "found ", shown(part->is_object() ? find_member(*part, "type") : part), "; supported: none, 'NFC'");
      }
      out_.nfc = true;
    }
    return success();
  }

  // Returns the types of parts that parts_of() found, as text for messages; of many, only the first 8. Empty if there are no parts.
  static std::string types_text(const std::vector<const Json*>& parts) {
    return list_text(parts.size(), [&](std::size_t i) { return shown(find_member(*parts[i], "type")); });
  }

  Status note_unknown_keys() {
    if (auto note = unused_tokenizer_keys(texts_.tokenizer->json, "tokenizer.json")) out_.notes.push_back(std::move(*note));
    if (texts_.tokenizer_config == nullptr) return success();
    auto note = unused_tokenizer_config_keys(*texts_.tokenizer_config, "tokenizer_config.json");
    if (note) out_.notes.push_back(std::move(*note));
    return success();
  }

  // The decoder of tokenizer.json is not used: a byte-level vocabulary says by itself which bytes a token is.
  Status check_decoder() {
    const std::vector<const Json*> parts = parts_of(find_in_tokenizer("decoder"), "decoders");
    const bool is_byte_level = std::all_of(parts.begin(), parts.end(), [](const Json* part) { return is_type(*part, "ByteLevel"); });
    if (parts.empty() || !is_byte_level) {
      out_.notes.push_back(concat("key 'decoder' of tokenizer.json: found ", parts.empty() ? "none" : types_text(parts),
                                  "; tokens become text as 'ByteLevel' makes it"));
    }
    return success();
  }

  Status read_pretokenizer() {
    const std::vector<const Json*> parts = parts_of(find_in_tokenizer("pre_tokenizer"), "pretokenizers");
    const auto is_byte_level = [](const Json& part, bool splits) {
      const Json* uses_regex = find_member(part, "use_regex");  // true if it is missing
      return is_type(part, "ByteLevel") && !may_be_set(part, "add_prefix_space") &&
             (uses_regex == nullptr || *uses_regex == true) == splits;
    };
    const std::string* pattern = nullptr;
    if (parts.size() == 2 && is_type(*parts[0], "Split") && is_byte_level(*parts[1], false)) {
      const Json* expression = find_member(*parts[0], "pattern");
      pattern = expression ? text_of(find_member(*expression, "Regex")) : nullptr;
      const std::string* behavior = text_of(find_member(*parts[0], "behavior"));
      if (pattern == nullptr || behavior == nullptr || *behavior != "Isolated" || may_be_set(*parts[0], "invert")) {
        return refuse("pre_tokenizer", "expected a Split by a Regex with the behavior Isolated, not inverted");
      }
      for (const KnownPreTokenizer& known : known_pretokenizers) {
        if (known.pattern == *pattern) out_.pretokenizer = known.name;
      }
    } else if (parts.size() == 2 && is_type(*parts[0], "Digits") && is_set(*parts[0], "individual_digits") &&
               is_byte_level(*parts[1], true)) {
      out_.pretokenizer = "smollm";
    } else if (parts.size() == 1 && is_byte_level(*parts[0], true)) {
      out_.pretokenizer = "gpt-2";
    }
    if (out_.pretokenizer.empty()) {
      const std::string found = types_text(parts);
      out_.unknown_pretokenizer =
          concat(pattern         ? concat("the regular expression '", printable(*pattern), "'")
                 : found.empty() ? std::string("the sequence of nothing")
                                 : concat("the sequence ", found, " with its settings"),
                 " is not known; known are those of Qwen2, Qwen3.5, Llama 3, SmolLM and GPT-2. A GGUF file of this model may run, since it "
                 "names its pre-tokenizer");
      return success();
    }
    // ignore_merges of tokenizer.json: whether a word that is itself a token becomes this token without any merges. Stilla does
    // this with the pre-tokenizer of Llama 3 and with no other, so that any other setting is refused.
    const bool ignores_merges = is_set(*find_in_tokenizer("model"), "ignore_merges");
    if (ignores_merges != (out_.pretokenizer == "llama-bpe")) {
      return refuse("model.ignore_merges", "found ", ignores_merges ? "true" : "false", "; expected ", ignores_merges ? "false" : "true",
                    " with the pre-tokenizer '", out_.pretokenizer, "'");
    }
    return success();
  }

  // Reads the text of a special token of tokenizer_config.json, for example "<s>" of "bos_token": "<s>" or of
  // "bos_token": {"content": "<s>", ...}. Leaves `text` null if the file does not have the key.
  Status read_special_token(std::string_view key, const std::string*& text) const {
    const Json* value = texts_.tokenizer_config ? find_member(*texts_.tokenizer_config, key) : nullptr;
    if (value == nullptr) return success();
    text = value->is_object() ? text_of(find_member(*value, "content")) : text_of(value);
    if (text != nullptr) return success();
    return refuse_in("tokenizer_config.json", key, "found ", json_type_text(*value),
                     "; expected a string, or an object with the string 'content'");
  }

  // Returns the id of BOS in config.json or generation_config.json. A value that is no id is ignored with a note, as in a GGUF file.
  std::optional<std::uint32_t> read_bos_id(const Json* file_json, std::string_view file) {
    const Json* value = file_json ? find_member(*file_json, "bos_token_id") : nullptr;
    if (value == nullptr) return std::nullopt;
    const std::optional<std::uint64_t> id = count_of(*value);
    if (id && *id < out_.tokens.size()) return static_cast<std::uint32_t>(*id);
    out_.notes.push_back(concat("key 'bos_token_id' of ", file, ": found ", id ? concat(*id) : json_no_count_text(*value),
                                ", which is none of the ", out_.tokens.size(), " tokens and is ignored"));
    return std::nullopt;
  }

  Status read_special_tokens() {
    struct Token {
      std::string_view key;
      std::optional<std::uint32_t>& id;
      bool is_needed;
    };
    const Token tokens[] = {{"bos_token", out_.bos, true},
                            {"eos_token", out_.eos, true},
                            {"pad_token", out_.padding, false},
                            {"unk_token", out_.unknown, false}};
    for (const Token& token : tokens) {
      const std::string* text = nullptr;
      if (Status s = read_special_token(token.key, text); !s) return s;
      if (text == nullptr) continue;
      const std::optional<std::uint32_t> found = ids_.find(*text);
      if (found) {
        token.id = *found;
      } else if (token.is_needed) {
        return refuse_in("tokenizer_config.json", token.key, "found '", printable(*text), "', which is no token");
      }
    }
    if (Status s = check_added_tokens(); !s) return s;
    const std::optional<std::uint32_t> bos = read_bos_id(texts_.config, "config.json");
    (void)read_bos_id(texts_.generation_config, "generation_config.json");  // only checked
    if (!out_.bos) out_.bos = bos;
    return success();
  }

  // Compares the special tokens of tokenizer_config.json with tokenizer.json. The library transformers adds what tokenizer.json lacks.
  // Such a token is refused if tokenizer_config.json has an id for it, because texts would get other ids. Otherwise a note names it.
  Status check_added_tokens() {
    if (texts_.tokenizer_config == nullptr) return success();
    if (is_set(*texts_.tokenizer_config, "add_prefix_space")) {
      out_.notes.push_back(
          "key 'add_prefix_space' of tokenizer_config.json is true and not used: only tokenizer.json says how texts begin");
    }
    constexpr std::string_view file = "tokenizer_config.json", table = "added_tokens_decoder";
    if (const Json* decoder = find_member(*texts_.tokenizer_config, table)) {
      if (!decoder->is_object()) return refuse_in(file, table, "found ", json_type_text(*decoder), "; expected an object");
      for (const auto& member : decoder->get_ref<const Json::object_t&>()) {
        const std::string* text = text_of(find_member(member.second, "content"));
        if (text == nullptr) return refuse_in(file, table, "id ", printable(member.first), ": expected an object with a content");
        const std::optional<std::uint32_t> id = ids_.find(*text);
        if (!id || concat(*id) != member.first) {
          return refuse_in(file, table, "token '", printable(*text), "' has the id ", printable(member.first), ", and ",
                           id ? concat(*id) : "none", " in tokenizer.json; expected the same");
        }
        for (const std::string_view key : {"lstrip", "rstrip", "single_word"}) {
          if (is_set(member.second, key)) {
            return refuse_in(file, table, "token '", printable(*text), "': '", key, "' is not supported; expected false");
          }
        }
      }
    }
    for (const std::string_view key : {"additional_special_tokens", "extra_special_tokens"}) {
      const Json* tokens = find_member(*texts_.tokenizer_config, key);
      if (tokens == nullptr) continue;
      if (!tokens->is_array() && !tokens->is_object()) {
        return refuse_in(file, key, "found ", json_type_text(*tokens), "; expected texts of tokens");
      }
      std::vector<std::string> missing;
      for (const Json& token : *tokens) {
        const std::string* text = token.is_object() ? text_of(find_member(token, "content")) : text_of(&token);
        if (text == nullptr) return refuse_in(file, key, "found ", json_type_text(token), "; expected texts of tokens");
        if (!ids_.find(*text)) missing.push_back(*text);
      }
      if (missing.empty()) continue;
      out_.notes.push_back(
          concat("key '", key, "' of ", file, ": not used, because tokenizer.json has no such token: ", names_text(missing)));
    }
    return success();
  }

  // Reads which special tokens a post-processor's template puts before a text. The template must have the text once, and at its end.
  Status read_template(const Json& part) {
    constexpr std::string_view key = "post_processor.single";
    const Json* single = find_member(part, "single");
    if (single == nullptr || !single->is_array()) return refuse(key, "expected an array");
    bool has_text = false;
    for (const Json& item : *single) {
      const Json *text = find_member(item, "Sequence"), *special = find_member(item, "SpecialToken");
      const std::string* id = text || special ? text_of(find_member(text ? *text : *special, "id")) : nullptr;
      if (id == nullptr || item.size() != 1) {
        return refuse(key, "found ", json_type_text(item), "; expected objects with a Sequence or a SpecialToken, which has an id");
      }
      if (text != nullptr) {
        if (*id != "A" || has_text) {
          return refuse(key, "found the sequence '", printable(*id), "'", has_text ? " after the text" : "", "; expected 'A', once");
        }
        has_text = true;
        continue;
      }
      const std::optional<std::uint32_t> found = ids_.find(*id);
      const bool is_bos = !has_text && !out_.add_bos && found && (!out_.bos || *out_.bos == *found);
      if (!is_bos) {
        return refuse(key, "adds the token '", printable(*id), "' ", has_text ? "after" : "before", " a text; supported: BOS",
                      out_.bos ? concat(" ('", printable(out_.tokens[*out_.bos]), "')") : "", " once before it");
      }
      if (Status s = check_template_ids(part, *id, *found); !s) return s;
      out_.bos = *found;
      out_.add_bos = true;
    }
    if (!has_text) return refuse(key, "has no place for the text; expected the sequence 'A', once");
    return success();
  }

  // A post-processor's template has a table with the ids of each of its special tokens. Checks that `token` has only `id` in this table.
  Status check_template_ids(const Json& part, const std::string& token, std::uint32_t id) const {
    const Json* tokens = find_member(part, "special_tokens");
    const Json* entry = tokens ? find_member(*tokens, token) : nullptr;
    const Json* ids = entry ? find_member(*entry, "ids") : nullptr;
    const bool is_one = ids != nullptr && ids->is_array() && ids->size() == 1;
    const std::optional<std::uint64_t> found = is_one ? count_of((*ids)[0]) : std::nullopt;
    if (found == id) return success();
    std::string text = ids == nullptr ? "no ids" : ids->is_array() ? concat(ids->size(), " ids") : std::string(json_type_text(*ids));
    if (is_one) text = found ? concat(*found) : json_no_count_text((*ids)[0]);
    return refuse("post_processor.special_tokens", "token '", printable(token), "': found ", text, "; expected its id, ", id);
  }

  // Reads which special tokens come before a text, and checks that none come after it.
  Status read_post_processor() {
    for (const Json* part : parts_of(find_in_tokenizer("post_processor"), "processors")) {
      if (is_type(*part, "ByteLevel")) continue;
      if (!is_type(*part, "TemplateProcessing")) {
        return refuse("post_processor", "found ", shown(find_member(*part, "type")), "; supported: ByteLevel, TemplateProcessing");
      }
      if (Status s = read_template(*part); !s) return s;
    }
    const Json* adds = texts_.tokenizer_config ? find_member(*texts_.tokenizer_config, "add_bos_token") : nullptr;
    if (adds != nullptr) {
      if (!adds->is_boolean()) {
        return refuse_in("tokenizer_config.json", "add_bos_token", "found ", json_type_text(*adds), "; expected true or false");
      }
      out_.add_bos = adds->get<bool>();
    }
    if (out_.add_bos && !out_.bos) return refuse_in("tokenizer_config.json", "add_bos_token", "is true, and there is no bos_token");
    return success();
  }

  Status read_ends() {
    std::string_view file = "generation_config.json";
    const Json* ends = texts_.generation_config ? find_member(*texts_.generation_config, "eos_token_id") : nullptr;
    if (ends == nullptr && texts_.config != nullptr) {
      file = "config.json";
      ends = find_member(*texts_.config, "eos_token_id");
    }
    if (ends == nullptr) return success();
    std::vector<std::uint32_t> ids;
    const auto add = [&](const Json& value) -> Status {
      if (value.is_number_integer() && !value.is_number_unsigned() &&
          value.get<std::int64_t>() < 0) {  // some files have -1 where they mean none
        out_.notes.push_back(
            concat("key 'eos_token_id' of ", file, ": found ", value.get<std::int64_t>(), ", which is no token and is ignored"));
        return success();
      }
      const std::optional<std::uint64_t> id = count_of(value);
      if (!id || *id >= out_.tokens.size()) {
        return refuse_in(file, "eos_token_id", "found ", id ? concat(*id) : std::string(json_type_text(value)), "; expected ids from 0 to ",
                         out_.tokens.size() - 1);
      }
      ids.push_back(static_cast<std::uint32_t>(*id));
      return success();
    };
    if (ends->is_array()) {
      const std::size_t count = ends->size();
      if (count > max_end_tokens) return refuse_in(file, "eos_token_id", "found ", count, " ids; expected at most ", max_end_tokens);
      for (const Json& value : *ends) {
        if (Status s = add(value); !s) return s;
      }
    } else if (Status s = add(*ends); !s) {
      return s;
    }
    for (const std::uint32_t id : ids) {
      if (!out_.eos) out_.eos = id;
      if (id == *out_.eos || id == out_.eot) continue;
      if (!out_.eot) {
        out_.eot = id;
      } else {
        out_.ends.push_back(id);
      }
    }
    return success();
  }

  HuggingFaceTexts texts_;
  HuggingFaceTokenIds ids_;
  std::uint64_t max_id_ = 0;
  Vocabulary out_;
};

}  // namespace detail

inline Result<HuggingFaceTokenizer> parse_hugging_face_tokenizer(std::span<const std::byte> text, std::string_view place) {
  HuggingFaceTokenizer out;
  const JsonStream tables[] = {
      {"model", "vocab", [&](std::string& token, nlohmann::json& id) { out.tokens.emplace_back(std::move(token), std::move(id)); }},
      {"model", "merges", [&](std::string&, nlohmann::json& merge) {
         if (out.bad_merge) return;
         std::optional<std::string> joined = detail::merge_of(merge);
         if (joined) {
           out.merges.push_back(std::move(*joined));
         } else {
           out.bad_merge = out.merges.size();
           const std::string* merge_text = text_of(&merge);
           out.found_merge = merge_text         ? concat("'", printable(*merge_text), "'")
                             : merge.is_array() ? concat("an array of ", merge.size(), " values")
                                                : json_no_count_text(merge);
         }
       }}};
  Result<nlohmann::json> json = parse_json(text, place, {std::uint64_t{1} << 26, std::uint64_t{1} << 22}, tables);
  if (!json) return json.error();
  out.json = std::move(*json);
  return out;
}

inline Result<Vocabulary> read_hugging_face_vocabulary(const HuggingFaceTexts& texts) {
  return detail::HuggingFaceVocabularyReader(texts).read();
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
