"""Dialect `copilot`: session events of the GitHub Copilot CLI (`events.jsonl`), a file at a time.

    {"type": "user.message", "data": {"content": "List the files"}, "id": "e2", "parentId": "e1"}
    {"type": "assistant.message", "data": {"content": "", "toolRequests": [{"toolCallId": "c1",
     "name": "bash", "arguments": {"command": "ls"}}]}, "id": "e4", "parentId": "e3"}
    {"type": "tool.execution_complete", "data": {"toolCallId": "c1", "success": true, …}}

What was decided:
- A user message is `transformedContent`, which the model saw; what was typed is kept in its meta.
- `parentToolCallId` names a sub-agent: a trace of its own, with `meta.parent_call`.
- The order of the file counts; `parentId` only chains events to the one before.
- `reasoningText` of a model by OpenAI is a summary and no target, that of others is kept in full;
  reasoning of which only the opaque or encrypted form is here is withheld.
- A notification of the system was put before the model: a user message, marked as injected.
- `abort` takes the last reply out of training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracekit.dialects import session_log
from tracekit.dialects.conversation import add_meta, arguments_text
from tracekit.dialects.dialect import Dialect, Notes, Record
from tracekit.dialects.session_log import (
    BORDER,
    COMPACTION,
    NOTICE,
    STATE,
    TELEMETRY,
    Talk,
    text_of,
)
from tracekit.errors import BadRecord

_KINDS = {
    "session.start": session_log.HEADER,
    "session.resume": session_log.HEADER,
    "session.model_change": STATE,
    "session.mode_changed": STATE,
    "session.info": NOTICE,
    "session.error": NOTICE,
    "session.warning": NOTICE,
    "session.truncation": COMPACTION,
    "session.compaction_start": COMPACTION,
    "session.compaction_complete": COMPACTION,
    "session.auto_mode_resolved": TELEMETRY,
    "session.usage_checkpoint": TELEMETRY,
    "session.shutdown": BORDER,
    "session.title_changed": NOTICE,
    "assistant.turn_start": BORDER,
    "assistant.turn_end": BORDER,
    "assistant.usage": TELEMETRY,
    "assistant.intent": NOTICE,
    "tool.execution_start": BORDER,
    "tool.execution_partial_result": BORDER,
    "hook.start": BORDER,
    "hook.end": BORDER,
    "subagent.selected": BORDER,
    "subagent.started": BORDER,
    "subagent.completed": BORDER,
    "subagent.failed": BORDER,
    "abort": BORDER,
}
_SPOKEN = frozenset(
    (
        *("system.message", "user.message", "assistant.message", "assistant.reasoning"),
        *("tool.execution_complete", "system.notification"),
    )
)
_PREFIXES = ("session.", "assistant.", "user.", "tool.", "hook.", "system.", "subagent.", "skill.")
_OPENAI = ("gpt", "o1", "o3", "o4")
_KNOWN = frozenset(
    (
        *("content", "transformedContent", "attachments", "toolRequests", "toolCallId", "result"),
        *("success", "model", "reasoningText", "reasoningOpaque", "encryptedContent", "messageId"),
        *("parentToolCallId", "role", "error", "outputTokens", "apiCallId", "clientRequestId"),
        *("requestId", "serviceRequestId", "interactionId", "turnId", "reasoningId", "rte"),
        *("chunkIndex", "chunkCount", "toolTelemetry", "supportedNativeDocumentMimeTypes"),
        "providerCallId",
    )
)
IGNORES = {
    "data.reasoningOpaque": "opaque reasoning of the provider, readable by nobody else",
    "data.encryptedContent": "encrypted by the provider, readable by nobody else",
    "data.toolTelemetry": "measurements of the client",
    "data.interactionId": "a name in the client's log",
    "type": "a word of the format",
    "timestamp": "a message keeps the time of its first line",
}


def fits(value: Any) -> str:
    """Evidence that a record is an event of such a session.

    >>> fits({"type": "user.message", "data": {"content": "hi"}, "id": "e1"})
    'a user.message event with data'
    """
    if not isinstance(value, dict) or not isinstance(value.get("data"), dict):
        return ""
    kind = value.get("type")
    known = isinstance(kind, str) and (kind.startswith(_PREFIXES) or kind == "abort")
    return f"a {kind} event with data" if known and isinstance(value.get("id"), str) else ""


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Traces of one session: its own, and one for each sub-agent."""
    main = Talk()
    talks = {"": main}
    headers: list[Record] = []
    thoughts: dict[str, list[str]] = {}
    for record in session_log.objects(records, notes):
        kind, data = record.value.get("type"), record.value.get("data")
        if not isinstance(kind, str) or not isinstance(data, dict):
            notes.reject(record, "no_event_type", f"type {kind!r:.60}")
            continue
        agent = text_of(data, "parentToolCallId") or ""
        talk = talks.get(agent)
        if talk is None:
            talk = talks[agent] = Talk(meta={"parent_call": agent})
        if kind == "session.start" and not headers:
            headers.append(record)
            _read_header(data, main)
        elif kind in _SPOKEN:
            try:
                _say(record, kind, data, talk, thoughts.setdefault(agent, []), notes)
            except BadRecord as error:
                notes.reject(record, error.code, error.detail)
        else:
            if kind == "abort":
                session_log.interrupt(talk.messages, notes)
            main.skip(record, _KINDS.get(kind, session_log.UNKNOWN), kind, notes)
    for agent, talk in talks.items():
        talk.records[:0] = headers
        _flush(talk, thoughts.get(agent, []))
        if agent:
            _join(talk, main)
    return session_log.traces(talks.values(), notes)


