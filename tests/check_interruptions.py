#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Interrupts the program at random moments, and fails if what it leaves behind is wrong.

Killed: `stilla pack` and the /save of `stilla chat` get SIGKILL or SIGTERM. Afterwards the output is the file from before or the
new one, byte for byte. After SIGTERM nothing else lies in the folder, and after SIGKILL nothing else lies there once the same
command has succeeded.

Cut: the model becomes shorter while `run`, `chat` and `pack` use it, packed or not. The program then ends with status 1 and one
line that names the file. It may also succeed, if it had read what it needed; then its output is that of an undisturbed run. With
--no-mmap it always succeeds.
"""

import argparse
import collections
import contextlib
import os
import pathlib
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
DROP = ROOT / "examples/models/stilla-drop-f16.gguf"
TINY = ROOT / "tests/golden/tiny-qwen3.gguf"
QUESTIONS = "".join(f"What is {a} + {b}?\n" for a, b in zip(range(1234, 1254), range(8765, 8745, -1)))
PATIENCE = 120  # seconds: the longest that a command may take
PAGE = 4096


class Checker:
    def __init__(self, program, folder, seed):
        self.program, self.folder, self.random = program, folder, random.Random(seed)
        self.counts, self.faults = collections.Counter(), []

    def start(self, *arguments):
        return subprocess.Popen([self.program, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def finish(self, process, typed=b""):
        """Waits for the end of the process. Returns its status, standard output and standard error."""
        try:
            out, errors = process.communicate(typed, timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return None, b"", b"it hangs"
        return process.returncode, out, errors

    def succeed(self, *arguments, typed=b""):
        status, out, errors = self.finish(self.start(*arguments), typed)
        if status != 0:
            raise SystemExit(f"{arguments}: an undisturbed run ended with status {status}: {errors.decode(errors='replace')}")
        return out

    def fault(self, what, why, errors=b""):
        self.faults.append(f"{what}: {why}: {errors[-300:].decode(errors='replace')}")

    # The program is killed while it writes. A writer has three functions: begin() starts a process that is about to write `output`,
    # go(process) makes the process write, and once() writes the file in a process that is not disturbed.

    def kill(self, name, writer, output, before, after, kills, terms):
        """Kills the writer at random moments. `before` is what the output holds when the writer begins, and `after` what it writes."""
        whole = statistics.median(self.seconds(writer, output, before) for _ in range(5))
        signals = [signal.SIGKILL] * kills + [signal.SIGTERM] * terms
        self.random.shuffle(signals)
        for i, number in enumerate(signals):
            old = before if i % 4 else None  # every fourth time there is no output yet
            self.reset(output, old)
            process = writer.begin()
            writer.go(process)
            time.sleep(self.random.uniform(0, 1.1 * whole))
            process.send_signal(number)
            status, _, errors = self.finish(process)
            what = f"{name}, {signal.Signals(number).name}"
            found = output.read_bytes() if output.exists() else None
            if found not in (old, after):
                self.fault(what, f"the output is neither the old file nor the new one, but has {len(found or b'')} bytes")
            others = sorted(file.name for file in output.parent.iterdir() if file != output)
            self.counts[f"{what}: {'new' if found == after else 'old'} file{', and a partial one' if others else ''}"] += 1
            if number == signal.SIGTERM:
                # The status is -SIGTERM if the signal came before the program had installed its handler.
                if status not in (0, 128 + signal.SIGTERM, -signal.SIGTERM):
                    self.fault(what, f"status {status}", errors)
                if others:
                    self.fault(what, f"leaves {others}")
            writer.once()
            others = sorted(file.name for file in output.parent.iterdir() if file != output)
            if others:
                self.fault(what, f"the next run leaves {others}")
            if output.read_bytes() != after:
                self.fault(what, "the next run makes another file")

    @staticmethod
    def reset(output, content):
        for file in output.parent.iterdir():
            file.unlink()
        if content is not None:
            output.write_bytes(content)

    def seconds(self, writer, output, before):
        """Returns how many seconds the writer takes from go() to its end."""
        self.reset(output, before)
        process = writer.begin()
        start = time.monotonic()
        writer.go(process)
        self.finish(process)
        return time.monotonic() - start

    # The model file is cut while the program reads it.

    def cut(self, name, arguments, model, count, typed=b"", output=None):
        """Runs `arguments` with a copy of `model` in place of the word MODEL, and cuts the copy."""
        copy = self.folder / f"cut{model.suffix}"
        arguments = [copy if argument == "MODEL" else argument for argument in arguments]
        content = model.read_bytes()

        def made(out):
            return (out, output.read_bytes() if output else None)

        def renew():
            copy.unlink(missing_ok=True)
            copy.write_bytes(content)
            if output:
                output.unlink(missing_ok=True)

        renew()
        start = time.monotonic()
        expected = made(self.succeed(*arguments, typed=typed))
        whole = time.monotonic() - start
        for i in range(count):
            renew()
            size = self.random.randrange(len(content)) if i % 3 else len(content) - self.random.randrange(1, PAGE)
            process = self.start(*arguments)
            wait_until_mapped(process, copy)
            if typed:
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.write(typed)
                    process.stdin.flush()
            # Every other time the cut comes early, so it often comes while the model is loaded.
            time.sleep(self.random.uniform(0, whole if i % 2 else whole / 10))
            os.truncate(copy, size)
            status, out, errors = self.finish(process)
            what = f"{name}, cut to {size} of {len(content)} bytes"
            # The program may read the zeros behind the new end and compute a checksum of them before it looks at the length. It
            # then says that the file is damaged.
            lines = [line for line in errors.decode(errors="replace").splitlines()
                     if copy.name in line and ("shorter" in line or "the file is damaged" in line)]
            self.counts[f"{name}: {'succeeds' if status == 0 else f'status {status}'}"] += 1
            if status not in (0, 1):
                self.fault(what, f"status {status}", errors)
            elif status == 1 and len(lines) != 1:
                self.fault(what, "does not say once what is wrong with the file", errors)
            elif status == 0 and made(out) != expected:
                self.fault(what, "succeeds with another result", errors)
            if output and status != 0 and output.exists():
                self.fault(what, "leaves an output")

    def cut_what_was_read(self, name, arguments, model, typed=b""):
        """Cuts the copy as cut() does, but with --no-mmap and after the first byte of the answer: the program succeeds."""
        copy = self.folder / f"read{model.suffix}"
        copy.write_bytes(model.read_bytes())
        arguments = [copy if argument == "MODEL" else argument for argument in arguments] + ["--no-mmap"]
        expected = self.succeed(*arguments, typed=typed)
        process = self.start(*arguments)
        process.stdin.write(typed)
        process.stdin.close()
        process.stdin = None
        first = os.read(process.stdout.fileno(), 1)
        os.truncate(copy, 0)
        status, out, errors = self.finish(process)
        if (status, first + out) != (0, expected):
            self.fault(name, f"status {status}, or another answer", errors)
        self.counts[f"{name}: {'succeeds' if status == 0 else f'status {status}'}"] += 1


def wait_until_mapped(process, file):
    maps = pathlib.Path(f"/proc/{process.pid}/maps")
    while process.poll() is None:
        try:
            if str(file) in maps.read_text():
                return
        except OSError:
            return
        time.sleep(0.0005)


class Packer:
    def __init__(self, checker, output):
        self.checker, self.arguments = checker, ("pack", "-m", DROP, "--weights", "st4", "-o", output, "-t", 1)

    def begin(self):
        return self.checker.start(*self.arguments)

    def go(self, process):
        pass

    def once(self):
        self.checker.succeed(*self.arguments)


class Saver:
    """Says something to a model and saves the conversation."""

    def __init__(self, checker, output, message):
        self.checker = checker
        self.arguments = ("chat", "--commands", "-m", TINY, "-t", 1, "-n", 2, "--kv", "f32", "--temp", 0, "--seed", 1)
        self.message, self.command = message, f"/save {output}\n".encode()

    def begin(self):
        process = self.checker.start(*self.arguments)
        process.stdin.write(self.message)
        process.stdin.flush()
        process.stdout.readline()  # this reads the answer; from now on the process waits for a line
        return process

    def go(self, process):
        process.stdin.write(self.command)
        process.stdin.flush()

    def once(self):
        self.checker.succeed(*self.arguments, typed=self.message + self.command)


def check_writers(checker, kills, terms):
    folder = checker.folder / "pack"
    folder.mkdir()
    output = folder / "model.stilla"
    packer = Packer(checker, output)
    checker.succeed("pack", "-m", DROP, "-o", output, "-t", 1)
    before = output.read_bytes()
    packer.once()
    checker.kill("pack", packer, output, before, output.read_bytes(), kills, terms)

    folder = checker.folder / "save"
    folder.mkdir()
    output = folder / "talk.session"
    Saver(checker, output, b"something else\n").once()
    before = output.read_bytes()
    saver = Saver(checker, output, b"seven " * 100 + b"\n")
    saver.once()
    checker.kill("save", saver, output, before, output.read_bytes(), kills, terms)


def check_readers(checker, count):
    packed, again = checker.folder / "packed.stilla", checker.folder / "again.stilla"
    checker.succeed("pack", "-m", DROP, "-o", packed, "-t", 1)
    greedy = ("-m", "MODEL", "-t", 1, "--temp", 0)
    run = ("run", *greedy, "--raw", "-p", "What is 347 + 589?", "-n", 400, "-l", "618-inf")  # 618 is the token that would end the text
    typed = QUESTIONS.encode()
    checker.cut("run", run, DROP, count)
    checker.cut("run, packed", run, packed, count)
    checker.cut("chat", ("chat", *greedy), DROP, count, typed=typed)
    checker.cut("chat, packed", ("chat", *greedy), packed, count, typed=typed)
    checker.cut("pack", ("pack", "-m", "MODEL", "-t", 1, "--weights", "st4", "-o", again), DROP, count, output=again)
    checker.cut_what_was_read("run --no-mmap", run, packed)
    checker.cut_what_was_read("chat --no-mmap", ("chat", *greedy), packed, typed=typed)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="the program stilla")
    parser.add_argument("--kills", type=int, default=100, help="SIGKILL, for each writer (default 100)")
    parser.add_argument("--terms", type=int, default=20, help="SIGTERM, for each writer (default 20)")
    parser.add_argument("--cuts", type=int, default=50, help="cuts, for each command (default 50)")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1000000, help="of the random moments (default: another each time)")
    options = parser.parse_args()
    print(f"seed {options.seed}")
    with tempfile.TemporaryDirectory() as folder:
        checker = Checker(str(pathlib.Path(options.program).resolve()), pathlib.Path(folder), options.seed)
        check_writers(checker, options.kills, options.terms)
        check_readers(checker, options.cuts)
    for what, number in sorted(checker.counts.items()):
        print(f"{number:5}  {what}")
    print(*checker.faults, sep="\n", end="\n" if checker.faults else "")
    print(f"{len(checker.faults)} faults")
    return 1 if checker.faults else 0


if __name__ == "__main__":
    sys.exit(main())
