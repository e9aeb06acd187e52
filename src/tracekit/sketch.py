"""Sketches of traces for near duplicates: words, shingles, MinHash signatures.

**Words.** Runs of letters, digits and `_`, ASCII letters lowercased; any code point above U+007F
is a letter unless it is named here. Every other visible ASCII character is a word by itself:
numbers and operators are always kept, so `7+5` and `7-5` differ. Three characters are separators
like white space: the quotes `"`, `'` and `` ` ``, which only delimit (JSON and Python spell one
and the same argument with different ones); so are their typographic forms. Above ASCII, the Unicode
spaces are separators, and two kinds of code points are words by themselves: punctuation, arrows,
mathematical signs and pictures; and the letters of scripts written without spaces (CJK, kana, Thai,
Lao, Tibetan, Myanmar, Khmer, Yi), which would else make a word of a whole sentence.

**Shingles.** n words in a row (5), within one field. A field of fewer words is one shingle of all
its words, so short texts compare whole; a field without words has none. A scope tag goes into each
shingle: the shingles of the task and of the target are never equal. A shingle counts once.

**Scopes.** Task: content of the user messages (of the system messages, where those say nothing).
Target: reasoning, content, and name and arguments of each call of the assistant messages. System
prompts, tool declarations and tool results are outside: boilerplate would merge what differs.

**Canonical bytes of a shingle**: the tag byte, then the words in UTF-8 joined by 0x1f.
`shingle_hash64` is defined on them, `shingle_hash` is its upper half. A signature equals that of
`datasketch.MinHash(num_perm=128, scheme="affine32", hashfunc=tracekit.shingle_hash)` updated with
the canonical bytes; verification compares the 64-bit hashes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tracekit.columns import TraceColumns
from tracekit.errors import UsageError
from tracekit.kernels import minhash
from tracekit.kernels import shingles as kernel

VERSION = 1
"""Version of these definitions: part of the fingerprint of every sketch."""

TASK, TARGET = kernel.TASK, kernel.TARGET

SKETCH_SCHEMA = pa.schema(
    [
        ("signature", pa.binary(4 * minhash.N_PERMUTATIONS)),
        ("n_task_shingles", pa.int32()),
        ("n_target_shingles", pa.int32()),
    ]
)

_MASK = (1 << 64) - 1
_BATCH_BYTES = 1 << 20  # text at a time; its hashes (2 bytes of them for each of text) stay near

_SPACES = ((0x85, 0x85), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A), (0x2018, 0x201F),
           (0x2028, 0x2029), (0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000))  # fmt: skip
"""Code points above ASCII that separate words: White_Space of Unicode, and curly quotes."""

_OWN_WORDS = (
    (0xA1, 0xA9), (0xAB, 0xB4), (0xB6, 0xB9), (0xBB, 0xBF),  # Latin-1 signs, not the letters in it
    (0xD7, 0xD7), (0xF7, 0xF7),  # times, divided by
    (0x0E00, 0x0FFF),  # Thai, Lao, Tibetan
    (0x1000, 0x109F), (0x1780, 0x17FF),  # Myanmar, Khmer
    (0x2010, 0x2BFF),  # punctuation, super- and subscripts, currency, arrows, mathematics, shapes
    (0x2E80, 0x3130), (0x3190, 0xA4CF),  # CJK, kana, Bopomofo, Yi; Hangul between them has spaces
    (0xA9E0, 0xA9FF), (0xAA60, 0xAA7F),  # Myanmar, extended
    (0xF900, 0xFAFF), (0xFE30, 0xFE6F), (0xFF00, 0xFFEF),  # CJK compatibility, full and half width
)  # fmt: skip
"""Code points from U+0080 to U+FFFF that are words by themselves. All above are too: rare CJK,
emoji, historic scripts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SketchParams:
    """Parameters of the family; part of its fingerprint."""

    n_words: int = 5
    """Words of a shingle, 1 to 16."""

    def __post_init__(self) -> None:
        if not 1 <= self.n_words <= kernel.MAX_WORDS:
            raise UsageError(
                f"a shingle of {self.n_words} words",
                where="n_words",
                expected=f"1 to {kernel.MAX_WORDS} words",
                fix="leave it out for 5, the value that the thresholds were chosen for",
            )


@dataclass(frozen=True, slots=True)
class ShingleSets:
    """Exact shingle sets of T traces, by scope: trace i has task_hashes[task_offsets[i] :
    task_offsets[i + 1]], sorted, each once; the target in the same way."""

    task_hashes: npt.NDArray[np.uint64]
    task_offsets: npt.NDArray[np.int64]
    target_hashes: npt.NDArray[np.uint64]
    target_offsets: npt.NDArray[np.int64]


