// SPDX-License-Identifier: Apache-2.0
//
// Reads a chat template from standard input, and renders it with conversation NUMBER of tests/golden/templates.json.
// make_template_golden.py --files runs the program:
//
//   render_template templates.json NUMBER < template.jinja
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <iterator>
#include <string>

#include "read_file.hpp"
#include "template_golden.hpp"

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const stilla::Json golden = stilla::Json::parse(stilla_test::read_file(argv[1]));
  const stilla::Json& conversation = golden.at("conversations").at(static_cast<std::size_t>(std::atoi(argv[2])));
  const std::string source{std::istreambuf_iterator<char>(std::cin), {}};
  const auto parsed = stilla::jinja::Template::parse(source);
  if (!parsed) {
    std::fprintf(stderr, "%s\n", parsed.error().message.c_str());
    return 1;
  }
  const auto text = parsed->render(stilla::variables_of(conversation), stilla::time_of(golden));
  if (!text) {
    std::fprintf(stderr, "%s\n", text.error().message.c_str());
    return 1;
  }
  std::fwrite(text->bytes().data(), 1, text->size(), stdout);
  return 0;
}
