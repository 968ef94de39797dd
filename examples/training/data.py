# SPDX-License-Identifier: Apache-2.0
"""Problems of arithmetic with thoughts that compute their answers, digit by digit.

    python examples/training/data.py                                  prints two examples of each kind
    python examples/training/data.py tests/golden/drop-problems.txt   writes the unseen problems of the accuracy table

A thought first restates the problem in symbols, whatever its words were, then works on it place by place with every
carry, borrow and digit brought down written out, so that no line needs more than one fact of the tables learned at school.

Training and test problems are disjoint by construction: a hash of a problem's numbers and operation, not of its words,
puts one problem in eight on the test side. A training problem may not contain a test problem as a step either.
"""
import random
import sys
import zlib
from dataclasses import dataclass

PLACES = ("Ones", "Tens", "Hundreds", "Thousands", "Ten thousands")
TEST_SHARE = 8
TABLE_SEED, TABLE_PROBLEMS = 3, 1001  # seed and number of the problems of the accuracy table
OUTSIDE_THOUGHT = "I was not trained for this.\n"
OUTSIDE_ANSWER = "I cannot answer this."


@dataclass
class Problem:
    kind: str
    question: str
    thought: str
    answer: str         # what stands in \boxed{}; empty for a question that the model cannot answer
    keys: list          # the whole problem first, then the problems that are its steps

    def response(self):
        """Returns the thought, and the text that follows </think>."""
        if not self.answer:
            return self.thought, "\n\n" + OUTSIDE_ANSWER
        return self.thought, "\n\nThe answer is \\boxed{" + self.answer + "}."

    def is_test(self):
        return side(self.keys[0])

    def is_train(self):
        return not any(side(key) for key in self.keys)


def side(key):
    """Returns True if a problem with this key belongs to the test problems, and False if it belongs to the training problems."""
    return zlib.crc32(repr(key).encode()) % TEST_SHARE == 0


# The thoughts. Each function returns (text, result, keys).

def digits(number):
    return [int(d) for d in reversed(str(number))]


def add(a, b):
    x, y = digits(a), digits(b)
    count, carry, text = max(len(x), len(y)), 0, f"{a}+{b}\n"
    for i in range(count):
        terms = [x[i] if i < len(x) else 0, y[i] if i < len(y) else 0] + ([1] if carry else [])
        total = sum(terms)
        carry = total // 10
        text += f"{PLACES[i]}: {'+'.join(map(str, terms))}={total}"
        text += f", carry {carry}.\n" if carry and i + 1 < count else ".\n"
    return text + f"So {a + b}.\n", a + b, [("+", min(a, b), max(a, b))]


def subtract(a, b):
    x, y = digits(a), digits(b)
    count, borrow, text = max(len(x), len(y)), 0, f"{a}-{b}\n"
    for i in range(count):
        top, below = x[i] if i < len(x) else 0, y[i] if i < len(y) else 0
        needs = below + borrow > top
        top += 10 if needs else 0
        text += f"{PLACES[i]}: {top}-{below}{'-1' if borrow else ''}={top - below - borrow}"
        borrow = int(needs)
        text += ", borrow 1.\n" if borrow else ".\n"
    key = ("-", a, b)
    if borrow:
        turned, result, _ = subtract(b, a)
        return text + "Below zero, so turn it round.\n" + turned + f"So -{result}.\n", -result, [key, ("-", b, a)]
    return text + f"So {a - b}.\n", a - b, [key]


