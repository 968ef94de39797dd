// SPDX-License-Identifier: Apache-2.0
//
// A packed file is a GGUF file whose matrices are stored as the kernels read them, so that a model can start by mapping the file.
// It contains everything of the original (metadata, vocabulary, all tensors) and needs no other file. The original may be a GGUF
// file, all parts of a split one, or a Hugging Face folder.
//
//     | GGUF header                                           | pad | tensor | pad | tensor | ...
//     | own keys, the original's keys, the tensor records     | each at a multiple of 4096 bytes, in the original's order
//
//   The packed file's own keys are the first in the file. Their types and contents are:
//     stilla.packed.checksum           u64    XXH64 of the header up to the first tensor, without these 8 bytes
//     stilla.packed.layout             u32    packed_layout_version (layout/rows16_k4.hpp); any other is refused
//     stilla.packed.source             u64    source_identity() of the original
//     stilla.packed.tensor_checksums   u64[]  XXH64 of the bytes of every tensor, in the order of the records
//     general.alignment                u32    4096
//     stilla.packed.rotation           string the rotations that the weights contain, if there are any (model/rotation.hpp)
//     stilla.packed.calibration        string the text by which the codes were chosen, if they were (model/calibration.hpp)
//     stilla.packed.importance         string the importance matrix by which the scales were chosen, if they were (imatrix.hpp)
//   The record of a packed matrix has the shape of the original and, as its type, the type number | 0x80000000. The matrix itself
//   takes packed_bytes(type, N, K) bytes.
//
// Matrices are packed if kernels can multiply their format. If another format is asked for, the matrices of the layers are
// requantised to it first, and a head of floats is requantised to q8_0 (requantised_format in model_source.hpp). These tensors are
// stored as they were: vectors, tensors whose format no kernel can multiply, and the embedding of a model that has a head of its own,
// because this embedding is read by rows.
//
// Opening a GGUF file opens a packed file too: gguf_parser.hpp checks it like any other file, then its layout and the checksum of
// its header. The checksums of the tensors are used only by verify_packed_file(), because reading everything would take the time
// that packing in advance saves. Programs that do not know packed files refuse the unknown type numbers.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <stilla/base/aligned.hpp>
#include <stilla/base/error.hpp>
#include <stilla/base/matrix.hpp>
#include <stilla/base/parallel.hpp>
#include <stilla/format/encode_rows.hpp>
#include <stilla/format/encoding_error.hpp>
#include <stilla/format/format.hpp>
#include <stilla/io/atomic_file.hpp>
#include <stilla/io/checked.hpp>
#include <stilla/io/checksum.hpp>
#include <stilla/io/gguf.hpp>
#include <stilla/io/imatrix.hpp>
#include <stilla/io/unwritten_tail.hpp>
#include <stilla/pack.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// A function that is called during packing with the number of bytes done and the number of all bytes, on the thread that called the
// packing function. If it returns false, the packing ends.
using PackProgress = std::function<bool(std::uint64_t, std::uint64_t)>;

// A change that is made to the weights while they are written to a packed file.
class TensorChange {
 public:
  virtual ~TensorChange() = default;
  // Returns the keys that say in the packed file what was changed, each with its value, a text.
  virtual std::vector<std::pair<std::string_view, std::string>> keys() const = 0;
  virtual bool changes(const TensorInfo& tensor) const = 0;
  // Changes the values of a tensor. `values` is the whole tensor, decoded, with its rows and columns.
  virtual Status apply(const TensorInfo& tensor, Matrix values, Parallel parallel) const = 0;
  // Encodes the changed values in `format` into `blocks`, which has encoded_bytes(format, rows, columns) bytes.
  virtual Status encode(const TensorInfo&, std::span<std::byte> blocks, ConstMatrix values, FormatId format, Parallel parallel) const {
    const Result<EncodingReport> report = encode_rows(blocks, values, format, parallel);
    return report ? success() : Status(report.error());
  }
};

