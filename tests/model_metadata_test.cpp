// SPDX-License-Identifier: Apache-2.0
//
// Tests of the metadata of model files. A value that does not fit is refused with a message that names the key. Keys that may be
// absent have defaults. Unknown keys are reported.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model_refusals.hpp"

namespace {

using namespace stilla;
using namespace stilla_test;

struct BadKey {
  std::string_view what;
  std::string_view key;  // without the architecture's prefix
  std::function<void(ModelFile&, const std::string&)> change;
  std::vector<std::string_view> parts;
};

TEST(ModelMetadata, BadMetadataIsNamed) {
  constexpr float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  const auto removed = [](ModelFile& f, const std::string& key) { f.remove_key(key); };
  const auto value = [](auto v) { return [v](ModelFile& f, const std::string& key) { f.set(key, v); }; };
  const auto u32 = [&](std::uint32_t v) { return value(v); };
  const auto u64 = [&](std::uint64_t v) { return value(v); };
  const auto boolean = [](ModelFile& f, const std::string& key) {
    f.set_raw(key, GgufValueType::boolean, GgufBuilder::raw<std::uint8_t>(1));
  };
  const auto negative = [](ModelFile& f, const std::string& key) {
    f.set_raw(key, GgufValueType::int32, GgufBuilder::raw<std::int32_t>(-2));
  };
  const auto array = [](ModelFile& f, const std::string& key) {
    f.set_raw(key, GgufValueType::array,
              GgufBuilder::raw<std::uint32_t>(4) + GgufBuilder::raw<std::uint64_t>(1) + GgufBuilder::raw<std::uint32_t>(8));
  };
  std::vector<BadKey> cases;
  for (const std::string_view count :
       {"block_count", "embedding_length", "feed_forward_length", "attention.head_count", "context_length", "attention.head_count_kv"}) {
    cases.push_back({"0", count, u32(0), {"found 0"}});
    cases.push_back({"huge", count, u32(0xffffffff), {"4294967295"}});
    cases.push_back({"2^64 - 1", count, u64(~std::uint64_t{0}), {"18446744073709551615"}});
    cases.push_back({"2^32", count, u64(std::uint64_t{1} << 32), {"4294967296"}});
    cases.push_back({"-2", count, negative, {"-2"}});
    cases.push_back({"float", count, value(8.0f), {"float32", "integer"}});
    cases.push_back({"string", count, value(std::string_view("8")), {"string", "integer"}});
    cases.push_back({"boolean", count, boolean, {"boolean", "integer"}});
    cases.push_back({"array", count, array, {"array", "integer"}});
    if (count != "attention.head_count_kv") cases.push_back({"missing", count, removed, {"missing"}});
  }
  cases.insert(cases.end(),
               {
                   {"3 of 8", "attention.head_count_kv", u32(3), {"8", "3"}},
                   {"more than queries", "attention.head_count_kv", u32(16), {"8", "16"}},
                   {"NaN", "attention.layer_norm_rms_epsilon", value(nan), {"nan"}},
                   {"negative", "attention.layer_norm_rms_epsilon", value(-1e-6f), {"-1e-06"}},
                   {"infinite", "attention.layer_norm_rms_epsilon", value(infinity), {"inf"}},
                   {"1", "attention.layer_norm_rms_epsilon", value(1.0f), {"found 1"}},
                   {"an integer", "attention.layer_norm_rms_epsilon", u32(0), {"uint32", "float"}},
                   {"missing", "attention.layer_norm_rms_epsilon", removed, {"missing"}},
                   {"NaN", "rope.freq_base", value(nan), {"nan"}},
                   {"0", "rope.freq_base", value(0.0f), {"found 0"}},
                   {"negative", "rope.freq_base", value(-1e4f), {"-1"}},
                   {"infinite", "rope.freq_base", value(infinity), {"inf"}},
                   {"string", "rope.freq_base", value(std::string_view("1e6")), {"string", "float"}},
                   {"0", "rope.dimension_count", u32(0), {"found 0"}},
                   {"odd", "rope.dimension_count", u32(31), {"31"}},
                   {"too many", "rope.dimension_count", u32(34), {"34", "32"}},
                   {"no multiple of 4", "attention.key_length", u32(30), {"30", "multiple of 4"}},
                   {"too large", "attention.key_length", u32(512), {"512", "256"}},
                   {"0", "attention.key_length", u32(0), {"found 0"}},
                   {"longrope", "rope.scaling.type", value(std::string_view("longrope")), {"longrope", "linear, yarn"}},
                   {"control bytes", "rope.scaling.type", value(std::string_view("a\nb\x1b[31m")), {"\\x0a", "\\x1b", "not supported"}},
                   {"a number", "rope.scaling.type", u32(1), {"uint32", "string"}},
                   {"0", "attention.value_length", u32(0), {"found 0", "expected 1 to 4096"}},
                   {"NaN", "rope.scaling.attn_factor", value(nan), {"nan", "expected 0.001 to 1000"}},
               });
  for (const BadKey& bad : cases) {
    const std::string key = "qwen2." + std::string(bad.key);
    SCOPED_TRACE(key + ": " + std::string(bad.what));
    ModelFile file = ModelFile::tiny("tiny-qwen2");
    bad.change(file, key);
    const LoadedModel model(file);
    ASSERT_FALSE(model);
    expect_one_line(model.error(), {"memory.gguf", "'" + key + "'"});
    for (const std::string_view part : bad.parts) expect_one_line(model.error(), {part});
  }
}

// A number in the metadata, such as the number of layers, is changed to another one that is valid by itself but does not fit the
// model's tensors. The message names the first tensor or key that disagrees.
TEST(ModelMetadata, DimensionsMustFitTheTensors) {
  const auto changed = [](std::string_view key, std::uint32_t value) {
    ModelFile file = ModelFile::tiny("tiny-qwen2");
    file.set("qwen2." + std::string(key), value);
    return file;
  };
  expect_refused(changed("block_count", 3), {"'blk.2.attn_norm.weight'", "missing"});
  expect_refused(changed("block_count", 4096), {"'blk.2.attn_norm.weight'", "missing"});
  expect_refused(changed("embedding_length", 128), {"'token_embd.weight'", "128"});
  expect_refused(changed("block_count", 1), {"'blk.1.attn_norm.weight'", "layer 1", "'qwen2.block_count' is 1"});
  expect_refused(changed("embedding_length", 1u << 20), {"'qwen2.attention.key_length'", "131072"});
  expect_refused(changed("attention.value_length", 64), {"'qwen2.attention.value_length'", "found 64", "32"});
  expect_refused(changed("attention.head_count", 6), {"'qwen2.attention.head_count'", "found 6 heads", "256"});
  expect_refused(changed("attention.head_count", 7), {"'qwen2.attention.head_count_kv'", "7", "2"});
  expect_refused(changed("feed_forward_length", 256), {"'blk.0.ffn_gate.weight'", "256"});
  expect_refused(changed("feed_forward_length", 1u << 22), {"'blk.0.ffn_gate.weight'", "4194304"});
  expect_refused(changed("attention.head_count", 16), {"'blk.0.attn_k.weight'"});
  expect_refused(changed("attention.head_count_kv", 4), {"'blk.0.attn_k.weight'", "128"});
  expect_refused(changed("attention.head_count_kv", 8), {"'blk.0.attn_k.weight'", "256"});
  expect_refused(changed("attention.key_length", 64), {"'blk.0.attn_q.weight'", "512"});
}

TEST(ModelMetadata, RopeScaling) {
  ModelFile file = ModelFile::tiny("tiny-qwen2");
  const LoadedModel plain(file);
  ASSERT_TRUE(plain);
  file.set("qwen2.rope.scaling.type", "yarn");
  expect_refused(file, {"'qwen2.rope.scaling.factor'", "missing"});
  for (const float wrong : {0.5f, -1.0f, 0.0f, std::nanf(""), HUGE_VALF}) {
    file.set("qwen2.rope.scaling.factor", wrong);
    expect_refused(file, {"'qwen2.rope.scaling.factor'", "expected 1 to 1e+06"});
  }
  file.set("qwen2.rope.scaling.factor", 4.0f);
  file.set("qwen2.rope.scaling.original_context_length", std::uint32_t{0});
  expect_refused(file, {"'qwen2.rope.scaling.original_context_length'", "found 0"});
  file.set("qwen2.rope.scaling.original_context_length", std::uint32_t{64});
  {
    const LoadedModel yarn(file);
    ASSERT_TRUE(yarn) << yarn.error();
    EXPECT_NEAR(yarn->rope_frequencies().magnitude(), 0.1 * std::log(4.0) + 1.0, 1e-15);
    EXPECT_NEAR(yarn->rope_frequencies().radians(15), plain->rope_frequencies().radians(15) / 4, 1e-15);
    EXPECT_EQ(yarn->rope_frequencies().radians(0), plain->rope_frequencies().radians(0));
    EXPECT_NE(yarn->identity(), plain->identity());
  }
  file.set("qwen2.rope.scaling.attn_factor", 1.0f);
  for (const std::string name : {"yarn_attn_factor", "yarn_ext_factor", "yarn_beta_fast", "yarn_beta_slow"}) {
    ModelFile bad = file;
    bad.set("qwen2.rope.scaling." + name, std::nanf(""));
    expect_refused(bad, {concat("'qwen2.rope.scaling.", name, "'"), "nan"});
  }
  ModelFile low_base = file;
  low_base.set("qwen2.rope.freq_base", 1.0f);
  expect_refused(low_base, {"'qwen2.rope.scaling.type'", "yarn needs a 'rope.freq_base' above 1; found 1"});
  {
    // If a file does not give the original context, the file's context is used. A yarn_ext_factor of -1 means that YaRN's formula
    // is used.
    ModelFile as_trained = file;
    as_trained.set("qwen2.rope.scaling.original_context_length", std::uint32_t{512});
    ModelFile without = file;
    without.remove_key("qwen2.rope.scaling.original_context_length");
    without.set("qwen2.rope.scaling.yarn_ext_factor", -1.0f);
    EXPECT_EQ(LoadedModel(without)->identity(), LoadedModel(as_trained)->identity());
  }
  file.set("qwen2.rope.scaling.type", "linear");
  const LoadedModel linear(file);
  ASSERT_TRUE(linear) << linear.error();
  EXPECT_EQ(linear->rope_frequencies().magnitude(), 1.0);
  for (std::size_t i = 0; i < 16; ++i) {
    EXPECT_EQ(linear->rope_frequencies().radians(i), plain->rope_frequencies().radians(i) / 4);
  }
}

TEST(ModelMetadata, LinearScalingOfRope) {
  const LoadedModel plain("tiny-qwen2");
  ModelFile file = ModelFile::tiny("tiny-qwen2");
  file.set("qwen2.rope.scaling.type", "linear");
  ModelFile old = file;
  old.set("qwen2.rope.scale_linear", 4.0f);  // the key that llama.cpp wrote before it wrote rope.scaling.factor
  const LoadedModel scaled(old);
  ASSERT_TRUE(scaled) << scaled.error();
  EXPECT_EQ(scaled->rope_frequencies().radians(3), plain->rope_frequencies().radians(3) / 4);
  for (const float factor : {4.0f, 2.0f}) {  // both keys
    ModelFile both = old;
    both.set("qwen2.rope.scaling.factor", factor);
    const LoadedModel twice(both);
    ASSERT_EQ(static_cast<bool>(twice), factor == 4.0f);
    if (!twice)
      expect_one_line(twice.error(), {"key 'qwen2.rope.scale_linear'", "found 4, and 'qwen2.rope.scaling.factor' is 2; expected the same"});
  }
  file.set("qwen2.rope.scaling.factor", 1.0f);  // a factor of 1 does not scale
  const LoadedModel by_1(file);
  ASSERT_TRUE(by_1) << by_1.error();
  EXPECT_EQ(by_1->identity(), plain->identity());
}

// A saved session can be continued only with the model that saved it. So a model's identity changes with everything that changes
// the logits for a text's ids, and with everything that changes which text the ids stand for.
TEST(ModelMetadata, WhatChangesResultsChangesTheIdentity) {
  for (const std::string& tiny : tiny_models) {
    SCOPED_TRACE(tiny);
    const std::string epsilon = concat(tiny.substr(5), ".attention.layer_norm_rms_epsilon"), tokens = "tokenizer.ggml.tokens";
    ModelFile file = ModelFile::tiny(tiny);
    file.remove_tensor("output.weight");
    const ModelFile::Tensor head = file.tensor("token_embd.weight");
    file.tensors.push_back(head);  // the head becomes a tensor of its own, so that a change of the embedding leaves it as it is
    file.tensors.back().name = "output.weight";
    const LoadedModel plain(file);
    ASSERT_TRUE(plain) << plain.error();
    const auto expect_other = [&](std::string_view what, const std::function<void(ModelFile&)>& change) {
      ModelFile changed = file;
      change(changed);
      const LoadedModel other(changed);
      ASSERT_TRUE(other) << what << ": " << other.error();
      EXPECT_NE(other->identity(), plain->identity()) << what;
    };
    expect_other("the norm's epsilon", [&](ModelFile& f) { f.set(epsilon, 0.25f); });
    expect_other("a weight of the embedding", [](ModelFile& f) { f.tensor("token_embd.weight").bytes[1] ^= std::byte{0x10}; });
    expect_other("a rotation", [](ModelFile& f) { f.set(packed_rotation_key, "heads"); });
    const auto found = std::find_if(file.keys.begin(), file.keys.end(), [&](const ModelFile::Key& k) { return k.name == tokens; });
    ASSERT_NE(found, file.keys.end());
    const std::string a("\1\0\0\0\0\0\0\0a", 9), b("\1\0\0\0\0\0\0\0b", 9);  // two tokens in the file: their lengths and texts
    const std::size_t at_a = found->value.find(a), at_b = found->value.find(b);
    ASSERT_TRUE(at_a != std::string::npos && at_b != std::string::npos);
    expect_other("two tokens that change places", [&](ModelFile& f) {
      std::string& value = f.keys[static_cast<std::size_t>(found - file.keys.begin())].value;
      std::swap(value[at_a + 8], value[at_b + 8]);
    });
    ModelFile renamed = file;
    renamed.set("general.name", "another name");
    EXPECT_EQ(LoadedModel(renamed)->identity(), plain->identity());
  }
  ModelFile llama = ModelFile::tiny("tiny-llama");
  const LoadedModel plain(llama);
  llama.set(half_split_key, true);
  const LoadedModel half_split(llama);
  ASSERT_TRUE(plain && half_split) << half_split.error();
  EXPECT_NE(half_split->identity(), plain->identity()) << "the layout of RoPE";
}

// Tests keys whose names do not begin with the architecture's name.
TEST(ModelMetadata, GeneralKeysOfTheWrongTypeAreNamed) {
  for (const std::string_view key : {std::string_view("general.name"), half_split_key, packed_rotation_key}) {
    ModelFile file = ModelFile::tiny("tiny-qwen2");
    file.set(key, std::uint32_t{1});
    expect_refused(file, {concat("'", key, "'"), "found uint32; expected a ", key == half_split_key ? "boolean" : "string"});
  }
}

TEST(ModelMetadata, NumbersByLayerAreToldInRuns) {
  EXPECT_EQ(detail::by_layer_text({}), "");
  EXPECT_EQ(detail::by_layer_text({8}), "8 in layer 0");
  EXPECT_EQ(detail::by_layer_text({8, 8, 8, 8, 4}), "8 in layers 0 to 3, 4 in layer 4");
  EXPECT_EQ(detail::by_layer_text({1, 2, 1, 2, 1, 2, 1, 2}),
            "1 in layer 0, 2 in layer 1, 1 in layer 2, 2 in layer 3, 1 in layer 4, 2 in layer 5, ...");
}

TEST(ModelMetadata, UnknownArchitecturesAreNamed) {
  const std::pair<std::string_view, std::string_view> cases[] = {{"gpt2", "OpenAI's GPT-2"},
                                                                 {"", "''"},
                                                                 {"Qwen2", "'Qwen2' is not supported"},
                                                                 {"qwen2moe", "a mixture of experts"},
                                                                 {"qwen3moe", "a mixture of experts"},
                                                                 {"newmoe", "a mixture of experts"},
                                                                 {"deepseek2", "R1 itself"},
                                                                 {"gemma3", "Gemma 3"},
                                                                 {"bert", "an encoder"},
                                                                 {"a\x1b[2Jb", "a\\x1b[2Jb"}};
  for (const auto& [name, what] : cases) {
    ModelFile file = ModelFile::tiny("tiny-qwen2");
    file.set("general.architecture", name);
    expect_refused(file, {"'general.architecture'", what, "not supported", "supported: qwen2, qwen3, llama"});
  }
  ModelFile file = ModelFile::tiny("tiny-qwen2");
  file.set("general.architecture", std::uint32_t{2});
  expect_refused(file, {"'general.architecture'", "uint32", "string"});
  file.remove_key("general.architecture");
  expect_refused(file, {"'general.architecture'", "missing"});
  file.set("general.architecture", "llama");
  expect_refused(file, {"'llama.block_count'", "missing"});  // the other keys still begin with qwen2
}

// Tests of files with keys or tensors that the architecture does not know -----------------------------------------------------

TEST(ModelMetadata, AMixtureOfExpertsIsRefusedByThatName) {
  ModelFile file = ModelFile::tiny("tiny-llama");
  file.set("llama.expert_count", 0u);
  file.set("llama.expert_used_count", 0u);
  EXPECT_TRUE(LoadedModel(file));
  file.set("llama.expert_count", 8u);
  file.set("llama.feed_forward_length", std::vector<std::uint32_t>{1, 2});  // the message names the experts, although this key is wrong too
  expect_refused(file, {"'llama.expert_count'", "found 8", "mixture of experts", "Mixtral"});
}

TEST(ModelMetadata, KeysThatChangeResultsAreNamed) {
  for (const std::string& tiny : tiny_models) {
    const std::string architecture = tiny.substr(5);
    const auto with = [&](std::string_view suffix, auto value) {
      ModelFile file = ModelFile::tiny(tiny);
      file.set(concat(architecture, ".", suffix), value);
      return file;
    };
    for (const NeutralKey& key : neutral_keys) {
      SCOPED_TRACE(tiny + " " + std::string(key.suffix));
      const std::string quoted = concat("'", architecture, ".", key.suffix, "'");
      const auto neutral = static_cast<float>(key.neutral);
      EXPECT_TRUE(LoadedModel(with(key.suffix, neutral)) || key.suffix == "expert_count") << LoadedModel(with(key.suffix, neutral)).error();
      EXPECT_TRUE(LoadedModel(with(key.suffix, static_cast<std::uint32_t>(neutral))));
      if (key.suffix == "expert_count") continue;
      EXPECT_TRUE(LoadedModel(with(key.suffix, neutral != 0.0f)));
      ModelFile negative = ModelFile::tiny(tiny);
      negative.set_raw(concat(architecture, ".", key.suffix), GgufValueType::int32, GgufBuilder::raw<std::int32_t>(-1));
      expect_refused(negative, {quoted, "found -1"});
      for (const float other : {0.5f, -1.0f, 2.0f, 1e-20f, 3e38f, std::nanf(""), HUGE_VALF})
        expect_refused(with(key.suffix, other), {quoted});
      expect_refused(with(key.suffix, neutral == 0.0f), {quoted, std::string(key.effect)});
      expect_refused(with(key.suffix, "x"), {quoted, "string"});
      expect_refused(with(key.suffix, std::vector<std::uint32_t>{0, 0}), {quoted, "array"});
    }
    const auto usual_scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(LoadedModel(tiny)->config().head_dim)));
    EXPECT_TRUE(LoadedModel(with("attention.scale", usual_scale)));
    for (const float other : {1.0f, 2 * usual_scale, 0.999f * usual_scale, std::nanf("")}) {
      expect_refused(with("attention.scale", other), {concat("'", architecture, ".attention.scale'"), "scales the scores"});
    }
    EXPECT_TRUE(LoadedModel(with("attention.sliding_window", 0u)));
    EXPECT_TRUE(LoadedModel(with("attention.sliding_window", 512u)));
    expect_refused(with("attention.sliding_window", 511u), {concat("'", architecture, ".attention.sliding_window'"), "window", "512"});
    expect_refused(with("attention.sliding_window", std::vector<std::uint32_t>{16, 0}), {"sliding_window'", "array"});
    expect_refused(with("rope.dimension_sections", std::vector<std::uint32_t>{16, 24, 24, 0}), {"rope.dimension_sections'", "M-RoPE"});
    expect_refused(with("rope.scaling.alpha", 1000.0f), {"rope.scaling.alpha'", "base"});
    for (const char* harmless : {"vocab_size", "tensor_data_layout", "rope.scaling.finetuned"}) {
      const LoadedModel model(with(harmless, 1u));
      ASSERT_TRUE(model) << model.error();
      EXPECT_TRUE(model->notes().empty()) << model->notes().front();
    }
  }
}

