// SPDX-License-Identifier: Apache-2.0
//
// Tests of ops whose memory belongs to the caller: rounded activations, candidates of a head, the plan of a mixture of experts, keys
// and values, scratch. With memory of exactly the size that the library asks for, followed by a page that cannot be touched, every
// result has the bits that it has with memory of the library's own, and no op allocates anything. If the memory is too small, or is
// not aligned to 64 bytes, the library returns an error.
#include <stilla/attention.hpp>
#include <stilla/epilogue.hpp>
#include <stilla/experts.hpp>
#include <stilla/fused.hpp>
#include <stilla/head.hpp>
#include <stilla/import_activations.hpp>

#include <array>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "counted_new.hpp"
#include "matmul_data.hpp"

namespace {

using namespace stilla_test;

constexpr ActivationBits all_bits[] = {ActivationBits::eight, ActivationBits::sixteen, ActivationBits::mixed};

// Returns M rows of noise, of which every third has one large value. With `mixed` activations these rows become wide.
std::vector<float> spiky(std::uint32_t seed, std::size_t M, std::size_t K) {
  std::vector<float> x = noise_values(seed, M * K);
  for (std::size_t m = 0; m < M; m += 3) x[m * K + m % K] = 1000.0f;
  return x;
}

std::vector<float> product(const PackedView& w, const ActivationQ8& x) {
  std::vector<float> y(x.rows * w.rows);
  EXPECT_TRUE(matmul(Matrix(y.data(), x.rows, w.rows), w, x));
  return y;
}

// Activations rounded into the caller's memory are compared by the products that kernels compute from them, not byte by byte. So the
// comparison includes the arrangement that only some targets have.
TEST(CallerMemory, ActivationsHaveTheBitsOfABufferOfTheirOwn) {
  constexpr std::size_t K = 512, N = 40, max_rows = 41;
  const PackedMatrix w = random_matrix(1, id_of<Q4_K>, N, K), narrow = random_matrix(2, id_of<Q4_0>, N, 64);
  ThreadPool pool(3);
  for_each_available_target([&](TargetId target) {
    const OnTarget on(target);
    for (const ActivationBits bits : all_bits) {
      const std::size_t bytes = activation_bytes(max_rows, K, bits);
      GuardedArray<std::byte> memory(bytes);
      ActivationBuffer lent(memory.values(), bits), own(bits);
      for (const std::size_t M : {max_rows, std::size_t{1}, std::size_t{5}, max_rows}) {
        SCOPED_TRACE(std::string(target.name) + ", M = " + std::to_string(M) + ", bits " + std::to_string(static_cast<int>(bits)));
        EXPECT_LE(activation_bytes(M, 64, bits), bytes);
        const std::vector<float> x = spiky(3, M, K);
        ASSERT_TRUE(quantise(own, ConstMatrix(x.data(), M, K)));
        ASSERT_TRUE(quantise(lent, ConstMatrix(x.data(), M, K), pool));
        EXPECT_EQ(lent.has_arrangement(), own.has_arrangement());
        EXPECT_EQ(lent.view().wide.count(), bits == ActivationBits::mixed ? (M + 2) / 3 : 0u);
        EXPECT_TRUE(same_bits(product(w, lent.view()), product(w, own.view())));
        ASSERT_TRUE(quantise(own, ConstMatrix(x.data(), M, 64, K)));
        ASSERT_TRUE(quantise(lent, ConstMatrix(x.data(), M, 64, K), pool));
        EXPECT_TRUE(same_bits(product(narrow, lent.view()), product(narrow, own.view())));
      }
    }
  });
}

TEST(CallerMemory, ActivationsThatWereRoundedElsewhere) {
  constexpr std::size_t K = 256, N = 20, M = 9;
  const PackedMatrix w = random_matrix(4, id_of<Q4_0>, N, K);
  GuardedArray<std::byte> memory(activation_bytes(M, K, ActivationBits::sixteen, true));
  std::vector<std::uint8_t> values(M * K);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<std::uint8_t>(noise_bits(5, i));
  const std::vector<float> scales(M, 0.37f);
  const std::vector<std::uint8_t> far_away(M, 3), close_by(M, 128);
  for (const auto& zero_points : {far_away, close_by}) {
    const IntegerActivations<std::uint8_t> x{{values.data(), M, K}, ScaleFor::row, scales.data(), zero_points.data()};
    ActivationBuffer lent(memory.values()), own;
    ASSERT_TRUE(import_activations(lent, x) && import_activations(own, x));
    EXPECT_EQ(lent.bits(), own.bits());
    EXPECT_TRUE(same_bits(product(w, lent.view()), product(w, own.view())));
  }
}

std::string message_of(const Status& s) { return s ? "no error" : s.error().message; }

// When a buffer is moved, the memory of the caller goes with it, and the old buffer can no longer be used. Otherwise two buffers
// would write to the same memory.
TEST(CallerMemory, GoesToTheBufferThatIsMovedTo) {
  constexpr std::size_t K = 256, N = 20, M = 9;
  const PackedMatrix w = random_matrix(4, id_of<Q4_0>, N, K);
  const std::vector<float> x = spiky(6, M, K), other = spiky(7, M, K);
  for (const ActivationBits bits : all_bits) {
    GuardedArray<std::byte> memory(activation_bytes(M, K, bits));
    ActivationBuffer lent(memory.values(), bits), own(bits);
    ASSERT_TRUE(quantise(lent, ConstMatrix(x.data(), M, K)));
    ASSERT_TRUE(quantise(own, ConstMatrix(x.data(), M, K)));
    const ActivationBuffer moved = std::move(lent);
    EXPECT_FALSE(quantise(lent, ConstMatrix(other.data(), M, K)));
    EXPECT_TRUE(same_bits(product(w, moved.view()), product(w, own.view())));
  }
}

TEST(CallerMemory, TooLittleOrAtABadAddressIsRefused) {
  constexpr std::size_t M = 4, K = 256;
  const std::vector<float> x = spiky(6, M, K);
  for (const ActivationBits bits : all_bits) {
    const std::size_t bytes = activation_bytes(M, K, bits);
    GuardedArray<std::byte> memory(bytes + 64);
    const std::span<std::byte> all = memory.values();
    ActivationBuffer buffer(all.first(bytes), bits);
    ASSERT_TRUE(quantise(buffer, ConstMatrix(x.data(), M, K)));
    // After a refused resize(), the buffer has the rows and columns that it had before.
    EXPECT_EQ(message_of(quantise(buffer, ConstMatrix(x.data(), M, K / 2, K))), "no error");
    const Status tall = buffer.resize(M + 1, K);
    EXPECT_EQ(message_of(tall), concat("rounded activations: memory of ", bytes, " bytes, expected ", activation_bytes(M + 1, K, bits)));
    EXPECT_EQ(buffer.rows(), M);
    EXPECT_EQ(buffer.cols(), K / 2);
    ActivationBuffer small(all.first(bytes - 1), bits), odd(all.subspan(8, bytes), bits), none({all.data(), 0}, bits);
    EXPECT_EQ(message_of(small.resize(M, K)), concat("rounded activations: memory of ", bytes - 1, " bytes, expected ", bytes));
    EXPECT_EQ(message_of(odd.resize(M, K)), "rounded activations: memory at an address that is no multiple of 64");
    EXPECT_FALSE(quantise(none, ConstMatrix(x.data(), M, K)));
    EXPECT_EQ(none.rows(), 0u);
    EXPECT_EQ(message_of(buffer.resize(std::size_t{1} << 40, std::size_t{1} << 40)),
              concat("rounded activations: memory of ", bytes, " bytes, expected ", impossible_bytes));
  }
  const LogitRequest request{3, {1, 2}};
  GuardedArray<std::byte> memory(top_logits_bytes(2, request));
  TopLogits top(memory.values());
  EXPECT_TRUE(top.resize(2, request));
  EXPECT_TRUE(top.resize(1, request));
  EXPECT_EQ(message_of(top.resize(40, request)),
            concat("candidates: memory of ", memory.size(), " bytes, expected ", top_logits_bytes(40, request)));
  EXPECT_EQ(top_logits_bytes(SIZE_MAX / 4, {.best = 5}), impossible_bytes);

  const std::vector<std::uint32_t> ids = {0, 2, 1, 2};
  GuardedArray<std::byte> rows(expert_plan_bytes(2, 2, 3, K));
  ExpertPlan plan(rows.values());
  ASSERT_TRUE(plan.build(ids, 2, 3));
  EXPECT_TRUE(plan.gather(ConstMatrix(x.data(), 2, K)));
  EXPECT_FALSE(plan.gather(ConstMatrix(x.data(), 2, 2 * K, K)));
  EXPECT_FALSE(plan.build(ids, 2, 100000));
  EXPECT_EQ(plan.rows(), 0u);
  EXPECT_EQ(expert_plan_bytes(SIZE_MAX / 2, 3, 4, 1), impossible_bytes);
  EXPECT_EQ(expert_plan_bytes(SIZE_MAX / 8, 1, 4, 1000), impossible_bytes);
  EXPECT_EQ(expert_plan_bytes(1, 1, SIZE_MAX, 1), impossible_bytes);
}

// The ops of a model's layer. Their memory belongs either to the library or to the caller.
struct Layer {
  static constexpr std::size_t K = 256, N = 96, heads = 4, kv_heads = 2, D = 64, n_experts = 3, per_token = 2, first = 270;

