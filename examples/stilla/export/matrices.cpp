// SPDX-License-Identifier: Apache-2.0
#include "matrices.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <span>

#include <stilla/base/aligned.hpp>
#include <stilla/base/matrix.hpp>
#include <stilla/format/encode_rows.hpp>
#include <stilla/format/encoding_error.hpp>

namespace program {
namespace {

using stilla::AlignedBuffer;
using stilla::Error;
using stilla::FormatId;
using stilla::GgufTensor;
using stilla::Parallel;
using stilla::Result;
using stilla::Status;

// A matrix is converted in pieces of whole rows. A piece has at most piece_weights weights, or is one row. As floats, so many weights
// take 16 MB.
constexpr std::size_t piece_weights = std::size_t{1} << 22;

std::size_t rows_of_piece(std::size_t N, std::size_t K) { return std::clamp<std::size_t>(piece_weights / K, 1, N); }

// Reads a tensor some rows at a time, in the format that is wanted.
class RowReader {
 public:
  RowReader(const SourceWeights& source, const GgufTensor& tensor, FormatId format)
      : source_(source), tensor_(tensor), format_(format), parallel_(source.parallel()), bytes_(source.file().tensor_bytes(tensor)),
        row_bytes_(bytes_.size() / static_cast<std::size_t>(tensor.rows())) {}

  // Returns rows n to n + count as blocks of the format that is wanted. They are valid until the next call.
  Result<std::span<const std::byte>> rows(std::size_t n, std::size_t count) {
    if (source_.changes(tensor_)) return changed_rows(n, count);
    const std::span<const std::byte> own = bytes_.subspan(n * row_bytes_, count * row_bytes_);
    if (format_ == tensor_.format) return own;
    const auto K = static_cast<std::size_t>(tensor_.columns());
    if (!floats_.resize(count * K)) return stilla::out_of_memory("requantising", count * K * sizeof(float));
    stilla::with_format(tensor_.format, [&]<class F>(F) {
      parallel_(count, [&](std::size_t i) { stilla::decode_row<F>(own.data() + i * row_bytes_, floats_.data() + i * K, K); });
    });
    const Result<std::size_t> bytes = stilla::encoded_bytes(format_, count, K);
    if (!bytes) return bytes.error();
    if (!blocks_.resize(*bytes)) return stilla::out_of_memory("requantising", *bytes);
    const std::span<std::byte> blocks(blocks_.data(), *bytes);
    const auto report = stilla::encode_rows(blocks, stilla::ConstMatrix(floats_.data(), count, K), format_, parallel_,
                                            source_.mean_squares(tensor_, format_));
    if (!report) return Error{report.error().kind, source_.file().tensor_error(tensor_, report.error().message).message};
    if (Status s = error_.add(format_, blocks.data(), stilla::ConstMatrix(floats_.data(), count, K), parallel_); !s) return s.error();
    return std::span<const std::byte>(blocks);
  }

  // Tells the operating system that the rows of the tensor before row `end` are not needed in memory any more.
  void drop(std::size_t end) const { source_.file().drop_tensor_pages(tensor_, end * row_bytes_); }

  double relative_rmse() const { return changed_ ? changed_->relative_rmse : error_.relative_rmse(); }

 private:
  // Returns rows of a tensor that is changed (rotated, or calibrated). All rows of the tensor are made at once, because a
  // change may mix them.
  Result<std::span<const std::byte>> changed_rows(std::size_t n, std::size_t count) {
    if (!changed_) {
      Result<SourceWeights::Encoded> encoded = source_.encoded(tensor_, format_);
      if (!encoded) return encoded.error();
      changed_ = std::move(*encoded);
    }
    const std::size_t bytes = changed_->blocks.size() / static_cast<std::size_t>(tensor_.rows());
    return std::span<const std::byte>(changed_->blocks.data() + n * bytes, count * bytes);
  }

  const SourceWeights& source_;
  const GgufTensor& tensor_;
  FormatId format_;
  Parallel parallel_;
  std::span<const std::byte> bytes_;
  std::size_t row_bytes_;
  AlignedBuffer<float> floats_;
  AlignedBuffer<std::byte> blocks_;
  std::optional<SourceWeights::Encoded> changed_;
  stilla::EncodingError error_;
};

// Returns the zero point of a group, -minimum / scale, or -1 if no integer of `bits` bits equals it exactly.
int zero_point(float scale, float minimum, unsigned bits) {
  if (scale == 0.0f) return minimum == 0.0f ? 0 : -1;
  const float zero = -minimum / scale;
  const float most = static_cast<float>((1u << bits) - 1);
  const bool is_exact = zero >= 0.0f && zero <= most && zero == std::floor(zero) && -zero * scale == minimum;
  return is_exact ? static_cast<int>(zero) : -1;
}

// Some rows of a matrix as integers: `count` rows of K weights in G groups.
struct Piece {
  AlignedBuffer<std::int8_t> levels;         // [count, K]
  AlignedBuffer<float> scales, minimums;     // [count, G]
  AlignedBuffer<float> row_scales;           // [count]
  AlignedBuffer<std::uint8_t> block_scales;  // [count, G]

