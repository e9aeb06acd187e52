"""Dialect `reward_tree`: solutions that share their beginnings, with a value at every step.

    {"question": "3 + 4?", "final_answer": "7", "question_id": 0, "reasoning_steps":
     {"text": "3 + 4?", "mc_value": 0.5, "children": [
       {"text": "Count on: \\\\boxed{7}.", "mc_value": 1.0, "children": []},
       {"text": "Count back.", "mc_value": 0.0, "children": []}]}}
    {"question": "3 + 4?", "final_answer": "7", "reasoning_steps": [
      {"solution_prefix": "3 + 4?", "mc_value": 0.5},
      {"solution_prefix": "3 + 4?\\n\\nCount on: \\\\boxed{7}.", "mc_value": 1.0}]}

The values are shares of sampled continuations that reach the reference answer.

Decided here:
- One trace a path from the root to a leaf; in the flat form a leaf is a prefix that no other one
  goes on from. The traces of a record share their beginnings on purpose: a cap per prompt thins
  them. `question_id` is no `task_key`: the sets at hand give one to two questions.
- The steps of a tree are joined by an empty line, as the flat form has them. What follows the
  question in a flat prefix is the answer, without the white space between the two.
- `meta.steps` of the message has the length in characters and the value of each step.
- The value of the leaf is the outcome (`exact_match`). A leaf below 1 is a prefix from which no
  continuation, or not each one, got to the answer: no solution. Its message has weight 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tracekit import jsontext
from tracekit.codes import Code
from tracekit.dialects import conversation, record_keys
from tracekit.dialects.dialect import Dialect, Notes, Record
from tracekit.errors import BadRecord

CODES = (
    Code(
        name="bad_tree",
        kind="reject",
        what="The steps are no tree of texts with children, and no list of prefixes that begin "
        "with the question.",
    ),
    Code(
        name="dead_end_not_trained",
        kind="repair",
        what="A path ends at a step whose value is below 1; its message has weight 0.",
        why="It is a beginning from which the answer was not reached, and no solution.",
        fix="The trace stays, with the value as outcome.",
    ),
)

_BETWEEN = "\n\n"


def fits(value: Any) -> str:
    """Evidence that a record is a question with valued steps.

    >>> fits({"question": "3 + 4?", "reasoning_steps": {"text": "3 + 4?", "children": []}})
    'question and a tree of reasoning_steps'
    """
    if not isinstance(value, dict) or not isinstance(value.get("question"), str):
        return ""
    steps = value.get("reasoning_steps")
    if isinstance(steps, dict):
        known = "text" in steps and "children" in steps
        return "question and a tree of reasoning_steps" if known else ""
    if isinstance(steps, list) and steps and isinstance(steps[0], dict):
        known = isinstance(steps[0].get("solution_prefix"), str)
        return "question and reasoning_steps with solution_prefix" if known else ""
    return ""


Path = list[tuple[str, dict[str, Any]]]
"""Steps of one path after the question: text of each, and what is recorded about it."""


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """One trace for each leaf. Raises BadRecord: no_messages, no_assistant_message, bad_tree."""
    value = records[0].value
    if not isinstance(value, dict):
        raise BadRecord("not_an_object", f"the record is {type(value).__name__}")
    question = value.get("question")
    if not isinstance(question, str) or not question:
        raise BadRecord("no_messages", "no text of a question")
    steps = value.get("reasoning_steps")
    fields, meta = record_keys.describe(
        value, {"question", "reasoning_steps", "final_answer"}, notes
    )
    answer = value.get("final_answer")
    if isinstance(answer, str) and answer:
        fields["answer"] = answer
    elif answer is not None:
        meta["final_answer"] = answer
    paths: Iterable[Path]
    if isinstance(steps, dict):
        root, paths = _node(steps)[1], _tree_paths(steps, question)
    elif isinstance(steps, list):
        root, paths = _flat_paths(steps, question)
    else:
        raise BadRecord("bad_tree", f"reasoning_steps is {type(steps).__name__}")
    if root:
        meta["root"] = root
    traces = [_trace(question, path, fields, meta, notes) for path in paths]
    if not traces:
        raise BadRecord("no_assistant_message", "no step follows the question")
    return traces


def _trace(
    question: str, path: Path, fields: dict[str, Any], meta: dict[str, Any], notes: Notes
) -> dict[str, Any]:
    told = [{"chars": len(text), **about} for text, about in path]
    content = "".join(text for text, _ in path)
    message: dict[str, Any] = {"role": "assistant", "meta": {"steps": told}}
    if content:
        message["content"] = content
    own = dict(fields)
    last = path[-1][1].get("value")
    values: list[Any] = last if isinstance(last, list) else [last]
    if all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values):
        verdict = {"value": jsontext.dump(last), "kind": "exact_match", "name": "mc_value"}
        own["outcomes"] = [*own.get("outcomes", ()), verdict]
        if all(v < 1 for v in values):
            message["weight"] = 0.0
            notes.repair("dead_end_not_trained")
    messages = [{"role": "user", "content": question}, message]
    own_meta = dict(meta)
    conversation.finish(messages, notes, own_meta)
    return record_keys.trace(messages, None, own, own_meta, notes)


def _tree_paths(root: dict[str, Any], question: str) -> Iterator[Path]:
    """Paths of a tree to its leaves, in order. The root repeats the question."""
    text, _, children = _node(root)
    if text != question:
        raise BadRecord("bad_tree", "the root is not the question")
    path: Path = []
    waiting: list[tuple[int, Any]] = [(0, child) for child in reversed(children)]
    while waiting:
        depth, node = waiting.pop()
        text, about, children = _node(node)
        del path[depth:]
        path.append((_BETWEEN + text if depth else text, about))
        if children:
            waiting.extend((depth + 1, child) for child in reversed(children))
        else:
            yield list(path)


def _node(node: Any) -> tuple[str, dict[str, Any], list[Any]]:
    """Text of a node, what is recorded about it, its children."""
    if not isinstance(node, dict) or not isinstance(node.get("text"), str):
        raise BadRecord("bad_tree", "a node has no text")
    children = node.get("children")
    if children is None:
        children = []
    if not isinstance(children, list):
        raise BadRecord("bad_tree", f"children is {type(children).__name__}")
    return node["text"], _about(node, "text"), children


def _about(step: dict[str, Any], text: str) -> dict[str, Any]:
    value = step.get("mc_value")
    known = (text, "mc_value", "children")
    rest = {key: v for key, v in step.items() if key not in known and v is not None}
    return ({} if value is None else {"value": value}) | rest


def _flat_paths(steps: list[Any], question: str) -> tuple[dict[str, Any], list[Path]]:
    """What is recorded about the question itself, and the paths to prefixes that end somewhere.

    In sorted order the prefixes that go on from another one stand directly behind it.
    """
    told: dict[str, list[dict[str, Any]]] = {}
    for k, step in enumerate(steps):
        prefix = step.get("solution_prefix") if isinstance(step, dict) else None
        if not isinstance(prefix, str) or not prefix.startswith(question):
            raise BadRecord("bad_tree", f"reasoning_steps[{k}] has no prefix with the question")
        rest = prefix[len(question) :].lstrip()
        told.setdefault(rest, []).append(_about(step, "solution_prefix"))
    root = _merged(told.pop("", []))
    paths: list[Path] = []
    open_prefixes: list[str] = []
    ordered = sorted(told)
    for k, prefix in enumerate(ordered):
        while open_prefixes and not prefix.startswith(open_prefixes[-1]):
            open_prefixes.pop()
        open_prefixes.append(prefix)
        if k + 1 < len(ordered) and ordered[k + 1].startswith(prefix):
            continue
        done = 0
        path: Path = []
        for step in open_prefixes:
            path.append((step[done:], _merged(told[step])))
            done = len(step)
        paths.append(path)
    return root, paths


def _merged(several: list[dict[str, Any]]) -> dict[str, Any]:
    """What is recorded about one prefix; a list where a key has several values."""
    merged: dict[str, list[Any]] = {}
    for about in several:
        for key, v in about.items():
            if v not in merged.setdefault(key, []):
                merged[key].append(v)
    return {key: vs[0] if len(vs) == 1 else vs for key, vs in merged.items()}


dialect = Dialect(
    name="reward_tree",
    version=1,
    unit="record",
    fits=fits,
    read=read,
    codes=(*conversation.CODES, *record_keys.CODES, *CODES),
    ignores={
        "*.reasoning_steps[].solution_prefix": "question and steps in one text; the user and the "
        "assistant message hold it in two",
    },
)
