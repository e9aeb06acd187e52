"""A workspace and shards that the first release of format 1 wrote still open, verify and shard."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tracekit
from golden import FOLDER
from tracekit import manifest as manifests
from tracekit.recipe import Recipe


@pytest.fixture
def golden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRACEKIT_WORKERS", "0")
    shutil.copytree(FOLDER, tmp_path / "golden")
    return tmp_path / "golden"


def test_it_verifies(golden: Path) -> None:
    assert not tracekit.verify(golden / "work").failed
    assert not tracekit.verify(golden / "shards").failed


def test_its_traces_are_read_with_what_they_say(golden: Path) -> None:
    work = tracekit.open(golden / "work")
    trace = work.trace("chat:a.jsonl#0")
    assert [m.role for m in trace.messages] == ["user", "assistant"]
    assert trace.messages[1].reasoning is not None
    assert work.rejects.collect().sort("row")["code"].to_list() == [
        "no_messages",
        "truncated_json",
    ]
    assert work.ledger.collect().height > 0


def test_it_is_decided_and_sharded_again_without_reading_its_inputs_anew(golden: Path) -> None:
    parts = {p: p.stat().st_mtime_ns for p in (golden / "work" / "traces").rglob("*.parquet")}
    recipe = Recipe.from_dict(
        json.loads((golden / "work" / "manifest.json").read_bytes())["recipe"],
        folder=golden / "work",
    )
    tracekit.run(recipe, work=golden / "work", out=golden / "again")
    assert {p: p.stat().st_mtime_ns for p in parts} == parts
    old, new = (
        json.loads((golden / name / "manifest.json").read_bytes()) for name in ("shards", "again")
    )
    assert old["traces"] == new["traces"]
    assert old["n_tokens"] == new["n_tokens"]
    before, after = (
        pa.concat_tables([pq.read_table(golden / name / s["file"]) for s in value["shards"]])
        for name, value in (("shards", old), ("again", new))
    )
    # The line break after an end token is no target any more: one token less an assistant message.
    assert before.drop_columns("n_target_tokens").equals(after.drop_columns("n_target_tokens"))
    n_fewer = [sum(json.loads(m)["role"] == "assistant" for m in row)
               for row in after.column("messages").to_pylist()]  # fmt: skip
    assert before.column("n_target_tokens").to_pylist() == [
        a + b for a, b in zip(after.column("n_target_tokens").to_pylist(), n_fewer, strict=True)
    ]


def test_the_golden_format_is_the_one_that_is_written() -> None:
    value = json.loads((FOLDER / "work" / "manifest.json").read_bytes())
    assert value["format"] == manifests.FORMAT
