"""Dialect `harmony`: the text format of gpt-oss models, as rendered or as generated.

A record is a text, or an object with such a text under `text`:

    <|start|>user<|message|>Is it raining in Oslo?<|end|><|start|>assistant<|channel|>analysis
    <|message|>I have to look.<|end|><|start|>assistant<|channel|>commentary to=functions.rain
    <|constrain|>json<|message|>{"city":"Oslo"}<|call|>

or a report in Markdown with one fenced block a turn, each of them the whole prompt so far with what
was generated upon it. Decided here:

- Blocks that go on from each other are one trace: the longest path, in which each turn is what its
  own block generated. Prompts leave the reasoning of earlier turns out, so a turn has its own only
  there; `meta.history_thinking` says whether later prompts had it.
- Channel `analysis` is the reasoning, `final` and a `commentary` to nobody are the content, a
  recipient makes a call. `functions.` is taken off the name; other tools keep their namespace.
- A developer message is a system message; declared functions become tools, and the section that
  declares them goes to `meta.tools_text`. The system message stays as the model saw it.
- A message with a broken header is one of its own and no target. A role alone at the end is the
  prompt for the next message and nothing.
- What a report says around its blocks is `meta.report`; its `pass` is an outcome of kind
  environment, the other numbers are `meta.score`.
- A list of token ids is refused: there is no text in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tracekit import jsontext
from tracekit.codes import Code
from tracekit.dialects import conversation, harmony_text, harmony_tools, record_keys
from tracekit.dialects.codex_items import WRAPPED
from tracekit.dialects.conversation import add_meta, arguments_text, texts_joined
from tracekit.dialects.dialect import Dialect, Notes, Record
from tracekit.dialects.harmony_text import Segment
from tracekit.dialects.prefixes import continued
from tracekit.errors import BadRecord

CODES = (
    Code(
        name="token_ids",
        kind="reject",
        what="The record is a list of token ids; there is no text in it.",
        fix="Decode the ids with the tokenizer that made them.",
    ),
    Code(name="not_harmony", kind="reject", what="The text holds no `<|message|>`."),
)
_IDS = re.compile(r"[\d\s]+\Z")
_MESSAGE_ID, _CHANNEL_ID = "200008", "200005"
_SCORE = re.compile(r"^ *([A-Za-z][A-Za-z0-9_ ]{0,40}): (-?\d+(?:\.\d+)?) *$", re.MULTILINE)
_OF_A_PROMPT = frozenset(("recipient_before_channel", "constrain_missing"))
"""How a prompt spells a call; counted where it is longest."""


def fits(value: Any) -> str:
    """Evidence that a record is Harmony text.

    >>> fits("<|start|>user<|message|>Hello<|end|>")
    'text with <|start|> and <|message|>'
    """
    if isinstance(value, dict):
        text = value.get("text")
        if isinstance(text, str) and _begins(text) and "messages" not in value:
            return "an object with Harmony text"
        return ""
    if not isinstance(value, str):
        return ""
    if _begins(value):
        return "text with <|start|> and <|message|>"
    if "\n<|start|>" in value and harmony_text.is_report(value):
        return "a report with blocks of Harmony text"
    return "token ids of Harmony" if _are_ids(value) else ""


def _begins(text: str) -> bool:
    head = text[:200].lstrip()
    return head.startswith(("<|start|>", "<|channel|>")) and "<|message|>" in text


def _are_ids(text: str) -> bool:
    head = text[:4000].split()
    return _MESSAGE_ID in head and _CHANNEL_ID in head and _IDS.match(text[:4000]) is not None


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Traces of one text: one for each conversation that its blocks lead to."""
    value = records[0].value
    fields: dict[str, Any] = {}
    meta: dict[str, Any] = {}
    if isinstance(value, dict):
        fields, meta = record_keys.describe(value, {"text"}, notes)
        value = value.get("text")
    if not isinstance(value, str):
        raise BadRecord("not_an_object", f"the record is {type(value).__name__}")
    if "<|message|>" not in value:
        if _are_ids(value):
            raise BadRecord("token_ids", f"{len(value.split())} ids")
        raise BadRecord("not_harmony", f"{len(value)} characters without <|message|>")
    texts, report = harmony_text.blocks(value)
    if report.strip():
        meta["report"] = report.strip()
        score = {name.strip(): jsontext.parse(n.encode()) for name, n in _SCORE.findall(report)}
        if score:
            meta["score"] = score
        if "pass" in score:
            passed = {"value": jsontext.dump(score["pass"]), "kind": "environment", "name": "pass"}
            fields["outcomes"] = [*fields.get("outcomes", ()), passed]
    blocks = [harmony_text.segments(text) for text in texts]
    return [_trace(blocks, path, dict(fields), dict(meta), notes) for path in _paths(blocks)]


_Path = list[tuple[int, int]]
"""(block, segments of it that an earlier block of the path holds)."""


