// SPDX-License-Identifier: Apache-2.0
//
// Compares a model with the NPUs of npu.hpp. Each family of NPUs has a software stack that compiles models. The comparison tells which
// forms of weights this stack takes, into how many parts the layers must be split, whether the memory of the machine is sufficient, and
// what the stack would refuse and why. The check reads only shapes and types, no weights, so that it takes no time. It repeats what the
// sources in npu.hpp state; nothing is compiled.
//
//   Result<NpuReport> report = check_npus(source);
//
// Sizes are in bytes. The memory that the layers need on an NPU is computed from their shapes, for every form. Embedding and head
// are counted as the file has them. A part is some whole layers, with their share of the KV cache, that one process maps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <stilla/base/error.hpp>
#include <stilla/format/format.hpp>
#include <stilla/io/model_source.hpp>
#include <stilla/model/config.hpp>
#include <stilla/model/npu.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

struct NpuCheckOptions {
  // The number of positions of the KV cache. 0: 4096, or the number that the model was trained for if that is less.
  std::size_t context = 0;
  std::uint64_t memory_bytes = 16'000'000'000;
  // The memory that the system and other programs need. The default is an assumption.
  std::uint64_t reserved_bytes = 4'000'000'000;
};

struct NpuPart {
  std::size_t first_layer = 0, layers = 0;
  std::uint64_t bytes = 0;
};

struct NpuFormVerdict {
  const NpuForm* form = nullptr;
  std::string refused;          // why the matrices of the model cannot have this form; empty: they can
  std::uint64_t weight_bytes = 0;  // of the matrices of all layers
  std::vector<NpuPart> parts;   // empty if a single layer is too large
  std::uint64_t total_bytes = 0;  // of the layers, KV cache, embedding and head
  // Whether the model can run with weights in the form `form`: whether the matrices can have this form, the layers can be split into
  // parts, and the memory of the machine is sufficient.
  bool fits = false;
};

struct NpuRefusal {
  std::string what;
  std::string reason;
  std::string_view source;
};

struct NpuVerdict {
  const NpuDescriptor* npu = nullptr;  // the first of its family
  std::vector<NpuFormVerdict> forms;
  std::vector<NpuRefusal> refused;
  bool fits = false;  // whether the model fits with at least one of the forms
};

struct NpuReport {
  std::size_t layers = 0, context = 0;
  std::uint64_t layer_weights = 0;  // the number of weights in all layers
  std::uint64_t host_bytes = 0;     // embedding and head, as the file has them
  std::uint64_t kv_bytes = 0;       // two bytes for each element
  std::uint64_t available_bytes = 0;
  std::vector<NpuVerdict> families;
};

