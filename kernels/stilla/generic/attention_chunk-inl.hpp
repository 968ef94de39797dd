// SPDX-License-Identifier: Apache-2.0
//
// Computes the attention of up to 16 queries to one chunk (contract/attention.hpp), with any vectors of 16 lanes. A target includes
// this file inside its region and namespace. Before that it defines there:
//
//     Float, Int                   16 floats, 16 int32
//     max_queries, tiles_at_once  how many queries share a load of keys or values, and how many tiles of 16 keys or 16 dimensions
//                                  are computed at once. Both are chosen so that the sums fit the registers
//     max_key_queries, max_value_queries    the same for caches with integer elements: how many queries share a load of keys, and how many
//                                  share a load of values. Such keys and values are loaded for two tiles at once
//     zero set load_floats store_floats add sub mul fused_multiply_add to_floats    as in vocabulary-inl.hpp
//     higher(a, b)                 a > b ? a : b in each lane
//     first_lanes(x, count)        x with the lanes from `count` on set to 0
//     load16(from, count)  store16(x, to, count)    load or store the first `count` lanes; the other lanes are 0, or not stored
//     alternating(x)               x[0], x[1], x[0], x[1] ... in the lanes
//     store_alternating(to, a, b)  a[0], b[0], a[1], b[1] ...
//     even_lanes_first(x)          lanes 0 2 4 .. 14 1 3 5 .. 15
//     reversed(x)                  lanes in reverse order
//     negated(x)                   -x in each lane
//     exponential(x)               exp_approximate for x <= 0 or NaN
//     set_s32 add_s32 sub_s32 max_s32    operations on int32 lanes
//     magnitude_bits(Float)        the bit patterns of the lanes without their signs, as an Int
//     highest_lane sum_of_lanes    take a Float or an Int; the lanes of a Float are added in the order of fold_lanes (math.hpp)
//     round_products(x, scale)     round(x * scale), ties to even
//     load_stored(E*)              loads 16 elements and converts them to float
//     prefetch(std::uintptr_t)     asks for a cache line
//     prefetch_bytes               how far ahead elements other than KvInt8 are prefetched
//     unpack_codes(to, from)       unpacks 128 codes of KvInt5 to bytes as KvInt8 has them
//     RoundedRow                   a row of integers of 16 bits as integer_products() reads them; store(i, Int[4]) stores 64 of them
//     integer_products<HT, TILES, BYTES>  products of HT such rows with TILES tiles of codes. With BYTES == 1 the integers are
//                                  -127 to 127. The parameter `ahead` holds two addresses of data that is needed later. For every four
//                                  codes of a lane the function prefetches the next cache line at each of the two
//
// The queries of one KV head share every key and value that is loaded. First all scores are computed, for one or two tiles of keys at a
// time. Then the weights are computed, and last the sums of values, for 16 or 32 dimensions at a time. So a chunk comes from memory
// once for all queries. Tiles that are multiplied at a time stay in the first-level cache until all queries are multiplied by them.
//
// The chunks of a long text come from memory. The kernel prefetches, so that memory is never idle. With float elements nearly all
// time is spent on the products, so the products prefetch what lies prefetch_bytes ahead in keys and values. With KvInt8 the
// products take less than half of the time, so each of the four phases of a chunk prefetches what is used soon:
//
//     phase                    what it prefetches
//     1. bias of the keys      the second half of the keys
//     2. products of keys      the first half of the values
//     3. weights               the second half of the values
//     4. sums of values        the first half of the next chunk's keys; without a bias, and so without phase 1, all of them
//
// With KvInt5 the unpacking of codes prefetches what lies prefetch_bytes ahead.

#include <stilla/base/push_macros-inl.hpp>

// A job is a piece of work on queries: job.run<n>(first) does it for the n queries from query `first` on, and n is a constant of the
// compiled program. run_block() calls job.run<block>(first) for a `block` that is known only at run time, 1 to MOST. So run is compiled
// for each of these numbers.
template <std::size_t MOST, class Job>
STILLA_INLINE void run_block(const Job& job, std::size_t block, std::size_t first) {
  if (block == MOST) return job.template run<MOST>(first);
  if constexpr (MOST > 1) run_block<MOST - 1>(job, block, first);
}

