"""Dialect `session_messages`: a header line, then each message in an envelope, a file at a time.

    {"type": "session", "harness": "my-agent", "id": "b1", "name": "Time"}
    {"type": "message", "message": {"role": "user", "content": "What time is it?"}}
    {"type": "message", "message": {"role": "assistant", "content": "", "toolCalls": […]}}

So write the Hub's Session Trace Simple Format (text, `toolCalls`, `reasoningContent`), Pi and
OpenClaw (blocks with `thinking` and `toolCall`, results as messages of role `toolResult`, linked by
`id` and `parentId`), and the session store of Droid (header `session_start`, Anthropic blocks).

What was decided:
- Entries are a tree where they name parents; a path from the root to a leaf is a trace
  (`branches`). A parent that is the id of a call, or is not here, means the line before.
- A compaction is a cut: what follows begins with the summary as a user message, marked in its meta;
  Pi keeps no copy of what it still sent, so entries from `firstKeptEntryId` on are not repeated.
- What an extension wrote for the model (`custom_message`) and what a shell escape of the user said
  (`bashExecution`) are user messages, marked as injected; `custom` entries are state.
- A reply that stopped with `aborted` is no target.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracekit.dialects import session_blocks, session_log, session_tree
from tracekit.dialects.conversation import add_meta, arguments_text
from tracekit.dialects.dialect import Dialect, Notes, Record
from tracekit.dialects.session_log import Talk, text_of
from tracekit.errors import BadRecord

TAGS = ("system-reminder",)
_HEADERS = {"session": "", "session_start": "droid"}
_KINDS = {
    "model_change": session_log.STATE,
    "thinking_level_change": session_log.STATE,
    "custom": session_log.STATE,
    "label": session_log.STATE,
    "session_info": session_log.STATE,
    "usage": session_log.TELEMETRY,
    "compact": session_log.COMPACTION,
    "todo_state": session_log.STATE,
    "session_end": session_log.BORDER,
}
_SPOKEN = frozenset(("message", "custom_message", "compaction", "branch_summary"))
_KNOWN = frozenset(("type", "id", "parentId", "timestamp", "message"))
_KNOWN_IN_MESSAGE = frozenset(
    (
        *("role", "content", "timestamp", "model", "provider", "api", "usage", "stopReason"),
        *("responseId", "toolCallId", "toolName", "isError", "toolCalls", "reasoningContent"),
        *("command", "output", "exitCode", "summary"),
    )
)


def fits(value: Any) -> str:
    """Evidence that a record is a line of such a session.

    >>> fits({"type": "message", "message": {"role": "user", "content": "hi"}})
    'a message line with a message inside'
    """
    if not isinstance(value, dict):
        return ""
    kind = value.get("type")
    if kind == "message":
        message = value.get("message")
        role = message.get("role") if isinstance(message, dict) else None
        inside = isinstance(role, str) and "uuid" not in value and "sessionId" not in value
        return "a message line with a message inside" if inside else ""
    if kind in ("session", "session_start") and isinstance(value.get("id"), str):
        return f"a {kind} header"
    linked = isinstance(value.get("id"), str) and "parentId" in value
    if linked and isinstance(kind, str) and (kind in _KINDS or kind in _SPOKEN):
        return f"a {kind} entry with id and parentId"
    return ""


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Traces of one session file."""
    skeleton = Talk(tags=TAGS)
    lines: list[session_tree.Line] = []
    headers: list[Record] = []
    for record in session_log.objects(records, notes):
        value = record.value
        kind = value.get("type")
        if not isinstance(kind, str):
            notes.reject(record, "no_event_type", f"type {kind!r:.60}")
        elif kind in _HEADERS:
            if headers:
                skeleton.skip(record, session_log.HEADER, kind, notes)
            else:
                headers.append(record)
                _read_header(value, _HEADERS[kind], skeleton)
        else:
            said = _readable(record, kind, notes) if kind in _SPOKEN else None
            lines.append(_line(record, said is not None, said == "assistant"))
            if kind not in _SPOKEN:
                if kind == "model_change" and text_of(value, "modelId"):
                    skeleton.meta.setdefault("models", []).append(value["modelId"])
                own = _KINDS.get(kind, session_log.UNKNOWN)
                skeleton.skip(record, own, kind, notes)
    found = session_tree.nodes(lines, notes)
    paths = session_tree.paths(found, options.get("branches") == "latest", notes)
    talks: list[Talk] = []
    cuts: dict[int, Record] = {}
    for path in paths:
        talks.extend(_talks(path, skeleton, headers, notes, cuts))
    if not paths and headers:
        talks.append(Talk(records=list(headers)))
    used = {id(record) for talk in talks for record in talk.records}
    for record in cuts.values():
        if id(record) not in used:
            notes.event(record, session_log.COMPACTION)
    return session_log.traces(talks, notes)


