// SPDX-License-Identifier: Apache-2.0
//
// The arrangements of activations of all targets that have one (contract/activation_form.hpp). matmul.hpp beside this file says
// why they are all included.
#pragma once

#include <stilla/contract/activation_form.hpp>
#include <stilla/format/format.hpp>  // uses include_each-inl.hpp too, and its uses cannot be nested
#include <stilla/targets.hpp>

#define STILLA_EACH_LIST STILLA_TARGET_LIST
#define STILLA_EACH_HEADER(folder) <stilla/folder/activation_form.hpp>
#include <stilla/base/include_each-inl.hpp>