// Decodes a whole tensor, applies `change` to it, and leaves the result in `values`: floats, with the rows and columns of the
// tensor. The function resizes `values`.
inline Status changed_values(const ModelSource& source, const TensorInfo& tensor, const TensorChange& change, AlignedBuffer<float>& values,
                             Parallel parallel) {
  const auto N = static_cast<std::size_t>(tensor.rows()), K = static_cast<std::size_t>(tensor.columns());
  if (!values.resize(N * K)) return out_of_memory("the values of a tensor to change", N * K * sizeof(float));
  const std::byte* const bytes = source.tensor_bytes(tensor).data();
  const Matrix rows(values.data(), N, K);
  with_format(tensor.format, [&](auto tag) {
    using F = decltype(tag);
    parallel(N, [&](std::size_t n) { decode_row<F>(bytes + n * row_bytes<F>(K), rows.row(n), K); });
  });
  return change.apply(tensor, rows, parallel);
}

// Options of packing: how the contents of the source are changed for the packed file.
struct PackOptions {
  std::optional<FormatId> format = std::nullopt;  // the format to which the layers are requantised
  const TensorChange* change = nullptr;
  // The importance matrix for the matrices that are requantised. It cannot be combined with `change`, because a change may change
  // the inputs of a matrix too.
  const Imatrix* imatrix = nullptr;
  // The function on_encoded is called for every matrix that was encoded, with its error (format/encoding_error.hpp). The encoded
  // matrix is compared with the values of the source, or with the changed values if `change` modifies it. If on_encoded is null, the
  // error is not computed.
  std::function<void(const TensorInfo& tensor, FormatId format, double relative_rmse)> on_encoded = {};
};

namespace detail {

inline std::vector<std::pair<std::string_view, std::string>> keys_of(const PackOptions& options) {
  auto all = options.change == nullptr ? std::vector<std::pair<std::string_view, std::string>>() : options.change->keys();
  if (options.imatrix != nullptr) all.emplace_back(packed_importance_key, options.imatrix->identity());
  return all;
}

// Begins the checksum that source_identity() returns, with the source's size and its metadata. The caller then adds the bytes of all
// tensors, in the order of the source.
inline Checksum begun_identity(const ModelSource& source, const GgufRecords& metadata) {
  const std::uint64_t size = source.size_bytes();
  Checksum sum;
  sum.add(std::as_bytes(std::span(&size, 1)));
  sum.add(std::as_bytes(std::span(metadata.bytes)));
  return sum;
}

}  // namespace detail

// A number that tells whether a file was packed from this source: the checksum of the source's size, metadata and tensors. Computing
// it reads the whole source, and releases the source's pages from memory.
inline Result<std::uint64_t> source_identity(const ModelSource& source) {
  const Result<GgufRecords> metadata = source.metadata_records();
  if (!metadata) return metadata.error();
  Checksum sum = detail::begun_identity(source, *metadata);
  for (std::size_t i = 0; i < source.tensor_count(); ++i) {
    const std::span<const std::byte> bytes = source.tensor_bytes(source.tensor(i));
    for (std::size_t at = 0; at < bytes.size(); at += piece_bytes) {
      const std::size_t end = std::min(at + piece_bytes, bytes.size());
      sum.add(bytes.subspan(at, end - at));
      source.drop_tensor_pages(source.tensor(i), end);
    }
  }
  return sum.value();
}

// Returns the format that a tensor has in a packed file. Vectors (norms and biases) become floats if options.change, for example a
// rotation, alters their values.
inline FormatId packed_format(const ModelSource& source, const TensorInfo& tensor, const PackOptions& options) {
  const bool is_changed_vector = options.change != nullptr && !tensor.is_matrix() && options.change->changes(tensor);
  return is_changed_vector ? format_id("f32") : requantised_format(source, tensor, options.format);
}

// True if `packed` was packed from exactly the bytes of `source` and with `options`.
inline bool is_packed_from(const GgufFile& packed, const ModelSource& source, const PackOptions& options = {}) {
  if (!packed.is_packed() || source.is_packed()) return false;
  for (const std::string_view key : {packed_rotation_key, packed_calibration_key, packed_importance_key}) {
    std::string expected;
    for (const auto& [name, text] : detail::keys_of(options)) {
      if (name == key) expected = text;
    }
    const Result<std::string_view> found = packed.get_string_or(key, "");
    if (!found || *found != expected) return false;
  }
  for (std::size_t i = 0; i < source.tensor_count(); ++i) {
    const TensorInfo& tensor = source.tensor(i);
    const GgufTensor* found = packed.find_tensor(tensor.name);
    if (found == nullptr) return false;
    const FormatId expected = packed_format(source, tensor, options);
    if (found->format != expected || (expected == no_format && found->type != source.foreign_type_number(tensor))) return false;
  }
  const Result<std::uint64_t> found = packed.get_uint(packed_source_key), expected = source_identity(source);
  return found && expected && *found == *expected;
}

