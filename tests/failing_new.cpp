// SPDX-License-Identifier: Apache-2.0
//
// An operator new that fails from the n-th call on. program_memory_test.cpp runs a program that consists of this file and the
// objects of the program `stilla`. The environment variable STILLA_FAIL_NEW holds n. At the end the program writes the number of
// calls to the file that STILLA_COUNT_NEW names.
#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <new>

namespace {

constinit std::atomic<long> calls{0};
constinit std::atomic<long> first_that_fails{-1};  // -1: the environment was not read yet

bool fails() {
  if (first_that_fails < 0) {
    const char* text = std::getenv("STILLA_FAIL_NEW");
    first_that_fails = text == nullptr ? 0 : std::atol(text);
  }
  const long call = ++calls;
  return first_that_fails != 0 && call >= first_that_fails;
}

void* memory(std::size_t size, std::size_t alignment) noexcept {
  return std::aligned_alloc(alignment, (size + alignment) / alignment * alignment);  // the rounded size is never 0
}

void* memory_or_throw(std::size_t size, std::size_t alignment) {
  while (true) {
    if (void* found = fails() ? nullptr : memory(size, alignment)) return found;
    const std::new_handler handler = std::get_new_handler();
    if (handler == nullptr) throw std::bad_alloc();
    handler();
  }
}

constexpr std::size_t usual = __STDCPP_DEFAULT_NEW_ALIGNMENT__;

__attribute__((destructor)) void write_count() {
  const char* path = std::getenv("STILLA_COUNT_NEW");
  if (path == nullptr) return;
  char text[32];
  const int size = std::snprintf(text, sizeof text, "%ld", calls.load());
  const int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (file < 0 || write(file, text, static_cast<std::size_t>(size)) != size) _exit(99);
  close(file);
}

}  // namespace

void* operator new(std::size_t size) { return memory_or_throw(size, usual); }
void* operator new[](std::size_t size) { return memory_or_throw(size, usual); }
void* operator new(std::size_t size, std::align_val_t alignment) { return memory_or_throw(size, static_cast<std::size_t>(alignment)); }
void* operator new[](std::size_t size, std::align_val_t alignment) { return memory_or_throw(size, static_cast<std::size_t>(alignment)); }
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return fails() ? nullptr : memory(size, usual); }
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept { return fails() ? nullptr : memory(size, usual); }
void* operator new(std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return fails() ? nullptr : memory(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return fails() ? nullptr : memory(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, const std::nothrow_t&) noexcept { std::free(p); }
void operator delete[](void* p, const std::nothrow_t&) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t, const std::nothrow_t&) noexcept { std::free(p); }
void operator delete[](void* p, std::align_val_t, const std::nothrow_t&) noexcept { std::free(p); }
