"""A corpus of chat records for the bench, of any size, made by rule.

    python bench/corpus.py --mb 600 --out DIR [--seed 1234] [--files 1]

Text: word problems with reasoning (the templates of the built-in sample), tool results, code of
the Python standard library that runs this script, and some Chinese. Paragraphs are filled with
numbers and names drawn anew at each use, so that two records share none but by intent. Lengths
are log-normal, median about 6 KB, up to 200 KB. Planted, with `truth.jsonl` beside the corpus:
5 % exact copies, 10 % near copies (0.2 % to 4 % of the words changed), 1 % loops.
"""

import argparse
import json
import re
import sys
import sysconfig
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))
from tracekit.sample.problems import problem
from tracekit.sample.tool_talks import TOOL_TALKS
from tracekit.sample.wording import CITIES, GOODS, WHO, Dice, dump

N_PROBLEMS, N_TALKS = 6_000, 1_200
MIN_CODE_CHARS, MAX_CODE_CHARS = 250, 1_400
SHARES = {"maths": 0.5, "code": 0.3, "tools": 0.16, "chinese": 0.04}
# Common characters, enough to make clauses that look like Chinese to a tokenizer.
HAN = (
    "的一是不了人我在有他这中大来上个国到说们为子和你地出道也时年得就那要下以生会自着去之过家学对可"
    "里后小么心多天而能好都然没日于起还发成事只作当想看文无开手十用主行方又如前所本见经头面公同三已"
)


