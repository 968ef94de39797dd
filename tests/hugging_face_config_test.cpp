// SPDX-License-Identifier: Apache-2.0
//
// Tests of the reader of config.json, one key at a time: the GGUF keys that the reader makes of a file, and the message with which
// it refuses a file. hugging_face_test.cpp tests whole folders.
#include <stilla/io/hugging_face_config.hpp>

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

// Other test files have helpers with the same names, and all files of this program are compiled as one (a unity build). So the helpers
// of this file are in a namespace of their own.
namespace config_of_a_folder { namespace {

using namespace stilla;
using nlohmann::json;

json small_config() {
  return json::parse(R"({"model_type": "llama", "num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 96,
                         "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128, "rms_norm_eps": 1e-5,
                         "hidden_act": "silu", "tie_word_embeddings": false, "vocab_size": 100, "rope_theta": 10000.0})");
}

// Returns the small config, with members replaced or added. A member that is null counts as missing.
json config_with(const char* changes) {
  json out = small_config();
  out.update(json::parse(changes));
  return out;
}

Result<HuggingFaceConfig> read(const json& config) { return read_hugging_face_config(config, "F/config.json"); }

std::string refusal(const json& config) {
  const Result<HuggingFaceConfig> read_config = read(config);
  if (!read_config) {
    EXPECT_EQ(read_config.error().kind, ErrorKind::refused_file);
  }
  return read_config ? "accepted" : read_config.error().message;
}

// Returns the value of a GGUF key as text, or "none" if config.json does not give it.
std::string value_of(const json& config, std::string_view key) {
  const Result<HuggingFaceConfig> read_config = read(config);
  if (!read_config) return read_config.error().message;
  const auto found = read_config->entries.find(key);
  if (found == read_config->entries.end()) return "none";
  const auto& value = found->second.value;
  if (const bool* boolean = std::get_if<bool>(&value)) return *boolean ? "true" : "false";
  if (const auto* number = std::get_if<std::uint64_t>(&value)) return concat(*number);
  if (const auto* number = std::get_if<double>(&value)) return concat(*number);
  return std::get<std::string>(value);
}

TEST(HuggingFaceConfig, BecomesGgufKeys) {
  const json config = small_config();
  for (const auto& [key, expected] : std::vector<std::pair<std::string_view, std::string>>{{"general.architecture", "llama"},
                                                                                           {"llama.block_count", "2"},
                                                                                           {"llama.embedding_length", "64"},
                                                                                           {"llama.feed_forward_length", "96"},
                                                                                           {"llama.attention.head_count", "4"},
                                                                                           {"llama.attention.head_count_kv", "2"},
                                                                                           {"llama.attention.key_length", "none"},
                                                                                           {"llama.context_length", "128"},
                                                                                           {"llama.rope.freq_base", "10000"},
                                                                                           {"llama.rope.scaling.type", "none"},
                                                                                           {half_split_key, "true"}}) {
    EXPECT_EQ(value_of(config, key), expected) << key;
  }
  const Result<HuggingFaceConfig> read_config = read(config);
  ASSERT_TRUE(read_config);
  EXPECT_EQ(read_config->layers, 2u);
  EXPECT_EQ(read_config->rows, 100u);
  EXPECT_EQ(read_config->ties_embeddings, false);
  EXPECT_TRUE(read_config->rope_factors.empty());
  // For Qwen2 and Qwen3, GGUF files store the rows of the matrices Q and K in the same order as Hugging Face's files do. So only
  // Llama needs the key stilla.rope.half_split, which marks the order of Hugging Face's files.
  for (const char* other : {"qwen2", "qwen3"}) {
    EXPECT_EQ(value_of(config_with(concat(R"({"model_type": ")", other, R"("})").c_str()), half_split_key), "none");
  }
  const json dims = config_with(R"({"head_dim": 32})");
  EXPECT_EQ(value_of(dims, "llama.attention.key_length"), "32");
  EXPECT_EQ(value_of(dims, "llama.attention.value_length"), "32");
}

// The reader of config.json accepts a file in which keys are missing, and must not invent values for them. The code that loads the
// model decides about them.
TEST(HuggingFaceConfig, NearlyEverythingMayBeMissing) {
  const Result<HuggingFaceConfig> read_config = read({{"model_type", "qwen2"}});
  ASSERT_TRUE(read_config) << read_config.error().message;
  EXPECT_EQ(read_config->entries.size(), 1u);
  EXPECT_EQ(read_config->layers, 0u);
  EXPECT_FALSE(read_config->rows || read_config->ties_embeddings);
}

// Each of these settings in config.json asks for what Stilla computes anyway. So the settings change nothing.
TEST(HuggingFaceConfig, NeutralSettings) {
  for (const char* neutral : {R"({"use_sliding_window": false, "use_mrope": false, "clip_qkv": null})",
                              R"({"layer_types": ["full_attention", "full_attention"]})", R"({"layer_types": null, "logit_scale": null})",
                              R"({"partial_rotary_factor": 1.0})", R"({"rope_scaling": null})", R"({"rope_scaling": {}})",
                              R"({"is_causal": true, "hidden_act": "swish"})", R"({"rope_scaling": {"rope_type": "default"}})",
                              R"({"rope_parameters": {"partial_rotary_factor": 1}})"}) {
    const Result<HuggingFaceConfig> read_config = read(config_with(neutral));
    ASSERT_TRUE(read_config) << read_config.error().message;
    EXPECT_EQ(read_config->entries.size(), read(small_config())->entries.size()) << neutral;
  }
}

TEST(HuggingFaceConfig, WhatIsRefused) {
  const std::string place = "F/config.json: ", key = place + "key ";
  EXPECT_EQ(refusal(json::array()), place + "found an array; expected an object");
  EXPECT_EQ(refusal(json::object()), key + "'model_type' is missing; expected a string: is this the config.json of a language model?");
  const std::string original = ", which is not supported; expected the original release, in BF16, F16 or F32";
  const std::vector<std::pair<std::string, const char*>> cases = {
      {"'model_type' is a boolean; expected a string: is this the config.json of a language model?", R"({"model_type": true})"},
      {"'model_type': 'gemma2' is not supported; supported: qwen2, qwen3, llama", R"({"model_type": "gemma2"})"},
      {"'quantization_config': the weights are quantised by gptq" + original, R"({"quantization_config": {"quant_method": "gptq"}})"},
      {"'quantization_config': the weights are quantised by some method" + original, R"({"quantization_config": {"quant_method": 4}})"},
      {"'quantization_config': the weights are quantised by some method" + original, R"({"quantization_config": "gptq"})"},
      {"'hidden_act': found gelu; expected silu", R"({"hidden_act": "gelu"})"},
      {"'hidden_act': found an object; expected silu", R"({"hidden_act": {}})"},
      {"'use_sliding_window': found true, which is not supported; expected false", R"({"use_sliding_window": true})"},
      {"'use_mrope': found true, which is not supported; expected false", R"({"use_mrope": true})"},
      {"'is_causal': found false, which is not supported; expected true", R"({"is_causal": false})"},
      {"'rope_interleaved': found true, which is not supported; expected false", R"({"rope_interleaved": true})"},
      {"'clip_qkv': found 8.0, which is not supported; expected false", R"({"clip_qkv": 8.0})"},
      {"'final_logit_softcapping': found 30.0, which is not supported in a llama model", R"({"final_logit_softcapping": 30.0})"},
      {"'layer_types': found a string; expected an array", R"({"layer_types": "full_attention"})"},
      {"'layer_types': found 'linear_attention'; expected 'full_attention' for every layer", R"({"layer_types": ["linear_attention"]})"},
      {"'layer_types': found 'an integer'; expected 'full_attention' for every layer", R"({"layer_types": ["full_attention", 1]})"},
      {"'num_hidden_layers': found 2.5; expected an unsigned integer", R"({"num_hidden_layers": 2.5})"},
      {"'head_dim': found an array; expected an unsigned integer", R"({"head_dim": [16]})"},
      {"'rms_norm_eps': found a boolean; expected a number", R"({"rms_norm_eps": true})"},
      {"'rope_theta': found a string; expected a number", R"({"rope_theta": "10000"})"},
      {"'tie_word_embeddings': found an integer; expected true or false", R"({"tie_word_embeddings": 1})"},
      {"'attention_bias': found a string; expected true or false", R"({"attention_bias": "yes"})"},
      {"'mlp_bias': found an integer; expected true or false", R"({"mlp_bias": 1})"},
      {"'vocab_size': found a string; expected an unsigned integer", R"({"vocab_size": "100"})"},
      {"'partial_rotary_factor': found 0.5, which is not supported; expected 1", R"({"partial_rotary_factor": 0.5})"},
      {"'partial_rotary_factor': found 0.25, which is not supported; expected 1",
       R"({"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.25}})"},
  };
  for (const auto& [message, changes] : cases) EXPECT_EQ(refusal(config_with(changes)), key + message) << changes;
}