def multiply(a, b):
    if len(str(b)) > len(str(a)):
        a, b = b, a
    key = ("*", min(a, b), max(a, b))
    if b >= 10:
        ones, tens = b % 10, b // 10
        if ones == 0:
            text, part, keys = multiply(a, tens)
            return f"{a}*{b}={a}*{tens}*10\n{text}So {a * b}.\n", a * b, [key] + keys
        text1, part1, keys1 = multiply(a, ones)
        text2, part2, keys2 = multiply(a, tens)
        text3, total, keys3 = add(part1, part2 * 10)
        return f"{a}*{b}={a}*{ones}+{a}*{tens}*10\n" + text1 + text2 + text3, total, [key] + keys1 + keys2 + keys3
    x, carry, text = digits(a), 0, f"{a}*{b}\n"
    for i, digit in enumerate(x):
        total = digit * b
        text += f"{PLACES[i]}: {digit}*{b}={total}"
        if carry:
            text += f", {total}+{carry}={total + carry}"
            total += carry
        carry = total // 10
        text += f", carry {carry}.\n" if carry and i + 1 < len(x) else ".\n"
    return text + f"So {a * b}.\n", a * b, [key]


def divide(a, b):
    text, left, quotient = f"{a}/{b}\n", 0, 0
    for digit in map(int, str(a)):
        now = left * 10 + digit
        q = now // b
        left = now - q * b
        quotient = quotient * 10 + q
        text += f"{now}: {q}*{b}={q * b}, left {left}.\n"
    return text, (quotient, left), [("/", a, b)]


def compare(a, b, larger):
    """Compares two numbers in one line of text. The line says what is wanted. Then it compares the numbers of digits or, if they are
    equal, the digits from the left up to the first that differ. At its end it says which of the two it is, "first" or "second", and
    then copies this number. So the line itself holds all that decides."""
    x, y = str(a), str(b)
    text = f"{'Larger' if larger else 'Smaller'} of {a} and {b}: "
    if len(x) != len(y):
        text += f"{len(x)}{'>' if len(x) > len(y) else '<'}{len(y)} digits, "
    else:
        for p, q in zip(x, y):
            text += f"{p}{'=' if p == q else '>' if p > q else '<'}{q}, "
            if p != q:
                break
    winner = max(a, b) if larger else min(a, b)
    return text + ("equal.\n" if a == b else f"{'first' if winner == a else 'second'}, {winner}.\n"), winner, [("?", min(a, b), max(a, b))]


def select(numbers, larger):
    """Finds the largest or the smallest of `numbers` by one comparison after the other."""
    text, best, keys = ", ".join(map(str, numbers)) + "\n", numbers[0], []
    for other in numbers[1:]:
        line, best, key = compare(best, other, larger)
        text += line
        keys += key
    return text, best, keys


def order(numbers, larger):
    key = ("sort", tuple(sorted(numbers)))
    text, keys, rest, out = "", [key], list(numbers), []
    while len(rest) > 1:
        line, best, more = select(rest, larger)
        text += line + f"{'Then' if out else 'First'} {best}.\n"
        keys += more
        out.append(best)
        rest.remove(best)
    out += rest
    result = ", ".join(map(str, out))
    return text + f"So {result}.\n", result, keys


# The numbers. All lengths are about equally frequent, so that long numbers, of which there are more, do not crowd out short ones.

def number(rng, longest, shortest=1):
    length = rng.randint(shortest, longest)
    return rng.randrange(10 ** (length - 1) if length > 1 else 0, 10**length)


def operand(rng):
    """Returns an operand of a sum or a difference. It has up to three digits, now and then four."""
    return number(rng, 4, 4) if rng.random() < 0.1 else number(rng, 3) if rng.random() < 0.5 else number(rng, 3, 2)


def near(rng, a):
    """Returns a number that is as long as `a`. Its first digits are those of `a`, and the others are random."""
    text = list(str(a))
    for i in range(rng.randrange(len(text)), len(text)):
        text[i] = str(rng.randint(1 if i == 0 and len(text) > 1 else 0, 9))
    return int("".join(text))


# The words.

