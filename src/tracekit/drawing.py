"""A trace as lines of text that read like a conversation, with findings at their place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

FOLDED_CHARS = 1200
"""Of a longer text, the beginning and the end are shown."""


def folded(text: str, limit: int = FOLDED_CHARS) -> str:
    """A text with its middle left out, and how much that is.

    >>> folded("abcdefghij", 4)
    'ab ... [6 characters] ... ij'
    """
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]} ... [{len(text) - 2 * half:,} characters] ... {text[-half:]}"


def lines(row: Mapping[str, Any], findings: Sequence[Mapping[str, Any]] = ()) -> list[str]:
    """Lines of a trace as plain dicts. findings: rows with code, message, field, start."""
    marks: dict[int | None, list[str]] = {}
    for f in findings:
        span = f" at {f['field']} +{f['start']}" if f["start"] is not None else ""
        marks.setdefault(f["message"], []).append(f"{f['code']}{span}")
    out = []
    tools = row["tools"]
    if tools is None:
        out.append("tools     not recorded")
    elif tools:
        out.append("tools     " + ", ".join(t["name"] for t in tools))
    for n, message in enumerate(row["messages"]):
        told = f"   <- {'; '.join(marks[n])}" if n in marks else ""
        label = {"assistant": "assistant", "tool": "result"}.get(message["role"], message["role"])
        error = {True: "  error", False: "  ok", None: ""}[message["error"]]
        out.append(f"[{n}] {label}{error}{told}")
        if message["reasoning"] is not None:
            out.append(_block("think", message["reasoning"]))
        if message["content"] is not None:
            out.append(_block("", message["content"]))
        for call in message["tool_calls"] or ():
            out.append(f"    call  {call['name']} {folded(call['arguments'])}   {call['id']}")
    if row["answer"] is not None:
        out.append(f"reference answer: {folded(row['answer'])}")
    for outcome in row["outcomes"] or ():
        out.append(f"outcome: {outcome['name']} = {outcome['value']} ({outcome['kind']})")
    return out


def _block(label: str, text: str) -> str:
    body = folded(text).split("\n")
    first = f"    {label + '  ' if label else ''}{body[0]}"
    return "\n".join([first, *(f"    {line}" for line in body[1:])])