TEST(HuggingFaceConfig, ScalingOfRope) {
  // transformers 5 writes RoPE's base (rope_theta) into the object rope_parameters; earlier versions write it beside the object
  // rope_scaling.
  const json inside =
      config_with(R"({"rope_theta": null, "rope_parameters": {"rope_type": "linear", "factor": 4, "rope_theta": 500000.0}})");
  EXPECT_EQ(value_of(inside, "llama.rope.freq_base"), "5e+05");
  EXPECT_EQ(value_of(inside, "llama.rope.scaling.type"), "linear");
  EXPECT_EQ(value_of(inside, "llama.rope.scaling.factor"), "4");
  const json beside = config_with(R"({"rope_scaling": {"type": "linear", "factor": 2.0, "beta_fast": 16, "truncate": true}})");
  EXPECT_EQ(value_of(beside, "llama.rope.freq_base"), "10000");
  EXPECT_EQ(value_of(beside, "llama.rope.scaling.factor"), "2");
  EXPECT_EQ(value_of(beside, "llama.rope.scaling.yarn_beta_fast"), "none");  // linear scaling has no such setting
  EXPECT_EQ(value_of(config_with(R"({"rope_theta": null, "rope_scaling": {"type": "linear", "factor": 2.0}})"), "llama.rope.freq_base"),
            "none");
  const json yarn = config_with(R"({"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32,
                                                     "beta_fast": 16, "beta_slow": 2, "truncate": true}})");
  EXPECT_EQ(value_of(yarn, "llama.rope.scaling.type"), "yarn");
  EXPECT_EQ(value_of(yarn, "llama.rope.scaling.original_context_length"), "32");
  EXPECT_EQ(value_of(yarn, "llama.rope.scaling.yarn_beta_fast"), "16");
  EXPECT_EQ(value_of(yarn, "llama.rope.scaling.yarn_beta_slow"), "2");
  EXPECT_EQ(value_of(yarn, "llama.rope.scaling.attn_factor"), "none");
  // If the factor of YaRN's scaling is missing or below 1, YaRN's formula for the size of cosines and sines gives 1. So the size is
  // attention_factor alone.
  for (const char* formula_gives_1 : {R"({"rope_scaling": {"rope_type": "yarn", "attention_factor": 1.5}})",
                                      R"({"rope_scaling": {"rope_type": "yarn", "factor": 0.5, "attention_factor": 1.5}})"}) {
    EXPECT_EQ(value_of(config_with(formula_gives_1), "llama.rope.scaling.attn_factor"), "1.5");
  }
}

