// SPDX-License-Identifier: Apache-2.0
//
// A model in the form in which it is published on Hugging Face: a folder with config.json, tokenizer.json, and safetensors in
// BF16, F16 or F32. It is a model source, as a GGUF file is (model_source.hpp). This header is opt-in: it needs nlohmann/json.hpp
// (checked_json.hpp), and stilla.hpp does not include it.
//
//   stilla::Result<stilla::HuggingFaceFolder> folder = stilla::HuggingFaceFolder::open("Qwen2.5-0.5B-Instruct");
//   if (!folder) return report(folder.error());
//   auto model = stilla::Model::load(std::move(*folder), threads, progress, stilla::format_id("q8_0"));
//
// The files of the folder, and the headers that read them:
//
//     config.json                     hugging_face_config.hpp
//     model.safetensors, or model.safetensors.index.json with the shards that it names       safetensors.hpp
//     tokenizer.json, tokenizer_config.json, generation_config.json                          hugging_face_vocabulary.hpp
//     chat_template.jinja             if it is missing, the key chat_template of tokenizer_config.json
//
// Weights are mapped and read where they are; they are copied only when they are packed for the kernels. Their rows are in the
// order of the original release. GGUF's converter changes the rows of Llama's Q and K; the key stilla.rope.half_split says that
// this has not been done.
//
// Every tensor must be one that the model has, and must occur once. model.safetensors.index.json, if it is used, must list all
// tensors, each with the file that it is in.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <stilla/base/error.hpp>
#include <stilla/format/float_formats.hpp>
#include <stilla/format/format.hpp>
#include <stilla/io/checked_json.hpp>
#include <stilla/io/gguf_parser.hpp>
#include <stilla/io/gguf_records.hpp>
#include <stilla/io/hugging_face_chat_template.hpp>
#include <stilla/io/hugging_face_config.hpp>
#include <stilla/io/hugging_face_keys.hpp>
#include <stilla/io/hugging_face_vocabulary.hpp>
#include <stilla/io/mapped_file.hpp>
#include <stilla/io/model_source.hpp>
#include <stilla/io/safetensors.hpp>
#include <stilla/io/text_encoding.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI {

class HuggingFaceFolder final : public ModelSource {
 public:
  static constexpr std::size_t max_shards = 4096;

  static Result<HuggingFaceFolder> open(std::string path, LoadMode mode = LoadMode::map) {
    while (path.size() > 1 && (path.back() == '/' || path.back() == '\\')) path.pop_back();
    HuggingFaceFolder out(std::move(path));
    if (Status s = out.read_texts(); !s) return s.error();
    if (Status s = out.read_weights(mode); !s) return s.error();
    return out;
  }

  const std::string& path() const override { return path_; }
  std::uint64_t size_bytes() const override {
    std::uint64_t bytes = 0;
    for (const SafetensorsFile& file : files_) bytes += file.file().bytes().size();
    return bytes;
  }
  const HuggingFaceConfig& config() const { return *config_; }
  // The safetensors files of the model. TensorInfo::file is the index, in this list, of the file that has the tensor.
  const std::vector<SafetensorsFile>& files() const { return files_; }

  std::size_t tensor_count() const override { return tensors_.size(); }
  const TensorInfo& tensor(std::size_t i) const override { return tensors_[i].info; }
  const TensorInfo* find_tensor(std::string_view name) const override {
    const Tensor* found = find(name);
    return found ? &found->info : nullptr;
  }
  std::span<const std::byte> tensor_bytes(const TensorInfo& tensor) const override {
    if (tensor.file == files_.size()) return std::as_bytes(std::span(config_->rope_factors));
    return files_[tensor.file].file().bytes().subspan(static_cast<std::size_t>(tensor.offset), static_cast<std::size_t>(tensor.size_bytes));
  }
  void read_ahead(const TensorInfo& tensor) const override {
    if (tensor.file < files_.size()) files_[tensor.file].file().read_ahead(tensor.offset, tensor.size_bytes);
  }
  void drop_tensor_pages(const TensorInfo& tensor, std::uint64_t count) const override {
    if (tensor.file < files_.size()) files_[tensor.file].file().drop_pages(tensor.offset, std::min(count, tensor.size_bytes));
  }
  void ask_for_large_pages() const override {
    for (const SafetensorsFile& file : files_) file.file().ask_for_large_pages();
  }
  Status check_lengths() const override {
    for (const SafetensorsFile& file : files_) {
      if (Status s = file.file().check_length(); !s) return s;
    }
    return success();
  }

