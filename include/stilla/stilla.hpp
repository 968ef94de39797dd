// SPDX-License-Identifier: Apache-2.0
//
// The whole library, for users who do not want to choose headers. Each header that this one includes also works alone. An engine that
// has its own code for files and text needs at most the first two groups of headers.
//
//   c++ -std=c++20 -O2 -Istilla/include -Istilla/kernels app.cpp
#pragma once

#if !__has_include(<stilla/targets.hpp>)
#error "Stilla has two include folders: beside -I<stilla>/include give -I<stilla>/kernels as well."
#elif !(defined(STILLA_HIGHWAY) && STILLA_HIGHWAY == 0) && !__has_include(<hwy/highway.h>)
#error "Stilla needs Highway's headers (Debian: libhwy-dev), or -DSTILLA_HIGHWAY=0 to do without portable kernels."
#else

// The headers of types, targets and threads.
#include <stilla/base/aligned.hpp>
#include <stilla/base/check.hpp>
#include <stilla/base/config.hpp>
#include <stilla/base/cpu.hpp>
#include <stilla/base/error.hpp>
#include <stilla/base/matrix.hpp>
#include <stilla/base/parallel.hpp>
#include <stilla/base/random.hpp>
#include <stilla/base/target.hpp>
#include <stilla/base/thread_pool.hpp>
#include <stilla/base/types.hpp>
#include <stilla/base/version.hpp>
#include <stilla/coverage.hpp>
#include <stilla/dispatch.hpp>

// The headers of weights and ops.
#include <stilla/activation_buffer.hpp>
#include <stilla/attention.hpp>
#include <stilla/epilogue.hpp>
#include <stilla/experts.hpp>
#include <stilla/format/encode_rows.hpp>
#include <stilla/format/format.hpp>
#include <stilla/format/weight_arrays.hpp>
#include <stilla/fused.hpp>
#include <stilla/head.hpp>
#include <stilla/import_activations.hpp>
#include <stilla/key_bias.hpp>
#include <stilla/kv_cache.hpp>
#include <stilla/layout/pack.hpp>
#include <stilla/matmul.hpp>
#include <stilla/norm.hpp>
#include <stilla/pack.hpp>
#include <stilla/rope.hpp>
#include <stilla/sampling.hpp>
#include <stilla/sampling/lookup.hpp>
#include <stilla/silu_mul.hpp>
#include <stilla/softmax.hpp>

// The headers that read model files.
#include <stilla/io/gguf.hpp>
#include <stilla/io/mapped_file.hpp>
#include <stilla/io/model_source.hpp>
#include <stilla/io/packed_file.hpp>

// The headers that turn text to tokens and back.
#include <stilla/text/chat_template.hpp>
#include <stilla/text/loop_detector.hpp>
#include <stilla/text/reasoning.hpp>
#include <stilla/text/source_tokenizer.hpp>
#include <stilla/text/stream_decoder.hpp>
#include <stilla/text/tokenizer.hpp>

// The headers of the reference forward pass of a model.
#include <stilla/model/config.hpp>
#include <stilla/model/decoder.hpp>
#include <stilla/model/forward.hpp>
#include <stilla/model/required_tensors.hpp>
#include <stilla/model/session_file.hpp>
#include <stilla/model/weights.hpp>

#endif
