// SPDX-License-Identifier: Apache-2.0
//
// The arrangements of activations of all targets that have one (contract/activation_form.hpp). They are all included, so that all
// files of a program see the same arrangements and choose the same one for a target.
#pragma once

#include <stilla/contract/activation_form.hpp>
#include <stilla/format/format.hpp>  // uses include_each-inl.hpp too, and its uses cannot be nested
#include <stilla/targets.hpp>

#define STILLA_EACH_LIST STILLA_TARGET_LIST
#define STILLA_EACH_HEADER(folder) <stilla/folder/activation_form.hpp>
#include <stilla/base/include_each-inl.hpp>