  [[nodiscard]] bool read(const PlacedMatrix& m, std::span<const std::byte> blocks, std::size_t count, Parallel parallel) {
    const std::size_t K = m.columns, G = m.groups(), row_bytes = blocks.size() / count;
    if (!levels.resize(count * K) || !scales.resize(count * G) || !minimums.resize(count * G) || !row_scales.resize(count) ||
        !block_scales.resize(count * G)) {
      return false;
    }
    parallel(count, [&](std::size_t i) {
      read_integer_row(
          m.format, blocks.data() + i * row_bytes, K,
          {levels.data() + i * K, scales.data() + i * G, minimums.data() + i * G, row_scales.data() + i, block_scales.data() + i * G});
    });
    return true;
  }
};

// Returns the number of bytes that `count` integers of `bits` bits take.
std::size_t packed_size(std::size_t count, unsigned bits) { return (count * bits + 7) / 8; }

// Stores integer i of `bits` bits, modulo 2^bits, in ONNX's order: integers of 4 bits lie two in a byte, the first in the low
// bits. The caller sets `out` to zero before.
void store_integer(std::byte* out, std::size_t i, unsigned bits, int value) {
  if (bits == 4) {
    out[i / 2] |= static_cast<std::byte>((static_cast<unsigned>(value) & 15u) << (i % 2 * 4));
  } else {
    out[i] = static_cast<std::byte>(value);
  }
}
// Stores `count` integers of `bits` bits one after the other, each with `bias` added, which makes signed integers unsigned.
template <class Value>
void store_integers(std::byte* out, std::size_t count, unsigned bits, int bias, const Value& value) {
  for (std::size_t i = 0; i < count; ++i) store_integer(out, i, bits, value(i) + bias);
}

std::span<const std::byte> float_bytes(const AlignedBuffer<float>& values, std::size_t count) {
  return std::as_bytes(std::span(values.data(), count));
}

// Writes a matrix that is stored in rows, [N, K], some rows at a time.
class RowsWriter {
 public:
  RowsWriter(const PlacedMatrix& matrix, Offsets offsets, Parallel parallel)
      : m_(matrix), offsets_(offsets), parallel_(parallel),
        bias_(matrix.storage == Storage::biased_rows && offsets != Offsets::zero_points ? 1 << (matrix.form.bits - 1) : 0) {}

  Status write(stilla::AtomicFile& file, const Piece& piece, std::size_t n, std::size_t count) {
    const std::size_t K = m_.columns, G = m_.groups(), row = packed_size(K, m_.level_bits());
    if (!bytes_.resize(count * row)) return stilla::out_of_memory("exporting a matrix", count * row);
    parallel_(count, [&](std::size_t i) {
      std::byte* out = bytes_.data() + i * row;
      std::fill_n(out, row, std::byte{0});
      store_integers(out, K, m_.level_bits(), bias_, [&](std::size_t k) { return int{piece.levels[i * K + k]}; });
    });
    if (Status s = file.write(m_.levels.offset + n * row, {bytes_.data(), count * row}); !s) return s;
    if (Status s = file.write(m_.scales.offset + n * G * sizeof(float), float_bytes(piece.scales, count * G)); !s) return s;
    if (offsets_ == Offsets::minimums) {
      return file.write(m_.offsets.offset + n * G * sizeof(float), float_bytes(piece.minimums, count * G));
    }
    return offsets_ == Offsets::zero_points ? write_zero_points(file, piece, n, count) : stilla::success();
  }

 private:
  Status write_zero_points(stilla::AtomicFile& file, const Piece& piece, std::size_t n, std::size_t count) {
    const std::size_t G = m_.groups(), row = packed_size(G, m_.form.bits);
    std::vector<std::byte> bytes(count * row);
    for (std::size_t i = 0; i < count; ++i) {
      store_integers(bytes.data() + i * row, G, m_.form.bits, 0,
                     [&](std::size_t g) { return zero_point(piece.scales[i * G + g], piece.minimums[i * G + g], m_.form.bits); });
    }
    return file.write(m_.offsets.offset + n * row, bytes);
  }

  const PlacedMatrix& m_;
  Offsets offsets_;
  Parallel parallel_;
  int bias_;
  AlignedBuffer<std::byte> bytes_;
};

// Writes the transposed matrix, [K, N]. It collects the weights of all N rows before it writes. N is even if weights have 4 bits, so
// no byte holds weights of two different k.
class ColumnsWriter {
 public:
  ColumnsWriter(const PlacedMatrix& matrix, Offsets offsets, Parallel parallel)
      : m_(matrix), has_block_scales_(offsets == Offsets::block_scales), parallel_(parallel) {}

