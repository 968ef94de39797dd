# SPDX-License-Identifier: Apache-2.0
#
# Debian's cross compiler for AArch64 (g++-aarch64-linux-gnu). Test programs run under qemu-user.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_CROSSCOMPILING_EMULATOR "qemu-aarch64;-L;/usr/aarch64-linux-gnu")

# Header-only dependencies of the host (Highway, CLI11) serve the target too. They are searched after the target's own headers, so
# that /usr/include never hides the headers of the target's C library. Host libraries are not found, because their folder is named
# after the host.
set(CMAKE_CXX_FLAGS_INIT "-idirafter /usr/include")
