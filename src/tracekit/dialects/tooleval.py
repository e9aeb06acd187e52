"""Nested answers of ToolEval for the dialect `toolbench`: each step holds the next one.

{"query": "...", "available_tools": [...], "answer": {"method": "chatgpt_CoT", "total_steps": 4,
 "final_answer": "{...}", "answer_details": [{"role": "system", "message": "", "next": [
  {"role": "user", "message": "...", "next": [{"role": "tool", "next": [],
   "message": "{'name': 'rain', 'arguments': '{}', 'response': '{...}'}"}]}]}]}}

A tool step is the text of a Python dict, with call and result in one. They are answers to the test
queries of ToolBench. Published files have steps cut at 100 characters: these are refused.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from tracekit import jsontext
from tracekit.codes import Code
from tracekit.dialects import conversation, declarations, declared_schemas, record_keys
from tracekit.dialects.dialect import Notes
from tracekit.errors import BadRecord

CODES = (
    Code(
        name="steps_branch",
        kind="repair",
        what="A nested answer goes on in several ways; the first is the trace, the meta keeps the "
        "others.",
    ),
    Code(
        name="steps_cut",
        kind="reject",
        what="Steps of a nested answer were cut at a number of characters when it was written; "
        "calls and results are not whole.",
        why="What is left of a call is no call, and an answer without its results is invented.",
        fix="Convert the original answers again without the limit.",
    ),
)

_USED = frozenset(("query", "available_tools", "answer"))
_ANSWER_USED = frozenset(("answer_details",))
Finish = Callable[..., "list[dict[str, Any]] | None"]


def fits(value: dict[str, Any]) -> str:
    """Evidence that a record is a nested answer."""
    answer = value.get("answer")
    known = isinstance(answer, dict) and isinstance(answer.get("answer_details"), list)
    return "available_tools and answer_details" if known and "available_tools" in value else ""


def task_key(query: str) -> str:
    """Key of a task that has no recorded id: a hash of its question."""
    return hashlib.sha256(query.encode("utf-8", "replace")).hexdigest()[:16]


def read(
    value: dict[str, Any], notes: Notes, options: Mapping[str, str], finish: Finish
) -> dict[str, Any]:
    """The trace of a nested answer."""
    answer = value["answer"]
    details: Any = answer.get("answer_details") if isinstance(answer, dict) else None
    if not isinstance(details, list) or not details:
        raise BadRecord("no_messages", "answer_details is no list of steps")
    fields, meta = record_keys.describe(value, _USED, notes)
    messages: list[dict[str, Any]] = []
    while details:
        if not isinstance(details, list):
            raise BadRecord("message_not_object", "next is no list")
        if len(details) > 1:
            notes.repair("steps_branch")
            meta.setdefault("other_steps", []).append(details[1:])
        step = details[0]
        if not isinstance(step, dict):
            raise conversation.refuse_message(step, len(messages))
        if step.get("role") == "user" and _is_beginning(step.get("message"), value.get("query")):
            raise BadRecord("steps_cut", "the user's text is the beginning of the query")
        messages.extend(_step(step, len(messages), notes))
        details = step.get("next")
    tools = declarations.read_tools(value.get("available_tools"))
    meta |= {k: v for k, v in answer.items() if k not in _ANSWER_USED and v not in (None, "")}
    if options.get("finish") == "to_content":
        tools = finish(messages, tools, meta, notes)
    declared_schemas.normalise(tools, notes, meta)
    conversation.finish(messages, notes, meta)
    query = value.get("query")
    if isinstance(query, str) and query:
        fields["task_key"] = task_key(query)
        if all(message.get("content") != query for message in messages):
            meta["query"] = query
    elif query is not None:
        meta["query"] = query
    return record_keys.trace(messages, tools, fields, meta, notes)


def _is_beginning(text: Any, whole: Any) -> bool:
    if not isinstance(text, str) or not isinstance(whole, str):
        return False
    return bool(text) and len(text) < len(whole) and whole.startswith(text)


def _step(step: dict[str, Any], k: int, notes: Notes) -> list[dict[str, Any]]:
    role, text = step.get("role"), step.get("message")
    rest = {key: v for key, v in step.items() if key not in ("role", "message", "next")}
    made: list[dict[str, Any]]
    if role == "tool":
        made = _call(text, k, notes)
    elif role in ("system", "user", "assistant"):
        if text is not None and not isinstance(text, str):
            raise BadRecord("content_not_text", f"step {k} is {type(text).__name__}")
        made = [{"role": role, "content": text}] if text else []
    else:
        raise BadRecord("unknown_role", f"step {k} has the role {role!r:.60}")
    if rest and made:
        made[0]["meta"] = rest
    return made


def _call(text: Any, k: int, notes: Notes) -> list[dict[str, Any]]:
    held = _python_dict(text) if isinstance(text, str) else text
    name = held.get("name") if isinstance(held, dict) else None
    if held is None and isinstance(text, str) and text.startswith("{'name': "):
        raise BadRecord("steps_cut", f"step {k} ends after {len(text)} characters")
    if not isinstance(held, dict) or not isinstance(name, str) or not name:
        raise BadRecord("bad_tool_call", f"step {k} holds no call with a name")
    arguments = conversation.arguments_text(held.get("arguments"), notes)
    call = {"id": "", "name": name, "arguments": arguments}
    message: dict[str, Any] = {"role": "assistant", "tool_calls": [call]}
    rest = {key: v for key, v in held.items() if key not in ("name", "arguments", "response")}
    if rest:
        message["meta"] = {"call": rest}
    response = held.get("response")
    if response is None or (name == "Finish" and response == ""):
        return [message]
    if not isinstance(response, str):
        response = jsontext.dump(response)
        notes.repair("result_was_object")
    result = {"role": "tool", "content": response or None, "error": observed_error(response)}
    return [message, result]


def _python_dict(text: str) -> Any:
    try:
        held = ast.literal_eval(text)
        jsontext.dump(held)  # a value that JSON can hold
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        return None
    return held


def unpacked(value: dict[str, Any]) -> dict[str, Any]:
    """A nested answer whose steps are in a list, with calls and results out of their texts."""
    answer = value.get("answer")
    details: Any = answer.get("answer_details") if isinstance(answer, dict) else None
    steps = []
    while isinstance(details, list) and details and isinstance(details[0], dict):
        message = details[0].get("message")
        held = _python_dict(message) if isinstance(message, str) else None
        steps.append([message if held is None else held, *details[1:]])
        details = details[0].get("next")
    return {**value, "answer": {**answer, "answer_details": steps}} if steps and answer else value


def observed_error(text: str) -> bool | None:
    """Did a call fail, as the harness wrote it: `{"error": "..."}`; None where it does not say.

    >>> observed_error('{"error": "", "response": "7"}'), observed_error("7")
    (False, None)
    """
    held = finished(text)
    error = held.get("error")
    return bool(error) if isinstance(error, str) else None


def finished(text: str) -> dict[str, Any]:
    """The object that a JSON text holds, else an empty one."""
    try:
        held = jsontext.parse(text.encode("utf-8", "replace"))
    except BadRecord:
        return {}
    return held if isinstance(held, dict) else {}
