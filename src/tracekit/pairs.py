"""Near-duplicate pairs: candidates from signatures, then the exact similarity of each.

Two traces are a pair when *both* their tasks and their targets have a Jaccard similarity of at
least the floor. Signatures are of the two scopes together. That misses nothing: the scopes have no
shingle in common, so the similarity of the whole is (shared task + shared target) / (all task + all
target), a mean of the two weighted by their sizes, and at least the floor where both are.

Candidates share a band, b bands of r permutations. `bands_for` takes the longest r whose b finds a
pair at the floor itself with a probability of at least 0.98. A candidate whose signatures agree in
fewer permutations than the floor less four standard deviations is left out (3 in 100,000 pairs at
the floor). Large buckets are bounded, and counted: beyond 32 members each meets only the first 16
in keep order, so a template that thousands share costs 16 comparisons a trace and not thousands.
Legend: T traces, P permutations, G pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tracekit.errors import UsageError
from tracekit.kernels import neighbours as kernel
from tracekit.sketch import ShingleSets

VERSION = 1
"""Version of what is found and how; part of the fingerprint of the pairs."""

FLOOR = 0.7
MIN_FOUND_RATE = 0.98
ALL_PAIRS = 32
"""Largest bucket in which all members meet."""
N_FIRST = 16
"""In a larger one, each meets this many of its first."""

PAIR_SCHEMA = pa.schema(
    [
        ("a", pa.int64()),
        ("b", pa.int64()),
        ("task_jaccard", pa.float64()),
        ("target_jaccard", pa.float64()),
    ]
)

_ROOM = 1 << 18  # pairs that one call of the kernel can give
_MERGE = 1 << 24  # pairs of several bands that are held before doubled ones are struck out

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Candidates:
    """Pairs to verify (rows, a before b in keep order, each once) and how they were found."""

    a_G: Ints
    b_G: Ints
    bands: tuple[int, int]
    n_met: int
    """Pairs of signatures compared, over all bands."""
    n_bounded_buckets: int
    n_bounded_members: int
    largest_bucket: int


def found_rate(similarity: float, n_bands: int, n_rows: int) -> float:
    """Probability that a pair of this similarity shares at least one band.

    >>> round(found_rate(0.7, 25, 5), 5)
    0.98995
    """
    return float(1 - (1 - similarity**n_rows) ** n_bands)


def bands_for(floor: float, num_perm: int = 128) -> tuple[int, int]:
    """(bands, rows of a band) with the longest rows that find a pair at the floor at 0.98 or more.

    Raises UsageError where no such bands exist.

    >>> bands_for(0.7), bands_for(0.8)
    ((25, 5), (18, 7))
    """
    if 0 < floor <= 1:
        for n_rows in range(num_perm, 0, -1):
            n_bands = num_perm // n_rows
            if found_rate(floor, n_bands, n_rows) >= MIN_FOUND_RATE:
                return n_bands, n_rows
    raise UsageError(
        f"{num_perm} permutations cannot find near duplicates from a similarity of {floor}",
        where="floor",
        expected="a similarity above 0.03 and at most 1",
        fix=f"leave it out for {FLOOR}",
    )


def min_agreeing(floor: float, num_perm: int = 128) -> int:
    """Permutations in which the signatures of a pair must agree: four deviations below the floor.

    >>> min_agreeing(0.7)
    68
    """
    deviation = (floor * (1 - floor) / num_perm) ** 0.5
    return max(0, int(num_perm * (floor - 4 * deviation)))


def candidates(
    signature_TP: npt.NDArray[np.uint32], rank_T: Ints, *, floor: float = FLOOR
) -> Candidates:
    """Pairs of rows that may be near duplicates.

    rank_T: keep order, distinct, small first. Independent of the order of the rows. Memory: one
    band (32 bytes a trace) and the pairs; the signatures may be memory-mapped.
    """
    n_traces, num_perm = signature_TP.shape
    n_bands, n_rows = bands_for(floor, num_perm)
    signature_TP = np.asarray(signature_TP)
    row_T = np.argsort(rank_T, kind="stable")
    key_T = np.empty(n_traces, np.uint64)
    tally = np.zeros(4, np.int64)
    out_G2 = np.empty((_ROOM, 2), np.int64)
    need = min_agreeing(floor, num_perm)
    merged = np.zeros(0, np.int64)
    fresh: list[Ints] = []
    for band in range(n_bands):
        kernel.band_keys(signature_TP, row_T, band * n_rows, (band + 1) * n_rows, key_T)
        # Stable: within a bucket the members stay in keep order.
        place_Q = np.argsort(key_T, kind="stable")
        key_Q = key_T[place_Q]
        at = np.zeros(3, np.int64)
        while at[0] < n_traces:
            n = kernel.bucket_pairs(
                signature_TP, row_T, key_Q, place_Q, ALL_PAIRS, N_FIRST, need, at, tally, out_G2
            )
            # One number a pair: 10 million traces give 10**14, far below 2**63.
            fresh.append(out_G2[:n, 0] * n_traces + out_G2[:n, 1])
        if sum(map(len, fresh)) > _MERGE:
            merged = np.unique(np.concatenate([merged, *fresh]))
            fresh = []
    merged = np.unique(np.concatenate([merged, *fresh]))
    return Candidates(
        a_G=row_T[merged // max(n_traces, 1)],
        b_G=row_T[merged % max(n_traces, 1)],
        bands=(n_bands, n_rows),
        n_met=int(tally[0]),
        n_bounded_buckets=int(tally[1]),
        n_bounded_members=int(tally[2]),
        largest_bucket=int(tally[3]),
    )


def jaccard(
    left: tuple[npt.NDArray[np.uint64], Ints],
    right: tuple[npt.NDArray[np.uint64], Ints],
    a_G: Ints,
    b_G: Ints,
) -> npt.NDArray[np.float64]:
    """Exact similarity of set a of the left and set b of the right, each (hashes, offsets); of two
    empty sets it is 1."""
    n_shared_G = np.empty(a_G.size, np.int64)
    kernel.shared_counts(*left, *right, a_G, b_G, n_shared_G)
    n_union_G = np.diff(left[1])[a_G] + np.diff(right[1])[b_G] - n_shared_G
    return np.where(n_union_G == 0, 1.0, n_shared_G / np.maximum(n_union_G, 1))


def verify(
    a_G: Ints, b_G: Ints, left: ShingleSets, right: ShingleSets, *, floor: float = FLOOR
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """(is a pair, task similarity, target similarity) of each candidate.

    a_G: places in `left`, b_G: in `right`; both scopes must reach the floor. Two traces without a
    word of task have the same task. The target similarity is 0 where the task alone decides.
    """
    task_G = jaccard(
        (left.task_hashes, left.task_offsets), (right.task_hashes, right.task_offsets), a_G, b_G
    )
    target_G = np.zeros(a_G.size)
    near = np.flatnonzero(task_G >= floor)
    target_G[near] = jaccard(
        (left.target_hashes, left.target_offsets),
        (right.target_hashes, right.target_offsets),
        a_G[near],
        b_G[near],
    )
    return (task_G >= floor) & (target_G >= floor), task_G, target_G


def through_equals(
    a_G: Ints, b_G: Ints, first_T: Ints, verified: Callable[[Ints, Ints], pa.Table]
) -> pa.Table:
    """The candidates that are pairs (`PAIR_SCHEMA`), each pair of different texts compared once.

    first_T: the first trace that says the same as each; copies have its shingles, so a pair of
    copies is alike in full, and any other pair is as alike as the first ones of its sides.
    """
    one_G, two_G = first_T[a_G], first_T[b_G]
    low_G, high_G = np.minimum(one_G, two_G), np.maximum(one_G, two_G)
    n_traces = len(first_T)
    key_G = low_G * n_traces + high_G
    copies_G = low_G == high_G
    key_D = np.unique(key_G[~copies_G])
    table = PAIR_SCHEMA.empty_table()
    if key_D.size:
        table = verified(key_D // n_traces, key_D % n_traces)
    # Verified pairs come in the order of the candidates, so their keys are sorted too.
    key_V = table.column("a").to_numpy() * n_traces + table.column("b").to_numpy()
    place_G = np.searchsorted(key_V, key_G)
    place_G[place_G == len(key_V)] = 0
    found_G = ~copies_G & (key_V[place_G] == key_G if len(key_V) else False)
    similar = {}
    for name in ("task_jaccard", "target_jaccard"):
        value_G = np.ones(len(a_G))
        value_G[found_G] = table.column(name).to_numpy()[place_G[found_G]]
        similar[name] = value_G
    keep_G = copies_G | found_G
    return pa.table(
        {"a": a_G[keep_G], "b": b_G[keep_G], **{k: v[keep_G] for k, v in similar.items()}},
        schema=PAIR_SCHEMA,
    )


def verify_spill(
    a_G: Ints,
    b_G: Ints,
    load: Callable[[Ints], ShingleSets],
    *,
    n_shingles_T: Ints,
    max_bytes: int = 256 << 20,
    floor: float = FLOOR,
) -> pa.Table:
    """The candidates that are pairs, in their order, with exact similarities (`PAIR_SCHEMA`).

    load: the sets of some rows (ascending, each once), in that order. n_shingles_T: task and target
    shingles of each row. At most max_bytes of hashes are held at once, or those of the two largest
    traces. Rows that hang together are put into one block, so that most are loaded once.
    """
    rows = np.unique(np.concatenate([a_G, b_G]))
    local_a, local_b = np.searchsorted(rows, a_G), np.searchsorted(rows, b_G)
    block_T = _blocks(local_a, local_b, 8 * n_shingles_T[rows].astype(np.int64), max_bytes)
    block_a, block_b = block_T[local_a], block_T[local_b]
    low, high = np.minimum(block_a, block_b), np.maximum(block_a, block_b)
    order = np.lexsort((high, low))
    # What is loaded first is the side in the lower block; which of the two is `a` does not matter.
    first = np.where(block_a <= block_b, local_a, local_b)[order]
    second = np.where(block_a <= block_b, local_b, local_a)[order]
    n_pairs = a_G.size
    keep_G = np.zeros(n_pairs, np.bool_)
    task_G, target_G = np.zeros(n_pairs), np.zeros(n_pairs)
    for begin, end in _runs(low[order]):
        inner = order[begin:end]
        alone = high[inner] == low[inner]
        # Both ends, where the pair lies within the block.
        here = np.unique(np.concatenate([first[begin:end], second[begin:end][alone]]))
        left = load(rows[here])
        for k, n in _runs(high[inner]):
            some = slice(begin + k, begin + n)
            there, right = here, left
            if not alone[k]:
                there = np.unique(second[some])
                right = load(rows[there])
            found = verify(
                np.searchsorted(here, first[some]),
                np.searchsorted(there, second[some]),
                left,
                right,
                floor=floor,
            )
            keep_G[order[some]], task_G[order[some]], target_G[order[some]] = found
    return pa.Table.from_arrays(
        [pa.array(x[keep_G]) for x in (a_G, b_G, task_G, target_G)], schema=PAIR_SCHEMA
    )


def _runs(values: Ints) -> Iterator[tuple[int, int]]:
    """Begin and end of each stretch of one value."""
    cuts = np.flatnonzero(np.diff(values)) + 1
    ends = [*cuts.tolist(), values.size]
    return zip([0, *ends[:-1]], ends, strict=True) if values.size else iter(())


def _blocks(a_G: Ints, b_G: Ints, n_bytes_T: Ints, max_bytes: int) -> Ints:
    """Block of each trace: one for all where they fit, else blocks of half of max_bytes (two are
    held at a time). A connected component is cut only where it is larger than a block."""
    block_T = np.zeros(n_bytes_T.size, np.int64)
    if int(n_bytes_T.sum()) <= max_bytes:
        return block_T
    label_T = np.arange(n_bytes_T.size)
    kernel.components(a_G, b_G, label_T)
    order = np.argsort(label_T, kind="stable")
    limit = max_bytes // 2
    block = filled = 0
    for begin, end in _runs(label_T[order]):
        members = order[begin:end]
        size = int(n_bytes_T[members].sum())
        if filled and filled + size > limit:
            block, filled = block + 1, 0
        if size <= limit:
            block_T[members] = block
            filled += size
            continue
        for member in members.tolist():
            size = int(n_bytes_T[member])
            if filled and filled + size > limit:
                block, filled = block + 1, 0
            block_T[member] = block
            filled += size
    return block_T
