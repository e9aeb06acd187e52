"""Init: a commented recipe from a folder, that loads, runs and refuses to be overwritten."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import tracekit
from tracekit.cli import run
from tracekit.errors import InputError, UsageError
from tracekit.recipe import Recipe

CHAT = {"messages": [{"role": "user", "content": "9*4?"}, {"role": "assistant", "content": "36"}]}
ALPACA = {"instruction": "What is 9*5?", "output": "It is 45."}
PROBLEM = {"question": "How much is 9*6?", "answer": "<<9*6=54>>54\n#### 54"}


def write(path: Path, *values: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(value) + "\n" for value in values), "utf-8")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with data of several kinds, and the current folder."""
    data = tmp_path / "data"
    write(data / "chat" / "a.jsonl", CHAT)
    write(data / "chat" / "b.jsonl", CHAT, {"x": 1})
    write(data / "both" / "chat.jsonl", CHAT)
    write(data / "both" / "one.jsonl", ALPACA)
    write(data / "both" / "two.jsonl", ALPACA)
    write(data / "gsm8k" / "test.jsonl", PROBLEM)
    write(data / "odd" / "what.jsonl", {"x\ninjected: true": 1})
    (data / "odd" / "notes.md").write_text("# notes\n", "utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_recipe_has_a_source_for_each_folder_and_dialect_and_loads(home: Path) -> None:
    assert run(["init", "data", "-o", "recipe.yaml", "-q"]) == 0
    recipe = Recipe.load("recipe.yaml")
    found = {n: (s.path, s.dialect, s.use) for n, s in recipe.sources.items()}
    assert found == {
        "both.openai": (("data/both/chat.jsonl",), "openai", "train"),
        "both.alpaca": (("data/both/one.jsonl", "data/both/two.jsonl"), "alpaca", "train"),
        "chat": (("data/chat",), "openai", "train"),
        "gsm8k": (("data/gsm8k",), "question_answer", "eval-only"),
    }
    assert list(found)[-1] == "gsm8k"  # what is not trained on comes last


def test_it_is_commented_and_names_the_schema_beside_it(home: Path) -> None:
    run(["init", "data", "-q"])
    text = (home / "recipe.yaml").read_text("utf-8")
    assert text.startswith("# yaml-language-server: $schema=schemas/recipe-v1.json\n")
    schema = json.loads((home / "schemas" / "recipe-v1.json").read_bytes())
    assert schema["$id"] == "urn:tracekit:recipe-v1"
    assert "# looks like GSM8K test: question and answer in a test file" in text
    assert "# fits 2 of 3 records that were looked at; the others become rejects" in text
    assert "#   data/odd/what.jsonl: no dialect fits" in text
    assert "\ninjected" not in text


def test_it_runs_and_keeps_benchmarks_out_of_the_shards(home: Path) -> None:
    run(["init", "data", "-q"])
    assert run(["run", "recipe.yaml", "-q"]) == 0
    rows = tracekit.open("work").evidence.collect()
    assert set(rows["source"]) == {"both.openai", "both.alpaca", "chat", "gsm8k"}
    shards = json.loads((home / "shards" / "manifest.json").read_bytes())
    assert shards["traces"] == 2  # of five, three are equal to another; the sixth is of gsm8k


def test_a_recipe_is_written_over_only_by_force(home: Path, capsys: pytest.CaptureFixture) -> None:
    (home / "recipe.yaml").write_text("mine: true\n", "utf-8")
    assert run(["init", "data"]) == 2
    assert "--force" in capsys.readouterr().err
    assert (home / "recipe.yaml").read_text("utf-8") == "mine: true\n"
    with pytest.raises(UsageError, match="there is a recipe already"):
        tracekit.draft(["data"], "recipe.yaml")
    assert run(["init", "data", "--force", "-q"]) == 0
    Recipe.load("recipe.yaml")


def test_a_file_in_the_place_of_the_schema_is_left_alone(home: Path) -> None:
    (home / "schemas").mkdir()
    (home / "schemas" / "recipe-v1.json").write_text("{}", "utf-8")
    run(["init", "data", "-q"])
    assert (home / "schemas" / "recipe-v1.json").read_text("utf-8") == "{}"


def test_paths_start_from_the_folder_of_the_recipe(home: Path) -> None:
    assert run(["init", "data/chat", "-o", "recipes/one.yaml", "-q"]) == 0
    recipe = Recipe.load("recipes/one.yaml")
    assert recipe.sources["chat"].path == ("../data/chat",)
    assert run(["ingest", "recipes/one.yaml", "-q"]) == 0


def test_a_folder_of_one_kind_in_many_folders_is_one_source(home: Path) -> None:
    write(home / "logs" / "x" / "a.jsonl", CHAT)
    write(home / "logs" / "y" / "z" / "b.jsonl", CHAT)
    write(home / "logs" / "top.jsonl", CHAT)
    tracekit.draft(["logs"], "r.yaml")
    assert Recipe.load("r.yaml").sources["logs"].path == ("logs",)
    write(home / "logs" / "x" / "odd.json", {"x": 1})
    tracekit.draft(["logs"], "r.yaml", force=True)
    assert Recipe.load("r.yaml").sources["logs"].path == ("logs/**/*.jsonl",)


def test_files_of_one_benchmark_are_one_source_with_every_reason(home: Path) -> None:
    write(home / "runs" / "a.jsonl", {"instance_id": "django__django-11099", **CHAT})
    write(home / "runs" / "swe-bench.jsonl", CHAT)
    write(home / "runs" / "mine.jsonl", CHAT)
    tracekit.draft(["runs"], "r.yaml")
    found = {name: source.use for name, source in Recipe.load("r.yaml").sources.items()}
    assert found == {"runs.openai": "train", "runs.openai.SWE-bench": "eval-only"}
    text = Path("r.yaml").read_text("utf-8")
    assert "# looks like SWE-bench: a swe-bench file; instance ids of its repositories" in text


def test_names_that_yaml_or_globs_would_read_otherwise_are_quoted(home: Path) -> None:
    for name in ("a [1].jsonl", "b: c.jsonl", "true", "7.jsonl", "ü*.jsonl", "-x.jsonl"):
        write(home / "names" / name / "f.jsonl", CHAT)
        write(home / "names" / name / "g.jsonl", ALPACA)
    tracekit.draft(["names"], "r.yaml")
    recipe = Recipe.load("r.yaml")
    assert len(recipe.sources) == 12
    report = tracekit.ingest(recipe, "work")
    assert sum(row["traces"] for row in report.data["sources"]) == 12


def test_nothing_to_read_is_told(home: Path) -> None:
    with pytest.raises(InputError, match="none of these files is of a known dialect"):
        tracekit.draft(["data/odd"], "r.yaml")
    assert not (home / "r.yaml").exists()
