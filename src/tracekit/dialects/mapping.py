"""A field mapping in a recipe instead of a dialect: where things stand in a record, by path.

For records such as

    {"log": {"turns": [{"who": "human", "said": "9*4?"}, {"who": "bot", "said": "36"}], "n": 7}}

a recipe says of its source

    mapping: {messages: log.turns, role_key: who, role: {human: user, bot: assistant},
              content: said, id: log.n}

A step of a path is a key, or a number for the place in a list; `\\.` is a dot in a key, and `.`
alone is the record itself. Nothing is guessed: a role that the mapping does not name is a reject, a
key that it does not name is kept in `meta` and counted. Messages are read as the dialect `openai`
reads them, so think tags and calls written as text are found, by its option `calls`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tracekit import jsontext
from tracekit.codes import Code
from tracekit.dialects import MAPPING, conversation, declarations, openai, record_keys
from tracekit.dialects.dialect import Dialect, Notes, Record
from tracekit.errors import BadRecord

VERSION = 1

CODES = (
    Code(
        name="mapped_path_missing",
        kind="reject",
        what="The record holds nothing at a path that the mapping needs; the detail names it.",
        fix="Correct the path under `mapping:`, or leave these records out.",
    ),
    Code(
        name="mapped_value_not_text",
        kind="reject",
        what="What the mapping names as an id, an answer or a text is an object or a list.",
        fix="Let the path go on to the text inside of it.",
    ),
)

_MISSING: Any = object()
_ROLES = ("system", "user", "assistant", "tool")
_TURN_KEYS = {
    "content": "content",
    "reasoning": "reasoning_content",
    "tool_calls": "tool_calls",
    "tool_call_id": "tool_call_id",
    "name": "name",
    "weight": "weight",
}
"""Keys of the mapping that are paths in a message, with the key that `openai` reads."""
_FIELDS = {
    "id": "source_id",
    "session": "session_id",
    "task": "task_key",
    "model": "model",
    "answer": "answer",
}
"""Keys of the mapping that are texts of the record, with their field in a trace."""


def steps_of(path: str) -> tuple[str, ...]:
    r"""Steps of a dotted path.

    >>> steps_of("log.turns"), steps_of("."), steps_of(r"a\.b.0")
    (('log', 'turns'), (), ('a.b', '0'))
    """
    if path == ".":
        return ()
    return tuple(step.replace("\\.", ".") for step in re.split(r"(?<!\\)\.", path))


def at(value: Any, path: str) -> Any:
    """What stands at a path, or `_MISSING`; null is nothing."""
    for step in steps_of(path):
        if isinstance(value, dict):
            value = value.get(step, _MISSING)
        elif isinstance(value, list) and step.isascii() and step.isdigit() and len(step) < 10:
            value = value[int(step)] if int(step) < len(value) else _MISSING
        else:
            return _MISSING
    return _MISSING if value is None else value


def without(value: Any, paths: Sequence[str]) -> Any:
    """A copy of a value without what stands at the paths; what becomes empty goes too.

    >>> without({"log": {"turns": [1], "n": 7}, "k": 1}, ["log.turns", "k"])
    {'log': {'n': 7}}
    """
    for path in paths:
        value = _cut(value, steps_of(path))
    return value


def _cut(value: Any, steps: Sequence[str]) -> Any:
    if not steps:
        return None
    step, rest = steps[0], steps[1:]
    if isinstance(value, dict) and step in value:
        inner = _cut(value[step], rest)
        kept = {k: v for k, v in value.items() if k != step or inner not in (None, {}, [])}
        if step in kept:
            kept[step] = inner
        return kept
    if isinstance(value, list) and step.isascii() and step.isdigit() and len(step) < 10:
        k = int(step)
        held = [_cut(v, rest) if place == k else v for place, v in enumerate(value)]
        return held if any(v not in (None, {}, []) for v in held) else []
    return value


def dialect_of(mapping: Mapping[str, Any]) -> Dialect:
    """The dialect that reads records by a mapping, as the recipe's section has it."""
    given = {key: v for key, v in mapping.items() if v is not None}

    def fits(value: Any) -> str:
        if "messages" in given:
            held = at(value, given["messages"])
            return f"messages at {given['messages']}" if isinstance(held, (list, str)) else ""
        both = isinstance(at(value, given["prompt"]), str) and at(value, given["response"])
        return "prompt and response" if isinstance(both, str) else ""

    def read(
        records: Sequence[Record], notes: Notes, options: Mapping[str, str]
    ) -> list[dict[str, Any]]:
        return [_trace(records[0].value, given, notes, options)]

    return Dialect(
        name="mapping",
        version=VERSION,
        unit="record",
        fits=fits,
        read=read,
        codes=(*CODES, *openai.CODES),
        ignores=openai.IGNORES,
        options=(openai.CALLS,),
    )


def named(name: str) -> Dialect:
    """The dialect of a name that `name_of` gave."""
    return dialect_of(json.loads(name.removeprefix(MAPPING)))


def name_of(mapping: Mapping[str, Any]) -> str:
    """A name under which another process gets the same dialect."""
    return MAPPING + json.dumps(mapping, sort_keys=True)


