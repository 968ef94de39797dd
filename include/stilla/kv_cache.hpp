// SPDX-License-Identifier: Apache-2.0
//
// The key/value cache of one text, for all layers. Its memory grows in chunks of 256 positions, so that it follows the length of
// the text and not the context limit. fork() makes a second cache, for a text with the same beginning. Both caches refer to the
// same chunks. A cache that is about to write to a chunk which the other may also refer to copies that chunk first.
//
//     type              what is stored for each element of a key or value
//
//     f32, f16, bf16    the numbers as they are, rounded once
//     int8              8-bit codes and a float scale for each position and head: 8.25 bits an element (D = 128). Keys are
//                       stored without the bias of the key projection, which attention() adds (key_bias.hpp). Keys and values
//                       are transformed by a Hadamard transform, so that one scale is enough
//     int5              as int8, but with codes of 5 bits: 5.25 bits an element
//
// On a 0.5B model the logits with int8 differ from those with f32 by a KL divergence of 0.0002, and with int5 by 0.008
// (bench/compare_caches.py). Other forms were tried with queries of 16 bits, where the divergence is 0.0001 with int8. Without the
// Hadamard transform it is 0.0005 with int8, and with the bias left in the keys it is 0.07. 4 bits for values and 6 for keys are no
// better than 5 for both. With 4 bits for values and 5 for keys, it stays above 0.010. With int5 and a scale for every 32 elements
// it is 0.007, but an element takes 0.8 bits more.
//
// Positions 256 c .. 256 c + 255 of all layers are one allocation, which is large enough for large pages:
//
//     chunk c:   [layers][G heads] one KV head's chunk, drawn in include/stilla/contract/attention.hpp
//
// A caller with memory of its own, for example pages that several texts share, uses a KvView: a shape and a table of the
// addresses of chunks. A KvCache owns its chunks. For pages that belong to one layer, use a view for each layer.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <stilla/base/aligned.hpp>
#include <stilla/base/error.hpp>
#include <stilla/base/math.hpp>
#include <stilla/base/types.hpp>
#include <stilla/contract/attention.hpp>
#include <stilla/contract/head_dim.hpp>
#include <stilla/row_kernels.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

enum class KvType : std::uint8_t { f32, f16, bf16, int8, int5 };

// All element types of caches, in the order of the enumeration KvType.
inline constexpr std::array kv_types = {KvType::f32, KvType::f16, KvType::bf16, KvType::int8, KvType::int5};

constexpr std::string_view kv_type_name(KvType type) {
  switch (type) {
    case KvType::f32: return "f32";
    case KvType::f16: return "f16";
    case KvType::bf16: return "bf16";
    case KvType::int8: return "int8";
    case KvType::int5: return "int5";
  }
  return "";
}

inline std::optional<KvType> kv_type(std::string_view name) {
  for (const KvType type : kv_types) {
    if (name == kv_type_name(type)) return type;
  }
  return std::nullopt;
}

// Whether keys of this type are stored without the bias of the key projection.
constexpr bool leaves_out_key_bias(KvType type) { return type == KvType::int8 || type == KvType::int5; }

// Calls f(E{}), where E is the element type that `type` names.
template <class F>
void with_kv_type(KvType type, F&& f) {
  switch (type) {
    case KvType::f32: return f(float{});
    case KvType::f16: return f(f16{});
    case KvType::bf16: return f(bf16{});
    case KvType::int8: return f(KvInt8{});
    case KvType::int5: return f(KvInt5{});
  }
}

struct KvShape {
  std::size_t layers = 0;
  std::size_t heads = 0;     // G
  std::size_t head_dim = 0;  // D, a multiple of 4 up to 256
  KvType type = KvType::f16;

  // How many numbers a head's key (or value) of one position has in memory: head_dim and the padding behind it.
  std::size_t padded_dim() const { return padded_head_dim(head_dim); }

  std::size_t head_bytes() const {
    std::size_t bytes = 0;
    with_kv_type(type, [&](auto element) { bytes = KvLayout<decltype(element)>::bytes(padded_dim()); });
    return bytes;
  }
  std::size_t chunk_bytes() const { return layers * heads * head_bytes(); }
  // Bytes that `positions` positions take in all layers.
  std::size_t bytes(std::size_t positions) const { return (positions + kv_chunk - 1) / kv_chunk * chunk_bytes(); }
};

