"""Which trace of a group of duplicates stays, and which one it loses to.

The keep order is a rank: `keep_rank` sorts by the given measures, the most important first, then
by content hash, then by id, so it depends on what the traces say and never on when they came. A
trace goes only when it has a pair of its own with a trace that *stays*: similarity does not travel
along a chain, and the winner that a dropped trace names is never dropped itself. Legend: T traces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tracekit.errors import LawError
from tracekit.kernels import neighbours as kernel

Ints = npt.NDArray[np.int64]
Order: TypeAlias = Literal["ascending", "descending"]


@dataclass(frozen=True, slots=True)
class Losers:
    """Duplicates of T traces. winner_T: row that a trace loses to, -1 where it stays (or was no
    survivor before). similarity_T: the lesser of task and target; NaN where it stays."""

    winner_T: Ints
    similarity_T: npt.NDArray[np.float64]

    @property
    def n_dropped(self) -> int:
        return int(np.count_nonzero(self.winner_T >= 0))

    def largest_cluster(self) -> tuple[int, int]:
        """(row of the keeper, traces with the keeper) of the largest group; (-1, 0) where none."""
        winners = self.winner_T[self.winner_T >= 0]
        if not winners.size:
            return -1, 0
        n_lost_T = np.bincount(winners)
        row = int(n_lost_T.argmax())
        return row, int(n_lost_T[row]) + 1


def _array(values: Any) -> pa.Array:
    array = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values)
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if pa.types.is_fixed_size_binary(array.type):
        array = array.cast(pa.binary())
    return array


def keep_rank(keys: Sequence[tuple[Any, Order]], content_hash: Any, ids: Any | None = None) -> Ints:
    """Rank of each trace, 0 the best: by the keys in order, then content hash, then id.

    keys: (Arrow or numpy array, order); NaN and then null come last. Ranks are distinct in any
    case: rows equal in everything keep their order, so give ids where contents can be equal.

    >>> keep_rank([([3, 9, 9], "descending")], [b"x", b"z", b"y"]).tolist()
    [2, 1, 0]
    """
    columns: list[tuple[pa.Array, Order]] = [(_array(values), order) for values, order in keys]
    columns.append((_array(content_hash), "ascending"))
    if ids is not None:
        columns.append((_array(ids), "ascending"))
    names = [f"k{i}" for i in range(len(columns))]
    table = pa.table(dict(zip(names, (c for c, _ in columns), strict=True)))
    order = pc.sort_indices(
        table,
        sort_keys=[(name, o) for name, (_, o) in zip(names, columns, strict=True)],
    ).to_numpy()
    rank_T = np.empty(order.size, np.int64)
    rank_T[order] = np.arange(order.size)
    return rank_T


def exact(content_hash: Any, rank_T: Ints, survivors_T: npt.NDArray[np.bool_]) -> Losers:
    """Of the survivors with one hash, all but the best-ranked lose to it. A null equals nothing.

    >>> exact(["a", "b", "a", None, None], np.arange(5)[::-1], np.ones(5, bool)).winner_T.tolist()
    [2, -1, -1, -1, -1]
    """
    code = pc.dictionary_encode(_array(content_hash)).indices
    code_T = code.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    rows = np.flatnonzero(survivors_T & (code_T >= 0))
    rows = rows[np.lexsort((rank_T[rows], code_T[rows]))]
    codes = code_T[rows]
    is_first = np.ones(rows.size, np.bool_)
    is_first[1:] = codes[1:] != codes[:-1]
    keeper = rows[is_first][np.cumsum(is_first) - 1]
    winner_T = np.full(code_T.size, -1, np.int64)
    winner_T[rows[~is_first]] = keeper[~is_first]
    return Losers(winner_T, np.where(winner_T >= 0, 1.0, np.nan))


def greedy(
    rank_T: Ints, survivors_T: npt.NDArray[np.bool_], pairs: pa.Table, threshold: float
) -> Losers:
    """Near duplicates among the survivors, best rank first: a trace goes exactly when a trace that
    stays has a pair with it whose task and target similarity both reach the threshold. Its winner
    is the best-ranked of those.

    pairs: verified ones (`pairs.PAIR_SCHEMA`), in any order and either way round; those under the
    threshold and those with a trace that is no survivor are passed over. Raises LawError where two
    traces of a pair have one rank.
    """
    a_G, b_G = (pairs.column(name).to_numpy() for name in ("a", "b"))
    similarity_G = np.minimum(
        pairs.column("task_jaccard").to_numpy(), pairs.column("target_jaccard").to_numpy()
    )
    use = np.flatnonzero((similarity_G >= threshold) & survivors_T[a_G] & survivors_T[b_G])
    a_G, b_G, similarity_G = a_G[use], b_G[use], similarity_G[use]
    rank_a, rank_b = rank_T[a_G], rank_T[b_G]
    if bool((rank_a == rank_b).any()):
        at = int(np.flatnonzero(rank_a == rank_b)[0])
        raise LawError(
            "two traces of a pair have the same rank",
            where=f"rows {int(a_G[at])} and {int(b_G[at])}",
            expected="the distinct ranks that keep_rank gives",
            fix="report this with the recipe",
        )
    a_wins = rank_a < rank_b
    loser_G, winner_G = np.where(a_wins, b_G, a_G), np.where(a_wins, a_G, b_G)
    order = np.lexsort((np.minimum(rank_a, rank_b), np.maximum(rank_a, rank_b)))
    winner_T = np.full(rank_T.size, -1, np.int64)
    similarity_T = np.full(rank_T.size, np.nan)
    kernel.greedy_winners(
        loser_G[order], winner_G[order], similarity_G[order], winner_T, similarity_T
    )
    return Losers(winner_T, similarity_T)
