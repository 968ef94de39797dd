// SPDX-License-Identifier: Apache-2.0
//
// Command-line options that several commands share, and the strict reading of numbers: "8x", "010", "" and numbers out of range
// are refused with a line that says what was expected.
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <stilla/base/error.hpp>
#include <stilla/contract/activation_q8.hpp>
#include <stilla/format/format_id.hpp>
#include <stilla/io/mapped_file.hpp>
#include <stilla/kv_cache.hpp>
#include <stilla/model/config.hpp>
#include <stilla/sampling.hpp>
#include <stilla/text/tokenizer.hpp>

#include "onnxruntime.hpp"

namespace program {

inline constexpr std::size_t max_threads = 1024;

// Returns the number that `text` consists of, or nothing if the text is no number, if something stands before or behind the number,
// or if it is not from `least` to `most`.
template <class T>
std::optional<T> number_of(std::string_view text, T least, T most) {
  const bool is_octal_looking = std::is_integral_v<T> && text.size() > 1 && text[text[0] == '-' ? 1 : 0] == '0';
  T value{};
  const char* end = text.data() + text.size();
  const std::from_chars_result read = std::from_chars(text.data(), end, value);
  if (read.ec != std::errc() || read.ptr != end || is_octal_looking) return std::nullopt;
  if (!(value >= least && value <= most)) return std::nullopt;  // refuses NaN too
  return value;
}

// Returns the number that `text` consists of, as number_of() does. If there is none, throws an error of CLI11, the library that reads
// the options.
template <class T>
T parse_number(const std::string& name, std::string_view text, T least, T most) {
  if (const std::optional<T> value = number_of(text, least, most)) return *value;
  const std::string_view kind = std::is_integral_v<T> ? "a whole number" : "a number";
  throw CLI::ValidationError(name, fmt::format("found '{}'; expected {} from {} to {}", stilla::printable(text), kind, least, most));
}

// Returns the name by which messages call an option: "-t" for "-t,--threads".
inline std::string first_name(std::string_view names) { return std::string(names.substr(0, names.find(','))); }

template <class T>
CLI::Option* add_number(CLI::App& app, const std::string& names, T& value, T least, T most, const std::string& help) {
  const auto read = [&value, name = first_name(names), least, most](const std::string& text) {
    value = parse_number<T>(name, text, least, most);
  };
  return app.add_option_function<std::string>(names, read, help)->type_name("N");
}

// Refuses an empty text as the value of an option that takes a path. A shell gives an empty text for a variable that is not set, and the
// program must not do then what it does without the option.
inline CLI::Option* takes_path(CLI::Option* option) {
  return option->check([](const std::string& path) { return std::string(path.empty() ? "the path is empty" : ""); });
}

// Reads a list of numbers, "1,2,3", or with white space between the numbers.
template <class T>
std::vector<T> parse_list(const std::string& name, std::string_view text, T least, T most) {
  std::vector<T> out;
  while (true) {
    const std::size_t begin = text.find_first_not_of(" \t\r\n");
    if (begin == std::string_view::npos) break;
    text.remove_prefix(begin);
    const std::size_t end = text.find_first_of(", \t\r\n");
    out.push_back(parse_number<T>(name, text.substr(0, end), least, most));
    if (end == std::string_view::npos) return out;
    const std::size_t next = text.find_first_not_of(" \t\r\n", end);
    const bool has_comma = next != std::string_view::npos && text[next] == ',';
    text.remove_prefix(has_comma ? next + 1 : end);
    if (has_comma && text.find_first_not_of(" \t\r\n") == std::string_view::npos) break;
    if (!has_comma && next == std::string_view::npos) return out;
  }
  throw CLI::ValidationError(name, "expected whole numbers with commas between them, such as 1,2,3");
}

// The options of every command that evaluates a model.
struct ModelOptions {
  std::string path;
  stilla::LoadMode load_mode = stilla::LoadMode::map;
  std::string target;  // empty: the best
  std::optional<stilla::KvType> kv_type = std::nullopt;              // none: the model's size decides
  std::optional<stilla::ActivationBits> activations = std::nullopt;  // none: the model's size decides
  std::optional<stilla::FormatId> weights = std::nullopt;  // the format that the layers are requantised to; none: as in the file
  std::string imatrix;       // the file of an importance matrix for requantised layers; empty: none
  std::string pretokenizer;  // replaces the file's pre-tokenizer; empty: the file's is used
  stilla::RopeChoice rope;  // what the user chooses instead of what the file says
  std::string device;        // runs the layers, or multiplies their matrices; empty: the CPU
  OnnxruntimeOptions onnxruntime;  // if the device is onnxruntime
  std::size_t context = 0;  // 0: the model's
  std::size_t threads = 0;  // 0: what suits the machine
  std::string draft;  // the file of a small model whose guesses this model checks; empty: none
  bool verifies = true;  // whether packed files are compared with their checksums
  bool verbose = false;
};
// Names of the kinds of activations, which are the values of --activations: int8, int16, mixed.
std::string_view activations_name(stilla::ActivationBits bits);
std::optional<stilla::ActivationBits> activations_named(std::string_view name);
// Adds the option --draft, which run and chat have.
void add_draft_option(CLI::App& app, ModelOptions& options);
void add_threads_option(CLI::App& app, std::size_t& threads);
void add_weights_option(CLI::App& app, std::optional<stilla::FormatId>& weights, const std::string& help);
// The advice that the help of --weights gives to users who run the model with this program; `stilla export`, which writes models for
// other programs, gives other advice. The measurements behind it are in include/stilla/format/README.md and examples/stilla/npu.md.
inline constexpr const char* weights_advice =
    ".\nst4 for the best text at 4.25 bits per weight, q8_0 (8.5 bits) for the least loss;\n"
    "int4_channel or lpbq64 (4.03 and 4.13 bits) for the weights that NPUs take";
void add_pretokenizer_option(CLI::App& app, std::string& name);
void add_no_mmap_option(CLI::App& app, stilla::LoadMode& mode);
enum class ThreadOption { one, several };  // bench has its own -t, which takes several numbers
void add_model_options(CLI::App& app, ModelOptions& options, ThreadOption threads = ThreadOption::one);
// Adds the option --verify, which run, chat and logits have.
void add_verify_option(CLI::App& app, bool& verifies);
// Adds the options --rope-*, for texts longer than those of the training. The commands run, chat, logits and bench have them.
void add_rope_options(CLI::App& app, stilla::RopeChoice& rope);

// The options that say how the next token is chosen (sampling_options.cpp).
struct SamplingChoice {
  stilla::SamplingOptions options;
  std::optional<std::uint64_t> seed;  // none: another seed each time
  std::vector<std::string> dry_breakers{"\n", ":", "\"", "*"};
};
void add_sampling_options(CLI::App& app, SamplingChoice& choice);
// Turns the options into what a sampler for this vocabulary needs: a seed, and the tokens that hold a breaker (a text at which
// DRY's search for repetitions ends). They also exclude the rows that only pad the head, behind the vocabulary's last token.
stilla::SamplingOptions sampling_options(const SamplingChoice& choice, const stilla::Tokenizer& tokenizer);

// What happens to the thoughts of a reasoning model. With `off` the model is made to answer at once.
enum class Think { show, hide, off };
std::optional<Think> think_mode(std::string_view name);

struct TextOptions {
  SamplingChoice sampling;
  std::int64_t limit = -1;            // most tokens to generate; -1: until the model ends or the context is full
  std::string system;
  bool has_system = false;
  std::string chat_template;  // a name or a file; empty: the model's
  bool use_lookup = true;
  Think think = Think::show;
  std::size_t think_budget = 0;  // most tokens of a thought; 0: no limit
  std::vector<std::string> stop_texts;  // an answer ends before the first of these texts
  bool shifts = false;           // when the context is full: forget the oldest text instead of stopping
};
void add_text_options(CLI::App& app, TextOptions& options);

// Warns, once in the life of the program, if `threads`, a number that the user or the machine chose, is more than this machine can run at
// the same time.
void warn_of_threads(std::size_t threads);
// Returns as many threads as asked for, or as many as suit the machine if `asked` is 0.
std::size_t thread_count(std::size_t asked);

}  // namespace program
