// SPDX-License-Identifier: Apache-2.0
//
// A packed file: a GGUF file whose matrices are stored as the kernels read them, so that a model starts by mapping it.
// It holds everything of the original (metadata, vocabulary, all tensors) and stands alone.
//
//     | GGUF header                                           | pad | tensor | pad | tensor | ...
//     | own keys, the original's keys, the tensor records     | each at a multiple of 4096 bytes, in the original's order
//
//   own keys, the first in the file:
//     stilla.packed.checksum           u64    XXH64 of the header up to the first tensor, without these 8 bytes
//     stilla.packed.layout             u32    packed_layout_version (pack.hpp); any other number is refused
//     stilla.packed.source             u64    XXH64 of the whole original file
//     stilla.packed.tensor_checksums   u64[]  XXH64 of every tensor's bytes, in the order of the records
//     general.alignment                u32    4096
//   tensor record of a packed matrix: shape as in the original, type number | 0x80000000, packed_bytes(type, N, K) bytes.
//
// Matrices of formats that kernels multiply are packed. Stored as they were: vectors, tensors of other types, and the
// embedding of a model that has a head of its own, because it is read by rows.
//
// Whoever opens a GGUF file opens this one too: gguf_parser.hpp checks it as any foreign file, then its layout and the
// header's checksum. The tensors' checksums are for verify_packed_file(): reading everything would take the time that
// packing ahead saves. Programs that know nothing of packed files refuse the unknown type numbers.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <stilla/aligned.hpp>
#include <stilla/error.hpp>
#include <stilla/format/format.hpp>
#include <stilla/io/atomic_file.hpp>
#include <stilla/io/checksum.hpp>
#include <stilla/io/gguf.hpp>
#include <stilla/pack.hpp>
#include <stilla/parallel.hpp>

namespace stilla::inline STILLA_ABI {

// (bytes done, bytes in all), from the calling thread; false ends the work.
using PackProgress = std::function<bool(std::uint64_t, std::uint64_t)>;

// A number for "packed from this file?": the checksum of all its bytes. Reads the whole file, and lets go of it.
inline std::uint64_t source_identity(const GgufFile& file) {
  constexpr std::size_t piece_bytes = std::size_t{1} << 24;
  const std::span<const std::byte> all = file.file().bytes();
  Checksum sum;
  for (std::size_t at = 0; at < all.size(); at += piece_bytes) {
    const std::size_t count = std::min(piece_bytes, all.size() - at);
    sum.add(all.subspan(at, count));
    file.file().drop_pages(at, count);
  }
  return sum.value();
}

// True if `packed` was packed from exactly these bytes.
inline bool is_packed_from(const GgufFile& packed, const GgufFile& source) {
  if (!packed.is_packed()) return false;
  const Result<std::uint64_t> identity = packed.get_uint(packed_source_key);
  return identity && *identity == source_identity(source);
}

// True if these bytes begin as a packed file does, whole or damaged, of any layout.
inline bool begins_as_packed_file(std::span<const std::byte> bytes) {
  constexpr std::size_t name_offset = 4 + 4 + 8 + 8 + 8;  // of the first key: magic, version, counts, length
  if (bytes.size() < name_offset + packed_checksum_key.size()) return false;
  const auto text = [&](std::size_t at, std::size_t count) {
    return std::string_view(reinterpret_cast<const char*>(bytes.data() + at), count);
  };
  return text(0, 4) == "GGUF" && text(name_offset, packed_checksum_key.size()) == packed_checksum_key;
}

namespace detail {

class PackedFileWriter {
 public:
  PackedFileWriter(const GgufFile& source, AtomicFile& out, Parallel parallel, const PackProgress& progress)
      : source_(source), out_(out), parallel_(parallel), progress_(progress) {}

  Status run() {
    if (source_.tensors().empty()) return refuse("there are no tensors to pack");
    if (source_.is_packed()) return refuse("is packed already");
    if (Status s = place(); !s) return s;
    const std::string header = build_header();
    data_offset_ = header.size();
    for (const Placed& placed : tensors_) {
      if (Status s = placed.is_packed ? write_panels(placed) : write_rows(placed); !s) return s;
    }
    return write_header(header);
  }

 private:
  static constexpr std::uint64_t alignment = 4096;

  struct Placed {
    const GgufTensor* tensor;
    bool is_packed;
    std::uint64_t offset;  // from the start of the tensor data
    std::uint64_t bytes;
  };

  template <class... Parts>
  Error refuse(const Parts&... parts) const {
    return {ErrorKind::bad_argument, concat(printable_path(source_.path()), ": ", parts...)};
  }

