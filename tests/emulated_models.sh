#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs whole models on Arm CPUs that qemu-user emulates: with dotprod and i8mm (max), with dotprod alone (neoverse-n1), and with
# neither (cortex-a53). Greedy ids, and the checksum of all logits that chose them, must equal those of this machine's CPU.
#
#   tests/emulated_models.sh NATIVE EMULATED [MODEL IDS COUNT]...
#
# NATIVE and EMULATED are the program greedy_tokens of the presets release and aarch64. Stilla Drop solves 347 + 589 first,
# whatever other models are named. 8 tokens of a model of half a billion weights take about a minute of a fast core.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 2 ] || { echo "emulated_models.sh NATIVE EMULATED [MODEL IDS COUNT]..." >&2; exit 2; }
native=$1 emulated=$2
shift 2
# The question "What is 347 + 589?" as the chat template writes it, and an answer of 68 tokens.
set -- examples/models/stilla-drop-q4_0.gguf 621,619,315,264,220,18,19,22,403,220,20,23,24,30,620,623,198 68 "$@"
declare -A best=([max]="i8mm dotprod" [neoverse-n1]=dotprod [cortex-a53]=portable)

failed=0
while [ $# -ge 3 ]; do
  model=$1 ids=$2 count=$3
  shift 3
  expected=$("$native" "$model" "$ids" "$count" best)
  echo "$(basename "$model"): $expected"
  for cpu in max neoverse-n1 cortex-a53; do
    for target in ${best[$cpu]}; do
      found=$(qemu-aarch64 -L /usr/aarch64-linux-gnu -cpu $cpu "$emulated" "$model" "$ids" "$count" "$target")
      if [ "${found#*:}" = "${expected#*:}" ]; then
        echo "  $cpu, $target: the same"
      else
        echo "  $cpu, $target: $found"
        failed=1
      fi
    done
  done
done
exit $failed
