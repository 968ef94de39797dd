// SPDX-License-Identifier: Apache-2.0
//
// The part of ONNX Runtime that the program needs. It comes from the user's own library, which is loaded only when a command asks
// for it; the program is built and starts without the library. The library's C API is a table of function pointers. OrtGetApiBase()
// leads to the table of a version; newer versions add entries only at the end. onnxruntime.cpp declares the entries that the program
// uses, with their places in that table. So no header of ONNX Runtime is needed, and none is copied.
//
// Every error of these functions is one line that names the library.
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

// The values of the option `--device onnxruntime[:PROVIDER]` and of the options that belong to it.
struct OnnxruntimeOptions {
  std::string provider;          // "QNN" for QNNExecutionProvider; empty: the CPU's provider
  std::string library;           // the library's path; empty: see Onnxruntime::variable
  std::string provider_library;  // the library of a provider that has one of its own; empty: none
  std::vector<std::pair<std::string, std::string>> settings;  // options of the provider
  std::string folder;            // the folder that `stilla export` wrote
};

class Onnxruntime {
 public:
  // The environment variable that names ONNX Runtime's library if no option does. If neither of them names a library, the program loads
  // the one beside itself or, if there is none, the one that the operating system finds.
  static constexpr const char* variable = "STILLA_ONNXRUNTIME";

  // Loads the library and registers the execution provider. It refuses a library that does not exist, is not ONNX Runtime or is
  // older than 1.22, and a provider that the library does not have.
  static stilla::Result<std::shared_ptr<Onnxruntime>> open(const OnnxruntimeOptions& options, std::size_t threads);
  virtual ~Onnxruntime() = default;

  // Returns the version and the provider, for example "onnxruntime 1.32.0, CPUExecutionProvider".
  virtual std::string name() const = 0;

  // A float32 tensor that a graph reads or writes. Its memory belongs to the caller and must outlive the graph.
  struct Tensor {
    std::string name;
    std::vector<std::int64_t> shape;
    float* data = nullptr;
  };

  class Graph {
   public:
    virtual ~Graph() = default;
    // Computes the outputs from the inputs, which are the tensors that were given to open_graph().
    virtual stilla::Status run() = 0;
  };
  // Opens a graph's file. The provider must be able to run all of the graph; otherwise the graph is refused.
  virtual stilla::Result<std::unique_ptr<Graph>> open_graph(const std::string& path, std::span<const Tensor> inputs,
                                                            std::span<const Tensor> outputs) = 0;
};

}  // namespace program
