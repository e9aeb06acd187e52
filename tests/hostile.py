"""Hostile records from good ones: two mutators, seeded, one for bytes and one for structure.

Most mutated bytes are no JSON any more and test containers; mutated structure reaches dialects.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

TOKENS = (
    "<think>", "</think>", "<tool_call>", "</tool_call>", "<|im_end|>", "<|channel|>analysis",
    "\ud83d", "\x00", "\u2028", "\u0085", "\ufeff", "\x1b[31m", "</script>", "Action: ", "```",
    "Thought:", "[TOOL_CALLS]", "<function=a>", "{", "[", '"', "\\",
)  # fmt: skip
RAW_TOKENS = (
    b"1e999", b"NaN", b"\\ud83d", b"\x00", b"\xff", b"\xc3", b"\xef\xbb\xbf", b"null", b"{}", b"[]",
    b'"', b"\\", b",", b":", b"}", b"]", b"-", b"0" * 40, b'"role":', b"[[[[[[[[",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, 2**70, "", "user", "tool", "null", "[]", "{}", [], {}, [[]], [None],
    ["user"], {"role": "user"}, {"type": "text"}, {"type": "tool_use"}, [{"role": None}],
    {"name": "x", "arguments": 3}, {"from": "gpt"}, {"$ref": "#"}, [[[[[[]]]]]], {"": {"": ""}},
)  # fmt: skip


def mutated_bytes(dice: Random, raw: bytes, other: bytes) -> bytes:
    """One to three cuts, flips, insertions or splices; never a line break."""
    for _ in range(dice.randint(1, 3)):
        at = dice.randrange(len(raw) + 1)
        kind = dice.randrange(4)
        if kind == 0 and at < len(raw):
            raw = raw[:at] + bytes([raw[at] ^ 1 << dice.randrange(8)]) + raw[at + 1 :]
        elif kind == 1:
            raw = raw[:at] + dice.choice(RAW_TOKENS) + raw[at:]
        elif kind == 2:
            raw = raw[:at] + raw[at + dice.randint(1, 30) :]
        else:
            raw = raw[:at] + other[dice.randrange(len(other) + 1) :]
    return raw.replace(b"\n", b" ") or b"0"


def spots(value: Any) -> list[tuple[Any, Any]]:
    """(holder, key) of every value inside of a value, outermost first."""
    found: list[tuple[Any, Any]] = []
    todo = [value]
    while todo:
        holder = todo.pop()
        items = holder.items() if isinstance(holder, dict) else enumerate(holder)
        for key, inner in list(items):
            found.append((holder, key))
            if isinstance(inner, (dict, list)):
                todo.append(inner)
    return found


def _drop(dice: Random, holder: Any, key: Any, other: Any) -> None:
    del holder[key]


def _put(dice: Random, holder: Any, key: Any, other: Any) -> None:
    holder[key] = copy.deepcopy(dice.choice(VALUES))


def _wrap(dice: Random, holder: Any, key: Any, other: Any) -> None:
    old = holder[key]
    holder[key] = dice.choice((lambda: [old], lambda: {"type": "text", "text": old, "role": old}))()


def _to_text(dice: Random, holder: Any, key: Any, other: Any) -> None:
    holder[key] = json.dumps(holder[key])


def _from_text(dice: Random, holder: Any, key: Any, other: Any) -> None:
    try:
        holder[key] = json.loads(holder[key])
    except (TypeError, ValueError):
        holder[key] = [holder[key]]


def _double(dice: Random, holder: Any, key: Any, other: Any) -> None:
    if isinstance(holder, list):
        holder.insert(dice.randrange(len(holder) + 1), copy.deepcopy(holder[key]))
    else:
        holder[f"{key}_"] = copy.deepcopy(holder[key])


def _reorder(dice: Random, holder: Any, key: Any, other: Any) -> None:
    if isinstance(holder, list):
        dice.shuffle(holder)
    elif isinstance(holder[key], list):
        holder[key].reverse()
    else:
        holder[key] = holder.get(dice.choice(list(holder)))


def _token(dice: Random, holder: Any, key: Any, other: Any) -> None:
    text = holder[key] if isinstance(holder[key], str) else ""
    at = dice.randrange(len(text) + 1)
    holder[key] = text[:at] + dice.choice(TOKENS) * dice.randint(1, 3) + text[at:]


def _cross(dice: Random, holder: Any, key: Any, other: Any) -> None:
    """A value of another record in its place: of the same key where it has one."""
    there = spots(other)
    same = [spot for spot in there if spot[1] == key] or there
    if same:
        far, name = dice.choice(same)
        holder[key] = copy.deepcopy(far[name])


def _empty(dice: Random, holder: Any, key: Any, other: Any) -> None:
    """Null everywhere below."""
    old = holder[key]
    for inner, name in spots(old) if isinstance(old, (dict, list)) else [(holder, key)]:
        if not isinstance(inner[name], (dict, list)) or inner is holder:
            inner[name] = None


def _nest(dice: Random, holder: Any, key: Any, other: Any) -> None:
    for _ in range(dice.choice((3, 30, 90))):
        holder[key] = [holder[key]]


CHANGES: tuple[Callable[[Random, Any, Any, Any], None], ...] = (
    _drop, _put, _wrap, _to_text, _from_text, _double, _reorder, _token, _cross, _empty, _nest,
)  # fmt: skip


def mutated_values(dice: Random, values: Sequence[Any], other: Any) -> list[Any]:
    """The records of a unit with one to three changes of structure."""
    held = copy.deepcopy(list(values))
    for _ in range(dice.randint(1, 3)):
        found = spots(held)
        if not found:
            break
        holder, key = dice.choice(found)
        dice.choice(CHANGES)(dice, holder, key, other)
    return held


def raw_of(value: Any) -> bytes:
    """JSON of a value; a lone surrogate stays an escape, as a careless writer leaves it."""
    return json.dumps(value).encode()
