"""Ingest of one part: records to canonical traces, rejects and events, each accounted for.

A unit of records goes through its dialect, then through the pydantic door; what comes out is
written as three tables. Before the receipt is written, the first law is checked over rows: every
record that was read is in the provenance of a trace, or is one event, or is one reject.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from tracekit import dialects, door, jsontext, tool_catalogue
from tracekit.codes import Code
from tracekit.containers import RawRecord, read_slices
from tracekit.dialects.dialect import Dialect, Notes, Record
from tracekit.errors import BadRecord, LawError
from tracekit.executors import Note, Trouble
from tracekit.framing import Limits
from tracekit.parts import Part, units
from tracekit.schema import trace_door, trace_table
from tracekit.tool_catalogue import ToolSource
from tracekit.types import Trace
from tracekit.workspace import Workspace

LOG = logging.getLogger(__name__)

VERSION = 1
FLUSH_BYTES = 8 << 20
"""Raw bytes after which traces go to the file: what a worker holds, beside one unit."""
STEP_RECORDS = 256
"""Records between two notes of progress; also what a dead worker leaves to be searched."""
RAW_BYTES = 1 << 20
"""Raw bytes of a reject that are kept."""

REJECT_SCHEMA = pa.schema(
    [
        ("file", pa.large_string()),
        ("row", pa.int64()),
        ("code", pa.large_string()),
        ("detail", pa.large_string()),
        ("raw", pa.large_binary()),
        ("raw_bytes", pa.int64()),
    ]
)
EVENT_SCHEMA = pa.schema(
    [("file", pa.large_string()), ("row", pa.int64()), ("type", pa.large_string())]
)

_DICTIONARY = [
    "source",
    "model",
    "provenance.list.element.file",
    "messages.list.element.role",
    "messages.list.element.reasoning_kind",
    "messages.list.element.name",
    "messages.list.element.finish_reason",
    "messages.list.element.tool_calls.list.element.name",
    "tools.list.element.name",
    "tools.list.element.description",
    "tools.list.element.parameters",
    "outcomes.list.element.kind",
    "outcomes.list.element.name",
]

CODES = (
    Code(
        name="bad_trace",
        kind="reject",
        what="The dialect made something that is no trace; the detail names the field.",
        fix="report it with the record: this is a fault of the dialect",
    ),
    Code(
        name="dialect_failed",
        kind="reject",
        what="The dialect failed on this record in a way that it does not declare.",
        fix="report it with the record: this is a fault of the dialect",
    ),
    Code(
        name="worker_crash",
        kind="reject",
        what="Reading this record killed its worker.",
        why="A crash in compiled code, or the machine ran out of memory.",
    ),
    Code(
        name="timeout",
        kind="reject",
        what="Reading this record took longer than the limit.",
    ),
    Code(
        name="out_of_memory",
        kind="reject",
        what="Reading this record needs more memory than a worker may have.",
    ),
)

LOST = frozenset({"worker_crash", "timeout", "out_of_memory"})
"""Codes that depend on the machine, not on the data: such a run is not reproducible."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestJob:
    """Read one part."""

    work: str
    part: Part
    dialect: str
    options: Mapping[str, Any] = field(default_factory=dict)
    tools: ToolSource | None = None
    """Where the tools of traces without any come from; null: they stay without."""
    fingerprint: str
    limits: Limits = field(default_factory=Limits)
    sample: tuple[int, float] | None = None
    """(seed, share): read only units whose hashed place falls below the share."""
    max_units: int | None = None
    """Read only the first so many units."""


@dataclass(slots=True)
class _Part:
    """What a part has given so far."""

    traces: list[Trace] = field(default_factory=list)
    rejects: list[tuple[str, int, str, str, bytes, int]] = field(default_factory=list)
    events: list[tuple[str, int, str]] = field(default_factory=list)
    notes: Notes = field(default_factory=Notes)
    n_records: int = 0
    n_merged: int = 0
    n_units: int = 0
    n_rejected_units: int = 0
    n_traces: int = 0
    n_raw_bytes: int = 0


