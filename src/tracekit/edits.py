"""Edits: changes that repairs make to what was said, kept beside it and applied by one function.

A repair is a function from a row (a trace as plain dicts) to edits. The recipe switches repairs
on by name; they run before anything is measured, so counts, masks, duplicates, findings and shards
are all of the same text. Stored text stays as it came in; spans of edits are in stored text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal, TypeAlias

import pyarrow as pa

from tracekit import vocabulary
from tracekit.codes import Code
from tracekit.errors import UsageError, did_you_mean

VERSION = 2

Row: TypeAlias = dict[str, Any]
Operation: TypeAlias = Literal[
    "replace", "delete_message", "delete_call", "move_message", "set_role"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One change. Which fields count depends on `op`; the others are null."""

    trace: int
    """Row of the trace in its part."""
    message: int
    call: int | None = None
    field: str | None = None
    """For replace: content, reasoning or arguments."""
    start: int | None = None
    end: int | None = None
    op: Operation
    replacement: str | None = None
    """For replace the new text; for move_message the new index; for set_role the role."""
    code: str


EDIT_SCHEMA = pa.schema(
    [
        ("trace", pa.int32()),
        ("message", pa.int32()),
        ("call", pa.int32()),
        ("field", pa.large_string()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("op", pa.large_string()),
        ("replacement", pa.large_string()),
        ("code", pa.large_string()),
    ]
)

_MARKS = ("<|", "<tts_")
CONTROL_TOKEN = re.compile(
    "|".join(re.escape(token) for token in vocabulary.ADDED if token.startswith(_MARKS))
)
"""Control tokens of the Qwen family: inside content they are text, and the trainer's tokenizer
would make ids of them that no text has. Tags of thinking and calls have findings of their own."""


_LONGEST = max(map(len, vocabulary.ADDED))


def control_tokens_in(text: str) -> Iterator[re.Match[str]]:
    """Places of control tokens in a text; quick where it has none."""
    return CONTROL_TOKEN.finditer(text) if any(m in text for m in _MARKS) else iter(())


CODES = (
    Code(
        name="tail_trimmed",
        kind="repair",
        what="Messages after the last assistant message were cut off.",
        why="They are tokens without a target, and often leak the reward.",
        fix="repairs: [trim_tail] in the recipe",
        source="real sets end on a reward line, a stop mark or a bare result",
    ),
    Code(
        name="leading_newlines_stripped",
        kind="repair",
        what="Blank lines in front of an answer were removed.",
        why="They are what is left when a think block was cut out upstream.",
        fix="repairs: [strip_leading_newlines]",
    ),
    Code(
        name="control_tokens_escaped",
        kind="repair",
        what="A control token inside content got a zero-width space, so that it stays text.",
        why="The trainer's tokenizer would read it as the end of a turn.",
        fix="repairs: [escape_control_tokens]",
    ),
    Code(
        name="control_tokens_removed",
        kind="repair",
        what="A control token inside content was deleted.",
        why="The trainer's tokenizer would read it as the end of a turn.",
        fix="repairs: [remove_control_tokens]",
    ),
    Code(
        name="system_moved_first",
        kind="repair",
        what="A system message that was not first was moved to the front.",
        why="The template refuses a system message that is not first.",
        fix="repairs: [move_system_first]",
    ),
    Code(
        name="system_made_user",
        kind="repair",
        what="A system message in the middle became a user message.",
        why="The template refuses a system message that is not first.",
        fix="repairs: [system_to_user]",
    ),
)


def _trim_tail(trace: int, row: Row) -> Iterable[Edit]:
    messages = row["messages"]
    last = max((i for i, m in enumerate(messages) if m["role"] == "assistant"), default=None)
    if last is not None:
        for index in range(last + 1, len(messages)):
            yield Edit(trace=trace, message=index, op="delete_message", code="tail_trimmed")


def _strip_leading_newlines(trace: int, row: Row) -> Iterable[Edit]:
    for index, message in enumerate(row["messages"]):
        content = message["content"]
        if message["role"] == "assistant" and content and content[0] == "\n":
            yield Edit(
                trace=trace,
                message=index,
                field="content",
                start=0,
                end=len(content) - len(content.lstrip("\n")),
                op="replace",
                replacement="",
                code="leading_newlines_stripped",
            )


def _found(text: str) -> Iterator[tuple[int, int]]:
    return (match.span() for match in control_tokens_in(text))


def _joined(text: str) -> Iterator[tuple[int, int]]:
    """Spans whose removal leaves no control token, not even one that the removal joins.

    >>> list(_joined("a<|im_<|im_end|>end|>b"))
    [(1, 21)]
    """
    if next(control_tokens_in(text), None) is None:
        return
    kept: list[int] = []
    for i, char in enumerate(text):
        kept.append(i)
        if char == ">":
            tail = "".join(text[k] for k in kept[-_LONGEST:])
            for match in CONTROL_TOKEN.finditer(tail):
                if match.end() == len(tail):
                    del kept[-len(match.group()) :]
    ends = [-1, *kept, len(text)]
    for before, after in pairwise(ends):
        if after - before > 1:
            yield before + 1, after


def _control_tokens(
    spans: Callable[[str], Iterator[tuple[int, int]]], new: Callable[[str], str], code: str
) -> Callable[[int, Row], Iterable[Edit]]:
    def repair(trace: int, row: Row) -> Iterable[Edit]:
        for index, message in enumerate(row["messages"]):
            texts: list[tuple[str, int | None, str]] = [
                (f, None, message[f] or "") for f in ("content", "reasoning")
            ]
            # In JSON text a control token can only stand inside a string, where either change
            # leaves JSON.
            calls = enumerate(message["tool_calls"] or ())
            texts += [("arguments", k, call["arguments"]) for k, call in calls]
            for field, k, text in texts:
                for start, end in spans(text):
                    yield Edit(
                        trace=trace,
                        message=index,
                        call=k,
                        field=field,
                        start=start,
                        end=end,
                        op="replace",
                        replacement=new(text[start:end]),
                        code=code,
                    )

    return repair


def _late_systems(row: Row) -> list[int]:
    return [i for i, m in enumerate(row["messages"]) if m["role"] == "system" and i > 0]


def _move_system_first(trace: int, row: Row) -> Iterable[Edit]:
    messages = row["messages"]
    late = _late_systems(row)
    if late and messages[0]["role"] != "system":
        yield Edit(
            trace=trace,
            message=late[0],
            op="move_message",
            replacement="0",
            code="system_moved_first",
        )


def _system_to_user(trace: int, row: Row) -> Iterable[Edit]:
    for index in _late_systems(row):
        yield Edit(
            trace=trace,
            message=index,
            op="set_role",
            replacement="user",
            code="system_made_user",
        )


REPAIRS: dict[str, Callable[[int, Row], Iterable[Edit]]] = {
    "trim_tail": _trim_tail,
    "strip_leading_newlines": _strip_leading_newlines,
    "escape_control_tokens": _control_tokens(
        _found, lambda t: t[0] + "\u200b" + t[1:], "control_tokens_escaped"
    ),
    "remove_control_tokens": _control_tokens(_joined, lambda t: "", "control_tokens_removed"),
    "move_system_first": _move_system_first,
    "system_to_user": _system_to_user,
}
"""Every repair by its name in a recipe, in the order in which they are made."""


def check_names(names: Sequence[str]) -> None:
    """Raise UsageError for a repair that does not exist."""
    for name in names:
        if name not in REPAIRS:
            raise UsageError(
                f"unknown repair {name!r}.{did_you_mean(name, REPAIRS)}",
                expected=", ".join(REPAIRS),
            )


def make(rows: Sequence[Row], names: Sequence[str], first: int = 0) -> list[Edit]:
    """Edits of the named repairs for rows whose first stands at `first` in its part.

    Each repair sees the stored text. Where two want the same message or overlapping spans, the
    first in the order of REPAIRS wins and the other makes no edit there.
    """
    edits: list[Edit] = []
    for offset, row in enumerate(rows):
        taken: list[Edit] = []
        for name in REPAIRS:
            if name in names:
                for edit in REPAIRS[name](first + offset, row):
                    if not any(_clash(edit, other) for other in taken):
                        taken.append(edit)
        edits.extend(taken)
    return edits


def _clash(one: Edit, two: Edit) -> bool:
    if one.message != two.message:
        # a move changes the index of others only after all spans are applied
        return one.op == two.op == "move_message"
    if one.op == "replace" == two.op:
        if (one.field, one.call) != (two.field, two.call):
            return False
        assert one.start is not None
        assert one.end is not None
        assert two.start is not None
        assert two.end is not None
        return one.start < two.end and two.start < one.end
    return not ("replace" in (one.op, two.op) and "set_role" in (one.op, two.op))


def apply(row: Row, edits: Sequence[Edit]) -> Row:
    """The edited trace: the one function through which every reader gets its text.

    A new row where anything changed; the given one is never altered.
    """
    if not edits:
        return row
    messages = [dict(m) for m in row["messages"]]
    for edit in sorted(edits, key=lambda e: (e.message, -(e.start or 0))):
        message = messages[edit.message]
        if edit.op == "replace":
            _replace(message, edit)
        elif edit.op == "delete_call":
            assert edit.call is not None
            calls = list(message["tool_calls"])
            del calls[edit.call]
            message["tool_calls"] = calls
        elif edit.op == "set_role":
            message["role"] = edit.replacement
    order = list(range(len(messages)))
    for edit in edits:
        if edit.op == "move_message":
            assert edit.replacement is not None
            order.remove(edit.message)
            order.insert(int(edit.replacement), edit.message)
    gone = {e.message for e in edits if e.op == "delete_message"}
    return {**row, "messages": [messages[i] for i in order if i not in gone]}


def _replace(message: Row, edit: Edit) -> None:
    assert edit.field is not None
    new = edit.replacement or ""
    if edit.field == "arguments":
        assert edit.call is not None
        calls = [dict(c) for c in message["tool_calls"]]
        text = calls[edit.call]["arguments"]
        calls[edit.call]["arguments"] = text[: edit.start] + new + text[edit.end :]
        message["tool_calls"] = calls
        return
    text = message[edit.field] or ""
    text = text[: edit.start] + new + text[edit.end :]
    message[edit.field] = text if text or edit.field == "reasoning" else None


def table_of(edits: Sequence[Edit]) -> pa.Table:
    """Edits as a table in EDIT_SCHEMA."""
    return pa.Table.from_pylist([asdict(e) for e in edits], schema=EDIT_SCHEMA)


def edits_of(table: pa.Table) -> dict[int, list[Edit]]:
    """Edits by trace row. Inverse of `table_of`."""
    found: dict[int, list[Edit]] = {}
    for row in table.to_pylist():
        found.setdefault(row["trace"], []).append(Edit(**row))
    return found
