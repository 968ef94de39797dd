// SPDX-License-Identifier: Apache-2.0
//
// The values of a template. They are those of Python, as far as templates can see. Texts, lists and dictionaries are shared and
// never change after they are made, so that they form no cycles. A namespace, a macro and a scope can refer to each other. The
// rendering and its interpreter own these three (rendering.hpp, interpreter.hpp), and values hold plain pointers to them. A value
// may therefore outlive its rendering only if it contains none of the three.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <stilla/base/config.hpp>
#include <stilla/text/jinja/marked_text.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace jinja {

// Counts the memory that the values of a rendering take.
struct Meter {
  std::size_t used = 0;
};

// The memory that one value adds to a Meter. It is given back when the value is destroyed.
class Charge {
 public:
  Charge() = default;
  Charge(Meter* meter, std::size_t bytes) : meter_(meter), bytes_(bytes) { meter_->used += bytes_; }
  Charge(const Charge&) = delete;
  Charge& operator=(const Charge&) = delete;
  Charge(Charge&& other) noexcept : meter_(std::exchange(other.meter_, nullptr)), bytes_(other.bytes_) {}
  Charge& operator=(Charge&& other) noexcept {
    std::swap(meter_, other.meter_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~Charge() {
    if (meter_ != nullptr) meter_->used -= bytes_;
  }

 private:
  Meter* meter_ = nullptr;
  std::size_t bytes_ = 0;
};

struct Undefined {
  // The name of the variable or attribute that is undefined, in the syntax tree of the template. Null if it has no name.
  const std::string* name = nullptr;
};
struct None {};
struct Text;
struct List;
struct Dict;
struct Namespace;
struct Macro;
struct Loop;
struct Method;
struct Function;  // range, namespace, ...: functions.hpp

using TextPtr = std::shared_ptr<const Text>;
using ListPtr = std::shared_ptr<const List>;
using DictPtr = std::shared_ptr<const Dict>;
using LoopPtr = std::shared_ptr<const Loop>;
using MethodPtr = std::shared_ptr<const Method>;

class Value {
 private:
  template <class... Types>
  struct OneOf {
    using Data = std::variant<Types...>;
    template <class T>
    static constexpr bool has = (std::is_same_v<T, Types> || ...);
  };
  using Kinds = OneOf<Undefined, None, bool, std::int64_t, double, TextPtr, ListPtr, DictPtr, LoopPtr, MethodPtr, Namespace*, const Macro*,
                      const Function*>;

 public:
  Value() = default;  // undefined
  // A value is made only from one of the types in Kinds, without a conversion, so that no pointer becomes a bool.
  template <class T>
    requires Kinds::has<T>
  Value(T value) : data_(std::move(value)) {}

  template <class T>
  const T* as() const {
    return std::get_if<T>(&data_);
  }
  // A value of some types holds a pointer to an object. Each of the functions from text() to function() returns this object for one of
  // these types, for example text() for a text. The result is null if the value has another type.
  const Text* text() const { return object<TextPtr>(); }
  const List* list() const { return object<ListPtr>(); }
  const Dict* dict() const { return object<DictPtr>(); }
  const Loop* loop() const { return object<LoopPtr>(); }
  const Method* method() const { return object<MethodPtr>(); }
  Namespace* name_space() const { return object<Namespace*>(); }
  const Macro* macro() const { return object<const Macro*>(); }
  const Function* function() const { return object<const Function*>(); }

  bool is_undefined() const { return as<Undefined>() != nullptr; }
  bool is_none() const { return as<None>() != nullptr; }

 private:
  template <class Pointer>
  typename std::pointer_traits<Pointer>::element_type* object() const {
    const Pointer* pointer = std::get_if<Pointer>(&data_);
    return pointer != nullptr ? std::to_address(*pointer) : nullptr;
  }

  Kinds::Data data_;
};

struct Text {
  MarkedText marked;
  bool is_safe = false;  // `safe` or `escape` was applied: + escapes what is joined with it
  Charge charge{};
};

// The types of Python whose values are held as a List.
enum class ListKind : std::uint8_t { list, tuple, range, generator, keys, values, items };

struct List {
  std::vector<Value> items;
  ListKind kind = ListKind::list;
  // How deep lists and dictionaries are inside each other. The depth is limited, because everything that walks over them is
  // recursive.
  std::size_t depth = 1;
  mutable bool is_spent = false;  // a generator gives its values only once
  Charge charge{};
};

struct Dict {
  std::vector<std::pair<Value, Value>> entries;  // in the order in which they were made; no two keys are equal
  std::size_t depth = 1;
  Charge charge{};
};

// The value that Jinja's function namespace() makes. It is the only kind of value that can change.
struct Namespace {
  std::vector<std::pair<std::string, Value>> attributes;
};

// The variable `loop` that the body of a for statement sees.
struct Loop {
  mutable std::vector<Value> items;  // with a condition, only the items so far, if the body does not look ahead (Node::looks_ahead)
  mutable std::size_t index = 0;
  std::size_t depth = 1;
  Charge charge{};
};

struct Method {
  Value self;
  std::string_view name;  // a name from methods.hpp
};

// The arguments of a call.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string_view, Value>> named;
};

// text_value(), list_value() and dict_value() make values outside of any rendering, for code that will start one.
inline Value text_value(std::string_view bytes, Origin origin = from_template) {
  return std::make_shared<const Text>(Text{MarkedText(bytes, origin)});
}
inline std::size_t depth_of(const Value& value) {
  if (const List* list = value.list()) return list->depth;
  if (const Dict* dict = value.dict()) return dict->depth;
  if (const Loop* loop = value.loop()) return loop->depth;
  return value.method() != nullptr ? depth_of(value.method()->self) + 1 : 0;
}
inline std::size_t depth_of(const std::vector<Value>& items) {
  std::size_t depth = 0;
  for (const Value& item : items) depth = std::max(depth, depth_of(item));
  return depth;
}
inline Value list_value(std::vector<Value> items, ListKind kind = ListKind::list) {
  const std::size_t depth = depth_of(items) + 1;
  return std::make_shared<const List>(List{std::move(items), kind, depth});
}
// NOLINTNEXTLINE(performance-unnecessary-value-param): its values are moved
inline Value dict_value(std::vector<std::pair<std::string_view, Value>> entries) {
  Dict dict;
  for (auto& [key, value] : entries) {
    dict.depth = std::max(dict.depth, depth_of(value) + 1);
    dict.entries.emplace_back(text_value(key), std::move(value));
  }
  return std::make_shared<const Dict>(std::move(dict));
}

}  // namespace jinja
}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
