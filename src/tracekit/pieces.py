"""Pieces of a rendered trace: text with its segment, its message and whether it is trained on.

What all chat templates of `render.py` share stands here too: turns, results, targets, the cut at
`</think>`, and fixed text with control tokens in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from tracekit.wire import dumps, tool_value

SEGMENTS = (
    "system",
    "tools",
    "user",
    "reasoning",
    "answer",
    "call",
    "result",
    "template",
)
"""Segment code k is SEGMENTS[k]; the markup of a call counts with the call, the instructions of the
tools block with the tools, control tokens and fixed words as template."""
SYSTEM, TOOLS, USER, REASONING, ANSWER, CALL, RESULT, TEMPLATE = range(8)

CONTROLS = (
    "<|im_start|>",
    "<|im_end|>",
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
)
"""Control tokens that templates use; number k + 1 in a label is CONTROLS[k]."""

SEGMENT_BITS = 7
TARGET = 8
"""Label bit: the piece is trained on."""
OUTSIDE = 16
"""Label bit: the piece belongs to no message (tools and their turn)."""
CONTROL_SHIFT = 5

Row: TypeAlias = Mapping[str, Any]
ToolKey: TypeAlias = tuple[tuple[str | None, ...], ...]
"""(name, description, parameters, extra) of each tool."""


@dataclass(slots=True)
class Rendering:
    """Renderings one after the other, flat: a list a field is several times as fast as objects.

    A piece is a text and a label: segment | TARGET | OUTSIDE | number of the control token, or 0,
    shifted by CONTROL_SHIFT. A control token is a piece of its own; an empty piece may occur.
    """

    texts: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    message_ends: list[int] = field(default_factory=list)
    """Number of pieces after each message; what comes before the first message counts with it."""
    controls: list[str] = field(default_factory=lambda: list(CONTROLS))
    """Control tokens by number, from 1; a template of a user's adds those of its tokenizer."""


class Piece(NamedTuple):
    """One piece of a rendering, spelled out."""

    text: str
    segment: str
    message: int | None
    target: bool
    control: bool


def control(name: str, segment: int = TEMPLATE) -> int:
    """Label of a control token that is not trained on."""
    return segment | CONTROLS.index(name) + 1 << CONTROL_SHIFT


REASONS = {
    "no_messages": "there is no message",
    "no_user_message": "no message of the user, other than tool responses",
    "system_not_first": "a system message after the first message",
    "system_without_content": "the system message is empty",
    "unknown_role": "a role that the template does not know",
    "arguments_not_object": "the arguments of a call do not parse or are no JSON object",
    "tool_not_json": "the declaration of a tool does not parse",
    "not_in_template": "the template has no place for reasoning, tools or calls",
    "template_refused": "a template of the user raised an error; the detail is what it says",
    "template_limit": "a template of the user took too much time or memory",
    "text_not_found": "where the texts stand in a template of the user cannot be told",
    "marks_differ": "a template of the user marks a target where no assistant speaks",
}
"""Why a trace cannot be rendered: the detail of the finding `unrenderable`."""


class RenderError(Exception):
    """A trace that the template refuses. code: one of REASONS."""

    def __init__(self, code: str, detail: str = "", message: int = -1) -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code = code
        self.detail = detail
        self.message = message


Marks: TypeAlias = tuple[bool, bool, Sequence[bool], bool]
"""(think block, content, calls, end of the turn) of an assistant message: trained on or not."""


def targets(message: Row, own: bool = True) -> Marks:
    """What of an assistant message is trained on; nothing of one that is history in its sample."""
    calls = message.get("tool_calls") or ()
    if message.get("weight") == 0 or not own:
        return False, False, [False] * len(calls), False
    flags = message.get("train")
    if flags is None:
        return True, True, [True] * len(calls), True
    given = flags["calls"]
    marks = [True] * len(calls)
    if given is not None:
        marks[: len(given)] = given[: len(calls)]
    content = flags["content"] is not False
    return flags["reasoning"] is not False, content, marks, marks[-1] if calls else content


def split_thinking(content: str) -> tuple[str, str]:
    """(reasoning, content) of a text with `</think>` in it, as the Qwen templates cut it."""
    before = content.split("</think>")[0].rstrip("\n")
    return before.split("<think>")[-1].lstrip("\n"), content.split("</think>")[-1].lstrip("\n")


def is_query(content: str) -> bool:
    """Does a user message ask something? One that is wholly a tool response does not."""
    return not (content.startswith("<tool_response>") and content.endswith("</tool_response>"))


