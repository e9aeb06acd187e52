"""Dialect `gemini_cli`: chats of the Gemini CLI, a file at a time, in three generations.

    {"sessionId": "s", "projectHash": "…", "messages": [
     {"id": "m1", "type": "user", "content": "hi"},
     {"id": "m2", "type": "gemini", "content": "", "thoughts": [{"subject": "…", …}],
      "toolCalls": [{"id": "c1", "name": "ls", "args": {}, "status": "success", "result": […]}]}]}

Newer files are lines: the header, then the messages, `{"$set": {…}}` and `{"$rewindTo": "m2"}`. The
oldest hold `history` with `role` and `parts`.

What was decided:
- Thoughts are summaries that the provider wrote: context, and no target.
- A call and its result stand in one message; `result` is what the model saw, `resultDisplay` is not
  read. `error` is the recorded status, and an exit code of a shell command that is not 0.
- A line that gives a message id once more replaces the message. What a rewind left is a trace.
- `info` and `error` messages are the client's: notices. After "Request cancelled." the last reply
  is no target.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tracekit.dialects import session_log, session_parts
from tracekit.dialects.conversation import add_meta, texts_joined
from tracekit.dialects.dialect import Dialect, Notes, Record
from tracekit.dialects.session_log import Talk, text_of
from tracekit.errors import BadRecord

ROLES = {"user": "user", "gemini": "assistant", "model": "assistant"}
_NOTICES = frozenset(("info", "error", "warning", "about", "quit", "compression", "help", "stats"))
_EXIT = re.compile(r"Exit Code: (\d{1,9})")
_SHELL = "run_shell_command"
_KNOWN = frozenset(
    (
        *("id", "timestamp", "type", "content", "parts", "thoughts", "toolCalls", "tokens"),
        *("model", "displayContent", "role", "ts"),
    )
)
_KNOWN_IN_CALL = frozenset(
    (
        *("id", "name", "args", "result", "status", "timestamp", "resultDisplay", "description"),
        *("displayName", "renderOutputAsMarkdown"),
    )
)
IGNORES = {
    **session_parts.IGNORES,
    "*.resultDisplay": "what the client showed of a result that is kept",
    "*.displayContent": "what the client showed of a message that is kept",
    "*.toolCalls[].description": "what the client showed of the arguments",
    "*.displayName": "what the client showed as the tool's name",
    "*.id": "a name in the client's log",
    "*.timestamp": "a message keeps its time, a call has that of its message",
}


def fits(value: Any) -> str:
    """Evidence that a record is a chat of the Gemini CLI, or a line of one.

    >>> fits({"id": "m1", "timestamp": "2026", "type": "user", "content": "hi"})
    'a user line with id and timestamp'
    """
    if not isinstance(value, dict):
        return ""
    if "projectHash" in value and isinstance(value.get("sessionId"), str):
        return "a chat with projectHash" if "messages" in value else "a header with projectHash"
    history = value.get("history")
    if isinstance(history, list) and history and "lastUpdated" in value:
        first = history[0]
        return "a history with parts" if isinstance(first, dict) and "parts" in first else ""
    if "$set" in value or "$rewindTo" in value:
        return "an update of a chat" if len(value) == 1 else ""
    kind = value.get("type")
    line = isinstance(value.get("id"), str) and "timestamp" in value and "message" not in value
    if line and isinstance(kind, str) and (kind in ROLES or kind in _NOTICES):
        return f"a {kind} line with id and timestamp" if _says(value) else ""
    return ""


def _says(value: dict[str, Any]) -> bool:
    return "content" in value or isinstance(value.get("parts"), list)


@dataclass(slots=True)
class _Chat:
    """A chat while it is read: (record, message) by id, in order."""

    talk: Talk = field(default_factory=Talk)
    headers: list[Record] = field(default_factory=list)
    said: dict[str, tuple[Record, dict[str, Any]]] = field(default_factory=dict)
    replaced: list[Record] = field(default_factory=list)
    """Lines whose message a later line gave once more."""
    left: list[list[tuple[Record, dict[str, Any]]]] = field(default_factory=list)
    """What stood there when the user went back."""


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Traces of one chat: one, and one for each end that a rewind left."""
    chat = _Chat()
    for record in session_log.objects(records, notes):
        value = record.value
        messages = value.get("messages", value.get("history"))
        if isinstance(messages, list):
            _read_header(record, value, chat)
            for k, message in enumerate(messages):
                _add(record, message, f"{record.row}/{k}", chat)
        elif "projectHash" in value or ("sessionId" in value and "type" not in value):
            if chat.headers:
                chat.talk.skip(record, session_log.HEADER, "header", notes)
            else:
                _read_header(record, value, chat)
        elif isinstance(value.get("$rewindTo"), str):
            _rewind(value["$rewindTo"], chat)
            chat.talk.skip(record, session_log.BORDER, "$rewindTo", notes)
        elif "$set" in value:
            chat.talk.skip(record, session_log.STATE, "$set", notes)
        else:
            _read_line(record, value, chat, notes)
    gone: set[tuple[str, int]] = set()
    talks = []
    for messages in (*chat.left, list(chat.said.values())):
        talk = Talk(fields=dict(chat.talk.fields), meta=dict(chat.talk.meta))
        talk.records.extend(chat.headers)
        _say_all(messages, talk, notes, gone)
        talk.skipped = chat.talk.skipped
        talks.append(talk)
    used = {(r.file, r.row) for talk in talks for r in talk.records} | gone
    for record in chat.replaced:
        if (record.file, record.row) not in used:
            notes.event(record, session_log.REPEATED)
    return session_log.traces(talks, notes)


