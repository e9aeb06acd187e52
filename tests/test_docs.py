"""What the documents show is run: commands of the README, pages that are generated."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tracekit import registry
from tracekit.sample import write_sample

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def commands() -> list[str]:
    block = re.search(r"executed by tests/test_docs.py.*?```sh\n(.*?)```", README, re.S)
    assert block is not None
    return [line for line in block[1].splitlines() if line.startswith("tracekit ")]


DRIVER = """
import json, sys
from tracekit.cli import run
for words in json.load(sys.stdin):
    code = run(words)
    assert code == 0, (code, words)
    print("::end of", *words, flush=True)
"""
"""All commands in one process: each would load the tokenizer anew."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which all commands of the README were run in order; each must succeed."""
    folder = tmp_path_factory.mktemp("readme")
    write_sample(folder / "demo" / "traces")  # so that globs of later commands find their files
    words = [_expanded(command, folder) for command in commands()]
    done = subprocess.run(
        [sys.executable, "-c", DRIVER],
        cwd=folder, input=json.dumps(words), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-3000:]}{done.stderr[-3000:]}"
    assert "Traceback" not in done.stderr
    (folder / "printed.txt").write_text(done.stdout, "utf-8")
    return folder


def _expanded(command: str, folder: Path) -> list[str]:
    words = shlex.split(re.sub(r"\s#.*", "", command))[1:]
    return [
        found
        for word in words
        for found in (
            sorted(str(p.relative_to(folder)) for p in folder.glob(word)) if "*" in word else [word]
        )
    ]


def test_every_command_of_the_readme_runs_in_an_empty_folder(folder: Path) -> None:
    assert (folder / "shards" / "manifest.json").exists()
    assert len(commands()) > 15


def test_the_python_of_the_readme_runs_on_what_the_commands_made(folder: Path) -> None:
    code = re.search(r"```python\n(import tracekit.*?)```", README, re.S)
    assert code is not None
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code[1]],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shown = re.search(r"# (419 traces.*)", README)
    assert shown is not None
    assert done.stdout.strip() == shown[1]


def test_the_numbers_of_the_readme_are_those_of_the_demo(folder: Path) -> None:
    printed = (folder / "printed.txt").read_text("utf-8").partition("::end of demo")[0]
    block = re.search(r"planted on purpose.*?```\n(.*?)```", README, re.S)
    assert block is not None
    for line in block[1].splitlines():
        if line and line != "...":
            assert line in printed.splitlines(), line


def test_the_page_of_codes_is_what_the_modules_declare() -> None:
    assert (ROOT / "docs" / "codes.md").read_text("utf-8") == registry.page()


def test_every_document_that_the_readme_names_exists() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_worked_example_of_the_tokens_page_is_what_is_counted() -> None:
    import token_example

    assert token_example.PAGE.read_text("utf-8") == token_example.page(), "run `make docs`"
    row = token_example.conversation()
    for history in ("keep", "strip", "as_is"):
        found = token_example.measured(row, history)
        parts = [found[f"n_{segment}_tokens"] for segment in token_example.SEGMENTS]
        assert sum(parts) == found["n_tokens"] == sum(found["sample_tokens"])
