// SPDX-License-Identifier: Apache-2.0
//
// stilla npu: shows what is known of NPUs, and whether a model suits them. Nothing in this file runs on an NPU.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <stilla/io/model_source.hpp>
#include <stilla/model/npu.hpp>
#include <stilla/model/npu_check.hpp>
#include <stilla/npu_hexagon/schedule.hpp>
#include <stilla/npu_xdna/schedule.hpp>

#include "commands.hpp"
#include "embedded_model.hpp"
#include "engine.hpp"
#include "loading.hpp"
#include "options.hpp"
#include "output.hpp"

namespace program {
namespace {

using Json = nlohmann::ordered_json;

struct NpuOptions {
  std::string model;
  std::size_t context = 0;
  std::uint64_t memory_gb = 16;
  bool json = false;
};

std::string gigabytes(std::uint64_t bytes) { return bytes_text(static_cast<double>(bytes)); }

// Returns what is known of an NPU, as text.

std::string descriptor_text(const stilla::NpuDescriptor& npu) {
  std::string out = fmt::format("{}: {}, {}, by {}\n", npu.name, npu.family, npu.product, npu.stack);
  const auto line = [&](std::string_view field, std::string_view value, std::string_view source) {
    out += fmt::format("  {:<22}  {}{}\n", field, value, source.empty() ? "" : fmt::format("  [{}]", source));
  };
  stilla::for_each_npu_fact(npu, line);
  for (const stilla::NpuForm& form : npu.forms) line("weights", form.name, form.source);
  return out;
}

Json descriptor_json(const stilla::NpuDescriptor& npu) {
  Json out{{"name", npu.name}, {"family", npu.family}, {"product", npu.product}, {"stack", npu.stack}};
  stilla::for_each_npu_fact(npu, [&](std::string_view field, std::string_view value, std::string_view source) {
    out["facts"].push_back({{"field", field}, {"value", value}, {"source", source}});
  });
  for (const stilla::NpuForm& form : npu.forms) out["weights"].push_back({{"form", form.name}, {"source", form.source}});
  return out;
}

int list(const NpuOptions& options) {
  if (options.json) {
    Json out = Json::array();
    for (const stilla::NpuDescriptor& npu : stilla::npu_descriptors) out.push_back(descriptor_json(npu));
    write_output(out.dump(2) + "\n");
    return 0;
  }
  std::string out = "TOPS are the vendors' peak figures. Nothing was measured on an NPU by this project.\n";
  for (const stilla::NpuDescriptor& npu : stilla::npu_descriptors) out += "\n" + descriptor_text(npu);
  write_output(out);
  return 0;
}

// Returns the parts into which a model's layers are divided for an NPU, as text.

std::string parts_text(const stilla::NpuFormVerdict& form) {
  if (form.parts.empty()) return "a layer is larger than a process can map";
  std::string out = fmt::format("{} part{}", form.parts.size(), form.parts.size() == 1 ? "" : "s");
  for (std::size_t i = 0; i < form.parts.size() && form.parts.size() > 1; ++i) {
    const stilla::NpuPart& part = form.parts[i];
    out += fmt::format("{} {}-{}", i == 0 ? ": layers" : ",", part.first_layer, part.first_layer + part.layers - 1);
  }
  return out;
}

std::string verdict_text(const stilla::NpuVerdict& verdict, const stilla::NpuReport& report) {
  const stilla::NpuDescriptor& npu = *verdict.npu;
  std::string out = fmt::format("\n{}, by {}: {}\n", npu.family, npu.stack, verdict.fits ? "fits" : "does not fit");
  if (npu.mapping_bytes.is_known()) {
    out += fmt::format("  a process maps {} at most  [{}]\n", gigabytes(npu.mapping_bytes.value), npu.mapping_bytes.source);
  }
  for (const stilla::NpuFormVerdict& form : verdict.forms) {
    out += fmt::format("  {:<22}  ", form.form->name);
    if (!form.refused.empty()) {
      out += fmt::format("cannot be made: {}\n", form.refused);
      continue;
    }
    const bool is_too_large = form.total_bytes > report.available_bytes;
    out += fmt::format("layers {}, {}; in all {}{}  [{}]\n", gigabytes(form.weight_bytes), parts_text(form), gigabytes(form.total_bytes),
                       is_too_large ? fmt::format(", more than {}", gigabytes(report.available_bytes)) : "", form.form->source);
  }
  for (const stilla::NpuRefusal& refusal : verdict.refused) {
    out += fmt::format("  refused: {}: {}  [{}]\n", refusal.what, refusal.reason, refusal.source);
  }
  return out;
}

Json verdict_json(const stilla::NpuVerdict& verdict) {
  Json out{{"family", verdict.npu->family}, {"stack", verdict.npu->stack}, {"fits", verdict.fits}};
  out["mapping_bytes"] = verdict.npu->mapping_bytes.is_known() ? Json(verdict.npu->mapping_bytes.value) : Json();
  out["forms"] = Json::array();
  for (const stilla::NpuFormVerdict& form : verdict.forms) {
    Json one{{"form", form.form->name},
             {"fits", form.fits},
             {"weight_bytes", form.weight_bytes},
             {"total_bytes", form.total_bytes},
             {"source", form.form->source}};
    one["refused"] = form.refused.empty() ? Json() : Json(form.refused);
    one["parts"] = Json::array();
    for (const stilla::NpuPart& part : form.parts) {
      one["parts"].push_back({{"first_layer", part.first_layer}, {"layers", part.layers}, {"bytes", part.bytes}});
    }
    out["forms"].push_back(std::move(one));
  }
  out["refused"] = Json::array();
  for (const stilla::NpuRefusal& refusal : verdict.refused) {
    out["refused"].push_back({{"what", refusal.what}, {"reason", refusal.reason}, {"source", refusal.source}});
  }
  return out;
}

// Returns how R1-Distill-Qwen's matrices go through the memory of a Hexagon DSP, as a Markdown table.
std::string hexagon_schedules() {
  using namespace stilla::hexagon;
  std::string out =
      "| VTCM | model | matrix | N x K | tokens | passes | panels a step | steps | columns | weights, twice | results, twice | in all |\n"
      "|---|---|---|---|---|---|---|---|---|---|---|---|\n";
  for (const std::size_t vtcm : vtcm_sizes) {
    for (const ModelShapes& model : r1_layers) {
      for (const MatrixShape& matrix : model.matrices) {
        for (const std::size_t M : scheduled_tokens) {
          const Schedule s = plan(matrix, WeightForm::lpbq, stilla::npu::Activations::int16, M, vtcm);
          const auto kib = [](std::size_t bytes) { return static_cast<double>(bytes) / 1024; };
          out += fmt::format("| {} MiB | {} | {} | {} x {} | {} | {} | {} | {} | {:.1f} KiB | {:.1f} KiB | {:.1f} KiB | {:.0f} % |\n",
                             vtcm >> 20, model.name, matrix.name, matrix.N, matrix.K, M, s.passes, s.panels, s.steps, kib(s.column_bytes),
                             kib(s.weight_bytes), kib(s.result_bytes), 100.0 * kib(s.bytes()) / kib(vtcm));
        }
      }
    }
  }
  return out;
}

// Prints how R1-Distill-Qwen's matrix products are divided so that they fit into the memory of an NPU, for Hexagon and XDNA2. For Intel's
// NPU4 it prints why there is no such schedule.
int schedule() {
  write_output(fmt::format(
      "How R1-Distill-Qwen's matrices go through the memories of NPUs; on paper. The compiler has asserted that each of them fits.\n\n"
      "Qualcomm Hexagon: LPBQ weights by int16 tokens in a DSP's VTCM\n\n{}\n"
      "AMD XDNA2: core tiles on all columns\n\n{}\n"
      "Intel NPU4: the size of its tiles' memory is not published, and OpenVINO's compiler divides a graph by itself, so there is no\n"
      "schedule to state here. examples/stilla/npu.md says which graphs that compiler took.\n",
      hexagon_schedules(), stilla::xdna::schedule_markdown()));
  return 0;
}

int check_model(const NpuOptions& options) {
  const std::unique_ptr<stilla::ModelSource> source = open_source(options.model);
  const ModelFacts facts = value_of(read_model_facts(*source));
  report_notes(facts);
  stilla::NpuCheckOptions check_options;
  check_options.context = options.context;
  check_options.memory_bytes = options.memory_gb * 1'000'000'000;
  const stilla::NpuReport report = value_of(stilla::check_npus(*source, check_options));
  if (options.json) {
    Json out{{"model", facts.name},
             {"layers", report.layers},
             {"layer_weights", report.layer_weights},
             {"context", report.context},
             {"kv_bytes", report.kv_bytes},
             {"embedding_and_head_bytes", report.host_bytes},
             {"available_bytes", report.available_bytes},
             {"families", Json::array()}};
    for (const stilla::NpuVerdict& verdict : report.families) out["families"].push_back(verdict_json(verdict));
    write_output(out.dump(2) + "\n");
    return 0;
  }
  const double millions = static_cast<double>(report.layer_weights) / static_cast<double>(report.layers) / 1e6;
  std::string out =
      fmt::format("{} ({}): {} layers of {:.1f}M weights in matrices\n", facts.name.empty() ? "a model without a name" : facts.name,
                  model_type_text(*source, facts), report.layers, millions);
  out += fmt::format("context {}: KV cache {}, two bytes an element; embedding and head {}, as in the file\n", report.context,
                     gigabytes(report.kv_bytes), gigabytes(report.host_bytes));
  out += fmt::format("memory {} GB, of which {} are left to the system\n", options.memory_gb, gigabytes(check_options.reserved_bytes));
  for (const stilla::NpuVerdict& verdict : report.families) out += verdict_text(verdict, report);
  out += "\nThis is what the sources in brackets state; nothing was compiled or run.\n";
  write_output(out);
  return 0;
}

}  // namespace

void add_npu(CLI::App& app, Command& chosen) {
  const auto options = std::make_shared<NpuOptions>();
  CLI::App* command = app.add_subcommand("npu", "What is known of NPUs, and whether a model suits them; nothing runs on one");
  command->require_subcommand(1);
  CLI::App* list_command = command->add_subcommand("list", "The NPUs, each number with its source");
  list_command->add_flag("--json", options->json, "As JSON");
  list_command->callback([options, &chosen] { chosen = [options] { return list(*options); }; });

  CLI::App* schedule_command = command->add_subcommand("schedule", "How R1-Distill-Qwen's matrices go through NPUs' memories, tables");
  schedule_command->callback([&chosen] { chosen = [] { return schedule(); }; });

  add_device_test(*command, chosen);

  CLI::App* check_command =
      command->add_subcommand("check", "Whether a model fits, in how many parts, with which weights, and what would be refused");
  takes_path(
      check_command->add_option("model,-m,--model", options->model, "A GGUF file, packed or not (default: the model in this program)"))
      ->type_name("FILE");
  constexpr std::size_t max_context = std::size_t{1} << 20;
  add_number<std::size_t>(*check_command, "--ctx,-c", options->context, 1, max_context,
                          "Positions of the KV cache (default: 4096, or the model's if less)");
  add_number<std::uint64_t>(*check_command, "--memory", options->memory_gb, 1, 1 << 20, "The machine's memory in GB (default: 16)");
  check_command->add_flag("--json", options->json, "As JSON, sizes in bytes");
  check_command->callback([options, &chosen] { chosen = [options] { return check_model(*options); }; });
}

}  // namespace program
