// SPDX-License-Identifier: Apache-2.0
//
// What is known about the NPUs that DeepSeek's R1 distills are prepared for, with a source for each number: Qualcomm Hexagon v73 to v81
// (QNN's HTP backend), Intel NPU4 (OpenVINO), AMD XDNA2 (Ryzen AI, mlir-aie). If no source states a number, it is unknown and
// left out of the table. This project has measured none of these numbers. They say nothing about speed: TOPS are the vendors' peak
// figures.
//
// `stilla npu list` prints this table. npu_check.hpp compares a model with it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include <stilla/base/error.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

struct NpuNumber {
  std::uint64_t value = 0;
  std::string_view source{};  // empty: the number is unknown

  constexpr bool is_known() const { return !source.empty(); }
};

// The size of a block of a matrix product: m rows, n columns, and k products that are summed for each result. `source` says where these
// numbers come from.
struct NpuTile {
  unsigned m = 0, k = 0, n = 0;
  std::string_view source{};
};

struct NpuText {
  std::string_view text{};  // empty: unknown
  std::string_view source{};
};

enum class NpuScales : std::uint8_t {
  none,        // floats: no scales
  channel,     // one float for each row, symmetric
  group,       // one float for each `group` k, symmetric
  group_zero,  // one float for each `group` k, with a zero point or a minimum
  integer,     // LPBQ: an integer of 1 to 15 for each `group` k, times one float for each row; symmetric
  exponent,    // bfp16ebs8: `group` neighbouring k share an exponent
  codebook,    // levels of a table; no stack in npu_descriptors takes them
};

// One form of weights that the software stack of an NPU accepts: their bits, their scales, and how many k share a scale.
struct NpuForm {
  std::string_view name;
  NpuScales scales = NpuScales::channel;
  unsigned bits = 4;
  unsigned group = 0;  // number of k that share a scale; 0: the whole row
  std::string_view source{};
};

struct NpuDescriptor {
  std::string_view name;     // "hexagon-v73"
  std::string_view family;   // "Qualcomm Hexagon"; `stilla npu check` has one answer for a family
  std::string_view product;
  std::string_view stack;    // the software that compiles a model for the NPU
  NpuNumber tops_int8;
  NpuTile int8_tile, float_tile, core_tile;
  NpuNumber vector_bytes;
  NpuText units;
  NpuNumber unit_memory_bytes;    // the memory of each unit
  NpuNumber shared_memory_bytes;  // the memory that all units share
  NpuNumber mapping_bytes;        // the most memory that one process can map for the NPU
  NpuNumber alignment_bytes;
  NpuText shapes;
  NpuNumber prompt_tokens;        // how many tokens the compiled graph for prompts takes at once
  NpuNumber fixed_context;        // the positions that models packaged for the stack are limited to
  NpuText activations;
  NpuText kv_cache;
  NpuText embeddings_and_head;
  NpuText artefact;
  NpuText memory;                 // what the vendor requires of the machine
  std::span<const NpuForm> forms{};
  std::string_view forms_source{};  // source of the reason why other forms are refused
};

