"""Ctrl-C and SIGTERM: end within five seconds, say what is safe, leave no process behind."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from tracekit.errors import EXIT_SIGINT

if TYPE_CHECKING:
    from tracekit.output import Out

PATIENCE_S = 4.0
"""Time for a stage to close its workers before the process ends without it."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """A signal asked to stop. A KeyboardInterrupt, so that whoever cleans up on Ctrl-C also does
    on SIGTERM."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


def exit_code(stop: KeyboardInterrupt) -> int:
    """130 for SIGINT, 143 for SIGTERM."""
    return 128 + stop.signum if isinstance(stop, Stopped) else EXIT_SIGINT


@contextmanager
def stoppable(out: Out) -> Iterator[None]:
    """Turn the first signal into `Stopped`; a second one, or a clean-up that hangs, ends at once.

    A `Shown` progress below says how many parts are safe, in the attribute `parts` of the stop.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    before = {s: signal.getsignal(s) for s in _SIGNALS}

    def first(signum: int, _frame: FrameType | None) -> None:
        for s in _SIGNALS:
            signal.signal(s, lambda again, _: end_now(128 + again))
        timer = threading.Timer(PATIENCE_S, end_now, (128 + signum,))
        timer.daemon = True
        timer.start()
        raise Stopped(signum)

    for s in _SIGNALS:
        signal.signal(s, first)
    try:
        yield
    except KeyboardInterrupt as stop:
        out.note(stopped_line(stop), label="stopped")
        raise
    finally:
        for s, handler in before.items():
            if signal.getsignal(s) is first:
                signal.signal(s, handler)


def stopped_line(stop: KeyboardInterrupt) -> str:
    """What is safe after an interruption."""
    parts = getattr(stop, "parts", None)
    safe = f"{parts[0]} of {parts[1]} parts are safe" if parts else "finished parts are safe"
    return f"{safe}. Run the same command to go on."


def end_now(code: int) -> None:
    """End this process and its workers without further clean-up; every write is a rename, so
    nothing half-written is left under a final name."""
    import multiprocessing

    for child in multiprocessing.active_children():
        child.kill()
    os._exit(code)
