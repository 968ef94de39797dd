// SPDX-License-Identifier: Apache-2.0
//
// Defines models, sessions, streams and tokenizers for Python.
#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <random>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/variant.h>
#include <nanobind/stl/vector.h>

#include <stilla/io/mapped_file.hpp>
#include <stilla/text/chat_template.hpp>

#include "arrays.hpp"
#include "errors.hpp"
#include "module.hpp"
#include "names.hpp"
#include "pool.hpp"
#include "text.hpp"

namespace python {
namespace {

struct TokenizerHandle {
  std::shared_ptr<LoadedModel> model;

  const stilla::Tokenizer& get() const { return model->tokenizer(); }
};

// Converts a path, a str or os.PathLike, to the bytes that the operating system uses for it.
std::string path_of(nb::handle given) {
  PyObject* bytes = nullptr;
  if (PyUnicode_FSConverter(given.ptr(), &bytes) == 0) throw nb::python_error();
  const nb::bytes owned = nb::steal<nb::bytes>(bytes);
  return {owned.c_str(), owned.size()};
}

// Raises FileNotFoundError, as Python's open() does, if nothing exists at the path.
void expect_path(const std::string& path, nb::handle given) {
  std::error_code error;
#if defined(_WIN32)
  const stilla::Result<std::wstring> wide = stilla::detail::wide_path(path);
  const std::filesystem::path as_path = wide ? *wide : std::wstring();
#else
  const std::filesystem::path as_path = path;
#endif
  if (std::filesystem::status(as_path, error).type() != std::filesystem::file_type::not_found) return;
  errno = ENOENT;
  PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, given.ptr());
  throw nb::python_error();
}

std::shared_ptr<LoadedModel> load(nb::handle given, std::optional<std::size_t> threads, std::optional<std::string> chat_template,
                                  std::optional<std::string> pretokenizer) {
  const std::string path = path_of(given);
  expect_path(path, given);
  const LoadedModel::Options options{thread_count(threads), std::move(chat_template), pretokenizer.value_or("")};
  const nb::gil_scoped_release release;
  return LoadedModel::load(path, options);
}

// Returns true unless a signal has arrived that Python should handle now, for example Ctrl-C. It is for threads that do
// not hold Python's global lock (GIL).
bool no_signals() {
  const nb::gil_scoped_acquire acquire;
  return PyErr_CheckSignals() == 0;
}

// Reads the messages of a conversation in the usual form: [{"role": "user", "content": "..."}].
Messages messages_of(const nb::sequence& given) {
  Messages out;
  std::size_t i = 0;
  for (const nb::handle item : given) {
    const auto text_of = [&](const char* key) {
      nb::object value = nb::none();
      if (nb::isinstance<nb::dict>(item)) value = nb::borrow<nb::dict>(item).attr("get")(key);
      if (!nb::isinstance<nb::str>(value)) refuse("messages[", i, "]: expected a dict with the texts 'role' and 'content'");
      return nb::cast<std::string>(value);
    };
    const std::string role = text_of("role");
    const auto known = role == "system"      ? std::optional(stilla::ChatRole::system)
                       : role == "user"      ? std::optional(stilla::ChatRole::user)
                       : role == "assistant" ? std::optional(stilla::ChatRole::assistant)
                                             : std::nullopt;
    if (!known) refuse("messages[", i, "]: the role '", stilla::printable(role), "' is not known; known: system, user, assistant");
    out.push_back({*known, text_of("content")});
    ++i;
  }
  if (out.empty()) refuse("messages: found none");
  return out;
}

std::uint64_t seed_or_random(std::optional<std::uint64_t> seed) {
  if (seed) return *seed;
  std::random_device device;
  return std::uint64_t{device()} << 32 | device();
}

// The sampling options of the four functions that make a stream: chat() and generate() of a model and of a session.
struct Sampling {
  double temperature;
  double top_p;
  std::size_t top_k;
  double min_p;
  double repetition_penalty;
  std::optional<std::uint64_t> seed;

