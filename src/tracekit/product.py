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

from tracekit import __version__, card, door, profiles, reading, render, tokenizers
from tracekit import sharding as shards
from tracekit.decide import Decisions, Evidence
from tracekit.errors import LawError, StorageError, UsageError
from tracekit.executors import run_jobs
from tracekit.manifest import Manifest, fingerprint
from tracekit.progress import Progress
from tracekit.recipe import Recipe
from tracekit.scattering import prepare
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
    decided = decisions.traces[kept]
    traces = evidence.traces[kept].with_columns(decided["n_target_tokens"], decided["untrained"])
    made_from = _made_from(recipe, manifest, decisions, traces)
    incoming = out.parent / f".{out.name}.incoming"
    shutil.rmtree(incoming, ignore_errors=True)
    old = _existing(out)
    if old is not None and old.get("fingerprint") == made_from and not _damaged(out, old):
        return old, False
    profile = profiles.named(recipe.shard.profile)
    spill = work.folder / "spill" / "shards"
    shutil.rmtree(spill, ignore_errors=True)
    scattering = prepare(recipe, work, manifest, profile, kept, traces, spill)
    jobs, n_shards = scattering.jobs, scattering.n_shards
    total = len(jobs) + n_shards
    batches: dict[int, dict[int, list[int]]] = {}
    for index, found in run_jobs(scattering.function, jobs, workers=workers):
        batches[index] = found
        progress(len(batches), total, 0, 0, parts=(0, n_shards), stage="scatter")
    gathers = [
        shards.GatherJob(
            path=str(incoming / "data" / f"train-{k:05d}-of-{n_shards:05d}.parquet"),
            profile=profile.name,
            number=k,
            spills=tuple(
                (jobs[i].spill, tuple(batches[i][k])) for i in sorted(batches) if k in batches[i]
            ),
            row_group_bytes=recipe.shard.row_group_bytes,
        )
        for k in range(n_shards)
    ]
    entries: dict[int, dict[str, Any]] = {}
    placed: list[Any] = []
    for index, entry in run_jobs(shards.gather_shard, gathers, workers=workers):
        placed.append(entry.pop("positions"))
        entries[index] = {"file": f"data/{Path(gathers[index].path).name}", **entry}
        done = len(jobs) + len(entries)
        progress(done, total, 0, 0, parts=(len(entries), n_shards), stage="shard")
    _check_law(scattering.trace_N, placed, traces)
    facts = scattering.facts
    if profile.has_tokens:
        empty = sum(entry["rows_without_target"] for entry in entries.values())
        facts = {**facts, "rows_without_target": empty}
    value = _manifest(recipe, manifest, evidence, decisions, traces, made_from, facts, entries)
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
    rows = traces.select(
        pl.col("content_hash")
        + pl.col("record_hash")
        + pl.col("untrained").cast(pl.List(pl.String)).list.join(",")
    ).to_series().sort()  # fmt: skip
    return fingerprint(
        [
            "shards", shards.VERSION, xxhash.xxh3_128_hexdigest("".join(rows).encode()),
            render.template_hash(recipe.template), recipe.render.history_thinking,
            tokenizers.identity(recipe.tokenizer).sha256,
            recipe.seed, recipe.shard.tokens_per_shard, recipe.shard.max_bytes,
            recipe.shard.row_group_bytes, reading.law(manifest), _dropped(decisions),
            *_profile(recipe),
        ]
    )  # fmt: skip


def _profile(recipe: Recipe) -> list[Any]:
    """What only the profiles of tokens depend on; nothing for messages."""
    profile = profiles.named(recipe.shard.profile)
    if not profile.has_tokens:
        return []
    return [profile.name, profile.version, recipe.shard.context * (profile.name == "packed")]


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


def _check_law(trace_N: Any, placed: list[Any], traces: pl.DataFrame) -> None:
    """The second half of the first law: each kept trace is in the shards exactly once.

    trace_N: kept trace at each place of the product; placed: places that the shards hold.
    """
    got = np.sort(np.concatenate(placed)) if placed else np.zeros(0, np.int64)
    want = np.arange(len(trace_N))
    if len(got) == len(want) and bool((got == want).all()):
        return
    lost = np.setdiff1d(want, got)[:10]
    ids = traces["id"].to_list()
    raise LawError(
        f"{len(want)} places are to be filled, {len(got)} were written",
        where=", ".join(ids[trace_N[place]] for place in lost),
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
    facts: dict[str, Any],
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
        "profile": {"name": recipe.shard.profile, **facts},
        "template": {
            "name": recipe.render.template,
            "hash": render.template_hash(recipe.template),
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
