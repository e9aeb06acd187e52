"""Our own output reads back: rows of shards, rows of trace parts, and the OpenAI export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

import road
import strategies
from tracekit import dialects, schema, shard_rows
from tracekit.dialects import Notes, Record, thinking
from tracekit.text import hashes_of
from tracekit.types import Trace

ID, SOURCE = "again:f#0", "again"


def row_of(trace: Trace) -> dict[str, Any]:
    (row,) = schema.trace_table([trace]).to_pylist()
    return row


def read(name: str, value: Any, **options: str) -> Trace:
    (found,) = dialects.get(name).read([Record("f", 0, value)], Notes(), options)
    found.pop("rows", None)
    place = {"file": "f", "first": 0, "last": 0}
    whole = {**found, "id": ID, "source": SOURCE, "provenance": [place]}
    return schema.trace_door().validate_python(whole)


def shard_row(trace: Trace) -> dict[str, Any]:
    """The row of a trace in a shard, as Parquet gives it back."""
    spilled = shard_rows.spill_table([row_of(trace)], ["the-id"], [9], [4], [0])
    return shard_rows.shard_table(spilled.select(spilled.column_names[:-1])).to_pylist()[0]


def content_hash(trace: Trace) -> str:
    return hashes_of(row_of(trace))[0]


def about(trace: Trace) -> tuple[Any, ...]:
    return trace.task_key, trace.answer, trace.outcomes, trace.model


@given(strategies.traces())
def test_a_row_of_a_shard_reads_back_to_an_equal_trace(trace: Trace) -> None:
    value = shard_row(trace)
    assert dialects.get("tracekit").fits(value)
    again = read("tracekit", value)
    assert content_hash(again) == content_hash(trace)
    assert about(again) == about(trace)
    assert [m.name for m in again.messages] == [m.name for m in trace.messages]
    kept = json.loads(again.meta or "{}")
    assert kept.pop("written_as") == {"id": "the-id", "source": trace.source}
    assert kept == json.loads(trace.meta or "{}") or "written_as" in (trace.meta or "")


@given(strategies.traces())
def test_a_row_of_a_trace_part_reads_back_to_the_trace(trace: Trace) -> None:
    value = row_of(trace)
    assert dialects.get("tracekit").fits(value)
    again = read("tracekit", value)
    assert again.messages == trace.messages
    assert again.tools == trace.tools
    assert about(again) == about(trace)
    assert (again.session_id, again.parent_id) == (trace.session_id, trace.parent_id)
    written = json.loads(again.meta or "{}")["written_as"]
    assert written == {"id": trace.id, "source": trace.source}


def test_numbers_doubled_keys_and_broken_arguments_of_a_shard_stay_as_written() -> None:
    calls = ['{"x":1.50,"y":1E3,"x":2}', '{"cut": tr', '[1,"a"]', "{}"]
    message = {
        "role": "assistant",
        "tool_calls": [
            {"id": f"c{k}", "name": "f", "arguments": text} for k, text in enumerate(calls)
        ],
    }
    trace = schema.trace_door().validate_python(
        {"id": ID, "source": SOURCE, "provenance": [], "messages": [message]}
    )
    again = read("tracekit", shard_row(trace))
    assert [call.arguments for call in again.messages[0].tool_calls] == calls


def holds_markup(trace: Trace) -> bool:
    """Would the text of a reply be read as think tags or calls? Then it is no plain text."""
    for message in trace.messages:
        text = message.content or ""
        if message.role == "assistant" and thinking.split(text) is not None:
            return True
    return False


@given(strategies.traces())
def test_the_openai_export_of_a_trace_reads_back_to_an_equal_trace(trace: Trace) -> None:
    assume(not holds_markup(trace))
    row = row_of(trace)
    value = {"messages": [json.loads(shard_rows.message_json(m)) for m in row["messages"]]}
    if row["tools"] is not None:
        value["tools"] = [json.loads(shard_rows.tool_json(t)) for t in row["tools"]]
    again = read("openai", value, calls="as_text")
    assert said(again) == said(trace)
    assert pairs(again) == pairs(trace)
    assert (again.tools is None) == (trace.tools is None)
    assert [declared(t) for t in again.tools or ()] == [declared(t) for t in trace.tools or ()]


def said(trace: Trace) -> list[Any]:
    return [
        (m.role, m.content, m.reasoning, [(c.name, json.loads(c.arguments)) for c in m.tool_calls])
        for m in trace.messages
    ]


def pairs(trace: Trace) -> list[int]:
    """For each result the place of the call that it answers."""
    place: dict[str, int] = {}
    n_calls = 0
    found = []
    for message in trace.messages:
        for call in message.tool_calls:
            place[call.id] = n_calls
            n_calls += 1
        if message.role == "tool":
            found.append(place[message.tool_call_id or ""])
    return found


def declared(tool: Any) -> tuple[Any, ...]:
    parameters = None if tool.parameters is None else json.loads(tool.parameters)
    # In a list of tools a key whose value is null says nothing.
    extra = {k: v for k, v in json.loads(tool.extra or "{}").items() if v is not None}
    return tool.name, tool.description, parameters, extra


@given(st.data())
def test_attachments_stay_with_their_message(data: st.DataObject) -> None:
    trace = data.draw(strategies.traces())
    again = read("tracekit", shard_row(trace))
    assert [m.attachments for m in again.messages] == [m.attachments for m in trace.messages]


def test_what_the_road_wrote_is_ingested_again_with_equal_content(tmp_path: Path) -> None:
    """Shards and trace parts are recognised by structure and give the traces that they hold."""
    tools = [road.tool("look", {"place": {"type": "string"}})]
    look = road.call("look", {"n": 1.50})
    records = [
        {"messages": [road.user("9*4?"), road.says("36", reasoning_content="Four nines.")]},
        {"messages": [road.user("Rain?"), road.says(None, tool_calls=[look]), road.result("dry"),
                      road.says("No.")], "tools": tools},
        {"messages": [road.user("Hi"), road.says("Hello.")], "tools": [], "actual_answer": "x"},
    ]  # fmt: skip
    road.write_files(tmp_path / "in", {"a.jsonl": records})
    rules = {"dedupe": False, "filter": {"min_tokens": 1}}
    first = road.go(tmp_path, {"sources": {"a": {"path": "in"}}, **rules}, name="first")
    assert len(first.rows()) == len(records)
    wanted = sorted(row["content_hash"] for row in first.evidence("text"))
    for name, folder in (("shards", first.out / "data"), ("parts", first.work / "traces")):
        recipe = {"sources": {name: {"path": str(folder)}}, **rules}
        again = road.go(tmp_path, recipe, name=name)
        assert sorted(row["content_hash"] for row in again.evidence("text")) == wanted
        assert {row["source"] for row in again.evidence("text")} == {name}
        said = [row["messages"] for row in again.rows()]
        assert said == [row["messages"] for row in first.rows()]
