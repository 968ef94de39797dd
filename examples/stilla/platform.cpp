// SPDX-License-Identifier: Apache-2.0
#include "platform.hpp"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <iterator>
#include <new>
#include <string_view>
#include <system_error>
#include <utility>

#include <stilla/io/mapping_guard.hpp>

#include "output.hpp"

#if defined(_WIN32)
#include <stilla/base/windows.hpp>

#include <fcntl.h>
#include <io.h>
#include <shellapi.h>
#else
#include <cerrno>
#include <csignal>
#include <dlfcn.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>
extern char** environ;
#if defined(__APPLE__)
#include <mach-o/dyld.h>
#endif
#endif

namespace program {
namespace {

constexpr std::string_view end_of_line = "\x1b[0m\n";  // written on Ctrl-C, because the terminal may be showing dim text

std::atomic<int> finishing_scopes{0};
std::atomic<bool> interrupt_seen{false};
std::atomic<int> ending_signal{0};  // SIGTERM or SIGHUP, if one came
static_assert(std::atomic<bool>::is_always_lock_free && std::atomic<int>::is_always_lock_free, "used in a signal handler");

// Whether a signal such as Ctrl-C must end the program now. While an object of class FinishOnInterrupt lives, the first signal does not
// end the program, so that it can finish some work; the second signal does.
bool interrupt_ends_program() { return finishing_scopes.load() == 0 || interrupt_seen.exchange(true); }

bool says(const char* variable, std::string_view value) {
  const char* found = std::getenv(variable);
  return found != nullptr && value == found;
}

}  // namespace

FinishOnInterrupt::FinishOnInterrupt() {
  interrupt_seen = false;
  ++finishing_scopes;
}
FinishOnInterrupt::~FinishOnInterrupt() { --finishing_scopes; }
bool interrupted() { return interrupt_seen; }
int interrupted_status() { return ending_signal == 0 ? exit_interrupted : 128 + ending_signal; }
bool told_to_end() { return ending_signal != 0; }

bool stdout_has_styles() {
  const char* no_color = std::getenv("NO_COLOR");
  return stdout_is_terminal() && (no_color == nullptr || *no_color == '\0') && !says("TERM", "dumb");
}

#if defined(_WIN32)

namespace {
// The function _isatty is not used, because it takes the device NUL for a console.
bool is_console(DWORD id) {
  DWORD mode = 0;
  return GetConsoleMode(GetStdHandle(id), &mode) != 0;
}

BOOL WINAPI on_console_event(DWORD event) {
  if (event != CTRL_C_EVENT) return FALSE;
  if (!interrupt_ends_program()) return TRUE;
  DWORD written = 0;
  if (is_console(STD_ERROR_HANDLE)) {
    WriteFile(GetStdHandle(STD_ERROR_HANDLE), end_of_line.data(), DWORD{end_of_line.size()}, &written, nullptr);
  }
  ExitProcess(exit_interrupted);
}

std::string to_utf8(std::wstring_view wide) {
  const int length = static_cast<int>(wide.size());
  const int bytes = WideCharToMultiByte(CP_UTF8, 0, wide.data(), length, nullptr, 0, nullptr, nullptr);
  std::string text(static_cast<std::size_t>(bytes), '\0');
  WideCharToMultiByte(CP_UTF8, 0, wide.data(), length, text.data(), bytes, nullptr, nullptr);
  return text;
}
}  // namespace

void prepare_process() {
  SetConsoleOutputCP(CP_UTF8);
  SetConsoleCP(CP_UTF8);
  for (FILE* stream : {stdin, stdout, stderr}) _setmode(_fileno(stream), _O_BINARY);
  // The standard streams get buffers. Without this call they are unbuffered on consoles and write byte by byte, and a console does not
  // put the bytes of a character together again.
  for (FILE* stream : {stdout, stderr}) std::setvbuf(stream, nullptr, _IOFBF, 4096);
  for (const DWORD id : {STD_OUTPUT_HANDLE, STD_ERROR_HANDLE}) {
    DWORD mode = 0;
    const HANDLE console = GetStdHandle(id);
    if (GetConsoleMode(console, &mode)) SetConsoleMode(console, mode | ENABLE_VIRTUAL_TERMINAL_PROCESSING);
  }
  SetConsoleCtrlHandler(on_console_event, TRUE);
}

std::vector<std::string> arguments(int, char**) {
  std::vector<std::string> out;
  int count = 0;
  wchar_t** wide = CommandLineToArgvW(GetCommandLineW(), &count);
  for (int i = 1; i < count; ++i) out.push_back(to_utf8(wide[i]));
  LocalFree(wide);
  return out;
}

std::tm local_time() {
  const std::time_t now = std::time(nullptr);
  std::tm out{};
  localtime_s(&out, &now);
  return out;
}

bool stdin_is_terminal() { return is_console(STD_INPUT_HANDLE); }
bool stdout_is_terminal() { return is_console(STD_OUTPUT_HANDLE); }
bool stderr_is_terminal() { return is_console(STD_ERROR_HANDLE); }
static std::size_t columns_of(DWORD id) {
  CONSOLE_SCREEN_BUFFER_INFO info;
  if (!GetConsoleScreenBufferInfo(GetStdHandle(id), &info)) return 0;
  return static_cast<std::size_t>(info.srWindow.Right - info.srWindow.Left + 1);
}
std::size_t stdout_columns() { return columns_of(STD_OUTPUT_HANDLE); }
std::size_t stderr_columns() { return columns_of(STD_ERROR_HANDLE); }

// Reads a line as UTF-16, because bytes read from a console lose all characters outside ASCII on Windows 10, whatever its code
// page. Ctrl-Z and Enter end the input.
bool read_line(std::string& line) {
  if (!stdin_is_terminal()) return static_cast<bool>(std::getline(std::cin, line));
  std::wstring wide;
  while (!wide.ends_with(L'\n')) {
    wchar_t piece[512];
    DWORD count = 0;
    if (!ReadConsoleW(GetStdHandle(STD_INPUT_HANDLE), piece, DWORD{std::size(piece)}, &count, nullptr)) return false;
    if (count == 0 && GetLastError() != ERROR_OPERATION_ABORTED) return false;  // aborted by Ctrl-C, see on_console_event
    wide.append(piece, count);
  }
  if (wide.starts_with(L'\x1a')) return false;
  wide.erase(wide.find_last_not_of(L"\r\n") + 1);
  line = to_utf8(wide);
  return true;
}

namespace {
std::wstring to_utf16(const std::string& text) { return std::filesystem::path(std::u8string(text.begin(), text.end())).wstring(); }
}  // namespace

std::filesystem::path file_path(const std::string& path) {
  stilla::Result<std::wstring> wide = stilla::detail::wide_path(path);
  return wide ? std::move(*wide) : to_utf16(path);
}

std::FILE* open_file(const std::string& path, const char* mode) {
  return _wfopen(file_path(path).c_str(), std::wstring(mode, mode + std::strlen(mode)).c_str());
}

unsigned long process_id() { return GetCurrentProcessId(); }

namespace {
// Quotes an argument so that the Windows function CommandLineToArgvW reads it back. The argument is put in quotes, a quote in it gets
// a backslash, and backslashes before a quote are doubled.
std::wstring quoted(const std::string& argument) {
  const std::wstring text = to_utf16(argument);
  std::wstring out = L"\"";
  std::size_t backslashes = 0;
  for (const wchar_t c : text) {
    if (c == L'"') out.append(backslashes + 1, L'\\');
    backslashes = c == L'\\' ? backslashes + 1 : 0;
    out += c;
  }
  out.append(backslashes, L'\\');
  return out + L'"';
}
}  // namespace

static std::wstring program_path() {
  std::wstring program(32768, L'\0');
  program.resize(GetModuleFileNameW(nullptr, program.data(), static_cast<DWORD>(program.size())));
  return program;
}

std::string program_folder() {
  const std::string path = to_utf8(program_path());
  return path.substr(0, path.find_last_of("\\/") + 1);
}

void* open_library(const std::string& path, std::string& reason) {
  // If the path of the library is absolute, Windows looks in the same folder for the other libraries that this library needs. A path that
  // is not absolute may be a mere name, which Windows looks for in several folders.
  const std::wstring text = to_utf16(path);
  HMODULE library = std::filesystem::path(text).is_absolute()
                        ? LoadLibraryExW(file_path(path).c_str(), nullptr, LOAD_WITH_ALTERED_SEARCH_PATH)
                        : LoadLibraryW(text.c_str());
  if (library == nullptr) reason = std::system_category().message(static_cast<int>(GetLastError()));
  return reinterpret_cast<void*>(library);
}

void* find_symbol(void* library, const char* name) {
  return reinterpret_cast<void*>(GetProcAddress(reinterpret_cast<HMODULE>(library), name));
}

FolderInUse::FolderInUse(const std::filesystem::path&) {}
FolderInUse::~FolderInUse() = default;

std::string run_again(const std::vector<std::string>& arguments) {
  const std::wstring program = program_path();
  std::wstring line = L'"' + program + L'"';
  for (const std::string& argument : arguments) line += L' ' + quoted(argument);
  STARTUPINFOW startup{};
  startup.cb = sizeof startup;
  PROCESS_INFORMATION process{};
  if (!CreateProcessW(program.c_str(), line.data(), nullptr, nullptr, TRUE, 0, nullptr, nullptr, &startup, &process)) {
    return "could not be started";
  }
  WaitForSingleObject(process.hProcess, INFINITE);
  DWORD status = 1;
  GetExitCodeProcess(process.hProcess, &status);
  CloseHandle(process.hThread);
  CloseHandle(process.hProcess);
  return status == 0 ? "" : "ended with status " + std::to_string(status);
}

#else

namespace {
extern "C" void on_ending_signal(int signal) {
  if (signal != SIGINT) ending_signal = signal;
  if (!interrupt_ends_program()) return;
  if (isatty(STDERR_FILENO)) {
    [[maybe_unused]] const auto ignored = write(STDERR_FILENO, end_of_line.data(), end_of_line.size());
  }
  _exit(interrupted_status());
}
}  // namespace

namespace {
// Is called when a mapped model file became shorter, or its disk failed. It runs in a signal handler, so it uses only system calls.
// Several threads may meet the fault at once: the first one prints the message, and the others wait until it has ended the program.
void on_lost_file(const char* path) {
  static std::atomic_flag is_said;
  if (is_said.test_and_set()) {
    for (;;) pause();
  }
  const auto say = [](std::string_view text) {
    if (write(STDERR_FILENO, text.data(), text.size()) < 0) return;
  };
  if (isatty(STDERR_FILENO) != 0) say(end_of_line);
  say("stilla: ");
  say(path);
  say(": the file became shorter while it was in use, or its disk failed (--no-mmap reads it into memory before)\n");
  _exit(exit_failed);
}

// Reports that memory is exhausted, and ends the program. This is the handler of operator new, because static objects in the
// headers of other libraries allocate memory before main() can catch anything.
void end_without_memory() {
  constexpr std::string_view text = "stilla: not enough memory\n";
  [[maybe_unused]] const auto ignored = write(STDERR_FILENO, text.data(), text.size());
  _exit(exit_failed);
}
__attribute__((constructor(101))) void guard_static_objects() { std::set_new_handler(end_without_memory); }
}  // namespace

void prepare_process() {
  std::set_new_handler(nullptr);
  (void)stilla::guard_mapped_files(on_lost_file);  // without this the system ends the program as well, but without a message
  std::signal(SIGPIPE, SIG_IGN);
  // If the system does not let a file grow any more, because of the user's limit on the size of files, a write then fails, instead of
  // ending the program.
  std::signal(SIGXFSZ, SIG_IGN);
  struct sigaction action{};
  action.sa_handler = on_ending_signal;
  // System calls that a signal interrupts start again, so that no read or write of the program ends early.
  action.sa_flags = SA_RESTART;
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction before{};
    // If the program was started by nohup, SIGTERM and SIGHUP may be ignored already, and then they stay ignored.
    if (sigaction(signal, nullptr, &before) == 0 && before.sa_handler == SIG_IGN && signal != SIGINT) continue;
    sigaction(signal, &action, nullptr);
  }
}

