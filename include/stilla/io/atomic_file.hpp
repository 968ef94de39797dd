// SPDX-License-Identifier: Apache-2.0
//
// Writes a file that exists either complete or not at all. The bytes go into PATH.NUMBER.partial in the same folder. commit()
// brings them to the disk and then renames the file. If the work ends before that (an error, a full disk, no call of commit()),
// the partial file is removed and the file that had the name before stays. A partial file is left behind only if the process is
// killed or the machine stops. The next AtomicFile of the same path removes it. A lock on the partial file tells whether another
// process is still writing it.
//
// If a file is replaced, the new one gets its permissions and, where this is allowed, its owner. A file that may not be written
// is not replaced. If the path is a symbolic link, the file that it leads to is replaced, and must exist. (On Windows permissions
// and owner are not kept, and a link itself is replaced.)
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
#include <string_view>
#include <utility>

#include <stilla/base/error.hpp>
#include <stilla/io/mapped_file.hpp>  // printable_path, system_error, and the system's headers

#if defined(_WIN32)
#include <cwchar>
#else
#include <cstdio>  // rename
#include <cstdlib>
#include <dirent.h>
#include <sys/file.h>
#endif

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

// Who may read a file that AtomicFile makes: everyone whom the default of the system allows, or only the owner of the file.
enum class FileReaders : std::uint8_t { by_default, owner };

class AtomicFile {
 public:
  static Result<AtomicFile> create(std::string path, FileReaders readers = FileReaders::by_default);

  AtomicFile(AtomicFile&& other) noexcept { swap(other); }
  AtomicFile& operator=(AtomicFile&& other) noexcept {
    swap(other);
    return *this;
  }
  ~AtomicFile();

  Status write(std::uint64_t offset, std::span<const std::byte> bytes);
  // After commit(), whether it succeeded or failed, the AtomicFile must not be used any more.
  Status commit();

 private:
  AtomicFile() = default;
  void swap(AtomicFile& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(target_, other.target_);
    std::swap(partial_, other.partial_);
    std::swap(handle_, other.handle_);
  }
  // create() tries at most this many names for the partial file. A name that exists already belongs to a partial file that is being
  // written, or that a killed process left behind.
  static constexpr unsigned partial_names = 100;

  std::string path_;     // the path as the caller gave it
  std::string target_;   // the file that gets the bytes; differs from path_ if that is a symbolic link
  std::string partial_;  // empty: there is no partial file any more
#if defined(_WIN32)
  HANDLE handle_ = INVALID_HANDLE_VALUE;
#else
  int handle_ = -1;
#endif
};

namespace detail {

// Returns whether `name` consists of the text `of`, a dot, a number and the text `ending`. With the ending ".partial" this is the name of
// a partial file: for example, NAME.1234.partial is a partial file of NAME.
inline bool is_partial_name(std::string_view name, std::string_view of, std::string_view ending = ".partial") {
  if (!name.starts_with(of) || !name.ends_with(ending) || name.size() < of.size() + 2 + ending.size()) return false;
  name = name.substr(of.size(), name.size() - of.size() - ending.size());
  return name[0] == '.' && name.find_first_not_of("0123456789", 1) == std::string_view::npos;
}

}  // namespace detail

#if defined(_WIN32)

namespace detail {
// Removes the partial files of `target` that no process writes any more. Windows does not delete a partial file that is still
// being written, because its writer opened it without sharing.
inline void remove_partials_left_behind(const std::string& target) {
  constexpr std::wstring_view any_partial = L".*.partial";
  const Result<std::wstring> pattern = wide_path(concat(target, ".*.partial"));
  if (!pattern) return;
  const std::size_t folder_size = pattern->find_last_of(L"/\\:") + 1;  // 0 if there is no folder in the path
  const std::size_t name_size = pattern->size() - folder_size - any_partial.size();
  WIN32_FIND_DATAW found;
  const HANDLE search = ::FindFirstFileW(pattern->c_str(), &found);
  if (search == INVALID_HANDLE_VALUE) return;
  do {
    const std::wstring_view middle = std::wstring_view(found.cFileName).substr(std::min(name_size + 1, std::wcslen(found.cFileName)));
    const std::size_t digits = middle.find_first_not_of(L"0123456789");
    if (digits != 0 && digits != std::wstring_view::npos && middle.substr(digits) == L".partial") {
      ::DeleteFileW((pattern->substr(0, folder_size) + found.cFileName).c_str());
    }
  } while (::FindNextFileW(search, &found));
  ::FindClose(search);
}
}  // namespace detail

