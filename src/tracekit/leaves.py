"""The leaf law: every text of a record is in what became of it, or left out with a reason.

A leaf is a string of a record's JSON, of 20 characters or more. It is kept where it stands in a
trace, or its pieces do: tags around reasoning and calls are taken out, JSON inside a text is read,
a file is known by its hash. What a dialect leaves out on purpose is named in its `ignores`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tracekit.dialects import (
    agent_text,
    code_blocks,
    codeact,
    harmony_text,
    preference,
    react_text,
    tau_bench,
    template_text,
    thinking,
    toolalpaca,
    toolcall_text,
    tooleval,
    toolrl,
    vcr,
    xlam,
)
from tracekit.dialects.streams import any_reply
from tracekit.errors import BadRecord

MIN_LEAF_CHARS = 20
"""Shorter strings are names, kinds and numbers: found anywhere, they prove nothing."""
_MAX_NESTED = 4
"""JSON text inside of JSON text, this many times."""

_TAGS = (
    *thinking.MARKUP,
    *toolcall_text.MARKUP,
    *agent_text.MARKUP,
    *code_blocks.MARKUP,
    *react_text.MARKUP,
    *template_text.MARKUP,
    *codeact.MARKUP,
    *preference.MARKUP,
    *toolalpaca.MARKUP,
    *toolrl.MARKUP,
    *xlam.MARKUP,
)
"""What dialects cut texts at; the longer of two that begin alike counts."""
MARKUP = re.compile(
    "|".join(map(re.escape, sorted(_TAGS, key=len, reverse=True)))
    + r"|</?(?:function|parameter)[^>]*>|"
    + harmony_text.MARKUP
)
_CALL = re.compile(r"<tool_call>\s*(?=\{)")
_JSON = json.JSONDecoder(strict=False)


@dataclass(frozen=True, slots=True)
class Kept:
    """Bytes of the leaves of records, and how many of them are in their traces."""

    n_bytes: int = 0
    n_kept_bytes: int = 0
    n_ignored_bytes: int = 0
    """Of what is not kept: what the dialect leaves out with a reason."""

    def __add__(self, other: Kept) -> Kept:
        return Kept(
            self.n_bytes + other.n_bytes,
            self.n_kept_bytes + other.n_kept_bytes,
            self.n_ignored_bytes + other.n_ignored_bytes,
        )

    @property
    def share(self) -> float:
        """Share of bytes kept; 1 where there was no leaf."""
        return self.n_kept_bytes / self.n_bytes if self.n_bytes else 1.0


@dataclass(frozen=True, slots=True)
class Texts:
    """All text of traces, to look up leaves in."""

    whole: frozenset[str]
    """Leaves of the traces, one by one: most leaves of a record are one of them."""
    joined: str

    def __contains__(self, text: str) -> bool:
        return text in self.whole or text in self.joined


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """(path, text) of every string of a JSON value.

    >>> list(leaves({"a": [{"b": "x"}, "y"]}))
    [('.a[].b', 'x'), ('.a[]', 'y')]
    """
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}")
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from leaves(inner, f"{path}[]")


def as_read(value: Any) -> Any:
    """A record as dialects see it: an event stream put together, a printed dialogue cut up.

    None for a stream that cannot be: its record is a reject.
    """
    if isinstance(value, dict) and isinstance(value.get("response"), str) and "request" in value:
        try:
            return {**value, "response": any_reply(value["response"])}
        except BadRecord:
            return None
    if isinstance(value, dict) and vcr.fits(value):
        return vcr.unpacked(value)
    if isinstance(value, dict) and tooleval.fits(value):
        return tooleval.unpacked(value)
    if isinstance(value, dict) and isinstance(value.get("messages_display"), str):
        said = tau_bench.spoken(value["messages_display"])
        return {**value, "messages_display": [text for _, text in said]}
    return value


def texts_of(traces: Iterable[Mapping[str, Any]]) -> Texts:
    """All text of traces as plain dicts, also what stands inside of JSON text."""
    found: list[str] = []
    for trace in traces:
        for _, text in leaves({key: v for key, v in trace.items() if key != "rows"}):
            found.append(text)
            if text[:1] in ("{", "["):
                try:
                    found.extend(inner for _, inner in leaves(json.loads(text)))
                except (ValueError, RecursionError):
                    continue
    return Texts(frozenset(found), "\0".join(found))


def ignored_by(ignores: Iterable[str], path: str) -> str | None:
    """The pattern that leaves out the text at a path; one that begins with `*` fits any depth.

    >>> ignored_by(["*.signature"], ".content[].signature"), ignored_by(["a"], ".b.a")
    ('*.signature', None)
    """
    for pattern in ignores:
        start = ".*" if pattern.startswith("*") else r"\."
        if re.fullmatch(start + re.escape(pattern.removeprefix("*")) + r"([.\[].*)?", path):
            return pattern
    return None


def lost_leaves(ignores: Iterable[str], value: Any, texts: Texts) -> list[str]:
    """Paths of texts of a record that are neither in its traces nor left out with a reason."""
    reasons = tuple(ignores)
    return [
        f"{path}: {len(text)} characters"
        for path, text in leaves(value)
        if len(text) >= MIN_LEAF_CHARS and ignored_by(reasons, path) is None
        for path, text in _missing(path, text, texts, reasons)
    ]


@dataclass(frozen=True, slots=True)
class Fate:
    """One text of a record, in bytes: how much of it is kept, and what leaves the rest out."""

    path: str
    n_bytes: int
    n_kept_bytes: int
    ignored_by: str | None = None


def fates(ignores: Iterable[str], value: Any, texts: Texts) -> Iterator[Fate]:
    """What became of every text of a record."""
    reasons = tuple(ignores)
    for path, text in leaves(value):
        if len(text) < MIN_LEAF_CHARS:
            continue
        n = len(text.encode("utf-8", "replace"))
        if text in texts:
            yield Fate(path, n, n)
            continue
        pattern = ignored_by(reasons, path)
        if pattern is not None:
            yield Fate(path, n, 0, pattern)
            continue
        missing = _missing(path, text, texts, reasons)
        n_missing = sum(len(piece.encode("utf-8", "replace")) for _, piece in missing)
        yield Fate(path, n, max(0, n - n_missing))


def kept_bytes(ignores: Iterable[str], value: Any, texts: Texts) -> Kept:
    """How many bytes of a record's texts are in its traces, or left out with a reason."""
    total = Kept()
    for fate in fates(ignores, value, texts):
        n_ignored = fate.n_bytes if fate.ignored_by is not None else 0
        total += Kept(fate.n_bytes, fate.n_kept_bytes, n_ignored)
    return total