namespace detail {

// Describes a format of model files as an NpuForm, so that it can be compared with the forms that the stacks take (npu.hpp).
constexpr NpuForm npu_form_of(FormatId id) {
  NpuForm form{"", NpuScales::none, 32, 0, ""};
  with_format(id, [&]<class F>(F) {
    form.name = F::name;
    if constexpr (QuantisedFormat<F>) {
      form.bits = F::code_bits;
      form.group = static_cast<unsigned>(F::has_sub_scales ? F::group_weights : F::block_weights);
      form.scales = F::is_codebook ? NpuScales::codebook : F::has_minimum ? NpuScales::group_zero : NpuScales::group;
      if constexpr (requires(const std::byte* block) { F::zero(block); }) {  // the format has its own zero points
        form.scales = NpuScales::group_zero;
        form.bits = 4;
      }
      if constexpr (RowScaledFormat<F>) {
        form.scales = F::has_sub_scales ? NpuScales::integer : NpuScales::channel;
        form.group = F::has_sub_scales ? static_cast<unsigned>(F::block_weights) : 0;
      }
    } else if constexpr (std::is_same_v<PanelFormat<F>, F>) {
      form.bits = 8 * F::block_bytes;
    } else {
      form.scales = NpuScales::exponent;
      form.bits = 9;
      form.group = F::block_weights;
    }
  });
  return form;
}

// Whether weights in the form `found` can be stored in the form `taken` without any rounding.
constexpr bool is_taken(const NpuForm& found, const NpuForm& taken) {
  const bool has_zero_in_the_middle = found.scales == NpuScales::group && taken.scales == NpuScales::group_zero;
  return (found.scales == taken.scales || has_zero_in_the_middle) && found.bits == taken.bits && found.group == taken.group;
}

// Returns how many bytes a matrix of N rows and K columns takes if its weights have the form `form`.
constexpr std::uint64_t npu_bytes(const NpuForm& form, std::uint64_t N, std::uint64_t K) {
  if (form.scales == NpuScales::none) return N * K * form.bits / 8;
  if (form.scales == NpuScales::exponent) return N * ((K + 7) / 8) * 9;
  const std::uint64_t codes = N * ((K * form.bits + 7) / 8);
  const std::uint64_t groups = form.group == 0 ? 0 : N * ((K + form.group - 1) / form.group);
  switch (form.scales) {
    case NpuScales::channel: return codes + N * sizeof(float);
    case NpuScales::integer: return codes + N * sizeof(float) + groups;             // a byte for each group's integer
    case NpuScales::group_zero: return codes + groups * sizeof(f16) + (groups + 1) / 2;  // and 4 bits for each zero point
    default: return codes + groups * sizeof(f16);
  }
}

// The reason why the stack of an NPU does not take weights in the form `found` as they are.
inline std::string npu_refusal_reason(const NpuDescriptor& npu, const NpuForm& found) {
  bool takes_zero_points = false, takes_groups = false;
  std::string forms;
  for (const NpuForm& form : npu.forms) {
    takes_zero_points = takes_zero_points || form.scales == NpuScales::group_zero;
    takes_groups = takes_groups || form.scales == NpuScales::group || form.scales == NpuScales::group_zero;
    forms += concat(forms.empty() ? "" : ", ", form.name);
  }
  std::string why;
  switch (found.scales) {
    case NpuScales::none: why = concat("floats of ", found.bits, " bits are not quantised"); break;
    case NpuScales::exponent: why = "weights that share an exponent are not known to it"; break;
    case NpuScales::integer: why = "it has no integer block scales"; break;
    case NpuScales::codebook: why = "its weights are levels of a table"; break;
    case NpuScales::channel: why = concat("it takes no ", found.bits, " bits per channel"); break;
    case NpuScales::group_zero:
      why = takes_zero_points ? concat("found ", found.bits, " bits in groups of ", found.group)
                              : "its weights are asymmetric (zero points or minimums); only symmetric ones are taken";
      break;
    case NpuScales::group:
      why = takes_groups ? concat("found ", found.bits, " bits in groups of ", found.group)
                         : concat("its scales for ", found.group, " weights are floats, which need fp16 activations");
      break;
  }
  return concat(why, "; ", npu.stack, " takes ", forms);
}

struct NpuModel {
  std::vector<std::vector<const TensorInfo*>> layers;  // the matrices of each layer
  std::uint64_t kv_bytes_per_layer = 0;
};

inline Result<NpuModel> npu_model(const ModelSource& source, const ModelConfig& config, std::size_t context) {
  NpuModel model;
  model.layers.resize(config.n_layers);
  model.kv_bytes_per_layer = std::uint64_t{2} * 2 * config.n_kv_heads * config.head_dim * context;
  for (std::size_t layer = 0; layer < config.n_layers; ++layer) {
    for (const std::string_view name : {"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"}) {
      const Result<const TensorInfo*> tensor = source.require_tensor(concat("blk.", layer, ".", name, ".weight"));
      if (!tensor) return tensor.error();
      model.layers[layer].push_back(*tensor);
    }
  }
  return model;
}

// Divides the layers into as few parts as possible, with at most `most` bytes in a part. A part is some whole layers one after
// the other.
inline std::vector<NpuPart> npu_fewest_parts(const std::vector<std::uint64_t>& layer_bytes, std::uint64_t most) {
  std::vector<NpuPart> parts;
  for (std::size_t layer = 0; layer < layer_bytes.size(); ++layer) {
    if (layer_bytes[layer] > most) return {};
    if (parts.empty() || parts.back().bytes + layer_bytes[layer] > most) parts.push_back({layer, 0, 0});
    ++parts.back().layers;
    parts.back().bytes += layer_bytes[layer];
  }
  return parts;
}

// Divides the layers into as many parts as npu_fewest_parts() does, but gives all parts about the same number of layers, unless one
// of these parts would have more than `most` bytes.
inline std::vector<NpuPart> npu_parts(const std::vector<std::uint64_t>& layer_bytes, std::uint64_t most) {
  const std::vector<NpuPart> fewest = npu_fewest_parts(layer_bytes, most);
  std::vector<NpuPart> even;
  for (std::size_t p = 0; p < fewest.size(); ++p) {
    const std::size_t first = p * layer_bytes.size() / fewest.size(), end = (p + 1) * layer_bytes.size() / fewest.size();
    even.push_back({first, end - first, 0});
    for (std::size_t layer = first; layer < end; ++layer) even.back().bytes += layer_bytes[layer];
    if (even.back().bytes > most) return fewest;
  }
  return even;
}

// Returns, for each layer, how many bytes its matrices take if their weights have the form `form`.
inline std::vector<std::uint64_t> npu_weight_bytes(const NpuForm& form, const NpuModel& model) {
  std::vector<std::uint64_t> out;
  for (const auto& layer : model.layers) {
    out.push_back(0);
    for (const TensorInfo* tensor : layer) out.back() += npu_bytes(form, tensor->rows(), tensor->columns());
  }
  return out;
}

// Divides layers, whose matrices have `weight_bytes`, into the parts that a process can map for the NPU.
inline std::vector<NpuPart> npu_parts(const NpuDescriptor& npu, const NpuModel& model, std::vector<std::uint64_t> weight_bytes) {
  for (std::uint64_t& bytes : weight_bytes) bytes += model.kv_bytes_per_layer;
  return npu_parts(weight_bytes, npu.mapping_bytes.is_known() ? npu.mapping_bytes.value : ~std::uint64_t{0});
}

inline NpuFormVerdict npu_form_verdict(const NpuDescriptor& npu, const NpuForm& form, const NpuModel& model, const NpuReport& report) {
  NpuFormVerdict verdict;
  verdict.form = &form;
  for (const auto& layer : model.layers) {
    for (const TensorInfo* tensor : layer) {
      if (form.group == 0 || tensor->columns() % form.group == 0 || !verdict.refused.empty()) continue;
      verdict.refused =
          concat("'", printable(tensor->name), "' has ", tensor->columns(), " columns, which is not a multiple of ", form.group);
    }
  }
  const std::vector<std::uint64_t> weight_bytes = npu_weight_bytes(form, model);
  for (const std::uint64_t bytes : weight_bytes) verdict.weight_bytes += bytes;
  verdict.parts = npu_parts(npu, model, weight_bytes);
  verdict.total_bytes = verdict.weight_bytes + report.kv_bytes + report.host_bytes;
  verdict.fits = verdict.refused.empty() && !verdict.parts.empty() && verdict.total_bytes <= report.available_bytes;
  return verdict;
}

// Adds to the verdict what the software of the NPU does not take: formats of the layers' matrices, dynamic shapes, a context that is too
// long, and too little memory.
inline void add_npu_refusals(NpuVerdict& verdict, const NpuModel& model, const NpuReport& report) {
  const NpuDescriptor& npu = *verdict.npu;
  std::vector<std::pair<FormatId, std::size_t>> counts;
  for (const auto& layer : model.layers) {
    for (const TensorInfo* tensor : layer) {
      std::size_t i = 0;
      while (i < counts.size() && counts[i].first != tensor->format) ++i;
      if (i == counts.size()) counts.push_back({tensor->format, 0});
      ++counts[i].second;
    }
  }
  for (const auto& [format, count] : counts) {
    const NpuForm found = npu_form_of(format);
    bool taken = false;
    for (const NpuForm& form : npu.forms) taken = taken || is_taken(found, form);
    if (taken) continue;
    verdict.refused.push_back({concat(count, count == 1 ? " matrix of " : " matrices of ", found.name, " as they are"),
                               npu_refusal_reason(npu, found), npu.forms_source});
  }
  std::string graphs = "a graph has one size";
  if (npu.prompt_tokens.is_known()) {
    graphs += concat(": one for ", npu.prompt_tokens.value, " tokens of a prompt and one for a token");
  }
  verdict.refused.push_back({"dynamic shapes", concat(graphs, ", prompts padded and masked"), npu.shapes.source});
  if (npu.fixed_context.is_known() && report.context > npu.fixed_context.value) {
    verdict.refused.push_back({concat("a context of ", report.context, " tokens"),
                               concat(npu.stack, "'s packages end at ", npu.fixed_context.value), npu.fixed_context.source});
  }
  constexpr std::uint64_t above_7b = 8'000'000'000;
  if (!npu.memory.text.empty() && report.layer_weights > above_7b && report.available_bytes <= 16'000'000'000) {
    verdict.refused.push_back({"16 GB of memory", std::string(npu.memory.text), npu.memory.source});
  }
}

}  // namespace detail

