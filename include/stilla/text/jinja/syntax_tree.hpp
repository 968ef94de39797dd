// SPDX-License-Identifier: Apache-2.0
//
// A template as a tree. All nodes lie in one array and refer to each other by index, so that a tree of any depth is freed without
// recursion.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <stilla/text/jinja/operators.hpp>
#include <stilla/text/jinja/parameters.hpp>
#include <stilla/text/jinja/value.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace jinja {

using NodeId = std::uint32_t;
inline constexpr NodeId no_node = 0;

enum class NodeKind : std::uint8_t {  // the comment beside each kind lists the children of its nodes; optional ones may be no_node
  nothing,
  // The following kinds of nodes are expressions.
  constant,        //
  variable,        //
  attribute,       // value; the attribute's name is in `name`, and also as a text in `constant`
  subscript,       // value, key
  slice,           // value, start, stop, step, each optional
  list,            // items
  tuple,           // items
  dict,            // key, value, key, value, ...
  call,            // callee, arguments
  filter,          // input, arguments; no_node as input: the input is the text that a filter block captured
  test,            // input, arguments
  negative,        // value
  positive,        // value
  negation,        // value
  conjunction,     // left, right
  disjunction,     // left, right
  arithmetic,      // left, right
  concatenation,   // parts
  comparison,      // first, others; `operators` has those between them
  conditional,     // condition, then, else (optional)
  namespace_item,  // the variable of the namespace; only as a target
  // The following kinds of nodes are statements.
  block,           // statements
  data,            // text in `constant`
  output,          // expression
  for_loop,        // target, iterable, condition (optional), body, else (optional)
  branches,        // condition, block, condition, block, ..., else (optional)
  assignment,      // target, value
  capture,         // target, block, filters (optional)
  macro,           // body; parameters in `named`, where a default may be no_node
  call_block,      // call, body; parameters in `named`
  filter_block,    // block, filters
  with_block,      // target, value, target, value, ..., body
  break_loop,      //
  continue_loop,   //
};

struct Node {
  NodeKind kind = NodeKind::nothing;
  Operator op = Operator::add;
  bool takes_more_positional = false, takes_more_named = false;  // a macro that uses varargs or kwargs
  bool looks_ahead = false;  // a for statement whose body may ask `loop` for items that come later: loop.last, loop.length, ...
  std::uint32_t line = 1;
  std::uint32_t depth = 1;  // number of levels of nodes, from here down
  std::string name;
  Value constant;
  Operation operation = nullptr;  // the function of a filter or test
  std::vector<NodeId> children;
  NodeId more_positional = no_node;  // of a call: the value whose items are further arguments, written as *value
  std::vector<std::pair<std::string, NodeId>> named;
  std::vector<Operator> operators;
};

struct SyntaxTree {
  std::vector<Node> nodes{Node{}};  // the first is no_node
  NodeId root = no_node;

  const Node& operator[](NodeId id) const { return nodes[id]; }
};

}  // namespace jinja
}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
