"""Keys of a record beside its conversation: ids, reference answer, verdicts, model, the rest.

A key that has a field of its own in `Trace` goes there; every other key is kept in `Trace.meta`
as it is and counted by name, so that no key vanishes, wherever in a file it first appears.
"""

from __future__ import annotations

import re
from typing import Any

from tracekit import jsontext
from tracekit.codes import Code
from tracekit.dialects.dialect import Notes

CODES = (
    Code(
        name="undesirable_not_trained",
        kind="repair",
        what="The record is labelled as undesirable (`label: false`); its assistant messages "
        "have weight 0.",
        why="In a preference set such a record is what the model should not do.",
    ),
)

_SOURCE_IDS = ("id", "_id", "uuid", "question_id", "traj_id", "idx", "unique_id")
_SESSION_IDS = ("session_id", "conversation_id")
_PARENT_IDS = ("parent_session_id", "parent_id")
_TASK_KEYS = ("task_key", "instance_id", "task_id", "problem_id")
_ANSWERS = (
    "actual_answer",
    "actual_answer_label",
    "expected_answer",
    "expected",
    "ground_truth",
    "reference_answer",
    "gold",
    "Ground-True Answer",
    "answer",
)
_MODELS = ("model", "model_name")
# Verdict keys with the one who gave the verdict, and the JSON types in which they are one.
_VERDICTS: dict[str, tuple[str, tuple[type, ...]]] = {
    "resolved": ("tests", (bool,)),
    "reward": ("environment", (bool, int, float)),
    "correct": ("exact_match", (bool,)),
    "is_correct": ("exact_match", (bool,)),
    "symbolic_correct": ("exact_match", (bool,)),
    "result": ("exact_match", (bool,)),
    "passed": ("exact_match", (bool,)),
    "label": ("human", (bool,)),
    "exit_status": ("exit_status", (str,)),
}


def describe(
    value: dict[str, Any], used: frozenset[str] | set[str], notes: Notes
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Fields of the trace that the record's other keys give, and its meta as a dict.

    `used` are the keys that the conversation was read from. A key whose value is null is nothing.
    """
    fields: dict[str, Any] = {}
    meta: dict[str, Any] = {}
    left = {key: v for key, v in value.items() if key not in used and v is not None}
    if not left:
        return fields, meta
    _take(left, _SOURCE_IDS, "source_id", fields)
    if left:
        _take(left, _TASK_KEYS, "task_key", fields)
        if "task_key" in fields:
            _split_attempt(fields, meta)
        _take(left, _SESSION_IDS, "session_id", fields)
        _take(left, _PARENT_IDS, "parent_id", fields)
        _take(left, _ANSWERS, "answer", fields)
        _take(left, _MODELS, "model", fields)
        outcomes = []
        for key in left.keys() & _VERDICTS.keys():
            kind, types = _VERDICTS[key]
            if isinstance(left[key], types):
                outcomes.append((key, kind))
        if outcomes:
            fields["outcomes"] = [
                {"value": jsontext.dump(left.pop(key)), "kind": kind, "name": key}
                for key, kind in sorted(outcomes)
            ]
        for key, v in left.items():
            notes.unknown(key)
            meta[key] = v
    return fields, meta


_ATTEMPT = re.compile(r"([^_].*__.+-\d+)_(\d+)")


def without_attempt(instance: str) -> tuple[str, str | None]:
    """Task and attempt of an instance id of SWE-bench style.

    >>> without_attempt("tomerfiliba__plumbum-366_17")
    ('tomerfiliba__plumbum-366', '17')
    >>> without_attempt("pydicom__pydicom-1458")
    ('pydicom__pydicom-1458', None)
    """
    found = _ATTEMPT.fullmatch(instance)
    return (instance, None) if found is None else (found.group(1), found.group(2))


def _split_attempt(fields: dict[str, Any], meta: dict[str, Any]) -> None:
    """Takes the attempt out of a task key; the whole of it becomes the record's own id."""
    whole = fields["task_key"]
    task, attempt = without_attempt(whole)
    if attempt is not None:
        fields["task_key"] = task
        fields.setdefault("source_id", whole)
        meta["attempt"] = int(attempt)


def _take(left: dict[str, Any], keys: tuple[str, ...], field: str, fields: dict[str, Any]) -> None:
    """Moves the first of the keys that holds a text or a number to a field."""
    for key in keys:
        if key in left:
            v = left[key]
            if isinstance(v, str):
                if v:
                    fields[field] = v
                    del left[key]
                    return
            elif isinstance(v, (int, float)) and not isinstance(v, bool):
                fields[field] = jsontext.dump(v)
                del left[key]
                return


def exchange_meta(
    request: dict[str, Any],
    used_in_request: frozenset[str] | set[str],
    response: dict[str, Any],
    used_in_response: frozenset[str] | set[str],
) -> dict[str, Any]:
    """What a recorded exchange says beside its conversation: `request`, `response`, `model`."""
    meta: dict[str, Any] = {}
    asked = {k: v for k, v in request.items() if k not in used_in_request and v is not None}
    answered = {k: v for k, v in response.items() if k not in used_in_response and v is not None}
    model = answered.get("model", asked.get("model"))
    if isinstance(model, str):
        meta["model"] = model
    if asked:
        meta["request"] = asked
    if answered:
        meta["response"] = answered
    return meta


def trace(
    messages: list[dict[str, Any]],
    tools: list[dict[str, Any]] | None,
    fields: dict[str, Any],
    meta: dict[str, Any],
    notes: Notes,
) -> dict[str, Any]:
    """The canonical dict of one finished conversation."""
    if any(o["name"] == "label" and o["value"] == "false" for o in fields.get("outcomes", ())):
        for message in messages:
            if message["role"] == "assistant":
                message["weight"] = 0.0
        notes.repair("undesirable_not_trained")
    fields["messages"] = messages
    if tools is not None:
        # Not in the declaration itself: a template would print it to the model.
        for tool in tools:
            if tool.pop("inferred", False):
                meta["tools_from"] = "inferred"
        fields["tools"] = tools
    if meta:
        fields["meta"] = jsontext.dump(meta)
    return fields
