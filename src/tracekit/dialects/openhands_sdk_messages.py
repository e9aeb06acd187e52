"""Events of the OpenHands SDK to messages: prompts, replies with their calls, results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tracekit import jsontext
from tracekit.dialects import (
    agent_text,
    content_parts,
    declarations,
    openai_message,
    thinking,
)
from tracekit.dialects.conversation import add_meta
from tracekit.dialects.dialect import Notes
from tracekit.errors import BadRecord


def declared(tools: Any) -> list[dict[str, Any]] | None:
    """Tools of a system prompt; the SDK writes them with `title` or as OpenAI functions."""
    if isinstance(tools, list):
        tools = [
            {**tool, "name": tool["title"]}
            if isinstance(tool, dict) and "name" not in tool and isinstance(tool.get("title"), str)
            else tool
            for tool in tools
        ]
    return declarations.read_tools(tools)


def _stamp(message: dict[str, Any], value: dict[str, Any], used: Sequence[str]) -> dict[str, Any]:
    if value.get("timestamp") is not None:
        add_meta(message, "timestamp", value["timestamp"])
    skip = {"id", "timestamp", "source", "kind", *used}
    agent_text.keep_rest(message, {key: v for key, v in value.items() if key not in skip})
    return message


def _texts(value: Any, message: dict[str, Any]) -> str | None:
    """Text of a list of parts, of one part, or of a text."""
    if value is None or isinstance(value, str):
        return value or None
    parts = value if isinstance(value, list) else [value]
    for part in parts:
        if not isinstance(part, str) and not (
            isinstance(part, dict) and content_parts.is_part(part)
        ):
            raise BadRecord("content_not_text", f"a part of an event is {type(part).__name__}")
    plain = [
        {key: v for key, v in part.items() if key != "cache_prompt"}
        if isinstance(part, dict)
        else part
        for part in parts
    ]
    return content_parts.read_parts(plain, 0, message)


def _set_text(message: dict[str, Any], value: Any) -> dict[str, Any]:
    text = _texts(value, message)
    if text is not None:
        message["content"] = text
    return message


def system_prompt(value: dict[str, Any]) -> dict[str, Any]:
    """The system message of a system prompt."""
    message = _set_text({"role": "system"}, value.get("system_prompt"))
    return _stamp(message, value, ("system_prompt", "tools"))


def said(value: dict[str, Any], notes: Notes) -> dict[str, Any]:
    """The message of a message event; words that the harness adds follow the user's."""
    inner = value.get("llm_message")
    if not isinstance(inner, dict):
        raise BadRecord("message_not_object", f"llm_message is {type(inner).__name__}")
    message: dict[str, Any] = {
        "role": "assistant" if value.get("source") == "agent" else "user",
    }
    _set_text(message, inner.get("content"))
    if message["role"] == "assistant":
        if "content" in message:
            openai_message.split_text(message, notes, {"calls": "as_text"})
        _add_reasoning(message, inner, notes)
    extended = value.get("extended_content")
    if extended:  # what the harness adds to the user's words; the model reads it with them
        more = _texts(extended, message)
        if more:
            content = message.get("content") or ""
            message["content"] = f"{content}\n{more}" if content else more
            add_meta(message, "injected_chars", len(more))
    rest = {
        key: v
        for key, v in inner.items()
        if key not in ("role", "content", "reasoning_content", "thinking_blocks", "tool_calls")
        and v not in (False, True)
        and key != "responses_reasoning_item"
    }
    agent_text.keep_rest(message, rest)
    return _stamp(message, value, ("llm_message", "extended_content", "llm_response_id"))