  Layer(std::size_t rows, ActivationBits bits) : M(rows), bits_(bits) {
    for (unsigned e = 0; e < n_experts; ++e) {
      matrices.push_back(random_matrix(20 + e, id_of<Q4_0>, N, K));
      views.push_back(matrices.back());
    }
    for (std::size_t i = 0; i < M * per_token; ++i) ids.push_back(static_cast<std::uint32_t>((i * 7 + i / 5) % n_experts));
  }

  // The objects that hold memory while a layer runs.
  struct Objects {
    ActivationBuffer rounded, ffn, gathered;
    TopLogits top;
    ExpertPlan plan;
    KvView cache;
    float* scratch = nullptr;
  };

  std::size_t bytes(std::size_t object) const {
    switch (object) {
      case 0: return activation_bytes(M, K, bits_);
      case 1: return activation_bytes(M, N, bits_);
      case 2: return activation_bytes(M * per_token, K);
      case 3: return top_logits_bytes(M, request);
      default: return expert_plan_bytes(M, per_token, n_experts, K);
    }
  }

  // Runs all ops of the layer, and returns whether they succeeded. The caller checks this, because a failed check of GoogleTest
  // would allocate memory.
  bool run(Objects& o, Parallel parallel) {
    const Matrix H(h.data(), M, K), X(x.data(), M, K), G(gate.data(), M, N), U(up.data(), M, N), Y(y.data(), M, N);
    const auto last = [](const MatmulTile& tile) { epilogue::gelu(tile); };
    bool ok = o.rounded.resize(M, K) && add_norm_quantise(H, X, nullptr, weight.data(), 1e-6f, &o.rounded, parallel);
    const MatmulInput input{{}, o.rounded.view()};
    ok = ok && matmul(std::array{MatmulProduct{Y, views[0], weight.data(), last}, MatmulProduct{G, views[2]}}, input, parallel);
    ok = ok && matmul({.y = Y, .w = views[1], .accumulate = true}, input, parallel);
    ok = ok && o.ffn.resize(M, N) && gated_matmul({G, views[0]}, {U, views[1]}, input, &o.ffn, parallel);
    ok = ok && matmul({D2(), down.view()}, {{}, o.ffn.view()}, parallel);
    ok = ok && attention(A(), ConstMatrix(x.data(), M, heads * D), o.cache, 0, first, heads, o.scratch, parallel);
    ok = ok && top_logits(o.top, views[2], input, request, nullptr, parallel);
    ok = ok && o.plan.build(ids, per_token, n_experts);
    const Result<ConstMatrix> rows = o.plan.gather(X);
    ok = ok && rows && quantise(o.gathered, *rows, parallel);
    const Matrix E(expert.data(), M * per_token, N);
    ok = ok && expert_matmul(E, o.plan, views, {{}, o.gathered.view()}, {}, parallel, epilogue::scale_rows(weight.data()));
    return ok && o.plan.combine(Matrix(combined.data(), M, N), E, std::span(router).first(M * per_token), parallel);
  }

