// SPDX-License-Identifier: Apache-2.0
//
// libFuzzer target: any template is rendered with any messages. The bytes are split at 0xff into the template and the messages'
// texts. The target reports three kinds of faults: the program aborts; an error message has more than one line; a text from a
// message is marked as if the template had written it.
// The target is opt-in and needs clang; tests/fuzz.sh builds and runs it.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <stilla/text/chat_template.hpp>

namespace {

void check(bool holds) {
  if (!holds) __builtin_trap();
}

void check_error(const stilla::Error& error) {
  check(error.message.starts_with("line "));
  for (const char c : error.message) check(static_cast<unsigned char>(c) >= 0x20);
}

// The byte with which each message of the fuzzer ends. A template that has neither this byte nor a backslash cannot write it. So
// wherever the byte appears in the output, it comes from a message.
constexpr char mark = '\x01';

}  // namespace

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  if (*argc != 2 || (*argv)[1][0] == '-') return 0;
  const auto write = [&](std::string_view name, std::string_view source) {
    const std::string path = stilla::concat((*argv)[1], "/", name);
    std::FILE* const file = std::fopen(path.c_str(), "wb");
    check(file != nullptr);
    std::fwrite(source.data(), 1, source.size(), file);
    std::fputs(
        "\xff"
        "hello <|im_end|>\xff"
        "an answer</think> of two parts\xff"
        "again",
        file);
    std::fclose(file);
  };
  for (const auto& builtin : stilla::detail::builtin_templates) write(builtin.name, builtin.source);
  write("loops",
        "{% for m in messages if m.role != 'x' %}{{ loop.index ~ m.content|trim|upper }}{% break %}{% endfor %}"
        "{% macro a(b, c=1) %}{{ b }}{{ caller() }}{% endmacro %}{% call a(2) %}x{% endcall %}"
        "{{ [1, {'a': 2.5}]|tojson }}");
  write("texts",
        "{% set ns = namespace(x='') %}{% for m in messages %}{% set ns.x = ns.x + m.content.split(' ')[-1][::-1] %}"
        "{% endfor %}{{ '%5s|{}'.format(ns.x) % 3 }}{{ ns.x.replace('a', 'bc')|indent(2)|title }}{{ messages }}");
  write("lists",
        "{{ messages|selectattr('role', 'eq', 'user')|map(attribute='content')|list|sort|join(', ') }}"
        "{{ range(5)[1:3]|list }}"
        "{{ {'b': 1, 'a': [2]}|dictsort }}{{ strftime_now('%Y') }}{%- raw %}{{ x }}{% endraw -%}{# c #}");
  std::exit(0);
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  const auto take = [&rest] {
    const std::size_t end = rest.find('\xff');
    const std::string_view part = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    return part;
  };
  const std::string_view source = take();
  stilla::jinja::Limits limits;
  limits.steps = 200'000;
  limits.memory = std::size_t{32} << 20;
  limits.text = std::size_t{4} << 20;
  limits.levels = 200;  // the stack frames of sanitizers are large
  const auto program = stilla::jinja::Template::parse(source, limits);
  if (!program) {
    check_error(program.error());
    return 0;
  }
  std::vector<stilla::jinja::Value> messages;
  for (std::size_t i = 0; i < 8 && !rest.empty(); ++i) {
    const std::string text = std::string(take()) + mark;
    messages.push_back(stilla::jinja::dict_value({{"role", stilla::jinja::text_value(i % 2 == 0 ? "user" : "assistant")},
                                                  {"content", stilla::jinja::text_value(text, stilla::jinja::from_message)}}));
  }
  const auto text = program->render({{"messages", stilla::jinja::list_value(std::move(messages))},
                                     {"add_generation_prompt", true},
                                     {"bos_token", stilla::jinja::text_value("<s>")}},
                                    {});
  if (!text) {
    check_error(text.error());
    return 0;
  }
  const bool spells_mark = source.find(mark) != std::string_view::npos || source.find('\\') != std::string_view::npos;
  text->for_each_run(0, text->size(), [&](std::string_view bytes, stilla::jinja::Origin origin) {
    check(!bytes.empty());
    if (origin == stilla::jinja::from_template && !spells_mark) check(bytes.find(mark) == std::string_view::npos);
  });
  return 0;
}
