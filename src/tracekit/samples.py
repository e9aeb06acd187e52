"""Samples: what a trainer reads of a trace, one rendered conversation each.

    keep    one sample: the whole trace with the thinking of every turn. What TRL's training
            templates give; every earlier turn is a prefix of every later one
    strip   one sample a query of the user: the trace up to the next query as the model reads it at
            inference, without the thinking of earlier turns; trained on what follows the query
    as_is   one sample: the whole trace as the inference template writes it, so the thinking of
            earlier turns is gone, and their answers are trained on without it

Under `strip` what an assistant says before the first query is history and no target, and what
follows the last answer of a trace that ends on a query is in no sample.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

History: TypeAlias = Literal["keep", "strip", "as_is"]
HISTORIES: tuple[History, ...] = ("keep", "strip", "as_is")


@dataclass(frozen=True, slots=True)
class Sample:
    """One rendering of the first `end` messages of a trace."""

    end: int
    own: int = 0
    """Messages from here on are trained on in this sample; those before are its history."""
    thinking: int | None = None
    """Messages from here on show their thinking; null: all do."""


def samples_of(
    messages: Sequence[Mapping[str, Any]],
    history: History,
    is_query: Callable[[str], bool],
) -> list[Sample]:
    """Samples of a trace, in order; at least one.

    is_query: does this text of a user message ask something, or does it bring tool results?
    """
    n = len(messages)
    if history == "keep":
        return [Sample(n)]
    queries = [
        m
        for m, message in enumerate(messages)
        if message["role"] == "user" and is_query(message["content"] or "")
    ]
    whole = Sample(n, 0, queries[-1] + 1 if queries else n)
    if history == "as_is" or not queries:
        return [whole]
    samples = [
        Sample(end, start, start + 1)
        for start, end in zip(queries, [*queries[1:], n], strict=True)
        if any(messages[m]["role"] == "assistant" for m in range(start, end))
    ]
    return samples or [whole]
