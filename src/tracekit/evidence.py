"""The one parallel pass over text: edits first, then every evidence family, part by part.

A job reads a trace part row group by row group, makes the edits of the recipe's repairs, applies
them, and measures the edited text; families are written row for row with the part. What cannot be
measured (a record that kills its worker, a panic, no memory) has nulls everywhere and a finding
`unmeasurable`; its neighbours are measured as if it were not there.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from tracekit import (
    door,
    edits,
    findings,
    render,
    sketch,
    template_lint,
    text,
    tokenizers,
    tokens,
)
from tracekit.columns import columns_of
from tracekit.errors import TracekitError
from tracekit.executors import Note, Trouble
from tracekit.findings import Finding
from tracekit.manifest import Manifest, fingerprint
from tracekit.samples import History
from tracekit.schema import TRACE_SCHEMA, trace_of_row, trace_table
from tracekit.tokenizers import Tokenizer
from tracekit.workspace import Workspace

LOG = logging.getLogger(__name__)

FAMILIES = ("edits", "text", "tokens", "sketch", "findings")

SCHEMAS: dict[str, pa.Schema] = {
    "edits": edits.EDIT_SCHEMA,
    "text": text.TEXT_SCHEMA,
    "tokens": tokens.TOKEN_SCHEMA,
    "sketch": sketch.SKETCH_SCHEMA,
    "findings": findings.FINDING_SCHEMA,
}

LINTED = ["message_reasoning_tokens", "message_target_tokens", "terminated"]
"""Columns of the tokens family that findings are made from."""

_DICTIONARY = ["source", "reasoning_kind", "finish_reason", "ends_on", "code", "field", "op"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the families are made with: the part of a recipe that evidence depends on."""

    repairs: tuple[str, ...] = ()
    template: str = "qwen3.5"
    history_thinking: History = "keep"
    tokenizer: str = "qwen3.5"
    by_reference: bool = False
    """Encode with the tokenizer's reference: its fast encoder was wrong on a text of this part."""
    n_words: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceJob:
    """Measure one trace part."""

    work: str
    source: str
    part: str
    trace_sha256: str
    wanted: tuple[tuple[str, str], ...]
    """(family, fingerprint) of what is to be made."""
    settings: Settings
    n_bytes: int = 0
    """Plain bytes of the part, for progress only."""


def fingerprints(
    trace_sha256: str, settings: Settings, made_with: dict[str, str]
) -> dict[str, str]:
    """Fingerprint of each family of a part. made_with: template and tokenizer hashes."""
    base = fingerprint(["edits", edits.VERSION, trace_sha256, sorted(settings.repairs)])
    counted = ["tokens", tokens.VERSION, base, made_with["template"], made_with["tokenizer"]]
    if settings.history_thinking != "keep":
        counted.append(settings.history_thinking)
    return {
        "edits": base,
        "text": fingerprint(["text", text.VERSION, base]),
        "tokens": fingerprint(counted),
        "sketch": fingerprint(["sketch", sketch.VERSION, base, settings.n_words]),
        # the template says what cannot be rendered, so findings follow it
        "findings": fingerprint(["findings", findings.VERSION, template_lint.VERSION, counted]),
    }


def missing(
    work: Workspace, manifest: Manifest, wanted: dict[str, str], source: str, part: str
) -> tuple[tuple[str, str], ...]:
    """Families of a part that are not here with the wanted fingerprint."""
    key = f"{source}/{part}"
    have = {
        f: parts[key].fingerprint
        for f, parts in manifest.evidence.items()
        if key in parts and work.file(f"evidence/{f}", source, part).exists()
    }
    return tuple((f, wanted[f]) for f in FAMILIES if have.get(f) != wanted[f])


