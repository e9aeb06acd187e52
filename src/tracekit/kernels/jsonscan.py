"""Byte spans of the members of a JSON document, found chunk by chunk without parsing a value.

A document of any size needs the memory of one chunk and of one member: `scan` takes the next bytes
and a small state, and gives the members that end in them. Spans are offsets in the document, not in
the chunk, so a member may begin in any earlier chunk.

    state = start()
    for chunk in chunks:
        spans = scan(chunk, state)     # start_E, end_E, and key spans where the top is an object
        ...                            # keep the bytes from pending(state) on for the next round
    problem(state)                     # "" when the document is whole

Brackets, strings and the commas and colons of the top level are checked; what a member holds is
not (its own parser does that). Legend: E members that ended in this chunk.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import int64

from tracekit.kernels import U8, compiled

MAX_DEPTH = 1024
"""Deeper nesting is an error; JSON parsers stop at about this depth too."""

# What comes next. `_VALUE` to `_END` are places at the level of the members.
_TOP, _FIRST, _KEY, _COLON, _VALUE, _END = range(6)
_IN_SCALAR, _IN_STRING, _IN_NESTED, _DONE, _FAILED = range(6, 11)

# Slots of the state; the open brackets stand behind them.
_PHASE, _AT, _DEPTH, _BASE, _OBJECT, _WHY = range(6)
_START, _KEY_START, _KEY_END, _QUOTED, _ESCAPED, _IN_KEY = range(6, 12)
_STACK = 12

_WHYS = (
    "",
    "the document is neither an array nor an object",
    "a comma, colon or value is missing, or stands where none belongs",
    "a bracket is closed by the wrong kind",
    f"more than {MAX_DEPTH} brackets are open",
    "text after the end of the document",
)


@dataclass(frozen=True, slots=True)
class Spans:
    """Members that ended in one chunk: value bytes start_E to end_E of the document, white space
    left out; keys with their quotes, -1 where the members have none."""

    start_E: npt.NDArray[np.int64]
    end_E: npt.NDArray[np.int64]
    key_start_E: npt.NDArray[np.int64]
    key_end_E: npt.NDArray[np.int64]


@compiled(int64(U8, int64, int64[::1], int64[:, ::1]))
def _scan(buf, at, state, out):
    """Scan buf[at:]; spans go to the rows of out. Returns where it stopped: the end, or out is full
    (then state[_WHY] of a healthy state is 0 and the caller comes again). The number of spans is
    in out[-1, 0]."""
    phase = state[_PHASE]
    base = state[_BASE]
    depth = state[_DEPTH]
    is_object = state[_OBJECT]
    quoted = state[_QUOTED]
    escaped = state[_ESCAPED]
    in_key = state[_IN_KEY]
    begin = state[_START]
    key_begin = state[_KEY_START]
    key_end = state[_KEY_END]
    why = 0
    doc = state[_AT] - at  # document offset of buf[0]
    room = out.shape[0] - 1
    n = 0
    i = at
    size = buf.size
    while i < size and n < room and why == 0:
        c = buf[i]
        if quoted != 0:
            # The bulk of any document: run to the closing quote.
            if escaped != 0:
                escaped = 0
                i += 1
                continue
            while i < size and buf[i] != 34 and buf[i] != 92:
                i += 1
            if i == size:
                break
            if buf[i] == 92:
                escaped = 1
                i += 1
                continue
            quoted = 0
            i += 1
            if phase == _IN_STRING:
                if in_key != 0:
                    key_begin = begin
                    key_end = doc + i
                    in_key = 0
                    phase = _COLON
                else:
                    out[n, 0] = begin
                    out[n, 1] = doc + i
                    out[n, 2] = key_begin
                    out[n, 3] = key_end
                    n += 1
                    phase = _END if base == 1 else _VALUE
            continue
        if phase == _IN_NESTED:
            if c == 34:
                quoted = 1
            elif c == 123 or c == 91:
                if depth >= MAX_DEPTH:
                    why = 4
                    break
                state[_STACK + depth] = c
                depth += 1
            elif c == 125 or c == 93:
                if state[_STACK + depth - 1] != c - 2:  # '}' is '{' + 2, ']' is '[' + 2
                    why = 3
                    break
                depth -= 1
                if depth == base:
                    out[n, 0] = begin
                    out[n, 1] = doc + i + 1
                    out[n, 2] = key_begin
                    out[n, 3] = key_end
                    n += 1
                    phase = _END if base == 1 else _VALUE
            i += 1
            continue
        space = c == 32 or c == 10 or c == 13 or c == 9
        if phase == _IN_SCALAR:
            if not (space or c == 44 or c == 93 or c == 125):
                if c == 34 or c == 58 or c == 91 or c == 123:
                    why = 2
                    break
                i += 1
                continue
            out[n, 0] = begin
            out[n, 1] = doc + i
            out[n, 2] = key_begin
            out[n, 3] = key_end
            n += 1
            phase = _END if base == 1 else _VALUE
            continue  # this byte is looked at again, now as what follows the value
        if space:
            i += 1
            continue
        if phase == _TOP:
            if doc + i < 3 and (c == 0xEF or c == 0xBB or c == 0xBF):  # byte order mark
                i += 1
                continue
            if c != 91 and c != 123:
                why = 1
                break
            is_object = 1 if c == 123 else 0
            state[_STACK] = c
            depth = 1
            phase = _FIRST
            i += 1
            continue
        if phase == _DONE:
            why = 5
            break
        if (phase == _FIRST or phase == _END) and (c == 93 or c == 125):
            if state[_STACK] != c - 2:
                why = 3
                break
            depth = 0
            phase = _DONE
            i += 1
            continue
        if phase == _END:
            if c != 44:
                why = 2
                break
            phase = _KEY if is_object != 0 else _VALUE
            i += 1
            continue
        if phase == _COLON:
            if c != 58:
                why = 2
                break
            phase = _VALUE
            i += 1
            continue
        # A key or a value begins here.
        wants_key = phase == _KEY or (phase == _FIRST and is_object != 0)
        if c == 44 or c == 58 or c == 93 or c == 125 or (wants_key and c != 34):
            why = 2
            break
        begin = doc + i
        if c == 34:
            quoted = 1
            in_key = 1 if wants_key else 0
            phase = _IN_STRING
        elif c == 123 or c == 91:
            state[_STACK + depth] = c
            depth += 1
            phase = _IN_NESTED
        else:
            phase = _IN_SCALAR
        i += 1
    if why != 0:
        phase = _FAILED
        state[_WHY] = why
    state[_PHASE] = phase
    state[_DEPTH] = depth
    state[_OBJECT] = is_object
    state[_QUOTED] = quoted
    state[_ESCAPED] = escaped
    state[_IN_KEY] = in_key
    state[_START] = begin
    state[_KEY_START] = key_begin
    state[_KEY_END] = key_end
    state[_AT] = doc + i
    out[room, 0] = n
    return i


def start(*, values: bool = False) -> npt.NDArray[np.int64]:
    """State before the first byte. Members are the elements of one top-level array or the values of
    one top-level object; with `values`, the values of a stream that follow one another, divided by
    white space or nothing (pretty-printed objects one after the other). A bare number at the very
    end of such a stream ends with the white space after it: feed a final newline.
    """
    state = np.zeros(_STACK + MAX_DEPTH + 1, np.int64)
    state[_PHASE] = _VALUE if values else _TOP
    state[_BASE] = 0 if values else 1
    state[_KEY_START] = state[_KEY_END] = -1
    return state


def scan(
    chunk: bytes | bytearray | memoryview | npt.NDArray[np.uint8], state: npt.NDArray[np.int64]
) -> Spans:
    """Members that end in the next bytes of the document; the state moves on behind the chunk.

    After an error (`problem(state)` is not empty and `done` is false) nothing more is found.

    >>> state = start()
    >>> scan(b' [{"a": 1}, "x', state).end_E.tolist(), pending(state)
    ([10], 12)
    >>> scan(b'y", 3]', state).start_E.tolist(), done(state)
    ([12, 18], True)
    """
    buf = chunk if isinstance(chunk, np.ndarray) else np.frombuffer(chunk, np.uint8)
    found: list[npt.NDArray[np.int64]] = []
    room = 256
    at = 0
    while at < buf.size and state[_PHASE] != _FAILED:
        # Small first: most chunks hold few members, and a chunk of numbers comes again.
        out = np.empty((room + 1, 4), np.int64)
        at = _scan(buf, at, state, out)
        found.append(out[: out[room, 0]])
        room = 65_536
    spans = np.concatenate(found) if found else np.zeros((0, 4), np.int64)
    return Spans(spans[:, 0], spans[:, 1], spans[:, 2], spans[:, 3])


def done(state: npt.NDArray[np.int64]) -> bool:
    """Has the closing bracket of the document been read? Never, for a stream of values."""
    return bool(state[_PHASE] == _DONE)


def is_object(state: npt.NDArray[np.int64]) -> bool:
    """Is the top of the document an object (its members have keys)?"""
    return bool(state[_OBJECT])


def position(state: npt.NDArray[np.int64]) -> int:
    """Bytes of the document read so far; after an error, the offset of the byte that is wrong."""
    return int(state[_AT])


def pending(state: npt.NDArray[np.int64]) -> int:
    """Offset of the first byte that a later span can still name: keep the bytes from here on."""
    phase = state[_PHASE]
    if phase in (_IN_SCALAR, _IN_STRING, _IN_NESTED):
        keyed = state[_OBJECT] and not state[_IN_KEY]
        return int(state[_KEY_START] if keyed else state[_START])
    if state[_OBJECT] and phase in (_COLON, _VALUE):
        return int(state[_KEY_START])
    return int(state[_AT])


def problem(state: npt.NDArray[np.int64]) -> str:
    """Why the bytes so far are no whole document, in words; empty where they are one."""
    if state[_PHASE] == _FAILED:
        return _WHYS[state[_WHY]]
    if state[_PHASE] == _DONE or (state[_BASE] == 0 and state[_PHASE] == _VALUE):
        return ""
    if state[_PHASE] == _TOP:
        return "the document is empty"
    return "the document ends before its closing bracket"
