"""Dialect `openai_responses`: recorded exchanges of the Responses API.

A record is a request with its response, or a response alone:

    {"request": {"model": "m-1", "instructions": "Be brief.", "previous_response_id": null,
                 "input": [{"role": "user", "content": "Is it raining in Oslo?"}]},
     "response": {"object": "response", "id": "resp_1", "status": "completed", "output": [
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
        {"type": "function_call", "call_id": "c1", "name": "rain", "arguments": "{}"}]}}

Exchanges of one conversation are one trace, joined by `previous_response_id`, by `conversation`,
else by their history: an exchange whose items stand at the beginning of a later request, reasoning
and JSON spacing aside, is continued by it. What the model said is taken from the exchange in which
it said it, not from the replay. Forks are a trace each. Decided here:

- A unit is a file, with the files that name its responses or conversations: history is looked for
  where a record stands, ids are looked for everywhere. Records with a `cassette` are joined only
  within it: recordings make ids anonymous, so that they repeat.
- Where the parent of an exchange is nowhere, its history is on the server only: rejects.
- A summary of the reasoning is context and no target; an empty one with encrypted text is
  withheld. Encrypted text is left out.
- A compaction is a cut: what stood before it is a trace, what follows is another one with
  `meta.continues`. Its text is encrypted, so the second one begins without it. User messages that
  a compacted history keeps before the compaction are part of the second trace.
- Calls that the provider runs are calls; where their result is in the item it is a tool message,
  else the call is no target. Declarations of MCP servers are what the server listed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracekit import jsontext
from tracekit.dialects import conversation, declarations, record_keys, session_log, streams
from tracekit.dialects import openai_responses_items as items
from tracekit.dialects.dialect import Dialect, Notes, Record
from tracekit.dialects.openai_responses_links import (
    HISTORY,
    MATCHED,
    Exchange,
    joined,
    leaves,
    match_ids,
)
from tracekit.errors import BadRecord


def fits(value: Any) -> str:
    """Evidence that a record is an exchange of the Responses API.

    >>> fits({"object": "response", "id": "resp_1", "output": []})
    'a response with output'
    """
    if not isinstance(value, dict):
        return ""
    request = value.get("request")
    if isinstance(request, dict):
        if "messages" in request or "contents" in request:
            return ""
        answered = _is_response(value.get("response"))
        if answered and ("input" in request or "previous_response_id" in request):
            return "request with input and a response"
        return ""
    return "a response with output" if "request" not in value and _is_response(value) else ""


def links(value: Any) -> list[str]:
    """Responses and conversations that a record is tied to, in whatever file the others stand.

    >>> links({"request": {"previous_response_id": "resp_1"}, "response": {"id": "resp_2"}})
    ['resp_1', 'resp_2']
    """
    if not isinstance(value, dict) or "cassette" in value:
        return []
    request, response = value.get("request"), value.get("response")
    if not isinstance(request, dict):
        request, response = {}, value
    if not isinstance(response, dict):
        response = {}
    found = [request.get("previous_response_id"), response.get("id")]
    for one in (request.get("conversation"), response.get("conversation")):
        found.append(one.get("id") if isinstance(one, dict) else one)
    return [name for name in found if isinstance(name, str) and name]


def _is_response(value: Any) -> bool:
    if isinstance(value, str):
        return '"type":"response.' in value[:400] or "event: response." in value[:400]
    if not isinstance(value, dict):
        return False
    return str(value.get("object")).startswith("response") and isinstance(value.get("output"), list)


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Traces of the exchanges of one file."""
    exchanges = []
    for record in records:
        try:
            exchanges.append(_exchange(record, notes))
        except BadRecord as error:
            notes.reject(record, error.code, error.detail)
    exchanges = joined(exchanges)
    traces = []
    kept: set[int] = set()
    refused: dict[int, BadRecord] = {}
    for path in leaves(exchanges):
        try:
            traces.append(_trace(path, notes))
        except BadRecord as error:
            for one in path:
                refused.setdefault(id(one.record), error)
            continue
        kept.update(id(one.record) for one in path)
    told: set[int] = set()
    for one in exchanges:
        place = id(one.record)
        if place not in kept and place not in told:
            told.add(place)
            reason = refused[place]
            notes.reject(one.record, reason.code, reason.detail)
    return traces


