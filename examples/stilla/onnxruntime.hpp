// SPDX-License-Identifier: Apache-2.0
//
// ONNX Runtime as far as the program needs it, from the user's own library, which is loaded when somebody asks for it: the program is
// built and starts without. Its C API is a table of function pointers that only ever grows at its end, got by OrtGetApiBase() and a
// version; onnxruntime.cpp declares the entries that are used, by their places in that table. So no header of ONNX Runtime is
// needed, and none is copied.
//
// Errors are one line that names the library.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <stilla/base/error.hpp>

namespace program {

// What `--device onnxruntime[:PROVIDER]` and its further options say.
struct OnnxruntimeOptions {
  std::string provider;          // "QNN" for QNNExecutionProvider; empty: the CPU's
  std::string library;           // empty: one beside the program, or the system's
  std::string provider_library;  // of a provider that has one of its own; empty: none
  std::vector<std::pair<std::string, std::string>> settings;  // of the provider
  std::string folder;            // that `stilla export` wrote
};

class Onnxruntime {
 public:
  // The environment's variable that names the library where no option does.
  static constexpr const char* variable = "STILLA_ONNXRUNTIME";

  // Loads the library and registers the provider. Refused: a library that is not there, is none of ONNX Runtime or is older than
  // 1.22, a provider that it does not have.
  static stilla::Result<std::shared_ptr<Onnxruntime>> open(const OnnxruntimeOptions& options, std::size_t threads);
  virtual ~Onnxruntime() = default;

  // "onnxruntime 1.32.0, CPUExecutionProvider"
  virtual std::string name() const = 0;

  // A float32 tensor of a graph. Memory is the caller's, and outlives the graph.
  struct Tensor {
    std::string name;
    std::vector<std::int64_t> shape;
    float* data = nullptr;
  };

  class Graph {
   public:
    virtual ~Graph() = default;
    // Computes outputs from inputs, whose tensors were given when it was opened.
    virtual stilla::Status run() = 0;
  };
  // A graph's file. All of it runs on the provider, or it is refused.
  virtual stilla::Result<std::unique_ptr<Graph>> open_graph(const std::string& path, std::span<const Tensor> inputs,
                                                            std::span<const Tensor> outputs) = 0;
};

}  // namespace program
