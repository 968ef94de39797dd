// SPDX-License-Identifier: Apache-2.0
//
// stilla pack: writes a model's weights in the form that the kernels read, to a file that every command takes in place of the
// model. Such a file is written only when the user asks for it, because it is as large as the model.
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <stilla/io/damaged_weights.hpp>
#include <stilla/io/packed_file.hpp>
#include <stilla/base/thread_pool.hpp>

#include "commands.hpp"
#include "embedded_model.hpp"
#include "engine.hpp"
#include "imatrix_option.hpp"
#include "loading.hpp"
#include "options.hpp"
#include "output.hpp"
#include "platform.hpp"
#include "replacing.hpp"
#include "requantised.hpp"
#include "stopwatch.hpp"
#include "weight_change.hpp"

namespace program {
namespace {

struct Options {
  std::string model;
  std::string output;  // empty: beside the model, with the ending .stilla
  // The format that the layers are requantised to. If it is not given, they keep the file's format.
  std::optional<stilla::FormatId> weights = std::nullopt;
  WeightChangeOptions change;
  stilla::LoadMode load_mode = stilla::LoadMode::map;
  std::size_t threads = 0;
  bool verbose = false;
};

// Returns the default name of the output. "m.gguf" and "m-00001-of-00003.gguf" become "m.stilla"; requantised to st4 they become
// "m-st4.stilla", requantised to int4_channel and rotated "m-int4_channel-rotated.stilla", and with an importance matrix
// "m-st4-imatrix.stilla".
std::string default_output(const Options& options) {
  std::string model = options.model;
  while (model.size() > 1 && model.ends_with('/')) model.pop_back();  // the separator at the end of a folder's path
  const std::optional<stilla::GgufPartName> part = stilla::parse_gguf_part_path(model);
  std::string out = part ? std::string(part->stem) : model.ends_with(".gguf") ? model.substr(0, model.size() - 5) : model;
  if (options.weights) out += fmt::format("-{}", stilla::format_name(*options.weights));
  if (options.change.rotation) out += "-rotated";
  if (!options.change.calibration.empty()) out += "-calibrated";
  if (!options.change.imatrix.empty()) out += "-imatrix";
  return out + ".stilla";
}

// Returns whether the file at `output` was already packed from this source with these options. A packed file of another source or
// with other options is replaced. A file of any other kind is not touched: a wrong -o must not cost somebody a model.
bool is_up_to_date(const stilla::ModelSource& source, const std::string& output, const stilla::PackOptions& options) {
  std::error_code ignored;
  if (!std::filesystem::exists(file_path(output), ignored)) return false;
  if (std::filesystem::equivalent(file_path(source.path()), file_path(output), ignored)) {
    fail(exit_usage, fmt::format("-o {}: is the model itself", stilla::printable_path(output)));
  }
  stilla::MappedFile file = value_of(stilla::MappedFile::open(output));
  if (!stilla::begins_as_packed_file(file.bytes())) {
    fail(exit_usage, fmt::format("-o {}", not_replaced_text(output, "a packed file")));
  }
  const stilla::Result<stilla::GgufFile> packed = stilla::GgufFile::parse(std::move(file));
  return packed && stilla::is_packed_from(*packed, source, options);
}

void check_space(std::uint64_t needed, const std::string& output) {
  std::error_code error;
  const std::filesystem::path folder = file_path(output).parent_path();
  const std::filesystem::space_info space = std::filesystem::space(folder.empty() ? "." : folder, error);
  if (error || space.available >= needed) return;
  fail(exit_failed, fmt::format("{}: needs {} and {} are free", stilla::printable_path(output), bytes_text(static_cast<double>(needed)),
                                bytes_text(static_cast<double>(space.available))));
}

// Describes how many matrices are requantised, for example ", 168 of 169 matrices as st4, the head as q8_0". Returns nothing if the
// weights stay as they are.
std::string requantised_text(const stilla::ModelSource& source, std::optional<stilla::FormatId> weights) {
  if (!weights) return "";
  std::size_t matrices = 0, requantised = 0;
  std::string head;
  for (std::size_t i = 0; i < source.tensor_count(); ++i) {
    const stilla::TensorInfo& tensor = source.tensor(i);
    matrices += tensor.is_matrix();
    const stilla::FormatId format = stilla::requantised_format(source, tensor, weights);
    requantised += tensor.is_matrix() && format == *weights;
    if (stilla::is_head(source, tensor) && format != tensor.format && format != *weights)
      head = fmt::format(", the head as {}", stilla::format_name(format));
  }
  return fmt::format(", {} of {} matrices as {}{}", requantised, matrices, stilla::format_name(*weights), head);
}

int pack(const Options& options) {
  const Stopwatch watch;
  const std::string output = options.output.empty() ? default_output(options) : options.output;
  const std::unique_ptr<stilla::ModelSource> opened = open_source(options.model, options.load_mode);
  const stilla::ModelSource& source = *opened;
  if (source.is_packed()) fail(exit_usage, fmt::format("{}: is packed already", stilla::printable_path(options.model)));
  // A model that cannot be run is refused, because it is not worth packing.
  report_notes(value_of(read_model_facts(source)));
  // What is not used of the vocabulary is told now, because the packed file of a folder does not have it any more.
  if (const auto tokenizer = try_tokenizer(source)) report_notes(source, *tokenizer);
  stilla::ThreadPool pool(thread_count(options.threads));
  const WeightChange change(options.change, source, options.load_mode, options.weights, pool);
  const std::optional<stilla::Imatrix> imatrix = open_imatrix(options.change.imatrix, options.weights, source);
  std::vector<Requantised> requantised;
  stilla::PackOptions packing{options.weights, change.get(), imatrix ? &*imatrix : nullptr};
  packing.on_encoded = [&](const stilla::TensorInfo& tensor, stilla::FormatId format, double relative_rmse) {
    requantised.push_back({std::string(tensor.name), tensor.format, format, relative_rmse});
  };
  const std::uint64_t bytes = value_of(stilla::packed_file_bytes(source, packing));
  if (is_up_to_date(source, output, packing)) {
    message(fmt::format("{} is up to date", stilla::printable_path(output)));
    return 0;
  }
  check_space(bytes, output);
  {
    const FinishOnInterrupt finish_on_interrupt;
    ProgressLine progress("checking");
    check(stilla::check_weights_are_numbers(source, pool, [&](std::size_t done, std::size_t total) {
      progress.show(done, total);
      return !interrupted();
    }));
    if (interrupted()) return interrupted_status();
  }
  {
    const FinishOnInterrupt finish_on_interrupt;  // so that Ctrl-C leaves nothing behind
    ProgressLine progress("packing");
    const auto show = [&](std::uint64_t done, std::uint64_t total) {
      progress.show(static_cast<std::size_t>(done), static_cast<std::size_t>(total));
      return !interrupted();
    };
    const stilla::Status status = stilla::write_packed_file(source, output, pool, show, packing);
    if (!status && interrupted()) return interrupted_status();
    check(status);
  }
  if (options.verbose) {
    for (const std::string& line : requantised_lines(requantised)) message(line);
  }
  if (!requantised.empty()) message(requantised_summary(requantised));
  message(fmt::format("wrote {}, {}{}{}, in {:.1f} s; use it with -m", stilla::printable_path(output),
                      bytes_text(static_cast<double>(bytes)), requantised_text(source, options.weights), change_text(options.change),
                      watch.seconds()));
  return 0;
}

}  // namespace

void add_pack(CLI::App& app, Command& chosen) {
  const auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("pack", "Write a model as the kernels read it, for starting at once");
  takes_path(
      command->add_option("model,-m,--model", options->model, "The model: a GGUF file, a part of one, or a folder as Hugging Face has it"))
      ->type_name("FILE")
      ->required();
  takes_path(command->add_option("-o,--output", options->output, "The file to write (default: the model's name with .stilla)"))
      ->type_name("FILE");
  add_no_mmap_option(*command, options->load_mode);
  add_weights_option(*command, options->weights,
                     fmt::format("Requantise the layers' matrices before they are packed, and a head of floats to q8_0{}", weights_advice));
  add_weight_change_options(*command, options->change);
  add_threads_option(*command, options->threads);
  command->add_flag("-v,--verbose", options->verbose, "Say of each matrix that is requantised how far it is from the file's");
  command->footer(
      "The file holds all of the model and needs the GGUF file no more: give it to any command with -m. A version of "
      "stilla with another layout refuses it; keep the GGUF file, or get it again, to pack again.");
  command->callback([options, &chosen] { chosen = [options] { return pack(*options); }; });
}

}  // namespace program
