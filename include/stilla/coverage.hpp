// SPDX-License-Identifier: Apache-2.0
//
// Which kernel really runs: op x format x target -> the target whose code it is. A kernel that a target does not have
// is inherited from the one it falls back to (include/stilla/contract/), which is right but slower, and nothing at
// run time would tell. Every kernel says whose it is in `implemented_on`; this header asks all of them.
//
//   for (const stilla::CoverageEntry& e : stilla::coverage())
//     if (e.implemented_on != e.target) ...            // e.op, e.variant on e.target runs e.implemented_on's kernel
//
// Ops that are plain C++ on every target (residual addition, embedding lookup, filters of sampling) have no kernels and no entry.
// README.md holds coverage_markdown(); tests/coverage_test.cpp fails when the two differ.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <stilla/activation.hpp>
#include <stilla/attention.hpp>
#include <stilla/format/format.hpp>
#include <stilla/kv_cache.hpp>
#include <stilla/matmul.hpp>
#include <stilla/norm.hpp>
#include <stilla/rope.hpp>
#include <stilla/softmax.hpp>
#include <stilla/targets.hpp>

namespace stilla { inline namespace STILLA_ABI {

struct CoverageEntry {
  std::string_view op;
  std::string_view variant;  // weight format of a matmul, element type of a KV cache; empty where there is one form
  TargetId target;           // what was asked for
  TargetId implemented_on;   // whose kernel runs
};

namespace detail {

// f(kernel, op, variant) for every kernel of one target, in the order of the tables.
template <class Target, class F>
void for_each_kernel(F&& f) {
  for_each_type(Formats{}, [&](auto format) {
    using Format = decltype(format);
    f(MatmulPanels<Target, Format>{}, "matmul", Format::name);
  });
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

// One entry for every op, variant and target that this program was compiled with, whether or not this CPU has the
// target. Target by target, best first; the ops of every target in the same order.
inline std::vector<CoverageEntry> coverage() {
  std::vector<CoverageEntry> entries;
  for_each_type(Targets{}, [&](auto target) {
    using T = decltype(target);
    detail::for_each_kernel<T>([&](auto kernel, std::string_view op, std::string_view variant) {
      entries.push_back({op, variant, T::id, decltype(kernel)::implemented_on});
    });
  });
  return entries;
}

// coverage() as two Markdown tables, matmul by format and the other ops: a column for each target, in each cell whose
// kernel runs. Ends in a newline.
inline std::string coverage_markdown() {
  const std::vector<CoverageEntry> entries = coverage();
  const std::size_t per_target = entries.size() / Targets::size;
  std::string out;
  for (const bool is_matmul : {true, false}) {
    out += is_matmul ? "| matmul, weights in |" : "\n| other ops |";
    std::string rule = "\n|---|";
    for (std::size_t t = 0; t < Targets::size; ++t) {
      out += concat(" ", entries[t * per_target].target.name, " |");
      rule += "---|";
    }
    out += rule + "\n";
    for (std::size_t row = 0; row < per_target; ++row) {
      const CoverageEntry& first = entries[row];
      if ((first.op == "matmul") != is_matmul) continue;
      if (is_matmul) {
        out += concat("| ", first.variant, " |");
      } else {
        out += concat("| ", first.op, first.variant.empty() ? "" : " over ", first.variant, " |");
      }
      for (std::size_t t = 0; t < Targets::size; ++t) {
        out += concat(" ", entries[t * per_target + row].implemented_on.name, " |");
      }
      out += "\n";
    }
  }
  return out;
}

}}  // namespace stilla
