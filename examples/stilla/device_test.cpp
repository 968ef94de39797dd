// SPDX-License-Identifier: Apache-2.0
//
// stilla npu test: checks whether a device computes what the CPU does. The device runs a short prompt in a process of its own, so
// that a crash or an endless wait in a driver does not stop this process.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <stilla/device_matrix.hpp>

#include "commands.hpp"
#include "embedded_model.hpp"
#include "loading.hpp"
#include "onnxruntime_body.hpp"
#include "options.hpp"
#include "output.hpp"
#include "platform.hpp"
#include "text_input.hpp"

namespace program {
namespace {

// The prompt of the test if the user gives none. It has words of several kinds (numbers, German, code), so that many rows of the embedding
// are used.
constexpr const char* default_prompt = "The sum of 347 and 589 is 936. Der Rest ist Schweigen. int main() { return 0; }";

// If the CPU's logits of two tokens differ by less than `tie`, the device may take either of them as the most likely token.
constexpr float tie = 0.1f;

struct Difference {
  double squared_error = 0, power = 0, divergence = 0;
  std::size_t rows = 0, same_best = 0, wrong_best = 0;
  bool finite = true;
};

double log_sum(const float* logits, std::size_t n, float highest) {
  double sum = 0;
  for (std::size_t i = 0; i < n; ++i) sum += std::exp(static_cast<double>(logits[i] - highest));
  return static_cast<double>(highest) + std::log(sum);
}

void compare(Difference& difference, const float* cpu, const float* device, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    const double error = static_cast<double>(device[i]) - static_cast<double>(cpu[i]);
    difference.squared_error += error * error;
    difference.power += static_cast<double>(cpu[i]) * static_cast<double>(cpu[i]);
    difference.finite = difference.finite && std::isfinite(device[i]);
  }
  const std::size_t best = static_cast<std::size_t>(std::max_element(cpu, cpu + n) - cpu);
  const std::size_t found = static_cast<std::size_t>(std::max_element(device, device + n) - device);
  const double of_cpu = log_sum(cpu, n, cpu[best]), of_device = log_sum(device, n, device[found]);
  for (std::size_t i = 0; i < n; ++i) {
    const double log_p = static_cast<double>(cpu[i]) - of_cpu, log_q = static_cast<double>(device[i]) - of_device;
    difference.divergence += std::exp(log_p) * (log_p - log_q);
  }
  ++difference.rows;
  difference.same_best += best == found;
  difference.wrong_best += best != found && cpu[best] - cpu[found] > tie;
}

// Reads the rows of logits from a file that `stilla logits` wrote; they begin behind the file's header.
std::vector<float> read_rows(const std::string& path, std::size_t count) {
  const std::string bytes = read_file(path);
  std::vector<float> rows(count);
  if (bytes.size() < count * sizeof(float)) fail(exit_failed, "the device's process wrote fewer logits than were asked for");
  std::copy_n(bytes.data() + bytes.size() - count * sizeof(float), count * sizeof(float), reinterpret_cast<char*>(rows.data()));
  return rows;
}

struct DeviceTestOptions {
  ModelOptions model;
  std::string prompt = default_prompt;
};

int test_device(const DeviceTestOptions& options) {
  if (options.model.device.empty()) fail(exit_usage, "which device? --device NAME; stilla npu test --help lists those that are here");
  const bool is_exported = is_onnxruntime(options.model.device);
  if (!is_exported) check(stilla::check_device(options.model.device));
  ModelOptions on_cpu = options.model;
  on_cpu.device.clear();
  on_cpu.onnxruntime = {};
  on_cpu.activations = stilla::ActivationBits::sixteen;
  OpenedModel model = open_model(on_cpu);
  const std::vector<std::uint32_t> ids = model.tokenizer.encode(options.prompt, stilla::SpecialTokens::as_text);
  if (ids.empty() || ids.size() > model.context) {
    fail(exit_usage, fmt::format("the prompt has {} tokens; expected 1 to {}", ids.size(), model.context));
  }
  const std::size_t vocabulary = model.facts.vocabulary;
  const std::string output = (std::filesystem::temp_directory_path() / fmt::format("stilla-device-{}.npy", process_id())).string();
  std::vector<std::string> arguments{"logits", "--device", options.model.device, "--ids", fmt::format("{}", fmt::join(ids, ",")),
                                     "-o",     output};
  const auto pass = [&](const char* option, const std::string& value) {
    if (!value.empty()) arguments.insert(arguments.end(), {option, value});
  };
  pass("-m", options.model.path);
  pass("--device-folder", options.model.onnxruntime.folder);
  pass("--device-library", options.model.onnxruntime.library);
  pass("--device-provider", options.model.onnxruntime.provider_library);
  for (const auto& [key, value] : options.model.onnxruntime.settings) pass("--device-option", fmt::format("{}={}", key, value));
  if (options.model.weights && !is_exported) {
    arguments.insert(arguments.end(), {"--weights", std::string(stilla::format_name(*options.model.weights))});
    pass("--imatrix", options.model.imatrix);
  }
  const std::string ended = run_again(arguments);
  std::error_code ignored;
  if (!ended.empty()) {
    std::filesystem::remove(output, ignored);
    fail(exit_failed, fmt::format("device {}: its process {}; nothing was compared", options.model.device, ended));
  }
  const std::vector<float> rows = read_rows(output, ids.size() * vocabulary);
  std::filesystem::remove(output, ignored);

  Engine engine = load_engine(model, on_cpu, 32);
  Difference difference;
  engine.evaluate_all(
      ids, [&](std::span<const float> row) { compare(difference, row.data(), rows.data() + difference.rows * vocabulary, vocabulary); });
  const double nmse = difference.squared_error / difference.power;
  const bool passed = difference.finite && difference.wrong_best == 0 && nmse < 1e-2;
  write_output(fmt::format("device      {}\npositions   {}\nnmse        {:.3g}\nKL          {:.3g}\nsame best   {} of {}{}\n{}\n",
                           options.model.device, difference.rows, nmse, difference.divergence / static_cast<double>(difference.rows),
                           difference.same_best, difference.rows,
                           difference.wrong_best == 0 ? "" : fmt::format(", {} by more than {}", difference.wrong_best, tie),
                           passed ? "The device computes what the CPU does." : "The device does NOT compute what the CPU does."));
  return passed ? 0 : exit_failed;
}

}  // namespace

void add_device_test(CLI::App& npu, Command& chosen) {
  const auto options = std::make_shared<DeviceTestOptions>();
  CLI::App* command =
      npu.add_subcommand("test", "Run a short prompt on a device, in a process of its own, and compare its logits with the CPU's");
  add_model_options(*command, options->model);
  command->add_option("-p,--prompt", options->prompt, "The prompt (default: a few words)")->type_name("TEXT");
  command->footer(
      "Passes where the most likely token is the CPU's at every position, except for ties, and logits are within 1 % of power.\n"
      "With onnxruntime the weights are the folder's, and --weights names those that the CPU is to have.\n"
      "Example: stilla npu test --device hexagon-emulated --weights int4_channel");
  command->callback([options, &chosen] { chosen = [options] { return test_device(*options); }; });
}

}  // namespace program
