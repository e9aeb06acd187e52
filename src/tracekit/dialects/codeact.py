"""Dialect `codeact`: conversations of CodeActInstruct, programs between `<execute>` tags.

{"id": "d/1", "conversations": [
 {"role": "system", "content": "... using \\"<execute>\\" tag ... <solution> A </solution>."},
 {"role": "user", "content": "Task:\\nHow many?"},
 {"role": "assistant", "content": "Let me count.\\n<execute>\\nshow(3 + 4)\\n</execute>"},
 {"role": "user", "content": "Observation:\\n7\\nYou have 4 steps left ..."},
 {"role": "assistant", "content": "The answer is <solution> 7 </solution>."}]}

Decided here: (1) By default programs and observations stay text, as they were sent. (2) `calls:
lift` makes a program a call `execute` (declared as inferred: the names are ours) and the
observation behind it its result; the paragraph that asks for the tags goes to
`meta.format_instruction`. (3) An observation on a proposed solution ("Your answer is wrong.") is no
result of a call: it stays the user's. (4) Tags of the solution are part of the words of the answer:
other turns of the prompt speak about them. (5) Words before a program are content, not reasoning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracekit import jsontext
from tracekit.codes import Code
from tracekit.dialects import conversation, record_keys
from tracekit.dialects.dialect import Dialect, Notes, Option, Record
from tracekit.errors import BadRecord

CODES = (
    Code(
        name="executions_lifted",
        kind="repair",
        what="A program between `<execute>` tags became a call, the observation behind it its "
        "result, and the paragraph that asks for the tags went to the meta.",
        fix="Option `calls: as_text` leaves them as they are.",
    ),
)
CALLS = Option(
    name="calls",
    choices=("as_text", "lift"),
    what="Programs between `<execute>` tags: left as text, or made calls with their results.",
)

_LISTS = ("conversations", "messages")
_OPEN, _CLOSE = "<execute>", "</execute>"
_OBSERVED = "Observation:\n"
MARKUP = (_OPEN, _CLOSE, _OBSERVED)
"""What lifting takes out of a text."""
_ASKED = ("At each turn, you should first provide your step-by-step thinking", "</solution>.")
"""First and last words of the paragraph that asks for the tags."""
_TOOL = {
    "name": "execute",
    "description": None,
    "parameters": jsontext.dump(
        {"type": "object", "properties": {"code": {"type": "string"}}, "required": ["code"]}
    ),
    "inferred": True,
}
_ROLES = ("system", "user", "assistant")


def fits(value: Any) -> str:
    """Evidence that a conversation asks for programs between `<execute>` tags.

    >>> asked = 'Your code should be enclosed using "<execute>" tag, <solution> A </solution>.'
    >>> fits({"conversations": [{"role": "system", "content": asked}]})
    'conversations that ask for <execute>'
    """
    key = _list_key(value)
    if key is None:
        return ""
    text = value[key][0]["content"]
    known = f'"{_OPEN}" tag' in text and "<solution>" in text
    return f"{key} that ask for {_OPEN}" if known else ""


def _list_key(value: Any) -> str | None:
    for key in _LISTS:
        held = value.get(key) if isinstance(value, dict) else None
        first = held[0] if isinstance(held, list) and held else None
        if isinstance(first, dict) and "role" in first and isinstance(first.get("content"), str):
            return key
    return None


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The one trace of a record."""
    value = records[0].value
    if not isinstance(value, dict):
        raise BadRecord("not_an_object", f"the record is {type(value).__name__}")
    key = _list_key(value)
    if key is None:
        raise BadRecord("no_messages", "no turns with role and content")
    messages = [_message(turn, k) for k, turn in enumerate(value[key])]
    fields, meta = record_keys.describe(value, {key}, notes)
    tools = None
    if options.get("calls") == "lift":
        tools = _lift(messages, meta, notes)
    conversation.finish(messages, notes, meta)
    return [record_keys.trace(messages, tools, fields, meta, notes)]


def _message(turn: Any, k: int) -> dict[str, Any]:
    if not isinstance(turn, dict):
        raise conversation.refuse_message(turn, k)
    role, text = turn.get("role"), turn.get("content")
    if role not in _ROLES:
        raise BadRecord("unknown_role", f"turn {k} has the role {role!r:.60}")
    if text is not None and not isinstance(text, str):
        raise BadRecord("content_not_text", f"turn {k} is {type(text).__name__}")
    message: dict[str, Any] = {"role": role, "content": text or None}
    for key, v in turn.items():
        if key not in ("role", "content") and v is not None:
            conversation.add_meta(message, key, v)
    return message


def _lift(
    messages: list[dict[str, Any]], meta: dict[str, Any], notes: Notes
) -> list[dict[str, Any]] | None:
    """Makes programs calls, in place; gives the tools, None where no program stood."""
    n_lifted = 0
    for k, message in enumerate(messages):
        text = message["content"] or ""
        before = messages[k - 1] if k else {}
        if message["role"] == "user" and "tool_calls" in before and text.startswith(_OBSERVED):
            message["role"] = "tool"
            message["content"] = text.removeprefix(_OBSERVED) or None
        elif message["role"] == "assistant":
            words, opened, rest = text.partition(_OPEN)
            program, closed, after = rest.partition(_CLOSE)
            # Words behind a program, or a second one, have no place before the result.
            if opened and closed and not after.strip():
                message["content"] = words.strip() or None
                arguments = jsontext.dump({"code": program.strip("\n")})
                message["tool_calls"] = [{"id": "", "name": "execute", "arguments": arguments}]
                n_lifted += 1
    if not n_lifted:
        return None
    notes.repair("executions_lifted", n_lifted)
    first = messages[0]["content"] or ""
    start = first.find(_ASKED[0])
    end = first.find(_ASKED[1], start)
    if start >= 0 and end >= 0:
        end += len(_ASKED[1])
        meta["format_instruction"] = first[start:end]
        messages[0]["content"] = (first[:start].rstrip() + "\n\n" + first[end:].lstrip()).strip()
    return [dict(_TOOL)]


dialect = Dialect(
    name="codeact",
    version=1,
    unit="record",
    fits=fits,
    read=read,
    codes=(*conversation.CODES, *record_keys.CODES, *CODES),
    options=(CALLS,),
)