namespace detail {

inline constexpr std::string_view qnn_ep = "onnxruntime docs/execution-providers/QNN-ExecutionProvider.md";
inline constexpr std::string_view qnn_tried = "onnxruntime-qnn 2.7.0: the HTP compiler takes it with CPU fallback off";
inline constexpr std::string_view qnn_binary = "onnxruntime-qnn 2.7.0: text in a context binary for this chip";
inline constexpr std::string_view hexagon_docs = "llama.cpp docs/backend/snapdragon/developer.md";
inline constexpr std::string_view hmx_source = "llama.cpp ggml/src/ggml-hexagon/htp/hmx-utils.h";
inline constexpr std::string_view olive = "microsoft/olive-recipes deepseek_qnn_config.json";
inline constexpr std::string_view openvino_npu = "OpenVINO docs, inference-with-genai-on-npu.rst (2026.3)";
inline constexpr std::string_view openvino_npuw = "OpenVINO npuw/partitioning/patterns/opt.cpp";
inline constexpr std::string_view openvino_tried = "OpenVINO 2026.4.1's NPU4000 compiler makes a blob of it";
inline constexpr std::string_view lunar_lake = "Intel Tech Tour slides, by press reports";
inline constexpr std::string_view mlir_aie = "mlir-aie device model; Linux kernel docs, accel/amdxdna/amdnpu";
inline constexpr std::string_view mlir_mm = "mlir-aie aie_kernels/aie2p/mm.cc";
inline constexpr std::string_view ryzen_ai = "Ryzen AI documentation; AMD's model cards (awq-asym-uint4-g128)";

inline constexpr NpuForm qnn_forms[] = {
    {"int4 per channel", NpuScales::channel, 4, 0, qnn_tried}, {"int8 per channel", NpuScales::channel, 8, 0, qnn_tried},
    {"LPBQ 128", NpuScales::integer, 4, 128, qnn_tried},       {"LPBQ 64", NpuScales::integer, 4, 64, qnn_tried},
    {"LPBQ 32", NpuScales::integer, 4, 32, qnn_tried},
};
inline constexpr NpuForm openvino_forms[] = {
    {"int4 per channel", NpuScales::channel, 4, 0, openvino_tried},
    {"int4 in groups of 128", NpuScales::group, 4, 128, openvino_npu},
    {"int8 per channel", NpuScales::channel, 8, 0, openvino_npuw},
};
inline constexpr NpuForm ryzen_forms[] = {
    {"uint4 in groups of 128", NpuScales::group_zero, 4, 128, ryzen_ai},
    {"bf16", NpuScales::none, 16, 0, "mlir-aie aie_kernels/aie2p/mm.cc, for kernels of one's own"},
    {"bfp16ebs8", NpuScales::exponent, 9, 8, "mlir-aie aie_kernels/aie2p/mm_bfp.cc, for kernels of one's own"},
    {"int8 per channel", NpuScales::channel, 8, 0, "mlir-aie aie_kernels/aie2p/mm.cc, for kernels of one's own"},
};

// Makes the descriptor of one version of Hexagon. As far as is known, the versions differ only in the arguments of this function.
constexpr NpuDescriptor hexagon(std::string_view name, std::string_view product, NpuNumber tops, NpuText units, NpuNumber vtcm) {
  NpuDescriptor d;
  d.name = name;
  d.family = "Qualcomm Hexagon";
  d.product = product;
  d.stack = "QNN HTP";
  d.tops_int8 = tops;
  d.float_tile = {32, 32, 32, hmx_source};
  d.vector_bytes = {128, "Hexagon HVX reference manual"};
  d.units = units;
  d.shared_memory_bytes = vtcm;
  d.mapping_bytes = {3355443200, hexagon_docs};
  d.alignment_bytes = {128, "Hexagon HVX reference manual; a tile of HMX: 2048, llama.cpp hmx-utils.h"};
  d.shapes = {"static: a graph for prompts and one for a token", qnn_ep};
  d.prompt_tokens = {64, olive};
  d.activations = {"16 bits (A16W4), or 8; fp16 on newer parts", qnn_ep};
  d.kv_cache = {"8 or 16 bits", "mllm QNN AOT docs; ExecuTorch PR 15965"};
  d.embeddings_and_head = {"on the CPU, int4 in blocks of 32", olive};
  d.artefact = {"context binary, and an ONNX file that names it", qnn_ep};
  d.memory = {"the 14B was reported not to load with 16 GB", "microsoft/windows-ai-studio-templates, users' reports"};
  d.forms = qnn_forms;
  d.forms_source = "QNN 2.49 release notes; onnxruntime docs/execution-providers/QNN-ExecutionProvider.md";
  return d;
}

constexpr NpuDescriptor intel_npu4() {
  NpuDescriptor d;
  d.name = "intel-npu4";
  d.family = "Intel NPU4";
  d.product = "Core Ultra 200V (Lunar Lake)";
  d.stack = "OpenVINO";
  d.tops_int8 = {48, lunar_lake};
  d.units = {"6 NCE tiles (2048 int8 or 1024 fp16 multiply-adds a cycle each), 12 SHAVE DSPs", lunar_lake};
  d.shapes = {"static", openvino_npu};
  d.prompt_tokens = {1024, openvino_npu};
  d.activations = {"f16; int8 where quantised on the way", openvino_npu};
  d.kv_cache = {"f16", openvino_npu};
  d.embeddings_and_head = {"embeddings on the CPU; the head on the NPU, for the last token", openvino_npuw};
  d.artefact = {"compiled blob", openvino_npu};
  d.memory = {"more than 16 GB for models above 7B with prompts above 1024 tokens", openvino_npu};
  d.forms = openvino_forms;
  d.forms_source = openvino_npu;
  return d;
}

constexpr NpuDescriptor amd_xdna2() {
  NpuDescriptor d;
  d.name = "amd-xdna2";
  d.family = "AMD XDNA2";
  d.product = "Ryzen AI 300 (Strix, Krackan)";
  d.stack = "Ryzen AI";
  d.tops_int8 = {50, "AMD's figure, by press reports"};
  d.int8_tile = {8, 8, 8, mlir_mm};
  d.float_tile = {4, 8, 8, "mlir-aie aie_kernels/aie2p/mm.cc (bf16); 8 x 8 x 8 of bfp16, mm_bfp.cc"};
  d.core_tile = {64, 64, 64, mlir_mm};
  d.units = {"32 compute tiles in 8 columns, a memory tile and a DMA to main memory in each column", mlir_aie};
  d.unit_memory_bytes = {std::uint64_t{64} << 10, mlir_aie};
  d.shared_memory_bytes = {std::uint64_t{8} * 512 << 10, mlir_aie};
  d.alignment_bytes = {4, "mlir-aie programming_examples/ml/block_datatypes/matrix_multiplication/README.md (DMA)"};
  d.shapes = {"static", ryzen_ai};
  d.fixed_context = {4096, ryzen_ai};
  d.activations = {"bf16, or bfp16ebs8 in later releases", ryzen_ai};
  d.kv_cache = {"bf16", ryzen_ai};
  d.embeddings_and_head = {"on the NPU or the GPU, the head in groups of its own", ryzen_ai};
  d.artefact = {"xclbin, or a package for one model", ryzen_ai};
  d.forms = ryzen_forms;
  d.forms_source = ryzen_ai;
  return d;
}

}  // namespace detail