// Does a job for n queries: calls job.run for blocks of neighbouring queries. The blocks have nearly equal sizes, of at most MOST
// queries.
template <std::size_t MOST = max_queries, class Job>
STILLA_INLINE void for_blocks_of_queries(const Job& job, std::size_t n) {
  for (std::size_t first = 0; first < n;) {
    const std::size_t blocks = (n - first + MOST - 1) / MOST;
    const std::size_t block = (n - first + blocks - 1) / blocks;
    run_block<MOST>(job, block, first);
    first += block;
  }
}

// Multiplies a row x[h] of each query h (the query itself, or coefficients of its key bias) by `tiles_at_once` tiles of 16 keys:
// out[h][tiles_at_once * 16 keys] = fma chain over i of x[h][i] * tiles[i][keys], for i = 0 .. length - 1.
template <class E, std::size_t AHEAD>
struct TileProducts {
  const float* x;
  std::size_t stride;      // from one query's row to the next
  std::size_t length;
  const E* tiles;  // [tiles_at_once][length][16]
  std::uintptr_t ahead;    // where to prefetch meanwhile, AHEAD bytes for each i
  float* out;              // [queries][kv_chunk], at the first key

  template <std::size_t HT>
  STILLA_INLINE void run(std::size_t first) const {
    Float sums[HT][tiles_at_once];
    for (std::size_t h = 0; h < HT; ++h) {
      for (std::size_t t = 0; t < tiles_at_once; ++t) sums[h][t] = zero();
    }
    const float* row = x + first * stride;
    for (std::size_t i = 0; i < length; ++i) {
      Float key[tiles_at_once];
      for (std::size_t t = 0; t < tiles_at_once; ++t) {
        key[t] = load_stored(tiles + (t * length + i) * key_tile);
      }
      for (std::size_t at = 0; at < AHEAD; at += 64) prefetch(ahead + i * AHEAD + at);
      STILLA_UNROLL
      for (std::size_t h = 0; h < HT; ++h) {
        const Float factor = set(row[h * stride + i]);
        STILLA_UNROLL
        for (std::size_t t = 0; t < tiles_at_once; ++t) sums[h][t] = fused_multiply_add(factor, key[t], sums[h][t]);
      }
    }
    for (std::size_t h = 0; h < HT; ++h) {
      for (std::size_t t = 0; t < tiles_at_once; ++t) store_floats(out + (first + h) * kv_chunk + t * key_tile, sums[h][t]);
    }
  }
};

// Adds up the values of `count` positions j, times each query's weights of these positions: for query h, out[h][TILES * 16 dimensions] =
// fma chain over j of weights[h][j] * values[j][dimension]. The chain starts from what is in `out` if `goes_on` is set, otherwise from 0.
template <class E, std::size_t TILES>
struct ValueSums {
  const float* weights;  // [queries][kv_chunk], at the first position
  std::size_t count;
  const E* values;       // at the first position and dimension
  std::uintptr_t ahead;  // where to prefetch meanwhile
  std::size_t D;
  float* out;            // [queries][D], at the first dimension
  bool goes_on;

  template <std::size_t HT>
  STILLA_INLINE void run(std::size_t first) const {
    Float sums[HT][TILES];
    for (std::size_t h = 0; h < HT; ++h) {
      for (std::size_t t = 0; t < TILES; ++t) sums[h][t] = goes_on ? load_floats(out + (first + h) * D + t * 16) : zero();
    }
    const float* row = weights + first * kv_chunk;
    for (std::size_t j = 0; j < count; ++j) {
      Float value[TILES];
      for (std::size_t t = 0; t < TILES; ++t) value[t] = load_stored(values + j * D + t * 16);
      constexpr std::size_t bytes = TILES * 16 * sizeof(E);
      for (std::size_t at = 0; at < bytes; at += 64) prefetch(ahead + j * bytes + at);
      STILLA_UNROLL
      for (std::size_t h = 0; h < HT; ++h) {
        const Float weight = set(row[h * kv_chunk + j]);
        STILLA_UNROLL
        for (std::size_t t = 0; t < TILES; ++t) sums[h][t] = fused_multiply_add(weight, value[t], sums[h][t]);
      }
    }
    for (std::size_t h = 0; h < HT; ++h) {
      for (std::size_t t = 0; t < TILES; ++t) store_floats(out + (first + h) * D + t * 16, sums[h][t]);
    }
  }
};

