"""`decide(evidence, rules) -> ledger`: one pure function, run whole each time, in a second.

Single-trace rules speak on all traces; exact and near duplicates are sought among the survivors
only, so the winner that a duplicate names is in the shards. Nothing here reads text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from tracekit import dedupe, shared_prefixes
from tracekit.errors import UsageError, did_you_mean
from tracekit.keep_order import keep_ranks
from tracekit.rules import Rule, RuleSet

VERSION = 2

LEDGER_SCHEMA: dict[str, pl.DataType] = {
    "id": pl.String(),
    "source": pl.String(),
    "stage": pl.String(),
    "rule": pl.Int32(),
    "code": pl.String(),
    "action": pl.String(),
    "value": pl.Float64(),
    "threshold": pl.Float64(),
    "message": pl.Int32(),
    "call": pl.Int32(),
    "field": pl.String(),
    "start": pl.Int64(),
    "end": pl.Int64(),
    "winner": pl.String(),
    "similarity": pl.Float64(),
    "detail": pl.String(),
}
"""`rule` is the place in declared order: the first dropping row of a trace is its `dropped_by`."""


PREFIX_SCHEMA: dict[str, pl.DataType] = {
    "trace": pl.Int32(),
    "message": pl.Int32(),
    "told": pl.UInt64(),
    "thought": pl.UInt64(),
    "n_target_tokens": pl.Int64(),
}


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of all traces: narrow tables, one order."""

    traces: pl.DataFrame
    """One row a trace: id, source, content_hash, record_hash and every measure."""
    findings: pl.DataFrame
    """trace (row number in `traces`), code, message, call, field, start, end, value, detail."""
    pairs: pl.DataFrame
    """a, b (row numbers in `traces`), task_jaccard, target_jaccard: verified, from the floor up."""
    prefixes: Callable[[], pl.DataFrame] = lambda: pl.DataFrame(schema=PREFIX_SCHEMA)
    """Loads what each message of an assistant has before it: trace, message, told, thought,
    n_target_tokens; one row a message that has targets."""


@dataclass(frozen=True, slots=True)
class Decisions:
    """The ledger, and one row a trace."""

    ledger: pl.DataFrame
    """Columns of LEDGER_SCHEMA, sorted by id and rule."""
    traces: pl.DataFrame
    """id, source, kept, dropped_by, untrained (messages that another trace trains),
    n_target_tokens (without those), in the order of the evidence."""

    @property
    def kept(self) -> npt.NDArray[np.bool_]:
        """kept_T."""
        return self.traces["kept"].to_numpy()


def decide(evidence: Evidence, rules: RuleSet) -> Decisions:
    """Apply all rules to all evidence. UsageError for an expression that names no measure."""
    traces = evidence.traces.with_row_index("trace").with_columns(pl.col("trace").cast(pl.Int32))
    spoken = [_unmeasurable(evidence.findings), _eval_only(traces, rules)]
    for place, rule in enumerate(rules.rules, start=10):
        if rule.kind == "finding":
            spoken.append(_by_finding(evidence.findings, rule, place))
        else:
            spoken.append(_by_measure(traces, rule, place))
    single = pl.concat(spoken)
    survives = np.ones(traces.height, np.bool_)
    survives[single.filter(pl.col("action") == "drop")["trace"].to_numpy()] = False
    masks = pl.DataFrame(schema=_MASKS)
    if rules.threshold is not None:
        place = 10 + len(rules.rules)
        prefixes = _prefixes(evidence, rules) if rules.shared_once else None
        same = _duplicates(evidence, rules, survives, prefixes, place)
        single = pl.concat([single, same])
        if prefixes is not None:
            survives[same["trace"].to_numpy()] = False
            masks = _shared(prefixes, survives)
            single = pl.concat([single, _mask_rows(masks, place + 3)])
    return _ledger(traces, single, masks)


_MASKS = {
    "trace": pl.Int32(),
    "message": pl.Int32(),
    "winner": pl.Int32(),
    "n_target_tokens": pl.Int64(),
}


def _prefixes(evidence: Evidence, rules: RuleSet) -> pl.DataFrame:
    """Prefixes with what decides between their traces."""
    traces = evidence.traces.select(
        pl.int_range(pl.len(), dtype=pl.Int32).alias("trace"),
        "n_messages",
        pl.col("session_id").alias("session"),
        pl.col("parent_id").alias("parent"),
    ).with_columns(pl.Series("rank", keep_ranks(evidence.traces, rules), dtype=pl.Int64))
    return evidence.prefixes().join(traces, on="trace")


def _alive(prefixes: pl.DataFrame, survives: npt.NDArray[np.bool_]) -> pl.DataFrame:
    return prefixes.filter(pl.Series(survives).gather(prefixes["trace"]))


def _shared(prefixes: pl.DataFrame, survives: npt.NDArray[np.bool_]) -> pl.DataFrame:
    alive = _alive(prefixes, survives)
    return shared_prefixes.shared(alive).join(
        alive.select("trace", "message", "n_target_tokens"), on=["trace", "message"]
    ).select(list(_MASKS))  # fmt: skip


