"""Conversations with tools for the built-in sample: invented services with consistent results.

What a tool answers is computed from the same numbers that the final answer uses, so a rule about
grounded answers has something true to look at. Ids count up within a conversation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tracekit.sample.bugs import repair
from tracekit.sample.wording import CITIES, DAYS, GOODS, SHOPS, WHO, Dice, Talk, dump, say


def _tool(name: str, description: str, **kinds: str) -> dict[str, Any]:
    properties = {key: {"type": kind} for key, kind in kinds.items()}
    return {
        "name": name,
        "description": description,
        "parameters": {"type": "object", "properties": properties, "required": list(kinds)},
    }


FORECAST = _tool("get_forecast", "Forecast of one city and day.", city="string", day="string")
TRAINS = _tool(
    "find_trains", "Trains of a day.", origin="string", destination="string", day="string"
)
BOOK = _tool("book_seat", "Book one seat.", train="string", passenger="string")
STOCK = _tool("get_stock", "Pieces of a good in the store.", good="string", store="string")
ORDER = _tool("place_order", "Order pieces of a good.", good="string", pieces="integer")
READ = _tool("read_file", "Text of a file.", path="string")
EDIT = _tool("edit_file", "Replace a text in a file.", path="string", old="string", new="string")
TESTS = _tool("run_tests", "Run the tests of a file.", path="string")


@dataclass(slots=True)
class Script:
    """A conversation as it is being written."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    n_calls: int = 0

    def user(self, text: str) -> None:
        self.messages.append({"role": "user", "content": text})

    def assistant(self, text: str | None, reasoning: str | None = None) -> None:
        self.messages.append({"role": "assistant", "content": text, "reasoning": reasoning})

    def calls(
        self,
        reasoning: str | None,
        *pairs: tuple[str, dict[str, Any], Any],
        text: str | None = None,
        error: bool = False,
    ) -> None:
        """One assistant message with calls (name, arguments, result) and their results."""
        calls, results = [], []
        for name, arguments, result in pairs:
            self.n_calls += 1
            key = f"call_{self.n_calls:02d}"
            calls.append({"id": key, "name": name, "arguments": arguments})
            shown = result if isinstance(result, str) else dump(result)
            results.append(
                {"role": "tool", "call_id": key, "name": name, "content": shown, "error": error}
            )
        self.messages.append(
            {"role": "assistant", "content": text, "reasoning": reasoning, "calls": calls}
        )
        self.messages.extend(results)


def weather(dice: Dice) -> Talk:
    """Two or three forecasts in one message, then a recommendation."""
    cities = dice.some(CITIES, dice.between(2, 3))
    who, day, plan = (
        dice.pick(WHO),
        dice.pick(DAYS),
        dice.pick(("a picnic", "a kite race", "roof work", "a street concert", "a cycling tour")),
    )
    s = Script()
    s.user(
        say(
            dice,
            "{who} [plans|is preparing] {plan} on {day} and [can go to|chooses between] {cities}. "
            "[Where is it driest|Which place gets the least rain]?",
            who=who,
            plan=plan,
            day=day,
            cities=" or ".join(cities),
        )
    )
    rain = {c: dice.between(0, 9) + 10 * i for i, c in enumerate(dice.some(cities, len(cities)))}
    warm = {c: dice.between(-4, 31) for c in cities}
    s.calls(
        say(
            dice,
            "[I need|The comparison needs] the forecast of {n} [cities|places] for {day}; the "
            "calls do not "
            "depend on each other, so [all at once|in parallel]. {first} [first|to begin with].",
            n=len(cities), day=day, first=cities[0],
        ),
        *(
            (
                "get_forecast",
                {"city": c, "day": day},
                {"city": c, "day": day, "rain_mm": rain[c], "high_c": warm[c]},
            )
            for c in cities
        ),
    )  # fmt: skip
    best = min(cities, key=lambda c: rain[c])
    listed = ", ".join(f"{c} {rain[c]} mm" for c in cities)
    s.assistant(
        say(
            dice,
            "[Go to|I recommend|Choose] {best}: [only|expected are] {r} mm of rain and {w} °C. "
            "[All of them|In comparison]: {listed}. [Enjoy|Good luck with] {plan}, {who}!",
            best=best, r=rain[best], w=warm[best], listed=listed, plan=plan, who=who,
        ),
        say(
            dice,
            "[Rain|The results] for {day}: {listed}. [Smallest|The least] is {best} with {r} mm, "
            "[at|and] {w} °C "
            "[which suits|fine for] {plan}.",
            day=day, listed=listed, best=best, r=rain[best], w=warm[best], plan=plan,
        ),
    )  # fmt: skip
    return Talk(s.messages, tools=[FORECAST])


