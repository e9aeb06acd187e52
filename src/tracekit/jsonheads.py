"""The beginning of a JSON text as a value: what is open where it is cut is closed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tracekit.errors import BadRecord
from tracekit.jsontext import parse

_HALF = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}\Z")
"""An escaped half of a surrogate pair whose other half is cut off."""
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{},:]|"', re.DOTALL)


def head_value(head: bytes) -> Any:
    """The value that the head of a JSON text begins, with what is open at the cut closed.

    >>> head_value(b'{"a": [1, {"b": "some te')
    {'a': [1, {'b': 'some te'}]}
    >>> head_value(b'[{"a": 1}, {"b')
    [{'a': 1}]
    """
    head = head.removeprefix(b"\xef\xbb\xbf")
    stack: list[bytes] = []
    before = b""
    safe: tuple[int, tuple[bytes, ...]] = (0, ())
    for token in _TOKEN.finditer(head):
        word = token[0]
        if word in (b"{", b"["):
            stack.append(b"}" if word == b"{" else b"]")
            safe = (token.end(), tuple(stack))
        elif word in (b"}", b"]"):
            if not stack:
                break
            stack.pop()
            safe = (token.end(), tuple(stack))
            if not stack:
                break
        elif word == b",":
            safe = (token.start(), tuple(stack))
        elif word == b'"' and (before == b":" or (stack and stack[-1] == b"]")):
            value = _closed(_cut_text(head) + b'"', stack)
            if value is not None:
                return value
            break
        before = word
    at, open_ones = safe
    return _closed(head[:at], open_ones)


def _closed(text: bytes, open_ones: Sequence[bytes]) -> Any:
    try:
        return parse(text + b"".join(reversed(open_ones)))
    except BadRecord:
        return None


def _cut_text(text: bytes) -> bytes:
    """Text of an open string without a character or an escape that the cut goes through."""
    text = text.decode("utf-8", "ignore").encode()
    escape = text.rfind(b"\\", len(text) - 6)
    if escape >= 0:
        run = len(text[: escape + 1]) - len(text[: escape + 1].rstrip(b"\\"))
        if run % 2:
            text = text[:escape]
    half = _HALF.search(text, len(text) - 6)
    return text if half is None else text[: half.start()]
