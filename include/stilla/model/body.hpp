// SPDX-License-Identifier: Apache-2.0
//
// The interface through which something other than the kernels of this library runs the layers of a model: another runtime, with any
// device that it uses.
// A Session whose options have a body (forward.hpp) does the rest: tokens and positions, embedding, last norm, head. The session
// does not need the weights of the layers: see Model::load_ends.
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

  // x holds the embeddings of tokens [tokens, hidden] at the positions first, first + 1, ...; the function replaces them by the
  // output of the last layer. Keys and values of positions before `first` are those of earlier calls. Keys and values of `first`
  // and later positions are forgotten. After an error, a call with the same `first` must work as if the failed call had not
  // happened. first + tokens is at most context().
  virtual Status run(Matrix x, std::size_t first) = 0;

  virtual std::size_t context() const = 0;
  // The rotation of the body's weights (rotation.hpp), which may differ from that of the model. If it rotates the
  // residual stream, run() takes rotated inputs and gives rotated outputs. The session rotates the inputs before the call, and turns
  // the outputs back after it; a body does neither.
  virtual Rotation rotation() const { return {}; }
};

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
