"""Real files through the whole road: what of a folder is read, and what becomes of it.

    python bench/real_input.py FOLDER [--out docs/results.md] [--work DIR]

Every file below FOLDER that one dialect fits becomes part of one multi-source recipe (a source is
a folder and a dialect); the others are counted as not of these dialects. Writes a page of counts
and places, never of text. What stands between the marks `by-eye` is kept from the old page.
"""

import argparse
import re
import tempfile
from pathlib import Path
from typing import Any

import polars as pl

import tracekit
from tracekit import dialects
from tracekit.containers import read_slices
from tracekit.errors import TracekitError
from tracekit.parts import plan_parts
from tracekit.recipe import Recipe

SAMPLED = 30
EYE = re.compile(r"<!-- by-eye -->.*<!-- /by-eye -->", re.S)
EMPTY_EYE = "<!-- by-eye -->\n<!-- /by-eye -->"


def is_record(value: Any) -> bool:
    return bool(dialects.recognise([value]))


def dialect_of(path: Path, root: Path, spool: Path) -> str | None:
    """The one dialect that fits at least half of the first records, or None."""
    try:
        plan = plan_parts(
            "s", root, [path.relative_to(root)], spool_folder=spool,
            whole_object_is_record=is_record,
        )  # fmt: skip
        values: list[Any] = []
        for _, record in read_slices(s for p in plan.parts[:1] for s in p.slices):
            if record.error is None:
                values.append(record.value)
            if len(values) >= SAMPLED:
                break
    except TracekitError:
        return None
    return dialects.choose(dialects.recognise(values))


def sources(folder: Path, spool: Path) -> tuple[dict[str, Any], list[str]]:
    """Sources of the recipe, and files that are of none of the dialects."""
    found: dict[tuple[str, str], list[str]] = {}
    other = []
    for home in sorted(p for p in folder.iterdir() if p.is_dir()):
        for path in sorted(p for p in home.rglob("*") if p.is_file()):
            dialect = dialect_of(path, home, spool)
            if dialect is None:
                other.append(path.relative_to(folder).as_posix())
            else:
                found.setdefault((home.name, dialect), []).append(str(path))
    named = {
        f"{home}.{dialect}": {"path": files, "dialect": dialect}
        for (home, dialect), files in found.items()
    }
    return named, other


def table(columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> list[str]:
    def cell(value: Any) -> str:
        return f"{value:,}" if isinstance(value, int) else str(value or "")

    head = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return [*head, *("| " + " | ".join(map(cell, row)) + " |" for row in rows)]


def counts(frame: pl.DataFrame, source: str, column: str = "code") -> str:
    part = frame.filter(pl.col("source") == source)
    groups = part.group_by(column).len().sort("len", column, descending=[True, False])
    return ", ".join(f"{code} {n:,}" for code, n in groups.iter_rows())


def page(work: Path, report: tracekit.Report, other: list[str], eye: str) -> str:
    here = tracekit.open(work)
    evidence, decisions = here.decided()
    ledger = decisions.ledger.unique(["id", "code"])
    dropped = decisions.traces.filter(~pl.col("kept"))
    frames = []
    for batch, part in here.manifest.parts():
        for code, n in part.rejects.items():
            frames.append({"source": batch.source, "code": code, "n": n})
    by_reject = pl.DataFrame(frames, schema={"source": pl.String, "code": pl.String, "n": pl.Int64})
    rows = []
    for row in report.data["read"]["sources"]:
        name = row["source"]
        mine = evidence.traces.filter(pl.col("source") == name)
        said = by_reject.filter(pl.col("source") == name).group_by("code").agg(pl.col("n").sum())
        rows.append(
            (
                name, row["files"], row["records"], row["events"], row["traces"],
                ", ".join(f"{c} {n}" for c, n in said.sort("code").iter_rows()),
                int(mine["n_tokens"].sum()), int(mine["n_target_tokens"].sum()),
                counts(ledger.filter(pl.col("action") == "flag"), name),
                counts(dropped, name, "dropped_by"),
            )
        )  # fmt: skip
    columns = (
        "source", "files", "records", "events", "traces", "rejects", "tokens", "trained on",
        "flagged", "dropped first by",
    )  # fmt: skip
    folders: dict[str, int] = {}
    for name in other:
        folders[name.partition("/")[0]] = folders.get(name.partition("/")[0], 0) + 1
    lines = [
        "# Real files",
        "",
        "Made by `python bench/real_input.py FOLDER`: 491 public files in 62 formats, of which",
        "every file that one of today's dialects fits was read as one recipe with default rules.",
        "Counts and places only; the texts are not ours to show.",
        "",
        *[f"- {line}" for line in report.law],
        "",
        *table(columns, rows),
        "",
        f"Of none of these dialects yet: {len(other)} files ("
        + ", ".join(f"{k} {n}" for k, n in sorted(folders.items()))
        + ").",
        "",
        "## Read by eye",
        "",
        eye,
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/results.md"))
    parser.add_argument("--work", type=Path)
    options = parser.parse_args()
    scratch = options.work or Path(tempfile.mkdtemp(prefix="tracekit-real-"))
    named, other = sources(options.folder.resolve(), scratch / "spool")
    recipe = Recipe.from_dict({"name": "real", "sources": named})
    report = tracekit.run(recipe, work=scratch / "work", out=scratch / "shards")
    old = options.out.read_text("utf-8") if options.out.exists() else ""
    kept = EYE.search(old)
    text = page(scratch / "work", report, other, kept[0] if kept else EMPTY_EYE)
    options.out.write_text(text, "utf-8")
    print(f"{options.out}: {len(named)} sources; the workspace is {scratch / 'work'}")


if __name__ == "__main__":
    main()
