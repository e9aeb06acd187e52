"""Stage ingest: planned parts to trace parts, then the first law over what was written."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np

from tracekit import door
from tracekit import manifest as manifests
from tracekit.dialects import masks
from tracekit.errors import InputError, LawError
from tracekit.executors import run_jobs
from tracekit.ingesting import IngestJob, ingest_part
from tracekit.manifest import Batch, Manifest, PartEntry
from tracekit.parts import Part
from tracekit.planning import Planning
from tracekit.progress import Progress
from tracekit.workspace import Workspace


def read(planning: Planning, work: Workspace, *, workers: int, progress: Progress) -> Manifest:
    """Read all planned parts and check the first law; returns the manifest, not yet written.

    What an earlier, interrupted run finished is taken over when its receipt and hashes fit.
    """
    jobs = [job for p in planning.batches for job in p.jobs]
    total = sum(j.part.plain_bytes for j in jobs)
    receipts: dict[str, dict[str, Any]] = {}
    waiting: list[IngestJob] = []
    done_bytes = 0
    for job in jobs:
        path = work.receipt("traces", job.part.source, job.part.name)
        old = manifests.read_receipt(path, job.fingerprint, work.folder) or _whole(
            work, job, planning.known.get(_key(job.part))
        )
        if old is None:
            waiting.append(job)
        else:
            receipts[_key(job.part)] = old
            done_bytes += job.part.plain_bytes

    def tell() -> None:
        made = [r["part"] for r in receipts.values()]
        progress(
            done_bytes, total, sum(p["n_traces"] for p in made), sum(p["n_rejects"] for p in made),
            parts=(len(receipts), len(jobs)), stage="ingest",
        )  # fmt: skip

    tell()
    for index, receipt in run_jobs(ingest_part, waiting, workers=workers, fresh=True):
        receipts[_key(waiting[index].part)] = receipt
        done_bytes += waiting[index].part.plain_bytes
        tell()
    batches = []
    for planned in planning.batches:
        parts = tuple(PartEntry(**receipts[_key(j.part)]["part"]) for j in planned.jobs)
        batch = replace(planned.batch, parts=parts)
        batch = check_law(work, batch)
        _stop_on_reversed_masks(batch)
        batches.append(batch)
    return replace(planning.manifest, batches=(*planning.manifest.batches, *batches))


def _stop_on_reversed_masks(batch: Batch) -> None:
    """Ask the user where half of a source says that users are trained on and replies are not.

    InputError: then no record of it was read the right way.
    """
    n = sum(part.rejects.get(masks.REVERSED, 0) for part in batch.parts)
    n_records = sum(part.n_records for part in batch.parts)
    if n and 2 * n >= n_records:
        raise InputError(
            f"in {n:,} of {n_records:,} records every user turn is trained on and no reply is",
            where=f"source {batch.source}, read as {batch.dialect}",
            expected="training flags that name the replies",
            fix="say what the flag means: options: {mask: true_masks} (or true_trains) for this "
            "source; where weights are reversed, mend the file",
            wrote="no manifest was written",
        )


def _whole(work: Workspace, job: IngestJob, entry: PartEntry | None) -> dict[str, Any] | None:
    """A part that the manifest had, as a receipt, where it is of the same input and undamaged."""
    if entry is None or entry.fingerprint != job.fingerprint:
        return None
    for thing, sha256 in entry.files.items():
        path = work.file(thing, job.part.source, job.part.name)
        if not path.exists() or door.sha256_of(path) != sha256:
            return None
    return {"part": asdict(entry)}


def _key(part: Part) -> str:
    return f"{part.source}/{part.name}"


def check_law(work: Workspace, batch: Batch) -> Batch:
    """The first law from what was written: each row read is in traces, or one event, or one reject.

    Reads provenance, rejects and events of every part. Returns the batch with its blank lines.
    Raises LawError with the first rows.
    """
    import pyarrow.parquet as pq

    place = {f.name: i for i, f in enumerate(batch.files)}
    first = np.concatenate([[0], np.cumsum([f.n_rows for f in batch.files])]).astype(np.int64)
    n_rows = int(first[-1])
    merged = np.zeros(n_rows + 1, np.int64)
    told = np.zeros(n_rows, np.int64)
    ids: list[Any] = []
    for part in batch.parts:
        for thing in ("rejects", "events"):
            table = pq.read_table(
                work.file(thing, batch.source, part.name), columns=["file", "row"]
            )
            if table.num_rows:
                files = table.column("file").to_pylist()
                base = np.array([first[place[f]] for f in files], np.int64)
                np.add.at(told, base + table.column("row").to_numpy(), 1)
        with pq.ParquetFile(work.file("traces", batch.source, part.name), memory_map=True) as file:
            table = file.read(["id", "provenance"], use_threads=False)
        ids.append(table.column("id"))
        origins = table.column("provenance").combine_chunks().flatten()
        files = origins.field("file").to_pylist()
        base = np.array([first[place[f]] for f in files], np.int64)
        np.add.at(merged, base + origins.field("first").to_numpy(), 1)
        np.add.at(merged, base + origins.field("last").to_numpy() + 1, -1)
    in_trace = np.cumsum(merged)[:-1] > 0
    n_records = sum(p.n_records for p in batch.parts)
    covered = in_trace | (told > 0)
    wrong = np.flatnonzero((told > 1) | (in_trace & (told > 0)))
    n_ids = sum(len(c) for c in ids)
    n_unique = len({i for c in ids for i in c.to_pylist()})
    if wrong.size or int(covered.sum()) != n_records or n_unique != n_ids:
        where = [
            f"{batch.files[k].name}#{row - first[k]}"
            for row in wrong[:10]
            for k in [int(np.searchsorted(first, row, side="right")) - 1]
        ]
        raise LawError(
            f"the first law is broken in source {batch.source}: {n_records} records were read, "
            f"{int(covered.sum())} are accounted for; {n_ids} traces have {n_unique} ids",
            where=", ".join(where) or batch.source,
            expected="every record in a trace, or one event, or one reject; ids unique",
            fix="report it: this is a fault of tracekit",
            wrote="no manifest was written",
        )
    if batch.partial is None:
        return replace(batch, n_blank_lines=n_rows - n_records)
    return batch


def law(manifest: Manifest) -> tuple[str, str]:
    """The first law in numbers, records and traces."""
    parts = [p for _, p in manifest.parts()]
    n = {
        k: sum(getattr(p, k) for p in parts)
        for k in (
            "n_records",
            "n_merged",
            "n_events",
            "n_rejects",
            "n_units",
            "n_rejected_units",
            "n_traces",
        )
    }
    n_splits = n["n_traces"] - (n["n_units"] - n["n_rejected_units"])
    if n["n_records"] != n["n_merged"] + n["n_events"] + n["n_rejects"] or n_splits < 0:
        raise LawError(f"the sums of the first law do not add up: {n}")
    return (
        f"{n['n_records']:,} records read = {n['n_merged']:,} merged into traces "
        f"+ {n['n_events']:,} events + {n['n_rejects']:,} rejects",
        f"{n['n_traces']:,} traces = {n['n_units']:,} units + {n_splits:,} splits "
        f"- {n['n_rejected_units']:,} units without a trace",
    )
