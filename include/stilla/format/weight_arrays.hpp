// SPDX-License-Identifier: Apache-2.0
//
// Takes weights as other quantisers store them, in separate arrays of codes, scales and zero points,
//
//     weight[n, k] = scale[n, g] * (code[n, k] - zero[n, g])            g = k / group
//
// and turns them into rows of the format that holds exactly these numbers. PackedMatrix::create then packs the rows:
//
//   stilla::WeightArrays w{.order = stilla::CodeOrder::awq, .rows = N, .cols = K, .group = 128, .codes = qweight, .scales = scales,
//                          .zero_points = qzeros};
//   const stilla::Result<stilla::FormatId> format = stilla::format_of(w);
//   std::vector<std::byte> rows(*stilla::encoded_bytes(*format, N, K));
//   if (stilla::Status s = stilla::rows_of_arrays(rows, w); !s) return s;
//   const auto packed = stilla::PackedMatrix::create(*format, rows.data(), N, K);
//
// The table says which format holds which arrays. "none (8)" means that no zero points are given, and that all of them are 8.
//
//     bits  group          zero points             format          bits per packed weight
//     4     32, 64         none (8)                q4_0            4.5
//     4     32, 64         for each group          q5_0            5.5     code - zero has 31 levels
//     4     128            none (8)                int4_g128       4.125
//     4     128            for each group          uint4_g128      5.125
//     4     0: whole row   none (8)                int4_channel    4
//     4     0: whole row   for each row            int8_channel    8
//     8     32, 64, 128    none                    q8_0            8.5
//     8     0: whole row   none                    int8_channel    8
//
// Nothing is rounded. Weights that no format holds are an error: for example 8-bit weights with zero points, or the scale of a
// group that is not exactly an f16.
//
// The arrays may be in three orders (CodeOrder). A word is 32 bits, which hold eight nibbles, the lowest bits first; the last
// index, [8 k] or [8 n], counts the nibbles of a word, which belong to eight neighbouring k or n:
//
//     rows    codes u8 [N][K / 2], the low nibble is the even k; int8 [N][K] with 8 bits. scales [N][K / group].
//             zero points u8 [N][K / group]
//     gptq    codes u32 [K / 8][N][8 k]; scales [K / group][N]; zero points u32 [K / group][N / 8][8 n]. In GPTQ files of the first
//             version each zero point is stored less one (zero_points_less_one)
//     awq     codes u32 [K][N / 8][8 n]; scales [K / group][N]; zero points u32 [K / group][N / 8][8 n]; a word's nibbles are
//             n = 0 2 4 6 1 3 5 7
//
// GPTQ files whose columns are in the order of activation sizes (their g_idx is not k / group) do not have this form. Sort the
// columns, and the inputs with them, before you use this header.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <type_traits>

#include <stilla/base/error.hpp>
#include <stilla/base/parallel.hpp>
#include <stilla/base/types.hpp>
#include <stilla/format/encode_rows.hpp>
#include <stilla/format/format.hpp>
#include <stilla/format/int4_g128.hpp>
#include <stilla/format/int_channel.hpp>
#include <stilla/format/q4_0.hpp>
#include <stilla/format/q5_0.hpp>
#include <stilla/format/q8_0.hpp>
#include <stilla/format/uint4_g128.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

enum class CodeOrder : std::uint8_t { rows, gptq, awq };
enum class ScaleType : std::uint8_t { f16, bf16, f32 };

// A description of arrays that the caller owns. The arrays may have any alignment.
struct WeightArrays {
  CodeOrder order = CodeOrder::rows;
  std::size_t rows = 0;     // N
  std::size_t cols = 0;     // K
  unsigned bits = 4;        // 4, or 8 in the order `rows`
  std::size_t group = 128;  // columns that share a scale: 32, 64, 128, or 0 for the whole row
  const void* codes = nullptr;
  ScaleType scale_type = ScaleType::f16;
  const void* scales = nullptr;
  const void* zero_points = nullptr;  // null: all are 8 with 4 bits, 0 with 8 bits
  bool zero_points_less_one = false;

