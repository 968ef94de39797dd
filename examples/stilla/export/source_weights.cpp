// SPDX-License-Identifier: Apache-2.0
#include "source_weights.hpp"

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>

#include <stilla/base/matrix.hpp>
#include <stilla/format/encode_rows.hpp>

namespace program {
namespace {

using stilla::ConstMatrix;
using stilla::FormatId;
using stilla::Result;

double relative_rmse_of(const stilla::AlignedBuffer<std::byte>& blocks, ConstMatrix values, FormatId format,
                        stilla::Parallel parallel) {
  std::vector<double> error(values.rows), size(values.rows);
  stilla::with_format(format, [&]<class F>(F) {
    parallel(values.rows, [&](std::size_t n) {
      std::vector<float> decoded(values.cols);
      stilla::decode_row<F>(blocks.data() + n * stilla::row_bytes<F>(values.cols), decoded.data(), values.cols);
      for (std::size_t k = 0; k < values.cols; ++k) {
        const auto value = static_cast<double>(values.row(n)[k]), difference = static_cast<double>(decoded[k]) - value;
        error[n] = std::fma(difference, difference, error[n]);
        size[n] = std::fma(value, value, size[n]);
      }
    });
  });
  double all_error = 0.0, all_size = 0.0;
  for (std::size_t n = 0; n < values.rows; ++n) {
    all_error += error[n];
    all_size += size[n];
  }
  return all_size > 0.0 ? std::sqrt(all_error / all_size) : 0.0;
}

}  // namespace

Result<std::vector<float>> SourceWeights::vector(const stilla::TensorInfo& tensor) const {
  const auto size = static_cast<std::size_t>(tensor.columns());
  std::vector<float> values(size);
  if (changes(tensor)) {
    stilla::AlignedBuffer<float> changed;
    if (stilla::Status s = stilla::changed_values(file_, tensor, *change_, changed, parallel_); !s) return s.error();
    std::copy_n(changed.data(), size, values.data());
    return values;
  }
  stilla::with_format(tensor.format,
                      [&]<class F>(F) { stilla::decode_row<F>(file_.tensor_bytes(tensor).data(), values.data(), size); });
  return values;
}

Result<SourceWeights::Encoded> SourceWeights::encoded(const stilla::TensorInfo& tensor, FormatId format) const {
  const auto N = static_cast<std::size_t>(tensor.rows()), K = static_cast<std::size_t>(tensor.columns());
  Encoded out;
  if (!changes(tensor)) {
    Result<stilla::AlignedBuffer<std::byte>> blocks =
        stilla::requantise_rows(format, tensor.format, file_.tensor_bytes(tensor).data(), N, K, parallel_);
    if (!blocks) return file_.tensor_error(tensor, blocks.error().message);
    out.blocks = std::move(*blocks);
  } else {
    const Result<std::size_t> bytes = stilla::encoded_bytes(format, N, K);
    if (!bytes) return file_.tensor_error(tensor, bytes.error().message);
    stilla::AlignedBuffer<float> floats;
    if (stilla::Status s = stilla::changed_values(file_, tensor, *change_, floats, parallel_); !s) return s.error();
    if (!out.blocks.resize(*bytes)) return stilla::out_of_memory("a tensor's weights", *bytes);
    const ConstMatrix values(floats.data(), N, K);
    const std::span<std::byte> blocks(out.blocks.data(), *bytes);
    if (stilla::Status s = change_->encode(tensor, blocks, values, format, parallel_); !s) {
      return file_.tensor_error(tensor, s.error().message);
    }
    out.relative_rmse = relative_rmse_of(out.blocks, values, format, parallel_);
  }
  file_.drop_tensor_pages(tensor, tensor.size_bytes);
  return out;
}

}  // namespace program
