#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Counts the instructions that an emulated Arm CPU retires for each token that a model writes, by target.

    cmake --preset aarch64 && cmake --build build/aarch64 --target greedy_tokens
    bench/count_instructions.py                                       Stilla Drop
    bench/count_instructions.py -m MODEL.gguf --bits 8                another model, activations of 8 bits

The script runs build/aarch64/bin/greedy_tokens under qemu-user twice, first for a few tokens and then for some more. A plugin
(compiled here, with $CC or cc) counts the instructions of every block of code that is run. The difference of the two counts belongs
to the later tokens, because loading and prompt are the same in both. The program has one thread. The counts are exact and repeat to within
about a dozen instructions. They say how much work a target saves, and nothing about time. The script fails if a token takes
`portable` less than --least times (default 3) as many instructions as `dotprod`. It is skipped, with a sentence, where qemu or the
program is missing.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# The needed part of QEMU's plugin interface (version 1, QEMU 4.2 to 9.0) is declared here, because Debian packages no header of it.
PLUGIN = r"""
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

#define EXPORT __attribute__((visibility("default")))
typedef void (*OnBlock)(uint64_t id, void* block);
typedef void (*OnExit)(uint64_t id, void* data);
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, OnBlock on_block);
size_t qemu_plugin_tb_n_insns(const void* block);
void qemu_plugin_register_vcpu_tb_exec_inline(void* block, int add, void* to, uint64_t number);
void qemu_plugin_register_atexit_cb(uint64_t id, OnExit on_exit, void* data);

EXPORT int qemu_plugin_version = 1;
static uint64_t retired;

static void translated(uint64_t id, void* block) {
  (void)id;
  qemu_plugin_register_vcpu_tb_exec_inline(block, 0, &retired, qemu_plugin_tb_n_insns(block));
}
static void ended(uint64_t id, void* data) {
  (void)id, (void)data;
  fprintf(stderr, "retired %" PRIu64 "\n", retired);
}
EXPORT int qemu_plugin_install(uint64_t id, const void* info, int count, char** arguments) {
  (void)info, (void)count, (void)arguments;
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  qemu_plugin_register_atexit_cb(id, ended, 0);
  return 0;
}
"""


def skip(why):
    print(f"count_instructions: skipped, because {why}")
    sys.exit(0)


def build(folder):
    source, plugin = Path(folder, "count.c"), Path(folder, "count.so")
    source.write_text(PLUGIN, encoding="utf-8")
    subprocess.run([os.environ.get("CC", "cc"), "-O2", "-shared", "-fPIC", source, "-o", plugin], check=True)
    return plugin


def retired(options, plugin, target, tokens):
    """Returns the number of instructions of a whole run, and the ids that it wrote, with their checksum."""
    command = [options.qemu, "-L", options.root, "-cpu", "max", "-plugin", plugin, options.program, options.model, options.ids, tokens,
               target, *([options.bits] if options.bits else [])]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    count = re.search(r"^retired (\d+)$", done.stderr, re.M)
    if done.returncode != 0 or not count:
        sys.exit(f"{target}: status {done.returncode}: {done.stderr.strip()[-500:]}")
    return int(count[1]), done.stdout.split(":", 1)[1].strip()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", default=ROOT / "examples/models/stilla-drop-q4_0.gguf")
    parser.add_argument("--program", default=ROOT / "build/aarch64/bin/greedy_tokens")
    parser.add_argument("--targets", default="portable,dotprod,i8mm")
    parser.add_argument("--ids", default="1,2,3", help="the prompt (default: 1,2,3)")
    parser.add_argument("--tokens", default="2,6", help="tokens of the two runs (default: 2,6)")
    parser.add_argument("--bits", choices=("8", "16"), help="of activations (default: the model's)")
    parser.add_argument("--least", type=float, default=3.0, help="fewest times of portable to dotprod (default: 3)")
    parser.add_argument("--qemu", default="qemu-aarch64")
    parser.add_argument("--root", default="/usr/aarch64-linux-gnu", help="the emulated system's libraries")
    options = parser.parse_args()
    if not shutil.which(options.qemu):
        skip(f"{options.qemu} is not installed")
    if not Path(options.program).exists():
        skip(f"{options.program} is not built")
    few, more = (int(count) for count in options.tokens.split(","))
    found, texts = {}, set()
    with tempfile.TemporaryDirectory() as folder:
        plugin = build(folder)
        print("target      instructions per token   portable / it")
        for target in options.targets.split(","):
            first, _ = retired(options, plugin, target, few)
            last, text = retired(options, plugin, target, more)
            found[target] = (last - first) / (more - few)
            texts.add(text)
            times = f"{found['portable'] / found[target]:.2f}" if "portable" in found else ""
            print(f"{target:10} {found[target]:>22,.0f} {times:>15}", flush=True)
    if len(texts) > 1:
        sys.exit("the targets do not write the same: " + "; ".join(sorted(texts)))
    if "portable" in found and "dotprod" in found and found["portable"] < options.least * found["dotprod"]:
        sys.exit(f"portable takes less than {options.least:g} times the instructions of dotprod")


if __name__ == "__main__":
    main()
