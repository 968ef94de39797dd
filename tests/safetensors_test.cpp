// SPDX-License-Identifier: Apache-2.0
//
// Tests of Safetensors files, good ones and hostile ones, and of JSON that exceeds the limits of the JSON reader. Every
// refusal is one line that names the file and the tensor, and says what was found and what was expected.
#include <stilla/io/safetensors.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using namespace stilla;

// A Safetensors file in memory: the length of the header, the header, and the data. The memory is a copy of its own, so that
// the address sanitizer detects a read behind its end.
struct Bytes {
  std::unique_ptr<std::byte[]> memory;
  std::size_t size;

  MappedFile file() const { return MappedFile::from_memory({memory.get(), size}, "m.safetensors"); }
};
Bytes as_bytes_of(const std::string& text) {
  Bytes out{std::make_unique<std::byte[]>(text.size()), text.size()};
  std::memcpy(out.memory.get(), text.data(), text.size());
  return out;
}
std::string with_length(std::uint64_t length, const std::string& rest) {
  std::string out(8, '\0');
  std::memcpy(out.data(), &length, 8);
  return out + rest;
}
std::string file_of(const std::string& header, std::size_t data_bytes) {
  return with_length(header.size(), header + std::string(data_bytes, '\x11'));
}

std::string refusal(const std::string& text) {
  const Bytes bytes = as_bytes_of(text);
  const Result<SafetensorsFile> file = SafetensorsFile::parse(bytes.file());
  if (file) return "";
  EXPECT_EQ(file.error().kind, ErrorKind::refused_file);
  const std::string& message = file.error().message;
  EXPECT_EQ(message.find("m.safetensors: "), 0u) << message;
  EXPECT_TRUE(std::all_of(message.begin(), message.end(), [](char c) { return static_cast<unsigned char>(c) >= 0x20; })) << message;
  return message;
}

const std::string two_tensors = R"({"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, "__metadata__": {"format": "pt"}, )"
                                R"("b": {"dtype": "BF16", "shape": [5], "data_offsets": [24, 34]}})";

TEST(Safetensors, ReadsWhatIsThere) {
  const Bytes bytes = as_bytes_of(file_of(two_tensors, 34));
  const Result<SafetensorsFile> file = SafetensorsFile::parse(bytes.file());
  ASSERT_TRUE(file) << file.error().message;
  ASSERT_EQ(file->tensors().size(), 2u);
  const SafetensorsTensor &a = file->tensors()[0], &b = file->tensors()[1];
  EXPECT_EQ(a.name, "a");
  EXPECT_EQ(a.dtype, "F32");
  EXPECT_EQ(a.shape, (std::vector<std::uint64_t>{2, 3}));
  EXPECT_EQ(a.offset, 8 + two_tensors.size());
  EXPECT_EQ(b.name, "b");
  EXPECT_EQ(b.offset, a.offset + 24);
  EXPECT_EQ(file->bytes_of(b).size(), 10u);
  // A file without tensors, a tensor that is a scalar and an empty tensor are valid too, and blanks may pad the header.
  EXPECT_EQ(refusal(file_of("{}", 0)), "");
  EXPECT_EQ(refusal(file_of(R"({"__metadata__":[1]})", 0)),
            "m.safetensors: header at byte 8: key '__metadata__': found an array; expected an object");
  EXPECT_EQ(refusal(file_of(
                R"({"s":{"dtype":"I64","shape":[],"data_offsets":[0,8]},"e":{"dtype":"F16","shape":[0,7],"data_offsets":[8,8]}}     )", 8)),
            "");
  EXPECT_EQ(refusal(file_of(R"({"f4":{"dtype":"F4","shape":[2,3],"data_offsets":[0,3]}})", 3)), "");
}

struct HostileCase {
  std::string expected;  // a part of the message
  std::string file;
};
void expect_refusals(const std::vector<HostileCase>& cases) {
  for (const HostileCase& c : cases) {
    const std::string message = refusal(c.file);
    EXPECT_NE(message.find(c.expected), std::string::npos) << "expected: " << c.expected << "\nfound: " << message;
  }
}

