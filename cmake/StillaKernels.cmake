# SPDX-License-Identifier: Apache-2.0
#
# stilla::kernels, a static library: the kernels are compiled once, with the build's own flags, and not in every file that calls
# them. This file serves the build. It is also installed beside stillaConfig.cmake, where it serves the programs that use the
# library.
#
# Two lists of types choose what is compiled, for everything that links stilla::stilla: STILLA_FORMATS, for example "Q4_0;F32",
# and STILLA_TARGETS, for example "Avx2;Portable". If a list is empty or not set, all targets are compiled, and the formats that
# config.hpp names.

# stilla_add_kernels(HEADERS FOLDER): makes the library from the sources in FOLDER. HEADERS is the target that stilla::stilla
# names.
function(stilla_add_kernels headers folder)
  foreach(choice STILLA_FORMATS STILLA_TARGETS)
    if(${choice})
      list(JOIN ${choice} "," types)
      target_compile_definitions(${headers} INTERFACE $<BUILD_INTERFACE:${choice}=${types}>)
    endif()
  endforeach()
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
