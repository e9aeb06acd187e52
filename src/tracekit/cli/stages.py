"""Commands for one stage each, on one workspace."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tracekit.amounts import tokens_of
from tracekit.cli.editing import amount, ingest_recipe, inputs_table, recipe_of, rule_of, what_if_of
from tracekit.errors import EXIT_CHECK_FAILED, EXIT_OK, UsageError
from tracekit.output import Out, print_report
from tracekit.progress import Shown

Work = Annotated[Path, typer.Option("-w", "--work", help="Folder of the workspace.")]
WhatIf = Annotated[
    str | None,
    typer.Option(
        "--what-if", metavar="NAME=A..B", help="What each value would keep; writes nothing."
    ),
]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes; default: one a core.")]


def ingest(
    ctx: typer.Context,
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="PATHS...", help="Files, folders, globs, `-`, or one recipe."),
    ] = None,
    work: Work = Path("work"),
    source: Annotated[
        list[str] | None,
        typer.Option("--source", metavar="NAME=PATH", help="A source by name; repeatable."),
    ] = None,
    dialect: Annotated[
        str | None, typer.Option(help="Dialect of all inputs; default: seen from their shape.")
    ] = None,
    tools_from: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|inferred", help="Tools of traces that record none: a JSON catalogue."
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only the first N records of each source.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Read files again; say which traces change.")
    ] = False,
    workers: Workers = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List what would be read; write nothing.")
    ] = False,
) -> int:
    """Read input files into a workspace: canonical traces, and a reject with place and reason for
    each record that cannot become one.

    Files that are already in the workspace are skipped. With --replace they are read again where
    they, their dialect, its options or the tools of --tools-from changed, and the traces that this
    adds, removes or changes are counted. Without --source, a file belongs to the source that is
    called like its folder.
    With --tools-from, traces whose source declares no tools get those of a catalogue (a JSON list
    of declarations, or an object with one for each harness), or, `inferred`, those they call.

    Examples:
      tracekit ingest data/*.jsonl.zst more/*.parquet -w work
      tracekit ingest --source vendor=data/vendor --dialect openai -w work
      tracekit ingest pipelines/quickstart.yaml -w work
      tracekit ingest sessions --tools-from catalogue.json -w work
      tracekit ingest data --dry-run
    """
    out: Out = ctx.obj
    recipe = ingest_recipe(paths or [], source or [], work, dialect, tools_from)
    if workers is not None:
        recipe = recipe.edited({"workers": workers})
    if dry_run:
        out.tables([inputs_table(recipe)])
        out.note("dry run: nothing was written")
        return EXIT_OK
    from tracekit import stages

    with Shown(out) as progress:
        report = stages.ingest(recipe, work, replace=replace, limit=limit, progress=progress)
    print_report(out, report)
    return EXIT_OK


def validate(ctx: typer.Context, work: Work = Path("work"), workers: Workers = None) -> int:
    """Find what is wrong with traces, and drop what cannot be rendered or trained.

    What each code does is said by `tracekit explain`; a recipe changes it under `validate:`.

    Examples:
      tracekit validate -w work
    """
    return _decide(ctx.obj, work, {}, workers)


def filter_traces(
    ctx: typer.Context,
    work: Work = Path("work"),
    min_tokens: Annotated[str | None, typer.Option(help="Fewest tokens of a trace.")] = None,
    max_tokens: Annotated[str | None, typer.Option(help="Most tokens of a trace: 32k.")] = None,
    max_loop_share: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Most of a text that may be one repeated stretch."),
    ] = None,
    rule: Annotated[
        list[str] | None,
        typer.Option(metavar='"CODE: EXPR"', help="A rule of your own; repeatable."),
    ] = None,
    what_if: WhatIf = None,
    workers: Workers = None,
) -> int:
    """Set limits and rules on single traces and decide again, from stored measures.

    The options are kept in the workspace's recipe. With --what-if nothing is changed: each value
    is tried, and what it would keep is shown.

    Examples:
      tracekit filter -w work --max-tokens 32768
      tracekit filter -w work --max-tokens 32768 --what-if max_loop_share=0.1..0.5
      tracekit filter -w work --rule "short_answer: n_answer_tokens >= 5"
    """
    changes: dict[str, Any] = {
        "min_tokens": amount("--min-tokens", min_tokens, tokens_of),
        "max_tokens": amount("--max-tokens", max_tokens, tokens_of),
        "max_loop_share": max_loop_share,
    }
    changes = {k: v for k, v in changes.items() if v is not None}
    rules = [rule_of(text) for text in rule or ()]
    if rules:
        codes = {r["code"] for r in rules}
        held = recipe_of(work).to_dict()["filter"]["rules"]
        changes["rules"] = [*(r for r in held if r["code"] not in codes), *rules]
    return _decide(ctx.obj, work, {"filter": changes} if changes else {}, workers, what_if)


def dedupe(
    ctx: typer.Context,
    work: Work = Path("work"),
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Similarity from which two are the same.")
    ] = None,
    off: Annotated[bool, typer.Option("--off", help="Keep all duplicates.")] = False,
    what_if: WhatIf = None,
    workers: Workers = None,
) -> int:
    """Drop exact and near duplicates among the traces that single-trace rules keep.

    The best of each group stays, by the order under `dedupe.keep` in the recipe.

    Examples:
      tracekit dedupe -w work --threshold 0.8
      tracekit dedupe -w work --what-if threshold=0.7..0.95
    """
    if off and threshold is not None:
        raise UsageError("--off and --threshold together", expected="one of them")
    changes: dict[str, Any] = {}
    if off:
        changes = {"dedupe": False}
    elif threshold is not None:
        changes = {"dedupe": {"threshold": threshold}}
        held = recipe_of(work).dedupe
        if held is not False and threshold < held.floor:
            # Pairs are stored from the floor up, so a lower threshold needs a lower floor.
            changes["dedupe"]["floor"] = threshold
            ctx.obj.note(f"below the floor {held.floor:g}: pairs are sought again, from there on")
    return _decide(ctx.obj, work, changes, workers, what_if)


def shard(
    ctx: typer.Context,
    work: Work = Path("work"),
    out_folder: Annotated[Path, typer.Option("--out", help="Folder of the shards.")] = Path(
        "shards"
    ),
    tokens_per_shard: Annotated[str | None, typer.Option(help="Tokens of a shard: 10M.")] = None,
    profile: Annotated[
        str | None,
        typer.Option(help="What a row is: messages, tokenized (a sample) or packed (samples)."),
    ] = None,
    context: Annotated[
        str | None, typer.Option(help="Most tokens of a packed row, 4k to 1048576: 32768.")
    ] = None,
    workers: Workers = None,
) -> int:
    """Write what is kept as Parquet shards that a trainer reads as they are.

    A row of profile messages is a trace as text, one of tokenized a sample as ids and labels, one
    of packed whole samples up to a context; a trace with a longer sample is dropped, never cut.
    The options are kept in the workspace's recipe.

    Examples:
      tracekit shard -w work --out shards --tokens-per-shard 10M
      tracekit shard -w work --out packed --profile packed --context 32768
    """
    out: Out = ctx.obj
    recipe = recipe_of(work)
    changes = {
        "tokens_per_shard": amount("--tokens-per-shard", tokens_per_shard, tokens_of),
        "profile": profile,
        "context": amount("--context", context, tokens_of),
    }
    changes = {k: v for k, v in changes.items() if v is not None}
    if changes:
        recipe = recipe.edited({"shard": changes})
    if context is not None and recipe.shard.profile != "packed":
        raise UsageError(
            f"--context is for packed rows, and the profile is {recipe.shard.profile}",
            fix="--profile packed --context " + context,
            wrote="nothing was written",
        )
    if workers is not None:
        recipe = recipe.edited({"workers": workers})
    from tracekit import stages

    with Shown(out) as progress:
        report = stages.shard(recipe, work, out_folder, progress)
    print_report(out, report)
    return EXIT_OK


def verify(
    ctx: typer.Context,
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Shards or a workspace.")],
) -> int:
    """Compare every file with the manifest, and add up the sums again.

    Examples:
      tracekit verify shards
      tracekit verify work
    """
    from tracekit.verifying import verify as verify_folder

    report = verify_folder(path)
    print_report(ctx.obj, report)
    return EXIT_CHECK_FAILED if report.failed else EXIT_OK


def _decide(
    out: Out,
    work: Path,
    changes: dict[str, Any],
    workers: int | None,
    what_if: str | None = None,
) -> int:
    question = what_if_of(what_if) if what_if is not None else None
    recipe = recipe_of(work)
    if workers is not None:
        recipe = recipe.edited({"workers": workers})
    if changes:
        recipe = recipe.edited(changes)
    from tracekit import stages, views

    if question is not None:
        name, values = question
        print_report(out, views.what_if(work, name, values, recipe=recipe))
        return EXIT_OK
    with Shown(out) as progress:
        stages.measure(recipe, work, progress)
        report = stages.decide_stage(recipe, work)
    print_report(out, report)
    return EXIT_OK
