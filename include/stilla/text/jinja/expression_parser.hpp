// SPDX-License-Identifier: Apache-2.0
//
// Turns the tokens of expressions into a tree, with Jinja's order of precedence. From the weakest to the strongest: or, and, not,
// comparisons and `in`, + and -, ~, * / // %, **, unary signs, then attributes, calls, filters and tests.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <stilla/base/error.hpp>
#include <stilla/text/jinja/functions.hpp>
#include <stilla/text/jinja/lexer.hpp>
#include <stilla/text/jinja/list_filters.hpp>
#include <stilla/text/jinja/methods.hpp>
#include <stilla/text/jinja/syntax_tree.hpp>
#include <stilla/text/jinja/tests.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace jinja {

class ExpressionParser {
 protected:
  ExpressionParser(std::vector<Token> tokens, std::size_t max_depth) : tokens_(std::move(tokens)), max_depth_(max_depth) {}

  // Counts how deep the parser's functions call each other: one level as long as this object exists. Too many levels are an error,
  // so that no template can use up the stack.
  class Nesting {
   public:
    explicit Nesting(ExpressionParser& parser) : parser_(parser) {
      if (++parser_.nesting_ > parser_.max_depth_) parser_.fail_depth();
    }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;
    ~Nesting() { --parser_.nesting_; }

   private:
    ExpressionParser& parser_;
  };

  bool failed() const { return !error_.empty(); }
  Error error() && { return {ErrorKind::refused_file, std::move(error_)}; }

  template <class... Parts>
  NodeId fail(const Parts&... parts) {
    if (error_.empty()) error_ = concat("line ", current().line, ": ", parts...);
    return no_node;
  }

  const Token& current() const { return tokens_[at_]; }
  const Token& next() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  static bool is(const Token& token, TokenKind kind, std::string_view text) {
    return token.kind == kind && (text.empty() || token.text == text);
  }
  bool sees(TokenKind kind, std::string_view text = {}) const { return is(current(), kind, text); }
  // Returns the current token and moves to the next. The end token stays the current one.
  const Token& take() {
    const Token& token = current();
    at_ = std::min(at_ + 1, tokens_.size() - 1);
    return token;
  }
  bool skip(TokenKind kind, std::string_view text = {}) {
    const bool is_there = sees(kind, text) && !failed();
    if (is_there) take();
    return is_there;
  }
  void expect(TokenKind kind, std::string_view text, std::string_view called = {}) {
    if (!skip(kind, text)) fail("expected ", called.empty() ? text : called, ", found ", described());
  }
  std::string expect_name() {
    if (!sees(TokenKind::name)) return fail("expected a name, found ", described()), std::string();
    return take().text;
  }
  std::string described() const {
    switch (current().kind) {
      case TokenKind::end: return "the end";
      case TokenKind::block_end: return "%}";
      case TokenKind::variable_end: return "}}";
      default: return concat("'", printable(current().text), "'");
    }
  }

  Node make(NodeKind kind) const {
    Node node;
    node.kind = kind;
    node.line = current().line;
    return node;
  }
  NodeId fail_depth() { return fail("more than ", max_depth_, " levels of statements and expressions inside each other"); }
  NodeId add(Node node) {
    for (const NodeId child : node.children) node.depth = std::max(node.depth, tree_[child].depth + 1);
    for (const auto& [name, child] : node.named) node.depth = std::max(node.depth, tree_[child].depth + 1);
    if (node.depth > max_depth_) return fail_depth();
    tree_.nodes.push_back(std::move(node));
    return static_cast<NodeId>(tree_.nodes.size() - 1);
  }

  // Parses an expression, or several expressions with commas between them, which make a tuple.
  NodeId parse_tuple(bool takes_condition = true) {
    Node node = make(NodeKind::tuple);
    bool is_tuple = false;
    while (!failed()) {
      if (is_tuple_end()) break;
      node.children.push_back(takes_condition ? parse_expression() : parse_or());
      if (!skip(TokenKind::sign, ",")) break;
      is_tuple = true;
    }
    if (!is_tuple && node.children.empty()) return fail("expected an expression, found ", described());
    return is_tuple ? add(std::move(node)) : node.children[0];
  }

