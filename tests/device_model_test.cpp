// SPDX-License-Identifier: Apache-2.0
//
// Tests of a whole model whose layers' matrices are on a device. Its logits are near the CPU's, for one token or many. The device
// can take the weights from a GGUF file and from a packed file. If a device cannot hold a tensor, the error message names the
// tensor.
#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <stilla/base/thread_pool.hpp>
#include <stilla/devices.hpp>
#include <stilla/io/packed_file.hpp>
#include <stilla/model/rotation.hpp>

#include "model_util.hpp"

namespace {

using namespace stilla;
using namespace stilla_test;

GgufFile tiny_file() { return std::move(*GgufFile::open(tiny_folder + "tiny-qwen2.gguf")); }

// Returns those formats of a short list that the device can hold.
std::vector<FormatId> formats_for(std::string_view device) {
  std::vector<FormatId> held;
  for (const FormatId format : {id_of<INT4_CHANNEL>, id_of<LPBQ32>, id_of<LPBQ64>, id_of<INT8_CHANNEL>, id_of<BFP16EBS8>}) {
    std::vector<std::byte> rows;
    with_format(format, [&]<class F>(F) { rows = random_rows<F>(1, 16, 256); });
    if (put_on_device(device, format, rows.data(), 16, 256)) held.push_back(format);
  }
  return held;
}

template <class D>
class DeviceModel : public testing::Test {};
using DeviceTypes = AsGtestTypes<Devices>::Types;
struct DeviceNames {
  template <class D>
  static std::string GetName(int) {
    return D::id.name;
  }
};
TYPED_TEST_SUITE(DeviceModel, DeviceTypes, DeviceNames);

// Compares the logits of a device with the CPU's. The errors of the products add up over the model, but they stay below 100 times
// the device's tolerance for one product.
TYPED_TEST(DeviceModel, IsNearTheCpu) {
  const std::string device = TypeParam::id.name;
  const std::vector<FormatId> formats = formats_for(device);
  ASSERT_FALSE(formats.empty()) << "the device holds none of the formats that NPUs take";
  ThreadPool pool(2);
  for (const FormatId format : formats) {
    SCOPED_TRACE(format_name(format));
    const Result<Model> cpu = Model::load(tiny_file(), {}, {}, format);
    const Result<Model> model = Model::load(tiny_file(), pool, {}, format, device);
    ASSERT_TRUE(cpu && model) << (model ? "" : model.error().message);
    EXPECT_EQ(model->device(), device);
    EXPECT_NE(model->identity(), cpu->identity());
    SessionOptions options;
    options.activations = ActivationBits::sixteen;
    const std::vector<float> expected = all_logits(*cpu, some_ids, options), found = all_logits(*model, some_ids, options, pool);
    EXPECT_LT(nmse(found, expected), 100 * TypeParam::tolerance);
    EXPECT_GT(nmse(found, expected), 0.0);
    Result<Session> steps = Session::create(*model, options);
    ASSERT_TRUE(steps);
    std::vector<float> one_by_one;
    for (const std::uint32_t id : some_ids) {
      const auto logits = steps->evaluate(std::vector{id});
      ASSERT_TRUE(logits) << logits.error().message;
      one_by_one.insert(one_by_one.end(), logits->begin(), logits->end());
    }
    EXPECT_LT(nmse(one_by_one, expected), 100 * TypeParam::tolerance);
  }
}

TEST(DeviceModels, PackedWeightsAreUnpackedWhereTheyCanBe) {
  const std::string path = (std::filesystem::temp_directory_path() / "stilla-device-model-test.stilla").string();
  for (const FormatId format : {id_of<INT4_CHANNEL>, id_of<LPBQ64>}) {
    const GgufFile source = tiny_file();
    ASSERT_TRUE(write_packed_file(source, path, {}, {}, {format}));
    const Result<Model> from_rows = Model::load(tiny_file(), {}, {}, format, "hexagon-emulated");
    const Result<Model> from_panels = Model::load(std::move(*GgufFile::open(path)), {}, {}, {}, "hexagon-emulated");
    ASSERT_TRUE(from_rows && from_panels) << (from_panels ? "" : from_panels.error().message);
    EXPECT_TRUE(same_bits(all_logits(*from_panels, some_ids), all_logits(*from_rows, some_ids)));
  }
  ASSERT_TRUE(write_packed_file(tiny_file(), path, {}, {}, {id_of<Q4_0>}));
  const Result<Model> refused = Model::load(std::move(*GgufFile::open(path)), {}, {}, {}, "hexagon-emulated");
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("is packed as q4_0, which only the CPU's kernels read"), std::string::npos)
      << refused.error().message;
  std::filesystem::remove(path);
}

