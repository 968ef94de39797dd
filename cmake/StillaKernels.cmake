# SPDX-License-Identifier: Apache-2.0
#
# stilla::kernels, a static library: the kernels compiled once, with the build's own flags, and not in every file that calls
# them. Serves the build and, installed beside stillaConfig.cmake, the consumer.
#
# Two lists of types choose what is compiled, for whatever links stilla::stilla: STILLA_FORMATS, say "Q4_0;F32", and
# STILLA_TARGETS, say "Avx2;Portable". Empty or not set: all targets, and the formats that config.hpp says.

# stilla_add_kernels(HEADERS FOLDER): from the sources in FOLDER. HEADERS is the target that stilla::stilla names.
function(stilla_add_kernels headers folder)
  foreach(choice STILLA_FORMATS STILLA_TARGETS)
    if(${choice})
      list(JOIN ${choice} "," types)
      target_compile_definitions(${headers} INTERFACE $<BUILD_INTERFACE:${choice}=${types}>)
    endif()
  endforeach()
  # The longest first.
  add_library(stilla_kernels STATIC EXCLUDE_FROM_ALL
    "${folder}/matmul.cpp" "${folder}/attention.cpp" "${folder}/pack.cpp" "${folder}/coverage.cpp" "${folder}/devices.cpp"
    "${folder}/rows.cpp")
  add_library(stilla::kernels ALIAS stilla_kernels)
  target_compile_definitions(stilla_kernels PUBLIC STILLA_SEPARATE_KERNELS=1)
  target_link_libraries(stilla_kernels PUBLIC stilla::stilla)
endfunction()
