// SPDX-License-Identifier: Apache-2.0
//
// stilla pack: a model's weights as the kernels read them, in a file that every command takes for the model. It is written
// only where somebody asks for it: it is as large as the model.
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>

#include <fmt/format.h>

#include <stilla/io/packed_file.hpp>
#include <stilla/parallel.hpp>

#include "commands.hpp"
#include "engine.hpp"
#include "options.hpp"
#include "output.hpp"
#include "platform.hpp"

namespace program {
namespace {

struct PackOptions {
  std::string model;
  std::string output;  // empty: beside the model, with the ending .stilla
  std::size_t threads = 0;
};

std::string default_output(const std::string& model) {
  return (model.ends_with(".gguf") ? model.substr(0, model.size() - 5) : model) + ".stilla";
}

// An earlier packed file is replaced, and told apart from one that is up to date. Anything else stays: a wrong -o must not
// cost somebody a model.
bool is_up_to_date(const stilla::GgufFile& source, const std::string& output) {
  std::error_code ignored;
  if (!std::filesystem::exists(output, ignored)) return false;
  if (std::filesystem::equivalent(source.path(), output, ignored)) {
    fail(exit_usage, fmt::format("-o {}: is the model itself", stilla::printable_path(output)));
  }
  stilla::MappedFile file = value_of(stilla::MappedFile::open(output));
  if (!stilla::begins_as_packed_file(file.bytes())) {
    fail(exit_usage, fmt::format("-o {}: exists and is no packed file; it was not touched",
                                 stilla::printable_path(output)));
  }
  const stilla::Result<stilla::GgufFile> packed = stilla::GgufFile::parse(std::move(file));
  return packed && stilla::is_packed_from(*packed, source);
}

void check_space(const stilla::GgufFile& source, const std::string& output) {
  std::error_code error;
  const std::filesystem::path folder = std::filesystem::path(output).parent_path();
  const std::filesystem::space_info space = std::filesystem::space(folder.empty() ? "." : folder, error);
  const std::uint64_t needed = source.file().bytes().size();  // within a few percent
  if (error || space.available >= needed) return;
  fail(exit_failed, fmt::format("{}: needs about {} and {} are free", stilla::printable_path(output),
                                bytes_text(static_cast<double>(needed)),
                                bytes_text(static_cast<double>(space.available))));
}

int pack(const PackOptions& options) {
  const auto begin = std::chrono::steady_clock::now();
  const std::string output = options.output.empty() ? default_output(options.model) : options.output;
  const stilla::GgufFile source = value_of(stilla::GgufFile::open(options.model));
  if (source.is_packed()) fail(exit_usage, fmt::format("{}: is packed already", stilla::printable_path(options.model)));
  value_of(read_model_facts(source));  // what could not be run is not worth packing
  if (is_up_to_date(source, output)) {
    message(fmt::format("{} is up to date", stilla::printable_path(output)));
    return 0;
  }
  check_space(source, output);
  {
    stilla::ThreadPool pool(options.threads != 0 ? options.threads : physical_cores());
    const FinishOnInterrupt finish_on_interrupt;  // so that nothing is left behind
    ProgressLine progress("packing");
    const stilla::Status status =
        stilla::write_packed_file(source, output, pool, [&](std::uint64_t done, std::uint64_t total) {
          progress.show(static_cast<std::size_t>(done), static_cast<std::size_t>(total));
          return !interrupted();
        });
    if (!status && interrupted()) return exit_interrupted;
    check(status);
  }
  message(fmt::format("wrote {}, {}, in {:.1f} s; use it with -m", stilla::printable_path(output),
                      bytes_text(static_cast<double>(std::filesystem::file_size(output))),
                      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count()));
  return 0;
}

}  // namespace

void add_pack(CLI::App& app, Command& chosen) {
  const auto options = std::make_shared<PackOptions>();
  CLI::App* command = app.add_subcommand("pack", "Write a model as the kernels read it, for starting at once");
  command->add_option("model,-m,--model", options->model, "The model, a GGUF file")->type_name("FILE")->required();
  command->add_option("-o,--output", options->output, "The file to write (default: the model's name with .stilla)")
      ->type_name("FILE");
  add_number<std::size_t>(*command, "-t,--threads", options->threads, 1, max_threads,
                          fmt::format("Threads (default: one for each core, here {})", physical_cores()));
  command->footer(
      "The file holds all of the model and needs the GGUF file no more: give it to any command with -m. A version of\n"
      "stilla with another layout refuses it; keep the GGUF file, or get it again, to pack anew.");
  command->callback([options, &chosen] { chosen = [options] { return pack(*options); }; });
}

}  // namespace program
