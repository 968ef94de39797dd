// SPDX-License-Identifier: Apache-2.0
#include <stilla/text/jinja/template.hpp>

#include <cstddef>
#include <string>
#include <string_view>
#include <tuple>
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
  EXPECT_EQ(marked("{{ m.replace('<', '{') }}{{ m|replace('<', '<') }}"), "[a {b>a <b>]");
  EXPECT_EQ(marked("{{ ('x' ~ m).replace('x', 'y') }}{{ m.replace('', '.') }}{{ 'x'.replace('x', m) }}"),
            "y[a <b>].[a].[ ].[<].[b].[>].[a <b>]");
  EXPECT_EQ(marked("{{ m.split(' ')|join('-') }}"), "[a]-[<b>]");
  EXPECT_EQ(marked("{{ m[2:] ~ m[0] ~ m[::-1] }}"), "[<b>a>b< a]");
  EXPECT_EQ(marked("{{ [m, 'z'] }}{{ {'k': m}|tojson }}"), "['[a <b>]', 'z']{\"k\": \"[a <b>]\"}");
  EXPECT_EQ(marked("{{ m|escape }}"), "[a &lt;b&gt;]");
  EXPECT_EQ(marked("{{ '%s!' % m }}{{ '{}!'.format(m) }}{{ '%5s|' % m[0] }}"), "[a <b>]![a <b>]!    [a]|");
  EXPECT_EQ(marked("{% set x %}<{{ m }}{% endset %}{{ x * 2 }}"), "<[a <b>]<[a <b>]");
  EXPECT_EQ(marked("{% macro f(a) %}({{ a }}){% endmacro %}{{ f(m) }}"), "([a <b>])");
  EXPECT_EQ(marked("{% for c in m %}{{ c }}.{% endfor %}{{ m|list|join }}"), "[a].[ ].[<].[b].[>].[a <b>]");
  EXPECT_EQ(marked("{{ m|indent(2, true) }}{{ m|center(7) }}{{ m|truncate(3, true, '…', 0) }}"), "  [a <b>] [a <b>] [a ]…");
  EXPECT_EQ(marked("{{ (m ~ 'x' ~ m)|upper }}{{ ('x' ~ m)|escape }}"), "[A <B>]X[A <B>]x[a &lt;b&gt;]");
  EXPECT_EQ(marked("{{ m|length }}{{ 'yes' if 'b' in m else 'no' }}"), "5yes");
}

