"""Declarations of tools: the ways sources write them, to one canonical form.

`None` means that the source does not say; an empty list means that no tool was offered. Nothing is
normalised: a schema is kept as it was written, only its white space goes.
"""

from __future__ import annotations

import json
from typing import Any

from tracekit import jsontext
from tracekit.codes import Code
from tracekit.errors import BadRecord

CODES = (
    Code(
        name="tools_not_list",
        kind="reject",
        what="The declared tools are neither a list nor JSON text of a list.",
        why="Read as nothing, the model would learn to call functions that it was never shown.",
        fix="Wrap a single declaration in a list, or map the right key.",
    ),
    Code(
        name="tools_not_json",
        kind="reject",
        what="The declared tools are a text that does not parse as JSON.",
        fix="Repair the text at the source; the reject keeps the record.",
    ),
    Code(
        name="tool_without_name",
        kind="reject",
        what="A declared tool is no object with a name.",
        fix="Repair the declaration at the source.",
    ),
)

_PARAMETERS = ("parameters", "input_schema", "inputSchema", "arguments")
_PLAIN = frozenset(("name", "description", "parameters"))


def read_tools(value: Any) -> list[dict[str, Any]] | None:
    """Canonical tools of what a source declares; None where it declares nothing.

    Takes a list or JSON text of a list; each tool as an OpenAI wrapper, flat, or with
    `input_schema`. Raises BadRecord: tools_not_list, tools_not_json, tool_without_name.

    >>> read_tools('[{"type": "function", "function": {"name": "now"}}]')
    [{'name': 'now', 'description': None, 'parameters': None, 'extra': None}]
    >>> read_tools("[]")
    []
    """
    if value is None:
        return None
    if isinstance(value, str):
        if not value.strip():
            return None
        value = _parsed(value)
        if value is None:  # the text "null"
            return None
    if not isinstance(value, list):
        raise BadRecord("tools_not_list", f"tools are {_kind(value)}")
    return [_tool(entry, k) for k, entry in enumerate(value)]


def _parsed(text: str) -> Any:
    try:
        return jsontext.parse(text.encode("utf-8", "surrogatepass"))
    except BadRecord as error:
        raise BadRecord("tools_not_json", f"tools: {error.detail or error.code}") from None


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}
    return names.get(type(value), "a number" if isinstance(value, (int, float)) else "no list")


def _tool(entry: Any, k: int) -> dict[str, Any]:
    if isinstance(entry, str):
        entry = _parsed(entry)
    if not isinstance(entry, dict):
        raise BadRecord("tool_without_name", f"tools[{k}] is {_kind(entry)}")
    inner = entry.get("function")
    outer: dict[str, Any] = {}
    if isinstance(inner, dict):
        outer = {key: v for key, v in entry.items() if key != "function" and v is not None}
        if outer.get("type") == "function":
            del outer["type"]
        entry = inner
    name = entry.get("name")
    if name is None and outer == {} and isinstance(entry.get("type"), str):
        name = entry["type"]  # a tool of the provider: {"type": "web_search"}
    if not isinstance(name, str) or not name:
        raise BadRecord("tool_without_name", f"tools[{k}]")
    description = entry.get("description")
    if description is not None and not isinstance(description, str):
        description = jsontext.dump(description)
    parameters = None
    used = "parameters"
    for key in _PARAMETERS:
        if entry.get(key) is not None:
            parameters, used = _schema(entry[key]), key
            break
    if not entry.keys() <= _PLAIN:
        skip = {"name", "description", used}
        extra = {key: v for key, v in entry.items() if key not in skip and v is not None}
        if extra.get("type") in ("function", name):
            del extra["type"]
        outer |= extra
    return {
        "name": name,
        "description": description,
        "parameters": parameters,
        "extra": jsontext.dump(outer) if outer else None,
    }


def _schema(value: Any) -> str:
    if isinstance(value, str):
        spelled = jsontext.compact(value)
        return json.dumps(value, ensure_ascii=False) if spelled is None else spelled
    return jsontext.dump(value)


def parameter_types(tools: list[dict[str, Any]] | None) -> dict[str, dict[str, str]]:
    """Declared JSON type of each parameter, by tool and parameter; absent where not declared."""
    types: dict[str, dict[str, str]] = {}
    for tool in tools or ():
        schema = json.loads(tool["parameters"]) if tool["parameters"] else None
        properties = schema.get("properties") if isinstance(schema, dict) else None
        if isinstance(properties, dict):
            types[tool["name"]] = {
                key: declared["type"]
                for key, declared in properties.items()
                if isinstance(declared, dict) and isinstance(declared.get("type"), str)
            }
    return types
