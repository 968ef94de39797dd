// SPDX-License-Identifier: Apache-2.0
//
// Tests of sessions: texts that share a beginning, that continue at the end of the context, or that were saved to a file and
// loaded. The results always have the same bits as for a text that was evaluated whole. Session files that are damaged, hostile
// or from another model are refused in one line.
#include <stilla/model/forward.hpp>

#include <gtest/gtest.h>

#if !defined(_WIN32)
#include <sys/resource.h>
#endif

#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "model_util.hpp"

namespace {

using namespace stilla;
using namespace stilla_test;

class SessionOf : public ::testing::TestWithParam<std::tuple<std::string, KvType>> {
 protected:
  void SetUp() override {
    static std::map<std::string, LoadedModel> models;
    model_ = &models.try_emplace(std::get<0>(GetParam()), std::get<0>(GetParam())).first->second;
    ASSERT_TRUE(*model_) << model_->error();
    options_.kv_type = std::get<1>(GetParam());
    ids_ = as_ids(tiny_golden(std::get<0>(GetParam()) + "/long-ids"));
    ids_.resize(300);
    path_ = ::testing::TempDir() + "session_test." + std::to_string(::getpid()) + ".session";
  }
  void TearDown() override { std::filesystem::remove(path_); }

  const Model& model() const { return **model_; }
  Session session() const {
    Result<Session> made = Session::create(model(), options_);
    EXPECT_TRUE(made) << made.error().message;
    return std::move(*made);
  }
  Session session_of(std::span<const std::uint32_t> ids) const {
    Session text = session();
    if (!ids.empty()) {
      EXPECT_TRUE(text.evaluate(ids));
    }
    return text;
  }
  std::span<const std::uint32_t> ids(std::size_t first, std::size_t count) const { return std::span(ids_).subspan(first, count); }
  // Returns the logits after `text` and the token `next`, if the text is evaluated whole.
  std::vector<float> expected(std::span<const std::uint32_t> text, std::uint32_t next) const {
    Session whole = session_of(text);
    return logits_after(whole, next);
  }
  static std::vector<float> logits_after(Session& text, std::uint32_t next) {
    const Result<std::span<const float>> logits = text.evaluate({&next, 1});
    EXPECT_TRUE(logits) << logits.error().message;
    return logits ? std::vector<float>(logits->begin(), logits->end()) : std::vector<float>();
  }
  std::vector<std::byte> saved_bytes(const Session& text, std::string_view note = {}) const {
    const Status saved = text.save(path_, note);
    EXPECT_TRUE(saved) << saved.error().message;
    const Result<MappedFile> file = MappedFile::open(path_, LoadMode::read);
    EXPECT_TRUE(file);
    return {file->bytes().begin(), file->bytes().end()};
  }
  static std::string refusal(Session& text, std::span<const std::byte> bytes) {
    const Result<std::string> note = text.restore(MappedFile::from_memory(bytes, "some.session"));
    return note ? "restored" : note.error().message;
  }

