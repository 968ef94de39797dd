# SPDX-License-Identifier: Apache-2.0
#
# Every dependency is looked for first, and fetched only if it is not installed. What is fetched is the upstream source archive of a
# fixed version, whose hash is checked. A dependency is looked for only when something that needs it is built.
include(FetchContent)

# The library itself needs only the headers of Highway; nothing is linked.
function(stilla_need_highway)
  list(APPEND CMAKE_MODULE_PATH "${PROJECT_SOURCE_DIR}/cmake")
  find_package(HighwayHeaders 1.0.3 QUIET)
  if(NOT HighwayHeaders_FOUND)
    message(STATUS "Highway not found: fetching its headers")
    FetchContent_Declare(highway
      URL https://github.com/google/highway/archive/refs/tags/1.0.3.tar.gz
      URL_HASH SHA256=566fc77315878473d9a6bd815f7de78c73734acdcb745c3dde8579560ac5440e
      SOURCE_SUBDIR headers-only)  # there is no such folder, so nothing of Highway is configured or built
    FetchContent_MakeAvailable(highway)
    set(HighwayHeaders_INCLUDE_DIR "${highway_SOURCE_DIR}" CACHE PATH "Where hwy/highway.h is" FORCE)
    find_package(HighwayHeaders 1.0.3 REQUIRED)
  endif()
endfunction()

# Finds GoogleTest as an installed library, or else as installed sources (those of Debian serve every compiler and architecture), or
# fetches it.
function(stilla_need_gtest)
  find_package(GTest QUIET)
  if(NOT GTest_FOUND)
    if(EXISTS /usr/src/googletest/CMakeLists.txt AND NOT FETCHCONTENT_SOURCE_DIR_GOOGLETEST)
      set(FETCHCONTENT_SOURCE_DIR_GOOGLETEST /usr/src/googletest CACHE PATH "Sources of GoogleTest")
    endif()
    set(INSTALL_GTEST OFF CACHE BOOL "")
    set(BUILD_GMOCK OFF CACHE BOOL "")
    FetchContent_Declare(googletest
      URL https://github.com/google/googletest/archive/refs/tags/release-1.12.1.tar.gz
      URL_HASH SHA256=81964fe578e9bd7c94dfdb09c8e4d6e6759e19967e397dbea48d1c10e45d0df2)
    FetchContent_MakeAvailable(googletest)
  endif()
endfunction()

function(stilla_need_benchmark)
  find_package(benchmark QUIET)
  if(NOT benchmark_FOUND)
    set(BENCHMARK_ENABLE_TESTING OFF CACHE BOOL "")
    set(BENCHMARK_ENABLE_INSTALL OFF CACHE BOOL "")
    FetchContent_Declare(benchmark
      URL https://github.com/google/benchmark/archive/refs/tags/v1.7.1.tar.gz
      URL_HASH SHA256=6430e4092653380d9dc4ccb45a1e2dc9259d581f4866dc0759713126056bc1d7)
    FetchContent_MakeAvailable(benchmark)
  endif()
endfunction()

function(stilla_need_cli11)
  find_package(CLI11 QUIET)
  if(NOT CLI11_FOUND)
    FetchContent_Declare(cli11
      URL https://github.com/CLIUtils/CLI11/archive/refs/tags/v2.1.2.tar.gz
      URL_HASH SHA256=26291377e892ba0e5b4972cdfd4a2ab3bf53af8dac1f4ea8fe0d1376b625c8cb)
    FetchContent_MakeAvailable(cli11)
  endif()
endfunction()

# Finds fmt as an installed library, or else only its installed headers (in a cross build), or fetches it.
function(stilla_need_fmt)
  if(TARGET fmt::fmt)
    return()
  endif()
  find_package(fmt QUIET)
  if(fmt_FOUND)
    return()
  endif()
  find_path(FMT_INCLUDE_DIR fmt/format.h)
  mark_as_advanced(FMT_INCLUDE_DIR)
  if(FMT_INCLUDE_DIR)
    add_library(fmt::fmt INTERFACE IMPORTED GLOBAL)
    set_target_properties(fmt::fmt PROPERTIES
      INTERFACE_INCLUDE_DIRECTORIES "${FMT_INCLUDE_DIR}"
      INTERFACE_COMPILE_DEFINITIONS FMT_HEADER_ONLY=1)
  else()
    FetchContent_Declare(fmt
      URL https://github.com/fmtlib/fmt/archive/refs/tags/9.1.0.tar.gz
      URL_HASH SHA256=5dea48d1fcddc3ec571ce2058e13910a0d4a6bab4cc09a809d8b1dd1c88ae6f2)
    FetchContent_MakeAvailable(fmt)
  endif()
