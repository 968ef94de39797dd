// SPDX-License-Identifier: Apache-2.0
//
// Puts the arguments of a filter, test, method or function into the order of its parameters, as Python does.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string_view>

#include <stilla/text/jinja/operators.hpp>
#include <stilla/text/jinja/rendering.hpp>
#include <stilla/text/jinja/value.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace jinja {

// The type of filters, tests and methods. `input` is the value in front of the filter, test or method, and `arguments` is what is in
// the brackets behind it.
using Operation = Value (*)(Rendering& run, const Value& input, const Arguments& arguments);

struct NamedOperation {
  std::string_view name;
  Operation operation;
};

class Parameters {
 public:
  static constexpr std::size_t most = 5;

  // `what` is how messages call the function, for example "filter 'indent'", and `names` are its parameters. The first `required`
  // parameters must get an argument. If there are not enough arguments, or too many, the rendering fails.
  Parameters(Rendering& run, std::string_view what, const Arguments& arguments, std::initializer_list<std::string_view> names,
             std::size_t required = 0)
      : run_(run), what_(what) {
    if (arguments.positional.size() > names.size()) {
      run.fail(what, " takes at most ", names.size(), " arguments, found ", arguments.positional.size());
      return;
    }
    for (std::size_t i = 0; i < arguments.positional.size(); ++i) values_[i] = &arguments.positional[i];
    for (const auto& [name, value] : arguments.named) {
      std::size_t i = 0;
      while (i < names.size() && names.begin()[i] != name) ++i;
      if (i == names.size() || values_[i] != nullptr) {
        run.fail(what, " takes no argument '", printable(name), "'", i == names.size() ? "" : " twice");
        return;
      }
      values_[i] = &value;
    }
    for (std::size_t i = 0; i < required; ++i) {
      if (values_[i] == nullptr) run.fail(what, " needs the argument '", names.begin()[i], "'");
    }
  }

  bool has(std::size_t i) const { return values_[i] != nullptr; }
  // Whether argument number i was given and is not None.
  bool is_given(std::size_t i) const { return has(i) && !values_[i]->is_none(); }
  const Value& operator[](std::size_t i) const { return has(i) ? *values_[i] : nothing_; }

  bool flag(std::size_t i, bool fallback) const { return has(i) ? truth(*values_[i]) : fallback; }
  std::int64_t integer(std::size_t i, std::int64_t fallback) const {
    if (!is_given(i)) return fallback;
    const auto value = integer_of(*values_[i]);
    if (!value) run_.fail(what_, ": an argument is a ", type_name(*values_[i]), ", expected an int");
    return value.value_or(fallback);
  }
  // An argument that is a number of things, for example of columns. A negative number counts as 0.
  std::size_t count(std::size_t i, std::size_t fallback) const {
    if (!is_given(i)) return fallback;
    const std::int64_t value = integer(i, 0);
    return value < 0 ? 0 : static_cast<std::size_t>(value);
  }
  MarkedText text(std::size_t i, std::string_view fallback = {}) const {
    if (!is_given(i)) return MarkedText(fallback);
    if (const Text* text = values_[i]->text()) return text->marked;
    run_.fail(what_, ": an argument is a ", type_name(*values_[i]), ", expected a str");
    return {};
  }

 private:
  Rendering& run_;
  std::string_view what_;
  std::array<const Value*, most> values_{};
  Value nothing_;
};

}  // namespace jinja
}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
