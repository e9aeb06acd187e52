"""Functions that a prompt prints as text (`---- BEGIN FUNCTION #1: bash ----`): to declarations.

OpenHands writes its tools so for models without calls of their own, and data sets copied it. The
prompt keeps the text; the calls are `<function=name><parameter=key>value</parameter></function>`.
"""

from __future__ import annotations

import re
from typing import Any

from tracekit import jsontext
from tracekit.codes import Code
from tracekit.dialects import agent_text, declarations, toolcall_text
from tracekit.dialects.dialect import Notes

CODES = (
    Code(
        name="tools_from_prompt",
        kind="repair",
        what="The prompt prints its functions as text; they became declarations of tools.",
        why="A model that is trained on calls must have been shown what it may call.",
    ),
)

_HEADER = re.compile(r"---- BEGIN FUNCTION #(\d+): (\S+) ----\n")
_PARAMETER = re.compile(r"^ *\(\d+\) (\S+) \(([^,()]+), (required|optional)\): ?", re.MULTILINE)
_ALLOWED = re.compile(r"\nAllowed values: \[(.*)\]\s*\Z")
_TYPES = frozenset(("string", "integer", "number", "boolean", "array", "object"))


def declared(text: str) -> list[dict[str, Any]]:
    """Canonical tools that a prompt prints; an empty list where it prints none."""
    tools = []
    place = text.find(agent_text.FUNCTION_MARK)
    while place >= 0:
        header = _HEADER.match(text, place)
        if header is None:
            break
        end = text.find(f"\n---- END FUNCTION #{header.group(1)} ----", header.end())
        if end < 0:
            break
        tools.append(_tool(header.group(2), text[header.end() : end]))
        place = text.find(agent_text.FUNCTION_MARK, end)
    return tools


def _tool(name: str, body: str) -> dict[str, Any]:
    body = body.removeprefix("Description: ")
    place = body.rfind("\nParameters:")
    description = body if place < 0 else body[:place]
    properties: dict[str, Any] = {}
    required: list[str] = []
    if place >= 0:
        listed = body[place + len("\nParameters:") :]
        starts = list(_PARAMETER.finditer(listed))
        for k, start in enumerate(starts):
            end = starts[k + 1].start() if k + 1 < len(starts) else len(listed)
            properties[start.group(1)] = _schema(start.group(2), listed[start.end() : end].strip())
            if start.group(3) == "required":
                required.append(start.group(1))
    else:
        description = description.removesuffix("No parameters are required for this function.")
    schema = {"type": "object", "properties": properties, "required": required}
    return {
        "name": name,
        "description": description.strip() or None,
        "parameters": jsontext.dump(schema),
        "extra": None,
    }


def _schema(type_name: str, text: str) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": type_name} if type_name in _TYPES else {"type": "string"}
    allowed = _ALLOWED.search("\n" + text)
    if allowed is not None:
        text = text[: max(0, allowed.start() - 1)]
        schema["enum"] = [value.strip("` ") for value in allowed.group(1).split(",")]
    if type_name not in _TYPES:
        text = f"({type_name}) {text}"
    if text.strip():
        schema["description"] = text.strip()
    return schema


def lift(
    messages: list[dict[str, Any]],
    tools: list[dict[str, Any]] | None,
    meta: dict[str, Any],
    notes: Notes,
) -> list[dict[str, Any]] | None:
    """Lifts calls in `<function=...>` and the turns that answer them; gives the tools.

    Where no tools are declared beside the messages, those that the prompt prints are.
    """
    declared_tools = tools
    for message in messages:
        if tools is not None or message["role"] == "assistant":
            break
        declared_tools = declared(message.get("content") or "") or declared_tools
    types = declarations.parameter_types(declared_tools)
    lifted = _lifted(messages, types)
    if lifted is None:
        notes.count("calls_not_lifted")  # all of a record or none of it
        return tools
    for message, found in lifted:
        message.pop("content")
        if found.content:
            message["content"] = found.content
        calls = message.setdefault("tool_calls", [])
        calls.extend({"id": "", "name": name, "arguments": a} for name, a in found.calls)
        notes.repair("calls_lifted", len(found.calls))
    if tools is None and declared_tools:
        notes.repair("tools_from_prompt", len(declared_tools))
        meta["tools_from"] = "prompt"
    if lifted or declared_tools:
        agent_text.lift_observations(messages, notes)
        agent_text.cut_instructions(messages, meta, notes)
    return declared_tools


def _lifted(
    messages: list[dict[str, Any]], types: toolcall_text.ParameterTypes
) -> list[tuple[dict[str, Any], toolcall_text.Lifted]] | None:
    """Replies with calls as text, and the calls; None where one of them does not parse."""
    found = []
    for message in messages:
        content = message.get("content") or ""
        if message["role"] == "assistant" and "<function=" in content:
            lifted = toolcall_text.lift_functions(content, types)
            if lifted is None:
                return None
            found.append((message, lifted))
    return found
