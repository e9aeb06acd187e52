"""Evidence of a whole workspace as narrow polars frames, verified against the manifest.

Only tables beside the traces are read: a thousand traces cost about as much as one page of text.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from tracekit import door
from tracekit.decide import Evidence
from tracekit.evidence import SCHEMAS
from tracekit.manifest import Manifest
from tracekit.rules import LOOP_SHARE
from tracekit.workspace import Workspace

PAIR_SCHEMA = pa.schema(
    [
        ("a", pa.large_string()),
        ("b", pa.large_string()),
        ("task_jaccard", pa.float64()),
        ("target_jaccard", pa.float64()),
    ]
)
"""Stored pairs, by trace id."""

_SCALARS = {
    name: [f.name for f in SCHEMAS[name] if not pa.types.is_list(f.type)]
    for name in ("text", "tokens")
}
"""What is loaded of every trace; lists by message and by sample only where they are asked for."""


def family(
    work: Workspace, manifest: Manifest, name: str, columns: list[str] | None = None
) -> list[pa.Table]:
    """Tables of a family, one a part, in the order of the manifest. Raises StorageError."""
    entries = manifest.evidence.get(name, {})
    tables = []
    for batch, part in manifest.parts():
        entry = entries[f"{batch.source}/{part.name}"]
        path = work.file(f"evidence/{name}", batch.source, part.name)
        tables.append(door.read_table(path, entry.sha256, columns))
    return tables


def load(work: Workspace, manifest: Manifest, *, with_pairs: bool = True) -> Evidence:
    """What is known of all traces, in the order of the manifest."""
    text, tokens = (
        pa.concat_tables(
            family(work, manifest, name, columns) or [SCHEMAS[name].empty_table().select(columns)]
        )
        for name, columns in _SCALARS.items()
    )
    traces = pl.concat([_frame(text), _frame(tokens)], how="horizontal").with_columns(
        complete=(~pl.col("truncated")) & (pl.col("loop_share").fill_null(0.0) <= LOOP_SHARE)
    )
    found = []
    first = 0
    for (_, part), table in zip(manifest.parts(), family(work, manifest, "findings"), strict=True):
        frame = _frame(table)
        found.append(frame.with_columns((pl.col("trace") + first).cast(pl.Int32)))
        first += part.n_traces
    findings = pl.concat(found) if found else _frame(SCHEMAS["findings"].empty_table())
    none = pl.DataFrame(
        schema={
            "a": pl.Int64,
            "b": pl.Int64,
            "task_jaccard": pl.Float64,
            "target_jaccard": pl.Float64,
        }
    )
    stored = pairs_of(work, manifest, traces["id"]) if with_pairs and manifest.pairs else none
    return Evidence(traces, findings, stored, partial(prefixes, work, manifest))


def unmeasured(n_traces: int) -> pl.DataFrame:
    """Traces of which nothing is known, with every measure that a rule can name."""
    kinds = {f.name: f.type for name, scalars in _SCALARS.items() for f in SCHEMAS[name]
             if f.name in scalars}  # fmt: skip
    kinds["complete"] = pa.bool_()
    return _frame(pa.table({name: pa.nulls(n_traces, kind) for name, kind in kinds.items()}))


def prefixes(work: Workspace, manifest: Manifest) -> pl.DataFrame:
    """Each message that has targets: trace, message, told, thought, n_target_tokens."""
    text = ["prefix_message", "prefix_told", "prefix_thought"]
    columns = {"text": text, "tokens": ["message_target_tokens"]}
    tables = {
        name: pa.concat_tables(
            family(work, manifest, name, wanted) or [SCHEMAS[name].empty_table().select(wanted)]
        )
        for name, wanted in columns.items()
    }
    frame = pl.concat(
        [_frame(tables["text"]), _frame(tables["tokens"])], how="horizontal"
    ).with_row_index("trace").cast({"trace": pl.Int32})  # fmt: skip
    targets = frame.select("trace", "message_target_tokens").explode("message_target_tokens")
    targets = targets.with_columns(pl.int_range(pl.len()).over("trace").alias("message"))
    told = frame.drop("message_target_tokens").explode(text, empty_as_null=False)
    return (
        told.rename(
            {"prefix_message": "message", "prefix_told": "told", "prefix_thought": "thought"}
        )
        .join(
            targets.select(
                "trace",
                pl.col("message").cast(pl.Int32),
                pl.col("message_target_tokens").cast(pl.Int64).alias("n_target_tokens"),
            ),
            on=["trace", "message"],
        )
        .filter(pl.col("n_target_tokens") > 0)
    )


def sample_tokens(
    work: Workspace, manifest: Manifest, kept: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(number of samples, tokens of each sample) of some traces, by their number."""
    empty = SCHEMAS["tokens"].empty_table().select(["sample_tokens"])
    tables = family(work, manifest, "tokens", ["sample_tokens"])
    column = pa.concat_tables([empty, *tables]).column("sample_tokens")
    samples = pa.concat_arrays(column.take(pa.array(kept)).chunks or [pa.array([], column.type)])
    counts = samples.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    return counts.astype(np.int64), samples.flatten().to_numpy().astype(np.int64)


def pairs_of(work: Workspace, manifest: Manifest, ids: pl.Series) -> pl.DataFrame:
    """Stored pairs by row number of `ids`."""
    stored = _frame(door.read_table(work.pairs, manifest.pairs["sha256"]))
    rows = pl.DataFrame({"id": ids, "row": np.arange(len(ids))})
    return (
        stored.join(rows, left_on="a", right_on="id", maintain_order="left")
        .rename({"row": "row_a"})
        .join(rows, left_on="b", right_on="id", maintain_order="left")
        .select(
            pl.col("row_a").alias("a"), pl.col("row").alias("b"), "task_jaccard", "target_jaccard"
        )
    )


def signatures(work: Workspace, manifest: Manifest) -> tuple[pa.Array, npt.NDArray[np.int64]]:
    """Signatures of all traces, and the number of their shingles."""
    tables = family(work, manifest, "sketch")
    table = pa.concat_tables(tables or [SCHEMAS["sketch"].empty_table()]).combine_chunks()
    n = sum(
        table.column(c).fill_null(0).to_numpy().astype(np.int64)
        for c in ("n_task_shingles", "n_target_shingles")
    )
    column = table.column("signature")
    array = column.chunk(0) if column.num_chunks else pa.array([], column.type)
    return array, np.asarray(n, np.int64)


def _frame(table: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame
