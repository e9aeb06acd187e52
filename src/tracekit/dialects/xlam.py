"""Dialect `xlam`: one query with offered tools and the calls that answer it (xLAM, APIGen, Hammer).

{"query": "Is it wet in Rome?", "tools": [{"name": "rain", "parameters": {"at": {"type": "str"}}}],
 "answers": [{"name": "rain", "arguments": {"at": "Rome"}}]}

`tools` and `answers` may be JSON text, `query` a list of turns (API-Bank), a call may be spelled
`tool` and `parameters`. Hammer also keeps one whole prompt in `instruction`, with sections between
`[BEGIN OF AVAILABLE TOOLS]` and its kind, chat-templated or not, and the calls as text in `output`.

Decided here: (1) A turn of `agent` and the calls after it are one reply, so one message; where the
calls are the answer and the words stood in the query, the words are no target. (2) Of a whole
prompt the tools go to `tools`, the task instruction to the system message, the query to the
user; the instruction that asks for calls as a fenced list is cut out, since calls are no text any
more, and kept in `meta.format_instruction`; `calls: as_text` leaves prompt and output as they are.
(3) An empty list is the answer "no call fits": the text `[]`, as the source wants it written.
(4) Whether a parameter is required is never concluded from the absence of a mark.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracekit import jsontext
from tracekit.codes import Code
from tracekit.dialects import (
    conversation,
    declarations,
    declared_schemas,
    openai_message,
    record_keys,
)
from tracekit.dialects.dialect import Dialect, Notes, Option, Record
from tracekit.dialects.openai import CALLS
from tracekit.errors import BadRecord

CODES = (
    Code(
        name="answers_not_calls",
        kind="reject",
        what="The answers are no list of calls, nor JSON text of one.",
        fix="Repair the record at the source, or read the set with `calls: as_text`.",
    ),
    Code(
        name="no_call_fits",
        kind="repair",
        what="The answer is an empty list of calls; it is the text `[]`.",
        why="Not to call is a skill too; such records belong into a mix of tools on purpose.",
        fix="Option `no_call: reject` leaves such records out.",
    ),
    openai_message.FORMAT_INSTRUCTION_CUT,
    Code(
        name="no_call_wanted",
        kind="reject",
        what="The answer is an empty list of calls, and the option `no_call` is `reject`.",
    ),
    Code(
        name="prompt_not_sections",
        kind="reject",
        what="The prompt names its sections, but they are not all there, or not in order.",
        fix="Option `calls: as_text` keeps prompt and output as text.",
    ),
)

NO_CALL = Option(
    name="no_call",
    choices=("text", "reject"),
    what="Records whose answer is an empty list of calls: the text `[]`, or refused.",
)

TOOLS_MARK = "[BEGIN OF AVAILABLE TOOLS]"
MARKUP = tuple(
    f"[{edge} OF {name}]"
    for name in ("TASK INSTRUCTION", "AVAILABLE TOOLS", "FORMAT INSTRUCTION", "QUERY")
    for edge in ("BEGIN", "END")
)
"""What reading takes out of a whole prompt."""
_ROLES = {"user": "user", "agent": "assistant", "assistant": "assistant", "tool": "tool"}
_ROLES["system"] = "system"
_USED = frozenset(("query", "tools", "answers"))
_USED_IN_PROMPT = frozenset(("instruction", "input", "output"))
_FENCE = "```"
_TURN, _TURN_END = "<|im_start|>", "<|im_end|>"


def fits(value: Any) -> str:
    """Evidence that a record is a query with tools and the calls that answer it.

    >>> fits({"query": "Is it wet?", "tools": "[]", "answers": "[]"})
    'query, tools and answers'
    """
    if not isinstance(value, dict):
        return ""
    if isinstance(value.get("query"), (str, list)) and "answers" in value:
        given = isinstance(value["answers"], (str, list))
        return "query, tools and answers" if given and "tools" in value else ""
    instruction = value.get("instruction")
    if isinstance(instruction, str) and isinstance(value.get("output"), str):
        return f"instruction with {TOOLS_MARK}" if TOOLS_MARK in instruction else ""
    return ""


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The one trace of a record."""
    value = records[0].value
    if not isinstance(value, dict):
        raise BadRecord("not_an_object", f"the record is {type(value).__name__}")
    if isinstance(value.get("instruction"), str) and "query" not in value:
        return [_templated(value, notes, options)]
    messages = _turns(value.get("query"), notes, options)
    _add_answer(messages, _entries(value.get("answers"), "answers"), notes, options)
    fields, meta = record_keys.describe(value, _USED, notes)
    tools = declarations.read_tools(value.get("tools"))
    return [_trace(messages, tools, fields, meta, notes)]


