# SPDX-License-Identifier: Apache-2.0
#
# stilla::kernels, a static library: the kernels are compiled once, with the build's own flags, and not in every file that calls
# them. This file serves the build. It is also installed beside stillaConfig.cmake, where it serves the programs that use the
# library.
#
# Two lists of types choose what is compiled, for everything that links stilla::stilla: STILLA_FORMATS, for example "Q4_0;F32",
# and STILLA_TARGETS, for example "Avx2;Portable". If a list is empty or not set, all targets are compiled, and the formats that
# config.hpp names. If STILLA_ONEDNN is ON, the device onednn is compiled too.

# oneDNN 2.6 or later, for the device onednn and for the benchmark that compares with it: stilla::onednn if it is installed (Debian:
# libdnnl-dev; PyPI: onednn-devel-cpu-gomp, with CMAKE_PREFIX_PATH set to the virtual environment). It is never fetched. Its own CMake
# package is not used, because that of Debian ends the configuration with an error where OpenCL is not installed.
function(stilla_want_onednn)
  find_path(DNNL_INCLUDE_DIR oneapi/dnnl/dnnl.hpp)
  find_library(DNNL_LIBRARY dnnl)
  mark_as_advanced(DNNL_INCLUDE_DIR DNNL_LIBRARY)
  if(DNNL_INCLUDE_DIR AND DNNL_LIBRARY AND NOT TARGET stilla::onednn)
    add_library(stilla::onednn UNKNOWN IMPORTED GLOBAL)
    set_target_properties(stilla::onednn PROPERTIES
      IMPORTED_LOCATION "${DNNL_LIBRARY}" INTERFACE_INCLUDE_DIRECTORIES "${DNNL_INCLUDE_DIR}")
  endif()
endfunction()

# stilla_add_kernels(HEADERS FOLDER): makes the library from the sources in FOLDER. HEADERS is the target that stilla::stilla
# names.
function(stilla_add_kernels headers folder)
  foreach(choice STILLA_FORMATS STILLA_TARGETS)
    if(${choice})
      list(JOIN ${choice} "," types)
      target_compile_definitions(${headers} INTERFACE $<BUILD_INTERFACE:${choice}=${types}>)
    endif()
  endforeach()
  if(STILLA_ONEDNN)
    stilla_want_onednn()
    if(NOT TARGET stilla::onednn)
      message(FATAL_ERROR "STILLA_ONEDNN is ON and oneDNN was not found. Debian has it as libdnnl-dev.")
    endif()
    target_compile_definitions(${headers} INTERFACE $<BUILD_INTERFACE:STILLA_ONEDNN=1>)
    target_link_libraries(${headers} INTERFACE $<BUILD_INTERFACE:stilla::onednn>)
  endif()
  # The sources that take longest to compile come first.
  add_library(stilla_kernels STATIC EXCLUDE_FROM_ALL
    "${folder}/matmul.cpp" "${folder}/attention.cpp" "${folder}/pack.cpp" "${folder}/coverage.cpp" "${folder}/devices.cpp"
    "${folder}/rows.cpp")
  add_library(stilla::kernels ALIAS stilla_kernels)
  target_compile_definitions(stilla_kernels PUBLIC STILLA_SEPARATE_KERNELS=1)
  target_link_libraries(stilla_kernels PUBLIC stilla::stilla)
  if(MSVC)
    # The headers need /Zc:preprocessor (base/config.hpp). The objects have more sections than an object file holds without /bigobj.
    target_compile_options(stilla_kernels PRIVATE /Zc:preprocessor /bigobj)
  endif()
endfunction()
