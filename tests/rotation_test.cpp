// SPDX-License-Identifier: Apache-2.0
//
// Tests of rotated networks (model/rotation.hpp): rotations are orthogonal, they give the same bits on every target, and the
// rotated network computes the same as the original. Also tested are the static shapes (fixed numbers of tokens) in which NPUs run
// networks.
#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <stilla/model/rotation.hpp>

#include "model_util.hpp"

namespace {

using namespace stilla;
using namespace stilla_test;

double length(std::span<const float> x) {
  double sum = 0;
  for (const float value : x) sum += double{value} * double{value};
  return std::sqrt(sum);
}

TEST(FastRotation, KeepsLengthsAndTurnsBack) {
  for (const std::size_t width : {16u, 48u, 128u, 896u, 1536u, 3584u, 4864u, 5120u, 13824u}) {
    for (const bool has_signs : {false, true}) {
      SCOPED_TRACE(width);
      const FastRotation rotation(width, has_signs);
      const std::vector<float> original = noise_values(static_cast<std::uint32_t>(width), width);
      std::vector<float> x = original;
      std::vector<double> exact(original.begin(), original.end());
      rotation.rotate(x.data());
      rotation.rotate(exact.data());
      EXPECT_NEAR(length(x), length(original), 1e-6 * length(original));
      EXPECT_LT(nmse(x, std::vector<float>(exact.begin(), exact.end())), 1e-12);
      EXPECT_GT(nmse(x, original), 0.5);
      rotation.rotate_back(x.data());
      EXPECT_LT(nmse(x, original), 1e-12);
    }
  }
}

// The Hadamard transform mixes runs of hadamard_run() neighbouring values. It spreads an outlier over its run: each value becomes
// plus or minus the outlier divided by the root of the run's length.
TEST(FastRotation, SpreadsWhatStandsOut) {
  for (const std::size_t width : {128u, 896u, 1536u, 5120u}) {
    const std::size_t run = hadamard_run(width), at = width / 3;
    std::vector<float> x(width);
    x[at] = 1.0f;
    FastRotation(width, true).rotate(x.data());
    for (std::size_t i = 0; i < width; ++i) {
      EXPECT_NEAR(std::fabs(x[i]), i / run == at / run ? 1.0 / std::sqrt(static_cast<double>(run)) : 0.0, 1e-6);
    }
  }
}

TEST(FastRotation, HasTheSameBitsOnEveryTarget) {
  for (const std::size_t width : {48u, 896u, 4864u}) {
    const FastRotation rotation(width, true);
    std::vector<float> expected;
    for_each_type(Targets{}, [&]<class Target>(Target) {
      if (!Target::available(cpu_info())) return;
      const OnTarget on(Target::id);
      std::vector<float> x = noise_values(3, width);
      rotation.rotate(x.data());
      if (expected.empty()) expected = x;
      EXPECT_TRUE(same_bits(x, expected)) << Target::id.name;
      rotation.rotate_back(x.data());
      EXPECT_LT(nmse(x, noise_values(3, width)), 1e-12);
    });
  }
}

TEST(Rotation, TextsAreReadAndWritten) {
  EXPECT_EQ(parse_rotation("residual"), (Rotation{true, false, false}));
  EXPECT_EQ(parse_rotation("heads,down"), (Rotation{false, true, true}));
  EXPECT_EQ(rotation_text({true, true, true}), "residual,heads,down");
  for (const char* text : {"", ",", "residual,", "residual,residual", "sideways", "all", "residual, down"}) {
    EXPECT_EQ(parse_rotation(text), std::nullopt) << text;
  }
}

class RotatedNetwork : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() /
              ("stilla-rotation-test-" + std::string(testing::UnitTest::GetInstance()->current_test_info()->name()));
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string path() const { return (folder_ / "rotated.stilla").string(); }

  // Multiplies the rotations into the model's weights, writes a packed file, and returns the model that is read from this file.
  GgufFile rotated(const GgufFile& source, const Rotation& rotation, FormatId format) {
    const Result<RotatedWeights> weights = RotatedWeights::create(source, rotation);
    EXPECT_TRUE(weights) << weights.error().message;
    const PackOptions options{format, &*weights};
    const Status status = write_packed_file(source, path(), {}, {}, options);
    EXPECT_TRUE(status) << status.error().message;
    Result<GgufFile> file = GgufFile::open(path());
    EXPECT_TRUE(file) << file.error().message;
    EXPECT_TRUE(verify_packed_file(*file));
    EXPECT_TRUE(is_packed_from(*file, source, options));
    EXPECT_FALSE(is_packed_from(*file, source, {format}));
    return std::move(*file);
  }

