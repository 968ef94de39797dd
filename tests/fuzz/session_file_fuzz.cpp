// SPDX-License-Identifier: Apache-2.0
//
// libFuzzer target: any bytes are loaded as a saved session. The target first corrects both checksums of the file. Otherwise
// nearly all inputs would be refused for their checksums, and the later checks would not be tested. It counts as a fault if the
// program aborts, or if an error message has more than one line. The target is opt-in and needs clang; see tests/fuzz.sh.
#include <stilla/model/session_file.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <vector>

namespace {

using namespace stilla;

constexpr std::array<std::uint32_t, 3> ids = {7, 0, 99};

SessionKind kind_of(KvType type) {
  return {.model = 5, .vocabulary = 100, .context = 300, .activations = ActivationBits::eight, .shape = {1, 1, 16, type}};
}

KvType type_in(std::span<const std::byte> bytes) {
  return bytes.size() < 16 ? KvType::f32 : kv_types[std::to_integer<std::size_t>(bytes[12]) % kv_types.size()];
}

void seal(std::span<std::byte> bytes) {
  if (bytes.size() < detail::session_header_bytes) return;
  store_as(bytes.data() + 56, checksum(bytes.subspan(detail::session_header_bytes)));
  store_as(bytes.data() + 64, checksum(bytes.first(64)));
}

void check(const SavedText& saved, const SessionKind& kind) {
  if (saved.cache.size() != saved.ids.size() || saved.ids.size() > kind.context) __builtin_trap();
  for (const std::uint32_t id : saved.ids) {
    if (id >= kind.vocabulary) __builtin_trap();
  }
  KvCache whole = saved.cache;
  if (!whole.reserve(kind.context)) __builtin_trap();
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  if (*argc != 2 || (*argv)[1][0] == '-') return 0;
  const float row[16] = {1.0f, -2.0f};
  for (const KvType type : kv_types) {
    const SessionKind kind = kind_of(type);
    Result<KvCache> cache = KvCache::create(kind.shape);
    if (!cache || !cache->reserve(ids.size())) __builtin_trap();
    for (std::size_t p = 0; p < ids.size(); ++p) (void)cache->store(0, p, row, row);
    cache->set_size(ids.size());
    const std::string path = concat((*argv)[1], "/", kv_type_name(type), ".session");
    if (!write_session_file(path, kind, ids, "note", *cache)) __builtin_trap();
  }
  std::exit(0);
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::vector<std::byte> bytes(size);
  if (size != 0) std::memcpy(bytes.data(), data, size);
  seal(bytes);
  const SessionKind kind = kind_of(type_in(bytes));
  const Result<SavedText> saved = read_session_file(MappedFile::from_memory(bytes, "fuzz"), kind);
  if (saved) {
    check(*saved, kind);
  } else {
    for (const char c : saved.error().message) {
      if (static_cast<unsigned char>(c) < 0x20) __builtin_trap();
    }
  }
  return 0;
}
