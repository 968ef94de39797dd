# SPDX-License-Identifier: Apache-2.0
#
# Debian's cross compiler for RISC-V (g++-riscv64-linux-gnu). Test programs run under qemu-user. Only the target scalar runs
# there, because no other target exists for RISC-V.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR riscv64)
set(CMAKE_C_COMPILER riscv64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER riscv64-linux-gnu-g++)
set(CMAKE_CROSSCOMPILING_EMULATOR "qemu-riscv64;-L;/usr/riscv64-linux-gnu")

# Header-only dependencies of the host serve the target too, as in toolchain-aarch64.cmake.
set(CMAKE_CXX_FLAGS_INIT "-idirafter /usr/include")
