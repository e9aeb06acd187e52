"""A disk that fails or is full: exit code 74, a clear line, and no half of anything."""

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import tracekit
from faults import Watched, command, lies
from killed import child, contents, go_on, leftovers, run_here, write_inputs
from tracekit.errors import StorageError, TracekitError
from tracekit.recipe import Recipe


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """(recipe, files of the product of a run that nothing disturbed)."""
    folder = tmp_path_factory.mktemp("road")
    recipe = write_inputs(folder)
    return recipe, go_on(recipe, folder / "work", folder / "shards")


def with_failing_writes(
    at: int, number: int, forever: bool, recipe: str, work: str, out: str, told: str
) -> None:
    """In a child: run while the `at`-th write of bytes, or each from there on, fails."""
    from tracekit import door

    real, n_writes = door.disk.open, 0
    failed_on: list[str] = []

    def open_(path: Path, mode: int | None) -> Any:
        def before_write(data: bytes) -> None:
            nonlocal n_writes
            n_writes += 1
            if n_writes == at or (forever and n_writes > at):
                failed_on.append(str(path))
                raise OSError(number, os.strerror(number))

        return Watched(real(path, mode), before_write)

    door.disk.open = open_
    said = ""
    code = 0
    try:
        run_here(recipe, work, out)
    except TracekitError as error:
        code, said = error.exit_code, str(error)
    Path(told).write_text(json.dumps([code, said, failed_on]), "utf-8")


def fail_write(
    road: tuple[Path, dict[str, str]], folder: Path, at: int, number: int, forever: bool
) -> bool:
    recipe, product = road
    folder.mkdir()
    work, out, told = folder / "work", folder / "shards", folder / "told.json"
    assert not child(
        with_failing_writes, at, number, forever, str(recipe), str(work), str(out), str(told)
    )
    code, said, failed_on = json.loads(told.read_text("utf-8"))
    if not failed_on:
        return False
    temporary = Path(failed_on[0])
    final = temporary.with_name(temporary.name.split("-", 2)[2])
    assert code == 74
    assert errno.errorcode[number] in said
    assert f"--> {final}" in said
    assert not final.exists()
    assert not list(folder.rglob(".tmp-*"))
    assert no_manifest_lies(folder)
    for file in folder.rglob("*.parquet"):
        pq.read_table(file, page_checksum_verification=True)
    assert go_on(recipe, work, out) == product
    assert leftovers(work, out) == []
    return True


def no_manifest_lies(folder: Path) -> bool:
    files = [p for p in folder.rglob("*") if p.is_file()]
    state = {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}
    return not lies(state, ("work/manifest.json", "shards/manifest.json"))


@pytest.mark.parametrize(
    ("number", "forever", "at"),
    [(errno.ENOSPC, True, 2), pytest.param(errno.EIO, False, 2_500, marks=pytest.mark.slow)],
)
def test_a_write_that_fails_leaves_nothing_under_a_final_name(
    road: tuple[Path, dict[str, str]], tmp_path: Path, number: int, forever: bool, at: int
) -> None:
    assert fail_write(road, tmp_path / "here", at, number, forever)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "forever"), [(errno.ENOSPC, True), (errno.EIO, False)])
def test_any_write_may_fail(
    road: tuple[Path, dict[str, str]], tmp_path: Path, number: int, forever: bool
) -> None:
    at = 1
    while fail_write(road, tmp_path / str(at), at, number, forever):
        at += 499
    assert at > 3_000


def run_with(
    road: tuple[Path, dict[str, str]], folder: Path, *, words: list[str] | None = None, **how: Any
) -> subprocess.CompletedProcess[str]:
    line = command("run", road[0], "-w", folder / "work", "--out", folder / "shards")
    env = {**os.environ, "TRACEKIT_WORKERS": "0"}
    return subprocess.run(
        [*(words or []), *line],
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **how},
        text=True,
        env=env,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
def test_a_file_that_may_not_grow_is_an_error_with_its_path(
    road: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (6_000, 6_000))

    done = run_with(road, tmp_path, preexec_fn=limited)
    assert done.returncode == 74, done.stderr
    assert "EFBIG" in done.stderr
    assert str(tmp_path / "work") in done.stderr
    assert "Traceback" not in done.stderr
    assert go_on(road[0], tmp_path / "work", tmp_path / "shards") == road[1]
    assert leftovers(tmp_path / "work", tmp_path / "shards") == []


def namespaces_work() -> bool:
    if sys.platform != "linux" or shutil.which("unshare") is None:
        return False
    probe = ["unshare", "-rm", "sh", "-c", "mount -t tmpfs -o size=64k tmpfs /mnt"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("size", ["100k", "300k", "600k"])
def test_a_disk_that_is_really_full_is_told_and_room_is_enough_to_go_on(
    road: tuple[Path, dict[str, str]], tmp_path: Path, size: str
) -> None:
    if not namespaces_work():
        pytest.skip("no tmpfs in a user namespace here: the really full disk was not tried")
    small, saved = tmp_path / "small", tmp_path / "saved"
    small.mkdir()
    line = " ".join(
        f"'{w}'" for w in command("run", road[0], "-w", small / "work", "--out", small / "shards")
    )
    script = (
        f"mount -t tmpfs -o size={size} tmpfs '{small}' && {{ {line}; code=$?; "
        f"cp -a '{small}' '{saved}'; exit $code; }}"
    )
    env = {**os.environ, "TRACEKIT_WORKERS": "0"}
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script],
        capture_output=True, text=True, env=env, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 74, done.stderr
    assert "ENOSPC" in done.stderr
    assert "free some space" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(saved.rglob(".tmp-*"))
    assert no_manifest_lies(saved)
    assert go_on(road[0], saved / "work", saved / "shards") == road[1]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_report_that_cannot_be_printed_exits_with_74_and_the_work_is_done(
    road: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    with open("/dev/full", "w") as full:
        done = run_with(road, tmp_path, stdout=full)
    assert done.returncode == 74
    assert "could not write to standard output" in done.stderr
    assert "Traceback" not in done.stderr
    assert contents(tmp_path / "shards") == road[1]


@pytest.mark.slow
def test_a_reader_of_the_report_that_leaves_early_stops_nothing(
    road: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    read, write = os.pipe()
    os.close(read)
    done = run_with(road, tmp_path, stdout=write)
    os.close(write)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert contents(tmp_path / "shards") == road[1]


@pytest.mark.parametrize(
    "thing", ["ledger", *(pytest.param(t, marks=pytest.mark.slow) for t in ("traces", "evidence"))]
)
def test_a_folder_that_may_not_be_written_is_an_error_and_what_was_done_is_kept(
    road: tuple[Path, dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, thing: str
) -> None:
    """A file in the place of a folder: it stops root as well."""
    work, out = tmp_path / "work", tmp_path / "shards"
    work.mkdir()
    (work / thing).write_text("in the way", "utf-8")
    monkeypatch.setenv("TRACEKIT_WORKERS", "0")
    with pytest.raises(StorageError) as caught:
        tracekit.run(Recipe.load(road[0]), work=work, out=out)
    assert caught.value.exit_code == 74
    assert str(work / thing) in str(caught.value)
    assert (work / thing).read_text("utf-8") == "in the way"
    assert not out.exists()
    (work / thing).unlink()
    assert go_on(road[0], work, out) == road[1]
