// SPDX-License-Identifier: Apache-2.0
//
// libFuzzer target: any bytes are read as a file of a Hugging Face folder. The first byte of the input chooses between a
// safetensors file, a config.json, and a tokenizer.json. The last of these may have a key "config", whose value then stands for the
// contents of tokenizer_config.json, generation_config.json and config.json. Everything that is accepted is used.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <vector>

#include <stilla/io/hugging_face.hpp>
#include <stilla/text/tokenizer.hpp>

namespace {

void check_message(const stilla::Error& error) {
  for (const char c : error.message) {
    if (static_cast<unsigned char>(c) < 0x20) __builtin_trap();
  }
}

void use_safetensors(std::span<const std::byte> bytes) {
  const auto file = stilla::SafetensorsFile::parse(stilla::MappedFile::from_memory(bytes, "fuzz"));
  if (!file) return check_message(file.error());
  std::uint64_t sum = 0;
  for (const stilla::SafetensorsTensor& tensor : file->tensors()) {
    for (const std::byte b : file->bytes_of(tensor)) sum += std::to_integer<unsigned>(b);
    const std::string name = stilla::gguf_tensor_name(tensor.name);
    if (!name.empty() && stilla::hugging_face_tensor_name(name) != tensor.name) __builtin_trap();
  }
  if (sum > bytes.size() * 255) __builtin_trap();
}

void use_config(std::span<const std::byte> bytes) {
  const auto json = stilla::parse_json(bytes, "fuzz");
  if (!json) return check_message(json.error());
  const auto config = stilla::read_hugging_face_config(*json, "fuzz");
  if (!config) return check_message(config.error());
  for (const float factor : config->rope_factors) {
    if (!(factor > 0)) __builtin_trap();
  }
}

void use_tokenizer(std::span<const std::byte> bytes) {
  const auto parsed = stilla::parse_hugging_face_tokenizer(bytes, "fuzz");
  if (!parsed) return check_message(parsed.error());
  const nlohmann::json* config = stilla::find_member(parsed->json, "config");
  const stilla::HuggingFaceTexts texts{"fuzz", &*parsed, config, config, config};
  if (const auto text = stilla::read_hugging_face_chat_template(texts); !text) check_message(text.error());
  const auto vocabulary = stilla::read_hugging_face_vocabulary(texts);
  if (!vocabulary) return check_message(vocabulary.error());
  const auto tokenizer = stilla::Tokenizer::create(*vocabulary);
  if (!tokenizer) return check_message(tokenizer.error());
  (void)tokenizer->encode("12345 words, <think> \xc3\xa9\n");
}

void write_seed(const std::string& folder, const std::string& name, char kind) {
  std::ifstream in("../../tests/golden/hugging_face/" + name, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(in), {}};
  std::string to = name;
  for (char& c : to) c = c == '/' ? '-' : c;
  std::ofstream(folder + "/" + to, std::ios::binary) << kind << bytes;
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  if (*argc == 2 && (*argv)[1][0] != '-') {
    const std::string folder = (*argv)[1];
    write_seed(folder, "qwen2/model-00003-of-00004.safetensors", '\0');
    for (const std::string model : {"qwen2", "llama", "qwen3"}) {
      write_seed(folder, model + "/config.json", '\1');
      write_seed(folder, model + "/tokenizer.json", '\2');
    }
    std::exit(0);
  }
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  std::vector<std::byte> bytes(size - 1);  // a separate copy, so that a read behind its end is detected
  if (size > 1) std::memcpy(bytes.data(), data + 1, size - 1);
  switch (data[0] % 3) {
    case 0: use_safetensors(bytes); break;
    case 1: use_config(bytes); break;
    default: use_tokenizer(bytes);
  }
  return 0;
}