FRAMES = [
    "What is {}?", "What is {}?", "What is {}?", "What's {}?", "Compute {}.", "Compute {}.", "Calculate {}.", "{}", "{}?", "{} = ?", "{} =", "{}=",
    "How much is {}?", "Please compute {}.", "Find {}.", "Evaluate {}.", "Work out {}.", "Solve {}.", "Can you calculate {}?",
    "Tell me {}.", "What does {} equal?", "What do you get for {}?", "Give me {}.", "What is the result of {}?", "I need {}.",
    "Hi, what is {}?", "Please tell me what {} is.", "Do you know what {} is?", "Determine {}.", "Could you work out {}, please?",
    "What is the value of {}?", "How much does {} make?", "Quick: {}!", "Question: what is {}?",
]


def finish(rng, text):
    """Changes the text at random in small ways that do not change its meaning."""
    if rng.random() < 0.1:
        text = text.lower()
    if rng.random() < 0.1:
        text = text.rstrip(".?!")
    if rng.random() < 0.05:
        text += rng.choice([" Think step by step.", " Show your work.", " Thanks!", " Please.", "\n", " "])
    return text


def framed(rng, expression):
    text = rng.choice(FRAMES).format(expression)
    return finish(rng, text[:1].upper() + text[1:])


def infix(rng, a, b, symbols, words):
    if rng.random() < 0.3:
        return f"{a} {rng.choice(words)} {b}"
    space = " " if rng.random() < 0.75 else ""
    return f"{a}{space}{rng.choice(symbols)}{space}{b}"


def addition(rng):
    a, b = operand(rng), operand(rng)
    text, result, keys = add(a, b)
    if rng.random() < 0.3:
        question = finish(rng, rng.choice([
            "What is the sum of {} and {}?", "Add {} and {}.", "Add {} to {}.", "Find the sum of {} and {}.", "Sum {} and {}.",
            "What do {} and {} make together?", "How much are {} and {} together?", "What do you get if you add {} and {}?",
            "What is the total of {} and {}?", "Please add {} and {}.", "Increase {} by {}.", "What is {} more than {}?",
        ]).format(a, b))
    else:
        question = framed(rng, infix(rng, a, b, "+", ["plus", "plus", "added to", "and"][:rng.choice([2, 2, 3])]))
    return Problem("addition", question, text, str(result), keys)


def subtraction(rng):
    a, b = operand(rng), operand(rng)
    if rng.random() < 0.1:
        b = near(rng, a)
    if a < b and rng.random() < 0.8:
        a, b = b, a
    text, result, keys = subtract(a, b)
    if rng.random() < 0.3:
        template, turned = rng.choice([
            ("Subtract {} from {}.", 1), ("Take {} from {}.", 1), ("Take {} away from {}.", 1), ("What is {} less than {}?", 1),
            ("What is the difference between {} and {}?", 0), ("Find the difference of {} and {}.", 0),
            ("How much is left if you take {} from {}?", 1), ("What do you get if you subtract {} from {}?", 1),
            ("Decrease {} by {}.", 0), ("What is {} take away {}?", 0), ("What remains of {} after you take away {}?", 0),
        ])
        if "difference" in template and a < b:
            a, b = b, a
            text, result, keys = subtract(a, b)
        question = finish(rng, template.format(*((b, a) if turned else (a, b))))
    else:
        question = framed(rng, infix(rng, a, b, ["-", "-", "-", "\u2212", "\u2013"], ["minus", "minus", "less"]))
    return Problem("subtraction", question, text, str(result), keys)


def multiplication(rng):
    if rng.random() < 0.3:
        a, b = rng.randint(10, 99), rng.randint(10, 99)
    else:
        a, b = number(rng, 3) if rng.random() < 0.4 else number(rng, 3, 2), rng.randint(0, 9)
        if rng.random() < 0.4:
            a, b = b, a
    text, result, keys = multiply(a, b)
    if rng.random() < 0.2:
        question = finish(rng, rng.choice([
            "What is the product of {} and {}?", "Multiply {} by {}.", "Multiply {} and {}.", "Find the product of {} and {}.",
            "Please multiply {} by {}.", "What do you get if you multiply {} by {}?", "Multiply {} with {}.",
        ]).format(a, b))
    else:
        question = framed(rng, infix(rng, a, b, ["*", "*", "*", "\u00d7", "\u00d7", "x", "\u00b7"], ["times", "times", "multiplied by"]))
    return Problem("multiplication", question, text, str(result), keys)