def _trace(
    messages: list[dict[str, Any]],
    tools: list[dict[str, Any]] | None,
    fields: dict[str, Any],
    meta: dict[str, Any],
    notes: Notes,
) -> dict[str, Any]:
    declared_schemas.normalise(tools, notes, meta)
    conversation.finish(messages, notes, meta)
    return record_keys.trace(messages, tools, fields, meta, notes)


def _turns(query: Any, notes: Notes, options: Mapping[str, str]) -> list[dict[str, Any]]:
    if isinstance(query, str):
        if not query:
            raise BadRecord("no_messages", "query is empty")
        return [{"role": "user", "content": query}]
    if not isinstance(query, list) or not query:
        raise BadRecord("no_messages", "query is neither a text nor a list of turns")
    messages: list[dict[str, Any]] = []
    for k, turn in enumerate(query):
        if not isinstance(turn, dict):
            raise conversation.refuse_message(turn, k)
        written = turn.get("role")
        role = _ROLES.get(written) if isinstance(written, str) else None
        if role is None:
            raise BadRecord("unknown_role", f"query[{k}] has the role {written!r:.60}")
        text = turn.get("content")
        if text is not None and not isinstance(text, str):
            raise BadRecord("content_not_text", f"query[{k}].content is {type(text).__name__}")
        calls = None
        if role == "assistant" and text and options.get("calls") != "as_text":
            calls = _fenced_calls(text)
        if calls:
            _attach(messages, calls, notes)
            notes.repair("calls_lifted", len(calls))
            message = messages[-1]
        else:
            message = {"role": role, "content": text} if text else {"role": role}
            messages.append(message)
        for key, v in turn.items():
            if key not in ("role", "content") and v is not None:
                conversation.add_meta(message, key, v)
    return messages


def _fenced_calls(text: str) -> list[Any] | None:
    """Calls of a text that is nothing but a fenced list of them."""
    text = text.strip()
    if len(text) < 2 * len(_FENCE) or not (text.startswith(_FENCE) and text.endswith(_FENCE)):
        return None
    inner = text[len(_FENCE) : -len(_FENCE)].removeprefix("json")
    try:
        found = jsontext.parse(inner.encode("utf-8", "replace"))
    except BadRecord:
        return None
    return found if isinstance(found, list) and all(map(_is_call, found)) else None


def _is_call(entry: Any) -> bool:
    return isinstance(entry, dict) and any(isinstance(entry.get(k), str) for k in ("name", "tool"))


def _attach(messages: list[dict[str, Any]], entries: list[Any], notes: Notes) -> None:
    """Adds calls to the reply before them, where that has none, else as a reply of their own."""
    last = messages[-1] if messages else None
    if last is None or last["role"] != "assistant" or "tool_calls" in last:
        last = {"role": "assistant"}
        messages.append(last)
    last["tool_calls"] = [_call(entry, last, notes) for entry in entries]


_NAMES = ("name", "tool", "api_name")
_ARGUMENTS = ("arguments", "parameters", "args")


def _call(entry: Any, message: dict[str, Any], notes: Notes) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise BadRecord("bad_tool_call", f"a call is {type(entry).__name__}")
    name_key = next((k for k in _NAMES if isinstance(entry.get(k), str) and entry[k]), None)
    if name_key is None:
        raise BadRecord("bad_tool_call", "a call has no name")
    key = next((k for k in _ARGUMENTS if entry.get(k) is not None), None)
    given = entry[key] if key is not None else None
    rest = {k: v for k, v in entry.items() if k not in (name_key, key, "id") and v is not None}
    if rest:
        message.setdefault("meta", {}).setdefault("calls", []).append(rest)
    call_id = entry.get("id")
    return {
        "id": call_id if isinstance(call_id, str) else "",
        "name": entry[name_key],
        "arguments": conversation.arguments_text(given, notes),
    }


def _entries(answers: Any, what: str) -> list[Any]:
    if isinstance(answers, str):
        try:
            answers = jsontext.parse(answers.encode("utf-8", "replace"))
        except BadRecord as error:
            raise BadRecord("answers_not_calls", f"{what}: {error.detail}") from None
    if isinstance(answers, dict):
        answers = [answers]
    if not isinstance(answers, list):
        raise BadRecord("answers_not_calls", f"{what}: {type(answers).__name__}")
    return answers


