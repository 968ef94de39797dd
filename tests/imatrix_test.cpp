// SPDX-License-Identifier: Apache-2.0
//
// Tests of reading importance matrices. The files of golden/ were written as llama.cpp writes them, by gguf-py and by Python's
// struct. Every kind of damage is refused in one line that names the file.
#include "gguf_builder.hpp"

#include <stilla/io/imatrix.hpp>

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "read_file.hpp"
#include "test_paths.hpp"

namespace {

using namespace stilla;
using stilla_test::GgufBuilder;
using stilla_test::test_data;

std::string golden_path(const std::string& name) { return std::string(test_data) + "/" + name; }

std::string golden_bytes(const std::string& name) { return stilla_test::read_file(golden_path(name)); }

// Reads an importance matrix from these bytes. They stand at the end of their memory, so that a sanitizer sees any byte that is
// read behind them.
Result<Imatrix> read(std::string_view bytes) {
  const std::unique_ptr<std::byte[]> memory(new std::byte[bytes.size()]);
  if (!bytes.empty()) std::memcpy(memory.get(), bytes.data(), bytes.size());
  return Imatrix::parse(MappedFile::from_memory({memory.get(), bytes.size()}, "i.dat"));
}
Result<Imatrix> read(const GgufBuilder& builder) {
  const std::vector<std::byte> bytes = builder.build();
  return Imatrix::parse(MappedFile::from_memory(bytes, "i.gguf"));
}

// Returns the message with which the bytes are refused. The message must be one line that names the file.
template <class File>
std::string refusal(const File& file) {
  const Result<Imatrix> result = read(file);
  if (result) return "accepted";
  const std::string& message = result.error().message;
  EXPECT_TRUE(message.starts_with("i.")) << message;
  for (const char c : message) EXPECT_GE(static_cast<unsigned char>(c), 0x20) << message;
  return message;
}

template <class T>
std::string raw(T value) {
  return GgufBuilder::raw(value);
}
std::string floats(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}
std::string matrix(std::string_view name, std::int32_t calls, const std::vector<float>& sums) {
  return raw(static_cast<std::int32_t>(name.size())) + std::string(name) + raw(calls) + raw(static_cast<std::int32_t>(sums.size())) +
         floats(sums);
}
GgufBuilder importance() { return GgufBuilder().string("general.type", "imatrix"); }

bool contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

TEST(Imatrix, ReadsBothFormsOfTheFile) {
  for (const std::string name : {"imatrix.gguf", "imatrix.dat"}) {
    const Result<Imatrix> read = Imatrix::open(golden_path(name));
    ASSERT_TRUE(read) << read.error().message;
    ASSERT_EQ(read->entries().size(), 3u) << name;
    const std::pair<std::string_view, std::size_t> matrices[] = {
        {"blk.0.attn_q.weight", 32}, {"blk.0.ffn_down.weight", 64}, {"blk.1.attn_q.weight", 32}};
    for (std::size_t i = 0; i < 3; ++i) {
      const auto& [matrix_name, K] = matrices[i];
      const std::span<const float> found = read->find(matrix_name);
      ASSERT_EQ(found.size(), K) << name;
      for (std::size_t k = 0; k < K; ++k)
        EXPECT_EQ(found[k], static_cast<float>(100 * i + k) / 32) << name << " " << matrix_name << " " << k;
    }
    EXPECT_TRUE(read->find("blk.0.attn_k.weight").empty());
    EXPECT_TRUE(read->find("blk.1.ffn_up.weight").empty());
  }
}

// A .dat file has sums for each matrix, and the number of calls by which they are divided to get means. If this number is 0, the
// sums count as means already, as they do for llama.cpp.
TEST(Imatrix, NoCallsMeanThatTheValuesAreMeans) {
  const Result<Imatrix> means = read(std::string_view(raw(std::int32_t{1}) + matrix("a", 0, {1.5f, 2.0f})));
  ASSERT_TRUE(means) << means.error().message;
  EXPECT_EQ(std::vector<float>(means->find("a").begin(), means->find("a").end()), (std::vector<float>{1.5f, 2.0f}));
  const Result<Imatrix> missing = Imatrix::open(golden_path("none.dat"));
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().kind, ErrorKind::system);
  EXPECT_TRUE(contains(missing.error().message, "none.dat: cannot open: ")) << missing.error().message;
}

