"""Conversations of one observed run: from its model calls, tool calls and other spans.

Every model call logs its input anew, so one conversation stands in many spans. A draft is what one
span holds (input and output); a draft whose texts and calls all stand in a longer one is dropped,
and what is left are the conversations. Where the inputs of calls do not hold the conversation, it
is put together from the nearest span above them that has a prompt, their outputs and the results
of tool spans, in the order of time; outputs with no result between are one message. Results that
only a tool span has are set behind their call, found by id, else by name and equal arguments.
A model call inside of another one is the same call logged twice: the richer log is read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from tracekit.codes import Code
from tracekit.dialects import span_drafts, span_results, span_turns
from tracekit.dialects.dialect import Notes
from tracekit.dialects.span_drafts import Turn, sign
from tracekit.errors import BadRecord

CODES = (
    *span_turns.CODES,
    *span_drafts.CODES,
    *span_results.CODES,
    Code(
        name="conversation_assembled",
        kind="repair",
        what="A conversation was put together from the outputs of its calls, since their inputs "
        "do not hold it.",
    ),
)


@dataclass(slots=True)
class Span:
    """One observation: a model call, a tool call, or what stands around them."""

    id: str
    parent: str | None
    kind: Literal["model", "tool", "other"]
    name: str
    start: str
    """Time as text that sorts."""
    input: Any = None
    output: Any = None
    model: str | None = None
    tools: list[Any] | None = None
    """Declarations beside the input; None: nothing is said."""
    call_id: str | None = None
    error: bool | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    """What its reply says in the meta of a message: times, usage."""
    given: list[Turn] = field(default_factory=list)
    said: list[Turn] = field(default_factory=list)


@dataclass(slots=True)
class Conversation:
    """Turns of one conversation, with the model calls that wrote its replies."""

    turns: list[Turn]
    calls: list[Span]
    writers: list[Span | None]
    """The model call that wrote a turn, where one did."""


def conversations(spans: Iterable[Span], notes: Notes) -> list[Conversation]:
    """Conversations of the spans of one run, by the time of their first reply."""
    ordered = sorted(spans, key=lambda span: (span.start, span.id))
    by_id = {span.id: span for span in ordered}
    for span in ordered:
        _read(span, notes)
    model_calls = _without_twins([span for span in ordered if span.kind == "model"])
    tool_calls = [span for span in ordered if span.kind == "tool" and _has_result(span)]
    drafts = [span.given + span.said for span in model_calls if _is_whole(span)]
    drafts += [
        span.given + span.said
        for span in ordered
        if span.kind == "other" and _has_reply(span.given + span.said)
    ]
    assembled = list(_assembled(model_calls, tool_calls, by_id, notes))
    by_reply: dict[str, Span] = {}
    for span in model_calls:
        for turn in span.said:
            by_reply.setdefault(span_drafts.reply_sign(turn), span)
    shelf = span_results.Shelf()
    for span in tool_calls:
        shelf.put(_result_of(span), span.call_id, _call_sign(span))
    parallel = span_drafts.parallel_calls(turn for span in model_calls for turn in span.said)
    found = []
    for turns in span_drafts.longest(drafts, assembled, notes):
        turns = span_drafts.regrouped(turns, parallel, notes)
        turns = span_results.with_results(turns, shelf, notes)
        writers = [_writer(turn, by_id, by_reply) for turn in turns]
        calls = list({span.id: span for span in writers if span is not None}.values())
        found.append(Conversation(turns, calls, writers))
    return sorted(found, key=lambda c: c.calls[0].start if c.calls else "~")


def _writer(turn: Turn, by_id: dict[str, Span], by_reply: dict[str, Span]) -> Span | None:
    if turn["role"] != "assistant":
        return None
    for name in turn.get("spans", ()):
        if by_id[name].kind == "model":
            return by_id[name]
    return by_reply.get(span_drafts.reply_sign(turn))


def _has_result(span: Span) -> bool:
    return span.output not in (None, "null") or bool(span.error)


def _tool_name(span: Span) -> str:
    name = span.meta.get("tool")
    return name if isinstance(name, str) else span.name


def _call_sign(span: Span) -> str:
    return span_results.arguments_sign(_tool_name(span), span.input)


def _result_of(span: Span) -> Turn:
    return span_results.result(span.output, _tool_name(span), span.call_id, span.error)


def _read(span: Span, notes: Notes) -> None:
    """Turns of input and output; a tool's arguments and result are none."""
    if span.kind == "tool":
        span.input, span.output = span_turns.loaded(span.input), span_turns.loaded(span.output)
        return
    strict = span.kind != "model"
    try:
        given = span_turns.read(span.input, "user", notes, strict=strict)
        said = span_turns.read(span.output, "assistant", notes, strict=strict)
    except BadRecord as error:
        notes.count(f"span_not_read:{error.code}")
        return
    for side in (given, said):
        if side.tools is not None:
            span.tools = [*(span.tools or ()), *side.tools]
    turns = [turn for turn in said.turns if turn["role"] != "system"]
    first = [turn for turn in said.turns if turn["role"] == "system"]
    if first and not any(turn["role"] == "system" for turn in given.turns):
        given.turns[:0] = first
    if span.kind == "model":
        turns = span_drafts.merged(turns, notes)
    if given.turns and turns and sign(given.turns[-1]) == sign(turns[0]):
        given.turns.pop()  # an agent's state holds its answer, which is its output too
    # A state that comes out holds what went in.
    n = len(given.turns)
    if n and len(turns) > n and list(map(sign, turns[:n])) == list(map(sign, given.turns)):
        turns = turns[n:]
    span.given, span.said = given.turns, [{**turn, "spans": [span.id]} for turn in turns]


