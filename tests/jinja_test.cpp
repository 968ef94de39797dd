// SPDX-License-Identifier: Apache-2.0
#include <stilla/text/jinja/template.hpp>

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include <gtest/gtest.h>

#include <stilla/text/builtin_templates.hpp>

#include "template_golden.hpp"
#include "test_paths.hpp"

namespace stilla {
namespace {

const Json& golden() {
  static const Json json = Json::parse(read_text(concat(stilla_test::test_data, "/templates.json")));
  return json;
}

// The text, or "ERROR: " and the message.
std::string rendered(std::string_view source, const jinja::Variables& variables = {}, const jinja::Limits& limits = {}) {
  const auto parsed = jinja::Template::parse(source, limits);
  if (!parsed) return concat("ERROR: ", parsed.error().message);
  const auto text = parsed->render(variables, time_of(golden()));
  return text ? std::string(text->bytes()) : concat("ERROR: ", text.error().message);
}

std::string source_of(std::string_view name) {
  for (const auto& [builtin, source] : detail::builtin_templates) {
    if (concat("builtin:", builtin) == name) return std::string(source);
  }
  return read_text(concat(stilla_test::test_data, "/templates/", name, ".jinja"));
}

// Python's jinja2 wrote the expected texts (golden/make_template_golden.py).
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
    const std::string source = source_of(shape.key());
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

}  // namespace
}  // namespace stilla
