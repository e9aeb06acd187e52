"""Results of several calls that one tool message holds as a JSON list, as messages of their own."""

from __future__ import annotations

from typing import Any

from tracekit import jsontext
from tracekit.codes import Code
from tracekit.dialects.conversation import add_meta
from tracekit.dialects.dialect import Notes
from tracekit.errors import BadRecord

UNPACKED = Code(
    name="results_unpacked",
    kind="repair",
    what="One tool message held the results of several calls as a JSON list with their names; "
    "each is a message.",
    why="Else all calls but the first would seem to have no result.",
)


def split(messages: list[dict[str, Any]], notes: Notes) -> list[dict[str, Any]]:
    """Messages with packed results taken apart; only where names and number are those of the calls.

    >>> calls = [{"id": "", "name": "a", "arguments": "{}"}] * 2
    >>> packed = '[{"name": "a", "content": "1"}, {"name": "a", "content": "2"}]'
    >>> said = [{"role": "assistant", "tool_calls": calls}, {"role": "tool", "content": packed}]
    >>> [m.get("content") for m in split(said, Notes())]
    [None, '1', '2']
    """
    found: list[dict[str, Any]] = []
    for message in messages:
        calls = found[-1].get("tool_calls", ()) if found else ()
        results = _packed(message, calls) if len(calls) > 1 else None
        if results is None:
            found.append(message)
            continue
        for k, (result, call) in enumerate(zip(results, calls, strict=True)):
            one = {key: v for key, v in message.items() if key != "content"} if k == 0 else {}
            content = result["content"]
            text = content if isinstance(content, str) else jsontext.dump(content)
            one |= {"role": "tool", "name": call["name"]}
            if text:
                one["content"] = text
            for key, v in result.items():
                if key not in ("name", "content") and v is not None:
                    add_meta(one, key, v)
            found.append(one)
        notes.repair(UNPACKED.name, len(results))
    return found


def _packed(message: dict[str, Any], calls: Any) -> list[dict[str, Any]] | None:
    content = message.get("content")
    if message["role"] != "tool" or message.get("tool_call_id") or content is None:
        return None
    if not content.lstrip().startswith("[{"):
        return None
    try:
        value = jsontext.parse(content.encode("utf-8", "replace"))
    except BadRecord:
        return None
    if not isinstance(value, list) or len(value) != len(calls):
        return None
    for result, call in zip(value, calls, strict=True):
        if not isinstance(result, dict) or "content" not in result:
            return None
        if result.get("name") != call["name"]:
            return None
    return value
