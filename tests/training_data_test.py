#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests the problems that the embedded model is trained on and tested with: no test problem is ever trained on, not even as a
step of another one; every answer is what Python computes from the problem's numbers; and the committed list is the one that
data.py writes.
"""
import pathlib
import random
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "examples/training"))
sys.dont_write_bytecode = True
import data  # noqa: E402

COMPUTE = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b}


def possible_answers(problem):
    """Computes the answers from the first key, which holds the numbers and the operation without the words."""
    op, *numbers = problem.keys[0]
    if op in COMPUTE:
        return {str(COMPUTE[op](*numbers))}
    if op == "/":
        quotient, left = divmod(*numbers)
        return {str(left), str(quotient) if left == 0 else f"{quotient} remainder {left}"}
    if op == "?":
        return {"equal"} if numbers[0] == numbers[1] else {"yes", "no", *map(str, numbers)}
    if op == "select":
        return {str(min(numbers[0])), str(max(numbers[0]))}
    if op == "sort":
        up = [str(n) for n in numbers[0]]
        return {", ".join(up), ", ".join(up[::-1])}
    if op == "words":
        return {str(COMPUTE[step[0]](*step[1:])) for step in numbers[1][-1:]}
    return {""}


class TrainingData(unittest.TestCase):
    def test_no_test_problem_is_trained_on(self):
        unseen = {repr(p.keys[0]) for p in data.test_problems(data.TABLE_SEED, data.TABLE_PROBLEMS, with_outside=True)}
        for mix in data.KINDS, data.LATER, data.LAST:
            for problem in data.training_problems(random.Random(5), 10000, mix):
                for key in problem.keys:
                    self.assertNotIn(repr(key), unseen)

    def test_answers(self):
        for problem in data.training_problems(random.Random(6), 10000) + data.test_problems(7, 1000):
            self.assertIn(problem.answer, possible_answers(problem), problem)
            if problem.answer:
                self.assertTrue(problem.thought.endswith(f"So {problem.answer}.\n"), problem)

    def test_committed_list(self):
        with tempfile.TemporaryDirectory() as folder:
            sys.argv = ["data.py", f"{folder}/problems.txt"]
            data.main()
            self.assertEqual(pathlib.Path(sys.argv[1]).read_bytes(), (ROOT / "tests/golden/drop-problems.txt").read_bytes())


if __name__ == "__main__":
    unittest.main()
