"""Dialect `cursor`: transcripts of the Cursor agent, a file at a time.

    {"role": "user", "message": {"content": [{"type": "text", "text": "List the files."}]}}
    {"role": "assistant", "message": {"content": [{"type": "tool_use", "name": "Bash", …}]}}
    {"role": "user", "message": {"content": [{"type": "tool_result", "tool_use_id": "t1", …}]}}

What was decided:
- Calls are written without ids, results with ids that no call has: they pair by their order, and
  the id of a result is kept in its meta.
- Thinking is kept as the reasoning in full; Cursor does not say whether it is a summary.
- A block of an unknown type is kept in `meta.blocks`, with its text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracekit.dialects import session_blocks, session_log
from tracekit.dialects.conversation import add_meta
from tracekit.dialects.dialect import Dialect, Notes, Record
from tracekit.dialects.session_log import Talk, text_of
from tracekit.errors import BadRecord

TAGS = ("system_reminder", "attached_files", "additional_data", "user_info")
_KNOWN = frozenset(("role", "message", "type", "model", "timestamp"))
_KNOWN_IN_MESSAGE = frozenset(("content", "role"))


def fits(value: Any) -> str:
    """Evidence that a record is a line of a transcript.

    >>> fits({"role": "user", "message": {"content": []}})
    'a user line with message.content'
    """
    if not isinstance(value, dict):
        return ""
    if value.get("type") == "turn_ended":
        return "the end of a turn" if isinstance(value.get("status"), str) else ""
    role, message = value.get("role"), value.get("message")
    if not isinstance(role, str) or role not in ("user", "assistant", "system"):
        return ""
    inside = isinstance(message, dict) and isinstance(message.get("content"), (list, str))
    return f"a {role} line with message.content" if inside and "type" not in value else ""


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The trace of one transcript."""
    talk = Talk(tags=TAGS, meta={"harness": "cursor", "system": "not_recorded"})
    named = False
    for record in session_log.objects(records, notes):
        value = record.value
        if not isinstance(value.get("role"), str):
            kind = value.get("type")
            if not isinstance(kind, str):
                notes.reject(record, "no_event_type", f"type {kind!r:.60}")
                continue
            own = session_log.BORDER if kind == "turn_ended" else session_log.UNKNOWN
            talk.skip(record, own, kind, notes)
            continue
        try:
            messages = _messages(record, notes)
        except BadRecord as error:
            notes.reject(record, error.code, error.detail)
            continue
        named = named or any(call["id"] for m in messages for call in m.get("tool_calls", ()))
        talk.say(record, *messages)
    if not named:
        for message in talk.messages:
            if message["role"] == "tool" and "tool_call_id" in message:
                add_meta(message, "tool_use_id", message.pop("tool_call_id"))
    return session_log.traces([talk], notes)


def _messages(record: Record, notes: Notes) -> list[dict[str, Any]]:
    value, k = record.value, record.row
    role, inner = value["role"], value.get("message")
    if not isinstance(inner, dict):
        raise BadRecord("no_event_type", "a line has no message")
    content = inner.get("content")
    if role == "assistant":
        messages = session_blocks.assistant(content, k, notes)
        if text_of(value, "model"):
            add_meta(messages[-1], "model", value["model"])
    elif role == "user":
        messages = session_blocks.user(content, k)
    elif role == "system":
        messages = [session_blocks.system(content, k)]
    else:
        raise BadRecord("unknown_role", f"line {k}: role {role!r:.60}")
    session_log.keep_time(value, messages[0])
    session_log.keep_rest(value, _KNOWN, messages[-1], notes)
    session_log.keep_rest(inner, _KNOWN_IN_MESSAGE, messages[-1], notes)
    return messages


dialect = Dialect(
    name="cursor",
    version=1,
    unit="file",
    fits=fits,
    read=read,
    codes=(*session_log.CODES, *session_blocks.CODES),
    events=session_log.EVENTS,
    ignores=session_blocks.IGNORES,
)
