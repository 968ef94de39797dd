// SPDX-License-Identifier: Apache-2.0
//
// The device `onednn` multiplies by oneDNN's matmul (2.6 or later, also 3.x). It is for programs that contain oneDNN anyway, and for
// comparisons. The device exists only where STILLA_ONEDNN is defined as 1 (devices.hpp); the program must then be linked to oneDNN.
// oneDNN's results differ from those of the targets, and they may differ from one CPU, one version or one number of threads to another.
//
//     weights                                    what is multiplied                            memory for each weight
//
//     int8_channel, int4_channel: integers       s8 by activations rounded to u8, one scale    1 byte
//     with one scale for each row                for each row of x, and sums of 32 bits
//     all others                                 f32 by f32                                    4 bytes
//     the caller's floats (share())              f32 by f32, where they lie                    none
//
// Activations are rounded to 8 bits, but to 7 bits where oneDNN uses no VNNI on x86: there it adds pairs of products in 16 bits, which
// saturate. With 7 bits the largest sum, 2 * 126 * 128, fits. (With 8 bits, a test with the largest products had an error of 83 %.)
// With weights for which activations are rounded, an activation that is NaN or infinite is an error.
//
// prepare() chooses the layout of the weights that oneDNN wants for many tokens, and few tokens use the same layout. oneDNN divides a
// product among threads of its own. Its C++ interface throws exceptions, so a file with this header must be compiled with exceptions. The
// device returns errors instead, for exceptions of oneDNN and for memory that runs out.
//
// This device was tested with oneDNN 2.6 and 3.2, and only with their code for AVX2. Their code for AVX-512, VNNI and AMX was not executed.
//
//   Result<OneDnn::Weights> w = OneDnn::share(ConstMatrix(floats, N, K));   // no copy: `floats` must outlive w
//   Status done = OneDnn::multiply(y, *w, x);
#pragma once

#include <stilla/base/config.hpp>

#if STILLA_ONEDNN

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <new>
#include <type_traits>
#include <utility>

#include <oneapi/dnnl/dnnl.hpp>

#include <stilla/base/aligned.hpp>
#include <stilla/base/device.hpp>
#include <stilla/base/math.hpp>
#include <stilla/format/format.hpp>

#if DNNL_VERSION_MAJOR < 2 || (DNNL_VERSION_MAJOR == 2 && DNNL_VERSION_MINOR < 6)
#error "The device onednn needs oneDNN 2.6 or later."
#endif

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

struct OneDnn {
  static constexpr DeviceId id{"onednn"};
  // The tolerance of a product: sum (y - exact)^2 / sum exact^2 is at most this number (base/device.hpp). It holds for activations that
  // are evenly distributed, even if they are rounded to 7 bits. The largest quotient that tests found is 1.2e-4.
  static constexpr double tolerance = 2e-4;
  // The number of rows of x for which prepare() chooses the layout of the weights.
  static constexpr dnnl::memory::dim layout_rows = 256;

  static constexpr std::size_t longest_integer_row = 65536;  // 254 * 128 * K stays below 2^31

  static constexpr bool has_own_threads = true;
  static bool available() { return dnnl::engine::get_count(dnnl::engine::kind::cpu) > 0; }

  struct Weights {
    std::size_t rows = 0, cols = 0;  // N, K
    dnnl::memory matrix;  // K x N, in the layout that oneDNN chose
    bool is_integer = false;
    bool is_shared = false;  // the matrix is the caller's memory
    AlignedBuffer<float> scales;  // [N], if the weights are integers: the scale of each row
    AlignedBuffer<std::int32_t> sums;  // [N], the sum of each row's integers, needed because activations have a zero point
  };

  template <class F>
  static constexpr bool has_integers() {
    if constexpr (RowScaledFormat<F>) return !F::has_sub_scales && !F::has_minimum && !F::is_codebook;
    return false;
  }