namespace detail {

// Transforms the key or value x of one position and head with the Hadamard transform, and rounds it to codes. Returns the scale. A key
// or value with an infinity or a NaN gets the scale NaN.
template <IntegerKv E>
float round_to_codes(int* codes, float* x, std::size_t D) {
  row_kernel<Hadamard>(active_target())(x, D);
  const float highest = highest_magnitude(x, D), unit = unit_of(highest, E::largest_code);
  const bool usable = unit > 0.0f;
  for (std::size_t d = 0; d < D; ++d) {
    if constexpr (E::bits == 8) {
      codes[d] = usable ? round_product(x[d], E::largest_code / highest) : 0;
    } else {  // codes are odd numbers
      const float level = usable ? std::floor(x[d] * (E::largest_code / 2.0f / highest)) : 0.0f;
      codes[d] = std::clamp(2 * static_cast<int>(level) + 1, -31, 31);
    }
  }
  return unit / static_cast<float>(hadamard_run(D));  // applying the transform twice multiplies by its length
}

// Stores the key and the value of position j in one head's chunk: `size` numbers of each, and zeros behind them up to D.
template <class E>
void store_in_chunk(std::byte* chunk, std::size_t D, std::size_t j, const float* key, const float* value, std::size_t size) {
  if constexpr (!IntegerKv<E>) {
    E* keys = reinterpret_cast<E*>(chunk + KvLayout<E>::keys) + j / key_tile * key_tile * D + j % key_tile;
    E* values = reinterpret_cast<E*>(chunk + KvLayout<E>::values(D)) + j * D;
    for (std::size_t d = 0; d < size; ++d) {
      keys[d * key_tile] = from_float<E>(key[d]);
      values[d] = from_float<E>(value[d]);
    }
    for (std::size_t d = size; d < D; ++d) keys[d * key_tile] = values[d] = from_float<E>(0.0f);
  } else {
    float turned[max_head_dim];
    int codes[max_head_dim];
    const auto fill = [&](const float* x) { std::fill(std::copy(x, x + size, turned), turned + D, 0.0f); };
    fill(key);
    store_as(chunk + KvLayout<E>::key_scales + j * sizeof(float), round_to_codes<E>(codes, turned, D));
    for (std::size_t d = 0; d < D; ++d) set_key_code<E>(chunk, D, j, d, codes[d]);
    fill(value);
    store_as(chunk + KvLayout<E>::value_scales + j * sizeof(float), round_to_codes<E>(codes, turned, D));
    for (std::size_t d = 0; d < D; ++d) set_value_code<E>(chunk, D, j, d, codes[d]);
  }
}

// Whether the `count` numbers of type E at `bytes` are all finite.
template <class E>
bool are_all_finite(const std::byte* bytes, std::size_t count) {
  constexpr std::uint32_t exponent = std::is_same_v<E, f16> ? 0x7c00u : std::is_same_v<E, bf16> ? 0x7f80u : 0x7f800000u;
  using Bits = std::conditional_t<sizeof(E) == 2, std::uint16_t, std::uint32_t>;
  bool finite = true;
  for (std::size_t i = 0; i < count; ++i) finite &= (load_as<Bits>(bytes + i * sizeof(E)) & exponent) != exponent;
  return finite;
}

}  // namespace detail

// The largest number of layers, and of KV heads, that a cache may have. The limit is far above any model, and low enough that the bytes
// of a chunk of all layers fit in 64 bits.
inline constexpr std::size_t max_layers_or_heads = 65535;

// Returns an error if there can be no cache of this shape.
inline Status check_kv_shape(const KvShape& shape) {
  if (shape.head_dim == 0 || shape.head_dim % head_dim_step != 0 || shape.head_dim > max_head_dim) {
    return Error{ErrorKind::bad_argument, concat("head size ", shape.head_dim, " is not supported: it must be a multiple of ",
                                                 head_dim_step, " up to ", max_head_dim)};
  }
  for (const auto& [count, what] : {std::pair{shape.layers, "layers"}, std::pair{shape.heads, "heads"}}) {
    if (count == 0 || count > max_layers_or_heads) {
      return Error{ErrorKind::bad_argument,
                   concat("a key/value cache of ", count, " ", what, " is not supported: 1 to ", max_layers_or_heads)};
    }
  }
  return success();
}

// Whether all keys and values in a chunk of a cache are numbers: neither NaN nor infinite. `chunk` has shape.chunk_bytes() bytes.
inline bool holds_numbers(const KvShape& shape, std::span<const std::byte> chunk) {
  bool finite = true;
  with_kv_type(shape.type, [&](auto element) {
    using E = decltype(element);
    for (std::size_t at = 0; at < chunk.size(); at += shape.head_bytes()) {
      if constexpr (IntegerKv<E>) {  // codes are always numbers, and the scales of keys and of values lie one behind the other
        finite &= detail::are_all_finite<float>(chunk.data() + at + KvLayout<E>::key_scales, 2 * kv_chunk);
      } else {
        finite &= detail::are_all_finite<E>(chunk.data() + at, shape.head_bytes() / sizeof(E));
      }
    }
  });
  return finite;
}