  Status add(const Piece& piece, std::size_t n, std::size_t count) {
    const std::size_t K = m_.columns, G = m_.groups(), N = m_.rows, row = packed_size(N, m_.form.bits);
    if (n == 0) {
      if (!bytes_.resize(K * row) || !scales_.resize(N * G) || !block_scales_.resize(N * G))
        return stilla::out_of_memory("exporting a matrix", K * row);
      bytes_.fill_zero();
    }
    parallel_(K, [&](std::size_t k) {
      for (std::size_t i = 0; i < count; ++i) {
        store_integer(bytes_.data() + k * row, n + i, m_.form.bits, piece.levels[i * K + k]);
      }
    });
    for (std::size_t i = 0; i < count; ++i) {
      for (std::size_t g = 0; g < G; ++g) {
        scales_[g * N + n + i] = piece.scales[i * G + g];
        block_scales_[g * N + n + i] = piece.block_scales[i * G + g];
      }
    }
    if (has_block_scales_) std::copy_n(piece.row_scales.data(), count, scales_.data() + n);
    return stilla::success();
  }

  Status write(stilla::AtomicFile& file) const {
    if (Status s = file.write(m_.levels.offset, {bytes_.data(), static_cast<std::size_t>(m_.levels.bytes)}); !s) return s;
    const std::size_t groups = m_.rows * m_.groups();
    if (Status s = file.write(m_.scales.offset, float_bytes(scales_, has_block_scales_ ? m_.rows : groups)); !s) return s;
    if (!has_block_scales_) return stilla::success();
    return file.write(m_.offsets.offset, std::as_bytes(std::span(block_scales_.data(), groups)));
  }

