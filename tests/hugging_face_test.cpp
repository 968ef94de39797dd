// SPDX-License-Identifier: Apache-2.0
//
// Tests of model folders as transformers saves them. golden/make_hugging_face_folders.py made the folders in golden/hugging_face,
// which are called golden folders here. Logits and token ids equal those of transformers. A packed file of a folder holds the same
// model. A folder that cannot be used is refused, and the message names the file and the key.
#include <stilla/io/hugging_face.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <iterator>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <stilla/io/open_model_source.hpp>
#include <stilla/io/packed_file.hpp>
#include <stilla/text/source_tokenizer.hpp>

#include "model_util.hpp"
#include "read_file.hpp"

namespace {

using namespace stilla;
using namespace stilla_test;
namespace fs = std::filesystem;
using nlohmann::json;

// Returns the folder that holds the golden folders. If STILLA_HUGGING_FACE_FOLDERS is set, it names another one, which the same
// generator filled.
fs::path golden_folder() {
  const char* other = std::getenv("STILLA_HUGGING_FACE_FOLDERS");
  return other != nullptr ? fs::path(other) : fs::path(test_data) / "hugging_face";
}
std::vector<std::string> golden_folders() {
  std::vector<std::string> out;
  for (const auto& entry : fs::directory_iterator(golden_folder())) {
    if (entry.is_directory()) out.push_back(entry.path().filename().string());
  }
  std::sort(out.begin(), out.end());
  return out;
}

Result<Model> load(const fs::path& path, std::optional<FormatId> format = {}) {
  Result<HuggingFaceFolder> folder = HuggingFaceFolder::open(path.string());
  if (!folder) return folder.error();
  return Model::load(std::move(*folder), {}, {}, format);
}

const SessionOptions exact{0, KvType::f32, {}, 512};

// Stilla knows every key that transformers writes into a folder, so it has no notes about these folders.
TEST(HuggingFace, FoldersOfTransformersHaveNoNotes) {
  for (const auto& entry : fs::directory_iterator(golden_folder())) {
    if (!entry.is_directory()) continue;
    const Result<HuggingFaceFolder> folder = HuggingFaceFolder::open(entry.path().string());
    ASSERT_TRUE(folder) << folder.error().message;
    EXPECT_TRUE(folder->notes().empty()) << folder->notes()[0];
  }
}

TEST(HuggingFace, LogitsAreThoseOfTransformers) {
  ASSERT_GE(golden_folders().size(), 3u);
  for (const std::string& name : golden_folders()) {
    const auto records = read_records((golden_folder() / (name + ".bin")).string());
    const Result<Model> model = load(golden_folder() / name);
    ASSERT_TRUE(model) << name << ": " << model.error().message;
    const std::vector<float> logits = all_logits(*model, as_ids(records.at(name + "/ids")), exact);
    EXPECT_LT(nmse(logits, records.at(name + "/logits")), 1e-6) << name;
  }
}

TEST(HuggingFace, TokenIdsAreThoseOfTransformers) {
  const std::string text = read_file(golden_folder() / "text.txt");
  for (const std::string& name : golden_folders()) {
    const auto records = read_records((golden_folder() / (name + ".bin")).string());
    const Result<HuggingFaceFolder> folder = HuggingFaceFolder::open((golden_folder() / name).string());
    ASSERT_TRUE(folder) << folder.error().message;
    const Result<Tokenizer> tokenizer = read_tokenizer(*folder);
    ASSERT_TRUE(tokenizer) << name << ": " << tokenizer.error().message;
    EXPECT_EQ(tokenizer->encode(text), as_ids(records.at(name + "/text-ids"))) << name;
    const bool is_llama3 = name == "llama" || name == "llama-linear";
    EXPECT_EQ(tokenizer->add_bos(), is_llama3) << name;
    const std::vector<std::string> llama3_ends{"<|end_of_text|>", "<|eot_id|>", "<|eom_id|>"}, chatml_ends{"<|im_end|>", "<|endoftext|>"};
    for (const std::string& end : is_llama3 ? llama3_ends : chatml_ends) {
      const auto id = tokenizer->find(end);
      ASSERT_TRUE(id) << end;
      EXPECT_TRUE(tokenizer->is_end_of_generation(*id)) << name << " " << end;
      EXPECT_TRUE(tokenizer->is_control(*id));
    }
    EXPECT_FALSE(tokenizer->is_control(*tokenizer->find("<think>")));
    EXPECT_EQ(folder->chat_template()->find("{% for message in messages %}"), 0u);
    EXPECT_EQ(folder->vocabulary()->nfc, name.starts_with("qwen"));
  }
}

TEST(HuggingFace, TensorNamesGoBothWays) {
  for (const auto& [gguf, original] : {std::pair{"blk.11.attn_q.weight", "model.layers.11.self_attn.q_proj.weight"},
                                       {"blk.0.attn_k.bias", "model.layers.0.self_attn.k_proj.bias"},
                                       {"blk.3.attn_q_norm.weight", "model.layers.3.self_attn.q_norm.weight"},
                                       {"blk.3.ffn_norm.weight", "model.layers.3.post_attention_layernorm.weight"},
                                       {"token_embd.weight", "model.embed_tokens.weight"},
                                       {"output.weight", "lm_head.weight"}}) {
    EXPECT_EQ(gguf_tensor_name(original), gguf);
    EXPECT_EQ(hugging_face_tensor_name(gguf), original);
  }
  for (const char* none :
       {"", "lm_head", "model.layers.0", "model.layers.00.mlp.up_proj.weight", "model.layers.-1.mlp.up_proj.weight",
        "model.layers.99999999999999999999.mlp.up_proj.weight", "model.layers.0.mlp.up_proj.scale", "model.layers.0.mlp.weight"}) {
    EXPECT_EQ(gguf_tensor_name(none), "") << none;
  }
}

class HuggingFaceFiles : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::path(::testing::TempDir()) / "stilla_hugging_face_test";
    fs::remove_all(root_);
    fs::create_directories(root_);
  }
  void TearDown() override { fs::remove_all(root_); }

  // Makes a copy of a golden folder, which the test may change, and returns its path.
  fs::path copy(const std::string& name) {
    const fs::path to = root_ / name;
    fs::remove_all(to);
    fs::copy(golden_folder() / name, to);
    return to;
  }
  static void change(const fs::path& file, const std::function<void(json&)>& edit) {
    json content = json::parse(read_file(file));
    edit(content);
    write_file(file, content.dump());
  }
  // Opens the folder, reads the tokenizer and loads the model. Returns the error message of the step that fails, or "" if all
  // succeed.
  static std::string refusal(const fs::path& path) {
    const Result<HuggingFaceFolder> folder = HuggingFaceFolder::open(path.string());
    if (!folder) return folder.error().message;
    if (const Result<Tokenizer> tokenizer = read_tokenizer(*folder); !tokenizer) return tokenizer.error().message;
    const Result<Model> model = load(path);
    return model ? "" : model.error().message;
  }

  fs::path root_;
};

