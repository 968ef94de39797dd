// SPDX-License-Identifier: Apache-2.0
//
// Converts names that Python uses to the library's types.
#pragma once

#include <string_view>

#include <stilla/kv_cache.hpp>

#include "errors.hpp"

namespace python {

inline stilla::KvType kv_type_by_name(std::string_view name) {
  const auto type = stilla::kv_type(name);
  if (!type) refuse("the type '", stilla::printable(name), "' of a key/value cache is not known; known: f32, f16, bf16, int8, int5");
  return *type;
}

}  // namespace python
