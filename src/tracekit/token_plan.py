"""Where each sample goes: the order of the product, its rows, and the shards that hold them.

Samples of a trace stand where the trace stands in the order of the product. Packs are made over all
samples at once, on the narrow table of their lengths, longest sample first, and stand in the order
of that sample; so neither packs nor shards depend on parts, files or arrival.

Shape letters: K kept traces in the order of the evidence, S samples in the same order, R rows. A 1
after a letter: one more, offsets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tracekit import sharding
from tracekit.token_rows import BYTES_PER_TOKEN, Ints

ROW_BYTES = 200
"""Plain bytes of a row or sample beside its tokens, about: id, source, counts."""
MAX_SHARD_BYTES = 8 << 30
"""Arrow counts the tokens of one shard in 31 bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplePlan:
    """Where each sample of the kept traces goes."""

    first_K1: Ints
    """Samples of kept trace k are first_K1[k] to first_K1[k + 1] - 1."""
    tokens_S: Ints
    position_S: Ints
    """Place of the sample among all, each taken once."""
    row_S: Ints
    """Row of the product; samples of one row follow each other."""
    shard_S: Ints
    n_rows: int
    n_shards: int


def of(
    trace_place_K: Ints,
    n_samples_K: Ints,
    tokens_S: Ints,
    *,
    context: int | None,
    tokens_per_shard: int,
    max_bytes: int,
) -> SamplePlan:
    """The plan for samples of these lengths. trace_place_K: place of each trace in the order of the
    product. context: null: a row a sample."""
    first_K1 = np.concatenate([[0], np.cumsum(n_samples_K)]).astype(np.int64)
    n_samples = len(tokens_S)
    place_S = np.repeat(trace_place_K, n_samples_K)
    within_S = np.arange(n_samples) - np.repeat(first_K1[:-1], n_samples_K)
    ordered = np.lexsort((within_S, place_S))
    row_O = np.arange(n_samples)
    if context is not None:
        row_O, slot_O = _packs(tokens_S[ordered], context)
        by_row = np.lexsort((slot_O, row_O))
        ordered, row_O = ordered[by_row], row_O[by_row]
    n_rows = int(row_O[-1]) + 1 if n_samples else 0
    tokens_R = np.zeros(n_rows, np.int64)
    np.add.at(tokens_R, row_O, tokens_S[ordered])
    bytes_R = tokens_R * BYTES_PER_TOKEN + ROW_BYTES * np.bincount(row_O, minlength=n_rows)
    limit = min(max_bytes, MAX_SHARD_BYTES)
    shard_R = (
        sharding.cut(tokens_R, bytes_R, tokens_per_shard, limit)
        if n_rows
        else np.zeros(0, np.int64)
    )
    position_S, row_S = np.empty(n_samples, np.int64), np.empty(n_samples, np.int64)
    position_S[ordered] = np.arange(n_samples)
    row_S[ordered] = row_O
    return SamplePlan(
        first_K1=first_K1,
        tokens_S=tokens_S,
        position_S=position_S,
        row_S=row_S,
        shard_S=shard_R[row_S],
        n_rows=n_rows,
        n_shards=int(shard_R[-1]) + 1 if n_rows else 1,
    )


def _packs(tokens_O: Ints, context: int) -> tuple[Ints, Ints]:
    """(row, slot) of each sample, both in the order of the product.

    A pack stands where its longest sample stands, which is also its first: by the first of all its
    samples, packs of many short ones would come early, and a training run would begin with them.
    """
    from tracekit.kernels.packing import pack

    packing = pack(tokens_O, context)
    longest_P = np.flatnonzero(packing.slot_S == 0)
    row_P = np.empty(packing.n_packs, np.int64)
    row_P[packing.pack_S[longest_P]] = np.arange(packing.n_packs)
    return row_P[packing.pack_S], packing.slot_S
