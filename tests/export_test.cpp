// SPDX-License-Identifier: Apache-2.0
//
// Tests of the files that `stilla export` writes. It writes the same bytes every time. A small reader of protocol buffers can read
// the ONNX graphs to their end. The weights are those of the model file, bit for bit. The program refuses to write what the runtime
// for the files would not accept. The scripts in tests/judges/ test whether other people's runtimes accept the graphs.
#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/file.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <stilla/format/encode_rows.hpp>
#include <stilla/format/format.hpp>
#include <stilla/io/gguf.hpp>
#include <stilla/io/packed_file.hpp>
#include <stilla/model/rotation.hpp>

#include "export/output_folder.hpp"
#include "model_util.hpp"
#include "output.hpp"
#include "program_fixture.hpp"

namespace {

using namespace stilla_test;

// One field of a message in the format of protocol buffers, in which ONNX files are written.
struct Field {
  std::uint32_t number;
  std::uint64_t value;     // a varint's number, or the length that precedes the bytes; 0 for numbers of fixed width
  std::string_view bytes;  // the content of the field, if it is no varint
};

std::optional<std::uint64_t> read_varint(std::string_view& bytes) {
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift < 64 && !bytes.empty(); shift += 7) {
    const auto byte = static_cast<unsigned char>(bytes.front());
    bytes.remove_prefix(1);
    value |= std::uint64_t{byte & 0x7fu} << shift;
    if (byte < 0x80) return value;
  }
  return std::nullopt;
}

std::optional<std::vector<Field>> fields_of(std::string_view bytes) {
  std::vector<Field> fields;
  while (!bytes.empty()) {
    const std::optional<std::uint64_t> tag = read_varint(bytes);
    if (!tag || *tag >> 3 == 0) return std::nullopt;
    Field field{static_cast<std::uint32_t>(*tag >> 3), 0, {}};
    const unsigned wire = *tag & 7;
    if (wire == 0 || wire == 2) {
      const std::optional<std::uint64_t> value = read_varint(bytes);
      if (!value || (wire == 2 && *value > bytes.size())) return std::nullopt;
      field.value = *value;
    }
    const std::size_t length = wire == 0   ? 0
                               : wire == 1 ? 8
                               : wire == 2 ? static_cast<std::size_t>(field.value)
                               : wire == 5 ? 4
                                           : bytes.size() + 1;
    if (length > bytes.size()) return std::nullopt;
    field.bytes = bytes.substr(0, length);
    bytes.remove_prefix(length);
    fields.push_back(field);
  }
  return fields;
}

std::vector<Field> checked_fields(std::string_view bytes) {
  const std::optional<std::vector<Field>> fields = fields_of(bytes);
  EXPECT_TRUE(fields) << "no message of protocol buffers";
  return fields.value_or(std::vector<Field>());
}

std::vector<std::string> texts(const std::vector<Field>& fields, std::uint32_t number) {
  std::vector<std::string> out;
  for (const Field& field : fields) {
    if (field.number == number) out.emplace_back(field.bytes);
  }
  return out;
}

// Field numbers that onnx.proto, the definition of ONNX files, gives to the messages that this test reads.
enum : std::uint32_t { model_graph = 7, graph_node = 1, graph_initializer = 5, graph_input = 11, graph_output = 12 };
enum : std::uint32_t {
  node_input = 1,
  node_output = 2,
  tensor_dims = 1,
  tensor_type = 2,
  tensor_name = 8,
  tensor_raw = 9,
  tensor_external = 13
};

struct Tensor {
  std::uint64_t type = 0, count = 1, offset = 0, length = 0;
  bool is_external = false;
};

// Returns the bits of an element for a number of TensorProto.DataType, ONNX's list of types. The table has float, uint8, int8,
// uint16, int32, int64, float16, uint4 and int4, in this order.
std::uint64_t bits_of(std::uint64_t type) {
  static const std::map<std::uint64_t, std::uint64_t> bits{{1, 32}, {2, 8}, {3, 8}, {4, 16}, {6, 32}, {7, 64}, {10, 16}, {21, 4}, {22, 4}};
  const auto found = bits.find(type);
  return found != bits.end() ? found->second : 0;
}

