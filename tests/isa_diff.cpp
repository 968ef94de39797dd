// SPDX-License-Identifier: Apache-2.0
//
// Compares every target that this CPU runs with `scalar`, bit for bit, on random shapes and random bytes, for a number of seconds.
// The other tests have shapes that somebody chose; this program finds those that nobody thought of.
//
//   isa_diff SECONDS [--target NAME] [--seed N] [--first CASE]
//
// If results differ it prints the seed, the number of the case and its shape, and ends with status 1. With `--seed` and `--first`,
// the same case can be made again.
#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <stilla/attention.hpp>
#include <stilla/base/random.hpp>
#include <stilla/base/thread_pool.hpp>
#include <stilla/matmul.hpp>
#include <stilla/norm.hpp>
#include <stilla/rope.hpp>
#include <stilla/silu_mul.hpp>
#include <stilla/softmax.hpp>

#include "matmul_data.hpp"

namespace {

using namespace stilla_test;

class Dice {
 public:
  explicit Dice(std::uint64_t seed) : random_(seed) {}
  std::size_t below(std::size_t count) { return static_cast<std::size_t>(random_.next() % count); }
  std::size_t from(std::size_t least, std::size_t most) { return least + below(most - least + 1); }
  bool once_in(std::size_t count) { return below(count) == 0; }
  std::uint32_t seed() { return static_cast<std::uint32_t>(random_.next()); }
  template <class T, std::size_t count>
  T of(const std::array<T, count>& choices) {
    return choices[below(count)];
  }

