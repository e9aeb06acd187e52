"""The profiles `tokenized` and `packed` on the whole road: what was counted is what is written."""

import json
import shutil
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from killed import contents
from road import Road, call, fresh, lines, result, says, travel, user
from token_mix import RECORDS, SETTINGS, chat, rows_of, unpacked, with_shard
from tracekit import stages, token_scatter, tokenizers
from tracekit.encoded import batches
from tracekit.errors import LawError
from tracekit.executors import Trouble
from tracekit.recipe import Recipe
from tracekit.render import named
from tracekit.verifying import verify


@pytest.fixture(autouse=True)
def _inline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACEKIT_WORKERS", "0")


# --- what goes in: long enough for several packs of the smallest context --------------------------

words = st.builds(
    lambda word, n: f"{word} " * n, st.sampled_from(("tide", "ёж", "<|im_end|>", "7 ")),
    st.integers(1, 500),
)  # fmt: skip


@st.composite
def records(draw: st.DrawFn) -> dict[str, Any]:
    turns: list[Any] = [{"role": "system", "content": draw(words)}] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 3))):
        turns.append(user(draw(words)))
        if draw(st.booleans()):
            turns.append(says(None, reasoning=draw(words), tool_calls=[call("f", {"a": 1})]))
            turns.append(result(draw(words)))
        more = {"weight": 0} if draw(st.integers(0, 5)) == 0 else {}
        turns.append(says(draw(words), reasoning=draw(words | st.none()), **more))
    return {"messages": turns}


def samples_of_traces(road: Road, history: str) -> dict[str, list[tuple[list[int], list[int]]]]:
    """(ids, labels) of the samples of each kept trace, each trace rendered and encoded alone."""
    kept = {t["id"] for t in road.decisions().filter("kept").to_dicts()}
    hashes = {t["id"]: t["content_hash"] for t in road.evidence("text")}
    found: dict[str, list[tuple[list[int], list[int]]]] = {}
    for row in road.traces():
        if row["id"] in kept:
            (batch,) = batches([row], tokenizers.load(), named(), history)  # type: ignore[arg-type]
            ids, offsets, target = batch.samples()
            labels = np.where(target, ids.astype(np.int64), -100)
            found[hashes[row["id"]]] = [
                (ids[a:b].tolist(), labels[a:b].tolist()) for a, b in pairwise(offsets.tolist())
            ]
    return found


