// SPDX-License-Identifier: Apache-2.0
//
// The list of devices (base/device.hpp). To add a device, make a folder beside this file with a device.hpp that defines its type, and
// add a line to the list below:
//
//   device(folder, Type)
//
// Tests check that each device keeps its tolerance. tests/skeleton shows how a device is added.
// A device that needs somebody else's library is in the list only where the program asks for it by a macro (base/config.hpp).
#pragma once

#include <stilla/base/device.hpp>
#include <stilla/base/type_list.hpp>
#include <stilla/format/format.hpp>  // included first: it uses include_each-inl.hpp too, and no use of that file may contain another

#if STILLA_ONEDNN
#define STILLA_ONEDNN_DEVICE(device) device(onednn, OneDnn)
#else
#define STILLA_ONEDNN_DEVICE(device)
#endif

// clang-format off
#define STILLA_DEVICE_LIST(device)     \
  device(npu_hexagon, HexagonEmulated) \
  device(npu_xdna, XdnaEmulated)       \
  STILLA_ONEDNN_DEVICE(device)
// clang-format on

#define STILLA_EACH_LIST STILLA_DEVICE_LIST
#define STILLA_EACH_HEADER(folder) <stilla/folder/device.hpp>
#include <stilla/base/include_each-inl.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

namespace detail {
#define STILLA_TYPE_OF_DEVICE(folder, Type) Type,
template <class T>
struct IsDevice {
  static_assert(Device<T>, "kernels/stilla/devices.hpp lists a type that is no device");
  static constexpr bool value = true;
};
using ListedDevices = ListedTypes<TypeList<>, STILLA_DEVICE_LIST(STILLA_TYPE_OF_DEVICE) void>::Type;
#undef STILLA_TYPE_OF_DEVICE
}  // namespace detail

using Devices = Filtered<detail::IsDevice, detail::ListedDevices>;

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