  const LoadedModel* model_ = nullptr;
  SessionOptions options_;
  std::vector<std::uint32_t> ids_;
  std::string path_;
};

// The combinations of a model and a type of cache to test: every type with the first model, and one type with the other models.
// The remaining combinations would only take time.
std::vector<std::tuple<std::string, KvType>> models_and_caches() {
  std::vector<std::tuple<std::string, KvType>> out;
  for (const KvType type : kv_types) out.emplace_back(tiny_models.front(), type);
  for (const std::string& name : std::span(tiny_models).subspan(1)) out.emplace_back(name, KvType::int8);
  return out;
}

INSTANTIATE_TEST_SUITE_P(, SessionOf, ::testing::ValuesIn(models_and_caches()), [](const auto& tested) {
  std::string name = std::get<0>(tested.param);
  name[4] = '_';
  return name + "_" + std::string(kv_type_name(std::get<1>(tested.param)));
});

TEST_P(SessionOf, KnowsItsIds) {
  Session text = session_of(ids(0, 20));
  EXPECT_TRUE(text.evaluate(ids(20, 3)));
  EXPECT_TRUE(std::ranges::equal(text.ids(), ids(0, 23)));
  text.truncate(7);
  EXPECT_TRUE(std::ranges::equal(text.ids(), ids(0, 7)));
  const std::vector<std::uint32_t> outside = {0xffffffffu};
  EXPECT_FALSE(text.evaluate(outside));
  EXPECT_TRUE(std::ranges::equal(text.ids(), ids(0, 7)));
}

// Sessions are forked at the borders of the cache's chunks and inside chunks. Then the original and the fork go on with different
// texts, which must not disturb each other, also after one of the two was truncated.
TEST_P(SessionOf, ForksShareTheirBeginning) {
  for (const std::size_t common : {0u, 1u, 100u, 255u, 256u, 257u, 290u}) {
    SCOPED_TRACE(common);
    Session first = session_of(ids(0, common));
    Session second = first.fork();
    EXPECT_EQ(second.size(), common);
    std::vector<std::uint32_t> other(ids_.begin(), ids_.begin() + static_cast<std::ptrdiff_t>(common));
    for (std::uint32_t i = 0; i < 5; ++i) other.push_back(ids_[40 + i]);
    ASSERT_TRUE(first.evaluate(ids(common, 9)));
    ASSERT_TRUE(second.evaluate(std::span(other).subspan(common)));
    EXPECT_EQ(logits_after(first, 3), expected(ids(0, common + 9), 3));
    EXPECT_EQ(logits_after(second, 4), expected(other, 4));
    Session third = second.fork();
    first.truncate(common / 2);
    ASSERT_TRUE(first.evaluate(ids(100, 160)));
    second.truncate(common);
    EXPECT_EQ(logits_after(second, 5), expected(ids(0, common), 5));
    third.truncate(other.size());
    EXPECT_EQ(logits_after(third, 6), expected(other, 6));
  }
}

// A session is forked, truncated and forked again. Neither the session nor the second fork may write to memory that the first
// fork still reads.
TEST_P(SessionOf, ForksOfForks) {
  Session first = session_of(ids(0, 280));
  Session early = first.fork();
  first.truncate(10);
  Session late = first.fork();
  ASSERT_TRUE(first.evaluate(ids(50, 250)));
  ASSERT_TRUE(late.evaluate(ids(20, 270)));
  EXPECT_EQ(logits_after(early, 1), expected(ids(0, 280), 1));
}

TEST_P(SessionOf, ForksCostNoMemoryUntilTheyGoOn) {
  Session first = session_of(ids(0, 256));
  Session second = first.fork();
  EXPECT_EQ(second.cache().chunk(0).data(), first.cache().chunk(0).data());
  ASSERT_TRUE(second.evaluate(ids(256, 10)));
  EXPECT_EQ(second.cache().chunk(0).data(), first.cache().chunk(0).data());
}

TEST_P(SessionOf, ShiftIsTheShorterText) {
  for (const auto& [keep, discard] : {std::pair{0u, 10u}, {5u, 100u}, {100u, 199u}, {200u, 100u}, {50u, 0u}, {0u, 300u}}) {
    Session text = session_of(ids_);
    const Status shifted = text.shift(keep, discard);
    ASSERT_TRUE(shifted) << shifted.error().message;
    std::vector<std::uint32_t> shorter(ids_.begin(), ids_.begin() + keep);
    shorter.insert(shorter.end(), ids_.begin() + keep + discard, ids_.end());
    EXPECT_TRUE(std::ranges::equal(text.ids(), shorter));
    EXPECT_EQ(logits_after(text, 2), expected(shorter, 2)) << keep << " " << discard;
  }
  Session text = session_of(ids(0, 30));
  const Status refused = text.shift(20, 11);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message, "cannot forget 11 positions from 20 on: the text has 30");
  EXPECT_EQ(text.size(), 30u);
}

TEST_P(SessionOf, SavedAndRestoredGoesOnAsBefore) {
  const std::string note = std::string("a note\0with \xff bytes", 19);
  for (const std::size_t count : {0u, 1u, 255u, 256u, 257u, 299u}) {
    Session text = session_of(ids(0, count));
    ASSERT_TRUE(text.save(path_, note));
    Session other = session_of(ids(100, 50));
    const Result<std::string> found = other.restore(path_);
    ASSERT_TRUE(found) << found.error().message;
    EXPECT_EQ(*found, note);
    EXPECT_TRUE(std::ranges::equal(other.ids(), ids(0, count)));
    EXPECT_EQ(logits_after(other, 9), expected(ids(0, count), 9)) << count;
  }
}

