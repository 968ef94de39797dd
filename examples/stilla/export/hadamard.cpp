// SPDX-License-Identifier: Apache-2.0
#include "hadamard.hpp"

#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include <fmt/format.h>

#include <stilla/contract/elementwise.hpp>
#include <stilla/model/rotation.hpp>

#include "../output.hpp"

namespace program {
namespace {

using onnx::ElementType;
using onnx::Graph;
using onnx::integer;

constexpr std::size_t max_run = 4096;  // the matrix of this many rows takes 64 MB as floats

std::size_t run_of(std::size_t width) {
  const std::size_t run = stilla::hadamard_run(width);
  if (run > max_run) {
    fail(exit_refused, fmt::format("--rotate: rows of {} values need a Hadamard matrix of {} x {}; the exported graphs have at most {} "
                                   "x {}",
                                   width, run, run, max_run, max_run));
  }
  return run;
}

// Cuts the rows of x, [B, S, width], into runs as long as the matrix has rows, and multiplies each run by the matrix.
// B is the number of texts, S that of tokens.
std::string add_product(Graph& g, const std::string& x, const std::string& matrix, std::size_t width, const std::string& output) {
  const std::size_t run = stilla::hadamard_run(width);
  if (run == width) return g.add("MatMul", {x, matrix}, output);
  const auto shape = [&](std::size_t columns) { return g.integers(fmt::format("shape.rows_of_{}", columns), {0, -1, integer(columns)}); };
  const std::string runs = g.add("Reshape", {x, shape(run)}, output + ".split");
  const std::string product = g.add("MatMul", {runs, matrix}, output + ".runs");
  return g.add("Reshape", {product, shape(width)}, output);
}

std::string add_signs(Graph& g, const stilla::FastRotation& rotation, const std::string& x, const std::string& output) {
  const std::string signs = g.constant<float>("residual.signs", ElementType::float32, {integer(rotation.width())}, rotation.signs());
  return g.add("Mul", {x, signs}, output);
}

}  // namespace

std::string add_hadamard(Graph& g, ExportModel& model, const std::string& x, std::size_t width, const std::string& output) {
  const std::size_t run = run_of(width);
  const std::string matrix = g.constant({fmt::format("hadamard.{}", run),
                                         ElementType::float32,
                                         {integer(run), integer(run)},
                                         model.matrices().place_hadamard(run, ElementType::float32)});
  return add_product(g, x, matrix, width, output);
}

std::string add_dequantised_hadamard(Graph& g, ExportModel& model, const std::string& x, std::size_t width, const std::string& output) {
  const std::size_t run = run_of(width);
  const std::string name = fmt::format("hadamard.{}", run);
  const std::int8_t zero = 0;
  const std::vector<std::string> inputs{
      g.constant(
          {name + ".levels", ElementType::int8, {integer(run), integer(run)}, model.matrices().place_hadamard(run, ElementType::int8)}),
      g.scalar(name + ".scale", static_cast<float>(1.0 / std::sqrt(static_cast<double>(run)) / Matrices::hadamard_level)),
      g.constant<std::int8_t>(name + ".zero_point", ElementType::int8, {}, std::span(&zero, 1))};
  const std::string matrix = g.add("DequantizeLinear", inputs, output + ".matrix");
  return add_product(g, x, matrix, width, output);
}

std::string add_residual_rotation(Graph& g, ExportModel& model, const std::string& x, const std::string& output) {
  if (!model.config().rotation.residual) return x;
  const stilla::FastRotation rotation = stilla::residual_rotation(model.config());
  return add_hadamard(g, model, add_signs(g, rotation, x, output + ".signed"), rotation.width(), output);
}

std::string add_residual_rotation_back(Graph& g, ExportModel& model, const std::string& x, const std::string& output) {
  if (!model.config().rotation.residual) return x;
  const stilla::FastRotation rotation = stilla::residual_rotation(model.config());
  return add_signs(g, rotation, add_hadamard(g, model, x, rotation.width(), output + ".unsigned"), output);
}

}  // namespace program
