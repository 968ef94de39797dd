// SPDX-License-Identifier: Apache-2.0
//
// The vocabulary of hvx.hpp in plain C++, for any CPU. It checks for accesses where the hardware would fault or silently do
// something else: a vector at an address that is no multiple of 128, eight bytes at an address that is no multiple of 8, and an
// access outside the memory that the kernel was given. Such an access is not made (a load gives zeros). It is recorded, and a
// test looks at the record:
//
//   HvxPlain::Memory weights(panels, bytes), out(y, bytes);      what a kernel may touch, while these objects live
//   matmul<HvxPlain>(args, 0, 1);
//   HvxPlain::faults()    how many accesses were wrong;  HvxPlain::first_fault()   what the first one was
//
// Every thread has its own list of memory and its own record.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include <stilla/npu_hexagon/hvx.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace hexagon {

class HvxPlain {
 public:
  struct Vector {
    std::uint8_t bytes[vector_bytes];
  };
  struct Pair {
    Vector lower, upper;
  };

  // Names memory that kernels may touch while the object lives. An access to memory that no object names is recorded as a fault. Objects
  // must be destroyed in the reverse order of their construction.
  class Memory {
   public:
    Memory(const void* data, std::size_t bytes) : data_(static_cast<const std::uint8_t*>(data)), bytes_(bytes), next_(first()) {
      first() = this;
    }
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
    ~Memory() { first() = next_; }

   private:
    friend class HvxPlain;
    static const Memory*& first() {
      thread_local const Memory* list = nullptr;
      return list;
    }
    const std::uint8_t* data_;
    std::size_t bytes_;
    const Memory* next_;
  };

  template <class T, std::size_t n>
  struct Local {
    alignas(vector_bytes) T values[n] = {};
    Memory memory{values, sizeof values};
  };

  static std::size_t faults() { return record().count; }
  static const char* first_fault() { return record().first; }  // "" if there was none
  static void forget_faults() { record() = {}; }

  static Vector load(const void* from) {
    Vector a{};
    if (allowed(from, vector_bytes, vector_bytes)) std::memcpy(&a, from, sizeof a);
    return a;
  }
  template <std::ptrdiff_t n, std::ptrdiff_t at = 0>
  static Vector load_next(const std::uint8_t*& from) {
    const Vector a = load(from + at * static_cast<std::ptrdiff_t>(vector_bytes));
    from += n * static_cast<std::ptrdiff_t>(vector_bytes);
    return a;
  }
  template <class... Values>
  static void in_order(Values&...) {}
  static void store(void* to, const Vector& a) {
    if (allowed(to, vector_bytes, vector_bytes)) std::memcpy(to, &a, sizeof a);
  }
  static TwoWords two_words(const void* from) {
    TwoWords words{};
    if (allowed(from, 8, 8)) std::memcpy(&words, from, sizeof words);
    return words;
  }

  static Vector zero() { return {}; }
  static Vector splat_word(std::int32_t x) {
    return words([&](std::size_t) { return x; });
  }
  static Vector splat_half(std::int32_t x) {
    return halves([&](std::size_t) { return x; });
  }
  static Vector bit_and(const Vector& a, const Vector& b) {
    return words([&](std::size_t i) { return word(a, i) & word(b, i); });
  }

  static Vector add_words(const Vector& a, const Vector& b) {
    return words([&](std::size_t i) { return std::int64_t{word(a, i)} + word(b, i); });
  }
  static Vector sub_words(const Vector& a, const Vector& b) {
    return words([&](std::size_t i) { return std::int64_t{word(a, i)} - word(b, i); });
  }
  static Pair sub_words(const Pair& a, const Pair& b) { return {sub_words(a.lower, b.lower), sub_words(a.upper, b.upper)}; }
  static Vector add_halves(const Vector& a, const Vector& b) {
    return halves([&](std::size_t i) { return half(a, i) + half(b, i); });
  }
  static Vector add_halves_saturating(const Vector& a, const Vector& b) {
    return halves([&](std::size_t i) { return saturated<std::int16_t>(half(a, i) + half(b, i)); });
  }
  static Vector sub_halves(const Vector& a, const Vector& b) {
    return halves([&](std::size_t i) { return half(a, i) - half(b, i); });
  }
  static Vector sub_halves_saturating(const Vector& a, const Vector& b) {
    return halves([&](std::size_t i) { return saturated<std::int16_t>(half(a, i) - half(b, i)); });
  }
  static Vector max_halves(const Vector& a, const Vector& b) {
    return halves([&](std::size_t i) { return half(a, i) > half(b, i) ? half(a, i) : half(b, i); });
  }
  static Vector min_halves(const Vector& a, const Vector& b) {
    return halves([&](std::size_t i) { return half(a, i) < half(b, i) ? half(a, i) : half(b, i); });
  }
  static Vector max_words(const Vector& a, const Vector& b) {
    return words([&](std::size_t i) { return word(a, i) > word(b, i) ? word(a, i) : word(b, i); });
  }
  static Vector magnitude_words(const Vector& a) {
    return words([&](std::size_t i) { return word(a, i) < 0 ? -std::int64_t{word(a, i)} : std::int64_t{word(a, i)}; });
  }
  static Vector where_negative(const Vector& a, const Vector& b, const Vector& c) {
    return halves([&](std::size_t i) { return half(a, i) < 0 ? half(b, i) : half(c, i); });
  }

