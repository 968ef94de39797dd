# SPDX-License-Identifier: Apache-2.0
#
# Helpers of tests, examples and benchmarks. Programs that use the library get nothing of this.
find_package(Threads REQUIRED)

# The library is included as an ordinary header and not as a system header, so its own warnings show.
# Microsoft's compiler and clang-cl (MSVC) have options of their own. The sources are UTF-8, and kernels and tests have more sections
# than an object file holds without /bigobj.
add_library(stilla_warnings INTERFACE)
if(MSVC)
  target_compile_options(stilla_warnings INTERFACE /W4 /permissive- /Zc:preprocessor /utf-8 /bigobj $<$<BOOL:${STILLA_WERROR}>:/WX>)
  set(stilla_unoptimised /Od)
else()
  target_compile_options(stilla_warnings INTERFACE
    -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow
    $<$<BOOL:${STILLA_WERROR}>:-Werror>)
  set(stilla_unoptimised -O0)
endif()

# All programs here use the compiled kernels, except those that show or test the library as headers alone.
target_link_libraries(stilla_kernels PRIVATE stilla_warnings)
if(CMAKE_CXX_FLAGS MATCHES "-O0.*-fsanitize")  # the preset asan: tests spend most of their time in kernels
  target_compile_options(stilla_kernels PRIVATE -O1)
  # In the preset asan-few, attention compiles with -O0 in 13 s instead of 76 (clang 14), and the tests run little of it.
  if(STILLA_FORMATS)
    set_source_files_properties("${PROJECT_SOURCE_DIR}/kernels/compiled/attention.cpp" PROPERTIES COMPILE_OPTIONS -O0)
  endif()
endif()

# stilla_test_program(NAME SOURCE...): builds a test program, as one test of ctest.
function(stilla_test_program name)
  add_executable(${name} ${ARGN})
  target_link_libraries(${name} PRIVATE stilla_test_paths stilla_kernels stilla_warnings GTest::gtest_main Threads::Threads)
  add_test(NAME ${name} COMMAND ${name})
endfunction()

# stilla_test(NAME [SOURCE...]): builds the test program tests/NAME.cpp, with the SOURCEs that it needs.
function(stilla_test name)
  stilla_test_program(${name} ${name}.cpp ${ARGN})
endfunction()

# stilla_tests(NAME TEST...): builds one test program from the files tests/TEST.cpp, as one test of ctest. The files are compiled
# as one. For tests of whole models and of readers this takes a quarter of the time, because each file by itself would compile the
# forward pass or the readers again. Names of different files must therefore differ, also in anonymous namespaces. A local name may
# be the same as another file's, so -Wshadow is off.
function(stilla_tests name)
  list(TRANSFORM ARGN APPEND .cpp OUTPUT_VARIABLE sources)
  stilla_test_program(${name} ${sources})
  set_target_properties(${name} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 0
    UNITY_BUILD_CODE_BEFORE_INCLUDE "#pragma GCC diagnostic ignored \"-Wshadow\"")
endfunction()

# stilla_halved_test(NAME [SOURCE...]): splits the cases into two tests of ctest, which are begun first. Otherwise one core would
# be idle while the longest test ends. Each half runs under a name of its own, because GoogleTest names its report after the
# program.
function(stilla_halved_test name)
  stilla_test(${name} ${ARGN})
  set_tests_properties(${name} PROPERTIES
    COST 1000 ENVIRONMENT "GTEST_TOTAL_SHARDS=2;GTEST_SHARD_INDEX=0")
  add_custom_command(TARGET ${name} POST_BUILD VERBATIM
    COMMAND "${CMAKE_COMMAND}" -E copy $<TARGET_FILE:${name}> ${name}_2${CMAKE_EXECUTABLE_SUFFIX})
  add_test(NAME ${name}_2 COMMAND ${CMAKE_CROSSCOMPILING_EMULATOR} "${CMAKE_CURRENT_BINARY_DIR}/${name}_2${CMAKE_EXECUTABLE_SUFFIX}")
  set_tests_properties(${name}_2 PROPERTIES
    COST 1000 ENVIRONMENT "GTEST_TOTAL_SHARDS=2;GTEST_SHARD_INDEX=1")
