// SPDX-License-Identifier: Apache-2.0
//
// Gives the kernels on rows of floats (contract/elementwise.hpp) as pointers to functions, for a target that is known only when the
// program runs. An op asks once for the function and calls it for each row:
//
//   const auto rms_norm = detail::row_kernel<RmsNorm>(active_target());
//   parallel(rows, [&](std::size_t m) { rms_norm(y.row(m), x.row(m), weight, epsilon, cols); });
//
// With STILLA_SEPARATE_KERNELS only the source file that defines STILLA_DEFINE_KERNELS includes the kernels.
#pragma once

#include <stilla/contract/activation_form.hpp>
#include <stilla/contract/elementwise.hpp>
#include <stilla/dispatch.hpp>
#if STILLA_COMPILE_KERNELS
#include <stilla/all_targets/activation_form.hpp>
#include <stilla/all_targets/elementwise.hpp>
#endif

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace detail {

// The type of a pointer to the function run() of a kernel.
template <template <class> class Kernel>
struct RowKernelFunction;
template <>
struct RowKernelFunction<RmsNorm> {
  using Type = RmsNormFunction;
};
template <>
struct RowKernelFunction<SiluMul> {
  using Type = SiluMulFunction;
};
template <>
struct RowKernelFunction<Softmax> {
  using Type = SoftmaxFunction;
};
template <>
struct RowKernelFunction<HighestLogits> {
  using Type = HighestLogitsFunction;
};
template <>
struct RowKernelFunction<LogitWeights> {
  using Type = LogitWeightsFunction;
};
template <>
struct RowKernelFunction<Rope> {
  using Type = RopeFunction;
};
template <>
struct RowKernelFunction<Hadamard> {
  using Type = HadamardFunction;
};
template <>
struct RowKernelFunction<QuantiseQ8> {
  using Type = QuantiseQ8Function;
};

// Returns the function run() of this kernel for a target.
template <template <class> class Kernel>
typename RowKernelFunction<Kernel>::Type row_kernel(TargetId target);

// The functions of a target's ActivationForm (contract/activation_form.hpp), which arranges rounded activations as its kernels read them.
struct ActivationFormFunctions {
  TargetId id;
  std::size_t (*bytes)(std::size_t rows, std::size_t cols, ActivationBits bits);
  void (*arrange)(const ArrangedActivations& to, const ActivationQ8& from, std::size_t m, std::size_t block, std::size_t blocks);
  void (*arrange_sums)(const ArrangedActivations& to, const ActivationQ8& from, std::size_t m);
  std::size_t (*tokens_per_task)(const ActivationQ8& x);
};
STILLA_KERNEL_LINKAGE ActivationFormFunctions activation_form(TargetId target);

#if STILLA_COMPILE_KERNELS
template <template <class> class Kernel>
typename RowKernelFunction<Kernel>::Type row_kernel(TargetId target) {
  typename RowKernelFunction<Kernel>::Type function = nullptr;
  with_target(target, [&](auto tag) { function = Kernel<decltype(tag)>::run; });
  return function;
}

STILLA_KERNEL_LINKAGE ActivationFormFunctions activation_form(TargetId target) {
  ActivationFormFunctions functions{};
  with_target(target, [&](auto tag) {
    using Form = ActivationForm<decltype(tag)>;
    functions = {Form::id, Form::bytes, Form::arrange, Form::arrange_sums, Form::tokens_per_task};
  });
  return functions;
}
#endif
#if STILLA_SEPARATE_KERNELS && STILLA_COMPILE_KERNELS
template RmsNormFunction row_kernel<RmsNorm>(TargetId target);
template SiluMulFunction row_kernel<SiluMul>(TargetId target);
template SoftmaxFunction row_kernel<Softmax>(TargetId target);
template HighestLogitsFunction row_kernel<HighestLogits>(TargetId target);
template LogitWeightsFunction row_kernel<LogitWeights>(TargetId target);
template RopeFunction row_kernel<Rope>(TargetId target);
template HadamardFunction row_kernel<Hadamard>(TargetId target);
template QuantiseQ8Function row_kernel<QuantiseQ8>(TargetId target);
#endif

}  // namespace detail

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
