"""Think tags in the text of an assistant: where the reasoning ends and the answer begins.

Only text that *is* a think block is split. A tag that is merely mentioned (inside a sentence or in
code) stays where it stands, for the rules to find.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

TagState: TypeAlias = Literal["closed", "closing_only", "unclosed", "nested", "several"]

# (opening, closing) as models and data sets write them.
PAIRS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<Thought>", "</Thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<|thinking|>", "<|/thinking|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("◁think▷", "◁/think▷"),
    ("<seed:think>", "</seed:think>"),
)
# Tags around the answer, removed only where a think block stood before them.
ANSWER_PAIRS = (
    ("<Output>", "</Output>"),
    ("<|begin_of_solution|>", "<|end_of_solution|>"),
    ("<response>", "</response>"),
)
MARKUP = tuple(tag for pair in PAIRS + ANSWER_PAIRS for tag in pair)
"""Every tag that may be cut out of a text."""


@dataclass(frozen=True, slots=True)
class Thinking:
    """An assistant text in two. State says how the tags stood."""

    reasoning: str
    content: str
    state: TagState


def split(text: str) -> Thinking | None:
    """Reasoning and answer of an assistant text, or None where it holds no think block.

    The reasoning loses the white space around it, the answer the white space before it; all else
    stays. A block that is never closed is all reasoning: such a text has no answer. Where only the
    closing tag stands (the prompt gave the opening one), the text before it is reasoning, if the
    tag begins or ends a line. Linear in the length of the text.

    >>> split("<think>\\n3 + 4 = 7\\n</think>\\n\\n7")
    Thinking(reasoning='3 + 4 = 7', content='7', state='closed')
    >>> split("3 + 4 = 7\\n</think>\\n\\n7").state
    'closing_only'
    >>> split("Close it with `</think>`.") is None
    True
    """
    if "hink" not in text and "hought" not in text and "reasoning>" not in text:
        return None
    start = 0
    n = len(text)
    while start < n and text[start].isspace():
        start += 1
    for opening, closing in PAIRS:
        if text.startswith(opening, start):
            return _split_opened(text, start + len(opening), opening, closing)
    for opening, closing in PAIRS:
        place = _closing_alone(text, opening, closing)
        if place >= 0:
            return _halves(text, 0, place, place + len(closing), "closing_only")
    return None


def _closing_alone(text: str, opening: str, closing: str) -> int:
    """Place of the first closing tag that begins or ends a line outside of a code fence, or -1.

    An opening tag before it means that the block began in the middle of the text: no split then.
    """
    limit = text.find(opening)
    start = 0
    fences = 0
    place = text.find(closing)
    while place >= 0 and (limit < 0 or place < limit):
        fences += text.count("```", start, place)
        start = place
        end = place + len(closing)
        alone = place == 0 or text[place - 1] == "\n" or end == len(text) or text[end] == "\n"
        if alone and fences % 2 == 0:
            return place
        place = text.find(closing, end)
    return -1


def _split_opened(text: str, start: int, opening: str, closing: str) -> Thinking:
    depth = 1
    last = -1
    nested = False
    for tag in re.finditer(f"{re.escape(opening)}|{re.escape(closing)}", text[start:]):
        if tag.group() == opening:
            depth += 1
            nested = True
            continue
        depth -= 1
        last = start + tag.start()
        if depth == 0:
            break
    if last < 0:
        return Thinking(text[start:].strip(), "", "unclosed")
    state: TagState = "nested" if nested else "closed"
    halves = _halves(text, start, last, last + len(closing), state)
    if opening in halves.content and closing in halves.content:
        return Thinking(halves.reasoning, halves.content, "several")
    return halves


def _halves(text: str, start: int, end: int, answer: int, state: TagState) -> Thinking:
    content = text[answer:].lstrip()
    if content.startswith("<"):
        bare = content.rstrip()
        for opening, closing in ANSWER_PAIRS:
            if bare.startswith(opening):
                inner = bare[len(opening) :].removesuffix(closing)
                if opening not in inner and closing not in inner:
                    content = inner.strip()
                break
    return Thinking(text[start:end].strip(), content, state)
