// SPDX-License-Identifier: Apache-2.0
#include "text.hpp"

#include <algorithm>
#include <ctime>
#include <limits>
#include <utility>

#include <stilla/io/open_model_source.hpp>
#include <stilla/text/source_tokenizer.hpp>

#include "errors.hpp"

namespace python {
namespace {

// Returns a chat template, which is given by its name or as a Jinja program.
stilla::Result<stilla::ChatTemplate> chosen_template(const std::string& name_or_program) {
  stilla::Result<stilla::ChatTemplate> known = stilla::chat_template_by_name(name_or_program);
  const bool is_program = name_or_program.find('{') != std::string::npos;
  return known || !is_program ? std::move(known) : stilla::read_chat_template(name_or_program);
}

stilla::Result<stilla::ChatTemplate> file_template(const stilla::ModelSource& source) {
  const stilla::Result<std::string_view> program = source.chat_template();
  if (!program) return program.error();
  return stilla::read_chat_template(*program, source.path());
}

stilla::jinja::LocalTime local_time() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
#if defined(_WIN32)
  localtime_s(&parts, &now);
#else
  localtime_r(&now, &parts);
#endif
  return {parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec};
}

// While a prompt is evaluated, the function `goes_on` is called each time that piece_tokens more tokens have been evaluated.
constexpr std::size_t piece_tokens = 128;

}  // namespace

std::shared_ptr<LoadedModel> LoadedModel::load(const std::string& path, const Options& options) {
  std::unique_ptr<stilla::ModelSource> source = value_of(stilla::open_model_source(path));
  stilla::Tokenizer tokenizer = value_of(stilla::read_tokenizer(*source, {options.pretokenizer}));
  auto chat_template = options.chat_template ? stilla::Result(value_of(chosen_template(*options.chat_template))) : file_template(*source);
  auto pool = std::make_unique<stilla::ThreadPool>(options.threads);
  stilla::Model model = value_of(stilla::Model::load(std::move(source), *pool));
  return std::shared_ptr<LoadedModel>(new LoadedModel(std::move(pool), std::move(model), std::move(tokenizer), std::move(chat_template)));
}

std::vector<std::string> LoadedModel::notes() const {
  std::vector<std::string> out = model_.notes();
  out.insert(out.end(), tokenizer_.notes().begin(), tokenizer_.notes().end());
  return out;
}

stilla::Session LoadedModel::new_session(const stilla::SessionOptions& options) {
  if (options.context > config().context) {
    refuse("context: found ", options.context, ", but the model was trained for ", config().context, " tokens");
  }
  return value_of(stilla::Session::create(model_, options, *pool_));
}

stilla::ChatPrompt LoadedModel::chat_prompt(std::span<const stilla::ChatMessage> messages, std::optional<bool> think) {
  const std::lock_guard lock(template_mutex_);
  if (!chat_template_) throw LibraryError(chat_template_.error());
  stilla::choose_thinking(*chat_template_, tokenizer_, think);
  chat_template_->now = local_time();
  return value_of(stilla::encode_chat(tokenizer_, *chat_template_, messages));
}

Ids TextSession::ids() {
  const std::lock_guard lock(mutex_);
  const std::span<const std::uint32_t> held = session_.ids();
  if (!decoder_) return {held.begin(), held.end()};
  // The session's stream may have evaluated guesses of what follows its text. They are in the session, but not part of the text.
  return {held.begin(), std::mismatch(held.begin(), held.end(), stream_text_.begin(), stream_text_.end()).first};
}

void TextSession::end_stream() {
  if (decoder_) decoder_->finish();
  decoder_.reset();
  ++streams_;
}

void TextSession::truncate(std::size_t count) {
  const std::lock_guard lock(mutex_);
  end_stream();
  session_.truncate(count);
}