  NodeId parse_expression() {
    const Nesting nesting(*this);
    NodeId value = parse_or();
    while (skip(TokenKind::name, "if")) {
      Node node = make(NodeKind::conditional);
      const NodeId condition = parse_or();
      node.children = {condition, value, skip(TokenKind::name, "else") ? parse_expression() : no_node};
      value = add(std::move(node));
    }
    return value;
  }

  // Parses filters one after the other; `input` is the input of the first one. If `is_first_bare`, the first one has no | in front.
  NodeId parse_filters(NodeId input, bool is_first_bare = false) {
    for (bool is_first = is_first_bare; !failed() && (is_first || skip(TokenKind::sign, "|")); is_first = false) {
      Node node = make(NodeKind::filter);
      node.name = expect_name();
      node.operation = find_filter(node.name);
      if (!failed() && node.operation == nullptr) return fail("the filter '", node.name, "' is not supported");
      node.children = {input};
      if (sees(TokenKind::sign, "(")) parse_arguments(node);
      input = add(std::move(node));
    }
    return input;
  }

 private:
  bool is_tuple_end() const { return sees(TokenKind::variable_end) || sees(TokenKind::block_end) || sees(TokenKind::sign, ")"); }

  NodeId binary(NodeKind kind, NodeId left, NodeId right, Operator op = Operator::add) {
    Node node = make(kind);
    node.op = op;
    node.children = {left, right};
    return add(std::move(node));
  }

  NodeId parse_or() {
    NodeId left = parse_and();
    while (skip(TokenKind::name, "or")) left = binary(NodeKind::disjunction, left, parse_and());
    return left;
  }
  NodeId parse_and() {
    NodeId left = parse_not();
    while (skip(TokenKind::name, "and")) left = binary(NodeKind::conjunction, left, parse_not());
    return left;
  }
  NodeId parse_not() {
    const Nesting nesting(*this);
    if (failed() || !sees(TokenKind::name, "not")) return parse_comparison();
    Node node = make(NodeKind::negation);
    take();
    node.children = {parse_not()};
    return add(std::move(node));
  }

  bool skip_comparison(Operator& op) {
    constexpr std::pair<std::string_view, Operator> signs[] = {{"==", Operator::equal},         {"!=", Operator::unequal},
                                                               {"<=", Operator::less_equal},    {"<", Operator::less},
                                                               {">=", Operator::greater_equal}, {">", Operator::greater}};
    for (const auto& [sign, found] : signs) {
      if (skip(TokenKind::sign, sign)) return op = found, true;
    }
    if (skip(TokenKind::name, "in")) return op = Operator::in, true;
    if (!sees(TokenKind::name, "not") || !is(next(), TokenKind::name, "in") || failed()) return false;
    take();
    take();
    op = Operator::not_in;
    return true;
  }
  NodeId parse_comparison() {
    Node node = make(NodeKind::comparison);
    node.children = {parse_sum()};
    for (Operator op{}; skip_comparison(op);) {
      node.operators.push_back(op);
      node.children.push_back(parse_sum());
    }
    return node.operators.empty() ? node.children[0] : add(std::move(node));
  }

  NodeId parse_sum() {
    NodeId left = parse_concatenation();
    while (!failed() && (sees(TokenKind::sign, "+") || sees(TokenKind::sign, "-"))) {
      const Operator op = take().text == "+" ? Operator::add : Operator::subtract;
      left = binary(NodeKind::arithmetic, left, parse_concatenation(), op);
    }
    return left;
  }
  NodeId parse_concatenation() {
    Node node = make(NodeKind::concatenation);
    node.children = {parse_product()};
    while (skip(TokenKind::sign, "~")) node.children.push_back(parse_product());
    return node.children.size() == 1 ? node.children[0] : add(std::move(node));
  }
  NodeId parse_product() {
    constexpr std::pair<std::string_view, Operator> signs[] = {
        {"*", Operator::multiply}, {"/", Operator::divide}, {"//", Operator::floor_divide}, {"%", Operator::modulo}};
    NodeId left = parse_power();
    for (bool goes_on = true; goes_on && !failed();) {
      goes_on = false;
      for (const auto& [sign, op] : signs) {
        if (!skip(TokenKind::sign, sign)) continue;
        left = binary(NodeKind::arithmetic, left, parse_power(), op);
        goes_on = true;
      }
    }
    return left;
  }
  NodeId parse_power() {
    NodeId left = parse_unary(true);
    while (skip(TokenKind::sign, "**")) left = binary(NodeKind::arithmetic, left, parse_unary(true), Operator::power);
    return left;
  }