// In a rotated model the matrix down needs a Hadamard transform of its input. The device transforms this input, if it can do so
// itself.
TYPED_TEST(DeviceModel, RotatedIsNearTheCpu) {
  const std::string device = TypeParam::id.name;
  const std::string path = (std::filesystem::temp_directory_path() / ("stilla-rotated-" + device + ".stilla")).string();
  const GgufFile source = tiny_file();
  const Result<RotatedWeights> rotated = RotatedWeights::create(source, {true, true, true});
  ASSERT_TRUE(rotated) << rotated.error().message;
  ASSERT_TRUE(write_packed_file(source, path, {}, {}, {id_of<INT4_CHANNEL>, &*rotated}));
  const Result<Model> cpu = Model::load(std::move(*GgufFile::open(path)));
  const Result<Model> model = Model::load(std::move(*GgufFile::open(path)), {}, {}, {}, device);
  ASSERT_TRUE(cpu && model) << (model ? "" : model.error().message);
  EXPECT_EQ(model->layers()[0].down.device->makes_transform(), TransformingDevice<TypeParam>);
  SessionOptions options;
  options.activations = ActivationBits::sixteen;
  const std::vector<float> expected = all_logits(*cpu, some_ids, options), found = all_logits(*model, some_ids, options);
  EXPECT_LT(nmse(found, expected), 100 * TypeParam::tolerance);
  EXPECT_GT(nmse(found, expected), 0.0);
  std::filesystem::remove(path);
}

TEST(DeviceModels, ADeviceWithoutATransformSaysSo) {
  const std::vector<std::byte> rows = random_rows<INT4_CHANNEL>(1, 16, 64);
  const auto w = put_on_device("xdna-emulated", id_of<INT4_CHANNEL>, rows.data(), 16, 64);
  ASSERT_TRUE(w) << w.error().message;
  std::vector<float> x(64), y(16);
  ASSERT_FALSE((*w)->makes_transform());
  EXPECT_EQ((*w)->multiply_transformed(Matrix(y.data(), 1, 16), ConstMatrix(x.data(), 1, 64)).error().message,
            "device 'xdna-emulated' makes no transform of its inputs");
}

// A stand-in for a model's layers, which does nothing and records the positions that it was called for.
class NoLayers : public ModelBody {
 public:
  Status run(Matrix x, std::size_t first) override {
    if (fails) return Error{ErrorKind::system, "the device is gone"};
    for (std::size_t m = 0; m < x.rows; ++m) positions.push_back(first + m);
    return success();
  }
  std::size_t context() const override { return 30; }
  Rotation rotation() const override { return {rotates, false, rotates}; }

  std::vector<std::size_t> positions;
  bool fails = false, rotates = false;
};

Result<Model> model_without_layers() { return Model::load_ends(std::make_unique<GgufFile>(tiny_file())); }

