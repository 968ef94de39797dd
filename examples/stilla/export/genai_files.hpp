// SPDX-License-Identifier: Apache-2.0
//
// Makes the files that onnxruntime-genai reads beside a graph: genai_config.json (shapes, names, tokens, how to sample), and
// Hugging Face's tokenizer.json and tokenizer_config.json. They are made from the GGUF file's vocabulary, merges and chat
// template.
#pragma once

#include <string>

#include "export_model.hpp"

namespace program {

std::string genai_config(const ExportModel& model, const std::string& graph_file);
std::string tokenizer_json(const ExportModel& model);
std::string tokenizer_config_json(const ExportModel& model);

}  // namespace program