// Every filter, method, function and operator that makes a text gets a message with a control token. Whatever it makes of the
// message, no byte of the token counts as the template's text. The templates themselves write no < | or >, so each of these bytes
// in a rendered text comes from the message.
TEST(Jinja, NothingMakesTheTemplatesTextOfAMessage) {
  constexpr std::string_view sources[] = {
      "{{ m }}{{ m ~ m }}{{ m + m }}{{ m * 2 }}{{ m[0] }}{{ m[1:] }}{{ m[::-1] }}{{ m if m else '' }}{{ '' or m }}",
      "{{ [m] }}{{ (m,) }}{{ {m: m} }}{{ [[{'k': (m, m)}]] }}{{ '' ~ [m] }}{{ {m: 1}.keys() }}{{ {m: m}.items() }}{{ {'k': m}.values() }}",
      "{{ '%s' % m }}{{ '%r' % m }}{{ '%-20s' % m }}{{ '%20.4s' % m }}{{ m % () }}{{ (m ~ '%d%%') % 1 }}{{ (m ~ '%5s') % m }}",
      "{{ '%s' % [m] }}{{ '%s%s'|format(m, m) }}{{ m|format }}{{ '{}{0}{k}'.format(m, k=m) }}{{ m.format() }}{{ (m ~ '{}').format(m) }}",
      "{{ strftime_now(m) }}{{ strftime_now(m ~ '%Y%%') }}{{ strftime_now('%Y' ~ m[0]) }}",
      "{% set ns = namespace(x=m) %}{% set ns.x = ns.x ~ m %}{{ ns.x }}{{ dict(k=m) }}{{ dict({m: 1}, k=m).copy() }}{{ ns|attr('x') }}",
      "{% set x %}{{ m }}{% endset %}{{ x }}{% set y | upper %}{{ m }}{% endset %}{{ y }}{% filter title %}{{ m }}{% endfilter %}",
      "{% macro f(a, b=m) %}{{ a }}{{ b }}{{ varargs }}{{ kwargs }}{{ caller(a) if caller else '' }}{% endmacro %}{{ f(m, m, m, k=m) }}",
      "{% macro g(a) %}{{ caller(a) }}{% endmacro %}{% call(v) g(m) %}{{ v }}{{ m }}{% endcall %}",
      "{% for c in m %}{{ c }}{{ loop.cycle(m, c) }}{{ loop.previtem }}{{ loop.nextitem }}{% endfor %}",
      "{{ m|capitalize }}{{ m|title }}{{ m|upper }}{{ m|lower }}{{ m|upper|lower }}{{ m|trim }}{{ m|trim('n') }}{{ m|string }}{{ "
      "[m]|string }}",
      "{{ m|center(40) }}{{ m|indent }}{{ m|indent(m, true, true) }}{{ (m ~ '\n\n' ~ m)|indent(m) }}{{ 'a\nb'|indent(m) }}",
      "{{ m|escape }}{{ m|e }}{{ m|safe }}{{ [m|safe] }}{{ (m|safe) + m }}{{ (m|safe).replace('i', m) }}{{ (m|safe).join([m, m]) }}",
      "{{ m|replace('i', 'j') }}{{ 'x'|replace('x', m) }}{{ m|replace(m, m) }}{{ m|truncate(4, true, m[:1], 0) }}{{ 'a b c'|truncate(1, "
      "true, m[:1], 0) }}",
      "{{ m|urlencode }}{{ m|tojson }}{{ m|tojson(true) }}{{ [m, {m: m}]|tojson(indent=m, separators=(m, m)) }}{{ {m: "
      "m}|tojson(sort_keys=true) }}",
      "{{ nobody|default(m) }}{{ ''|d(m, true) }}{{ [m, m]|join }}{{ ['', '']|join(m) }}{{ [{'k': m}]|join(m, 'k') }}{{ [m]|sum(start='') "
      "}}",
      "{{ [m]|first }}{{ [m]|last }}{{ [m, '']|max }}{{ [m]|min }}{{ m|reverse }}{{ [m]|reverse|list }}{{ m|list }}{{ m|list|sort|join }}",
      "{{ m|list|unique|list }}{{ [m, m]|batch(3, m)|list }}{{ [m]|map('upper')|list }}{{ [{'k': m}]|map(attribute='k')|join }}",
      "{{ [{}]|map(attribute='k', default=m)|list }}{{ [m]|select|list }}{{ ['', m]|reject('eq', '')|list }}{{ {m: m}|dictsort }}",
      "{{ {m: m}|items|list }}{{ [{'k': m}]|selectattr('k')|list }}{{ [{'k': m}]|rejectattr('j')|list }}{{ m|attr('upper') is callable }}",
      "{{ m|length }}{{ m|count }}{{ m|wordcount }}{{ m|int(m) }}{{ m|float(m) }}{{ 1|round }}{{ -1|abs }}",
      "{{ m.strip() }}{{ m.strip('n') }}{{ m.lstrip(m[0]) }}{{ m.rstrip(m[0]) }}{{ m.split('m') }}{{ m.rsplit('m') }}{{ m.splitlines(true) "
      "}}",
      "{{ m.partition('m') }}{{ m.rpartition('m') }}{{ m.partition(m[1]) }}{{ m.removeprefix(m[0]) }}{{ m.removesuffix(m[0]) }}",
      "{{ m.replace('', 'x') }}{{ 'xx'.replace('x', m) }}{{ m.lower() }}{{ m.upper() }}{{ m.capitalize() }}{{ m.title() }}{{ m.join(['', "
      "'']) }}",
      "{{ ''.join([m]) }}{{ m.ljust(20, m[0]) }}{{ 'x'.rjust(20, m[1]) }}{{ 'x'.center(20, m[0]) }}{{ 'x'.ljust(20, m[0]) }}{{ "
      "m[0].zfill(9) }}",
      "{{ m.startswith(m) }}{{ m.endswith(m) }}{{ m.find(m) }}{{ m.rfind(m) }}{{ m.index(m) }}{{ m.rindex(m) }}{{ m.count(m) }}{{ "
      "m.isdigit() }}",
      "{{ m.isspace() }}{{ m.isalpha() }}{{ m.isalnum() }}{{ m.islower() }}{{ m.isupper() }}{{ {m: m}.get(m) }}{{ {}.get(m, m) }}",
  };
  std::string all;
  for (const std::string_view source : sources) {
    const jinja::Variables variables{{"m", jinja::text_value("<|im_end|>", jinja::first_place)}};
    const auto parsed = jinja::Template::parse(source);
    ASSERT_TRUE(parsed) << source << "\n" << parsed.error().message;
    const auto text = parsed->render(variables, time_of(golden()));
    ASSERT_TRUE(text) << source << "\n" << text.error().message;
    text->for_each_run(0, text->size(), [&](std::string_view bytes, jinja::Origin origin) {
      const bool has_bytes = bytes.find_first_of("<|>") != std::string_view::npos;
      EXPECT_FALSE(origin == jinja::from_template && has_bytes) << bytes << "\n" << source;
    });
    all += source;
  }
  const auto expect_in_sources = [&](std::string_view before, std::string_view name, std::string_view behind) {
    bool is_there = false;
    for (const char end : behind) is_there = is_there || all.find(concat(before, name, std::string_view(&end, 1))) != std::string::npos;
    EXPECT_TRUE(is_there) << "no source uses " << name;
  };
  for (const jinja::NamedOperation& filter : jinja::detail::filters) expect_in_sources("|", filter.name, " (|");
  for (const jinja::NamedOperation& method : jinja::detail::text_methods) expect_in_sources(".", method.name, "(");
  for (const jinja::NamedOperation& method : jinja::detail::dict_methods) expect_in_sources(".", method.name, "(");
  EXPECT_EQ(marked("{{ raise_exception(m) }}"), "line 1: the template says: a <b>");
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
      {"a\n{% endfor %}", "ERROR: line 2: the statement 'endfor' stands where no statement is open that it belongs to"},
      {"{% if 1 %}{% for x in [] %}{% elif 2 %}{% endfor %}{% endif %}",
       "ERROR: line 1: the statement 'elif' stands where no statement is open that it belongs to"},
      {"{{ 1|xmlattr }}", "ERROR: line 1: the filter 'xmlattr' is not supported"},
      {"{% if 0 %}{{ 1 is nosuch }}{% endif %}", "ERROR: line 1: the test 'nosuch' is not supported"},
      {"\n\n{{ ''.__class__() }}", "ERROR: line 3: the method '__class__' is not supported"},
      {"{{ [].append(1) }}", "ERROR: line 1: the method 'append' is not supported"},
      {"{{ cycler(1) }}", "ERROR: line 1: the function 'cycler' is not supported"},
      {"{{ dict|f(*a) }}", "ERROR: line 1: the filter 'f' is not supported"},
      {"{{ 1|d(*a) }}", "ERROR: line 1: arguments with * are not supported"},
      {"{{ f(*a, *b) }}", "ERROR: line 1: arguments with * are not supported"},
      {"{{ f(*a, b) }}", "ERROR: line 1: an argument without name follows one with a name or *"},
      {"{% for x in y recursive %}{% endfor %}", "ERROR: line 1: the statement 'for ... recursive' is not supported"},
      {"{{ strftime_now('%Q') }}", "ERROR: line 1: strftime_now() with '%Q' is not supported"},
      {"{{ '%q' % 1 }}", "ERROR: line 1: the format '%q' is not supported"},
      {"\n{{ nobody.x }}", "ERROR: line 2: 'nobody' is undefined"},
      {"{{ ''.__class__ }}", ""},  // as in jinja2's sandbox, such an attribute does not exist
      {"{{ 9223372036854775807 + 1 }}", "ERROR: line 1: an integer beyond 64 bits"},
      {"{{ f(**a) }}", "ERROR: line 1: arguments with ** are not supported"},
      {"{{ lipsum is defined }}", "ERROR: line 1: the function 'lipsum' is not supported"},
      {"{{ [joiner] }}", "ERROR: line 1: the function 'joiner' is not supported"},
      {"\n{{ super() }}", "ERROR: line 2: the function 'super' is not supported"},
      {"{{ self.x() }}", "ERROR: line 1: the function 'self' is not supported"},
      {"{% macro m(caller) %}{% endmacro %}", "ERROR: line 1: a parameter named caller is not supported"},
      {"{% for i in [1] %}{{ loop.changed }}{% endfor %}", "ERROR: line 1: loop.changed is not supported"},
      {"{{ {(1, 2): 3}[1, 2] }}", "ERROR: line 1: a subscript of several values is not supported"},
      {"{{ [1][] }}", "ERROR: line 1: expected an expression, found ']'"},
      {"{{ [1][:'a'] }}", "ERROR: line 1: a slice with a str, expected an int"},
      {"{{ é }}", "ERROR: line 1: unexpected 'é'"},
      {"{{ 0x1f }}", "ERROR: line 1: numbers that are not decimal are not supported"},
      {"{{ 0O17 }}", "ERROR: line 1: numbers that are not decimal are not supported"},
      {"{{ 0b1 }}", "ERROR: line 1: numbers that are not decimal are not supported"},
      {"{{ 9223372036854775808 }}", "ERROR: line 1: the number 9223372036854775808 is too large"},
      {"{{ 1e999 }}", "ERROR: line 1: the number 1e999 is too large"},
      {R"({{ '\N{BULLET}' }})", "ERROR: line 1: the escape \\N is not supported"},
      {R"({{ '\ud800' }})", "ERROR: line 1: the escape \\x5cud800 is no character"},
      {R"({{ '\é' }})", "ERROR: line 1: a \\ before a character outside ASCII is not supported"},
      {"{{ strftime_now('%') }}", "ERROR: line 1: strftime_now() with '%' is not supported"},
      {"{{ strftime_now('a%-') }}", "ERROR: line 1: strftime_now() with '%-' is not supported"},
      {"{{ strftime_now('%_B') }}", "ERROR: line 1: strftime_now() with '%_B' is not supported"},
  };
  for (const auto& [source, expected] : cases) EXPECT_EQ(rendered(source), expected) << source;
}