  template <class F>
  static Result<Weights> prepare(const std::byte* rows, std::size_t N, std::size_t K) {
    if (N == 0 || K == 0) return no_weights(N, K, K);
    if (K % F::block_weights != 0) {
      return Error{ErrorKind::bad_argument, concat(K, " columns are not a multiple of the ", F::name, " block of ", F::block_weights)};
    }
    using T = std::conditional_t<has_integers<F>(), std::int8_t, float>;
    Weights w;
    w.rows = N;
    w.cols = K;
    w.is_integer = has_integers<F>();
    if (w.is_integer && K > longest_integer_row) {
      return Error{ErrorKind::bad_argument,
                   concat(K, " columns of ", F::name, "; sums of products of bytes fit 32 bits up to ", longest_integer_row)};
    }
    AlignedBuffer<T> values;
    if (!values.resize(N * K) || !w.scales.resize(N) || !w.sums.resize(N)) {
      return out_of_memory("weights for oneDNN", N * K * sizeof(T));
    }
    for (std::size_t n = 0; n < N; ++n) {
      const std::byte* const blocks = rows + n * row_bytes<F>(K);
      T* const to = values.data() + n * K;
      if constexpr (has_integers<F>()) {
        w.scales[n] = F::scale(blocks);
        w.sums[n] = 0;
        const std::byte* block = blocks + row_head_bytes<F>;
        for (std::size_t k = 0; k < K; ++k) {
          to[k] = static_cast<std::int8_t>(F::code(block + k / F::block_weights * F::block_bytes, k % F::block_weights) - F::zero_point);
          w.sums[n] += to[k];
        }
      } else {
        decode_row<F>(blocks, to, K);
      }
    }
    return guarded([&]() -> Result<Weights> {
      const dnnl::memory::desc plain = weights_desc<T>(N, K, K);
      const dnnl::matmul::primitive_desc chosen = product<T>(any_layout<T>(N, K), layout_rows, N, K, K, N);
      dnnl::memory from(plain, engine(), values.data());
      w.matrix = dnnl::memory(chosen.weights_desc(), engine());
      dnnl::stream stream(engine());
      dnnl::reorder(from, w.matrix).execute(stream, from, w.matrix);
      stream.wait();
      return std::move(w);
    });
  }

  // Uses the caller's weights W[N, K] where they lie in memory. The weights must outlive the result.
  static Result<Weights> share(ConstMatrix weights) {
    if (weights.data == nullptr || weights.rows == 0 || weights.cols == 0 || weights.stride < weights.cols) {
      return no_weights(weights.rows, weights.cols, weights.stride);
    }
    return guarded([&]() -> Result<Weights> {
      Weights w;
      w.rows = weights.rows;
      w.cols = weights.cols;
      w.is_shared = true;
      w.matrix = dnnl::memory(weights_desc<float>(weights.rows, weights.cols, weights.stride), engine(), const_cast<float*>(weights.data));
      return w;
    });
  }

  // Computes y[M, N] = x[M, K] * W^T. Several threads may call this function for the same weights at the same time.
  static Status multiply(Matrix y, const Weights& w, ConstMatrix x) {
    if (w.rows == 0 || x.cols != w.cols || y.cols != w.rows || y.rows != x.rows) {
      return Error{ErrorKind::bad_argument, concat("found y of ", y.rows, " x ", y.cols, " and x of ", x.rows, " x ", x.cols,
                                                   " for weights of ", w.rows, " x ", w.cols)};
    }
    if (x.rows == 0) return success();
    return guarded([&] { return w.is_integer ? multiply_integers(y, w, x) : multiply_floats(y, w, x); });
  }

 private:
  using Dims = dnnl::memory::dims;
  using Tag = dnnl::memory::format_tag;
  static Error no_weights(std::size_t N, std::size_t K, std::size_t stride) {
    return {ErrorKind::bad_argument, concat("found weights of ", N, " x ", K, ", stride ", stride)};
  }
  static dnnl::memory::dim dim(std::size_t n) { return static_cast<dnnl::memory::dim>(n); }