TEST_F(HuggingFaceFiles, PackedOnesAreTheSameModel) {
  for (const std::string name : {"qwen2", "llama"}) {
    for (const std::optional<FormatId> format : {std::optional<FormatId>(), std::optional<FormatId>(id_of<Q8_0>)}) {
      const Result<HuggingFaceFolder> folder = HuggingFaceFolder::open((golden_folder() / name).string() + "/");
      ASSERT_TRUE(folder) << folder.error().message;
      const std::string path = (root_ / "m.stilla").string();
      const PackOptions options{format};
      const Status status = write_packed_file(*folder, path, {}, {}, options);
      ASSERT_TRUE(status) << status.error().message;
      Result<GgufFile> packed = GgufFile::open(path);
      ASSERT_TRUE(packed) << packed.error().message;
      EXPECT_TRUE(verify_packed_file(*packed));
      EXPECT_TRUE(is_packed_from(*packed, *folder, options));
      EXPECT_FALSE(is_packed_from(*packed, *folder, {id_of<Q4_0>}));
      const Result<Tokenizer> expected = read_tokenizer(*folder), found = read_tokenizer(*packed);
      ASSERT_TRUE(found) << found.error().message;
      const std::string text = read_file(golden_folder() / "text.txt");
      EXPECT_EQ(found->encode(text), expected->encode(text));
      for (std::uint32_t id = 0; id < expected->size(); ++id) {
        EXPECT_EQ(found->is_end_of_generation(id), expected->is_end_of_generation(id)) << id;
        EXPECT_EQ(found->is_control(id), expected->is_control(id)) << id;
      }
      EXPECT_EQ(*packed->chat_template(), *folder->chat_template());
      const Result<Model> from_packed = Model::load(std::move(*packed)), from_folder = load(golden_folder() / name, format);
      ASSERT_TRUE(from_packed) << from_packed.error().message;
      ASSERT_TRUE(from_folder) << from_folder.error().message;
      EXPECT_EQ(from_packed->identity(), from_folder->identity());
      EXPECT_EQ(from_packed->head().weight.view().format, format ? id_of<Q8_0> : name == "llama" ? id_of<F16> : id_of<BF16>);
      const std::vector<std::uint32_t> ids{1, 2, 3, 200, 100};
      EXPECT_TRUE(same_bits(all_logits(*from_packed, ids), all_logits(*from_folder, ids)));
    }
  }
}

TEST_F(HuggingFaceFiles, ShardsAreCheckedAgainstTheIndex) {
  const fs::path folder = copy("qwen2"), index = folder / "model.safetensors.index.json";
  ASSERT_EQ(refusal(folder), "");
  fs::rename(folder / "model-00002-of-00004.safetensors", folder / "moved");
  EXPECT_EQ(refusal(folder).find((folder / "model-00002-of-00004.safetensors").string() +
                                 ": cannot be opened; model.safetensors.index.json names this file as a part of the model"),
            0u)
      << refusal(folder);
  fs::copy_file(folder / "model-00001-of-00004.safetensors", folder / "model-00002-of-00004.safetensors");
  EXPECT_NE(refusal(folder).find("model-00002-of-00004.safetensors: tensor 'model.embed_tokens.weight' is not expected in this file: "
                                 "model.safetensors.index.json has it in model-00001-of-00004.safetensors"),
            std::string::npos)
      << refusal(folder);
  fs::rename(folder / "moved", folder / "model-00002-of-00004.safetensors");
  const std::string good = read_file(index);
  const auto changed = [&](const std::function<void(json&)>& edit) {
    write_file(index, good);
    change(index, edit);
    return refusal(folder);
  };
  EXPECT_NE(changed([](json& j) {
              j["weight_map"]["model.layers.1.extra"] = "model-00001-of-00004.safetensors";
            }).find("tensor 'model.layers.1.extra' is missing; model.safetensors.index.json has it in this file"),
            std::string::npos);
  EXPECT_NE(changed([](json& j) { j["weight_map"].erase("model.norm.weight"); }).find("model.safetensors.index.json does not have it"),
            std::string::npos);
  for (const char* name : {"../m.safetensors", "/etc/passwd", "a\\b.safetensors", "c:m.safetensors", "m.bin", ""}) {
    const std::string message = changed([&](json& j) { j["weight_map"]["model.norm.weight"] = name; });
    EXPECT_NE(message.find("; expected the name of a .safetensors file in this folder"), std::string::npos) << message;
  }
  EXPECT_NE(changed([](json& j) { j["weight_map"]["model.norm.weight"] = 7; }).find("found an integer; expected the name"),
            std::string::npos);
  EXPECT_NE(changed([](json& j) { j["weight_map"] = json::object(); }).find("key 'weight_map': found an empty object"), std::string::npos);
  write_file(index, good);
  const fs::path last = folder / "model-00004-of-00004.safetensors";
  fs::resize_file(last, fs::file_size(last) - 1);
  EXPECT_NE(refusal(folder).find("it is truncated or damaged"), std::string::npos) << refusal(folder);
}

