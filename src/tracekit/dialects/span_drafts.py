"""Drafts of conversations: what their turns say, which stand in longer ones, replies regrouped."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tracekit import jsontext
from tracekit.codes import Code
from tracekit.dialects.dialect import Notes
from tracekit.dialects.span_turns import loaded

CODES = (
    Code(
        name="turns_merged",
        kind="repair",
        what="Several logged replies with no result between them became one message.",
    ),
    Code(
        name="calls_regrouped",
        kind="repair",
        what="Calls of one reply were replayed one by one, each with its result; they are one "
        "message again, with the results behind it.",
    ),
    Code(
        name="snapshots_dropped",
        kind="repair",
        what="The conversation of a logged call stands whole in a longer one and is no trace.",
    ),
)

Turn = dict[str, Any]

_MOST_COMPARED = 32
"""Longer drafts that a draft is compared with; they share its rarest text."""


def merged(turns: Iterable[Turn], notes: Notes) -> list[Turn]:
    """Turns in which neighbouring replies are one."""
    out: list[Turn] = []
    for turn in turns:
        last = out[-1] if out else None
        if last is None or turn["role"] != "assistant" or last["role"] != "assistant":
            out.append(dict(turn))
            continue
        notes.repair("turns_merged")
        for key, v in turn.items():
            held = last.get(key)
            if key == "role" or v is None:
                continue
            if held is None:
                last[key] = v
            elif key in ("tool_calls", "spans"):
                last[key] = [*held, *v]
            elif key == "content":
                last[key] = [*_parts(held), *_parts(v)]
            elif key == "reasoning_content":
                last[key] = f"{held}\n\n{v}"
            else:
                last[key] = v
    return out


def _parts(content: Any) -> list[Any]:
    return content if isinstance(content, list) else [{"type": "text", "text": content}]


def canonical(value: Any) -> str:
    """One text for equal arguments, whatever their white space and order of keys."""
    value = loaded(value)
    if isinstance(value, dict):
        value = dict(sorted(value.items()))
    return jsontext.dump(value)


def call_sign(call: Mapping[str, Any]) -> str:
    """What a call says: its name and arguments."""
    called = call["function"]
    return f"call {called['name']} {canonical(called['arguments'])}"


def pieces(turn: Turn) -> Iterator[str]:
    """What a turn says, piece by piece, whoever logged it."""
    content = turn.get("content")
    for part in content if isinstance(content, list) else [content]:
        text = part.get("text") if isinstance(part, dict) else part
        if isinstance(text, str) and text.strip():
            yield f"text {text.strip()}"
        elif isinstance(part, dict) and not isinstance(text, str):
            yield jsontext.dump(part)
    yield from map(call_sign, turn.get("tool_calls", ()))


def sign(turn: Turn) -> str:
    """What a turn is known by; a prompt is one as system and as user."""
    role = "user" if turn["role"] == "system" else turn["role"]
    return jsontext.dump([role, *pieces(turn)])


def reply_sign(turn: Turn) -> str:
    """What a reply is known by, in whatever order its text and calls were logged."""
    return jsontext.dump(sorted(pieces(turn)))


def longest(
    drafts: Sequence[list[Turn]], assembled: Sequence[list[Turn]], notes: Notes
) -> list[list[Turn]]:
    """Drafts of which no other holds every piece; of equal ones the first.

    What was put together here gives way to a record that has the same prompts and replies: its
    results may be written in another way.
    """
    every = [*drafts, *assembled]
    counted = [Counter(p for turn in draft for p in pieces(turn)) for draft in every]
    spoken = [
        Counter(p for turn in draft if turn["role"] != "tool" for p in pieces(turn))
        for draft in every
    ]
    order = sorted(
        range(len(every)), key=lambda k: (k >= len(drafts), -sum(counted[k].values()), k)
    )
    holders: dict[str, list[int]] = defaultdict(list)
    kept: list[int] = []
    for k in order:
        own = spoken[k] if k >= len(drafts) else counted[k]
        rarest = min(own, key=lambda piece: len(holders[piece]), default=None)
        others = holders[rarest][:_MOST_COMPARED] if rarest is not None else kept[:1]
        if any(own <= counted[other] for other in others):
            notes.repair("snapshots_dropped")
            continue
        kept.append(k)
        for piece in counted[k]:
            holders[piece].append(k)
    wholes = [k for k in kept if k >= len(drafts)]
    left = []
    for k in kept:  # a first turn that was logged whole stands in what was put together
        if k < len(drafts) and any(counted[k] <= counted[w] for w in wholes[:_MOST_COMPARED]):
            notes.repair("snapshots_dropped")
        else:
            left.append(k)
    return [every[k] for k in sorted(left)]


def parallel_calls(replies: Iterable[Turn]) -> dict[str, list[str]]:
    """What the calls of each reply with several calls say, by the first one."""
    by_first: dict[str, list[str]] = {}
    for reply in replies:
        calls = [call_sign(call) for call in reply.get("tool_calls", ())]
        if len(calls) > 1:
            by_first.setdefault(calls[0], calls)
    return by_first


def regrouped(turns: list[Turn], by_first: Mapping[str, list[str]], notes: Notes) -> list[Turn]:
    """Turns in which the calls of one reply stand in one turn, as they were generated.

    by_first: see `parallel_calls`.
    """
    if not by_first:
        return turns
    out: list[Turn] = []
    k = 0
    while k < len(turns):
        span = _split_reply(turns, k, by_first)
        if span is None:
            out.append(turns[k])
            k += 1
            continue
        run = turns[k:span]
        replayed = [turn for turn in run if turn["role"] == "assistant"]
        calls = [call for turn in replayed for call in turn["tool_calls"]]
        out.append({**replayed[0], "tool_calls": calls})
        out.extend(turn for turn in run if turn["role"] == "tool")
        notes.repair("calls_regrouped")
        k = span
    return out


def _split_reply(turns: Sequence[Turn], k: int, by_first: Mapping[str, list[str]]) -> int | None:
    """End of a run that begins at k and replays the calls of one reply one by one."""
    calls = turns[k].get("tool_calls") or ()
    wanted = by_first.get(call_sign(calls[0])) if calls else None
    if wanted is None or len(calls) >= len(wanted):
        return None
    found: list[str] = []
    end = k
    while end < len(turns) and turns[end]["role"] in ("assistant", "tool"):
        own = [call_sign(call) for call in turns[end].get("tool_calls", ())]
        if turns[end]["role"] == "assistant" and (not own or len(found) >= len(wanted)):
            break
        found.extend(own)
        if found != wanted[: len(found)]:
            return None
        end += 1
    return end if found == wanted else None