inline constexpr std::array<NpuDescriptor, 6> npu_descriptors{
    detail::hexagon("hexagon-v73", "Snapdragon X (SC8380XP)", {45, "Qualcomm's figure, by press reports"},
                    {"4 HVX threads", detail::qnn_binary}, {std::uint64_t{8} << 20, detail::qnn_binary}),
    detail::hexagon("hexagon-v75", "Snapdragon 8 Gen 3 (SM8650)", {}, {}, {}),
    detail::hexagon("hexagon-v79", "Snapdragon 8 Elite (SM8750)", {}, {"6 HVX contexts", "llama.cpp issues, logs of a device"}, {}),
    detail::hexagon("hexagon-v81", "Snapdragon X2 (SC8480XP)", {80, "Qualcomm's figure, by press reports"},
                    {"8 threads, 8 HVX, 1 HMX", "llama.cpp issue 25876, log of a device"},
                    {std::uint64_t{8} << 20, "llama.cpp issue 25876, log of a device"}),
    detail::intel_npu4(),
    detail::amd_xdna2(),
};

// Calls f(field, value, source) for every fact of a descriptor except its forms of weights. If a value is not known, it is
// "unknown" and its source is empty.
template <class F>
void for_each_npu_fact(const NpuDescriptor& d, F&& f) {
  const auto number = [&](std::string_view field, const NpuNumber& n, std::string_view unit) {
    f(field, n.is_known() ? concat(n.value, unit) : std::string("unknown"), n.source);
  };
  const auto tile = [&](std::string_view field, const NpuTile& t) {
    f(field, t.source.empty() ? std::string("unknown") : concat(t.m, " x ", t.k, " x ", t.n), t.source);
  };
  const auto text = [&](std::string_view field, const NpuText& t) {
    f(field, t.text.empty() ? std::string("unknown") : std::string(t.text), t.source);
  };
  number("int8 TOPS", d.tops_int8, "");
  tile("int8 tile, M x K x N", d.int8_tile);
  tile("float tile, M x K x N", d.float_tile);
  tile("core tile, M x K x N", d.core_tile);
  number("vector", d.vector_bytes, " bytes");
  text("units", d.units);
  number("memory of a unit", d.unit_memory_bytes, " bytes");
  number("shared memory", d.shared_memory_bytes, " bytes");
  number("mapping of a process", d.mapping_bytes, " bytes");
  number("alignment", d.alignment_bytes, " bytes");
  text("shapes", d.shapes);
  number("prompt graph", d.prompt_tokens, " tokens");
  number("fixed context", d.fixed_context, " tokens");
  text("activations", d.activations);
  text("KV cache", d.kv_cache);
  text("embeddings and head", d.embeddings_and_head);
  text("artefact", d.artefact);
  text("memory asked for", d.memory);
}

namespace detail {

// Whether every number in npu_descriptors has a source, and every source a number.
constexpr bool every_number_has_a_source() {
  for (const NpuDescriptor& d : npu_descriptors) {
    for (const NpuNumber* n : {&d.tops_int8, &d.vector_bytes, &d.unit_memory_bytes, &d.shared_memory_bytes, &d.mapping_bytes,
                               &d.alignment_bytes, &d.prompt_tokens, &d.fixed_context}) {
      if ((n->value != 0) != n->is_known()) return false;
    }
    for (const NpuTile* t : {&d.int8_tile, &d.float_tile, &d.core_tile}) {
      if ((t->m != 0) == t->source.empty()) return false;
    }
    for (const NpuText* t : {&d.units, &d.shapes, &d.activations, &d.kv_cache, &d.embeddings_and_head, &d.artefact, &d.memory}) {
      if (t->text.empty() != t->source.empty()) return false;
    }
    for (const NpuForm& form : d.forms) {
      if (form.source.empty()) return false;
    }
  }
  return true;
}
static_assert(every_number_has_a_source());

}  // namespace detail

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
