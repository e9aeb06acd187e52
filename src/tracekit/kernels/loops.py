"""Loops in token ids: regions that repeat with a period, found in linear time.

A run of period p is a range [s, e) with ids[i] == ids[i - p] for every i from s + p on; it counts
as a loop when it holds at least 3 periods and 200 tokens. (3 and 200: what parted the endless
generations among real samples from right ones with parallel cases and formulas.) Legend: N tokens,
R ranges.

How: the place where the last 16 tokens stood before proposes a period; up to 8 periods are followed
at a time, one comparison each for a token. Only when a period has been followed for long enough to
be a loop is the run's start looked for, backwards, over at most a few times that length. So the
work is linear in the tokens whatever they are. A loop whose every 16 tokens stand at least twice
within its own period is found only when its period stands at the same distance as that repetition.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import int64, types, uint8, uint64

from tracekit.kernels import I64, U32, compiled

MIN_PERIODS = 3
MIN_TOKENS = 200

_WINDOW = 16
_FOLLOWED = 8
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_U32 = np.uint64(32)


@dataclass(frozen=True, slots=True)
class Loops:
    """Loops of R ranges. loop_tokens: tokens of loops beyond the first period of each, none counted
    twice. run_start, run_end, period: the longest loop, as places in `ids`; -1 where none."""

    loop_tokens_R: npt.NDArray[np.int64]
    run_start_R: npt.NDArray[np.int64]
    run_end_R: npt.NDArray[np.int64]
    period_R: npt.NDArray[np.int64]
    steps_R: npt.NDArray[np.int64]
    """Comparisons made: at most a constant times the tokens."""


@compiled(types.void(U32, I64, I64, int64[::1], uint8[::1], int64[:, ::1]))
def _loops(ids, start_R, end_R, last_place, looped_N, out_R5):
    """last_place: a power of two of scratch, at least twice the longest range, all -1 at first.
    looped_N: zeros, of the longest range."""
    power = uint64(1)
    for _ in range(_WINDOW):
        power *= _FACTOR
    period = np.zeros(_FOLLOWED, np.int64)
    since = np.zeros(_FOLLOWED, np.int64)  # first place from which the period was followed
    for r in range(start_R.size):
        lo = start_R[r]
        hi = end_R[r]
        longest = 0
        steps = 0
        tokens = 0
        run_start = run_end = run_period = -1
        if hi - lo >= MIN_TOKENS:
            n_places = 1024
            while n_places < 2 * (hi - lo):
                n_places *= 2
            mask = uint64(n_places - 1)
            rolled = uint64(0)
            n_followed = 0
            # One place beyond the end closes the runs that reach it.
            for i in range(lo, hi + 1):
                k = 0
                while k < n_followed:
                    p = period[k]
                    steps += 1
                    if i < hi and ids[i] == ids[i - p]:
                        k += 1
                        continue
                    begin = since[k]
                    n_followed -= 1
                    period[k] = period[n_followed]
                    since[k] = since[n_followed]
                    # Within a loop a window is met again after at most two periods, so a loop has
                    # been followed for at least its last one, and 40 of its 200 tokens.
                    followed = i - begin + _WINDOW
                    need = max(MIN_PERIODS * p, MIN_TOKENS)
                    if followed < 40 or followed < p:
                        continue
                    first = begin - _WINDOW
                    while first - p > lo and ids[first - 1] == ids[first - 1 - p]:
                        first -= 1
                        steps += 1
                    length = i - first + p
                    if length < need:
                        continue
                    for j in range(first, i):
                        looped_N[j - lo] = 1
                    steps += i - first
                    if length > longest:
                        longest = length
                        run_start, run_end, run_period = first - p, i, p
                if i == hi:
                    break
                rolled = rolled * _FACTOR + uint64(ids[i]) + uint64(1)
                if i - lo >= _WINDOW:
                    rolled -= (uint64(ids[i - _WINDOW]) + uint64(1)) * power
                if i - lo < _WINDOW - 1:
                    continue
                slot = (rolled ^ (rolled >> _U32)) & mask
                j = last_place[slot]
                last_place[slot] = i
                # Places of another range, or of another window with this slot, propose nothing.
                if j < lo + _WINDOW - 1 or j >= i:
                    continue
                known = False
                for k in range(n_followed):
                    known = known or period[k] == i - j
                if known:
                    continue
                same = 0
                while same < _WINDOW and ids[i - same] == ids[j - same]:
                    same += 1
                steps += same + 1
                if same < _WINDOW:
                    continue
                if n_followed < _FOLLOWED:
                    k = n_followed
                    n_followed += 1
                else:
                    # Room for the new one: the least followed leaves, the longer period of two.
                    k = 0
                    for other in range(1, _FOLLOWED):
                        if since[other] > since[k] or (
                            since[other] == since[k] and period[other] > period[k]
                        ):
                            k = other
                period[k] = i - j
                since[k] = i + 1
            if longest > 0:
                for k in range(hi - lo):
                    tokens += looped_N[k]
                    looped_N[k] = 0
        out_R5[r, 0] = tokens
        out_R5[r, 1] = run_start
        out_R5[r, 2] = run_end
        out_R5[r, 3] = run_period
        out_R5[r, 4] = steps


def loops(
    ids: npt.NDArray[np.uint32],
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
) -> Loops:
    """Loops of each range ids[starts[r]:ends[r]]; the share is loop_tokens / (end - start).

    >>> ids = np.r_[np.arange(50), np.tile([7, 8, 9, 6], 60)].astype(np.uint32)
    >>> found = loops(ids, np.array([0]), np.array([290]))
    >>> int(found.loop_tokens_R[0]), periodic_run(ids, 0, 290)
    (236, (50, 290, 4))
    """
    starts = np.ascontiguousarray(starts, np.int64)
    ends = np.ascontiguousarray(ends, np.int64)
    longest = int((ends - starts).max(initial=0))
    n_places = max(1024, 1 << (2 * longest - 1).bit_length()) if longest else 1024
    out_R5 = np.empty((starts.size, 5), np.int64)
    _loops(
        np.ascontiguousarray(ids, np.uint32),
        starts,
        ends,
        np.full(n_places, -1, np.int64),
        np.zeros(max(longest, 1), np.uint8),
        out_R5,
    )
    return Loops(*np.ascontiguousarray(out_R5.T))


def periodic_run(ids: npt.NDArray[np.uint32], lo: int, hi: int) -> tuple[int, int, int]:
    """(start, end, period) of the longest loop in ids[lo:hi]; (-1, -1, -1) where there is none."""
    found = loops(ids, np.array([lo], np.int64), np.array([hi], np.int64))
    return int(found.run_start_R[0]), int(found.run_end_R[0]), int(found.period_R[0])
