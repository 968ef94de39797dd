// SPDX-License-Identifier: Apache-2.0
//
// stilla inspect: shows what a model file holds, and the memory that the model needs.
#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include <stilla/io/gguf.hpp>
#include <stilla/io/open_model_source.hpp>
#include <stilla/io/packed_file.hpp>
#include <stilla/io/unwritten_tail.hpp>
#include <stilla/base/thread_pool.hpp>

#include "commands.hpp"
#include "embedded_model.hpp"
#include "engine.hpp"
#include "loading.hpp"
#include "options.hpp"
#include "output.hpp"

namespace program {
namespace {

struct InspectOptions {
  std::string path;
  bool verify = false;
  std::optional<stilla::FormatId> weights = std::nullopt;
};

std::string metadata_text(const stilla::GgufFile& file) {
  std::size_t width = 0;
  for (const stilla::GgufKey& key : file.keys()) width = std::max(width, std::min<std::size_t>(key.name.size(), 48));
  std::string out = fmt::format("metadata, {} keys\n", file.keys().size());
  for (const stilla::GgufKey& key : file.keys()) {
    out += fmt::format("  {:<{}}  {}\n", stilla::printable(key.name), width, file.value_text(key));
  }
  return out;
}

// Lists the files of a split model. Returns nothing for a model in one file.
std::string parts_text(const stilla::GgufFile& file) {
  if (file.part_count() == 1) return "";
  std::string out = fmt::format("parts, {}\n", file.part_count());
  for (std::size_t i = 0; i < file.part_count(); ++i) {
    const std::string& path = file.part(i).path();
    const auto tensors = std::count_if(file.tensors().begin(), file.tensors().end(), [&](const auto& tensor) { return tensor.file == i; });
    out += fmt::format("  {}  {:>9}  {} tensors\n", stilla::printable(path.substr(path.find_last_of("/\\") + 1)),
                       bytes_text(static_cast<double>(file.part(i).bytes().size())), tensors);
  }
  return out + "\n";
}

std::string tensors_text(const stilla::ModelSource& source) {
  struct Total {
    std::uint64_t tensors = 0;
    std::uint64_t weights = 0;
    std::uint64_t bytes = 0;
  };
  std::map<std::string_view, Total> totals;
  std::size_t width = 4;
  for (std::size_t i = 0; i < source.tensor_count(); ++i) width = std::max(width, source.tensor(i).name.size());
  std::string out =
      fmt::format("\ntensors, {}\n  {:<{}}  {:<16}  {:<8}  {:>13}\n", source.tensor_count(), "name", width, "shape", "type", "bytes");
  for (std::size_t i = 0; i < source.tensor_count(); ++i) {
    const stilla::TensorInfo& tensor = source.tensor(i);
    const std::vector<std::uint64_t> shape(tensor.dims.begin(), tensor.dims.begin() + tensor.n_dims);
    out +=
        fmt::format("  {:<{}}  {:<16}  {:<8}  {:>13}{}\n", stilla::printable(tensor.name), width,
                    fmt::format("[{}]", fmt::join(shape, ", ")), tensor.type_name, tensor.size_bytes, tensor.is_packed ? "  packed" : "");
    Total& total = totals[tensor.type_name];
    ++total.tensors;
    total.weights += tensor.columns() * tensor.rows();
    total.bytes += tensor.size_bytes;
  }
  out += fmt::format("\ntotals\n  {:<8}  {:>7}  {:>14}  {:>14}  {:>11}\n", "type", "tensors", "parameters", "bytes", "bits/weight");
  Total all;
  const auto line = [&](std::string_view name, const Total& total) {
    const double bits = static_cast<double>(total.bytes) * 8 / static_cast<double>(total.weights);
    out += fmt::format("  {:<8}  {:>7}  {:>14}  {:>14}  {:>11.2f}\n", name, total.tensors, total.weights, total.bytes, bits);
  };
  for (const auto& [type, total] : totals) {
    line(type, total);
    all.tensors += total.tensors;
    all.weights += total.weights;
    all.bytes += total.bytes;
  }
  line("all", all);
  return out;
}

std::string memory_text(const stilla::ModelSource& file, const ModelFacts& facts, std::optional<stilla::FormatId> weights) {
  const std::size_t batch = EngineOptions{}.batch;
  std::vector<std::size_t> contexts;
  for (const std::size_t context : {std::size_t{512}, std::size_t{4096}, std::size_t{32768}, std::size_t{131072}}) {
    contexts.push_back(std::min(context, facts.context));
  }
  contexts.erase(std::unique(contexts.begin(), contexts.end()), contexts.end());
  const auto line = [](const auto&... columns) {
    return fmt::format("  {:>8}  {:>10}  {:>12}  {:>12}  {:>10}  {:>12}  {:>12}\n", columns...);
  };
  std::string out = fmt::format("\nmemory; scratch is for prompts in batches of {}\n", batch);
  out += line("context", "weights", "kv int8", "kv f16", "scratch", "all, int8", "all, f16");
  for (const std::size_t context : contexts) {
    const MemoryNeeds int8 = value_of(memory_needs(file, context, stilla::KvType::int8, batch, weights));
    const MemoryNeeds f16 = value_of(memory_needs(file, context, stilla::KvType::f16, batch, weights));
    const auto text = [](std::uint64_t bytes) { return bytes_text(static_cast<double>(bytes)); };
    out +=
        line(context, text(f16.weights), text(int8.kv_cache), text(f16.kv_cache), text(f16.scratch), text(int8.total()), text(f16.total()));
  }
  if (file.find_tensor("output.weight") != nullptr) {
    const stilla::TensorInfo& embedding = *value_of(file.require_tensor("token_embd.weight"));
    out += fmt::format("  The embedding, {}, is read from the file where it is.\n", bytes_text(static_cast<double>(embedding.size_bytes)));
  }
  if (file.is_packed()) out += "  The weights are the mapped file's pages, which programs that run it share.\n";
  return out;
}

// Returns the first reason why other commands would refuse the model, or nothing if they would not.
std::string refusals_text(const stilla::ModelSource& source, const stilla::Result<ModelFacts>& facts) {
  const stilla::Status written = stilla::check_written_to_the_end(source);
  const stilla::Result<stilla::Tokenizer> tokenizer = try_tokenizer(source);
  if (tokenizer) report_notes(source, *tokenizer);
  const auto cannot_run = [](const stilla::Error& error) { return fmt::format("\nnot a model that can be run: {}\n", error.message); };
  if (!facts) return cannot_run(facts.error());
  if (!written) return cannot_run(written.error());
  if (!tokenizer) return fmt::format("\nnot a model that can be run with text: {}\n", tokenizer.error().message);
  if (const auto read = try_file_template(source); !read) return fmt::format("\nnot a model to chat with: {}\n", read.error().message);
  return "";
}

std::string model_text(const stilla::ModelSource& source, std::optional<stilla::FormatId> weights) {
  const stilla::Result<ModelFacts> facts = read_model_facts(source);
  if (facts) report_notes(*facts);
  return tensors_text(source) + (facts ? memory_text(source, *facts, weights) : "") + refusals_text(source, facts);
}

// Shows the metadata of a Hugging Face folder, with the keys that a GGUF file would have.
int inspect_folder(const InspectOptions& options) {
  if (options.verify) fail(exit_usage, fmt::format("{}: only packed files have checksums to verify", stilla::printable_path(options.path)));
  const std::unique_ptr<stilla::ModelSource> source = open_source(options.path);
  const stilla::GgufRecords records = value_of(source->metadata_records());
  stilla::GgufRecords header;
  header.bytes = "GGUF";
  header.add(std::uint32_t{3});
  header.add(std::uint64_t{0});
  header.add(records.count);
  header.bytes += records.bytes;
  const stilla::GgufFile metadata =
      value_of(stilla::GgufFile::parse(stilla::MappedFile::from_memory(std::as_bytes(std::span(header.bytes)), source->path())));
  write_output(fmt::format("{}: Hugging Face folder, {}, {} parameters\n\n", stilla::printable_path(source->path()),
                           bytes_text(static_cast<double>(source->size_bytes())), parameter_count(*source)) +
               metadata_text(metadata) + model_text(*source, options.weights));
  return 0;
}

int inspect(const InspectOptions& options) {
  if (stilla::is_folder(options.path)) return inspect_folder(options);
  const stilla::GgufFile file = open_model_file(options.path);
  if (file.is_packed() && options.weights) {
    fail(exit_usage,
         fmt::format("{}: is packed; only the file it was packed from can be requantised", stilla::printable_path(file.path())));
  }
  if (options.verify) {
    stilla::ThreadPool pool(thread_count(0));
    check(stilla::verify_packed_file(file, pool));
    write_output(fmt::format("{}: all {} tensors are as they were packed\n", stilla::printable_path(file.path()), file.tensors().size()));
    return 0;
  }
  std::string out = fmt::format("{}: GGUF version {}, {}, {} parameters{}\n\n", stilla::printable_path(file.path()), file.version(),
                                bytes_text(static_cast<double>(file.size_bytes())), parameter_count(file),
                                file.is_packed() ? fmt::format(", packed in layout {}", stilla::packed_layout_version) : "");
  out += parts_text(file);
  out += metadata_text(file);
  if (file.tensors().empty()) {
    const stilla::Result<stilla::Tokenizer> tokenizer = try_tokenizer(file);
    out += "\nno tensors: a vocabulary, for `stilla tokenize`\n";
    if (!tokenizer) out += fmt::format("\nnot a vocabulary that can be used: {}\n", tokenizer.error().message);
  } else {
    out += model_text(file, options.weights);
  }
  write_output(out);
  return 0;
}

}  // namespace

void add_inspect(CLI::App& app, Command& chosen) {
  const auto options = std::make_shared<InspectOptions>();
  CLI::App* command = app.add_subcommand("inspect", "Show what a GGUF file holds and the memory it needs");
  takes_path(
      command->add_option("model,-m,--model", options->path,
                          "A GGUF file, packed or not, one without tensors, a part of a split one, or a folder as Hugging Face has it "
                          "(default: the model in this program)"))
      ->type_name("FILE");
  add_weights_option(*command, options->weights, "State the memory for layers requantised to this format, st4 for instance");
  command->add_flag("--verify", options->verify, "Of a packed file: compare all its bytes with their checksums instead");
  command->callback([options, &chosen] { chosen = [options] { return inspect(*options); }; });
}

}  // namespace program
