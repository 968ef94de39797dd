// SPDX-License-Identifier: Apache-2.0
//
// Model files that do not fit together: refused in one line that names the file and the key or tensor, with nothing left
// behind. Damage below the level of keys and tensors is in gguf_test.cpp.
#include <gtest/gtest.h>

#include <dirent.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <functional>
#include <initializer_list>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "model_util.hpp"

namespace {

using namespace stilla;
using namespace stilla_test;

void expect_one_line(const std::string& message, std::initializer_list<std::string_view> parts) {
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  for (const std::string_view part : parts) {
    EXPECT_NE(message.find(part), std::string::npos) << "\"" << message << "\" says nothing of " << part;
  }
}

void expect_refused(const ModelFile& file, std::initializer_list<std::string_view> parts) {
  const LoadedModel model(file);
  ASSERT_FALSE(model) << "loaded though it should name " << *parts.begin();
  expect_one_line(model.error(), {"memory.gguf"});
  expect_one_line(model.error(), parts);
}

// Tensors that a model may lack: without a head of its own it uses the embedding.
bool is_optional(const std::string& name) { return name == "output.weight"; }

TEST(ModelLoading, EveryMissingTensorIsNamed) {
  for (const std::string& tiny : tiny_models) {
    const ModelFile file = ModelFile::tiny(tiny);
    for (const ModelFile::Tensor& tensor : file.tensors) {
      if (is_optional(tensor.name)) continue;
      SCOPED_TRACE(tiny + " " + tensor.name);
      ModelFile changed = file;
      changed.remove_tensor(tensor.name);
      expect_refused(changed, {"'" + tensor.name + "'", "missing"});
    }
  }
}

TEST(ModelLoading, EveryMisshapenTensorIsNamed) {
  for (const std::string& tiny : tiny_models) {
    const ModelFile file = ModelFile::tiny(tiny);
    for (std::size_t i = 0; i < file.tensors.size(); ++i) {
      const ModelFile::Tensor& tensor = file.tensors[i];
      // Another embedding is another vocabulary; then it is the head that does not fit.
      const bool is_embedding = tensor.name == "token_embd.weight";
      const std::string culprit = is_embedding && tiny == "tiny-qwen2" ? "output.weight" : tensor.name;
      const auto reshaped = [&](const std::vector<std::uint64_t>& dims) {
        SCOPED_TRACE(::testing::Message() << tiny << " " << tensor.name << " " << ::testing::PrintToString(dims));
        ModelFile changed = file;
        changed.tensors[i].dims = dims;
        std::uint64_t weights = 1;
        for (const std::uint64_t dim : dims) weights *= dim;
        with_format(tensor.format(),
                    [&]<class F>(F) { changed.tensors[i].bytes.resize(weights / F::block_weights * F::block_bytes); });
        expect_refused(changed, {"'" + (dims[0] == tensor.dims[0] && dims.size() < 3 ? culprit : tensor.name) + "'",
                                 "found", "expected"});
      };
      std::vector<std::uint64_t> dims = tensor.dims;
      if (dims.size() == 1) {
        reshaped({dims[0] - 32});
        reshaped({dims[0] + 1});
        reshaped({1});
        reshaped({dims[0], 2});
        continue;
      }
      reshaped({dims[0] * 2, dims[1]});
      reshaped({dims[0], dims[1], 2});
      reshaped({dims[0] * dims[1]});
      if (is_embedding && tiny == "tiny-llama") continue;  // tied: any number of rows is right
      reshaped({dims[0], dims[1] - 1});
      reshaped({dims[0], dims[1] + 32});
      reshaped({dims[0], 1});
      reshaped({dims[0]});
    }
  }
}

TEST(ModelLoading, TypesThatCannotBeDecodedAreNamed) {
  for (const std::string name : {"blk.0.attn_norm.weight", "blk.1.ffn_up.weight", "token_embd.weight"}) {
    for (const std::uint32_t type : {19u /* iq1_s */, 29u /* iq1_m */, 34u /* tq1_0 */, 35u /* tq2_0 */, 39u /* mxfp4 */,
                                     40u /* nvfp4 */, 24u /* i8 */, 26u /* i32 */, 28u /* f64 */}) {
      SCOPED_TRACE(name + " " + std::to_string(type));
      ModelFile file = ModelFile::tiny("tiny-qwen2");
      ModelFile::Tensor& tensor = file.tensor(name);
      const GgufTensorType* known = find_tensor_type(type);
      tensor.bytes.resize(tensor.dims[0] * (tensor.dims.size() > 1 ? tensor.dims[1] : 1) / known->block_weights *
                          known->block_bytes);
      tensor.type = type;
      expect_refused(file, {"'" + name + "'", known->name, "not supported", "q4_k"});
    }
  }
}

// Vectors in any format that the file could use for them.
TEST(ModelLoading, NormsInEveryFormat) {
  for_each_type(GgufFormats{}, [&]<class F>(F) {
    ModelFile file = ModelFile::tiny("tiny-qwen2");
    give_weights<F>(file.tensor("blk.0.attn_norm.weight"));
    give_weights<F>(file.tensor("blk.0.attn_q.bias"));
    const std::vector<float> norm = decoded(file.tensor("blk.0.attn_norm.weight"));
    const LoadedModel model(file);
    ASSERT_TRUE(model) << F::name << ": " << model.error();
    EXPECT_EQ(model->layers()[0].attention_norm, norm) << F::name;
    EXPECT_EQ(model->layers()[0].query.bias, decoded(file.tensor("blk.0.attn_q.bias"))) << F::name;
  });
}

// Layers whose rows are whole blocks have the format and what requantising makes of the file; the rest is the file's.
TEST(ModelLoading, LayersInAnotherFormat) {
  for (const char* const name : {"tiny-qwen2", "tiny-llama"}) {
    ModelFile file = ModelFile::tiny(name);
    const LoadedModel original(file), model(file, {}, id_of<ST4>);
    ASSERT_TRUE(original && model) << original.error() << model.error();
    EXPECT_EQ(model->head().weight.view().format, original->head().weight.view().format);
    const auto expect_requantised = [&](const std::string& part, const PackedView& found, const PackedView& before) {
      ModelFile::Tensor tensor = file.tensor("blk.1." + part + ".weight");
      if (tensor.dims[0] % ST4::block_weights != 0) {
        EXPECT_EQ(found.format, before.format) << name << " " << part;
        return;
      }
      EXPECT_EQ(found.format, id_of<ST4>) << name << " " << part;
      convert(tensor, id_of<ST4>);
      const std::vector<float> expected = decoded(tensor);
      std::vector<float> row(found.cols);
      for (std::size_t n = 0; n < found.rows; ++n) {
        unpack_row<ST4>(found, n, row.data());
        ASSERT_TRUE(same_bits(row, std::span(expected).subspan(n * found.cols, found.cols))) << name << " " << part;
      }
    };
    const LayerWeights &now = model->layers()[1], &then = original->layers()[1];
    expect_requantised("attn_q", now.query.weight, then.query.weight);
    expect_requantised("attn_k", now.key.weight, then.key.weight);
    expect_requantised("attn_output", now.attention_output.weight, then.attention_output.weight);
    expect_requantised("ffn_gate", now.gate.weight, then.gate.weight);
    expect_requantised("ffn_up", now.up.weight, then.up.weight);
    expect_requantised("ffn_down", now.down.weight, then.down.weight);
  }
}

struct BadKey {
  std::string_view what;
  std::string_view key;  // without the architecture
  std::function<void(ModelFile&, const std::string&)> change;
  std::vector<std::string_view> parts;
};

TEST(ModelLoading, BadMetadataIsNamed) {
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
    f.set_raw(
        key, GgufValueType::array,
        GgufBuilder::raw<std::uint32_t>(4) + GgufBuilder::raw<std::uint64_t>(1) + GgufBuilder::raw<std::uint32_t>(8));
  };
  std::vector<BadKey> cases;
  for (const std::string_view count : {"block_count", "embedding_length", "feed_forward_length", "attention.head_count",
                                       "context_length", "attention.head_count_kv"}) {
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
                   {"no multiple of 16", "attention.key_length", u32(24), {"24", "16"}},
                   {"too large", "attention.key_length", u32(512), {"512", "256"}},
                   {"0", "attention.key_length", u32(0), {"found 0"}},
                   {"longrope", "rope.scaling.type", value(std::string_view("longrope")), {"longrope", "linear, yarn"}},
                   {"control bytes",
                    "rope.scaling.type",
                    value(std::string_view("a\nb\x1b[31m")),
                    {"\\x0a", "\\x1b", "not supported"}},
                   {"a number", "rope.scaling.type", u32(1), {"uint32", "string"}},
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

// Numbers that are fine by themselves, but not with the tensors: the first tensor that disagrees is named.
TEST(ModelLoading, DimensionsMustFitTheTensors) {
  const auto changed = [](std::string_view key, std::uint32_t value) {
    ModelFile file = ModelFile::tiny("tiny-qwen2");
    file.set("qwen2." + std::string(key), value);
    return file;
  };
  expect_refused(changed("block_count", 3), {"'blk.2.attn_norm.weight'", "missing"});
  expect_refused(changed("block_count", 4096), {"'blk.2.attn_norm.weight'", "missing"});
  expect_refused(changed("embedding_length", 128), {"'token_embd.weight'", "128"});
  expect_refused(changed("embedding_length", 1u << 20), {"'qwen2.attention.key_length'", "131072"});
  expect_refused(changed("attention.head_count", 6), {"'qwen2.embedding_length'", "256", "6"});
  expect_refused(changed("attention.head_count", 7), {"'qwen2.attention.head_count_kv'", "7", "2"});
  expect_refused(changed("feed_forward_length", 256), {"'blk.0.ffn_gate.weight'", "256"});
  expect_refused(changed("feed_forward_length", 1u << 22), {"'blk.0.ffn_gate.weight'", "4194304"});
  expect_refused(changed("attention.head_count", 16), {"'blk.0.attn_k.weight'"});
  expect_refused(changed("attention.head_count_kv", 4), {"'blk.0.attn_k.weight'", "128"});
  expect_refused(changed("attention.head_count_kv", 8), {"'blk.0.attn_k.weight'", "256"});
  expect_refused(changed("attention.key_length", 64), {"'blk.0.attn_q.weight'", "512"});
}

TEST(ModelLoading, RopeScaling) {
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
  file.set("qwen2.rope.scaling.yarn_beta_slow", std::nanf(""));
  expect_refused(file, {"'qwen2.rope.scaling.yarn_beta_slow'", "nan"});
  file.remove_key("qwen2.rope.scaling.yarn_beta_slow");
  file.set("qwen2.rope.scaling.type", "linear");
  const LoadedModel linear(file);
  ASSERT_TRUE(linear) << linear.error();
  EXPECT_EQ(linear->rope_frequencies().magnitude(), 1.0);
  for (std::size_t i = 0; i < 16; ++i) {
    EXPECT_EQ(linear->rope_frequencies().radians(i), plain->rope_frequencies().radians(i) / 4);
  }
}

TEST(ModelLoading, UnknownArchitecturesAreNamed) {
  for (const std::string_view name : {"gpt2", "", "Qwen2", "qwen2moe", "a\x1b[2Jb"}) {
    ModelFile file = ModelFile::tiny("tiny-qwen2");
    file.set("general.architecture", name);
    expect_refused(file, {"'general.architecture'", "not supported", "qwen2, llama"});
  }
  ModelFile file = ModelFile::tiny("tiny-qwen2");
  file.set("general.architecture", std::uint32_t{2});
  expect_refused(file, {"'general.architecture'", "uint32", "string"});
  file.remove_key("general.architecture");
  expect_refused(file, {"'general.architecture'", "missing"});
  file.set("general.architecture", "llama");
  expect_refused(file, {"'llama.block_count'", "missing"});  // the other keys are still qwen2's
}

TEST(ModelLoading, OptionalKeysHaveTheirDefaults) {
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

TEST(ModelLoading, RopeFactorsAreChecked) {
  const auto with = [](const std::vector<float>& factors) {
    ModelFile file = ModelFile::tiny("tiny-llama");
    const auto bytes = std::as_bytes(std::span(factors));
    file.tensors.push_back({"rope_freqs.weight", {factors.size()}, gguf_type_of(id_of<F32>).value(), {bytes.begin(), bytes.end()}});
    return file;
  };
  std::vector<float> factors(16, 1.0f);
  EXPECT_TRUE(LoadedModel(with(factors)));
  for (const float bad :
       {0.0f, -1.0f, std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    factors[7] = bad;
    expect_refused(with(factors), {"'rope_freqs.weight'"});
  }
  expect_refused(with(std::vector<float>(15, 1.0f)), {"'rope_freqs.weight'", "15", "16"});
}

TEST(ModelLoading, ProgressEndsAtTheTotal) {
  for (const std::string& tiny : tiny_models) {
    Result<GgufFile> file = GgufFile::open(tiny_folder + tiny + ".gguf");
    ASSERT_TRUE(file) << file.error().message;
    std::size_t last = 0, total = 0, calls = 0;
    const auto model = Model::load(std::move(*file), {}, [&](std::size_t done, std::size_t all) {
      EXPECT_GT(done, last);
      EXPECT_LE(done, all);
      last = done;
      total = all;
      ++calls;
    });
    ASSERT_TRUE(model) << model.error().message;
    EXPECT_GT(calls, 10u);
    EXPECT_GT(total, 700000u);
    EXPECT_GE(model->packed_weight_bytes(), total / 2);
    EXPECT_EQ(last, total) << tiny;
  }
}

#if defined(__linux__)
std::size_t open_files() {
  DIR* folder = opendir("/proc/self/fd");
  std::size_t count = 0;
  while (readdir(folder) != nullptr) ++count;
  closedir(folder);
  return count;
}

std::size_t mappings_of(const std::string& path) {
  std::ifstream maps("/proc/self/maps");
  std::size_t count = 0;
  for (std::string line; std::getline(maps, line);) count += line.find(path) != std::string::npos;
  return count;
}

TEST(ModelLoading, NothingStaysOpenOrMapped) {
  const std::string path = ::testing::TempDir() + "stilla_refused_" + std::to_string(getpid()) + ".gguf";
  ModelFile file = ModelFile::tiny("tiny-qwen2");
  file.remove_tensor("blk.1.ffn_down.weight");  // found out after most has been packed
  ASSERT_TRUE(file.builder().write(path));
  const std::size_t before = open_files();
  for (const LoadMode mode : {LoadMode::map, LoadMode::read}) {
    for (int i = 0; i < 20; ++i) {
      Result<GgufFile> opened = GgufFile::open(path, mode);
      ASSERT_TRUE(opened) << opened.error().message;
      const Result<Model> model = Model::load(std::move(*opened));
      ASSERT_FALSE(model);
      expect_one_line(model.error().message, {path, "'blk.1.ffn_down.weight'"});
    }
    EXPECT_EQ(mappings_of(path), 0u);
  }
  EXPECT_EQ(open_files(), before);
  {
    Result<GgufFile> opened = GgufFile::open(tiny_folder + "tiny-qwen2.gguf");
    const Result<Model> model = Model::load(std::move(*opened));
    ASSERT_TRUE(model);
  }
  EXPECT_EQ(mappings_of("tiny-qwen2.gguf"), 0u);
  EXPECT_EQ(open_files(), before);
  unlink(path.c_str());
}
#endif

}  // namespace
