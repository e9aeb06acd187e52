"""Dialect `opencode`: the storage of OpenCode, a tree of small files, and what `export` writes.

    session/<project>/ses_1.json  {"id": "ses_1", "projectID": "p", "directory": "/tmp/a", …}
    message/ses_1/msg_1.json      {"id": "msg_1", "sessionID": "ses_1", "role": "user", "time": {…}}
    part/msg_1/prt_1.json         {"id": "prt_1", "messageID": "msg_1", "type": "text", "text": …}

What was decided:
- A part may name its message only by the folder that it is in, and the message its session; so all
  files of a source are one unit, read together by one worker.
- Messages stand in order of `time.created`, parts in that of their file names, which are their ids.
- A message is one reply of the model; text or reasoning after a finished tool is the next one.
- A tool failed where its status or its exit code says so; one that is still running has no result.
- Text that is `synthetic` was written by the client: a span in a user message (`meta.synthetic`,
  injected where it is all there is), no target in a reply.
- A message with `MessageAbortedError` is no target. Reverted messages are not told apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from tracekit.codes import Code
from tracekit.dialects import opencode_parts, session_log
from tracekit.dialects.conversation import add_meta
from tracekit.dialects.dialect import Dialect, Notes, Record
from tracekit.dialects.session_log import Talk, text_of
from tracekit.errors import BadRecord

_ROLES = frozenset(("user", "assistant"))
_KNOWN = frozenset(
    (
        *("id", "sessionID", "role", "time", "summary", "agent", "model", "modelID", "providerID"),
        *("cost", "finish", "mode", "parentID", "path", "tokens", "variant", "error", "system"),
        "parts",
    )
)
IGNORES = {
    "*.summary": "a title that the client made of a message",
    "*.id": "a name in the store",
    "*.sessionID": "a name in the store",
    "*.messageID": "a name in the store",
    "*.parentID": "a name in the store",
    "*.path": "folders of the client",
}
CODES = (
    Code(
        name="part_without_message",
        kind="reject",
        what="A part belongs to a message that is not here.",
        fix="Read the whole storage folder: `session`, `message` and `part` belong together.",
    ),
)


def fits(value: Any) -> str:
    """Evidence that a record is a session, a message or a part of the store.

    >>> fits({"id": "p1", "messageID": "m1", "type": "text", "text": "hi"})
    'a text part'
    """
    if not isinstance(value, dict):
        return ""
    if _is_export(value):
        return "an exported session with messages of info and parts"
    if not isinstance(value.get("id"), str):
        return ""
    if _is_session(value):
        return "a session with projectID"
    if _is_message(value):
        return "a message with sessionID"
    return f"a {value['type']} part" if _is_part(value) else ""


def _is_export(value: dict[str, Any]) -> bool:
    messages = value.get("messages")
    if not isinstance(value.get("info"), dict) or not isinstance(messages, list) or not messages:
        return False
    first = messages[0]
    return isinstance(first, dict) and isinstance(first.get("parts"), list) and "info" in first


def _is_session(value: dict[str, Any]) -> bool:
    return "projectID" in value and "directory" in value and "type" not in value


def _is_message(value: dict[str, Any]) -> bool:
    role = value.get("role")
    known = isinstance(role, str) and role in _ROLES
    return known and "sessionID" in value and isinstance(value.get("time"), dict)


def _is_part(value: dict[str, Any]) -> bool:
    kind = value.get("type")
    if not isinstance(kind, str) or kind not in opencode_parts.KINDS or "role" in value:
        return False
    time = value.get("time")
    timed = isinstance(time, dict) and "start" in time
    return isinstance(value.get("messageID"), str) or (timed and "timestamp" not in value)


def key(value: Any) -> str | None:
    """All files of a source are one unit: parts name their message by their folder alone."""
    return "opencode"


@dataclass(slots=True)
class _Message:
    """A message with its parts, while the store is read."""

    record: Record
    value: dict[str, Any]
    session: str
    parts: list[tuple[Record, dict[str, Any]]] = field(default_factory=list)

    def created(self) -> tuple[float, str]:
        """Order in its session."""
        time = self.value.get("time")
        made = time.get("created") if isinstance(time, dict) else None
        return (made if isinstance(made, (int, float)) else 0.0, str(self.value.get("id")))


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Traces of the whole store: one for each session."""
    sessions: dict[str, list[Record]] = {}
    described: dict[str, dict[str, Any]] = {}
    messages: dict[str, _Message] = {}
    parts: list[tuple[Record, dict[str, Any]]] = []
    for record in session_log.objects(records, notes):
        value = record.value
        if _is_export(value):
            _take_export(record, value, sessions, described, messages)
        elif isinstance(value.get("id"), str) and _is_session(value):
            sessions.setdefault(value["id"], []).append(record)
            described[value["id"]] = value
        elif isinstance(value.get("id"), str) and _is_message(value):
            session = text_of(value, "sessionID") or _folder(record)
            if value["id"] in messages:
                notes.event(record, session_log.REPEATED)
            else:
                messages[value["id"]] = _Message(record, value, session)
        elif _is_part(value):
            parts.append((record, value))
        else:
            notes.reject(record, "no_event_type", "neither session nor message nor part")
    for record, value in sorted(parts, key=lambda part: (part[0].file, part[0].row)):
        message = messages.get(text_of(value, "messageID") or _folder(record))
        if message is None:
            notes.reject(record, "part_without_message", text_of(value, "messageID") or "no name")
        else:
            message.parts.append((record, value))
    talks = {name: Talk() for name in sessions}
    for message in sorted(messages.values(), key=_Message.created):
        _say(message, talks.setdefault(message.session, Talk()), notes)
    for name, talk in talks.items():
        _describe(name, described.get(name, {}), talk)
        talk.records[:0] = sessions.get(name, [])
    return session_log.traces(talks.values(), notes)


