"""Evidence family `tokens`: what the trainer will see of each trace, counted once.

A trace is rendered by a named template and encoded by a named tokenizer (`encoded.py`). Here its
tokens are summed over segments and messages, and each reasoning and each answer is searched for a
loop (`kernels/loops.py`). Laws: the segments sum to `n_tokens`, which is the length of the rendered
ids; `message_tokens` sums to it but for what belongs to no message (tools and their turn).

Shape letters: T traces, U uses of pieces, M messages, F assistant fields (reasoning and answers).
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tracekit.encoded import Batch, Ints, Unrendered, batches, rows_of
from tracekit.pieces import ANSWER, REASONING, SEGMENTS, Row
from tracekit.render import DEFAULT, named
from tracekit.samples import History
from tracekit.tokenizers import Tokenizer

VERSION = 2

TOKEN_SCHEMA = pa.schema(
    [
        ("n_tokens", pa.int64()),
        ("n_target_tokens", pa.int64()),
        ("max_sample_tokens", pa.int64()),
        ("sample_tokens", pa.list_(pa.int32())),
        *((f"n_{segment}_tokens", pa.int64()) for segment in SEGMENTS),
        ("message_tokens", pa.list_(pa.int32())),
        ("message_target_tokens", pa.list_(pa.int32())),
        ("message_reasoning_tokens", pa.list_(pa.int32())),
        ("loop_share", pa.float64()),
        ("loop_tokens", pa.int64()),
        ("loop_period", pa.int64()),
        ("loop_message", pa.int32()),
        ("terminated", pa.bool_()),
        ("exact", pa.bool_()),
    ]
)
"""Columns of `evidence/tokens`. All null where the trace cannot be rendered. `terminated`: is the
last token that is trained on the end of a turn? Null where nothing is trained on."""


def measure(
    traces: pa.Table | Sequence[Row],
    tokenizer: Tokenizer,
    template: str = DEFAULT,
    history: History = "keep",
) -> tuple[pa.Table, list[Unrendered]]:
    """(evidence, traces that cannot be rendered), row for row.

    traces: a table in `TRACE_SCHEMA`, or its rows as dicts. FastDiffers as `encoded.batches`.
    """
    tables = []
    unrendered: list[Unrendered] = []
    with _collector_paused():
        rows = rows_of(traces) if isinstance(traces, pa.Table) else traces
        for batch in batches(rows, tokenizer, named(template), history):
            tables.append(_table(batch))
            unrendered += batch.unrendered
    return pa.concat_tables(tables).combine_chunks(), unrendered


@contextmanager
def _collector_paused() -> Iterator[None]:
    # Rows are many small dicts without cycles: walking them again and again costs a third of the
    # time and frees nothing.
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()


def _sums(group_U: Ints, n_U: Ints, n_groups: int) -> Ints:
    # Doubles hold sums of counts exactly below 2**53.
    return np.bincount(group_U, weights=n_U, minlength=n_groups).astype(np.int64)


def _table(batch: Batch) -> pa.Table:
    n_traces = batch.n_traces
    n_segments = len(SEGMENTS)
    n_K = np.diff(batch.uses_K1)
    trace_K = np.repeat(np.arange(n_traces), np.diff(batch.samples_T1))
    trace_U = np.repeat(trace_K, n_K)
    n_U = (batch.high_P - batch.low_P)[batch.piece_U]
    segments_TG = _sums(trace_U * n_segments + batch.segment_U, n_U, n_traces * n_segments).reshape(
        n_traces, n_segments
    )
    n_T = segments_TG.sum(axis=1)
    target_T = _sums(trace_U, n_U * batch.target_U, n_traces)
    inexact_T = _sums(trace_U, batch.inexact_P[batch.piece_U].astype(np.int64), n_traces) > 0

    messages_T1 = batch.messages_T1
    owned_U = batch.message_U >= 0
    message_U = batch.message_U[owned_U]
    n_messages = int(messages_T1[-1])
    tokens_M = _sums(message_U, n_U[owned_U], n_messages)
    targets_M = _sums(message_U, (n_U * batch.target_U)[owned_U], n_messages)
    thinking_M = _sums(message_U, (n_U * (batch.segment_U == REASONING))[owned_U], n_messages)

    tokens_K = _sums(np.repeat(np.arange(len(n_K)), n_K), n_U, len(n_K))
    longest_T = np.zeros(n_traces, np.int64)
    np.maximum.at(longest_T, trace_K, tokens_K)
    trained_T, terminated_T = _ends(batch, trace_U, n_U)

    null_T = np.zeros(n_traces, np.bool_)
    null_T[[u.row - batch.first for u in batch.unrendered]] = True
    columns: dict[str, pa.Array] = {
        "n_tokens": pa.array(n_T, mask=null_T),
        "n_target_tokens": pa.array(target_T, mask=null_T),
        "max_sample_tokens": pa.array(longest_T, mask=null_T),
        "sample_tokens": _list(batch.samples_T1, tokens_K, null_T),
        "message_tokens": _list(messages_T1, tokens_M, null_T),
        "message_target_tokens": _list(messages_T1, targets_M, null_T),
        "message_reasoning_tokens": _list(messages_T1, thinking_M, null_T),
        "terminated": pa.array(terminated_T, mask=~trained_T),
        "exact": pa.array(~inexact_T, mask=null_T),
        **_loop_columns(batch, trace_U, null_T),
    }
    for g, segment in enumerate(SEGMENTS):
        columns[f"n_{segment}_tokens"] = pa.array(segments_TG[:, g], mask=null_T)
    return pa.table({f.name: columns[f.name] for f in TOKEN_SCHEMA}, schema=TOKEN_SCHEMA)


def _ends(
    batch: Batch, trace_U: Ints, n_U: Ints
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """(trained_T, terminated_T): is anything trained on, and is its last token a turn's end?"""
    trained = np.flatnonzero(batch.target_U & (n_U > 0))
    last_T = np.full(batch.n_traces, -1, np.int64)
    last_T[trace_U[trained]] = trained  # ascending: the last one stays
    return last_T >= 0, batch.end_U[last_T] & (last_T >= 0) if len(n_U) else last_T >= 0


