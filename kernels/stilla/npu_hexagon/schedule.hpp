// SPDX-License-Identifier: Apache-2.0
//
// Plans how a matrix product goes through VTCM, the DSP's own memory of 4 or 8 MiB. Schedules are computed at compile time, and a
// static_assert below proves that those of the models in r1_layers fit. A step multiplies P panels by the tokens whose columns are
// in VTCM. A pass is all steps of the matrix. VTCM holds:
//
//     VTCM    | columns of all tokens of a pass | weights, 2 x P panels | results, 2 x float [tokens][128 P] |
//
// Panels are loaded while earlier panels are multiplied, so the buffers for weights and results exist twice. A panel has all K
// (panel.hpp), so there are no partial sums to keep. The sums of a sweep, 2 KiB, are on the stack. If the columns of all
// tokens leave no room for two panels, the tokens take several passes, and each pass reads the weights again. All sizes are multiples
// of 128 bytes.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <stilla/npu_hexagon/columns.hpp>
#include <stilla/npu_hexagon/panel.hpp>

#include <stilla/base/push_macros-inl.hpp>

namespace stilla { inline namespace STILLA_ABI { namespace hexagon {

struct MatrixShape {
  const char* name;
  size_t N;
  size_t K;
};
struct ModelShapes {
  const char* name;
  MatrixShape matrices[4];
};

// The shapes of the matrices of a layer, as the models' config.json files give them. Heads have 128 dimensions; all query heads
// together have as many dimensions as the hidden state.
constexpr ModelShapes layer_of(const char* name, size_t hidden, size_t kv_heads, size_t ffn) {
  return {name, {{"q, o", hidden, hidden}, {"k, v", kv_heads * 128, hidden}, {"gate, up", ffn, hidden}, {"down", hidden, ffn}}};
}
inline constexpr ModelShapes r1_layers[] = {layer_of("1.5B", 1536, 2, 8960), layer_of("7B", 3584, 4, 18944),
                                            layer_of("14B", 5120, 8, 13824)};

struct Schedule {
  size_t tokens = 0;         // tokens in a pass
  size_t passes = 0;         // how often all weights are read
  size_t panels = 0;         // panels in a step; 0 if the product does not fit VTCM
  size_t steps = 0;          // steps in a pass
  size_t column_bytes = 0;
  size_t weight_bytes = 0;   // of both buffers together
  size_t result_bytes = 0;   // of both buffers together

  constexpr size_t bytes() const { return column_bytes + weight_bytes + result_bytes; }
};

constexpr size_t whole_vectors(size_t bytes) { return (bytes + vector_bytes - 1) / vector_bytes * vector_bytes; }
constexpr size_t divided_up(size_t a, size_t b) { return (a + b - 1) / b; }

// Returns the schedule in which `tokens` tokens are multiplied by the whole matrix in one pass. Each of its two buffers for weights
// holds `panels` panels.
constexpr Schedule one_step(MatrixShape shape, WeightForm form, npu::Activations activations, size_t tokens, size_t panels) {
  Schedule s;
  s.tokens = tokens;
  s.passes = 1;
  s.panels = panels;
  s.steps = divided_up(panel_count(shape.N), panels);
  s.column_bytes = whole_vectors(columns_bytes(activations, tokens, shape.K));
  s.weight_bytes = 2 * panels * panel_bytes(form, shape.K);
  s.result_bytes = 2 * tokens * panels * panel_rows * sizeof(float);
  return s;
}

// Chooses the schedule of a product of M tokens for `vtcm_bytes` bytes of VTCM. It has the fewest passes that are possible, so that
// the weights are read as seldom as possible. Among schedules with as many passes it has the fewest steps. A step multiplies the
// panels that one buffer holds. All steps have about equal numbers of panels.
constexpr Schedule plan(MatrixShape shape, WeightForm form, npu::Activations activations, size_t M, size_t vtcm_bytes) {
  for (size_t passes = 1; passes <= M; ++passes) {
    const size_t tokens = divided_up(M, passes);
    if (one_step(shape, form, activations, tokens, 1).bytes() > vtcm_bytes) continue;
    const size_t count = panel_count(shape.N);
    size_t panels = 1;
    while (panels < count && one_step(shape, form, activations, tokens, panels + 1).bytes() <= vtcm_bytes) ++panels;
    Schedule s = one_step(shape, form, activations, tokens, divided_up(count, divided_up(count, panels)));
    s.passes = divided_up(M, tokens);
    return s;
  }
  return {};
}

inline constexpr size_t vtcm_sizes[] = {size_t{4} << 20, size_t{8} << 20};
// The numbers of tokens for which schedules are made: one, as when a model generates text, and a window of a prompt, whose tokens are
// computed together.
inline constexpr size_t scheduled_tokens[] = {1, 64};
inline constexpr WeightForm weight_forms[] = {WeightForm::per_channel, WeightForm::lpbq};

// Whether every matrix of every model in r1_layers fits VTCM, with int4 weights per channel and with LPBQ, for one token
// and for a window of 64 tokens. This is computed for activations of int16, which take more memory than int8. With 8 MiB of VTCM, the
// tokens of a window must also fit at once, so that the weights are read only once.
constexpr bool all_fit() {
  for (const ModelShapes& model : r1_layers) {
    for (const MatrixShape& matrix : model.matrices) {
      for (const WeightForm form : weight_forms) {
        for (const size_t M : scheduled_tokens) {
          for (const size_t vtcm : vtcm_sizes) {
            const Schedule s = plan(matrix, form, npu::Activations::int16, M, vtcm);
            if (s.panels == 0 || s.bytes() > vtcm) return false;
            if (s.passes * s.tokens < M || s.steps * s.panels < panel_count(matrix.N)) return false;
            if (vtcm == vtcm_sizes[1] && s.passes != 1) return false;
          }
        }
      }
    }
  }
  return true;
}
static_assert(all_fit());

}}}  // namespace stilla::hexagon

#include <stilla/base/pop_macros-inl.hpp>
