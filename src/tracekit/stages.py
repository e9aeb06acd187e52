"""One function a stage, on one workspace; each holds the lock, checks the law, writes the manifest.

A stage recomputes what its fingerprint says is stale and nothing else. `run.run` is the same
functions in a row under one lock.

What later stages need (polars, compiled kernels: a second) is imported where it is used, and ahead
of that in a thread while workers read: nothing keeps ingest from starting.
"""

from __future__ import annotations

import glob
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tracekit import door, executors, planning, reading
from tracekit import manifest as manifests
from tracekit.errors import TracekitError
from tracekit.manifest import Manifest, fingerprint
from tracekit.planning import Planning, Selection
from tracekit.progress import Progress, no_progress
from tracekit.recipe import Recipe
from tracekit.recipe_sections import is_template_file
from tracekit.report import Report
from tracekit.workspace import Workspace, existing, locked

if TYPE_CHECKING:
    from tracekit.decide import Decisions, Evidence
    from tracekit.rereading import Changes
    from tracekit.rules import RuleSet

INLINE_BYTES = 16 << 20
"""Below so many bytes of traces the work is done here: starting workers would take longer."""


def n_workers(recipe: Recipe, n_bytes: int) -> int:
    """Processes for a stage; 0 is inline. TRACEKIT_WORKERS=0 forces inline, for debugging."""
    forced = os.environ.get("TRACEKIT_WORKERS")
    if forced is not None and forced.isdigit():
        return int(forced)
    if recipe.workers is None and n_bytes < INLINE_BYTES:
        return 0
    return recipe.workers or os.cpu_count() or 1


def warm_up(recipe: Recipe) -> None:
    """Check what can be checked now, and start what workers need in the background."""
    check_ahead(recipe)
    n_bytes = 0
    for path in (p for name in recipe.sources for p in recipe.paths(name)):
        for file in _files(path):
            n_bytes += file.stat().st_size
            if n_bytes > INLINE_BYTES:
                break
    if n_workers(recipe, n_bytes):
        executors.prepare(recipe.tokenizer)
    else:
        # No daemon: an interpreter that ends while compiled code loads would be aborted.
        threading.Thread(target=_load, args=(recipe.tokenizer,), name="tracekit-ahead").start()


def _files(given: str) -> Iterator[Path]:
    """Files that a path of a recipe means, about: what is wrong with it is told by planning."""
    for path in map(Path, glob.iglob(given) if glob.has_magic(given) else [given]):  # noqa: PTH207
        with suppress(OSError):
            yield from (p for p in (path.rglob("*") if path.is_dir() else [path]) if p.is_file())


def _load(tokenizer: str) -> None:
    """Load a tokenizer ahead of its use; whoever uses it is told what is wrong with it."""
    from tracekit import tokenizers

    with suppress(TracekitError, OSError):
        found = tokenizers.load(tokenizer)
        if found.fast:
            found.reference()  # samples of each part are compared with it


def _import_ahead() -> None:
    from tracekit import decide, frames, measuring, product, rules, summary  # noqa: F401


def ingest(
    recipe: Recipe,
    work: str | Path,
    *,
    replace: bool = False,
    limit: int | None = None,
    sample: str | None = None,
    progress: Progress | None = None,
) -> Report:
    """Read the sources of a recipe into a workspace. Files that are here already are skipped."""
    from tracekit import summary

    place = Workspace(Path(work))
    recipe = recipe.moved(place.folder)
    warm_up(recipe)
    with locked(place):
        before = manifests.load(place)
        planned, manifest, changes = ingest_under_lock(
            recipe, place, before, Selection(limit=limit, sample=sample),
            replaced=replace, progress=progress or no_progress,
        )  # fmt: skip
    return summary.ingested(place, planned, manifest, changes)


def ingest_under_lock(
    recipe: Recipe,
    work: Workspace,
    manifest: Manifest,
    selection: Selection,
    *,
    replaced: bool,
    progress: Progress,
) -> tuple[Planning, Manifest, Changes | None]:
    """Plan, read, commit; returns what was planned, the new manifest, and what it changed."""
    from tracekit import rereading

    planning.check_selection(selection)
    planned = planning.plan(recipe, work, manifest, selection, replaced=replaced)
    again = [b for b in manifest.batches if replaced and b not in planned.manifest.batches]
    before = rereading.read(work, again)
    if planned.manifest.batches != manifest.batches:
        manifests.forget(work, manifest, replace(planned.manifest, law=()))
    n_bytes = sum(j.part.plain_bytes for p in planned.batches for j in p.jobs)
    workers = n_workers(recipe, n_bytes)
    if workers:
        threading.Thread(target=_import_ahead, name="tracekit-ahead").start()
    new = reading.read(planned, work, workers=workers, progress=progress)
    new = _committed(work, new, recipe)
    shutil.rmtree(work.spool, ignore_errors=True)
    if not again:
        return planned, new, None
    rereading.clear(work, again, new.batches)
    fresh = [b for b in new.batches if b not in planned.manifest.batches]
    return planned, new, rereading.compare(before, rereading.read(work, fresh))


