// SPDX-License-Identifier: Apache-2.0
//
// A matrix of weights on a device that is chosen by name when the program runs (base/device.hpp; <stilla/devices.hpp> lists the
// devices):
//
//   Result<std::unique_ptr<DeviceMatrix>> w = put_on_device("hexagon-emulated", id_of<LPBQ64>, rows, N, K);
//   Status done = (*w)->multiply(y, x);         // y[M, N] = x[M, K] * w[N, K]^T, floats
//
// The results of a device differ from those of the targets, within a tolerance that the device states. No device is chosen unless
// its name is given.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include <stilla/base/device.hpp>
#include <stilla/base/error.hpp>
#include <stilla/base/matrix.hpp>
#include <stilla/format/format.hpp>
#include <stilla/format/format_name.hpp>
#if STILLA_COMPILE_KERNELS
#include <stilla/devices.hpp>
#endif

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

class DeviceMatrix {
 public:
  virtual ~DeviceMatrix() = default;
  // Computes y = x * weights^T. x has as many columns as the weights, and y has as many columns as the weights have rows. Several
  // threads may call this for the same matrix of weights.
  virtual Status multiply(Matrix y, ConstMatrix x) const = 0;
  // Does what multiply() does, but the device first applies the orthonormal Hadamard transform (contract/hadamard.hpp) to the rows
  // of x. Devices that do not make this transform refuse the call.
  virtual Status multiply_transformed(Matrix y, ConstMatrix x) const = 0;
  virtual bool makes_transform() const = 0;
  // Whether the device divides a product among threads of its own. Then a product is not to be divided by the caller.
  virtual bool has_own_threads() const = 0;
};

// The names of the devices of this program, as in "hexagon-emulated, xdna-emulated"; "none" if there are none.
STILLA_KERNEL_LINKAGE std::string device_names();
// Returns an error if `device` is not the name of a device, or if the device is not available now.
STILLA_KERNEL_LINKAGE Status check_device(std::string_view device);
// Puts weights W[N, K] on a device. `rows` are rows of blocks, as files hold them. It is an error if check_device() refuses the name, if
// the format is unknown, or if the device cannot hold the weights.
STILLA_KERNEL_LINKAGE Result<std::unique_ptr<DeviceMatrix>> put_on_device(std::string_view device, FormatId format, const std::byte* rows,
                                                                          std::size_t N, std::size_t K);

#if STILLA_COMPILE_KERNELS
namespace detail {

template <class D>
class MatrixOnDevice : public DeviceMatrix {
 public:
  explicit MatrixOnDevice(typename D::Weights weights) : weights_(std::move(weights)) {}
  Status multiply(Matrix y, ConstMatrix x) const override { return D::multiply(y, weights_, x); }
  Status multiply_transformed(Matrix y, ConstMatrix x) const override {
    if constexpr (TransformingDevice<D>) return D::multiply_transformed(y, weights_, x);
    return Error{ErrorKind::bad_argument, concat("device '", D::id.name, "' makes no transform of its inputs")};
  }
  bool makes_transform() const override { return TransformingDevice<D>; }
  bool has_own_threads() const override { return stilla::has_own_threads<D>(); }

 private:
  typename D::Weights weights_;
};

// Calls f(Device{}) for the device of this name. Returns false if no device has it.
template <class F>
bool with_device(std::string_view name, F&& f) {
  bool found = false;
  for_each_type(Devices{}, [&]<class D>(D) {
    if (found || name != D::id.name) return;
    found = true;
    f(D{});
  });
  return found;
}

}  // namespace detail

STILLA_KERNEL_LINKAGE std::string device_names() {
  std::string names;
  for_each_type(Devices{}, [&]<class D>(D) { names += concat(names.empty() ? "" : ", ", D::id.name); });
  return names.empty() ? "none" : names;
}

STILLA_KERNEL_LINKAGE Status check_device(std::string_view device) {
  Status status = Error{ErrorKind::bad_argument, concat("device '", printable(device), "' is unknown; known: ", device_names())};
  detail::with_device(device, [&]<class D>(D) {
    status = success();
    if (!D::available()) status = Error{ErrorKind::system, concat("device '", device, "' is not there")};
  });
  return status;
}

STILLA_KERNEL_LINKAGE Result<std::unique_ptr<DeviceMatrix>> put_on_device(std::string_view device, FormatId format, const std::byte* rows,
                                                                          std::size_t N, std::size_t K) {
  if (Status s = check_device(device); !s) return s.error();
  Result<std::unique_ptr<DeviceMatrix>> result = detail::unknown_format(format);
  detail::with_device(device, [&]<class D>(D) {
    with_format(format, [&]<class F>(F) {
      if (K % F::block_weights != 0) {
        result = Error{ErrorKind::bad_argument, concat(K, " columns are not a multiple of the ", F::name, " block of ", F::block_weights)};
        return;
      }
      auto weights = D::template prepare<F>(rows, N, K);
      if (!weights) {
        result = weights.error();
      } else {
        result = std::unique_ptr<DeviceMatrix>(std::make_unique<detail::MatrixOnDevice<D>>(std::move(*weights)));
      }
    });
  });
  return result;
}
#endif

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
