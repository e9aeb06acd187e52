"""Which files a command reads: names, globs, folders, addresses and standard input to sources.

Nothing is left out without a word: what a folder holds beside records is listed with the reason.
"""

from __future__ import annotations

import errno
import glob
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracekit.errors import InputError, UsageError, did_you_mean
from tracekit.framing import Source
from tracekit.plugged import detect
from tracekit.remote import is_remote

RECORD_SUFFIXES = frozenset(
    {".jsonl", ".ndjson", ".jsonlines", ".json", ".parquet", ".arrow", ".feather", ".traj"}
)
_COMPRESSED_SUFFIXES = frozenset({".gz", ".zst", ".zstd", ".xz", ".bz2"})
_ARCHIVES = frozenset({".zip", ".eval"})
_JUNK_NAMES = frozenset({"thumbs.db", "desktop.ini", "license", "notice", "makefile"})
_JUNK_SUFFIXES = frozenset({".lock", ".tmp", ".part", ".crdownload", ".bak", ".pyc"})
_JUNK_FOLDERS = frozenset({"__pycache__", "node_modules"})
# Beside Arrow files these describe the set; they hold no records.
_DATASET_FILES = frozenset({"dataset_info.json", "state.json", "dataset_dict.json"})


@dataclass(frozen=True, slots=True)
class SourceFiles:
    """Files of one source."""

    name: str
    root: Path
    files: tuple[str, ...]
    """Paths below root, with `/`, sorted."""


@dataclass(frozen=True, slots=True)
class Skipped:
    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Expansion:
    sources: tuple[SourceFiles, ...]
    skipped: tuple[Skipped, ...]


def expand(
    paths: Sequence[str],
    *,
    source: str | None = None,
    spool_folder: Path | None = None,
    stdin: Source | None = None,
    whole_is_record: Callable[[Any], bool] | None = None,
) -> Expansion:
    """Sources of what a user named: files, globs, folders (all that is below), addresses, `-`.

    A file belongs to the source that has the name of its folder, a folder is a source itself, and
    that folder is the root. source: the name of one source that takes all paths; its root is then
    the folder that they share. `-` is read from `stdin` (standard input where it is None) into the
    spool folder. whole_is_record: see `framing.detect`; of the text files of a folder it names
    those that are read. Raises UsageError where two folders have one name or nothing is named,
    InputError where something does not exist or cannot be read.
    """
    if not paths:
        raise UsageError("no input is named", expected="files, folders, globs or - for stdin")
    skipped: list[Skipped] = []
    found: dict[Path, set[Path]] = {}
    if source is not None and len({is_remote(given) for given in paths}) > 1:
        raise UsageError(
            "a source names files of this machine and addresses",
            where=source,
            expected="one kind in a source",
            fix="give the addresses to a source of their own",
        )
    for given in paths:
        if is_remote(given):
            root, files = _fetched(given, spool_folder, skipped)
            found.setdefault(root, set()).update(files)
            continue
        if given == "-":
            path = _stdin(spool_folder, stdin)
            found.setdefault(path.parent, set()).add(path)
            continue
        for path in _matches(given):
            if path.is_dir():
                here = set(_below(path, skipped, whole_is_record))
                if not here:
                    raise InputError(
                        "the folder holds no files of records",
                        where=str(path),
                        expected="JSON Lines, JSON, Parquet or Arrow files",
                    )
                found.setdefault(path.absolute(), set()).update(here)
            else:
                found.setdefault(path.absolute().parent, set()).add(path.absolute())
    sources = [_named(source, found)] if source is not None else _by_folder(found)
    return Expansion(tuple(sources), tuple(skipped))


def _named(name: str, found: dict[Path, set[Path]]) -> SourceFiles:
    root = Path(os.path.commonpath(list(found)))
    files = {path.relative_to(root).as_posix() for paths in found.values() for path in paths}
    return SourceFiles(name, root, tuple(sorted(files)))


def _by_folder(found: dict[Path, set[Path]]) -> list[SourceFiles]:
    sources: dict[str, SourceFiles] = {}
    for root, paths in found.items():
        name = root.resolve().name or "root"
        if name in sources:
            raise UsageError(
                f"two folders are called {name!r}",
                where=f"{sources[name].root} and {root}",
                expected="one name for each source",
                fix=f"name them: --source {name}-1={sources[name].root} --source {name}-2={root}",
            )
        files = sorted(path.relative_to(root).as_posix() for path in paths)
        sources[name] = SourceFiles(name, root, tuple(files))
    return list(sources.values())


