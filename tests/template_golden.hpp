// SPDX-License-Identifier: Apache-2.0
//
// Turns the conversations of the golden templates, which are JSON (golden/make_template_golden.py writes them), into the
// variables of a chat template.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <stilla/text/jinja/template.hpp>

namespace stilla {

using Json = nlohmann::ordered_json;  // keeps the order of the file's keys, as Python does

// Converts a JSON value to a value of the template language. If is_message is true, texts inside count as parts of a message,
// except for those of the key "role".
inline jinja::Value value_of_json(const Json& json, bool is_message) {
  if (json.is_null()) return jinja::None{};
  if (json.is_boolean()) return json.get<bool>();
  if (json.is_number_integer()) return json.get<std::int64_t>();
  if (json.is_number()) return json.get<double>();
  if (json.is_string()) {
    return jinja::text_value(json.get<std::string>(), is_message ? jinja::from_message : jinja::from_template);
  }
  if (json.is_array()) {
    std::vector<jinja::Value> items;
    for (const Json& item : json) items.push_back(value_of_json(item, is_message));
    return jinja::list_value(std::move(items));
  }
  std::vector<std::pair<std::string_view, jinja::Value>> entries;
  for (auto item = json.begin(); item != json.end(); ++item) {
    entries.emplace_back(item.key(), value_of_json(item.value(), is_message && item.key() != "role"));
  }
  return jinja::dict_value(std::move(entries));
}

// Returns the variables that a template gets for one of the golden conversations. They point to names in the conversation, which
// must live as long as the variables.
inline jinja::Variables variables_of(const Json& conversation) {
  jinja::Variables out{{"bos_token", jinja::text_value("<s>")}, {"eos_token", jinja::text_value("</s>")}};
  for (auto item = conversation.begin(); item != conversation.end(); ++item) {
    out.emplace_back(item.key(), value_of_json(item.value(), true));
  }
  for (const std::string_view name : {"tools", "documents"}) {
    if (!conversation.contains(name)) out.emplace_back(name, jinja::None{});
  }
  if (!conversation.contains("add_generation_prompt")) out.emplace_back("add_generation_prompt", false);
  return out;
}

inline jinja::LocalTime time_of(const Json& golden) {
  const auto now = golden.at("now").get<std::vector<int>>();
  return {now.at(0), now.at(1), now.at(2), now.at(3), now.at(4), now.at(5)};
}

}  // namespace stilla
