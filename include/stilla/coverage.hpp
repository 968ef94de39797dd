// SPDX-License-Identifier: Apache-2.0
//
// Tells which kernel really runs: for each op, format and target, coverage() names the target whose code runs. If a target has no
// kernel of its own for an op, the templates in include/stilla/contract/ give it the kernel of its fallback. That kernel is correct
// but slower, and only coverage() shows at run time that it is used. Every kernel says in `implemented_on` which target it belongs to.
// coverage() asks all kernels.
//
//   for (const stilla::CoverageEntry& e : stilla::coverage())
//     if (e.implemented_on != e.target) ...            // e.op, e.variant on e.target runs e.implemented_on's kernel
//
// Ops that are plain C++ on every target (residual addition, embedding lookup, filters of sampling) have no kernels and no entry.
// kernels/coverage.md contains the output of coverage_markdown(); tests/coverage_test.cpp fails if the two differ.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <stilla/base/error.hpp>
#include <stilla/format/format.hpp>
#include <stilla/targets.hpp>
#if STILLA_COMPILE_KERNELS
#include <stilla/all_targets/attention.hpp>
#include <stilla/all_targets/elementwise.hpp>
#include <stilla/all_targets/matmul.hpp>
#include <stilla/all_targets/pack.hpp>
#endif

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

struct CoverageEntry {
  std::string_view op;
  std::string_view variant;  // weight format of a matmul, element type of a KV cache; empty if there is only one form
  TargetId target;           // what was asked for
  TargetId implemented_on;   // the target whose kernel runs
};

// Returns one entry for every op, variant and target that this program was compiled with, whether or not this CPU has the target. The
// entries are ordered by target, best first. Within every target the ops have the same order.
STILLA_KERNEL_LINKAGE std::vector<CoverageEntry> coverage();

#if STILLA_COMPILE_KERNELS
namespace detail {

// Calls f(kernel, op, variant) for every kernel of one target. `op` is the name of the op; `variant` names the format of the weights or
// the type of the cache that the kernel is for, and is empty for ops that have neither.
template <class Target, class F>
void for_each_kernel(F&& f) {
  for_each_type(Formats{}, [&](auto format) {
    using Format = decltype(format);
    f(MatmulPanels<Target, PanelFormat<Format>>{}, "matmul", Format::name);
  });
  for_each_type(Formats{}, [&](auto format) { f(PackPanel<Target, decltype(format)>{}, "pack", decltype(format)::name); });
  f(QuantiseQ8<Target>{}, "quantise activations", "");
  f(RmsNorm<Target>{}, "rms_norm", "");
  f(Rope<Target>{}, "rope", "");
  f(AttentionChunk<Target, float>{}, "attention", "f32");
  f(AttentionChunk<Target, f16>{}, "attention", "f16");
  f(AttentionChunk<Target, bf16>{}, "attention", "bf16");
  f(AttentionChunk<Target, KvInt8>{}, "attention", "int8");
  f(AttentionChunk<Target, KvInt5>{}, "attention", "int5");
  f(AttentionMerge<Target>{}, "attention, merge", "");
  f(Hadamard<Target>{}, "hadamard", "");
  f(SiluMul<Target>{}, "silu_mul", "");
  f(Softmax<Target>{}, "softmax", "");
  f(HighestLogits<Target>{}, "sampling, highest logits", "");
  f(LogitWeights<Target>{}, "sampling, weights", "");
}

}  // namespace detail

STILLA_KERNEL_LINKAGE std::vector<CoverageEntry> coverage() {
  std::vector<CoverageEntry> entries;
  for_each_type(Targets{}, [&](auto target) {
    using T = decltype(target);
    detail::for_each_kernel<T>([&](auto kernel, std::string_view op, std::string_view variant) {
      entries.push_back({op, variant, T::id, decltype(kernel)::implemented_on});
    });
  });
  return entries;
}
#endif

// The target whose kernel runs if `target` is asked for this op and variant. The id is empty if coverage() has no such entry.
inline TargetId implementer(std::string_view op, std::string_view variant, TargetId target) {
  for (const CoverageEntry& entry : coverage()) {
    if (entry.op == op && entry.variant == variant && entry.target == target) return entry.implemented_on;
  }
  return {};
}

// Returns coverage() as a Markdown table. It has a row for each target of this architecture; each cell names the target whose
// kernel runs. Ops whose kernels come from the same targets share a column. The text ends with a newline.
inline std::string coverage_markdown() {
  struct Column {
    std::string ops;
    std::string_view last_op;
    std::vector<TargetId> implementers;
  };
  const std::vector<CoverageEntry> entries = coverage();
  const std::size_t per_target = entries.size() / Targets::size;
  std::vector<Column> columns;
  for (std::size_t i = 0; i < per_target; ++i) {
    const CoverageEntry& entry = entries[i];
    std::vector<TargetId> implementers;
    for (std::size_t t = 0; t < Targets::size; ++t) implementers.push_back(entries[t * per_target + i].implemented_on);
    std::size_t c = 0;
    while (c < columns.size() && columns[c].implementers != implementers) ++c;
    if (c == columns.size()) columns.push_back({{}, {}, std::move(implementers)});
    Column& column = columns[c];
    const bool goes_on = column.last_op == entry.op;
    column.ops += column.ops.empty() ? "" : goes_on ? ", " : "; ";
    if (!goes_on) column.ops += concat(entry.op, entry.variant.empty() ? "" : " over ");
    column.ops += entry.variant;
    column.last_op = entry.op;
  }
  std::string out = "| target |", rule = "\n|---|";
  for (const Column& column : columns) {
    out += concat(" ", column.ops, " |");
    rule += "---|";
  }
  out += rule + "\n";
  for (std::size_t t = 0; t < Targets::size; ++t) {
    out += concat("| ", entries[t * per_target].target.name, " |");
    for (const Column& column : columns) out += concat(" ", column.implementers[t].name, " |");
    out += "\n";
  }
  return out;
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