TEST_F(HuggingFaceFiles, MissingOnesAreNamed) {
  fs::path folder = copy("llama");
  fs::remove(folder / "generation_config.json");
  EXPECT_EQ(refusal(folder), "");
  fs::remove(folder / "tokenizer_config.json");
  EXPECT_EQ(refusal(folder), "");
  fs::remove(folder / "tokenizer.json");
  EXPECT_NE(refusal(folder).find(": has no tokenizer.json; expected one"), std::string::npos) << refusal(folder);
  fs::remove(folder / "model.safetensors");
  EXPECT_NE(refusal(folder).find(": has neither model.safetensors nor model.safetensors.index.json"), std::string::npos);
  write_file(folder / "pytorch_model.bin", "PK");
  EXPECT_NE(refusal(folder).find("pytorch_model.bin: weights in Python's pickle format are not read; expected model.safetensors"),
            std::string::npos);
  fs::remove(folder / "config.json");
  EXPECT_NE(refusal(folder).find(": is a folder without a config.json"), std::string::npos);
}

// Whatever is wrong with one of the files, the message begins with its path.
TEST_F(HuggingFaceFiles, BrokenOnesAreNamed) {
  const auto expect_refused = [&](const fs::path& folder, const std::string& file, std::string_view message) {
    const std::string found = refusal(folder);
    EXPECT_TRUE(found.starts_with((folder / file).string() + ": ")) << found;
    EXPECT_NE(found.find(message), std::string::npos) << found;
  };
  const std::string index = "model.safetensors.index.json";
  fs::path folder = copy("qwen2");
  write_file(folder / index, "{");
  expect_refused(folder, index, "is not JSON");
  for (const char* bad : {"{}", R"({"weight_map": null})", R"({"weight_map": []})"}) {
    write_file(folder / index, bad);
    expect_refused(folder, index, "; expected an object of tensors and their files");
  }
  write_file(folder / index, json{{"weight_map", {{"a", std::string(250, 'n') + ".safetensors"}}}}.dump());
  expect_refused(folder, index, "tensor 'a': found 'nnnn");
  json many;
  for (std::size_t i = 0; i <= HuggingFaceFolder::max_shards; ++i) many["weight_map"][concat("t", i)] = concat(i, ".safetensors");
  write_file(folder / index, many.dump());
  expect_refused(folder, index, "key 'weight_map': found 4097 files; expected at most 4096");

  folder = copy("llama");
  fs::remove(folder / "model.safetensors");
  fs::create_directory(folder / "model.safetensors");
  expect_refused(folder, "model.safetensors", "is a directory; expected a file");
  folder = copy("llama");
  write_file(folder / "chat_template.jinja", std::string((1 << 20) + 1, 'x'));
  expect_refused(folder, "chat_template.jinja", "has 1048577 bytes; expected at most 1048576");
  fs::remove(folder / "chat_template.jinja");
  change(folder / "tokenizer_config.json", [](json& j) { j["chat_template"] = 7; });
  expect_refused(folder, "tokenizer_config.json", "key 'chat_template': found an integer");
}

// Only a file that is not there counts as missing. A directory in its place, or a link that leads nowhere, is refused.
TEST_F(HuggingFaceFiles, WhatCannotBeOpenedIsNotMissing) {
  for (const char* file : {"config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja",
                           "model.safetensors", "model.safetensors.index.json"}) {
    const std::string name = file;
    const fs::path folder = copy(name.ends_with("index.json") ? "qwen2" : "llama"), path = folder / name;
    const auto expect_refused = [&](const std::string& message) {
      EXPECT_TRUE(refusal(folder).starts_with(path.string() + message)) << refusal(folder);
      fs::remove(path);
    };
    EXPECT_TRUE(fs::remove(path));
    EXPECT_TRUE(is_missing(path.string()));
    fs::create_directory(path);
    EXPECT_FALSE(is_missing(path.string()));
    expect_refused(": is a directory; expected a file");
#if !defined(_WIN32)
    fs::create_symlink(folder / "none", path);
    EXPECT_FALSE(is_missing(path.string()));
    expect_refused(": cannot open the file that this link names: ");
    fs::create_symlink(path, path);
    expect_refused(": cannot open: ");
#endif
  }
  EXPECT_TRUE(is_missing((root_ / "none" / "file").string()));
  EXPECT_FALSE(is_missing(std::string("none\0x", 6)));  // no path at all
}

TEST_F(HuggingFaceFiles, TheFolderGivesTheNameOfTheModel) {
  const fs::path before = fs::current_path(), folder = fs::absolute(copy("llama"));
  const auto name = [](const std::string& path) {
    const Result<HuggingFaceFolder> opened = HuggingFaceFolder::open(path);
    EXPECT_TRUE(opened) << opened.error().message;
    return opened ? std::string(*opened->get_string_or("general.name", "none")) : "";
  };
  EXPECT_EQ(name(folder.string()), "llama");
  EXPECT_EQ(name(folder.string() + "//"), "llama");
  EXPECT_EQ(name(folder.string() + "\\"), "llama");
  fs::create_directory(folder / "inside");
  fs::current_path(folder.parent_path());
  EXPECT_EQ(name("llama"), "llama");
  fs::current_path(folder);
  EXPECT_EQ(name("."), "none");
  fs::current_path(folder / "inside");
  EXPECT_EQ(name(".."), "none");
  fs::current_path(before);
  for (const std::string empty : {"", "/"}) {  // these are no model
    const Result<HuggingFaceFolder> opened = HuggingFaceFolder::open(empty);
    ASSERT_FALSE(opened);
    EXPECT_TRUE(opened.error().message.starts_with(empty + ": is a folder without a config.json")) << opened.error().message;
  }
}

TEST_F(HuggingFaceFiles, PathsOfAnyKindOfModel) {
  const Result<std::unique_ptr<ModelSource>> folder = open_model_source(copy("llama").string());
  ASSERT_TRUE(folder) << folder.error().message;
  EXPECT_EQ((*folder)->supported_types_text(), "BF16, F16, F32");
  const std::string none = (root_ / "none").string();
  EXPECT_FALSE(is_folder(none));
  EXPECT_TRUE(open_model_source(none).error().message.starts_with(none + ": cannot open: "));
}

