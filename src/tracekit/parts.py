"""Parts: what one worker does at a time, whole units of one source, about 64 MiB of plain bytes.

Parts depend on the bytes of the files, their names and `part_bytes`; never on the number of
workers, on the order in which files were named or on the clock. Every file is read once: hashed,
and cut on the way.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from tracekit import columnar
from tracekit.containers import read_slices
from tracekit.cutting import Cuts, Slice, cutter
from tracekit.dialects.dialect import no_joins
from tracekit.errors import UsageError
from tracekit.framing import Compression, Framing, Limits, open_source, plain_chunks
from tracekit.plugged import detect
from tracekit.spool import COLUMNAR, Hashed, spool

__all__ = ["InputFile", "Part", "Plan", "Slice", "plan_parts", "plan_session_parts", "units"]

PART_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of work."""

    name: str
    """`<batch>-<n>`, as in `000-00007`."""
    source: str
    slices: tuple[Slice, ...]
    plain_bytes: int
    """Plain bytes of all slices; an estimate for Parquet and Arrow."""
    unit_slices: tuple[int, ...] = ()
    """Slices of each unit, in order; empty where every record is a unit."""


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file that was planned."""

    name: str
    """Path below the root of the source, with `/`."""
    path: str
    size_bytes: int
    hash: str
    """xxh3-128 of its bytes as they are on disk, as hexadecimal."""
    compression: Compression
    framing: Framing
    n_rows: int
    """Rows that the slices span: lines with the blank ones, elements, table rows, and a fault."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Parts of one batch of a source, and the files that they were cut from."""

    parts: tuple[Part, ...]
    files: tuple[InputFile, ...]


@dataclass(frozen=True, slots=True)
class _Unit:
    slices: tuple[Slice, ...]
    plain_bytes: int


def units(part: Part) -> Iterator[tuple[Slice, ...]]:
    """Slices of each unit of a part whose units are files or sessions.

    >>> here = [Slice("a", "a", "lines", 0, 0, 5), Slice("b", "b", "lines", 0, 0, 5)]
    >>> part = Part("000-00000", "s", tuple(here), 10, (1, 1))
    >>> [[one.file for one in unit] for unit in units(part)]
    [['a'], ['b']]
    """
    at = 0
    for n in part.unit_slices:
        yield part.slices[at : at + n]
        at += n


def plan_parts(
    source: str,
    root: Path,
    files: Iterable[str | Path],
    *,
    spool_folder: Path,
    batch: int = 0,
    part_bytes: int = PART_BYTES,
    unit: Literal["record", "file"] = "record",
    whole_object_is_record: Callable[[Any], bool] | None = None,
    limits: Limits | None = None,
    progress: Callable[[int], None] | None = None,
) -> Plan:
    """Parts of the files of one source, in the order of their names.

    files: paths below root, absolute or relative to it. whole_object_is_record: see
    `framing.detect`. progress: is called with the number of source bytes that were just read.
    Raises InputError for a file that holds no records or cannot be read.
    """
    planned = _scan(root, files, spool_folder, part_bytes, whole_object_is_record, limits, progress)
    found: list[_Unit] = []
    for _, slices in planned:
        if unit == "file" and slices:
            found.append(_Unit(tuple(s for s, _ in slices), sum(n for _, n in slices)))
        elif unit == "record":
            found.extend(_Unit((one,), n) for one, n in slices)
    parts = _pack(source, batch, found, part_bytes, whole_units=unit == "file")
    return Plan(parts, tuple(file for file, _ in planned))


def plan_session_parts(
    source: str,
    root: Path,
    files: Iterable[str | Path],
    *,
    key: Callable[[Any], str | None],
    joins: Callable[[Any], bool] = no_joins,
    links: Callable[[Any], Sequence[str]] | None = None,
    spool_folder: Path,
    batch: int = 0,
    part_bytes: int = PART_BYTES,
    whole_object_is_record: Callable[[Any], bool] | None = None,
    limits: Limits | None = None,
    progress: Callable[[int], None] | None = None,
) -> Plan:
    """Parts of whole sessions: records with one key are one unit, wherever they stand.

    A record without a key, or one that does not parse, belongs to the session of the record before
    it in its file, or after it where there is none before; a file without any key is a unit.
    Sessions are one unit where a record of one `joins` the record of the other before it. With
    `links` a file is a unit, together with the files whose records share a name with its own.
    Units stand in the order of their first record. Reads every record once more than `plan_parts`.
    """
    planned = _scan(root, files, spool_folder, part_bytes, whole_object_is_record, limits, progress)
    places = _Places()
    labels: dict[str, int] = {}
    n_labels = 0
    for _, slices in planned:
        first = len(places.label)
        weights = {id(one): n / max(1, one.end - one.start) for one, n in slices}
        last = -1
        for one, record in read_slices((s for s, _ in slices), limits):
            if links is not None:
                if last < 0:
                    last = n_labels
                    n_labels += 1
                for shared in links(record.value) if record.error is None else ():
                    other = labels.setdefault(shared, last)
                    if other != last:
                        places.join(last, other)
                places.add(one, record.row, record.start, record.end, last, weights[id(one)])
                continue
            name = None if record.error is not None else key(record.value)
            if name is not None:
                label = labels.get(name)
                if label is None:
                    label = labels[name] = n_labels
                    n_labels += 1
                if last < 0:
                    places.relabel(first, label)
                elif label != last and joins(record.value):
                    places.join(last, label)
                last = label
            places.add(one, record.row, record.start, record.end, last, weights[id(one)])
        if last < 0 and len(places.label) > first:
            places.relabel(first, n_labels)
            n_labels += 1
    found = _units_of(places)
    parts = _pack(source, batch, found, part_bytes, whole_units=True)
    return Plan(parts, tuple(file for file, _ in planned))


