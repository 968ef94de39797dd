// SPDX-License-Identifier: Apache-2.0
//
// Defines a key/value cache and attention over it, and gqa_decode(), a step of attention over keys and values in memory of the
// caller.
#include <algorithm>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <string>
#include <utility>
#include <vector>

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <stilla/attention.hpp>
#include <stilla/base/aligned.hpp>
#include <stilla/kv_cache.hpp>

#include "arrays.hpp"
#include "errors.hpp"
#include "module.hpp"
#include "names.hpp"
#include "pool.hpp"

namespace python {
namespace {

// Returns an array [rows, heads, D] as a matrix whose rows have heads * D floats (D is the size of a head). The floats of a row must
// lie side by side.
stilla::ConstMatrix wide_rows(const Argument& argument, const Array& array) {
  const std::size_t M = array.shape(0), heads = array.shape(1), D = array.shape(2);
  const bool is_whole = M == 0 || heads <= 1 || array.stride(1) == static_cast<std::int64_t>(D);
  if (!is_whole) refuse(argument.op, ": ", argument.name, " has heads that do not lie side by side; numpy.ascontiguousarray helps");
  const std::size_t stride = M > 1 ? static_cast<std::size_t>(array.stride(0)) : heads * D;
  return {static_cast<const float*>(array.data()), M, heads * D, stride};
}

// Returns keys or values, an array [positions, G, D], as a matrix with a row for each position. G is the number of key/value
// heads, D the size of a head.
stilla::ConstMatrix tokens_of(const Argument& argument, const Array& array, const stilla::KvShape& shape) {
  rows_of(argument, array, 3, 3);
  if (array.shape(1) != shape.heads || array.shape(2) != shape.head_dim) {
    refuse(argument.op, ": ", argument.name, " have the shape ", shape_text(shape_of(array)), ", expected [positions, ", shape.heads, ", ",
           shape.head_dim, "]");
  }
  return wide_rows(argument, array);
}

// Returns queries, an array [M, H, D], as a matrix with a row for each of M tokens. H is the number of query heads, D the size of
// a head.
stilla::ConstMatrix queries_of(const Argument& argument, const Array& array, const stilla::KvShape& shape) {
  rows_of(argument, array, 3, 3);
  if (array.shape(2) != shape.head_dim || array.shape(1) == 0 || array.shape(1) % shape.heads != 0) {
    refuse(argument.op, ": ", argument.name, " have the shape ", shape_text(shape_of(array)), ", expected [rows, a multiple of ",
           shape.heads, ", ", shape.head_dim, "]");
  }
  return wide_rows(argument, array);
}

stilla::AttentionOptions options_of(std::string_view op, std::optional<float> scale, std::optional<std::size_t> window,
                                    std::optional<float> soft_cap) {
  if (scale == 0.0f || window == 0 || soft_cap == 0.0f) refuse(op, ": scale, window or soft_cap is 0; None leaves it out");
  return {.scale = scale.value_or(0.0f), .window = window.value_or(0), .soft_cap = soft_cap.value_or(0.0f)};
}

// Computes attention for the rows of `queries`, which stand at the positions from `first` on, on the thread pool that the module has
// for ops. Call it without holding Python's global lock (GIL).
void run_attention(stilla::Matrix out, stilla::ConstMatrix queries, const stilla::KvView& cache, std::size_t layer, std::size_t first,
                   const stilla::AttentionOptions& options) {
  const std::size_t D = cache.shape.head_dim, heads = queries.cols / D;
  stilla::AlignedBuffer<float> scratch;
  const std::size_t floats = stilla::attention_scratch_floats(queries.rows, heads, D, first + queries.rows);
  if (floats != 0 && !scratch.resize(floats)) throw std::bad_alloc();
  const auto pool = op_threads();
  check(stilla::attention(out, queries, cache, layer, first, heads, scratch.data(), *pool, {}, options));
}

// A KvCache whose layers may be filled one after another. Several threads may use it: either one thread writes, or any number of
// threads read.
class Cache {
 public:
  Cache(std::size_t layers, std::size_t heads, std::size_t head_dim, const std::string& type)
      : cache_(value_of(stilla::KvCache::create({layers, heads, head_dim, kv_type_by_name(type)}))), stored_(layers) {}

  const stilla::KvShape& shape() const { return cache_.shape(); }

  std::size_t stored(std::size_t layer) const {
    expect_layer("KvCache.stored", layer);
    const std::shared_lock lock(mutex_);
    return stored_[layer];
  }

