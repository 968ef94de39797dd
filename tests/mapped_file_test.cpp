// SPDX-License-Identifier: Apache-2.0
//
// Tests of MappedFile, which gives access to a file's bytes, mapped or read: which files it refuses, what happens if a file
// changes while it is mapped, and that no file stays open.
#include <stilla/io/mapped_file.hpp>

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <span>
#include <string>
#include <vector>

#include <stilla/io/atomic_file.hpp>
#include <stilla/io/gguf.hpp>
#include <stilla/io/mapping_guard.hpp>

#include "gguf_builder.hpp"

#if !defined(_WIN32)
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

namespace {

using namespace stilla;

std::string temporary_path(const std::string& name) { return ::testing::TempDir() + "stilla_mapped_file_test_" + name; }

void write_file(const std::string& path, std::string_view bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

stilla_test::GgufBuilder small_file() {
  stilla_test::GgufBuilder b;
  b.string("general.architecture", "qwen2").floats("token_embd.weight", {2, 3}, {1, 2, 3, 4, 5, 6});
  return b;
}

TEST(MappedFile, RefusesWhatIsNoFile) {
  const auto message = [](const std::string& path) {
    const Result<MappedFile> file = MappedFile::open(path);
    EXPECT_FALSE(file);
    EXPECT_EQ(file.error().kind, path.find('\0') == std::string::npos ? ErrorKind::system : ErrorKind::bad_argument);
    return file.error().message;
  };
  EXPECT_NE(message("/no/such/file.gguf").find("/no/such/file.gguf: cannot open: "), std::string::npos);
  EXPECT_NE(message(::testing::TempDir()).find("is a directory; expected a file"), std::string::npos);
  EXPECT_NE(message("").find("cannot open"), std::string::npos);
  EXPECT_NE(message(std::string("a\0b", 3)).find("no zero byte"), std::string::npos);
  const std::string long_name = "/tmp/" + std::string(100, 'a') + "/" + std::string(100, 'b') + "/" + std::string(100, 'c');
  EXPECT_NE(message(long_name).find(long_name + ": cannot open"), std::string::npos);
#if !defined(_WIN32)
  EXPECT_NE(message("/dev/null").find("is a pipe or a device"), std::string::npos);
  const std::string pipe = temporary_path("pipe");
  std::remove(pipe.c_str());
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_NE(message(pipe).find("is a pipe or a device"), std::string::npos);
  std::remove(pipe.c_str());
  if (::geteuid() != 0) {
    const std::string secret = temporary_path("secret");
    write_file(secret, "x");
    ::chmod(secret.c_str(), 0);
    EXPECT_NE(message(secret).find("cannot open"), std::string::npos);
    std::remove(secret.c_str());
  }
#endif
}

TEST(MappedFile, EmptyFileIsZeroBytesAndNoModel) {
  const std::string path = temporary_path("empty.gguf");
  write_file(path, "");
  for (const LoadMode mode : {LoadMode::map, LoadMode::read}) {
    const Result<MappedFile> file = MappedFile::open(path, mode);
    ASSERT_TRUE(file);
    EXPECT_TRUE(file->bytes().empty());
    const Result<GgufFile> model = GgufFile::open(path, mode);
    ASSERT_FALSE(model);
    EXPECT_EQ(model.error().kind, ErrorKind::refused_file);
    EXPECT_NE(model.error().message.find("found an empty file"), std::string::npos);
  }
  std::remove(path.c_str());
}

// Windows takes paths of more than 259 characters, and folders of more than 247, only as absolute paths with the prefix \\?\ in
// front.
TEST(MappedFile, LongPathsCanBeWrittenAndRead) {
#if defined(_WIN32)
  const auto make_folder = [](const std::string& path) { return ::CreateDirectoryW(detail::wide_path(path)->c_str(), nullptr) != 0; };
  const auto remove_folder = [](const std::string& path) { return ::RemoveDirectoryW(detail::wide_path(path)->c_str()) != 0; };
  const auto remove_file = [](const std::string& path) { return ::DeleteFileW(detail::wide_path(path)->c_str()) != 0; };
  const auto process = ::GetCurrentProcessId();
#else
  const auto make_folder = [](const std::string& path) { return ::mkdir(path.c_str(), 0700) == 0; };
  const auto remove_folder = [](const std::string& path) { return ::rmdir(path.c_str()) == 0; };
  const auto remove_file = [](const std::string& path) { return ::unlink(path.c_str()) == 0; };
  const auto process = ::getpid();
#endif
  std::vector<std::string> folders;
  for (std::string path = temporary_path(concat("long_", process)); path.size() < 600; path += "/" + std::string(20, 'n')) {
    ASSERT_TRUE(make_folder(path)) << path;
    folders.push_back(path);
    // Each folder gets a file, so that paths with lengths around every limit are tested. The file is written twice. Both times the
    // writer must remove a file that an earlier writer, which was killed, left behind. The second time it must also replace the
    // file of the first time.
    const std::string name = path + "/./file", left_behind = path + "/file.4294967295.partial";
    for (const std::string text : {"first", "second"}) {
      Result<AtomicFile> left = AtomicFile::create(left_behind);
      ASSERT_TRUE(left) << left.error().message;
      ASSERT_TRUE(left->commit());
      Result<AtomicFile> written = AtomicFile::create(name);
      ASSERT_TRUE(written) << written.error().message;
      EXPECT_FALSE(MappedFile::open(left_behind)) << "it was left behind: " << left_behind;
      ASSERT_TRUE(written->write(0, std::as_bytes(std::span(text))));
      const Status committed = written->commit();
      ASSERT_TRUE(committed) << committed.error().message;
      for (const LoadMode mode : {LoadMode::map, LoadMode::read}) {
        const Result<MappedFile> file = MappedFile::open(name, mode);
        ASSERT_TRUE(file) << file.error().message;
        EXPECT_EQ(file->path(), name);
        EXPECT_EQ(std::string(reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size()), text);
      }
    }
    EXPECT_FALSE(MappedFile::open(path));
    EXPECT_TRUE(remove_file(name));
  }
  EXPECT_GT(folders.back().size(), 500u);
  for (; !folders.empty(); folders.pop_back()) EXPECT_TRUE(remove_folder(folders.back())) << folders.back();
}

#if defined(_WIN32)
TEST(MappedFile, OnlyLongPathsGetTheFormOfWindowsForThem) {
  const std::string deep = std::string(120, 'a') + "\\" + std::string(120, 'b');
  const std::wstring wide_deep = std::wstring(120, L'a') + L"\\" + std::wstring(120, L'b');
  const auto form = [](const std::string& path) -> std::wstring { return *detail::wide_path(path); };
  EXPECT_EQ(form("C:\\" + deep.substr(2)), L"C:\\" + wide_deep.substr(2)) << "242 characters";
  EXPECT_EQ(form("C:\\abc\\" + deep), L"\\\\?\\C:\\abc\\" + wide_deep) << "248 characters";
  EXPECT_EQ(form("C:/abc/./x/../" + deep), L"\\\\?\\C:\\abc\\" + wide_deep);
  EXPECT_EQ(form("\\\\server\\share\\" + deep), L"\\\\?\\UNC\\server\\share\\" + wide_deep);
  EXPECT_EQ(form("\\\\?\\C:\\abc\\" + deep), L"\\\\?\\C:\\abc\\" + wide_deep);
  EXPECT_TRUE(form(deep + "\\" + std::string(20, 'c')).starts_with(L"\\\\?\\")) << "a relative path";
  EXPECT_EQ(form("../file"), L"../file");
  EXPECT_EQ(form(""), L"");
  EXPECT_EQ(form("NUL"), L"NUL");
}
#endif

TEST(MappedFile, DroppedPagesComeBack) {
  const std::string path = temporary_path("pages.bin");
  std::string content(100'000, '\0');
  for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * 7);
  write_file(path, content);
  for (const LoadMode mode : {LoadMode::map, LoadMode::read}) {
    const Result<MappedFile> file = MappedFile::open(path, mode);
    ASSERT_TRUE(file);
    file->ask_for_large_pages();
    const auto same = [&] { return std::memcmp(file->bytes().data(), content.data(), content.size()) == 0; };
    ASSERT_EQ(file->bytes().size(), content.size());
    EXPECT_TRUE(same());
    file->read_ahead(5000, 60'000);
    file->read_ahead(0, ~std::uint64_t{0});
    file->read_ahead(~std::uint64_t{0}, 1);
    file->read_ahead(0, 0);
    file->drop_pages(5000, 60'000);
    file->drop_pages(0, ~std::uint64_t{0});
    file->drop_pages(~std::uint64_t{0}, 1);
    EXPECT_TRUE(same());
  }
  std::remove(path.c_str());
}

TEST(MappedFile, ReadModeIsImmuneToTruncation) {
  const std::string path = temporary_path("cut.gguf");
  ASSERT_TRUE(small_file().write(path));
  const Result<GgufFile> file = GgufFile::open(path, LoadMode::read);
  ASSERT_TRUE(file);
  write_file(path, "");
  EXPECT_EQ(*file->get_string("general.architecture"), "qwen2");
  EXPECT_EQ(load_as<float>(file->tensor_bytes(file->tensors()[0]).data() + 20), 6.0f);
  std::remove(path.c_str());
}

#if defined(__linux__)
// Files of sysfs say that they have 4096 bytes, and end where their text ends. They cannot be mapped.
TEST(MappedFile, FilesThatAreShorterThanTheySay) {
  const std::string path = "/sys/kernel/mm/transparent_hugepage/enabled";
  if (::access(path.c_str(), R_OK) != 0) GTEST_SKIP() << "there is no sysfs";
  const auto message = [](const std::string& of, LoadMode mode) {
    const Result<MappedFile> file = MappedFile::open(of, mode);
    EXPECT_TRUE(file || file.error().kind == ErrorKind::system);
    return file ? "" : file.error().message;
  };
  const std::string read = message(path, LoadMode::read);
  EXPECT_TRUE(read.starts_with(path + ": the file became shorter while it was read: found ")) << read;
  EXPECT_TRUE(read.ends_with(" of 4096 bytes")) << read;
  const std::string mapped = message(path, LoadMode::map);
  EXPECT_TRUE(mapped.starts_with(path + ": cannot map: ")) << mapped;
}
#endif

TEST(MappedFile, PathsInMessagesKeepTheirFolders) {
  EXPECT_EQ(printable_path("a/b\\c\n/d"), "a/b\\c\\x0a/d");
  EXPECT_EQ(printable_path("/"), "/");
  EXPECT_EQ(printable_path(""), "");
  const std::string name(128, 'n');
  EXPECT_EQ(printable_path(name + "/" + name), name + "/" + name);
}

#if !defined(_WIN32)
TEST(MappedFile, TellsThatItBecameShorter) {
  const std::string path = temporary_path("shorter.bin");
  const std::string whole(4096 + 100, 'x');
  for (const LoadMode mode : {LoadMode::map, LoadMode::read}) {
    write_file(path, whole);
    const Result<MappedFile> opened = MappedFile::open(path, mode);
    ASSERT_TRUE(opened);
    EXPECT_TRUE(opened->check_length());
    ASSERT_EQ(::truncate(path.c_str(), 4096 + 99), 0);
    if (mode == LoadMode::read) {
      EXPECT_TRUE(opened->check_length()) << "it has all bytes in memory";
      continue;
    }
    EXPECT_EQ(opened->bytes().back(), std::byte{0}) << "no signal tells that this byte is lost";
    const Status status = opened->check_length();
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().kind, ErrorKind::system);
    EXPECT_NE(status.error().message.find("shorter.bin: the file became shorter while it was in use: found 4195 of 4196 bytes"),
              std::string::npos)
        << status.error().message;
  }
  // Another file takes the name of the mapped file. The MappedFile still holds the old file, so its length is right.
  write_file(path, whole);
  const Result<MappedFile> replaced = MappedFile::open(path);
  ASSERT_TRUE(replaced);
  write_file(path + ".new", "short");
  ASSERT_EQ(std::rename((path + ".new").c_str(), path.c_str()), 0);
  EXPECT_TRUE(replaced->check_length());
  std::remove(path.c_str());
  EXPECT_TRUE(replaced->check_length());
  EXPECT_TRUE(MappedFile::from_memory(replaced->bytes(), path).check_length());
}

void say_and_exit(const char* path) {
  const std::string_view text(path);
  if (::write(2, text.data(), text.size()) < 0) ::_exit(2);
  ::_exit(1);
}

// Runs in a process of its own: maps a file of four pages, cuts the file to one byte, and calls `touch`.
template <class Touch>
void in_a_guarded_process(Touch touch) {
  const std::string path = temporary_path("short\nened.bin");
  write_file(path, std::string(4 * 4096, 'x'));
  ::signal(SIGBUS, SIG_DFL);  // a sanitizer may have a handler of its own
  if (!guard_mapped_files(say_and_exit)) ::_exit(3);
  const Result<MappedFile> before = MappedFile::open(temporary_path("short\nened.bin"));
  Result<MappedFile> file = MappedFile::open(path);
  if (!file || !before) ::_exit(4);
  const MappedFile moved = std::move(*file);
  if (::truncate(path.c_str(), 1) != 0) ::_exit(5);
  touch(moved);
  ::_exit(6);
}

using MappingGuardDeathTest = ::testing::Test;

TEST(MappingGuardDeathTest, TellsThePathOfAFileThatBecameShorter) {
  ::testing::GTEST_FLAG(death_test_style) = "threadsafe";
  const auto touch = [](const MappedFile& file) { (void)*const_cast<const volatile std::byte*>(file.bytes().data() + 3 * 4096); };
  EXPECT_EXIT(in_a_guarded_process(touch), ::testing::ExitedWithCode(1), "short\\\\x0aened.bin$");
}

TEST(MappingGuardDeathTest, LeavesOtherBusErrorsAlone) {
  ::testing::GTEST_FLAG(death_test_style) = "threadsafe";
  const auto sent = [](const MappedFile&) { ::raise(SIGBUS); };
  EXPECT_EXIT(in_a_guarded_process(sent), ::testing::KilledBySignal(SIGBUS), "");
}

TEST(MappingGuard, KnowsWhatIsMappedNow) {
  ASSERT_TRUE(guard_mapped_files(say_and_exit));
  const std::string path = temporary_path("guarded.bin");
  write_file(path, std::string(5000, 'x'));
  std::uintptr_t address = 0;
  {
    const Result<MappedFile> file = MappedFile::open(path);
    ASSERT_TRUE(file);
    address = reinterpret_cast<std::uintptr_t>(file->bytes().data());
    for (const std::size_t at : {std::size_t{0}, std::size_t{4999}}) {
      const char* found = detail::guarded_path(address + at);
      ASSERT_NE(found, nullptr);
      EXPECT_EQ(std::string(found), path);
    }
    EXPECT_EQ(detail::guarded_path(address + 5000), nullptr);
    const Result<MappedFile> copy = MappedFile::open(path, LoadMode::read);
    EXPECT_EQ(detail::guarded_path(reinterpret_cast<std::uintptr_t>(copy->bytes().data())), nullptr);
  }
  EXPECT_EQ(detail::guarded_path(address), nullptr);
  std::vector<MappedFile> many;  // more mapped files than the table of guarded ranges can hold
  for (std::size_t i = 0; i < detail::guarded_files.size() + 10; ++i) many.push_back(std::move(*MappedFile::open(path)));
  many.clear();
  EXPECT_TRUE(MappedFile::open(path));
  std::remove(path.c_str());
}
#endif

#if defined(__linux__)
TEST(MappedFile, AThousandLoadsLeaveNothingOpen) {
  const auto open_descriptors = [] {
    std::size_t n = 0;
    DIR* folder = ::opendir("/proc/self/fd");
    while (::readdir(folder)) ++n;
    ::closedir(folder);
    return n;
  };
  const std::string good = temporary_path("good.gguf");
  const std::string bad = temporary_path("bad.gguf");
  ASSERT_TRUE(small_file().write(good));
  std::vector<std::byte> bytes = small_file().build();
  write_file(bad, {reinterpret_cast<const char*>(bytes.data()), bytes.size() - 1});
  const auto mappings_of_files = [&] {
    std::ifstream maps("/proc/self/maps");
    std::size_t n = 0;
    for (std::string line; std::getline(maps, line);) n += line.find("stilla_mapped_file_test_") != std::string::npos ? 1u : 0u;
    return n;
  };
  const std::size_t before = open_descriptors();
  for (int i = 0; i < 1000; ++i) {
    const LoadMode mode = i % 2 ? LoadMode::map : LoadMode::read;
    EXPECT_TRUE(GgufFile::open(good, mode));
    EXPECT_FALSE(GgufFile::open(bad, mode));
    EXPECT_FALSE(GgufFile::open("/no/such/file", mode));
  }
  EXPECT_EQ(open_descriptors(), before);
  EXPECT_EQ(mappings_of_files(), 0u);
  std::remove(good.c_str());
  std::remove(bad.c_str());
}
#endif

}  // namespace
