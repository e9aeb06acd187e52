"""Content blocks of the Anthropic Messages shape to canonical messages.

Used for the API's own records and for session logs that keep its blocks. The order of text,
thinking and calls inside one reply is not kept; a reply is cut after each run of server results.
"""

from __future__ import annotations

import hashlib
from typing import Any

from tracekit import jsontext
from tracekit.codes import Code
from tracekit.dialects.conversation import add_meta, arguments_text, texts_joined
from tracekit.dialects.dialect import Notes
from tracekit.errors import BadRecord

CODES = (
    Code(
        name="blank_text_dropped",
        kind="repair",
        what="A text block of white space stood before the thinking of a reply and was left out.",
    ),
    Code(
        name="tool_addition_moved",
        kind="repair",
        what="A system message only announced tools; they are in `tools`, the place is in "
        "`meta.tool_additions`.",
    ),
)

IGNORES = {
    "*.signature": "signature of a thinking block, readable by the provider only",
    "*.encrypted_content": "encrypted by the provider, readable by nobody else",
    "*.encrypted_index": "encrypted by the provider, readable by nobody else",
    "*.encrypted_stdout": "encrypted by the provider, readable by nobody else",
    "*.content[].data": "encrypted thinking; the message says `withheld`",
    "*.cache_control": "an order to the provider's cache",
    "*.caller": "how the provider called the tool",
}

_ENCRYPTED = frozenset(("encrypted_content", "encrypted_index", "encrypted_stdout"))
_CALLS = frozenset(("tool_use", "server_tool_use", "mcp_tool_use"))
_FILES = frozenset(("image", "document", "file", "container_upload"))
_IGNORED_IN_RESULT = frozenset(
    ("type", "tool_use_id", "content", "is_error", "cache_control", "caller")
)


