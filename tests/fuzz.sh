#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Builds the libFuzzer targets of tests/fuzz and runs each for a while, under the address and undefined-behaviour sanitizers. What
# a run found stays in build/fuzz, and the next run begins there.
#
#   tests/fuzz.sh [SECONDS]        default: 60 for each target
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
# The address sanitizer keeps freed memory from being used again, by default 256 MB of it. With this default, session_file_fuzz took
# 522 MB together with the sanitizer's shadow memory, which exceeds -rss_limit_mb. It had no leak: when only 16 MB were kept, it
# took 89 MB after as many inputs.
export ASAN_OPTIONS=quarantine_size_mb=64

mkdir -p build/fuzz
for source in tests/fuzz/*_fuzz.cpp; do
  name=$(basename "$source" .cpp)
  "${CXX:-clang++-19}" -std=c++20 -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
    -Iinclude -Ikernels -Itests "$source" -o "build/fuzz/$name"
  (
    cd build/fuzz
    mkdir -p "$name.corpus" "$name.seeds"
    if grep -q LLVMFuzzerInitialize "../../$source"; then "./$name" "$name.seeds"; fi  # writes good inputs to start from
    "./$name" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=512 -malloc_limit_mb=64 -print_final_stats=1 \
      "$name.corpus" "$name.seeds"
  )
done
