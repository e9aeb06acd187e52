"""Stage shard: the kept traces as a folder that trainers and the Hub read as it is.

Scatter, gather, then the second law over sets of rows, then manifest and card, then one rename of
the finished folder. Until that rename the older product stands untouched.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import xxhash

from tracekit import __version__, card, door, reading, render, tokenizers
from tracekit import sharding as shards
from tracekit.decide import Decisions, Evidence
from tracekit.errors import LawError, StorageError, UsageError
from tracekit.executors import run_jobs
from tracekit.manifest import Manifest, fingerprint
from tracekit.progress import Progress
from tracekit.recipe import Recipe
from tracekit.workspace import Workspace

FORMAT = 1
"""Version of the product's manifest."""
SEGMENTS = ("system", "tools", "user", "reasoning", "answer", "call", "result", "template")


def write(
    recipe: Recipe,
    work: Workspace,
    manifest: Manifest,
    out: Path,
    evidence: Evidence,
    decisions: Decisions,
    *,
    workers: int,
    progress: Progress,
) -> tuple[dict[str, Any], bool]:
    """Write the product; returns its manifest and whether anything had to be done.

    Raises UsageError where `out` holds something else, LawError where a trace is lost or doubled.
    """
    _refuse_foreign(out)
    shards.finish_swap(out)
    kept = np.flatnonzero(decisions.kept)
    traces = evidence.traces[kept]
    made_from = _made_from(recipe, manifest, decisions, traces)
    incoming = out.parent / f".{out.name}.incoming"
    shutil.rmtree(incoming, ignore_errors=True)
    old = _existing(out)
    if old is not None and old.get("fingerprint") == made_from and not _damaged(out, old):
        return old, False
    sizes = traces.select(
        "content_hash", "record_hash", "id", "n_tokens", (pl.col("n_chars") + 200).alias("n_bytes")
    )
    plan = shards.plan(
        sizes,
        seed=recipe.seed,
        tokens_per_shard=recipe.shard.tokens_per_shard,
        max_bytes=recipe.shard.max_bytes,
    )
    spill = work.folder / "spill" / "shards"
    shutil.rmtree(spill, ignore_errors=True)
    jobs = _scatter_jobs(work, manifest, traces, kept, plan, spill)
    total = len(jobs) + plan.n_shards
    batches: dict[int, dict[int, list[int]]] = {}
    for index, found in run_jobs(shards.scatter_part, jobs, workers=workers):
        batches[index] = found
        progress(len(batches), total, 0, 0, parts=(0, plan.n_shards), stage="scatter")
    gathers = [
        shards.GatherJob(
            path=str(incoming / "data" / f"train-{k:05d}-of-{plan.n_shards:05d}.parquet"),
            number=k,
            spills=tuple(
                (jobs[i].spill, tuple(batches[i][k])) for i in sorted(batches) if k in batches[i]
            ),
            row_group_bytes=recipe.shard.row_group_bytes,
        )
        for k in range(plan.n_shards)
    ]
    entries: dict[int, dict[str, Any]] = {}
    placed: list[Any] = []
    for index, entry in run_jobs(shards.gather_shard, gathers, workers=workers):
        placed.append(entry.pop("positions"))
        entries[index] = {"file": f"data/{Path(gathers[index].path).name}", **entry}
        done = len(jobs) + len(entries)
        progress(done, total, 0, 0, parts=(len(entries), plan.n_shards), stage="shard")
    _check_law(plan, placed, traces)
    value = _manifest(recipe, manifest, evidence, decisions, traces, made_from, entries)
    door.write_bytes(incoming / "README.md", card.card(value).encode())
    door.write_json(incoming / "manifest.json", {**value, "seal": fingerprint(value)})
    shards.swap_in(incoming, out)
    shutil.rmtree(spill, ignore_errors=True)
    return value, True


