"""Reading again: after a dialect is mended, `--replace` says which traces that changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tracekit
from tracekit import dialects, manifest, rereading
from tracekit.recipe import Recipe
from tracekit.rereading import Reading
from tracekit.workspace import Workspace

DIALECT = """
from tracekit.codes import Code
from tracekit.dialects import Dialect
from tracekit.errors import BadRecord

def fits(value):
    return "a dialog" if isinstance(value, dict) and "dialog" in value else ""

def read(records, notes, options):
    value = records[0].value
    if REFUSES(value):
        raise BadRecord("refused", "")
    asked, said = value["dialog"]
    messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": SAYS(said)}]
    return [{"messages": messages, "model": MODEL}]

dialect = Dialect(name="mine", version=1, unit="record", fits=fits, read=read,
                  codes=(Code(name="refused", kind="reject", what="The record is refused."),))
"""
BEFORE = "REFUSES = lambda v: v['n'] == 3\nSAYS = lambda s: s\nMODEL = None\n"


def recipe(folder: Path, rules: str, *, records: range = range(5)) -> Recipe:
    lines = [
        json.dumps({"n": n, "dialog": [f"What is {n}+1?", f"It is {n + 1}."]}) for n in records
    ]
    (folder / "a.jsonl").write_text("\n".join(lines), "utf-8")
    (folder / "mine.py").write_text(DIALECT + rules, "utf-8")
    return Recipe.from_dict(
        {"sources": {"d": {"path": "a.jsonl", "dialect": "mine.py"}}}, folder=folder
    )


def changes(folder: Path, rules: str, **more: range) -> dict[str, tuple[int, str]]:
    report = tracekit.ingest(recipe(folder, rules, **more), folder / "work", replace=True)
    return {row["traces"]: (row["n"], row["examples"]) for row in report.data["changes"]}


def test_a_mended_dialect_file_is_read_again_and_each_kind_of_change_is_counted(
    tmp_path: Path,
) -> None:
    first = tracekit.ingest(recipe(tmp_path, BEFORE), tmp_path / "work")
    assert "changes" not in first.data
    mended = (
        "REFUSES = lambda v: v['n'] == 4\nSAYS = lambda s: s.replace('2', 'two')\nMODEL = None\n"
    )
    assert changes(tmp_path, mended) == {
        "added": (1, "d:a.jsonl#3"),
        "removed": (1, "d:a.jsonl#4"),
        "changed": (1, "d:a.jsonl#1"),
        "described anew": (0, ""),
        "the same": (2, ""),
    }


def test_another_model_is_the_same_content_described_anew(tmp_path: Path) -> None:
    tracekit.ingest(recipe(tmp_path, BEFORE), tmp_path / "work")
    found = changes(tmp_path, BEFORE.replace("MODEL = None", "MODEL = 'm'"))
    assert found["described anew"] == (4, "d:a.jsonl#0, d:a.jsonl#1, d:a.jsonl#2")
    assert found["changed"] == found["added"] == (0, "")


def test_without_replace_a_mended_dialect_changes_nothing(tmp_path: Path) -> None:
    tracekit.ingest(recipe(tmp_path, BEFORE), tmp_path / "work")
    before = manifest.load(Workspace(tmp_path / "work"))
    tracekit.ingest(recipe(tmp_path, BEFORE + "SAYS = str.upper\n"), tmp_path / "work")
    assert manifest.load(Workspace(tmp_path / "work")).batches == before.batches


def test_unchanged_parts_are_not_made_anew(tmp_path: Path) -> None:
    tracekit.ingest(recipe(tmp_path, BEFORE), tmp_path / "work")
    work = Workspace(tmp_path / "work")
    path = work.file("traces", "d", "000-00000")
    made = path.stat().st_mtime_ns
    assert changes(tmp_path, BEFORE)["the same"] == (4, "")
    assert path.stat().st_mtime_ns == made


def test_two_batches_become_one_and_leave_no_table_behind(tmp_path: Path) -> None:
    one = recipe(tmp_path, BEFORE)
    tracekit.ingest(one, tmp_path / "work")
    (tmp_path / "b.jsonl").write_bytes((tmp_path / "a.jsonl").read_bytes())
    both = one.edited({"sources": {"d": {"path": ["a.jsonl", "b.jsonl"], "dialect": "mine.py"}}})
    tracekit.ingest(both, tmp_path / "work")
    traces = tmp_path / "work" / "traces" / "d"
    assert len(list(traces.iterdir())) == 2
    tracekit.ingest(both, tmp_path / "work", replace=True)
    assert [path.name for path in traces.iterdir()] == ["000-00000.parquet"]
    assert not tracekit.verify(tmp_path / "work").failed


def test_a_damaged_part_of_before_is_told_and_its_traces_count_as_added(tmp_path: Path) -> None:
    tracekit.ingest(recipe(tmp_path, BEFORE), tmp_path / "work")
    path = Workspace(tmp_path / "work").file("traces", "d", "000-00000")
    path.write_bytes(path.read_bytes()[:-9])
    report = tracekit.ingest(recipe(tmp_path, BEFORE), tmp_path / "work", replace=True)
    assert any("1 parts of before could not be read" in note for note in report.notes)
    assert report.data["changes"][0] == {
        "traces": "added",
        "n": 4,
        "examples": "d:a.jsonl#0, d:a.jsonl#1, d:a.jsonl#2",
    }


def test_an_older_version_of_a_dialect_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jsonl").write_text('{"instruction": "What is 1+1?", "output": "2"}\n', "utf-8")
    given = Recipe.from_dict({"sources": {"d": {"path": "a.jsonl"}}}, folder=tmp_path)
    tracekit.ingest(given, tmp_path / "work")
    from dataclasses import replace

    from tracekit.dialects import alpaca

    monkeypatch.setattr(alpaca, "dialect", replace(alpaca.dialect, version=99))
    report = tracekit.ingest(given, tmp_path / "work")
    assert dialects.get("alpaca").version == 99
    assert any("this is version 99: --replace reads it again" in note for note in report.notes)


def test_readings_are_compared_by_id_and_by_both_hashes() -> None:
    old = Reading({"a": ("1", "x"), "b": ("2", "x"), "c": ("3", "x"), "e": ("5", "x")})
    new = Reading({"b": ("9", "x"), "c": ("3", "y"), "d": ("4", "x"), "e": ("5", "x")})
    found = rereading.compare(old, new)
    assert (found.added, found.removed) == (("d",), ("a",))
    assert (found.changed, found.described, found.n_same) == (("b",), ("c",), 1)
