"""The command line: manners, exit codes, and that each command calls what it says."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import tracekit
from tracekit import errors
from tracekit.cli import COMMANDS, everywhere, overview, run
from tracekit.cli.invoke import click_command, examples_of
from tracekit.report import Report, Table

HEAVY = (
    "numpy",
    "polars",
    "pyarrow",
    "pydantic",
    "datasets",
    "tiktoken",
    "numba",
    "ruamel",
    "rich",
)


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put functions in the place of a library module."""

    def put(module: str, **functions: Any) -> None:
        double = ModuleType(f"tracekit.{module}")
        for name, function in functions.items():
            setattr(double, name, function)
        monkeypatch.setitem(sys.modules, double.__name__, double)
        monkeypatch.setattr(tracekit, module, double, raising=False)

    return put


def raising(error: BaseException) -> Callable[..., Report]:
    def function(*_: Any, **__: Any) -> Report:
        raise error

    return function


# Help


def test_help_names_every_command_and_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    text, beside = capsys.readouterr()
    assert beside == ""
    assert text == overview()
    for name, command in COMMANDS.items():
        assert f"  {name}" in text
        assert command.help in text
    for code in ("0", "1", "2", "65", "70", "74", "75", "130", "143"):
        assert code in text.replace(",", " ").replace(":", " ").split()
    assert run([]) == 0
    assert run(["help"]) == 0


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom tracekit.cli import run\ncode = run(['--help']) or run(['--version'])\n"
        "print([m for m in sys.modules if m.split('.')[0] in sys.argv[1:]], file=sys.stderr)\n"
        "sys.exit(code)\n"
    )
    words = [sys.executable, "-c", code, *HEAVY, "typer", "click"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"


def test_help_of_a_command_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom tracekit.cli import COMMANDS, run\n"
        "codes = [run([name, '--help']) for name in COMMANDS]\n"
        "print(codes, [m for m in sys.modules if m.split('.')[0] in sys.argv[1:]], file=sys.stderr)"
    )
    words = [sys.executable, "-c", code, *HEAVY]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stderr == f"{[0] * len(COMMANDS)} []\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_ends_with_examples_that_parse(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([name, "--help"]) == 0
    text = capsys.readouterr().out
    examples = examples_of(COMMANDS[name])
    assert examples
    assert text.rstrip().endswith(examples[-1])
    assert "--format human|json|tsv|quiet" in text
    for example in examples:
        check_example(example, name)


def check_example(example: str, name: str) -> None:
    import shlex

    program, command, *words = shlex.split(example)
    assert (program, command) == ("tracekit", name)
    rest = list(everywhere(words).rest)
    click_command(name, COMMANDS[name]).make_context(name, rest)


def test_the_examples_of_the_overview_parse() -> None:
    lines = [x.strip() for x in overview().partition("Examples:")[2].splitlines() if x.strip()]
    assert len(lines) >= 3
    for line in lines:
        check_example(line, line.split()[1])


def test_the_version_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"tracekit {tracekit.__version__}\n"


# Wrong use


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["ingets"], "Did you mean 'ingest'?"),
        (["--verison"], "no option '--verison'"),
        (["stats", "--format", "jsn"], "Did you mean 'json'?"),
        (["stats", "--format"], "--format '' is not known"),
        (["stats", "--wrok", "x"], "--wrok"),
        (["why"], "ID"),
        (["run"], "RECIPE"),
        (["run", "x.yaml", "--limit", "0"], "--limit"),
        (["run", "x.yaml", "--sample", "0%"], "--sample is '0%'"),
        (["ingest"], "nothing to ingest"),
        (["ingest", "--source", "x"], "name=path"),
        (["filter", "--max-tokens", "3x"], "--max-tokens is '3x'"),
        (["filter", "--max-loop-share", "1.5"], "'--max-loop-share'"),
        (["filter", "--rule", "x"], "code: expression"),
        (["filter", "--what-if", "x=3..1"], "--what-if is 'x=3..1'"),
        (["dedupe", "--off", "--threshold", "0.8"], "--off and --threshold"),
        (["check"], "nothing to check"),
        (["check", "--min-tokens", "many"], "--min-tokens"),
        (["schema", "trcae"], "Did you mean 'trace'?"),
        (["explain", "x\x1b[31my"], r"x\x1b[31my"),
    ],
)
def test_wrong_use_exits_with_2_and_says_what_is_right(
    words: list[str],
    told: str,
    capsys: pytest.CaptureFixture[str],
    library: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    library("registry", codes=lambda: ())
    assert run(words) == 2
    text, beside = capsys.readouterr()
    assert text == ""
    assert told in beside
    assert beside.startswith("error[")
    assert "Traceback" not in beside
    assert "nothing was read or written" in beside
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_in_a_recipe_is_told_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("sources: {a: {path: x}}\nfilter: {max_token: 3}\nrepairs: [nope]\n")
    work = tmp_path / "work"
    assert run(["run", str(file), "-w", str(work)]) == 2
    beside = capsys.readouterr().err
    assert f"error[recipe]: unknown key 'max_token'\n  --> {file}:2:10\n" in beside
    assert "2 | filter: {max_token: 3}\n  |          ^^^^^^^^^ Did you mean 'max_tokens'?" in beside
    assert not work.exists()
    file.write_text("sources: {a: {path: x}}\nrepairs: [nope]\n")
    assert run(["ingest", str(file), "-w", str(work)]) == 2
    assert f"unknown repair 'nope'\n  --> {file}:2:11\n" in capsys.readouterr().err


def test_a_workspace_that_is_not_there_is_bad_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["validate", "-w", str(tmp_path / "none")]) == 65
    assert "no workspace here" in capsys.readouterr().err


