"""Rendered traces as token ids, with every token mapped to its segment, message and target flag.

Tokens never straddle a control token, so the texts between control tokens are encoded, all of a
batch in one call, and control tokens get their ids directly. A text may hold several pieces
(`\\n`, reasoning, `\\n`); a token belongs to the piece that its first byte lies in. Texts of the
header (system, tools, fixed words) repeat from trace to trace and are encoded once a batch.

Shape letters: T traces, U uses of pieces (in order of rendering), P pieces that were encoded, S
texts, N tokens. A 1 after a letter: one more, offsets.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tracekit.pieces import (
    CONTROL_SHIFT,
    OUTSIDE,
    SEGMENT_BITS,
    TARGET,
    RenderError,
    Rendering,
    Row,
)
from tracekit.render import Template
from tracekit.samples import History
from tracekit.tokenizers import Tokenizer, without_surrogates

Ints: TypeAlias = npt.NDArray[np.int64]

BATCH_CHARS = 8 << 20
"""Text of one encode call: enough to pay for the call, little enough to hold beside a part."""


@dataclass(frozen=True, slots=True)
class Unrendered:
    """A trace that the template refuses."""

    row: int
    code: str
    detail: str
    message: int
    """-1: of the whole trace."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Encoded traces, rows `first` to `first + n_traces` of what was given."""

    first: int
    n_traces: int
    ids_N: npt.NDArray[np.uint32]
    """Ids of all encoded texts, then one of each control token."""
    low_P: Ints
    high_P: Ints
    """Tokens of piece p are ids_N[low_P[p]:high_P[p]]."""
    piece_U: Ints
    segment_U: Ints
    target_U: npt.NDArray[np.bool_]
    end_U: npt.NDArray[np.bool_]
    """Is the use the token that ends a turn?"""
    own_U: npt.NDArray[np.bool_]
    """Is its message one that the sample is there for, or history? False without a message."""
    message_U: Ints
    """Message among all of the batch; -1 for what belongs to none."""
    uses_K1: Ints
    samples_T1: Ints
    messages_T1: Ints
    inexact_P: npt.NDArray[np.bool_]
    unrendered: tuple[Unrendered, ...]

    def sample_tokens(self) -> Ints:
        """Tokens of each sample."""
        return np.diff(_offsets((self.high_P - self.low_P)[self.piece_U])[self.uses_K1])

    def samples(
        self, first: int = 0, end: int | None = None
    ) -> tuple[npt.NDArray[np.uint32], Ints, npt.NDArray[np.bool_]]:
        """(ids_N, offsets_K1, target_N) of some samples; refused traces have no sample."""
        uses_K1 = self.uses_K1[first : None if end is None else end + 1]
        at = slice(int(uses_K1[0]), int(uses_K1[-1]))
        low_U = self.low_P[self.piece_U[at]]
        n_U = self.high_P[self.piece_U[at]] - low_U
        ends_U1 = _offsets(n_U)
        place_N = np.repeat(low_U - ends_U1[:-1], n_U) + np.arange(ends_U1[-1])
        offsets_K1 = ends_U1[uses_K1 - at.start]
        return self.ids_N[place_N], offsets_K1, np.repeat(self.target_U[at], n_U)


def _offsets(lengths: npt.ArrayLike) -> Ints:
    sizes = np.asarray(lengths, np.int64)
    out = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=out[1:])
    return out


def rows_of(table: pa.Table) -> list[Row]:
    """Rows of a trace table with what a rendering reads, several times as fast as `to_pylist`."""
    messages = table.column("messages").combine_chunks()
    if isinstance(messages, pa.ChunkedArray):
        messages = messages.chunk(0) if messages.num_chunks else pa.array([], messages.type)
    flat = messages.flatten()
    calls = flat.field("tool_calls")
    names = calls.flatten()
    call_rows = [
        {"name": n, "arguments": a}
        for n, a in zip(
            names.field("name").to_pylist(), names.field("arguments").to_pylist(), strict=True
        )
    ]
    train = flat.field("train")
    none = [None] * len(flat)
    message_rows = [
        {
            "role": role,
            "content": content,
            "reasoning": reasoning,
            "tool_calls": c,
            "train": t,
            "weight": w,
        }
        for role, content, reasoning, c, t, w in zip(
            flat.field("role").to_pylist(),
            flat.field("content").to_pylist(),
            flat.field("reasoning").to_pylist(),
            _lists(calls, call_rows),
            none if train.null_count == len(train) else train.to_pylist(),
            flat.field("weight").to_pylist(),
            strict=True,
        )
    ]
    tools = table.column("tools")
    tool_lists = [None] * len(table) if tools.null_count == len(tools) else tools.to_pylist()
    return [
        {"messages": m, "tools": t}
        for m, t in zip(_lists(messages, message_rows), tool_lists, strict=True)
    ]


