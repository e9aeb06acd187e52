"""Dialect `qwen_code`: session logs of Qwen Code, a file at a time.

    {"uuid": "u1", "parentUuid": null, "sessionId": "s", "type": "user",
     "message": {"role": "user", "parts": [{"text": "List the files"}]}}
    {"uuid": "u2", "parentUuid": "u1", "sessionId": "s", "type": "assistant", "model": "coder",
     "message": {"role": "model", "parts": [{"text": "I should.", "thought": true},
                 {"functionCall": {"id": "c1", "name": "ls", "args": {}}}]}}

What was decided:
- Lines are a tree (`session_tree`); a rewind leaves a branch, which is a trace by default.
- Thoughts are the reasoning of the model in full.
- A user line of subtype `notification` was written by the client: injected. The copy of a prompt
  that the client showed, and of a result, is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracekit.dialects import session_log, session_parts, session_tree
from tracekit.dialects.conversation import add_meta
from tracekit.dialects.dialect import Dialect, Notes, Record
from tracekit.dialects.session_log import Talk, text_of
from tracekit.errors import BadRecord

TAGS = ("qwen:user-prompt-submit-context", "system-reminder")
_TYPES = {"user": "user", "assistant": "assistant", "tool_result": "user"}
_KINDS = {
    "ui_telemetry": session_log.TELEMETRY,
    "rewind": session_log.BORDER,
    "slash_command": session_log.BORDER,
    "custom_title": session_log.NOTICE,
    "session_artifact_snapshot": session_log.CHANGE,
    "chat_compression": session_log.COMPACTION,
}
_KNOWN = frozenset(
    (
        *("uuid", "parentUuid", "sessionId", "timestamp", "type", "cwd", "version", "gitBranch"),
        *("message", "model", "systemPayload", "toolCallResult", "subtype", "usageMetadata"),
        "contextWindowSize",
    )
)
IGNORES = {
    **session_parts.IGNORES,
    "systemPayload.displayText": "what the client showed of a prompt that is in the message",
    "systemPayload.hookContext": "a copy of what stands in the message",
    "toolCallResult": "what the client showed of a result that is in the message",
    "uuid": "a link of the tree",
    "timestamp": "a message keeps the time of its first line",
    "parentUuid": "a link of the tree",
}


def fits(value: Any) -> str:
    """Evidence that a record is a line of such a log.

    >>> fits({"uuid": "u", "sessionId": "s", "type": "user", "message": {"parts": []}})
    'a user line with parts'
    """
    if not isinstance(value, dict) or "uuid" not in value or "sessionId" not in value:
        return ""
    kind, message = value.get("type"), value.get("message")
    if isinstance(message, dict) and isinstance(message.get("parts"), list):
        return f"a {kind} line with parts" if isinstance(kind, str) else ""
    if kind == "system" and isinstance(value.get("systemPayload"), dict):
        return "a system line with systemPayload"
    return ""


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Traces of one log: one for each path."""
    skeleton = Talk(tags=TAGS)
    lines = []
    for record in session_log.objects(records, notes):
        value = record.value
        kind = value.get("type")
        is_message = isinstance(kind, str) and kind in _TYPES
        if not isinstance(kind, str) or (is_message and not isinstance(value.get("message"), dict)):
            notes.reject(record, "no_event_type", f"type {kind!r:.60}")
            continue
        unread = _unreadable(record) if is_message else None
        if unread is not None:
            notes.reject(record, unread.code, unread.detail)
        lines.append(
            session_tree.Line(
                record,
                text_of(value, "uuid"),
                text_of(value, "parentUuid"),
                is_message and unread is None,
                kind == "assistant",
            )
        )
        if not is_message:
            own = text_of(value, "subtype") or kind
            skeleton.skip(record, _KINDS.get(own, session_log.UNKNOWN), own, notes)
    talks = []
    found = session_tree.nodes(lines, notes)
    for path in session_tree.paths(found, options.get("branches") == "latest", notes):
        talk = Talk(tags=TAGS, skipped=skeleton.skipped)
        for node in path:
            _say(node, talk, notes)
        _describe(path[0].lines[0].record.value, talk)
        talks.append(talk)
    return session_log.traces(talks, notes)


def _unreadable(record: Record) -> BadRecord | None:
    value = record.value
    try:
        parts = value["message"].get("parts")
        session_parts.read(parts, _TYPES[value["type"]], record.row, Notes())
    except BadRecord as error:
        return error
    return None


def _describe(first: dict[str, Any], talk: Talk) -> None:
    session = text_of(first, "sessionId")
    if session is not None:
        talk.fields["session_id"] = talk.fields["source_id"] = session
    version = text_of(first, "version")
    talk.meta["harness"] = "qwen-code" if version is None else f"qwen-code {version}"
    for name in ("cwd", "gitBranch"):
        if text_of(first, name):
            talk.meta[name] = first[name]
    talk.meta["system"] = "not_recorded"


def _say(node: session_tree.Node, talk: Talk, notes: Notes) -> None:
    """Messages of the lines of one node; lines of one reply are one message."""
    for line in node.lines:
        record, value = line.record, line.record.value
        role = _TYPES[value["type"]]
        messages = session_parts.read(value["message"].get("parts"), role, record.row, notes)
        messages = messages or [{"role": role}]
        first, last = messages[0], messages[-1]
        session_log.keep_time(value, first)
        if text_of(value, "model"):
            add_meta(last, "model", value["model"])
        if value.get("usageMetadata"):
            add_meta(last, "usage", value["usageMetadata"])
        if value.get("subtype") == "notification":
            add_meta(last, "injected", True)
        elif text_of(value, "subtype"):
            add_meta(last, "subtype", value["subtype"])
        status = text_of(value.get("toolCallResult"), "status")
        if status is not None and first["role"] == "tool":
            first["error"] = status != "success"
        session_log.keep_rest(value, _KNOWN, first, notes)
        held = talk.messages[-1] if talk.messages else None
        if line is not node.lines[0] and held is not None and _joins(held, first):
            _merge(held, messages.pop(0))
        talk.say(record, *messages)


def _joins(held: dict[str, Any], first: dict[str, Any]) -> bool:
    """Is a message the rest of the reply that is held?"""
    open_reply = held["role"] == first["role"] == "assistant"
    return open_reply and "tool_calls" not in held and "reasoning" not in first


def _merge(held: dict[str, Any], rest: dict[str, Any]) -> None:
    for key in ("tool_calls", "attachments"):
        if key in rest:
            held.setdefault(key, []).extend(rest[key])
    if "content" in rest:
        held["content"] = "\n".join(t for t in (held.get("content"), rest["content"]) if t)
    for key, v in (rest.get("meta") or {}).items():
        held.setdefault("meta", {}).setdefault(key, v)


dialect = Dialect(
    name="qwen_code",
    version=1,
    unit="file",
    fits=fits,
    read=read,
    codes=(*session_log.CODES, session_log.PARENT_MISSING),
    events=(*session_log.EVENTS, *session_log.ABANDONED),
    ignores=IGNORES,
    options=(session_tree.BRANCHES,),
)
