"""What each command hands on to the library, and its small parsers."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import tracekit
from tracekit.cli import everywhere, run
from tracekit.cli.editing import ingest_recipe, rule_of, sample_of, what_if_of
from tracekit.cli.schemas import SCHEMAS
from tracekit.errors import UsageError
from tracekit.recipe import Recipe
from tracekit.report import Report

ROOT = Path(__file__).parent.parent


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put functions in the place of a library module."""

    def put(module: str, **functions: Any) -> None:
        double = ModuleType(f"tracekit.{module}")
        for name, function in functions.items():
            setattr(double, name, function)
        monkeypatch.setitem(sys.modules, double.__name__, double)
        monkeypatch.setattr(tracekit, module, double, raising=False)

    return put


def test_run_hands_on_the_recipe_and_its_options(
    library: Callable[..., None], tmp_path: Path
) -> None:
    calls: list[tuple[Recipe, dict[str, Any]]] = []

    def library_run(recipe: Recipe, **options: Any) -> Report:
        calls.append((recipe, options))
        return Report()

    library("running", run=library_run)
    file = tmp_path / "r.yaml"
    file.write_text("sources: {a: {path: data/*.jsonl}}\n")
    work = tmp_path / "work"
    words = ["run", str(file), "-w", str(work), "--limit", "5", "--sample", "5%", "--workers", "3"]
    assert run([*words, "--out", "o", "--dry-run"]) == 0
    recipe, options = calls[0]
    del options["progress"]
    assert options == {
        "work": work,
        "out": Path("o"),
        "limit": 5,
        "sample": "5%",
        "dry_run": True,
    }
    assert recipe.workers == 3
    assert recipe.paths("a") == (str(tmp_path / "data/*.jsonl"),)
    file.write_text("sources: {a: {path: x}}\nshard: {out: product}\n")
    assert run(["run", str(file)]) == 0
    assert calls[1][1]["out"] == tmp_path / "product"
    assert calls[1][1]["dry_run"] is False


def test_paths_become_sources_named_after_their_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("data/a.jsonl", "data/b.jsonl", "more/c.jsonl", "whole/x/d.jsonl"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{}\n")
    recipe = ingest_recipe(
        ["data/a.jsonl", "data/b.jsonl", "more/*.jsonl", "whole", "-"],
        ["named=data/a.jsonl"],
        tmp_path / "work",
        "openai",
    )
    found = {name: recipe.paths(name) for name in recipe.sources}
    assert {n: [os.path.relpath(p) if p != "-" else p for p in ps] for n, ps in found.items()} == {
        "named": ["data/a.jsonl"],
        "data": ["data/a.jsonl", "data/b.jsonl"],
        "more": ["more/c.jsonl"],
        "whole": ["whole"],
        "stdin": ["-"],
    }
    assert {s.dialect for s in recipe.sources.values()} == {"openai"}
    assert recipe.sources["more"].path == ("../more/c.jsonl",)


def test_a_dry_ingest_lists_files_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.jsonl").write_text("{}\n")
    (tmp_path / "data" / "notes.md").write_text("x")
    assert run(["ingest", "data", "--dry-run", "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)[0]["rows"]
    assert rows[0]["source"] == "data"
    assert rows[0]["files"] == 1
    assert rows[0]["bytes"] == 3
    assert "notes.md" in json.dumps(rows[1:])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data"]


def test_explain_prints_the_code_it_is_asked_for(
    library: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    from tracekit.codes import Code

    code = Code(name="loop", kind="finding", what="It loops.", why="Bad.", default="flag")
    library("registry", codes=lambda: (code,))
    assert run(["explain", "loop"]) == 0
    text = capsys.readouterr().out
    assert "It loops." in text
    assert "off: [loop]" in text
    assert run(["explain", "--format", "tsv"]) == 0
    assert capsys.readouterr().out == "code\tkind\tdefault\twhat\nloop\tfinding\tflag\tIt loops.\n"
    assert run(["explain", "lop"]) == 2
    assert "Did you mean 'loop'?" in capsys.readouterr().err


def test_schemas_are_printed_and_written_alike(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["schema", "--write", str(tmp_path / "s"), "-q"]) == 0
    capsys.readouterr()
    for name, schema in SCHEMAS.items():
        assert run(["schema", name]) == 0
        text = capsys.readouterr().out
        assert (tmp_path / "s" / schema.file).read_text("utf-8") == text
        value = json.loads(text)
        assert value["$schema"].startswith("https://json-schema.org/")
        assert value["$id"].endswith("-v1")
        assert value["properties"]


def test_the_schema_files_of_the_repository_are_fresh(capsys: pytest.CaptureFixture[str]) -> None:
    folder = ROOT / "schemas"
    if not any(folder.glob("*.json")):
        pytest.skip("schemas/ is not written yet")
    for name, schema in SCHEMAS.items():
        assert run(["schema", name]) == 0
        assert (folder / schema.file).read_text("utf-8") == capsys.readouterr().out


# Small parsers


@pytest.mark.parametrize(
    ("text", "name", "values"),
    [
        ("threshold=0.7..0.95", "threshold", [0.7, 0.7625, 0.825, 0.8875, 0.95]),
        ("x=1..3/1", "x", [1, 2, 3]),
        ("x=0.1..0.35/0.1", "x", [0.1, 0.2, 0.3]),
        ("x=8k,4k,4000", "x", [4000, 8000]),
        ("x=-1,2.5", "x", [-1, 2.5]),
    ],
)
def test_what_if_values_are_exact(text: str, name: str, values: list[float]) -> None:
    assert what_if_of(text) == (name, values)


@pytest.mark.parametrize(
    "text",
    ["x", "=1", "x=", "x=a", "x=1..", "x=1..0", "x=0..1/0", "x=0..1/0.0001", "x=nan", "x=1,"],
)
def test_what_if_values_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--what-if"):
        what_if_of(text)


def test_rules_and_samples_are_parsed_or_refused() -> None:
    assert rule_of("a: b: c") == {"code": "a", "keep": "b: c"}
    for good in (None, "5", "5%", "0.5%", "100%"):
        assert sample_of(good) == good
    for bad in ("", "0", "-1", "101%", "x", "5 %", "1e3", "0.5"):
        with pytest.raises(UsageError):
            sample_of(bad)


def test_words_after_two_dashes_are_left_alone() -> None:
    options = everywhere(["why", "-q", "--", "--format", "-q"])
    assert options.quiet
    assert options.rest == ("why", "--", "--format", "-q")
