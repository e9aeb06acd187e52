"""Arithmetic word problems of the sample, with reasoning whose every number is right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tracekit.sample.wording import CITIES, DAYS, GOODS, SHOPS, WHO, Dice, say


@dataclass(frozen=True, slots=True)
class Problem:
    """A word problem: what is drawn, what follows, and how it is told."""

    draw: Callable[[Dice], dict[str, int]]
    ask: str
    steps: tuple[str, ...]
    check: str


def _crates(d: Dice) -> dict[str, int]:
    a, b = d.between(4, 38), d.between(6, 45)
    c = d.between(3, a * b // 2)
    return {"a": a, "b": b, "c": c, "ab": a * b, "x": a * b - c}


def _trip(d: Dice) -> dict[str, int]:
    v, h, w, k = d.between(31, 95), d.between(2, 7), d.between(12, 30), d.between(2, 5)
    return {"v": v, "h": h, "w": w, "k": k, "vh": v * h, "wk": w * k, "x": v * h + w * k}


def _discount(d: Dice) -> dict[str, int]:
    n, p, q = d.between(3, 17), 20 * d.between(2, 19), 5 * d.between(1, 9)
    off = p * q // 100
    return {"n": n, "p": p, "q": q, "off": off, "net": p - off, "x": n * (p - off)}


def _savings(d: Dice) -> dict[str, int]:
    s, w, x = d.between(15, 90), d.between(7, 40), d.between(4, 26)
    return {"s": s, "w": w, "goal": s + w * x, "gap": w * x, "x": x}


def _garden(d: Dice) -> dict[str, int]:
    a, b, g = d.between(11, 60), d.between(9, 44), d.between(2, 6)
    return {"a": a, "b": b, "g": g, "ab2": 2 * (a + b), "sum": a + b, "x": 2 * (a + b) - g}


def _recipe(d: Dice) -> dict[str, int]:
    s, k, u, have = d.between(3, 9), d.between(3, 11), 10 * d.between(4, 31), d.between(11, 90)
    return {"s": s, "k": k, "u": u, "have": have, "t": s * k, "need": u * k, "x": u * k - have}


def _tickets(d: Dice) -> dict[str, int]:
    a, b, p, q = d.between(21, 140), d.between(14, 99), d.between(8, 19), d.between(3, 7)
    return {"a": a, "b": b, "p": p, "q": q, "ap": a * p, "bq": b * q, "x": a * p + b * q}


def _tank(d: Dice) -> dict[str, int]:
    i, o, x = d.between(25, 70), d.between(5, 22), d.between(6, 40)
    return {"i": i, "o": o, "net": i - o, "full": (i - o) * x, "x": x}


def _share(d: Dice) -> dict[str, int]:
    n, x, r = d.between(5, 23), d.between(8, 54), d.between(1, 4)
    return {"n": n, "r": r, "total": n * x + r, "even": n * x, "x": x}


def _reading(d: Dice) -> dict[str, int]:
    p, e, x, f = d.between(14, 38), d.between(3, 9), d.between(5, 19), d.between(10, 60)
    return {
        "p": p,
        "e": e,
        "f": f,
        "book": f + (p + e) * x,
        "day": p + e,
        "left": (p + e) * x,
        "x": x,
    }


_TOLD = "[says|notes|mentions|reports|has written down] that"
PROBLEMS: tuple[Problem, ...] = (
    Problem(
        _crates,
        "[For {shop}|On {day} at {shop}], {who} [unpacks|counts|signs for] {a} [crates|cartons] of "
        "{thing} [holding|with] {b} [apiece|in each one]. {other} [takes|removes|sells] {c} of "
        "them "
        "[before noon|by evening]. How many {thing} [remain|are still there|does {who} have left]?",
        (
            "[Each of the|All] {a} [crates|cartons] [holds|has] {b}, [so|which means] {a} × {b} "
            "= {ab} {thing} [arrive|came in].",
            "{other} [removed|took] {c}, [and|so] {ab} - {c} = {x} [stay|remain|are left].",
        ),
        "[Going backwards|In reverse], {x} + {c} = {ab}, and {ab} / {a} = {b}, [as stated|which "
        "fits].",
    ),
    Problem(
        _trip,
        "{who} drives from {city} at {v} km/h for {h} hours, [rests in|stops at] {town}, "
        "[then|and later] "
        "cycles {k} hours at {w} km/h [towards|to] {shop}. [What distance|How many kilometres] "
        "does {who} cover [in all|altogether]?",
        (
            "By car: {v} km/h [for|over] {h} h [gives|is] {v} × {h} = {vh} km.",
            "[By bicycle|On the bike]: {w} × {k} = {wk} km.",
            "[Together|The sum] is {vh} + {wk} = {x} km; [the rest at|stopping in] {town} adds "
            "[nothing|no distance].",
        ),
        "{x} - {wk} = {vh}, and {vh} / {h} = {v} km/h [again|as given].",
    ),
    Problem(
        _discount,
        "A [set|box|bundle] of {thing} costs {p} coins at {shop}. {who} [orders|buys] {n} "
        "[sets|of them] on {day}, "
        "when [everything is|prices are] {q}% lower. [What is the bill|How much does {who} pay]?",
        (
            "{q}% of {p} [equals|is] {p} × {q} / 100 = {off} coins.",
            "[One set|Each] then costs {p} - {off} = {net}.",
            "[For {n} sets|{n} of them] [that makes|cost] {n} × {net} = {x} coins.",
        ),
        "[Without the reduction|At full price] it would be {n} × {p}, [so|hence] {x} being "
        "smaller is [right|plausible].",
    ),
    Problem(
        _savings,
        "{who} [wants|hopes] to buy {thing} for {shop} that cost {goal} coins. {who} "
        "[owns|already has] {s} coins and "
        "[puts aside|earns] {w} [more|extra] each {day}. [After how many weeks|How many weeks "
        "until] is the price [reached|covered]?",
        (
            "Still missing: {goal} - {s} = {gap} coins.",
            "[At|With] {w} coins [a|per] week, {gap} / {w} = {x} weeks [are needed|pass].",
        ),
        "{s} + {x} × {w} = {goal}, [exactly the price|which is what the {thing} cost].",
    ),
    Problem(
        _garden,
        "Behind {shop} lies a plot {a} m [long|in length] and {b} m wide. {who} [fences it|puts "
        "a fence round it], leaving a gate "
        "of {g} m [open|free] towards {city}. How many metres of fence [are needed|must {other} "
        "deliver]?",
        (
            "[Half way round|Length plus width] is {a} + {b} = {sum} m, so the [whole "
            "border|perimeter] is 2 × {sum} = {ab2} m.",
            "The gate [saves|needs no fence for] {g} m: {ab2} - {g} = {x} m.",
        ),
        "{x} + {g} = {ab2}; half of it, {sum}, minus {a} is {b}, the [given width|width].",
    ),
    Problem(
        _recipe,
        "A [stew|soup|batter] for {s} [guests|people] [takes|needs] {u} g of flour. {who} cooks "
        "for {t} at {shop} and finds {have} g in the "
        "[cupboard|pantry]. How many grams must {other} [buy|bring] from {city}?",
        (
            "{t} [guests|people] are {t} / {s} = {k} times [the recipe|as many].",
            "[That needs|So] {k} × {u} = {need} g of flour.",
            "[With|Since there are] {have} g [at hand|there], {need} - {have} = {x} g [are "
            "missing|must be bought].",
        ),
        "{have} + {x} = {need}, and {need} / {k} = {u} g [for {s}|as the recipe says].",
    ),
    Problem(
        _tickets,
        "[On {day}|Last {day}] {who} sold {a} [full|adult] tickets at {p} coins and {b} "
        "[reduced|child] tickets at {q} coins for a concert "
        "in {city}. {other} counts the [till|cash box]. How many coins [should be in it|are "
        "there]?",
        (
            "[Full|Adult] tickets: {a} × {p} = {ap} coins.",
            "[Reduced|Child] tickets: {b} × {q} = {bq} coins.",
            "[Summed up|Together]: {ap} + {bq} = {x} coins for {other} to [count|find].",
        ),
        "{x} - {ap} = {bq}, [divided by {q}|and over {q}] that is {b} [tickets|children], [as "
        "sold|right].",
    ),
    Problem(
        _tank,
        "A pump [fills|feeds] the tank of {shop} with {i} litres a minute [while|and] a "
        "[leak|drain] loses {o} litres a minute. The tank holds "
        "{full} litres and {who} starts [empty|with nothing in it]. After how many minutes [is "
        "it full|does {other} switch off]?",
        (
            "Each minute the level [gains|rises by] {i} - {o} = {net} litres.",
            "{full} litres [at|with] {net} a minute [take|need] {full} / {net} = {x} minutes.",
        ),
        "In {x} minutes {i} × {x} litres come in and {o} × {x} are lost, [leaving|a difference "
        "of] {full}.",
    ),
    Problem(
        _share,
        "{who} [divides|shares out] {total} {thing} among {n} [children|visitors] of {shop} so "
        "that all get [equally many|the same]. "
        "{other} keeps [what is over|the rest]. How many does [each child|one visitor] "
        "[get|receive]?",
        (
            "{n} × {x} = {even} is the [largest|highest] multiple of {n} [not above|up to] "
            "{total}.",
            "[The rest is|Over are] {total} - {even} = {r}, [less than|below] {n}, so [each "
            "gets|the share is] {x} {thing}.",
        ),
        "{n} × {x} + {r} = {total}, [nothing is lost|and {other} keeps {r}].",
    ),
    Problem(
        _reading,
        "A [novel|diary] about {city} has {book} pages. {who} has [finished|read] {f} and now "
        "reads {p} [in the morning|before work] and {e} [at night|in the evening] "
        "every day, [starting|from] {day}. [How many days|In how many days] until the [last "
        "page|end]?",
        (
            "[Unread|Left] are {book} - {f} = {left} pages.",
            "[A day brings|Daily that is] {p} + {e} = {day_n} pages.",
            "{left} / {day_n} = {x}, so [it takes|{who} needs] {x} days.",
        ),
        "{f} + {x} × {day_n} = {book}, [the whole book|all pages].",
    ),
)
_OPEN = (
    "[Okay|Right|So], {who} [wants|is after] {x_name}, and [the setting is|it all happens at] "
    "{shop}.",
    "Let me [read|go through] this [slowly|with care]: {who}, {thing}, {city}.",
    "[First|To begin], what is [known|given] here about {who} and {other}?",
    "The [question|task] is about {thing}; [I will|let me] write the numbers [down|out] for {who}.",
    "Hmm, {shop} in a [story|problem] with {who} and {other}. [What matters|The point] is the "
    "arithmetic.",
    "[I need|We need] one number [in the end|for {who}], so [step by step|let us be orderly].",
)
_DOUBT = (
    "[Wait|Hold on], could {other} have been [counted twice|forgotten]? No, [{city} plays no "
    "part|that is only told once].",
    "[Is the {day} important|Does {day} matter]? [I think not|No], it only [dates|sets] the "
    "scene at {shop}.",
    "A [trap|slip] would be to stop [early|half way] and [answer|report] before {who} is done; I "
    "have not.",
    "[Units|The units] [agree|are fine]: nothing but {thing} or what {who} [counts|measures] is "
    "added.",
    "[Let me check|A quick check] [the other way round|backwards] before I tell {who}.",
)
_CLOSE = (
    "[So the answer|The answer for {who}] is {x}.",
    "[Hence|Thus] {x} is what {who} [needs|asked for].",
    "[That settles it|Done]: {x}.",
    "[I am confident|This holds], {x}.",
)


def problem(dice: Dice) -> tuple[str, str, str, str]:
    """A word problem as (question, reasoning, worked steps, answer)."""
    kind = dice.pick(PROBLEMS)
    numbers = kind.draw(dice)
    who, other = dice.some(WHO, 2)
    city, town = dice.some(CITIES, 2)
    slots: dict[str, object] = {
        "who": who, "other": other, "city": city, "town": town, "shop": dice.pick(SHOPS),
        "thing": dice.pick(GOODS), "x_name": "a number", "day_n": numbers.get("day", 0),
        **{k: v for k, v in numbers.items() if k != "day"}, "day": dice.pick(DAYS),
    }  # fmt: skip
    question = say(dice, kind.ask, **slots)
    first = [say(dice, s, **slots) for s in kind.steps]
    again = [say(dice, s, **slots) for s in kind.steps]
    thoughts = [
        say(dice, dice.pick(_OPEN), **slots),
        *first,
        *(say(dice, s, **slots) for s in dice.some(_DOUBT, dice.between(1, 3))),
        say(dice, kind.check, **slots),
        say(dice, dice.pick(_CLOSE), **slots),
    ]
    gap = "\n\n" if dice.below(3) == 0 else " "
    return question, gap.join(thoughts), "\n".join(again), str(slots["x"])
