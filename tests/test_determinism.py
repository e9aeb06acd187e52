"""The same product, ledger and parts whatever the circumstances of a run."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tracekit
from faults import command
from killed import contents, write_inputs
from tracekit.door import sha256_of
from tracekit.recipe import Recipe

Finished = tuple[Path, dict[str, str], list[dict[str, Any]], dict[str, str]]


@pytest.fixture(autouse=True)
def _inline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACEKIT_WORKERS", "0")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """(recipe, product, ledger, parts of the workspace) of an ordinary run."""
    folder = tmp_path_factory.mktemp("first")
    recipe = write_inputs(folder / "in")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRACEKIT_WORKERS", "0")
        tracekit.run(Recipe.load(recipe), work=folder / "work", out=folder / "shards")
    return recipe, contents(folder / "shards"), ledger(folder / "work"), parts(folder / "work")


def ledger(work: Path) -> list[dict[str, Any]]:
    """Rows of the ledger in one order."""
    rows = tracekit.open(work).ledger.collect().to_dicts()
    return sorted(rows, key=lambda row: json.dumps(row, sort_keys=True))


def parts(work: Path) -> dict[str, str]:
    """SHA-256 of every table of a workspace."""
    return {p.relative_to(work).as_posix(): sha256_of(p) for p in sorted(work.rglob("*.parquet"))}


def check(first: Finished, folder: Path, *, same_parts: bool = False) -> None:
    _, product, rows, files = first
    assert contents(folder / "shards") == product
    assert ledger(folder / "work") == rows
    if same_parts:
        assert parts(folder / "work") == files


def run_as_process(
    first: Finished, folder: Path, *, workers: str, umask: int | None = None, **env: str
) -> None:
    line = command("run", first[0], "-w", folder / "work", "--out", folder / "shards")
    done = subprocess.run(
        line,
        capture_output=True,
        text=True,
        env={**os.environ, "TRACEKIT_WORKERS": workers, **env},
        timeout=120,
        check=False,
        **({} if umask is None else {"umask": umask}),
    )
    assert done.returncode == 0, done.stderr


CELLS = [
    ("1", {"PYTHONHASHSEED": "0", "TZ": "Pacific/Kiritimati"}),
    ("2", {"PYTHONHASHSEED": "1", "LC_ALL": "C", "PYTHONUTF8": "0"}),
    ("2", {"PYTHONHASHSEED": "random", "LC_ALL": "tr_TR.UTF-8", "POLARS_MAX_THREADS": "1"}),
    ("3", {"PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}),
    ("0", {"PYTHONHASHSEED": "1", "TZ": "America/St_Johns", "PYTHONOPTIMIZE": "1"}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "env"), CELLS)
def test_any_workers_hash_seed_zone_and_locale_give_the_same_bytes(
    first: Finished, tmp_path: Path, workers: str, env: dict[str, str]
) -> None:
    run_as_process(first, tmp_path, workers=workers, **env)
    check(first, tmp_path, same_parts=True)


@pytest.mark.slow
@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_any_umask_gives_the_same_bytes_and_rejects_stay_private(
    first: Finished, tmp_path: Path, umask: int
) -> None:
    run_as_process(first, tmp_path, workers="2", umask=umask)
    check(first, tmp_path, same_parts=True)
    for file in (tmp_path / "work" / "rejects").rglob("*.parquet"):
        assert file.stat().st_mode & 0o077 == 0
    shard = next((tmp_path / "shards" / "data").iterdir())
    assert shard.stat().st_mode & 0o777 == 0o666 & ~umask


def run_with(first: Finished, folder: Path, **changes: Any) -> None:
    recipe = Recipe.load(first[0]).edited(changes)
    tracekit.run(recipe, work=folder / "work", out=folder / "shards")


@pytest.mark.parametrize("reverse", [False, True])
def test_files_in_any_order_give_the_same_product(
    first: Finished, tmp_path: Path, reverse: bool
) -> None:
    folder = first[0].parent / "chat"
    files = sorted(map(str, folder.iterdir()), reverse=reverse)
    run_with(first, tmp_path, sources={"chat": {"path": files}})
    check(first, tmp_path)


@pytest.mark.parametrize("order", [["logs", "chat"], ["chat", "logs"]])
def test_sources_in_any_order_give_the_same_product(
    first: Finished, tmp_path: Path, order: list[str]
) -> None:
    value = Recipe.load(first[0]).to_dict()
    value["sources"] = {name: value["sources"][name] for name in order}
    recipe = Recipe.from_dict(value, folder=first[0].parent)
    assert list(recipe.sources) == order
    tracekit.run(recipe, work=tmp_path / "work", out=tmp_path / "shards")
    check(first, tmp_path)


def test_inputs_in_a_folder_of_another_name_give_the_same_product(
    first: Finished, tmp_path: Path
) -> None:
    shutil.copytree(first[0].parent, tmp_path / "elsewhere", dirs_exist_ok=True)
    recipe = Recipe.load(tmp_path / "elsewhere" / "recipe.yaml")
    tracekit.run(recipe, work=tmp_path / "work", out=tmp_path / "shards")
    check(first, tmp_path, same_parts=True)


@pytest.mark.parametrize("kind", ["gz", "zst"])
def test_compressed_inputs_give_the_same_shards(first: Finished, tmp_path: Path, kind: str) -> None:
    import gzip

    import zstandard

    pack = gzip.compress if kind == "gz" else zstandard.compress
    shutil.copytree(first[0].parent, tmp_path / "in")
    for file in [*(tmp_path / "in" / "chat").iterdir(), *(tmp_path / "in" / "logs").iterdir()]:
        file.with_name(f"{file.name}.{kind}").write_bytes(pack(file.read_bytes()))
        file.unlink()
    tracekit.run(
        Recipe.load(tmp_path / "in" / "recipe.yaml"),
        work=tmp_path / "work",
        out=tmp_path / "shards",
    )
    assert contents(tmp_path / "shards") == first[1]


def test_a_recipe_that_came_back_gives_the_first_product(first: Finished, tmp_path: Path) -> None:
    """There and back again in one workspace: nothing of the other recipe is left."""
    run_with(first, tmp_path)
    run_with(first, tmp_path, filter={"min_tokens": 200}, seed=9, render={"template": "chatml"})
    assert contents(tmp_path / "shards") != first[1]
    run_with(first, tmp_path)
    check(first, tmp_path, same_parts=True)


@pytest.mark.slow
@pytest.mark.parametrize("part_bytes", [500, 2_500, 64 << 20])
@pytest.mark.parametrize("workers", ["0", "2"])
def test_every_part_size_with_and_without_workers_gives_the_same_product(
    first: Finished, tmp_path: Path, part_bytes: int, workers: str
) -> None:
    text = first[0].read_text("utf-8").replace("part_bytes: 2000", f"part_bytes: {part_bytes}")
    assert f"part_bytes: {part_bytes}" in text
    shutil.copytree(first[0].parent, tmp_path / "in")
    (tmp_path / "in" / "recipe.yaml").write_text(text, "utf-8")
    moved = (tmp_path / "in" / "recipe.yaml", *first[1:])
    run_as_process(moved, tmp_path, workers=workers)
    check(first, tmp_path)


@pytest.mark.slow
def test_real_traces_give_the_same_product_with_and_without_workers(
    traces_folder: Path, tmp_path: Path
) -> None:
    folders = [p for p in sorted(traces_folder.iterdir()) if p.is_dir()]
    products = []
    code = (
        "import sys, json, tracekit\n"
        "if __name__ == '__main__':\n"
        "    value = json.loads(sys.argv[1])\n"
        "    recipe = tracekit.Recipe.from_dict(value)\n"
        "    tracekit.run(recipe, work=sys.argv[2], out=sys.argv[3])\n"
    )
    script = tmp_path / "run.py"
    script.write_text(code, "utf-8")
    usable = [f for f in folders if readable(f, tmp_path / "probe" / f.name)][:5]
    if not usable:
        pytest.skip("no folder of real traces is recognised whole")
    for name, workers, size in (("a", "0", 64 << 20), ("b", "2", 50_000)):
        value = {
            "sources": {f.name: {"path": str(f)} for f in usable},
            "ingest": {"part_bytes": size},
        }
        here = tmp_path / name
        subprocess.run(
            [sys.executable, script, json.dumps(value), here / "work", here / "shards"],
            check=True, env={**os.environ, "TRACEKIT_WORKERS": workers}, timeout=170,
        )  # fmt: skip
        products.append((contents(here / "shards"), ledger(here / "work")))
    assert products[0][0] == products[1][0]
    assert products[0][1] == products[1][1]


def readable(folder: Path, work: Path) -> bool:
    """Does ingest take this folder as it is?"""
    from tracekit.errors import TracekitError

    if sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) > 3 << 20:
        return False
    recipe = Recipe.from_dict({"sources": {folder.name: {"path": str(folder)}}})
    try:
        tracekit.ingest(recipe, work)
    except TracekitError:
        return False
    return True