def _paths(blocks: list[list[Segment]]) -> list[_Path]:
    """Paths from a first block to one that nothing goes on from."""
    keys = [[segment.key() for segment in block] for block in blocks]
    parents = continued(keys, [len(block) for block in blocks])
    followed = {
        parent
        for (parent, n), block in zip(parents, blocks, strict=True)
        if parent >= 0 and n < len(block)
    }
    repeats = {k for k, (p, n) in enumerate(parents) if p >= 0 and n == len(blocks[k])}
    paths = []
    for k in range(len(blocks)):
        if k in followed or k in repeats:
            continue
        path: _Path = []
        at = k
        while at >= 0:
            parent, n = parents[at]
            path.append((at, n))
            at = parent
        paths.append(path[::-1])
    return paths


def _trace(
    blocks: list[list[Segment]],
    path: _Path,
    fields: dict[str, Any],
    meta: dict[str, Any],
    notes: Notes,
) -> dict[str, Any]:
    messages: list[dict[str, Any]] = []
    tools: list[dict[str, Any]] | None = None
    odd: dict[str, int] = {}
    n_own = n_replayed = 0
    for place, (block, n_covered) in enumerate(path):
        last = place == len(path) - 1
        for k, segment in enumerate(blocks[block]):
            if k >= n_covered:
                tools = _add(segment, messages, tools, meta, notes)
                n_own += _is_reasoning(segment)
            elif last:
                n_replayed += _is_reasoning(segment)
            for code in segment.codes:
                if last or (k >= n_covered and code not in _OF_A_PROMPT):
                    odd[code] = odd.get(code, 0) + 1
    if tools is None and any(message["role"] == "system" for message in messages):
        tools = []  # the prompt is all there, and declares none
    for code, n in odd.items():
        notes.repair(code, n)
    if odd:
        meta["repairs"] = odd
    if len(path) > 1:
        before = sum(map(_is_reasoning, blocks[path[-1][0]][path[-1][1] :]))
        meta["history_thinking"] = "kept" if n_replayed >= n_own - before else "stripped"
    for message in messages:
        _close(message)
    conversation.finish(messages, notes, meta)
    return record_keys.trace(messages, tools, fields, meta, notes)


def _is_reasoning(segment: Segment) -> bool:
    return segment.role == "assistant" and segment.channel == "analysis" and not segment.is_call


def _add(
    segment: Segment,
    messages: list[dict[str, Any]],
    tools: list[dict[str, Any]] | None,
    meta: dict[str, Any],
    notes: Notes,
) -> list[dict[str, Any]] | None:
    """Adds what a segment says to the messages; gives the tools that are known after it."""
    role = segment.role
    if role == "assistant":
        broken = "bad_header" in segment.codes
        if broken and not segment.text.strip():
            return tools  # a header and nothing else
        last = messages[-1] if messages else None
        if broken or last is None or last["role"] != "assistant" or "_broken" in last:
            last = {"role": "assistant"}
            messages.append(last)
        if broken:  # a message of its own, so that the rest of the turn stays a target
            last["_broken"] = True
            last["train"] = {"reasoning": True, "content": False, "calls": None}
        _add_spoken(segment, last, notes)
        return tools
    text = segment.text
    if role in ("system", "developer"):
        found = harmony_tools.read_tools(text)
        if found:
            known = {tool["name"] for tool in found}
            tools = [*(t for t in tools or () if t["name"] not in known), *found]
        if role == "developer" and found:
            kept = harmony_tools.without_tools(text)
            meta["tools_text"], text = text[len(kept) :].strip(), kept
            if not text.strip():
                return tools
        messages.append({"role": "system", "content": text})
    elif role == "user":
        messages.append({"role": "user", "content": text})
    else:
        message = {"role": "tool", "name": _plain(role)}
        if text:
            message["content"] = text
        messages.append(message)
    return tools


def _add_spoken(segment: Segment, message: dict[str, Any], notes: Notes) -> None:
    """Adds a segment of the assistant to the message of its turn."""
    if segment.is_call:
        arguments = segment.text
        if not segment.recipient.startswith("functions.") and jsontext.compact(arguments) is None:
            arguments = jsontext.dump({"input": arguments})
            notes.repair(WRAPPED.name)
        call = {
            "id": "",
            "name": _plain(segment.recipient),
            "arguments": arguments_text(arguments, notes),
        }
        message.setdefault("tool_calls", []).append(call)
    elif _is_reasoning(segment):
        message.setdefault("_thoughts", []).append(segment.text)
    else:
        message.setdefault("_texts", []).append(segment.text)
        if segment.channel != "final" and "_broken" not in message:
            add_meta(message, "channel", segment.channel or None)
    if segment.end in ("call", "return"):
        message["finish_reason"] = segment.end


def _plain(name: str) -> str:
    return name.removeprefix("functions.") or name


def _close(message: dict[str, Any]) -> None:
    message.pop("_broken", None)
    thoughts = message.pop("_thoughts", None)
    if thoughts is not None:
        message["reasoning"] = "\n\n".join(thoughts)
        message["reasoning_kind"] = "full"
    content = texts_joined(message.pop("_texts", ()))
    if content is not None:
        message["content"] = content


dialect = Dialect(
    name="harmony",
    version=1,
    unit="record",
    fits=fits,
    read=read,
    codes=(
        *conversation.CODES,
        *record_keys.CODES,
        *harmony_text.CODES,
        WRAPPED,
        *CODES,
    ),
)
