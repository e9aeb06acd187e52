"""Conversations of an observed run as traces, and what of its spans stands in none of them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tracekit import jsontext
from tracekit.codes import Code
from tracekit.dialects import conversation, declarations, openai_message, span_calls, span_turns
from tracekit.dialects.dialect import Notes, Option
from tracekit.dialects.span_calls import Conversation, Span
from tracekit.dialects.span_drafts import Turn
from tracekit.errors import BadRecord

CODES = (
    *conversation.CODES,
    *openai_message.CODES,
    *declarations.CODES,
    *span_calls.CODES,
    Code(
        name="reasoning_restored",
        kind="repair",
        what="The reasoning of a reply was missing where it was replayed and was taken from the "
        "log of its generation.",
    ),
    Code(
        name="no_model_call",
        kind="reject",
        what="The record holds no call of a model with a reply.",
    ),
)

CALLS = Option(
    name="calls",
    choices=("lift", "as_text"),
    what="Calls written as text (`<tool_call>`): made calls, or left in the content.",
)

_SEALED = frozenset(
    (
        *("signature", "protectedData", "thoughtSignature", "thought_signature"),
        *("encrypted_content", "encrypted_index", "encrypted_stdout"),
    )
)
"""Keys whose text only the provider can read; it is kept nowhere."""
MIN_CHARS = 20
"""Texts of spans that are shorter are not looked for in the traces."""


def traces(
    spans: Sequence[Span], notes: Notes, options: Mapping[str, str]
) -> list[tuple[dict[str, Any], dict[str, Any], Conversation]]:
    """(trace without meta, its meta, its conversation) for each conversation of a run.

    Raises BadRecord where there is none: no_model_call, or what its turns are refused for.
    """
    found = []
    refused: BadRecord | None = None
    models = {span.model for span in spans if span.kind == "model" and span.model}
    for talk in span_calls.conversations(spans, notes):
        try:
            trace, meta = _trace(talk, notes, options)
        except BadRecord as error:
            refused = refused or error
            notes.count(f"conversation_left_out:{error.code}")
        else:
            if "model" not in trace and len(models) == 1:
                trace["model"] = next(iter(models))
            found.append((trace, meta, talk))
    if not found:
        raise refused or BadRecord("no_model_call", f"{len(spans)} observations")
    return found


def _trace(
    talk: Conversation, notes: Notes, options: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    messages = []
    for k, turn in enumerate(talk.turns):
        turn = _as_generated(turn, talk.writers[k], notes)
        said = {key: v for key, v in turn.items() if key not in ("withheld", "summary", "spans")}
        message = openai_message.read_message(said, k, notes, options)
        if turn.get("summary"):
            message["reasoning_kind"] = "summary"
        elif turn.get("withheld") and not message.get("reasoning"):
            message["reasoning_kind"] = "withheld"
        span = talk.writers[k]
        if span is not None:
            if not message.get("reasoning") and _counted_reasoning(span.meta.get("usage")):
                message["reasoning_kind"] = "withheld"
            for key, v in {"model": span.model, **span.meta}.items():
                if v is not None and v != {} and key not in ("tool", "finish_reason"):
                    conversation.add_meta(message, key, v)
            reason = span.meta.get("finish_reason")
            if isinstance(reason, str):
                message.setdefault("finish_reason", reason)
        messages.append(message)
    meta: dict[str, Any] = {}
    trace: dict[str, Any] = {"messages": conversation.finish(messages, notes, meta)}
    tools = _tools(talk.calls, notes)
    if tools is not None:
        trace["tools"] = tools
    models = [span.model for span in talk.calls if span.model]
    if models:
        trace["model"] = models[-1]
    return trace, meta


def _counted_reasoning(usage: Any) -> bool:
    """Does the usage of a call count reasoning? Where none is logged, it was withheld."""
    for key, v in usage.items() if isinstance(usage, Mapping) else ():
        if isinstance(v, Mapping):
            if _counted_reasoning(v):
                return True
        elif _REASONING_TOKENS.search(str(key)) and isinstance(v, (int, float)) and v > 0:
            return True
    return False


_REASONING_TOKENS = re.compile(r"(?i)reasoning|thoughts_token")


def _as_generated(turn: Turn, writer: Span | None, notes: Notes) -> Turn:
    """A reply with the reasoning and finish reason of its generation, where a replay lost them."""
    if writer is None or "spans" in turn or len(writer.said) != 1:
        return turn
    kept = ("reasoning_content", "withheld", "summary", "finish_reason")
    generated = {key: writer.said[0][key] for key in kept if writer.said[0].get(key)}
    if "reasoning_content" in generated and not turn.get("reasoning_content"):
        notes.repair("reasoning_restored")
    return {**generated, **{key: v for key, v in turn.items() if v is not None}}


def _tools(calls: Iterable[Span], notes: Notes) -> list[dict[str, Any]] | None:
    """Tools of all calls, in the order of their first offer; None where no call says any."""
    found: dict[str, dict[str, Any]] | None = None
    for span in calls:
        if span.tools is None:
            continue
        found = {} if found is None else found
        for tool in span.tools:
            try:
                read = (declarations.read_tools([tool]) or [])[0]
            except BadRecord as error:
                notes.count(f"tool_not_read:{error.code}")
                continue
            # Of one tool logged several times, the one with parameters says the most.
            held = found.get(read["name"])
            if held is None or (held["parameters"] is None and read["parameters"] is not None):
                found[read["name"]] = read
    return None if found is None else list(found.values())


def said_texts(traces: Iterable[Mapping[str, Any]]) -> set[str]:
    """Every text of traces, stripped, also those inside of JSON text and of parts of it."""
    texts: set[str] = set()
    for trace in traces:
        _collect(trace, texts, 3)
    return texts


def _collect(value: Any, texts: set[str], depth: int) -> None:
    if isinstance(value, str):
        texts.add(value.strip())
        if depth and value[:1] in ("{", "["):
            inner = span_turns.loaded(value)
            if not isinstance(inner, str):
                _collect(inner, texts, depth - 1)
    elif isinstance(value, Mapping):
        for v in value.values():
            _collect(v, texts, depth)
    elif isinstance(value, (list, tuple)):
        for v in value:
            _collect(v, texts, depth)


def unsaid(value: Any, texts: set[str], path: str = "", depth: int = 4) -> dict[str, str]:
    """Texts of a value that no trace says, by their place; what is told is then said."""
    found: dict[str, str] = {}
    if isinstance(value, str):
        text = value.strip()
        if len(text) < MIN_CHARS or text in texts:
            return found
        inner = span_turns.loaded(value) if depth else value
        if not isinstance(inner, str):
            return unsaid(inner, texts, path, depth - 1)
        texts.add(text)
        if value.startswith("data:") and ";base64," in value[:200]:
            value = "sha256:" + hashlib.sha256(value.encode("utf-8", "replace")).hexdigest()
        found[path] = value
    elif isinstance(value, Mapping):
        for key, v in value.items():
            if key not in _SEALED:
                found |= unsaid(v, texts, f"{path}.{key}" if path else str(key), depth)
    elif isinstance(value, (list, tuple)):
        for k, v in enumerate(value):
            found |= unsaid(v, texts, f"{path}[{k}]", depth)
    return found


def finished(trace: dict[str, Any], meta: dict[str, Any]) -> dict[str, Any]:
    """A trace with its meta as text."""
    if meta:
        trace["meta"] = jsontext.dump(meta)
    return trace
