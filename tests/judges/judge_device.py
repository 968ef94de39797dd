#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Judges `--device onnxruntime`: the program loads the library of the wheel onnxruntime, which runs the body of exported
folders on the CPU and, with the wheel onnxruntime-qnn, in Qualcomm's x86 emulator of the HTP. The logits are compared with
those that the program's own kernels compute from the same weights. What does not fit must be refused in one line. Nothing here
runs on an NPU.
"""

import argparse
import pathlib
import shutil
import subprocess
import tempfile

import common
import judge_qnn

PROMPT = "What is 347 + 589?"
# The C code of a library that says that it is an older ONNX Runtime. It does not have the version of the API that the program asks
# for.
OLD_LIBRARY = """
#include <stdint.h>
static const void *get_api(uint32_t version) { (void)version; return 0; }
static const char *get_version(void) { return "1.17.0"; }
static const struct { const void *(*get_api)(uint32_t); const char *(*get_version)(void); } base = { get_api, get_version };
const void *OrtGetApiBase(void) { return &base; }
"""


class Device:
    """Runs the program with a device and without it, and compares what it computes."""

    def __init__(self, judge, program, library):
        self.judge, self.program, self.library = judge, program, str(library)

    def options(self, folder, device="onnxruntime", extra=()):
        return ["--device", device, "--device-folder", folder, "--device-library", self.library, *extra]

    def compare_logits(self, name, folder, ids, packed, most):
        """Compares logits of a text that has several windows, the last of them not full, and single tokens after them. Embedding and
        head are those of `packed` in both runs. Otherwise they would differ: with --weights, a head of floats becomes q8_0, but with a
        device the program leaves the head as the file has it."""
        of_packed = common.Program(self.program.program, packed)
        found = of_packed.logits(ids, *self.options(folder))
        expected = of_packed.logits(ids)
        nmse = common.nmse(found, expected)
        same = (found.argmax(1) == expected.argmax(1)).mean()
        self.judge.claim(nmse <= most, f"executed by onnxruntime on the CPU: {name}, {len(ids)} tokens: NMSE of logits {nmse:.1e}, "
                         f"the likeliest token is ours at {100 * same:.1f} %")

    def compare_rotated(self, name, folder, ids, packed, most):
        """Compares logits where the folder's body is rotated, and the embedding and head of the program's model are not.
        `packed` has the same weights, all of them rotated. A head of floats is rounded to q8_0 there, and this rounding causes most of
        the error."""
        on_cpu = common.Program(self.program.program, packed)
        nmse = common.nmse(self.program.logits(ids, *self.options(folder)), on_cpu.logits(ids))
        self.judge.claim(nmse <= most, f"executed by onnxruntime on the CPU: {name}, {len(ids)} tokens: NMSE of logits {nmse:.1e}")
        say = ["run", "-p", PROMPT, "--temp", 0, "--think", "show"]
        same = self.program.run(*say, "-m", self.program.model, *self.options(folder)).stdout == self.program.run(*say, "-m", packed).stdout
        self.judge.claim(same, f"executed by onnxruntime on the CPU, token by token: {name}: the answer to {PROMPT!r} is the packed file's")

    def compare_text(self, name, folder, weights):
        say = ["run", "-m", self.program.model, "-p", PROMPT, "--temp", 0, "--think", "show"]
        found = self.program.run(*say, *self.options(folder)).stdout
        expected = self.program.run(*say, "--weights", weights).stdout
        self.judge.claim(found == expected, f"executed by onnxruntime on the CPU, token by token: {name}: the answer to {PROMPT!r} is ours")

    def test(self, name, folder, weights, device="onnxruntime", extra=()):
        """Runs the program's own check; its last line is its verdict."""
        done = subprocess.run([self.program.program, "npu", "test", "-m", self.program.model, "--weights", weights,
                               *map(str, self.options(folder, device, extra))], capture_output=True, text=True, check=False)
        self.judge.claim(done.returncode == 0, f"{name}: stilla npu test: {' '.join(done.stdout.split())} {done.stderr.strip()}")

    def refused(self, says, *options):
        with tempfile.TemporaryDirectory() as scratch:
            done = subprocess.run([self.program.program, "logits", "-m", self.program.model, "--ids", "1,2", "-o", f"{scratch}/x.npy",
                                   *map(str, options)], capture_output=True, text=True, check=False)
        text = done.stderr.strip()
        self.judge.claim(done.returncode in (1, 2, 3) and says in text and "\n" not in text, f"refused: {text}")


