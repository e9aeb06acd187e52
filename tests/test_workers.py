"""A worker may die, hang or run out of memory: the run ends, exactly the guilty row is named."""

import json
import os
import subprocess
import sys

import pytest

import worker_jobs
from tracekit.errors import InputError, StorageError
from tracekit.executors import WorkerBug, run_inline, run_jobs, run_processes
from worker_jobs import N_ROWS


@pytest.fixture(autouse=True)
def _light_fork_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACEKIT_NO_PRELOAD", "1")


@pytest.mark.parametrize("kind", ["kill", "segfault", "exit"])
@pytest.mark.parametrize("guilty", [0, 4, 9])
def test_a_row_that_kills_its_worker_is_named_and_all_others_are_done(
    kind: str, guilty: int
) -> None:
    jobs = [("none", -1), (kind, guilty), ("none", -1)]
    found = dict(run_processes(worker_jobs.rows, jobs, workers=2, fresh=True))
    good = [str(k) for k in range(N_ROWS)]
    assert found[0] == found[2] == good
    assert found[1] == [f"{k}:worker_crash" if k == guilty else str(k) for k in range(N_ROWS)]


def test_a_row_that_hangs_is_named_as_timeout() -> None:
    found = dict(run_processes(worker_jobs.rows, [("hang", 6)], workers=1, fresh=True, hang_s=3.0))
    assert found[0] == [f"{k}:timeout" if k == 6 else str(k) for k in range(N_ROWS)]


def test_any_number_of_workers_gives_the_results_of_none() -> None:
    jobs = list(range(25))
    inline = dict(run_inline(worker_jobs.fine, jobs))
    for workers in (0, 1, 3):
        assert dict(run_jobs(worker_jobs.fine, jobs, workers=workers, fresh=True)) == inline


def test_an_error_of_ours_comes_back_whole() -> None:
    with pytest.raises(InputError) as caught:
        dict(run_processes(worker_jobs.refuse, [7], workers=1, fresh=True))
    assert caught.value.where == "job 7"
    assert caught.value.exit_code == 65


def test_any_other_exception_is_a_bug_with_the_traceback_of_the_worker() -> None:
    with pytest.raises(WorkerBug) as caught:
        dict(run_processes(worker_jobs.rows, [("raise", 2)], workers=1, fresh=True))
    assert "must not raise" in caught.value.what
    assert "worker_jobs.py" in caught.value.trace


def test_no_worker_outlives_the_run() -> None:
    import psutil

    before = {p.pid for p in psutil.Process(os.getpid()).children(recursive=True)}
    found = run_processes(worker_jobs.fine, list(range(50)), workers=2, fresh=True)
    next(found)
    found.close()
    left = {p.pid for p in psutil.Process(os.getpid()).children(recursive=True)} - before
    assert not [pid for pid in left if "tracker" not in " ".join(psutil.Process(pid).cmdline())]


def test_a_script_without_a_main_guard_runs_with_processes(tmp_path):
    """`multiprocessing` would start the script again in each worker."""
    record = {"messages": [{"role": "user", "content": "9*4?"},
                           {"role": "assistant", "content": "36"}]}  # fmt: skip
    (tmp_path / "a.jsonl").write_text(json.dumps(record) + "\n", "utf-8")
    script = tmp_path / "script.py"
    script.write_text(
        "import tracekit\n"
        "from tracekit.recipe import Recipe\n"
        "print('once')\n"
        "recipe = Recipe.from_dict({'sources': {'a': {'path': 'a.jsonl'}}})\n"
        "print(tracekit.run(recipe, work='work', out='out').law[-1])\n",
        "utf-8",
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, cwd=tmp_path, timeout=120,
        env={**os.environ, "TRACEKIT_WORKERS": "2"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["once", "1 traces = 1 in shards + 0 dropped"]


def test_workers_that_die_before_any_record_end_with_advice_and_no_traceback():
    with pytest.raises(StorageError, match="before they reached a record") as caught:
        list(run_processes(worker_jobs.die_at_once, [0], workers=1))
    assert "--workers 1" in str(caught.value)
