// SPDX-License-Identifier: Apache-2.0
#include "options.hpp"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include <stilla/device_matrix.hpp>
#include <stilla/format/format.hpp>
#include <stilla/text/builtin_templates.hpp>
#include <stilla/text/pretokenizer.hpp>

#include "imatrix_option.hpp"
#include "machine.hpp"
#include "output.hpp"

namespace program {

void add_weights_option(CLI::App& app, std::optional<stilla::FormatId>& weights, const std::string& help) {
  app.add_option_function<std::string>(
         "--weights",
         [&weights](const std::string& name) {
           std::string known;
           bool is_decoded_only = false;
           weights.reset();
           stilla::for_each_type(stilla::Formats{}, [&]<class Format>(Format) {
             if constexpr (stilla::EncodableFormat<Format>) {
               known += fmt::format(", {}", Format::name);
               if (name == Format::name) weights = stilla::id_of<Format>;
             } else {
               is_decoded_only = is_decoded_only || name == Format::name;
             }
           });
           if (name != "file" && !weights) {
             const std::string found = is_decoded_only ? fmt::format("Stilla reads files with {} and has no encoder for it", name)
                                                       : fmt::format("found '{}'", stilla::printable(name));
             throw CLI::ValidationError("--weights", fmt::format("{}; supported: file (default){}", found, known));
           }
         },
         help)
      ->type_name("FORMAT");
}

namespace {

// Adds an option with a number. If the option is not given, `value` stays empty.
template <class T>
void add_choice(CLI::App& app, const std::string& name, std::optional<T>& value, T least, T most, const std::string& help) {
  app.add_option_function<std::string>(
         name, [&value, name, least, most](const std::string& text) { value = parse_number<T>(name, text, least, most); }, help)
      ->type_name("N");
}

void add_device_options(CLI::App& app, ModelOptions& options) {
  CLI::Option* const device =
      app.add_option(
             "--device", options.device,
             fmt::format("Have a device multiply the layers' matrices, by its own arithmetic; embedding, attention and head stay on "
                         "the CPU. Here: {}. Or onnxruntime, onnxruntime:PROVIDER: the layers run there, as they were exported",
                         stilla::device_names()))
          ->type_name("NAME");
  takes_path(app.add_option("--device-folder", options.onnxruntime.folder,
                            "onnxruntime: what `stilla export --to openvino` or `--to qnn` wrote of this model"))
      ->type_name("FOLDER")
      ->needs(device);
  takes_path(app.add_option("--device-library", options.onnxruntime.library,
                            fmt::format("onnxruntime: its library (default: the one that {} in the environment names, or the one beside "
                                        "this program, or where the system looks)",
                                        Onnxruntime::variable)))
      ->type_name("FILE")
      ->needs(device);
  takes_path(app.add_option("--device-provider", options.onnxruntime.provider_library,
                            "onnxruntime: the library of a provider that has one of its own"))
      ->type_name("FILE")
      ->needs(device);
  app.add_option_function<std::vector<std::string>>(
         "--device-option",
         [&options](const std::vector<std::string>& texts) {
           for (const std::string& text : texts) {
             const std::size_t equals = text.find('=');
             if (equals == std::string::npos || equals == 0) {
               throw CLI::ValidationError("--device-option", fmt::format("found '{}'; expected KEY=VALUE", stilla::printable(text)));
             }
             options.onnxruntime.settings.emplace_back(text.substr(0, equals), text.substr(equals + 1));
           }
         },
         "onnxruntime: an option of the provider, as often as there are some")
      ->type_name("KEY=VALUE")
      ->expected(1)
      ->take_all()
      ->needs(device);
}

void add_switch(CLI::App& app, const std::string& name, bool& is_on, const std::string& help) {
  app.add_option_function<std::string>(
         name,
         [&is_on, name](const std::string& text) {
           if (text != "on" && text != "off") {
             throw CLI::ValidationError(name, fmt::format("found '{}'; supported: on, off", stilla::printable(text)));
           }
           is_on = text == "on";
         },
         help)
      ->type_name("ON|OFF");
}

}  // namespace

void add_verify_option(CLI::App& app, bool& verifies) {
  add_switch(app, "--verify", verifies,
             "Compare a packed file with its checksums, beginning when the first token is there; on (default) or off");
}

void add_rope_options(CLI::App& app, stilla::RopeChoice& rope) {
  app.add_option_function<std::string>(
         "--rope-scaling",
         [&rope](const std::string& name) {
           using Type = stilla::RopeScaling::Type;
           const std::pair<std::string_view, Type> known[] = {{"none", Type::none}, {"linear", Type::linear}, {"yarn", Type::yarn}};
           for (const auto& [known_name, type] : known) {
             if (name == known_name) {
               rope.type = type;
               return;
             }
           }
           throw CLI::ValidationError("--rope-scaling", fmt::format("found '{}'; supported: none, linear, yarn", stilla::printable(name)));
         },
         "Scale positions for texts longer than those of the training: none, linear or yarn (default: as the file says)")
      ->type_name("TYPE");
  add_choice<double>(app, "--rope-scale", rope.factor, 1.0, 1e6,
                     "By how much: the context becomes so many times --rope-orig-ctx (default: as the file says)");
  add_choice<std::size_t>(app, "--rope-orig-ctx", rope.original_context, 1, stilla::max_context,
                          "Positions of the training (default: as the file says)");
  add_choice<double>(app, "--rope-freq-base", rope.base, 1.0, 1e30, "Base of RoPE's angles (default: as the file says)");
}

void add_pretokenizer_option(CLI::App& app, std::string& name) {
  app.add_option(
         "--pre", name,
         fmt::format("How text is cut into words, where the file does not say or says something unknown: {}", stilla::pretokenizers_text()))
      ->type_name("NAME");
}

void add_no_mmap_option(CLI::App& app, stilla::LoadMode& mode) {
  app.add_flag_callback(
      "--no-mmap", [&mode] { mode = stilla::LoadMode::read; },
      "Read the whole file into memory and do not map it: it may change then, and takes its size in memory, beside the weights");
}

std::optional<stilla::ActivationBits> activations_named(std::string_view name) {
  for (const stilla::ActivationBits bits :
       {stilla::ActivationBits::eight, stilla::ActivationBits::sixteen, stilla::ActivationBits::mixed}) {
    if (name == activations_name(bits)) return bits;
  }
  return std::nullopt;
}

std::string_view activations_name(stilla::ActivationBits bits) {
  switch (bits) {
    case stilla::ActivationBits::eight: return "int8";
    case stilla::ActivationBits::sixteen: return "int16";
    case stilla::ActivationBits::mixed: return "mixed";
  }
  return "";
}

void add_model_options(CLI::App& app, ModelOptions& options, ThreadOption threads) {
  takes_path(
      app.add_option("-m,--model", options.path,
                     "The model: a GGUF file, packed (stilla pack) or not, a part of a split one, or a folder as Hugging Face has it, with "
                     "config.json and safetensors (default: a tiny one that is in this program)"))
      ->type_name("FILE");
  add_no_mmap_option(app, options.load_mode);
  app.add_option("--target", options.target, "Force an instruction set instead of taking this CPU's best")
      ->type_name("NAME")
      ->envname("STILLA_TARGET");
  app.add_option_function<std::string>(
         "--kv",
         [&options](const std::string& name) {
           const std::optional<stilla::KvType> type = stilla::kv_type(name);
           if (!type) {
             throw CLI::ValidationError("--kv", fmt::format("found '{}'; supported: f16, bf16, f32, int8, int5", stilla::printable(name)));
           }
           options.kv_type = *type;
         },
         "Element type of the key/value cache: f16, bf16, f32, int8 (half of f16's memory) or int5 (a third). By default f16 below a "
         "billion weights, int8 from there on. Choose int5 where a long text would not fit the memory otherwise: the answers get a "
         "little worse. f16 continues a session that was saved with f16")
      ->type_name("TYPE");
  app.add_option_function<std::string>(
         "--activations",
         [&options](const std::string& name) {
           options.activations = activations_named(name);
           if (!options.activations) {
             throw CLI::ValidationError("--activations", fmt::format("found '{}'; supported: int16, mixed, int8", stilla::printable(name)));
           }
         },
         "What inputs of quantised matrices are rounded to: int16, exact; mixed, prompts twice as fast, int16 for the few tokens "
         "that need it; int8 throughout. By default int16 below a billion weights, mixed from there on")
      ->type_name("TYPE");
  add_pretokenizer_option(app, options.pretokenizer);
  add_weights_option(app, options.weights,
                     fmt::format("Requantise the layers' matrices when they are loaded, and a head of floats to q8_0{}", weights_advice));
  add_imatrix_option(app, options.imatrix);
  add_device_options(app, options);
  add_number<std::size_t>(app, "--ctx,-c", options.context, 1, stilla::max_context,
                          "Most tokens of prompt and answer together (default: what the model was trained for)");
  if (threads == ThreadOption::one) add_threads_option(app, options.threads);
  app.add_flag("-v,--verbose", options.verbose, "Say which target runs which weights, and the seed");
}

void add_draft_option(CLI::App& app, ModelOptions& options) {
  takes_path(
      app.add_option("--draft", options.draft,
                     "A small model with the same vocabulary, say the 1.5B beside the 14B: it guesses tokens, the model checks several at "
                     "once; the same text, sooner, where guesses are right often enough, and no slower where they are not"))
      ->type_name("FILE");
}

void add_text_options(CLI::App& app, TextOptions& options) {
  static constexpr std::int64_t max_tokens = std::numeric_limits<std::int64_t>::max();
  app.add_option_function<std::string>(
         "-n,--predict",
         [&options](const std::string& text) {
           const std::optional<std::int64_t> limit = number_of<std::int64_t>(text, -1, max_tokens);
           if (!limit) {
             throw CLI::ValidationError("-n", fmt::format("found '{}'; expected a whole number from 0 to {}, or -1 for no limit",
                                                          stilla::printable(text), max_tokens));
           }
           options.limit = *limit;
         },
         "Most tokens to generate (default -1: until the model ends)")
      ->type_name("N");
  app.add_option_function<std::vector<std::string>>(
         "--stop",
         [&options](const std::vector<std::string>& texts) {
           if (std::find(texts.begin(), texts.end(), "") != texts.end()) {
             throw CLI::ValidationError("--stop", "found ''; expected the text before which an answer ends");
           }
           options.stop_texts = texts;
         },
         "End an answer, or the thought before it, where this text would come, which is not shown; may be given several times")
      ->type_name("TEXT")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->allow_extra_args(false);  // otherwise CLI11 would read [END] as a list
  add_sampling_options(app, options.sampling);
  app.add_option_function<std::string>(
         "--system",
         [&options](const std::string& text) {
           options.system = text;
           options.has_system = true;
         },
         "System prompt")
      ->type_name("TEXT");
  takes_path(
      app.add_option("--chat-template", options.chat_template,
                     fmt::format("Use this template and not the model's: a file with a Jinja program, or {}", stilla::chat_template_names)))
      ->type_name("NAME|FILE");
  add_switch(app, "--lookup", options.use_lookup,
             "Guess tokens from repetitions and check several at once: the same text, sooner; on (default) or off");
  app.add_option_function<std::string>(
         "--think",
         [&options](const std::string& text) {
           const std::optional<Think> mode = think_mode(text);
           if (!mode) {
             throw CLI::ValidationError("--think", fmt::format("found '{}'; supported: show, hide, off", stilla::printable(text)));
           }
           options.think = *mode;
         },
         "A reasoning model's thoughts: show (default), hide, or off: an empty thought, so that it answers at once")
      ->type_name("MODE");
  add_number<std::size_t>(app, "--think-budget", options.think_budget, 0, std::size_t{1} << 30,
                          "Most tokens of a thought; then it is closed and the model goes on to its answer (default 0: any)");
  app.add_option_function<std::string>(
         "--on-full",
         [&options](const std::string& text) {
           if (text != "stop" && text != "shift") {
             throw CLI::ValidationError("--on-full", fmt::format("found '{}'; supported: stop, shift", stilla::printable(text)));
           }
           options.shifts = text == "shift";
         },
         "When the context is full: stop (default), or shift: forget the oldest text, except the system prompt of a "
         "chat and the prompt of a run, and evaluate the rest again")
      ->type_name("ACTION");
}

void add_threads_option(CLI::App& app, std::size_t& threads) {
  add_number<std::size_t>(
      app, "-t,--threads", threads, 1, max_threads,
      fmt::format("Threads (default: one for each fast core, here {}). Take fewer to leave cores to other programs; the text is "
                  "the same with any number",
                  machine_cores().threads()));
}

void warn_of_threads(std::size_t threads) {
  const stilla::Cores& cores = machine_cores();
  static bool told = false;
  if (threads > cores.max_threads() && !std::exchange(told, true)) {
    message(fmt::format("{} threads on {} CPU{}: they will wait for each other, and may run many times slower than {}", threads,
                        cores.max_threads(), cores.max_threads() == 1 ? "" : "s", cores.threads()));
  }
}

std::size_t thread_count(std::size_t asked) {
  warn_of_threads(asked);
  return asked != 0 ? asked : machine_cores().threads();
}

std::optional<Think> think_mode(std::string_view name) {
  if (name == "show") return Think::show;
  if (name == "hide") return Think::hide;
  if (name == "off") return Think::off;
  return std::nullopt;
}

}  // namespace program