// Checks that every tensor of an ONNX graph is made before it is read, and that every constant has as many bytes as its shape
// needs. Returns the constants.
std::map<std::string, Tensor> checked_graph(const std::string& model, std::uint64_t weight_bytes) {
  std::map<std::string, Tensor> constants;
  std::set<std::string> known;
  for (const Field& of_model : checked_fields(model)) {
    if (of_model.number != model_graph) continue;
    const std::vector<Field> graph = checked_fields(of_model.bytes);
    for (const Field& field : graph) {
      if (field.number == graph_input) known.insert(texts(checked_fields(field.bytes), 1).at(0));
      if (field.number != graph_initializer) continue;
      const std::vector<Field> parts = checked_fields(field.bytes);
      const std::string name = texts(parts, tensor_name).at(0);
      Tensor tensor;
      for (const Field& part : parts) {
        if (part.number == tensor_dims) tensor.count *= part.value;
        if (part.number == tensor_type) tensor.type = part.value;
        if (part.number == tensor_raw) tensor.length = part.bytes.size();
        if (part.number != tensor_external) continue;
        const std::vector<Field> entry = checked_fields(part.bytes);
        const std::string key = texts(entry, 1).at(0), value = texts(entry, 2).at(0);
        tensor.is_external = true;
        if (key == "location") {
          EXPECT_EQ(value, "model.onnx.data");
        }
        if (key == "offset") tensor.offset = std::stoull(value);
        if (key == "length") tensor.length = std::stoull(value);
      }
      EXPECT_EQ(tensor.length, (tensor.count * bits_of(tensor.type) + 7) / 8) << name;
      if (tensor.is_external) {
        EXPECT_EQ(tensor.offset % (tensor.length >= 4096 ? 4096 : 64), 0u) << name;
        EXPECT_LE(tensor.offset + tensor.length, weight_bytes) << name;
      }
      EXPECT_TRUE(constants.emplace(name, tensor).second) << name << " twice";
      known.insert(name);
    }
    for (const Field& field : graph) {
      if (field.number != graph_node) continue;
      const std::vector<Field> node = checked_fields(field.bytes);
      for (const std::string& input : texts(node, node_input)) {
        EXPECT_TRUE(input.empty() || known.contains(input)) << input << " is read before it is made";
      }
      for (const std::string& output : texts(node, node_output)) {
        EXPECT_TRUE(output.empty() || known.insert(output).second) << output << " is made twice";
      }
    }
    for (const Field& field : graph) {
      if (field.number != graph_output) continue;
      EXPECT_TRUE(known.contains(texts(checked_fields(field.bytes), 1).at(0)));
    }
  }
  EXPECT_FALSE(constants.empty());
  return constants;
}

class ExportTest : public ProgramTest {
 protected:
  static std::string model(const std::string& format) {
    return std::string(test_data) + "/../../examples/models/stilla-drop-" + format + ".gguf";
  }
  static std::vector<std::string> arguments(const std::string& stack, const std::string& format, const std::string& folder,
                                            const std::vector<std::string>& more = {}) {
    std::vector<std::string> out{"export", "--to", stack, "-m", model(format), "-o", path(folder)};
    out.insert(out.end(), more.begin(), more.end());
    return out;
  }
  static std::map<std::string, std::string> contents(const std::string& folder) {
    std::map<std::string, std::string> out;
    for (const fs::directory_entry& entry : fs::directory_iterator(path(folder))) {
      const std::string name = entry.path().filename().string();
      out[name] = read_file(folder + "/" + name);
    }
    return out;
  }
  static std::vector<std::string> options(const std::string& stack) {
    if (stack == "onnx") return {};
    if (stack == "openvino") return {"--ctx", "128"};
    write_file("calibration.txt", "<｜User｜>What is 3 + 4?<｜Assistant｜><think>\n3+4=7\n---\nWhich is larger, 812 or 821?");
    return {"--ctx", "128", "--calibration", path("calibration.txt"), "--part-layers", "3"};
  }
};

