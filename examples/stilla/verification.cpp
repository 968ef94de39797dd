// SPDX-License-Identifier: Apache-2.0
#include "verification.hpp"

#include <new>
#include <system_error>

#include <stilla/io/gguf.hpp>
#include <stilla/io/packed_file.hpp>

#include "platform.hpp"

namespace program {

Verification::Verification(const stilla::ModelSource& source)
    : file_(source.is_packed() ? dynamic_cast<const stilla::GgufFile*>(&source) : nullptr) {
  if (file_ == nullptr) {
    is_done_ = true;
    return;
  }
  try {
    thread_ = std::thread([this] { compare(); });
  } catch (const std::system_error&) {
    // The system has granted no further thread, so finish() will do the comparison itself.
  }
}

void Verification::compare() {
  try {
    result_ = stilla::verify_packed_file(*file_, {}, [this] { return !is_ended_ && !interrupted(); });
  } catch (const std::bad_alloc&) {
    lacks_memory_ = true;
  }
  is_done_ = true;
}

Verification::~Verification() {
  is_ended_ = true;
  if (thread_.joinable()) thread_.join();
}

stilla::Status Verification::result() const {
  if (lacks_memory_) throw std::bad_alloc();
  return result_;
}

stilla::Status Verification::so_far() const { return is_done_ ? result() : stilla::success(); }

stilla::Status Verification::finish() {
  if (thread_.joinable()) thread_.join();
  if (!is_done_) compare();
  return result();
}

}  // namespace program
