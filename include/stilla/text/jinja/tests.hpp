// SPDX-License-Identifier: Apache-2.0
//
// Jinja's tests, which follow `is` in an expression. The filters select and reject get them by name.
#pragma once

#include <string_view>

#include <stilla/text/jinja/operators.hpp>
#include <stilla/text/jinja/parameters.hpp>
#include <stilla/text/jinja/rendering.hpp>
#include <stilla/text/jinja/value.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace jinja {
namespace detail {

template <bool (*holds)(const Value&)>
Value type_test(Rendering& run, const Value& value, const Arguments& arguments) {
  const Parameters none(run, "this test", arguments, {});
  return holds(value);
}

template <Operator op>
Value compare_test(Rendering& run, const Value& value, const Arguments& arguments) {
  const Parameters other(run, "this test", arguments, {"b"}, 1);
  return !run.failed() && compare(run, op, value, other[0]);
}

inline bool is_sequence(const Value& value) {
  const List* list = value.list();
  return value.is_undefined() || value.text() || value.dict() || (list != nullptr && list->kind <= ListKind::range);
}
inline bool is_iterable(const Value& value) { return value.is_undefined() || value.text() || value.dict() || value.list() || value.loop(); }
inline bool is_number(const Value& value) { return number_of(value).has_value(); }
inline bool is_integer(const Value& value) { return value.as<std::int64_t>() != nullptr; }
inline bool is_callable(const Value& value) { return value.macro() || value.method() || value.function(); }

template <bool wants_odd>
Value parity_test(Rendering& run, const Value& value, const Arguments& arguments) {
  const Parameters none(run, "this test", arguments, {});
  const auto number = integer_of(value);
  if (!number) return run.fail("odd and even are asked of a ", type_name(value));
  return (*number % 2 != 0) == wants_odd;
}

inline Value divisible_test(Rendering& run, const Value& value, const Arguments& arguments) {
  const Parameters by(run, "test 'divisibleby'", arguments, {"num"}, 1);
  if (run.failed()) return {};
  const Value remainder = arithmetic(run, Operator::modulo, value, by[0]);
  return !run.failed() && !truth(remainder);
}

template <Case wanted>
Value case_test(Rendering& run, const Value& value, const Arguments& arguments) {
  const Parameters none(run, "this test", arguments, {});
  const MarkedText text = str(run, value);
  bool has_cased = false;
  for (std::size_t at = 0; at < text.size(); at += decode_utf8(text.bytes(), at).length) {
    has_cased = has_cased || is_cased(decode_utf8(text.bytes(), at).value);
  }
  return has_cased && in_case(text, wanted).bytes() == text.bytes();
}

// Jinja's test sameas: whether both values are the same object in Python. Values of which Python has only one object each (None,
// True, False) are compared by value; for other values Stilla's own objects are compared.
inline Value same_test(Rendering& run, const Value& value, const Arguments& arguments) {
  const Parameters parameters(run, "test 'sameas'", arguments, {"other"}, 1);
  const Value& other = parameters[0];
  if (value.as<bool>() || other.as<bool>()) {
    return value.as<bool>() && other.as<bool>() && *value.as<bool>() == *other.as<bool>();
  }
  if (value.is_none() || other.is_none()) return value.is_none() && other.is_none();
  if (value.text() || other.text()) return value.text() == other.text();
  if (value.list() || other.list()) return value.list() == other.list();
  if (value.dict() || other.dict()) return value.dict() == other.dict();
  if (value.name_space() || other.name_space()) return value.name_space() == other.name_space();
  return run.fail("test 'sameas' of a ", type_name(value), " and a ", type_name(other), " is not supported");
}

inline bool is_defined(const Value& value) { return !value.is_undefined(); }
inline bool is_undefined(const Value& value) { return value.is_undefined(); }
inline bool is_none(const Value& value) { return value.is_none(); }
inline bool is_string(const Value& value) { return value.text() != nullptr; }
inline bool is_mapping(const Value& value) { return value.dict() != nullptr; }
inline bool is_boolean(const Value& value) { return value.as<bool>() != nullptr; }
inline bool is_true(const Value& value) { return value.as<bool>() != nullptr && *value.as<bool>(); }
inline bool is_false(const Value& value) { return value.as<bool>() != nullptr && !*value.as<bool>(); }
inline bool is_float(const Value& value) { return value.as<double>() != nullptr; }

inline constexpr NamedOperation tests[] = {
    {"defined", type_test<is_defined>},
    {"undefined", type_test<is_undefined>},
    {"none", type_test<is_none>},
    {"string", type_test<is_string>},
    {"mapping", type_test<is_mapping>},
    {"sequence", type_test<is_sequence>},
    {"iterable", type_test<is_iterable>},
    {"number", type_test<is_number>},
    {"integer", type_test<is_integer>},
    {"float", type_test<is_float>},
    {"boolean", type_test<is_boolean>},
    {"true", type_test<is_true>},
    {"false", type_test<is_false>},
    {"callable", type_test<is_callable>},
    {"escaped", type_test<is_safe>},
    {"odd", parity_test<true>},
    {"even", parity_test<false>},
    {"divisibleby", divisible_test},
    {"lower", case_test<Case::lower>},
    {"upper", case_test<Case::upper>},
    {"sameas", same_test},
    {"in", compare_test<Operator::in>},
    {"eq", compare_test<Operator::equal>},
    {"equalto", compare_test<Operator::equal>},
    {"==", compare_test<Operator::equal>},
    {"ne", compare_test<Operator::unequal>},
    {"!=", compare_test<Operator::unequal>},
    {"lt", compare_test<Operator::less>},
    {"lessthan", compare_test<Operator::less>},
    {"<", compare_test<Operator::less>},
    {"le", compare_test<Operator::less_equal>},
    {"<=", compare_test<Operator::less_equal>},
    {"gt", compare_test<Operator::greater>},
    {"greaterthan", compare_test<Operator::greater>},
    {">", compare_test<Operator::greater>},
    {"ge", compare_test<Operator::greater_equal>},
    {">=", compare_test<Operator::greater_equal>},
};

}  // namespace detail

// The Jinja test with this name; null if there is none.
inline Operation find_test(std::string_view name) {
  for (const NamedOperation& test : detail::tests) {
    if (test.name == name) return test.operation;
  }
  return nullptr;
}

}  // namespace jinja
}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
