// SPDX-License-Identifier: Apache-2.0
//
// The tensors of a model file, changed as the options --rotate and --calibrate ask, or encoded as --imatrix asks (weight_change.hpp).
#pragma once

#include <cstddef>
#include <vector>

#include <stilla/base/aligned.hpp>
#include <stilla/base/error.hpp>
#include <stilla/base/parallel.hpp>
#include <stilla/format/format_id.hpp>
#include <stilla/io/gguf.hpp>
#include <stilla/io/imatrix.hpp>
#include <stilla/io/packed_file.hpp>

namespace program {

class SourceWeights {
 public:
  // `file`, `change` and `imatrix` must outlive this object. `change` is what changes the tensors, or null. `imatrix` is the
  // importance matrix, or null.
  SourceWeights(const stilla::GgufFile& file, const stilla::TensorChange* change, const stilla::Imatrix* imatrix, stilla::Parallel parallel)
      : file_(file), change_(change), imatrix_(imatrix), parallel_(parallel) {}

  const stilla::GgufFile& file() const { return file_; }
  stilla::Parallel parallel() const { return parallel_; }
  // Returns the importance of inputs that the encoder of `format` is given for a tensor that is neither rotated nor
  // calibrated: mean squares of the inputs, or nothing without an importance matrix.
  std::span<const float> mean_squares(const stilla::TensorInfo& tensor, stilla::FormatId format) const {
    return stilla::mean_squares_for(imatrix_, tensor, format);
  }
  bool changes(const stilla::TensorInfo& tensor) const { return change_ != nullptr && change_->changes(tensor); }

  stilla::Result<std::vector<float>> vector(const stilla::TensorInfo& tensor) const;

  // The rows of a matrix as blocks of a format, and the relative error that encoding them gave to the weights.
  struct Encoded {
    stilla::AlignedBuffer<std::byte> blocks;
    double relative_rmse = 0.0;  // sqrt(mean((new - old)^2) / mean(old^2)); 0 for a tensor that `change` leaves as it is
  };
  // Encodes a tensor. It takes the memory of the encoded matrix and, if the matrix changes, also that of its values as floats (three
  // times as much with --calibrate). It refuses a format without an encoder, and rows that are not a whole number of blocks.
  stilla::Result<Encoded> encoded(const stilla::TensorInfo& tensor, stilla::FormatId format) const;

 private:
  const stilla::GgufFile& file_;
  const stilla::TensorChange* change_;
  const stilla::Imatrix* imatrix_;
  stilla::Parallel parallel_;
};

}  // namespace program
