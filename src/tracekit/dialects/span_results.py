"""Results that only the log of a tool has, set behind the calls that they answer."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable
from typing import Any

from tracekit import jsontext
from tracekit.codes import Code
from tracekit.dialects.dialect import Notes
from tracekit.dialects.span_drafts import Turn, call_sign, canonical, merged
from tracekit.dialects.span_turns import loaded

CODES = (
    Code(
        name="results_from_spans",
        kind="repair",
        what="The result of a call stood only in the log of the tool and was set behind its call.",
    ),
)


def result(output: Any, name: str, call_id: str | None, error: bool | None) -> Turn:
    """Turn of what a tool gave back: its text, or JSON text of what else it is."""
    content = output
    if isinstance(content, dict) and set(content) == {"content"}:
        content = content["content"]
    if (
        isinstance(content, list)
        and content
        and all(isinstance(p, dict) and isinstance(p.get("text"), str) for p in content)
    ):
        content = "\n".join(p["text"] for p in content)
    text = content if content is None or isinstance(content, str) else jsontext.dump(content)
    turn: Turn = {"role": "tool", "content": text, "name": name}
    if call_id:
        turn["tool_call_id"] = call_id
    if error is not None:
        turn["is_error"] = error
    return turn


def arguments_sign(name: str, given: Any) -> str:
    """What the call of a logged tool would say; see `span_drafts.call_sign`."""
    given = loaded(given)
    if isinstance(given, dict) and set(given) == {"input"} and isinstance(given["input"], dict):
        given = given["input"]
    return f"call {name} {canonical(given)}"


class Shelf:
    """Things by the id of a call, else by name and equal arguments, in order; each taken once."""

    def __init__(self) -> None:
        self._by_id: dict[str, Any] = {}
        self._by_sign: dict[str, deque[Any]] = defaultdict(deque)
        self._taken: set[int] = set()

    def put(self, thing: Any, call_id: str | None, sign: str) -> None:
        """Stores a thing under both names."""
        if call_id:
            self._by_id.setdefault(call_id, thing)
        self._by_sign[sign].append(thing)

    def take(self, call_id: str | None, sign: str) -> Any:
        """The thing of a call, or None."""
        found = self._by_id.get(call_id) if call_id else None
        if found is not None and id(found) not in self._taken:
            self._taken.add(id(found))
            return found
        waiting = self._by_sign.get(sign)
        while waiting:
            found = waiting.popleft()
            if id(found) not in self._taken:
                self._taken.add(id(found))
                return found
        return None


def paired(turns: Iterable[tuple[Turn, str | None]], notes: Notes) -> list[Turn]:
    """Turns, each logged result (with the sign of its call) with the id and name of that call."""
    open_calls = Shelf()
    out: list[Turn] = []
    for turn, wanted in turns:
        for call in turn.get("tool_calls", ()):
            open_calls.put(call, call["id"], call_sign(call))
        if wanted is not None:
            call = open_calls.take(turn.get("tool_call_id"), wanted)
            if call is not None:
                turn = {**turn, "name": call["function"]["name"]}
                if call["id"]:
                    turn["tool_call_id"] = call["id"]
        out.append(turn)
    return merged(out, notes)


def with_results(turns: list[Turn], shelf: Shelf, notes: Notes) -> list[Turn]:
    """Turns in which calls without a result have that of their tool, where the shelf has it."""
    answered = {t["tool_call_id"] for t in turns if t["role"] == "tool" and t.get("tool_call_id")}
    out: list[Turn] = []
    for k, turn in enumerate(turns):
        out.append(turn)
        calls = turn.get("tool_calls")
        if not calls:
            continue
        end = k + 1
        while end < len(turns) and turns[end]["role"] == "tool":
            end += 1
        if end - k - 1 >= len(calls):
            continue
        for call in calls:
            if call["id"] in answered:
                continue
            found = shelf.take(call["id"], call_sign(call))
            if found is not None:
                told = {**found, "name": call["function"]["name"]}
                if call["id"]:
                    told["tool_call_id"] = call["id"]
                out.append(told)
                notes.repair("results_from_spans")
    return out
