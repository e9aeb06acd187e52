"""Dialect `tooltalk`: dialogues whose turns hold the requests and responses of their tools.

{"name": "Alarm-Add-0", "conversation_id": "c1", "apis_used": ["AddAlarm"], "user": {...},
 "conversation": [{"index": 0, "role": "user", "text": "Wake me at 8."},
  {"index": 1, "role": "assistant", "text": "Done.", "apis": [{"request": {"api_name": "AddAlarm",
   "parameters": {"time": "08:00:00"}}, "response": {"alarm_id": "5b"}, "exception": null}]}]}

Decided here: (1) Each request is a message of its own, followed by its result: later requests of a
turn hold tokens and ids that earlier results gave. The text of the turn comes after them.
(2) An exception is the result, with its error flag. (3) Scenario, user and metadata are the script
of the harness, not said to anybody: meta. The tools are declared in code, not here: null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracekit import jsontext
from tracekit.dialects import conversation, record_keys
from tracekit.dialects.dialect import Dialect, Notes, Record
from tracekit.errors import BadRecord

_ROLES = {"user": "user", "assistant": "assistant", "system": "system"}
_USED = frozenset(("conversation", "name", "conversation_id"))
_TURN_KEYS = frozenset(("index", "role", "text", "apis"))
_API_KEYS = frozenset(("request", "response", "exception"))


def fits(value: Any) -> str:
    """Evidence that a record is a dialogue with requests in its turns.

    >>> fits({"apis_used": [], "conversation": [{"role": "user", "text": "Wake me."}]})
    'conversation with text and apis'
    """
    if not isinstance(value, dict) or "apis_used" not in value:
        return ""
    turns = value.get("conversation")
    first = turns[0] if isinstance(turns, list) and turns else None
    known = isinstance(first, dict) and isinstance(first.get("text"), str) and "role" in first
    return "conversation with text and apis" if known else ""


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The one trace of a record."""
    value = records[0].value
    if not isinstance(value, dict):
        raise BadRecord("not_an_object", f"the record is {type(value).__name__}")
    turns = value.get("conversation")
    if not isinstance(turns, list) or not turns:
        raise BadRecord("no_messages", "conversation is no list of turns")
    messages: list[dict[str, Any]] = []
    for k, turn in enumerate(turns):
        messages.extend(_turn(turn, k, notes))
    fields, meta = record_keys.describe(value, _USED, notes)
    for key, name in (("source_id", "name"), ("session_id", "conversation_id")):
        given = value.get(name)
        if isinstance(given, str) and given:
            fields[key] = given
        elif given is not None:
            meta[name] = given
    conversation.finish(messages, notes, meta)
    return [record_keys.trace(messages, None, fields, meta, notes)]


def _turn(turn: Any, k: int, notes: Notes) -> list[dict[str, Any]]:
    if not isinstance(turn, dict):
        raise conversation.refuse_message(turn, k)
    written = turn.get("role")
    role = _ROLES.get(written) if isinstance(written, str) else None
    if role is None:
        raise BadRecord("unknown_role", f"conversation[{k}] has the role {written!r:.60}")
    text = turn.get("text")
    if text is not None and not isinstance(text, str):
        raise BadRecord("content_not_text", f"conversation[{k}].text is {type(text).__name__}")
    requests = turn.get("apis") or []
    if not isinstance(requests, list) or (requests and role != "assistant"):
        raise BadRecord("bad_tool_call", f"conversation[{k}].apis")
    messages = []
    for request in requests:
        messages.extend(_request(request, k, notes))
    message: dict[str, Any] = {"role": role}
    if text:
        message["content"] = text
    for key, v in turn.items():
        if key not in _TURN_KEYS and v is not None:
            conversation.add_meta(message, key, v)
    if text or not requests or "meta" in message:
        messages.append(message)
    return messages


def _request(entry: Any, k: int, notes: Notes) -> list[dict[str, Any]]:
    request = entry.get("request") if isinstance(entry, dict) else None
    name = request.get("api_name") if isinstance(request, dict) else None
    if not isinstance(entry, dict) or not isinstance(request, dict):
        raise BadRecord("bad_tool_call", f"conversation[{k}] has a request that is no object")
    if not isinstance(name, str) or not name:
        raise BadRecord("bad_tool_call", f"conversation[{k}] has a request without api_name")
    arguments = conversation.arguments_text(request.get("parameters"), notes)
    call = {"id": "", "name": name, "arguments": arguments}
    message: dict[str, Any] = {"role": "assistant", "tool_calls": [call]}
    rest = {key: v for key, v in entry.items() if key not in _API_KEYS and v is not None}
    rest |= {key: v for key, v in request.items() if key not in ("api_name", "parameters")}
    if rest:
        message["meta"] = {"request": rest}
    if "response" not in entry and "exception" not in entry:
        return [message]
    response, exception = entry.get("response"), entry.get("exception")
    given = exception if exception is not None else response
    if given is not None and not isinstance(given, str):
        given = jsontext.dump(given)
        notes.repair("result_was_object")
    result: dict[str, Any] = {"role": "tool", "content": given or None}
    result["error"] = exception is not None
    if exception is not None and response is not None:
        result["meta"] = {"response": response}
    return [message, result]


dialect = Dialect(
    name="tooltalk",
    version=1,
    unit="record",
    fits=fits,
    read=read,
    codes=(*conversation.CODES, *record_keys.CODES),
)
