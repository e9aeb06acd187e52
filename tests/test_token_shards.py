"""The profiles `tokenized` and `packed` on the whole road: what was counted is what is written."""

import json
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from killed import contents, die_at, go_on, leftovers, write_inputs
from road import Road, call, fresh, go, lines, result, says, travel, user
from tracekit import stages, token_scatter, tokenizers
from tracekit.cli import run as command
from tracekit.encoded import batches
from tracekit.errors import LawError
from tracekit.executors import Trouble
from tracekit.manifest import fingerprint
from tracekit.profiles import PROFILES
from tracekit.recipe import Recipe
from tracekit.render import named
from tracekit.shard_rows import row_digest
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


def rows_of(out: Path) -> list[dict[str, Any]]:
    manifest = json.loads((out / "manifest.json").read_bytes())
    return [r for s in manifest["shards"] for r in pq.read_table(out / s["file"]).to_pylist()]


def unpacked(rows: list[dict[str, Any]]) -> list[tuple[str, int, list[int], list[int]]]:
    found = []
    for row in rows:
        ends = np.cumsum(row["seq_lengths"]).tolist()
        for trace, number, n, end in zip(
            row["ids"], row["samples"], row["seq_lengths"], ends, strict=True
        ):
            at = slice(end - n, end)
            found.append((trace, number, row["input_ids"][at], row["labels"][at]))
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


def chat(k: int, n_words: int) -> dict[str, Any]:
    told = " ".join(f"{k + j} and {k * j}" for j in range(n_words))
    return {
        "messages": [
            user(f"Which number is {k}?"), says("A number.", reasoning=f"Number {k}, I think."),
            user(f"And the {k}th list?"), says(told, reasoning=f"Let me count to {n_words}."),
        ]
    }  # fmt: skip


RECORDS = [chat(k, 40 + 37 * k % 350) for k in range(30)]
SETTINGS: dict[str, Any] = {
    "dedupe": False,
    "render": {"history_thinking": "strip"},
    "shard": {"profile": "packed", "context": 4_000, "tokens_per_shard": 20_000},
}


def with_shard(**changes: Any) -> dict[str, Any]:
    return {**SETTINGS, "shard": {**SETTINGS["shard"], **changes}}


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
        from dataclasses import replace

        wrong = replace(job, spill=str(tmp_path / "spill.arrow"), **{name: values})
        with pytest.raises(LawError, match="counted"):
            real(wrong, Trouble(), lambda first, end: None)
        assert not (tmp_path / "spill.arrow").exists()


# --- verify ---------------------------------------------------------------------------------------


def rewritten(out: Path, change: Any) -> None:
    """Change the first shard as somebody would who also mends every hash in the manifest."""
    manifest = json.loads((out / "manifest.json").read_bytes())
    entry = manifest["shards"][0]
    table = change(pq.read_table(out / entry["file"]))
    pq.write_table(table, out / entry["file"], write_page_checksum=True)
    from tracekit.door import sha256_of

    entry["sha256"] = sha256_of(out / entry["file"])
    entry["n_bytes"] = (out / entry["file"]).stat().st_size
    entry["rows"] = table.num_rows
    entry["row_digest"] = row_digest(table)
    del manifest["seal"]
    (out / "manifest.json").write_text(json.dumps({**manifest, "seal": fingerprint(manifest)}))


def column(name: str, change: Any) -> Any:
    def changed(table: pa.Table) -> pa.Table:
        values = table.column(name).to_pylist()
        values[0] = change(values[0])
        place = table.schema.get_field_index(name)
        kind = table.schema.field(name)
        return table.set_column(place, kind, pa.array(values, kind.type))

    return changed


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (column("labels", lambda v: [12345, *v[1:]]), "labels"),
        (column("position_ids", lambda v: [1, *v[1:]]), "position_ids"),
        (column("seq_lengths", lambda v: [*v[:-1], v[-1] - 1]), "seq_lengths"),
        (column("samples", lambda v: [v[0] + 5, *v[1:]]), "samples"),
        (column("ids", lambda v: ["0" * 32, *v[1:]]), "traces"),
        (lambda table: table.slice(1), "n_tokens"),
        (lambda table: table.drop_columns("position_ids"), "schema"),
    ],
)
def test_verify_sees_what_does_not_hold_though_every_hash_was_mended(
    packed, tmp_path, change, told
):
    shutil.copytree(packed.out, tmp_path / "shards")
    rewritten(tmp_path / "shards", lambda table: table)
    assert not verify(tmp_path / "shards").failed
    rewritten(tmp_path / "shards", change)
    assert any(told in line for line in verify(tmp_path / "shards").failed)