// jinja2 renders every template of this list. Stilla refuses them, because its filters, methods and operators do not support the
// values that they get here.
TEST(Jinja, ValuesThatAreNotSupportedAreRefused) {
  const std::pair<std::string_view, std::string_view> cases[] = {
      {"{{ '%(a)s'|format(a=1) }}", "filter 'format' with named values is not supported"},
      {"{{ '%(a)s' % {'a': 1} }}", "the format '%(' is not supported"},
      {"{{ '%+d' % 1 }}", "the format '%+' is not supported"},
      {"{{ '%e' % 1 }}", "the format '%e' is not supported"},
      {"{{ '%.61f' % 1 }}", "%f with more than 60 digits"},
      {"{{ '%.3d' % 1 }}", "%.3d is not supported"},
      {"{{ '%d' % 1e19 }}", "%d of a number beyond 64 bits"},
      {"{{ '%99999999999s' % 1 }}", "a text of more than 67108864 bytes"},
      {"{{ '%2147483647d' % 1 }}", "a text of more than 67108864 bytes"},
      {"{{ ('<%s>'|safe) % '<' }}", "% of a safe text is not supported"},
      {"{{ ('<%s>'|safe)|format('<') }}", "% of a safe text is not supported"},
      {"{{ ('<{}>'|safe).format('<') }}", "format() of a safe text is not supported"},
      {"{{ '{:>5}'.format(1) }}", "the format field '{:>5}' is not supported"},
      {"{{ '{0!r}'.format(1) }}", "the format field '{0!r}' is not supported"},
      {"{{ {'a': 1}|urlencode }}", "filter 'urlencode' of a dict is not supported"},
      {"{{ [('a', 1)]|urlencode }}", "filter 'urlencode' of a list is not supported"},
      {"{{ '9223372036854775808'|int }}", "an integer beyond 64 bits"},
      {"{{ '-0x8000000000000001'|int(base=16) }}", "an integer beyond 64 bits"},
      {"{{ 1e30|int }}", "an integer beyond 64 bits"},
      {"{{ '-1e30'|int }}", "an integer beyond 64 bits"},
      {"{{ (-9223372036854775807 - 1)|abs }}", "an integer beyond 64 bits"},
      {"{{ (-9223372036854775807 - 1) // -1 }}", "an integer beyond 64 bits"},
      {"{{ -9223372036854775807 - 2 }}", "an integer beyond 64 bits"},
      {"{{ 3037000500 * 3037000500 }}", "an integer beyond 64 bits"},
      {"{{ 2 ** 63 }}", "an integer beyond 64 bits"},
      {"{{ (-8) ** 0.5 }}", "a complex number is not supported"},
      {"{{ '0b1'|int(base=0) }}", "filter 'int' with the base 0 is not supported"},
      {"{{ '1'|int(base=37) }}", "filter 'int' with the base 37 is not supported"},
      {"{{ 1234|round(-2) }}", "filter 'round' to -2 digits is not supported"},
      {"{{ 1.5|round(16) }}", "filter 'round' to 16 digits is not supported"},
      {"{{ [1, 2]|batch(0) }}", "filter 'batch' of 0"},
      {"{{ [1]|map(attribute=none)|list }}", "an attribute is a None, expected a str"},
      {"{{ {2: 'a', 10: 'b'}|tojson(sort_keys=true) }}", "tojson: sort_keys with a key of type int is not supported"},
      {"{{ namespace({1: 2}) is defined }}", "namespace(): an attribute is no text or begins with _"},
      {"{{ namespace(_a=1) is defined }}", "namespace(): an attribute is no text or begins with _"},
      {"{% set n = namespace() %}{% set n._a = 1 %}", "an attribute of a namespace begins with _"},
      {"{{ dict([('a', 1)]) }}", "dict() of a list is not supported"},
      {"{{ 'a'.startswith('a', 0) }}", "startswith() takes at most 1 arguments, found 2"},
      {"{{ 'a'.ljust(3, 'é') }}", "the fill character is not one of ASCII"},
      {"{{ 1 is sameas 1 }}", "test 'sameas' of a int and a int is not supported"},
      {"{{ 2.5 is odd }}", "odd and even are asked of a float"},
      {"{{ [1.5, range(3)] }}", "a range printed; use the filter list"},
      {"{{ [1]|map('string') }}", "a generator printed; use the filter list"},
      {"{{ namespace() }}", "a namespace printed"},
      {"{{ [range] }}", "a function printed"},
      {"{{ {'a': 'b'.upper} }}", "a function printed"},
      {"{% for i in [1] %}{{ loop }}{% endfor %}", "a loop printed"},
      {"{% macro m() %}{% endmacro %}{{ m }}", "a function printed"},
  };
  for (const auto& [source, expected] : cases) EXPECT_EQ(rendered(source), concat("ERROR: line 1: ", expected)) << source;
}

