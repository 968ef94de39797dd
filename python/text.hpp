// SPDX-License-Identifier: Apache-2.0
//
// A loaded model, a text that is evaluated with it, and the stream of what follows a prompt. None of these classes needs Python.
// Errors are thrown (errors.hpp). All functions may be called from any thread, without holding Python's global lock (GIL).
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <stilla/base/error.hpp>
#include <stilla/base/thread_pool.hpp>
#include <stilla/model/decoder.hpp>
#include <stilla/model/forward.hpp>
#include <stilla/model/weights.hpp>
#include <stilla/sampling.hpp>
#include <stilla/text/chat_template.hpp>
#include <stilla/text/reasoning.hpp>
#include <stilla/text/stream_decoder.hpp>
#include <stilla/text/tokenizer.hpp>

namespace python {

using Ids = std::vector<std::uint32_t>;
using Messages = std::vector<stilla::ChatMessage>;

class LoadedModel {
 public:
  struct Options {
    std::size_t threads = 1;
    std::optional<std::string> chat_template;  // the name of a template or a Jinja program, used instead of the file's template
    std::string pretokenizer;                  // the name of a pre-tokenizer, used instead of the file's; empty: the file's is used
  };

  // Loads a model. `path` may be anything that Stilla opens as a model: a GGUF file, the first of several parts, a packed file,
  // or a folder as Hugging Face has it.
  static std::shared_ptr<LoadedModel> load(const std::string& path, const Options& options);

  const std::string& path() const { return model_.source().path(); }
  const stilla::ModelConfig& config() const { return model_.config(); }
  const stilla::Tokenizer& tokenizer() const { return tokenizer_; }
  // Returns what the user should be told about the model file, one line each.
  std::vector<std::string> notes() const;
  std::size_t threads() const { return pool_->size(); }

  stilla::Session new_session(const stilla::SessionOptions& options);
  // Returns the prompt of a conversation. If `think` is not given, the prompt is what the model's makers advise. If the model has
  // thoughts, true asks for a thought before the answer, and false for an answer without a thought.
  stilla::ChatPrompt chat_prompt(std::span<const stilla::ChatMessage> messages, std::optional<bool> think);

 private:
  LoadedModel(std::unique_ptr<stilla::ThreadPool> pool, stilla::Model model, stilla::Tokenizer tokenizer,
              stilla::Result<stilla::ChatTemplate> chat_template)
      : pool_(std::move(pool)), model_(std::move(model)), tokenizer_(std::move(tokenizer)), chat_template_(std::move(chat_template)) {}

  std::unique_ptr<stilla::ThreadPool> pool_;
  stilla::Model model_;
  stilla::Tokenizer tokenizer_;
  // This mutex guards the chat template, because each call of chat_prompt() sets fields in it: whether the model thinks, and the time
  // of day.
  std::mutex template_mutex_;
  stilla::Result<stilla::ChatTemplate> chat_template_;  // an error in it is raised only when a caller asks for a chat prompt
};

// A function that is called while a prompt is read, and says whether to go on.
using GoesOn = std::function<bool()>;

// A text with its keys and values. One thread at a time works on it; other threads wait.
class TextSession {
 public:
  TextSession(std::shared_ptr<LoadedModel> model, const stilla::SessionOptions& options)
      : model_(std::move(model)), session_(model_->new_session(options)) {}

  const std::shared_ptr<LoadedModel>& model() const { return model_; }
  std::size_t context() const { return session_.context(); }
  Ids ids();
  void truncate(std::size_t count);
  // Appends the tokens, and calls sink(row of logits) for the last token or, if `all` is true, for each of them. If an error
  // occurs, or if `goes_on` returns false, the text stays as it was.
  bool evaluate(std::span<const std::uint32_t> ids, bool all, const GoesOn& goes_on,
                const std::function<void(std::span<const float>)>& sink);
  std::shared_ptr<TextSession> fork();
  void save(const std::string& path);
  void restore(const std::string& path);