@cache
def _tables() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """What each byte and each code point below U+10000 does, as the kernel reads it."""
    byte_to = np.zeros(256, np.uint8)
    for c in range(0x21, 0x7F):
        char = chr(c)
        if char.isalnum() or char == "_":
            byte_to[c] = ord(char.lower())
        elif char not in "\"'`":
            byte_to[c] = 1
    byte_to[0x80:] = 2
    point_kind_K = np.full(0x10000, kernel.LETTER, np.uint8)
    for first, last in _OWN_WORDS:
        point_kind_K[first : last + 1] = kernel.OWN_WORD
    for first, last in _SPACES:
        point_kind_K[first : last + 1] = kernel.SEPARATOR
    point_kind_K[:0x21] = point_kind_K[0x7F] = kernel.SEPARATOR
    return byte_to, point_kind_K


def words(text: str) -> Iterator[str]:
    """Words of a text, in order: the definition in plain Python.

    >>> list(words("Is 7+5 = 12? It's 茶_x."))
    ['is', '7', '+', '5', '=', '12', '?', 'it', 's', '茶', '_x', '.']
    """
    byte_to, point_kind_K = _tables()
    word = ""
    for char in text:
        point = ord(char)
        if point < 0x80:
            c = byte_to[point]
            kind = c if c <= 1 else kernel.LETTER
            if c == 1:
                kind = kernel.OWN_WORD
        else:
            kind = point_kind_K[point] if point < 0x10000 else kernel.OWN_WORD
        if kind == kernel.LETTER:
            word += chr(c) if point < 0x80 else char
            continue
        if word:
            yield word
            word = ""
        if kind == kernel.OWN_WORD:
            yield char
    if word:
        yield word


def shingles(text: str, tag: int, *, n_words: int = 5) -> set[bytes]:
    """Canonical bytes of the shingles of one field, with the tag of its scope.

    >>> sorted(shingles("a b c d e f", TASK))
    [b'\\x01a\\x1fb\\x1fc\\x1fd\\x1fe', b'\\x01b\\x1fc\\x1fd\\x1fe\\x1ff']
    >>> shingles("too short", TARGET), shingles(" ", TARGET)
    ({b'\\x02too\\x1fshort'}, set())
    """
    found = [word.encode() for word in words(text)]
    if not found:
        return set()
    n_starts = max(1, len(found) - n_words + 1)
    return {bytes([tag]) + b"\x1f".join(found[i : i + n_words]) for i in range(n_starts)}


def shingle_hash64(data: bytes) -> int:
    """64-bit hash of the canonical bytes of a shingle: a polynomial in the hashes of its words.

    A word is hashed in pieces of 8 bytes, read big-endian; the words are combined so that the
    kernel can roll; the tag is added and MurmurHash3's finalizer mixes.
    """
    rolled = 0
    for word in data[1:].split(b"\x1f"):
        h = kernel.WORD_SEED
        for i in range(0, max(len(word), 1), 8):
            h = ((h ^ int.from_bytes(word[i : i + 8], "big")) * kernel.WORD_FACTOR) & _MASK
            h ^= h >> 32
        rolled = (rolled * kernel.SHINGLE_FACTOR + h) & _MASK
    h = (rolled + data[0] * kernel.WORD_FACTOR) & _MASK
    h = ((h ^ (h >> 33)) * kernel.MIX_1) & _MASK
    h = ((h ^ (h >> 33)) * kernel.MIX_2) & _MASK
    return h ^ (h >> 33)


def shingle_hash(data: bytes) -> int:
    """32-bit hash of the canonical bytes of a shingle: the upper half of `shingle_hash64`.

    >>> shingle_hash(b"\\x01too\\x1fshort") == shingle_hash64(b"\\x01too\\x1fshort") >> 32
    True
    """
    return shingle_hash64(data) >> 32


def _text_bytes(columns: TraceColumns) -> npt.NDArray[np.int64]:
    """Bytes of all fields that a trace's shingles could come from (a bound of their number)."""
    M1 = columns.messages_T1
    C1 = columns.calls_M1[M1]
    ends = (
        columns.content_M.offsets[M1]
        + columns.reasoning_M.offsets[M1]
        + columns.call_name_C.offsets[C1]
        + columns.call_arguments_C.offsets[C1]
    )
    return np.diff(ends)


