"""The one place that writes to a terminal or a pipe.

Data goes to standard output, everything else to standard error. Text that people read passes one
sanitiser, since traces come from strangers and a terminal obeys what it is shown. Nothing is cut:
a pipe gets whole cells, a terminal wraps. A reader that leaves early (`| head`) ends the printing,
never the work and never the exit code.
"""

from __future__ import annotations

import errno
import json
import os
import re
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TextIO, TypeAlias, get_args

from tracekit.errors import StorageError, TracekitError, UsageError
from tracekit.report import Cell, Report, Table

Format: TypeAlias = Literal["human", "json", "tsv", "quiet"]
FORMATS: tuple[str, ...] = get_args(Format)

_BIDI = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_UNSAFE = re.compile(rf"[\x00-\x08\x0b-\x1f\x7f-\x9f{_BIDI}\ud800-\udfff]")
"""C0 but tab and newline, DEL, C1, bidi controls, lone surrogates."""
_UNSAFE_JSON = re.compile(rf"[\x7f-\x9f{_BIDI}\ud800-\udfff]")
"""What the JSON encoder leaves as it is and a terminal obeys."""

_CODES = {"bold": "1", "red": "1;31", "yellow": "33", "cyan": "36", "dim": "2"}


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def clean(text: str) -> str:
    r"""Text that a terminal shows and does not obey; newline and tab stay.

    >>> clean("a\x1b[31mb\r\n")
    'a\\x1b[31mb\\x0d\n'
    """
    return _UNSAFE.sub(_escape, text)


def clean_line(text: str) -> str:
    r"""As `clean`, for text that must stay on one line: newline and tab are escaped too.

    >>> clean_line("a\nb\tc")
    'a\\nb\\tc'
    """
    if "\n" in text or "\t" in text:
        text = text.replace("\n", "\\n").replace("\t", "\\t")
    return clean(text)


def json_text(value: Any, *, indent: int | None = 2) -> str:
    """JSON that keeps the true text and still holds no control character as itself.

    Numbers that are not finite become null: JSON has no word for them.
    """
    text = json.dumps(
        _finite(value), ensure_ascii=False, allow_nan=False, indent=indent, default=str
    )
    return _UNSAFE_JSON.sub(lambda m: f"\\u{ord(m[0]):04x}", text)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return value