  template <class T>
  static constexpr dnnl::memory::data_type weights_type =
      std::is_same_v<T, float> ? dnnl::memory::data_type::f32 : dnnl::memory::data_type::s8;
  template <class T>
  static constexpr dnnl::memory::data_type inputs_type =
      std::is_same_v<T, float> ? dnnl::memory::data_type::f32 : dnnl::memory::data_type::u8;
  template <class T>
  static constexpr dnnl::memory::data_type results_type =
      std::is_same_v<T, float> ? dnnl::memory::data_type::f32 : dnnl::memory::data_type::s32;

  static const dnnl::engine& engine() {
    static const dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
    return cpu;
  }

  // Describes weights to oneDNN as a K x N matrix. In memory they are N rows of K numbers, which begin `stride` numbers apart.
  template <class T>
  static dnnl::memory::desc weights_desc(std::size_t N, std::size_t K, std::size_t stride) {
    return {Dims{dim(K), dim(N)}, weights_type<T>, Dims{1, dim(stride)}};
  }
  template <class T>
  static dnnl::memory::desc any_layout(std::size_t N, std::size_t K) {
    return {Dims{dim(K), dim(N)}, weights_type<T>, Tag::any};
  }

  // Describes to oneDNN the product of x[M, K] and weights in the layout `weights`. The rows of x begin x_stride numbers apart, and those
  // of the results y_stride numbers.
  template <class T>
  static dnnl::matmul::primitive_desc product(const dnnl::memory::desc& weights, dnnl::memory::dim M, std::size_t N, std::size_t K,
                                              std::size_t x_stride, std::size_t y_stride) {
    const dnnl::memory::desc x(Dims{M, dim(K)}, inputs_type<T>, Dims{dim(x_stride), 1});
    const dnnl::memory::desc y(Dims{M, dim(N)}, results_type<T>, Dims{dim(y_stride), 1});
    dnnl::primitive_attr attributes;
    attributes.set_fpmath_mode(dnnl::fpmath_mode::strict);  // whatever ONEDNN_DEFAULT_FPMATH_MODE says, floats are not rounded to bf16
#if DNNL_VERSION_MAJOR >= 3
    return dnnl::matmul::primitive_desc(engine(), x, weights, y, attributes);
#else
    return dnnl::matmul::primitive_desc(dnnl::matmul::desc(x, weights, y), attributes, engine());
#endif
  }

  template <class T>
  static void run(const Weights& w, std::size_t M, const void* x, std::size_t x_stride, void* y, std::size_t y_stride) {
    const dnnl::matmul::primitive_desc chosen = product<T>(w.matrix.get_desc(), dim(M), w.rows, w.cols, x_stride, y_stride);
    dnnl::memory from(chosen.src_desc(), engine(), const_cast<void*>(x)), to(chosen.dst_desc(), engine(), y);
    dnnl::stream stream(engine());
    dnnl::matmul(chosen).execute(stream, {{DNNL_ARG_SRC, from}, {DNNL_ARG_WEIGHTS, w.matrix}, {DNNL_ARG_DST, to}});
    stream.wait();
  }

  // If there are gaps between the rows of x or y, oneDNN 2.6 uses its slow reference code for weights in a layout that it chose itself.
  // So in this case the rows are copied to memory without gaps. Shared weights keep the caller's layout, and nothing is copied.
  static Status multiply_floats(Matrix y, const Weights& w, ConstMatrix x) {
    if (w.is_shared || (x.stride == x.cols && y.stride == y.cols)) {
      run<float>(w, x.rows, x.data, x.stride, y.data, y.stride);
      return success();
    }
    AlignedBuffer<float> inputs, results;
    if (!inputs.resize(x.rows * x.cols) || !results.resize(y.rows * y.cols)) {
      return out_of_memory("a product by oneDNN", x.rows * (x.cols + y.cols) * sizeof(float));
    }
    for (std::size_t m = 0; m < x.rows; ++m) std::copy_n(x.row(m), x.cols, inputs.data() + m * x.cols);
    run<float>(w, x.rows, inputs.data(), x.cols, results.data(), y.cols);
    for (std::size_t m = 0; m < y.rows; ++m) std::copy_n(results.data() + m * y.cols, y.cols, y.row(m));
    return success();
  }

