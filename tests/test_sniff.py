"""Sniff: container, dialect and reason, sizes, odd files and benchmarks, from little of a file."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tracekit
from tracekit import glimpse as glimpses
from tracekit.benchmarks import benchmark_of
from tracekit.cli import run
from tracekit.errors import InputError
from tracekit.glimpse import glimpse
from tracekit.jsonheads import head_value
from tracekit.sniffing import look

CHAT = {"messages": [{"role": "user", "content": "9*4?"}, {"role": "assistant", "content": "36"}]}


def jsonl(*values: Any) -> str:
    return "".join(json.dumps(value) + "\n" for value in values)


def one(path: Path) -> Any:
    (found,), _ = look([str(path)])
    return found


def group(path: Path) -> dict[str, Any]:
    (found,) = tracekit.sniff([str(path)]).data["groups"]
    return found


# Containers and counts.


def test_small_files_are_counted_exactly_in_every_container(tmp_path: Path) -> None:
    text = jsonl(*[{"id": k, **CHAT} for k in range(40)])
    (tmp_path / "a.jsonl").write_text(text, "utf-8")
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "c.json").write_text(json.dumps([CHAT] * 40, indent=1), "utf-8")
    (tmp_path / "d.json").write_text(json.dumps({f"r{k}": CHAT for k in range(40)}), "utf-8")
    (tmp_path / "e.json").write_text(json.dumps(CHAT, indent=1), "utf-8")
    rows = [{"messages": CHAT["messages"], "n": k} for k in range(40)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "f.parquet")
    (tmp_path / "g.json").write_text(text.replace("\n", "\n\n"), "utf-8")
    files, skipped = look([str(tmp_path)])
    assert not skipped
    assert [(f.name, f.container, f.n_records) for f in files] == [
        ("a.jsonl", "jsonl", 40),
        ("b.jsonl.gz", "jsonl, gzip", 40),
        ("c.json", "json array", 40),
        ("d.json", "json object", 40),
        ("e.json", "json", 1),
        ("f.parquet", "parquet", 40),
        ("g.json", "jsonl", 40),
    ]
    assert all(f.exact and f.dialect == "openai" and f.share == 1.0 for f in files)
    examples = [f.example for f in files]
    assert examples == [
        "a.jsonl:1", "b.jsonl.gz:1", "c.json[0]", "d.json[0]", "e.json", "f.parquet[0]", "g.json:1",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.jsonl.gz"])
def test_a_large_file_is_estimated_from_its_head_middle_and_tail(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(glimpses, "HEAD_BYTES", 1 << 16)
    monkeypatch.setattr(glimpses, "PIECE_BYTES", 1 << 14)
    said = ["yes " * (1 + k % 7) for k in range(20_000)]
    values = [
        {"messages": [*CHAT["messages"][:1], {"role": "assistant", "content": s}]} for s in said
    ]
    text = json.dumps(values) if name == "a.json" else jsonl(*values)
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
    read: list[int] = []
    kept = glimpses.read_source

    def counted(file: Any, size: int) -> bytes:
        chunk = kept(file, size)
        read.append(len(chunk))
        return chunk

    monkeypatch.setattr(glimpses, "read_source", counted)
    found = one(path)
    assert (found.dialect, found.exact) == ("openai", False)
    assert 0.95 < found.n_records / 20_000 < 1.05
    if name != "a.jsonl.gz":
        assert sum(read) < 5 * (1 << 16)


def test_what_is_broken_in_the_middle_of_a_file_or_at_its_end_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(glimpses, "HEAD_BYTES", 1 << 16)
    text = jsonl(*[CHAT] * 5000)
    (tmp_path / "cut.jsonl").write_text(text[:-20], "utf-8")
    (tmp_path / "cut.json").write_text(json.dumps([CHAT] * 5000)[:-30], "utf-8")
    report = tracekit.sniff([str(tmp_path)])
    told = {Path(b["file"]).name: b["why"] for b in report.data["broken"]}
    assert told["cut.jsonl"].startswith("the last line: truncated_json")
    assert told["cut.json"] == "truncated_json: the document ends before its last bracket"


def test_a_record_longer_than_the_head_is_recognised_by_its_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(glimpses, "HEAD_BYTES", 1 << 12)
    long = {"messages": [{"role": "user", "content": "9*4? " * 5000}, CHAT["messages"][1]]}
    (tmp_path / "one.json").write_text(json.dumps(long), "utf-8")
    (tmp_path / "lines.jsonl").write_text(jsonl(long, CHAT), "utf-8")
    (tmp_path / "array.json").write_text(json.dumps([long, CHAT]), "utf-8")
    files, _ = look([str(tmp_path)])
    assert {f.name: (f.container, f.dialect) for f in files} == {
        "array.json": ("json array", "openai"),
        "lines.jsonl": ("jsonl", "openai"),
        "one.json": ("json", "openai"),
    }


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=6),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
        max_leaves=10,
    ),
    st.floats(0, 1),
    st.booleans(),
)
def test_any_beginning_of_a_document_is_a_beginning_of_its_value(
    value: Any, share: float, ascii_only: bool
) -> None:
    text = json.dumps({"k": value}, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    cut = head_value(text[: 1 + round(share * (len(text) - 1))])
    assert cut is None or _begins({"k": value}, cut)
    if share == 1.0:
        assert cut == {"k": value}


def _begins(whole: Any, part: Any) -> bool:
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(_begins(whole.get(k), v) for k, v in part.items())
    if isinstance(part, list):
        return isinstance(whole, list) and all(map(_begins, whole, part))
    if isinstance(part, str):
        return isinstance(whole, str) and whole.startswith(part)
    return whole == part or str(whole).startswith(str(part))


# Odd files.


def test_odd_files_are_named_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "good.jsonl").write_text(jsonl(CHAT), "utf-8")
    (tmp_path / "empty.jsonl").write_text("", "utf-8")
    (tmp_path / "broken.jsonl").write_text('{"a": \n{"b": \n', "utf-8")
    (tmp_path / "strange.jsonl").write_text(jsonl({"x": 1, "y": 2}), "utf-8")
    mixed = jsonl(CHAT, {"instruction": "9*4?", "output": "36"})
    (tmp_path / "mixed.jsonl").write_text(mixed, "utf-8")
    (tmp_path / "few.jsonl").write_text(jsonl(CHAT, {"x": 1}, {"x": 2}), "utf-8")
    (tmp_path / "prices.csv").write_text("a,b\n1,2\n", "utf-8")
    (tmp_path / "notes.md").write_text("# notes\n", "utf-8")
    report = tracekit.sniff([str(tmp_path)])
    odd = {Path(entry["file"]).name: entry["why"] for entry in report.data["odd"]}
    assert odd.pop("broken.jsonl").startswith("broken: truncated_json")
    assert odd == {
        "empty.jsonl": "empty: no record",
        "few.jsonl": "openai fits only 33% of 3 records (messages with role)",
        "mixed.jsonl": "more than one dialect fits: alpaca (instruction and output, 50%); "
        "openai (messages with role, 50%)",
        "strange.jsonl": "no dialect fits (first record: keys x, y)",
    }
    left = {Path(entry["file"]).name for entry in report.data["left_out"]}
    assert left == {"notes.md", "prices.csv"}
    assert report.law[0].startswith("1 of 6 files recognised")


def test_a_few_records_of_another_dialect_are_told_and_the_file_is_of_the_first(
    tmp_path: Path,
) -> None:
    other = {"instruction": "9*4?", "output": "36"}
    (tmp_path / "a.jsonl").write_text(jsonl(*[CHAT] * 19, other), "utf-8")
    (found,), _ = look([str(tmp_path)])
    assert (found.dialect, found.share) == ("openai", 0.95)
    assert found.problems == (
        "about 5% of the records are of alpaca (instruction and output): rejects under openai",
    )


def test_a_folder_that_does_not_exist_is_an_error_of_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        tracekit.sniff([str(tmp_path / "nowhere")])


def test_how_sure_it_is_counts_the_records_that_do_not_fit(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(jsonl(*[CHAT] * 9, {"x": 1}), "utf-8")
    assert group(tmp_path)["sure"] == "9 of 10"


# Benchmarks.


@pytest.mark.parametrize(
    ("path", "value", "name"),
    [
        ("a.json", {"id": "live_simple_3-1-0", "question": [], "function": []}, "BFCL"),
        ("a.json", {"id": "multi_turn_base_0", "ground_truth": []}, "BFCL"),
        ("a.json", {"id": "simple_talk", "messages": []}, None),
        ("t/a.json", {"task_id": 1, "trial": 0, "reward": 1, "traj": []}, "tau-bench"),
        ("gsm8k/test.jsonl", {"question": "q", "answer": "#### 4"}, "GSM8K test"),
        ("gsm8k/train.jsonl", {"question": "q", "answer": "#### 4"}, None),
        ("a.json", {"problem": "p", "year": 1983, "aime_number": 1}, "AIME"),
        ("a.json", {"task_id": "HumanEval/12", "prompt": "p"}, "HumanEval"),
        ("a.json", {"question_ID": "q", "mistake_agent": "a", "mistake_step": "1"}, "Who&When"),
        ("a.json", {"question_id": 3, "prompt": "p", "actual_answer": "I"}, "MMLU-Pro"),
        ("a.json", {"question_id": 3, "prompt": "p", "actual_answer": "C"}, None),
        ("a.json", {"instance_id": "django__django-11099", "patch": ""}, "SWE-bench"),
        ("a.json", {"instance_id": "tobymao__sqlglot-3089", "patch": ""}, None),
        ("a.json", {"member": "m.json", "value": {"eval": {"task": 1, "dataset": 2}}}, "an eval"),
        ("swe-bench/a.json", {"instruction": "i", "output": "o"}, "SWE-bench"),
        ("hammer_sealtool.json", {"query": "q", "tools": [], "answers": []}, "Seal-Tools"),
        ("tooleval_x.json", {"query": "q"}, "ToolEval"),
        ("mbpp-py.jsonl", {"prompt": "p", "test": "t", "entry_point": "f"}, "MBPP"),
        ("a.json", {"prompt": "p", "test": "t", "entry_point": "f"}, None),
        ("a.json", {"instruction": "i", "output": "o"}, None),
    ],
)
def test_a_benchmark_is_told_by_ids_and_keys(path: str, value: Any, name: str | None) -> None:
    found = benchmark_of(path, [value])
    assert found is None if name is None else found is not None and found[0].startswith(name)


def test_a_few_ids_of_a_benchmark_do_not_make_a_set_one() -> None:
    task = {"task_id": "HumanEval/12", "prompt": "p"}
    assert benchmark_of("a.json", [task, CHAT, CHAT]) is None


def test_the_header_of_an_archive_makes_all_of_it_an_evaluation_log() -> None:
    header = {"member": "header.json", "value": {"eval": {"task": "t", "dataset": {}}}}
    samples = [{"member": f"samples/{k}.json", "value": {"id": k}} for k in range(9)]
    found = benchmark_of("a.eval", [header, *samples])
    assert found is not None
    assert found[0] == "an evaluation log of Inspect"


def test_benchmarks_are_said_aloud(tmp_path: Path) -> None:
    (tmp_path / "gsm8k").mkdir()
    problem = {"question": "9*4?", "answer": "<<9*4=36>>36\n#### 36"}
    (tmp_path / "gsm8k" / "test.jsonl").write_text(jsonl(problem), "utf-8")
    report = tracekit.sniff([str(tmp_path)])
    assert any(
        "gsm8k looks like GSM8K test" in note and "eval-only" in note for note in report.notes
    )


# Showing, and the command.


def test_show_prints_the_parsed_trace_beside_its_raw_record(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    text = "<think>Nine fours.</think>36"
    path.write_text(
        jsonl({"messages": [CHAT["messages"][0], {"role": "assistant", "content": text}]})
    )
    raw, parsed = tracekit.sniff([str(path)], n_shown=1).text
    assert '"<think>Nine fours.</think>36"' in raw
    assert "think  Nine fours." in parsed
    assert "1 x think_tags_split" in parsed


def test_show_takes_whole_sessions_and_says_why_a_record_is_refused(tmp_path: Path) -> None:
    lines = Path(__file__).parent / "data" / "dialects" / "claude_code.jsonl"
    (tmp_path / "s.jsonl").write_bytes(lines.read_bytes())
    raw, parsed = tracekit.sniff([str(tmp_path / "s.jsonl")], n_shown=1).text
    assert "more records of this unit" in raw
    assert "assistant" in parsed
    bad = {"messages": [{"role": "user", "content": "alone"}]}
    (tmp_path / "b.jsonl").write_text(jsonl(bad), "utf-8")
    _, refused = tracekit.sniff([str(tmp_path / "b.jsonl")], n_shown=1).text
    assert "REJECT no_assistant_message" in refused


@pytest.mark.parametrize("form", ["human", "json", "tsv"])
def test_the_command_prints_every_form(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    (tmp_path / "a.jsonl").write_text(jsonl(CHAT), "utf-8")
    assert run(["sniff", str(tmp_path), "--show", "--format", form]) == 0
    printed = capsys.readouterr()
    assert "messages with role" in printed.out
    assert "tracekit init" in printed.err
    if form == "json":
        assert json.loads(printed.out)["groups"][0]["dialect"] == "openai"


def test_sniff_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jsonl").write_text(jsonl(CHAT), "utf-8")
    assert run(["sniff", "a.jsonl", "--show", "-q"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_container_of_a_compressed_table_is_read_whole(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([{"instruction": "9*4?", "output": "36"}]), tmp_path / "t")
    path = tmp_path / "t.parquet.gz"
    path.write_bytes(gzip.compress((tmp_path / "t").read_bytes()))
    seen = glimpse(path, 4, lambda value: False)
    assert (seen.container, seen.n_records, seen.exact) == ("parquet, gzip", 1, True)


# Real files.


def test_every_real_file_is_recognised_and_its_benchmarks_are_told(traces_folder: Path) -> None:
    report = tracekit.sniff([str(traces_folder)])
    assert not report.data["odd"]
    told = {(g["folder"], g["benchmark"]) for g in report.data["groups"] if g["benchmark"]}
    assert told >= {
        ("bfcl", "BFCL"),
        ("tau-bench", "tau-bench"),
        ("who-and-when-multiagent", "Who&When (questions of GAIA)"),
        ("model-outputs-with-defects", "MMLU-Pro"),
        ("gsm8k", "GSM8K test"),
        ("tool-integrated-math", "GSM8K test"),
        ("math-solutions", "AIME"),
        ("swe-agent-traj", "HumanEvalFix"),
    }
    trained = {g["folder"] for g in report.data["groups"] if not g["benchmark"]}
    assert trained >= {"gsm8k", "alpaca", "codex-rollout", "swe-smith-messages"}
    estimated = [g["folder"] for g in report.data["groups"] if g["counted"] == "about"]
    assert set(estimated) <= {"tau-bench", "codex-rollout"}  # the two that are above a mebibyte
