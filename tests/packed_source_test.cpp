// SPDX-License-Identifier: Apache-2.0
//
// Tests of packing sources that are not plain GGUF files of models: tensors of any size, of types that Stilla does not decode, and
// weights that are changed while they are packed. Also tests by what a packed file is recognised.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "memory_source.hpp"
#include "packed_file_fixture.hpp"

namespace {

using namespace stilla;
using namespace stilla_test;

class PackedSource : public PackedFileTest {
 protected:
  // Packs the source. Returns the message with which packing is refused, or "" if it succeeds.
  std::string refusal(const ModelSource& source, const PackOptions& options = {}) const {
    const Status status = write_packed_file(source, path("out.stilla"), {}, {}, options);
    EXPECT_EQ(fs::exists(path("out.stilla")), static_cast<bool>(status));
    return status ? "" : status.error().message;
  }
  GgufFile opened() const {
    Result<GgufFile> file = GgufFile::open(path("out.stilla"));
    EXPECT_TRUE(file) << file.error().message;
    return std::move(*file);
  }
};

// Returns a source whose tensors are F32 matrices of these shapes. They have no bytes.
MemorySource source_of(const std::vector<std::pair<std::string, std::vector<std::uint64_t>>>& tensors) {
  MemorySource source;
  for (const auto& [name, dims] : tensors) source.set(name, {dims, id_of<F32>, {}});
  return source;
}

// The tensors of this test have shapes so large that the sizes of packed files with them do not fit 64 bits. In panels, an F32 matrix of
// 16 n rows and K columns takes 64 n K bytes.
TEST_F(PackedSource, SizesThatDoNotFitAreRefused) {
  constexpr std::uint64_t huge = std::uint64_t{1} << 56;
  constexpr std::uint64_t all_but_1024 = ((std::uint64_t{1} << 54) - 1) / 3 * 16;  // 64 * 3 * all_but_1024 is 2^64 - 1024
  constexpr std::uint64_t all_but_4096 = ((std::uint64_t{1} << 52) - 1) / 3 * 64;
  constexpr std::uint64_t all_but_8192 = ((std::uint64_t{1} << 51) - 1) / 7 * 128;
  const std::string too_large = "': the packed file's size does not fit in 64 bits", long_name(5000, 'z');
  EXPECT_EQ(refusal(source_of({{"a", {huge, std::uint64_t{1} << 40}}})),
            "memory: array 'a': 1099511627776 x 72057594037927936 weights do not fit the address space");
  EXPECT_EQ(refusal(source_of({{"a", {huge, 32}}, {"b", {huge, 32}}})), "memory: array 'b" + too_large);
  EXPECT_EQ(refusal(source_of({{"a", {all_but_1024, 48}}})), "memory: array 'a" + too_large);
  EXPECT_EQ(refusal(source_of({{"a", {all_but_4096, 48}}})), "memory: array 'a" + too_large);
  MemorySource long_header = source_of({{"a", {all_but_8192, 112}}});
  long_header.set(long_name, {{1}, id_of<F32>, std::vector<std::byte>(4, std::byte{1})});
  EXPECT_TRUE(refusal(long_header).ends_with(too_large)) << refusal(long_header);
}

TEST_F(PackedSource, ATypeWithoutANumberHasNoPlace) {
  MemorySource source;
  source.set("a", {{4}, no_format, std::vector<std::byte>(4, std::byte{1})});
  EXPECT_EQ(refusal(source), "memory: array 'a': type unknown has no place in a packed file");
}

TEST_F(PackedSource, WeightsThatAreNoNumbersAreNotEncoded) {
  MemorySource source;
  std::vector<float> weights(64 * 32, 1.0f);
  weights[40] = std::numeric_limits<float>::quiet_NaN();
  const auto bytes = std::as_bytes(std::span(weights));
  source.set("blk.0.ffn_up.weight", {{64, 32}, id_of<F32>, {bytes.begin(), bytes.end()}});
  EXPECT_EQ(refusal(source), "");
  fs::remove(path("out.stilla"));
  const std::string message = refusal(source, {id_of<Q8_0>});
  EXPECT_TRUE(message.starts_with("memory: array 'blk.0.ffn_up.weight': ")) << message;
  EXPECT_NE(message.find("row 0"), std::string::npos) << message;
}

// Doubles the weights of the tensors whose names begin with `prefix`. apply() fails if a test sets can_apply to false, and encode()
// fails if it sets can_encode to false.
class Doubled final : public TensorChange {
 public:
  std::string prefix = "blk.";
  bool can_apply = true, can_encode = true;