def measure_part(job: EvidenceJob, trouble: Trouble, note: Note) -> dict[str, Any]:
    """Job function: write the wanted families of one part, then its receipt; returns it."""
    try:
        return _measure_part(job, trouble, note)
    except tokenizers.FastDiffers as error:
        # The whole part, so that its counts do not depend on where the difference was met.
        LOG.warning("part %s is counted by the reference: %s", job.part, error)
        settings = replace(job.settings, by_reference=True)
        return _measure_part(replace(job, settings=settings), trouble, note)


def _measure_part(job: EvidenceJob, trouble: Trouble, note: Note) -> dict[str, Any]:
    work = Workspace(Path(job.work))
    path = work.file("traces", job.source, job.part)
    file = door.open_parquet(path, job.trace_sha256)
    made: dict[str, list[pa.Table]] = {family: [] for family, _ in job.wanted}
    n_lost = 0
    first = 0
    for group in range(file.num_row_groups):
        table = file.read_row_group(group, use_threads=False).cast(TRACE_SCHEMA)
        for start, end in _steps(first, table.num_rows, trouble):
            note(first + start, first + end)
            step = table.slice(start, end - start)
            cause = trouble.cause(first + start) if end - start == 1 else None
            for tables, lost in _measured(step, first + start, job.settings, tuple(made), cause):
                n_lost += lost
                for family, rows in tables.items():
                    made[family].append(rows)
        first += table.num_rows
    receipt: dict[str, Any] = {
        "fingerprint": fingerprint(job.wanted),
        "families": {},
        "paths": {},
        "n_lost": n_lost,
    }
    for family, expected in job.wanted:
        schema = SCHEMAS[family]
        table = pa.concat_tables(made[family]) if made[family] else schema.empty_table()
        target = work.file(f"evidence/{family}", job.source, job.part)
        sha256 = door.write_table(
            target,
            table.cast(schema),
            dictionary=[c for c in _DICTIONARY if c in schema.names] or False,
        )
        receipt["families"][family] = {
            "fingerprint": expected,
            "sha256": sha256,
            "n_rows": table.num_rows,
            "by_reference": family == "tokens" and job.settings.by_reference,
        }
        receipt["paths"][target.relative_to(work.folder).as_posix()] = sha256
    door.write_json(work.receipt("evidence", job.source, job.part), receipt)
    return receipt


def _steps(first: int, n_rows: int, trouble: Trouble) -> Iterator[tuple[int, int]]:
    """Ranges to measure together: all rows, but rows in trouble each alone."""
    start = 0
    for row in range(n_rows):
        if trouble.alone(first + row) or trouble.cause(first + row) is not None:
            if start < row:
                yield start, row
            yield row, row + 1
            start = row + 1
    if start < n_rows:
        yield start, n_rows


def _measured(
    table: pa.Table, first: int, settings: Settings, families: Sequence[str], cause: str | None
) -> Iterator[tuple[dict[str, pa.Table], int]]:
    """Tables of a step, halved until what fails stands alone; with the number of rows lost."""
    if cause is None:
        try:
            yield measure_table(table, settings, families, first), 0
            return
        except (KeyboardInterrupt, SystemExit, tokenizers.FastDiffers, TracekitError):
            raise  # a missing file or a broken template of the user is no fault of a trace
        except MemoryError:
            cause = "out_of_memory"
        except BaseException as error:  # a Rust panic is no Exception
            cause = f"{type(error).__name__}: {error}"[:500]
            LOG.debug("step of %d rows failed", table.num_rows, exc_info=True)
    if table.num_rows == 1:
        yield _unmeasurable(table, first, families, cause), 1
        return
    half = table.num_rows // 2
    yield from _measured(table.slice(0, half), first, settings, families, None)
    yield from _measured(table.slice(half), first + half, settings, families, None)


