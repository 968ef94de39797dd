// SPDX-License-Identifier: Apache-2.0
//
// The part of Jinja that chat templates use, with the results that the library transformers gives. A template is parsed once, and then
// rendered with different variables. Renderings share nothing, so that several threads may render one template at the same time.
//
//   Result<jinja::Template> greeting = jinja::Template::parse("Hello {{ name|upper }}!");
//   Result<MarkedText> text = greeting->render({{"name", jinja::text_value("you", jinja::from_message)}}, {});
//   // HELLO YOU!, in which YOU is marked as text of a message
//
// A template comes from a file that nobody has checked. It can therefore only make text: it has no access to files or to anything
// else of the computer, and its steps, memory, output and depth are limited (rendering.hpp). A mistake in a template is an Error
// with one line of text, which begins with the line number in the template. Parts of Jinja that Stilla does not know are refused
// by name when the template is parsed: include, import, extends, block, recursive loops, arguments with ** or (of filters and tests)
// with *, and the rarer filters, tests, methods and functions.
//
// Expressions, statements and white space behave as in Jinja 3.1, values as in Python: None prints as None, 1/2 is 0.5, and a
// list prints as by repr(). An integer has 64 bits; a larger one is an error.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include <stilla/base/error.hpp>
#include <stilla/text/jinja/interpreter.hpp>
#include <stilla/text/jinja/marked_text.hpp>
#include <stilla/text/jinja/parser.hpp>
#include <stilla/text/jinja/rendering.hpp>
#include <stilla/text/jinja/syntax_tree.hpp>
#include <stilla/text/jinja/value.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace jinja {

class Template {
 public:
  // The message of an error begins with "line N: ".
  static Result<Template> parse(std::string_view source, const Limits& limits = {}) {
    Result<SyntaxTree> tree = Parser::parse(source, limits);
    if (!tree) return std::move(tree).error();
    return Template(std::move(*tree), limits);
  }

  // The caller makes the variables (value.hpp). `now` is the time that strftime_now() uses.
  Result<MarkedText> render(const Variables& variables, const LocalTime& now) const {
    Rendering run(limits_, now);
    MarkedText out;
    {
      Interpreter interpreter(tree_, run, variables);
      out = interpreter.render();
    }
    if (run.failed()) return Error{ErrorKind::refused_file, concat("line ", run.error_line(), ": ", run.error())};
    return out;
  }

 private:
  Template(SyntaxTree tree, const Limits& limits) : tree_(std::move(tree)), limits_(limits) {}

  SyntaxTree tree_;
  Limits limits_;
};

}  // namespace jinja
}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
