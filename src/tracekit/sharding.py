"""Shards: the kept traces in one order that depends on content alone, in files of equal tokens.

Two passes. *Scatter*: each trace part is read once, edited, turned into rows and written to one
spill file, its rows grouped by shard. *Gather*: each shard reads its groups from all spill files
(random access, no re-reading), sorts, and is written. Re-reading the parts for every shard took
seven times as long. Memory: one part, or one shard, a worker.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.ipc

from tracekit import door, edits
from tracekit.executors import Note, Trouble
from tracekit.schema import TRACE_SCHEMA
from tracekit.shard_rows import SHARD_SCHEMA, SPILL_SCHEMA, row_digest, shard_table, spill_table
from tracekit.workspace import Workspace

VERSION = 1
SPILL_BATCH_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Plan:
    """Where each kept trace goes."""

    position_K: npt.NDArray[np.int64]
    """Place of the k-th kept trace (in the order of the evidence) in the whole product."""
    shard_K: npt.NDArray[np.int64]
    n_shards: int


def order_keys(content_hash: pl.Series, seed: int) -> pl.Series:
    """Order of the product: a hash of seed and content, so that no file name or arrival shows."""
    import xxhash

    return pl.Series(
        [
            xxhash.xxh3_64_intdigest(h.encode(), seed=seed & (2**64 - 1))
            for h in content_hash.to_list()
        ],
        dtype=pl.UInt64,
    )


def plan(kept: pl.DataFrame, *, seed: int, tokens_per_shard: int, max_bytes: int) -> Plan:
    """Order the kept traces and cut the order into shards of nearly equal tokens.

    kept: content_hash, record_hash, id, n_tokens, n_bytes. A shard ends early where its plain
    bytes would pass max_bytes; a trace larger than that stands in a shard of its own.
    """
    if kept.height == 0:
        empty = np.zeros(0, np.int64)
        return Plan(empty, empty, 1)
    frame = kept.with_columns(order_keys(kept["content_hash"], seed).alias("order"))
    place = (
        frame.with_row_index("place")
        .sort("order", "content_hash", "record_hash", "id")["place"]
        .to_numpy()
        .astype(np.int64)
    )
    position = np.empty(kept.height, np.int64)
    position[place] = np.arange(kept.height)
    # A trace that a flagged rule let through without a count weighs nothing in the cut.
    tokens = kept["n_tokens"].fill_null(0).to_numpy()[place].astype(np.int64)
    total = int(tokens.sum())
    wanted = max(1, -(-total // tokens_per_shard))
    middle = np.cumsum(tokens) - tokens / 2
    shard = np.minimum((middle * wanted / max(total, 1)).astype(np.int64), wanted - 1)
    shard = _split_by_bytes(shard, kept["n_bytes"].to_numpy()[place].astype(np.int64), max_bytes)
    shard = np.unique(shard, return_inverse=True)[1]
    by_trace = np.empty_like(shard)
    by_trace[place] = shard
    return Plan(position, by_trace, int(shard.max()) + 1)


def _split_by_bytes(
    shard: npt.NDArray[np.int64], n_bytes: npt.NDArray[np.int64], max_bytes: int
) -> npt.NDArray[np.int64]:
    out = np.empty_like(shard)
    n_before = 0
    for k in np.unique(shard):
        rows = np.flatnonzero(shard == k)
        for start, end in door.cut_by_bytes(n_bytes[rows], max_bytes):
            out[rows[start:end]] = n_before
            n_before += 1
    return out


@dataclass(frozen=True, slots=True, kw_only=True)
class ScatterJob:
    """Spill the kept rows of one part."""

    work: str
    source: str
    part: str
    trace_sha256: str
    edits_sha256: str
    spill: str
    row_R: npt.NDArray[np.int64]
    """Kept rows of the part, ascending; the other arrays go with it."""
    id_R: list[str]
    n_tokens_R: npt.NDArray[np.int64]
    n_target_tokens_R: npt.NDArray[np.int64]
    position_R: npt.NDArray[np.int64]
    shard_R: npt.NDArray[np.int64]


def scatter_part(job: ScatterJob, trouble: Trouble, note: Note) -> dict[int, list[int]]:
    """Job function: write the spill file of one part; returns shard -> its batches there."""
    work = Workspace(Path(job.work))
    file = door.open_parquet(work.file("traces", job.source, job.part), job.trace_sha256)
    made = edits.edits_of(
        door.read_table(work.file("evidence/edits", job.source, job.part), job.edits_sha256)
    )
    tables: list[pa.Table] = []
    first = 0
    for group in range(file.num_row_groups):
        n_rows = file.metadata.row_group(group).num_rows
        lo, hi = np.searchsorted(job.row_R, [first, first + n_rows])
        if lo < hi:
            note(first, first + n_rows)
            table = file.read_row_group(group, use_threads=False).cast(TRACE_SCHEMA)
            wanted = job.row_R[lo:hi]
            rows = table.take(pa.array(wanted - first)).to_pylist()
            rows = [
                edits.apply(row, made.get(int(n), ())) for n, row in zip(wanted, rows, strict=True)
            ]
            tables.append(
                spill_table(
                    rows,
                    job.id_R[lo:hi],
                    job.n_tokens_R[lo:hi].tolist(),
                    job.n_target_tokens_R[lo:hi].tolist(),
                    job.position_R[lo:hi].tolist(),
                )
            )
        first += n_rows
    table = pa.concat_tables(tables) if tables else SPILL_SCHEMA.empty_table()
    order = np.lexsort((job.position_R, job.shard_R))
    batches: dict[int, list[int]] = {}
    n_batches = 0
    with door.write_stream(Path(job.spill)) as out, pa.ipc.new_file(out, SPILL_SCHEMA) as writer:
        shards = job.shard_R[order]
        for k in np.unique(shards):
            rows_of_k = order[shards == k]
            group_table = table.take(pa.array(rows_of_k)).combine_chunks()
            sizes = door.table_row_bytes(group_table)
            for start, end in door.cut_by_bytes(sizes, SPILL_BATCH_BYTES):
                for batch in group_table.slice(start, end - start).to_batches():
                    writer.write_batch(batch)
                    batches.setdefault(int(k), []).append(n_batches)
                    n_batches += 1
    return batches


@dataclass(frozen=True, slots=True, kw_only=True)
class GatherJob:
    """Write one shard."""

    path: str
    number: int
    spills: tuple[tuple[str, tuple[int, ...]], ...]
    """(spill file, its batches for this shard)."""
    row_group_bytes: int


def gather_shard(job: GatherJob, trouble: Trouble, note: Note) -> dict[str, Any]:
    """Job function: write one shard; returns its entry of the manifest, with `positions`."""
    note(0, 0)
    tables: list[pa.Table] = []
    for path, batches in job.spills:
        with door.guarded("read", path), pa.memory_map(path) as source:
            reader = pa.ipc.open_file(source)
            tables.extend(pa.Table.from_batches([reader.get_batch(i)]) for i in batches)
    spilled = pa.concat_tables(tables) if tables else SPILL_SCHEMA.empty_table()
    positions = spilled.column("position").to_numpy()
    spilled = spilled.take(pa.array(np.argsort(positions, kind="stable")))
    table = shard_table(spilled)
    del spilled, tables
    sizes = door.table_row_bytes(table)
    with door.write_stream(Path(job.path)) as file:
        hashing = door.HashingFile(file)
        with door.parquet_writer(
            hashing, SHARD_SCHEMA, level=3, dictionary=["source", "model"],
            content_defined_chunks=True,
        ) as writer:  # fmt: skip
            door.write_row_groups(writer, table, job.row_group_bytes)
    return {
        "number": job.number,
        "rows": table.num_rows,
        "n_tokens": int(np.sum(table.column("n_tokens").fill_null(0).to_numpy())),
        "n_target_tokens": int(np.sum(table.column("n_target_tokens").fill_null(0).to_numpy())),
        "n_bytes": hashing.n_bytes,
        "plain_bytes": int(sizes.sum()),
        "sha256": hashing.hexdigest(),
        "row_digest": row_digest(table),
        "positions": np.sort(positions),
    }


def swap_in(incoming: Path, out: Path) -> None:
    """Put a finished folder in the place of another; the old one stays whole until then."""
    previous = out.parent / f".{out.name}.previous"
    with door.guarded("replace", out):
        if out.exists():
            if previous.exists():
                shutil.rmtree(previous)
            door.disk.rename(out, previous)
        door.disk.rename(incoming, out)
        door.disk.fsync_folder(out.parent)
        if previous.exists():
            shutil.rmtree(previous)


def finish_swap(out: Path) -> None:
    """Mend a swap that was cut between its two renames: the older product comes back."""
    previous = out.parent / f".{out.name}.previous"
    if previous.exists():
        with door.guarded("replace", out):
            if out.exists():
                shutil.rmtree(previous)
            else:
                door.disk.rename(previous, out)
