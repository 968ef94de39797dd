// SPDX-License-Identifier: Apache-2.0
//
// Runs the tree of a template. A name is looked up in the scopes around its place, from the innermost to the outermost, then
// among the variables of the caller, then among the functions. The body of a loop, a macro and a captured block have scopes of
// their own. Variables that are set in such a scope do not exist after it, as in Jinja; only attributes of a namespace stay.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <stilla/text/jinja/functions.hpp>
#include <stilla/text/jinja/marked_text.hpp>
#include <stilla/text/jinja/methods.hpp>
#include <stilla/text/jinja/operators.hpp>
#include <stilla/text/jinja/print.hpp>
#include <stilla/text/jinja/rendering.hpp>
#include <stilla/text/jinja/syntax_tree.hpp>
#include <stilla/text/jinja/value.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace jinja {

using Variables = std::vector<std::pair<std::string_view, Value>>;

struct Scope {
  Scope* parent = nullptr;
  std::vector<std::pair<std::string_view, Value>> variables;
  bool is_captured = false;  // a macro that was made in this scope may be called later
};

struct Macro {
  const Node* node;  // a macro or a call block
  NodeId body;
  Scope* scope;  // the scope around it
};

class Interpreter {
 public:
  // The interpreter keeps references to all arguments of this constructor.
  Interpreter(const SyntaxTree& tree, Rendering& run, const Variables& variables) : tree_(tree), run_(run), variables_(variables) {}
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;

  MarkedText render() {
    MarkedText out;
    out_ = &out;
    const InScope scope(*this, nullptr);
    execute(tree_.root);
    return out;
  }

 private:
  enum class Flow : std::uint8_t { on, leave_loop, next_item };

  // Makes a scope for variables. The scope exists as long as the InScope, or as long as the rendering if a macro was made in it.
  class InScope {
   public:
    InScope(Interpreter& machine, Scope* parent) : machine_(machine), before_(machine.scope_), scope_(new Scope{parent, {}}) {
      machine_.scope_ = scope_.get();
    }
    InScope(const InScope&) = delete;
    InScope& operator=(const InScope&) = delete;
    ~InScope() {
      machine_.scope_ = before_;
      if (!scope_->is_captured) return;
      machine_.run_.take(sizeof(Scope) + scope_->variables.capacity() * sizeof(scope_->variables[0]));
      machine_.kept_.push_back(std::move(scope_));
    }

   private:
    Interpreter& machine_;
    Scope* before_;
    std::unique_ptr<Scope> scope_;
  };

  // While a Captured exists, what the template prints goes into it and not into the output.
  class Captured {
   public:
    explicit Captured(Interpreter& machine) : machine_(machine), before_(std::exchange(machine.out_, &text_)) {}
    Captured(const Captured&) = delete;
    Captured& operator=(const Captured&) = delete;
    ~Captured() {
      machine_.out_ = before_;
      machine_.run_.give_back(taken_);
    }
    Value take() {
      taken_ = text_.memory();
      return machine_.run_.text(std::move(text_));
    }

   private:
    Interpreter& machine_;
    MarkedText* before_;
    MarkedText text_;
    std::size_t taken_ = 0;
  };

  class Level {
   public:
    explicit Level(Interpreter& machine) : machine_(machine) {
      if (++machine_.levels_ > machine_.run_.limits().levels) {
        machine_.run_.fail("more than ", machine_.run_.limits().levels, " levels of blocks and calls inside each other");
      }
    }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;
    ~Level() { --machine_.levels_; }

   private:
    Interpreter& machine_;
  };

  bool failed() const { return run_.failed(); }

  // ------------------------------------------------------------------------------- running the statements of a template

  void print(const Value& value) {
    const std::size_t before = out_->memory();
    append_str(run_, *out_, value);
    run_.take(out_->memory() - before);
  }

