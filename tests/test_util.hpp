// SPDX-License-Identifier: Apache-2.0
//
// What the tests of the ops share: comparisons of floats to the bit, reproducible data (the same numbers as in
// golden/make_op_golden.py), arrays that end in front of a page which nobody may touch, typed tests over targets, and golden
// results.
#pragma once

#include <stilla/dispatch.hpp>
#include <stilla/format/format.hpp>
#include <stilla/io/gguf_types.hpp>
#include <stilla/base/matrix.hpp>
#include <stilla/base/thread_pool.hpp>
#include <stilla/base/types.hpp>

#include <gtest/gtest.h>
#if defined(_WIN32)
#include <stilla/io/mapped_file.hpp>  // includes windows.h
#else
#include <sys/mman.h>
#include <unistd.h>
#endif

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "test_paths.hpp"

// Sanitizers end the program when memory cannot be allocated. With the option allocator_may_return_null=1 the library gets a null
// pointer instead, as it does without sanitizers.
extern "C" const char* __asan_default_options() { return "allocator_may_return_null=1"; }
extern "C" const char* __tsan_default_options() { return "allocator_may_return_null=1"; }

namespace stilla_test {

using namespace stilla;

// Half the distance from 1 to the next float: the relative error of one rounding.
inline constexpr double unit_roundoff = 0x1p-24;

// Returns whether two floats have the same bits. A NaN equals every NaN, because the sign and the payload of a NaN depend on the
// order of operands, which nobody promises.
inline bool same_bits(float a, float b) {
  return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b) || (std::isnan(a) && std::isnan(b));
}

inline ::testing::AssertionResult same_bits(std::span<const float> a, std::span<const float> b) {
  if (a.size() != b.size()) return ::testing::AssertionFailure() << a.size() << " values against " << b.size();
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (!same_bits(a[i], b[i])) {
      return ::testing::AssertionFailure() << std::hexfloat << "value " << std::dec << i << " of " << a.size() << ": " << a[i]
                                           << " against " << b[i];
    }
  }
  return ::testing::AssertionSuccess();
}

// Functions that make reproducible data.

// Returns the i-th number of the random sequence that `seed` selects. It may be any 32-bit number. The mixing function is lowbias32 by
// Chris Wellons.
constexpr std::uint32_t noise_bits(std::uint32_t seed, std::size_t i) {
  std::uint32_t x = static_cast<std::uint32_t>(i) * 0x9e3779b9u + seed * 0x85ebca6bu;
  x ^= x >> 16;
  x *= 0x7feb352du;
  x ^= x >> 15;
  x *= 0x846ca68bu;
  x ^= x >> 16;
  return x;
}

// Returns number i of the stream `seed` as a float that is uniform in [-1, 1) and a multiple of 2^-23.
constexpr float noise(std::uint32_t seed, std::size_t i) { return (static_cast<float>(noise_bits(seed, i) >> 8) * 0x1p-24f - 0.5f) * 2.0f; }

inline std::vector<float> noise_values(std::uint32_t seed, std::size_t count, float scale = 1.0f) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) values[i] = noise(seed, i) * scale;
  return values;
}

// Returns values that break float code: zeros of both signs, subnormals, the ends of the range, infinities, NaN, and ties of a
// rounding.
inline std::vector<float> special_values() {
  return {0.0f,  -0.0f, 1e-45f, -1e-45f, 1e-38f, -1e-38f, 1e-30f, -1e-30f, 1.0f,      -1.0f,      0.5f,
          -2.5f, 87.0f, -87.0f, 87.5f,   -87.5f, 88.0f,   -88.0f, 88.8f,   -88.8f,    104.0f,     -104.0f,
          1e4f,  -1e4f, 1e18f,  -1e18f,  2e19f,  -2e19f,  3e38f,  -3e38f,  HUGE_VALF, -HUGE_VALF, std::nanf("")};
}

// True if GGUF files can hold the format. If they can, gguf-py knows it too.
template <class F>
constexpr bool is_gguf_type = stilla::detail::is_in_list<F, GgufFormats>;

