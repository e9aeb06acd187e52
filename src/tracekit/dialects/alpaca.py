"""Dialect `alpaca`: instruction, input and output, with an optional history and system text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracekit.codes import Code
from tracekit.dialects import conversation, openai_message, react, record_keys, toolrl, xlam
from tracekit.dialects.dialect import Dialect, Notes, Record
from tracekit.dialects.openai import CALLS
from tracekit.errors import BadRecord

_USED = frozenset(("instruction", "input", "output", "history", "system"))

CODES = (
    Code(
        name="bad_history",
        kind="reject",
        what="The history is no list of pairs (what was asked, what was answered).",
    ),
)


def fits(value: Any) -> str:
    """Evidence that a record is an instruction with its output.

    >>> fits({"instruction": "Name a tree.", "input": "", "output": "Elm."})
    'instruction and output'
    """
    if not isinstance(value, dict) or "response" in value or "prompt" in value:
        return ""
    if react.fits(value) or xlam.fits(value) or toolrl.fits(value):
        return ""  # an episode as one text; a prompt that holds its tools as text
    given = isinstance(value.get("instruction"), str) and isinstance(value.get("output"), str)
    return "instruction and output" if given and "messages" not in value else ""


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The one trace of a record; instruction and input are one user message."""
    value = records[0].value
    if not isinstance(value, dict):
        raise BadRecord("not_an_object", f"the record is {type(value).__name__}")
    texts = {}
    for key in ("instruction", "input", "output", "system"):
        text = value.get(key)
        if text is not None and not isinstance(text, str):
            raise BadRecord("content_not_text", f"{key} is {type(text).__name__}")
        texts[key] = text or ""
    if not texts["instruction"] and not texts["input"]:
        raise BadRecord("no_messages", "instruction and input are empty or missing")
    messages: list[dict[str, Any]] = []
    if texts["system"]:
        messages.append({"role": "system", "content": texts["system"]})
    for question, reply in _history(value.get("history")):
        messages.append({"role": "user", "content": question or None})
        messages.append(_answer(reply, notes, options))
    asked = conversation.texts_joined((texts["instruction"], texts["input"]))
    messages.append({"role": "user", "content": asked})
    messages.append(_answer(texts["output"], notes, options))
    fields, meta = record_keys.describe(value, _USED, notes)
    conversation.finish(messages, notes, meta)
    return [record_keys.trace(messages, None, fields, meta, notes)]


def _answer(text: str, notes: Notes, options: Mapping[str, str]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant"}
    if text:
        message["content"] = text
        openai_message.split_text(message, notes, options)
    return message


def _history(history: Any) -> list[tuple[str, str]]:
    if history is None:
        return []
    if not isinstance(history, list):
        raise BadRecord("bad_history", f"history is {type(history).__name__}")
    pairs = []
    for k, pair in enumerate(history):
        pairs_up = isinstance(pair, list) and len(pair) == 2
        if not pairs_up or not all(isinstance(text, str) for text in pair):
            raise BadRecord("bad_history", f"history[{k}]")
        pairs.append((pair[0], pair[1]))
    return pairs


dialect = Dialect(
    name="alpaca",
    version=2,
    unit="record",
    fits=fits,
    read=read,
    codes=(*conversation.CODES, *openai_message.CODES, *record_keys.CODES, *CODES),
    options=(CALLS,),
)
