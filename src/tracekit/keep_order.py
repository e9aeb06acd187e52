"""The keep order: which of two traces that count as the same is the better one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from tracekit.rules import RuleSet


def keep_ranks(traces: pl.DataFrame, rules: RuleSet) -> npt.NDArray[np.int64]:
    """rank_T: 0 is the trace that wins over all others. Depends on content, never on arrival.

    Order: the words of `dedupe.keep`, then content, then what else the record says; two traces
    that agree in all of that are the same row twice, and any of them gives the same shard.
    """
    t = traces
    order = {name: i for i, name in enumerate(rules.sources)}
    keys = {
        "verified": pl.col("verified").fill_null(False).not_(),
        "complete": ~pl.col("complete").fill_null(False),
        "reasoning": ~pl.col("full_reasoning").fill_null(False),
        "longer": -pl.col("n_assistant_messages").fill_null(0).cast(pl.Int64),
        "source": pl.col("source").replace_strict(order, default=len(order), return_dtype=pl.Int64),
        "shorter": pl.col("n_reasoning_chars").fill_null(2**62),
        "content": pl.col("content_hash"),
    }
    wanted = [keys[word].alias(f"key{i}") for i, word in enumerate(rules.keep)]
    frame = t.select(*wanted, pl.col("content_hash"), pl.col("source"), pl.col("record_hash"), "id")
    place = frame.with_row_index("place").sort(frame.columns, nulls_last=True)["place"]
    ranks = np.empty(t.height, np.int64)
    ranks[place.to_numpy()] = np.arange(t.height)
    return ranks
