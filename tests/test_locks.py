"""Several runs on one workspace: one wins, the others name it; a dead holder holds nothing."""

import json
import multiprocessing
import os
import random
import re
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

import tracekit
from faults import command, group_members, kill_group, lies, start
from killed import contents, go_on, leftovers, write_inputs
from tracekit.errors import LockedError
from tracekit.workspace import Workspace, locked


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """(recipe, files of the product of a run that nothing disturbed)."""
    folder = tmp_path_factory.mktemp("road")
    recipe = write_inputs(folder)
    return recipe, go_on(recipe, folder / "work", folder / "shards")


def contend(folder: str, gate: Any, answers: Any) -> None:
    """In a child: try to hold the workspace at the same moment as others."""
    gate.wait()
    try:
        with locked(Workspace(Path(folder))):
            answers.put((os.getpid(), None))
            gate.wait()  # nobody lets go before all have tried
    except LockedError as error:
        answers.put((os.getpid(), (error.exit_code, str(error))))
        gate.wait()


@pytest.mark.parametrize("n_rounds", [5, pytest.param(25, marks=pytest.mark.slow)])
def test_of_several_that_start_at_once_exactly_one_holds_and_the_others_name_it(
    tmp_path: Path, n_rounds: int
) -> None:
    context = multiprocessing.get_context("forkserver")
    for _ in range(n_rounds):
        gate, answers = context.Barrier(4), context.Queue()
        children = [
            context.Process(target=contend, args=(str(tmp_path), gate, answers)) for _ in range(4)
        ]
        for one in children:
            one.start()
        told = [answers.get(timeout=60) for _ in children]
        for one in children:
            one.join(60)
        winners = [pid for pid, refusal in told if refusal is None]
        assert len(winners) == 1
        for _, refusal in told:
            if refusal is not None:
                assert refusal[0] == 75
                assert f"process {winners[0]})" in refusal[1]


def test_a_name_left_by_a_killed_holder_is_not_given_as_the_holder(tmp_path: Path) -> None:
    """Its successor has the lock and was about to write its own."""
    work = Workspace(tmp_path)
    with locked(work):
        (tmp_path / ".lock-holder").write_text("999999999\n", "utf-8")
        context = multiprocessing.get_context("forkserver")
        gate, answers = context.Barrier(2), context.Queue()
        rival = context.Process(target=contend, args=(str(tmp_path), gate, answers))
        rival.start()
        gate.wait()
        time.sleep(0.2)
        (tmp_path / ".lock-holder").write_text(f"{os.getpid()}\n", "utf-8")
        _, refusal = answers.get(timeout=60)
        gate.wait()
        rival.join(60)
    assert f"process {os.getpid()})" in refusal[1]
    assert not (tmp_path / ".lock-holder").exists()


def hold_for_ever(folder: str, held: Any) -> None:
    """In a child: hold the workspace until killed."""
    with locked(Workspace(Path(folder))):
        held.set()
        time.sleep(600)


def test_the_lock_of_a_killed_process_is_free_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    held = context.Event()
    holder = context.Process(target=hold_for_ever, args=(str(tmp_path), held))
    holder.start()
    assert held.wait(60)
    with pytest.raises(LockedError, match=f"process {holder.pid}"), locked(Workspace(tmp_path)):
        pass
    holder.kill()
    holder.join(60)
    with locked(Workspace(tmp_path)):
        assert (tmp_path / ".lock-holder").read_text("utf-8") == f"{os.getpid()}\n"


def wait_for(process: Any, path: Path) -> None:
    while not path.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_that_is_stopped_holds_and_one_that_is_killed_does_not(
    road: tuple[Path, dict[str, str]], tmp_path: Path, workers: int
) -> None:
    recipe, product = road
    work, out = tmp_path / "work", tmp_path / "shards"
    line = command("run", recipe, "-w", work, "--out", out)
    first = start(line, workers=workers)
    wait_for(first, work / "receipts")
    os.killpg(first.pid, signal.SIGSTOP)
    second = start(line)
    _, told = second.communicate(timeout=60)
    assert second.returncode == 75
    assert f"process {first.pid})" in told
    assert "nothing was written" in told
    assert "Traceback" not in told
    kill_group(first)
    assert go_on(recipe, work, out) == product
    assert leftovers(work, out) == []