bool TextSession::evaluate(std::span<const std::uint32_t> ids, bool all, const GoesOn& goes_on,
                           const std::function<void(std::span<const float>)>& sink) {
  const std::lock_guard lock(mutex_);
  end_stream();
  const std::size_t before = session_.size();
  if (ids.size() > session_.context() - before) {
    refuse("the text does not fit the context: ", before + ids.size(), " tokens, but the context holds ", session_.context());
  }
  const auto evaluate_piece = [&](std::span<const std::uint32_t> piece, bool is_last) -> stilla::Status {
    if (all) {
      return session_.evaluate_all(piece, [&](std::size_t, stilla::ConstMatrix rows) {
        for (std::size_t m = 0; m < rows.rows; ++m) sink({rows.row(m), rows.cols});
      });
    }
    if (!is_last) return session_.append(piece);
    const auto row = session_.evaluate(piece);
    if (!row) return row.error();
    sink(*row);
    return stilla::success();
  };
  std::size_t at = 0;
  do {
    const std::span<const std::uint32_t> piece = ids.subspan(at, std::min(piece_tokens, ids.size() - at));
    at += piece.size();
    const stilla::Status status = evaluate_piece(piece, at == ids.size());
    const bool ends = !status || (at < ids.size() && !goes_on());
    if (ends) session_.truncate(before);
    check(status);
    if (ends) return false;
  } while (at < ids.size());
  return true;
}

std::shared_ptr<TextSession> TextSession::fork() {
  const std::lock_guard lock(mutex_);
  end_stream();
  std::shared_ptr<TextSession> other(new TextSession(model_, session_.fork()));
  other->answers_ = answers_;
  return other;
}

void TextSession::save(const std::string& path) {
  const std::lock_guard lock(mutex_);
  end_stream();
  check(session_.save(path));
}

void TextSession::restore(const std::string& path) {
  const std::lock_guard lock(mutex_);
  end_stream();
  value_of(session_.restore(path));
}

stilla::ChatPrompt TextSession::chat_prompt(Messages messages, std::optional<bool> think) {
  {
    const std::lock_guard lock(mutex_);
    std::vector<Answer> used;
    for (stilla::ChatMessage& message : messages) {
      const auto known = std::find_if(answers_.begin(), answers_.end(), [&](const Answer& answer) {
        return message.role == stilla::ChatRole::assistant && answer.text == message.text;
      });
      if (known == answers_.end()) continue;
      message.ids = known->ids;
      used.push_back(*known);
    }
    answers_ = std::move(used);
  }
  return model_->chat_prompt(messages, think);
}

TextStream::TextStream(std::shared_ptr<TextSession> session, stilla::ChatPrompt prompt, StreamOptions options)
    : session_(std::move(session)), prompt_(std::move(prompt)), options_(std::move(options)),
      splitter_(options_.splits_thoughts && prompt_.opens_thought) {
  if (prompt_.ids.empty()) refuse("nothing to continue: the prompt has no tokens");
  if (prompt_.ids.size() > session_->context()) {
    refuse("the prompt does not fit the context: ", prompt_.ids.size(), " tokens, but the context holds ", session_->context());
  }
  options_.sampling.vocabulary = session_->model()->tokenizer().size();
}

bool TextStream::step(const GoesOn& goes_on) {
  const std::lock_guard lock(session_->mutex_);
  if (reason_) return false;
  if (number_ == 0 && !begin(goes_on)) return false;
  if (number_ != session_->streams_) refuse("this stream has ended, because its session went on with another text");
  write_token();
  return true;
}

bool TextStream::begin(const GoesOn& goes_on) {
  session_->end_stream();
  session_->decoder_.emplace(session_->session_, options_.sampling);
  bool goes = true;
  const auto evaluated = session_->decoder_->begin(prompt_.ids, [&](std::size_t done, std::size_t total) {
    goes = done == total || goes_on();
    return goes;
  });
  if (evaluated) evaluated_ += *evaluated;
  if (!evaluated || !goes) session_->decoder_.reset();
  value_of(evaluated);
  if (!goes) return false;
  session_->stream_text_ = prompt_.ids;
  number_ = session_->streams_;
  return true;
}

void TextStream::write_token() {
  const stilla::Tokenizer& tokenizer = session_->model()->tokenizer();
  const std::size_t most = options_.max_tokens.value_or(stilla::Decoder::no_limit);
  if (tokens_ >= most) return end(StopReason::length);
  const std::uint32_t id = value_of(session_->decoder_->choose(most - tokens_));
  if (tokenizer.is_end_of_generation(id)) return end(StopReason::end);
  push({&id, 1});
  if (tokens_ >= most) return end(StopReason::length);
  const bool cuts_thought = splitter_.is_reasoning() && options_.think_budget != 0 && thought_tokens_ >= options_.think_budget;
  if (cuts_thought) return close_thought();
  if (!has_room_for(0)) end(StopReason::context);
}

