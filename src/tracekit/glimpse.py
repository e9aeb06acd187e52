"""Head, middle and tail of a file: sampled records, and how many there are, without the rest.

What is read does not grow with the file: a mebibyte of its head, a quarter of its middle and of
its tail. A number of records is exact where the whole file was seen or a footer tells it, and an
estimate from the bytes of the seen ones elsewhere. Of a document that is longer than its head the
beginning is a value: what is open at the cut is closed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from tracekit import columnar, plugged
from tracekit.containers import read_slices
from tracekit.cutting import Slice
from tracekit.documents import MemberScanner, member_text
from tracekit.errors import BadRecord, InputError
from tracekit.framing import (
    Compression,
    Framing,
    StreamFault,
    compression_of,
    framing_of,
    open_source,
    plain_chunks,
    read_source,
)
from tracekit.jsonheads import head_value
from tracekit.jsontext import parse
from tracekit.parts import plan_parts

HEAD_BYTES = 1 << 20
PIECE_BYTES = 1 << 18
"""Of the middle, and of the tail."""
WHOLE_BYTES = 16 << 20
"""An archive, YAML or other file that has to be read whole is looked into up to this size."""
_TEXT_FRAMINGS: tuple[Framing, ...] = (
    "lines", "json_array", "json_object", "json_values", "json_document",
)  # fmt: skip


@dataclass(slots=True)
class Glimpse:
    """What was seen of one file."""

    path: Path
    n_bytes: int
    compression: str
    framing: Framing
    values: list[Any] = field(default_factory=list)
    """Sampled records, those of the head first."""
    places: list[str] = field(default_factory=list)
    """Place of each value of the head, as the file's name has it behind itself: `:3`, `[2]`."""
    n_records: int = 0
    exact: bool = True
    """Is the number of records counted, or estimated from the seen ones?"""
    problems: list[str] = field(default_factory=list)
    """What is broken at the seen places."""

    @property
    def container(self) -> str:
        """Framing and compression in a word: `jsonl`, `json array, gzip`."""
        word = _WORDS.get(self.framing, self.framing.replace("_", " "))
        if self.compression == "none":
            return word
        return self.compression if self.framing == "lines" and _own(self) else (
            f"{word}, {self.compression}"
        )  # fmt: skip


_WORDS = {"lines": "jsonl", "json_document": "json"}


def _own(seen: Glimpse) -> bool:
    """Is the container a format of its own, whose records are only spooled as lines?"""
    return seen.compression not in ("gzip", "zstd", "xz", "bz2")


def glimpse(path: Path, n_samples: int, is_record: Callable[[Any], bool]) -> Glimpse:
    """Look into a file; about `n_samples` records of its head and half as many further on.

    Raises InputError for a file that holds no records or cannot be read.
    """
    size = path.stat().st_size
    with open_source(path) as file:
        compression = compression_of(read_source(file, 8))
    if compression == "zip":
        return _whole(path, size, n_samples, is_record)
    head, ended, fault = _head(path, compression)
    try:
        framing = framing_of(iter((head,) if head else ()), str(path), is_record)
    except InputError:
        if plugged.container_of(path) is None:
            raise
        return _whole(path, size, n_samples, is_record)
    if framing not in _TEXT_FRAMINGS and framing not in _COLUMNAR and framing != "text":
        return _whole(path, size, n_samples, is_record)
    if framing == "json_document" and not ended and _ends_in_a_line(path, compression, size):
        framing = "lines"  # the first line is longer than the head
    seen = Glimpse(path, size, compression, framing)
    if fault is not None:
        seen.problems.append(fault)
    if framing in _COLUMNAR:
        if compression != "none":
            return _whole(path, size, n_samples, is_record)
        _rows(seen, n_samples)
    elif framing == "text":
        seen.values, seen.places, seen.n_records = [head.decode("utf-8-sig", "replace")], [""], 1
    elif framing == "json_document":
        _document(seen, head, ended)
    elif framing == "lines":
        _lines(seen, head, ended, n_samples)
    else:
        _members(seen, head, ended, n_samples)
    return seen


_COLUMNAR: tuple[Framing, ...] = ("parquet", "arrow", "arrow_stream")


def _head(path: Path, compression: Compression) -> tuple[bytes, bool, str | None]:
    """First plain bytes, whether these are all, and what is wrong with the stream."""
    pieces: list[bytes] = []
    n = 0
    with open_source(path) as file:
        chunks = plain_chunks(file, compression)
        try:
            for chunk in chunks:
                pieces.append(chunk)
                n += len(chunk)
                if n > HEAD_BYTES:
                    break
            else:
                return b"".join(pieces), True, None
        except StreamFault as error:
            return b"".join(pieces)[:HEAD_BYTES], n <= HEAD_BYTES, f"{error.code}: {error.detail}"
    return b"".join(pieces)[:HEAD_BYTES], False, None


