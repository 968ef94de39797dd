// SPDX-License-Identifier: Apache-2.0
//
// A whole file as read-only bytes.
//
//   LoadMode::map    the file is mapped. Pages are read when they are touched and can be dropped again, so that a 4 GB model
//                    costs no copy. If another process makes the file shorter while it is mapped, touching the lost pages
//                    raises SIGBUS; mapping cannot avoid this. A program can ask to be told the path before it ends
//                    (mapping_guard.hpp). The library itself installs no signal handler.
//   LoadMode::read   the file is read into memory that this object owns. Later changes to the file do not matter.
//   from_memory      bytes that belong to the caller, who keeps them alive.
//
// Paths are UTF-8. An empty file can be opened and has zero bytes; the reader decides whether this is an error.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <stilla/base/error.hpp>
#include <stilla/base/windows.hpp>

#if !defined(_WIN32)
#include <cerrno>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

enum class LoadMode : std::uint8_t { map, read };

// A path as text for a message, with unsafe characters escaped. printable() escapes them but keeps only 128 bytes of a name. So each
// component of the path goes through printable() on its own, and a long path is not cut.
inline std::string printable_path(std::string_view path) {
  std::string out;
  std::size_t begin = 0;
  for (std::size_t i = 0; i <= path.size(); ++i) {
    if (i < path.size() && path[i] != '/' && path[i] != '\\') continue;
    out += printable(path.substr(begin, i - begin));
    if (i < path.size()) out += path[i];
    begin = i + 1;
  }
  return out;
}

// An error for a failed call of the system: "model.gguf: cannot open: No such file or directory"
inline Error system_error(std::string_view path, std::string_view what, int code) {
  return {ErrorKind::system, concat(printable_path(path), ": ", what, ": ", printable(std::system_category().message(code)))};
}

// True if nothing exists at this path. A link that leads nowhere, a folder, and a file that may not be read do exist, so for them the
// result is false. It is also false if the system cannot tell.
inline bool is_missing(const std::string& path);

namespace detail {
// Functions that are called when a file has been mapped, and when its mapping ends. mapping_guard.hpp sets them if the program
// asked for its guard.
struct MappingWatcher {
  void (*mapped)(const std::byte* data, std::size_t size, const char* path) noexcept;
  void (*unmapped)(const std::byte* data) noexcept;
};
inline constinit std::atomic<const MappingWatcher*> mapping_watcher{nullptr};
}  // namespace detail

class MappedFile {
 public:
  static Result<MappedFile> open(std::string path, LoadMode mode = LoadMode::map);

  // The caller owns `bytes`, which must outlive this object. `name` takes the place of the path in messages.
  static MappedFile from_memory(std::span<const std::byte> bytes, std::string name) {
    MappedFile file;
    file.path_ = std::move(name);
    file.data_ = bytes.data();
    file.size_ = bytes.size();
    return file;
  }

  MappedFile(MappedFile&& other) noexcept { swap(other); }
  MappedFile& operator=(MappedFile&& other) noexcept {
    MappedFile taken(std::move(other));
    swap(taken);
    return *this;
  }
  ~MappedFile() { release(); }

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::string& path() const { return path_; }

  // Says that the bytes [offset, offset + size) of the file will be read soon. Those that are not in memory yet begin to come from
  // the disk while the caller does something else. This is only advice to the system: a failure does not matter. It has no effect on
  // Windows, nor for files that are not mapped.
  void read_ahead(std::uint64_t offset, std::uint64_t size) const;

  // Says that the bytes [offset, offset + size) of the file will not be read again soon. The pages that lie wholly in this range leave
  // memory. If such a page is touched after all, it is read again from the file. Does nothing on Windows, or if the file is not mapped.
  void drop_pages(std::uint64_t offset, std::uint64_t size) const;

  // Asks for large pages for a file that will be read as a whole; it must be called before the file is read. A mapped file is then
  // read in pages of 2 MB, on file systems that have them (Linux: XFS, Btrfs, in newer versions ext4). With these pages a packed model
  // of 1.5B weights, generating tokens with one thread, reached 90 % of the read bandwidth, and 76 % with pages of 4 KB. Parts of the file
  // that are already cached in small pages stay in small pages. This is only advice: a failure does not matter.
  void ask_for_large_pages() const;