// Tests dates and times other than that of the golden file. The expected texts are those of Python's strftime().
TEST(Jinja, DatesAsInPython) {
  const std::pair<jinja::LocalTime, std::string_view> cases[] = {
      {{2024, 2, 29, 0, 5, 9}, "2024-02-29 060 Thu 4 4 12 AM 12  0"},   {{2024, 12, 31, 12, 0, 0}, "2024-12-31 366 Tue 2 2 12 PM 12 12"},
      {{2023, 12, 31, 13, 1, 2}, "2023-12-31 365 Sun 0 7 01 PM  1 13"}, {{1900, 3, 1, 23, 59, 59}, "1900-03-01 060 Thu 4 4 11 PM 11 23"},
      {{2000, 3, 1, 11, 0, 0}, "2000-03-01 061 Wed 3 3 11 AM 11 11"},   {{2000, 1, 1, 1, 0, 0}, "2000-01-01 001 Sat 6 6 01 AM  1  1"},
  };
  const auto parsed = jinja::Template::parse("{{ strftime_now('%F %j %a %w %u %I %p %l %k') }}");
  for (const auto& [time, expected] : cases) EXPECT_EQ(parsed->render({}, time)->bytes(), expected);
}

// A byte that is no UTF-8 is a character by itself and stays as it is. The results are those of Python for the text that
// decode(errors='surrogateescape') makes of the bytes, except where Python writes an escape for such a character.
TEST(Jinja, BytesThatAreNoUtf8AreCharacters) {
  const std::tuple<std::string_view, std::string_view, std::string_view> cases[] = {
      {"a\xff", "{{ m|upper }}{{ m|length }}{{ m[1] }}{{ m|capitalize }}",
       "A\xff"
       "2\xff"
       "A\xff"},
      {" \x80", "[{{ m.strip() }}] [{{ m.rstrip() }}]", "[\x80] [ \x80]"},
      {"\x80", "{{ m.rstrip() }}{{ m.strip(m)|length }}{{ m.rsplit()|length }}",
       "\x80"
       "01"},
      {"\xc3\xa9\xa9", "{{ m|length }}{{ m.rstrip('\xa9') }}{{ m.rstrip('é')|length }}{{ m.rsplit()[0]|length }}",
       "2\xc3\xa9"
       "22"},
      {"a\x80\x80\x80\x80\x80 ", "{{ m.rstrip()|length }}{{ m.rsplit()[0]|length }}", "66"},
      {"'\xff", "{{ [m] }}{{ m|tojson(ensure_ascii=true) }}", "[\"'\xff\"]\"'\xff\""},
  };
  for (const auto& [bytes, source, expected] : cases) EXPECT_EQ(rendered(source, {{"m", jinja::text_value(bytes)}}), expected) << source;
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
      // Looking for a long text in a long one, and comparing long texts that are equal, takes time at every place.
      {"{{ ('a' * 800000).find('a' * 400000 ~ 'c') }}", "steps"},
      {"{{ ('a' * 800000).count('a' * 400000 ~ 'c') }}", "steps"},
      {"{{ ('a' * 800000).rindex('c' ~ 'a' * 400000) }}", "steps"},
      {"{{ ('a' * 400000 ~ 'c') in 'a' * 800000 }}", "steps"},
      {"{{ ('a' * 800000).replace('a' * 400000 ~ 'c', '') }}", "steps"},
      {"{{ ('a' * 800000)|replace('a' * 400000 ~ 'c', '') }}", "steps"},
      {"{{ ('a' * 800000).split('a' * 400000 ~ 'c') }}", "steps"},
      {"{{ ('a' * 800000).partition('a' * 400000 ~ 'c') }}", "steps"},
      {"{% set a = 'a' * 800000 %}{% set b = 'a' * 800000 %}{% for i in range(99999) %}{{ a == b }}{% endfor %}", "steps"},
      {"{% set a = 'a' * 800000 %}{% set b = 'a' * 800000 %}{% for i in range(99999) %}{{ a < b }}{% endfor %}", "steps"},
      {"{% set a = 'a' * 800000 %}{% for i in range(99999) %}{% set b = a.removeprefix(a) %}{% endfor %}", "steps"},
      {"{{ range(99999)|unique|list|length }}", "steps"},
      {"{% set a = 'a' * 800000 %}{% for i in range(99999) %}{% set b = a|upper %}{% endfor %}", "steps"},
      {"{% set a = 'a' * 800000 %}{% for i in range(99999) %}{% set b = a|title %}{% endfor %}", "steps"},
      {"{% set a = 'a' * 800000 %}{% for i in range(99999) %}{% set b = a|tojson|length %}{% endfor %}", "steps"},
      {"{% set a = 'x' * 800000 %}{% for i in range(99999) %}{% set b = a|int %}{% endfor %}", "steps"},
      {"{% set a = 'x' * 800000 %}{% for i in range(99999) %}{% set b = a|float %}{% endfor %}", "steps"},
      {"{% set a = '1' * 800000 %}{% for i in range(99999) %}{% set b = a.isdigit() %}{% endfor %}", "steps"},
      {"{% set a = '1' * 800000 %}{% for i in range(99999) %}{% set b = a|length %}{% endfor %}", "steps"},
      {"{% set a = '1' * 800000 %}{% for i in range(99999) %}{% set b = a.zfill(2) %}{% endfor %}", "steps"},
      {"{% set a = '1' * 800000 %}{% for i in range(99999) %}{% set b = a|center(2) %}{% endfor %}", "steps"},
      {"{{ range(999999999) }}", "range() of more than 100000 numbers"},
      {"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "levels"},
      {"{% set ns = namespace(x=[]) %}{% for i in range(999) %}{% set ns.x = [ns.x] %}{% endfor %}", "nested more than"},
      {"{% set ns = namespace(x=0) %}{% for i in range(999) %}{% for j in [ns.x] %}{% set ns.x = loop %}{% endfor %}{% endfor %}",
       "nested more than"},
      {"{% for a in range(9999) %}{% set x %}{% for b in range(9999) %}{{ 'x' * 9999 }}{% endfor %}{% endset %}{% endfor %}", "bytes"},
  };
  jinja::Limits few;  // reaching the default limits would take long under a sanitizer
  few.steps = 1'000'000;
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
  for (const std::string_view begin : {"{% if 1 %}", "{% with %}", "{% set ("}) {
    std::string blocks(begin);
    for (int i = 0; i < 5000; ++i) blocks += begin.ends_with('(') ? "(" : begin;
    const std::string end = begin.ends_with('(') ? concat("a", std::string(5001, ')'), " = 1 %}") : "";
    EXPECT_TRUE(rendered(blocks + end).starts_with("ERROR: line 1: more than 160 levels")) << begin;
  }
  jinja::Limits limits;
  limits.template_bytes = 3;
  EXPECT_EQ(rendered("abcd", {}, limits), "ERROR: it has 4 bytes, more than 3");
}

