"""Training masks of sources: `mask: 1` means "train" in one set and "leave out" in the next.

No dialect guesses the polarity. Where a dialect does not know it, the option `mask` says it, and
without the option a mask is kept in the meta of its message, counted, and changes nothing. Whatever
said it: a conversation whose every user turn is trained on and whose every reply is not was read
the wrong way round, and is refused; where a source is full of them, ingest stops and asks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracekit.codes import Code
from tracekit.dialects.dialect import Option
from tracekit.errors import BadRecord

REVERSED = "mask_polarity_reversed"

CODES = (
    Code(
        name=REVERSED,
        kind="reject",
        what="By its masks every user turn is trained on and no reply is.",
        why="Then the mask means the opposite of what it was taken for.",
        fix="Set the option `mask` of the source to the other value.",
    ),
)

OPTION = Option(
    name="mask",
    choices=("kept", "true_trains", "true_masks"),
    what="What `mask: 1` of a message says: nothing (it is kept in the meta), that the message is "
    "trained on, or that it is left out.",
)


def weight_of(mask: Any, options: Mapping[str, str]) -> float | None:
    """Weight that a mask gives its message, or None where no option says what it means."""
    meaning = options.get("mask", "kept")
    if meaning == "kept" or not isinstance(mask, (bool, int)) or mask not in (0, 1):
        return None
    return float(bool(mask) is (meaning == "true_trains"))


def check(messages: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a conversation read the wrong way round. BadRecord."""
    replies = [m.get("weight") for m in messages if m["role"] == "assistant"]
    users = [m.get("weight") for m in messages if m["role"] == "user"]
    if not replies or not users or None in replies or None in users:
        return
    if not any(replies) and all(users):
        raise BadRecord(
            REVERSED, f"{len(users)} user turns are trained on, and none of {len(replies)} replies"
        )
