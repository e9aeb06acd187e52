"""Dialect `kimi`: wire logs of the Kimi Code CLI, a file (one agent) at a time.

    {"type": "context.append_message", "message": {"role": "user", "content": […]}, "time": 1}
    {"type": "context.append_loop_event", "event": {"type": "step.begin", "step": 1}, "time": 2}
    {"type": "context.append_loop_event", "event": {"type": "content.part",
     "part": {"type": "think", "think": "I should."}}, "time": 3}

What was decided:
- A step is one assistant message; `think` parts are its reasoning in full.
- `turn.prompt` and `turn.steer` say what `context.append_message` says: events.
- The last tools snapshot before the first reply is `tools`, the last system prompt before it the
  system message; a snapshot whose tools are no list leaves `tools` not recorded.
- `context.apply_compaction` is a cut: what follows begins with the summary.
- `state.json` beside a log only names the session's agents: an event.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracekit import jsontext
from tracekit.dialects import declarations, session_log
from tracekit.dialects.content_parts import file_reference
from tracekit.dialects.conversation import add_meta, arguments_text, texts_joined
from tracekit.dialects.dialect import Dialect, Notes, Record
from tracekit.dialects.session_log import (
    BORDER,
    COMPACTION,
    NOTICE,
    REPEATED,
    STATE,
    TELEMETRY,
    Talk,
    text_of,
)
from tracekit.errors import BadRecord

TAGS = ("system-reminder", "git-context", "system")
_KINDS = {
    "metadata": session_log.HEADER,
    "config.update": STATE,
    "profile.bind": STATE,
    "tools.set_active_tools": STATE,
    "llm.tools_snapshot": STATE,
    "permission.set_mode": STATE,
    "permission.record_approval_result": NOTICE,
    "plan_mode.enter": STATE,
    "plan_mode.exit": STATE,
    "runtime.set_binding": STATE,
    "plugin.session_start": STATE,
    "turn.prompt": REPEATED,
    "turn.steer": REPEATED,
    "turn.cancel": BORDER,
    "turn.ended": BORDER,
    "llm.request": TELEMETRY,
    "usage.record": TELEMETRY,
    "token_counting.measured": TELEMETRY,
    "token_counting.turn_recorded": TELEMETRY,
    "full_compaction.begin": COMPACTION,
    "full_compaction.complete": COMPACTION,
    "context.apply_compaction": COMPACTION,
}
_SPOKEN = frozenset(("context.append_message", "context.append_loop_event"))
_ROLES = frozenset(("user", "assistant", "system", "tool"))
_SETS_SYSTEM = frozenset(("config.update", "profile.bind"))
IGNORES = {
    "type": "a word of the format",
    "hash": "a hash of the declarations that are kept",
    "event.uuid": "a name in the client's log",
    "event.stepUuid": "a name in the client's log",
    "event.description": "what the client showed of a call",
    "event.display": "what the client showed of a call",
    "event.messageId": "a name in the provider's log",
}


def fits(value: Any) -> str:
    """Evidence that a record is a line of a wire log, or the state beside it.

    >>> fits({"type": "turn.prompt", "input": [], "time": 1})
    'a turn.prompt line with time'
    """
    if not isinstance(value, dict):
        return ""
    kind = value.get("type")
    if kind == "metadata":
        return "a metadata line with protocol_version" if "protocol_version" in value else ""
    if isinstance(kind, str) and (kind in _KINDS or kind in _SPOKEN):
        return f"a {kind} line with time" if isinstance(value.get("time"), int) else ""
    if "type" not in value and isinstance(value.get("agents"), dict) and "workDir" in value:
        return "the state of a session"
    return ""


class _Log:
    """A wire log while it is read."""

    def __init__(self) -> None:
        self.talk = Talk(tags=TAGS, meta={"harness": "kimi-code"})
        self.talks = [self.talk]
        self.cuts: list[Record] = []
        self.headers: list[Record] = []
        self.step: dict[str, Any] | None = None
        self.system: str | None = None
        self.model: str | None = None


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Traces of one log: one, and one more after each compaction."""
    log = _Log()
    for record in session_log.objects(records, notes):
        kind = record.value.get("type")
        try:
            if not isinstance(kind, str):
                if fits(record.value):
                    log.talk.skip(record, session_log.HEADER, "state.json", notes)
                    continue
                raise BadRecord("no_event_type", f"type {kind!r:.60}")
            _read_line(record, kind, log, notes)
        except BadRecord as error:
            notes.reject(record, error.code, error.detail)
    return session_log.traces(_settled(log, notes), notes)