TEST(ModelMetadata, KeysThatNobodyKnowsAreTold) {
  ModelFile file = ModelFile::tiny("tiny-qwen2");
  {
    const LoadedModel model(file);
    ASSERT_TRUE(model) << model.error();
    EXPECT_TRUE(model->notes().empty());
  }
  file.set("qwen2.attention.future_thing", 0.5f);
  file.set("qwen3.attention.scale", 3.0f);  // a key of another architecture
  file.set("general.future_thing", 3.0f);
  {
    const LoadedModel model(file);
    ASSERT_TRUE(model) << model.error();
    ASSERT_EQ(model->notes().size(), 1u);
    EXPECT_EQ(model->notes()[0], "memory.gguf: a key that is not known here and not used: 'qwen2.attention.future_thing'");
  }
  for (int i = 0; i < 20; ++i) file.set(concat("qwen2.x", i, "\n\x1b"), 1u);
  const LoadedModel model(file);
  ASSERT_TRUE(model) << model.error();
  ASSERT_EQ(model->notes().size(), 1u);
  expect_one_line(model->notes()[0],
                  {"keys that are not known here", "'qwen2.attention.future_thing', 'qwen2.x0\\x0a\\x1b'", "'qwen2.x6", ", ..."});
  EXPECT_EQ(model->notes()[0].find("qwen2.x7"), std::string::npos);
}

