"""Workers that die, hang or starve on one record, in whole runs: that record alone is named."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import tracekit
from killed import contents

DIALECT = '''"""Pairs of question and answer, one of which may be deadly for who reads it."""

import ctypes, os, signal, time
from tracekit import Dialect


def read(records, notes, options):
    (record,) = records
    asked = record.value["q"]
    if asked == "read: kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if asked == "read: segfault":
        ctypes.string_at(0)
    if asked == "read: exit":
        os._exit(3)
    if asked == "read: panic":
        raise BaseException("a panic of compiled code")
    if asked == "read: hang":
        time.sleep(600)
    if asked == "read: memory":
        bytearray(1 << 40)
    turns = ("user", asked), ("assistant", record.value["a"])
    return [{"messages": [{"role": r, "content": c} for r, c in turns]}]


dialect = Dialect(name="deadly", version=1, unit="record", fits=lambda v: "q", read=read)
'''

HOOK = '''"""Loaded by every Python of a test: measuring may be deadly, patience is short."""

import ctypes, os, signal, sys, time


def install():
    from tracekit import executors, sharding, text

    for function in (executors.run_jobs, executors.run_processes):
        function.__kwdefaults__["hang_s"] = 4.0
        limit = os.environ.get("DEADLY_MEMORY")
        function.__kwdefaults__["memory_bytes"] = int(limit) if limit else None
    measure, gather = text.measure, sharding.gather_shard

    def deadly(rows):
        for row in rows:
            asked = row["messages"][0]["content"]
            if asked == "measure: kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if asked == "measure: segfault":
                ctypes.string_at(0)
            if asked == "measure: panic":
                raise BaseException("a panic of compiled code")
            if asked == "measure: hang":
                time.sleep(600)
            if asked == "measure: memory":
                bytearray(1 << 40)
        return measure(rows)

    text.measure = deadly


if os.environ.get("DEADLY") == "1":
    install()
'''

N_RECORDS = 24
CAUSES = {
    "kill": "worker_crash",
    "segfault": "worker_crash",
    "exit": "worker_crash",
    "hang": "timeout",
    "memory": "out_of_memory",
}


def inputs(folder: Path, guilty: dict[int, str]) -> Path:
    """Records of which some are guilty of what they ask; returns the recipe."""
    (folder / "in").mkdir(parents=True)
    (folder / "deadly.py").write_text(DIALECT, "utf-8")
    lines = [
        {"q": guilty.get(i, f"question {i} of {i * 7}"), "a": f"answer {i * i} " * 9}
        for i in range(N_RECORDS)
    ]
    (folder / "in" / "a.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n", "utf-8")
    sources = {"in": {"path": "in", "dialect": "deadly.py"}}
    (folder / "recipe.yaml").write_text(json.dumps({"version": 1, "sources": sources}), "utf-8")
    return folder / "recipe.yaml"


def run(folder: Path, guilty: dict[int, str], workers: int, memory: str = "") -> dict[str, Any]:
    """A run in a process of its own; the manifest of its shards."""
    recipe = inputs(folder, guilty)
    (folder / "hook").mkdir()
    (folder / "hook" / "sitecustomize.py").write_text(HOOK, "utf-8")
    env = {
        **os.environ,
        "TRACEKIT_WORKERS": str(workers),
        "PYTHONPATH": os.pathsep.join(
            [str(folder / "hook"), *filter(None, [os.environ.get("PYTHONPATH")])]
        ),
        "DEADLY": "1",
        "DEADLY_MEMORY": memory,
    }
    words = [sys.executable, "-m", "tracekit", "run", str(recipe), "-w", str(folder / "work")]
    done = subprocess.run(
        [*words, "--out", str(folder / "shards")],
        capture_output=True, text=True, env=env, timeout=110, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not tracekit.verify(folder / "work").failed
    assert not tracekit.verify(folder / "shards").failed
    found: dict[str, Any] = json.loads((folder / "shards" / "manifest.json").read_bytes())
    return found


def table(folder: Path, thing: str) -> list[dict[str, Any]]:
    files = sorted((folder / "work" / thing).rglob("*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in which nobody is guilty."""
    folder = tmp_path_factory.mktemp("good")
    manifest = run(folder, {}, workers=0)
    assert manifest["traces"] == N_RECORDS
    return folder


