// SPDX-License-Identifier: Apache-2.0
#include "embedded_model.hpp"

#include <bit>
#include <span>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include <stilla/base/cores.hpp>
#include <stilla/io/open_model_source.hpp>

#include "output.hpp"

namespace program {

static_assert(std::endian::native == std::endian::little, "the embedded model's numbers are little endian");

stilla::GgufFile open_model_file(const std::string& path, stilla::LoadMode mode) {
  if (!path.empty()) return value_of(stilla::GgufFile::open(path, mode));
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(embedded_words), embedded_bytes);
  return value_of(stilla::GgufFile::parse(stilla::MappedFile::from_memory(bytes, "the embedded model")));
}

stilla::Result<std::unique_ptr<stilla::ModelSource>> try_open_source(const std::string& path, stilla::LoadMode mode) {
  if (!path.empty()) return stilla::open_model_source(path, mode);
  return std::unique_ptr<stilla::ModelSource>(std::make_unique<stilla::GgufFile>(open_model_file(path)));
}

std::unique_ptr<stilla::ModelSource> open_source(const std::string& path, stilla::LoadMode mode) {
  return value_of(try_open_source(path, mode));
}

namespace {
// Models that the program recommends, the sizes of their files as they are published, and the memory that they need with a context of
// a few thousand tokens.
struct LargerModel {
  std::string_view size;
  double file_gb;
  double memory_gb;
  // Returns the name of the model's file and its size in a parenthesis that the caller has to close: "NAME.gguf (4.7 GB".
  std::string text() const { return fmt::format("DeepSeek-R1-Distill-Qwen-{}-Q4_K_M.gguf ({:.1f} GB", size, file_gb); }
};
constexpr LargerModel larger_models[] = {{"1.5B", 1.12, 3}, {"7B", 4.68, 8}, {"14B", 8.99, 14}};
}  // namespace

std::string larger_models_text() {
  const double memory_gb = static_cast<double>(stilla::memory_bytes()) / 1e9;
  std::string out = "for a real one, download one of these and name it with -m:";
  for (const LargerModel& m : larger_models) {
    const bool fits = memory_gb == 0 || m.memory_gb <= memory_gb;
    out += fmt::format("\n{}{})", m.text(),
                       fits ? "" : fmt::format(", too large for this machine: it needs {:.0f} GB of memory", m.memory_gb));
  }
  return out;
}

std::string models_by_memory_text() {
  std::string out = "Models to download, by the memory that they need:";
  for (const LargerModel& m : larger_models) out += fmt::format("\n  {:2.0f} GB  {})", m.memory_gb, m.text());
  return out;
}

}  // namespace program
