"""The command line as a process: streams that close, signals, odd names."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest


def shell(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tracekit", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )


def test_a_reader_that_leaves_early_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "tracekit", "--help"],
        stdout=write,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


def test_closed_streams_are_no_error() -> None:
    command = f"'{sys.executable}' -m tracekit --help >&-; '{sys.executable}' -m tracekit x 2>&-"
    done = subprocess.run(["sh", "-c", command], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (2, b"", b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_standard_output_exits_with_74() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "tracekit", "--help"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 74
    assert done.stderr.startswith("error[storage]: could not write to standard output")
    assert "Traceback" not in done.stderr


def test_names_that_are_no_utf8_and_narrow_terminals_are_shown_escaped() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = shell(os.fsdecode(b"\xff\xc3\xa4\x1b"), env=environment)
    assert done.returncode == 2
    assert r"\udcff" in done.stderr
    assert r"\x1b" in done.stderr


SLEEPER = """
import sys, time, types
import tracekit
from tracekit.progress import Shown
from tracekit.output import Out
views = types.ModuleType("tracekit.views")
def stats(work, contexts):
    with Shown(Out(quiet=True)) as progress:
        progress(1, 2, 3, 4, parts=(134, 201))
        print("ready", flush=True)
        try:
            time.sleep(60)
        finally:
            time.sleep(float(sys.argv[1]))
views.stats = stats
sys.modules["tracekit.views"] = tracekit.views = views
from tracekit.cli import run
sys.exit(run(["stats"]))
"""


def stopped_by(signum: int, clean_up_s: float, *, twice: bool = False) -> tuple[int, str, float]:
    process = subprocess.Popen(
        [sys.executable, "-c", SLEEPER, str(clean_up_s)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    start = time.monotonic()
    process.send_signal(signum)
    if twice:
        time.sleep(0.3)
        process.send_signal(signum)
    _, beside = process.communicate(timeout=30)
    return process.returncode, beside, time.monotonic() - start


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_cleanly_and_says_what_is_safe(signum: int, code: int) -> None:
    returned, beside, _ = stopped_by(signum, 0)
    assert returned == code
    assert beside == "stopped: 134 of 201 parts are safe. Run the same command to go on.\n"


def test_a_second_signal_ends_at_once() -> None:
    returned, beside, _ = stopped_by(signal.SIGTERM, 20, twice=True)
    assert returned == 143
    assert "Traceback" not in beside


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_clean_up_that_hangs_ends_all_the_same(signum: int, code: int) -> None:
    returned, beside, _ = stopped_by(signum, 60)
    assert returned == code
    assert "Traceback" not in beside
