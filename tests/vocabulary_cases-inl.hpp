// SPDX-License-Identifier: Apache-2.0
//
// Compares every operation of generic/vocabulary-inl.hpp with plain C++ on arrays. The file is included inside a target's
// namespace and region (the part of a file that is compiled for the target), because only there the operations can be called. It
// calls nothing of the standard library except memcpy and fma: a function that the compiler does not inline would stay in the
// program with this target's instructions.

// Returns the name of the first operation that is wrong on these numbers, or null.
// numbers: 64 int32 of any value.
// floats: 64 floats. Some are zeros and NaN; all others are at most 2^20 in magnitude.
// This function has more than 80 lines because it is a list of cases, one for each operation. All of them need its arrays, and a
// function that is not inlined would stay in the program (see above).
STILLA_NOINLINE inline const char* wrong_operation(const std::int32_t* numbers, const float* floats) {
  constexpr std::size_t n = lanes;
  std::int32_t a[n], b[n], c[n], got[n], want[n];
  float x[n], y[n], z[n], got_floats[n], want_floats[n];
  std::memcpy(a, numbers, sizeof a);
  std::memcpy(b, numbers + n, sizeof b);
  std::memcpy(c, numbers + 2 * n, sizeof c);
  std::memcpy(x, floats, sizeof x);
  std::memcpy(y, floats + n, sizeof y);
  std::memcpy(z, floats + 2 * n, sizeof z);
  const Int A = load(a), B = load(b), C = load(c);
  const Float X = load_floats(x), Y = load_floats(y), Z = load_floats(z);
  const auto wrap = [](std::uint32_t v) {
    std::int32_t r;
    std::memcpy(&r, &v, 4);
    return r;
  };
  const auto byte = [](const std::int32_t* v, std::size_t i) {
    std::uint8_t r;
    std::memcpy(&r, reinterpret_cast<const char*>(v) + i, 1);
    return r;
  };
  const auto half = [](const std::int32_t* v, std::size_t i) {
    std::int16_t r;
    std::memcpy(&r, reinterpret_cast<const char*>(v) + 2 * i, 2);
    return r;
  };
  const auto put = [](std::int32_t* v, std::size_t at, const void* from, std::size_t bytes) {
    std::memcpy(reinterpret_cast<char*>(v) + at, from, bytes);
  };
  const auto same = [&](Int result) {
    store(got, result);
    bool equal = true;
    for (std::size_t i = 0; i < n; ++i) equal = equal && got[i] == want[i];
    return equal;
  };
  const auto same_floats = [&](Float result) {  // a NaN equals any NaN
    store_floats(got_floats, result);
    bool equal = true;
    for (std::size_t i = 0; i < n; ++i) {
      std::uint32_t p, q;
      std::memcpy(&p, got_floats + i, 4);
      std::memcpy(&q, want_floats + i, 4);
      equal = equal && (p == q || (got_floats[i] != got_floats[i] && want_floats[i] != want_floats[i]));
    }
    return equal;
  };
#define EACH(expression) \
  for (std::size_t i = 0; i < n; ++i) want[i] = (expression)
#define EACH_FLOAT(expression) \
  for (std::size_t i = 0; i < n; ++i) want_floats[i] = (expression)
#define CHECK(result, name) \
  if (!same(result)) return name
#define CHECK_FLOATS(result, name) \
  if (!same_floats(result)) return name

  EACH(a[i]);
  CHECK(A, "load, store");
  CHECK(keep(A), "keep");
  EACH(numbers[0]);
  CHECK(set_s32(numbers[0]), "set_s32");
  CHECK(broadcast4(numbers), "broadcast4");
  EACH(byte(numbers, i));
  CHECK(load_u8_as_s32(reinterpret_cast<const std::byte*>(numbers)), "load_u8_as_s32");
  for (const int value : {0, 15, -128, 127, 255}) {
    const auto as_byte = static_cast<std::uint8_t>(value);
    for (std::size_t i = 0; i < 4 * n; ++i) put(want, i, &as_byte, 1);
    CHECK(set_u8(value), "set_u8");
  }
  std::int32_t copied[n * copies];
  store_copies(copied, A);
  for (std::size_t lane = 0; lane < n; ++lane) {
    EACH(a[lane]);
    CHECK(load_copies(copied + lane * copies), "store_copies, load_copies");
  }
  float copied_floats[n * copies];
  store_copies(copied_floats, X);
  for (std::size_t lane = 0; lane < n; ++lane) {
    EACH_FLOAT(x[lane]);
    CHECK_FLOATS(as_floats(load_copies(copied_floats + lane * copies)), "store_copies, load_copies of floats");
  }
  {  // rows that overlap and begin at an odd address
    const auto* rows = reinterpret_cast<const std::byte*>(numbers) + 1;
    constexpr std::size_t stride = 12;
    Int column[4];
    load_columns(rows, stride, column);
    for (std::size_t j = 0; j < 4; ++j) {
      for (std::size_t i = 0; i < n; ++i) std::memcpy(want + i, rows + i * stride + 4 * j, 4);
      CHECK(column[j], "load_columns");
    }
    EACH(a[i]);
    for (std::size_t i = 0; i < n; ++i) put(want, i, a + i, 1);
    store(got, A);
    store_low_bytes(reinterpret_cast<std::byte*>(got), A);
    CHECK(load(got), "store_low_bytes");
    EACH(a[i]);
    for (std::size_t i = 0; i < n; ++i) put(want, 2 * i, a + i, 2);
    store(got, A);
    store_low_halves(reinterpret_cast<std::byte*>(got), A);
    CHECK(load(got), "store_low_halves");
  }
  EACH(numbers[2 * i]);
  CHECK(first_of_pairs(numbers), "first_of_pairs");
  EACH(numbers[2 * i + 1]);
  CHECK(second_of_pairs(numbers), "second_of_pairs");
  for (std::size_t i = 0; i < 2 * n; ++i) {
    const auto wide = static_cast<std::int16_t>(static_cast<std::int8_t>(byte(a, i)));
    put(want, 2 * i, &wide, 2);
  }
  CHECK(load_s8_as_s16(reinterpret_cast<const std::byte*>(a)), "load_s8_as_s16");
  EACH(a[i] & b[i]);
  CHECK(bit_and(A, B), "bit_and");
  EACH(a[i] | b[i]);
  CHECK(bit_or(A, B), "bit_or");
  EACH(a[i] ^ b[i]);
  CHECK(bit_xor(A, B), "bit_xor");
#define SHIFTS(count)                                                                                 \
  for (std::size_t i = 0; i < 2 * n; ++i) {                                                           \
    const auto moved = static_cast<std::uint16_t>(static_cast<std::uint16_t>(half(a, i)) << (count)); \
    put(want, 2 * i, &moved, 2);                                                                      \
  }                                                                                                   \
  CHECK(shift_left<count>(A), "shift_left");                                                          \
  for (std::size_t i = 0; i < 2 * n; ++i) {                                                           \
    const auto moved = static_cast<std::uint16_t>(static_cast<std::uint16_t>(half(a, i)) >> (count)); \
    put(want, 2 * i, &moved, 2);                                                                      \
  }                                                                                                   \
  CHECK(shift_right<count>(A), "shift_right")
  SHIFTS(1);
  SHIFTS(2);
  SHIFTS(3);
  SHIFTS(4);
#undef SHIFTS
  for (std::size_t i = 0; i < 4 * n; ++i) {
    const auto nibble = static_cast<std::uint8_t>(byte(a, i) >> 4);
    put(want, i, &nibble, 1);
  }
  CHECK(high_nibbles(A), "high_nibbles");
  EACH(wrap(static_cast<std::uint32_t>(a[i]) + static_cast<std::uint32_t>(b[i])));
  CHECK(add_s32(A, B), "add_s32");
  EACH(wrap(static_cast<std::uint32_t>(a[i]) - static_cast<std::uint32_t>(b[i])));
  CHECK(sub_s32(A, B), "sub_s32");
  for (const int count : {0, 2, 14, 20, 26}) {
    EACH(wrap(static_cast<std::uint32_t>(a[i]) << count));
    CHECK(shift_left_s32(A, count), "shift_left_s32(x, n)");
  }
  EACH(wrap(static_cast<std::uint32_t>(a[i]) << 8));
  CHECK(shift_left_s32<8>(A), "shift_left_s32<8>");
  EACH(a[i] >> 26);
  CHECK(shift_right_s32<26>(A), "shift_right_s32<26>");
  EACH(a[i] >> 4);
  CHECK(shift_right_s32<4>(A), "shift_right_s32<4>");

  const auto* sixteen = reinterpret_cast<const std::int8_t*>(numbers + 20);
  for (std::size_t i = 0; i < 4 * n; ++i) put(want, i, sixteen + (byte(a, i) & 15), 1);
  CHECK(look_up(table_of(sixteen), bit_and(A, set_u8(15))), "table_of, look_up");

  // Tests dot products with codes of each kind that formats have. The largest sum comes from products of 8-bit codes and
  // activations of -128.
  std::int32_t codes[n], values[n];
  for (std::size_t kind = 0; kind < 3; ++kind) {
    const bool keeps_sign = largest_code < 255 && kind != 0;  // kind 0: 6 bits; 1: 8 bits; 2: 8 bits at their largest
    for (std::size_t i = 0; i < 4 * n; ++i) {
      const auto code = static_cast<std::uint8_t>(kind == 0 ? byte(b, i) & 63 : kind == 1 ? byte(b, i) : keeps_sign ? 0x80 : 0xff);
      auto value = static_cast<std::int8_t>(kind == 2 ? -128 : static_cast<std::int8_t>(byte(c, i)));
      if (keeps_sign && value == -128) value = -127;
      put(codes, i, &code, 1);
      put(values, i, &value, 1);
    }
    for (std::size_t i = 0; i < n; ++i) {
      std::int32_t sum = a[i] >> 8;
      for (std::size_t j = 4 * i; j < 4 * i + 4; ++j) {
        const int code = keeps_sign ? static_cast<std::int8_t>(byte(codes, j)) : byte(codes, j);
        sum += code * static_cast<std::int8_t>(byte(values, j));
      }
      want[i] = sum;
    }
    const Int acc = shift_right_s32<8>(A), code_vector = load(codes);
    CHECK(kind == 0 ? dot_codes<Q6_K>(acc, code_vector, load(values)) : dot_codes<Q8_0>(acc, code_vector, load(values)), "dot_codes");
    const auto* at = reinterpret_cast<const std::int8_t*>(values);
    Quads held, also_held;
    for (std::size_t q = 0; q < 4; ++q) {
      for (std::size_t i = 0; i < n; ++i) {
        std::int32_t sum = a[i] >> 8;
        for (std::size_t j = 0; j < 4; ++j) {
          const int code = keeps_sign ? static_cast<std::int8_t>(byte(codes, 4 * i + j)) : byte(codes, 4 * i + j);
          sum += code * at[4 * q + j];
        }
        want[i] = sum;
      }
      const auto four = quad(held, at + 4 * q, q);
      CHECK(kind == 0 ? dot_codes<Q6_K>(acc, code_vector, four) : dot_codes<Q8_0>(acc, code_vector, four), "quad");
      CHECK(kind == 0 ? dot_codes_at<Q6_K>(acc, code_vector, also_held, at + 4 * q, q)
                      : dot_codes_at<Q8_0>(acc, code_vector, also_held, at + 4 * q, q),
            "dot_codes_at");
    }
  }
  // Tests narrow sums of codes of 2, 4, 5 and 6 bits, if the target has them. Each sum gets as many quads of products as fit into
  // its 16 bits, but no more than 8. The codes are the largest and the activations are all -128 or all 127, or both are random.
  const auto narrow_sums_are_right = [&](auto format) {
    using F = decltype(format);
    using Sums = NarrowSums<F>;
    if constexpr (Sums::quads > 1) {
      constexpr auto max_code = static_cast<std::uint8_t>((1u << F::code_bits) - 1);
      for (std::size_t kind = 0; kind < 3; ++kind) {
        std::int64_t sums[n] = {};
        Int narrow = set_s32(0);
        for (std::size_t q = 0; q < (Sums::quads < 8 ? Sums::quads : 8); ++q) {
          for (std::size_t i = 0; i < 4 * n; ++i) {
            const auto code = kind == 2 ? static_cast<std::uint8_t>(byte(b, (i + q) % (4 * n)) & max_code) : max_code;
            const auto value = static_cast<std::int8_t>(kind == 0 ? -128 : kind == 1 ? 127 : byte(c, (i + 5 * q) % (4 * n)));
            put(codes, i, &code, 1);
            put(values, i, &value, 1);
            sums[i / 4] += code * value;
          }
          narrow = q == 0 ? Sums::first(load(codes), load(values)) : Sums::add(narrow, load(codes), load(values));
        }
        EACH(static_cast<std::int32_t>(sums[i]));
        if (!same(Sums::widened(narrow))) return false;
      }
    }
    return true;
  };
  if (!narrow_sums_are_right(Q2_K{}) || !narrow_sums_are_right(Q4_0{}) || !narrow_sums_are_right(Q5_0{}) ||
      !narrow_sums_are_right(Q6_K{})) {
    return "NarrowSums";
  }
  // Tests products of sub-minimums, which are at most 63 in magnitude, and sums of 16 bits.
  for (std::size_t i = 0; i < 2 * n; ++i) {
    const auto small = static_cast<std::int16_t>(half(b, i) % 64);
    put(codes, 2 * i, &small, 2);
  }
  EACH(half(codes, 2 * i) * half(c, 2 * i) + half(codes, 2 * i + 1) * half(c, 2 * i + 1));
  CHECK(added(dot_pairs(no_pairs(), load(codes), C)), "dot_pairs");
  EACH(want[i] + half(codes, 2 * i) * half(a, 2 * i) + half(codes, 2 * i + 1) * half(a, 2 * i + 1));
  CHECK(added(dot_pairs(dot_pairs(no_pairs(), load(codes), C), load(codes), A)), "two dot_pairs");

  EACH_FLOAT(x[i]);
  CHECK_FLOATS(X, "load_floats, store_floats");
  EACH_FLOAT(0.0f);
  CHECK_FLOATS(zero(), "zero");
  EACH_FLOAT(floats[3]);
  CHECK_FLOATS(set(floats[3]), "set");
  EACH_FLOAT(x[i] + y[i]);
  CHECK_FLOATS(add(X, Y), "add");
  EACH_FLOAT(x[i] - y[i]);
  CHECK_FLOATS(sub(X, Y), "sub");
  EACH_FLOAT(x[i] * y[i]);
  CHECK_FLOATS(mul(X, Y), "mul");
  EACH_FLOAT(std::fma(x[i], y[i], z[i]));
  CHECK_FLOATS(fused_multiply_add(X, Y, Z), "fused_multiply_add");
  EACH_FLOAT(static_cast<float>(a[i]));
  CHECK_FLOATS(to_floats(A), "to_floats");
  std::memcpy(want, x, sizeof want);
  CHECK(as_bits(X), "as_bits");
  CHECK(as_bits(as_floats(load(x))), "as_floats");
  for (std::size_t i = 0; i < n; ++i) want_floats[i] = to_float(f16{static_cast<std::uint16_t>(half(a, i))});
  CHECK_FLOATS(load_f16(reinterpret_cast<const std::byte*>(a)), "load_f16");
  for (std::size_t i = 0; i < n; ++i) want_floats[i] = to_float(bf16{static_cast<std::uint16_t>(half(a, i))});
  CHECK_FLOATS(load_bf16(reinterpret_cast<const std::byte*>(a)), "load_bf16");
  EACH_FLOAT(static_cast<float>(static_cast<std::int8_t>(byte(a, i))));
  CHECK_FLOATS(load_s8(reinterpret_cast<const std::byte*>(a)), "load_s8");
  bool nan = false, none = false;
  for (std::size_t i = 0; i < n; ++i) nan = nan || x[i] != x[i], none = none || x[i] == 0.0f;
  if (any_nan(X) != nan) return "any_nan";
  if (any_zero(X) != none) return "any_zero";
  EACH(x[i] == 0.0f ? a[i] : b[i]);
  CHECK(where_zero(X, A, B), "where_zero");
  prefetch_near(numbers);
  prefetch_far(nullptr);
#undef CHECK_FLOATS
#undef CHECK
#undef EACH_FLOAT
#undef EACH
  return nullptr;
}