  std::optional<MetadataValue> find_value(std::string_view key) const override {
    const auto found = config_->entries.find(key);
    if (found == config_->entries.end()) return std::nullopt;
    constexpr std::string_view types[] = {"a boolean", "an integer", "a float", "a string"};
    MetadataValue out{{}, std::string(types[found->second.value.index()])};
    std::visit([&](const auto& value) { out.value = value; }, found->second.value);
    return out;
  }
  Result<GgufRecords> metadata_records() const override;

  Result<Vocabulary> vocabulary() const override { return *vocabulary_; }
  std::size_t token_count() const override { return *vocabulary_ ? (*vocabulary_)->tokens.size() : 0; }
  std::uint64_t token_checksum() const override { return *vocabulary_ ? detail::texts_checksum((*vocabulary_)->tokens) : 0; }
  Result<std::string_view> chat_template() const override { return std::string_view(chat_template_); }
  std::vector<std::string> notes() const override { return notes_; }

  std::string key_place(std::string_view key) const override {
    const auto found = config_->entries.find(key);
    if (found != config_->entries.end()) return concat(file_place(found->second.file), ": key '", printable(found->second.key), "'");
    if (key == "tokenizer.ggml.pre") return concat(file_place("tokenizer.json"), ": key 'pre_tokenizer'");
    const std::string prefix = config_->architecture + ".";
    std::string_view name = key;
    if (name.starts_with(prefix)) name.remove_prefix(prefix.size());
    for (const detail::HuggingFaceKey& known : detail::hugging_face_keys) {
      if (known.gguf == name) name = known.json;
    }
    constexpr std::string_view scaling = "rope.scaling.";
    if (name.starts_with(scaling))
      return concat(file_place("config.json"), ": key 'rope_scaling.", printable(name.substr(scaling.size())), "'");
    return concat(file_place("config.json"), ": key '", printable(name), "'");
  }
  std::string tensor_place(std::string_view name) const override {
    const Tensor* found = find(name);
    if (found != nullptr && found->info.file == files_.size()) return concat(file_place("config.json"), ": key '", config_->rope_key, "'");
    const std::string& file = found ? files_[found->info.file].path() : weights_path_;
    return concat(printable_path(file), ": tensor '", printable(found ? std::string_view(found->original) : hugging_face_tensor_name(name)),
                  "'");
  }
  std::string vocabulary_place() const override { return file_place("tokenizer.json"); }
  std::string supported_types_text() const override { return "BF16, F16, F32"; }

 private:
  struct Tensor {
    std::string name;      // the tensor's name in GGUF
    std::string original;  // the tensor's name in its file
    TensorInfo info;       // its name is a view of `name`
  };

  explicit HuggingFaceFolder(std::string path) : path_(std::move(path)) {}

  std::string in_folder(std::string_view file) const { return concat(path_, "/", file); }
  std::string file_place(std::string_view file) const { return printable_path(in_folder(file)); }
  template <class... Parts>
  static Error refuse(const Parts&... parts) {
    return {ErrorKind::refused_file, concat(parts...)};
  }

