// SPDX-License-Identifier: Apache-2.0
//
// Tests attention() with keys and values in memory that belongs to the caller, and with AttentionOptions other than the defaults.
// Memory of the caller gives the same bits as a KvCache. Every target gives the bits of scalar, and scalar is close to the formula,
// computed in double.
#include <stilla/attention.hpp>

#include <algorithm>
#include <cmath>

#include "test_util.hpp"

namespace {

using namespace stilla_test;

constexpr std::size_t heads = 6, kv_heads = 2, D = 32, width = heads * D, stored = 700;

std::vector<float> noise_row(std::size_t position, bool is_value) {
  return noise_values(static_cast<std::uint32_t>(2 * position + (is_value ? 1 : 0)), kv_heads * D);
}

// Memory for keys and values as a caller may have it: each chunk is a page. The pages lie in any order, with other bytes between
// them, and are not cleared.
struct Pages {
  Pages(const KvShape& shape, std::size_t count) {
    const std::size_t bytes = shape.chunk_bytes() + 64;
    EXPECT_TRUE(memory.resize(count * bytes));
    std::fill_n(memory.data(), memory.size(), std::byte{0x5a});
    for (std::size_t c = 0; c < count; ++c) table.push_back(memory.data() + (count - 1 - c) * bytes);
    view = {shape, table};
  }