  // Whether oneDNN adds products of bytes in 32 bits. This depends on the instruction sets that oneDNN uses, which may be fewer than the
  // CPU has (the environment variable ONEDNN_MAX_CPU_ISA limits them).
  static bool has_exact_bytes() {
#if STILLA_ARCH_X86
    const dnnl::cpu_isa isa = dnnl::get_effective_cpu_isa();
    return isa != dnnl::cpu_isa::sse41 && isa != dnnl::cpu_isa::avx && isa != dnnl::cpu_isa::avx2 && isa != dnnl::cpu_isa::avx512_core;
#else
    return true;
#endif
  }

  // Rounds each activation x to scale * (u - zero_point) with an integer u, 0 to 2 * zero_point. For a row of integer weights c,
  // y = scale * the row's scale * sum of (u - zero_point) * c. This sum is computed as (sum of u * c) - zero_point * (sum of c): oneDNN
  // computes the first part, and the sum of c is known from prepare().
  static Status multiply_integers(Matrix y, const Weights& w, ConstMatrix x) {
    const int zero_point = has_exact_bytes() ? 127 : 63;
    AlignedBuffer<std::uint8_t> rounded;
    AlignedBuffer<float> scales;
    AlignedBuffer<std::int32_t> products;
    if (!rounded.resize(x.rows * x.cols) || !scales.resize(x.rows) || !products.resize(x.rows * w.rows)) {
      return out_of_memory("a product by oneDNN", x.rows * (x.cols + w.rows * sizeof(std::int32_t)));
    }
    for (std::size_t m = 0; m < x.rows; ++m) {
      const float* const row = x.row(m);
      const float highest = detail::highest_magnitude(row, x.cols);
      if (!detail::is_finite(highest)) return Error{ErrorKind::bad_argument, concat("row ", m, " of x has a number that is not finite")};
      scales[m] = highest / static_cast<float>(zero_point);
      const float inverse = scales[m] > 0.0f ? 1.0f / scales[m] : 0.0f;
      const bool usable = detail::is_finite(inverse);  // a row of subnormal numbers counts as zeros
      for (std::size_t k = 0; k < x.cols; ++k) {
        const int value = usable ? detail::round_product(row[k], inverse) : 0;
        rounded[m * x.cols + k] = static_cast<std::uint8_t>(std::clamp(value, -zero_point, zero_point) + zero_point);
      }
    }
    run<std::int8_t>(w, x.rows, rounded.data(), x.cols, products.data(), w.rows);
    for (std::size_t m = 0; m < x.rows; ++m) {
      for (std::size_t n = 0; n < w.rows; ++n) {
        const std::int32_t sum = products[m * w.rows + n] - zero_point * w.sums[n];
        y.row(m)[n] = static_cast<float>(sum) * (scales[m] * w.scales[n]);
      }
    }
    return success();
  }

  // Returns f(). If f throws an exception of oneDNN, or if memory runs out, returns an error instead.
  template <class F>
  static auto guarded(F&& f) -> decltype(f()) {
    try {
      return f();
    } catch (const dnnl::error& e) {
      return Error{ErrorKind::system, concat("oneDNN: ", e.what())};
    } catch (const std::bad_alloc&) {
      return out_of_memory("a product by oneDNN", 0);
    }
  }
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>

#endif  // STILLA_ONEDNN
