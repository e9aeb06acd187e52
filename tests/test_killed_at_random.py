"""A real run with workers, ended at random moments: killed whole, interrupted, asked to end."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from killed import go_on, leftovers, write_inputs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    folder = tmp_path_factory.mktemp("road")
    recipe = write_inputs(folder)
    return recipe, go_on(recipe, folder / "work", folder / "shards")


def start(recipe: Path, work: Path, out: Path) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "tracekit", "run", recipe, "-w", work, "--out", out]
    env = {**os.environ, "TRACEKIT_WORKERS": "2"}
    return subprocess.Popen(
        [*map(str, words)], env=env, start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def group(process: subprocess.Popen[str]) -> list[int]:
    """Processes of the session that are still running."""
    found = []
    for pid in psutil.pids():
        try:
            if os.getsid(pid) == process.pid and psutil.Process(pid).status() != "zombie":
                found.append(pid)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


@pytest.mark.parametrize("seed", range(6))
def test_killed_whole_at_a_random_time(
    road: tuple[Path, dict[str, str]], tmp_path: Path, seed: int
) -> None:
    recipe, product = road
    work, out = tmp_path / "work", tmp_path / "shards"
    for moment in (seed, seed + 100):  # the second run is killed too
        process = start(recipe, work, out)
        time.sleep(random.Random(moment).uniform(0.3, 8.0))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert go_on(recipe, work, out) == product
    assert leftovers(work, out) == []


@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("seed", range(3))
def test_asked_to_end_it_ends_says_so_and_leaves_no_process(
    road: tuple[Path, dict[str, str]], tmp_path: Path, seed: int, sign: signal.Signals, code: int
) -> None:
    recipe, product = road
    work, out = tmp_path / "work", tmp_path / "shards"
    process = start(recipe, work, out)
    time.sleep(random.Random(seed).uniform(1.5, 5.0))
    process.send_signal(sign)
    _, told = process.communicate(timeout=60)
    if process.returncode != 0:  # it may have been done before
        assert process.returncode == code
        assert "Run the same command to go on" in told
        assert "Traceback" not in told
    for _ in range(50):
        if not group(process):
            break
        time.sleep(0.1)
    assert group(process) == []
    assert go_on(recipe, work, out) == product
    assert leftovers(work, out) == []
