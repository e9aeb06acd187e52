"""Dialect `agent_log`: one shape for the logs of many agents, as search tools for sessions keep it.

    {"sessionId": "s", "workspace": "/w", "agent": "codex", "type": "user", "uuid": "m1",
     "message": {"role": "user", "content": "Read main.rs"}}
    {"sessionId": "s", "workspace": "/w", "agent": "codex", "type": "tool", "uuid": "m2",
     "message": {"role": "tool", "tool_name": "Read", "tool_input": {…}, "tool_output": "fn main…"}}

A file at a time. The agent stands in `agent`, `agentSlug` or `agentId`.

What was decided:
- A `tool` message holds a call and its result: the call belongs to the reply before it, where no
  result stands between that was not called by it; otherwise to a reply of its own.
- A line without `type` is read by the role of its message; a line whose message says nothing is
  refused alone, the others go on.
- The order of the file counts, `parentUuid` only chains a line to the one before.
- `summary` lines are titles: notices. `status: error` of a tool is its error flag.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracekit import jsontext
from tracekit.dialects import session_blocks, session_log
from tracekit.dialects.conversation import add_meta, arguments_text
from tracekit.dialects.dialect import Dialect, Notes, Record
from tracekit.dialects.session_log import Talk, text_of
from tracekit.errors import BadRecord

_ROLES = frozenset(("user", "assistant", "system", "tool"))
_ON_TRACE = (
    "sessionId",
    "workspace",
    "agent",
    "agentSlug",
    "agentId",
    "cwd",
    "version",
    "gitBranch",
)
_KNOWN = frozenset(("type", "message", "uuid", "parentUuid", "timestamp", "requestId", *_ON_TRACE))
_KNOWN_IN_MESSAGE = frozenset(
    (
        *("role", "content", "tool_name", "tool_input", "tool_output", "status", "model", "id"),
        *("type", "stop_reason", "usage", "tool_use_id"),
    )
)
IGNORES = {
    **session_blocks.IGNORES,
    "uuid": "a link of the log",
    "parentUuid": "a link of the log",
    "requestId": "a name of the provider's log",
}


def fits(value: Any) -> str:
    """Evidence that a record is a line of such a log.

    >>> fits({"agentSlug": "amp", "type": "user", "message": {"content": "hi"}})
    'a line of an agent with a message'
    """
    if not isinstance(value, dict) or "payload" in value:
        return ""
    if "message" not in value and not isinstance(value.get("messages"), list):
        kind = value.get("type")
        known = isinstance(kind, str) and kind in _ROLES
        return "a line without message" if known and _is_named(value) else ""
    if isinstance(value.get("agentSlug"), str) or _is_named(value):
        return "a line of an agent with a message"
    linked = "agentId" in value and "isSidechain" not in value and "parentUuid" in value
    return "a line of an agent with a message" if linked else ""


def _is_named(value: dict[str, Any]) -> bool:
    """Are two of session, workspace and agent named?"""
    return sum(key in value for key in ("sessionId", "workspace", "agent")) >= 2


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The trace of one log."""
    talk = Talk(meta={"system": "not_recorded"})
    for record in session_log.objects(records, notes):
        value = record.value
        kind = value.get("type")
        if kind == "summary":
            talk.skip(record, session_log.NOTICE, "summary", notes)
            continue
        try:
            messages = _messages(record, talk, notes)
        except BadRecord as error:
            notes.reject(record, error.code, error.detail)
            continue
        _describe(value, talk)
        talk.say(record, *messages)
    if any(message["role"] == "system" for message in talk.messages):
        del talk.meta["system"]
    return session_log.traces([talk], notes)


def _describe(value: dict[str, Any], talk: Talk) -> None:
    session = text_of(value, "sessionId")
    if session is not None:
        talk.fields.setdefault("session_id", session)
        talk.fields.setdefault("source_id", session)
    agent = text_of(value, "agent", "agentSlug")
    version = text_of(value, "version")
    if agent is not None:
        talk.meta.setdefault("harness", agent if version is None else f"{agent} {version}")
    for key in ("workspace", "cwd", "gitBranch", "agentId"):
        if value.get(key) is not None:
            talk.meta.setdefault(key, value[key])


def _messages(record: Record, talk: Talk, notes: Notes) -> list[dict[str, Any]]:
    value, k = record.value, record.row
    inner = value.get("message")
    if inner is None and isinstance(value.get("messages"), list) and not value["messages"]:
        raise BadRecord("no_messages", "the session holds no message")
    if inner is None:
        raise BadRecord("no_event_type", "the line has no message")
    if not isinstance(inner, dict):
        raise BadRecord("message_not_object", f"line {k}: message is {type(inner).__name__}")
    kind = value.get("type")
    role = inner.get("role", "tool" if kind == "tool_result" else kind)
    if not isinstance(role, str) or role not in _ROLES:
        raise BadRecord("unknown_role", f"line {k}: role {role!r:.60}")
    if role == "tool":
        messages = _tool(inner, talk, k, notes)
    else:
        content = inner.get("content")
        if content is None:
            raise BadRecord("content_not_text", f"line {k}: the message has no content")
        if role == "assistant":
            messages = session_blocks.assistant(content, k, notes)
        elif role == "user":
            messages = session_blocks.user(content, k)
        else:
            messages = [session_blocks.system(content, k)]
        if text_of(inner, "stop_reason"):
            messages[-1]["finish_reason"] = inner["stop_reason"]
        for key in ("model", "usage"):
            if inner.get(key):
                add_meta(messages[0], key, inner[key])
    session_log.keep_time(value, messages[0])
    session_log.keep_rest(value, _KNOWN, messages[0], notes)
    session_log.keep_rest(inner, _KNOWN_IN_MESSAGE, messages[-1], notes)
    return messages


def _tool(inner: dict[str, Any], talk: Talk, k: int, notes: Notes) -> list[dict[str, Any]]:
    """The result of a tool message; its call goes to the reply that made it."""
    content = inner.get("tool_output", inner.get("content"))
    if content is not None and not isinstance(content, (str, list)):
        result: dict[str, Any] = {"role": "tool", "content": jsontext.dump(content)}
        notes.repair("result_was_object")
    else:
        result = session_blocks.result(content, k)
    status = inner.get("status")
    if isinstance(status, str):
        result["error"] = status not in ("success", "ok", "completed")
    if text_of(inner, "tool_use_id"):
        result["tool_call_id"] = inner["tool_use_id"]
    name = text_of(inner, "tool_name")
    if name is None:
        return [result]
    given = inner.get("tool_input")
    arguments = jsontext.dump(given) if isinstance(given, dict) else arguments_text(given, notes)
    call_id = f"call_line_{k}"
    result["tool_call_id"] = call_id
    call = {"id": call_id, "name": name, "arguments": arguments or "{}"}
    notes.repair("ids_invented")
    last = talk.messages[-1] if talk.messages else None
    if last is not None and last["role"] == "assistant":
        last.setdefault("tool_calls", []).append(call)
        return [result]
    return [{"role": "assistant", "tool_calls": [call]}, result]


dialect = Dialect(
    name="agent_log",
    version=1,
    unit="file",
    fits=fits,
    read=read,
    codes=(*session_log.CODES, *session_blocks.CODES),
    events=session_log.EVENTS,
    ignores=IGNORES,
)