def _folder(record: Record) -> str:
    """Name of the folder that a file is in: of its message, or of its session."""
    return PurePosixPath(record.file).parent.name


def _take_export(
    record: Record,
    value: dict[str, Any],
    sessions: dict[str, list[Record]],
    described: dict[str, dict[str, Any]],
    messages: dict[str, _Message],
) -> None:
    session = text_of(value["info"], "id") or f"{record.file}/{record.row}"
    sessions.setdefault(session, []).append(record)
    described[session] = value["info"]
    for k, one in enumerate(value["messages"]):
        info = one.get("info") if isinstance(one, dict) else None
        given = one.get("parts") if isinstance(one, dict) else None
        if not isinstance(info, dict) or not (given is None or isinstance(given, list)):
            described[session] = {**described[session], f"unread_message_{k}": one}
            continue
        held = _Message(record, info, session)
        held.parts = [(record, p) for p in given if isinstance(p, dict)] if given else []
        messages[f"{session}/{k}"] = held


def _describe(name: str, value: dict[str, Any], talk: Talk) -> None:
    talk.fields["session_id"] = talk.fields["source_id"] = name
    if text_of(value, "parentID"):
        talk.fields["parent_id"] = value["parentID"]
    version = text_of(value, "version")
    talk.meta["harness"] = "opencode" if version is None else f"opencode {version}"
    if not any(message["role"] == "system" for message in talk.messages):
        talk.meta["system"] = "not_recorded"
    rest = {k: v for k, v in value.items() if k not in ("id", "parentID") and v is not None}
    if rest:
        talk.meta["session"] = rest


def _say(message: _Message, talk: Talk, notes: Notes) -> None:
    """Messages of one message with its parts; what cannot be read is refused alone."""
    value = message.value
    role = value.get("role")
    whole = isinstance(message.record.value.get("messages"), list)
    if not isinstance(role, str) or role not in _ROLES:
        talk.meta.setdefault("unread_messages", []).append(value)
        return
    system = value.get("system")
    texts = [system] if isinstance(system, str) else system
    if isinstance(texts, list) and not talk.messages:
        joined = "\n".join(text for text in texts if isinstance(text, str))
        if joined:
            talk.messages.append({"role": "system", "content": joined})
    made: list[dict[str, Any]] = [{"role": role}]
    first = made[0]
    kept = [message.record]
    for record, part in message.parts:
        kind = part.get("type")
        own = opencode_parts.KINDS.get(kind) if isinstance(kind, str) else None
        if own is not None and own != opencode_parts.SPOKEN and not whole:
            talk.skip(record, own, str(kind), notes)
            if kind == "step-start":
                opencode_parts.close(made)
            continue
        try:
            opencode_parts.add(part, made, record.row, notes)
        except BadRecord as error:
            if whole:
                add_meta(first, "unread", part)
            else:
                notes.reject(record, error.code, error.detail)
            continue
        kept.append(record)
    time = value.get("time")
    if isinstance(time, dict):
        session_log.keep_time(time, first, "created")
    _note(value, made, notes)
    talk.messages.extend(made)
    talk.records.extend(kept)


def _note(value: dict[str, Any], made: list[dict[str, Any]], notes: Notes) -> None:
    """What a message says of itself: model, end, counts, error."""
    first = made[0]
    replies = [message for message in made if message["role"] == "assistant"]
    for reply in replies:
        model = text_of(value, "modelID") or text_of(value.get("model"), "modelID")
        if model is not None:
            add_meta(reply, "model", model)
    if replies:
        if text_of(value, "finish"):
            replies[-1]["finish_reason"] = value["finish"]
        if value.get("tokens"):
            add_meta(replies[-1], "usage", value["tokens"])
    if not any(message.get("content") for message in made) and value.get("summary"):
        add_meta(first, "summary", value["summary"])
    agent = text_of(value, "agent", "mode")
    if agent is not None and agent != "opencode":
        add_meta(first, "agent", agent)
    error = value.get("error")
    if error:
        add_meta(first, "error", error)
        if text_of(error, "name") == "MessageAbortedError":
            session_log.interrupt(replies, notes)
    session_log.keep_rest(value, _KNOWN, first, notes)


dialect = Dialect(
    name="opencode",
    version=1,
    unit="session",
    fits=fits,
    read=read,
    key=key,
    codes=(*session_log.CODES, session_log.SYNTHETIC, *CODES),
    events=session_log.EVENTS,
    ignores=IGNORES,
)
