"""A second opinion on session logs: what teich 0.3.6 reads of a real log stands in our traces too.

teich (Apache-2.0) converts logs of coding agents to training rows, a file at a time and by rules of
its own. Every line of 20 characters or more of its messages must be in the traces of the same file,
and no tool may be called more often there than here. Where the two differ it is said why.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import tracekit
from tracekit import manifest
from tracekit.leaves import MIN_LEAF_CHARS, leaves, texts_of
from tracekit.recipe import Recipe
from tracekit.sniffing import look
from tracekit.workspace import Workspace

VERSION = "0.3.6"

EXPLAINED: dict[str, tuple[int, str]] = {
    "claude-code-session/agent-sessions-fixtures/small.jsonl": (
        1,
        "the summary of a compaction is an event here, a user message there",
    ),
    "codex-rollout/agent-sessions-fixtures/small.jsonl": (
        1,
        "a result that is a list of parts: its text here, Python's repr of the list there",
    ),
    "agent-cli-sessions/cass-fixtures/missing_fields.jsonl": (1, "no assistant: a reject here"),
    "agent-cli-sessions/cass-fixtures/single_message.jsonl": (1, "no assistant: a reject here"),
    "agent-cli-sessions/cass-fixtures/wrong_types.jsonl": (3, "no assistant: a reject here"),
}
"""Files with the number of lines that are only there, and why."""

CONVERT = """
import json, sys
from pathlib import Path
from teich import __version__, converter
told = {}
for name in json.load(sys.stdin):
    try:
        told[name] = converter.convert_trace_to_training_example(Path(name)).messages
    except Exception as error:
        told[name] = type(error).__name__
json.dump({"version": __version__, "files": told}, sys.stdout, default=str)
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with teich, installed by pip without what it depends on: that is here already."""
    folder = tmp_path_factory.mktemp("teich")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--retries", "0"]
    command += ["--target", str(folder), f"teich=={VERSION}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip(f"teich {VERSION} cannot be installed here: pip takes too long")
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        pytest.skip(f"teich {VERSION} cannot be installed here: {last}")
    return folder


def theirs(site: Path, paths: list[Path]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", CONVERT],
        input=json.dumps([str(p) for p in paths]), capture_output=True, text=True,
        env={"PYTHONPATH": str(site), "PATH": ""}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["version"] == VERSION
    return told["files"]


def ours(folder: Path, work: Path) -> dict[Path, list[dict[str, Any]]]:
    """Traces by the file that they came from, of every file that a dialect reads."""
    named: dict[str, list[str]] = {}
    paths: dict[str, list[Path]] = {}
    for one in look([str(folder)])[0]:
        if one.dialect is not None and one.path.suffix == ".jsonl":
            named.setdefault(one.dialect, []).append(str(one.path))
            paths.setdefault(one.dialect, []).append(one.path)
    sources = {name: {"path": files, "dialect": name} for name, files in named.items()}
    tracekit.ingest(Recipe.from_dict({"sources": sources}), work)
    place = Workspace(work)
    found: dict[Path, list[dict[str, Any]]] = {p: [] for held in paths.values() for p in held}
    # The root of a source is the folder that its files share.
    roots = {name: os.path.commonpath([p.parent for p in held]) for name, held in paths.items()}
    for batch, part in manifest.load(place).parts():
        table = pq.read_table(place.file("traces", batch.source, part.name))
        for trace in table.to_pylist():
            for origin in trace["provenance"]:
                found[Path(roots[batch.source], origin["file"])].append(trace)
    return found


def calls_of(messages: list[dict[str, Any]]) -> Counter[str]:
    return Counter(
        call.get("name") or call["function"]["name"]
        for message in messages
        for call in message.get("tool_calls") or ()
    )


@pytest.mark.parametrize("name", ["claude-code-session", "codex-rollout", "agent-cli-sessions"])
def test_what_teich_reads_of_a_log_stands_in_our_traces(
    name: str, site: Path, traces_folder: Path, tmp_path: Path
) -> None:
    mine = ours(traces_folder / name, tmp_path / "work")
    told = theirs(site, list(mine))
    differences: dict[str, int] = {}
    n_lines = 0
    for path, traces in mine.items():
        messages = told[str(path)]
        if isinstance(messages, str):
            continue  # teich gives up on a file with one broken line
        texts = texts_of(traces)
        missing = 0
        for message in messages:
            if message["role"] in ("system", "developer"):
                continue  # what the harness adds is joined there in ways of its own
            for _, text in leaves(message):
                for line in map(str.strip, text.split("\n")):
                    if len(line) >= MIN_LEAF_CHARS:
                        n_lines += 1
                        missing += line not in texts
        here = calls_of([m for trace in traces for m in trace["messages"]])
        missing += (calls_of(messages) - here).total()
        if missing:
            differences[path.relative_to(traces_folder).as_posix()] = missing
    assert n_lines >= 20  # of flat rollouts teich reads nothing
    explained = {file: n for file, (n, _) in EXPLAINED.items() if file.startswith(f"{name}/")}
    assert differences == explained