def _trace(
    value: Any, given: Mapping[str, Any], notes: Notes, options: Mapping[str, str]
) -> dict[str, Any]:
    fields, used = _fields(value, given)
    tools = None
    if "tools" in given:
        declared = at(value, given["tools"])
        tools = None if declared is _MISSING else declarations.read_tools(declared)
        used.append(given["tools"])
    meta: dict[str, Any] = {}
    turns = _turns(value, given, used) if "messages" in given else _pair(value, given, used)
    messages: list[dict[str, Any]] = []
    for turn, rest in turns:
        read = openai.read_turns([turn], tools, notes, options)
        for key, v in rest.items():
            notes.unknown(key)
            conversation.add_meta(read[0], key, v)
        messages += read
    left = without(value, used)
    if isinstance(left, dict):
        for key, v in left.items():
            if v is not None:
                notes.unknown(key)
                meta[key] = v
    elif left not in (None, []):
        meta["beside"] = left
        notes.unknown("beside")
    conversation.finish(messages, notes, meta)
    return record_keys.trace(messages, tools, fields, meta, notes)


def _fields(value: Any, given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Fields of the trace that the mapping names, and the paths that they were read from."""
    fields: dict[str, Any] = {}
    used: list[str] = []
    for key, field in _FIELDS.items():
        if key in given:
            found = at(value, given[key])
            if found is not _MISSING:
                fields[field] = _text(found, given[key], key)
            used.append(given[key])
    outcomes = []
    for path, kind in (given.get("outcomes") or {}).items():
        found = at(value, path)
        if found is not _MISSING:
            name = steps_of(path)[-1] if steps_of(path) else path
            outcomes.append({"value": jsontext.dump(found), "kind": kind, "name": name})
        used.append(path)
    if outcomes:
        fields["outcomes"] = outcomes
    return fields, used


def _text(found: Any, path: str, key: str) -> str:
    if isinstance(found, str):
        return found
    if isinstance(found, (dict, list)):
        kind = "an object" if isinstance(found, dict) else "a list"
        raise BadRecord("mapped_value_not_text", f"{key}: {path} is {kind}")
    return jsontext.dump(found)


def _needed(value: Any, path: str, key: str) -> Any:
    found = at(value, path)
    if found is _MISSING:
        here = ", ".join(list(value)[:12]) if isinstance(value, dict) else type(value).__name__
        raise BadRecord("mapped_path_missing", f"{key}: nothing at {path}; here: {here}")
    return found


def _system(value: Any, given: Mapping[str, Any], used: list[str]) -> list[dict[str, Any]]:
    if "system" not in given:
        return []
    used.append(given["system"])
    found = at(value, given["system"])
    if found is _MISSING or found == "":
        return []
    return [{"role": "system", "content": _text(found, given["system"], "system")}]


Turns = list[tuple[dict[str, Any], dict[str, Any]]]
"""Messages as `openai` reads them, each with the keys that the mapping does not name."""


def _pair(value: Any, given: Mapping[str, Any], used: list[str]) -> Turns:
    """A prompt and its response as two messages."""
    prompt = _needed(value, given["prompt"], "prompt")
    reply = {"role": "assistant", "content": _needed(value, given["response"], "response")}
    used += [given["prompt"], given["response"]]
    if "reasoning" in given:
        thought = at(value, given["reasoning"])
        if thought is not _MISSING:
            reply["reasoning_content"] = _text(thought, given["reasoning"], "reasoning")
        used.append(given["reasoning"])
    asked = [*_system(value, given, used), {"role": "user", "content": prompt}]
    return [(turn, {}) for turn in (*asked, reply)]


def _turns(value: Any, given: Mapping[str, Any], used: list[str]) -> Turns:
    path = given["messages"]
    held = _needed(value, path, "messages")
    used.append(path)
    if isinstance(held, str):
        try:
            held = jsontext.parse(held.encode("utf-8", "replace"))
        except BadRecord as error:
            raise BadRecord("no_messages", f"{path} is no JSON: {error.detail}") from None
    if not isinstance(held, list):
        raise BadRecord("no_messages", f"{path} is {type(held).__name__}")
    turns: Turns = [(turn, {}) for turn in _system(value, given, used)]
    paths = {key: given[key] for key in _TURN_KEYS if key in given}
    for k, entry in enumerate(held):
        if not isinstance(entry, dict):
            raise conversation.refuse_message(entry, k)
        turn: dict[str, Any] = {"role": _role(entry, k, given)}
        for key, inner in paths.items():
            found = at(entry, inner)
            if found is not _MISSING:
                turn[_TURN_KEYS[key]] = found
        rest = without(entry, [given["role_key"], *paths.values()])
        turns.append((turn, {key: v for key, v in (rest or {}).items() if v is not None}))
    return turns


def _role(entry: dict[str, Any], k: int, given: Mapping[str, Any]) -> str:
    path = given["role_key"]
    written = at(entry, path)
    if written is _MISSING:
        raise BadRecord("message_not_object", f"messages[{k}] has nothing at {path}")
    known = given.get("role") or dict(zip(_ROLES, _ROLES, strict=True))
    role = known.get(written) if isinstance(written, str) else None
    if role is None:
        names = ", ".join(known)
        raise BadRecord(
            "unknown_role", f"messages[{k}].{path} is {written!r:.60}; the mapping knows {names}"
        )
    return str(role)
