// SPDX-License-Identifier: Apache-2.0
//
// Tests of models that are split into several GGUF files. golden/parts was split by gguf-py (golden/make_parts.py), which also
// wrote the same model as one file. Also tested are files whose download stopped: they have their full size, but zeros at their
// end in place of the content.
#include <stilla/io/gguf.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <string>
#include <vector>

#include <stilla/io/packed_file.hpp>
#include <stilla/io/unwritten_tail.hpp>

#include "gguf_builder.hpp"
#include "read_file.hpp"
#include "test_util.hpp"

namespace {

using namespace stilla;
using stilla_test::read_file;
using stilla_test::write_file;
namespace fs = std::filesystem;

const std::string golden_parts = std::string(stilla_test::test_data) + "/parts/";

class GgufParts : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(::testing::TempDir()) / "stilla_gguf_parts_test";
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    for (int i = 1; i <= 3; ++i) fs::copy_file(golden_parts + name(i), part(i));
  }
  void TearDown() override { fs::remove_all(folder_); }

  static std::string name(int i, const std::string& stem = "tiny") { return concat(stem, "-0000", i, "-of-00003.gguf"); }
  std::string part(int i) const { return (folder_ / name(i)).string(); }
  std::string in_folder(const std::string& file) const { return (folder_ / file).string(); }
  // Returns the message with which opening the file at this path is refused, or "" if it can be opened. Such messages name files of
  // the folder that the test made.
  static std::string refusal(const std::string& path) {
    const Result<GgufFile> file = GgufFile::open(path);
    return file ? "" : file.error().message;
  }
  // Changes the 16-bit value of an integer key in part number i of the split model.
  void change_key(int i, std::string_view key, std::uint16_t value) {
    std::string bytes = read_file(part(i));
    const std::size_t at = bytes.find(key);
    ASSERT_NE(at, std::string::npos);
    bytes[at + key.size() + 4] = static_cast<char>(value & 0xff);
    bytes[at + key.size() + 5] = static_cast<char>(value >> 8);
    write_file(part(i), bytes);
  }

  fs::path folder_;
};

TEST_F(GgufParts, AreTheWholeFileWhicheverIsNamed) {
  const Result<GgufFile> whole = GgufFile::open(golden_parts + "whole.gguf");
  ASSERT_TRUE(whole) << whole.error().message;
  EXPECT_EQ(whole->part_count(), 1u);
  for (const LoadMode mode : {LoadMode::map, LoadMode::read}) {
    for (int i = 1; i <= 3; ++i) {
      Result<GgufFile> opened = GgufFile::open(part(i), mode);
      ASSERT_TRUE(opened) << opened.error().message;
      const GgufFile parts = std::move(*opened);
      EXPECT_EQ(parts.part_count(), 3u);
      EXPECT_EQ(parts.path(), part(1));
      EXPECT_EQ(parts.size_bytes(), fs::file_size(part(1)) + fs::file_size(part(2)) + fs::file_size(part(3)));
      EXPECT_EQ(*parts.get_string("general.name"), "Stilla parts");
      ASSERT_EQ(parts.tensors().size(), whole->tensors().size());
      for (const GgufTensor& expected : whole->tensors()) {
        const GgufTensor* tensor = parts.find_tensor(expected.name);
        ASSERT_NE(tensor, nullptr) << expected.name;
        EXPECT_EQ(tensor->dims, expected.dims);
        const auto bytes = parts.tensor_bytes(*tensor), expected_bytes = whole->tensor_bytes(expected);
        EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), expected_bytes.begin(), expected_bytes.end())) << expected.name;
      }
      const GgufTensor* last = parts.find_tensor("output_norm.weight");
      EXPECT_EQ(parts.tensor_place(last->name), concat(part(3), ": tensor 'output_norm.weight' at byte ", last->record_offset));
    }
  }
}

TEST_F(GgufParts, PackIntoOneFile) {
  const Result<GgufFile> parts = GgufFile::open(part(2));
  ASSERT_TRUE(parts);
  ASSERT_TRUE(write_packed_file(*parts, in_folder("tiny.stilla")));
  const Result<GgufFile> whole = GgufFile::open(golden_parts + "whole.gguf");
  ASSERT_TRUE(write_packed_file(*whole, in_folder("whole.stilla")));
  const Result<GgufFile> from_parts = GgufFile::open(in_folder("tiny.stilla"));
  const Result<GgufFile> from_whole = GgufFile::open(in_folder("whole.stilla"));
  ASSERT_TRUE(from_parts) << from_parts.error().message;
  EXPECT_TRUE(verify_packed_file(*from_parts));
  EXPECT_FALSE(from_parts->has("split.count"));
  EXPECT_TRUE(is_packed_from(*from_parts, *parts));
  EXPECT_FALSE(is_packed_from(*from_parts, *whole));
  for (const GgufTensor& expected : from_whole->tensors()) {
    const auto bytes = from_parts->tensor_bytes(*from_parts->find_tensor(expected.name));
    const auto expected_bytes = from_whole->tensor_bytes(expected);
    EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), expected_bytes.begin(), expected_bytes.end())) << expected.name;
  }
}

