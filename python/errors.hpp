// SPDX-License-Identifier: Apache-2.0
//
// Turns errors of the library into exceptions of Python. stilla.Error is a RuntimeError. It is raised, for example, for a file that is
// refused and for an error of the system. stilla.ArgumentError is a stilla.Error and a ValueError. It is raised for an argument that is
// not valid.
#pragma once

#include <exception>
#include <string>
#include <utility>

#include <nanobind/nanobind.h>

#include <stilla/base/error.hpp>

namespace python {

namespace nb = nanobind;

struct LibraryError : std::exception {
  explicit LibraryError(stilla::Error e) : error(std::move(e)) {}
  const char* what() const noexcept override { return error.message.c_str(); }

  stilla::Error error;
};

template <class T>
T value_of(stilla::Result<T> result) {
  if (!result) throw LibraryError(std::move(result).error());
  return *std::move(result);
}
inline void check(stilla::Status status) { value_of(std::move(status)); }

// Throws the exception for an argument that is not valid. The parts together are its message, one sentence.
template <class... Parts>
[[noreturn]] void refuse(const Parts&... parts) {
  throw LibraryError({stilla::ErrorKind::bad_argument, stilla::concat(parts...)});
}

void add_errors(nb::module_& module);

}  // namespace python