// True if these bytes begin like a packed file of any layout. The file may be damaged.
inline bool begins_as_packed_file(std::span<const std::byte> bytes) {
  // The name of the first key stands behind magic, version, two counts and the length of the name.
  constexpr std::size_t name_offset = 4 + 4 + 8 + 8 + 8;
  if (bytes.size() < name_offset + packed_checksum_key.size()) return false;
  const auto text = [&](std::size_t at, std::size_t count) {
    return std::string_view(reinterpret_cast<const char*>(bytes.data() + at), count);
  };
  return text(0, 4) == "GGUF" && text(name_offset, packed_checksum_key.size()) == packed_checksum_key;
}

namespace detail {

class PackedFileWriter {
 public:
  PackedFileWriter(const ModelSource& source, const PackOptions& options) : source_(source), options_(options) {}

  // Decides on everything in the packed file except the contents of the tensors. It must be called before write(). Returns the
  // number of bytes of the future file.
  Result<std::uint64_t> plan() {
    if (source_.tensor_count() == 0) return refuse("there are no tensors to pack");
    if (source_.is_packed()) return refuse("is packed already");
    if (options_.change != nullptr && options_.imatrix != nullptr) return refuse("an importance matrix cannot be used for changed weights");
    if (Status s = check_written_to_the_end(source_); !s) return s.error();
    if (Status s = place(); !s) return s.error();
    Result<GgufRecords> metadata = source_.metadata_records();
    if (!metadata) return metadata.error();
    metadata_ = std::move(*metadata);
    if (Status s = build_header(); !s) return s.error();
    std::uint64_t bytes = 0;
    if (!checked_add(header_.size(), tensors_.back().offset, bytes) || !checked_add(bytes, tensors_.back().bytes, bytes)) {
      return source_.tensor_error(*tensors_.back().tensor, "the packed file's size does not fit in 64 bits");
    }
    return bytes;
  }

  Status write(AtomicFile& out, Parallel parallel, const PackProgress& progress) {
    identity_ = begun_identity(source_, metadata_);
    const Job job{out, parallel, progress};
    for (const Placed& placed : tensors_) {
      const bool is_changed = options_.change != nullptr && options_.change->changes(*placed.tensor);
      if (Status s = is_changed ? write_changed(job, placed) : placed.is_packed ? write_matrix(job, placed) : write_rows(job, placed); !s) {
        return s;
      }
    }
    return write_header(out);
  }

 private:
  struct Job {
    AtomicFile& out;
    Parallel parallel;
    const PackProgress& progress;
  };

  struct Placed {
    const TensorInfo* tensor;
    bool is_packed;
    FormatId format;  // in the packed file
    std::uint64_t offset;  // from the start of the tensor data
    std::uint64_t bytes;
  };

  template <class... Parts>
  Error refuse(const Parts&... parts) const {
    return {ErrorKind::bad_argument, concat(printable_path(source_.path()), ": ", parts...)};
  }

  bool is_to_be_packed(const TensorInfo& tensor) const {
    const bool is_read_by_rows = tensor.name == "token_embd.weight" && source_.find_tensor("output.weight") != nullptr;
    return tensor.is_matrix() && !is_read_by_rows && tensor.format != no_format;
  }

  // Decides where in the packed file every tensor goes. A matrix with few rows is padded to a panel of 16 rows. A packed file can
  // therefore be much larger than its source, and its size is checked for overflow.
  Status place() {
    std::uint64_t offset = 0;
    for (std::size_t i = 0; i < source_.tensor_count(); ++i) {
      const TensorInfo& tensor = source_.tensor(i);
      Placed placed{&tensor, is_to_be_packed(tensor), packed_format(source_, tensor, options_), offset, tensor.size_bytes};
      if (placed.format != tensor.format && !placed.is_packed) {
        placed.bytes = tensor.columns() * sizeof(float);  // a changed vector
      } else if (placed.is_packed) {
        const Result<std::size_t> bytes = packed_bytes(placed.format, tensor.rows(), tensor.columns());
        if (!bytes) return source_.tensor_error(tensor, bytes.error().message);
        placed.bytes = *bytes;
      }
      if (!checked_add(offset, placed.bytes, offset) || !checked_align_up(offset, packed_alignment, offset)) {
        return source_.tensor_error(tensor, "the packed file's size does not fit in 64 bits");
      }
      total_ += placed.bytes;
      tensors_.push_back(placed);
    }
    return success();
  }