TEST(Imatrix, TellsWhatItDoesNotUse) {
  EXPECT_TRUE(Imatrix::open(golden_path("imatrix.dat"))->notes().empty());
  const Result<Imatrix> golden = Imatrix::open(golden_path("imatrix.gguf"));
  ASSERT_TRUE(golden);
  ASSERT_EQ(golden->notes().size(), 2u);
  EXPECT_TRUE(golden->notes()[0].ends_with("imatrix.gguf: 1 tensor ('blk.1.ffn_up.weight') is without inputs")) << golden->notes()[0];
  EXPECT_TRUE(golden->notes()[1].ends_with("imatrix.gguf: 1 tensor ('blk.0.ffn_up_exps.weight') is of experts, which are not used"))
      << golden->notes()[1];

  const Result<Imatrix> strange = read(importance()
                                           .number<std::uint32_t>("imatrix.colour", 3)
                                           .floats("a.in_sum2", {2, 1}, {1, 2})
                                           .floats("a.counts", {1, 1}, {1})
                                           .floats("b.sum", {2, 1}, {1, 2})
                                           .floats("c.sum", {2, 1}, {1, 2}));
  ASSERT_TRUE(strange) << strange.error().message;
  ASSERT_EQ(strange->notes().size(), 2u);
  EXPECT_TRUE(contains(strange->notes()[0], "key 'imatrix.colour'")) << strange->notes()[0];
  EXPECT_EQ(strange->notes()[1], "i.gguf: 2 tensors ('b.sum' and others) are unknown");

  const Result<Imatrix> longer = read(golden_bytes("imatrix.dat") + "more");
  ASSERT_TRUE(longer);
  ASSERT_EQ(longer->notes().size(), 1u);
  EXPECT_EQ(longer->notes()[0], "i.dat: the last 4 bytes are unknown");
}

// A file that is cut off is refused, except in two cases: a .dat file may end behind the matrices, or behind the number of calls
// that follows them.
TEST(Imatrix, RefusesEveryBeginningOfAFile) {
  const std::string dat = golden_bytes("imatrix.dat"), gguf = golden_bytes("imatrix.gguf");
  const std::size_t behind_matrices = dat.size() - 8 - std::string("texts/ü.txt").size();
  for (std::size_t size = 0; size < dat.size(); ++size) {
    const bool is_whole = size == behind_matrices || size == behind_matrices + 4;
    EXPECT_EQ(refusal(std::string_view(dat).substr(0, size)) == "accepted", is_whole) << size << " of " << dat.size();
  }
  EXPECT_EQ(
      refusal(std::string_view(dat).substr(0, behind_matrices + 1)),
      concat("i.dat: number of calls of the whole run at byte ", behind_matrices, ": needs 4 bytes and 1 are left; the file is truncated"));
  EXPECT_EQ(refusal(std::string_view(dat).substr(0, behind_matrices + 7)),
            concat("i.dat: length of the name of the text at byte ", behind_matrices + 4,
                   ": needs 4 bytes and 3 are left; the file is truncated"));
  EXPECT_EQ(refusal(std::string_view(dat)), "accepted");
  for (std::size_t size = 0; size < gguf.size(); ++size) {
    EXPECT_NE(refusal(std::string_view(gguf).substr(0, size)), "accepted") << size << " of " << gguf.size();
  }
}

