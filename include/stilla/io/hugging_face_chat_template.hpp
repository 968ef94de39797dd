// SPDX-License-Identifier: Apache-2.0
//
// The chat template of a Hugging Face folder, if the folder has no file chat_template.jinja: tokenizer_config.json holds it then.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include <stilla/base/error.hpp>
#include <stilla/io/checked_json.hpp>
#include <stilla/io/hugging_face_vocabulary.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// Returns the Jinja text of the chat template in tokenizer_config.json; empty if there is none. The value of the key chat_template is
// a string, or a list of templates with names. Of such a list, the template with the name "default" is used.
inline Result<std::string> read_hugging_face_chat_template(const HuggingFaceTexts& texts) {
  const nlohmann::json* found = texts.tokenizer_config ? find_member(*texts.tokenizer_config, "chat_template") : nullptr;
  if (found == nullptr) return std::string();
  if (const std::string* text = text_of(found)) return *text;
  if (found->is_array()) {
    const std::string* last = nullptr;  // of several default templates, transformers takes the last
    for (const nlohmann::json& entry : *found) {
      const std::string* name = text_of(find_member(entry, "name"));
      const std::string* text = text_of(find_member(entry, "template"));
      if (name != nullptr && *name == "default" && text != nullptr) last = text;
    }
    if (last != nullptr) return *last;
  }
  return Error{ErrorKind::refused_file, concat(texts.folder, "/tokenizer_config.json: key 'chat_template': found ", json_type_text(*found),
                                               "; expected a string, or a list with a template that is called 'default'")};
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