def measure_table(
    table: pa.Table, settings: Settings, families: Sequence[str] = FAMILIES, first: int = 0
) -> dict[str, pa.Table]:
    """Evidence families of a table of traces whose first row is row `first` of its part."""
    rows = table.to_pylist()
    made = edits.make(rows, settings.repairs, first)
    if made:
        rows, table = edited(rows, made, first)
    out: dict[str, pa.Table] = {}
    if "edits" in families:
        out["edits"] = edits.table_of(made)
    if "text" in families:
        out["text"] = text.measure(rows)
    refused: list[tuple[int, str, str]] = []
    if "tokens" in families or "findings" in families:
        tokenizer = tokenizers.load(settings.tokenizer)
        if settings.by_reference:
            tokenizer = tokenizer.by_reference()
        out["tokens"], unrendered = tokens.measure(
            rows, tokenizer, settings.template, settings.history_thinking
        )
        refused = [(u.row, u.code, u.detail) for u in unrendered]
    if "sketch" in families:
        params = sketch.SketchParams(n_words=settings.n_words)
        out["sketch"] = sketch.measure(columns_of(table), params)
    if "findings" in families:
        counted = out["tokens"].select(LINTED).to_pylist()
        out["findings"] = findings.table_of(
            _findings(rows, made, refused, counted, settings, tokenizer, first)
        )
    return {family: out[family] for family in families}


def edited(
    rows: list[dict[str, Any]], made: Sequence[edits.Edit], first: int
) -> tuple[list[dict[str, Any]], pa.Table]:
    """The edited rows, as dicts and as a table: the text that everything else is about."""
    by_row: dict[int, list[edits.Edit]] = {}
    for edit in made:
        by_row.setdefault(edit.trace - first, []).append(edit)
    rows = [edits.apply(row, by_row.get(i, ())) for i, row in enumerate(rows)]
    # trace_of_row takes apart the dicts that it gets
    copies = [{**r, "messages": [dict(m) for m in r["messages"]]} for r in rows]
    return rows, trace_table([trace_of_row(row) for row in copies])


def _findings(
    rows: Sequence[dict[str, Any]],
    made: Sequence[edits.Edit],
    refused: Sequence[tuple[int, str, str]],
    counted: Sequence[dict[str, Any]],
    settings: Settings,
    tokenizer: Tokenizer,
    first: int,
) -> Iterator[Finding]:
    template = render.named(settings.template)
    knows_end = not template.end or template.end in tokenizer.specials
    changed: dict[int, dict[str, int]] = {}
    for edit in made:
        codes = changed.setdefault(edit.trace, {})
        codes[edit.code] = codes.get(edit.code, 0) + 1
    refusals = {row: (code, detail) for row, code, detail in refused}
    for i, row in enumerate(rows):
        found = list(findings.find(first + i, row))
        if i in refusals:
            code, detail = refusals[i]
            if not any(f.code == code for f in found):
                known = code if code in findings.KNOWN else "unrenderable"
                found.append(
                    Finding(trace=first + i, code=known, field="trace", detail=detail or code)
                )
        yield from found
        if i not in refusals:
            yield from template_lint.lint(
                first + i,
                row,
                template,
                settings.history_thinking,
                counted[i],
                knows_end=knows_end,
            )
        for code, n in changed.get(first + i, {}).items():
            yield Finding(trace=first + i, code=code, field="trace", value=float(n))


def _unmeasurable(
    table: pa.Table, first: int, families: Sequence[str], cause: str
) -> dict[str, pa.Table]:
    """One row of nulls a family, but for who it is."""
    out: dict[str, pa.Table] = {}
    for family in families:
        schema = SCHEMAS[family]
        if family == "edits":
            out[family] = schema.empty_table()
        elif family == "findings":
            lost = Finding(trace=first, code="unmeasurable", field="trace", detail=cause)
            out[family] = findings.table_of([lost])
        else:
            known = ("id", "source", "source_id", "session_id", "parent_id", "task_key", "model")
            columns = [
                table.column(f.name).combine_chunks()
                if family == "text" and f.name in known
                else pa.nulls(1, f.type)
                for f in schema
            ]
            out[family] = pa.Table.from_arrays(columns, schema=schema)
    return out
