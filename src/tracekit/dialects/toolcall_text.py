"""Tool calls that a model wrote as text: `<tool_call>` around JSON objects or around XML.

Only text between the tags is a call. Plain JSON in an answer is an answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from tracekit import jsontext

OPEN = "<tool_call>"
CLOSE = "</tool_call>"
RESPONSE_OPEN = "<tool_response>"
RESPONSE_CLOSE = "</tool_response>"
MARKUP = (OPEN, CLOSE, RESPONSE_OPEN, RESPONSE_CLOSE)

_KEY = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_DECODER = json.JSONDecoder(strict=False, parse_int=str, parse_float=str)
_FUNCTION = re.compile(r"<function=([^>\s]+)>")
_PARAMETER = re.compile(r"<parameter=([^>\s]+)>\n?")
_NEXT_PARAMETER = re.compile(r"\n?</parameter>\s*(?=<parameter=|</function>)")


@dataclass(frozen=True, slots=True)
class Lifted:
    """What is left of a text, and its calls in order as (name, arguments as JSON text)."""

    content: str
    calls: tuple[tuple[str, str], ...]


ParameterTypes = Mapping[str, Mapping[str, str]]
"""Declared JSON type of each parameter, by tool name and parameter name."""


def lift(text: str, types: ParameterTypes | None = None) -> Lifted | None:
    """Calls of a text and the text without them; None where it holds none that parses.

    A tag inside a JSON string does not end a call. One unreadable call leaves the whole text as it
    is. Parameters of the XML form are text, unless the tool declares another type for them.

    >>> lift('Now. <tool_call>{"name": "say", "arguments": {"x": "a </tool_call> b"}}</tool_call>')
    Lifted(content='Now.', calls=(('say', '{"x":"a </tool_call> b"}'),))
    """
    if OPEN not in text:
        return None
    kept: list[str] = []
    calls: list[tuple[str, str]] = []
    place = 0
    while True:
        start = text.find(OPEN, place)
        if start < 0:
            break
        kept.append(text[place:start])
        block = _json_calls(text, start + len(OPEN)) or _xml_call(text, start + len(OPEN), types)
        if block is None:
            return None
        found, place = block
        calls.extend(found)
    kept.append(text[place:])
    content = "\n".join(piece for piece in map(str.strip, kept) if piece)
    return Lifted(content, tuple(calls))


def _skip_spaces(text: str, place: int) -> int:
    n = len(text)
    while place < n and text[place] in " \t\r\n":
        place += 1
    return place


def _close(text: str, place: int) -> int | None:
    """Place after the closing tag; the end of the text closes a last call too."""
    place = _skip_spaces(text, place)
    if text.startswith(CLOSE, place):
        return place + len(CLOSE)
    return place if place == len(text) else None


def _json_calls(text: str, place: int) -> tuple[list[tuple[str, str]], int] | None:
    calls = []
    place = _skip_spaces(text, place)
    while text.startswith("{", place):
        try:
            end = _DECODER.raw_decode(text, place)[1]
        except (ValueError, RecursionError):
            return None
        call = call_of(text[place:end])
        if call is None:
            return None
        calls.append(call)
        place = _skip_spaces(text, end)
        if text.startswith(",", place):
            place = _skip_spaces(text, place + 1)
    end_of_block = _close(text, place)
    return (calls, end_of_block) if calls and end_of_block is not None else None


def members(text: str) -> list[tuple[str, str]] | None:
    """Keys of a JSON object with the text of their values as written; None for anything else.

    >>> members('{"a": 1.50, "b": {"c": [1]}}')
    [('a', '1.50'), ('b', '{"c": [1]}')]
    """
    place = _skip_spaces(text, 0)
    if not text.startswith("{", place):
        return None
    found: list[tuple[str, str]] = []
    place = _skip_spaces(text, place + 1)
    try:
        while text.startswith('"', place):
            written = _KEY.match(text, place)
            if written is None:
                return None
            key = json.loads(written.group(), strict=False)
            place = _skip_spaces(text, written.end())
            if not text.startswith(":", place):
                return None
            start = _skip_spaces(text, place + 1)
            place = _DECODER.raw_decode(text, start)[1]
            found.append((key, text[start:place]))
            place = _skip_spaces(text, place)
            if text.startswith("}", place):
                return found
            if not text.startswith(",", place):
                return None
            place = _skip_spaces(text, place + 1)
    except (ValueError, RecursionError):
        return None
    return found if text.startswith("}", place) and not found else None


def call_of(text: str) -> tuple[str, str] | None:
    """Name and arguments of one call written as a JSON object; None where it is none.

    Arguments may stand under `arguments` or `parameters`, as an object or as JSON text; a call
    without either has none. What does not parse is no call.
    """
    plain = _plain_call(text)
    if plain is not None:
        return plain
    written = members(text)
    if written is None:
        return None
    keys = dict(written)
    if "function" in keys and "name" not in keys and keys["function"].startswith("{"):
        return call_of(keys["function"])
    if not keys.get("name", "").startswith('"'):
        return None
    name = json.loads(keys["name"], strict=False)
    raw = keys.get("arguments", keys.get("parameters", "{}"))
    if raw.startswith('"'):
        inner = json.loads(raw, strict=False)
        arguments = jsontext.compact(inner)
        return (name, inner if arguments is None else arguments) if name else None
    arguments = jsontext.compact(raw)
    if arguments is None:  # a control character inside a string: written so by some models
        arguments = jsontext.dump(json.loads(raw, strict=False))
    return (name, "{}" if arguments == "null" else arguments) if name else None


def lift_functions(text: str, types: ParameterTypes | None = None) -> Lifted | None:
    """Calls in bare `<function=name>` markup and the text before them; None where there are none.

    For turns that a source declares to be calls; elsewhere bare markup is text.

    >>> lift_functions("Count. <function=run><parameter=n>3</parameter></function>")
    Lifted(content='Count.', calls=(('run', '{"n":"3"}'),))
    """
    start = text.find("<function=")
    if start < 0:
        return None
    content = text[:start].strip()
    calls = []
    while start < len(text):
        found = _function(text, start, types)
        if found is None:
            return None
        calls.append(found[0])
        start = _skip_spaces(text, found[1])
    return Lifted(content, tuple(calls))


def _plain_call(text: str) -> tuple[str, str] | None:
    """`call_of` for the common spelling, in compiled code: a name and then an object."""
    spelled = jsontext.compact(text)
    if spelled is None or not spelled.startswith('{"name":"'):
        return None
    call = orjson.loads(spelled)
    if len(call) != 2 or not call["name"] or not isinstance(call.get("arguments"), dict):
        return None
    begin = f'{{"name":{orjson.dumps(call["name"]).decode()},"arguments":'
    arguments = spelled[len(begin) : -1]
    # Doubled keys would leave more text than the value has.
    if not spelled.startswith(begin) or jsontext.dump(call["arguments"]) != arguments:
        return None
    return call["name"], arguments


def _xml_call(
    text: str, place: int, types: ParameterTypes | None
) -> tuple[list[tuple[str, str]], int] | None:
    found = _function(text, place, types)
    end = None if found is None else _close(text, found[1])
    return None if found is None or end is None else ([found[0]], end)


def _function(
    text: str, place: int, types: ParameterTypes | None
) -> tuple[tuple[str, str], int] | None:
    function = _FUNCTION.match(text, _skip_spaces(text, place))
    if function is None:
        return None
    name = function.group(1)
    declared = (types or {}).get(name, {})
    place = _skip_spaces(text, function.end())
    arguments: dict[str, str] = {}
    while True:
        parameter = _PARAMETER.match(text, place)
        if parameter is None:
            break
        end = _NEXT_PARAMETER.search(text, parameter.end())
        if end is None:
            return None
        value = text[parameter.end() : end.start()]
        typed = declared.get(parameter.group(1), "string") != "string"
        spelled = jsontext.compact(value) if typed else None
        arguments[parameter.group(1)] = jsontext.dump(value) if spelled is None else spelled
        place = end.end()
    if not text.startswith("</function>", place):
        return None
    members_text = ",".join(f"{jsontext.dump(key)}:{value}" for key, value in arguments.items())
    return (name, f"{{{members_text}}}"), place + len("</function>")


def responses(text: str) -> list[str] | None:
    """Results inside `<tool_response>` tags, where a text is nothing but such blocks.

    >>> responses("<tool_response>21</tool_response>\\n<tool_response>4</tool_response>")
    ['21', '4']
    """
    bare = text.strip()
    if not bare.startswith(RESPONSE_OPEN) or not bare.endswith(RESPONSE_CLOSE):
        return None
    inner = bare[len(RESPONSE_OPEN) : -len(RESPONSE_CLOSE)]
    pieces = re.split(rf"{RESPONSE_CLOSE}\s*{RESPONSE_OPEN}", inner)
    if any(RESPONSE_OPEN in piece or RESPONSE_CLOSE in piece for piece in pieces):
        return None
    return [piece.strip("\n") for piece in pieces]