// Messages about a GGUF key or tensor name the file of the folder and the name that the key or tensor has there.
TEST_F(HuggingFaceFiles, PlacesAreThoseOfTheFolder) {
  const fs::path folder = copy("llama");
  const Result<HuggingFaceFolder> opened = HuggingFaceFolder::open(folder.string());
  ASSERT_TRUE(opened) << opened.error().message;
  const std::string config_place = (folder / "config.json").string() + ": key '";
  EXPECT_EQ(opened->key_place("llama.block_count"), config_place + "num_hidden_layers'");
  EXPECT_EQ(opened->key_place("llama.expert_count"), config_place + "expert_count'");
  EXPECT_EQ(opened->key_place("general.file_type"), config_place + "general.file_type'");
  EXPECT_EQ(opened->key_place("tokenizer.ggml.pre"), (folder / "tokenizer.json").string() + ": key 'pre_tokenizer'");
  EXPECT_EQ(opened->tensor_place("rope_freqs.weight"), config_place + "rope_parameters'");
  const std::string weights = (folder / "model.safetensors").string() + ": tensor '";
  EXPECT_EQ(opened->tensor_place("output_norm.weight"), weights + "model.norm.weight'");
  EXPECT_EQ(opened->tensor_place("blk.7.attn_q.weight"), weights + "model.layers.7.self_attn.q_proj.weight'");
}

// A folder without a chat template and without vocab_size can be packed. A folder without a tokenizer.json cannot, because packed
// files hold the vocabulary, too. So when tokenizer.json is removed, a packed file that was made before no longer counts as made
// from the folder.
TEST_F(HuggingFaceFiles, PackingNeedsTheVocabulary) {
  const fs::path folder = copy("llama");
  fs::remove(folder / "chat_template.jinja");
  change(folder / "config.json", [](json& j) { j.erase("vocab_size"); });
  const std::string path = (root_ / "m.stilla").string();
  {
    const Result<HuggingFaceFolder> opened = HuggingFaceFolder::open(folder.string());
    ASSERT_TRUE(opened) << opened.error().message;
    ASSERT_TRUE(write_packed_file(*opened, path));
    const Result<GgufFile> packed = GgufFile::open(path);
    ASSERT_TRUE(packed) << packed.error().message;
    EXPECT_EQ(*packed->chat_template(), "");
    EXPECT_TRUE(is_packed_from(*packed, *opened));
  }
  fs::remove(folder / "tokenizer.json");
  const Result<HuggingFaceFolder> opened = HuggingFaceFolder::open(folder.string());
  ASSERT_TRUE(opened) << opened.error().message;
  const std::string message = folder.string() + ": has no tokenizer.json; expected one, as ";
  EXPECT_TRUE(source_identity(*opened).error().message.starts_with(message)) << source_identity(*opened).error().message;
  const Status status = write_packed_file(*opened, path);
  ASSERT_FALSE(status);
  EXPECT_TRUE(status.error().message.starts_with(message)) << status.error().message;
  EXPECT_FALSE(is_packed_from(*GgufFile::open(path), *opened));
}

#if !defined(_WIN32)
TEST_F(HuggingFaceFiles, AShardThatBecameShorterIsNamed) {
  const fs::path folder = copy("qwen2"), shard = folder / "model-00003-of-00004.safetensors";
  const Result<HuggingFaceFolder> opened = HuggingFaceFolder::open(folder.string());
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_TRUE(opened->check_lengths());
  fs::resize_file(shard, fs::file_size(shard) - 1);
  const Status status = opened->check_lengths();
  ASSERT_FALSE(status);
  EXPECT_TRUE(status.error().message.starts_with(shard.string() + ": the file became shorter while it was in use"))
      << status.error().message;
}
#endif

