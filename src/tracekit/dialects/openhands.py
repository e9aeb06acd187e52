r"""Dialect `openhands`: outputs of OpenHands, a run a record, its events in `history`.

    {"instance_id": "octo__plumb-366", "instruction": "Fix ...", "git_patch": "diff ...",
     "metadata": {"agent_class": "CodeActAgent", "llm_config": {"model": "..."}},
     "history": [{"id": 0, "source": "agent", "action": "system",
                  "args": {"content": "You are OpenHands agent ...", "tools": [...]}},
                 {"id": 1, "source": "user", "action": "message", "args": {"content": "Fix ..."}},
                 {"id": 5, "source": "agent", "action": "run", "args": {"command": "ls", ...},
                  "tool_call_metadata": {"function_name": "execute_bash", "tool_call_id": "t1",
                                         "model_response": {"choices": [...], "model": "..."}}},
                 {"id": 6, "source": "agent", "observation": "run", "cause": 5, "content": "a.py",
                  "extras": {"command": "ls", "metadata": {"exit_code": 0}}, ...}],
     "metrics": {...}, "error": null, "test_result": {"git_patch": "..."}}

Older outputs have flat events without ids; the oldest have pairs of action and observation.

Decided here:

- Name and arguments of a call are what the model wrote; the harness's own arguments stay out of the
  call (`security_risk` and `summary`, where the model wrote them, stay in).
- The source of an observation says `agent`; it is the environment.
- A run that ends on `finish` is complete. Why a run stopped early (`error`) is an outcome of kind
  `exit_status`.
- `success` of the resolver is the verdict of a model that read the patch: kind `judge`. Only
  `test_result.report.resolved` is one of tests.
- Error flags: the exit code of a command (-1: it runs on, null), an error observation, and an
  editor that answers `ERROR:`. An edit, a read, a thought without that did not fail.
- Events that are no message (states, recalls) are counted in `meta.skipped_events`; those that say
  something keep it in `meta.events`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracekit import jsontext
from tracekit.dialects import (
    agent_text,
    conversation,
    declarations,
    openai_message,
    openhands_messages,
    record_keys,
)
from tracekit.dialects.dialect import Dialect, Notes, Record
from tracekit.errors import BadRecord

_USED = {"history", "metadata", "success", "error", "instruction", "test_result"}
_KNOWN = (
    *("metrics", "instance", "git_patch", "issue", "issue_type", "base_commit"),
    *("result_explanation", "comment_success"),
)
_SKIPPED = 20
"""Characters from which on the text of an event that is no message is kept."""

IGNORES = {
    "*.timestamp": "kept in the meta of messages; of events that say nothing it is not",
    "history[].message": "the harness's own line about the event",
    "message": "the harness's own line about the event",
    "*.tool_call_metadata": "the answer of the API, repeated with every event; its message is kept",
    "*.llm_metrics": "running totals of cost; the usage of each reply is kept",
    "*.args": "the call as the harness ran it; what the model wrote is kept",
    "*.kernel_init_code": "code that the harness runs first",
}


def fits(value: Any) -> str:
    """Evidence that a record is an output of OpenHands.

    >>> fits({"history": [{"action": "message", "source": "user", "args": {"content": "Fix."}}]})
    'history of actions and observations'
    """
    history = value.get("history") if isinstance(value, dict) else None
    first = history[0] if isinstance(history, list) and history else None
    if isinstance(first, list) and first:
        first = first[0]
    if not isinstance(first, dict) or "role" in first:
        return ""
    named = isinstance(first.get("action"), str) or isinstance(first.get("observation"), str)
    return "history of actions and observations" if named else ""


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The one trace of a run."""
    value = records[0].value
    if not isinstance(value, dict):
        raise BadRecord("not_an_object", f"the record is {type(value).__name__}")
    history = value.get("history")
    if not isinstance(history, list):
        raise BadRecord("no_messages", f"history is {type(history).__name__}")
    events: list[Any] = []
    for event in history:
        events.extend(event if isinstance(event, list) else (event,))
    fields, meta = agent_text.describe(value, _USED, _KNOWN, notes)
    skip(events, meta)
    messages, tools = openhands_messages.read_events(events, meta, notes)
    _describe(value, messages, fields, meta)
    model = meta.pop("model", None)
    if isinstance(model, str):
        fields.setdefault("model", model)
    conversation.finish(messages, notes, meta)
    return [record_keys.trace(messages, tools, fields, meta, notes)]


def skip(events: Sequence[Any], meta: dict[str, Any]) -> None:
    """Counts events that are no message; keeps those that say something."""
    counts: dict[str, int] = {}
    for event in events:
        kind = openhands_messages.kind_of(event)
        if kind in ("talk", "reply", "result"):
            continue
        name = kind.removeprefix("openhands_")
        counts[name] = counts.get(name, 0) + 1
        said = {k: v for k, v in event.items() if k not in ("message", "tool_call_metadata")}
        if _says(said):
            meta.setdefault("events", []).append(said)
    if counts:
        meta["skipped_events"] = dict(sorted(counts.items()))


def _says(value: Any) -> bool:
    """Is there a text in an event, beside times and names?"""
    if isinstance(value, str):
        return len(value) >= _SKIPPED
    if isinstance(value, dict):
        return any(_says(v) for key, v in value.items() if key != "timestamp")
    return isinstance(value, list) and any(map(_says, value))


def _describe(
    value: dict[str, Any],
    messages: list[dict[str, Any]],
    fields: dict[str, Any],
    meta: dict[str, Any],
) -> None:
    instruction = value.get("instruction")
    if instruction is not None:
        asked = next((m.get("content") for m in messages if m["role"] == "user"), None)
        if instruction != asked:
            meta["instruction"] = instruction
    metadata = value.get("metadata")
    if metadata is not None:
        meta["metadata"] = metadata
        config = metadata.get("llm_config") if isinstance(metadata, dict) else None
        model = config.get("model") if isinstance(config, dict) else None
        if isinstance(model, str) and "model" not in meta:
            meta["model"] = model
    outcomes = fields.setdefault("outcomes", [])
    tested = value.get("test_result")
    if tested:
        meta["test_result"] = tested
        report = tested.get("report") if isinstance(tested, dict) else None
        if isinstance(report, dict) and isinstance(report.get("resolved"), bool):
            outcomes.append(_outcome(report["resolved"], "tests", "resolved"))
    if isinstance(value.get("success"), bool):
        outcomes.append(_outcome(value["success"], "judge", "success"))
    elif value.get("success") is not None:
        meta["success"] = value["success"]
    if isinstance(value.get("error"), str) and value["error"]:
        outcomes.append(_outcome(value["error"], "exit_status", "error"))
    elif value.get("error"):
        meta["error"] = value["error"]
    if not outcomes:
        del fields["outcomes"]


def _outcome(value: Any, kind: str, name: str) -> dict[str, str]:
    return {"value": jsontext.dump(value), "kind": kind, "name": name}


CODES = (
    *conversation.CODES,
    *openai_message.CODES,
    *declarations.CODES,
    *record_keys.CODES,
    *openhands_messages.CODES,
)

dialect = Dialect(
    name="openhands",
    version=1,
    unit="record",
    fits=fits,
    read=read,
    codes=CODES,
    ignores=IGNORES,
)