TEST(Imatrix, RefusesNumbersThatTheFileContradicts) {
  constexpr std::int32_t least = std::numeric_limits<std::int32_t>::min(), most = std::numeric_limits<std::int32_t>::max();
  const std::string good = matrix("a", 2, {1, 2});
  EXPECT_EQ(refusal(raw(std::int32_t{1}) + good), "accepted");
  for (const std::int32_t count : {0, -1, least, most, 2}) {
    EXPECT_EQ(refusal(raw(count) + good),
              concat("i.dat: number of matrices at byte 0: found ", count,
                     "; expected 1 to 1, for which the 21 bytes behind it have room; the file is truncated, damaged, or not an importance "
                     "matrix of llama.cpp"));
    EXPECT_EQ(refusal(raw(count) + "a"),
              concat("i.dat: number of matrices at byte 0: found ", count,
                     ", and 1 bytes behind it; one matrix takes 17 at least; the file is truncated, damaged, or not an importance matrix "
                     "of llama.cpp"));
  }
  EXPECT_EQ(refusal("abc"), "i.dat: has 3 bytes, which are no importance matrix of llama.cpp");
  const std::string cut_off = "; the file is truncated, or ";
  EXPECT_EQ(
      refusal(raw(std::int32_t{2}) + good + good.substr(0, 17)),
      concat("i.dat: matrix 2 of 2 at byte 25: needs 8 bytes for its 2 sums and 4 are left", cut_off, "the number of inputs is wrong"));
  EXPECT_EQ(refusal(raw(std::int32_t{1}) + raw(std::int32_t{7}) + "abcdefg" + raw(std::int32_t{1}) + "123"),
            concat("i.dat: matrix 1 of 1 at byte 4: needs 4 bytes for its number of inputs and 3 are left", cut_off,
                   "the number of matrices at byte 0 is too high"));
  const auto one = [](std::int32_t length, std::int32_t calls, std::int32_t values) {
    return raw(std::int32_t{1}) + raw(length) + "a" + raw(calls) + raw(values) + floats({1, 2});
  };
  EXPECT_EQ(refusal(one(1, 1, 2)), "accepted");
  for (const std::int32_t length : {0, -1, least}) {
    EXPECT_EQ(refusal(one(length, 1, 2)),
              concat("i.dat: matrix 1 of 1 at byte 4: found a name of ", length, " bytes; expected at least 1"));
  }
  for (const std::int32_t length : {most, 18}) {
    EXPECT_EQ(refusal(one(length, 1, 2)), concat("i.dat: matrix 1 of 1 at byte 4: needs ", length, " bytes for its name and 17 are left",
                                                 cut_off, "the length of the name is wrong"));
  }
  for (const std::int32_t values : {0, -1, least}) {
    EXPECT_EQ(refusal(one(1, 1, values)), concat("i.dat: matrix 1 of 1 at byte 4: found ", values, " inputs; expected at least 1"));
  }
  for (const std::int32_t values : {most, 3}) {
    EXPECT_EQ(refusal(one(1, 1, values)),
              concat("i.dat: matrix 1 of 1 at byte 4: needs ", std::uint64_t{4} * static_cast<std::uint64_t>(values), " bytes for its ",
                     values, " sums and 8 are left", cut_off, "the number of inputs is wrong"));
  }
  for (const std::int32_t calls : {-1, least}) {
    EXPECT_EQ(refusal(one(1, calls, 2)), concat("i.dat: matrix 1 of 1 at byte 4: found ", calls, " calls; expected at least 0"));
  }
  for (const std::int32_t length : {-1, least, most, 4}) {
    EXPECT_EQ(refusal(raw(std::int32_t{1}) + good + raw(std::int32_t{1}) + raw(length) + "abc"),
              concat("i.dat: length of the name of the text at byte 29: found ", length, "; expected 0 to 3"));
  }
  EXPECT_EQ(refusal(raw(std::int32_t{2}) + good + good), "i.dat: has 'a' twice");
}

