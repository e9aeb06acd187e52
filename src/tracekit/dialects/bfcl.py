"""Dialect `bfcl`: questions of the function calling leaderboard BFCL with their answers.

{"id": "simple_0", "question": [[{"role": "user", "content": "Is it wet in Rome?"}]],
 "function": [{"name": "rain", "parameters": {"type": "dict", "properties": {...}}}]}
{"id": "simple_0", "ground_truth": [{"rain": {"city": ["Rome", "Rome, IT"]}}]}

Questions and answers are two files, joined by `id`; multi-turn sets have `involved_classes` and
`initial_config` instead of functions, and answers such as `"cd(folder='a')"`, a list a turn.

Decided here: (1) Nobody said anything in these files, and they are a benchmark. A trace is the
question with the *reference calls* as the assistant's turns, none of which is a target (weight 0,
`meta.reference`): good for decontamination and as an evaluation set, never for training.
(2) Where several values are allowed the call has the first; a parameter that may be left out is.
The answer as written is `Trace.answer`. (3) Answers that name no parameters are text, since their
names stand in code that is not here. (4) A question without its answer is refused, and the other
way round: read both files in one source.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any

from tracekit import jsontext
from tracekit.codes import Code
from tracekit.dialects import conversation, declarations, declared_schemas, record_keys
from tracekit.dialects.dialect import Dialect, Notes, Record
from tracekit.errors import BadRecord

CODES = (
    Code(
        name="question_without_answer",
        kind="reject",
        what="A benchmark question whose possible answer is not among the records of the source.",
        fix="Read the folder with `possible_answer` beside the questions.",
    ),
    Code(
        name="answer_without_question",
        kind="reject",
        what="Possible answers of a benchmark question that is not among the records.",
        fix="Read the questions and the folder `possible_answer` in one source.",
    ),
    Code(
        name="reference_calls",
        kind="repair",
        what="Allowed values of a benchmark's reference became one call each; no target.",
        why="The file says which calls are right, not what a model said.",
    ),
    Code(
        name="answer_not_calls",
        kind="reject",
        what="The ground truth of a benchmark question is no list of calls.",
    ),
)

_USED = frozenset(("id", "question", "function"))
_MAX_CALL_CHARS = 20_000


def fits(value: Any) -> str:
    """Evidence that a record is a benchmark question, or the possible answers of one.

    >>> fits({"id": "simple_0", "ground_truth": [{"rain": {"city": ["Rome"]}}]})
    'id and ground_truth'
    """
    if not isinstance(value, dict) or not isinstance(value.get("id"), str):
        return ""
    if isinstance(value.get("ground_truth"), list) and len(value) == 2:
        return "id and ground_truth"
    turns = value.get("question")
    if isinstance(turns, list) and turns and isinstance(turns[0], list):
        return "question as a list of turns" if {"function", "path"} & value.keys() else ""
    return ""


def key(value: Any) -> str | None:
    """The id, which a question and its answer share."""
    found = value.get("id") if isinstance(value, dict) else None
    return found if isinstance(found, str) else None


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """A trace for each question with its answer; what has no partner is refused."""
    questions: dict[str, Record] = {}
    answers: dict[str, Record] = {}
    for record in records:
        name = key(record.value)
        if name is None:
            notes.reject(record, "not_an_object", "no object with an id")
            continue
        held = questions if "question" in record.value else answers
        if name in held:
            notes.reject(record, "question_without_answer", f"a second record of {name!r:.80}")
        else:
            held[name] = record
    traces = []
    for name, record in questions.items():
        answer = answers.pop(name, None)
        if answer is None:
            notes.reject(record, "question_without_answer", f"{name!r:.80}")
            continue
        try:
            made = _trace(record.value, answer.value, notes)
        except BadRecord as error:
            for part in (record, answer):
                notes.reject(part, error.code, error.detail)
            continue
        made["rows"] = [(part.file, part.row) for part in (record, answer)]
        traces.append(made)
    for name, record in answers.items():
        notes.reject(record, "answer_without_question", f"{name!r:.80}")
    return traces


def _trace(question: dict[str, Any], answer: dict[str, Any], notes: Notes) -> dict[str, Any]:
    turns = question["question"]
    if not isinstance(turns, list) or not turns:
        raise BadRecord("no_messages", "question is no list of turns")
    truth = answer.get("ground_truth")
    if not isinstance(truth, list):
        raise BadRecord("answer_not_calls", f"ground_truth is {type(truth).__name__}")
    # Several turns: a list of calls for each; one turn: its calls, without a list around them.
    each = truth if len(turns) > 1 or (truth and isinstance(truth[0], list)) else [truth]
    messages: list[dict[str, Any]] = []
    for k, turn in enumerate(turns):
        messages.extend(_asked(turn, k))
        if k < len(each):
            messages.append(_reference(each[k], notes))
    fields, meta = record_keys.describe(question, _USED, notes)
    meta |= {k: v for k, v in answer.items() if k not in ("id", "ground_truth") and v is not None}
    meta["reference"] = True
    tools = declarations.read_tools(question.get("function"))
    declared_schemas.normalise(tools, notes, meta)
    conversation.finish(messages, notes, meta)
    fields |= {"source_id": question["id"], "task_key": question["id"]}
    fields["answer"] = jsontext.dump(truth)
    return record_keys.trace(messages, tools, fields, meta, notes)


def _asked(turn: Any, k: int) -> list[dict[str, Any]]:
    if not isinstance(turn, list):
        raise BadRecord("message_not_object", f"question[{k}] is {type(turn).__name__}")
    messages = []
    for message in turn:
        if not isinstance(message, dict):
            raise conversation.refuse_message(message, k)
        role, text = message.get("role"), message.get("content")
        if role not in ("user", "system", "assistant"):
            raise BadRecord("unknown_role", f"question[{k}] has the role {role!r:.60}")
        if text is not None and not isinstance(text, str):
            raise BadRecord("content_not_text", f"question[{k}] has {type(text).__name__}")
        made: dict[str, Any] = {"role": role, "content": text or None}
        rest = {key: v for key, v in message.items() if key not in ("role", "content")}
        if rest:
            made["meta"] = rest
        messages.append(made)
    return messages


def _reference(entries: Any, notes: Notes) -> dict[str, Any]:
    """The reference calls of one turn as a message that is no target."""
    if not isinstance(entries, list):
        entries = [entries]
    message: dict[str, Any] = {"role": "assistant", "weight": 0.0, "meta": {"reference": True}}
    calls: list[dict[str, Any]] = []
    for entry in entries:
        found = _of_text(entry) if isinstance(entry, str) else _of_values(entry)
        if found is None:
            message["content"] = "\n".join(e if isinstance(e, str) else str(e) for e in entries)
            return message
        calls.extend({"id": "", "name": name, "arguments": text} for name, text in found)
    if calls:
        notes.repair("reference_calls", len(calls))
        message["tool_calls"] = calls
    return message


def _of_values(entry: Any) -> list[tuple[str, str]]:
    """Calls of `{"name": {"parameter": [allowed, ...]}}`: the first allowed value of each."""
    if not isinstance(entry, dict) or not entry:
        raise BadRecord("answer_not_calls", f"ground truth holds {type(entry).__name__}")
    calls = []
    for name, allowed in entry.items():
        if not isinstance(allowed, dict) or not name:
            raise BadRecord("answer_not_calls", f"the call of {name!r:.60}")
        calls.append((name, jsontext.dump(_first_allowed(allowed))))
    return calls


def _first_allowed(allowed: dict[str, Any]) -> dict[str, Any]:
    """The first value that each parameter may have; `""` among them means that it may be absent.

    >>> _first_allowed({"city": ["Rome", "Rome, IT"], "unit": ["", "K"], "at": [{"x": [1, 2]}]})
    {'city': 'Rome', 'at': {'x': 1}}
    """
    chosen: dict[str, Any] = {}
    for name, values in allowed.items():
        if not isinstance(values, list):
            chosen[name] = values
        elif values and values[0] != "":
            first = values[0]
            nested = isinstance(first, dict) and all(isinstance(v, list) for v in first.values())
            chosen[name] = _first_allowed(first) if nested else first
    return chosen


def _of_text(text: str) -> list[tuple[str, str]] | None:
    """The call of `name(key='value')`; None where it is none, or does not name its parameters.

    >>> _of_text("cd(folder='a', deep=True)")
    [('cd', '{"folder":"a","deep":true}')]
    >>> _of_text("sort('a.txt')") is None
    True
    """
    if len(text) > _MAX_CALL_CHARS:
        return None
    try:
        node = ast.parse(text, mode="eval").body
        if not isinstance(node, ast.Call) or node.args:
            return None
        given = {word.arg: ast.literal_eval(word.value) for word in node.keywords}
        name = ast.unparse(node.func)
        arguments = jsontext.dump(given) if None not in given else None
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        return None
    return None if arguments is None else [(name, arguments)]


dialect = Dialect(
    name="bfcl",
    version=1,
    unit="session",
    fits=fits,
    read=read,
    key=key,
    codes=(
        *conversation.CODES,
        *declarations.CODES,
        *declared_schemas.CODES,
        *record_keys.CODES,
        *CODES,
    ),
)