// Two sessions with the same tokens write the same file, even if one of them held more tokens before and removed them.
TEST_P(SessionOf, SavedFilesHoldNothingThatWasTakenBack) {
  Session changed = session_of(ids(0, 290));
  changed.truncate(20);
  EXPECT_EQ(saved_bytes(changed), saved_bytes(session_of(ids(0, 20))));
}

TEST_P(SessionOf, DamagedFilesAreRefused) {
  Session text = session_of(ids(0, 20));
  const std::vector<std::byte> good = saved_bytes(text, "note");
  Session other = session_of(ids(100, 5));
  EXPECT_EQ(refusal(other, {}), "some.session: has 0 bytes and is no saved session: expected it to start with 'stillaKV'");
  for (std::size_t cut = 0; cut < good.size(); cut += cut < 200 ? 1 : good.size() / 64) {
    EXPECT_NE(refusal(other, std::span(good).first(cut)), "restored") << cut;
  }
  EXPECT_NE(refusal(other, std::span(good).first(good.size() - 1)), "restored");
  for (std::size_t at = 0; at < good.size(); at += at < 200 ? 1 : good.size() / 64) {
    std::vector<std::byte> bad = good;
    bad[at] ^= std::byte{0x10};
    const std::string message = refusal(other, bad);
    EXPECT_TRUE(message.starts_with("some.session: ")) << at << ": " << message;
  }
  std::vector<std::byte> longer = good;
  longer.push_back({});
  EXPECT_NE(refusal(other, longer).find("is cut off or damaged"), std::string::npos);
  EXPECT_TRUE(std::ranges::equal(other.ids(), ids(100, 5)));
  EXPECT_EQ(logits_after(other, 9), expected(ids(100, 5), 9));
}

// The headers of these session files are complete and have a correct checksum, but hold wrong values.
TEST_P(SessionOf, HostileHeadersAreRefused) {
  Session text = session_of(ids(0, 20));
  const std::vector<std::byte> good = saved_bytes(text, "note");
  Session other = session();
  const auto with = [&](std::size_t at, auto value) {
    std::vector<std::byte> bytes = good;
    store_as(bytes.data() + at, value);
    store_as(bytes.data() + 64, checksum(std::span(bytes).first(64)));
    return bytes;
  };
  EXPECT_EQ(refusal(other, with(8, std::uint32_t{99})), "some.session: found version 99 of saved sessions, expected 3");
  for (const std::uint64_t huge : {std::uint64_t{1} << 20, std::uint64_t{1} << 40, ~std::uint64_t{0}}) {
    EXPECT_EQ(refusal(other, with(40, huge)), concat("some.session: number of tokens at byte 40: found ", huge, ", which the ", good.size(),
                                                     " bytes of the file cannot hold"));
    EXPECT_EQ(refusal(other, with(48, huge)), concat("some.session: length of the note at byte 48: found ", huge, ", which the ",
                                                     good.size(), " bytes of the file cannot hold"));
  }
  EXPECT_NE(
      refusal(other, with(12, std::uint32_t{77})).find("type of the key/value cache at byte 12: found 77, which is unknown; expected "),
      std::string::npos);
  EXPECT_NE(refusal(other, with(40, std::uint64_t{1})).find("one of these numbers is wrong, or the file is cut off or damaged"),
            std::string::npos);
  EXPECT_EQ(refusal(other, with(16, std::uint64_t{1})), "some.session: was saved with another model");
  for (const auto& [name, at] : {std::pair("layers", 24u), std::pair("key/value heads", 28u), std::pair("size of a head", 32u)}) {
    const std::string message = refusal(other, with(at, ~std::uint32_t{0}));
    EXPECT_TRUE(message.starts_with(concat("some.session: ", name, " at byte ", at, ": found 4294967295; expected "))) << message;
  }
  std::vector<std::byte> outside = good;  // this file gets a token that the model does not have
  store_as(outside.data() + 72, ~std::uint32_t{0});
  store_as(outside.data() + 56, checksum(std::span(outside).subspan(72)));
  store_as(outside.data() + 64, checksum(std::span(outside).first(64)));
  EXPECT_NE(refusal(other, outside).find("token id 4294967295 is outside"), std::string::npos);
  EXPECT_EQ(other.size(), 0u);
}

