"""Tools where a source declares none: from a catalogue of declarations, or from the calls.

Session logs of coding agents record calls but not what was offered; trained as they are, they teach
a model to call what it was never shown. Only a trace whose `tools` is null is changed, each one is
counted, and its meta says where its tools came from (`tools_from`).

A catalogue is a JSON file: a list of declarations as OpenAI writes them, or an object with such a
list for each harness. A key of it is compared with `harness` of the trace's meta (`codex 0.45.0`):
it is the whole text, or its first word, or a pattern (`codex 0.*`, `*` for any and for none). Of
several that match, the longest counts.

Inferred declarations say no more than the calls of the one trace do: names of arguments, their JSON
types, and as required those that every call of that name has. A tool that a call gave something
else than an object of arguments gets no schema.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeAlias

import orjson

from tracekit import jsontext
from tracekit.codes import Code
from tracekit.dialects import declarations
from tracekit.dialects.dialect import Notes
from tracekit.errors import BadRecord, InputError
from tracekit.types import Tool, ToolCall, Trace

VERSION = 1
"""Raised whenever the same traces and the same catalogue give other tools."""

CODES = (
    Code(
        name="tools_inferred",
        kind="repair",
        what="A trace without recorded tools got declarations made from its own calls.",
        why="A call to an undeclared tool teaches to call what was never offered; but what was "
        "offered and never called stays unknown, and descriptions do too.",
        fix="`tools_from: catalogue.json` declares what the harness really offered",
    ),
    Code(
        name="tools_from_catalogue",
        kind="repair",
        what="A trace without recorded tools got the declarations of the catalogue.",
        fix="`tools_from` of the source names the catalogue; leave it out to keep `tools` null",
    ),
)

Offer: TypeAlias = Literal["all", "called"]


@dataclass(frozen=True, slots=True)
class ToolSource:
    """Where the tools of traces without any come from."""

    catalogue: tuple[tuple[str, tuple[Tool, ...]], ...] | None
    """(pattern of a harness, its tools), in the order in which they are tried; None: inferred."""
    offer: Offer = "all"
    """called: only those tools of the catalogue that the trace calls."""

    def made_from(self) -> list[Any]:
        """Plain values for the fingerprint of what is read with this."""
        entries = self.catalogue and [
            [key, [[t.name, t.description, t.parameters, t.extra] for t in tools]]
            for key, tools in self.catalogue
        ]
        return ["tools_from", VERSION, entries, self.offer]


def load(path: str, offer: Offer = "all") -> ToolSource:
    """The catalogue in a JSON file. Raises InputError with the place of what is wrong in it."""
    try:
        raw = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise _refused(f"the catalogue of tools cannot be read: {reason}", path) from None
    try:
        value = jsontext.parse(raw.removeprefix(b"\xef\xbb\xbf"))
    except BadRecord as error:
        what = f"the catalogue of tools is no JSON: {error.detail or error.code}"
        raise _refused(what, path) from None
    if isinstance(value, list):
        return ToolSource((("*", _declared(value, path)),), offer)
    if not isinstance(value, dict) or not value:
        raise _refused("the catalogue holds no list of declarations", path)
    found = [(key, _declared(tools, f"{path}: {key}")) for key, tools in value.items()]
    found.sort(key=lambda entry: -len(entry[0]))
    return ToolSource(tuple(found), offer)


def _declared(value: Any, place: str) -> tuple[Tool, ...]:
    if not isinstance(value, list):
        raise _refused("the catalogue holds no list of declarations", place)
    tools: dict[str, Tool] = {}
    for k, entry in enumerate(value):
        try:
            found = (declarations.read_tools([entry]) or [])[0]
        except BadRecord as error:
            kind = "is not JSON" if error.code == "tools_not_json" else "has no name"
            raise _refused(f"a declaration of the catalogue {kind}", f"{place}[{k}]") from None
        if found["name"] in tools:
            what = f"the catalogue declares {found['name']!r} twice"
            raise _refused(what, f"{place}[{k}]")
        tools[found["name"]] = Tool(**found)
    return tuple(tools.values())


def _refused(what: str, where: str) -> InputError:
    return InputError(
        what,
        where=where,
        expected="JSON: a list of declarations of tools, or an object with a list for each harness",
        fix="correct `tools_from` of the source (--tools-from), or the file",
        wrote="nothing was written",
    )


def with_tools(trace: Trace, source: ToolSource, notes: Notes) -> Trace:
    """The trace with tools, where it records none and the source has any for it."""
    if trace.tools is not None:
        return trace
    meta = _meta(trace)
    if source.catalogue is None:
        tools, word, code = _inferred(trace), "inferred", "tools_inferred"
    else:
        tools, word, code = _offered(trace, source, meta), "catalogue", "tools_from_catalogue"
    if tools is None:
        return trace
    notes.repair(code)
    return replace(trace, tools=tools, meta=_marked(trace.meta, meta, word))


def _meta(trace: Trace) -> Mapping[str, Any]:
    try:
        value = orjson.loads(trace.meta or "{}")
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _marked(text: str | None, meta: Mapping[str, Any], word: str) -> str:
    """The meta with the word added. As text: numbers and order of the rest stay as they are."""
    mark = f'"tools_from":"{word}"'
    if not meta:
        return f"{{{mark}}}" if text in (None, "{}") else f'{{{mark},"meta":{text}}}'
    assert text is not None
    if "tools_from" in meta:  # the source has a key of this name: it stays, a level deeper
        return f'{{{mark},"meta":{text}}}'
    return f"{text.rstrip()[:-1]},{mark}}}"


def _offered(trace: Trace, source: ToolSource, meta: Mapping[str, Any]) -> tuple[Tool, ...] | None:
    """Tools of the catalogue for a trace; None where it says nothing of the trace's harness."""
    assert source.catalogue is not None
    harness = meta.get("harness")
    harness = harness if isinstance(harness, str) else ""
    known = (harness, harness.partition(" ")[0])
    tools = next(
        (t for key, t in source.catalogue if key in known or fnmatchcase(harness, key)), None
    )
    if tools is None or source.offer == "all":
        return tools
    called = {call.name for call in _calls(trace)}
    # Without a call nothing is known of what was offered: an empty list would say "none".
    return tuple(tool for tool in tools if tool.name in called) if called else None