// Files that transformers 5 saved have rope_parameters. Users add rope_scaling to them, because the pages of models say so.
TEST(HuggingFaceConfig, ScalingBesideParameters) {
  const auto both = [](const char* parameters, const char* scaling) {
    return config_with(concat(R"({"rope_theta": null, "rope_parameters": )", parameters, R"(, "rope_scaling": )", scaling, "}").c_str());
  };
  const char* const yarn = R"({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32})";
  for (const char* plain : {R"({"rope_theta": 5000.0, "rope_type": "default"})", R"({"rope_theta": 5000.0})"}) {
    const json config = both(plain, yarn);
    EXPECT_EQ(value_of(config, "llama.rope.scaling.type"), "yarn") << plain;
    EXPECT_EQ(value_of(config, "llama.rope.scaling.factor"), "4") << plain;
    EXPECT_EQ(value_of(config, "llama.rope.scaling.original_context_length"), "32") << plain;
    EXPECT_EQ(value_of(config, "llama.rope.freq_base"), "5000") << plain;
  }
  const char* const same = R"({"type": "linear", "factor": 2.0})";
  EXPECT_EQ(value_of(both(R"({"rope_theta": 5000.0, "rope_type": "linear", "factor": 2.0})", same), "llama.rope.scaling.factor"), "2");
  EXPECT_EQ(value_of(both(same, "{}"), "llama.rope.scaling.factor"), "2");
  EXPECT_EQ(value_of(both("{}", same), "llama.rope.scaling.factor"), "2");
  EXPECT_EQ(refusal(both(R"({"rope_type": "linear", "factor": 4.0})", same)),
            "F/config.json: key 'rope_scaling.factor': is not the same in rope_parameters; expected only one of these");
  EXPECT_EQ(refusal(both(yarn, same)),
            "F/config.json: key 'rope_scaling.factor': is not the same in rope_parameters; expected only one of these");
}