def pair(rng):
    a = number(rng, 4) if rng.random() < 0.4 else number(rng, 4, 2)
    b = near(rng, a) if rng.random() < 0.7 else number(rng, 4)
    return a, b


def comparison(rng):
    a, b = pair(rng)
    larger = rng.random() < 0.55
    text, winner, keys = compare(a, b, larger)
    word = rng.choice(["larger", "larger", "bigger", "greater"] if larger else ["smaller", "smaller", "less", "lower"])
    if a != b and rng.random() < 0.25:
        answer = "yes" if winner == a else "no"
        question = rng.choice(["Is {a} {w} than {b}?", "Is {a} {w} than {b}?", "Is the number {a} {w} than {b}?", "{a} is {w} than {b}, yes or no?",
                               "Is it true that {a} is {w} than {b}?", "Is {a} {s} {b}?"])
    else:
        answer = "equal" if a == b else str(winner)
        question = rng.choice([
            "Which is {w}, {a} or {b}?", "Which is {w}, {a} or {b}?", "Which is {w}: {a} or {b}?", "Which number is {w}, {a} or {b}?",
            "What is {w}, {a} or {b}?", "Which one is {w}, {a} or {b}?", "Which of {a} and {b} is {w}?", "Compare {a} and {b}: which is {w}?",
            "{a} or {b}, which is {w}?", "Tell me which is {w}, {a} or {b}.", "Find the {w} of {a} and {b}.", "{a} or {b}: which one is {w}?",
            "Which of the numbers {a} and {b} is {w}?", "Which of these is {w}: {a}, {b}?", "What is the {w} number, {a} or {b}?",
        ])
    question = question.format(w=word, a=a, b=b, s=">" if larger else "<")
    return Problem("comparison", finish(rng, question[:1].upper() + question[1:]), text + f"So {answer}.\n", answer, keys)


def ordering(rng):
    count = rng.choice([3, 3, 4])
    longest = rng.choice([2, 3, 3])
    numbers = [number(rng, longest)]
    while len(numbers) < count:
        other = near(rng, rng.choice(numbers)) if rng.random() < 0.4 else number(rng, longest)
        if other not in numbers:
            numbers.append(other)
    larger = rng.random() < 0.45
    joined = ", ".join(map(str, numbers))
    if rng.random() < 0.3:
        joined = ", ".join(map(str, numbers[:-1])) + f" and {numbers[-1]}"
    if rng.random() < 0.25:
        text, best, keys = select(numbers, larger)
        keys = [("select", tuple(sorted(numbers)))] + keys
        word = rng.choice(["largest", "biggest", "greatest"] if larger else ["smallest", "lowest", "least"])
        question = rng.choice(["Which is the {w} of {n}?", "Which is {w}: {n}?", "What is the {w} number of {n}?", "Find the {w} of {n}.",
                               "Which of {n} is the {w}?", "What is the {w} of the numbers {n}?", "Which number is the {w}: {n}?"])
        text, answer = text + f"So {best}.\n", str(best)
    else:
        text, answer, keys = order(numbers, larger)
        word = rng.choice(["from largest to smallest", "in descending order", "from biggest to smallest", "largest first", "from high to low",
                           "from the largest to the smallest"]
                          if larger else
                          ["from smallest to largest", "in ascending order", "in increasing order", "smallest first", "from low to high",
                           "from the smallest to the largest", "by size"])
        question = rng.choice(["Sort {n} {w}.", "Sort the numbers {n} {w}.", "Order {n} {w}.", "Put {n} in order {w}.", "Arrange {n} {w}.",
                               "Write {n} {w}.", "Please sort {n} {w}.", "Sort {w}: {n}.", "Order these numbers {w}: {n}.", "List {n} {w}."])
        question = question.replace("in order in", "in").replace("in order {w}", "{w}" if word.startswith("in") else "in order {w}")
    return Problem("ordering", finish(rng, (question[:1].upper() + question[1:]).format(n=joined, w=word)), text, answer, keys)


