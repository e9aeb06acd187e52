"""Dialect `antigravity`: step logs of Antigravity's command line, a file at a time.

    {"step_index": 0, "source": "USER_EXPLICIT", "type": "USER_INPUT", "content": "<USER_REQUEST>…"}
    {"step_index": 2, "source": "MODEL", "type": "PLANNER_RESPONSE", "thinking": "Listing.",
     "tool_calls": [{"name": "list_dir", "args": {"DirectoryPath": "\\"/tmp\\""}}]}
    {"step_index": 3, "source": "MODEL", "type": "LIST_DIRECTORY", "content": "a.txt"}

What was decided:
- A planner response is a reply; every other step of the model is the result of a tool. Calls have
  no ids and other names than steps, so results pair with the calls before them by their order; one
  too many stays a result without a call.
- Thinking is what the client was shown, a summary: context, and no target.
- `truncated_fields` says that the log cut a text: a cut reply is no target.
- What the system wrote for the model is a user message, marked as injected. A checkpoint is a cut:
  what follows is a trace that begins with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracekit import jsontext
from tracekit.codes import Code
from tracekit.dialects import session_log
from tracekit.dialects.conversation import add_meta, arguments_text
from tracekit.dialects.dialect import Dialect, Notes, Record
from tracekit.dialects.session_log import Talk, text_of
from tracekit.errors import BadRecord

TAGS = ("USER_SETTINGS_CHANGE", "ADDITIONAL_METADATA", "SYSTEM_MESSAGE", "EPHEMERAL_MESSAGE")
_EVENTS = {
    "CONVERSATION_HISTORY": session_log.BORDER,
    "ERROR_MESSAGE": session_log.NOTICE,
}
_CUT_OFF = ("CANCELLED", "CANCELED")
_KNOWN = frozenset(
    (
        *("step_index", "source", "type", "status", "created_at", "content", "thinking"),
        *("tool_calls", "truncated_fields"),
    )
)
CUT = Code(
    name="text_cut_by_log",
    kind="repair",
    what="The log keeps only the beginning of a reply; its text is no target.",
    why="The model would learn to end in the middle of a sentence.",
)


def fits(value: Any) -> str:
    """Evidence that a record is a step.

    >>> fits({"step_index": 0, "source": "MODEL", "type": "PLANNER_RESPONSE"})
    'a PLANNER_RESPONSE step with step_index'
    """
    if not isinstance(value, dict) or not isinstance(value.get("step_index"), int):
        return ""
    known = isinstance(value.get("type"), str) and isinstance(value.get("source"), str)
    return f"a {value['type']} step with step_index" if known else ""


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Traces of one log: one, and one more after each checkpoint that somebody spoke after."""
    talks = [_fresh()]
    for record in session_log.objects(records, notes):
        value = record.value
        kind = value.get("type")
        if not isinstance(kind, str):
            notes.reject(record, "no_event_type", f"type {kind!r:.60}")
            continue
        try:
            if kind == "CHECKPOINT":
                talks.append(_fresh())
                talks[-1].meta["compaction"] = len(talks) - 1
                message = _spoken("user", value, record.row)
                add_meta(message, "summary", True)
            elif kind in _EVENTS:
                talks[-1].skip(record, _EVENTS[kind], kind, notes)
                continue
            else:
                message = _message(value, kind, record.row, notes)
        except BadRecord as error:
            notes.reject(record, error.code, error.detail)
            continue
        session_log.keep_time(value, message, "created_at")
        session_log.keep_rest(value, _KNOWN, message, notes)
        if value.get("status") not in (None, "DONE"):
            add_meta(message, "status", value["status"])
            if value["status"] in _CUT_OFF and message["role"] == "assistant":
                session_log.interrupt([message], notes)
        talks[-1].say(record, message)
    return session_log.traces(_settled(talks, notes), notes)


def _fresh() -> Talk:
    return Talk(tags=TAGS, meta={"harness": "antigravity", "system": "not_recorded"})


def _settled(talks: list[Talk], notes: Notes) -> list[Talk]:
    kept = talks[:1]
    for talk in talks[1:]:
        if not any(message["role"] == "assistant" for message in talk.messages):
            if talk.records and talk.records[0].value.get("type") == "CHECKPOINT":
                notes.event(talk.records.pop(0), session_log.COMPACTION)
                talk.messages.pop(0)
            if not talk.records:
                continue
        kept.append(talk)
    return kept


def _spoken(role: str, value: dict[str, Any], k: int) -> dict[str, Any]:
    text = value.get("content")
    if text is not None and not isinstance(text, str):
        raise BadRecord("content_not_text", f"line {k}: content is {type(text).__name__}")
    message: dict[str, Any] = {"role": role, "content": text} if text else {"role": role}
    cut = value.get("truncated_fields")
    if cut:
        add_meta(message, "truncated_fields", cut)
    return message


def _message(value: dict[str, Any], kind: str, k: int, notes: Notes) -> dict[str, Any]:
    source = value.get("source")
    if kind == "USER_INPUT":
        return _spoken("user", value, k)
    if kind == "PLANNER_RESPONSE":
        return _reply(value, k, notes)
    if source == "SYSTEM" or kind == "SYSTEM_MESSAGE":
        message = _spoken("user", value, k)
        add_meta(message, "injected", True)
        return message
    message = _spoken("tool", value, k)
    add_meta(message, "step", kind)
    return message


def _reply(value: dict[str, Any], k: int, notes: Notes) -> dict[str, Any]:
    message = _spoken("assistant", value, k)
    if text_of(value, "thinking"):
        message["reasoning"] = value["thinking"]
        session_log.summarised(message, notes)
    calls = value.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        name = text_of(call, "name")
        if name is None:
            raise BadRecord("bad_tool_call", f"line {k} has a call without a name")
        given = call.get("args")
        text = jsontext.dump(given) if isinstance(given, dict) else arguments_text(given, notes)
        message.setdefault("tool_calls", []).append(
            {"id": text_of(call, "id") or "", "name": name, "arguments": text or "{}"}
        )
    cut = value.get("truncated_fields")
    if isinstance(cut, list) and "content" in cut:
        message["train"] = {"reasoning": "reasoning" not in message, "content": False}
        message["train"]["calls"] = None
        notes.repair(CUT.name)
    return message


dialect = Dialect(
    name="antigravity",
    version=1,
    unit="file",
    fits=fits,
    read=read,
    codes=(*session_log.CODES, session_log.SUMMARY, CUT),
    events=session_log.EVENTS,
)
