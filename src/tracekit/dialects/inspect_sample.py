"""One sample of an Inspect log as a trace: attachments put back, tools, scores, side calls.

Decided here: the kind of a score is that of its scorer where Inspect ships it (text matchers,
model graders). Of any other scorer a number is from the `environment`, a program of the task, and
a word (`C`) is `claimed`, since nobody says who gave it. A matcher whose target is empty is
right for every answer; such a score is kept in `meta.scores` as vacuous and is no outcome.
Messages of an assistant that came with the input are no target.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tracekit import jsontext
from tracekit.codes import Code
from tracekit.dialects import conversation, declarations, inspect_message
from tracekit.dialects.dialect import Notes
from tracekit.errors import BadRecord

CODES = (
    *inspect_message.CODES,
    Code(
        name="vacuous_score",
        kind="repair",
        what="A score that any answer gets, since the target is empty, is no outcome.",
        fix="`meta.scores` keeps it, marked as vacuous.",
    ),
)

_MATCHERS = frozenset(("match", "includes", "exact", "pattern", "answer", "choice", "f1", "math"))
_JUDGES = frozenset(("model_graded_qa", "model_graded_fact", "model_graded"))
_EMPTY_IS_RIGHT = frozenset(("match", "includes"))
_REPEATING = frozenset(
    (
        *("sample_init", "state", "store", "step", "span_begin", "span_end", "tool", "score"),
        *("sandbox", "model"),
    )
)
_USED = frozenset(
    (
        *("id", "epoch", "input", "target", "messages", "output", "scores", "score", "metadata"),
        *("store", "events", "transcript", "attachments", "message_pool", "call_pool", "uuid"),
        *("model_usage", "role_usage", "total_time", "working_time", "error", "error_retries"),
        *("limit", "files", "setup", "sandbox", "choices", "started_at", "completed_at"),
    )
)


def read(
    sample: Any, log: Mapping[str, Any], notes: Notes, options: Mapping[str, str]
) -> dict[str, Any]:
    """The trace of a sample; `log` is what its log says. Raises BadRecord."""
    if not isinstance(sample, dict):
        raise BadRecord("not_an_object", f"the sample is {type(sample).__name__}")
    turns = sample.get("messages")
    if not isinstance(turns, list):
        raise BadRecord("no_messages", f"messages is {type(turns).__name__}")
    texts = inspect_message.Texts(sample)
    turns = [texts.back(turn, notes) for turn in turns]
    events = list(_events(sample))
    generated, side = _model_events(turns, events, texts)
    messages = [
        inspect_message.read(turn, k, generated, notes, options) for k, turn in enumerate(turns)
    ]
    meta: dict[str, Any] = {k: v for k, v in log.items() if k != "model"}
    fields = _fields(sample, log, meta, notes)
    tools = _tools(generated.values(), texts, meta, notes)
    _read_output(sample.get("output"), messages, fields, meta)
    _read_rest(sample, messages, texts, notes, meta)
    calls = _side_calls(side, texts, notes)
    if calls:
        meta["side_calls"] = inspect_message.without_blobs(calls)
        notes.count("side_calls", len(calls))
        if any(call.get("input_refs") for call in calls):
            meta["message_pool"] = inspect_message.without_blobs(sample.get("message_pool"))
    kept = [texts.back(e, notes) for e in events if e.get("event") not in _REPEATING]
    if kept:
        meta["events"] = inspect_message.without_blobs(kept)
    conversation.finish(messages, notes, meta)
    fields["messages"] = messages
    if tools is not None:
        fields["tools"] = tools
    fields["meta"] = jsontext.dump(meta)
    return fields


def _events(sample: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    held = sample.get("events")
    transcript = sample.get("transcript")
    if not isinstance(held, list) and isinstance(transcript, dict):
        held = transcript.get("events")
    for event in held if isinstance(held, list) else ():
        if isinstance(event, dict) and isinstance(event.get("event"), str):
            yield event


def _model_events(
    turns: list[Any], events: Iterable[dict[str, Any]], texts: inspect_message.Texts
) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """Model events by the message that they generated, and those of no message of the sample."""
    ours = {inspect_message.sign(turn) for turn in turns if isinstance(turn, dict)}
    generated: dict[str, dict[str, Any]] = {}
    side: list[dict[str, Any]] = []
    for event in events:
        if event["event"] == "model":
            reply = texts.back(inspect_message.reply_of(event)[0], Notes())  # counted with messages
            sign = inspect_message.sign(reply)
            if sign in ours:
                generated[sign] = event
            elif sign:
                side.append(event)
    return generated, side


def _fields(
    sample: dict[str, Any], log: Mapping[str, Any], meta: dict[str, Any], notes: Notes
) -> dict[str, Any]:
    """Ids, reference answer, outcomes and model."""
    fields: dict[str, Any] = {}
    sample_id = sample.get("id")
    if isinstance(sample_id, (str, int)):
        meta["sample"] = sample_id
        fields["task_key"] = f"{log.get('task', 'task')}/{sample_id}"
    if isinstance(sample.get("uuid"), str):
        fields["source_id"] = sample["uuid"]
    if sample.get("epoch") is not None:
        meta["epoch"] = sample["epoch"]
    target = sample.get("target")
    targets = target if isinstance(target, list) else [target]
    if isinstance(targets[0] if targets else None, str) and targets[0]:
        fields["answer"] = targets[0]
    if isinstance(target, list) or (target is not None and not isinstance(target, str)):
        meta["target"] = target
    empty = all(isinstance(t, str) and not t.strip() for t in targets if t is not None)
    scores = sample.get("scores")
    if not isinstance(scores, dict):
        scores = {"score": sample["score"]} if isinstance(sample.get("score"), dict) else {}
    outcomes = []
    told: dict[str, Any] = {}
    for name, score in scores.items():
        inner = score if isinstance(score, dict) else {"value": score}
        if empty and name in _EMPTY_IS_RIGHT:
            told[name] = {**inner, "vacuous": True}
            notes.repair("vacuous_score")
            continue
        value = inner.get("value")
        outcomes.append({"value": jsontext.dump(value), "kind": _kind(name, value), "name": name})
        rest = {k: v for k, v in inner.items() if k != "value" and v not in (None, [], {})}
        if rest:
            told[name] = rest
    if outcomes:
        fields["outcomes"] = outcomes
    if told:
        meta["scores"] = told
    if isinstance(log.get("model"), str):
        fields["model"] = log["model"]
        meta["asked_model"] = log["model"]
    return fields


def _kind(scorer: str, value: Any) -> str:
    """Kind of the verdict of a scorer; `match1` is the second of that name."""
    name = scorer.rstrip("0123456789")
    if scorer in _MATCHERS or name in _MATCHERS:
        return "exact_match"
    if name in _JUDGES:
        return "judge"
    return "environment" if isinstance(value, (bool, int, float)) else "claimed"


def _tools(
    events: Iterable[dict[str, Any]],
    texts: inspect_message.Texts,
    meta: dict[str, Any],
    notes: Notes,
) -> list[dict[str, Any]] | None:
    """Tools of the model calls, in the order of their first offer; None where no call is logged."""
    found: dict[str, dict[str, Any]] | None = None
    seen: set[str] = set()
    for n, event in enumerate(events):
        declared = event.get("tools")
        if not isinstance(declared, list):
            continue
        found = {} if found is None else found
        for one in declared:
            sign = jsontext.dump(one)
            if sign in seen:
                continue
            seen.add(sign)
            tool = (declarations.read_tools([texts.back(one, notes)]) or [])[0]
            if tool["name"] in found:
                notes.count("tool_declared_anew")
                continue
            found[tool["name"]] = tool
            if n:
                meta.setdefault("tool_additions", []).append({"call": n, "tool": tool["name"]})
    return None if found is None else list(found.values())


def _read_output(
    output: Any, messages: list[dict[str, Any]], fields: dict[str, Any], meta: dict[str, Any]
) -> None:
    """Model and finish reason of the last reply; what of the output is nowhere else."""
    if not isinstance(output, dict):
        return
    if isinstance(output.get("model"), str) and output["model"]:
        fields["model"] = output["model"]
    choices = output.get("choices")
    choices = [c for c in choices if isinstance(c, dict)] if isinstance(choices, list) else []
    last = next((m for m in reversed(messages) if m["role"] == "assistant"), None)
    for n, choice in enumerate(choices):
        said = choice.get("message")
        text = said.get("content") if isinstance(said, dict) else None
        ours = last is not None and (
            not text or not isinstance(text, str) or text == last.get("content")
        )
        reason = choice.get("stop_reason")
        if n == 0 and ours and last is not None and isinstance(reason, str):
            if "finish_reason" not in last and reason != "unknown":
                last["finish_reason"] = reason
        elif n or not ours:
            meta.setdefault("choices", []).append(inspect_message.without_blobs(choice))
    for key in ("usage", "time", "error", "metadata"):
        if output.get(key) is not None:
            meta.setdefault("output", {})[key] = output[key]


def _read_rest(
    sample: dict[str, Any],
    messages: list[dict[str, Any]],
    texts: inspect_message.Texts,
    notes: Notes,
    meta: dict[str, Any],
) -> None:
    """Keys of the sample that are no conversation, and an input that is no message."""
    said = {message.get("content") for message in messages}
    given = texts.back(sample.get("input"), notes)
    turns = given if isinstance(given, list) else [{"content": given}]
    for turn in turns:
        content = turn.get("content") if isinstance(turn, dict) else turn
        parts = content if isinstance(content, list) else [content]
        words = [p.get("text") if isinstance(p, dict) else p for p in parts]
        if any(isinstance(text, str) and text and text not in said for text in words):
            meta["input"] = inspect_message.without_blobs(given)
            break
    for key in ("metadata", "store", "error", "error_retries", "limit", "files", "setup",
                "sandbox", "choices", "model_usage", "role_usage", "total_time", "working_time",
                "started_at", "completed_at"):  # fmt: skip
        if sample.get(key) not in (None, [], {}, ""):
            name = "sample_choices" if key == "choices" else key
            meta[name] = inspect_message.without_blobs(texts.back(sample[key], notes))
    for key, v in sample.items():
        if key not in _USED and v is not None:
            notes.unknown(key)
            meta[key] = inspect_message.without_blobs(v)


def _side_calls(
    side: Iterable[dict[str, Any]], texts: inspect_message.Texts, notes: Notes
) -> list[dict[str, Any]]:
    """Model calls of no message: input and reply, of a growing conversation the last one."""
    calls: list[dict[str, Any]] = []
    ends: dict[tuple[str, ...], int] = {}
    for event in side:
        asked = event.get("input")
        turns = list(asked) if isinstance(asked, list) else []
        reply, choice = inspect_message.reply_of(event)
        signs = tuple(map(inspect_message.sign, turns))
        call = {
            "model": event.get("model"), "input": turns,
            "input_refs": event.get("input_refs"), "reply": reply,
            "stop_reason": choice.get("stop_reason"), "timestamp": event.get("timestamp"),
        }  # fmt: skip
        before = next(
            (n for cut in range(1, min(len(signs), 8) + 1) if (n := ends.get(signs[:-cut]))), None
        )
        whole = (*signs, inspect_message.sign(reply))
        if before is None:
            calls.append(call)
            ends[whole] = len(calls)
        else:
            calls[before - 1] = call
            ends[whole] = before
    return [{k: texts.back(v, notes) for k, v in c.items() if v is not None} for c in calls]
