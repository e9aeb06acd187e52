"""Dialect `managed_agents`: calls and events of Anthropic's managed agents, a session at a time.

A record is one call of the SDK with what it sent or got, or one event alone:

    ["client.beta.sessions.create", {"type": "session", "id": "sesn_1", "agent": {"system": "...",
        "model": {"id": "m-1"}, "tools": [{"type": "custom", "name": "rain", "input_schema": {}}]}}]
    ["client.beta.sessions.events.send", ["sesn_1", {"events": [{"type": "user.message",
        "content": [{"type": "text", "text": "Is it raining in Oslo?"}]}]}]]
    ["client.beta.sessions.events.stream", {"type": "agent.custom_tool_use", "id": "sevt_1",
        "name": "rain", "input": {"city": "Oslo"}}]

Decided here:

- What was sent comes back in the stream, with an id and a time: the stream is read, the sent record
  is an event, unless the stream never repeats it.
- What the agent says up to a result or a user is one message. Its thinking has no text in the
  events: withheld.
- A call that the user denies is no target; its result, which says so, stays.
- Tools of the provider and of MCP servers are not declared in the session: those that were called
  are tools without a schema, `meta.server_tools` holds the toolsets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracekit import jsontext
from tracekit.codes import Code
from tracekit.dialects import anthropic_blocks, claude_code, declarations, session_log
from tracekit.dialects.conversation import add_meta
from tracekit.dialects.dialect import Dialect, Notes, Record
from tracekit.dialects.prefixes import json_key
from tracekit.errors import BadRecord

REFUSED = next(code for code in claude_code.CODES if code.name == "call_refused_by_user")
SENT = "sent"
STATUS = "status"
EVENTS = (
    *session_log.EVENTS,
    Code(name=SENT, kind="event", what="What a client sent, which the stream says once more."),
    Code(name=STATUS, kind="event", what="A status of the session, or the border of a request."),
    Code(name="decision", kind="event", what="The user allowed or denied a call."),
)
_SPOKEN = ("agent.message", "agent.thinking")
_CALLS = ("agent.tool_use", "agent.mcp_tool_use", "agent.custom_tool_use")
_RESULTS = {
    "agent.tool_result": "tool_use_id",
    "agent.mcp_tool_result": "mcp_tool_use_id",
    "user.custom_tool_result": "custom_tool_use_id",
    "user.tool_result": "tool_use_id",
}
_MESSAGES = frozenset((*_SPOKEN, *_CALLS, *_RESULTS, "user.message", "system.message"))
_KINDS = ("agent.", "user.", "session.", "span.", "system.")
_KNOWN = frozenset(
    (
        *("type", "id", "content", "processed_at", "name", "input", "is_error", "thinking"),
        *("mcp_server_name", "evaluated_permission", "session_thread_id", "agent_name"),
        *_RESULTS.values(),
    )
)


def fits(value: Any) -> str:
    """Evidence that a record is a call or an event of a managed session.

    >>> fits(["client.beta.sessions.events.stream", {"type": "agent.thinking", "id": "sevt_1"}])
    'a call of sessions with its payload'
    """
    if isinstance(value, list):
        named = len(value) == 2 and isinstance(value[0], str) and ".sessions." in value[0]
        known = named and isinstance(value[1], (dict, list))
        return "a call of sessions with its payload" if known else ""
    if isinstance(value, dict) and _is_event(value) and "processed_at" in value:
        return "an event of a managed session"
    return ""


def _is_event(value: Any) -> bool:
    kind = value.get("type") if isinstance(value, dict) else None
    return isinstance(kind, str) and kind.startswith(_KINDS)


def key(value: Any) -> str | None:
    """The id of the session, where a record names it."""
    payload = value[1] if isinstance(value, list) and len(value) == 2 else value
    held: Any = None
    if isinstance(payload, dict):
        held = payload.get("id") if payload.get("type") == "session" else payload.get("session_id")
    elif isinstance(payload, list) and payload:
        held = payload[0]
    return held if isinstance(held, str) and held else None


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The trace of one session; records beside it become events."""
    sent: list[tuple[Record, list[dict[str, Any]]]] = []
    said: list[tuple[Record, dict[str, Any]]] = []
    talk = session_log.Talk()
    session: dict[str, Any] = {}
    seen: set[str] = set()
    for record in records:
        payload = _payload(record.value)
        if isinstance(payload, dict) and payload.get("type") == "session" and not session:
            session = payload
            talk.records.append(record)
        elif isinstance(payload, list) and (events := _sent(payload)) is not None:
            sent.append((record, events))
            said.extend((record, event) for event in events)
        elif isinstance(payload, dict) and _is_event(payload):
            name = payload.get("id")
            if isinstance(name, str) and name in seen:
                talk.skip(record, session_log.REPEATED, str(payload["type"]), notes)
            else:
                seen.add(str(name))
                said.append((record, payload))
        elif isinstance(payload, (dict, list)):
            talk.skip(record, session_log.UNKNOWN, _method(record.value), notes)
        else:
            notes.reject(record, "not_an_object", f"the line is {type(record.value).__name__}")
    repeated = _repeated(sent, said)
    for record, events in sent:
        if all(id(event) in repeated for event in events):
            talk.skip(record, SENT, SENT, notes)
    said = [(record, event) for record, event in said if id(event) not in repeated]
    _read_events(said, talk, notes, {id(record) for record, _ in sent})
    _describe(session, talk)
    methods = dict.fromkeys(_method(record.value) for record in records)
    if set(methods) != {EVENT}:
        talk.meta["methods"] = list(methods)
    return session_log.traces([talk], notes) if talk.records else []


