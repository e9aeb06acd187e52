"""Rows of a shard: an edited trace in the form that trainers read without a conversion step.

`messages` and `tools` are lists of JSON objects (Arrow's JSON type): `datasets.load_dataset` gives
them back as clean dicts, each message with its own keys only. Structs would pad the arguments of
every call with the keys of all other calls. The JSON is written here, never by way of `Dataset`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import orjson
import pyarrow as pa
import xxhash

from tracekit import wire

Row: TypeAlias = dict[str, Any]

_OUTCOMES = pa.list_(
    pa.struct([("value", pa.string()), ("kind", pa.string()), ("name", pa.string())])
)

SHARD_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("messages", pa.list_(pa.json_())),
        ("tools", pa.list_(pa.json_())),
        ("answer", pa.string()),
        ("outcomes", _OUTCOMES),
        ("model", pa.string()),
        ("task_key", pa.string()),
        ("meta", pa.string()),
        ("n_tokens", pa.int64()),
        ("n_target_tokens", pa.int64()),
    ]
)
"""`id` is the content hash (`-k` for the k-th equal copy); `tools` is null where not recorded."""

SPILL_SCHEMA = pa.schema(
    [
        pa.field(f.name, pa.list_(pa.string())) if f.name in ("messages", "tools") else f
        for f in SHARD_SCHEMA
    ]
    + [pa.field("position", pa.int64())]
)
"""Rows on their way: JSON as plain text, and the place of the row in the whole product."""

_WIDE = re.compile(r"[0-9]{19}")
_WIDE_NUMBER = re.compile(
    r'"(?:[^"\\]|\\.)*"|(?P<int>-?[0-9]{19,})(?![0-9.eE])|-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?'
)


def _narrow(text: str) -> str:
    """Integers beyond 64 bits as strings: `datasets` cannot read a file that holds one.

    >>> _narrow('{"a":123456789012345678901234567890}')
    '{"a":"123456789012345678901234567890"}'
    """

    def fit(match: re.Match[str]) -> str:
        digits = match.group("int")
        if digits is None or -(2**63) <= int(digits) < 2**63:
            return match.group()
        return f'"{digits}"'

    return _WIDE_NUMBER.sub(fit, text)


def _json(text: str) -> Any:
    """JSON text as a fragment to splice in; as a string where it does not parse."""
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    return orjson.Fragment(_narrow(text) if _WIDE.search(text) else text)


def message_json(message: Row) -> bytes:
    """One message as JSON: role and content always (null content is ""), the rest where given."""
    out: Row = {"role": message["role"], "content": message["content"] or ""}
    if message["reasoning"] is not None:
        out["reasoning_content"] = message["reasoning"]
    calls = message["tool_calls"]
    if calls:
        out["tool_calls"] = [
            {
                "id": c["id"],
                "type": "function",
                "function": {"name": c["name"], "arguments": _json(c["arguments"])},
            }
            for c in calls
        ]
    for key in ("tool_call_id", "name", "weight", "train"):
        if message[key] is not None:
            out[key] = message[key]
    if message["attachments"]:
        out["attachments"] = message["attachments"]
    return orjson.dumps(out)


@lru_cache(maxsize=4096)
def _tool_json(
    name: str, description: str | None, parameters: str | None, extra: str | None
) -> str:
    tool = {"name": name, "description": description, "parameters": parameters, "extra": extra}
    text = json.dumps(wire.tool_value(tool), ensure_ascii=False, separators=(",", ":"))
    return _narrow(text) if _WIDE.search(text) else text


def tool_json(tool: Row) -> str:
    """One declaration in the wrapper that templates print; the value that was rendered."""
    return _tool_json(tool["name"], tool["description"], tool["parameters"], tool["extra"])


def spill_table(
    rows: Sequence[Row],
    ids: Sequence[str],
    n_tokens: Sequence[int],
    n_target_tokens: Sequence[int],
    positions: Sequence[int],
) -> pa.Table:
    """Rows in SPILL_SCHEMA."""
    return pa.table(
        {
            "id": list(ids),
            "source": [r["source"] for r in rows],
            "messages": [[message_json(m).decode() for m in r["messages"]] for r in rows],
            "tools": [
                None if r["tools"] is None else [tool_json(t) for t in r["tools"]] for r in rows
            ],
            "answer": [r["answer"] for r in rows],
            "outcomes": [r["outcomes"] or [] for r in rows],
            "model": [r["model"] for r in rows],
            "task_key": [r["task_key"] for r in rows],
            "meta": [r["meta"] for r in rows],
            "n_tokens": list(n_tokens),
            "n_target_tokens": list(n_target_tokens),
            "position": list(positions),
        },
        schema=SPILL_SCHEMA,
    )


def shard_table(spilled: pa.Table) -> pa.Table:
    """Spilled rows in SHARD_SCHEMA, in the order in which they come."""
    spilled = spilled.combine_chunks()
    columns = []
    for field in SHARD_SCHEMA:
        column = spilled.column(field.name)
        array = column.chunk(0) if column.num_chunks else pa.array([], column.type)
        if field.name in ("messages", "tools"):
            values = pa.ExtensionArray.from_storage(pa.json_(), array.values)
            array = (
                pa.ListArray.from_arrays(
                    array.offsets, values, type=field.type, mask=array.is_null()
                )
                if array.null_count
                else pa.ListArray.from_arrays(array.offsets, values, type=field.type)
            )
        columns.append(array)
    return pa.Table.from_arrays(columns, schema=SHARD_SCHEMA)


def row_digest(table: pa.Table) -> str:
    """xxh3-128 of the rows themselves, whatever file holds them: equal on every machine.

    Per column: its name, then validity, then for text the lengths and the bytes, for lists the
    lengths and the digest of what is in them.
    """
    digest = xxhash.xxh3_128()
    for name in table.column_names:
        digest.update(name.encode())
        array = table.column(name).combine_chunks()
        if isinstance(array, pa.ChunkedArray):
            array = array.chunk(0) if array.num_chunks else pa.array([], array.type)
        _digest(digest, array)
    return digest.hexdigest()


def _digest(digest: Any, array: pa.Array) -> None:
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        _digest(digest, array.storage)
        return
    digest.update(np.packbits(array.is_valid().to_numpy(zero_copy_only=False)).tobytes())
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        lengths = array.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
        digest.update(lengths.astype("<i8").tobytes())
        _digest(digest, array.flatten())
    elif pa.types.is_struct(kind):
        for child in array.flatten():
            _digest(digest, child)
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        wide = array.cast(pa.large_string())
        _, offsets, data = wide.buffers()
        ends = np.frombuffer(offsets, np.int64)[wide.offset : wide.offset + len(wide) + 1]
        digest.update(np.diff(ends).astype("<i8").tobytes())
        if data is not None:
            digest.update(memoryview(data)[ends[0] : ends[-1]])
    else:
        digest.update(array.fill_null(0).to_numpy(zero_copy_only=False).astype("<i8").tobytes())