// Computes in doubles the logits of a model that has no layers, only its embedding, norm and head.
std::vector<float> logits_without_layers(std::uint32_t id) {
  const Result<Model> model = Model::load(tiny_file());
  const ModelConfig& c = model->config();
  std::vector<float> x(c.hidden), row(c.hidden), logits(c.vocabulary);
  model->embed(x.data(), id);
  double squares = 0.0;
  for (const float value : x) squares += double{value} * double{value};
  const double factor = 1.0 / std::sqrt(squares / double(c.hidden) + double{c.rms_epsilon});
  const GgufFile file = tiny_file();
  const TensorInfo* head = file.find_tensor("output.weight");
  if (head == nullptr) head = file.find_tensor("token_embd.weight");
  for (std::size_t n = 0; n < c.vocabulary; ++n) {
    with_format(head->format,
                [&]<class F>(F) { decode_row<F>(file.tensor_bytes(*head).data() + n * row_bytes<F>(c.hidden), row.data(), c.hidden); });
    double sum = 0.0;
    for (std::size_t i = 0; i < c.hidden; ++i) sum += double{x[i]} * factor * double{model->output_norm()[i]} * double{row[i]};
    logits[n] = static_cast<float>(sum);
  }
  return logits;
}

TEST(ModelBodies, SessionsDoTheRest) {
  const Result<Model> model = model_without_layers();
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_TRUE(model->layers().empty());
  for (const bool rotates : {false, true}) {
    NoLayers body;
    body.rotates = rotates;
    SessionOptions options;
    options.body = &body;
    options.batch = 7;
    ThreadPool pool(2);
    Result<Session> session = Session::create(*model, options, pool);
    ASSERT_TRUE(session) << session.error().message;
    EXPECT_EQ(session->context(), 30u);
    ASSERT_TRUE(session->append(std::span(some_ids).first(10)));
    session->truncate(8);
    const auto logits = session->evaluate(std::span(some_ids).subspan(8, 3));
    ASSERT_TRUE(logits) << logits.error().message;
    EXPECT_EQ(body.positions, (std::vector<std::size_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 8, 9, 10}));
    EXPECT_LT(nmse(std::vector<float>(logits->begin(), logits->end()), logits_without_layers(some_ids[10])), 1e-7);
    std::size_t rows = 0;
    ASSERT_TRUE(session->evaluate_all(std::span(some_ids).first(9), [&](std::size_t, ConstMatrix batch) {
      for (std::size_t m = 0; m < batch.rows; ++m) {
        const std::vector<float> found(batch.row(m), batch.row(m) + batch.cols);
        EXPECT_LT(nmse(found, logits_without_layers(some_ids[rows++])), 1e-7);
      }
    }));
    EXPECT_EQ(rows, 9u);
    body.fails = true;
    EXPECT_EQ(session->append(some_ids).error().message, "the text does not fit the context: 39 tokens, but the context holds 30");
    EXPECT_EQ(session->append(std::span(some_ids).first(2)).error().message, "the device is gone");
    EXPECT_EQ(session->size(), 20u);
  }
}

TEST(ModelBodies, WhatNeedsTheLayersIsRefused) {
  const Result<Model> model = model_without_layers();
  ASSERT_TRUE(model);
  EXPECT_EQ(Session::create(*model).error().message, "the model was loaded without its layers, and nothing else runs them");
  NoLayers body;
  SessionOptions options;
  options.body = &body;
  Result<Session> session = Session::create(*model, options);
  ASSERT_TRUE(session);
  ASSERT_TRUE(session->append(some_ids));
  const std::string path = (std::filesystem::temp_directory_path() / "stilla-body.session").string();
  constexpr const char* refusal = "keys and values of this text are the device's, so it can be neither saved nor restored";
  EXPECT_EQ(session->save(path).error().message, refusal);
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_EQ(session->restore(MappedFile::from_memory({}, "empty")).error().message, refusal);
  Session fork = session->fork();
  EXPECT_EQ(fork.size(), 0u);
  EXPECT_FALSE(fork.append(some_ids));
}

TEST(DeviceModels, WhatCannotBeIsSaid) {
  EXPECT_EQ(Model::load(tiny_file(), {}, {}, {}, "abacus").error().message, concat("device 'abacus' is unknown; known: ", device_names()));
  const Result<Model> refused = Model::load(tiny_file(), {}, {}, id_of<Q8_0>, "hexagon-emulated");
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("blk.0.attn_q.weight"), std::string::npos) << refused.error().message;
  EXPECT_NE(refused.error().message.find("q8_0"), std::string::npos) << refused.error().message;
}

}  // namespace
