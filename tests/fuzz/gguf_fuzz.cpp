// SPDX-License-Identifier: Apache-2.0
//
// libFuzzer target: any bytes are read as a GGUF file, packed or not, and then everything that a loaded file offers is used. The
// target first corrects the checksum in the header of a packed file. Otherwise nearly all inputs would be refused for their
// checksum, and the later checks would not be tested. It counts as a fault if the program aborts, or if an error message has
// more than one line. The target is opt-in and needs clang:
//
//   clang++ -std=c++20 -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -Iinclude -Itests \
//     tests/fuzz/gguf_fuzz.cpp -o gguf_fuzz
//   ./gguf_fuzz seeds                     # writes small good files into the folder seeds, then stops
//   ./gguf_fuzz -rss_limit_mb=512 -malloc_limit_mb=64 -timeout=5 -max_total_time=600 corpus seeds
#include "gguf_builder.hpp"

#include <stilla/io/gguf.hpp>
#include <stilla/io/packed_file.hpp>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

volatile std::size_t sink;

void use(const stilla::GgufFile& file) {
  std::size_t sum = 0;
  for (const stilla::GgufKey& key : file.keys()) {
    if (file.find(key.name) != &key) __builtin_trap();
    sum += file.value_text(key).size();
    if (const auto strings = file.get_strings(key.name)) {
      std::size_t n = 0;
      for (const std::string_view text : *strings) {
        ++n;
        for (const char c : text) sum += static_cast<unsigned char>(c);
      }
      if (n != strings->size()) __builtin_trap();
    }
    if (const auto text = file.get_string(key.name)) {
      for (const char c : *text) sum += static_cast<unsigned char>(c);
    }
    sum += static_cast<std::size_t>(file.get_uint_or(key.name, 0) ? *file.get_uint(key.name) : 0);
    sum += file.get_float(key.name) ? 1u : 0u;
    sum += file.get_bool(key.name) ? 1u : 0u;
    if (const auto numbers = file.get_array<std::int32_t>(key.name)) sum += numbers->size();
    if (const auto numbers = file.get_array<float>(key.name)) sum += numbers->size();
  }
  for (const stilla::GgufTensor& tensor : file.tensors()) {
    if (file.find_tensor(tensor.name) != &tensor) __builtin_trap();
    for (const std::byte b : file.tensor_bytes(tensor)) sum += std::to_integer<unsigned>(b);
    const bool decodes = file.require_tensor(tensor.name).has_value();
    stilla::with_format(tensor.format, [&]<class F>(F) {
      if (!decodes) __builtin_trap();
      if (tensor.is_packed) {
        if (tensor.size_bytes != stilla::packed_bytes<F>(tensor.rows(), tensor.columns())) __builtin_trap();
        std::vector<float> row(tensor.columns() <= 65536 ? tensor.columns() : 0);
        const stilla::PackedView view{tensor.format, tensor.rows(), tensor.columns(), file.tensor_bytes(tensor).data()};
        if (!row.empty()) stilla::unpack_row<F>(view, tensor.rows() - 1, row.data());
        return;
      }
      if constexpr (stilla::RowScaledFormat<F>) {
        __builtin_trap();  // these formats are in packed files only
      } else {
        if (tensor.size_bytes % F::block_bytes != 0) __builtin_trap();
        float weights[256];
        const std::span<const std::byte> bytes = file.tensor_bytes(tensor);
        for (std::size_t at = 0; at < bytes.size(); at += F::block_bytes) F::decode(bytes.data() + at, weights);
        sum += weights[0] > 0 ? 1u : 0u;
      }
    });
  }
  sink = sum;
}

void write_seeds(const std::string& folder) {
  stilla_test::GgufBuilder b;
  b.string("general.architecture", "qwen2").number<std::uint32_t>("general.alignment", 32).boolean("t", true);
  b.number<float>("f", 1e-6f).number<double>("d", 0.1).number<std::int64_t>("i", -5).number<std::uint16_t>("split.count", 1);
  b.strings("tokenizer.ggml.tokens", {"a", "bc", ""}).array<std::int32_t>("tokenizer.ggml.token_type", {1, 3, -1});
  b.array<float>("tokenizer.ggml.scores", {0.5f, 1.0f});
  b.write(folder + "/vocabulary.gguf");
  b.floats("token_embd.weight", {2, 3}, {1, 2, 3, 4, 5, 6});
  stilla::for_each_type(stilla::GgufFormats{}, [&]<class F>(F) {
    b.tensor(F::name, {F::block_weights, 2}, stilla::id_of<F>, std::vector<std::byte>(2 * F::block_bytes, std::byte{0x35}));
  });
  b.write(folder + "/types.gguf");
  const std::vector<std::byte> types = b.build();
  const auto source = stilla::GgufFile::parse(stilla::MappedFile::from_memory(types, "types"));
  if (!source || !stilla::write_packed_file(*source, folder + "/packed.stilla")) __builtin_trap();
  b.version = 2;
  b.write(folder + "/version2.gguf");
}

void seal(std::span<std::byte> bytes) {
  stilla::GgufContents contents;
  (void)stilla::parse_gguf(stilla::MappedFile::from_memory(bytes, "sealed"), contents);
  const stilla::GgufKey* key = stilla::detail::find_by_name(contents.keys, contents.keys_by_name, stilla::packed_checksum_key);
  if (key == nullptr || contents.data_offset < key->value_offset + 8 || contents.data_offset > bytes.size()) return;
  const auto header = bytes.first(contents.data_offset);
  stilla::store_as(bytes.data() + key->value_offset, stilla::detail::packed_header_checksum(header, key->value_offset));
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  if (*argc == 2 && (*argv)[1][0] != '-') {
    write_seeds((*argv)[1]);
    std::exit(0);
  }
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::vector<std::byte> bytes(size);
  if (size != 0) std::memcpy(bytes.data(), data, size);
  if (stilla::begins_as_packed_file(bytes)) seal(bytes);
  const stilla::Result<stilla::GgufFile> file = stilla::GgufFile::parse(stilla::MappedFile::from_memory(bytes, "fuzz"));
  if (file) {
    use(*file);
  } else {
    for (const char c : file.error().message) {
      if (static_cast<unsigned char>(c) < 0x20) __builtin_trap();
    }
  }
  return 0;
}