def _read_header(data: dict[str, Any], talk: Talk) -> None:
    session = text_of(data, "sessionId")
    if session is not None:
        talk.fields["session_id"] = talk.fields["source_id"] = session
    version = text_of(data, "copilotVersion")
    talk.meta["harness"] = "copilot" if version is None else f"copilot {version}"
    context: Any = data.get("context")
    for name, key in (("cwd", "cwd"), ("gitBranch", "branch")):
        if text_of(context, key):
            talk.meta[name] = context[key]
    talk.meta["session"] = {k: v for k, v in data.items() if k != "sessionId" and v is not None}


def _join(talk: Talk, main: Talk) -> None:
    """What a sub-agent has from its session."""
    session = main.fields.get("session_id")
    talk.meta = {"harness": main.meta.get("harness", "copilot"), **talk.meta}
    if session is not None:
        talk.fields["parent_id"] = session
        talk.fields["session_id"] = f"{session}/{talk.meta['parent_call']}"


def _say(
    record: Record,
    kind: str,
    data: dict[str, Any],
    talk: Talk,
    thoughts: list[str],
    notes: Notes,
) -> None:
    k = record.row
    if not kind.startswith("assistant."):
        _flush(talk, thoughts)
    if kind == "assistant.reasoning":
        text = _text(data.get("content"), k)
        if text is not None:
            thoughts.append(text)
        talk.say(record)
        return
    if kind == "assistant.message":
        message = _assistant(data, k, thoughts, notes)
        last = talk.messages[-1] if talk.messages else None
        if last is not None and last["role"] == "assistant" and _goes_on(data):
            _append(last, message)
            talk.say(record)
            return
    elif kind == "tool.execution_complete":
        message = _result(data, k)
    elif kind == "system.message":
        message = {"role": "system"}
        _set(message, _text(data.get("content"), k))
    else:
        message = _user(data, k)
        if kind == "system.notification":
            add_meta(message, "injected", True)
    session_log.keep_time(record.value, message)
    session_log.keep_rest(data, _KNOWN, message, notes)
    talk.say(record, message)


def _flush(talk: Talk, thoughts: list[str]) -> None:
    """Reasoning that no reply followed is a reply of its own."""
    if thoughts:
        text = "\n\n".join(thoughts)
        talk.messages.append({"role": "assistant", "reasoning": text, "reasoning_kind": "full"})
        thoughts.clear()


