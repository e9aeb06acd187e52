"""What a library function hands back to whoever prints it: tables, sums and the next step.

A report is a plain value. It knows nothing of terminals: `output` draws it, JSON shows its `data`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Cell: TypeAlias = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under named columns; `None` is a value that was not measured."""

    title: str
    """Empty: no heading is drawn."""
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def __post_init__(self) -> None:
        # Callers build rows in lists; a value that is shared must not change under its reader.
        object.__setattr__(self, "columns", tuple(self.columns))
        object.__setattr__(self, "rows", tuple(tuple(row) for row in self.rows))
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(
                    f"table {self.title!r}: row of {len(row)} cells, {len(self.columns)} columns"
                )

    def records(self) -> list[dict[str, Cell]]:
        """Rows as dicts, for JSON.

        >>> Table("", ("code", "traces"), (("loop", 3),)).records()
        [{'code': 'loop', 'traces': 3}]
        """
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The outcome of one library function, ready to be shown."""

    tables: tuple[Table, ...] | list[Table] = ()
    text: tuple[str, ...] | list[str] = ()
    """Prose or a drawn trace, one block an entry, shown before the tables."""
    law: tuple[str, ...] | list[str] = ()
    """The sums that must add up, one line each."""
    notes: tuple[str, ...] | list[str] = ()
    """What a reader should know and did not ask for."""
    hints: tuple[str, ...] | list[str] = ()
    """Commands that make sense next, as typed."""
    failed: tuple[str, ...] | list[str] = ()
    """Assertions that do not hold; any makes the command end with exit code 1."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """The same as one JSON object, with true numbers and text."""