def trains(dice: Dice) -> Talk:
    """A search, a choice by a stated wish, a booking."""
    origin, target = dice.some(CITIES, 2)
    who, day = dice.pick(WHO), dice.pick(DAYS)
    wish = dice.pick(("cheapest", "earliest", "fastest"))
    found: list[dict[str, Any]] = [
        {
            "train": f"{dice.pick('KLMRT')}{dice.between(100, 989)}",
            "leaves": f"{6 + 4 * k + dice.below(3):02d}:{5 * dice.below(12):02d}",
            "minutes": dice.between(71, 310),
            "coins": dice.between(17, 140),
        }
        for k in range(3)
    ]
    key = {"cheapest": "coins", "earliest": "leaves", "fastest": "minutes"}[wish]
    best = min(found, key=lambda t: t[key])
    slots: dict[str, object] = {
        "who": who,
        "day": day,
        "o": origin,
        "t": target,
        "wish": wish,
        **best,
    }
    s = Script()
    s.user(
        say(
            dice,
            "[Book|Get|Please reserve] a seat for {who} on the {wish} train from {o} to {t} "
            "[on|next] {day}.",
            **slots,
        )
    )
    s.calls(
        say(
            dice,
            "[First|To start] I look up {day} from {o} to {t}, [then|after that] choose the "
            "{wish}.",
            **slots,
        ),
        ("find_trains", {"origin": origin, "destination": target, "day": day}, found),
    )
    s.calls(
        say(
            dice,
            "[Of three|Among the trains] the {wish} is {train}: {leaves}, {minutes} minutes, "
            "{coins} coins. "
            "[Book it|I book that one] for {who}.",
            **slots,
        ),
        (
            "book_seat",
            {"train": best["train"], "passenger": who},
            {
                "train": best["train"],
                "seat": f"{dice.between(1, 80)}{dice.pick('ABCD')}",
                "ok": True,
            },
        ),
    )
    seat = s.messages[-1]["content"].split('"seat":"')[1].split('"')[0]
    s.assistant(
        say(
            dice,
            "[Done|Booked]: {who} has seat {seat} on {train}, [leaving|which departs from] {o} "
            "at {leaves} on {day}; "
            "[the ride to|it reaches] {t} [takes|in] {minutes} minutes [and|which] costs {coins} "
            "coins.",
            seat=seat, **slots,
        )
    )  # fmt: skip
    return Talk(s.messages, tools=[TRAINS, BOOK], system=_system(dice))