def _add_answer(
    messages: list[dict[str, Any]], entries: list[Any], notes: Notes, options: Mapping[str, str]
) -> None:
    if entries:
        spoken = len(messages)
        _attach(messages, entries, notes)
        if len(messages) == spoken:  # the words were in the query, only the calls are the answer
            messages[-1]["train"] = {"reasoning": True, "content": False, "calls": None}
        return
    if options.get("no_call") == "reject":
        raise BadRecord("no_call_wanted")
    notes.repair("no_call_fits")
    messages.append({"role": "assistant", "content": "[]"})


# Whole prompts in one text.


def _templated(value: dict[str, Any], notes: Notes, options: Mapping[str, str]) -> dict[str, Any]:
    prompt, output = value["instruction"], value.get("output")
    if not isinstance(output, str):
        raise BadRecord("content_not_text", f"output is {type(output).__name__}")
    more = value.get("input")
    if more is not None and not isinstance(more, str):
        raise BadRecord("content_not_text", f"input is {type(more).__name__}")
    fields, meta = record_keys.describe(value, _USED_IN_PROMPT, notes)
    turns = _templated_turns(prompt)
    if more:
        turns.append(("user", more))
    if options.get("calls") == "as_text":
        messages = _turns([{"role": r, "content": t} for r, t in turns], notes, options)
        messages.append({"role": "assistant", "content": output or None})
        conversation.finish(messages, notes, meta)
        return record_keys.trace(messages, None, fields, meta, notes)
    sections = _sections(turns[0][1])
    if "AVAILABLE TOOLS" not in sections:
        raise BadRecord("prompt_not_sections", "no section of tools")
    tools = declarations.read_tools(sections.pop("AVAILABLE TOOLS"))
    cut = sections.pop("FORMAT INSTRUCTION", None)
    if cut is not None:
        notes.repair("format_instruction_cut")
        meta["format_instruction"] = cut
    query = sections.pop("QUERY", None)
    if query is not None:
        turns.insert(1, ("user", query))
    system = "\n\n".join(text for text in sections.values() if text)
    spoken = [{"role": role, "content": text} for role, text in turns[1:]]
    messages = _turns(spoken, notes, options)
    if system:
        messages.insert(0, {"role": "system", "content": system})
    _read_output(output, messages, notes, options)
    return _trace(messages, tools, fields, meta, notes)


def _templated_turns(prompt: str) -> list[tuple[str, str]]:
    """(role, text) of the turns of a chat-templated prompt; any other prompt is one turn."""
    before, *pieces = prompt.split(_TURN)
    if before.strip() or not pieces:
        return [("user", prompt)]
    turns = []
    for piece in pieces:
        role, newline, text = piece.partition("\n")
        text, ended, rest = text.partition(_TURN_END)
        # The last turn may be the opened one of the assistant, with nothing in it.
        if not newline or rest.strip() or (not ended and text.strip()):
            return [("user", prompt)]
        if ended:
            turns.append((role, text))
    return turns or [("user", prompt)]


def _read_output(
    output: str, messages: list[dict[str, Any]], notes: Notes, options: Mapping[str, str]
) -> None:
    entries = _fenced_calls(output if "```" in output else f"```\n{output}\n```")
    if entries is None:  # the model said something in words
        message: dict[str, Any] = {"role": "assistant", "content": output or None}
        if output:
            openai_message.split_text(message, notes, options)
        messages.append(message)
        return
    if entries:
        notes.repair("calls_lifted", len(entries))
    _add_answer(messages, entries, notes, options)


def _sections(prompt: str) -> dict[str, str]:
    """Texts of a prompt by section, in order; what stands outside of all is a section `""`."""
    found: dict[str, str] = {}
    outside = []
    place = 0
    while True:
        start = prompt.find("[BEGIN OF ", place)
        if start < 0:
            break
        outside.append(prompt[place:start])
        named = prompt.find("]", start)
        name = prompt[start + len("[BEGIN OF ") : named]
        end = prompt.find(f"[END OF {name}]", named)
        if named < 0 or end < 0 or name in found:
            raise BadRecord("prompt_not_sections", f"section {name!r:.60}")
        found[name] = prompt[named + 1 : end].strip("\n")
        place = end + len(f"[END OF {name}]")
    outside.append(prompt[place:])
    rest = "\n\n".join(piece for piece in map(str.strip, outside) if piece)
    if rest:
        found[""] = rest
    return found


dialect = Dialect(
    name="xlam",
    version=1,
    unit="record",
    fits=fits,
    read=read,
    codes=(
        *conversation.CODES,
        *openai_message.CODES,
        *declarations.CODES,
        *declared_schemas.CODES,
        *record_keys.CODES,
        *CODES,
    ),
    options=(CALLS, NO_CALL),
)