# Exit codes


class Panic(BaseException):
    """As a native library raises it."""


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (errors.CheckFailed("x"), 1, "error[check]: x"),
        (errors.UsageError("x"), 2, "error[usage]: x"),
        (errors.InputError("x", where="f:3"), 65, "--> f:3"),
        (errors.LawError("x"), 70, "error[law]: x"),
        (errors.StorageError("x"), 74, "error[storage]: x"),
        (errors.LockedError("x"), 75, "error[locked]: x"),
        (OSError(28, "No space left on device", "a\x1bb"), 74, r"--> a\x1bb"),
        (PermissionError(13, "Permission denied", "secret"), 74, "EACCES, errno 13"),
        (OSError("odd"), 74, "odd"),
        (MemoryError(), 74, "out of memory"),
        (KeyError("x\x9b"), 70, "this is a bug of tracekit"),
        (RecursionError("deep"), 70, "this is a bug of tracekit"),
        (Panic("native"), 70, "Panic: native"),
        (KeyboardInterrupt(), 130, "Run the same command to go on."),
    ],
)
def test_every_error_has_its_exit_code_and_no_traceback(
    error: BaseException,
    code: int,
    told: str,
    library: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    library("views", stats=raising(error))
    assert run(["stats"]) == code
    text, beside = capsys.readouterr()
    assert text == ""
    assert told in beside
    assert "Traceback" not in beside
    assert "\x1b" not in beside
    assert "\x9b" not in beside


def test_debug_shows_where_it_came_from(
    library: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    library("views", stats=raising(KeyError("x\x1b")))
    assert run(["stats", "--debug"]) == 70
    beside = capsys.readouterr().err
    assert "Traceback" in beside
    assert "in function" in beside
    assert "\x1b" not in beside


REPORT = Report(
    tables=[Table("", ("source", "traces"), (("a", 3),))],
    law=["3 records = 3 traces + 0 rejects"],
    hints=["tracekit why x"],
    data={"traces": 3},
)


def test_a_report_is_printed_in_every_format(
    library: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    library("views", stats=lambda work, contexts: REPORT)
    for words in (["stats"], ["--format", "human", "stats"], ["stats", "--format=human"]):
        assert run(words) == 0
        text, beside = capsys.readouterr()
        assert "3 records = 3 traces + 0 rejects" in text
        assert beside == "next: tracekit why x\n"
    assert run(["stats", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["traces"] == 3
    assert run(["-q", "stats", "--format", "tsv"]) == 0
    assert capsys.readouterr() == ("source\ttraces\na\t3\n", "")
    assert run(["stats", "--format", "quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_a_failed_check_exits_with_1_and_passes_what_was_asked(
    library: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []

    def check(work: Path, assertions: dict[str, Any]) -> Report:
        asked.append((work, assertions))
        return Report(failed=["no loop: 3 traces"] if "no" in assertions else [])

    library("views", check=check)
    words = ["check", "-w", "w", "--no", "loop", "--no", "x", "--min-tokens", "100M"]
    assert run([*words, "--max-reject-share", "0.01"]) == 1
    assert "FAIL  no loop: 3 traces" in capsys.readouterr().err
    assert asked == [
        (Path("w"), {"max_reject_share": 0.01, "no": ("loop", "x"), "min_tokens": 100_000_000})
    ]
    assert run(["check", "--min-tokens", "1"]) == 0


def test_damage_that_verify_finds_exits_with_1(library: Callable[..., None]) -> None:
    library("verifying", verify=lambda path: Report(failed=["x"]))
    assert run(["verify", "shards", "-q"]) == 1
    library("verifying", verify=lambda path: Report())
    assert run(["verify", "shards", "-q"]) == 0