def _read_line(record: Record, kind: str, log: _Log, notes: Notes) -> None:
    value = record.value
    if kind == "context.append_message":
        log.step = None
        message = _message(value.get("message"), record.row, notes)
        session_log.keep_time(value, message, "time")
        log.talk.say(record, message)
        return
    if kind == "context.append_loop_event":
        _read_event(record, value.get("event"), log, notes)
        return
    if kind == "context.apply_compaction":
        _cut(record, log)
        return
    if kind == "metadata" and not log.headers:
        log.headers.append(record)
        log.talk.meta["header"] = {k: v for k, v in value.items() if k != "type"}
        return
    started = any(message["role"] == "assistant" for message in log.talk.messages)
    if kind in _SETS_SYSTEM and text_of(value, "systemPrompt") and not started:
        log.system = value["systemPrompt"]
        _set_system(log)
        if log.cuts:
            log.talk.skip(record, STATE, kind, notes)
        else:
            log.talk.say(record)
        return
    if kind == "llm.tools_snapshot" and not started and isinstance(value.get("tools"), list):
        log.talk.fields["tools"] = declarations.read_tools(value["tools"])
        log.talk.say(record)
        return
    if kind == "llm.request":
        log.model = text_of(value, "model") or log.model
    if kind == "turn.cancel":
        session_log.interrupt(log.talk.messages, notes)
        log.step = None
    log.talk.skip(record, _KINDS.get(kind, session_log.UNKNOWN), kind, notes)


def _set_system(log: _Log) -> None:
    messages = log.talk.messages
    if messages and messages[0]["role"] == "system":
        messages[0]["content"] = log.system
    else:
        messages.insert(0, {"role": "system", "content": log.system})


def _message(value: Any, k: int, notes: Notes) -> dict[str, Any]:
    role = value.get("role") if isinstance(value, dict) else None
    if not isinstance(role, str) or role not in _ROLES:
        raise BadRecord("unknown_role", f"line {k}: role {role!r:.60}")
    message: dict[str, Any] = {"role": role}
    _add_parts(value.get("content"), message, k)
    calls = value.get("toolCalls")
    for call in calls if isinstance(calls, list) and role == "assistant" else ():
        _add_call(call, message, k, notes)
    if role == "tool" and text_of(value, "toolCallId"):
        message["tool_call_id"] = value["toolCallId"]
    origin = value.get("origin")
    if isinstance(origin, dict) and origin != {"kind": "user"}:
        add_meta(message, "origin", origin)
        if role == "user" and origin.get("kind") != "user":
            add_meta(message, "injected", True)
    return message


def _add_parts(content: Any, message: dict[str, Any], k: int) -> None:
    if isinstance(content, str):
        content = [{"type": "text", "text": content}] if content else []
    if not isinstance(content, list):
        raise BadRecord("content_not_text", f"line {k}: content is {type(content).__name__}")
    for part in content:
        _add_part(part, message, k)


def _add_part(part: Any, message: dict[str, Any], k: int) -> None:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(kind, str):
        raise BadRecord("content_not_text", f"line {k} has a part without a type")
    if kind == "think" and message["role"] == "assistant":
        text = text_of(part, "think") or ""
        held = message.get("reasoning")
        message["reasoning"] = text if held is None else f"{held}\n\n{text}"
        message["reasoning_kind"] = "full"
        if not message["reasoning"] and part.get("encrypted"):
            del message["reasoning"]
            message["reasoning_kind"] = "withheld"
    elif isinstance(part.get("text"), str):
        joined = texts_joined([message.get("content") or "", part["text"]])
        if joined is not None:
            message["content"] = joined
    elif kind.endswith("_url") or kind in ("image", "file"):
        message.setdefault("attachments", []).append(file_reference(part, kind))
    else:
        message.setdefault("meta", {}).setdefault("parts", []).append(part)


