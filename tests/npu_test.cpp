// SPDX-License-Identifier: Apache-2.0
//
// Tests of check_npus(), which says on which NPUs a model could run, with the shapes of R1-Distill-Qwen: the parts that a model
// is split into, the forms of its weights, its memory, and refusals. The tests compute sizes once more from the shapes.
#include <stilla/contract/r1_models.hpp>
#include <stilla/format/int4_g128.hpp>
#include <stilla/format/int_channel.hpp>
#include <stilla/model/npu_check.hpp>

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "memory_source.hpp"

namespace {

using namespace stilla;
using namespace stilla_test;

// Returns a source that lists the tensors of an R1 distill with their shapes, but has no weights. The source says that the embedding and
// the head, which stay on the CPU, take `host_bytes` each.
MemorySource r1_source(const R1Model& model, FormatId format, std::size_t host_bytes = 0) {
  MemorySource source;
  source.values = {{"general.architecture", std::string("qwen2")},
                   {"qwen2.block_count", std::uint64_t{model.layers}},
                   {"qwen2.embedding_length", std::uint64_t{model.hidden}},
                   {"qwen2.feed_forward_length", std::uint64_t{model.ffn}},
                   {"qwen2.attention.head_count", std::uint64_t{model.n_heads}},
                   {"qwen2.attention.head_count_kv", std::uint64_t{model.n_kv_heads}},
                   {"qwen2.context_length", std::uint64_t{131072}},
                   {"qwen2.attention.layer_norm_rms_epsilon", 1e-6}};
  const auto set = [&](const std::string& name, std::size_t N, std::size_t K) { source.set(name + ".weight", {{K, N}, format, {}}); };
  for (std::size_t i = 0; i < model.layers; ++i) {
    const std::string layer = "blk." + std::to_string(i) + ".";
    set(layer + "attn_q", model.hidden, model.hidden);
    set(layer + "attn_k", model.n_kv_heads * 128, model.hidden);
    set(layer + "attn_v", model.n_kv_heads * 128, model.hidden);
    set(layer + "attn_output", model.hidden, model.hidden);
    set(layer + "ffn_gate", model.ffn, model.hidden);
    set(layer + "ffn_up", model.ffn, model.hidden);
    set(layer + "ffn_down", model.hidden, model.ffn);
  }
  for (const char* name : {"token_embd.weight", "output.weight"}) {
    source.set(name, {{model.hidden, model.vocabulary}, id_of<F16>, std::vector<std::byte>(host_bytes)});
  }
  return source;
}

std::uint64_t layer_weights(const R1Model& m) { return 2 * m.hidden * m.hidden + 2 * m.n_kv_heads * 128 * m.hidden + 3 * m.ffn * m.hidden; }
std::uint64_t layer_rows(const R1Model& m) { return 3 * m.hidden + 2 * m.n_kv_heads * 128 + 2 * m.ffn; }

const NpuFormVerdict& verdict_of(const NpuReport& report, std::string_view family, std::string_view form) {
  static const NpuFormVerdict none;
  for (const NpuVerdict& verdict : report.families) {
    for (const NpuFormVerdict& one : verdict.forms) {
      if (verdict.npu->family == family && one.form->name == form) return one;
    }
  }
  ADD_FAILURE() << "no " << form << " of " << family;
  return none;
}

const NpuVerdict& family_of(const NpuReport& report, std::string_view family) {
  static const NpuVerdict none;
  for (const NpuVerdict& verdict : report.families) {
    if (verdict.npu->family == family) return verdict;
  }
  ADD_FAILURE() << "no " << family;
  return none;
}

std::string refusal_of(const NpuReport& report, std::string_view family, std::string_view what) {
  for (const NpuRefusal& refusal : family_of(report, family).refused) {
    if (refusal.what.find(what) == std::string::npos) continue;
    EXPECT_FALSE(refusal.source.empty());
    return refusal.reason;
  }
  return "";
}

TEST(NpuDescriptors, SayUnknownWhereNoSourceDoes) {
  std::set<std::string_view> names;
  std::size_t known = 0, unknown = 0;
  for (const NpuDescriptor& npu : npu_descriptors) {
    EXPECT_TRUE(names.insert(npu.name).second);
    for_each_npu_fact(npu, [&](std::string_view field, const std::string& value, std::string_view source) {
      EXPECT_EQ(value == "unknown", source.empty()) << npu.name << ": " << field;
      ++(source.empty() ? unknown : known);
    });
  }
  const std::set<std::string_view> expected{"hexagon-v73", "hexagon-v75", "hexagon-v79", "hexagon-v81", "intel-npu4", "amd-xdna2"};
  EXPECT_EQ(names, expected);
  EXPECT_GT(known, 40u);
  EXPECT_GT(unknown, 20u);
}

TEST(NpuCheck, PartsAndBytesOfR1) {
  const std::size_t parts[] = {1, 2, 3};  // how many parts of at most 3.36 GB each of the three models needs
  for (std::size_t i = 0; i < 3; ++i) {
    const R1Model& model = r1_models[i];
    SCOPED_TRACE(model.name);
    const MemorySource source = r1_source(model, id_of<INT4_CHANNEL>, 1000);
    const Result<NpuReport> report = check_npus(source);
    ASSERT_TRUE(report) << report.error().message;
    ASSERT_EQ(report->families.size(), 3u);
    EXPECT_EQ(report->layers, model.layers);
    EXPECT_EQ(report->context, 4096u);
    EXPECT_EQ(report->host_bytes, 2000u);
    EXPECT_EQ(report->layer_weights, model.layers * layer_weights(model));
    EXPECT_EQ(report->kv_bytes, model.layers * 4096 * 2 * 2 * model.n_kv_heads * 128);

    const NpuFormVerdict& channel = verdict_of(*report, "Qualcomm Hexagon", "int4 per channel");
    EXPECT_EQ(channel.weight_bytes, model.layers * (layer_weights(model) / 2 + 4 * layer_rows(model)));
    EXPECT_EQ(channel.total_bytes, channel.weight_bytes + report->kv_bytes + 2000);
    ASSERT_EQ(channel.parts.size(), parts[i]);
    std::size_t next = 0;
    std::uint64_t bytes = 0;
    for (const NpuPart& part : channel.parts) {
      EXPECT_EQ(part.first_layer, next);
      EXPECT_LE(part.layers, model.layers / channel.parts.size() + 1);
      EXPECT_LE(part.bytes, 3355443200u);
      next += part.layers;
      bytes += part.bytes;
    }
    EXPECT_EQ(next, model.layers);
    EXPECT_EQ(bytes, channel.weight_bytes + report->kv_bytes);
    EXPECT_TRUE(channel.fits);

    const NpuFormVerdict& lpbq = verdict_of(*report, "Qualcomm Hexagon", "LPBQ 64");
    EXPECT_EQ(lpbq.weight_bytes, channel.weight_bytes + model.layers * layer_weights(model) / 64);
    const NpuFormVerdict& awq = verdict_of(*report, "AMD XDNA2", "uint4 in groups of 128");
    EXPECT_NEAR(static_cast<double>(awq.weight_bytes), static_cast<double>(model.layers * layer_weights(model)) * (0.5 + 2.5 / 128), 1000);
    EXPECT_EQ(awq.parts.size(), 1u) << "no limit is known";
    EXPECT_EQ(verdict_of(*report, "AMD XDNA2", "bfp16ebs8").weight_bytes, model.layers * layer_weights(model) / 8 * 9);
    // The machine of this check has 16 GB of memory, of which 4 GB are reserved for the system and other programs. With weights in
    // bf16, only the first and smallest of the three R1 distills fits in the rest. The weights of the 14B's layers would take 26 GB.
    EXPECT_EQ(verdict_of(*report, "AMD XDNA2", "bf16").fits, i == 0);
    EXPECT_EQ(verdict_of(*report, "Intel NPU4", "int8 per channel").fits, i < 2);
    EXPECT_EQ(refusal_of(*report, "Intel NPU4", "16 GB").empty(), i < 2);
    for (const NpuVerdict& verdict : report->families) EXPECT_TRUE(verdict.fits);
  }
}

TEST(NpuCheck, MemoryAndContext) {
  const MemorySource source = r1_source(r1_models[2], id_of<INT4_CHANNEL>);
  NpuCheckOptions options;
  options.memory_bytes = 8'000'000'000;
  const Result<NpuReport> small = check_npus(source, options);
  ASSERT_TRUE(small);
  for (const NpuVerdict& verdict : small->families) EXPECT_FALSE(verdict.fits);
  options = {};
  options.context = 8192;
  const Result<NpuReport> report = check_npus(source, options);
  ASSERT_TRUE(report);
  EXPECT_EQ(refusal_of(*report, "AMD XDNA2", "a context of 8192 tokens"), "Ryzen AI's packages end at 4096");
  EXPECT_EQ(refusal_of(*report, "Qualcomm Hexagon", "a context"), "");
  options.context = 131073;
  EXPECT_EQ(check_npus(source, options).error().message, "a context of 131073 tokens; this model was trained for 131072");
  EXPECT_EQ(check_npus(source, options).error().kind, ErrorKind::bad_argument);
  // A process can map only a limited amount of memory for Qualcomm's NPU. A model is refused if a single layer's share of the
  // key/value cache is larger than this amount.
  options.context = 131072;
  R1Model wide = r1_models[0];
  wide.n_heads = wide.n_kv_heads = 64;
  wide.hidden = 8192;
  const MemorySource large = r1_source(wide, id_of<INT4_CHANNEL>);
  EXPECT_TRUE(verdict_of(*check_npus(large, options), "Qualcomm Hexagon", "int4 per channel").parts.empty());
}

// `stilla export` divides a model by npu_parts(), and check_npus() reports the same parts. The expected numbers are those of int4
// per channel. A layer of the 7B has 117 MB of weights, and 2 KiB of the key/value cache for each position. A layer of the 14B has
// 138 MB and 4 KiB. A part has 3.36 GB at most.
TEST(NpuCheck, PartsCountScalesAndKvCache) {
  struct Case {
    std::size_t model, context;
    std::vector<std::size_t> first_layers;
  };
  const Case cases[] = {{1, 1024, {0}},
                        {1, 4096, {0, 14}},
                        {1, 32768, {0, 14}},
                        {1, 131072, {0, 7, 14, 21}},
                        {2, 4096, {0, 16, 32}},
                        {2, 32768, {0, 12, 24, 36}},
                        {2, 131072, {0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44}}};
  for (const Case& c : cases) {
    const R1Model& model = r1_models[c.model];
    SCOPED_TRACE(concat(model.name, ", context ", c.context));
    const MemorySource source = r1_source(model, id_of<F16>);
    const Result<ModelConfig> config = read_model_config(source);
    ASSERT_TRUE(config) << config.error().message;
    NpuCheckOptions options;
    options.context = c.context;
    const Result<NpuReport> report = check_npus(source, options);
    ASSERT_TRUE(report) << report.error().message;
    const NpuVerdict& hexagon = family_of(*report, "Qualcomm Hexagon");
    const Result<std::vector<NpuPart>> parts = npu_parts(*hexagon.npu, id_of<INT4_CHANNEL>, source, *config, c.context);
    ASSERT_TRUE(parts) << parts.error().message;
    const std::vector<NpuPart>& checked = verdict_of(*report, "Qualcomm Hexagon", "int4 per channel").parts;
    ASSERT_EQ(parts->size(), c.first_layers.size());
    ASSERT_EQ(checked.size(), c.first_layers.size());
    const std::uint64_t layer = layer_weights(model) / 2 + 4 * layer_rows(model) + 2 * 2 * model.n_kv_heads * 128 * c.context;
    for (std::size_t i = 0; i < checked.size(); ++i) {
      const NpuPart& part = (*parts)[i];
      EXPECT_EQ(part.first_layer, c.first_layers[i]);
      EXPECT_EQ(part.bytes, part.layers * layer);
      EXPECT_LE(part.bytes, 3355443200u);
      EXPECT_EQ(checked[i].first_layer, part.first_layer);
      EXPECT_EQ(checked[i].layers, part.layers);
      EXPECT_EQ(checked[i].bytes, part.bytes);
    }
    const NpuVerdict& intel = family_of(*report, "Intel NPU4");
    EXPECT_EQ(npu_parts(*intel.npu, id_of<INT4_CHANNEL>, source, *config, c.context)->size(), 1u) << "no limit is known";
  }
}

TEST(NpuCheck, RefusesFormsWithTheReason) {
  struct Case {
    FormatId format;
    const char* family;
    const char* reason;  // how the reason begins; empty if the NPU takes the weights as they are
  };
  const Case cases[] = {
      {id_of<INT4_CHANNEL>, "Qualcomm Hexagon", ""},
      {id_of<INT4_CHANNEL>, "Intel NPU4", ""},
      {id_of<INT4_CHANNEL>, "AMD XDNA2", "it takes no 4 bits per channel; Ryzen AI takes uint4 in groups of 128, bf16"},
      {id_of<INT8_CHANNEL>, "AMD XDNA2", ""},
      {id_of<INT4_G128>, "Qualcomm Hexagon", "its scales for 128 weights are floats, which need fp16 activations; QNN HTP takes"},
      {id_of<INT4_G128>, "Intel NPU4", ""},
      {id_of<INT4_G128>, "AMD XDNA2", ""},  // it takes these weights as uint4 with a zero point of 8
      {id_of<INT4_G128_MIN>, "Intel NPU4", "its weights are asymmetric (zero points or minimums); only symmetric ones are taken; OpenVINO"},
      {id_of<INT4_G128_MIN>, "Qualcomm Hexagon", "its weights are asymmetric"},
      {id_of<INT4_G128_MIN>, "AMD XDNA2", ""},
      {id_of<Q4_0>, "Intel NPU4", "found 4 bits in groups of 32; OpenVINO takes int4 per channel, int4 in groups of 128"},
      {id_of<Q4_K>, "AMD XDNA2", "found 4 bits in groups of 32"},
      {id_of<F16>, "Qualcomm Hexagon", "floats of 16 bits are not quantised"},
      {id_of<BF16>, "AMD XDNA2", ""},
      {id_of<BFP16EBS8>, "AMD XDNA2", ""},
      {id_of<BFP16EBS8>, "Intel NPU4", "weights that share an exponent are not known to it"},
      {id_of<IQ4_NL>, "Intel NPU4", "its weights are levels of a table"},
  };
  for (const Case& c : cases) {
    if (!with_format(c.format, [](auto) {})) continue;  // the format is not compiled into this test (STILLA_FORMATS)
    const MemorySource source = r1_source(r1_models[0], c.format);
    const Result<NpuReport> report = check_npus(source);
    ASSERT_TRUE(report);
    const std::string reason = refusal_of(*report, c.family, "as they are");
    EXPECT_TRUE(*c.reason == 0 ? reason.empty() : reason.starts_with(c.reason))
        << format_name(c.format) << ' ' << c.family << ": " << reason;
    EXPECT_NE(refusal_of(*report, c.family, "dynamic shapes"), "");
  }
}

TEST(NpuCheck, NamesAMatrixThatIsNoMultipleOfABlock) {
  MemorySource source = r1_source(r1_models[0], id_of<INT4_CHANNEL>);
  source.set("blk.3.ffn_down.weight", {{8992, 1536}, id_of<INT4_CHANNEL>, {}});  // 8992 is 281 * 32
  const Result<NpuReport> report = check_npus(source);
  ASSERT_TRUE(report);
  EXPECT_EQ(verdict_of(*report, "AMD XDNA2", "uint4 in groups of 128").refused,
            "'blk.3.ffn_down.weight' has 8992 columns, which is not a multiple of 128");
  EXPECT_FALSE(verdict_of(*report, "Qualcomm Hexagon", "LPBQ 64").fits);
  EXPECT_EQ(verdict_of(*report, "Qualcomm Hexagon", "LPBQ 32").refused, "");
  EXPECT_TRUE(verdict_of(*report, "Qualcomm Hexagon", "int4 per channel").fits);
}

TEST(NpuCheck, RefusesWhatIsNoModel) {
  MemorySource source = r1_source(r1_models[0], id_of<INT4_CHANNEL>);
  source.remove("blk.27.attn_v.weight");
  EXPECT_EQ(check_npus(source).error().message, "memory: array 'blk.27.attn_v.weight' is missing");
  EXPECT_EQ(check_npus(MemorySource()).error().kind, ErrorKind::refused_file);
}

}  // namespace
