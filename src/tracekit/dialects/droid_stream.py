"""Dialect `droid_stream`: what `droid exec` of Factory prints as JSON lines, a file at a time.

    {"type": "message", "session_id": "s", "role": "user", "text": "List files"}
    {"type": "tool_call", "session_id": "s", "toolCallId": "c1", "toolName": "Shell",
     "parameters": {"command": "ls"}}
    {"type": "tool_result", "session_id": "s", "toolCallId": "c1", "value": {"stdout": "a", …}}
    {"type": "completion", "session_id": "s", "finalText": "Done"}

The store of Droid's sessions is another shape: `session_messages`.

What was decided:
- Calls between two results belong to one reply, with the text before them.
- `completion` is the last reply; where a message said the same text already, it is an event.
- A result of streams is standard output, then standard error; the exit code gives `error`.
- The tools that the header names are `tools`, without schemas.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracekit import jsontext
from tracekit.dialects import session_log
from tracekit.dialects.conversation import add_meta, arguments_text, texts_joined
from tracekit.dialects.dialect import Dialect, Notes, Record
from tracekit.dialects.session_log import Talk, text_of
from tracekit.errors import BadRecord

TAGS = ("system-reminder",)
_ROLES = frozenset(("user", "assistant", "system"))
_KNOWN = frozenset(
    (
        *("type", "session_id", "sessionId", "timestamp", "role", "text", "id", "toolCallId"),
        *("toolName", "toolId", "parameters", "value", "isError", "messageId", "error"),
        *("finalText", "usage"),
    )
)
IGNORES = {
    "*.messageId": "a name in the client's log",
    "timestamp": "a message keeps the time of its first line",
}


def fits(value: Any) -> str:
    """Evidence that a record is a line of such a stream.

    >>> fits({"type": "message", "session_id": "s", "role": "user", "text": "hi"})
    'a message line with session_id'
    """
    if not isinstance(value, dict) or "uuid" in value or "message" in value:
        return "a client's error" if _is_error(value) else ""
    if not ("session_id" in value or "sessionId" in value):
        return ""
    kind = value.get("type")
    found = (
        (kind in ("message", "reasoning") and "text" in value)
        or (kind in ("tool_call", "tool_result") and ("toolCallId" in value or "toolId" in value))
        or (kind == "completion" and "finalText" in value)
        or (kind == "system" and "cwd" in value and "model" in value)
    )
    return f"a {kind} line with session_id" if found else ""


def _is_error(value: Any) -> bool:
    return isinstance(value, dict) and value.get("type") == "error" and "source" in value


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The trace of one stream."""
    talk = Talk(tags=TAGS, meta={"harness": "droid", "system": "not_recorded"})
    for record in session_log.objects(records, notes):
        value = record.value
        kind = value.get("type")
        if not isinstance(kind, str):
            notes.reject(record, "no_event_type", f"type {kind!r:.60}")
            continue
        session = text_of(value, "session_id", "sessionId")
        if session is not None:
            talk.fields.setdefault("session_id", session)
        try:
            _read_line(record, kind, talk, notes)
        except BadRecord as error:
            notes.reject(record, error.code, error.detail)
    if "session_id" in talk.fields:
        talk.fields["source_id"] = talk.fields["session_id"]
    return session_log.traces([talk], notes)