// Splits a template that consists of outputs ({{ ... }}) into templates of one output each. A template with statements ({% ... %})
// stays whole.
std::vector<std::string> pieces_of(const std::string& source) {
  std::vector<std::string> out;
  for (std::size_t at = 0; at < source.size();) {
    const std::size_t end = source.find("{%") != std::string::npos ? std::string::npos : source.find("{{ ", at + 1);
    out.push_back(source.substr(at, end - at));
    at = end == std::string::npos ? source.size() : end;
  }
  return out;
}

// Wherever a rendering reaches a limit, it fails with the message of this limit: never with another one, and never with a text that
// is not whole. Each limit begins at 0 and is raised until it is not reached.
TEST(Jinja, ReachingALimitAnywhereIsAnError) {
  const jinja::Variables variables = variables_of(golden().at("conversations").at(0));
  const std::tuple<std::size_t jinja::Limits::*, std::size_t, std::string_view> limits[] = {
      {&jinja::Limits::steps, 1, "more than"},
      {&jinja::Limits::memory, 40, "more than"},
      {&jinja::Limits::text, 8, "a text of more than"},
      {&jinja::Limits::levels, 1, "more than"},
      {&jinja::Limits::items, 1, "a list of more than"}};
  std::size_t count = 0;
  for (const Json& entry : golden().at("constructs")) {
    for (const std::string& source : pieces_of(entry.at(0).get<std::string>())) {
      const std::string whole = rendered(source, variables);
      for (const auto& [limit, step, message] : limits) {
        jinja::Limits few;
        for (few.*limit = 0; few.*limit < 100000; few.*limit += step) {
          const std::string found = rendered(source, variables, few);
          if (found == whole) break;
          ++count;
          const std::string expected = concat(message, " ", few.*limit, " ");
          ASSERT_TRUE(found.starts_with("ERROR: line ") && found.find(expected) != std::string::npos) << source << "\n" << found;
        }
        ASSERT_LT(few.*limit, 100000u) << source;
      }
    }
  }
  EXPECT_GT(count, 10000u);
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
