// SPDX-License-Identifier: Apache-2.0
//
// Turns the tokens of statements into a tree; expression_parser.hpp reads the expressions in them. A statement, filter, test,
// method or function that Stilla does not know is an error that names it. It is never skipped, and its meaning is never guessed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <stilla/base/error.hpp>
#include <stilla/text/jinja/expression_parser.hpp>
#include <stilla/text/jinja/lexer.hpp>
#include <stilla/text/jinja/rendering.hpp>
#include <stilla/text/jinja/syntax_tree.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace jinja {

class Parser : private ExpressionParser {
 public:
  static Result<SyntaxTree> parse(std::string_view source, const Limits& limits) {
    if (source.size() > limits.template_bytes) {
      return Error{ErrorKind::refused_file, concat("it has ", source.size(), " bytes, more than ", limits.template_bytes)};
    }
    Result<std::vector<Token>> tokens = Lexer::read(source);
    if (!tokens) return std::move(tokens).error();
    Parser parser(std::move(*tokens), limits.depth);
    parser.tree_.root = parser.parse_block({});
    if (parser.failed()) return std::move(parser).error();
    return std::move(parser.tree_);
  }

 private:
  using ExpressionParser::ExpressionParser;

  bool sees_name(std::initializer_list<std::string_view> names) const {
    for (const std::string_view name : names) {
      if (sees(TokenKind::name, name)) return true;
    }
    return false;
  }

  // Parses statements up to a tag with one of the names in `ends`. The name itself is left to the caller. If `ends` is empty, it
  // parses up to the end of the template.
  NodeId parse_block(std::initializer_list<std::string_view> ends) {
    Node block = make(NodeKind::block);
    while (!failed()) {
      Node piece = make(NodeKind::data);
      if (sees(TokenKind::end)) {
        if (ends.size() != 0) return fail("a statement has no ", ends.begin()[ends.size() - 1]);
        break;
      }
      if (sees(TokenKind::data)) {
        piece.constant = text_value(take().text);
        block.children.push_back(add(std::move(piece)));
      } else if (skip(TokenKind::variable_begin)) {
        piece.kind = NodeKind::output;
        piece.children = {parse_tuple()};
        expect(TokenKind::variable_end, "", "}}");
        block.children.push_back(add(std::move(piece)));
      } else {
        expect(TokenKind::block_begin, "", "{%");
        if (sees_name(ends)) return add(std::move(block));
        const NodeId statement = parse_statement();
        if (statement != no_node) block.children.push_back(statement);
      }
    }
    return add(std::move(block));
  }

  // Reads the %} at the end of a tag, for example behind `endfor`.
  void end_tag() { expect(TokenKind::block_end, "", "%}"); }

  NodeId parse_statement() {
    const Nesting nesting(*this);
    if (failed()) return no_node;
    if (!sees(TokenKind::name)) return fail("expected a statement, found ", described());
    if (sees_name({"for"})) return parse_for();
    if (sees_name({"if"})) return parse_if();
    if (sees_name({"set"})) return parse_set();
    if (sees_name({"macro"})) return parse_macro();
    if (sees_name({"call"})) return parse_call_block();
    if (sees_name({"filter"})) return parse_filter_block();
    if (sees_name({"with"})) return parse_with();
    if (sees_name({"generation"})) return parse_generation();
    if (sees_name({"break", "continue"})) {
      Node node = make(sees_name({"break"}) ? NodeKind::break_loop : NodeKind::continue_loop);
      if (loops_ == 0) return fail(described(), " stands in no loop");
      take();
      end_tag();
      return add(std::move(node));
    }
    if (current().text.starts_with("end") || sees_name({"else", "elif"})) {
      return fail("the statement ", described(), " stands where no statement is open that it belongs to");
    }
    return fail("the statement ", described(), " is not supported");
  }

  NodeId parse_for() {
    Node node = make(NodeKind::for_loop);
    take();
    node.children.push_back(parse_target(false));
    expect(TokenKind::name, "in");
    node.children.push_back(parse_tuple(false));
    node.children.push_back(skip(TokenKind::name, "if") ? parse_expression() : no_node);
    if (sees_name({"recursive"})) return fail("the statement 'for ... recursive' is not supported");
    end_tag();
    ++loops_;
    const std::size_t loop_uses = loop_uses_;
    node.children.push_back(parse_block({"else", "endfor"}));
    node.looks_ahead = loop_uses_ != loop_uses;
    --loops_;
    NodeId otherwise = no_node;
    if (skip(TokenKind::name, "else")) {
      end_tag();
      otherwise = parse_block({"endfor"});
    }
    node.children.push_back(otherwise);
    expect(TokenKind::name, "endfor");
    end_tag();
    return add(std::move(node));
  }

  NodeId parse_if() {
    Node node = make(NodeKind::branches);
    while (!failed()) {
      take();  // if, elif
      node.children.push_back(parse_tuple(false));
      end_tag();
      node.children.push_back(parse_block({"elif", "else", "endif"}));
      if (!sees_name({"elif"})) break;
    }
    if (skip(TokenKind::name, "else")) {
      end_tag();
      node.children.push_back(parse_block({"endif"}));
    }
    expect(TokenKind::name, "endif");
    end_tag();
    return add(std::move(node));
  }

