"""Dialect `toolrl`: prompt, dialogue so far and next reply in three texts, with thought and calls.

{"instruction": "You are ...\\n**Available Tools**\\n...\\n1. Name: rain\\nDescription: ...\\n
  Parameters: {}\\n\\n**Steps for Each Turn** ... **Output Format** ... **Important Notes** ...",
 "input": "**Dialogue Records History**\\n<user> Is it wet in Rome? </user>",
 "output": "<think> ... </think>\\n<tool_call>\\n{\\"name\\": \\"rain\\", ...}\\n</tool_call>"}

Decided here: (1) A reply is read after its *last* `</think>`: thoughts talk about `<tool_call>`.
(2) The tools become declarations; the sections `Output Format` and `Important Notes`, which ask for
calls as text, are cut out of the system message and kept in `meta.format_instruction`.
(3) One list of results after several calls is one result a call. (4) The thoughts of earlier
replies are one sentence that the source put everywhere, so they are no target; the last reply is.
`calls: as_text` leaves all three texts as they are.
"""

from __future__ import annotations

import re
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
    toolcall_text,
    xlam,
)
from tracekit.dialects.dialect import Dialect, Notes, Record
from tracekit.dialects.openai import CALLS
from tracekit.errors import BadRecord

CODES = (
    Code(
        name="dialogue_not_blocks",
        kind="reject",
        what="The dialogue of the record is no run of blocks such as `<user> ... </user>`.",
        fix="Option `calls: as_text` keeps the texts as they are.",
    ),
)

TOOLS_MARK = "**Available Tools**"
HISTORY_MARK = "**Dialogue Records History**"
MARKUP = (
    *(TOOLS_MARK, HISTORY_MARK, "**Output Format**", "**Steps for Each Turn**"),
    *("<user>", "</user>", "<obs>", "</obs>", "\nDescription: ", "\nParameters: "),
    "\n1. Name: ",
)
"""What reading takes out of the texts."""
_USED = frozenset(("instruction", "input", "output"))
_SECTION = re.compile(r"^\*\*([A-Z][\w ]*)\*\*$", re.MULTILINE)
_CUT = ("Output Format", "Important Notes")
_ENTRY = re.compile(r"^\d+\. Name: ", re.MULTILINE)
_BLOCK = re.compile(r"\s*<(user|think|tool_call|obs|response)>")
_FIELDS = {"tool_call": "tool_calls", "response": "content"}
_THINK, _UNTHINK = "<think>", "</think>"