TEST(Safetensors, RefusesHostileFiles) {
  const auto tensor = [](const std::string& entry) { return R"({"a": )" + entry + "}"; };
  const std::string good = file_of(two_tensors, 34);
  expect_refusals({
      {"found an empty file", ""},
      {"has 8 bytes; expected more than 8", with_length(2, "")},
      {"expected a header that begins with '{' at byte 8, found a GGUF file", "GGUF\3___________________"},
      {"expected a header that begins with '{' at byte 8, found a git-lfs pointer", "version https://git-lfs.github.com/spec/v1\n"},
      {"expected a header that begins with '{' at byte 8, found an HTML", "<!DOCTYPE html><html>"},
      {"expected a header that begins with '{' at byte 8, found '[' there", file_of("[]", 0)},
      {"length of the header at byte 0: found 1; expected at least 2, since it is JSON", with_length(1, "{}")},
      {"length of the header at byte 0: found 100000001; expected at most 100000000", with_length(100'000'001, "{}")},
      {"length of the header at byte 0: found 18446744073709551615", with_length(~std::uint64_t{0}, "{}")},
      {"header at byte 8: needs 3 bytes and 2 are present; the file is truncated or damaged", with_length(3, "{}")},
      {"header at byte 8: byte 2: is not JSON", file_of("{ ", 0)},
      {"header at byte 8: byte 3: is not JSON", file_of("{} x", 0)},
      {"; the length of the header at byte 0 is 4", file_of("{} x", 0)},
      {"header at byte 8: byte 2: is not JSON: found a zero byte", file_of(std::string("{}\0 x", 5), 0)},
      {"is not JSON", file_of("{\"\xff\": 1}", 0)},
      {"nested more than 32 deep", file_of(R"({"a":)" + std::string(100'000, '['), 0)},
      {"the name 'a' stands twice in one object", file_of(R"({"a": {"dtype":"U8","shape":[1],"data_offsets":[0,1]}, "a": {}})", 1)},
      {"tensor 'a': found an array; expected an object", file_of(tensor("[]"), 0)},
      {"tensor 'a': found the key 'x'; expected dtype", file_of(tensor(R"({"x": 1})"), 0)},
      {"tensor '': its name has 0 bytes", file_of(R"({"": {}})", 0)},
      {"its name has 600 bytes; expected 1 to 512", file_of(R"({")" + std::string(600, 'n') + R"(": {}})", 0)},
      {"tensor 'a\\x00': its name has 2 bytes; expected 1 to 512, no zero among them", file_of(R"({"a\u0000": {}})", 0)},
      {"tensor 'a': dtype: is missing", file_of(tensor(R"({"shape":[1],"data_offsets":[0,1]})"), 1)},
      {"tensor 'a': dtype: found an integer", file_of(tensor(R"({"dtype":8,"shape":[1],"data_offsets":[0,1]})"), 1)},
      {"tensor 'a': dtype: found 'Q4_0', which is not a type", file_of(tensor(R"({"dtype":"Q4_0","shape":[1],"data_offsets":[0,1]})"), 1)},
      {"tensor 'a': shape: found an integer; expected an array", file_of(tensor(R"({"dtype":"U8","shape":1,"data_offsets":[0,1]})"), 1)},
      {"tensor 'a': shape: found -1 in it; expected integers of at least 0",
       file_of(tensor(R"({"dtype":"U8","shape":[-1],"data_offsets":[0,1]})"), 1)},
      {"tensor 'a': shape: found a float in it; expected integers of at least 0",
       file_of(tensor(R"({"dtype":"U8","shape":[1.0],"data_offsets":[0,1]})"), 1)},
      {"tensor 'a': shape: found 9 dimensions", file_of(tensor(R"({"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,1]})"), 1)},
      {"tensor 'a': shape: its size does not fit",
       file_of(tensor(R"({"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]})"), 0)},
      {"tensor 'a': the size of its shape does not fit",
       file_of(tensor(R"({"dtype":"F32","shape":[1152921504606846976],"data_offsets":[0,0]})"), 0)},
      {"tensor 'a': its 3 elements of F4 are not whole bytes", file_of(tensor(R"({"dtype":"F4","shape":[3],"data_offsets":[0,2]})"), 2)},
      {"tensor 'a': data_offsets: found 1 values; expected two integers",
       file_of(tensor(R"({"dtype":"U8","shape":[1],"data_offsets":[0]})"), 1)},
      {"tensor 'a': shape: is missing; expected an array", file_of(tensor(R"({"dtype":"U8","data_offsets":[0,1]})"), 1)},
      {"tensor 'a': data_offsets: is missing; expected an array of two", file_of(tensor(R"({"dtype":"U8","shape":[1]})"), 1)},
      {"tensor 'a': data_offsets: found '1' in it; expected two integers of at least 0",
       file_of(tensor(R"({"dtype":"U8","shape":[1],"data_offsets":[0,"1"]})"), 1)},
      {"tensor 'a': data_offsets: found -1 in it; expected two integers of at least 0",
       file_of(tensor(R"({"dtype":"U8","shape":[1],"data_offsets":[-1,1]})"), 1)},
      {"tensor 'a': data_offsets: found a string; expected an array of two",
       file_of(tensor(R"({"dtype":"U8","shape":[1],"data_offsets":"0,1"})"), 1)},
      {"tensor 'a': data_offsets: found 0 and 18446744073709551615, which do not fit in 64 bits behind the header",
       file_of(tensor(R"({"dtype":"U8","shape":[1],"data_offsets":[0,18446744073709551615]})"), 1)},
      {"tensor 'a': data_offsets: found 1 and 0; expected the second not below the first",
       file_of(tensor(R"({"dtype":"U8","shape":[1],"data_offsets":[1,0]})"), 1)},
      {"tensor 'a': data_offsets: found 18446744073709551615",
       file_of(tensor(R"({"dtype":"U8","shape":[0],"data_offsets":[18446744073709551615,18446744073709551615]})"), 0)},
      {"tensor 'a': data_offsets: found 3 bytes; expected 4, which are 2 elements of BF16; the offsets, the shape or the dtype is wrong",
       file_of(tensor(R"({"dtype":"BF16","shape":[2],"data_offsets":[0,3]})"), 3)},
      {"tensor 'b': its data at byte 172 overlaps the tensor before, which ends at byte 173",
       file_of(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[3,7]}})" +
                   std::string(56, ' '),
               7)},
      {"the format has no holes",
       file_of(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[5,9]}})", 9)},
      {"the format has no holes", file_of(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[1,5]}})", 5)},
      {"tensor 'b': needs 10 bytes at byte", good.substr(0, good.size() - 1)},
      {"and 9 are present: the file has", good.substr(0, good.size() - 1)},
      {"it is truncated or damaged", good.substr(0, good.size() - 30)},
      {"; it is truncated, or the shape or the type of this tensor is wrong",
       file_of(tensor(R"({"dtype":"U8","shape":[1000],"data_offsets":[0,1000]})"), 1)},
      {"belong to no tensor of its header", good + "x"},
  });
  // A file that is cut at any place is refused.
  for (std::size_t size = 0; size < good.size(); ++size) EXPECT_NE(refusal(good.substr(0, size)), "") << size;
}

