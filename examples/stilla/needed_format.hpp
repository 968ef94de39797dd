// SPDX-License-Identifier: Apache-2.0
//
// Checks options that can be used only if --weights names a format of a certain kind. --calibrate, for example, needs a format for which
// error feedback is written (model/error_feedback.hpp).
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include <stilla/format/format.hpp>

#include "output.hpp"

namespace program {

// Ends the command with an error unless `weights` is a format of the kind that `option` needs. The error lists all formats of this
// kind. is_of_kind(F{}) says whether format F is of this kind. `kind` completes the message "a format whose ...", for example with
// "codes can be chosen".
template <class IsOfKind>
void check_needed_format(std::optional<stilla::FormatId> weights, std::string_view option, std::string_view kind, IsOfKind is_of_kind) {
  bool is_one = false;
  std::string known;
  stilla::for_each_type(stilla::Formats{}, [&]<class F>(F format) {
    if (!is_of_kind(format)) return;
    is_one = is_one || weights == stilla::id_of<F>;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", F::name);
  });
  if (!is_one) fail(exit_usage, fmt::format("{}: needs --weights with a format whose {}: {}", option, kind, known));
}

}  // namespace program
