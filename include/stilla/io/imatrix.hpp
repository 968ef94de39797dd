// SPDX-License-Identifier: Apache-2.0
//
// Reads llama.cpp's importance matrices. Such a file has, for each matrix of a model, the mean square of each input of the matrix,
// measured while the model read some text. Encoders choose scales by these mean squares (format/importance.hpp). There are two forms
// of the file, GGUF and an older one. Both are read, and the first bytes tell which it is.
//
// GGUF, which llama-imatrix writes now (tools/imatrix/imatrix.cpp):
//
//     general.type          'imatrix'
//     imatrix.datasets      [string]  names of the texts; this key and the next two may be missing
//     imatrix.chunk_count   uint32    how many pieces of text were read
//     imatrix.chunk_size    uint32    tokens of a piece
//     tensor NAME.in_sum2   f32 [K, experts]   sums of the squares of the inputs of matrix NAME
//     tensor NAME.counts    f32 [1, experts]   how many inputs were summed
//     tensor NAME.in_sum    f32 [K, experts]   sums of the inputs; newer files only, not used here
//
// K is the number of inputs of the matrix. experts is 1, except in a mixture of experts, whose matrices are not used.
//
// The older form (.dat), little endian, without a magic number:
//
//     count i32, then for each matrix:  name length i32, name, calls i32, values i32, sums f32[values]
//     then, in newer files:             calls i32, length i32 and name of the text
//
// `values` is the number of inputs of the matrix, and `calls` the count by which the sums must be divided. In this form the mean
// squares are sums / calls, or the sums themselves where calls is 0, as llama.cpp reads them.
//
// A damaged file is refused and does no harm: every size in it is compared with the bytes that are left before it is used. All numbers
// of an Imatrix are finite and not negative.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <stilla/base/error.hpp>
#include <stilla/base/math.hpp>
#include <stilla/io/checked.hpp>
#include <stilla/io/checksum.hpp>
#include <stilla/io/file_kind.hpp>
#include <stilla/io/gguf.hpp>
#include <stilla/io/mapped_file.hpp>
#include <stilla/io/model_source.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

class Imatrix {
 public:
  struct Entry {
    std::string name;                 // of the matrix: "blk.0.attn_q.weight"
    std::vector<float> mean_squares;  // of its inputs
  };

  static Result<Imatrix> open(std::string path) {
    Result<MappedFile> file = MappedFile::open(std::move(path), LoadMode::read);
    if (!file) return file.error();
    return parse(std::move(*file));
  }

  static Result<Imatrix> parse(MappedFile file) {
    Imatrix out;
    out.path_ = file.path();
    out.checksum_ = checksum(file.bytes());
    constexpr std::string_view magic = "GGUF";
    const std::span<const std::byte> bytes = file.bytes();
    const bool is_gguf =
        bytes.size() >= magic.size() && std::equal(magic.begin(), magic.end(), reinterpret_cast<const char*>(bytes.data()));
    if (Status s = is_gguf ? out.read_gguf(std::move(file)) : out.read_dat(bytes); !s) return s.error();
    std::sort(out.entries_.begin(), out.entries_.end(), [](const Entry& a, const Entry& b) { return a.name < b.name; });
    for (std::size_t i = 1; i < out.entries_.size(); ++i) {
      if (out.entries_[i - 1].name == out.entries_[i].name) return out.refuse("has '", printable(out.entries_[i].name), "' twice");
    }
    if (out.entries_.empty()) return out.refuse("has no matrix that got an input");
    return out;
  }

  const std::string& path() const { return path_; }
  // A text that identifies the contents of the file, whatever its name is.
  std::string identity() const { return concat("importance of ", entries_.size(), " matrices with XXH64 ", checksum_); }
  std::span<const Entry> entries() const { return entries_; }  // sorted by name; at least one
  // Lines for the user: what in the file the reader did not understand or could not use.
  const std::vector<std::string>& notes() const { return notes_; }

  // The mean squares of the inputs of the matrix with this name; none if the file does not have it.
  std::span<const float> find(std::string_view name) const {
    const auto found = std::lower_bound(entries_.begin(), entries_.end(), name,
                                        [](const Entry& entry, std::string_view wanted) { return entry.name < wanted; });
    return found != entries_.end() && found->name == name ? std::span<const float>(found->mean_squares) : std::span<const float>();
  }

