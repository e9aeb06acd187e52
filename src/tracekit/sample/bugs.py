"""Small functions with one wrong line, for the code edits of the sample."""

from __future__ import annotations

from dataclasses import dataclass
from string import Template

from tracekit.sample.wording import CITIES, DAYS, SHOPS, WHO, Dice, say, words


@dataclass(frozen=True, slots=True)
class Bug:
    """A small function with one wrong line. `$f`, `$v`, `$k`: function, variable, constant."""

    code: str
    wrong: str
    right: str
    seen: str
    why: str


BUGS = (
    Bug(
        "def $f($v, width=$k):\n    windows = []\n    for i in range(len($v) - width):\n"
        "        windows.append($v[i : i + width])\n    return windows\n",
        "range(len($v) - width)", "range(len($v) - width + 1)",
        "last window of $v is missing for width $k",
        "the range ends one window too early",
    ),
    Bug(
        "def $f($v, seen=[]):\n    for row in $v:\n        if row not in seen:\n            "
        "seen.append(row)\n"
        "    return seen[:$k]\n",
        "seen=[]):", "seen=None):\n    seen = [] if seen is None else seen",
        "second call of $f returns rows of the first",
        "the default list is shared by all calls",
    ),
    Bug(
        "def $f($v):\n    total = sum($v)\n    if not $v:\n        return $k\n    return total "
        "// len($v)\n",
        "total // len($v)", "total / len($v)",
        "mean of $v is cut to a whole number",
        "`//` throws the fraction away",
    ),
    Bug(
        "def $f($v):\n    kept = {}\n    for name, score in $v.items():\n        if score > $k:\n"
        "            kept[name] = score\n    return kept\n",
        "score > $k", "score >= $k",
        "a score of exactly $k is lost in $f",
        "the limit is inclusive in the docs",
    ),
    Bug(
        "def $f(path):\n    $v = []\n    with open(path) as lines:\n        for line in lines:\n"
        '            $v.append(line.split(","))\n    return $v[$k:]\n',
        'line.split(",")', 'line.rstrip("\\n").split(",")',
        "last column of $v ends in a newline",
        "the line end stays on the last field",
    ),
    Bug(
        "def $f($v, n=$k):\n    ranked = sorted($v, key=lambda pair: pair[1])\n    return "
        "ranked[:n]\n",
        "key=lambda pair: pair[1])", "key=lambda pair: (-pair[1], pair[0]))",
        "$f returns the $k smallest instead of the largest",
        "sorted ascends and ties have no order",
    ),
)  # fmt: skip
_VERBS = words("collect rank merge trim group fold scan score pack split")
_NOUNS = words("orders visits readings invoices routes samples crews parcels tides lots")


@dataclass(frozen=True, slots=True)
class Repair:
    """A drawn bug with everything that a session about it says."""

    module: str
    before: str
    after: str
    wrong: str
    right: str
    seen: str
    why: str
    ask: str


def repair(dice: Dice) -> Repair:
    bug = dice.pick(BUGS)
    verb, noun, other = dice.pick(_VERBS), *dice.some(_NOUNS, 2)
    names = {"f": f"{verb}_{noun}", "v": other, "k": str(dice.between(2, 97))}

    def fill(text: str) -> str:
        return Template(text).substitute(names)

    before, wrong, right, seen = (fill(t) for t in (bug.code, bug.wrong, bug.right, bug.seen))
    module = f"{noun}/{verb}_{other}.py"
    ask = say(
        dice,
        "[Tests of|The check for] {module} [fail|is red]: {seen}. [It broke|That began] when "
        "{other} [merged|pushed] {n} [changes|commits] for {shop} in {city}. "
        "[Please fix it|Find out why], {who} [needs it|wants to release] on {day}.",
        module=module, seen=seen, who=dice.pick(WHO), other=dice.pick(WHO), n=dice.between(2, 40),
        shop=dice.pick(SHOPS), city=dice.pick(CITIES), day=dice.pick(DAYS),
    )  # fmt: skip
    return Repair(module, before, before.replace(wrong, right), wrong, right, seen, bug.why, ask)
