# SPDX-License-Identifier: Apache-2.0
"""Tests models: chats, sessions, tokenizers.

If the environment variable STILLA_PROGRAM holds the path of the program `stilla`, chats are also compared with that program.
"""

import gc
import os
import subprocess

import numpy
import pytest
import stilla

from conftest import DROP

QUESTION = [{"role": "user", "content": "What is 48 times 37?"}]
# What the program writes when `stilla run --temp 0` asks it this question (examples/models/README.md).
THOUGHT = """\
48*37=48*7+48*3*10
48*7
Ones: 8*7=56, carry 5.
Tens: 4*7=28, 28+5=33.
So 336.
48*3
Ones: 8*3=24, carry 2.
Tens: 4*3=12, 12+2=14.
So 144.
336+1440
Ones: 6+0=6.
Tens: 3+4=7.
Hundreds: 3+4=7.
Thousands: 0+1=1.
So 1776.
"""
ANSWER = "The answer is \\boxed{1776}."


def texts(stream):
    """Returns (thought, answer) of a stream."""
    pieces = list(stream)
    assert all(isinstance(p, stilla.Piece) and p.text for p in pieces)
    return tuple("".join(p.text for p in pieces if p.thought == is_thought) for is_thought in (True, False))


def test_chat_streams_thought_and_answer(model):
    stream = model.chat(QUESTION, temperature=0)
    assert stream.stop_reason is None
    first = next(stream)
    assert first.thought and len(first.text) < 10  # the first piece is one token, not the whole text
    thought, answer = texts(stream)
    assert (first.text + thought, answer) == (THOUGHT, ANSWER)
    assert stream.stop_reason == "end"
    assert stream.prompt_tokens == stream.evaluated_tokens > 0
    assert model.tokenizer.decode(stream.ids).endswith(ANSWER)
    assert next(stream, None) is None


@pytest.mark.skipif("STILLA_PROGRAM" not in os.environ, reason="STILLA_PROGRAM names no program to compare with")
@pytest.mark.parametrize("options", [{"temperature": 0}, {"temperature": 0.9, "seed": 7}, {"temperature": 1.5, "top_p": 0.8, "seed": 3},
                                     {"temperature": 0, "think_budget": 20}, {"temperature": 0, "max_tokens": 30}])
def test_chat_equals_the_program(model, options):
    names = {"temperature": "--temp", "seed": "--seed", "top_p": "--top-p", "think_budget": "--think-budget", "max_tokens": "-n"}
    arguments = [str(word) for key, value in options.items() for word in (names[key], value)]
    for question in ["What is 48 times 37?", "Which is larger, 812 or 821?"]:
        run = [os.environ["STILLA_PROGRAM"], "run", "-m", str(DROP), "-p", question, *arguments]
        expected = subprocess.run(run, capture_output=True, text=True, check=True).stdout
        thought, answer = texts(model.chat([{"role": "user", "content": question}], **options))
        ours = "<think>\n" + thought + ("</think>\n\n" + answer if answer else "")
        assert ours.rstrip("\n") == expected.rstrip("\n")


def test_generate_continues_text(model):
    prompt = "What is 48 times 37?"
    stream = model.generate(prompt, temperature=0, max_tokens=12)
    thought, text = texts(stream)
    assert thought == "" and stream.stop_reason in ("end", "length") and len(stream.ids) <= 12
    ids = [model.tokenizer.bos, *model.tokenizer.encode(prompt)]
    assert stream.prompt_tokens == len(ids)
    assert texts(model.generate(ids, temperature=0, max_tokens=12)) == ("", text)


def test_max_tokens(model):
    for most in [0, 1, 5]:
        stream = model.chat(QUESTION, temperature=0, max_tokens=most)
        thought, answer = texts(stream)
        assert stream.stop_reason == "length" and len(stream.ids) == most
        assert THOUGHT.startswith(thought) and answer == ""


def test_think_budget_closes_the_thought(model):
    stream = model.chat(QUESTION, temperature=0, think_budget=20)
    thought, answer = texts(stream)
    assert "I have thought long enough" in thought and THOUGHT.startswith(thought[:20])
    assert answer.startswith("The answer is")


def test_a_chat_without_a_thought(model):
    thought, answer = texts(model.chat(QUESTION, temperature=0, think=False))
    assert thought == "" and answer


def test_seeds(model):
    say = lambda seed: texts(model.chat(QUESTION, temperature=8, top_p=1, seed=seed, max_tokens=20))
    assert say(1) == say(1)
    assert len({say(seed) for seed in range(5)}) > 1


def test_a_session_keeps_what_turns_have_in_common(model):
    session = model.session()
    first = session.chat(QUESTION, temperature=0)
    _, answer = texts(first)
    assert len(session) >= first.prompt_tokens
    messages = QUESTION + [{"role": "assistant", "content": answer}, {"role": "user", "content": "What is 2 + 2?"}]
    second = session.chat(messages, temperature=0, max_tokens=20)
    said = texts(second)
    assert second.evaluated_tokens < second.prompt_tokens
    assert said == texts(model.chat(messages, temperature=0, max_tokens=20))
    again = session.chat(messages, temperature=0, max_tokens=20)
    assert texts(again) == said and again.evaluated_tokens == 1


