"""Attributes of an OpenTelemetry span: what kind of call it is, its input, output, tools, times."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from tracekit import jsontext
from tracekit.dialects.span_calls import Span
from tracekit.dialects.span_turns import loaded

_MODEL_OPERATIONS = frozenset(
    (
        *("chat", "text_completion", "generate_content"),
        *("ai.generateText", "ai.streamText", "ai.generateObject", "ai.streamObject"),
    )
)
_TOOL_OPERATIONS = frozenset(("execute_tool", "ai.toolCall"))
_FLAT = re.compile(
    r"(gen_ai\.prompt|gen_ai\.completion|llm\.input_messages|llm\.output_messages)"
    r"\.([0-9]{1,4})\.(?:message\.)?(.+)"
)
_FLAT_CALL = re.compile(r"tool_calls\.([0-9]{1,4})\.(?:tool_call\.)?(?:function\.)?(\w+)")
_SAID = (
    "ai.prompt", "ai.response.text", "ai.response.object", "ai.response.toolCalls",
    "ai.response.reasoning", "ai.toolCall", "gen_ai.input.messages", "gen_ai.output.messages",
    "gen_ai.system_instructions", "gen_ai.tool.definitions", "gen_ai.tool.call.", "gen_ai.prompt.",
    "gen_ai.completion.", "llm.input_messages.", "llm.output_messages.", "llm.tools.",
    "input.value", "output.value", "ai.embedding", "ai.value",
)  # fmt: skip
"""Attributes that are messages, tools or numbers of an embedding; all others are told in meta."""


def plain(attributes: Any) -> dict[str, Any]:
    """Attributes as a dict; OTLP writes a list of {key, value: {stringValue: ...}}."""
    if isinstance(attributes, dict):
        return attributes
    found = {}
    for entry in attributes if isinstance(attributes, list) else ():
        if isinstance(entry, dict) and isinstance(entry.get("key"), str):
            found[entry["key"]] = _value(entry.get("value"))
    return found


def _value(value: Any) -> Any:
    if not isinstance(value, dict) or len(value) != 1:
        return value
    ((kind, inner),) = value.items()
    if kind == "arrayValue" and isinstance(inner, dict):
        return [_value(v) for v in inner.get("values") or ()]
    if kind == "kvlistValue" and isinstance(inner, dict):
        return plain(inner.get("values"))
    if kind == "intValue" and isinstance(inner, str) and inner.lstrip("-").isdigit():
        return int(inner) if len(inner) < 20 else inner
    return inner


def _context(span: Mapping[str, Any]) -> Mapping[str, Any]:
    for name in ("spanContext", "context"):
        held = span.get(name)
        if isinstance(held, dict):
            return held
    return span


def _id(span: Mapping[str, Any], *names: str) -> str | None:
    held = _context(span)
    return next((v for n in names if isinstance(v := held.get(n, span.get(n)), str) and v), None)


def trace_id(span: Mapping[str, Any]) -> str | None:
    """Trace id of a span."""
    return _id(span, "traceId", "trace_id")


def _time(value: Any) -> str | None:
    """A time as text that sorts: ISO text, nanoseconds, or [seconds, nanoseconds]."""
    if isinstance(value, list) and len(value) == 2 and all(type(v) is int for v in value):
        return f"{value[0]:012d}.{value[1]:09d}"
    if type(value) is int or (isinstance(value, str) and value.isdigit() and len(value) < 30):
        return f"{int(value) // 10**9:012d}.{int(value) % 10**9:09d}"
    return value if isinstance(value, str) else None


def span_of(
    raw: Mapping[str, Any], resource: Mapping[str, Any]
) -> tuple[str, Span, dict[str, Any]]:
    """(run, span, what it says beside its messages) of a raw span."""
    has = plain(raw.get("attributes"))
    events = [e for e in raw.get("events") or () if isinstance(e, dict)] if isinstance(
        raw.get("events"), list) else []  # fmt: skip
    name = str(raw.get("name"))
    own = _id(raw, "spanId", "span_id") or name
    start = _time(raw.get("startTime", raw.get("startTimeUnixNano", raw.get("start_time"))))
    end = _time(raw.get("endTime", raw.get("endTimeUnixNano", raw.get("end_time"))))
    kind = _kind(has)
    status = raw.get("status")
    status = status if isinstance(status, dict) else {}
    failed = status.get("code") in (2, "STATUS_CODE_ERROR", "ERROR")
    model = _first(has, "gen_ai.response.model", "ai.response.model", "gen_ai.request.model",
                   "llm.model_name", "ai.model.id")  # fmt: skip
    tool = _first(has, "gen_ai.tool.name", "ai.toolCall.name", "tool.name")
    given, said = (
        _tool_sides(has) if kind == "tool" else (_input(has, events), _output(has, events))
    )
    if kind == "tool" and said is None and failed:
        said = status.get("message")
    reason = has.get("ai.response.finishReason")
    reasons = loaded(has.get("gen_ai.response.finish_reasons"))
    if reason is None and isinstance(reasons, list) and reasons:
        reason = reasons[0]
    usage = {k: v for k, v in has.items() if ".usage." in k or k.startswith("llm.token_count")}
    parent = raw.get("parentSpanId", raw.get("parent_id", raw.get("parentId")))
    span = Span(
        id=own, parent=parent if isinstance(parent, str) and parent else None, kind=kind, name=name,
        start=start or "", input=given, output=said, model=model,
        tools=_tools(has), call_id=_first(has, "gen_ai.tool.call.id", "ai.toolCall.id"),
        error=True if kind == "tool" and failed else None,
        meta={
            "span": own, "start": start, "end": end, "usage": usage or None, "tool": tool,
            "finish_reason": reason,
        },
    )  # fmt: skip
    about: dict[str, Any] = {
        k: v for k, v in raw.items()
        if k not in ("attributes", "events") and v not in (None, [], {}, "")
    }  # fmt: skip
    about["attributes"] = {k: v for k, v in has.items() if not k.startswith(_SAID)}
    other = [e for e in events if not str(e.get("name")).startswith("gen_ai.")]
    if other:
        about["events"] = other
    if resource:
        about["resource"] = dict(resource)
    session = _first(has, "session.id", "gen_ai.conversation.id")
    if session:
        about["session"] = session
    return trace_id(raw) or own, span, about


def _first(has: Mapping[str, Any], *names: str) -> str | None:
    return next((v for name in names if isinstance(v := has.get(name), str) and v), None)


def _kind(has: Mapping[str, Any]) -> Any:
    operation = _first(has, "gen_ai.operation.name", "ai.operationId") or ""
    outer, _, inner = operation.rpartition(".do")
    stated = _first(has, "openinference.span.kind", "traceloop.span.kind") or ""
    if operation in _TOOL_OPERATIONS or stated.lower() == "tool":
        return "tool"
    if "embed" in operation.lower() or stated.lower() == "embedding":
        return "other"
    if operation in _MODEL_OPERATIONS or (inner and outer in _MODEL_OPERATIONS):
        return "model"
    if stated.lower() == "llm" or not _MESSAGE_KEYS.isdisjoint(has):
        return "other" if operation in ("invoke_agent", "create_agent") else "model"
    return "other"


_MESSAGE_KEYS = frozenset(
    (
        *("gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.prompt.0.role"),
        "llm.input_messages.0.message.role",
    )
)


def _tool_sides(has: Mapping[str, Any]) -> tuple[Any, Any]:
    keys = ("gen_ai.tool.call.arguments", "ai.toolCall.args", "tool.parameters", "input.value")
    given = next((has[k] for k in keys if k in has), None)
    results = ("gen_ai.tool.call.result", "ai.toolCall.result", "output.value")
    return given, next((has[k] for k in results if k in has), None)


def _input(has: Mapping[str, Any], events: Iterable[Mapping[str, Any]]) -> Any:
    messages = loaded(has.get("gen_ai.input.messages", has.get("ai.prompt.messages")))
    if isinstance(messages, list):
        system = loaded(has.get("gen_ai.system_instructions"))
        if isinstance(system, list) and system:
            return [{"role": "system", "parts": system}, *messages]
        return messages
    flat = _flat(has, ("gen_ai.prompt", "llm.input_messages"))
    if flat:
        return flat
    logged = [_of_event(e) for e in events if _EVENT.fullmatch(str(e.get("name")))]
    if logged:
        return [turn for turn in logged if turn is not None]
    keys = ("ai.prompt", "input.value", "ai.value", "ai.values")
    return next((has[key] for key in keys if key in has), None)


_EVENT = re.compile(r"gen_ai\.(system|user|assistant|tool)\.message")


def _of_event(event: Mapping[str, Any]) -> dict[str, Any] | None:
    """A message that the older conventions log as an event of its span."""
    found = _EVENT.fullmatch(str(event.get("name")))
    has = plain(event.get("attributes"))
    body = loaded(event.get("body", has.get("gen_ai.event.content")))
    held = body if isinstance(body, dict) else has
    if found is None or not held:
        return None
    turn = {k: loaded(v) if k == "tool_calls" else v for k, v in held.items()}
    if "id" in turn and found.group(1) == "tool":
        turn.setdefault("tool_call_id", turn["id"])
    return {**turn, "role": found.group(1)}


def _output(has: Mapping[str, Any], events: Iterable[Mapping[str, Any]]) -> Any:
    messages = loaded(has.get("gen_ai.output.messages"))
    if isinstance(messages, list):
        return messages
    text = has.get("ai.response.text", has.get("ai.response.object"))
    calls = loaded(has.get("ai.response.toolCalls"))
    thought = has.get("ai.response.reasoning")
    if text or calls or thought:
        turn: dict[str, Any] = {
            "role": "assistant",
            "content": text if isinstance(text, str) else None,
        }
        if isinstance(calls, list) and calls:
            turn["tool_calls"] = calls
        if isinstance(thought, str) and thought:
            turn["reasoning_content"] = thought
        return [turn]
    flat = _flat(has, ("gen_ai.completion", "llm.output_messages"))
    if flat:
        return flat
    for event in events:
        if event.get("name") == "gen_ai.choice":
            held = plain(event.get("attributes"))
            body = loaded(event.get("body", held.get("gen_ai.event.content")))
            choice = body if isinstance(body, dict) else {k: loaded(v) for k, v in held.items()}
            message = choice.get("message")
            if isinstance(message, dict):
                return [{"role": "assistant", **message}]
    return has.get("output.value")


def _flat(has: Mapping[str, Any], names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Messages whose fields are attributes of their own: `llm.input_messages.0.message.role`."""
    turns: dict[int, dict[str, Any]] = {}
    calls: dict[tuple[int, int], dict[str, Any]] = {}
    for key, v in has.items():
        found = _FLAT.fullmatch(key)
        if found is None or found.group(1) not in names:
            continue
        n = int(found.group(2))
        turn = turns.setdefault(n, {})
        called = _FLAT_CALL.fullmatch(found.group(3))
        if called is not None:
            call = calls.setdefault((n, int(called.group(1))), {})
            call[called.group(2)] = v if isinstance(v, str) else jsontext.dump(v)
        else:
            turn[found.group(3)] = v
    for (n, _), call in sorted(calls.items()):
        turns[n].setdefault("tool_calls", []).append(call)
    return [turns[n] for n in sorted(turns)]


def _tools(has: Mapping[str, Any]) -> list[Any] | None:
    for name in ("gen_ai.tool.definitions", "ai.prompt.tools"):
        listed = loaded(has.get(name))
        if isinstance(listed, list):
            return [loaded(tool) for tool in listed]
    found: list[Any] = []
    while isinstance(schema := has.get(f"llm.tools.{len(found)}.tool.json_schema"), str):
        found.append(loaded(schema))
    return found or None
