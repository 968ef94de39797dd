// SPDX-License-Identifier: Apache-2.0
//
// The matrices that matmul_bench.cpp and onednn.cpp multiply with, and how many copies of them are needed so that no cache holds all.
#pragma once

#include <algorithm>
#include <cstddef>
#include <fstream>
#include <string>
#include <vector>

#include "common.hpp"

namespace stilla_bench {

struct MatrixShape {
  std::size_t N, K;

  bool operator==(const MatrixShape&) const = default;
};

// The matrices of one benchmark, in the order in which an iteration uses them.
struct MatmulCase {
  const char* kind;
  std::string name;
  std::vector<MatrixShape> shapes;
};

inline std::vector<MatmulCase> matmul_cases() {
  std::vector<MatmulCase> out;
  for (const ModelShape& model : models) {
    const std::size_t E = model.hidden, F = model.ffn;
    const std::size_t query = model.n_heads * head_dim, kv = model.n_kv_heads * head_dim;
    const auto add = [&](const char* matrix, std::size_t N, std::size_t K) {
      out.push_back({"MatMul", stilla::concat(model.name, "_", matrix), {{N, K}}});
    };
    add("q", query, E);
    add("kv", kv, E);
    add("qkv", query + 2 * kv, E);
    add("gate", F, E);
    add("gate_up", 2 * F, E);
    add("down", E, F);
    add("head", model.vocabulary, E);
    out.push_back({"Layer", model.name, {{query, E}, {kv, E}, {kv, E}, {E, query}, {F, E}, {F, E}, {E, F}}});
  }
  return out;
}

inline constexpr std::size_t token_counts[] = {1, 2, 4, 8, 16, 32, 128, 512};

inline double weights_of(const std::vector<MatrixShape>& shapes) {
  double weights = 0;
  for (const MatrixShape& shape : shapes) weights += static_cast<double>(shape.N) * static_cast<double>(shape.K);
  return weights;
}

// Returns how many copies of something that takes `bytes` bytes are needed to fill 1 GiB (roofline_bytes), which is more than any cache
// holds. The result is smaller if there is no memory for so many copies, and 0 if there is no memory for even one. The `held` bytes that
// the caller already has count as free memory.
inline std::size_t copies_that_fit(std::size_t bytes, std::size_t held) {
  const std::size_t wanted = (roofline_bytes + bytes - 1) / bytes;
  std::ifstream meminfo("/proc/meminfo");
  std::string key;
  std::size_t kilobytes = 0;
  while (meminfo >> key) {
    if (key == "MemAvailable:" && meminfo >> kilobytes) return std::min(wanted, (kilobytes * 1024 / 4 * 3 + held) / bytes);
  }
  return wanted;  // the system does not say how much memory is free
}

// Registers the benchmarks of oneDNN. This function is defined in onednn.cpp.
void register_onednn();

}  // namespace stilla_bench