def _without_twins(calls: list[Span]) -> list[Span]:
    """Model calls, of those inside of each other the one with the most in its input."""

    def richness(span: Span) -> tuple[bool, int, int]:
        structured = not isinstance(span_turns.loaded(span.input), str)
        return structured, len(span.given) + len(span.said), len(span.tools or ())

    dropped: set[str] = set()
    kinds = {span.id: span for span in calls}
    for span in calls:
        parent = kinds.get(span.parent or "")
        if parent is not None and parent.id not in dropped:
            poorer = parent if richness(span) >= richness(parent) else span
            dropped.add(poorer.id)
    return [span for span in calls if span.id not in dropped]


def _has_reply(turns: Iterable[Turn]) -> bool:
    return any(turn["role"] == "assistant" for turn in turns)


def _is_whole(span: Span) -> bool:
    """Does the input of a call begin where its conversation begins?"""
    begins = bool(span.given) and span.given[0]["role"] not in ("tool", "assistant")
    return begins and _has_reply(span.given + span.said)


def _assembled(
    calls: list[Span], tools: list[Span], by_id: dict[str, Span], notes: Notes
) -> Iterator[list[Turn]]:
    """Conversations of calls whose input is not theirs, by the span above that has a prompt."""
    above: dict[str, Span | None] = {}

    def prompt_above(span: Span) -> Span | None:
        path = []
        at: Span | None = span
        seen: set[str] = set()
        while at is not None and at.id not in above and at.id not in seen:
            seen.add(at.id)
            path.append(at)
            at = by_id.get(at.parent or "")
            if at is not None and at.kind == "other" and _prompt(at):
                break
        found = above.get(at.id) if at is not None and at.id in above else at
        for passed in path:
            above[passed.id] = found
        return found

    groups: dict[str, list[Span]] = defaultdict(list)
    broken: set[str] = set()
    for span in [*calls, *tools]:
        root = prompt_above(span)
        groups[root.id if root else ""].append(span)
        if span.kind == "model" and span.said and not _is_whole(span):
            broken.add(root.id if root else "")
    for key in sorted(broken):
        root = by_id.get(key)
        turns = list(_prompt(root)) if root else []
        signs: dict[int, str] = {}
        for span in sorted(groups[key], key=lambda s: (s.start, s.id)):
            if span.kind == "model":
                turns.extend(span.said)
            else:
                turns.append(_result_of(span))
                signs[len(turns) - 1] = _call_sign(span)
        notes.repair("conversation_assembled")
        results = [(turn, signs.get(k)) for k, turn in enumerate(turns)]
        yield span_results.paired(results, notes)


def _prompt(span: Span) -> list[Turn]:
    """The turns that a span above begins with, also where its input is plain text or a prompt."""
    if span.given:
        return span.given
    try:
        turns = span_turns.read(span.input, "user", Notes()).turns
    except BadRecord:
        return []
    return turns if turns and turns[-1]["role"] in ("user", "system") else []