  Flow execute(NodeId id) {
    const Level level(*this);
    if (id == no_node || !run_.step()) return Flow::on;
    const Node& node = tree_[id];
    run_.set_line(node.line);
    switch (node.kind) {
      case NodeKind::block: return execute_all(node);
      case NodeKind::data: print(node.constant); break;
      case NodeKind::output: print(evaluate(node.children[0])); break;
      case NodeKind::for_loop: execute_loop(node); break;
      case NodeKind::branches: return execute_branches(node);
      case NodeKind::assignment: assign(node.children[0], evaluate(node.children[1])); break;
      case NodeKind::capture: execute_capture(node); break;
      case NodeKind::macro: set(node.name, make_macro(node, node.children[0])); break;
      case NodeKind::call_block: print(call(tree_[node.children[0]], make_macro(node, node.children[1]))); break;
      case NodeKind::filter_block: print(filtered(node.children[0], node.children[1])); break;
      case NodeKind::with_block: return execute_with(node);
      case NodeKind::break_loop: return Flow::leave_loop;
      case NodeKind::continue_loop: return Flow::next_item;
      default: run_.fail("an expression stands in the place of a statement");
    }
    return Flow::on;
  }

  Flow execute_all(const Node& block) {
    for (const NodeId child : block.children) {
      const Flow flow = execute(child);
      if (flow != Flow::on || failed()) return flow;
    }
    return Flow::on;
  }

  Flow execute_branches(const Node& node) {
    std::size_t i = 0;
    for (; i + 1 < node.children.size(); i += 2) {
      if (truth(evaluate(node.children[i]))) return execute(node.children[i + 1]);
      if (failed()) return Flow::on;
    }
    return i < node.children.size() ? execute(node.children[i]) : Flow::on;
  }

  void execute_loop(const Node& node) {
    const NodeId target = node.children[0], condition = node.children[2], body = node.children[3];
    std::vector<Value> items = iterate(run_, evaluate(node.children[1]));
    const auto is_chosen = [&](const Value& item) {
      const InScope scope(*this, scope_);
      assign(target, item);
      return truth(evaluate(condition));
    };
    // In {% for item in items if condition %}, the condition may depend on what the body of the loop did with the items before. So it is
    // evaluated for an item when the item's turn comes. But if the body asks for later items (as loop.length does), the condition is
    // evaluated for all items before the body runs.
    const bool chooses_later = condition != no_node && !node.looks_ahead;
    if (condition != no_node && !chooses_later) {
      std::vector<Value> chosen;
      for (const Value& item : items) {
        if (is_chosen(item)) chosen.push_back(item);
        if (failed()) return;
      }
      items = std::move(chosen);
    }
    bool is_completed = false;  // whether the body ran to its end for an item
    if (!items.empty()) {
      const LoopPtr loop = run_.loop(std::move(items));
      const std::vector<Value> candidates = chooses_later ? std::exchange(loop->items, {}) : std::vector<Value>();
      std::size_t count = 0;
      for (const Value& item : chooses_later ? candidates : loop->items) {
        if (failed() || !run_.step()) return;
        if (chooses_later && !is_chosen(item)) continue;
        if (chooses_later) loop->items.push_back(item);
        loop->index = count++;
        const InScope scope(*this, scope_);
        assign(target, item);
        set("loop", loop);
        const Flow flow = execute(body);
        if (flow == Flow::on) is_completed = true;
        if (flow == Flow::leave_loop) break;
      }
    }
    if (is_completed || failed()) return;
    const InScope scope(*this, scope_);
    execute(node.children[4]);
  }

  Flow execute_with(const Node& node) {
    std::vector<Value> values;
    for (std::size_t i = 0; i + 1 < node.children.size(); i += 2) values.push_back(evaluate(node.children[i + 1]));
    const InScope scope(*this, scope_);
    for (std::size_t i = 0; i < values.size(); ++i) assign(node.children[2 * i], values[i]);
    return execute(node.children.back());
  }

