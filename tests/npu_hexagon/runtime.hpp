// SPDX-License-Identifier: Apache-2.0
//
// What forms.cpp needs of an operating system, for two systems: Hexagon and the host. The program for Hexagon is built without a C
// library. So this header has the code at which the program starts, and the functions that the compiler calls on its own. It calls
// Linux with the instruction trap0(#1), with the number of the call in r6; qemu-hexagon answers these calls. On the host the C
// library does all that.
#pragma once

#include <stddef.h>
#include <stdint.h>

int run(const char* path);

#if defined(__hexagon__)

static long system_call(long number, long a, long b, long c, long d = 0) {
  register long r0 asm("r0") = a;
  register long r1 asm("r1") = b;
  register long r2 asm("r2") = c;
  register long r3 asm("r3") = d;
  register long r6 asm("r6") = number;
  asm volatile("trap0(#1)" : "+r"(r0) : "r"(r1), "r"(r2), "r"(r3), "r"(r6) : "memory");
  return r0;
}
constexpr long call_openat = 56, call_close = 57, call_write = 64, call_exit = 93;

static bool write_all(long file, const void* data, size_t bytes) {
  for (auto from = static_cast<const char*>(data); bytes > 0;) {
    const long written = system_call(call_write, file, reinterpret_cast<long>(from), static_cast<long>(bytes));
    if (written <= 0) return false;
    from += written;
    bytes -= static_cast<size_t>(written);
  }
  return true;
}

struct OutFile {
  long file;
  // Opens the file for writing. It is created if it does not exist, and emptied if it does.
  explicit OutFile(const char* path) : file(system_call(call_openat, -100, reinterpret_cast<long>(path), 01 | 0100 | 01000, 0644)) {}
  bool write(const void* data, size_t bytes) { return file >= 0 && write_all(file, data, bytes); }
  bool close() { return file >= 0 && system_call(call_close, file, 0, 0) == 0; }
};
static void say(const char* text) {
  size_t length = 0;
  while (text[length] != 0) ++length;
  write_all(1, text, length);
}

extern "C" {
void* memcpy(void* to, const void* from, size_t bytes) {
  auto d = static_cast<volatile char*>(to);
  for (auto s = static_cast<const char*>(from); bytes > 0; --bytes) *d++ = *s++;
  return to;
}
void* memset(void* to, int value, size_t bytes) {
  for (auto d = static_cast<volatile char*>(to); bytes > 0; --bytes) *d++ = static_cast<char>(value);
  return to;
}
void __hexagon_memcpy_likely_aligned_min32bytes_mult8bytes(void* to, const void* from, size_t bytes) { memcpy(to, from, bytes); }
uint64_t __hexagon_udivdi3(uint64_t a, uint64_t b) {
  uint64_t quotient = 0, rest = 0;
  for (int bit = 63; bit >= 0; --bit) {
    rest = rest << 1 | (a >> bit & 1);
    if (rest >= b) {
      rest -= b;
      quotient |= uint64_t{1} << bit;
    }
  }
  return quotient;
}
uint32_t __hexagon_udivsi3(uint32_t a, uint32_t b) { return static_cast<uint32_t>(__hexagon_udivdi3(a, b)); }
uint32_t __hexagon_umodsi3(uint32_t a, uint32_t b) { return a - b * __hexagon_udivsi3(a, b); }

[[noreturn]] void start_in_c(long* stack) {  // argc, argv[0], argv[1] ...
  const int status = stack[0] == 2 ? run(reinterpret_cast<const char*>(stack[2])) : 2;
  system_call(call_exit, status, 0, 0);
  __builtin_unreachable();
}
}
// The program starts here and aligns its stack to 128 bytes, because the compiler may save HVX vectors on the stack.
asm(".globl _start\n_start:\n{ r0 = r29 }\n{ r29 = and(r29, #-128)\n jump start_in_c }\n");

#else

#include <cstdio>

struct OutFile {
  std::FILE* file;
  explicit OutFile(const char* path) : file(std::fopen(path, "wb")) {}
  bool write(const void* data, size_t bytes) { return file != nullptr && std::fwrite(data, 1, bytes, file) == bytes; }
  bool close() { return file != nullptr && std::fclose(file) == 0; }
};
static void say(const char* text) { std::fputs(text, stdout); }
int main(int argc, char** argv) { return argc == 2 ? run(argv[1]) : 2; }

#endif