std::vector<std::string> notes_of(const json& config) {
  const Result<HuggingFaceConfig> read_config = read(config);
  return read_config ? read_config->notes : std::vector<std::string>{read_config.error().message};
}

// Where two settings of RoPE contradict each other, it is not known which one was meant. So Stilla refuses the file, while the
// library transformers takes one of the settings.
TEST(HuggingFaceConfig, ContradictionsOfRopeAreRefused) {
  const std::string once = "is not the same in rope_parameters; expected only one of these";
  const std::vector<std::pair<std::string, const char*>> cases = {
      {"'rope_theta': found 10000.0, and 'rope_parameters.rope_theta' is 5000; expected the same",
       R"({"rope_parameters": {"rope_type": "default", "rope_theta": 5000}})"},
      {"'rope_theta': found 10000.0, and 'rope_scaling.rope_theta' is 99.0; expected the same",
       R"({"rope_scaling": {"rope_type": "linear", "factor": 2.0, "rope_theta": 99.0}})"},
      {"'rope_parameters.rope_theta': found 5.0, and 'rope_scaling.rope_theta' is 9.0; expected the same",
       R"({"rope_theta": null, "rope_parameters": {"rope_theta": 5.0},
           "rope_scaling": {"rope_type": "linear", "factor": 2.0, "rope_theta": 9.0}})"},
      {"'rope_theta': found a string; expected a number", R"({"rope_theta": "5", "rope_parameters": {"rope_theta": 5.0}})"},
      {"'rope_parameters.type': is not the same as rope_type; expected only one of these",
       R"({"rope_parameters": {"rope_type": "default", "type": "yarn", "factor": 4.0}})"},
      {"'rope_scaling.type': expected a string: default, linear, yarn or llama3",
       R"({"rope_parameters": {"rope_type": "default"}, "rope_scaling": {"factor": 4.0}})"},
      {"'rope_scaling.type': " + once,
       R"({"rope_parameters": {"rope_type": "linear", "factor": 2.0}, "rope_scaling": {"type": "default"}})"},
      {"'rope_scaling.beta_fast': " + once,
       R"({"rope_parameters": {"rope_type": "yarn", "factor": 2.0}, "rope_scaling": {"type": "yarn", "beta_fast": 16}})"},
      {"'rope_parameters.full_attention': found an object; expected the same settings for all layers",
       R"({"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 5.0}}})"},
      {"'original_max_position_embeddings': is not the same as 'rope_scaling.original_max_position_embeddings'; expected only one of these",
       R"({"original_max_position_embeddings": 32,
           "rope_scaling": {"type": "yarn", "factor": 2, "original_max_position_embeddings": 64}})"},
  };
  for (const auto& [message, changes] : cases) EXPECT_EQ(refusal(config_with(changes)), "F/config.json: key " + message) << changes;
  EXPECT_EQ(value_of(config_with(R"({"rope_parameters": {"type": "default", "rope_type": "default", "rope_theta": 10000}})"),
                     "llama.rope.freq_base"),
            "10000");
}

