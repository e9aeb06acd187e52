"""What instrumented frameworks log as input and output of a model call, as turns of one shape.

A turn is a message of the OpenAI shape (`role`, `content`, `tool_calls`, `tool_call_id`,
`reasoning_content`), with `withheld` where reasoning was there and is not readable. Read are the
spellings of OpenAI, Anthropic, Gemini, LangChain, the Vercel AI SDK, OpenTelemetry parts and the
Responses API, as values or as JSON text; parts of a turn are read in `span_parts`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from tracekit import jsontext
from tracekit.codes import Code
from tracekit.dialects import span_parts
from tracekit.dialects.dialect import Notes
from tracekit.errors import BadRecord

CODES = (
    *span_parts.CODES,
    Code(
        name="flat_prompt_split",
        kind="repair",
        what="A prompt was logged as one text with a role at the beginning of lines; it was cut "
        "into messages there.",
    ),
)

_FLAT = re.compile(r"^(system|developer|user|assistant|tool): ", re.MULTILINE)
_CLASSES = {
    "HumanMessage": "user", "AIMessage": "assistant", "AIMessageChunk": "assistant",
    "SystemMessage": "system", "ToolMessage": "tool", "FunctionMessage": "tool",
    "HumanMessageChunk": "user", "ToolMessageChunk": "tool",
}  # fmt: skip
_ROLES = {
    "system": "system", "developer": "system", "user": "user", "human": "user",
    "assistant": "assistant", "ai": "assistant", "model": "assistant",
    "AIMessageChunk": "assistant", "tool": "tool", "function": "tool",
}  # fmt: skip


_PROMPTS = ("messages", "contents", "input_messages", "prompt", "input", "generations")
_HOLDERS = (*_PROMPTS, "choices", "candidates", "output", "message", "content")
"""Keys under which an input or output holds its messages, by rank."""


@dataclass(slots=True)
class Said:
    """Turns of one side of a call, and the tools that it declares (None: it says nothing)."""

    turns: list[dict[str, Any]] = field(default_factory=list)
    tools: list[Any] | None = None

    def offer(self, tools: Any) -> None:
        """Adds declarations: a list, JSON text of one, or Gemini's lists of lists."""
        tools = loaded(tools)
        if not isinstance(tools, list):
            return
        self.tools = self.tools if self.tools is not None else []
        for tool in tools:
            tool = loaded(tool)
            inner = None
            if isinstance(tool, dict):
                inner = tool.get("function_declarations", tool.get("functionDeclarations"))
            self.tools.extend(inner if isinstance(inner, list) else [tool])


def loaded(value: Any) -> Any:
    """The value of JSON text that is an object, a list or a text; anything else as it is."""
    if isinstance(value, str) and value[:1] in ("{", "[", '"'):
        try:
            return jsontext.parse(value.encode("utf-8", "replace"))
        except BadRecord:
            return value
    return value


def read(value: Any, role: str, notes: Notes, *, strict: bool = False) -> Said:
    """Turns of an input (role `user`) or an output (role `assistant`).

    strict: only what is written as messages counts, no plain text and no arguments.
    """
    said = Said()
    value = loaded(value)
    if isinstance(value, str):
        if not strict and value:
            said.turns = _of_text(value, role, notes)
    elif isinstance(value, list):
        said.turns = _of_list(value, role, said, notes, strict=strict)
    elif isinstance(value, dict):
        _of_object(value, role, said, notes, strict=strict)
    return said


def _of_text(text: str, role: str, notes: Notes) -> list[dict[str, Any]]:
    if role != "user" or _FLAT.match(text) is None:
        return [{"role": role, "content": text}]
    notes.repair("flat_prompt_split")
    marks = list(_FLAT.finditer(text))
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    return [
        {"role": _ROLES[mark.group(1)], "content": text[mark.end() : end].removesuffix("\n")}
        for mark, end in zip(marks, ends, strict=True)
    ]


