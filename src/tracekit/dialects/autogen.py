r"""Dialect `autogen`: AutoGen messages whose `type` is the name of a class.

    {"mode": "create", "stream": [],
     "messages": [{"content": "You are helpful.", "type": "SystemMessage"},
                  {"content": "9*4?", "source": "User", "type": "UserMessage"}],
     "response": {"finish_reason": "stop", "content": "36", "thought": null, "cached": false,
                  "usage": {"prompt_tokens": 9, "completion_tokens": 2}, "logprobs": null}}

A recording of a client is a list of such exchanges; a saved context is one object with `messages`:

    {"messages": [{"content": "Help!", "source": "User", "type": "UserMessage"},
                  {"content": [{"id": "c1", "arguments": "{}", "name": "transfer"}],
                   "thought": null, "source": "TriageAgent", "type": "AssistantMessage"},
                  {"content": [{"content": "Done.", "name": "transfer", "call_id": "c1",
                                "is_error": false}], "type": "FunctionExecutionResultMessage"}]}

Decided here:

- The role comes from the class. `source` is the speaker's name; `User` and `Assistant`, the names
  that AutoGen gives by itself, say nothing.
- `thought` is reasoning, full.
- A context that several agents wrote is one trace: they share it, and each goes on where the other
  stopped. The system prompts of the agents are not in it (`meta.system`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracekit import jsontext
from tracekit.dialects import (
    agent_text,
    content_parts,
    conversation,
    openai_message,
    record_keys,
    streams,
)
from tracekit.dialects.conversation import add_meta
from tracekit.dialects.dialect import Dialect, Notes, Record
from tracekit.errors import BadRecord

_ROLES = {
    "SystemMessage": "system",
    "UserMessage": "user",
    "AssistantMessage": "assistant",
    "FunctionExecutionResultMessage": "tool",
}
_OWN_NAMES = ("User", "Assistant", "user", "assistant")
_READ = frozenset(("type", "content", "source", "thought"))
_RESPONSE = frozenset(("content", "thought", "finish_reason", "usage", "cached"))

CODES = tuple(code for code in streams.CODES if code.name == "error_response")

IGNORES = {"messages[].type": "the name of a class; it is the role"}


def fits(value: Any) -> str:
    """Evidence that a record holds AutoGen messages.

    >>> fits({"messages": [{"content": "9*4?", "source": "User", "type": "UserMessage"}]})
    'messages of class UserMessage'
    """
    turns = value.get("messages") if isinstance(value, dict) else None
    first = turns[0] if isinstance(turns, list) and turns else None
    kind = first.get("type") if isinstance(first, dict) else None
    known = isinstance(kind, str) and kind in _ROLES
    return f"messages of class {kind}" if known and "role" not in (first or ()) else ""


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The one trace of an exchange or of a saved context."""
    value = records[0].value
    if not isinstance(value, dict):
        raise BadRecord("not_an_object", f"the record is {type(value).__name__}")
    turns = value.get("messages")
    if not isinstance(turns, list):
        raise BadRecord("no_messages", f"messages is {type(turns).__name__}")
    messages: list[dict[str, Any]] = []
    for k, turn in enumerate(turns):
        messages.extend(_messages(turn, k, notes))
    fields, meta = record_keys.describe(value, {"messages", "response", "mode", "stream"}, notes)
    if "mode" in value or "response" in value:
        messages.append(_reply(value, len(turns), notes))
        if value.get("stream"):
            meta["stream"] = value["stream"]
    elif all(message["role"] != "system" for message in messages):
        meta["system"] = "not_recorded"
    conversation.finish(messages, notes, meta)
    return [record_keys.trace(messages, None, fields, meta, notes)]


