"""Codes: the names under which tracekit says what it found, repaired, dropped or rejected.

A code is stored in data for ever, so it is never renamed. Each is declared by the module that
gives it; `registry.codes()` collects them, `docs/codes.md` and `tracekit explain` print them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

CodeKind: TypeAlias = Literal["reject", "finding", "repair", "drop", "mask", "event"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """One code with all that `tracekit explain` says about it."""

    name: str
    """snake_case, stored for ever."""
    kind: CodeKind
    """reject: a record that never became a trace. finding: something seen in a trace.
    repair: a counted change. drop: a decision that removes. mask: a decision that takes messages
    out of the targets. event: a record that is no message."""
    what: str
    """One sentence: when it is given."""
    why: str = ""
    """Why it matters to the model that is trained."""
    default: Literal["flag", "drop", "none"] = "none"
    """What the default profile does with a finding."""
    fix: str = ""
    """What a user can do, with the option that turns it off."""
    source: str = ""
    """Where the definition or the number comes from."""
