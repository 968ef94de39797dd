# SPDX-License-Identifier: Apache-2.0
"""Constructs of the template language at their edges, for make_template_golden.py. A line is a template.

TEXTS are templates that jinja2 renders, and ERRORS those for which it raises an error. LAYOUTS are further templates of both kinds,
which need characters that a line cannot have.
"""

TEXTS = r"""
{{ [1, 2,] }} {{ {'a': 1,} }} {{ (1,) }} {{ dict(a=1,) }} {{ [1,2,3].1 }} {{ True }} {{ 'a'|attr('upper')() }} {{ 'a'['upper']() }} {{ 1 is eq 1.0 }} {{ 'a' is eq 'a' }} {{ {} is eq {} }} {{ [] is eq [] }} {{ 2 is eq 1.5 }}
{% macro m() %}{{ kwargs }}{{ kwargs.a }}{{ varargs }}{% endmacro %}{{ m(a=1) }} {{ m is callable }} {{ 'a'.upper is callable }} {{ range is callable }} {{ m == m }} {{ range == range }} {{ range == dict }} {{ m == range }}{% macro n() %}{% endmacro %} {{ m == n }}
{{ ('<a>'|safe)|trim }} {{ ('<a>'|safe)|upper }} {{ ('<a>'|safe)|escape }} {{ [('<a>'|safe)] }} {{ ('<a>'|safe)|indent }} {{ ('<a>'|safe).lower() is escaped }} {{ 'a' is escaped }} {{ 1 is escaped }} {{ ('<a>'|safe)[0] is escaped }} {{ ('<'|safe) * 2 + '<' }} {{ ('a'|safe)|string is escaped }} {{ ('<'|safe)|replace('<', '<<') }} {{ ['<a>'|safe, '<b>']|join('<') }}
{{ 'foobarbazqux'|truncate(5, leeway=0) }} {{ 'foo bar'|truncate(3, leeway=0) }}|{{ 'foo bar'|truncate(7, leeway=0) }} {{ 'foo bar baz'|truncate(9, end='', leeway=0) }} {{ 'one'|center(2) }} {{ 'one'|center(-1) }} {{ ''|center(3) }}| {{ ''|truncate }}| {{ '__a b-c'|wordcount }} {{ ''|wordcount }}
{{ '+-5'|int }} {{ '_1'|int }} {{ '1_'|int }} {{ 'a_1'|int }} {{ '1_a'|int }} {{ '1_/'|int }} {{ ''|int }} {{ ' '|int }} {{ '-5'|int }} {{ '- 5'|int }} {{ '+ 5'|int }} {{ '--5'|int }} {{ '-'|int }} {{ '+'|int }} {{ '5-'|int }} {{ '0_1'|int }} {{ '007'|int }}
{{ '0o17'|int(base=8) }} {{ '17'|int(base=8) }} {{ '0b11'|int(base=2) }} {{ '0B11'|int(base=2) }} {{ '-0xff'|int(base=16) }} {{ '+0xff'|int(base=16) }} {{ '0'|int(base=16) }} {{ '-0'|int(base=16) }} {{ '0y1'|int(base=16) }} {{ '0x'|int(base=16) }} {{ '0x-5'|int(base=16) }} {{ '0x+5'|int(base=16) }} {{ '0x_ff'|int(base=16) }} {{ '0x_'|int(base=16) }} {{ '0x__f'|int(base=16) }} {{ 'zz'|int(base=36) }} {{ '0x1'|int }} {{ '0XFF'|int(0, 16) }} {{ 'x'|int(3, 16) }} {{ 'f_f'|int(base=16) }}
{{ 'inf'|int }} {{ 'nan'|int(4) }} {{ '-inf'|int }} {{ '1e999'|int(3) }} {{ []|int }} {{ []|int(2) }} {{ {}|float }} {{ none|float }} {{ none|float(2.5) }} {{ true|float }} {{ 'a'|int('b') }} {{ 2.99|int }} {{ '2.99'|int }} {{ '-2.99'|int }} {{ '9223372036854775807'|int }}
{{ ''|float }} {{ ' '|float }} {{ '.'|float }} {{ '5.'|float }} {{ '3.5x'|float }} {{ '1e'|float }} {{ '1e999'|float }} {{ '-1e999'|float }} {{ '1E999'|float }} {{ '1e-999'|float }} {{ '-1e-999'|float }} {{ '1E-999'|float }} {{ '1e+999'|float }} {{ '0x10'|float }} {{ 'nan(1)'|float }} {{ 'infinity'|float }} {{ '-INF'|float }} {{ '+nan'|float }} {{ '1_0.5_0'|float }} {{ '1_.5'|float }} {{ 'e5'|float }} {{ '+-1'|float }}
{{ ('0.' ~ '0' * 400 ~ '1')|float }} {{ ('1' ~ '0' * 400)|float }} {{ ('1' ~ '0' * 400 ~ 'e-5')|float }} {{ ('0.' ~ '0' * 400 ~ '1e9')|float }} {{ ('0.' ~ '0' * 400 ~ '1e405')|float }} {{ ('1' ~ '0' * 400 ~ 'e-400')|float }} {{ '1e99999999999999999999'|float }} {{ '-1e-99999999999999999999'|float }} {{ ('-' ~ '00' * 9 ~ '1e400')|float }} {{ ('.' ~ '0' * 330 ~ '1')|float }} {{ '0e999'|float }} {{ '0e-999'|float }} {{ '0.000e9999999999999999999'|float }}
{{ true|abs }} {{ 0|abs }} {{ 3|abs }} {{ -0.0|abs }} {{ 1e300 * 1e300 }} {{ -1e300 * 1e300 }} {{ (-1e300 * 1e300)|abs }} {{ (1e300 * 1e300)|round }} {{ true|round }} {{ 7|round(2, 'ceil') }} {{ 7|round(1, 'floor') }} {{ -2.5|round }} {{ 1.25|round(1) }} {{ -7.5|round(0, 'floor') }} {{ 1e22|round(3) }} {{ 5e-324|round(15) }}
{{ [1]|tojson(separators=[',', ':']) }} {{ [1.5, -1.5, 1e300 * 1e300, -1e300 * 1e300]|tojson }} {{ [true, false, none]|tojson }} {{ (1e300 * 1e300 - 1e300 * 1e300)|tojson }} {{ {true: 1, false: 2}|tojson }} {{ {1e300 * 1e300: 1, -1e300 * 1e300: 2, 1e22: 3}|tojson }} {{ {'b': {'z': 1, 'a': 2}, 'a': []}|tojson(sort_keys=true) }} {{ {1: 2}|tojson(sort_keys=true) }} {{ [[]]|tojson(indent=0) }} {{ [1]|tojson(indent=-2) }} {{ [1]|tojson(indent=true) }} {{ '\x7fé😀\r\n\t\b\f\\/'|tojson(ensure_ascii=true) }} {{ ['<a>'|safe]|tojson }} {{ {}|tojson(indent=2) }} {{ {'a': 1}|tojson(none, none) }}
{% set ns = namespace(a=1) %}{{ ns|attr('a') }}{{ ns|attr('b') }}{{ ns['b'] }}{{ {'a': 1}|attr('a') }}|{{ ns == ns }} {{ ns == namespace(a=1) }} {{ ns == 1 }} {{ 1 == ns }} {{ 'y' if ns }} {% if ns and range %}x{% endif %} {{ namespace({'a': 1}, a=2).a }} {{ namespace is defined }}
{% for i in 'ab' %}{{ loop|attr('index') }}{{ loop['index0'] }}{% set k = 'last' %}{{ loop[k] }}{{ loop[0] }}{{ loop['cycle'](1, 2) }}{{ loop.cycle('x', 'y') }}{{ loop.depth0 }}{{ loop is iterable }}{{ loop == loop }}{{ 'y' if loop }}{{ loop['previtem'] }}{{ loop|attr('nextitem') }}{{ (loop|attr('cycle'))('p', 'q') }};{% endfor %}
{{ range(9223372036854775800, 9223372036854775807, 10)|list }} {{ range(-9223372036854775807, -9223372036854775806)|list }} {{ range(3, 3)|list }} {{ range(2, 5) == range(2, 5) }} {{ range(2) == range(3) }} {{ dict({'a': 1, 'b': 2}, b=3, c=4) }} {{ dict() }} {{ dict({}) }} {{ range(10)[::3]|list }} {{ range(10)[-2:]|list }}
{{ strftime_now('%k|%l|%h|%n|%t|%X|%x|%r|%_d|%_H|%-j|%_j|%-I|%_m|%-y|%-Y|%_S|%-w|%p|%c') }}
{{ [[1], [2, 3]]|map(attribute=1, default='d')|list }} {{ [[1, 2], [3]]|map(attribute='1', default='d')|list }} {{ [{'a': [1, {'b': 2}]}]|map(attribute='a.1.b')|list }} {{ [{'a': 1}]|map(attribute='a..b', default=0)|list }} {{ [[1], {'-1': 5, '1x': 6}]|map(attribute='-1', default=0)|list }} {{ [{'1x': 6}]|map(attribute='1x')|list }} {{ [[1]]|map(attribute='99999999999999999999', default='n')|list }} {{ [{'': 3}]|map(attribute='')|list }} {{ [[1]]|map(attribute=-1)|list }}
{{ [[2], [1]]|sort(attribute=0) }} {{ [{'a': 'B'}, {'a': 'a'}]|sort(attribute='a') }} {{ [{'a': 'B'}, {'a': 'a'}]|sort(attribute='a', case_sensitive=true) }} {{ [{'a': 1, 'b': 2}, {'a': 1, 'b': 3}]|unique(attribute='a')|list }} {{ ['b', 'B', 'a']|unique(case_sensitive=true)|list }} {{ []|last }}|{{ ()|sort }} {{ 'abc'|last }} {{ {'a': 1}|last }} {{ ['a', 'B']|max }} {{ ['a', 'B']|max(case_sensitive=true) }} {{ ['b', 'B']|min }} {{ [3, 1, 2]|min }} {{ ['b', 'a']|sort(false, false, none) }}
{{ nothing|select|list }} {{ []|select('odd')|list }} {{ 0|select|list }} {{ none|map('upper')|list }} {{ none|map(attribute='a')|list }} {{ 0|selectattr('a')|list }} {{ ''|reject|list }} {{ nothing|map('upper')|list }} {{ [{'a': 0}, {'a': 1}]|selectattr('a')|list }} {{ [{'a': 0}, {'a': 1}]|rejectattr('a')|list }} {{ [{'a': {'b': 1}}]|selectattr('a.b', 'eq', 1)|list }} {{ [[0, 1], [1, 0]]|selectattr(1)|list }} {{ 'aXb'|select('upper')|list }} {{ [1.5, 2]|map('round', method='ceil')|list }}
{{ [1, 2, 3]|batch(3)|list }} {{ []|batch(2)|list }} {{ [1]|batch(3, 'x')|list }} {{ [1, 2]|batch(1, 9)|list }} {{ 'abc'|batch(2)|list }} {{ [[1, 2], [3]]|sum(attribute=0) }} {{ []|sum }} {{ {'a': 1}|reverse|list }} {{ 'ab'|map('upper')|reverse|list }} {{ [{}, {'a': 2}]|map(attribute='a', default=none)|list|length }} {{ {'b': 1, 'a': 1}|dictsort(false, 'value', true) }} {{ {2: 'a', 1: 'b'}|dictsort }} {{ ['a', 'A']|unique|first }}
{{ 'abc'.find('b', -2) }} {{ 'abc'.find('', 3) }} {{ 'abc'.find('', 4) }} {{ 'abc'.rfind('', 4) }} {{ 'abc'.count('', 4) }} {{ 'abc'.count('', 3) }} {{ 'abc'.find('c', -9) }} {{ 'abc'.find('c', 0, -1) }} {{ 'abc'.find('b', none, none) }} {{ 'aXbX'.rindex('X') }} {{ 'éaé'.rfind('é') }} {{ 'abc'.count('b', 2, 1) }} {{ 'abc'.find('c', 2, 99) }} {{ 'abc'.rfind('') }} {{ 'abab'.count('ab', -2) }} {{ ''.find('') }}
{{ 'abc'.startswith('b', 1) if false else 'n' }} {{ 'abc'.startswith(()) }} {{ 'abc'.startswith(('a', 1)) }} {{ 'abc'.endswith(('x', 'c')) }} {{ 'abc'.endswith('') }} {{ 'abc'.removeprefix('x') }} {{ 'abc'.removeprefix('') }} {{ 'abc'.removesuffix('bc') }} {{ ''.partition('a') }} {{ 'a'.rpartition('a') }} {{ 'éaé'.partition('a') }}
{{ 'Ab'.islower() }} {{ 'Ab'.isupper() }} {{ '1'.islower() }} {{ ''.isupper() }} {{ 'a'.isupper() }} {{ 'ǅ'.islower() }} {{ 'ǅ'.isupper() }} {{ 'ß'.islower() }} {{ 'Ab' is lower }} {{ 'Ab' is upper }} {{ '' is lower }} {{ 'a b'.isalpha() }} {{ ''.isspace() }} {{ 'a\x1f'.isspace() }} {{ '\x1c\x1d\x1e\x1f'.isspace() }} {{ 'a-1'.isalnum() }} {{ 12 is lower }} {{ 'AB' is upper }}
{{ 'ab'.ljust(1) }} {{ 'ab'.rjust(2) }} {{ 'ab'.center(3, '.') }} {{ 'abc'.center(6, '.') }} {{ 'abcd'.center(7, '.') }} {{ 'abc'.center(0) }} {{ 'ab'.ljust(-5) }} {{ '+5'.zfill(4) }} {{ '5'.zfill(3) }} {{ 'é'.zfill(3) }} {{ ''.zfill(2) }} {{ '-'.zfill(3) }} {{ 'abc'.zfill(-1) }} {{ '--5'.zfill(5) }}
{{ {'a': none}.get('a', 1) }} {{ {1: 2}.get(1.0) }} {{ {'a': 1}.copy().a }} {{ [1].copy() }} {{ (1, 2).count(1) }} {{ (1, 2).index(2) }} {{ [[1], 1].index([1]) }} {{ [1, true, 1.0, '1'].count(1) }} {{ {'a': 1}.keys()|length }} {{ {'a': 1}.keys()[0] }}|{{ 1 in {'a': 1}.values() }} {{ {'a': 1}.keys().x }}|{{ 'a'.x }}|{{ [1].x }}|{{ (1).x }}|{{ [1]['x'] }}|{{ ['a'.upper, {}.get][0]() }}
{{ {'a': 1, 'b': 2}.keys() == {'b': 3, 'a': 4}.keys() }} {{ {'a': 1}.keys() == {'b': 1}.keys() }} {{ {'a': 1}.keys() == {}.keys() }} {{ {'a': 1, 'b': 2}.items() == {'b': 2, 'a': 1}.items() }} {{ {'a': 1}.items() == {'a': 2}.items() }} {{ {'a': 1}.values() == {'a': 1}.values() }} {% set v = {'a': 1}.values() %}{{ v == v }} {{ {'a': 1}.keys() == ['a'] }}
{{ 'y' if 0.5 }}{{ 'n' if 0.0 }}{{ 'y' if -0.0 else 'z' }}{{ 'y' if [0]|map('string') }}{{ 'y' if []|map('string') }}{{ 'y' if range(0) else 'n' }}{{ 'y' if range(1) }}{{ 'y' if {}.keys() else 'n' }}{{ 'y' if {}|items }}{{ 'y' if () else 'n' }}{{ not none }}
{% set a = [1] %}{{ a == a }}{{ [1] == [1, 2] }}{{ [1] == [2] }}{% set d = {'a': 1} %}{{ d == d }}{{ {} == 1 }}{{ 1 == {} }}{{ {'a': 1} == {} }}{{ {'a': 1} == {'a': 2} }}{{ {'a': 1} == {'b': 1} }}{{ {'a': 1, 'b': 2} == {'b': 2, 'a': 1} }}{{ nothing == nix }}{{ nothing == none }}{{ none == nothing }}{{ nothing == 1 }}{{ none == 1 }}{{ 1 == none }}{% set g = [1]|map('string') %}{{ g == g }}{{ g == [1]|map('string') }}{{ g != [] }}{{ 1 == 'a' }}{{ 'a' == 1 }}{{ [] == 1 }}{{ 1.5 == '1.5' }}
{{ 1 < 2.5 }} {{ 2.5 < 1 }} {{ 1.5 <= 1.5 }} {{ 2 >= 1.5 }} {{ 1 <= 0 }} {{ true < 2 }} {{ 'b' > 'a' }} {{ 'a' >= 'b' }} {{ [1] < [1, 2] }} {{ [1, 2] < [1] }} {{ [] < [] }} {{ [1] <= [1] }} {{ (1, 'a') < (1, 'b') }} {{ [2, nothing] > [1, 2] }} {{ [1, [2]] < [1, [3]] }} {{ 1 is le 1 }} {{ 1 is lessthan 1 }} {{ 1 is gt 0.5 }} {{ 1 < 2 <= 2 != 3 }} {{ 3 > 2 > 2 }} {{ 'é' < '😀' }} {{ 2 not in [1] not in [true] }}
{{ '%s'|format(nothing) }}|{{ nothing ~ 1 }} {{ nothing|string }}|{{ [nothing] }} {{ nothing is sameas nothing if false }}|{{ nothing|first }}|{{ nothing|list }} {{ nothing|sort }} {{ nothing|join }}|{{ nothing|upper }}|{{ nothing|trim }}|{{ nothing|replace('', 'x') }} {{ nothing|length }} {{ nothing|e }}|{{ nothing|reverse|list }} {{ nothing|sum }} {{ '%s.' % nothing }} {{ not nothing }} {{ nothing|title }}|{{ nothing|wordcount }} {{ nothing|unique|list }}
{{ 'abc'[-5] }}|{{ 'abc'[-3] }} {{ [1, 2][-3] }}|{{ none[0] }}|{{ 'abc'[1.5] }}|{{ 'abc'[true] }} {{ 'abc'[true:] }} {{ [1, 2, 3][0:3:9223372036854775807] }} {{ [1, 2, 3][::-9223372036854775807] }} {{ [1, 2, 3][-9223372036854775807:] }} {{ 'abc'[2:1] }}|{{ 'abc'[::2] }} {{ 'éab'[::-2] }} {{ ''[0] }}|{{ ''[:3] }}|{{ 'abc'[none:none:none] }} {{ (1, 2, 3)[::-1] }} {{ 'abc'[-2:-1] }} {{ [1, 2, 3, 4][3:0:-2] }} {{ ('<ab>'|safe)[::2] is escaped }} {{ {1: 2}[true] }} {{ {(1, 2): 3}[(1, 2)] }} {{ 5[0] }}|{{ 'abc'[2:-9] }}
{{ '' * 5 }}|{{ [] * 5 }} {{ () * 2 }} {{ [1] * 0 }} {{ [1] * -1 }} {{ true * 'ab' }} {{ 'ab' * false }}|{{ 3 * [0] }} {{ (1,) * 2 }} {{ 2 * (1,) }} {{ true + true }} {{ [] + [] }} {{ () + (1,) }}
{{ 0 ** 0 }} {{ 0 ** 5 }} {{ 1 ** 99 }} {{ (-1) ** 3 }} {{ (-1) ** 4 }} {{ 1 ** -3 }} {{ (-1) ** -3 }} {{ 2 ** 62 }} {{ (-2) ** 63 }} {{ 2.0 ** 3 }} {{ 2 ** 0.5 }} {{ 0.0 ** 0 }} {{ (-8.0) ** 2 }} {{ (-2.0) ** -2 }} {{ 0.5 ** 2000 }} {{ 2 ** -2000 }} {{ (1e300 * 1e300) ** 2 }} {{ 1.0 ** (1e300 * 1e300) }} {{ (-1e300 * 1e300) ** 0.5 }} {{ (-0.0) ** 3 }}
{{ (-9223372036854775807 - 1) % -1 }} {{ 5 % -1 }} {{ 5 // -1 }} {{ -9223372036854775807 // -1 }} {{ -9223372036854775807 - 1 }} {{ 3 * -4 }} {{ 6 // -4 }} {{ 6 % -4 }} {{ -6 // 4 }} {{ 1.5 / 0.5 }} {{ 7 / 2.0 }} {{ 1.5 - 1 }} {{ 4.0 % 2 }} {{ 4.0 % -2 }} {{ -4.0 % 2 }} {{ 4.5 % -2 }} {{ -4.5 // 2 }} {{ 4.0 // -2 }} {{ -0.0 // 1 }} {{ 0.0 // -5 }} {{ 1.0 // 0.1 }} {{ 5 // (1e300 * 1e300) }} {{ -5 // (1e300 * 1e300) }} {{ -5 % (1e300 * 1e300) }} {{ 6.6 // 2.2 }} {{ 2.7 // 0.9 }} {{ -0.3 // 0.1 }} {{ 3e15 // 0.3 }} {{ 4.35 // 0.05 }} {{ 1e17 // 0.7 }}
{{ 1.5 * 2 }} {{ -1.5 }} {{ +1.5 }} {{ +true }} {{ -true }} {{ -(-9223372036854775807) }} {{ 5 is divisibleby 2.5 }} {{ 4.5 is divisibleby 2 }} {{ true is odd }} {{ -3 is odd }} {{ 0 is even }} {{ -1 is even }}
{{ [1] is iterable }} {{ {} is iterable }} {{ none is iterable }} {{ range(3) is iterable }} {{ range(3) is sequence }} {{ (1,) is sequence }} {{ false is true }} {{ true is false }} {{ 0 is false }} {{ 1 is true }} {{ none is true }} {{ 'a' is number }} {{ 'a' is integer }} {{ none is boolean }} {{ none is mapping }} {{ none is string }} {{ 1 is undefined }} {{ false is boolean }} {{ [1] is mapping }} {{ 1.5 is integer }} {{ 1 is float }} {{ {'a': 1}.keys() is sequence }} {{ [1]|map('string') is sequence }} {{ [1]|map('string') is iterable }}
{{ true is sameas true }} {{ true is sameas false }} {{ 1 is sameas true }} {{ true is sameas 1 }} {{ none is sameas 1 }} {{ 1 is sameas none }} {{ none is sameas none }} {% set a = 'ab' %}{{ a is sameas a }} {{ a is sameas 1 }} {{ 1 is sameas a }} {% set b = [1] %}{{ b is sameas b }} {{ b is sameas [1] }} {{ b is sameas 1 }} {{ 1 is sameas b }} {% set c = {} %}{{ c is sameas c }} {{ c is sameas {} }} {{ c is sameas 1 }} {{ 1 is sameas c }} {% set n = namespace() %}{{ n is sameas n }} {{ n is sameas namespace() }} {{ n is sameas 1 }} {{ 1 is sameas n }}
{{ '%5s|%-5s|%05s|%-05d|%05d|%05r|%-5r|%5d' % ('a', 'b', 'c', 42, 42, 'd', 'e', -7) }} {{ '%x %X %x' % (26, 26, -255) }} {{ '%.1f %5.1f %-7.2f|%07.2f %.0f %f' % (1.25, 2.25, 3, -4.5, 0.5, 1) }} {{ '%i %d %d' % (1.9, -1.9, true) }} {{ '%.9s %.0s| %.s|' % ('abc', 'abc', 'abc') }} {{ '%.1r' % 'a' }} {{ '%s' % ((1, 2),) }} {{ '%s' % {'a': 1} }} {{ 'abc' % {'a': 1} }} {{ 'abc' % [1] }} {{ 'abc' % () }} {{ '%%' % () }} {{ '%s %s' % (1, nothing) }} {{ '%r' % ('é\n',) }} {{ '%05f %f' % (1e300 * 1e300, -1e300 * 1e300) }} {{ '%05d' % 1234567 }} {{ '%.60f' % 1e-7 }} {{ '%s' % none }} {{ '%0-5d|' % 3 }}
{{ '{} {}'.format(1, 2, 3) }} {{ '{a}{b}'.format(a=1, b=2) }} {{ '{{}}'.format() }} {{ '}}{{'.format() }} {{ 'abc'.format() }} {{ ''.format() }}|{{ '{b}'.format(a=1, b=2) }} {{ '{}'.format(none) }} {{ '{1}'.format(1, 2) }} {{ '{0}{0}'.format('x') }} {{ '{}'.format([1, 'a']) }} {{ '{}'.format(1e22) }} {{ '{}'.format({'a': none}) }}
{{ '\x01a\x01'.strip() }} {{ 'ab'.rsplit() }} {{ 'ab cd'.rsplit() }} {{ ' ab'.rsplit(none, 1) }} {{ 'a b c'.split(none, 0) }} {{ 'a b c '.rsplit(none, 0) }} {{ 'a,b'.split(',', 0) }} {{ 'a,b,c'.rsplit(',') }} {{ 'aXXb'.rsplit('X') }} {{ ''.rsplit() }} {{ ''.rsplit(',') }} {{ '  '.split(none, 1) }} {{ 'a\u2003b\u3000c'.split() }} {{ 'éxé'.rstrip('é') }} {{ 'abc'.strip('') }} {{ 'é'.strip('ab') }} {{ 'a b'.split(sep=' ') }} {{ 'a  b'.split(' ') }}
{{ 'a\x0eb\x1cc\x1dd\x1ee\x1ff\x85g\u2028h\u2029i\x0bj\x0ck\r'.splitlines() }} {{ 'a\rb\r\n\nc'.splitlines() }} {{ 'a\rb\r\n\nc\u0085'.splitlines(true) }} {{ ''.splitlines() }} {{ '\n'.splitlines() }} {{ 'a\tb\x08'.splitlines() }} {{ '\r'.splitlines(true) }} {{ 'a\r\n'.splitlines(keepends=true) }} {{ 'é\u2027\u2030'.splitlines() }} {{ '\x84'.splitlines() }}
{{ '\u0100\u0101\u0102\u0103 \u0139\u013a ǄǅǆΣα σς ΣΣ aΣb 1Σ \U0001e921\U0001e943\U000f0000 ŉ ﬃ İı'|upper }} {{ '\u0100\u0101\u0102\u0103 \u0139\u013a ǄǅǆΣα ΑΣ aΣb 1Σ \U0001e921\U0001e943\U000f0000 İI'|lower }} {{ '\u0101\u0102 ǆ ŉ ﬃ σΣ ΣΣ \u013a \U0001e943'.title() }} {{ 'Σα'.capitalize() }} {{ 'ǆ'|title }} {{ 'ΑΣ. ΑΣ'|lower }} {{ 'ﬁ'.capitalize() }} {{ 'aé-bC(dE'|title }} {{ 'ა Ა ꭰ Ꭰ ᏸ'|upper }} {{ 'ა Ა ꭰ Ꭰ ᏸ'|lower }} {{ 'ა'|capitalize }}
{{ ['\r\\\x1f\x85\xad\u2028\U000e0001\ue000', 'a\'b"c', "a'b", 'a"b'] }} {{ ['\x7e\x7f\xa0\xa1'] }} {{ [1.0, -0.0, 1e16, 123456789.125, 1e-5, 5e-324, 1.7976931348623157e308] }} {{ 1e15 }} {{ 9999999999999998.0 }} {{ [true, none, 'a'|safe] }} {{ {'a': [{}], (1, 2): ()} }} {{ [[1, [2]], (3,)] }}
{{ 1.5.5 }}|{{ 1.5.a }}|{{ 01.5 }} {{ 00 }} {{ 0_0 }} {{ 1e5 }} {{ 1E+5 }} {{ 1e-5 }} {{ 1_0.2_5e1_0 }} {{ 0.0 }} {{ 1.0e3 }} {{ [[1, 2], 3].0.1 }} {{ [1.5][0] }} {{ 'a'|replace('a', '\x41\101\7\08\u0041\U00000041') }} {{ '\a\b\f\v\r\0\12\1234'|tojson }} {{ '\q\/\8\9\.' }} {{ "\"\'" }} {{ '\u00e9\777' }} {{ '\c\-' }} {{ '\7 \7'|tojson }} {{ '\18'|tojson }} {{ 1.x }}|
{{ {(1,): 2} }} {{ {1.5: 'a', none: 'b'}[1.5] }} {{ {'a': 1, 'a': 2} }} {{ {1: 'a', true: 'b', 1.0: 'c'} }} {{ {'k': 1}['k'] }} {{ {none: 1}[none] }} {{ [1] in [[1]] }} {{ 'a' in ('a',) }} {{ none in [none] }} {{ 1 in {'a': 1} }} {{ '' in 'a' }} {{ 'a' in {'a': 1}.keys() }} {{ ('a', 1) in {'a': 1}.items() }} {{ 2 not in range(2) }} {{ '1' in [1]|map('string') }} {{ 1.0 in [1] }}
{% for (b,) in [[2]] %}{{ b }}{% endfor %}{% set d, (e, f) = 1, (2, 3) %}{{ d }}{{ e }}{{ f }}{% with g = 1, h = g %}{{ g }}{{ h is defined }}{% endwith %}{% for i in [] %}{% else %}{% set j = 1 %}{{ j }}{% endfor %}{{ j }}{% set k %}{% endset %}[{{ k }}]{% set l|length %}abc{% endset %}{{ l }}
{% for x in [1, 2, 3] if x != 2 %}{{ x }}{{ loop.length }}{% endfor %}{% for x in {'a': 1}.items() %}{{ x[0] }}{% endfor %}{% for i in range(3) %}{% for j in range(2) %}{% if j %}{% continue %}{% endif %}{{ i }}{{ j }}{% else %}e{% endfor %}{% if i == 1 %}{% break %}{% endif %}{% endfor %}{% for i in [1] %}{% with %}{% continue %}{% endwith %}x{% endfor %}
{% macro m(a, b=none) %}{{ a }}{{ b }}{{ caller is defined }}{% endmacro %}{{ m() }}{{ m(none) }}{{ m(b=1) }}{% call m(1) %}x{% endcall %}{% macro o(x) %}{% call m(x) %}{{ x }}{% endcall %}{% endmacro %}{{ o(5) }}{% macro p() %}{{ caller(1, b=2) }}{% endmacro %}{% call(a, b=3, c=4) p() %}{{ a }}{{ b }}{{ c }}{% endcall %}{% macro q() %}{{ caller(1, 2, k=3) }}{% endmacro %}{% call(a) q() %}{{ varargs }}{{ kwargs }}{% endcall %}
{% filter indent(2, true) %}a{% filter upper %}b{% endfilter %}{% endfilter %}{% set x = 'q' %}{% filter replace('q', 'r') %}{{ x }}{% set x = 'z' %}{{ x }}{% endfilter %}{{ x }}{% filter trim|upper %} {% set y %} c {% endset %}{{ y }} {% endfilter %}
{{ 'a\n\n b'|indent(2, true, true) }}|{{ 'a\nb'|indent(width='--', first=true) }}|{{ '\n'|indent }}|{{ 'a\r\nb'|indent(0) }}|{{ 'a'|indent(-1) }}|{{ 'a b'|urlencode }} {{ 1.5|urlencode }} {{ 'ä&=~_.-/%'|urlencode }} {{ 5|upper }} {{ 5|trim }} {{ none|upper }} {{ [1]|upper }} {{ [1, 2]|trim('[') }} {{ 1|safe }} {{ 1|e }} {{ {'a': '<'}|e }} {{ none|replace('None', 'x') }} {{ 'aaa'|replace('a', 'b', 0) }} {{ 'aaa'|replace('a', 'b', -1) }} {{ 'aaa'.replace('a', 'b', 2) }} {{ 'é'.replace('', '-') }} {{ ''.replace('', 'a', 1) }} {{ 'ab'.replace('', '-', 2) }} {{ 'abc'.replace('x', 'y') }}
{% set s = '<a> b'|safe %}{{ s.replace('a', '<') }} {{ s.replace('a', '<'|safe) }} {{ s.replace('a', '') is escaped }} {{ s.join(['<', '>'|safe]) }} {{ s.join('<>') is escaped }} {{ s.split() }} {{ s.rsplit(' ', 1) }} {{ s.splitlines() }} {{ s.partition('a') }} {{ s.ljust(7, '.') }}{{ s.ljust(7) is escaped }} {{ s.zfill(7) is escaped }} {{ s.zfill(2) is escaped }} {{ s.removeprefix('<') is escaped }} {{ s.strip('<') is escaped }} {{ s[1:] + '<' }} {{ s|list }}
{% set ns=namespace(f=false) %}{% for i in [1,2,3] if not ns.f %}{{ i }}{% set ns.f=true %}{% endfor %}
{% set ns=namespace(v='') %}{% for i in [1,1,2,2,3] if i != ns.v %}{{ i }}{{ loop.index }}{{ loop.first }}{{ loop.previtem }}{% set ns.v=i %}{% endfor %}
{% for i in [1, 2, 3] if i is odd %}{{ i }}{{ loop.last }}{{ loop.nextitem }}{{ loop.revindex }}{% endfor %}{% for i in [1] if false %}a{% else %}b{% endfor %}{% for i in [1, 2] if i == 2 %}{{ loop.cycle('p', 'q') }}{% endfor %}
{% for i in [1] %}{% break %}{% else %}E{% endfor %}|{% for i in [1,2] %}{% continue %}{% else %}E{% endfor %}|{% for i in [1, 2] %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% else %}E{% endfor %}|{% for i in [1, 2] %}{% if i == 1 %}{% continue %}{% endif %}{{ i }}{% else %}E{% endfor %}|{% for i in [1] if i > 1 %}{% else %}F{% endfor %}
{% macro m(a,b=5) %}{{ a }}{{ b }}{{ varargs }}{% endmacro %}{{ m(*[1,2]) }} {{ m(1, *(2, 3)) }} {{ m(*[], a=4) }} {{ m(*'xy') }} {{ dict(*[{'a': 1}]) }} {{ range(*[1, 3])|list }} {{ 'a'.replace(*['a', 'b']) }} {{ [m][0](*[7]) }}
{% set q=namespace(ids=[]) %}{% for m in messages %}{% if m.tool_calls and false %}{% set _=q.ids.append(m) %}{% endif %}{{ m.role }}{% endfor %}{% if false %}{{ 'a'.no_such() }}{{ {}.update({'a': 1}) }}{% endif %}{{ nothing.x() if false else 'y' }}
{{ nothing|d('a', true) }} {{ none|d('a', true) }} {{ false|default('a') }} {{ false|default('a', true) }} {{ ''|d(default_value='x', boolean=true) }} {{ ([]|first)|default('e') }} {{ [none, 1]|map('default', 'x', true)|list }} {{ [1, 2]|first }} {{ ('ab'|first).upper() }} {{ 'a,b'|attr('split')(',') }} {{ {'a': 1}|attr('items')()|list }}
{% set n = namespace() %}{% set n.x = 1 %}{% set n.y = 2 %}{% set n.z = 3 %}{{ n.x + n.z }}
{% set g = [1]|map('string') %}{{ g|list }}{{ g|list }}{{ 'x' in g }}{{ g|first }}
{{ 'a\nb\nc'|indent(30) }}
{{ super is defined }} {{ _ is defined }} {{ loop is defined }} {{ caller is defined }} {{ varargs is defined }} {{ range is defined }}
{{ 'a'|map('upper')|join }} {{ (1, 2)|join(1) }} {{ [1, [2]]|join(', ') }} {{ [{'a': 1}, {}]|join('-', 'a') }} {{ ', '.join(['a']) }} {{ 'x'.join(()) }}|{{ '-'.join({'a': 1, 'b': 2}) }} {{ ','.join(['a', 'b']|map('upper')) }} {{ [1, 2]|join(none) }} {{ nothing|join('-') }}|{{ [none, true]|join }}
""".strip().splitlines()

