"""A file that is not what was written: named by `verify`, never used, made anew once it is gone."""

import json
import random
import shutil
from pathlib import Path

import pytest

import tracekit
from faults import DAMAGES, named_files
from killed import contents, write_inputs
from tracekit.errors import InputError, StorageError, TracekitError
from tracekit.recipe import Recipe

WORK = (
    "traces", "rejects", "events", "evidence/edits", "evidence/text", "evidence/tokens",
    "evidence/sketch", "evidence/findings", "evidence/global", "ledger",
)  # fmt: skip
KINDS = (*(f"work/{thing}" for thing in WORK), "shards/data")

Road = tuple[Path, Path, dict[str, str]]


@pytest.fixture(autouse=True)
def _inline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACEKIT_WORKERS", "0")


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Road:
    """(recipe, folder with work and shards, files of the product)."""
    folder = tmp_path_factory.mktemp("road")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRACEKIT_WORKERS", "0")
        recipe = write_inputs(folder / "in")
        run(recipe, folder)
    return recipe, folder, contents(folder / "shards")


def run(recipe: Path, folder: Path) -> None:
    tracekit.run(Recipe.load(recipe), work=folder / "work", out=folder / "shards")


def copied(road: Road, folder: Path) -> Path:
    for name in ("work", "shards"):
        shutil.copytree(road[1] / name, folder / name)
    return folder


def verdict(folder: Path, file: Path) -> list[str]:
    """What `verify` says of the folder that a file belongs to."""
    failed = tracekit.verify(folder / file.relative_to(folder).parts[0]).failed
    assert isinstance(failed, list)
    return failed


def reading_it_is_refused(folder: Path, file: Path) -> None:
    """Whoever reads the file itself, and not only its manifest, is told of it."""
    work = folder / "work"
    opened = tracekit.open(work)
    thing = "/".join(file.relative_to(folder).parts[1:-2])
    readers = {
        "traces": lambda: opened.traces,
        "rejects": lambda: opened.rejects,
        "evidence/text": opened.known,
        "evidence/tokens": opened.known,
        "evidence/findings": opened.known,
        "evidence": opened.known,  # pairs
    }
    if file.name == "ledger.parquet":
        reader = lambda: opened.ledger  # noqa: E731
    elif thing in readers:
        reader = readers[thing]
    else:
        return
    with pytest.raises(StorageError) as caught:
        reader()
    assert caught.value.exit_code == 74
    assert file.name in str(caught.value)


def damaged_and_mended(road: Road, folder: Path, file: Path, how: str, at: int) -> bool:
    """One damage; False where it changes nothing."""
    recipe, _, product = road
    whole = file.read_bytes()
    siblings = [p for p in sorted(file.parent.glob("*.parquet")) if p != file]
    sibling = siblings[at % len(siblings)].read_bytes() if siblings else b"PAR1"
    file.write_bytes(DAMAGES[how](whole, sibling, at % len(whole)))
    if file.read_bytes() == whole:
        return False
    assert any(file.name in line for line in verdict(folder, file)), f"{how} of {file.name}"
    if file.relative_to(folder).parts[0] == "work":
        reading_it_is_refused(folder, file)
    others = [p for p in folder.rglob("*") if p.is_file() and p.suffix == ".parquet" and p != file]
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in others}
    try:
        run(recipe, folder)  # who does not read the file goes on, and uses nothing of it
    except TracekitError as error:
        assert error.exit_code == 74
        assert file.name in str(error)
        assert "delete this file and run" in str(error)
    if file.read_bytes() != whole:
        file.unlink()
        run(recipe, folder)
    assert file.read_bytes() == whole
    assert contents(folder / "shards") == product
    assert tracekit.verify(folder / "work").failed == []
    assert tracekit.verify(folder / "shards").failed == []
    assert [p for p in others if p.read_bytes() != before[p][1]] == []
    part = file.relative_to(folder).parts
    if part[0] == "work" and part[1] in ("traces", "rejects", "events", "evidence"):
        again = [p for p in others if p.stat().st_mtime_ns != before[p][0]]
        follows = ("pairs.parquet", "ledger.parquet", "decisions.parquet")
        kin = {p.name for p in again} - {file.name, *follows}
        assert kin == set(), "only this part is made anew"
    return True