bool TextStream::has_room_for(std::size_t tokens) const { return session_->decoder_->size() + tokens <= session_->context(); }

void TextStream::close_thought() {
  const Ids words = session_->model()->tokenizer().encode(stilla::closing_words, stilla::SpecialTokens::parse);
  const std::size_t most = options_.max_tokens.value_or(stilla::Decoder::no_limit);
  if (words.size() > most - tokens_) return end(StopReason::length);  // there would be no room for an answer
  if (!has_room_for(words.size())) return end(StopReason::context);
  push(words);
}

// Appends the tokens `ids` to the stream's text, and makes their characters ready for the caller.
void TextStream::push(std::span<const std::uint32_t> ids) {
  const stilla::Tokenizer& tokenizer = session_->model()->tokenizer();
  std::string bytes;
  for (const std::uint32_t id : ids) {
    session_->decoder_->push(id);
    session_->stream_text_.push_back(id);
    ids_.push_back(id);
    ++tokens_;
    bytes += tokenizer.piece(id);
  }
  const bool was_thought = splitter_.is_reasoning();
  const std::string text = decoder_.push(bytes);
  if (!options_.splits_thoughts) return add(text, false);
  splitter_.push(text, [this](stilla::TextKind kind, std::string_view part) { show(kind, part); });
  if (was_thought || splitter_.is_reasoning()) thought_tokens_ += ids.size();
  if (was_thought && !splitter_.is_reasoning()) answer_begin_ = ids_.size();
}

// Adds text to the parts that are ready for the caller. Line ends between a tag such as <think> and
// its text are left out.
void TextStream::show(stilla::TextKind kind, std::string_view text) {
  if (kind == stilla::TextKind::tag) {
    part_begins_ = true;
    return;
  }
  if (part_begins_) text.remove_prefix(std::min(text.find_first_not_of("\r\n"), text.size()));
  if (text.empty()) return;
  part_begins_ = false;
  if (kind == stilla::TextKind::answer) answer_ += text;
  add(text, kind == stilla::TextKind::reasoning);
}

void TextStream::add(std::string_view text, bool thought) {
  if (text.empty()) return;
  if (ready_.empty() || ready_.back().thought != thought) {
    ready_.push_back({std::string(text), thought});
  } else {
    ready_.back().text += text;
  }
}

std::optional<Piece> TextStream::take() {
  const std::lock_guard lock(session_->mutex_);
  if (ready_.empty()) return std::nullopt;
  Piece piece = std::move(ready_.front());
  ready_.pop_front();
  return piece;
}

std::optional<StopReason> TextStream::stop_reason() const {
  const std::lock_guard lock(session_->mutex_);
  return reason_;
}
std::size_t TextStream::evaluated_tokens() const {
  const std::lock_guard lock(session_->mutex_);
  return evaluated_;
}
Ids TextStream::ids() const {
  const std::lock_guard lock(session_->mutex_);
  return ids_;
}

void TextStream::end(StopReason reason) {
  reason_ = reason;
  const std::string rest = decoder_.flush();
  if (options_.splits_thoughts) {
    const auto emit = [this](stilla::TextKind kind, std::string_view part) { show(kind, part); };
    splitter_.push(rest, emit);
    splitter_.finish(emit);
    remember_answer();
  } else {
    add(rest, false);
  }
  session_->end_stream();
}

// Remembers the ids of the answer's tokens, so that a later prompt can repeat the answer with the same tokens. Ids that do not decode
// to exactly the answer's text are not remembered.
void TextStream::remember_answer() {
  const stilla::Tokenizer& tokenizer = session_->model()->tokenizer();
  const auto is_line_end = [&](std::uint32_t id) { return tokenizer.piece(id).find_first_not_of("\r\n") == std::string_view::npos; };
  const auto first = std::find_if_not(ids_.begin() + static_cast<std::ptrdiff_t>(answer_begin_), ids_.end(), is_line_end);
  Ids ids(first, ids_.end());
  if (answer_.empty() || tokenizer.decode(ids) != answer_) return;
  session_->answers_.push_back({answer_, std::move(ids)});
}

}  // namespace python
