// SPDX-License-Identifier: Apache-2.0
//
// The program `forms FILE` computes the NPU's ops in every form and writes the results into a file. If the program is built for
// Hexagon, it runs the kernels with HVX. If it is built for anything else, it runs the contract's specification. run.sh compares
// the two files byte for byte.
//
// Matrices are tested with one scale per channel (row) and with LPBQ blocks of 32, 64 and 128; with tokens of int8 and int16; with
// 1, 3, 4 and 64 tokens; and with every K of the R1 distills of 1.5B, 7B and 14B (hidden and FFN sizes). Rows 0 and 1 have only
// extreme codes and block scales, and tokens 0 and 1 only extreme values, so that their products are the largest sums that are
// possible. There are 130 rows: a whole panel of 128 rows, and a panel that has only two.
#include <stilla/contract/npu.hpp>
#include <stilla/contract/npu_fixed_point.hpp>
#if defined(__HVX__)
#include <stilla/npu_hexagon/fixed_point.hpp>
#include <stilla/npu_hexagon/matmul.hpp>
#endif

#include "runtime.hpp"

namespace {

using namespace stilla;

constexpr size_t rows = 130, max_k = 18944, max_tokens = 64;
constexpr size_t all_k[] = {1536, 8960, 3584, 18944, 5120, 13824};
constexpr size_t hidden[] = {1536, 3584, 5120}, ffn[] = {8960, 18944, 13824};
constexpr size_t blocks[] = {0, 32, 64, 128};  // 0: per channel
constexpr npu::NormFormat norm_formats[] = {{12, 10}, {15, 14}, {9, 0}};
constexpr size_t positions[] = {0, 1, 500}, score_counts[] = {64, 320, 4096};
constexpr int norm_shifts[] = {0, 7}, gate_fractions[] = {1, 6, 11}, gate_shifts[] = {0, 9, 15, 30};

uint32_t bits(uint32_t seed, size_t i) {
  uint32_t x = static_cast<uint32_t>(i) * 0x9e3779b9u + seed * 0x85ebca6bu;
  x = (x ^ x >> 16) * 0x7feb352du;
  x = (x ^ x >> 15) * 0x846ca68bu;
  return x ^ x >> 16;
}

// Weights with a copy of the block scale for every weight, so that the specification can look it up without a division.
struct SpreadWeights {
  uint8_t codes[rows * max_k];
  uint8_t scales[rows * max_k];
  float channel_scales[rows];
  size_t K;