  bool is_to_be_packed(const GgufTensor& tensor) const {
    const bool is_matrix = tensor.dims[1] > 1 && tensor.dims[2] == 1 && tensor.dims[3] == 1;
    const bool is_read_by_rows = tensor.name == "token_embd.weight" && source_.find_tensor("output.weight") != nullptr;
    return is_matrix && !is_read_by_rows && stilla::with_format(tensor.type, [](auto) {});
  }

  // Where everything goes. Offsets cannot overflow: they sum up sizes below twice the file's, but for narrow matrices, whose
  // panels are padded to 16 rows; those sums are checked.
  Status place() {
    std::uint64_t offset = 0;
    for (const GgufTensor& tensor : source_.tensors()) {
      Placed placed{&tensor, is_to_be_packed(tensor), offset, tensor.size_bytes};
      if (placed.is_packed) {
        const Result<std::size_t> bytes = packed_bytes(tensor.type, tensor.rows(), tensor.columns());
        if (!bytes) return source_.tensor_error(tensor, bytes.error().message);
        placed.bytes = *bytes;
      }
      if (!checked_add(offset, placed.bytes, offset) || !checked_align_up(offset, alignment, offset)) {
        return source_.tensor_error(tensor, "the packed file's size does not fit in 64 bits");
      }
      total_ += placed.bytes;
      tensors_.push_back(placed);
    }
    return success();
  }

  template <class Number>
  static void add(std::string& out, Number number) {
    const std::size_t at = out.size();
    out.resize(at + sizeof number);
    store_as(reinterpret_cast<std::byte*>(out.data() + at), number);
  }
  static void add_text(std::string& out, std::string_view text) {
    add(out, std::uint64_t{text.size()});
    out += text;
  }
  static void add_key(std::string& out, std::string_view name, GgufValueType type) {
    add_text(out, name);
    add(out, static_cast<std::uint32_t>(type));
  }

  // Everything before the tensors, checksums still zero.
  std::string build_header() {
    const auto is_kept = [](const GgufKey& key) {
      return key.name != "general.alignment" && !key.name.starts_with("stilla.packed.");
    };
    constexpr std::uint64_t own_keys = 5;
    const auto kept = static_cast<std::uint64_t>(std::count_if(source_.keys().begin(), source_.keys().end(), is_kept));
    std::string out = "GGUF";
    add(out, std::uint32_t{3});
    add(out, std::uint64_t{tensors_.size()});
    add(out, own_keys + kept);

    add_key(out, packed_checksum_key, GgufValueType::uint64);
    checksum_offset_ = out.size();
    add(out, std::uint64_t{0});
    add_key(out, packed_layout_key, GgufValueType::uint32);
    add(out, packed_layout_version);
    add_key(out, packed_source_key, GgufValueType::uint64);
    add(out, source_identity(source_));
    add_key(out, packed_tensor_checksums_key, GgufValueType::array);
    add(out, static_cast<std::uint32_t>(GgufValueType::uint64));
    add(out, std::uint64_t{tensors_.size()});
    tensor_checksums_offset_ = out.size();
    out.resize(out.size() + tensors_.size() * sizeof(std::uint64_t));
    add_key(out, "general.alignment", GgufValueType::uint32);
    add(out, static_cast<std::uint32_t>(alignment));

    const std::span<const std::byte> bytes = source_.file().bytes();
    for (const GgufKey& key : source_.keys()) {
      if (!is_kept(key)) continue;
      const std::span<const std::byte> record =
          bytes.subspan(static_cast<std::size_t>(key.record_offset),
                        static_cast<std::size_t>(key.value_offset + key.value_bytes - key.record_offset));
      out.append(reinterpret_cast<const char*>(record.data()), record.size());
    }
    for (const Placed& placed : tensors_) {
      const GgufTensor& tensor = *placed.tensor;
      add_text(out, tensor.name);
      add(out, tensor.n_dims);
      for (std::uint32_t d = 0; d < tensor.n_dims; ++d) add(out, tensor.dims[d]);
      add(out, tensor.type | (placed.is_packed ? packed_type_flag : 0));
      add(out, placed.offset);
    }
    out.resize((out.size() + alignment - 1) / alignment * alignment);
    return out;
  }

  // Writes the next piece of a tensor and lets go of the first `read` bytes of its source.
  Status write_piece(const Placed& placed, std::uint64_t at, std::span<const std::byte> piece, std::uint64_t read,
                     Checksum& sum) {
    sum.add(piece);
    if (Status s = out_.write(data_offset_ + placed.offset + at, piece); !s) return s;
    source_.drop_tensor_pages(*placed.tensor, read);
    done_ += piece.size();
    if (progress_ && !progress_(done_, total_)) return Error{ErrorKind::system, "packing was stopped"};
    return success();
  }

