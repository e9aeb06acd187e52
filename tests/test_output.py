"""The output module: what is shown is safe, whole and in its place."""

import io
import json
import os
import pty
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit.errors import CheckFailed, LockedError, StorageError, UsageError
from tracekit.output import Out, clean, clean_line, error_kind, json_text, n_columns, print_report
from tracekit.progress import Shown, no_progress, plain_line
from tracekit.report import Report, Table

UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
HOSTILE = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from('\x1b\x9b\x7f\r\t\n\x00\u202e\u2066\u200f\ud83d[]/\\"日e\u0301'),
    )
)


def out(format: str = "human", **options: object) -> Out:
    return Out(format, stdout=io.StringIO(), stderr=io.StringIO(), **options)  # type: ignore[arg-type]


def both(o: Out) -> tuple[str, str]:
    return o.stdout.getvalue(), o.stderr.getvalue()  # type: ignore[attr-defined]


@given(HOSTILE)
def test_clean_text_holds_nothing_that_a_terminal_obeys(text: str) -> None:
    assert not UNSAFE.search(clean(text))
    assert not UNSAFE.search(clean_line(text))
    assert not set("\n\t") & set(clean_line(text))
    clean(text).encode("utf-8")


@given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Cf"])))
def test_clean_leaves_plain_text_alone(text: str) -> None:
    assert clean(text) == text


@given(HOSTILE)
def test_json_keeps_the_true_text_and_is_safe_to_show(text: str) -> None:
    shown = json_text({"a": [text], text: 1})
    assert not UNSAFE.search(shown)
    assert json.loads(shown) == {"a": [text], text: 1}


def test_json_has_null_where_a_number_is_not_finite() -> None:
    assert json.loads(json_text([float("nan"), float("inf"), 0.1, 2**70])) == [
        None,
        None,
        0.1,
        2**70,
    ]


@given(st.lists(st.tuples(HOSTILE, st.one_of(HOSTILE, st.integers(), st.none())), max_size=4))
def test_no_cell_leaves_its_place_in_tsv(rows: list[tuple[str, object]]) -> None:
    o = out("tsv")
    o.tables([Table("", ("id", "n"), tuple(rows))])  # type: ignore[arg-type]
    text, errors = both(o)
    assert errors == ""
    lines = text.removesuffix("\n").split("\n")
    assert len(lines) == len(rows) + 1
    assert all(line.count("\t") == 1 for line in lines)
    back = []
    for line in lines[1:]:
        cell = line.split("\t")[0]
        back.append(re.sub(r"\\(\\|n|t|x..|u....)", _unescape, cell))
    assert back == [row[0] for row in rows]


def _unescape(match: re.Match[str]) -> str:
    word = match[1]
    simple = {"\\": "\\", "n": "\n", "t": "\t"}
    return simple[word] if word in simple else chr(int(word[1:], 16))


@given(HOSTILE, HOSTILE, HOSTILE)
def test_every_way_out_is_sanitised(a: str, b: str, c: str) -> None:
    for format in ("human", "json", "tsv"):
        o = out(format)
        report = Report(
            tables=[Table(a, (b, "n"), ((c, 1),))],
            text=[a],
            law=[b],
            notes=[c],
            hints=[a],
            failed=[b],
            data={a: b},
        )
        print_report(o, report)
        o.pairs(a, [(b, c)])
        o.error(UsageError(a, where=b, expected=c, fix=a, wrote=b, excerpt=c))
        for text in both(o):
            assert not UNSAFE.search(text)


def test_markup_in_data_is_shown_as_it_is() -> None:
    o = out()
    o.tables([Table("", ("id",), (("[bold red]x[/] :smile: {a} %s",),))])
    o.hint("[link=x]y")
    assert "[bold red]x[/] :smile: {a} %s" in both(o)[0]
    assert "[link=x]y" in both(o)[1]


def test_tables_are_aligned_by_what_is_seen() -> None:
    o = out()
    rows = (("日本", 1_234_567, 0.5), ("abc", 7, None))
    o.tables([Table("", ("name", "tokens", "share"), rows)])
    assert both(o)[0] == (
        "name     tokens  share\n"
        "日本  1,234,567  50.0%\n"
        "abc           7      -\n"
    )  # fmt: skip


def test_nothing_is_cut() -> None:
    long = "x" * 5_000
    o = out()
    o.tables([Table("", ("id",), ((long,),))])
    assert long in both(o)[0]


def test_numbers_are_plain_where_programs_read() -> None:
    table = Table("t", ("tokens", "share", "ok"), ((1_234_567, 0.1, True), (None, 1e-9, False)))
    o = out("tsv")
    o.tables([table])
    assert both(o)[0] == "tokens\tshare\tok\n1234567\t0.1\ttrue\n\t1e-09\tfalse\n"
    o = out("json")
    o.tables([table])
    assert json.loads(both(o)[0])[0]["rows"][1] == {"tokens": None, "share": 1e-9, "ok": False}


REPORT = Report(
    tables=[Table("sources", ("source", "traces"), (("a", 3),))],
    law=["3 records = 3 traces"],
    notes=["worth knowing"],
    hints=["tracekit stats -w work"],
    data={"traces": 3},
)


