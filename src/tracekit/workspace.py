"""The workspace on disk: where things lie, who holds it, what is here.

`Workspace` is a folder and nothing else; functions here answer with paths, the manifest and the
lock. Layout and rules: `docs/contracts.md`, section 3.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tracekit import door
from tracekit.errors import InputError, LockedError

_SAFE = re.compile(r"[^A-Za-z0-9._-]")


@dataclass(frozen=True, slots=True)
class Workspace:
    """A workspace folder."""

    folder: Path

    @property
    def manifest(self) -> Path:
        """The manifest: what is here, made from what; written last."""
        return self.folder / "manifest.json"

    @property
    def spool(self) -> Path:
        """Plain pieces of inputs that cannot be sought."""
        return self.folder / "spool"

    def file(self, thing: str, source: str, part: str) -> Path:
        """Path of a part's table: `traces`, `rejects`, `events` or `evidence/<family>`."""
        return self.folder / thing / folder_name(source) / f"{part}.parquet"

    def receipt(self, thing: str, source: str, part: str) -> Path:
        """Path of a part's receipt, present from its completion until the manifest names it."""
        return self.folder / "receipts" / thing / folder_name(source) / f"{part}.json"

    @property
    def ledger(self) -> Path:
        """The decisions."""
        return self.folder / "ledger" / "ledger.parquet"

    @property
    def decisions(self) -> Path:
        """One row a trace: kept or not, and the rule that dropped it."""
        return self.folder / "ledger" / "decisions.parquet"

    @property
    def pairs(self) -> Path:
        """Verified near-duplicate pairs from the floor up."""
        return self.folder / "evidence" / "global" / "pairs.parquet"


def folder_name(source: str) -> str:
    """A source's name as a folder name: names from data never become paths.

    >>> folder_name("vendor-a")
    'vendor-a'
    >>> folder_name("../x")
    '.._x-158aeef9'
    """
    if _SAFE.search(source) is None and not source.startswith(".") and len(source) <= 80:
        return source
    import xxhash

    return f"{_SAFE.sub('_', source)[:60]}-{xxhash.xxh32_hexdigest(source.encode())}"


@contextmanager
def locked(work: Workspace) -> Iterator[None]:
    """Hold the workspace for writing; the lock dies with its process.

    Raises LockedError at once where another run holds it, naming the holder.
    """
    from filelock import FileLock, Timeout

    with door.guarded("create", work.folder):
        door.disk.mkdir(work.folder)
    path = work.folder / ".lock"
    holder = work.folder / ".lock-holder"
    with door.guarded("lock", path):
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            who = _holder(holder)
            raise LockedError(
                f"another run holds this workspace (process {who})",
                where=str(work.folder),
                fix="wait for it to end, or use another workspace with -w",
                wrote="nothing was written",
            ) from None
    try:
        with door.guarded("write", holder):
            holder.write_text(f"{os.getpid()}\n", "utf-8")
        door.sweep(work.folder)
        shutil.rmtree(work.folder / "spill", ignore_errors=True)
        yield
        door.sweep(work.folder)  # a worker that was killed leaves its unfinished file
    finally:
        with suppress(OSError):
            holder.unlink()
        lock.release()


def _holder(path: Path) -> str:
    """Number of the process that holds the lock; waits for a holder that has not said so yet.

    A number may be of a run that was killed: then the one that holds now is about to write its own.
    """
    number = ""
    for _ in range(20):
        with suppress(OSError):
            number = path.read_text("utf-8").strip()
            if number.isdigit() and _alive(int(number)):
                return number
        time.sleep(0.05)
    return number or "unknown"


def _alive(process: int) -> bool:
    if os.name == "nt":  # there, signal 0 would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # of another user
    return True


def existing(folder: Path) -> Workspace:
    """The workspace at `folder`. Raises InputError where there is none."""
    work = Workspace(folder)
    if not work.manifest.exists():
        raise InputError(
            "no workspace here",
            where=str(folder),
            expected="a folder with a manifest.json that `tracekit ingest` or `run` made",
            fix=f"tracekit ingest PATHS... -w {folder}",
            wrote="nothing was written",
        )
    return work