def _made_from(
    recipe: Recipe, manifest: Manifest, decisions: Decisions, traces: pl.DataFrame
) -> str:
    """Fingerprint of a product: the kept traces by content and what shapes them.

    Nothing in it depends on part size, file order or history, so that equal mixes say so.
    """
    rows = traces.select(pl.col("content_hash") + pl.col("record_hash")).to_series().sort()
    return fingerprint(
        [
            "shards", shards.VERSION, xxhash.xxh3_128_hexdigest("".join(rows).encode()),
            render.template_hash(recipe.render.template),
            tokenizers.identity(recipe.tokenizer).sha256,
            recipe.seed, recipe.shard.tokens_per_shard, recipe.shard.max_bytes,
            recipe.shard.row_group_bytes, reading.law(manifest), _dropped(decisions),
        ]
    )  # fmt: skip


def _dropped(decisions: Decisions) -> dict[str, int]:
    lost = decisions.traces.filter(~pl.col("kept"))
    return dict(lost.group_by("dropped_by").len().sort("dropped_by").iter_rows())


def _refuse_foreign(out: Path) -> None:
    if _existing(out) is None and (out / "manifest.json").is_file() and (out / "data").is_dir():
        raise StorageError(
            "the manifest of these shards is damaged or was edited by hand",
            where=str(out / "manifest.json"),
            expected="a manifest as tracekit wrote it",
            fix=f"delete {out} and run the same command again, or name another folder with --out",
            wrote="nothing was written",
        )
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and _existing(out) is None)):
        raise UsageError(
            "this folder holds something that tracekit did not write",
            where=str(out),
            expected="a new or empty folder, or one with shards of tracekit",
            fix="name another folder with --out",
            wrote="nothing was written",
        )


def _existing(out: Path) -> dict[str, Any] | None:
    """The manifest of a product that is there already, or None."""
    try:
        value = json.loads((out / "manifest.json").read_bytes())
        return value if isinstance(value, dict) and "shards" in value else None
    except (OSError, ValueError):
        return None


def _damaged(out: Path, manifest: dict[str, Any]) -> bool:
    seal = manifest.pop("seal", None)
    return seal != fingerprint(manifest) or any(
        not (out / s["file"]).exists() or door.sha256_of(out / s["file"]) != s["sha256"]
        for s in manifest["shards"]
    )


def _scatter_jobs(
    work: Workspace,
    manifest: Manifest,
    traces: pl.DataFrame,
    kept: Any,
    plan: shards.Plan,
    spill: Path,
) -> list[shards.ScatterJob]:
    ids = _shard_ids(traces["content_hash"], plan)
    n_tokens = traces["n_tokens"].fill_null(0).to_numpy()
    n_target = traces["n_target_tokens"].fill_null(0).to_numpy()
    jobs: list[shards.ScatterJob] = []
    first = 0
    for batch, part in manifest.parts():
        lo, hi = np.searchsorted(kept, [first, first + part.n_traces])
        if lo < hi:
            jobs.append(
                shards.ScatterJob(
                    work=str(work.folder), source=batch.source, part=part.name,
                    trace_sha256=part.files["traces"],
                    edits_sha256=manifest.evidence["edits"][f"{batch.source}/{part.name}"].sha256,
                    spill=str(spill / f"{len(jobs):06d}.arrow"),
                    row_R=kept[lo:hi] - first, id_R=ids[lo:hi],
                    n_tokens_R=n_tokens[lo:hi], n_target_tokens_R=n_target[lo:hi],
                    position_R=plan.position_K[lo:hi], shard_R=plan.shard_K[lo:hi],
                )
            )  # fmt: skip
        first += part.n_traces
    return jobs


def _shard_ids(content_hash: pl.Series, plan: shards.Plan) -> list[str]:
    """Content hash, `-k` for the k-th equal copy in the order of the product."""
    seen: dict[str, int] = {}
    out = content_hash.to_list()
    for k in np.argsort(plan.position_K):
        h = out[k]
        n = seen[h] = seen.get(h, 0) + 1
        if n > 1:
            out[k] = f"{h}-{n}"
    return out


