// SPDX-License-Identifier: Apache-2.0
//
// Tests of damaged and hostile packed files: every kind of damage is refused in one line.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "packed_file_fixture.hpp"

namespace {

using namespace stilla;
using namespace stilla_test;

TEST_F(PackedFileTest, AnotherLayoutIsRefused) {
  PageAligned bytes(packed_tiny());
  const std::uint64_t at = parsed(bytes.bytes()).find(packed_layout_key)->value_offset;
  for (const std::uint32_t version : {0u, packed_layout_version + 1, packed_layout_version - 1, 0xffffffffu}) {
    bytes.put(at, version);
    bytes.seal();
    expect_refused(bytes.bytes(),
                   {"'stilla.packed.layout'", concat("layout ", version), concat("layout ", packed_layout_version), "stilla pack"});
  }
}

// A GGUF file is refused if it says that it is packed but lacks a packed file's other keys, or if it has packed types and does not
// say that it is packed.
TEST_F(PackedFileTest, OwnKeysMustBeThere) {
  GgufBuilder file;
  file.number(packed_layout_key, packed_layout_version);
  expect_refused(file.build(), {"'stilla.packed.checksum'", "none"});
  file.number(packed_checksum_key, std::uint32_t{1});
  expect_refused(file.build(), {"'stilla.packed.checksum'", "uint32", "uint64"});
  expect_refused(GgufBuilder().number(packed_layout_key, std::uint64_t{1}).build(), {"'stilla.packed.layout'", "uint64", "uint32"});
  expect_refused(GgufBuilder().string(packed_layout_key, "1").build(), {"'stilla.packed.layout'", "string"});
  GgufBuilder types;
  types.raw_tensor("t", {32, 16}, *gguf_type_of(id_of<Q4_0>) | packed_type_flag, 0).raw_data(std::string(4096, '\0'));
  expect_refused(types.build(), {"'t'", "type 2147483650"});
  GgufBuilder own;
  own.raw_tensor("t", {128, 16}, *gguf_type_of(id_of<ST4>), 0).raw_data(std::string(4096, '\0'));
  expect_refused(own.build(), {"'t'", "(st4), which only packed files have", "supported: f32"});
}

TEST_F(PackedFileTest, EveryFlippedBitOfTheHeaderIsSeen) {
  PageAligned bytes(packed_tiny());
  const std::uint64_t header_bytes = parsed(bytes.bytes()).data_offset();
  ASSERT_GT(header_bytes, 4096u);
  for (std::uint64_t at = 0; at < header_bytes; ++at) {
    for (unsigned bit = 0; bit < 8; ++bit) {
      if (at >= 1024 && bit != at % 8) continue;
      bytes.bytes()[at] ^= static_cast<std::byte>(1u << bit);
      const Result<GgufFile> file = GgufFile::parse(MappedFile::from_memory(bytes.bytes(), "m.stilla"));
      bytes.bytes()[at] ^= static_cast<std::byte>(1u << bit);
      ASSERT_FALSE(file) << "byte " << at << ", bit " << bit;
      expect_one_line(file.error(), {"m.stilla: "});
    }
  }
}

TEST_F(PackedFileTest, EveryTruncationIsSeen) {
  const std::vector<std::byte> bytes = packed_tiny();
  const GgufFile whole = parsed(bytes);
  const auto refused = [&](std::uint64_t size) {
    // A packed file is cut to this size. The test's copy of it is no larger than the cut file, so that reading behind its end is
    // detected.
    const std::vector<std::byte> cut(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
    expect_refused(cut, {size < 4 ? "is not a GGUF file" : "truncated"});
  };
  for (std::uint64_t size = 0; size <= whole.data_offset(); size += size < 2048 ? 1 : 61) refused(size);
  for (const GgufTensor& tensor : whole.tensors()) {
    for (const std::uint64_t size : {tensor.offset - 1, tensor.offset, tensor.offset + 1, tensor.offset + tensor.size_bytes / 2,
                                     tensor.offset + tensor.size_bytes - 1}) {
      refused(size);
    }
  }
  refused(bytes.size() - 1);  // the file ends with its last tensor, so one byte less is too few
}

// An attacker may put any numbers into a packed file and correct the checksum. Such a file is refused, or it gives a model that
// reads nothing outside the file.
TEST_F(PackedFileTest, AbsurdNumbersDoNoHarm) {
  const std::vector<std::byte> original = packed_tiny();
  PageAligned bytes(original);
  const GgufFile whole = parsed(bytes.bytes());
  const std::vector<GgufTensor> tensors(whole.tensors().begin(), whole.tensors().end());
  std::size_t accepted = 0, refused = 0;
  const auto attempt = [&](std::uint64_t at, std::uint64_t value, std::size_t width) {
    std::memcpy(bytes.bytes().data() + at, &value, width);
    bytes.seal();
    Result<GgufFile> file = GgufFile::parse(MappedFile::from_memory(bytes.bytes(), "m.stilla"));
    if (file) {
      Result<Model> model = Model::load(std::move(*file));
      if (model) {
        Result<Session> session = Session::create(*model);
        EXPECT_TRUE(session->evaluate(std::span(some_ids).first(2)));
      } else {
        expect_one_line(model.error(), {"m.stilla: "});
      }
      ++accepted;
    } else {
      expect_one_line(file.error(), {"m.stilla: "});
      ++refused;
    }
    std::copy_n(original.begin(), whole.data_offset(), bytes.bytes().begin());
  };
  for (const GgufTensor& tensor : tensors) {
    const std::uint64_t n_dims = tensor.record_offset + 8 + tensor.name.size();
    const std::uint64_t type = n_dims + 4 + 8 * tensor.n_dims;
    for (const std::uint64_t value :
         {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{15}, std::uint64_t{64}, std::uint64_t{4096}, std::uint64_t{1} << 31,
          std::uint64_t{1} << 40, std::uint64_t{1} << 60, std::uint64_t{1} << 63, ~std::uint64_t{0}, ~std::uint64_t{4095}}) {
      attempt(n_dims, value, 4);
      for (std::uint32_t d = 0; d < tensor.n_dims; ++d) attempt(n_dims + 4 + 8 * d, value, 8);
      attempt(type, value, 4);
      attempt(type + 4, value, 8);
    }
    for (std::uint32_t number = 0; number < 42; ++number) {
      attempt(type, number, 4);
      attempt(type, number | packed_type_flag, 4);
    }
    for_each_type(Formats{}, [&]<class F>(F) {
      const std::uint32_t number = gguf_type_of(id_of<F>).value();
      if (is_ggml_type(number)) return;
      attempt(type, number, 4);
      attempt(type, number | packed_type_flag, 4);
    });
    attempt(type, tensor.type | 0x20000u, 4);
  }
  for (const std::uint64_t count : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{1000}, ~std::uint64_t{0}}) {
    attempt(8, count, 8);
    attempt(16, count, 8);
  }
  EXPECT_GT(refused, 10 * tensors.size());
  EXPECT_GT(accepted, tensors.size());
}

TEST_F(PackedFileTest, PanelsMustLieOnACacheLine) {
  const std::vector<std::byte> bytes = packed_tiny();
  PageAligned shifted([&] {
    std::vector<std::byte> out(1);
    out.insert(out.end(), bytes.begin(), bytes.end());
    return out;
  }());
  const Result<Model> model = Model::load(parsed(shifted.bytes().subspan(1), "m.stilla"));
  ASSERT_FALSE(model);
  expect_one_line(model.error(), {"m.stilla: tensor 'blk.0.attn_q.weight'", "multiple of 64"});
}

// Tensors that are read by rows must not be packed in panels. The test marks a vector as packed, and then the embedding of a model
// that has a separate head. Both models are refused.
TEST_F(PackedFileTest, WhatIsReadByRowsMustNotBePacked) {
  for (const std::string name : {"token_embd.weight", "output_norm.weight"}) {
    ModelFile untied = ModelFile::tiny("tiny-qwen2");
    untied.remove_tensor("output.weight");
    untied.tensors.push_back(untied.tensor("token_embd.weight"));
    untied.tensors.back().name = "output.weight";
    const ModelFile::Tensor last = untied.tensor(name);
    untied.remove_tensor(name);
    untied.tensors.push_back(last);
    std::vector<std::byte> packed = packed_bytes_of(untied);
    packed.resize(packed.size() + 16 * last.bytes.size());  // room for the padding of panels
    PageAligned bytes(packed);
    const GgufTensor tensor = *parsed(bytes.bytes()).find_tensor(name);
    ASSERT_FALSE(tensor.is_packed);
    bytes.put(tensor.record_offset + 8 + name.size() + 4 + 8 * tensor.n_dims, tensor.type | packed_type_flag);
    bytes.seal();
    Result<GgufFile> file = GgufFile::parse(MappedFile::from_memory(bytes.bytes(), "m.stilla"));
    ASSERT_TRUE(file) << file.error().message;
    const Result<ModelConfig> config = read_model_config(*file);
    ASSERT_TRUE(config) << config.error().message;
    const Status checked = check_required_tensors(*file, *config);  // without weights, as `stilla inspect` does
    const Result<Model> model = Model::load(std::move(*file));
    ASSERT_FALSE(model) << name;
    ASSERT_FALSE(checked) << name;
    EXPECT_EQ(checked.error().message, model.error().message);
    expect_one_line(model.error(), {"m.stilla: tensor '" + name + "'", "found packed; expected"});
  }
}

TEST_F(PackedFileTest, VerifyNamesTheDamagedTensor) {
  PageAligned bytes(packed_tiny());
  const GgufFile file = parsed(bytes.bytes(), "m.stilla");
  ThreadPool pool(3);
  EXPECT_TRUE(verify_packed_file(file, pool));
  for (const GgufTensor& tensor : file.tensors()) {
    for (const std::uint64_t at : {tensor.offset, tensor.offset + tensor.size_bytes / 2, tensor.offset + tensor.size_bytes - 1}) {
      bytes.bytes()[at] ^= std::byte{0x10};
      const Status status = verify_packed_file(file, pool);
      bytes.bytes()[at] ^= std::byte{0x10};
      ASSERT_FALSE(status) << tensor.name;
      expect_one_line(status.error(), {"m.stilla: tensor '" + std::string(tensor.name) + "'", "damaged"});
    }
  }
  const std::vector<std::byte> original = ModelFile::tiny("tiny-qwen2").builder().build();
  const Status status = verify_packed_file(parsed(original));
  ASSERT_FALSE(status);
  expect_one_line(status.error(), {"only packed files"});
}

TEST_F(PackedFileTest, VerifyingEndsWhenItIsTold) {
  PageAligned bytes(packed_tiny());
  const GgufFile file = parsed(bytes.bytes(), "m.stilla");
  const GgufTensor& third = file.tensors()[2];
  bytes.bytes()[third.offset] ^= std::byte{1};
  const auto verify = [&](std::size_t pieces) { return verify_packed_file(file, {}, [&] { return pieces-- != 0; }); };
  EXPECT_TRUE(verify(0));
  EXPECT_TRUE(verify(2)) << "the damaged tensor was not read";
  EXPECT_FALSE(verify(3));
}

}  // namespace