TEST_F(ExportTest, TheSameBytesAndGraphsThatCanBeFollowed) {
  for (const std::string stack : {"onnx", "openvino", "qnn"}) {
    SCOPED_TRACE(stack);
    for (const char* folder : {"a", "b"}) {
      const Finished ended = run_program(arguments(stack, "f16", folder + stack, options(stack)));
      ASSERT_EQ(ended.status, 0) << ended.err;
    }
    const std::map<std::string, std::string> files = contents("a" + stack);
    EXPECT_EQ(files, contents("b" + stack));
    std::size_t graphs = 0;
    for (const auto& [name, bytes] : files) {
      if (!name.ends_with(".onnx")) continue;
      SCOPED_TRACE(name);
      checked_graph(bytes, files.at("model.onnx.data").size());
      ++graphs;
    }
    EXPECT_EQ(graphs, stack == "onnx" ? 1u : stack == "openvino" ? 4u : 6u);
    const nlohmann::json manifest = nlohmann::json::parse(files.at("stilla_export.json"));
    EXPECT_EQ(manifest["files"].size() + 1, files.size());
    EXPECT_EQ(manifest["requantised"].size(), 28u);
    for (const auto& matrix : manifest["requantised"]) {
      EXPECT_GT(matrix["relative_rmse"], 0.01);
      EXPECT_LT(matrix["relative_rmse"], 0.2);
    }
  }
}

TEST_F(ExportTest, WeightsOfAFileAreExact) {
  ASSERT_EQ(run_program(arguments("onnx", "q4_0", "exact")).status, 0);
  const std::map<std::string, std::string> files = contents("exact");
  EXPECT_EQ(nlohmann::json::parse(files.at("stilla_export.json"))["requantised"].size(), 0u);
  const std::string& data = files.at("model.onnx.data");
  const std::map<std::string, Tensor> constants = checked_graph(files.at("model.onnx"), data.size());
  const stilla::Result<stilla::GgufFile> source = stilla::GgufFile::open(model("q4_0"));
  ASSERT_TRUE(source);
  for (const std::string name : {"blk.0.attn_q.weight", "blk.3.ffn_down.weight"}) {
    const stilla::GgufTensor* tensor = source->find_tensor(name);
    ASSERT_NE(tensor, nullptr);
    const std::size_t N = tensor->rows(), K = tensor->columns();
    const char* levels = data.data() + constants.at(name + ".levels").offset;
    const char* scales = data.data() + constants.at(name + ".scales").offset;
    std::vector<float> expected(K);
    for (std::size_t n = 0; n < N; ++n) {
      stilla::decode_row<stilla::Q4_0>(source->tensor_bytes(*tensor).data() + n * stilla::row_bytes<stilla::Q4_0>(K), expected.data(), K);
      for (std::size_t k = 0; k < K; ++k) {
        const auto pair = static_cast<unsigned char>(levels[(n * K + k) / 2]);
        const int level = (k % 2 == 0 ? pair & 15 : pair >> 4) - 8;
        float scale;
        std::memcpy(&scale, scales + (n * K + k) / 32 * sizeof(float), sizeof scale);
        ASSERT_EQ(scale * static_cast<float>(level), expected[k]) << name << ", row " << n << ", column " << k;
      }
    }
  }
}