def _messages(turn: Any, k: int, notes: Notes) -> list[dict[str, Any]]:
    if not isinstance(turn, dict):
        raise conversation.refuse_message(turn, k)
    kind = turn.get("type")
    role = _ROLES.get(kind) if isinstance(kind, str) else None
    if role is None:
        raise BadRecord("unknown_role", f"messages[{k}] is of the class {kind!r:.60}")
    rest = {key: v for key, v in turn.items() if key not in _READ}
    if role == "tool":
        results = _results(turn.get("content"), k)
        if results:
            agent_text.keep_rest(results[0], rest)
        return results
    message: dict[str, Any] = {"role": role}
    _set_content(message, turn.get("content"), k, notes)
    _set_thought(message, turn.get("thought"), notes)
    source = turn.get("source")
    if isinstance(source, str) and source and source not in _OWN_NAMES:
        message["name"] = source
    elif source is not None and not isinstance(source, str):
        rest["source"] = source
    agent_text.keep_rest(message, rest)
    return [message]


def _set_thought(message: dict[str, Any], thought: Any, notes: Notes) -> None:
    if isinstance(thought, str) and message["role"] == "assistant":
        openai_message.add_reasoning(message, thought, "thought", notes)
    elif thought is not None:
        add_meta(message, "thought", thought)


def _set_content(message: dict[str, Any], content: Any, k: int, notes: Notes) -> None:
    """Text, calls of an assistant, or the parts of a user's message."""
    if content is None or isinstance(content, str):
        if content:
            message["content"] = content
        return
    if not isinstance(content, list):
        raise BadRecord("content_not_text", f"messages[{k}].content is {type(content).__name__}")
    if message["role"] == "assistant":
        if content:
            message["tool_calls"] = [
                openai_message.read_call(call, k, message, notes) for call in content
            ]
        return
    if not all(
        isinstance(part, str) or (isinstance(part, dict) and content_parts.is_part(part))
        for part in content
    ):
        parts = [part for part in content if isinstance(part, str)]
        files = [part for part in content if isinstance(part, dict)]
        if len(parts) + len(files) != len(content):
            raise BadRecord("content_not_text", f"messages[{k}] has a part that is no text")
        message["attachments"] = [content_parts.file_reference(f, "data") for f in files]
        content = parts
    text = content_parts.read_parts(content, k, message)
    if text is not None:
        message["content"] = text


def _results(content: Any, k: int) -> list[dict[str, Any]]:
    if not isinstance(content, list):
        raise BadRecord("content_not_text", f"messages[{k}].content is {type(content).__name__}")
    found = []
    for result in content:
        if not isinstance(result, dict):
            raise BadRecord("content_not_text", f"messages[{k}] has a result that is no object")
        message: dict[str, Any] = {"role": "tool"}
        text = result.get("content")
        if text is not None and text != "":
            message["content"] = text if isinstance(text, str) else jsontext.dump(text)
        for key, field in (("call_id", "tool_call_id"), ("name", "name")):
            if isinstance(result.get(key), str) and result[key]:
                message[field] = result[key]
        if isinstance(result.get("is_error"), bool):
            message["error"] = result["is_error"]
        known = ("content", "call_id", "name", "is_error")
        agent_text.keep_rest(message, {key: v for key, v in result.items() if key not in known})
        found.append(message)
    return found


def _reply(value: dict[str, Any], k: int, notes: Notes) -> dict[str, Any]:
    """The reply of an exchange: of its response, or of the last object that it streamed."""
    response = value.get("response")
    if response is None and isinstance(value.get("stream"), list):
        response = next((s for s in reversed(value["stream"]) if isinstance(s, dict)), None)
    if isinstance(response, str):
        response = {"content": response}
    if not isinstance(response, dict) or "content" not in response:
        raise BadRecord("error_response", "the exchange has no response")
    message: dict[str, Any] = {"role": "assistant"}
    _set_content(message, response["content"], k, notes)
    _set_thought(message, response.get("thought"), notes)
    if isinstance(response.get("finish_reason"), str):
        message["finish_reason"] = response["finish_reason"]
    if response.get("usage") is not None:
        add_meta(message, "usage", response["usage"])
    if response.get("cached"):
        add_meta(message, "cached", response["cached"])
    agent_text.keep_rest(message, {key: v for key, v in response.items() if key not in _RESPONSE})
    return message


dialect = Dialect(
    name="autogen",
    version=1,
    unit="record",
    fits=fits,
    read=read,
    codes=(*conversation.CODES, *openai_message.CODES, *record_keys.CODES, *CODES),
    ignores=IGNORES,
)
