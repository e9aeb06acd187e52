"""Chat templates of a user: a Jinja file, or the one in a tokenizer's folder, behind `Template`.

The text is exactly what the template gives. Which part of it is whose is found by rendering twice:
once as it is, and once with every text of a message replaced by a mark. Between the marks stands
what is the template's own, and laid over the real text it shows where each text begins and ends,
also where the template strips or rewrites it. A trace for which the two do not fit is refused: a
guess would train the wrong tokens.

What is trained on comes from `{% generation %}` blocks where the template has them; else a message
of an assistant is trained from the end of the generation prompt to the first end token after its
last text. The template decides what it does with thinking, so `history_thinking: keep` is `as_is`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

from tracekit.errors import InputError
from tracekit.jinja_pieces import CONTROL, Manner, Span, cut
from tracekit.jinja_process import Sandbox
from tracekit.pieces import (
    ANSWER,
    CALL,
    REASONING,
    RESULT,
    SYSTEM,
    TEMPLATE,
    TOOLS,
    USER,
    RenderError,
    Rendering,
    Row,
    is_query,
)
from tracekit.samples import Sample
from tracekit.wire import dumps, message_value, tool_value

_SEGMENT_OF_ROLE = {"system": SYSTEM, "user": USER, "assistant": ANSWER, "tool": RESULT}


def is_template_file(name: str) -> bool:
    """Is this a path and not the name of a template of ours?"""
    return "/" in name or name.endswith((".jinja", ".jinja2", ".json"))


def source_of(name: str) -> str:
    """Text of the template at a path. InputError: there is none."""
    path = Path(name)
    places = [path]
    if path.is_dir():
        places = [path / "chat_template.jinja", path / "tokenizer_config.json"]
    for place in places:
        try:
            text = place.read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        if place.suffix != ".json":
            return text
        try:
            value = json.loads(text)
        except ValueError:
            continue
        found = value.get("chat_template") if isinstance(value, dict) else None
        if isinstance(found, list):  # several by name; `default` is the one for chats
            found = next((t.get("template") for t in found if t.get("name") == "default"), None)
        if isinstance(found, str):
            return found
    raise InputError(
        "there is no chat template",
        where=name,
        expected="a Jinja file, or a tokenizer's folder with chat_template.jinja or a "
        "tokenizer_config.json that has `chat_template`",
        fix="check the path, or use a template by name: qwen3.5, qwen3, chatml",
    )


_VARIABLES = ("bos_token", "eos_token", "pad_token", "unk_token")


def variables_of(name: str) -> dict[str, str]:
    """Control tokens that the template may write by name, from the tokenizer_config.json beside it.

    InputError: the template names one and there is no such file, or not that token in it.
    """
    path = Path(name)
    folder = path if path.is_dir() else path.parent
    try:
        value = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    except (OSError, ValueError):
        value = {}
    found = {}
    for key in _VARIABLES:
        token = value.get(key) if isinstance(value, dict) else None
        token = token.get("content") if isinstance(token, dict) else token
        if isinstance(token, str):
            found[key] = token
    source = source_of(name)
    lacking = [key for key in _VARIABLES if key not in found and re.search(rf"\b{key}\b", source)]
    if lacking:
        raise InputError(
            f"the chat template writes {' and '.join(lacking)}, and nothing says what that is",
            where=name,
            expected="tokenizer_config.json beside the template",
            fix="name the tokenizer's folder, or write the token into the template",
        )
    return found


def hash_of(name: str) -> str:
    """SHA-256 of the template's text and of the control tokens that it writes by name."""
    source, variables = source_of(name), variables_of(name)
    return hashlib.sha256(dumps([source, variables]).encode()).hexdigest()


@cache
def sandbox(name: str, digest: str) -> Sandbox:
    """The process that runs the template, of this hash. InputError: it is no template."""
    return Sandbox(source_of(name), variables_of(name), name)


@cache
def manner(name: str, digest: str) -> Manner:
    """How the template writes a turn, by trying it. InputError: it refuses two plain words."""
    run = sandbox(name, digest)
    asked = [{"role": "user", "content": "Question"}]
    try:
        before = run.render(asked, None).text
        prompt = run.render(asked, None, add_generation_prompt=True).text
        told = run.render([*asked, {"role": "assistant", "content": "Answer"}], None).text
    except RenderError as error:
        raise InputError(
            "the chat template refuses a question with an answer",
            where=name,
            expected="a template for messages of user and assistant",
            fix=f"the template says: {error.detail}",
        ) from None
    if not {"question", "answer"} <= set(re.findall("question|answer", told.lower())):
        raise InputError(
            "the chat template does not write what is said",
            where=name,
            expected="the content of each message in the text that it makes",
            fix=f"of a question and an answer it makes {told[:200]!r}",
        )
    shared = 0
    if prompt.startswith(before) and told.startswith(before):
        opening, turn = prompt[len(before) :], told[len(before) :]
        while shared < min(len(opening), len(turn)) and opening[shared] == turn[shared]:
            shared += 1
        # A think block is the model's own words: trained on, as by our own templates.
        prompt = opening[:shared].partition("<think>")[0]
    else:
        prompt = ""
    found = CONTROL.search(told, told.lower().rfind("answer") + len("answer"))
    return Manner(prompt, found.group() if found else "")