  int code(size_t n, size_t k) const { return codes[n * K + k]; }
  int block_scale(size_t n, size_t k) const { return scales[n * K + k]; }
  float channel_scale(size_t n) const { return channel_scales[n]; }
};
SpreadWeights weights;

void make_weights(size_t K, size_t block) {
  weights.K = K;
  for (size_t n = 0; n < rows; ++n) {
    const uint32_t seed = 3 * static_cast<uint32_t>(n);
    for (size_t k = 0; k < K; ++k) {
      weights.codes[n * K + k] = static_cast<uint8_t>(n == 0 ? 0 : n == 1 ? 15 : bits(seed, k) >> 28);
      if (block == 0) {
        weights.scales[n * K + k] = 1;
      } else if (k % block == 0) {
        weights.scales[n * K + k] = static_cast<uint8_t>(n < 2 ? 15 : 1 + (bits(seed + 1, k) >> 24) % 15u);
      } else {
        weights.scales[n * K + k] = weights.scales[n * K + k - 1];
      }
    }
    weights.channel_scales[n] = static_cast<float>(static_cast<int32_t>(bits(seed + 2, 0))) * 0x1p-38f;
  }
}

template <class A>
struct Tokens {
  A values[max_tokens * max_k];
  float scales[max_tokens];
};
Tokens<int8_t> tokens8;
Tokens<int16_t> tokens16;

template <class A>
void make_tokens(Tokens<A>& tokens, size_t K) {
  constexpr int shift = 32 - 8 * static_cast<int>(sizeof(A));
  for (size_t m = 0; m < max_tokens; ++m) {
    const uint32_t seed = 1000 + static_cast<uint32_t>(m);
    for (size_t k = 0; k < K; ++k) {
      const uint32_t value = m == 0 ? 0x80000000u : m == 1 ? 0x7fffffffu : bits(seed, k);
      tokens.values[m * K + k] = static_cast<A>(static_cast<int32_t>(value) >> shift);
    }
    tokens.scales[m] = static_cast<float>(bits(seed, K) >> 8) * 0x1p-30f;
  }
}

float y[max_tokens * rows], bias[rows];

#if defined(__HVX__)
alignas(128) uint8_t panels[hexagon::panel_count(rows) * hexagon::panel_bytes(hexagon::WeightForm::lpbq, max_k)];
alignas(128) uint8_t columns[hexagon::columns_bytes(npu::Activations::int16, max_tokens, max_k)];
#endif

// Writes a record of the output file: four numbers that say which op, and which of its shapes, the result belongs to, and the
// bytes of the result.
bool put(OutFile& file, int32_t kind, size_t a, size_t b, size_t c, const void* data, size_t bytes) {
  const int32_t head[4] = {kind, static_cast<int32_t>(a), static_cast<int32_t>(b), static_cast<int32_t>(c)};
  return file.write(head, sizeof head) && file.write(data, bytes);
}

template <class A>
bool multiply(OutFile& file, const Tokens<A>& tokens, size_t K, size_t block, size_t first, size_t M) {
  const A* a = tokens.values + first * K;
  const float* const b = M % 2 == 0 ? bias : nullptr;
#if defined(__HVX__)
  hexagon::pack_columns(columns, a, M, K);
  hexagon::MatmulArgs args;
  args.panels = panels;
  args.form = block == 0 ? hexagon::WeightForm::per_channel : hexagon::WeightForm::lpbq;
  args.N = rows;
  args.K = K;
  args.columns = columns;
  args.activations = sizeof(A) == 1 ? npu::Activations::int8 : npu::Activations::int16;
  args.token_scales = tokens.scales + first;
  args.M = M;
  args.bias = b;
  args.y = y;
  args.y_stride = rows;
  hexagon::matmul<hexagon::Hvx>(args, 0, hexagon::panel_count(rows));
#else
  npu::scalar::matmul(y, weights, rows, K, a, tokens.scales + first, M, b);
#endif
  return put(file, static_cast<int32_t>(8 * sizeof(A)), block, K, M, y, M * rows * sizeof(float));
}

// Tokens 0 and 1 have the extreme values. A product of one token is computed once with token 0 and once with token 2.
template <class A>
bool multiply_all(OutFile& file, const Tokens<A>& tokens, size_t K, size_t block) {
  return multiply(file, tokens, K, block, 2, 1) && multiply(file, tokens, K, block, 0, 1) && multiply(file, tokens, K, block, 0, 3) &&
         multiply(file, tokens, K, block, 0, 4) && multiply(file, tokens, K, block, 0, 64);
}

bool put_matrices(OutFile& file) {
  for (size_t n = 0; n < rows; ++n) bias[n] = static_cast<float>(static_cast<int32_t>(bits(7, n))) * 0x1p-31f;
  for (const size_t K : all_k) {
    make_tokens(tokens8, K);
    make_tokens(tokens16, K);
    for (const size_t block : blocks) {
      make_weights(K, block);
#if defined(__HVX__)
      hexagon::pack(panels, block == 0 ? hexagon::WeightForm::per_channel : hexagon::WeightForm::lpbq, weights, rows, K);
#endif
      if (!multiply_all(file, tokens8, K, block) || !multiply_all(file, tokens16, K, block)) return false;
    }
  }
  return true;
}

alignas(128) int16_t first[max_k], second[max_k], out[max_k];
alignas(128) int32_t sums[max_k];

#if defined(__HVX__)
template <class... Args>
void rms_norm(Args... args) {
  hexagon::rms_norm<hexagon::Hvx>(args...);
}
template <class... Args>
void rope(Args... args) {
  hexagon::rope<hexagon::Hvx>(args...);
}
template <class... Args>
void softmax(Args... args) {
  hexagon::softmax<hexagon::Hvx>(args...);
}
template <class... Args>
void swiglu(Args... args) {
  hexagon::swiglu<hexagon::Hvx>(args...);
}
template <class... Args>
int hadamard(Args... args) {
  return hexagon::hadamard<hexagon::Hvx>(args...);
}
#else
using namespace npu::scalar;
#endif

void make_values(size_t n, uint32_t seed, int shift) {
  for (size_t i = 0; i < n; ++i) {
    first[i] = static_cast<int16_t>(static_cast<int32_t>(bits(seed, i)) >> 16 >> shift);
    second[i] = static_cast<int16_t>(bits(seed + 1, i) >> 16);
  }
  first[0] = first[1] = second[1] = second[2] = INT16_MIN;
  first[3] = second[3] = second[4] = INT16_MAX;
}

// Writes the results of Hadamard transforms. The lengths are those of the inputs of the matrix down, and others whose runs (values that one
// transform mixes) have 64 or more values. The values are noise, values that give the largest sum that is possible in a run, and zeros.
bool put_transforms(OutFile& file) {
  constexpr size_t widths[] = {8960, 18944, 13824, 64, 192, 640, 16384};
  for (const size_t n : widths) {
    for (int kind = 0; kind < 4; ++kind) {
      make_values(n, 26, kind % 3 * 7);
      for (size_t i = 0; i < n && kind == 2; ++i) first[i] = INT16_MIN;
      for (size_t i = 0; i < n && kind == 3; ++i) first[i] = 0;
      const int shift = hadamard(out, sums, first, n);
      if (!put(file, 5, n, static_cast<size_t>(kind), static_cast<size_t>(shift), out, 2 * n)) return false;
    }
  }
  return true;
}

bool put_fixed_point(OutFile& file) {
  for (const size_t n : hidden) {
    for (const int shift : norm_shifts) {
      make_values(n, 21, shift);
      for (const npu::NormFormat f : norm_formats) {
        rms_norm(out, first, second, n, uint64_t{n} * 5, f);
        if (!put(file, 1, n, static_cast<size_t>(f.weight_fraction), static_cast<size_t>(shift), out, 2 * n)) return false;
      }
    }
  }
  for (const size_t position : positions) {  // from pair to pair the angle of the rotation grows by about position / 1024
    make_values(128, 23, 0);
    int32_t c = 15000, s = 0;  // in the loop below, c grows up to 15500 with the largest position
    for (size_t i = 0; i < 64; ++i) {
      second[i] = static_cast<int16_t>(c);
      out[i] = static_cast<int16_t>(s);
      const int32_t turned = c - s * static_cast<int32_t>(position) / 1024;
      s = s + turned * static_cast<int32_t>(position) / 1024;
      c = turned;
    }
    rope(first, second, out, size_t{64});
    if (!put(file, 2, position, 0, 0, first, 256)) return false;
  }
  for (const size_t n : score_counts) {
    for (int fraction = 1; fraction <= npu::largest_score_fraction; ++fraction) {
      make_values(n, 24, fraction % 4);
      softmax(out, first, n, fraction);
      if (!put(file, 3, n, static_cast<size_t>(fraction), 0, out, 2 * n)) return false;
    }
  }
  for (const size_t n : ffn) {
    for (const int fraction : gate_fractions) {
      for (const int shift : gate_shifts) {
        make_values(n, 25, 0);
        swiglu(out, first, second, n, fraction, shift);
        if (!put(file, 4, n, static_cast<size_t>(fraction), static_cast<size_t>(shift), out, 2 * n)) return false;
      }
    }
  }
  return put_transforms(file);
}

}  // namespace

int run(const char* path) {
  OutFile file(path);
  const bool written = put_fixed_point(file) && put_matrices(file);
  if (!file.close() || !written) {
    say("forms: cannot write the file\n");
    return 1;
  }
  return 0;
}
