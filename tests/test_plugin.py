"""A package of a third party: its dialect and its container, installed by pip, read by ingest."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tracekit import plugged
from tracekit.errors import UsageError
from tracekit.plugged import Container

PLUGIN = Path(__file__).parent / "plugin"

DIALOGS = b"""%dialogs 1
human: What is 9*4?
bot: It is 36,
as every child knows.

human: And 9*5?
bot: 45
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plugin, built and installed by pip into a folder of its own."""
    for needed in ("pip", "hatchling"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed here; requirements.lock has it")
    target = tmp_path_factory.mktemp("site")
    copy = tmp_path_factory.mktemp("source")
    for path in PLUGIN.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            here = copy / path.relative_to(PLUGIN)
            here.parent.mkdir(parents=True, exist_ok=True)
            here.write_bytes(path.read_bytes())
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--target", str(target), str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


def run(folder: Path, installed: Path | None, *words: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "TRACEKIT_WORKERS": "0"}
    if installed is not None:
        environment["PYTHONPATH"] = str(installed)
    return subprocess.run(
        [sys.executable, "-m", "tracekit", *words],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_ingest_reads_files_with_the_container_and_dialect_of_a_package(
    installed: Path, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.dialogs").write_bytes(DIALOGS)
    (tmp_path / "data" / "b.dialogs").write_bytes(DIALOGS + b"\n\nnobody speaks\n")
    done = run(tmp_path, installed, "ingest", "data", "--format", "json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    (source,) = told["sources"]
    assert (source["dialect"], source["records"], source["traces"]) == ("said", 5, 4)
    assert told["rejects"] == {"container_failed": 1}
    manifest = json.loads((tmp_path / "work" / "manifest.json").read_bytes())
    files = [f for batch in manifest["batches"] for f in batch["files"]]
    assert {(f["compression"], f["framing"]) for f in files} == {("dialogs 1", "lines")}
    read = run(tmp_path, installed, "validate", "-w", "work", "-q")
    assert read.returncode == 0, read.stderr
    shown = run(tmp_path, installed, "why", "-w", "work", "data:a.dialogs#0")
    assert "as every child knows." in shown.stdout
    raw = run(tmp_path, installed, "why", "-w", "work", "data:a.dialogs#0", "--raw")
    assert json.loads(raw.stdout)["dialog"][0] == {"who": "human", "said": "What is 9*4?"}


def test_sniff_says_which_container_and_dialect_a_package_gives(
    installed: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.dialogs").write_bytes(DIALOGS)
    done = run(tmp_path, installed, "sniff", "a.dialogs", "--format", "json")
    assert done.returncode == 0, done.stderr
    (group,) = json.loads(done.stdout)["groups"]
    assert (group["container"], group["dialect"]) == ("dialogs 1", "said")
    assert (group["records"], group["why"]) == (2, "dialog with who")


def test_without_the_package_the_file_is_no_file_of_records(tmp_path: Path) -> None:
    (tmp_path / "a.dialogs").write_bytes(DIALOGS)
    done = run(tmp_path, None, "ingest", "a.dialogs")
    assert done.returncode == 65
    assert "no JSON" in done.stderr


def test_a_value_that_is_no_json_is_one_fault_and_the_others_go_on() -> None:
    values = [{"a": 1}, {"b": object()}, {"c": 3}]
    container = Container(
        name="c", version=1, fits=lambda path, head: "", records=lambda path: iter(values)
    )
    found = list(plugged.lines(Path("x"), container))
    assert [fault and fault[0] for _, fault in found] == [None, "container_failed", None]
    assert [text for text, fault in found if fault is None] == [b'{"a":1}', b'{"c":3}']


def test_two_containers_that_take_one_file_are_an_error_that_names_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = {
        name: Container(
            name=name, version=1, fits=lambda path, head: "yes", records=lambda path: iter(())
        )
        for name in ("one", "other")
    }
    monkeypatch.setattr(plugged, "containers", lambda: both)
    path = tmp_path / "x.bin"
    path.write_bytes(b"%some file")
    with pytest.raises(UsageError, match="one 1 and other 1 both take this file"):
        plugged.detect(path)
