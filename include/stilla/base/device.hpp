// SPDX-License-Identifier: Apache-2.0
//
// Defines what a device is. A device multiplies matrices by an arithmetic of its own: an emulated NPU, another library. Its
// results are near those of the targets but not equal to them, so it is not a target (target.hpp). A device is used only when the
// program names it. It has no part in coverage() or in the promise of the same bits everywhere, and it states a tolerance that the
// tests check. kernels/stilla/devices.hpp lists the devices of a program.
//
//   struct HexagonEmulated {
//     static constexpr DeviceId id{"hexagon-emulated"};
//     static constexpr double tolerance = 1e-7;      // of a product: sum (y - exact)^2 / sum exact^2, at most
//     static bool available();                       // whether it can be used on this machine, now
//     struct Weights { ... };                        // a matrix as the device holds it; movable
//     template <class F>                             // rows of F's blocks as files hold them; an error says what the device cannot hold
//     static Result<Weights> prepare(const std::byte* rows, std::size_t N, std::size_t K);
//     static Status multiply(Matrix y, const Weights& w, ConstMatrix x);     // y[M, N] = x[M, K] * w[N, K]^T, floats in and out
//     static constexpr bool has_own_threads = true;  // optional: a product is divided among threads of the device
//     static Status multiply_transformed(...);       // optional: transforms the rows of x (orthonormal Hadamard transform,
//   };                                               // contract/hadamard.hpp, in the device's own arithmetic), then multiplies
#pragma once

#include <concepts>
#include <cstddef>
#include <string_view>

#include <stilla/base/error.hpp>
#include <stilla/base/matrix.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

struct DeviceId {
  const char* name = "";
  constexpr bool operator==(const DeviceId& other) const { return std::string_view(name) == other.name; }
};

template <class D>
concept Device = requires(Matrix y, const typename D::Weights& w, ConstMatrix x) {
  { D::id } -> std::convertible_to<DeviceId>;
  { D::tolerance } -> std::convertible_to<double>;
  { D::available() } -> std::same_as<bool>;
  { D::multiply(y, w, x) } -> std::same_as<Status>;
};

template <class D>
constexpr bool has_own_threads() {
  if constexpr (requires { D::has_own_threads; }) return D::has_own_threads;
  return false;
}

template <class D>
concept TransformingDevice = Device<D> && requires(Matrix y, const typename D::Weights& w, ConstMatrix x) {
  { D::multiply_transformed(y, w, x) } -> std::same_as<Status>;
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
