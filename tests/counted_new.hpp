// SPDX-License-Identifier: Apache-2.0
//
// Counts the allocations of all threads of a test program, by replacing operator new. Only one source file of a program may
// include this header.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

constinit std::atomic<std::size_t> allocations{0};

namespace stilla_test {

inline void* counted(std::size_t bytes, std::size_t alignment) noexcept {
  ++allocations;
  // The address that is returned is a multiple of `alignment`. Directly in front of it stands the address that malloc gave, which
  // is needed to free the memory.
  void* const given = std::malloc(bytes + alignment + sizeof(void*));
  if (given == nullptr) return nullptr;
  const auto address = reinterpret_cast<std::uintptr_t>(given) + sizeof(void*);
  void** const aligned = reinterpret_cast<void**>((address + alignment - 1) / alignment * alignment);
  aligned[-1] = given;
  return aligned;
}
inline void* counted_or_throw(std::size_t bytes, std::size_t alignment) {
  if (void* memory = counted(bytes, alignment)) return memory;
  throw std::bad_alloc();
}
inline void release(void* memory) noexcept {
  if (memory != nullptr) std::free(static_cast<void**>(memory)[-1]);
}

}  // namespace stilla_test

#define STILLA_USUAL_ALIGNMENT __STDCPP_DEFAULT_NEW_ALIGNMENT__
[[gnu::noinline]] void* operator new(std::size_t bytes) { return stilla_test::counted_or_throw(bytes, STILLA_USUAL_ALIGNMENT); }
[[gnu::noinline]] void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return stilla_test::counted_or_throw(bytes, static_cast<std::size_t>(alignment));
}
[[gnu::noinline]] void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  return stilla_test::counted(bytes, STILLA_USUAL_ALIGNMENT);
}
[[gnu::noinline]] void* operator new(std::size_t bytes, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return stilla_test::counted(bytes, static_cast<std::size_t>(alignment));
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { stilla_test::release(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { stilla_test::release(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept { stilla_test::release(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { stilla_test::release(memory); }
[[gnu::noinline]] void operator delete(void* memory, const std::nothrow_t&) noexcept { stilla_test::release(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t, const std::nothrow_t&) noexcept { stilla_test::release(memory); }
#undef STILLA_USUAL_ALIGNMENT
