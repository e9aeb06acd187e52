"""How a file holds its records: compression by magic bytes, framing by structure, never by name.

`detect` looks at the first bytes; `plain_chunks` gives the plain bytes of a compressed file in
bounded memory. A stream that ends early, is damaged or grows beyond its limit raises `StreamFault`
after the last byte before the fault was given, so that whole records before it are kept.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

from tracekit.errors import BadRecord, InputError
from tracekit.jsontext import parse

Compression: TypeAlias = str  # none, gzip, zstd, xz, bz2, zip, or a container of `plugged`
Framing: TypeAlias = Literal[
    "lines",  # JSON Lines: one record a line
    "json_array",  # one JSON document: the elements of an array
    "json_object",  # one JSON document: the values of an object keyed by id
    "json_values",  # JSON values one after the other, each over several lines
    "json_document",  # one JSON document that is one record
    "text",  # UTF-8 text that is one record, where a dialect reads such text
    "yaml",  # YAML documents, each one record
    "parquet",
    "arrow",  # Arrow IPC file (Feather 2)
    "arrow_stream",
    "fault",  # a place where a stream or document breaks off: one reject, no record
]

READ_BYTES = 1 << 20
_COMPRESSED_READ_BYTES = 1 << 14  # what follows the end of a member is copied: keep it small
_OUT_BYTES = 1 << 20
# A zstd block of 4 bytes can stand for 128 KiB; at this feed the output stays below 33 MiB.
_ZSTD_FEED_BYTES = 1 << 10
_PREFIX_BYTES = 1 << 20
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one record, and one compressed file, may ask for at most."""

    record_bytes: int = 64 << 20
    expansion_ratio: int = 1000
    """Plain bytes for one compressed byte; gzip itself reaches 1,029."""
    expansion_free_bytes: int = 64 << 20
    """Below this many plain bytes any ratio is fine."""
    window_bytes: int = 128 << 20
    """Memory that a decompressor may reserve: what the zstd tool allows by default."""


