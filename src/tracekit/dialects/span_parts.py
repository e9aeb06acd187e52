"""Parts of a logged message: texts, reasoning, calls, results, in the spellings of frameworks."""

from __future__ import annotations

import ast
import re
from typing import Any

from tracekit import jsontext
from tracekit.codes import Code
from tracekit.dialects.dialect import Notes
from tracekit.errors import BadRecord

CODES = (
    Code(
        name="repr_parsed",
        kind="repair",
        what="A message was logged as the printed form of a Python object; its fields were read.",
    ),
)

_CALLS = frozenset(
    ("tool_call", "tool-call", "tool_use", "function_call", "function-call", "server_tool_use")
)
_RESULTS = frozenset(
    ("tool_call_response", "tool-result", "tool_result", "function_result", "tool-return")
)
_REASONING = frozenset(("reasoning", "thinking", "thought"))
_LITERAL = r"'(?:[^'\\]|\\.)*+'|\"(?:[^\"\\]|\\.)*+\""
_REPR = re.compile(rf"role=(?P<role>{_LITERAL}) content=(?P<content>None|{_LITERAL}) ")
_CALL_ID = re.compile(rf" tool_call_id=({_LITERAL}) ")
_TOOL_NAME = re.compile(rf" tool_name=({_LITERAL}) ")
_CALL_LIST = re.compile(
    rf" tool_calls=(\[(?:[^'\"\[\]]|{_LITERAL}|\[(?:[^'\"\[\]]|{_LITERAL})*+\])*+\]) "
)
_THOUGHT = re.compile(rf" (?:reasoning_content|thinking)=({_LITERAL}) ")
MAX_REPR_CHARS = 1 << 20


def of_repr(text: str, notes: Notes) -> dict[str, Any] | None:
    """The turn of a message printed by Python: `role='user' content='9*4?' name=None ...`."""
    if not text.startswith("role=") or len(text) > MAX_REPR_CHARS:
        return None
    begin = _REPR.match(text)
    if begin is None:
        return None
    rest = text[begin.end() - 1 :]
    try:
        turn: dict[str, Any] = {
            "role": ast.literal_eval(begin.group("role")),
            "content": ast.literal_eval(begin.group("content")),
        }
        for pattern, key in ((_CALL_ID, "tool_call_id"), (_THOUGHT, "reasoning_content"),
                             (_TOOL_NAME, "name")):  # fmt: skip
            found = pattern.search(rest)
            if found is not None:
                turn[key] = ast.literal_eval(found.group(1))
        calls = _CALL_LIST.search(rest)
        if calls is not None and turn["role"] == "assistant":
            listed = ast.literal_eval(calls.group(1))
            if listed:
                turn["tool_calls"] = [of_call(call) for call in listed]
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return None
    notes.repair("repr_parsed")
    return turn


def arguments_text(value: Any) -> str:
    """Arguments of a call as JSON text."""
    if isinstance(value, str):
        return value
    return "{}" if value is None else jsontext.dump(value)


def of_call(call: Any) -> dict[str, Any]:
    """A call of any spelling, in the OpenAI form. Raises BadRecord bad_tool_call."""
    if not isinstance(call, dict):
        raise BadRecord("bad_tool_call", f"a call is {type(call).__name__}")
    inner = call.get("function")
    inner = inner if isinstance(inner, dict) else call
    name = next((inner[k] for k in ("name", "toolName", "tool_name") if inner.get(k)), None)
    if not isinstance(name, str):
        raise BadRecord("bad_tool_call", "a call has no name")
    given = next(
        (
            inner[k]
            for k in ("arguments", "args", "input", "parameters")
            if inner.get(k) is not None
        ),
        None,
    )
    keys = ("id", "toolCallId", "tool_call_id", "call_id")
    call_id = next((call[k] for k in keys if isinstance(call.get(k), str)), None)
    return {
        "id": call_id, "type": "function",
        "function": {"name": name, "arguments": arguments_text(given)},
    }  # fmt: skip


def of_call_text(content: Any) -> list[dict[str, Any]] | None:
    """Calls of a content that is JSON text of OpenAI calls and nothing else; else None."""
    if not isinstance(content, str) or not content.startswith('[{"') or '"function"' not in content:
        return None
    try:
        value = jsontext.parse(content.encode("utf-8", "replace"))
    except BadRecord:
        return None
    if not all(
        isinstance(v, dict) and isinstance(v.get("function"), dict) and v.get("type") == "function"
        and isinstance(v["function"].get("arguments"), str) for v in value
    ):  # fmt: skip
        return None
    return [of_call(call) for call in value]


def holds_results(parts: list[Any]) -> bool:
    """Is any of these parts a call or a result?"""
    return any(
        isinstance(p, dict)
        and (_kind(p) in _RESULTS or "function_response" in p or "functionResponse" in p)
        for p in parts
    )


