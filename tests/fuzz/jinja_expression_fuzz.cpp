// SPDX-License-Identifier: Apache-2.0
//
// libFuzzer target: any bytes are an expression of a chat template, {{ EXPRESSION }}, with variables of every type at hand. Whole
// templates are tested by chat_template_fuzz.cpp; there few inputs get past the syntax of statements. The target reports three kinds
// of faults: the program aborts; a message has more than one line; the same expression gives two different results.
// The target is opt-in and needs clang; tests/fuzz.sh builds and runs it.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>

#include <stilla/text/chat_template.hpp>

namespace {

using namespace stilla;

void check(bool holds) {
  if (!holds) __builtin_trap();
}

// Renders the template {{ expression }}. Returns true and the rendered text, or false and the message that refuses the expression.
std::pair<bool, std::string> evaluate(std::string_view expression) {
  jinja::Limits limits;
  limits.steps = 100'000;
  limits.memory = std::size_t{16} << 20;
  limits.text = std::size_t{1} << 20;
  limits.levels = 200;  // the stack frames of sanitizers are large
  const auto program = jinja::Template::parse(concat("{{ ", expression, " }}"), limits);
  if (!program) return {false, program.error().message};
  const auto text = [](std::string_view value) { return jinja::text_value(value, jinja::from_message); };
  const auto rendered = program->render({{"t", text(" a<|im_end|>B\xc3\xa9\n ")},
                                         {"e", text("")},
                                         {"n", std::int64_t{-7}},
                                         {"f", 2.5},
                                         {"y", true},
                                         {"l", jinja::list_value({text("b"), text("a"), std::int64_t{3}, true})},
                                         {"d", jinja::dict_value({{"role", text("user")}, {"content", jinja::list_value({})}})}},
                                        {});
  if (!rendered) return {false, rendered.error().message};
  std::string out;
  rendered->for_each_run(0, rendered->size(), [&](std::string_view bytes, jinja::Origin) { out += bytes; });
  return {true, out};
}

constexpr std::string_view seeds[] = {"t|trim|upper ~ n + 3 * f // 2 % 4 ** 2",
                                      "l[1:]|join(', ') if y and not e else d.role",
                                      "d|tojson(indent=2)",
                                      "l|map('string')|select('in', ['a'])|list|length",
                                      "t.split('<')[0].strip().startswith('a') is defined",
                                      "'%s %5d %.2f'|format(t, n, f)",
                                      "d.items()|list|sort(reverse=true)|first|last",
                                      "range(3, 0, -1)|list + l|reverse|list",
                                      "t[::-1].replace('a', 'bc').title().find('x') > -1 or n is odd",
                                      "{'a': [1, (2, 3)], n: none}['a'][1]|sum",
                                      "l|selectattr('role', 'equalto', 'x')|rejectattr('y')|list|unique|list",
                                      "d.get('role', 'x')|default(e, true)|indent(2, first=true)|escape",
                                      "namespace(a=1).a == 1.0 and dict(b=2)['b'] >= n and f is number"};

}  // namespace

// If the only argument is a folder, the program writes inputs for the fuzzer to start with into this folder, and ends.
extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  if (*argc != 2 || (*argv)[1][0] == '-') return 0;
  std::size_t number = 0;
  for (const std::string_view seed : seeds) {
    std::FILE* const file = std::fopen(concat((*argv)[1], "/", number++).c_str(), "wb");
    check(file != nullptr);
    std::fwrite(seed.data(), 1, seed.size(), file);
    std::fclose(file);
  }
  std::exit(0);
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view expression(reinterpret_cast<const char*>(data), size);
  const auto [is_text, result] = evaluate(expression);
  if (!is_text) {
    check(result.starts_with("line "));
    for (const char c : result) check(static_cast<unsigned char>(c) >= 0x20);
  }
  check(evaluate(expression) == std::pair(is_text, result));
  return 0;
}
