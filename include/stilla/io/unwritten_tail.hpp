// SPDX-License-Identifier: Apache-2.0
//
// Detects downloads that stopped. Many programs give a file its full size before they fill it. A download that stopped then has
// correct headers and only zeros at its end. Weights are never like this: no norm and no matrix is all zeros. If the last rows of
// a matrix are zero because no token uses them, they are only a few of many.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <stilla/base/error.hpp>
#include <stilla/io/mapped_file.hpp>
#include <stilla/io/model_source.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// Refuses a source if one of its files ends in more zeros than a model has there: a whole tensor of zeros that is not a bias, or
// zeros at the end of a tensor that are at least an eighth of it and at least 1 MiB. Each file is read backwards up to its last
// byte that is not zero. In a complete file, this reads only one page.
inline Status check_written_to_the_end(const ModelSource& source) {
  constexpr std::uint64_t min_zero_bytes = std::uint64_t{1} << 20;
  std::vector<const TensorInfo*> tensors;
  for (std::size_t i = 0; i < source.tensor_count(); ++i) tensors.push_back(&source.tensor(i));
  std::sort(tensors.begin(), tensors.end(), [](const TensorInfo* a, const TensorInfo* b) {
    return a->file != b->file ? a->file < b->file : a->offset > b->offset;  // for each file the last tensor first
  });
  for (std::size_t i = 0; i < tensors.size();) {
    const TensorInfo& tensor = *tensors[i];
    const std::span<const std::byte> bytes = source.tensor_bytes(tensor);
    const auto last = std::find_if(bytes.rbegin(), bytes.rend(), [](std::byte b) { return b != std::byte{0}; });
    const auto zeros = static_cast<std::uint64_t>(last - bytes.rbegin());
    const bool is_all = zeros == bytes.size();
    const bool may_be_zero = tensor.name.ends_with(".bias");
    if (zeros != 0 && (is_all ? !may_be_zero : zeros >= std::max(min_zero_bytes, tensor.size_bytes / 8))) {
      return source.tensor_error(tensor, "found nothing but zeros in its last ", zeros, " of ", tensor.size_bytes,
                                 " bytes, up to the end of the tensors: the file has its full size, but a download seems to have "
                                 "stopped before it was filled; get it again");
    }
    // If the tensor has a byte that is not zero, the file was written up to its end, and the tensors before this one in the same file
    // are not checked. If the tensor is a bias of nothing but zeros, the tensor before it must be checked too.
    const std::uint32_t file = tensor.file;
    ++i;
    while (!is_all && i < tensors.size() && tensors[i]->file == file) ++i;
  }
  return success();
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
