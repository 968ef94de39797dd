// SPDX-License-Identifier: Apache-2.0
//
// The list of targets, best first. To add one: copy a folder beside this file, include its target.hpp here and add its
// type to the list. Tests, benches, coverage() and the command line iterate the list.
#pragma once

#include <stilla/format/format.hpp>  // TypeList
#include <stilla/portable/target.hpp>
#include <stilla/scalar/target.hpp>

namespace stilla::inline STILLA_ABI {

#if STILLA_HAS_PORTABLE && STILLA_SINGLE_TARGET
using Targets = TypeList<Portable>;
#elif STILLA_HAS_PORTABLE
using Targets = TypeList<Portable, Scalar>;
#else
using Targets = TypeList<Scalar>;
#endif

}  // namespace stilla::STILLA_ABI
