// SPDX-License-Identifier: Apache-2.0
//
// What the source files of the C API share: errors become a code and a message, no exception leaves a function of the API,
// and C's structs become the library's types.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <exception>
#include <new>
#include <optional>
#include <string_view>
#include <type_traits>
#include <utility>

#include <stilla/activation_buffer.hpp>
#include <stilla/base/error.hpp>
#include <stilla/base/matrix.hpp>
#include <stilla/base/parallel.hpp>
#include <stilla/c_api.h>
#include <stilla/kv_cache.hpp>
#include <stilla/layout/pack.hpp>

struct stilla_activations {
  stilla::ActivationBuffer buffer;
};
struct stilla_kv_cache {
  stilla::KvCache cache;
};

namespace c_api {

inline stilla_code report(stilla_error* error, stilla_code code, std::string_view message) {
  if (error == nullptr) return code;
  error->code = code;
  const std::size_t size = std::min(message.size(), sizeof error->message - 1);
  std::memcpy(error->message, message.data(), size);
  error->message[size] = 0;
  return code;
}
inline stilla_code report(stilla_error* error, const stilla::Error& e) {
  const stilla_code code = e.kind == stilla::ErrorKind::bad_argument   ? STILLA_BAD_ARGUMENT
                           : e.kind == stilla::ErrorKind::refused_file ? STILLA_REFUSED_FILE
                                                                       : STILLA_SYSTEM;
  return report(error, code, e.message);
}
inline stilla_code bad_argument(stilla_error* error, std::string_view message) { return report(error, STILLA_BAD_ARGUMENT, message); }
inline stilla_code done(stilla_error* error) { return report(error, STILLA_OK, ""); }
template <class T>
stilla_code report(stilla_error* error, const stilla::Result<T>& result) {
  return result ? done(error) : report(error, result.error());
}

// Calls f() and returns the error code that f() returns. An exception becomes an error code and a message.
template <class F>
stilla_code guarded(stilla_error* error, F&& f) {
  try {
    return f();
  } catch (const std::bad_alloc&) {
    return report(error, STILLA_SYSTEM, "not enough memory");
  } catch (const std::exception& e) {
    return report(error, STILLA_SYSTEM, e.what());
  } catch (...) {
    return report(error, STILLA_SYSTEM, "an exception of the caller's pool");
  }
}

// Makes an object of type T and gives it to the caller as a handle.
template <class T, class... Args>
stilla_code hand_out(T** out, stilla_error* error, Args&&... args) {
  *out = new T{std::forward<Args>(args)...};
  return done(error);
}

inline stilla::Matrix matrix(const stilla_matrix& m) { return {m.data, m.rows, m.cols, m.stride}; }
inline stilla::ConstMatrix matrix(const stilla_const_matrix& m) { return {m.data, m.rows, m.cols, m.stride}; }
inline stilla::PackedView view(const stilla_weights& w) {
  return {stilla::FormatId{w.format}, w.rows, w.cols, static_cast<const std::byte*>(w.data), stilla::LayoutId{w.layout}};
}

// Makes a C++ function object of the thread pool that a caller in C passed. pool() makes a Parallel, the library's reference to a pool, of
// this object; the Parallel holds a copy of the object.
struct Pool {
  stilla_parallel parallel;
  void operator()(std::size_t count, stilla::IndexFunction body) const {
    parallel.run(parallel.pool, count, body.function(), body.object());
  }
};
inline stilla::Parallel pool(const stilla_parallel* parallel) {
  if (parallel == nullptr || parallel->run == nullptr) return {};
  return Pool{*parallel};
}

}  // namespace c_api