  // Stores keys and values [M, G, D] (M positions, G key/value heads of D values) at the positions from `first` on. Without
  // `first` they go behind the positions that the layer holds.
  void store(std::size_t layer, const Array& keys, const Array& values, std::optional<std::size_t> first) {
    expect_layer("KvCache.store", layer);
    const stilla::ConstMatrix k = tokens_of({"KvCache.store", "keys"}, keys, shape()),
                              v = tokens_of({"KvCache.store", "values"}, values, shape());
    if (k.rows != v.rows) refuse("KvCache.store: keys and values of ", k.rows, " and ", v.rows, " positions");
    const nb::gil_scoped_release release;
    const std::unique_lock lock(mutex_);
    const std::size_t begin = first.value_or(stored_[layer]);
    if (begin > stored_[layer]) {
      refuse("KvCache.store: position ", begin, " of layer ", layer, ", which holds ", stored_[layer], ": there would be a gap");
    }
    check(cache_.reserve(begin + k.rows));
    for (std::size_t m = 0; m < k.rows; ++m) check(cache_.store(layer, begin + m, k.row(m), v.row(m)));
    stored_[layer] = begin + k.rows;
    cache_.set_size(*std::max_element(stored_.begin(), stored_.end()));
  }

  void truncate(std::size_t count) {
    const nb::gil_scoped_release release;
    const std::unique_lock lock(mutex_);
    for (std::size_t& positions : stored_) positions = std::min(positions, count);
    cache_.set_size(std::min(cache_.size(), count));
  }

  // Returns the attention of queries [M, H, D] (M rows, H query heads of D values). `first` is the position of row 0. Without it
  // the last row has the last position that the layer holds.
  FloatArray attend(const Array& queries, std::size_t layer, std::optional<std::size_t> first, const stilla::AttentionOptions& options) {
    expect_layer("attention", layer);
    const stilla::ConstMatrix rows = queries_of({"attention", "queries"}, queries, shape());
    const std::size_t M = rows.rows;
    NewArray out(shape_of(queries));
    {
      const nb::gil_scoped_release release;
      const std::shared_lock lock(mutex_);
      const std::size_t held = stored_[layer];
      if (M > held || (first && *first > held - M)) {
        refuse("attention: ", M, " rows from position ", first.value_or(0), ", but layer ", layer, " holds ", held, " positions");
      }
      const std::size_t begin = first.value_or(held - M);
      run_attention({out.data(), M, rows.cols}, rows, cache_.view(), layer, begin, options);
    }
    return std::move(out).release();
  }

 private:
  void expect_layer(std::string_view op, std::size_t layer) const {
    if (layer >= shape().layers) refuse(op, ": layer ", layer, " of a cache of ", shape().layers);
  }

