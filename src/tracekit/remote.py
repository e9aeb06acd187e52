"""Inputs that lie elsewhere: addresses that fsspec opens, and data sets of the Hugging Face Hub.

What is fetched is written once to plain files in the spool and read from there like any other file.
`s3://bucket/folder`, `https://...`, `memory://...`: the files of records behind an address.
`hf:org/name[/config][@revision][:split]`: the rows of a data set, one Parquet file a split.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import xxhash

from tracekit import door
from tracekit.errors import InputError, TracekitError, UsageError
from tracekit.framing import READ_BYTES

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://")
_HUB = re.compile(
    r"hf:(?P<name>[\w.-]+(?:/[\w.-]+)?)(?:/(?P<config>[\w.+-]+))?"
    r"(?:@(?P<revision>[^:@]+))?(?::(?P<split>[\w.\[\]%:+-]+))?"
)
_PRIVATE = 0o600  # what was fetched holds raw records
_BATCH_ROWS = 1000
_EXTRA = "remote"
"""The extra that installs what fsspec needs for the usual stores."""


class Fetched(NamedTuple):
    """Files of one remote input, below a root of their own in the spool."""

    root: Path
    files: tuple[Path, ...]
    skipped: tuple[tuple[str, str], ...]
    """(address, reason) of what was not fetched."""


def is_remote(path: str) -> bool:
    """Is a path of a user an address or a data set?

    >>> is_remote("hf:org/name"), is_remote("s3://bucket/a.jsonl"), is_remote("./a.jsonl")
    (True, True, False)
    """
    return path.startswith("hf:") or _ADDRESS.match(path) is not None


def name_of(path: str) -> str:
    """Name of the source that a remote path is.

    >>> name_of("hf:org/sums@main:train"), name_of("s3://bucket/runs/*.jsonl")
    ('sums', 'runs')
    """
    found = _HUB.fullmatch(path)
    if found is not None:
        return found.group("name").rsplit("/", 1)[-1]
    parts = [p for p in re.split(r"[/\\]", path.partition("://")[2]) if p and "*" not in p]
    if len(parts) > 1 and PurePosixPath(parts[-1]).suffix:
        parts.pop()
    return re.sub(r"[^\w.-]", "-", parts[-1]) if parts else "remote"


def fetch(path: str, folder: Path, wanted: Callable[[str], str]) -> Fetched:
    """Files of a remote path, in a folder below `folder` that has the name of its hash.

    wanted: why a name in a listing is no file of records, "" where it is one. Raises UsageError for
    a path that nobody can open, InputError where it cannot be fetched.
    """
    root = folder / xxhash.xxh3_64_hexdigest(path.encode("utf-8", "surrogateescape"))
    try:
        if path.startswith("hf:"):
            return Fetched(root, tuple(_data_set(path, root)), ())
        return _address(path, root, wanted)
    except TracekitError:
        raise
    except ImportError as error:
        raise UsageError(
            f"a package that opens this address is missing: {_said(error)}",
            where=path,
            fix=f"pip install 'tracekit[{_EXTRA}]', or the package that is named above",
        ) from error
    except Exception as error:
        raise InputError(
            f"cannot be fetched: {type(error).__name__}: {_said(error)}",
            where=path,
            expected="an address that this machine may read, and a network that leads there",
            fix="check the address, the credentials and the network, or fetch it by hand and name "
            "the files",
        ) from error


def _said(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


def _address(path: str, root: Path, wanted: Callable[[str], str]) -> Fetched:
    from fsspec import core

    opened: Any = core.url_to_fs
    try:
        system, place = opened(path)
    except ValueError as error:
        raise UsageError(
            f"nothing opens this address: {_said(error)}",
            where=path,
            expected="an address of a kind that fsspec knows, such as s3:// or https://",
        ) from error
    listed, base = _listed(system, place, path)
    files: list[Path] = []
    skipped: list[tuple[str, str]] = []
    for one in listed:
        relative = _below(one, base)
        reason = wanted(relative.name) if len(listed) > 1 or one != place else ""
        if reason:
            skipped.append((one, reason))
            continue
        target = root / relative
        with system.open(one, "rb") as source, door.write_stream(target, mode=_PRIVATE) as out:
            while chunk := source.read(READ_BYTES):
                out.write(chunk)
        files.append(target)
    if not files:
        raise InputError(
            "no file of records lies there",
            where=path,
            expected="JSON Lines, JSON, Parquet or Arrow files",
        )
    return Fetched(root, tuple(files), tuple(skipped))


def _listed(system: Any, place: str, path: str) -> tuple[list[str], str]:
    """Files behind an address, sorted, and the folder that their names are relative to."""
    if any(mark in place for mark in "*?["):
        found = sorted(one for one in system.glob(place) if system.isfile(one))
        return found, re.split(r"[*?\[]", place, maxsplit=1)[0].rpartition("/")[0]
    if system.isfile(place):
        return [place], place.rpartition("/")[0]
    found = sorted(system.find(place))
    if not found:
        raise InputError("no such file or folder", where=path, fix="check the address")
    return found, place.rstrip("/")


def _below(one: str, base: str) -> PurePosixPath:
    """Name of a fetched file below its root; a name that would leave it is a hash."""
    name = one.removeprefix(base).lstrip("/").partition("?")[0]
    parts = [part for part in PurePosixPath(name).parts if part not in ("/", "\\")]
    if not parts or ".." in parts or any("\0" in part for part in parts):
        return PurePosixPath(xxhash.xxh3_64_hexdigest(one.encode("utf-8", "surrogateescape")))
    return PurePosixPath(*parts)


def _data_set(path: str, root: Path) -> Iterator[Path]:
    """One Parquet file for each split, streamed: no more than a batch is in memory."""
    found = _HUB.fullmatch(path)
    if found is None:
        raise UsageError(
            f"{path!r} names no data set",
            where=path,
            expected="hf:org/name, hf:org/name@revision, hf:org/name:split",
        )
    import datasets.load

    split = found.group("split")
    loaded: Any = datasets.load.load_dataset(
        found.group("name"),
        found.group("config"),
        revision=found.group("revision"),
        split=split,
        streaming=True,
    )
    splits = {split: loaded} if split is not None else dict(loaded)
    for name in sorted(splits):
        target = root / f"{re.sub(r'[^A-Za-z0-9_.-]', '-', str(name))}.parquet"
        batches = splits[name].with_format("arrow").iter(batch_size=_BATCH_ROWS)
        first = next(batches, None)
        if first is None:
            continue
        door.write_tables(target, _all(first, batches), first.schema, mode=_PRIVATE)
        yield target


def _all(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest
