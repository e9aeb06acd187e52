"""Doubles of the disk and of its power supply, damage, and runs as processes, for tests of trust.

`killed.py` has the run that they share. A power loss cannot be had by killing a process, since the
page cache survives it: `recorded` logs what goes through the one door, `States` says what a disk
may hold if the power went off anywhere in that log.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from tracekit import door
from tracekit.manifest import fingerprint

Entry = tuple[Any, ...]
"""("create", path, id), ("write", id, bytes), ("fsync", id), ("rename", old, new),
("fsync_folder", path), ("mkdir", path)."""


class Watched:
    """An open file that tells of each write before it is done."""

    def __init__(self, file: Any, told: Callable[[bytes], None]) -> None:
        self._file = file
        self._told = told

    def write(self, data: Any) -> int:
        self._told(bytes(data))
        return int(self._file.write(data))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@contextmanager
def recorded() -> Iterator[list[Entry]]:
    """Log all that goes through the door of this process."""
    log: list[Entry] = []
    real = dict(vars(door.disk))
    ids: dict[int, int] = {}

    def open_(path: Path, mode: int | None) -> Any:
        number = len(log)
        log.append(("create", str(path), number))
        file = Watched(real["open"](path, mode), lambda data: log.append(("write", number, data)))
        ids[id(file)] = number
        return file

    def fsync(file: Any) -> None:
        real["fsync"](file)
        log.append(("fsync", ids[id(file)]))

    def rename(old: Path, new: Path) -> None:
        real["rename"](old, new)
        log.append(("rename", str(old), str(new)))

    def fsync_folder(path: Path) -> None:
        real["fsync_folder"](path)
        log.append(("fsync_folder", str(path)))

    def mkdir(path: Path) -> None:
        missing = [p for p in (path, *path.parents) if not p.exists()]
        real["mkdir"](path)
        log.extend(("mkdir", str(p)) for p in reversed(missing))

    doubles = {
        "open": open_, "fsync": fsync, "rename": rename, "fsync_folder": fsync_folder,
        "mkdir": mkdir,
    }  # fmt: skip
    vars(door.disk).update(doubles)
    try:
        yield log
    finally:
        vars(door.disk).update(real)


@dataclass
class _Names:
    """A tree of names: file -> id, and folders."""

    files: dict[str, int] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)

    def copy(self) -> _Names:
        return _Names(dict(self.files), set(self.folders))

    def apply(self, entry: Entry) -> bool:
        """Do what an entry says to the names; False where that cannot be."""
        kind = entry[0]
        if kind == "create":
            self.files[entry[1]] = entry[2]
        elif kind == "mkdir":
            self.folders.add(entry[1])
        elif entry[1] in self.files:
            self.files[entry[2]] = self.files.pop(entry[1])
        elif entry[1] in self.folders and entry[2] not in self.folders:
            self._move_folder(entry[1], entry[2])
        else:
            return False
        return True

    def _move_folder(self, old: str, new: str) -> None:
        inside = f"{old}/"
        for name in [n for n in self.files if n.startswith(inside)]:
            self.files[new + name[len(old) :]] = self.files.pop(name)
        moved = {n for n in self.folders if n == old or n.startswith(inside)}
        self.folders = (self.folders - moved) | {new + n[len(old) :] for n in moved}


class States:
    """What a disk may hold after a power loss at any place of a log.

    Synced bytes and synced names are there; of the others any part may be: bytes whole, cut, empty
    or zeroed; names, renames and folders done or not, each for itself, so long as what it builds on
    is there.
    """

    def __init__(self, log: list[Entry], root: Path, seed: int = 0) -> None:
        self.log = log
        self.root = str(root)
        self.random = random.Random(seed)

    def each(self, n_variants: int, every: int = 1) -> Iterator[tuple[int, dict[str, bytes]]]:
        """(cut, path below the root -> bytes): variants 0 and 1 are all done and nothing done."""
        durable = _Names(folders={self.root})
        pending: list[Entry] = []
        data: dict[int, bytes] = {}
        synced: dict[int, bytes] = {}
        n_cuts = 0
        for cut, entry in enumerate(self.log):
            kind = entry[0]
            if kind == "write":
                data[entry[1]] = data.get(entry[1], b"") + entry[2]
            elif kind == "fsync":
                synced[entry[1]] = data.get(entry[1], b"")
            elif kind == "fsync_folder":
                still = []
                for one in pending:
                    if os.path.dirname(one[-1] if one[0] == "rename" else one[1]) == entry[1]:
                        durable.apply(one)
                    else:
                        still.append(one)
                pending = still
            else:
                pending.append(entry)
            if kind == "write" and cut + 1 < len(self.log) and self.log[cut + 1][0] == "write":
                continue  # a file cut in the middle is a variant
            n_cuts += 1
            if n_cuts % every and cut + 1 < len(self.log):
                continue
            for variant in range(n_variants):
                yield cut, self._state(durable, pending, data, synced, variant)

    def _state(
        self, durable: _Names, pending: list[Entry], data: dict[int, bytes],
        synced: dict[int, bytes], variant: int,
    ) -> dict[str, bytes]:  # fmt: skip
        names = durable.copy()
        for one in pending:
            if variant == 0 or (variant > 1 and self.random.random() < 0.5):
                names.apply(one)
        found = {}
        for name, number in names.files.items():
            if names.folders.issuperset(_above(name, self.root)):
                whole = data.get(number, b"")
                if synced.get(number) != whole:
                    whole = self._unsynced(whole, variant)
                found[name[len(self.root) + 1 :]] = whole
        return found

    def _unsynced(self, whole: bytes, variant: int) -> bytes:
        how = variant if variant < 2 else self.random.randrange(4)
        cut = len(whole) // 2
        return (b"", whole[:cut], bytes(len(whole)), whole)[how]


@cache
def _above(name: str, root: str) -> tuple[str, ...]:
    """Folders of a file, up to the root."""
    return tuple(p for p in map(str, Path(name).parents) if p.startswith(root))


@cache
def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@cache
def _named_by(manifest: bytes) -> dict[str, str] | None:
    """What a manifest names; None where it is cut or its seal does not fit."""
    try:
        value = json.loads(manifest)
        return named_files(value) if value.pop("seal") == fingerprint(value) else None
    except ValueError:
        return None


def lies(state: dict[str, bytes], manifests: tuple[str, ...]) -> list[str]:
    """What a manifest of a state says and the state does not hold; empty: no manifest lies."""
    found = []
    for name in manifests:
        if name not in state:
            continue
        folder = os.path.dirname(name)
        named = _named_by(state[name])
        if named is None:
            found.append(f"{name} is no manifest")
            continue
        for file, sha256 in named.items():
            data = state.get(f"{folder}/{file}")
            if data is None:
                found.append(f"{name} names {file}, which is not there")
            elif _sha256(data) != sha256:
                found.append(f"{name} names {file}, which has other bytes")
    return found


def named_files(manifest: dict[str, Any]) -> dict[str, str]:
    """Path -> SHA-256 of all files that a manifest, of workspace or shards, names."""
    if "shards" in manifest:
        return {s["file"]: s["sha256"] for s in manifest["shards"]}
    found = {
        f"{thing}/{batch['source']}/{part['name']}.parquet": sha256
        for batch in manifest["batches"]
        for part in batch["parts"]
        for thing, sha256 in part["files"].items()
    }
    for family, parts in manifest["evidence"].items():
        found |= {f"evidence/{family}/{key}.parquet": e["sha256"] for key, e in parts.items()}
    if manifest["pairs"]:
        found["evidence/global/pairs.parquet"] = manifest["pairs"]["sha256"]
    if manifest["ledger"]:
        found["ledger/ledger.parquet"] = manifest["ledger"]["sha256"]
        found["ledger/decisions.parquet"] = manifest["ledger"]["decisions_sha256"]
    return found


def laid_out(state: dict[str, bytes], folder: Path) -> None:
    """A state as real files below a folder."""
    for name, data in state.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def flipped(data: bytes, at: int) -> bytes:
    """One bit is another one."""
    return data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]


DAMAGES: dict[str, Callable[[bytes, bytes, int], bytes]] = {
    "one bit": lambda data, sibling, at: flipped(data, at),
    "cut": lambda data, sibling, at: data[:at],
    "empty": lambda data, sibling, at: b"",
    "zeros": lambda data, sibling, at: data[:at] + bytes(len(data[at:])),
    "its sibling": lambda data, sibling, at: sibling,
}
"""Name -> function of (bytes, bytes of a file of its kind, place) to damaged bytes."""


def command(*words: str | Path) -> list[str]:
    """A command line of tracekit in a process of its own."""
    return [sys.executable, "-m", "tracekit", *map(str, words)]


def start(
    words: list[str], *, workers: int = 0, env: dict[str, str] | None = None, **options: Any
) -> subprocess.Popen[str]:
    """Start a command in a process group of its own."""
    return subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "TRACEKIT_WORKERS": str(workers), **(env or {})},
        **options,
    )


def kill_group(process: subprocess.Popen[str]) -> None:
    """SIGKILL to a process and all that it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.communicate(timeout=60)


def group_members(group: int) -> list[str]:
    """Command lines of living processes of a group that somebody could still see writing."""
    import psutil

    found = []
    for one in psutil.process_iter():
        try:
            if os.getpgid(one.pid) == group and one.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(one.cmdline()))
        except (ProcessLookupError, psutil.Error):
            continue
    return found