  // Runs a block and captures what it prints. The result is this text, after the filters have been applied, if there are any.
  Value filtered(NodeId block, NodeId filters) {
    Value text;
    {
      Captured captured(*this);
      const InScope scope(*this, scope_);
      execute(block);
      text = captured.take();
    }
    if (filters == no_node) return text;
    std::swap(captured_, text);
    Value out = evaluate(filters);
    std::swap(captured_, text);
    return out;
  }

  void execute_capture(const Node& node) { assign(node.children[0], filtered(node.children[1], node.children[2])); }

  void set(std::string_view name, Value value) {
    for (auto& [known, old] : scope_->variables) {
      if (known == name) {
        old = std::move(value);
        return;
      }
    }
    scope_->variables.emplace_back(name, std::move(value));
  }

  void assign(NodeId target, const Value& value) {
    const Node& node = tree_[target];
    if (failed()) return;
    if (node.kind == NodeKind::variable) return set(node.name, value);
    if (node.kind == NodeKind::namespace_item) return assign_attribute(node, value);
    const std::vector<Value> items = iterate(run_, value);
    if (items.size() != node.children.size()) {
      run_.fail(items.size(), " values for ", node.children.size(), " names");
      return;
    }
    for (std::size_t i = 0; i < items.size(); ++i) assign(node.children[i], items[i]);
  }

  void assign_attribute(const Node& node, const Value& value) {
    const Value owner = evaluate(node.children[0]);
    Namespace* const space = owner.name_space();
    if (space == nullptr) {
      run_.fail("'", printable(tree_[node.children[0]].name), "' is no namespace, so its attributes cannot be set");
      return;
    }
    if (node.name.starts_with('_')) return void(run_.fail("an attribute of a namespace begins with _"));
    for (auto& [name, old] : space->attributes) {
      if (name == node.name) {
        old = value;
        return;
      }
    }
    if (run_.take(sizeof(space->attributes[0]) + node.name.size())) space->attributes.emplace_back(node.name, value);
  }

  // ------------------------------------------------------------------------------ evaluating expressions of a template

  Value evaluate(NodeId id) {
    const Level level(*this);
    if (id == no_node || !run_.step()) return {};
    const Node& node = tree_[id];
    run_.set_line(node.line);
    switch (node.kind) {
      case NodeKind::constant: return node.constant;
      case NodeKind::variable: return find(node.name);
      case NodeKind::attribute: return attribute_of(run_, child(node, 0), node.constant, node.name);
      case NodeKind::subscript: return evaluate_subscript(node);
      case NodeKind::slice: return evaluate_slice(node);
      case NodeKind::list: return run_.list(evaluate_children(node));
      case NodeKind::tuple: return run_.list(evaluate_children(node), ListKind::tuple);
      case NodeKind::dict: return evaluate_dict(node);
      case NodeKind::call: return call(node, Value());
      case NodeKind::filter:
      case NodeKind::test: return evaluate_operation(node);
      case NodeKind::negative:
      case NodeKind::positive: return evaluate_sign(node);
      case NodeKind::negation: return !truth(child(node, 0));
      case NodeKind::conjunction:
      case NodeKind::disjunction: {
        Value left = child(node, 0);
        return truth(left) == (node.kind == NodeKind::conjunction) ? child(node, 1) : left;
      }
      case NodeKind::arithmetic: return evaluate_arithmetic(node);
      case NodeKind::concatenation: return evaluate_concatenation(node);
      case NodeKind::comparison: return evaluate_comparison(node);
      case NodeKind::conditional: return truth(child(node, 0)) ? child(node, 1) : child(node, 2);
      default: return run_.fail("a statement stands in the place of an expression");
    }
  }

  Value child(const Node& node, std::size_t i) { return evaluate(node.children[i]); }

  Value find(const std::string& name) {
    for (const Scope* scope = scope_; scope != nullptr; scope = scope->parent) {
      for (const auto& [known, value] : scope->variables) {
        if (known == name) return value;
      }
    }
    for (const auto& [known, value] : variables_) {
      if (known == name) return value;
    }
    if (const Function* function = find_function(name)) return function;
    if (is_unknown_function(name)) return run_.fail("the function '", name, "' is not supported");
    return Undefined{&name};
  }

