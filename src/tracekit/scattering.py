"""What is to be scattered: for each profile the jobs, and the places that they have to fill.

Shape letters: K kept traces in the order of the evidence, S their samples, N places.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tracekit import frames, sharding, token_plan, token_scatter
from tracekit.errors import LawError
from tracekit.executors import JobFunction
from tracekit.manifest import Manifest
from tracekit.profiles import Profile
from tracekit.recipe import Recipe
from tracekit.sharding import KeptRows, Plan, ScatterJob
from tracekit.token_rows import BYTES_PER_TOKEN, Ints, fill_share
from tracekit.token_scatter import SampleJob
from tracekit.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Scattering:
    """A product that is about to be made."""

    function: JobFunction
    jobs: list[Any]
    n_shards: int
    trace_N: Ints
    """Kept trace that stands at each place: every place is to be filled once."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What the product's manifest says of its profile."""


def prepare(
    recipe: Recipe,
    work: Workspace,
    manifest: Manifest,
    profile: Profile,
    kept: Ints,
    traces: pl.DataFrame,
    spill: Path,
) -> Scattering:
    """Plan the product. kept: numbers of the kept traces; traces: their evidence, with `untrained`
    and `n_target_tokens` as decided."""
    n_bytes = pl.col("n_chars") + 200
    if profile.has_tokens:
        n_bytes = pl.col("n_tokens").fill_null(0) * BYTES_PER_TOKEN
    plan = sharding.plan(
        traces.select("content_hash", "record_hash", "id", "n_tokens", n_bytes.alias("n_bytes")),
        seed=recipe.seed,
        tokens_per_shard=recipe.shard.tokens_per_shard,
        max_bytes=recipe.shard.max_bytes,
    )
    ids = _shard_ids(traces["content_hash"], plan)
    n_target = traces["n_target_tokens"].fill_null(0).to_numpy().astype(np.int64)
    parts = list(_parts(work, manifest, kept, traces["untrained"]))
    spills = [str(spill / f"{number:06d}.arrow") for number in range(len(parts))]
    if profile.has_tokens:
        return _samples(recipe, work, manifest, profile, kept, plan, ids, n_target, parts, spills)
    n_tokens = traces["n_tokens"].fill_null(0).to_numpy().astype(np.int64)
    jobs = [
        ScatterJob(
            kept=rows, spill=file, id_R=ids[at], n_tokens_R=n_tokens[at],
            n_target_tokens_R=n_target[at], position_R=plan.position_K[at],
            shard_R=plan.shard_K[at],
        )
        for (at, rows), file in zip(parts, spills, strict=True)
    ]  # fmt: skip
    return Scattering(
        function=sharding.scatter_part,
        jobs=jobs,
        n_shards=plan.n_shards,
        trace_N=np.argsort(plan.position_K),
    )


def _samples(
    recipe: Recipe,
    work: Workspace,
    manifest: Manifest,
    profile: Profile,
    kept: Ints,
    plan: Plan,
    ids: list[str],
    n_target_K: Ints,
    parts: list[tuple[slice, KeptRows]],
    spills: list[str],
) -> Scattering:
    n_samples_K, tokens_S = frames.sample_tokens(work, manifest, kept)
    for k in np.flatnonzero(n_samples_K == 0)[:1]:
        raise LawError(
            f"trace {ids[k]} is kept, but it was never rendered, so it has no tokens",
            expected="a dropping row for each trace that cannot be rendered",
            fix="report it: this is a fault of tracekit",
            wrote="nothing was written",
        )
    context = recipe.shard.context if profile.name == "packed" else None
    placed = token_plan.of(
        plan.position_K, n_samples_K, tokens_S,
        context=context,
        tokens_per_shard=recipe.shard.tokens_per_shard,
        max_bytes=recipe.shard.max_bytes,
    )  # fmt: skip
    jobs = []
    for (at, rows), file in zip(parts, spills, strict=True):
        first_R1 = placed.first_K1[at.start : at.stop + 1]
        of_part = slice(int(first_R1[0]), int(first_R1[-1]))
        jobs.append(
            SampleJob(
                kept=rows, spill=file, template=recipe.template,
                history=recipe.render.history_thinking, tokenizer=recipe.tokenizer, id_R=ids[at],
                n_target_tokens_R=n_target_K[at], first_R1=first_R1 - first_R1[0],
                tokens_S=tokens_S[of_part], position_S=placed.position_S[of_part],
                row_S=placed.row_S[of_part], shard_S=placed.shard_S[of_part],
            )
        )  # fmt: skip
    facts: dict[str, Any] = {
        "n_samples": len(tokens_S),
        "longest_sample_tokens": int(tokens_S.max(initial=0)),
    }
    if context is not None:
        facts |= {
            "context": context,
            "n_packs": placed.n_rows,
            "fill_share": fill_share(int(tokens_S.sum()), placed.n_rows, context),
        }
    trace_S = np.repeat(np.arange(len(n_samples_K)), n_samples_K)
    return Scattering(
        function=token_scatter.scatter_samples,
        jobs=jobs,
        n_shards=placed.n_shards,
        trace_N=trace_S[np.argsort(placed.position_S)],
        facts=facts,
    )


def _parts(
    work: Workspace, manifest: Manifest, kept: Ints, untrained_K: pl.Series
) -> Iterator[tuple[slice, KeptRows]]:
    """(place among the kept, kept rows) of each part that has any."""
    first = 0
    for batch, part in manifest.parts():
        lo, hi = np.searchsorted(kept, [first, first + part.n_traces]).tolist()
        if lo < hi:
            yield (
                slice(lo, hi),
                KeptRows(
                    work=str(work.folder), source=batch.source, part=part.name,
                    trace_sha256=part.files["traces"],
                    edits_sha256=manifest.evidence["edits"][f"{batch.source}/{part.name}"].sha256,
                    row_R=kept[lo:hi] - first,
                    untrained={
                        int(row) - first: tuple(messages)
                        for row, messages in zip(
                            kept[lo:hi], untrained_K[lo:hi].to_list(), strict=True
                        )
                        if messages
                    },
                ),
            )  # fmt: skip
        first += part.n_traces


def _shard_ids(content_hash: pl.Series, plan: Plan) -> list[str]:
    """Content hash, `-k` for the k-th equal copy in the order of the product."""
    seen: dict[str, int] = {}
    out = content_hash.to_list()
    for k in np.argsort(plan.position_K):
        h = out[k]
        n = seen[h] = seen.get(h, 0) + 1
        if n > 1:
            out[k] = f"{h}-{n}"
    return out
