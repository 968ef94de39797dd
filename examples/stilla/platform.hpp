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

// Prepares the process; must be called first. From then on a closed pipe is a failed write, text on consoles is UTF-8, and
// standard streams carry bytes unchanged. Ctrl-C ends the program with status 130, SIGTERM with 143 and SIGHUP with 129. If a
// mapped file becomes shorter, the program ends with a message and status 1.
void prepare_process();

// Returns the arguments that follow the program's name, as UTF-8.
std::vector<std::string> arguments(int argc, char** argv);

bool stdin_is_terminal();
bool stdout_is_terminal();
bool stderr_is_terminal();
// Return the number of characters in a line of the terminal that standard output or standard error goes to, or 0 if it is no
// terminal or does not tell.
std::size_t stdout_columns();
std::size_t stderr_columns();
// Whether standard output is a terminal that can show dim text, and the user wants it (NO_COLOR and TERM=dumb are honoured).
bool stdout_has_styles();

// Reads the next line of standard input, without its end. Returns false if there is none.
bool read_line(std::string& line);

// Converts a path in UTF-8 to the type that std::filesystem wants. On Windows the result of a long path is absolute, in the form in
// which Windows takes it (mapped_file.hpp). So a name is added to a path before the path is converted, and not afterwards.
std::filesystem::path file_path(const std::string& path);
// Opens a file like fopen, with a path in UTF-8.
std::FILE* open_file(const std::string& path, const char* mode);

// Marks a folder as in use while the object lives. `is_ours` says that no other process has marked the folder; it is always false
// on systems that have no such marks.
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

// Returns the user's local time.
std::tm local_time();

// While an object of this class lives, Ctrl-C, SIGTERM and SIGHUP only set interrupted(), so that the work can end in good order.
// A second signal ends the program.
class FinishOnInterrupt {
 public:
  FinishOnInterrupt();
  ~FinishOnInterrupt();
  FinishOnInterrupt(const FinishOnInterrupt&) = delete;
  FinishOnInterrupt& operator=(const FinishOnInterrupt&) = delete;
};
bool interrupted();
// Returns the exit status for the signal that came: 130, 143 or 129.
int interrupted_status();
// Returns whether SIGTERM or SIGHUP came. These end the whole program, while Ctrl-C ends only an answer.
bool told_to_end();

// Runs this program again, with `arguments` and this process's standard streams, and waits until it ends. Returns how it
// ended, for example "ended by signal 11" or "ended with status 3", or nothing for status 0.
std::string run_again(const std::vector<std::string>& arguments);

// Returns the folder of this program with a separator at its end, or nothing if the operating system does not tell it.
std::string program_folder();

// Loads a shared library, which stays loaded. If it cannot be loaded, returns null and sets `reason`. A name without a folder is
// looked for in the folders that the operating system searches.
void* open_library(const std::string& path, std::string& reason);
// Returns a function or variable of the library, or null if the library has none with this name.
void* find_symbol(void* library, const char* name);

// Returns a number that no other process on this machine has now. It is used in the names of temporary files.
unsigned long process_id();

}  // namespace program
