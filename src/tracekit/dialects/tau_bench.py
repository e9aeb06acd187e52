"""Dialect `tau_bench`: runs of tau-bench, as trajectories and as printed transcripts.

{"task_id": 7, "trial": 0, "reward": 1.0, "traj": [{"role": "system", "content": "# Airline Agent
  Policy ..."}, {"role": "user", "content": "Hi, cancel my flight."}, ...],
 "info": {"task": {"user_id": "u", "instruction": "You are ...", "actions": [{"name": "cancel",
  "kwargs": {"id": "R1"}}], "outputs": []}, "reward_info": {...}}}
{"messages_display": "user: Hi.\\nassistant: None\\ntool: {...}\\nassistant: Done."}

Decided here: (1) The user is a model with a secret script (`info.task.instruction`): meta, never a
message; so are the actions that the grader expects, `meta.gold_actions`: they are no answer.
(2) The reward compares data bases: outcome `environment`. (3) The tools are declared in code that
is not here: null. (4) `task_key` is the domain, as the policy names it, and the number of the task.
(5) A transcript prints a call as `None`: that reply is empty and no target, its result answers no
call. A line that begins with a speaker begins a message, also inside of a result.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tracekit.codes import Code
from tracekit.dialects import conversation, openai, openai_message, record_keys
from tracekit.dialects.dialect import Dialect, Notes, Record
from tracekit.dialects.openai import CALLS
from tracekit.errors import BadRecord

CODES = (
    Code(
        name="calls_not_recorded",
        kind="repair",
        what="A printed transcript shows `None` where the model made a call; the reply is empty "
        "and has weight 0.",
        why="What was called is not in the file, and an empty reply must not be learnt.",
    ),
)

_USED = frozenset(("traj", "info", "task_id"))
_POLICY = re.compile(r"# (\w+) agent policy", re.IGNORECASE)
_SPEAKER = re.compile(r"^(system|user|assistant|tool): ?", re.MULTILINE)


def fits(value: Any) -> str:
    """Evidence that a record is a run of tau-bench.

    >>> fits({"messages_display": "user: Hi.\\nassistant: Hello."})
    'messages_display'
    """
    if not isinstance(value, dict):
        return ""
    shown = value.get("messages_display")
    if isinstance(shown, str):
        return "messages_display" if _SPEAKER.match(shown) else ""
    info = value.get("info")
    known = isinstance(value.get("traj"), list) and isinstance(info, dict) and "task_id" in value
    return "traj, task_id and info" if known else ""


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The one trace of a record."""
    value = records[0].value
    if not isinstance(value, dict):
        raise BadRecord("not_an_object", f"the record is {type(value).__name__}")
    if "messages_display" in value:
        return [_transcript(value, notes)]
    turns = value.get("traj")
    if not isinstance(turns, list):
        raise BadRecord("no_messages", f"traj is {type(turns).__name__}")
    fields, rest = record_keys.describe(value, _USED, notes)
    messages = openai.read_turns(turns, None, notes, options)
    meta: dict[str, Any] = {"benchmark": "tau-bench", "user": "simulated", **rest}
    info = value.get("info")
    task = info.get("task") if isinstance(info, dict) else None
    if isinstance(info, dict) and isinstance(task, dict) and "actions" in task:
        meta["gold_actions"] = task["actions"]
        task = {key: v for key, v in task.items() if key != "actions"}
        info = {**info, "task": task}
    if info is not None:
        meta["info"] = info
    if value.get("task_id") is not None:
        fields["task_key"] = task_key(messages, value["task_id"])
    conversation.finish(messages, notes, meta)
    return [record_keys.trace(messages, None, fields, meta, notes)]


def task_key(messages: Sequence[Mapping[str, Any]], task_id: Any) -> str:
    """Id of a task with the domain that the policy on top names.

    >>> task_key([{"role": "system", "content": "# Airline Agent Policy"}], 7)
    'airline/7'
    """
    first = messages[0] if messages else {}
    text = first.get("content") if first.get("role") == "system" else None
    domain = _POLICY.match(text.lstrip()) if isinstance(text, str) else None
    return str(task_id) if domain is None else f"{domain.group(1).lower()}/{task_id}"


def spoken(shown: str) -> list[tuple[str, str]]:
    """(speaker, text) of the messages of a printed transcript.

    >>> spoken("user: Hi.\\nassistant: Hello.")
    [('user', 'Hi.'), ('assistant', 'Hello.')]
    """
    pieces = _SPEAKER.split(shown)
    texts = (text.removesuffix("\n") for text in pieces[2::2])
    return list(zip(pieces[1::2], texts, strict=True))


def _transcript(value: dict[str, Any], notes: Notes) -> dict[str, Any]:
    shown = value["messages_display"]
    if not isinstance(shown, str):
        raise BadRecord("content_not_text", f"messages_display is {type(shown).__name__}")
    if _SPEAKER.match(shown) is None:
        raise BadRecord("unknown_role", f"the transcript begins with {shown!r:.60}")
    messages: list[dict[str, Any]] = []
    for role, said in spoken(shown):
        message: dict[str, Any] = {"role": role, "content": said or None}
        if role == "assistant" and said == "None":
            message = {"role": role, "weight": 0.0, "meta": {"call": "not recorded"}}
            notes.repair("calls_not_recorded")
        messages.append(message)
    fields, rest = record_keys.describe(value, {"messages_display"}, notes)
    meta = {"benchmark": "tau-bench", "user": "simulated", **rest}
    conversation.finish(messages, notes, meta)
    return record_keys.trace(messages, None, fields, meta, notes)


dialect = Dialect(
    name="tau_bench",
    version=1,
    unit="record",
    fits=fits,
    read=read,
    codes=(*conversation.CODES, *openai_message.CODES, *record_keys.CODES, *CODES),
    ignores=openai.IGNORES,
    options=(CALLS,),
)
