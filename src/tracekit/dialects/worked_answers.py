"""Worked answers: where they state their result, and where their working belongs."""

from __future__ import annotations

from typing import Any

from tracekit.codes import Code
from tracekit.dialects.dialect import Notes, Option

_FINAL = "####"

CODES = (
    Code(
        name="rationale_moved",
        kind="repair",
        what="The working before the final answer became the reasoning, of the kind `rationale`.",
        fix="Option `rationale_to: content` leaves the answer as it was written.",
    ),
)

RATIONALE_TO = Option(
    name="rationale_to",
    choices=("content", "reasoning"),
    what="Working that was written for people: stays in the answer, or becomes the reasoning "
    "(kind `rationale`) before the final answer.",
)
"""The default is the content: a rationale is short, and as reasoning among whole chains of thought
it teaches a model to think in headlines."""


def final_answer(text: str) -> str | None:
    """Final answer of a worked one: after `####` on the last line, or in the last `\\\\boxed{}`.

    >>> final_answer("48 / 2 = 24\\n#### 24")
    '24'
    >>> final_answer("so it is \\\\boxed{\\\\frac{1}{2}}.")
    '\\\\frac{1}{2}'
    """
    last = text.rstrip().rsplit("\n", 1)[-1]
    if last.startswith(_FINAL):
        return last[len(_FINAL) :].strip() or None
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    depth = 0
    for place in range(start + 6, len(text)):
        if text[place] == "{":
            depth += 1
        elif text[place] == "}":
            depth -= 1
            if depth == 0:
                return text[start + 7 : place] or None
    return None


def move_rationale(message: dict[str, Any], rationale: str, answer: str, notes: Notes) -> None:
    """Makes the working of a message its reasoning, and the final answer its content."""
    if not rationale or message.get("reasoning"):
        return
    message["reasoning"] = rationale
    message["reasoning_kind"] = "rationale"
    if answer:
        message["content"] = answer
    else:
        message.pop("content", None)
    notes.repair("rationale_moved")
