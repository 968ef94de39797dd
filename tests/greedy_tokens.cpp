// SPDX-License-Identifier: Apache-2.0
//
// greedy_tokens MODEL.gguf IDS COUNT [TARGET [BITS]]
//
// Continues the prompt IDS (for example 1,2,3) with the likeliest token each time, on one thread. It prints a line with the target,
// COUNT ids, and the checksum of all logits from which these were chosen. TARGET is a name as for `--target` of the program
// `stilla`. If TARGET is missing or "best", the CPU's best target is used. BITS is the number of bits of activations, 8 or 16. If
// BITS is missing, the model's default is used. This program is smaller than the program `stilla`: it needs fewer source files. It
// is meant for CPUs that are emulated: bench/count_instructions.py counts the instructions for a token, and
// tests/emulated_models.sh compares CPUs.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <stilla/io/checksum.hpp>
#include <stilla/io/gguf.hpp>
#include <stilla/model/forward.hpp>
#include <stilla/sampling.hpp>

namespace {

int fail(std::string_view message) {
  std::fprintf(stderr, "greedy_tokens: %.*s\n", static_cast<int>(message.size()), message.data());
  return 1;
}

std::vector<std::uint32_t> numbers(const char* text) {
  std::vector<std::uint32_t> out;
  while (*text != '\0') {
    char* end = nullptr;
    out.push_back(static_cast<std::uint32_t>(std::strtoul(text, &end, 10)));
    if (end == text) return {};
    text = *end == ',' ? end + 1 : end;
  }
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4 || argc > 6) return fail("MODEL.gguf IDS COUNT [TARGET [BITS]]");
  const std::vector<std::uint32_t> prompt = numbers(argv[2]);
  const int count = std::atoi(argv[3]);
  if (prompt.empty() || count < 1) return fail("no ids, or nothing to write");
  if (argc > 4 && std::string_view(argv[4]) != "best") {
    if (const stilla::Status set = stilla::force_target(argv[4]); !set) return fail(set.error().message);
  }
  stilla::Result<stilla::GgufFile> file = stilla::GgufFile::open(argv[1]);
  if (!file) return fail(file.error().message);
  const stilla::Result<stilla::Model> model = stilla::Model::load(std::move(*file));
  if (!model) return fail(model.error().message);
  stilla::SessionOptions options;
  if (argc > 5) options.activations = std::string_view(argv[5]) == "8" ? stilla::ActivationBits::eight : stilla::ActivationBits::sixteen;
  stilla::Result<stilla::Session> session = stilla::Session::create(*model, options);
  if (!session) return fail(session.error().message);

  std::printf("%s:", stilla::active_target().name);
  std::vector<std::uint32_t> next = prompt;
  std::uint64_t sum = 0;
  for (int i = 0; i < count; ++i) {
    const auto logits = session->evaluate(next);
    if (!logits) return fail(logits.error().message);
    sum = stilla::checksum(std::as_bytes(*logits), sum);
    const std::optional<std::uint32_t> id = stilla::greedy_token(*logits);
    if (!id) return fail("logits that are not numbers");
    std::printf(" %u", *id);
    next.assign(1, *id);
  }
  std::printf("; checksum %016llx\n", static_cast<unsigned long long>(sum));
  return 0;
}
