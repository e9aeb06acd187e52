"""Text that a template of a user wrote, in pieces: whose each is, and what is trained on."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tracekit.jinja_process import Rendered
from tracekit.pieces import (
    ANSWER,
    CALL,
    CONTROL_SHIFT,
    OUTSIDE,
    REASONING,
    TARGET,
    TEMPLATE,
    RenderError,
    Rendering,
    Row,
    targets,
)
from tracekit.samples import Sample

CONTROL = re.compile(
    r"<\|[^<>\s]{1,60}\|>|<｜[^<>\s]{1,60}｜>|</?[A-Za-z_]{1,40}>|\[/?[A-Z_]{2,40}\]"
)
"""What may be a control token in the words of a template; only those that the tokenizer has are."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How a template writes a turn of the assistant, seen on a conversation of two words."""

    prompt: str
    """The generation prompt, as far as the turns of a conversation have it too."""
    end: str
    """The control token that ends a turn; "" where there is none."""


@dataclass(frozen=True, slots=True)
class Span:
    """A text of a message, where it stands in the rendering."""

    start: int
    end: int
    segment: int
    message: int


@dataclass(frozen=True, slots=True)
class _Turn:
    """What one message of an assistant is trained on, and where the message is over."""

    start: int
    end: int
    message: int


def _after_end(text: str, end: str, start: int, limit: int) -> int | None:
    """Where the first end token from `start` on is over, before `limit`."""
    found = text.find(end, start, limit) if end else -1
    return None if found < 0 else found + len(end)


def _turns(
    rendered: Rendered, messages: Sequence[Row], spans: Sequence[Span], manner: Manner
) -> list[_Turn]:
    """Turns of all assistants that left a text. RenderError: marks and messages do not agree."""
    text = rendered.text
    assistants = [m for m, message in enumerate(messages) if message["role"] == "assistant"]
    first: dict[int, int] = {}
    last_of: dict[int, int] = {}
    for k, span in enumerate(spans):
        first.setdefault(span.message, k)
        last_of[span.message] = k
    turns = []
    if rendered.spans:
        owners = assistants
        if len(rendered.spans) != len(assistants):
            owners = _owners(rendered.spans, assistants, first, spans)
        for (start, end), m in zip(rendered.spans, owners, strict=True):
            last = text.rfind(manner.end, start, end) if manner.end else -1
            # Nothing after the end token is trained on.
            turns.append(_Turn(start, end if last < 0 else last + len(manner.end), m))
        return turns
    for m in assistants:
        if m not in first:
            continue
        before = spans[first[m] - 1].end if first[m] else 0
        limit = spans[last_of[m] + 1].start if last_of[m] + 1 < len(spans) else len(text)
        start = spans[first[m]].start
        opening = manner.prompt
        while opening:
            found = text.rfind(opening, before, start)
            if found >= 0:
                start = found + len(opening)
                break
            opening = opening[: opening.rstrip("\n").rfind("\n") + 1]
        own = spans[last_of[m]].end
        turns.append(_Turn(start, _after_end(text, manner.end, own, limit) or own, m))
    return turns


def _owners(
    blocks: Sequence[tuple[int, int]],
    assistants: Sequence[int],
    first: Mapping[int, int],
    spans: Sequence[Span],
) -> list[int]:
    """The message of each generation block, where some messages have several or none.

    RenderError: there is a block and no message of an assistant.
    """
    if not assistants:
        raise RenderError("marks_differ", f"{len(blocks)} generation blocks, no assistant")
    begins = [(spans[first[m]].start, m) for m in assistants if m in first]
    owners = []
    for _, end in blocks:
        before = [m for start, m in begins if start < end]
        owners.append(before[-1] if before else assistants[0])
    return owners


def _message_ends(
    text: str, n_messages: int, spans: Sequence[Span], turns: Sequence[_Turn], end: str
) -> list[int]:
    """Where each message is over: behind its end token, else where the next one begins."""
    begins = [len(text)] * (n_messages + 1)
    over = [0] * n_messages
    for message, start, stop in [
        *((s.message, s.start, s.end) for s in spans if s.message >= 0),
        *((t.message, t.start, t.end) for t in turns),
    ]:
        begins[message] = min(begins[message], start)
        over[message] = max(over[message], stop)
    for m in range(n_messages - 1, -1, -1):  # a message that left no text begins with the next
        begins[m] = min(begins[m], begins[m + 1])
    ends = []
    place = 0
    for m in range(n_messages):
        limit = begins[m + 1]
        place = max(place, over[m])
        if limit > place:
            # The turn of an assistant may hold its end token already.
            closed = text.endswith(end, 0, place) if end else False
            found = place if closed else _after_end(text, end, place, limit)
            stop = limit if found is None else found + text.startswith("\n", found)
            place = min(stop, limit)
        ends.append(place)
    ends[-1] = len(text)
    return ends


def cut(
    rendered: Rendered,
    messages: Sequence[Row],
    spans: Sequence[Span],
    sample: Sample,
    manner: Manner,
    out: Rendering,
) -> None:
    """The pieces of one rendering."""
    text = rendered.text
    turns = _turns(rendered, messages, spans, manner)
    ends = _message_ends(text, len(messages), spans, turns, manner.end)
    cuts = {0, len(text), *ends}
    cuts |= {place for s in spans for place in (s.start, s.end)}
    cuts |= {place for t in turns for place in (t.start, t.end)}
    edges = sorted(cuts)
    span_at = {s.start: s for s in spans}
    turn_at = {t.start: t for t in turns}
    span: Span | None = None
    turn: _Turn | None = None
    m = 0
    for start, end in pairwise(edges):
        while m < len(ends) - 1 and start >= ends[m]:
            out.message_ends.append(len(out.texts))
            m += 1
        span = span_at.get(start, span if span and start < span.end else None)
        turn = turn_at.get(start, turn if turn and start < turn.end else None)
        target = _is_target(messages, sample, span, turn) * TARGET
        if span is not None:
            out.texts.append(text[start:end])
            out.labels.append(span.segment | target | (OUTSIDE if span.message < 0 else 0))
        else:
            calls = turn is not None and bool(messages[turn.message].get("tool_calls"))
            _own_words(text[start:end], (CALL if calls else TEMPLATE) | target, out)
    out.message_ends += [len(out.texts)] * (len(ends) - m)


def _is_target(
    messages: Sequence[Row], sample: Sample, span: Span | None, turn: _Turn | None
) -> bool:
    """Is a piece inside a turn trained on, by the flags of its message?"""
    if turn is None:
        return False
    message = messages[turn.message]
    thinks, answers, calls, over = targets(message, turn.message >= sample.own)
    if span is not None and span.segment == REASONING:
        return thinks
    if span is not None and span.segment == ANSWER:
        return answers
    # Markup: one flag for all calls, since a template says not where one of them ends.
    return all(calls) and over if calls else over


def _own_words(text: str, label: int, out: Rendering) -> None:
    """Words of the template, its control tokens pieces of their own."""
    at = 0
    for found in CONTROL.finditer(text):
        if found.start() > at:
            out.texts.append(text[at : found.start()])
            out.labels.append(label)
        name = found.group()
        if name not in out.controls:
            out.controls.append(name)
        out.texts.append(name)
        number = out.controls.index(name) + 1
        out.labels.append(label & TARGET | TEMPLATE | number << CONTROL_SHIFT)
        at = found.end()
    if at < len(text):
        out.texts.append(text[at:])
        out.labels.append(label)
