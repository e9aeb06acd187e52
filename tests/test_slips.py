"""What people get wrong, and what they are told: the problem itself, never a word of a library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import tracekit
from tracekit import places
from tracekit.errors import InputError, StorageError, TracekitError
from tracekit.recipe import Recipe


def chat(k: int) -> dict[str, Any]:
    return {
        "messages": [
            {"role": "user", "content": f"What is {k} and {k}?"},
            {"role": "assistant", "content": f"It is {2 * k}."},
        ]
    }


def write(path: Path, values: list[Any]) -> Path:
    path.write_text("".join(json.dumps(v) + "\n" for v in values), "utf-8")
    return path


@pytest.fixture(autouse=True)
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACEKIT_WORKERS", "0")


def recipe_error(tmp_path: Path, text: str) -> str:
    path = tmp_path / "r.yaml"
    path.write_text("sources: {a: {path: x}}\n" + text, "utf-8")
    with pytest.raises(TracekitError) as caught:
        Recipe.load(path)
    return str(caught.value)


def test_an_unknown_template_is_refused_in_the_recipe_with_the_known_ones(tmp_path: Path) -> None:
    told = recipe_error(tmp_path, "render: {template: qwen9}\n")
    assert "render.template is 'qwen9'" in told
    assert "expected: one of qwen3.5, qwen3, chatml" in told


def test_a_list_whose_only_word_is_wrong_is_told_by_the_word_and_not_as_an_empty_list(
    tmp_path: Path,
) -> None:
    told = recipe_error(tmp_path, "dedupe: {keep: [longest]}\n")
    assert "dedupe.keep[0] is 'longest'" in told
    assert "Did you mean 'longer'?" in told
    assert "at least" not in told


def test_an_empty_list_is_told_without_words_of_the_validator(tmp_path: Path) -> None:
    told = recipe_error(tmp_path, "dedupe: {keep: []}\n")
    assert "expected: at least one entry" in told
    assert "validation" not in told


def test_a_folder_as_recipe_is_not_told_to_be_itself(tmp_path: Path) -> None:
    with pytest.raises(TracekitError) as caught:
        Recipe.load(tmp_path)
    assert "is a folder" in str(caught.value)
    assert "Did you mean" not in str(caught.value)


def run(tmp_path: Path, source: dict[str, Any]) -> Path:
    tracekit.run(
        Recipe.from_dict({"sources": {"a": source}}), work=tmp_path / "w", out=tmp_path / "o"
    )
    return tmp_path / "w"


def test_a_dialect_that_fits_one_record_of_many_is_not_taken(tmp_path: Path) -> None:
    path = write(tmp_path / "mixed.jsonl", [chat(1), *({"k": k} for k in range(9))])
    with pytest.raises(InputError) as caught:
        run(tmp_path, {"path": str(path)})
    told = str(caught.value)
    assert "one dialect fits too little of this file: openai" in told
    assert "10% of the records" in told
    assert "nothing was written" in told
    assert not (tmp_path / "w" / "manifest.json").exists()


def test_a_source_without_any_trace_asks_for_the_dialect(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [chat(k) for k in range(3)])
    recipe = Recipe.from_dict({"sources": {"a": {"path": str(path), "dialect": "alpaca"}}})
    report = tracekit.ingest(recipe, work=tmp_path / "w")
    assert "source a: no trace at all, 3 rejects; is alpaca the right dialect?" in report.notes


def test_a_file_in_the_place_of_the_workspace_is_named_as_that(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [chat(1)])
    with pytest.raises(StorageError) as caught:
        tracekit.ingest(Recipe.from_dict({"sources": {"a": {"path": str(path)}}}), work=path)
    assert "name another folder" in str(caught.value)


def test_a_trace_is_found_by_every_spelling_of_its_place(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [chat(k) for k in range(3)])
    here = tracekit.open(run(tmp_path, {"path": str(path)}))
    evidence, _ = here.decided()
    shard_id = evidence.traces.filter(id="a:a.jsonl#2")["content_hash"][0]
    spelled = ("a:a.jsonl#2", "a.jsonl#2", "a.jsonl:3", "a.jsonl[2]", shard_id, shard_id[:12])
    assert {places.one_trace(here, name) for name in spelled} == {"a:a.jsonl#2"}
