// SPDX-License-Identifier: Apache-2.0
#include "onnxruntime.hpp"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string_view>

#include <stilla/io/mapped_file.hpp>

#include "output.hpp"
#include "platform.hpp"

namespace program {
namespace {

using stilla::concat;
using stilla::Error;
using stilla::ErrorKind;
using stilla::Result;
using stilla::Status;

// Declarations from onnxruntime/core/session/onnxruntime_c_api.h of ONNX Runtime 1.22, as far as they are used. Objects are
// opaque. A function that can fail returns null if it succeeds, and otherwise a status that must be released. File names are wide
// strings on Windows.
struct OrtStatus;
struct OrtEnv;
struct OrtSession;
struct OrtSessionOptions;
struct OrtValue;
struct OrtMemoryInfo;
struct OrtEpDevice;
using PathChar = std::filesystem::path::value_type;
using Names = const char* const*;

struct OrtApiBase {
  const void* const* (*get_api)(std::uint32_t version);  // returns null if the library is older than `version`
  const char* (*get_version_string)();
};

constexpr std::uint32_t api_version = 22;  // the first version with lists of devices, and with providers in libraries of their own
constexpr int log_errors = 3, device_allocator = 0, default_memory = 0, element_float = 1;

struct Functions {
  const char* (*get_error_message)(const OrtStatus*);
  OrtStatus* (*create_env)(int log_level, const char* log_id, OrtEnv**);
  OrtStatus* (*disable_telemetry)(const OrtEnv*);
  OrtStatus* (*create_session)(const OrtEnv*, const PathChar*, const OrtSessionOptions*, OrtSession**);
  OrtStatus* (*run)(OrtSession*, const void* run_options, Names input_names, const OrtValue* const* inputs, std::size_t input_count,
                    Names output_names, std::size_t output_count, OrtValue** outputs);
  OrtStatus* (*create_session_options)(OrtSessionOptions**);
  OrtStatus* (*set_threads)(OrtSessionOptions*, int);
  OrtStatus* (*create_tensor)(const OrtMemoryInfo*, void* data, std::size_t bytes, const std::int64_t* shape, std::size_t dimensions,
                              int element_type, OrtValue**);
  OrtStatus* (*create_cpu_memory_info)(int allocator, int memory_type, OrtMemoryInfo**);
  void (*release_env)(OrtEnv*);
  void (*release_status)(OrtStatus*);
  void (*release_memory_info)(OrtMemoryInfo*);
  void (*release_session)(OrtSession*);
  void (*release_value)(OrtValue*);
  void (*release_session_options)(OrtSessionOptions*);
  OrtStatus* (*get_available_providers)(char*** names, int* count);
  OrtStatus* (*release_available_providers)(char** names, int count);
  OrtStatus* (*add_session_config_entry)(OrtSessionOptions*, const char* key, const char* value);
  OrtStatus* (*append_provider)(OrtSessionOptions*, const char* name, Names keys, Names values, std::size_t count);
  OrtStatus* (*register_provider_library)(OrtEnv*, const char* name, const PathChar*);
  OrtStatus* (*get_ep_devices)(const OrtEnv*, const OrtEpDevice* const** devices, std::size_t* count);
  OrtStatus* (*append_provider_devices)(OrtSessionOptions*, OrtEnv*, const OrtEpDevice* const* devices, std::size_t device_count,
                                        Names keys, Names values, std::size_t count);
  const char* (*ep_device_name)(const OrtEpDevice*);
};

// Reads the functions of ONNX Runtime that the program uses from their places in the library's table of function pointers.
Functions functions_of(const void* const* table) {
  const auto read = [&]<class F>(F*& function, std::size_t place) { function = reinterpret_cast<F*>(const_cast<void*>(table[place])); };
  Functions f{};
  read(f.get_error_message, 2);
  read(f.create_env, 3);
  read(f.disable_telemetry, 6);
  read(f.create_session, 7);
  read(f.run, 9);
  read(f.create_session_options, 10);
  read(f.set_threads, 24);
  read(f.create_tensor, 49);
  read(f.create_cpu_memory_info, 69);
  read(f.release_env, 92);
  read(f.release_status, 93);
  read(f.release_memory_info, 94);
  read(f.release_session, 95);
  read(f.release_value, 96);
  read(f.release_session_options, 100);
  read(f.get_available_providers, 125);
  read(f.release_available_providers, 126);
  read(f.add_session_config_entry, 130);
  read(f.append_provider, 216);
  read(f.register_provider_library, 301);
  read(f.get_ep_devices, 303);
  read(f.append_provider_devices, 304);
  read(f.ep_device_name, 312);
  return f;
}

template <class T>
using Owner = std::unique_ptr<T, void (*)(T*)>;

#if defined(_WIN32)
constexpr const char* library_names[] = {"onnxruntime.dll"};
#elif defined(__APPLE__)
constexpr const char* library_names[] = {"libonnxruntime.dylib"};
#else
constexpr const char* library_names[] = {"libonnxruntime.so", "libonnxruntime.so.1"};
#endif

constexpr std::string_view provider_suffix = "ExecutionProvider";

std::string full_name(const std::string& provider) {
  if (provider.empty()) return "CPUExecutionProvider";
  return provider.ends_with(provider_suffix) ? provider : concat(provider, provider_suffix);
}

// Loads the ONNX Runtime library that the user named, by the option or in the environment, or one beside the program, or one that the
// operating system finds.
Result<void*> load_library(const std::string& named, std::string& path) {
  const char* const by_environment = std::getenv(Onnxruntime::variable);
  path = named.empty() && by_environment != nullptr ? by_environment : named;
  std::string reason;
  if (!path.empty()) {
    if (void* library = open_library(path, reason)) return library;
    return Error{ErrorKind::system,
                 concat("ONNX Runtime's library ", stilla::printable_path(path), " cannot be loaded: ", one_line(reason))};
  }
  for (const std::string& folder : {program_folder(), std::string()}) {
    for (const char* name : library_names) {
      path = folder + name;
      if (void* library = open_library(path, reason)) return library;
    }
  }
  return Error{ErrorKind::system,
               concat("ONNX Runtime is not here: there is no ", library_names[0],
                      " beside the program or where the system looks; name it by --device-library or ", Onnxruntime::variable)};
}

class LoadedOnnxruntime : public Onnxruntime, public std::enable_shared_from_this<LoadedOnnxruntime> {
 public:
  static Result<std::shared_ptr<Onnxruntime>> open(const OnnxruntimeOptions& options, std::size_t threads) {
    std::string path;
    // The library stays loaded as long as the process lives, because threads that it has started may still be running.
    const Result<void*> library = load_library(options.library, path);
    if (!library) return library.error();
    const auto get_base = reinterpret_cast<const OrtApiBase* (*)()>(find_symbol(*library, "OrtGetApiBase"));
    const OrtApiBase* const base = get_base == nullptr ? nullptr : get_base();
    if (base == nullptr) {
      return Error{ErrorKind::bad_argument,
                   concat(stilla::printable_path(path), " is no library of ONNX Runtime: it has no OrtGetApiBase")};
    }
    const void* const* const table = base->get_api(api_version);
    if (table == nullptr) {
      return Error{ErrorKind::bad_argument,
                   concat(stilla::printable_path(path), " is ONNX Runtime ", stilla::printable(base->get_version_string()), "; expected 1.",
                          api_version, " or later")};
    }
    const std::shared_ptr<LoadedOnnxruntime> runtime(new LoadedOnnxruntime(functions_of(table), options));
    runtime->version_ = stilla::printable(base->get_version_string());
    runtime->path_ = stilla::printable_path(path);
    if (Status s = runtime->begin(threads); !s) return s.error();
    return std::shared_ptr<Onnxruntime>(runtime);
  }

