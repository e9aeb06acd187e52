"""Evidence family `text`: sizes, shape and identity of a trace. No tokenizer, no rules.

`content_hash` is the identity of a trace across runs, sources and machines: xxh3-128 of what was
said (roles, text, calls, offered tools, what is trained), and of nothing else. Ids of calls, file
names, models and times are not in it; the pairing of results is, by position.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import orjson
import pyarrow as pa
import xxhash

from tracekit.findings import TRUNCATED
from tracekit.lineage import prefixes

VERSION = 3

Row: TypeAlias = dict[str, Any]

TEXT_SCHEMA = pa.schema(
    [
        ("id", pa.large_string()),
        ("source", pa.large_string()),
        ("source_id", pa.large_string()),
        ("session_id", pa.large_string()),
        ("parent_id", pa.large_string()),
        ("task_key", pa.large_string()),
        ("model", pa.large_string()),
        ("content_hash", pa.large_string()),
        ("record_hash", pa.large_string()),
        ("task_hash", pa.large_string()),
        ("header_hash", pa.large_string()),
        ("n_messages", pa.int32()),
        ("n_user_messages", pa.int32()),
        ("n_assistant_messages", pa.int32()),
        ("n_calls", pa.int32()),
        ("n_results", pa.int32()),
        ("n_errors", pa.int32()),
        ("n_chars", pa.int64()),
        ("n_reasoning_chars", pa.int64()),
        ("n_answer_chars", pa.int64()),
        ("n_tools", pa.int32()),
        ("has_reasoning", pa.bool_()),
        ("full_reasoning", pa.bool_()),
        ("truncated", pa.bool_()),
        ("verified", pa.bool_()),
        ("reasoning_kind", pa.large_string()),
        ("finish_reason", pa.large_string()),
        ("ends_on", pa.large_string()),
        ("prefix_message", pa.list_(pa.int32())),
        ("prefix_told", pa.list_(pa.uint64())),
        ("prefix_thought", pa.list_(pa.uint64())),
    ]
)
"""`record_hash` tells apart equal traces whose records say other things about them (source, model,
outcome); `verified` is true where tests or the environment say right, null where nobody says;
`header_hash` is of system messages and tools, which repeat from trace to trace; null without any;
`n_tools` is null where tools are not recorded; `prefix_*` are of each message of an assistant, see
`lineage.py`; `reasoning_kind` is `mixed` for several kinds."""


def identity(row: Row) -> bytes:
    """The JSON that `content_hash` hashes."""
    place: dict[str, int] = {}
    said = []
    for message in row["messages"]:
        calls = message["tool_calls"]
        if calls:
            for call in calls:
                place[call["id"]] = len(place)
        train = message["train"]
        said.append(
            (
                message["role"],
                message["content"],
                message["reasoning"],
                [(c["name"], c["arguments"]) for c in calls] if calls else None,
                place.get(message["tool_call_id"]) if message["tool_call_id"] else None,
                message["weight"],
                train and (train["reasoning"], train["content"], train["calls"]),
                message["attachments"] or None,
            )
        )
    tools = row["tools"]
    offered = None
    if tools is not None:
        offered = [(t["name"], t["description"], t["parameters"]) for t in tools]
    return orjson.dumps((said, offered))


def task_of(row: Row) -> str:
    """What was asked: the user messages, or the system message where there is none."""
    asked = [m["content"] or "" for m in row["messages"] if m["role"] == "user"]
    if not asked:
        asked = [m["content"] or "" for m in row["messages"] if m["role"] == "system"]
    return "\n".join(asked)


def header_of(row: Row) -> bytes | None:
    """System messages and offered tools as JSON; null where there is neither."""
    said = [m["content"] or "" for m in row["messages"] if m["role"] == "system"]
    tools = row["tools"] or ()
    if not tools and not any(said):
        return None
    return orjson.dumps(
        (said, [(t["name"], t["description"], t["parameters"], t["extra"]) for t in tools])
    )


def verified(outcomes: Sequence[Row]) -> bool | None:
    """Did tests or the environment say right? null where neither spoke; both must agree.

    Judges, claims and exit codes only inform: public sets show confident ones that are wrong.

    >>> verified([{"value": "true", "kind": "tests", "name": "resolved"}])
    True
    """
    said = [
        o["value"] in ("true", "1", "1.0")
        for o in outcomes or ()
        if o["kind"] in ("tests", "environment")
    ]
    return all(said) if said else None


def _about(row: Row) -> bytes:
    """What a record says about its trace, beside what was said in it; no place, no file name."""
    messages = [
        (m["reasoning_kind"], m["name"], m["error"], m["finish_reason"], m["meta"])
        for m in row["messages"]
    ]
    keys = ("source", "source_id", "session_id", "parent_id", "task_key", "answer", "model", "meta")
    return orjson.dumps(([row[k] for k in keys], row["outcomes"], messages))


def hashes_of(row: Row) -> tuple[str, str]:
    """(content_hash, record_hash) of a trace."""
    content_hash = xxhash.xxh3_128_hexdigest(identity(row))
    # Seeded with the content: equal words about two traces do not make them equal records.
    return content_hash, xxhash.xxh3_128_hexdigest(_about(row), seed=int(content_hash[:15], 16))


def measure(rows: Sequence[Row]) -> pa.Table:
    """Family `text` of edited traces, row for row."""
    columns: dict[str, list[Any]] = {name: [] for name in TEXT_SCHEMA.names}
    add = {name: values.append for name, values in columns.items()}
    for row in rows:
        messages = row["messages"]
        assistants = [m for m in messages if m["role"] == "assistant"]
        results = [m for m in messages if m["role"] == "tool"]
        reasoning = [m["reasoning"] for m in assistants if m["reasoning"]]
        kinds = {m["reasoning_kind"] for m in assistants if m["reasoning_kind"]}
        content_hash, record_hash = hashes_of(row)
        for name in ("id", "source", "source_id", "session_id", "parent_id", "task_key", "model"):
            add[name](row[name])
        add["content_hash"](content_hash)
        add["record_hash"](record_hash)
        add["task_hash"](xxhash.xxh3_128_hexdigest(task_of(row).encode("utf-8")))
        header = header_of(row)
        add["header_hash"](None if header is None else xxhash.xxh3_128_hexdigest(header))
        add["n_messages"](len(messages))
        add["n_user_messages"](sum(m["role"] == "user" for m in messages))
        add["n_assistant_messages"](len(assistants))
        add["n_calls"](sum(len(m["tool_calls"] or ()) for m in assistants))
        add["n_results"](len(results))
        add["n_errors"](sum(m["error"] is True for m in results))
        add["n_reasoning_chars"](sum(map(len, reasoning)))
        add["n_answer_chars"](sum(len(m["content"] or "") for m in assistants))
        add["n_chars"](sum(len(m["content"] or "") + len(m["reasoning"] or "") for m in messages))
        add["n_tools"](None if row["tools"] is None else len(row["tools"]))
        add["has_reasoning"](bool(reasoning))
        add["full_reasoning"](bool(reasoning) and kinds <= {"full"})
        add["truncated"](any(m["finish_reason"] in TRUNCATED for m in assistants))
        add["verified"](verified(row["outcomes"]))
        add["reasoning_kind"]("mixed" if len(kinds) > 1 else next(iter(kinds), None))
        add["finish_reason"](assistants[-1]["finish_reason"] if assistants else None)
        add["ends_on"](messages[-1]["role"] if messages else None)
        found = prefixes(messages)
        add["prefix_message"]([p.message for p in found])
        add["prefix_told"]([p.told for p in found])
        add["prefix_thought"]([p.thought for p in found])
    return pa.table(columns, schema=TEXT_SCHEMA)