// With `--rotate`, `stilla export` writes the weights of the rotated model, the same that `stilla pack` stores with this option.
// The graph also has a Hadamard matrix as a constant, which multiplies the inputs of each layer's matrix down (ffn_down).
TEST_F(ExportTest, RotatedWeightsAreThoseOfAPackedFile) {
  ASSERT_EQ(run_program(arguments("onnx", "f16", "rotated", {"--rotate", "all", "--weights", "q4_0"})).status, 0);
  const std::map<std::string, std::string> files = contents("rotated");
  EXPECT_EQ(nlohmann::json::parse(files.at("stilla_export.json"))["rotation"], "residual,heads,down");
  const std::string& data = files.at("model.onnx.data");
  const std::map<std::string, Tensor> constants = checked_graph(files.at("model.onnx"), data.size());
  const stilla::Result<stilla::GgufFile> source = stilla::GgufFile::open(model("f16"));
  ASSERT_TRUE(source);
  const stilla::Result<stilla::RotatedWeights> rotated = stilla::RotatedWeights::create(*source, {true, true, true});
  ASSERT_TRUE(rotated);
  for (const std::string name : {"blk.0.attn_v.weight", "blk.3.ffn_down.weight"}) {
    const stilla::GgufTensor& tensor = *source->find_tensor(name);
    const std::size_t N = tensor.rows(), K = tensor.columns(), row = stilla::row_bytes<stilla::Q4_0>(K);
    stilla::AlignedBuffer<float> values;
    ASSERT_TRUE(stilla::changed_values(*source, tensor, *rotated, values, {}));
    std::vector<std::byte> blocks(N * row);
    ASSERT_TRUE(stilla::encode_rows<stilla::Q4_0>(blocks, stilla::ConstMatrix(values.data(), N, K)));
    const char* levels = data.data() + constants.at(name + ".levels").offset;
    for (std::size_t n = 0; n < N; ++n) {
      for (std::size_t k = 0; k < K; ++k) {
        const auto pair = static_cast<unsigned char>(levels[(n * K + k) / 2]);
        ASSERT_EQ((k % 2 == 0 ? pair & 15 : pair >> 4) - 8, stilla::weight_level<stilla::Q4_0>(blocks.data() + n * row, k));
      }
    }
  }
  ASSERT_TRUE(constants.contains("hadamard.256"));
  const stilla::FastRotation transform(256, false);
  for (std::size_t i = 0; i < 256; ++i) {
    std::vector<float> unit(256), row(256);
    unit[i] = 1.0f;
    transform.rotate(unit.data());
    std::memcpy(row.data(), data.data() + constants.at("hadamard.256").offset + i * 256 * sizeof(float), 256 * sizeof(float));
    ASSERT_EQ(row, unit) << i;
  }
}

TEST_F(ExportTest, RotatedAndCalibratedGraphsCanBeFollowed) {
  write_file("text.txt", "What is 347 + 589? 7+9=16, carry 1. 4+8+1=13, carry 1. 3+5+1=9. The answer is 936.");
  for (const std::string stack : {"openvino", "qnn"}) {
    SCOPED_TRACE(stack);
    std::vector<std::string> more = options(stack);
    more.insert(more.end(), {"--rotate", "residual,down", "--calibrate", path("text.txt")});
    const Finished ended = run_program(arguments(stack, "f16", stack, more));
    ASSERT_EQ(ended.status, 0) << ended.err;
    EXPECT_TRUE(contains(ended.err, "rotated (residual,down), calibrated")) << ended.err;
    const std::map<std::string, std::string> files = contents(stack);
    const nlohmann::json manifest = nlohmann::json::parse(files.at("stilla_export.json"));
    EXPECT_EQ(manifest["rotation"], "residual,down");
    EXPECT_TRUE(manifest["error_feedback"].get<std::string>().find(" tokens with XXH64 ") != std::string::npos);
    for (const auto& [name, bytes] : files) {
      if (name.ends_with(".onnx")) checked_graph(bytes, files.at("model.onnx.data").size());
    }
  }
}