ERRORS = r"""
{% for x y %}{% endfor %}
{{ 1| }}
{{ 1|nosuch not in x }}
{{ [1][,1] }}
{{ dict(a=1, 2) }}
{{ 1 is }}
{{ nothing[1:] }}
{% set x = 5 %}{{ x[1:] }}
{% set x = none %}{{ x[:] }}
{% set x = {'a': 1} %}{{ x['a':] }}
{% set x = {'a': 1}.keys() %}{{ x[1:] }}
{% set x = [1]|map('string') %}{{ x[:1] }}
{% set x = 'abc' %}{{ x['a':] }}
{% set x = 'abc' %}{{ x[:1.5] }}
{% set x = [1] %}{{ x[::nothing] }}
{{ nothing['a'] }}
{{ nothing|attr('x') }}
{{ ([]|first).x }}
{{ 'a'|trim('x', 'y') }}
{{ 'foo'|truncate(2) }}
{{ 'foo bar'|truncate(5, leeway=-1) }}
{{ [1]|abs }}
{{ 'a'|round }}
{{ 1.5|round(1, 'up') }}
{% set x = 'inf' %}{{ x|float|round(0, 'ceil') }}
{% set x = '-inf' %}{{ x|float|round(1, 'floor') }}
{% set x = 'nan' %}{{ x|float|round(0, 'floor') }}
{{ [1]|tojson(separators=1) }}
{{ [1]|tojson(separators=[',']) }}
{{ [1]|tojson(separators=[1, ',']) }}
{{ {'a': 1}|tojson(separators=[',', 1]) }}
{{ {(1, 2): 3}|tojson }}
{{ {nothing: 3}|tojson }}
{{ {1: 2, 'a': 3}|tojson(sort_keys=true) }}
{{ range(3)|tojson }}
{{ [1, range]|tojson }}
{{ {'a': range, 'b': 1}|tojson }}
{{ [1]|map('string')|tojson }}
{{ nothing|tojson }}
{{ dict(1, 2) }}
{{ dict(1) }}
{{ namespace(1, 2) }}
{{ strftime_now(1) }}
{{ strftime_now() }}
{{ raise_exception() }}
{{ range() }}
{{ range('a') }}
{{ range(1.5) }}
{{ [1]|dictsort }}
{{ {'a': 1}|dictsort(by='x') }}
{{ {'a': 1, 1: 2}|dictsort }}
{{ [1]|map('string')|last }}
{{ [1]|items|list }}
{{ [1]|map(1)|list }}
{{ [1]|map|list }}
{{ [1]|selectattr|list }}
{{ [1]|select(1)|list }}
{{ [none]|map(attribute='a.b')|list }}
{{ [none, 1]|selectattr('a.b', 'eq', 1)|list }}
{{ 5|select|list }}
{{ [1, 'a']|sum }}
{{ [1, 'a']|max }}
{{ [1]|map('string')|length }}
{{ 1.5|length }}
{{ true|length }}
{{ 'a'.startswith(1) }}
{{ 'a'.endswith(1) }}
{{ 'abc'.startswith(['a']) }}
{{ 'abc'.startswith(('x', 1)) }}
{{ 'a'.partition('') }}
{{ 'a'.rpartition('') }}
{{ 'a'.rsplit('') }}
{{ 'a'.split(1) }}
{{ 'a'.ljust(3, 'xy') }}
{{ 'a'.ljust('x') }}
{{ 'a'.ljust() }}
{{ 'a'|center('x') }}
{{ 'a'|replace('a') }}
{{ 'a'|indent(2, width=3) }}
{{ 'a'.replace('a') }}
{{ 'a'.join(1) }}
{{ {}.get() }}
{{ [1].index(5) }}
{{ (1,).index() }}
{{ 'abc'.rindex('x') }}
{{ 'a'.upper(1) }}
{{ 'a'.upper('b', x=1) }}
{% for i in [1] %}{{ loop.cycle() }}{% endfor %}
{{ nothing < 1 }}
{{ 1 < nothing }}
{{ 1 < 'a' }}
{{ 'a' < 1.5 }}
{{ 1.5 < 'a' }}
{{ none < none }}
{{ [1] < 1 }}
{{ [1] < (1,) }}
{{ range(1) < range(2) }}
{{ {} < {} }}
{{ [1, nothing] < [1, 2] }}
{{ [[1, 'a'], 2] < [[1, 2], 3] }}
{{ 1 not in 5 == 2 }}
{{ 1 < nothing.x }}
{{ 1 in nothing.x }}
{{ [1] + 1 }}
{{ [1] + (1,) }}
{{ range(1) + range(1) }}
{{ true + 'a' }}
{{ 1.5 + 'a' }}
{{ {} + {} }}
{{ namespace() + 1 }}
{{ range + 1 }}
{% for i in [1] %}{{ loop + 1 }}{% endfor %}
{{ 'a' - 'b' }}
{{ [1] / 2 }}
{{ 1 / [2] }}
{{ 'a' * 'b' }}
{{ 'a' * 1.5 }}
{{ 1.5 * 'a' }}
{{ range(2) * 2 }}
{{ 2 * {} }}
{{ 2 ** 'a' }}
{{ 1 + nothing }}
{{ 0 ** -1 }}
{{ 0.0 ** -1 }}
{{ 10.0 ** 400 }}
{{ (-10.0) ** 401 }}
{{ 2 ** 1024.5 }}
{{ 1.5 / 0.0 }}
{{ 1.5 // 0 }}
{{ 1.5 % 0 }}
{{ 1 % 0 }}
{{ 1 // 0.0 }}
{{ [1, 2][::0] }}
{{ 'abc'[::0] }}
{{ 'a' is odd }}
{{ none is even }}
{{ 4 is divisibleby(0) }}
{{ 4 is divisibleby }}
{{ 'a' is divisibleby 2 }}
{{ 1 is sameas }}
{{ 1 is eq }}
{{ 1 is defined(2) }}
{{ 1 is lt 'a' }}
{{ -nothing }}
{{ -(nothing.x) }}
{{ -'a' }}
{{ +[1] }}
{{ [nothing.x, 1, 2] }}
{{ 'abc'[nothing.x:] }}
{{ {nothing.x: 1, 2: 3} }}
{{ {{}: 1} }}
{{ range(nothing.x) }}
{{ 'a'.join([nothing.x]) }}
{{ 'a' ~ nothing.x ~ 'b' }}
{{ (1)() }}
{{ {'a': 1}() }}
{{ [1, nothing.x]|join }}
{% if nothing.x %}{% endif %}
{% if 0 %}{% elif nothing.x %}{% else %}{% endif %}
{% if 1 elif %}{% endif %}
{% for i in [1] if nothing.x %}{% endfor %}
{% for i in nothing.x %}{% endfor %}
{% call range(3) %}{% endcall %}
{% call 1 %}{% endcall %}
{% call | %}{% endcall %}
{% macro (x) %}{% endmacro %}
{% macro m(a=1, b) %}{% endmacro %}
{% macro m(1) %}{% endmacro %}
{% macro m(a) %}{% endmacro %}{{ m(nothing.x) }}
{% macro m(a=nothing.x) %}{% endmacro %}{{ m() }}
{% macro m() %}{{ nothing.x }}{% endmacro %}{{ m()|upper }}
{% macro m() %}{% endmacro %}{% call m(1) %}{% endcall %}
{% with a %}{% endwith %}
{% set a, = [1] %}
{% for a, in [[1]] %}{% endfor %}
{% with 1 = 2 %}{% endwith %}
{% % %}
{% 'a' %}
{% endif %}
{% set x %}{{ nothing.x }}{% endset %}
{% filter upper %}{{ nothing.x }}{% endfilter %}
{% filter %}{% endfilter %}
{% for a, b in 1 %}{% endfor %}
{% set a, b = 1 %}
{% set a, b = 'abc' %}
{% set ns = 1 %}{% set ns.x = 1 %}
{% set nothing.x = 1 %}
{% continue %}
{% raw %}x
{% raw
{% rawx %}{% endraw %}
{% raw +%}x{% endraw %}
{% raw %}{% endraw x %}
{{ a ? b }}
{{ a ! b }}
{{ ) }}
{{ (] }}
{{ 'a' }
{{ a
{{ ab
{{ 1
{{ 1.
{{ 1e
{{ 1e+
{{ 1_
{{ 'a\' }}
{{ 007 }}
{{ 1e }}
{{ 1e+ }}
{{ 1_ }}
{{ 1_a }}
{{ '\x4' }}
{{ '\xzz' }}
{{ '\x4g' }}
{{ '\u00e' }}
{{ '\U00110000' }}
{{ '\x' }}
{{ '%' % 1 }}
{{ '%-' % 1 }}
{{ '%5' % 1 }}
{{ '%5.' % 1 }}
{{ '%.-5d' % 1 }}
{{ '%x' % 1.5 }}
{{ '%X' % 1.5 }}
{% set x = 'inf' %}{{ '%d' % x|float }}
{% set x = '-inf' %}{{ '%i' % x|float }}
{% set x = 'nan' %}{{ '%d' % x|float }}
{{ '%f' % 'a' }}
{{ '%x' % none }}
{{ 'abc' % 1 }}
{{ 'abc' % 'x' }}
{{ '%s' % (1, 2) }}
{{ '%s %s' % (1,) }}
{{ '%s' % () }}
{{ '{'.format(1) }}
{{ '}'.format(1) }}
{{ '}a'.format(1) }}
{{ 'a{'.format(1) }}
{{ '{x}'.format(1) }}
{{ '{}'.format() }}
{{ '{1}'.format(1) }}
{{ '{a}'.format(b=1) }}
""".strip().splitlines()

