#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Lets the compiler of a configured build read every source of that build that it has not compiled yet, without making code: so all its
warnings, which are errors, and all its errors are seen in a third of the time that a build takes.

    .ci/read_sources.py BUILD
"""
import json
import os
import pathlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor


def read(entry):
    """Returns what the compiler says about a source, or nothing if it says nothing."""
    source = pathlib.Path(entry["directory"], entry["file"])
    if not source.exists():  # made by the build: the bytes of the embedded model
        return None
    options, output = entry["command"].split(" -o ")
    if pathlib.Path(entry["directory"], output.split()[0]).exists():  # compiled already
        return None
    command = f"{options} -fsyntax-only '{source}'"
    result = subprocess.run(command, shell=True, cwd=entry["directory"], capture_output=True, text=True, check=False)
    return None if result.returncode == 0 else f"{source}:\n{result.stdout}{result.stderr}"


def main():
    entries = json.loads(pathlib.Path(sys.argv[1], "compile_commands.json").read_text())
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        faults = [fault for fault in pool.map(read, entries) if fault]
    print("\n".join(faults + [f"{len(entries)} sources, {len(faults)} with errors"]))
    return 1 if faults or not entries else 0


if __name__ == "__main__":
    sys.exit(main())
