// SPDX-License-Identifier: Apache-2.0
//
// Tests of the GGUF reader: what it reads, and that it refuses every known kind of damage. The error message names the file, the
// key or tensor, and the byte offset. It is the same whether the bytes are mapped, read, or borrowed from the caller.
#include "gguf_builder.hpp"

#include <stilla/io/gguf.hpp>

#include <gtest/gtest.h>

#include <bit>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

namespace {

using namespace stilla;
using stilla_test::GgufBuilder;
using Builder = GgufBuilder;

// A copy of a file on the heap, with exactly the file's size: a sanitizer sees any byte that is read behind the file's end.
struct HeapFile {
  explicit HeapFile(std::span<const std::byte> bytes) : size(bytes.size()), data(new std::byte[size]) {
    if (size != 0) std::memcpy(data.get(), bytes.data(), size);
  }
  MappedFile file() const { return MappedFile::from_memory({data.get(), size}, "m.gguf"); }
  std::size_t size;
  std::unique_ptr<std::byte[]> data;
};

std::string temporary_path(const std::string& name) { return ::testing::TempDir() + "stilla_gguf_test_" + name; }

void write_file(const std::string& path, std::string_view bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

bool is_one_line(const std::string& message) {
  for (const char c : message) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return false;
  }
  return !message.empty();
}

// Uses everything that a loaded file offers: all keys, values and tensors.
std::size_t touch(const GgufFile& file) {
  std::size_t sum = 0;
  for (const GgufKey& key : file.keys()) {
    EXPECT_EQ(file.find(key.name), &key);
    sum += file.value_text(key).size();
    if (const auto strings = file.get_strings(key.name)) {
      std::size_t n = 0;
      for (const std::string_view text : *strings) sum += text.size(), ++n;
      EXPECT_EQ(n, strings->size());
    }
    if (const auto text = file.get_string(key.name)) {
      for (const char c : *text) sum += static_cast<unsigned char>(c);
    }
    sum += file.get_uint(key.name) ? 1u : 0u;
    sum += file.get_int(key.name) ? 1u : 0u;
    sum += file.get_float(key.name) ? 1u : 0u;
    sum += file.get_bool(key.name) ? 1u : 0u;
    sum += file.get_array<std::int8_t>(key.name) ? 1u : 0u;
    sum += file.get_array<std::uint64_t>(key.name) ? 1u : 0u;
    sum += file.get_array<float>(key.name) ? 1u : 0u;
  }
  for (const GgufTensor& tensor : file.tensors()) {
    EXPECT_EQ(file.find_tensor(tensor.name), &tensor);
    for (const std::byte b : file.tensor_bytes(tensor)) sum += std::to_integer<unsigned>(b);
    sum += file.require_tensor(tensor.name) ? 1u : 0u;
  }
  return sum;
}

// Parses a copy of the bytes. Returns the error message, or "" if the file loads.
std::string verdict(const std::vector<std::byte>& bytes) {
  const HeapFile heap(bytes);
  const Result<GgufFile> file = GgufFile::parse(heap.file());
  if (file) {
    touch(*file);
    return "";
  }
  EXPECT_EQ(file.error().kind, ErrorKind::refused_file);
  EXPECT_TRUE(is_one_line(file.error().message)) << file.error().message;
  EXPECT_TRUE(file.error().message.starts_with("m.gguf: ")) << file.error().message;
  return file.error().message;
}

Builder small_file() {
  Builder b;
  b.string("general.architecture", "qwen2")
      .number<std::uint32_t>("qwen2.block_count", 28)
      .number<std::uint8_t>("u8", 200)
      .number<std::int8_t>("i8", -3)
      .number<std::uint16_t>("u16", 60000)
      .number<std::int16_t>("i16", -30000)
      .number<std::int32_t>("i32", -7)
      .number<std::uint64_t>("u64", 1ull << 63)
      .number<std::int64_t>("i64", -5'000'000'000)
      .number<float>("f32", 1e-6f)
      .number<double>("f64", 0.1)
      .boolean("yes", true)
      .boolean("no", false)
      .strings("tokens", {"a", "", "\xc4\xa0the", std::string("\0x", 2)})
      .array<std::int32_t>("types", {1, 3, -1})
      .array<std::uint8_t>("bytes", {1, 255})
      .array<float>("scores", {0.5f, -2.0f})
      .raw_key("flags", 9, Builder::raw<std::uint32_t>(7) + Builder::raw<std::uint64_t>(2) + std::string("\0\1", 2))
      .raw_key("empty", 9, Builder::raw<std::uint32_t>(8) + Builder::raw<std::uint64_t>(0));
  b.floats("token_embd.weight", {2, 3}, {1, 2, 3, 4, 5, 6});
  const std::vector<std::byte> q4(2 * 18, std::byte{0x88});
  b.tensor("blk.0.attn_q.weight", {64}, 2, q4);
  b.floats("scalar", {}, {42.0f});
  return b;
}

TEST(Gguf, ReadsEveryKindOfValue) {
  for (const std::uint32_t version : {2u, 3u}) {
    Builder b = small_file();
    b.version = version;
    const HeapFile heap(b.build());
    Result<GgufFile> parsed = GgufFile::parse(heap.file());
    ASSERT_TRUE(parsed) << parsed.error().message;
    const GgufFile file = std::move(*parsed);
    EXPECT_EQ(file.version(), version);
    EXPECT_EQ(file.keys().size(), 19u);
    EXPECT_EQ(*file.get_string("general.architecture"), "qwen2");
    EXPECT_EQ(*file.get_uint("qwen2.block_count"), 28u);
    EXPECT_EQ(*file.get_uint("u8"), 200u);
    EXPECT_EQ(*file.get_int("u8"), 200);
    EXPECT_EQ(*file.get_int("i8"), -3);
    EXPECT_EQ(*file.get_uint("u16"), 60000u);
    EXPECT_EQ(*file.get_int("i16"), -30000);
    EXPECT_EQ(*file.get_int("i32"), -7);
    EXPECT_EQ(*file.get_uint("u64"), 1ull << 63);
    EXPECT_EQ(*file.get_int("i64"), -5'000'000'000);
    EXPECT_EQ(*file.get_float("f32"), 1e-6f);
    EXPECT_EQ(*file.get_float("f64"), 0.1f);
    EXPECT_TRUE(*file.get_bool("yes"));
    EXPECT_FALSE(*file.get_bool("no"));
    const GgufStrings tokens = *file.get_strings("tokens");
    EXPECT_EQ(std::vector<std::string_view>(tokens.begin(), tokens.end()),
              (std::vector<std::string_view>{"a", "", "\xc4\xa0the", std::string_view("\0x", 2)}));
    EXPECT_EQ(*file.get_array<std::int32_t>("types"), (std::vector<std::int32_t>{1, 3, -1}));
    EXPECT_EQ(*file.get_array<std::uint32_t>("bytes"), (std::vector<std::uint32_t>{1, 255}));
    EXPECT_EQ(*file.get_array<std::uint8_t>("flags"), (std::vector<std::uint8_t>{0, 1}));
    EXPECT_EQ(*file.get_array<float>("scores"), (std::vector<float>{0.5f, -2.0f}));
    EXPECT_TRUE(file.get_strings("empty")->empty());
    EXPECT_EQ(*file.get_uint_or("missing", 5), 5u);
    EXPECT_EQ(*file.get_string_or("missing", "x"), "x");
    EXPECT_EQ(file.find("missing"), nullptr);

    ASSERT_EQ(file.tensors().size(), 3u);
    const TensorInfo& embedding = **file.require_tensor("token_embd.weight", {2, 3});
    EXPECT_EQ(embedding.columns(), 2u);
    EXPECT_EQ(embedding.rows(), 3u);
    EXPECT_EQ(embedding.offset % 32, 0u);
    EXPECT_EQ(embedding.offset, file.data_offset());
    EXPECT_EQ(load_as<float>(file.tensor_bytes(embedding).data() + 20), 6.0f);
    const GgufTensor* query = file.find_tensor("blk.0.attn_q.weight");
    ASSERT_NE(query, nullptr);
    EXPECT_EQ(query->size_bytes, 36u);
    EXPECT_EQ(query->dims, (std::array<std::uint64_t, 4>{64, 1, 1, 1}));
    EXPECT_EQ(load_as<float>(file.tensor_bytes(*file.find_tensor("scalar")).data()), 42.0f);
    EXPECT_EQ(file.find_tensor("token_embd"), nullptr);
    EXPECT_EQ(file.value_text(*file.find("tokens")), "[4 string]");
    EXPECT_EQ(file.value_text(*file.find("yes")), "true");
    EXPECT_EQ(file.value_text(*file.find("i8")), "-3");
    EXPECT_EQ(file.value_text(*file.find("general.architecture")), "'qwen2'");
  }
}

TEST(Gguf, GettersNameFileKeyOffsetFoundAndExpected) {
  const HeapFile heap(small_file().build());
  const Result<GgufFile> file = GgufFile::parse(heap.file());
  ASSERT_TRUE(file);
  EXPECT_EQ(file->get_uint("general.architecture").error().message,
            "m.gguf: key 'general.architecture' at byte 24: found string; expected an unsigned integer");
  EXPECT_EQ(file->get_uint("absent").error().message, "m.gguf: key 'absent' is missing; expected an unsigned integer");
  const auto contains = [](const Error& error, std::string_view text) {
    EXPECT_NE(error.message.find(text), std::string::npos) << error.message;
  };
  contains(file->get_uint("i8").error(), "found -3; expected 0 to 18446744073709551615");
  contains(file->get_int("u64").error(), "found 9223372036854775808; expected");
  contains(file->get_uint("u16", 100).error(), "found 60000; expected 0 to 100");
  contains(file->get_uint("yes").error(), "found boolean; expected an unsigned integer");
  contains(file->get_float("u8").error(), "found uint8; expected a float");
  contains(file->get_bool("u8").error(), "found uint8; expected a boolean");
  contains(file->get_string("tokens").error(), "found an array of 4 string; expected a string");
  contains(file->get_strings("types").error(), "found an array of 3 int32; expected an array of strings");
  contains(file->get_array<std::int32_t>("tokens").error(), "expected an array of integers");
  contains(file->get_array<std::int32_t>("scores").error(), "found an array of 2 float32; expected an array of integers");
  contains(file->get_array<float>("types").error(), "expected an array of floats");
  contains(file->get_array<std::uint32_t>("types").error(), "found -1 as element 2 at byte");
  contains(file->get_array<std::int8_t>("bytes").error(), "found 255 as element 1");
  contains(file->get_uint_or("general.architecture", 3).error(), "expected an unsigned integer");
  contains(file->require_tensor("nothing").error(), "tensor 'nothing' is missing");
  contains(file->require_tensor("token_embd.weight", {3, 2}).error(), "found shape [2, 3]; expected [3, 2]");

  Builder wide;
  wide.number<double>("f64", 1e300).number<double>("inf", HUGE_VAL).string("evil\n\x1b[2J", "v");
  const HeapFile wide_heap(wide.build());
  const Result<GgufFile> wide_file = GgufFile::parse(wide_heap.file());
  ASSERT_TRUE(wide_file);
  contains(wide_file->get_float("f64").error(), "expected a value that fits in a float");
  EXPECT_EQ(std::bit_cast<std::uint32_t>(*wide_file->get_float("inf")), 0x7f800000u);
  contains(wide_file->get_bool("evil\n\x1b[2J").error(), "key 'evil\\x0a\\x1b[2J'");
}

// The numbers that GGUF files use for formats. They must never change, because files hold them.
TEST(Gguf, FormatsHaveTheirNumbers) {
  // clang-format off
  const std::pair<std::string_view, std::uint32_t> expected[] = {
      {"f32", 0},          {"f16", 1},          {"bf16", 30},         {"q8_0", 8},
      {"q4_0", 2},         {"q4_1", 3},         {"q5_0", 6},          {"q5_1", 7},
      {"q2_k", 10},        {"q3_k", 11},        {"iq2_xxs", 16},      {"iq2_xs", 17},
      {"iq2_s", 22},       {"iq3_xxs", 18},     {"iq3_s", 21},
      {"q4_k", 12},        {"q5_k", 13},        {"q6_k", 14},         {"iq4_nl", 20},
      {"iq4_xs", 23},      {"st4", 0x345453},   {"int4_g128", 0x533449}, {"int4_g128_min", 0x4d3449},
      {"int4_channel", 0x433449}, {"int8_channel", 0x433849}, {"bfp16ebs8", 0x4a3ca744},
      {"uint4_g128", 0x6a9ac946}, {"lpbq32", 0x5579d739}, {"lpbq64", 0x69817bfa}, {"lpbq128", 0x7ae40db9}};
  // clang-format on
  for (const auto& [name, number] : expected) {
    if (!with_format(format_id(name), [](auto) {})) continue;  // the format is not compiled into this test (STILLA_FORMATS)
    EXPECT_EQ(gguf_type_of(format_id(name)), number) << name;
    EXPECT_EQ(format_of_gguf_type(number), format_id(name)) << name;
    EXPECT_EQ(is_ggml_format(format_id(name)), number < 42) << name;
  }
  EXPECT_EQ(format_of_gguf_type(34), std::nullopt);  // this is the number of tq1_0, which Stilla does not read
  EXPECT_EQ(format_of_gguf_type(4711), std::nullopt);
  EXPECT_EQ(gguf_type_of(no_format), std::nullopt);
  EXPECT_EQ(gguf_type_of(format_id("tq1_0")), std::nullopt);
  const auto id = static_cast<std::uint32_t>(format_id("a format to come"));
  EXPECT_EQ(detail::own_number("a format to come"), (id & 0x7fffffff) | 0x40000000);
}

TEST(Gguf, TypesWithKnownGeometryLoadAndAreRefusedWhenUsed) {
#ifdef STILLA_FORMATS
  GTEST_SKIP() << "the message names the formats that are compiled; here they are few";
#endif
  Builder b;
  const std::tuple<const char*, std::uint32_t, std::size_t> refused[] = {
                                                                           // Each entry has the name of a format, its type number,
                                                                           // and the number of bytes that 256 of its weights take.
      {"iq1_s", 19, 50}, {"iq1_m", 29, 56}, {"tq1_0", 34, 54}, {"tq2_0", 35, 66}, {"mxfp4", 39, 8 * 17}, {"nvfp4", 40, 4 * 36}};
  for (const auto& [name, type, bytes] : refused) b.tensor(name, {256, 2}, type, std::vector<std::byte>(2 * bytes));
  const HeapFile heap(b.build());
  const Result<GgufFile> file = GgufFile::parse(heap.file());
  ASSERT_TRUE(file) << file.error().message;
  for (const auto& [name, type, bytes] : refused) {
    EXPECT_NE(file->find_tensor(name), nullptr);
    const std::string message = file->require_tensor(name).error().message;
    EXPECT_NE(message.find(concat("type ", type, " (", name,
                                  ") is not supported; supported: f32, f16, bf16, q8_0, q4_0, q4_1, q5_0, "
                                  "q5_1, q2_k, q3_k, q4_k, q5_k, q6_k, iq2_xxs, iq2_xs, iq2_s, iq3_xxs, iq3_s, iq4_nl, iq4_xs")),
              std::string::npos)
        << message;
  }
}

struct Damage {
  const char* what;
  std::vector<std::byte> bytes;
  const char* message;  // a part of the expected message
};

// Adds to `out` damaged files: the data of their tensors cannot be where the files say that they are.
void add_wrong_places(std::vector<Damage>& out) {
  const auto add = [&](const char* what, const Builder& b, const char* message) { out.push_back({what, b.build(), message}); };
  add("offset unaligned", Builder().raw_tensor("t", {1}, 0, 4), "found data offset 4; expected a multiple of the alignment 32");
  add("no data", Builder().raw_tensor("t", {8}, 0, 0), "needs 32 bytes at byte 64 and 0 are present");
  add("data past the end", Builder().raw_tensor("t", {8}, 0, 1ull << 40).raw_data(std::string(64, 'x')),
      "needs 32 bytes at byte 1099511627840 and 0 are present: the file has 128 bytes of the 1099511627872 that its tensors need; it is "
      "truncated, or the offset of this tensor is wrong");
  add("data past the end, and a hole",
      Builder().raw_tensor("a", {8}, 0, 1ull << 40).raw_tensor("b", {8}, 0, 32).raw_data(std::string(64, 'x')),
      "tensor 'a' at byte 24: needs 32 bytes at byte 1099511627872 and 0 are present");
  add("a tensor larger than the file", Builder().raw_tensor("t", {1 << 20}, 0, 0).raw_data(std::string(64, 'x')),
      "that its tensors need; it is truncated, or the shape or the type of this tensor is wrong");
  add("overlap", Builder().raw_tensor("a", {16}, 0, 0).raw_tensor("b", {8}, 0, 32).raw_data(std::string(64, 'x')),
      "tensor 'b' at byte 57: its data at byte 128 overlaps tensor 'a' at byte 24, which as f32 of shape [16] holds bytes 96 to 160; the "
      "type or "
      "the shape of the latter is wrong, or the offset of one of the two");
  add("same place", Builder().raw_tensor("a", {8}, 0, 0).raw_tensor("b", {8}, 0, 0).raw_data(std::string(64, 'x')), "overlaps tensor 'a'");
  add("hole", Builder().raw_tensor("a", {8}, 0, 0).raw_tensor("b", {8}, 0, 96).raw_data(std::string(160, 'x')),
      "tensor 'a' at byte 24: as f32 of shape [8] it ends at byte 128, and no tensor holds the 64 bytes up to tensor 'b' at byte 57; "
      "the type or the shape of the former is wrong, or an offset: that of one of these two, or of a tensor between them");
  add("a hole as small as the alignment", Builder().raw_tensor("a", {8}, 0, 0).raw_tensor("b", {8}, 0, 64).raw_data(std::string(160, 'x')),
      "no tensor holds the 32 bytes up to tensor 'b' at byte 57");
  add("hole before the first", Builder().raw_tensor("a", {8}, 0, 32).raw_data(std::string(160, 'x')),
      "tensor 'a' at byte 24: its data begins at byte 96, and no tensor holds the 32 bytes before it; expected the first tensor at "
      "byte 64");
  add("first missing, not first declared",
      Builder().raw_tensor("late", {8}, 0, 64).raw_tensor("early", {8}, 0, 32).raw_tensor("ok", {8}, 0, 0).raw_data(std::string(40, 'x')),
      "tensor 'early'");
}

std::vector<Damage> damages() {
  const auto u32 = [](std::uint32_t x) { return Builder::raw(x); };
  const auto u64 = [](std::uint64_t x) { return Builder::raw(x); };
  constexpr std::uint64_t huge = ~std::uint64_t{0};
  std::vector<Damage> out;
  const auto add = [&](const char* what, const Builder& b, const char* message) { out.push_back({what, b.build(), message}); };
  const auto make = [](auto&& change) {
    Builder b = small_file();
    change(b);
    return b;
  };

  add("version 0", make([](Builder& b) { b.version = 0; }), "GGUF version 0; expected 2 or 3");
  add("version 1", make([](Builder& b) { b.version = 1; }), "GGUF version 1; expected 2 or 3");
  add("version 4", make([](Builder& b) { b.version = 4; }), "GGUF version 4; expected 2 or 3");
  add("big endian", make([](Builder& b) { b.version = 0x03000000; }), "big-endian GGUF; expected little-endian");
  add("key count", make([&](Builder& b) { b.key_count = huge; }), "key count at byte 16: found 18446744073709551615; expected at most");
  add("key count one more", make([](Builder& b) { b.key_count = 20; }), "tensor 1 of 3");
  add("tensor count", make([&](Builder& b) { b.tensor_count = huge / 2; }), "tensor count at byte 8: found 9223372036854775807");
  add("tensor count after keys", make([](Builder& b) { b.tensor_count = 20; }), "tensor count at byte 8: found 20");

  add("key length", Builder().raw_key("", 4, u32(1)), "found a name of 0 bytes; expected 1 to 65535");
  add("key name too long", Builder().number<std::uint32_t>(std::string(65536, 'k'), 1), "found a name of 65536 bytes");
  {
    std::vector<std::byte> bytes = Builder().number<std::uint32_t>("k", 1).build();
    std::memset(bytes.data() + 24, 0xff, 8);
    out.push_back({"key length wraps", bytes, "key 1 of 1 at byte 24: found a name of 18446744073709551615 bytes"});
  }
  add("value type", Builder().raw_key("k", 13, u64(1)), "key 'k' at byte 24: found value type 13 at byte 33; expected 0 to 12");
  add("string length", Builder().raw_key("k", 8, u64(huge)),
      "key 'k' at byte 24: needs 18446744073709551615 bytes at byte 45 and 0 are left");
  add("array type", Builder().raw_key("k", 9, u32(77) + u64(1)), "found value type 77");
  add("array of arrays", Builder().raw_key("k", 9, u32(9) + u64(1) + u32(4) + u64(1) + u32(0)), "array of arrays");
  add("array count", Builder().raw_key("k", 9, u32(10) + u64(huge / 4)), "needs 4611686018427387903 values of 8 bytes");
  add("array count wraps", Builder().raw_key("k", 9, u32(10) + u64(0x2000000000000001) + u64(0)), "values of 8 bytes");
  add("strings count", Builder().raw_key("k", 9, u32(8) + u64(huge) + u64(0)), "found 18446744073709551615 strings; expected at most 1");
  add("string in array", Builder().raw_key("k", 9, u32(8) + u64(1) + u64(99)), "key 'k' at byte 24, string 1 of 1: needs 99 bytes");
  add("boolean", Builder().raw_key("k", 7, "\x02"), "found boolean 2");
  add("boolean in array", Builder().raw_key("k", 9, u32(7) + u64(2) + std::string("\1\3", 2)), "found boolean 3");
  add("duplicate key", Builder().number<std::uint32_t>("k", 1).string("k", "x"),
      "key 'k' at byte 41: found a second time; the first is at byte 24");

  add("alignment 0", make([](Builder& b) { b.number<std::uint32_t>("general.alignment", 0); }), "found 0; expected a power of two");
  add("alignment 24", make([](Builder& b) { b.number<std::uint32_t>("general.alignment", 24); }), "found 24; expected a power of two");
  add("alignment 2^31", make([](Builder& b) { b.number<std::uint32_t>("general.alignment", 1u << 31); }),
      "expected a power of two from 1 to 1048576");
  add("alignment type", make([](Builder& b) { b.number<std::int32_t>("general.alignment", 32); }), "found int32; expected uint32");
  add("alignment string", make([](Builder& b) { b.string("general.alignment", "32"); }), "found string; expected uint32");

  add("tensor name empty", Builder().raw_tensor("", {1}, 0, 0), "found a name of 0 bytes");
  add("tensor name long", Builder().raw_tensor(std::string(65, 't'), {1}, 0, 0), "found a name of 65 bytes; expected 1 to 64");
  add("dimensions 5", Builder().raw_tensor("t", {1, 1, 1, 1, 1}, 0, 0), "found 5 dimensions; expected at most 4; if this is a key");
  add("dimensions huge", Builder().raw_tensor("t", {1}, 0, 0, 0xffffffffu), "found 4294967295 dimensions");
  add("dimension 0", Builder().raw_tensor("t", {4, 0}, 0, 0), "shape [4, 0]; expected no dimension to be 0");
  add("product wraps", Builder().raw_tensor("t", {1ull << 32, 1ull << 32}, 0, 0), "does not fit in 64 bits");
  add("product wraps to small", Builder().raw_tensor("t", {3, 0xaaaaaaaaaaaaaaabull}, 0, 0), "does not fit in 64 bits");
  add("bytes wrap", Builder().raw_tensor("t", {1ull << 62}, 0, 0), "does not fit in 64 bits");
  add("bytes wrap in blocks", Builder().raw_tensor("t", {huge - 31}, 8, 0), "does not fit in 64 bits");
  add("end wraps", Builder().raw_tensor("t", {32}, 0, huge - 31), "does not fit in 64 bits");
  add("offset plus size wraps", Builder().raw_tensor("t", {1ull << 61}, 0, 1ull << 63), "does not fit in 64 bits");
  add("part of a block", Builder().raw_tensor("t", {65}, 2, 0),
      "tensor 't' at byte 24: shape [65]: 65 columns are not a multiple of the q4_0 block of 32");
  add("type unknown", Builder().raw_tensor("t", {32}, 4711, 0), "tensor 't' at byte 24: found type 4711; supported: f32");
  add("type removed", Builder().raw_tensor("t", {32}, 4, 0), "found type 4 (q4_2), which was removed from ggml");
  add("duplicate tensor", Builder().floats("t", {1}, {1}).floats("t", {1}, {1}), "tensor 't' at byte 57: found a second time");

  add("split.count type", make([](Builder& b) { b.string("split.count", "3"); }), "found string; expected an integer");
  add("split.count negative", make([](Builder& b) { b.number<std::int32_t>("split.count", -1); }),
      "found int32 -1; expected an integer of at least 0");
  add_wrong_places(out);
  return out;
}

TEST(Gguf, DamageIsRefusedByName) {
  for (const Damage& damage : damages()) {
    SCOPED_TRACE(damage.what);
    const std::string message = verdict(damage.bytes);
    EXPECT_NE(message.find(damage.message), std::string::npos) << "found: " << message << "\nexpected: " << damage.message;
  }
}

TEST(Gguf, SameVerdictMappedReadAndBorrowed) {
  std::vector<Damage> cases = damages();
  cases.push_back({"good", small_file().build(), ""});
  const std::string path = temporary_path("verdict.gguf");
  for (const Damage& damage : cases) {
    SCOPED_TRACE(damage.what);
    write_file(path, {reinterpret_cast<const char*>(damage.bytes.data()), damage.bytes.size()});
    const std::string borrowed = verdict(damage.bytes);
    for (const LoadMode mode : {LoadMode::map, LoadMode::read}) {
      const Result<GgufFile> file = GgufFile::open(path, mode);
      ASSERT_EQ(file.has_value(), borrowed.empty());
      if (file) {
        EXPECT_GT(touch(*file), 0u);
      } else {
        EXPECT_EQ(file.error().message, path + borrowed.substr(std::string_view("m.gguf").size()));
      }
    }
  }
  std::remove(path.c_str());
}

TEST(Gguf, EveryTruncationIsRefused) {
  const std::vector<std::byte> whole = small_file().build();
  ASSERT_EQ(verdict(whole), "");
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const std::string message = verdict({whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)});
    EXPECT_FALSE(message.empty()) << size;
    if (size >= 24) {
      EXPECT_TRUE(message.find("key") != std::string::npos || message.find("tensor") != std::string::npos) << message;
    }
  }
}

TEST(Gguf, ChangingAnyByteIsSurvived) {
  const std::vector<std::byte> whole = small_file().build();
  for (std::size_t i = 0; i < whole.size(); ++i) {
    for (const unsigned value : {0x00u, 0x01u, 0x7fu, 0x80u, 0xffu}) {
      std::vector<std::byte> bytes = whole;
      bytes[i] = static_cast<std::byte>(value);
      verdict(bytes);
    }
  }
}

TEST(Gguf, AnyAlignmentAndAnyOrderOfTheDataAreFine) {
  for (const std::uint32_t alignment : {1u, 8u, 64u, 4096u}) {
    Builder b;
    b.alignment = alignment;
    b.number<std::uint32_t>("general.alignment", alignment);
    b.floats("a", {3}, {1, 2, 3}).floats("b", {1}, {4});
    EXPECT_EQ(verdict(b.build()), "") << alignment;
  }
  EXPECT_EQ(verdict(Builder().raw_tensor("b", {8}, 0, 32).raw_tensor("a", {8}, 0, 0).raw_data(std::string(160, 'x')).build()), "");
}

TEST(Gguf, VocabularyWithoutTensorsLoads) {
  EXPECT_EQ(verdict(Builder().strings("tokenizer.ggml.tokens", {"a", "b"}).build()), "");
  EXPECT_EQ(verdict(Builder().build()), "");
}

TEST(Gguf, SplitFilesNameTheirParts) {
  Builder b = small_file();
  b.number<std::uint16_t>("split.no", 1).number<std::uint16_t>("split.count", 3).number<std::int32_t>("split.tensors.count", 9);
  const std::vector<std::byte> bytes = b.build();
  const auto message = [&](std::string name) { return GgufFile::parse(MappedFile::from_memory(bytes, std::move(name))).error().message; };
  const std::string named = message("dir/r1-q4-00002-of-00003.gguf");
  EXPECT_NE(named.find("part 2 of 3 of a split model; its parts are r1-q4-00001-of-00003.gguf to "
                       "r1-q4-00003-of-00003.gguf; expected a whole model"),
            std::string::npos)
      << named;
  EXPECT_NE(message("renamed.gguf").find("its parts are NAME-00001-of-00003.gguf to NAME-00003-of-00003.gguf"), std::string::npos);

  Builder whole = small_file();
  whole.number<std::uint16_t>("split.no", 0).number<std::uint16_t>("split.count", 1);
  EXPECT_EQ(verdict(whole.build()), "");
}

TEST(Gguf, OtherFilesAreNamed) {
  const auto message = [](std::string_view text) {
    return verdict({reinterpret_cast<const std::byte*>(text.data()), reinterpret_cast<const std::byte*>(text.data() + text.size())});
  };
  using namespace std::string_view_literals;
  const std::pair<std::string_view, const char*> cases[] = {
      {""sv, "found an empty file"},
      {"GGU"sv, "found text: 'GGU'"},
      {"FUGG\0\0\0\3"sv, "bytes swapped"},
      {"PK\x03\x04zip"sv, "zip archive (a PyTorch checkpoint?)"},
      {"\x80\x02}q"sv, "Python pickle"},
      {"version https://git-lfs"sv, "git-lfs pointer"},
      {"\n <!DOCTYPE html><html>"sv, "HTML"},
      {"<HTML>"sv, "HTML"},
      {"\x02\0\0\0\0\0\0\0{}"sv, "safetensors"},
      {"\xff\xff\0\0\0\0\0\0{}"sv, "unknown bytes: '\\xff\\xff\\x00\\x00'"},  // its header would be longer than the file
      {"{\"error\": 404}"sv, "JSON"},
      {"not\tfound\r\n"sv, "text: 'not\\x09found'"},
      {"Repository not found\n"sv, "text: 'Repository not found'"},
      {"\0\0\0\0\0\0\0\0"sv, "zero bytes"},
      {"tjgg\1\0\0\0"sv, "GGJT file of 2023"},
      {"\xfe\xed\xfa\xce"sv, "unknown bytes: '\\xfe\\xed\\xfa\\xce'"},
  };
  for (const auto& [bytes, expected] : cases) {
    const std::string found = message(bytes);
    EXPECT_NE(found.find("is not a GGUF file"), std::string::npos) << found;
    EXPECT_NE(found.find(expected), std::string::npos) << found;
  }
}

TEST(Gguf, LimitsOnCounts) {
  Builder keys;
  for (int i = 0; i < 65537; ++i) keys.number<std::uint8_t>(concat("k", i), 0);
  EXPECT_NE(verdict(keys.build()).find("key count at byte 16: found 65537; expected at most 65536"), std::string::npos);

  Builder tensors;
  for (int i = 0; i < 131073; ++i) tensors.raw_tensor(concat("t", i), {}, 24, 0);
  EXPECT_NE(verdict(tensors.build()).find("tensor count at byte 8: found 131073; expected at most 131072"), std::string::npos);
}

// A file with a large vocabulary is read in a few milliseconds, and so is one with many tensors. The test's limit is much longer,
// because sanitizers are slow. It is a limit of processor time, because other programs may be running (on Windows std::clock() is wall
// time).
TEST(Gguf, LargeTablesAreQuick) {
  Builder b;
  std::vector<std::string> tokens(150'000);
  for (std::size_t i = 0; i < tokens.size(); ++i) tokens[i] = "token" + std::to_string(i);
  b.strings("tokenizer.ggml.tokens", tokens).array("tokenizer.ggml.token_type", std::vector<std::int32_t>(tokens.size(), 1));
  const std::vector<std::byte> one(1);
  b.alignment = 1;
  b.number<std::uint32_t>("general.alignment", 1);
  for (int i = 0; i < 100'000; ++i) b.tensor("blk.weight." + std::to_string(i), {1}, 24, one);
  const std::vector<std::byte> bytes = b.build();
  const std::clock_t start = std::clock();
  const Result<GgufFile> file = GgufFile::parse(MappedFile::from_memory(bytes, "m.gguf"));
  const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_LT(seconds, 2.0);
  RecordProperty("milliseconds", std::to_string(seconds * 1000));
}

TEST(Gguf, MovingKeepsViews) {
  const std::string path = temporary_path("move.gguf");
  ASSERT_TRUE(small_file().write(path));
  for (const LoadMode mode : {LoadMode::map, LoadMode::read}) {
    Result<GgufFile> opened = GgufFile::open(path, mode);
    ASSERT_TRUE(opened);
    const GgufTensor* tensor = opened->find_tensor("scalar");
    const std::string_view name = *opened->get_string("general.architecture");
    GgufFile moved = std::move(*opened);
    GgufFile again = std::move(moved);
    EXPECT_EQ(again.find_tensor("scalar"), tensor);
    EXPECT_EQ(name, "qwen2");
    EXPECT_GT(touch(again), 0u);
  }
  std::remove(path.c_str());
}

// If STILLA_MODELS names a folder of real models, the test reads them.
TEST(Gguf, RealFiles) {
  const char* folder = std::getenv("STILLA_MODELS");
  if (!folder) GTEST_SKIP() << "STILLA_MODELS is not set";
  const auto open = [&](const char* name) {
    const auto start = std::chrono::steady_clock::now();
    Result<GgufFile> file = GgufFile::open(std::string(folder) + "/" + name);
    EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(), 1.0) << name;
    return file;
  };
  const Result<GgufFile> truncated = open("r1-distill-qwen-7b-q4_k_m.head.bin");
  ASSERT_FALSE(truncated);
  EXPECT_NE(truncated.error().message.find("tensor 'output.weight' at byte 5933942: needs 447068160 bytes at byte 5953248 and "
                                           "93661472 are present"),
            std::string::npos)
      << truncated.error().message;
  const Result<GgufFile> qwen = open("qwen2.5-coder-0.5b-instruct-q4_k_m.gguf");
  ASSERT_TRUE(qwen) << qwen.error().message;
  EXPECT_EQ(*qwen->get_uint("qwen2.block_count"), 24u);
  EXPECT_EQ(qwen->get_strings("tokenizer.ggml.tokens")->size(), 151936u);
  EXPECT_TRUE(qwen->require_tensor("output.weight", {896, 151936}));
}

#if !defined(_WIN32)  // Windows shortens no file that is mapped
// A mapped file is cut within its header before the header is parsed. The lost bytes read as zeros. The error says that the file
// became shorter, and not that its contents are wrong.
TEST(Gguf, AFileThatBecameShorterIsNotBlamedForItsContents) {
  const std::string path = temporary_path("shorter.gguf");
  ASSERT_TRUE(GgufBuilder().string("general.name", "a name").write(path));
  Result<MappedFile> file = MappedFile::open(path);
  ASSERT_TRUE(file);
  std::filesystem::resize_file(path, 20);  // the name of the first key is empty now
  const Result<GgufFile> parsed = GgufFile::parse(std::move(*file));
  std::filesystem::remove(path);
  ASSERT_FALSE(parsed);
  EXPECT_EQ(parsed.error().kind, ErrorKind::system);
  EXPECT_NE(parsed.error().message.find("became shorter while it was in use: found 20 of"), std::string::npos) << parsed.error().message;
}
#endif

}  // namespace