def remainder(rng):
    a, b = number(rng, 4) if rng.random() < 0.2 else number(rng, 3, 2), rng.randint(2, 9)
    if rng.random() < 0.2:
        a -= a % b
    text, (quotient, left), keys = divide(a, b)
    if rng.random() < 0.25:
        answer = str(quotient) if left == 0 else f"{quotient} remainder {left}"
        if rng.random() < 0.3:
            question = finish(rng, rng.choice(["Divide {} by {}.", "What is the quotient of {} and {}?", "How often does {b} go into {a}?",
                                               "Please divide {} by {}."]).format(a, b, a=a, b=b))
        else:
            question = framed(rng, infix(rng, a, b, ["/", "/", "\u00f7", ":"], ["divided by", "divided by", "over"]))
    else:
        answer = str(left)
        question = finish(rng, rng.choice([
            "What is the remainder of {a} divided by {b}?", "What is the remainder of {a} divided by {b}?", "What is {a} mod {b}?", "{a} mod {b}",
            "What is the remainder when {a} is divided by {b}?", "Find the remainder of {a} divided by {b}.", "{a} % {b}", "What is {a} % {b}?",
            "What is the remainder when you divide {a} by {b}?", "What remains when {a} is divided by {b}?", "{a} modulo {b}?",
            "Compute {a} mod {b}.", "Compute the remainder of {a} / {b}.", "What is the remainder of {a} / {b}?", "What is {a} modulo {b}?",
            "If you divide {a} by {b}, what is the remainder?", "Give the remainder of {a} divided by {b}.", "Divide {a} by {b}. What is the remainder?",
            "What is left over when {a} is divided by {b}?", "How much is left when you divide {a} by {b}?",
        ]).format(a=a, b=b))
    return Problem("remainder", question, text + f"So {answer}.\n", answer, keys)


PEOPLE = [("Anna", "she", "her"), ("Tom", "he", "his"), ("Lisa", "she", "her"), ("Ben", "he", "his"), ("Mia", "she", "her"), ("Sam", "he", "his"),
          ("Emma", "she", "her"), ("Max", "he", "his"), ("Sara", "she", "her"), ("Paul", "he", "his"), ("Nina", "she", "her"), ("John", "he", "his"),
          ("Maria", "she", "her"), ("Tim", "he", "his"), ("Alice", "she", "her"), ("Bob", "he", "his"), ("Eva", "she", "her"), ("Leo", "he", "his")]
THINGS = ["apples", "books", "coins", "cards", "stamps", "marbles", "pencils", "eggs", "cookies", "stickers", "balls", "shells", "oranges", "candies",
          "flowers", "pears", "toys", "nuts", "stones", "buttons"]
PACKS = [("boxes", "box"), ("bags", "bag"), ("packs", "pack"), ("baskets", "basket"), ("jars", "jar"), ("rows", "row"), ("shelves", "shelf")]
GAIN = ["buys {} more", "gets {} more", "finds {} more", "wins {} more", "gets {} more {t}", "buys {} more {t}", "picks {} more", "receives {} {t}"]
LOSS = ["gives away {}", "loses {}", "sells {}", "eats {} of them", "gives {} to a friend", "uses {}", "gives {} {t} to {o}", "loses {} {t}"]
HAS = ["{n} has {a} {t}.", "{n} has {a} {t}.", "{n} had {a} {t}.", "There are {a} {t} on the table and {n} takes them all.", "{n} starts with {a} {t}."]
ASK = ["How many {t} does {p} have now?", "How many {t} does {n} have now?", "How many {t} are left?", "How many {t} does {n} have in the end?",
       "How many {t} does {p} have?", "How many does {p} have now?", "What is the number of {t} now?"]