TEST_F(GgufParts, MissingOnesAreNamed) {
  fs::remove(part(3));
  const std::string message = refusal(part(2));
  EXPECT_EQ(message.find(part(3) + ": cannot open: "), 0u) << message;
  EXPECT_NE(message.find(concat("(part 3 of the 3 of ", part(2), ")")), std::string::npos) << message;
  fs::remove(part(1));
  EXPECT_EQ(refusal(part(2)).find(part(1) + ": cannot open: "), 0u) << refusal(part(2));
}

TEST_F(GgufParts, HalfDownloadedOnesAreNamed) {
  const std::string bytes = read_file(part(2));
  write_file(part(2), bytes.substr(0, bytes.size() / 2));
  const std::string message = refusal(part(1));
  EXPECT_EQ(message.find(part(2) + ": tensor '"), 0u) << message;
  EXPECT_NE(message.find("it is truncated or damaged"), std::string::npos) << message;
}

TEST_F(GgufParts, OtherNamesAreToldTheRightOnes) {
  fs::rename(part(1), in_folder("model.gguf"));
  const std::string message = refusal(in_folder("model.gguf"));
  EXPECT_NE(message.find("part 1 of 3 of a split model; its parts are NAME-00001-of-00003.gguf to NAME-00003-of-00003.gguf, in one "
                         "folder; its name says no part: it was renamed, or one of these keys is wrong"),
            std::string::npos)
      << message;
  fs::rename(part(2), part(1));  // the second part has the name of the first
  const std::string swapped = refusal(part(1));
  EXPECT_NE(swapped.find("part 2 of 3 of a split model; its parts are tiny-00001-of-00003.gguf to"), std::string::npos) << swapped;
  EXPECT_NE(swapped.find("; its name says part 1 of 3: it was renamed, or one of these keys is wrong"), std::string::npos) << swapped;
}

TEST_F(GgufParts, JoinedByCatAreNoModel) {
  write_file(in_folder("joined.gguf"), read_file(part(1)) + read_file(part(2)) + read_file(part(3)));
  const std::string message = refusal(in_folder("joined.gguf"));
  EXPECT_NE(message.find("part 1 of 3 of a split model"), std::string::npos) << message;
  EXPECT_NE(message.find("parts that `cat` joined are no model, keep them apart"), std::string::npos) << message;
}

TEST_F(GgufParts, AreCheckedAgainstEachOther) {
  fs::copy_file(part(2), part(3), fs::copy_options::overwrite_existing);
  const auto says = [&](const std::string& text) { EXPECT_NE(refusal(part(1)).find(text), std::string::npos) << refusal(part(1)); };
  const std::string third = concat("; expected 2, because this is part 3 of ", part(1));
  says(concat(part(3), ": key 'split.no' at byte "));
  says(concat(": found 1", third));
  change_key(3, "split.count", 1);
  says(concat(part(3),
              ": key 'split.count' at byte 46: found 1, which is a whole model; expected the number of parts, because key "
              "'split.tensors.count' at byte 71 has another value than "));
  change_key(3, "split.count", 4);
  says(concat(": found 4; expected 3, because this is part 3 of ", part(1)));
  change_key(3, "split.count", 3);
  change_key(3, "split.no", 2);  // the copy of the second part now says that it is the third
  EXPECT_NE(refusal(part(1)).find("the 3 parts have 32 tensors together; expected 26"), std::string::npos) << refusal(part(1));
  for (int i = 1; i <= 3; ++i) change_key(i, "split.tensors.count", 32);
  EXPECT_NE(refusal(part(1)).find(concat(part(3), ": tensor 'token_embd.weight' at byte ")), std::string::npos) << refusal(part(1));
  EXPECT_NE(refusal(part(1)).find(concat("found a second time; the first is in ", part(2))), std::string::npos) << refusal(part(1));
}

TEST_F(GgufParts, KeysOfTheSplitAreChecked) {
  const std::string good = read_file(part(2));
  const auto changed = [&](std::string_view key, std::uint16_t value) {
    write_file(part(2), good);
    change_key(2, key, value);
    return refusal(part(2));
  };
  EXPECT_NE(changed("split.no", 3).find("key 'split.no' at byte 24: found 3; expected 0 to 2"), std::string::npos);
  EXPECT_NE(changed("split.count", 5000).find("found 5000; expected 0 to 4096"), std::string::npos);
  EXPECT_NE(changed("split.count", 2).find("part 2 of 2 of a split model; its parts are NAME-00001-of-00002.gguf"), std::string::npos);
  std::string renamed = good;
  renamed.replace(renamed.find("split.no"), 8, "splat.no");
  write_file(part(2), renamed);
  EXPECT_NE(refusal(part(2)).find("key 'split.no' is missing"), std::string::npos) << refusal(part(2));
}

