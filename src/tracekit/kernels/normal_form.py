"""Which UTF-8 texts may change under NFC: those with a combining mark or a composable character.

Most text has none, and one pass over its bytes is several times as fast as normalising it. Legend:
B bytes, R ranges, C code points.
"""

from __future__ import annotations

import unicodedata
from functools import cache

import numpy as np
import numpy.typing as npt
from numba import types, uint8

from tracekit.kernels import I64, U8, compiled

_TOP = 0x30000
"""No code point above has a canonical mapping or a combining class."""


@cache
def sensitive_code_points() -> npt.NDArray[np.uint8]:
    """uint8[C]: 1 where a text with it may differ from its NFC (marks, jamo, singletons)."""
    out = np.zeros(_TOP, np.uint8)
    for code in range(0x300, _TOP):
        if 0x3400 <= code < 0xA000 or 0xAC00 <= code < 0xE000:  # ideographs, syllables, surrogates
            continue
        c = chr(code)
        if unicodedata.combining(c) or not unicodedata.is_normalized("NFC", c):
            out[code] = 1
        mapping = unicodedata.decomposition(c)
        if mapping and mapping[0] != "<" and unicodedata.is_normalized("NFC", c):
            # The later characters of what composes may join what stands before them.
            for part in mapping.split()[1:]:
                out[int(part, 16)] = 1
    for first, last in ((0x1161, 0x1175), (0x11A8, 0x11C2)):  # vowels and finals of Hangul
        out[first : last + 1] = 1
    return out


def joins_before(character: str) -> bool:
    """May this character change together with what stands before it?"""
    code = ord(character)
    return code < _TOP and bool(sensitive_code_points()[code])


@compiled(types.void(U8, I64, U8, uint8[::1]))
def _sensitive(text_B, offsets_R1, table_C, out_R):
    for r in range(offsets_R1.size - 1):
        k = offsets_R1[r]
        end = offsets_R1[r + 1]
        found = uint8(0)
        while k < end:
            b = text_B[k]
            if b < 0xCC:  # ASCII, continuation, or below U+0300
                k += 1
                continue
            code = 0
            if b < 0xE0 and k + 1 < end:
                code = (b & 0x1F) << 6 | (text_B[k + 1] & 0x3F)
                k += 2
            elif b < 0xF0 and k + 2 < end:
                code = (b & 0x0F) << 12 | (text_B[k + 1] & 0x3F) << 6 | (text_B[k + 2] & 0x3F)
                k += 3
            elif k + 3 < end:
                code = (
                    (b & 0x07) << 18
                    | (text_B[k + 1] & 0x3F) << 12
                    | (text_B[k + 2] & 0x3F) << 6
                    | (text_B[k + 3] & 0x3F)
                )
                k += 4
            else:
                k = end
            if code < table_C.size and table_C[code]:
                found = uint8(1)
                break
        out_R[r] = found


def may_change(
    text_B: npt.NDArray[np.uint8], offsets_R1: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """bool[R]: False where text_B[offsets[r]:offsets[r + 1]] surely is in NFC."""
    out_R = np.zeros(max(len(offsets_R1) - 1, 0), np.uint8)
    _sensitive(text_B, offsets_R1, sensitive_code_points(), out_R)
    return out_R.view(np.bool_)