def _lists(array: pa.Array, values: list[Any]) -> list[list[Any]]:
    lengths = array.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    ends = np.cumsum(lengths).tolist()
    return [values[end - n : end] for n, end in zip(lengths.tolist(), ends, strict=True)]


@dataclass(slots=True)
class _Layout:
    """Which pieces are whose, while rows are rendered."""

    piece_ends_K: list[int] = field(default_factory=list)
    end_K: list[int] = field(default_factory=list)
    """Messages of each sample."""
    own_K: list[int] = field(default_factory=list)
    n_samples_T: list[int] = field(default_factory=list)
    n_messages_T: list[int] = field(default_factory=list)


def batches(
    rows: Sequence[Row], tokenizer: Tokenizer, template: Template, history: History = "keep"
) -> Iterator[Batch]:
    """Encoded batches that together hold every row once, in order; at least one.

    FastDiffers: the tokenizer's fast encoder is wrong on a text; its `by_reference()` is not.
    """
    first = 0
    while True:
        out = Rendering()
        layout = _Layout()
        unrendered: list[Unrendered] = []
        n_chars = 0
        for k in range(first, len(rows)):
            row = rows[k]
            n_pieces, n_messages = len(out.texts), len(out.message_ends)
            samples = template.samples(row["messages"], history)
            ends = []
            try:
                for sample in samples:
                    template.render(row, sample, out)
                    ends.append(len(out.texts))
            except RenderError as error:
                unrendered.append(Unrendered(k, error.code, error.detail, error.message))
                del out.texts[n_pieces:], out.labels[n_pieces:], out.message_ends[n_messages:]
                samples, ends = [], []
            layout.piece_ends_K += ends
            layout.end_K += [sample.end for sample in samples]
            layout.own_K += [sample.own for sample in samples]
            layout.n_samples_T.append(len(samples))
            layout.n_messages_T.append(len(row["messages"]))
            n_chars += sum(map(len, out.texts[n_pieces:]))
            if n_chars >= BATCH_CHARS:
                break
        yield _encode(out, layout, first, unrendered, tokenizer, template.end)
        first += len(layout.n_samples_T)
        if first >= len(rows):
            return


