"""Public cases R13, R15, R16: duplicates go, one of each stays, and always the same one."""

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from road import Road, fresh, go, says, travel, user, write_files
from tracekit.recipe import Recipe

SHORT = ("fig", "elm", "茶", "雪", "чай", "الشاي", "٣", "ab", "x")
short_texts = st.lists(st.sampled_from(SHORT), min_size=1, max_size=4).map(" ".join)


def talk(asked: str, told: str | None, **more: Any) -> dict[str, Any]:
    return {"messages": [user(asked), says(told)], **more}


@given(st.lists(short_texts, min_size=1, max_size=8), st.booleans())
@settings(max_examples=8)
@example(["fig", "elm", "fig", "a four word text", "茶", "雪"], True)
@example(["fig", "elm", "fig", "a four word text", "茶", "雪"], False)
def test_r13_texts_shorter_than_a_shingle_are_the_same_only_where_they_are_equal(
    found: list[str], as_task: bool
) -> None:
    pairs = [(text, "Yes.") if as_task else ("Name one.", text) for text in found]
    road = travel(fresh(), {"a.jsonl": [talk(*pair) for pair in pairs]})
    kept = [(r["messages"][0]["content"], r["messages"][1]["content"]) for r in road.rows()]
    assert sorted(kept) == sorted(set(pairs))
    assert len(road.said("exact_duplicate")) == len(pairs) - len(set(pairs))
    assert road.said("near_duplicate") == set()


def test_r13_empty_texts_are_refused_by_their_own_code_and_not_as_duplicates(tmp_path: Any) -> None:
    road = travel(
        tmp_path, {"a.jsonl": [talk("Say.", ""), talk("Say.", None), talk("Say.", "fig")]}
    )
    assert [r["messages"][1]["content"] for r in road.rows()] == ["fig"]
    assert road.said("empty_target") == {"made:a.jsonl#0", "made:a.jsonl#1"}
    assert road.said("exact_duplicate") | road.said("near_duplicate") == set()


def prose(seed: int, n_words: int = 90) -> list[str]:
    draw = random.Random(seed)
    return ["".join(draw.choices("abcdefghij", k=draw.randint(3, 8))) for _ in range(n_words)]


def changed(words: list[str], seed: int, n_changes: int) -> str:
    draw = random.Random(seed)
    out = list(words)
    for at in draw.sample(range(len(out)), n_changes):
        out[at] = f"word{seed}"
    return " ".join(out)


def check_removals(road: Road) -> None:
    """kept + removed == input, and each removed row names a row that is in the shards."""
    dropped_by = road.dropped_by()
    kept = {name for name, code in dropped_by.items() if code is None}
    assert len(road.rows()) == len(kept)
    rows = road.ledger().to_dicts()
    named = {r["id"]: r for r in rows if r["code"] in ("exact_duplicate", "near_duplicate")}
    assert len(kept) + len(named) == len(dropped_by)
    assert not kept & named.keys()
    for row in named.values():
        assert row["winner"] in kept
        assert row["similarity"] == 1.0 or row["similarity"] >= 0.8


@given(st.lists(st.integers(1, 4), min_size=1, max_size=6), st.randoms(use_true_random=False))
@settings(max_examples=5)
@example([3, 2, 1], random.Random(0))
def test_r15_exactly_one_of_each_set_of_copies_survives_and_is_named(
    sizes: list[int], order: random.Random
) -> None:
    found = [
        talk(" ".join(prose(k)), " ".join(prose(k + 100)), id=f"doc-{9 + len(sizes) * c + k}")
        for k, n in enumerate(sizes)
        for c in range(n)
    ]
    order.shuffle(found)
    folder = fresh()
    for name, dedupe in (("near", {"threshold": 0.8}), ("exact", {"threshold": 1.0})):
        road = travel(folder, {"a.jsonl": found}, dedupe=dedupe, name=name)
        assert sorted(road.by_task()) == sorted(" ".join(prose(k)) for k in range(len(sizes)))
        assert len(road.rows()) == len(sizes)
        check_removals(road)


