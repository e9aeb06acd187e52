"""Which traces another reading of the same files changed: added, removed, changed, described anew.

Both readings are compared by trace id. What was said is compared by content hash; where that is the
same but the record says other things about it (an outcome, a model, meta), it is described anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tracekit import door, schema
from tracekit.errors import StorageError
from tracekit.manifest import Batch
from tracekit.report import Table
from tracekit.text import hashes_of
from tracekit.workspace import Workspace

N_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Reading:
    """Hashes of what was said, and of what is said about it, by trace id."""

    hashes: dict[str, tuple[str, str]]
    n_unreadable_parts: int = 0
    """Parts that were gone or damaged: their traces are not known."""


@dataclass(frozen=True, slots=True)
class Changes:
    """Ids of traces by what became of them, and how many stayed as they were."""

    n_same: int
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    described: tuple[str, ...]
    """The same content with another outcome, answer, model, meta or id of its own."""
    n_unreadable_parts: int = 0

    @property
    def rows(self) -> list[tuple[str, int, str]]:
        """(what, how many, examples)."""
        kinds = (
            ("added", self.added),
            ("removed", self.removed),
            ("changed", self.changed),
            ("described anew", self.described),
        )
        return [
            *((what, len(ids), ", ".join(ids[:N_EXAMPLES])) for what, ids in kinds),
            ("the same", self.n_same, ""),
        ]

    def table(self) -> Table:
        """The rows as a table."""
        return Table("read again", ("traces", "n", "examples"), tuple(self.rows))


def read(work: Workspace, batches: Iterable[Batch]) -> Reading:
    """What the stored traces of batches say; parts that cannot be read are counted."""
    hashes: dict[str, tuple[str, str]] = {}
    n_unreadable = 0
    for batch in batches:
        for part in batch.parts:
            path = work.file("traces", batch.source, part.name)
            try:
                table = door.read_table(path, part.files["traces"]).cast(schema.TRACE_SCHEMA)
            except (StorageError, OSError):
                n_unreadable += 1
                continue
            for page in table.to_batches(max_chunksize=1024):
                for row in page.to_pylist():
                    hashes[row["id"]] = hashes_of(row)
    return Reading(hashes, n_unreadable)


def clear(work: Workspace, old: Iterable[Batch], new: Iterable[Batch]) -> None:
    """Delete the tables of parts that the new reading has no more; call it after the commit."""
    held = {(b.source, p.name) for b in new for p in b.parts}
    for batch in old:
        for part in batch.parts:
            if (batch.source, part.name) not in held:
                for thing in part.files:
                    path = work.file(thing, batch.source, part.name)
                    with door.guarded("delete", path):
                        path.unlink(missing_ok=True)


def compare(before: Reading, after: Reading) -> Changes:
    """What of the earlier reading the later one changed.

    >>> old = Reading({"a": ("1", "x"), "b": ("2", "x"), "c": ("3", "x")})
    >>> compare(old, Reading({"b": ("9", "x"), "c": ("3", "y"), "d": ("4", "x")})).rows
    [('added', 1, 'd'), ('removed', 1, 'a'), ('changed', 1, 'b'), ('described anew', 1, 'c'), \
('the same', 0, '')]
    """
    old, new = before.hashes, after.hashes
    both = [(i, old[i], new[i]) for i in sorted(old.keys() & new.keys())]
    return Changes(
        n_same=sum(a == b for _, a, b in both),
        added=tuple(sorted(new.keys() - old.keys())),
        removed=tuple(sorted(old.keys() - new.keys())),
        changed=tuple(i for i, a, b in both if a[0] != b[0]),
        described=tuple(i for i, a, b in both if a[0] == b[0] and a != b),
        n_unreadable_parts=before.n_unreadable_parts,
    )