  static Vector shift_right(const Vector& a, int s) {
    return words([&](std::size_t i) { return word(a, i) >> (s & 31); });
  }
  static Vector shift_left(const Vector& a, int s) {
    return words([&](std::size_t i) { return std::int64_t{word(a, i)} << (s & 31); });
  }
  static Vector shift_halves_right(const Vector& a, int s) {
    return halves([&](std::size_t i) { return (half(a, i) & 0xffff) >> (s & 15); });
  }
  static Vector shift_each_right(const Vector& a, const Vector& s) {
    return halves([&](std::size_t i) {
      if (half(s, i) < 0 || half(s, i) > 15) fault("shift_each_right by a lane outside 0..15");
      return (half(a, i) & 0xffff) >> (half(s, i) & 15);
    });
  }
  static Vector narrow(const Vector& upper, const Vector& lower, int s) {
    return halves([&](std::size_t i) { return word(i % 2 == 0 ? lower : upper, i / 2) >> (s & 15); });
  }
  static Vector narrow_saturating(const Vector& upper, const Vector& lower, int s) {
    return halves([&](std::size_t i) { return saturated<std::int16_t>(word(i % 2 == 0 ? lower : upper, i / 2) >> (s & 15)); });
  }
  static Vector even_halves(const Vector& upper, const Vector& lower) { return narrow(upper, lower, 0); }

  static Pair deal_words(const Vector& upper, const Vector& lower) {
    const auto every_second = [&](std::size_t first) {
      return words([&](std::size_t i) {
        const std::size_t place = 2 * i + first;
        return place < vector_words ? word(lower, place) : word(upper, place - vector_words);
      });
    };
    return {every_second(0), every_second(1)};
  }

  static Vector dot4(const Vector& a, std::int32_t x) { return dot4(zero(), a, x); }
  static Vector dot4(const Vector& sum, const Vector& a, std::int32_t x) {
    std::int32_t bytes[4];
    for (int j = 0; j < 4; ++j) bytes[j] = static_cast<std::int8_t>(x >> (8 * j));
    return words([&](std::size_t i) {
      const std::uint8_t* four = a.bytes + 4 * i;
      return std::int64_t{word(sum, i)} + four[0] * bytes[0] + four[1] * bytes[1] + four[2] * bytes[2] + four[3] * bytes[3];
    });
  }
  static Vector dot2(const Vector& sum, const Vector& a, const Vector& b) {
    return words([&](std::size_t i) {
      return saturated<std::int32_t>(std::int64_t{word(sum, i)} + std::int64_t{half(a, 2 * i)} * half(b, 2 * i) +
                                     std::int64_t{half(a, 2 * i + 1)} * half(b, 2 * i + 1));
    });
  }
  static Vector sum2(const Vector& sum, const Vector& a) {
    return words([&](std::size_t i) { return std::int64_t{word(sum, i)} + half(a, 2 * i) + half(a, 2 * i + 1); });
  }
  static Pair products(const Vector& a, const Vector& b) {
    return {words([&](std::size_t i) { return half(a, 2 * i) * half(b, 2 * i); }),
            words([&](std::size_t i) { return half(a, 2 * i + 1) * half(b, 2 * i + 1); })};
  }
  static Vector times_q15(const Vector& a, const Vector& b) {
    return halves([&](std::size_t i) { return saturated<std::int16_t>((half(a, i) * half(b, i) + 0x4000) >> 15); });
  }
  static Vector words_times_q15(const Vector& a, const Vector& b) {
    return words([&](std::size_t i) { return saturated<std::int32_t>((std::int64_t{word(a, i)} * half(b, 2 * i + 1) + 0x4000) >> 15); });
  }

 private:
  struct Record {
    std::size_t count = 0;
    const char* first = "";
  };
  static Record& record() {
    thread_local Record faults;
    return faults;
  }
  static void fault(const char* what) {
    if (record().count++ == 0) record().first = what;
  }
  static bool allowed(const void* at, std::size_t bytes, std::size_t alignment) {
    const auto address = reinterpret_cast<std::uintptr_t>(at);
    if (address % alignment != 0) {
      fault(alignment == vector_bytes ? "a vector at no multiple of 128" : "eight bytes at no multiple of 8");
      return false;
    }
    for (const Memory* m = Memory::first(); m != nullptr; m = m->next_) {
      const auto begin = reinterpret_cast<std::uintptr_t>(m->data_);
      if (address >= begin && bytes <= m->bytes_ && address - begin <= m->bytes_ - bytes) return true;
    }
    fault("an access outside the memory that the kernel was given");
    return false;
  }

  template <class T>
  static T saturated(std::int64_t x) {
    constexpr std::int64_t lowest = sizeof(T) == 2 ? INT16_MIN : INT32_MIN, highest = sizeof(T) == 2 ? INT16_MAX : INT32_MAX;
    return static_cast<T>(x < lowest ? lowest : x > highest ? highest : x);
  }
  static std::int32_t word(const Vector& a, std::size_t i) {
    std::int32_t x;
    std::memcpy(&x, a.bytes + 4 * i, 4);
    return x;
  }
  static std::int32_t half(const Vector& a, std::size_t i) {
    std::int16_t x;
    std::memcpy(&x, a.bytes + 2 * i, 2);
    return x;
  }
  // words() makes a vector of 128 bytes whose word i is the low 32 bits of f(i). halves() makes one whose half i is the low 16 bits of
  // f(i).
  template <class F>
  static Vector words(const F& f) {
    Vector r;
    for (std::size_t i = 0; i < vector_words; ++i) {
      const auto x = static_cast<std::int32_t>(f(i));
      std::memcpy(r.bytes + 4 * i, &x, 4);
    }
    return r;
  }
  template <class F>
  static Vector halves(const F& f) {
    Vector r;
    for (std::size_t i = 0; i < vector_halves; ++i) {
      const auto x = static_cast<std::int16_t>(f(i));
      std::memcpy(r.bytes + 2 * i, &x, 2);
    }
    return r;
  }
};

}}}  // namespace stilla::hexagon

#include <stilla/base/pop_macros-inl.hpp>
