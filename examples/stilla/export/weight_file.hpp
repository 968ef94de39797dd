// SPDX-License-Identifier: Apache-2.0
//
// The file that holds the large constants of all graphs of a folder. First every constant gets its place, so that the graphs can
// be written. Then the constants are made one after the other and written to their places, so that never more than one matrix is
// in memory. A place begins at a multiple of 4096 bytes, a page, or of 64 bytes if the constant is smaller than a page:
// onnxruntime and OpenVINO map the file and read the constants where they are.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <stilla/base/error.hpp>
#include <stilla/io/atomic_file.hpp>

#include "graph.hpp"

namespace program {

class WeightFile {
 public:
  static constexpr const char* name = "model.onnx.data";

  // A function that is called with the number of bytes written so far and the number of all bytes to write. If it returns
  // false, the work ends.
  using Progress = std::function<bool(std::uint64_t, std::uint64_t)>;
  using Advance = std::function<stilla::Status(std::uint64_t bytes)>;
  // A function that writes one constant to the place that was reserved for it. It calls `advance` with the number of bytes written
  // since its last call, and ends if `advance` fails.
  using Job = std::function<stilla::Status(stilla::AtomicFile& file, const Advance& advance)>;

  // Reserves a place for a constant. The caller must add a job that fills the place.
  onnx::FilePlace reserve(std::uint64_t bytes) {
    constexpr std::uint64_t page = 4096, line = 64;
    const std::uint64_t alignment = bytes >= page ? page : line;
    const onnx::FilePlace place{(size_ + alignment - 1) / alignment * alignment, bytes};
    size_ = place.offset + bytes;
    total_ += bytes;
    return place;
  }
  void add_job(Job job) { jobs_.push_back(std::move(job)); }

  std::uint64_t size() const { return size_; }

  // Runs the jobs, which write all constants of the file. The file appears at `path` only when all are done.
  stilla::Status write(const std::string& path, const Progress& progress) const {
    stilla::Result<stilla::AtomicFile> file = stilla::AtomicFile::create(path);
    if (!file) return file.error();
    std::uint64_t done = 0;
    const Advance advance = [&](std::uint64_t bytes) -> stilla::Status {
      done += bytes;
      if (progress && !progress(done, total_)) return stilla::Error{stilla::ErrorKind::system, "the export was stopped"};
      return stilla::success();
    };
    for (const Job& job : jobs_) {
      if (stilla::Status s = job(*file, advance); !s) return s;
    }
    return file->commit();
  }

 private:
  std::vector<Job> jobs_;
  std::uint64_t size_ = 0;
  std::uint64_t total_ = 0;
};

}  // namespace program
