// SPDX-License-Identifier: Apache-2.0
//
// Lets a program print a message before it ends because a mapped file was lost.
//
// If another process makes a mapped file shorter, or if its disk fails, a thread that touches the lost pages gets SIGBUS, which
// ends the process without a message. Nothing can go on then, because the weights are gone. A program that uses this guard is
// told the path of the file first. To be safe from the problem itself, use LoadMode::read (mapped_file.hpp).
//
//   void lost(const char* path) {            // runs in a signal handler, on the thread that touched the page
//     write(2, path, strlen(path));
//     _exit(1);
//   }
//   stilla::guard_mapped_files(lost);        // once, before files are opened
//
// For Linux, macOS and other POSIX systems. Windows does not let other processes shorten a mapped file, and the guard does
// nothing there. The library never installs the guard by itself, because signal handlers belong to the program.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <stilla/base/error.hpp>
#include <stilla/io/mapped_file.hpp>

#if !defined(_WIN32)
#include <csignal>
#endif

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// A function of the program that gets the path of the lost file, printable and cut to 511 bytes. It runs inside a signal handler:
// it may call only async-signal-safe functions, and it must end the process.
using LostFileHandler = void (*)(const char* path);

namespace detail {

// An entry of guarded_files, the table of the files that are mapped now. A signal handler reads the table, so it consists of
// atomics and never allocates. Files for which the table has no room are not guarded.
struct GuardedFile {
  enum : int { free_slot, being_written, in_use };
  std::atomic<int> state{free_slot};
  std::atomic<std::uintptr_t> begin{0}, end{0};
  char path[512] = {};
};
inline constinit std::array<GuardedFile, 256> guarded_files{};
inline constinit std::atomic<LostFileHandler> lost_file_handler{nullptr};
static_assert(std::atomic<std::uintptr_t>::is_always_lock_free && std::atomic<LostFileHandler>::is_always_lock_free,
              "used in a signal handler");

inline void guard_mapping(const std::byte* data, std::size_t size, const char* path) noexcept {
  for (GuardedFile& file : guarded_files) {
    int expected = GuardedFile::free_slot;
    if (!file.state.compare_exchange_strong(expected, GuardedFile::being_written)) continue;
    const std::size_t length = std::min(std::strlen(path), sizeof file.path - 1);
    std::memcpy(file.path, path, length);
    file.path[length] = '\0';
    file.begin = reinterpret_cast<std::uintptr_t>(data);
    file.end = reinterpret_cast<std::uintptr_t>(data) + size;
    file.state.store(GuardedFile::in_use, std::memory_order_release);
    return;
  }
}

inline void unguard_mapping(const std::byte* data) noexcept {
  for (GuardedFile& file : guarded_files) {
    if (file.state.load(std::memory_order_acquire) != GuardedFile::in_use) continue;
    if (file.begin == reinterpret_cast<std::uintptr_t>(data)) file.state = GuardedFile::free_slot;
  }
}

// The path of the guarded file whose mapping contains `address`; null if there is none.
inline const char* guarded_path(std::uintptr_t address) noexcept {
  for (const GuardedFile& file : guarded_files) {
    if (file.state.load(std::memory_order_acquire) == GuardedFile::in_use && file.begin <= address && address < file.end) {
      return file.path;
    }
  }
  return nullptr;
}

inline constexpr MappingWatcher mapping_guard{guard_mapping, unguard_mapping};

#if !defined(_WIN32)
inline struct ::sigaction action_before_guard{};

inline void on_bus_error(int signal, ::siginfo_t* info, void*) {
  const char* path = guarded_path(reinterpret_cast<std::uintptr_t>(info->si_addr));
  const LostFileHandler handler = lost_file_handler.load();
  if (path != nullptr && handler != nullptr) handler(path);
  // The fault is not in a guarded file, so the signal is left to the handler that was installed before the guard. A memory fault
  // occurs again by itself when on_bus_error() returns. A SIGBUS that a process sent does not, so it is sent again.
  ::sigaction(signal, &action_before_guard, nullptr);
  if (info->si_code <= 0) ::raise(signal);
}
#endif

}  // namespace detail

// Installs the guard: if the program touches a lost page of a file that was mapped after this call, `handler` is called. A second call
// of this function replaces the handler.
inline Status guard_mapped_files(LostFileHandler handler) {
#if defined(_WIN32)
  (void)handler;
#else
  const bool is_installed = detail::lost_file_handler.exchange(handler) != nullptr;
  if (is_installed) return success();
  struct ::sigaction action{};
  action.sa_sigaction = detail::on_bus_error;
  action.sa_flags = SA_SIGINFO;
  ::sigemptyset(&action.sa_mask);
  if (::sigaction(SIGBUS, &action, &detail::action_before_guard) != 0) {
    return Error{ErrorKind::system, "cannot install a handler for SIGBUS"};
  }
  detail::mapping_watcher.store(&detail::mapping_guard);
#endif
  return success();
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
