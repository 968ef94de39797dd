// SPDX-License-Identifier: Apache-2.0
#include "output_folder.hpp"

#include <fstream>
#include <span>
#include <system_error>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <stilla/io/atomic_file.hpp>

#include "../output.hpp"

namespace program {
namespace {

namespace fs = std::filesystem;

std::string utf8(const fs::path& path) {
  const std::u8string text = path.u8string();
  return {text.begin(), text.end()};
}

// Returns the files that a folder's manifest names, or nothing if the folder has no manifest that
// can be read.
std::set<std::string> manifest_files(const fs::path& folder) {
  std::ifstream file(file_path(utf8(folder / OutputFolder::manifest)), std::ios::binary);
  const auto json = nlohmann::json::parse(file, nullptr, false);
  std::set<std::string> names;
  if (!json.is_object() || !json.contains("files") || !json["files"].is_array()) return names;
  for (const auto& name : json["files"]) {
    if (name.is_string()) names.insert(name.get<std::string>());
  }
  names.insert(OutputFolder::manifest);
  return names;
}

// Removes unfinished folders for this path that earlier runs left behind, unless another process is
// still writing them.
void remove_folders_left_behind(const fs::path& path) {
  std::error_code ignored;
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  std::vector<fs::path> found;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, ignored)) {
    if (stilla::detail::is_partial_name(utf8(entry.path().filename()), utf8(path.filename()))) found.push_back(entry.path());
  }
  for (const fs::path& partial : found) {
    const FolderInUse in_use(partial);
    if (in_use.is_ours()) fs::remove_all(partial, ignored);
  }
}

[[noreturn]] void fail_with(const fs::path& path, std::string_view what, const std::error_code& error) {
  fail(exit_failed, fmt::format("{}: {}: {}", stilla::printable_path(utf8(path)), what, stilla::printable(error.message())));
}

}  // namespace

OutputFolder::OutputFolder(const std::string& path) : path_(file_path(path)) {
  if (!path_.has_filename()) path_ = path_.parent_path();  // for a path with a separator at its end: "folder/"
  std::error_code error;
  if (fs::exists(path_, error)) {
    const std::string shown = stilla::printable_path(path);
    if (!fs::is_directory(path_, error)) fail(exit_usage, fmt::format("-o {}: exists and is no folder; it was not touched", shown));
    const std::set<std::string> own = manifest_files(path_);
    for (const fs::directory_entry& entry : fs::directory_iterator(path_, error)) {
      const std::string name = utf8(entry.path().filename());
      if (own.contains(name) && entry.is_regular_file(error)) continue;
      fail(exit_usage, fmt::format("-o {}: holds '{}', which no export wrote; it was not touched", shown, stilla::printable(name)));
    }
    if (error) fail_with(path_, "cannot read", error);
  }
  remove_folders_left_behind(path_);
  partial_ = file_path(fmt::format("{}.{}.partial", utf8(path_), process_id()));
  if (!fs::create_directory(partial_, error)) {
    const fs::path blamed = std::exchange(partial_, {});
    fail_with(blamed, "cannot create", error);
  }
  in_use_.emplace(partial_);
}

OutputFolder::~OutputFolder() {
  std::error_code ignored;
  if (!partial_.empty()) fs::remove_all(partial_, ignored);
}

std::string OutputFolder::file(const std::string& name) {
  files_.insert(name);
  return utf8(partial_ / std::u8string(name.begin(), name.end()));
}

void OutputFolder::write(const std::string& name, std::string_view bytes) {
  stilla::AtomicFile out = value_of(stilla::AtomicFile::create(file(name)));
  check(out.write(0, std::as_bytes(std::span(bytes.data(), bytes.size()))));
  check(out.commit());
}

void OutputFolder::commit() {
  std::error_code error;
  fs::path old;
  if (fs::exists(path_, error)) {
    old = file_path(fmt::format("{}.{}.old", utf8(path_), process_id()));
    fs::rename(path_, old, error);
    if (error) fail_with(path_, "cannot replace", error);
  }
  fs::rename(partial_, path_, error);
  if (error) fail_with(path_, "cannot create", error);
  partial_.clear();
  if (!old.empty()) fs::remove_all(old, error);
}

}  // namespace program