// Returns the byte offsets of a block's scale and of its minimum, both of type f16. It finds them by experiment: it writes a
// number at every offset and looks whether the format reads it as the scale or the minimum.
template <QuantisedFormat F>
std::vector<std::size_t> half_offsets() {
  std::vector<std::size_t> offsets;
  if constexpr (!WordScaledFormat<F> && !RowScaledFormat<F>) {
    for (std::size_t at = 0; at + 2 <= F::block_bytes; ++at) {
      std::vector<std::byte> block(F::block_bytes);
      store_as(block.data() + at, to_f16(3.0f));
      const auto is_three = [](auto half) { return (std::bit_cast<std::uint16_t>(half) & 0x7fffu) == to_f16(3.0f).bits; };
      bool found = is_three(F::scale(block.data()));
      if constexpr (F::has_minimum) found = found || is_three(F::minimum(block.data()));
      if (found) offsets.push_back(at);
    }
  }
  return offsets;
}

// Returns N rows of K weights: random bytes, but with scales as trained weights have them. A scale has a random sign, a power of
// two from 2^-10 to 2^-7, and a random mantissa, so its magnitude is below 2^-6.
template <WeightFormat F>
std::vector<std::byte> random_rows(std::uint32_t seed, std::size_t N, std::size_t K) {
  const std::size_t count = N * K / F::block_weights;
  std::vector<std::byte> blocks(N * row_bytes<F>(K));
  if constexpr (QuantisedFormat<F>) {
    for (std::size_t i = 0; i < blocks.size(); ++i) blocks[i] = static_cast<std::byte>(noise_bits(seed, i) >> 24);
    if constexpr (RowScaledFormat<F>) {
      for (std::size_t n = 0; n < N; ++n) {
        const std::uint32_t r = noise_bits(seed + 1000, n);
        store_as(blocks.data() + n * row_bytes<F>(K), (r & 0x80000000u) | (117 + (r >> 23 & 3u)) << 23 | (r & 0x7fffffu));
        if constexpr (requires(std::byte* block) { F::set_sub_scale(block, std::size_t{}, int{}); }) {
          // NPUs accept no sub-scale of 0, so the sub-scales of these formats for NPUs are random numbers from 1 to 15.
          for (std::size_t k = 0; k < K; k += F::block_weights) {
            std::byte* block = blocks.data() + n * row_bytes<F>(K) + row_head_bytes<F> + k / F::block_weights * F::block_bytes;
            F::set_sub_scale(block, 0, 1 + static_cast<int>(noise_bits(seed + 2000, n * K + k) % 15u));
          }
        }
      }
      return blocks;
    }
    std::size_t n = 0;
    for (std::size_t b = 0; b < count; ++b) {
      if constexpr (WordScaledFormat<F>) {
        // The scale of a block of ST4 is 2^-20 to 2^-16. This is less than for other formats, because it is multiplied by sub-scales of
        // up to 32 and by levels (the numbers that codes stand for) of up to 127.
        blocks[b * F::block_bytes + 3] = static_cast<std::byte>(64 + (noise_bits(seed + 1000, n++) & 31u));
        continue;
      }
      for (const std::size_t offset : half_offsets<F>()) {
        const std::uint32_t r = noise_bits(seed + 1000, n++);
        // The bits of a half: sign | exponent 5 .. 8 (2^-10 .. 2^-7) | mantissa.
        const auto half = static_cast<std::uint16_t>((r & 0x8000u) | (5 + (r >> 16 & 3u)) << 10 | (r & 0x3ffu));
        store_as(blocks.data() + b * F::block_bytes + offset, half);
      }
    }
  } else {
    for (std::size_t i = 0; i < count; ++i) {
      float weights[F::block_weights];
      for (std::size_t k = 0; k < F::block_weights; ++k) weights[k] = noise(seed, i * F::block_weights + k);
      F::encode(weights, blocks.data() + i * F::block_bytes);
    }
  }
  return blocks;
}

// Sets the scales and minimums of N rows to 1.
template <QuantisedFormat F>
void set_scales_to_one(std::vector<std::byte>& rows, std::size_t N, std::size_t K) {
  for (std::size_t n = 0; n < N; ++n) {
    std::byte* row = rows.data() + n * row_bytes<F>(K);
    if constexpr (RowScaledFormat<F>) {
      store_as(row, 1.0f);
      continue;
    }
    for (std::size_t b = 0; b < row_bytes<F>(K); b += F::block_bytes) {
      for (const std::size_t offset : half_offsets<F>()) store_as(row + b + offset, to_f16(1.0f));
    }
  }
}