  NodeId parse_set() {
    Node node = make(NodeKind::assignment);
    take();
    node.children.push_back(parse_target(true));
    if (skip(TokenKind::sign, "=")) {
      node.children.push_back(parse_tuple());
      end_tag();
      return add(std::move(node));
    }
    node.kind = NodeKind::capture;
    const NodeId filters = sees(TokenKind::sign, "|") ? parse_filters(no_node) : no_node;
    end_tag();
    node.children.push_back(parse_block({"endset"}));
    node.children.push_back(filters);
    take();
    end_tag();
    return add(std::move(node));
  }

  // Parses the parameters of a macro or call block, in brackets.
  std::vector<std::pair<std::string, NodeId>> parse_parameters() {
    std::vector<std::pair<std::string, NodeId>> out;
    expect(TokenKind::sign, "(");
    while (!failed() && !sees(TokenKind::sign, ")")) {
      if (!out.empty()) expect(TokenKind::sign, ",");
      std::string name = expect_name();
      if (name == "caller") fail("a parameter named caller is not supported");
      const bool has_default = skip(TokenKind::sign, "=");
      if (!has_default && !out.empty() && out.back().second != no_node) fail("a parameter without default follows one with");
      out.emplace_back(std::move(name), has_default ? parse_expression() : no_node);
    }
    expect(TokenKind::sign, ")");
    return out;
  }

  // Parses the body of a macro, and finds out whether it uses the variables varargs and kwargs, and so takes more arguments than it
  // has parameters.
  void parse_macro_body(Node& node, std::string_view end) {
    const std::size_t loops = std::exchange(loops_, 0);
    const bool used_varargs = std::exchange(uses_varargs_, false), used_kwargs = std::exchange(uses_kwargs_, false);
    node.children.push_back(parse_block({end}));
    node.takes_more_positional = std::exchange(uses_varargs_, used_varargs);
    node.takes_more_named = std::exchange(uses_kwargs_, used_kwargs);
    loops_ = loops;
    take();
    end_tag();
  }

  NodeId parse_macro() {
    Node node = make(NodeKind::macro);
    take();
    node.name = expect_name();
    node.named = parse_parameters();
    end_tag();
    parse_macro_body(node, "endmacro");
    return add(std::move(node));
  }

  NodeId parse_call_block() {
    Node node = make(NodeKind::call_block);
    take();
    node.name = "caller";
    if (sees(TokenKind::sign, "(")) node.named = parse_parameters();
    node.children.push_back(parse_expression());
    if (!failed() && tree_[node.children[0]].kind != NodeKind::call) return fail("call needs a call of a macro");
    end_tag();
    parse_macro_body(node, "endcall");
    return add(std::move(node));
  }

  // Parses {% generation %}, which marks the text that a model has to learn in training. It has no effect on a prompt.
  NodeId parse_generation() {
    Node node = make(NodeKind::with_block);
    take();
    end_tag();
    node.children.push_back(parse_block({"endgeneration"}));
    take();
    end_tag();
    return add(std::move(node));
  }

  NodeId parse_filter_block() {
    Node node = make(NodeKind::filter_block);
    take();
    const NodeId filters = parse_filters(no_node, true);
    end_tag();
    node.children = {parse_block({"endfilter"}), filters};
    take();
    end_tag();
    return add(std::move(node));
  }

  NodeId parse_with() {
    Node node = make(NodeKind::with_block);
    take();
    while (!failed() && !sees(TokenKind::block_end)) {
      if (!node.children.empty()) expect(TokenKind::sign, ",");
      node.children.push_back(parse_one_target(false));
      expect(TokenKind::sign, "=");
      node.children.push_back(parse_expression());
    }
    end_tag();
    node.children.push_back(parse_block({"endwith"}));
    take();
    end_tag();
    return add(std::move(node));
  }

  // Parses the target of an assignment or loop: a name, several names in a tuple, or, if `takes_attribute`, an attribute of a
  // namespace.
  NodeId parse_target(bool takes_attribute) {
    const Nesting nesting(*this);
    Node tuple = make(NodeKind::tuple);
    bool is_tuple = false;
    while (!failed()) {
      tuple.children.push_back(parse_one_target(takes_attribute));
      if (!skip(TokenKind::sign, ",")) break;
      is_tuple = true;
      if (sees(TokenKind::sign, ")")) break;
    }
    return is_tuple ? add(std::move(tuple)) : tuple.children.empty() ? no_node : tuple.children[0];
  }

  NodeId parse_one_target(bool takes_attribute) {
    if (skip(TokenKind::sign, "(")) {
      const NodeId inner = parse_target(false);
      expect(TokenKind::sign, ")");
      return inner;
    }
    Node node = make(NodeKind::variable);
    node.name = expect_name();
    if (takes_attribute && skip(TokenKind::sign, ".")) {
      node.kind = NodeKind::namespace_item;
      Node space = make(NodeKind::variable);
      space.name = std::exchange(node.name, expect_name());
      node.children = {add(std::move(space))};
    }
    return add(std::move(node));
  }

  std::size_t loops_ = 0;  // number of loops around the current place
};

}  // namespace jinja
}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