def restock(dice: Dice) -> Talk:
    """A longer loop: look at every good, order what is short, report with the sums."""
    goods = dice.some(GOODS, dice.between(4, 7))
    shop, who, least = dice.pick(SHOPS), dice.pick(WHO), dice.between(25, 90)
    have = {g: dice.between(3, 140) for g in goods}
    s = Script()
    s.user(
        say(
            dice,
            "[Check|Go through] the store of {shop} for {who}: we want at least {least} of "
            "{goods}. "
            "[Order|Buy] what is [missing|short] and [tell me|report] the sum.",
            shop=shop, who=who, least=least, goods=", ".join(goods),
        )
    )  # fmt: skip
    total = 0
    for k, g in enumerate(goods):
        slots: dict[str, object] = {
            "g": g,
            "n": have[g],
            "least": least,
            "k": k + 1,
            "of": len(goods),
        }
        s.calls(
            say(dice, "[Now|Next] the {g}, [good|number] {k} of {of}.", **slots),
            ("get_stock", {"good": g, "store": shop}, {"good": g, "pieces": have[g]}),
        )
        if have[g] >= least:
            continue
        short = least - have[g]
        total += short
        reason = say(
            dice,
            "{n} {g} are [too few|below {least}]: {least} - {n} = {short} [to order|are "
            "missing]; {total} so far.",
            short=short, total=total, **slots,
        )  # fmt: skip
        order = {"good": g, "pieces": short}
        if dice.below(6) == 0:
            s.calls(
                reason, ("place_order", order, {"error": "supplier closed until noon"}), error=True
            )
            reason = say(
                dice,
                "[The supplier was closed|Closed]; [try|order] {g} [again|once more].",
                **slots,
            )
        s.calls(reason, ("place_order", order, {"good": g, "ordered": short, "ok": True}))
    listed = "; ".join(f"{g} {have[g]}" for g in goods)
    s.assistant(
        say(
            dice,
            "[Stock of|In store at] {shop}: {listed}. [Ordered|I ordered] {total} pieces [in "
            "all|altogether], so that {who} "
            "has [no fewer than|at least] {least} of each.",
            shop=shop, listed=listed, total=total, who=who, least=least,
        ),
        say(dice, "[All|The] {n} goods are [seen|checked]; the orders [add up|sum] to "
            "{total}.", n=len(goods), total=total),
    )  # fmt: skip
    return Talk(s.messages, tools=[STOCK, ORDER], system=_system(dice))


def _system(dice: Dice) -> str:
    return say(
        dice,
        "You are the [assistant|clerk|agent] of {shop}. [Use|Call] the tools [when|whenever] a "
        "fact is "
        "[needed|missing], [never guess|do not invent numbers].",
        shop=dice.pick(SHOPS),
    )


def code_edit(dice: Dice) -> Talk:
    """Read, run the tests, edit, run them again."""
    r = repair(dice)
    n = dice.between(4, 30)
    s = Script()
    s.user(r.ask)
    s.calls(
        say(dice, "[Read|Look at] {m} [first|before changing it].", m=r.module),
        ("read_file", {"path": r.module}, r.before),
    )
    s.calls(
        say(dice, "`{w}` [looks wrong|is suspect]: {why}. [See it fail|Confirm] before "
            "[editing|a change].", w=r.wrong, why=r.why),
        ("run_tests", {"path": r.module}, f"1 failed, {n} passed\nE  {r.seen}"),
    )  # fmt: skip
    s.calls(
        say(
            dice,
            "[Confirmed|As expected]: {seen}. [Replace|Change] that [line|place] only.",
            seen=r.seen,
        ),
        ("edit_file", {"path": r.module, "old": r.wrong, "new": r.right}, "1 replacement"),
    )
    s.calls(None, ("run_tests", {"path": r.module}, f"{n + 1} passed"))
    s.assistant(
        say(
            dice,
            "[Fixed|Done]. In `{m}` {why}, [so|therefore] {seen}. I [changed|replaced] `{w}` "
            "[to|by] `{right}`; all {n} tests [pass|are green].",
            m=r.module, why=r.why, seen=r.seen, w=r.wrong, right=r.right.replace("\n", " "
                ""), n=n + 1,
        ),
        say(dice, "{n} tests pass, [nothing else was touched|only {m} changed]. "
            "[Summarise|Report].", n=n + 1, m=r.module),
    )  # fmt: skip
    return Talk(s.messages, tools=[READ, EDIT, TESTS])


TOOL_TALKS: tuple[Callable[[Dice], Talk], ...] = (weather, trains, restock, code_edit)