TEST_F(ExportTest, WhatAStackDoesNotTakeIsRefused) {
  struct Case {
    int status;
    const char* says;
    std::vector<std::string> arguments;
  };
  fs::create_directories(path("foreign"));
  write_file("divider.txt", "\n---\n\n---\n");
  write_file("foreign/mine.txt", "mine");
  const std::string llama = std::string(test_data) + "/tiny-llama.gguf";
  stilla_test::ModelFile rotated = stilla_test::ModelFile::read(model("f16"));
  rotated.set("stilla.packed.rotation", std::string_view("down"));
  ASSERT_TRUE(rotated.builder().write(path("rotated.gguf")));
  const Case cases[] = {
      {2, "supported: onnx, openvino, qnn", arguments("coreml", "f16", "x")},
      {2, "--weights q4_1: its minimums are no integer zero points", arguments("onnx", "f16", "x", {"--weights", "q4_1"})},
      {2, "--weights int4_channel: a whole row has one scale; onnxruntime's MatMulNBits",
       arguments("onnx", "f16", "x", {"--weights", "int4_channel"})},
      {2, "--weights int4_g128_min: these are asymmetric; OpenVINO's NPU",
       arguments("openvino", "f16", "x", {"--weights", "int4_g128_min"})},
      {2, "--weights q4_0: 32 weights share a scale; OpenVINO's NPU", arguments("openvino", "f16", "x", {"--weights", "q4_0"})},
      {2, "--weights f16: these are floats; Qualcomm's QNN", arguments("qnn", "f16", "x", {"--weights", "f16"})},
      {2, "--calibrate: needs --weights with a format whose codes can be chosen",
       arguments("onnx", "f16", "x", {"--calibrate", path("divider.txt")})},
      {2, "--rotate: expected all, or some of", arguments("onnx", "f16", "x", {"--rotate", "sideways"})},
      {2, "--weights: found 'q9'", arguments("onnx", "f16", "x", {"--weights", "q9"})},
      {2, "--ctx 64: the graphs for prompts take 64 tokens at once", arguments("openvino", "f16", "x", {"--ctx", "64"})},
      {2, "--to qnn needs --calibration FILE", arguments("qnn", "f16", "x")},
      {2, "--calibration: holds no text", arguments("qnn", "f16", "x", {"--calibration", path("divider.txt")})},
      {3,
       "'llama' cannot be exported; the graphs that are written are those of Qwen2 and Qwen3",
       {"export", "--to", "onnx", "-m", llama, "-o", path("x")}},
      {3,
       "the weights are rotated already; export the file that they were made of",
       {"export", "--to", "onnx", "-m", path("rotated.gguf"), "-o", path("x")}},
      {1, "nothing.gguf: cannot open", {"export", "--to", "onnx", "-m", path("nothing.gguf"), "-o", path("x")}},
      {1, "cannot create", arguments("onnx", "f16", "no-folder/x")},
      {2, "holds 'mine.txt', which no export wrote", arguments("onnx", "f16", "foreign")},
      {2, "exists and is no folder", arguments("onnx", "f16", "text.txt")},
  };
  for (const Case& c : cases) {
    const Finished ended = run_program(c.arguments);
    SCOPED_TRACE(ended.err);
    EXPECT_EQ(ended.status, c.status);
    EXPECT_TRUE(is_message(ended.err));
    EXPECT_TRUE(contains(ended.err, c.says)) << "expected: " << c.says;
  }
  EXPECT_FALSE(fs::exists(path("x")));
}

