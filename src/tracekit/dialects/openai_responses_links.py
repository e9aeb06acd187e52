"""Which exchange of the Responses API goes on from which: by response, conversation or history."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tracekit.codes import Code
from tracekit.dialects import openai_responses_items as items
from tracekit.dialects.dialect import Notes, Record
from tracekit.dialects.prefixes import Keys, continued

HISTORY = Code(
    name="history_on_server",
    kind="reject",
    what="The request names a response, conversation or item that holds its history, and that is "
    "not in the file.",
    why="Read alone it would be a conversation that never was.",
    fix="Export the whole conversation, or keep all its exchanges in one file.",
)


MATCHED = Code(
    name="replayed_id_matched",
    kind="repair",
    what="A request named a call by another id than the response that made it; its result answers "
    "the call by the id that was given first.",
)


@dataclass(slots=True, eq=False)
class Exchange:
    """A request with its response, and its place among the others."""

    record: Record
    request: dict[str, Any]
    response: dict[str, Any]
    input: list[Any]
    output: list[Any]
    parent: Exchange | None = None
    n_replayed: int = 0
    """Items of the input that an earlier exchange holds."""
    missing: str = ""
    """What of its history is not in the file, in words."""
    session: str | None = None
    continues: str | None = None
    """Response or compaction whose history this one replaces."""
    has_child: bool = False

    @property
    def own_input(self) -> list[Any]:
        """Items that no earlier exchange holds."""
        return self.input[self.n_replayed :]

    @property
    def replayed(self) -> list[Any]:
        """Items that stand in an earlier exchange too."""
        return self.input[: self.n_replayed]

    @property
    def says(self) -> bool:
        """Is there anything in it that no earlier exchange holds?"""
        return bool(self.own_input) or bool(self.own_output)

    @property
    def own_output(self) -> list[Any]:
        """What it made; a compacted history repeats messages of the user, which are not new."""
        compacts = any(_kind(item) == "compaction" for item in self.output)
        if not compacts:
            return self.output
        return [
            item
            for item in self.output
            if _kind(item) != "compaction" and not (_kind(item) == "message" and _is_user(item))
        ]


def match_ids(path: list[Exchange], notes: Notes) -> None:
    """Results of a path name their calls as the responses did that made them."""
    made: list[Any] = []
    for one in path:
        given = {
            item.get("call_id"): was
            for item, was in zip(filter(_is_call, one.replayed), made, strict=False)
            if isinstance(item.get("call_id"), str) and item["call_id"] != was
        }
        for k in range(one.n_replayed, len(one.input)) if given else ():
            item = one.input[k]
            name = item.get("call_id") if items.is_result(_kind(item)) else None
            was = given.get(name) if isinstance(name, str) else None
            if isinstance(was, str):
                one.input[k] = {**item, "call_id": was}
                notes.repair(MATCHED.name)
        for item in filter(_is_call, [*one.own_input, *one.own_output]):
            made.append(item.get("call_id"))


def _is_call(item: Any) -> bool:
    return items.is_call(_kind(item))


def joined(exchanges: list[Exchange]) -> list[Exchange]:
    """Exchanges with their parents, cut at compactions; a cut one stands twice, with one record."""
    scopes: dict[str, list[Exchange]] = {}
    for one in exchanges:
        value = one.record.value
        scope = value.get("cassette") if "request" in value else None
        scopes.setdefault(scope if isinstance(scope, str) else "", []).append(one)
    found: list[Exchange] = []
    for scope in scopes.values():
        found.extend(_join_scope(scope))
    return found


def leaves(exchanges: list[Exchange]) -> list[list[Exchange]]:
    """Paths from an exchange that goes on from none to one that nothing goes on from.

    An exchange that says nothing new (a compaction, a request that waits) is added to the paths
    of the exchange that it belongs to, and is a path of its own only where there is none.
    """
    silent: dict[int, list[Exchange]] = {}
    for one in exchanges:
        if one.parent is not None:
            if one.says:
                one.parent.has_child = True
            else:
                silent.setdefault(id(one.parent), []).append(one)
    paths = []
    for one in exchanges:
        if one.has_child or (not one.says and one.parent is not None):
            continue
        path: list[Exchange] = []
        at: Exchange | None = one
        while at is not None:
            path.append(at)
            at = at.parent
        path.reverse()
        extra = [quiet for step in path for quiet in _quiet_below(step, silent)]
        seen = {id(step) for step in path}
        paths.append([*path, *(quiet for quiet in extra if id(quiet) not in seen)])
    return paths


def _quiet_below(one: Exchange, silent: dict[int, list[Exchange]]) -> list[Exchange]:
    found: list[Exchange] = []
    waiting = list(silent.get(id(one), ()))
    while waiting:
        quiet = waiting.pop()
        found.append(quiet)
        waiting.extend(silent.get(id(quiet), ()))
    return found


def _is_user(item: Any) -> bool:
    return isinstance(item, dict) and item.get("role") == "user"


def _kind(item: Any) -> str:
    return items.kind_of(item) if isinstance(item, dict) else ""


def _key(item: Any) -> bytes | None:
    return items.key(item) if isinstance(item, dict) else None


def _join_scope(scope: list[Exchange]) -> list[Exchange]:
    by_response: dict[str, Exchange] = {}
    by_item: dict[str, Any] = {}
    by_compaction: dict[str, Exchange] = {}
    for one in scope:
        if isinstance(one.response.get("id"), str):
            by_response.setdefault(one.response["id"], one)
        for item in one.output:
            if isinstance(item, dict) and isinstance(item.get("id"), str):
                by_item[item["id"]] = item
                if _kind(item) == "compaction":
                    by_compaction[item["id"]] = one
    cut: list[Exchange] = []
    for one in scope:
        _resolve_references(one, by_item)
        cut.extend(_cut(one, by_compaction))
    _join_conversations(cut)
    free = []
    for one in cut:
        before = one.request.get("previous_response_id", one.response.get("previous_response_id"))
        if isinstance(before, str) and before and one.continues is None:
            _set_parent(one, by_response.get(before), f"previous_response_id {before:.60}")
        elif one.parent is None:
            free.append(one)
    keys: list[Keys] = [[*map(_key, one.input), *map(_key, one.own_output)] for one in free]
    given = [len(one.input) for one in free]
    for one, (place, n) in zip(free, continued(keys, given), strict=True):
        if place >= 0:
            one.parent, one.n_replayed = free[place], n
    _settle(cut)
    return cut


def _set_parent(one: Exchange, parent: Exchange | None, what: str) -> None:
    if parent is None or parent is one:
        one.missing = f"{what} is not in the file"
        return
    place = _last_compaction(parent.output)
    if place >= 0:
        made = parent.response.get("id")
        one.continues = made if isinstance(made, str) else ""
        one.input = [*parent.output[place + 1 :], *one.input]
        return
    one.parent = parent
    whole = [key for key in map(_key, [*parent.input, *parent.output]) if key is not None]
    sent = [(key, k) for k, key in enumerate(map(_key, one.input)) if key is not None]
    if whole and [key for key, _ in sent[: len(whole)]] == whole:
        one.n_replayed = sent[len(whole) - 1][1] + 1  # the client sent the history all the same


def _join_conversations(cut: list[Exchange]) -> None:
    """Exchanges of one server-side conversation follow each other in time."""
    talks: dict[str, list[Exchange]] = {}
    for one in cut:
        held = one.request.get("conversation", one.response.get("conversation"))
        name = held.get("id") if isinstance(held, dict) else held
        if isinstance(name, str) and name:
            one.session = name
            talks.setdefault(name, []).append(one)
    for name, talk in talks.items():
        talk.sort(key=lambda one: (*_time(one), one.record.row))
        for before, one in pairwise(talk):
            _set_parent(one, before, "")
        first = talk[0]
        kinds = {_kind(item) for item in first.input}
        if kinds and all(map(items.is_result, kinds)):
            first.missing = f"the beginning of conversation {name:.60} is not in the file"


def _time(one: Exchange) -> tuple[float, float]:
    made = one.response.get("created_at")
    turn = one.record.value.get("interaction")
    return (
        float(made) if isinstance(made, (int, float)) else 0.0,
        float(turn) if isinstance(turn, (int, float)) else 0.0,
    )


def _resolve_references(one: Exchange, by_item: dict[str, Any]) -> None:
    for k, item in enumerate(one.input):
        if _kind(item) == "item_reference":
            held = by_item.get(item["id"]) if isinstance(item.get("id"), str) else None
            if held is None:
                one.missing = f"input[{k}] refers to an item that is not in the file"
            else:
                one.input[k] = held


def _cut(one: Exchange, by_compaction: dict[str, Exchange]) -> list[Exchange]:
    """An exchange in two at the last compaction of its input, or as it is."""
    place = _last_compaction(one.input)
    if place < 0:
        return [one]
    name = one.input[place].get("id")
    name = name if isinstance(name, str) else ""
    maker = by_compaction.get(name)
    made = maker.response.get("id") if maker is not None else None
    one.continues = made if isinstance(made, str) else name
    head = [item for item in one.input[:place] if _kind(item) != "compaction"]
    one.input = one.input[place + 1 :]
    if any(_kind(i) != "message" or i.get("role") == "assistant" for i in head):
        return [Exchange(one.record, one.request, {}, head, []), one]
    one.input = [*head, *one.input]
    return [one]


def _last_compaction(given: list[Any]) -> int:
    return next((k for k in range(len(given) - 1, -1, -1) if _kind(given[k]) == "compaction"), -1)


def _settle(cut: list[Exchange]) -> None:
    """What misses its history has children that miss it too; a circle has no beginning."""
    done: set[int] = set()
    for one in cut:
        walk: list[Exchange] = []
        seen: set[int] = set()
        at: Exchange | None = one
        while at is not None and id(at) not in done and id(at) not in seen:
            walk.append(at)
            seen.add(id(at))
            at = at.parent
        if at is not None and id(at) in seen:
            at.parent = None
            at.missing = "its previous responses lead in a circle"
        missing = at.missing if at is not None else ""
        for step in reversed(walk):
            step.missing = missing = step.missing or missing
            done.add(id(step))