  std::vector<Value> evaluate_children(const Node& node, std::size_t first = 0) {
    std::vector<Value> out;
    out.reserve(node.children.size() - first);
    for (std::size_t i = first; i < node.children.size() && !failed(); ++i) out.push_back(child(node, i));
    return out;
  }

  Value evaluate_subscript(const Node& node) {
    const Value value = child(node, 0), key = child(node, 1);
    run_.set_line(node.line);
    return failed() ? Value() : item_of(run_, value, key, node.name.empty() ? nullptr : &node.name);
  }

  Value evaluate_slice(const Node& node) {
    const Value value = child(node, 0);
    const auto part = [&](std::size_t i) { return node.children[i] == no_node ? Value(None{}) : child(node, i); };
    const Value parts[3] = {part(1), part(2), part(3)};
    return failed() ? Value() : slice_of(run_, value, parts);
  }

  Value evaluate_dict(const Node& node) {
    std::vector<std::pair<Value, Value>> entries;
    for (std::size_t i = 0; i < node.children.size() && !failed(); i += 2) {
      const Value key = child(node, i);
      Value value = child(node, i + 1);
      if (key.dict() || (key.list() && key.list()->kind != ListKind::tuple)) {
        return run_.fail("a key of type ", type_name(key));
      }
      const auto known = std::find_if(entries.begin(), entries.end(), [&](const auto& e) { return equal(run_, e.first, key); });
      if (known == entries.end()) {
        entries.emplace_back(key, std::move(value));
      } else {
        known->second = std::move(value);
      }
    }
    return run_.dict(std::move(entries));
  }

  Value evaluate_operation(const Node& node) {
    const Value input = node.children[0] == no_node ? captured_ : child(node, 0);
    const Arguments given = arguments(node);
    run_.set_line(node.line);
    return failed() ? Value() : node.operation(run_, input, given);
  }

  Value evaluate_sign(const Node& node) {
    const Value value = child(node, 0);
    if (value.is_undefined()) return failed() ? Value() : undefined_error(run_, value);
    if (!number_of(value)) return run_.fail("the sign of a ", type_name(value));
    if (node.kind == NodeKind::positive) return integer_of(value) ? Value(*integer_of(value)) : value;
    if (value.as<double>()) return -*value.as<double>();
    return arithmetic(run_, Operator::subtract, std::int64_t{0}, value);
  }

  Value evaluate_arithmetic(const Node& node) {
    const Value left = child(node, 0), right = child(node, 1);
    run_.set_line(node.line);
    return failed() ? Value() : arithmetic(run_, node.op, left, right);
  }

  Value evaluate_concatenation(const Node& node) {
    MarkedText out;
    for (std::size_t i = 0; i < node.children.size() && run_.room(out.memory()); ++i) append_str(run_, out, child(node, i));
    return run_.text(std::move(out));
  }

  Value evaluate_comparison(const Node& node) {
    Value left = child(node, 0);
    for (std::size_t i = 0; i < node.operators.size() && !failed(); ++i) {
      Value right = child(node, i + 1);
      run_.set_line(node.line);
      if (failed() || !compare(run_, node.operators[i], left, right)) return false;
      left = std::move(right);
    }
    return true;
  }

  // ----------------------------------------------------------------- calling functions, methods and macros of a template

  Arguments arguments(const Node& node) {
    Arguments out;
    out.positional = evaluate_children(node, 1);
    if (node.more_positional != no_node) {
      for (Value& value : iterate(run_, evaluate(node.more_positional))) out.positional.push_back(std::move(value));
    }
    for (const auto& [name, value] : node.named) out.named.emplace_back(name, evaluate(value));
    return out;
  }