def _encode(
    out: Rendering,
    layout: _Layout,
    first: int,
    unrendered: list[Unrendered],
    tokenizer: Tokenizer,
    end: str,
) -> Batch:
    """One call of the tokenizer for all texts between control tokens, then tokens of each piece."""
    chars = np.fromiter(map(len, out.texts), np.int64, len(out.texts))
    given = np.flatnonzero(chars)
    kept = _offsets(chars > 0)
    uses_K1 = kept[np.array([0, *layout.piece_ends_K])]
    texts = out.texts if len(given) == len(chars) else [out.texts[k] for k in given]
    label_U = np.array(out.labels, np.int64)[given]
    control_ids = [tokenizer.specials.get(name, -1) for name in out.controls]
    # Number 0 is no control token, and one that the tokenizer lacks is text like any other.
    control_of_number = np.array([-1, *control_ids])
    number_U = label_U >> CONTROL_SHIFT
    plain_U = control_of_number[number_U] < 0

    bytes_U, changes_U = _utf8(texts, chars[given], tokenizer.nfc)
    runs = _runs(texts, plain_U, uses_K1)
    use_P = np.repeat(runs.first_S - runs.pieces_S1[:-1], np.diff(runs.pieces_S1)) + np.arange(
        runs.pieces_S1[-1]
    )
    bytes_P = bytes_U[use_P]
    if changes_U.any():
        for s in np.flatnonzero(np.add.reduceat(changes_U[use_P], runs.pieces_S1[:-1])).tolist():
            at = slice(int(runs.pieces_S1[s]), int(runs.pieces_S1[s + 1]))
            start = int(runs.first_S[s])
            pieces = texts[start : start + at.stop - at.start]
            runs.texts[s], bytes_P[at] = _normalised(pieces)

    tokenizer.check_samples(runs.texts)
    ids_N, offsets_S1 = tokenizer.encode_flat(runs.texts)
    low_P, high_P = _token_ranges(
        tokenizer.bytes_per_id_V[ids_N], offsets_S1, bytes_P, runs.pieces_S1
    )
    n_pieces = len(bytes_P)
    at_control = len(ids_N) + np.arange(len(control_ids))
    inexact_S = np.zeros(len(runs.texts), np.bool_)
    inexact_S[tokenizer.inexact(runs.texts)] = True
    inexact_P = np.zeros(n_pieces + len(control_ids), np.bool_)
    inexact_P[:n_pieces] = np.repeat(inexact_S, np.diff(runs.pieces_S1))
    message_U, own_U = _owners(out, layout, given, label_U)
    is_end = [False, *(name == end for name in out.controls)]
    return Batch(
        first=first,
        n_traces=len(layout.n_samples_T),
        ids_N=np.concatenate([ids_N, np.maximum(control_ids, 0).astype(np.uint32)]),
        low_P=np.concatenate([low_P, at_control]),
        high_P=np.concatenate([high_P, at_control + 1]),
        piece_U=np.where(plain_U, runs.piece_U, n_pieces + number_U - 1),
        segment_U=label_U & SEGMENT_BITS,
        target_U=(label_U & TARGET) > 0,
        end_U=np.array(is_end)[number_U],
        own_U=own_U,
        message_U=message_U,
        uses_K1=uses_K1,
        samples_T1=_offsets(layout.n_samples_T),
        messages_T1=_offsets(layout.n_messages_T),
        inexact_P=inexact_P,
        unrendered=tuple(unrendered),
    )


def _owners(
    out: Rendering, layout: _Layout, given: Ints, label_U: Ints
) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """(message_U, own_U): samples tell their messages one after the other, from 0 on."""
    begins_K = np.repeat(_offsets(layout.n_messages_T)[:-1], layout.n_samples_T)
    end_K = np.array(layout.end_K, np.int64)
    within_L = np.arange(int(end_K.sum())) - np.repeat(_offsets(end_K)[:-1], end_K)
    message_L = within_L + np.repeat(begins_K, end_K)
    own_L = within_L >= np.repeat(np.array(layout.own_K, np.int64), end_K)
    ends_L = np.array([0, *out.message_ends], np.int64)
    n_pieces_L = ends_L[1:] - ends_L[:-1]
    outside_U = (label_U & OUTSIDE) > 0
    return (
        np.where(outside_U, -1, np.repeat(message_L, n_pieces_L)[given]),
        np.repeat(own_L, n_pieces_L)[given] & ~outside_U,
    )


def _utf8(texts: list[str], chars_U: Ints, nfc: bool) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """(bytes_U, changes_U): bytes of each text, and whether NFC may change it.

    Lone surrogates are replaced in `texts`: they have no bytes.
    """
    bytes_U = chars_U.copy()
    changes_U = np.zeros(len(texts), np.bool_)
    ascii_U = np.fromiter(map(str.isascii, texts), np.bool_, len(texts))
    wide = np.flatnonzero(~ascii_U).tolist()
    if not wide:
        return bytes_U, changes_U
    try:
        encoded = [texts[u].encode() for u in wide]
    except UnicodeEncodeError:
        for u in wide:
            texts[u] = without_surrogates(texts[u])
        encoded = [texts[u].encode() for u in wide]
    offsets = _offsets([len(e) for e in encoded])
    bytes_U[wide] = np.diff(offsets)
    if nfc:
        from tracekit.kernels.normal_form import may_change

        changes_U[wide] = may_change(np.frombuffer(b"".join(encoded), np.uint8), offsets)
    return bytes_U, changes_U


