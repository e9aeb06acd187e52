"""Text of a trace to sets of 64-bit hashes, one a shingle, straight over Arrow string buffers.

`tracekit.sketch` says what a word and a shingle are and holds the same in plain Python; a test
compares the two. Legend: T traces, M messages, C calls, K code points, D hashes.
"""

from __future__ import annotations

import numpy as np
from numba import int64, types, uint8, uint64

from tracekit.kernels import I64, U8, compiled

SEPARATOR, LETTER, OWN_WORD = 0, 1, 2
"""What a code point does: ends a word, goes on with it, or is a word by itself."""

TASK, TARGET = 1, 2
"""Scope tags; mixed into each hash, so the shingles of the two scopes are never equal."""

# Odd constants from the 64-bit golden ratio, FNV-1a's offset and MurmurHash3's finalizer.
WORD_SEED = 0xCBF29CE484222325
WORD_FACTOR = 0x9E3779B97F4A7C15
SHINGLE_FACTOR = 0xD6E8FEB86659FD93
MIX_1, MIX_2 = 0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53

_WORD_SEED = np.uint64(WORD_SEED)
_WORD_FACTOR = np.uint64(WORD_FACTOR)
_SHINGLE_FACTOR = np.uint64(SHINGLE_FACTOR)
_MIX_1, _MIX_2 = np.uint64(MIX_1), np.uint64(MIX_2)
_U0, _U8, _U32, _U33 = np.uint64(0), np.uint64(8), np.uint64(32), np.uint64(33)

MAX_WORDS = 16
"""Longest shingle, in words: the size of the ring below."""


@compiled(uint64(uint64, uint64))
def _fold(h, piece):
    """Take the next 8 bytes (the last piece: fewer) of a word into its hash."""
    h = (h ^ piece) * _WORD_FACTOR
    return h ^ (h >> _U32)


@compiled(uint64(uint64))
def _mix(h):
    h ^= h >> _U33
    h *= _MIX_1
    h ^= h >> _U33
    h *= _MIX_2
    return h ^ (h >> _U33)


@compiled(int64(U8, int64, int64, int64, int64, U8, U8, uint64[::1], int64))
def _shingles(buf, lo, hi, tag, n_words, byte_to, point_kind_K, out, at):
    """Hashes of the shingles of buf[lo:hi] to out[at:]; returns the new end of out.

    byte_to: 256 entries: 0 a separator, the lowercased letter or digit, 1 a symbol that is its own
    word, 2 the first byte of a longer code point. A span of 1 to n_words - 1 words is one shingle.
    """
    ring = np.zeros(MAX_WORDS, np.uint64)
    power = uint64(1)
    for _ in range(n_words):
        power *= _SHINGLE_FACTOR
    salt = uint64(tag) * _WORD_FACTOR
    slot = 0
    n = int64(0)
    rolled = _U0
    h = _WORD_SEED
    piece = _U0
    filled = 0  # bytes in `piece`
    open_word = False
    i = lo
    while i <= hi:
        # A separator stands behind the last byte.
        c = byte_to[buf[i]] if i < hi else uint8(0)
        size = 1
        kind = LETTER
        if c <= 2:
            kind = SEPARATOR
            if c == 1:
                kind = OWN_WORD
            elif c == 2:
                b = int64(buf[i])
                size = 2 if b < 0xE0 else (3 if b < 0xF0 else 4)
                kind = OWN_WORD
                if i + size > hi:
                    size = hi - i
                elif size == 2:
                    kind = point_kind_K[((b & 0x1F) << 6) | (buf[i + 1] & 0x3F)]
                elif size == 3:
                    kind = point_kind_K[
                        ((b & 0x0F) << 12) | ((buf[i + 1] & 0x3F) << 6) | (buf[i + 2] & 0x3F)
                    ]
        if kind == LETTER:
            if size == 1:
                if filled == 8:
                    h = _fold(h, piece)
                    piece = _U0
                    filled = 0
                piece = (piece << _U8) | uint64(c)
                filled += 1
            else:
                for k in range(size):
                    if filled == 8:
                        h = _fold(h, piece)
                        piece = _U0
                        filled = 0
                    piece = (piece << _U8) | uint64(buf[i + k])
                    filled += 1
            open_word = True
            i += size
            continue
        # The word before ends; then this code point may be a word itself.
        for turn in range(2):
            if turn == 0:
                if not open_word:
                    continue
                word = _fold(h, piece)
            else:
                if kind != OWN_WORD:
                    break
                piece = _U0
                for k in range(size):
                    piece = (piece << _U8) | uint64(buf[i + k])
                word = _fold(_WORD_SEED, piece)
            rolled = rolled * _SHINGLE_FACTOR + word - ring[slot] * power
            ring[slot] = word
            slot += 1
            if slot == n_words:
                slot = 0
            n += 1
            if n >= n_words:
                out[at] = _mix(rolled + salt)
                at += 1
        h = _WORD_SEED
        piece = _U0
        filled = 0
        open_word = False
        i += size
    if 0 < n < n_words:
        out[at] = _mix(rolled + salt)
        at += 1
    return at