  std::string name() const override { return concat("onnxruntime ", version_, ", ", full_name(options_.provider)); }

  Result<std::unique_ptr<Graph>> open_graph(const std::string& path, std::span<const Tensor> inputs,
                                            std::span<const Tensor> outputs) override;

 private:
  class LoadedGraph;

  LoadedOnnxruntime(const Functions& functions, const OnnxruntimeOptions& options)
      : f_(functions), options_(options), env_(nullptr, f_.release_env), session_options_(nullptr, f_.release_session_options),
        memory_(nullptr, f_.release_memory_info) {}

  // Converts the status that a call of ONNX Runtime returned to Stilla's Status.
  Status done(OrtStatus* status) const {
    if (status == nullptr) return stilla::success();
    const Owner<OrtStatus> owner(status, f_.release_status);
    return Error{ErrorKind::system, concat("onnxruntime ", version_, ": ", one_line(f_.get_error_message(status)))};
  }

  Status begin(std::size_t threads) {
    OrtEnv* env = nullptr;
    if (Status s = done(f_.create_env(log_errors, "stilla", &env)); !s) return s;
    env_.reset(env);
    if (Status s = done(f_.disable_telemetry(env)); !s) return s;
    OrtMemoryInfo* memory = nullptr;
    if (Status s = done(f_.create_cpu_memory_info(device_allocator, default_memory, &memory)); !s) return s;
    memory_.reset(memory);
    OrtSessionOptions* session_options = nullptr;
    if (Status s = done(f_.create_session_options(&session_options)); !s) return s;
    session_options_.reset(session_options);
    if (Status s = done(f_.set_threads(session_options, static_cast<int>(threads))); !s) return s;
    return add_provider();
  }