def _add_call(call: Any, message: dict[str, Any], k: int, notes: Notes) -> None:
    function: Any = call.get("function", call) if isinstance(call, dict) else None
    name = text_of(function, "name")
    if name is None:
        raise BadRecord("bad_tool_call", f"line {k} has a call without a name")
    given = function.get("args", function.get("arguments"))
    message.setdefault("tool_calls", []).append(
        {
            "id": text_of(call, "toolCallId", "id") or "",
            "name": name,
            "arguments": (
                jsontext.dump(given)
                if isinstance(given, (dict, list))
                else arguments_text(given, notes) or "{}"
            ),
        }
    )


def _read_event(record: Record, event: Any, log: _Log, notes: Notes) -> None:
    kind = event.get("type") if isinstance(event, dict) else None
    if not isinstance(kind, str):
        raise BadRecord("no_event_type", f"event of type {kind!r:.60}")
    if kind in ("content.part", "tool.call"):
        step = log.step if log.step is not None else {"role": "assistant"}
        if kind == "content.part":
            _add_part(event.get("part"), step, record.row)
        else:
            _add_call(event, step, record.row, notes)
        if step is not log.step:
            log.step = step
            session_log.keep_time(record.value, step, "time")
            if log.model is not None:
                add_meta(step, "model", log.model)
            log.talk.messages.append(step)
        log.talk.say(record)
    elif kind == "tool.result":
        log.talk.say(record, _result(event, record, notes))
    elif kind == "step.end" and log.step is not None:
        if text_of(event, "finishReason"):
            log.step["finish_reason"] = event["finishReason"]
        if event.get("usage"):
            add_meta(log.step, "usage", event["usage"])
        log.talk.say(record)
        log.step = None
    else:
        if kind in ("step.begin", "step.end"):
            log.step = None
            log.talk.skip(record, BORDER, kind, notes)
        else:
            log.talk.skip(record, session_log.UNKNOWN, kind, notes)


def _result(event: dict[str, Any], record: Record, notes: Notes) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "tool"}
    if text_of(event, "toolCallId"):
        message["tool_call_id"] = event["toolCallId"]
    result = event.get("result")
    output = result.get("output", result.get("message")) if isinstance(result, dict) else result
    if isinstance(output, list):
        _add_parts(output, message, record.row)
    elif isinstance(output, str):
        if output:
            message["content"] = output
    elif output is not None:
        message["content"] = jsontext.dump(output)
        notes.repair("result_was_object")
    if isinstance(result, dict):
        flag = result.get("isError", result.get("is_error"))
        if isinstance(flag, bool):
            message["error"] = flag
        rest = {k: v for k, v in result.items() if k not in ("output", "isError") and v is not None}
        if rest:
            add_meta(message, "result", rest)
    session_log.keep_time(record.value, message, "time")
    return message


def _cut(record: Record, log: _Log) -> None:
    old = log.talk
    log.talk = Talk(tags=TAGS, fields=dict(old.fields), meta=dict(old.meta))
    log.talks.append(log.talk)
    log.cuts.append(record)
    log.step = None
    log.talk.meta["compaction"] = len(log.cuts)
    if log.system is not None:
        _set_system(log)
    value = record.value
    message: dict[str, Any] = {"role": "user", "meta": {"summary": True}}
    text = text_of(value, "contextSummary", "summary")
    if text is not None:
        message["content"] = text
    for key in ("summary", "keptUserMessageCount", "compactedCount"):
        if value.get(key) is not None and value[key] != text:
            message["meta"][f"compaction_{key}" if key == "summary" else key] = value[key]
    session_log.keep_time(value, message, "time")
    log.talk.say(record, message)


def _settled(log: _Log, notes: Notes) -> list[Talk]:
    """Talks with the header; a compaction that nobody spoke after becomes an event."""
    kept = []
    for k, talk in enumerate(log.talks):
        if k and not any(message["role"] == "assistant" for message in talk.messages):
            cut = log.cuts[k - 1]
            notes.event(cut, COMPACTION)
            talk.records.remove(cut)
            if not talk.records:
                continue
        kept.append(talk)
    for talk in kept:
        talk.records[:0] = log.headers
    return kept


dialect = Dialect(
    name="kimi",
    version=1,
    unit="file",
    fits=fits,
    read=read,
    codes=(*session_log.CODES, *declarations.CODES),
    events=session_log.EVENTS,
    ignores=IGNORES,
)
