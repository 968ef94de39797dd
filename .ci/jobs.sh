# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# .ci/run and .ci/full source this file. It has the function `job`, which runs and counts, and the jobs that both scripts have. Each
# job prints one line, and the output of a failed job follows its line. The last line of a run adds up the test cases of GoogleTest,
# plus one for each job.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
exec < /dev/null
export CI=true
export CMAKE_CXX_COMPILER_LAUNCHER=ccache CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1
models=${STILLA_MODELS:-$HOME/.cache/stilla-models}
unset STILLA_MODELS  # only the job `test` of .ci/full runs the real models
results=$PWD/build/ci
rm -rf "$results"
mkdir -p "$results"
selected=("$@")
passed=0
failed=0

# Sets `cpu` to the seconds of CPU time that the commands of this shell have taken. (It must not run in a subshell, where `times`
# would begin at zero.)
read_cpu_time() {
  times > "$results/times"
  cpu=$(awk -F'[ms ]+' 'NR == 2 { printf "%d", $1 * 60 + $2 + $3 * 60 + $4 }' "$results/times")
}

# job NAME COMMAND...: runs the command. Counts the job itself, and the test cases that it reported.
job() {
  local name=$1 start=$SECONDS status cases good=0 bad=0 skipped=0 cpu before
  shift
  [ ${#selected[@]} -eq 0 ] || [[ " ${selected[*]} " == *" $name "* ]] || return 0
  read_cpu_time
  before=$cpu
  GTEST_OUTPUT=xml:$results/$name/ "$@" > "$results/$name.log" 2>&1
  status=$?
  cases=$(python3 .ci/count_cases.py "$results/$name") || status=1
  read -r good bad skipped <<< "$cases"
  passed=$((passed + good))
  failed=$((failed + bad))
  if [ $status -eq 0 ] && [ "$bad" -eq 0 ]; then
    passed=$((passed + 1))
    printf 'ok      '
  else
    failed=$((failed + 1))
    printf 'FAILED  '
  fi
  read_cpu_time
  printf '%-14s %4d s, %4d s of CPU  %d cases passed, %d failed, %d skipped\n' \
    "$name" $((SECONDS - start)) $((cpu - before)) "$good" "$bad" "$skipped"
  # If a script could not do something here, its message is printed. So a judge that was left out does not look like one that passed.
  [ $status -ne 0 ] || grep -E '^([a-z0-9_-]+: .*(skipped, because|cannot be had|there is no )|skipped: )' "$results/$name.log" |
    grep -v '^stilla: ' | sort -u | sed 's/^/        /'
  [ $status -eq 0 ] || grep -v '^\[[0-9]*/[0-9]*\] ' "$results/$name.log" | tail -n 60  # ninja's progress is left out
}

# prepare OPTION: installs what the jobs need. If that fails, it ends the run.
prepare() {
  if ! scripts/bootstrap.sh "$1"; then
    echo "0 passed, 1 failed"
    exit 1
  fi
  # shellcheck source=scripts/environment.sh
  . scripts/environment.sh
}

finish() {
  echo "$passed passed, $failed failed"
  [ $failed -eq 0 ]
}

# some PRESET TEST...: builds these test programs of a preset and runs them.
some() {
  local preset=$1
  shift
  cmake --preset "$preset" && cmake --build "build/$preset" --target "$@" && only "$preset" "$@"
}
# only PRESET TEST...: runs these tests of a preset that is already built.
only() {
  local preset=$1
  shift
  ctest --test-dir "build/$preset" --output-on-failure --no-tests=error --timeout 600 -R "^($(IFS='|' && echo "$*"))\$"
}

scripts_are_clean() {
  shellcheck -x scripts/*.sh tests/*.sh tests/*/*.sh .ci/run .ci/full && python3 -m compileall -q bench python tests examples/training || return
  for script in bench/{compare_peers,compare_builds,plot_peers,plot_roofline,port_limits,count_instructions} tests/npu_hexagon/packets; do
    python3 $script.py --help > /dev/null || return
  done
  find include kernels c_api examples bench tests python \( -name '*.hpp' -o -name '*.cpp' -o -name '*.h' -o -name '*.c' \) -print0 |
    xargs -0 clang-format-19 --dry-run -Werror
}
on_wine() {
  local -x WINEPREFIX=$HOME/.cache/stilla-wine WINEDEBUG=-all
  local -x GTEST_OUTPUT=${GTEST_OUTPUT/#xml:/xml:Z:}  # wine's drive for /
  # Two tests that both find no wine prefix would disturb each other while they make it.
  [ -d "$WINEPREFIX" ] || /usr/lib/wine/wine64 wineboot --init
  "$@"
}
