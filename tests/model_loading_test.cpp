// SPDX-License-Identifier: Apache-2.0
//
// Tests of model files whose parts do not fit together. They are refused in one line, which names the file and the key or tensor,
// and nothing is left behind. Damage below the level of keys and tensors is tested in gguf_test.cpp.
#include <gtest/gtest.h>

#include <dirent.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "model_refusals.hpp"

namespace {

using namespace stilla;
using namespace stilla_test;

// Returns whether a model may lack the tensor of this name. Only the head may be missing, because then the model uses the
// embedding.
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
      // If the embedding has more rows than the head, the rows of the embedding count as the size of the vocabulary. So the head
      // does not fit, and the message names it.
      const bool is_embedding = tensor.name == "token_embd.weight";
      const bool is_tied = tiny == "tiny-llama";
      const auto reshaped = [&](const std::vector<std::uint64_t>& dims) {
        SCOPED_TRACE(::testing::Message() << tiny << " " << tensor.name << " " << ::testing::PrintToString(dims));
        ModelFile changed = file;
        changed.tensors[i].dims = dims;
        std::uint64_t weights = 1;
        for (const std::uint64_t dim : dims) weights *= dim;
        with_format(tensor.format(), [&]<class F>(F) { changed.tensors[i].bytes.resize(weights / F::block_weights * F::block_bytes); });
        const bool has_rows = dims.size() == 2 && tensor.dims.size() == 2;
        const bool has_more_rows = has_rows && dims[0] == tensor.dims[0] && dims[1] > tensor.dims[1];
        const bool shows_in_head = is_embedding && has_more_rows && !is_tied;
        expect_refused(changed, {"'" + (shows_in_head ? "output.weight" : tensor.name) + "'", "found", "expected"});
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
      reshaped({dims[0], dims[1] - 1});
      // If the head is tied to the embedding, more rows of the embedding are only a larger vocabulary and no error.
      if (!is_embedding || !is_tied) reshaped({dims[0], dims[1] + 32});
      reshaped({dims[0], 1});
      reshaped({dims[0]});
    }
  }
}

TEST(ModelLoading, TypesThatCannotBeDecodedAreNamed) {
  for (const std::string name : {"blk.0.attn_norm.weight", "blk.1.ffn_up.weight", "token_embd.weight"}) {
    for (const std::uint32_t type : {19u /* iq1_s */, 29u /* iq1_m */, 34u /* tq1_0 */, 35u /* tq2_0 */, 39u /* mxfp4 */, 40u /* nvfp4 */,
                                     24u /* i8 */, 26u /* i32 */, 28u /* f64 */}) {
      SCOPED_TRACE(name + " " + std::to_string(type));
      ModelFile file = ModelFile::tiny("tiny-qwen2");
      ModelFile::Tensor& tensor = file.tensor(name);
      const GgufTensorType* known = find_tensor_type(type);
      tensor.bytes.resize(tensor.dims[0] * (tensor.dims.size() > 1 ? tensor.dims[1] : 1) / known->block_weights * known->block_bytes);
      tensor.type = type;
      expect_refused(file, {"'" + name + "'", known->name, "not supported", "q4_k"});
    }
  }
}

// Vectors such as norms and biases may have any format that GGUF files can use for them.
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