def _read_header(record: Record, value: dict[str, Any], chat: _Chat) -> None:
    chat.headers.append(record)
    session = text_of(value, "sessionId")
    if session is not None:
        chat.talk.fields["session_id"] = chat.talk.fields["source_id"] = session
    chat.talk.meta.setdefault("harness", "gemini-cli")
    chat.talk.meta.setdefault("system", "not_recorded")
    for key, v in value.items():
        if key not in ("messages", "history", "sessionId") and v is not None:
            chat.talk.meta[key] = v
    meta: Any = value.get("meta")
    if text_of(meta, "model"):
        chat.talk.fields["model"] = meta["model"]


def _add(record: Record, message: Any, name: str, chat: _Chat) -> None:
    if isinstance(message, dict):
        chat.said[name] = (record, message)
    else:
        unread = chat.talk.meta.setdefault("unread_messages", [])
        if isinstance(unread, list):
            unread.append(message)


def _rewind(target: str, chat: _Chat) -> None:
    """Leaves the messages from the target on."""
    names = list(chat.said)
    if target in chat.said:
        whole = list(chat.said.values())
        for name in names[names.index(target) :]:
            del chat.said[name]
        chat.left.append(whole)


def _read_line(record: Record, value: dict[str, Any], chat: _Chat, notes: Notes) -> None:
    kind = value.get("type")
    if not isinstance(kind, str):
        notes.reject(record, "no_event_type", f"type {kind!r:.60}")
        return
    if kind in ROLES and not _says(value) and "toolCalls" not in value:
        notes.reject(record, "no_event_type", "a message line without content")
        return
    if kind not in ROLES and kind not in _NOTICES:
        chat.talk.skip(record, session_log.UNKNOWN, kind, notes)
        return
    name = text_of(value, "id") or f"{record.file}/{record.row}"
    if name in chat.said:
        chat.replaced.append(chat.said[name][0])
    chat.said[name] = (record, value)