  // Evaluates a call. `caller` is undefined, or the macro that a {% call %} block passes.
  Value call(const Node& node, const Value& caller) {
    const Value callee = child(node, 0);
    Arguments given = arguments(node);
    run_.set_line(node.line);
    if (failed()) return {};
    if (const Macro* macro = callee.macro()) return call_macro(*macro, given, caller);
    if (!caller.is_undefined()) return run_.fail("call needs a call of a macro");
    if (const Function* function = callee.function()) return function->operation(run_, given);
    if (const Method* method = callee.method()) return call_method(run_, *method, given);
    const Node& called = tree_[node.children[0]];
    if (called.kind == NodeKind::attribute && !is_method_name(called.name)) {
      return run_.fail("the method '", printable(called.name), "' is not supported");
    }
    if (callee.is_undefined()) return undefined_error(run_, callee);
    return run_.fail("a value of the type ", type_name(callee), " is called like a function");
  }

  Value make_macro(const Node& node, NodeId body) {
    for (Scope* scope = scope_; scope != nullptr && !scope->is_captured; scope = scope->parent) scope->is_captured = true;
    if (!run_.take(sizeof(Macro))) return {};
    return static_cast<const Macro*>(&macros_.emplace_back(Macro{&node, body, scope_}));
  }

  Value call_macro(const Macro& macro, const Arguments& given, const Value& caller) {
    const Level level(*this);  // does not fail: evaluating the callee has reached this level before
    Captured captured(*this);
    const InScope scope(*this, macro.scope);
    if (!caller.is_undefined()) set("caller", caller);
    if (!bind(*macro.node, given)) return {};
    execute(macro.body);
    return captured.take();
  }

  // Sets the parameters of a macro as variables of the current scope.
  bool bind(const Node& macro, const Arguments& given) {
    std::vector<bool> is_used(given.named.size(), false);
    for (std::size_t i = 0; i < macro.named.size(); ++i) {
      const auto& name = macro.named[i].first;  // no structured binding, because clang 14 cannot capture one
      const auto& fallback = macro.named[i].second;
      const auto named = std::find_if(given.named.begin(), given.named.end(), [&](const auto& n) { return n.first == name; });
      if (i < given.positional.size()) {
        set(name, given.positional[i]);
      } else if (named != given.named.end()) {
        is_used[static_cast<std::size_t>(named - given.named.begin())] = true;
        set(name, named->second);
      } else {
        set(name, fallback != no_node ? evaluate(fallback) : Value(Undefined{&name}));
      }
    }
    bind_others(macro, given, is_used);
    return !failed();
  }

  // Sets the macro's variables varargs and kwargs: the arguments for which it has no parameters. If the macro does not use these
  // variables, such an argument is an error.
  void bind_others(const Node& macro, const Arguments& given, const std::vector<bool>& is_used) {
    const std::size_t taken = std::min(macro.named.size(), given.positional.size());
    if (macro.takes_more_positional) {
      const auto first = given.positional.begin() + static_cast<std::ptrdiff_t>(taken);
      set("varargs", run_.list(std::vector<Value>(first, given.positional.end()), ListKind::tuple));
    } else if (taken < given.positional.size()) {
      run_.fail("macro '", macro.name, "' takes at most ", macro.named.size(), " arguments");
    }
    std::vector<std::pair<Value, Value>> others;
    for (std::size_t i = 0; i < given.named.size(); ++i) {
      if (is_used[i]) continue;
      if (!macro.takes_more_named) {
        run_.fail("macro '", macro.name, "' takes no argument '", given.named[i].first, "'");
      }
      others.emplace_back(run_.text(given.named[i].first), given.named[i].second);
    }
    if (macro.takes_more_named) set("kwargs", run_.dict(std::move(others)));
  }

  const SyntaxTree& tree_;
  Rendering& run_;
  const Variables& variables_;
  MarkedText* out_ = nullptr;
  Scope* scope_ = nullptr;
  Value captured_;  // the text of the block to which filters are being applied
  std::size_t levels_ = 0;
  std::deque<Macro> macros_;
  std::vector<std::unique_ptr<Scope>> kept_;
};

}  // namespace jinja
}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
