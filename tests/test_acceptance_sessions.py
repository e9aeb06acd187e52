"""Session logs of coding agents, read from real files: the cases that a practitioner wrote down.

Expected texts stand as number of characters and the beginning of their SHA-256.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from test_dialect_laws import lost_leaves
from test_dialects import check_conservation, check_door
from tracekit import dialects, jsontext
from tracekit.dialects import Dialect, Notes, Record
from tracekit.errors import BadRecord


def records_of(path: Path, name: str) -> list[Record]:
    """Records of a file that parse: one document, or lines."""
    raw = path.read_bytes()
    try:
        return [Record(name, 0, jsontext.parse(raw))]
    except BadRecord:
        pass
    found = []
    for k, line in enumerate(raw.split(b"\n")):
        try:
            found.append(Record(name, k, jsontext.parse(line)))
        except BadRecord:
            continue
    return found


def read(dialect: Dialect, unit: list[Record]) -> tuple[list[dict[str, Any]], Notes]:
    notes = Notes()
    traces = dialect.read(unit, notes, {})
    for trace in traces:
        check_door(trace)
    check_conservation(unit, traces, notes)
    return traces, notes


def units_of(folder: Path) -> Iterator[tuple[Dialect, list[Record]]]:
    """Units of a folder, each with the one dialect that recognises its files."""
    sessions: dict[tuple[str, str], list[Record]] = {}
    for path in sorted(folder.rglob("*.json*")):
        name = path.relative_to(folder).as_posix()
        records = records_of(path, name)
        if not records:
            continue
        sampled = [record.value for record in (*records[:12], *records[-12:])]
        chosen = dialects.choose(dialects.recognise(sampled))
        assert chosen is not None, f"{name}: {dialects.recognise(sampled)}"
        dialect = dialects.get(chosen)
        if dialect.unit == "record":
            for record in records:
                yield dialect, [record]
        elif dialect.unit == "file":
            yield dialect, records
        else:
            for record in records:
                key = dialect.key(record.value) or name
                sessions.setdefault((chosen, key), []).append(record)
    for (chosen, _), unit in sessions.items():
        yield dialects.get(chosen), unit


def sha(text: str | None) -> tuple[int, str]:
    text = text or ""
    return len(text), hashlib.sha256(text.encode()).hexdigest()[:12]


@cache
def flat(folder: Path) -> dict[str, Any]:
    path = folder / "codex-rollout" / "rollout_2025-09_flat.jsonl"
    (trace,), _ = read(dialects.get("codex"), records_of(path, path.name))
    return trace


# Codex: the flat rollout of September 2025, one trace (practitioner, 3.3).

FIRST_EIGHT = [
    ("user", (23457, "cc8b3aa70c27"), None),
    ("user", (261, "8b1e101f0e29"), None),
    ("user", (83, "d0f6f51326ae"), None),
    ("assistant", (68, "b7dd60746b25"), (903, "04cd8bf6d47b")),
    ("tool", (1199, "ca5a61b88348"), None),
    ("assistant", (0, "e3b0c44298fc"), None),
    ("tool", (7655, "8accbc2293c5"), None),
    ("assistant", (1334, "bcaa8cfe23a4"), (1703, "436485976b3b")),
]


def test_the_flat_rollout_is_one_trace_of_585_messages(traces_folder: Path) -> None:
    trace = flat(traces_folder)
    roles = Counter(message["role"] for message in trace["messages"])
    assert roles == {"assistant": 292, "tool": 246, "user": 47}
    found = []
    for message in trace["messages"][:8]:
        reasoning = message.get("reasoning")
        thought = None if reasoning is None else sha(reasoning)
        found.append((message["role"], sha(message.get("content")), thought))
    assert found == FIRST_EIGHT


def test_reasoning_of_the_flat_rollout_has_its_kind_and_summaries_are_no_target(
    traces_folder: Path,
) -> None:
    replies = [m for m in flat(traces_folder)["messages"] if m["role"] == "assistant"]
    kinds = Counter(m.get("reasoning_kind") or "none" for m in replies)
    assert kinds == {"summary": 110, "withheld": 33, "none": 149}
    for message in replies:
        if message.get("reasoning_kind") == "summary":
            assert message["train"] == {"reasoning": False, "content": True, "calls": None}
        else:
            assert "train" not in message
            assert "reasoning" not in message


def test_calls_and_results_of_the_flat_rollout(traces_folder: Path) -> None:
    messages = flat(traces_folder)["messages"]
    calls = [call for m in messages for call in m.get("tool_calls", ())]
    assert len(calls) == len({call["id"] for call in calls}) == 246
    assert [call["name"] for call in calls[:2]] == [
        "task-master-ai__next_task",
        "task-master-ai__get_task",
    ]
    assert [m["tool_call_id"] for m in messages if m["role"] == "tool"] == [c["id"] for c in calls]
    coded = [
        json.loads(m["meta"])["output"]["metadata"]["exit_code"]
        for m in messages
        if m["role"] == "tool" and "exit_code" in (m.get("meta") or "")
    ]
    assert (len(coded), coded.count(0)) == (183, 182)
    failed = [m for m in messages if m.get("error") is True]
    said = Counter((m.get("content") or "")[:20] for m in failed)
    assert said["error: Failed to fin"] == 8
    assert said["tool call error: too"] == 7
    assert said["failed in sandbox Li"] == 5
    assert len(failed) == 21


def test_what_codex_wrote_into_the_flat_rollout_is_marked_and_kept_once(
    traces_folder: Path,
) -> None:
    trace = flat(traces_folder)
    meta = json.loads(trace["meta"])
    assert trace.get("tools") is None
    assert meta["system"] == "not_recorded"
    assert meta["harness"] == "codex (flat, 2025-09)"
    assert meta["skipped_events"] == {"state": 628}
    assert meta["instructions"] == {"in_message": 0, "chars": 23414}
    assert [span[:2] + span[3:] for span in meta["injected"][:2]] == [
        [0, 0, "user_instructions"],
        [1, 0, "environment_context"],
    ]
    marked = ['"injected":true' in (m.get("meta") or "") for m in trace["messages"][:3]]
    assert marked == [True, True, False]


# Whole folders: what becomes of each, counted by dialect.

FOLDERS: dict[str, dict[str, dict[str, int]]] = {
    "codex-rollout": {"codex": {"records": 1553, "traces": 14, "events": 740, "no_messages": 4}},
    "agent-cli-sessions": {
        "agent_log": {
            "records": 276,
            "traces": 15,
            "events": 3,
            "no_messages": 1,
            "no_event_type": 1,
            "content_not_text": 3,
            "no_assistant_message": 10,
            "message_not_object": 1,
        },
        "antigravity": {"records": 22, "traces": 3, "events": 1},
        "copilot": {"records": 71, "traces": 5, "events": 36},
        "cursor": {"records": 23, "traces": 5, "events": 1},
        "droid_stream": {"records": 16, "traces": 3, "events": 1},
        "grok": {"records": 18, "traces": 2, "events": 2},
        "hermes": {"records": 3, "traces": 3},
        "kimi": {"records": 266, "traces": 2, "events": 141, "no_assistant_message": 7},
        "opencode": {"records": 27, "traces": 3, "events": 4},
        "qwen_code": {"records": 25, "traces": 4, "events": 11, "no_assistant_message": 3},
        "session_messages": {"records": 47, "traces": 8, "events": 9},
    },
    "gemini-cli-session": {"gemini_cli": {"records": 8, "traces": 4, "events": 1}},
    "vscode-chatreplay": {"vscode_chatreplay": {"records": 1, "traces": 2}},
}


@pytest.mark.parametrize("folder", sorted(FOLDERS))
def test_every_line_of_a_real_folder_is_a_trace_an_event_or_a_reject(
    folder: str, traces_folder: Path
) -> None:
    found: dict[str, Counter[str]] = {}
    for dialect, unit in units_of(traces_folder / folder):
        counts = found.setdefault(dialect.name, Counter())
        counts["records"] += len(unit)
        traces, notes = read(dialect, unit)
        counts["traces"] += len(traces)
        counts["events"] += len(notes.events)
        counts.update(code for _, code, _ in notes.rejects)
    plain = {name: {k: n for k, n in counts.items() if n} for name, counts in found.items()}
    assert plain == FOLDERS[folder]


@pytest.mark.parametrize("folder", sorted(FOLDERS))
def test_no_text_of_a_message_line_is_lost(folder: str, traces_folder: Path) -> None:
    for dialect, unit in units_of(traces_folder / folder):
        traces, _ = read(dialect, unit)
        first = (unit[0].file, unit[0].row)
        said = {tuple(row) for trace in traces for row in trace.get("rows", [first])}
        for record in unit:
            if (record.file, record.row) in said:
                lost = lost_leaves(dialect, opened(record.value), traces)
                assert not lost, f"{record.file}#{record.row}: {lost[:5]}"


def opened(value: Any) -> Any:
    """A line whose output is JSON text, as the value of that text."""
    if isinstance(value, dict) and isinstance(value.get("output"), str):
        try:
            return {**value, "output": json.loads(value["output"])}
        except ValueError:
            return value
    return value
