// SPDX-License-Identifier: Apache-2.0
//
// Opens a model in any kind of file, for programs that are given a path. This header is opt-in like hugging_face.hpp, because it
// needs nlohmann/json.hpp too.
#pragma once

#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include <stilla/io/gguf.hpp>
#include <stilla/io/hugging_face.hpp>
#include <stilla/io/mapped_file.hpp>  // the system's headers

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// Whether there is a folder at this path (UTF-8).
inline bool is_folder(const std::string& path) {
#if defined(_WIN32)
  const Result<std::wstring> wide = detail::wide_path(path);
  const DWORD attributes = wide ? ::GetFileAttributesW(wide->c_str()) : INVALID_FILE_ATTRIBUTES;
  return attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_DIRECTORY) != 0;
#else
  struct stat status{};
  return ::stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
#endif
}

// Opens a model folder in the form of Hugging Face, or a GGUF file, which may be a packed file or a part of a split model. The path
// is in UTF-8.
inline Result<std::unique_ptr<ModelSource>> open_model_source(const std::string& path, LoadMode mode = LoadMode::map) {
  const auto opened = [](auto source) -> Result<std::unique_ptr<ModelSource>> {
    using Source = std::remove_reference_t<decltype(*source)>;
    if (!source) return source.error();
    return std::unique_ptr<ModelSource>(std::make_unique<Source>(std::move(*source)));
  };
  if (is_folder(path)) return opened(HuggingFaceFolder::open(path, mode));
  return opened(GgufFile::open(path, mode));
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
