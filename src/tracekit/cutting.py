"""Slices: byte ranges of a file that begin and end at record borders, cut about every 64 MiB.

A cutter is fed the plain bytes of a file once, in chunks of any size, and gives the same slices for
the same bytes: cuts depend on the bytes and on `part_bytes`, on nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tracekit.documents import MemberScanner
from tracekit.framing import Framing


@dataclass(frozen=True, slots=True)
class Slice:
    """Whole records of one file that stand next to each other."""

    file: str
    """Path of the source file below the root, with `/`: the file of the records' places."""
    path: str
    """File to open: the source file itself, or its plain bytes in the spool."""
    framing: Framing
    first_row: int
    start: int
    """Bytes of `path`; rows, for Parquet and Arrow."""
    end: int
    fault: tuple[str, str] | None = None
    """For framing `fault`: code and detail of the one reject that stands for what is lost here."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A slice before it is known where its bytes lie."""

    first_row: int
    start: int
    end: int
    fault: tuple[str, str] | None = None
    estimated_bytes: int | None = None
    """Plain bytes, where start and end are rows."""

    @property
    def plain_bytes(self) -> int:
        return self.end - self.start if self.estimated_bytes is None else self.estimated_bytes


@dataclass(frozen=True, slots=True)
class Cuts:
    """All cuts of a file, in order; n_rows counts rows, blank lines and the fault among them."""

    cuts: tuple[Cut, ...]
    n_rows: int


class Cutter(Protocol):
    """What a framing needs to be cut: fed once, then asked."""

    def feed(self, chunk: bytes) -> None: ...

    def finish(self, fault: tuple[str, str] | None = None) -> Cuts:
        """Cuts of all that was fed. fault: why the stream broke off behind it."""
        ...


def cutter(framing: Framing, part_bytes: int) -> Cutter:
    """Cutter of a text framing."""
    if framing == "lines":
        return LineCutter(part_bytes)
    if framing in ("json_document", "text"):
        return WholeCutter()
    if framing == "yaml":
        from tracekit.yamldocs import YamlCutter

        return YamlCutter(part_bytes)
    return MemberCutter(framing, part_bytes)


class LineCutter:
    """Cuts at the last newline within `part_bytes`, or behind the one line that is longer.

    >>> lines = LineCutter(part_bytes=5)
    >>> lines.feed(b"a\\nb\\nlonger than five\\nc")
    >>> [(cut.first_row, cut.start, cut.end) for cut in lines.finish().cuts]
    [(0, 0, 4), (2, 4, 21), (3, 21, 22)]
    """

    def __init__(self, part_bytes: int) -> None:
        self._part_bytes = part_bytes
        self._cuts: list[Cut] = []
        self._at = 0
        self._start = 0
        self._start_row = 0
        # The last newline seen: the byte behind it, and how many newlines there are up to it.
        self._border = 0
        self._n_newlines = 0

    def feed(self, chunk: bytes) -> None:
        base = self._at
        counted = 0  # newlines before this place of the chunk are in n
        n = self._n_newlines
        while self._start + self._part_bytes < base + len(chunk):
            target = max(0, self._start + self._part_bytes - base)
            place = chunk.rfind(b"\n", max(0, self._start - base), target)
            if place < 0 and self._border > self._start:
                self._cut(self._border, self._n_newlines)
                continue
            if place < 0:
                place = chunk.find(b"\n", target)
                if place < 0:
                    break
            n += chunk.count(b"\n", counted, place + 1)
            counted = place + 1
            self._cut(base + counted, n)
        self._at += len(chunk)
        last = chunk.rfind(b"\n")
        if last >= 0:
            self._border = base + last + 1
            self._n_newlines = n + chunk.count(b"\n", counted)

    def _cut(self, end: int, next_row: int) -> None:
        self._cuts.append(Cut(self._start_row, self._start, end))
        self._start = end
        self._start_row = next_row

    def refuse(self, n_bytes: int, fault: tuple[str, str]) -> None:
        """The next line, of so many bytes with its newline, is a fault; others follow."""
        if self._at > self._start:
            self._cut(self._at, self._n_newlines)
        self._at += n_bytes
        self._cuts.append(Cut(self._n_newlines, self._start, self._at, fault))
        self._n_newlines += 1
        self._start = self._border = self._at
        self._start_row = self._n_newlines

    def finish(self, fault: tuple[str, str] | None = None) -> Cuts:
        n_rows = self._n_newlines
        end = self._at if fault is None else self._border
        if end > self._border:
            n_rows += 1
        if end > self._start:
            self._cut(end, n_rows)
        if fault is not None:
            self._cuts.append(Cut(n_rows, end, self._at, fault))
            n_rows += 1
        return Cuts(tuple(self._cuts), n_rows)


class MemberCutter:
    """Cuts a JSON document between members; what follows broken structure is one fault."""

    def __init__(self, framing: Framing, part_bytes: int) -> None:
        self._scanner = MemberScanner(framing)
        self._part_bytes = part_bytes
        self._cuts: list[Cut] = []
        self._start = -1
        self._start_row = 0
        self._n_rows = 0
        self._end = 0
        self._at = 0

    def feed(self, chunk: bytes) -> None:
        self._at += len(chunk)
        self._take(chunk)

    def _take(self, chunk: bytes) -> None:
        for span in self._scanner.feed(chunk):
            if self._start >= 0 and span.end - self._start > self._part_bytes:
                self._cut()
            if self._start < 0:
                self._start, self._start_row = span.start, self._n_rows
            self._end = span.end
            self._n_rows += 1

    def _cut(self) -> None:
        self._cuts.append(Cut(self._start_row, self._start, self._end))
        self._start = -1

    def finish(self, fault: tuple[str, str] | None = None) -> Cuts:
        if fault is None:
            self._take(b"\n")
            fault = self._scanner.fault()
        if self._start >= 0:
            self._cut()
        if fault is not None:
            self._cuts.append(Cut(self._n_rows, self._end, self._at, fault))
            self._n_rows += 1
        return Cuts(tuple(self._cuts), self._n_rows)


class WholeCutter:
    """One slice: the document is the record."""

    def __init__(self) -> None:
        self._at = 0

    def feed(self, chunk: bytes) -> None:
        self._at += len(chunk)

    def finish(self, fault: tuple[str, str] | None = None) -> Cuts:
        return Cuts((Cut(0, 0, self._at, fault),), 1)