def _check_law(plan: shards.Plan, placed: list[Any], traces: pl.DataFrame) -> None:
    """The second half of the first law: each kept trace is in the shards exactly once."""
    got = np.sort(np.concatenate(placed)) if placed else np.zeros(0, np.int64)
    want = np.arange(len(plan.position_K))
    if len(got) == len(want) and bool((got == want).all()):
        return
    lost = np.setdiff1d(want, got)[:10]
    by_position = {int(p): k for k, p in enumerate(plan.position_K)}
    ids = traces["id"].to_list()
    raise LawError(
        f"{len(want)} traces are kept, {len(got)} rows were written",
        where=", ".join(ids[by_position[int(p)]] for p in lost),
        expected="each kept trace in the shards exactly once",
        fix="report it: this is a fault of tracekit",
        wrote="the shards were not put in place",
    )


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {n: version(n) for n in ("pyarrow", "polars", "fastokens", "tokenizers", "tiktoken")}


def _manifest(
    recipe: Recipe,
    manifest: Manifest,
    evidence: Evidence,
    decisions: Decisions,
    traces: pl.DataFrame,
    made_from: str,
    entries: dict[int, dict[str, Any]],
) -> dict[str, Any]:
    tokenizer = tokenizers.identity(recipe.tokenizer)
    n_all, n_kept = decisions.traces.height, traces.height
    partial = sorted({b.partial for b in manifest.batches if b.partial})
    sums = {
        "n_tokens": _sum(traces, "n_tokens"),
        "n_target_tokens": _sum(traces, "n_target_tokens"),
        **{f"n_{s}_tokens": _sum(traces, f"n_{s}_tokens") for s in SEGMENTS},
    }
    by_source = (
        traces.group_by("source")
        .agg(pl.len().alias("traces"), pl.col("n_tokens", "n_target_tokens").sum())
        .sort("source")
    )
    law = [*reading.law(manifest), kept_law(n_all, n_kept)]
    return {
        "format": FORMAT,
        "tracekit": __version__,
        "versions": _versions(),
        "fingerprint": made_from,
        "name": recipe.name,
        "recipe": recipe.edited({"workers": None}).to_dict(),
        "seed": recipe.seed,
        "order": "xxh3-64 of the content hash with the seed",
        "template": {
            "name": recipe.render.template,
            "hash": render.template_hash(recipe.render.template),
            "history_thinking": recipe.render.history_thinking,
        },
        "tokenizer": {
            "name": tokenizer.name,
            "sha256": tokenizer.sha256,
            "exact": tokenizer.exact,
        },
        "dedupe": {
            k: v
            for k, v in manifest.pairs.items()
            if k in ("floor", "bands", "n_bounded_buckets", "n_bounded_members")
        },
        "traces": n_kept,
        **sums,
        "sources": by_source.to_dicts(),
        "dropped": _dropped(decisions),
        "rejects": _rejects(manifest),
        "shards": [entries[k] for k in sorted(entries)],
        "law": law,
        "partial": partial,
        "reproducible": (
            "yes"
            if not manifest.n_not_reproducible
            else f"not reproducible: {manifest.n_not_reproducible} rows"
        ),
    }


def kept_law(n_all: int, n_kept: int) -> str:
    """The second half of the first law, in numbers."""
    return f"{n_all:,} traces = {n_kept:,} in shards + {n_all - n_kept:,} dropped"


def _rejects(manifest: Manifest) -> dict[str, int]:
    counts: dict[str, int] = {}
    for _, part in manifest.parts():
        for code, n in part.rejects.items():
            counts[code] = counts.get(code, 0) + n
    return dict(sorted(counts.items()))


def _sum(traces: pl.DataFrame, column: str) -> int:
    return int(traces[column].fill_null(0).sum())
