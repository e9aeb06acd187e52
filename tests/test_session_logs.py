"""Session logs of coding agents: trees, cuts, what is no target, sessions that go on in a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from test_dialects import check_conservation, check_door
from tracekit import dialects
from tracekit.dialects import Notes, Record, session_log, session_tree
from tracekit.parts import plan_session_parts, units


def read(name: str, values: list[Any], **options: str) -> tuple[list[dict[str, Any]], Notes]:
    records = [Record("f.jsonl", k, value) for k, value in enumerate(values)]
    return read_records(name, records, **options)


def read_records(
    name: str, records: list[Record], **options: str
) -> tuple[list[dict[str, Any]], Notes]:
    notes = Notes()
    traces = dialects.get(name).read(records, notes, options)
    for trace in traces:
        check_door(trace)
    check_conservation(records, traces, notes)
    return traces, notes


def said(trace: dict[str, Any]) -> list[str]:
    return [m.get("content") or m.get("reasoning") or m["role"] for m in trace["messages"]]


def item(kind: str, **more: Any) -> dict[str, Any]:
    return {"timestamp": "t", "type": "response_item", "payload": {"type": kind, **more}}


def spoken(role: str, text: str) -> dict[str, Any]:
    return item("message", role=role, content=[{"type": "output_text", "text": text}])


def event(kind: str, **more: Any) -> dict[str, Any]:
    return {"timestamp": "t", "type": "event_msg", "payload": {"type": kind, **more}}


# Codex.


def test_doubled_events_of_codex_are_events_and_a_log_without_items_is_read_from_them() -> None:
    both = [
        event("user_message", message="9*4?"),
        spoken("user", "9*4?"),
        event("agent_message", message="36"),
        spoken("assistant", "36"),
    ]
    (doubled,), notes = read("codex", both)
    assert [kind for _, kind in notes.events] == ["repeated", "repeated"]
    thought = event("agent_reasoning", text="Nine fours.")
    (alone,), notes = read("codex", [both[0], thought, both[2]])
    assert notes.repairs["messages_from_events"] == 1
    assert said(alone) == said(doubled) == ["9*4?", "36"]
    assert alone["messages"][1]["reasoning"] == "Nine fours."
    assert alone["messages"][1]["train"]["reasoning"] is False


def test_text_after_a_call_of_codex_is_a_reply_of_its_own_and_its_results_still_pair() -> None:
    values = [
        spoken("user", "go"),
        item("function_call", name="ls", arguments="{}", call_id="a"),
        spoken("assistant", "Running."),
        item("function_call_output", call_id="a", output="x"),
    ]
    (trace,), _ = read("codex", values)
    assert [m["role"] for m in trace["messages"]] == ["user", "assistant", "assistant", "tool"]
    assert trace["messages"][3]["name"] == "ls"


def test_a_compaction_of_codex_cuts_and_its_history_is_no_target() -> None:
    values = [
        {"type": "session_meta", "payload": {"id": "s"}},
        spoken("user", "one"),
        spoken("assistant", "first"),
        {"type": "compacted", "payload": {"message": "So far one."}},
        spoken("user", "two"),
        spoken("assistant", "second"),
        {"type": "compacted", "payload": {"message": "So far two."}},
    ]
    (before, after), notes = read("codex", values)
    assert said(before) == ["one", "first"]
    assert said(after) == ["So far one.", "two", "second"]
    assert (after["session_id"], after["parent_id"]) == ("s", "s")
    assert json.loads(after["meta"])["continues"] == "s"
    assert [(record.row, kind) for record, kind in notes.events] == [(6, "compaction")]


def test_turns_that_codex_rolled_back_are_a_trace_of_their_own() -> None:
    values = [
        spoken("user", "one"),
        spoken("assistant", "first"),
        spoken("user", "two"),
        spoken("assistant", "wrong"),
        event("thread_rolled_back", num_turns=1),
        spoken("user", "three"),
        spoken("assistant", "right"),
    ]
    traces, _ = read("codex", values)
    assert [said(trace) for trace in traces] == [
        ["one", "first", "two", "wrong"],
        ["one", "first", "three", "right"],
    ]
    (latest,), notes = read("codex", values, branches="latest")
    assert said(latest) == ["one", "first", "three", "right"]
    abandoned = [record.row for record, kind in notes.events if kind == "abandoned_branch"]
    assert abandoned == [2, 3]
    (kept,), _ = read("codex", values[:5], branches="latest")
    assert said(kept) == ["one", "first"]


# Trees.


def entry(name: str, parent: str | None, role: str, text: str) -> dict[str, Any]:
    message = {"role": role, "content": text}
    return {"type": "message", "id": name, "parentId": parent, "message": message}


FORK = [
    {"type": "session", "id": "s", "version": 3},
    entry("a", None, "user", "q"),
    entry("b", "a", "assistant", "first"),
    entry("c", "a", "assistant", "second"),
    entry("d", "a", "user", "typed and taken back"),
]


def test_each_branch_of_a_tree_is_a_trace_and_the_option_keeps_the_latest() -> None:
    traces, notes = read("session_messages", FORK)
    assert [said(trace) for trace in traces] == [["q", "first"], ["q", "second"]]
    assert [(r.row, kind) for r, kind in notes.events] == [(4, "abandoned_prompt")]
    traces, notes = read("session_messages", FORK, branches="latest")
    assert [said(trace) for trace in traces] == [["q", "second"]]
    kinds = sorted((r.row, kind) for r, kind in notes.events)
    assert kinds == [(2, "abandoned_branch"), (4, "abandoned_prompt")]


def test_prompts_that_nobody_answered_give_one_path_with_the_last_of_them() -> None:
    values = [*FORK[:3], *(entry(f"e{k}", "b", "user", f"try {k}") for k in range(3))]
    (trace,), notes = read("session_messages", values)
    assert said(trace) == ["q", "first", "try 2"]
    assert [kind for _, kind in notes.events] == ["abandoned_prompt"] * 2


@given(st.lists(st.tuples(st.integers(-1, 12), st.booleans(), st.booleans()), max_size=14))
def test_every_message_of_any_tree_is_on_a_path_or_an_event(
    shape: list[tuple[int, bool, bool]],
) -> None:
    notes = Notes()
    lines = [
        session_tree.Line(
            Record("f", k, {}), f"n{k}", None if up < 0 else f"n{up}", is_message, speaks
        )
        for k, (up, is_message, speaks) in enumerate(shape)
    ]
    paths = session_tree.paths(session_tree.nodes(lines, notes), False, notes)
    on_paths = {record.row for path in paths for node in path for record in node.records()}
    events = [record.row for record, _ in notes.events]
    assert on_paths.isdisjoint(events)
    assert on_paths | set(events) == {k for k, (_, said, _) in enumerate(shape) if said}
    assert len(events) == len(set(events))


def test_the_example_of_the_hub_for_its_simple_format() -> None:
    call = {"id": "t1", "function": {"name": "get_time", "arguments": '{"zone": "UTC"}'}}
    turns = [
        {"role": "user", "content": "the time?"},
        {"role": "assistant", "content": "", "reasoningContent": "Ask.", "toolCalls": [call]},
        {"role": "tool", "toolCallId": "t1", "content": "15:00"},
        {"role": "assistant", "content": "three", "model": "m"},
    ]
    header = {"type": "session", "harness": "mine", "id": "abc", "name": "a title"}
    values = [header, *({"type": "message", "message": turn} for turn in turns)]
    (trace,), notes = read("session_messages", values)
    assert said(trace) == ["the time?", "Ask.", "15:00", "three"]
    assert trace["messages"][1]["tool_calls"][0]["arguments"] == '{"zone":"UTC"}'
    assert (trace["session_id"], trace["model"]) == ("abc", "m")
    assert json.loads(trace["meta"])["harness"] == "mine"
    assert not notes.repairs


# Stores and files.


def test_a_part_of_opencode_is_found_by_the_folder_it_is_in() -> None:
    session = {"id": "s", "projectID": "p", "directory": "/d", "time": {"created": 1}}
    ask = {"id": "m1", "sessionID": "s", "role": "user", "time": {"created": 1}}
    reply = {"id": "m2", "sessionID": "s", "role": "assistant", "time": {"created": 2}}
    records = [
        Record("message/s/m2.json", 0, reply),
        Record("message/s/m1.json", 0, ask),
        Record("part/m1/1.json", 0, {"id": "p", "type": "text", "text": "q", "time": {}}),
        Record("part/m2/2.json", 0, {"id": "p", "messageID": "m2", "type": "text", "text": "b"}),
        Record("part/m2/1.json", 0, {"id": "p", "messageID": "m2", "type": "text", "text": "a"}),
        Record("session/p/s.json", 0, session),
    ]
    records[2].value["time"]["start"] = 1
    (trace,), _ = read_records("opencode", records)
    assert said(trace) == ["q", "a\nb"]


def test_a_resumed_session_of_claude_code_is_one_unit_with_what_it_goes_on_from(
    tmp_path: Path,
) -> None:
    def line(session: str, uuid: str, parent: str | None, kind: str) -> str:
        message = {"role": kind, "content": [{"type": "text", "text": uuid}]}
        value = {"type": kind, "uuid": uuid, "parentUuid": parent, "sessionId": session}
        return json.dumps({**value, "message": message}) + "\n"

    old = line("s1", "a", None, "user") + line("s1", "b", "a", "assistant")
    (tmp_path / "s1.jsonl").write_text(old)
    (tmp_path / "s2.jsonl").write_text(
        old + line("s2", "c", "b", "user") + line("s2", "d", "c", "assistant")
    )
    (tmp_path / "s3.jsonl").write_text(
        line("s3", "x", None, "user") + line("s3", "y", "x", "assistant")
    )
    claude = dialects.get("claude_code")
    plan = plan_session_parts(
        "s",
        tmp_path,
        ["s1.jsonl", "s2.jsonl", "s3.jsonl"],
        key=claude.key,
        joins=claude.joins,
        spool_folder=tmp_path / "spool",
    )
    files = [sorted({one.file for one in unit}) for part in plan.parts for unit in units(part)]
    assert files == [["s1.jsonl", "s2.jsonl"], ["s3.jsonl"]]
    records = [
        Record(name, k, json.loads(text))
        for name in ("s1.jsonl", "s2.jsonl")
        for k, text in enumerate((tmp_path / name).read_text().splitlines())
    ]
    (trace,), _ = read_records("claude_code", records)
    assert said(trace) == ["a", "b", "c", "d"]
    assert (trace["session_id"], trace["parent_id"]) == ("s2", "s1")


@given(st.text(alphabet="<>/ab ", max_size=60))
def test_spans_are_blocks_of_their_tags_and_never_overlap(text: str) -> None:
    found = session_log.spans(text, ("a", "b"))
    last = 0
    for start, end, tag in found:
        assert start >= last
        assert text[start:end].startswith(f"<{tag}>")
        assert text[start:end].endswith(f"</{tag}>")
        last = end