TEST(CheckedJson, HasLimits) {
  const auto parse = [](std::string_view text, const JsonLimits& limits = {}) {
    const Result<nlohmann::json> value = parse_json(std::as_bytes(std::span(text)), "c.json", limits);
    return value ? value->dump() : value.error().message;
  };
  EXPECT_EQ(parse(R"( {"b": [1, -2, 2.5, "x", null, true], "a": {}} )"), R"({"a":{},"b":[1,-2,2.5,"x",null,true]})");
  EXPECT_EQ(parse("[1,2,3,4]", {9, 5}), "[1,2,3,4]");
  EXPECT_EQ(parse("[1,2,3,4]", {8, 5}), "c.json: has 9 bytes of JSON; expected at most 8");
  EXPECT_EQ(parse("[1,2,3,4]", {9, 4}), "c.json: holds more values than any such file needs");
  EXPECT_EQ(parse("[[1]]", {9, 1}), "c.json: holds more values than any such file needs");
  EXPECT_EQ(parse(std::string(max_json_depth, '[') + std::string(max_json_depth, ']')).size(), 2 * max_json_depth);
  EXPECT_EQ(parse(std::string(max_json_depth + 1, '[')), "c.json: arrays and objects are nested more than 32 deep");
  EXPECT_EQ(parse(R"({"a": {"b": 1, "c": 2, "b": 3}})"), "c.json: the name 'b' stands twice in one object");
  EXPECT_NE(parse("{").find("c.json: byte 1: is not JSON: "), std::string::npos) << parse("{");
  EXPECT_EQ(parse(""), "c.json: is not JSON: found an empty file");
  EXPECT_NE(parse("[1e999]").find("is not JSON"), std::string::npos) << parse("[1e999]");
  EXPECT_NE(parse("[\"\x1b\"]").find("is not JSON"), std::string::npos);
}