// The keys of the first part are used. A further part may repeat them. If it has a key that the first part lacks, or another value
// for a key of the first part, a note says that this key or value is not used.
TEST_F(GgufParts, KeysThatOnlyAFurtherPartHasAreTold) {
  const auto write_part = [&](std::uint16_t number, float base, std::string_view more) {
    stilla_test::GgufBuilder builder;
    builder.string("general.architecture", "qwen2").number<float>("qwen2.rope.freq_base", base);
    if (!more.empty()) builder.string(more, "x");
    if (number == 1) builder.number<std::uint32_t>("general.alignment", 32);  // every part has its own
    builder.number<std::uint16_t>("split.no", number)
        .number<std::uint16_t>("split.count", 2)
        .number<std::int32_t>("split.tensors.count", 2);
    const std::vector<std::byte> bytes = builder.floats(concat("t", number), {1}, {1}).build();
    write_file(in_folder(concat("m-0000", number + 1, "-of-00002.gguf")), {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  };
  const auto notes = [&] {
    const Result<GgufFile> file = GgufFile::open(in_folder("m-00001-of-00002.gguf"));
    return file ? file->notes() : std::vector<std::string>{file.error().message};
  };
  write_part(0, 10000.0f, "");
  write_part(1, 10000.0f, "");
  EXPECT_EQ(notes(), std::vector<std::string>{});
  const std::string begin = printable_path(in_folder("m-00002-of-00002.gguf")) + ": the keys of the first part are used, and not '";
  write_part(1, 5000.0f, "");
  EXPECT_EQ(notes(), std::vector<std::string>{begin + "qwen2.rope.freq_base' of this part"});
  write_part(1, 5000.0f, "general.name");
  EXPECT_EQ(notes(), std::vector<std::string>{begin + "qwen2.rope.freq_base' and others of this part"});
}

TEST(GgufPartNames, OnlyTheFormIsAPart) {
  const auto name = parse_gguf_part_path("a/b-00012-of-00345.gguf");
  ASSERT_TRUE(name);
  EXPECT_EQ(name->stem, "a/b");
  EXPECT_EQ(name->number, 12u);
  EXPECT_EQ(name->count, 345u);
  for (const char* other :
       {"", "b.gguf", "-00012-of-00345.gguf", "b-0012-of-00345.gguf", "b-00012-of-00345.GGUF", "b-+0012-of-00345.gguf",
        "b-00012_of-00345.gguf", "b-00012-of-00345.gguf.gguf", "b-0001x-of-00345.gguf", "b-00012-of-0034x.gguf", "b-x0012-of-00345.gguf"}) {
    EXPECT_FALSE(parse_gguf_part_path(other)) << other;
  }
}

// Makes a file whose weights are all 1, and overwrites its last `zeros` bytes with zeros, as in a download that stopped. The file
// can be parsed all the same. Returns the message with which check_written_to_the_end() refuses it, or "" if it finds nothing
// wrong.
std::string tail_refusal(std::uint32_t rows, std::size_t zeros, const std::string& last_name = "output.weight") {
  constexpr std::uint32_t cols = 1024;
  stilla_test::GgufBuilder b;
  b.floats("token_embd.weight", {cols, 4}, std::vector<float>(4 * cols, 1.0f));
  b.floats(last_name, {cols, rows}, std::vector<float>(std::size_t{rows} * cols, 1.0f));
  std::vector<std::byte> bytes = b.build();
  std::fill(bytes.end() - static_cast<std::ptrdiff_t>(zeros), bytes.end(), std::byte{0});
  const Result<GgufFile> file = GgufFile::parse(MappedFile::from_memory(bytes, "m.gguf"));
  EXPECT_TRUE(file);
  const Status status = check_written_to_the_end(*file);
  return status ? "" : status.error().message;
}

TEST(UnwrittenTail, IsToldFromWeights) {
  constexpr std::size_t row = 4096;
  EXPECT_EQ(tail_refusal(1024, 0), "");
  EXPECT_EQ(tail_refusal(1024, 100 * row), "");  // rows that no token uses may be zero
  EXPECT_EQ(tail_refusal(64, 60 * row), "");                            // these zeros take less than 1 MiB
  EXPECT_EQ(tail_refusal(64, 64 * row, "blk.0.attn_output.bias"), "");  // a bias may be zero,
  EXPECT_NE(tail_refusal(64, 68 * row, "blk.0.attn_output.bias"), "");  // but not together with what comes before it
  EXPECT_NE(tail_refusal(64, 64 * row), "");
  EXPECT_NE(tail_refusal(64, 68 * row), "");
  const std::string message = tail_refusal(1024, 300 * row);
  EXPECT_EQ(message.find("m.gguf: tensor 'output.weight' at byte "), 0u) << message;
  EXPECT_NE(message.find("found nothing but zeros in its last 1228800 of 4194304 bytes"), std::string::npos) << message;
}

}  // namespace
