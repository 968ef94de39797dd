// SPDX-License-Identifier: Apache-2.0
#include <stilla/text/reasoning.hpp>

#include <cstddef>
#include <random>
#include <string>
#include <string_view>

#include <gtest/gtest.h>

namespace stilla { namespace {

struct Parts {
  std::string reasoning, answer, tags, all;
};

Parts split(std::string_view text, bool is_open, std::size_t piece) {
  Parts parts;
  const auto emit = [&](TextKind kind, std::string_view part) {
    EXPECT_FALSE(part.empty());
    (kind == TextKind::reasoning ? parts.reasoning : kind == TextKind::answer ? parts.answer : parts.tags).append(part);
    parts.all.append(part);
  };
  ReasoningSplitter splitter(is_open);
  for (std::size_t at = 0; at < text.size(); at += piece) splitter.push(text.substr(at, piece), emit);
  splitter.finish(emit);
  return parts;
}

void expect_split(std::string_view text, bool is_open, std::string_view reasoning, std::string_view answer) {
  for (std::size_t piece = 1; piece <= text.size() + 1; ++piece) {
    const Parts parts = split(text, is_open, piece);
    EXPECT_EQ(parts.reasoning, reasoning) << text << " in pieces of " << piece;
    EXPECT_EQ(parts.answer, answer) << text << " in pieces of " << piece;
    EXPECT_EQ(parts.all, text);
  }
}

TEST(Reasoning, TagsOfTheModel) {
  expect_split("<think>\nhm\n</think>\n\nyes", false, "\nhm\n", "\n\nyes");
  expect_split("\n<think>hm</think>yes", false, "hm", "\nyes");
  expect_split("<think></think>", false, "", "");
}

TEST(Reasoning, OpenedByTheTemplate) {
  expect_split("hm\n</think>\n\nyes", true, "hm\n", "\n\nyes");
  expect_split("still thinking", true, "still thinking", "");
  // The prompt has already opened the thought, and the model opens it once more.
  expect_split("<think>\nhm</think>yes", true, "<think>\nhm", "yes");
}

TEST(Reasoning, NoReasoning) {
  expect_split("plain answer", false, "", "plain answer");
  expect_split("", false, "", "");
  expect_split("The tag <think> opens, </think> closes.", false, "", "The tag <think> opens, </think> closes.");
  expect_split("yes</think>", false, "", "yes</think>");
}

TEST(Reasoning, AlmostTags) {
  expect_split("<thin", false, "", "<thin");
  expect_split("<thinking>", false, "", "<thinking>");
  expect_split("<<think>x</think>", false, "", "<<think>x</think>");
  expect_split("a</think </thin></think>b", true, "a</think </thin>", "b");
  expect_split("a<<</</</think>b", true, "a<<</</", "b");
  expect_split("a</think", true, "a</think", "");
}

TEST(Reasoning, OneRoundOnly) { expect_split("<think>a</think>b<think>c</think>d", false, "a", "b<think>c</think>d"); }

TEST(Reasoning, HoldsBackOnlyWhatMayBeATag) {
  ReasoningSplitter splitter(true);
  std::string seen;
  const auto emit = [&](TextKind, std::string_view part) { seen.append(part); };
  splitter.push("abc</th", emit);
  EXPECT_EQ(seen, "abc");
  EXPECT_TRUE(splitter.is_reasoning());
  splitter.push("e", emit);
  EXPECT_EQ(seen, "abc</the");
  splitter.push("</think>", emit);
  EXPECT_EQ(seen, "abc</the</think>");
  EXPECT_FALSE(splitter.is_reasoning());
}

TEST(Reasoning, NoByteIsLost) {
  std::mt19937 random(1);
  const std::string pool[] = {"<", "/", "think", ">", "<think>", "</think>", "a", " ", "\n", "</thi"};
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    for (std::size_t n = random() % 12; n > 0; --n) text += pool[random() % std::size(pool)];
    for (const bool is_open : {false, true}) {
      const Parts whole = split(text, is_open, text.size() + 1);
      ASSERT_EQ(whole.all, text);
      const Parts bytes = split(text, is_open, 1);
      ASSERT_EQ(bytes.all, text);
      ASSERT_EQ(bytes.reasoning, whole.reasoning);
      ASSERT_EQ(bytes.tags, whole.tags);
    }
  }
}

}  // namespace
}  // namespace stilla