  Status write_panels(const Placed& placed) {
    Status status = success();
    stilla::with_format(placed.tensor->type, [&](auto tag) {
      using F = decltype(tag);
      const auto N = static_cast<std::size_t>(placed.tensor->rows());
      const auto K = static_cast<std::size_t>(placed.tensor->columns());
      const std::byte* rows = source_.tensor_bytes(*placed.tensor).data();
      const std::size_t step = std::min(rows_per_piece<F>(K), N);
      if (!piece_.resize(packed_bytes<F>(step, K))) {
        status = out_of_memory("packing", packed_bytes<F>(step, K));
        return;
      }
      Checksum sum;
      for (std::size_t n = 0; n < N && status; n += step) {
        const std::size_t count = std::min(step, N - n);
        pack<F>(piece_.data(), rows + n * row_bytes<F>(K), count, K, parallel_);
        status = write_piece(placed, packed_bytes<F>(n, K), {piece_.data(), packed_bytes<F>(count, K)},
                             (n + count) * row_bytes<F>(K), sum);
      }
      checksums_.push_back(sum.value());
    });
    return status;
  }

  Status write_rows(const Placed& placed) {
    constexpr std::size_t piece_bytes = std::size_t{1} << 24;
    const std::span<const std::byte> bytes = source_.tensor_bytes(*placed.tensor);
    Checksum sum;
    for (std::size_t at = 0; at < bytes.size(); at += piece_bytes) {
      const std::span<const std::byte> piece = bytes.subspan(at, std::min(piece_bytes, bytes.size() - at));
      if (Status s = write_piece(placed, at, piece, at + piece.size(), sum); !s) return s;
    }
    checksums_.push_back(sum.value());
    return success();
  }

  Status write_header(std::string header) {
    const std::span<std::byte> bytes = std::as_writable_bytes(std::span(header));
    std::copy_n(std::as_bytes(std::span(checksums_)).begin(), checksums_.size() * sizeof(std::uint64_t),
                bytes.begin() + static_cast<std::ptrdiff_t>(tensor_checksums_offset_));
    store_as(bytes.data() + checksum_offset_, packed_header_checksum(bytes, checksum_offset_));
    return out_.write(0, bytes);
  }

  const GgufFile& source_;
  AtomicFile& out_;
  Parallel parallel_;
  const PackProgress& progress_;
  std::vector<Placed> tensors_;
  std::vector<std::uint64_t> checksums_;
  AlignedBuffer<std::byte> piece_;
  std::size_t checksum_offset_ = 0;
  std::size_t tensor_checksums_offset_ = 0;
  std::uint64_t data_offset_ = 0;
  std::uint64_t done_ = 0, total_ = 0;
};

}  // namespace detail

// Packs `source` into a new file at `path`, which must not be the source's own; what was there before is replaced when all
// is written (atomic_file.hpp). Takes some 16 MB of memory beside the pages of the source that it is reading.
inline Status write_packed_file(const GgufFile& source, std::string path, Parallel parallel = {},
                                const PackProgress& progress = {}) {
  Result<AtomicFile> out = AtomicFile::create(std::move(path));
  if (!out) return out.error();
  if (Status s = detail::PackedFileWriter(source, *out, parallel, progress).run(); !s) return s;
  return out->commit();
}

// Compares every tensor of a packed file with its checksum; names the first, in file order, that is damaged.
inline Status verify_packed_file(const GgufFile& file, Parallel parallel = {}) {
  if (!file.is_packed()) {
    return Error{ErrorKind::bad_argument,
                 concat(printable_path(file.path()), ": only packed files have checksums to verify")};
  }
  const Result<std::vector<std::uint64_t>> expected = file.get_array<std::uint64_t>(packed_tensor_checksums_key);
  if (!expected) return expected.error();
  const std::span<const GgufTensor> tensors = file.tensors();
  if (expected->size() != tensors.size()) {
    return file.key_error(*file.find(packed_tensor_checksums_key), "found ", expected->size(), " checksums; expected ",
                          tensors.size(), ", one for each tensor");
  }
  std::vector<std::uint64_t> found(tensors.size());
  parallel(tensors.size(), [&](std::size_t i) { found[i] = checksum(file.tensor_bytes(tensors[i])); });
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (found[i] == (*expected)[i]) continue;
    return file.tensor_error(tensors[i], "the checksum of its ", tensors[i].size_bytes, " bytes at byte ",
                             tensors[i].offset, " is ", found[i], "; expected ", (*expected)[i], "; the file is damaged");
  }
  return success();
}

}  // namespace stilla::STILLA_ABI