def _hashes(
    columns: TraceColumns, first: int, end: int, n_words: int, room: int, *, distinct: bool
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """Hashes of the traces first to end, and where task and target of each end (shape T x 2)."""
    byte_to, point_kind_K = _tables()
    hashes_D = np.empty(room, np.uint64)
    ends_T2 = np.empty((end - first, 2), np.int64)
    kernel.trace_shingles(
        first, end, columns.messages_T1, columns.role_M,
        columns.content_M.bytes_B, columns.content_M.offsets,
        columns.reasoning_M.bytes_B, columns.reasoning_M.offsets,
        columns.calls_M1,
        columns.call_name_C.bytes_B, columns.call_name_C.offsets,
        columns.call_arguments_C.bytes_B, columns.call_arguments_C.offsets,
        n_words, byte_to, point_kind_K, hashes_D, ends_T2, distinct,
    )  # fmt: skip
    return hashes_D, ends_T2


def measure(columns: TraceColumns, params: SketchParams | None = None) -> pa.Table:
    """Evidence family `sketch`, row for row: signature (128 x uint32, little-endian), null where
    the target has no word; n_task_shingles and n_target_shingles, distinct ones."""
    params = params or SketchParams()
    n_traces = columns.n_traces
    signature_TP = np.empty((n_traces, minhash.N_PERMUTATIONS), np.uint32)
    counts_T2 = np.zeros((n_traces, 2), np.int32)
    a_P, b_P = minhash.permutations()
    n_bytes_T = _text_bytes(columns)
    ends_T = np.cumsum(n_bytes_T)
    first = 0
    while first < n_traces:
        limit = (ends_T[first - 1] if first else 0) + _BATCH_BYTES
        end = max(first + 1, int(np.searchsorted(ends_T, limit, side="right")))
        room = int(n_bytes_T[first:end].sum())
        hashes_D, ends_T2 = _hashes(columns, first, end, params.n_words, room, distinct=True)
        minhash.signatures(
            hashes_D, np.ascontiguousarray(ends_T2[:, 1]), a_P, b_P, signature_TP[first:end]
        )
        counts_T2[first:end] = np.diff(ends_T2.ravel(), prepend=0).reshape(-1, 2)
        first = end
    n_task, n_target = np.ascontiguousarray(counts_T2.T)
    given = pa.array(n_target > 0)
    signature = pa.FixedSizeBinaryArray.from_buffers(
        SKETCH_SCHEMA.field("signature").type,
        n_traces,
        [given.buffers()[1], pa.py_buffer(signature_TP.astype("<u4", copy=False))],
    )
    return pa.Table.from_arrays(
        [signature, pa.array(n_task, pa.int32()), pa.array(n_target, pa.int32())],
        schema=SKETCH_SCHEMA,
    )


def signature_matrix(signature: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.uint32]:
    """Signatures as T x 128 uint32, without a copy where it is one chunk. No row may be null."""
    if isinstance(signature, pa.ChunkedArray):
        signature = signature.combine_chunks()
    n = len(signature)
    width = minhash.N_PERMUTATIONS
    if n == 0:
        return np.zeros((0, width), np.uint32)
    flat_TP = np.frombuffer(signature.buffers()[1], "<u4")
    start = signature.offset * width
    return flat_TP[start : start + n * width].reshape(n, width)


def shingle_sets(
    columns: TraceColumns,
    trace_indices: Sequence[int] | npt.NDArray[np.int64],
    params: SketchParams | None = None,
) -> ShingleSets:
    """Exact 64-bit shingle sets of some traces, in the order of trace_indices."""
    params = params or SketchParams()
    n_bytes_T = _text_bytes(columns)
    tasks: list[npt.NDArray[np.uint64]] = []
    targets: list[npt.NDArray[np.uint64]] = []
    for t in map(int, trace_indices):
        room = int(n_bytes_T[t])
        hashes_D, ends_T2 = _hashes(columns, t, t + 1, params.n_words, room, distinct=True)
        task_end, target_end = ends_T2[0]
        tasks.append(np.sort(hashes_D[:task_end]))
        targets.append(np.sort(hashes_D[task_end:target_end]))
    return ShingleSets(*_packed(tasks), *_packed(targets))


def _packed(
    arrays: list[npt.NDArray[np.uint64]],
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    offsets = np.zeros(len(arrays) + 1, np.int64)
    np.cumsum([a.size for a in arrays], out=offsets[1:])
    return (np.concatenate(arrays) if arrays else np.zeros(0, np.uint64)), offsets


def joined_sets(parts: Sequence[ShingleSets]) -> ShingleSets:
    """The sets of several parts as one, in order."""
    tasks = [s.task_hashes[a:b] for s in parts for a, b in _spans(s.task_offsets)]
    targets = [s.target_hashes[a:b] for s in parts for a, b in _spans(s.target_offsets)]
    return ShingleSets(*_packed(tasks), *_packed(targets))


def picked_sets(sets: ShingleSets, indices: npt.NDArray[np.int64]) -> ShingleSets:
    """The sets of some traces, in the order of indices; `sets` may be memory-mapped."""
    spans = indices.tolist()
    task, target = sets.task_offsets, sets.target_offsets
    return ShingleSets(
        *_packed([sets.task_hashes[task[i] : task[i + 1]] for i in spans]),
        *_packed([sets.target_hashes[target[i] : target[i + 1]] for i in spans]),
    )


def _spans(offsets: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    return zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)
