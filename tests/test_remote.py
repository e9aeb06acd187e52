"""Inputs that lie elsewhere: addresses through fsspec, data sets of the Hub and saved ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

import road
from tracekit import inputs, remote
from tracekit.errors import InputError, UsageError


def record(n: int) -> dict[str, Any]:
    return {"messages": [road.user(f"{n}*4?"), road.says(str(n * 4))]}


@pytest.fixture
def store() -> Iterator[Any]:
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    yield system
    system.store.clear()


def answers(made: road.Road) -> list[str]:
    return sorted(row["messages"][-1]["content"] for row in made.rows())


RULES = {"dedupe": False, "filter": {"min_tokens": 1}}


def test_files_behind_an_address_are_read_as_if_they_lay_here(tmp_path: Path, store: Any) -> None:
    store.pipe("/bucket/runs/a.jsonl", road.lines([record(1), record(2)]))
    store.pipe("/bucket/runs/deep/b.jsonl", road.lines([record(3)]))
    store.pipe("/bucket/runs/notes.txt", b"no records")
    recipe = {"sources": {"runs": {"path": "memory://bucket/runs"}}, **RULES}
    assert answers(road.go(tmp_path, recipe)) == ["12", "4", "8"]
    found = inputs.expand(["memory://bucket/runs"], source="runs", spool_folder=tmp_path / "spool")
    assert found.sources[0].files == ("a.jsonl", "deep/b.jsonl")
    assert [Path(one.path).name for one in found.skipped] == ["notes.txt"]


def test_names_of_remote_files_do_not_depend_on_this_machine(tmp_path: Path, store: Any) -> None:
    store.pipe("/bucket/a.jsonl", road.lines([record(1)]))
    recipe = {"sources": {"bucket": {"path": "memory://bucket/a.jsonl"}}, **RULES}
    made = [road.go(tmp_path / name, recipe) for name in ("one", "two")]
    manifests = [(m.work / "manifest.json").read_text("utf-8") for m in made]
    assert manifests[0] == manifests[1]
    assert str(tmp_path) not in manifests[0]
    assert [row["id"] for row in made[0].traces()] == ["bucket:a.jsonl#0"]


def test_a_glob_and_a_name_that_would_leave_the_spool(tmp_path: Path, store: Any) -> None:
    store.pipe("/b/x1.jsonl", b"{}\n")
    store.pipe("/b/x2.jsonl", b"{}\n")
    store.pipe("/b/y.jsonl", b"{}\n")
    made = remote.fetch("memory://b/x*.jsonl", tmp_path, lambda name: "")
    assert [path.relative_to(made.root).as_posix() for path in made.files] == [
        "x1.jsonl",
        "x2.jsonl",
    ]
    name = remote._below("/b/../../etc/passwd", "/b")
    assert len(name.parts) == 1
    assert name.name.isalnum()


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("nosuch://bucket/a.jsonl", "nothing opens this address"),
        ("memory://bucket/none", "no such file or folder"),
        ("hf:", "names no data set"),
    ],
)
def test_an_address_that_leads_nowhere_is_a_clear_error(
    tmp_path: Path, store: Any, address: str, says: str
) -> None:
    with pytest.raises((UsageError, InputError), match=says) as caught:
        remote.fetch(address, tmp_path, lambda name: "")
    assert caught.value.where == address


def test_a_missing_package_is_named_with_the_extra_that_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(path: str) -> Any:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    with pytest.raises(UsageError, match="s3fs") as caught:
        remote.fetch("s3://bucket/a.jsonl", tmp_path, lambda name: "")
    assert "tracekit[remote]" in (caught.value.fix or "")


def test_without_a_network_a_data_set_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    with pytest.raises(InputError, match="cannot be fetched") as caught:
        remote.fetch("hf:an-org/that-is-nowhere", tmp_path, lambda name: "")
    assert "network" in (caught.value.expected or "")
    assert not list(tmp_path.rglob("*.parquet"))


def streamed(rows: list[dict[str, Any]]) -> Any:
    import datasets

    return datasets.Dataset.from_list(rows).to_iterable_dataset()


def test_every_split_of_a_streamed_data_set_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets.load

    asked: dict[str, Any] = {}

    def load(name: str, config: str | None, **options: Any) -> Any:
        asked.update(options, name=name, config=config)
        splits = {"train": streamed([record(1), record(2)]), "test": streamed([record(3)])}
        return splits if options["split"] is None else splits[options["split"]]

    monkeypatch.setattr(datasets.load, "load_dataset", load)
    recipe = {"sources": {"sums": {"path": "hf:org/sums@abc"}}, **RULES}
    made = road.go(tmp_path, recipe)
    assert answers(made) == ["12", "4", "8"]
    assert {row["id"].partition("#")[0] for row in made.traces()} == {
        "sums:test.parquet",
        "sums:train.parquet",
    }
    assert asked == {
        "name": "org/sums", "config": None, "revision": "abc", "split": None, "streaming": True,
    }  # fmt: skip
    one = {"sources": {"sums": {"path": "hf:org/sums/big:test"}}, **RULES}
    assert answers(road.go(tmp_path, one, name="one")) == ["12"]
    assert (asked["config"], asked["split"]) == ("big", "test")


def test_a_data_set_that_was_saved_to_disk_is_read(tmp_path: Path) -> None:
    import datasets

    saved = datasets.DatasetDict(
        {
            "train": datasets.Dataset.from_list([record(1), record(2)]),
            "test": datasets.Dataset.from_list([record(3)]),
        }
    )
    saved.save_to_disk(str(tmp_path / "saved"))
    recipe = {"sources": {"saved": {"path": "saved"}}, **RULES}
    assert answers(road.go(tmp_path, recipe)) == ["12", "4", "8"]


def test_addresses_and_files_do_not_mix_in_one_source(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="files of this machine and addresses"):
        inputs.expand(["memory://b/a", str(tmp_path)], source="s", spool_folder=tmp_path)


def test_the_command_line_names_a_source_after_its_address(tmp_path: Path, store: Any) -> None:
    from tracekit.cli.editing import _sources

    store.pipe("/bucket/runs/a.jsonl", (json.dumps(record(1)) + "\n").encode())
    made = _sources(["memory://bucket/runs/a.jsonl", "hf:org/sums:train"], [])
    assert made == {
        "runs": {"path": ["memory://bucket/runs/a.jsonl"]},
        "sums": {"path": ["hf:org/sums:train"]},
    }
