"""Killed, or failed by the disk, at any write; run again: the same bytes, nothing lost."""

import shutil
from pathlib import Path

import pytest

from killed import ERRORS, OPERATIONS, die_at, fail_at, go_on, leftovers, write_inputs

COMMITS = ("rename", "fsync")


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """(recipe, files of the product of a run that nothing disturbed)."""
    folder = tmp_path_factory.mktemp("road")
    recipe = write_inputs(folder)
    return recipe, go_on(recipe, folder / "work", folder / "shards")


def killed_and_resumed(
    road: tuple[Path, dict[str, str]], tmp_path: Path, at: int, *, again: bool
) -> bool:
    """One point of the crash loop; False where the run was over before it."""
    recipe, product = road
    work, out = tmp_path / f"work{at}", tmp_path / f"shards{at}"
    if not die_at(at, COMMITS, recipe, work, out):
        return False
    if again:
        die_at(max(1, at // 2), COMMITS, recipe, work, out)
    assert go_on(recipe, work, out) == product
    assert leftovers(work, out) == []
    shutil.rmtree(work)
    shutil.rmtree(out)
    return True


def test_the_run_has_a_dozen_parts(road: tuple[Path, dict[str, str]]) -> None:
    recipe, product = road
    assert len(list((recipe.parent / "work" / "traces").rglob("*.parquet"))) >= 12
    assert len([name for name in product if name.endswith(".parquet")]) >= 2


@pytest.mark.parametrize("at", [6, 57, 160])
def test_killed_at_a_commit_and_run_again_gives_the_same_bytes(
    road: tuple[Path, dict[str, str]], tmp_path: Path, at: int
) -> None:
    assert killed_and_resumed(road, tmp_path, at, again=False)


def crash_loop(road: tuple[Path, dict[str, str]], tmp_path: Path, first: int, step: int) -> None:
    """Kill at every `step`-th point; every tenth point kills the second run too."""
    at = first
    while killed_and_resumed(road, tmp_path, at, again=at % 10 == 0):
        at += step
    assert at > 150


@pytest.mark.slow
@pytest.mark.parametrize("first", [5, 10, 15, 20])
def test_killed_at_every_fifth_rename_and_fsync_and_run_again_gives_the_same_bytes(
    road: tuple[Path, dict[str, str]], tmp_path: Path, first: int
) -> None:
    crash_loop(road, tmp_path, first, 20)


@pytest.mark.night
@pytest.mark.parametrize("first", range(1, 9))
def test_killed_at_every_rename_and_fsync_and_run_again_gives_the_same_bytes(
    road: tuple[Path, dict[str, str]], tmp_path: Path, first: int
) -> None:
    crash_loop(road, tmp_path, first, 8)


@pytest.mark.parametrize(("error", "forever", "at"), [("ENOSPC", True, 30), ("EIO", False, 190)])
def test_a_failing_disk_ends_with_74_and_a_rerun_gives_the_same_bytes(
    road: tuple[Path, dict[str, str]], tmp_path: Path, error: str, forever: bool, at: int
) -> None:
    failed_and_resumed(road, tmp_path, error, forever, at)


def failed_and_resumed(
    road: tuple[Path, dict[str, str]], tmp_path: Path, error: str, forever: bool, at: int
) -> bool:
    recipe, product = road
    work, out = tmp_path / f"work{at}", tmp_path / f"shards{at}"
    code, message = fail_at(at, ERRORS[error], forever, OPERATIONS, recipe, work, out)
    if code == 0:
        return False
    assert code == 74
    assert error in message
    assert "-->" in message
    assert go_on(recipe, work, out) == product
    assert leftovers(work, out) == []
    return True


@pytest.mark.slow
@pytest.mark.parametrize(("error", "forever"), [("ENOSPC", True), ("EIO", False)])
def test_every_thirty_fifth_operation_may_fail(
    road: tuple[Path, dict[str, str]], tmp_path: Path, error: str, forever: bool
) -> None:
    at = 1
    while failed_and_resumed(road, tmp_path, error, forever, at):
        at += 35
    assert at > 300
