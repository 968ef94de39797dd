# SPDX-License-Identifier: Apache-2.0
#
# The C API as one compiled library, kernels included: stilla::c (static) and stilla::c_shared, both libstilla. Only the functions
# of include/stilla/c_api.h are visible from outside.
find_package(Threads REQUIRED)

add_library(stilla_c_objects OBJECT c_api/ops.cpp c_api/model.cpp)
set_target_properties(stilla_kernels stilla_c_objects PROPERTIES
  POSITION_INDEPENDENT_CODE ON
  CXX_VISIBILITY_PRESET hidden
  VISIBILITY_INLINES_HIDDEN ON)
target_compile_definitions(stilla_c_objects PRIVATE STILLA_SEPARATE_KERNELS=1)
# The kernels are compiled with -O3 (StillaKernels.cmake). The objects of the API, which call them, would gain nothing from -O3, and with
# it they would take a third longer to compile.
if(NOT MSVC)
  target_compile_options(stilla_c_objects PRIVATE $<$<CONFIG:Release>:-O2>)
endif()
target_link_libraries(stilla_c_objects PRIVATE stilla $<TARGET_NAME_IF_EXISTS:stilla_warnings>)

add_library(stilla_c STATIC $<TARGET_OBJECTS:stilla_c_objects> $<TARGET_OBJECTS:stilla_kernels>)
add_library(stilla_c_shared SHARED $<TARGET_OBJECTS:stilla_c_objects> $<TARGET_OBJECTS:stilla_kernels>)
foreach(name c c_shared)
  add_library(stilla::${name} ALIAS stilla_${name})
  set_target_properties(stilla_${name} PROPERTIES EXPORT_NAME ${name} LINKER_LANGUAGE CXX)
  target_include_directories(stilla_${name} INTERFACE
    "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>" "$<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>")
  # Programs that link the installed static library need oneDNN's path.
  target_link_libraries(stilla_${name} PRIVATE Threads::Threads $<$<BOOL:${STILLA_ONEDNN}>:${DNNL_LIBRARY}>)
endforeach()
set_target_properties(stilla_c_shared PROPERTIES
  OUTPUT_NAME stilla
  VERSION ${PROJECT_VERSION}
  SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
if(WIN32)  # never built on Windows so far
  target_compile_definitions(stilla_c_objects PRIVATE STILLA_C_SHARED STILLA_C_BUILDS)
  target_compile_definitions(stilla_c_shared INTERFACE STILLA_C_SHARED)
else()
  set_target_properties(stilla_c PROPERTIES OUTPUT_NAME stilla)
endif()
# Without the version script, the instances of the standard library's templates would be visible too.
if(CMAKE_SYSTEM_NAME STREQUAL "Linux")
  target_link_options(stilla_c_shared PRIVATE "-Wl,--version-script=${PROJECT_SOURCE_DIR}/c_api/exports.map")
  set_target_properties(stilla_c_shared PROPERTIES LINK_DEPENDS "${PROJECT_SOURCE_DIR}/c_api/exports.map")
endif()
