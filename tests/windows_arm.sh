#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Compiles and links the program for Windows on Arm with Zig's clang, and inspects it: it must contain the instructions sdot and
# smmla, and need no DLL but the system's. Then compiles and links the tests and examples, with a few formats. Nothing of all this
# is run. By default the program, too, is compiled with a few formats and little optimisation; --all compiles the program that
# users get.
#
#   tests/windows_arm.sh [--all] [FOLDER]        default: build/windows-arm64
#
# Does nothing, and says so, where a tool is missing. Zig is the package ziglang of PyPI; it is found in PATH or by the
# environment variable STILLA_ZIG.
set -euo pipefail
cd "$(dirname "$0")/.."
few=(-D "STILLA_FORMATS=F32;F16;Q8_0;Q4_0;Q4_K;Q6_K" -D "CMAKE_CXX_FLAGS_RELEASE=-O1 -DNDEBUG")
formats=("${few[@]}")
if [ "${1:-}" = --all ]; then
  formats=(-D STILLA_FORMATS= -D "CMAKE_CXX_FLAGS_RELEASE=-O3 -DNDEBUG")
  shift
fi
out=${1:-build/windows-arm64}

for tool in "${STILLA_ZIG:-zig}" llvm-objdump-19 llvm-ar-19; do
  if ! command -v "$tool" > /dev/null; then
    echo "windows_arm: skipped, because $tool is not installed"
    exit 0
  fi
done

# Compiles the library's headers once behind <windows.h> and once in front of it. clang must find no contradiction between their
# declarations.
for text in '#include <windows.h>\n#include <stilla/stilla.hpp>\n' '#include <stilla/stilla.hpp>\n#include <windows.h>\n'; do
  mkdir -p "$out"
  printf '%b' "$text" > "$out/windows_h.cpp"
  "${STILLA_ZIG:-zig}" c++ -target aarch64-windows-gnu -std=c++20 -Wall -Wextra -Werror -DSTILLA_SEPARATE_KERNELS=1 -idirafter /usr/include \
    -Iinclude -Ikernels -c "$out/windows_h.cpp" -o "$out/windows_h.o"
done
configure() {  # FOLDER OPTION...
  cmake -B "$1" --toolchain cmake/toolchain-windows-arm64.cmake -D CMAKE_BUILD_TYPE=Release -D STILLA_WERROR=ON \
    -D STILLA_BUILD_BENCH=OFF "${@:2}"
}
configure "$out" -D STILLA_BUILD_TESTS=OFF "${formats[@]}"
cmake --build "$out" --target stilla_program
program=$out/bin/stilla.exe

failed=0
for instruction in sdot smmla; do
  count=$(llvm-objdump-19 -d "$program" | grep -c "[[:space:]]${instruction}[[:space:]]" || true)
  echo "windows_arm: $count $instruction in $program"
  [ "$count" -gt 0 ] || failed=1
done
# These DLLs are on every Windows: its API, and the C library as api-ms-win-crt-*.dll.
while read -r dll; do
  case ${dll,,} in
    api-ms-win-crt-*.dll | kernel32.dll | advapi32.dll | ntdll.dll | user32.dll | shell32.dll | ws2_32.dll) echo "windows_arm: needs $dll" ;;
    *)
      echo "windows_arm: needs $dll, which is not the system's"
      failed=1
      ;;
  esac
done < <(llvm-objdump-19 -p "$program" | sed -n 's/^ *DLL Name: //p')

configure "$out/tests" -D STILLA_BUILD_TESTS=ON "${few[@]}"
cmake --build "$out/tests"
echo "windows_arm: the tests and examples are linked"
exit $failed
