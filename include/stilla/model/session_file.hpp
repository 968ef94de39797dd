// SPDX-License-Identifier: Apache-2.0
//
// Saves a text with its keys and values in a file, so that a conversation can go on without evaluating the text again. Because
// the file contains the text, a new file can be read only by its owner.
//
//     offset  contents
//       0     magic "stillaKV"; u32 version of this layout; u32 type of the cache; u64 Model::identity()
//      24     u32 layers, KV heads, head size, bits of rounded activations (24: mixed); u64 tokens; u64 bytes of the note
//      56     u64 XXH64 of everything from byte 72 on; u64 XXH64 of the first 64 bytes of the file
//      72     ids, u32 each | note | chunks of the cache: all layers of the first 256 positions, of the next, ...
//
// Chunks are the memory of the key/value cache as it is, little endian; keys and values behind the end of the text are 0. The sizes
// of all parts follow from the header and are compared with the size of the file before anything else is read. Nothing of the file
// is used before its checksums agree. A file with a key or value that is NaN or infinite is refused.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <stilla/base/aligned.hpp>
#include <stilla/base/error.hpp>
#include <stilla/contract/activation_q8.hpp>
#include <stilla/io/atomic_file.hpp>
#include <stilla/io/checked.hpp>
#include <stilla/io/checksum.hpp>
#include <stilla/io/mapped_file.hpp>
#include <stilla/kv_cache.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// The first bytes of every saved session.
inline constexpr std::string_view session_magic = "stillaKV";

// Describes a session. A file is refused unless the session that was saved in it had the same model, bits of activations and shape of
// the cache. `vocabulary` and `context` are limits: each id in the file must be below `vocabulary`, and there may be at most `context`
// ids.
struct SessionKind {
  std::uint64_t model = 0;  // Model::identity()
  std::size_t vocabulary = 0;
  std::size_t context = 0;
  ActivationBits activations = ActivationBits::eight;
  KvShape shape;
};

// The contents of a session file.
struct SavedText {
  std::vector<std::uint32_t> ids;
  std::string note;
  KvCache cache;
};

namespace detail {

// The version of session files. It gets another number with each change of their layout, of the layout of a chunk of the cache, or of
// the arithmetic of the forward pass.
inline constexpr std::uint32_t session_version = 3;  // version 2 computed the identity of a model from less data
inline constexpr std::size_t session_header_bytes = 72;

constexpr std::uint32_t bits_in_file(ActivationBits activations) {
  return activations == ActivationBits::eight ? 8 : activations == ActivationBits::sixteen ? 16 : 24;
}
inline std::string activation_bits_text(std::uint32_t bits_in_file) {
  return bits_in_file == 24 ? "8 bits and some of 16" : concat(bits_in_file, " bits");
}

// The first 56 bytes of a session file.
inline std::vector<std::byte> session_header(const SessionKind& kind, std::uint64_t tokens, std::uint64_t note_bytes) {
  std::vector<std::byte> out;
  const auto add = [&](auto value) {
    out.resize(out.size() + sizeof value);
    store_as(out.data() + out.size() - sizeof value, value);
  };
  for (const char c : session_magic) add(c);
  add(session_version);
  add(static_cast<std::uint32_t>(kind.shape.type));
  add(kind.model);
  for (const std::size_t count : {kind.shape.layers, kind.shape.heads, kind.shape.head_dim}) {
    add(static_cast<std::uint32_t>(count));
  }
  add(bits_in_file(kind.activations));
  add(tokens);
  add(note_bytes);
  return out;
}

// Returns an error if a key or value in chunk c of the cache of a text is NaN or infinite. `size` is the number of the text's tokens.
inline Status check_numbers(const KvShape& shape, std::span<const std::byte> chunk, std::size_t c, std::size_t size) {
  if (holds_numbers(shape, chunk)) return success();
  return Error{ErrorKind::bad_argument, concat("keys or values of tokens ", c * kv_chunk, " to ", std::min((c + 1) * kv_chunk, size) - 1,
                                               " are not numbers (NaN or infinity)")};
}

// The header says how many tokens the file holds and how many bytes its note has. Compares these two numbers with the size of the file,
// and the number of tokens also with the context. After success the file has exactly the size that follows from its header.
inline Status check_session_size(const SessionKind& kind, std::uint64_t tokens, std::uint64_t note_bytes, std::uint64_t file_bytes) {
  const auto refuse = [](const auto&... parts) { return Error{ErrorKind::refused_file, concat(parts...)}; };
  const std::uint64_t behind_header = file_bytes - session_header_bytes;
  if (tokens > behind_header / sizeof(std::uint32_t)) {
    return refuse("number of tokens at byte 40: found ", tokens, ", which the ", file_bytes, " bytes of the file cannot hold");
  }
  if (note_bytes > behind_header) {
    return refuse("length of the note at byte 48: found ", note_bytes, ", which the ", file_bytes, " bytes of the file cannot hold");
  }
  if (tokens > kind.context) return refuse("holds ", tokens, " tokens; the context of this session holds ", kind.context);
  const std::uint64_t chunks = (tokens + kv_chunk - 1) / kv_chunk;
  std::uint64_t expected = session_header_bytes + tokens * sizeof(std::uint32_t) + note_bytes, chunk_bytes = 0;
  const bool is_countable = checked_mul(chunks, kind.shape.chunk_bytes(), chunk_bytes) && checked_add(expected, chunk_bytes, expected);
  if (is_countable && expected == file_bytes) return success();
  return refuse("has ", file_bytes, " bytes; expected ", is_countable ? concat(expected) : "more than can be counted", " with ", tokens,
                " tokens (byte 40) and a note of ", note_bytes,
                " bytes (byte 48): one of these numbers is wrong, or the file is cut off or damaged");
}

}  // namespace detail

