#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures how long programs take from their start to the first token, and how long a copy of the model takes in the same minutes.

    bench/compare_start.py MODEL.gguf before=OLD/stilla after=build/release/bin/stilla

Each round runs every program once with a prompt of one token. It then copies the file's bytes from the page cache to new memory, with
the same number of threads. A program that puts its weights in order has to read as many bytes as the copy and write about as many, so
it cannot give its first token sooner than a copy ends. A copy spends most of its time on new memory where the system must clear it, or
where a virtual machine must get it from its host.

The script prints medians: the seconds to the first byte of the answer, the seconds of CPU time until the end (user and system), and
the seconds as a multiple of the copy's, which is above 1 where a program takes longer than the copy. The file is read once before, so
that it is in the page cache.
"""

import argparse
import ctypes
import mmap
import os
import statistics
import subprocess
import threading
import time

PIECE = 1 << 24


def copy_seconds(path, threads):
    """Returns the seconds that it takes to copy a file to new private memory. A child process does this and frees the memory."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with open(path, "rb") as file:
            source = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        size = len(source)
        target = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            target.madvise(mmap.MADV_HUGEPAGE)
        begin = ctypes.addressof(ctypes.c_char.from_buffer(source))
        end = ctypes.addressof(ctypes.c_char.from_buffer(target))
        pieces = iter(range(0, size, PIECE))

        def work():
            for at in pieces:  # the interpreter's lock ensures that each piece is handed out once; memmove runs without the lock
                ctypes.memmove(end + at, begin + at, min(PIECE, size - at))

        start = time.perf_counter()
        workers = [threading.Thread(target=work) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        os.write(writer, str(time.perf_counter() - start).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader) as result:
        return float(result.read())


def run(program, model, threads):
    """Returns the seconds to the first byte on standard output, and the seconds of CPU time (user and system) until the end."""
    command = [program, "run", "-m", model, "--raw", "-p", "hi", "-n", "1", "--ctx", "512", "-t", str(threads)]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    first = process.stdout.read(1)
    seconds = time.perf_counter() - start
    process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0 or not first:
        raise SystemExit(f"{program}: no token; exit status {process.returncode}")
    return seconds, usage.ru_utime, usage.ru_stime


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("programs", nargs="+", metavar="NAME=PROGRAM")
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("-r", "--rounds", type=int, default=5)
    arguments = parser.parse_args()
    programs = [name.split("=", 1) for name in arguments.programs]

    with open(arguments.model, "rb") as file:
        while file.read(PIECE):
            pass
    copies, times = [], {name: [] for name, _ in programs}
    for _ in range(arguments.rounds):
        for name, program in programs:
            times[name].append(run(program, arguments.model, arguments.threads))
        copies.append(copy_seconds(arguments.model, arguments.threads))
    copy = statistics.median(copies)
    print(f"{os.path.basename(arguments.model)}, {os.path.getsize(arguments.model) / 1e9:.2f} GB, "
          f"{arguments.threads} threads, median of {arguments.rounds}; copied in {copy:.2f} s")
    print("| program | to the first token, s | CPU time, user + system, s | times the copy |\n|---|---|---|---|")
    for name, _ in programs:
        seconds, user, system = (statistics.median(column) for column in zip(*times[name]))
        shares = [row[0] / copied for row, copied in zip(times[name], copies)]
        print(f"| {name} | {seconds:.2f} | {user:.2f} + {system:.2f} | {statistics.median(shares):.2f} |")


if __name__ == "__main__":
    main()