def n_columns(text: str) -> int:
    """Columns that text takes on a terminal: wide characters two, combining marks none.

    >>> n_columns("日本"), n_columns("abc")
    (4, 3)
    """
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def human_cell(column: str, value: Cell) -> str:
    """A cell as people read it: thousands apart, shares as per cent, `-` for not measured.

    >>> human_cell("tokens", 1234567), human_cell("share", 0.4089), human_cell("x", None)
    ('1,234,567', '40.9%', '-')
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.1%}" if column == "share" else f"{value:,.4g}"
    return clean_line(value)


def _tsv_cell(value: Cell) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        text = value.replace("\\", "\\\\")
        return clean_line(text)
    return repr(value)


@dataclass(slots=True)
class Out:
    """Where a command prints. Made once by the command line and handed down."""

    format: Format = "human"
    quiet: bool = False
    """No notes, hints or progress; data and errors stay."""
    stdout: TextIO = field(default_factory=lambda: sys.stdout)
    stderr: TextIO = field(default_factory=lambda: sys.stderr)
    colour: bool | None = None
    """None: colour where standard error is a terminal and NO_COLOR is not set."""

    def __post_init__(self) -> None:
        if self.format == "quiet":
            self.quiet = True
        if self.colour is None:
            self.colour = self.live and not os.environ.get("NO_COLOR")

    @property
    def live(self) -> bool:
        """Is standard error a terminal that can redraw a line?"""
        return _is_terminal(self.stderr) and os.environ.get("TERM") != "dumb"

    def data(self, text: str) -> None:
        """A block of the answer, on standard output. The caller has sanitised it."""
        if self.format != "quiet":
            self.document(text)

    def document(self, text: str) -> None:
        """Output that is the whole point of the command: written in every format."""
        _write(self.stdout, text if text.endswith("\n") else text + "\n", "standard output")

    def note(self, text: str, *, label: str = "note") -> None:
        """What a reader should know, on standard error."""
        if not self.quiet:
            self._say(f"{self._paint('yellow', clean_line(label))}: {clean(text)}")

    def hint(self, command: str) -> None:
        """The next command, on standard error."""
        if not self.quiet:
            self._say(self._paint("dim", f"next: {clean_line(command)}"))

    def say(self, text: str) -> None:
        """A plain line on standard error, such as progress without a terminal."""
        if not self.quiet:
            self._say(clean(text))

    def json(self, value: Any) -> None:
        """One JSON document on standard output."""
        self.document(json_text(value))

    def pairs(self, title: str, pairs: Iterable[tuple[str, Cell]]) -> None:
        """A block of keys and values."""
        rows = tuple(pairs)
        if self.format == "human":
            width = max((len(k) for k, _ in rows), default=0)
            lines = [self._title(title)] if title else []
            lines += [f"{clean_line(k):<{width}}  {human_cell(k, v)}" for k, v in rows]
            self.data("\n".join(lines))
        else:
            self.tables([Table(title, ("key", "value"), rows)])

    def tables(self, tables: Sequence[Table]) -> None:
        """Tables one after the other, in the chosen format."""
        if self.format == "json":
            self.json([_table_json(t) for t in tables])
            return
        draw = self._tsv if self.format == "tsv" else self._aligned
        for i, table in enumerate(tables):
            self.data(("\n" if i else "") + draw(table, heading=len(tables) > 1))

    def error(self, error: TracekitError) -> None:
        """An error with its place, what was expected, the fix, and what was written."""
        head = f"error[{error_kind(error)}]"
        lines = [f"{self._paint('red', head)}: {clean(error.what)}"]
        if error.where:
            lines.append(f"  {self._paint('cyan', '-->')} {clean_line(error.where)}")
        if error.excerpt:
            lines.append(clean(error.excerpt))
        if error.expected:
            lines.append(f"  expected: {clean(error.expected)}")
        if error.fix:
            lines.append(f"  fix: {clean(error.fix)}")
        wrote = error.wrote
        if wrote is None and isinstance(error, UsageError):
            wrote = "nothing was read or written"
        if wrote:
            lines.append(f"  {clean(wrote)}")
        self._say("\n".join(lines))

    def close(self) -> None:
        """Flush both streams, so that a full disk behind a redirection is seen and told."""
        for stream, name in ((self.stdout, "standard output"), (self.stderr, "standard error")):
            _write(stream, "", name, flush=True)

    def _say(self, text: str) -> None:
        try:
            _write(self.stderr, text + "\n", "standard error", flush=True)
        except StorageError:
            # There is no further place to say it; the exit code still tells.
            return

    def _paint(self, style: str, text: str) -> str:
        return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if self.colour else text

    def _title(self, title: str) -> str:
        return clean_line(title)

    def _tsv(self, table: Table, *, heading: bool) -> str:
        lines = [f"# {clean_line(table.title)}"] if heading and table.title else []
        lines.append("\t".join(clean_line(c) for c in table.columns))
        lines += ["\t".join(_tsv_cell(v) for v in row) for row in table.rows]
        return "\n".join(lines)

    def _aligned(self, table: Table, *, heading: bool) -> str:
        lines = [self._title(table.title)] if heading and table.title else []
        cells = [[clean_line(c) for c in table.columns]] + [
            [human_cell(c, v) for c, v in zip(table.columns, row, strict=True)]
            for row in table.rows
        ]
        right = [
            any(isinstance(r[k], (int, float)) and not isinstance(r[k], bool) for r in table.rows)
            for k in range(len(table.columns))
        ]
        widths = [max(n_columns(row[k]) for row in cells) for k in range(len(table.columns))]
        for row in cells:
            padded = []
            for text, width, is_number in zip(row, widths, right, strict=True):
                space = " " * (width - n_columns(text))
                padded.append(space + text if is_number else text + space)
            lines.append("  ".join(padded).rstrip())
        return "\n".join(lines)


def print_report(out: Out, report: Report) -> None:
    """Any report in the chosen format; its hints and notes go to standard error."""
    if out.format == "json":
        out.json(
            {
                **report.data,
                "text": list(report.text),
                "tables": [_table_json(t) for t in report.tables],
                "law": list(report.law),
                "notes": list(report.notes),
                "failed": list(report.failed),
            }
        )
    else:
        # In TSV the sums are prose: they go beside the data, so that columns stay columns.
        blocks = len(report.text) + bool(report.tables)
        if out.format == "human":
            for text in report.text:
                out.data(clean(text))
            if report.text and report.tables:
                out.data("")
        else:
            for text in report.text:
                out.say(text)
        out.tables(report.tables)
        if out.format == "human":
            if blocks and report.law:
                out.data("")
            for line in report.law:
                out.data(clean(line))
        else:
            for line in report.law:
                out.say(line)
    if out.format != "json":
        for line in report.notes:
            out.note(line)
        for line in report.failed:
            out.say(f"FAIL  {line}")
    for command in report.hints:
        out.hint(command)


def error_kind(error: TracekitError) -> str:
    """The word in `error[...]`.

    >>> error_kind(UsageError("x")), error_kind(StorageError("x"))
    ('usage', 'storage')
    """
    return type(error).__name__.removesuffix("Error").removesuffix("Failed").lower()


def _table_json(table: Table) -> dict[str, Any]:
    return {"title": table.title, "rows": table.records()}


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except (ValueError, AttributeError):
        return False


def _write(stream: TextIO, text: str, name: str, *, flush: bool = False) -> None:
    try:
        stream.write(text)
        if flush:
            stream.flush()
    except BrokenPipeError:
        _send_nowhere(stream)
    except ValueError:
        # The stream was closed under us; who closed it does not read it.
        return
    except OSError as error:
        if error.errno == errno.EPIPE:
            _send_nowhere(stream)
            return
        _send_nowhere(stream)
        raise StorageError(
            f"could not write to {name}: {error.strerror} (errno {error.errno})",
            where=name,
            fix="make room or send the output elsewhere, then run the same command again",
        ) from error


def _send_nowhere(stream: TextIO) -> None:
    """Point a stream whose reader left at the null device: later writes, and the interpreter's
    own flush at exit, then succeed in silence."""
    try:
        fd = stream.fileno()
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, fd)
        os.close(null)
    except (OSError, ValueError):
        return
