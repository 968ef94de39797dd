// SPDX-License-Identifier: Apache-2.0
//
// The parts of the extension module stilla._core. Each function adds one part to the module.
#pragma once

#include <nanobind/nanobind.h>

namespace python {

void add_targets(nanobind::module_& module);    // targets, threads, formats
void add_weights(nanobind::module_& module);    // PackedMatrix, pack, matmul
void add_ops(nanobind::module_& module);        // norms, RoPE, SwiGLU, softmax
void add_attention(nanobind::module_& module);  // KvCache, attention
void add_model(nanobind::module_& module);      // load, Model, Session, Stream, Tokenizer

}  // namespace python