// Multiplies integers, for caches with integer elements. `rows` are the queries, or their attention weights, rounded to integers;
// `tiles` are codes of keys, or of values. A code is stored with 128 added. So each sum of products is too large by 128 times the sum
// of the row, and this number is subtracted. The results are passed as floats to store(query, tile, sums).
template <std::size_t TILES, std::size_t BYTES, class Store>
struct CodeProducts {
  const RoundedRow* rows;
  const std::int32_t* offsets;  // [queries], 128 * sum of the row
  const std::uint8_t* tiles;    // [TILES] of tile_bytes each
  std::uintptr_t ahead[2];      // where to prefetch meanwhile
  std::size_t tile_bytes;
  std::size_t length;           // a multiple of 4
  Store store;

  template <std::size_t HT>
  STILLA_INLINE void run(std::size_t first) const {
    Int sums[HT][TILES];
    integer_products<HT, TILES, BYTES>(sums, rows + first, tiles, ahead, tile_bytes, length);
    for (std::size_t h = 0; h < HT; ++h) {
      for (std::size_t t = 0; t < TILES; ++t) {
        store(first + h, t, to_floats(sub_s32(sums[h][t], set_s32(offsets[first + h]))));
      }
    }
  }
};

// CodeProducts passes the products of rounded queries and codes of keys to this object, which turns them into scores. It multiplies the
// products by the scales of both, adds what the key bias contributes, and stores the result. The contribution of the key bias already
// stands where the score is stored.
struct ScoresOfCodes {
  const float* units;   // [queries]
  const float* scales;  // of the keys
  float* scores;        // [queries][kv_chunk], at the first key
  bool has_bias;

  STILLA_INLINE void operator()(std::size_t h, std::size_t t, Float sums) const {
    float* at = scores + h * kv_chunk + t * key_tile;
    const Float scale = mul(set(units[h]), load_floats(scales + t * key_tile));
    store_floats(at, fused_multiply_add(sums, scale, has_bias ? load_floats(at) : zero()));
  }
};

// CodeProducts passes the products of rounded attention weights and codes of values to this object. The object multiplies the products
// of each query by the unit of the query's rounded weights (the number that their integer 1 stands for), and stores them as outputs.
struct OutOfCodes {
  const float* units;  // [queries]
  std::size_t D;
  float* out;          // [queries][D], at the first dimension

  STILLA_INLINE void operator()(std::size_t h, std::size_t t, Float sums) const {
    store_floats(out + h * D + t * 16, mul(sums, set(units[h])));
  }
};

// Rounds the n numbers at x, a query or its attention weights, to integers, as rounded() in contract/attention.hpp does, and stores them
// in `row`. n is a multiple of 16. `highest_bits` has bit patterns of magnitudes; the highest magnitude of all n numbers is in one of its
// lanes. `largest` is the integer that this magnitude becomes, 127 for a query and 32512 for weights. Returns the unit, the number that the
// integer 1 stands for; *offset becomes 128 * sum of the integers.
STILLA_INLINE float round_row(RoundedRow& row, std::int32_t* offset, const float* x, std::size_t n, Int highest_bits, float largest) {
  const std::int32_t bits = highest_lane(highest_bits);
  const float highest = std::bit_cast<float>(bits);
  const bool finite = bits < 0x7f800000;
  const bool usable = finite && highest >= stilla::detail::smallest_block;
  const Float inverse = set(usable ? largest / highest : 0.0f);
  Int sum = set_s32(0);
  for (std::size_t i = 0; i < n; i += 64) {
    Int rounded[4];
    for (std::size_t v = 0; v < 4; ++v) {
      const bool some = usable && i + 16 * v < n;
      rounded[v] = some ? round_products(load_floats(x + i + 16 * v), inverse) : set_s32(0);
      sum = add_s32(sum, rounded[v]);
    }
    row.store(i, rounded);
  }
  *offset = 128 * sum_of_lanes(sum);
  return usable ? highest / largest : finite ? 0.0f : std::numeric_limits<float>::quiet_NaN();
}

// What the key bias adds to the scores of a chunk comes from two fma chains, which contract/attention.hpp calls `even` and `odd`. An
// array of this type holds the coefficients of one of the two chains for each query: first those of the pairs that RoPE turns fast,
// then those of the polynomial that stands for all other pairs, the slow ones.
using Coefficients = float[attention_queries_at_once][max_head_dim / 2 + slow_terms];

