"""Chat templates: a stored trace as the exact text that a trainer reads, in labelled pieces.

    qwen3.5   Qwen3.5-4B and larger with the thinking of every turn kept (history_thinking: keep)
    qwen3     Qwen3 (2025): calls as JSON, thinking of every turn kept
    chatml    roles and content only; a trace with reasoning or calls cannot be rendered

`qwen3.5` and `qwen3` give, byte for byte, the text of the training variants of the official Jinja
templates as TRL 1.16 ships them; tests compare with those. Joined, the texts of all pieces are the
rendering. A control token is a piece of its own; text of a message that spells one stays text.

A row is a dict as `table.to_pylist()` gives it, with at least `messages` and `tools`; of a message
the keys role, content, reasoning, tool_calls, train and weight are read and may be absent.

Targets (what is trained on) are those of TRL's assistant mask: from the opening `<think>` of an
assistant message to the line break after `<|im_end|>`. Flags of `train` take parts out:
`reasoning` the think block, `content` the visible text, `calls` single calls; the closing
`<|im_end|>` goes with the last of them. `weight` 0 takes out the whole message.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

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
    Piece,
    RenderError,
    Rendering,
    Row,
    ToolKey,
    assistant,
    is_tool_response,
    result,
    spelled_out,
    split_thinking,
    targets,
    tool_key,
    tool_lines,
    turn,
    with_controls,
)
from tracekit.wire import arguments_value, dumps, json_value

Render: TypeAlias = Callable[[Row, Rendering], None]
"""Adds one trace to a rendering. RenderError: refused; the caller takes back what was added."""


@dataclass(frozen=True, slots=True)
class Template:
    """A named way to render. `version` is raised when any byte of any rendering changes."""

    name: str
    version: int
    render: Render

    @property
    def hash(self) -> str:
        """SHA-256 of name and version: what manifests and fingerprints carry."""
        return hashlib.sha256(f"tracekit template {self.name} {self.version}".encode()).hexdigest()


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


def _qwen3_5(row: Row, out: Rendering) -> None:
    messages = row["messages"]
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
            _qwen3_5_assistant(out, m, message, content)
        elif role == "tool":
            closes = m == last or messages[m + 1]["role"] != "tool"
            # The template opens no turn for a result that is the first message.
            result(out, content, opens=before not in ("", "tool"), closes=closes)
        elif role == "user":
            asked = asked or not is_tool_response(content)
            turn(out, "user\n", content, USER)
        elif role != "system":
            raise RenderError("unknown_role", role, m)
        elif m > 0:
            raise RenderError("system_not_first", "", m)
        before = role
        out.message_ends.append(len(out.texts))
    if not asked:
        raise RenderError("no_user_message")


def _qwen3_5_assistant(out: Rendering, m: int, message: Row, content: str) -> None:
    reasoning = message.get("reasoning")
    if reasoning is None:
        reasoning = ""
        if "</think>" in content:
            reasoning, content = split_thinking(content)
    calls = message.get("tool_calls") or ()
    assistant(
        out,
        reasoning.strip(),
        content,
        [_qwen3_5_call(call, m) for call in calls],
        "\n\n" if calls and content.strip() else "",
        message,
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


def _qwen3(row: Row, out: Rendering) -> None:
    messages = row["messages"]
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
            _qwen3_assistant(out, message, content)
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


def _qwen3_assistant(out: Rendering, message: Row, content: str) -> None:
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
    assistant(out, reasoning.strip("\n"), content.lstrip("\n"), bodies, separator, message)


# --- ChatML --------------------------------------------------------------------------------------


def _chatml(row: Row, out: Rendering) -> None:
    messages = row["messages"]
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
            _, answers, _, ends = targets(message)
            t = TARGET * ends
            out.texts += (START, "assistant\n", content, END, "\n")
            out.labels += (L_START, TEMPLATE, ANSWER | TARGET * answers, L_END | t, TEMPLATE | t)
        elif role in ("system", "user"):
            turn(out, f"{role}\n", content, SYSTEM if role == "system" else USER)
        else:
            raise RenderError("unknown_role", role, m)
        out.message_ends.append(len(out.texts))


TEMPLATES = {
    t.name: t
    for t in (
        Template("qwen3.5", 1, _qwen3_5),
        Template("qwen3", 1, _qwen3),
        Template("chatml", 1, _chatml),
    )
}
DEFAULT = "qwen3.5"


def render_row(row: Row, template: str = DEFAULT) -> list[Piece]:
    """Pieces of one trace, in order. RenderError: the template refuses it.

    >>> pieces = render_row({"messages": [{"role": "user", "content": " hi "}], "tools": None})
    >>> "".join(piece.text for piece in pieces)
    '<|im_start|>user\\nhi<|im_end|>\\n'
    """
    out = Rendering()
    TEMPLATES[template].render(row, out)
    return spelled_out(out)


def render_text(row: Row, template: str = DEFAULT) -> str:
    """One trace as the text that the template makes. RenderError: the template refuses it."""
    out = Rendering()
    TEMPLATES[template].render(row, out)
    return "".join(out.texts)


def template_hash(template: str = DEFAULT) -> str:
    """SHA-256 of the rendering rules of a template."""
    return TEMPLATES[template].hash
