// SPDX-License-Identifier: Apache-2.0
//
// Compares a packed file with its checksums while the program works with the file. The comparison reads every byte. If it ran before the
// first token, it would take a large part of the time in which a packed file starts. So it begins when the first token is written, on a
// thread of its own.
#pragma once

#include <atomic>
#include <thread>

#include <stilla/base/error.hpp>
#include <stilla/io/gguf.hpp>
#include <stilla/io/model_source.hpp>

namespace program {

class Verification {
 public:
  // Begins to compare the tensors of `source`, which must outlive this object, with the checksums that a packed file has. A source that
  // is not packed has none and counts as undamaged.
  explicit Verification(const stilla::ModelSource& source);
  // Ends the comparison, even if not all tensors have been compared yet.
  ~Verification();
  Verification(const Verification&) = delete;
  Verification& operator=(const Verification&) = delete;

  // Returns the result if all tensors were compared or a damaged one was found, and success until then.
  stilla::Status so_far() const;
  // Waits until all tensors were compared, a damaged one was found, or a signal asked the program to end. Returns the result.
  stilla::Status finish();

 private:
  void compare();
  stilla::Status result() const;

  const stilla::GgufFile* file_;  // null if there is nothing to compare

  std::atomic<bool> is_done_{false}, is_ended_{false};
  // The thread that compares writes result_ and lacks_memory_, and then sets is_done_. Other threads read the two only when is_done_
  // is set.
  stilla::Status result_ = stilla::success();
  bool lacks_memory_ = false;
  std::thread thread_;
};

}  // namespace program
