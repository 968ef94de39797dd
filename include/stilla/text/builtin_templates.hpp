// SPDX-License-Identifier: Apache-2.0
//
// Chat templates by name, for model files that have none. They are Jinja programs, as those in files are, so that every conversation
// becomes a prompt in the same way. chat_template.hpp lists their variables.
#pragma once

#include <string_view>

#include <stilla/base/config.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

inline constexpr std::string_view chat_template_names = "chatml, deepseek-r1, llama2, llama3, mistral, vicuna, zephyr";

namespace detail {

struct BuiltinTemplate {
  std::string_view name;
  std::string_view source;
};

inline constexpr BuiltinTemplate builtin_templates[] = {
    // ChatML, the format of Qwen2, SmolLM2 and many other models, without a default system prompt.
    {"chatml", R"jinja(
{%- for message in messages %}
{{- '<|im_start|>' ~ message.role ~ '\n' ~ message.content ~ '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}
)jinja"},
    // The format of DeepSeek-R1 and its distills. Of the system messages only the last is used, and thoughts in earlier answers are
    // removed. The answer begins with a thought, as DeepSeek advises.
    {"deepseek-r1", R"jinja(
{%- set ns = namespace(system='') %}
{%- for message in messages if message.role == 'system' %}{% set ns.system = message.content %}{% endfor %}
{{- bos_token ~ ns.system }}
{%- for message in messages %}
{%- if message.role == 'user' %}
{{- '<｜User｜>' ~ message.content }}
{%- elif message.role == 'assistant' %}
{{- '<｜Assistant｜>' ~ message.content.split('</think>')[-1] ~ '<｜end▁of▁sentence｜>' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<｜Assistant｜><think>\n' }}{% endif %}
)jinja"},
    // The format of Llama 2: the system message is inside the first turn of the user.
    {"llama2", R"jinja(
{%- set ns = namespace(system='') %}
{%- for message in messages %}
{%- if message.role == 'system' %}
{%- set ns.system = '<<SYS>>\n' ~ message.content ~ '\n<</SYS>>\n\n' %}
{%- elif message.role == 'user' %}
{{- bos_token ~ '[INST] ' ~ (ns.system ~ message.content) | trim ~ ' [/INST]' }}
{%- set ns.system = '' %}
{%- else %}
{{- ' ' ~ message.content | trim ~ ' ' ~ eos_token }}
{%- endif %}
{%- endfor %}
)jinja"},
    // The format of Llama 3. Model files of Llama 3.1 and later versions have templates of their own, which state the date.
    {"llama3", R"jinja(
{{- bos_token }}
{%- for message in messages %}
{{- '<|start_header_id|>' ~ message.role ~ '<|end_header_id|>\n\n' ~ message.content | trim ~ '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}
)jinja"},
    // The format of Mistral 7B Instruct: the system message comes before the first user message.
    {"mistral", R"jinja(
{{- bos_token }}
{%- set ns = namespace(system='') %}
{%- for message in messages %}
{%- if message.role == 'system' %}
{%- set ns.system = message.content ~ '\n\n' %}
{%- elif message.role == 'user' %}
{{- '[INST] ' ~ ns.system ~ message.content ~ ' [/INST]' }}
{%- set ns.system = '' %}
{%- else %}
{{- ' ' ~ message.content | trim ~ eos_token }}
{%- endif %}
{%- endfor %}
)jinja"},
    {"vicuna", R"jinja(
{{- bos_token }}
{%- for message in messages %}
{%- if message.role == 'system' %}
{{- message.content ~ '\n\n' }}
{%- elif message.role == 'user' %}
{{- 'USER: ' ~ message.content ~ '\n' }}
{%- else %}
{{- 'ASSISTANT: ' ~ message.content ~ eos_token ~ '\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}
)jinja"},
    // The format of Zephyr and TinyLlama-Chat.
    {"zephyr", R"jinja(
{%- for message in messages %}
{{- '<|' ~ message.role ~ '|>\n' ~ message.content ~ eos_token ~ '\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}
)jinja"},
};

}  // namespace detail
}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
