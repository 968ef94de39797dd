#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Tests the HVX kernels with HVX's own instructions. The script builds forms.cpp with clang 19 for Hexagon v68 and v73, runs the
# programs under qemu-hexagon, and compares what they write, byte for byte, with what the specification writes on this machine.
# Then it counts the packets of the kernels' loops (packets.py). It takes about three minutes of one core, most of them in qemu.
#
#   tests/npu_hexagon/run.sh [FOLDER]        default: build/npu_hexagon
#
# Does nothing, and says so, where a tool is missing. qemu 7.2 runs programs for v68 and v73 as its v67: the integer instructions
# are the same.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=${1:-build/npu_hexagon}

for tool in clang++-19 ld.lld-19 llvm-objdump-19 qemu-hexagon; do
  if ! command -v "$tool" > /dev/null; then
    echo "npu_hexagon: skipped, because $tool is not installed"
    exit 0
  fi
done

mkdir -p "$out"
common=(-std=c++20 -O3 -Wall -Wextra -Werror -Iinclude -Ikernels tests/npu_hexagon/forms.cpp)
hexagon=(--target=hexagon-unknown-none-elf -mhvx -mhvx-length=128B -ffreestanding -nostdlib -nostdinc++ -fno-exceptions
  -fno-rtti -fno-vectorize -fno-slp-vectorize -static -fuse-ld=lld --ld-path="$(command -v ld.lld-19)")

clang++-19 "${common[@]}" -march=native -o "$out/forms"
"$out/forms" "$out/scalar.bin"
for version in v68 v73; do
  clang++-19 "-m$version" "${hexagon[@]}" "${common[@]}" -o "$out/forms-$version"
  qemu-hexagon -cpu v67 "$out/forms-$version" "$out/$version.bin"
  cmp "$out/scalar.bin" "$out/$version.bin"
  echo "npu_hexagon: $version wrote the same $(stat -c %s "$out/$version.bin") bytes as the specification"
done
python3 tests/npu_hexagon/packets.py "$out/forms-v68" "$out/forms-v73"
