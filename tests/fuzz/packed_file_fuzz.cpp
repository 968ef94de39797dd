// SPDX-License-Identifier: Apache-2.0
//
// libFuzzer target: any bytes that are a GGUF file are packed, and the packed file is opened. The packed file must be good: all its
// checksums are right, it says that it was packed from these bytes, and each row of a matrix holds the weights that the source has.
// The first byte of the input says how much of the packed file is then damaged, and where. The damaged file must be refused, or a
// check of its checksums must name a tensor, or it must be as good as before. (Packed files of any other contents are read by
// gguf_fuzz.cpp.) The target is opt-in and needs clang; tests/fuzz.sh builds and runs it.
#define STILLA_HIGHWAY 0
#define STILLA_TARGETS Scalar

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include <unistd.h>

#include "gguf_builder.hpp"

#include <stilla/io/packed_file.hpp>

namespace {

using namespace stilla;

// The path of the packed file. It lies in memory (/dev/shm), and each process of libFuzzer has its own.
const std::string& output_path() {
  static const std::string path = concat("/dev/shm/stilla-packed-file-fuzz-", static_cast<unsigned long>(::getpid()));
  return path;
}

void check(bool holds) {
  if (!holds) __builtin_trap();
}

void check_message(const Error& error) {
  for (const char c : error.message) check(static_cast<unsigned char>(c) >= 0x20);
}

// Returns whether the packed tensor has the weights of the source, in the same order. A NaN counts as equal to any NaN.
template <class F>
bool has_the_same_weights(const GgufFile& source, const GgufTensor& from, const GgufFile& packed, const GgufTensor& to) {
  const auto N = static_cast<std::size_t>(from.rows()), K = static_cast<std::size_t>(from.columns());
  if (K > 65536 || N > 65536) return true;
  std::vector<float> expected(K), found(K);
  const PackedView view{to.format, N, K, packed.tensor_bytes(to).data()};
  for (std::size_t n = 0; n < N; ++n) {
    decode_row<F>(source.tensor_bytes(from).data() + n * row_bytes<F>(K), expected.data(), K);
    unpack_row<F>(view, n, found.data());
    for (std::size_t k = 0; k < K; ++k) {
      if (!(expected[k] == found[k] || (expected[k] != expected[k] && found[k] != found[k]))) return false;
    }
  }
  return true;
}

void check_packed(const GgufFile& source, const GgufFile& packed) {
  check(packed.is_packed() && is_packed_from(packed, source));
  check(packed.tensor_count() == source.tensor_count());
  for (const GgufTensor& from : source.tensors()) {
    const GgufTensor* const to = packed.find_tensor(from.name);
    check(to != nullptr && to->dims == from.dims);
    if (!to->is_packed) {
      check(to->size_bytes == from.size_bytes);
      check(std::memcmp(packed.tensor_bytes(*to).data(), source.tensor_bytes(from).data(), from.size_bytes) == 0);
      continue;
    }
    with_format(from.format, [&]<class F>(F) {
      if constexpr (!RowScaledFormat<F>) check(has_the_same_weights<F>(source, from, packed, *to));
    });
  }
}

void damage(std::span<std::byte> bytes, std::uint8_t choice) {
  std::uint32_t at = choice * 2654435761u;
  for (int i = 0; i <= choice % 3; ++i, at = at * 1664525u + 1013904223u) bytes[at % bytes.size()] ^= std::byte{1} << (at >> 8 & 7);
}

}  // namespace

// If the only argument is a folder, the program writes inputs for the fuzzer to start with into this folder, and ends.
extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  if (*argc != 2 || (*argv)[1][0] == '-') return 0;
  std::uint8_t choice = 1;
  const auto write = [&](const stilla_test::GgufBuilder& builder) {
    std::FILE* const file = std::fopen(concat((*argv)[1], "/", unsigned{choice}).c_str(), "wb");
    check(file != nullptr);
    const std::vector<std::byte> bytes = builder.build();
    std::fputc(choice++, file);
    std::fwrite(bytes.data(), 1, bytes.size(), file);
    std::fclose(file);
  };
  for_each_type(GgufFormats{}, [&]<class F>(F) {
    stilla_test::GgufBuilder b;
    b.string("general.architecture", "qwen2").strings("tokenizer.ggml.tokens", {"a", "bc", ""});
    b.floats("blk.0.attn_norm.weight", {4}, {1, 2, 3, 4});
    b.tensor("blk.0.ffn_up.weight", {F::block_weights, 3}, id_of<F>, std::vector<std::byte>(3 * F::block_bytes, std::byte{0x35}));
    write(b);
  });
  std::exit(0);
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  std::vector<std::byte> bytes(size - 1);
  if (size > 1) std::memcpy(bytes.data(), data + 1, size - 1);
  const Result<GgufFile> source = GgufFile::parse(MappedFile::from_memory(bytes, "fuzz"));
  if (!source) return 0;  // gguf_fuzz.cpp checks the messages of files that are refused
  const Result<std::uint64_t> planned = packed_file_bytes(*source);
  if (!planned) {
    check_message(planned.error());
    return 0;
  }
  if (*planned > std::uint64_t{1} << 22) return 0;
  const Status written = write_packed_file(*source, output_path());
  if (!written) {
    check_message(written.error());
    return 0;
  }
  const Result<MappedFile> file = MappedFile::open(output_path(), LoadMode::read);
  std::remove(output_path().c_str());
  check(file && file->bytes().size() == *planned);
  std::vector<std::byte> packed_bytes(file->bytes().begin(), file->bytes().end());
  const auto open = [&] { return GgufFile::parse(MappedFile::from_memory(packed_bytes, "packed")); };
  {
    const Result<GgufFile> packed = open();
    check(packed.has_value());
    check(verify_packed_file(*packed).has_value());
    check_packed(*source, *packed);
  }
  damage(packed_bytes, data[0]);
  const Result<GgufFile> damaged = open();
  if (!damaged) {
    check_message(damaged.error());
    return 0;
  }
  if (const Status verified = verify_packed_file(*damaged); !verified) {
    check_message(verified.error());
  } else {
    check_packed(*source, *damaged);  // the damaged bytes lie between two tensors, where they mean nothing
  }
  return 0;
}