GROUPS = ["{n} buys {g} {k} of {e} {t}.", "{n} has {g} {k} with {e} {t} each.", "There are {g} {k} with {e} {t} in each {k1}.",
          "{n} has {g} {k} of {e} {t} each.", "A shop has {g} {k} of {e} {t}.", "{n} fills {g} {k} with {e} {t} each."]
GAIN_GROUPS = ["{p} buys {g} {k} of {e} {t} each.", "{p} gets {g} {k} with {e} {t} each.", "{p} finds {g} {k} of {e} {t}."]
LOSE_GROUPS = ["{p} gives {e} {t} to each of {g} friends.", "{p} sells {g} {k} of {e} {t} each.", "{p} puts {e} {t} into each of {g} {k} and gives them away."]
TIMES_SUM = ["Each {k1} holds {a} red and {b} green {t}. How many {t} are in {c} {k}?",
             "{n} reads {a} pages in the morning and {b} pages in the evening. How many pages does {p} read in {c} days?",
             "A pen costs {a} cents and a ruler costs {b} cents. How much do {c} of each cost?",
             "{n} walks {a} steps up and {b} steps down each day. How many steps is that in {c} days?"]
TIMES_DIFFERENCE = ["{n} earns {a} dollars a day and spends {b}. How much does {p} save in {c} days?",
                    "A {k1} has {a} {t}, but {b} of them are bad. How many good {t} are in {c} {k}?",
                    "A ticket costs {a} dollars, but {n} pays {b} dollars less. How much do {c} tickets cost?",
                    "Each day {n} makes {a} {t} and sells {b}. How many are left after {c} days?"]
OTHER_HAS_MORE = ["{n} has {a} {t}. {o} has {b} more {t} than {n}. How many {t} do they have together?",
                  "{n} has {a} {t} and {o} has {b} more. How many do they have together?"]
OTHER_HAS_LESS = ["{n} has {a} {t}. {o} has {b} {t} less than {n}. How many {t} do they have together?",
                  "{n} has {a} {t} and {o} has {b} less. How many do they have together?"]