 private:
  std::filesystem::path folder_;
};

// A model with any combination of the three rotations (residual, heads, down) computes the same as the original. With float
// weights the logits differ only by the rounding of floats.
TEST_F(RotatedNetwork, IsTheOriginal) {
  for (const std::string& name : tiny_models) {
    ModelFile floats = ModelFile::tiny(name);
    convert_matrices(floats, id_of<F32>);
    const std::vector<std::byte> bytes = floats.builder().build();
    const auto source = [&] { return std::move(*GgufFile::parse(MappedFile::from_memory(bytes, "m.gguf"))); };
    const Result<Model> original = Model::load(source());
    ASSERT_TRUE(original) << original.error().message;
    SessionOptions options;
    options.kv_type = KvType::f32;
    const std::vector<float> expected = all_logits(*original, some_ids, options);
    for (unsigned mask = 1; mask < 8; ++mask) {
      const Rotation rotation{(mask & 1) != 0, (mask & 2) != 0, (mask & 4) != 0};
      SCOPED_TRACE(name + ", " + rotation_text(rotation));
      const GgufFile file = source();
      Result<Model> model = Model::load(rotated(file, rotation, id_of<F32>));
      ASSERT_TRUE(model) << model.error().message;
      EXPECT_EQ(model->config().rotation, rotation);
      EXPECT_LT(nmse(all_logits(*model, some_ids, options), expected), 1e-10);
      EXPECT_NE(model->identity(), original->identity());
    }
  }
}

// With weights of INT4_CHANNEL (int4 with a scale for each row), a rotated network is nearer to the original than one that is not
// rotated. Some columns of the weights are much larger than the others, as in trained networks, where a value of the residual
// stream stands out.
TEST_F(RotatedNetwork, LosesLessThanTheOriginal) {
  ModelFile floats = ModelFile::tiny("tiny-qwen2");
  convert_matrices(floats, id_of<F32>);
  for (ModelFile::Tensor& tensor : floats.tensors) {
    const bool writes = tensor.name.ends_with("attn_output.weight") || tensor.name.ends_with("ffn_down.weight");
    const bool reads = tensor.name.starts_with("blk.") && tensor.dims.size() == 2 && !writes;
    auto* values = reinterpret_cast<float*>(tensor.bytes.data());
    const std::size_t cols = tensor.dims[0], count = tensor.bytes.size() / sizeof(float);
    for (std::size_t i = 0; reads && i < count; ++i) {
      if (i % cols == 5) values[i] *= 30.0f;
    }
  }
  const std::vector<std::byte> bytes = floats.builder().build();
  const auto source = [&] { return std::move(*GgufFile::parse(MappedFile::from_memory(bytes, "m.gguf"))); };
  const Result<Model> original = Model::load(source());
  const Result<Model> plain = Model::load(source(), {}, {}, id_of<INT4_CHANNEL>);
  const GgufFile file = source();
  const Result<Model> turned = Model::load(rotated(file, {true, false, true}, id_of<INT4_CHANNEL>));
  ASSERT_TRUE(original && plain && turned);
  const std::vector<float> expected = all_logits(*original, some_ids);
  EXPECT_LT(nmse(all_logits(*turned, some_ids), expected), 0.7 * nmse(all_logits(*plain, some_ids), expected));
}