def _mask_rows(masks: pl.DataFrame, place: int) -> pl.DataFrame:
    """One ledger row a trace and the trace that trains its messages."""
    rows = masks.group_by("trace", "winner", maintain_order=True).agg(
        pl.col("message").first(),
        pl.len().cast(pl.Float64).alias("value"),
        (pl.col("n_target_tokens").sum().cast(pl.String) + " tokens are trained there").alias(
            "detail"
        ),
    )
    return _rows(rows, stage="dedupe", rule=place, code="shared_prefix", action="mask")


def check(rules: RuleSet, traces: pl.DataFrame) -> None:
    """Try every expression on some traces. UsageError: one cannot be used.

    Before anything is written: a workspace whose recipe cannot be decided would be of no use.
    """
    numbered = traces.with_row_index("trace").cast({"trace": pl.Int32})
    for rule in rules.rules:
        if rule.kind == "measure":
            _by_measure(numbered, rule, 0)


_SPOKEN = {
    "trace": pl.Int32(),
    **{k: v for k, v in LEDGER_SCHEMA.items() if k not in ("id", "source", "winner")},
    "winner": pl.Int32(),
}


def _rows(frame: pl.DataFrame, **values: object) -> pl.DataFrame:
    """Ledger rows from a frame that has `trace`; columns that neither names are null."""
    columns = []
    for name, kind in _SPOKEN.items():
        if name in values:
            columns.append(pl.lit(values[name], dtype=kind).alias(name))
        elif name in frame.columns:
            columns.append(pl.col(name).cast(kind))
        else:
            columns.append(pl.lit(None, dtype=kind).alias(name))
    return frame.select(columns)


def _unmeasurable(findings: pl.DataFrame) -> pl.DataFrame:
    lost = findings.filter(pl.col("code") == "unmeasurable")
    return _rows(lost, stage="measure", rule=0, code="unmeasurable", action="drop")


def _eval_only(traces: pl.DataFrame, rules: RuleSet) -> pl.DataFrame:
    hit = traces.filter(pl.col("source").is_in(sorted(rules.eval_only))).select("trace")
    return _rows(hit, stage="ingest", rule=1, code="eval_only", action="drop")


def _by_finding(findings: pl.DataFrame, rule: Rule, place: int) -> pl.DataFrame:
    hits = (
        findings.filter(pl.col("code") == rule.code)
        .group_by("trace", maintain_order=True)
        .agg(
            pl.len().cast(pl.Float64).alias("value"),
            pl.col("message", "call", "field", "start", "end", "detail").first(),
        )
    )
    return _rows(hits, stage=rule.stage, rule=place, code=rule.code, action=rule.action)


def _by_measure(traces: pl.DataFrame, rule: Rule, place: int) -> pl.DataFrame:
    assert rule.keep is not None
    passes, names = _expression(rule, traces)
    # The names of nulls are joined per trace: a rule that meets a null says which value was absent.
    null_names = pl.concat_str(
        [pl.when(pl.col(name).is_null()).then(pl.lit(name)).otherwise(None) for name in names]
        or [pl.lit("constant")],
        separator=", ",
        ignore_nulls=True,
    )
    shown = rule.column or (names[0] if len(names) == 1 else None)
    numeric = shown is not None and traces.schema[shown].is_numeric()
    try:
        judged = _judged(traces, rule, passes, null_names, shown if numeric else None)
    except pl.exceptions.PolarsError as error:
        raise _bad_expression(rule, str(error)) from error
    failed = _rows(
        judged.filter(pl.col("passes") == False).with_columns(  # noqa: E712 - a column, not a bool
            pl.lit(rule.keep if rule.threshold is None else None, pl.String).alias("detail")
        ),
        stage=rule.stage,
        rule=place,
        code=rule.code,
        action=rule.action,
        threshold=rule.threshold,
    )
    if rule.null == "keep":
        return failed
    unknown = judged.filter(pl.col("passes").is_null()).with_columns(
        (pl.lit(f"{rule.code}: ") + pl.col("nulls")).alias("detail"),
        pl.lit(None, pl.Float64).alias("value"),
        pl.lit(None, pl.Int32).alias("message"),
    )
    return pl.concat(
        [
            failed,
            _rows(unknown, stage=rule.stage, rule=place, code="unmeasured", action=rule.action),
        ]
    )


def _judged(
    traces: pl.DataFrame, rule: Rule, passes: pl.Expr, null_names: pl.Expr, shown: str | None
) -> pl.DataFrame:
    """What the expression says of each trace: passes, nulls, value, message."""
    return traces.select(
        "trace",
        passes.alias("passes"),
        null_names.alias("nulls"),
        (pl.col(shown).cast(pl.Float64) if shown is not None else pl.lit(None, pl.Float64)).alias(
            "value"
        ),
        (pl.col("loop_message") if rule.code == "loop" else pl.lit(None, pl.Int32)).alias(
            "message"
        ),
    )