def code_paragraphs() -> list[str]:
    """Blocks of the standard library's own source, cut at blank lines."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    found = []
    for path in sorted(folder.glob("*.py")) + sorted(folder.glob("[a-s]*/*.py")):
        if path.parts[-2] in ("encodings", "site-packages") or "test" in path.parts[-2]:
            continue
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        block: list[str] = []
        size = 0
        for line in text.split("\n"):
            block.append(line)
            size += len(line) + 1
            if (size >= MIN_CODE_CHARS and not line.strip()) or size >= MAX_CODE_CHARS:
                found.append("\n".join(block).strip("\n"))
                block, size = [], 0
    return found


def pool(dice: Dice) -> dict[str, list[str]]:
    """Paragraphs by kind."""
    maths = ["\n".join(problem(dice)[:3]) for _ in range(N_PROBLEMS)]
    tools = []
    for k in range(N_TALKS):
        talk = TOOL_TALKS[k % len(TOOL_TALKS)](dice)
        for m in talk.messages:
            text = m["content"] or ""
            tools.append(f"{m.get('reasoning') or ''}\n{text}\n{dump(m.get('calls', []))}")
    chinese = [
        "".join(
            "".join(dice.pick(HAN) for _ in range(dice.between(5, 14))) + dice.pick("，。；")
            for _ in range(dice.between(6, 22))
        )
        for _ in range(3_000)
    ]
    return {"maths": maths, "code": code_paragraphs(), "tools": tools, "chinese": chinese}


_HOLE = re.compile(r"\d+|[A-Za-zÀ-ž]{4,}")


@dataclass(frozen=True, slots=True)
class Template:
    """A paragraph with holes between its pieces: True for a number, False for a word."""

    pieces: list[str]
    numbers: list[bool]


def template(text: str, dice: Dice, names: frozenset[str]) -> Template:
    """The text with a hole for every number, every name and one longer word in six.

    Holes are drawn anew at each use, so the same paragraph twice has few shingles of five words
    in common and is no planted duplicate by accident.
    """
    pieces, numbers, start = [], [], 0
    for match in _HOLE.finditer(text):
        word = match.group()
        if word.isdigit() or word in names or (len(word) > 4 and dice.below(6) == 0):
            pieces.append(text[start : match.start()])
            numbers.append(word.isdigit())
            start = match.end()
    pieces.append(text[start:])
    return Template(pieces, numbers)


class Writer:
    """Draws records; all draws come in blocks from one numpy generator, which is what is fast."""

    def __init__(self, seed: int) -> None:
        dice = Dice(seed)
        self.random = np.random.Generator(np.random.PCG64(seed))
        names = frozenset([*WHO, *CITIES, *GOODS])
        texts = pool(dice)
        # Words are drawn from the code's own, so that a tokenizer meets words, not noise.
        found = Counter(w for t in texts["code"] for w in re.findall("[A-Za-z]{4,12}", t))
        self.words = [w for w, n in found.most_common(12_000) if n > 1]
        self.kinds = list(texts)
        self.pool = {k: [template(t, dice, names) for t in v] for k, v in texts.items()}
        self.number = self._endless(number=True).__next__
        self.word = self._endless(number=False).__next__

    def _endless(self, number: bool) -> Iterator[str]:
        while True:
            if number:
                yield from map(str, self.random.integers(2, 9_999, 1 << 16).tolist())
            else:
                drawn = self.random.integers(0, len(self.words), 1 << 16).tolist()
                yield from [self.words[k] for k in drawn]

    def paragraph(self, kind: str, k: int) -> str:
        made = self.pool[kind][k]
        out = [""] * (2 * len(made.pieces) - 1)
        out[0::2] = made.pieces
        number, word = self.number, self.word
        out[1::2] = [number() if is_number else word() for is_number in made.numbers]
        return "".join(out)

    def body(self, kind: str, n_chars: int) -> str:
        """Different paragraphs of a kind, every ninth from another, until the length is reached."""
        out: list[str] = []
        size = 0
        here = self.pool[kind]
        order = self.random.integers(0, 1 << 30, 400).tolist()
        used: set[int] = set()
        place = 0
        while size < n_chars:
            if place == len(order):
                order, place = self.random.integers(0, 1 << 30, 400).tolist(), 0
            k = order[place] % len(here)
            place += 1
            if k in used and len(used) < len(here):
                continue
            used.add(k)
            if place % 9 == 0:
                other = self.kinds[order[place - 1] % 3]
                text = self.paragraph(other, k % len(self.pool[other]))
            else:
                text = self.paragraph(kind, k)
            out.append(text)
            size += len(text) + 2
        return "\n\n".join(out)

    def edited(self, text: str, rate: float) -> str:
        """About `rate` of the words replaced, dropped or doubled by another."""
        parts = text.split(" ")
        n = max(1, round(len(parts) * rate))
        places = self.random.integers(0, len(parts), n).tolist()
        kinds = self.random.random(n).tolist()
        with_words = self.random.integers(0, len(self.words), n).tolist()
        for at, how, word in zip(places, kinds, with_words, strict=True):
            new = self.words[word]
            parts[at] = "" if how < 0.3 else new if how < 0.7 else f"{parts[at]} {new}"
        return " ".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mb", type=float, default=60)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1234)
    parser.add_argument("--files", type=int, default=1, help="records go round robin")
    options = parser.parse_args()
    start = time.perf_counter()
    made = make(options.out, options.mb, options.seed, options.files)
    seconds = time.perf_counter() - start
    print(json.dumps({**made, "seconds": round(seconds, 1)}))


def make(folder: Path, mb: float, seed: int = 1234, n_files: int = 1) -> dict[str, int]:
    """Write the corpus of `mb` megabytes and its truth; counts of what was made."""
    folder.mkdir(parents=True, exist_ok=True)
    writer = Writer(seed)
    draw = np.random.Generator(np.random.PCG64(seed + 1))
    kinds, shares = list(SHARES), np.cumsum(list(SHARES.values()))
    with ExitStack() as stack:
        names = [f"corpus-{k:02d}.jsonl" for k in range(n_files)] + ["truth.jsonl"]
        *files, truth = (stack.enter_context(open(folder / n, "wb", 1 << 20)) for n in names)
        kept: list[tuple[str, str, str, str, str]] = []
        counts = {"records": 0, "bytes": 0, "exact": 0, "near": 0, "loop": 0}
        limit = mb * 1e6
        while counts["bytes"] < limit:
            r = draw.random()
            key = f"t{counts['records']:07d}"
            planted: dict[str, object] | None = None
            if kept and r < 0.15:
                # Copies are of one of the last 4,000 candidates: memory stays bounded at any size.
                of, kind, user, thoughts, answer = kept[int(draw.integers(len(kept)))]
                planted = {"id": key, "kind": "exact" if r < 0.05 else "near", "of": of}
                if r >= 0.05:
                    rate = float(draw.choice([0.002, 0.005, 0.01, 0.02, 0.04]))
                    thoughts = writer.edited(thoughts, rate)
                    planted["rate"] = rate
            else:
                kind = kinds[min(int(np.searchsorted(shares, draw.random())), len(kinds) - 1)]
                n_chars = int(min(200_000, max(600, draw.lognormal(8.42, 1.1))))
                if draw.random() < 0.001:
                    n_chars = 200_000
                user = writer.body(kind, 200)[:1_500]
                thoughts = writer.body(kind, int(n_chars * 0.85))
                answer = writer.body(kind, max(120, int(n_chars * 0.08)))
                if r > 0.99:
                    block = thoughts[: int(draw.integers(80, 700))]
                    thoughts += "\n" + (block + "\n") * (3 * len(thoughts) // (4 * len(block)) + 8)
                    planted = {"id": key, "kind": "loop"}
                elif draw.random() < 0.5:
                    if len(kept) < 4_000:
                        kept.append((key, kind, user, thoughts, answer))
                    else:
                        kept[int(draw.integers(4_000))] = (key, kind, user, thoughts, answer)
            line = orjson.dumps(
                {
                    "id": key,
                    "messages": [
                        {"role": "user", "content": user},
                        {"role": "assistant", "reasoning_content": thoughts, "content": answer},
                    ],
                },
                option=orjson.OPT_APPEND_NEWLINE,
            )
            files[counts["records"] % n_files].write(line)
            counts["records"] += 1
            counts["bytes"] += len(line)
            if planted:
                counts[str(planted["kind"])] += 1
                truth.write(orjson.dumps(planted, option=orjson.OPT_APPEND_NEWLINE))
    return counts


if __name__ == "__main__":
    main()
