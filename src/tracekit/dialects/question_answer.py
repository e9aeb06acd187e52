"""Dialect `question_answer`: a question with a worked answer, as benchmark-like sets keep it.

What is written is an explanation for people, so it is the content of the answer and not reasoning;
`rationale_to: reasoning` makes it reasoning of the kind `rationale`, and the line that states the
result the content. The final answer goes to `Trace.answer` as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracekit.codes import Code
from tracekit.dialects import (
    alpaca,
    conversation,
    math_samples,
    openai_message,
    prompt_response,
    record_keys,
    reward_tree,
    worked_answers,
)
from tracekit.dialects.dialect import Dialect, Notes, Option, Record
from tracekit.dialects.openai import CALLS
from tracekit.errors import BadRecord

_QUESTIONS = ("question", "problem")
_WORKED = ("solution", "rationale", "explanation", "reference_solution")

CODES = (
    Code(
        name="no_worked_answer",
        kind="reject",
        what="A question stands alone, or (option `bare_answers: reject`) with a bare result.",
    ),
    Code(
        name="bare_answer",
        kind="repair",
        what="The answer is a bare result that nobody worked out; it is the content.",
        why="A bare result after a hard question trains guessing.",
        fix="Option `bare_answers: reject` leaves such records out.",
    ),
)

BARE = "bare_answers"


def fits(value: Any) -> str:
    """Evidence that a record is a question with its answer.

    >>> fits({"question": "How many?", "answer": "3 + 4 = 7\\n#### 7"})
    'question and answer'
    """
    if not isinstance(value, dict) or prompt_response.fits(value) or alpaca.fits(value):
        return ""
    if any(key in value for key in ("messages", "conversations", "tools")):
        return ""
    if math_samples.fits(value) or reward_tree.fits(value):
        return ""  # samples of a model: the worked answer is only their reference
    question = next((key for key in _QUESTIONS if isinstance(value.get(key), str)), None)
    if question is None:
        return ""
    for key in (*_WORKED, "answer"):
        if isinstance(value.get(key), str):
            return f"{question} and {key}"
    return ""


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The one trace of a record. Raises BadRecord: no_messages, no_worked_answer."""
    value = records[0].value
    if not isinstance(value, dict):
        raise BadRecord("not_an_object", f"the record is {type(value).__name__}")
    question = next((key for key in _QUESTIONS if isinstance(value.get(key), str)), None)
    if question is None or not value[question]:
        raise BadRecord("no_messages", "no text of a question")
    worked = next((key for key in _WORKED if isinstance(value.get(key), str) and value[key]), None)
    used = {question}
    if worked is not None:
        used.add(worked)
        text = value[worked]
    else:
        text = value.get("answer")
        if not isinstance(text, str) or not text:
            raise BadRecord("no_worked_answer", f"{question} without an answer")
        used.add("answer")
    # The longest bare results of the sets at hand are short formulas on one line.
    bare = worked is None and len(text) < 40 and "\n" not in text
    if bare:
        if options.get(BARE) == "reject":
            raise BadRecord("no_worked_answer", f"the answer is only {text!r}")
        notes.repair("bare_answer")
    fields, meta = record_keys.describe(value, used, notes)
    if "answer" not in fields:
        final = text if bare else worked_answers.final_answer(text)
        if final is not None:
            fields["answer"] = final
    message: dict[str, Any] = {"role": "assistant", "content": text}
    openai_message.split_text(message, notes, options)
    if options.get("rationale_to") == "reasoning" and not bare:
        _move(message, notes)
    messages = [{"role": "user", "content": value[question]}, message]
    conversation.finish(messages, notes, meta)
    return [record_keys.trace(messages, None, fields, meta, notes)]


def _move(message: dict[str, Any], notes: Notes) -> None:
    """Moves the working of an answer that states its result on a last line of its own."""
    content = message.get("content")
    if content is None or "tool_calls" in message:
        return
    before, line, last = content.rstrip().rpartition("\n")
    if line and worked_answers.final_answer(last) is not None:
        worked_answers.move_rationale(message, before, last, notes)


dialect = Dialect(
    name="question_answer",
    version=2,
    unit="record",
    fits=fits,
    read=read,
    codes=(
        *conversation.CODES,
        *openai_message.CODES,
        *record_keys.CODES,
        *worked_answers.CODES,
        *CODES,
    ),
    options=(
        CALLS,
        worked_answers.RATIONALE_TO,
        Option(
            name=BARE,
            choices=("keep", "reject"),
            what="Records whose answer is a bare result without any working.",
        ),
    ),
)