  // Opens a file of the folder. The result is empty if there is no such file. If the file exists and cannot be opened, this is an error.
  Result<std::optional<MappedFile>> open_if_there(std::string_view file) const {
    const std::string path = in_folder(file);
    Result<MappedFile> mapped = MappedFile::open(path);
    if (mapped) return std::optional<MappedFile>(std::move(*mapped));
    if (is_missing(path)) return std::optional<MappedFile>();
    return mapped.error();
  }
  // Parses a JSON file of the folder, which holds an object, into `out`. Leaves `out` null if there is no such file. It is an error if
  // the file cannot be read.
  Status read_json(std::string_view file, const JsonLimits& limits, std::unique_ptr<nlohmann::json>& out) const {
    const Result<std::optional<MappedFile>> mapped = open_if_there(file);
    if (!mapped) return mapped.error();
    if (!*mapped) return success();
    Result<nlohmann::json> json = parse_json((*mapped)->bytes(), file_place(file), limits);
    if (!json) return json.error();
    if (!json->is_object()) return refuse(file_place(file), ": found ", json_type_text(*json), "; expected an object");
    out = std::make_unique<nlohmann::json>(std::move(*json));
    return success();
  }

  Status read_texts() {
    constexpr JsonLimits small;
    std::unique_ptr<nlohmann::json> config_json, tokenizer_config, generation_config;
    if (Status s = read_json("config.json", small, config_json); !s) return s;
    const bool has_adapter = !is_missing(in_folder("adapter_config.json"));
    if (!config_json && has_adapter) {
      return refuse(printable_path(path_),
                    ": holds an adapter (LoRA: adapter_config.json) and no model; expected the model with the adapter merged into it");
    }
    if (!config_json) {
      return refuse(printable_path(path_), ": is a folder without a config.json; expected a model as Hugging Face has it, ",
                    "or the name of a GGUF file");
    }
    Result<HuggingFaceConfig> config = read_hugging_face_config(*config_json, file_place("config.json"));
    if (!config) return config.error();
    config_ = std::make_unique<HuggingFaceConfig>(std::move(*config));
    if (config_->layers == 0) {
      return refuse(file_place("config.json"), ": key 'num_hidden_layers' is missing; expected an unsigned integer",
                    find_member(*config_json, "text_config") ? ". What stands in 'text_config' is not read" : "");
    }
    notes_ = config_->notes;
    if (has_adapter) notes_.push_back(concat(file_place("adapter_config.json"), ": an adapter beside a model is not used"));
    const std::size_t slash = path_.find_last_of("/\\");
    const std::string name = path_.substr(slash == std::string::npos ? 0 : slash + 1);
    if (!name.empty() && name != "." && name != "..") config_->entries["general.name"] = {name, "config.json", "_name_or_path"};
    std::optional<HuggingFaceTokenizer> tokenizer;
    const Result<std::optional<MappedFile>> tokenizer_file = open_if_there("tokenizer.json");
    if (!tokenizer_file) return tokenizer_file.error();
    if (*tokenizer_file) {
      Result<HuggingFaceTokenizer> parsed = parse_hugging_face_tokenizer((*tokenizer_file)->bytes(), file_place("tokenizer.json"));
      if (!parsed) return parsed.error();
      tokenizer = std::move(*parsed);
    }
    if (Status s = read_json("tokenizer_config.json", {std::uint64_t{1} << 24, std::uint64_t{1} << 20}, tokenizer_config); !s) return s;
    if (Status s = read_json("generation_config.json", small, generation_config); !s) return s;
    if (generation_config) {
      if (auto note = unused_generation_keys(*generation_config, file_place("generation_config.json"))) notes_.push_back(std::move(*note));
    }
    const HuggingFaceTexts texts{printable_path(path_), tokenizer ? &*tokenizer : nullptr, tokenizer_config.get(), generation_config.get(),
                                 config_json.get()};
    vocabulary_ = std::make_unique<Result<Vocabulary>>(read_vocabulary(texts));
    return read_chat_template(texts);
  }