@settings(max_examples=12, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(
    st.lists(records(), min_size=1, max_size=8),
    st.sampled_from(["keep", "strip", "as_is"]),
    st.sampled_from([1_000, 10**6]),
)
def test_every_token_of_a_kept_trace_stands_in_exactly_one_place(found, history, per_shard):
    folder = fresh()
    recipe: dict[str, Any] = {
        "render": {"history_thinking": history},
        "shard": {"profile": "tokenized", "tokens_per_shard": per_shard},
        "ingest": {"part_bytes": 3_000},
        # A long trace that leaves must not call back the duplicates that it won over.
        "dedupe": False,
    }
    for k, record in enumerate(found):
        record["messages"].append(user(f"Number {k}."))
    road = travel(folder, {"openai/a.jsonl": lines(found)}, **recipe)
    expected = samples_of_traces(road, history)
    rows = rows_of(road.out)
    got: dict[str, list[tuple[list[int], list[int]]]] = {}
    for row in rows:
        assert row["sample"] == len(got.setdefault(row["id"], []))
        got[row["id"]].append((row["input_ids"], row["labels"]))
    assert got == expected
    manifest = road.manifest()
    assert manifest["n_target_tokens"] == sum(
        label != -100 for samples in expected.values() for _, labels in samples for label in labels
    )
    assert not verify(road.out).failed

    work = Recipe.from_dict(
        json.loads((road.work / "manifest.json").read_bytes())["recipe"], folder=road.work
    )
    packed = work.edited({"shard": {"profile": "packed", "context": 4_000}})
    stages.shard(packed, road.work, folder / "packed")
    rows = rows_of(folder / "packed")
    fits = {t: s for t, s in expected.items() if all(len(ids) <= 4_000 for ids, _ in s)}
    assert sorted(unpacked(rows)) == sorted(
        (t, k, *sample) for t, samples in fits.items() for k, sample in enumerate(samples)
    )
    assert all(row["n_tokens"] == sum(row["seq_lengths"]) <= 4_000 for row in rows)
    told = json.loads((folder / "packed" / "manifest.json").read_bytes())
    assert told["traces"] == len(fits)
    assert told["dropped"].get("longer_than_context", 0) == len(expected) - len(fits)
    assert told["profile"]["n_packs"] == len(rows)
    assert told["profile"]["n_samples"] == sum(map(len, fits.values()))
    assert not verify(folder / "packed").failed


# --- a mix for the tests that look at one thing ---------------------------------------------------


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Road:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRACEKIT_WORKERS", "0")
        folder = tmp_path_factory.mktemp("packed")
        return travel(folder, {"openai/a.jsonl": RECORDS}, **SETTINGS)


def test_there_are_several_packs_in_several_shards_and_the_manifest_says_how_full(packed):
    manifest = packed.manifest()
    told = manifest["profile"]
    lengths = [n for t in packed.evidence("tokens") for n in t["sample_tokens"]]
    assert len(manifest["shards"]) >= 2
    assert told["n_samples"] == len(lengths) == 2 * len(RECORDS)
    assert told["longest_sample_tokens"] == max(lengths)
    assert told["fill_share"] == sum(lengths) / (told["n_packs"] * 4_000)
    assert told["n_packs"] == len(rows_of(packed.out)) >= sum(lengths) / 4_000
    assert f"{told['n_packs']:,} packs, {told['fill_share']:.1%} filled" in str(packed.report.notes)
    assert told["fill_share"] > 0.9


@pytest.mark.parametrize("profile", ["tokenized", "packed"])
@pytest.mark.parametrize("part_bytes", [2_000, 10**8])
@pytest.mark.parametrize("workers", ["0", pytest.param("2", marks=pytest.mark.slow)])
def test_workers_part_size_and_order_of_files_do_not_change_a_byte(
    packed, tmp_path, monkeypatch, profile, part_bytes, workers
):
    monkeypatch.setenv("TRACEKIT_WORKERS", "0")
    first = travel(
        tmp_path, {"openai/a.jsonl": RECORDS}, name="first", **with_shard(profile=profile)
    )
    monkeypatch.setenv("TRACEKIT_WORKERS", workers)
    files = {"openai/z.jsonl": RECORDS[:11], "openai/b.jsonl": RECORDS[:10:-1]}
    again = travel(
        tmp_path,
        files,
        name="again",
        ingest={"part_bytes": part_bytes},
        **with_shard(profile=profile),
    )
    assert contents(first.out) == contents(again.out)
    if profile == "packed":
        assert contents(first.out) == contents(packed.out)


def test_packs_of_another_seed_are_in_another_order(packed, tmp_path):
    other = travel(tmp_path, {"openai/a.jsonl": RECORDS}, seed=7, **SETTINGS)
    one, two = rows_of(packed.out), rows_of(other.out)
    assert sorted(unpacked(one)) == sorted(unpacked(two))
    assert [r["ids"] for r in one] != [r["ids"] for r in two]


def test_one_workspace_gives_each_profile_and_comes_back_to_the_first(packed, tmp_path):
    shutil.copytree(packed.work, tmp_path / "work")
    work = tmp_path / "work"
    recipe = Recipe.from_dict(
        json.loads((work / "manifest.json").read_bytes())["recipe"], folder=work
    )
    rows = {}
    for profile in ("messages", "tokenized", "packed"):
        changed = recipe.edited({"shard": {"profile": profile}})
        report = stages.shard(changed, work, tmp_path / profile)
        assert report.data["profile"]["name"] == profile
        assert not verify(tmp_path / profile).failed
        rows[profile] = rows_of(tmp_path / profile)
    tokenized = [(r["id"], r["sample"], r["input_ids"], r["labels"]) for r in rows["tokenized"]]
    assert sorted(unpacked(rows["packed"])) == sorted(tokenized)
    assert [r["id"] for r in rows["messages"]] == list(dict.fromkeys(r[0] for r in tokenized))
    assert contents(tmp_path / "packed") == contents(packed.out)
    again = stages.shard(recipe, work, tmp_path / "packed")
    assert "nothing was written" in str(again.notes)


def test_equal_copies_have_ids_of_their_own(tmp_path):
    files = {"openai/a.jsonl": [RECORDS[0], RECORDS[0], RECORDS[1]]}
    road = travel(tmp_path, files, **SETTINGS)
    ids = [r for row in rows_of(road.out) for r in row["ids"]]
    assert len(ids) == 6
    assert len(set(ids)) == 3
    assert not verify(road.out).failed


def test_a_trace_that_no_pack_can_hold_is_dropped_whole_with_a_row_in_the_ledger(tmp_path):
    long = chat(99, 4_100)
    road = travel(tmp_path, {"openai/a.jsonl": [*RECORDS[:3], long]}, **SETTINGS)
    (row,) = road.ledger().filter(code="longer_than_context").to_dicts()
    assert row["action"] == "drop"
    assert row["threshold"] == 4_000
    assert row["value"] > 4_000
    assert road.manifest()["dropped"] == {"longer_than_context": 1}
    assert len({i for r in rows_of(road.out) for i in r["ids"]}) == 3
    assert "4 traces = 3 in shards + 1 dropped" in road.report.law


def test_nothing_kept_is_an_empty_product_that_verifies(tmp_path):
    recipe = {**SETTINGS, "filter": {"min_tokens": 10**6}}
    road = travel(tmp_path, {"openai/a.jsonl": RECORDS[:2]}, **recipe)
    assert rows_of(road.out) == []
    assert road.manifest()["profile"]["fill_share"] == 0
    assert not verify(road.out).failed


def test_a_kept_trace_without_a_row_for_each_of_its_tokens_stops_the_run(
    packed, monkeypatch, tmp_path
):
    """The second law is checked where tokens are laid out: the counts are those of the evidence."""
    jobs: list[token_scatter.SampleJob] = []
    real = token_scatter.scatter_samples

    def seen(job, trouble, note):
        jobs.append(job)
        return real(job, trouble, note)

    monkeypatch.setattr(token_scatter, "scatter_samples", seen)
    shutil.copytree(packed.work, tmp_path / "work")
    recipe = Recipe.from_dict(
        json.loads((tmp_path / "work" / "manifest.json").read_bytes())["recipe"],
        folder=tmp_path / "work",
    )
    stages.shard(recipe, tmp_path / "work", tmp_path / "out")
    job = jobs[0]
    for name in ("tokens_S", "n_target_tokens_R"):
        values = getattr(job, name).copy()
        values[3] += 1
        wrong = replace(job, spill=str(tmp_path / "spill.arrow"), **{name: values})
        with pytest.raises(LawError, match="counted"):
            real(wrong, Trouble(), lambda first, end: None)
        assert not (tmp_path / "spill.arrow").exists()


# --- masks that are decided -----------------------------------------------------------------------


def fork(*endings: str) -> list[dict[str, Any]]:
    """Traces that begin with the same two turns and go on in other ways."""
    begin = [user("Name a river."), says("The Elbe.", reasoning="Any river will do.")]
    return [
        {"messages": [*begin, user(f"And {e}?"), says(f"{e} it is.", reasoning=f"They want {e}.")]}
        for e in endings
    ]


@pytest.mark.parametrize("profile", ["tokenized", "packed"])
@pytest.mark.parametrize("history", ["keep", "strip"])
def test_what_forks_share_is_trained_in_one_of_their_rows(tmp_path, profile, history):
    files = {"openai/a.jsonl": fork("a bridge", "some rain", "seven tall ships")}
    dedupe = {"threshold": 1.0, "shared_prefixes": "once"}
    recipe = {"render": {"history_thinking": history}, "dedupe": dedupe}
    road = travel(tmp_path, files, shard={"profile": profile, "context": 4_000}, **recipe)
    assert len(road.said("shared_prefix")) == 2
    rows = rows_of(road.out)
    tokenizer = tokenizers.load()
    shared, _ = tokenizer.encode_flat(["The Elbe."])
    trained = [
        [label for label in row["labels"] if label != -100] for row in rows
    ]  # fmt: skip
    n_shared = sum(
        labels[k : k + len(shared)] == shared.tolist()
        for labels in trained
        for k in range(len(labels))
    )
    assert n_shared == 1
    manifest = road.manifest()
    assert manifest["n_target_tokens"] == sum(map(len, trained))
    assert manifest["traces"] == 3
    # Under strip the shared turn is a sample of its own, and two of the three have no target left.
    n_empty = sum(not labels for labels in trained)
    assert n_empty == (2 if (profile, history) == ("tokenized", "strip") else 0)
    assert manifest["profile"]["rows_without_target"] == n_empty
    card = (road.out / "README.md").read_text("utf-8")
    assert ("rows.filter(" in card) == bool(n_empty)
    assert not verify(road.out).failed