  std::size_t groups() const { return group == 0 ? 1 : cols / group; }
  std::size_t group_of(std::size_t k) const { return group == 0 ? 0 : k / group; }

  int code(std::size_t n, std::size_t k) const {
    if (bits == 8) return at<std::int8_t>(codes, n * cols + k);
    switch (order) {
      case CodeOrder::rows: return at<std::uint8_t>(codes, (n * cols + k) / 2) >> (k % 2 * 4) & 15;
      case CodeOrder::gptq: return nibble(codes, k / 8 * rows + n, k % 8);
      case CodeOrder::awq: break;
    }
    return nibble(codes, (k * rows + n) / 8, awq_place(n));
  }
  int zero_point(std::size_t n, std::size_t g) const {
    if (zero_points == nullptr) return bits == 8 ? 0 : 8;
    int zero = 0;
    switch (order) {
      case CodeOrder::rows: zero = at<std::uint8_t>(zero_points, n * groups() + g); break;
      case CodeOrder::gptq: zero = nibble(zero_points, (g * rows + n) / 8, n % 8); break;
      case CodeOrder::awq: zero = nibble(zero_points, (g * rows + n) / 8, awq_place(n)); break;
    }
    return zero + (zero_points_less_one ? 1 : 0);
  }
  float scale(std::size_t n, std::size_t g) const {
    const std::size_t i = order == CodeOrder::rows ? n * groups() + g : g * rows + n;
    switch (scale_type) {
      case ScaleType::f16: return to_float(at<f16>(scales, i));
      case ScaleType::bf16: return to_float(at<bf16>(scales, i));
      case ScaleType::f32: break;
    }
    return at<float>(scales, i);
  }

 private:
  template <class T>
  static T at(const void* array, std::size_t i) {
    return load_as<T>(static_cast<const std::byte*>(array) + i * sizeof(T));
  }
  static int nibble(const void* words, std::size_t word, std::size_t place) {
    return static_cast<int>(at<std::uint32_t>(words, word) >> (place * 4) & 15u);
  }
  static std::size_t awq_place(std::size_t n) { return n % 8 / 2 + n % 2 * 4; }
};

// The format that holds the weights which `w` describes, if there is one and this program was compiled with it; an error otherwise.
// This function reads only the description, not the arrays.
inline Result<FormatId> format_of(const WeightArrays& w) {
  const auto refuse = [](const auto&... parts) { return Error{ErrorKind::bad_argument, concat("weight arrays: ", parts...)}; };
  if (w.group != 0 && w.group != 32 && w.group != 64 && w.group != 128) return refuse("groups of ", w.group, ", expected 32, 64, 128 or 0");
  const std::size_t unit = w.group == 0 ? 32 : w.group;
  if (w.cols % unit != 0) return refuse(w.cols, " columns are not a multiple of ", unit);
  if (w.bits != 4 && w.bits != 8) return refuse(w.bits, " bits, expected 4 or 8");
  if (w.bits == 8 && (w.order != CodeOrder::rows || w.zero_points != nullptr)) return refuse("8 bits are for rows without zero points");
  if (w.order != CodeOrder::rows && w.rows % 8 != 0) return refuse(w.rows, " rows are not a multiple of the 8 of a word");
  if (w.rows > std::numeric_limits<std::size_t>::max() / (w.cols == 0 ? 1 : w.cols))
    return refuse(w.rows, " x ", w.cols, " do not fit the address space");
  if (w.rows * w.cols != 0 && (w.codes == nullptr || w.scales == nullptr)) return refuse("no codes or no scales");
  const bool has_zeros = w.zero_points != nullptr;
  FormatId format = id_of<INT8_CHANNEL>;
  if (w.bits == 8) {
    if (w.group != 0) format = id_of<Q8_0>;
  } else if (w.group == 0) {
    if (!has_zeros) format = id_of<INT4_CHANNEL>;
  } else if (w.group == 128) {
    format = has_zeros ? id_of<UINT4_G128> : id_of<INT4_G128>;
  } else {
    format = has_zeros ? id_of<Q5_0> : id_of<Q4_0>;
  }
  if (!with_format(format, [](auto) {})) return detail::unknown_format(format);
  return format;
}