  Result<Vocabulary> read_vocabulary(const HuggingFaceTexts& texts) const {
    Result<Vocabulary> out = read_hugging_face_vocabulary(texts);
    if (out && config_->rows && out->tokens.size() > *config_->rows) {
      return Error{ErrorKind::refused_file,
                   concat(file_place("tokenizer.json"), ": has ", out->tokens.size(), " tokens, and config.json's vocab_size is ",
                          *config_->rows, ": they are of different models, or a token was added without a row in the embedding")};
    }
    return out;
  }

  // Reads chat_template.jinja, or the template in tokenizer_config.json if there is no such file.
  Status read_chat_template(const HuggingFaceTexts& texts) {
    constexpr std::uint64_t most = JsonLimits{}.bytes;
    const Result<std::optional<MappedFile>> jinja = open_if_there("chat_template.jinja");
    if (!jinja) return jinja.error();
    if (*jinja) {
      const std::span<const std::byte> bytes = (*jinja)->bytes();
      if (bytes.size() > most) {
        return refuse(file_place("chat_template.jinja"), ": has ", bytes.size(), " bytes; expected at most ", most);
      }
      Result<std::string> text = utf8_text({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, file_place("chat_template.jinja"));
      if (!text) return text.error();
      chat_template_ = std::move(*text);
      return success();
    }
    Result<std::string> text = read_hugging_face_chat_template(texts);
    if (!text) return text.error();
    chat_template_ = std::move(*text);
    return success();
  }

  // Reads model.safetensors, or the shards that model.safetensors.index.json names.
  Status read_weights(LoadMode mode) {
    std::unique_ptr<nlohmann::json> index;
    weights_path_ = in_folder("model.safetensors");
    std::vector<std::string> names{"model.safetensors"};
    const nlohmann::json* map = nullptr;
    if (is_missing(weights_path_)) {
      if (Status s = read_json("model.safetensors.index.json", {std::uint64_t{1} << 25, std::uint64_t{1} << 20}, index); !s) return s;
      if (!index) return no_weights();
      weights_path_ = in_folder("model.safetensors.index.json");
      if (Status s = read_shard_names(*index, map, names); !s) return s;
    }
    for (const std::string& name : names) {
      Result<SafetensorsFile> file = SafetensorsFile::open(in_folder(name), mode);
      if (!file && map != nullptr && is_missing(in_folder(name))) {
        return refuse(file_place(name), ": cannot be opened; model.safetensors.index.json names this file as a part of the model");
      }
      if (!file) return file.error();
      files_.push_back(std::move(*file));
    }
    for (std::size_t i = 0; i < files_.size(); ++i) {
      for (const SafetensorsTensor& tensor : files_[i].tensors()) {
        if (map != nullptr) {
          const std::string* where = text_of(find_member(*map, tensor.name));
          if (where == nullptr || *where != names[i]) {
            return refuse(printable_path(files_[i].path()), ": tensor '", printable(tensor.name), "' is not expected in this file: ",
                          where ? concat("model.safetensors.index.json has it in ", printable(*where))
                                : "model.safetensors.index.json does not have it");
          }
        }
        if (Status s = add_tensor(tensor, i); !s) return s;
      }
    }
    if (map != nullptr) {
      if (Status s = check_index(*map, names); !s) return s;
    }
    add_rope_factors();
    if (config_->ties_embeddings == true) drop_equal_head();
    if (has_unasked_biases_) {
      notes_.push_back(concat(printable_path(weights_path_), ": has biases that config.json does not ask for (attention_bias, mlp_bias); ",
                              "they are used, as in a GGUF file of this model; the library transformers ignores them"));
    }
    if (Status s = index_tensors(); !s) return s;
    if (Status s = check_biases(); !s) return s;
    return check_head();
  }

  Error no_weights() const {
    for (const std::string_view other : {"pytorch_model.bin", "pytorch_model.bin.index.json"}) {
      if (!is_missing(in_folder(other))) {
        return refuse(file_place(other),
                      ": weights in Python's pickle format are not read; expected model.safetensors, as "
                      "AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(FOLDER) writes it");
      }
    }
    return refuse(printable_path(path_),
                  ": has neither model.safetensors nor model.safetensors.index.json; expected one of them, or the name of a GGUF file");
  }

  Status read_shard_names(const nlohmann::json& index, const nlohmann::json*& map, std::vector<std::string>& names) const {
    map = find_member(index, "weight_map");
    const auto refuse_index = [&](const auto&... parts) { return refuse(printable_path(weights_path_), ": key 'weight_map': ", parts...); };
    if (map == nullptr || !map->is_object()) return refuse_index(json_found_text(map), "; expected an object of tensors and their files");
    if (map->empty()) return refuse_index("found an empty object; expected tensors and their files");
    names.clear();
    for (const auto& [tensor, file] : map->get_ref<const nlohmann::json::object_t&>()) {
      const std::string* name = text_of(&file);
      const bool is_plain = name != nullptr && name->size() <= 255 && name->ends_with(".safetensors") &&
                            name->find_first_of(std::string_view("/\\:\0", 4)) == std::string::npos;
      if (!is_plain) {
        return refuse_index("tensor '", printable(tensor), "': found ",
                            name ? concat("'", printable(*name), "'") : std::string(json_type_text(file)),
                            "; expected the name of a .safetensors file in this folder");
      }
      names.push_back(*name);
    }
    std::sort(names.begin(), names.end());
    names.erase(std::unique(names.begin(), names.end()), names.end());
    if (names.size() > max_shards) return refuse_index("found ", names.size(), " files; expected at most ", max_shards);
    return success();
  }

  // Checks that every tensor that model.safetensors.index.json lists is in its file. That the files have no other tensors was
  // checked before.
  Status check_index(const nlohmann::json& map, const std::vector<std::string>& names) const {
    std::size_t present = 0;
    for (const SafetensorsFile& file : files_) present += file.tensors().size();
    if (present == map.size()) return success();
    std::vector<std::pair<std::size_t, std::string_view>> found;  // each tensor's file and name
    found.reserve(present);
    for (std::size_t i = 0; i < files_.size(); ++i) {
      for (const SafetensorsTensor& tensor : files_[i].tensors()) found.emplace_back(i, tensor.name);
    }
    std::sort(found.begin(), found.end());
    for (const auto& [tensor, name] : map.get_ref<const nlohmann::json::object_t&>()) {
      const auto i = static_cast<std::size_t>(std::lower_bound(names.begin(), names.end(), *text_of(&name)) - names.begin());
      if (!std::binary_search(found.begin(), found.end(), std::pair(i, std::string_view(tensor)))) {
        return refuse(printable_path(files_[i].path()), ": tensor '", printable(tensor),
                      "' is missing; model.safetensors.index.json has it in this file");
      }
    }
    return success();
  }

  Status add_tensor(const SafetensorsTensor& tensor, std::size_t file) {
    const auto refuse_tensor = [&](const auto&... parts) {
      return refuse(printable_path(files_[file].path()), ": tensor '", printable(tensor.name), "': ", parts...);
    };
    if (tensor.name.ends_with(".rotary_emb.inv_freq")) return success();  // its values are computed from the configuration
    const std::string name = gguf_tensor_name(tensor.name);
    const auto layer = detail::split_layer_name(name, "blk.");
    if (name.empty() || (layer && layer->layer >= config_->layers)) {
      return refuse_tensor("a ", config_->architecture, " model of ", config_->layers, " layers has no tensor of this name");
    }
    if (name.ends_with(".bias") && config_->architecture != "qwen2" &&
        !(name.find(".ffn_") != std::string::npos ? config_->mlp_bias : config_->attention_bias)) {
      has_unasked_biases_ = true;
    }
    if (tensor.shape.size() > 4) return refuse_tensor("found ", tensor.shape.size(), " dimensions; expected at most 4");
    TensorInfo info{{},
                    {1, 1, 1, 1},
                    static_cast<std::uint32_t>(tensor.shape.size()),
                    no_format,
                    tensor.dtype,
                    tensor.size_bytes,
                    tensor.offset,
                    false,
                    static_cast<std::uint32_t>(file)};
    std::copy(tensor.shape.rbegin(), tensor.shape.rend(), info.dims.begin());
    if (tensor.size_bytes == 0)
      return refuse_tensor("shape ", detail::shape_text(info.dims, info.n_dims), "; expected no dimension to be 0");
    if (tensor.dtype == "F32") info.format = id_of<F32>;
    if (tensor.dtype == "F16") info.format = id_of<F16>;
    if (tensor.dtype == "BF16") info.format = id_of<BF16>;
    if (name == "token_embd.weight" && config_->rows && info.dims[1] != *config_->rows) {
      return refuse_tensor("has ", info.dims[1], " rows, and config.json's vocab_size is ", *config_->rows, "; expected the same number");
    }
    tensors_.push_back({name, tensor.name, info});
    return success();
  }

  // If config.json asks for Llama 3's long-context scaling, adds the divisors of the angles of RoPE
  // (HuggingFaceConfig::rope_factors) as the tensor rope_freqs.weight, because GGUF files have them as this tensor.
  void add_rope_factors() {
    const std::vector<float>& factors = config_->rope_factors;
    if (factors.empty()) return;
    tensors_.push_back({"rope_freqs.weight",
                        "rope_freqs.weight",
                        {{},
                         {factors.size(), 1, 1, 1},
                         1,
                         id_of<F32>,
                         "F32",
                         factors.size() * sizeof(float),
                         0,
                         false,
                         static_cast<std::uint32_t>(files_.size())}});
  }

  // Is called if config.json says that the embedding is also the head. If the folder has a separate head with the same bytes, the function
  // drops it. A head that differs is used, as the library transformers does since version 5; earlier versions used the embedding.
  void drop_equal_head() {
    const auto named = [&](std::string_view name) {
      return std::find_if(tensors_.begin(), tensors_.end(), [&](const Tensor& tensor) { return tensor.name == name; });
    };
    const auto head = named("output.weight"), embedding = named("token_embd.weight");
    if (head == tensors_.end() || embedding == tensors_.end()) return;
    const std::span<const std::byte> a = tensor_bytes(head->info), b = tensor_bytes(embedding->info);
    if (head->info.type_name == embedding->info.type_name && a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size()) == 0) {
      tensors_.erase(head);
      return;
    }
    notes_.push_back(concat(printable_path(files_[head->info.file].path()), ": tensor '", head->original,
                            "' is not the embedding, so it is used as the head, although config.json's tie_word_embeddings is true"));
  }

