"""Dialect `verl`: prompts for reinforcement learning, with what a rule compares a reply with.

    {"data_source": "sums", "ability": "math",
     "prompt": [{"role": "user", "content": "3 + 4?"}],
     "reward_model": {"style": "rule", "ground_truth": "7"},
     "extra_info": {"index": 0, "split": "test", "question": "3 + 4?", "answer": "Count on: 7"}}

Decided here:
- Such a record holds no reply of a model. What answers the prompt is the worked reference, where
  the record has one: `extra_info.output` or `extra_info.answer`, else a `ground_truth` that is a
  whole reply (it thinks, calls or responds in tags, or has several lines).
- A bare `ground_truth` would train guessing. `bare_answers: reject` (default) refuses the record;
  `keep` makes it the answer, counted.
- Where `extra_info` holds the three texts of the set that the prompt was made from (tools in words,
  a dialogue, a reply), the record is read as the dialect `toolrl` reads that set: one trace,
  whichever file it stands in.
- `ground_truth` is the reference answer in every case. What of `extra_info` repeats the prompt or
  the reply word for word is taken once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracekit import jsontext
from tracekit.dialects import (
    conversation,
    openai_message,
    question_answer,
    record_keys,
    toolrl,
)
from tracekit.dialects.dialect import Dialect, Notes, Option, Record
from tracekit.dialects.openai import CALLS
from tracekit.errors import BadRecord

_REPLIES = ("output", "answer")
_TAGS = ("<think>", "<tool_call>", "<response>")


def fits(value: Any) -> str:
    """Evidence that a record is a prompt with a reward model.

    >>> fits({"prompt": [{"role": "user", "content": "a"}], "reward_model": {"ground_truth": "b"}})
    'prompt messages and reward_model'
    """
    if not isinstance(value, dict) or not isinstance(value.get("reward_model"), dict):
        return ""
    prompt = value.get("prompt")
    turns = isinstance(prompt, list) and bool(prompt) and isinstance(prompt[0], dict)
    known = turns and "ground_truth" in value["reward_model"]
    return "prompt messages and reward_model" if known else ""


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The one trace of a record. Raises BadRecord: no_messages, no_worked_answer."""
    value = records[0].value
    if not isinstance(value, dict):
        raise BadRecord("not_an_object", f"the record is {type(value).__name__}")
    prompt, model = value.get("prompt"), value.get("reward_model")
    if not isinstance(prompt, list) or not prompt:
        raise BadRecord("no_messages", "no list of messages in prompt")
    model = dict(model) if isinstance(model, dict) else {}
    extra = value.get("extra_info")
    extra = dict(extra) if isinstance(extra, dict) else {}
    truth = model.get("ground_truth")
    traces, said = _told(prompt, extra, truth, records[0], notes, options)
    fields: dict[str, Any] = {}
    beside: dict[str, Any] = {}
    if isinstance(truth, str) and truth:
        fields["answer"] = model.pop("ground_truth")
    used = {"prompt"}
    for name, held in (("reward_model", model), ("extra_info", extra)):
        if isinstance(value.get(name), dict):
            used.add(name)
        rest = {k: v for k, v in held.items() if v is not None and not _known(v, said)}
        if rest:
            beside[name] = rest
    described, meta = record_keys.describe(value, used, notes)
    for trace in traces:
        own = jsontext.parse(trace["meta"].encode()) if trace.get("meta") else {}
        trace |= described | fields
        if meta or beside or own:
            trace["meta"] = jsontext.dump({**own, **meta, **beside})
    return traces


def _told(
    prompt: list[Any],
    extra: dict[str, Any],
    truth: Any,
    record: Record,
    notes: Notes,
    options: Mapping[str, str],
) -> tuple[list[dict[str, Any]], set[Any]]:
    """The trace of the prompt with its reply, and the texts that it was made from."""
    texts = [turn.get("content") for turn in prompt if isinstance(turn, dict)]
    parts = {key: extra.get(key) for key in ("instruction", "input", "output")}
    if toolrl.fits(parts) and texts == [parts["instruction"], parts["input"]]:
        inner = Record(record.file, record.row, parts)
        return toolrl.read([inner], notes, options), set(parts.values())
    reply = _reply(extra, truth)
    if reply is None:
        if options.get("bare_answers") != "keep" or not isinstance(truth, str) or not truth:
            raise BadRecord("no_worked_answer", "a prompt with a result that nobody worked out")
        notes.repair("bare_answer")
        reply = truth
    messages = [
        openai_message.read_message(turn, k, notes, options) for k, turn in enumerate(prompt)
    ]
    said = {reply, *(message.get("content") for message in messages)}
    message: dict[str, Any] = {"role": "assistant", "content": reply}
    openai_message.split_text(message, notes, options)
    messages.append(message)
    meta: dict[str, Any] = {}
    conversation.finish(messages, notes, meta)
    return [record_keys.trace(messages, None, {}, meta, notes)], said


def _known(value: Any, texts: set[Any]) -> bool:
    return isinstance(value, str) and value in texts


def _reply(extra: dict[str, Any], truth: Any) -> str | None:
    """The worked reply to the prompt, or None where there is only a bare result."""
    for key in _REPLIES:
        text = extra.get(key)
        if isinstance(text, str) and text and (text != truth or _worked(text)):
            return text
    return truth if isinstance(truth, str) and _worked(truth) else None


def _worked(text: str) -> bool:
    return "\n" in text.strip() or any(tag in text for tag in _TAGS)


dialect = Dialect(
    name="verl",
    version=1,
    unit="record",
    fits=fits,
    read=read,
    codes=(
        *toolrl.dialect.codes,
        *question_answer.CODES,
    ),
    options=(
        CALLS,
        Option(
            name=question_answer.BARE,
            choices=("reject", "keep"),
            what="Records whose reference is a bare result: refused, or trained as the answer.",
        ),
    ),
)