// The test puts a NaN or an infinity in the place of the first or the last key or value (or of their scales, in caches of integers)
// of the first or the last head. Every such session file must be refused.
TEST_P(SessionOf, KeysAndValuesThatAreNotNumbersAreRefused) {
  Session text = session_of(ids(0, 300)), other = session();
  const KvShape shape = text.cache().shape();
  std::vector<std::byte> good = saved_bytes(text);
  // `chunk` is the place in the session file where the second of its two chunks of keys and values begins.
  const std::size_t chunk = good.size() - shape.chunk_bytes(), head = shape.head_bytes();
  ASSERT_EQ(chunk, 72 + 4 * 300 + shape.chunk_bytes());
  const auto sealed = [](std::vector<std::byte> bytes) {
    store_as(bytes.data() + 56, checksum(std::span(bytes).subspan(72)));
    store_as(bytes.data() + 64, checksum(std::span(bytes).first(64)));
    return bytes;
  };
  with_kv_type(shape.type, [&](auto element) {
    using E = decltype(element);
    using Number = std::conditional_t<IntegerKv<E>, float, E>;
    // How many numbers a chunk holds for one head: its keys and values, or, in a cache of integers, the scales of its keys and
    // values.
    const std::size_t numbers = IntegerKv<E> ? 2 * kv_chunk : head / sizeof(Number);
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
      for (const std::size_t at : {std::size_t{0}, numbers / 2 - 1, numbers / 2, numbers - 1}) {
        for (const std::size_t first : {std::size_t{0}, shape.chunk_bytes() - head}) {
          std::vector<std::byte> bytes = good;
          store_as(bytes.data() + chunk + first + at * sizeof(Number), from_float<Number>(bad));
          EXPECT_EQ(refusal(other, sealed(std::move(bytes))),
                    "some.session: keys or values of tokens 256 to 299 are not numbers (NaN or infinity)");
        }
      }
    }
    if constexpr (IntegerKv<E>) {  // all codes are numbers
      std::fill_n(good.begin() + static_cast<std::ptrdiff_t>(chunk + KvLayout<E>::keys), 64, std::byte{0xff});
      EXPECT_EQ(refusal(other, sealed(good)), "restored");
    } else {  // a session with such a key is not saved either
      Session broken = session_of(ids(0, 3));
      const KvView view = broken.cache().view();
      store_as(view.head_chunk(shape.layers - 1, 0, 0), from_float<Number>(std::numeric_limits<float>::infinity()));
      const Status saved = broken.save(path_);
      ASSERT_FALSE(saved);
      EXPECT_EQ(saved.error().message, "keys or values of tokens 0 to 2 are not numbers (NaN or infinity)");
      EXPECT_FALSE(std::filesystem::exists(path_ + ".partial"));
    }
  });
}

TEST_P(SessionOf, OtherSessionsFilesAreRefused) {
  Session text = session_of(ids(0, 20));
  const std::vector<std::byte> good = saved_bytes(text);
  const auto refusal_of = [&](const Model& other_model, const SessionOptions& options) {
    Result<Session> other = Session::create(other_model, options);
    EXPECT_TRUE(other);
    return refusal(*other, good);
  };
  EXPECT_EQ(refusal_of(model(), options_), "restored");
  SessionOptions other = options_;
  other.kv_type = options_.kv_type == KvType::f32 ? KvType::f16 : KvType::f32;
  EXPECT_EQ(refusal_of(model(), other), concat("some.session: was saved with a key/value cache of ", kv_type_name(*options_.kv_type),
                                               "; this session has one of ", kv_type_name(*other.kv_type)));
  other = options_;
  other.activations = ActivationBits::eight;
  EXPECT_EQ(refusal_of(model(), other), "some.session: was saved with activations of 16 bits; this session has 8 bits");
  other.activations = ActivationBits::mixed;
  EXPECT_EQ(refusal_of(model(), other), "some.session: was saved with activations of 16 bits; this session has 8 bits and some of 16");
  other = options_;
  other.context = 19;
  EXPECT_EQ(refusal_of(model(), other), "some.session: holds 20 tokens; the context of this session holds 19");
  for (const char* tensor : {"blk.0.attn_norm.weight", "blk.1.ffn_down.weight"}) {  // fine-tuning may change as little as one weight
    ModelFile file = ModelFile::tiny(std::get<0>(GetParam()));
    file.tensor(tensor).bytes[1] ^= std::byte{0x10};
    const LoadedModel changed(file);
    ASSERT_TRUE(changed) << changed.error();
    EXPECT_EQ(refusal_of(*changed, options_), "some.session: was saved with another model") << tensor;
  }
  ModelFile file = ModelFile::tiny(std::get<0>(GetParam()));
  file.set(concat(std::get<0>(GetParam()).substr(5), ".attention.layer_norm_rms_epsilon"), 0.25f);
  const LoadedModel changed(file);
  ASSERT_TRUE(changed) << changed.error();
  EXPECT_EQ(refusal_of(*changed, options_), "some.session: was saved with another model") << "the norm's epsilon";
  Session missing = session();
  const Result<std::string> found = missing.restore(path_ + ".none");
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().kind, ErrorKind::system);
}