// If the format has a scale for each row, sets the scales of N rows to random magnitudes from 2^lowest to 2^(highest + 1).
template <WeightFormat F>
void set_row_scales(std::vector<std::byte>& rows, std::size_t N, std::size_t K, std::uint32_t seed, int lowest, int highest) {
  if constexpr (RowScaledFormat<F>) {
    for (std::size_t n = 0; n < N; ++n) {
      const int exponent = lowest + static_cast<int>(noise_bits(seed, 2 * n) % static_cast<unsigned>(highest - lowest + 1));
      store_as(rows.data() + n * row_bytes<F>(K), std::ldexp(1.5f + 0.49f * noise(seed, 2 * n + 1), exponent));
    }
  }
}

// The distance of a product's results y[M, N] from the exact ones, as sums of squares. The operands of the product are
// activations x[M, K] and N rows of weights, encoded in format F.
struct ProductError {
  double error = 0.0;  // the sum of the squares of y minus the exact product
  double power = 0.0;  // the sum of the squares of the exact products
};
template <WeightFormat F>
ProductError product_error(const std::byte* rows, std::size_t N, std::size_t K, const std::vector<float>& x, const std::vector<float>& y) {
  ProductError sum;
  std::vector<float> row(K);
  for (std::size_t n = 0; n < N; ++n) {
    decode_row<F>(rows + n * row_bytes<F>(K), row.data(), K);
    for (std::size_t m = 0; m < x.size() / K; ++m) {
      double exact = 0.0;
      for (std::size_t k = 0; k < K; ++k) exact += double{row[k]} * double{x[m * K + k]};
      sum.error += (double{y[m * N + n]} - exact) * (double{y[m * N + n]} - exact);
      sum.power += exact * exact;
    }
  }
  return sum;
}

// An array whose end is the beginning of a page that faults on every access. A new array holds zeros.
template <class T>
class GuardedArray {
 public:
  explicit GuardedArray(std::size_t count) : count_(count) {
    const std::size_t page = page_bytes();
    const std::size_t pages = (count * sizeof(T) + page - 1) / page + 1;
    mapped_bytes_ = pages * page;
    base_ = map(mapped_bytes_);
    std::byte* end = base_ + mapped_bytes_ - page;
    forbid(end, page);
    data_ = reinterpret_cast<T*>(end - count * sizeof(T));
  }
  explicit GuardedArray(std::span<const T> values) : GuardedArray(values.size()) {
    if (count_ != 0) std::memcpy(static_cast<void*>(data_), values.data(), count_ * sizeof(T));
  }
  GuardedArray(const GuardedArray&) = delete;
  GuardedArray& operator=(const GuardedArray&) = delete;
  ~GuardedArray() { unmap(base_, mapped_bytes_); }

  T* data() { return data_; }
  std::size_t size() const { return count_; }
  std::span<T> values() { return {data_, count_}; }

 private:
#if defined(_WIN32)
  static std::size_t page_bytes() {
    SYSTEM_INFO info;
    GetSystemInfo(&info);
    return info.dwPageSize;
  }
  static std::byte* map(std::size_t bytes) {
    void* memory = VirtualAlloc(nullptr, bytes, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    if (memory == nullptr) std::abort();
    return static_cast<std::byte*>(memory);
  }
  static void forbid(std::byte* begin, std::size_t bytes) {
    DWORD before = 0;
    if (!VirtualProtect(begin, bytes, PAGE_NOACCESS, &before)) std::abort();
  }
  static void unmap(std::byte* begin, std::size_t) { VirtualFree(begin, 0, MEM_RELEASE); }
#else
  static std::size_t page_bytes() { return static_cast<std::size_t>(sysconf(_SC_PAGESIZE)); }
  static std::byte* map(std::size_t bytes) {
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) std::abort();
    return static_cast<std::byte*>(memory);
  }
  static void forbid(std::byte* begin, std::size_t bytes) {
    if (mprotect(begin, bytes, PROT_NONE) != 0) std::abort();
  }
  static void unmap(std::byte* begin, std::size_t bytes) { munmap(begin, bytes); }
#endif

  std::size_t count_;
  std::size_t mapped_bytes_;
  std::byte* base_;
  T* data_;
};

// Tests that run on every target.

template <class List>
struct AsGtestTypes;
template <class... Ts>
struct AsGtestTypes<TypeList<Ts...>> {
  using Types = ::testing::Types<Ts...>;
};