namespace detail {

// What row_of_arrays(), which writes one row of the arrays in format F, reports. If F cannot hold the numbers of a group, `what`
// says why and `group` says which group. Otherwise `what` is null and the row was written.
struct ArrayFault {
  const char* what = nullptr;
  std::size_t group = 0;
};

template <class F>
ArrayFault row_of_arrays(std::byte* row, const WeightArrays& w, std::size_t n) {
  for (std::size_t g = 0; g < w.groups(); ++g) {
    const float scale = w.scale(n, g);
    if (!std::isfinite(scale)) return {"is no number", g};
    if (!RowScaledFormat<F> && to_float(to_f16(scale)) != scale) return {"is no half, which the format has", g};
    const int zero = w.zero_point(n, g);
    if (std::is_same_v<F, UINT4_G128> && (zero < 0 || zero > 15)) return {"has a zero point outside of 0 to 15", g};
    if (w.bits == 4 && (zero < 0 || zero > 16)) return {"has a zero point outside of 0 to 16", g};
  }
  if constexpr (RowScaledFormat<F>) store_as(row, w.scale(n, 0));
  for (std::size_t k0 = 0; k0 < w.cols; k0 += F::block_weights) {
    std::byte* const block = row + row_head_bytes<F> + k0 / F::block_weights * F::block_bytes;
    const std::size_t g = w.group_of(k0);
    const int zero = w.zero_point(n, g);
    // The level of a weight is its code in the caller's array less the zero point there. The code that format F stores is the level
    // plus F's own zero point.
    const auto code_of = [&](std::size_t k) { return static_cast<unsigned>(w.code(n, k0 + k) - zero + F::zero_point); };
    if constexpr (!RowScaledFormat<F>) store_as(block, to_f16(w.scale(n, g)));
    if constexpr (std::is_same_v<F, UINT4_G128>) {
      block[2] = static_cast<std::byte>(zero);
      store_paired_nibbles(block + 3, F::block_weights, [&](std::size_t k) { return static_cast<unsigned>(w.code(n, k0 + k)); });
    } else if constexpr (std::is_same_v<F, Q8_0>) {
      for (std::size_t k = 0; k < F::block_weights; ++k) store_as(block + 2 + k, static_cast<std::int8_t>(code_of(k)));
    } else {
      F::store_codes(block, code_of);
    }
  }
  return {};
}

}  // namespace detail

// Writes the weights that `w` describes to `rows`, as rows of the format format_of(w). `rows` has as many bytes as encoded_bytes()
// says for this format. On an error the contents of `rows` are unspecified.
inline Status rows_of_arrays(std::span<std::byte> rows, const WeightArrays& w, Parallel parallel = {}) {
  const Result<FormatId> format = format_of(w);
  if (!format) return format.error();
  const Result<std::size_t> bytes = encoded_bytes(*format, w.rows, w.cols);
  if (!bytes) return bytes.error();
  if (rows.size() != *bytes) {
    return Error{ErrorKind::bad_argument, concat("weight arrays: ", rows.size(), " bytes for rows that take ", *bytes)};
  }
  AlignedBuffer<detail::ArrayFault> faults;
  if (!faults.resize(w.rows)) return out_of_memory("the check of weight arrays", w.rows * sizeof(detail::ArrayFault));
  for_each_type(TypeList<Q4_0, Q5_0, Q8_0, INT4_G128, UINT4_G128, INT4_CHANNEL, INT8_CHANNEL>{}, [&]<class F>(F) {
    if (id_of<F> != *format) return;
    parallel(w.rows, [&](std::size_t n) { faults[n] = detail::row_of_arrays<F>(rows.data() + n * row_bytes<F>(w.cols), w, n); });
  });
  for (std::size_t n = 0; n < w.rows; ++n) {
    if (faults[n].what == nullptr) continue;
    return Error{ErrorKind::bad_argument, concat("weight arrays: row ", n, ", group ", faults[n].group, ": scale ",
                                                 w.scale(n, faults[n].group), " ", faults[n].what)};
  }
  return success();
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
