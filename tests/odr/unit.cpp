// SPDX-License-Identifier: Apache-2.0
//
// Compiled several times with different flags. Uses the library widely and returns a hash of every bit it computed.
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include <stilla/dispatch.hpp>
#include <stilla/error.hpp>
#include <stilla/format/format.hpp>
#include <stilla/pack.hpp>
#include <stilla/parallel.hpp>

namespace {

class Hash {  // FNV-1a
 public:
  void add(const void* data, std::size_t bytes) {
    const auto* p = static_cast<const unsigned char*>(data);
    for (std::size_t i = 0; i < bytes; ++i) value_ = (value_ ^ p[i]) * 0x100000001b3u;
  }
  void add(std::string_view text) { add(text.data(), text.size()); }
  std::uint64_t value() const { return value_; }

 private:
  std::uint64_t value_ = 0xcbf29ce484222325u;
};

}  // namespace

#define ODR_JOIN_(a, b) a##b
#define ODR_JOIN(a, b) ODR_JOIN_(a, b)

std::uint64_t ODR_JOIN(odr_run_, ODR_UNIT)();

std::uint64_t ODR_JOIN(odr_run_, ODR_UNIT)() {
  Hash hash;
  const stilla::Status refused = stilla::force_target("no\nsuch target");
  hash.add(refused.error().message.substr(0, 30));
  return hash.value();
}
