r"""Dialect `openhands_events`: a file is one run of OpenHands, a record is one event.

    [{"id": 0, "timestamp": "2025-01-27T22:44:56", "source": "user", "action": "message",
      "args": {"content": "Write a game."}},
     {"id": 3, "source": "agent", "action": "edit", "args": {...}, "tool_call_metadata": {...}},
     {"id": 4, "source": "agent", "observation": "edit", "cause": 3, "content": "--- a.py", ...}]

All is decided as in `openhands`. Events that are no message are events of the file. Ids that are
missing between two messages are told in `meta.gap`: the exporter left such events out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from tracekit.dialects import conversation, openhands, openhands_messages, record_keys
from tracekit.dialects.dialect import Dialect, Notes, Record

_KINDS = ("talk", "reply", "result")


def fits(value: Any) -> str:
    """Evidence that a record is an event of OpenHands.

    >>> fits({"id": 4, "source": "agent", "observation": "run", "content": "a.py"})
    'an event with observation'
    """
    if not isinstance(value, dict) or "role" in value or "kind" in value:
        return ""
    if "source" not in value or not isinstance(value.get("id"), int):
        return ""
    for key in ("observation", "action"):
        if isinstance(value.get(key), str) and ("content" in value or "args" in value):
            return f"an event with {key}"
    return ""


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The one trace of a file."""
    meta: dict[str, Any] = {}
    events = [record.value for record in records]
    kinds = [openhands_messages.kind_of(event) for event in events]
    messages, tools = openhands_messages.read_events(events, meta, notes)
    if all(message["role"] != "system" for message in messages):
        meta["system"] = "not_recorded"
    gap = _gap(events)
    if gap:
        meta["gap"] = gap
    fields: dict[str, Any] = {}
    model = meta.pop("model", None)
    if isinstance(model, str):
        fields["model"] = model
    conversation.finish(messages, notes, meta)
    trace = record_keys.trace(messages, tools, fields, meta, notes)
    rows = []
    skipped: dict[str, int] = {}
    for record, kind in zip(records, kinds, strict=True):
        if kind in _KINDS:
            rows.append((record.file, record.row))
        else:
            notes.event(record, kind)
            name = kind.removeprefix("openhands_")
            skipped[name] = skipped.get(name, 0) + 1
    trace["rows"] = rows
    return [trace]


def _gap(events: Sequence[Any]) -> str:
    """Missing ids between the first event and the last, as ranges."""
    ids = [e["id"] for e in events if isinstance(e.get("id"), int)]
    missing = [
        f"{a + 1}-{b - 1}" if b - a > 2 else f"{a + 1}" for a, b in pairwise(ids) if b - a > 1
    ]
    return f"event ids {', '.join(missing)} missing" if missing else ""


dialect = Dialect(
    name="openhands_events",
    version=1,
    unit="file",
    fits=fits,
    read=read,
    codes=openhands.CODES,
    events=openhands_messages.EVENT_CODES,
    ignores=openhands.IGNORES,
)
