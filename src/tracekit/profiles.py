"""Shard profiles: what a row of the product is, as a value for each.

messages    one row a trace: its messages and tools as JSON; the trainer renders them
tokenized   one row a sample: ids and labels, as they were counted
packed      one row a pack: whole samples, put together up to a context
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from tracekit import shard_rows, token_rows
from tracekit.errors import InputError, did_you_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One kind of product."""

    name: str
    version: int
    schema: pa.Schema
    finish: Callable[[pa.Table], pa.Table]
    """Spilled rows, sorted, as rows of a shard."""
    spill_schema: pa.Schema
    dictionary: tuple[str, ...] = ()
    """Columns of few values, which Parquet writes as numbers into a list of them."""
    rows: str
    """Key of the product's manifest that says how many rows there are."""

    @property
    def has_tokens(self) -> bool:
        """Are rows made of tokens, or of text?"""
        return self.spill_schema is token_rows.TOKEN_SPILL_SCHEMA


PROFILES = {
    p.name: p
    for p in (
        Profile(
            name="messages",
            version=1,
            schema=shard_rows.SHARD_SCHEMA,
            spill_schema=shard_rows.SPILL_SCHEMA,
            finish=shard_rows.shard_table,
            dictionary=("source", "model"),
            rows="traces",
        ),
        Profile(
            name="tokenized",
            version=1,
            schema=token_rows.TOKENIZED_SCHEMA,
            spill_schema=token_rows.TOKEN_SPILL_SCHEMA,
            finish=token_rows.tokenized,
            dictionary=("source",),
            rows="n_samples",
        ),
        Profile(
            name="packed",
            version=1,
            schema=token_rows.PACKED_SCHEMA,
            spill_schema=token_rows.TOKEN_SPILL_SCHEMA,
            finish=token_rows.packed,
            rows="n_packs",
        ),
    )
}


def named(name: str) -> Profile:
    """The profile of a name. Raises InputError for one that this release does not know."""
    if name not in PROFILES:
        raise InputError(
            f"unknown shard profile {name!r}.{did_you_mean(name, PROFILES)}",
            expected=", ".join(PROFILES),
            fix="upgrade tracekit, or name one of these",
        )
    return PROFILES[name]