std::vector<std::string> arguments(int argc, char** argv) {
  return argc > 1 ? std::vector<std::string>(argv + 1, argv + argc) : std::vector<std::string>();
}

std::tm local_time() {
  const std::time_t now = std::time(nullptr);
  std::tm out{};
  localtime_r(&now, &out);
  return out;
}

bool stdin_is_terminal() { return isatty(STDIN_FILENO) != 0; }
bool stdout_is_terminal() { return isatty(STDOUT_FILENO) != 0; }
bool stderr_is_terminal() { return isatty(STDERR_FILENO) != 0; }
static std::size_t columns_of(int stream) {
  winsize size{};
  return ioctl(stream, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}
std::size_t stdout_columns() { return columns_of(STDOUT_FILENO); }
std::size_t stderr_columns() { return columns_of(STDERR_FILENO); }

bool read_line(std::string& line) { return static_cast<bool>(std::getline(std::cin, line)); }
std::filesystem::path file_path(const std::string& path) { return std::u8string(path.begin(), path.end()); }
std::FILE* open_file(const std::string& path, const char* mode) { return std::fopen(path.c_str(), mode); }

unsigned long process_id() { return static_cast<unsigned long>(getpid()); }

FolderInUse::FolderInUse(const std::filesystem::path& folder)
    : handle_(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)) {
  if (handle_ >= 0 && flock(handle_, LOCK_EX | LOCK_NB) != 0) close(std::exchange(handle_, -1));
}
FolderInUse::~FolderInUse() {
  if (handle_ >= 0) close(handle_);
}