TEST(Imatrix, RefusesSumsThatAreNone) {
  for (const float bad : {std::nanf(""), HUGE_VALF, -HUGE_VALF, -1.0f, -1e-30f}) {
    EXPECT_TRUE(contains(refusal(raw(std::int32_t{1}) + matrix("a", 1, {0, bad})), "i.dat: 'a': found ")) << bad;
    EXPECT_TRUE(contains(refusal(importance().floats("a.in_sum2", {2, 1}, {0, bad}).floats("a.counts", {1, 1}, {1})),
                         " as the sum of squares of input 1; expected a finite number of at least 0"))
        << bad;
    EXPECT_TRUE(contains(refusal(importance().floats("a.in_sum2", {2, 1}, {0, 1}).floats("a.counts", {1, 1}, {bad})),
                         " as the number of summands; expected a finite number of at least 0"))
        << bad;
  }
  // A mean square that is too large for a float is refused.
  EXPECT_TRUE(contains(refusal(importance().floats("a.in_sum2", {2, 1}, {0, 1e30f}).floats("a.counts", {1, 1}, {1e-30f})),
                       " as the number of summands; expected a finite quotient"));
}

TEST(Imatrix, RefusesOtherGgufFiles) {
  EXPECT_TRUE(contains(refusal(GgufBuilder().floats("a.in_sum2", {2, 1}, {1, 2}).floats("a.counts", {1, 1}, {1})),
                       "key 'general.type': is missing; expected 'imatrix', an importance matrix"));
  EXPECT_TRUE(contains(refusal(GgufBuilder().string("general.architecture", "qwen2").floats("a", {2}, {1, 2})),
                       "expected 'imatrix', an importance matrix; this file is a model"));
  EXPECT_TRUE(contains(refusal(GgufBuilder().string("general.type", "model").floats("a", {2}, {1, 2})), "found 'model'"));
  EXPECT_EQ(refusal(importance()), "i.gguf: has no tensors");
  EXPECT_EQ(refusal(importance().floats("a.in_sum2", {2, 1}, {0, 0}).floats("a.counts", {1, 1}, {0})),
            "i.gguf: has no matrix that got an input");
  EXPECT_TRUE(contains(refusal(importance().floats("a.in_sum2", {2, 1}, {1, 2})), "tensor 'a.counts' is missing"));
  EXPECT_TRUE(contains(refusal(importance().floats("a.counts", {1, 1}, {1})), "'a.in_sum2' is missing"));
  EXPECT_TRUE(contains(refusal(importance().floats("a.in_sum", {2, 1}, {1, 1})), "'a.in_sum2' is missing"));
  EXPECT_TRUE(contains(refusal(importance().floats("a.in_sum2", {2, 1}, {1, 2}).floats("a.counts", {1, 2}, {1, 1})), "found shape [1, 2]"));
  const std::vector<float> halves{1, 2};
  EXPECT_TRUE(
      contains(refusal(importance().tensor("a.in_sum2", {4, 1}, 1, std::as_bytes(std::span(halves))).floats("a.counts", {1, 1}, {1})),
               "type 1 (f16); expected f32"));
  // A file that claims 2^60 tensors, a tensor with 2^60 values, or a name of 2^31 bytes is refused.
  GgufBuilder many = importance();
  many.tensor_count = std::uint64_t{1} << 60;
  EXPECT_NE(refusal(many), "accepted");
  EXPECT_NE(refusal(importance().raw_tensor("a.in_sum2", {std::uint64_t{1} << 60, 1}, 0, 0).floats("a.counts", {1, 1}, {1})), "accepted");
  std::string long_name = golden_bytes("imatrix.gguf");
  long_name.replace(long_name.find("blk.0.attn_q.weight.in_sum2") - 8, 8, raw(std::uint64_t{1} << 31));
  EXPECT_NE(refusal(std::string_view(long_name)), "accepted");
}

