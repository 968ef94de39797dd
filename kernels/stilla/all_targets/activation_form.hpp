// SPDX-License-Identifier: Apache-2.0
//
// Includes the arrangements of activations (contract/activation_form.hpp) of all targets that have one of their own. So all files of a
// program see the same arrangements and choose the same one for a target.
#pragma once

#include <stilla/contract/activation_form.hpp>
#include <stilla/format/format.hpp>  // included first: it uses include_each-inl.hpp too, and no use of that file may contain another
#include <stilla/targets.hpp>

#define STILLA_EACH_LIST STILLA_TARGET_LIST
#define STILLA_EACH_HEADER(folder) <stilla/folder/activation_form.hpp>
#include <stilla/base/include_each-inl.hpp>