def test_an_abandoned_stream_computes_nothing(model):
    session = model.session()
    stream = session.chat(QUESTION, temperature=0)
    assert len(session) == 0  # nothing is evaluated before the first piece is asked for
    for _ in zip(range(3), stream):
        pass
    held = len(session)
    del stream
    gc.collect()
    assert len(session) == held
    assert texts(session.chat(QUESTION, temperature=0)) == (THOUGHT, ANSWER)


def test_guesses_are_no_part_of_the_text(model):
    """Tokens that repeat earlier text are guessed ahead. The ids of a session contain only those guesses that became text."""
    ids = model.tokenizer.encode("1 2 3 4 1 2 3 4 1 2 3 4 1 2")
    session = model.session()
    stream = session.generate(ids, temperature=3, seed=1, max_tokens=60)
    for _ in stream:
        held = session.ids
        assert len(ids) <= len(held) and (ids + stream.ids)[: len(held)] == held
    assert (ids + stream.ids)[: len(session)] == session.ids


def test_another_stream_of_a_session_ends_the_first(model):
    session = model.session()
    first, second = (session.chat(QUESTION, temperature=0) for _ in range(2))
    next(first)
    assert texts(second) == (THOUGHT, ANSWER)
    with pytest.raises(stilla.Error, match="this stream has ended"):
        while True:
            next(first)


def test_objects_keep_what_they_depend_on():
    stream = stilla.load(DROP, threads=1).session().chat(QUESTION, temperature=0)
    tokenizer = stilla.load(DROP, threads=1).tokenizer
    gc.collect()
    assert texts(stream) == (THOUGHT, ANSWER)
    assert tokenizer.decode(tokenizer.encode("1 + 1")) == "1 + 1"


def test_evaluate(model):
    ids = model.tokenizer.encode("What is 48 times 37?")
    session = model.session()
    rows = session.evaluate(ids, all=True)
    assert rows.shape == (len(ids), model.vocabulary) and rows.dtype == numpy.float32
    assert session.ids == ids and len(session) == len(ids)
    # The logits do not depend on how the text is divided into calls.
    other = model.session()
    other.evaluate(ids[:3])
    assert numpy.array_equal(other.evaluate(ids[3:]), rows[-1])
    session.truncate(3)
    assert session.ids == ids[:3]
    assert numpy.array_equal(session.evaluate(ids[3:]), rows[-1])
    # The expected text comes from greedy decoding: each next token is the one with the highest logit.
    fork = session.fork()
    fork.evaluate([int(rows[-1].argmax())])
    assert len(fork) == len(session) + 1
    stream = model.generate(ids, temperature=0, max_tokens=1)
    list(stream)
    assert stream.ids in ([], [int(rows[-1].argmax())])


def test_save_and_restore(model, tmp_path):
    session = model.session(kv_type="f32", bits=16)
    row = session.evaluate([5, 6, 7])
    session.truncate(2)
    session.save(tmp_path / "text")
    other = model.session(kv_type="f32", bits=16)
    other.restore(tmp_path / "text")
    assert other.ids == [5, 6] and numpy.array_equal(other.evaluate([7]), row)
    with pytest.raises(FileNotFoundError):
        other.restore(tmp_path / "nothing")
    with pytest.raises(stilla.Error):
        model.session(kv_type="f16").restore(tmp_path / "text")


def test_a_full_context_ends_a_stream(model):
    session = model.session(context=20)
    assert session.context == 20
    stream = session.chat(QUESTION, temperature=0)
    thought, _ = texts(stream)
    assert stream.stop_reason == "context" and thought and THOUGHT.startswith(thought)
    with pytest.raises(stilla.Error, match="does not fit the context"):
        session.evaluate([5] * 21)


def test_tokenizer(model):
    tokenizer = model.tokenizer
    assert len(tokenizer) <= model.vocabulary
    for text in ["What is 48 times 37?", "", "\n\n"]:
        assert tokenizer.decode(tokenizer.encode(text)) == text
        assert tokenizer.decode_bytes(tokenizer.encode(text)) == text.encode()
    assert tokenizer.eos is not None and tokenizer.ends(tokenizer.eos)
    assert tokenizer.find("</think>") == tokenizer.encode("</think>")[0]
    assert tokenizer.decode([tokenizer.eos]) == "" and tokenizer.decode([tokenizer.eos], special=True) != ""
    name = tokenizer.decode([tokenizer.eos], special=True)
    assert tokenizer.encode(name, special=True) == [tokenizer.eos] != tokenizer.encode(name)


def test_facts(model):
    assert model.architecture == "qwen2" and model.name == "Stilla Drop"
    assert model.path == str(DROP) and model.threads == 2 and model.context > 0 and model.notes == []


def test_chat_template(model):
    chatml = stilla.load(DROP, threads=1, chat_template="chatml")
    assert chatml.chat(QUESTION).prompt_tokens != model.chat(QUESTION).prompt_tokens
    with pytest.raises(stilla.Error, match="chat template 'none' is not known"):
        stilla.load(DROP, chat_template="none")
    program = "{% for m in messages %}{{ m.content }}{% endfor %}"
    bare = stilla.load(DROP, threads=1, chat_template=program)
    assert bare.chat(QUESTION).prompt_tokens == bare.generate(QUESTION[0]["content"]).prompt_tokens
