"""Pairs of traces: who shares a bucket, how many shingles two sets share, who stays.

Legend: T traces, P permutations, Q traces sorted by bucket, G pairs.
"""

from __future__ import annotations

from numba import int64, types, uint64

from tracekit.kernels import F64, I64, U32_2D, U64, compiled

_U29 = 29
_FACTOR = 0x9E3779B97F4A7C15


@compiled(types.void(U32_2D, I64, int64, int64, uint64[::1]))
def band_keys(signature_TP, row_T, first, end, key_T):
    """Key of the permutations first to end - 1 of each row, in the order of row_T."""
    for t in range(row_T.size):
        h = uint64(first + 1)
        for p in range(first, end):
            h = (h ^ uint64(signature_TP[row_T[t], p])) * uint64(_FACTOR)
            h ^= h >> uint64(_U29)
        key_T[t] = h


@compiled(int64(U32_2D, I64, U64, I64, int64, int64, int64, int64[::1], int64[::1], int64[:, ::1]))
def bucket_pairs(
    signature_TP, row_T, key_Q, place_Q, all_pairs, n_first, min_agreeing, at, tally, out_G2
):
    """Pairs of places that share a key and agree in min_agreeing permutations, to out_G2.

    key_Q sorted; place_Q the place of each in row_T, ascending within a key. In a bucket of up to
    `all_pairs` members all meet, in a larger one each meets the first n_first. at: (next member,
    start of its bucket, its size), zeros at first; moved on, so a full out_G2 is no end: come
    again while at[0] < key_Q.size. tally: pairs met, bounded buckets, their members, the largest
    bucket. Returns the number of pairs in out_G2, which must have room for `all_pairs` rows.
    """
    n = int64(0)
    q = at[0]
    start = at[1]
    size = at[2]
    while q < key_Q.size and n + all_pairs <= out_G2.shape[0]:
        if q == start + size:
            start = q
            size = int64(1)
            while start + size < key_Q.size and key_Q[start + size] == key_Q[start]:
                size += 1
            tally[3] = max(tally[3], size)
            if size > all_pairs:
                tally[1] += 1
                tally[2] += size
        last = q if size <= all_pairs else min(q, start + n_first)
        for k in range(start, last):
            a = row_T[place_Q[k]]
            b = row_T[place_Q[q]]
            agreeing = int64(0)
            for p in range(signature_TP.shape[1]):
                agreeing += int64(signature_TP[a, p] == signature_TP[b, p])
            tally[0] += 1
            if agreeing >= min_agreeing:
                out_G2[n, 0] = place_Q[k]
                out_G2[n, 1] = place_Q[q]
                n += 1
        q += 1
    at[0] = q
    at[1] = start
    at[2] = size
    return n


@compiled(types.void(I64, I64, int64[::1]))
def components(a_G, b_G, label_T):
    """Label of each trace: the smallest number in its connected component. label_T: arange."""
    for g in range(a_G.size):
        a = a_G[g]
        b = b_G[g]
        while label_T[a] != a:
            label_T[a] = label_T[label_T[a]]
            a = label_T[a]
        while label_T[b] != b:
            label_T[b] = label_T[label_T[b]]
            b = label_T[b]
        if a < b:
            label_T[b] = a
        else:
            label_T[a] = b
    for t in range(label_T.size):
        label_T[t] = label_T[label_T[t]]  # a label is never larger, so the one before is final


@compiled(types.void(U64, I64, U64, I64, I64, I64, int64[::1]))
def shared_counts(left, left_offsets, right, right_offsets, a_G, b_G, n_shared_G):
    """Hashes that set a_G[g] of the left and set b_G[g] of the right share; sets are sorted."""
    for g in range(a_G.size):
        i = left_offsets[a_G[g]]
        j = right_offsets[b_G[g]]
        i_end = left_offsets[a_G[g] + 1]
        j_end = right_offsets[b_G[g] + 1]
        n = int64(0)
        while i < i_end and j < j_end:
            x = left[i]
            y = right[j]
            # Steps without branches: which side is ahead is a coin toss.
            n += int64(x == y)
            i += int64(x <= y)
            j += int64(y <= x)
        n_shared_G[g] = n


@compiled(types.void(I64, I64, F64, int64[::1], types.float64[::1]))
def greedy_winners(loser_G, winner_G, similarity_G, winner_T, similarity_T):
    """Mark the traces that go. Pairs by rank of the loser, then of the winner; winner_T all -1.

    When the pairs of a loser come up, all that could win over it are decided.
    """
    for g in range(loser_G.size):
        loser = loser_G[g]
        if winner_T[loser] == -1 and winner_T[winner_G[g]] == -1:
            winner_T[loser] = winner_G[g]
            similarity_T[loser] = similarity_G[g]
