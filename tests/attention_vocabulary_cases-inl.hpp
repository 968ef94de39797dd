// SPDX-License-Identifier: Apache-2.0
//
// Runs every operation that generic/attention_chunk-inl.hpp is written against, and stores what each returns. The file is included
// inside the namespace and region (the part of a file that is compiled for the target) of a target's attention kernels, because only
// there the operations can be called. attention_vocabulary_test.cpp, which is compiled for every CPU, compares the results.

STILLA_INLINE void put_integers(std::int32_t* to, const Int& x) {
  static_assert(sizeof(Int) == 16 * sizeof(std::int32_t), "lanes lie side by side");
  std::memcpy(to, &x, sizeof x);
}
STILLA_INLINE Int integers_of(const std::int32_t* from) {
  Int x = set_s32(0);
  std::memcpy(static_cast<void*>(&x), from, sizeof x);
  return x;
}

STILLA_NOINLINE inline void run_float_operations(const stilla_test::AttentionNumbers& in, stilla_test::FloatResults& out) {
  const Float a = load_floats(in.a), b = load_floats(in.b), c = load_floats(in.c);
  store_floats(out.zero, zero());
  store_floats(out.set, set(in.a[5]));
  store_floats(out.add, add(a, b));
  store_floats(out.sub, sub(a, b));
  store_floats(out.mul, mul(a, b));
  store_floats(out.fused_multiply_add, fused_multiply_add(a, b, c));
  store_floats(out.higher, higher(a, b));
  store_floats(out.negated, negated(a));
  store_floats(out.reversed, reversed(a));
  store_floats(out.even_lanes_first, even_lanes_first(a));
  store_floats(out.alternating, alternating(in.a));
  store_alternating(out.store_alternating, a, b);
  store_floats(out.exponential, exponential(load_floats(in.not_positive)));
  for (std::size_t count = 0; count <= 16; ++count) {
    store_floats(out.first_lanes[count], first_lanes(a, count));
    store_floats(out.load16[count], load16(in.a, count));
    store_floats(out.store16[count], b);
    store16(a, out.store16[count], count);
  }
  store_floats(out.load_stored_f32, load_stored(in.a));
  store_floats(out.load_stored_f16, load_stored(in.f16s));
  store_floats(out.load_stored_bf16, load_stored(in.bf16s));
  out.highest_lane = highest_lane(load_floats(in.not_nan));
  out.sum_of_lanes = sum_of_lanes(a);
}

STILLA_NOINLINE inline void run_integer_operations(const stilla_test::AttentionNumbers& in, stilla_test::IntegerResults& out) {
  const Int a = integers_of(in.integers_a), b = integers_of(in.integers_b);
  put_integers(out.set_s32, set_s32(in.integers_a[3]));
  put_integers(out.add_s32, add_s32(a, b));
  put_integers(out.sub_s32, sub_s32(a, b));
  put_integers(out.max_s32, max_s32(a, b));
  put_integers(out.magnitude_bits, magnitude_bits(load_floats(in.a)));
  store_floats(out.to_floats, to_floats(a));
  put_integers(out.round_products, round_products(load_floats(in.small), set(in.scale)));
  out.highest_lane = highest_lane(a);
  out.sum_of_lanes = sum_of_lanes(a);
  unpack_codes(out.unpacked, in.codes);
}

// Stores HT rows of kv_chunk integers as RoundedRow, the type that holds rows for products. Then multiplies the first `length`
// integers of each row by TILES tiles of codes. The integers fit into 1 byte (BYTES == 1) or into 2.
template <std::size_t HT, std::size_t TILES, std::size_t BYTES>
STILLA_NOINLINE void run_products(const stilla_test::ProductNumbers& in, std::int32_t* out) {
  RoundedRow rows[HT];
  for (std::size_t h = 0; h < HT; ++h) {
    for (std::size_t at = 0; at < kv_chunk; at += 64) {
      Int four[4];
      for (std::size_t v = 0; v < 4; ++v) four[v] = integers_of(in.rows[h] + at + 16 * v);
      rows[h].store(at, four);
    }
  }
  const std::uintptr_t anywhere = reinterpret_cast<std::uintptr_t>(in.codes);
  Int products[HT][TILES];
  integer_products<HT, TILES, BYTES>(products, rows, in.codes, {anywhere, anywhere}, stilla_test::ProductNumbers::tile_bytes, in.length);
  for (std::size_t h = 0; h < HT; ++h) {
    for (std::size_t t = 0; t < TILES; ++t) put_integers(out + (h * TILES + t) * 16, products[h][t]);
  }
}

// Multiplies rows by tiles and stores the products in `out`, in the order [row][tile][lane]. The operation integer_products is
// called with the numbers of rows and tiles that the kernels of attention use: two tiles for rows of bytes (`bytes` == 1), which
// are queries, and one or two tiles for rows of 2 bytes, which are attention weights.
STILLA_NOINLINE inline void run_all_products(const stilla_test::ProductNumbers& in, std::size_t bytes, std::size_t tiles,
                                             std::int32_t* out) {
  if (bytes == 1) return run_products<max_key_queries, 2, 1>(in, out);
  if (tiles == 2) return run_products<max_value_queries, 2, 2>(in, out);
  run_products<max_value_queries, 1, 2>(in, out);
}

inline constexpr stilla_test::AttentionVocabulary vocabulary_of_attention{run_float_operations, run_integer_operations, run_all_products,
                                                                          max_key_queries, max_value_queries};
