// SPDX-License-Identifier: Apache-2.0
//
// Prints how each matrix of the R1 distills would go through the memory of a Hexagon DSP
// (kernels/stilla/npu_hexagon/schedule.hpp). The table is computed and checked at compile time; nothing runs on a DSP.
#include <stilla/npu_hexagon/schedule.hpp>

#include <cstdio>

int main() {
  using namespace stilla;
  std::puts("Weights LPBQ, tokens int16. Bytes in KiB; weights and results are there twice.\n");
  std::puts("| VTCM | model | matrix | N x K | tokens | passes | panels a step | steps | columns | weights | results | in all |");
  std::puts("|---|---|---|---|---|---|---|---|---|---|---|---|");
  for (const std::size_t vtcm : hexagon::vtcm_sizes) {
    for (const hexagon::ModelShapes& model : hexagon::r1_layers) {
      for (const hexagon::MatrixShape& matrix : model.matrices) {
        for (const std::size_t M : hexagon::scheduled_tokens) {
          const hexagon::Schedule s = hexagon::plan(matrix, hexagon::WeightForm::lpbq, npu::Activations::int16, M, vtcm);
          const auto kib = [](std::size_t bytes) { return static_cast<double>(bytes) / 1024; };
          std::printf("| %zu MiB | %s | %s | %zu x %zu | %zu | %zu | %zu | %zu | %.1f | %.1f | %.1f | %.0f %% |\n", vtcm >> 20, model.name,
                      matrix.name, matrix.N, matrix.K, M, s.passes, s.panels, s.steps, kib(s.column_bytes), kib(s.weight_bytes),
                      kib(s.result_bytes), 100.0 * kib(s.bytes()) / kib(vtcm));
        }
      }
    }
  }
}