@given(st.lists(st.integers(0, 12), min_size=2, max_size=12))
@settings(max_examples=8)
def test_r15_in_chains_of_near_copies_nobody_goes_without_a_winner_that_stays(
    changes: list[int],
) -> None:
    asked, told = prose(1), prose(2)
    found = [
        talk(changed(asked, k, n), changed(told, k, n), id=f"doc-{k}")
        for k, n in enumerate(changes)
    ]
    road = travel(fresh(), {"a.jsonl": found})
    assert road.rows()
    check_removals(road)


def clusters() -> dict[str, list[dict[str, Any]]]:
    """200 records in 40 sets of 5 near copies of different lengths, over three files."""
    files: dict[str, list[dict[str, Any]]] = {"one.jsonl": [], "two.jsonl": [], "zed.jsonl": []}
    names = list(files)
    for k in range(200):
        asked, told = prose(k % 40, 200), prose(k % 40 + 1000, 200)
        end = " and so on" * (k // 40 % 3)
        files[names[k * 7 % 3]].append(
            talk(changed(asked, k, k // 80), changed(told, k, k // 80) + end, id=f"doc-{k + 9}")
        )
    return files


def product(road: Road) -> dict[str, Any]:
    """What must not depend on how a run was made: the manifest but for its recipe and stamp."""
    return {k: v for k, v in road.manifest().items() if k not in ("recipe", "seal", "fingerprint")}


SHARDS = {"shard": {"tokens_per_shard": 10_000}}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Road:
    return travel(tmp_path_factory.mktemp("plain"), clusters(), **SHARDS)


def test_r16_one_of_each_set_stays_and_the_manifest_says_by_which_rule(plain: Road) -> None:
    assert len(plain.rows()) == 40
    check_removals(plain)
    value = plain.manifest()
    assert value["recipe"]["dedupe"]["keep"][-1] == "content"
    assert value["recipe"]["dedupe"]["threshold"] == 0.8
    assert value["seed"] == value["recipe"]["seed"]
    assert {"floor", "bands"} <= value["dedupe"].keys()
    assert {"tracekit", "versions"} <= value.keys()


@pytest.mark.parametrize("how", ["reversed", "renamed", "small parts", "one by one", "one file"])
def test_r16_the_survivors_and_the_bytes_do_not_depend_on_order_names_parts_or_history(
    tmp_path: Path, plain: Road, how: str
) -> None:
    files = clusters()
    recipe: dict[str, Any] = dict(SHARDS)
    if how == "reversed":
        files = {name: found[::-1] for name, found in reversed(files.items())}
    elif how == "renamed":
        files = {f"{9 - k}-{name}": found for k, (name, found) in enumerate(files.items())}
    elif how == "small parts":
        recipe["ingest"] = {"part_bytes": 20_000}
    elif how == "one file":
        files = {"all.jsonl": [r for found in files.values() for r in found]}
    else:
        write_files(tmp_path / "in", files)
        for n in (1, 2):
            paths = [f"in/{name}" for name in list(files)[::-1][:n]]
            go(tmp_path, {"sources": {"made": {"path": paths}}, **recipe})
    road = travel(tmp_path, files, **recipe)
    assert product(road) == product(plain)
    assert [p.read_bytes() for p in road.shards] == [p.read_bytes() for p in plain.shards]


@pytest.mark.slow
@pytest.mark.parametrize(("hash_seed", "workers"), [("0", "0"), ("1", "2"), ("1", "0")])
def test_r16_processes_and_hash_seeds_change_no_byte(
    tmp_path: Path, plain: Road, hash_seed: str, workers: str
) -> None:
    files = clusters()
    write_files(tmp_path / "in", files)
    recipe = Recipe.from_dict(
        {
            "sources": {"made": {"path": [f"in/{name}" for name in files]}},
            "ingest": {"part_bytes": 20_000},
            **SHARDS,
        }
    )
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml(), "utf-8")
    command = [sys.executable, "-m", "tracekit", "run", "recipe.yaml", "-w", "work", "--out", "out"]
    env = {**os.environ, "PYTHONHASHSEED": hash_seed, "TRACEKIT_WORKERS": workers}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    road = Road(tmp_path / "work", tmp_path / "out", plain.report)
    assert product(road) == product(plain)
    assert [p.read_bytes() for p in road.shards] == [p.read_bytes() for p in plain.shards]
