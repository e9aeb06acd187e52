"""The spool: plain bytes of inputs that cannot be sought, written once and cut while they pass.

A compressed file becomes one plain file and an index, written last: a file without an index is not
there. The index names what it was made from, so a second call with the same input finds it and
reads nothing. The source is hashed on the way, all of it, also behind a fault.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson
import xxhash

from tracekit import archives, columnar, door, plugged
from tracekit.cutting import Cut, Cuts, LineCutter, cutter
from tracekit.framing import (
    READ_BYTES,
    Detected,
    Framing,
    Limits,
    Source,
    StreamFault,
    open_source,
    plain_chunks,
    read_source,
)

_VERSION = 1
_PRIVATE = 0o600  # the spool holds raw records

COLUMNAR: tuple[Framing, ...] = ("parquet", "arrow", "arrow_stream")
"""Framings that are cut by rows, not by bytes."""


@dataclass(frozen=True, slots=True)
class Spooled:
    """Plain bytes of one input."""

    path: Path
    cuts: Cuts
    hash: str
    """xxh3-128 of the source bytes, as hexadecimal."""


class Hashed:
    """An open file that hashes what is read from it and reports how much that was."""

    def __init__(self, file: Source, progress: Callable[[int], None] | None = None) -> None:
        self._file = file
        self._hash = xxhash.xxh3_128()
        self._progress = progress

    def read(self, size: int, /) -> bytes:
        chunk = read_source(self._file, size)
        self._hash.update(chunk)
        if self._progress is not None:
            self._progress(len(chunk))
        return chunk

    def hexdigest(self) -> str:
        """Hash of the whole file: what was not read yet is read now."""
        while self.read(READ_BYTES):
            pass
        return self._hash.hexdigest()


def spool(
    source: Path,
    folder: Path,
    detected: Detected,
    *,
    part_bytes: int,
    limits: Limits,
    progress: Callable[[int], None] | None = None,
) -> Spooled:
    """Plain bytes of a compressed file under `folder`, with the cuts of its records.

    A stream that ends early, is damaged or expands beyond the limit gives all records before the
    fault, and the fault. Raises InputError where the source cannot be read, StorageError where the
    spool cannot be written.
    """
    home = home_of(source, folder)
    plain, index = home / "plain", home / "index.json"
    state = source.stat()
    made_from = {
        "version": _VERSION,
        "source": str(source.absolute()),
        "source_bytes": state.st_size,
        "mtime_ns": state.st_mtime_ns,
        "compression": detected.compression,
        "framing": detected.framing,
        "part_bytes": part_bytes,
        "limits": asdict(limits),
    }
    known = _read_index(index, plain, made_from)
    if known is not None:
        if progress is not None:
            progress(state.st_size)
        return known
    with open_source(source) as file:
        hashed = Hashed(file, progress)
        own = plugged.containers().get(detected.compression)
        if own is not None:
            cuts = _write_lines(plain, plugged.lines(source, own), part_bytes)
        elif detected.compression == "zip":
            cuts = _write_lines(plain, archives.lines(source, limits), part_bytes)
        else:
            cuts = _write_plain(plain, hashed, detected, part_bytes, limits)
        digest = hashed.hexdigest()
    door.write_json(
        index,
        {
            "made_from": made_from,
            "hash": digest,
            "plain_bytes": plain.stat().st_size,
            "n_rows": cuts.n_rows,
            "cuts": [
                [cut.first_row, cut.start, cut.end, cut.fault, cut.estimated_bytes]
                for cut in cuts.cuts
            ],
        },
    )
    return Spooled(plain, cuts, digest)


def home_of(source: Path, folder: Path) -> Path:
    """Folder of one input in the spool: named by a hash, never by a name from outside."""
    return folder / xxhash.xxh3_64_hexdigest(
        str(source.absolute()).encode("utf-8", "surrogateescape")
    )


def discard(source: Path, folder: Path) -> None:
    """Delete what is spooled of one input; its index goes first."""
    home = home_of(source, folder)
    with door.guarded("delete", home):
        (home / "index.json").unlink(missing_ok=True)
        shutil.rmtree(home, ignore_errors=True)


def spool_stdin(stream: Source, folder: Path) -> Path:
    """Everything that a stream holds, as the file `stdin.jsonl` of the spool, byte for byte."""
    path = folder / "stdin" / "stdin.jsonl"
    with door.write_stream(path, mode=_PRIVATE) as out:
        while chunk := read_source(stream, READ_BYTES):
            out.write(chunk)
    return path


def _write_plain(
    plain: Path, source: Source, detected: Detected, part_bytes: int, limits: Limits
) -> Cuts:
    compression, framing = detected
    text = None if framing in COLUMNAR else cutter(framing, part_bytes)
    fault: tuple[str, str] | None = None

    def chunks() -> Iterator[bytes]:
        nonlocal fault
        try:
            yield from plain_chunks(source, compression, limits)
        except StreamFault as error:
            fault = (error.code, error.detail)

    with door.write_stream(plain, mode=_PRIVATE) as out:
        for chunk in chunks():
            out.write(chunk)
            if text is not None:
                text.feed(chunk)
    if text is not None:
        return text.finish(fault)
    if fault is not None:
        return Cuts((Cut(0, 0, 0, fault),), 1)
    return columnar.cuts(plain, framing, part_bytes)


def _write_lines(
    plain: Path, found: Iterable[tuple[bytes, tuple[str, str] | None]], part_bytes: int
) -> Cuts:
    """Lines of an archive or of the container of a package; one with a fault is a reject."""
    lines = LineCutter(part_bytes)
    with door.write_stream(plain, mode=_PRIVATE) as out:
        for text, fault in found:
            line = text + b"\n"
            out.write(line)
            if fault is None:
                lines.feed(line)
            else:
                lines.refuse(len(line), fault)
    return lines.finish()


def _read_index(index: Path, plain: Path, made_from: dict[str, Any]) -> Spooled | None:
    try:
        found = orjson.loads(index.read_bytes())
        if found["made_from"] != made_from or plain.stat().st_size != found["plain_bytes"]:
            return None
        cuts = tuple(
            Cut(row, start, end, tuple(fault) if fault else None, estimated)
            for row, start, end, fault, estimated in found["cuts"]
        )
        return Spooled(plain, Cuts(cuts, found["n_rows"]), found["hash"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # no index, or one of another version: the plain bytes are made anew


def hash_of(path: Path) -> str:
    """xxh3-128 of a file's bytes as they are on disk, as hexadecimal."""
    with open_source(path) as file:
        hashed = Hashed(file)
        while hashed.read(READ_BYTES):
            pass
        return hashed.hexdigest()