@pytest.mark.parametrize("kind", KINDS)
def test_one_bit_of_any_kind_of_file_is_named_refused_and_mended(
    road: Road, tmp_path: Path, kind: str
) -> None:
    folder = copied(road, tmp_path)
    file = sorted((folder / kind).rglob("*.parquet"))[0]
    assert damaged_and_mended(road, folder, file, "one bit", len(file.read_bytes()) // 2)


@pytest.mark.slow
@pytest.mark.parametrize("how", sorted(DAMAGES))
def test_any_damage_to_any_file_is_named_refused_and_mended(
    road: Road, tmp_path: Path, how: str
) -> None:
    chance = random.Random(how)
    n_damages = 0
    for kind in KINDS:
        folder = copied(road, tmp_path / kind)
        file = chance.choice(sorted((folder / kind).rglob("*.parquet")))
        n_damages += damaged_and_mended(road, folder, file, how, chance.randrange(1 << 20))
    assert n_damages > 5


@pytest.mark.parametrize("name", ["work", "shards"])
def test_one_bit_anywhere_is_named_by_verify(road: Road, tmp_path: Path, name: str) -> None:
    """Hundreds of places, in every file that a manifest names."""
    folder = copied(road, tmp_path)
    manifest = json.loads((folder / name / "manifest.json").read_bytes())
    chance = random.Random(name)
    for file, _ in sorted(named_files(manifest).items())[:: 5 if name == "work" else 1]:
        path = folder / name / file
        whole = path.read_bytes()
        path.write_bytes(DAMAGES["one bit"](whole, b"", chance.randrange(len(whole))))
        assert any(path.name in line for line in verdict(folder, path)), file
        path.write_bytes(whole)
    assert verdict(folder, folder / name / "manifest.json") == []


@pytest.mark.parametrize("how", ["cut", "empty", "zeros"])
@pytest.mark.parametrize("name", ["work", "shards"])
def test_a_manifest_that_is_cut_is_refused_and_nothing_is_written(
    road: Road, tmp_path: Path, name: str, how: str
) -> None:
    folder = copied(road, tmp_path)
    manifest = folder / name / "manifest.json"
    manifest.write_bytes(DAMAGES[how](manifest.read_bytes(), b"", 400))
    assert verdict(folder, manifest)
    before = {
        p: p.stat().st_mtime_ns for p in (folder / name).rglob("*.*") if ".lock" not in p.name
    }
    with pytest.raises(StorageError, match="manifest") as caught:
        run(road[0], folder)
    assert str(manifest) in str(caught.value)
    assert {p: p.stat().st_mtime_ns for p in before} == before
    shutil.rmtree(folder / name)  # what the message advises
    run(road[0], folder)
    assert contents(folder / "shards") == road[2]


def test_one_bit_anywhere_in_a_manifest_is_never_believed(road: Road, tmp_path: Path) -> None:
    folder = copied(road, tmp_path)
    for name in ("work", "shards"):
        manifest = folder / name / "manifest.json"
        whole = manifest.read_bytes()
        good = json.loads(whole)
        for at in range(0, len(whole), 19):
            manifest.write_bytes(DAMAGES["one bit"](whole, b"", at))
            try:
                same = json.loads(manifest.read_bytes()) == good
            except ValueError:
                same = False
            try:
                failed = tracekit.verify(folder / name).failed
            except InputError as error:  # a bit of the format's number
                failed = [str(error)]
            assert same or failed, at
        manifest.write_bytes(whole)


def test_a_manifest_of_shards_with_another_number_in_it_is_written_anew(
    road: Road, tmp_path: Path
) -> None:
    folder = copied(road, tmp_path)
    manifest = folder / "shards" / "manifest.json"
    whole = manifest.read_bytes()
    manifest.write_bytes(whole.replace(b'"n_tokens": ', b'"n_tokens": 1', 1))
    run(road[0], folder)
    assert contents(folder / "shards") == road[2]
    assert tracekit.verify(folder / "shards").failed == []


def test_a_part_of_another_run_is_not_taken_for_its_own(road: Road, tmp_path: Path) -> None:
    """Whole, readable and with the right name, but of other records."""
    folder = copied(road, tmp_path)
    other = write_inputs(tmp_path / "other")
    lines = (tmp_path / "other" / "chat" / "a.jsonl").read_text("utf-8").replace("town", "city")
    (tmp_path / "other" / "chat" / "a.jsonl").write_text(lines, "utf-8")
    run(other, tmp_path / "second")
    mine = sorted((folder / "work" / "traces" / "chat").iterdir())[0]
    shutil.copy(tmp_path / "second" / mine.relative_to(folder), mine)
    assert any(mine.name in line for line in verdict(folder, mine))
    reading_it_is_refused(folder, mine)
    mine.unlink()
    run(road[0], folder)
    assert contents(folder / "shards") == road[2]


def test_all_files_of_a_part_may_be_lost_at_once(road: Road, tmp_path: Path) -> None:
    folder = copied(road, tmp_path)
    name = sorted((folder / "work" / "traces" / "logs").iterdir())[1].name
    lost = [p for p in (folder / "work").rglob(name) if p.parent.name == "logs"]
    assert len(lost) == 8
    for file in lost:
        file.unlink()
    run(road[0], folder)
    assert contents(folder / "shards") == road[2]
    assert tracekit.verify(folder / "work").failed == []