TEST(ModelMetadata, CountsMayBeGivenForEachLayer) {
  for (const std::string& tiny : tiny_models) {
    const std::string architecture = tiny.substr(5);
    const LoadedModel plain(tiny);
    ASSERT_TRUE(plain) << plain.error();
    const ModelConfig& c = plain->config();
    for (const auto& [suffix, number] :
         {std::pair{"attention.head_count", c.n_heads}, {"attention.head_count_kv", c.n_kv_heads}, {"feed_forward_length", c.ffn}}) {
      SCOPED_TRACE(tiny + " " + suffix);
      const auto n = static_cast<std::uint32_t>(number);
      const std::string key = concat(architecture, ".", suffix), quoted = concat("'", key, "'");
      ModelFile file = ModelFile::tiny(tiny);
      file.set(key, std::vector<std::uint32_t>{n, n});
      const LoadedModel model(file);
      ASSERT_TRUE(model) << model.error();
      EXPECT_EQ(model->identity(), plain->identity());
      file.set(key, std::vector<std::uint32_t>{n, 2 * n});
      expect_refused(file, {quoted, concat(n, " in layer 0, ", 2 * n, " in layer 1"), "differ"});
      for (const std::vector<std::uint32_t>& wrong : {std::vector<std::uint32_t>{}, {n}, {n, n, n}}) {
        file.set(key, wrong);
        expect_refused(file, {quoted, concat("an array of ", wrong.size()), "2 layers"});
      }
      file.set(key, std::vector<std::uint32_t>{0, 0});
      expect_refused(file, {quoted, "found 0"});
      file.set(key, std::vector<std::uint32_t>{0xffffffff, 0xffffffff});
      expect_refused(file, {quoted, "4294967295"});
    }
  }
}

