"""Products of the token profiles: verified, killed and made again, read by `datasets`, told."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from killed import die_at, go_on, leftovers, write_inputs
from road import Road, go, lines, travel
from token_mix import RECORDS, SETTINGS, chat, rows_of, with_shard
from tracekit.cli import run as command
from tracekit.door import sha256_of
from tracekit.manifest import fingerprint
from tracekit.profiles import PROFILES
from tracekit.recipe import Recipe, RecipeError
from tracekit.shard_rows import row_digest
from tracekit.verifying import verify


@pytest.fixture(autouse=True)
def _inline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACEKIT_WORKERS", "0")


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Road:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRACEKIT_WORKERS", "0")
        folder = tmp_path_factory.mktemp("packed")
        return travel(folder, {"openai/a.jsonl": RECORDS}, **SETTINGS)


# --- verify ---------------------------------------------------------------------------------------


def rewritten(out: Path, change: Any) -> None:
    """Change the first shard as somebody would who also mends every hash in the manifest."""
    manifest = json.loads((out / "manifest.json").read_bytes())
    entry = manifest["shards"][0]
    table = change(pq.read_table(out / entry["file"]))
    pq.write_table(table, out / entry["file"], write_page_checksum=True)
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


def test_datasets_never_gives_another_product_of_the_same_folder_name(tmp_path):
    """Its cache knows the name of the folder and the card, not the files."""
    from datasets import load_dataset

    for k, records in enumerate((RECORDS[:3], RECORDS[2:9])):
        road = travel(
            tmp_path / str(k), {"openai/a.jsonl": records}, **with_shard(profile="messages")
        )
        rows = load_dataset(str(road.out), split="train", cache_dir=str(tmp_path / "cache"))
        assert list(rows["id"]) == [row["id"] for row in road.rows()]
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
