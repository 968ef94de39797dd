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
#include <stilla/io/checked_json.hpp>

#include "../output.hpp"

namespace program {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view partial_ending = ".partial", old_ending = ".old";

std::string utf8(const fs::path& path) {
  const std::u8string text = path.u8string();
  return {text.begin(), text.end()};
}

// Returns the path of a name beside `path`: the same name, followed by the number of this process and by `ending`.
fs::path numbered(const fs::path& path, std::string_view ending) {
  fs::path out = path;
  out += fmt::format(".{}{}", process_id(), ending);
  return out;
}

// Returns the path that the symbolic links at `path` lead to. Nothing needs to exist at the path that is returned.
fs::path followed_links(fs::path path, std::error_code& error) {
  constexpr int most_links = 40;  // as in Linux
  for (int links = 0; fs::is_symlink(fs::symlink_status(path, error)); ++links) {
    if (links == most_links) error = std::make_error_code(std::errc::too_many_symbolic_link_levels);
    const fs::path next = error ? fs::path() : fs::read_symlink(path, error);
    if (error) return path;
    path = path.parent_path() / next;
    if (!path.has_filename()) path = path.parent_path();
  }
  error.clear();  // `error` said that nothing has this name
  return path;
}

// Returns the files that a folder's manifest names, and none if the folder has no manifest. A manifest that cannot be read is an
// error.
stilla::Result<std::set<std::string>> manifest_files(const fs::path& folder) {
  const fs::path path = folder / OutputFolder::manifest;
  std::set<std::string> names;
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return names;
  const stilla::Result<nlohmann::json> json = stilla::read_json_file(utf8(path), OutputFolder::manifest_limits);
  if (!json) return json.error();
  const nlohmann::json* const files = stilla::find_member(*json, "files");
  if (files == nullptr || !files->is_array()) return names;
  for (const nlohmann::json& name : *files) {
    if (const std::string* text = stilla::text_of(&name)) names.insert(*text);
  }
  names.insert(OutputFolder::manifest);
  return names;
}

// Returns an error if the folder holds something that no export wrote, or if it cannot be read.
stilla::Status check_is_an_export(const fs::path& folder) {
  using stilla::Error;
  using stilla::ErrorKind;
  const stilla::Result<std::set<std::string>> own = manifest_files(folder);
  if (!own) return own.error();
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    const std::string name = utf8(entry.path().filename());
    if (own->contains(name) && entry.is_regular_file(error)) continue;
    return Error{ErrorKind::bad_argument, fmt::format("holds '{}', which no export wrote", stilla::printable(name))};
  }
  if (error) return Error{ErrorKind::system, fmt::format("cannot read: {}", stilla::printable(error.message()))};
  return stilla::success();
}

// Removes `old`, the folder that was replaced at `path`. Before that, it gets the name of an unfinished folder (.partial), so that a
// folder whose name ends in .old is always whole. If the process is killed here, the next run removes the rest.
void remove_replaced(const fs::path& old, const fs::path& path) {
  std::error_code error;
  const fs::path removed = numbered(path, partial_ending);
  fs::rename(old, removed, error);
  if (!error) fs::remove_all(removed, error);
}

// Clears away what earlier runs for this path left when they were killed, unless another process still uses it. Unfinished folders
// are removed. A folder that was being replaced gets the name `path` back if nothing has this name, and otherwise it is removed too.
void clear_left_behind(const fs::path& path) {
  std::error_code ignored;
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  std::vector<fs::path> partials, olds;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, ignored)) {
    const std::string name = utf8(entry.path().filename()), of = utf8(path.filename());
    if (stilla::detail::is_partial_name(name, of, partial_ending)) partials.push_back(entry.path());
    if (stilla::detail::is_partial_name(name, of, old_ending)) olds.push_back(entry.path());
  }
  for (const fs::path& partial : partials) {
    const FolderInUse in_use(partial);
    if (in_use.is_ours()) fs::remove_all(partial, ignored);
  }
  for (const fs::path& old : olds) {
    const FolderInUse in_use(old);
    if (!in_use.is_ours() || !check_is_an_export(old)) continue;  // somebody may have given this name to another folder
    if (fs::exists(fs::symlink_status(path, ignored))) {
      remove_replaced(old, path);
    } else {
      fs::rename(old, path, ignored);
    }
  }
}