TEST(HuggingFaceConfig, SettingsOfRopeThatAreNotUsedAreTold) {
  for (const auto& [changes, note] : std::vector<std::pair<const char*, std::string>>{
           {R"({"rope_scaling": {"rope_type": "default", "factor": 4.0}})", "the rope_type 'default' does not use 'rope_scaling.factor'"},
           {R"({"rope_parameters": {"rope_type": "default", "factor": 4.0, "beta_slow": 1}})",
            "the rope_type 'default' does not use 'rope_parameters.beta_slow', 'rope_parameters.factor'"},
           {R"({"rope_parameters": {"factor": 4.0}})", "the rope_type 'default' does not use 'rope_parameters.factor'"},
           {R"({"rope_parameters": {"rope_type": "default"}, "rope_scaling": {"type": "default", "factor": 4.0}})",
            "the rope_type 'default' does not use 'rope_scaling.factor'"},
           {R"({"rope_scaling": {"type": "linear", "factor": 2, "attention_factor": 2}})",
            "the rope_type 'linear' does not use 'rope_scaling.attention_factor'"},
           {R"({"rope_parameters": {"rope_type": "default"}, "rope_scaling": {"type": "default", "mrope_section": [2, 3, 3]}})",
            "a key that is not known here and not used: 'rope_scaling.mrope_section'"},
           {R"({"rope_theta": null, "rope_parameters": {"rope_theta": 5.0}, "rope_scaling": {"type": "linear", "factor": 2}})",
            "key 'rope_parameters.rope_theta' is used beside rope_scaling; the library transformers ignores it there"}}) {
    EXPECT_EQ(notes_of(config_with(changes)), std::vector<std::string>{"F/config.json: " + note}) << changes;
  }
  EXPECT_TRUE(notes_of(config_with(R"({"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32,
      "attention_factor": 1.0, "beta_fast": 32, "beta_slow": 1, "truncate": true}})"))
                  .empty());
}

TEST(HuggingFaceConfig, TheOriginalContextMayStandBesideTheScaling) {
  EXPECT_EQ(value_of(config_with(R"({"original_max_position_embeddings": 32, "rope_scaling": {"rope_type": "yarn", "factor": 4.0}})"),
                     "llama.rope.scaling.original_context_length"),
            "32");
  const Result<HuggingFaceConfig> llama =
      read(config_with(R"({"original_max_position_embeddings": 8192, "rope_scaling": {"rope_type": "llama3", "factor": 8.0,
                      "low_freq_factor": 1.0, "high_freq_factor": 4.0}})"));
  ASSERT_TRUE(llama) << llama.error().message;
  EXPECT_EQ(llama->rope_factors.size(), 8u);
}