def _committed(work: Workspace, new: Manifest, recipe: Recipe) -> Manifest:
    """Write the manifest where it is not what stands there, then clear what it makes needless."""
    new = replace(new, recipe=recipe.to_dict(), source_order=tuple(recipe.sources))
    if new.batches:
        new = replace(new, law=reading.law(new))
    old = manifests.load(work)
    if replace(new, tracekit=old.tracekit) != old:
        manifests.save(work, new)
    shutil.rmtree(work.folder / "receipts", ignore_errors=True)
    return new


def checked_rules(recipe: Recipe) -> RuleSet:
    """The rules of a recipe, each expression tried. UsageError before anything is written."""
    from tracekit import decide, frames
    from tracekit import rules as rule_sets

    rules = rule_sets.of_recipe(recipe)
    decide.check(rules, frames.unmeasured(2))
    return rules


def check_ahead(recipe: Recipe) -> None:
    """What a run would only meet late, told before it starts: own rules, a template of the user."""
    if recipe.filter.rules:
        checked_rules(recipe)
    if is_template_file(recipe.render.template):
        from tracekit import render

        render.named(recipe.template)


def measure(recipe: Recipe, work: str | Path, progress: Progress | None = None) -> None:
    """Measure what is not measured with this recipe, pairs included."""
    place = existing(Path(work))
    recipe = recipe.moved(place.folder)
    warm_up(recipe)
    with locked(place):
        measure_under_lock(recipe, place, manifests.load(place), progress or no_progress)


def measure_under_lock(
    recipe: Recipe, work: Workspace, manifest: Manifest, progress: Progress
) -> Manifest:
    """Evidence and pairs of all parts; returns the written manifest."""
    from tracekit import measuring

    rules = checked_rules(recipe)
    workers = n_workers(recipe, trace_bytes(work, manifest))
    new = measuring.measure(recipe, work, manifest, workers=workers, progress=progress)
    new = _committed(work, new, recipe)
    paired = measuring.find_pairs(recipe, rules, work, new, workers=workers, progress=progress)
    return _committed(work, paired, recipe)


def trace_bytes(work: Workspace, manifest: Manifest) -> int:
    """Bytes of all input, plain or not: what decides whether workers pay."""
    return sum(f.n_bytes for b in manifest.batches for f in b.files)


def decide_stage(recipe: Recipe, work: str | Path) -> Report:
    """Decide over stored evidence and write the ledger."""
    from tracekit import summary

    place = existing(Path(work))
    recipe = recipe.moved(place.folder)
    with locked(place):
        manifest, evidence, decisions = decide_under_lock(recipe, place, manifests.load(place))
    return summary.decided(place, manifest, evidence, decisions)


def decide_under_lock(
    recipe: Recipe, work: Workspace, manifest: Manifest
) -> tuple[Manifest, Evidence, Decisions]:
    """Decide, write ledger and decisions, commit."""
    from tracekit import decide, frames

    rules = checked_rules(recipe)
    evidence = frames.load(work, manifest, with_pairs=recipe.dedupe is not False)
    decisions = decide.decide(evidence, rules)
    made_from = fingerprint(
        [
            "ledger", decide.VERSION, repr(rules), manifest.pairs.get("sha256"),
            sorted(
                [family, key, entry.fingerprint]
                for family, parts in manifest.evidence.items()
                for key, entry in parts.items()
            ),
        ]
    )  # fmt: skip
    if manifest.ledger.get("fingerprint") != made_from or not (
        work.ledger.exists() and work.decisions.exists()
    ):
        manifests.forget(work, manifest, replace(manifest, ledger={}))
        entry = {
            "fingerprint": made_from,
            "sha256": door.write_table(work.ledger, decisions.ledger.to_arrow()),
            "decisions_sha256": door.write_table(work.decisions, decisions.traces.to_arrow()),
            "n_traces": decisions.traces.height,
            "n_kept": int(decisions.kept.sum()),
        }
        manifest = _committed(work, replace(manifest, ledger=entry), recipe)
    return manifest, evidence, decisions


def shard(
    recipe: Recipe, work: str | Path, out: str | Path, progress: Progress | None = None
) -> Report:
    """Write the product; measures and decides first where that is not done with this recipe."""
    from tracekit import summary

    place = existing(Path(work))
    recipe = recipe.moved(place.folder)
    with locked(place):
        manifest = manifests.load(place)
        told = progress or no_progress
        manifest = measure_under_lock(recipe, place, manifest, told)
        manifest, evidence, decisions = decide_under_lock(recipe, place, manifest)
        value, fresh = shard_under_lock(
            recipe, place, manifest, Path(out), evidence, decisions, told
        )
    return summary.sharded(place, Path(out), value, fresh)


def shard_under_lock(
    recipe: Recipe,
    work: Workspace,
    manifest: Manifest,
    out: Path,
    evidence: Evidence,
    decisions: Decisions,
    progress: Progress,
) -> tuple[dict[str, object], bool]:
    """Write the product; (its manifest, whether anything had to be done)."""
    from tracekit import product

    return product.write(
        recipe, work, manifest, out, evidence, decisions,
        workers=n_workers(recipe, trace_bytes(work, manifest)), progress=progress,
    )  # fmt: skip


@contextmanager
def at(work: Path) -> Iterator[Workspace]:
    """Hold the workspace for several stages."""
    place = Workspace(work)
    with locked(place):
        yield place
