"""Content that is a list of parts: texts, reasoning, calls, files."""

from __future__ import annotations

import hashlib
from typing import Any

from tracekit import jsontext
from tracekit.dialects import toolcall_text
from tracekit.dialects.conversation import add_meta, texts_joined
from tracekit.errors import BadRecord

_FILES = ("image_url", "image", "video_url", "video", "audio_url", "audio", "input_audio", "file")


def is_part(part: dict[str, Any]) -> bool:
    """Has an object the form of a content part?"""
    return isinstance(part.get("type"), str) or isinstance(part.get("text"), str)


def read_parts(parts: list[Any], k: int, message: dict[str, Any]) -> str | None:
    """Text of content parts; reasoning, calls and files go to their fields."""
    texts: list[str] = []
    reasoning: list[str] = []
    files: list[str] = []
    for part in parts:
        if isinstance(part, str):
            texts.append(part)
            continue
        kind = part["type"] if isinstance(part.get("type"), str) else "text"
        text = part.get("text", part.get("value", part.get("content")))
        if kind in ("text", "input_text", "output_text"):
            if isinstance(text, str):
                texts.append(text)
            elif text is not None:
                raise BadRecord("content_not_text", f"messages[{k}] has a text part without text")
            rest = {key: v for key, v in part.items() if key not in ("type", "text", "value")}
            if rest and any(isinstance(v, str) and v is not text for v in rest.values()):
                message.setdefault("meta", {}).setdefault("parts", []).append(rest)
        elif kind in ("reasoning", "thinking"):
            inner = part.get("thinking", part.get("reasoning", text))
            if isinstance(inner, list):
                inner = texts_joined(
                    p["text"]
                    for p in inner
                    if isinstance(p, dict) and isinstance(p.get("text"), str)
                )
            reasoning.append(inner if isinstance(inner, str) else "")
        elif kind == "tool_call" and isinstance(text, str):
            message.setdefault("tool_calls", []).append(call_text(text, k))
        elif kind == "refusal" and isinstance(part.get("refusal"), str):
            texts.append(part["refusal"])
            add_meta(message, "refusal", True)
        else:
            files.append(file_reference(part, kind))
    if reasoning and message["role"] == "assistant":
        message["reasoning"] = "\n\n".join(reasoning)
        message["reasoning_kind"] = "full"
    elif reasoning:
        texts.extend(reasoning)
    if files:
        message["attachments"] = files
    return texts_joined(texts)


def file_reference(part: dict[str, Any], kind: str) -> str:
    """Reference of a part that is no text: its address, or the hash of what it holds.

    >>> file_reference({"type": "image_url", "image_url": {"url": "a/1.png"}}, "image_url")
    'a/1.png'
    """
    for key in (*_FILES, "value", "source", "url", kind):
        held = part.get(key)
        if isinstance(held, dict):
            held = held.get("url") or held.get("data") or held.get("file_id")
        if isinstance(held, str) and held:
            if held.startswith("data:") or len(held) > 2048:
                return "sha256:" + hashlib.sha256(held.encode("utf-8", "replace")).hexdigest()
            return held
    return f"{kind}:" + jsontext.dump(part)


def call_text(text: str, k: int) -> dict[str, Any]:
    """A call written as JSON text in a message or part of its own."""
    found = toolcall_text.call_of(text)
    if found is None:
        raise BadRecord("bad_tool_call", f"messages[{k}] holds no call with a name: {text!r:.80}")
    return {"id": "", "name": found[0], "arguments": found[1]}
