"""Dialect `sharegpt`: conversations of turns with `from` and `value`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracekit import jsontext
from tracekit.dialects import (
    conversation,
    declarations,
    masks,
    openai_message,
    record_keys,
    thinking,
    toolcall_text,
)
from tracekit.dialects.dialect import Dialect, Notes, Record
from tracekit.dialects.openai import CALLS
from tracekit.errors import BadRecord

_LISTS = ("conversations", "conversation", "messages", "items", "dialogue")
ROLES = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "observation": "tool",
    "tool": "tool",
    "tool_response": "tool",
    "function_response": "tool",
    "function_call": "call",
    "tool_call": "call",
}
"""Canonical role of each spelling; `call` is a turn that holds calls as JSON text."""
_KNOWN = frozenset(("from", "value", "weight", "loss", "train", "mask"))


def _turns_key(value: dict[str, Any]) -> str | None:
    for key in _LISTS:
        held = value.get(key)
        first = held[0] if isinstance(held, list) and held else None
        if isinstance(first, dict) and "from" in first and "value" in first:
            return key
    return None


def fits(value: Any) -> str:
    """Evidence that a record is a ShareGPT conversation.

    >>> fits({"conversations": [{"from": "human", "value": "hello"}]})
    'conversations with from and value'
    """
    if not isinstance(value, dict) or ("chosen" in value and "rejected" in value):
        return ""
    key = _turns_key(value)
    return "" if key is None else f"{key} with from and value"


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The one trace of a record."""
    value = records[0].value
    if not isinstance(value, dict):
        raise BadRecord("not_an_object", f"the record is {type(value).__name__}")
    key = _turns_key(value)
    if key is None:
        key = next((name for name in _LISTS if name in value), None)
        held = value.get(key) if key is not None else None
        if isinstance(held, list) and held:
            raise conversation.refuse_message(held[0], 0)
        raise BadRecord("no_messages", "no conversation of turns with from and value")
    used = {key, "tools", "system"}
    tools = declarations.read_tools(value.get("tools"))
    turns = value[key]
    chosen = value.get("chosen")
    if isinstance(chosen, dict) and "from" in chosen:
        turns = [*turns, chosen]
        used.add("chosen")
    fields, meta = record_keys.describe(value, used, notes)
    messages: list[dict[str, Any]] = []
    system = value.get("system")
    if isinstance(system, str) and system:
        messages.append({"role": "system", "content": system})
    elif system:
        raise BadRecord("content_not_text", "system is no text")
    for k, turn in enumerate(turns):
        _add_turn(turn, k, messages, tools, notes, options)
    conversation.finish(messages, notes, meta)
    return [record_keys.trace(messages, tools, fields, meta, notes)]


def _add_turn(
    turn: Any,
    k: int,
    messages: list[dict[str, Any]],
    tools: list[dict[str, Any]] | None,
    notes: Notes,
    options: Mapping[str, str],
) -> None:
    if not isinstance(turn, dict):
        raise conversation.refuse_message(turn, k)
    speaker = turn.get("from")
    role = ROLES.get(speaker) if isinstance(speaker, str) else None
    if role is None:
        if speaker is None:
            raise BadRecord("message_not_object", f"turn {k} has no `from`")
        raise BadRecord("unknown_role", f"turn {k} has the role {speaker!r:.60}")
    text = turn.get("value")
    if text is not None and not isinstance(text, str):
        if role not in ("tool", "call"):
            raise BadRecord("content_not_text", f"the value of turn {k} is {type(text).__name__}")
        text = jsontext.dump(text)
    message: dict[str, Any] = {"role": "assistant" if role == "call" else role}
    if role == "call":
        _read_calls(text or "", k, message, notes)
        last = messages[-1] if messages else None
        # Text and call of one reply are two turns in this shape, and one message.
        if last is not None and last["role"] == "assistant" and len(message) == 2:
            last.setdefault("tool_calls", []).extend(message["tool_calls"])
            message = last
        else:
            messages.append(message)
    elif text:
        message["content"] = text
        if role == "assistant":
            types = declarations.parameter_types(tools) if "<function=" in text else None
            openai_message.split_text(message, notes, options, types)
        elif "<tool_response>" in text and options.get("calls") != "as_text" and role != "system":
            messages.extend(openai_message.lifted_results(message, notes))
            return
        messages.append(message)
    else:
        messages.append(message)
    _read_rest(turn, message, options)


def _read_rest(turn: dict[str, Any], message: dict[str, Any], options: Mapping[str, str]) -> None:
    for key in ("weight", "loss", "train"):
        given = turn.get(key)
        if isinstance(given, (bool, int, float)):
            message["weight"] = float(given)
            break
    if "mask" in turn:
        weight = masks.weight_of(turn["mask"], options)
        if weight is None:
            conversation.add_meta(message, "mask", turn["mask"])
        else:
            message["weight"] = weight
    if not turn.keys() <= _KNOWN:
        for key, v in turn.items():
            if key not in _KNOWN and v is not None:
                conversation.add_meta(message, key, v)


def _read_calls(text: str, k: int, message: dict[str, Any], notes: Notes) -> None:
    """Calls of a call turn: a JSON object, a list of them, or `<tool_call>` text; also thinking."""
    found = thinking.split(text)
    if found is not None:
        message["reasoning"] = found.reasoning
        message["reasoning_kind"] = "full"
        notes.repair("think_tags_split")
        text = found.content
    calls = _calls_of(text.strip())
    if not calls:
        bare = toolcall_text.lift_functions(text)
        if bare is not None:
            notes.repair("calls_lifted", len(bare.calls))
            calls = bare.calls
            if bare.content:
                message["content"] = bare.content
    if not calls:
        raise BadRecord("bad_tool_call", f"turn {k} holds no call with a name: {text!r:.80}")
    message["tool_calls"] = [{"id": "", "name": name, "arguments": a} for name, a in calls]


def _calls_of(text: str) -> Sequence[tuple[str, str]]:
    if toolcall_text.OPEN in text:
        lifted = toolcall_text.lift(text)
        return lifted.calls if lifted is not None and not lifted.content else ()
    if text.startswith("["):
        try:
            entries = jsontext.parse(text.encode("utf-8", "replace"))
        except BadRecord:
            return ()
        calls = [toolcall_text.call_of(jsontext.dump(entry)) for entry in entries]
        return [call for call in calls if call is not None] if None not in calls else ()
    call = toolcall_text.call_of(text)
    return () if call is None else (call,)


dialect = Dialect(
    name="sharegpt",
    version=2,
    unit="record",
    fits=fits,
    read=read,
    codes=(
        *conversation.CODES,
        *openai_message.CODES,
        *declarations.CODES,
        *record_keys.CODES,
    ),
    options=(CALLS, masks.OPTION),
)