// Without --part-layers the body is divided into the parts that `stilla npu check` reports. The weights of this model would all fit
// into one part, but a layer has 1.6 GB of keys and values at a context of 100000.
TEST_F(ExportTest, PartsHaveRoomForKeysAndValues) {
  constexpr std::uint32_t heads = 64, head_dim = 64;
  stilla_test::ModelFile wide = stilla_test::ModelFile::read(model("f16"));
  wide.set("qwen2.attention.head_count", heads);
  wide.set("qwen2.attention.head_count_kv", heads);
  wide.set("qwen2.context_length", std::uint32_t{1} << 19);
  for (stilla_test::ModelFile::Tensor& tensor : wide.tensors) {
    if (!contains(tensor.name, ".attn_") || contains(tensor.name, "attn_norm")) continue;
    const bool is_output = contains(tensor.name, "attn_output");
    std::uint64_t& width = tensor.dims[tensor.dims.size() == 2 && !is_output ? 1 : 0];
    const std::size_t bytes = tensor.bytes.size() / width * heads * head_dim;
    width = heads * head_dim;
    const std::vector<std::byte> old = tensor.bytes;
    for (std::size_t i = old.size(); i < bytes; ++i) tensor.bytes.push_back(old[i % old.size()]);
  }
  ASSERT_TRUE(wide.builder().write(path("wide.gguf")));
  write_file("calibration.txt", "What is 3 + 4?");
  const auto exported = [&](const std::string& context) {
    return run_program(
        {"export", "--to", "qnn", "-m", path("wide.gguf"), "-o", path("wide"), "--ctx", context, "--calibration", path("calibration.txt")});
  };
  const Finished ended = exported("100000");
  ASSERT_EQ(ended.status, 0) << ended.err;
  const nlohmann::json manifest = nlohmann::json::parse(read_file("wide/stilla_export.json"));
  EXPECT_EQ(manifest["parts"], nlohmann::json::parse("[[0, 2], [2, 4]]"));
  const Finished checked = run_program({"npu", "check", path("wide.gguf"), "--json", "--ctx", "100000"});
  ASSERT_EQ(checked.status, 0) << checked.err;
  nlohmann::json parts = nlohmann::json::array();
  const nlohmann::json report = nlohmann::json::parse(checked.out);
  for (const auto& part : report["families"][0]["forms"][0]["parts"]) {
    const std::size_t first = part["first_layer"], layers = part["layers"];
    parts.push_back({first, first + layers});
  }
  EXPECT_EQ(manifest["parts"], parts);
  const Finished refused = exported("300000");
  EXPECT_EQ(refused.status, 2);
  EXPECT_TRUE(is_message(refused.err) &&
              contains(refused.err, "--ctx 300000: a layer and its keys and values have more than the 3355443200 bytes"))
      << refused.err;
}

TEST_F(ExportTest, AFolderIsReplacedOnlyWhereAllOfItIsAnExport) {
  ASSERT_EQ(run_program(arguments("openvino", "f16", "folder", {"--ctx", "128"})).status, 0);
  ASSERT_EQ(run_program(arguments("onnx", "q4_0", "folder")).status, 0);
  const auto files = contents("folder");
  EXPECT_TRUE(files.contains("model.onnx"));
  EXPECT_FALSE(files.contains("context.onnx"));
  write_file("folder/notes.txt", "mine");
  EXPECT_EQ(run_program(arguments("openvino", "f16", "folder", {"--ctx", "128"})).status, 2);
  EXPECT_EQ(read_file("folder/notes.txt"), "mine");
  EXPECT_EQ(read_file("folder/model.onnx"), files.at("model.onnx"));
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_)) {
    const std::string name = entry.path().filename().string();
    EXPECT_TRUE(name.find(".partial") == std::string::npos && name.find(".old") == std::string::npos) << name;
  }
}

// Anybody may have written or damaged the manifest of a folder, stilla_export.json. If the program cannot read it, it leaves the
// folder as it is.
TEST_F(ExportTest, AFolderWithADamagedManifestIsNotTouched) {
  fs::create_directories(path("damaged"));
  for (const auto& [text, says] : {std::pair(std::string(200000, '['), "arrays and objects are nested more than 32 deep"),
                                   std::pair(std::string(R"({"files": ["model.onnx")"), "is not JSON"),
                                   std::pair(std::string(R"({"files": [], "files": []})"), "the name 'files' stands twice")}) {
    write_file("damaged/stilla_export.json", text);
    const Finished ended = run_program(arguments("onnx", "q4_0", "damaged"));
    EXPECT_EQ(ended.status, 3);
    EXPECT_TRUE(is_message(ended.err) && contains(ended.err, "damaged/stilla_export.json: ") && contains(ended.err, says)) << ended.err;
    EXPECT_EQ(read_file("damaged/stilla_export.json"), text);
  }
}

// Tests which files and folders an export leaves at the path of its output and beside it.
class ExportReplacesTest : public ExportTest {
 protected:
  void SetUp() override {
    fs::create_directories(path("output-folder"));  // it holds only what these tests put there
    write_file("divider.txt", "\n---\n\n---\n");
  }
  void TearDown() override { fs::remove_all(path("output-folder")); }

