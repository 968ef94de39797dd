// SPDX-License-Identifier: Apache-2.0
#include "answer_printer.hpp"

#include <algorithm>

#include "output.hpp"
#include "platform.hpp"

namespace program {
namespace {

// Returns `text`, which consists of whole characters, without control characters other than tab and
// newline.
std::string without_controls(std::string_view text) {
  constexpr std::string_view replacement = "\xef\xbf\xbd";
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0) {
      out += replacement;  // replaces U+0080 to U+009F, which some terminals obey
      ++i;
    } else if ((byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7f) {
      if (byte != '\r') out += replacement;
    } else {
      out += text[i];
    }
  }
  return out;
}

}  // namespace

AnswerPrinter::Mode AnswerPrinter::mode_of_output(bool raw) {
  if (raw) return Mode::raw;
  return stdout_is_terminal() ? Mode::terminal : Mode::plain;
}

AnswerPrinter::AnswerPrinter(Mode mode, bool opens_reasoning, bool hide_thinking, const std::vector<std::string>& stop_texts)
    : mode_(mode), is_terminal_(stdout_is_terminal()), hide_thinking_(hide_thinking),
      shows_tags_(!hide_thinking && !(mode == Mode::terminal && stdout_has_styles())), stops_(stop_texts),
      decoder_(is_terminal_ ? stilla::InvalidBytes::replace : stilla::InvalidBytes::keep), splitter_(opens_reasoning),
      reader_(opens_reasoning) {
  if (opens_reasoning && shows_tags_ && mode != Mode::raw) write("<think>\n");
}

void AnswerPrinter::push(std::string_view bytes) {
  if (mode_ != Mode::raw) reader_.push(bytes, [](stilla::TextKind, std::string_view) {});
  show_bytes(stops_.push(bytes));
}

void AnswerPrinter::show_bytes(std::string_view bytes) {
  const std::string text = decoder_.push(bytes);
  if (text.empty()) return;
  if (mode_ == Mode::raw) return write(text);
  splitter_.push(text, [this](stilla::TextKind kind, std::string_view part) { show(kind, part); });
}

void AnswerPrinter::finish() {
  show_bytes(stops_.finish());
  const std::string text = decoder_.flush();
  if (mode_ == Mode::raw) return write(text);
  const auto emit = [this](stilla::TextKind kind, std::string_view part) { show(kind, part); };
  if (!text.empty()) splitter_.push(text, emit);
  splitter_.finish(emit);
  if (last_ != '\n') write("\n");
}

void AnswerPrinter::show(stilla::TextKind kind, std::string_view text) {
  if (shows_tags_) return write(text);
  if (kind == stilla::TextKind::tag) {
    answer_begins_ = true;
  } else if (kind == stilla::TextKind::reasoning) {
    show_reasoning(text);
  } else {
    show_answer(text);
  }
}

void AnswerPrinter::show_reasoning(std::string_view text) {
  if (hide_thinking_) return;
  if (!thought_) text.remove_prefix(std::min(text.find_first_not_of("\r\n"), text.size()));
  if (text.empty()) return;
  thought_ = true;
  write(text, true);
}

void AnswerPrinter::show_answer(std::string_view text) {
  if (answer_begins_) {
    text.remove_prefix(std::min(text.find_first_not_of("\r\n"), text.size()));
    if (text.empty()) return;
    answer_begins_ = false;
    if (thought_) write(last_ == '\n' ? "\n" : "\n\n");
  }
  write(text);
}

void AnswerPrinter::write(std::string_view text, bool dim) {
  if (text.empty()) return;
  last_ = text.back();
  if (!is_terminal_) return write_output(text);
  const std::string safe = without_controls(text);
  write_output(dim ? "\x1b[2m" + safe + "\x1b[0m" : safe);
}

}  // namespace program
