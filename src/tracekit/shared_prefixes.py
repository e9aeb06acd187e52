"""Traces that begin alike: which of them is contained in another, and which trains what they share.

Input is one row a message of an assistant that has targets and whose trace is kept:

    trace     row of the trace
    message   its place in the trace
    told      hash of all that was said up to it, without reasoning
    thought   the same with reasoning; null where this message has none
    n_messages, rank, session, parent   of its trace; rank is the keep order, 0 the best

*Contained*: the last target of a trace is said in a longer trace too, with the same reasoning or
none of its own. It goes, and the longest such trace trains its targets. A trace that the longer one
names as its parent stays: a fork's history is its parent's to train.

*Shared*: of the copies of one message in the traces that then remain, exactly one is trained.
Copies with other reasoning are alternatives and no copies; a copy without reasoning gives way to
one that has it. Of equal copies the one in the shortest trace is trained, where it comes up first.
"""

from __future__ import annotations

import polars as pl

SCHEMA = {
    "trace": pl.Int32(),
    "message": pl.Int32(),
    "told": pl.UInt64(),
    "thought": pl.UInt64(),
    "n_messages": pl.Int32(),
    "rank": pl.Int64(),
    "session": pl.String(),
    "parent": pl.String(),
}


def contained(prefixes: pl.DataFrame) -> pl.DataFrame:
    """Traces that go: trace, winner, value (targets that they share)."""
    common = _common(prefixes)
    last = common.sort("trace", "message").group_by("trace", maintain_order=True).last()
    # Only the last target of the whole trace counts, so it must be common itself.
    ends = prefixes.group_by("trace").agg(pl.col("message").max().alias("end"), pl.len().alias("n"))
    last = last.join(ends, on="trace").filter(pl.col("message") == pl.col("end"))
    pairs = last.join(common, on="told", suffix="_in").filter(
        (pl.col("trace") != pl.col("trace_in"))
        & (pl.col("n_messages_in") > pl.col("n_messages"))
        & (pl.col("thought").is_null() | (pl.col("thought") == pl.col("thought_in")))
    )
    # A trace that any of the others continues by its own word is history, not a snapshot.
    named = pairs.filter(
        pl.col("session").is_not_null() & (pl.col("parent_in") == pl.col("session"))
    ).select("trace")
    return (
        pairs.join(named, on="trace", how="anti")
        .sort("trace", pl.col("n_messages_in").neg(), "rank_in")
        .group_by("trace", maintain_order=True)
        .first()
        .select(
            "trace", pl.col("trace_in").alias("winner"), pl.col("n").cast(pl.Float64).alias("value")
        )
    )


def shared(prefixes: pl.DataFrame) -> pl.DataFrame:
    """Messages that are not trained where they stand: trace, message, winner."""
    common = _common(prefixes)
    with_thought = common.group_by("told").agg(pl.col("thought").is_not_null().any().alias("some"))
    order = ("n_messages", "rank", "trace")
    common = common.join(with_thought, on="told")
    # Of the copies with one reasoning, and of those without where all are without, the first.
    trained = (
        common.filter(pl.col("thought").is_not_null() | ~pl.col("some"))
        .sort(order)
        .group_by("told", "thought", maintain_order=True)
        .first()
        .select("told", "thought", pl.col("trace").alias("winner"))
    )
    same = common.filter(pl.col("thought").is_not_null() | ~pl.col("some")).join(
        trained, on=["told", "thought"], nulls_equal=True
    )
    # Copies that lost their reasoning give way to the best that has one.
    any_of_told = (
        trained.filter(pl.col("thought").is_not_null())
        .group_by("told", maintain_order=True)
        .first()
        .select("told", "winner")
    )
    stripped = common.filter(pl.col("thought").is_null() & pl.col("some")).join(
        any_of_told, on="told"
    )
    columns = ("trace", "message", "winner")
    return (
        pl.concat([same.select(columns), stripped.select(columns)])
        .filter(pl.col("trace") != pl.col("winner"))
        .sort("trace", "message")
    )


def _common(prefixes: pl.DataFrame) -> pl.DataFrame:
    """Rows whose conversation so far is in more than one trace."""
    several = prefixes.group_by("told").agg(pl.col("trace").n_unique().alias("n_traces"))
    return prefixes.join(several.filter(pl.col("n_traces") > 1).select("told"), on="told")
