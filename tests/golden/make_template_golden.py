#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/golden/templates.json: the texts that Python's jinja2, set up as in transformers, renders from templates.

    pip install jinja2==3.1.6
    python tests/golden/make_template_golden.py            # writes the file
    python tests/golden/make_template_golden.py --check    # exit status 1 if the committed file differs
    python tests/golden/make_template_golden.py --files A.gguf B.gguf ... --program build/release/bin/render_template
                                                           # compares the templates inside these files (needs gguf)

The file holds
    now            [year, month, day, hour, minute, second]: what strftime_now() tells
    conversations  [{messages, and what else a template may be given}]
    constructs     [[template, text]]: one construct each, with the first conversation; null: an error is expected. They are those of
                   CONSTRUCTS below and of template_details.py
    shapes         {name: [text of each conversation]}: tests/golden/templates/NAME.jinja, in the style of published ones, and
                   the built-in templates of include/stilla/text/builtin_templates.hpp; null: the template raises an error
"""

import argparse
import datetime
import json
import pathlib
import re
import subprocess
import sys

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

import template_details

HERE = pathlib.Path(__file__).resolve().parent
GOLDEN = HERE / "templates.json"
BUILTIN = HERE.parent.parent / "include/stilla/text/builtin_templates.hpp"
NOW = datetime.datetime(2025, 3, 7, 4, 5, 9)
BOS, EOS = "<s>", "</s>"

TOOLS = [
    {"type": "function", "function": {
        "name": "get_weather", "description": "Weather of a \"place\" <now> & later",
        "parameters": {"type": "object", "required": ["place"], "properties": {
            "place": {"type": "string", "description": "A town, e.g. Zürich"},
            "days": {"type": "integer", "default": 3, "description": "How many"},
            "units": {"type": "string", "enum": ["celsius", "kelvin"]},
            "hours": {"type": "array", "items": {"type": "number"}}}},
        "return": {"type": ["string", "number"]}}},
    {"type": "function", "function": {
        "name": "stop", "description": "Stops", "parameters": {"type": "object", "properties": {}}}},
]


def user(text):
    return {"role": "user", "content": text}


def system(text):
    return {"role": "system", "content": text}


def assistant(text, **more):
    return {"role": "assistant", "content": text, **more}


def tool(text, call):
    return {"role": "tool", "name": "get_weather", "content": text, "tool_call_id": call}


def call(number, **arguments):
    return {"id": f"call{number:05}", "type": "function", "function": {"name": "get_weather", "arguments": arguments}}


CONVERSATIONS = [
    {"messages": [user("Hello, World! <b>it's</b> 5 > 3"), assistant("Hi.\n\n  Two lines"), user(" again \n")]},
    {"messages": [user("Hello")], "add_generation_prompt": True},
    {"messages": [system("You are terse.\nNever say \"no\"."), user("2+2?")], "add_generation_prompt": True},
    {"messages": [user("\n  Straße, İstanbul, ΣΊΣΥΦΟΣ ǆ \u3000\x1f\t\n"), assistant("\n\nré\u2028ponse 😀\n"), user(" 再说一遍 \u00a0")],
     "add_generation_prompt": True},
    {"messages": [user("why"), assistant("<think>\nhm\n</think>\n\nbecause"), user("sure?"), assistant("a</think>b</think>\nyes")]},
    {"messages": [system("one /no_think"), user("x"), assistant("<think>t</think>y"), user("z")], "add_generation_prompt": True,
     "enable_thinking": False},
    {"messages": [user(""), assistant(""), user("{{ bos_token }}{% if x %} <|im_end|>'\"\\")], "add_generation_prompt": True,
     "documents": [{"title": "A <doc>", "text": "It's text"}, {"text": "two", "Title": "B"}]},
    {"messages": [system("Use tools."), user("Weather in Zürich?"), assistant("", tool_calls=[call(1, place="Zürich", days=2)]),
                  tool("{\"sky\": \"grey\"}", "call00001"), assistant("Grey."), user("Thanks")],
     "tools": TOOLS, "add_generation_prompt": True},
    {"messages": [user("Both?"), assistant(None, tool_calls=[call(2, place="a"), call(3, place="b\n\"c\"", x=[1.0, None, True])]),
                  tool("one\ntwo", "call00002"), tool("1e3", "call00003")],
     "tools": TOOLS, "add_generation_prompt": True},
    {"messages": [user([{"type": "text", "text": "Look: "}, {"type": "image"}, {"type": "text", "text": "what?"}]),
                  assistant("A <image>.", reasoning_content="It has corners."), user("Sure?"), assistant("Yes")],
     "enable_thinking": True},
]

# Each entry is one construct. It is a line of this list, or several lines that are a small program.
CONSTRUCTS = r"""
{{ 1 + 2 * 3 - 4 / 2 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 7.5 // 2 }} {{ -7.5 % 2 }}
{{ 1 / 3 }} {{ 1e16 }} {{ 123456789012345680.0 }} {{ 0.0001 }} {{ 0.00001 }} {{ 1e22 }} {{ 100.0 }} {{ 1.5e-7 }} {{ 0.1 + 0.2 }} {{ -0.0 }} {{ 1e300 * 1e10 }} {{ 1_000 }}
{{ none }} {{ true }} {{ False }} {{ None }} {{ nothing }}|{{ 'a' 'b' }} {{ "it's" }} {{ 'say "x"' }} {{ '\x41\u00e9\n\t\\' }} {{ '\d' }} {{ '\101' }}
{{ [1, 2.0, 'a', none, true, [], {}, (), (1,), (1, 2)] }} {{ {'a': 1, 'b': [2], 3: 'c', none: true} }} {{ ['it\'s', "q\"q", 'both \' "', '\n\t\x00\x7f', 'é\u200b😀\u0378'] }}
{{ 'a' ~ 1 ~ none ~ 2.5 ~ [1] }} {{ 'a' + 'b' * 3 }} {{ [1] + [2] * 2 }} {{ 2 * 'x' }} {{ 'x' * -1 }}|{{ (1,) + (2,) }}
{{ 1 < 2 < 3 }} {{ 1 < 2 > 3 }} {{ 1 == 1.0 }} {{ true == 1 }} {{ 'a' < 'b' }} {{ [1, 2] < [1, 3] }} {{ 'a' != 'b' }} {{ none == none }} {{ [1] == (1,) }} {{ {'a': 1} == {'a': 1.0} }} {{ 1 == '1' }}
{{ 'a' in 'cat' }} {{ 3 in [1, 2] }} {{ 'k' in {'k': 1} }} {{ 'x' not in 'cat' }} {{ not true }} {{ not 'a' in 'cat' }} {{ 1 in (1, 2) }} {{ x in nothing }} {{ true and 'b' }} {{ 0 or 'z' }} {{ '' and 1 }}|{{ nothing or 'd' }}
{{ 'yes' if 1 else 'no' }} {{ 'yes' if 0 }}|{{ 'a' if 0 else 'b' if 0 else 'c' }} {{ (1 if true else 2) + 1 }} {{ -3 ** 2 }} {{ -(3) }} {{ +4 }} {{ - -4 }} {{ 2 ** 3 ** 2 }} {{ -2|abs }} {{ not 1 == 2 }}
{{ 'abcdef'[1] }} {{ 'abcdef'[-1] }} {{ 'abcdef'[1:3] }} {{ 'abcdef'[::-1] }} {{ 'abcdef'[::2] }} {{ 'abcdef'[-3:] }} {{ 'abcdef'[:-1] }} {{ 'abcdef'[10] }}|{{ 'abcdef'[4:1:-1] }} {{ 'aéi😀u'[1:4] }} {{ 'aéi😀u'[3] }} {{ 'abc'[-10:2] }} {{ 'abc'[5:] }}|
{{ [1,2,3][1] }} {{ [1,2,3][-1] }} {{ [1,2,3][1:] }} {{ [1,2,3][::-1] }} {{ [1,2,3][9] }}|{{ (1,2,3)[:2] }} {{ [1,2,3][none:2] }} {{ [[1,2],[3]][0][1] }} {{ [1,2,3].1 }} {{ range(5)[2] }} {{ range(9)[2:5]|list }}
{{ {'a': {'b': 2}}.a.b }} {{ {'a': 1}['a'] }} {{ {'a': 1}.x }}|{{ {'a': 1}['x'] }}|{{ {1: 'one'}[1] }} {{ {'items': 1}['items'] }} {{ {true: 1}[1] }} {{ messages[0].role }} {{ messages[0]['content'][:5] }} {{ messages[-1].nothing }}|
{% set x = 1 %}{{ x }}{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set c = 1, 2 %}{{ c }}{% set (d, e) = [3, 4] %}{{ d }}{{ e }}{% set f %}block {{ x }}{% endset %}[{{ f }}]{% set g | upper | replace('A', 'b') %}abc{% endset %}{{ g }}
{% set ns = namespace(a=1, b='x') %}{{ ns.a }}{% set ns.a = ns.a + 1 %}{% set ns.c = [] %}{{ ns.a }}{{ ns.b }}{{ ns.c }}{{ ns.zzz is defined }}{{ ns['a'] }}{% set m = namespace({'p': 1}, q=2) %}{{ m.p + m.q }}{% set n = namespace() %}{% set n.x = 3 %}{{ n.x }}
{% set x = 1 %}{% for i in [1, 2] %}{{ x }}{% set x = x + i %}{{ x }} {% endfor %}{{ x }}{% if true %}{% set x = 9 %}{% endif %}{{ x }}
{% for i in range(3) %}{{ i }}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.previtem is defined }}{{ loop.depth }} {% endfor %}
{% for i in [] %}x{% else %}empty{% endfor %} {% for i in [1,2,3,4] if i % 2 == 0 %}{{ i }}{{ loop.index }}{% else %}none{% endfor %} {% for i in [1] if i > 1 %}{% else %}none{% endfor %}
{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}={{ v }};{% endfor %}{% for k in {'a': 1} %}{{ k }}{% endfor %}{% for c in 'aé' %}[{{ c }}]{% endfor %}{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}
{% for a, b in [(1, 2), [3, 4]] %}{{ a + b }} {{ loop.cycle('odd', 'even') }} {% endfor %}{% for i in nothing %}x{% endfor %}{% for x in (1, 2) %}{{ x }}{% endfor %}{% for x in 1, 2 %}{{ x }}{% endfor %}
{% for i in range(10) %}{% if i == 2 %}{% continue %}{% endif %}{% if i > 4 %}{% break %}{% endif %}{{ i }}{% endfor %} {% for i in range(3) %}{% for j in range(3) %}{% if j > i %}{% break %}{% endif %}{{ i }}{{ j }} {{ loop.index }}{% endfor %}{{ loop.index }}{% endfor %}
{% if 0 %}a{% elif 1 %}b{% else %}c{% endif %}{% if nothing is defined %}d{% elif '' %}e{% else %}f{% endif %}{% if [] %}x{% endif %}{% if [0] %}y{% endif %}{% if messages and not tools %}z{% endif %}
{% macro m(a, b=2, c='x') %}{{ a }}-{{ b }}-{{ c }};{% endmacro %}{{ m(1) }}{{ m(1, 3) }}{{ m(1, c='z') }}{{ m(b=1, a=0) }}{{ m() }}{{ m(1)|upper }}
{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }}{% macro f(n) %}{% if n > 0 %}{{ n }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(4) }}{% macro d(a, b=a ~ '!') %}{{ b }}{% endmacro %}{{ d('q') }}
{% set x = 1 %}{% macro m() %}{{ x }}{% set x = 5 %}{{ x }}{% endmacro %}{{ m() }}{{ x }}{% set x = 2 %}{{ m() }}{% for i in [1] %}{% set y = 7 %}{% macro n() %}{{ i }}{{ x }}{{ y }}{% endmacro %}{{ n() }}{% endfor %}
{% macro m(t) %}<{{ t }}>{{ caller() }}</{{ t }}>{% endmacro %}{% call m('b') %}in{{ 1 }}{% endcall %}{% macro l(xs) %}{% for x in xs %}{{ caller(x, loop.index) }}{% endfor %}{% endmacro %}{% call(a, b) l(['p', 'q']) %}{{ b }}{{ a }} {% endcall %}
{% with a = 1, b = 2 %}{{ a }}{{ b }}{% set c = 3 %}{{ c }}{% endwith %}{{ a }}{{ c }}|{% with %}{{ 1 }}{% endwith %}{% filter upper %}abc {{ 'd' }}{% endfilter %}{% filter replace('a', 'b')|trim %} aa {% endfilter %}
{% generation %}out{% set z = 1 %}{% endgeneration %}{{ z }}|{% raw %}{{ x }} {% if %}{% endraw %}|{# comment {{ x }} #}|{#- c -#} x
{{ ' a b '|trim }}|{{ 'xxaxx'|trim('x') }}|{{ 'Ab'|upper }}{{ 'Ab'|lower }}|{{ 'hello wORLD'|capitalize }}|{{ "hello-wORLD it's (a) [b] {c} <d> é"|title }}|{{ 'ΑΣ ΑΣΑ Σ'|lower }} {{ 'straße ŉ ǆ ﬁ'|upper }} {{ 'ǆx ßa'|capitalize }} {{ 'İ'|lower|length }}
{{ 'abc'|length }} {{ 'é😀'|length }} {{ [1,2]|count }} {{ {'a':1}|length }} {{ nothing|length }} {{ range(4)|length }} {{ (1,2)|length }} {{ [1,2,3]|first }} {{ [1,2,3]|last }} {{ []|first }}|{{ 'abc'|first }}{{ 'abc'|last }} {{ {'k': 1}|first }}
{{ [1,2,3]|join }} {{ [1,'a',none]|join(', ') }} {{ 'abc'|join('-') }} {{ [{'n': 1}, {'n': 2}]|join('+', attribute='n') }} {{ []|join(',') }}|{{ {'a': 1, 'b': 2}|join }}
{{ [1, "a\"é\n\u2028/<>&'", none, true, 1.5, 1e20, {'b': 1, 'a': [], 'c': {}}, (1, 2)]|tojson }} {{ {'b': 1, 'a': {'x': [1, 2, {}], 'y': []}}|tojson(indent=2) }} {{ {'b': 1, 'a': 2}|tojson(sort_keys=true) }} {{ {'é': 'ü😀'}|tojson(ensure_ascii=true) }} {{ {'a': [1, 2]}|tojson(separators=(',', ':')) }} {{ {1: 2, none: 3, true: 4, 1.5: 5}|tojson }} {{ [1]|tojson(indent='->') }} {{ '\x00\x08\x0c\x1f\x7f'|tojson }} {{ messages|tojson }}
{{ nothing|default('d') }} {{ ''|default('d') }}|{{ ''|default('d', true) }} {{ none|default('d') }} {{ nothing|d }}|{{ 0|default(5, boolean=true) }} {{ nothing|default(none) }} {{ nothing|default([1]) }}
{{ 'aXbXc'|replace('X', '-') }} {{ 'aXbXc'|replace('X', '-', 1) }} {{ 'abc'|replace('', '.') }} {{ 12321|replace(2, 'x') }} {{ 'a'|replace('a', 'aa') }} {{ ''|replace('', 'x') }}
{{ [3,1,2]|sort }} {{ ['b','A','c']|sort }} {{ ['b','A','c']|sort(case_sensitive=true) }} {{ [3,1,2]|sort(reverse=true) }} {{ [{'a': 2, 'n': 'x'}, {'a': 1, 'n': 'y'}]|sort(attribute='a')|map(attribute='n')|list }} {{ [{'a': 1, 'b': 2}, {'a': 1, 'b': 1}]|sort(attribute='a,b') }} {{ 'cab'|sort }} {{ {'b': 1, 'a': 2}|sort }}
{{ {'b': 1, 'A': 2, 'c': 0}|dictsort }} {{ {'b': 1, 'A': 2, 'c': 0}|dictsort(by='value') }} {{ {'b': 1, 'A': 2}|dictsort(case_sensitive=true, reverse=true) }} {{ {'a': 1}|items|list }} {{ nothing|items|list }}
{{ [1,1,2,'a','A']|unique|list }} {{ [1,2,3]|reverse|list }} {{ 'abé'|reverse }} {{ [1,2,3,4,5]|batch(2)|list }} {{ [1,2,3]|batch(2, 0)|list }} {{ [1,2,3]|sum }} {{ [[1],[2]]|sum(start=[]) }} {{ [{'a': 1}, {'a': 5}]|sum(attribute='a') }} {{ [1,3,2]|max }} {{ ['b','A']|min }} {{ [{'a': 3}, {'a': 1}]|min(attribute='a') }} {{ []|max }}|
{{ [1,2,3,4]|select('odd')|list }} {{ [1,2,3,4]|reject('odd')|list }} {{ [0,1,'',none,'a']|select|list }} {{ [1,2,3]|select('gt', 1)|list }} {{ ['a','b']|select('in', ['a'])|list }} {{ [1,'a']|select('string')|list }} {{ [0, 1]|reject|list }} {{ [1,2,3]|select('divisibleby', 3)|list }}
{{ messages|selectattr('role', 'equalto', 'user')|list|length }} {{ messages|rejectattr('role', 'eq', 'user')|map(attribute='content')|list }} {{ messages|selectattr('content')|map(attribute='role')|join(',') }} {{ messages|map('length')|list }} {{ ['a ', ' b']|map('trim')|list }} {{ ['a', 'b']|map('upper')|join }} {{ [{'a': {'b': 1}}, {}]|map(attribute='a.b', default=7)|list }} {{ [[1, 2], [3, 4]]|map(attribute=0)|list }} {{ ['1', 'x']|map('int', 5)|list }} {{ [1, 2]|map('string')|list }} {{ messages|selectattr('nothing', 'defined')|list }} {{ messages|selectattr('role', 'in', ['user'])|first is mapping }}
{{ '42'|int }} {{ ' 4_2 '|int }} {{ 'x'|int }} {{ 'x'|int(7) }} {{ 3.99|int }} {{ -3.99|int }} {{ '3.7'|int }} {{ 'ff'|int(base=16) }} {{ '0xff'|int(base=16) }} {{ none|int }} {{ true|int }} {{ '1e3'|int }} {{ '3.5'|float }} {{ 'x'|float }} {{ 2|float }} {{ '1e3'|float }} {{ ' -2. '|float }} {{ 'inf'|float }} {{ 'nan'|float }} {{ 'x'|float(1) }} {{ '+5'|int }} {{ '1__0'|int }} {{ '.5'|float }}
{{ 42.55|round }} {{ 42.55|round(1) }} {{ 42.55|round(1, 'floor') }} {{ 42.51|round(1, 'ceil') }} {{ 2.5|round }} {{ 3.5|round }} {{ 2.675|round(2) }} {{ 7|round }} {{ -3|abs }} {{ -3.5|abs }} {{ 5|string }}{{ none|string }} {{ [1]|string }} {{ 'a'|list }} {{ {'a': 1}|list }} {{ (1, 2)|list }}
{{ 'a\nb\n\nc'|indent }}|{{ 'a\nb'|indent(2, true) }}|{{ 'a\n\nb'|indent(2, blank=true) }}|{{ 'a\nb'|indent('> ') }}|{{ 'a\n'|indent }}|{{ ''|indent(2, true) }}|{{ 'a\r\nb\x0bc'|indent(1) }}
{{ 'a<b>&"\''|escape }} {{ 'a<b'|e }} {{ '<a>'|safe }} {{ ('<a>'|safe) + '<b>' }} {{ '<b>' + ('<a>'|safe) }} {{ ('<a>'|safe) ~ '<b>' }} {{ 'a b/é?'|urlencode }} {{ 'one two  three_3'|wordcount }} {{ 'abc'|center(8) }}|{{ 'ab'|center(5) }}|{{ 'foo bar baz qux'|truncate(9) }} {{ 'foo bar baz qux'|truncate(9, true) }} {{ 'foo bar'|truncate(5, leeway=5) }} {{ 'foo bar baz'|truncate(7, false, '', 0) }} {{ '%s: %d%%'|format('a', 5) }} {{ 'a'|attr('nothing') }}|
{{ nothing is defined }} {{ messages is defined }} {{ nothing is undefined }} {{ none is none }} {{ 1 is none }} {{ 'a' is string }} {{ {} is mapping }} {{ [] is mapping }} {{ 'a' is iterable }} {{ 1 is iterable }} {{ none is iterable }} {{ nothing is iterable }} {{ [] is sequence }} {{ {} is sequence }} {{ 'a' is sequence }} {{ 1 is sequence }} {{ nothing is sequence }} {{ 1 is number }} {{ 1.5 is number }} {{ true is number }} {{ 1 is integer }} {{ true is integer }} {{ 1.0 is float }} {{ true is boolean }} {{ 1 is boolean }} {{ true is true }} {{ 1 is true }} {{ false is false }}
{{ 3 is odd }} {{ 3 is even }} {{ 4 is divisibleby 2 }} {{ 4 is divisibleby(3) }} {{ 'a' is lower }} {{ 'A' is upper }} {{ 'a1' is lower }} {{ '1' is lower }} {{ 1 is eq 1 }} {{ 1 is equalto(2) }} {{ 1 is ne 2 }} {{ 1 is lt 2 }} {{ 1 is ge 2 }} {{ 1 is greaterthan 0 }} {{ 1 is in [1] }} {{ 1 is not in [1] }} {{ 'a' is not none }} {{ none is sameas none }} {{ 1 is sameas true }} {{ raise_exception is callable }} {{ 1 is callable }} {{ 'a' is not string }} {{ 'a' is defined and 1 is number }} {{ not nothing is defined }} {{ 3 is odd and 4 is even }}
{{ ' ab '.strip() }}|{{ 'xaxbx'.strip('x') }}|{{ ' ab '.lstrip() }}|{{ ' ab '.rstrip() }}|{{ '\u3000é\x1c'.strip() }}|{{ 'abcabc'.strip('ac') }} {{ 'é1é'.lstrip('é') }} {{ ''.strip() }}|{{ '   '.strip() }}|
{{ 'a,b,,c'.split(',') }} {{ ' a  b\tc '.split() }} {{ 'a,b,c'.split(',', 1) }} {{ 'a b c'.split(none, 1) }} {{ 'a b  c '.split(maxsplit=1) }} {{ 'a,b,c'.rsplit(',', 1) }} {{ ' a b c '.rsplit(none, 1) }} {{ ''.split() }} {{ ''.split(',') }} {{ 'abc'.split('abc') }} {{ 'a\nb\r\nc\n'.splitlines() }} {{ 'a\nb'.splitlines(true) }} {{ 'a=b=c'.partition('=') }} {{ 'a=b=c'.rpartition('=') }} {{ 'abc'.partition('x') }} {{ 'abc'.rpartition('x') }}
{{ 'abc'.startswith('ab') }} {{ 'abc'.startswith(('x', 'a')) }} {{ 'abc'.endswith('bc') }} {{ 'abc'.endswith('x') }} {{ 'abc'.find('c') }} {{ 'abc'.find('x') }} {{ 'é😀c'.find('c') }} {{ 'abcabc'.rfind('b') }} {{ 'abcabc'.find('b', 2) }} {{ 'abcabc'.find('a', 1, 3) }} {{ 'abc'.index('b') }} {{ 'banana'.count('an') }} {{ 'aaa'.count('a', 1) }} {{ 'abc'.count('') }} {{ 'abcabc'.replace('b', 'X') }} {{ 'abcabc'.replace('b', 'X', 1) }} {{ 'abc'.removeprefix('a') }} {{ 'abc'.removesuffix('c') }} {{ 'abc'.removesuffix('x') }}
{{ 'aB'.upper() }} {{ 'aB'.lower() }} {{ 'aB cD'.title() }} {{ "they're bill's é1a".title() }} {{ 'aB'.capitalize() }} {{ '12'.isdigit() }} {{ '1a'.isdigit() }} {{ ''.isdigit() }} {{ '²٣'.isdigit() }} {{ 'ab'.isalpha() }} {{ 'aé1'.isalnum() }} {{ ' \t'.isspace() }} {{ 'ab'.islower() }} {{ 'AB1'.isupper() }} {{ '-'.join(['a', 'b']) }} {{ ''.join('abc') }} {{ 'ab'.ljust(4) }}|{{ 'ab'.rjust(4, '.') }}|{{ 'ab'.center(5, '*') }}|{{ '-5'.zfill(4) }} {{ 'x'.zfill(0) }}
{{ '{} {}'.format(1, 'a') }} {{ '{1}{0}'.format('a', 'b') }} {{ '{x}-{{}}'.format(x=[1]) }} {{ '%s %d %5.2f|%-5s|%05d|%x %X %r %%' % ('a', 3.7, 2.345, 'b', -42, 255, 255, "it's") }} {{ '%s' % 'x' }} {{ '%s' % [1] }} {{ '%i' % 5 }} {{ '%.2s' % 'abc' }} {{ '%5s|' % 'é' }} {{ '%.0f' % 2.5 }} {{ '%d' % true }}
{{ {'a': 1}.get('a') }} {{ {'a': 1}.get('b') }} {{ {'a': 1}.get('b', 5) }} {{ {'a': 1, 'b': 2}.keys()|list }} {{ {'a': 1}.values()|list }} {{ {'a': 1}.items()|list }} {{ {'a': 1}.keys() }} {{ {'a': 1}.values() }} {{ {'a': 1}.items() }} {{ {'a': 1}.items()|length }} {{ {'a': 1}.copy() }} {{ [1, 2, 1].index(2) }} {{ [1, 2, 1].count(1) }} {{ {'a': 1}.items is defined }} {{ {'items': 5}.items is callable }} {{ dict(a=1, b='x') }} {{ dict({'a': 1}, b=2) }}
{{ range(3)|list }} {{ range(1, 4)|list }} {{ range(5, 0, -2)|list }} {{ range(0)|list }} {{ 2 in range(3) }} {{ range(3) == range(3) }} {% for i in range(2) %}{{ i }}{% endfor %}
{{ strftime_now('%d %b %Y') }} {{ strftime_now('%Y-%m-%d %H:%M:%S') }} {{ strftime_now('%A %a %B %j %p %I %y %e %-d %-m %F %T %D %R %%') }} {{ strftime_now('') }}|{{ strftime_now('%w %u %c') }}
{{ messages[0]['content'].split(' ')[0]|upper ~ messages[1].content[:2] }} {{ messages|map(attribute='role')|unique|list }} {{ messages[0] == messages[0] }} {{ messages[0] in messages }} {{ messages|length }} {{ (messages|last).role }} {{ messages[1:]|length }} {{ tools }} {{ documents is none }} {{ bos_token }}{{ eos_token }} {{ add_generation_prompt }}
{%- if true -%}   a   {%- endif -%}   b   {{- ' c' -}}   d   {% if true +%}
  e{% endif %}
a {%- if true %} b {% endif -%} c
    {% if true %}
  x
    {% endif %}
y   {% set z = 1 %}
   {{ z }}
  {# comment #}
w {# mid #} v
  {%+ if true %}keep{% endif +%}

z
{{ "a" }}
{{- "b" }}
   {{ "c" }}   
  {%- for i in [1, 2] %}
    - {{ i }}
  {%- endfor %}

end
{{ {'a': {'b': [1, {'c': 2}]}} }}{{ {'a': '}}'}.a }}{{ '%}' }}{% set x = {'k': '%}'} %}{{ x.k }}
""" + "\n".join(r"""
{{ nothing.x }}
{{ nothing|int }}
{{ nothing|float }}
{{ nothing + 'a' }}
{{ 'a' + 1 }}
{{ 1 + none }}
{{ 1 / 0 }}
{{ 'a' < 1 }}
{{ none|length }}
{{ 5|list }}
{{ 1 in 5 }}
{{ 1 in 'a' }}
{{ nothing() }}
{{ 'a'() }}
{{ raise_exception('no') }}
{% for a, b in [1] %}{% endfor %}
{% for a, b in [[1, 2, 3]] %}{% endfor %}
{% set x = 1 %}{% set x.y = 2 %}
{{ [1]|first|upper|nothing }}
{{ 'abc'.index('x') }}
{{ ''.join([1]) }}
{{ nothing|tojson }}
{{ {[1]: 2} }}
{{ [1, 'a']|sort }}
{{ 'a'|select('nothing')|list }}
{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}
{% macro m(a) %}{% endmacro %}{{ m(b=2) }}
{{ range(1, 5, 0) }}
{{ '%d' % 'a' }}
{{ '%s %s' % 'a' }}
{{ none.x.y }}
{% if %}{% endif %}
{% for x in %}{% endfor %}
{{ }}
{{ 1 + }}
{{ (1 }}
{{ 'a }}
{% if 1 %}
{% endif %}
{% nothing %}
{{ 1 2 }}
{# no end
{{ a b }}
{% set 1 = 2 %}
{% break %}
{{ 'a'.split('') }}
{{ {'a': 1}|tojson(nothing=1) }}
{{ 'a'|upper(1) }}
{{ {'a': 1}.append(2) }}
{{ [1, 2].append(3) }}
{{ 'a' is nothing }}
{{ 3 is odd is even }}
{{ messages|last|last|attr('x')|x }}
""".strip().splitlines())


def environment():
    """Sets up jinja2 as transformers does (utils/chat_template_utils.py), with a clock that stands still."""
    class Generation(jinja2.ext.Extension):
        tags = {"generation"}

        def parse(self, parser):
            line = next(parser.stream).lineno
            body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
            return jinja2.nodes.CallBlock(self.call_method("pass_on"), [], [], body).set_lineno(line)

        def pass_on(self, caller):
            return caller()

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    out = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    out.filters["tojson"] = tojson
    out.globals["raise_exception"] = raise_exception
    out.globals["strftime_now"] = lambda format: NOW.strftime(format)
    return out


def render(template, conversation):
    """Returns the text, or None if the template raises an error."""
    variables = {"tools": None, "documents": None, "add_generation_prompt": False, "bos_token": BOS, "eos_token": EOS, **conversation}
    try:
        return environment().from_string(template).render(**variables)
    except (jinja2.exceptions.TemplateError, TypeError, ValueError, LookupError, ArithmeticError, AttributeError, SyntaxError,
            AssertionError):
        return None


def constructs():
    """Returns the templates. A line of CONSTRUCTS is a template. The lines from "{%- if true -%}" up to the errors are an exception: all
    of them together are one template, and so is each part of them between empty lines. The templates of template_details.py follow."""
    whole, errors = CONSTRUCTS.strip("\n").split("{{ nothing.x }}")
    out = [line for line in whole.strip("\n").splitlines()]
    spaces = out.index(next(line for line in out if line.startswith("{%- if true -%}")))
    multi = "\n".join(out[spaces:])
    return [*out[:spaces], multi, *multi.split("\n\n"), *("{{ nothing.x }}" + errors).splitlines(), *template_details.TEXTS,
            *template_details.ERRORS, *template_details.LAYOUTS]


def shapes():
    out = {path.stem: path.read_text(encoding="utf-8") for path in sorted((HERE / "templates").glob("*.jinja"))}
    for name, source in re.findall(r'\{"([^"]+)", R"jinja\((.*?)\)jinja"\}', BUILTIN.read_text(encoding="utf-8"), re.S):
        out["builtin:" + name] = source
    return out


def make():
    golden = {
        "now": [NOW.year, NOW.month, NOW.day, NOW.hour, NOW.minute, NOW.second],
        "conversations": CONVERSATIONS,
        "constructs": [[template, render(template, CONVERSATIONS[0])] for template in constructs()],
        "shapes": {name: [render(template, c) for c in CONVERSATIONS] for name, template in shapes().items()},
    }
    lines = []
    for key, value in golden.items():
        if isinstance(value, dict):
            rows = [json.dumps(k) + ": " + json.dumps(v, ensure_ascii=False) for k, v in value.items()]
            lines.append(f"{json.dumps(key)}: {{\n" + ",\n".join(rows) + "\n}")
        else:
            rows = [json.dumps(v, ensure_ascii=False) for v in value]
            lines.append(f"{json.dumps(key)}: [\n" + ",\n".join(rows) + "\n]")
    return "{" + ",\n".join(lines) + "}\n"


def compare_files(options):
    """Renders the template of each GGUF file with all conversations, by the program and by jinja2, and compares."""
    from gguf import GGUFReader

    failures = 0
    for path in options.files:
        field = GGUFReader(str(path)).fields.get("tokenizer.chat_template")
        if field is None:
            print(f"{path.name}: has no chat template")
            continue
        template = field.contents()
        different = 0
        for number, conversation in enumerate(CONVERSATIONS):
            done = subprocess.run([options.program, GOLDEN, str(number)], input=template.encode(), capture_output=True)
            found = done.stdout.decode() if done.returncode == 0 else None
            different += found != render(template, conversation)
        print(f"{path.name}: {len(CONVERSATIONS) - different} of {len(CONVERSATIONS)} conversations equal")
        failures += different
    return 1 if failures else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--files", type=pathlib.Path, nargs="*")
    parser.add_argument("--program", type=pathlib.Path)
    options = parser.parse_args()
    if options.files is not None:
        return compare_files(options)
    text = make()
    if options.check:
        same = GOLDEN.read_text(encoding="utf-8") == text
        print(f"{GOLDEN.name}: {'as generated' if same else 'differs from what this script writes'}")
        return 0 if same else 1
    GOLDEN.write_text(text, encoding="utf-8")
    golden = json.loads(text)
    errors = [t for t, out in golden["constructs"] if out is None]
    print(f"{GOLDEN.name}: {len(text.encode())} bytes, {len(golden['constructs'])} constructs ({len(errors)} errors), {len(golden['shapes'])} shapes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