class StreamFault(Exception):
    """A compressed stream cannot be read on: truncated_stream, corrupt_stream, expansion_limit."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class Source(Protocol):
    """An open binary file, or something that hashes what is read from it."""

    def read(self, size: int, /) -> bytes: ...


class Detected(NamedTuple):
    compression: Compression
    framing: Framing


_COMPRESSIONS: tuple[tuple[bytes, Compression], ...] = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"BZh", "bz2"),
    (b"PK\x03\x04", "zip"),
)
_NOT_RECORDS: tuple[tuple[bytes, str], ...] = (
    (b"%PDF", "a PDF document"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"\x93NUMPY", "a numpy array"),
    (b"\x89HDF", "an HDF5 file"),
    (b"Obj\x01", "an Avro file"),
    (b"ORC", "an ORC file"),
    (b"PARE", "an encrypted Parquet file"),
    (b"FEA1", "a Feather file of version 1"),
    (b"\x7fELF", "a program"),
    (b"\x80\x04\x95", "a Python pickle"),
    (b"\xff\xfe", "text in UTF-16"),
    (b"\xfe\xff", "text in UTF-16"),
)


def compression_of(head: bytes) -> Compression:
    """Compression of a file by its first bytes.

    >>> compression_of(b"BZh91AY"), compression_of(b"{}")
    ('bz2', 'none')
    """
    if head[1:4] == b"\x2a\x4d\x18" and 0x50 <= head[0] <= 0x5F:
        return "zstd"  # a skippable frame
    for magic, name in _COMPRESSIONS:
        if head.startswith(magic):
            return name
    return "none"


def read_source(file: Source, size: int) -> bytes:
    """Bytes of an input file; an I/O error names what it is about."""
    try:
        return file.read(size)
    except OSError as error:
        raise InputError(
            f"reading failed: {error.strerror or error}",
            where=str(getattr(file, "name", "input")),
            fix="check the file and its disk, then run the same command again",
        ) from error


def open_source(path: str | Path) -> Any:
    """An input file, opened; InputError where that fails."""
    try:
        return open(path, "rb")
    except OSError as error:
        raise InputError(
            f"cannot open the file: {error.strerror or error}",
            where=str(path),
            expected="a readable file",
        ) from error


def plain_chunks(
    file: Source, compression: Compression, limits: Limits | None = None
) -> Iterator[bytes]:
    """Plain bytes of a file in chunks of at most 33 MiB; all members or frames of it.

    Raises StreamFault behind the last plain byte that could be read, InputError for I/O errors.
    """
    limits = limits or Limits()
    if compression == "none":
        while chunk := read_source(file, READ_BYTES):
            yield chunk
        return
    counted = _Counted(file)
    n_plain_bytes = 0
    for chunk in _members(counted, compression, limits):
        allowed = max(limits.expansion_free_bytes, limits.expansion_ratio * counted.n_bytes)
        within = chunk[: max(0, allowed - n_plain_bytes)]
        n_plain_bytes += len(chunk)
        if within:
            yield within  # records before the limit are kept
        if n_plain_bytes > allowed:
            raise StreamFault(
                "expansion_limit",
                f"{counted.n_bytes:,} bytes grew to {n_plain_bytes:,}; "
                f"the limit is {limits.expansion_ratio:,} to one",
            )


class _Counted:
    def __init__(self, file: Source) -> None:
        self.file = file
        self.n_bytes = 0

    def read(self, size: int, /) -> bytes:
        chunk = read_source(self.file, size)
        self.n_bytes += len(chunk)
        return chunk


def _members(file: _Counted, compression: Compression, limits: Limits) -> Iterator[bytes]:
    import zstandard

    new, feed = _decoder(compression, limits)
    decoder: Any = None
    rest = b""
    n_members = 0
    try:
        while data := rest or file.read(_COMPRESSED_READ_BYTES):
            rest = b""
            if decoder is None:
                # gzip and xz files may be padded with zeros behind a member.
                data = data.lstrip(b"\0") if n_members else data
                if not data:
                    continue
                decoder = new()
            rest = yield from feed(decoder, data)
            if decoder.eof:
                decoder = None
                n_members += 1
    except (zlib.error, lzma.LZMAError, zstandard.ZstdError, OSError, EOFError) as error:
        # "Memory usage limit exceeded" (xz), "Frame requires too much memory" (zstd).
        bomb = "emory" in str(error)
        raise StreamFault(
            "expansion_limit" if bomb else "corrupt_stream",
            f"{compression}, after {file.n_bytes:,} bytes: {error}",
        ) from None
    if decoder is not None:
        raise StreamFault(
            "truncated_stream", f"the {compression} stream ends early, at byte {file.n_bytes:,}"
        )


_Feed: TypeAlias = Generator[bytes, None, bytes]


def _decoder(
    compression: Compression, limits: Limits
) -> tuple[Callable[[], Any], Callable[[Any, bytes], _Feed]]:
    if compression == "gzip":
        return lambda: zlib.decompressobj(wbits=31), _feed_zlib
    if compression == "xz":
        return lambda: lzma.LZMADecompressor(memlimit=limits.window_bytes), _feed_buffered
    if compression == "bz2":
        return bz2.BZ2Decompressor, _feed_buffered
    import zstandard

    reader = zstandard.ZstdDecompressor(max_window_size=limits.window_bytes)
    return reader.decompressobj, _feed_zstd


def _feed_zlib(decoder: Any, data: bytes) -> _Feed:
    while True:
        out = decoder.decompress(data, _OUT_BYTES)
        if out:
            yield out
        if decoder.eof:
            return bytes(decoder.unused_data)
        data = decoder.unconsumed_tail
        if not data and len(out) < _OUT_BYTES:
            return b""


def _feed_buffered(decoder: Any, data: bytes) -> _Feed:
    while True:
        out = decoder.decompress(data, _OUT_BYTES)
        data = b""
        if out:
            yield out
        if decoder.eof:
            return bytes(decoder.unused_data)
        if decoder.needs_input:
            return b""


def _feed_zstd(decoder: Any, data: bytes) -> _Feed:
    for at in range(0, len(data), _ZSTD_FEED_BYTES):
        end = at + _ZSTD_FEED_BYTES
        out = decoder.decompress(data[at:end])
        if out:
            yield out
        if decoder.eof:
            return bytes(decoder.unused_data) + data[end:]
    return b""


def detect(
    path: str | Path,
    whole_is_record: Callable[[Any], bool] | None = None,
    limits: Limits | None = None,
) -> Detected:
    """Compression and framing of a file.

    whole_is_record: does a value look like one record? It decides whether a document that is one
    object is a record or a table of records by id, and is asked with the first elements of a
    document that is one array (a bare list of messages is one record). Without it an object is one
    record and an array holds records. Text that is no JSON holds records only where it says so, of
    the text or of its first YAML document. Raises InputError for files that hold no records.
    """
    with open_source(path) as file:
        compression = compression_of(read_source(file, 8))
        if compression == "zip":
            from tracekit import archives

            archives.check(path)
            return Detected(compression, "lines")
        file.seek(0)
        framing = framing_of(
            plain_chunks(file, compression, limits), str(path), whole_is_record, limits
        )
    return Detected(compression, framing)


def framing_of(
    chunks: Iterator[bytes],
    where: str,
    whole_is_record: Callable[[Any], bool] | None = None,
    limits: Limits | None = None,
) -> Framing:
    """Framing of plain bytes; reads no more of them than it needs. See `detect`."""
    from tracekit.documents import text_framing

    limits = limits or Limits()
    prefix = _Prefix(chunks)
    head = prefix.upto(_PREFIX_BYTES)
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b"ARROW1\x00\x00"):
        return "arrow"
    if head.startswith(b"\xff\xff\xff\xff") and head[7:8] == b"\x00":
        return "arrow_stream"
    for magic, name in _NOT_RECORDS:
        if head.startswith(magic):
            raise _no_records(where, name)
    if head[257:262] == b"ustar":
        raise _no_records(where, "a tar archive")
    text = head.removeprefix(_BOM).lstrip()
    if not text:
        # Blank as far as it goes: no record, or blank lines before the first one.
        return "lines"
    if text[:1] not in (b"{", b"["):
        if any(_is_container(line) for line in text.split(b"\n", 100)[:100]):
            return "lines"
        return _prose_framing(head, where, whole_is_record)
    return text_framing(prefix, whole_is_record, limits)


def _prose_framing(
    head: bytes, where: str, whole_is_record: Callable[[Any], bool] | None
) -> Framing:
    """Framing of what is no JSON: text or YAML that somebody reads."""
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # else a character that the prefix cuts
            raise _no_records(where, "binary data, or text in no UTF-8") from None
        text = head[: error.start].decode("utf-8-sig")
    if "\0" in text:
        raise _no_records(where, "binary data")
    if whole_is_record is None:
        raise _no_records(where, "text that is no JSON")
    if whole_is_record(text):
        return "text"
    from tracekit import yamldocs

    value = yamldocs.first_value(text) if yamldocs.may_begin(text) else None
    if isinstance(value, (dict, list)) and whole_is_record(value):
        return "yaml"
    raise _no_records(where, "text that is no JSON and that no dialect reads")


def _no_records(where: str, what: str) -> InputError:
    return InputError(
        f"the file is {what}, not a file of records",
        where=where,
        expected="JSON, JSON Lines, Parquet, Arrow, text of a dialect; plain, zip, gzip, zstd, xz",
        fix="name only files of records, or convert this one first",
    )


def _is_container(line: bytes) -> bool:
    """Is a line whole JSON, an object or an array?"""
    if line.lstrip()[:1] not in (b"{", b"["):
        return False
    try:
        parse(line)
    except BadRecord:
        return False
    return True


class _Prefix:
    """The first bytes of a stream, read as far as somebody asked."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self.chunks = chunks
        self.head = b""
        self.ended = False

    def upto(self, size: int) -> bytes:
        """At least `size` bytes where the stream has them; a fault in it counts as its end."""
        pieces = [self.head]
        n = len(self.head)
        while n < size and not self.ended:
            chunk = self.next()
            pieces.append(chunk)
            n += len(chunk)
        self.head = b"".join(pieces)
        return self.head

    def next(self) -> bytes:
        try:
            chunk = next(self.chunks, b"")
        except StreamFault:
            chunk = b""
        self.ended = not chunk
        return chunk