@dataclass(frozen=True, slots=True)
class _Runs:
    """Texts between control tokens, equal fixed ones once."""

    texts: list[str]
    first_S: Ints
    """The use that text s begins at where it stands first."""
    pieces_S1: Ints
    """Pieces of text s are pieces_S1[s] to pieces_S1[s + 1]."""
    piece_U: Ints
    """Piece that each use is of; meaningless at control tokens."""


def _runs(texts: list[str], plain_U: npt.NDArray[np.bool_], uses_K1: Ints) -> _Runs:
    """Join the uses between control tokens and between samples."""
    after_U = np.zeros(len(texts), np.bool_)
    after_U[1:] = plain_U[:-1]
    after_U[uses_K1[:-1][uses_K1[:-1] < len(texts)]] = False
    begins_U = plain_U & ~after_U
    first_R = np.flatnonzero(begins_U)
    run_U = np.cumsum(begins_U) - 1
    n_R = np.bincount(run_U[plain_U], minlength=len(first_R))
    known: dict[str | tuple[str, ...], int] = {}
    joined: list[str] = []
    owners: list[int] = []
    slots: list[int] = []
    for r, (start, n) in enumerate(zip(first_R.tolist(), n_R.tolist(), strict=True)):
        # Not the joined text: where its pieces end is part of what is looked up.
        key = texts[start] if n == 1 else tuple(texts[start : start + n])
        slot = known.setdefault(key, len(joined))
        slots.append(slot)
        if slot == len(joined):
            owners.append(r)
            joined.append("".join(key))
    own = np.array(owners, np.int64)
    pieces_S1 = _offsets(n_R[own])
    base_R = pieces_S1[np.array(slots, np.int64)] - first_R
    piece_U = np.arange(len(texts))
    piece_U[plain_U] += base_R[run_U[plain_U]]
    return _Runs(joined, first_R[own], pieces_S1, piece_U)


def _nfc(text: str) -> str:
    """NFC of a text, line by line: a line break joins nothing, and most lines need no work."""
    return "\n".join([unicodedata.normalize("NFC", line) for line in text.split("\n")])


def _normalised(pieces: list[str]) -> tuple[str, list[int]]:
    """(their text in NFC, UTF-8 bytes of each piece in it)."""
    from tracekit.kernels.normal_form import joins_before

    if any(piece and joins_before(piece[0]) for piece in pieces[1:]):
        # The start of a piece may change the end of the one before it.
        whole = [_nfc("".join(pieces[: k + 1])) for k in range(len(pieces))]
        return whole[-1], [b - a for a, b in pairwise([0, *(len(w.encode()) for w in whole)])]
    each = [_nfc(piece) for piece in pieces]
    return "".join(each), [len(piece.encode()) for piece in each]


def _token_ranges(
    bytes_N: npt.NDArray[np.uint16], offsets_S1: Ints, bytes_P: Ints, pieces_S1: Ints
) -> tuple[Ints, Ints]:
    """(low_P, high_P): the tokens whose first byte lies in each piece.

    bytes_N: bytes of each token; bytes_P: bytes of each piece. The pieces of a text take its tokens
    exactly, also where the bytes of its tokens are not those of the text (a vocabulary that is not
    byte-level): then the shares of its pieces are approximate.
    """
    starts_N1 = _offsets(bytes_N)
    ends_P1 = _offsets(bytes_P)
    bytes_S1 = starts_N1[offsets_S1]
    ends_P = ends_P1[1:]
    if not np.array_equal(bytes_S1, ends_P1[pieces_S1]):
        n_S = np.diff(pieces_S1)
        begun_P = np.repeat(ends_P1[pieces_S1[:-1]], n_S)
        ends_P = np.repeat(bytes_S1[:-1], n_S) + np.minimum(
            ends_P - begun_P, np.repeat(np.diff(bytes_S1), n_S)
        )
        ends_P[pieces_S1[1:] - 1] = bytes_S1[1:]
    high_P = np.searchsorted(starts_N1[:-1], ends_P, side="left").astype(np.int64)
    low_P = np.zeros_like(high_P)
    low_P[1:] = high_P[:-1]
    return low_P, high_P
