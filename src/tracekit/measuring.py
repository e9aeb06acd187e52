"""Stage evidence: measure every part that is not measured with these settings, then the pairs.

Near duplicates are found in three steps: candidates from the signatures of all traces, the exact
shingle sets of candidates spilled part by part, exact similarities in bounded memory.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from tracekit import door, edits, evidence, frames, keep_order, pairs, sketch
from tracekit import manifest as manifests
from tracekit.columns import columns_of
from tracekit.evidence import EvidenceJob, Settings, measure_part
from tracekit.executors import Note, Trouble, run_jobs
from tracekit.manifest import EvidenceEntry, Manifest, fingerprint
from tracekit.progress import Progress
from tracekit.recipe import Recipe
from tracekit.rules import RuleSet
from tracekit.schema import TRACE_SCHEMA
from tracekit.workspace import Workspace

VERIFY_BYTES = 96 << 20
"""Shingle hashes that the comparison of candidates holds at once."""


def settings_of(recipe: Recipe) -> Settings:
    """What evidence is made with, of a recipe. Raises UsageError for an unknown repair."""
    edits.check_names(recipe.repairs)
    return Settings(
        repairs=tuple(recipe.repairs),
        template=recipe.template,
        history_thinking=recipe.render.history_thinking,
        tokenizer=recipe.tokenizer,
    )


def made_with(settings: Settings) -> dict[str, str]:
    """Hashes of template and tokenizer."""
    from tracekit import render, tokenizers

    return {
        "template": render.template_hash(settings.template),
        "tokenizer": tokenizers.identity(settings.tokenizer).sha256,
    }


def jobs_of(
    recipe: Recipe, work: Workspace, manifest: Manifest
) -> tuple[list[EvidenceJob], dict[str, int]]:
    """Jobs for what is missing, and how many parts each family needs."""
    settings = settings_of(recipe)
    hashes = made_with(settings) if manifest.batches else {"template": "", "tokenizer": ""}
    jobs = []
    counts: dict[str, int] = {}
    for batch, part in manifest.parts():
        wanted = evidence.fingerprints(part.files["traces"], settings, hashes)
        missing = evidence.missing(work, manifest, wanted, batch.source, part.name)
        for family, _ in missing:
            counts[family] = counts.get(family, 0) + 1
        if missing:
            path = work.file("traces", batch.source, part.name)
            jobs.append(
                EvidenceJob(
                    work=str(work.folder), source=batch.source, part=part.name,
                    trace_sha256=part.files["traces"], wanted=missing, settings=settings,
                    n_bytes=path.stat().st_size if path.exists() else 0,
                )
            )  # fmt: skip
    return jobs, counts


def measure(
    recipe: Recipe, work: Workspace, manifest: Manifest, *, workers: int, progress: Progress
) -> Manifest:
    """Measure what is missing; returns the manifest, not yet written."""
    jobs, _ = jobs_of(recipe, work, manifest)
    kept = {
        family: {
            f"{b.source}/{p.name}": manifest.evidence[family][f"{b.source}/{p.name}"]
            for b, p in manifest.parts()
            if f"{b.source}/{p.name}" in manifest.evidence.get(family, {})
        }
        for family in evidence.FAMILIES
    }
    total, done_bytes, n_done, n_lost = sum(j.n_bytes for j in jobs), 0, 0, 0
    waiting = []
    for job in jobs:
        path = work.receipt("evidence", job.source, job.part)
        old = manifests.read_receipt(path, fingerprint(job.wanted), work.folder)
        if old is None:
            waiting.append(job)
        else:
            _enter(kept, job, old)
            n_lost += old["n_lost"]
            n_done += 1
            done_bytes += job.n_bytes
    manifests.forget(work, manifest, _without(manifest, waiting))
    progress(done_bytes, total, 0, 0, parts=(n_done, len(jobs)), stage="measure")
    n_traces = 0
    for index, receipt in run_jobs(measure_part, waiting, workers=workers):
        job = waiting[index]
        _enter(kept, job, receipt)
        n_lost += receipt["n_lost"]
        n_done += 1
        done_bytes += job.n_bytes
        n_traces += max((f["n_rows"] for f in receipt["families"].values()), default=0)
        progress(done_bytes, total, n_traces, 0, parts=(n_done, len(jobs)), stage="measure")
    return replace(
        manifest,
        evidence=kept,
        n_not_reproducible=n_lost + sum(p.n_lost for _, p in manifest.parts()),
    )


def _without(manifest: Manifest, jobs: Sequence[EvidenceJob]) -> Manifest:
    """The manifest without what the jobs will overwrite."""
    stale = {(family, f"{j.source}/{j.part}") for j in jobs for family, _ in j.wanted}
    kept = {
        family: {key: entry for key, entry in parts.items() if (family, key) not in stale}
        for family, parts in manifest.evidence.items()
    }
    return replace(manifest, evidence=kept)


def _enter(kept: dict[str, dict[str, EvidenceEntry]], job: EvidenceJob, receipt: Any) -> None:
    for family, entry in receipt["families"].items():
        kept[family][f"{job.source}/{job.part}"] = EvidenceEntry(**entry)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShinglesJob:
    """Spill the exact shingle sets of some rows of one part."""

    work: str
    source: str
    part: str
    trace_sha256: str
    edits_sha256: str
    rows: npt.NDArray[np.int64]
    n_words: int
    spill: str
    """Folder of the four arrays."""


_ARRAYS = ("task_hashes", "task_offsets", "target_hashes", "target_offsets")


def spill_shingles(job: ShinglesJob, trouble: Trouble, note: Note) -> None:
    """Job function: write the shingle sets of the rows, in order."""
    work = Workspace(Path(job.work))
    file = door.open_parquet(work.file("traces", job.source, job.part), job.trace_sha256)
    made = edits.edits_of(
        door.read_table(work.file("evidence/edits", job.source, job.part), job.edits_sha256)
    )
    params = sketch.SketchParams(n_words=job.n_words)
    sets: list[sketch.ShingleSets] = []
    first = 0
    for group in range(file.num_row_groups):
        n_rows = file.metadata.row_group(group).num_rows
        lo, hi = np.searchsorted(job.rows, [first, first + n_rows])
        if lo < hi:
            note(first, first + n_rows)
            table = file.read_row_group(group, use_threads=False).cast(TRACE_SCHEMA)
            table = table.take(pa.array(job.rows[lo:hi] - first))
            changed = [
                replace(e, trace=i)
                for i, row in enumerate(job.rows[lo:hi].tolist())
                for e in made.get(row, ())
            ]
            if changed:
                _, table = evidence.edited(table.to_pylist(), changed, 0)
            sets.append(sketch.shingle_sets(columns_of(table), np.arange(hi - lo), params))
        first += n_rows
    joined = sketch.joined_sets(sets)
    folder = Path(job.spill)
    for name in _ARRAYS:
        with door.write_stream(folder / f"{name}.npy") as out:
            np.save(out, getattr(joined, name))


def find_pairs(
    recipe: Recipe,
    rules: RuleSet,
    work: Workspace,
    manifest: Manifest,
    *,
    workers: int,
    progress: Progress,
) -> Manifest:
    """Verified pairs from the floor up, if they are not here already; the manifest, not written."""
    if recipe.dedupe is False:
        return manifest
    floor = recipe.dedupe.floor
    sketches = manifest.evidence.get("sketch", {})
    made_from = fingerprint(
        [
            "pairs", pairs.VERSION, floor, list(rules.keep), list(rules.sources),
            [sketches[f"{b.source}/{p.name}"].fingerprint for b, p in manifest.parts()],
        ]
    )  # fmt: skip
    if manifest.pairs.get("fingerprint") == made_from and work.pairs.exists():
        return manifest
    known = frames.load(work, manifest, with_pairs=False)
    signature, n_shingles = frames.signatures(work, manifest)
    given = np.flatnonzero(signature.is_valid().to_numpy(zero_copy_only=False))
    ranks = keep_order.keep_ranks(known.traces, rules)
    matrix = sketch.signature_matrix(signature.filter(signature.is_valid()))
    found = pairs.candidates(matrix, np.argsort(np.argsort(ranks[given])), floor=floor)
    a, b = given[found.a_G], given[found.b_G]
    same = _first_of_equals(known.traces["content_hash"])

    def verified(one: npt.NDArray[np.int64], two: npt.NDArray[np.int64]) -> pa.Table:
        return _verified(recipe, work, manifest, one, two, n_shingles, floor, workers, progress)

    table = (
        pairs.through_equals(a, b, same, verified) if a.size else pairs.PAIR_SCHEMA.empty_table()
    )
    ids = known.traces["id"].to_arrow().cast(pa.large_string())
    stored = pa.table(
        {
            "a": ids.take(table.column("a")),
            "b": ids.take(table.column("b")),
            "task_jaccard": table.column("task_jaccard"),
            "target_jaccard": table.column("target_jaccard"),
        },
        schema=frames.PAIR_SCHEMA,
    ).sort_by([("a", "ascending"), ("b", "ascending")])
    manifests.forget(work, manifest, replace(manifest, pairs={}))
    sha256 = door.write_table(work.pairs, stored)
    tally = {k: v for k, v in asdict(found).items() if k not in ("a_G", "b_G", "bands")}
    entry = {
        "fingerprint": made_from, "sha256": sha256, "floor": floor, "bands": list(found.bands),
        "n_candidates": int(a.size), "n_pairs": stored.num_rows, **tally,
    }  # fmt: skip
    return replace(manifest, pairs=entry)


def _first_of_equals(content_hash: pl.Series) -> npt.NDArray[np.int64]:
    """For each trace the first that says the same: whatever is compared, it is compared once."""
    first = pl.DataFrame({"h": content_hash}).with_row_index("row")
    return first.select(pl.col("row").first().over("h"))["row"].to_numpy().astype(np.int64)


def _verified(
    recipe: Recipe,
    work: Workspace,
    manifest: Manifest,
    a: npt.NDArray[np.int64],
    b: npt.NDArray[np.int64],
    n_shingles: npt.NDArray[np.int64],
    floor: float,
    workers: int,
    progress: Progress,
) -> pa.Table:
    rows = np.unique(np.concatenate([a, b]))
    folder = work.folder / "spill" / "shingles"
    shutil.rmtree(folder, ignore_errors=True)
    entries = manifest.evidence["edits"]
    jobs: list[ShinglesJob] = []
    firsts: list[int] = []
    first = 0
    for batch, part in manifest.parts():
        n = part.n_traces
        lo, hi = np.searchsorted(rows, [first, first + n])
        if lo < hi:
            firsts.append(int(lo))
            jobs.append(
                ShinglesJob(
                    work=str(work.folder), source=batch.source, part=part.name,
                    trace_sha256=part.files["traces"],
                    edits_sha256=entries[f"{batch.source}/{part.name}"].sha256,
                    rows=rows[lo:hi] - first, n_words=settings_of(recipe).n_words,
                    spill=str(folder / f"{len(jobs):06d}"),
                )
            )  # fmt: skip
        first += n
    for n_done, _ in enumerate(run_jobs(spill_shingles, jobs, workers=workers), start=1):
        progress(n_done, len(jobs), 0, 0, parts=(n_done, len(jobs)), stage="compare")
    held = [
        sketch.ShingleSets(
            *(np.load(Path(j.spill) / f"{name}.npy", mmap_mode="r") for name in _ARRAYS)
        )
        for j in jobs
    ]

    def load(wanted: npt.NDArray[np.int64]) -> sketch.ShingleSets:
        places = np.searchsorted(rows, wanted)
        owner = np.searchsorted(firsts, places, side="right") - 1
        return sketch.joined_sets(
            [sketch.picked_sets(held[k], places[owner == k] - firsts[k]) for k in np.unique(owner)]
        )

    try:
        return pairs.verify_spill(
            a, b, load, n_shingles_T=n_shingles, floor=floor, max_bytes=VERIFY_BYTES
        )
    finally:
        held.clear()
        shutil.rmtree(folder, ignore_errors=True)
