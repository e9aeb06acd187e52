"""Real files through the whole road: what of a folder is read, and what becomes of it.

    python bench/real_input.py FOLDER [--out docs/results.md] [--work DIR]

Every file below FOLDER that one dialect fits becomes part of one multi-source recipe (a source is
a folder and a dialect); the others are listed with what spoke against them. Writes a page of counts
and places, never of text. What stands between the marks `by-eye` is kept from the old page.
"""

import argparse
import re
import tempfile
from collections import Counter
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


def dialect_of(path: Path, root: Path, spool: Path) -> tuple[str | None, str]:
    """The one dialect that fits at least half of the first records, or None and why."""
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
    except TracekitError as error:
        return None, str(error).splitlines()[0]
    candidates = dialects.recognise(values)
    return dialects.choose(candidates), why_none(candidates, values)


def why_none(candidates: list[tuple[str, str, float]], values: list[Any]) -> str:
    """What spoke against the records of a file: names of keys only."""
    if candidates:
        fitting = ", ".join(f"{name} {share:.0%}" for name, _, share in candidates)
        return f"fits too few of the first {len(values)} records: {fitting}"
    if not values:
        return "no record"
    first = values[0]
    if not isinstance(first, dict):
        return f"records are of type {type(first).__name__}"
    keys = [key for key in first if re.fullmatch(r"[A-Za-z_]{1,24}", key)]
    if len(keys) < min(len(first), 2):
        return "one object keyed by ids or names"
    return "records of " + ", ".join(f"`{key}`" for key in keys[:4])


def sources(folder: Path, spool: Path) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Sources of the recipe, and (file, why) of those that are of none of the dialects."""
    found: dict[tuple[str, str], list[str]] = {}
    other = []
    for home in sorted(p for p in folder.iterdir() if p.is_dir()):
        for path in sorted(p for p in home.rglob("*") if p.is_file()):
            dialect, why = dialect_of(path, home, spool)
            if dialect is None:
                other.append((path.relative_to(folder).as_posix(), why))
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


KINDS_SHOWN = 3


def unread(other: list[tuple[str, str]]) -> list[str]:
    """A row for each folder, its most frequent kinds of files first."""
    folders: dict[str, Counter[str]] = {}
    for name, why in other:
        folders.setdefault(name.partition("/")[0], Counter())[why] += 1
    rows = []
    for folder, kinds in folders.items():
        said = [f"{n} x {why}" for why, n in kinds.most_common(KINDS_SHOWN)]
        if len(kinds) > KINDS_SHOWN:
            said.append(f"{len(kinds) - KINDS_SHOWN} more kinds")
        rows.append((folder, kinds.total(), "; ".join(said)))
    return table(("folder", "files", "what is there"), rows)


def page(
    work: Path, report: tracekit.Report, n_files: int, other: list[tuple[str, str]], eye: str
) -> str:
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
    lines = [
        "# Real files",
        "",
        f"Made by `python bench/real_input.py FOLDER`: {n_files} public files, of which the",
        f"{n_files - len(other)} that one of today's dialects fits were read as one recipe with",
        "default rules. A source is a folder and a dialect.",
        "Counts and places only; the texts are not ours to show.",
        "",
        *[f"- {line}" for line in report.law],
        "",
        *table(columns, rows),
        "",
        "## Read by eye",
        "",
        eye,
        "",
        f"## Of none of these dialects: {len(other)} files",
        "",
        "None of them was opened any further; each needs a dialect of its own.",
        "",
        *unread(other),
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
    n_files = len(other) + sum(len(source["path"]) for source in named.values())
    text = page(scratch / "work", report, n_files, other, kept[0] if kept else EMPTY_EYE)
    options.out.write_text(text, "utf-8")
    print(f"{options.out}: {len(named)} sources; the workspace is {scratch / 'work'}")


if __name__ == "__main__":
    main()
