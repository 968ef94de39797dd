#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Trains the model that the program carries: tokenizer, training, evaluation, learning curve, GGUF files.

    pip install -r examples/training/requirements.txt
    examples/training/train.py        does all of this and writes the files to examples/models/

If the training is interrupted, the same command goes on where it stopped.

Muon trains the matrices of the layers, and AdamW trains the rest. The learning rate is constant and falls linearly to zero over the
last part. After the share QUANTISED of the steps, every other step rounds its weights to Q4_0. The loss counts thought and answer
only. Each worker is a process with one thread and its own share of a step's problems; the gradients of the workers are averaged.

Evaluation is exact: a problem counts as solved if every token of thought and answer is the most likely one. The thought follows from
the question, so one pass over the expected text says what greedy decoding would write.
"""
import argparse
import os
import random
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F

import data
import export
import tokenizer as tokenizers
from model import Config, Model, rounded

TOKENS = 4096        # tokens of each worker in each step, padding included
CHUNK = 32           # steps whose problems are made together, so that a batch has problems of one length
LEARNING_RATE = 3e-3
WARMUP = 100
DECAY = 0.6          # the share of the steps over which the rate falls
MIXES = {0.0: data.KINDS, 0.25: data.LATER, 0.6: data.LAST}  # the share of the steps from which on each mix is used
QUANTISED = 0.7      # the share of the steps before rounding begins
EVALUATE_EVERY = 200
SAVE_EVERY = 50


def batches(tokenizer, seed, chunk, workers, mix):
    """Returns the batches of CHUNK steps, which are CHUNK * workers lists of (prompt, response)."""
    rng = random.Random(f"{seed} {chunk}")
    out = []
    while len(out) < CHUNK * workers:
        problems = data.training_problems(rng, TOKENS * CHUNK * workers // 80, mix)
        pairs = list(zip(tokenizer.prompts([p.question for p in problems]), tokenizer.responses(problems)))
        of_length = {}
        for pair in pairs:
            of_length.setdefault(padded(len(pair[0]) + len(pair[1])), []).append(pair)
        rest = []
        for length in sorted(of_length):
            same, count = rest + of_length[length], TOKENS // length
            whole = len(same) // count * count
            out += [same[at:at + count] for at in range(0, whole, count)]
            rest = same[whole:]  # the remaining pairs join those of the next greater length
        out += [rest] if rest else []
    rng.shuffle(out)
    return out[:CHUNK * workers]


def padded(length):
    """Returns a length to which texts are filled up, so that there are few different shapes:
    PyTorch prepares each matrix product again for a shape that it has not seen."""
    return -(-length // 8) * 8


def tensors(pairs):
    """Returns the input tokens, the expected next tokens, and the places where these count for the loss."""
    length = padded(max(len(p) + len(r) for p, r in pairs)) + 1
    ids = torch.zeros(len(pairs), length, dtype=torch.long)
    counts = torch.zeros(len(pairs), length, dtype=torch.bool)
    for row, (prompt, response) in enumerate(pairs):
        ids[row, :len(prompt) + len(response)] = torch.tensor(prompt + response)
        counts[row, len(prompt):len(prompt) + len(response)] = True
    return ids[:, :-1], ids[:, 1:], counts[:, 1:]


@torch.no_grad()
def evaluate(model, tokenizer, problems, quantised, training=False):
    """Returns {kind: (problems solved exactly, all problems)}. `training` chooses the arithmetic of training, which is faster and less
    exact."""
    pairs = list(zip(tokenizer.prompts([p.question for p in problems]), tokenizer.responses(problems)))
    order = sorted(range(len(pairs)), key=lambda i: len(pairs[i][0]) + len(pairs[i][1]))
    result = {}
    for at in range(0, len(order), 32):
        chosen = order[at:at + 32]
        inputs, targets, counts = tensors([pairs[i] for i in chosen])
        with rounded(quantised), torch.autocast("cpu", torch.bfloat16, enabled=training):
            exact = ((model(inputs).argmax(-1) == targets) | ~counts).all(1)
        for i, good in zip(chosen, exact.tolist()):
            right, of = result.get(problems[i].kind, (0, 0))
            result[problems[i].kind] = (right + good, of + 1)
    return result


def share(result):
    return sum(r for r, _ in result.values()) / sum(n for _, n in result.values())


def optimisers(model):
    matrices = [p for name, p in model.named_parameters() if p.dim() == 2 and name.startswith("blk.")]
    others = [p for name, p in model.named_parameters() if not (p.dim() == 2 and name.startswith("blk."))]
    return [torch.optim.Muon(matrices, lr=LEARNING_RATE, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.0)]


def rate(step, steps):
    return LEARNING_RATE * min(1.0, (step + 1) / WARMUP, (steps - step) / (DECAY * steps))


def save(path, state):
    torch.save(state, path.with_suffix(".new"))
    os.replace(path.with_suffix(".new"), path)


def plot(history, path):
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams["svg.hashsalt"] = "stilla"
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    steps = [h["step"] for h in history]
    axes[0].semilogy(steps, [h["loss"] for h in history])
    axes[0].set(xlabel="step", ylabel="training loss, nats per token")
    for kind in history[-1]["kinds"]:
        axes[1].plot(steps, [100 * h["kinds"][kind] for h in history], label=kind)
    axes[1].plot(steps, [100 * h["q4_0"] for h in history], "k--", label="all, weights in Q4_0")
    axes[1].set(xlabel="step", ylabel="unseen problems solved exactly, %", ylim=(0, 101))
    axes[1].legend(fontsize=7)
    figure.savefig(path, metadata={"Date": None})


def worker(rank, a):
    torch.set_num_threads(1 if a.workers > 1 else os.cpu_count())
    torch.manual_seed(a.seed)
    if a.workers > 1:
        dist.init_process_group("gloo", init_method=f"file://{a.work}/rendezvous", rank=rank, world_size=a.workers)
    tokenizer = tokenizers.make()
    model = Model(Config())
    optims = optimisers(model)
    first, seconds, tokens, history = 0, 0.0, 0, []
    checkpoint = a.work / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        for optim, saved in zip(optims, state["optims"]):
            optim.load_state_dict(saved)
        first, seconds, tokens, history = state["step"], state["seconds"], state["tokens"], state["history"]
    unseen = data.test_problems(a.seed + 1, 350, with_outside=True)
    flat = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
    chunk, losses, clock = None, [], time.monotonic()
    for step in range(first, a.steps):
        if chunk is None or step % CHUNK == 0:
            mix = MIXES[max(share for share in MIXES if step // CHUNK * CHUNK >= share * a.steps)]
            chunk = batches(tokenizer, a.seed, step // CHUNK, a.workers, mix)
        inputs, targets, counts = tensors(chunk[step % CHUNK * a.workers + rank])
        quantised = step >= QUANTISED * a.steps and step % 2 == 1
        with rounded(quantised), torch.autocast("cpu", torch.bfloat16):
            logits = model(inputs)
        loss = F.cross_entropy(logits.float()[counts], targets[counts])
        loss.backward()
        if a.workers > 1:
            torch.cat([p.grad.reshape(-1) for p in model.parameters()], out=flat)
            dist.all_reduce(flat)
            at = 0
            for p in model.parameters():
                p.grad.copy_(flat[at:at + p.numel()].view_as(p)).div_(a.workers)
                at += p.numel()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optim in optims:
            for group in optim.param_groups:
                group["lr"] = rate(step, a.steps)
            optim.step()
            optim.zero_grad()
        losses.append(loss.item())
        tokens += inputs.numel() * a.workers
        done = step + 1
        if rank == 0 and (done % SAVE_EVERY == 0 or done == a.steps):
            now = time.monotonic()
            seconds, clock = seconds + now - clock, now
            mean = sum(losses) / len(losses)
            losses.clear()
            line = f"step {done}/{a.steps}, {tokens / 1e6:.1f}M tokens, {seconds / 60:.1f} min, {(a.steps - done) * seconds / done / 60:.0f} left, loss {mean:.4f}"
            if done % EVALUATE_EVERY == 0 or done == a.steps:
                plain, q4_0 = (evaluate(model, tokenizer, unseen, quantised, training=True) for quantised in (False, True))
                history.append({"step": done, "loss": mean, "q4_0": share(q4_0), "kinds": {k: r / n for k, (r, n) in plain.items()}})
                line += f", exact {share(plain):.1%}, Q4_0 {share(q4_0):.1%}: " + ", ".join(f"{k} {r}/{n}" for k, (r, n) in plain.items())
            print(line, flush=True)
            save(checkpoint, {"model": model.state_dict(), "optims": [o.state_dict() for o in optims], "step": done, "seconds": seconds,
                              "tokens": tokens, "history": history})
    if rank == 0:
        finish(model, tokenizer, history, a)


def finish(model, tokenizer, history, a):
    a.out.mkdir(parents=True, exist_ok=True)
    plot(history, a.out / "learning-curve.svg")
    export.write(model, tokenizer, a.out)
    problems = data.test_problems(data.TABLE_SEED, data.TABLE_PROBLEMS)
    result = evaluate(model, tokenizer, problems, False)
    print(f"exact thought and answer, {len(problems)} unseen problems, float32: {share(result):.1%}; " +
          ", ".join(f"{k} {r / n:.1%}" for k, (r, n) in result.items()))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--steps", type=int, default=2400)
    p.add_argument("--workers", type=int, default=2)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--out", type=Path, default=Path(__file__).resolve().parent.parent / "models")
    p.add_argument("--work", type=Path, default=Path.home() / ".cache/stilla-training", help="folder of the checkpoint")
    a = p.parse_args()
    a.work = a.work.resolve()
    a.work.mkdir(parents=True, exist_ok=True)
    (a.work / "rendezvous").unlink(missing_ok=True)
    if a.workers > 1:
        torch.multiprocessing.spawn(worker, (a,), a.workers)
    else:
        worker(0, a)


if __name__ == "__main__":
    sys.exit(main())