// The key bias's pairs that RoPE turns slowly are replaced by one polynomial in the position (contract/attention.hpp). Computes the
// coefficients of this polynomial for each query and writes them to `even` and `odd`.
struct SlowCoefficients {
  const KeyBiasArgs& a;
  const float (*moved)[max_head_dim];  // A'[0], B'[0], A'[1], B'[1] ...
  Coefficients& even;
  Coefficients& odd;

  template <std::size_t HT>
  STILLA_INLINE void run(std::size_t first) const {
    Float sums[HT];
    for (std::size_t h = 0; h < HT; ++h) sums[h] = zero();
    for (std::size_t i = a.fast; i < a.pairs; ++i) {
      const Float row = load_floats(a.slow + (i - a.fast) * slow_terms);
      STILLA_UNROLL
      for (std::size_t h = 0; h < HT; ++h) sums[h] = fused_multiply_add(alternating(moved[first + h] + 2 * i), row, sums[h]);
    }
    for (std::size_t h = 0; h < HT; ++h) {
      alignas(64) float slow[slow_terms];
      store_floats(slow, even_lanes_first(sums[h]));
      slow[0] += a.constants[first + h];
      std::memcpy(even[first + h] + a.fast, slow, sizeof slow / 2);
      std::memcpy(odd[first + h] + a.fast, slow + slow_terms / 2, sizeof slow / 2);
    }
  }
};

// Computes what the key bias adds to the scores and writes it to `scores`, [queries][kv_chunk]. Meanwhile it prefetches memory from the
// address `ahead` on, 512 bytes for each of the half_terms terms of an fma chain (contract/attention.hpp).
inline STILLA_NOINLINE void key_bias_scores(float* scores, const KeyBiasArgs& a, std::size_t n_queries, std::uintptr_t ahead) {
  alignas(64) float moved[attention_queries_at_once][max_head_dim];
  alignas(64) Coefficients even;
  alignas(64) Coefficients odd;
  for (std::size_t h = 0; h < n_queries; ++h) {
    const float* query = a.queries + h * 2 * a.padded_pairs;
    for (std::size_t i = 0; i < a.padded_pairs; i += 16) {
      const Float q1 = load_floats(query + i), q2 = load_floats(query + a.padded_pairs + i);
      const Float b1 = load_floats(a.bias + i), b2 = load_floats(a.bias + a.padded_pairs + i);
      const Float cos = load_floats(a.middle_cos + i), sin = load_floats(a.middle_sin + i);
      const Float A = fused_multiply_add(q1, b1, mul(q2, b2));
      const Float B = fused_multiply_add(q2, b1, negated(mul(q1, b2)));
      const Float moved_A = fused_multiply_add(A, cos, mul(B, sin));
      const Float moved_B = fused_multiply_add(B, cos, negated(mul(A, sin)));
      store_floats(even[h] + i, moved_A);
      store_floats(odd[h] + i, moved_B);
      store_alternating(moved[h] + 2 * i, moved_A, moved_B);
    }
  }
  for_blocks_of_queries(SlowCoefficients{a, moved, even, odd}, n_queries);

  constexpr std::size_t half = kv_chunk / 2, ahead_bytes = 32 * tiles_at_once;
  for (std::size_t part = 0; part < kv_chunk; part += tiles_at_once * key_tile) {
    const Coefficients& coefficients = part < half ? even : odd;
    const float* tiles = a.table + part * a.half_terms;
    for_blocks_of_queries(
        TileProducts<float, ahead_bytes>{coefficients[0], std::size(coefficients[0]), a.half_terms, tiles, ahead, scores + part},
        n_queries);
    ahead += ahead_bytes * a.half_terms;
  }
  // Computes the key bias's part of the scores of each query for the positions of a chunk. At first the lower half of a query's row
  // holds even[r], and the upper half odd[r]. These are the two fma chains of contract/attention.hpp at the distances r = 0.5, 1.5, ...
  // from the chunk's middle. At the end the upper half must hold the sums even[r] + odd[r], in the order of r, and the lower half the
  // differences even[r] - odd[r], in reverse order. The work is done in place. So each step reads 16 numbers at the front and 16 at the
  // back of both halves. The sums go where odd[r] was. The differences at the front go to the back of the lower half, reversed, and
  // those at the back go to its front, reversed.
  for (std::size_t h = 0; h < n_queries; ++h) {
    float* row = scores + h * kv_chunk;
    for (std::size_t r = 0; r < half / 2; r += 16) {
      float* front = row + r;
      float* back = row + half - 16 - r;
      const Float front_even = load_floats(front), front_odd = load_floats(front + half);
      const Float back_even = load_floats(back), back_odd = load_floats(back + half);
      store_floats(front + half, add(front_even, front_odd));
      store_floats(back + half, add(back_even, back_odd));
      store_floats(back, reversed(sub(front_even, front_odd)));
      store_floats(front, reversed(sub(back_even, back_odd)));
    }
  }
}