def ingest_part(job: IngestJob, trouble: Trouble, note: Note) -> dict[str, Any]:
    """Job function: write traces, rejects and events of one part, then its receipt."""
    work = Workspace(Path(job.work))
    part = job.part
    dialect = dialects.get(job.dialect)
    done = _Part()

    def pages() -> Iterator[pa.Table]:
        ordinal = 0
        for unit in _unit_records(job, dialect):
            if ordinal % STEP_RECORDS == 0 or trouble.alone(ordinal):
                step = 1 if trouble.alone(ordinal) else STEP_RECORDS - ordinal % STEP_RECORDS
                note(ordinal, ordinal + step)
            _take(job, dialect, unit, done, trouble.cause(ordinal))
            ordinal += 1
            if done.n_raw_bytes >= FLUSH_BYTES:
                yield trace_table(done.traces)
                done.traces.clear()
                done.n_raw_bytes = 0
        if done.traces:
            yield trace_table(done.traces)
            done.traces.clear()

    from tracekit.schema import TRACE_SCHEMA

    paths = {t: work.file(t, part.source, part.name) for t in ("traces", "rejects", "events")}
    sha = {
        "traces": door.write_tables(paths["traces"], pages(), TRACE_SCHEMA, dictionary=_DICTIONARY)
    }
    sha["rejects"] = door.write_table(
        paths["rejects"], _table(done.rejects, REJECT_SCHEMA), dictionary=["code"], mode=0o600
    )
    sha["events"] = door.write_table(
        paths["events"], _table(done.events, EVENT_SCHEMA), dictionary=["file", "type"]
    )
    receipt = {
        "fingerprint": job.fingerprint,
        "part": {
            "name": part.name,
            "fingerprint": job.fingerprint,
            "n_records": done.n_records,
            "n_merged": done.n_merged,
            "n_events": len(done.events),
            "n_rejects": len(done.rejects),
            "n_units": done.n_units,
            "n_rejected_units": done.n_rejected_units,
            "n_traces": done.n_traces,
            "n_lost": sum(r[2] in LOST for r in done.rejects),
            "rejects": _counted(r[2] for r in done.rejects),
            "events": _counted(e[2] for e in done.events),
            "repairs": dict(sorted(done.notes.repairs.items())),
            "unknown_keys": dict(sorted(done.notes.unknown_keys.items())),
            "counters": dict(sorted(done.notes.counters.items())),
            "files": sha,
        },
        "paths": {p.relative_to(work.folder).as_posix(): sha[t] for t, p in paths.items()},
    }
    door.write_json(work.receipt("traces", part.source, part.name), receipt)
    return receipt


def _counted(words: Any) -> dict[str, int]:
    counts: dict[str, int] = {}
    for word in words:
        counts[word] = counts.get(word, 0) + 1
    return dict(sorted(counts.items()))


