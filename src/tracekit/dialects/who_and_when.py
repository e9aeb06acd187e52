r"""Dialect `who_and_when`: failed runs of several agents, with who made the mistake and when.

By hand (Magentic-One), where the role is a speaker with a note:

    {"question": "Which gym is near?", "ground_truth": "Blue Gym", "is_corrected": false,
     "question_ID": "6e3b", "mistake_agent": "WebSurfer", "mistake_step": "12",
     "mistake_reason": "...",
     "history": [{"role": "human", "content": "Which gym is near?"},
                 {"role": "Orchestrator (thought)", "content": "Initial plan: ..."},
                 {"role": "Orchestrator (-> WebSurfer)", "content": "Please search."},
                 {"role": "WebSurfer", "content": "I typed 'gym' ..."},
                 {"role": "Orchestrator (thought)", "content": "Next speaker WebSurfer"}]}

By algorithm (CaptainAgent), where the name is the speaker and the role says nothing:

    {"is_correct": false, "system_prompt": {"Excel_Expert": "## Your role ..."},
     "history": [{"name": "Excel_Expert", "role": "assistant", "content": "You are given: ..."},
                 {"name": "Computer_terminal", "role": "user", "content": "exitcode: 0 ..."},
                 {"name": "Check_Expert", "role": "user", "content": "We have verified ..."}], ...}

Decided here:

- A log gives one trace for each agent whose own text is in it, from where that agent sits: what it
  wrote is the assistant's, what all others said is a user's with a name. Recorded roles are not
  believed. `viewpoint: planner` keeps only the one that plans.
- WebSurfer, FileSurfer and the terminals are no viewpoint: what is recorded of them is the rendered
  outcome of their tools, not what a model wrote.
- Thoughts go with the next message of the same agent as its reasoning, joined by an empty line;
  they are seen by nobody else. `Next speaker X` and a termination condition are control: meta.
- `-> WebSurfer` is an address, not a call: no call was written. It is `meta.to`.
- By algorithm, the first entry is the task that the manager hands out, whoever it is named after: a
  user turn. Each agent has its own system prompt.
- All of these runs failed. No reply is trained unless the option says so: `train: until_mistake`
  trains what stands before the step at which the annotators saw the mistake.
- The questions are of public benchmarks (`meta.benchmark`, by the form of `question_ID`: GAIA has
  UUIDs, AssistantBench has hashes): `meta.use` is `eval-only`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tracekit import jsontext
from tracekit.codes import Code
from tracekit.dialects import agent_text, conversation, record_keys
from tracekit.dialects.conversation import add_meta
from tracekit.dialects.dialect import Dialect, Notes, Option, Record
from tracekit.errors import BadRecord

_RENDERED = frozenset(
    ("WebSurfer", "FileSurfer", "ComputerTerminal", "Computer_terminal", "computer_terminal")
)
_NOTED = re.compile(r"([^()]+?) \((.*)\)")
_NEXT = "Next speaker "
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_HASH = re.compile(r"[0-9a-f]{64}")
_USED = frozenset(
    (
        *("history", "question", "question_ID", "ground_truth", "system_prompt"),
        *("is_corrected", "is_correct"),
    )
)

CODES = (
    agent_text.TOO_MANY,
    Code(
        name="failed_run_not_trained",
        kind="repair",
        what="The run failed as a whole; its replies have weight 0.",
        why="Where the mistake was made is annotated, but not what would have been right.",
        fix="Option `train: until_mistake` trains the steps before the mistake.",
    ),
)


def fits(value: Any) -> str:
    """Evidence that a record is such a log.

    >>> fits({"history": [], "question": "", "mistake_agent": "A", "mistake_step": "1"})
    'history with mistake_agent and mistake_step'
    """
    if not isinstance(value, dict) or not isinstance(value.get("history"), list):
        return ""
    known = "mistake_agent" in value and "mistake_step" in value
    return "history with mistake_agent and mistake_step" if known else ""


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Traces of one log: one for each agent that speaks for itself."""
    value = records[0].value
    if not isinstance(value, dict):
        raise BadRecord("not_an_object", f"the record is {type(value).__name__}")
    history = value.get("history")
    if not isinstance(history, list) or not history:
        raise BadRecord("no_messages", f"history is {type(history).__name__}")
    said = [_said(turn, k) for k, turn in enumerate(history)]
    named = any("name" in turn for turn in history)
    if named:  # the first entry is the task, whoever it is named after
        said[0] = (None, "", said[0][2], {"recorded_name": said[0][0], **said[0][3]})
    prompts = value.get("system_prompt")
    prompts = prompts if isinstance(prompts, dict) else {}
    views = _viewpoints(said, options.get("viewpoint") == "planner")
    if not views:
        speakers = sorted({str(name) for name, *_ in said if name is not None})
        raise BadRecord("no_assistant_message", f"no agent among {', '.join(speakers)}"[:300])
    agent_text.check_number(len(views))
    fields, meta = _fields(value, said, notes)
    silent = {name: text for name, text in prompts.items() if name not in views}
    if silent:
        meta["system_prompts"] = silent
    elif value.get("system_prompt") is not None and not prompts:
        meta["system_prompts"] = value["system_prompt"]
    n_trained = _n_trained(value, len(said), options)
    traces = []
    for view in views:
        own = {**meta, "viewpoint": view}
        messages = _messages(said, view, prompts.get(view), n_trained, own, notes)
        conversation.finish(messages, notes, own)
        traces.append(record_keys.trace(messages, None, dict(fields), own, notes))
    return traces


Said = tuple[str | None, str, str, dict[str, Any]]
"""Speaker (None: the user), note of the role, text, other keys."""