  stilla::SamplingOptions options() const {
    const auto expect = [](bool is_fine, const char* name, double found, const char* expected) {
      if (!is_fine) refuse(name, ": found ", found, ", expected ", expected);
    };
    expect(temperature >= 0 && temperature <= 100, "temperature", temperature, "0 to 100");
    expect(top_p >= 0 && top_p <= 1, "top_p", top_p, "0 to 1");
    expect(min_p >= 0 && min_p <= 1, "min_p", min_p, "0 to 1");
    expect(repetition_penalty >= 0.01 && repetition_penalty <= 100, "repetition_penalty", repetition_penalty, "0.01 to 100");
    stilla::SamplingOptions out;
    out.temperature = static_cast<float>(temperature);
    out.top_p = static_cast<float>(top_p);
    out.top_k = top_k;
    out.min_p = static_cast<float>(min_p);
    out.repetition_penalty = static_cast<float>(repetition_penalty);
    out.seed = seed_or_random(seed);
    return out;
  }
};

using SessionPointer = std::shared_ptr<TextSession>;
using StreamPointer = std::shared_ptr<TextStream>;

StreamPointer chat(const SessionPointer& session, Messages messages, StreamOptions options, std::optional<bool> think) {
  const nb::gil_scoped_release release;
  stilla::ChatPrompt prompt = session->chat_prompt(std::move(messages), think);
  return std::make_shared<TextStream>(session, std::move(prompt), std::move(options));
}

// A prompt is a text or token ids. A text gets the token BOS (begin of sequence) in front if the vocabulary wants it. Ids are used as
// they are.
using Prompt = std::variant<std::string, Ids>;
StreamPointer generate(const SessionPointer& session, Prompt prompt, StreamOptions options) {
  const nb::gil_scoped_release release;
  Ids ids = std::holds_alternative<Ids>(prompt) ? std::get<Ids>(std::move(prompt))
                                                : stilla::encode_prompt(session->model()->tokenizer(), std::get<std::string>(prompt));
  options.splits_thoughts = false;
  return std::make_shared<TextStream>(session, stilla::ChatPrompt{std::move(ids), false}, std::move(options));
}

// Returns the session for a new stream. A model makes a new session for each text; a session uses itself.
SessionPointer session_for(const std::shared_ptr<LoadedModel>& model) {
  const nb::gil_scoped_release release;
  return std::make_shared<TextSession>(model, stilla::SessionOptions{});
}
SessionPointer session_for(const SessionPointer& session) { return session; }

constexpr const char* sampling_doc =
    "\n\nmax_tokens: the most tokens to write; None: until the model ends, or the context is full.\n"
    "temperature: 0 always takes the likeliest token. top_p: keep the likeliest tokens that together reach it. top_k: "
    "keep so many; 0: "
    "all. min_p: drop tokens less than so many times as likely as the best. repetition_penalty: on tokens of the last "
    "64; 1: none.\n"
    "seed: the same seed gives the same text, on every machine and for every number of threads; None: another each "
    "time.";

// Adds chat() and generate() to the Python type of a model or a session.
template <class Self>
void add_streams(nb::class_<Self>& type, const char* whose) {
  const std::string chat_doc =
      stilla::concat("Streams the answer to a conversation", whose,
                     ".\n\nmessages: [{\"role\": \"user\", \"content\": \"...\"}]; roles are system, user and assistant.\n"
                     "think: False asks a reasoning model to answer at once, True to think first; None: as its makers advise.\n"
                     "think_budget: after so many tokens a thought is closed for the model, which goes on to the answer; 0: never.",
                     sampling_doc);
  type.def(
      "chat",
      [](const std::shared_ptr<Self>& self, const nb::typed<nb::sequence, nb::dict>& messages, std::optional<std::size_t> max_tokens,
         double temperature, double top_p, std::size_t top_k, double min_p, double repetition_penalty, std::optional<std::uint64_t> seed,
         std::optional<bool> think, std::optional<std::size_t> think_budget) {
        const Sampling sampling{temperature, top_p, top_k, min_p, repetition_penalty, seed};
        return chat(session_for(self), messages_of(messages), {max_tokens, think_budget.value_or(0), true, sampling.options()}, think);
      },
      nb::arg("messages"), nb::kw_only(), nb::arg("max_tokens") = nb::none(), nb::arg("temperature") = 0.6, nb::arg("top_p") = 0.95,
      nb::arg("top_k") = 0, nb::arg("min_p") = 0.0, nb::arg("repetition_penalty") = 1.0, nb::arg("seed") = nb::none(),
      nb::arg("think") = nb::none(), nb::arg("think_budget") = nb::none(), chat_doc.c_str());
  const std::string generate_doc =
      stilla::concat("Streams what follows a text", whose,
                     ", without a chat template; thoughts are not told from answers.\n\nprompt: text, or ids, which "
                     "are taken as they are. Text gets "
                     "the token that begins one in front, where the vocabulary wants it.",
                     sampling_doc);
  type.def(
      "generate",
      [](const std::shared_ptr<Self>& self, Prompt prompt, std::optional<std::size_t> max_tokens, double temperature, double top_p,
         std::size_t top_k, double min_p, double repetition_penalty, std::optional<std::uint64_t> seed) {
        const Sampling sampling{temperature, top_p, top_k, min_p, repetition_penalty, seed};
        return generate(session_for(self), std::move(prompt), {max_tokens, 0, false, sampling.options()});
      },
      nb::arg("prompt"), nb::kw_only(), nb::arg("max_tokens") = nb::none(), nb::arg("temperature") = 0.6, nb::arg("top_p") = 0.95,
      nb::arg("top_k") = 0, nb::arg("min_p") = 0.0, nb::arg("repetition_penalty") = 1.0, nb::arg("seed") = nb::none(),
      generate_doc.c_str());
}

Piece next_piece(TextStream& stream) {
  while (true) {
    if (PyErr_CheckSignals() != 0) throw nb::python_error();
    std::optional<Piece> piece;
    bool goes_on = true;
    {
      const nb::gil_scoped_release release;
      piece = stream.take();
      if (!piece) goes_on = stream.step(no_signals);
    }
    if (piece) return *std::move(piece);
    if (PyErr_Occurred() != nullptr) throw nb::python_error();
    if (!goes_on) throw nb::stop_iteration();
  }
}

std::optional<std::string> stop_reason(const TextStream& stream) {
  const std::optional<StopReason> reason = stream.stop_reason();
  if (!reason) return std::nullopt;
  switch (*reason) {
    case StopReason::end: return "end";
    case StopReason::length: return "length";
    case StopReason::context: return "context";
  }
  return std::nullopt;
}

FloatArray evaluate(TextSession& session, const Ids& ids, bool all) {
  const std::size_t vocabulary = session.model()->config().vocabulary;
  NewArray out(all ? Shape{ids.size(), vocabulary} : Shape{vocabulary});
  bool is_done = true;
  {
    const nb::gil_scoped_release release;
    float* to = out.data();
    is_done = session.evaluate(ids, all, no_signals, [&](std::span<const float> row) { to = std::copy(row.begin(), row.end(), to); });
  }
  if (!is_done) throw nb::python_error();
  return std::move(out).release();
}

SessionPointer new_session(const std::shared_ptr<LoadedModel>& model, std::optional<std::size_t> context,
                           const std::optional<std::string>& kv_type, std::optional<int> bits) {
  if (context == 0) refuse("context: found 0, expected at least 1");
  if (bits && *bits != 8 && *bits != 16) refuse("bits: found ", *bits, ", expected 8 or 16");
  stilla::SessionOptions options;
  options.context = context.value_or(0);
  if (kv_type) options.kv_type = kv_type_by_name(*kv_type);
  if (bits) options.activations = *bits == 8 ? stilla::ActivationBits::eight : stilla::ActivationBits::sixteen;
  const nb::gil_scoped_release release;
  return std::make_shared<TextSession>(model, options);
}

std::string decode(const TokenizerHandle& tokenizer, const Ids& ids, bool special) {
  stilla::StreamDecoder text;
  const auto control = special ? stilla::ControlText::show : stilla::ControlText::hide;
  return text.push(tokenizer.get().decode(ids, control)) + text.flush();
}

void add_tokenizer(nb::module_& module) {
  nb::class_<TokenizerHandle>(module, "Tokenizer", "Text to token ids and back, as the model was trained. Made by Model.tokenizer.")
      .def(
          "encode",
          [](const TokenizerHandle& t, const std::string& text, bool special) {
            return t.get().encode(text, special ? stilla::SpecialTokens::parse : stilla::SpecialTokens::as_text);
          },
          nb::arg("text"), nb::kw_only(), nb::arg("special") = false,
          "The ids of a text; none is added. special: text such as <|im_end|> is that token; else it is text like any "
          "other.")
      .def("decode", &decode, nb::arg("ids"), nb::kw_only(), nb::arg("special") = false,
           "The text of ids; bytes that are no UTF-8 become U+FFFD. special: control tokens are spelled out; else they "
           "have no text.")
      .def(
          "decode_bytes",
          [](const TokenizerHandle& t, const Ids& ids) {
            const std::string bytes = t.get().decode(ids);
            return nb::bytes(bytes.data(), bytes.size());
          },
          nb::arg("ids"), "The same as bytes, unchanged.")
      .def(
          "find", [](const TokenizerHandle& t, const std::string& text) { return t.get().find(text); }, nb::arg("text"),
          "The id of the token that is exactly this text, or None.")
      .def(
          "ends", [](const TokenizerHandle& t, std::uint32_t id) { return t.get().is_end_of_generation(id); }, nb::arg("id"),
          "Whether a model has nothing more to say behind this token.")
      .def_prop_ro(
          "bos", [](const TokenizerHandle& t) { return t.get().bos(); }, "The id that begins a text, or None.")
      .def_prop_ro(
          "eos", [](const TokenizerHandle& t) { return t.get().eos(); }, "The id that ends a text, or None.")
      .def("__len__", [](const TokenizerHandle& t) { return t.get().size(); });
}

void add_stream(nb::module_& module) {
  nb::class_<Piece>(module, "Piece", "A part of what a model says, whole characters.")
      .def_ro("text", &Piece::text, "The text, never empty.")
      .def_ro("thought", &Piece::thought, "True: part of the model's thinking; False: of its answer.")
      .def("__str__", [](const Piece& p) { return p.text; })
      .def("__repr__", [](const Piece& p) { return nb::str("<stilla.Piece {!r}{}>").format(p.text, p.thought ? ", thought" : ""); });
  nb::class_<TextStream>(module, "Stream",
                         "An iterator over the pieces of a text, each computed when it is asked for. Whoever stops asking stops the "
                         "computation. Ctrl-C is heard between tokens, and within a long prompt.")
      .def(
          "__iter__", [](nb::handle self) { return nb::borrow(self); }, nb::sig("def __iter__(self) -> Stream"))
      .def("__next__", &next_piece)
      .def_prop_ro("stop_reason", &stop_reason, nb::call_guard<nb::gil_scoped_release>(),
                   "None while there may be more; then \"end\": the model ended, \"length\": max_tokens, \"context\": "
                   "the context is full.")
      .def_prop_ro("prompt_tokens", &TextStream::prompt_tokens, "Tokens of the prompt.")
      .def_prop_ro("evaluated_tokens", &TextStream::evaluated_tokens, nb::call_guard<nb::gil_scoped_release>(),
                   "Those of the prompt that were evaluated, because the session did not hold them before.")
      .def_prop_ro("ids", &TextStream::ids, nb::call_guard<nb::gil_scoped_release>(), "The ids written so far.");
}

void add_session(nb::module_& module) {
  nb::class_<TextSession> type(module, "Session",
                               "One text, its keys and values. Each turn evaluates what its prompt does not have in "
                               "common with the text so far. Made by "
                               "Model.session().");
  add_streams(type, "; what the session holds of it is not evaluated again");
  type.def("evaluate", &evaluate, nb::arg("ids"), nb::kw_only(), nb::arg("all") = false,
           "Appends tokens to the text. The logits of what follows the last, float32 [vocabulary]; with `all` of what "
           "follows each, "
           "float32 [len(ids), vocabulary].")
      .def("truncate", &TextSession::truncate, nb::arg("count"), nb::call_guard<nb::gil_scoped_release>(),
           "Forgets the text from position `count` on.")
      .def("fork", &TextSession::fork, nb::call_guard<nb::gil_scoped_release>(),
           "A second session with the same text; what they have in common is in memory once.")
      .def(
          "save",
          [](TextSession& s, nb::handle given) {
            const std::string path = path_of(given);
            const nb::gil_scoped_release release;
            s.save(path);
          },
          nb::arg("path"), nb::sig("def save(self, path: str | os.PathLike) -> None"),
          "Writes the text, its keys and values to a file, which appears whole or not at all.")
      .def(
          "restore",
          [](TextSession& s, nb::handle given) {
            const std::string path = path_of(given);
            expect_path(path, given);
            const nb::gil_scoped_release release;
            s.restore(path);
          },
          nb::arg("path"), nb::sig("def restore(self, path: str | os.PathLike) -> None"),
          "Replaces the text by one that save() wrote, with the same model, version and options.")
      .def_prop_ro("ids", &TextSession::ids, nb::call_guard<nb::gil_scoped_release>(), "The ids of the text that is evaluated.")
      .def_prop_ro("context", &TextSession::context, "The most tokens that the text may have.")
      .def("__len__", [](TextSession& s) { return s.ids().size(); }, nb::call_guard<nb::gil_scoped_release>());
}

}  // namespace

