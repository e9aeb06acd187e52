"""Dialect `reflexion`: programming tasks tried, tested and reflected on until the tests pass.

    {"name": "task_3_area", "language": "py", "prompt": "def area(l: int) -> int:\\n",
     "entry_point": "area", "test": "assert area(3) == 9", "stop_tokens": ["\\ndef"],
     "is_solved": true, "reflections": ["It doubles instead of squaring."],
     "implementations": ["def area(l):\\n    return l * 2"], "test_feedback": ["area(3) == 6"],
     "solution": "def area(l):\\n    return l * l"}

Decided here:
- The conversation is what is recorded of it: the prompt; each try that is recorded, answered by
  the feedback of its tests as a user message; the solution. A reflection is what the model wrote
  between two tries, so it is the reasoning (kind `lifted`) of the try that follows it.
- Most logs keep the reflections and leave the tries out. Then all reflections stand before the
  solution, and they speak of programs that nobody sees: they are kept as reasoning and not trained
  (`train.reasoning: false`), which is counted.
- `is_solved` is a verdict of tests; `name` is the task key. Tests and the rest are meta.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracekit import jsontext
from tracekit.codes import Code
from tracekit.dialects import conversation, record_keys
from tracekit.dialects.dialect import Dialect, Notes, Record
from tracekit.errors import BadRecord

CODES = (
    Code(
        name="reflection_not_trained",
        kind="repair",
        what="A reflection speaks of a try that is not recorded; it is kept as reasoning that is "
        "not trained.",
        why="Trained, it teaches a model to begin with the faults of a program that nobody wrote.",
    ),
)


def fits(value: Any) -> str:
    """Evidence that a record is a log of tries with reflections.

    >>> fits({"prompt": "def f():", "reflections": [], "is_solved": True, "solution": "pass"})
    'prompt, reflections and solution'
    """
    if not isinstance(value, dict) or not isinstance(value.get("prompt"), str):
        return ""
    known = isinstance(value.get("reflections"), list) and "is_solved" in value
    return "prompt, reflections and solution" if known else ""


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The one trace of a record. Raises BadRecord: no_messages, no_assistant_message."""
    value = records[0].value
    if not isinstance(value, dict):
        raise BadRecord("not_an_object", f"the record is {type(value).__name__}")
    prompt = value.get("prompt")
    if not isinstance(prompt, str) or not prompt:
        raise BadRecord("no_messages", "no text of a prompt")
    used = {"prompt"}
    reflections = _texts(value, "reflections", used)
    tries = _texts(value, "implementations", used)
    feedback = _texts(value, "test_feedback", used)
    solution = value.get("solution")
    if isinstance(solution, str) and solution:
        used.add("solution")
        if tries and tries[-1] == solution:
            tries = tries[:-1]  # the last try is the solution
    elif tries:
        solution, tries = tries[-1], tries[:-1]
    else:
        raise BadRecord("no_assistant_message", "no solution and no implementation")
    messages: list[dict[str, Any]] = [{"role": "user", "content": prompt}]
    for k, text in enumerate(tries):
        messages.append(_try(text, reflections[k - 1 : k] if k else [], notes, seen=True))
        if k < len(feedback) and feedback[k]:
            messages.append({"role": "user", "content": feedback[k]})
    n = max(len(tries) - 1, 0)
    messages.append(_try(solution, reflections[n:], notes, seen=bool(tries)))
    fields, meta = record_keys.describe(value, used | {"is_solved", "name"}, notes)
    if feedback[len(tries) :]:
        meta["test_feedback"] = feedback[len(tries) :]
    if isinstance(value.get("name"), str) and value["name"]:
        fields.setdefault("source_id", value["name"])
        fields.setdefault("task_key", value["name"])
    elif value.get("name") is not None:
        meta["name"] = value["name"]
    solved = value.get("is_solved")
    if isinstance(solved, bool):
        told = {"value": jsontext.dump(solved), "kind": "tests", "name": "is_solved"}
        fields["outcomes"] = [*fields.get("outcomes", ()), told]
    elif solved is not None:
        meta["is_solved"] = solved
    conversation.finish(messages, notes, meta)
    return [record_keys.trace(messages, None, fields, meta, notes)]


def _texts(value: dict[str, Any], key: str, used: set[str]) -> list[str]:
    """A list of texts under a key; anything else stays for the meta."""
    held = value.get(key)
    if isinstance(held, list) and all(isinstance(text, str) for text in held):
        used.add(key)
        return held
    return []


def _try(text: str, reflections: list[str], notes: Notes, *, seen: bool) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant"}
    if text:
        message["content"] = text
    reasoning = "\n\n".join(filter(None, reflections))
    if reasoning:
        message["reasoning"] = reasoning
        message["reasoning_kind"] = "lifted"
        if not seen:
            message["train"] = {"reasoning": False}
            notes.repair("reflection_not_trained")
    return message


dialect = Dialect(
    name="reflexion",
    version=1,
    unit="record",
    fits=fits,
    read=read,
    codes=(*conversation.CODES, *record_keys.CODES, *CODES),
)