@pytest.mark.slow
def test_four_runs_at_once_one_wins_and_the_product_is_its_own(
    road: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    recipe, product = road
    for k in range(2):
        work, out = tmp_path / f"work{k}", tmp_path / f"shards{k}"
        runs = [start(command("run", recipe, "-w", work, "--out", out)) for _ in range(4)]
        told = [(one, one.communicate(timeout=120)[1]) for one in runs]
        codes = [one.returncode for one, _ in told]
        assert set(codes) <= {0, 75}
        assert 0 in codes
        pids = {str(one.pid) for one in runs}
        for one, text in told:
            if one.returncode == 75:
                found = re.search(r"process (\d+)\)", text)
                assert found is not None, text
                assert found[1] in pids - {str(one.pid)}
        assert contents(out) == product
        assert not tracekit.verify(work).failed


@pytest.mark.slow
def test_readers_of_a_workspace_see_one_state_or_the_other_while_it_is_made(
    road: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    """A manifest that can be read is whole, whatever the run does in the meantime."""
    recipe, product = road
    work, out = tmp_path / "work", tmp_path / "shards"
    run = start(command("run", recipe, "-w", work, "--out", out), workers=2)
    n_reads = 0
    while run.poll() is None:
        for name in (work / "manifest.json", out / "manifest.json"):
            try:
                data = name.read_bytes()
            except FileNotFoundError:
                continue
            assert json.loads(data)["format"] == 1
            n_reads += 1
        time.sleep(0.002)
    run.communicate()
    assert run.returncode == 0
    assert n_reads > 50
    files = {
        p.relative_to(tmp_path).as_posix(): p.read_bytes()
        for p in tmp_path.rglob("*")
        if p.is_file()
    }
    assert lies(files, ("work/manifest.json", "shards/manifest.json")) == []
    assert contents(out) == product


MOMENTS = {
    "start": lambda work, out: work.parent,
    "ingest": lambda work, out: work / "receipts" / "traces",
    "measure": lambda work, out: work / "receipts" / "evidence",
    "shard": lambda work, out: work / "ledger",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sign", "moment", "workers"),
    [
        (sign, moment, workers)
        for sign in (signal.SIGINT, signal.SIGTERM)
        for moment, workers in [*((m, 2) for m in MOMENTS), ("measure", 0)]
    ],
)
def test_a_signal_to_the_whole_terminal_ends_a_run_in_order(
    road: tuple[Path, dict[str, str]], tmp_path: Path, sign: int, moment: str, workers: int
) -> None:
    """Ctrl-C reaches every process of a terminal, workers that still import among them."""
    recipe, product = road
    work, out = tmp_path / "work", tmp_path / "shards"
    process = start(command("run", recipe, "-w", work, "--out", out), workers=workers)
    if moment == "start":
        wait_for(process, work / ".lock")
    wait_for(process, MOMENTS[moment](work, out))
    time.sleep(random.Random(moment).uniform(0, 0.2))
    os.killpg(process.pid, sign)
    said, told = process.communicate(timeout=60)
    if process.returncode != 0:  # it may have been done before
        assert process.returncode == 128 + sign, told
        assert "Run the same command to go on" in told
    assert "Traceback" not in told + said
    for _ in range(100):  # the tracker of shared memory ends when it notices
        if not group_members(process.pid):
            break
        time.sleep(0.05)
    assert group_members(process.pid) == []
    assert go_on(recipe, work, out) == product
    assert leftovers(work, out) == []


@pytest.mark.slow
def test_workers_end_when_their_run_is_killed_alone(
    road: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    """Not the group: the run itself, as an out-of-memory killer does."""
    recipe, product = road
    work, out = tmp_path / "work", tmp_path / "shards"
    process = start(command("run", recipe, "-w", work, "--out", out), workers=2)
    wait_for(process, work / "receipts" / "traces")
    workers = psutil.Process(process.pid).children(recursive=True)
    assert workers
    process.kill()
    process.communicate(timeout=60)
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert [p.cmdline() for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []
    assert go_on(recipe, work, out) == product
