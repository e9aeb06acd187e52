"""A stored trace as the JSON values that trainers read, and JSON text as chat templates write it.

Shards and renderings are made of the same values, so that what is counted is what is trained on.
Standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeAlias

Row: TypeAlias = Mapping[str, Any]

dumps = json.JSONEncoder(ensure_ascii=False).encode
"""JSON as the `tojson` of chat templates writes it."""


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def json_value(text: str) -> Any:
    """Value of JSON text; integers of any size, no NaN. ValueError: it does not parse.

    >>> json_value('{"a": 12345678901234567890123}')
    {'a': 12345678901234567890123}
    """
    try:
        return _DECODER.decode(text)
    except RecursionError:
        raise ValueError("nested too deep") from None


def tool_value(tool: Row) -> dict[str, Any]:
    """A stored tool as trainers read it. ValueError: parameters or extra do not parse.

    `type` of the extra keys stands beside `function`, all others inside it, after the parameters.

    >>> tool_value({"name": "now", "description": None, "parameters": "{}", "extra": None})
    {'type': 'function', 'function': {'name': 'now', 'parameters': {}}}
    """
    function: dict[str, Any] = {"name": tool["name"]}
    if tool["description"] is not None:
        function["description"] = tool["description"]
    if tool["parameters"] is not None:
        function["parameters"] = json_value(tool["parameters"])
    extra = json_value(tool["extra"]) if tool["extra"] is not None else {}
    kind = extra.pop("type", "function")
    function.update(extra)
    return {"type": kind, "function": function}


def message_value(message: Row) -> dict[str, Any]:
    """A stored message as trainers read it: keys without a value are left out.

    Arguments that parse are a value, others stay text.
    """
    value: dict[str, Any] = {"role": message["role"], "content": message.get("content") or ""}
    if message.get("reasoning") is not None:
        value["reasoning_content"] = message["reasoning"]
    if message.get("tool_calls"):
        value["tool_calls"] = [
            {
                "id": c["id"],
                "type": "function",
                "function": {"name": c["name"], "arguments": arguments_value(c["arguments"])},
            }
            for c in message["tool_calls"]
        ]
    for key in ("tool_call_id", "name"):
        if message.get(key) is not None:
            value[key] = message[key]
    return value


def arguments_value(text: str) -> Any:
    """Value of the arguments of a call; the text itself where it does not parse."""
    try:
        return json_value(text)
    except ValueError:
        return text