def _missing(
    path: str, text: str, texts: Texts, ignores: Sequence[str], depth: int = 0
) -> Iterator[tuple[str, str]]:
    """(path, piece) of what of a text is not in the traces."""
    if len(text) < MIN_LEAF_CHARS or text in texts or ignored_by(ignores, path) is not None:
        return
    if f"sha256:{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()}" in texts:
        return
    if depth < _MAX_NESTED and text.lstrip()[:1] in ("{", "["):
        try:
            whole = _JSON.decode(text)  # tags inside of its strings are theirs
        except (ValueError, RecursionError):
            pass
        else:
            for inner_path, leaf in leaves(whole):
                yield from _missing(path + inner_path, leaf, texts, ignores, depth + 1)
            return
    for call, rest in _cut_calls(text):
        text = rest
        for inner_path, leaf in leaves(call):
            yield from _missing(path + inner_path, leaf, texts, ignores, depth + 1)
    for piece in map(str.strip, MARKUP.split(text)):
        if len(piece) < MIN_LEAF_CHARS or piece in texts:
            continue
        inner: Any = None
        if piece[0] in '{["' and depth < _MAX_NESTED:
            try:
                inner = _JSON.raw_decode(piece)[0]
            except (ValueError, RecursionError):
                inner = None
        if inner is None:
            yield path, piece
        else:
            for inner_path, leaf in leaves(inner):
                yield from _missing(path + inner_path, leaf, texts, ignores, depth + 1)


def _cut_calls(text: str) -> Iterator[tuple[Any, str]]:
    """(call, text without it) for each JSON object that begins a `<tool_call>` block."""
    place = 0
    while (found := _CALL.search(text, place)) is not None:
        try:
            call, end = _JSON.raw_decode(text, found.end())
        except (ValueError, RecursionError):
            return
        text = text[: found.start()] + "<tool_call>" + text[end:]
        place = found.start() + 1
        yield call, text
