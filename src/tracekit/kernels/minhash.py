"""MinHash signatures of 128 permutations from shingle hashes.

Bit for bit what `datasketch.MinHash(num_perm=128, scheme="affine32")` gives (datasketch 2.0): the
32-bit hash goes once through MurmurHash3's finalizer, permutation k is a_k * h + b_k in 32 bits,
and a_k (odd), b_k are drawn by `numpy.random.RandomState(1)`. Legend: T traces, P permutations,
D hashes.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import int64, types, uint32, uint64

from tracekit.kernels import I64, U32, U64, compiled

N_PERMUTATIONS = 128
EMPTY = 0xFFFFFFFF
"""Value of every permutation where there is no shingle."""

_BLOCK = 2048  # shingles at a time: 8 KiB stay in the first cache while 128 permutations pass over
_STEP = 64  # the loop below is cut into vectors of up to this many lanes


@compiled(types.void(U64, I64, U32, U32, uint32[:, ::1]))
def signatures(hashes_D, ends_T, a_P, b_P, signature_TP):
    """Signature of each trace: the hashes from the end of the trace before up to its own end."""
    x = np.empty(_BLOCK, np.uint32)
    begin = int64(0)
    for t in range(ends_T.size):
        for k in range(a_P.size):
            signature_TP[t, k] = uint32(EMPTY)
        while begin < ends_T[t]:
            n = min(ends_T[t] - begin, _BLOCK)
            for i in range(n):
                h = uint32(hashes_D[begin + i] >> uint64(32))
                h ^= h >> uint32(16)
                h = uint32(h * uint32(0x85EBCA6B))
                h ^= h >> uint32(13)
                h = uint32(h * uint32(0xC2B2AE35))
                h ^= h >> uint32(16)
                x[i] = h
            begin += n
            # A minimum does not mind a repeated value: filled up, the loop has no ragged end.
            while n % _STEP != 0:
                x[n] = x[n - 1]
                n += 1
            for k in range(a_P.size):
                a = a_P[k]
                b = b_P[k]
                least = signature_TP[t, k]
                for i in range(n):
                    v = uint32(uint32(a * x[i]) + b)
                    least = min(least, v)
                signature_TP[t, k] = least


@cache
def permutations() -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    """a_P and b_P as datasketch draws them for the seed 1."""
    draw: Any = np.random.RandomState(1)  # its stream is frozen by numpy's promise
    a_P = draw.randint(0, 1 << 31, N_PERMUTATIONS, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    b_P = draw.randint(0, 1 << 32, N_PERMUTATIONS, dtype=np.uint32)
    return a_P, b_P