  // Checks that a mapped file still has all bytes that were mapped. If another process made it shorter, the pages behind the new end
  // are lost, and touching them raises SIGBUS. But the rest of the page that holds the new end reads as zeros, and only this function
  // can tell that. So a program that has read everything calls this function before it relies on what it read. A file that was
  // deleted, or replaced by another with its name, keeps its bytes as long as it is mapped. Such a file passes the check.
  Status check_length() const;
  // Returns the reason why the bytes of this file were refused. If the file became shorter while it was in use, this is the reason.
  // Otherwise the reason is `refusal`.
  Error reason(Error refusal) const {
    Status length = check_length();
    return length ? std::move(refusal) : length.error();
  }

 private:
  enum class Storage : std::uint8_t { borrowed, mapped, owned };
  static constexpr std::align_val_t owned_alignment{64};  // as tensors in a mapped file are aligned: to one cache line or more

  MappedFile() = default;

  void swap(MappedFile& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(storage_, other.storage_);
#if !defined(_WIN32)
    std::swap(device_, other.device_);
    std::swap(inode_, other.inode_);
#endif
  }

  void release() noexcept;

  // Reads all `size` bytes of the file into memory that ~MappedFile gives back. The caller's read_some(to, count) reads at most
  // `count` bytes and returns, as a Result<std::size_t>, how many it read: 0 at the end.
  template <class ReadSome>
  Status read(std::uint64_t size, ReadSome&& read_some) {
    constexpr std::size_t most = std::size_t{1} << 30;
    void* memory = nullptr;
    if (size <= std::numeric_limits<std::size_t>::max() / 2) {
      memory = ::operator new(static_cast<std::size_t>(size), owned_alignment, std::nothrow);
    }
    if (!memory) {
      return Error{ErrorKind::system, concat(printable_path(path_), ": no memory for the ", size, " bytes of the file")};
    }
    auto* const bytes = static_cast<std::byte*>(memory);
    data_ = bytes;
    size_ = static_cast<std::size_t>(size);
    storage_ = Storage::owned;
    for (std::size_t done = 0; done < size_;) {
      const Result<std::size_t> got = read_some(bytes + done, std::min(size_ - done, most));
      if (!got) return got.error();
      if (*got == 0) {
        return Error{ErrorKind::system, concat(printable_path(path_), ": the file became shorter while it was read: ", "found ", done,
                                               " of ", size, " bytes")};
      }
      done += *got;
    }
    return success();
  }

  std::string path_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  Storage storage_ = Storage::borrowed;
#if !defined(_WIN32)
  // device_ and inode_ identify the file that is mapped, because another file may get its name later.
  ::dev_t device_ = 0;
  ::ino_t inode_ = 0;
#endif
};

#if defined(_WIN32)

namespace detail {
// Returns the absolute form of a path that Windows takes as it is: \\?\C:\folder\file or \\?\UNC\server\share\file. A path in this
// form may have 32767 characters. A path in another form may have 259, or 247 if it names a folder to create. The result is empty if
// the path can be used as it stands, or if Windows cannot tell the absolute form.
inline std::wstring long_path(const std::wstring& path) {
  constexpr std::size_t longest_of_any = 247;
  std::wstring full(::GetFullPathNameW(path.c_str(), 0, nullptr, nullptr), L'\0');
  if (full.size() <= longest_of_any) return {};
  const std::size_t length = ::GetFullPathNameW(path.c_str(), static_cast<DWORD>(full.size()), full.data(), nullptr);
  if (length <= longest_of_any || length >= full.size()) return {};
  full.resize(length);
  if (full.starts_with(L"\\\\?\\") || full.starts_with(L"\\\\.\\")) return {};  // already in that form, or a device
  return full.starts_with(L"\\\\") ? L"\\\\?\\UNC\\" + full.substr(2) : L"\\\\?\\" + full;
}

// Converts a path from UTF-8 to UTF-16, the encoding of Windows, in a form that Windows takes at any length. Every path that goes to
// Windows goes through this function.
inline Result<std::wstring> wide_path(const std::string& path) {
  if (path.find('\0') != std::string::npos || path.size() > 32767) {
    return Error{ErrorKind::bad_argument, concat(printable_path(path), ": a path holds no zero byte and at most 32767 bytes")};
  }
  const int path_bytes = static_cast<int>(path.size());
  const int wide_length = ::MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path.data(), path_bytes, nullptr, 0);
  if (wide_length <= 0 && path_bytes > 0) {
    return system_error(path, "the path is not UTF-8", static_cast<int>(::GetLastError()));
  }
  std::wstring wide(static_cast<std::size_t>(wide_length), L'\0');
  ::MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path.data(), path_bytes, wide.data(), wide_length);
  const std::wstring longer = long_path(wide);
  return longer.empty() ? wide : longer;
}
}  // namespace detail

