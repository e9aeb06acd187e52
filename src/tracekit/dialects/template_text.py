"""Prompts that are the rendered text of a chat template: turns between header and end tokens.

A text is read only if all of it is such turns and the last one is the opening of a reply; the
tokens would else be trained as words.
"""

from __future__ import annotations

import re
from typing import Any

from tracekit.codes import Code

CODES = (
    Code(
        name="template_text_read",
        kind="repair",
        what="A prompt was the rendered text of a chat template; its turns became messages, and "
        "the end token of the reply was taken off.",
        why="As text its control tokens would be words of the user, rendered a second time.",
    ),
)

_BEGINS = ("<|begin_of_text|>", "<|startoftext|>")
_ENDS = ("<|eot_id|>", "<|im_end|>", "<|end_of_text|>", "<|endoftext|>")
_HEADER = re.compile(
    r"<\|start_header_id\|>(system|user|assistant)<\|end_header_id\|>\n\n"
    r"|<\|im_start\|>(system|user|assistant)\n"
)
_HEADERS = tuple(
    form % role
    for form in ("<|start_header_id|>%s<|end_header_id|>", "<|im_start|>%s\n")
    for role in ("system", "user", "assistant")
)
MARKUP = (*_BEGINS, *_ENDS, *_HEADERS)
"""What reading takes out of a text."""


def turns(text: str) -> list[dict[str, Any]] | None:
    """Messages of a rendered prompt without the opening of the reply; None for any other text.

    A turn without text is left out: the template writes an empty system turn of its own accord.

    >>> turns("<|im_start|>user\\nhello<|im_end|>\\n<|im_start|>assistant\\n")
    [{'role': 'user', 'content': 'hello'}]
    >>> turns("hello") is None
    True
    """
    place = 0
    for begin in _BEGINS:
        if text.startswith(begin):
            place = len(begin)
    found: list[dict[str, Any]] = []
    while True:
        header = _HEADER.match(text, place)
        if header is None:
            return None
        role = header[1] or header[2]
        end_token = _ENDS[0] if header[1] else _ENDS[1]
        end = text.find(end_token, header.end())
        if end < 0:
            opened = role == "assistant" and not text[header.end() :].strip()
            return found if opened and found else None
        said = text[header.end() : end].strip("\n")
        if _HEADER.search(said):
            return None
        if said:
            found.append({"role": role, "content": said})
        place = end + len(end_token)
        if text.startswith("\n", place):
            place += 1


def without_end(reply: str) -> str:
    """A reply without the end tokens behind it.

    >>> without_end("Elm.<|eot_id|>")
    'Elm.'
    """
    while True:
        bare = reply.rstrip()
        token = next((token for token in _ENDS if bare.endswith(token)), None)
        if token is None:
            return reply
        reply = bare[: -len(token)]