  // Builds the part of the packed file that stands before the tensors. The checksums and the identity of the source in it are still
  // zero.
  Status build_header() {
    GgufRecords own;
    own.begin(packed_checksum_key, GgufValueType::uint64);
    checksum_offset_ = own.bytes.size();
    own.add(std::uint64_t{0});
    own.number(packed_layout_key, packed_layout_version);
    own.begin(packed_source_key, GgufValueType::uint64);
    identity_offset_ = own.bytes.size();
    own.add(std::uint64_t{0});
    own.begin_array(packed_tensor_checksums_key, GgufValueType::uint64, tensors_.size());
    tensor_checksums_offset_ = own.bytes.size();
    for (std::size_t i = 0; i < tensors_.size(); ++i) own.add(std::uint64_t{0});
    own.number("general.alignment", static_cast<std::uint32_t>(packed_alignment));
    for (const auto& [name, text] : keys_of(options_)) own.text(name, text);

    GgufRecords out;
    out.bytes = "GGUF";
    out.add(std::uint32_t{3});
    out.add(std::uint64_t{tensors_.size()});
    out.add(own.count + metadata_.count);
    for (std::size_t* offset : {&checksum_offset_, &identity_offset_, &tensor_checksums_offset_}) *offset += out.bytes.size();
    out.bytes += own.bytes;
    out.bytes += metadata_.bytes;
    for (const Placed& placed : tensors_) {
      const TensorInfo& tensor = *placed.tensor;
      std::optional<std::uint32_t> type = gguf_type_of(placed.format);
      if (!type) type = source_.foreign_type_number(tensor);
      if (!type) return source_.tensor_error(tensor, source_.type_text(tensor), " has no place in a packed file");
      out.add_text(tensor.name);
      out.add(tensor.n_dims);
      for (std::uint32_t d = 0; d < tensor.n_dims; ++d) out.add(tensor.dims[d]);
      out.add(*type | (placed.is_packed ? packed_type_flag : 0));
      out.add(placed.offset);
    }
    header_ = std::move(out.bytes);
    header_.resize((header_.size() + packed_alignment - 1) / packed_alignment * packed_alignment);
    return success();
  }

  // Writes the next piece of a tensor into the file, at byte `at` of the packed tensor, and adds it to `sum`. This piece and all
  // before it were made from the first `source_end` bytes that the tensor has in the source. These bytes may then leave memory.
  Status write_piece(const Job& job, const Placed& placed, std::uint64_t at, std::span<const std::byte> piece, std::uint64_t source_end,
                     Checksum& sum) {
    sum.add(piece);
    if (Status s = job.out.write(header_.size() + placed.offset + at, piece); !s) return s;
    source_.drop_tensor_pages(*placed.tensor, source_end);
    done_ += piece.size();
    if (job.progress && !job.progress(done_, total_)) return Error{ErrorKind::system, "packing was stopped"};
    return success();
  }

  // Packs a matrix piece by piece. The caller's blocks_of(n, count) returns the rows n .. n + count - 1 as blocks of the format
  // that the matrix gets in the packed file, or an error.
  template <class BlocksOf>
  Status write_panels(const Job& job, const Placed& placed, const BlocksOf& blocks_of) {
    Status status = success();
    stilla::with_format(placed.format, [&](auto tag) {
      using F = decltype(tag);
      const auto N = static_cast<std::size_t>(placed.tensor->rows());
      const auto K = static_cast<std::size_t>(placed.tensor->columns());
      const std::size_t source_row = source_.tensor_bytes(*placed.tensor).size() / N;
      const std::size_t step = std::min(rows_per_piece<F>(K), N);
      if (!piece_.resize(packed_bytes<F>(step, K))) {
        status = out_of_memory("packing", packed_bytes<F>(step, K));
        return;
      }
      Checksum sum;
      for (std::size_t n = 0; n < N && status; n += step) {
        const std::size_t count = std::min(step, N - n);
        const Result<const std::byte*> blocks = blocks_of(n, count);
        if (!blocks) {
          status = Error{blocks.error().kind, source_.tensor_error(*placed.tensor, blocks.error().message).message};
          return;
        }
        pack<F>(piece_.data(), *blocks, count, K, job.parallel);
        status = write_piece(job, placed, packed_bytes<F>(n, K), {piece_.data(), packed_bytes<F>(count, K)}, (n + count) * source_row, sum);
      }
      checksums_.push_back(sum.value());
    });
    return status;
  }

