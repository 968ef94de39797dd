// SPDX-License-Identifier: Apache-2.0
#include "genai_files.hpp"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include <nlohmann/json.hpp>

#include <stilla/io/vocabulary.hpp>
#include <stilla/text/source_tokenizer.hpp>

#include "../output.hpp"

namespace program {
namespace {

using Json = nlohmann::ordered_json;
using stilla::TokenType;
using stilla::Vocabulary;

// Returns JSON as text. JSON holds only UTF-8, but strings from model files may have other bytes. These become U+FFFD.
std::string text_of(const Json& json) { return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n"; }

TokenType type_of(const Vocabulary& v, std::size_t id) { return v.types.empty() ? TokenType::normal : v.types[id]; }
bool is_added(TokenType type) { return type == TokenType::control || type == TokenType::user_defined; }

// The pattern by which Qwen2 splits a text into words (text/pretokenizer.hpp).
constexpr const char* qwen2_words =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

Vocabulary checked_vocabulary(const ExportModel& model) {
  const stilla::Tokenizer tokenizer = value_of(stilla::read_tokenizer(model.source()));
  Vocabulary vocabulary = value_of(model.source().vocabulary());
  if (tokenizer.kind() != stilla::VocabularyKind::byte_level || tokenizer.pretokenizer() != stilla::PreTokenizer::qwen2) {
    fail(model.source().key_error("tokenizer.ggml.pre", "'", stilla::printable(vocabulary.pretokenizer),
                                  "' cannot be exported; expected qwen2 or deepseek-r1-qwen"));
  }
  for (std::uint32_t id = 0; id < tokenizer.size(); ++id) {  // gives every token the type that Stilla reads it with
    if (vocabulary.types.size() <= id) vocabulary.types.push_back(TokenType::normal);
    vocabulary.types[id] = tokenizer.type(id);
  }
  vocabulary.nfc = tokenizer.nfc();
  return vocabulary;
}

Json token_text(const Vocabulary& v, std::optional<std::uint32_t> id) {
  return id && *id < v.tokens.size() ? Json(v.tokens[*id]) : Json(nullptr);
}

// Returns the tokens that end an answer. The end token that the model file's metadata name comes first.
std::vector<std::uint32_t> end_tokens(const ExportModel& model, const Vocabulary& v) {
  const stilla::Tokenizer tokenizer = value_of(stilla::read_tokenizer(model.source()));
  std::vector<std::uint32_t> ends;
  if (v.eos) ends.push_back(*v.eos);
  for (std::uint32_t id = 0; id < v.tokens.size(); ++id) {
    if (tokenizer.is_end_of_generation(id) && std::find(ends.begin(), ends.end(), id) == ends.end()) ends.push_back(id);
  }
  return ends;
}

}  // namespace

std::string genai_config(const ExportModel& model, const std::string& graph_file) {
  const stilla::ModelConfig& c = model.config();
  const Vocabulary v = checked_vocabulary(model);
  const std::vector<std::uint32_t> ends = end_tokens(model, v);
  Json config;
  Json& m = config["model"];
  if (v.bos) m["bos_token_id"] = *v.bos;
  m["context_length"] = c.context;
  Json& decoder = m["decoder"];
  decoder["session_options"] = {{"log_id", "onnxruntime-genai"}, {"provider_options", Json::array()}};
  decoder["filename"] = graph_file;
  decoder["head_size"] = c.head_dim;
  decoder["hidden_size"] = c.hidden;
  decoder["inputs"] = {{"input_ids", "input_ids"},
                       {"attention_mask", "attention_mask"},
                       {"past_key_names", "past_key_values.%d.key"},
                       {"past_value_names", "past_key_values.%d.value"}};
  decoder["outputs"] = {{"logits", "logits"}, {"present_key_names", "present.%d.key"}, {"present_value_names", "present.%d.value"}};
  decoder["num_attention_heads"] = c.n_heads;
  decoder["num_hidden_layers"] = c.n_layers;
  decoder["num_key_value_heads"] = c.n_kv_heads;
  m["eos_token_id"] = ends;
  m["pad_token_id"] = v.padding.value_or(v.eos.value_or(0));
  m["type"] = c.architecture;
  m["vocab_size"] = c.vocabulary;
  config["search"] = {{"do_sample", true},         {"max_length", c.context},
                      {"min_length", 0},           {"num_beams", 1},
                      {"num_return_sequences", 1}, {"past_present_share_buffer", false},
                      {"temperature", 0.6},        {"top_p", 0.95}};  // the program's own defaults
  return text_of(config);
}

std::string tokenizer_json(const ExportModel& model) {
  const Vocabulary v = checked_vocabulary(model);
  Json added = Json::array(), tokens = Json::object();
  for (std::size_t id = 0; id < v.tokens.size(); ++id) {
    const TokenType type = type_of(v, id);
    if (type == TokenType::normal) tokens[v.tokens[id]] = id;
    if (!is_added(type)) continue;
    added.push_back({{"id", id},
                     {"content", v.tokens[id]},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", type == TokenType::control}});
  }
  const Json bytes = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", false}, {"use_regex", false}};
  const Json words = {{"type", "Split"}, {"pattern", {{"Regex", qwen2_words}}}, {"behavior", "Isolated"}, {"invert", false}};
  Json json;
  json["version"] = "1.0";
  json["truncation"] = nullptr;
  json["padding"] = nullptr;
  json["added_tokens"] = std::move(added);
  json["normalizer"] = v.nfc.value_or(false) ? Json{{"type", "NFC"}} : Json(nullptr);
  json["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", Json::array({words, bytes})}};
  json["post_processor"] = bytes;
  json["decoder"] = bytes;
  json["model"] = {
      {"type", "BPE"},     {"dropout", nullptr},    {"unk_token", nullptr}, {"continuing_subword_prefix", ""}, {"end_of_word_suffix", ""},
      {"fuse_unk", false}, {"byte_fallback", false}};
  json["model"]["vocab"] = std::move(tokens);
  json["model"]["merges"] = v.merges;
  return text_of(json);
}

std::string tokenizer_config_json(const ExportModel& model) {
  const Vocabulary v = checked_vocabulary(model);
  Json json;
  json["add_bos_token"] = v.add_bos;
  json["add_prefix_space"] = false;
  for (std::size_t id = 0; id < v.tokens.size(); ++id) {
    if (!is_added(type_of(v, id))) continue;
    json["added_tokens_decoder"][std::to_string(id)] = {{"content", v.tokens[id]}, {"lstrip", false},
                                                        {"normalized", false},     {"rstrip", false},
                                                        {"single_word", false},    {"special", type_of(v, id) == TokenType::control}};
  }
  json["bos_token"] = token_text(v, v.bos);
  json["eos_token"] = token_text(v, v.eos);
  json["pad_token"] = token_text(v, v.padding);
  json["unk_token"] = nullptr;
  json["chat_template"] = value_of(model.source().chat_template());
  json["clean_up_tokenization_spaces"] = false;
  json["model_max_length"] = model.config().context;
  json["tokenizer_class"] = "Qwen2Tokenizer";
  return text_of(json);
}

}  // namespace program