def _read_line(record: Record, kind: str, talk: Talk, notes: Notes) -> None:
    value, k = record.value, record.row
    if kind == "system":
        _read_header(value, talk)
        talk.say(record)
        return
    if kind == "error":
        talk.skip(record, session_log.NOTICE, kind, notes)
        return
    if kind in ("message", "reasoning"):
        message = _message(value, kind, k)
    elif kind == "tool_call":
        message = _call(value, k, notes)
    elif kind == "tool_result":
        message = _result(value, notes)
    elif kind == "completion":
        text = text_of(value, "finalText")
        said = [m.get("content") for m in talk.messages if m["role"] == "assistant"]
        if text is None or said[-1:] == [text]:
            talk.skip(record, session_log.REPEATED, kind, notes)
            return
        message = {"role": "assistant", "content": text}
        if value.get("usage"):
            add_meta(message, "usage", value["usage"])
    else:
        talk.skip(record, session_log.UNKNOWN, kind, notes)
        return
    last = talk.messages[-1] if talk.messages else None
    session_log.keep_time(value, message)
    session_log.keep_rest(value, _KNOWN, message, notes)
    if last is not None and kind == "tool_call" and last["role"] == "assistant":
        last.setdefault("tool_calls", []).extend(message["tool_calls"])
        for name, v in (message.get("meta") or {}).items():
            last.setdefault("meta", {}).setdefault(name, v)
        talk.say(record)
        return
    if last is not None and "reasoning" in last and set(last) <= _THOUGHT and _is_reply(message):
        last.update({key: v for key, v in message.items() if key not in ("role", "meta")})
        talk.say(record)
        return
    talk.say(record, message)


_THOUGHT = frozenset(("role", "reasoning", "reasoning_kind", "meta"))


def _is_reply(message: dict[str, Any]) -> bool:
    return message["role"] == "assistant" and "reasoning" not in message


def _read_header(value: dict[str, Any], talk: Talk) -> None:
    for key, v in value.items():
        if key == "model" and isinstance(v, str):
            talk.fields["model"] = v
        elif key == "tools" and isinstance(v, list) and all(isinstance(t, str) for t in v):
            talk.fields["tools"] = [{"name": name} for name in v]
        elif key not in ("type", "session_id", "sessionId", "id", "subtype") and v is not None:
            talk.meta[key] = v


def _message(value: dict[str, Any], kind: str, k: int) -> dict[str, Any]:
    text = value.get("text")
    if not isinstance(text, str):
        raise BadRecord("content_not_text", f"line {k}: text is {type(text).__name__}")
    if kind == "reasoning":
        return {"role": "assistant", "reasoning": text, "reasoning_kind": "full"}
    role = value.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise BadRecord("unknown_role", f"line {k}: role {role!r:.60}")
    return {"role": role, "content": text} if text else {"role": role}


def _call(value: dict[str, Any], k: int, notes: Notes) -> dict[str, Any]:
    name = text_of(value, "toolName", "toolId")
    if name is None:
        raise BadRecord("bad_tool_call", f"line {k} has a call without a name")
    given = value.get("parameters")
    arguments = jsontext.dump(given) if isinstance(given, dict) else arguments_text(given, notes)
    call = {
        "id": text_of(value, "toolCallId", "id") or "",
        "name": name,
        "arguments": arguments or "{}",
    }
    return {"role": "assistant", "tool_calls": [call]}


def _result(value: dict[str, Any], notes: Notes) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "tool"}
    call_id = text_of(value, "toolCallId", "id")
    if call_id is not None:
        message["tool_call_id"] = call_id
    held = value.get("value", value.get("error"))
    if isinstance(held, dict) and ("stdout" in held or "stderr" in held):
        streams = [held.get(key) for key in ("stdout", "stderr")]
        text = texts_joined(stream for stream in streams if isinstance(stream, str))
        if text is not None:
            message["content"] = text
        code = held.get("exitCode")
        if isinstance(code, int):
            message["error"] = code != 0
        rest = {
            key: v
            for key, v in held.items()
            if key not in ("stdout", "stderr") or not isinstance(v, str)
        }
        if rest:
            add_meta(message, "value", rest)
    elif isinstance(held, str):
        if held:
            message["content"] = held
    elif held is not None:
        message["content"] = jsontext.dump(held)
        notes.repair("result_was_object")
    if isinstance(value.get("isError"), bool):
        message["error"] = value["isError"]
    return message


dialect = Dialect(
    name="droid_stream",
    version=1,
    unit="file",
    fits=fits,
    read=read,
    codes=session_log.CODES,
    events=session_log.EVENTS,
    ignores=IGNORES,
)