def test_verify_does_not_believe_another_fill_rate(packed, tmp_path):
    shutil.copytree(packed.out, tmp_path / "shards")
    manifest = json.loads((tmp_path / "shards" / "manifest.json").read_bytes())
    manifest["profile"]["fill_share"] = 0.999
    del manifest["seal"]
    sealed = {**manifest, "seal": fingerprint(manifest)}
    (tmp_path / "shards" / "manifest.json").write_text(json.dumps(sealed))
    assert any("fill_share" in line for line in verify(tmp_path / "shards").failed)


# --- trust ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """(recipe, files of the product of a run that nothing disturbed)."""
    folder = tmp_path_factory.mktemp("road")
    recipe = write_inputs(folder)
    text = recipe.read_text("utf-8").replace("shard: {", "shard: {profile: packed, context: 4k, ")
    assert "packed" in text
    recipe.write_text(text, "utf-8")
    return recipe, go_on(recipe, folder / "work", folder / "shards")


@pytest.mark.parametrize(
    "at", [135, 150, 165, *(pytest.param(k, marks=pytest.mark.slow) for k in range(100, 180, 7))]
)
def test_killed_at_a_commit_and_run_again_gives_the_same_packs(road, tmp_path, at):
    recipe, product = road
    work, out = tmp_path / "work", tmp_path / "shards"
    if die_at(at, ("rename", "fsync"), recipe, work, out):
        assert not (out / "manifest.json").exists() or not verify(out).failed
    assert go_on(recipe, work, out) == product
    assert leftovers(work, out) == []


# --- what people see ------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["tokenized", "packed"])
def test_datasets_gives_the_lists_back(packed, tmp_path, profile):
    from datasets import load_dataset

    out = packed.out
    if profile == "tokenized":
        out = travel(tmp_path, {"openai/a.jsonl": RECORDS}, **with_shard(profile=profile)).out
    rows = load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows.column_names == PROFILES[profile].schema.names
    assert list(rows) == rows_of(out)


def test_datasets_never_gives_an_older_product_of_the_same_folder(tmp_path):
    """Its cache knows the name of the folder and the card, not the files."""
    from datasets import load_dataset

    for records in (RECORDS[:3], RECORDS[2:9]):
        road = travel(tmp_path, {"openai/a.jsonl": records}, **with_shard(profile="messages"))
        rows = load_dataset(str(road.out), split="train", cache_dir=str(tmp_path / "cache"))
        assert rows["id"] == [row["id"] for row in road.rows()]
        assert len(rows) == len(records)


@pytest.mark.parametrize("profile", ["tokenized", "packed"])
def test_the_card_says_the_profile_and_how_a_trainer_reads_it(tmp_path, profile):
    road = travel(tmp_path, {"openai/a.jsonl": RECORDS[:5]}, **with_shard(profile=profile))
    card = (road.out / "README.md").read_text("utf-8")
    assert f"Profile {profile}" in card
    assert "max_length=None" in card
    assert ("padding_free=True" in card) == (profile == "packed")
    assert "`messages`" not in card


def test_the_command_takes_profile_and_context_and_keeps_them(packed, tmp_path, capsys):
    shutil.copytree(packed.work, tmp_path / "work")
    words = ["shard", "-w", str(tmp_path / "work"), "--out", str(tmp_path / "out")]
    assert command([*words, "--profile", "packed", "--context", "8k"]) == 0
    assert "packed to 8,000 tokens" in "".join(capsys.readouterr())
    held = json.loads((tmp_path / "work" / "manifest.json").read_bytes())["recipe"]["shard"]
    assert (held["profile"], held["context"]) == ("packed", 8_000)
    assert command([*words, "--profile", "tokenized", "--context", "8k"]) == 2
    assert "--profile packed --context 8k" in "".join(capsys.readouterr())
    assert command([*words, "--profile", "paked"]) != 0
    assert "packed" in "".join(capsys.readouterr())


@pytest.mark.parametrize("context", ["3k", 3_999, 1_048_577, "2M"])
def test_a_context_is_from_4k_to_1m(context):
    from tracekit.recipe import RecipeError

    base = {"sources": {"a": {"path": "a"}}}
    for fine in ("4k", "1M", 1_048_576):
        Recipe.from_dict({**base, "shard": {"profile": "packed", "context": fine}})
    with pytest.raises(RecipeError):
        Recipe.from_dict({**base, "shard": {"profile": "packed", "context": context}})


def test_real_road_of_messages_is_untouched_by_the_other_profiles(tmp_path):
    """A mix of messages has no rule about contexts, and its long traces stay."""
    road = go(tmp_path, _messages_recipe(tmp_path))
    assert road.said("longer_than_context") == set()
    assert road.manifest()["profile"] == {"name": "messages"}


def _messages_recipe(folder: Path) -> dict[str, Any]:
    (folder / "openai").mkdir()
    (folder / "openai" / "a.jsonl").write_bytes(lines([chat(1, 4_100)]))
    return {"sources": {"openai": {"path": "openai/a.jsonl"}}, "shard": {"context": 4_000}}