def _of_list(
    values: list[Any], role: str, said: Said, notes: Notes, *, strict: bool
) -> list[dict[str, Any]]:
    turns: list[dict[str, Any]] = []
    called: set[str] = set()
    for value in values:
        if isinstance(value, list):  # LangChain logs a list of prompts, each a list of messages
            found = _of_list(value, role, said, notes, strict=strict)
        elif isinstance(value, str):
            parsed = span_parts.of_repr(value, notes)
            if parsed is not None:
                found = [parsed]
            elif strict:
                found = []
            else:
                found = _of_text(value, role, notes)
        elif isinstance(value, dict):
            tool = _declared(value)
            if tool is not None:
                said.offer([tool])
                continue
            found = turns_of(value, role, called, notes)
        else:
            found = []
        for turn in found:
            called.update(c["function"]["name"] for c in turn.get("tool_calls", ()))
        turns.extend(found)
    return turns


def _declared(value: dict[str, Any]) -> Any:
    """A declaration that LangChain's logger puts among the messages, as a message of a tool."""
    content = value.get("content")
    if value.get("role") == "tool" and isinstance(content, dict):
        inner = content.get("function")
        if content.get("type") == "function" and isinstance(inner, dict) and "parameters" in inner:
            return content
    return None


def _of_object(value: dict[str, Any], role: str, said: Said, notes: Notes, *, strict: bool) -> None:
    config = value.get("config")
    for holder in (value, config if isinstance(config, dict) else {}):
        if holder.get("tools") is not None:
            said.offer(holder["tools"])
        for key in ("system", "system_instruction", "systemInstruction", "instructions"):
            text = _system_text(holder.get(key))
            if text:
                said.turns.append({"role": "system", "content": text})
    held = _first(value, _HOLDERS)
    if "role" in value or "lc" in value or str(value.get("type")) in _ROLES:
        said.turns.extend(turns_of(value, role, set(), notes))
    elif held in _PROMPTS:
        inner = read(value[held], role, notes, strict=strict and held != "prompt")
        said.turns.extend(inner.turns)
        if inner.tools is not None:
            said.offer(inner.tools)
    elif held in ("choices", "candidates"):
        first = value[held][0] if isinstance(value[held], list) and value[held] else None
        if isinstance(first, dict):
            said.turns.extend(_of_choice(first, role, notes))
    elif held == "output" and (value.get("object") == "response" or not strict):
        items = value["output"]
        if isinstance(items, list):
            said.turns.extend(_of_list(items, "assistant", said, notes, strict=strict))
    elif held == "message" or (held == "content" and isinstance(value["content"], dict)):
        said.turns.extend(_of_choice(value, role, notes))
    elif isinstance(value.get("args"), list) and not strict:
        said.turns.extend(_of_list(value["args"], role, said, notes, strict=False))
    if role == "assistant" and "instructions" in value and said.turns:
        # A response repeats the instructions of its request; as a turn they stand before it.
        said.turns.sort(key=lambda turn: turn["role"] != "system")


def _first(value: dict[str, Any], keys: tuple[str, ...]) -> str | None:
    return next((key for key in keys if value.get(key) not in (None, "", [], {})), None)


def _system_text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and isinstance(value.get("parts"), list):
        value = value["parts"]
    if isinstance(value, list):
        texts = [p.get("text") if isinstance(p, dict) else p for p in value]
        return "\n".join(text for text in texts if isinstance(text, str)) or None
    return None


def _of_choice(choice: dict[str, Any], role: str, notes: Notes) -> list[dict[str, Any]]:
    inner = choice.get("message", choice.get("content"))
    turns = turns_of(inner, role, set(), notes) if isinstance(inner, dict) else []
    reason = _first(choice, ("finish_reason", "finishReason", "stop_reason"))
    if turns and reason is not None and isinstance(choice[reason], str):
        turns[-1].setdefault("finish_reason", choice[reason])
    return turns


