// SPDX-License-Identifier: Apache-2.0
//
// This file is compiled several times with different compiler flags, and main.cpp links all of the results. It uses much of the
// library and returns a hash of every bit that it computed.
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include <stilla/dispatch.hpp>
#include <stilla/base/error.hpp>
#include <stilla/format/format.hpp>
#include <stilla/matmul.hpp>
#include <stilla/base/matrix.hpp>
#include <stilla/norm.hpp>
#include <stilla/pack.hpp>
#include <stilla/base/thread_pool.hpp>

namespace {

class Hash {  // FNV-1a
 public:
  void add(const void* data, std::size_t bytes) {
    const auto* p = static_cast<const unsigned char*>(data);
    for (std::size_t i = 0; i < bytes; ++i) value_ = (value_ ^ p[i]) * 0x100000001b3u;
  }
  void add(std::string_view text) { add(text.data(), text.size()); }
  std::uint64_t value() const { return value_; }

 private:
  std::uint64_t value_ = 0xcbf29ce484222325u;
};

// Returns pseudo-random values in [-1, 1), multiples of 2^-12.
std::vector<float> numbers(std::size_t count, std::uint32_t seed) {
  std::vector<float> out(count);
  for (float& x : out) {
    seed = seed * 1664525u + 1013904223u;
    x = static_cast<float>(static_cast<std::int32_t>(seed) >> 19) / 4096.0f;
  }
  return out;
}

// Adds the results of y = rms_norm(x) * W to `hash`, for every format that has an encoder, computed on two threads.
void hash_matmuls(Hash& hash, stilla::ThreadPool& pool) {
  constexpr std::size_t M = 3, N = 37, K = 256;
  const std::vector<float> x = numbers(M * K, 1), gain = numbers(K, 2), weights = numbers(N * K, 3);
  std::vector<float> h(M * K), y(M * N);
  (void)stilla::rms_norm(stilla::Matrix(h.data(), M, K), stilla::ConstMatrix(x.data(), M, K), gain.data(), 1e-6f);
  stilla::ActivationBuffer rounded;
  stilla::for_each_type(stilla::Formats{}, [&](auto tag) {
    using F = decltype(tag);
    if constexpr (stilla::EncodableFormat<F>) {
      std::vector<std::byte> rows(N * stilla::row_bytes<F>(K));
      for (std::size_t n = 0; n < N; ++n) {
        stilla::encode_row<F>(weights.data() + n * K, rows.data() + n * stilla::row_bytes<F>(K), K);
      }
      const auto packed = stilla::PackedMatrix::create<F>(rows.data(), N, K);
      if (!packed ||
          !stilla::matmul(stilla::Matrix(y.data(), M, N), *packed, stilla::ConstMatrix(h.data(), M, K), rounded, nullptr, pool)) {
        hash.add("failed");
        return;
      }
      hash.add(y.data(), y.size() * sizeof(float));
    }
  });
}

}  // namespace

#define ODR_JOIN_(a, b) a##b
#define ODR_JOIN(a, b) ODR_JOIN_(a, b)

std::uint64_t ODR_JOIN(odr_run_, ODR_UNIT)();

std::uint64_t ODR_JOIN(odr_run_, ODR_UNIT)() {
  stilla::ThreadPool pool(2);
  std::uint64_t first = 0;
  bool targets_agree = true;
  stilla::for_each_available_target([&](stilla::TargetId target) {
    Hash hash;
    if (!stilla::force_target(target.name)) hash.add(target.name);
    hash_matmuls(hash, pool);
    if (first == 0) first = hash.value();
    targets_agree = targets_agree && first == hash.value();
  });
  const stilla::Status refused = stilla::force_target("no\nsuch target");
  const stilla::Status best = stilla::force_target("");
  return targets_agree && !refused && best ? first : 0;
}