// Keys and values in memory that the view does not own. Chunk c, which holds positions from 256 c on, is shape.chunk_bytes()
// bytes at chunks[c], on a 64-byte boundary; it need not be cleared. Chunks may lie anywhere, and several views may share them.
// The array of addresses that `chunks` refers to, and the chunks themselves, must outlive the view.
struct KvView {
  KvShape shape;
  std::span<std::byte* const> chunks;

  // The number of positions for which there is room.
  std::size_t reserved() const { return chunks.size() * kv_chunk; }

  // The memory of one KV head's part of a chunk, in one layer.
  std::byte* head_chunk(std::size_t layer, std::size_t chunk, std::size_t head) const {
    return chunks[chunk] + (layer * shape.heads + head) * shape.head_bytes();
  }

  // Checks that the shape is possible, and that the address of every chunk is on a 64-byte boundary and not null.
  Status check() const {
    if (Status s = check_kv_shape(shape); !s) return s;
    for (std::size_t c = 0; c < chunks.size(); ++c) {
      if (chunks[c] == nullptr || reinterpret_cast<std::uintptr_t>(chunks[c]) % cache_line_bytes != 0) {
        return Error{ErrorKind::bad_argument,
                     concat("key/value chunk ", c, " of ", chunks.size(), " is null or on no boundary of ", cache_line_bytes)};
      }
    }
    return success();
  }

  // Stores the rotated keys and the values of all KV heads at one position: heads * head_dim floats of each. Threads may store at the
  // same time if they store to different layers or to different tiles of 16 positions. If there is no such layer or position, this is
  // an error and nothing is stored.
  Status store(std::size_t layer, std::size_t position, const float* key, const float* value) const {
    if (layer >= shape.layers || position / kv_chunk >= chunks.size()) {
      return Error{ErrorKind::bad_argument, concat("KvView::store: layer ", layer, ", position ", position, ": there are ", shape.layers,
                                                   " layers and ", reserved(), " positions")};
    }
    const std::size_t D = shape.head_dim;
    with_kv_type(shape.type, [&](auto element) {
      using E = decltype(element);
      for (std::size_t g = 0; g < shape.heads; ++g) {
        detail::store_in_chunk<E>(head_chunk(layer, position / kv_chunk, g), shape.padded_dim(), position % kv_chunk, key + g * D,
                                  value + g * D, D);
      }
    });
    return success();
  }
};

class KvCache {
 public:
  static Result<KvCache> create(const KvShape& shape) {
    if (Status s = check_kv_shape(shape); !s) return s.error();
    KvCache cache;
    cache.shape_ = shape;
    return cache;
  }

  const KvShape& shape() const { return shape_; }
  // The view of the cache that attention() takes. It is valid until reserve() makes room or the cache is moved.
  KvView view() const { return {shape_, table_}; }
  // The number of positions that are stored.
  std::size_t size() const { return size_; }
  // The bytes of all chunks of this cache, including those that it shares with other caches.
  std::size_t bytes() const { return chunks_.size() * shape_.chunk_bytes(); }

  // Makes room for positions [0, count), so that the caller can store those from size() on. After an error, the positions stored
  // so far can still be used, and the cache has not grown.
  Status reserve(std::size_t count) {
    const std::size_t wanted = count / kv_chunk + (count % kv_chunk != 0 ? 1 : 0);
    const std::size_t step = shape_.chunk_bytes();  // 0 for a cache that was not made by create()
    if (step != 0 && wanted > std::numeric_limits<std::size_t>::max() / step) {
      return Error{ErrorKind::system, concat("not enough memory for the key/value cache of ", count, " positions")};
    }
    if (wanted > size_ / kv_chunk && size_ / kv_chunk < shared_) {
      if (!own_chunks_from(size_ / kv_chunk)) return out_of_memory("the key/value cache", shape_.bytes(count));
    }
    const std::size_t before = chunks_.size();
    while (chunks_.size() < wanted) {
      Chunk chunk = new_chunk();
      if (!chunk) {
        chunks_.resize(before);
        table_.resize(before);
        return out_of_memory("the key/value cache", shape_.bytes(count));
      }
      table_.push_back(chunk->data());
      chunks_.push_back(std::move(chunk));
    }
    return success();
  }

