"""Commands for the whole road: `demo` and `run`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tracekit.cli.editing import load_recipe, sample_of
from tracekit.errors import EXIT_OK
from tracekit.output import Out, print_report
from tracekit.progress import Shown

Work = Annotated[Path, typer.Option("-w", "--work", help="Folder of the workspace.")]


STRICT = {
    "validate": {"drop": ["unclosed_think", "unknown_tool", "control_tokens"]},
    "filter": {"drop": ["truncated", "empty_answer"], "max_loop_share": 0.3},
}
"""Drops that the demo switches on, to show them; the defaults only flag these."""


def demo(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Folder to make.")] = Path("demo"),
) -> int:
    """The whole road on a built-in sample: ingest, measure, decide, dedupe, shard.

    Writes DIR/traces (the sample), DIR/recipe.yaml, DIR/work (the workspace) and DIR/shards (the
    product). No network, no account. Run again, it says that nothing changed.

    Examples:
      tracekit demo
      tracekit demo /tmp/tracekit-demo
    """
    from tracekit.door import write_bytes
    from tracekit.recipe import Recipe
    from tracekit.running import run
    from tracekit.sample import write_sample

    out: Out = ctx.obj
    traces = folder / "traces"
    files = write_sample(traces)
    names = sorted({file.relative_to(traces).parts[0] for file in files})
    recipe = Recipe.from_dict(
        {
            "name": "demo",
            "sources": {name: {"path": f"traces/{name}"} for name in names},
            **STRICT,
        },
        folder=folder,
    )
    write_bytes(folder / "recipe.yaml", recipe.to_yaml().encode())
    out.note(f"{len(files)} files of invented traces, {len(names)} formats", label=str(traces))
    with Shown(out) as progress:
        report = run(
            recipe.moved(folder / "work"),
            work=folder / "work",
            out=folder / "shards",
            progress=progress,
            limit=None,
            sample=None,
            dry_run=False,
        )
    print_report(out, report)
    return EXIT_OK


def run_recipe(
    ctx: typer.Context,
    recipe_file: Annotated[Path, typer.Argument(metavar="RECIPE", help="YAML file.")],
    work: Work = Path("work"),
    out_folder: Annotated[
        Path | None,
        typer.Option("--out", help="Folder of the shards; default: shard.out, or `shards`."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only the first N records of each source.")
    ] = None,
    sample: Annotated[
        str | None, typer.Option(help="Only N records, or N%, drawn with the recipe's seed.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done; write nothing.")
    ] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes.")] = None,
) -> int:
    """All stages of a recipe, from raw traces to shards.

    What is already done and unchanged is not done again: the same command goes on after an
    interruption. A run with --limit or --sample is marked as partial in the manifest.

    Examples:
      tracekit run pipelines/quickstart.yaml
      tracekit run pipelines/quickstart.yaml -w work --out shards --workers 2
      tracekit run pipelines/quickstart.yaml --limit 100 --dry-run
    """
    out: Out = ctx.obj
    sample = sample_of(sample)
    recipe = load_recipe(recipe_file)
    if workers is not None:
        recipe = recipe.edited({"workers": workers})
    if out_folder is None:
        out_folder = Path(recipe.resolve(recipe.shard.out) if recipe.shard.out else "shards")
    from tracekit.running import run

    with Shown(out) as progress:
        report = run(
            recipe.moved(work),
            work=work,
            out=out_folder,
            progress=progress,
            limit=limit,
            sample=sample,
            dry_run=dry_run,
        )
    print_report(out, report)
    return EXIT_OK
