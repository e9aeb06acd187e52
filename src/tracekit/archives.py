"""Zip archives: each JSON member becomes one line of plain text, each other member one reject.

The line of a member is `{"member": name, "value": ...}`, of a line of a `.jsonl` member also its
`line`. Members are read one by one; nothing is unpacked to a path, so names are only text.
"""

from __future__ import annotations

import lzma
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from tracekit import jsontext
from tracekit.errors import BadRecord, InputError
from tracekit.framing import READ_BYTES, Limits

HEAD_BYTES = 1 << 20
"""What is kept of a member that is refused."""
_ENOUGH_BYTES = 64 << 20
"""Beyond the limit of a record by this much a member is not read on."""
_LINES = (".jsonl", ".ndjson")
_JUNK = ("__MACOSX/", ".DS_Store")
_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    NotImplementedError,
    RuntimeError,  # encrypted, and no password is given
    EOFError,
    OSError,
    ValueError,
    KeyError,
)


class Line(NamedTuple):
    """One line for the spool, without its newline; `fault` where it holds no record."""

    text: bytes
    fault: tuple[str, str] | None


def check(path: str | Path) -> None:
    """Raise InputError where a file is no archive that can be opened, or holds no JSON member."""
    try:
        with zipfile.ZipFile(path) as archive:
            if any(_suffix(name) in (".json", *_LINES) for name in archive.namelist()):
                return
            what = "a zip archive without a JSON member"
    except _ERRORS as error:
        what = f"a zip archive that cannot be opened ({error})"
    raise InputError(
        f"the file is {what}, not a file of records",
        where=str(path),
        expected="JSON Lines, a JSON document, Parquet or Arrow; plain, compressed or zipped",
        fix="name only files of records, or convert this one first",
    )


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def lines(path: str | Path, limits: Limits) -> Iterator[Line]:
    """Lines of all members, in the order of the archive's directory.

    What cannot be read, is no JSON or too large is a line with its fault; an archive that expands
    beyond the limit ends with one.
    """
    allowed = max(
        limits.expansion_free_bytes, limits.expansion_ratio * max(1, Path(path).stat().st_size)
    )
    n_plain_bytes = 0
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            name = info.filename
            if info.is_dir() or name.startswith(_JUNK) or name.endswith(_JUNK):
                continue
            for line, n_bytes in _member(archive, info, limits):
                n_plain_bytes += n_bytes
                if n_plain_bytes > allowed:
                    detail = f"the archive grew to more than {allowed:,} bytes"
                    yield Line(b"", ("expansion_limit", detail))
                    return
                yield line


def _member(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, limits: Limits
) -> Iterator[tuple[Line, int]]:
    """Lines of one member, each with the plain bytes that it took."""
    name = info.filename
    suffix = _suffix(name)
    if suffix not in (".json", *_LINES):
        yield Line(b"", ("member_not_json", name)), 0
        return
    try:
        with archive.open(info) as file:
            if suffix == ".json":
                raw, n_bytes = _read(file, limits.record_bytes)
                yield _line(name, None, raw, n_bytes, limits), n_bytes
                return
            k = 0
            while raw := file.readline(limits.record_bytes + 1):
                n_bytes = len(raw)
                ended = raw.endswith(b"\n")
                while not ended and n_bytes <= limits.record_bytes + _ENOUGH_BYTES:
                    more = file.readline(READ_BYTES)
                    n_bytes += len(more)
                    ended = not more or more.endswith(b"\n")
                if raw.strip():
                    yield _line(name, k, raw, n_bytes, limits), n_bytes
                if not ended:
                    return
                k += 1
    except _ERRORS as error:
        yield Line(b"", ("unreadable_member", f"{name}: {type(error).__name__}: {error}")), 0


def _read(file: Any, limit: int) -> tuple[bytes, int]:
    """Bytes of a member up to a little more than the limit, and how many there are."""
    pieces: list[bytes] = []
    n_bytes = 0
    while chunk := file.read(READ_BYTES):
        if n_bytes <= limit:
            pieces.append(chunk)
        n_bytes += len(chunk)
        if n_bytes > limit + _ENOUGH_BYTES:
            break
    return b"".join(pieces), n_bytes


def _line(name: str, k: int | None, raw: bytes, n_bytes: int, limits: Limits) -> Line:
    flat = raw.removeprefix(b"\xef\xbb\xbf").replace(b"\n", b" ").replace(b"\r", b" ").strip()
    if n_bytes > limits.record_bytes:
        detail = f"{name}: more than {limits.record_bytes:,} bytes"
        return Line(flat[:HEAD_BYTES], ("record_too_large", detail))
    try:
        jsontext.parse(flat)  # one value, and nothing that would speak for the line around it
    except BadRecord as error:
        return Line(flat[:HEAD_BYTES], (error.code, f"{name}: {error.detail}"))
    place = b"" if k is None else b',"line":%d' % k
    named = jsontext.dump(name).encode()
    return Line(b'{"member":' + named + place + b',"value":' + flat + b"}", None)
