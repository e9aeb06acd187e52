"""Bytes to records, each with its place: file, row and byte span.

A container yields every record of a slice in order, or one error where the bytes hold none; it
never stops at a bad record and needs the memory of one record. Text is cut at b"\\n" alone: other
line separators of Unicode may stand inside JSON strings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tracekit import yamldocs
from tracekit.codes import Code
from tracekit.cutting import Slice
from tracekit.documents import MemberScanner, member_text
from tracekit.errors import BadRecord, StorageError
from tracekit.framing import READ_BYTES, Limits, open_source, read_source
from tracekit.jsontext import CODES as JSON_CODES
from tracekit.jsontext import parse_counted

HEAD_BYTES = 1 << 20
"""What is kept of the raw bytes of a record that is too large, or of a fault."""

CODES = (
    *JSON_CODES,
    Code(
        name="record_too_large",
        kind="reject",
        what="The record is longer than the limit, 64 MiB where nothing else is said.",
        fix="Raise `record_bytes`, or look whether line ends were lost.",
    ),
    Code(
        name="truncated_stream",
        kind="reject",
        what="The compressed file ends early. Whole records before the cut are kept.",
        why="A download or a writer was interrupted; what is missing is not known.",
        fix="Fetch or write the file again.",
    ),
    Code(
        name="corrupt_stream",
        kind="reject",
        what="The compressed file is damaged. Whole records before the damage are kept.",
        fix="Fetch or write the file again.",
    ),
    Code(
        name="expansion_limit",
        kind="reject",
        what="The file expands beyond the limit (1,000 to one), or asks for too much memory.",
        why="Such a file fills memory and disk; it is an accident or an attack.",
        fix="Raise `expansion_ratio` if the file is yours and right.",
    ),
    Code(
        name="unreadable_member",
        kind="reject",
        what="A member of an archive is encrypted, damaged or packed in an unknown way.",
        fix="Unpack the archive by hand, or fetch it again.",
    ),
    Code(
        name="member_not_json",
        kind="reject",
        what="A member of an archive is neither JSON nor JSON Lines by its name.",
        fix="Unpack it if it holds records.",
    ),
    Code(
        name="invalid_yaml",
        kind="reject",
        what="A document of a YAML file does not parse; the detail says where.",
    ),
    Code(
        name="unreadable_rows",
        kind="reject",
        what="Rows of a Parquet or Arrow file cannot be read from here on.",
        why="The file is damaged or cut; one reject stands for a row group or batch.",
        fix="Fetch or write the file again.",
    ),
)


@dataclass(frozen=True, slots=True)
class RawRecord:
    """One record of a file as it stood."""

    row: int
    raw: bytes | None
    """Bytes as they stood; None for Parquet and Arrow. Of what is too large, HEAD_BYTES."""
    value: Any
    error: tuple[str, str] | None
    """(code, detail) where the bytes hold no record; value is None then."""
    start: int
    end: int
    """Bytes of the opened file, a line with its line end; rows for Parquet and Arrow."""
    key: str | None = None
    """Id under which the record stood, where the file is an object of records by id."""
    repairs: tuple[tuple[str, int], ...] = ()
    """(code, how often) of what was changed to read the value."""


def read_slice(part: Slice, limits: Limits | None = None) -> Iterator[RawRecord]:
    """Records of one slice, in order. Errors of single records are in the record; see `CODES`.

    Raises InputError where the file cannot be opened or read, StorageError where it has become
    shorter since it was planned.
    """
    for _, record in read_slices([part], limits):
        yield record


def read_slices(
    parts: Iterable[Slice], limits: Limits | None = None
) -> Iterator[tuple[Slice, RawRecord]]:
    """Records of several slices, each with its slice; a file is opened once for neighbours."""
    limits = limits or Limits()
    file: Any = None
    path = ""
    try:
        for part in parts:
            if part.framing in ("parquet", "arrow", "arrow_stream"):
                for record in _rows(part, limits):
                    yield part, record
                continue
            if file is None or part.path != path:
                if file is not None:
                    file.close()
                file, path = open_source(part.path), part.path
            for record in _records(file, part, limits):
                yield part, record
    finally:
        if file is not None:
            file.close()


def _records(file: Any, part: Slice, limits: Limits) -> Iterator[RawRecord]:
    file.seek(part.start)
    if part.framing == "lines":
        return _lines(file, part, limits)
    if part.framing == "fault":
        return _fault(file, part)
    if part.framing in ("json_document", "text"):
        return _document(file, part, limits)
    if part.framing == "yaml":
        return _yaml(file, part, limits)
    return _members(file, part, limits)


def _record(row: int, raw: bytes, start: int, end: int, text: bytes, *, keyed: bool) -> RawRecord:
    try:
        parsed = parse_counted(text)
    except BadRecord as error:
        return RawRecord(row, raw, None, (error.code, error.detail), start, end)
    if not keyed:
        return RawRecord(row, raw, parsed.value, None, start, end, None, parsed.repairs)
    ((key, value),) = parsed.value.items()
    return RawRecord(row, raw, value, None, start, end, key, parsed.repairs)


def _too_large(row: int, head: bytes, start: int, end: int, limits: Limits) -> RawRecord:
    detail = f"{end - start:,} bytes; the limit is {limits.record_bytes:,}"
    return RawRecord(row, head[:HEAD_BYTES], None, ("record_too_large", detail), start, end)


def _lines(file: Any, part: Slice, limits: Limits) -> Iterator[RawRecord]:
    limit = limits.record_bytes
    row, at = part.first_row - 1, part.start
    while at < part.end:
        row += 1
        start = at
        # Two more than the limit: a line of just that length may still end in CR and LF.
        line = file.readline(min(limit + 2, part.end - at))
        if not line:
            raise _altered(part, at)
        at += len(line)
        raw = line.removesuffix(b"\n").removesuffix(b"\r")
        if start == 0:
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        if len(raw) > limit:
            while not line.endswith(b"\n") and at < part.end:
                line = file.readline(min(READ_BYTES, part.end - at))
                if not line:
                    raise _altered(part, at)
                at += len(line)
            yield _too_large(row, raw, start, at, limits)
        elif raw and not raw.isspace():
            yield _record(row, raw, start, at, raw, keyed=False)


def _document(file: Any, part: Slice, limits: Limits) -> Iterator[RawRecord]:
    size = part.end - part.start
    if size > limits.record_bytes:
        head = read_source(file, HEAD_BYTES)
        yield _too_large(part.first_row, head, part.start, part.end, limits)
        return
    raw = read_source(file, size)
    if len(raw) < size:
        raise _altered(part, part.start + len(raw))
    if part.framing == "text":
        yield _text(part, raw)
    else:
        yield _record(part.first_row, raw, part.start, part.end, raw, keyed=False)


def _text(part: Slice, raw: bytes) -> RawRecord:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problem = "not_utf8", f"byte {error.start}: {error.reason}"
        return RawRecord(part.first_row, raw, None, problem, part.start, part.end)
    return RawRecord(part.first_row, raw, text, None, part.start, part.end)


def _yaml(file: Any, part: Slice, limits: Limits) -> Iterator[RawRecord]:
    documents = yamldocs.Documents()
    row, at, start = part.first_row, part.start, part.start
    held = bytearray()

    def close(end: int) -> RawRecord:
        raw = bytes(held)
        if end - start > limits.record_bytes:
            return _too_large(row, raw, start, end, limits)
        try:
            return RawRecord(row, raw, yamldocs.value_of(raw), None, start, end)
        except BadRecord as error:
            return RawRecord(row, raw, None, (error.code, error.detail), start, end)

    whole_line = True  # a line may come in pieces; only its beginning can be a mark
    while at < part.end:
        line = file.readline(min(READ_BYTES, part.end - at))
        if not line:
            raise _altered(part, at)
        if whole_line and documents.take(line):
            yield close(at)
            held.clear()
            row, start = row + 1, at
        whole_line = line.endswith(b"\n")
        at += len(line)
        if len(held) <= limits.record_bytes:
            held += line
    if documents.filled:
        yield close(at)


def _fault(file: Any, part: Slice) -> Iterator[RawRecord]:
    raw = read_source(file, min(HEAD_BYTES, part.end - part.start)) if part.end else b""
    yield RawRecord(part.first_row, raw, None, part.fault, part.start, part.end)


def _members(file: Any, part: Slice, limits: Limits) -> Iterator[RawRecord]:
    scanner = MemberScanner(part.framing, inside=True)
    keyed = part.framing == "json_object"
    size = part.end - part.start
    held = bytearray()
    held_from = 0  # place in the slice of the first byte that is held
    row, at = part.first_row, 0
    while at <= size:
        if at < size:
            chunk = read_source(file, min(READ_BYTES, size - at))
            if not chunk:
                raise _altered(part, part.start + at)
            held += chunk
            at += len(chunk)
        else:
            # A bare number ends only with what follows it.
            chunk = b"\n"
            at += 1
        for span in scanner.feed(chunk):
            start, end = part.start + span.start, part.start + span.end
            if span.end - span.start > limits.record_bytes:
                yield _too_large(row, _head(file, start, end), start, end, limits)
            else:
                raw = bytes(held[span.start - held_from : span.end - held_from])
                yield _record(row, raw, start, end, member_text(raw, part.framing), keyed=keyed)
            row += 1
        # A member that is too large is not held; its head is read again when its end is known.
        keep = scanner.pending()
        if at - keep > limits.record_bytes:
            keep = at
        del held[: keep - held_from]
        held_from = keep
    if scanner.fault() is not None:
        raise _altered(part, part.start + scanner.last_end)


def _head(file: Any, start: int, end: int) -> bytes:
    place = file.tell()
    file.seek(start)
    head = read_source(file, min(HEAD_BYTES, end - start))
    file.seek(place)
    return head


def _rows(part: Slice, limits: Limits) -> Iterator[RawRecord]:
    from tracekit.columnar import rows

    for found in rows(part, limits):
        place = found.row
        yield RawRecord(place, None, found.value, found.error, place, place + 1)


def _altered(part: Slice, at: int) -> StorageError:
    return StorageError(
        "the file is not what it was when it was planned",
        where=f"{part.path} (byte {at})",
        expected=f"records up to byte {part.end}",
        fix="run the same command again; leave the input alone while it runs",
    )
