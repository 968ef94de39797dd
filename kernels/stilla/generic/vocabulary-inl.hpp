// SPDX-License-Identifier: Apache-2.0
//
// This file describes the vocabulary: the vector types, constants and operations that panel_tile-inl.hpp is written against. A
// target's vector.hpp defines them in the target's namespace and region. tests/vocabulary_test.cpp checks every operation of
// every target against plain C++, value by value. All functions are STILLA_INLINE. A lane is 32 bits wide: it holds an int32, a
// float, or four bytes.
//
//   Int, Float                 vectors of `lanes` lanes; 16 is a multiple of lanes
//   largest_code               the largest code that dot_codes takes. If it is 255, dot_codes reads all codes as unsigned bytes. If it is
//                              less, dot_codes gets the codes as signed bytes in formats whose codes have a sign
//   Budget                     sizes that suit the target's registers and caches (described below)
//
//   load(from)  store(to, x)   load or store a vector of lanes * 4 bytes, at any alignment
//   broadcast4(from)           copies four bytes to each lane
//   copies                     how many copies of a number a sweep stores side by side. load_copies(at) returns a vector that has this
//                              number in each lane. `at` points to int32 or float. `copies` is 1, or `lanes` on targets where a broadcast
//                              costs an arithmetic instruction
//   store_copies(to, x)        stores `copies` copies of lane 0, then `copies` copies of lane 1, and so on
//   set_s32(i)  set_u8(i)      return a vector with the number i in each lane, or in each byte
//   first_of_pairs(p)          returns p[0], p[2], p[4] ... of the 2 * lanes int32 at p
//   second_of_pairs(p)         returns p[1], p[3], p[5] ... of them
//   load_s8_as_s16(from)       loads 2 * lanes signed bytes and widens each to 16 bits
//   load_u8_as_s32(from)       loads `lanes` unsigned bytes and widens each to 32 bits
//   bit_and bit_or bit_xor     combine two vectors bit by bit
//   shift_left<n>  shift_right<n>        shift each half of a lane, 16 bits; zeros come in. To shift bytes, the caller also
//                              masks the bits that cross from byte to byte
//   high_nibbles(x)            returns the upper four bits of each byte, as a number
//   add_s32  sub_s32           add or subtract lanes, modulo 2^32
//   shift_left_s32(x, n)  shift_left_s32<n>(x)  shift_right_s32<n>(x)     shift_right_s32 keeps the sign
//   table_of(sixteen)          a table of 16 bytes;  look_up(table, index) returns table[i] for each byte i of `index`, i = 0 .. 15
//   dot_codes<F>(acc, c, x)    acc + c0 x0 + c1 x1 + c2 x2 + c3 x3 in each lane: codes c of format F times signed bytes x, exact. If the
//                              codes are signed bytes, x must be above -128
//   quad(held, at, i)          a quad: the four signed bytes at `at` in every lane, as an x for dot_codes. It is the i-th of four quads
//                              that lie side by side, i = 0 .. 3, and the caller asks for i = 0 first. A target whose dot products take a
//                              lane of a register loads all 16 bytes at i = 0 and keeps them in `held`, a Quads. On other targets Quads is
//                              empty
//   dot_codes_at<F>(acc, c, held, at, i)   is dot_codes(acc, c, quad(held, at, i)). Its instruction may read the quad from memory itself
//   NarrowSums<F>              sums of products of codes of format F in 16-bit integers, two for each lane, for targets on which they are
//                              cheaper than dot_codes. NarrowSums<F>::quads is how many products of quads fit such a sum; where it is 1,
//                              there are no narrow sums, and the struct has nothing else. first(c, x) is the product of codes and a quad,
//                              add(sums, c, x) adds another one, widened(sums) adds the two sums of each lane and returns an Int
//   PairSums  no_pairs()  dot_pairs(sums, a, b)  added(sums)     sums of products of pairs of signed 16-bit integers. no_pairs() is all
//                              zeros, dot_pairs adds a0 b0 + a1 b1 in each lane, and added() has the sums as an Int
//   keep(x)                    returns x. The compiler must compute x at this place and hold it in a register
//   loads_stay()               no load moves past this call. It is needed where a compiler would otherwise load more values in advance than
//                              fit the registers
//   sums_stay(sums)            the vectors of this array are computed before the loads behind the next loads_stay(). A compiler may
//                              otherwise compute them later, and until then hold all that they are computed from
//
//   For packing (pack_panel-inl.hpp):
//   load_columns(rows, stride, column)   reads 16 bytes of each of `lanes` rows, which are `stride` bytes apart, and transposes them:
//                              column[i], i = 0 .. 3, has in each lane the bytes 4i .. 4i + 3 of the lane's row
//   store_low_bytes(to, x)  store_low_halves(to, x)   store the lowest 8, or 16, bits of each lane, side by side
//
//   zero()  set(f)  load_floats(from)  store_floats(to, x)    what set_s32, load and store do, for floats; zero() is set(0)
//   add sub mul                operations on floats, each rounded once, as IEEE 754 says
//   fused_multiply_add(a, b, c)          returns a * b + c, rounded once
//   to_floats(Int)             converts int32 to float, to nearest even;  as_floats(Int) and as_bits(Float) keep the bits
//   load_f16(from)  load_bf16(from)  load_s8(from)      load `lanes` numbers (f16, bf16 or signed bytes) and convert them to float
//   any_nan(x)  any_zero(x)    whether any lane is NaN, or 0
//   where_zero(x, yes, no)     lane by lane: yes where x is 0 or -0, else no
//   prefetch_near(at)  prefetch_far(at)  ask for a cache line in L1, or in L2; any address is allowed
//
// Budget:
//
//   few_tokens                 in the kernel for few tokens: how many tokens share the codes of a panel, which are unpacked in registers
//                              once for all of them; a power of two
//   few_panels                 how many panels are multiplied together and share the loads of a token; 1 if panels are multiplied one by
//                              one. few_panels_tokens: how many tokens such panels are multiplied by at a time
//   few_ahead(tokens)          how many bytes ahead of its use a panel is fetched into L1, with so many tokens
//   fewest_to_sweep            the smallest number of tokens for which panels are unpacked for a sweep
//   set_panels, sweep_rows, sweep_tokens(planes), chunk_k, sets   the sizes of a sweep over many tokens (panel_sweep-inl.hpp). chunk_k
//                              is a multiple of 32. `sets` sets are unpacked at once; each takes at least
//                              16 * set_panels * chunk_k bytes of stack. `planes` is 1 for activations of 8 bits and 2 for 16 bits;
//                              sweep_tokens(planes) is 2 to 24. With t = sweep_tokens(planes), fewest_to_sweep is at least
//                              (t - 1) * (t - 2): from this number on, any number of tokens is a sum of tiles of t and of t - 1 tokens
//   float_tokens, float_vectors          a tile with float weights (panels_float-inl.hpp) has float_tokens tokens, and its sums and weights
//                              take at most float_vectors registers. float_panels_of_one: the tile's panels if there is one token.
//                              float_chunk_k: how many columns are multiplied by all tokens before the next columns
//   minimum_vectors            for how many vectors of a tile the products of sub-minimums and sums are computed at a time;
//                              for all of them if the tile has fewer

#include <stilla/base/push_macros-inl.hpp>

static_assert(panel_rows % lanes == 0, "a panel is whole vectors");
static_assert(Budget::few_tokens != 0 && (Budget::few_tokens & (Budget::few_tokens - 1)) == 0);
static_assert(Budget::few_panels >= 1 && (Budget::few_panels_tokens & (Budget::few_panels_tokens - 1)) == 0);
static_assert(Budget::chunk_k % code_block == 0 && Budget::chunk_k >= sums_block);

#include <stilla/base/pop_macros-inl.hpp>