  Status add_provider() {
    const std::string wanted = full_name(options_.provider);
    const std::filesystem::path library = file_path(options_.provider_library);
    if (!library.empty()) {
      if (Status s = done(f_.register_provider_library(env_.get(), wanted.c_str(), library.c_str())); !s) return s;
    }
    std::vector<const char*> keys, values;
    for (const auto& [key, value] : options_.settings) {
      keys.push_back(key.c_str());
      values.push_back(value.c_str());
    }
    std::vector<std::string> known;
    std::vector<const OrtEpDevice*> devices;
    if (Status s = find_devices(wanted, known, devices); !s) return s;
    if (wanted == full_name({})) {
      if (keys.empty()) return stilla::success();  // the CPU's provider is always there, behind the others
      return Error{ErrorKind::bad_argument, concat("--device-option: ", wanted, " has no options")};
    }
    if (Status s = done(f_.add_session_config_entry(session_options_.get(), "session.disable_cpu_ep_fallback", "1")); !s) return s;
    if (!devices.empty()) {
      return done(f_.append_provider_devices(session_options_.get(), env_.get(), devices.data(), devices.size(), keys.data(), values.data(),
                                             keys.size()));
    }
    if (std::find(known.begin(), known.end(), wanted) == known.end()) {
      std::string names;
      for (const std::string& name : known) names += concat(names.empty() ? "" : ", ", stilla::printable(name));
      return Error{ErrorKind::bad_argument, concat("onnxruntime ", version_, " (", path_, ") has no provider '", stilla::printable(wanted),
                                                   "'; it has ", names, "; --device-provider names the library of another")};
    }
    const std::string short_name = wanted.substr(0, wanted.size() - provider_suffix.size());
    return done(f_.append_provider(session_options_.get(), short_name.c_str(), keys.data(), values.data(), keys.size()));
  }

