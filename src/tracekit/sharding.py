"""Shards: the kept traces in one order that depends on content alone, in files of equal tokens.

Two passes. *Scatter*: each trace part is read once, edited, turned into rows and written to one
spill file, its rows grouped by shard. *Gather*: each shard reads its groups from all spill files
(random access, no re-reading), sorts, and is written. Re-reading the parts for every shard took
seven times as long. Memory: one part, or one shard, a worker.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from tracekit import door, edits, profiles, spilling, token_rows
from tracekit.executors import Note, Trouble
from tracekit.schema import TRACE_SCHEMA
from tracekit.shard_rows import SPILL_SCHEMA, row_digest, spill_table
from tracekit.workspace import Workspace

VERSION = 1


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
    shard = cut(
        kept["n_tokens"].fill_null(0).to_numpy()[place].astype(np.int64),
        kept["n_bytes"].to_numpy()[place].astype(np.int64),
        tokens_per_shard,
        max_bytes,
    )
    by_trace = np.empty_like(shard)
    by_trace[place] = shard
    return Plan(position, by_trace, int(shard.max()) + 1)


def cut(
    tokens_R: npt.NDArray[np.int64],
    bytes_R: npt.NDArray[np.int64],
    tokens_per_shard: int,
    max_bytes: int,
) -> npt.NDArray[np.int64]:
    """shard_R of rows in the order of the product, at least one: shards of nearly equal tokens."""
    total = int(tokens_R.sum())
    wanted = max(1, -(-total // tokens_per_shard))
    middle = np.cumsum(tokens_R) - tokens_R / 2
    shard = np.minimum((middle * wanted / max(total, 1)).astype(np.int64), wanted - 1)
    shard = _split_by_bytes(shard, bytes_R, max_bytes)
    return np.unique(shard, return_inverse=True)[1].astype(np.int64)


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
class KeptRows:
    """Which rows of a part are kept."""

    work: str
    source: str
    part: str
    trace_sha256: str
    edits_sha256: str
    row_R: npt.NDArray[np.int64]
    """Ascending; the arrays of a job go with it."""
    untrained: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """Messages of a row of the part that another trace trains."""


def edited_rows(kept: KeptRows, note: Note) -> Iterator[tuple[slice, list[dict[str, Any]]]]:
    """(place in row_R, edited traces) of the kept rows of a part, row group by row group."""
    work = Workspace(Path(kept.work))
    file = door.open_parquet(work.file("traces", kept.source, kept.part), kept.trace_sha256)
    made = edits.edits_of(
        door.read_table(work.file("evidence/edits", kept.source, kept.part), kept.edits_sha256)
    )
    first = 0
    for group in range(file.num_row_groups):
        n_rows = file.metadata.row_group(group).num_rows
        lo, hi = np.searchsorted(kept.row_R, [first, first + n_rows]).tolist()
        if lo < hi:
            note(first, first + n_rows)
            table = file.read_row_group(group, use_threads=False).cast(TRACE_SCHEMA)
            wanted = kept.row_R[lo:hi]
            rows = table.take(pa.array(wanted - first)).to_pylist()
            rows = [
                edits.apply(row, made.get(int(n), ())) for n, row in zip(wanted, rows, strict=True)
            ]
            for n, row in zip(wanted.tolist(), rows, strict=True):
                for message in kept.untrained.get(n, ()):
                    row["messages"][message]["weight"] = 0.0
            yield slice(lo, hi), rows
        first += n_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class ScatterJob:
    """Spill the kept rows of one part as messages."""

    kept: KeptRows
    spill: str
    id_R: list[str]
    n_tokens_R: npt.NDArray[np.int64]
    n_target_tokens_R: npt.NDArray[np.int64]
    position_R: npt.NDArray[np.int64]
    shard_R: npt.NDArray[np.int64]


def scatter_part(job: ScatterJob, trouble: Trouble, note: Note) -> dict[int, list[int]]:
    """Job function: write the spill file of one part; returns shard -> its batches there."""
    pieces = (
        (
            spill_table(
                rows,
                job.id_R[at],
                job.n_tokens_R[at].tolist(),
                job.n_target_tokens_R[at].tolist(),
                job.position_R[at].tolist(),
            ),
            job.shard_R[at],
        )
        for at, rows in edited_rows(job.kept, note)
    )
    return spilling.write(Path(job.spill), SPILL_SCHEMA, pieces)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatherJob:
    """Write one shard."""

    path: str
    profile: str
    number: int
    spills: tuple[tuple[str, tuple[int, ...]], ...]
    """(spill file, its batches for this shard)."""
    row_group_bytes: int


def gather_shard(job: GatherJob, trouble: Trouble, note: Note) -> dict[str, Any]:
    """Job function: write one shard; returns its entry of the manifest, with `positions`."""
    note(0, 0)
    profile = profiles.named(job.profile)
    spilled = spilling.read(job.spills, profile.spill_schema)
    positions = spilled.column("position").to_numpy()
    table = profile.finish(spilled)
    del spilled
    sizes = door.table_row_bytes(table)
    facts = {}
    if profile.has_tokens:
        facts["rows_without_target"] = token_rows.rows_without_target(table)
    with door.write_stream(Path(job.path)) as file:
        hashing = door.HashingFile(file)
        with door.parquet_writer(
            hashing, profile.schema, level=3, dictionary=list(profile.dictionary) or False,
            content_defined_chunks=True,
        ) as writer:  # fmt: skip
            door.write_row_groups(writer, table, job.row_group_bytes)
    return {
        "number": job.number,
        "rows": table.num_rows,
        **facts,
        "n_tokens": int(np.sum(table.column("n_tokens").fill_null(0).to_numpy())),
        "n_target_tokens": int(np.sum(table.column("n_target_tokens").fill_null(0).to_numpy())),
        "n_bytes": hashing.n_bytes,
        "plain_bytes": int(sizes.sum()),
        "sha256": hashing.hexdigest(),
        "row_digest": row_digest(table),
        "positions": positions,
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
