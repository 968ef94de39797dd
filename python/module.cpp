// SPDX-License-Identifier: Apache-2.0
//
// The extension module stilla._core. Users import it through python/stilla/__init__.py.
#include "module.hpp"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <stilla/base/version.hpp>
#include <stilla/dispatch.hpp>
#include <stilla/format/format.hpp>

#include "errors.hpp"
#include "pool.hpp"

namespace python {

void add_targets(nb::module_& module) {
  module.def(
      "targets",
      [] {
        std::vector<std::string> names;
        stilla::for_each_available_target([&](stilla::TargetId id) { names.emplace_back(id.name); });
        return names;
      },
      "The instruction sets that this machine can run, best first. Results are the same bits on all of them.");
  module.def("target", [] { return std::string(stilla::active_target().name); }, "The instruction set that runs now.");
  module.def(
      "set_target", [](const std::optional<std::string>& name) { check(stilla::force_target(name.value_or(""))); }, nb::arg("name").none(),
      "Chooses one of targets() for the whole process, models included; None: the best.");
  module.def("threads", [] { return op_threads()->size(); }, "The number of threads that the ops compute with.");
  module.def("set_threads", &set_op_threads, nb::arg("threads").none(),
             "Another number of threads for the ops; None: as many as this machine computes fastest with. Models have "
             "threads of "
             "their own, see load().");
  module.def(
      "formats",
      [](bool encodable) {
        std::vector<std::string> names;
        stilla::for_each_type(stilla::Formats{}, [&]<class F>(F) {
          if (!encodable || stilla::EncodableFormat<F>) names.emplace_back(F::name);
        });
        return names;
      },
      nb::kw_only(), nb::arg("encodable") = false, "The weight formats, by name; with `encodable` those that pack() makes of floats.");
}

}  // namespace python

NB_MODULE(_core, module) {
  module.doc() = "Stilla's kernels and models. Import `stilla`.";
#define STILLA_TEXT_(x) #x
#define STILLA_TEXT(x) STILLA_TEXT_(x)
  module.attr("__version__") =
      STILLA_TEXT(STILLA_VERSION_MAJOR) "." STILLA_TEXT(STILLA_VERSION_MINOR) "." STILLA_TEXT(STILLA_VERSION_PATCH);
  python::add_errors(module);
  python::add_targets(module);
  python::add_weights(module);
  python::add_ops(module);
  python::add_attention(module);
  python::add_model(module);
}
