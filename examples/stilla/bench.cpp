// SPDX-License-Identifier: Apache-2.0
//
// stilla bench: tokens per second of reading a prompt (pp) and of generating (tg), in llama-bench's columns. Every test
// starts with an empty text; the first run of each warms up and does not count.
#include <chrono>
#include <cmath>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <stilla/random.hpp>
#include <stilla/version.hpp>

#include "commands.hpp"
#include "loading.hpp"
#include "options.hpp"
#include "output.hpp"

namespace program {
namespace {

struct BenchOptions {
  ModelOptions model;
  std::string prompts = "512";
  std::string generations = "128";
  std::string threads;
  std::string format = "md";
  std::size_t repeats = 5;
};

struct Test {
  std::size_t prompt = 0;
  std::size_t generate = 0;
  std::size_t threads = 1;

  std::size_t tokens() const { return prompt + generate; }
  std::string name() const { return prompt != 0 ? fmt::format("pp{}", prompt) : fmt::format("tg{}", generate); }
};

struct Statistics {
  double mean = 0;
  double deviation = 0;  // of a sample: n - 1
};

Statistics statistics_of(std::span<const double> samples) {
  Statistics s;
  const auto count = static_cast<double>(samples.size());
  s.mean = std::accumulate(samples.begin(), samples.end(), 0.0) / count;
  double squares = 0;
  for (const double sample : samples) squares += (sample - s.mean) * (sample - s.mean);
  if (samples.size() > 1) s.deviation = std::sqrt(squares / (count - 1));
  return s;
}

// Which tokens makes no difference to the time; these are the same every time.
std::vector<std::uint32_t> some_ids(std::size_t count, std::size_t vocabulary) {
  stilla::Random random(1);
  std::vector<std::uint32_t> ids(count);
  for (std::uint32_t& id : ids) id = static_cast<std::uint32_t>(random.next() % vocabulary);
  return ids;
}

double seconds_of(Engine& engine, const Test& test) {
  const std::vector<std::uint32_t> ids = some_ids(test.tokens(), engine.facts().vocabulary);
  engine.truncate(0);
  const auto begin = std::chrono::steady_clock::now();
  if (test.prompt != 0) {
    engine.evaluate(ids);
  } else {
    for (const std::uint32_t id : ids) engine.evaluate({&id, 1});
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

std::vector<Test> tests_of(const BenchOptions& options) {
  constexpr std::size_t most = std::size_t{1} << 20;
  std::vector<std::size_t> threads{thread_count(options.model)};
  if (!options.threads.empty()) threads = parse_list<std::size_t>("-t", options.threads, 1, max_threads);
  const std::vector<std::size_t> prompts = parse_list<std::size_t>("-p", options.prompts, 0, most);
  const std::vector<std::size_t> generations = parse_list<std::size_t>("-n", options.generations, 0, most);
  std::vector<Test> tests;
  for (const std::size_t t : threads) {
    for (const std::size_t p : prompts) {
      if (p != 0) tests.push_back({p, 0, t});
    }
    for (const std::size_t n : generations) {
      if (n != 0) tests.push_back({0, n, t});
    }
  }
  if (tests.empty()) fail(exit_usage, "nothing to measure: -p and -n are both 0");
  return tests;
}

struct FileFacts {
  std::string type;
  std::uint64_t bytes = 0;
  std::uint64_t parameters = 0;
};

nlohmann::ordered_json json_of(const BenchOptions& options, const FileFacts& model, const Test& test,
                               std::span<const double> seconds, std::span<const double> rates) {
  const Statistics time = statistics_of(seconds);
  const Statistics rate = statistics_of(rates);
  std::vector<std::uint64_t> samples_ns;
  for (const double s : seconds) samples_ns.push_back(static_cast<std::uint64_t>(s * 1e9));
  nlohmann::ordered_json out;
  out["version"] = fmt::format("{}.{}.{}", STILLA_VERSION_MAJOR, STILLA_VERSION_MINOR, STILLA_VERSION_PATCH);
  out["model_filename"] = options.model.path;
  out["model_type"] = model.type;
  out["model_size"] = model.bytes;
  out["model_n_params"] = model.parameters;
  out["backend"] = "CPU " + target_name();
  out["type_kv"] = kv_type_name(options.model.kv_type);
  out["n_threads"] = test.threads;
  out["n_prompt"] = test.prompt;
  out["n_gen"] = test.generate;
  out["avg_ns"] = static_cast<std::uint64_t>(time.mean * 1e9);
  out["stddev_ns"] = static_cast<std::uint64_t>(time.deviation * 1e9);
  out["avg_ts"] = rate.mean;
  out["stddev_ts"] = rate.deviation;
  out["samples_ns"] = samples_ns;
  out["samples_ts"] = std::vector<double>(rates.begin(), rates.end());
  return out;
}

int bench(BenchOptions& options) {
  const std::vector<Test> tests = tests_of(options);
  OpenedModel model = open_model(options.model);
  for (const Test& test : tests) {
    if (test.tokens() > model.context) {
      fail(exit_usage,
           fmt::format("{} needs {} positions, and the context holds {}", test.name(), test.tokens(), model.context));
    }
  }
  FileFacts facts{model_type_text(model.file, model.facts), 0, parameter_count(model.file)};
  for (const stilla::GgufTensor& tensor : model.file.tensors()) facts.bytes += tensor.size_bytes;
  options.model.threads = tests.front().threads;
  Engine engine = load_engine(model, options.model);
  if (options.model.verbose) report_engine(engine, {}, options.model);

  const bool is_table = options.format == "md";
  if (is_table) {
    write_output(fmt::format("| {:<24} | {:>10} | {:>10} | {:<14} | {:>7} | {:>8} | {:>18} |\n", "model", "size",
                             "params", "backend", "threads", "test", "t/s"));
    write_output(
        "| ------------------------ | ---------: | ---------: | -------------- | ------: | -------: | "
        "-----------------: |\n");
  }
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  std::size_t threads = tests.front().threads;
  for (const Test& test : tests) {
    if (test.threads != threads) engine.use_threads(threads = test.threads);
    seconds_of(engine, test);
    std::vector<double> seconds, rates;
    for (std::size_t i = 0; i < options.repeats; ++i) {
      seconds.push_back(seconds_of(engine, test));
      rates.push_back(static_cast<double>(test.tokens()) / seconds.back());
    }
    if (is_table) {
      const Statistics rate = statistics_of(rates);
      write_output(fmt::format("| {:<24} | {:>10} | {:>10} | {:<14} | {:>7} | {:>8} | {:>18} |\n", facts.type,
                               bytes_text(static_cast<double>(facts.bytes)),
                               fmt::format("{:.2f} M", static_cast<double>(facts.parameters) / 1e6),
                               "CPU " + target_name(), test.threads, test.name(),
                               fmt::format("{:.2f} ± {:.2f}", rate.mean, rate.deviation)));
    } else {
      all.push_back(json_of(options, facts, test, seconds, rates));
    }
  }
  // A path may be any bytes; JSON is UTF-8.
  if (!is_table) write_output(all.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
  return 0;
}

}  // namespace

void add_bench(CLI::App& app, Command& chosen) {
  const auto options = std::make_shared<BenchOptions>();
  CLI::App* command = app.add_subcommand("bench", "Measure tokens per second");
  add_model_options(*command, options->model, ThreadOption::several)->required();
  command->add_option("-p,--n-prompt", options->prompts, "Prompt lengths (default 512; 0: none)")->type_name("N[,N]");
  command->add_option("-n,--n-gen", options->generations, "Tokens to generate (default 128; 0: none)")
      ->type_name("N[,N]");
  command->add_option("-t,--threads", options->threads, "Numbers of threads to compare")->type_name("N[,N]");
  add_number<std::size_t>(*command, "-r,--repetitions", options->repeats, 1, 1000, "Runs of each test (default 5)");
  command->add_option("-o,--output", options->format, "md (a table, default) or json")
      ->type_name("FORMAT")
      ->check(CLI::IsMember({"md", "json"}));
  command->callback([options, &chosen] { chosen = [options] { return bench(*options); }; });
}

}  // namespace program
