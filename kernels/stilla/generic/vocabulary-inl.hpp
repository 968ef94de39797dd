// SPDX-License-Identifier: Apache-2.0
//
// The vocabulary that panel_tile-inl.hpp is written against. A target's vector.hpp defines it in the target's namespace and
// region; tests/vocabulary_test.cpp checks every operation of every target against plain C++, value by value. Everything is
// STILLA_INLINE. A lane is 32 bits wide: an int32, a float, or four bytes.
//
//   Int, Float                 vectors of `lanes` lanes; 16 is a multiple of lanes
//   largest_code               how large codes may be in dot_codes: 255, all bytes are unsigned codes; less, and codes that have a
//                              sign keep it
//   Budget                     what fits the target's registers and caches (below)
//
//   load(from)  store(to, x)   lanes * 4 bytes, any alignment
//   broadcast4(from)           four bytes to each lane
//   set_s32(i)  set_u8(i)      one number to each lane, or to each byte
//   first_of_pairs(p)          p[0], p[2], p[4] ...         of 2 * lanes int32
//   second_of_pairs(p)         p[1], p[3], p[5] ...
//   load_s8_as_s16(from)       2 * lanes signed bytes, widened to 16 bits each
//   bit_and bit_or bit_xor     of all bits
//   shift_left<n>  shift_right<n>        of each 16 bits, zeros come in; what crosses a byte is masked by the caller
//   add_s32  sub_s32           modulo 2^32
//   shift_left_s32(x, n)  shift_left_s32<n>(x)  shift_right_s32<n>(x)     the last keeps the sign
//   table_of(sixteen)          16 bytes as a table;  look_up(table, index)  table[index] for each byte, index 0 .. 15
//   dot_codes<F>(acc, c, x)    acc + c0 x0 + c1 x1 + c2 x2 + c3 x3 in each lane: codes of format F by signed bytes, exact. Where
//                              codes keep their sign, x is above -128
//   dot_codes_at<F>(acc, c, at)      the same with the four bytes at `at` in every lane
//   dot_pairs(acc, a, b)       acc + a0 b0 + a1 b1 in each lane, of signed 16 bits
//   keep(x)                    x, which the compiler is to compute here and hold in a register
//
//   zero()  set(f)  load_floats(from)  store_floats(to, x)
//   add sub mul                rounded once, as IEEE 754 says
//   fused_multiply_add(a, b, c)          a * b + c, rounded once
//   to_floats(Int)             int32 to float, to nearest even;  as_floats(Int)  as_bits(Float)  the same bits
//   load_f16(from)  load_s8(from)        lanes halves, or signed bytes, to float
//   any_nan(x)  any_zero(x)    of any lane
//   where_zero(x, yes, no)     lane by lane: yes where x is 0 or -0, else no
//   prefetch_near(at)  prefetch_far(at)  asks for a cache line in L1, or in L2; any address
//
// Budget:
//
//   few_tokens                 tokens of one panel that share what is unpacked in registers; a power of two
//   few_panels                 panels that share the loads of a token, 1 for none; few_panels_tokens: how many tokens then
//   few_ahead(tokens)          bytes ahead of its use that a panel is fetched into L1, with so many tokens
//   set_panels, sweep_rows, sweep_tokens, chunk_k, sets   of a sweep over many tokens (panel_sweep-inl.hpp). chunk_k is a multiple of
//                              32; `sets` sets are unpacked at once, lanes * 4 * chunk_k bytes or more of stack for each

static_assert(panel_rows % lanes == 0, "a panel is whole vectors");
static_assert(Budget::few_tokens != 0 && (Budget::few_tokens & (Budget::few_tokens - 1)) == 0);
static_assert(Budget::few_panels >= 1 && (Budget::few_panels_tokens & (Budget::few_panels_tokens - 1)) == 0);
static_assert(Budget::chunk_k % code_block == 0 && Budget::chunk_k >= sums_block);