def _add_reasoning(message: dict[str, Any], value: dict[str, Any], notes: Notes) -> None:
    """Reasoning of a reply, from its field, its blocks, or the summary of an encrypted item."""
    given = value.get("reasoning_content")
    blocks = value.get("thinking_blocks")
    item = value.get("responses_reasoning_item")
    if isinstance(given, str) and given:
        openai_message.add_reasoning(message, given, "reasoning_content", notes)
    if isinstance(blocks, list) and blocks:
        texts = [b["thinking"] for b in blocks if isinstance(b, dict) and "thinking" in b]
        text = "\n\n".join(t for t in texts if isinstance(t, str) and t)
        if text:
            openai_message.add_reasoning(message, text, "thinking_blocks", notes)
        elif not message.get("reasoning"):
            message["reasoning_kind"] = "withheld"
    if isinstance(item, dict) and not message.get("reasoning"):
        summary = item.get("summary")
        texts = [s for s in summary if isinstance(s, str)] if isinstance(summary, list) else []
        if texts:
            message["reasoning"] = "\n\n".join(texts)
            message["reasoning_kind"] = "summary"
        else:
            message["reasoning_kind"] = "withheld"


_THOUGHT = ("thought", "reasoning_content", "thinking_blocks", "responses_reasoning_item")


def add_action(
    value: dict[str, Any],
    messages: list[dict[str, Any]],
    replies: dict[str, dict[str, Any]],
    called: set[str],
    notes: Notes,
) -> None:
    """The reply of an action, or one more call of the reply that is there."""
    call = value.get("tool_call")
    if not isinstance(call, dict):
        raise BadRecord("bad_tool_call", "an action has no tool_call")
    name = value.get("llm_response_id")
    known = replies.get(name) if isinstance(name, str) else None
    message: dict[str, Any] = {"role": "assistant"} if known is None else known
    if known is None:
        _read_thought(value, message, notes)
        _add_reasoning(message, value, notes)
        messages.append(message)
        if isinstance(name, str):
            replies[name] = message
        used: tuple[str, ...] = (
            *_THOUGHT,
            "action",
            "tool_name",
            "tool_call_id",
            "tool_call",
            "llm_response_id",
        )
        said = call.get("arguments")
        same = value.get("summary")
        if isinstance(said, str) and isinstance(same, str) and same in said:
            used = (*used, "summary")
        _stamp(message, value, used)
    read = openai_message.read_call(
        {key: v for key, v in call.items() if key in ("id", "name", "arguments")}, 0, message, notes
    )
    message.setdefault("tool_calls", []).append(read)
    called.add(read["id"])


def _read_thought(value: dict[str, Any], message: dict[str, Any], notes: Notes) -> None:
    text = _texts(value.get("thought"), message)
    if text is None:
        return
    given = value.get("reasoning_content")
    split = thinking.split(text)
    if split is not None and isinstance(given, str) and split.reasoning == given.strip():
        text = split.content  # the same reasoning once more
    if text:
        message["content"] = text
        openai_message.split_text(message, notes, {"calls": "as_text"})


def result(value: dict[str, Any], call_id: str) -> dict[str, Any]:
    """The tool message of an observation or of an error."""
    message: dict[str, Any] = {"role": "tool", "tool_call_id": call_id}
    seen = value.get("observation")
    if isinstance(seen, dict):
        _set_text(message, seen.get("content"))
        if isinstance(seen.get("is_error"), bool):
            message["error"] = seen["is_error"]
        code = seen.get("exit_code")
        if isinstance(code, int) and not isinstance(code, bool) and code not in (0, -1):
            message["error"] = True
        skip = ("content", "is_error", "command", "kind")
        rest = {key: v for key, v in seen.items() if key not in skip and v is not False}
        agent_text.keep_rest(message, rest)
    else:
        text = value.get("error", value.get("rejection_reason", seen))
        if text is not None:
            message["content"] = text if isinstance(text, str) else jsontext.dump(text)
        message["error"] = True if value.get("kind") == "AgentErrorEvent" else None
    used = ("observation", "action_id", "tool_call_id", "tool_name", "error", "rejection_reason")
    return _stamp(message, value, used)