// Some GGUF files only belong to a model, for example adapters or importance matrices. The key general.type of such a file says so,
// and the file is refused. Files of all other types are accepted.
TEST(ModelMetadata, PartsOfModelsAreNamed) {
  ModelFile file = ModelFile::tiny("tiny-qwen2");
  for (const char* type : {"adapter", "imatrix", "mmproj", "vocab"}) {
    file.set("general.type", type);
    expect_refused(file, {"'general.type'", concat("found '", type, "'"), "expected 'model'"});
  }
  for (const char* type : {"model", "other"}) {
    file.set("general.type", type);
    EXPECT_TRUE(LoadedModel(file)) << type;
  }
}

TEST(ModelMetadata, LongContexts) {
  ModelFile file = ModelFile::tiny("tiny-qwen2");
  file.set("qwen2.context_length", 4194304u);
  const LoadedModel model(file);
  ASSERT_TRUE(model) << model.error();
  EXPECT_EQ(model->config().context, 4194304u);
  file.set("qwen2.context_length", static_cast<std::uint32_t>(max_context) + 1);
  expect_refused(file, {"'qwen2.context_length'", "16777217"});
}

// The user's choice of how to scale positions (RopeChoice) replaces what the file says.
TEST(ModelMetadata, RopeByChoice) {
  using Type = RopeScaling::Type;
  ModelFile file = ModelFile::tiny("tiny-qwen2");
  ModelFile scaled = file;
  scaled.set("qwen2.rope.scaling.type", "yarn");
  scaled.set("qwen2.rope.scaling.factor", 4.0f);
  scaled.set("qwen2.rope.scaling.original_context_length", 128u);
  const LoadedModel plain(file), yarn(scaled);
  ASSERT_TRUE(plain && yarn) << plain.error() << yarn.error();
  const auto chosen = [](const ModelFile& from, const RopeChoice& choice, const LoadedModel& as, std::size_t context) {
    const LoadedModel model(from, {}, {}, choice);
    ASSERT_TRUE(model) << model.error();
    EXPECT_EQ(model->identity(), as->identity());
    EXPECT_EQ(model->config().context, context);
  };
  chosen(file, {}, plain, 512);
  chosen(file, {.type = Type::yarn, .factor = 4.0, .original_context = 128}, yarn, 512);
  chosen(scaled, {.type = Type::none}, plain, 512);
  chosen(file, {.type = Type::none}, plain, 512);
  chosen(scaled, {.type = Type::yarn}, yarn, 512);
  ModelFile added = file;  // a user added the keys of YaRN to this file, but left context_length at 512
  added.set("qwen2.rope.scaling.type", "yarn");
  added.set("qwen2.rope.scaling.factor", 4.0f);
  added.set("qwen2.rope.scaling.original_context_length", 512u);
  chosen(added, {}, LoadedModel(added), 2048);
  chosen(added, {.type = Type::none}, plain, 512);
  for (const auto& [factor, context] : {std::pair{2.0f, 512u}, {40.0f, 512u}}) {
    added.set("qwen2.rope.scaling.factor", factor);
    chosen(added, {}, LoadedModel(added), static_cast<std::size_t>(factor) * context);
  }
  chosen(file, {.factor = 1.0}, plain, 512);
  ModelFile longer = scaled;
  longer.set("qwen2.rope.scaling.original_context_length", 256u);
  chosen(scaled, {.original_context = 256}, LoadedModel(longer), 1024);
  ModelFile scaled_1 = scaled;  // a file may name yarn and scale by 1
  scaled_1.set("qwen2.rope.scaling.factor", 1.0f);
  chosen(scaled_1, {}, LoadedModel(scaled_1), 512);
  chosen(file, {.type = Type::linear, .factor = 1.0}, LoadedModel(file, {}, {}, {.type = Type::linear, .factor = 1.0}), 512);
  ModelFile scaled_8 = scaled;
  scaled_8.set("qwen2.rope.scaling.factor", 8.0f);
  chosen(scaled, {.factor = 8.0}, LoadedModel(scaled_8), 1024);
  ModelFile linear = file;
  linear.set("qwen2.rope.scaling.type", "linear");
  linear.set("qwen2.rope.scaling.factor", 2.5f);
  chosen(file, {.factor = 2.5}, LoadedModel(linear), 1280);
  chosen(file, {.type = Type::linear, .factor = 2.5}, LoadedModel(linear), 1280);
  ModelFile base = file;
  base.set("qwen2.rope.freq_base", 5000.0f);
  chosen(file, {.base = 5000.0}, LoadedModel(base), 512);

  const std::pair<RopeChoice, std::string_view> wrong[] = {
      {{.type = Type::yarn}, "factor"},
      {{.type = Type::linear}, "factor"},
      {{.type = Type::none, .factor = 2.0}, "contradict"},
      {{.factor = 0.5}, "0.5"},
      {{.factor = std::nan("")}, "nan"},
      {{.factor = HUGE_VAL}, "inf"},
      {{.factor = 2.0, .original_context = 0}, "0"},
      {{.original_context = 64}, "an original context of 64 is used only with scaling"},
      {{.type = Type::none, .original_context = 64}, "an original context of 64 and no scaling contradict each other"},
      {{.factor = 2.0, .original_context = max_context + 1}, "16777217"},
      {{.base = 0.5}, "0.5"},
      {{.base = 1e31}, "1e+31"},
      {{.base = std::nan("")}, "nan"},
      {{.type = Type::yarn, .factor = 2.0, .base = 1.0}, "base above 1"},
  };
  for (const auto& [choice, part] : wrong) {
    const LoadedModel model(file, {}, {}, choice);
    ASSERT_FALSE(model) << part;
    expect_one_line(model.error(), {"RoPE", part});
  }
}

