# SPDX-License-Identifier: Apache-2.0
"""Makes random and adversarial strings for comparing tokenizers. The same seed gives the same strings. None has surrogates."""

import random

CONTRACTIONS = [
    "'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'T", "'RE", "'Re", "'rE", "'VE", "'Ve", "'M", "'LL", "'lL",
    "'D", "'ſ", "'ſs", "'K", "'K", "'l", "'r", "'v", "'re've", "''s", "’s", "'İ", "'ß", "'ﬆ",
]
SPACES = [
    " ", "  ", "   ", "\t", "\n", "\r", "\r\n", "\n\n", "\r\n\r\n", "\v", "\f", "\x85", "\u00a0", "\u1680", "\u2000",
    "\u2003", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000", "\u200b", "\u180e", "\ufeff", "\x1c", "\x1f",
]
EMOJI = [
    "👩‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇫🇷", "🇩🇪🇯🇵", "❤️", "1️⃣", "👨🏿‍💻", "😀", "☃", "\u200d", "\ufe0f", "🏴󠁧󠁢󠁥󠁮󠁧󠁿",
]
COMBINING = [
    "e\u0301", "é", "n\u0303\u0323", "\u0301", "क्षि", "가", "가", "각", "ा", "\u1100\u1161", "Å", "Å", "Ω", "ﬁ", "ſ",
    "ʼn", "ŉ", "İ", "i̇", "ǆ", "\u0344", "\u0958", "ཱི", "\U0001d15e",
]
DIGITS = [
    "0", "1", "12", "123", "1234", "12345", "3.14", "1,000,000", "٣", "४५६", "Ⅷ", "½", "²", "①", "〇", "五", "𝟘𝟙", "𐄇",
    "\U00011de0", "\U00016ff4", "१", "0x1F", "1e-9",
]
WORDS = [
    "the", "of", "and", "Hello", "world", "tokenizer", "internationalisation", "Straße", "naïve", "façade", "où",
    "être", "привет", "мир", "你好", "世界", "中文分词", "こんにちは", "カタカナ", "안녕하세요", "مرحبا", "שלום", "नमस्ते", "สวัสดี",
    "Γειά", "ñandú", "don't", "I'll", "we've", "you're", "O'Neill", "rock'n'roll", "AAAA", "aaaa", "XMLHttpRequest",
    "snake_case", "𝔘𝔫𝔦",
]
CODE = [
    "for (int i = 0; i < n; ++i) {\n", "    return x;\n}\n", "def f(x):\n\treturn x ** 2\n", "#include <vector>\n",
    "std::vector<int> v{1,2,3};", "SELECT * FROM t WHERE a >= 10;", "if (a && b || !c)", "<div class=\"x\">",
    "/* c */", "// note", "\\n", "\\u0041", "${HOME}/.cache", "a->b.c[d]", "0b1010_1010", "'''doc'''", "\"\"\"", "=>",
    "===", "...", "https://example.org/?q=1&r=%20", "{}[]()<>", "λx.x", "x += 1;;", "-----", "________", "\t\t\t\tx",
    "        y",
]
PUNCTUATION = list("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
PUNCTUATION += ["…", "—", "«", "»", "。", "、", "！", "€", "©", "\u00ad", "±", "×", "←"]
CONTROL = [
    "\x00", "\x01", "\x04", "\x06", "\x07", "\x08", "\x13", "\x14", "\x16", "\x1b", "\x1d", "\x7f", "\x80", "\x9f",
    "\ufffd", "\ufffe", "\uffff", "\U0010ffff", "\ue000", "\U000f0000", "\U000e0001",
]
SPECIAL = [
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<think>", "</think>", "<tool_call>", "</tool_call>",
    "<|fim_prefix|>", "<|fim_pad|>", "<|EOT|>", "<|eot_id|>", "<｜User｜>", "<｜Assistant｜>", "<｜begin▁of▁sentence｜>",
    "<｜end▁of▁sentence｜>", "<|im_start", "|im_end|>", "<|", "|>", "<", ">", "<think", "think>", "<<think>>",
    "<|im_start|><|im_end|>", "<|im_end|", "[PAD151665]", "<repo_name>", "<jupyter_code>", "<file_sep>",
    "<|IM_START|>", "<｜", "｜>", "▁", "Ġ", "Ċ", "ĠĠ",
]
POOLS = [
    CONTRACTIONS, SPACES, EMOJI, COMBINING, DIGITS, WORDS, CODE, PUNCTUATION, CONTROL, SPECIAL,
]
PLANES = [
    (0x20, 0x7F), (0x80, 0x250), (0x250, 0x800), (0x800, 0x1100), (0x1100, 0x3000), (0x3000, 0xA000),
    (0xA000, 0xD800), (0xE000, 0x10000), (0x10000, 0x12000), (0x12000, 0x20000), (0x1D000, 0x1FB00),
    (0x20000, 0x33480), (0xE0000, 0xE01F0), (0x33480, 0x110000),
]


def code_point(rng):
    low, high = rng.choice(PLANES)
    return chr(rng.randrange(low, high))


def mixture(rng):
    return "".join(rng.choice(rng.choice(POOLS)) for _ in range(rng.randint(1, 24)))


def sentence(rng):
    glue = rng.choice([" ", " ", " ", "  ", "\n", "", "\t", "\r\n", "'", "-"])
    return glue.join(rng.choice(WORDS + DIGITS + PUNCTUATION + CODE) for _ in range(rng.randint(1, 30)))


def planes(rng):
    return "".join(code_point(rng) for _ in range(rng.randint(1, 40)))


def grid(rng):
    letters = "a1 .'\n\r\tA\u00a0é中sſ"
    return "".join(rng.choice(letters) for _ in range(rng.randint(1, 20)))


def one_script(rng):
    low, high = rng.choice(PLANES)
    start = rng.randrange(low, high)
    end = min(start + rng.choice([4, 32, 128]), high)
    length = rng.randint(1, 40)
    return "".join(rng.choice([chr(rng.randrange(start, end))] * 8 + [" ", "\n", "'", "1"]) for _ in range(length))


def runs(rng):
    lengths = [1, 1, 2, 3, 4, 7, 16, 33, 100]
    return "".join(rng.choice(rng.choice(POOLS)) * rng.choice(lengths) for _ in range(rng.randint(1, 6)))


def letters(rng):
    some = ["ab", "etaoin", "abcdefghijklmnopqrstuvwxyz", "ABCabc", "aA", "_-", "=-", "\u4e00\u4e8c\u4e09"]
    alphabet = rng.choice(some)
    return "".join(rng.choice(alphabet) for _ in range(rng.choice([3, 10, 30, 31, 32, 33, 34, 40, 64, 65, 100, 300])))


def single(rng):
    frames = ["{}", " {}", "{} ", "a{}", "{}a", "'{}", "1{}", "{}1", "\n{}", "{}\n", "{0}{0}", ".{}", "'{}s"]
    return rng.choice(frames).format(code_point(rng))


MAKERS = [
    mixture, mixture, mixture, sentence, sentence, planes, grid, grid, one_script, runs, letters, single,
]


def strings(count, seed):
    """Returns `count` strings. The first one is empty. Then follow, in random order, every string of the pools alone and
    combinations that tokenizers often split wrongly. The others are random."""
    rng = random.Random(seed)
    out = [item for pool in POOLS for item in pool]
    out += [a + b + c for a in SPACES[:12] for b in SPACES[:12] for c in ["", "a", "1", ".", "'s"]]
    out += [a + c + b for c in CONTRACTIONS for a in ["", "a", " ", "1", "'"] for b in ["", "a", "S", " "]]
    rng.shuffle(out)
    out = ["", *out][:count]
    while len(out) < count:
        out.append(rng.choice(MAKERS)(rng))
    return out
