// SPDX-License-Identifier: Apache-2.0
//
// Tests of packed files: a packed file gives the same model bit for bit, and no file is left half-written. Damaged files are tested
// in packed_damage_test.cpp.
#include <gtest/gtest.h>

#if !defined(_WIN32)
#include <sys/resource.h>
#endif
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "packed_file_fixture.hpp"

namespace {

using namespace stilla;
using namespace stilla_test;

// Returns whether the model reads the matrix from the mapped packed file, and not from a copy. The matrix is the tensor called
// `name` or, if there is none, the one called `other`.
bool is_where_the_file_is(const Linear& linear, const Model& model, const std::string& name, const std::string& other = {}) {
  const TensorInfo* tensor = model.source().find_tensor(name);
  if (tensor == nullptr) tensor = model.source().find_tensor(other);
  return tensor != nullptr && linear.weight.view().data == model.source().tensor_bytes(*tensor).data();
}

TEST_F(PackedFileTest, GivesTheSameLogitsBitForBit) {
  ThreadPool pool(3);
  for (const std::string& tiny : tiny_models) {
    const auto check = [&](const ModelFile& file, const std::string& what) {
      SCOPED_TRACE(tiny + ", " + what);
      const LoadedModel original(file);
      ASSERT_TRUE(original) << original.error();
      const std::vector<float> expected = all_logits(*original, some_ids);
      write_bytes(path("m.stilla"), packed_bytes_of(file));
      for (const LoadMode mode : {LoadMode::map, LoadMode::read}) {
        Result<GgufFile> opened = GgufFile::open(path("m.stilla"), mode);
        ASSERT_TRUE(opened) << opened.error().message;
        EXPECT_TRUE(opened->is_packed());
        const Result<Model> model = Model::load(std::move(*opened), pool);
        ASSERT_TRUE(model) << model.error().message;
        EXPECT_TRUE(is_where_the_file_is(model->head(), *model, "output.weight", "token_embd.weight"));
        EXPECT_EQ(model->head().weight.bytes(), original->head().weight.bytes());
        EXPECT_EQ(model->packed_weight_bytes(), original->packed_weight_bytes());
        EXPECT_TRUE(same_bits(all_logits(*model, some_ids, {}, pool), expected));
      }
    };
    const ModelFile as_it_is = ModelFile::tiny(tiny);
    check(as_it_is, "as it is");
    for_each_type(GgufFormats{}, [&]<class F>(F) {
      ModelFile file = as_it_is;
      for (ModelFile::Tensor& tensor : file.tensors) {
        if (tensor.dims.size() > 1 && tensor.dims[0] % F::block_weights == 0) give_weights<F>(tensor);
      }
      check(file, std::string(F::name));
    });
    // A copy with the other kind of head: with a tied one if the model has a separate one, and with a separate one otherwise.
    ModelFile untied = as_it_is;
    if (std::erase_if(untied.tensors, [](const auto& t) { return t.name == "output.weight"; }) == 0) {
      untied.tensors.push_back(untied.tensor("token_embd.weight"));
      untied.tensors.back().name = "output.weight";
    }
    check(untied, "with the other kind of head");
  }
}

// Layers can be requantised while a model is packed. Their weights equal, bit for bit, those that the model has if it is
// requantised while the original file is loaded.
TEST_F(PackedFileTest, RequantisesLayersAsLoadingDoes) {
  ThreadPool pool(3);
  for (const std::string& tiny : tiny_models) {
    const std::vector<std::byte> original = ModelFile::tiny(tiny).builder().build();
    const GgufFile source = parsed(original);
    for_each_type(Formats{}, [&]<class F>(F) {
      if (!EncodableFormat<F>) return;
      SCOPED_TRACE(tiny + ", " + std::string(F::name));
      const Status status = write_packed_file(source, path("m.stilla"), pool, {}, {id_of<F>});
      ASSERT_TRUE(status) << status.error().message;
      EXPECT_EQ(*packed_file_bytes(source, {id_of<F>}), fs::file_size(path("m.stilla")));
      Result<GgufFile> opened = GgufFile::open(path("m.stilla"));
      ASSERT_TRUE(opened) << opened.error().message;
      EXPECT_TRUE(verify_packed_file(*opened));
      EXPECT_TRUE(is_packed_from(*opened, source, {id_of<F>}));
      const bool changes =
          std::ranges::any_of(source.tensors(), [&](const GgufTensor& t) { return requantised_format(source, t, id_of<F>) != t.format; });
      EXPECT_EQ(is_packed_from(*opened, source), !changes);
      const Result<Model> expected = Model::load(parsed(original), pool, {}, {id_of<F>});
      const Result<Model> model = Model::load(std::move(*opened), pool, {}, {id_of<F>});  // nothing is left to requantise
      ASSERT_TRUE(expected) << expected.error().message;
      ASSERT_TRUE(model) << model.error().message;
      EXPECT_TRUE(is_where_the_file_is(model->layers()[0].up, *model, "blk.0.ffn_up.weight"));
      EXPECT_EQ(model->packed_weight_bytes(), expected->packed_weight_bytes());
      EXPECT_EQ(model->identity(), expected->identity());
      EXPECT_TRUE(same_bits(all_logits(*model, some_ids), all_logits(*expected, some_ids)));
      Result<GgufFile> again = GgufFile::open(path("m.stilla"));
      const FormatId another = id_of<F> == id_of<Q8_0> ? id_of<Q4_0> : id_of<Q8_0>;
      const Result<Model> refused = Model::load(std::move(*again), pool, {}, another);
      ASSERT_FALSE(refused);
      expect_one_line(refused.error(), {"m.stilla: tensor 'blk.0.attn_q.weight'", "is packed; only the file it was packed from"});
    });
  }
  const Status unknown = write_packed_file(parsed(ModelFile::tiny("tiny-qwen2").builder().build()), path("same"), {}, {}, {FormatId{3333}});
  EXPECT_TRUE(unknown);  // no matrix can have this format, so all stay as they are
}

// An importance matrix changes the weights that are requantised, in the same way when a model is packed and when it is loaded. A
// matrix of the model for which the importance matrix has no entry is requantised as if there were no importance matrix.
TEST_F(PackedFileTest, RequantisesByImportanceAsLoadingDoes) {
  const std::vector<std::byte> original = ModelFile::tiny("tiny-qwen2").builder().build();
  const GgufFile source = parsed(original);
  GgufBuilder builder = GgufBuilder().string("general.type", "imatrix");
  for (const GgufTensor& tensor : source.tensors()) {
    if (!tensor.is_matrix() || tensor.name.ends_with("ffn_up.weight")) continue;
    std::vector<float> sums = noise_values(static_cast<std::uint32_t>(tensor.offset), static_cast<std::size_t>(tensor.columns()));
    for (float& sum : sums) sum = std::exp(3.0f * sum);
    builder.floats(concat(tensor.name, ".in_sum2"), {tensor.columns(), 1}, sums).floats(concat(tensor.name, ".counts"), {1, 1}, {64});
  }
  const std::vector<std::byte> bytes = builder.build();
  const Result<Imatrix> imatrix = Imatrix::parse(MappedFile::from_memory(bytes, "i.gguf"));
  ASSERT_TRUE(imatrix) << imatrix.error().message;
  const PackOptions options{id_of<ST4>, nullptr, &*imatrix};
  ASSERT_TRUE(write_packed_file(source, path("m.stilla"), {}, {}, options));
  ASSERT_TRUE(write_packed_file(source, path("plain.stilla"), {}, {}, {id_of<ST4>}));
  Result<GgufFile> opened = GgufFile::open(path("m.stilla"));
  const Result<GgufFile> plain = GgufFile::open(path("plain.stilla"));
  ASSERT_TRUE(opened) << opened.error().message;
  ASSERT_TRUE(plain) << plain.error().message;
  EXPECT_TRUE(is_packed_from(*opened, source, options));
  EXPECT_FALSE(is_packed_from(*opened, source, {id_of<ST4>}));
  EXPECT_FALSE(is_packed_from(*plain, source, options));
  for (const GgufTensor& tensor : source.tensors()) {
    const std::span<const std::byte> a = opened->tensor_bytes(*opened->find_tensor(tensor.name));
    const std::span<const std::byte> b = plain->tensor_bytes(*plain->find_tensor(tensor.name));
    const bool is_changed = tensor.is_matrix() && tensor.name.starts_with("blk.") && !tensor.name.ends_with("ffn_up.weight") &&
                            requantised_format(source, tensor, id_of<ST4>) == id_of<ST4>;
    EXPECT_EQ(!std::ranges::equal(a, b), is_changed) << tensor.name;
  }
  const Result<Model> expected = Model::load(parsed(original), {}, {}, id_of<ST4>, {}, {}, &*imatrix);
  const Result<Model> model = Model::load(std::move(*opened));
  ASSERT_TRUE(expected) << expected.error().message;
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(model->identity(), expected->identity());
  EXPECT_TRUE(same_bits(all_logits(*model, some_ids), all_logits(*expected, some_ids)));
}

// For every matrix that was requantised, packing reports how far the new weights are from those of the file.
TEST_F(PackedFileTest, TellsTheErrorOfWhatItEncodes) {
  const std::vector<std::byte> original = ModelFile::tiny("tiny-qwen2").builder().build();
  const GgufFile source = parsed(original);
  std::size_t told = 0;
  PackOptions options{id_of<INT4_CHANNEL>};
  options.on_encoded = [&](const TensorInfo& tensor, FormatId format, double relative_rmse) {
    ++told;
    EXPECT_EQ(format, is_head(source, tensor) ? id_of<Q8_0> : id_of<INT4_CHANNEL>);
    const auto N = static_cast<std::size_t>(tensor.rows()), K = static_cast<std::size_t>(tensor.columns());
    std::vector<float> values(N * K);
    with_format(tensor.format, [&]<class F>(F) {
      const std::byte* rows = source.tensor_bytes(tensor).data();
      for (std::size_t n = 0; n < N; ++n) decode_row<F>(rows + n * row_bytes<F>(K), values.data() + n * K, K);
    });
    std::vector<std::byte> blocks(*encoded_bytes(format, N, K));
    const auto report = encode_rows(blocks, ConstMatrix(values.data(), N, K), format);
    ASSERT_TRUE(report);
    EXPECT_GT(relative_rmse, is_head(source, tensor) ? 0.001 : 0.01);
    EXPECT_NEAR(relative_rmse, report->relative_rmse, 1e-12) << tensor.name;
  };
  ASSERT_TRUE(write_packed_file(source, path("m.stilla"), {}, {}, options));
  const auto expected = std::ranges::count_if(
      source.tensors(), [&](const GgufTensor& t) { return requantised_format(source, t, id_of<INT4_CHANNEL>) != t.format; });
  EXPECT_EQ(told, static_cast<std::size_t>(expected));
  EXPECT_GT(told, 0u);
  options.format.reset();  // then nothing is encoded
  options.on_encoded = [](const TensorInfo& tensor, FormatId, double) { ADD_FAILURE() << tensor.name; };
  EXPECT_TRUE(write_packed_file(source, path("m.stilla"), {}, {}, options));
}

TEST_F(PackedFileTest, HoldsEverythingOfTheOriginal) {
  for (const std::string& tiny : tiny_models) {
    const std::vector<std::byte> original_bytes = read_bytes(tiny_folder + tiny + ".gguf");
    const GgufFile original = parsed(original_bytes);
    const std::vector<std::byte> bytes = packed_bytes_of(ModelFile::tiny(tiny));
    const GgufFile packed = parsed(bytes);
    EXPECT_TRUE(begins_as_packed_file(bytes));
    EXPECT_FALSE(begins_as_packed_file(original_bytes));
    for (const GgufKey& key : original.keys()) {
      if (key.name == "general.alignment") continue;
      const GgufKey* copy = packed.find(key.name);
      ASSERT_NE(copy, nullptr) << key.name;
      const auto value = [](std::span<const std::byte> all, const GgufKey& k) {
        return std::string(reinterpret_cast<const char*>(all.data() + k.value_offset), k.value_bytes);
      };
      EXPECT_EQ(copy->type, key.type);
      EXPECT_EQ(value(bytes, *copy), value(original_bytes, key)) << key.name;
    }
    ASSERT_EQ(packed.tensors().size(), original.tensors().size());
    std::size_t matrices = 0;
    for (std::size_t i = 0; i < original.tensors().size(); ++i) {
      const GgufTensor& a = original.tensors()[i];
      const GgufTensor& b = packed.tensors()[i];
      EXPECT_EQ(b.name, a.name);
      EXPECT_EQ(b.dims, a.dims);
      EXPECT_EQ(b.type, a.type);
      EXPECT_EQ(b.offset % 4096, 0u);
      matrices += b.is_packed;
      if (b.is_packed) continue;
      EXPECT_TRUE(std::ranges::equal(packed.tensor_bytes(b), original.tensor_bytes(a))) << a.name;
    }
    const bool has_head = original.find_tensor("output.weight") != nullptr;
    EXPECT_EQ(packed.find_tensor("token_embd.weight")->is_packed, !has_head);
    EXPECT_EQ(matrices, 2 * 7 + 1u);
  }
}

TEST_F(PackedFileTest, ThreadsAndProgressDoNotMatter) {
  const GgufFile source = std::move(*GgufFile::open(tiny_folder + "tiny-qwen2.gguf"));
  ThreadPool pool(4);
  std::uint64_t last = 0, total = 0;
  ASSERT_TRUE(write_packed_file(source, path("a")));
  ASSERT_TRUE(write_packed_file(source, path("b"), pool, [&](std::uint64_t done, std::uint64_t all) {
    EXPECT_GT(done, last);
    last = done;
    total = all;
    return true;
  }));
  EXPECT_EQ(last, total);
  EXPECT_GT(total, 700000u);
  EXPECT_EQ(read_bytes(path("a")), read_bytes(path("b")));
}

TEST_F(PackedFileTest, KnowsItsOriginal) {
  ModelFile model = ModelFile::tiny("tiny-qwen2");
  const std::vector<std::byte> original = model.builder().build();
  const std::vector<std::byte> bytes = packed_bytes_of(model);
  const GgufFile packed = parsed(bytes);
  EXPECT_TRUE(is_packed_from(packed, parsed(original)));
  EXPECT_FALSE(is_packed_from(parsed(original), parsed(original)));

  const std::vector<std::byte> other = ModelFile::tiny("tiny-llama").builder().build();
  EXPECT_FALSE(is_packed_from(packed, parsed(other)));
  model.set("general.name", "another name");
  const std::vector<std::byte> renamed = model.builder().build();
  EXPECT_FALSE(is_packed_from(packed, parsed(renamed)));
  std::vector<std::byte> longer = original;
  longer.push_back(std::byte{0});
  EXPECT_FALSE(is_packed_from(packed, parsed(longer)));

  const GgufFile source = parsed(original);
  for (const GgufTensor& tensor : source.tensors()) {
    for (const std::uint64_t at : {tensor.offset, tensor.offset + tensor.size_bytes / 2, tensor.offset + tensor.size_bytes - 1}) {
      std::vector<std::byte> changed = original;
      changed[at] ^= std::byte{1};
      EXPECT_FALSE(is_packed_from(packed, parsed(changed))) << tensor.name;
    }
  }
}

#if !defined(_WIN32)
// A source file becomes shorter while it is packed. The bytes that are lost lie in its last page, which can still be read and
// holds zeros there. The program must not make a packed file of these zeros.
TEST_F(PackedFileTest, ASourceThatBecomesShorterIsNotPacked) {
  ASSERT_TRUE(ModelFile::tiny("tiny-qwen2").builder().write(path("shrinks.gguf")));
  const Result<GgufFile> source = GgufFile::open(path("shrinks.gguf"));
  ASSERT_TRUE(source);
  const Status status = write_packed_file(*source, path("shrinks.stilla"), {}, [&](std::uint64_t, std::uint64_t) {
    fs::resize_file(path("shrinks.gguf"), source->size_bytes() - 1);
    return true;
  });
  fs::remove(path("shrinks.gguf"));
  ASSERT_FALSE(status);
  expect_one_line(status.error(), {"shrinks.gguf: the file became shorter while it was in use"});
  EXPECT_FALSE(fs::exists(path("shrinks.stilla")));
}
#endif

TEST_F(PackedFileTest, WhatCannotBePackedIsRefused) {
  const auto message = [&](const std::vector<std::byte>& bytes) {
    const Status status = write_packed_file(parsed(bytes, "m.gguf"), path("out"));
    EXPECT_FALSE(status);
    EXPECT_TRUE(names().empty() || names() == std::vector<std::string>{"made.stilla"});
    return status ? std::string() : status.error().message;
  };
  EXPECT_NE(message(GgufBuilder().string("general.architecture", "qwen2").build()).find("no tensors"), std::string::npos);
  EXPECT_NE(message(packed_tiny()).find("packed already"), std::string::npos);
}

// Whatever goes wrong while a file is packed, the earlier packed file remains whole and no other file is left.
TEST_F(PackedFileTest, FailuresLeaveNothingBehind) {
  const GgufFile source = std::move(*GgufFile::open(tiny_folder + "tiny-qwen2.gguf"));
  std::ofstream(path("m.stilla")) << "earlier";
  const auto expect_untouched = [&] {
    EXPECT_EQ(names(), std::vector<std::string>{"m.stilla"});
    EXPECT_EQ(fs::file_size(path("m.stilla")), 7u);
  };
  for (const int pieces : {1, 2, 10}) {
    int left = pieces;
    const Status stopped = write_packed_file(source, path("m.stilla"), {}, [&](auto, auto) { return --left > 0; });
    ASSERT_FALSE(stopped);
    expect_untouched();
  }
#if !defined(_WIN32)
  // A limit for the size of files imitates a full disk, as far as a process can do that.
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  for (const rlim_t most : {rlim_t{0}, rlim_t{5000}, rlim_t{300000}}) {
    const rlimit limit{most, before.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
    const Status full = write_packed_file(source, path("m.stilla"));
    setrlimit(RLIMIT_FSIZE, &before);
    ASSERT_FALSE(full);
    EXPECT_EQ(full.error().kind, ErrorKind::system);
    expect_one_line(full.error(), {"m.stilla: cannot write: "});
    expect_untouched();
  }
#endif
  fs::create_directory(path("folder"));
  const Status folder = write_packed_file(source, path("folder"));
  ASSERT_FALSE(folder);
  expect_one_line(folder.error(), {"folder: cannot write: it is no regular file"});
  fs::remove(path("folder"));
  const Status missing = write_packed_file(source, path("none/m.stilla"));
  ASSERT_FALSE(missing);
  expect_one_line(missing.error(), {"none/m.stilla: cannot write: "});
#if !defined(_WIN32)
  expect_one_line(missing.error(), {"No such file"});
  if (geteuid() != 0) {  // root may write anywhere
    fs::permissions(folder_, fs::perms::owner_read | fs::perms::owner_exec);
    const Status status = write_packed_file(source, path("m.stilla"));
    fs::permissions(folder_, fs::perms::owner_all);
    ASSERT_FALSE(status);
    expect_one_line(status.error(), {"m.stilla: cannot write: Permission denied"});
  }
#endif
  expect_untouched();

  ASSERT_TRUE(write_packed_file(source, path("m.stilla")));
  EXPECT_EQ(names(), std::vector<std::string>{"m.stilla"});
  EXPECT_TRUE(GgufFile::open(path("m.stilla")));
}

#if !defined(_WIN32)  // on Windows, a file cannot be replaced while somebody has it mapped
// A program that has the earlier packed file mapped can continue to use it while the file is replaced.
TEST_F(PackedFileTest, ReplacingDoesNotDisturbReaders) {
  write_bytes(path("m.stilla"), packed_tiny());
  Result<GgufFile> opened = GgufFile::open(path("m.stilla"));
  ASSERT_TRUE(opened);
  const Result<Model> model = Model::load(std::move(*opened));
  ASSERT_TRUE(model) << model.error().message;
  const GgufFile llama = std::move(*GgufFile::open(tiny_folder + "tiny-llama.gguf"));
  ASSERT_TRUE(write_packed_file(llama, path("m.stilla")));
  const LoadedModel original("tiny-qwen2");
  EXPECT_TRUE(same_bits(all_logits(*model, some_ids), all_logits(*original, some_ids)));
}
#endif

// The checksum is XXH64, whose algorithm is published. The expected values are from the Python package xxhash 3.
TEST(Checksum, IsXxh64) {
  std::string text;
  for (int i = 0; i < 100; ++i) text += static_cast<char>(i * 37);
  const auto bytes = std::as_bytes(std::span(text));
  const std::pair<std::size_t, std::uint64_t> expected[] = {{0, 0xef46db3751d8e999u},  {1, 0x771917c7f6ee2451u},  {4, 0xaa228e4afd571efdu},
                                                            {7, 0xb17457d052861069u},  {8, 0xc992b706edfbfef8u},  {31, 0x75962f9d7038401du},
                                                            {32, 0x96e723b0a0fde61au}, {33, 0xe6350fb99ae8341eu}, {64, 0x7bad52f709578288u},
                                                            {99, 0x130f2ecfb5d904aeu}};
  for (const auto& [count, value] : expected) {
    EXPECT_EQ(checksum(bytes.first(count), count), value) << count;
    for (std::size_t cut = 0; cut <= count; ++cut) {
      Checksum sum(count);
      sum.add(bytes.first(cut));
      sum.add(bytes.subspan(cut, count - cut));
      EXPECT_EQ(sum.value(), value) << count << " at " << cut;
    }
  }
}

}  // namespace
