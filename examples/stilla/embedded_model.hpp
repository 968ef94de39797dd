// SPDX-License-Identifier: Apache-2.0
//
// The model that is part of the program, for commands without -m: examples/models/stilla-drop-q4_0.gguf. It is read from the
// program's constants, without a copy or a file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include <stilla/io/gguf.hpp>

namespace program {

// The bytes of the embedded model's file, which cmake/EmbedFile.cmake writes as little-endian numbers. They are aligned as
// the bytes of a mapped file are.
extern const std::size_t embedded_bytes;
extern const std::uint64_t embedded_words[];

// Open the model at this path, or the embedded model if the path is empty. open_model_file() is for commands that show what
// GGUF files hold. The other functions take any source: a GGUF file, or a folder as Hugging Face has it.
stilla::GgufFile open_model_file(const std::string& path, stilla::LoadMode mode = stilla::LoadMode::map);
stilla::Result<std::unique_ptr<stilla::ModelSource>> try_open_source(const std::string& path, stilla::LoadMode mode);
std::unique_ptr<stilla::ModelSource> open_source(const std::string& path, stilla::LoadMode mode = stilla::LoadMode::map);

// Returns two lines for a conversation with the embedded model: how to get a larger model, and which models fit this
// machine's memory.
std::string larger_models_text();
// Returns a list for the help: the larger models that the program recommends, with the memory that each needs.
std::string models_by_memory_text();

}  // namespace program
