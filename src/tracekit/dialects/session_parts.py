"""Session logs whose content is a list of Gemini parts: texts, thoughts, calls, results."""

from __future__ import annotations

import hashlib
from typing import Any

from tracekit import jsontext
from tracekit.dialects.conversation import add_meta, arguments_text, texts_joined
from tracekit.dialects.dialect import Notes
from tracekit.dialects.session_log import text_of
from tracekit.errors import BadRecord

IGNORES = {"*.thoughtSignature": "signature of the provider, readable by nobody else"}


def parts_of(content: Any, k: int) -> list[Any]:
    """Parts of a content; a text is one part. Raises BadRecord content_not_text."""
    if isinstance(content, str):
        return [{"text": content}] if content else []
    if content is None:
        return []
    if isinstance(content, dict):
        return [content]
    if isinstance(content, list):
        return content
    raise BadRecord("content_not_text", f"line {k}: content is {type(content).__name__}")


def read(content: Any, role: str, k: int, notes: Notes) -> list[dict[str, Any]]:
    """Unfinished messages of one turn: results as tool messages, then what was said.

    A reply is cut where text follows a call. Raises BadRecord: content_not_text, bad_tool_call.
    """
    messages: list[dict[str, Any]] = []
    message: dict[str, Any] = {"role": role}
    texts: list[str] = []
    thoughts: list[str] = []
    results: list[dict[str, Any]] = []

    def close() -> None:
        nonlocal message
        text = texts_joined(texts)
        if text is not None:
            message["content"] = text
        if thoughts and role == "assistant":
            message["reasoning"] = "\n\n".join(thoughts)
            message["reasoning_kind"] = "full"
        elif thoughts:
            add_meta(message, "thoughts", list(thoughts))
        if len(message) > 1:
            messages.append(message)
        message = {"role": role}
        texts.clear()
        thoughts.clear()

    for part in parts_of(content, k):
        if isinstance(part, str):
            texts.append(part)
            continue
        if not isinstance(part, dict):
            raise BadRecord("content_not_text", f"line {k}: a part is {type(part).__name__}")
        text = part.get("text")
        if isinstance(text, str):
            if "tool_calls" in message and text:
                close()
            (thoughts if part.get("thought") is True else texts).append(text)
        elif "functionCall" in part:
            message.setdefault("tool_calls", []).append(call(part["functionCall"], k, notes))
        elif "functionResponse" in part:
            results.append(response(part["functionResponse"], k))
        elif isinstance(part.get("inlineData"), dict):
            message.setdefault("attachments", []).append(_file(part["inlineData"]))
        elif text_of(part.get("fileData"), "fileUri"):
            message.setdefault("attachments", []).append(part["fileData"]["fileUri"])
        elif part:
            message.setdefault("meta", {}).setdefault("parts", []).append(part)
    close()
    return [*results, *messages]


def _file(data: dict[str, Any]) -> str:
    held = data.get("data")
    if isinstance(held, str):
        return "sha256:" + hashlib.sha256(held.encode("utf-8", "replace")).hexdigest()
    return jsontext.dump(data)


def call(value: Any, k: int, notes: Notes) -> dict[str, Any]:
    """A function call. Raises BadRecord bad_tool_call."""
    name = text_of(value, "name")
    if name is None:
        raise BadRecord("bad_tool_call", f"line {k} has a call without a name")
    given = value.get("args")
    arguments = jsontext.dump(given) if isinstance(given, dict) else arguments_text(given, notes)
    return {"id": text_of(value, "id") or "", "name": name, "arguments": arguments or "{}"}


def response(value: Any, k: int) -> dict[str, Any]:
    """Tool message of a function response; a lone `output` or `error` is its text."""
    if not isinstance(value, dict):
        raise BadRecord("content_not_text", f"line {k}: a response is {type(value).__name__}")
    message: dict[str, Any] = {"role": "tool"}
    if text_of(value, "id"):
        message["tool_call_id"] = value["id"]
    if text_of(value, "name"):
        message["name"] = value["name"]
    held = value.get("response")
    if isinstance(held, dict) and len(held) == 1 and next(iter(held)) in ("output", "error"):
        key, inner = next(iter(held.items()))
        if key == "error":
            message["error"] = True
        held = inner
    if isinstance(held, str):
        if held:
            message["content"] = held
    elif held is not None:
        message["content"] = jsontext.dump(held)
    return message
