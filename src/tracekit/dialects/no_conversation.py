"""Dialect `no_conversation`: records in which nobody asks or nobody answers, refused by name.

    {"judgement-gen-base": "A is better.", "judgement-base-gen": "B is.", "num_generated_tokens": 9}
    {"dish": "Ramen"}

A folder of traces may hold such files beside the others: verdicts of a judge whose prompts and
answers are elsewhere, or a column of words from which prompts are made. Read in silence they would
be nonsense; here each record is a reject that says what it is.

Decided here: only shapes that can hold no conversation are known, a shape that is merely not known
is left for a dialect of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracekit.codes import Code
from tracekit.dialects.dialect import Dialect, Notes, Record
from tracekit.errors import BadRecord

CODES = (
    Code(
        name="holds_no_conversation",
        kind="reject",
        what="The record holds no conversation; the detail says what it holds.",
        fix="Leave the file out, or join it with the file that has the messages.",
    ),
)

_WORD_CHARS = 200
"""Longest text that is read as a word or a title, in characters."""


_NO_WORDS = frozenset(
    (
        *("type", "role", "kind", "event", "status", "error", "text", "content", "message"),
        *("prompt", "messages_display"),
    )
)
"""Keys under which a lone text is a line of a log, or a part of what somebody says."""


def fits(value: Any) -> str:
    """Evidence that a record can hold no conversation.

    >>> fits({"dish": "Ramen"})
    'a single word under dish'
    """
    if not isinstance(value, dict) or not value:
        return ""
    verdicts = [key for key in value if key.startswith(("judgement-", "judgment-"))]
    others = [value[key] for key in value if key not in verdicts]
    if verdicts and not any(isinstance(v, (str, list, dict)) for v in others):
        return "verdicts of a judge alone"
    if len(value) == 1:
        ((key, text),) = value.items()
        if key in _NO_WORDS:
            return ""
        if isinstance(text, str) and text and len(text) <= _WORD_CHARS and "\n" not in text:
            return f"a single word under {key}"
    return ""


def read(
    records: Sequence[Record], notes: Notes, options: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Refuses the record. Raises BadRecord: holds_no_conversation."""
    found = fits(records[0].value)
    raise BadRecord("holds_no_conversation", found or "nobody asks and nobody answers")


dialect = Dialect(
    name="no_conversation",
    version=1,
    unit="record",
    fits=fits,
    read=read,
    codes=CODES,
)
