"""Dialect `tracekit`: what tracekit itself wrote, rows of shards and of trace parts.

A row of a shard, whose messages and tools are JSON (text in Parquet, objects in an export of it):

    {"id": "8c4e...", "source": "mine", "messages": [
       "{\\"role\\":\\"user\\",\\"content\\":\\"9*4?\\"}",
     "{\\"role\\":\\"assistant\\",\\"content\\":\\"36\\"}"], "tools": null, "answer": "36",
     "outcomes": [], "model": "small", "task_key": null, "meta": null,
     "n_tokens": 20, "n_target_tokens": 4}

A row of a trace part has the columns of a stored trace. What was said comes back as it was, to the
letter: both rows give a trace with the content hash of the one that was written.

Decided here: id and source that the row had are kept as `meta.written_as`. A shard does not keep
reasoning kinds, error flags, finish reasons and the meta of messages; its integers beyond 64 bits
are text, and numbers in declarations have their usual spelling. Token counts are made anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tracekit import jsontext
from tracekit.dialects import conversation, declarations
from tracekit.dialects.dialect import Dialect, Notes, Record
from tracekit.errors import BadRecord

IGNORES = {
    "*.provenance": "places in the files that the trace was first read from",
    "*.content_hash": "made anew from what was said",
}

_SHARD = frozenset(("id", "source", "messages", "outcomes", "n_tokens", "n_target_tokens"))
_PART = frozenset(("id", "source", "provenance", "messages", "outcomes", "task_key"))
_KEPT = ("session_id", "parent_id", "task_key", "answer", "model")
_KINDS = frozenset(
    ("tests", "environment", "exact_match", "human", "judge", "claimed", "exit_status")
)
_ROLES = frozenset(("system", "user", "assistant", "tool"))


def is_row(value: Any) -> str:
    """Which of our rows a value is, in words; "" where it is none."""
    if not isinstance(value, dict) or not isinstance(value.get("messages"), (list, str)):
        return ""
    if value.keys() >= _PART and isinstance(value["provenance"], list):
        return "a row of a trace part"
    return "a row of a shard" if value.keys() >= _SHARD else ""


def fits(value: Any) -> str:
    """Evidence that a record is a row that tracekit wrote.

    >>> row = {"id": "8c4e", "source": "mine", "messages": ["{}"], "outcomes": []}
    >>> fits({**row, "n_tokens": 20, "n_target_tokens": 4})
    'a row of a shard'
    """
    return is_row(value)


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The trace of a row."""
    value = records[0].value
    if not isinstance(value, dict):
        raise BadRecord("not_an_object", f"the record is {type(value).__name__}")
    stored = "provenance" in value and "n_target_tokens" not in value
    listed = _loaded(value.get("messages"))
    if not isinstance(listed, list) or not listed:
        raise BadRecord("no_messages", f"messages is {type(listed).__name__}")
    read_one = _of_part if stored else _of_shard
    trace: dict[str, Any] = {"messages": [read_one(one, k) for k, one in enumerate(listed)]}
    if not any(m["role"] == "assistant" for m in trace["messages"]):
        raise BadRecord("no_assistant_message", f"{len(listed)} messages")
    tools = _loaded(value.get("tools"))
    if tools is not None:
        if not isinstance(tools, list):
            raise BadRecord("tools_not_list", f"tools are {type(tools).__name__}")
        trace["tools"] = [
            _stored_tool(t, k) if stored else _tool(t, k) for k, t in enumerate(tools)
        ]
    for key in _KEPT:
        if isinstance(value.get(key), str):
            trace[key] = value[key]
    trace["outcomes"] = _outcomes(value.get("outcomes"))
    source_id = value.get("source_id", value.get("id"))
    if isinstance(source_id, str):
        trace["source_id"] = source_id
    _meta(value, trace, stored, notes)
    return [trace]