class _Places:
    """Places of all records, flat: forty bytes a record."""

    def __init__(self) -> None:
        self.slices: list[Slice] = []
        self.slice = array("q")
        self.row = array("q")
        self.start = array("q")
        self.end = array("q")
        self.label = array("q")
        self.same: dict[int, int] = {}
        """A smaller label that a label was joined with."""
        self.byte_weight: list[float] = []
        """Plain bytes of one step of a slice: 1 for text, an estimate for rows."""

    def add(self, one: Slice, row: int, start: int, end: int, label: int, weight: float) -> None:
        if not self.slices or self.slices[-1] is not one:
            self.slices.append(one)
            self.byte_weight.append(weight)
        self.slice.append(len(self.slices) - 1)
        self.row.append(row)
        self.start.append(start)
        self.end.append(end)
        self.label.append(label)

    def relabel(self, first: int, label: int) -> None:
        for k in range(first, len(self.label)):
            self.label[k] = label

    def join(self, one: int, other: int) -> None:
        """Makes two labels one, the smaller."""
        low, high = sorted((self.joined(one), self.joined(other)))
        if low != high:
            self.same[high] = low

    def joined(self, label: int) -> int:
        """The label that stands for all that were joined with one."""
        root = label
        while root in self.same:
            root = self.same[root]
        while label != root:
            self.same[label], label = root, self.same[label]
        return root


def _units_of(places: _Places) -> list[_Unit]:
    """Units in the order of their first record; neighbours in a file share a slice."""
    slices: dict[int, list[Slice]] = {}
    plain_bytes: dict[int, float] = {}
    before = -1
    for k, own in enumerate(places.label):
        label = places.joined(own)
        where = places.slice[k]
        one = places.slices[where]
        start, end = places.start[k], places.end[k]
        plain_bytes[label] = plain_bytes.get(label, 0) + (end - start) * places.byte_weight[where]
        runs = slices.setdefault(label, [])
        joins = (
            label == before
            and runs[-1].path == one.path
            and runs[-1].framing == one.framing != "fault"
        )
        if joins:
            runs[-1] = replace(runs[-1], end=end)
        else:
            runs.append(replace(one, first_row=places.row[k], start=start, end=end))
        before = label
    return [_Unit(tuple(runs), int(plain_bytes[label])) for label, runs in slices.items()]


def _pack(
    source: str, batch: int, found: Sequence[_Unit], part_bytes: int, *, whole_units: bool
) -> tuple[Part, ...]:
    """Units to parts, in order; a unit larger than `part_bytes` is a part of its own."""
    parts: list[Part] = []
    held: list[_Unit] = []
    size = 0

    def close() -> None:
        nonlocal size
        if held:
            name = f"{batch:03d}-{len(parts):05d}"
            slices = tuple(one for unit in held for one in unit.slices)
            counts = tuple(len(unit.slices) for unit in held) if whole_units else ()
            parts.append(Part(name, source, slices, size, counts))
        held.clear()
        size = 0

    for unit in found:
        if size + unit.plain_bytes > part_bytes:
            close()
        held.append(unit)
        size += unit.plain_bytes
    close()
    return tuple(parts)


def _scan(
    root: Path,
    files: Iterable[str | Path],
    spool_folder: Path,
    part_bytes: int,
    whole_object_is_record: Callable[[Any], bool] | None,
    limits: Limits | None,
    progress: Callable[[int], None] | None,
) -> list[tuple[InputFile, list[tuple[Slice, int]]]]:
    """Every file with its slices and the plain bytes of each."""
    if part_bytes < 1:
        raise UsageError(f"part_bytes is {part_bytes}", expected="a positive number of bytes")
    limits = limits or Limits()
    named = sorted({_name(root, root / file): root / file for file in files}.items())
    planned: list[tuple[InputFile, list[tuple[Slice, int]]]] = []
    for name, path in named:
        detected = detect(path, whole_object_is_record, limits)
        compression, framing = detected
        opened = path
        if compression == "none":
            cuts, digest = _scan_plain(path, framing, part_bytes, progress)
        else:
            spooled = spool(
                path,
                spool_folder,
                detected,
                part_bytes=part_bytes,
                limits=limits,
                progress=progress,
            )
            opened, cuts, digest = spooled.path, spooled.cuts, spooled.hash
        slices = [
            (
                Slice(
                    name,
                    str(opened),
                    "fault" if cut.fault else framing,
                    cut.first_row,
                    cut.start,
                    cut.end,
                    cut.fault,
                ),
                cut.plain_bytes,
            )
            for cut in cuts.cuts
        ]
        size = path.stat().st_size
        file = InputFile(name, str(path), size, digest, compression, framing, cuts.n_rows)
        planned.append((file, slices))
    return planned


def _name(root: Path, path: Path) -> str:
    if path.is_relative_to(root):
        return path.relative_to(root).as_posix()
    # Spooled standard input lies elsewhere; its name is enough.
    return PurePosixPath(path.name).as_posix()


def _scan_plain(
    path: Path, framing: Framing, part_bytes: int, progress: Callable[[int], None] | None
) -> tuple[Cuts, str]:
    with open_source(path) as file:
        hashed = Hashed(file, progress)
        if framing in COLUMNAR:
            return columnar.cuts(path, framing, part_bytes), hashed.hexdigest()
        text = cutter(framing, part_bytes)
        for chunk in plain_chunks(hashed, "none"):
            text.feed(chunk)
        return text.finish(), hashed.hexdigest()