def _calls(trace: Trace) -> Iterator[ToolCall]:
    return (call for message in trace.messages for call in message.tool_calls)


def _inferred(trace: Trace) -> tuple[Tool, ...] | None:
    """A declaration for each called name, in order of first call; None where nothing is called."""
    seen: dict[str, list[str]] = {}
    for call in _calls(trace):
        if call.name:  # nothing can be declared without a name; `unknown_tool` finds such a call
            seen.setdefault(call.name, []).append(call.arguments)
    return (
        tuple(Tool(name=name, parameters=schema_of(calls)) for name, calls in seen.items()) or None
    )


def schema_of(calls: list[str]) -> str | None:
    """JSON Schema that accepts the arguments of all these calls of one tool; None: not known.

    Arguments that are no JSON are a slip of the model and say nothing of the tool.

    >>> schema_of(['{"a":1,"b":"x"}', '{"a":2.5}', '{"a":'])
    '{"type":"object","properties":{"a":{"type":"number"},"b":{"type":"string"}},"required":["a"]}'
    >>> schema_of(['{"a":1}', '"a text"']), schema_of(['ls -l'])
    (None, None)
    """
    types: dict[str, set[str]] = {}
    n_having: dict[str, int] = {}
    n_calls = 0
    for text in calls:
        try:
            value = _arguments(text)
        except (ValueError, RecursionError):
            continue
        if not isinstance(value, dict):
            return None
        n_calls += 1
        for key, argument in value.items():
            types.setdefault(key, set()).add(_type(argument))
            n_having[key] = n_having.get(key, 0) + 1
    if not n_calls:
        return None
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {key: {"type": _one_or_list(found)} for key, found in types.items()},
    }
    required = [key for key, n in n_having.items() if n == n_calls]
    if required:
        schema["required"] = required
    return jsontext.dump(schema)


def _arguments(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        # JSON that orjson refuses: halves of surrogate pairs, numbers beyond a float
        return json.loads(text, parse_int=float, parse_constant=_refuse_constant)


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(word)


def _type(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):  # also integers beyond 64 bits, which a number takes too
        return "number"
    return "string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"


def _one_or_list(found: set[str]) -> str | list[str]:
    kept = sorted(found - {"integer"} if "number" in found else found)
    return kept[0] if len(kept) == 1 else kept