def _fetched(
    given: str, spool_folder: Path | None, skipped: list[Skipped]
) -> tuple[Path, tuple[Path, ...]]:
    from tracekit.remote import fetch

    if spool_folder is None:
        raise UsageError("an address cannot be read here", where=given, expected="files or folders")
    made = fetch(given, spool_folder.absolute() / "remote", _why_not_listed)
    skipped.extend(Skipped(address, reason) for address, reason in made.skipped)
    return made.root, made.files


def _why_not_listed(name: str) -> str:
    """Why a file in a remote listing is not fetched, by its name."""
    path = Path(name.lower())
    inner = Path(path.stem).suffix if path.suffix in _COMPRESSED_SUFFIXES else path.suffix
    if path.name.startswith(".") or path.name in _DATASET_FILES:
        return "no file of records by its name"
    return "" if inner in RECORD_SUFFIXES | _ARCHIVES else "no file of records by its name"


def _stdin(spool_folder: Path | None, stdin: Source | None) -> Path:
    from tracekit.spool import spool_stdin

    if spool_folder is None:
        raise UsageError("standard input cannot be read here", expected="files or folders")
    return spool_stdin(stdin if stdin is not None else sys.stdin.buffer, spool_folder).absolute()


def _matches(given: str) -> list[Path]:
    path = Path(given).expanduser()
    try:
        path.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise InputError("the symbolic link leads back to itself", where=given) from None
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):
            raise InputError(f"cannot be read: {error.strerror}", where=given) from None
    except ValueError:
        raise InputError("a NUL byte stands in the name", where=repr(given)) from None
    else:
        return [path]
    if glob.has_magic(given):
        # Path.glob refuses absolute patterns.
        found = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207
        if found:
            return [Path(one) for one in found]
        raise InputError("nothing matches", where=given, expected="at least one file or folder")
    hint = ""
    if path.parent.is_dir():
        hint = did_you_mean(path.name, [one.name for one in path.parent.iterdir()]).strip()
    raise InputError(
        "no such file or folder", where=given, fix=hint or "check the path and the current folder"
    )


def _below(
    folder: Path, skipped: list[Skipped], whole_is_record: Callable[[Any], bool] | None
) -> Iterator[Path]:
    """Files of records below a folder; links are followed, each folder is entered once."""
    entered: set[tuple[int, int]] = set()
    for here, folders, files in os.walk(folder.absolute(), followlinks=True, onerror=_refuse):
        state = Path(here).stat()
        if (state.st_dev, state.st_ino) in entered:
            skipped.append(Skipped(here, "a link to a folder that was read already"))
            folders.clear()
            continue
        entered.add((state.st_dev, state.st_ino))
        for name in sorted(folders):
            if name.startswith(".") or name in _JUNK_FOLDERS:
                skipped.append(Skipped(str(Path(here, name)), _why_hidden(name)))
                folders.remove(name)
        folders.sort()
        columnar = any(name.endswith(".arrow") for name in files) or (
            "dataset_dict.json" in files and any(Path(here).glob("*/*.arrow"))
        )
        for name in sorted(files):
            path = Path(here, name)
            reason = _why_skipped(path, columnar, whole_is_record)
            if reason:
                skipped.append(Skipped(str(path), reason))
            else:
                yield path


def _refuse(error: OSError) -> None:
    raise InputError(
        f"cannot read the folder: {error.strerror}", where=str(error.filename)
    ) from error


def _why_hidden(name: str) -> str:
    return "hidden" if name.startswith(".") else "no folder of records"


def _why_skipped(path: Path, columnar: bool, whole_is_record: Callable[[Any], bool] | None) -> str:
    name = path.name.lower()
    suffix = path.suffix.lower()
    if name.startswith("."):
        return "hidden"
    if name in _JUNK_NAMES or suffix in _JUNK_SUFFIXES or name.endswith("~"):
        return "no file of records by its name"
    if columnar and name in _DATASET_FILES:
        return "describes the Arrow files beside it"
    if not path.is_file():
        return "a broken link" if path.is_symlink() else "no regular file"
    if suffix == ".md":
        return _why_no_report(path, whole_is_record)
    inner = Path(path.stem).suffix.lower() if suffix in _COMPRESSED_SUFFIXES else suffix
    if inner in RECORD_SUFFIXES:
        return ""
    try:
        detect(path, whole_is_record)
    except InputError as error:
        return error.what
    return ""


def _why_no_report(path: Path, whole_is_record: Callable[[Any], bool] | None) -> str:
    """Markdown describes data, unless its whole text is a record that a dialect reads."""
    try:
        framing = detect(path, whole_is_record).framing
    except InputError:
        framing = None
    return "" if framing == "text" else "no file of records by its name"