// Divides the layers of a model into the parts that a process can map for the NPU, as check_npus() does. `weights` is the format of the
// matrices, and `context` is the number of positions of the KV cache. Returns no parts if a single layer is too large, and one part if
// the NPU's limit is unknown. It is an error if a layer lacks a matrix.
inline Result<std::vector<NpuPart>> npu_parts(const NpuDescriptor& npu, FormatId weights, const ModelSource& source,
                                              const ModelConfig& config, std::size_t context) {
  const Result<detail::NpuModel> model = detail::npu_model(source, config, context);
  if (!model) return model.error();
  return detail::npu_parts(npu, *model, detail::npu_weight_bytes(detail::npu_form_of(weights), *model));
}

// Compares the model with all NPUs of npu.hpp. It is an error if read_model_config() refuses the model, or if a layer lacks a matrix.
inline Result<NpuReport> check_npus(const ModelSource& source, const NpuCheckOptions& options = {}) {
  const Result<ModelConfig> config = read_model_config(source);
  if (!config) return config.error();
  constexpr std::size_t usual_context = 4096;
  NpuReport report;
  report.layers = config->n_layers;
  report.context = options.context != 0 ? options.context : config->context < usual_context ? config->context : usual_context;
  if (report.context > config->context) {
    return Error{ErrorKind::bad_argument, concat("a context of ", report.context, " tokens; this model was trained for ", config->context)};
  }
  const Result<detail::NpuModel> model = detail::npu_model(source, *config, report.context);
  if (!model) return model.error();
  const Result<const TensorInfo*> embedding = source.require_tensor("token_embd.weight");
  if (!embedding) return embedding.error();
  const TensorInfo* head = source.find_tensor("output.weight");
  report.host_bytes = (*embedding)->size_bytes + (head != nullptr ? head->size_bytes : 0);
  report.kv_bytes = model->kv_bytes_per_layer * report.layers;
  report.available_bytes = options.memory_bytes > options.reserved_bytes ? options.memory_bytes - options.reserved_bytes : 0;
  for (const auto& layer : model->layers) {
    for (const TensorInfo* tensor : layer) report.layer_weights += tensor->rows() * tensor->columns();
  }
  for (const NpuDescriptor& npu : npu_descriptors) {
    if (!report.families.empty() && report.families.back().npu->family == npu.family) continue;
    NpuVerdict verdict;
    verdict.npu = &npu;
    for (const NpuForm& form : npu.forms) {
      verdict.forms.push_back(detail::npu_form_verdict(npu, form, *model, report));
      verdict.fits = verdict.fits || verdict.forms.back().fits;
    }
    detail::add_npu_refusals(verdict, *model, report);
    report.families.push_back(std::move(verdict));
  }
  return report;
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
