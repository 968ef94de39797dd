// SPDX-License-Identifier: Apache-2.0
#include "source_weights.hpp"

#include <algorithm>
#include <span>
#include <utility>

#include <stilla/base/matrix.hpp>
#include <stilla/format/encode_rows.hpp>
#include <stilla/format/encoding_error.hpp>

namespace program {
namespace {

using stilla::ConstMatrix;
using stilla::FormatId;
using stilla::Result;

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
  stilla::with_format(tensor.format, [&]<class F>(F) { stilla::decode_row<F>(file_.tensor_bytes(tensor).data(), values.data(), size); });
  return values;
}

Result<SourceWeights::Encoded> SourceWeights::encoded(const stilla::TensorInfo& tensor, FormatId format) const {
  const auto N = static_cast<std::size_t>(tensor.rows()), K = static_cast<std::size_t>(tensor.columns());
  Encoded out;
  if (!changes(tensor)) {
    Result<stilla::AlignedBuffer<std::byte>> blocks =
        stilla::requantise_rows(format, tensor.format, file_.tensor_bytes(tensor).data(), N, K, parallel_, mean_squares(tensor, format));
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
    stilla::EncodingError error;
    if (stilla::Status s = error.add(format, out.blocks.data(), values, parallel_); !s) return s.error();
    out.relative_rmse = error.relative_rmse();
  }
  file_.drop_tensor_pages(tensor, tensor.size_bytes);
  return out;
}

}  // namespace program