inline bool is_missing(const std::string& path) {
  const Result<std::wstring> wide = detail::wide_path(path);
  if (!wide || ::GetFileAttributesW(wide->c_str()) != INVALID_FILE_ATTRIBUTES) return false;
  const DWORD reason = ::GetLastError();
  return reason == ERROR_FILE_NOT_FOUND || reason == ERROR_PATH_NOT_FOUND;
}

inline Result<MappedFile> MappedFile::open(std::string path, LoadMode mode) {
  const Result<std::wstring> wide = detail::wide_path(path);
  if (!wide) return wide.error();
  const auto last_error = [] { return static_cast<int>(::GetLastError()); };
  struct Handle {
    HANDLE value;
    ~Handle() {
      if (value && value != INVALID_HANDLE_VALUE) ::CloseHandle(value);
    }
  };
  const DWORD attributes = ::GetFileAttributesW(wide->c_str());
  if (attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_DIRECTORY)) {
    return Error{ErrorKind::system, concat(printable_path(path), ": is a directory; expected a file")};
  }
  const Handle handle{::CreateFileW(wide->c_str(), GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_DELETE, nullptr, OPEN_EXISTING,
                                    FILE_ATTRIBUTE_NORMAL, nullptr)};
  if (handle.value == INVALID_HANDLE_VALUE) return system_error(path, "cannot open", last_error());
  LARGE_INTEGER large_size;
  if (!::GetFileSizeEx(handle.value, &large_size)) return system_error(path, "cannot tell its size", last_error());
  const auto size = static_cast<std::uint64_t>(large_size.QuadPart);

  MappedFile file;
  file.path_ = std::move(path);
  if (size == 0) return file;
  if (mode == LoadMode::map) {
    const Handle mapping{::CreateFileMappingW(handle.value, nullptr, PAGE_READONLY, 0, 0, nullptr)};
    if (!mapping.value) return system_error(file.path_, "cannot map", last_error());
    const void* view = ::MapViewOfFile(mapping.value, FILE_MAP_READ, 0, 0, 0);
    if (!view) return system_error(file.path_, "cannot map", last_error());
    file.data_ = static_cast<const std::byte*>(view);
    file.size_ = static_cast<std::size_t>(size);
    file.storage_ = Storage::mapped;
    return file;
  }
  const Status filled = file.read(size, [&](std::byte* to, std::size_t count) -> Result<std::size_t> {
    DWORD got = 0;
    if (!::ReadFile(handle.value, to, static_cast<DWORD>(count), &got, nullptr)) {
      return system_error(file.path_, "cannot read", last_error());
    }
    return std::size_t{got};
  });
  if (!filled) return filled.error();
  return file;
}

inline void MappedFile::release() noexcept {
  if (storage_ == Storage::mapped) ::UnmapViewOfFile(data_);
  if (storage_ == Storage::owned) ::operator delete(const_cast<std::byte*>(data_), owned_alignment);
  storage_ = Storage::borrowed;
}

inline void MappedFile::read_ahead(std::uint64_t, std::uint64_t) const {}
inline void MappedFile::drop_pages(std::uint64_t, std::uint64_t) const {}
inline void MappedFile::ask_for_large_pages() const {}
inline Status MappedFile::check_length() const { return success(); }  // Windows shortens no file that is mapped

#else

inline bool is_missing(const std::string& path) {
  if (path.find('\0') != std::string::npos) return false;  // no name at all; MappedFile::open() says so
  struct stat status{};
  return ::lstat(path.c_str(), &status) != 0 && (errno == ENOENT || errno == ENOTDIR);
}

