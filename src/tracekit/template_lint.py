"""What a template does to a trace: findings on its samples, beside what it refuses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tracekit.codes import Code
from tracekit.findings import Finding
from tracekit.pieces import RenderError, Rendering, Row
from tracekit.render import Template
from tracekit.samples import History, Sample

VERSION = 2

CODES = (
    Code(
        name="thinking_deleted",
        kind="finding",
        what="Reasoning of a message is in no sample: the template leaves it out.",
        why="The trainer never sees it, and the answer is trained without the way to it.",
        default="flag",
        fix="render: {history_thinking: keep}, or strip for a sample a query",
        source="Qwen's inference templates print the thinking after the last query only",
    ),
    Code(
        name="prefix_unstable",
        kind="finding",
        what="An earlier turn is written otherwise once later turns follow it.",
        why="What is trained on is not what the model wrote or read at that turn, and caches that "
        "rely on a common prefix are wrong.",
        default="flag",
        fix="render: {history_thinking: keep}, or strip for a sample a query",
        source="the text up to a turn against the same stretch of the whole",
    ),
    Code(
        name="nothing_trained",
        kind="finding",
        what="There are replies, but weights and flags take every token out of the targets.",
        why="Tokens without a target cost a training step and teach nothing.",
        default="drop",
        fix="the option of its dialect that says what is trained (docs/formats.md), or "
        "validate: {flag: [nothing_trained]}",
    ),
    Code(
        name="end_token_is_text",
        kind="finding",
        what="The token that ends a turn in this template is no control token of the tokenizer.",
        why="Template and tokenizer do not belong together: other tokens are trained than counted.",
        default="flag",
        fix="render: {template: ..., tokenizer: ...} of one model",
    ),
    Code(
        name="unterminated",
        kind="finding",
        what="The last token that is trained on is not the end of a turn.",
        why="The model is not taught to stop there.",
        default="flag",
        fix="validate: {drop: [unterminated]}",
        source="flags of the source take the last call or text out of the targets",
    ),
)


def lint(
    trace: int,
    row: Row,
    template: Template,
    history: History,
    measured: Mapping[str, Any],
    *,
    knows_end: bool = True,
) -> Iterator[Finding]:
    """Findings on the samples of one edited trace that could be rendered.

    measured: its row of the tokens family, with `message_reasoning_tokens`. knows_end: has the
    tokenizer the template's end token?
    """
    if not knows_end:
        yield Finding(trace=trace, code="end_token_is_text", field="trace", detail=template.end)
    messages = row["messages"]
    shown = measured["message_reasoning_tokens"]
    deleted = [
        m
        for m, message in enumerate(messages)
        if message["role"] == "assistant" and (message["reasoning"] or "").strip() and not shown[m]
    ]
    if deleted:
        yield Finding(
            trace=trace, code="thinking_deleted", message=deleted[0], field="reasoning",
            value=float(len(deleted)),
        )  # fmt: skip
    unstable = _first_unstable(row, template, history)
    if unstable is not None:
        yield Finding(trace=trace, code="prefix_unstable", message=unstable, field="content")
    if measured["terminated"] is None and any(_says(m) for m in messages):
        yield Finding(trace=trace, code="nothing_trained", field="trace")
    if measured["terminated"] is False:
        targets = measured["message_target_tokens"]
        last = max(m for m, n in enumerate(targets) if n)
        yield Finding(trace=trace, code="unterminated", message=last, field="content")


def _says(message: Row) -> bool:
    # One that says nothing at all is `empty_target`.
    said = message["content"] or message["reasoning"] or message["tool_calls"]
    return message["role"] == "assistant" and bool(said)


def _first_unstable(row: Row, template: Template, history: History) -> int | None:
    """The first message of an assistant that its own sample writes otherwise than at its time."""
    if template.thinks is None:
        return _first_unstable_text(row, template, history)
    if history == "keep" or template.is_query is None:
        return None
    messages: Sequence[Row] = row["messages"]
    last_query = -1
    then: dict[int, bool] = {}
    for m, message in enumerate(messages):
        if message["role"] == "user" and template.is_query(message["content"] or ""):
            last_query = m
        elif message["role"] == "assistant":
            now = Sample(m + 1, 0, last_query + 1 if last_query >= 0 else m + 1)
            then[m] = template.thinks(now, m, message["reasoning"])
    for sample in template.samples(messages, history):
        for m in range(sample.own, sample.end):
            if m in then and template.thinks(sample, m, messages[m]["reasoning"]) != then[m]:
                return m
    return None


def _first_unstable_text(row: Row, template: Template, history: History) -> int | None:
    """The same for a template that only its text tells about: tried at the last turn but one."""
    for sample in template.samples(row["messages"], history):
        own = [
            m for m in range(sample.own, sample.end) if row["messages"][m]["role"] == "assistant"
        ]
        if len(own) < 2:
            continue
        queries = [
            m
            for m in range(sample.own, sample.end)
            if row["messages"][m]["role"] == "user"
            and template.is_query is not None
            and template.is_query(row["messages"][m]["content"] or "")
        ]
        # The last turn before the last query, and the last but one.
        tried = {own[-2], *[m for m in own if queries and m < queries[-1]][-1:]}
        try:
            whole = _text(row, template, sample)
            for m in sorted(tried):
                if not whole.startswith(_text(row, template, Sample(m + 1, sample.own, None))):
                    return m
        except RenderError:
            continue
    return None


def _text(row: Row, template: Template, sample: Sample) -> str:
    out = Rendering()
    template.render(row, sample, out)
    return "".join(out.texts)