def _say_all(
    said: list[tuple[Record, dict[str, Any]]],
    talk: Talk,
    notes: Notes,
    gone: set[tuple[str, int]],
) -> None:
    """Messages of a path."""
    for record, value in said:
        place = (record.file, record.row)
        alone = "messages" not in record.value and "history" not in record.value
        if place in gone and alone:
            continue
        kind = value.get("type", value.get("role"))
        if isinstance(kind, str) and kind in _NOTICES:
            _note(record, value, kind, talk, notes, alone=alone, gone=gone)
            continue
        try:
            messages = _messages(value, kind, record.row, notes)
        except BadRecord as error:
            if not alone:
                raise
            gone.add(place)
            notes.reject(record, error.code, error.detail)
            continue
        talk.say(record, *messages)


def _note(
    record: Record,
    value: dict[str, Any],
    kind: str,
    talk: Talk,
    notes: Notes,
    *,
    alone: bool,
    gone: set[tuple[str, int]],
) -> None:
    if text_of(value, "content") == "Request cancelled.":
        session_log.interrupt(talk.messages, notes)
    if alone:
        gone.add((record.file, record.row))
        notes.event(record, session_log.NOTICE)
    talk.meta.setdefault("notices", []).append(
        {"after_messages": len(talk.messages), "type": kind, "content": value.get("content")}
    )


def _messages(value: dict[str, Any], kind: Any, k: int, notes: Notes) -> list[dict[str, Any]]:
    if not isinstance(kind, str) or kind not in ROLES:
        raise BadRecord("unknown_role", f"line {k}: type {kind!r:.60}")
    content = value.get("parts") if "parts" in value else value.get("content")
    messages = session_parts.read(content, ROLES[kind], k, notes) or [{"role": ROLES[kind]}]
    for message in messages:
        if "reasoning" in message:
            session_log.summarised(message, notes)
    last = messages[-1]
    session_log.keep_time(value, messages[0])
    session_log.keep_time(value, messages[0], "ts")
    if text_of(value, "model"):
        add_meta(last, "model", value["model"])
    if value.get("tokens"):
        add_meta(last, "usage", value["tokens"])
    session_log.keep_rest(value, _KNOWN, last, notes)
    thoughts = value.get("thoughts")
    if isinstance(thoughts, list) and thoughts and last["role"] == "assistant":
        text = texts_joined(map(_thought, thoughts), "\n\n")
        if text is not None:
            last["reasoning"] = text
            session_log.summarised(last, notes)
    calls = value.get("toolCalls")
    results = []
    for call in calls if isinstance(calls, list) else ():
        last.setdefault("tool_calls", []).append(session_parts.call(call, k, notes))
        results.extend(_results(call, k))
        session_log.keep_rest(call, _KNOWN_IN_CALL, last, notes)
    return [*messages, *results]


def _thought(thought: Any) -> str:
    if isinstance(thought, str):
        return thought
    pieces = [text_of(thought, "subject"), text_of(thought, "description", "text")]
    return "\n".join(piece for piece in pieces if piece)


def _results(call: dict[str, Any], k: int) -> list[dict[str, Any]]:
    """Tool messages of the recorded result of a call; none, where none was recorded."""
    held = call.get("result")
    made: list[dict[str, Any]] = []
    for part in session_parts.parts_of(held, k):
        inner = part.get("functionResponse") if isinstance(part, dict) else None
        text = part if isinstance(part, str) else text_of(part, "text")
        if inner is not None:
            made.append(session_parts.response(inner, k))
        elif text is not None:
            made.append({"role": "tool", "content": text})
        elif isinstance(part, dict) and made:
            made[-1].setdefault("meta", {}).setdefault("parts", []).append(part)
    for message in made[:1]:
        if text_of(call, "id"):
            message["tool_call_id"] = call["id"]
        status = text_of(call, "status")
        found = _EXIT.search(message.get("content") or "") if call["name"] == _SHELL else None
        if found is not None and int(found.group(1)):
            message["error"] = True
        elif status is not None:
            message.setdefault("error", status != "success")
    return made


dialect = Dialect(
    name="gemini_cli",
    version=1,
    unit="file",
    fits=fits,
    read=read,
    codes=(*session_log.CODES, session_log.SUMMARY),
    events=session_log.EVENTS,
    ignores=IGNORES,
)
