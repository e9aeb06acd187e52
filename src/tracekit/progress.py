"""How far a stage is: a callback that stages call, and two ways to show it.

On a terminal one line is redrawn; elsewhere one plain line is written every ten seconds. Stages
call it as often as they like: showing is rate limited here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from tracekit.output import Out

PLAIN_LINE_EVERY_S = 10.0
REDRAW_EVERY_S = 0.1


class Progress(Protocol):
    """What a stage calls while it works. `None` for a total that is not known."""

    def __call__(
        self,
        done_bytes: int,
        total_bytes: int | None,
        traces: int,
        rejects: int,
        *,
        parts: tuple[int, int] | None = None,
        stage: str | None = None,
    ) -> None:
        """parts: (safe, all) parts of the stage; they are named when the run is interrupted."""


def no_progress(
    done_bytes: int,
    total_bytes: int | None,
    traces: int,
    rejects: int,
    *,
    parts: tuple[int, int] | None = None,
    stage: str | None = None,
) -> None:
    """A `Progress` that shows nothing."""


class Shown:
    """A `Progress` that draws on standard error. A context manager: leaving it clears the line."""

    def __init__(self, out: Out, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.parts: tuple[int, int] | None = None
        """Last (safe, all) parts that a stage told, for the line of an interrupted run."""
        self._out = out
        self._clock = clock
        self._start = clock()
        self._stage = ""
        self._last = self._start
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Shown:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()
        if isinstance(error, KeyboardInterrupt) and self.parts is not None:
            error.parts = self.parts  # type: ignore[attr-defined]

    def __call__(
        self,
        done_bytes: int,
        total_bytes: int | None,
        traces: int,
        rejects: int,
        *,
        parts: tuple[int, int] | None = None,
        stage: str | None = None,
    ) -> None:
        self.parts = parts if parts is not None else self.parts
        now = self._clock()
        if stage is not None and stage != self._stage:
            self._stop()
            self._stage, self._start, self._last = stage, now, now
        if self._out.quiet:
            return
        if self._out.live:
            if self._bar is None or now - self._last >= REDRAW_EVERY_S or done_bytes == total_bytes:
                self._last = now
                self._draw(done_bytes, total_bytes, traces, rejects)
        elif now - self._last >= PLAIN_LINE_EVERY_S:
            self._last = now
            self._out.say(
                plain_line(self._stage, done_bytes, total_bytes, traces, rejects, now - self._start)
            )

    def _draw(self, done_bytes: int, total_bytes: int | None, traces: int, rejects: int) -> None:
        if self._bar is None:
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                DownloadColumn,
                TextColumn,
                TimeRemainingColumn,
                TransferSpeedColumn,
            )
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                DownloadColumn(),
                TransferSpeedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[traces]:,} traces  {task.fields[rejects]:,} rejects"),
                console=Console(file=self._out.stderr, no_color=not self._out.colour),
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._bar.start()
            self._task = self._bar.add_task(
                self._stage or "working", total=total_bytes, traces=traces, rejects=rejects
            )
        self._bar.update(
            self._task, completed=done_bytes, total=total_bytes, traces=traces, rejects=rejects
        )

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = self._task = None


def plain_line(
    stage: str,
    done_bytes: int,
    total_bytes: int | None,
    traces: int,
    rejects: int,
    elapsed_s: float,
) -> str:
    """One line on how far a stage is.

    >>> plain_line("ingest", 2_000_000, 8_000_000, 120, 1, 4.0)
    'ingest: 2.0 of 8.0 MB (25%), 0.5 MB/s, 12 s left, 120 traces, 1 rejects'
    """
    rate = done_bytes / elapsed_s if elapsed_s > 0 else 0.0
    parts = [f"{done_bytes / 1e6:,.1f} MB"]
    if total_bytes:
        share = done_bytes / total_bytes
        parts[0] = f"{done_bytes / 1e6:,.1f} of {total_bytes / 1e6:,.1f} MB ({share:.0%})"
    parts.append(f"{rate / 1e6:,.1f} MB/s")
    if total_bytes and rate > 0:
        parts.append(f"{max(total_bytes - done_bytes, 0) / rate:,.0f} s left")
    parts += [f"{traces:,} traces", f"{rejects:,} rejects"]
    return f"{stage or 'working'}: " + ", ".join(parts)