  static std::string in_folder(const std::string& name) { return "output-folder/" + name; }
  static void write_export(const std::string& name) {
    const Finished ended = run_program(arguments("onnx", "q4_0", in_folder(name)));
    ASSERT_EQ(ended.status, 0) << ended.err;
  }
  // Starts an export that fails after it has begun its folder.
  static void begin_export(const std::string& name) {
    const Finished ended = run_program(arguments("qnn", "f16", in_folder(name), {"--calibration", path("divider.txt")}));
    EXPECT_EQ(ended.status, 2) << ended.err;
    EXPECT_TRUE(contains(ended.err, "--calibration: holds no text")) << ended.err;
  }
  static std::set<std::string> names() {
    std::set<std::string> out;
    for (const fs::directory_entry& entry : fs::directory_iterator(path("output-folder"))) out.insert(entry.path().filename().string());
    return out;
  }
  static void rename(const std::string& from, const std::string& to) { fs::rename(path(in_folder(from)), path(in_folder(to))); }
  static void copy(const std::string& from, const std::string& to) {
    fs::copy(path(in_folder(from)), path(in_folder(to)), fs::copy_options::recursive);
  }
  static fs::perms permissions(const std::string& name) { return fs::status(path(in_folder(name))).permissions(); }

  using Names = std::set<std::string>;
};

TEST_F(ExportReplacesTest, ALinkStaysAndTheFolderThatItLeadsToIsReplaced) {
  fs::create_directories(path(in_folder("disk/real")));
  fs::create_directory_symlink("disk/real", path(in_folder("link")));
  fs::create_directory_symlink("link", path(in_folder("link-to-link")));
  for (const char* name : {"link", "link-to-link", "link/"}) {
    SCOPED_TRACE(name);
    fs::remove_all(path(in_folder("disk/real")));
    fs::create_directory(path(in_folder("disk/real")));
    write_export(name);
    EXPECT_EQ(names(), (Names{"disk", "link", "link-to-link"}));
    EXPECT_EQ(fs::read_symlink(path(in_folder("link"))), "disk/real");
    EXPECT_EQ(fs::read_symlink(path(in_folder("link-to-link"))), "link");
    EXPECT_FALSE(fs::is_symlink(path(in_folder("disk/real"))));
    EXPECT_TRUE(contents(in_folder("disk/real")).contains("model.onnx"));
    EXPECT_EQ(std::distance(fs::directory_iterator(path(in_folder("disk"))), fs::directory_iterator()), 1);
  }
  // An export that was killed has left the old folder under the name real.123.old. The next export gives the folder its name back,
  // although the path of the output is a link to it.
  const auto files = contents(in_folder("link"));
  rename("disk/real", "disk/real.123.old");
  begin_export("link");
  EXPECT_EQ(contents(in_folder("disk/real")), files);

  fs::create_directory_symlink("nowhere", path(in_folder("dangling")));
  fs::create_directory_symlink("endless", path(in_folder("endless")));
  for (const char* name : {"dangling", "endless"}) {
    const Finished ended = run_program(arguments("onnx", "q4_0", in_folder(name)));
    EXPECT_EQ(ended.status, 1);
    EXPECT_TRUE(is_message(ended.err) && contains(ended.err, std::string(name) + ": cannot write where this link leads")) << ended.err;
  }
  EXPECT_EQ(names(), (Names{"dangling", "disk", "endless", "link", "link-to-link"}));
}

