"""Dialect `reasoning_augmented_eval`: one task answered without and with reasoning, then judged.

    {"id": "py_3", "title": "A queue", "category": "coding", "answer_without": "A list.",
     "answer_with": "A deque.", "reasoning_trace": "Popping the first of a list is slow.",
     "reasoning_conclusion": "Take a deque.", "score_without": 1, "score_with": 3,
     "winner": "with", "judge_justification": "The list is slow."}

Decided here:
- The prompt is not recorded. The title is what is known of the task, so it is the user message, and
  `meta.prompt` says it. A title may even name another task than the one that was answered, so the
  answer has weight 0 (`untold_prompt: context`, the default); `untold_prompt: train` trains it.
- The reasoning was made by another system and handed to the model that answers: its kind is
  `post_hoc`, and it is never read as that model's own thinking. `""` means: given and empty.
- `side: with` (default) gives the answer that had the reasoning, `without` the other one, `both`
  two traces of one `group_id`. What is no side of the trace stays in the meta.
- Scores and winner are verdicts of a judge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracekit import jsontext
from tracekit.codes import Code
from tracekit.dialects import conversation, record_keys
from tracekit.dialects.dialect import Dialect, Notes, Option, Record
from tracekit.errors import BadRecord

CODES = (
    Code(
        name="title_for_prompt",
        kind="repair",
        what="The prompt is not recorded; the title of the task is the user message, and the "
        "answer has weight 0.",
        why="The answer follows a longer prompt than the model would be shown.",
        fix="Put the prompts back at the source, or read with the option `untold_prompt: train`.",
    ),
)

_SIDES = {
    "with": ("answer_with", "score_with", "reasoning_trace"),
    "without": ("answer_without", "score_without", None),
}


def fits(value: Any) -> str:
    """Evidence that a record holds an answer with and one without reasoning.

    >>> fits({"title": "A queue", "answer_with": "A deque.", "answer_without": "A list."})
    'answer_with and answer_without'
    """
    if not isinstance(value, dict) or not isinstance(value.get("title"), str):
        return ""
    both = all(isinstance(value.get(key), str) for key in ("answer_with", "answer_without"))
    return "answer_with and answer_without" if both else ""


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The traces of the sides that are asked for."""
    value = records[0].value
    if not isinstance(value, dict):
        raise BadRecord("not_an_object", f"the record is {type(value).__name__}")
    title = value.get("title")
    if not isinstance(title, str) or not title:
        raise BadRecord("no_messages", "no title of a task")
    asked = options.get("side", "with")
    sides = ("with", "without") if asked == "both" else (asked,)
    traces = [_trace(value, title, side, len(sides) > 1, notes) for side in sides]
    if options.get("untold_prompt") != "train":
        for trace in traces:
            trace["messages"][-1]["weight"] = 0.0
    return traces


def _trace(
    value: dict[str, Any], title: str, side: str, grouped: bool, notes: Notes
) -> dict[str, Any]:
    answer, score, reasoning = _SIDES[side]
    text = value.get(answer)
    if not isinstance(text, str) or not text:
        raise BadRecord("no_assistant_message", f"{answer} holds no text")
    message: dict[str, Any] = {"role": "assistant", "content": text}
    used = {"title", answer}
    if reasoning is not None and isinstance(value.get(reasoning), str):
        message["reasoning"] = value[reasoning]
        message["reasoning_kind"] = "post_hoc"
        used.add(reasoning)
    outcomes = []
    for key in (score, "winner"):
        given = value.get(key)
        if isinstance(given, (str, int, float, bool)):
            outcomes.append({"value": jsontext.dump(given), "kind": "judge", "name": key})
            used.add(key)
    fields, meta = record_keys.describe(value, used, notes)
    if outcomes:
        fields["outcomes"] = [*fields.get("outcomes", ()), *outcomes]
    meta["side"] = side
    meta["prompt"] = "not recorded"
    if grouped and "source_id" in fields:
        meta["group_id"] = fields["source_id"]
    notes.repair("title_for_prompt")
    messages = [{"role": "user", "content": title}, message]
    conversation.finish(messages, notes, meta)
    return record_keys.trace(messages, None, fields, meta, notes)


dialect = Dialect(
    name="reasoning_augmented_eval",
    version=1,
    unit="record",
    fits=fits,
    read=read,
    codes=(*conversation.CODES, *record_keys.CODES, *CODES),
    options=(
        Option(
            name="side",
            choices=("with", "without", "both"),
            what="Which answer becomes a trace: the one that had the reasoning, the other, both.",
        ),
        Option(
            name="untold_prompt",
            choices=("context", "train"),
            what="An answer whose prompt is not recorded: not trained, or trained under its title.",
        ),
    ),
)