TEST_F(RotatedNetwork, WhatCannotBeRotatedIsRefusedInOneLine) {
  const ModelFile tiny = ModelFile::tiny("tiny-qwen2");
  const std::vector<std::byte> bytes = tiny.builder().build();
  const GgufFile source = std::move(*GgufFile::parse(MappedFile::from_memory(bytes, "m.gguf")));
  const GgufFile file = rotated(source, {true, true, true}, id_of<Q8_0>);
  EXPECT_NE(RotatedWeights::create(file, {true, true, true}).error().message.find("the weights are rotated already"), std::string::npos);

  ModelFile unknown = tiny;
  unknown.set("stilla.packed.rotation", std::string_view("sideways"));
  const LoadedModel model(unknown);
  EXPECT_NE(model.error().find("found 'sideways'; expected some of residual,heads,down"), std::string::npos) << model.error();

  // A model is refused if its rows cannot be rotated because of their length: the Hadamard transform would read behind their end.
  for (const bool is_rotated_already : {true, false}) {
    const auto message_after = [&](const std::string& key, std::uint32_t width, const std::string& rotation) {
      ModelFile odd = tiny;
      odd.set("qwen2.attention.key_length", std::uint32_t{32});
      odd.set("qwen2." + key, width);
      if (is_rotated_already) {
        odd.set("stilla.packed.rotation", std::string_view(rotation));
        return LoadedModel(odd).error();
      }
      const std::vector<std::byte> odd_bytes = odd.builder().build();
      const GgufFile odd_file = std::move(*GgufFile::parse(MappedFile::from_memory(odd_bytes, "m.gguf")));
      const Result<RotatedWeights> made = RotatedWeights::create(odd_file, *parse_rotation(rotation));
      return made ? std::string() : made.error().message;
    };
    EXPECT_NE(message_after("embedding_length", 264, "residual").find("found 264, which cannot be rotated"), std::string::npos);
    EXPECT_NE(message_after("feed_forward_length", 500, "heads,down").find("found 500, which cannot be rotated"), std::string::npos);
    EXPECT_EQ(message_after("feed_forward_length", 500, "heads").find("cannot be rotated"), std::string::npos);
  }

  ModelFile narrow = tiny;
  ModelFile::Tensor& norm = narrow.tensor("blk.0.attn_norm.weight");
  norm.dims = {128};
  norm.bytes.resize(128 * sizeof(float));
  const std::vector<std::byte> narrow_bytes = narrow.builder().build();
  const GgufFile narrow_file = std::move(*GgufFile::parse(MappedFile::from_memory(narrow_bytes, "m.gguf")));
  const Result<RotatedWeights> weights = RotatedWeights::create(narrow_file, {true, false, false});
  ASSERT_TRUE(weights);
  const Status status = write_packed_file(narrow_file, path(), {}, {}, {id_of<Q8_0>, &*weights});
  ASSERT_FALSE(status);
  EXPECT_NE(status.error().message.find("tensor 'blk.0.attn_norm.weight'"), std::string::npos) << status.error().message;
  EXPECT_NE(status.error().message.find("found shape [128]; expected [256]"), std::string::npos) << status.error().message;
}

// NPUs compile networks for two shapes, a window of 64 tokens and a step of one token. A prompt of any length that is evaluated in
// these shapes gives the same bits as one that is evaluated as usual. The tokens that are generated behind the prompt have the same
// bits too.
TEST(StaticShapes, GiveTheSameBits) {
  const LoadedModel model(ModelFile::tiny("tiny-qwen2"));
  ASSERT_EQ(model.error(), "");
  std::vector<std::uint32_t> ids(201);
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::uint32_t>(noise_bits(9, i) % 512);
  for (const KvType kv : {KvType::f16, KvType::int8}) {
    for (const std::size_t length : {1u, 2u, 63u, 64u, 65u, 200u}) {
      SCOPED_TRACE(length);
      SessionOptions options;
      options.context = 201;
      options.kv_type = kv;
      Result<Session> plain = Session::create(*model, options);
      options.window = 64;
      Result<Session> windows = Session::create(*model, options);
      ASSERT_TRUE(plain && windows);
      const std::span<const std::uint32_t> prompt(ids.data(), length);
      const auto expected = plain->evaluate(prompt);
      const auto found = windows->evaluate(prompt);
      ASSERT_TRUE(expected && found);
      EXPECT_TRUE(same_bits(std::vector<float>(found->begin(), found->end()), std::vector<float>(expected->begin(), expected->end())));
      EXPECT_EQ(windows->size(), length);
      const std::vector<std::uint32_t> next{ids[length]};
      const auto expected_next = plain->evaluate(next);
      const auto found_next = windows->evaluate(next);
      ASSERT_TRUE(expected_next && found_next);
      EXPECT_TRUE(same_bits(std::vector<float>(found_next->begin(), found_next->end()),
                            std::vector<float>(expected_next->begin(), expected_next->end())));
    }
  }
  SessionOptions options;
  options.window = 64;
  Result<Session> windows = Session::create(*model, options);
  Result<Session> plain = Session::create(*model);
  ASSERT_TRUE(plain && windows);
  std::vector<float> all, expected;
  const auto collect = [](std::vector<float>& into) {
    return [&into](std::size_t, ConstMatrix rows) {
      for (std::size_t m = 0; m < rows.rows; ++m) into.insert(into.end(), rows.row(m), rows.row(m) + rows.cols);
    };
  };
  ASSERT_TRUE(windows->evaluate_all(ids, collect(all)) && plain->evaluate_all(ids, collect(expected)));
  EXPECT_TRUE(same_bits(all, expected));
}

}  // namespace