def _said(turn: Any, k: int) -> Said:
    if not isinstance(turn, dict):
        raise conversation.refuse_message(turn, k)
    content = turn.get("content")
    if content is not None and not isinstance(content, str):
        raise BadRecord("content_not_text", f"history[{k}].content is {type(content).__name__}")
    name = turn.get("name", turn.get("role"))
    if not isinstance(name, str) or not name:
        raise BadRecord("unknown_role", f"history[{k}] has no speaker")
    rest = {key: v for key, v in turn.items() if key not in ("content", "name", "role")}
    noted = _NOTED.fullmatch(name) if "name" not in turn else None
    note = ""
    if noted is not None:
        name, note = noted.groups()
    return (None if name == "human" else name, note, content or "", rest)


def _viewpoints(said: Sequence[Said], planner: bool) -> list[str]:
    """Agents whose own text is recorded, in the order in which they first speak."""
    found: dict[str, bool] = {}
    for name, note, _, _ in said:
        if name is not None and name not in _RENDERED:
            found[name] = found.get(name, False) or note == "thought"
    if planner and any(found.values()):
        return [name for name, plans in found.items() if plans]
    return list(found)


def _n_trained(value: dict[str, Any], n: int, options: Mapping[str, str]) -> int:
    """How many entries of the history may be trained on."""
    train = options.get("train", "none")
    failed = value.get("is_correct") is False or value.get("is_corrected") is False
    if train == "all" or not failed:
        return n
    step = str(value.get("mistake_step"))
    return int(step) if train == "until_mistake" and step.isdecimal() and len(step) < 9 else 0


def _messages(
    said: Sequence[Said],
    view: str,
    prompt: Any,
    n_trained: int,
    meta: dict[str, Any],
    notes: Notes,
) -> list[dict[str, Any]]:
    """The log as one agent saw it."""
    messages: list[dict[str, Any]] = []
    if isinstance(prompt, str) and prompt:
        messages.append({"role": "system", "content": prompt})
    elif prompt is not None:
        meta["system_prompt"] = prompt
    thoughts: list[str] = []
    last: dict[str, Any] | None = None
    for k, (name, note, text, rest) in enumerate(said):
        if name != view:
            if note == "thought":
                continue
            message: dict[str, Any] = {"role": "user"}
            if name is not None:
                message["name"] = name
        elif note == "thought":
            if text.startswith(_NEXT) and "\n" not in text and last is not None and not thoughts:
                add_meta(last, "next_speaker", text.removeprefix(_NEXT))
                add_meta(last, "control", text)
            elif text:
                thoughts.append(text)
            continue
        else:
            message = _own(view, thoughts, k < n_trained, notes)
            thoughts = []
            last = message
        if note == "termination condition":
            meta.setdefault("termination", []).append(text)
            if "reasoning" not in message:
                continue
            text = ""
        elif note.startswith("-> "):
            add_meta(message, "to", note[3:])
        elif note:
            add_meta(message, "note", note)
        if text:
            message["content"] = text
        agent_text.keep_rest(message, rest)
        messages.append(message)
    if thoughts:
        messages.append(_own(view, thoughts, len(said) <= n_trained, notes))
    if any(m["role"] == "assistant" and m.get("weight") == 0.0 for m in messages):
        notes.repair("failed_run_not_trained")
    return messages


def _own(view: str, thoughts: list[str], trained: bool, notes: Notes) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "name": view}
    if thoughts:
        message["reasoning"] = "\n\n".join(thoughts)
        message["reasoning_kind"] = "full"
    if not trained:
        message["weight"] = 0.0
    return message


def _fields(
    value: dict[str, Any], said: Sequence[Said], notes: Notes
) -> tuple[dict[str, Any], dict[str, Any]]:
    known = ("mistake_agent", "mistake_step", "mistake_reason", "level")
    fields, meta = record_keys.describe(value, {*_USED, *known}, notes)
    for key in known:
        if value.get(key) is not None:
            meta[key] = value[key]
    meta["speakers"] = list(dict.fromkeys("human" if n is None else n for n, *_ in said))
    question = value.get("question")
    if question is not None and not (isinstance(question, str) and question in said[0][2]):
        meta["question"] = question
    answer = value.get("ground_truth")
    if answer is not None and answer != "":
        fields["answer"] = answer if isinstance(answer, str) else jsontext.dump(answer)
    outcomes = []
    for key in ("is_corrected", "is_correct"):
        if isinstance(value.get(key), bool):
            outcomes.append({"value": jsontext.dump(value[key]), "kind": "human", "name": key})
        elif value.get(key) is not None:
            meta[key] = value[key]
    if outcomes:
        fields["outcomes"] = outcomes
    task = value.get("question_ID")
    if isinstance(task, str) and task:
        fields["task_key"] = task
        if _UUID.fullmatch(task) or _HASH.fullmatch(task):
            meta["benchmark"] = "GAIA" if "-" in task else "AssistantBench"
    elif task is not None:
        meta["question_ID"] = task
    meta["use"] = "eval-only"
    return fields, meta


dialect = Dialect(
    name="who_and_when",
    version=1,
    unit="record",
    fits=fits,
    read=read,
    codes=(*conversation.CODES, *record_keys.CODES, *CODES),
    ignores={"history[].role": "the speaker and a note; both are in name, meta and order"},
    options=(
        Option(
            name="viewpoint",
            choices=("all", "planner"),
            what="A trace for each agent whose own text is recorded, or only for the one that "
            "plans.",
        ),
        Option(
            name="train",
            choices=("none", "until_mistake", "all"),
            what="What of a failed run is trained on.",
        ),
    ),
)
