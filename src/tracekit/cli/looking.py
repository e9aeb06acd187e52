"""Commands that look and write nothing: stats, why, explain, check, schema."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tracekit.amounts import tokens_of
from tracekit.cli.editing import amount
from tracekit.errors import EXIT_CHECK_FAILED, EXIT_OK, UsageError, did_you_mean
from tracekit.output import Out, print_report
from tracekit.report import Report, Table

Work = Annotated[Path, typer.Option("-w", "--work", help="Folder of the workspace.")]


def stats(
    ctx: typer.Context,
    work: Work = Path("work"),
    contexts: Annotated[
        bool, typer.Option("--contexts", help="What fits into contexts of 8k to 1M tokens.")
    ] = False,
) -> int:
    """Traces and tokens by source and segment, what is kept, what is dropped by which code, with
    one example each.

    Examples:
      tracekit stats -w work
      tracekit stats -w work --contexts --format tsv
    """
    from tracekit import views

    print_report(ctx.obj, views.stats(work, contexts=contexts))
    return EXIT_OK


def why(
    ctx: typer.Context,
    trace: Annotated[
        str,
        typer.Argument(
            metavar="ID", help="Id or its beginning, source id, file:line, or id of a shard row."
        ),
    ],
    work: Work = Path("work"),
    raw: Annotated[bool, typer.Option("--raw", help="The record as it came in.")] = False,
) -> int:
    """All that was measured and decided on one trace, and its text.

    Examples:
      tracekit why -w work vendor:batch-05.jsonl#309
      tracekit why -w work batch-05.jsonl:310 --raw
    """
    from tracekit import views

    print_report(ctx.obj, views.why(work, trace, raw=raw))
    return EXIT_OK


def explain(
    ctx: typer.Context,
    code: Annotated[str | None, typer.Argument(metavar="[CODE]", help="Name of a code.")] = None,
) -> int:
    """What a code means, why it matters, what it does by default and how to turn it off.

    Examples:
      tracekit explain
      tracekit explain unclosed_think
    """
    from tracekit import registry

    out: Out = ctx.obj
    codes = {c.name: c for c in registry.codes()}
    if code is None:
        rows = tuple((c.name, c.kind, c.default, c.what) for _, c in sorted(codes.items()))
        out.tables([Table("", ("code", "kind", "default", "what"), rows)])
        out.hint("tracekit explain CODE")
        return EXIT_OK
    if code not in codes:
        raise UsageError(
            f"no code {code!r}.{did_you_mean(code, codes)}", fix="tracekit explain lists them"
        )
    c = codes[code]
    pairs: list[tuple[str, str]] = [
        ("code", c.name),
        ("kind", c.kind),
        ("when", c.what),
        ("why", c.why),
        ("default", c.default),
        ("fix", c.fix),
        ("source", c.source),
    ]
    if c.kind in ("finding", "drop"):
        pairs.append(("turn off", f"in the recipe: {{filter: {{off: [{c.name}]}}}}"))
    out.pairs("", [(k, v) for k, v in pairs if v])
    return EXIT_OK


def check(
    ctx: typer.Context,
    work: Work = Path("work"),
    max_reject_share: Annotated[
        float | None, typer.Option(min=0, max=1, help="Most records that may be rejects.")
    ] = None,
    no: Annotated[
        list[str] | None,
        typer.Option("--no", metavar="CODE", help="No kept trace has this finding; repeatable."),
    ] = None,
    min_tokens: Annotated[
        str | None, typer.Option(help="Fewest tokens that are kept in all: 100M.")
    ] = None,
) -> int:
    """Assertions about a workspace, for CI. Exit code 1 if one does not hold, with examples.

    Examples:
      tracekit check -w work --max-reject-share 0.01 --no unclosed_think --min-tokens 100M
    """
    assertions: dict[str, Any] = {}
    if max_reject_share is not None:
        assertions["max_reject_share"] = max_reject_share
    if no:
        assertions["no"] = tuple(no)
    if (tokens := amount("--min-tokens", min_tokens, tokens_of)) is not None:
        assertions["min_tokens"] = tokens
    if not assertions:
        raise UsageError(
            "nothing to check", expected="--max-reject-share, --no or --min-tokens, any of them"
        )
    from tracekit import views

    report: Report = views.check(work, assertions)
    print_report(ctx.obj, report)
    return EXIT_CHECK_FAILED if report.failed else EXIT_OK


def schema(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Which one.")] = None,
    write: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write them as files into a folder.")
    ] = None,
) -> int:
    """JSON Schemas of recipe, trace, manifest and ledger.

    Examples:
      tracekit schema
      tracekit schema recipe
      tracekit schema --write schemas
    """
    from tracekit import door
    from tracekit.cli.schemas import SCHEMAS, json_schema
    from tracekit.output import json_text

    out: Out = ctx.obj
    if name is not None and name not in SCHEMAS:
        raise UsageError(
            f"no schema {name!r}.{did_you_mean(name, SCHEMAS)}",
            expected=f"one of {', '.join(SCHEMAS)}",
        )
    names = [name] if name is not None else list(SCHEMAS)
    if write is not None:
        rows = []
        with door.guarded("create", write):
            write.mkdir(parents=True, exist_ok=True)
        for one in names:
            file = write / SCHEMAS[one].file
            door.write_bytes(file, (json_text(json_schema(one)) + "\n").encode())
            rows.append((one, str(file)))
        out.tables([Table("", ("schema", "file"), tuple(rows))])
    elif name is not None:
        out.json(json_schema(name))
    else:
        listed = [(one, s.file, s.what) for one, s in SCHEMAS.items()]
        out.tables([Table("", ("schema", "file", "what"), tuple(listed))])
        out.hint("tracekit schema recipe")
    return EXIT_OK