// small_kind() describes a small session (its model, vocabulary, context and cache). small_cache() returns a cache for it, in which
// the keys and values of all positions are zeros.
SessionKind small_kind() { return {.model = 5, .vocabulary = 100, .context = 600, .shape = {1, 1, 16, KvType::f32}}; }
[[maybe_unused]] KvCache small_cache(std::size_t positions) {  // Windows has no test that uses it
  KvCache cache = std::move(*KvCache::create(small_kind().shape));
  EXPECT_TRUE(cache.reserve(positions));
  const float row[16] = {};
  for (std::size_t p = 0; p < positions; ++p) EXPECT_TRUE(cache.store(0, p, row, row));
  cache.set_size(positions);
  return cache;
}

#if !defined(_WIN32)
// A limit for the size of files imitates a disk that gets full while one part of the file after the other is written.
TEST(SessionFile, AFullDiskLeavesNoFile) {
  const std::string path = ::testing::TempDir() + "session_test." + std::to_string(::getpid()) + ".full";
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const auto message = [&](std::size_t positions, rlim_t most) {
    const KvCache cache = small_cache(positions);
    const std::vector<std::uint32_t> ids(positions, 1);
    const rlimit limit{most, before.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
    const Status status = write_session_file(path, small_kind(), ids, positions == 0 ? "" : "note", cache);
    setrlimit(RLIMIT_FSIZE, &before);
    EXPECT_EQ(std::filesystem::exists(path), static_cast<bool>(status));
    return status ? "" : status.error().message;
  };
  const std::size_t ids_end = 72 + 300 * 4, chunk = small_kind().shape.chunk_bytes();
  for (const std::size_t most : {std::size_t{0}, ids_end - 1, ids_end + 3, ids_end + 4 + chunk - 1, ids_end + 4 + 2 * chunk - 1}) {
    EXPECT_TRUE(message(300, most).starts_with(path + ": cannot write: ")) << most << ": " << message(300, most);
  }
  EXPECT_TRUE(message(0, 71).starts_with(path + ": cannot write: ")) << message(0, 71);
  EXPECT_EQ(message(300, ids_end + 4 + 2 * chunk), "");
  EXPECT_EQ(message(256, before.rlim_cur), "");  // the last chunk is full
  std::filesystem::remove(path);
  const Status nowhere = write_session_file(path + ".none/s", small_kind(), {}, "", small_cache(0));
  ASSERT_FALSE(nowhere);
  EXPECT_TRUE(nowhere.error().message.starts_with(path + ".none/s: cannot write: ")) << nowhere.error().message;
}
#endif

// The context of the session is as long as possible, so it would take any number of tokens. The file claims to hold so many tokens
// that the number of its bytes exceeds 64 bits, or nearly does.
TEST(SessionFile, SizesBeyond64BitsAreRefused) {
  SessionKind kind = small_kind();
  kind.context = std::numeric_limits<std::size_t>::max();
  const std::uint64_t position_bytes = kind.shape.chunk_bytes() / kv_chunk;
  for (const std::uint64_t tokens : {std::uint64_t{1} << 61, ~std::uint64_t{0} / position_bytes - kv_chunk}) {
    std::vector<std::byte> bytes = detail::session_header(kind, tokens, 0);
    bytes.resize(detail::session_header_bytes);
    store_as(bytes.data() + 56, checksum({}));
    store_as(bytes.data() + 64, checksum(std::span(bytes).first(64)));
    const Result<SavedText> saved = read_session_file(MappedFile::from_memory(bytes, "some.session"), kind);
    ASSERT_FALSE(saved) << tokens;
    EXPECT_EQ(saved.error().message,
              concat("some.session: number of tokens at byte 40: found ", tokens, ", which the 72 bytes of the file cannot hold"));
  }
}

}  // namespace