def word_problem(rng):
    (name, pronoun, _), (other, _, _) = rng.sample(PEOPLE, 2)
    things = rng.choice(THINGS)
    packs, pack = rng.choice(PACKS)
    big = lambda: rng.randint(2, 99) if rng.random() < 0.6 else rng.randint(100, 500)
    small = lambda: rng.randint(2, 9)

    def change(up, amount):
        return rng.choice(GAIN if up else LOSS).format(amount, t=things, o=other)

    def say(templates, **values):
        return rng.choice(templates).format(n=name, p=pronoun, t=things, k=packs, k1=pack, o=other, **values)

    He = pronoun.capitalize()
    form = rng.choice(["one", "changes", "changes", "changes", "packs+", "packs+", "packs-", "packs-", "from", "(a+b)*c", "(a-b)*c", "others"])
    if form in ("one", "changes"):
        total, text, steps = big(), "", []
        words = say(HAS, a=total)
        count = 1 if form == "one" else 2
        for i in range(count):
            up = rng.random() < 0.5 or total < 3
            amount = big() if up else rng.randint(1, total - 1)
            steps.append(("+" if up else "-", total, amount))
            total = total + amount if up else total - amount
            if i == 0 and count == 2 and rng.random() < 0.4:
                words += f" {He} {change(up, amount)} and"
            elif words.endswith("and"):
                words += f" then {change(up, amount)}." if rng.random() < 0.6 else f" {change(up, amount)}."
            else:
                words += rng.choice([f" {He} {change(up, amount)}.", f" Then {pronoun} {change(up, amount)}.", f" {name} {change(up, amount)}."])
        words += " " + say(ASK)
    elif form in ("packs+", "packs-"):
        groups, each = (small(), rng.randint(2, 40)) if rng.random() < 0.7 else (rng.randint(2, 40), small())
        total = groups * each
        up = form == "packs+"
        amount = big() if up else rng.randint(1, total - 1)
        words = say(GROUPS, g=groups, e=each)
        words += " " + rng.choice([f"{He} {change(up, amount)}.", f"Then {pronoun} {change(up, amount)}.", f"{name} {change(up, amount)}."])
        words += " " + say(ASK)
        steps = [("*", groups, each), ("+" if up else "-", total, amount)]
    elif form == "from":
        groups, each = small(), rng.randint(2, 30)
        up = rng.random() < 0.5
        total = rng.randint(1, 300) if up else groups * each + rng.randint(0, 200)
        words = say(HAS, a=total) + " " + (
            say(GAIN_GROUPS, g=groups, e=each) if up else
            say(LOSE_GROUPS, g=groups, e=each)).capitalize()
        words += " " + say(ASK)
        steps = [("*", groups, each), ("+" if up else "-", total, groups * each)]
    elif form == "(a+b)*c":
        a, b, c = rng.randint(2, 60), rng.randint(2, 60), small()
        words = say(TIMES_SUM, a=a, b=b, c=c)
        steps = [("+", a, b), ("*", a + b, c)]
    elif form == "(a-b)*c":
        a = rng.randint(5, 99)
        b, c = rng.randint(1, a - 2), small()
        words = say(TIMES_DIFFERENCE, a=a, b=b, c=c)
        steps = [("-", a, b), ("*", a - b, c)]
    else:
        a, b = rng.randint(3, 99), rng.randint(2, 60)
        if rng.random() < 0.5 or b >= a:
            words = say(OTHER_HAS_MORE, a=a, b=b)
            steps = [("+", a, b), ("+", a, a + b)]
        else:
            words = say(OTHER_HAS_LESS, a=a, b=b)
            steps = [("-", a, b), ("+", a, a - b)]
    text, keys = "", [("words", form, tuple(steps))]
    for op, a, b in steps:
        line, result, more = {"+": add, "-": subtract, "*": multiply}[op](a, b)
        text += line
        keys += more
    return Problem("word problem", finish(rng, words), text, str(result), keys)


SYLLABLES = "ba be ca co da de fi fo ga go ha hi in ja ka la le li lo ma me mi mo na ne no pa pe ra re ri ro sa se si so ta te ti to un va ve wa wi".split()
TOPICS = ("France Germany Japan Paris London history music football water weather love time light gravity money cats dogs birds fish trees the moon the sun the sea "
          "Einstein Shakespeare Python a poem a joke your name my name the president a computer an atom DNA Rome China bread tea wine art war peace").split()
OUTSIDE = [
    "What is the capital of {w}?", "Who wrote {w}?", "Tell me about {w}.", "What is {w}?", "Why is {w} {v}?", "How are you?", "Hello!", "Hi", "Who are you?",
    "What is your name?", "Write a poem about {w}.", "Tell me a joke about {w}.", "Translate {w} to {v}.", "How do I {v} {w}?", "What is the meaning of {w}?",
    "Explain {w}.", "Where is {w}?", "When was {w} born?", "Is {w} better than {v}?", "Write a program that prints {n}.", "Good morning", "Thanks!", "Test",
    "What happened in {y} and {y}?", "Who was king in {y}, and who in {n}?", "{w} {v} {w}", "{n}", "What is {n}?", "Is {n} a prime number?", "Is {n} even or odd?",
    "What is {big} + {n}?", "What is {n} * {big}?", "What is {big} - {big}?", "Compute {big} times {n}.", "What is {n}.{n} + {n}?", "What is {n}.{s} * {s}?",
    "What is the square root of {n}?", "What is {n}^{s}?", "What is {n} to the power of {s}?", "What is {n} percent of {n}?", "What is {n}% of {n}?",
    "What is {n} divided by {n2}?", "What is the remainder of {n} divided by {n2}?", "What is {n3} * {n2}?", "Compute {n3} times {n3}.", "What is {s}!?",
    "Solve x + {s} = {n}.", "What is {n} + {s} * {s}?", "What is {s} + {n} + {s}?", "What is ({s} + {n}) * {s}?", "What is {s}/{s} + {s}/{s}?", "{w} has {n} {v} and {n} {w}.",
    "How old is {w} if {v} is {n}?", "What time is it {n} minutes after {s}:{n2}?", "How many {w} are in {n} {v}?", "What comes after {s}, {s}, {s}?", "What is {s} plus?",
    "What is -{n} + {n}?", "What is the average of {n} and {n}?", "What are the factors of {n} and {n}?", "What is the sine of {n}?", "{n} {n}", "{w} {n} {v} {n}",
]


