// SPDX-License-Identifier: Apache-2.0
//
// The list of targets, best first. To add one: copy a folder beside this file, include its target.hpp here and add its
// type to the list. Tests, benches, coverage() and the command line iterate the list.
#pragma once

#include <stilla/format/format.hpp>  // TypeList
#include <stilla/portable/target.hpp>
#include <stilla/scalar/target.hpp>
#include <stilla/x86_amx/target.hpp>
#include <stilla/x86_avx2/target.hpp>
#include <stilla/x86_avx512vnni/target.hpp>
#include <stilla/x86_avxvnni/target.hpp>

namespace stilla { inline namespace STILLA_ABI {

#if STILLA_SINGLE_TARGET  // the best that the flags guarantee
#if STILLA_ARCH_X86 && defined(__AVX512VNNI__) && defined(__AVX512BW__) && defined(__AVX512VL__)
using Targets = TypeList<Avx512Vnni>;
#elif STILLA_ARCH_X86 && defined(__AVXVNNI__)
using Targets = TypeList<AvxVnni>;
#elif STILLA_ARCH_X86 && defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
using Targets = TypeList<Avx2>;
#elif STILLA_HAS_PORTABLE
using Targets = TypeList<Portable>;
#else
using Targets = TypeList<Scalar>;
#endif
#elif STILLA_ARCH_X86 && STILLA_HAS_PORTABLE
using Targets = TypeList<Amx, Avx512Vnni, AvxVnni, Avx2, Portable, Scalar>;
#elif STILLA_ARCH_X86
using Targets = TypeList<Amx, Avx512Vnni, AvxVnni, Avx2, Scalar>;
#elif STILLA_HAS_PORTABLE
using Targets = TypeList<Portable, Scalar>;
#else
using Targets = TypeList<Scalar>;
#endif

}}  // namespace stilla
