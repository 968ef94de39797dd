// SPDX-License-Identifier: Apache-2.0
//
// A folder that appears whole or not at all. Files are written into FOLDER.NUMBER.partial beside it, and that folder gets its
// final name when all is done. If the work ends earlier, nothing is left; if the process is killed, the next run removes what it
// left. A folder that already has the final name is replaced if every file in it was written by an earlier export, as its
// manifest says. Otherwise the path is refused.
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

  // Refuses a path that is not a folder, and a folder that holds files which no export wrote.
  explicit OutputFolder(const std::string& path);
  ~OutputFolder();
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;

  // Returns the path at which to write a file. From then on the file is one of the folder's files.
  std::string file(const std::string& name);
  void write(const std::string& name, std::string_view bytes);
  const std::set<std::string>& files() const { return files_; }

  // Gives the folder its final name.
  void commit();

 private:
  std::filesystem::path path_, partial_;
  std::optional<FolderInUse> in_use_;  // of the partial folder
  std::set<std::string> files_;
};

}  // namespace program