  AlignedBuffer<std::byte> memory;
  std::vector<std::byte*> table;
  KvView view;
};

void fill(const KvView& view, std::size_t count = stored) {
  for (std::size_t p = 0; p < count; ++p) ASSERT_TRUE(view.store(0, p, noise_row(p, false).data(), noise_row(p, true).data()));
}

std::vector<float> attend(TargetId target, const KvView& view, std::size_t rows, std::size_t first, const AttentionOptions& options,
                          bool has_scratch, Parallel parallel = {}) {
  const OnTarget on(target);
  const std::vector<float> queries = noise_values(4321, rows * width, 3.0f);
  std::vector<float> out(rows * width), scratch(attention_scratch_floats(rows, heads, D, first + rows) + 1, std::nanf(""));
  const Status s = attention(Matrix(out.data(), rows, width), ConstMatrix(queries.data(), rows, width), view, 0, first, heads,
                             has_scratch ? scratch.data() : nullptr, parallel, {}, options);
  EXPECT_TRUE(s) << s.error().message;
  return out;
}

std::vector<AttentionOptions> all_options() {
  return {{},
          {.scale = 0.05f},
          {.causal = false},
          {.window = 1},
          {.window = 100},
          {.window = 256},
          {.window = 300},
          {.window = 100000},
          {.soft_cap = 5.0f},
          {.scale = 0.3f, .causal = false, .soft_cap = 2.0f},
          {.scale = 0.3f, .window = 270, .soft_cap = 2.0f}};
}

TEST(AttentionOptions, ScalarIsCloseToTheFormula) {
  const KvShape shape{1, kv_heads, D, KvType::f32};
  const Pages pages(shape, 3);
  fill(pages.view);
  for (const AttentionOptions& o : all_options()) {
    for (const std::size_t rows : {1u, 3u, 12u}) {
      const std::size_t first = stored - rows;
      const std::vector<float> queries = noise_values(4321, rows * width, 3.0f);
      const std::vector<float> found = attend(Scalar::id, pages.view, rows, first, o, false);
      const double scale = o.scale != 0 ? double{o.scale} : 1 / std::sqrt(double{D});
      for (std::size_t m = 0; m < rows; ++m) {
        const std::size_t end = o.causal ? first + m + 1 : first + rows, begin = o.window == 0 || o.window > end ? 0 : end - o.window;
        for (std::size_t h = 0; h < heads; ++h) {
          std::vector<double> scores, out(D);
          double sum = 0;
          for (std::size_t p = begin; p < end; ++p) {
            const std::vector<float> key = noise_row(p, false), value = noise_row(p, true);
            double score = 0;
            for (std::size_t d = 0; d < D; ++d) score += double{queries[m * width + h * D + d]} * double{key[h / 3 * D + d]} * scale;
            if (o.soft_cap != 0) score = double{o.soft_cap} * std::tanh(score / double{o.soft_cap});
            const double weight = std::exp(score);
            sum += weight;
            for (std::size_t d = 0; d < D; ++d) out[d] += weight * double{value[h / 3 * D + d]};
          }
          for (std::size_t d = 0; d < D; ++d) {
            ASSERT_NEAR(found[m * width + h * D + d], out[d] / sum, 5e-6) << "window " << o.window << " cap " << o.soft_cap << " row " << m;
          }
        }
      }
    }
  }
}

template <class T>
class AttentionOptionsOn : public TargetTest<T> {};
TYPED_TEST_SUITE(AttentionOptionsOn, TargetTypes, TargetNames);

TYPED_TEST(AttentionOptionsOn, EqualsScalarAndOneRowAtATime) {
  for (const KvType type : {KvType::f16, KvType::int8}) {
    const Pages pages({1, kv_heads, D, type}, 3);
    fill(pages.view);
    ThreadPool pool(3);
    for (const AttentionOptions& o : all_options()) {
      for (const std::size_t rows : {1u, 3u, 12u}) {
        const std::size_t first = stored - rows;
        const std::vector<float> expected = attend(Scalar::id, pages.view, rows, first, o, false);
        for (const bool has_scratch : {false, true}) {
          ASSERT_TRUE(same_bits(attend(TypeParam::id, pages.view, rows, first, o, has_scratch, pool), expected))
              << kv_type_name(type) << " window " << o.window << " cap " << o.soft_cap << " causal " << o.causal << " rows " << rows;
        }
      }
    }
  }
}

// Keys and values in pages that the caller owns give the same bits as those in a KvCache. Two texts may share a page.
TEST(KvView, PagesEqualACache) {
  for (const KvType type : kv_types) {
    const KvShape shape{1, kv_heads, D, type};
    const Pages pages(shape, 3), others(shape, 1);
    Result<KvCache> cache = KvCache::create(shape);
    ASSERT_TRUE(cache && cache->reserve(stored));
    fill(pages.view);
    fill(cache->view());
    const std::vector<float> expected = attend(active_target(), cache->view(), 2, stored - 2, {}, true);
    EXPECT_TRUE(same_bits(attend(active_target(), pages.view, 2, stored - 2, {}, true), expected)) << kv_type_name(type);
    std::byte* const mixed[] = {pages.table[0], others.table[0], pages.table[2]};  // a second text that shares its first and last page
    const KvView shared{shape, mixed};
    for (std::size_t p = 256; p < 512; ++p) ASSERT_TRUE(shared.store(0, p, noise_row(p, false).data(), noise_row(p, true).data()));
    EXPECT_TRUE(same_bits(attend(active_target(), shared, 2, stored - 2, {}, false), expected)) << kv_type_name(type);
  }
}

TEST(KvView, RefusesWhatCannotBe) {
  const Pages pages({1, kv_heads, D, KvType::f16}, 1);
  const std::vector<float> row(width);
  EXPECT_TRUE(pages.view.check());
  EXPECT_FALSE(pages.view.store(0, 256, row.data(), row.data()));
  EXPECT_FALSE(pages.view.store(1, 0, row.data(), row.data()));
  std::byte* const bad[] = {nullptr};
  EXPECT_FALSE((KvView{pages.view.shape, bad}.check()));
  std::byte* const odd[] = {pages.table[0] + 8};
  EXPECT_FALSE((KvView{pages.view.shape, odd}.check()));
  EXPECT_FALSE((KvView{{1, 1, 30, KvType::f16}, pages.table}.check()));
  std::vector<float> out(width);
  const auto refused = [&](const AttentionOptions& options, std::size_t first) {
    return !attention(Matrix(out.data(), 1, width), ConstMatrix(row.data(), 1, width), pages.view, 0, first, heads, nullptr, {}, {},
                      options);
  };
  EXPECT_TRUE(refused({}, 256));
  EXPECT_TRUE(refused({.causal = false, .window = 10}, 0));
  EXPECT_TRUE(refused({.scale = std::nanf("")}, 0));
  EXPECT_TRUE(refused({.soft_cap = -1.0f}, 0));
  EXPECT_FALSE(refused({.window = 10}, 0));
}

}  // namespace