// DeepSeek-R1-0528-Qwen3-8B has the key attn_factor, whose value is 1 / (0.1 ln(4) + 1). With this factor, cosines and sines keep
// their size.
TEST(HuggingFaceConfig, AttnFactorMultipliesTheFormula) {
  const json config = config_with(R"({"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "attn_factor": 0.8782488562869419}})");
  EXPECT_EQ(value_of(config, "llama.rope.scaling.attn_factor"), "0.8782488562869419");
  const Result<HuggingFaceConfig> read_config = read(config);
  ASSERT_TRUE(read_config && read_config->notes.size() == 1);
  EXPECT_EQ(read_config->notes[0],
            "F/config.json: key 'rope_scaling.attn_factor' is multiplied by YaRN's factor, as in GGUF files of this model; the library "
            "transformers ignores it");
  EXPECT_EQ(refusal(config_with(R"({"rope_scaling": {"type": "yarn", "factor": 4.0, "attn_factor": 1, "attention_factor": 1}})")),
            "F/config.json: key 'rope_scaling.attn_factor': stands beside attention_factor; expected only one of them");
}

TEST(HuggingFaceConfig, UnknownKeysAreNoted) {
  const auto notes = [](const char* changes) { return notes_of(config_with(changes)); };
  EXPECT_TRUE(notes(R"({"torch_dtype": "bfloat16", "transformers_version": "5.1.0", "quantization": null})").empty());
  EXPECT_TRUE(notes(R"({"is_llama_config": true, "rope_interleaved": false, "transformers.js_config": {}})").empty());  // SmolLM2 has these
  EXPECT_EQ(notes(R"({"quantization": {"bits": 4}})"),
            std::vector<std::string>{"F/config.json: a key that is not known here and not used: 'quantization'"});
  EXPECT_EQ(notes(R"({"z\u0001": 1, "scale_emb": 12})"),
            std::vector<std::string>{"F/config.json: keys that are not known here and not used: 'scale_emb', 'z\\x01'"});
  EXPECT_EQ(notes(R"({"rope_scaling": {"type": "linear", "factor": 2, "foo": 1}})"),
            std::vector<std::string>{"F/config.json: a key that is not known here and not used: 'rope_scaling.foo'"});
  EXPECT_EQ(notes(R"({"a1":1,"a2":1,"a3":1,"a4":1,"a5":1,"a6":1,"a7":1,"a8":1,"a9":1})"),
            std::vector<std::string>{"F/config.json: keys that are not known here and not used: 'a1', 'a2', 'a3', 'a4', 'a5', 'a6', 'a7', "
                                     "'a8', ..."});
}

TEST(HuggingFaceConfig, ScalingOfRopeThatIsRefused) {
  const std::vector<std::pair<std::string, const char*>> cases = {
      {"'rope_scaling': found a float; expected an object", R"({"rope_scaling": 2.0})"},
      {"'rope_parameters': found an array; expected an object", R"({"rope_parameters": [2.0], "rope_scaling": null})"},
      {"'rope_scaling.type': expected a string: default, linear, yarn or llama3", R"({"rope_scaling": {"factor": 2.0}})"},
      {"'rope_scaling.rope_type': expected a string: default, linear, yarn or llama3", R"({"rope_scaling": {"rope_type": 2}})"},
      {"'rope_parameters.type': 'su' is not supported; supported: default, linear, yarn, llama3", R"({"rope_parameters": {"type": "su"}})"},
      {"'rope_parameters.rope_theta': found a boolean; expected a number", R"({"rope_parameters": {"rope_theta": true}})"},
      {"'rope_scaling.factor': found a string; expected a number", R"({"rope_scaling": {"type": "linear", "factor": "2"}})"},
      {"'rope_scaling.original_max_position_embeddings': found 32.5; expected an unsigned integer",
       R"({"rope_scaling": {"type": "yarn", "factor": 2, "original_max_position_embeddings": 32.5}})"},
      {"'rope_scaling.mscale_all_dim': found 1.0, which is not supported; expected attention_factor, or none",
       R"({"rope_scaling": {"type": "yarn", "factor": 2, "mscale_all_dim": 1.0}})"},
      {"'rope_scaling.truncate': found false, which is not supported; expected true",
       R"({"rope_scaling": {"type": "yarn", "factor": 2, "truncate": false}})"},
  };
  for (const auto& [message, changes] : cases) EXPECT_EQ(refusal(config_with(changes)), "F/config.json: key " + message) << changes;
}

