// SPDX-License-Identifier: Apache-2.0
//
// Everything the program asks of the operating system: terminals, Ctrl-C, closed pipes, files by UTF-8 names. The
// program's only file with a branch for each system is platform.cpp.
#pragma once

#include <cstdio>
#include <ctime>
#include <filesystem>
#include <string>
#include <vector>

namespace program {

// Call first. A closed pipe becomes a failed write, text on consoles is UTF-8, standard streams carry bytes unchanged,
// Ctrl-C ends the program with status 130, SIGTERM with 143 and SIGHUP with 129; a mapped file that becomes shorter ends it with a
// sentence and status 1.
void prepare_process();

// The arguments behind the program's name, as UTF-8.
std::vector<std::string> arguments(int argc, char** argv);

bool stdin_is_terminal();
bool stdout_is_terminal();
bool stderr_is_terminal();
// Standard output is a terminal that shows dim text and wants it (NO_COLOR and TERM=dumb are honoured).
bool stdout_has_styles();

// The next line of standard input, without its end; false if there is none.
bool read_line(std::string& line);

// A path in UTF-8, as std::filesystem wants it.
inline std::filesystem::path file_path(const std::string& path) { return std::u8string(path.begin(), path.end()); }
// fopen, with a path in UTF-8.
std::FILE* open_file(const std::string& path, const char* mode);

// Marks a folder as in use while one lives. `is_ours`: no other process does so; always false where the system has no such marks.
class FolderInUse {
 public:
  explicit FolderInUse(const std::filesystem::path& folder);
  ~FolderInUse();
  FolderInUse(const FolderInUse&) = delete;
  FolderInUse& operator=(const FolderInUse&) = delete;
  bool is_ours() const { return handle_ >= 0; }

 private:
  int handle_ = -1;
};

// The time of day where the user is.
std::tm local_time();

// While one lives, Ctrl-C, SIGTERM and SIGHUP only set interrupted(), so that work can end in good order; a second one ends the
// program.
class FinishOnInterrupt {
 public:
  FinishOnInterrupt();
  ~FinishOnInterrupt();
  FinishOnInterrupt(const FinishOnInterrupt&) = delete;
  FinishOnInterrupt& operator=(const FinishOnInterrupt&) = delete;
};
bool interrupted();
// The exit status for that: 130, 143 or 129.
int interrupted_status();
// Whether SIGTERM or SIGHUP came, which end the whole program; Ctrl-C ends an answer.
bool told_to_end();

// Runs this program again, with these arguments and this process's standard streams, and waits for it. What a status means:
// "ended by signal 11", "ended with status 3"; empty for 0.
std::string run_again(const std::vector<std::string>& arguments);

// The folder of this program with a separator at its end; empty if the system does not say.
std::string program_folder();

// A shared library, which stays loaded; null, and why, if it cannot be. A name without a folder is looked for as the system does.
void* open_library(const std::string& path, std::string& reason);
// A function or variable of it; null if it has none of this name.
void* find_symbol(void* library, const char* name);

// A number that no other process on this machine has now, for names of temporary files.
unsigned long process_id();

}  // namespace program
