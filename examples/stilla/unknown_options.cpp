// SPDX-License-Identifier: Apache-2.0
#include "unknown_options.hpp"

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <numeric>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include <stilla/base/error.hpp>

namespace program {
namespace {

struct Elsewhere {
  std::vector<std::string_view> names;
  std::string_view advice;
};

// Options of llama.cpp, and names that are common in other programs, each with the advice for users
// who try it.
const std::vector<Elsewhere>& known_elsewhere() {
  static const std::vector<Elsewhere> list{
      {{"-ngl", "--gpu-layers", "--n-gpu-layers", "-sm", "--split-mode", "-ts", "--tensor-split", "-mg", "--main-gpu", "--list-devices"},
       "the layers run on this CPU, and no GPU is used; leave it out"},
      {{"-dev", "--device-draft"}, "--device names what multiplies the layers' matrices"},
      {{"-fa", "--flash-attn"}, "attention is always computed without storing its scores; leave it out"},
      {{"--ctx-size", "--n-ctx", "--max-context"}, "here it is -c or --ctx"},
      {{"--n-predict", "--max-tokens", "--max-new-tokens", "--num-predict"}, "here it is -n or --predict"},
      {{"--temperature", "--t"}, "here it is --temp"},
      {{"--repetition-penalty"}, "here it is --repeat-penalty"},
      {{"-b", "--batch-size", "-ub", "--ubatch-size", "-np", "--parallel", "-cb", "--cont-batching", "--no-cont-batching"},
       "the size of batches is the program's choice, and changes no result; leave it out"},
      {{"-tb", "--threads-batch"}, "-t is for prompts and answers alike"},
      {{"-C", "-Cr", "--cpu-mask", "--cpu-range", "--cpu-strict", "--prio", "--poll", "--numa"},
       "the system places the threads; taskset or numactl choose its CPUs"},
      {{"-ctk", "--cache-type-k", "-ctv", "--cache-type-v"}, "--kv is the type of keys and values alike"},
      {{"-nkvo", "--no-kv-offload", "-kvu", "--kv-unified", "--no-repack", "--op-offload"}, "there is nothing to choose; leave it out"},
      {{"--mlock"}, "no memory is locked; --no-mmap reads the whole file before"},
      {{"--mmap"}, "the file is mapped unless --no-mmap is given; leave it out"},
      {{"-hf", "-hfr", "--hf-repo", "-hff", "--hf-file", "-hft", "--hf-token", "-mu", "--model-url", "-dr", "--docker-repo"},
       "nothing is downloaded; get the file and name it with -m"},
      {{"-cnv", "--conversation", "-i", "--interactive", "-if", "--interactive-first"}, "`stilla chat` is a conversation"},
      {{"-no-cnv", "--no-conversation"}, "`stilla run --raw` continues a text without a chat template"},
      {{"-st", "--single-turn"}, "`stilla run` answers one prompt"},
      {{"-sys", "--system-prompt"}, "here it is --system"},
      {{"-sysf", "--system-prompt-file"}, "--system takes the text itself: --system \"$(cat FILE)\""},
      {{"-r", "--reverse-prompt", "--stop-sequence", "--stop-sequences"}, "--stop TEXT ends the answer before a text"},
      {{"-e", "--escape", "--no-escape"}, "the text is taken as it is; a shell writes a newline as $'\\n'"},
      {{"-bf", "--binary-file"}, "-f reads the prompt from a file"},
      {{"-co", "--color", "-fancy", "--simple-io"}, "a terminal gets dim thoughts and a pipe none; NO_COLOR turns them off"},
      {{"--jinja", "--no-jinja"}, "the model's own chat template is always used; leave it out"},
      {{"--chat-template-file"}, "--chat-template takes a file too"},
      {{"--reasoning-budget"}, "--think-budget limits a thought, and --think off leaves it out"},
      {{"--reasoning-format", "-rea", "--reasoning"}, "--think show, hide or off is what becomes of thoughts"},
      {{"--no-context-shift", "--context-shift", "--keep"}, "--on-full stop or shift is what happens when the context is full"},
      {{"--ignore-eos"}, "-l ID-inf bans a token: the one that ends an answer"},
      {{"-md", "--model-draft"}, "here it is --draft"},
      {{"--draft-max", "--draft-min", "--draft-p-min", "-lcs", "-lcd"},
       "how many tokens are guessed is the program's choice, and changes no text; leave it out"},
      {{"--grammar", "--grammar-file", "-j", "--json-schema", "-jf", "--json-schema-file"}, "answers cannot be bound to a grammar"},
      {{"--lora", "--lora-scaled", "--control-vector"}, "adapters are not read; merge it into the model before"},
      {{"-mm", "--mmproj", "--image", "--audio"}, "the models are of text alone"},
      {{"--yarn-orig-ctx"}, "here it is --rope-orig-ctx"},
      {{"--rope-freq-scale"}, "--rope-scaling linear --rope-scale N, with the N of which this is the inverse"},
      {{"--sampling-seq", "--sampler-seq"}, "--samplers names the steps and their order"},
      {{"--dynatemp-range", "--dynatemp-exp", "--top-nsigma", "--top-n-sigma", "--adaptive-target"}, "there is no such sampling step"},
      {{"--warmup", "--no-warmup"}, "nothing is warmed up; leave it out"},
      {{"--no-display-prompt", "--display-prompt"}, "the prompt is not printed; leave it out"},
      {{"--verbose-prompt"}, "`stilla tokenize --chat` shows a prompt's tokens"},
      {{"-lv", "--verbosity", "--log-disable", "--log-verbose"}, "-v says more; messages go to standard error"},
      {{"--prompt-cache", "--prompt-cache-all"}, "/save and /load in `stilla chat` keep what was computed"},
      {{"--host", "--port", "--api-key"}, "there is no server"},
  };
  return list;
}

std::string_view without_dashes(std::string_view name) { return name.substr(std::min(name.find_first_not_of('-'), name.size())); }

// Returns the number of letters to insert, remove, replace or swap with their neighbour until one
// name becomes the other.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before, row(b.size() + 1), next(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    next[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      next[j] = std::min({next[j - 1] + 1, row[j] + 1, row[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) next[j] = std::min(next[j], before[j - 2] + 1);
    }
    before = std::exchange(row, next);
  }
  return row[b.size()];
}

