// SPDX-License-Identifier: Apache-2.0
//
// Everything that the program asks of the operating system: terminals, Ctrl-C, closed pipes, files by UTF-8 names. platform.cpp
// is the program's only file that has a branch for each system.
#pragma once

#include <cstdio>
#include <ctime>
#include <filesystem>
#include <string>
#include <vector>

namespace program {

// Must be called first. From then on a closed pipe is a failed write, text on consoles is UTF-8, and standard streams carry bytes
// unchanged. Ctrl-C ends the program with status 130, SIGTERM with 143 and SIGHUP with 129. If a mapped file becomes shorter, the
// program ends with a message and status 1.
void prepare_process();

// The arguments that follow the program's name, as UTF-8.
std::vector<std::string> arguments(int argc, char** argv);

bool stdin_is_terminal();
bool stdout_is_terminal();
bool stderr_is_terminal();
// Characters in a line of the terminal that standard error is; 0 if it is none, or does not say.
std::size_t stderr_columns();
// Whether standard output is a terminal that can show dim text and wants it (NO_COLOR and TERM=dumb are honoured).
bool stdout_has_styles();

// Reads the next line of standard input, without its end. Returns false if there is none.
bool read_line(std::string& line);

// A path in UTF-8, in the type that std::filesystem wants.
inline std::filesystem::path file_path(const std::string& path) { return std::u8string(path.begin(), path.end()); }
// fopen, with a path in UTF-8.
std::FILE* open_file(const std::string& path, const char* mode);

// Marks a folder as in use while the object lives. `is_ours`: no other process has marked the folder; it is always false where
// the system has no such marks.
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

// The local time of the user.
std::tm local_time();

// While such an object lives, Ctrl-C, SIGTERM and SIGHUP only set interrupted(), so that the work can end in good order. A second
// signal ends the program.
class FinishOnInterrupt {
 public:
  FinishOnInterrupt();
  ~FinishOnInterrupt();
  FinishOnInterrupt(const FinishOnInterrupt&) = delete;
  FinishOnInterrupt& operator=(const FinishOnInterrupt&) = delete;
};
bool interrupted();
// The exit status for the signal that came: 130, 143 or 129.
int interrupted_status();
// Whether SIGTERM or SIGHUP came. These end the whole program, while Ctrl-C ends only an answer.
bool told_to_end();

// Runs this program again, with these arguments and this process's standard streams, and waits until it ends. Returns how it
// ended: "ended by signal 11", "ended with status 3"; empty for status 0.
std::string run_again(const std::vector<std::string>& arguments);

// The folder of this program with a separator at its end; empty if the system does not say.
std::string program_folder();

// Loads a shared library, which stays loaded. Returns null, and why, if it cannot be loaded. A name without a folder is looked
// for where the system looks.
void* open_library(const std::string& path, std::string& reason);
// A function or variable of the library; null if the library has none with this name.
void* find_symbol(void* library, const char* name);

// A number that no other process on this machine has now. It is used in the names of temporary files.
unsigned long process_id();

}  // namespace program