EVENT = "event"


def _method(value: Any) -> str:
    """The call that a record is of; an event alone is of none."""
    named = isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)
    return value[0] if named else EVENT


def _payload(value: Any) -> Any:
    if isinstance(value, list):
        return value[1] if len(value) == 2 and isinstance(value[0], str) else None
    return value


def _sent(payload: list[Any]) -> list[dict[str, Any]] | None:
    """Events that a client sent: `[session id, {"events": [...]}]`."""
    given = payload[1] if len(payload) == 2 else None
    events = given.get("events") if isinstance(given, dict) else None
    if not isinstance(events, list) or not all(map(_is_event, events)):
        return None
    return events


def _repeated(
    sent: list[tuple[Record, list[dict[str, Any]]]], said: list[tuple[Record, dict[str, Any]]]
) -> set[int]:
    """Sent events that the stream says too, each of them as often as it was sent."""
    waiting: dict[str, list[int]] = {}
    for _, events in sent:
        for event in events:
            waiting.setdefault(_identity(event), []).append(id(event))
    own = {place for places in waiting.values() for place in places}
    found = set()
    for _, event in said:
        if id(event) not in own:
            places = waiting.get(_identity(event))
            if places:
                found.add(places.pop(0))
    return found


def _identity(event: dict[str, Any]) -> str:
    """What a sent event and its echo have in common."""
    names = [event.get(key) for key in dict.fromkeys(_RESULTS.values())]
    said = [event["type"], event.get("content"), event.get("result"), names]
    return json_key(jsontext.dump(said))


