"""Samples of one part on their way to shards: rendered and encoded again, and compared.

The second law is checked where the product is made: ids and targets of each sample must be as many
as the evidence of its trace says, or the run stops.

Shape letters: R kept rows of the part, S their samples, B samples of an encoded batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tracekit import door, render, spilling, token_rows, tokenizers
from tracekit.encoded import Batch, batches
from tracekit.errors import LawError
from tracekit.executors import Note, Trouble
from tracekit.samples import History
from tracekit.sharding import KeptRows, edited_rows
from tracekit.token_rows import Ints
from tracekit.tokenizers import Tokenizer

PIECE_TOKENS = 4 << 20
"""Tokens of samples that are laid out at once; a longer sample stands alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleJob:
    """Spill the samples of the kept rows of one part."""

    kept: KeptRows
    spill: str
    template: str
    history: History
    tokenizer: str
    id_R: list[str]
    n_target_tokens_R: Ints
    first_R1: Ints
    """Samples of kept row r are first_R1[r] to first_R1[r + 1] - 1."""
    tokens_S: Ints
    position_S: Ints
    row_S: Ints
    shard_S: Ints


def scatter_samples(job: SampleJob, trouble: Trouble, note: Note) -> dict[int, list[int]]:
    """Job function: write the spill file of one part; returns shard -> its batches there.

    Raises LawError where a trace is not what was counted.
    """
    tokenizer = tokenizers.load(job.tokenizer)
    try:
        return _write(job, tokenizer, note)
    except tokenizers.FastDiffers:
        return _write(job, tokenizer.by_reference(), note)


def _write(job: SampleJob, tokenizer: Tokenizer, note: Note) -> dict[int, list[int]]:
    pieces = _pieces(job, tokenizer, note)
    return spilling.write(Path(job.spill), token_rows.TOKEN_SPILL_SCHEMA, pieces)


def _pieces(
    job: SampleJob, tokenizer: Tokenizer, note: Note
) -> Iterator[tuple[pa.Table, npt.NDArray[np.int64]]]:
    template = render.named(job.template)
    for at, rows in edited_rows(job.kept, note):
        for batch in batches(rows, tokenizer, template, job.history):
            yield from _of_batch(job, batch, at.start + batch.first)


def _of_batch(
    job: SampleJob, batch: Batch, first_row: int
) -> Iterator[tuple[pa.Table, npt.NDArray[np.int64]]]:
    """Spilled samples of a batch whose first trace is kept row `first_row` of the part."""
    _check_lengths(job, batch, first_row)
    first_S = int(job.first_R1[first_row])
    n_samples_R = np.diff(batch.samples_T1)
    row_B = np.repeat(np.arange(batch.n_traces), n_samples_R) + first_row
    sample_B = np.arange(len(row_B)) - np.repeat(batch.samples_T1[:-1], n_samples_R)
    targets_R = np.zeros(batch.n_traces, np.int64)
    for start, end in door.cut_by_bytes(batch.sample_tokens(), PIECE_TOKENS):
        ids_N, offsets_B1, target_N = batch.samples(start, end)
        piece = slice(first_S + start, first_S + end)
        table = token_rows.spill_table(
            ids_N, offsets_B1, target_N,
            id_S=[job.id_R[r] for r in row_B[start:end]], sample_S=sample_B[start:end],
            source=job.kept.source, position_S=job.position_S[piece], row_S=job.row_S[piece],
        )  # fmt: skip
        n_target_B = table.column("n_target_tokens").to_numpy()
        np.add.at(targets_R, row_B[start:end] - first_row, n_target_B)
        yield table, job.shard_S[piece]
    counted_R = job.n_target_tokens_R[first_row : first_row + batch.n_traces]
    for r in np.flatnonzero(targets_R != counted_R)[:1]:
        raise _not_as_counted(
            job, first_row + int(r),
            f"{targets_R[r]:,} tokens are trained on, {counted_R[r]:,} were counted",
        )  # fmt: skip


def _check_lengths(job: SampleJob, batch: Batch, first_row: int) -> None:
    found_B = batch.sample_tokens()
    for r in range(batch.n_traces):
        counted = job.tokens_S[job.first_R1[first_row + r] : job.first_R1[first_row + r + 1]]
        found = found_B[batch.samples_T1[r] : batch.samples_T1[r + 1]]
        if not np.array_equal(found, counted):
            raise _not_as_counted(
                job, first_row + r,
                f"samples of {found.tolist()} tokens, of {counted.tolist()} were counted",
            )  # fmt: skip


def _not_as_counted(job: SampleJob, row: int, what: str) -> LawError:
    return LawError(
        what,
        where=f"{job.id_R[row]}, row {job.kept.row_R[row]} of part {job.kept.part} "
        f"of {job.kept.source}",
        expected="the tokens of the evidence, one text for counts and shards",
        fix="report it: this is a fault of tracekit",
        wrote="the shards were not put in place",
    )