inline Result<AtomicFile> AtomicFile::create(std::string path, FileReaders) {
  AtomicFile file;
  file.path_ = file.target_ = std::move(path);
  const DWORD attributes = [&] {
    const Result<std::wstring> wide = detail::wide_path(file.path_);
    return wide ? ::GetFileAttributesW(wide->c_str()) : INVALID_FILE_ATTRIBUTES;
  }();
  if (attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_DIRECTORY)) {
    return Error{ErrorKind::system, concat(printable_path(file.path_), ": cannot write: it is no regular file")};
  }
  detail::remove_partials_left_behind(file.target_);
  for (unsigned i = 0; i < partial_names; ++i) {
    std::string partial = concat(file.path_, ".", ::GetCurrentProcessId() + i, ".partial");
    const Result<std::wstring> wide = detail::wide_path(partial);
    if (!wide) return wide.error();
    file.handle_ = ::CreateFileW(wide->c_str(), GENERIC_WRITE, 0, nullptr, CREATE_NEW, FILE_ATTRIBUTE_NORMAL, nullptr);
    if (file.handle_ != INVALID_HANDLE_VALUE) {
      file.partial_ = std::move(partial);  // a copy could fail, and would leave the new file behind
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

namespace detail {

// Removes the partial files of `target` that no process writes any more.
inline void remove_partials_left_behind(const std::string& target) {
  const std::size_t slash = target.rfind('/');
  const std::string folder = slash == std::string::npos ? std::string("./") : target.substr(0, slash + 1);
  const std::string name = slash == std::string::npos ? target : target.substr(slash + 1);
  ::DIR* const entries = ::opendir(folder.c_str());
  if (entries == nullptr) return;
  while (const ::dirent* entry = ::readdir(entries)) {
    if (!is_partial_name(entry->d_name, name)) continue;
    const std::string partial = folder + entry->d_name;
    const int handle = ::open(partial.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (handle < 0) continue;
    struct stat status{};
    if (::fstat(handle, &status) == 0 && S_ISREG(status.st_mode) && ::flock(handle, LOCK_EX | LOCK_NB) == 0) {
      ::unlink(partial.c_str());
    }
    ::close(handle);
  }
  ::closedir(entries);
}

}  // namespace detail

inline Result<AtomicFile> AtomicFile::create(std::string path, FileReaders readers) {
  if (path.find('\0') != std::string::npos) {
    return Error{ErrorKind::bad_argument, concat(printable_path(path), ": a path holds no zero byte")};
  }
  AtomicFile file;
  file.path_ = file.target_ = std::move(path);
  struct stat old{};
  if (::lstat(file.path_.c_str(), &old) == 0 && S_ISLNK(old.st_mode)) {
    char* const target = ::realpath(file.path_.c_str(), nullptr);
    if (target == nullptr) return system_error(file.path_, "cannot write where this link leads", errno);
    file.target_ = target;
    std::free(target);
  }
  const bool replaces = ::stat(file.target_.c_str(), &old) == 0;
  if (replaces && !S_ISREG(old.st_mode)) {
    return Error{ErrorKind::system, concat(printable_path(file.path_), ": cannot write: it is no regular file")};
  }
  if (replaces && ::access(file.target_.c_str(), W_OK) != 0) return system_error(file.path_, "cannot write", errno);
  detail::remove_partials_left_behind(file.target_);
  const ::mode_t mode = replaces || readers == FileReaders::owner ? 0600 : 0666;
  for (unsigned i = 0; i < partial_names; ++i) {
    std::string partial = concat(file.target_, ".", static_cast<unsigned long>(::getpid()) + i, ".partial");
    file.handle_ = ::open(partial.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (file.handle_ < 0) {
      if (errno == EEXIST) continue;
      break;
    }
    // Until the new partial file is locked, another process may think that a killed process left it behind, and lock or remove it. If
    // that has happened, a partial file with the next number in its name is tried. On a file system without locks no process removes
    // the partial files of another one, so those of killed processes stay.
    const bool is_taken = ::flock(file.handle_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    struct stat made{};
    if (is_taken || ::fstat(file.handle_, &made) != 0 || made.st_nlink == 0) {
      ::close(std::exchange(file.handle_, -1));
      continue;
    }
    file.partial_ = std::move(partial);  // a copy could fail, and would leave the new file behind
    if (replaces) {  // the owner first, because a change of the owner removes permissions
      if ((made.st_uid != old.st_uid || made.st_gid != old.st_gid) && ::fchown(file.handle_, old.st_uid, old.st_gid) != 0) {
        // The system does not let the new file have the owner of the file that it replaces. This is no error: the new file then
        // belongs to the user who writes it.
      }
      if (::fchmod(file.handle_, old.st_mode & 0777) != 0) return system_error(file.path_, "cannot write", errno);
    }
    return file;
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
  const bool synced = ::fsync(handle_) == 0 || errno == EINVAL;  // EINVAL: this file system does not support fsync
  const int sync_error = errno;
  const bool closed = ::close(std::exchange(handle_, -1)) == 0;
  if (!synced || !closed) return system_error(path_, "cannot write", synced ? errno : sync_error);
  if (std::rename(partial_.c_str(), target_.c_str()) != 0) return system_error(path_, "cannot write", errno);
  partial_.clear();
  // The new name of the file is on the disk only when its folder has been written too. The file is complete in any case, so a
  // failure to write the folder is ignored.
  const std::size_t slash = target_.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : target_.substr(0, slash + 1);
  if (const int descriptor = ::open(folder.c_str(), O_RDONLY | O_CLOEXEC); descriptor >= 0) {
    ::fsync(descriptor);
    ::close(descriptor);
  }
  return success();
}

#endif

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