// Writes the whole session file, or nothing if there is an error. The cache must hold the keys and values of exactly the tokens
// `ids`. It is an error if a key or value is NaN or infinite. A cache of f16 holds infinity for a number above 65504.
inline Status write_session_file(const std::string& path, const SessionKind& kind, std::span<const std::uint32_t> ids,
                                 std::string_view note, const KvCache& cache) {
  Result<AtomicFile> file = AtomicFile::create(path, FileReaders::owner);
  if (!file) return file.error();
  Checksum sum;
  std::uint64_t offset = detail::session_header_bytes;
  const auto append = [&](std::span<const std::byte> bytes) {
    sum.add(bytes);
    const std::uint64_t at = std::exchange(offset, offset + bytes.size());
    return file->write(at, bytes);
  };
  if (Status s = append(std::as_bytes(ids)); !s) return s;
  if (Status s = append(std::as_bytes(std::span(note.data(), note.size()))); !s) return s;
  std::size_t c = 0;
  for (; (c + 1) * kv_chunk <= cache.size(); ++c) {
    if (Status s = detail::check_numbers(cache.shape(), cache.chunk(c), c, ids.size()); !s) return s;
    if (Status s = append(cache.chunk(c)); !s) return s;
  }
  if (c * kv_chunk < cache.size()) {
    AlignedBuffer<std::byte> last;
    if (!cache.copy_stored(last, c)) return out_of_memory("a chunk of the key/value cache", cache.shape().chunk_bytes());
    if (Status s = detail::check_numbers(cache.shape(), {last.data(), last.size()}, c, ids.size()); !s) return s;
    if (Status s = append({last.data(), last.size()}); !s) return s;
  }
  std::vector<std::byte> header = detail::session_header(kind, ids.size(), note.size());
  for (const bool of_all : {true, false}) {
    const std::uint64_t value = of_all ? sum.value() : checksum(header);
    header.resize(header.size() + sizeof value);
    store_as(header.data() + header.size() - sizeof value, value);
  }
  if (Status s = file->write(0, header); !s) return s;
  return file->commit();
}

