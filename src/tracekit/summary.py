"""What a stage did, as a report: its table, the law in numbers, notes, the next command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from tracekit import card, dialects, reading
from tracekit.decide import Decisions, Evidence
from tracekit.manifest import Manifest
from tracekit.planning import Planning, dry_run
from tracekit.report import Report, Table
from tracekit.rereading import Changes
from tracekit.workspace import Workspace

SURPRISING_SHARE = 0.5
"""A rule that takes more than this share of a source is named unasked."""


def planned(planning: Planning) -> Report:
    """A dry run: what would be read."""
    rows = dry_run(planning)
    columns = ("source", "dialect", "why", "files", "parts", "bytes")
    table = Table("", columns, tuple(tuple(r) for r in rows))
    return Report(
        tables=[table] if rows else [],
        notes=["dry run: nothing was written", *_plan_notes(planning)],
        data={"planned": table.records()},
    )


def ingested(
    work: Workspace, planning: Planning, manifest: Manifest, changes: Changes | None = None
) -> Report:
    """An ingest: per source what was read and what became of it; what reading again changed."""
    tables = [_sources(manifest)]
    rejects = _codes(manifest, "rejects")
    if rejects:
        tables.append(Table("rejects", ("code", "records"), tuple(rejects)))
    repairs = _codes(manifest, "repairs")
    if repairs:
        tables.append(Table("repaired, counted", ("code", "times"), tuple(repairs)))
    notes = [*_plan_notes(planning), *_outdated(planning.manifest), *_all_rejected(manifest)]
    if changes is not None:
        tables.append(changes.table())
        if changes.n_unreadable_parts:
            notes.append(
                f"{changes.n_unreadable_parts} parts of before could not be read: "
                "their traces count as added"
            )
    keys = _codes(manifest, "unknown_keys")
    if keys:
        named = ", ".join(f"{k}: {n:,} rows" for k, n in keys[:8])
        more = f" and {len(keys) - 8} more" if len(keys) > 8 else ""
        notes.append(f"keys kept in meta without being understood: {named}{more}")
    counters = _codes(manifest, "counters")
    fields = [(k.partition(":")[2], n) for k, n in counters if k.startswith("reasoning_field:")]
    if fields:
        named = ", ".join(f"{k}: {n:,} messages" for k, n in fields)
        notes.append(f"reasoning was read from {named}")
    return Report(
        tables=tables,
        law=reading.law(manifest) if manifest.batches else (),
        notes=notes,
        hints=[f"tracekit validate -w {work.folder}", f"tracekit stats -w {work.folder}"],
        data={
            "sources": tables[0].records(),
            "rejects": dict(rejects),
            "repairs": dict(repairs),
            "unknown_keys": dict(keys),
            "counters": dict(counters),
            **({"changes": changes.table().records()} if changes is not None else {}),
            "law": list(reading.law(manifest)) if manifest.batches else [],
        },
    )


def _plan_notes(planning: Planning) -> list[str]:
    notes = [
        f"source {p.batch.source}: dialect {p.dialect.name} ({p.evidence})"
        for p in planning.batches
    ]
    if planning.n_unchanged:
        notes.append(f"{planning.n_unchanged} files unchanged since they were ingested: skipped")
    notes += [f"skipped {s.path}: {s.reason}" for s in planning.skipped]
    notes += [f"no records in {name}" for name in planning.empty]
    return notes


def _outdated(manifest: Manifest) -> list[str]:
    """A note for each batch that an earlier version of its dialect read."""
    found: dict[tuple[str, str, int, int], None] = {}
    for b in manifest.batches:
        if b.dialect in dialects.DIALECTS:
            now = dialects.get(b.dialect).version
            if now != b.dialect_version:
                found[b.source, b.dialect, b.dialect_version, now] = None
    return [
        f"source {source} was read by version {then} of the dialect {name}, this is version {now}: "
        "--replace reads it again and says which traces change"
        for source, name, then, now in found
    ]


def _all_rejected(manifest: Manifest) -> list[str]:
    """A note for each batch that gave rejects and not one trace: often the wrong dialect."""
    notes = []
    for batch in manifest.batches:
        n_rejects = sum(part.n_rejects for part in batch.parts)
        if n_rejects and not any(part.n_traces for part in batch.parts):
            notes.append(
                f"source {batch.source}: no trace at all, {n_rejects:,} rejects; "
                f"is {batch.dialect} the right dialect?"
            )
    return notes


def _sources(manifest: Manifest) -> Table:
    rows = []
    for source in dict.fromkeys(b.source for b in manifest.batches):
        batches = [b for b in manifest.batches if b.source == source]
        parts = [p for b in batches for p in b.parts]
        rows.append(
            (
                source,
                ", ".join(sorted({b.dialect for b in batches})),
                sum(len(b.files) for b in batches),
                sum(p.n_records for p in parts),
                sum(p.n_events for p in parts),
                sum(p.n_rejects for p in parts),
                sum(p.n_traces for p in parts),
            )
        )
    columns = ("source", "dialect", "files", "records", "events", "rejects", "traces")
    return Table("", columns, tuple(rows))


def _codes(manifest: Manifest, what: str) -> list[tuple[str, int]]:
    counts: dict[str, int] = {}
    for _, part in manifest.parts():
        for code, n in getattr(part, what).items():
            counts[code] = counts.get(code, 0) + n
    return sorted(counts.items(), key=lambda kv: (-kv[1], kv[0]))


def decision_table(evidence: Evidence, decisions: Decisions) -> Table:
    """Per code: traces that it was found on, those that it drops first, tokens, one example."""
    tokens = evidence.traces.select("id", pl.col("n_tokens").fill_null(0))
    ledger = decisions.ledger.select("id", "stage", "rule", "code", "action").unique(
        ["id", "code"], keep="first", maintain_order=True
    )
    first = decisions.traces.select("id", "dropped_by")
    rows = (
        ledger.join(tokens, on="id", how="left")
        .join(first, on="id", how="left")
        .with_columns((pl.col("code") == pl.col("dropped_by")).fill_null(False).alias("first"))
        .group_by("code")
        .agg(
            pl.col("stage").first(),
            pl.col("action").max().alias("action"),
            pl.col("rule").min(),
            pl.len().alias("found"),
            pl.col("first").sum().alias("dropped"),
            pl.col("n_tokens").filter(pl.col("first")).sum().alias("tokens"),
            pl.col("id").sort_by(pl.col("first"), "id", descending=[True, False]).first(),
        )
        .sort("rule", "code")
        .select("stage", "code", "action", "found", "dropped", "tokens", "id")
    )
    columns = ("stage", "code", "action", "found", "dropped", "tokens", "example")
    return Table("", columns, tuple(rows.iter_rows()))


def decision_notes(evidence: Evidence, decisions: Decisions) -> list[str]:
    """Unasked: a rule that takes most of one source, near duplicates whose search was bounded."""
    sizes = decisions.traces.group_by("source").len("n")
    hit = (
        decisions.traces.filter(~pl.col("kept"))
        .group_by("source", "dropped_by")
        .len("n_dropped")
        .join(sizes, on="source")
        .filter((pl.col("n_dropped") / pl.col("n") > SURPRISING_SHARE) & (pl.col("n_dropped") >= 5))
        .sort("source", "dropped_by")
    )
    return [
        f"{row['dropped_by']} drops {row['n_dropped']:,} of the {row['n']:,} traces of "
        f"{row['source']}: look before you go on (tracekit explain {row['dropped_by']})"
        for row in hit.iter_rows(named=True)
    ]


def _limits(manifest: Manifest) -> list[str]:
    """What was not done as usual: parts counted by the slow tokenizer, buckets searched in part."""
    notes = []
    n_slow = sum(e.by_reference for e in manifest.evidence.get("tokens", {}).values())
    if n_slow:
        notes.append(
            f"the fast tokenizer was wrong on a sampled text: {n_slow:,} parts are counted by its "
            "reference"
        )
    n = manifest.pairs.get("n_bounded_buckets", 0)
    if not n:
        return notes
    return [
        *notes,
        f"{n:,} crowded buckets were searched in part: each of their "
        f"{manifest.pairs['n_bounded_members']:,} members met only the best 16",
    ]


def decided(
    work: Workspace, manifest: Manifest, evidence: Evidence, decisions: Decisions
) -> Report:
    """A decision: what each code did."""
    table = decision_table(evidence, decisions)
    n_all, n_kept = decisions.traces.height, int(decisions.kept.sum())
    law = f"{n_all:,} traces = {n_kept:,} kept + {n_all - n_kept:,} dropped"
    return Report(
        tables=[table],
        law=[law],
        notes=[*decision_notes(evidence, decisions), *_limits(manifest)],
        hints=[f"tracekit shard -w {work.folder} --out shards"],
        data={"codes": table.records(), "traces": n_all, "kept": n_kept, "law": [law]},
    )


def _shard_table(value: dict[str, Any]) -> Table:
    shards = value["shards"]
    tokens = [s["n_tokens"] for s in shards]
    row = (
        len(shards), value["traces"], value["n_tokens"], value["n_target_tokens"],
        sum(s["n_bytes"] for s in shards), min(tokens, default=0), max(tokens, default=0),
    )  # fmt: skip
    columns = ("shards", "traces", "tokens", "trained_on", "bytes", "least_tokens", "most_tokens")
    return Table("", columns, (row,))


def sharded(work: Workspace, out: Path, value: dict[str, Any], fresh: bool) -> Report:
    """A product."""
    notes = [] if fresh else [f"{out} is what these decisions give: nothing was written"]
    notes += [card.profile_line(value["profile"])] if "n_samples" in value["profile"] else []
    notes += [f"partial run: {p}" for p in value["partial"]]
    return Report(
        tables=[_shard_table(value)],
        law=value["law"],
        notes=notes,
        hints=[f"tracekit verify {out}", f'datasets.load_dataset("{out}")'],
        data={k: v for k, v in value.items() if k != "recipe"},
    )


def ran(
    work: Workspace,
    out: Path,
    planning: Planning,
    manifest: Manifest,
    evidence: Evidence,
    decisions: Decisions,
    value: dict[str, Any],
    fresh: bool,
    changed: list[str],
) -> Report:
    """The whole road in one report."""
    read = ingested(work, planning, manifest)
    judged = decided(work, manifest, evidence, decisions)
    written = sharded(work, out, value, fresh)
    tables = [
        Table("read", read.tables[0].columns, read.tables[0].rows),
        *read.tables[1:],
        Table("decided", judged.tables[0].columns, judged.tables[0].rows),
        Table("written", written.tables[0].columns, written.tables[0].rows),
    ]
    return Report(
        tables=tables,
        law=written.law,
        notes=[*changed, *read.notes, *judged.notes, *written.notes],
        hints=[
            f"tracekit stats -w {work.folder}",
            f"tracekit verify {out}",
            f'datasets.load_dataset("{out}")',
        ],
        data={
            "read": dict(read.data),
            "decided": dict(judged.data),
            "written": dict(written.data),
            "law": list(written.law),
        },
    )


def recipe_changes(old: dict[str, Any], new: dict[str, Any], place: str = "") -> list[str]:
    """What differs between two recipes, a line a key; nothing where there was none."""
    if not old:
        return []
    lines: list[str] = []
    sources = [list(one.get("sources", ())) for one in (old, new)]
    if sources[0] != sources[1] and set(sources[0]) == set(sources[1]):
        lines.append(f"recipe changed: the order of sources is {', '.join(sources[1])}")
    for key in dict.fromkeys([*old, *new]):
        a, b, where = old.get(key), new.get(key), f"{place}{key}"
        if where == "workers" or a == b:
            continue
        if isinstance(a, dict) and isinstance(b, dict):
            lines += recipe_changes(a, b, f"{where}.")
        else:
            lines.append(f"recipe changed: {where} was {a}, is {b}")
    return lines
