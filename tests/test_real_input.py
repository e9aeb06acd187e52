"""What real files taught: judgements on them that must not come back wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import tracekit
from test_claude_code import call, line, read, result, said, text
from tracekit.dialects import Notes, Record, streams
from tracekit.recipe import Recipe

FLAT = """\
from tracekit.dialects.dialect import Dialect

def fits(value):
    return "a question with functions" if "question" in value and "function" in value else ""

def read(records, notes, options):
    value = records[0].value
    turn = value["question"][0]
    messages = [{"role": m["role"], "content": m["content"]} for m in turn]
    calls = [{"id": f"c{k}", "name": f["name"], "arguments": "{}"}
             for k, f in enumerate(value["function"][:1])]
    return [{"messages": [*messages, {"role": "assistant", "content": None, "tool_calls": calls}]}]

dialect = Dialect(name="flat", version=1, unit="record", fits=fits, read=read)
"""


def drops(work: Path, *codes: str) -> pl.DataFrame:
    ledger = tracekit.open(work).ledger.collect()
    return ledger.filter((pl.col("action") == "drop") & pl.col("code").is_in(codes))


def chunk(**delta: Any) -> str:
    return "data: " + json.dumps({"choices": [{"index": 0, "delta": delta}]}) + "\n\n"


def part(**function: Any) -> str:
    return chunk(tool_calls=[{"index": 0, "id": "0", "function": function}])


def streamed_call(*parts: str) -> dict[str, Any]:
    reply = streams.openai_reply("".join(parts) + "data: [DONE]\n")
    (found,) = reply["choices"][0]["message"]["tool_calls"]
    return dict(found["function"])


def test_a_name_that_a_provider_sends_with_each_piece_is_said_once() -> None:
    pieces = [part(name="look_up", arguments=a) for a in ("", '{"k"', ": 1}")]
    assert streamed_call(*pieces) == {"name": "look_up", "arguments": '{"k": 1}'}


def test_a_name_in_pieces_is_joined() -> None:
    pieces = [part(name="look", arguments=""), part(name="_up", arguments="{}")]
    assert streamed_call(*pieces) == {"name": "look_up", "arguments": "{}"}


def test_a_streamed_call_without_arguments_has_none_and_not_an_empty_text() -> None:
    assert streamed_call(part(name="now", arguments=None))["arguments"] is None


def test_a_log_in_which_no_line_names_a_parent_is_read_in_the_order_of_the_file() -> None:
    values = [
        line("user", "u1", None, text("first")),
        line("assistant", "a1", None, text("one"), call("c1"), message={"id": "m1"}),
        line("user", "u2", None, result("c1", "done")),
        line("assistant", "a2", None, text("two"), message={"id": "m2"}),
    ]
    (trace,), notes = read(values)
    assert said(trace) == ["first", "one", "done", "two"]
    assert notes.repairs["parent_missing"] == 2


def test_one_line_with_a_parent_makes_null_a_root_again() -> None:
    values = [
        line("user", "u1", None, text("first")),
        line("assistant", "a1", "u1", text("one"), message={"id": "m1"}),
        line("user", "u2", None, text("anew")),
        line("assistant", "a2", "u2", text("two"), message={"id": "m2"}),
    ]
    traces, _ = read(values)
    assert [said(t) for t in traces] == [["first", "one"], ["anew", "two"]]


def of_files(**files: list[Any]) -> tuple[list[dict[str, Any]], Notes]:
    from tracekit import dialects

    notes = Notes()
    records = [Record(f, k, v) for f, values in files.items() for k, v in enumerate(values)]
    return dialects.get("claude_code").read(records, notes, {}), notes


def talk(name: str) -> list[Any]:
    return [
        line("user", "u1", None, text(f"ask {name}")),
        line("assistant", "a1", "u1", text(f"see {name}"), call("c1"), message={"id": "m1"}),
        line("user", "u2", "a1", result("c1", f"got {name}")),
        line("assistant", "a2", "u2", text(f"say {name}"), message={"id": "m2"}),
    ]


def test_files_of_one_session_that_use_the_same_names_do_not_mix() -> None:
    traces, notes = of_files(a=talk("a"), b=talk("b"))
    assert [said(t) for t in traces] == [
        [f"ask {n}", f"see {n}", f"got {n}", f"say {n}"] for n in "ab"
    ]
    assert not notes.rejects


def test_a_resumed_copy_that_spells_a_text_as_a_block_is_a_copy() -> None:
    first = [
        line("user", "u1", None, text("hello")),
        line("assistant", "a1", "u1", text("hi"), message={"id": "m1"}),
    ]
    first[0]["message"]["content"] = "hello"
    copied = [
        line("user", "u1", None, text("hello")),
        line("user", "u2", "a1", text("more")),
        line("assistant", "a2", "u2", text("done"), message={"id": "m2"}),
    ]
    (trace,), notes = of_files(a=first, b=copied)
    assert said(trace) == ["hello", "hi", "more", "done"]
    assert ("b", 0) in trace["rows"]
    assert not notes.rejects


def run(tmp_path: Path, sources: dict[str, Any]) -> Path:
    recipe = Recipe.from_dict({"sources": sources})
    tracekit.run(recipe, work=tmp_path / "work", out=tmp_path / "shards")
    return tmp_path / "work"


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACEKIT_WORKERS", "0")


def test_one_long_policy_with_45_short_verdicts_loses_none(
    traces_folder: Path, tmp_path: Path, inline: None
) -> None:
    work = run(tmp_path, {"s": {"path": str(traces_folder / "gpt-oss-request-logs")}})
    kept = tracekit.open(work).decided()[1].traces["kept"]
    assert (kept.len(), int(kept.sum())) == (45, 45)


def test_shared_functions_merge_at_most_8_of_258_different_questions(
    traces_folder: Path, tmp_path: Path, inline: None
) -> None:
    (tmp_path / "flat.py").write_text(FLAT, "utf-8")
    source = {
        "path": str(traces_folder / "bfcl" / "BFCL_v4_live_simple.json"),
        "dialect": str(tmp_path / "flat.py"),
    }
    work = run(tmp_path, {"b": source})
    assert tracekit.open(work).decided()[1].traces.height == 258
    assert drops(work, "near_duplicate", "exact_duplicate").height <= 8


def test_worked_answers_that_end_on_a_dollar_amount_are_kept(
    traces_folder: Path, tmp_path: Path, inline: None
) -> None:
    path = traces_folder / "gsm8k" / "train.head1000.jsonl"
    work = run(tmp_path, {"g": {"path": str(path)}})
    kept = tracekit.open(work).decided()[1].traces["kept"]
    assert (kept.len(), int(kept.sum())) == (1000, 1000)


def test_runs_with_repeated_ids_and_refusals_by_policy_are_kept(
    traces_folder: Path, tmp_path: Path, inline: None
) -> None:
    path = traces_folder / "tau-bench" / "gpt-4o-airline.head.json"
    work = run(tmp_path, {"t": {"path": str(path)}})
    opened = tracekit.open(work)
    assert opened.decided()[1].traces["kept"].all()
    found = set(opened.findings.collect()["code"])
    assert not found & {"call_without_result", "result_without_call", "unknown_tool"}
