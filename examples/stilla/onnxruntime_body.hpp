// SPDX-License-Identifier: Apache-2.0
//
// Runs the layers of a model in ONNX Runtime. It uses the body (the layers as graphs) that `stilla export --to openvino` or `--to qnn`
// wrote, in its two static shapes: a window of tokens, and one token (export/static_decoder.hpp). Embedding, positions, mask and head are
// computed by the program. Keys and values are kept by the program, in the shapes of both graphs, so that a step copies only its own keys
// and values.
//
// The program uses this body and not the whole model of `--to onnx`, because NPUs compile this form, any provider takes it, and
// the parts that are most sensitive to rounding stay on the CPU's kernels.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include <stilla/base/error.hpp>
#include <stilla/model/body.hpp>
#include <stilla/model/config.hpp>
#include <stilla/rope.hpp>

#include "onnxruntime.hpp"

namespace program {

// Returns whether the device is "onnxruntime", or, with a provider, for example "onnxruntime:QNN".
bool is_onnxruntime(const std::string& device);
// Returns the provider that is part of the device's name, for example "QNN".
std::string onnxruntime_provider(const std::string& device);

struct OnnxruntimeBody {
  std::unique_ptr<stilla::ModelBody> body;
  std::string text;    // "onnxruntime 1.32.0, CPUExecutionProvider, folder drop"
  std::string notice;  // what may be wrong; empty: nothing is
};
// Opens an exported body for a model whose dimensions `config` has, and which rotates by `frequencies` (RoPE). Refuses a library or
// provider that cannot be used (onnxruntime.hpp), a folder that `stilla export` did not write for openvino or qnn, and a folder of a
// model with other dimensions.
stilla::Result<OnnxruntimeBody> open_onnxruntime_body(const OnnxruntimeOptions& options, const stilla::ModelConfig& config,
                                                      const stilla::RopeFrequencies& frequencies, std::size_t threads);

}  // namespace program
