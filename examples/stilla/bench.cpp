// SPDX-License-Identifier: Apache-2.0
//
// stilla bench: measures the tokens per second of reading a prompt (pp) and of generating (tg), and prints them in llama-bench's
// columns. Every test starts with an empty text. With -d N it starts behind a text of N tokens, whose time does not count. The first
// run of each test warms up and does not count. Two columns are added: the speed that this machine's memory and multipliers would
// allow, measured around every run, and the share of it that was reached.
//
// The limit of a run is the longer of two times:
//
//     reading      the bytes that the run reads / the bytes per second that the same threads read from memory
//     multiplying  the multiply-adds of the run / the multiply-adds per second of the target's dot-product instruction
//                  (vpdpbusd, vpmaddubsw; float weights: fused multiply-add), in the same threads
//
// A prompt is computed in batches of up to 512 tokens; in generation each token is a batch. For each batch the run reads the packed
// weights of the layers and the keys and values stored so far. For each row of logits it reads the packed weights of the head. Each
// token costs one multiply-add for each weight of the layers, and each row of logits one for each weight of the head.
//
// Of the last layer only query, key and value count as weights of the layers. The rest of that layer counts as part of the head,
// because this rest and the head are computed only for the positions whose logits are wanted. In a prompt that is only the last
// position.
//
// Generation is bound by reading, and long prompts are bound by multiplying. Activations of 16 bits take two products for each
// weight. The limit still counts one, so that it describes the machine and not a mode. Attention's products are not counted.
//
// The limit is measured around every run, because a machine's speed drifts and the speed of the run drifts with it. `limit_ts` is
// the average of the limits measured just before and just after each run, as `avg_ts` is the average of the runs.
//
// The checksum is computed from the bits of the last logits. It depends on the model, the number of tokens, -d, --kv, --activations
// and --weights, and on nothing else: not on target, threads, or whether the tokens came as a prompt or one by one. So a kernel
// that is fast because it is wrong shows itself by another checksum, and --check turns that into an error.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <stilla/io/atomic_file.hpp>
#include <stilla/io/checksum.hpp>
#include <stilla/io/damaged_weights.hpp>
#include <stilla/base/random.hpp>
#include <stilla/base/version.hpp>

#include "commands.hpp"
#include "loading.hpp"
#include "machine.hpp"
#include "onnxruntime_body.hpp"
#include "options.hpp"
#include "output.hpp"
#include "platform.hpp"
#include "roofline.hpp"
#include "stopwatch.hpp"

namespace program {
namespace {

struct BenchOptions {
  ModelOptions model;
  std::string prompts = "512";
  std::string generations = "128";
  std::string depths = "0";
  std::string threads;
  std::string format = "md";
  std::string report;  // path of the report; empty: none
  std::string check;  // allowed checksums: every test must have one of them
  std::size_t repeats = 5;
};

struct Test {
  std::size_t prompt = 0;
  std::size_t generate = 0;
  std::size_t depth = 0;
  std::size_t threads = 1;

  std::size_t tokens() const { return prompt + generate; }
  std::string name() const {
    const std::string text = prompt != 0 ? fmt::format("pp{}", prompt) : fmt::format("tg{}", generate);
    return depth == 0 ? text : fmt::format("{} @ d{}", text, depth);
  }
};

struct Statistics {
  double mean = 0;
  double deviation = 0;  // standard deviation of a sample: divided by n - 1
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

// Returns the ids of the tokens that are measured. The time does not depend on which tokens these are. They are the same every
// time, and a shorter text is the beginning of a longer one.
std::vector<std::uint32_t> some_ids(std::size_t count, std::size_t vocabulary) {
  stilla::Random random(1);
  std::vector<std::uint32_t> ids(count);
  for (std::uint32_t& id : ids) id = static_cast<std::uint32_t>(random.next() % vocabulary);
  return ids;
}

struct Run {
  double seconds = 0;
  std::uint64_t checksum = 0;
};

Run run(Engine& engine, const Test& test) {
  const std::vector<std::uint32_t> all = some_ids(test.depth + test.tokens(), engine.facts().vocabulary);
  const std::span<const std::uint32_t> ids = std::span(all).subspan(test.depth);
  engine.truncate(test.depth);
  if (engine.size() < test.depth) engine.append(std::span(all).subspan(engine.size(), test.depth - engine.size()));
  std::span<const float> logits;
  const Stopwatch watch;
  if (test.prompt != 0) {
    logits = engine.evaluate(ids);
  } else {
    for (const std::uint32_t id : ids) logits = engine.evaluate({&id, 1});
  }
  const double seconds = watch.seconds();
  if (!stilla::all_finite(logits)) engine.blame_weights();
  return {seconds, stilla::checksum(std::as_bytes(logits))};
}

constexpr std::size_t bench_batch = 512;

// Returns the bytes that a test (reading a prompt or generating) reads, and the multiply-adds that it needs.
Work work_of(const ModelWork& model, const Test& test) {
  const std::size_t step = test.prompt != 0 ? bench_batch : 1;
  const auto tokens = static_cast<double>(test.tokens());
  const double logits = test.prompt != 0 ? 1 : tokens;
  Work work;
  work.bytes = logits * model.head.bytes;
  for (std::size_t begin = 0; begin < test.tokens(); begin += step) {
    const std::size_t end = std::min(begin + step, test.tokens());
    work.bytes += model.layers.bytes + static_cast<double>(test.depth + end) * model.kv_bytes;
  }
  work.quantised_macs = tokens * model.layers.quantised_macs + logits * model.head.quantised_macs;
  work.float_macs = tokens * model.layers.float_macs + logits * model.head.float_macs;
  return work;
}

// The limit of a test: the seconds that it needs at least, given what the machine reads and multiplies at this moment.
struct Limit {
  double read_seconds = 0;
  double multiply_seconds = 0;