  Matrix A() { return {attended.data(), M, heads * D}; }
  Matrix D2() { return {lowered.data(), M, K}; }

  // Returns the results of all ops, one behind the other. Of the head's candidates it copies the logits and the ids.
  std::vector<float> results(const Objects& o) const {
    std::vector<float> all;
    for (const auto* part : {&h, &y, &lowered, &attended, &expert, &combined}) all.insert(all.end(), part->begin(), part->end());
    for (std::size_t m = 0; m < M; ++m) {
      for (const Candidate& c : o.top.row(m)) all.insert(all.end(), {c.logit, static_cast<float>(c.id)});
    }
    return all;
  }

  std::size_t M;
  ActivationBits bits_;
  std::vector<PackedMatrix> matrices;
  std::vector<PackedView> views;
  PackedMatrix down = random_matrix(30, id_of<Q8_0>, K, N);
  LogitRequest request{5, {3, 50}};
  std::vector<std::uint32_t> ids;
  std::vector<float> weight = noise_values(31, 512), router = noise_values(32, 200), x = spiky(33, M, K);
  std::vector<float> h = std::vector<float>(M * K), gate = std::vector<float>(M * N), up = gate, y = noise_values(34, M* N), lowered = h,
                     attended = std::vector<float>(M * heads * D), expert = std::vector<float>(M * per_token * N),
                     combined = std::vector<float>(M * N);
};

TEST(CallerMemory, NoOpAllocates) {
  ThreadPool one(1), three(3);
  for_each_available_target([&](TargetId target) {
    const OnTarget on(target);
    for (const std::size_t M : {1u, 41u}) {
      for (const ActivationBits bits : all_bits) {
        SCOPED_TRACE(std::string(target.name) + ", M = " + std::to_string(M) + ", bits " + std::to_string(static_cast<int>(bits)));
        const KvShape shape{1, Layer::kv_heads, Layer::D, KvType::int8};
        const std::size_t positions = Layer::first + M;
        AlignedBuffer<std::byte> chunks;
        ASSERT_TRUE(chunks.resize(shape.bytes(positions)));
        std::byte* const table[] = {chunks.data(), chunks.data() + shape.chunk_bytes()};
        const KvView view{shape, table};
        Result<KvCache> cache = KvCache::create(shape);
        ASSERT_TRUE(cache && cache->reserve(positions));
        for (std::size_t p = 0; p < positions; ++p) {
          const auto seed = static_cast<std::uint32_t>(p);
          const std::vector<float> key = noise_values(2 * seed, 2 * Layer::D), value = noise_values(2 * seed + 1, 2 * Layer::D);
          ASSERT_TRUE(view.store(0, p, key.data(), value.data()) && cache->store(0, p, key.data(), value.data()));
        }

        Layer expected(M, bits);
        Layer::Objects own{ActivationBuffer(bits), ActivationBuffer(bits), ActivationBuffer(), {}, {}, cache->view()};
        const std::size_t before_own = allocations;
        ASSERT_TRUE(expected.run(own, {}));
        EXPECT_GT(allocations, before_own) << "the counter does not count";

        for (ThreadPool* pool : {&one, &three}) {
          Layer layer(M, bits);
          std::vector<std::unique_ptr<GuardedArray<std::byte>>> arena;
          for (std::size_t i = 0; i < 5; ++i) arena.push_back(std::make_unique<GuardedArray<std::byte>>(layer.bytes(i)));
          GuardedArray<float> scratch(attention_scratch_floats(M, Layer::heads, Layer::D, positions));
          const Parallel parallel(*pool);
          parallel(3, [](std::size_t) {});  // this empty job makes sure that the pool's threads have begun
          const std::size_t before = allocations;
          Layer::Objects lent{ActivationBuffer(arena[0]->values(), bits),
                              ActivationBuffer(arena[1]->values(), bits),
                              ActivationBuffer(arena[2]->values()),
                              TopLogits(arena[3]->values()),
                              ExpertPlan(arena[4]->values()),
                              view,
                              scratch.size() == 0 ? nullptr : scratch.data()};
          const bool ok = layer.run(lent, parallel);
          EXPECT_EQ(allocations, before);
          ASSERT_TRUE(ok);
          EXPECT_TRUE(same_bits(layer.results(lent), expected.results(own)));
        }
      }
    }
  });
}

}  // namespace