  // Finds the names of all execution providers (ONNX Runtime's backends), and the devices of the provider that is wanted. A
  // provider has devices if it comes from a library of its own, or from an ONNX Runtime library that lists its devices.
  Status find_devices(const std::string& wanted, std::vector<std::string>& known, std::vector<const OrtEpDevice*>& devices) const {
    char** names = nullptr;
    int count = 0;
    if (Status s = done(f_.get_available_providers(&names, &count)); !s) return s;
    known.assign(names, names + count);
    if (Status s = done(f_.release_available_providers(names, count)); !s) return s;
    const OrtEpDevice* const* all = nullptr;
    std::size_t devices_count = 0;
    if (Status s = done(f_.get_ep_devices(env_.get(), &all, &devices_count)); !s) return s;
    for (const OrtEpDevice* device : std::span(all, devices_count)) {
      const std::string name = f_.ep_device_name(device);
      if (std::find(known.begin(), known.end(), name) == known.end()) known.push_back(name);
      if (name == wanted) devices.push_back(device);
    }
    return stilla::success();
  }

  Functions f_;
  OnnxruntimeOptions options_;
  std::string version_, path_;
  Owner<OrtEnv> env_;
  Owner<OrtSessionOptions> session_options_;
  Owner<OrtMemoryInfo> memory_;
};

class LoadedOnnxruntime::LoadedGraph : public Graph {
 public:
  explicit LoadedGraph(std::shared_ptr<const LoadedOnnxruntime> runtime)
      : runtime_(std::move(runtime)), session_(nullptr, runtime_->f_.release_session) {}

  Status open(const std::string& path, std::span<const Tensor> inputs, std::span<const Tensor> outputs) {
    const Functions& f = runtime_->f_;
    OrtSession* session = nullptr;
    OrtStatus* const created = f.create_session(runtime_->env_.get(), file_path(path).c_str(), runtime_->session_options_.get(), &session);
    if (Status s = runtime_->done(created); !s) return s;
    session_.reset(session);
    if (Status s = inputs_.add(*runtime_, inputs); !s) return s;
    return outputs_.add(*runtime_, outputs);
  }

  Status run() override {
    return runtime_->done(runtime_->f_.run(session_.get(), nullptr, inputs_.names.data(), inputs_.values.data(), inputs_.values.size(),
                                           outputs_.names.data(), outputs_.values.size(), outputs_.values.data()));
  }

 private:
  struct Values {
    std::vector<std::string> texts;
    std::vector<Owner<OrtValue>> owners;
    std::vector<const char*> names;
    std::vector<OrtValue*> values;

    Status add(const LoadedOnnxruntime& runtime, std::span<const Tensor> tensors) {
      for (const Tensor& tensor : tensors) {
        std::size_t bytes = sizeof(float);
        for (const std::int64_t size : tensor.shape) bytes *= static_cast<std::size_t>(size);
        OrtValue* value = nullptr;
        if (Status s = runtime.done(runtime.f_.create_tensor(runtime.memory_.get(), tensor.data, bytes, tensor.shape.data(),
                                                             tensor.shape.size(), element_float, &value));
            !s) {
          return s;
        }
        owners.emplace_back(value, runtime.f_.release_value);
        values.push_back(value);
        texts.push_back(tensor.name);
      }
      for (const std::string& text : texts) names.push_back(text.c_str());
      return stilla::success();
    }
  };

  std::shared_ptr<const LoadedOnnxruntime> runtime_;
  Owner<OrtSession> session_;
  Values inputs_, outputs_;
};

Result<std::unique_ptr<Onnxruntime::Graph>> LoadedOnnxruntime::open_graph(const std::string& path, std::span<const Tensor> inputs,
                                                                          std::span<const Tensor> outputs) {
  auto graph = std::make_unique<LoadedGraph>(shared_from_this());
  if (Status s = graph->open(path, inputs, outputs); !s) return s.error();
  return std::unique_ptr<Graph>(std::move(graph));
}

}  // namespace

Result<std::shared_ptr<Onnxruntime>> Onnxruntime::open(const OnnxruntimeOptions& options, std::size_t threads) {
  return LoadedOnnxruntime::open(options, threads);
}

}  // namespace program
