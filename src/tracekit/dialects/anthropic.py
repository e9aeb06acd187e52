"""Dialect `anthropic`: requests, replies and data sets in the shape of the Messages API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracekit import jsontext
from tracekit.dialects import anthropic_blocks, conversation, declarations, record_keys, streams
from tracekit.dialects.dialect import Dialect, Notes, Record
from tracekit.dialects.openai import anthropic_tools, has_anthropic_blocks
from tracekit.errors import BadRecord

_USED = frozenset(("messages", "system", "tools"))
_USED_IN_REPLY = frozenset(("content", "role", "type", "stop_reason"))
_ROLES = ("user", "assistant", "system")


def _is_reply(value: Any) -> bool:
    if isinstance(value, str):
        return value.startswith("event:")
    return (
        isinstance(value, dict)
        and value.get("type") == "message"
        and isinstance(value.get("content"), list)
        and ("stop_reason" in value or "usage" in value)
    )


def fits(value: Any) -> str:
    """Evidence that a record has the shape of the Messages API.

    >>> fits({"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]})
    'messages with content blocks'
    """
    if not isinstance(value, dict) or ("sessionId" in value and "uuid" in value):
        return ""
    request = value.get("request")
    if isinstance(request, dict):
        if isinstance(request.get("messages"), list):
            if _is_reply(value.get("response")):
                return "request with a reply of type message"
            response = value.get("response")
            if isinstance(response, dict) and response.get("type") == "error":
                return "request with a reply of type error"
            if response is None and _conversation(request):
                return "request with content blocks"
        return ""
    if _conversation(value):
        return "messages with content blocks"
    return "a reply of type message" if _is_reply(value) and value.get("role") else ""


def _conversation(value: dict[str, Any]) -> bool:
    messages = value.get("messages")
    if not isinstance(messages, list) or not messages:
        return False
    if not all(isinstance(m, dict) and m.get("role") in _ROLES for m in messages):
        return False
    return has_anthropic_blocks(messages) or anthropic_tools(value.get("tools"))


def read(
    records: Sequence[Record],
    notes: Notes,
    options: Mapping[str, str],
) -> list[dict[str, Any]]:
    """The one trace of a record."""
    value = records[0].value
    if not isinstance(value, dict):
        raise BadRecord("not_an_object", f"the record is {type(value).__name__}")
    asked = value.get("request")
    if isinstance(asked, dict):
        request, response, used = asked, value.get("response"), frozenset(("request", "response"))
        if response is None or response == "":
            raise BadRecord("error_response", "the exchange has no response")
    elif _is_reply(value) and "messages" not in value:
        request, response, used = {}, value, frozenset(value)
    else:
        request, used = value, _USED
        response = value.get("response") if _is_reply(value.get("response")) else None
        if response is not None:
            used = _USED | {"response"}
    fields, meta = record_keys.describe(value, used, notes)
    reply = _reply(response, notes)
    messages, server_tools = _messages(request, reply, notes, meta)
    if reply is not None:
        beside = record_keys.exchange_meta(
            {} if request is value else request, _USED, reply, _USED_IN_REPLY
        )
        model = beside.pop("model", None)
        if model is not None:
            fields["model"] = model
        meta.update(beside)
        if isinstance(reply.get("stop_reason"), str):
            last = next(m for m in reversed(messages) if m["role"] == "assistant")
            last["finish_reason"] = reply["stop_reason"]
    tools = _tools(request, server_tools, meta)
    conversation.finish(messages, notes, meta)
    return [record_keys.trace(messages, tools, fields, meta, notes)]


def _reply(response: Any, notes: Notes) -> dict[str, Any] | None:
    if response is None:
        return None
    if isinstance(response, str):
        notes.repair("stream_joined")
        return streams.anthropic_reply(response)
    if not isinstance(response, dict):
        raise BadRecord("error_response", f"the response is {type(response).__name__}")
    if response.get("type") == "error" or response.get("error"):
        raise BadRecord("error_response", jsontext.dump(response.get("error"))[:300])
    return response


def _messages(
    request: dict[str, Any], reply: dict[str, Any] | None, notes: Notes, meta: dict[str, Any]
) -> tuple[list[dict[str, Any]], set[str]]:
    """Unfinished messages of a request and its reply, and the server tools that were called."""
    server_tools: set[str] = set()
    messages: list[dict[str, Any]] = []
    system = request.get("system")
    if system:
        messages.extend(_system({"content": system}, -1, notes, meta, 0))
    turns = request.get("messages")
    if turns is None:
        turns = []
    if not isinstance(turns, list):
        raise BadRecord("no_messages", f"messages is {type(turns).__name__}")
    if reply is not None:
        turns = [*turns, {"role": "assistant", "content": reply.get("content")}]
    for k, turn in enumerate(turns):
        if not isinstance(turn, dict):
            raise conversation.refuse_message(turn, k)
        role = turn.get("role")
        if role == "system":
            found = _system(turn, k, notes, meta, len(messages))
        else:
            blocks = anthropic_blocks.blocks_of(turn.get("content"), k)
            if role == "assistant":
                found = anthropic_blocks.read_assistant(blocks, k, notes, server_tools)
            elif role == "user":
                found = anthropic_blocks.read_user(blocks, k) or [{"role": "user"}]
            else:
                raise BadRecord("unknown_role", f"messages[{k}] has the role {role!r:.60}")
        for key, v in turn.items():
            if key not in ("role", "content") and v is not None and found:
                conversation.add_meta(found[-1], key, v)
        messages.extend(found)
    return messages, server_tools


def _system(
    turn: dict[str, Any], k: int, notes: Notes, meta: dict[str, Any], place: int
) -> list[dict[str, Any]]:
    """The system message of text blocks; announced tools go to the meta of the trace."""
    texts = []
    for block in anthropic_blocks.blocks_of(turn.get("content"), k):
        if isinstance(block, dict) and block.get("type") == "tool_addition":
            tool = block.get("tool")
            name = tool.get("name") if isinstance(tool, dict) else tool
            meta.setdefault("tool_additions", []).append({"message": place, "tool": name})
            notes.repair("tool_addition_moved")
        elif isinstance(block, str):
            texts.append(block)
        elif isinstance(block, dict) and isinstance(block.get("text"), str):
            texts.append(block["text"])
        else:
            raise BadRecord("content_not_text", "a system block is no text")
    text = conversation.texts_joined(texts)
    return [] if text is None else [{"role": "system", "content": text}]


def _tools(
    request: dict[str, Any], called: set[str], meta: dict[str, Any]
) -> list[dict[str, Any]] | None:
    """Declared tools; those of the provider only as far as they were called, by that name."""
    declared = request.get("tools")
    if isinstance(declared, list):
        server = [t for t in declared if isinstance(t, dict) and _is_server_tool(t)]
        if server:
            declared = [t for t in declared if not (isinstance(t, dict) and _is_server_tool(t))]
            meta["server_tools"] = [tool["type"] for tool in server]
            options = [{k: v for k, v in t.items() if k not in ("type", "name")} for t in server]
            if any(options):
                meta["server_tool_options"] = options
    tools = declarations.read_tools(declared)
    if called:
        names = {tool["name"] for tool in tools or ()}
        plain: dict[str, Any] = {"description": None, "parameters": None, "extra": None}
        tools = [*(tools or ()), *({"name": n, **plain} for n in sorted(called - names))]
    return tools


def _is_server_tool(tool: dict[str, Any]) -> bool:
    kind = tool.get("type")
    plain = kind in ("custom", "function") or "input_schema" in tool
    return isinstance(kind, str) and not plain


dialect = Dialect(
    name="anthropic",
    version=1,
    unit="record",
    fits=fits,
    read=read,
    codes=(
        *conversation.CODES,
        *declarations.CODES,
        *record_keys.CODES,
        *streams.CODES,
        *anthropic_blocks.CODES,
    ),
    ignores=anthropic_blocks.IGNORES,
)