// Whatever byte of a file is changed, the file is refused, or the mean squares that are read from it are finite and not negative.
TEST(Imatrix, SurvivesEveryChangedByte) {
  for (const std::string name : {"imatrix.gguf", "imatrix.dat"}) {
    std::string bytes = golden_bytes(name);
    for (char& byte : bytes) {
      const char before = byte;
      for (const int change : {1, 0x80, 0xff}) {
        byte = static_cast<char>(before ^ change);
        const Result<Imatrix> result = read(std::string_view(bytes));
        if (!result) continue;
        for (const Imatrix::Entry& entry : result->entries()) {
          for (const float x : entry.mean_squares) ASSERT_TRUE(x >= 0.0f && std::isfinite(x));
        }
      }
      byte = before;
    }
  }
}

TEST(Imatrix, IsComparedWithTheModel) {
  const std::vector<float> weights(32 * 64, 1.0f);
  const auto model_bytes = GgufBuilder()
                               .floats("blk.0.attn_q.weight", {32, 2}, std::vector<float>(64))
                               .floats("blk.0.attn_k.weight", {32, 2}, std::vector<float>(64))
                               .floats("blk.0.ffn_down.weight", {64, 32}, weights)
                               .floats("output_norm.weight", {32}, std::vector<float>(32))
                               .build();
  const Result<GgufFile> model = GgufFile::parse(MappedFile::from_memory(model_bytes, "m.gguf"));
  ASSERT_TRUE(model) << model.error().message;
  const auto notes = Imatrix::open(golden_path("imatrix.dat"))->check_against(*model);
  ASSERT_TRUE(notes) << notes.error().message;
  ASSERT_EQ(notes->size(), 2u);
  EXPECT_TRUE((*notes)[0].starts_with("1 tensor ('blk.1.attn_q.weight') is of ")) << (*notes)[0];
  EXPECT_TRUE((*notes)[0].ends_with("imatrix.dat not in the model")) << (*notes)[0];
  EXPECT_TRUE((*notes)[1].starts_with("1 tensor ('blk.0.attn_k.weight') is of the model not in ")) << (*notes)[1];

  // A file that has the matrices of the layers, and no others, gives no notes: neither vectors nor the embedding are requantised.
  const auto small_bytes = GgufBuilder()
                               .floats("token_embd.weight", {32, 2}, std::vector<float>(64))
                               .floats("blk.0.attn_q.weight", {32, 2}, std::vector<float>(64))
                               .floats("blk.0.attn_norm.weight", {32}, std::vector<float>(32))
                               .build();
  const Result<GgufFile> small = GgufFile::parse(MappedFile::from_memory(small_bytes, "m.gguf"));
  const Result<Imatrix> whole =
      read(std::string_view(raw(std::int32_t{1}) + matrix("blk.0.attn_q.weight", 1, std::vector<float>(32, 1.0f))));
  ASSERT_TRUE(small && whole);
  ASSERT_TRUE(whole->check_against(*small));
  EXPECT_TRUE(whole->check_against(*small)->empty());

  const auto said = [&](const std::string& bytes) {
    const Result<Imatrix> imatrix = read(std::string_view(bytes));
    EXPECT_TRUE(imatrix);
    const auto result = imatrix->check_against(*model);
    return result ? std::string("accepted") : result.error().message;
  };
  EXPECT_TRUE(said(raw(std::int32_t{1}) + matrix("blk.0.attn_q.weight", 1, std::vector<float>(31, 1.0f)))
                  .starts_with("i.dat: 'blk.0.attn_q.weight': found 31 inputs; expected 32, as m.gguf: tensor 'blk.0.attn_q.weight'"));
  EXPECT_EQ(said(raw(std::int32_t{1}) + matrix("b", 1, {1})), "i.dat: has no matrix of m.gguf; the first is 'b'");
  EXPECT_NE(said(raw(std::int32_t{1}) + matrix("output_norm.weight", 1, std::vector<float>(32, 1.0f))), "accepted");
  EXPECT_NE(said(raw(std::int32_t{1}) + matrix("blk.0.attn_q.weight", 1, std::vector<float>(64, 1.0f))), "accepted");
}

}  // namespace
