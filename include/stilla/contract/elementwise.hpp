// SPDX-License-Identifier: Apache-2.0
//
// Contracts of the float kernels on one row of n values. Each kernel is a static function run() of its struct; the comment before
// the struct gives the arguments. `out` may be the same array as an input; otherwise they do not overlap. The arrays may have any
// alignment; nothing past n is read or written. Sums run in 16 lanes that are then added in a fixed order (math.hpp).
#pragma once

#include <cstddef>
#include <cstdint>

#include <stilla/base/target.hpp>
#include <stilla/contract/hadamard.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// RMSNorm: out[i] = (x[i] * (1 / sqrt(sum(x^2) / n + epsilon))) * weight[i]. The factor is the weight itself, not 1 + weight as in
// Gemma. The kernel is called as run(out, x, weight, epsilon, n), n > 0.
template <class Target>
struct RmsNorm : RmsNorm<typename Target::Fallback> {};
using RmsNormFunction = void (*)(float* out, const float* x, const float* weight, float epsilon, std::size_t n);

// SiLU of gate times up: out[i] = g / (1 + e^-g) * up[i] with g = gate[i]; e^x is exp_approximate. The kernel is called as
// run(out, gate, up, n).
template <class Target>
struct SiluMul : SiluMul<typename Target::Fallback> {};
using SiluMulFunction = void (*)(float* out, const float* gate, const float* up, std::size_t n);

// Softmax: out[i] = e^(x[i] - max) * (1 / sum), where max is the highest x, sum is that of all e^(x[i] - max), and e^(x[i] - max)
// is 1 for x[i] == max. So values of +infinity share the whole weight, and so do all values of a row of -infinity. A row with a NaN
// gives unspecified numbers, never a fault. The kernel is called as run(out, x, n), n > 0.
template <class Target>
struct Softmax : Softmax<typename Target::Fallback> {};
using SoftmaxFunction = void (*)(float* out, const float* x, std::size_t n);

// The kernels of sampling handle n logits in blocks of 64; n is a multiple of 64. A logit that is NaN does not count.
inline constexpr std::size_t logit_block = 64;

// highest[b] is the highest logit of block b. It is -infinity if all logits of the block are NaN. The kernel is called as
// run(highest, logits, n).
template <class Target>
struct HighestLogits : HighestLogits<typename Target::Fallback> {};
using HighestLogitsFunction = void (*)(float* highest, const float* logits, std::size_t n);

// sums[b] is the sum of softmax_weight(logit, highest, temperature) (math.hpp) over block b of the logits, in 16 lanes of doubles that are
// then added in a fixed order. `highest` is the highest of all logits. The kernel is called as run(sums, logits, n, highest, temperature).
template <class Target>
struct LogitWeights : LogitWeights<typename Target::Fallback> {};
using LogitWeightsFunction = void (*)(double* sums, const float* logits, std::size_t n, float highest, float temperature);

// Rotates the pairs (a, b) of x by the angles whose cosines and sines are given:
//     a' = fma(a, cos, -(b * sin)),  b' = fma(a, sin, b * cos)
// With half_split, pair i is (x[i], x[i + pairs]), as in Qwen2 and GPT-NeoX; otherwise pair i is (x[2i], x[2i + 1]), as in Llama's
// GGUF files. The kernel is called as run(x, cos, sin, pairs, half_split).
template <class Target>
struct Rope : Rope<typename Target::Fallback> {};
using RopeFunction = void (*)(float* x, const float* cos, const float* sin, std::size_t pairs, bool half_split);

// The Walsh-Hadamard transform of n values, as hadamard_butterflies() in hadamard.hpp defines it; n is a multiple of 16. The kernel
// is called as run(x, n).
template <class Target>
struct Hadamard : Hadamard<typename Target::Fallback> {};
using HadamardFunction = void (*)(float* x, std::size_t n);

// Rounds n = 32 * blocks values to 8 bits, or to 16 bits if `low` is not null (contract/activation_q8.hpp). The kernel is called as
// run(values, scales, sums, scaled_sums, x, blocks, low = nullptr).
template <class Target>
struct QuantiseQ8 : QuantiseQ8<typename Target::Fallback> {};
using QuantiseQ8Function = void (*)(std::int8_t* values, float* scales, std::int32_t* sums, float* scaled_sums, const float* x,
                                    std::size_t blocks, std::int8_t* low);

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