// A model file may have factors that RoPE's cosines and sines are multiplied by (their magnitude). The result is that of
// llama.cpp: attn_factor counts whatever the scaling of positions is, and yarn_attn_factor only with YaRN. Old files have a
// factor for the scaling of positions and do not name its type.
TEST(ModelMetadata, RopeFactorsOfOldAndNewFiles) {
  ModelFile file = ModelFile::tiny("tiny-qwen3");
  const auto frequencies = [](const ModelFile& f) {
    const LoadedModel model(f);
    EXPECT_TRUE(model) << model.error();
    return model ? model->rope_frequencies() : RopeFrequencies();
  };
  const RopeFrequencies plain = frequencies(file);
  ModelFile old = file;
  old.set("qwen3.rope.scale_linear", 4.0f);
  EXPECT_NEAR(frequencies(old).radians(3), plain.radians(3) / 4, 1e-15);
  ModelFile untyped = file;
  untyped.set("qwen3.rope.scaling.factor", 4.0f);
  EXPECT_NEAR(frequencies(untyped).radians(3), plain.radians(3) / 4, 1e-15);
  untyped.set("qwen3.rope.scaling.type", "none");
  EXPECT_EQ(frequencies(untyped).radians(3), plain.radians(3));
  file.set("qwen3.rope.scaling.attn_factor", 1.5f);
  EXPECT_EQ(frequencies(file).magnitude(), 1.5);
  file.set("qwen3.rope.scaling.type", "yarn");
  file.set("qwen3.rope.scaling.factor", 4.0f);
  file.set("qwen3.rope.scaling.original_context_length", 128u);
  EXPECT_NEAR(frequencies(file).magnitude(), 1.5 * (0.1 * std::log(4.0) + 1.0), 1e-15);
  // The factor 0.878 for cosines and sines is in the file of DeepSeek-R1-0528-Qwen3-8B. It cancels the factor that YaRN's formula
  // gives.
  for (const char* key : {"qwen3.rope.scaling.attn_factor", "qwen3.rope.scaling.yarn_attn_factor"}) {
    ModelFile r1 = file;
    r1.remove_key("qwen3.rope.scaling.attn_factor");
    r1.set(key, 0.8782488562869419f);
    EXPECT_NEAR(frequencies(r1).magnitude(), 1.0, 1e-6) << key;
  }
  file.set("qwen3.rope.scaling.yarn_ext_factor", 0.5f);
  expect_refused(file, {"yarn_ext_factor'", "0.5"});
}

