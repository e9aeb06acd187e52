"""One record that kills, hangs or panics: it alone is named, its neighbours are what they were."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import tracekit
from tracekit import evidence, executors, text
from tracekit.recipe import Recipe

DIALECT = '''"""Pairs of question and answer; one of them is deadly."""

import os, signal, time
from tracekit import Dialect


def read(records, notes, options):
    (record,) = records
    if record.value["q"] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if record.value["q"] == "hang":
        time.sleep(600)
    if record.value["q"] == "panic":
        raise BaseException("a panic of compiled code")
    if record.value["q"] == "memory":
        raise MemoryError
    turns = ("user", record.value["q"]), ("assistant", record.value["a"])
    return [{"messages": [{"role": r, "content": c} for r, c in turns]}]


dialect = Dialect(name="deadly", version=1, unit="record", fits=lambda v: "q", read=read)
'''


def inputs(folder: Path, guilty: dict[int, str]) -> Recipe:
    (folder / "in").mkdir(parents=True)
    (folder / "deadly.py").write_text(DIALECT, "utf-8")
    lines = [{"q": guilty.get(i, f"question {i}"), "a": f"answer {i * i}"} for i in range(40)]
    text_ = "\n".join(map(json.dumps, lines)) + "\n"
    (folder / "in" / "a.jsonl").write_text(text_, "utf-8")
    sources = {"in": {"path": "in", "dialect": "deadly.py"}}
    return Recipe.from_dict({"sources": sources, "dedupe": False}, folder=folder)


def traces(folder: Path) -> dict[str, object]:
    rows = pq.read_table(next((folder / "work" / "traces").rglob("*.parquet"))).to_pylist()
    return {row["id"]: row for row in rows}


@pytest.mark.parametrize(
    ("kind", "code", "workers"),
    [
        ("kill", "worker_crash", "1"),
        ("hang", "timeout", "1"),
        ("panic", "dialect_failed", "0"),
        ("memory", "out_of_memory", "0"),
    ],
)
@pytest.mark.parametrize(
    "guilty", [17, *(pytest.param(row, marks=pytest.mark.slow) for row in (0, 39))]
)
def test_ingest_makes_exactly_the_guilty_record_a_reject(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, code: str, workers: str, guilty: int
) -> None:
    monkeypatch.setenv("TRACEKIT_WORKERS", workers)
    real = executors.run_processes

    def patient(*args: object, **options: object) -> object:
        return real(*args, **{**options, "hang_s": 3.0})  # type: ignore[arg-type]

    monkeypatch.setattr(executors, "run_processes", patient)
    tracekit.ingest(inputs(tmp_path / "bad", {guilty: kind}), tmp_path / "bad" / "work")
    monkeypatch.setenv("TRACEKIT_WORKERS", "0")
    tracekit.ingest(inputs(tmp_path / "good", {}), tmp_path / "good" / "work")
    good, bad = traces(tmp_path / "good"), traces(tmp_path / "bad")
    named = f"in:a.jsonl#{guilty}"
    assert bad == {k: v for k, v in good.items() if k != named}
    rejects = tracekit.open(tmp_path / "bad" / "work").rejects.collect()
    assert rejects.select("row", "code").rows() == [(guilty, code)]


def test_what_cannot_be_measured_is_unmeasurable_and_its_neighbours_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACEKIT_WORKERS", "0")
    recipe = inputs(tmp_path, {11: "panic in measuring"})
    real = text.measure

    def measure(rows: list[dict[str, object]]) -> object:
        if any("panic in measuring" in json.dumps(row) for row in rows):
            raise BaseException("a panic of compiled code")
        return real(rows)

    monkeypatch.setattr(evidence.text, "measure", measure)
    tracekit.run(recipe, work=tmp_path / "work", out=tmp_path / "shards")
    here = tracekit.open(tmp_path / "work")
    lost = here.ledger.filter(code="unmeasurable").collect()
    assert lost["id"].to_list() == ["in:a.jsonl#11"]
    assert "a panic of compiled code" in lost["detail"][0]
    manifest = json.loads((tmp_path / "shards" / "manifest.json").read_bytes())
    assert manifest["traces"] == 39
    assert manifest["reproducible"] == "not reproducible: 1 rows"
    assert here.evidence.collect()["n_tokens"].null_count() == 1
