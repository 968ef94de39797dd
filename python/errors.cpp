// SPDX-License-Identifier: Apache-2.0
#include "errors.hpp"

#include <nanobind/stl/string.h>

namespace python {
namespace {

// The exception types live as long as the process, as Python's own do.
PyObject* error_type = nullptr;
PyObject* argument_error_type = nullptr;

PyObject* new_exception(nb::module_& module, const char* name, const char* doc, nb::handle bases) {
  const std::string full_name = nb::cast<std::string>(module.attr("__name__")) + "." + name;
  PyObject* type = PyErr_NewExceptionWithDoc(full_name.c_str(), doc, bases.ptr(), nullptr);
  if (type == nullptr) throw nb::python_error();
  module.attr(name) = nb::borrow(type);
  return type;
}

void translate(const std::exception_ptr& exception, void*) {
  try {
    std::rethrow_exception(exception);
  } catch (const LibraryError& e) {
    PyErr_SetString(e.error.kind == stilla::ErrorKind::bad_argument ? argument_error_type : error_type, e.what());
  }
}

}  // namespace

void add_errors(nb::module_& module) {
  error_type =
      new_exception(module, "Error", "What the library refuses, or the system refused it; the message is one line.", PyExc_RuntimeError);
  argument_error_type = new_exception(module, "ArgumentError", "An argument that cannot be; also a ValueError.",
                                      nb::make_tuple(nb::handle(error_type), nb::handle(PyExc_ValueError)));
  nb::register_exception_translator(translate);
}

}  // namespace python