  double seconds() const { return std::max(read_seconds, multiply_seconds); }
};

class LimitProbe {
 public:
  LimitProbe() : loops_(stilla_bench::mac_loops(target_name())) {}

  bool is_possible() const { return loops_.int8.run != nullptr; }
  std::string int8_name() const { return loops_.int8.name; }

  Limit measure(Engine& engine, const Work& work) {
    Limit limit;
    const auto add = [](double& seconds, double count, double per_second) {
      if (count > 0 && per_second > 0) seconds += count / per_second;
    };
    const double bytes_per_second = read_.bytes_per_second(engine.parallel());
    if (bytes_per_second == 0) fail(exit_failed, "not enough memory to measure how fast it is read");
    add(limit.read_seconds, work.bytes, bytes_per_second);
    const auto macs_per_second = [&](const stilla_bench::MacLoop& loop) {
      return stilla_bench::macs_per_second(loop, engine.parallel(), engine.threads());
    };
    if (work.quantised_macs > 0) add(limit.multiply_seconds, work.quantised_macs, macs_per_second(loops_.int8));
    if (work.float_macs > 0) add(limit.multiply_seconds, work.float_macs, macs_per_second(loops_.f32));
    return limit;
  }

 private:
  stilla_bench::MacLoops loops_;
  stilla_bench::ReadProbe read_;
};

struct Measured {
  std::vector<double> seconds;
  std::vector<double> rates;        // tokens per second
  std::vector<double> limit_rates;  // tokens per second that the limits around each run allow
  Limit limit;                      // the average of all runs
  Work work;
  std::uint64_t checksum = 0;
};

Measured measure(Engine& engine, LimitProbe& probe, const Test& test, std::size_t repeats) {
  Measured m;
  const auto tokens = static_cast<double>(test.tokens());
  m.work = work_of(engine.work(), test);
  m.checksum = run(engine, test).checksum;
  Limit before = probe.measure(engine, m.work);
  for (std::size_t i = 0; i < repeats; ++i) {
    const Run timed = run(engine, test);
    if (timed.checksum != m.checksum) {
      fail(exit_failed,
           fmt::format("{}: the same tokens gave other logits: checksum {:016x}, before {:016x}", test.name(), timed.checksum, m.checksum));
    }
    const Limit after = probe.measure(engine, m.work);
    m.seconds.push_back(timed.seconds);
    m.rates.push_back(tokens / timed.seconds);
    m.limit_rates.push_back((tokens / before.seconds() + tokens / after.seconds()) / 2);
    m.limit.read_seconds += (before.read_seconds + after.read_seconds) / 2 / static_cast<double>(repeats);
    m.limit.multiply_seconds += (before.multiply_seconds + after.multiply_seconds) / 2 / static_cast<double>(repeats);
    before = after;
  }
  return m;
}

std::vector<Test> tests_of(const BenchOptions& options) {
  constexpr std::size_t most = std::size_t{1} << 20;
  std::vector<std::size_t> threads{thread_count(0)};
  if (!options.threads.empty()) threads = parse_list<std::size_t>("-t", options.threads, 1, max_threads);
  warn_of_threads(*std::max_element(threads.begin(), threads.end()));
  const std::vector<std::size_t> prompts = parse_list<std::size_t>("-p", options.prompts, 0, most);
  const std::vector<std::size_t> generations = parse_list<std::size_t>("-n", options.generations, 0, most);
  const std::vector<std::size_t> depths = parse_list<std::size_t>("-d", options.depths, 0, most);
  std::vector<Test> tests;
  for (const std::size_t t : threads) {
    for (const std::size_t d : depths) {
      for (const std::size_t p : prompts) {
        if (p != 0) tests.push_back({p, 0, d, t});
      }
      for (const std::size_t n : generations) {
        if (n != 0) tests.push_back({0, n, d, t});
      }
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

nlohmann::ordered_json json_of(const BenchOptions& options, const FileFacts& model, const Engine& engine, const Test& test,
                               const LimitProbe& probe, const Measured& measured) {
  const Statistics time = statistics_of(measured.seconds);
  const Statistics rate = statistics_of(measured.rates);
  std::vector<std::uint64_t> samples_ns;
  for (const double s : measured.seconds) samples_ns.push_back(static_cast<std::uint64_t>(s * 1e9));
  nlohmann::ordered_json out;
  out["version"] = fmt::format("{}.{}.{}", STILLA_VERSION_MAJOR, STILLA_VERSION_MINOR, STILLA_VERSION_PATCH);
  out["model_filename"] = options.model.path.empty() ? "the embedded model" : options.model.path;
  out["model_type"] = model.type;
  out["model_size"] = model.bytes;
  out["model_n_params"] = model.parameters;
  out["backend"] = "CPU " + target_name();
  out["type_kv"] = kv_type_name(engine.kv_type());
  out["activations"] = activations_name(engine.activations());
  if (options.model.weights) out["weights"] = std::string(stilla::format_name(*options.model.weights));
  out["n_threads"] = test.threads;
  out["n_prompt"] = test.prompt;
  out["n_gen"] = test.generate;
  out["n_depth"] = test.depth;
  out["avg_ns"] = static_cast<std::uint64_t>(time.mean * 1e9);
  out["stddev_ns"] = static_cast<std::uint64_t>(time.deviation * 1e9);
  out["avg_ts"] = rate.mean;
  out["stddev_ts"] = rate.deviation;
  out["samples_ns"] = samples_ns;
  out["samples_ts"] = measured.rates;
  out["checksum"] = fmt::format("{:016x}", measured.checksum);
  // The limit that the machine sets (limit_ts) and the share of it that was reached (limit_percent) stay null on targets for which the
  // program does not know a dot-product instruction.
  for (const char* key : {"limit_ts", "limit_percent"}) out[key] = nullptr;
  if (!probe.is_possible()) return out;
  const double limit = statistics_of(measured.limit_rates).mean;
  out["limit_ts"] = limit;
  out["limit_percent"] = 100 * rate.mean / limit;
  out["limit_samples_ts"] = measured.limit_rates;
  out["limit_by"] = measured.limit.read_seconds > measured.limit.multiply_seconds ? "read" : "multiply-add";
  out["limit_bytes"] = measured.work.bytes;
  out["limit_bytes_per_s"] = measured.work.bytes / measured.limit.read_seconds;
  out["limit_macs"] = measured.work.macs();
  out["limit_macs_per_s"] = measured.work.macs() / measured.limit.multiply_seconds;
  out["limit_instruction"] = probe.int8_name();
  return out;
}

// Writes a report: a description of the machine, and the rows of all tests. The model's path is left out, because it may name a
// person.
void write_report(stilla::AtomicFile& file, const std::string& path, nlohmann::ordered_json rows) {
  for (nlohmann::ordered_json& row : rows) row.erase("model_filename");
  nlohmann::ordered_json out = machine_facts();
  out["tests"] = std::move(rows);
  const std::string text = out.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
  check(file.write(0, std::as_bytes(std::span(text))));
  check(file.commit());
  message(fmt::format("{}: written; it holds what is above, and names no person, host or path", stilla::printable_path(path)));
}

int bench(BenchOptions& options) {
  const std::vector<Test> tests = tests_of(options);
  if (is_onnxruntime(options.model.device)) {
    fail(exit_usage,
         "--device onnxruntime: bench compares with the limits of this CPU, which a device does not have; `stilla run` "
         "tells its speed");
  }
  OpenedModel model = open_model(options.model);
  for (const Test& test : tests) {
    const std::size_t positions = test.depth + test.tokens();
    if (positions > model.context) {
      fail(exit_usage, fmt::format("{} needs {} positions, and the context holds {}", test.name(), positions, model.context));
    }
  }
  FileFacts facts{model_type_text(*model.source, model.facts), 0, parameter_count(*model.source)};
  for (std::size_t i = 0; i < model.source->tensor_count(); ++i) facts.bytes += model.source->tensor(i).size_bytes;
  options.model.threads = tests.front().threads;
  Engine engine = load_engine(model, options.model, bench_batch);
  if (options.model.verbose) report_engine(engine, {});

  const bool is_table = options.format == "md";
  // The report is created first: nobody wants to measure for minutes and then learn that the report cannot be written.
  std::optional<stilla::AtomicFile> report;
  if (!options.report.empty()) {
    if (std::filesystem::exists(file_path(options.report))) {
      fail(exit_failed, fmt::format("{}: is there already; name a new file", stilla::printable_path(options.report)));
    }
    report = value_of(stilla::AtomicFile::create(options.report));
  }
  LimitProbe probe;
  const auto write_row = [](const auto&... cells) {
    write_output(fmt::format("| {:<24} | {:>10} | {:>10} | {:<14} | {:>7} | {:>14} | {:>18} | {:>9} | {:>7} | {:<16} |\n", cells...));
  };
  if (is_table) {
    write_row("model", "size", "params", "backend", "threads", "test", "t/s", "limit t/s", "% of it", "checksum");
    write_output(
        "| ------------------------ | ---------: | ---------: | -------------- | ------: | -------------: | "
        "-----------------: | --------: | ------: | ---------------- |\n");
  }
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  std::string wrong;  // names of tests whose checksum is not one of --check
  std::size_t threads = tests.front().threads;
  for (const Test& test : tests) {
    if (test.threads != threads) engine.use_threads(threads = test.threads);
    const Measured measured = measure(engine, probe, test, options.repeats);
    const std::string checksum = fmt::format("{:016x}", measured.checksum);
    if (!options.check.empty() && options.check.find(checksum) == std::string::npos) {
      wrong += fmt::format("{}{} has {}", wrong.empty() ? "" : ", ", test.name(), checksum);
    }
    if (is_table) {
      const Statistics rate = statistics_of(measured.rates);
      const double limit = statistics_of(measured.limit_rates).mean;
      write_row(facts.type, bytes_text(static_cast<double>(facts.bytes)),
                fmt::format("{:.2f} M", static_cast<double>(facts.parameters) / 1e6), "CPU " + target_name(), test.threads, test.name(),
                fmt::format("{:.2f} ± {:.2f}", rate.mean, rate.deviation), probe.is_possible() ? fmt::format("{:.2f}", limit) : "",
                probe.is_possible() ? fmt::format("{:.1f}", 100 * rate.mean / limit) : "", checksum);
    }
    if (!is_table || report) all.push_back(json_of(options, facts, engine, test, probe, measured));
  }
  // The rows hold the path of the model's file, which may consist of any bytes. JSON is UTF-8, so bytes that are not UTF-8 are replaced.
  if (!is_table) write_output(all.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
  if (report) write_report(*report, options.report, std::move(all));
  if (!wrong.empty()) fail(exit_failed, fmt::format("--check: {}", wrong));
  return 0;
}

}  // namespace

void add_bench(CLI::App& app, Command& chosen) {
  const auto options = std::make_shared<BenchOptions>();
  CLI::App* command = app.add_subcommand("bench", "Measure tokens per second");
  add_model_options(*command, options->model, ThreadOption::several);
  add_rope_options(*command, options->model.rope);
  command->add_option("-p,--n-prompt", options->prompts, "Prompt lengths (default 512; 0: none)")->type_name("N[,N]");
  command->add_option("-n,--n-gen", options->generations, "Tokens to generate (default 128; 0: none)")->type_name("N[,N]");
  command->add_option("-d,--n-depth", options->depths, "Tokens of text before each test, not timed (default 0)")->type_name("N[,N]");
  command->add_option("-t,--threads", options->threads, "Numbers of threads to compare")->type_name("N[,N]");
  add_number<std::size_t>(*command, "-r,--repetitions", options->repeats, 1, 1000, "Runs of each test (default 5)");
  command->add_option("-o,--output", options->format, "md (a table, default) or json")
      ->type_name("FORMAT")
      ->check(CLI::IsMember({"md", "json"}));
  takes_path(command->add_option("--report", options->report,
                                 "Write the numbers with what this machine is to a new file, for a report to the authors"))
      ->type_name("FILE");
  command->add_option("--check", options->check, "End with an error unless every test has one of these checksums")->type_name("SUM[,SUM]");
  command->callback([options, &chosen] { chosen = [options] { return bench(*options); }; });
}

}  // namespace program
