"""Parameters of declared tools as JSON Schema: foreign spellings, each change a counted repair.

Sets of tool calls write `dict`, `float`, `List[int]` or `str, optional` for a type, a flat table of
parameters for a schema, and `required: true` inside a parameter. What is changed stays as it was
written in the trace's meta (`parameters_as_written`, by tool), not in `Tool.extra`: that is shown
to the model.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any, TypeAlias

from tracekit import jsontext
from tracekit.codes import Code
from tracekit.dialects.dialect import Notes

CODES = (
    Code(
        name="schema_types_renamed",
        kind="repair",
        what="A declared parameter had a type of a programming language (`dict`, `float`, "
        "`List[int]`, `any`); it has the JSON Schema type now.",
        why="Trainers and validators read JSON Schema; one mix should have one spelling.",
        fix="`meta.parameters_as_written` keeps what was declared.",
    ),
    Code(
        name="schema_wrapped",
        kind="repair",
        what="A tool declared a flat table of its parameters; it became the `properties` of an "
        "object.",
        fix="`meta.parameters_as_written` keeps what was declared.",
    ),
    Code(
        name="schema_required_moved",
        kind="repair",
        what="Which parameters are required stood inside of them or beside the schema; it became "
        "the `required` list.",
        fix="`meta.parameters_as_written` keeps what was declared.",
    ),
    Code(
        name="schema_keys_renamed",
        kind="repair",
        what="Keys that JSON Schema does not have (`example_value`, `choices`, `optional`) got its "
        "names, or went where they say nothing new.",
        fix="`meta.parameters_as_written` keeps what was declared.",
    ),
)

_TYPES = {
    "dict": "object",
    "dictionary": "object",
    "hashmap": "object",
    "map": "object",
    "float": "number",
    "double": "number",
    "int": "integer",
    "long": "integer",
    "str": "string",
    "char": "string",
    "bool": "boolean",
    "list": "array",
    "tuple": "array",
    "set": "array",
    "arraylist": "array",
    "none": "null",
    "nonetype": "null",
}
_JSON_TYPES = frozenset(("object", "array", "string", "number", "integer", "boolean", "null"))
_NESTED = ("items", "additionalProperties", "not")
_NESTED_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_RENAMED = {"choices": "enum", "example": "examples", "example_value": "examples"}


def normalise(tools: list[dict[str, Any]] | None, notes: Notes, meta: dict[str, Any]) -> None:
    """Rewrites the parameters of canonical tools in place; originals go to `meta`."""
    for k, tool in enumerate(tools or ()):
        if tool["parameters"] is None:
            continue
        short = len(tool["parameters"]) + len(tool["extra"] or "") <= REMEMBERED_CHARS
        made = (_normalised if short else _normalised.__wrapped__)(
            tool["parameters"], tool["extra"]
        )
        if made is None:
            continue
        written, parameters, extra, changes = made
        for code, n in changes:
            notes.repair(code, n)
        originals = meta.setdefault("parameters_as_written", {})
        name = tool["name"] if tool["name"] not in originals else f"{tool['name']}#{k}"
        originals[name] = written
        tool["parameters"], tool["extra"] = parameters, extra


REMEMBERED_CHARS = 2048
"""Longer declarations are normalised each time, so that memory stays bounded."""

_Changes: TypeAlias = tuple[tuple[str, int], ...]


@lru_cache(maxsize=4096)  # records of one source offer the same tools again and again
def _normalised(
    parameters: str, extra_text: str | None
) -> tuple[Any, str, str | None, _Changes] | None:
    """(value as written, parameters, extra, changes by code) of one tool; None: all is well."""
    written = json.loads(parameters)
    extra = json.loads(extra_text) if extra_text else {}
    changes: dict[str, int] = {}
    schema = _parameters(written, extra, changes)
    if not changes:
        return None
    told = tuple(changes.items())
    return written, jsontext.dump(schema), jsontext.dump(extra) if extra else None, told


def _count(changes: dict[str, int], code: str) -> None:
    changes[code] = changes.get(code, 0) + 1


def _parameters(written: Any, extra: dict[str, Any], changes: dict[str, int]) -> Any:
    if not isinstance(written, dict):
        return written
    if all(map(_is_parameter, written.values())):
        _count(changes, "schema_wrapped")
        schema = _schema({"type": "object", "properties": written}, changes)
    else:
        schema = _schema(written, changes)
    beside = extra.get("required")
    if isinstance(beside, list) and all(isinstance(name, str) for name in beside):
        del extra["required"]
        _count(changes, "schema_required_moved")
        _require(schema, beside)
    return schema


def _is_parameter(value: Any) -> bool:
    """Is a value the description of one parameter, and no part of a schema?

    >>> _is_parameter({"type": "str", "description": "a name"})
    True
    >>> _is_parameter({"city": {"type": "string"}})
    False
    """
    if not isinstance(value, dict):
        return False
    return isinstance(value.get("type"), str) or isinstance(value.get("description"), str)


def _schema(value: Any, changes: dict[str, int]) -> Any:
    if not isinstance(value, dict):
        return value
    schema: dict[str, Any] = {}
    required: list[str] | None = None
    for key, inner in value.items():
        if key == "type" and isinstance(inner, str):
            _put_type(schema, inner, changes)
        elif key == "properties" and isinstance(inner, dict):
            required = _properties(schema, inner, changes)
        elif key == "items" and isinstance(inner, list):
            schema[key] = [_schema(v, changes) for v in inner]
        elif key in _NESTED:
            schema[key] = _schema(inner, changes)
        elif key in _NESTED_LISTS and isinstance(inner, list):
            schema[key] = [_schema(v, changes) for v in inner]
        elif key in _RENAMED and _RENAMED[key] not in value:
            _count(changes, "schema_keys_renamed")
            renamed = _RENAMED[key]
            schema[renamed] = inner if renamed == "enum" or isinstance(inner, list) else [inner]
        elif key == "optional" and isinstance(inner, (list, bool)):
            _count(changes, "schema_keys_renamed")
        else:
            schema[key] = inner
    if required is not None:
        _count(changes, "schema_required_moved")
        _require(schema, required)
    return schema


def _properties(
    schema: dict[str, Any], written: dict[str, Any], changes: dict[str, int]
) -> list[str] | None:
    """Puts the properties; names of those with `required: true`, None where none says anything."""
    required = None
    made = {}
    for name, inner in written.items():
        if isinstance(inner, dict) and isinstance(inner.get("required"), bool):
            required = required or []
            if inner["required"]:
                required.append(name)
            inner = {key: v for key, v in inner.items() if key != "required"}
        made[name] = _schema(inner, changes)
    schema["properties"] = made
    return required


def _require(schema: dict[str, Any], names: list[str]) -> None:
    given = schema.get("required")
    held = given if isinstance(given, list) else []
    if names or held:
        schema["required"] = [*held, *(name for name in dict.fromkeys(names) if name not in held)]


def _put_type(schema: dict[str, Any], written: str, changes: dict[str, int]) -> None:
    """The type of a parameter as JSON Schema has it; a name that nobody knows stays."""
    if written in _JSON_TYPES:
        schema["type"] = written
        return
    words = written.strip()
    if words.endswith(" optional"):  # `str, optional`
        words = words.removesuffix("optional").rstrip(" ,")
    found = _of_words(words)
    if found is None:
        schema["type"] = written
        return
    _count(changes, "schema_types_renamed")
    for key, inner in found.items():
        schema.setdefault(key, inner)


MAX_TYPE_CHARS = 200
"""Characters of a spelled type that are looked at; the longest real one has 40."""


def _of_words(words: str) -> dict[str, Any] | None:
    """JSON Schema of a spelled type, or None.

    >>> _of_words("List[Dict[str, float]]")
    {'type': 'array', 'items': {'type': 'object', 'additionalProperties': {'type': 'number'}}}
    >>> _of_words("list(str)")
    {'type': 'array', 'items': {'type': 'string'}}
    >>> _of_words("Union[int, float]")
    {'anyOf': [{'type': 'integer'}, {'type': 'number'}]}
    >>> _of_words("Frob") is None
    True
    """
    if len(words) > MAX_TYPE_CHARS:
        return None
    name = words.lower()
    if name in ("any", "object") or name in _JSON_TYPES:
        return {} if name == "any" else {"type": name}
    if name in _TYPES:
        return {"type": _TYPES[name]}
    place = min((p for p in (words.find("["), words.find("(")) if p > 0), default=-1)
    if place < 0 or words[-1] != {"[": "]", "(": ")"}[words[place]]:
        return None
    inner = [_of_words(part) for part in _split(words[place + 1 : -1])]
    kinds = [kind for kind in inner if kind is not None]
    if not kinds or len(kinds) < len(inner):
        return None
    outer = name[:place].strip()
    if outer == "optional" and len(kinds) == 1:
        return kinds[0]
    if outer == "union":
        return {"anyOf": kinds}
    outer_type = "array" if outer == "array" else _TYPES.get(outer)
    if outer_type == "object" and len(kinds) == 2:
        return {"type": "object", "additionalProperties": kinds[1]}
    if outer_type == "array":
        same = all(kind == kinds[0] for kind in kinds)
        return {"type": "array", "items": kinds[0] if same else {"anyOf": kinds}}
    return None


def _split(words: str) -> list[str]:
    """Parts between the commas that stand in no bracket."""
    parts = []
    depth = start = 0
    for place, char in enumerate(words):
        if char in "[(":
            depth += 1
        elif char in "])":
            depth -= 1
        elif char == "," and depth == 0:
            parts.append(words[start:place].strip())
            start = place + 1
    parts.append(words[start:].strip())
    return parts
