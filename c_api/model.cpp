// SPDX-License-Identifier: Apache-2.0
//
// The part of the C API for models: files, text, sessions.
#include "common.hpp"

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <stilla/io/gguf.hpp>
#include <stilla/model/forward.hpp>
#include <stilla/model/weights.hpp>
#include <stilla/text/chat_template.hpp>
#include <stilla/text/source_tokenizer.hpp>
#include <stilla/text/tokenizer.hpp>

using namespace c_api;

struct stilla_model {
  stilla::Model model;
  stilla::Tokenizer tokenizer;
  stilla::Result<stilla::ChatTemplate> chat_template;  // an error in it is reported only when a caller asks for a chat prompt
};
struct stilla_session {
  stilla::Session session;
};

stilla_code stilla_model_load(stilla_model** out, const char* path, const stilla_parallel* parallel, stilla_error* error) {
  return guarded(error, [&] {
    if (path == nullptr) return bad_argument(error, "no path of a model");
    auto file = stilla::GgufFile::open(path);
    if (!file) return report(error, file.error());
    auto tokenizer = stilla::read_tokenizer(*file);
    if (!tokenizer) return report(error, tokenizer.error());
    const auto source = file->chat_template();
    auto chat_template = source ? stilla::read_chat_template(*source, file->path()) : stilla::Result<stilla::ChatTemplate>(source.error());
    auto model = stilla::Model::load(*std::move(file), pool(parallel));
    if (!model) return report(error, model.error());
    return hand_out(out, error, *std::move(model), *std::move(tokenizer), std::move(chat_template));
  });
}
void stilla_model_free(stilla_model* model) { delete model; }
size_t stilla_model_vocabulary(const stilla_model* model) { return model->model.config().vocabulary; }
size_t stilla_model_context(const stilla_model* model) { return model->model.config().context; }

namespace {

// Copies items to the caller's memory `out`, at most `room` of them, and sets `count` to the number of all items.
template <class T>
void copy_out(T* out, size_t room, size_t* count, std::span<const T> items) {
  std::copy_n(items.begin(), std::min(room, items.size()), out);
  *count = items.size();
}

}  // namespace

stilla_code stilla_tokenise(const stilla_model* model, uint32_t* ids, size_t room, size_t* count, const char* text, size_t text_bytes,
                            int add_bos, stilla_error* error) {
  return guarded(error, [&] {
    const std::string_view words(text, text_bytes);
    copy_out<std::uint32_t>(ids, room, count,
                            add_bos != 0 ? stilla::encode_prompt(model->tokenizer, words) : model->tokenizer.encode(words));
    return done(error);
  });
}
stilla_code stilla_chat_prompt(const stilla_model* model, uint32_t* ids, size_t room, size_t* count, const char* system, const char* user,
                               stilla_error* error) {
  return guarded(error, [&] {
    if (!model->chat_template) return report(error, model->chat_template.error());
    std::vector<stilla::ChatMessage> messages;
    if (system != nullptr) messages.push_back({stilla::ChatRole::system, system});
    messages.push_back({stilla::ChatRole::user, user});
    const auto prompt = stilla::encode_chat(model->tokenizer, *model->chat_template, messages);
    if (prompt) copy_out<std::uint32_t>(ids, room, count, prompt->ids);
    return report(error, prompt);
  });
}
stilla_code stilla_token_bytes(const stilla_model* model, char* bytes, size_t room, size_t* count, uint32_t token, int show_control,
                               stilla_error* error) {
  return guarded(error, [&] {
    if (token >= model->tokenizer.size()) {
      return bad_argument(error, stilla::concat("token ", token, " of a vocabulary of ", model->tokenizer.size()));
    }
    const std::string text =
        model->tokenizer.decode({&token, 1}, show_control != 0 ? stilla::ControlText::show : stilla::ControlText::hide);
    copy_out<char>(bytes, room, count, text);
    return done(error);
  });
}
int stilla_token_ends(const stilla_model* model, uint32_t token) { return model->tokenizer.is_end_of_generation(token) ? 1 : 0; }

void stilla_session_defaults(stilla_session_options* out) {
  const stilla::SessionOptions o;
  *out = {sizeof *out, o.context, STILLA_KV_DEFAULT, 0, o.batch};
}
stilla_code stilla_session_create(stilla_session** out, const stilla_model* model, const stilla_session_options* options,
                                  const stilla_parallel* parallel, stilla_error* error) {
  return guarded(error, [&] {
    stilla::SessionOptions o;
    if (options != nullptr) {
      const int bits = options->activation_bits;
      if (options->struct_size != sizeof *options)
        return bad_argument(error, "stilla_session_options: struct_size is not that of this version");
      if (options->kv_type < STILLA_KV_DEFAULT || options->kv_type > STILLA_KV_INT5 || (bits != 0 && bits != 8 && bits != 16)) {
        return bad_argument(error, "stilla_session_options: a type of cache or a number of bits that there is not");
      }
      o.context = options->context;
      if (options->kv_type != STILLA_KV_DEFAULT) o.kv_type = static_cast<stilla::KvType>(options->kv_type);
      o.batch = options->batch;
      if (bits != 0) o.activations = bits == 8 ? stilla::ActivationBits::eight : stilla::ActivationBits::sixteen;
    }
    auto session = stilla::Session::create(model->model, o, pool(parallel));
    if (!session) return report(error, session.error());
    return hand_out(out, error, *std::move(session));
  });
}
void stilla_session_free(stilla_session* session) { delete session; }
stilla_code stilla_session_evaluate(stilla_session* session, const uint32_t* ids, size_t count, const float** logits, stilla_error* error) {
  return guarded(error, [&] {
    const std::span<const std::uint32_t> tokens(ids, count);
    if (logits == nullptr) return report(error, session->session.append(tokens));
    const auto row = session->session.evaluate(tokens);
    if (row) *logits = row->data();
    return report(error, row);
  });
}
size_t stilla_session_size(const stilla_session* session) { return session->session.size(); }
size_t stilla_session_context(const stilla_session* session) { return session->session.context(); }
void stilla_session_truncate(stilla_session* session, size_t size) { session->session.truncate(size); }