  std::vector<std::pair<std::string_view, std::string>> keys() const override { return {{packed_calibration_key, "doubled"}}; }
  bool changes(const TensorInfo& tensor) const override { return tensor.name.starts_with(prefix); }
  Status apply(const TensorInfo&, Matrix values, Parallel) const override {
    if (!can_apply) return Error{ErrorKind::system, "cannot be doubled"};
    for (std::size_t n = 0; n < values.rows; ++n) {
      for (std::size_t k = 0; k < values.cols; ++k) values.row(n)[k] *= 2.0f;
    }
    return success();
  }
  Status encode(const TensorInfo& tensor, std::span<std::byte> blocks, ConstMatrix values, FormatId format,
                Parallel parallel) const override {
    if (!can_encode) return Error{ErrorKind::system, "cannot be encoded"};
    return TensorChange::encode(tensor, blocks, values, format, parallel);
  }
};

TEST_F(PackedSource, ChangedWeightsAreThoseOfAChangedModel) {
  ModelFile tiny = ModelFile::tiny("tiny-qwen2");
  for (ModelFile::Tensor& tensor : tiny.tensors) {
    if (tensor.dims.size() > 1) give_weights<F32>(tensor);
  }
  const std::vector<std::byte> original = tiny.builder().build();
  ModelFile doubled = tiny;
  for (ModelFile::Tensor& tensor : doubled.tensors) {
    if (!tensor.name.starts_with("blk.")) continue;
    ASSERT_EQ(tensor.format(), id_of<F32>);
    for (std::size_t at = 0; at < tensor.bytes.size(); at += 4) {
      store_as(tensor.bytes.data() + at, 2.0f * load_as<float>(tensor.bytes.data() + at));
    }
  }
  const std::vector<std::byte> expected_bytes = doubled.builder().build();
  const Doubled change;
  std::size_t told = 0;
  PackOptions options{id_of<Q8_0>, &change};
  options.on_encoded = [&](const TensorInfo&, FormatId, double relative_rmse) {
    ++told;
    EXPECT_LT(relative_rmse, 0.01);
  };
  for (const bool is_told : {true, false}) {
    if (!is_told) options.on_encoded = {};
    const GgufFile source = parsed(original, "m.gguf");
    ASSERT_EQ(refusal(source, options), "");
    EXPECT_TRUE(is_packed_from(opened(), source, options));
    EXPECT_FALSE(is_packed_from(opened(), source, {id_of<Q8_0>}));
    ASSERT_TRUE(write_packed_file(parsed(expected_bytes), path("expected.stilla"), {}, {}, {id_of<Q8_0>}));
    const Result<GgufFile> expected = GgufFile::open(path("expected.stilla"));
    ASSERT_TRUE(expected);
    const GgufFile found = opened();
    for (const GgufTensor& tensor : expected->tensors()) {
      EXPECT_TRUE(std::ranges::equal(found.tensor_bytes(*found.find_tensor(tensor.name)), expected->tensor_bytes(tensor))) << tensor.name;
    }
    fs::remove(path("out.stilla"));
  }
  EXPECT_EQ(told, 2 * 7u + 1);
}

TEST_F(PackedSource, ChangesThatFailAreTold) {
  const std::vector<std::byte> original = ModelFile::tiny("tiny-qwen2").builder().build();
  const GgufFile source = parsed(original, "m.gguf");
  Doubled change;
  change.can_apply = false;
  EXPECT_EQ(refusal(source, {id_of<Q8_0>, &change}), "cannot be doubled");
  change.can_apply = true;
  change.can_encode = false;
  const std::string message = refusal(source, {id_of<Q8_0>, &change});
  EXPECT_TRUE(message.starts_with("m.gguf: tensor 'blk.0.attn_q.weight' at byte ") && message.ends_with(": cannot be encoded")) << message;
  // From here on, `change` alters only one tensor, which is a vector.
  change.prefix = "blk.0.attn_norm.weight";
  std::size_t pieces = 0;
  const auto stops_at = [&](std::size_t last) {
    pieces = 0;
    return write_packed_file(source, path("out.stilla"), {}, [&](auto, auto) { return ++pieces != last; }, {std::nullopt, &change});
  };
  EXPECT_TRUE(stops_at(0));
  for (std::size_t last = pieces; last > 0; --last) {
    const Status stopped = stops_at(last);
    ASSERT_FALSE(stopped);
    EXPECT_EQ(stopped.error().message, "packing was stopped");
  }
  const std::vector<std::byte> importance = GgufBuilder()
                                                .string("general.type", "imatrix")
                                                .floats("blk.0.attn_q.weight.in_sum2", {1, 1}, {1})
                                                .floats("blk.0.attn_q.weight.counts", {1, 1}, {1})
                                                .build();
  const Result<Imatrix> imatrix = Imatrix::parse(MappedFile::from_memory(importance, "i.gguf"));
  ASSERT_TRUE(imatrix) << imatrix.error().message;
  fs::remove(path("out.stilla"));
  EXPECT_EQ(refusal(source, {id_of<Q8_0>, &change, &*imatrix}), "m.gguf: an importance matrix cannot be used for changed weights");
}

// ggml also has types for numbers that are no weights, such as i64 and f64. Tensors of these types are stored as they are. If a
// source has another of these types for a tensor than the packed file, the packed file does not count as packed from it.
TEST_F(PackedSource, TypesThatAreNotDecodedArePackedAsTheyAre) {
  const auto with_type = [](std::uint32_t type) {
    const std::vector<std::byte> numbers(64, std::byte{7});
    return GgufBuilder().tensor("a", {8}, type, numbers).floats("b", {1}, {1}).build();
  };
  const std::vector<std::byte> integers = with_type(27), doubles = with_type(28);  // i64 and f64
  ASSERT_EQ(refusal(parsed(integers)), "");
  EXPECT_TRUE(is_packed_from(opened(), parsed(integers)));
  EXPECT_FALSE(is_packed_from(opened(), parsed(doubles)));
}

TEST_F(PackedSource, OtherFilesAreNotTheOriginal) {
  const std::vector<std::byte> original = ModelFile::tiny("tiny-qwen2").builder().build();
  std::vector<std::byte> bytes = packed_tiny();
  const GgufFile packed = parsed(bytes);
  EXPECT_FALSE(is_packed_from(packed, packed));
  ModelFile more = ModelFile::tiny("tiny-qwen2");
  const std::vector<float> one{1.0f};
  more.add_floats("another", {1}, one);
  EXPECT_FALSE(is_packed_from(packed, parsed(more.builder().build())));
  // Renames one key of the packed file, and returns whether the file still counts as packed from the original. The new name is a
  // known key whose value has another type, or an unknown key.
  const auto renamed = [&](std::string_view from, std::string_view to) {
    EXPECT_EQ(from.size(), to.size());
    PageAligned changed(bytes);
    const GgufKey* key = packed.find(from);
    EXPECT_NE(key, nullptr) << from;
    std::copy(to.begin(), to.end(), reinterpret_cast<char*>(changed.bytes().data()) + key->record_offset + 8);
    changed.seal();
    return is_packed_from(parsed(changed.bytes()), parsed(original));
  };
  EXPECT_FALSE(renamed("qwen2.embedding_length", packed_rotation_key));
  EXPECT_FALSE(renamed(packed_source_key, "stilla.packed.sourcx"));
  EXPECT_TRUE(renamed("general.name", "general.nome"));
}

TEST_F(PackedSource, BeginsAsAPackedFile) {
  const std::vector<std::byte> bytes = packed_tiny();
  const std::size_t least = 32 + packed_checksum_key.size();
  EXPECT_TRUE(begins_as_packed_file(std::span(bytes).first(least)));
  EXPECT_FALSE(begins_as_packed_file(std::span(bytes).first(least - 1)));
  for (const std::size_t at : {std::size_t{0}, std::size_t{32}}) {
    std::vector<std::byte> other = bytes;
    other[at] ^= std::byte{1};
    EXPECT_FALSE(begins_as_packed_file(other)) << at;
  }
}

// A packed file without a checksum for each tensor is refused when it is opened, and not after its first tokens. The test damages a file
// in two ways. In the first copy, the key that holds the checksums of the tensors has another name. In the second, this key declares the
// checksums as numbers of half the size, and therefore as twice as many.
TEST_F(PackedSource, EachTensorNeedsAChecksum) {
  const std::vector<std::byte> bytes = packed_tiny();
  const GgufFile packed = parsed(bytes);
  const std::size_t tensors = packed.tensor_count();
  const GgufKey& key = *packed.find(packed_tensor_checksums_key);
  const auto refusal = [](PageAligned& changed) {
    changed.seal();
    const Result<GgufFile> file = GgufFile::parse(MappedFile::from_memory(changed.bytes(), "m.stilla"));
    return file ? "" : file.error().message;
  };
  const std::string expected = concat("m.stilla: key '", packed_tensor_checksums_key, "': expected ", tensors,
                                      " checksums of the type uint64, one for each tensor; found ");
  PageAligned renamed(bytes);
  renamed.put(key.record_offset + 8, 'x');
  EXPECT_EQ(refusal(renamed), expected + "none");
  PageAligned narrower(bytes);
  const std::uint64_t type_offset = key.record_offset + 8 + key.name.size() + 4;
  narrower.put(type_offset, static_cast<std::uint32_t>(GgufValueType::uint32));
  narrower.put(type_offset + 4, std::uint64_t{2 * tensors});
  EXPECT_EQ(refusal(narrower), concat(expected, 2 * tensors, " of the type uint32"));
}

}  // namespace
