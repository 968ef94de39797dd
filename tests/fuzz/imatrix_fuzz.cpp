// SPDX-License-Identifier: Apache-2.0
//
// libFuzzer target: any bytes are read as an importance matrix of llama.cpp, in either of its two file forms, and compared with a model.
// It counts as a fault if the program aborts, if a number is not finite, if a name in the matrix is not found when it is looked up, or
// if an error message has more than one line. The target is opt-in and needs clang; see tests/fuzz.sh.
#include "gguf_builder.hpp"

#include <stilla/io/imatrix.hpp>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace stilla;
using stilla_test::GgufBuilder;

void check_line(std::string_view message) {
  for (const char c : message) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) __builtin_trap();
  }
}

const GgufFile& model() {
  static const std::vector<std::byte> bytes = GgufBuilder().floats("blk.0.attn_q.weight", {4, 2}, std::vector<float>(8)).build();
  static const GgufFile file = std::move(*GgufFile::parse(MappedFile::from_memory(bytes, "m.gguf")));
  return file;
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  if (*argc != 2 || (*argv)[1][0] == '-') return 0;
  const std::string folder = concat((*argv)[1], "/");
  const std::string name = "blk.0.attn_q.weight";
  GgufBuilder()
      .string("general.type", "imatrix")
      .floats(name + ".in_sum2", {4, 1}, {1, 2, 3, 4})
      .floats(name + ".counts", {1, 1}, {5})
      .write(folder + "imatrix.gguf");
  const float sums[] = {1, 2, 3, 4};
  std::ofstream dat(folder + "imatrix.dat", std::ios::binary);
  dat << GgufBuilder::raw(std::int32_t{1}) << GgufBuilder::raw(static_cast<std::int32_t>(name.size())) << name
      << GgufBuilder::raw(std::int32_t{2}) << GgufBuilder::raw(std::int32_t{4});
  for (const float sum : sums) dat << GgufBuilder::raw(sum);
  dat << GgufBuilder::raw(std::int32_t{2}) << GgufBuilder::raw(std::int32_t{1}) << "a";
  std::exit(0);
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Result<Imatrix> imatrix = Imatrix::parse(MappedFile::from_memory({reinterpret_cast<const std::byte*>(data), size}, "fuzzed"));
  if (!imatrix) {
    check_line(imatrix.error().message);
    return 0;
  }
  for (const std::string& note : imatrix->notes()) check_line(note);
  if (imatrix->entries().empty()) __builtin_trap();
  for (const Imatrix::Entry& entry : imatrix->entries()) {
    if (imatrix->find(entry.name).data() != entry.mean_squares.data()) __builtin_trap();
    for (const float x : entry.mean_squares) {
      if (!(x >= 0.0f) || !std::isfinite(x)) __builtin_trap();
    }
  }
  const auto notes = imatrix->check_against(model());
  if (!notes) {
    check_line(notes.error().message);
    return 0;
  }
  for (const std::string& note : *notes) check_line(note);
  return 0;
}
