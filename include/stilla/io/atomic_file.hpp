// SPDX-License-Identifier: Apache-2.0
//
// A file that is there whole or not at all. Bytes go into PATH.NUMBER.partial beside it; commit() brings them to the disk
// and then renames. Whatever ends the work before that (an error, a full disk, no call of commit()) removes the partial
// file and leaves what had the name before. Only a process that is killed, or a machine that stops, leaves the partial file.
//
//   Result<AtomicFile> file = AtomicFile::create("model.stilla");
//   if (Status s = file->write(0, bytes); !s) return s;     // at any offset, in any order; holes read as zeros
//   return file->commit();
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include <stilla/base/error.hpp>
#include <stilla/io/mapped_file.hpp>  // printable_path, system_error, and the system's headers

#if !defined(_WIN32)
#include <cstdio>  // rename
#endif

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

class AtomicFile {
 public:
  static Result<AtomicFile> create(std::string path);

  AtomicFile(AtomicFile&& other) noexcept { swap(other); }
  AtomicFile& operator=(AtomicFile&& other) noexcept {
    swap(other);
    return *this;
  }
  ~AtomicFile();

  Status write(std::uint64_t offset, std::span<const std::byte> bytes);
  // After it, or after it failed, the object is good for nothing more.
  Status commit();

 private:
  AtomicFile() = default;
  void swap(AtomicFile& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(partial_, other.partial_);
    std::swap(handle_, other.handle_);
  }
  static constexpr unsigned partial_names = 100;  // tried before giving up; taken ones are another's, or were left behind

  std::string path_;
  std::string partial_;  // empty: there is none any more
#if defined(_WIN32)
  HANDLE handle_ = INVALID_HANDLE_VALUE;
#else
  int handle_ = -1;
#endif
};

#if defined(_WIN32)

inline Result<AtomicFile> AtomicFile::create(std::string path) {
  AtomicFile file;
  file.path_ = std::move(path);
  const DWORD attributes = [&] {
    const Result<std::wstring> wide = detail::wide_path(file.path_);
    return wide ? ::GetFileAttributesW(wide->c_str()) : INVALID_FILE_ATTRIBUTES;
  }();
  if (attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_DIRECTORY)) {
    return Error{ErrorKind::system, concat(printable_path(file.path_), ": cannot write: it is no regular file")};
  }
  for (unsigned i = 0; i < partial_names; ++i) {
    const std::string partial = concat(file.path_, ".", ::GetCurrentProcessId() + i, ".partial");
    const Result<std::wstring> wide = detail::wide_path(partial);
    if (!wide) return wide.error();
    file.handle_ = ::CreateFileW(wide->c_str(), GENERIC_WRITE, 0, nullptr, CREATE_NEW, FILE_ATTRIBUTE_NORMAL, nullptr);
    if (file.handle_ != INVALID_HANDLE_VALUE) {
      file.partial_ = partial;
      return file;
    }
    if (::GetLastError() != ERROR_FILE_EXISTS) break;
  }
  return system_error(file.path_, "cannot write", static_cast<int>(::GetLastError()));
}

inline AtomicFile::~AtomicFile() {
  if (handle_ != INVALID_HANDLE_VALUE) ::CloseHandle(handle_);
  if (partial_.empty()) return;
  if (const Result<std::wstring> wide = detail::wide_path(partial_)) ::DeleteFileW(wide->c_str());
}

inline Status AtomicFile::write(std::uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    OVERLAPPED place{};
    place.Offset = static_cast<DWORD>(offset);
    place.OffsetHigh = static_cast<DWORD>(offset >> 32);
    const DWORD wanted = static_cast<DWORD>(std::min<std::size_t>(bytes.size(), std::size_t{1} << 30));
    DWORD written = 0;
    if (!::WriteFile(handle_, bytes.data(), wanted, &written, &place)) {
      return system_error(path_, "cannot write", static_cast<int>(::GetLastError()));
    }
    offset += written;
    bytes = bytes.subspan(written);
  }
  return success();
}

inline Status AtomicFile::commit() {
  const Result<std::wstring> from = detail::wide_path(partial_), to = detail::wide_path(path_);
  if (!from) return from.error();
  if (!to) return to.error();
  const bool synced = ::FlushFileBuffers(handle_) != 0;
  const int sync_error = static_cast<int>(::GetLastError());
  ::CloseHandle(std::exchange(handle_, INVALID_HANDLE_VALUE));
  if (!synced) return system_error(path_, "cannot write", sync_error);
  if (!::MoveFileExW(from->c_str(), to->c_str(), MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH)) {
    return system_error(path_, "cannot write", static_cast<int>(::GetLastError()));
  }
  partial_.clear();
  return success();
}

#else

inline Result<AtomicFile> AtomicFile::create(std::string path) {
  if (path.find('\0') != std::string::npos) {
    return Error{ErrorKind::bad_argument, concat(printable_path(path), ": a path holds no zero byte")};
  }
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode)) {
    return Error{ErrorKind::system, concat(printable_path(path), ": cannot write: it is no regular file")};
  }
  AtomicFile file;
  file.path_ = std::move(path);
  for (unsigned i = 0; i < partial_names; ++i) {
    const std::string partial = concat(file.path_, ".", static_cast<unsigned long>(::getpid()) + i, ".partial");
    file.handle_ = ::open(partial.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file.handle_ >= 0) {
      file.partial_ = partial;
      return file;
    }
    if (errno != EEXIST) break;
  }
  return system_error(file.path_, "cannot write", errno);
}

inline AtomicFile::~AtomicFile() {
  if (handle_ >= 0) ::close(handle_);
  if (!partial_.empty()) ::unlink(partial_.c_str());
}

inline Status AtomicFile::write(std::uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const std::size_t wanted = std::min<std::size_t>(bytes.size(), std::size_t{1} << 30);
    const ::ssize_t written = ::pwrite(handle_, bytes.data(), wanted, static_cast<::off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return system_error(path_, "cannot write", written < 0 ? errno : ENOSPC);
    offset += static_cast<std::uint64_t>(written);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  return success();
}

inline Status AtomicFile::commit() {
  const bool synced = ::fsync(handle_) == 0 || errno == EINVAL;  // EINVAL: this file system has no such thing
  const int sync_error = errno;
  const bool closed = ::close(std::exchange(handle_, -1)) == 0;
  if (!synced || !closed) return system_error(path_, "cannot write", synced ? errno : sync_error);
  if (std::rename(partial_.c_str(), path_.c_str()) != 0) return system_error(path_, "cannot write", errno);
  partial_.clear();
  // The new name is on the disk when its folder is. The file is whole in any case, so a failure here is none.
  const std::size_t slash = path_.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path_.substr(0, slash + 1);
  if (const int descriptor = ::open(folder.c_str(), O_RDONLY | O_CLOEXEC); descriptor >= 0) {
    ::fsync(descriptor);
    ::close(descriptor);
  }
  return success();
}

#endif

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
