"""Job functions that misbehave on one row, for tests of the executors."""

import ctypes
import os
import signal
import time
from typing import Any

N_ROWS = 10


def rows(job: tuple[str, int], trouble: Any, note: Any) -> list[str]:
    """Ten rows; the guilty one (kind, row) crashes, hangs or is given up."""
    kind, guilty = job
    out = []
    row = 0
    while row < N_ROWS:
        end = row + 1 if trouble.alone(row) else min(N_ROWS, row + 5)
        note(row, end)
        for k in range(row, end):
            cause = trouble.cause(k)
            if cause is not None:
                out.append(f"{k}:{cause}")
                continue
            if k == guilty:
                misbehave(kind)
            out.append(str(k))
        row = end
    return out


def misbehave(kind: str) -> None:
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif kind == "segfault":
        ctypes.string_at(0)
    elif kind == "exit":
        os._exit(3)
    elif kind == "hang":
        time.sleep(600)
    elif kind == "raise":
        raise ValueError("a job must not raise this")


def fine(job: int, trouble: Any, note: Any) -> int:
    return job * job


def refuse(job: int, trouble: Any, note: Any) -> int:
    from tracekit.errors import InputError

    raise InputError("no", where=f"job {job}", fix="none")


def die_at_once(job: int, trouble: Any, note: Any) -> None:
    """Ends before it notes a row."""
    os._exit(3)
