#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Installs what is missing, builds the program `stilla`, brings a real model (Qwen2.5-Coder 0.5B, 491 MB, once) and
# starts the chat. Arguments go to `stilla chat`; -m names a model of your own.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/bootstrap.sh
# shellcheck source=scripts/environment.sh
. scripts/environment.sh
log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "Building stilla ..." >&2
if ! { cmake --preset release && cmake --build --preset release --target stilla_program; } > "$log" 2>&1; then
  cat "$log" >&2
  exit 1
fi

model=(-m "${STILLA_MODELS:-$HOME/.cache/stilla-models}/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf")
case " $* " in
  *" -m "* | *" --model"*) model=() ;;
  *) scripts/fetch_models.sh chat ;;
esac
rm -f "$log"
exec build/release/bin/stilla chat "${model[@]}" "$@"