def _text(value: Any, k: int) -> str | None:
    if value is None or isinstance(value, str):
        return value or None
    raise BadRecord("content_not_text", f"line {k}: content is {type(value).__name__}")


def _set(message: dict[str, Any], text: str | None) -> None:
    if text is not None:
        message["content"] = text


def _goes_on(data: dict[str, Any]) -> bool:
    """Is this a later piece of the reply before it?"""
    return isinstance(data.get("chunkIndex"), int) and data["chunkIndex"] > 0


def _append(last: dict[str, Any], message: dict[str, Any]) -> None:
    for key in ("content", "reasoning"):
        if key in message:
            last[key] = (last.get(key) or "") + message[key]
    if "tool_calls" in message:
        last.setdefault("tool_calls", []).extend(message["tool_calls"])


def _user(data: dict[str, Any], k: int) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "user"}
    typed = _text(data.get("content"), k)
    seen = _text(data.get("transformedContent"), k) or typed
    _set(message, seen)
    if typed is not None and seen is not None and typed != seen:
        start = seen.find(typed)
        add_meta(message, "typed", [start, start + len(typed)] if start >= 0 else typed)
    files = data.get("attachments")
    for file in files if isinstance(files, list) else ():
        path = text_of(file, "path", "filePath", "url", "displayName")
        if path is not None:
            message.setdefault("attachments", []).append(path)
        elif file is not None:
            add_meta(message, "attached", files)
    return message


def _assistant(data: dict[str, Any], k: int, thoughts: list[str], notes: Notes) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant"}
    _set(message, _text(data.get("content"), k))
    model = text_of(data, "model")
    if model is not None:
        add_meta(message, "model", model)
    own = text_of(data, "reasoningText")
    if own is not None and own not in thoughts:
        thoughts.append(own)
    if thoughts:
        message["reasoning"], message["reasoning_kind"] = "\n\n".join(thoughts), "full"
        if model is not None and model.startswith(_OPENAI):
            session_log.summarised(message, notes)
        thoughts.clear()
    elif data.get("reasoningOpaque") or data.get("encryptedContent"):
        message["reasoning_kind"] = "withheld"
    requests = data.get("toolRequests")
    for request in requests if isinstance(requests, list) else ():
        name = text_of(request, "name")
        if name is None:
            raise BadRecord("bad_tool_call", f"line {k} has a call without a name")
        message.setdefault("tool_calls", []).append(
            {
                "id": text_of(request, "toolCallId") or "",
                "name": name,
                "arguments": arguments_text(request.get("arguments"), notes) or "{}",
            }
        )
        if text_of(request, "intentionSummary", "toolTitle"):
            said = text_of(request, "intentionSummary", "toolTitle")
            message.setdefault("meta", {}).setdefault("intentions", []).append(said)
    if isinstance(data.get("outputTokens"), int):
        add_meta(message, "usage", {"output_tokens": data["outputTokens"]})
    return message


def _result(data: dict[str, Any], k: int) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "tool"}
    if text_of(data, "toolCallId"):
        message["tool_call_id"] = data["toolCallId"]
    if isinstance(data.get("success"), bool):
        message["error"] = not data["success"]
    result = data.get("result")
    if isinstance(result, str):
        _set(message, result or None)
    elif isinstance(result, dict):
        _set(message, _text(result.get("content"), k))
        rest = {key: v for key, v in result.items() if key != "content" and v is not None}
        if rest.get("detailedContent") == message.get("content"):
            rest.pop("detailedContent", None)
        if rest:
            add_meta(message, "result", rest)
    failure = text_of(data.get("error"), "message")
    if failure is not None and "content" not in message:
        message["content"] = failure
    elif data.get("error"):
        add_meta(message, "failure", data["error"])
    return message


dialect = Dialect(
    name="copilot",
    version=1,
    unit="file",
    fits=fits,
    read=read,
    codes=(*session_log.CODES, session_log.SUMMARY),
    events=session_log.EVENTS,
    ignores=IGNORES,
)
