"""Text of the built-in sample: conversations made by rule, all numbers and results consistent.

Standard library only. `Dice` is a generator of our own (splitmix64), since the draws of `random`
have changed between Python versions and the sample must be the same bytes everywhere.
Templates hold alternatives `[a|b]` and slots `{name}`; `say` draws and fills them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")
_ALTERNATIVES = re.compile(r"\[([^\[\]]*)\]")
_MASK = (1 << 64) - 1


class Dice:
    """Seeded draws, the same on every machine and Python (splitmix64)."""

    def __init__(self, seed: int) -> None:
        self._state = seed & _MASK

    def below(self, n: int) -> int:
        """A number in [0, n); the bias of the remainder is far below what matters here."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        z = self._state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        return (z ^ (z >> 31)) % n

    def between(self, low: int, high: int) -> int:
        """A number in [low, high], both inclusive."""
        return low + self.below(high - low + 1)

    def pick(self, options: Sequence[T]) -> T:
        return options[self.below(len(options))]

    def some(self, options: Sequence[T], n: int) -> list[T]:
        """`n` different options, in drawn order."""
        left = list(options)
        return [left.pop(self.below(len(left))) for _ in range(n)]


def say(dice: Dice, template: str, **slots: object) -> str:
    """One wording of a template.

    >>> say(Dice(1), "[a|a] {n} [b]", n=3)
    'a 3 b'
    """
    while "[" in template:
        template = _ALTERNATIVES.sub(lambda m: dice.pick(m.group(1).split("|")), template)
    return template.format_map(slots)


@dataclass(frozen=True, slots=True)
class Talk:
    """A conversation before it is written in a dialect.

    `messages`: dicts with role, content, and where they apply reasoning, calls (id, name,
    arguments as a dict, or as text that is no JSON), call_id, name, error.
    """

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None = None
    system: str | None = None
    answer: str | None = None


def words(text: str, between: str = " ") -> list[str]:
    """The parts of a text: a long list of short words takes a line so, not a page."""
    return text.split(between)


WHO = words(
    "Amara Bashir Chiara Dmitri Eleni Farid Greta Hiroshi Ingrid Jorge Kavita Lucien Mirela "
    "Nuno Oksana Pilar Quentin Rukmini Soren Tamsin Umar Valeria Wanjiku Xiomara Yusuf Zofia"
)
GOODS = words(
    "apples buttons candles dumplings envelopes figs gaskets hinges lanterns marbles notebooks "
    "oranges pencils quinces ribbons saplings tiles umbrellas vases whistles zippers bolts"
)
CITIES = words(
    "Aveiro Bergen Coimbra Dundee Esbjerg Ferrara Ghent Haarlem Izmir Jyväskylä Košice Lübeck "
    "Malmö Nantes Odense Parma Rouen Siena Tartu Uppsala Vigo Wels Ystad Zürich"
)
SHOPS = words(
    "a riverside bakery|a school canteen|the harbour depot|a mountain lodge|the town library|"
    "a repair workshop|the music academy|a flower stall|the night market|a pottery studio",
    "|",
)
DAYS = words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")


def dump(value: object) -> str:
    """Compact JSON text, characters as they are."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def instruction(dice: Dice) -> tuple[str, str, str]:
    """A task in the Alpaca manner as (instruction, input, output); the input may be empty."""
    who, other = dice.some(WHO, 2)
    goods = dice.some(GOODS, 5)
    numbers = dice.some(range(11, 99), 5)
    city, shop, day = dice.pick(CITIES), dice.pick(SHOPS), dice.pick(DAYS)
    table = list(zip(goods, numbers, strict=True))
    rows = "; ".join(f"{g}: {n}" for g, n in table)
    kind = dice.below(4)
    if kind == 0:
        ranked = sorted(table, key=lambda pair: -pair[1])
        return (
            say(dice, "[Sort|Rank|Order] the goods of {shop} [from most to least|by number, "
                "largest first].", shop=shop),
            rows,
            "\n".join(f"{k}. {g} ({n})" for k, (g, n) in enumerate(ranked, 1)),
        )  # fmt: skip
    if kind == 1:
        text = say(
            dice,
            "[On|Last] {day} {who} [bought|took] {n} {g} [from|at] {shop} in {city} and "
            "[paid|gave] {other} {p} coins.",
            day=day, who=who, n=numbers[0], g=goods[0], shop=shop, city=city,
            other=other, p=numbers[1],
        )  # fmt: skip
        found = {
            "buyer": who,
            "seller": other,
            "good": goods[0],
            "pieces": numbers[0],
            "coins": numbers[1],
        }
        return (
            say(dice, "[Extract|Pull out] buyer, seller, good, pieces and coins [as|into] JSON."),
            text,
            dump(found),
        )
    if kind == 2:
        total = sum(numbers)
        sums = [f"after {g}: {sum(numbers[: k + 1])}" for k, g in enumerate(goods)]
        return (
            say(
                dice,
                "[How many pieces are there|What is the sum] when {who} [adds up|counts] {rows} "
                "in {city}? [Show|Give] the running sum.",
                who=who, rows=rows, city=city,
            ),
            "",
            "\n".join([*sums, f"In all {total}."]),
        )  # fmt: skip
    least, most = min(table, key=lambda pair: pair[1]), max(table, key=lambda pair: pair[1])
    return (
        say(dice, "[Write|Draft] a [short|two-line] note from {who} to {other} about the store "
            "of {shop} [on|for] {day}.",
            who=who, other=other, shop=shop, day=day),
        rows,
        say(
            dice,
            "[Dear|Hello] {other},\n[we have|there are] {n_most} {most} but [only|no more than] "
            "{n_least} {least} at {shop}. "
            "[Please bring|Could you order] {gap} {least} from {city} [before|by] {day}?\n[Best "
            "regards|Thank you], {who}",
            other=other, most=most[0], n_most=most[1], least=least[0], n_least=least[1],
            shop=shop, gap=most[1] - least[1], city=city, day=day, who=who,
        ),
    )  # fmt: skip
