#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Installs what the build needs and this machine lacks, from Debian's packages. If nothing is missing it does nothing, and is
# quick. --ci adds the compilers, the cross tools and the checkers that .ci/run uses; --full adds what .ci/full uses beyond these.
# On a machine without apt the tools must be there already; CMake fetches the libraries.
set -euo pipefail

# Each line has a package, and the command or file that shows that it is installed.
tools="g++ c++
cmake cmake"
libraries="ninja-build ninja
libhwy-dev /usr/include/hwy/highway.h
libgtest-dev /usr/include/gtest/gtest.h
libbenchmark-dev /usr/include/benchmark/benchmark.h
libcli11-dev /usr/include/CLI/CLI.hpp
libfmt-dev /usr/include/fmt/format.h
nlohmann-json3-dev /usr/include/nlohmann/json.hpp
libprotozero-dev /usr/include/protozero/pbf_builder.hpp
libedit-dev /usr/include/histedit.h
python3 python3
python3-pip pip"
ci="clang-14 clang++-14
libclang-rt-14-dev /usr/lib/llvm-14/lib/clang/14.0.6/lib/linux/libclang_rt.asan-x86_64.a
g++-aarch64-linux-gnu aarch64-linux-gnu-g++
qemu-user qemu-aarch64
g++-mingw-w64-x86-64-posix x86_64-w64-mingw32-g++-posix
wine64 /usr/lib/wine/wine64
libxsimd-dev /usr/include/xsimd/xsimd.hpp
ccache ccache
clang-format-19 clang-format-19
shellcheck shellcheck"
full="g++-12 g++-12
clang-tidy-14 clang-tidy-14
g++-riscv64-linux-gnu riscv64-linux-gnu-g++
g++-s390x-linux-gnu s390x-linux-gnu-g++
clang-19 clang++-19
lld-19 ld.lld-19
llvm-19 llvm-objdump-19
libclang-rt-19-dev /usr/lib/llvm-19/lib/clang/19/lib/linux/libclang_rt.fuzzer-x86_64.a
doxygen doxygen
lintian lintian
libdnnl-dev /usr/include/oneapi/dnnl/dnnl.hpp
python3-venv /usr/share/doc/python3-venv"

is_there() {
  case $1 in
    /*) [ -e "$1" ] ;;
    pip) python3 -m pip --version > /dev/null 2>&1 ;;
    *) command -v "$1" > /dev/null ;;
  esac
}
missing() { while read -r package probe; do is_there "$probe" || echo "$package"; done <<< "$1"; }

wanted=$tools$'\n'$libraries
case ${1:-} in
  --ci) wanted+=$'\n'$ci ;;
  --full) wanted+=$'\n'$ci$'\n'$full ;;
esac
mapfile -t packages < <(missing "$wanted")
[ ${#packages[@]} -gt 0 ] || exit 0

as_root=()
if ! command -v apt-get > /dev/null; then
  as_root=(none)
elif [ "$(id -u)" -ne 0 ]; then
  # Without a terminal sudo must not ask for a password.
  if [ -t 0 ] && command -v sudo > /dev/null; then as_root=(sudo)
  elif sudo -n true 2> /dev/null; then as_root=(sudo -n)
  else as_root=(none); fi
fi
if [ "${as_root[*]}" = none ]; then
  echo "bootstrap: cannot install packages here (needs apt-get, and root or sudo); missing, by Debian's names:" "${packages[@]}" >&2
  [ -z "$(missing "$tools")" ] || exit 1
  [ $# -eq 0 ] || exit 1
  exit 0  # CMake fetches the libraries, or says which one it could not
fi

echo "bootstrap: installing" "${packages[@]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 "$@" < /dev/null; }
if ! { apt update && apt install --yes --no-install-recommends "${packages[@]}"; } > "$log" 2>&1; then
  tail -n 20 "$log" >&2
  echo "bootstrap: apt-get could not install" "${packages[@]}" >&2
  exit 1
fi