  // Makes a second cache with the same text. Both caches share the stored chunks until one of them stores to a chunk.
  KvCache fork() {
    const std::size_t stored = (size_ + kv_chunk - 1) / kv_chunk;
    KvCache other;
    other.shape_ = shape_;
    other.size_ = size_;
    other.chunks_.assign(chunks_.begin(), chunks_.begin() + static_cast<std::ptrdiff_t>(stored));
    other.table_.assign(table_.begin(), table_.begin() + static_cast<std::ptrdiff_t>(stored));
    other.shared_ = stored;
    shared_ = std::max(shared_, stored);
    return other;
  }

  // The number of positions for which there is room.
  std::size_t reserved() const { return chunks_.size() * kv_chunk; }

  // Stores the rotated keys and the values of all KV heads, heads * head_dim floats of each, at a reserved position. Threads may store
  // at the same time if they store to different layers or to different tiles of 16 positions. It is an error, and nothing is stored,
  // if there is no such layer or position, or if the position is in a chunk that another cache may share: reserve() has to copy that
  // chunk first.
  Status store(std::size_t layer, std::size_t position, const float* key, const float* value) {
    if (layer >= shape_.layers || position / kv_chunk >= chunks_.size() || position / kv_chunk < shared_) {
      return Error{ErrorKind::bad_argument, concat("KvCache::store: layer ", layer, ", position ", position, ": reserved are ",
                                                   shape_.layers, " layers and positions ", shared_ * kv_chunk, " to ", reserved())};
    }
    return view().store(layer, position, key, value);
  }

  // Declares that positions [0, count) are stored. Call it with a larger count after positions were stored, and with a smaller one
  // to take some of them back. Positions from count on are forgotten.
  void set_size(std::size_t count) { size_ = count; }

  // The bytes of a chunk of the cache, for code that writes a cache to a file or reads it. In the writable bytes, change only
  // positions that reserve() made room for and that are not stored yet: those from size() on.
  std::span<const std::byte> chunk(std::size_t index) const { return {chunks_[index]->data(), shape_.chunk_bytes()}; }
  std::span<std::byte> writable_chunk(std::size_t index) { return {chunks_[index]->data(), shape_.chunk_bytes()}; }

  // Copies chunk(index) to `to`, with keys and values of 0 from size() on. From size() on, the chunk itself may still hold keys
  // and values of positions that were forgotten (set_size). Returns false if memory is short.
  [[nodiscard]] bool copy_stored(AlignedBuffer<std::byte>& to, std::size_t index) const {
    if (!to.resize(shape_.chunk_bytes())) return false;
    std::memcpy(to.data(), chunks_[index]->data(), to.size());
    const std::size_t stored = std::min(size_ - index * kv_chunk, kv_chunk);
    const float nothing[max_head_dim] = {};
    with_kv_type(shape_.type, [&](auto element) {
      for (std::size_t head = 0; head < shape_.layers * shape_.heads; ++head) {
        std::byte* at = to.data() + head * shape_.head_bytes();
        for (std::size_t j = stored; j < kv_chunk; ++j) {
          detail::store_in_chunk<decltype(element)>(at, shape_.padded_dim(), j, nothing, nothing, shape_.head_dim);
        }
      }
    });
    return true;
  }

  // The memory of one KV head's part of a chunk, in one layer.
  const std::byte* head_chunk(std::size_t layer, std::size_t chunk, std::size_t head) const {
    return view().head_chunk(layer, chunk, head);
  }

 private:
  using Chunk = std::shared_ptr<AlignedBuffer<std::byte>>;

  // Makes a new chunk. Returns null if memory is short.
  Chunk new_chunk() const {
    AlignedBuffer<std::byte> memory;
    if (!memory.resize(shape_.chunk_bytes())) return nullptr;
    memory.fill_zero();
    return std::make_shared<AlignedBuffer<std::byte>>(std::move(memory));
  }

  // Gives this cache chunks of its own from the chunk `first` on, which holds position size(). The stored part of that chunk is copied,
  // and the later chunks are forgotten.
  [[nodiscard]] bool own_chunks_from(std::size_t first) {
    Chunk copy;
    if (size_ % kv_chunk != 0) {
      copy = new_chunk();
      if (!copy) return false;
      std::memcpy(copy->data(), chunks_[first]->data(), shape_.chunk_bytes());
    }
    chunks_.resize(first);
    table_.resize(first);
    if (copy) {
      table_.push_back(copy->data());
      chunks_.push_back(std::move(copy));
    }
    shared_ = first;
    return true;
  }

  KvShape shape_;
  std::vector<Chunk> chunks_;  // [position / 256]
  std::vector<std::byte*> table_;  // the addresses of the chunks
  std::size_t size_ = 0;
  std::size_t shared_ = 0;     // how many chunks, counted from the first, other caches may refer to as well
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
