"""Actions that agents wrote as text: a block at the end of a turn, and the turn that answers it.

A lifted action is one call of `bash` with the argument `command`, as the shells of these harnesses
take it, whatever the harness calls its block. What told the model to write such blocks is cut out
of the prompt and stays in `meta.format_instruction`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tracekit import jsontext
from tracekit.codes import Code
from tracekit.dialects import openai_message, record_keys
from tracekit.dialects.conversation import add_meta
from tracekit.dialects.dialect import Notes, Option
from tracekit.errors import BadRecord

CALLS_LIFTED = next(code for code in openai_message.CODES if code.name == "calls_lifted")
OWN_CODES = (
    openai_message.FORMAT_INSTRUCTION_CUT,
    Code(
        name="observation_lifted",
        kind="repair",
        what="The user turn after an action that was written as text is the answer of the "
        "environment; it became a tool message.",
        fix="Option `calls: as_text` leaves both as they are.",
    ),
    Code(
        name="failed_edit_marked",
        kind="repair",
        what="The editor of the harness says in fixed words that it refused the edit; the result "
        "is marked as an error.",
        why="The harness records no error flag, and a refused edit is no success.",
    ),
)
CODES = (CALLS_LIFTED, *OWN_CODES)
"""Repairs of every dialect that lifts actions of agents."""

MAX_TRACES = 256
"""Traces that one record may become; each repeats its prompt, so that more would not be linear."""

TOO_MANY = Code(
    name="too_many_traces",
    kind="reject",
    what="The record would become more traces than a run has: one for each of its speakers, or of "
    "the cuts in its history. The detail has the number.",
    why="Each of them repeats the prompt; the cost would be the square of the record's size.",
)


def check_number(n: int) -> None:
    """Raises BadRecord where a record would become too many traces."""
    if n > MAX_TRACES:
        raise BadRecord("too_many_traces", f"{n} traces, at most {MAX_TRACES}")


CALLS = Option(
    name="calls",
    choices=("lift", "as_text"),
    what="Actions written as text (a block of shell, `<function=...>`): made calls with their "
    "results, or left in the content.",
)

BLOCKS = ("```mswea_bash_command", "```bash", "```", "<command>", "</command>")
"""What may stand around a lifted action, and is in no field of the trace."""

_OPENING = re.compile(r"^```[A-Za-z_]*[ \t]*\r?\n", re.MULTILINE)
_TAGS = ("<command>", "</command>")


def action_of(text: str) -> tuple[str, str] | None:
    """Thought and action of a turn that ends with one block; None where it does not.

    The block is fenced, or stands between `<command>` tags. A turn with more fences has no single
    action: it stays text.

    >>> action_of("Look first.\\n```\\nls -a\\n```")
    ('Look first.', 'ls -a')
    >>> action_of("Such a block ```x``` is no action.") is None
    True
    """
    bare = text.rstrip()
    if bare.endswith("```"):
        inner = bare[:-3]
        opening = _OPENING.search(inner)
        if opening is None or "```" in inner[opening.end() :]:
            return None
        if inner[-1] != "\n":
            return None
        thought, action = inner[: opening.start()], inner[opening.end() :]
    elif bare.endswith(_TAGS[1]):
        inner = bare[: -len(_TAGS[1])]
        start = inner.rfind(_TAGS[0])
        if start < 0:
            return None
        thought, action = inner[:start], inner[start + len(_TAGS[0]) :]
    else:
        return None
    action = action.strip("\r\n")
    return (thought.rstrip(), action) if action.strip() else None


def lift_into(message: dict[str, Any], thought: str, action: str, notes: Notes) -> None:
    """Makes an assistant message of its thought and one call that takes the action."""
    message.pop("content", None)
    if thought.strip():
        message["content"] = thought
    message["tool_calls"] = [bash_call(action)]
    notes.repair("calls_lifted")


def bash_call(command: str) -> dict[str, Any]:
    """A call of the shell, not yet numbered."""
    return {"id": "", "name": "bash", "arguments": jsontext.dump({"command": command})}


def lift_observations(messages: list[dict[str, Any]], notes: Notes) -> None:
    """Makes tool messages of the user turns that follow a message with lifted calls."""
    for k in range(1, len(messages)):
        before, message = messages[k - 1], messages[k]
        if message["role"] == "user" and before["role"] == "assistant" and "tool_calls" in before:
            message["role"] = "tool"
            message.pop("name", None)
            notes.repair("observation_lifted")


_REFUSED_EDITS = (
    "Your proposed edit has introduced new syntax error(s).",
    "Your edit was not applied",
)


def mark_refused_edits(messages: list[dict[str, Any]], notes: Notes) -> None:
    """Error flag of results in which the editor of SWE-agent refuses an edit."""
    for message in messages:
        if message["role"] != "tool" or message.get("error") is not None:
            continue
        if (message.get("content") or "").startswith(_REFUSED_EDITS):
            message["error"] = True
            notes.repair("failed_edit_marked")


BLOCK_MARKS = ("exactly ONE bash code block", "mswea_bash_command")
FUNCTION_MARK = "---- BEGIN FUNCTION #"


def asked_for(turns: Sequence[Any]) -> str:
    """Form in which the first two messages ask for actions as text: "block", "functions" or "".

    >>> asked_for([{"role": "system", "content": "... exactly ONE bash code block ..."}])
    'block'
    """
    for turn in turns[:2]:
        content = turn.get("content") if isinstance(turn, dict) else None
        if isinstance(content, str):
            if any(mark in content for mark in BLOCK_MARKS):
                return "block"
            if FUNCTION_MARK in content:
                return "functions"
    return ""


# What tells a model to write its actions as text: first words and last words.
_END_OF_EXAMPLE = "Do NOT assume the environment is the same as in the example above."
_INSTRUCTIONS = (
    (
        "You need to format your output using two fields; discussion and command.",
        "you'll be able to issue the second command.",
    ),
    (
        "Your response must contain exactly ONE bash code block",
        "will cause your response to be rejected.",
    ),
    ("2. The action must be enclosed in triple backticks", "in triple backticks"),
    ("## Formatting your response", "</example_response>"),
    ("You have access to the following functions:", None),
    ("If you choose to call a function ONLY reply in the following format", "</IMPORTANT>"),
    ("Here's a running example of how to perform a task", _END_OF_EXAMPLE),
    ("PLEASE follow the format strictly!", "FUNCTION CALL PER MESSAGE."),
    ("Format your response as JSON with the following structure:", "without taking action\n"),
)
_LAST_FUNCTION = "---- END FUNCTION #"


def cut_instructions(messages: list[dict[str, Any]], meta: dict[str, Any], notes: Notes) -> None:
    """Cuts what asks for actions as text out of the prompt: told one form, shown another, a model
    learns neither. The cut texts stay in `meta.format_instruction`, in order.

    Looked for in the messages before the first reply, where prompts stand.
    """
    cut: list[str] = []
    for message in messages:
        if message["role"] == "assistant":
            break
        text = message.get("content") or ""
        spans = _instructions(text)
        cut.extend(text[start:end] for start, end in spans)
        for start, end in reversed(spans):
            before, after = text[:start].rstrip(), text[end:].lstrip()
            between = "\n\n" if "\n" in text[start:end] else "\n"
            text = before + (between if before and after else "") + after
        if spans:
            message["content"] = text
    if cut:
        messages[:] = [m for m in messages if m.get("content") != ""]  # nothing else was in it
        meta.setdefault("format_instruction", []).extend(cut)
        notes.repair("format_instruction_cut", len(cut))


def _instructions(text: str) -> list[tuple[int, int]]:
    """Spans of a prompt that ask for actions as text, in order, none within another."""
    found = []
    for first, last in _INSTRUCTIONS:
        start = text.find(first)
        if start < 0:
            continue
        if last is None:
            end = text.rfind(_LAST_FUNCTION)
            end = -1 if end < start else _end_of_line(text, end)
        else:
            end = text.find(last, start + 1)
            end = -1 if end < 0 else end + len(last)
        if end >= 0:
            found.append((start, end))
    spans: list[tuple[int, int]] = []
    for start, end in sorted(found):
        if not spans or start >= spans[-1][1]:
            spans.append((start, end))
    return spans


MARKUP = (
    *BLOCKS,
    *(words for pair in _INSTRUCTIONS for words in pair if words is not None),
    _LAST_FUNCTION,
)
"""Where a text of a record may come apart: the pieces are in the trace, each in its place."""


def _end_of_line(text: str, place: int) -> int:
    end = text.find("\n", place)
    return len(text) if end < 0 else end


def lift_fenced(messages: list[dict[str, Any]], meta: dict[str, Any], notes: Notes) -> None:
    """Lifts the action of each reply that ends with one, and the turns that answer them."""
    n_lifted = 0
    for message in messages:
        if message["role"] == "assistant" and "tool_calls" not in message:
            found = action_of(message.get("content") or "")
            if found is not None:
                lift_into(message, *found, notes)
                n_lifted += 1
    if n_lifted:
        lift_observations(messages, notes)
        cut_instructions(messages, meta, notes)


def describe(
    value: dict[str, Any], used: set[str], known: Sequence[str], notes: Notes
) -> tuple[dict[str, Any], dict[str, Any]]:
    """`record_keys.describe`; `known` keys have no field, are understood and go to the meta."""
    fields, meta = record_keys.describe(value, used.union(known), notes)
    for key in known:
        if value.get(key) is not None:
            meta[key] = value[key]
    return fields, meta


def parsed(text: str) -> Any:
    """Value of JSON text; None for any other text."""
    try:
        return jsontext.parse(text.encode("utf-8", "surrogatepass"))
    except BadRecord:
        return None


def keep_rest(message: dict[str, Any], rest: dict[str, Any]) -> None:
    """Keys of a message that have no field go to its meta, where they say anything."""
    for key, value in rest.items():
        if value is not None and value not in ("", [], {}):
            add_meta(message, key, value)
