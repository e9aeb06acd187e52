"""Executors: `map` over jobs, inline or in processes that may die.

A job is a small frozen value that names work (a part), never the data. `run_jobs` yields
`(job index, result)` as jobs end. A worker notes in shared memory which rows of its job it works
on; when it dies, hangs or runs out of memory, the job is given again with those rows as
`suspects`, which the job's function then takes one by one, and once a single row is left, as
`lost`. Ten thousand parts or one guilty record: the run ends, and exactly the guilty is named.

Price: a job whose worker dies is started anew at most 2 + log2(rows of a step) times.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from multiprocessing import connection, get_context
from typing import Any, Literal, Protocol

from tracekit.errors import StorageError, TracekitError

HANG_S = 120.0
"""A worker that notes no progress for so long is taken for hung. Far above the slowest record."""

Cause = Literal["worker_crash", "timeout", "out_of_memory"]


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is known of earlier tries at a job: rows to take alone, rows to give up."""

    suspects: tuple[int, int] | None = None
    """Ordinals [first, end) of the rows that a dead worker was working on."""
    lost: tuple[tuple[int, Cause], ...] = ()
    """Ordinals that killed a worker alone, with the cause."""
    n_outside: int = 0
    """Workers that died with this job while they worked on no record."""

    def cause(self, ordinal: int) -> Cause | None:
        """Why a row is to be given up, or None."""
        return next((why for row, why in self.lost if row == ordinal), None)

    def alone(self, ordinal: int) -> bool:
        """Must this row be worked on by itself?"""
        return self.suspects is not None and self.suspects[0] <= ordinal < self.suspects[1]


class Note(Protocol):
    """What a job's function calls before it works on rows [first, end) of its job."""

    def __call__(self, first: int, end: int) -> None: ...


JobFunction = Callable[[Any, Trouble, Note], Any]
"""Module-level function of (job, trouble, note). Pure but for the files that it writes."""


OUTSIDE_DEATHS = 2
"""Deaths outside any record that a job may have: somebody else's kill, not the job's fault."""


def _no_note(first: int, end: int) -> None:
    return None


def run_inline(function: JobFunction, jobs: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    """Run the jobs here, one after another."""
    for index, job in enumerate(jobs):
        yield index, function(job, Trouble(), _no_note)


@dataclass(slots=True)
class _Worker:
    process: Any
    pipe: connection.Connection
    place: Any
    """int64[3] in shared memory: first, end, number of notes."""
    job: int | None = None
    seen: int = 0
    since: float = field(default_factory=time.monotonic)
    killed_for: Cause | None = None


def _watch_parent() -> None:
    """End with the parent, also when it was killed: no orphan goes on writing."""
    import multiprocessing

    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Ctrl-C reaches every process of a terminal; what starts under this does not hear it.

    A worker that still imports would print a traceback. Its parent hears it, and ends it.
    """
    if os.name == "nt":
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # when it starts, it opens the mask again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _without_main() -> Iterator[None]:
    """What starts under this does not run the script of the user again.

    `multiprocessing` imports the main module in each worker, to find functions there. Ours are all
    in modules, and a script without `if __name__ == "__main__":` would start itself without end.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _work(pipe: connection.Connection, place: Any, memory_bytes: int | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _watch_parent()
    if memory_bytes is not None and sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))

    def note(first: int, end: int) -> None:
        place[0], place[1] = first, end
        place[2] += 1

    # A part makes millions of values without a cycle; looking for one costs 5 to 8 s a GB.
    gc.freeze()
    gc.disable()
    while True:
        gc.collect()
        try:
            function, job, trouble = pipe.recv()
        except EOFError:
            return
        try:
            answer: tuple[str, Any] = ("done", function(job, trouble, note))
        except TracekitError as error:
            answer = ("error", error)
        except Exception as error:
            import traceback

            answer = ("bug", (repr(error), traceback.format_exc()))
        try:
            pipe.send(answer)
        except (BrokenPipeError, OSError):
            return


class WorkerBug(Exception):
    """A job's function raised what it must not raise; carries the worker's traceback as text."""

    def __init__(self, what: str, trace: str) -> None:
        super().__init__(what, trace)
        self.what = what
        self.trace = trace


