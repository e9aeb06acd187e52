"""Dialect `prompt_response`: one prompt and one response as text, with reasoning beside or within.

A prompt that is the rendered text of a chat template (`<|im_start|>user`) is read as its turns.
Also the layout of reasoning sets that keep `<teacher>_thinking_trajectory` and `<teacher>_attempt`
beside a question: one trace for each teacher.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracekit.dialects import (
    conversation,
    declarations,
    openai_message,
    record_keys,
    template_text,
)
from tracekit.dialects.dialect import Dialect, Notes, Record
from tracekit.dialects.openai import CALLS
from tracekit.errors import BadRecord

# By rank: where a record has both a bare question and the prompt that was sent, the prompt counts.
_PROMPTS = ("prompt", "formated_question", "formatted_question", "instruction", "Question")
_BARE_PROMPTS = ("question", "problem", "query", "input")
_RESPONSES = ("response", "Response", "completion", "generation", "generated_solution", "gen_ans")
_LATE_RESPONSES = ("output",)
_REASONINGS = ("Complex_CoT", "reasoning_trace", "reasoning_content", "reasoning", "reason")
_TRAJECTORY = "thinking_trajectory"
_ATTEMPT = "attempt"


def _first_text(value: dict[str, Any], keys: tuple[str, ...]) -> str | None:
    for key in keys:
        if isinstance(value.get(key), str):
            return key
    return None


def _keys(value: dict[str, Any]) -> tuple[str, str] | None:
    """Keys of prompt and response, or None."""
    prompt = _first_text(value, _PROMPTS + _BARE_PROMPTS)
    response = _first_text(value, _RESPONSES)
    if response is None and prompt is not None and "instruction" not in value:
        response = _first_text(value, _LATE_RESPONSES)
    if prompt is None or response is None:
        return None
    return prompt, response


def _teachers(value: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(teacher, key of its thinking, key of its attempt) of the trajectory layout."""
    found = []
    for key in value:
        if key.endswith(_TRAJECTORY):
            teacher = key[: -len(_TRAJECTORY)]
            attempt = teacher + _ATTEMPT
            if isinstance(value[key], str) and isinstance(value.get(attempt), str):
                found.append((teacher.rstrip("_"), key, attempt))
    return found


def fits(value: Any) -> str:
    """Evidence that a record is a prompt with its response.

    >>> fits({"prompt": "7+5?", "response": "12"})
    'prompt and response'
    """
    if not isinstance(value, dict) or "messages" in value or "conversations" in value:
        return ""
    if _teachers(value) and _first_text(value, _BARE_PROMPTS + _PROMPTS):
        return "a question with thinking trajectory and attempt"
    keys = _keys(value)
    return "" if keys is None else f"{keys[0]} and {keys[1]}"


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The trace of a record, or one for each teacher of it."""
    value = records[0].value
    if not isinstance(value, dict):
        raise BadRecord("not_an_object", f"the record is {type(value).__name__}")
    teachers = _teachers(value)
    if teachers:
        return _attempts(value, teachers, notes, options)
    keys = _keys(value)
    if keys is None:
        raise BadRecord("no_messages", "no text of a prompt and a response")
    prompt, response = keys
    used = {prompt, response, "system", "tools"}
    reasoning = _first_text(value, _REASONINGS)
    messages = _turns(value, prompt, value[response], notes)
    if reasoning is not None:
        used.add(reasoning)
        _add_reasoning(messages[-1], value[reasoning], reasoning, notes, options)
    described = record_keys.describe(value, used, notes)
    return [_trace(value, described, messages, notes, options)]


def _attempts(
    value: dict[str, Any],
    teachers: list[tuple[str, str, str]],
    notes: Notes,
    options: Mapping[str, str],
) -> list[dict[str, Any]]:
    prompt = _first_text(value, _PROMPTS + _BARE_PROMPTS)
    if prompt is None:
        raise BadRecord("no_messages", "no text of a prompt")
    used = {key for _, *keys in teachers for key in keys} | {prompt, "system", "tools"}
    answer = value.get("solution")
    if isinstance(answer, str):
        used.add("solution")
    described = record_keys.describe(value, used, notes)
    traces = []
    for teacher, trajectory, attempt in teachers:
        messages = _turns(value, prompt, value[attempt], notes)
        _add_reasoning(messages[-1], value[trajectory], trajectory, notes, options)
        trace = _trace(value, described, messages, notes, options)
        if teacher:
            trace.setdefault("model", teacher)
        if isinstance(answer, str) and answer:
            trace.setdefault("answer", answer)
        traces.append(trace)
    return traces


def _turns(value: dict[str, Any], prompt: str, response: str, notes: Notes) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    system = value.get("system")
    if isinstance(system, str) and system:
        messages.append({"role": "system", "content": system})
    rendered = template_text.turns(value[prompt])
    if rendered is not None:
        notes.repair("template_text_read")
        reply = template_text.without_end(response)
        messages.extend(rendered)
        messages.append({"role": "assistant", **({"content": reply} if reply else {})})
        return messages
    for role, text in (("user", value[prompt]), ("assistant", response)):
        messages.append({"role": role, "content": text} if text else {"role": role})
    return messages


def _add_reasoning(
    message: dict[str, Any], text: str, key: str, notes: Notes, options: Mapping[str, str]
) -> None:
    """Reasoning of a column of its own, with or without tags around it."""
    notes.count(f"reasoning_field:{key}")
    boxed: dict[str, Any] = {"role": "assistant", "content": text}
    openai_message.split_text(boxed, notes, options)
    if "reasoning" in boxed and "content" not in boxed:
        text = boxed["reasoning"]
    openai_message.add_reasoning(message, text, key, notes)


def _trace(
    value: dict[str, Any],
    described: tuple[dict[str, Any], dict[str, Any]],
    messages: list[dict[str, Any]],
    notes: Notes,
    options: Mapping[str, str],
) -> dict[str, Any]:
    fields, meta = dict(described[0]), dict(described[1])
    if value.get("system") is not None and not isinstance(value["system"], str):
        meta["system"] = value["system"]
    tools = declarations.read_tools(value.get("tools"))
    if "content" in messages[-1]:
        types = declarations.parameter_types(tools)
        openai_message.split_text(messages[-1], notes, options, types)
    conversation.finish(messages, notes, meta)
    return record_keys.trace(messages, tools, fields, meta, notes)


dialect = Dialect(
    name="prompt_response",
    version=2,
    unit="record",
    fits=fits,
    read=read,
    codes=(
        *conversation.CODES,
        *openai_message.CODES,
        *declarations.CODES,
        *record_keys.CODES,
        *template_text.CODES,
    ),
    options=(CALLS,),
)
