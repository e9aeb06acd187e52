"""Traces as Arrow tables, and the pydantic door in front of them.

One declared Arrow schema, never inferred from data: a column that is null in every row of a part
has the same type as everywhere else. Strings have 64-bit offsets, so text columns are safe past
2 GiB. `trace_table` and `traces_of` are inverse to each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tracekit.types import (
    Message,
    Origin,
    Outcome,
    Tool,
    ToolCall,
    Trace,
    TrainFlags,
)

if TYPE_CHECKING:
    from pydantic import TypeAdapter

_TEXT = pa.large_string()

CALL = pa.struct([("id", _TEXT), ("name", _TEXT), ("arguments", _TEXT)])
TRAIN = pa.struct(
    [("reasoning", pa.bool_()), ("content", pa.bool_()), ("calls", pa.large_list(pa.bool_()))]
)
MESSAGE = pa.struct(
    [
        ("role", _TEXT),
        ("content", _TEXT),
        ("reasoning", _TEXT),
        ("reasoning_kind", _TEXT),
        ("tool_calls", pa.large_list(CALL)),
        ("tool_call_id", _TEXT),
        ("name", _TEXT),
        ("error", pa.bool_()),
        ("weight", pa.float64()),
        ("train", TRAIN),
        ("finish_reason", _TEXT),
        ("attachments", pa.large_list(_TEXT)),
        ("meta", _TEXT),
    ]
)
TOOL = pa.struct([("name", _TEXT), ("description", _TEXT), ("parameters", _TEXT), ("extra", _TEXT)])
OUTCOME = pa.struct([("value", _TEXT), ("kind", _TEXT), ("name", _TEXT)])
ORIGIN = pa.struct([("file", _TEXT), ("first", pa.int64()), ("last", pa.int64())])

TRACE_SCHEMA = pa.schema(
    [
        ("id", _TEXT),
        ("source", _TEXT),
        ("source_id", _TEXT),
        ("provenance", pa.large_list(ORIGIN)),
        ("session_id", _TEXT),
        ("parent_id", _TEXT),
        ("task_key", _TEXT),
        ("messages", pa.large_list(MESSAGE)),
        ("tools", pa.large_list(TOOL)),
        ("answer", _TEXT),
        ("outcomes", pa.large_list(OUTCOME)),
        ("model", _TEXT),
        ("meta", _TEXT),
    ]
)
"""The schema of `traces/<source>/*.parquet`."""


@cache
def trace_door() -> TypeAdapter[Trace]:
    """Validator of one trace; strict about names and types, made once a process."""
    from pydantic import TypeAdapter

    return TypeAdapter(Trace)


def _column(kind: pa.DataType, values: list[Any]) -> pa.Array:
    return pa.array(values, kind)


def _lists(lengths: list[int | None]) -> tuple[list[int], list[bool] | None]:
    """Offsets of a list column and its null mask (None where nothing is null)."""
    offsets = [0]
    end = 0
    nulls = False
    for n in lengths:
        if n is None:
            nulls = True
        else:
            end += n
        offsets.append(end)
    return offsets, ([n is None for n in lengths] if nulls else None)


def _list_array(kind: pa.DataType, lengths: list[int | None], values: pa.Array) -> pa.Array:
    offsets, nulls = _lists(lengths)
    mask = pa.array(nulls, pa.bool_()) if nulls is not None else None
    return pa.LargeListArray.from_arrays(
        pa.array(offsets, pa.int64()), values, type=kind, mask=mask
    )


def _struct(kind: pa.DataType, columns: list[pa.Array], mask: pa.Array | None = None) -> pa.Array:
    return pa.StructArray.from_arrays(columns, fields=list(kind), mask=mask)


def _train_array(flags: list[TrainFlags | None]) -> pa.Array:
    calls = [f.calls if f is not None else None for f in flags]
    return _struct(
        TRAIN,
        [
            _column(pa.bool_(), [f.reasoning if f is not None else None for f in flags]),
            _column(pa.bool_(), [f.content if f is not None else None for f in flags]),
            _list_array(
                TRAIN.field("calls").type,
                [None if c is None else len(c) for c in calls],
                _column(pa.bool_(), [flag for c in calls if c is not None for flag in c]),
            ),
        ],
        mask=pa.array([f is None for f in flags], pa.bool_()),
    )


def _message_array(messages: list[Message]) -> pa.Array:
    calls = [c for m in messages for c in m.tool_calls]
    call_array = _struct(
        CALL,
        [
            _column(_TEXT, [c.id for c in calls]),
            _column(_TEXT, [c.name for c in calls]),
            _column(_TEXT, [c.arguments for c in calls]),
        ],
    )
    files = [a for m in messages for a in m.attachments]
    columns = [
        _column(_TEXT, [m.role for m in messages]),
        _column(_TEXT, [m.content for m in messages]),
        _column(_TEXT, [m.reasoning for m in messages]),
        _column(_TEXT, [m.reasoning_kind for m in messages]),
        _list_array(
            MESSAGE.field("tool_calls").type, [len(m.tool_calls) for m in messages], call_array
        ),
        _column(_TEXT, [m.tool_call_id for m in messages]),
        _column(_TEXT, [m.name for m in messages]),
        _column(pa.bool_(), [m.error for m in messages]),
        _column(pa.float64(), [m.weight for m in messages]),
        _train_array([m.train for m in messages]),
        _column(_TEXT, [m.finish_reason for m in messages]),
        _list_array(
            MESSAGE.field("attachments").type,
            [len(m.attachments) for m in messages],
            _column(_TEXT, files),
        ),
        _column(_TEXT, [m.meta for m in messages]),
    ]
    return _struct(MESSAGE, columns)


def trace_table(traces: Sequence[Trace]) -> pa.Table:
    """Traces as one table in `TRACE_SCHEMA`, row for row."""
    tools = [t.tools for t in traces]
    flat_tools = [x for t in tools if t is not None for x in t]
    outcomes = [o for t in traces for o in t.outcomes]
    origins = [o for t in traces for o in t.provenance]
    columns = {
        "provenance": _list_array(
            TRACE_SCHEMA.field("provenance").type,
            [len(t.provenance) for t in traces],
            _struct(
                ORIGIN,
                [
                    _column(_TEXT, [o.file for o in origins]),
                    _column(pa.int64(), [o.first for o in origins]),
                    _column(pa.int64(), [o.last for o in origins]),
                ],
            ),
        ),
        "messages": _list_array(
            TRACE_SCHEMA.field("messages").type,
            [len(t.messages) for t in traces],
            _message_array([m for t in traces for m in t.messages]),
        ),
        "tools": _list_array(
            TRACE_SCHEMA.field("tools").type,
            [None if t is None else len(t) for t in tools],
            _struct(
                TOOL,
                [
                    _column(_TEXT, [t.name for t in flat_tools]),
                    _column(_TEXT, [t.description for t in flat_tools]),
                    _column(_TEXT, [t.parameters for t in flat_tools]),
                    _column(_TEXT, [t.extra for t in flat_tools]),
                ],
            ),
        ),
        "outcomes": _list_array(
            TRACE_SCHEMA.field("outcomes").type,
            [len(t.outcomes) for t in traces],
            _struct(
                OUTCOME,
                [
                    _column(_TEXT, [o.value for o in outcomes]),
                    _column(_TEXT, [o.kind for o in outcomes]),
                    _column(_TEXT, [o.name for o in outcomes]),
                ],
            ),
        ),
    }
    arrays = [
        columns[f.name]
        if f.name in columns
        else _column(f.type, [getattr(t, f.name) for t in traces])
        for f in TRACE_SCHEMA
    ]
    return pa.Table.from_arrays(arrays, schema=TRACE_SCHEMA)


def traces_of(table: pa.Table) -> Iterator[Trace]:
    """Traces of a table; columns that an older part lacks are null. Inverse of `trace_table`."""
    for row in table.to_pylist():
        yield trace_of_row(row)


def trace_of_row(row: dict[str, Any]) -> Trace:
    """One trace from one row as plain dicts and lists."""
    tools = row.get("tools")
    return Trace(
        id=row["id"],
        source=row["source"],
        source_id=row.get("source_id"),
        provenance=tuple(Origin(**o) for o in row["provenance"]),
        session_id=row.get("session_id"),
        parent_id=row.get("parent_id"),
        task_key=row.get("task_key"),
        messages=tuple(_message_of_row(m) for m in row["messages"]),
        tools=None if tools is None else tuple(Tool(**t) for t in tools),
        answer=row.get("answer"),
        outcomes=tuple(Outcome(**o) for o in row.get("outcomes") or ()),
        model=row.get("model"),
        meta=row.get("meta"),
    )


def _message_of_row(row: dict[str, Any]) -> Message:
    flags = row.pop("train")
    calls = row.pop("tool_calls")
    files = row.pop("attachments")
    return Message(
        **row,
        tool_calls=tuple(ToolCall(**c) for c in calls or ()),
        attachments=tuple(files or ()),
        train=None
        if flags is None
        else TrainFlags(
            reasoning=flags["reasoning"],
            content=flags["content"],
            calls=None if flags["calls"] is None else tuple(flags["calls"]),
        ),
    )