@compiled(int64(uint64[::1], int64, int64, uint64[::1]))
def _distinct(hashes, lo, hi, table):
    """Move the distinct hashes of hashes[lo:hi] to its front; returns their end.

    table: scratch, a power of two of at least 2 * (hi - lo) entries, all zero before and after.
    """
    bits = 1
    while (1 << bits) < 2 * (hi - lo):
        bits += 1
    mask = (1 << bits) - 1
    end = lo
    zero = False
    for i in range(lo, hi):
        x = hashes[i]
        if x == _U0:
            # 0 marks a free entry; the hash 0 is kept apart.
            if not zero:
                zero = True
                hashes[end] = x
                end += 1
            continue
        at = int64(x) & mask
        while table[at] != _U0 and table[at] != x:
            at = (at + 1) & mask
        if table[at] == _U0:
            table[at] = x
            hashes[end] = x
            end += 1
    if end - lo > mask >> 4:
        table[: mask + 1] = _U0
    else:
        # Few entries in a large table (a loop of text): walk to each as it was set.
        for i in range(lo, end):
            at = int64(hashes[i]) & mask
            while table[at] != _U0:
                table[at] = _U0
                at = (at + 1) & mask
    return end


# fmt: off
@compiled(
    types.void(
        int64, int64, I64, U8,  # first and end of the traces, messages_T1, role_M
        U8, I64, U8, I64,  # content, reasoning
        I64, U8, I64, U8, I64,  # calls_M1, names, arguments
        int64, U8, U8,  # n_words, byte_to, point_kind_K
        uint64[::1], int64[:, ::1], int64,  # hashes out, ends out (2 a trace), distinct
    )
)
def trace_shingles(
    first, end, messages_T1, role_M,
    content, content_M1, reasoning, reasoning_M1,
    calls_M1, names, names_C1, arguments, arguments_C1,
    n_words, byte_to, point_kind_K,
    hashes_D, ends_T2, distinct,
):
    """Hashes of the task and then of the target of each trace, one trace behind the other.

    hashes_D[:ends_T2[0, 0]] is the task of the first trace, up to ends_T2[0, 1] its target, and so
    on; no hash twice in one scope. hashes_D must have room for the bytes of all spans. Roles are
    the codes of `columns.ROLES` (0 system, 1 user, 2 assistant).
    """
    at = int64(0)
    table = np.zeros(1024, np.uint64)
    for t in range(first, end):
        begin = at
        for role in (1, 0):
            if at > begin:
                break
            for m in range(messages_T1[t], messages_T1[t + 1]):
                if role_M[m] == role:
                    at = _shingles(
                        content, content_M1[m], content_M1[m + 1], TASK, n_words, byte_to,
                        point_kind_K, hashes_D, at,
                    )
        for scope in range(2):
            if scope == 1:
                begin = at
                for m in range(messages_T1[t], messages_T1[t + 1]):
                    if role_M[m] != 2:
                        continue
                    at = _shingles(
                        reasoning, reasoning_M1[m], reasoning_M1[m + 1], TARGET, n_words, byte_to,
                        point_kind_K, hashes_D, at,
                    )
                    at = _shingles(
                        content, content_M1[m], content_M1[m + 1], TARGET, n_words, byte_to,
                        point_kind_K, hashes_D, at,
                    )
                    for c in range(calls_M1[m], calls_M1[m + 1]):
                        at = _shingles(
                            names, names_C1[c], names_C1[c + 1], TARGET, n_words, byte_to,
                            point_kind_K, hashes_D, at,
                        )
                        at = _shingles(
                            arguments, arguments_C1[c], arguments_C1[c + 1], TARGET, n_words,
                            byte_to, point_kind_K, hashes_D, at,
                        )
            if distinct != 0:
                while table.size < 2 * (at - begin):
                    table = np.zeros(2 * table.size, np.uint64)
                at = _distinct(hashes_D, begin, at, table)
            ends_T2[t - first, scope] = at
# fmt: on
