"""Best-fit-decreasing: samples into packs of one context, never cutting a sample.

The longest sample goes first; each goes to the open pack with the least room that still holds it,
to a new one where none does. Packs of equal room are taken last in, first out, samples of equal
length in the order that they come in, so the result depends on nothing else. How: a stack of packs
for each room from 0 to the context, and a set of the rooms whose stack is not empty, as bits in
words, words of those words, and so on: the smallest such room from a length up is found in a few
steps, so that sorting the lengths is what takes the time. Legend: S samples, P packs, R rooms, W
words, L levels; a 1 after a letter: one more, offsets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import int64, types, uint64

from tracekit.kernels import I64, compiled

_WORD_BITS = 6
"""A word holds 2 to the power of so many bits."""
_LAST_BIT = 63


@compiled(int64(uint64))
def lowest(word):
    """Number of the lowest bit that is set; the word is not 0."""
    return int64(math.frexp(float(word & (~word + uint64(1))))[1] - 1)


@compiled(types.void(uint64[::1], I64, int64))
def add(bits_W, start_L1, room):
    """Put a room into the set."""
    place = room
    for level in range(start_L1.size - 1):
        word = start_L1[level] + (place >> _WORD_BITS)
        bits_W[word] |= uint64(1) << uint64(place & _LAST_BIT)
        place >>= _WORD_BITS


@compiled(types.void(uint64[::1], I64, int64))
def remove(bits_W, start_L1, room):
    """Take a room out of the set."""
    place = room
    for level in range(start_L1.size - 1):
        word = start_L1[level] + (place >> _WORD_BITS)
        bits_W[word] &= ~(uint64(1) << uint64(place & _LAST_BIT))
        if bits_W[word] != uint64(0):
            return
        place >>= _WORD_BITS


@compiled(int64(uint64[::1], I64, int64))
def first_from(bits_W, start_L1, room):
    """The smallest room of the set that is at least `room`; -1: none."""
    place = room
    for level in range(start_L1.size - 1):
        word = place >> _WORD_BITS
        if word >= start_L1[level + 1] - start_L1[level]:
            return int64(-1)
        below = uint64(place & _LAST_BIT)
        rest = (bits_W[start_L1[level] + word] >> below) << below
        if rest != uint64(0):
            place = (word << _WORD_BITS) + lowest(rest)
            for inner in range(level - 1, -1, -1):
                word = start_L1[inner] + place
                place = (place << _WORD_BITS) + lowest(bits_W[word])
            return place
        place = word + 1
    return int64(-1)


@compiled(int64(I64, int64, uint64[::1], I64, int64[::1], int64[::1], int64[::1], int64[::1]))
def best_fit(length_S, context, bits_W, start_L1, head_R, pack_S, slot_S, size_P):
    """Pack samples in the order that they come in; returns the number of packs.

    bits_W: zeros; head_R: -1, one for each room from 0 to the context; size_P: zeros, room for as
    many packs as samples. pack_S and slot_S are written.
    """
    below_P = np.empty(length_S.size, np.int64)
    n_packs = int64(0)
    for s in range(length_S.size):
        room = first_from(bits_W, start_L1, length_S[s])
        if room < 0:
            room = context
            pack = n_packs
            n_packs += 1
        else:
            pack = head_R[room]
            head_R[room] = below_P[pack]
            if head_R[room] < 0:
                remove(bits_W, start_L1, room)
        room -= length_S[s]
        if head_R[room] < 0:
            add(bits_W, start_L1, room)
        below_P[pack] = head_R[room]
        head_R[room] = pack
        pack_S[s] = pack
        slot_S[s] = size_P[pack]
        size_P[pack] += 1
    return n_packs


@dataclass(frozen=True, slots=True)
class Packing:
    """Where each sample went."""

    pack_S: npt.NDArray[np.int64]
    slot_S: npt.NDArray[np.int64]
    """Place in the pack, the longest sample at 0."""
    n_packs: int
    fill_share: float
    """Tokens of all samples in the tokens that the packs can hold; 0 without a pack."""


def pack(length_S: npt.NDArray[np.int64], context: int) -> Packing:
    """Best-fit-decreasing of samples of these lengths; equal ones in the order that they come in.

    Raises ValueError where a sample is longer than the context.
    """
    n_samples = len(length_S)
    if n_samples and (int(length_S.max()) > context or int(length_S.min()) < 0):
        raise ValueError(f"lengths from 0 to the context {context}")
    order = np.argsort(-length_S, kind="stable")
    start_L1 = _level_starts(context + 1)
    packs, slots = np.empty(n_samples, np.int64), np.empty(n_samples, np.int64)
    n_packs = best_fit(
        np.ascontiguousarray(length_S[order], np.int64), context,
        np.zeros(start_L1[-1], np.uint64), start_L1, np.full(context + 1, -1, np.int64),
        packs, slots, np.zeros(n_samples, np.int64),
    )  # fmt: skip
    pack_S, slot_S = np.empty_like(packs), np.empty_like(slots)
    pack_S[order], slot_S[order] = packs, slots
    share = int(length_S.sum()) / (n_packs * context) if n_packs and context else 0.0
    return Packing(pack_S, slot_S, int(n_packs), share)


def _level_starts(n_bits: int) -> npt.NDArray[np.int64]:
    """Where the words of each level begin: one word holds the last."""
    starts = [0]
    while True:
        n_bits = -(-n_bits >> _WORD_BITS)
        starts.append(starts[-1] + n_bits)
        if n_bits == 1:
            return np.array(starts, np.int64)
