"""Messages of session logs whose content is a list of blocks, in the spellings of several clients.

Pi writes `toolCall` with `arguments`, Cursor `tool_call` and `tool-result`, others the blocks of
the Anthropic Messages shape; all of them become that shape and are read by its reader.
"""

from __future__ import annotations

import hashlib
from typing import Any

from tracekit.dialects import anthropic_blocks
from tracekit.dialects.dialect import Notes
from tracekit.errors import BadRecord

CODES = anthropic_blocks.CODES
IGNORES = {
    **anthropic_blocks.IGNORES,
    "*.thinkingSignature": "signature of a thinking block, readable by the provider only",
    "*.textSignature": "a name in the provider's log",
    "*.thoughtSignature": "signature of the provider, readable by nobody else",
}
_KINDS = {
    "toolCall": "tool_use",
    "tool_call": "tool_use",
    "tool-call": "tool_use",
    "tool-result": "tool_result",
}


def blocks_of(content: Any, k: int) -> list[Any]:
    """Blocks of a content in one spelling. Raises BadRecord content_not_text.

    >>> blocks_of([{"type": "toolCall", "id": "1", "name": "ls", "arguments": {}}], 0)
    [{'type': 'tool_use', 'id': '1', 'name': 'ls', 'input': {}}]
    """
    return [_block(block) for block in anthropic_blocks.blocks_of(content, k)]


def _block(block: Any) -> Any:
    if not isinstance(block, dict):
        return block
    kind = block.get("type")
    if kind == "image" and isinstance(block.get("data"), str):
        return {"type": "image", "source": {"data": block["data"]}}
    if kind == "image" and isinstance(block.get("url"), str):
        return {"type": "image", "source": {"url": _address(block["url"])}}
    if not isinstance(kind, str) or kind not in _KINDS:
        return block
    renamed = {**block, "type": _KINDS[kind]}
    for own, name in (("arguments", "input"), ("toolCallId", "id")):
        if own in renamed and name not in renamed:
            renamed[name] = renamed.pop(own)
    return renamed


def _address(url: str) -> str:
    """An address as it is; data in an address as its hash."""
    if url.startswith("data:"):
        return "sha256:" + hashlib.sha256(url.encode("utf-8", "replace")).hexdigest()
    return url


def assistant(content: Any, k: int, notes: Notes) -> list[dict[str, Any]]:
    """Unfinished messages of a reply. Raises BadRecord: content_not_text, bad_tool_call."""
    return anthropic_blocks.read_assistant(blocks_of(content, k), k, notes, set())


def user(content: Any, k: int) -> list[dict[str, Any]]:
    """Unfinished messages of a user turn, results as tool messages; one without text stays."""
    return anthropic_blocks.read_user(blocks_of(content, k), k) or [{"role": "user"}]


def result(content: Any, k: int) -> dict[str, Any]:
    """Tool message of a result that stands alone."""
    return anthropic_blocks.read_result(
        {"type": "tool_result", "content": blocks_of(content, k)}, k
    )


def system(content: Any, k: int) -> dict[str, Any]:
    """A system message. Raises BadRecord content_not_text."""
    texts = []
    for block in blocks_of(content, k):
        text = block if isinstance(block, str) else None
        if isinstance(block, dict) and block.get("type") == "text":
            text = block.get("text")
        if not isinstance(text, str):
            raise BadRecord("content_not_text", f"messages[{k}] has a block that is no text")
        texts.append(text)
    return {"role": "system", "content": "\n".join(texts)} if texts else {"role": "system"}
