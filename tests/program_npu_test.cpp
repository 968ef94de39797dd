// SPDX-License-Identifier: Apache-2.0
//
// Tests of `stilla npu` and of the devices that the program `stilla` can run a model on.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "program_fixture.hpp"

namespace {

using namespace stilla_test;

TEST_F(ProgramTest, NpuListNamesEachNumbersSource) {
  const Finished text = run_program({"npu", "list"});
  ASSERT_EQ(text.status, 0) << text.err;
  for (const char* part :
       {"hexagon-v73: Qualcomm Hexagon", "3355443200 bytes  [llama.cpp", "intel-npu4", "unknown", "8 x 8 x 8  [mlir-aie"}) {
    EXPECT_TRUE(contains(text.out, part)) << part << "\n" << text.out;
  }
  const Finished json = run_program({"npu", "list", "--json"});
  ASSERT_EQ(json.status, 0) << json.err;
  const auto npus = nlohmann::json::parse(json.out);
  ASSERT_EQ(npus.size(), 6u);
  for (const auto& npu : npus) {
    EXPECT_FALSE(npu["weights"].empty());
    for (const auto& fact : npu["facts"]) EXPECT_EQ(fact["value"] == "unknown", fact["source"] == "") << npu["name"] << fact;
  }
}

// The tables of Hexagon and XDNA2 hold the numbers of kernels/README.md. There is no table for NPU4, and the program says so.
TEST_F(ProgramTest, NpuScheduleIsATable) {
  const Finished table = run_program({"npu", "schedule"});
  ASSERT_EQ(table.status, 0) << table.err;
  EXPECT_TRUE(contains(table.out, "| 7B | down | 3584 x 18944 | bf16 | 64 x 64 x 64 | 1 | 52480 | 12 | 524288 |")) << table.out;
  EXPECT_TRUE(contains(table.out, "| 4 MiB | 7B | down | 3584 x 18944 | 64 | 2 | 1 | 28 | 1332.0 KiB | 2444.0 KiB | 32.0 KiB | 93 % |"))
      << table.out;
  EXPECT_TRUE(contains(table.out, "Intel NPU4: the size")) << table.out;
}

// `npu check` is tested with the model that is embedded in the program, and with a packed and an unpacked file, whose weights
// are floats.
TEST_F(ProgramTest, NpuCheckSaysWhatWouldBeRefused) {
  const Finished text = run_program({"npu", "check"});
  ASSERT_EQ(text.status, 0) << text.err;
  for (const char* part :
       {"Stilla Drop (qwen2 3M q4_0): 4 layers", "context 512", "Qualcomm Hexagon, by QNN HTP: fits", "1 part;",
        "refused: 28 matrices of q4_0 as they are: found 4 bits in groups of 32; OpenVINO takes", "nothing was compiled or run"}) {
    EXPECT_TRUE(contains(text.out, part)) << part << "\n" << text.out;
  }
  fs::copy_file(path("speaker.gguf"), path("for-npu.gguf"), fs::copy_options::overwrite_existing);
  ASSERT_EQ(run_program({"pack", "-m", path("for-npu.gguf")}).status, 0);
  for (const char* name : {"for-npu.gguf", "for-npu.stilla"}) {
    const Finished json = run_program({"npu", "check", path(name), "--json", "--ctx", "100", "--memory", "5"});
    ASSERT_EQ(json.status, 0) << json.err;
    const auto report = nlohmann::json::parse(json.out);
    EXPECT_EQ(report["model"], "Table");
    EXPECT_EQ(report["context"], 100);
    EXPECT_EQ(report["available_bytes"], 1'000'000'000);
    ASSERT_EQ(report["families"].size(), 3u);
    const auto& hexagon = report["families"][0];
    EXPECT_EQ(hexagon["mapping_bytes"], 3355443200);
    EXPECT_TRUE(report["families"][1]["mapping_bytes"].is_null());
    EXPECT_EQ(hexagon["forms"][0]["form"], "int4 per channel");
    EXPECT_EQ(hexagon["forms"][0]["parts"][0]["layers"], 1);
    EXPECT_TRUE(contains(hexagon["refused"][0]["reason"].get<std::string>(), "floats of 32 bits are not quantised"));
    // Each row of the model's matrices has 288 weights, which is a multiple of 32 but not of 64 or 128.
    EXPECT_TRUE(contains(hexagon["forms"][3]["refused"].get<std::string>(), "288 columns, which is not a multiple of 64"));
    EXPECT_TRUE(hexagon["forms"][4]["refused"].is_null());
  }
}

// `npu test` is tested with the model that is embedded in the program, requantised to weights that NPUs take.
TEST_F(ProgramTest, NpuTestComparesADeviceWithTheCpu) {
  const Finished same = run_program({"npu", "test", "--device", "hexagon-emulated", "--weights", "lpbq32"});
  EXPECT_EQ(same.status, 0) << same.err;
  EXPECT_TRUE(contains(same.out, "The device computes what the CPU does.")) << same.out;
  const Finished answer =
      run_program({"run", "-p", "What is 347 + 589?", "--device", "hexagon-emulated", "--weights", "lpbq32", "--temp", "0"});
  EXPECT_EQ(answer.status, 0) << answer.err;
  EXPECT_TRUE(contains(answer.out, "936")) << answer.out;
}

// A library of ONNX Runtime or an exported folder that does not fit is refused. This test checks what can be known without ONNX
// Runtime; tests/judges/judge_device.py tests it with ONNX Runtime.
TEST_F(ProgramTest, OnnxruntimeThatDoesNotFitIsRefused) {
  const std::string drop = std::string(test_data) + "/../../examples/models/stilla-drop-f16.gguf", folder = path("exported");
  const auto refused = [&](const std::string& model, const std::string& library, int status, const std::string& says) {
    const Finished ended = run_program({"logits", "-m", model, "--ids", "1,2", "-o", path("x.npy"), "--device", "onnxruntime",
                                        "--device-folder", folder, "--device-library", library});
    EXPECT_EQ(ended.status, status) << ended.err;
    EXPECT_TRUE(is_message(ended.err) && contains(ended.err, says)) << ended.err;
  };
  ASSERT_EQ(run_program({"export", "--to", "openvino", "-m", drop, "-o", folder}).status, 0);
  refused(drop, path("nothing.so"), 1, "nothing.so cannot be loaded");
  refused(drop, "libm.so.6", 2, "libm.so.6 is no library of ONNX Runtime");
  refused(path("speaker.gguf"), "libm.so.6", 3, "is of another model: stilla_export.json says layers 4, this model has 1");
  std::ofstream(path("exported") + "/stilla_export.json") << R"({"stack": "openvino", "layers": 4, "hidden": -1})";
  refused(drop, "libm.so.6", 3, "says hidden 0, this model has 256");
  std::ofstream(path("exported") + "/stilla_export.json") << R"({"stack": "openvino", "layers": 4, "hidden": 256, "heads": 12,
    "kv_heads": 2, "head_dim": 64, "context": 128, "parts": [[0, 2], [3, 4]]})";
  refused(drop, "libm.so.6", 3, "lists no parts that hold all 4 layers");
  const std::string manifest = "exported/stilla_export.json";
  write_file(manifest, std::string(200000, '['));
  refused(drop, "libm.so.6", 3, manifest + ": arrays and objects are nested more than 32 deep");
  write_file(manifest, R"({"stack": "openvino", "lay)");
  refused(drop, "libm.so.6", 3, manifest + ": byte 26: is not JSON");
  write_file(manifest, R"({"stack": "openvino", "stack": "qnn"})");
  refused(drop, "libm.so.6", 3, manifest + ": the name 'stack' stands twice in one object");
  write_file(manifest, std::string(std::size_t{9} << 20, ' '));
  refused(drop, "libm.so.6", 3, manifest + ": has 9437184 bytes of JSON; expected at most 8388608");
  write_file(manifest, "[]");
  refused(drop, "libm.so.6", 3, "stilla_export.json holds an array; expected an object");
  ASSERT_EQ(run_program({"export", "--to", "onnx", "-m", drop, "-o", path("whole")}).status, 0);
  fs::copy_file(path("whole") + "/stilla_export.json", path("exported") + "/stilla_export.json", fs::copy_options::overwrite_existing);
  refused(drop, "libm.so.6", 3, "was exported for 'onnx', without static stages");
}

}  // namespace
