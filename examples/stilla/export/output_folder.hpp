// SPDX-License-Identifier: Apache-2.0
//
// A folder that is there whole or not at all. Files are written into FOLDER.NUMBER.partial beside it, which gets its name when
// all is done; whatever ends the work before leaves nothing, and what a killed run left is removed by the next one. What had the
// name before is replaced if every file in it is one that an earlier export wrote, as its manifest says, and is refused otherwise.
#pragma once

#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "../platform.hpp"

namespace program {

class OutputFolder {
 public:
  // The manifest is a JSON object; its array "files" names the folder's files.
  static constexpr const char* manifest = "stilla_export.json";

  // Refuses a path that is no folder, or a folder with files of somebody else.
  explicit OutputFolder(const std::string& path);
  ~OutputFolder();
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;

  // The path of a file to write. It is one of the folder's from now on.
  std::string file(const std::string& name);
  void write(const std::string& name, std::string_view bytes);
  const std::set<std::string>& files() const { return files_; }

  // Gives the folder its name.
  void commit();

 private:
  std::filesystem::path path_, partial_;
  std::optional<FolderInUse> in_use_;  // the partial one
  std::set<std::string> files_;
};

}  // namespace program