def outside(rng):
    def word(_=None):
        if rng.random() < 0.5:
            return rng.choice(TOPICS)
        return "".join(rng.choice(SYLLABLES) for _ in range(rng.randint(1, 4)))

    text = rng.choice(OUTSIDE)
    for slot, make in (("{w}", word), ("{v}", word), ("{n2}", lambda: str(rng.randint(11, 99))), ("{n3}", lambda: str(rng.randint(100, 999))),
                       ("{n}", lambda: str(rng.randint(10, 999))), ("{s}", lambda: str(rng.randint(2, 9))), ("{y}", lambda: str(rng.randint(1000, 2030))),
                       ("{big}", lambda: str(rng.randrange(10**4, 10 ** rng.randint(5, 8))))):
        while slot in text:
            text = text.replace(slot, make(), 1)
    return Problem("outside", finish(rng, text), OUTSIDE_THOUGHT, "", [("outside", text)])


KINDS = {addition: 15, subtraction: 16, multiplication: 20, comparison: 9, ordering: 11, remainder: 13, word_problem: 19, outside: 7}
# The shares of the kinds later in the training. Once the easier kinds are learned, the others get more; at the end most goes to
# the kind that takes longest to learn, putting numbers in order.
LATER = {addition: 8, subtraction: 10, multiplication: 14, comparison: 14, ordering: 16, remainder: 19, word_problem: 14, outside: 5}
LAST = {addition: 8, subtraction: 14, multiplication: 14, comparison: 10, ordering: 28, remainder: 11, word_problem: 12, outside: 3}


def training_problems(rng, count, mix=KINDS):
    """Returns `count` problems of the training side. `mix` gives the share of each kind."""
    out = []
    while len(out) < count:
        problem = rng.choices(list(mix), mix.values())[0](rng)
        if problem.is_train():
            out.append(problem)
    return out


def test_problems(seed, count, with_outside=False):
    """Returns `count` different problems of the test side, as many of each kind as of any other."""
    rng, kinds = random.Random(seed), [kind for kind in KINDS if with_outside or kind is not outside]
    out, seen = [], set()
    while len(out) < count:
        problem = kinds[len(out) % len(kinds)](rng)
        problem.question = problem.question.rstrip("\n")
        if problem.is_test() and repr(problem.keys[0]) not in seen:
            seen.add(repr(problem.keys[0]))
            out.append(problem)
    return out


def main():
    """`data.py FILE` writes the problems of the accuracy table as lines KIND tab QUESTION tab ANSWER. Without FILE it prints examples."""
    if len(sys.argv) > 1:
        with open(sys.argv[1], "w", encoding="utf-8") as out:
            for p in test_problems(TABLE_SEED, TABLE_PROBLEMS):
                print(p.kind, p.question, p.answer, sep="\t", file=out)
        return
    rng = random.Random(0)
    for kind in KINDS:
        for _ in range(2):
            problem = kind(rng)
            print(f"[{problem.kind}] {problem.question}\n<think>\n{problem.thought}</think>{problem.response()[1]}\n")


if __name__ == "__main__":
    main()