def _readable(record: Record, kind: str, notes: Notes) -> str | None:
    """Role of what an entry says; None where it cannot be read, which refuses it."""
    if kind == "compaction":
        return "user"
    try:
        messages = _messages(record, Notes())
    except BadRecord as error:
        notes.reject(record, error.code, error.detail)
        return None
    return str(messages[0]["role"])


def _line(record: Record, is_message: bool, speaks: bool) -> session_tree.Line:
    return session_tree.Line(
        record, text_of(record.value, "id"), text_of(record.value, "parentId"), is_message, speaks
    )


def _read_header(value: dict[str, Any], harness: str, talk: Talk) -> None:
    talk.fields["session_id"] = talk.fields["source_id"] = value.get("id")
    if not isinstance(value.get("id"), str):
        talk.fields.clear()
    parent = text_of(value, "parentSession", "parent")
    if parent is not None:
        talk.fields["parent_id"] = parent
    talk.meta["harness"] = text_of(value, "harness") or harness or "pi"
    talk.meta["system"] = "not_recorded"
    for key, v in value.items():
        if key not in ("type", "id", "harness", "parentSession", "parent") and v is not None:
            talk.meta[key] = v


def _talks(
    path: list[session_tree.Node],
    skeleton: Talk,
    headers: list[Record],
    notes: Notes,
    cuts: dict[int, Record],
) -> list[Talk]:
    """Conversations of a path: one, and one more after each compaction that somebody spoke after.

    Adds compactions to `cuts`.
    """
    talks = [_fresh(skeleton, headers)]
    for node in path:
        for line in node.lines:
            record = line.record
            if record.value["type"] == "compaction":
                cuts[id(record)] = record
                talks.append(_after_compaction(record, skeleton, headers, len(talks)))
                continue
            messages = _messages(record, notes)
            talks[-1].say(record, *messages)
            if messages[-1].get("finish_reason") == "aborted":
                session_log.interrupt(talks[-1].messages, notes)
    return _spoken(talks, headers)


def _fresh(skeleton: Talk, headers: list[Record]) -> Talk:
    talk = Talk(tags=skeleton.tags, fields=dict(skeleton.fields), meta=dict(skeleton.meta))
    talk.skipped = skeleton.skipped
    talk.records.extend(headers)
    return talk


def _after_compaction(record: Record, skeleton: Talk, headers: list[Record], n_before: int) -> Talk:
    talk = _fresh(skeleton, headers)
    session = talk.fields.get("session_id")
    if session is not None:
        talk.fields["parent_id"] = talk.meta["continues"] = session
    talk.meta["compaction"] = n_before
    value = record.value
    message: dict[str, Any] = {"role": "user", "meta": {"summary": True}}
    if text_of(value, "summary"):
        message["content"] = value["summary"]
    session_log.keep_time(value, message)
    for key in ("firstKeptEntryId", "tokensBefore", "details"):
        if value.get(key):
            message["meta"][key] = value[key]
    talk.say(record, message)
    return talk


def _spoken(talks: list[Talk], headers: list[Record]) -> list[Talk]:
    """Without the talks that only a compaction began and nobody went on."""
    kept = [talks[0]]
    for talk in talks[1:]:
        if not any(message["role"] == "assistant" for message in talk.messages):
            talk.records.pop(len(headers))
            talk.messages = talk.messages[1:] or [{"role": "user"}]
            if len(talk.records) == len(headers):
                continue
        kept.append(talk)
    return kept


