"""What dialects of session logs share: talks put together line by line, events, what is no target.

A log is read into `Talk`s, each one conversation with the records that it was read from; `traces`
finishes them. What the client wrote into the words of its user stays there, as the model saw it,
and is named by spans `[message, start, end, tag]` in `meta.injected`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tracekit import jsontext
from tracekit.codes import Code
from tracekit.dialects import conversation
from tracekit.dialects.conversation import add_meta
from tracekit.dialects.dialect import Notes, Record
from tracekit.errors import BadRecord

HEADER, STATE, TELEMETRY = "session_header", "client_state", "telemetry"
BORDER, NOTICE, REPEATED, COMPACTION = "border", "notice", "repeated", "compaction"
CHANGE, UNKNOWN = "file_change", "unknown_event"

EVENTS = (
    Code(name=HEADER, kind="event", what="A line that names a session: id, folder, versions."),
    Code(name=STATE, kind="event", what="Settings, modes and permissions of the client."),
    Code(name=TELEMETRY, kind="event", what="Counts of tokens, times, limits, measurements."),
    Code(name=BORDER, kind="event", what="Where a turn, step, tool, hook or agent begins or ends."),
    Code(name=NOTICE, kind="event", what="What the client told its user: titles, errors, notes."),
    Code(
        name=REPEATED,
        kind="event",
        what="A line that says once more what a message line of the session says.",
    ),
    Code(
        name=COMPACTION,
        kind="event",
        what="A border of a compaction, or one after which nobody spoke.",
    ),
    Code(name=CHANGE, kind="event", what="What a tool changed in files, as the client saw it."),
    Code(name=UNKNOWN, kind="event", what="A line of a type that this release lacks."),
)
ABANDONED = (
    Code(
        name="abandoned_prompt",
        kind="event",
        what="A user message that got no answer, beside another branch.",
    ),
    Code(
        name="abandoned_branch",
        kind="event",
        what="A line of an earlier branch, left out by `branches: latest`.",
    ),
)
INTERRUPTED = Code(
    name="interrupted_not_trained",
    kind="repair",
    what="The user cut a reply off; it is no target.",
)
SYNTHETIC = Code(
    name="synthetic_not_trained",
    kind="repair",
    what="A reply was written by the client and by no model; it is no target.",
)
PARENT_MISSING = Code(
    name="parent_missing",
    kind="repair",
    what="A line names a parent that is not in the log, or no line of its file names any; it "
    "follows the line before it.",
)
NO_TYPE = Code(
    name="no_event_type",
    kind="reject",
    what="A line has no `type`, or a message line has no message with content.",
)
SERVER_CALL = Code(
    name="server_call_not_trained",
    kind="repair",
    what="A call that the provider answered itself, without a recorded result; it is no target.",
    why="The model would learn to call a tool whose result it never sees.",
)
SUMMARY = Code(
    name="summary_not_trained",
    kind="repair",
    what="The reasoning of a message is a summary that the provider wrote; it is context and no "
    "target (`train.reasoning`).",
    why="The model would learn to think in headlines.",
)
CODES = (*conversation.CODES, INTERRUPTED, NO_TYPE)


@dataclass(slots=True)
class Talk:
    """One conversation of a log while it is put together."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    """Lines that are in it, also those that only describe it."""
    fields: dict[str, Any] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    """Lines beside the conversation, by their own type."""
    tags: tuple[str, ...] = ()
    """Tags around text that the client wrote into user messages."""

    def say(self, record: Record, *messages: dict[str, Any]) -> None:
        """Adds messages that a line gave."""
        self.records.append(record)
        self.messages.extend(messages)

    def skip(self, record: Record, kind: str, own_type: str, notes: Notes) -> None:
        """Puts a line down as an event; its own type is counted in `meta.skipped_events`."""
        notes.event(record, kind)
        if kind == UNKNOWN:
            notes.unknown(f"type:{own_type:.60}")
        self.skipped[own_type] = self.skipped.get(own_type, 0) + 1


def objects(records: Sequence[Record], notes: Notes) -> list[Record]:
    """Records whose value is an object; the others become rejects."""
    kept = []
    for record in records:
        if isinstance(record.value, dict):
            kept.append(record)
        else:
            notes.reject(record, "not_an_object", f"the line is {type(record.value).__name__}")
    return kept


def text_of(value: Any, *keys: str) -> str | None:
    """The first of the keys that holds a text which is not empty.

    >>> text_of({"id": "", "name": "a"}, "id", "name")
    'a'
    """
    if isinstance(value, dict):
        for key in keys:
            held = value.get(key)
            if isinstance(held, str) and held:
                return held
    return None


def keep_rest(
    value: dict[str, Any], known: frozenset[str], message: dict[str, Any], notes: Notes
) -> None:
    """Keys that a dialect does not know go to the meta of a message, counted by name."""
    if not value.keys() <= known:
        for key, v in value.items():
            if key not in known and v is not None:
                notes.unknown(key)
                add_meta(message, key, v)


def keep_time(value: dict[str, Any], message: dict[str, Any], key: str = "timestamp") -> None:
    """Time of a line, as it was recorded."""
    if isinstance(value.get(key), (str, int)) and value[key]:
        meta = message.setdefault("meta", {})
        meta.setdefault("timestamp", value[key])


def no_target(message: dict[str, Any], why: str) -> None:
    """Takes a whole message out of training; `meta` says why."""
    calls = message.get("tool_calls")
    flags = [False] * len(calls) if calls else None
    message["train"] = {"reasoning": False, "content": False, "calls": flags}
    add_meta(message, why, True)


def interrupt(messages: list[dict[str, Any]], notes: Notes) -> None:
    """The last reply was cut off by the user: no target. Nothing, where a user spoke since."""
    for message in reversed(messages):
        if message["role"] == "assistant":
            no_target(message, "interrupted")
            notes.repair(INTERRUPTED.name)
            return
        if message["role"] != "tool":
            return


def summarised(message: dict[str, Any], notes: Notes) -> None:
    """Marks the reasoning of a message as a summary: context, and no target."""
    message["reasoning_kind"] = "summary"
    message["train"] = {"reasoning": False, "content": True, "calls": None}
    notes.repair(SUMMARY.name)


def spans(text: str, tags: tuple[str, ...]) -> list[tuple[int, int, str]]:
    """(start, end, tag) of the blocks `<tag>...</tag>` in a text, in linear time.

    >>> spans("<a>1</a> x <b>2", ("a", "b"))
    [(0, 8, 'a')]
    """
    if "<" not in text or not tags:
        return []
    found = []
    opening = _opening(tags)
    unclosed: set[str] = set()
    match = opening.search(text)
    while match is not None:
        end, tag = match.end(), match.group(1)
        if tag not in unclosed:
            close = text.find(f"</{tag}>", end)
            if close < 0:
                unclosed.add(tag)
            else:
                end = close + len(tag) + 3
                found.append((match.start(), end, tag))
        match = opening.search(text, end)
    return found


_OPENINGS: dict[tuple[str, ...], re.Pattern[str]] = {}


def _opening(tags: tuple[str, ...]) -> re.Pattern[str]:
    if tags not in _OPENINGS:
        _OPENINGS[tags] = re.compile(rf"<({'|'.join(map(re.escape, tags))})>")
    return _OPENINGS[tags]


def injected(messages: list[dict[str, Any]], tags: tuple[str, ...]) -> list[list[Any]]:
    """Spans of what the client wrote into user and tool messages: [message, start, end, tag]."""
    found: list[list[Any]] = []
    for k, message in enumerate(messages):
        text = message.get("content")
        if text is not None and message["role"] in ("user", "tool"):
            found.extend([k, start, end, tag] for start, end, tag in spans(text, tags))
    return found


def set_model(messages: list[dict[str, Any]], fields: dict[str, Any]) -> None:
    """The model of most replies names the trace; a reply of another one keeps its own in meta."""
    counts: dict[str, int] = {}
    for message in messages:
        model = (message.get("meta") or {}).get("model")
        if isinstance(model, str) and model != "<synthetic>":
            counts[model] = counts.get(model, 0) + 1
    if counts:
        fields["model"] = max(counts, key=lambda name: counts[name])
        for message in messages:
            meta = message.get("meta")
            if meta and meta.get("model") == fields["model"]:
                del meta["model"]


def traces(talks: Iterable[Talk], notes: Notes) -> list[dict[str, Any]]:
    """Traces of the talks; a line that is in none of them is refused with the talk's reason."""
    found: list[dict[str, Any]] = []
    kept: set[tuple[str, int]] = set()
    refused: dict[tuple[str, int], tuple[Record, BadRecord]] = {}
    for talk in talks:
        try:
            trace = _trace(talk, notes)
        except BadRecord as error:
            if error.code == "no_messages":
                error = BadRecord(error.code, "the log holds nothing but events")
            for record in talk.records:
                refused.setdefault((record.file, record.row), (record, error))
            continue
        places = {(record.file, record.row) for record in talk.records}
        trace["rows"] = sorted(places)
        kept |= places
        found.append(trace)
    for place, (record, reason) in refused.items():
        if place not in kept:
            notes.reject(record, reason.code, reason.detail)
    return found


def _trace(talk: Talk, notes: Notes) -> dict[str, Any]:
    meta = dict(talk.meta)
    fields = dict(talk.fields)
    set_model(talk.messages, fields)
    conversation.finish(talk.messages, notes, meta)
    written = injected(talk.messages, talk.tags)
    if written:
        meta["injected"] = written
    if talk.skipped:
        meta["skipped_events"] = dict(sorted(talk.skipped.items()))
    trace: dict[str, Any] = {**fields, "messages": talk.messages}
    if meta:
        trace["meta"] = jsontext.dump(meta)
    return trace
