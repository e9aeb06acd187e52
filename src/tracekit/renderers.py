"""Renderers of Qwen3.5, Qwen3 and ChatML: a sample as the exact text of the template, in pieces.

Each adds one sample to a `Rendering`, or raises RenderError.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from tracekit.pieces import (
    ANSWER,
    END,
    L_END,
    L_START,
    OUTSIDE,
    START,
    SYSTEM,
    TARGET,
    TEMPLATE,
    TOOLS,
    USER,
    RenderError,
    Rendering,
    Row,
    ToolKey,
    assistant,
    is_query,
    result,
    split_thinking,
    targets,
    tool_key,
    tool_lines,
    turn,
    with_controls,
)
from tracekit.samples import Sample
from tracekit.wire import arguments_value, dumps, json_value


def no_thinking(sample: Sample, m: int, reasoning: str | None) -> bool:
    return False


def thinks(sample: Sample, m: int, reasoning: str | None) -> bool:
    return sample.thinking is None or m >= sample.thinking


# --- Qwen3.5 -------------------------------------------------------------------------------------

_QWEN3_5_TOOLS = (
    "# Tools\n\nYou have access to the following functions:\n\n<tools>",
    "\n</tools>\n\nIf you choose to call a function ONLY reply in the following format with NO "
    "suffix:\n\n<tool_call>\n<function=example_function_name>\n<parameter=example_parameter_1>\n"
    "value_1\n</parameter>\n<parameter=example_parameter_2>\nThis is the value for the second "
    "parameter\nthat can span\nmultiple lines\n</parameter>\n</function>\n</tool_call>\n\n"
    "<IMPORTANT>\nReminder:\n- Function calls MUST follow the specified format: an inner "
    "<function=...></function> block must be nested within <tool_call></tool_call> XML tags\n"
    "- Required parameters MUST be specified\n- You may provide optional reasoning for your "
    "function call in natural language BEFORE the function call, but NOT after\n- If there is no "
    "function call available, answer the question like normal with your current knowledge and do "
    "not tell the user about function calls\n</IMPORTANT>",
)
"""Text before and after the declarations: the model's template, Apache-2.0."""


@lru_cache(maxsize=128)
def _qwen3_5_header(key: ToolKey) -> tuple[list[str], list[int]]:
    before, after = _QWEN3_5_TOOLS
    fixed, labels = with_controls(after, TOOLS | OUTSIDE)
    return (
        [START, "system\n", before + tool_lines(key), *fixed],
        [L_START | OUTSIDE, TEMPLATE | OUTSIDE, TOOLS | OUTSIDE, *labels],
    )


def qwen3_5(row: Row, sample: Sample, out: Rendering) -> None:
    messages = row["messages"][: sample.end]
    if not messages:
        raise RenderError("no_messages")
    first = messages[0]
    tools = row.get("tools")
    if tools:
        texts, labels = _qwen3_5_header(tool_key(tools))
        out.texts += texts
        out.labels += labels
        if first["role"] == "system":
            content = (first["content"] or "").strip()
            if content:
                out.texts += ("\n\n", content)
                out.labels += (TEMPLATE, SYSTEM)
        out.texts += (END, "\n")
        out.labels += (L_END | OUTSIDE, TEMPLATE | OUTSIDE)
    elif first["role"] == "system":
        turn(out, "system\n", (first["content"] or "").strip(), SYSTEM)
    asked = False
    before = ""
    last = len(messages) - 1
    for m, message in enumerate(messages):
        role = message["role"]
        content = (message["content"] or "").strip()
        if role == "assistant":
            _qwen3_5_assistant(out, sample, m, message, content)
        elif role == "tool":
            closes = m == last or messages[m + 1]["role"] != "tool"
            # The template opens no turn for a result that is the first message.
            result(out, content, opens=before not in ("", "tool"), closes=closes)
        elif role == "user":
            asked = asked or is_query(content)
            turn(out, "user\n", content, USER)
        elif role != "system":
            raise RenderError("unknown_role", role, m)
        elif m > 0:
            raise RenderError("system_not_first", "", m)
        before = role
        out.message_ends.append(len(out.texts))
    if not asked:
        raise RenderError("no_user_message")


def _qwen3_5_assistant(out: Rendering, sample: Sample, m: int, message: Row, content: str) -> None:
    reasoning = message.get("reasoning")
    if reasoning is None:
        reasoning = ""
        if "</think>" in content:
            reasoning, content = split_thinking(content)
    calls = message.get("tool_calls") or ()
    assistant(
        out,
        reasoning.strip() if thinks(sample, m, reasoning) else None,
        content,
        [_qwen3_5_call(call, m) for call in calls],
        "\n\n" if calls and content.strip() else "",
        targets(message, m >= sample.own),
    )


def _qwen3_5_call(call: Row, m: int) -> str:
    name = call["name"]
    try:
        arguments = json_value(call["arguments"])
    except ValueError as error:
        raise RenderError("arguments_not_object", f"{name}: {error}", m) from None
    if not isinstance(arguments, dict):
        kind = type(arguments).__name__
        raise RenderError("arguments_not_object", f"{name}: a {kind}", m)
    body = f"\n<function={name}>\n"
    for key, value in arguments.items():
        body += f"<parameter={key}>\n{_qwen3_5_value(value)}\n</parameter>\n"
    return body + "</function>\n"