  mutable std::shared_mutex mutex_;
  stilla::KvCache cache_;
  std::vector<std::size_t> stored_;  // the number of positions that each layer holds
};

FloatArray attention(const Array& queries, Cache& cache, std::size_t layer, std::optional<std::size_t> first_position,
                     std::optional<float> scale, bool causal, std::optional<std::size_t> window, std::optional<float> soft_cap) {
  stilla::AttentionOptions options = options_of("attention", scale, window, soft_cap);
  options.causal = causal;
  return cache.attend(queries, layer, first_position, options);
}

stilla::KvShape one_layer(std::size_t heads, std::size_t head_dim, const std::string& type) {
  const stilla::KvShape shape{1, heads, head_dim, kv_type_by_name(type)};
  check(stilla::check_kv_shape(shape));
  return shape;
}

// Stores keys and values [M, G, D] in `chunks`, the caller's memory for a key/value cache, and returns the attention of queries [M,
// H, D] at the same positions. M is the number of tokens, G and H that of key/value heads and query heads, D the size of a head.
FloatArray gqa_decode(const Array& queries, const Array& keys, const Array& values, const nb::ndarray<nb::device::cpu>& chunks,
                      std::size_t position, const std::string& type, std::optional<float> scale, std::optional<std::size_t> window,
                      std::optional<float> soft_cap) {
  constexpr std::string_view op = "gqa_decode";
  rows_of({op, "keys"}, keys, 3, 3);
  const stilla::KvShape shape = one_layer(keys.shape(1), keys.shape(2), type);
  const stilla::ConstMatrix k = tokens_of({op, "keys"}, keys, shape), v = tokens_of({op, "values"}, values, shape),
                            q = queries_of({op, "queries"}, queries, shape);
  if (k.rows != q.rows || v.rows != q.rows) refuse(op, ": ", q.rows, " queries, ", k.rows, " keys and ", v.rows, " values");
  const Array bytes(chunks);
  (void)bytes_of({op, "cache"}, bytes);
  if (chunks.ndim() != 2 || chunks.shape(1) != shape.chunk_bytes()) {
    refuse(op, ": cache has the shape ", shape_text(shape_of(bytes)), ", expected [chunks, ", shape.chunk_bytes(), "]");
  }
  std::vector<std::byte*> table(chunks.shape(0));
  for (std::size_t c = 0; c < table.size(); ++c) table[c] = static_cast<std::byte*>(chunks.data()) + c * shape.chunk_bytes();
  const stilla::KvView view{shape, table};
  check(view.check());
  if (position > view.reserved() || q.rows > view.reserved() - position) {
    refuse(op, ": ", q.rows, " rows from position ", position, " of a cache of ", view.reserved());
  }
  const stilla::AttentionOptions options = options_of(op, scale, window, soft_cap);
  NewArray out(shape_of(queries));
  {
    const nb::gil_scoped_release release;
    for (std::size_t m = 0; m < q.rows; ++m) check(view.store(0, position + m, k.row(m), v.row(m)));
    run_attention({out.data(), q.rows, q.cols}, q, view, 0, position, options);
  }
  return std::move(out).release();
}

}  // namespace

void add_attention(nb::module_& module) {
  nb::class_<Cache>(module, "KvCache",
                    "Keys and values of one text, for all layers. Memory grows with the text, 256 positions at a time.\n\n"
                    "layers, heads: of the cache (heads of keys, not of queries). head_dim: D, a multiple of 4 up to 256.\n"
                    "type: \"f32\", \"f16\", \"bf16\", \"int8\" or \"int5\"; smaller types round more.")
      .def(nb::init<std::size_t, std::size_t, std::size_t, const std::string&>(), nb::arg("layers"), nb::arg("heads"), nb::arg("head_dim"),
           nb::arg("type") = "f16")
      .def("store", &Cache::store, nb::arg("layer"), nb::arg("keys"), nb::arg("values"), nb::arg("position") = nb::none(),
           "Stores keys (rotated already) and values, float32 [M, heads, D] each, at `position` and on; None: behind "
           "what the layer "
           "holds. What the layer held from there on is forgotten.")
      .def("stored", &Cache::stored, nb::arg("layer") = 0, "How many positions the layer holds.")
      .def("truncate", &Cache::truncate, nb::arg("count"), "Forgets all positions from `count` on, in all layers.");
  module.def("attention", &attention, nb::arg("queries"), nb::arg("cache"), nb::arg("layer") = 0, nb::arg("first_position") = nb::none(),
             nb::kw_only(), nb::arg("scale") = nb::none(), nb::arg("causal") = true, nb::arg("window") = nb::none(),
             nb::arg("soft_cap") = nb::none(),
             "Grouped-query attention: queries float32 [M, H, D], rotated already, H a multiple of the cache's heads; so is "
             "the "
             "result.\n\n"
             "first_position: of row 0; row m sees the positions up to first_position + m. None: the last row is the last "
             "position "
             "that the layer holds.\n"
             "scale: of query . key; None: 1 / sqrt(D). causal=False: all rows see what the last one sees.\n"
             "window: a row sees so many positions at most, its own the last. soft_cap: a score s becomes c tanh(s / c).");
  module.def(
      "kv_chunk_bytes",
      [](std::size_t heads, std::size_t head_dim, const std::string& type) { return one_layer(heads, head_dim, type).chunk_bytes(); },
      nb::arg("heads"), nb::arg("head_dim"), nb::arg("type") = "f16",
      "The bytes that 256 positions of one layer take in a cache of the caller's (gqa_decode).");
  module.def("gqa_decode", &gqa_decode, nb::arg("queries"), nb::arg("keys"), nb::arg("values"), nb::arg("cache").noconvert(),
             nb::arg("position"), nb::arg("type") = "f16", nb::kw_only(), nb::arg("scale") = nb::none(), nb::arg("window") = nb::none(),
             nb::arg("soft_cap") = nb::none(),
             "A step of grouped-query attention over a cache that the caller owns: stores keys and values, float32 [M, G, D] each, at "
             "`position` and on, and returns the attention of queries, float32 [M, H, D], at these positions.\n\n"
             "Keys and queries are rotated already; H is a multiple of G. The positions before have been stored by earlier calls.\n"
             "cache: uint8 [chunks, kv_chunk_bytes(G, D, type)] on a 64-byte boundary, with room for 256 positions in each chunk; it is "
             "written to.\n"
             "type, scale, window, soft_cap: as for KvCache and attention.");
}

}  // namespace python