def run_processes(
    function: JobFunction,
    jobs: Sequence[Any],
    *,
    workers: int,
    fresh: bool = False,
    hang_s: float = HANG_S,
    memory_bytes: int | None = None,
) -> Iterator[tuple[int, Any]]:
    """Run the jobs in `workers` processes; yields in order of completion.

    fresh: start workers from nothing; they need not wait until the fork server has its tokenizer.
    memory_bytes: address space of one worker; above it allocation fails inside the job.
    Raises the TracekitError of a job, WorkerBug for any other exception.
    """
    context = get_context("spawn") if fresh else _context()
    waiting = list(range(len(jobs)))[::-1]
    trouble: dict[int, Trouble] = {}
    n_left = len(jobs)
    pool: list[_Worker] = []

    def start() -> _Worker:
        here, there = context.Pipe()
        place = context.RawArray("q", 3)
        process = context.Process(target=_work, args=(there, place, memory_bytes), daemon=True)
        with _deaf_to_interrupts(), _without_main():
            process.start()
        there.close()
        return _Worker(process, here, place)

    def give(worker: _Worker) -> None:
        worker.job = waiting.pop()
        worker.place[0], worker.place[1] = 0, 0
        worker.since = time.monotonic()
        with suppress(OSError):  # it died while it was idle: found below, like any death
            worker.pipe.send((function, jobs[worker.job], trouble.get(worker.job, Trouble())))

    try:
        while n_left:
            while waiting and len([w for w in pool if w.job is None]) + len(pool) == 0:
                pool.append(start())
            while waiting and len(pool) < min(workers, n_left):
                pool.append(start())
            for worker in pool:
                if worker.job is None and waiting:
                    give(worker)
            busy = [w for w in pool if w.job is not None]
            ready = connection.wait(
                [w.pipe for w in busy] + [w.process.sentinel for w in busy], timeout=1.0
            )
            for worker in busy:
                if worker.pipe in ready or worker.process.sentinel in ready:
                    answer = _answer(worker)
                    index = worker.job
                    assert index is not None
                    worker.job = None
                    if answer is None:
                        trouble[index] = _after_death(worker, trouble.get(index, Trouble()))
                        waiting.append(index)
                        pool.remove(worker)
                        worker.pipe.close()
                        worker.process.join()
                    elif answer[0] == "done":
                        n_left -= 1
                        yield index, answer[1]
                    elif answer[0] == "error":
                        raise answer[1]
                    else:
                        raise WorkerBug(*answer[1])
                else:
                    _kill_if_hung(worker, hang_s)
    finally:
        for worker in pool:
            worker.pipe.close()
            worker.process.terminate()
        for worker in pool:
            worker.process.join(2.0)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()


def _answer(worker: _Worker) -> tuple[str, Any] | None:
    """What the worker sent, or None where it died first."""
    with suppress(EOFError, OSError):
        if worker.pipe.poll():
            answer: tuple[str, Any] = worker.pipe.recv()
            return answer
    worker.process.join(5.0)
    return None


def _kill_if_hung(worker: _Worker, hang_s: float) -> None:
    now = time.monotonic()
    if worker.place[2] != worker.seen:
        worker.seen, worker.since = worker.place[2], now
    elif now - worker.since > hang_s:
        worker.killed_for = "timeout"
        worker.process.kill()


def _after_death(worker: _Worker, before: Trouble) -> Trouble:
    """What the next try must know: narrower suspects, or a row that is given up."""
    first, end = int(worker.place[0]), int(worker.place[1])
    cause: Cause = worker.killed_for or "worker_crash"
    if end - first == 1:
        if before.cause(first) is not None:
            raise WorkerBug(f"row {first} kills its worker though it was given up", "")
        return replace(before, suspects=None, lost=(*before.lost, (first, cause)))
    if end <= first or before.suspects == (first, end):
        if before.n_outside == OUTSIDE_DEATHS:
            raise StorageError(
                f"workers died again and again before they reached a record ({cause}, exit code "
                f"{worker.process.exitcode})",
                expected="memory for a part and a tokenizer, about 700 MiB a worker",
                fix="fewer workers (--workers 1), or smaller parts (ingest: {part_bytes: 16MiB})",
                wrote="finished parts are kept; the same command goes on from them",
            )
        return replace(before, n_outside=before.n_outside + 1)
    return replace(before, suspects=(first, end))


def prepare(tokenizer: str | None) -> None:
    """Start the fork server now, so that it loads the tokenizer while the files are planned.

    It loads once for all workers of all stages. A tokenizer that cannot be loaded is left to the
    job that needs it, which says why.
    """
    if os.name == "nt":
        return
    from multiprocessing import forkserver

    if tokenizer is not None:
        os.environ.setdefault("TRACEKIT_PRELOAD", tokenizer)
    _context()
    with _deaf_to_interrupts(), _without_main():
        forkserver.ensure_running()


def _context() -> Any:
    """Fork server where there is one (workers share a loaded tokenizer), else spawn.

    Never fork: polars and pyarrow run threads, and a forked lock may never open.
    """
    if os.name == "nt":
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload(["tracekit.preload"])
    return context


def run_jobs(
    function: JobFunction,
    jobs: Sequence[Any],
    *,
    workers: int,
    fresh: bool = False,
    hang_s: float = HANG_S,
    memory_bytes: int | None = None,
) -> Iterator[tuple[int, Any]]:
    """Run jobs inline for `workers=0`, else in that many processes."""
    if workers == 0:
        return run_inline(function, jobs)
    return run_processes(
        function,
        jobs,
        workers=workers,
        fresh=fresh,
        hang_s=hang_s,
        memory_bytes=memory_bytes,
    )
