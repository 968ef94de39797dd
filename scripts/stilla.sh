#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Installs what is missing, builds the program `stilla` and nothing else, and runs it with the arguments of this script. Without
# arguments it runs `stilla chat`.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

build() {
  cd "$root"
  scripts/bootstrap.sh
  # shellcheck source=scripts/environment.sh
  . scripts/environment.sh
  log=$(mktemp)
  if ! { cmake --preset release && cmake --build --preset release --target stilla_program; } > "$log" 2>&1; then
    cat "$log"
    rm -f "$log"
    exit 1
  fi
  rm -f "$log"
}
[ -x "$root/build/release/bin/stilla" ] || echo "Building stilla, a few minutes ..." >&2
(build) >&2
[ $# -gt 0 ] || set -- chat
exec "$root/build/release/bin/stilla" "$@"