endfunction()

function(stilla_need_nlohmann_json)
  find_package(nlohmann_json QUIET)
  if(NOT nlohmann_json_FOUND)
    FetchContent_Declare(nlohmann_json
      URL https://github.com/nlohmann/json/archive/refs/tags/v3.11.2.tar.gz
      URL_HASH SHA256=d69f9deb6a75e2580465c6c4c5111b89c4dc2fa94e3a85fcd2ffcd9a143d9273)
    FetchContent_MakeAvailable(nlohmann_json)
  endif()
endfunction()

# protozero, for the ONNX files that `stilla export` writes. It writes protocol buffers and consists of headers alone, so every
# cross build has it too. libonnx and protobuf would have to be built for each target first, need a generator at build time, and
# hold a whole model in memory to write it. ONNX's schema would give no more than the numbers of the fields, and there are thirty.
function(stilla_need_protozero)
  find_path(PROTOZERO_INCLUDE_DIR protozero/pbf_builder.hpp)
  mark_as_advanced(PROTOZERO_INCLUDE_DIR)
  if(NOT PROTOZERO_INCLUDE_DIR)
    FetchContent_Declare(protozero
      GIT_REPOSITORY https://github.com/mapbox/protozero.git
      GIT_TAG f379578a3f7c8162aac0ac31c2696de09a5b5f93  # v1.7.1
      SOURCE_SUBDIR headers-only)  # there is no such folder, so nothing of protozero is configured or built
    FetchContent_MakeAvailable(protozero)
    set(PROTOZERO_INCLUDE_DIR "${protozero_SOURCE_DIR}/include" CACHE PATH "Where protozero/pbf_builder.hpp is" FORCE)
  endif()
  if(NOT TARGET stilla::protozero)
    add_library(stilla::protozero INTERFACE IMPORTED GLOBAL)
    set_target_properties(stilla::protozero PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${PROTOZERO_INCLUDE_DIR}")
  endif()
endfunction()

# xsimd 8.1 or later, for stilla/xsimd.hpp: stilla::xsimd if its headers are installed (Debian: libxsimd-dev) and the CPU is one that this
# header knows. It is never fetched.
function(stilla_want_xsimd)
  find_path(XSIMD_INCLUDE_DIR xsimd/xsimd.hpp)
  mark_as_advanced(XSIMD_INCLUDE_DIR)
  if(NOT XSIMD_INCLUDE_DIR OR TARGET stilla::xsimd OR NOT CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|aarch64|arm64|ARM64")
    return()
  endif()
  file(STRINGS "${XSIMD_INCLUDE_DIR}/xsimd/config/xsimd_config.hpp" version REGEX "define XSIMD_VERSION_(MAJOR|MINOR) ")
  string(REGEX REPLACE "[^0-9;]" "" version "${version}")
  list(JOIN version "." version)
  if(version VERSION_GREATER_EQUAL 8.1)
    add_library(stilla::xsimd INTERFACE IMPORTED GLOBAL)
    set_target_properties(stilla::xsimd PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${XSIMD_INCLUDE_DIR}")
  endif()
endfunction()

# libedit, which lets users edit lines: stilla::libedit if it is installed (Debian: libedit-dev). It is never fetched: without it
# the program reads plain lines.
function(stilla_want_libedit)
  find_path(LIBEDIT_INCLUDE_DIR histedit.h)
  find_library(LIBEDIT_LIBRARY edit)
  mark_as_advanced(LIBEDIT_INCLUDE_DIR LIBEDIT_LIBRARY)
  if(LIBEDIT_INCLUDE_DIR AND LIBEDIT_LIBRARY AND NOT TARGET stilla::libedit)
    add_library(stilla::libedit UNKNOWN IMPORTED GLOBAL)
    set_target_properties(stilla::libedit PROPERTIES
      IMPORTED_LOCATION "${LIBEDIT_LIBRARY}"
      INTERFACE_INCLUDE_DIRECTORIES "${LIBEDIT_INCLUDE_DIR}"
      INTERFACE_COMPILE_DEFINITIONS STILLA_LIBEDIT=1)
  endif()
endfunction()
