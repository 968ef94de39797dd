// SPDX-License-Identifier: Apache-2.0
//
// Downloads that stopped. Many programs give a file its full size before they fill it, and a download that stopped then has
// every header right and nothing but zeros at its end. Weights are not like that: no norm and no matrix is all zeros, and where
// a matrix ends in rows that no token uses, they are a few of many.
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

// Refuses a source of which a file ends in zeros that no model has: a whole tensor that is no bias, or an eighth of one and at
// least 1 MiB. Reads each file backwards to its first byte that is not zero, so of a good file one page.
inline Status check_written_to_the_end(const ModelSource& source) {
  constexpr std::uint64_t least_of_a_part = std::uint64_t{1} << 20;
  std::vector<const TensorInfo*> tensors;
  for (std::size_t i = 0; i < source.tensor_count(); ++i) tensors.push_back(&source.tensor(i));
  std::sort(tensors.begin(), tensors.end(), [](const TensorInfo* a, const TensorInfo* b) {
    return a->file != b->file ? a->file < b->file : a->offset > b->offset;  // of each file the last tensor first
  });
  for (std::size_t i = 0; i < tensors.size();) {
    const TensorInfo& tensor = *tensors[i];
    const std::span<const std::byte> bytes = source.tensor_bytes(tensor);
    const auto last = std::find_if(bytes.rbegin(), bytes.rend(), [](std::byte b) { return b != std::byte{0}; });
    const auto zeros = static_cast<std::uint64_t>(last - bytes.rbegin());
    const bool is_all = zeros == bytes.size();
    const bool may_be_zero = tensor.name.ends_with(".bias");
    if (zeros != 0 && (is_all ? !may_be_zero : zeros >= std::max(least_of_a_part, tensor.size_bytes / 8))) {
      return source.tensor_error(tensor, "found nothing but zeros in its last ", zeros, " of ", tensor.size_bytes,
                                 " bytes, up to the end of the tensors: the file has its full size, but a download seems to have "
                                 "stopped before it was filled; get it again");
    }
    // Another tensor of the same file matters only if this one is a bias of zeros.
    const std::uint32_t file = tensor.file;
    ++i;
    while (!is_all && i < tensors.size() && tensors[i]->file == file) ++i;
  }
  return success();
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