TEST(ModelMetadata, OptionalKeysHaveTheirDefaults) {
  ModelFile file = ModelFile::tiny("tiny-qwen2");
  for (const char* key : {"general.name", "qwen2.rope.freq_base", "qwen2.rope.dimension_count"}) file.remove_key(key);
  file.set("qwen2.rope.scaling.type", "none");
  const LoadedModel model(file);
  ASSERT_TRUE(model) << model.error();
  EXPECT_EQ(model->config().name, "");
  EXPECT_EQ(model->config().rope_base, 10000.0f);
  EXPECT_EQ(model->config().rotary_dim, 32u);
  EXPECT_EQ(model->config().head_dim, 32u);
  EXPECT_EQ(model->config().vocabulary, 544u);

  file.set("general.name", "a\nb\x1b");
  const LoadedModel named(file);
  ASSERT_TRUE(named) << named.error();
  EXPECT_EQ(named->config().name.find_first_of("\n\x1b"), std::string::npos);
}

TEST(ModelMetadata, RopeFactorsAreChecked) {
  const auto with = [](const std::vector<float>& factors) {
    ModelFile file = ModelFile::tiny("tiny-llama");
    file.add_floats("rope_freqs.weight", {factors.size()}, factors);
    return file;
  };
  std::vector<float> factors(16, 1.0f);
  EXPECT_TRUE(LoadedModel(with(factors)));
  for (const float bad : {0.0f, -1.0f, std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    factors[7] = bad;
    expect_refused(with(factors), {"'rope_freqs.weight'"});
  }
  expect_refused(with(std::vector<float>(15, 1.0f)), {"'rope_freqs.weight'", "15", "16"});
}

}  // namespace
