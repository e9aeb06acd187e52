"""Killed or without power anywhere, also over an older result: no manifest ever lies."""

import json
import os
import random
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from faults import Entry, States, command, kill_group, laid_out, lies, recorded, start
from killed import contents, die_at, go_on, leftovers, run_here, write_inputs

COMMITS = ("rename", "fsync")
MANIFESTS = ("work/manifest.json", "shards/manifest.json")

Finished = tuple[Path, Path, dict[str, str]]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A recipe, and another one of the same sources whose evidence and ledger differ."""
    recipe = write_inputs(tmp_path_factory.mktemp("inputs"))
    other = recipe.with_name("other.yaml")
    changes = "filter: {min_tokens: 200}\nrender: {template: chatml}\ndedupe: {floor: 0.75}\n"
    other.write_text(recipe.read_text("utf-8") + changes, "utf-8")
    return recipe, other


@pytest.fixture(scope="module")
def finished(inputs: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """(folder with work and shards, the other recipe, files of the product)."""
    folder = tmp_path_factory.mktemp("finished")
    return folder, inputs[1], go_on(inputs[0], folder / "work", folder / "shards")


def killed_over_an_older_result(
    inputs: tuple[Path, Path], finished: Finished, tmp_path: Path, at: int
) -> bool:
    folder, other, product = finished
    here = tmp_path / f"at{at}"
    shutil.copytree(folder, here)
    if not die_at(at, COMMITS, other, here / "work", here / "shards"):
        return False
    # back to the first recipe: what the manifest still names must be true for it
    assert go_on(inputs[0], here / "work", here / "shards") == product
    assert leftovers(here / "work", here / "shards") == []
    shutil.rmtree(here)
    return True


@pytest.mark.parametrize("at", [60, *(pytest.param(n, marks=pytest.mark.slow) for n in (4, 108))])
def test_killed_while_another_recipe_replaces_a_result_the_first_one_comes_back(
    inputs: tuple[Path, Path], finished: Finished, tmp_path: Path, at: int
) -> None:
    assert killed_over_an_older_result(inputs, finished, tmp_path, at)


@pytest.mark.parametrize(
    "step", [pytest.param(11, marks=pytest.mark.slow), pytest.param(1, marks=pytest.mark.night)]
)
def test_killed_at_every_commit_of_another_recipe_the_first_one_comes_back(
    inputs: tuple[Path, Path], finished: Finished, tmp_path: Path, step: int
) -> None:
    at = step
    while killed_over_an_older_result(inputs, finished, tmp_path, at):
        at += step
    assert at > 100


@pytest.fixture(scope="module")
def log(inputs: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """All that two runs, the second with the other recipe, told the disk; the folder of both."""
    folder = tmp_path_factory.mktemp("log")
    before = os.environ.get("TRACEKIT_WORKERS")
    try:
        with recorded() as entries:
            for recipe in inputs:
                run_here(str(recipe), str(folder / "work"), str(folder / "shards"))
    finally:
        os.environ.pop("TRACEKIT_WORKERS")
        if before is not None:
            os.environ["TRACEKIT_WORKERS"] = before
    return entries, folder


def test_no_power_loss_leaves_a_manifest_that_lies(log: tuple[list[Entry], Path]) -> None:
    n_states = n_with_manifest = 0
    for cut, state in States(*log).each(n_variants=8):
        assert lies(state, MANIFESTS) == [], f"after entry {cut}: {log[0][cut]}"[:300]
        n_states += 1
        n_with_manifest += any(name in state for name in MANIFESTS)
    assert n_states > 9_000
    assert n_with_manifest > 5_000


@pytest.mark.parametrize("forgotten", ["fsync", "fsync_folder", "folders made on the way"])
def test_a_door_that_forgets_to_sync_would_be_caught(
    log: tuple[list[Entry], Path], forgotten: str
) -> None:
    entries, folder = log
    made_on_the_way = forgotten not in ("fsync", "fsync_folder")
    holds_files = {os.path.dirname(e[-1]) for e in entries if e[0] == "rename"}
    kept = [
        e
        for e in entries
        if not (
            e[0] == forgotten
            or (made_on_the_way and e[0] == "fsync_folder" and e[1] not in holds_files)
        )
    ]
    assert len(kept) < len(entries)
    assert any(lies(state, MANIFESTS) for _, state in States(kept, folder).each(5, every=3))


def resumed_after_power_loss(
    log: tuple[list[Entry], Path], inputs: tuple[Path, Path], tmp_path: Path, seed: int
) -> dict[str, str]:
    entries, folder = log
    chosen = random.Random(seed).randrange(len(entries))
    states = States(entries[: chosen + 1], folder, seed)
    state = [s for cut, s in states.each(3) if cut == chosen][-1]
    here = tmp_path / str(seed)
    laid_out(state, here)
    return go_on(inputs[1], here / "work", here / "shards")


@pytest.fixture(scope="module")
def second(log: tuple[list[Entry], Path]) -> dict[str, str]:
    """Files of the product of the second recipe."""
    return contents(log[1] / "shards")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_a_run_after_a_power_loss_gives_the_same_bytes(
    log: tuple[list[Entry], Path],
    second: dict[str, str],
    inputs: tuple[Path, Path],
    tmp_path: Path,
    seed: int,
) -> None:
    assert resumed_after_power_loss(log, inputs, tmp_path, seed) == second


@pytest.mark.night
def test_killed_a_hundred_times_at_random_with_two_workers(
    inputs: tuple[Path, Path], finished: Finished, tmp_path: Path
) -> None:
    recipe, product = inputs[0], finished[2]
    n_killed = 0
    for k in range(50):
        work, out = tmp_path / f"work{k}", tmp_path / f"shards{k}"
        for _ in range(2):  # the second kill falls into the resume
            process = start(command("run", recipe, "-w", work, "--out", out), workers=2)
            time.sleep(random.uniform(0.2, 6.0))
            n_killed += process.poll() is None
            kill_group(process)
        assert go_on(recipe, work, out) == product
        assert leftovers(work, out) == []
    assert n_killed > 50


CLAUDE_CODE = {"sources": {"logs": {"path": "logs"}}, "ingest": {"part_bytes": 1500}}


def claude_code_inputs(folder: Path) -> Path:
    """Session logs in the real dialect: a dozen files of one session each; returns the recipe."""
    (folder / "logs").mkdir(parents=True)
    for n in range(12):
        session = f"00000000-0000-4000-8000-{n:012d}"
        above: str | None = None
        lines: list[dict[str, Any]] = [{"type": "summary", "summary": f"sums {n}", "leafUuid": "x"}]
        for k in range(6):
            uuid = f"{n:04d}{k:04d}-0000-4000-8000-000000000000"
            role = ("user", "assistant")[k % 2]
            said = f"{'sum' if k % 2 else 'ask'} {k} of {n}: " + f"{n * k} and {n + k}, " * 12
            message: dict[str, Any] = {"role": role, "content": said}
            if role == "assistant":
                message |= {
                    "id": f"msg_{n}_{k}",
                    "type": "message",
                    "model": "m",
                    "stop_reason": "end_turn",
                    "content": [
                        {"type": "thinking", "thinking": f"think of {n} and {k}", "signature": "s"},
                        {"type": "text", "text": said},
                    ],
                }
            lines.append(
                {
                    "parentUuid": above, "isSidechain": False, "userType": "external",
                    "cwd": "/x", "sessionId": session, "version": "1.0", "type": role,
                    "message": message, "uuid": uuid, "timestamp": f"2026-01-01T00:{k:02d}:00Z",
                }
            )  # fmt: skip
            above = uuid
        text = "\n".join(map(json.dumps, lines)) + "\n"
        (folder / "logs" / f"{session}.jsonl").write_text(text, "utf-8")
    recipe = folder / "recipe.yaml"
    recipe.write_text(json.dumps({"version": 1, **CLAUDE_CODE}), "utf-8")
    return recipe


@pytest.mark.slow
def test_a_session_dialect_killed_at_commits_gives_the_same_bytes(tmp_path: Path) -> None:
    recipe = claude_code_inputs(tmp_path / "in")
    product = go_on(recipe, tmp_path / "work", tmp_path / "shards")
    assert json.loads((tmp_path / "shards" / "manifest.json").read_bytes())["traces"] == 12
    assert len(list((tmp_path / "work" / "traces").rglob("*.parquet"))) >= 6
    at = step = 23
    while die_at(at, COMMITS, recipe, tmp_path / f"work{at}", tmp_path / f"shards{at}"):
        assert go_on(recipe, tmp_path / f"work{at}", tmp_path / f"shards{at}") == product
        at += step
    assert at > step


def strace_works() -> bool:
    if shutil.which("strace") is None:
        return False
    probe = ["strace", "-qq", "-o", os.devnull, "-e", "inject=rename:error=EIO:when=1", "true"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


@pytest.mark.slow
def test_killed_by_the_kernel_at_renames_and_syncs_and_run_again_gives_the_same_bytes(
    inputs: tuple[Path, Path], finished: Finished, tmp_path: Path
) -> None:
    """As the crash loop, but below Python: whatever renames or syncs is hit, by the door or not."""
    if not strace_works():
        pytest.skip("strace is missing or may not trace: the crash loop below Python did not run")
    recipe, product = inputs[0], finished[2]
    n_hits = 0
    for call, at in [(c, n) for c in ("rename", "fsync") for n in (1, 2, 77, 130)]:
        work, out = tmp_path / f"work-{call}{at}", tmp_path / f"shards-{call}{at}"
        log = tmp_path / f"{call}{at}.log"
        words = [
            "strace", "-f", "-qq", "-o", str(log), "-e", "trace=rename,renameat,renameat2,fsync",
            "-e", f"inject={call}:signal=SIGKILL:when={at}",
            *command("run", recipe, "-w", work, "--out", out),
        ]  # fmt: skip
        env = {**os.environ, "TRACEKIT_WORKERS": "0"}
        done = subprocess.run(words, capture_output=True, check=False, env=env, timeout=120)
        assert "INJECTED" in log.read_text("utf-8") or "SIGKILL" in log.read_text("utf-8")
        n_hits += done.returncode != 0
        assert go_on(recipe, work, out) == product
        assert leftovers(work, out) == []
    assert n_hits >= 6
