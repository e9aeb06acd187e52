"""Dialect `said`: {"dialog": [{"who": "human", "said": "9*4?"}, {"who": "bot", "said": "36"}]}."""

from collections.abc import Mapping, Sequence
from typing import Any

from tracekit.codes import Code
from tracekit.dialects import Dialect, Notes, Record
from tracekit.errors import BadRecord

ROLES = {"human": "user", "bot": "assistant"}


def fits(value: Any) -> str:
    """Evidence in words that a record is of this format, or an empty string."""
    turns = value.get("dialog") if isinstance(value, dict) else None
    first = turns[0] if isinstance(turns, list) and turns else None
    return "dialog with who" if isinstance(first, dict) and "who" in first else ""


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The trace of one record."""
    value = records[0].value
    turns = value.get("dialog") if isinstance(value, dict) else None
    if not isinstance(turns, list) or not turns:
        raise BadRecord("no_dialog", "dialog is no list of turns")
    messages = []
    for turn in turns:
        if not isinstance(turn, dict) or turn.get("who") not in ROLES:
            raise BadRecord("no_dialog", "a turn of nobody")
        messages.append({"role": ROLES[turn["who"]], "content": str(turn.get("said", ""))})
    return [{"messages": messages}]


dialect = Dialect(
    name="said",
    version=1,
    unit="record",
    fits=fits,
    read=read,
    codes=(Code(name="no_dialog", kind="reject", what="The record has no dialogue."),),
)
