// SPDX-License-Identifier: Apache-2.0
//
// Tests of whole models. Logits are compared with those of transformers in float32, and properties are tested that must hold
// whatever the weights are. The tiny models (golden/make_tiny_models.py) together use the formats F32, F16, BF16, Q4_0, Q4_1,
// Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K, IQ4_NL and IQ4_XS.
#include <stilla/sampling.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model_util.hpp"

namespace {

using namespace stilla;
using namespace stilla_test;

class TinyModel : public ::testing::TestWithParam<std::string> {
 protected:
  std::string golden(const std::string& name) const { return GetParam() + "/" + name; }
  std::vector<std::uint32_t> ids() const { return as_ids(tiny_golden(golden("ids"))); }
  std::vector<std::uint32_t> long_ids() const { return as_ids(tiny_golden(golden("long-ids"))); }
};

INSTANTIATE_TEST_SUITE_P(, TinyModel, ::testing::ValuesIn(tiny_models), [](const auto& tested) {
  std::string name = tested.param;
  name[4] = '_';
  return name;
});

std::vector<float> long_rows(const Model& model, std::span<const std::uint32_t> ids, std::span<const float> positions,
                             const SessionOptions& options) {
  const std::vector<float> all = all_logits(model, ids, options);
  std::vector<float> out;
  for (const float position : positions) {
    const auto row = row_of(all, static_cast<std::size_t>(position), model.config().vocabulary);
    out.insert(out.end(), row.begin(), row.end());
  }
  return out;
}

// Evaluates the prompt `ids` and behind it the text `next`. Returns the tokens with the highest logits: the one that should follow
// the prompt, and then for each token of `next` except the last the one that should follow it.
std::vector<std::uint32_t> winners(const Model& model, std::vector<std::uint32_t> ids, std::span<const std::uint32_t> next,
                                   const SessionOptions& options) {
  const std::size_t first = ids.size() - 1;
  ids.insert(ids.end(), next.begin(), next.end());
  const std::vector<float> all = all_logits(model, ids, options);
  std::vector<std::uint32_t> out;
  for (std::size_t i = 0; i < next.size(); ++i) {
    out.push_back(greedy_token(row_of(all, first + i, model.config().vocabulary)).value_or(~0u));
  }
  return out;
}

// The largest distance (normalised mean square error) to the logits of transformers that is allowed, about twice what was measured.
// The measured value stands behind each limit. Random weights cause larger distances than trained ones: those of real models are a
// tenth of these (bench/check_fidelity.py).
constexpr double float_nmse = 1e-10;  // measured 2.2e-11, which comes from other orders of sums
constexpr double rounded_nmse = 4e-5;  // measured 2.1e-5 (q6_k), which comes from the inputs of matmul, rounded to 16 bits
constexpr double f16_cache_nmse = 4e-4;  // measured 1.7e-4: f16 rounds keys of about 150 to multiples of 1/8
constexpr double int8_cache_nmse = 4e-3;  // measured 1.9e-3
constexpr double bf16_cache_nmse = 2e-2;  // measured 9.4e-3
// If the highest logit of transformers exceeds its second by more than this, Stilla must choose the same token. The margin is 6
// standard deviations of the difference of two rounded logits.
constexpr float clear_margin = 1.0f;

// Float weights take float activations. So the results differ from those of transformers only by the order of sums and by what the
// cache rounds. If weights of any format are converted to floats, the logits must be almost equal to those of transformers.
TEST_P(TinyModel, ExactWeightsGiveTheReferencesLogits) {
  ModelFile file = ModelFile::tiny(GetParam());
  convert_matrices(file, id_of<F32>);
  const LoadedModel model(file);
  ASSERT_TRUE(model) << model.error();
  const SessionOptions exact{.kv_type = KvType::f32};
  const std::span<const float> expected = tiny_golden(golden("logits"));
  EXPECT_LE(nmse(all_logits(*model, ids(), exact), expected), float_nmse);
  EXPECT_LE(nmse(long_rows(*model, long_ids(), tiny_golden(golden("long-positions")), exact), tiny_golden(golden("long-logits"))),
            float_nmse);
  EXPECT_LE(nmse(all_logits(*model, ids(), {.kv_type = KvType::f16}), expected), f16_cache_nmse);
  EXPECT_LE(nmse(all_logits(*model, ids(), {.kv_type = KvType::bf16}), expected), bf16_cache_nmse);

  const std::vector<std::uint32_t> greedy = as_ids(tiny_golden(golden("greedy")));
  EXPECT_EQ(winners(*model, ids(), greedy, exact), greedy);
}

// A model whose context was extended has keys in its file that scale the positions: linearly, or by YaRN, which scales the
// cosines too. With an integer cache the bias of the keys is rotated separately, by tables of its own, so these tables must be
// scaled too.
TEST_P(TinyModel, ScaledPositionsGiveTheReferencesLogits) {
  for (const char* type : {"linear", "yarn"}) {
    ModelFile file = ModelFile::tiny(GetParam());
    convert_matrices(file, id_of<F32>);
    const std::string scaling = GetParam().substr(5) + ".rope.scaling.";
    file.set(scaling + "type", std::string_view(type));
    file.set(scaling + "factor", 4.0f);
    file.set(scaling + "original_context_length", 128u);
    const LoadedModel model(file);
    ASSERT_TRUE(model) << model.error();
    const std::span<const float> positions = tiny_golden(golden("long-positions")),
                                 expected = tiny_golden(golden(std::string(type) + "-logits"));
    EXPECT_LE(nmse(long_rows(*model, long_ids(), positions, {.kv_type = KvType::f32}), expected), float_nmse) << type;
    EXPECT_LE(nmse(long_rows(*model, long_ids(), positions, {.kv_type = KvType::int8}), expected), int8_cache_nmse) << type;
  }
}

// Llama 3 scales the positions of long contexts: each angle is divided by a number from the file, its rope factor.
TEST_P(TinyModel, RopeFactorsGiveTheReferencesLogits) {
  ModelFile file = ModelFile::tiny(GetParam());
  convert_matrices(file, id_of<F32>);
  const std::span<const float> factors = tiny_golden(golden("llama3-factors"));
  ASSERT_GT(factors.size(), 8u);
  EXPECT_EQ(factors.front(), 1.0f);
  EXPECT_EQ(factors.back(), 8.0f);
  file.add_floats("rope_freqs.weight", {factors.size()}, factors);
  const LoadedModel model(file);
  ASSERT_TRUE(model) << model.error();
  const std::span<const float> positions = tiny_golden(golden("long-positions"));
  EXPECT_LE(nmse(long_rows(*model, long_ids(), positions, {.kv_type = KvType::f32}), tiny_golden(golden("llama3-logits"))), float_nmse);
  EXPECT_GT(nmse(long_rows(*model, long_ids(), positions, {.kv_type = KvType::f32}), tiny_golden(golden("long-logits"))), 1e-3);
}

TEST(ModelConfig, DefaultsGoByTheWeightsOfTheLayers) {
  ModelConfig half, r1;  // Qwen2.5 0.5B and R1-Distill-Qwen 1.5B
  half.n_layers = 24, half.hidden = 896, half.ffn = 4864, half.n_heads = 14, half.n_kv_heads = 2, half.head_dim = 64;
  r1.n_layers = 28, r1.hidden = 1536, r1.ffn = 8960, r1.n_heads = 12, r1.n_kv_heads = 2, r1.head_dim = 128;
  EXPECT_EQ(layer_weights(half), 357826560u);
  EXPECT_EQ(layer_weights(r1), 1310195712u);
  EXPECT_EQ(default_activations(half), ActivationBits::sixteen);
  EXPECT_EQ(default_activations(r1), ActivationBits::mixed);
  EXPECT_EQ(default_kv_type(half), KvType::f16);
  EXPECT_EQ(default_kv_type(r1), KvType::int8);
}

// A model whose heads have a size that is no multiple of 16 computes the same as a model whose heads have the next multiple of
// 16, with zeros at their end. In the second model as many dimensions of a head rotate as in the first. Attention divides scores
// by the root of the head's size, which is larger in the second model, so its queries are scaled to make up for this.
TEST(HeadSizes, EqualPaddedHeads) {
  for (const auto& [tiny, sizes] : {std::pair<const char*, std::vector<std::size_t>>{"tiny-llama", {20, 24, 28}},
                                    std::pair<const char*, std::vector<std::size_t>>{"tiny-qwen2", {4, 20}},
                                    std::pair<const char*, std::vector<std::size_t>>{"tiny-qwen3", {36, 52, 60}}}) {
    ModelFile whole = ModelFile::tiny(tiny);
    const ModelConfig c = LoadedModel(whole)->config();
    convert_matrices(whole, id_of<F32>);
    const std::vector<std::uint32_t> ids = as_ids(tiny_golden(concat(tiny, "/ids")));
    for (const std::size_t size : sizes) {
      // Returns a copy of the model whose heads have another size. Of the c.head_dim rows that each head has in a matrix, the copy
      // keeps the first `size`, and fills the head with zeros up to `width` rows. In the output matrix the copy treats columns in
      // the same way.
      const auto with_heads = [&](std::size_t width, float query_factor) {
        ModelFile file = whole;
        for (ModelFile::Tensor& tensor : file.tensors) {
          const std::optional<LayerTensor> of_layer = layer_tensor(tensor.name);
          if (!of_layer) continue;
          const std::string_view part = of_layer->part;
          const bool is_query = part == "attn_q.weight" || part == "attn_q.bias";
          const bool is_norm = part == "attn_q_norm.weight" || part == "attn_k_norm.weight";
          const bool is_of_heads = is_query || is_norm || part.starts_with("attn_k.") || part.starts_with("attn_v.");
          if (!is_of_heads && part != "attn_output.weight") continue;
          const std::vector<float> old = decoded(tensor);
          // The number of neighbouring values of a tensor that belong to one dimension of a head: a row of a matrix, one value
          // of a vector, or one value of a row of the output matrix.
          const std::size_t run = tensor.dims.size() == 2 && is_of_heads ? tensor.dims[0] : 1;
          const std::size_t heads = old.size() / (c.head_dim * run);
          std::vector<float> values(heads * width * run);
          for (std::size_t h = 0; h < heads; ++h) {
            for (std::size_t i = 0; i < size * run; ++i) {
              // An RMSNorm of queries or keys divides a head by its root mean square. Zeros, which fill a head of `size`
              // values up to `width`, multiply this root by sqrt(size / width). The norm's weights are multiplied by the
              // same factor, so the results stay the same.
              const float factor = is_norm ? std::sqrt(static_cast<float>(size) / static_cast<float>(width)) *
                                                 (part == "attn_q_norm.weight" ? query_factor : 1.0f)
                                   : is_query && !c.has_qk_norm ? query_factor
                                                                : 1.0f;
              values[h * width * run + i] = factor * old[h * c.head_dim * run + i];
            }
          }
          tensor.dims[part == "attn_output.weight" || tensor.dims.size() == 1 ? 0 : 1] *= width;
          tensor.dims[part == "attn_output.weight" || tensor.dims.size() == 1 ? 0 : 1] /= c.head_dim;
          const auto bytes = std::as_bytes(std::span<const float>(values));
          tensor.bytes.assign(bytes.begin(), bytes.end());
        }
        file.set(c.architecture + ".attention.key_length", static_cast<std::uint32_t>(width));
        file.set(c.architecture + ".attention.value_length", static_cast<std::uint32_t>(width));
        file.set(c.architecture + ".rope.dimension_count", static_cast<std::uint32_t>(size));
        // In heads that are filled up with zeros, the mean square is smaller, but the epsilon that a norm adds to it is not. No
        // factor on the weights makes up for this, so epsilon is set close to 0.
        file.set(c.architecture + ".attention.layer_norm_rms_epsilon", 1e-12f);
        return file;
      };
      const std::size_t padded = padded_head_dim(size);
      const LoadedModel model(with_heads(size, 1.0f));
      const LoadedModel filled(with_heads(padded, std::sqrt(static_cast<float>(padded) / static_cast<float>(size))));
      ASSERT_TRUE(model && filled) << model.error() << filled.error();
      EXPECT_EQ(model->config().head_dim, size);
      const std::vector<float> expected = all_logits(*filled, ids, {.kv_type = KvType::f32});
      for (const auto& [type, allowed] :
           {std::pair{KvType::f32, float_nmse}, {KvType::f16, f16_cache_nmse}, {KvType::int8, int8_cache_nmse}}) {
        EXPECT_LE(nmse(all_logits(*model, ids, {.kv_type = type}), expected), allowed) << tiny << " " << size << " " << kv_type_name(type);
      }
      EXPECT_TRUE(same_bits(all_logits(*model, ids, {.batch = 7}), all_logits(*model, ids)));
    }
  }
}

// Tests of Qwen3, a model whose queries and keys are normalised in each head. ----------------------------------------------

TEST(TinyQwen3, ATiedHeadGivesTheReferencesLogits) {
  ModelFile file = ModelFile::tiny("tiny-qwen3");
  file.remove_tensor("output.weight");
  convert_matrices(file, id_of<F32>);
  const LoadedModel model(file);
  ASSERT_TRUE(model) << model.error();
  const std::vector<std::uint32_t> ids = as_ids(tiny_golden("tiny-qwen3/ids"));
  EXPECT_LE(nmse(all_logits(*model, ids, {.kv_type = KvType::f32}), tiny_golden("tiny-qwen3/tied-logits")), float_nmse);
}

TEST(TinyQwen3, ADecodedTokenHasTheReferencesLogits) {
  ModelFile file = ModelFile::tiny("tiny-qwen3");
  convert_matrices(file, id_of<F32>);
  const LoadedModel model(file);
  ASSERT_TRUE(model) << model.error();
  Result<Session> session = Session::create(*model, {.kv_type = KvType::f32});
  ASSERT_TRUE(session) << session.error().message;
  std::vector<float> logits;
  for (const std::uint32_t id : as_ids(tiny_golden("tiny-qwen3/ids"))) {
    const auto row = session->evaluate({&id, 1});
    ASSERT_TRUE(row) << row.error().message;
    logits.insert(logits.end(), row->begin(), row->end());
  }
  EXPECT_LE(nmse(logits, tiny_golden("tiny-qwen3/logits")), float_nmse);
}

// rms_norm() removes the scale of its input. In Qwen3 it normalises queries and keys, so with an epsilon near 0 their matrices
// may have any scale.
TEST(TinyQwen3, TheScaleOfQueriesAndKeysDoesNotMatter) {
  ModelFile file = ModelFile::tiny("tiny-qwen3");
  convert_matrices(file, id_of<F32>);
  file.set("qwen3.attention.layer_norm_rms_epsilon", 1e-12f);
  const std::vector<std::uint32_t> ids = as_ids(tiny_golden("tiny-qwen3/ids"));
  const LoadedModel model(file);
  ASSERT_TRUE(model) << model.error();
  const std::vector<float> expected = all_logits(*model, ids);
  for (const char* name : {"blk.0.attn_q.weight", "blk.1.attn_k.weight"}) {
    ModelFile scaled = file;
    std::vector<float> weights = decoded(scaled.tensor(name));
    for (float& weight : weights) weight *= 64.0f;
    std::memcpy(scaled.tensor(name).bytes.data(), weights.data(), weights.size() * sizeof(float));
    const LoadedModel other(scaled);
    ASSERT_TRUE(other) << other.error();
    EXPECT_LE(nmse(all_logits(*other, ids), expected), 1e-9) << name;
  }
}

// Models of Qwen3's kind may have biases of Q, K and V (attention_bias in the configuration). They normalise keys together with
// their bias, so an integer cache cannot keep the bias apart as it does for Qwen2: a bias must have the same effect in every type
// of cache.
TEST(TinyQwen3, BiasesOfKeysGoThroughTheirNorm) {
  ModelFile file = ModelFile::tiny("tiny-qwen3");
  convert_matrices(file, id_of<F32>);
  std::vector<float> bias(2 * 64);
  for (std::size_t i = 0; i < bias.size(); ++i) bias[i] = static_cast<float>(i % 7) - 3.0f;
  const std::vector<std::uint32_t> ids = as_ids(tiny_golden("tiny-qwen3/ids"));
  const LoadedModel plain(file);
  ASSERT_TRUE(plain) << plain.error();
  for (const char* name : {"blk.0.attn_k.bias", "blk.1.attn_k.bias"}) file.add_floats(name, {bias.size()}, bias);
  const LoadedModel model(file);
  ASSERT_TRUE(model) << model.error();
  const std::vector<float> expected = all_logits(*model, ids, {.kv_type = KvType::f32});
  EXPECT_GT(nmse(all_logits(*plain, ids, {.kv_type = KvType::f32}), expected), 1e-3);
  EXPECT_LE(nmse(all_logits(*model, ids, {.kv_type = KvType::int8}), expected), int8_cache_nmse);
}

TEST_P(TinyModel, TheFileAsItIsStaysNearTheReference) {
  const LoadedModel model(GetParam());
  ASSERT_TRUE(model) << model.error();
  EXPECT_LE(nmse(all_logits(*model, ids()), tiny_golden(golden("logits"))), f16_cache_nmse);
  EXPECT_LE(nmse(long_rows(*model, long_ids(), tiny_golden(golden("long-positions")), {}), tiny_golden(golden("long-logits"))),
            f16_cache_nmse);
  const std::vector<std::uint32_t> greedy = as_ids(tiny_golden(golden("greedy")));
  const std::span<const float> margin = tiny_golden(golden("margin"));
  const std::vector<std::uint32_t> ours = winners(*model, ids(), greedy, {});
  for (std::size_t i = 0; i < greedy.size(); ++i) {
    if (margin[i] > clear_margin) {
      EXPECT_EQ(ours[i], greedy[i]) << "token " << i << ", won by " << margin[i];
    }
  }
}

// All matrices of a model are converted to one format, and the logits are compared with those of the same decoded weights as
// floats. Only the rounding of activations differs.
TEST_P(TinyModel, EveryFormatStaysNearItsOwnWeightsAsFloats) {
  const std::vector<std::uint32_t> text = ids();
  for_each_type(GgufFormats{}, [&]<class F>(F) {
    if (F::block_weights == 256 && GetParam() == "tiny-llama") return;  // its rows of 192 weights hold no block of 256
    SCOPED_TRACE(F::name);
    ModelFile file = ModelFile::tiny(GetParam());
    for (ModelFile::Tensor& tensor : file.tensors) {
      if (tensor.dims.size() > 1) give_weights<F>(tensor);
    }
    ModelFile exact = file;
    convert_matrices(exact, id_of<F32>);
    const LoadedModel model(file), exact_model(exact);
    ASSERT_TRUE(model && exact_model) << model.error() << exact_model.error();
    const std::vector<float> ours = all_logits(*model, text), expected = all_logits(*exact_model, text);
    if constexpr (QuantisedFormat<F>) {
      EXPECT_LE(nmse(ours, expected), rounded_nmse);
    } else {
      EXPECT_TRUE(same_bits(ours, expected)) << "float formats decode exactly, so the sums are the same";
    }
  });
}

// Tests of what must hold whatever the weights are -----------------------------------------------------------------------

TEST_P(TinyModel, APositionSeesNothingLater) {
  const LoadedModel model(GetParam());
  ASSERT_TRUE(model) << model.error();
  std::vector<std::uint32_t> text = ids();
  const std::size_t kept = 23, vocabulary = model->config().vocabulary;
  const std::vector<float> before = all_logits(*model, text);
  for (std::size_t i = kept; i < text.size(); ++i) text[i] = (text[i] + 7) % 500;
  const std::vector<float> after = all_logits(*model, text);
  EXPECT_TRUE(same_bits(row_of(before, 0, kept * vocabulary), row_of(after, 0, kept * vocabulary)));
  EXPECT_FALSE(same_bits(row_of(before, kept, vocabulary), row_of(after, kept, vocabulary)));
}

TEST_P(TinyModel, TheContextLimitDoesNotChangeLogits) {
  const LoadedModel model(GetParam());
  ASSERT_TRUE(model) << model.error();
  const std::vector<float> expected = all_logits(*model, ids());
  for (const std::size_t context : {ids().size(), std::size_t{100}, std::size_t{512}}) {
    EXPECT_TRUE(same_bits(all_logits(*model, ids(), {.context = context}), expected)) << context;
  }
}

// Grouped-query attention equals multi-head attention in which neighbouring heads have the same keys and values. So a model with
// repeated key/value heads has the same logits.
TEST_P(TinyModel, GroupedHeadsEqualRepeatedOnes) {
  ModelFile file = ModelFile::tiny(GetParam());
  const LoadedModel grouped(file);
  ASSERT_TRUE(grouped) << grouped.error();
  const ModelConfig& c = grouped->config();
  const std::size_t group = c.n_heads / c.n_kv_heads;
  for (ModelFile::Tensor& tensor : file.tensors) {
    if (tensor.name.find("attn_k.") == std::string::npos && tensor.name.find("attn_v.") == std::string::npos) continue;
    const std::size_t head_bytes = tensor.bytes.size() / c.n_kv_heads;
    std::vector<std::byte> repeated;
    for (std::size_t h = 0; h < c.n_heads; ++h) {
      const auto first = tensor.bytes.begin() + static_cast<std::ptrdiff_t>(h / group * head_bytes);
      repeated.insert(repeated.end(), first, first + static_cast<std::ptrdiff_t>(head_bytes));
    }
    tensor.bytes = repeated;
    tensor.dims.back() *= group;
  }
  file.set(c.architecture + ".attention.head_count_kv", static_cast<std::uint32_t>(c.n_heads));
  const LoadedModel repeated(file);
  ASSERT_TRUE(repeated) << repeated.error();
  EXPECT_EQ(repeated->config().n_kv_heads, c.n_heads);
  EXPECT_TRUE(same_bits(all_logits(*repeated, ids()), all_logits(*grouped, ids())));
}

TEST_P(TinyModel, HeadRowsAreIndependent) {
  ModelFile file = ModelFile::tiny(GetParam());
  const std::string head = GetParam() == "tiny-llama" ? "token_embd.weight" : "output.weight";
  ModelFile::Tensor turned = file.tensor(head);
  const std::size_t rows = turned.dims[1], row = turned.bytes.size() / rows;
  std::vector<std::byte> bytes;
  for (std::size_t n = rows; n-- > 0;) {
    const auto first = turned.bytes.begin() + static_cast<std::ptrdiff_t>(n * row);
    bytes.insert(bytes.end(), first, first + static_cast<std::ptrdiff_t>(row));
  }
  turned.bytes = bytes;
  const LoadedModel model(file);
  file.remove_tensor("output.weight");
  turned.name = "output.weight";
  file.tensors.push_back(turned);
  // `model` has the rows of its head in their usual order (for tiny-llama, whose head is tied, the rows of its embedding).
  // `turned_model` has them in reverse order, in a head that is a tensor of its own, so it must give the same logits in reverse
  // order. For tiny-llama this also tests that a separate head gives the same logits as a tied one.
  const LoadedModel turned_model(file);
  ASSERT_TRUE(model && turned_model) << model.error() << turned_model.error();
  const std::vector<float> logits = all_logits(*model, ids());
  std::vector<float> turned_logits = all_logits(*turned_model, ids());
  for (std::size_t m = 0; m < ids().size(); ++m) {
    const auto first = turned_logits.begin() + static_cast<std::ptrdiff_t>(m * rows);
    std::reverse(first, first + static_cast<std::ptrdiff_t>(rows));
  }
  EXPECT_TRUE(same_bits(turned_logits, logits));
}

TEST_P(TinyModel, AHeadTwiceAsLargeDoublesLogits) {
  ModelFile file = ModelFile::tiny(GetParam());
  ModelFile::Tensor head = file.tensor(GetParam() == "tiny-llama" ? "token_embd.weight" : "output.weight");
  head.name = "output.weight";
  convert(head, id_of<F32>);
  file.remove_tensor("output.weight");
  file.tensors.push_back(head);
  const LoadedModel model(file);
  std::vector<float> weights = decoded(head);
  for (float& weight : weights) weight *= 2.0f;
  std::memcpy(file.tensors.back().bytes.data(), weights.data(), weights.size() * sizeof(float));
  const LoadedModel doubled(file);
  ASSERT_TRUE(model && doubled) << model.error() << doubled.error();
  std::vector<float> expected = all_logits(*model, ids());
  for (float& logit : expected) logit *= 2.0f;
  EXPECT_TRUE(same_bits(all_logits(*doubled, ids()), expected));
}

TEST_P(TinyModel, OrderAndPlaceInTheFileDoNotMatter) {
  ModelFile file = ModelFile::tiny(GetParam());
  const LoadedModel model(file);
  std::reverse(file.tensors.begin(), file.tensors.end());
  std::reverse(file.keys.begin(), file.keys.end());
  const LoadedModel reversed(file);
  ASSERT_TRUE(model && reversed) << model.error() << reversed.error();
  const std::vector<float> expected = all_logits(*model, ids());
  EXPECT_TRUE(same_bits(all_logits(*reversed, ids()), expected));
  for (const LoadMode mode : {LoadMode::map, LoadMode::read}) {
    Result<GgufFile> opened = GgufFile::open(tiny_folder + GetParam() + ".gguf", mode);
    ASSERT_TRUE(opened) << opened.error().message;
    const Result<Model> loaded = Model::load(std::move(*opened));
    ASSERT_TRUE(loaded) << loaded.error().message;
    EXPECT_TRUE(same_bits(all_logits(*loaded, ids()), expected));
  }
}

// Rope factors of 1 change nothing. If the factor of a pair is larger, the pair rotates more slowly, which changes the logits.
TEST_P(TinyModel, RopeFactorsAreUsed) {
  ModelFile file = ModelFile::tiny(GetParam());
  const LoadedModel plain(file);
  ASSERT_TRUE(plain) << plain.error();
  const std::size_t pairs = plain->config().rotary_dim / 2;
  const auto with_factors = [&](const std::vector<float>& factors) {
    ModelFile changed = file;
    changed.add_floats("rope_freqs.weight", {pairs}, factors);
    const LoadedModel model(changed);
    EXPECT_TRUE(model) << model.error();
    return model ? all_logits(*model, ids()) : std::vector<float>();
  };
  const std::vector<float> expected = all_logits(*plain, ids());
  std::vector<float> factors(pairs, 1.0f);
  EXPECT_TRUE(same_bits(with_factors(factors), expected));
  factors[1] = 8.0f;
  EXPECT_FALSE(same_bits(with_factors(factors), expected));
}

// Tests of models with weights that are NaN or infinite -------------------------------------------------------------------

TEST_P(TinyModel, SurvivesWeightsThatAreNoNumbers) {
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  for (const char* name : {"token_embd.weight", "blk.0.attn_norm.weight", "blk.0.attn_k.weight", "blk.1.attn_v.weight",
                           "blk.1.ffn_down.weight", "output_norm.weight", "output.weight"}) {
    for (const float bad : {nan, infinity, -infinity}) {
      for (const bool all : {false, true}) {
        SCOPED_TRACE(::testing::Message() << name << " " << bad << (all ? " everywhere" : " once"));
        ModelFile file = ModelFile::tiny(GetParam());
        if (std::string_view(name) == "output.weight" && GetParam() == "tiny-llama") continue;  // the head is tied to the embedding
        ModelFile::Tensor& tensor = file.tensor(name);
        std::vector<float> weights = decoded(tensor);
        weights[weights.size() / 3] = bad;
        if (all) std::fill(weights.begin(), weights.end(), bad);
        tensor.type = gguf_type_of(id_of<F32>).value();
        tensor.bytes.assign(std::as_bytes(std::span(weights)).begin(), std::as_bytes(std::span(weights)).end());
        const LoadedModel model(file);
        if (!model) continue;  // the model may also be refused
        const std::vector<float> logits = all_logits(*model, ids());
        Sampler sampler({.temperature = 0.8f, .top_k = 20});
        for (std::size_t m = 0; m < ids().size(); m += 13) {
          const std::span<const float> row = row_of(logits, m, model->config().vocabulary);
          const std::optional<std::uint32_t> greedy = greedy_token(row), drawn = sampler.sample(row);
          EXPECT_EQ(greedy.has_value(), drawn.has_value());
          for (const std::optional<std::uint32_t>& token : {greedy, drawn}) {
            if (!token) continue;
            ASSERT_LT(*token, row.size());
            EXPECT_FALSE(std::isnan(row[*token]));
          }
        }
      }
    }
  }
}

// In one block of quantised weights the scale is NaN or infinite. The model must still compute logits, or be refused.
TEST_P(TinyModel, SurvivesBlockScalesThatAreNoNumbers) {
  for (const unsigned half : {0x7e00u, 0x7c00u, 0xfc00u, 0xffffu}) {
    ModelFile file = ModelFile::tiny(GetParam());
    for (ModelFile::Tensor& tensor : file.tensors) {
      if (tensor.dims.size() < 2) continue;
      with_format(tensor.format(), [&]<class F>(F) {
        if constexpr (QuantisedFormat<F>) {
          const std::size_t middle = tensor.bytes.size() / F::block_bytes / 2 * F::block_bytes;
          for (const std::size_t offset : half_offsets<F>()) {
            store_as(tensor.bytes.data() + middle + offset, static_cast<std::uint16_t>(half));
          }
        }
      });
    }
    const LoadedModel model(file);
    ASSERT_TRUE(model) << model.error();
    const std::vector<float> logits = all_logits(*model, ids());
    for (std::size_t m = 0; m < ids().size(); ++m) {
      const std::span<const float> row = row_of(logits, m, model->config().vocabulary);
      EXPECT_LT(greedy_token(row).value_or(0), row.size());
    }
  }
}

}  // namespace