  // Compares the importance matrices with a model. A matrix with another number of inputs is refused, and so is a file that has
  // none of the model's matrices. The result is lines for the user: one if the file has matrices that the model does not have, and
  // one if the model has matrices that the file does not have.
  Result<std::vector<std::string>> check_against(const ModelSource& source) const {
    Names unknown, missing;
    for (const Entry& entry : entries_) {
      const TensorInfo* const tensor = source.find_tensor(entry.name);
      if (tensor == nullptr || !tensor->is_matrix()) {
        unknown.add(entry.name);
      } else if (tensor->columns() != entry.mean_squares.size()) {
        return refuse("'", printable(entry.name), "': found ", entry.mean_squares.size(), " inputs; expected ", tensor->columns(), ", as ",
                      source.tensor_place(entry.name), " has columns");
      }
    }
    if (unknown.count == entries_.size()) {
      return refuse("has no matrix of ", printable_path(source.path()), "; the first is '", printable(unknown.first), "'");
    }
    for (std::size_t i = 0; i < source.tensor_count(); ++i) {
      const TensorInfo& tensor = source.tensor(i);
      if (tensor.is_matrix() && tensor.name.starts_with("blk.") && find(tensor.name).empty()) missing.add(tensor.name);
    }
    std::vector<std::string> notes;
    if (unknown.count != 0) notes.push_back(concat(unknown.text(), " of ", printable_path(path_), " not in the model"));
    if (missing.count != 0) notes.push_back(concat(missing.text(), " of the model not in ", printable_path(path_)));
    return notes;
  }

 private:
  // A summary of a list of names: how many there are, and the first of them.
  struct Names {
    std::size_t count = 0;
    std::string first;
    void add(std::string_view name) {
      if (count++ == 0) first = name;
    }
    // The summary of the names as the beginning of a sentence: "1 tensor ('a') is", "3 tensors ('a' and others) are".
    std::string text() const {
      return concat(count, count == 1 ? " tensor ('" : " tensors ('", printable(first), count == 1 ? "') is" : "' and others) are");
    }
  };

  template <class... Parts>
  Error refuse(const Parts&... parts) const {
    return {ErrorKind::refused_file, concat(printable_path(path_), ": ", parts...)};
  }

  // Adds a matrix with K inputs to the entries. The mean squares of its inputs are sums / count.
  Status add(std::string_view name, const std::byte* sums, std::size_t K, double count) {
    Entry entry{std::string(name), std::vector<float>(K)};
    for (std::size_t k = 0; k < K; ++k) {
      const float sum = load_as<float>(sums + k * sizeof(float));
      const auto mean = static_cast<float>(static_cast<double>(sum) / count);
      if (!detail::is_finite(sum) || sum < 0.0f) {
        return refuse("'", printable(name), "': found ", sum, " as the sum of squares of input ", k,
                      "; expected a finite number of at least 0");
      }
      if (!detail::is_finite(mean)) {
        return refuse("'", printable(name), "': found ", sum, " as the sum of squares of input ", k, ", and ", count,
                      " as the number of summands; expected a finite quotient");
      }
      entry.mean_squares[k] = mean;
    }
    entries_.push_back(std::move(entry));
    return success();
  }

  Status read_gguf(MappedFile bytes) {
    const Result<GgufFile> file = GgufFile::parse(std::move(bytes));
    if (!file) return file.error();
    if (!file->has("general.type")) {
      return file->key_error("general.type", "is missing; expected 'imatrix', an importance matrix",
                             file->has("general.architecture") ? "; this file is a model" : "");
    }
    const Result<std::string_view> type = file->get_string("general.type");
    if (!type) return type.error();
    if (*type != "imatrix")
      return file->key_error("general.type", "found '", printable(*type), "'; expected 'imatrix', an importance matrix");
    if (file->tensors().empty()) return refuse("has no tensors");
    Names unseen, experts, unknown;
    for (const GgufTensor& tensor : file->tensors()) {
      std::string_view name = tensor.name;
      if (!remove_suffix(name, ".in_sum2")) {
        const bool is_known = remove_suffix(name, ".counts") || remove_suffix(name, ".in_sum");
        if (!is_known) {
          unknown.add(tensor.name);
        } else if (file->find_tensor(concat(name, ".in_sum2")) == nullptr) {
          return file->tensor_error(tensor, "'", printable(name), ".in_sum2' is missing");
        }
        continue;
      }
      const std::string counts_name = concat(name, ".counts");
      const Result<const TensorInfo*> counts = file->require_tensor(counts_name, {1, tensor.rows()});
      if (!counts) return counts.error();
      for (const TensorInfo* floats : {static_cast<const TensorInfo*>(&tensor), *counts}) {
        if (floats->format != id_of<F32>) return file->tensor_error(*floats, "found ", file->type_text(*floats), "; expected f32");
      }
      const auto count = load_as<float>(file->tensor_bytes(**counts).data());
      if (!detail::is_finite(count) || count < 0.0f) {
        return file->tensor_error(**counts, "found ", count, " as the number of summands; expected a finite number of at least 0");
      }
      if (tensor.rows() != 1) {
        experts.add(name);
      } else if (count == 0.0f) {
        unseen.add(name);
      } else if (Status s =
                     add(name, file->tensor_bytes(tensor).data(), static_cast<std::size_t>(tensor.columns()), static_cast<double>(count));
                 !s) {
        return s;
      }
    }
    for (const GgufKey& key : file->keys()) {
      if (key.name.starts_with("imatrix.") && key.name != "imatrix.datasets" && key.name != "imatrix.chunk_count" &&
          key.name != "imatrix.chunk_size") {
        notes_.push_back(concat(file->key_place(key.name), " is unknown"));
      }
    }
    if (unknown.count != 0) notes_.push_back(concat(printable_path(path_), ": ", unknown.text(), " unknown"));
    if (unseen.count != 0) notes_.push_back(concat(printable_path(path_), ": ", unseen.text(), " without inputs"));
    if (experts.count != 0) notes_.push_back(concat(printable_path(path_), ": ", experts.text(), " of experts, which are not used"));
    return success();
  }

