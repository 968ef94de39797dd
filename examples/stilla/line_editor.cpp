// SPDX-License-Identifier: Apache-2.0
#include "line_editor.hpp"

#include <cstdio>

#include "output.hpp"
#include "platform.hpp"

#if STILLA_LIBEDIT
#include <clocale>

#include <histedit.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>
#endif

namespace program {
namespace {
std::optional<std::string> read_plain_line(bool goes_on) {
  if (stdin_is_terminal()) write_note(goes_on ? ". " : "> ");
  std::string line;
  return read_line(line) ? std::optional(line) : std::nullopt;
}
}  // namespace

#if STILLA_LIBEDIT

namespace {

// Takes a Ctrl-D that was typed while the model was loading or answering, when the editor did not control the terminal. Returns
// whether there was one. Linux keeps such a Ctrl-D as an end of input without a byte before it. The editor would read it as a zero
// byte, which means nothing to the editor.
bool takes_end_of_input() {
  pollfd terminal{STDIN_FILENO, POLLIN, 0};
  int bytes = 0;
  if (poll(&terminal, 1, 0) != 1 || ioctl(STDIN_FILENO, FIONREAD, &bytes) != 0 || bytes != 0) return false;
  char none;
  return read(STDIN_FILENO, &none, 1) == 0;
}

}  // namespace

struct LineEditor::State {
  State() : editor(el_init("stilla", stdin, stderr, stderr)), history(history_init()) {
    HistEvent event;
    ::history(history, &event, H_SETSIZE, 1000);
    ::history(history, &event, H_SETUNIQUE, 1);
    el_set(editor, EL_EDITOR, "emacs");
    el_set(editor, EL_SIGNAL, 1);  // Ctrl-C puts the terminal in order before it ends the program
    el_set(editor, EL_HIST, ::history, history);
    el_set(editor, EL_CLIENTDATA, this);
    el_set(
        editor, EL_PROMPT, +[](EditLine* e) {
          State* state = nullptr;
          el_get(e, EL_CLIENTDATA, &state);
          return state->prompt;
        });
    el_set(editor, EL_BIND, "\\e[1~", "ed-move-to-beg", nullptr);
    el_set(editor, EL_BIND, "\\e[4~", "ed-move-to-end", nullptr);
    el_set(editor, EL_BIND, "\\e[3~", "ed-delete-next-char", nullptr);
    el_set(editor, EL_BIND, "\\e[1;5C", "em-next-word", nullptr);
    el_set(editor, EL_BIND, "\\e[1;5D", "ed-prev-word", nullptr);
    el_source(editor, nullptr);  // the user's ~/.editrc
  }
  ~State() {
    history_end(history);
    el_end(editor);
  }

  EditLine* editor;
  History* history;
  char first_prompt[3] = "> ", next_prompt[3] = ". ";
  char* prompt = first_prompt;
};

LineEditor::LineEditor() {
  if (!stdin_is_terminal() || !stderr_is_terminal()) return;
  // The editor handles characters of several bytes only in a locale that has them. If the user's locale has only characters of one byte,
  // or cannot be set, C.UTF-8 is set.
  const char* locale = std::setlocale(LC_CTYPE, "");
  if (locale == nullptr || MB_CUR_MAX == 1) std::setlocale(LC_CTYPE, "C.UTF-8");
  state_ = std::make_unique<State>();
}

std::optional<std::string> LineEditor::read_line(bool goes_on) {
  if (state_ == nullptr) return read_plain_line(goes_on);
  state_->prompt = goes_on ? state_->next_prompt : state_->first_prompt;
  if (takes_end_of_input()) return std::nullopt;
  int count = 0;
  const char* text = el_gets(state_->editor, &count);
  if (text == nullptr || count <= 0) return std::nullopt;
  std::string line(text, static_cast<std::size_t>(count));
  if (line.ends_with('\n')) line.pop_back();
  if (line.find_first_not_of(' ') != std::string::npos) {
    HistEvent event;
    history(state_->history, &event, H_ENTER, line.c_str());
  }
  return line;
}

#else

struct LineEditor::State {};

LineEditor::LineEditor() = default;

std::optional<std::string> LineEditor::read_line(bool goes_on) { return read_plain_line(goes_on); }

#endif

LineEditor::~LineEditor() = default;

std::optional<std::string> LineEditor::read() {
  if (stdin_is_terminal() && stderr_is_terminal()) write_note("\n");
  std::optional<std::string> line = read_line(false);
  if (!line) return std::nullopt;
  if (line->ends_with('\r')) line->pop_back();
  while (stdin_is_terminal() && line->ends_with('\\')) {
    line->back() = '\n';
    const std::optional<std::string> more = read_line(true);
    if (!more) break;
    *line += *more;
  }
  return line;
}

}  // namespace program
