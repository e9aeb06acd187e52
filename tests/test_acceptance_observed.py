"""Real logs of evaluations and observability: counts, leaf law, and what an expert expects.

Texts are kept here only as number of characters and the first 12 hex digits of their SHA-256.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from test_dialects import outcome, units_of
from tracekit import dialects, jsontext, leaves
from tracekit.dialects import Record
from tracekit.framing import Limits
from tracekit.parts import plan_parts
from tracekit.planning import _fits_whole


def sign(text: str | None) -> tuple[int, str]:
    text = text or ""
    return len(text), hashlib.sha256(text.encode()).hexdigest()[:12]


def records_below(folder: Path, name: str, spool: Path) -> list[Record]:
    """Records of a folder as an ingest reads them, through the containers."""
    from tracekit import inputs
    from tracekit.containers import read_slices

    fits = _fits_whole(dialects.get(name))
    found = inputs.expand([str(folder)], source=name, spool_folder=spool, whole_is_record=fits)
    (source,) = found.sources
    plan = plan_parts(
        name, source.root, source.files, spool_folder=spool, whole_object_is_record=fits,
        limits=Limits(),
    )  # fmt: skip
    records = []
    for one, raw in read_slices(s for part in plan.parts for s in part.slices):
        assert raw.error is None, f"{one.file}#{raw.row}: {raw.error}"
        records.append(Record(one.file, raw.row, raw.value))
    return records


def units(name: str, records: list[Record]) -> list[list[Record]]:
    dialect = dialects.get(name)
    if dialect.unit == "record":
        return units_of(dialect, records)
    by_key: dict[str, list[Record]] = {}
    for record in records:
        key = dialect.key(record.value) if dialect.unit == "session" else None
        by_key.setdefault(key or record.file, []).append(record)
    return list(by_key.values())


REAL = {
    # folder, dialect: records, traces, events, rejects
    ("inspect-eval-log", "inspect_log"): (43, 20, 20, {"no_samples": 1, "no_assistant_message": 1}),
    ("langfuse-trace", "langfuse"): (40, 21, 20, {}),
    ("langsmith-run", "langsmith"): (8, 8, 0, {}),
    ("otel-genai-spans", "otel_spans"): (11, 16, 2, {}),
    ("vcr-cassettes", "vcr"): (5, 8, 0, {}),
}


@pytest.mark.parametrize(("folder", "name"), sorted(REAL))
def test_real_folders_become_traces_and_lose_no_text(
    traces_folder: Path, tmp_path: Path, folder: str, name: str
) -> None:
    dialect = dialects.get(name)
    records = records_below(traces_folder / folder, name, tmp_path)
    n_traces = n_events = 0
    rejects: Counter[str] = Counter()
    for unit in units(name, records):
        found = outcome(dialect, unit)
        traces = found.get("traces", [])
        n_traces += len(traces)
        n_events += len(found.get("events", ()))
        rejects.update([found["reject"]] if "reject" in found else [])
        rejects.update(code for _, code in found.get("rejects", ()))
        texts = leaves.texts_of(traces)
        told = {row for row, _ in (*found.get("events", ()), *found.get("rejects", ()))}
        for record in unit:
            if traces and record.row not in told:
                lost = leaves.lost_leaves(dialect.ignores, leaves.as_read(record.value), texts)
                assert not lost, f"{record.file}#{record.row}: {lost[:5]}"
    assert (len(records), n_traces, n_events, dict(rejects)) == REAL[folder, name]


@pytest.mark.parametrize(("folder", "name"), sorted(REAL))
def test_a_real_folder_is_recognised_by_one_dialect(
    traces_folder: Path, tmp_path: Path, folder: str, name: str
) -> None:
    by_file: dict[str, list[Any]] = {}
    for record in records_below(traces_folder / folder, name, tmp_path):
        by_file.setdefault(record.file, []).append(record.value)
    for file, values in by_file.items():
        assert dialects.choose(dialects.recognise(values)) == name, file


def traces_of(folder: Path, name: str, file: str, spool: Path) -> list[dict[str, Any]]:
    fits = _fits_whole(dialects.get(name))
    assert (folder / file).is_file()
    plan = plan_parts(name, folder, [file], spool_folder=spool, whole_object_is_record=fits)
    from tracekit.containers import read_slices

    unit = [
        Record(s.file, raw.row, raw.value)
        for s, raw in read_slices(s for part in plan.parts for s in part.slices)
    ]
    return outcome(dialects.get(name), unit)["traces"]


# Acceptance 3.11.


def test_turns_of_an_agent_are_put_together_from_outputs_and_tool_spans(
    traces_folder: Path, tmp_path: Path
) -> None:
    folder = traces_folder / "langfuse-trace"
    (trace,) = traces_of(folder, "langfuse", "claude-agent-2025-12-22.trace.json", tmp_path)
    call, berlin, york, answer = trace["messages"][2:]
    assert trace.get("tools") is None
    assert trace["model"] == "claude-sonnet-4-5-20250929"
    roles = [message["role"] for message in trace["messages"]]
    assert roles == ["system", "user", "assistant", "tool", "tool", "assistant"]
    said = [sign(message.get("content")) for message in trace["messages"]]
    assert [n for n, _ in said] == [71, 47, 59, 31, 32, 276]
    assert [digest for _, digest in said] == SAID_311
    assert [c["name"] for c in call["tool_calls"]] == ["mcp__weather__get_weather"] * 2
    assert [c["arguments"] for c in call["tool_calls"]] == [
        '{"city":"Berlin"}',
        '{"city":"New York"}',
    ]
    ids = [c["id"] for c in call["tool_calls"]]
    assert [m["tool_call_id"] for m in (berlin, york)] == ids
    assert len(set(ids)) == 2
    assert all(one.startswith("toolu_01") for one in ids)
    assert "tool_calls" not in answer
    kinds = {(o["name"], o["value"], o["kind"]) for o in trace["outcomes"]}
    assert kinds >= {("correctness", "0", "judge"), ("hallucination", "1", "judge")}
    assert len(json.loads(trace["meta"])["observations"]) == 7


SAID_311 = [
    "f3b036cbd1e3",
    "41a0768c1e82",
    "a7c035cd7358",
    "7750e57693be",
    "0ec4bb180f83",
    "6946dadace97",
]


def test_messages_that_langfuse_normalised_stand_in_our_traces(
    traces_folder: Path, tmp_path: Path
) -> None:
    """Every pair agrees: what Langfuse reads of an observation is said in the trace beside it.

    Explained: it reads a dict without a role as `json`, and inputs that are no list of messages not
    at all; what we read more of those is no disagreement.
    """
    folder = traces_folder / "langfuse-trace"
    n_texts = n_calls = 0
    for path in sorted(folder.glob("*.chatml.json")):
        name = path.name.replace(".chatml.", ".trace.")
        traces = traces_of(folder, "langfuse", name, tmp_path / name)
        texts = leaves.texts_of(traces)
        wanted = [
            message
            for sides in jsontext.parse(path.read_bytes()).values()
            for side in sides.values()
            for message in (side.get("data") or () if side["success"] else ())
        ]
        ignores = (*dialects.get("langfuse").ignores, "*.id", "*.json")
        lost = leaves.lost_leaves(ignores, wanted, texts)
        assert not lost, f"{path.name}: {lost[:5]}"
        said = {
            message.get("content", "").strip() for trace in traces for message in trace["messages"]
        }
        for message in wanted:
            if message.get("role") == "assistant" and isinstance(message.get("content"), str):
                text = message["content"].strip()
                if text.startswith('[{"function"'):  # calls, which it leaves as text
                    n_calls += 1
                    continue
                n_texts += 1
                assert not text or text in said, path.name
    assert (n_texts > 20, n_calls) == (True, 2)


# Acceptance 3.12.


def test_a_sample_of_inspect_has_its_tools_and_a_vacuous_score_is_no_outcome(
    traces_folder: Path, tmp_path: Path
) -> None:
    folder = traces_folder / "inspect-eval-log"
    (trace,) = traces_of(folder, "inspect_log", "2025-05-12T20-27-36-04-00_browser.json", tmp_path)
    assert [tool["name"] for tool in trace["tools"]] == [
        f"web_browser_{name}"
        for name in ("go", "click", "type_submit", "type", "scroll", "back", "forward", "refresh")
    ]
    assert all(tool["description"] and tool["parameters"] for tool in trace["tools"])
    assert not any("attachment://" in tool["description"] for tool in trace["tools"])
    roles = [message["role"] for message in trace["messages"]]
    assert roles == ["user", *["assistant", "tool"] * 4, "assistant"]
    said = [sign(message.get("content")) for message in trace["messages"]]
    assert [n for n, _ in said] == [195, 0, 1546, 0, 4002, 0, 4002, 0, 6763, 1264]
    assert [digest for n, digest in said if n] == SAID_312
    calls = [c for m in trace["messages"] for c in m.get("tool_calls", ())]
    assert [c["name"] for c in calls] == ["web_browser_go", *["web_browser_click"] * 3]
    clicked = [next(iter(json.loads(c["arguments"]).values())) for c in calls[1:]]
    assert clicked == [151, 884, 903]
    results = [m for m in trace["messages"] if m["role"] == "tool"]
    assert [m["tool_call_id"] for m in results] == [c["id"] for c in calls]
    assert {m["name"] for m in results} == {"web_browser_go", "web_browser_click"}
    models = {json.loads(m["meta"])["model"] for m in trace["messages"] if m["role"] == "assistant"}
    assert models == {"gpt-4o-mini-2024-07-18"}
    assert trace.get("answer") is None
    assert not trace.get("outcomes")
    meta = json.loads(trace["meta"])
    assert (meta["task"], meta["epoch"]) == ("browser", 1)
    assert meta["scores"]["includes"]["vacuous"] is True


SAID_312 = [
    "dbf07edfd4e6",
    "6d231fcfbcff",
    "58d0ede37b7d",
    "58d0ede37b7d",
    "df0b1da6b56e",
    "dc754e6119ee",
]


def test_samples_of_a_cancelled_run_are_kept_and_one_of_results_alone_is_refused(
    traces_folder: Path, tmp_path: Path
) -> None:
    folder = traces_folder / "inspect-eval-log"
    name = "2025-05-12T20-28-13-04-00_popularity.json"
    kept = traces_of(folder, "inspect_log", name, tmp_path)
    assert len(kept) == 3
    assert {json.loads(t["meta"])["status"] for t in kept} == {"cancelled"}
    value = jsontext.parse((folder / "log_tool_call_error.json").read_bytes())
    found = outcome(dialects.get("inspect_log"), [Record("f", 0, value)])
    assert found["reject"] == "no_assistant_message"


def test_an_archive_and_its_document_give_the_same_messages(
    traces_folder: Path, tmp_path: Path
) -> None:
    folder = traces_folder / "inspect-eval-log"
    for stem in ("log_formats", "log_read_sample"):
        made = [
            traces_of(folder, "inspect_log", f"{stem}.{kind}", tmp_path / kind)
            for kind in ("eval", "json")
        ]
        said = [
            [[(m["role"], m.get("content")) for m in t["messages"]] for t in traces]
            for traces in made
        ]
        assert said[0] == said[1]