def cases(kinds: list[str], quick: tuple[str, int] | None = None) -> list[Any]:
    """Each kind on the first, a middle and the last record; most of them for a night."""
    found = []
    for kind in kinds:
        for row in (0, N_RECORDS // 2, N_RECORDS - 1):
            soon = kind == "kill" or row == N_RECORDS // 2
            mark = pytest.mark.slow if soon else pytest.mark.night
            found.append(pytest.param(kind, row, marks=[] if (kind, row) == quick else mark))
    return found


@pytest.mark.parametrize(("kind", "row"), cases(["kill", "segfault", "exit", "hang", "memory"]))
def test_a_record_that_ends_its_reader_is_the_one_reject(
    good: Path, tmp_path: Path, kind: str, row: int
) -> None:
    memory = str(6 << 30) if kind == "memory" else ""
    manifest = run(tmp_path, {row: f"read: {kind}"}, workers=2, memory=memory)
    named = f"in:a.jsonl#{row}"
    assert [(r["row"], r["code"]) for r in table(tmp_path, "rejects")] == [(row, CAUSES[kind])]
    assert table(tmp_path, "traces") == [t for t in table(good, "traces") if t["id"] != named]
    rest = [e for e in table(good, "evidence/text") if e["id"] != named]
    assert table(tmp_path, "evidence/text") == rest
    assert manifest["traces"] == N_RECORDS - 1
    assert manifest["reproducible"] == "not reproducible: 1 rows"


@pytest.mark.parametrize(
    ("kind", "row"), cases(["kill", "segfault", "panic", "hang", "memory"], ("kill", 23))
)
def test_a_trace_that_ends_who_measures_it_is_unmeasurable_and_no_other_is(
    good: Path, tmp_path: Path, kind: str, row: int
) -> None:
    memory = str(6 << 30) if kind == "memory" else ""
    manifest = run(tmp_path, {row: f"measure: {kind}"}, workers=2, memory=memory)
    named = f"in:a.jsonl#{row}"
    lost = tracekit.open(tmp_path / "work").ledger.filter(code="unmeasurable").collect()
    assert lost["id"].to_list() == [named]
    assert (CAUSES | {"panic": "a panic of compiled code"})[kind] in lost["detail"][0]
    assert len(table(tmp_path, "traces")) == N_RECORDS
    for family in ("text", "tokens", "sketch"):
        ours, theirs = (table(f, f"evidence/{family}") for f in (tmp_path, good))
        assert [e for i, e in enumerate(ours) if i != row] == [
            e for i, e in enumerate(theirs) if i != row
        ]
        known = {"id", "source", "source_id", "session_id", "task_key", "model"}
        assert {v for k, v in ours[row].items() if k not in known} == {None}
    assert manifest["traces"] == N_RECORDS - 1
    assert manifest["reproducible"] == "not reproducible: 1 rows"


@pytest.mark.slow
def test_several_guilty_records_of_both_kinds_are_all_named_in_one_run(tmp_path: Path) -> None:
    guilty = {
        2: "read: kill", 3: "read: segfault", 17: "read: exit",
        4: "measure: segfault", 22: "measure: kill", 23: "measure: panic",
    }  # fmt: skip
    manifest = run(tmp_path, guilty, workers=2)
    assert sorted(r["row"] for r in table(tmp_path, "rejects")) == [2, 3, 17]
    lost = tracekit.open(tmp_path / "work").ledger.filter(code="unmeasurable").collect()
    assert sorted(lost["id"].to_list()) == [f"in:a.jsonl#{n}" for n in (22, 23, 4)]
    assert manifest["traces"] == N_RECORDS - 6


KILL_ONCE = """
import os, signal
from pathlib import Path
if os.environ.get("DEADLY") == "1":
    from tracekit import evidence, ingesting, measuring, sharding

    def once(name, real):
        def function(job, trouble, note):
            mark = Path(os.environ["KILL_MARKS"]) / name
            if not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return real(job, trouble, note)
        function.__module__, function.__qualname__ = real.__module__, real.__qualname__
        return function

    for module, name in (
        (ingesting, "ingest_part"), (evidence, "measure_part"), (measuring, "spill_shingles"),
        (sharding, "scatter_part"), (sharding, "gather_shard"),
    ):
        setattr(module, name, once(name, getattr(module, name)))
    from tracekit import reading
    reading.ingest_part, measuring.measure_part = ingesting.ingest_part, evidence.measure_part
"""


@pytest.mark.slow
def test_a_worker_that_somebody_kills_between_records_costs_nothing(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once in every kind of job: the machine ran short of memory, say."""
    monkeypatch.setitem(globals(), "HOOK", KILL_ONCE)
    marks = tmp_path / "marks"
    marks.mkdir()
    monkeypatch.setenv("KILL_MARKS", str(marks))
    manifest = run(tmp_path / "run", {}, workers=2)
    killed = {p.name for p in marks.iterdir()}
    assert {"ingest_part", "measure_part", "scatter_part", "gather_shard"} <= killed
    assert manifest["reproducible"] == "yes"
    assert contents(tmp_path / "run" / "shards") == contents(good / "shards")
