"""Structural findings: what is wrong with the form of a trace, with the place.

One pass over a trace as plain dicts. Every check is worded so that it is silent on good data of
some harness: call ids may repeat over turns, a last message of calls is a legal end, unknown tools
are unknown only where tools were recorded. Findings never drop by themselves; `decide` does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import orjson
import pyarrow as pa

from tracekit.edits import control_tokens_in
from tracekit.structure_codes import CODES
from tracekit.wire import json_value

VERSION = 5

Row: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something seen in a trace; the span is in characters of the edited text."""

    trace: int
    code: str
    message: int | None = None
    call: int | None = None
    field: str | None = None
    start: int | None = None
    end: int | None = None
    value: float | None = None
    detail: str | None = None


FINDING_SCHEMA = pa.schema(
    [
        ("trace", pa.int32()),
        ("code", pa.large_string()),
        ("message", pa.int32()),
        ("call", pa.int32()),
        ("field", pa.large_string()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("value", pa.float64()),
        ("detail", pa.large_string()),
    ]
)

TRUNCATED = frozenset({"length", "max_tokens", "incomplete", "max_output_tokens", "MAX_TOKENS"})
"""Finish reasons that say the generation was cut. null says nothing, so it is not among them."""

KNOWN = frozenset(code.name for code in CODES)


def find(trace: int, row: Row) -> Iterator[Finding]:
    """Findings of one edited trace; `trace` is its row in the part."""
    messages = row["messages"]
    yield from _shape(trace, messages)
    tools = row["tools"]
    names = None if tools is None else {t["name"] for t in tools}
    for tool in tools or ():
        declared = "".join(tool[k] or "" for k in ("name", "description", "parameters", "extra"))
        yield from _control_tokens(trace, None, None, "tools", declared)
    for index, message in enumerate(messages):
        yield from _texts(trace, index, message)
        for k, call in enumerate(message["tool_calls"] or ()):
            if names is not None and call["name"] not in names:
                yield Finding(
                    trace=trace, code="unknown_tool", message=index, call=k, field="name",
                    detail=call["name"],
                )  # fmt: skip
    yield from _pairing(trace, messages)


def _shape(trace: int, messages: Sequence[Row]) -> Iterator[Finding]:
    roles = [m["role"] for m in messages]
    if "user" not in roles:
        yield Finding(trace=trace, code="no_user_message", field="trace")
    for index in range(1, len(roles)):
        if roles[index] == "system":
            yield Finding(trace=trace, code="system_not_first", message=index, field="role")
    assistants = [i for i, role in enumerate(roles) if role == "assistant"]
    if not any(_has_target(messages[i]) for i in assistants):
        yield Finding(trace=trace, code="empty_target", field="trace")
    else:
        last = assistants[-1]
        if not messages[last]["content"] and not messages[last]["tool_calls"]:
            yield Finding(trace=trace, code="empty_answer", message=last, field="content")
        for index in assistants:
            if not _has_target(messages[index]):
                yield Finding(trace=trace, code="empty_message", message=index, field="content")
    if roles and roles[-1] == "user":
        yield Finding(trace=trace, code="dangling_user", message=len(roles) - 1, field="role")
    for index in assistants:
        if messages[index]["finish_reason"] in TRUNCATED:
            yield Finding(
                trace=trace, code="truncated", message=index, field="content",
                detail=messages[index]["finish_reason"],
            )  # fmt: skip


def _has_target(message: Row) -> bool:
    return bool(message["content"] or message["reasoning"] or message["tool_calls"])


def _texts(trace: int, index: int, message: Row) -> Iterator[Finding]:
    assistant = message["role"] == "assistant"
    for field in ("content", "reasoning"):
        text = message[field]
        if not text or "<" not in text:
            continue
        yield from _control_tokens(trace, index, None, field, text)
        if assistant:
            yield from _think_tags(trace, index, field, text)
        if not assistant or field == "reasoning":
            # Think tags in reasoning are found above.
            tags = _CALL_TAG if field == "reasoning" else _TAG
            yield from _tags(trace, index, None, field, tags.search(text))
    if assistant:
        # Dialects move an unclosed block to the reasoning and leave a note; a tag as mere prefix
        # of a complete answer looks the same, so this is a flag unless a recipe says drop.
        meta = message["meta"]
        if meta and '"think_tags":"unclosed"' in meta:
            yield Finding(trace=trace, code="unclosed_think", message=index, field="reasoning")
        if meta and '"reasoning_conflict":' in meta:
            yield Finding(
                trace=trace, code="conflicting_reasoning", message=index, field="reasoning"
            )
        content = message["content"]
        if content and ("<tool_call>" in content or "<function=" in content):
            start = max(content.find("<tool_call>"), content.find("<function="))
            yield Finding(
                trace=trace, code="call_text_in_content", message=index, field="content",
                start=start, end=start + 11,
            )  # fmt: skip
        for k, call in enumerate(message["tool_calls"] or ()):
            yield from _control_tokens(trace, index, k, "arguments", call["arguments"])
            if "<" in call["arguments"]:
                yield from _tags(trace, index, k, "arguments", _TAG.search(call["arguments"]))
            # Not left to the template: one that prints arguments as they are would let a shard
            # mix objects and texts.
            why = _not_an_object(call["arguments"])
            if why:
                yield Finding(
                    trace=trace, code="arguments_not_object", message=index, call=k,
                    field="arguments", detail=f"{call['name']}: {why}",
                )  # fmt: skip


_CALL_TAG = re.compile("</?tool_(?:call|response)>")
_TAG = re.compile("</?(?:think|tool_call|tool_response)>")


def _tags(
    trace: int, index: int, call: int | None, field: str, found: re.Match[str] | None
) -> Iterator[Finding]:
    if found is not None:
        yield Finding(
            trace=trace, code="tags_in_text", message=index, call=call, field=field,
            start=found.start(), end=found.end(), detail=found.group(),
        )  # fmt: skip


def _not_an_object(arguments: str) -> str:
    """Why arguments are no JSON object, or ""."""
    try:
        value = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        try:
            value = json_value(arguments)  # integers of any size, as the renderer reads them
        except ValueError as error:
            return str(error)
    return "" if isinstance(value, dict) else f"a {type(value).__name__}"


def _control_tokens(
    trace: int, index: int | None, call: int | None, field: str, text: str
) -> Iterator[Finding]:
    found = list(control_tokens_in(text))
    if found:
        yield Finding(
            trace=trace, code="control_tokens", message=index, call=call, field=field,
            start=found[0].start(), end=found[0].end(), value=float(len(found)),
            detail=found[0].group(),
        )  # fmt: skip


def _think_tags(trace: int, index: int, field: str, text: str) -> Iterator[Finding]:
    """Content is what is left after the dialect took out whole blocks, so any tag here is odd."""
    opening, closing = text.find("<think>"), text.rfind("</think>")
    if opening < 0 and closing < 0:
        return
    if field == "content" and opening >= 0 and closing < opening:
        yield Finding(
            trace=trace, code="unclosed_think", message=index, field=field,
            start=opening, end=opening + 7,
        )  # fmt: skip
    else:
        start = opening if opening >= 0 else closing
        yield Finding(
            trace=trace, code="stray_think", message=index, field=field,
            start=start, end=start + (7 if opening >= 0 else 8),
        )  # fmt: skip


def _pairing(trace: int, messages: Sequence[Row]) -> Iterator[Finding]:
    """Each block of results pairs with the calls of the assistant messages right before it."""
    open_calls: dict[str, tuple[int, int]] = {}
    seen_result = False
    last_answered = (-1, -1)
    for index, message in enumerate(messages):
        role = message["role"]
        if role == "tool":
            seen_result = True
            answered = open_calls.pop(message["tool_call_id"], None)
            if answered is None:
                yield Finding(
                    trace=trace, code="result_without_call", message=index, field="content",
                    detail=message["tool_call_id"],
                )  # fmt: skip
            elif answered < last_answered:
                yield Finding(
                    trace=trace, code="results_out_of_order", message=index, field="content",
                    detail=message["tool_call_id"],
                )  # fmt: skip
            last_answered = max(last_answered, answered or last_answered)
            continue
        if role != "assistant" or seen_result:
            yield from _left_open(trace, open_calls)
            open_calls, seen_result = {}, False
        for k, call in enumerate(message["tool_calls"] or ()):
            open_calls[call["id"]] = (index, k)
    if seen_result:
        yield from _left_open(trace, open_calls)


def _left_open(trace: int, open_calls: dict[str, tuple[int, int]]) -> Iterator[Finding]:
    for message, call in open_calls.values():
        yield Finding(
            trace=trace, code="call_without_result", message=message, call=call, field="name"
        )


def table_of(findings: Iterable[Finding]) -> pa.Table:
    """Findings as a table in FINDING_SCHEMA."""
    return pa.Table.from_pylist([asdict(f) for f in findings], schema=FINDING_SCHEMA)