def _exchange(record: Record, notes: Notes) -> Exchange:
    value = record.value
    if not isinstance(value, dict):
        raise BadRecord("not_an_object", f"the record is {type(value).__name__}")
    request, response = value.get("request"), value.get("response")
    if not isinstance(request, dict):
        request, response = {}, value if "output" in value else response
    if isinstance(response, str):
        response = streams.responses_reply(response)
        notes.repair("stream_joined")
    if response is None:
        response = {}
    if not isinstance(response, dict):
        raise BadRecord("error_response", f"the response is {type(response).__name__}")
    if response.get("error"):
        raise BadRecord("error_response", jsontext.dump(response["error"])[:300])
    given = request.get("input")
    if isinstance(given, str):
        given = [{"role": "user", "content": given}] if given else []
    output = response.get("output")
    if not isinstance(given or [], list) or not isinstance(output or [], list):
        raise BadRecord("no_messages", "input or output is no list of items")
    return Exchange(record, request, response, list(given or ()), list(output or ()))


def _trace(path: list[Exchange], notes: Notes) -> dict[str, Any]:
    """The trace of exchanges that follow each other; the last ones may only describe it."""
    said = [one for one in path if one.says]
    last = said[-1] if said else path[-1]
    missing = next((one.missing for one in path if one.missing), "")
    if missing:
        raise BadRecord(HISTORY.name, missing)
    match_ids(path, notes)
    telling = items.Telling(notes)
    meta: dict[str, Any] = {}
    instructions = _instructions(path, meta)
    if instructions:
        telling.messages.append({"role": "system", "content": instructions})
    n_items = 0
    for one in said:
        for item in one.own_input:
            telling.add(item, n_items)
            n_items += 1
        if one.own_output:
            telling.close()
            for item in one.own_output:
                telling.add(item, n_items)
                n_items += 1
            telling.close(**_generated(one))
    telling.close()
    if not any(message["role"] == "assistant" for message in telling.messages):
        status = last.response.get("status")
        raise BadRecord(streams.NO_REPLY.name, f"its status is {status!r:.60}, without output")
    tools = _tools(said or path, telling, meta)
    fields = _describe(path, last, meta, notes)
    if telling.others:
        meta["items"] = telling.others
    replayed = _replayed_reasoning(path, telling.messages)
    if replayed:
        meta["replayed_reasoning"] = replayed
    if path[0].continues is not None:
        meta["continues"] = path[0].continues
    session_log.set_model(telling.messages, fields)
    conversation.finish(telling.messages, notes, meta)
    trace = record_keys.trace(telling.messages, tools, fields, meta, notes)
    trace["rows"] = sorted({(one.record.file, one.record.row) for one in path})
    return trace


def _generated(one: Exchange) -> dict[str, Any]:
    """What an exchange says about the last message of its output."""
    response = one.response
    reason = response.get("status")
    details = response.get("incomplete_details")
    if isinstance(details, dict) and isinstance(details.get("reason"), str):
        reason = details["reason"]
    return {
        "finish_reason": reason,
        "model": response.get("model"),
        "response": response.get("id"),
        "timestamp": response.get("created_at"),
        "usage": response.get("usage"),
    }


def _instructions(path: list[Exchange], meta: dict[str, Any]) -> str | None:
    """System text of the last exchange that has one; others that differ go to the meta."""
    every: list[str] = []
    system = None
    for one in path:
        text = one.request.get("instructions", one.response.get("instructions"))
        if isinstance(text, str) and text:
            every.append(text)
            system = text if one.says or system is None else system
    others = [text for text in dict.fromkeys(every) if text != system]
    if others:
        meta["other_instructions"] = others
    return system


_CREDENTIALS = frozenset(("authorization", "headers"))


def _tools(
    path: list[Exchange], telling: items.Telling, meta: dict[str, Any]
) -> list[dict[str, Any]] | None:
    """Tools of all exchanges, the latest declaration of each; what MCP servers listed."""
    declared: list[Any] | None = None
    servers: list[Any] = []
    for one in path:
        given = one.request.get("tools", one.response.get("tools"))
        if given is None:
            continue
        if not isinstance(given, list):
            raise BadRecord("tools_not_list", f"tools are {type(given).__name__}")
        declared = declared if declared is not None else []
        for tool in given:
            if isinstance(tool, dict) and tool.get("type") == "mcp":
                server = {key: v for key, v in tool.items() if key not in _CREDENTIALS}
                if server not in servers:
                    servers.append(server)
            else:
                declared.append(tool)
    for label, tool in telling.listed:
        declared = declared if declared is not None else []
        declared.append({**tool, "server_label": label} if isinstance(tool, dict) else tool)
    if servers:
        meta["mcp_servers"] = servers
    found = declarations.read_tools(declared)
    if found is None:
        return None
    latest: dict[str, dict[str, Any]] = {}
    for tool in found:
        before = latest.get(tool["name"])
        if before is not None and before != tool:
            meta.setdefault("tools_before", []).append(before)
        latest[tool["name"]] = tool
    return list(latest.values())