// In a Hugging Face folder, attention_factor replaces the factor that YaRN's formula gives. The factor in GGUF's metadata is
// multiplied by that of the formula. So the GGUF key gets the folder's factor divided by that of the formula.
TEST_F(HuggingFaceFiles, AnAttentionFactorReplacesTheFormula) {
  const fs::path folder = copy("llama");
  change(folder / "config.json", [](json& j) {
    j["rope_parameters"] = {{"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 32}, {"attention_factor", 1.5}};
  });
  const Result<HuggingFaceFolder> opened = HuggingFaceFolder::open(folder.string());
  ASSERT_TRUE(opened) << opened.error().message;
  const Result<float> factor = opened->get_float("llama.rope.scaling.attn_factor");
  ASSERT_TRUE(factor) << factor.error().message;
  EXPECT_NEAR(*factor * (0.1 * std::log(4.0) + 1.0), 1.5, 1e-6);
}

std::function<void(json&)> set(const std::string& pointer, const json& value) {
  return [=](json& j) { j[json::json_pointer(pointer)] = value; };
}

// A change of one file of the folder `llama`, after which the folder cannot be represented. `expected` is a part of the message
// that refuses the folder.
struct RefusedEdit {
  std::string expected;
  std::string file;
  std::function<void(json&)> edit;
};

const std::string config = "config.json", tokenizer = "tokenizer.json", special = "tokenizer_config.json", ends = "generation_config.json";
const json nested = json::array({json::array({1})});
const std::vector<RefusedEdit> refused_edits = {
    {"key 'model_type': 'mixtral' is not supported; supported: qwen2, qwen3, llama", config, set("/model_type", "mixtral")},
    {"key 'model_type' is an integer; expected a string", config, set("/model_type", 3)},
    {"key 'num_hidden_layers': found a string; expected an unsigned integer", config, set("/num_hidden_layers", "2")},
    {"key 'num_hidden_layers': found -2; expected an unsigned integer", config, set("/num_hidden_layers", -2)},
    {"key 'num_hidden_layers': found 0; expected at least 1", config, set("/num_hidden_layers", 0)},
    {"tensor 'model.layers.1.", config, set("/num_hidden_layers", 1)},
    {"a llama model of 1 layers has no tensor of this name", config, set("/num_hidden_layers", 1)},
    {"tensor 'model.layers.2.input_layernorm.weight' is missing", config, set("/num_hidden_layers", 3)},
    {"key 'num_attention_heads': found 18446744073709551615; expected 1 to 4096", config, set("/num_attention_heads", ~std::uint64_t{0})},
    {"key 'rms_norm_eps': found a string; expected a number", config, set("/rms_norm_eps", "1e-6")},
    {"config.json: key 'rms_norm_eps' is missing; expected a float", config, [](json& j) { j.erase("rms_norm_eps"); }},
    {"config.json: key 'hidden_size' is missing", config, [](json& j) { j.erase("hidden_size"); }},
    {"config.json: key 'num_hidden_layers' is missing; expected an unsigned integer", config,
     [](json& j) { j.erase("num_hidden_layers"); }},
    {"config.json: key 'num_hidden_layers' is missing; expected an unsigned integer. What stands in 'text_config' is not read", config,
     [](json& j) {
       const json all = j;
       j = {{"model_type", "llama"}, {"text_config", all}};
     }},
    {"key 'hidden_act': found gelu; expected silu", config, set("/hidden_act", "gelu")},
    {"key 'quantization_config': the weights are quantised by awq", config, set("/quantization_config", {{"quant_method", "awq"}})},
    {"key 'use_sliding_window': found true, which is not supported; expected false", config, set("/use_sliding_window", true)},
    {"key 'layer_types': found 'sliding_attention'", config, set("/layer_types", json::array({"full_attention", "sliding_attention"}))},
    {"key 'logits_scaling': found 8, which is not supported in a llama model", config, set("/logits_scaling", 8)},
    {"key 'partial_rotary_factor': found 0.5, which is not supported; expected 1", config, set("/partial_rotary_factor", 0.5)},
    {"key 'rope_parameters.rope_type': 'dynamic' is not supported", config, set("/rope_parameters/rope_type", "dynamic")},
    {"key 'rope_parameters.rope_type': 'longrope' is not supported", config, set("/rope_parameters/rope_type", "longrope")},
    {"key 'rope_parameters.factor': expected a number", config, [](json& j) { j["rope_parameters"].erase("factor"); }},
    {"key 'rope_parameters.high_freq_factor': found 0.5; expected more than low_freq_factor", config,
     set("/rope_parameters/high_freq_factor", 0.5)},
    {"key 'rope_parameters.rope_theta': found a string; expected a number", config, set("/rope_parameters/rope_theta", "big")},
    {"key 'rope_parameters': found an array; expected an object", config, set("/rope_parameters", nested)},
    {"key 'rope_scaling.type': expected a string", config,
     [](json& j) {
       j.erase("rope_parameters");
       j["rope_scaling"] = {{"factor", 2.0}};
     }},
    {"key 'rope_parameters.mscale': found 1.0, which is not supported", config,
     set("/rope_parameters", {{"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 32}, {"mscale", 1.0}})},
    {"key 'tie_word_embeddings': found a string; expected true or false", config, set("/tie_word_embeddings", "no")},
    {"tensor 'model.embed_tokens.weight': has 336 rows, and config.json's vocab_size is 400; expected the same number", config,
     set("/vocab_size", 400)},
    {"key 'model.type': found 'Unigram'; expected 'BPE'", tokenizer, set("/model/type", "Unigram")},
    {"key 'model.byte_fallback': found true", tokenizer, set("/model/byte_fallback", true)},
    {"key 'model.dropout'", tokenizer, set("/model/dropout", 0.1)},
    {"key 'model.continuing_subword_prefix': found '##'; expected none", tokenizer, set("/model/continuing_subword_prefix", "##")},
    {"key 'model.vocab': expected an object", tokenizer, set("/model/vocab", json::array())},
    {"key 'model.vocab': token 'A': found -1 as its id; expected 0 to", tokenizer, set("/model/vocab/A", -1)},
    {"key 'model.vocab': token 'A': found 4194304 as its id; expected 0 to 66", tokenizer, set("/model/vocab/A", 4194304)},
    {"have the same id 36", tokenizer, set("/model/vocab/A", 36)},
    {"key 'model.merges': merge 0: found an array of 1 values; expected two texts", tokenizer, set("/model/merges/0", json::array({"a"}))},
    {"key 'model.merges': merge 1: found an array of 2 values; expected two texts without spaces", tokenizer,
     set("/model/merges/1", json::array({"a b", "c"}))},
    {"key 'model.merges': expected an array", tokenizer, [](json& j) { j["model"].erase("merges"); }},
    {"tokenizer.json: merge", tokenizer, set("/model/merges/0", json::array({"no", "token"}))},
    {"key 'model.ignore_merges': found false; expected true with the pre-tokenizer 'llama-bpe'", tokenizer,
     set("/model/ignore_merges", false)},
    {"key 'added_tokens': found a token without content or id", tokenizer, set("/added_tokens/0", json::object())},
    {"key 'added_tokens': tokens '<|begin_of_text|>' and 'A' have the same id 320", tokenizer,
     set("/added_tokens/1", {{"id", 320}, {"content", "A"}})},
    {"token '<think>': 'rstrip' is not supported", tokenizer,
     [](json& j) {
       for (json& token : j["added_tokens"]) {
         if (token["content"] == "<think>") token["rstrip"] = true;
       }
     }},
    {"key 'normalizer': found 'Lowercase'; supported: none, 'NFC'", tokenizer, set("/normalizer", {{"type", "Lowercase"}})},
    {"key 'pre_tokenizer': the regular expression '\\x5cw+' is not known; known are those of Qwen2", tokenizer,
     set("/pre_tokenizer/pretokenizers/0/pattern/Regex", "\\w+")},
    {"key 'pre_tokenizer': the sequence 'Metaspace' with its settings is not known", tokenizer,
     set("/pre_tokenizer", {{"type", "Metaspace"}})},
    {"expected a Split by a Regex with the behavior Isolated", tokenizer, set("/pre_tokenizer/pretokenizers/0/behavior", "Removed")},
    {"key 'post_processor': found 'BertProcessing'", tokenizer, set("/post_processor", {{"type", "BertProcessing"}})},
    {"key 'post_processor.single': adds the token '<|eot_id|>' after a text", tokenizer,
     [](json& j) { j["post_processor"]["processors"][1]["single"].push_back({{"SpecialToken", {{"id", "<|eot_id|>"}, {"type_id", 0}}}}); }},
    {"tokenizer.json: has 1000 tokens, and config.json's vocab_size is 336", tokenizer, set("/model/vocab/zzz", 999)},
    {"tokenizer_config.json: key 'bos_token': found '<s>', which is no token", special, set("/bos_token", "<s>")},
    {"tokenizer_config.json: key 'eos_token': found '</s>', which is no token", special, set("/eos_token", {{"content", "</s>"}})},
    {"generation_config.json: key 'eos_token_id': found 999; expected ids from 0 to 325", ends,
     set("/eos_token_id", json::array({321, 999}))},
    {"generation_config.json: key 'eos_token_id': found a string", ends, set("/eos_token_id", "x")},
};

TEST_F(HuggingFaceFiles, WhatCannotBeRepresentedIsRefusedByFileAndKey) {
  for (const RefusedEdit& c : refused_edits) {
    const fs::path folder = copy("llama");
    change(folder / c.file, c.edit);
    const std::string message = refusal(folder);
    EXPECT_NE(message.find(c.expected), std::string::npos) << "expected: " << c.expected << "\nfound: " << message;
    EXPECT_EQ(message.find(folder.string()), 0u) << message;
    EXPECT_EQ(std::count(message.begin(), message.end(), '\n'), 0);
  }
  for (const std::string& file : {config, tokenizer, special, ends}) {
    const fs::path folder = copy("llama");
    const std::string good = read_file(folder / file);
    for (const std::string& bad : {std::string(), good.substr(0, good.size() / 2), std::string("{\"a\": 1, \"a\": 2}"),
                                   std::string(100'000, '['), std::string(1'000'000, '\0')}) {
      write_file(folder / file, bad);
      EXPECT_EQ(refusal(folder).find((folder / file).string() + ": "), 0u) << refusal(folder);
    }
    write_file(folder / file, "[]");
    EXPECT_EQ(refusal(folder).find((folder / file).string() + ": "), 0u) << refusal(folder);
    EXPECT_NE(refusal(folder).find("found an array; expected an object"), std::string::npos) << refusal(folder);
  }
}

// In the text of a safetensors file, names of tensors and types are replaced by others of the same length. Such a file must be
// refused.
TEST_F(HuggingFaceFiles, TensorsMustBeTheModels) {
  const auto replaced = [&](const std::string& from, const std::string& to) {
    const fs::path folder = copy("llama"), file = folder / "model.safetensors";
    std::string bytes = read_file(file);
    const std::size_t at = bytes.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    bytes.replace(at, from.size(), to);
    write_file(file, bytes);
    return refusal(folder);
  };
  EXPECT_NE(replaced("lm_head.weight", "lm_hood.weight")
                .find("model.safetensors: tensor 'lm_hood.weight': a llama model of 2 layers has no tensor"),
            std::string::npos);
  EXPECT_NE(replaced("lm_head.weight", "mm_head.weight").find("tensor 'mm_head.weight'"), std::string::npos);
  EXPECT_NE(replaced("model.norm.weight\":{\"dtype\":\"F16\",\"shape\":[32]", "model.norm.weight\":{\"dtype\":\"I16\",\"shape\":[32]")
                .find("model.safetensors: tensor 'model.norm.weight': type I16 is not supported; supported: BF16, F16, F32"),
            std::string::npos);
  EXPECT_NE(replaced("[336,32]", "[672,16]").find("tensor 'lm_head.weight': found shape [16, 672]; expected [32, 336]"), std::string::npos);
  const fs::path folder = copy("llama");
  change(folder / "config.json", [](json& j) { j["hidden_size"] = 64; });
  EXPECT_NE(refusal(folder).find("model.safetensors: tensor 'model.embed_tokens.weight': found shape [32, 336]; expected [64, 336]"),
            std::string::npos)
      << refusal(folder);
  // A folder whose head is missing is refused. A head that is not used, because the embedding is the head, is ignored.
  const fs::path tied = copy("qwen2");
  change(tied / "config.json", [](json& j) { j.erase("tie_word_embeddings"); });
  const Result<HuggingFaceFolder> unsaid = HuggingFaceFolder::open(tied.string());
  ASSERT_TRUE(unsaid) << unsaid.error().message;
  ASSERT_EQ(unsaid->notes().size(), 1u);
  EXPECT_NE(unsaid->notes()[0].find("has no lm_head.weight, and config.json has no tie_word_embeddings; the embedding is the head"),
            std::string::npos);
  change(tied / "config.json", [](json& j) { j["tie_word_embeddings"] = false; });
  EXPECT_NE(refusal(tied).find(
                "model.safetensors.index.json: tensor 'lm_head.weight' is missing, and config.json's tie_word_embeddings is false"),
            std::string::npos)
      << refusal(tied);
  const fs::path untied = copy("llama");
  change(untied / "config.json", [](json& j) { j["tie_word_embeddings"] = true; });
  EXPECT_EQ(refusal(untied), "");
}

// Adds a tensor of zeros behind the others of a safetensors file.
void add_tensor(const fs::path& file, const std::string& name, const std::string& dtype, const std::vector<std::uint64_t>& shape,
                std::size_t bytes) {
  std::string content = read_file(file);
  std::uint64_t length = load_as<std::uint64_t>(reinterpret_cast<const std::byte*>(content.data()));
  json header = json::parse(content.substr(8, length));
  const std::string data = content.substr(8 + length);
  header[name] = {{"dtype", dtype}, {"shape", shape}, {"data_offsets", {data.size(), data.size() + bytes}}};
  const std::string text = header.dump();
  length = text.size();
  write_file(file, std::string(reinterpret_cast<const char*>(&length), 8) + text + data + std::string(bytes, '\0'));
}

TEST_F(HuggingFaceFiles, MoreTensors) {
  const auto with = [&](const std::string& name, const std::string& dtype, const std::vector<std::uint64_t>& shape, std::size_t bytes) {
    const fs::path folder = copy("llama");
    add_tensor(folder / "model.safetensors", name, dtype, shape, bytes);
    return folder;
  };
  // Old folders also hold a tensor with RoPE's frequencies. It is ignored, because Stilla computes them from config.json.
  EXPECT_EQ(refusal(with("model.layers.0.self_attn.rotary_emb.inv_freq", "F32", {8}, 32)), "");
  const std::string bias = "model.layers.0.self_attn.q_proj.bias", place = "model.safetensors: tensor '" + bias + "': ";
  EXPECT_NE(refusal(with(bias, "F16", {1, 1, 1, 1, 32}, 64)).find(place + "found 5 dimensions; expected at most 4"), std::string::npos);
  EXPECT_NE(refusal(with(bias, "F16", {0, 32}, 0)).find(place + "shape [32, 0]; expected no dimension to be 0"), std::string::npos);
  const Result<HuggingFaceFolder> folder = HuggingFaceFolder::open(with(bias, "F32", {32}, 128).string());
  ASSERT_TRUE(folder) << folder.error().message;
  EXPECT_EQ(folder->find_tensor("blk.0.attn_q.bias")->format, id_of<F32>);
}

// Editors of Windows write UTF-16, or a byte order mark in front of UTF-8. Neither may become a part of a prompt.
TEST_F(HuggingFaceFiles, ATemplateIsTheTextThatItsEditorMeant) {
  using namespace std::string_view_literals;
  const fs::path folder = copy("llama");
  for (const auto& [bytes, fault] : {std::pair{"a\xff"sv, "is not UTF-8: found byte 255"sv}, {"a\0"sv, "found byte 0 at byte 1"sv}}) {
    write_file(folder / "chat_template.jinja", std::string(bytes));
    const auto read = HuggingFaceFolder::open(folder.string());
    ASSERT_FALSE(read);
    EXPECT_NE(read.error().message.find(concat("chat_template.jinja: ", fault)), std::string::npos) << read.error().message;
  }
  for (const std::string_view bytes : {"\xef\xbb\xbf\xc3\xa9"sv, "\xff\xfe\xe9\0"sv, "\xfe\xff\0\xe9"sv}) {
    write_file(folder / "chat_template.jinja", std::string(bytes));
    const auto read = HuggingFaceFolder::open(folder.string());
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(*read->chat_template(), "\xc3\xa9");
  }
}

// A folder with tie_word_embeddings says that the embedding is the head, but it may hold a head all the same. If this head has the
// same numbers as the embedding, it is dropped. If it has others, it is used, and a note says so.
TEST_F(HuggingFaceFiles, AHeadOfItsOwnIsUsed) {
  const fs::path tied = golden_folder() / "qwen2";
  const Result<HuggingFaceFolder> original = HuggingFaceFolder::open(tied.string());
  ASSERT_TRUE(original && original->config().ties_embeddings == true && original->find_tensor("output.weight") == nullptr);
  const TensorInfo& embedding = *original->find_tensor("token_embd.weight");
  const std::span<const std::byte> bytes = original->tensor_bytes(embedding);
  const std::string file = fs::path(original->files()[embedding.file].path()).filename().string();
  for (const bool differs : {false, true}) {
    const fs::path folder = copy("qwen2");
    const fs::path weights = folder / file;
    add_tensor(weights, "lm_head.weight", std::string(embedding.type_name), {embedding.dims[1], embedding.dims[0]}, bytes.size());
    std::string content = read_file(weights);
    std::memcpy(content.data() + content.size() - bytes.size(), bytes.data(), bytes.size());
    if (differs) content.back() = static_cast<char>(content.back() ^ 1);
    write_file(weights, content);
    if (fs::exists(folder / "model.safetensors.index.json")) {
      change(folder / "model.safetensors.index.json", [&](json& j) { j["weight_map"]["lm_head.weight"] = file; });
    }
    const Result<HuggingFaceFolder> opened = HuggingFaceFolder::open(folder.string());
    ASSERT_TRUE(opened) << opened.error().message;
    EXPECT_EQ(opened->find_tensor("output.weight") != nullptr, differs);
    EXPECT_EQ(opened->notes().size(), differs ? 1u : 0u);
    if (differs) {
      EXPECT_NE(opened->notes()[0].find("tensor 'lm_head.weight' is not the embedding, so it is used as the head"), std::string::npos);
    }
  }
}

// A folder whose pre-tokenizer is not known runs if the user names one. It cannot be packed, since the packed file would name none.
TEST_F(HuggingFaceFiles, AnUnknownPreTokenizerMayBeReplaced) {
  const fs::path folder = copy("llama");
  change(folder / "tokenizer.json", set("/pre_tokenizer/pretokenizers/0/pattern/Regex", "[0-9]"));
  const Result<HuggingFaceFolder> opened = HuggingFaceFolder::open(folder.string());
  const Result<HuggingFaceFolder> known = HuggingFaceFolder::open((golden_folder() / "llama").string());
  ASSERT_TRUE(opened && known) << opened.error().message;
  const std::string text = read_file(golden_folder() / "text.txt");
  EXPECT_NE(read_tokenizer(*opened).error().message.find("choose one by name: qwen2, "), std::string::npos);
  EXPECT_EQ(read_tokenizer(*opened, {"llama-bpe"})->encode(text), read_tokenizer(*known)->encode(text));
  EXPECT_NE(opened->metadata_records().error().message.find("key 'pre_tokenizer': the regular expression '[0-9]' is not known"),
            std::string::npos);
}

TEST_F(HuggingFaceFiles, AdaptersAndWrongDownloadsAreNamed) {
  fs::path folder = copy("llama");
  write_file(folder / "adapter_config.json", "{}");
  const Result<HuggingFaceFolder> beside = HuggingFaceFolder::open(folder.string());
  ASSERT_TRUE(beside && beside->notes().size() == 1);
  EXPECT_NE(beside->notes()[0].find("adapter_config.json: an adapter beside a model is not used"), std::string::npos);
  fs::remove(folder / "config.json");
  EXPECT_NE(refusal(folder).find(": holds an adapter (LoRA: adapter_config.json) and no model"), std::string::npos) << refusal(folder);
  for (const auto& [content, kind] : std::vector<std::pair<std::string, std::string>>{
           {"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "a git-lfs pointer"},
           {"<!DOCTYPE html>", "an HTML or XML page"},
           {"", "an empty file"}}) {
    folder = copy("llama");
    write_file(folder / "tokenizer.json", content);
    EXPECT_NE(refusal(folder).find("tokenizer.json: is not JSON: found " + kind), std::string::npos) << refusal(folder);
  }
}

// Without attention_bias in config.json, transformers makes a Llama model without biases, and ignores those of the file.
TEST_F(HuggingFaceFiles, BiasesThatNobodyAskedForAreTold) {
  const fs::path folder = copy("llama");
  add_tensor(folder / "model.safetensors", "model.layers.0.self_attn.q_proj.bias", "F32", {32}, 128);
  const Result<HuggingFaceFolder> opened = HuggingFaceFolder::open(folder.string());
  ASSERT_TRUE(opened && opened->notes().size() == 1);
  EXPECT_NE(opened->notes()[0].find("has biases that config.json does not ask for"), std::string::npos);
}

TEST_F(HuggingFaceFiles, SettingsOfGenerationThatAreNotUsedAreTold) {
  const fs::path folder = copy("llama");
  change(folder / "generation_config.json", [](json& j) {
    j["suppress_tokens"] = {5};
    j["temperature"] = 0.5;
  });
  const Result<HuggingFaceFolder> opened = HuggingFaceFolder::open(folder.string());
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_EQ(opened->notes(), std::vector<std::string>{(folder / "generation_config.json").string() +
                                                      ": a key that is not known here and not used: 'suppress_tokens'"});
}

// With attention_bias or mlp_bias in config.json, transformers makes a model with biases. If the folder lacks the tensors of these
// biases, it is refused, because a model without biases is another model.
TEST_F(HuggingFaceFiles, BiasesThatAreAskedForMustBeThere) {
  const auto missing = [](const std::string& tensor, const std::string& key) {
    return ": tensor 'model.layers." + tensor + ".bias' is missing, and config.json's " + key + " is true";
  };
  for (const std::string name : {"llama", "qwen3"}) {
    const fs::path folder = copy(name), weights = folder / "model.safetensors";
    change(folder / "config.json", [](json& j) { j["attention_bias"] = true; });
    EXPECT_EQ(refusal(folder), weights.string() + missing("0.self_attn.q_proj", "attention_bias"));
    for (const std::string layer : {"0", "1"}) {
      for (const auto& [part, rows] : {std::pair{"q", 32u}, {"k", 16u}, {"v", 16u}, {"o", 32u}}) {
        add_tensor(weights, "model.layers." + layer + ".self_attn." + part + "_proj.bias", "F32", {rows}, 4 * rows);
      }
      if (layer == "0") {
        EXPECT_EQ(refusal(folder), weights.string() + missing("1.self_attn.q_proj", "attention_bias"));
      }
    }
    const Result<HuggingFaceFolder> opened = HuggingFaceFolder::open(folder.string());
    ASSERT_TRUE(opened) << opened.error().message;
    EXPECT_TRUE(opened->notes().empty());
    change(folder / "config.json", [](json& j) { j["attention_bias"] = false; });
    EXPECT_EQ(HuggingFaceFolder::open(folder.string())->notes().size(), 1u);
  }
  const fs::path folder = copy("llama");
  change(folder / "config.json", [](json& j) { j["mlp_bias"] = true; });
  EXPECT_EQ(refusal(folder), (folder / "model.safetensors").string() + missing("0.mlp.gate_proj", "mlp_bias"));
  const fs::path qwen2 = copy("qwen2");  // neither key means anything to Qwen2
  change(qwen2 / "config.json", [](json& j) { j["attention_bias"] = true; });
  EXPECT_EQ(refusal(qwen2), "");
}

// Configurations as transformers before version 5 wrote them give the same model as new ones.
TEST_F(HuggingFaceFiles, OldConfigurationsMeanTheSame) {
  const fs::path folder = copy("llama");
  change(folder / "config.json", [](json& j) {
    json scaling = j["rope_parameters"];
    j["rope_theta"] = 10000;
    scaling.erase("rope_theta");
    j["rope_scaling"] = scaling;
    j.erase("rope_parameters");
    j["torch_dtype"] = "float16";
    j.erase("dtype");
  });
  change(folder / "tokenizer_config.json", [](json& j) {
    j["bos_token"] = {{"content", "<|begin_of_text|>"}, {"lstrip", false}};
    j["chat_template"] = json::array({{{"name", "tool_use"}, {"template", "tools"}}, {{"name", "default"}, {"template", "plain"}}});
  });
  change(folder / "tokenizer.json", [](json& j) {
    for (json& merge : j["model"]["merges"]) merge = merge[0].get<std::string>() + " " + merge[1].get<std::string>();
  });
  fs::remove(folder / "chat_template.jinja");
  const Result<Model> expected = load(golden_folder() / "llama"), found = load(folder);
  ASSERT_TRUE(expected && found) << found.error().message;
  EXPECT_EQ(found->identity(), expected->identity());
  EXPECT_EQ(*found->source().chat_template(), "plain");
  const std::string text = read_file(golden_folder() / "text.txt");
  EXPECT_EQ(read_tokenizer(found->source())->encode(text), read_tokenizer(expected->source())->encode(text));
}

}  // namespace
