"""Messages of an Inspect log, with the long texts that stand beside them put back.

Decided here: a log writes an error wherever a call failed, so a result without one did not fail.
Reasoning that the provider withheld (`redacted`) never becomes text; its summary does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from tracekit import jsontext
from tracekit.codes import Code
from tracekit.dialects import conversation, openai_message
from tracekit.dialects.dialect import Notes
from tracekit.errors import BadRecord

CODES = (
    Code(
        name="attachment_resolved",
        kind="repair",
        what="A long text stood beside the messages and was put back where it is named.",
    ),
    Code(
        name="attachment_missing",
        kind="repair",
        what="A text names an attachment that the record does not hold; the name was left.",
    ),
    Code(
        name="input_not_trained",
        kind="repair",
        what="An assistant message came with the input and was not generated; its weight is 0.",
    ),
    Code(
        name="attachments_expand",
        kind="reject",
        what="Long texts that stand beside the messages are named so often that the record would "
        "grow without bound.",
    ),
)

_EXPANSION = 16
_FREE_CHARS = 16 << 20
"""Attachments may grow to so many characters, and to `_EXPANSION` times their own length."""
_PARTS = frozenset(("text", "reasoning", "image", "audio", "video", "document"))
_OURS = frozenset(
    (
        *("role", "content", "tool_calls", "tool_call_id", "function", "error", "id", "source"),
        *("model", "internal", "parse_error"),
    )
)


class Texts:
    """Long texts of a sample by name."""

    def __init__(self, sample: Mapping[str, Any]) -> None:
        found = sample.get("attachments")
        transcript = sample.get("transcript")
        if not isinstance(found, dict) and isinstance(transcript, dict):
            found = transcript.get("content")
        self.texts: dict[str, Any] = found if isinstance(found, dict) else {}
        stored = sum(len(text) for text in self.texts.values() if isinstance(text, str))
        self.n_free = _FREE_CHARS + _EXPANSION * stored

    def back(self, value: Any, notes: Notes) -> Any:
        """A value with attachments in their places."""
        if isinstance(value, str):
            if not value.startswith(("attachment://", "tc://")):
                return value
            text = self.texts.get(value.partition("://")[2])
            if not isinstance(text, str):
                notes.repair("attachment_missing")
                return value
            notes.repair("attachment_resolved")
            self.n_free -= len(text)
            if self.n_free < 0:
                raise BadRecord("attachments_expand", f"{len(self.texts):,} attachments")
            return text
        if isinstance(value, dict):
            return {key: self.back(v, notes) for key, v in value.items()}
        if isinstance(value, list):
            return [self.back(v, notes) for v in value]
        return value


def sign(message: Any) -> str:
    """What a generated message is known by: its id, else what it says."""
    if not isinstance(message, dict):
        return ""
    own = message.get("id")
    if isinstance(own, str):
        return own
    said = [message.get("content"), message.get("tool_calls")]
    return hashlib.sha256(jsontext.dump(said).encode()).hexdigest()


def reply_of(event: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The message that a model event ended with, and its choice."""
    output = event.get("output")
    choices = output.get("choices") if isinstance(output, dict) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(first, dict):
        return None, {}
    return first.get("message"), first


def read(
    turn: Any,
    k: int,
    generated: Mapping[str, dict[str, Any]],
    notes: Notes,
    options: Mapping[str, str],
) -> dict[str, Any]:
    """Canonical message of the k-th message of a sample."""
    if not isinstance(turn, dict):
        raise conversation.refuse_message(turn, k)
    held: dict[str, Any] = {"role": turn.get("role")}
    beside: list[Any] = []
    withheld = False
    content = turn.get("content")
    if isinstance(content, list):
        parts = []
        for part in content:
            if isinstance(part, dict) and not _is_part(part):
                beside.append(part)
            elif isinstance(part, dict) and part.get("type") == "reasoning":
                withheld = withheld or part.get("redacted") is True
                inner = part.get("summary") if part.get("redacted") is True else None
                text = inner if part.get("redacted") is True else part.get("reasoning")
                if isinstance(text, str) and text:
                    parts.append({"type": "reasoning", "reasoning": text})
            else:
                parts.append(part)
        content = parts
    held["content"] = content
    calls = turn.get("tool_calls")
    if isinstance(calls, list):
        held["tool_calls"] = [_call(call) for call in calls]
    elif calls:
        raise BadRecord("bad_tool_call", f"messages[{k}].tool_calls is no list")
    if isinstance(turn.get("tool_call_id"), str):
        held["tool_call_id"] = turn["tool_call_id"]
    message = openai_message.read_message(held, k, notes, options)
    if withheld:
        message["reasoning_kind"] = "summary" if message.get("reasoning") else "withheld"
    _describe(turn, message, generated, notes)
    if beside:
        conversation.add_meta(message, "parts", without_blobs(beside))
    return message


def _is_part(part: dict[str, Any]) -> bool:
    kind = part.get("type")
    return isinstance(kind, str) and kind in _PARTS


def _describe(
    turn: dict[str, Any],
    message: dict[str, Any],
    generated: Mapping[str, dict[str, Any]],
    notes: Notes,
) -> None:
    """Error, weight, finish reason and meta of a message."""
    if message["role"] == "tool":
        if isinstance(turn.get("function"), str):
            message["name"] = turn["function"]
        # A log writes an error wherever there was one.
        message["error"] = turn.get("error") is not None
        if turn.get("error") is not None:
            conversation.add_meta(message, "error", turn["error"])
    if message["role"] == "assistant":
        if turn.get("source") == "input":
            message["weight"] = 0.0
            notes.repair("input_not_trained")
        event = generated.get(sign(turn))
        if event is not None:
            reason = reply_of(event)[1].get("stop_reason")
            if isinstance(reason, str) and reason != "unknown":
                message["finish_reason"] = reason
            for key in ("timestamp", "completed"):
                if isinstance(event.get(key), str):
                    conversation.add_meta(message, key, event[key])
    for key in ("id", "source", "model"):
        if turn.get(key) is not None:
            conversation.add_meta(message, key, turn[key])
    details = [
        {k: v for k, v in call.items() if k not in _CALL_KEYS and v is not None}
        for call in turn.get("tool_calls") or ()
        if isinstance(call, dict)
    ]
    if any(details):
        conversation.add_meta(message, "calls", details)
    for key, v in turn.items():
        if key not in _OURS and v is not None:
            notes.unknown(key)
            conversation.add_meta(message, key, without_blobs(v))


_CALL_KEYS = frozenset(("id", "function", "arguments", "type", "view"))


def _call(call: Any) -> Any:
    """A call in the OpenAI form: its arguments are an object in a log."""
    if not isinstance(call, dict):
        return call
    given = call.get("arguments")
    text = given if isinstance(given, str) else jsontext.dump({} if given is None else given)
    return {"id": call.get("id"), "function": {"name": call.get("function"), "arguments": text}}


def without_blobs(value: Any) -> Any:
    """A copy in which data of images and files is its hash."""
    if isinstance(value, str):
        if value.startswith("data:") and ";base64," in value[:200]:
            return "sha256:" + hashlib.sha256(value.encode("utf-8", "replace")).hexdigest()
        return value
    if isinstance(value, dict):
        return {key: without_blobs(v) for key, v in value.items() if key != "signature"}
    if isinstance(value, list):
        return [without_blobs(v) for v in value]
    return value