def blocks_of(content: Any, k: int) -> list[Any]:
    """Blocks of a content; text is one block, null none. Raises BadRecord content_not_text."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    if content is None:
        return []
    if isinstance(content, list):
        return content
    raise BadRecord("content_not_text", f"messages[{k}].content is {type(content).__name__}")


def _kind(block: Any, k: int) -> str:
    if isinstance(block, str):
        return "text"
    kind = block.get("type") if isinstance(block, dict) else None
    if not isinstance(kind, str):
        raise BadRecord("content_not_text", f"messages[{k}] has a block without a type")
    return kind


def _text(block: Any, k: int) -> str:
    text = block if isinstance(block, str) else block.get("text", "")
    if not isinstance(text, str):
        raise BadRecord("content_not_text", f"messages[{k}] has a text block without text")
    return text


def read_assistant(
    blocks: list[Any], k: int, notes: Notes, server_tools: set[str]
) -> list[dict[str, Any]]:
    """Unfinished messages of one reply: one, or more where the provider's tools answered within.

    Adds the names of called server tools to `server_tools`. Raises BadRecord: content_not_text,
    bad_tool_call.
    """
    messages: list[dict[str, Any]] = []
    texts: list[str] = []
    thoughts: list[str] = []
    message: dict[str, Any] = {"role": "assistant"}
    cited = False

    def close() -> None:
        nonlocal message, cited
        _close(message, texts, thoughts)
        if len(message) > 1:
            messages.append(message)
        message, cited = {"role": "assistant"}, False
        texts.clear()
        thoughts.clear()

    for block in blocks:
        kind = _kind(block, k)
        if kind == "text":
            text = _text(block, k)
            citations = block.get("citations") if isinstance(block, dict) else None
            # Citations cut one sentence into blocks; all other blocks are paragraphs.
            if texts and (citations or cited):
                texts[-1] += text
            else:
                texts.append(text)
            cited = bool(citations)
            if citations:
                held = message.setdefault("meta", {}).setdefault("citations", [])
                given = readable(citations)
                held.extend(given if isinstance(given, list) else [given])
        elif kind in ("thinking", "redacted_thinking"):
            if texts and not "".join(texts).strip():
                texts.clear()
                notes.repair("blank_text_dropped")
            thought = block.get("thinking")
            thoughts.append(thought if isinstance(thought, str) else "")
        elif kind in _CALLS:
            message.setdefault("tool_calls", []).append(_call(block, k, notes))
            if kind != "tool_use":
                server_tools.add(block["name"])
            if isinstance(block.get("server_name"), str):
                add_meta(message, "server_name", block["server_name"])
        elif kind.endswith("tool_result"):
            close()
            messages.append(read_result(block, k))
        elif kind in _FILES:
            message.setdefault("attachments", []).append(reference(block))
        else:
            message.setdefault("meta", {}).setdefault("blocks", []).append(readable(block))
    close()
    return messages or [{"role": "assistant"}]


def _close(message: dict[str, Any], texts: list[str], thoughts: list[str]) -> None:
    if thoughts:
        given = [thought for thought in thoughts if thought]
        if given:
            message["reasoning"] = "\n\n".join(given)
            message["reasoning_kind"] = "full"
            if len(given) < len(thoughts):
                add_meta(message, "withheld_thoughts", len(thoughts) - len(given))
        else:
            message["reasoning_kind"] = "withheld"
    content = texts_joined(texts)
    if content is not None:
        message["content"] = content


def _call(block: dict[str, Any], k: int, notes: Notes) -> dict[str, Any]:
    name = block.get("name")
    if not isinstance(name, str) or not name:
        raise BadRecord("bad_tool_call", f"messages[{k}] has a call without a name")
    given = block.get("input")
    call_id = block.get("id")
    if isinstance(given, str):
        arguments = arguments_text(given, notes)
    else:
        arguments = "{}" if given is None else jsontext.dump(given)
    return {"id": "" if call_id is None else str(call_id), "name": name, "arguments": arguments}


def read_result(block: dict[str, Any], k: int) -> dict[str, Any]:
    """Tool message of a result block. Raises BadRecord content_not_text."""
    message: dict[str, Any] = {"role": "tool"}
    call_id = block.get("tool_use_id")
    if call_id is not None:
        message["tool_call_id"] = str(call_id)
    content = block.get("content")
    error = block.get("is_error")
    if block["type"] not in ("tool_result", "mcp_tool_result"):
        kind = content.get("type") if isinstance(content, dict) else None
        error = isinstance(kind, str) and kind.endswith("_error")
    if isinstance(error, bool):
        message["error"] = error
    texts: list[str] = []
    if isinstance(content, str):
        texts.append(content)
    elif isinstance(content, list) and _is_text(content):
        for part in content:
            kind = _kind(part, k)
            if kind == "text":
                texts.append(_text(part, k))
            elif kind in _FILES:
                _add_file(part, message, texts)
            else:
                texts.append(jsontext.dump(readable(part)))
    elif content is not None:
        texts.append(jsontext.dump(readable(content)))
    text = texts_joined(texts)
    if text is not None:
        message["content"] = text
    if block["type"] != "tool_result":
        add_meta(message, "block", block["type"])
    for key, v in block.items():
        if key not in _IGNORED_IN_RESULT and v is not None:
            add_meta(message, key, readable(v))
    return message


def _is_text(content: list[Any]) -> bool:
    """Are these blocks for the model to read (and not records of a search)?"""
    return all(
        isinstance(part, str)
        or (
            isinstance(part, dict)
            and isinstance(part.get("type"), str)
            and not part["type"].endswith("_result")
        )
        for part in content
    )


def read_user(blocks: list[Any], k: int) -> list[dict[str, Any]]:
    """Unfinished messages of a user turn: results as tool messages, text between them as user.

    Raises BadRecord content_not_text.
    """
    messages: list[dict[str, Any]] = []
    texts: list[str] = []
    message: dict[str, Any] = {"role": "user"}
    for block in [*blocks, None]:
        kind = "" if block is None else _kind(block, k)
        if block is None or kind.endswith("tool_result"):
            text = texts_joined(texts)
            if text is not None:
                message["content"] = text
            if len(message) > 1:
                messages.append(message)
            message, texts = {"role": "user"}, []
            if block is not None:
                messages.append(read_result(block, k))
        elif kind == "text":
            texts.append(_text(block, k))
        elif kind in _FILES:
            _add_file(block, message, texts)
        else:
            message.setdefault("meta", {}).setdefault("blocks", []).append(readable(block))
    return messages


def _add_file(block: dict[str, Any], message: dict[str, Any], texts: list[str]) -> None:
    """A file block: its text where it is a text document, else a reference to it."""
    source = block.get("source")
    if isinstance(source, dict) and source.get("type") == "text":
        if isinstance(source.get("data"), str):
            texts.append(source["data"])
    else:
        message.setdefault("attachments", []).append(reference(block))
    for key in ("title", "context"):
        if isinstance(block.get(key), str):
            add_meta(message, key, block[key])


def reference(block: dict[str, Any]) -> str:
    """Address or id of a file block, or the hash of its bytes."""
    source = block.get("source")
    if isinstance(source, dict):
        for key in ("url", "file_id"):
            if isinstance(source.get(key), str):
                return str(source[key])
        if isinstance(source.get("data"), str):
            data = source["data"].encode("utf-8", "replace")
            return "sha256:" + hashlib.sha256(data).hexdigest()
    return jsontext.dump(readable(block))


def readable(value: Any) -> Any:
    """A copy of a JSON value without what the provider encrypted."""
    if isinstance(value, dict):
        return {key: readable(v) for key, v in value.items() if key not in _ENCRYPTED}
    if isinstance(value, list):
        return [readable(v) for v in value]
    return value