// Returns a config with the RoPE scaling of Llama 3.1. `changes` replaces members of the scaling, and `others` members of the
// config.
json llama3(const char* changes, const char* others = "{}") {
  json out = config_with(others);
  out["rope_scaling"] = json::parse(R"({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                                        "original_max_position_embeddings": 8192})");
  out["rope_scaling"].update(json::parse(changes));
  return out;
}

// The expected divisors are the angles without scaling divided by the angles with scaling, which _compute_llama3_parameters of
// transformers 5 gave.
TEST(HuggingFaceConfig, Llama3DividesTheAnglesThatTurnSlowly) {
  const Result<HuggingFaceConfig> read_config = read(llama3("{}", R"({"head_dim": 16, "rope_theta": 500000.0})"));
  ASSERT_TRUE(read_config) << read_config.error().message;
  EXPECT_EQ(read_config->rope_key, "rope_scaling");
  const std::vector<double> expected{1, 1, 1, 1, 2.69453018, 8, 8, 8};
  ASSERT_EQ(read_config->rope_factors.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(read_config->rope_factors[i], expected[i], 1e-5 * expected[i]) << i;
  // If head_dim is missing, it is hidden_size divided by the number of heads. If rope_theta is missing, it is 10000.
  EXPECT_EQ(read(llama3("{}", R"({"rope_theta": null})"))->rope_factors, read(llama3("{}", R"({"head_dim": 16})"))->rope_factors);
}

TEST(HuggingFaceConfig, Llama3ThatIsRefused) {
  const std::string key = "F/config.json: key 'rope_scaling";
  for (const char* name : {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}) {
    const auto with = [&](const json& value) { return refusal(llama3(json{{name, value}}.dump().c_str())); };
    EXPECT_EQ(with(nullptr), concat(key, ".", name, "': expected a number"));
    EXPECT_EQ(with("8"), concat(key, ".", name, "': expected a number"));
    EXPECT_EQ(with(0), concat(key, ".", name, "': found 0; expected 0.001 to 1e9"));
    EXPECT_TRUE(with(2e9).ends_with("; expected 0.001 to 1e9")) << with(2e9);
  }
  EXPECT_EQ(refusal(llama3(R"({"high_freq_factor": 1.0})")), key + ".high_freq_factor': found 1; expected more than low_freq_factor, 1");
  const std::string needs = key + "': needs a head_dim from 2 to 4096 and a rope_theta from 1 to 1e30";
  for (const char* others :
       {R"({"head_dim": 1})", R"({"head_dim": 4098})", R"({"num_attention_heads": 0})", R"({"num_attention_heads": null})",
        R"({"hidden_size": null})", R"({"rope_theta": 0.5})", R"({"rope_theta": 1e31})"}) {
    EXPECT_EQ(refusal(llama3("{}", others)), needs) << others;
  }
}

TEST(HuggingFaceConfig, NamesOfTensorsThatAreNone) {
  for (const char* none :
       {"model.layers.1_mlp.up_proj.weight", "model.layers.", "model.layers.1", "blk.1.attn_q.weight", "model.norm.scale"}) {
    EXPECT_EQ(gguf_tensor_name(none), "") << none;
  }
  for (const char* unknown : {"blk.1.other.weight", "blk.01.attn_q.weight", "other.weight", "other"}) {
    EXPECT_EQ(hugging_face_tensor_name(unknown), unknown);
  }
}

}}  // namespace config_of_a_folder