def _meta(value: dict[str, Any], trace: dict[str, Any], stored: bool, notes: Notes) -> None:
    """The meta of the row, with what the row was called and keys that no row has."""
    given = value.get("meta")
    held = _loaded(given) if isinstance(given, str) else given
    meta: dict[str, Any] = held if isinstance(held, dict) else {}
    if held is not None and not isinstance(held, dict):
        meta = {"meta": held}
    told = {key: value[key] for key in ("id", "source") if isinstance(value.get(key), str)}
    known = (*_SHARD, *_PART, *_KEPT, "source_id", "meta", "tools")
    for key, v in value.items():
        if key not in known and v is not None:
            notes.unknown(key)
            told[key] = v
    if "written_as" not in meta and told:
        meta = {**meta, "written_as": told}
    elif told and meta.get("written_as") != told:
        meta = {**meta, "written_as_last": told}
    if meta:
        trace["meta"] = jsontext.dump(meta)


def _outcomes(value: Any) -> list[dict[str, Any]]:
    found = []
    for one in value if isinstance(value, list) else ():
        kind = one.get("kind") if isinstance(one, dict) else None
        if isinstance(kind, str) and kind in _KINDS and isinstance(one.get("name"), str):
            held = one.get("value")
            text = held if isinstance(held, str) else jsontext.dump(held)
            found.append({"value": text, "kind": kind, "name": one["name"]})
    return found


# Rows of shards.


class _Pairs(list[tuple[str, Any]]):
    """An object as its pairs in order, doubled keys among them."""


class _Number(str):
    """A number as it is written."""

    __slots__ = ()


_DECODER = json.JSONDecoder(
    object_pairs_hook=_Pairs, parse_int=_Number, parse_float=_Number, strict=False
)


def _exact(text: str) -> Any:
    """Value of JSON text in which numbers and doubled keys are as written."""
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError):
        raise BadRecord("message_not_object", "a message or tool is text that is no JSON") from None


def _spelled(value: Any) -> str:
    """JSON text of a value of `_exact`, as `jsontext.compact` spells it."""
    out: list[str] = []
    _spell(value, out, 0)
    return "".join(out)


def _spell(value: Any, out: list[str], depth: int) -> None:
    if depth > jsontext.MAX_DEPTH:
        raise BadRecord("bad_tool_call", "arguments are nested too deep")
    if isinstance(value, _Number):
        out.append(value)
    elif isinstance(value, _Pairs):
        out.append("{")
        for k, (key, v) in enumerate(value):
            out.append(("," if k else "") + jsontext.dump(key) + ":")
            _spell(v, out, depth + 1)
        out.append("}")
    elif isinstance(value, list):
        out.append("[")
        for k, v in enumerate(value):
            out.append("," if k else "")
            _spell(v, out, depth + 1)
        out.append("]")
    else:
        out.append(jsontext.dump(value))


def _loaded(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return jsontext.parse(value.encode("utf-8", "replace"))
    except BadRecord:
        return value


def _object(value: Any, k: int) -> dict[str, Any]:
    """A message or tool as a dict, whose inner objects may be pairs."""
    if isinstance(value, str):
        value = _exact(value)
    if isinstance(value, _Pairs):
        value = dict(value)
    if not isinstance(value, dict):
        raise conversation.refuse_message(value, k)
    return value


def _inner(value: Any) -> Any:
    return dict(value) if isinstance(value, _Pairs) else value


def _of_shard(value: Any, k: int) -> dict[str, Any]:
    held = _object(value, k)
    message = _begun(held, k)
    for key, name in (("content", "content"), ("reasoning_content", "reasoning")):
        text = held.get(key)
        if isinstance(text, str) and not isinstance(text, _Number) and (text or key != "content"):
            message[name] = text
        elif text is not None and text != "":
            raise BadRecord("content_not_text", f"messages[{k}].{key} is {type(text).__name__}")
    calls = [_call(call, k) for call in _list(held.get("tool_calls"))]
    if calls:
        message["tool_calls"] = calls
    _flags(message, held)
    known = ("role", "content", "reasoning_content", "tool_calls", *_FLAGS)
    rest = {key: v for key, v in held.items() if key not in known and v is not None}
    if rest:
        message["meta"] = _spelled(_Pairs(rest.items()))
    return message


_FLAGS = ("tool_call_id", "name", "weight", "train", "attachments")


def _begun(held: dict[str, Any], k: int) -> dict[str, Any]:
    role = held.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise BadRecord("unknown_role", f"messages[{k}] has the role {role!r:.60}")
    return {"role": str(role)}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) and not isinstance(value, _Pairs) else []


