"""Dialect `prm800k`: step by step solutions whose every step a person rated.

    {"labeler": "a1", "timestamp": "2022-07-30T23:23:32", "generation": null,
     "question": {"problem": "3 + 4?", "ground_truth_answer": "7"},
     "label": {"steps": [
       {"completions": [{"text": "Count on from 3.", "rating": 1, "flagged": false}],
        "human_completion": null, "chosen_completion": 0},
       {"completions": [{"text": "# Answer\\n\\n8", "rating": -1, "flagged": false}],
        "human_completion": {"text": "# Answer\\n\\n7", "rating": null, "source": "human"},
        "chosen_completion": null}],
      "total_time": 9025, "finish_reason": "solution"}}

Decided here:
- One trace a record: the problem, and one answer of the steps that the labeler went on with (the
  chosen completion, or what the labeler wrote where none was good), one a line.
- The working stays in the content. `rationale_to: reasoning` makes all but the last step the
  reasoning, of the kind `rationale`, where the last one states the answer.
- `meta.steps` of the message says of each step its rating, who wrote it and the completions that
  were not chosen, with their ratings. A step that nobody went on with is in `meta.left`.
- `finish_reason` is the labeler's verdict: an outcome of the kind `human`. Where it is not
  `solution`, the steps end before an answer; such a message has weight 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracekit import jsontext
from tracekit.codes import Code
from tracekit.dialects import conversation, record_keys, worked_answers
from tracekit.dialects.dialect import Dialect, Notes, Record
from tracekit.errors import BadRecord

CODES = (
    Code(
        name="bad_steps",
        kind="reject",
        what="The labelled steps are no list of objects with completions.",
    ),
    Code(
        name="unfinished_solution_not_trained",
        kind="repair",
        what="The labelled steps end before an answer (the labeler gave up, or found an error "
        "without mending it); the message has weight 0.",
        why="Trained, it teaches a model to stop in the middle of a solution.",
        fix="The message stays; give it another weight with a rule of your own.",
    ),
)

_ANSWER = "# Answer"


def fits(value: Any) -> str:
    """Evidence that a record is a rated solution.

    >>> fits({"question": {"problem": "3 + 4?"}, "label": {"steps": []}})
    'question with problem and label with steps'
    """
    if not isinstance(value, dict):
        return ""
    question, label = value.get("question"), value.get("label")
    if not isinstance(question, dict) or not isinstance(label, dict):
        return ""
    given = isinstance(question.get("problem"), str) and isinstance(label.get("steps"), list)
    return "question with problem and label with steps" if given else ""


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The one trace of a record. Raises BadRecord: bad_steps, no_messages, no_assistant_message."""
    value = records[0].value
    if not isinstance(value, dict):
        raise BadRecord("not_an_object", f"the record is {type(value).__name__}")
    question, label = value.get("question"), value.get("label")
    if not isinstance(question, dict) or not isinstance(question.get("problem"), str):
        raise BadRecord("no_messages", "no text of a problem")
    steps = label.get("steps") if isinstance(label, dict) else None
    if not isinstance(label, dict) or not isinstance(steps, list):
        raise BadRecord("bad_steps", "label.steps is no list")
    taken: list[str] = []
    told: list[dict[str, Any]] = []
    left: list[dict[str, Any]] = []
    for k, step in enumerate(steps):
        text, about = _step(step, k)
        if text is None:
            left.append({"step": k, **about})
        else:
            taken.append(text)
            told.append(about)
    if not taken:
        raise BadRecord("no_assistant_message", f"none of {len(steps)} steps was chosen")
    message: dict[str, Any] = {"role": "assistant", "content": "\n".join(taken)}
    if options.get("rationale_to") == "reasoning" and _ANSWER in taken[-1]:
        worked_answers.move_rationale(message, "\n".join(taken[:-1]), taken[-1], notes)
    message["meta"] = {"steps": told} | ({"left": left} if left else {})
    fields, meta = record_keys.describe(value, {"question", "label"}, notes)
    rest = {k: v for k, v in question.items() if k != "problem" and v is not None}
    answer = rest.get("ground_truth_answer")
    if isinstance(answer, str) and answer:
        fields["answer"] = rest.pop("ground_truth_answer")
    for name, held in (("question", rest), ("label", _beside(label))):
        if held:
            meta[name] = held
    finish = label.get("finish_reason")
    if isinstance(finish, str):
        told_by = {"value": jsontext.dump(finish), "kind": "human", "name": "finish_reason"}
        fields["outcomes"] = [*fields.get("outcomes", ()), told_by]
    if finish != "solution":
        message["weight"] = 0.0
        notes.repair("unfinished_solution_not_trained")
    messages = [{"role": "user", "content": question["problem"] or None}, message]
    conversation.finish(messages, notes, meta)
    return [record_keys.trace(messages, None, fields, meta, notes)]


def _beside(label: dict[str, Any]) -> dict[str, Any]:
    used = ("steps", "finish_reason") if isinstance(label.get("finish_reason"), str) else ("steps",)
    return {key: v for key, v in label.items() if key not in used and v is not None}


def _step(step: Any, k: int) -> tuple[str | None, dict[str, Any]]:
    """Text that the labeler went on with, or None; and what is recorded about the step."""
    if not isinstance(step, dict):
        raise BadRecord("bad_steps", f"steps[{k}] is {type(step).__name__}")
    completions = step.get("completions")
    if completions is None:
        completions = []
    if not isinstance(completions, list):
        raise BadRecord("bad_steps", f"steps[{k}].completions is {type(completions).__name__}")
    chosen, human = step.get("chosen_completion"), step.get("human_completion")
    about: dict[str, Any] = {}
    text: str | None = None
    others: list[Any] = completions
    if isinstance(chosen, int) and not isinstance(chosen, bool) and 0 <= chosen < len(completions):
        text = _text(completions[chosen])
        if text is not None:
            about = {"by": "model", **_without_text(completions[chosen])}
            others = [other for n, other in enumerate(completions) if n != chosen]
    if text is None and isinstance(human, dict) and _text(human) is not None:
        text = _text(human)
        about = {"by": "human", **_without_text(human)}
    elif human is not None:
        about["human_completion"] = human
    if others:
        about["others"] = others
    used = ("completions", "chosen_completion", "human_completion")
    rest = {key: v for key, v in step.items() if key not in used and v is not None}
    if text is None and chosen is not None:
        rest["chosen_completion"] = chosen
    return text, about | rest


def _text(completion: Any) -> str | None:
    text = completion.get("text") if isinstance(completion, dict) else None
    return text if isinstance(text, str) and text else None


def _without_text(completion: dict[str, Any]) -> dict[str, Any]:
    return {key: v for key, v in completion.items() if key != "text" and v is not None}


dialect = Dialect(
    name="prm800k",
    version=1,
    unit="record",
    fits=fits,
    read=read,
    codes=(*conversation.CODES, *record_keys.CODES, *worked_answers.CODES, *CODES),
    options=(worked_answers.RATIONALE_TO,),
)
