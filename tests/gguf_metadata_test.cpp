// SPDX-License-Identifier: Apache-2.0
//
// Tests of what a GGUF file says besides its tensors: numbers of every type, arrays, records that are copied into another file, and
// notes about bytes that belong to no tensor.
#include <stilla/io/gguf.hpp>

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "gguf_builder.hpp"

namespace {

using namespace stilla;
using stilla_test::GgufBuilder;

// A file that was parsed, and the bytes that it is a view of.
struct Parsed {
  std::vector<std::byte> bytes;
  Result<GgufFile> file;

  explicit Parsed(const GgufBuilder& builder) : bytes(builder.build()), file(GgufFile::parse(MappedFile::from_memory(bytes, "m.gguf"))) {}
  const GgufFile& operator*() const { return *file; }
  const GgufFile* operator->() const { return &*file; }
  std::string message() const { return file ? "" : file.error().message; }
};

template <class... Numbers, class Check>
void for_each_number(Check check) {
  (check(Numbers{1}), ...);
}

TEST(GgufMetadata, IntegersOfEveryWidthAreRead) {
  for_each_number<std::uint8_t, std::int8_t, std::uint16_t, std::int16_t, std::uint32_t, std::int32_t, std::uint64_t, std::int64_t>(
      [](auto one) {
        using Number = decltype(one);
        const Parsed whole(GgufBuilder().number("split.count", one));
        EXPECT_EQ(whole.message(), "");
        const Number values[] = {std::numeric_limits<Number>::min(), Number{0}, one, std::numeric_limits<Number>::max()};
        GgufBuilder builder;
        builder.array("a", std::vector<Number>(std::begin(values), std::end(values))).number("n", values[3]);
        const Parsed array(builder);
        const Result<std::vector<Number>> found = array->template get_array<Number>("a");
        ASSERT_TRUE(found) << found.error().message;
        EXPECT_TRUE(std::equal(found->begin(), found->end(), std::begin(values), std::end(values)));
        EXPECT_EQ(array->value_text(*array->find("n")), concat(values[3]));
        EXPECT_EQ(array->find_integers("a").has_value(), values[0] == 0) << "negative numbers are none of those that are asked for";
        if (values[0] == 0) return;
        const Parsed negative(GgufBuilder().number("split.count", static_cast<Number>(-1)));
        EXPECT_TRUE(negative.message().ends_with(concat("found int", 8 * sizeof one, " -1; expected an integer of at least 0")))
            << negative.message();
      });
  EXPECT_EQ(Parsed(GgufBuilder().number<float>("split.count", 1)).message(),
            "m.gguf: key 'split.count' at byte 24: found float32; expected an integer of at least 0");
}

TEST(GgufMetadata, ArraysOfFloats) {
  const Parsed file(
      GgufBuilder().array<double>("f64", {0.5, -2.0}).array<std::uint8_t>("u8", {1}).strings("texts", {"a"}).boolean("no", false));
  EXPECT_EQ(*file->get_array<float>("f64"), (std::vector<float>{0.5f, -2.0f}));
  EXPECT_EQ(*file->get_array<double>("f64"), (std::vector<double>{0.5, -2.0}));
  EXPECT_EQ(file->get_array<float>("absent").error().message, "m.gguf: key 'absent' is missing; expected an array of floats");
  EXPECT_EQ(file->get_array<std::uint8_t>("absent").error().message, "m.gguf: key 'absent' is missing; expected an array of integers");
  EXPECT_EQ(file->get_array<std::uint8_t>("f64").error().message,
            "m.gguf: key 'f64' at byte 24: found an array of 2 float64; expected an array of integers");
  EXPECT_TRUE(file->get_array<double>("no").error().message.ends_with("found boolean; expected an array of floats"));
  EXPECT_EQ(file->value_text(*file->find("no")), "false");
  EXPECT_EQ(file->value_text(*file->find("f64")), "[2 float64]");
}

TEST(GgufMetadata, IntegersForLayersAreFewAndNotNegative) {
  const std::vector<std::uint8_t> most(ModelSource::max_array, 3);
  std::vector<std::uint8_t> more = most;
  more.push_back(3);
  const Parsed file(GgufBuilder().array("most", most).array("more", more).strings("texts", {"a"}).number<std::uint32_t>("one", 1));
  ASSERT_TRUE(file->find_integers("most"));
  EXPECT_EQ(file->find_integers("most")->size(), most.size());
  for (const char* key : {"more", "texts", "one", "absent"}) EXPECT_FALSE(file->find_integers(key)) << key;
}

TEST(GgufMetadata, RecordsDescribeTheModelAndNotItsFiles) {
  GgufBuilder builder;
  builder.number<std::uint32_t>("general.alignment", 32).number<std::uint16_t>("split.count", 1).string("general.name", "x");
  builder.string("stilla.packed.importance", "y");
  const Result<GgufRecords> records = Parsed(builder)->metadata_records();
  ASSERT_TRUE(records);
  EXPECT_EQ(records->count, 1u);
  EXPECT_EQ(records->bytes, GgufBuilder::raw_string("general.name") + GgufBuilder::raw<std::uint32_t>(8) + GgufBuilder::raw_string("x"));
}

// gguf-py fills the space behind the last tensor with zeros, up to a multiple of the alignment. Only other bytes there cause a
// note.
TEST(GgufMetadata, BytesBehindTheLastTensorAreToldUnlessTheyArePadding) {
  const auto notes = [](std::string_view behind) { return Parsed(GgufBuilder().floats("a", {3}, {1, 2, 3}).raw_data(behind))->notes(); };
  EXPECT_TRUE(notes("").empty());
  EXPECT_TRUE(notes(std::string(20, '\0')).empty());  // these zeros and the tensor's 12 bytes are 32 bytes, the alignment
  for (const std::string& behind : {std::string(20, 'x'), std::string(21, '\0'), std::string(1, 'x')}) {
    ASSERT_EQ(notes(behind).size(), 1u) << behind.size();
    EXPECT_TRUE(notes(behind)[0].starts_with(concat("m.gguf: ", behind.size(), " bytes from byte "))) << notes(behind)[0];
  }
  EXPECT_TRUE(Parsed(GgufBuilder().string("general.name", "x").raw_data("more"))->notes().empty());  // a file without tensors
}

// A tensor may come from a source that is no GGUF file. It has no type number of GGUF then, and its type is named as that source
// names it.
TEST(GgufMetadata, TypesOfTensorsOfOthers) {
  const Parsed file(GgufBuilder().floats("a", {1}, {1}));
  const TensorInfo other{"b", {1, 1, 1, 1}, 1, no_format, "other", 4, 0, false};
  EXPECT_EQ(file->foreign_type_number(other), std::nullopt);
  EXPECT_EQ(file->type_text(other), "type other");
  EXPECT_EQ(file->type_text(file->tensor(0)), "type 0 (f32)");
}

TEST(GgufMetadata, FormatsOfGgml) {
  EXPECT_TRUE(is_ggml_format(id_of<F32>));
  EXPECT_FALSE(is_ggml_format(id_of<ST4>));
  EXPECT_FALSE(is_ggml_format(no_format));
  EXPECT_EQ(name_of(static_cast<GgufValueType>(13)), "unknown");
  EXPECT_EQ(value_bytes(static_cast<GgufValueType>(13)), 0u);
}

}  // namespace