def turns_of(
    value: dict[str, Any], role: str, called: set[str], notes: Notes
) -> list[dict[str, Any]]:
    """Turns of one logged message: one, or one for each result in it; [] where it is none.

    called: names of the tools called so far; LangChain writes them as the role of a result.
    """
    names = value.get("id")
    if value.get("lc") is not None and isinstance(value.get("kwargs"), dict):
        kind = names[-1] if isinstance(names, list) and names else None
        known = _CLASSES.get(kind) if isinstance(kind, str) else None
        return _of_message(value["kwargs"], known or role, notes)
    kind = value.get("type")
    if kind in (
        "function_call",
        "function_call_output",
        "reasoning",
        "message",
        "custom_tool_call",
    ):
        item = span_parts.of_item(value, notes)
        if item is not None:
            return item
    if isinstance(value.get("toolName"), str) and "toolCallId" in value:
        return span_parts.of_parts([{"type": "tool-call", **value}], "assistant", notes)
    inner = value.get("message")
    if "role" not in value and isinstance(inner, dict):
        return _of_choice(value, role, notes)
    written = value.get("role", kind)
    if not isinstance(written, str):
        return []
    known = _ROLES.get(written)
    if known is None and written in called:
        return _of_message({**value, "name": written}, "tool", notes)
    if known is None and "role" not in value:
        return []
    return _of_message(value, known or written, notes)


def _of_message(value: dict[str, Any], role: str, notes: Notes) -> list[dict[str, Any]]:
    extra = value.get("additional_kwargs")
    extra = extra if isinstance(extra, dict) else {}
    content = value.get("parts", value.get("content", value.get("text")))
    if isinstance(content, dict) and isinstance(content.get("parts"), list):
        content = content["parts"]
    if isinstance(content, dict) and isinstance(content.get("type"), str):
        content = [content]
    if role in ("assistant", "tool"):
        calls = span_parts.of_call_text(content)
        if calls is not None:
            return [{"role": "assistant", "tool_calls": calls, **_rest(value, extra)}]
    if (isinstance(content, list) and role != "tool") or (
        isinstance(content, list) and span_parts.holds_results(content)
    ):
        turns = span_parts.of_parts(content, role, notes)
    else:
        text = content if content is None or isinstance(content, str) else _text_of(content)
        turns = [{"role": role, "content": text}]
    turn = turns[-1]
    calls = value.get("tool_calls") or extra.get("tool_calls")
    if isinstance(calls, list) and calls and not turn.get("tool_calls"):
        turn["tool_calls"] = [span_parts.of_call(call) for call in calls]
    legacy = value.get("function_call") or extra.get("function_call")
    if isinstance(legacy, dict) and not turn.get("tool_calls"):
        turn["tool_calls"] = [span_parts.of_call(legacy)]
    turn.update(_rest(value, extra))
    return turns


def _text_of(content: Any) -> str:
    """Text of a result: its text parts joined, or the JSON text of what else it is."""
    if isinstance(content, list):
        parts = [p.get("text", p.get("content")) for p in content if isinstance(p, dict)]
        texts = [text for text in parts if isinstance(text, str)]
        if len(texts) == len(content):
            return "\n".join(texts)
    return jsontext.dump(content)


def _rest(value: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    """Reasoning, ids, names and flags of a message."""
    found: dict[str, Any] = {}
    for holder in (value, extra):
        for key in ("reasoning_content", "reasoning", "thinking"):
            if isinstance(holder.get(key), str) and "reasoning_content" not in found:
                found["reasoning_content"] = holder[key]
    for key, name in (
        *(("tool_call_id", "tool_call_id"), ("toolCallId", "tool_call_id")),
        *(("finish_reason", "finish_reason"), ("stop_reason", "finish_reason"), ("name", "name")),
    ):
        if isinstance(value.get(key), str) and value[key]:
            found.setdefault(name, value[key])
    details = value.get("response_metadata")
    if isinstance(details, dict) and isinstance(details.get("finish_reason"), str):
        found.setdefault("finish_reason", details["finish_reason"])
    if value.get("status") in ("success", "error"):
        found["is_error"] = value["status"] == "error"
    elif isinstance(value.get("is_error"), bool):
        found["is_error"] = value["is_error"]
    return found
