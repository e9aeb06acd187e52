"""Texts on which a fast tokenizer has to agree with its reference before it is trusted.

Made here from a fixed seed: edge cases by hand, then random mixtures of scripts, white space,
marks, digits, code and control-token text. About 0.4 MB, half a second for the slow reference.
"""

from __future__ import annotations

import random

_EDGES = (
    "",
    " ",
    "\n",
    "\r\n\r\n",
    "\t \t",
    "a",
    " a",
    "  a",
    "a\n\n b",
    "\n\n\n  \n x",
    "it's IT'S we'LL I'd 'tis don’t",
    "1234567890 3.14159 1e-9 ½ ² ٣٤",
    "<|im_end|>\n<|im_start|>user\n<think></think><tool_call>",
    "<|endoftext|>",
    "加拿大",
    "生活的真谛是",
    "日本語のテキスト、ひらがなとカタカナ。",
    "한국어 텍스트",
    "\u1100\u1161\u11a8 \u1112\u1161\u11ab",
    "e\u0301 a\u0308 o\u0302\u0301 \u0301x",
    "n\u0303\u0323 q\u0307\u0323 \u212b \u2126 \ufb01",
    "नमस्ते दुनिया",
    "สวัสดีชาวโลก ปี ด",
    "שָׁלוֹם עולם",
    "السَّلامُ عليكم",
    "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 😀😃",
    "\ufffd\ufffd \ufeffx \u200b\u200d\u00ad",
    "\x00\x01\x1c\x1d\x1f\x7f\x85\xa0",
    "\u2028\u2029\u3000\u2003x\u1680",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𐍈 \U0001f9ff \U0010fffd",
    r"\frac{a}{b} \sum_{i=0}^{n} x_i^2 \le \boxed{42}",
    "def f(x):\n    return {'a': [1, 2, x]}  # done\n",
    '{"name": "search", "arguments": {"q": "a\\nb", "n": 10}}\n',
    "<function=search>\n<parameter=q>\nx\n</parameter>\n</function>\n",
    "----------------========########,,,,,,....!!!!????",
    "a" * 5000,
    " " * 5000,
    " " * 5000 + "x",
    "\n" * 5000,
    "^" * 5000,
    "ab" * 3000,
    "é" * 3000,
    "字" * 3000,
    "0" * 3000,
    "\u0301" * 500,
)

_POOLS = (
    "etaoinshrdlucmfwypvbgkqjxzETAOIN",
    "  \n\t\r",
    "0123456789.,-+*/=<>()[]{}'\"_#@$%^&|\\~`!?;:",
    "\u0300\u0301\u0302\u0303\u0308\u0323\u0338\u05b0\u064b\u0e31\u0e49\u3099",
    "àéîõüñçßøåæœłžščř",
    "абвгдежзийклмнопрстуфхцчшщъыьэюя",
    "的一是不了人我在有他这为之大来以个中上们",
    "あいうえおかがきぎアイウガ゙",
    "ᄀᄁᄂ가각힣ᅡᅢᆨᆩ",
    "กขคงจฉชซะาิีึื",
    "اأإآبتثجحخدذرزسش",
    "😀👍🏽\u200d🏳️⚽",
    "\u00a0\u2003\u3000\u200b\ufeff\x1c\x00",
)

_WORDS = (  # noqa: SIM905
    "the answer is therefore because function return import class let x equals we have that first "
    "second finally check compute sum product matrix vector print error None True self.value "
    "foo_bar camelCase HTTPServer don't it's e.g. i.e. http://example.org/a?b=c "
    "<think> </think> <|im_start|> <tool_call> \\frac{1}{2} $x^2$ ``` ** == != -> :: // "
    "Москва Ελλάδα 東京 서울 ประเทศไทย naïve café"
).split()


def stress_texts(n_random: int = 3000) -> list[str]:
    """The edge cases, then `n_random` random texts, equal in every process."""
    draw = random.Random(20_240_229)
    texts = list(_EDGES)
    for k in range(n_random):
        length = draw.randint(1, 60)
        if k % 3 == 0:
            parts = [draw.choice(_WORDS) for _ in range(length)]
            texts.append(draw.choice((" ", " ", "\n", "  ", "")).join(parts))
        elif k % 3 == 1:
            pools = draw.sample(_POOLS, 3)
            texts.append("".join(draw.choice(draw.choice(pools)) for _ in range(length)))
        else:
            texts.append("".join(chr(_scalar(draw)) for _ in range(length)))
    return texts


def _scalar(draw: random.Random) -> int:
    """A random Unicode scalar value; low planes more often; never a surrogate."""
    code = draw.randrange(draw.choice((0x80, 0x250, 0x3000, 0xD800)))
    if draw.random() < 0.1:
        code = draw.randrange(0xE000, 0x20000)
    return code