def _call(call: Any, k: int) -> dict[str, Any]:
    held = _inner(call)
    function = _inner(held.get("function")) if isinstance(held, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str) or not isinstance(function, dict):
        raise BadRecord("bad_tool_call", f"messages[{k}] has a call without a name")
    given = function.get("arguments", _Pairs())
    # Arguments that are no JSON were written as a text; no JSON text of them is one.
    as_text = isinstance(given, str) and not isinstance(given, _Number)
    call_id = held.get("id")
    return {
        "id": call_id if isinstance(call_id, str) else "",
        "name": str(name),
        "arguments": given if as_text else _spelled(given),
    }


def _flags(message: dict[str, Any], held: dict[str, Any]) -> None:
    """Name, id of the answered call, weight and training flags."""
    for key in ("tool_call_id", "name"):
        if isinstance(held.get(key), str):
            message[key] = str(held[key])
    weight = held.get("weight")
    if isinstance(weight, (_Number, int, float)) and not isinstance(weight, bool):
        message["weight"] = float(weight)
    files = [str(file) for file in _list(held.get("attachments")) if isinstance(file, str)]
    if files:
        message["attachments"] = files
    train = _inner(held.get("train"))
    if isinstance(train, dict):
        calls = train.get("calls")
        message["train"] = {
            "reasoning": train.get("reasoning") is not False,
            "content": train.get("content") is not False,
            "calls": [flag is not False for flag in calls] if isinstance(calls, list) else None,
        }


def _tool(value: Any, k: int) -> dict[str, Any]:
    """Inverse of `wire.tool_value`."""
    held = _object(value, k)
    function = _inner(held.get("function"))
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise BadRecord("tool_without_name", f"tools[{k}]")
    kind = held.get("type")
    beside = [("type", kind)] if isinstance(kind, str) and kind != "function" else []
    extra = [*beside, *((key, v) for key, v in function.items() if key not in _DECLARED)]
    description = function.get("description")
    parameters = function.get("parameters")
    return {
        "name": str(function["name"]),
        "description": description if isinstance(description, str) else None,
        "parameters": _spelled(parameters) if "parameters" in function else None,
        "extra": _spelled(_Pairs(extra)) if extra else None,
    }


_DECLARED = frozenset(("name", "description", "parameters"))


# Rows of trace parts.


def _stored_tool(value: Any, k: int) -> dict[str, Any]:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise BadRecord("tool_without_name", f"tools[{k}]")
    keys = ("description", "parameters", "extra")
    return {"name": value["name"], **{key: _text(value.get(key)) for key in keys}}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _of_part(value: Any, k: int) -> dict[str, Any]:
    held = _object(value, k)
    message = _begun(held, k)
    for key in ("content", "reasoning", "finish_reason", "meta"):
        if isinstance(held.get(key), str):
            message[key] = held[key]
    kind = held.get("reasoning_kind")
    if isinstance(kind, str) and kind in _REASONING:
        message["reasoning_kind"] = kind
    if isinstance(held.get("error"), bool):
        message["error"] = held["error"]
    calls = []
    for call in _list(held.get("tool_calls")):
        if not isinstance(call, dict) or not all(isinstance(call.get(n), str) for n in _CALL):
            raise BadRecord("bad_tool_call", f"messages[{k}] has a call without a name")
        calls.append({name: call[name] for name in _CALL})
    if calls:
        message["tool_calls"] = calls
    _flags(message, held)
    return message


_CALL = ("id", "name", "arguments")
_REASONING = frozenset(("full", "summary", "withheld", "rationale", "lifted", "post_hoc"))


dialect = Dialect(
    name="tracekit",
    version=1,
    unit="record",
    fits=fits,
    read=read,
    codes=(*conversation.CODES, *declarations.CODES),
    ignores=IGNORES,
)