// Returns the address that lies prefetch_bytes behind byte `offset` of this chunk of the cache. If that is past the chunk's end,
// returns the corresponding address in the next chunk. All addresses to prefetch are integers, because some of them may lie behind the
// memory of the chunks, where no pointer may point.
template <class E>
STILLA_INLINE std::uintptr_t ahead_of(const AttentionChunkArgs<E>& a, std::size_t offset) {
  const std::size_t bytes = KvLayout<E>::bytes(a.head_dim), ahead = offset + prefetch_bytes;
  return ahead < bytes ? reinterpret_cast<std::uintptr_t>(a.chunk) + ahead
                       : reinterpret_cast<std::uintptr_t>(a.next) + (ahead - bytes < bytes ? ahead - bytes : 0);
}

// Returns the address from which a step of the computation (scores, weights, sums of values) prefetches. With KvInt8 it lies `offset`
// bytes behind the beginning of this chunk. With other elements it is the beginning itself, which is in the cache already, so that the
// prefetch does nothing.
template <class E>
STILLA_INLINE std::uintptr_t soon(const AttentionChunkArgs<E>& a, std::size_t offset) {
  return reinterpret_cast<std::uintptr_t>(a.chunk) + (std::is_same_v<E, KvInt8> ? offset : 0);
}

// Returns the codes of some tiles of keys or values as bytes. Codes of 8 bits are not copied: the result points into the chunk. Codes
// of 5 bits are unpacked into `buffer`, and the result points there. The chunk's codes of keys or of values begin at byte `codes`. The
// first tile begins `place` codes behind that, the tiles are tile_bytes codes apart, and `count` codes of each are needed.
template <class E>
STILLA_INLINE const std::uint8_t* code_tiles(const AttentionChunkArgs<E>& a, std::size_t codes, std::size_t place,
                                             [[maybe_unused]] std::size_t tiles, [[maybe_unused]] std::size_t tile_bytes,
                                             [[maybe_unused]] std::size_t count, [[maybe_unused]] std::uint8_t* buffer) {
  if constexpr (E::bits == 8) {
    return reinterpret_cast<const std::uint8_t*>(a.chunk + codes + place);
  } else {
    for (std::size_t t = 0; t < tiles; ++t) {
      for (std::size_t i = 0; i < count; i += 128) {
        const std::size_t offset = codes + (place + t * tile_bytes + i) / 128 * 80;
        prefetch(ahead_of(a, offset));
        prefetch(ahead_of(a, offset + 64));
        unpack_codes(buffer + t * tile_bytes + i, reinterpret_cast<const std::uint8_t*>(a.chunk + offset));
      }
    }
    return buffer;
  }
}

// Computes the attention of the queries to one chunk of the cache, in three steps: scores, their weights, and the weighted sums of
// values. Each step leaves in memory what the next one reads.
template <class E>
struct ChunkSteps {
  static constexpr std::size_t max_rows = attention_queries_at_once;
  const AttentionChunkArgs<E>& a;
  const std::size_t D, n;
  const std::size_t half;  // bytes of half of the keys; half of the values takes as many
  alignas(64) float scores[max_rows * kv_chunk];  // [n][kv_chunk]; the second step turns them into weights
  // The next three arrays are used only where the cache has integer elements. `rows` holds first the queries and then the attention
  // weights, rounded to integers. `units` holds for each row the number that its integer 1 stands for. `offsets` holds for each row 128
  // times the sum of its integers.
  RoundedRow rows[IntegerKv<E> ? max_rows : 1];
  float units[IntegerKv<E> ? max_rows : 1];
  std::int32_t offsets[IntegerKv<E> ? max_rows : 1];
  alignas(64) std::uint8_t unpacked[std::is_same_v<E, KvInt5> ? 2 * 16 * kv_chunk : 1];