  // Returns the prompt of a conversation. If a message is an answer that a stream of this session wrote, the prompt has the tokens that
  // the stream chose. The beginning of the prompt is then the same as the text that the session holds, and need not be evaluated again.
  stilla::ChatPrompt chat_prompt(Messages messages, std::optional<bool> think);

 private:
  friend class TextStream;

  struct Answer {
    std::string text;
    Ids ids;
  };

  TextSession(std::shared_ptr<LoadedModel> model, stilla::Session session) : model_(std::move(model)), session_(std::move(session)) {}

  // Ends the stream that writes to this session, if there is one. The tokens that the stream guessed, evaluated and did not add to the
  // text are removed from the session.
  void end_stream();

  std::shared_ptr<LoadedModel> model_;
  std::mutex mutex_;  // guards all members below
  stilla::Session session_;
  std::optional<stilla::Decoder> decoder_;  // the decoder of the stream that writes to this session
  Ids stream_text_;                         // the prompt of this stream, and the tokens that it wrote
  std::uint64_t streams_ = 0;               // how often end_stream() was called; every new stream calls it too
  std::vector<Answer> answers_;             // the answers of the last conversation
};

// A part of what a model says. It consists of whole characters, and is a thought or an answer.
struct Piece {
  std::string text;
  bool thought = false;
};

enum class StopReason : std::uint8_t {
  end,      // the model had nothing more to say
  length,   // max_tokens
  context,  // the session's context is full
};

struct StreamOptions {
  std::optional<std::size_t> max_tokens;
  std::size_t think_budget = 0;  // after so many tokens, a thought is closed for the model; 0: never
  bool splits_thoughts = true;   // <think> and </think> separate thoughts from answers, and are not part of the text
  stilla::SamplingOptions sampling;
};

// The text that follows a prompt, token by token. A token is computed only when it is asked for. The stream begins with the first
// step, which ends an earlier stream of the same session.
class TextStream {
 public:
  TextStream(std::shared_ptr<TextSession> session, stilla::ChatPrompt prompt, StreamOptions options);

  // Computes one token more. Returns false if the stream has ended, or if `goes_on` returned false while the prompt was read;
  // then the next step reads the rest of the prompt.
  bool step(const GoesOn& goes_on);
  // Returns the text that is ready, one part (thought or answer) at a time, or nothing.
  std::optional<Piece> take();

  std::size_t prompt_tokens() const { return prompt_.ids.size(); }
  std::optional<StopReason> stop_reason() const;  // empty unless the stream has ended by itself
  std::size_t evaluated_tokens() const;           // tokens of the prompt that the session did not hold before
  Ids ids() const;                                // the ids written so far, without one that ended the text

 private:
  bool begin(const GoesOn& goes_on);
  void write_token();
  bool has_room_for(std::size_t tokens) const;
  void close_thought();
  void push(std::span<const std::uint32_t> ids);
  void show(stilla::TextKind kind, std::string_view text);
  void add(std::string_view text, bool thought);
  void end(StopReason reason);
  void remember_answer();

  std::shared_ptr<TextSession> session_;
  stilla::ChatPrompt prompt_;
  StreamOptions options_;
  stilla::StreamDecoder decoder_;
  stilla::ReasoningSplitter splitter_;
  std::deque<Piece> ready_;
  std::uint64_t number_ = 0;  // the value of the session's streams_ when this stream began; 0: it has not begun
  std::size_t evaluated_ = 0;
  Ids ids_;
  std::size_t tokens_ = 0, thought_tokens_ = 0;
  std::size_t answer_begin_ = 0;  // the index in ids_ at which the answer begins
  std::string answer_;
  bool part_begins_ = true;  // nothing of this thought or answer was shown yet
  std::optional<StopReason> reason_;
};

}  // namespace python
