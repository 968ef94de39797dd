// SPDX-License-Identifier: Apache-2.0
//
// The model that is part of the program, for commands without -m: examples/models/stilla-drop-q4_0.gguf, read where the program's
// constants are, without a copy or a file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include <stilla/io/gguf.hpp>

namespace program {

// Written by cmake/EmbedFile.cmake: the file's bytes as little-endian numbers, aligned as a mapped file is.
extern const std::size_t embedded_bytes;
extern const std::uint64_t embedded_words[];

// The model of this path; an empty one: the embedded model. As a GGUF file for commands that show what such files hold, as any
// kind of source for the others: a GGUF file or a folder as Hugging Face has it.
stilla::GgufFile open_model_file(const std::string& path, stilla::LoadMode mode = stilla::LoadMode::map);
stilla::Result<std::unique_ptr<stilla::ModelSource>> try_open_model_source(const std::string& path, stilla::LoadMode mode);
std::unique_ptr<stilla::ModelSource> open_model_source(const std::string& path, stilla::LoadMode mode = stilla::LoadMode::map);

// Two lines for a conversation with the embedded model: how to talk to a real one, and which fit this machine's memory.
std::string larger_models_text();

}  // namespace program