  Status write_matrix(const Job& job, const Placed& placed) {
    const std::span<const std::byte> bytes = source_.tensor_bytes(*placed.tensor);
    const std::size_t row = bytes.size() / static_cast<std::size_t>(placed.tensor->rows());
    const auto K = static_cast<std::size_t>(placed.tensor->columns());
    EncodingError error;
    Status status = write_panels(job, placed, [&](std::size_t n, std::size_t count) -> Result<const std::byte*> {
      const std::span<const std::byte> rows = bytes.subspan(n * row, count * row);
      identity_.add(rows);
      if (placed.format == placed.tensor->format) return rows.data();
      Result<AlignedBuffer<std::byte>> blocks = requantise_rows(placed.format, placed.tensor->format, rows.data(), count, K, job.parallel,
                                                                mean_squares_for(options_.imatrix, *placed.tensor, placed.format));
      if (!blocks) return blocks.error();
      blocks_ = std::move(*blocks);
      if (options_.on_encoded) {
        if (Status s = error.add(placed.format, blocks_.data(), placed.tensor->format, rows.data(), count, K, job.parallel); !s) {
          return s.error();
        }
      }
      return blocks_.data();
    });
    if (status && placed.format != placed.tensor->format) tell_error(placed, error);
    return status;
  }

  void tell_error(const Placed& placed, const EncodingError& error) const {
    if (options_.on_encoded) options_.on_encoded(*placed.tensor, placed.format, error.relative_rmse());
  }

  // Writes a tensor whose values PackOptions::change modifies. Unlike other tensors, it is decoded and changed as a whole and not
  // in pieces.
  Status write_changed(const Job& job, const Placed& placed) {
    const TensorInfo& tensor = *placed.tensor;
    const auto N = static_cast<std::size_t>(tensor.rows()), K = static_cast<std::size_t>(tensor.columns());
    const std::span<const std::byte> bytes = source_.tensor_bytes(tensor);
    identity_.add(bytes);
    if (Status s = changed_values(source_, tensor, *options_.change, values_, job.parallel); !s) return s;
    const ConstMatrix values(values_.data(), N, K);
    if (!placed.is_packed) {
      Checksum sum;
      const std::span<const std::byte> piece = std::as_bytes(std::span(values_.data(), N * K));
      if (Status s = write_piece(job, placed, 0, piece, bytes.size(), sum); !s) return s;
      checksums_.push_back(sum.value());
      return success();
    }
    const Result<std::size_t> encoded = encoded_bytes(placed.format, N, K);
    if (!encoded) return source_.tensor_error(tensor, encoded.error().message);
    if (!blocks_.resize(*encoded)) return out_of_memory("a tensor's weights", *encoded);
    const std::span<std::byte> blocks(blocks_.data(), *encoded);
    if (Status s = options_.change->encode(tensor, blocks, values, placed.format, job.parallel); !s) {
      return source_.tensor_error(tensor, s.error().message);
    }
    if (options_.on_encoded) {
      EncodingError error;
      if (Status s = error.add(placed.format, blocks_.data(), values, job.parallel); !s) return s;
      tell_error(placed, error);
    }
    const std::size_t row = *encoded / N;
    return write_panels(job, placed, [&](std::size_t n, std::size_t) -> Result<const std::byte*> { return blocks_.data() + n * row; });
  }

  Status write_rows(const Job& job, const Placed& placed) {
    const std::span<const std::byte> bytes = source_.tensor_bytes(*placed.tensor);
    Checksum sum;
    for (std::size_t at = 0; at < bytes.size(); at += piece_bytes) {
      const std::span<const std::byte> piece = bytes.subspan(at, std::min(piece_bytes, bytes.size() - at));
      identity_.add(piece);
      if (Status s = write_piece(job, placed, at, piece, at + piece.size(), sum); !s) return s;
    }
    checksums_.push_back(sum.value());
    return success();
  }

