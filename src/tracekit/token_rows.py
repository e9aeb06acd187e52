"""Rows of the token profiles: samples as ids and labels, alone or packed up to a context.

`labels` are the ids that are trained on and -100 elsewhere, as `transformers` reads them; the shift
by one is the model's. A packed row holds whole samples one after the other: `seq_lengths` says how
long each is, `position_ids` begin at 0 in each, `ids` and `samples` name them.

Shape letters: S samples (rows of a spill), N tokens, R rows of a shard. A 1 after a letter: one
more, offsets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Ints: TypeAlias = npt.NDArray[np.int64]

UNTRAINED = -100
"""Label that every trainer leaves out of the loss."""
BYTES_PER_TOKEN = 8
"""Plain bytes of a token: its id and its label."""

_TOKENS = pa.list_(pa.int32())

TOKENIZED_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("sample", pa.int32()),
        ("source", pa.string()),
        ("input_ids", _TOKENS),
        ("labels", _TOKENS),
        ("n_tokens", pa.int64()),
        ("n_target_tokens", pa.int64()),
    ]
)
"""One row a sample; `sample` is its number in the trace, from 0."""

PACKED_SCHEMA = pa.schema(
    [
        ("input_ids", _TOKENS),
        ("labels", _TOKENS),
        ("position_ids", _TOKENS),
        ("seq_lengths", _TOKENS),
        ("ids", pa.list_(pa.string())),
        ("samples", _TOKENS),
        ("n_tokens", pa.int64()),
        ("n_target_tokens", pa.int64()),
    ]
)
"""One row a pack; `seq_lengths`, `ids` and `samples` have one value a sample."""

TOKEN_SPILL_SCHEMA = pa.schema(
    [*TOKENIZED_SCHEMA, pa.field("position", pa.int64()), pa.field("row", pa.int64())]
)
"""Samples on their way: place of the sample, and number of its row, in the whole product."""


def spill_table(
    ids_N: npt.NDArray[np.uint32],
    offsets_S1: Ints,
    target_N: npt.NDArray[np.bool_],
    *,
    id_S: Sequence[str],
    sample_S: Ints,
    source: str,
    position_S: Ints,
    row_S: Ints,
) -> pa.Table:
    """Samples in TOKEN_SPILL_SCHEMA."""
    ids = ids_N.astype(np.int32)
    offsets = pa.array(offsets_S1.astype(np.int32))
    targets_N1 = np.concatenate([[0], np.cumsum(target_N)])
    columns = {
        "id": pa.array(id_S, pa.string()),
        "sample": pa.array(sample_S.astype(np.int32)),
        "source": pa.array([source] * len(id_S), pa.string()),
        "input_ids": pa.ListArray.from_arrays(offsets, pa.array(ids)),
        "labels": pa.ListArray.from_arrays(
            offsets, pa.array(np.where(target_N, ids, np.int32(UNTRAINED)))
        ),
        "n_tokens": pa.array(np.diff(offsets_S1)),
        "n_target_tokens": pa.array(np.diff(targets_N1[offsets_S1])),
        "position": pa.array(position_S),
        "row": pa.array(row_S),
    }
    return pa.table(columns, schema=TOKEN_SPILL_SCHEMA)


def tokenized(spilled: pa.Table) -> pa.Table:
    """Spilled samples as rows of the profile `tokenized`, in the order in which they come."""
    return spilled.select(TOKENIZED_SCHEMA.names).combine_chunks()


def packed(spilled: pa.Table) -> pa.Table:
    """Spilled samples as rows of the profile `packed`: those that follow each other with one `row`
    become one."""
    row_S = spilled.column("row").to_numpy()
    first_R = np.flatnonzero(np.diff(row_S, prepend=-1))
    offsets_R1 = np.append(first_R, len(row_S))
    length_S = spilled.column("n_tokens").to_numpy()
    ends_S1 = np.concatenate([[0], np.cumsum(length_S)])
    tokens_R1 = ends_S1[offsets_R1]
    place_N = np.arange(ends_S1[-1]) - np.repeat(ends_S1[:-1], length_S)
    targets_S1 = np.concatenate([[0], np.cumsum(spilled.column("n_target_tokens").to_numpy())])
    columns = {
        "input_ids": _lists(tokens_R1, _values(spilled, "input_ids")),
        "labels": _lists(tokens_R1, _values(spilled, "labels")),
        "position_ids": _lists(tokens_R1, pa.array(place_N.astype(np.int32))),
        "seq_lengths": _lists(offsets_R1, pa.array(length_S.astype(np.int32))),
        "ids": _lists(offsets_R1, _array(spilled, "id")),
        "samples": _lists(offsets_R1, _array(spilled, "sample")),
        "n_tokens": pa.array(np.diff(tokens_R1)),
        "n_target_tokens": pa.array(np.diff(targets_S1[offsets_R1])),
    }
    return pa.table(columns, schema=PACKED_SCHEMA)


def _lists(offsets_R1: Ints, values: pa.Array) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(offsets_R1.astype(np.int32)), values)


def _array(table: pa.Table, name: str) -> pa.Array:
    column = table.column(name).combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0) if column.num_chunks else pa.array([], column.type)
    return column


def _values(table: pa.Table, name: str) -> pa.Array:
    return _array(table, name).flatten()


def fill_share(n_tokens: int, n_packs: int, context: int) -> float:
    """Tokens in the room of all packs; 0 without a pack."""
    return n_tokens / (n_packs * context) if n_packs else 0.0


def rows_without_target(table: pa.Table) -> int:
    """Rows of a shard of which no token is trained on."""
    return int((_array(table, "n_target_tokens").to_numpy() == 0).sum())


def samples_in(table: pa.Table) -> tuple[list[str], Ints, Ints]:
    """(ids, numbers in their traces, tokens) of the samples of a shard, of either token profile."""
    if "ids" in table.schema.names:
        ids, samples, lengths = (_values(table, n) for n in ("ids", "samples", "seq_lengths"))
    else:
        ids, samples, lengths = (_array(table, n) for n in ("id", "sample", "n_tokens"))
    return ids.to_pylist(), samples.to_numpy(), lengths.to_numpy()


def checks(table: pa.Table, context: int | None) -> Iterator[tuple[str, str, bool]]:
    """(check, what, holds) of each law that rows of a token profile obey. context: of packs."""
    ids, labels = _array(table, "input_ids"), _array(table, "labels")
    length_R = ids.value_lengths().to_numpy()
    same = bool((labels.value_lengths().to_numpy() == length_R).all())
    label_N, id_N = labels.flatten().to_numpy(), ids.flatten().to_numpy()
    yield (
        "labels", "each is -100 or the id at its place",
        same and bool(((label_N == UNTRAINED) | (label_N == id_N)).all()),
    )  # fmt: skip
    ends_R1 = np.concatenate([[0], np.cumsum(length_R)])
    trained_N1 = np.concatenate([[0], np.cumsum(label_N != UNTRAINED)])
    yield (
        "counts of rows", "n_tokens and n_target_tokens are those of ids and labels",
        same
        and np.array_equal(_array(table, "n_tokens").to_numpy(), length_R)
        and np.array_equal(
            _array(table, "n_target_tokens").to_numpy(), np.diff(trained_N1[ends_R1])
        ),
    )  # fmt: skip
    if context is None:
        return
    yield "context", f"no row is longer than {context:,}", bool((length_R <= context).all())
    lengths = _array(table, "seq_lengths")
    length_S = lengths.flatten().to_numpy()
    samples_R = lengths.value_lengths().to_numpy()
    row_S = np.repeat(np.arange(len(table)), samples_R)
    summed_R = np.bincount(row_S, weights=length_S, minlength=len(table)).astype(np.int64)
    whole = np.array_equal(summed_R, length_R) and all(
        np.array_equal(_array(table, name).value_lengths().to_numpy(), samples_R)
        for name in ("ids", "samples")
    )
    yield "seq_lengths", "they sum to the row, one for each of ids and samples", whole
    if whole:
        ends_S1 = np.concatenate([[0], np.cumsum(length_S)])
        place_N = np.arange(ends_S1[-1]) - np.repeat(ends_S1[:-1], length_S)
        found = _array(table, "position_ids")
        yield (
            "position_ids", "from 0 in each sample",
            np.array_equal(found.value_lengths().to_numpy(), length_R)
            and np.array_equal(found.flatten().to_numpy(), place_N),
        )  # fmt: skip