  // The constructor does not initialise the arrays of scores, rounded rows and unpacked codes: each is written before it is read.
  STILLA_INLINE explicit ChunkSteps(const AttentionChunkArgs<E>& args)
      : a(args), D(args.head_dim), n(args.n_queries), half((KvLayout<E>::bytes(D) - KvLayout<E>::values(D)) / 2) {}

  STILLA_INLINE void score_floats() {
    const E* keys = reinterpret_cast<const E*>(a.chunk);
    constexpr std::size_t bytes = tiles_at_once * key_tile * sizeof(E);
    for (std::size_t j = 0; j < a.count; j += tiles_at_once * key_tile) {
      const std::uintptr_t ahead = ahead_of(a, KvLayout<E>::keys + j * D * sizeof(E));
      for_blocks_of_queries(TileProducts<E, bytes>{a.queries, D, D, keys + j * D, ahead, scores + j}, n);
    }
  }

  STILLA_INLINE void score_codes() {
    const bool has_bias = a.key_bias.half_terms != 0;
    if (has_bias) key_bias_scores(scores, a.key_bias, n, soon(a, KvLayout<E>::keys + half));
    for (std::size_t h = 0; h < n; ++h) {
      const float* query = a.queries + h * D;
      Int highest_bits = set_s32(0);
      for (std::size_t i = 0; i < D; i += 16) highest_bits = max_s32(highest_bits, magnitude_bits(load_floats(query + i)));
      units[h] = round_row(rows[h], offsets + h, query, D, highest_bits, largest_query);
    }
    const float* scales = reinterpret_cast<const float*>(a.chunk + KvLayout<E>::key_scales);
    for (std::size_t j = 0; j < a.count; j += 2 * key_tile) {
      const std::uint8_t* keys = code_tiles<E>(a, KvLayout<E>::keys, j * D, 1, 0, 2 * key_tile * D, unpacked);
      const std::uintptr_t ahead = soon(a, KvLayout<E>::values(D) + j * D / 2);
      const ScoresOfCodes to{units, scales + j, scores + j, has_bias};
      for_blocks_of_queries<max_key_queries>(CodeProducts<2, 1, ScoresOfCodes>{rows, offsets, keys, {ahead, ahead}, key_tile * D, D, to},
                                             n);
    }
  }

  // Turns scores into weights e^(score - highest score), and stores each query's highest score and sum of weights. Scores behind the
  // last position become minus infinity, so their weights are 0. With integer elements the weights are multiplied by the scales of
  // the values, and are rounded.
  STILLA_INLINE void weigh() {
    [[maybe_unused]] std::uintptr_t values_ahead = soon(a, KvLayout<E>::values(D) + half);
    [[maybe_unused]] const std::uintptr_t values_end = soon(a, KvLayout<E>::bytes(D));
    [[maybe_unused]] const std::size_t steps = n * (kv_chunk / 16), bytes_at_once = (half / 64 + steps - 1) / steps * 64;
    const std::size_t padded = (a.count + 15) / 16 * 16;
    for (std::size_t h = 0; h < n; ++h) {
      float* row = scores + h * kv_chunk;
      if (a.begin != 0 || a.soft_cap != 0.0f) stilla::detail::limit_scores(row, a);
      for (std::size_t j = a.count; j < padded; ++j) row[j] = -std::numeric_limits<float>::infinity();
      Float highest = set(-std::numeric_limits<float>::infinity());
      for (std::size_t j = 0; j < padded; j += 16) highest = higher(load_floats(row + j), highest);
      a.max[h] = highest_lane(highest);
      const Float max = set(a.max[h]);
      Float sum = zero();
      [[maybe_unused]] Int highest_bits = set_s32(0);
      for (std::size_t j = 0; j < padded; j += 16) {
        Float e = exponential(sub(load_floats(row + j), max));
        sum = add(sum, e);
        if constexpr (IntegerKv<E>) {
          e = mul(e, load_floats(reinterpret_cast<const float*>(a.chunk + KvLayout<E>::value_scales) + j));
          if (a.count - j < 16) e = first_lanes(e, a.count - j);  // scales behind the end may be anything
          for (std::size_t at = 0; at < bytes_at_once && values_ahead < values_end; at += 64, values_ahead += 64) {
            prefetch(values_ahead);
          }
          highest_bits = max_s32(highest_bits, magnitude_bits(e));
        }
        store_floats(row + j, e);
      }
      a.sum[h] = sum_of_lanes(sum);
      if constexpr (IntegerKv<E>) units[h] = round_row(rows[h], offsets + h, row, padded, highest_bits, largest_weight);
    }
  }