// For tests that run once for each format: each instance gets the name of its format.
struct FormatNames {
  template <class F>
  static std::string GetName(int) {
    return std::string(F::name);
  }
};

// One combination of types for a typed test: a target and a second type, such as a format.
template <class T, class S>
struct Case {
  using Target = T;
  using Second = S;
};

template <class Ts, class Ss>
struct Product;
template <class... Ts, class... Ss>
struct Product<TypeList<Ts...>, TypeList<Ss...>> {
  template <class T>
  using Row = TypeList<Case<T, Ss>...>;
  using Types = typename AsGtestTypes<typename stilla::detail::JoinedTypes<Row<Ts>...>::Type>::Types;
};

using TargetTypes = AsGtestTypes<Targets>::Types;

struct TargetNames {
  template <class T>
  static std::string GetName(int) {
    return T::id.name;
  }
};

// While an object of this class lives, all ops run on one target.
class OnTarget {
 public:
  explicit OnTarget(TargetId id) {
    const Status status = force_target(id.name);
    if (!status) ADD_FAILURE() << status.error().message;
  }
  OnTarget(const OnTarget&) = delete;
  OnTarget& operator=(const OnTarget&) = delete;
  ~OnTarget() { (void)force_target(""); }
};

// A test fixture for one target. If the CPU cannot run the target, its tests are skipped and say so.
template <class T>
class TargetTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!T::available(cpu_info())) GTEST_SKIP() << "this CPU lacks the target " << T::id.name;
  }
};

// Defines a TYPED_TEST(Suite, Name) for suites whose types are Cases, which are pairs of a target and a second type. The body is
// compiled once for each second type and not once for each target: it sees the type as `Second` and the target as `target`.
#define STILLA_CASE_TEST(Suite, Name)                                                  \
  template <class Second>                                                              \
  void Name(stilla::TargetId target);                                                  \
  TYPED_TEST(Suite, Name) { Name<typename TypeParam::Second>(TypeParam::Target::id); } \
  template <class Second>                                                              \
  void Name([[maybe_unused]] stilla::TargetId target)

// Golden results, which Python scripts in golden/ compute.

// The records of a file in the folder golden/, by name. A record has this layout, with little-endian numbers:
//   u32 name bytes | name | u32 count | count doubles
using GoldenRecords = std::map<std::string, std::vector<double>>;
inline const GoldenRecords& golden_records(const std::string& file_name) {
  static std::map<std::string, GoldenRecords> files;
  if (const auto found = files.find(file_name); found != files.end()) return found->second;
  return files[file_name] = [&] {
    std::ifstream file(std::string(test_data) + "/" + file_name, std::ios::binary);
    const std::vector<char> bytes(std::istreambuf_iterator<char>(file), {});
    GoldenRecords all;
    for (std::size_t at = 0; at < bytes.size();) {
      std::uint32_t length = 0;
      std::memcpy(&length, bytes.data() + at, 4);
      std::string name(bytes.data() + at + 4, length);
      at += 4 + length;
      std::memcpy(&length, bytes.data() + at, 4);
      std::vector<double> values(length);
      std::memcpy(values.data(), bytes.data() + at + 4, length * sizeof(double));
      at += 4 + length * sizeof(double);
      all.emplace(std::move(name), std::move(values));
    }
    return all;
  }();
}

// Calls f(parameters, values) for every golden record of the kind. A record's name is "kind/a/b/..."; its parameters are the
// parts behind the kind.
template <class F>
void for_each_golden(std::string_view kind, F&& f, const std::string& file_name = "ops.bin") {
  std::size_t found = 0;
  for (const auto& [name, values] : golden_records(file_name)) {
    if (!std::string_view(name).starts_with(std::string(kind) + "/")) continue;
    std::vector<std::string> parameters;
    std::string_view rest = std::string_view(name).substr(kind.size());
    while (!rest.empty()) {
      rest.remove_prefix(1);
      const std::size_t end = std::min(rest.find('/'), rest.size());
      parameters.emplace_back(rest.substr(0, end));
      rest.remove_prefix(end);
    }
    SCOPED_TRACE(name);
    ++found;
    f(parameters, std::span<const double>(values));
  }
  EXPECT_NE(found, 0u) << "no golden results of kind " << kind;
}

}  // namespace stilla_test