 private:
  stilla::Random random_;
};

// Returns random values like those that a network computes. The values are changed in three of four cases. In the first, each 32
// neighbouring values are multiplied by one power of two, which differs from piece to piece. In the second, a few values become
// 1000 times as large. In the third, some values are replaced by those that break float code, such as NaN. In the fourth case
// nothing is changed.
std::vector<float> random_values(Dice& dice, std::size_t count) {
  std::vector<float> values = noise_values(dice.seed(), count);
  const std::uint32_t seed = dice.seed();
  switch (dice.below(4)) {
    case 0:
      for (std::size_t i = 0; i < count; ++i) values[i] = std::ldexp(values[i], static_cast<int>(noise_bits(seed, i / 32) % 124) - 63);
      break;
    case 1:
      for (std::size_t n = 1 + count / 300; n > 0; --n) values[dice.below(count)] *= 1000.0f;
      break;
    case 2: {
      const std::vector<float> special = special_values();
      const std::size_t every = dice.from(5, 2000);
      for (std::size_t i = 0; i < count; ++i) {
        if (noise_bits(seed, i) % every == 0) values[i] = special[noise_bits(seed + 1, i) % special.size()];
      }
      break;
    }
    default: break;
  }
  return values;
}

// Returns N random rows of a format. They hold weights like trained ones, or any bytes that a file can hold.
template <class F>
std::vector<std::byte> random_weights(Dice& dice, std::size_t N, std::size_t K) {
  const std::uint32_t seed = dice.seed();
  if (dice.once_in(2)) return random_rows<F>(seed, N, K);
  std::vector<std::byte> bytes(N * row_bytes<F>(K));
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(noise_bits(seed, i) >> 24);
  if constexpr (QuantisedFormat<F>) {
    const bool is_finite = dice.once_in(2);
    for (std::size_t b = 0; is_finite && b < bytes.size(); b += F::block_bytes) {
      for (const std::size_t offset : half_offsets<F>()) {
        const std::uint32_t bits = noise_bits(seed + 1, b + offset);
        store_as(bytes.data() + b + offset, static_cast<std::uint16_t>(bits % 5 == 0 ? bits & 0x8000u : bits & 0xbfffu));
      }
    }
    if (is_finite) set_row_scales<F>(bytes, N, K, seed, -52, 73);
  }
  return bytes;
}

// A random case: its shape as text, and a function that computes it on the target that is active.
struct Sample {
  std::string text;
  std::function<std::vector<float>()> compute;
};

template <class F>
Sample matmul_case(Dice& dice, Parallel parallel, std::string_view threads) {
  const std::size_t M = dice.from(1, 70), N = dice.from(1, dice.once_in(8) ? 400 : 70);
  const std::size_t blocks = dice.from(1, std::max<std::size_t>(3, (dice.once_in(8) ? 2048 : 640) / F::block_weights));
  const std::size_t K = blocks * F::block_weights;
  const auto bits = dice.of(std::array{ActivationBits::eight, ActivationBits::sixteen, ActivationBits::mixed});
  const auto w = std::make_shared<Weights<F>>(random_weights<F>(dice, N, K), N, K);
  const std::vector<float> x = random_values(dice, M * K);
  const std::vector<float> bias = dice.once_in(2) ? random_values(dice, N) : std::vector<float>();
  const std::string_view bits_name = bits == ActivationBits::eight ? "8 bits" : bits == ActivationBits::sixteen ? "16 bits" : "mixed";
  return {concat("matmul of ", F::name, ", M ", M, ", N ", N, ", K ", K, ", ", bits_name, bias.empty() ? "" : ", bias", threads), [=] {
            ActivationBuffer rounded(bits);
            GuardedArray<float> y(M * N);
            const Status status = matmul(Matrix(y.data(), M, N), w->view, ConstMatrix(x.data(), M, K), rounded,
                                         bias.empty() ? nullptr : bias.data(), parallel);
            return status ? std::vector<float>(y.data(), y.data() + y.size()) : std::vector<float>();
          }};
}

Sample matmul_case(Dice& dice, Parallel parallel, std::string_view threads) {
  constexpr std::size_t formats = Formats::size;
  std::size_t left = dice.below(formats);
  std::optional<Sample> made;
  for_each_type(Formats{}, [&]<class F>(F) {
    if (left-- == 0) made = matmul_case<F>(dice, parallel, threads);
  });
  return *made;
}

Sample attention_case(Dice& dice, Parallel parallel, std::string_view threads) {
  const std::size_t kv_heads = dice.from(1, 4), heads = kv_heads * dice.from(1, 8),
                    D = head_dim_step * dice.from(1, max_head_dim / head_dim_step);
  const KvType type = dice.of(kv_types);
  const std::size_t stored = dice.from(1, dice.once_in(8) ? 1200 : 300), rows = dice.from(1, std::min<std::size_t>(stored, 70));
  const bool has_scratch = dice.once_in(2);
  AttentionOptions options;
  if (dice.once_in(4)) options.scale = 0.3f;
  if (dice.once_in(4)) options.soft_cap = 30.0f;
  if (dice.once_in(4)) options.window = dice.from(1, stored);
  if (options.window == 0 && dice.once_in(4)) options.causal = false;
  const std::vector<float> keys = random_values(dice, stored * kv_heads * D), values = random_values(dice, stored * kv_heads * D);
  const std::vector<float> queries = random_values(dice, rows * heads * D);
  return {concat("attention, ", heads, " heads on ", kv_heads, " of ", D, ", ", kv_type_name(type), ", ", stored, " positions, ", rows,
                 " rows, window ", options.window, options.soft_cap != 0.0f ? ", soft cap" : "", options.causal ? "" : ", no mask",
                 has_scratch ? ", scratch" : "", threads),
          [=] {
            std::vector<float> none;
            Result<KvCache> cache = KvCache::create({1, kv_heads, D, type});
            if (!cache || !cache->reserve(stored)) return none;
            for (std::size_t j = 0; j < stored; ++j) {
              if (!cache->store(0, j, keys.data() + j * kv_heads * D, values.data() + j * kv_heads * D)) return none;
            }
            cache->set_size(stored);
            GuardedArray<float> input{std::span<const float>(queries)}, out(rows * heads * D);
            GuardedArray<float> scratch(attention_scratch_floats(rows, heads, D, stored));
            std::fill(scratch.data(), scratch.data() + scratch.size(), std::nanf(""));
            const Status status = attention(Matrix(out.data(), rows, heads * D), ConstMatrix(input.data(), rows, heads * D), *cache, 0,
                                            stored - rows, heads, has_scratch ? scratch.data() : nullptr, parallel, {}, options);
            return status ? std::vector<float>(out.data(), out.data() + out.size()) : none;
          }};
}

Sample row_case(Dice& dice, Parallel parallel, std::string_view threads) {
  const std::size_t rows = dice.from(1, 8), cols = 2 * dice.from(1, dice.once_in(8) ? 4000 : 200), op = dice.below(4);
  constexpr std::string_view names[] = {"rms_norm", "softmax", "silu_mul", "rope"};
  const std::vector<float> x = random_values(dice, rows * cols), other = random_values(dice, rows * cols);
  const RopeLayout layout = dice.once_in(2) ? RopeLayout::half_split : RopeLayout::interleaved;
  return {concat(names[op], ", ", rows, " rows of ", cols, threads), [=] {
            GuardedArray<float> input{std::span<const float>(x)}, second{std::span<const float>(other)}, out(rows * cols);
            const Matrix y(out.data(), rows, cols);
            const ConstMatrix a(input.data(), rows, cols), b(second.data(), rows, cols);
            Status status = success();
            if (op == 0) status = rms_norm(y, a, second.data(), 1e-6f, parallel);
            if (op == 1) status = softmax(y, a, parallel);
            if (op == 2) status = silu_mul(y, a, b, parallel);
            if (op == 3) {
              std::copy(x.begin(), x.end(), out.data());
              const std::size_t pairs = cols / 2;
              status = rope(y, cols, ConstMatrix(second.data(), rows, pairs), ConstMatrix(second.data() + rows * pairs, rows, pairs),
                            layout, parallel);
            }
            return status ? std::vector<float>(out.data(), out.data() + out.size()) : std::vector<float>();
          }};
}

std::vector<float> on(TargetId target, const Sample& made) {
  (void)force_target(target.name);
  return made.compute();
}

// Returns whether all targets give the bits of scalar for this case. Prints which targets do not.
bool is_same(const Sample& made, const std::vector<TargetId>& targets, std::uint64_t seed, std::uint64_t number) {
  const std::vector<float> expected = on(Scalar::id, made);
  bool same = true;
  for (const TargetId target : targets) {
    const std::vector<float> found = on(target, made);
    const ::testing::AssertionResult equal = same_bits(found, expected);
    if (equal && !found.empty()) continue;
    same = false;
    std::printf("--seed %llu --first %llu: %s on %s: %s\n", static_cast<unsigned long long>(seed), static_cast<unsigned long long>(number),
                made.text.c_str(), target.name, found.empty() ? "refused" : equal.message());
  }
  return same;
}

template <class T>
bool parse(std::string_view text, T& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

struct Options {
  double seconds = 0;
  std::string target;
  std::uint64_t seed = static_cast<std::uint64_t>(std::chrono::system_clock::now().time_since_epoch().count()) % 1000000, first = 0;
};

bool parse(int argc, char** argv, Options& options) {
  unsigned seconds = 0;
  if (argc < 2 || argc % 2 != 0 || !parse(argv[1], seconds)) return false;
  options.seconds = seconds;
  for (int i = 2; i < argc; i += 2) {
    const std::string_view name = argv[i], value = argv[i + 1];
    const bool is_known = name == "--target" ? (options.target = value, true)
                          : name == "--seed" ? parse(value, options.seed)
                                             : name == "--first" && parse(value, options.first);
    if (!is_known) return false;
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  if (!parse(argc, argv, options)) {
    std::fprintf(stderr, "usage: isa_diff SECONDS [--target NAME] [--seed N] [--first CASE]\n");
    return 2;
  }
  std::vector<TargetId> targets;
  std::string names;
  for_each_available_target([&](TargetId target) {
    if (target == Scalar::id || (!options.target.empty() && options.target != target.name)) return;
    targets.push_back(target);
    names += concat(names.empty() ? "" : ", ", target.name);
  });
  if (targets.empty()) {
    std::fprintf(stderr, "isa_diff: this CPU runs no target %s beside scalar\n", options.target.c_str());
    return 2;
  }
  std::printf("seed %llu: %s against scalar\n", static_cast<unsigned long long>(options.seed), names.c_str());
  std::fflush(stdout);

  ThreadPool pool(3);
  const auto begin = std::chrono::steady_clock::now();
  const auto is_over = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() >= options.seconds; };
  std::uint64_t number = options.first;
  std::size_t differences = 0;
  do {
    Dice dice(splitmix64(options.seed, number));
    const bool has_threads = dice.once_in(4);
    const Parallel parallel = has_threads ? Parallel(pool) : Parallel();
    const std::string_view threads = has_threads ? ", 3 threads" : "";
    const std::size_t kind = dice.below(8);
    const Sample made = kind == 0   ? row_case(dice, parallel, threads)
                        : kind == 1 ? attention_case(dice, parallel, threads)
                                    : matmul_case(dice, parallel, threads);
    if (!is_same(made, targets, options.seed, number)) ++differences;
    ++number;
  } while (!is_over() && differences < 10);
  std::printf("%llu cases, %zu with differences\n", static_cast<unsigned long long>(number - options.first), differences);
  return differences == 0 ? 0 : 1;
}
