#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares the program with transformers on folders in the form of Hugging Face: token ids and float32 logits.

    python tests/compare_hugging_face.py build/release/bin/stilla                       tiny random models of each kind
    python tests/compare_hugging_face.py build/release/bin/stilla --model MODEL.gguf    a real one, exported to such a folder

Needs torch, transformers and gguf (.ci/requirements.txt). The tiny folders are those of golden/make_hugging_face_folders.py
--all. A real model (qwen2) is dequantised to bfloat16 by gguf-py and saved by transformers, in shards. A GGUF file of the same
bfloat16 weights is written too. Both are loaded --runs times with --weights q8_0, and the shortest times are compared. Ends with
status 1 if any limit is missed.
"""
import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter
from gguf.quants import dequantize
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
MOST_NMSE = 1e-6
MOST_TIME = 1.3
TEXT = ("Write a line of Python that reverses a string s; don't explain 12345 times.\n\n\tdef f(x):  return x[::-1]  "
        "# \u00e9t\u00e9, \u4f60\u597d \U0001f600 I'LL <|im_end|>")
failures = []


def run(stilla, *arguments, text=None):
    done = subprocess.run([stilla, *arguments], input=text, capture_output=True, text=True)
    if done.returncode:
        failures.append(f"stilla {arguments[0]} ended with {done.returncode}: {done.stderr.strip()}")
    return done


def check(what, good):
    print(("ok      " if good else "FAILED  ") + what, flush=True)
    if not good:
        failures.append(what)


def compare(stilla, folder, name):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    expected_ids = tokenizer(TEXT, add_special_tokens=False).input_ids
    for special in ([], ["--special"]):
        if not special:
            # Special tokens are read as text. The fast tokenizer has no option for that, so this is tested only with a text that
            # has none.
            text = TEXT.replace("<|im_end|>", "")
            expected = tokenizer(text, add_special_tokens=False).input_ids
        else:
            text, expected = TEXT, expected_ids
        found = run(stilla, "tokenize", "-m", folder, *special, text=text).stdout.split()
        check(f"{name}: {len(expected)} token ids{' with special tokens' if special else ''}", [int(i) for i in found] == expected)
    ids = expected_ids[:64]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0].double().numpy()
    del model
    with tempfile.TemporaryDirectory() as work:
        out = os.path.join(work, "logits.npy")
        if run(stilla, "logits", "-m", folder, "--kv", "f32", "--ids", ",".join(map(str, ids)), "-o", out).returncode:
            return
        ours = np.load(out).astype(np.float64)
    nmse = ((ours - logits) ** 2).sum() / (logits ** 2).sum()
    same = (ours.argmax(1) == logits.argmax(1)).mean()
    check(f"{name}: nmse of {len(ids)} x {logits.shape[1]} logits {nmse:.2e}, at most {MOST_NMSE}; same best token {same:.0%}", nmse <= MOST_NMSE)


NAMES = {"token_embd": "model.embed_tokens", "output": "lm_head", "output_norm": "model.norm", "attn_q": "self_attn.q_proj",
         "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "attn_norm": "input_layernorm",
         "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}


def export(source, folder, file):
    """Writes a qwen2 GGUF file, dequantised to bfloat16, as a folder that transformers saves, and as a GGUF file again."""
    reader = GGUFReader(source)
    arguments = dict(gguf_file=os.path.basename(source))
    config = AutoConfig.from_pretrained(os.path.dirname(source), **arguments)
    config.tie_word_embeddings = all(t.name != "output.weight" for t in reader.tensors)
    writer = GGUFWriter(file, reader.fields["general.architecture"].contents())
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        sub_type = field.types[1] if field.types[0] == GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), field.types[0], sub_type)
    state = {}
    for tensor in reader.tensors:
        name, ending = tensor.name.rsplit(".", 1)
        layer = re.fullmatch(r"blk\.(\d+)\.(.*)", name)
        original = f"model.layers.{layer[1]}.{NAMES[layer[2]]}" if layer else NAMES[name]
        values = torch.from_numpy(np.array(dequantize(tensor.data, tensor.tensor_type))).to(torch.bfloat16)
        state[f"{original}.{ending}"] = values
        if values.ndim == 1:
            writer.add_tensor(tensor.name, values.float().numpy())
        else:
            writer.add_tensor(tensor.name, values.view(torch.uint16).numpy().view(np.uint8), raw_dtype=GGMLQuantizationType.BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    missing, unexpected = model.load_state_dict(state, strict=False, assign=True)
    assert not unexpected and (not missing or missing == ["lm_head.weight"] and config.tie_word_embeddings), (missing, unexpected)
    model.tie_weights()
    model.save_pretrained(folder, max_shard_size="400MB")
    AutoTokenizer.from_pretrained(os.path.dirname(source), **arguments).save_pretrained(folder)


def load_times(stilla, models, weights, runs):
    """Returns for each model the least time that loading took, and the least CPU time of the program, both in seconds. Other programs
    change the CPU time less. The models are loaded in turns, so that a busy moment of the machine affects all of them."""
    times, cpu_times = [[] for _ in models], [[] for _ in models]
    for _ in range(runs):
        for i, model in enumerate(models):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            done = run(stilla, "run", "-m", model, "--weights", weights, "--ctx", "64", "--raw", "-p", "a", "-n", "1", "--temp", "0")
            found = re.search(r"load ([0-9.]+) s", done.stderr)
            times[i].append(float(found[1]) if found else float("inf"))
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu_times[i].append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return [(min(t), min(c)) for t, c in zip(times, cpu_times)]


def real(stilla, source, work, runs):
    folder, file = os.path.join(work, "model"), os.path.join(work, "model-bf16.gguf")
    if not os.path.exists(file):
        export(source, folder, file)
    name = os.path.basename(source)
    compare(stilla, folder, name)
    for weights in ("file", "q8_0", "q4_0"):
        (from_file, file_cpu), (from_folder, folder_cpu) = load_times(stilla, (file, folder), weights, runs)
        line = (f"{name}: load with --weights {weights}: folder {from_folder:.2f} s ({folder_cpu:.2f} s CPU), GGUF file of the same "
                f"weights {from_file:.2f} s ({file_cpu:.2f} s CPU)")
        if weights == "q8_0":
            check(f"{line}; at most {MOST_TIME} times", from_folder <= MOST_TIME * from_file)
        else:
            print("        " + line)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stilla")
    parser.add_argument("--model", help="a real GGUF file")
    parser.add_argument("--keep", metavar="FOLDER", help="export the real model there, and use what is there already")
    parser.add_argument("--runs", type=int, default=5, help="of each measured load (default 5)")
    parser.add_argument("--architectures", default="qwen2,qwen3,llama", help="of the tiny ones (default: all three)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        if options.model:
            real(options.stilla, os.path.abspath(options.model), options.keep or work, options.runs)
        else:
            maker = os.path.join(HERE, "golden", "make_hugging_face_folders.py")
            subprocess.run([sys.executable, maker, work, "--all"], check=True, capture_output=True)
            for name in sorted(os.listdir(work)):
                if os.path.isdir(os.path.join(work, name)) and name.split("-")[0] in options.architectures.split(","):
                    compare(options.stilla, os.path.join(work, name), name)
    for failure in failures:
        print(f"FAILED  {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