endfunction()

# stilla_threaded_tests(NAME...): these tests also run under the thread sanitizer. They have the label `threads`, and the target
# threaded_tests builds them.
function(stilla_threaded_tests)
  set_tests_properties(${ARGN} PROPERTIES LABELS threads)
  if(CMAKE_CXX_FLAGS MATCHES "-fsanitize=thread")  # the many other cases of these tests have one thread
    set_tests_properties(attention_test matmul_test matmul_superblock_test PROPERTIES
      ENVIRONMENT "GTEST_FILTER=*ThreadsDoNotMatter*:*ChunksTogetherDoNotMatter*")
  endif()
  add_custom_target(threaded_tests DEPENDS ${ARGN})
endfunction()

# stilla_program(NAME [SOURCES FILE...] [LIBRARIES LIBRARY...]): builds a program into bin, from NAME.cpp unless SOURCES names
# other files. Its target is called NAME too. Only the target of the program `stilla` is called stilla_program, because the
# library has the name stilla.
function(stilla_program name)
  cmake_parse_arguments(PARSE_ARGV 1 program "" "" "SOURCES;LIBRARIES")
  if(NOT program_SOURCES)
    set(program_SOURCES ${name}.cpp)
  endif()
  set(target ${name})
  if(TARGET ${name})
    set(target ${name}_program)
  endif()
  add_executable(${target} ${program_SOURCES})
  target_link_libraries(${target} PRIVATE stilla_kernels stilla_warnings Threads::Threads ${program_LIBRARIES})
  set_target_properties(${target} PROPERTIES
    OUTPUT_NAME ${name}
    RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/bin")
endfunction()

# stilla_headers_alone(): compiles every header as the only include of a file, and twice, with warnings as errors if STILLA_WERROR
# asks for that. The headers of the ops are part of the default build; the target inner_headers_alone has the headers in folders and
# the kernels. The -inl.hpp files are left out, because they are pieces that Highway includes. Kernels are separate and nothing is
# optimised, because the compiler only has to read the headers.
function(stilla_headers_alone)
  set(ops ${STILLA_PUBLIC_HEADERS})
  list(FILTER ops INCLUDE REGEX "^include/stilla/[^/]*$")
  set(inner ${STILLA_PUBLIC_HEADERS} ${STILLA_KERNEL_HEADERS})
  list(REMOVE_ITEM inner ${ops})
  stilla_want_xsimd()
  if(NOT TARGET stilla::xsimd)
    list(REMOVE_ITEM ops include/stilla/xsimd.hpp include/stilla/xsimd_batches.hpp)
  endif()
  stilla_compile_headers(stilla_headers_alone ${ops})
  stilla_compile_headers(inner_headers_alone ${inner})
  set_target_properties(inner_headers_alone PROPERTIES EXCLUDE_FROM_ALL ON)
endfunction()
function(stilla_compile_headers library)
  set(sources)
  foreach(header ${ARGN})
    if(NOT header MATCHES "-inl\\.hpp$|\\.h$")
      string(REGEX REPLACE "^(include|kernels)/" "" spelled "${header}")
      string(REPLACE "/" "_" source "${spelled}.cpp")
      set(source "headers_alone/${source}")
      file(CONFIGURE OUTPUT "${source}" CONTENT "#include <@spelled@>\n#include <@spelled@>\n" @ONLY)
      list(APPEND sources "${CMAKE_CURRENT_BINARY_DIR}/${source}")
    endif()
  endforeach()
  add_library(${library} OBJECT ${sources})
  target_link_libraries(${library} PRIVATE stilla::stilla stilla_warnings $<TARGET_NAME_IF_EXISTS:nlohmann_json::nlohmann_json>
    $<TARGET_NAME_IF_EXISTS:stilla::xsimd>)
  target_compile_definitions(${library} PRIVATE STILLA_SEPARATE_KERNELS=1)
  target_compile_options(${library} PRIVATE ${stilla_unoptimised})
endfunction()