TEST_F(ExportReplacesTest, TheFolderAndItsFilesKeepTheirPermissions) {
  using fs::perms;
  write_export("output");
  write_export("usual");
  EXPECT_EQ(permissions("output"), permissions("usual"));
  const perms of_folder = perms::owner_all | perms::group_read | perms::group_exec, of_file = perms::owner_read | perms::owner_write;
  fs::permissions(path(in_folder("output")), of_folder);
  fs::permissions(path(in_folder("output/model.onnx.data")), of_file);
  fs::permissions(path(in_folder("output/stilla_export.json")), of_file);
  fs::remove(path(in_folder("output/tokenizer.json")));
  write_export("output");
  EXPECT_EQ(permissions("output"), of_folder);
  EXPECT_EQ(permissions("output/model.onnx.data"), of_file);
  EXPECT_EQ(permissions("output/stilla_export.json"), of_file);
  EXPECT_EQ(permissions("output/model.onnx"), permissions("usual/model.onnx"));
  EXPECT_EQ(permissions("output/tokenizer.json"), permissions("usual/tokenizer.json"));
  EXPECT_EQ(contents(in_folder("output")), contents(in_folder("usual")));
  if (geteuid() == 0) return;  // root may write everywhere
  fs::permissions(path(in_folder("output")), perms::owner_read | perms::owner_exec);
  const Finished ended = run_program(arguments("onnx", "q4_0", in_folder("output")));
  EXPECT_EQ(ended.status, 1);
  EXPECT_TRUE(is_message(ended.err) && contains(ended.err, "cannot write")) << ended.err;
  EXPECT_EQ(names(), (Names{"output", "usual"}));
  fs::permissions(path(in_folder("output")), perms::owner_all);
}

TEST_F(ExportReplacesTest, WhatAKilledProcessLeftIsClearedAway) {
  write_export("output");
  const auto files = contents(in_folder("output"));
  // An export was killed between its two renames, of the old folder and of the new one, so nothing has the name of the output.
  rename("output", "output.123.old");
  fs::create_directories(path(in_folder("output.123.partial")));
  write_file(in_folder("output.123.partial/model.onnx"), "half");
  begin_export("output");
  EXPECT_EQ(names(), Names{"output"});
  EXPECT_EQ(contents(in_folder("output")), files);
  // An export was killed after both renames, so the old folder is still there.
  copy("output", "output.124.old");
  begin_export("output");
  EXPECT_EQ(names(), Names{"output"});
  EXPECT_EQ(contents(in_folder("output")), files);
  // The exports that cleared up above failed afterwards (begin_export). One that succeeds clears up, too.
  rename("output", "output.125.old");
  write_export("output");
  EXPECT_EQ(names(), Names{"output"});
  EXPECT_EQ(contents(in_folder("output")), files);
}

TEST_F(ExportReplacesTest, WhatAnotherProcessUsesOrNoExportWroteStays) {
  write_export("output");
  const auto files = contents(in_folder("output"));
  copy("output", "output.126.old");
  const int in_use = open(path(in_folder("output.126.old")).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  ASSERT_EQ(flock(in_use, LOCK_EX | LOCK_NB), 0);
  begin_export("output");
  EXPECT_EQ(names(), (Names{"output", "output.126.old"}));
  EXPECT_EQ(contents(in_folder("output.126.old")), files);
  close(in_use);
  begin_export("output");
  EXPECT_EQ(names(), Names{"output"});

  const Names others{"output.7.old", "output.8.older", "output.x.old", "output.old", "output2.9.old"};
  for (const std::string& name : others) {
    fs::create_directories(path(in_folder(name)));
    write_file(in_folder(name + "/mine.txt"), "mine");
  }
  fs::remove_all(path(in_folder("output")));
  begin_export("output");
  EXPECT_EQ(names(), others);
  for (const std::string& name : others) EXPECT_EQ(read_file(in_folder(name + "/mine.txt")), "mine");
}

// commit() renames the old folder and then the new one. The second rename fails here, because the test has removed the new folder.
TEST_F(ExportReplacesTest, TheOldFolderHasItsNameAgainIfTheNewOneCannotHaveIt) {
  write_export("output");
  const auto files = contents(in_folder("output"));
  {
    program::OutputFolder folder(path(in_folder("output")));
    folder.write("model.onnx", "new");
    fs::remove_all(path(in_folder("output.") + std::to_string(getpid()) + ".partial"));
    try {
      folder.commit();
      ADD_FAILURE() << "there was nothing to commit";
    } catch (const program::Failure& failure) {
      EXPECT_TRUE(contains(failure.message, "output: cannot create: No such file")) << failure.message;
    }
  }
  EXPECT_EQ(names(), Names{"output"});
  EXPECT_EQ(contents(in_folder("output")), files);
}

}  // namespace
