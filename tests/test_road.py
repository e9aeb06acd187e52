"""The whole road: the same product whatever the circumstances, and clear refusals."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import tracekit
from killed import contents, write_inputs
from tracekit import manifest as manifests
from tracekit.errors import InputError, LockedError, StorageError, UsageError
from tracekit.recipe import Recipe
from tracekit.workspace import Workspace, locked


@pytest.fixture(autouse=True)
def _inline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACEKIT_WORKERS", "0")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def product(recipe: Path) -> dict[str, str]:
    os.environ["TRACEKIT_WORKERS"] = "0"
    road(recipe, recipe.parent, "first")
    return contents(recipe.parent / "first-shards")


def road(recipe: Path, folder: Path, name: str, **changes: Any) -> Path:
    """Run a recipe, edited, to its own workspace and shards."""
    edited = Recipe.load(recipe).edited(changes)
    tracekit.run(edited, work=folder / f"{name}-work", out=folder / f"{name}-shards")
    return folder / f"{name}-shards"


def ledger(work: Path) -> list[dict[str, Any]]:
    return tracekit.open(work).ledger.collect().to_dicts()


@pytest.mark.parametrize("part_bytes", [700, 5_000, 10**8])
def test_any_part_size_gives_the_same_product_and_ledger(
    recipe: Path, product: dict[str, str], tmp_path: Path, part_bytes: int
) -> None:
    out = road(recipe, tmp_path, "w", ingest={"part_bytes": part_bytes})
    assert contents(out) == product
    assert ledger(tmp_path / "w-work") == ledger(recipe.parent / "first-work")


@pytest.mark.slow
@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_any_number_of_workers_and_hash_seed_gives_the_same_bytes(
    recipe: Path, product: dict[str, str], tmp_path: Path, hash_seed: str
) -> None:
    code = (
        "import tracekit, sys\n"
        "if __name__ == '__main__':\n"
        "    tracekit.run(tracekit.Recipe.load(sys.argv[1]), work=sys.argv[2], out=sys.argv[3])\n"
    )
    script = tmp_path / "run.py"
    script.write_text(code, "utf-8")
    work, out = tmp_path / "work", tmp_path / "shards"
    env = {**os.environ, "PYTHONHASHSEED": hash_seed, "TRACEKIT_WORKERS": "2", "TZ": "Asia/Tokyo"}
    subprocess.run([sys.executable, script, recipe, work, out], check=True, env=env)
    assert contents(out) == product
    mine, first = work / "traces", recipe.parent / "first-work" / "traces"
    for file in first.rglob("*.parquet"):
        assert (mine / file.relative_to(first)).read_bytes() == file.read_bytes()


def test_stage_by_stage_gives_the_product_of_run(
    recipe: Path, product: dict[str, str], tmp_path: Path
) -> None:
    value, work = Recipe.load(recipe), tmp_path / "work"
    tracekit.ingest(value, work)
    tracekit.measure(value, work)
    tracekit.decide_stage(value, work)
    tracekit.shard(value, work, tmp_path / "shards")
    assert contents(tmp_path / "shards") == product


def test_two_ingests_give_the_product_of_one(
    recipe: Path, product: dict[str, str], tmp_path: Path
) -> None:
    value, work = Recipe.load(recipe), tmp_path / "work"
    one = value.edited({"sources": {"chat": {"path": str(recipe.parent / "chat" / "a.jsonl")}}})
    both = one.edited({"sources": {"chat": {"path": [str(recipe.parent / "chat")]}}})
    tracekit.ingest(one, work)
    tracekit.ingest(both, work)
    tracekit.run(value, work=work, out=tmp_path / "shards")
    assert contents(tmp_path / "shards") == product


def test_a_second_run_reads_and_writes_nothing(recipe: Path, tmp_path: Path) -> None:
    out = road(recipe, tmp_path, "w")
    files = [p for f in (out, tmp_path / "w-work") for p in f.rglob("*.*") if ".lock" not in p.name]
    before = {p: p.stat().st_mtime_ns for p in files if p.is_file()}
    road(recipe, tmp_path, "w")
    assert {p: p.stat().st_mtime_ns for p in before} == before


def test_moving_a_threshold_decides_again_and_reads_no_trace(recipe: Path, tmp_path: Path) -> None:
    road(recipe, tmp_path, "w")
    work = tmp_path / "w-work"
    made = {p: p.stat().st_mtime_ns for p in (work / "evidence").rglob("*.parquet")}
    for file in (work / "traces").rglob("*.parquet"):
        file.chmod(0)  # as root this does not forbid, so the times below tell
    road(recipe, tmp_path, "w", filter={"min_tokens": 200})
    assert {p: p.stat().st_mtime_ns for p in made} == made
    assert "too_short" in {row["code"] for row in ledger(work)}


def test_what_a_shard_holds_is_what_came_in(recipe: Path, product: dict[str, str]) -> None:
    datasets = pytest.importorskip("datasets")
    out = recipe.parent / "first-shards"
    rows = datasets.load_dataset(str(out), split="train", cache_dir=str(recipe.parent / "cache"))
    stored = pq.read_table(out / "data")
    assert rows.num_rows == stored.num_rows
    assert [r["messages"] for r in rows] == [
        [json.loads(m) for m in messages] for messages in stored["messages"].to_pylist()
    ]


def test_a_newer_format_is_refused_and_nothing_is_written(recipe: Path, tmp_path: Path) -> None:
    road(recipe, tmp_path, "w")
    work = Workspace(tmp_path / "w-work")
    value = json.loads(work.manifest.read_bytes())
    work.manifest.write_text(json.dumps({**value, "format": manifests.FORMAT + 1}), "utf-8")
    before = {p: p.stat().st_mtime_ns for p in work.folder.rglob("*.parquet")}
    with pytest.raises(InputError, match="format 2") as caught:
        road(recipe, tmp_path, "w")
    assert caught.value.exit_code == 65
    assert {p: p.stat().st_mtime_ns for p in before} == before


def test_a_manifest_edited_by_hand_is_refused(recipe: Path, tmp_path: Path) -> None:
    road(recipe, tmp_path, "w")
    work = Workspace(tmp_path / "w-work")
    text = work.manifest.read_text("utf-8").replace('"n_records": ', '"n_records": 1', 1)
    work.manifest.write_text(text, "utf-8")
    with pytest.raises(StorageError, match="damaged or was edited"):
        road(recipe, tmp_path, "w")


def test_the_second_of_two_runs_is_told_who_holds_the_workspace(
    recipe: Path, tmp_path: Path
) -> None:
    with locked(Workspace(tmp_path / "w-work")):
        code = (
            "import sys, tracekit\n"
            "tracekit.run(tracekit.Recipe.load(sys.argv[1]), work=sys.argv[2])\n"
        )
        words = [sys.executable, "-c", code, recipe, tmp_path / "w-work"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert LockedError.__name__ in done.stderr
        assert str(os.getpid()) in done.stderr
    road(recipe, tmp_path, "w")


def test_a_changed_input_stops_with_the_two_ways_out(recipe: Path, tmp_path: Path) -> None:
    folder = tmp_path / "inputs"
    mine = write_inputs(folder)
    road(mine, tmp_path, "w")
    with open(folder / "chat" / "a.jsonl", "a", encoding="utf-8") as file:
        file.write('{"messages": [{"role": "user", "content": "q"}]}\n')
    with pytest.raises(InputError, match="changed since") as caught:
        road(mine, tmp_path, "w")
    assert caught.value.fix is not None
    assert "--replace" in caught.value.fix
    value = Recipe.load(mine)
    tracekit.ingest(value, tmp_path / "w-work", replace=True)
    report = tracekit.run(value, work=tmp_path / "w-work", out=tmp_path / "w-shards")
    fresh = road(mine, tmp_path, "fresh")
    assert contents(tmp_path / "w-shards") == contents(fresh)
    assert report.law


@pytest.mark.parametrize(
    ("thing", "what_reads_it"),
    [
        ("traces", {"repairs": ["trim_tail"]}),
        ("evidence/text", {"filter": {"min_tokens": 1}}),
        ("evidence/edits", {"seed": 7}),
        ("evidence/sketch", {"dedupe": {"floor": 0.75}}),
    ],
)
def test_a_damaged_file_is_named_refused_and_made_anew_once_deleted(
    recipe: Path,
    product: dict[str, str],
    tmp_path: Path,
    thing: str,
    what_reads_it: dict[str, Any],
) -> None:
    road(recipe, tmp_path, "w")
    work = tmp_path / "w-work"
    file = sorted((work / thing).rglob("*.parquet"))[1]
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)
    report = tracekit.verify(work)
    assert any(file.name in line for line in report.failed)
    with pytest.raises(StorageError) as caught:
        road(recipe, tmp_path, "w", **what_reads_it)
    assert caught.value.exit_code == 74
    assert file.name in str(caught.value)
    file.unlink()
    assert contents(road(recipe, tmp_path, "w")) == product
    assert not tracekit.verify(work).failed


def test_shards_never_replace_a_folder_of_something_else(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "w-shards").mkdir()
    (tmp_path / "w-shards" / "thesis.tex").write_text("years of work", "utf-8")
    with pytest.raises(UsageError, match="did not write"):
        road(recipe, tmp_path, "w")
    assert (tmp_path / "w-shards" / "thesis.tex").exists()


def test_a_partial_run_says_so_in_both_manifests(recipe: Path, tmp_path: Path) -> None:
    value = Recipe.load(recipe)
    tracekit.run(value, work=tmp_path / "work", out=tmp_path / "shards", limit=5)
    manifest = json.loads((tmp_path / "shards" / "manifest.json").read_bytes())
    assert manifest["partial"] == ["limit 5"]
    batches = json.loads((tmp_path / "work" / "manifest.json").read_bytes())["batches"]
    assert {b["partial"] for b in batches} == {"limit 5"}
    assert sum(p["n_units"] for b in batches for p in b["parts"]) == 10
    tracekit.run(value, work=tmp_path / "work2", out=tmp_path / "shards2", sample="50%")
    sampled = json.loads((tmp_path / "shards2" / "manifest.json").read_bytes())
    assert sampled["partial"] == ["sample 50%"]


def test_a_dry_run_writes_nothing(recipe: Path, tmp_path: Path) -> None:
    report = tracekit.run(Recipe.load(recipe), work=tmp_path / "work", dry_run=True)
    assert {row["source"] for row in report.tables[0].records()} == {"chat", "logs"}
    assert list(tmp_path.iterdir()) == []
