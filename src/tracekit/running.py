"""The whole road of a recipe, under one lock: ingest, measure, decide, shard."""

from __future__ import annotations

from pathlib import Path

from tracekit import manifest as manifests
from tracekit import planning, stages
from tracekit.errors import UsageError
from tracekit.planning import Selection
from tracekit.progress import Progress, no_progress
from tracekit.recipe import Recipe
from tracekit.report import Report
from tracekit.workspace import Workspace


def run(
    recipe: Recipe,
    *,
    work: str | Path = "work",
    out: str | Path | None = None,
    progress: Progress | None = None,
    limit: int | None = None,
    sample: str | None = None,
    dry_run: bool = False,
) -> Report:
    """All stages of a recipe. What is done and unchanged is not done again.

    out: folder of the shards; default `shards`. limit, sample: read only some records; the
    manifests say so. Raises the errors of `tracekit.errors`.
    """
    work, out = Path(work), Path("shards" if out is None else out)
    recipe = recipe.moved(work)
    told = progress or no_progress
    selection = Selection(limit=limit, sample=sample)
    if work.resolve() == out.resolve() or work.resolve() in out.resolve().parents:
        raise UsageError(
            "the shards would lie inside the workspace", where=str(out), fix="name another --out"
        )
    _refuse_workspace_in_source(recipe, work)
    if dry_run:
        stages.check_ahead(recipe)
        place = Workspace(work)
        planned = planning.plan(recipe, place, manifests.load(place), selection, replaced=False)
        from tracekit import summary

        return summary.planned(planned)
    stages.warm_up(recipe)
    with stages.at(work) as place:
        before = manifests.load(place)
        planned, manifest, _ = stages.ingest_under_lock(
            recipe, place, before, selection, replaced=False, progress=told
        )
        manifest = stages.measure_under_lock(recipe, place, manifest, told)
        manifest, evidence, decisions = stages.decide_under_lock(recipe, place, manifest)
        value, fresh = stages.shard_under_lock(
            recipe, place, manifest, out, evidence, decisions, told
        )
    from tracekit import summary  # polars; late, so that ingest starts earlier

    changed = summary.recipe_changes(before.recipe, recipe.to_dict())
    return summary.ran(place, out, planned, manifest, evidence, decisions, value, fresh, changed)


def _refuse_workspace_in_source(recipe: Recipe, work: Path) -> None:
    """A workspace inside of a source would be read as data by the next run."""
    for name in recipe.sources:
        for given in recipe.paths(name):
            folder = Path(given)
            if folder.is_dir() and folder.resolve() in (work.resolve(), *work.resolve().parents):
                raise UsageError(
                    f"the workspace would lie inside source {name}, and be read as its data",
                    where=str(work),
                    expected="a workspace beside the data",
                    fix="name another folder with -w",
                    wrote="nothing was written",
                )