def _read_events(
    said: list[tuple[Record, dict[str, Any]]],
    talk: session_log.Talk,
    notes: Notes,
    senders: set[int],
) -> None:
    """Messages of events, in order; `senders`: records that may hold several events."""
    denied: dict[str, Any] = {}
    for record, event in said:
        kind = event["type"]
        open_message = talk.messages[-1] if talk.messages else None
        if kind in _MESSAGES:
            _say(event, record, talk, notes)
        elif id(record) in senders:
            _keep(record, talk)
        elif kind == "user.tool_confirmation":
            talk.skip(record, "decision", kind, notes)
        elif kind.startswith(("session.status", "session.thread_status", "span.")):
            talk.skip(record, STATUS, kind, notes)
        elif kind == "session.error":
            talk.meta.setdefault("errors", []).append(_rest(event, ("type", "id")))
            talk.skip(record, session_log.NOTICE, kind, notes)
        elif kind == "user.interrupt":
            session_log.interrupt(talk.messages, notes)
            talk.skip(record, session_log.NOTICE, kind, notes)
        else:
            talk.meta.setdefault("events", []).append(_rest(event, ("id",)))
            talk.skip(record, session_log.UNKNOWN, kind, notes)
        if kind == "user.tool_confirmation" and event.get("result") == "deny":
            denied[str(event.get("tool_use_id"))] = event.get("deny_message")
        elif open_message is not None and open_message["role"] == "assistant":
            if kind == "span.model_request_end" and isinstance(event.get("model_usage"), dict):
                add_meta(open_message, "usage", event["model_usage"])
            reason = event.get("stop_reason")
            reason = reason.get("type") if isinstance(reason, dict) else None
            if kind.startswith("session.") and isinstance(reason, str):
                open_message["finish_reason"] = reason
    _refuse(denied, talk.messages, notes)


def _keep(record: Record, talk: session_log.Talk) -> None:
    if not talk.records or talk.records[-1] is not record:
        talk.records.append(record)


def _rest(event: dict[str, Any], without: tuple[str, ...]) -> dict[str, Any]:
    return {key: v for key, v in event.items() if key not in without and v is not None}


def _say(event: dict[str, Any], record: Record, talk: session_log.Talk, notes: Notes) -> None:
    """Adds a message event to the talk, to the open reply where it belongs to one."""
    kind = event["type"]
    _keep(record, talk)
    k = len(talk.records)
    if kind in _RESULTS:
        block = {**event, "type": "tool_result", "tool_use_id": event.get(_RESULTS[kind])}
        kept = {key: v for key, v in block.items() if key in _RESULT_KEYS}
        message = anthropic_blocks.read_result(kept, k)
        talk.messages.append(message)
    elif kind in ("user.message", "system.message"):
        blocks = anthropic_blocks.blocks_of(event.get("content"), k)
        found = anthropic_blocks.read_user(blocks, k) or [{"role": "user"}]
        if kind == "system.message":
            for one in found:
                one["role"] = "system" if one["role"] == "user" else one["role"]
        talk.messages.extend(found)
        message = found[-1]
    else:
        last = talk.messages[-1] if talk.messages else None
        begins = last is None or last["role"] != "assistant" or "finish_reason" in last
        message = {"role": "assistant"} if begins or last is None else last
        if begins:
            talk.messages.append(message)
        _speak(event, kind, k, message, notes)
    session_log.keep_time(event, message, "processed_at")
    session_log.keep_rest(event, _KNOWN, message, notes)


_RESULT_KEYS = ("type", "tool_use_id", "content", "is_error")


def _speak(event: dict[str, Any], kind: str, k: int, message: dict[str, Any], notes: Notes) -> None:
    if kind == "agent.thinking":
        texts = [event.get("thinking"), *_texts(event.get("content"))]
        given = [text for text in texts if isinstance(text, str) and text]
        if message.get("reasoning"):
            given.insert(0, message["reasoning"])
        if given:
            message["reasoning"] = "\n\n".join(given)
            message["reasoning_kind"] = "full"
        else:
            message["reasoning_kind"] = "withheld"
    elif kind == "agent.message":
        blocks = anthropic_blocks.blocks_of(event.get("content"), k)
        (found, *more) = anthropic_blocks.read_assistant(blocks, k, notes, set())
        if more or "tool_calls" in found:
            raise BadRecord("content_not_text", f"event {k}: a message with other blocks than text")
        if found.get("content"):
            held = message.get("content")
            message["content"] = f"{held}\n{found['content']}" if held else found["content"]
        for name, v in found.get("meta", {}).items():
            add_meta(message, name, v)
        if "attachments" in found:
            message.setdefault("attachments", []).extend(found["attachments"])
    else:
        name = event.get("name")
        if not isinstance(name, str) or not name:
            raise BadRecord("bad_tool_call", f"event {k} is a call without a name")
        arguments = event.get("input")
        call = {
            "id": event["id"] if isinstance(event.get("id"), str) else "",
            "name": name,
            "arguments": "{}" if arguments is None else jsontext.dump(arguments),
        }
        message.setdefault("tool_calls", []).append(call)
        if kind != "agent.custom_tool_use":
            message.setdefault("_served", set()).add(name)
        for key_ in ("mcp_server_name", "evaluated_permission"):
            if isinstance(event.get(key_), str):
                add_meta(message, key_, event[key_])


