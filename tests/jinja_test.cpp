// SPDX-License-Identifier: Apache-2.0
#include <stilla/text/jinja/template.hpp>

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <stilla/text/builtin_templates.hpp>

#include "read_file.hpp"
#include "template_golden.hpp"
#include "test_paths.hpp"

namespace stilla { namespace {

const Json& golden() {
  static const Json json = Json::parse(stilla_test::read_file(concat(stilla_test::test_data, "/templates.json")));
  return json;
}

// Returns the rendered text, or "ERROR: " and the message.
std::string rendered(std::string_view source, const jinja::Variables& variables = {}, const jinja::Limits& limits = {}) {
  const auto parsed = jinja::Template::parse(source, limits);
  if (!parsed) return concat("ERROR: ", parsed.error().message);
  const auto text = parsed->render(variables, time_of(golden()));
  return text ? std::string(text->bytes()) : concat("ERROR: ", text.error().message);
}

std::string template_named(std::string_view name) {
  for (const auto& [builtin, source] : detail::builtin_templates) {
    if (concat("builtin:", builtin) == name) return std::string(source);
  }
  return stilla_test::read_file(concat(stilla_test::test_data, "/templates/", name, ".jinja"));
}

// Constructs of the template language are rendered as by Python's jinja2, which wrote the expected texts
// (golden/make_template_golden.py).
TEST(Jinja, ConstructsAsInPython) {
  const jinja::Variables variables = variables_of(golden().at("conversations").at(0));
  std::size_t count = 0;
  for (const Json& entry : golden().at("constructs")) {
    const std::string source = entry.at(0).get<std::string>(), found = rendered(source, variables);
    if (entry.at(1).is_null()) {
      EXPECT_TRUE(found.starts_with("ERROR: line ")) << source << "\n" << found;
    } else {
      EXPECT_EQ(found, entry.at(1).get<std::string>()) << source;
    }
    ++count;
  }
  EXPECT_GT(count, 100u);
}

TEST(Jinja, ShapesAsInPython) {
  std::size_t count = 0;
  for (auto shape = golden().at("shapes").begin(); shape != golden().at("shapes").end(); ++shape) {
    const std::string source = template_named(shape.key());
    for (std::size_t i = 0; i < shape.value().size(); ++i) {
      const std::string found = rendered(source, variables_of(golden().at("conversations").at(i)));
      const Json& expected = shape.value().at(i);
      if (expected.is_null()) {
        EXPECT_TRUE(found.starts_with("ERROR: line ")) << shape.key() << " " << i << "\n" << found;
      } else {
        EXPECT_EQ(found, expected.get<std::string>()) << shape.key() << ", conversation " << i;
      }
      ++count;
    }
  }
  EXPECT_GE(count, 200u);
}

// Returns the rendered text, in which the parts that came from messages are in brackets.
std::string marked(std::string_view source) {
  const jinja::Variables variables{{"m", jinja::text_value("a <b>", jinja::first_place)}, {"t", jinja::text_value("T")}};
  const auto parsed = jinja::Template::parse(source);
  if (!parsed) return parsed.error().message;
  const auto text = parsed->render(variables, {});
  if (!text) return text.error().message;
  std::string out;
  bool was_message = false;
  text->for_each_run(0, text->size(), [&](std::string_view bytes, jinja::Origin origin) {
    const bool is_message = origin != jinja::from_template;
    if (is_message != was_message) out += is_message ? "[" : "]";
    was_message = is_message;
    out += bytes;
  });
  return was_message ? out + "]" : out;
}

TEST(Jinja, MarksWhatMessagesWrote) {
  EXPECT_EQ(marked("x{{ m }}y{{ t }}"), "x[a <b>]yT");
  EXPECT_EQ(marked("{{ 'x' + m ~ 'y' }}"), "x[a <b>]y");
  EXPECT_EQ(marked("{{ m|trim|upper }}{{ m.title() }}"), "[A <B>A <B>]");
  EXPECT_EQ(marked("{{ m.replace('<', '{') }}"), "[a ]{[b>]");
  EXPECT_EQ(marked("{{ m.split(' ')|join('-') }}"), "[a]-[<b>]");
  EXPECT_EQ(marked("{{ m[2:] ~ m[0] ~ m[::-1] }}"), "[<b>a>b< a]");
  EXPECT_EQ(marked("{{ [m, 'z'] }}{{ {'k': m}|tojson }}"), "['[a <b>]', 'z']{\"k\": \"[a <b>]\"}");
  EXPECT_EQ(marked("{{ m|escape }}"), "[a &lt;b&gt;]");
  EXPECT_EQ(marked("{{ '%s!' % m }}{{ '{}!'.format(m) }}{{ '%5s|' % m[0] }}"), "[a <b>]![a <b>]!    [a]|");
  EXPECT_EQ(marked("{% set x %}<{{ m }}{% endset %}{{ x * 2 }}"), "<[a <b>]<[a <b>]");
  EXPECT_EQ(marked("{% macro f(a) %}({{ a }}){% endmacro %}{{ f(m) }}"), "([a <b>])");
  EXPECT_EQ(marked("{% for c in m %}{{ c }}.{% endfor %}{{ m|list|join }}"), "[a].[ ].[<].[b].[>].[a <b>]");
  EXPECT_EQ(marked("{{ m|indent(2, true) }}{{ m|center(7) }}{{ m|truncate(3, true, '…', 0) }}"), "  [a <b>] [a <b>] [a ]…");
  EXPECT_EQ(marked("{{ m|length }}{{ 'yes' if 'b' in m else 'no' }}"), "5yes");
}

// For each byte of the rendered text, the template engine remembers the byte of the message that it was copied from. It can do so
// as long as a template only cuts and copies the message.
TEST(Jinja, PlacesFollowCopiedBytes) {
  const jinja::Variables variables{{"m", jinja::text_value("hm</think>\n\nyes", jinja::first_place + 100)}};
  const auto text = jinja::Template::parse("<{{ m.split('</think>')[-1].strip() }}>")->render(variables, {});
  ASSERT_TRUE(text);
  std::vector<std::pair<std::string, jinja::Origin>> runs;
  text->for_each_run(0, text->size(), [&](std::string_view bytes, jinja::Origin origin) { runs.emplace_back(bytes, origin); });
  const std::vector<std::pair<std::string, jinja::Origin>> expected{
      {"<", jinja::from_template}, {"yes", jinja::first_place + 112}, {">", jinja::from_template}};
  EXPECT_EQ(runs, expected);
}

TEST(Jinja, WhatIsNotKnownIsRefusedByName) {
  const std::pair<std::string_view, std::string_view> cases[] = {
      {"a\n{% include 'x' %}", "ERROR: line 2: the statement 'include' is not supported"},
      {"{% import 'x' as y %}", "ERROR: line 1: the statement 'import' is not supported"},
      {"{% extends 'x' %}", "ERROR: line 1: the statement 'extends' is not supported"},
      {"{% do x %}", "ERROR: line 1: the statement 'do' is not supported"},
      {"{{ 1|xmlattr }}", "ERROR: line 1: the filter 'xmlattr' is not supported"},
      {"{% if 0 %}{{ 1 is nosuch }}{% endif %}", "ERROR: line 1: the test 'nosuch' is not supported"},
      {"\n\n{{ x.__class__() }}", "ERROR: line 3: the method '__class__' is not supported"},
      {"{{ x.append(1) }}", "ERROR: line 1: the method 'append' is not supported"},
      {"{{ cycler(1) }}", "ERROR: line 1: the function 'cycler' is not supported"},
      {"{{ f(*a) }}", "ERROR: line 1: arguments with * are not supported"},
      {"{% for x in y recursive %}{% endfor %}", "ERROR: line 1: the statement 'for ... recursive' is not supported"},
      {"{{ strftime_now('%Q') }}", "ERROR: line 1: strftime_now() with '%Q' is not supported"},
      {"{{ '%q' % 1 }}", "ERROR: line 1: the format '%q' is not supported"},
      {"\n{{ nobody.x }}", "ERROR: line 2: 'nobody' is undefined"},
      {"{{ ''.__class__ }}", ""},  // as in jinja2's sandbox, such an attribute does not exist
      {"{{ 9223372036854775807 + 1 }}", "ERROR: line 1: an integer beyond 64 bits"},
  };
  for (const auto& [source, expected] : cases) EXPECT_EQ(rendered(source), expected) << source;
}

TEST(Jinja, RunsWithinItsLimits) {
  const std::pair<std::string_view, std::string_view> cases[] = {
      {"{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "steps"},
      {"{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}", "bytes"},
      {"{{ 'x' * 1000000000000 }}", "bytes"},
      {"{{ [0] * 1000000000 }}", "bytes"},
      {"{{ 'x'|center(99999999999) }}", "bytes"},
      {"{{ '%999999s' % 'x' * 999999 }}", "bytes"},
      {"{{ ('ab' * 999999).replace('', 'abcdefgh' * 99999) }}", "bytes"},
      {"{{ range(999999999) }}", "range() of more than 100000 numbers"},
      {"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "levels"},
      {"{% set ns = namespace(x=[]) %}{% for i in range(999) %}{% set ns.x = [ns.x] %}{% endfor %}", "nested more than"},
      {"{% set ns = namespace(x=0) %}{% for i in range(999) %}{% for j in [ns.x] %}{% set ns.x = loop %}{% endfor %}{% endfor %}",
       "nested more than"},
      {"{% for a in range(9999) %}{% set x %}{% for b in range(9999) %}{{ 'x' * 9999 }}{% endfor %}{% endset %}{% endfor %}", "bytes"},
  };
  jinja::Limits few;  // reaching the default limits would take long under a sanitizer
  few.steps = 3'000'000;
  few.memory = std::size_t{8} << 20;
  few.text = std::size_t{4} << 20;
  for (const auto& [source, expected] : cases) {
    const std::string found = rendered(source, {}, few);
    EXPECT_TRUE(found.starts_with("ERROR: line 1: ") && found.find(expected) != std::string::npos) << source << "\n" << found;
  }
  const std::pair<std::string_view, std::string_view> nests[] = {{"(", ")"},   {"[", "]"},  {"not ", ""}, {"-", ""},
                                                                 {"{1:", "}"}, {"f(", ")"}, {"x if ", ""}};
  for (const auto& [open, close] : nests) {
    std::string deep = "{{ ", end;
    for (int i = 0; i < 5000; ++i) {
      deep += open;
      end += close;
    }
    const std::string found = rendered(concat(deep, "1", end, " }}"));
    EXPECT_TRUE(found.starts_with("ERROR: line 1: more than 160 levels")) << open << found;
  }
  std::string sum = "{{ 1";
  for (int i = 0; i < 5000; ++i) sum += "+1";
  EXPECT_TRUE(rendered(sum + " }}").starts_with("ERROR: line 1: more than 160 levels"));
  std::string blocks;
  for (int i = 0; i < 5000; ++i) blocks += "{% if 1 %}";
  EXPECT_TRUE(rendered(blocks).starts_with("ERROR: line 1: more than 160 levels"));
  jinja::Limits limits;
  limits.template_bytes = 3;
  EXPECT_EQ(rendered("abcd", {}, limits), "ERROR: it has 4 bytes, more than 3");
}

// A chat of hundreds of long messages, which fills a large context, stays far below the limits that the template engine has for
// steps and memory, also with a template that builds its text step by step.
TEST(Jinja, LongConversationsFit) {
  std::vector<jinja::Value> messages;
  for (int i = 0; i < 400; ++i) {
    messages.push_back(jinja::dict_value({{"role", jinja::text_value(i % 2 == 0 ? "user" : "assistant")},
                                          {"content", jinja::text_value(std::string(2500, 'x'), jinja::from_message)}}));
  }
  const jinja::Variables variables{{"messages", jinja::list_value(std::move(messages))}, {"add_generation_prompt", true}};
  EXPECT_GT(rendered(template_named("chatml-thinking"), variables).size(), 1000000u);
  EXPECT_GT(rendered("{% set ns = namespace(x='') %}{% for m in messages %}{% set ns.x = ns.x ~ m.role ~ m.content %}{% endfor %}"
                     "{{ ns.x }}",
                     variables)
                .size(),
            1000000u);
}

}  // namespace
}  // namespace stilla