def _list(offsets_T1: Ints, values_M: Ints, null_T: npt.NDArray[np.bool_]) -> pa.Array:
    return pa.ListArray.from_arrays(
        pa.array(offsets_T1.astype(np.int32)),
        pa.array(values_M.astype(np.int32)),
        mask=pa.array(null_T),
    )


def _loop_columns(
    batch: Batch, trace_U: Ints, null_T: npt.NDArray[np.bool_]
) -> dict[str, pa.Array]:
    """Loop columns of each trace: the worst field's share, period and message; tokens of all."""
    from tracekit.kernels.loops import loops

    # History that comes again in later samples is one field, not many.
    written_U = (batch.segment_U == REASONING) | (batch.segment_U == ANSWER)
    field_F = np.flatnonzero(written_U & batch.own_U)
    piece_F = batch.piece_U[field_F]
    low_F, high_F = batch.low_P[piece_F], batch.high_P[piece_F]
    found = loops(batch.ids_N, low_F, high_F)
    looped_F, period_F = found.loop_tokens_R, found.period_R
    share_F = looped_F / np.maximum(high_F - low_F, 1)
    trace_F = trace_U[field_F]
    n_traces = batch.n_traces
    tokens_T = _sums(trace_F, looped_F, n_traces)
    share_T = np.zeros(n_traces)
    # Worst field last in each trace, the first of equals: assignment keeps the last.
    order = np.lexsort((-np.arange(len(field_F)), share_F, trace_F))
    share_T[trace_F[order]] = share_F[order]
    worst_T = np.full(n_traces, -1, np.int64)
    worst_T[trace_F[order]] = order
    found_T = (worst_T >= 0) & (share_T > 0)
    worst = worst_T[found_T]
    period_T = np.zeros(n_traces, np.int64)
    message_T = np.zeros(n_traces, np.int32)
    period_T[found_T] = period_F[worst]
    message_T[found_T] = batch.message_U[field_F[worst]] - batch.messages_T1[:-1][found_T]
    return {
        "loop_share": pa.array(share_T, mask=null_T),
        "loop_tokens": pa.array(tokens_T, mask=null_T),
        "loop_period": pa.array(period_T, mask=~found_T),
        "loop_message": pa.array(message_T, mask=~found_T),
    }