def _messages(record: Record, notes: Notes) -> list[dict[str, Any]]:
    value, k = record.value, record.row
    if value["type"] in ("custom_message", "branch_summary"):
        content = value.get("content", value.get("summary"))
        messages = session_blocks.user(content, k)
        add_meta(messages[-1], "injected", True)
        inner: dict[str, Any] = {}
    else:
        inner = value.get("message")
        if not isinstance(inner, dict):
            raise BadRecord("no_event_type", "a message line has no message")
        messages = _said(inner, k, notes)
    first = messages[0]
    session_log.keep_time(value, first)
    known = _KNOWN if value["type"] == "message" else _KNOWN | {"content", "summary"}
    session_log.keep_rest(value, known, first, notes)
    session_log.keep_rest(inner, _KNOWN_IN_MESSAGE, first, notes)
    return messages


def _said(inner: dict[str, Any], k: int, notes: Notes) -> list[dict[str, Any]]:
    role = inner.get("role")
    content = inner.get("content")
    if role == "assistant":
        messages = session_blocks.assistant(content, k, notes)
        _read_simple(inner, messages[-1], k, notes)
        stop = inner.get("stopReason")
        if isinstance(stop, str):
            messages[-1]["finish_reason"] = stop
        for key in ("model", "usage", "provider"):
            if inner.get(key) is not None:
                add_meta(messages[0], key, inner[key])
        return messages
    if role == "user":
        return session_blocks.user(content, k)
    if role in ("system", "developer"):
        return [session_blocks.system(content, k)]
    if role in ("tool", "toolResult"):
        message = session_blocks.result(content, k)
        for own, name in (("toolCallId", "tool_call_id"), ("toolName", "name")):
            if text_of(inner, own):
                message[name] = inner[own]
        if isinstance(inner.get("isError"), bool):
            message["error"] = inner["isError"]
        return [message]
    if role == "bashExecution":
        text = f"$ {inner.get('command')}\n{inner.get('output') or ''}"
        message = {"role": "user", "content": text, "meta": {"injected": True, "shell": True}}
        if isinstance(inner.get("exitCode"), int):
            message["meta"]["exit_code"] = inner["exitCode"]
        return [message]
    if role in ("custom", "hookMessage", "compactionSummary", "branchSummary"):
        messages = session_blocks.user(content if content is not None else inner.get("summary"), k)
        add_meta(messages[-1], "injected", True)
        return messages
    raise BadRecord("unknown_role", f"line {k}: role {role!r:.60}")


def _read_simple(inner: dict[str, Any], message: dict[str, Any], k: int, notes: Notes) -> None:
    """Reasoning and calls as the Hub's simple format writes them."""
    if text_of(inner, "reasoningContent"):
        message["reasoning"], message["reasoning_kind"] = inner["reasoningContent"], "full"
    calls = inner.get("toolCalls")
    for call in calls if isinstance(calls, list) else ():
        function: Any = call.get("function", call) if isinstance(call, dict) else None
        name = text_of(function, "name")
        if name is None:
            raise BadRecord("bad_tool_call", f"line {k} has a call without a name")
        call_id = call.get("id")
        message.setdefault("tool_calls", []).append(
            {
                "id": "" if call_id is None else str(call_id),
                "name": name,
                "arguments": arguments_text(function.get("arguments"), notes) or "{}",
            }
        )


dialect = Dialect(
    name="session_messages",
    version=1,
    unit="file",
    fits=fits,
    read=read,
    codes=(
        *session_log.CODES,
        *session_blocks.CODES,
        session_log.PARENT_MISSING,
    ),
    events=(*session_log.EVENTS, *session_log.ABANDONED),
    ignores={
        **session_blocks.IGNORES,
        "*.responseId": "a name of the provider's log",
        "*.api": "which interface of the provider was used",
        "*.id": "a link of the tree",
        "*.parentId": "a link of the tree",
    },
    options=(session_tree.BRANCHES,),
)
