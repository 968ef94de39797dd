# SPDX-License-Identifier: Apache-2.0
"""Tests how the module behaves with several threads of Python, at Ctrl-C, after fork(), and at the end of the process."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy
import pytest
import stilla

from conftest import DROP

QUESTION = [{"role": "user", "content": "What is 48 times 37?"}]


def test_kernels_run_without_the_gil(noise):
    packed, x = stilla.pack(noise((2048, 2048)), "q4_0"), noise((512, 2048))
    begun, times = threading.Event(), []

    def multiply():
        begun.set()
        times.append(time.perf_counter())
        stilla.matmul(packed, x, bits=16)
        times.append(time.perf_counter())

    worker = threading.Thread(target=multiply)
    worker.start()
    begun.wait()
    seen = []
    while worker.is_alive():
        seen.append(time.perf_counter())
        time.sleep(0.001)
    worker.join()
    inside = sum(times[0] < moment < times[1] for moment in seen)
    assert inside >= 3, f"{inside} of {len(seen)} moments lie within a product of {times[1] - times[0]:.3f} s"


def test_sessions_in_threads(model):
    def answer(question):
        return "".join(p.text for p in model.chat([{"role": "user", "content": question}], temperature=0))

    questions = ["What is 48 times 37?", "Which is larger, 812 or 821?", "347 + 589"]
    expected = [answer(q) for q in questions]
    found = [None] * 3

    def put(i):
        found[i] = answer(questions[i])

    threads = [threading.Thread(target=put, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected


def test_threads_may_share_a_session(model):
    """The thread that asks first gets the next piece. The pieces of both threads together are the text: they have all its characters. How
    many pieces there are depends on the threads, because two tokens become one piece if both threads wait for one."""
    stream = model.session().chat(QUESTION, temperature=0)
    expected = sorted("".join(piece.text for piece in model.chat(QUESTION, temperature=0)))
    texts = ["", ""]

    def take(i):
        texts[i] = "".join(piece.text for piece in stream)

    threads = [threading.Thread(target=take, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(texts[0] + texts[1]) == expected


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no timers here")
def test_ctrl_c_within_a_long_prompt(model):
    def interrupt(*_):
        raise KeyboardInterrupt

    ids = model.tokenizer.encode("1 + 2 = 3. " * 2000)[: model.context]
    session = model.session()
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, 0.01)
            for _ in range(1000):
                session.evaluate(ids, all=True)
                session.truncate(0)
        assert len(session) == 0  # an interrupted call leaves the session as it was before
        stream = session.generate(ids[:-1], max_tokens=1)
        with pytest.raises(KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, 0.01)
            list(stream)
            time.sleep(10)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    list(stream)  # reads the rest of the prompt
    assert stream.stop_reason in ("length", "end", "context")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_ops_work_in_a_forked_process(noise):
    x = noise((64, 512))
    stilla.set_threads(2)
    expected = stilla.softmax(x)  # starts the threads of the pool, which the child does not inherit
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        os._exit(0 if numpy.array_equal(stilla.softmax(x), expected) else 1)
    assert os.waitpid(child, 0)[1] == 0
    stilla.set_threads(None)


def test_nothing_leaks_at_the_end_of_a_process():
    """Nanobind reports on standard error which objects and types are left at the end of a process."""
    script = f"""
import numpy, stilla
model = stilla.load({str(DROP)!r}, threads=2)
stream = model.chat({QUESTION!r}, temperature=0)
piece = next(stream)
session = model.session()
row = session.evaluate([1, 2, 3])
packed = stilla.pack(numpy.ones((16, 32), numpy.float32), "q4_0")
cache = stilla.KvCache(1, 1, 32)
try:
    stilla.softmax(row.astype(numpy.float64))
except ValueError:
    pass
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
