#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the program on the files of make_hostile_files.py and fails on a crash, a hang, a sanitizer's report, a file that is taken and
must be refused, or a control that is not.

Each model is given to `inspect`, `run -n 1` and `pack`; a packed file also to `inspect --verify`, a session to `chat`'s /load, a template
to `run --chat-template`. A refusal is one line on standard error that begins with "stilla: ", and a status of 1 to 3.
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


class Checker:
    def __init__(self, program, folder, seconds):
        self.program, self.folder, self.seconds = program, folder, seconds
        self.environment = dict(os.environ, ASAN_OPTIONS="exitcode=99:allocator_may_return_null=1:detect_leaks=0", UBSAN_OPTIONS="print_stacktrace=1")

    def run(self, arguments, typed=b""):
        """(status or None for a hang, standard error)."""
        try:
            done = subprocess.run([self.program, *map(str, arguments)], input=typed, capture_output=True, timeout=self.seconds,
                                  env=self.environment, check=False)
        except subprocess.TimeoutExpired:
            return None, b""
        return done.returncode, done.stderr

    def faults(self, case):
        """Lines; none for a case that is as it should be."""
        path = self.folder / case["name"]
        with tempfile.TemporaryDirectory() as scratch:
            packed = pathlib.Path(scratch) / "out.stilla"
            runs = {  # arguments, and what is expected where a file is to be refused
                "gguf": [(["inspect", path], "any"), (["run", "-m", path, "-p", "ab", "-n", 1, "-t", 1], "refused"),
                         (["pack", "-m", path, "-o", packed, "-t", 1], "refused")],
                "template": [(["run", "-m", self.folder / "session-model.gguf", "-p", "ab", "-n", 1, "-t", 1, "--chat-template", path], "refused")],
                "session": [(["chat", "-m", self.folder / "session-model.gguf", "--commands", "-n", 1, "-t", 1], "session")],
            }
            runs["folder"] = runs["gguf"]
            runs["packed"] = runs["gguf"][:2] + [(["inspect", "--verify", path], "altered")]
            for arguments, rule in runs[case["kind"]]:
                typed = f"/load {path}\nab\n".encode() if rule == "session" else b""
                status, errors = self.run(arguments, typed)
                fault = self.fault(case["expect"], rule, arguments[0], status, errors)
                if fault:
                    yield f"{case['name']}: {arguments[0]}: {fault}: {errors[-300:].decode(errors='replace')}"
            if case["expect"] not in ("control", "survived", "text") and packed.exists():
                yield f"{case['name']}: pack left a file"

    @staticmethod
    def fault(expect, rule, command, status, errors):
        if status is None:
            return "hangs"
        if status < 0 or status > 3 or any(report in errors for report in REPORTS):
            return f"ends with status {status}"
        if rule == "session":  # the chat goes on in any case
            loaded = b"stilla: loaded " in errors
            return {"control": not loaded and "not loaded", "refused": loaded and "loaded"}.get(expect)
        if expect == "control":
            return status != 0 and f"a control ends with status {status}"
        is_wrong = {"refused": rule == "refused", "damaged": rule == "refused", "altered": rule == "altered",
                    "text": command == "run"}.get(expect, False)
        if is_wrong and status == 0:
            return "accepted"
        last = errors.splitlines()[-1:] if status else []
        return f"says nothing with status {status}" if status and not (last and last[0].startswith(b"stilla: ")) else None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="the program stilla, best with sanitizers")
    parser.add_argument("folder", type=pathlib.Path, help="what make_hostile_files.py made")
    parser.add_argument("--seconds", type=float, default=300, help="the longest that a command may take (default 300)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="commands at a time")
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    options = parser.parse_args()
    checker = Checker(str(pathlib.Path(options.program).resolve()), options.folder, options.seconds)
    cases = [case for case in json.loads((options.folder / "cases.json").read_text()) if options.only in case["name"]]
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        faults = [line for lines in pool.map(lambda case: list(checker.faults(case)), cases) for line in lines]
    print(*faults, sep="\n", end="\n" if faults else "")
    counts = collections.Counter(case["expect"] for case in cases)
    print(f"{len(cases)} files ({', '.join(f'{n} {what}' for what, n in sorted(counts.items()))}): {len(faults)} faults")
    return 1 if faults or not cases else 0


if __name__ == "__main__":
    sys.exit(main())
