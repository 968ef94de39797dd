// SPDX-License-Identifier: Apache-2.0
//
// A folder that appears whole or not at all. Files are written into FOLDER.NUMBER.partial beside it (NUMBER is the id of the
// process), and that folder gets its final name when all is done. A folder that already has the final name is replaced if every file
// in it was written by an earlier export, as its manifest says. Otherwise the path is refused. While the old folder is being
// replaced, its name is FOLDER.NUMBER.old.
//
// If the work ends earlier, nothing is left, and the old folder stays. If the process is killed, the next run removes what it left.
// If the process was killed between the two renames, so that nothing has the final name, the next run first gives this name back to
// the old folder. Locks tell whether a process still uses a folder. On systems without such locks (Windows), all that a killed
// process left stays.
//
// Two things are as AtomicFile does them for a single file: the new folder and its files get the permissions of those that they replace,
// and if the path is a symbolic link, the folder that it leads to is replaced, and must exist.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include <stilla/io/checked_json.hpp>

#include "../platform.hpp"

namespace program {

class OutputFolder {
 public:
  // The manifest is a JSON object; its array "files" names the folder's files.
  static constexpr const char* manifest = "stilla_export.json";
  // A manifest that is read may have at most 2^23 bytes and 2^18 JSON values. That is enough for a model of 4096 layers of seven
  // matrices: the manifest has some 150 bytes for each matrix that was requantised.
  static constexpr stilla::JsonLimits manifest_limits{std::uint64_t{1} << 23, std::uint64_t{1} << 18};

  // Refuses a path that is not a folder, and a folder that holds files which no export wrote.
  explicit OutputFolder(const std::string& path);
  ~OutputFolder();
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;

  // Returns the path at which to write the file `name` with AtomicFile. From then on the file is one of the folder's files. If the old
  // folder has a file of the same name, file() puts an empty file with the permissions of the old one at the path.
  std::string file(const std::string& name);
  void write(const std::string& name, std::string_view bytes);
  const std::set<std::string>& files() const { return files_; }

  // Gives the folder its final name. If that fails, the old folder keeps this name.
  void commit();

 private:
  std::filesystem::path path_;    // as the user gave it
  std::filesystem::path target_;  // the final name; differs from path_ if that is a symbolic link
  std::filesystem::path partial_;
  std::optional<FolderInUse> in_use_;  // marks the partial folder
  std::set<std::string> files_;
};

}  // namespace program
