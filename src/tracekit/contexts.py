"""Contexts: what of a mix fits into a context of so many tokens, and what in it comes again.

Asked of stored counts alone. A trace that only `longer_than_context` drops counts as kept: which
context to take is the question.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from tracekit import decide, frames
from tracekit import rules as rule_sets
from tracekit.decide import Evidence
from tracekit.opened import Opened
from tracekit.report import Table
from tracekit.token_rows import Ints

CONTEXTS = (8_192, 16_384, 32_768, 65_536, 131_072, 262_144, 1_048_576)
NATIVE_TOKENS = 262_144
"""Positions that Qwen3.5 was trained on; beyond them it needs YaRN, which costs on short text."""


def look(here: Opened, evidence: Evidence) -> tuple[list[Table], list[str]]:
    """(what fits and what is repeated, a note) of the kept traces of a workspace."""
    from tracekit.kernels.packing import pack

    rules = rule_sets.of_recipe(here.recipe)
    others = tuple(r for r in rules.rules if r.code != "longer_than_context")
    decisions = decide.decide(evidence, replace(rules, rules=others))
    kept = np.flatnonzero(decisions.kept)
    traces = evidence.traces[kept]
    n_samples_K, tokens_S = frames.sample_tokens(here.work, here.manifest, kept)
    longest_K = traces["max_sample_tokens"].fill_null(0).to_numpy()
    tokens_K = traces["n_tokens"].fill_null(0).to_numpy()
    longest_S = np.repeat(longest_K, n_samples_K)
    total = int(tokens_K.sum())
    rows = []
    for context in CONTEXTS:
        fits_K = longest_K <= context
        fits_S = tokens_S[longest_S <= context]
        n_tokens = int(tokens_K[fits_K].sum())
        packing = pack(fits_S, context)
        rows.append(
            (
                context, int(fits_K.sum()), n_tokens, _share(n_tokens, total),
                int((~fits_K).sum()), int(np.maximum(tokens_S - context, 0).sum()),
                packing.n_packs, packing.fill_share, _beyond(fits_S),
            )
        )  # fmt: skip
    columns = (
        "context", "traces_that_fit", "tokens_that_fit", "share", "too_long", "cut_tokens",
        "packs", "fill_share", "beyond_native",
    )  # fmt: skip
    note = (
        f"{_beyond(tokens_S):.2%} of all tokens stand beyond position {NATIVE_TOKENS:,} of their "
        "sample, where Qwen3.5 needs YaRN (beyond_native: of the tokens that fit)"
    )
    fit = Table("contexts, kept traces", columns, tuple(rows))
    return [fit, _repeated(traces, n_samples_K)], [note]


def _beyond(tokens_S: Ints) -> float:
    return _share(int(np.maximum(tokens_S - NATIVE_TOKENS, 0).sum()), int(tokens_S.sum()))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _repeated(traces: pl.DataFrame, n_samples_K: Ints) -> Table:
    """Tokens of system prompts and tool declarations: of each different text once, against all."""
    headers = (
        traces.select(
            "header_hash",
            (pl.col("n_system_tokens") + pl.col("n_tools_tokens")).fill_null(0).alias("all"),
        )
        # each sample of a trace shows the header again
        .with_columns((pl.col("all") // pl.Series(np.maximum(n_samples_K, 1))).alias("once"))
        .filter(pl.col("header_hash").is_not_null() & (pl.col("all") > 0))
    )
    texts = headers.group_by("header_hash").agg(pl.col("once").max())
    n_all, n_distinct = int(headers["all"].sum()), int(texts["once"].sum())
    total = int(traces["n_tokens"].fill_null(0).sum())
    rows = (
        ("system and tools", headers.height, texts.height, n_all, n_distinct, n_all - n_distinct,
         _share(n_all - n_distinct, total)),
    )  # fmt: skip
    columns = (
        "header", "traces", "distinct_texts", "tokens", "distinct_tokens", "repeated_tokens",
        "share_of_all",
    )  # fmt: skip
    return Table("repeated headers, kept traces", columns, rows)