inline Result<MappedFile> MappedFile::open(std::string path, LoadMode mode) {
  if (path.find('\0') != std::string::npos) {
    return Error{ErrorKind::bad_argument, concat(printable_path(path), ": a path holds no zero byte")};
  }
  struct Descriptor {
    int value;
    ~Descriptor() {
      if (value >= 0) ::close(value);
    }
  };
  // O_NONBLOCK: opening a named pipe must not wait for a writer; the pipe is refused later. The flag has no effect for a regular file.
  const Descriptor descriptor{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (descriptor.value < 0) {
    const int reason = errno;
    const bool leads_nowhere = reason == ENOENT && !is_missing(path);
    return system_error(path, leads_nowhere ? "cannot open the file that this link names" : "cannot open", reason);
  }
  struct stat status{};
  if (::fstat(descriptor.value, &status) != 0) return system_error(path, "cannot tell its size", errno);
  if (S_ISDIR(status.st_mode)) {
    return Error{ErrorKind::system, concat(printable_path(path), ": is a directory; expected a file")};
  }
  if (!S_ISREG(status.st_mode)) {
    return Error{ErrorKind::system, concat(printable_path(path), ": is a pipe or a device; expected a regular file")};
  }
  const auto size = static_cast<std::uint64_t>(status.st_size);

  MappedFile file;
  file.path_ = std::move(path);
  if (size == 0) return file;
  if (mode == LoadMode::map) {
    if (size > std::numeric_limits<std::size_t>::max() / 2) return system_error(file.path_, "cannot map", EFBIG);
    void* address = ::mmap(nullptr, static_cast<std::size_t>(size), PROT_READ, MAP_PRIVATE, descriptor.value, 0);
    if (address == MAP_FAILED) return system_error(file.path_, "cannot map", errno);
    file.data_ = static_cast<const std::byte*>(address);
    file.size_ = static_cast<std::size_t>(size);
    file.storage_ = Storage::mapped;
    file.device_ = status.st_dev;
    file.inode_ = status.st_ino;
    if (const auto* watcher = detail::mapping_watcher.load()) watcher->mapped(file.data_, file.size_, printable_path(file.path_).c_str());
    return file;
  }
  const Status filled = file.read(size, [&](std::byte* to, std::size_t count) -> Result<std::size_t> {
    ::ssize_t got = 0;
    do got = ::read(descriptor.value, to, count);
    while (got < 0 && errno == EINTR);
    if (got < 0) return system_error(file.path_, "cannot read", errno);
    return static_cast<std::size_t>(got);
  });
  if (!filled) return filled.error();
  return file;
}

inline void MappedFile::release() noexcept {
  if (storage_ == Storage::mapped) {
    if (const auto* watcher = detail::mapping_watcher.load()) watcher->unmapped(data_);
    ::munmap(const_cast<std::byte*>(data_), size_);
  }
  if (storage_ == Storage::owned) ::operator delete(const_cast<std::byte*>(data_), owned_alignment);
  storage_ = Storage::borrowed;
}

inline void MappedFile::read_ahead(std::uint64_t offset, std::uint64_t size) const {
  if (storage_ != Storage::mapped || offset >= size_) return;
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const std::size_t end = size > size_ - offset ? size_ : static_cast<std::size_t>(offset + size);
  const std::size_t first = static_cast<std::size_t>(offset) / page * page;
  if (first < end) ::madvise(const_cast<std::byte*>(data_) + first, end - first, MADV_WILLNEED);
}

inline void MappedFile::drop_pages(std::uint64_t offset, std::uint64_t size) const {
  if (storage_ != Storage::mapped || offset > size_) return;
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const std::size_t end = size > size_ - offset ? size_ : static_cast<std::size_t>(offset + size);
  const std::size_t first = (static_cast<std::size_t>(offset) + page - 1) / page * page;
  const std::size_t last = end / page * page;  // only whole pages, so that the bytes beside the range stay
  if (first < last) ::madvise(const_cast<std::byte*>(data_) + first, last - first, MADV_DONTNEED);
}

inline void MappedFile::ask_for_large_pages() const {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  if (storage_ == Storage::mapped) (void)::madvise(const_cast<std::byte*>(data_), size_, MADV_HUGEPAGE);
#endif
}

inline Status MappedFile::check_length() const {
  struct stat now{};
  if (storage_ != Storage::mapped || ::stat(path_.c_str(), &now) != 0 || now.st_dev != device_ || now.st_ino != inode_) return success();
  const auto size = static_cast<std::uint64_t>(now.st_size);
  if (size >= size_) return success();
  return Error{ErrorKind::system,
               concat(printable_path(path_), ": the file became shorter while it was in use: found ", size, " of ", size_, " bytes")};
}

#endif

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
