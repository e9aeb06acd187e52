"""Commands that meet a new folder: sniff, init."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tracekit.errors import EXIT_OK
from tracekit.output import Out, print_report


def sniff(
    ctx: typer.Context,
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Files, folders, globs.")],
    show: Annotated[
        bool, typer.Option("--show", help="Print a parsed trace beside its raw record.")
    ] = False,
    examples: Annotated[
        int, typer.Option("--examples", min=1, help="How many of each kind --show prints.")
    ] = 1,
) -> int:
    """What files and folders hold: container, dialect with the reason, records, size, odd files.

    Looks at the head, the middle and the tail of each file and writes nothing. A set that is a
    benchmark by its ids or keys is said aloud.

    Examples:
      tracekit sniff data
      tracekit sniff data/vendor/batch-01.jsonl --show
      tracekit sniff data --format json
    """
    from tracekit.sniffing import sniff as sniff_paths

    out: Out = ctx.obj
    print_report(out, sniff_paths(paths, n_shown=examples if show else 0))
    return EXIT_OK


def init(
    ctx: typer.Context,
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Files, folders, globs.")],
    out_file: Annotated[Path, typer.Option("-o", "--out", help="The recipe to write.")] = Path(
        "recipe.yaml"
    ),
    force: Annotated[bool, typer.Option("--force", help="Write over a recipe.")] = False,
) -> int:
    """A commented recipe from what sniff sees: a source for each folder and dialect.

    The first line names the schema, so that editors complete keys; the schema is written beside
    the recipe. A set that is a benchmark gets `use: eval-only`.

    Examples:
      tracekit init data -o recipe.yaml
    """
    from tracekit.cli.schemas import json_schema
    from tracekit.drafting import draft
    from tracekit.output import json_text

    out: Out = ctx.obj
    schema = (json_text(json_schema("recipe")) + "\n").encode()
    print_report(out, draft(paths, out_file, force=force, schema=schema))
    return EXIT_OK