  Status index_tensors() {
    for (Tensor& tensor : tensors_) tensor.info.name = tensor.name;
    const std::optional<detail::SameName> twice = detail::sort_by_name(tensors_, by_name_);
    if (!twice) return success();
    const Tensor &first = tensors_[twice->first], &second = tensors_[twice->second];
    return refuse(printable_path(files_[second.info.file].path()), ": tensor '", printable(second.original),
                  "': found a second time; the first is in ", printable_path(files_[first.info.file].path()));
  }

  // Checks that all biases are there that config.json asks for. Qwen2 has the same biases whatever config.json says.
  Status check_biases() const {
    constexpr std::string_view attention[] = {"attn_q", "attn_k", "attn_v", "attn_output"}, mlp[] = {"ffn_gate", "ffn_up", "ffn_down"};
    struct Asked {
      bool is_set;
      std::string_view key;
      std::span<const std::string_view> parts;
    };
    const Asked both[] = {{config_->attention_bias && config_->architecture != "qwen2", "attention_bias", attention},
                          {config_->mlp_bias && config_->architecture == "llama", "mlp_bias", mlp}};
    for (const Asked& asked : both) {
      for (std::uint64_t layer = 0; asked.is_set && layer < config_->layers; ++layer) {
        for (const std::string_view part : asked.parts) {
          const std::string name = concat("blk.", layer, ".", part, ".bias");
          if (find(name) == nullptr) return refuse(tensor_place(name), " is missing, and config.json's ", asked.key, " is true");
        }
      }
    }
    return success();
  }

