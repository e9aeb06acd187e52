"""What a dialect is: plain functions with what they declare, and the notes that they take.

Standard library only, so that the table of dialects is cheap to import.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from tracekit.codes import Code

Unit: TypeAlias = Literal["record", "file", "session"]


@dataclass(frozen=True, slots=True)
class Record:
    """A parsed record and its place; `row` counts from 0."""

    file: str
    row: int
    value: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option of a dialect; the first choice is the default."""

    name: str
    choices: tuple[str, ...]
    what: str


@dataclass(slots=True)
class Notes:
    """What was done while records were read: counts, and the records that became no trace."""

    repairs: dict[str, int] = field(default_factory=dict)
    """Times a repair was made, by code."""
    unknown_keys: dict[str, int] = field(default_factory=dict)
    """Records that had a key which the dialect keeps in `meta` without understanding it."""
    counters: dict[str, int] = field(default_factory=dict)
    """Anything else worth a line in the report, by name."""
    events: list[tuple[Record, str]] = field(default_factory=list)
    """Records that are no message, with their declared type."""
    rejects: list[tuple[Record, str, str]] = field(default_factory=list)
    """Records of a unit that are refused one by one: record, code, detail."""

    def repair(self, code: str, n: int = 1) -> None:
        """Counts n repairs of one declared code."""
        self.repairs[code] = self.repairs.get(code, 0) + n

    def unknown(self, key: str) -> None:
        """Counts a key that is kept in `meta` as it is."""
        self.unknown_keys[key] = self.unknown_keys.get(key, 0) + 1

    def count(self, name: str, n: int = 1) -> None:
        """Counts something that is neither repair nor unknown key."""
        self.counters[name] = self.counters.get(name, 0) + n

    def event(self, record: Record, type: str) -> None:
        """Puts a record down as an event of a declared type."""
        self.events.append((record, type))

    def reject(self, record: Record, code: str, detail: str = "") -> None:
        """Refuses one record of a unit; the others go on."""
        self.rejects.append((record, code, detail))


Fits: TypeAlias = Callable[[Any], str]
Read: TypeAlias = Callable[[Sequence[Record], Notes, Mapping[str, str]], list[dict[str, Any]]]
Key: TypeAlias = Callable[[Any], str | None]


def no_key(_: Any) -> str | None:
    """Key of dialects whose unit is a record or a file: there is none."""
    return None


def no_joins(_: Any) -> bool:
    """Joins of dialects whose records never go on in a session of another key."""
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How the records of one source become traces.

    `fits(value)` gives evidence in words, or "". `read(records, notes, options)` gives canonical
    dicts (keys of `Trace` but id, source, provenance; what is absent has its default), with
    `rows` where the unit has more than one record; raises BadRecord with a declared code.
    """

    name: str
    version: int
    """Raised whenever the same records give other traces."""
    unit: Unit
    fits: Fits
    read: Read
    key: Key = no_key
    joins: Callable[[Any], bool] = no_joins
    links: Callable[[Any], Sequence[str]] | None = None
    """For unit `session`: names that a record shares with others of its conversation, in whatever
    file; then the records of a file are one unit, and so are files whose records share a name."""
    """For unit `session`: does a record go on from the one before it in its file, though its key is
    another one? Both sessions are one unit then."""
    codes: tuple[Code, ...] = ()
    """Rejects and repairs."""
    events: tuple[Code, ...] = ()
    """Types of records that are no message."""
    ignores: Mapping[str, str] = field(default_factory=dict)
    """Key paths whose text is left out of the trace on purpose, with the reason."""
    options: tuple[Option, ...] = ()