  NodeId parse_unary(bool takes_filters) {
    const Nesting nesting(*this);
    NodeId value = no_node;
    if (failed()) return value;
    if (sees(TokenKind::sign, "-") || sees(TokenKind::sign, "+")) {
      Node node = make(sees(TokenKind::sign, "-") ? NodeKind::negative : NodeKind::positive);
      take();
      node.children = {parse_unary(false)};
      value = add(std::move(node));
    } else {
      value = parse_primary();
    }
    value = parse_postfix(value);
    return takes_filters ? parse_filters_and_tests(value) : value;
  }

  NodeId constant(Node node, Value value) {
    node.constant = std::move(value);
    return add(std::move(node));
  }

  NodeId parse_primary() {
    Node node = make(NodeKind::constant);
    if (sees(TokenKind::string)) {
      std::string text;
      while (sees(TokenKind::string)) text += take().text;
      return constant(std::move(node), text_value(text));
    }
    if (sees(TokenKind::integer)) return constant(std::move(node), take().integer);
    if (sees(TokenKind::real)) return constant(std::move(node), take().real);
    if (skip(TokenKind::sign, "(")) {
      if (skip(TokenKind::sign, ")")) return constant(std::move(node), list_value({}, ListKind::tuple));
      const NodeId value = parse_tuple();
      expect(TokenKind::sign, ")");
      return value;
    }
    if (skip(TokenKind::sign, "[")) return parse_items(std::move(node), NodeKind::list, "]");
    if (skip(TokenKind::sign, "{")) return parse_items(std::move(node), NodeKind::dict, "}");
    if (!sees(TokenKind::name)) return fail("expected an expression, found ", described());
    std::string name = take().text;
    if (name == "true" || name == "True") return constant(std::move(node), true);
    if (name == "false" || name == "False") return constant(std::move(node), false);
    if (name == "none" || name == "None") return constant(std::move(node), None{});
    uses_varargs_ = uses_varargs_ || name == "varargs";
    uses_kwargs_ = uses_kwargs_ || name == "kwargs";
    if ((is_unknown_function(name) || name == "super") && sees(TokenKind::sign, "("))
      return fail("the function '", name, "' is not supported");
    node.kind = NodeKind::variable;
    node.name = std::move(name);
    if (node.name == "loop") ++loop_uses_;
    return add(std::move(node));
  }

  NodeId parse_items(Node node, NodeKind kind, std::string_view end) {
    node.kind = kind;
    while (!failed() && !sees(TokenKind::sign, end)) {
      if (!node.children.empty()) expect(TokenKind::sign, ",");
      if (sees(TokenKind::sign, end)) break;
      node.children.push_back(parse_expression());
      if (kind != NodeKind::dict) continue;
      expect(TokenKind::sign, ":");
      node.children.push_back(parse_expression());
    }
    expect(TokenKind::sign, end);
    return add(std::move(node));
  }

  NodeId parse_postfix(NodeId value) {
    while (!failed()) {
      if (sees(TokenKind::sign, "(")) {
        value = parse_call(value);
      } else if (skip(TokenKind::sign, "[")) {
        value = parse_subscript(value);
      } else if (skip(TokenKind::sign, ".")) {
        Node node = make(NodeKind::attribute);
        if (sees(TokenKind::integer)) {
          Node index = make(NodeKind::constant);
          node.kind = NodeKind::subscript;
          node.children = {value, constant(std::move(index), take().integer)};
        } else {
          node.name = expect_name();
          node.constant = text_value(node.name);
          node.children = {value};
          constexpr std::string_view without_later_items[] = {"index", "index0", "first", "previtem", "depth", "depth0", "cycle"};
          const bool is_of_loop = tree_[value].kind == NodeKind::variable && tree_[value].name == "loop";
          if (is_of_loop &&
              std::find(std::begin(without_later_items), std::end(without_later_items), node.name) != std::end(without_later_items)) {
            --loop_uses_;
          }
        }
        value = add(std::move(node));
      } else {
        break;
      }
    }
    return value;
  }

  NodeId parse_call(NodeId callee) {
    Node node = make(NodeKind::call);
    node.children = {callee};
    parse_arguments(node, true);
    return add(std::move(node));
  }