  Status write_header(AtomicFile& out) {
    const std::span<std::byte> bytes = std::as_writable_bytes(std::span(header_));
    std::copy_n(std::as_bytes(std::span(checksums_)).begin(), checksums_.size() * sizeof(std::uint64_t),
                bytes.begin() + static_cast<std::ptrdiff_t>(tensor_checksums_offset_));
    store_as(bytes.data() + identity_offset_, identity_.value());
    store_as(bytes.data() + checksum_offset_, packed_header_checksum(bytes, checksum_offset_));
    return out.write(0, bytes);
  }

  const ModelSource& source_;
  PackOptions options_;
  GgufRecords metadata_;
  std::string header_;
  std::vector<Placed> tensors_;
  std::vector<std::uint64_t> checksums_;
  Checksum identity_;
  AlignedBuffer<std::byte> piece_, blocks_;
  AlignedBuffer<float> values_;  // of a tensor whose values change
  std::size_t checksum_offset_ = 0;
  std::size_t identity_offset_ = 0;
  std::size_t tensor_checksums_offset_ = 0;
  std::uint64_t done_ = 0, total_ = 0;
};

}  // namespace detail

// Returns the number of bytes of the file that write_packed_file() writes for the same source and options.
inline Result<std::uint64_t> packed_file_bytes(const ModelSource& source, const PackOptions& options = {}) {
  return detail::PackedFileWriter(source, options).plan();
}

// Packs `source` into a new file at `path`, which must not be the path of the source. A file that exists there is replaced when
// everything has been written (atomic_file.hpp). The source is read once. The function needs some 16 MB of memory, or 50 MB if it
// requantises. If there is a change (PackOptions::change), it also needs as much memory as the largest matrix takes in floats.
// The pages of the source that it is reading come on top of this.
inline Status write_packed_file(const ModelSource& source, std::string path, Parallel parallel = {}, const PackProgress& progress = {},
                                const PackOptions& options = {}) {
  detail::PackedFileWriter writer(source, options);
  if (const Result<std::uint64_t> planned = writer.plan(); !planned) return planned.error();
  Result<AtomicFile> out = AtomicFile::create(std::move(path));
  if (!out) return out.error();
  if (Status s = writer.write(*out, parallel, progress); !s) return s;
  if (Status s = source.check_lengths(); !s) return s;
  return out->commit();
}

// Compares every tensor of a packed file with its checksum. The error names the first damaged tensor, in file order. `goes_on` may be
// called from any thread of `parallel`, before each piece of a tensor. Once it returns false, the comparison ends early, and the
// result tells only of the tensors that were compared.
inline Status verify_packed_file(const GgufFile& file, Parallel parallel = {}, const std::function<bool()>& goes_on = {}) {
  if (!file.is_packed()) {
    return Error{ErrorKind::bad_argument, concat(printable_path(file.path()), ": only packed files have checksums to verify")};
  }
  const Result<std::vector<std::uint64_t>> expected = file.get_array<std::uint64_t>(packed_tensor_checksums_key);
  if (!expected) return expected.error();
  const std::span<const GgufTensor> tensors = file.tensors();
  if (expected->size() != tensors.size()) {
    return file.key_error(packed_tensor_checksums_key, "found ", expected->size(), " checksums; expected ", tensors.size(),
                          ", one for each tensor");
  }
  std::vector<std::uint64_t> found(tensors.size());
  std::atomic<std::size_t> damaged{tensors.size()};  // index of the first damaged tensor that is known
  std::atomic<bool> is_ended{false};
  parallel(tensors.size(), [&](std::size_t i) {
    if (is_ended || i > damaged) return;
    const std::span<const std::byte> bytes = file.tensor_bytes(tensors[i]);
    Checksum sum;
    for (std::size_t at = 0; at < bytes.size(); at += piece_bytes) {
      if (goes_on && !goes_on()) {
        is_ended = true;
        return;
      }
      sum.add(bytes.subspan(at, std::min(piece_bytes, bytes.size() - at)));
    }
    found[i] = sum.value();
    if (found[i] == (*expected)[i]) return;
    for (std::size_t first = damaged; i < first && !damaged.compare_exchange_weak(first, i);) {
    }
  });
  const std::size_t i = damaged;
  if (i == tensors.size()) return success();
  return file.tensor_error(tensors[i], "the checksum of its ", tensors[i].size_bytes, " bytes at byte ", tensors[i].offset, " is ",
                           found[i], "; expected ", (*expected)[i], "; the file is damaged");
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
