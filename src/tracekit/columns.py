"""Views of a trace table that compiled kernels read: numpy arrays over Arrow's own buffers.

Nothing is copied but validity bits and role names. Legend of the shape letters: T traces,
M messages of all traces, C calls of all messages, B bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

ROLES = ("system", "user", "assistant", "tool")
"""Role code k in `TraceColumns.role_M` is ROLES[k]."""
SYSTEM, USER, ASSISTANT, TOOL = range(4)


@dataclass(frozen=True, slots=True)
class Text:
    """A string column as bytes: row i is `bytes_B[offsets[i]:offsets[i + 1]]`, empty where null."""

    bytes_B: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int64]
    given: npt.NDArray[np.bool_]
    """False where the value is null."""


@dataclass(frozen=True, slots=True)
class TraceColumns:
    """The text of a trace part, flat."""

    n_traces: int
    messages_T1: npt.NDArray[np.int64]
    """Messages of trace t are messages_T1[t] to messages_T1[t + 1]."""
    role_M: npt.NDArray[np.uint8]
    content_M: Text
    reasoning_M: Text
    calls_M1: npt.NDArray[np.int64]
    """Calls of message m are calls_M1[m] to calls_M1[m + 1]."""
    call_name_C: Text
    call_arguments_C: Text


def text_of(array: pa.Array) -> Text:
    """Bytes, offsets and validity of a large_string array, without copying the bytes."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    _, offsets, values = array.buffers()
    n = len(array)
    if offsets is None or n == 0:
        ends = np.zeros(1, np.int64)
    else:
        ends = np.frombuffer(offsets, np.int64)[array.offset : array.offset + n + 1]
    data = np.frombuffer(values, np.uint8) if values is not None else np.zeros(0, np.uint8)
    given = pc.is_valid(array).to_numpy(zero_copy_only=False)
    return Text(data, ends, given)


def list_offsets(array: pa.Array) -> npt.NDArray[np.int64]:
    """Offsets of a large_list array into its `flatten()`; a null list is empty."""
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    out = np.zeros(len(array) + 1, np.int64)
    np.cumsum(lengths, out=out[1:])
    return out


def columns_of(table: pa.Table) -> TraceColumns:
    """Flat view of the messages of a trace table (`schema.TRACE_SCHEMA`)."""
    messages = table.column("messages").combine_chunks()
    if isinstance(messages, pa.ChunkedArray):
        messages = messages.chunk(0) if messages.num_chunks else pa.array([], messages.type)
    flat = messages.flatten()
    calls = flat.field("tool_calls")
    flat_calls = calls.flatten()
    role = pc.index_in(flat.field("role"), pa.array(ROLES, pa.large_string()))
    return TraceColumns(
        n_traces=table.num_rows,
        messages_T1=list_offsets(messages),
        role_M=role.to_numpy(zero_copy_only=False).astype(np.uint8),
        content_M=text_of(flat.field("content")),
        reasoning_M=text_of(flat.field("reasoning")),
        calls_M1=list_offsets(calls),
        call_name_C=text_of(flat_calls.field("name")),
        call_arguments_C=text_of(flat_calls.field("arguments")),
    )