def test_data_goes_to_standard_output_and_all_else_beside_it() -> None:
    o = out("human")
    print_report(o, REPORT)
    text, errors = both(o)
    assert text == "source  traces\na            3\n\n3 records = 3 traces\n"
    assert errors == "note: worth knowing\nnext: tracekit stats -w work\n"
    o = out("tsv")
    print_report(o, REPORT)
    text, errors = both(o)
    assert text == "source\ttraces\na\t3\n"
    assert errors.startswith("3 records = 3 traces\n")
    o = out("json")
    print_report(o, REPORT)
    shown = json.loads(both(o)[0])
    assert shown["traces"] == 3
    assert shown["law"] == ["3 records = 3 traces"]
    assert shown["tables"][0]["rows"] == [{"source": "a", "traces": 3}]


def test_quiet_says_only_errors() -> None:
    o = out("quiet")
    print_report(o, REPORT)
    o.say("x")
    assert both(o) == ("", "")
    o.error(UsageError("wrong"))
    assert both(o)[1] == "error[usage]: wrong\n  nothing was read or written\n"
    o = out("tsv", quiet=True)
    print_report(o, REPORT)
    assert both(o) == ("source\ttraces\na\t3\n", "")


def test_an_error_has_all_its_parts_in_order() -> None:
    o = out()
    error = StorageError(
        "the disk is full", where="a/b:3", excerpt="3 | x", expected="room", fix="rm", wrote="none"
    )
    o.error(error)
    assert both(o)[1] == (
        "error[storage]: the disk is full\n  --> a/b:3\n3 | x\n"
        "  expected: room\n  fix: rm\n  none\n"
    )
    assert error_kind(CheckFailed("x")) == "check"
    assert error_kind(LockedError("x")) == "locked"


def test_colour_is_for_terminals_that_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    o = Out(stdout=io.StringIO(), stderr=Terminal())
    o.error(UsageError("x"))
    assert "\x1b[" in both(o)[1]
    monkeypatch.setenv("NO_COLOR", "1")
    o = Out(stdout=io.StringIO(), stderr=Terminal())
    o.error(UsageError("x"))
    assert "\x1b[" not in both(o)[1]
    assert out().colour is False


def test_a_row_of_the_wrong_width_is_our_bug() -> None:
    with pytest.raises(ValueError, match="row of 2 cells, 1 columns"):
        Table("t", ("a",), (("x", "y"),))


def test_wide_and_combining_characters_are_counted_as_seen() -> None:
    assert n_columns("e\u0301") == 1
    assert n_columns("日本語") == 6


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_without_a_terminal_one_plain_line_is_said_every_ten_seconds() -> None:
    o, clock = out(), Clock()
    with Shown(o, clock=clock) as progress:
        for _ in range(100):
            clock.now += 0.5
            progress(int(clock.now * 1e6), 100_000_000, 10, 1, stage="ingest")
    lines = both(o)[1].splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("ingest: 10.5 of 100.0 MB")
    assert both(o)[0] == ""


def test_progress_without_totals_and_quiet_progress() -> None:
    assert plain_line("", 5, None, 0, 0, 0.0).startswith("working: ")
    no_progress(1, None, 0, 0)
    o, clock = out(quiet=True), Clock()
    with Shown(o, clock=clock) as progress:
        clock.now = 60
        progress(1, 2, 3, 4)
    assert both(o) == ("", "")


def test_an_interrupted_stage_tells_how_many_parts_are_safe() -> None:
    stop = KeyboardInterrupt()

    def work() -> None:
        with Shown(out()) as progress:
            progress(1, 2, 3, 4, parts=(5, 9))
            raise stop

    with pytest.raises(KeyboardInterrupt):
        work()
    assert stop.parts == (5, 9)  # type: ignore[attr-defined]


def test_on_a_terminal_the_line_is_redrawn_and_gone_at_the_end() -> None:
    code = (
        "from tracekit.output import Out\nfrom tracekit.progress import Shown\nimport time\n"
        "with Shown(Out()) as p:\n"
        "    for i in range(4):\n"
        "        p(i * 1000, 3000, i, 0, stage='in[bold]gest'); time.sleep(0.05)\n"
    )
    main, worker = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        stderr=worker,
        capture_output=False,
        env=environment,
        check=True,
    )
    os.close(worker)
    shown = b""
    while True:
        try:
            piece = os.read(main, 65536)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    os.close(main)
    assert done.returncode == 0
    assert b"in[bold]gest" in shown
    assert b"3 traces" in shown


@given(HOSTILE)
def test_a_pipe_that_is_closed_early_is_quiet(text: str) -> None:
    read, write = os.pipe()
    os.close(read)
    stream = os.fdopen(write, "w", encoding="utf-8", errors="backslashreplace")
    o = Out(stdout=stream, stderr=io.StringIO())
    o.document(text * 10)
    o.close()
    o.document("more")
    o.close()
    assert o.stderr.getvalue() == ""  # type: ignore[attr-defined]
    stream.close()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_behind_standard_output_is_told() -> None:
    with open("/dev/full", "w") as stream:
        o = Out(stdout=stream, stderr=io.StringIO())
        o.document("x")
        with pytest.raises(StorageError, match="standard output"):
            o.close()