def _piece(seen: Glimpse, start: int) -> bytes:
    with open_source(seen.path) as file:
        file.seek(start)
        return read_source(file, PIECE_BYTES)


def _ends_in_a_line(path: Path, compression: Compression, size: int) -> bool:
    """Is the last line of a plain file a JSON value by itself, with a line before it?"""
    if compression != "none":
        return False
    with open_source(path) as file:
        file.seek(max(0, size - PIECE_BYTES))
        before, newline, last = read_source(file, PIECE_BYTES).rstrip().rpartition(b"\n")
    return bool(newline and before and last[:1] in b"{[") and _parsed(last)[0] is not None


def _parsed(text: bytes) -> tuple[Any, str | None]:
    try:
        return parse(text), None
    except BadRecord as error:
        return None, str(error)


def _lines(seen: Glimpse, head: bytes, ended: bool, n_samples: int) -> None:
    lines = head.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    if not ended and len(lines) > 1:
        lines.pop()
    filled = [(k, line) for k, line in enumerate(lines) if line and not line.isspace()]
    for k, line in filled[:n_samples]:
        value, problem = _parsed(line) if ended or len(lines) > 1 else (head_value(line), None)
        if problem is None:
            seen.values.append(value)
            seen.places.append(f":{k + 1}")
        else:
            seen.problems.append(f"line {k + 1}: {problem}")
    seen.n_records = len(filled)
    if ended:
        for k, line in filled[max(n_samples, len(filled) - n_samples // 4) :]:
            _add(seen, line, f"line {k + 1}")
        return
    seen.exact = False
    n_bytes, n_lines = sum(map(len, lines)) + len(lines), len(filled)
    if seen.compression == "none":
        for start in (seen.n_bytes // 2, max(0, seen.n_bytes - PIECE_BYTES)):
            whole = _piece(seen, start).split(b"\n")
            last = start + PIECE_BYTES >= seen.n_bytes
            inner = [line for line in (whole[1:] if last else whole[1:-1]) if line.strip()]
            n_bytes += sum(map(len, inner)) + len(inner)
            n_lines += len(inner)
            few = max(1, n_samples // 4)
            for line in inner[-few:] if last else inner[:few]:
                _add(seen, line, "the last line" if line is inner[-1] and last else "a later line")
        seen.n_records = max(seen.n_records, round(seen.n_bytes * n_lines / max(1, n_bytes)))
    else:
        seen.n_records = _grown(seen, len(head), n_lines)


def _add(seen: Glimpse, line: bytes, where: str) -> None:
    value, problem = _parsed(line)
    if problem is None:
        seen.values.append(value)
    else:
        seen.problems.append(f"{where}: {problem}")


class _Counted:
    """An open file that counts what is read from it."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.n_bytes = 0

    def read(self, size: int, /) -> bytes:
        chunk = read_source(self.file, size)
        self.n_bytes += len(chunk)
        return chunk


def _grown(seen: Glimpse, n_plain_bytes: int, n_records: int) -> int:
    """Records of a compressed file, where so many plain bytes hold so many of them.

    What a decoder was fed is spent when it is fed again: only there are both sides known.
    """
    n_fed = n_made = n_before = n_spent = 0
    with open_source(seen.path) as file:
        counted = _Counted(file)
        try:
            for chunk in plain_chunks(counted, seen.compression):
                if counted.n_bytes > n_before:
                    n_fed, n_before, n_spent = n_before, counted.n_bytes, n_made
                    if n_fed and n_made >= 4 * HEAD_BYTES:
                        break
                n_made += len(chunk)
                if n_made >= 64 * HEAD_BYTES:
                    break
            else:
                n_fed, n_spent = seen.n_bytes, n_made
        except StreamFault as error:
            seen.problems.append(f"{error.code}: {error.detail}")
            n_fed, n_spent = counted.n_bytes, n_made
    plain_bytes = n_spent * seen.n_bytes / n_fed if n_fed else n_made
    return max(n_records, round(n_records * plain_bytes / n_plain_bytes))


def _members(seen: Glimpse, head: bytes, ended: bool, n_samples: int) -> None:
    scanner = MemberScanner(seen.framing)
    spans = list(scanner.feed(head + b"\n" if ended else head))
    seen.n_records = len(spans)
    few = max(1, n_samples // 4)
    rows = [*range(len(spans))[:n_samples], *range(len(spans))[max(n_samples, len(spans) - few) :]]
    for k in rows:
        text = head[spans[k].start : spans[k].end]
        value, problem = _parsed(member_text(text, seen.framing))
        if problem is not None:
            seen.problems.append(f"record {k}: {problem}")
            continue
        if seen.framing == "json_object":
            ((key, value),) = value.items()
            if isinstance(value, dict) and "id" not in value:
                value = {"id": key, **value}
        seen.values.append(value)
        if k < n_samples:
            seen.places.append(f"[{k}]")
    if ended:
        fault = scanner.fault()
        if fault is not None:
            seen.problems.append(f"{fault[0]}: {fault[1]}")
        return
    seen.exact = False
    if not spans:
        value = head_value(head)
        inner = value if isinstance(value, list) else list((value or {}).values())
        seen.values, seen.places, seen.n_records = inner[:1], ["[0]"], 1
    elif seen.compression == "none":
        seen.n_records = round(len(spans) * seen.n_bytes / spans[-1].end)
    else:
        seen.n_records = _grown(seen, spans[-1].end, len(spans))
    _check_end(seen)


def _document(seen: Glimpse, head: bytes, ended: bool) -> None:
    seen.n_records = 1
    if ended:
        value, problem = _parsed(head)
        if problem is not None:
            seen.problems.append(problem)
            return
    else:
        value = head_value(head)
        _check_end(seen)
    seen.values, seen.places = [value], [""]


def _check_end(seen: Glimpse) -> None:
    """Does a document end with the bracket that it must end with?"""
    closing = {"json_array": b"]", "json_object": b"}", "json_document": b"]}"}.get(seen.framing)
    if seen.compression == "none" and closing is not None:
        last = _piece(seen, max(0, seen.n_bytes - 1024)).rstrip()[-1:]
        if last not in {closing[k : k + 1] for k in range(len(closing))}:
            seen.problems.append("truncated_json: the document ends before its last bracket")


def _rows(seen: Glimpse, n_samples: int) -> None:
    """Sampled rows of a table, from the beginning of its first, middle and last group."""
    cuts = columnar.cuts(seen.path, seen.framing, 1)
    for cut in cuts.cuts:
        if cut.fault is not None:
            seen.problems.append(": ".join(cut.fault))
    groups = [cut for cut in cuts.cuts if cut.fault is None and cut.end > cut.start]
    seen.n_records = sum(cut.end - cut.start for cut in groups)
    picked = dict.fromkeys([0, len(groups) // 2, len(groups) - 1]) if groups else ()
    for k in picked:
        start = groups[k].start
        n = n_samples if k == 0 else max(1, n_samples // 4)
        end = min(start + n, groups[k].end)
        part = Slice(seen.path.name, str(seen.path), seen.framing, start, start, end)
        _take(seen, islice(read_slices([part]), n), n_places=n if k == 0 else 0)


def _take(seen: Glimpse, found: Iterator[tuple[Slice, Any]], n_places: int) -> None:
    for _, record in found:
        if record.error is not None:
            seen.problems.append(f"row {record.row}: {': '.join(record.error)}")
            continue
        seen.values.append(record.value)
        if n_places:
            seen.places.append(f"[{record.row}]")


def whole_records(
    path: Path, is_record: Callable[[Any], bool], spool_folder: Path
) -> tuple[Any, Iterator[tuple[Slice, Any]]]:
    """The planned file and all its records, as an ingest reads them."""
    plan = plan_parts(
        "s", path.parent, [path.name], spool_folder=spool_folder, whole_object_is_record=is_record
    )
    return plan.files[0], read_slices(s for part in plan.parts for s in part.slices)


def _whole(path: Path, size: int, n_samples: int, is_record: Callable[[Any], bool]) -> Glimpse:
    """A file that can only be read whole: an archive, YAML, the container of a third party."""
    if size > WHOLE_BYTES:
        raise InputError(
            f"the file has to be read whole, and is larger than {WHOLE_BYTES:,} bytes",
            where=str(path),
        )
    with tempfile.TemporaryDirectory(prefix="tracekit-") as folder:
        planned, found = whole_records(path, is_record, Path(folder))
        seen = Glimpse(path, size, planned.compression, planned.framing)
        records = list(found)
        seen.n_records = len(records)
        step = max(1, len(records) // n_samples)
        _take(seen, iter(records[::step][: n_samples + 1]), n_places=n_samples)
    return seen