  static bool remove_suffix(std::string_view& name, std::string_view suffix) {
    if (!name.ends_with(suffix)) return false;
    name.remove_suffix(suffix.size());
    return true;
  }

  Status read_dat(std::span<const std::byte> bytes) {
    constexpr std::uint64_t smallest_entry = 4 + 1 + 4 + 4 + 4;
    ByteCursor cursor(bytes);
    std::int32_t count = 0;
    if (!cursor.read(count)) return refuse("has ", bytes.size(), " bytes, which are no importance matrix of llama.cpp");
    if (count < 1 || static_cast<std::uint64_t>(count) > cursor.remaining() / smallest_entry) {
      const std::string kind = guess_file_kind(bytes);
      if (!kind.starts_with("unknown")) return refuse("is no importance matrix of llama.cpp, but ", kind);
      const std::uint64_t most = cursor.remaining() / smallest_entry;
      const std::string_view reason = "; the file is truncated, damaged, or not an importance matrix of llama.cpp";
      if (most == 0) {
        return refuse("number of matrices at byte 0: found ", count, ", and ", cursor.remaining(), " bytes behind it; one matrix takes ",
                      smallest_entry, " at least", reason);
      }
      return refuse("number of matrices at byte 0: found ", count, "; expected 1 to ", most, ", for which the ", cursor.remaining(),
                    " bytes behind it have room", reason);
    }
    for (std::int32_t i = 0; i < count; ++i) {
      const auto wrong = [&, at = cursor.offset()](const auto&... parts) {
        return refuse("matrix ", i + 1, " of ", count, " at byte ", at, ": ", parts...);
      };
      std::span<const std::byte> name, sums;
      std::int32_t length = 0, calls = 0, values = 0;
      const auto truncated = [&](std::string_view what, std::uint64_t needed, std::string_view suspect) {
        return wrong("needs ", needed, " bytes for its ", what, " and ", cursor.remaining(), " are left; the file is truncated, or ",
                     suspect);
      };
      constexpr std::string_view count_is_wrong = "the number of matrices at byte 0 is too high";
      if (!cursor.read(length)) return truncated("length of the name", sizeof length, count_is_wrong);
      if (length < 1) return wrong("found a name of ", length, " bytes; expected at least 1");
      if (!cursor.take(static_cast<std::uint64_t>(length), name)) {
        return truncated("name", static_cast<std::uint64_t>(length), "the length of the name is wrong");
      }
      if (!cursor.read(calls)) return truncated("number of calls", sizeof calls, count_is_wrong);
      if (!cursor.read(values)) return truncated("number of inputs", sizeof values, count_is_wrong);
      if (calls < 0) return wrong("found ", calls, " calls; expected at least 0");
      if (values < 1) return wrong("found ", values, " inputs; expected at least 1");
      const std::uint64_t sum_bytes = static_cast<std::uint64_t>(values) * sizeof(float);
      if (!cursor.take(sum_bytes, sums)) return truncated(concat(values, " sums"), sum_bytes, "the number of inputs is wrong");
      const std::string_view text(reinterpret_cast<const char*>(name.data()), name.size());
      if (Status s = add(text, sums.data(), static_cast<std::size_t>(values), calls == 0 ? 1.0 : calls); !s) return s;
    }
    if (cursor.remaining() == 0) return success();
    std::int32_t calls = 0, length = 0;
    const auto cut_off = [&](std::string_view what) {
      return refuse(what, " at byte ", cursor.offset(), ": needs 4 bytes and ", cursor.remaining(), " are left; the file is truncated");
    };
    if (!cursor.read(calls)) return cut_off("number of calls of the whole run");
    if (cursor.remaining() == 0) return success();
    if (!cursor.read(length)) return cut_off("length of the name of the text");
    if (length < 0 || !cursor.skip(static_cast<std::uint64_t>(length))) {
      return refuse("length of the name of the text at byte ", cursor.offset() - sizeof length, ": found ", length, "; expected 0 to ",
                    cursor.remaining());
    }
    if (cursor.remaining() != 0) notes_.push_back(concat(printable_path(path_), ": the last ", cursor.remaining(), " bytes are unknown"));
    return success();
  }

  std::string path_;
  std::uint64_t checksum_ = 0;
  std::vector<Entry> entries_;
  std::vector<std::string> notes_;
};

// The mean squares of the inputs of a tensor that is encoded in `format`. None if there is no importance matrix, if it does not have
// this tensor, or if the scales of the format are not chosen by importance.
inline std::span<const float> mean_squares_for(const Imatrix* imatrix, const TensorInfo& tensor, FormatId format) {
  std::span<const float> out;
  with_format(format, [&]<class F>(F) {
    if (ImportanceFormat<F> && imatrix != nullptr) out = imatrix->find(tensor.name);
  });
  return out;
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
