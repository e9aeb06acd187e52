"""Dialect `grok`: chat histories of the Grok CLI (`chat_history.jsonl`), a file at a time.

    {"type": "user", "content": [{"type": "text", "text": "Read a.py"}], "prompt_index": 0}
    {"type": "reasoning", "id": "r1", "summary": [{"type": "summary_text", "text": "…"}], …}
    {"type": "assistant", "content": "", "model_id": "grok-4",
     "tool_calls": [{"id": "c1", "name": "read", "arguments": "{}"}]}
    {"type": "tool_result", "tool_call_id": "c1", "content": "x = 1"}

What was decided:
- Reasoning is a summary: context, and no target. It belongs to the reply after it.
- `synthetic_reason` marks what the client wrote: injected.
- `prior_turn_interrupt` says that the reply before it was cut off: no target.
- A `backend_tool_call` was answered by the provider, and no result is recorded: no target.
- `summary.json` beside a history names the session, in a file of its own: an event.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracekit import jsontext
from tracekit.dialects import codex_items, session_blocks, session_log
from tracekit.dialects.conversation import add_meta, arguments_text
from tracekit.dialects.dialect import Dialect, Notes, Record
from tracekit.dialects.session_log import Talk, text_of
from tracekit.errors import BadRecord

TAGS = ("user_info", "environment_context", "system-reminder", "project_layout")
_TYPES = frozenset(("system", "user", "reasoning", "assistant", "tool_result", "backend_tool_call"))
_KNOWN = frozenset(
    (
        *("type", "content", "tool_calls", "model_id", "id", "summary", "encrypted_content"),
        *("status", "tool_call_id", "kind", "synthetic_reason", "is_error"),
    )
)
IGNORES = {
    **session_blocks.IGNORES,
    "model_fingerprint": "a name of the provider's log",
    "*.id": "a name of the provider's log",
}


def fits(value: Any) -> str:
    """Evidence that a record is a line of a history, or the summary beside it.

    >>> fits({"type": "user", "content": [], "prompt_index": 0})
    'a user line of a history'
    """
    if not isinstance(value, dict):
        return ""
    kind = value.get("type")
    if "chat_format_version" in value and isinstance(value.get("info"), dict):
        return "the summary of a session"
    keys = value.keys()
    found = (
        (kind == "user" and ("prompt_index" in value or "synthetic_reason" in value))
        or (kind == "assistant" and "model_id" in value)
        or (kind == "reasoning" and "status" in value and "summary" in value)
        or (kind == "tool_result" and keys == {"type", "tool_call_id", "content"})
        or (kind == "backend_tool_call" and isinstance(value.get("kind"), dict))
        or (kind == "system" and keys == {"type", "content"})
    )
    return f"a {kind} line of a history" if found else ""


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The trace of one history."""
    talk = Talk(tags=TAGS, meta={"harness": "grok"})
    thought: dict[str, Any] = {}
    for record in session_log.objects(records, notes):
        value = record.value
        kind = value.get("type")
        if "chat_format_version" in value and not isinstance(kind, str):
            talk.skip(record, session_log.HEADER, "summary.json", notes)
            continue
        if not isinstance(kind, str):
            notes.reject(record, "no_event_type", f"type {kind!r:.60}")
            continue
        if kind not in _TYPES:
            talk.skip(record, session_log.UNKNOWN, kind, notes)
            continue
        try:
            messages = _messages(record, kind, talk, thought, notes)
        except BadRecord as error:
            notes.reject(record, error.code, error.detail)
            continue
        talk.say(record, *messages)
    _flush(talk, thought)
    return session_log.traces([talk], notes)


def _flush(talk: Talk, thought: dict[str, Any]) -> None:
    """Reasoning that no reply followed is a reply of its own."""
    if thought:
        talk.messages.append({"role": "assistant", **thought})
        thought.clear()


def _messages(
    record: Record, kind: str, talk: Talk, thought: dict[str, Any], notes: Notes
) -> list[dict[str, Any]]:
    value, k = record.value, record.row
    if kind == "reasoning":
        _flush(talk, thought)
        codex_items.add_reasoning(
            {key: value.get(key) for key in ("summary", "content")}, thought, notes
        )
        return []
    if kind == "assistant":
        message = _assistant(value, k, notes)
        message.update({key: v for key, v in thought.items() if key not in message})
        thought.clear()
        messages = [message]
    else:
        _flush(talk, thought)
        if kind == "system":
            messages = [session_blocks.system(value.get("content"), k)]
        elif kind == "user":
            messages = session_blocks.user(value.get("content"), k)
            if value.get("prior_turn_interrupt"):
                session_log.interrupt(talk.messages, notes)
            if value.get("synthetic_reason"):
                add_meta(messages[-1], "injected", True)
                add_meta(messages[-1], "reason", value["synthetic_reason"])
        elif kind == "tool_result":
            messages = [session_blocks.result(value.get("content"), k)]
            if text_of(value, "tool_call_id"):
                messages[0]["tool_call_id"] = value["tool_call_id"]
            if isinstance(value.get("is_error"), bool):
                messages[0]["error"] = value["is_error"]
        else:
            messages = [_backend_call(value.get("kind"), k, notes)]
    known = _KNOWN | {"model_fingerprint"}
    session_log.keep_rest(value, known, messages[-1], notes)
    return messages


def _assistant(value: dict[str, Any], k: int, notes: Notes) -> dict[str, Any]:
    message = session_blocks.assistant(value.get("content"), k, notes)[-1]
    calls = value.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        name = text_of(call, "name")
        if name is None:
            raise BadRecord("bad_tool_call", f"line {k} has a call without a name")
        message.setdefault("tool_calls", []).append(
            {
                "id": text_of(call, "id") or "",
                "name": name,
                "arguments": arguments_text(call.get("arguments"), notes) or "{}",
            }
        )
    if text_of(value, "model_id"):
        add_meta(message, "model", value["model_id"])
    return message


def _backend_call(value: Any, k: int, notes: Notes) -> dict[str, Any]:
    name = text_of(value, "tool_type", "name")
    if name is None:
        raise BadRecord("bad_tool_call", f"line {k} has a call without a name")
    notes.repair(session_log.SERVER_CALL.name)
    call = {
        "id": text_of(value, "id") or "",
        "name": name,
        "arguments": jsontext.dump(value.get("action") or {}),
    }
    train = {"reasoning": True, "content": True, "calls": [False]}
    return {"role": "assistant", "tool_calls": [call], "train": train}


dialect = Dialect(
    name="grok",
    version=1,
    unit="file",
    fits=fits,
    read=read,
    codes=(
        *session_log.CODES,
        *session_blocks.CODES,
        session_log.SUMMARY,
        session_log.SERVER_CALL,
    ),
    events=session_log.EVENTS,
    ignores=IGNORES,
)