def _expression(rule: Rule, traces: pl.DataFrame) -> tuple[pl.Expr, list[str]]:
    """The keep expression and the measures it reads; UsageError where it cannot be applied."""
    assert rule.keep is not None
    try:
        expression = pl.sql_expr(rule.keep)
        names = expression.meta.root_names()
    except (pl.exceptions.PolarsError, ValueError) as error:
        raise _bad_expression(rule, str(error)) from error
    for name in names:
        if name not in traces.columns:
            raise UsageError(
                f"rule {rule.code!r} reads {name!r}, which is no measure."
                f"{did_you_mean(name, traces.columns)}",
                where=rule.keep,
                expected="measures: " + ", ".join(c for c in traces.columns if c != "trace"),
                wrote="nothing was written",
            )
    try:
        kind = traces.head(0).select(expression.alias("passes")).schema["passes"]
    except pl.exceptions.PolarsError as error:
        raise _bad_expression(rule, str(error)) from error
    if kind != pl.Boolean:
        raise _bad_expression(rule, f"it gives {kind}, not true or false")
    return expression, names


def _bad_expression(rule: Rule, detail: str) -> UsageError:
    return UsageError(
        f"the expression of rule {rule.code!r} cannot be used: {detail.splitlines()[0]}",
        where=rule.keep,
        expected="a SQL condition over measures, such as n_calls >= 1 AND loop_share <= 0.2",
        wrote="nothing was written",
    )


def _duplicates(
    evidence: Evidence,
    rules: RuleSet,
    survives: npt.NDArray[np.bool_],
    prefixes: pl.DataFrame | None,
    place: int,
) -> pl.DataFrame:
    assert rules.threshold is not None
    ranks = keep_ranks(evidence.traces, rules)
    exact = dedupe.exact(evidence.traces["content_hash"].to_arrow(), ranks, survives)
    same = exact.winner_T
    alive = survives & (same < 0)
    inside = pl.DataFrame(schema={"trace": pl.Int32, "winner": pl.Int32, "value": pl.Float64})
    if prefixes is not None:
        inside = shared_prefixes.contained(_alive(prefixes, alive))
        alive[inside["trace"].to_numpy()] = False
    losers = dedupe.greedy(ranks, alive, evidence.pairs.to_arrow(), rules.threshold)
    near, similarity = losers.winner_T, losers.similarity_T
    exact_rows = pl.DataFrame({"trace": np.flatnonzero(same >= 0), "winner": same[same >= 0]})
    near_rows = pl.DataFrame(
        {
            "trace": np.flatnonzero(near >= 0),
            "winner": near[near >= 0],
            "similarity": similarity[near >= 0],
            "value": similarity[near >= 0],
        }
    )
    # A copy of a trace that itself lost to a near duplicate names the trace that is in the shards.
    into = np.arange(len(near))
    into[inside["trace"].to_numpy()] = inside["winner"].to_numpy()
    final = np.where(near >= 0, near, np.arange(len(near)))[into]
    inside = inside.with_columns(pl.Series("winner", final[inside["winner"].to_numpy()]))
    winner = exact_rows["winner"].to_numpy()
    alike = np.where(near[winner] >= 0, similarity[winner], 1.0)  # to what it lost to itself
    exact_rows = exact_rows.with_columns(
        pl.Series("winner", final[winner]),
        pl.Series("similarity", alike),
        pl.Series("value", alike),
    )
    return pl.concat(
        [
            _rows(exact_rows, stage="dedupe", rule=place, code="exact_duplicate", action="drop"),
            _rows(inside, stage="dedupe", rule=place + 1, code="contained", action="drop"),
            _rows(
                near_rows,
                stage="dedupe",
                rule=place + 2,
                code="near_duplicate",
                action="drop",
                threshold=rules.threshold,
            ),
        ]
    )


def _ledger(traces: pl.DataFrame, spoken: pl.DataFrame, masks: pl.DataFrame) -> Decisions:
    names = traces.select("trace", "id", "source")
    winners = names.select(pl.col("trace").alias("winner"), pl.col("id").alias("winner_id"))
    ledger = (
        spoken.join(names, on="trace", how="left")
        .join(winners, on="winner", how="left")
        .with_columns(pl.col("winner_id").alias("winner"))
        .select(list(LEDGER_SCHEMA))
        .sort("id", "rule", "code", "detail", nulls_last=True)
    )
    first_drop = (
        spoken.filter(pl.col("action") == "drop")
        .sort("trace", "rule", "code")
        .group_by("trace", maintain_order=True)
        .agg(pl.col("code").first().alias("dropped_by"))
    )
    untrained = masks.sort("trace", "message").group_by("trace", maintain_order=True).agg(
        pl.col("message").alias("untrained"), pl.col("n_target_tokens").sum().alias("n_fewer")
    )  # fmt: skip
    decided = (
        names.with_columns(traces["n_target_tokens"])
        .join(first_drop, on="trace", how="left", maintain_order="left")
        .join(untrained, on="trace", how="left", maintain_order="left")
        .select(
            "id",
            "source",
            pl.col("dropped_by").is_null().alias("kept"),
            "dropped_by",
            pl.col("untrained").fill_null([]),
            pl.col("n_target_tokens") - pl.col("n_fewer").fill_null(0),
        )
    )
    return Decisions(ledger, decided)
