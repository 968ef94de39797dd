# SPDX-License-Identifier: Apache-2.0
#
# Windows on Arm, with clang and the MinGW-w64 headers that Zig brings (PyPI's ziglang). The environment variable STILLA_ZIG names
# Zig's binary; otherwise it must be in PATH. Nothing here runs such programs. tests/windows_arm.sh uses this file.
set(CMAKE_SYSTEM_NAME Windows)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
if(DEFINED ENV{STILLA_ZIG})
  set(zig "$ENV{STILLA_ZIG}")
else()
  set(zig zig)
endif()
set(CMAKE_C_COMPILER "${zig}" cc -target aarch64-windows-gnu)
set(CMAKE_CXX_COMPILER "${zig}" c++ -target aarch64-windows-gnu)
set(CMAKE_AR llvm-ar-19)
set(CMAKE_RANLIB llvm-ranlib-19)
set(CMAKE_RC_COMPILER llvm-windres-19)

# Header-only dependencies of the host serve the target too, as in toolchain-aarch64.cmake.
set(CMAKE_CXX_FLAGS_INIT "-idirafter /usr/include")
list(APPEND CMAKE_PREFIX_PATH /usr)