// A model can be loaded with its layers in another format. A matrix gets this format if its rows consist of whole blocks of the
// format. Its weights are then those that requantising the file's weights gives. A head of floats becomes q8_0. All other tensors
// keep the file's format.
TEST(ModelLoading, LayersInAnotherFormat) {
  for (const char* const name : {"tiny-qwen2", "tiny-llama"}) {
    ModelFile file = ModelFile::tiny(name);
    const LoadedModel original(file), model(file, {}, id_of<ST4>);
    ASSERT_TRUE(original && model) << original.error() << model.error();
    const PackedView head = original->head().weight.view();
    const bool becomes_q8_0 = head.cols % Q8_0::block_weights == 0 && (head.format == id_of<F32> || head.format == id_of<F16>);
    EXPECT_EQ(model->head().weight.view().format, becomes_q8_0 ? id_of<Q8_0> : head.format) << name;
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

TEST(ModelLoading, TensorsThatTheArchitectureDoesNotHaveAreNamed) {
  const std::vector<float> values(2048, 0.125f);
  const auto with = [&](const std::string& tiny, const std::string& name) {
    ModelFile file = ModelFile::tiny(tiny);
    file.add_floats(name, {values.size()}, values);
    return file;
  };
  for (const std::string& tiny : tiny_models) {
    for (const char* name : {"output.bias",
                             "token_embd_norm.weight",
                             "token_embd.bias",
                             "output_norm.bias",
                             "rope_factors_long.weight",
                             "token_types.weight",
                             "cls.weight",
                             "blk.0.attn_norm.bias",
                             "blk.1.attn_qkv.weight",
                             "blk.0.attn_sinks.weight",
                             "blk.0.ffn_gate_exps.weight",
                             "blk.0.ffn_gate_inp.weight",
                             "blk.1.post_attention_norm.weight",
                             "blk.0.attn_q.scale",
                             "blk.0.attn_q",
                             "blk.0.attn_q.weight.lora_a",
                             "blk.0.",
                             "blk.0",
                             "blk..attn_q.weight",
                             "blk.00.attn_q.weight",
                             "blk.01.attn_q.bias",
                             "blk.+0.attn_q.weight",
                             "blk.-1.attn_q.weight",
                             "blk.4294967296.attn_q.weight",
                             "blk.18446744073709551616.attn_q.weight",
                             "blk.18446744073709551616.attn_q.bias",
                             "BLK.0.attn_q.bias",
                             "v.blk.0.attn_q.weight",
                             " output.weight",
                             "output.weight "}) {
      SCOPED_TRACE(tiny + " " + name);
      expect_refused(with(tiny, name), {concat("'", name, "'"), "has no such tensor", tiny.substr(5)});
    }
    for (const char* name : {"blk.2.attn_q.bias", "blk.4095.ffn_norm.weight", "blk.9999999.attn_v.bias"}) {
      SCOPED_TRACE(tiny + " " + name);
      expect_refused(with(tiny, name), {concat("'", name, "'"), "block_count' is 2"});
    }
  }
  for (const std::string tiny : {"tiny-qwen2", "tiny-llama"}) {
    for (const char* name : {"blk.0.attn_q_norm.weight", "blk.1.attn_k_norm.weight"}) {
      expect_refused(with(tiny, name), {concat("'", name, "'"), "has no such tensor"});
    }
  }
  for (const char* name : {"blk.0.attn_output.bias", "blk.1.ffn_up.bias"}) {
    expect_refused(with("tiny-qwen2", name), {concat("'", name, "'"), "has no such tensor"});
  }
  expect_refused(with("tiny-qwen3", "blk.1.ffn_up.bias"), {"'blk.1.ffn_up.bias'", "has no such tensor"});
}

// Biases that an architecture may have are used: they change the results.
TEST(ModelLoading, BiasesThatAreAllowedAreUsed) {
  const std::vector<std::uint32_t> ids = as_ids(tiny_golden("tiny-llama/ids"));
  const std::pair<std::string, std::vector<const char*>> cases[] = {
      {"tiny-llama", {"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"}},
      {"tiny-qwen3", {"attn_q", "attn_k", "attn_v", "attn_output"}}};
  for (const auto& [tiny, parts] : cases) {
    ModelFile file = ModelFile::tiny(tiny);
    const LoadedModel plain(file);
    ASSERT_TRUE(plain) << plain.error();
    const std::vector<float> before = all_logits(*plain, ids);
    for (const char* part : parts) {
      ModelFile changed = file;
      const std::uint64_t rows = file.tensor(concat("blk.1.", part, ".weight")).dims[1];
      changed.add_floats(concat("blk.1.", part, ".bias"), {rows}, std::vector<float>(rows, 0.75f));
      const LoadedModel model(changed);
      ASSERT_TRUE(model) << model.error();
      EXPECT_FALSE(same_bits(all_logits(*model, ids), before)) << tiny << " " << part;
    }
  }
}

TEST(ModelLoading, BytesBehindTheLastTensorAreTold) {
  const std::vector<std::byte> whole = ModelFile::tiny("tiny-llama").builder().build();
  const auto notes = [&](std::string_view tail) {
    std::vector<std::byte> bytes = whole;
    for (const char c : tail) bytes.push_back(static_cast<std::byte>(c));
    Result<GgufFile> file = GgufFile::parse(MappedFile::from_memory(bytes, "memory.gguf"));
    EXPECT_TRUE(file);
    const Result<Model> model = Model::load(std::move(*file));
    EXPECT_TRUE(model) << model.error().message;
    return model ? model->notes() : std::vector<std::string>();
  };
  const std::size_t to_alignment = (32 - whole.size() % 32) % 32;
  EXPECT_TRUE(notes("").empty());
  EXPECT_TRUE(notes(std::string(to_alignment, '\0')).empty());  // a writer may pad the last tensor like this
  for (const std::string& tail :
       {std::string(to_alignment + 1, '\0'), std::string("x"), std::string(100, 'x'), "GGUF" + std::string(4096, '\0')}) {
    const std::vector<std::string> found = notes(tail);
    ASSERT_EQ(found.size(), 1u) << tail.size();
    expect_one_line(found[0], {"memory.gguf", concat(tail.size(), " bytes from byte ", whole.size()), "not used"});
  }
}

TEST(ModelLoading, EveryTokenNeedsARowOfTheEmbedding) {
  ModelFile file = ModelFile::tiny("tiny-llama");  // its head is tied, so no other tensor shows that rows are missing
  ModelFile::Tensor& embedding = file.tensor("token_embd.weight");
  embedding.bytes.resize(embedding.bytes.size() / 512 * 500);
  embedding.dims[1] = 500;
  expect_refused(file, {"'token_embd.weight'", "found 500 rows", "512 tokens"});
  file.remove_key("tokenizer.ggml.tokens");
  const LoadedModel model(file);  // without a vocabulary every row of the embedding is a token
  ASSERT_TRUE(model) << model.error();
  EXPECT_EQ(model->config().vocabulary, 500u);
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
  file.remove_tensor("blk.1.ffn_down.weight");  // noticed only after most weights have been packed
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