def judge(options):
    ort = common.wheel("onnxruntime")
    judge = common.Judge()
    folder_of_wheel = pathlib.Path(ort.__file__).parent / "capi"
    library = next(iter(sorted(folder_of_wheel.glob("libonnxruntime.so*"))), None)
    if library is None:
        print(f"skipped: the wheel onnxruntime has no libonnxruntime.so in {folder_of_wheel.name}")
        return
    program = common.Program(options.program, options.model)
    device = Device(judge, program, library)
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        scratch = pathlib.Path(scratch)
        texts = judge_qnn.drop_texts(60)
        (scratch / "calibration.txt").write_text("\n---\n".join(texts), encoding="utf-8")
        ids = [i for text in texts[:4] for i in program.tokens(text, "--special")][:190]
        for weights, most in (("int4_channel", 1e-6), ("int8_channel", 1e-3)):  # for 8 bits onnxruntime rounds the inputs too
            folder = scratch / weights
            program.run("export", "--to", "openvino", "-m", options.model, "-o", folder, "--ctx", 192, "--weights", weights)
            program.run("pack", "-m", options.model, "-o", scratch / f"{weights}.stilla", "--weights", weights)
            device.compare_logits(f"--to openvino, {weights}", folder, ids, scratch / f"{weights}.stilla", most)
        packed_int4 = scratch / "int4_channel.stilla"
        parts = scratch / "parts"
        program.run("export", "--to", "openvino", "-m", options.model, "-o", parts, "--ctx", 192, "--part-layers", 2)
        device.compare_logits("--to openvino, int4_channel, two parts", parts, ids, packed_int4, 1e-6)
        device.compare_text("--to openvino, int4_channel", scratch / "int4_channel", "int4_channel")
        device.test("onnxruntime on the CPU, --to openvino", scratch / "int4_channel", "int4_channel")
        rotated, packed = scratch / "rotated", scratch / "rotated.stilla"
        program.run("export", "--to", "openvino", "-m", options.model, "-o", rotated, "--ctx", 192, "--rotate", "all")
        program.run("pack", "-m", options.model, "-o", packed, "--weights", "int4_channel", "--rotate", "all")
        device.compare_rotated("--to openvino --rotate all, int4_channel", rotated, ids, packed, 1e-5)
        qnn_folder = scratch / "qnn"
        program.run("export", "--to", "qnn", "-m", options.model, "-o", qnn_folder, "--ctx", 192, "--calibration",
                    scratch / "calibration.txt")
        device.compare_logits("--to qnn, int4_channel, activations of 16 bits", qnn_folder, ids, packed_int4, 1e-2)

        device.refused("has no provider 'AbacusExecutionProvider'; it has ", *device.options(qnn_folder, "onnxruntime:Abacus"))
        device.refused("model.onnx.data", *device.options(broken(parts, scratch / "broken")))
        if shutil.which("cc"):
            old = scratch / "libold.so"
            subprocess.run(["cc", "-shared", "-fPIC", "-o", str(old), "-x", "c", "-"], input=OLD_LIBRARY, text=True, check=True)
            device.refused("libold.so is ONNX Runtime 1.17.0; expected 1.22 or later", "--device", "onnxruntime", "--device-folder",
                           qnn_folder, "--device-library", old)

        try:
            import onnxruntime_qnn as qnn
        except ImportError as error:
            print(f"skipped: nothing is executed in Qualcomm's emulator, because the wheel onnxruntime-qnn cannot be imported ({error})")
        else:
            settings = {"backend_path": qnn.get_qnn_htp_path(), "soc_model": 60, "htp_arch": 73}
            extra = ["--device-provider", qnn.get_library_path()]
            for key, value in settings.items():
                extra += ["--device-option", f"{key}={value}"]
            device.test("executed in Qualcomm's x86 emulator, all of the body on HTP, --to qnn", qnn_folder, "int4_channel", "onnxruntime:QNN",
                        [*extra, "-p", PROMPT])
    judge.end()


def broken(folder, to):
    """Makes a copy of the folder without its weights."""
    shutil.copytree(folder, to)
    (to / "model.onnx.data").unlink()
    return to


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", help="the program stilla")
    parser.add_argument("model", help="Stilla Drop, a GGUF file that --weights can requantise")
    parser.add_argument("--scratch", help="folder for the exported files (default: the system's)")
    judge(parser.parse_args())


if __name__ == "__main__":
    main()