// Returns a path that starts this program again, or nothing if the operating system does not tell it.
static std::string program_path() {
#if defined(__APPLE__)
  std::uint32_t size = 4096;
  std::string program(size, '\0');
  if (_NSGetExecutablePath(program.data(), &size) != 0) return "";
  return program.c_str();
#else
  return "/proc/self/exe";
#endif
}

std::string program_folder() {
  std::error_code error;
  const std::string path = std::filesystem::canonical(program_path(), error).string();
  return path.substr(0, path.find_last_of('/') + 1);
}

void* open_library(const std::string& path, std::string& reason) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (const char* error = library == nullptr ? dlerror() : nullptr) reason = error;
  return library;
}

void* find_symbol(void* library, const char* name) { return dlsym(library, name); }

std::string run_again(const std::vector<std::string>& arguments) {
  std::string program = program_path();
  std::vector<char*> argv{program.data()};
  std::vector<std::string> copies = arguments;
  for (std::string& argument : copies) argv.push_back(argument.data());
  argv.push_back(nullptr);
  pid_t child = 0;
  if (posix_spawn(&child, program.c_str(), nullptr, nullptr, argv.data(), environ) != 0) return "could not be started";
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return "was lost";
  }
  if (WIFSIGNALED(status)) return "ended by signal " + std::to_string(WTERMSIG(status));
  const int code = WEXITSTATUS(status);
  return code == 0 ? "" : "ended with status " + std::to_string(code);
}

#endif

}  // namespace program
