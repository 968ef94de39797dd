# SPDX-License-Identifier: Apache-2.0
#
# Debian's MinGW-w64 cross compiler for Windows (g++-mingw-w64-x86-64-posix, the variant that has std::thread). Programs run under
# wine.
set(CMAKE_SYSTEM_NAME Windows)
set(CMAKE_SYSTEM_PROCESSOR x86_64)
set(CMAKE_C_COMPILER x86_64-w64-mingw32-gcc-posix)
set(CMAKE_CXX_COMPILER x86_64-w64-mingw32-g++-posix)
set(CMAKE_RC_COMPILER x86_64-w64-mingw32-windres)
set(CMAKE_CROSSCOMPILING_EMULATOR /usr/lib/wine/wine64)  # Debian's wine64 has no name in PATH
set(CMAKE_EXE_LINKER_FLAGS_INIT "-static")                # no DLL of the compiler to carry along

# Header-only dependencies of the host serve the target too, as in toolchain-aarch64.cmake. GCC 12 warns about its own
# _mm_undefined_si128() (its bug 105593).
set(CMAKE_CXX_FLAGS_INIT "-idirafter /usr/include -Wno-maybe-uninitialized")
list(APPEND CMAKE_PREFIX_PATH /usr)
