#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the program on the files of make_hostile_files.py. Fails on a crash, a hang, a sanitizer's report, a file that is
accepted but must be refused, a refusal that does not name the file, and a control that is refused.

Each model, or the first part of a split one, is given to `inspect`, to `run -n 1`, to `run` again as the draft model of a control, and to `pack`; a packed file is
given to `inspect --verify` instead. A session is given to the /load of `chat`, a template to `run --chat-template`, and
an importance matrix to `run --weights q4_0 --imatrix`. A
refusal is one line on standard error that begins with "stilla: ", and a status of 1 to 3.
"""

import argparse
import collections
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import tempfile

REPORTS = (b"AddressSanitizer", b"LeakSanitizer", b"runtime error:", b"MemorySanitizer", b"ThreadSanitizer", b"terminate called")
HARMLESS = ("control", "survived", "text")  # if a case expects one of these, `pack` may write a packed file


class Checker:
    def __init__(self, program, folder, seconds):
        self.program, self.folder, self.seconds = program, folder, seconds
        self.environment = dict(os.environ, ASAN_OPTIONS="exitcode=99:allocator_may_return_null=1:detect_leaks=0",
                                UBSAN_OPTIONS="print_stacktrace=1")
        cases = json.loads((folder / "cases.json").read_text())
        # The first control of each kind.
        self.controls = {case["kind"]: self.path(case) for case in reversed(cases) if case["expect"] == "control"}
        self.messages = []  # "gguf-003-magic: run: 3: stilla: ..."

    def path(self, case):
        return self.folder / case["name"] / case.get("file", "")

    def run(self, arguments, typed=b""):
        """Runs the program. Returns its status, or None if it did not end in time, and what it wrote to standard error."""
        try:
            done = subprocess.run([self.program, *map(str, arguments)], input=typed, capture_output=True, timeout=self.seconds,
                                  env=self.environment, check=False)
        except subprocess.TimeoutExpired:
            return None, b""
        return done.returncode, done.stderr

    def commands(self, kind, path, packed):
        """Returns pairs: the arguments of a command, and which rule of is_wrongly_taken() holds for it."""
        good = self.controls["gguf"]
        run = ["run", "-p", "ab", "-n", 1, "-t", 1]
        if kind == "template":
            return [([*run, "-m", good, "--chat-template", path], "run")]
        if kind == "imatrix":
            return [([*run, "-m", good, "--weights", "q4_0", "--imatrix", path], "run")]
        if kind == "session":
            return [(["chat", "-m", good, "--commands", "-n", 1, "-t", 1], "session")]
        last = (["inspect", "--verify", path], "verify") if kind == "packed" else (["pack", "-m", path, "-o", packed, "-t", 1], "pack")
        return [(["inspect", path], "inspect"), ([*run, "-m", path], "run"), ([*run, "-m", self.controls[kind], "--draft", path], "draft"), last]

    def faults(self, case):
        """Yields a line for each fault of the program with this case. If the program does what it should, it yields none."""
        path = self.path(case)
        with tempfile.TemporaryDirectory() as scratch:
            packed = pathlib.Path(scratch) / "out.stilla"
            for arguments, rule in self.commands(case["kind"], path, packed):
                status, errors = self.run(arguments, f"/load {path}\nab\n".encode() if rule == "session" else b"")
                self.messages.append(f"{case['name']}: {case['expect']}: {rule}: {status}: {errors.decode(errors='replace').rstrip()}")
                fault = self.fault(case, rule, status, errors)
                if fault:
                    yield f"{case['name']}: {rule}: {fault}: {errors[-300:].decode(errors='replace')}"
            if case["expect"] not in HARMLESS and packed.exists():
                yield f"{case['name']}: pack left a file"

    @classmethod
    def fault(cls, case, rule, status, errors):
        if status is None:
            return "hangs"
        if status < 0 or status > 3 or any(report in errors for report in REPORTS):
            return f"ends with status {status}"
        is_taken = b"stilla: loaded " in errors if rule == "session" else status == 0  # a chat continues after a session that it refused
        if case["expect"] == "control":
            return None if is_taken else f"a control is refused with status {status}"
        if is_taken:
            return "accepted" if cls.is_wrongly_taken(case["expect"], rule) else None
        lines = [line for line in errors.splitlines() if line.startswith(b"stilla: ")]
        return None if any(case["name"].encode() in line for line in lines) else f"status {status}, and no line names the file"

    @staticmethod
    def is_wrongly_taken(expect, rule):
        return rule in {"refused": ("run", "draft", "pack", "session"), "damaged": ("run", "pack"), "text": ("run",),
                        "altered": ("verify", "run", "draft")}.get(expect, ())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="the program stilla, best with sanitizers")
    parser.add_argument("folder", type=pathlib.Path, help="what make_hostile_files.py made")
    parser.add_argument("--seconds", type=float, default=900, help="the longest that a command may take (default 900; a template may take 20 million steps)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="commands at a time")
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    parser.add_argument("--messages", type=pathlib.Path, help="a file for what each command said, to be read by a person")
    options = parser.parse_args()
    checker = Checker(str(pathlib.Path(options.program).resolve()), options.folder, options.seconds)
    cases = [case for case in json.loads((options.folder / "cases.json").read_text()) if options.only in case["name"]]
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        faults = [line for lines in pool.map(lambda case: list(checker.faults(case)), cases) for line in lines]
    if options.messages:
        options.messages.write_text("\n".join(sorted(checker.messages)) + "\n")
    print(*faults, sep="\n", end="\n" if faults else "")
    counts = collections.Counter(case["expect"] for case in cases)
    print(f"{len(cases)} files ({', '.join(f'{n} {what}' for what, n in sorted(counts.items()))}): {len(faults)} faults")
    return 1 if faults or not cases else 0


if __name__ == "__main__":
    sys.exit(main())