def _table(rows: Sequence[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    return pa.Table.from_arrays(
        [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema
    )


def _unit_records(job: IngestJob, dialect: Dialect) -> Iterator[list[tuple[str, RawRecord]]]:
    """Units of the part, in order, each with its records; sampled where the job says so."""
    if dialect.unit == "record":
        every = ([(s.file, r)] for s, r in read_slices(job.part.slices, job.limits))
    else:
        every = (
            [(s.file, r) for s, r in read_slices(unit, job.limits)] for unit in units(job.part)
        )
    for unit in islice(every, job.max_units):
        if unit and (job.sample is None or _sampled(job, unit[0][0], unit[0][1].row)):
            yield unit


def _sampled(job: IngestJob, file: str, row: int) -> bool:
    import xxhash

    assert job.sample is not None
    seed, share = job.sample
    place = f"{job.part.source}:{file}#{row}".encode()
    return xxhash.xxh3_64_intdigest(place, seed=seed & (2**64 - 1)) < share * 2**64


def _take(
    job: IngestJob,
    dialect: Dialect,
    unit: list[tuple[str, RawRecord]],
    done: _Part,
    cause: str | None,
) -> None:
    """One unit to traces, events and rejects; checks the first law for it."""
    source = job.part.source
    done.n_units += 1
    done.n_records += len(unit)
    done.n_raw_bytes += sum(len(r.raw) if r.raw is not None else 1024 for _, r in unit)
    records: list[Record] = []
    raw: dict[tuple[str, int], RawRecord] = {}
    for file, one in unit:
        raw[file, one.row] = one
        for code, n in one.repairs:
            done.notes.repair(code, n)
        if one.error is not None:
            done.rejects.append(_reject(file, one, *one.error))
        else:
            value = one.value
            if one.key is not None and isinstance(value, dict) and "id" not in value:
                value = {"id": one.key, **value}
            records.append(Record(file, one.row, value))
    if not records:
        done.n_rejected_units += 1
        return
    before = len(done.notes.events), len(done.notes.rejects)
    traces: list[Trace] = []
    refusal: tuple[str, str] | None = None
    if cause is not None:
        refusal = (cause, "the worker that read this record ended")
    else:
        try:
            traces, refusal = _read(job, dialect, records, done.notes, source)
        except (KeyboardInterrupt, SystemExit):
            raise
        except MemoryError:
            refusal = ("out_of_memory", "")
        except BaseException as error:  # a Rust panic is no Exception
            LOG.debug("dialect %s failed", dialect.name, exc_info=True)
            refusal = ("dialect_failed", f"{type(error).__name__}: {error}"[:500])
    if refusal is not None:
        del done.notes.events[before[0] :], done.notes.rejects[before[1] :]
        traces = []
        done.rejects.extend(_reject(r.file, raw[r.file, r.row], *refusal) for r in records)
        done.n_rejected_units += 1
        return
    events = done.notes.events[before[0] :]
    rejects = done.notes.rejects[before[1] :]
    done.events.extend((r.file, r.row, kind) for r, kind in events)
    done.rejects.extend(_reject(r.file, raw[r.file, r.row], code, d) for r, code, d in rejects)
    merged = _check_law(dialect, records, traces, events, rejects)
    done.n_merged += merged
    done.n_rejected_units += not traces
    done.n_traces += len(traces)
    done.traces.extend(traces)


def _read(
    job: IngestJob, dialect: Dialect, records: list[Record], notes: Notes, source: str
) -> tuple[list[Trace], tuple[str, str] | None]:
    """Traces of a unit through dialect and door, or the (code, detail) that refuses it."""
    from pydantic import ValidationError

    try:
        found = dialect.read(records, notes, job.options)
    except BadRecord as error:
        return [], (error.code, error.detail)
    traces = []
    first = records[0]
    for k, value in enumerate(found):
        rows = value.pop("rows", None) or [(first.file, first.row)]
        value["id"] = f"{source}:{first.file}#{first.row}" + (f"/{k}" if k else "")
        value["source"] = source
        value["provenance"] = _origins(rows)
        try:
            traces.append(trace_door().validate_python(value))
        except ValidationError as error:
            one = error.errors(include_url=False)[0]
            place = ".".join(map(str, one["loc"]))
            return [], ("bad_trace", f"{place}: {one['msg']}")
    if job.tools is not None:
        traces = [tool_catalogue.with_tools(trace, job.tools, notes) for trace in traces]
    return traces, None


def _origins(rows: Sequence[tuple[str, int]]) -> list[dict[str, Any]]:
    """Runs of consecutive rows.

    >>> _origins([("a", 4), ("a", 5), ("a", 7)])
    [{'file': 'a', 'first': 4, 'last': 5}, {'file': 'a', 'first': 7, 'last': 7}]
    """
    runs: list[dict[str, Any]] = []
    for file, row in sorted(set(rows)):
        if runs and runs[-1]["file"] == file and runs[-1]["last"] == row - 1:
            runs[-1]["last"] = row
        else:
            runs.append({"file": file, "first": row, "last": row})
    return runs


def _check_law(
    dialect: Dialect,
    records: Sequence[Record],
    traces: Sequence[Trace],
    events: Sequence[tuple[Record, str]],
    rejects: Sequence[tuple[Record, str, str]],
) -> int:
    """Raise LawError unless each record is in a trace, or one event, or one reject.

    Returns the number of records that are in traces.
    """
    read = {(r.file, r.row) for r in records}
    merged = {
        (o.file, row) for t in traces for o in t.provenance for row in range(o.first, o.last + 1)
    }
    told = [(r.file, r.row) for r, _ in events] + [(r.file, r.row) for r, *_ in rejects]
    if len(merged) + len(told) == len(read) and merged.union(told) == read:
        return len(merged)
    lost = sorted(read - merged - set(told))
    doubled = sorted(place for place in set(told) if place in merged or told.count(place) > 1)
    strange = sorted((merged | set(told)) - read)
    what = [
        f"{name}: {', '.join(f'{f}#{r}' for f, r in places[:10])}"
        for name, places in (("lost", lost), ("doubled", doubled), ("never read", strange))
        if places
    ]
    raise LawError(
        f"the first law is broken by dialect {dialect.name}: {'; '.join(what)}",
        where=f"{records[0].file}#{records[0].row}",
        expected="every record in a trace, or one event, or one reject",
        fix="report it with the record: this is a fault of the dialect",
        wrote="no manifest was written",
    )


def _reject(
    file: str, one: RawRecord, code: str, detail: str
) -> tuple[str, int, str, str, bytes, int]:
    raw = one.raw
    if raw is None:
        raw = jsontext.dump(one.value).encode("utf-8", "replace") if one.value is not None else b""
    return file, one.row, code, detail[:2000], raw[:RAW_BYTES], len(raw)
