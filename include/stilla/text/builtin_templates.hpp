// SPDX-License-Identifier: Apache-2.0
//
// Chat templates by name, for files that have none. They are Jinja sources, as in files, so that every conversation becomes a
// prompt in the same way. chat_template.hpp lists their variables.
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
    // Qwen2, SmolLM2 and many others, without a default system prompt.
    {"chatml", R"jinja(
{%- for message in messages %}
{{- '<|im_start|>' ~ message.role ~ '\n' ~ message.content ~ '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}
)jinja"},
    // DeepSeek-R1 and its distills. The last system message is used, and earlier thoughts are removed. The answer begins with a
    // thought, as DeepSeek advises.
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
    // Llama 2: the system message is inside the first turn.
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
    // Llama 3. Files of versions from 3.1 on have their own templates, which state the date.
    {"llama3", R"jinja(
{{- bos_token }}
{%- for message in messages %}
{{- '<|start_header_id|>' ~ message.role ~ '<|end_header_id|>\n\n' ~ message.content | trim ~ '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}
)jinja"},
    // Mistral 7B Instruct: the system message comes before the first user message.
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
    // Zephyr, TinyLlama-Chat.
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