def _texts(content: Any) -> list[Any]:
    blocks = content if isinstance(content, list) else [content]
    return [b.get("thinking", b.get("text")) if isinstance(b, dict) else b for b in blocks]


def _refuse(denied: dict[str, Any], messages: list[dict[str, Any]], notes: Notes) -> None:
    """Takes denied calls out of training and marks their results."""
    for message in messages if denied else ():
        calls = message.get("tool_calls", ())
        refused = [call["id"] in denied for call in calls]
        if any(refused):
            train = message.setdefault("train", {"reasoning": True, "content": True, "calls": None})
            train["calls"] = [not no for no in refused]
            notes.repair(REFUSED.name, sum(refused))
        if message["role"] == "tool" and message.get("tool_call_id") in denied:
            add_meta(message, "refused", denied[message["tool_call_id"]] or True)


def _describe(session: dict[str, Any], talk: session_log.Talk) -> None:
    """System text, tools, model and ids of the session."""
    agent = session.get("agent")
    agent = agent if isinstance(agent, dict) else {}
    if isinstance(agent.get("system"), str) and agent["system"]:
        talk.messages.insert(0, {"role": "system", "content": agent["system"]})
    elif not session:
        talk.meta["system"] = "not_recorded"
    model = agent.get("model")
    model = model.get("id") if isinstance(model, dict) else model
    if isinstance(model, str) and model:
        talk.fields["model"] = model
    name = session.get("id")
    if isinstance(name, str) and name:
        talk.fields["session_id"] = talk.fields["source_id"] = name
    served: set[str] = set()
    for message in talk.messages:
        served |= message.pop("_served", set())
    declared = agent.get("tools")
    tools = None
    if isinstance(declared, list):
        own = [t for t in declared if isinstance(t, dict) and t.get("type") in (None, "custom")]
        others = [t for t in declared if t not in own]
        if others:
            talk.meta["server_tools"] = others
        tools = declarations.read_tools(own)
    if served:
        names = {tool["name"] for tool in tools or ()}
        plain: dict[str, Any] = {"description": None, "parameters": None, "extra": None}
        tools = [*(tools or ()), *({"name": n, **plain} for n in sorted(served - names))]
    if tools is not None:
        talk.fields["tools"] = tools
    rest = {k: v for k, v in agent.items() if k not in ("system", "tools", "model") and v}
    about = {k: v for k, v in session.items() if k not in ("agent", "id", "type") and v}
    if rest:
        talk.meta["agent"] = rest
    if about:
        talk.meta["session"] = about


IGNORES = {
    **anthropic_blocks.IGNORES,
    "*.type": "the kind of an event, which says what became of it",
    "*.id": "a name in the provider's log; ids of calls are kept",
    "*.session_thread_id": "a name in the provider's log",
    "*.model_request_start_id": "a name in the provider's log",
    "*.stop_reason.event_ids": "ids of the calls that wait",
    "*.processed_at": "time of an event that is no message",
}

dialect = Dialect(
    name="managed_agents",
    version=1,
    unit="session",
    fits=fits,
    read=read,
    key=key,
    codes=(
        *session_log.CODES,
        *declarations.CODES,
        *anthropic_blocks.CODES,
        REFUSED,
    ),
    events=EVENTS,
    ignores=IGNORES,
)