  STILLA_INLINE void sum_floats() {
    const E* values = reinterpret_cast<const E*>(a.chunk + KvLayout<E>::values(D));
    constexpr std::size_t step = 16 * tiles_at_once;
    // The values of so many positions are added up for all dimensions, some dimensions at a time, before the next positions follow. The
    // number is small, so that memory is read from front to back, and all dimensions of these positions stay in the caches.
    constexpr std::size_t positions = 64;
    for (std::size_t j = 0; j < a.count; j += positions) {
      const std::size_t count = a.count - j < positions ? a.count - j : positions;
      for (std::size_t d = 0; d < D; d += step) {
        const E* from = values + j * D + d;
        const std::uintptr_t ahead = ahead_of(a, KvLayout<E>::values(D) + (j * D + d * count) * sizeof(E));
        if (d + step <= D) {
          for_blocks_of_queries(ValueSums<E, tiles_at_once>{scores + j, count, from, ahead, D, a.out + d, j != 0}, n);
        } else {
          for_blocks_of_queries(ValueSums<E, 1>{scores + j, count, from, ahead, D, a.out + d, j != 0}, n);
        }
      }
    }
  }

  STILLA_INLINE void sum_codes() {
    const std::size_t length = (a.count + 3) / 4 * 4;
    for (std::size_t d = 0; d < D; d += 32) {
      const std::size_t tiles = d + 32 <= D ? 2 : 1;
      const std::uint8_t* values = code_tiles<E>(a, KvLayout<E>::values(D), d * kv_chunk, tiles, 16 * kv_chunk, length * 16, unpacked);
      const std::uintptr_t next_keys = reinterpret_cast<std::uintptr_t>(a.next) + KvLayout<E>::keys;
      const std::uintptr_t first_half = E::bits == 8 ? next_keys + d * kv_chunk / 2 : soon(a, 0);
      const std::uintptr_t second_half = E::bits == 8 && a.key_bias.half_terms == 0 ? first_half + half : first_half;
      const OutOfCodes to{units, D, a.out + d};
      if (tiles == 2) {
        for_blocks_of_queries<max_value_queries>(
            CodeProducts<2, 2, OutOfCodes>{rows, offsets, values, {first_half, second_half}, 16 * kv_chunk, length, to}, n);
      } else {
        for_blocks_of_queries<max_value_queries>(
            CodeProducts<1, 2, OutOfCodes>{rows, offsets, values, {first_half, second_half}, 16 * kv_chunk, length, to}, n);
      }
    }
  }
};

template <class E>
STILLA_NOINLINE void attention_chunk(const AttentionChunkArgs<E>& a) {
  ChunkSteps<E> steps(a);
  if constexpr (IntegerKv<E>) {
    steps.score_codes();
    steps.weigh();
    steps.sum_codes();
  } else {
    steps.score_floats();
    steps.weigh();
    steps.sum_floats();
  }
}

// Attention results of n heads (sums of values, highest scores and sums of weights) exist for two parts of the cache: `into` and `part`.
// Merges them into `into`, as AttentionMerge in contract/attention.hpp says. D, the dimensions of a head, is a multiple of 16.
inline STILLA_NOINLINE void merge(AttentionParts into, AttentionParts part, std::size_t n, std::size_t D) {
  const Float max = load16(into.max, n), part_max = load16(part.max, n);
  const Float highest = higher(part_max, max);
  const Float a = exponential(sub(max, highest)), b = exponential(sub(part_max, highest));
  store16(highest, into.max, n);
  store16(fused_multiply_add(b, load16(part.sum, n), mul(a, load16(into.sum, n))), into.sum, n);
  alignas(64) float old_factors[16], new_factors[16];
  store_floats(old_factors, a);
  store_floats(new_factors, b);
  for (std::size_t h = 0; h < n; ++h) {
    const Float old_factor = set(old_factors[h]), new_factor = set(new_factors[h]);
    float* out = into.out + h * D;
    const float* added = part.out + h * D;
    for (std::size_t d = 0; d < D; d += 16) {
      store_floats(out + d, fused_multiply_add(new_factor, load_floats(added + d), mul(old_factor, load_floats(out + d))));
    }
  }
}

#include <stilla/base/pop_macros-inl.hpp>