// Reads a saved session from a file. `kind` describes the session that will restore it. A file that write_session_file() did not write is
// refused, and so are a damaged file and a file of a session of another kind.
inline Result<SavedText> read_session_file(const MappedFile& file, const SessionKind& kind) {
  const auto refuse = [&](const auto&... parts) {
    return Error{ErrorKind::refused_file, concat(printable_path(file.path()), ": ", parts...)};
  };
  const std::span<const std::byte> bytes = file.bytes();
  ByteCursor cursor(bytes);
  std::span<const std::byte> magic, rest;
  if (!cursor.take(session_magic.size(), magic) || std::memcmp(magic.data(), session_magic.data(), magic.size()) != 0) {
    return refuse("has ", bytes.size(), " bytes and is no saved session: expected it to start with '", session_magic, "'");
  }
  std::uint32_t version = 0, type = 0, layers = 0, heads = 0, head_dim = 0, activation_bits = 0;
  std::uint64_t model = 0, tokens = 0, note_bytes = 0, sum_of_all = 0, sum_of_header = 0;
  if (!cursor.read(version)) return refuse("is cut off at byte ", bytes.size());
  if (version != detail::session_version) {
    return refuse("found version ", version, " of saved sessions, expected ", detail::session_version);
  }
  const bool whole = cursor.read(type) && cursor.read(model) && cursor.read(layers) && cursor.read(heads) && cursor.read(head_dim) &&
                     cursor.read(activation_bits) && cursor.read(tokens) && cursor.read(note_bytes) && cursor.read(sum_of_all) &&
                     cursor.read(sum_of_header);
  if (!whole) return refuse("is cut off at byte ", bytes.size());
  if (sum_of_header != checksum(bytes.first(detail::session_header_bytes - sizeof sum_of_header))) {
    return refuse("the checksum of its header is wrong: it is damaged");
  }
  if (model != kind.model) return refuse("was saved with another model");
  const auto number = [&](std::string_view name, std::size_t at, std::uint64_t found, std::uint64_t wanted) -> Status {
    if (found == wanted) return success();
    return refuse(name, " at byte ", at, ": found ", found, "; expected ", wanted, ", as the model has");
  };
  if (Status s = number("layers", 24, layers, kind.shape.layers); !s) return s.error();
  if (Status s = number("key/value heads", 28, heads, kind.shape.heads); !s) return s.error();
  if (Status s = number("size of a head", 32, head_dim, kind.shape.head_dim); !s) return s.error();
  if (type != static_cast<std::uint32_t>(kind.shape.type)) {
    if (type >= kv_types.size()) {
      return refuse("type of the key/value cache at byte 12: found ", type, ", which is unknown; expected ",
                    static_cast<std::uint32_t>(kind.shape.type), ", which is ", kv_type_name(kind.shape.type), ", as this session has");
    }
    return refuse("was saved with a key/value cache of ", kv_type_name(kv_types[type]), "; this session has one of ",
                  kv_type_name(kind.shape.type));
  }
  if (const std::uint32_t expected_bits = detail::bits_in_file(kind.activations); activation_bits != expected_bits) {
    return refuse("was saved with activations of ", detail::activation_bits_text(activation_bits), "; this session has ",
                  detail::activation_bits_text(expected_bits));
  }
  if (Status s = detail::check_session_size(kind, tokens, note_bytes, bytes.size()); !s) return refuse(s.error().message);
  if (sum_of_all != checksum(bytes.subspan(detail::session_header_bytes))) {
    return refuse("the checksum of its contents is wrong: it is damaged");
  }

  SavedText out;
  out.ids.resize(static_cast<std::size_t>(tokens));
  (void)cursor.take(tokens * sizeof(std::uint32_t), rest);  // cannot fail: the size was checked above
  if (!rest.empty()) std::memcpy(out.ids.data(), rest.data(), rest.size());
  for (const std::uint32_t id : out.ids) {
    if (id >= kind.vocabulary) return refuse("token id ", id, " is outside the model's vocabulary of ", kind.vocabulary);
  }
  (void)cursor.take(note_bytes, rest);
  out.note.assign(reinterpret_cast<const char*>(rest.data()), rest.size());
  Result<KvCache> cache = KvCache::create(kind.shape);
  if (!cache) return cache.error();
  out.cache = std::move(*cache);
  if (Status s = out.cache.reserve(out.ids.size()); !s) return s.error();
  for (std::size_t c = 0; c * kv_chunk < out.ids.size(); ++c) {
    const std::span<std::byte> chunk = out.cache.writable_chunk(c);
    (void)cursor.take(chunk.size(), rest);
    std::memcpy(chunk.data(), rest.data(), chunk.size());
    if (Status s = detail::check_numbers(kind.shape, chunk, c, out.ids.size()); !s) return refuse(s.error().message);
  }
  out.cache.set_size(out.ids.size());
  return out;
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