LAYOUTS = [
    "a\r\nb\rc\n\rd\r",
    "a\r",
    "a\n\n",
    "\r\n{% if 1 %}\r\nx\r\n{% endif %}\r\n",
    "{{ 'a\r\nb' }}{{ 'a\\\nb' }}{{ 'a\\\r\nb' }}",
    "a{",
    "a{b {{ '{' }} {",
    "{} { % {$",
    "a {#b",
    "{##}a{#-#}b{#+#}c",
    "a {#- b -#} c {#+ d +#}\n  {# e #}\n f",
    "  {#+ a #}b\n  {# c +#}\nd",
    "a {%- raw -%} {{ b }} {%- endraw -%} c",
    "a {%+ raw %}\n {{ b }} \n  {%+ endraw +%}\nc",
    "a {%raw%}{%endraw%}\nb",
    "  {% raw %}x{% y %}{{ z }}{#{% endraw %}\n  d",
    "{% raw %}\n  {% endraw %}\nx",
    "{%- if 1 +%}\n a {%+ endif -%}\n b",
    "a\n  {{- 'b' -}}  \n c {{ 'd' }}\n{{ 'e' -}}\n f",
    "\t{% if 1 %}\t\n\t a{% endif %}\t{% if 1 %}b{% endif %}",
    "x {% if 1 %}y{% endif %}\n\n  {%+ if 1 %}z{% endif %}",
    "{{\n'a'\n}}{%\nif\n1\n%}b{%\nendif\n%}",
    "a\x0b {%- if 1 %}\u3000b{% endif -%}\u3000 c\x1c{{- 1 }}",
    "  \u00a0{% if 1 %}a{% endif %}\n\x0b{% if 1 %}b{% endif %}",
    "{{ [1,\n2] }}{{ {'a':\n1} }}{# a\nb #}{{ 'c\nd' }}\n{{ nothing.x }}",
    "{{ 1 }",
    "a{{",
    "a{%",
    "{% if 1",
    "{{ 'a' -",
    "{{ 1 +}}",
]