def _qwen3_5_value(value: Any) -> str:
    if isinstance(value, str):
        return value
    # The template writes scalars with Python's str: True, None, 1.0.
    return dumps(value) if isinstance(value, (dict, list)) else str(value)


# --- Qwen3 ---------------------------------------------------------------------------------------

_QWEN3_TOOLS = (
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are "
    "provided with function signatures within <tools></tools> XML tags:\n<tools>",
    "\n</tools>\n\nFor each function call, return a json object with function name and arguments "
    'within <tool_call></tool_call> XML tags:\n<tool_call>\n{"name": <function-name>, '
    '"arguments": <args-json-object>}\n</tool_call>',
)
"""Text before and after the declarations: the model's template, Apache-2.0."""


@lru_cache(maxsize=128)
def _qwen3_header(key: ToolKey) -> tuple[list[str], list[int]]:
    before, after = _QWEN3_TOOLS
    fixed, labels = with_controls(after, TOOLS | OUTSIDE)
    return [before + tool_lines(key), *fixed], [TOOLS | OUTSIDE, *labels]


def qwen3(row: Row, sample: Sample, out: Rendering) -> None:
    messages = row["messages"][: sample.end]
    if not messages:
        raise RenderError("no_messages")
    first = messages[0]
    tools = row.get("tools")
    if tools:
        out.texts += (START, "system\n")
        out.labels += (L_START | OUTSIDE, TEMPLATE | OUTSIDE)
        if first["role"] == "system":
            out.texts += (first["content"] or "", "\n\n")
            out.labels += (SYSTEM, TEMPLATE)
        texts, labels = _qwen3_header(tool_key(tools))
        out.texts += texts
        out.labels += labels
        out.texts += (END, "\n")
        out.labels += (L_END | OUTSIDE, TEMPLATE | OUTSIDE)
    elif first["role"] == "system":
        turn(out, "system\n", first["content"] or "", SYSTEM)
    before = ""
    last = len(messages) - 1
    for m, message in enumerate(messages):
        role = message["role"]
        content = message["content"] or ""
        if role == "assistant":
            _qwen3_assistant(out, sample, m, message, content)
        elif role == "tool":
            closes = m == last or messages[m + 1]["role"] != "tool"
            result(out, content, opens=before != "tool", closes=closes)
        elif role == "user":
            turn(out, "user\n", content, USER)
        elif role != "system":
            raise RenderError("unknown_role", role, m)
        elif m > 0:
            turn(out, "system\n", content, SYSTEM)
        before = role
        out.message_ends.append(len(out.texts))


def qwen3_thinks(sample: Sample, m: int, reasoning: str | None) -> bool:
    # Its inference template writes an empty think block for the last message only.
    if sample.thinking is None:
        return True
    return m >= sample.thinking and (m == sample.end - 1 or bool(reasoning))


def _qwen3_assistant(out: Rendering, sample: Sample, m: int, message: Row, content: str) -> None:
    reasoning = message.get("reasoning")
    if reasoning is None:
        reasoning = ""
        if "</think>" in content:
            reasoning, content = split_thinking(content)
    bodies = []
    for call in message.get("tool_calls") or ():
        arguments = arguments_value(call["arguments"])
        written = arguments if isinstance(arguments, str) else dumps(arguments)
        bodies.append(f'\n{{"name": "{call["name"]}", "arguments": {written}}}\n')
    separator = "\n" if content else ""
    marks = targets(message, m >= sample.own)
    if qwen3_thinks(sample, m, reasoning):
        assistant(out, reasoning.strip("\n"), content.lstrip("\n"), bodies, separator, marks)
    else:
        assistant(out, None, content, bodies, separator, marks)


# --- ChatML --------------------------------------------------------------------------------------


def chatml(row: Row, sample: Sample, out: Rendering) -> None:
    messages = row["messages"][: sample.end]
    if not messages:
        raise RenderError("no_messages")
    if row.get("tools"):
        raise RenderError("not_in_template", "tools")
    for m, message in enumerate(messages):
        role = message["role"]
        content = message["content"] or ""
        if message.get("tool_calls") or role == "tool":
            raise RenderError("not_in_template", "calls and results", m)
        if message.get("reasoning"):
            raise RenderError("not_in_template", "reasoning", m)
        if role == "assistant":
            _, answers, _, ends = targets(message, m >= sample.own)
            out.texts += (START, "assistant\n", content, END, "\n")
            out.labels += (
                L_START, TEMPLATE, ANSWER | TARGET * answers, L_END | TARGET * ends, TEMPLATE,
            )  # fmt: skip
        elif role in ("system", "user"):
            turn(out, f"{role}\n", content, SYSTEM if role == "system" else USER)
        else:
            raise RenderError("unknown_role", role, m)
        out.message_ends.append(len(out.texts))
