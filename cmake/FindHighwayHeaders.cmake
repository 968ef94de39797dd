# SPDX-License-Identifier: Apache-2.0
#
# Finds the headers of Highway (no library is linked) and defines stilla::highway_headers. Highway's own package is not used,
# because its target links libhwy. This file serves the build. It is also installed beside stillaConfig.cmake, where it serves the
# programs that use the library.
find_path(HighwayHeaders_INCLUDE_DIR hwy/highway.h)
if(HighwayHeaders_INCLUDE_DIR)
  # During the releases 1.x the version macros moved from highway.h to base.h.
  foreach(header highway.h base.h)
    file(STRINGS "${HighwayHeaders_INCLUDE_DIR}/hwy/${header}" lines REGEX "^#define HWY_(MAJOR|MINOR|PATCH) ")
    if(lines)
      string(REGEX REPLACE "[^0-9;]" "" lines "${lines}")
      list(JOIN lines "." HighwayHeaders_VERSION)
    endif()
  endforeach()
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(HighwayHeaders
  REQUIRED_VARS HighwayHeaders_INCLUDE_DIR
  VERSION_VAR HighwayHeaders_VERSION
  REASON_FAILURE_MESSAGE "Stilla needs hwy/highway.h (Debian: libhwy-dev), unless STILLA_HIGHWAY is OFF")
mark_as_advanced(HighwayHeaders_INCLUDE_DIR)

if(HighwayHeaders_FOUND AND NOT TARGET stilla::highway_headers)
  add_library(stilla::highway_headers INTERFACE IMPORTED GLOBAL)
  target_include_directories(stilla::highway_headers INTERFACE "${HighwayHeaders_INCLUDE_DIR}")
endif()