  Status check_head() {
    if (find("output.weight") != nullptr) return success();
    if (!config_->ties_embeddings) {
      notes_.push_back(concat(printable_path(weights_path_), ": has no lm_head.weight, and config.json has no tie_word_embeddings; the ",
                              "embedding is the head, as in a GGUF file of this model"));
    }
    if (config_->ties_embeddings != false) return success();
    return refuse(tensor_place("output.weight"), " is missing, and config.json's tie_word_embeddings is false");
  }

  const Tensor* find(std::string_view name) const { return detail::find_by_name(tensors_, by_name_, name); }

  std::string path_;
  std::string weights_path_;  // for messages about a tensor that is missing
  std::unique_ptr<HuggingFaceConfig> config_;  // on the heap, so that views of it stay valid when the HuggingFaceFolder is moved
  std::unique_ptr<Result<Vocabulary>> vocabulary_;  // not null once the folder is open; may hold an error, which vocabulary() returns
  std::string chat_template_;
  std::vector<std::string> notes_;
  bool has_unasked_biases_ = false;
  std::vector<SafetensorsFile> files_;
  std::vector<Tensor> tensors_;
  std::vector<std::uint32_t> by_name_;  // positions in tensors_
};

inline Result<GgufRecords> HuggingFaceFolder::metadata_records() const {
  const Result<Vocabulary> vocabulary = this->vocabulary();
  if (!vocabulary) return vocabulary.error();
  if (!vocabulary->unknown_pretokenizer.empty()) return key_error("tokenizer.ggml.pre", vocabulary->unknown_pretokenizer);
  GgufRecords out;
  for (const auto& [name, entry] : config_->entries) {
    if (const auto* number = std::get_if<std::uint64_t>(&entry.value)) {
      if (*number > std::numeric_limits<std::uint32_t>::max()) return key_error(name, "found ", *number, "; expected at most 4294967295");
      out.number(name, static_cast<std::uint32_t>(*number));
    } else if (const auto* real = std::get_if<double>(&entry.value)) {
      out.number(name, static_cast<float>(*real));
    } else if (const auto* text = std::get_if<std::string>(&entry.value)) {
      out.text(name, *text);
    } else {
      out.boolean(name, std::get<bool>(entry.value));
    }
  }
  out.text("tokenizer.ggml.model", "gpt2");
  out.text("tokenizer.ggml.pre", vocabulary->pretokenizer);
  out.texts("tokenizer.ggml.tokens", vocabulary->tokens);
  std::vector<std::int32_t> types;
  for (const TokenType type : vocabulary->types) types.push_back(static_cast<std::int32_t>(type));
  out.numbers("tokenizer.ggml.token_type", std::span<const std::int32_t>(types));
  out.texts("tokenizer.ggml.merges", vocabulary->merges);
  const std::pair<std::string_view, std::optional<std::uint32_t>> ids[] = {{"tokenizer.ggml.bos_token_id", vocabulary->bos},
                                                                           {"tokenizer.ggml.eos_token_id", vocabulary->eos},
                                                                           {"tokenizer.ggml.eot_token_id", vocabulary->eot},
                                                                           {"tokenizer.ggml.padding_token_id", vocabulary->padding},
                                                                           {"tokenizer.ggml.unknown_token_id", vocabulary->unknown}};
  for (const auto& [name, id] : ids) {
    if (id) out.number(name, *id);
  }
  if (!vocabulary->ends.empty()) out.numbers(end_ids_key, std::span<const std::uint32_t>(vocabulary->ends));
  out.boolean(nfc_key, vocabulary->nfc == true);
  out.boolean("tokenizer.ggml.add_bos_token", vocabulary->add_bos);
  if (!chat_template_.empty()) out.text("tokenizer.chat_template", chat_template_);
  return out;
}

}}  // namespace stilla

#include <stilla/base/pop_macros-inl.hpp>