// The JSON parser of nlohmann takes a zero byte for the end of the text, and would ignore what stands behind it. So a text with a
// zero byte is refused.
TEST(CheckedJson, HasNoZeroBytes) {
  using namespace std::string_view_literals;
  for (const auto& [text, at] :
       {std::pair{"{\"a\": 1}\0"sv, 8}, {"{\"a\": 1}\0, \"b\": 2}"sv, 8}, {"{\"a\": \"x\0\"}"sv, 8}, {"[1,\0 2]"sv, 3}}) {
    const Result<nlohmann::json> value = parse_json(std::as_bytes(std::span(text)), "c.json");
    ASSERT_FALSE(value) << text;
    EXPECT_EQ(value.error().message, concat("c.json: byte ", at, ": is not JSON: found a zero byte"));
  }
  const std::string_view written = R"(["\u0000"])";
  EXPECT_TRUE(parse_json(std::as_bytes(std::span(written)), "c.json"));
}

// While a text is parsed, a JsonStream gets the elements of one table, one by one. The streams of this test get those of the tables
// t and u inside m. The elements of all other tables stay in the parsed value.
TEST(CheckedJson, StreamsTakeElementsOfTables) {
  std::string taken;
  const JsonStream streams[] = {{"m", "t", [&](std::string& name, nlohmann::json& value) { taken += name + "=" + value.dump() + " "; }},
                                {"m", "u", [&](std::string&, nlohmann::json& value) { taken += "u" + value.dump() + " "; }}};
  const auto parse = [&](std::string_view text, const JsonLimits& limits = {}) {
    taken.clear();
    const Result<nlohmann::json> value = parse_json(std::as_bytes(std::span(text)), "c.json", limits, streams);
    return taken + (value ? value->dump() : value.error().message);
  };
  EXPECT_EQ(parse(R"({"m": {"t": {"b": 1, "a": [2, {"c": [3]}], "d": {}, "e": null}}})"),
            R"(b=1 a=[2,{"c":[3]}] d={} e=null {"m":{"t":{}}})");
  EXPECT_EQ(parse(R"({"m": {"t": {"b": 1}, "u": [[], "x", {"t": 4}], "v": [5]}, "n": 6})"),
            R"(b=1 u[] u"x" u{"t":4} {"m":{"t":{},"u":[],"v":[5]},"n":6})");
  EXPECT_EQ(parse(R"({"m": {"t": [7, 8]}})"), R"(=7 =8 {"m":{"t":[]}})");
  for (const std::string_view elsewhere : {R"({"m":{"t":1,"u":"x"}})", R"({"t":{"m":{"t":1}}})", R"({"m":[{"t":{"a":1}}]})",
                                           R"({"m":{"n":{"t":{"a":1}}}})", R"([{"m":{"t":{"a":1}}}])", R"({"m":[1],"n":{"t":{"a":1}}})"}) {
    EXPECT_EQ(parse(elsewhere), elsewhere);
  }
  EXPECT_EQ(parse(R"({"m": {"t": [1, 2]}})", {99, 4}), "=1 c.json: holds more values than any such file needs");
  EXPECT_EQ(parse(R"({"m": {"t": )" + std::string(max_json_depth - 1, '[')), "c.json: arrays and objects are nested more than 32 deep");
  EXPECT_EQ(parse(R"({"m": {"t": [1], "t": [2]}})"), "=1 c.json: the name 't' stands twice in one object");
}

}  // namespace
