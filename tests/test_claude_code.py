"""Claude Code sessions: replies, order, refusals, sub-agents, forks; real sessions by hash."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from test_dialect_laws import lost_leaves, needs_real_files, real_folder, values_of
from test_dialects import check_conservation, check_door, outcome, records_of
from tracekit import dialects
from tracekit.dialects import Notes, Record
from tracekit.leaves import leaves

CLAUDE = dialects.get("claude_code")


def line(kind: str, uuid: str, parent: str | None, *blocks: Any, **more: Any) -> dict[str, Any]:
    message = {"role": kind, "content": list(blocks), **more.pop("message", {})}
    return {
        "type": kind,
        "uuid": uuid,
        "parentUuid": parent,
        "sessionId": "s",
        "message": message,
        **more,
    }


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def call(name: str) -> dict[str, Any]:
    return {"type": "tool_use", "id": name, "name": "Bash", "input": {"command": name}}


def result(name: str, words: str, **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": name, "content": words, **more}


def read(values: list[Any], **options: str) -> tuple[list[dict[str, Any]], Notes]:
    notes = Notes()
    records = [Record("f.jsonl", k, value) for k, value in enumerate(values)]
    traces = CLAUDE.read(records, notes, options)
    for trace in traces:
        check_door(trace)
    check_conservation(records, traces, notes)
    return traces, notes


def said(trace: dict[str, Any]) -> list[str]:
    return [m.get("content") or m["role"] for m in trace["messages"]]


def test_r25_lines_of_one_reply_are_one_message_and_usage_counts_once() -> None:
    values = [record.value for record in records_of("claude_code")]
    (trace, *_), _ = read(values)
    message = trace["messages"][1]
    assert message["reasoning"] == "I should run ls."
    assert message["content"] == "Listing."
    assert [c["id"] for c in message["tool_calls"]] == ["t1", "t2"]
    assert json.loads(message["meta"])["usage"] == {"input_tokens": 10, "output_tokens": 57}


def test_lines_without_an_id_are_messages_of_their_own() -> None:
    values = [
        line("user", "u", None, text("a")),
        line("assistant", "b", "u", text("one")),
        line("assistant", "c", "b", text("two")),
    ]
    (trace,), _ = read(values)
    assert said(trace) == ["a", "one", "two"]


def test_parents_are_followed_through_lines_that_are_no_message() -> None:
    values = [
        line("user", "u", None, text("a")),
        {"type": "progress", "uuid": "p", "parentUuid": "u", "sessionId": "s"},
        {"type": "progress", "uuid": "q", "parentUuid": "p", "sessionId": "s"},
        line("assistant", "b", "q", text("one")),
    ]
    (trace,), notes = read(values)
    assert said(trace) == ["a", "one"]
    assert [kind for _, kind in notes.events] == ["progress", "progress"]


def test_results_of_parallel_calls_make_no_fork_and_follow_their_calls() -> None:
    reply = {"id": "m", "model": "c"}
    values = [
        line("user", "u", None, text("a")),
        line("assistant", "x", "u", call("1"), message=reply),
        line("assistant", "y", "x", call("2"), message=reply),
        line("user", "r2", "y", result("2", "second")),
        line("user", "r1", "x", result("1", "first")),
        line("assistant", "z", "r1", text("done")),
    ]
    (trace,), notes = read(values)
    assert said(trace) == ["a", "assistant", "first", "second", "done"]
    assert notes.repairs == {"results_reordered": 1}


def forked() -> list[dict[str, Any]]:
    return [
        line("user", "u", None, text("a")),
        line("assistant", "b", "u", text("one")),
        line("user", "c", "b", text("left")),
        line("assistant", "d", "c", text("two")),
        line("user", "e", "b", text("right")),
        line("assistant", "f", "e", text("three")),
        line("user", "g", "b", text("nobody answers")),
    ]


def test_each_answered_leaf_of_a_fork_is_a_trace() -> None:
    traces, notes = read(forked())
    assert [said(t) for t in traces] == [
        ["a", "one", "left", "two"],
        ["a", "one", "right", "three"],
    ]
    assert [(r.row, kind) for r, kind in notes.events] == [(6, "abandoned_prompt")]


def test_only_the_latest_branch_is_kept_where_the_option_says_so() -> None:
    traces, notes = read(forked(), branches="latest")
    assert [said(t) for t in traces] == [["a", "one", "right", "three"]]
    assert Counter(kind for _, kind in notes.events) == {
        "abandoned_branch": 2,
        "abandoned_prompt": 1,
    }


def test_a_cycle_of_parents_ends_and_loses_nothing() -> None:
    values = [line("user", "u", "b", text("a")), line("assistant", "b", "u", text("one"))]
    (trace,), notes = read(values)
    assert said(trace) == ["a", "one"]
    assert notes.repairs == {"parent_cycle": 1}


def test_a_copied_line_is_in_the_provenance_once_said() -> None:
    values = [line("user", "u", None, text("a")), line("assistant", "b", "u", text("one"))]
    (trace,), _ = read([*values, *values])
    assert said(trace) == ["a", "one"]
    assert trace["rows"] == [("f.jsonl", k) for k in range(4)]


def test_a_reply_that_was_cut_off_is_no_target() -> None:
    values = [
        line("user", "u", None, text("a")),
        line("assistant", "b", "u", text("half of")),
        line("user", "c", "b", text("[Request interrupted by user]")),
        line("assistant", "d", "c", text("whole")),
    ]
    (trace,), _ = read(values)
    flags = [m.get("train") for m in trace["messages"]]
    assert flags == [None, {"reasoning": False, "content": False, "calls": None}, None, None]


def test_of_two_calls_only_the_refused_one_is_no_target() -> None:
    no = "The user doesn't want to proceed with this tool use. Stop."
    values = [
        line("user", "u", None, text("a")),
        line("assistant", "b", "u", call("1"), call("2")),
        line("user", "r", "b", result("1", "fine"), result("2", no, is_error=True)),
    ]
    (trace,), notes = read(values)
    assert trace["messages"][1]["train"] == {
        "reasoning": True,
        "content": True,
        "calls": [True, False],
    }
    assert notes.repairs == {"call_refused_by_user": 1}


@settings(deadline=None)
@given(st.permutations(range(27)))
def test_no_order_of_the_lines_loses_one(order: list[int]) -> None:
    records = records_of("claude_code")
    unit = [Record("f.jsonl", k, records[place].value) for k, place in enumerate(order)]
    assert outcome(CLAUDE, unit)["traces"]


# Real sessions. Texts are compared by their number of characters and a hash, never in clear.


def brief(words: str | None) -> Any:
    if not words:
        return None
    return [len(words), hashlib.sha256(words.encode()).hexdigest()[:12]]


def shape(message: dict[str, Any]) -> dict[str, Any]:
    found = {
        "role": message["role"],
        "content": brief(message.get("content")),
        "reasoning": brief(message.get("reasoning")),
        "calls": [[c["name"], c["id"][-8:]] for c in message.get("tool_calls", ())],
        "call": (message.get("tool_call_id") or "")[-8:],
        "name": message.get("name"),
        "error": message.get("error"),
        "train": message.get("train"),
    }
    return {key: v for key, v in found.items() if v not in (None, [], "")}


def real_session(*files: str) -> tuple[list[dict[str, Any]], Notes]:
    folder = real_folder() / "claude-code-session"
    records = [
        Record(name, row, value) for name in files for row, value in values_of(folder / name)
    ]
    notes = Notes()
    traces = CLAUDE.read(records, notes, {})
    check_conservation(records, traces, notes)
    for trace in traces:
        check_door(trace)
    return traces, notes


ACCEPTED = Path(__file__).parent / "data" / "dialects" / "claude_code.acceptance.json"
SESSION = "copilot-chat-fixtures/50a7220d-7250-46f3-b38e-b716ce25032e"
LONG = "7acd37a8-2745-4b58-a8a9-46164b22ad9e.jsonl"


@needs_real_files
def test_a_real_session_and_its_subagent_are_two_linked_traces() -> None:
    (main, sub), _ = real_session(f"{SESSION}.jsonl", f"{SESSION}/subagents/agent-a21e2f5.jsonl")
    expected = json.loads(ACCEPTED.read_text("utf-8"))
    assert [shape(m) for m in main["messages"]] == expected["session"]
    assert [shape(m) for m in sub["messages"]] == expected["subagent"]
    meta, sub_meta = json.loads(main["meta"]), json.loads(sub["meta"])
    assert main["session_id"] == sub["parent_id"] == Path(SESSION).name
    assert main["model"] == "claude-haiku-4-5-20251001"
    assert meta["harness"] == "claude-code 2.1.33"
    assert meta["injected"] == [[0, 0, 261, "system-reminder"]]
    assert meta["skipped_events"] == {"queue-operation": 1}
    assert sub_meta["skipped_events"] == {"progress": 13}
    assert list(meta["subagents"].values()) == [sub_meta["agent"]] == ["a21e2f5"]
    assert list(meta["subagents"]) == [sub_meta["parent_call"]]
    assert "tools" not in main
    assert "answer" not in main


@needs_real_files
def test_a_real_session_keeps_order_and_refusals() -> None:
    traces, notes = real_session(LONG)
    (trace,) = traces
    messages = trace["messages"]
    roles = Counter(m["role"] for m in messages)
    n_calls = sum(len(m.get("tool_calls", ())) for m in messages)
    assert (len(messages), roles["assistant"], n_calls, roles["tool"]) == (115, 36, 71, 71)
    assert notes.repairs == {"results_reordered": 5, "call_refused_by_user": 4}
    expected = json.loads(ACCEPTED.read_text("utf-8"))
    assert [shape(m) for m in messages[:6]] == expected["order"]
    start = next(k for k, m in enumerate(messages) if "train" in m)
    assert [shape(m) for m in messages[start : start + 6]] == expected["refusal"]
    assert json.loads(messages[1]["meta"])["isMeta"] is True
    refused = [json.loads(m["meta"]).get("refused") for m in messages[start + 1 : start + 4]]
    assert refused == [True] * 3
    assert json.loads(messages[start + 4]["meta"])["injected"] is True


@needs_real_files
def test_every_line_of_every_real_session_has_a_place_and_no_text_is_lost() -> None:
    folder = real_folder() / "claude-code-session"
    by_key: dict[str, list[Record]] = {}
    for path in sorted(folder.rglob("*.jsonl")):
        name = path.relative_to(folder).as_posix()
        for row, value in values_of(path):
            key = CLAUDE.key(value) or f"file {name}"
            by_key.setdefault(key, []).append(Record(name, row, value))
    n_traces = 0
    for unit in by_key.values():
        found = outcome(CLAUDE, unit)
        n_traces += len(found["traces"])
        kept = {tuple(row) for trace in found["traces"] for row in trace["rows"]}
        for record in unit:
            if (record.file, record.row) in kept:
                lost = lost_leaves(CLAUDE, record.value, found["traces"])
                assert not lost, f"{record.file}#{record.row}: {lost[:3]}"
    assert n_traces > 60


@needs_real_files
def test_accepted_texts_are_stored_as_hashes_only() -> None:
    for _, words in leaves(json.loads(ACCEPTED.read_text("utf-8"))):
        assert len(words) <= 12
