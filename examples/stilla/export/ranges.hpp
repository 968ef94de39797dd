// SPDX-License-Identifier: Apache-2.0
//
// The range of each tensor of a graph (its least and its greatest value), by the tensor's name.
#pragma once

#include <algorithm>
#include <map>
#include <span>
#include <string>

namespace program {

struct ValueRange {
  float least = 0.0f, most = 0.0f;  // a range always includes zero, because zero must have an integer of its own

  void include(float value) {
    least = std::min(least, value);
    most = std::max(most, value);
  }
  void include(const ValueRange& other) {
    include(other.least);
    include(other.most);
  }
  float magnitude() const { return std::max(-least, most); }
};

class Ranges {
 public:
  ValueRange& operator[](const std::string& tensor) { return ranges_[tensor]; }
  void include(const std::string& tensor, std::span<const float> values) {
    ValueRange& range = ranges_[tensor];
    for (const float value : values) range.include(value);
  }
  // Returns the smallest and the largest value of a tensor, or null if they are not known.
  const ValueRange* find(const std::string& tensor) const {
    const auto found = ranges_.find(tensor);
    return found != ranges_.end() ? &found->second : nullptr;
  }

 private:
  std::map<std::string, ValueRange> ranges_;
};

}  // namespace program