def tool_key(tools: Sequence[Row]) -> ToolKey:
    """What headers are cached by: the same tools come again and again."""
    return tuple([(t["name"], t["description"], t["parameters"], t["extra"]) for t in tools])


def tool_lines(key: ToolKey) -> str:
    """Declarations, a line break before each. RenderError: one does not parse."""
    lines = []
    for fields in key:
        try:
            tool = dict(zip(("name", "description", "parameters", "extra"), fields, strict=True))
            lines.append("\n" + dumps(tool_value(tool)))
        except (ValueError, AttributeError) as error:
            raise RenderError("tool_not_json", f"{fields[0]}: {error}") from None
    return "".join(lines)


def with_controls(text: str, label: int) -> tuple[list[str], list[int]]:
    """(texts, labels) of fixed text of a template, its control tokens pieces of their own."""
    texts = [t for t in re.split("(" + "|".join(map(re.escape, CONTROLS)) + ")", text) if t]
    return texts, [label | (control(t, 0) if t in CONTROLS else 0) for t in texts]


START, END = "<|im_start|>", "<|im_end|>"
L_START, L_END = control(START), control(END)
_TURN = {
    segment: (L_START, TEMPLATE, segment, L_END, TEMPLATE) for segment in (SYSTEM, USER, ANSWER)
}
_RESPONSE, _RESPONSE_END = "<tool_response>", "</tool_response>"
_RESULT = (TEMPLATE, control(_RESPONSE), TEMPLATE, RESULT, TEMPLATE, control(_RESPONSE_END))


def turn(out: Rendering, opening: str, content: str, segment: int) -> None:
    """One whole turn of the system or the user."""
    out.texts += (START, opening, content, END, "\n")
    out.labels += _TURN[segment]


def result(out: Rendering, content: str, *, opens: bool, closes: bool) -> None:
    """One tool result; those that follow each other share one turn of the user."""
    if opens:
        out.texts += (START, "user")
        out.labels += (L_START, TEMPLATE)
    out.texts += ("\n", _RESPONSE, "\n", content, "\n", _RESPONSE_END)
    out.labels += _RESULT
    if closes:
        out.texts += (END, "\n")
        out.labels += (L_END, TEMPLATE)


def assistant(
    out: Rendering,
    reasoning: str | None,
    content: str,
    calls: Sequence[str],
    separator: str,
    marks: Marks,
) -> None:
    """One assistant turn: think block, content, calls (their bodies), each with its target bit.

    reasoning: null where this sample shows no think block. separator: between content and the
    first call, where there is content.
    """
    thinks, answers, call_marks, ends = marks
    if reasoning is None:
        out.texts += (START, "assistant\n", content)
        out.labels += (L_START, TEMPLATE, ANSWER | TARGET * answers)
    else:
        out.texts += (
            START, "assistant\n", "<think>", "\n", reasoning, "\n", "</think>", "\n\n", content,
        )  # fmt: skip
        out.labels += _OPENING[thinks, answers]
    for body, mark in zip(calls, call_marks, strict=True):
        out.texts += (separator, "<tool_call>", body, "</tool_call>")
        out.labels += _CALLING[mark]
        separator = "\n"
    out.texts += (END, "\n")
    out.labels += _CLOSING[ends]


def _opening(thinks: bool, answers: bool) -> tuple[int, ...]:
    t = TARGET * thinks
    return (
        L_START,
        TEMPLATE,
        control("<think>") | t,
        TEMPLATE | t,
        REASONING | t,
        TEMPLATE | t,
        control("</think>") | t,
        TEMPLATE | t,
        ANSWER | TARGET * answers,
    )


_BOTH = (False, True)
_OPENING = {(t, a): _opening(t, a) for t in _BOTH for a in _BOTH}
_CALLING = {
    t: (
        TEMPLATE | TARGET * t,
        control("<tool_call>") | TARGET * t,
        CALL | TARGET * t,
        control("</tool_call>") | TARGET * t,
    )
    for t in _BOTH
}
_CLOSING = {t: (L_END | TARGET * t, TEMPLATE) for t in _BOTH}
"""Nothing after the end token is trained on: at inference generation stops there."""


def spelled_out(out: Rendering) -> list[Piece]:
    """Pieces of one sample, without the empty ones."""
    pieces = []
    start = 0
    for m, end in enumerate(out.message_ends):
        for text, label in zip(out.texts[start:end], out.labels[start:end], strict=True):
            if text:
                pieces.append(
                    Piece(
                        text,
                        SEGMENTS[label & SEGMENT_BITS],
                        None if label & OUTSIDE else m,
                        bool(label & TARGET),
                        label >> CONTROL_SHIFT > 0,
                    )
                )
        start = end
    return pieces