_USED_IN_REQUEST = frozenset(
    ("input", "instructions", "tools", "previous_response_id", "conversation", "model")
)
_USED_IN_RESPONSE = frozenset(
    (
        *("output", "instructions", "tools", "previous_response_id", "conversation", "object"),
        *("id", "model", "status", "usage", "created_at", "incomplete_details"),
    )
)


def _describe(
    path: list[Exchange], last: Exchange, meta: dict[str, Any], notes: Notes
) -> dict[str, Any]:
    """Fields of the trace, and in its meta what the exchanges say beside their items."""
    value = last.record.value
    used = frozenset(("request", "response")) if "request" in value else frozenset(value)
    fields, described = record_keys.describe(value, used, notes)
    meta.update(described)
    if isinstance(last.response.get("id"), str):
        fields["source_id"] = last.response["id"]
    session = next((one.session for one in path if one.session), None)
    if session is not None:
        fields["session_id"] = session
    model = last.response.get("model", last.request.get("model"))
    if isinstance(model, str):
        fields["model"] = model
    request, response = _beside(last)
    if request:
        meta["request"] = request
    if response:
        meta["response"] = response
    others: list[dict[str, Any]] = []
    for one in path:
        if one is not last:
            asked, answered = _beside(one)
            envelope = {k: v for k, v in one.record.value.items() if k not in used}
            if not one.own_output:  # no message of its own names it
                envelope["response"] = one.response.get("id")
            kept = {
                key: v
                for key, v in {**answered, **asked, **envelope}.items()
                if v not in (request.get(key), response.get(key), value.get(key)) and _has_text(v)
            }
            if kept and kept not in others:
                others.append(kept)
    if others:
        meta["other_exchanges"] = others
    return fields


def _beside(one: Exchange) -> tuple[dict[str, Any], dict[str, Any]]:
    """What request and response hold beside their items; what the response repeats, once."""
    asked = {k: v for k, v in one.request.items() if k not in _USED_IN_REQUEST and v is not None}
    answered = {
        key: v
        for key, v in one.response.items()
        if key not in _USED_IN_RESPONSE and v is not None and asked.get(key) != v
    }
    return asked, answered


def _has_text(value: Any) -> bool:
    return isinstance(value, (str, dict, list)) and bool(value)


def _replayed_reasoning(path: list[Exchange], messages: list[dict[str, Any]]) -> list[str]:
    """Reasoning that only the replay of a message holds."""
    texts: list[str] = []
    for one in path:
        for item in one.replayed:
            if isinstance(item, dict) and items.kind_of(item) == "reasoning":
                full, summaries = items.reasoning_texts(item)
                texts.extend([*full, *summaries])
    if not texts:
        return []
    told = "\0".join(m["reasoning"] for m in messages if m.get("reasoning"))
    return [text for text in dict.fromkeys(texts) if text not in told]


IGNORES = {
    "*.type": "the kind of an item, which says what became of it",
    "*.encrypted_content": "encrypted by the provider, readable by nobody else",
    "*.input[].id": "a name in the provider's log",
    "*.output[].id": "a name in the provider's log",
    "*.input[].call_id": "the id of the call is kept as the response gave it",
    "*.container_id": "a name in the provider's log",
    "*.logprobs": "measurements of the sampler, not said by anybody",
    "*.tools[].authorization": "credentials of a server",
    "*.tools[].headers": "credentials of a server",
    "*.response.tools": "the same declarations as in the request",
    "*.previous_response_id": "the link to an exchange whose items are in the trace",
    "*.conversation": "the link to exchanges whose items are in the trace",
}

dialect = Dialect(
    name="openai_responses",
    version=1,
    unit="session",
    links=links,
    fits=fits,
    read=read,
    codes=(
        *items.CODES,
        *declarations.CODES,
        *record_keys.CODES,
        *streams.CODES,
        HISTORY,
        MATCHED,
        streams.NO_REPLY,
    ),
    ignores=IGNORES,
)