 private:
  const PlacedMatrix& m_;
  bool has_block_scales_;
  Parallel parallel_;
  AlignedBuffer<std::byte> bytes_;
  AlignedBuffer<float> scales_;
  AlignedBuffer<std::uint8_t> block_scales_;
};

// Copies a matrix from the model into the weight file.
Status write_matrix(stilla::AtomicFile& file, RowReader& reader, const PlacedMatrix& m, Offsets offsets, Parallel parallel) {
  Piece piece;
  RowsWriter rows(m, offsets, parallel);
  ColumnsWriter columns(m, offsets, parallel);
  const bool is_transposed = m.storage == Storage::signed_columns;
  const std::size_t step = rows_of_piece(m.rows, m.columns);
  for (std::size_t n = 0; n < m.rows; n += step) {
    const std::size_t count = std::min(step, m.rows - n);
    const Result<std::span<const std::byte>> blocks = reader.rows(n, count);
    if (!blocks) return blocks.error();
    if (!piece.read(m, *blocks, count, parallel)) return stilla::out_of_memory("exporting a matrix", count * m.columns);
    if (Status s = is_transposed ? columns.add(piece, n, count) : rows.write(file, piece, n, count); !s) return s;
    reader.drop(n + count);
  }
  return is_transposed ? columns.write(file) : stilla::success();
}

}  // namespace

Result<PlacedMatrix> Matrices::place(const GgufTensor& tensor, FormatId format, Storage storage, Offsets offsets) {
  const auto key = std::pair(std::string(tensor.name), storage);
  if (const auto found = placed_.find(key); found != placed_.end()) return found->second;
  const std::optional<IntegerForm> form = integer_form(format);
  PlacedMatrix m{static_cast<std::size_t>(tensor.rows()), static_cast<std::size_t>(tensor.columns()), format, {}, storage, {}, {}, {}};
  if (!form) return source_.file().tensor_error(tensor, stilla::format_name(format), " weights are floats, which have no integer form");
  if (const Result<std::size_t> bytes = stilla::encoded_bytes(format, m.rows, m.columns); !bytes) {
    return source_.file().tensor_error(tensor, bytes.error().message);
  }
  m.form = *form;
  if (storage == Storage::signed_columns && form->bits == 4 && m.rows % 2 != 0) {
    return source_.file().tensor_error(tensor, "found ", m.rows, " outputs; expected an even number, because two share a byte");
  }
  const std::uint64_t groups = std::uint64_t{m.rows} * m.groups();
  m.levels = weights_.reserve(std::uint64_t{m.rows} * packed_size(m.columns, m.level_bits()));
  m.scales = weights_.reserve((offsets == Offsets::block_scales ? m.rows : groups) * sizeof(float));
  if (offsets == Offsets::block_scales) m.offsets = weights_.reserve(groups);
  if (offsets == Offsets::minimums) m.offsets = weights_.reserve(groups * sizeof(float));
  if (offsets == Offsets::zero_points) m.offsets = weights_.reserve(m.rows * packed_size(m.groups(), form->bits));
  weights_.add_job([this, &tensor, m, offsets](stilla::AtomicFile& file, const WeightFile::Advance& advance) {
    RowReader reader(source_, tensor, m.format);
    if (Status s = write_matrix(file, reader, m, offsets, source_.parallel()); !s) return s;
    if (m.format != tensor.format || source_.changes(tensor)) {
      requantised_.push_back({std::string(tensor.name), tensor.format, m.format, reader.relative_rmse()});
    }
    return advance(m.levels.bytes + m.scales.bytes + m.offsets.bytes);
  });
  placed_.emplace(key, m);
  return m;
}

onnx::FilePlace Matrices::place_halves(const GgufTensor& tensor) {
  const std::string name(tensor.name);
  if (const auto found = halves_.find(name); found != halves_.end()) return found->second;
  const auto N = static_cast<std::size_t>(tensor.rows()), K = static_cast<std::size_t>(tensor.columns());
  const onnx::FilePlace place = weights_.reserve(std::uint64_t{N} * K * sizeof(stilla::f16));
  weights_.add_job([this, &tensor, place, N, K](stilla::AtomicFile& file, const WeightFile::Advance& advance) -> Status {
    RowReader reader(source_, tensor, stilla::id_of<stilla::F16>);
    const std::size_t step = rows_of_piece(N, K);
    for (std::size_t n = 0; n < N; n += step) {
      const std::size_t count = std::min(step, N - n);
      const Result<std::span<const std::byte>> halves = reader.rows(n, count);
      if (!halves) return halves.error();
      if (Status s = file.write(place.offset + n * K * sizeof(stilla::f16), *halves); !s) return s;
      reader.drop(n + count);
    }
    return advance(place.bytes);
  });
  halves_.emplace(name, place);
  return place;
}

onnx::FilePlace Matrices::place_zeros(std::uint64_t bytes) {
  if (const auto found = zeros_.find(bytes); found != zeros_.end()) return found->second;
  const onnx::FilePlace place = weights_.reserve(bytes);
  weights_.add_job([place](stilla::AtomicFile& file, const WeightFile::Advance& advance) -> Status {
    if (Status s = file.write(place.offset, std::vector<std::byte>(static_cast<std::size_t>(place.bytes))); !s) return s;
    return advance(place.bytes);
  });
  zeros_.emplace(bytes, place);
  return place;
}

onnx::FilePlace Matrices::place_hadamard(std::size_t n, onnx::ElementType type) {
  const auto key = std::pair(n, type);
  if (const auto found = hadamards_.find(key); found != hadamards_.end()) return found->second;
  const onnx::FilePlace place = weights_.reserve(onnx::tensor_bytes(type, {onnx::integer(n), onnx::integer(n)}));
  weights_.add_job([place, n, type](stilla::AtomicFile& file, const WeightFile::Advance& advance) -> Status {
    const auto is_negative = [](std::size_t i, std::size_t j) { return std::popcount(i & j) % 2 != 0; };
    const auto value = static_cast<float>(1.0 / std::sqrt(static_cast<double>(n)));
    const std::uint64_t row_bytes = place.bytes / n;
    for (std::size_t i = 0; i < n; ++i) {
      std::vector<std::byte> row(static_cast<std::size_t>(row_bytes));
      for (std::size_t j = 0; j < n; ++j) {
        if (type == onnx::ElementType::int8) {
          store_integer(row.data(), j, 8, is_negative(i, j) ? -hadamard_level : hadamard_level);
        } else {
          stilla::store_as(row.data() + j * sizeof(float), is_negative(i, j) ? -value : value);
        }
      }
      if (Status s = file.write(place.offset + i * row_bytes, row); !s) return s;
    }
    return advance(place.bytes);
  });
  hadamards_.emplace(key, place);
  return place;
}

bool Matrices::has_exact_zero_points(const GgufTensor& tensor) const {
  const std::optional<IntegerForm> form = integer_form(tensor.format);
  if (!form || !form->has_minimums) return false;
  const auto N = static_cast<std::size_t>(tensor.rows()), K = static_cast<std::size_t>(tensor.columns());
  const std::size_t G = K / form->group;
  const std::span<const std::byte> bytes = source_.file().tensor_bytes(tensor);
  std::vector<float> scales(G), minimums(G);
  for (std::size_t n = 0; n < N; ++n) {
    read_integer_row(tensor.format, bytes.data() + n * (bytes.size() / N), K, {nullptr, scales.data(), minimums.data()});
    for (std::size_t g = 0; g < G; ++g) {
      if (zero_point(scales[g], minimums[g], form->bits) < 0) return false;
    }
  }
  return true;
}

}  // namespace program