void add_model(nb::module_& module) {
  add_tokenizer(module);
  add_stream(module);
  nb::class_<LoadedModel> type(module, "Model", "A model in memory. Made by load().");
  add_session(module);
  add_streams(type, ", in a session of its own");
  type.def("session", &new_session, nb::kw_only(), nb::arg("context") = nb::none(), nb::arg("kv_type") = nb::none(),
           nb::arg("bits") = nb::none(),
           "A session, which keeps its keys and values from turn to turn. Many may share a model, on many threads.\n\n"
           "context: the most tokens; None: what the model was trained for. Memory grows with the text, not with this.\n"
           "kv_type: of keys and values, \"f32\", \"f16\", \"bf16\", \"int8\" or \"int5\"; None: by the model's size.\n"
           "bits: what inputs of quantised weights are rounded to, 8 or 16; None: by the model's size.")
      .def_prop_ro(
          "tokenizer", [](const std::shared_ptr<LoadedModel>& m) { return TokenizerHandle{m}; }, "Its tokenizer.")
      .def_prop_ro("path", &LoadedModel::path, "The file or folder that it comes from.")
      .def_prop_ro(
          "name", [](const LoadedModel& m) { return m.config().name; }, "The name that the file gives it; may be empty.")
      .def_prop_ro(
          "architecture", [](const LoadedModel& m) { return m.config().architecture; }, "\"qwen2\", say.")
      .def_prop_ro(
          "context", [](const LoadedModel& m) { return m.config().context; }, "Tokens of a text that it was trained for.")
      .def_prop_ro(
          "vocabulary", [](const LoadedModel& m) { return m.config().vocabulary; }, "Logits of a row.")
      .def_prop_ro("threads", &LoadedModel::threads, "Threads that compute.")
      .def_prop_ro("notes", &LoadedModel::notes, "What one should be told of the file, a line each.");
  module.def("load", &load, nb::arg("path"), nb::arg("threads") = nb::none(), nb::kw_only(), nb::arg("chat_template") = nb::none(),
             nb::arg("pretokenizer") = nb::none(),
             nb::sig("def load(path: str | os.PathLike, threads: int | None = None, *, chat_template: str | None = None, "
                     "pretokenizer: "
                     "str | None = None) -> Model"),
             "Loads a model.\n\n"
             "path: a GGUF file, the first of several parts, a file of `stilla pack`, or a folder as Hugging Face has them.\n"
             "threads: that compute; None: as many as this machine computes fastest with.\n"
             "chat_template: a name or the text of a Jinja program, instead of the file's. pretokenizer: a name, instead of "
             "the file's.\n\n"
             "Raises FileNotFoundError for a path that there is nothing at, stilla.Error for a file that is refused.");
}

}  // namespace python