  NodeId parse_subscript(NodeId value) {
    Node node = make(NodeKind::subscript);
    const auto part = [&] {
      const bool is_there = !sees(TokenKind::sign, ":") && !sees(TokenKind::sign, "]") && !sees(TokenKind::sign, ",");
      return is_there ? parse_expression() : no_node;
    };
    node.children = {value, part()};
    if (skip(TokenKind::sign, ":")) {
      node.kind = NodeKind::slice;
      node.children.push_back(part());
      node.children.push_back(skip(TokenKind::sign, ":") ? part() : no_node);
    } else if (node.children[1] == no_node) {
      fail("expected an expression, found ", described());
    }
    if (sees(TokenKind::sign, ",")) return fail("a subscript of several values is not supported");
    const Text* const key = tree_[node.children[1]].constant.text();
    if (node.kind == NodeKind::subscript && key != nullptr) node.name = key->marked.bytes();
    expect(TokenKind::sign, "]");
    return add(std::move(node));
  }

  // Parses arguments in brackets. Positional arguments are added to the children of the node, and named arguments to its member `named`.
  // The last positional argument of a call may be *value.
  void parse_arguments(Node& node, bool is_call = false) {
    expect(TokenKind::sign, "(");
    bool is_first = true;
    while (!failed() && !sees(TokenKind::sign, ")")) {
      if (!std::exchange(is_first, false)) expect(TokenKind::sign, ",");
      if (sees(TokenKind::sign, ")")) break;
      if (is_call && node.more_positional == no_node && node.named.empty() && skip(TokenKind::sign, "*")) {
        node.more_positional = parse_expression();
      } else if (sees(TokenKind::sign, "*") || sees(TokenKind::sign, "**")) {
        fail("arguments with ", current().text, " are not supported");
      } else if (sees(TokenKind::name) && is(next(), TokenKind::sign, "=")) {
        std::string name = take().text;
        take();
        node.named.emplace_back(std::move(name), parse_expression());
      } else if (!node.named.empty() || node.more_positional != no_node) {
        fail("an argument without name follows one with a name or *");
      } else {
        node.children.push_back(parse_expression());
      }
    }
    expect(TokenKind::sign, ")");
  }

  NodeId parse_filters_and_tests(NodeId value) {
    while (!failed()) {
      if (sees(TokenKind::sign, "|")) {
        value = parse_filters(value);
      } else if (sees(TokenKind::name, "is")) {
        value = parse_test(value);
      } else if (sees(TokenKind::sign, "(")) {
        value = parse_call(value);
      } else {
        break;
      }
    }
    return value;
  }

  NodeId parse_test(NodeId input) {
    take();
    Node node = make(NodeKind::test);
    const bool is_negated = skip(TokenKind::name, "not");
    node.name = expect_name();
    node.operation = find_test(node.name);
    if (!failed() && node.operation == nullptr) return fail("the test '", node.name, "' is not supported");
    node.children = {input};
    const bool is_word = sees(TokenKind::name, "else") || sees(TokenKind::name, "or") || sees(TokenKind::name, "and");
    const TokenKind kind = current().kind;
    const bool is_value = kind == TokenKind::name || kind == TokenKind::string || kind == TokenKind::integer || kind == TokenKind::real ||
                          sees(TokenKind::sign, "[") || sees(TokenKind::sign, "{");
    if (sees(TokenKind::sign, "(")) {
      parse_arguments(node);
    } else if (is_value && !is_word) {
      if (sees(TokenKind::name, "is")) return fail("tests with is in a row are not supported");
      const Nesting nesting(*this);
      node.children.push_back(parse_postfix(parse_primary()));
    }
    const NodeId test = add(std::move(node));
    if (!is_negated) return test;
    Node negation = make(NodeKind::negation);
    negation.children = {test};
    return add(std::move(negation));
  }

  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  std::size_t nesting_ = 0;
  std::size_t max_depth_;
  std::string error_;

 protected:
  SyntaxTree tree_;
  bool uses_varargs_ = false, uses_kwargs_ = false;  // whether the macro that is being read uses these variables
  // How often the part of the template that has been parsed so far uses `loop`, the variable of a for statement. Uses of its attributes
  // that need no items behind the current one, such as loop.index, are not counted.
  std::size_t loop_uses_ = 0;
};

}  // namespace jinja
}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
