"""Dialect `hermes`: sessions of the Hermes agent, a record (file) a session.

    {"session_id": "s", "platform": "cli", "session_start": "…", "system_prompt": "You are Hermes.",
     "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "…"},
                  {"role": "tool", "tool_name": "shell", "finish_reason": "error", "content": "…"},
                  {"role": "session_meta"}]}

The messages are of the OpenAI chat shape and read by its reader.

What was decided:
- A message of role `session_meta` is no message: what it holds is kept in `meta.session_meta`.
- `finish_reason: error` of a tool message is the error flag of the result; the name of the tool is
  `tool_name`.
- Reasoning beside `codex_reasoning_items` is a summary: context, and no target.
- A declaration that holds its schema beside `function` is put together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracekit.dialects import openai, session_log
from tracekit.dialects.dialect import Dialect, Notes, Record
from tracekit.dialects.session_log import text_of
from tracekit.errors import BadRecord


def fits(value: Any) -> str:
    """Evidence that a record is such a session.

    >>> fits({"session_id": "s", "platform": "cli", "session_start": "2026", "messages": []})
    'a session with platform and session_start'
    """
    if not isinstance(value, dict) or not isinstance(value.get("messages"), list):
        return ""
    return "a session with platform and session_start" if is_session(value) else ""


def is_session(value: dict[str, Any]) -> bool:
    """Has a record the keys of a Hermes session?"""
    return "platform" in value and "session_start" in value and "session_id" in value


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The trace of one session."""
    record = records[0]
    value = record.value
    if not isinstance(value, dict):
        raise BadRecord("not_an_object", f"the record is {type(value).__name__}")
    held = value.get("messages")
    if not isinstance(held, list) or not held:
        raise BadRecord("no_messages", "messages is no list, or empty")
    plain: dict[str, Any] = {k: v for k, v in value.items() if k != "system_prompt"}
    turns: list[Any] = []
    described: list[Any] = []
    failed: list[bool] = []
    summarised: list[bool] = []
    for turn in held:
        if isinstance(turn, dict) and turn.get("role") == "session_meta":
            described.append({k: v for k, v in turn.items() if k != "role"})
            continue
        turns.append(_turn(turn))
        is_tool = isinstance(turn, dict) and turn.get("role") == "tool"
        failed.append(is_tool and turn.get("finish_reason") == "error")
        summarised.append(isinstance(turn, dict) and bool(turn.get("codex_reasoning_items")))
    if text_of(value, "system_prompt"):
        turns.insert(0, {"role": "system", "content": value["system_prompt"]})
        failed.insert(0, False)
        summarised.insert(0, False)
    elif value.get("system_prompt") is not None:
        plain["system_prompt"] = value["system_prompt"]
    plain["messages"] = turns
    if any(described):
        plain["session_meta"] = [one for one in described if one]
    if isinstance(value.get("tools"), list):
        plain["tools"] = [_tool(tool) for tool in value["tools"]]
    if not turns:
        raise BadRecord("no_messages", "messages holds only session_meta")
    traces = openai.read([Record(record.file, record.row, plain)], notes, options)
    for trace in traces:
        if len(trace["messages"]) == len(failed):
            marks = zip(trace["messages"], failed, summarised, strict=True)
            for message, wrong, summary in marks:
                if wrong and message["role"] == "tool":
                    message["error"] = True
                if summary and message.get("reasoning"):
                    session_log.summarised(message, notes)
    return traces


def _turn(turn: Any) -> Any:
    if not isinstance(turn, dict) or turn.get("role") != "tool":
        return turn
    renamed = {k: v for k, v in turn.items() if k not in ("tool_name", "finish_reason")}
    if text_of(turn, "tool_name") and not renamed.get("name"):
        renamed["name"] = turn["tool_name"]
    return renamed


def _tool(tool: Any) -> Any:
    inner = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(inner, dict):
        return tool
    beside = {k: v for k, v in tool.items() if k not in ("function", "type")}
    if "input_schema" in beside:
        beside["parameters"] = beside.pop("input_schema")
    return {"type": "function", "function": {**beside, **inner}}


dialect = Dialect(
    name="hermes",
    version=1,
    unit="record",
    fits=fits,
    read=read,
    codes=(*openai.CODES, session_log.SUMMARY),
    ignores={
        **openai.IGNORES,
        "*.response_item_id": "a name of the provider's log",
    },
    options=(openai.CALLS,),
)
