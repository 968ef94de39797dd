// SPDX-License-Identifier: Apache-2.0
//
// The layers of a model, run by something else than this library's kernels: another runtime, and whatever device that drives.
// A Session whose options name a body (forward.hpp) does the rest: tokens and positions, embedding, last norm, head. It needs no
// weights of the layers: Model::load_ends.
#pragma once

#include <cstddef>

#include <stilla/base/error.hpp>
#include <stilla/base/matrix.hpp>
#include <stilla/model/config.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

class ModelBody {
 public:
  virtual ~ModelBody() = default;

  // x, the embeddings of tokens [tokens, hidden] at positions first, first + 1, ..., becomes what the last layer leaves of them. Keys
  // and values of the positions before `first` are those of earlier calls; later ones are forgotten. After an error the same
  // holds: a call with the same `first` is as if it were the first one. first + tokens is at most context().
  virtual Status run(Matrix x, std::size_t first) = 0;

  virtual std::size_t context() const = 0;
  // Of its weights (rotation.hpp), whatever those of the model are. Where the residual stream is rotated, so are its inputs and
  // outputs; the session does that.
  virtual Rotation rotation() const { return {}; }
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