[[noreturn]] void fail_with(const fs::path& path, std::string_view what, const std::error_code& error) {
  fail(exit_failed, fmt::format("{}: {}: {}", stilla::printable_path(utf8(path)), what, stilla::printable(error.message())));
}

}  // namespace

OutputFolder::OutputFolder(const std::string& path) : path_(file_path(path)) {
  if (!path_.has_filename()) path_ = path_.parent_path();  // for a path with a separator at its end: "folder/"
  constexpr std::string_view no_target = "cannot write where this link leads";
  std::error_code error;
  target_ = followed_links(path_, error);
  if (error) fail_with(path_, no_target, error);
  clear_left_behind(target_);
  const fs::file_status old = fs::status(target_, error);
  const bool replaces = fs::exists(old);
  if (!replaces && target_ != path_) fail_with(path_, no_target, error);
  if (replaces) {
    const std::string shown = stilla::printable_path(path);
    if (!fs::is_directory(old)) fail(exit_usage, fmt::format("-o {}: exists and is no folder; it was not touched", shown));
    if (const stilla::Status status = check_is_an_export(target_); !status) {
      fail({status.error().kind, fmt::format("-o {}: {}; it was not touched", shown, status.error().message)});
    }
  }
  partial_ = numbered(target_, partial_ending);
  if (!fs::create_directory(partial_, error)) {
    const fs::path blamed = std::exchange(partial_, {});
    fail_with(blamed, "cannot create", error);
  }
  in_use_.emplace(partial_);
  if (!replaces) return;
  // The new folder gets the old folder's permissions now, while it is empty. So if the old folder may not be written, no file can be
  // created in the new one, the export fails, and the old folder stays.
  fs::permissions(partial_, old.permissions(), error);
  if (error) {
    std::error_code ignored;
    fs::remove(partial_, ignored);
    fail_with(path_, "cannot replace", error);
  }
}

OutputFolder::~OutputFolder() {
  std::error_code ignored;
  if (!partial_.empty()) fs::remove_all(partial_, ignored);
}

std::string OutputFolder::file(const std::string& name) {
  files_.insert(name);
  const fs::path path = partial_ / file_path(name);
  std::error_code error;
  const fs::file_status old = fs::status(target_ / file_path(name), error);
  if (fs::is_regular_file(old)) {
    std::ofstream(path, std::ios::binary).close();
    fs::permissions(path, old.permissions() & fs::perms::all, error);
    if (error) fail_with(path, "cannot write", error);
  }
  return utf8(path);
}

void OutputFolder::write(const std::string& name, std::string_view bytes) {
  stilla::AtomicFile out = value_of(stilla::AtomicFile::create(file(name)));
  check(out.write(0, std::as_bytes(std::span(bytes.data(), bytes.size()))));
  check(out.commit());
}

void OutputFolder::commit() {
  std::error_code error;
  std::optional<FolderInUse> old_in_use;  // so that no other process believes that the old folder was left behind
  fs::path old;
  if (fs::exists(target_, error)) {
    old_in_use.emplace(target_);
    old = numbered(target_, old_ending);
    fs::rename(target_, old, error);
    if (error) fail_with(path_, "cannot replace", error);
  }
  fs::rename(partial_, target_, error);
  if (error) {
    std::error_code not_undone;
    if (!old.empty()) fs::rename(old, target_, not_undone);
    if (not_undone)
      fail_with(path_, fmt::format("the folder that was here is now {}; cannot create", stilla::printable_path(utf8(old))), error);
    fail_with(path_, "cannot create", error);
  }
  partial_.clear();
  if (!old.empty()) remove_replaced(old, target_);
}

}  // namespace program