def _kind(part: dict[str, Any]) -> str:
    kind = part.get("type")
    return kind if isinstance(kind, str) else ""


def of_parts(parts: list[Any], role: str, notes: Notes) -> list[dict[str, Any]]:
    """Turns of a content of parts: one of `role`, and one of a tool for each result before it."""
    texts: list[Any] = []
    thoughts: list[str] = []
    calls: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    withheld = False
    for part in parts:
        if isinstance(part, str):
            texts.append({"type": "text", "text": part})
            continue
        if not isinstance(part, dict):
            raise BadRecord("content_not_text", f"a part is {type(part).__name__}")
        kind = _kind(part)
        text = part.get("text", part.get("content"))
        response = part.get("function_response", part.get("functionResponse"))
        call = part.get("function_call", part.get("functionCall"))
        if kind in _RESULTS or isinstance(response, dict):
            results.append(_result(response if isinstance(response, dict) else part, part))
        elif kind in _CALLS or isinstance(call, dict):
            calls.append(of_call(call if isinstance(call, dict) else part))
        elif (
            kind in _REASONING
            or kind.endswith("TextReasoningContent")
            or part.get("thought") is True
        ):
            thought = _thought(part, text)
            thoughts.extend([thought] if thought else [])
            withheld = withheld or not thought
        elif kind == "redacted_thinking":
            withheld = True
        elif isinstance(text, str) and kind in ("", "text", "input_text", "output_text", "refusal"):
            texts.append({"type": "text", "text": text})
        else:
            texts.append(part)
    turn: dict[str, Any] = {"role": role}
    if texts:
        plain = [
            t["text"] for t in texts if t.get("type") == "text" and isinstance(t.get("text"), str)
        ]
        turn["content"] = plain[0] if len(texts) == len(plain) == 1 else texts
    if calls:
        turn["tool_calls"] = calls
    if thoughts:
        turn["reasoning_content"] = "\n\n".join(thoughts)
    elif withheld:
        turn["withheld"] = True
    return [*results, turn] if len(turn) > 1 or not results else results


def _thought(part: dict[str, Any], text: Any) -> str | None:
    for value in (part.get("thinking"), part.get("reasoning"), text):
        if isinstance(value, dict):
            value = value.get("text")
        if isinstance(value, str):
            return value
    return None


def _result(value: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """Turn of a result; the Vercel AI SDK wraps its output in {type, value}."""
    held = next((value[k] for k in ("response", "result", "output", "content") if k in value), None)
    error = part.get("is_error", part.get("isError"))
    if (
        isinstance(held, dict)
        and isinstance(held.get("type"), str)
        and set(held) <= {"type", "value"}
    ):
        error = error if isinstance(error, bool) else held["type"].startswith("error")
        held = held.get("value")
    if isinstance(held, list) and all(
        isinstance(p, dict) and p.get("type") == "text" and isinstance(p.get("text"), str)
        for p in held
    ):
        held = "\n".join(p["text"] for p in held)
    turn: dict[str, Any] = {
        "role": "tool",
        "content": held if held is None or isinstance(held, str) else jsontext.dump(held),
    }
    keys = ("id", "toolCallId", "tool_call_id", "tool_use_id", "call_id")
    call_id = next((part[k] for k in keys if isinstance(part.get(k), str)), None)
    if call_id is None and isinstance(value.get("id"), str):
        call_id = value["id"]
    if call_id:
        turn["tool_call_id"] = call_id
    name = next((value[k] for k in ("name", "toolName") if isinstance(value.get(k), str)), None)
    if name:
        turn["name"] = name
    if isinstance(error, bool):
        turn["is_error"] = error
    return turn


def of_item(item: dict[str, Any], notes: Notes) -> list[dict[str, Any]] | None:
    """Turns of one item of the Responses API; None where it is none."""
    kind = item["type"]
    if kind in ("function_call", "custom_tool_call") and isinstance(item.get("name"), str):
        call = of_call({**item, "id": item.get("call_id", item.get("id"))})
        return [{"role": "assistant", "tool_calls": [call]}]
    if kind == "function_call_output" and "call_id" in item:
        output = item.get("output")
        text = output if output is None or isinstance(output, str) else jsontext.dump(output)
        return [{"role": "tool", "content": text, "tool_call_id": item["call_id"]}]
    if kind == "reasoning":
        listed = item.get("summary") or item.get("content")
        texts = (
            [p.get("text") for p in listed if isinstance(p, dict)]
            if isinstance(listed, list)
            else []
        )
        joined = "\n\n".join(text for text in texts if isinstance(text, str))
        if not joined:
            return [{"role": "assistant", "withheld": True}]
        told = {"reasoning_content": joined}
        return [{"role": "assistant", **told, **({"summary": True} if item.get("summary") else {})}]
    return None