def render(name: str, digest: str, row: Row, sample: Sample, out: Rendering) -> None:
    """Add one sample, as the template writes it. RenderError: refused."""
    messages = row["messages"][: sample.end]
    if not messages:
        raise RenderError("no_messages")
    try:
        tools = [tool_value(t) for t in row["tools"]] if row.get("tools") else None
    except (ValueError, AttributeError) as error:
        raise RenderError("tool_not_json", str(error)) from None
    values = [_value(m) for m in messages]
    marked, fields = _marked(values)
    run = sandbox(name, digest)
    rendered = run.render(values, tools)
    spans = _laid_over(rendered.text, run.render(marked, tools).text, fields)
    if spans is None:
        raise RenderError("text_not_found", "the template writes other words for other texts")
    spans = sorted([*spans, *_tool_spans(rendered.text, tools, spans)], key=lambda s: s.start)
    cut(rendered, messages, spans, sample, manner(name, digest), out)


def _value(message: Row) -> dict[str, Any]:
    """A message as trainers hand it to templates: reasoning under the older name too."""
    value = message_value(message)
    if "reasoning_content" in value:
        value["thinking"] = value["reasoning_content"]
    return value


_Field: TypeAlias = tuple[str, int, int]
"""(text, segment, message) that a mark stands for."""

_MARK = re.compile("\ue000([0-9]+)\ue001")
"""Private use characters around a number: nothing strips or escapes them."""


def _marked(values: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], list[_Field]]:
    """(values with marks in place of texts, (text, segment, message) by the number of the mark).

    An empty text stays empty, and what templates look for in a text stays in it.
    """
    fields: list[_Field] = []

    def mark(text: str, segment: int, m: int) -> str:
        if not text.strip():
            return text
        fields.append((text, segment, m))
        new = f"\ue000{len(fields) - 1}\ue001"
        stripped = text.strip()
        if stripped.startswith("<tool_response>") and stripped.endswith("</tool_response>"):
            return f"<tool_response>{new}</tool_response>"
        return new

    marked = []
    for m, value in enumerate(values):
        new = dict(value)
        content = new["content"]
        # A template that looks for tags in an answer must find them.
        if "</think>" not in content:
            segment = _SEGMENT_OF_ROLE.get(new["role"], TEMPLATE)
            new["content"] = mark(content, segment, m)
        for key in ("reasoning_content", "thinking"):
            if key in new:
                new[key] = mark(new[key], REASONING, m)
        if "tool_calls" in new:
            new["tool_calls"] = [
                {**c, "function": {**c["function"], "name": mark(c["function"]["name"], CALL, m)}}
                for c in new["tool_calls"]
            ]
        marked.append(new)
    return marked, fields


def _laid_over(text: str, marked: str, fields: Sequence[_Field]) -> list[Span] | None:
    """Where the texts stand, or None where the words between the marks are not those of `text`."""
    words = _MARK.split(marked)
    if not text.startswith(words[0]):
        return None
    at = len(words[0])
    spans: list[Span] = []
    n_marks = len(words) // 2
    for k, (number, after) in enumerate(zip(words[1::2], words[2::2], strict=True), start=1):
        wanted, segment, m = fields[int(number)]
        end = _ends(text, wanted, at, after, last=k == n_marks)
        if end is None:
            return None
        if end > at:
            spans.append(Span(at, end, segment, m))
        at = end + len(after)
    return spans if at == len(text) else None


def _ends(text: str, wanted: str, at: int, after: str, *, last: bool) -> int | None:
    """Where a text that begins at `at` ends, with the words `after` it behind."""
    for written in (wanted, wanted.strip(), wanted.lstrip("\n"), wanted.strip("\n"),
                    wanted.rstrip(), wanted.lstrip()):  # fmt: skip
        end = at + len(written)
        if text.startswith(written, at) and text.startswith(after, end):
            return end
    if last:
        end = len(text) - len(after)
        return end if end >= at and text.endswith(after) else None
    # Rewritten: it ends where the template's next words begin, if they can be told from a text.
    found = text.find(after, at) if CONTROL.search(after) else -1
    return None if found < 0 else found


def _tool_spans(
    text: str, tools: Sequence[Mapping[str, Any]] | None, taken: Sequence[Span]
) -> list[Span]:
    """Declarations that stand in the words of the template as JSON."""
    spans: list[Span] = []
    at = 0
    for tool in tools or ():
        for written in (dumps(tool), dumps(tool.get("function"))):
            start = text.find(written, at)
            end = start + len(written)
            if start >= 0 and not any(s.start < end and start < s.end for s in taken):
                spans.append(Span(start, end, TOOLS, -1))
                at = end
                break
    return spans


def query(content: str) -> bool:
    """A user text that asks something, by the rule of the Qwen templates."""
    return is_query(content.strip())