def fits(value: Any) -> str:
    """Evidence that a record is a prompt with tools in words, a dialogue and a reply.

    >>> fits({"instruction": TOOLS_MARK, "input": HISTORY_MARK, "output": "<think> a </think>"})
    'instruction with **Available Tools**, dialogue records'
    """
    if not isinstance(value, dict):
        return ""
    if not all(isinstance(value.get(key), str) for key in _USED):
        return ""
    known = TOOLS_MARK in value["instruction"] and value["input"].startswith(HISTORY_MARK)
    return f"instruction with {TOOLS_MARK}, dialogue records" if known else ""


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The one trace of a record."""
    value = records[0].value
    if not isinstance(value, dict):
        raise BadRecord("not_an_object", f"the record is {type(value).__name__}")
    for key in ("instruction", "input", "output"):
        if not isinstance(value.get(key), str):
            raise BadRecord("content_not_text", f"{key} is {type(value.get(key)).__name__}")
    fields, meta = record_keys.describe(value, _USED, notes)
    if options.get("calls") == "as_text":
        texts = (value[key] or None for key in ("instruction", "input", "output"))
        roles = ("system", "user", "assistant")
        messages = [{"role": r, "content": t} for r, t in zip(roles, texts, strict=True)]
        conversation.finish(messages, notes, meta)
        return [record_keys.trace(messages, None, fields, meta, notes)]
    system, tools = _instruction(value["instruction"], meta, notes)
    messages = [{"role": "system", "content": system}] if system else []
    messages.extend(_dialogue(value["input"].removeprefix(HISTORY_MARK), notes))
    for message in messages:
        if message["role"] == "assistant" and "reasoning" in message:
            message["train"] = {"reasoning": False, "content": True, "calls": None}
    messages.append(_reply(value["output"], notes, options))
    declared_schemas.normalise(tools, notes, meta)
    conversation.finish(messages, notes, meta)
    return [record_keys.trace(messages, tools, fields, meta, notes)]


def _instruction(
    text: str, meta: dict[str, Any], notes: Notes
) -> tuple[str, list[dict[str, Any]] | None]:
    """System text and tools of an instruction; what is cut goes to the meta."""
    places = [(m.group(1), m.start(), m.end()) for m in _SECTION.finditer(text)]
    kept = [text[: places[0][1]]] if places else [text]
    cut: list[str] = []
    tools: list[dict[str, Any]] | None = None
    for k, (name, start, end) in enumerate(places):
        stop = places[k + 1][1] if k + 1 < len(places) else len(text)
        if name == "Available Tools" and tools is None:
            before, tools = _tools(text[end:stop])
            if before:
                meta["tools_introduction"] = before
        else:
            (cut if name in _CUT else kept).append(text[start:stop])
    if cut:
        meta["format_instruction"] = "".join(cut).strip()
        notes.repair("format_instruction_cut")
    return "\n\n".join(piece for piece in map(str.strip, kept) if piece), tools


def _tools(text: str) -> tuple[str, list[dict[str, Any]]]:
    """Declarations of a numbered list of Name, Description and Parameters, and the text before."""
    starts = [m.span() for m in _ENTRY.finditer(text)]
    entries = []
    for k, (_, end) in enumerate(starts):
        stop = starts[k + 1][0] if k + 1 < len(starts) else len(text)
        name, _, rest = text[end:stop].partition("\n")
        rest, found, parameters = rest.rpartition("\nParameters: ")
        if not found:
            rest, parameters = parameters, ""
        entry: dict[str, Any] = {
            "name": name.strip(),
            "description": rest.removeprefix("Description: ").strip(),
        }
        if parameters.strip():
            entry["parameters"] = parameters.strip()
        entries.append(entry)
    before = text[: starts[0][0]] if starts else text
    return before.strip(), declarations.read_tools(entries) or []


def _dialogue(text: str, notes: Notes) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    for tag, inner in _blocks(text):
        last = messages[-1] if messages else {}
        if tag == "user":
            messages.append({"role": "user", "content": inner or None})
        elif tag == "obs":
            messages.extend(_results(inner, last, notes))
        else:
            if last.get("role") != "assistant" or tag == "think" or _FIELDS[tag] in last:
                last = {"role": "assistant"}
                messages.append(last)
            _put(last, tag, inner, notes)
    return messages


def _blocks(text: str) -> list[tuple[str, str]]:
    """(tag, inner text) of a text that is only blocks; a block ends where another can begin."""
    found = []
    place = 0
    whole = len(text.rstrip())
    while place < whole:
        opened = _BLOCK.match(text, place)
        if opened is None:
            raise BadRecord(
                "dialogue_not_blocks", f"at character {place}: {text[place : place + 40]!r}"
            )
        tag = opened.group(1)
        closing = f"</{tag}>"
        end = text.find(closing, opened.end())
        while end >= 0:
            after = end + len(closing)
            if after >= whole or _BLOCK.match(text, after):
                break
            end = text.find(closing, after)
        if end < 0:
            raise BadRecord("dialogue_not_blocks", f"<{tag}> at character {place} is not closed")
        found.append((tag, text[opened.end() : end].strip()))
        place = end + len(closing)
    return found


def _put(message: dict[str, Any], tag: str, inner: str, notes: Notes) -> None:
    if tag == "think":
        message["reasoning"] = inner
        message["reasoning_kind"] = "full"
        notes.repair("think_tags_split")
    elif tag == "response":
        if inner:
            message["content"] = inner
    else:
        lifted = toolcall_text.lift(f"<tool_call>{inner}</tool_call>")
        if lifted is None:
            raise BadRecord("bad_tool_call", f"<tool_call> holds no calls: {inner!r:.80}")
        notes.repair("calls_lifted", len(lifted.calls))
        message["tool_calls"] = [
            {"id": "", "name": name, "arguments": given} for name, given in lifted.calls
        ]


def _results(text: str, before: dict[str, Any], notes: Notes) -> list[dict[str, Any]]:
    """Results of a block: one a call where it is a list of as many, else the whole text."""
    n_calls = len(before.get("tool_calls", ()))
    try:
        entries = jsontext.parse(text.encode("utf-8", "replace"))
    except BadRecord:
        entries = None
    if not isinstance(entries, list) or len(entries) != n_calls:
        return [{"role": "tool", "content": text or None}]
    notes.repair("results_lifted", len(entries))
    return [{"role": "tool", "content": jsontext.dump(entry)} for entry in entries]


def _reply(text: str, notes: Notes, options: Mapping[str, str]) -> dict[str, Any]:
    """The reply to train on: what stands after the last `</think>` is calls and response."""
    message: dict[str, Any] = {"role": "assistant"}
    thought, closed, rest = text.rpartition(_UNTHINK)
    if closed and thought.lstrip().startswith(_THINK):
        _put(message, "think", thought.lstrip().removeprefix(_THINK).strip(), notes)
    else:
        rest = text
    try:
        blocks = [pair for pair in _blocks(rest) if pair[0] in ("tool_call", "response")]
    except BadRecord:
        blocks = []
    if not blocks or len({tag for tag, _ in blocks}) < len(blocks):
        if rest.strip():
            message["content"] = rest.strip()
            if not closed:  # an unclosed thought, or none
                openai_message.split_text(message, notes, options)
        return message
    for tag, inner in blocks:
        _put(message, tag, inner, notes)
    return message


dialect = Dialect(
    name="toolrl",
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
        *(code for code in xlam.CODES if code.name == "format_instruction_cut"),
        *CODES,
    ),
    options=(CALLS,),
)