std::vector<std::string> option_names(const CLI::App& command) {
  std::vector<std::string> out;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) out.push_back("--" + name);
    for (const std::string& name : option->get_snames()) out.push_back("-" + name);
  }
  return out;
}

std::vector<const CLI::App*> subcommands_of(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

// Returns the commands that have an option called `name`, for example "`stilla chat`, `stilla run`",
// or nothing if no command has it.
std::string commands_with(const CLI::App& app, const std::string& path, const std::string& name) {
  std::string out;
  const auto add = [&out](const std::string& text) { out += (out.empty() || text.empty() ? "" : ", ") + text; };
  for (const CLI::App* command : subcommands_of(app)) {
    const std::string inner = path + " " + command->get_name();
    const std::vector<std::string> names = option_names(*command);
    if (std::find(names.begin(), names.end(), name) != names.end()) add("`" + inner + "`");
    add(commands_with(*command, inner, name));
  }
  return out;
}

// Returns the option of the command that the user probably meant, or nothing if no option is
// similar.
std::string nearest_option(const CLI::App& command, std::string_view name) {
  const std::string_view wanted = without_dashes(name);
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(1, wanted.size() / 3) + 1;
  for (const std::string& known : option_names(command)) {
    const std::string_view letters = without_dashes(known);
    if (std::min(letters.size(), wanted.size()) < 3 && letters != wanted) continue;
    const bool continues = std::min(letters.size(), wanted.size()) >= 4 && (letters.starts_with(wanted) || wanted.starts_with(letters));
    const std::size_t d = continues ? std::min<std::size_t>(1, edit_distance(letters, wanted)) : edit_distance(letters, wanted);
    if (d < best_distance) best_distance = d, best = known;
  }
  return best;
}

// Returns the option of `command` that is called `name`, or null. CLI11's get_option_no_throw() is not used, because it
// allocates memory and is noexcept: without memory it ends the program.
const CLI::Option* find_option(const CLI::App& command, const std::string& name) {
  const std::vector<const CLI::Option*> found = command.get_options([&](const CLI::Option* option) { return option->check_name(name); });
  return found.empty() ? nullptr : found.front();
}
bool takes_value(const CLI::Option& option) { return option.get_items_expected_min() > 0; }

struct ArgumentPlace {
  const CLI::App* program;
  const CLI::App* command;
  std::string path;  // "stilla run"
};

std::string refusal_of(const ArgumentPlace& place, const std::string& argument, const std::string& name) {
  const std::string refused = fmt::format("unknown option '{}'", stilla::printable(name));
  const std::string help = fmt::format("({} --help)", place.path);
  for (const Elsewhere& elsewhere : known_elsewhere()) {
    if (std::find(elsewhere.names.begin(), elsewhere.names.end(), name) != elsewhere.names.end()) {
      return fmt::format("{}: {} {}", refused, elsewhere.advice, help);
    }
  }
  if (const std::string nearest = nearest_option(*place.command, name); !nearest.empty()) {
    return fmt::format("{}; did you mean {}? {}", refused, nearest, help);
  }
  if (const std::string others = commands_with(*place.program, place.program->get_name(), name); !others.empty()) {
    return fmt::format("{}; it is one of {} {}", refused, others, help);
  }
  if (!argument.starts_with("--")) {
    const CLI::Option* option = find_option(*place.command, argument.substr(0, 2));
    if (option != nullptr && takes_value(*option)) {
      return fmt::format("{}; the value of {} stands apart from it: {} {} {}", refused, argument.substr(0, 2), argument.substr(0, 2),
                         stilla::printable(argument.substr(2)), help);
    }
  }
  const bool takes_text = !place.command->get_options([](const CLI::Option* o) { return o->get_positional(); }).empty();
  return fmt::format("{}{} {}", refused, takes_text ? "; a text that begins with - goes behind --" : "", help);
}

}  // namespace

std::optional<std::string> unknown_option(const CLI::App& app, const std::vector<std::string>& arguments) {
  ArgumentPlace place{&app, &app, app.get_name()};
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (argument == "--") return std::nullopt;
    if (argument.size() < 2 || argument[0] != '-') {
      for (const CLI::App* command : subcommands_of(*place.command)) {
        if (command->get_name() != argument) continue;
        place.command = command;
        place.path += " " + argument;
        break;
      }
      continue;
    }
    const bool is_long = argument[1] == '-';
    const std::size_t equals = is_long ? argument.find('=') : std::string::npos;
    const std::string name = argument.substr(0, is_long ? equals : 2);
    const CLI::Option* option = find_option(*place.command, name);
    const bool is_glued = !is_long && argument.size() > 2;
    const bool may_be_glued =
        option != nullptr && takes_value(*option) && is_glued && !std::isalpha(static_cast<unsigned char>(argument[2]));
    if (option == nullptr || (is_glued && !may_be_glued)) return refusal_of(place, argument, is_long ? name : argument);
    if (takes_value(*option) && equals == std::string::npos && !is_glued) ++i;
  }
  return std::nullopt;
}

}  // namespace program
