"""Spill files: rows on their way from parts to shards, grouped by shard.

Groups are written as soon as enough is held, so memory does not grow with the part; a shard reads
its groups by their number, from all spill files.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.ipc

from tracekit import door

HELD_BYTES = 128 << 20
"""Plain bytes that are held before they are written."""
BATCH_BYTES = 16 << 20


def write(
    path: Path, schema: pa.Schema, pieces: Iterable[tuple[pa.Table, npt.NDArray[np.int64]]]
) -> dict[int, list[int]]:
    """Write a spill file of (rows, shard of each row); returns shard -> its batches there.

    Rows have a column `position`: their place in the whole product.
    """
    batches: dict[int, list[int]] = {}
    n_batches = 0
    n_held_bytes = 0
    held: list[tuple[pa.Table, npt.NDArray[np.int64]]] = []
    with door.write_stream(path) as out, pa.ipc.new_file(out, schema) as writer:

        def flush() -> None:
            nonlocal n_batches, n_held_bytes
            table = pa.concat_tables([t for t, _ in held])
            shard_R = np.concatenate([s for _, s in held])
            order = np.lexsort((table.column("position").to_numpy(), shard_R))
            for k in np.unique(shard_R):
                group = table.take(pa.array(order[shard_R[order] == k])).combine_chunks()
                for start, end in door.cut_by_bytes(door.table_row_bytes(group), BATCH_BYTES):
                    for batch in group.slice(start, end - start).to_batches():
                        writer.write_batch(batch)
                        batches.setdefault(int(k), []).append(n_batches)
                        n_batches += 1
            held.clear()
            n_held_bytes = 0

        for table, shard_R in pieces:
            held.append((table, shard_R))
            n_held_bytes += table.nbytes
            if n_held_bytes >= HELD_BYTES:
                flush()
        if held:
            flush()
    return batches


def read(spills: Sequence[tuple[str, Sequence[int]]], schema: pa.Schema) -> pa.Table:
    """The rows of one shard, in the order of their positions. spills: (file, its batches)."""
    tables: list[pa.Table] = []
    for path, batches in spills:
        with door.guarded("read", path), pa.memory_map(path) as source:
            reader = pa.ipc.open_file(source)
            tables.extend(pa.Table.from_batches([reader.get_batch(i)]) for i in batches)
    table = pa.concat_tables(tables) if tables else schema.empty_table()
    positions = table.column("position").to_numpy()
    return table.take(pa.array(np.argsort(positions, kind="stable")))
