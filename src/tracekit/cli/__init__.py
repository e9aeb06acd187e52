"""The command line: a table of commands, of which only the named one is imported.

`tracekit --help` and `--version` need the standard library alone. A command is a thin skin over
one library function: it parses, calls, prints. Exit codes: 0 done, 1 a check failed, 2 wrong use,
65 bad input or version, 70 a broken law or a bug, 74 I/O, 75 locked, 130 and 143 interrupted.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TextIO

from tracekit import __version__
from tracekit.errors import EXIT_OK, LawError, StorageError, TracekitError, UsageError, did_you_mean
from tracekit.output import FORMATS, Format, Out, clean


@dataclass(frozen=True, slots=True)
class Command:
    """One command: where its function is, and what it does in a line."""

    target: str
    """`module:function`."""
    help: str


COMMANDS: dict[str, Command] = {
    "demo": Command("tracekit.cli.whole:demo", "The whole road on a built-in sample."),
    "sniff": Command("tracekit.cli.front:sniff", "What files and folders hold; writes nothing."),
    "init": Command("tracekit.cli.front:init", "A commented recipe from what sniff sees."),
    "run": Command("tracekit.cli.whole:run_recipe", "All stages of a recipe: traces to shards."),
    "ingest": Command("tracekit.cli.stages:ingest", "Read input files into a workspace."),
    "validate": Command("tracekit.cli.stages:validate", "Find and drop what cannot be trained."),
    "filter": Command("tracekit.cli.stages:filter_traces", "Set limits and rules, or ask what if."),
    "dedupe": Command("tracekit.cli.stages:dedupe", "Drop duplicates, keep the best of each."),
    "shard": Command("tracekit.cli.stages:shard", "Write what is kept as Parquet shards."),
    "verify": Command("tracekit.cli.stages:verify", "Check shards or a workspace for damage."),
    "stats": Command("tracekit.cli.looking:stats", "Traces, tokens and drops by source."),
    "why": Command("tracekit.cli.looking:why", "All that was measured and decided on one trace."),
    "explain": Command("tracekit.cli.looking:explain", "What a code means and how to turn it off."),
    "check": Command("tracekit.cli.looking:check", "Assertions for CI; exit code 1 if one fails."),
    "schema": Command("tracekit.cli.looking:schema", "JSON Schemas of all that is stored."),
}

EVERYWHERE = """\
Everywhere:
  --format human|json|tsv|quiet   data goes to standard output in this form, all else to
                                  standard error
  -q, --quiet                     no notes, hints or progress
  --debug                         show the traceback of an error"""


@dataclass(frozen=True, slots=True)
class Everywhere:
    """Options that every command takes, wherever they stand."""

    format: Format
    quiet: bool
    debug: bool
    rest: tuple[str, ...]


def run(argv: Sequence[str]) -> int:
    """Run one command line and give its exit code. Never raises for what a user can cause."""
    stdout, stderr = _stream(sys.stdout), _stream(sys.stderr)
    out = Out(stdout=stdout, stderr=stderr)
    debug = "--debug" in argv
    try:
        try:
            options = everywhere(argv)
            out = Out(options.format, options.quiet, stdout, stderr)
            code = _dispatch(options, out)
        finally:
            out.close()
        return code
    except KeyboardInterrupt as stop:
        from tracekit.cli.stopping import exit_code

        return exit_code(stop)
    except BaseException as error:  # a panic of a native library is no Exception
        if isinstance(error, (SystemExit, GeneratorExit)):
            raise
        told = _told(error)
        out.error(told)
        if debug:
            out.stderr.write(clean("".join(traceback.format_exception(error))))
        elif _is_bug(error):
            out.say("this is a bug of tracekit, not of your data: run it with --debug to see where")
        return told.exit_code


def everywhere(argv: Sequence[str]) -> Everywhere:
    """Take the options that every command has out of the arguments, up to a `--`."""
    format_: str = "human"
    quiet = debug = False
    rest: list[str] = []
    words = iter(argv)
    for word in words:
        if word == "--":
            rest += [word, *words]
        elif word in ("-q", "--quiet"):
            quiet = True
        elif word == "--debug":
            debug = True
        elif word == "--format" or word.startswith("--format="):
            format_ = word.partition("=")[2] if "=" in word else next(words, "")
            if format_ not in FORMATS:
                raise UsageError(
                    f"--format {format_!r} is not known.{did_you_mean(format_, FORMATS)}",
                    expected=", ".join(FORMATS),
                )
        else:
            rest.append(word)
    chosen: Format = format_  # type: ignore[assignment]
    return Everywhere(chosen, quiet, debug, tuple(rest))


def _dispatch(options: Everywhere, out: Out) -> int:
    if not options.rest or (options.rest[0] in ("-h", "--help", "help") and len(options.rest) == 1):
        out.document(overview())
        return EXIT_OK
    name, rest = options.rest[0], options.rest[1:]
    if name in ("-V", "--version"):
        out.document(f"tracekit {__version__}")
        return EXIT_OK
    if name == "help":
        name, rest = rest[0], ("--help",)
    if name not in COMMANDS:
        kind = "option" if name.startswith("-") else "command"
        raise UsageError(
            f"no {kind} {name!r}.{did_you_mean(name, COMMANDS)}",
            expected=f"one of {', '.join(COMMANDS)}",
            fix="tracekit --help",
        )
    from tracekit.cli.invoke import invoke
    from tracekit.cli.stopping import stoppable

    with stoppable(out):
        return invoke(name, COMMANDS[name], rest, out)


def overview() -> str:
    """The text of `tracekit --help`."""
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {c.help}" for name, c in COMMANDS.items())
    return f"""\
tracekit {__version__}: raw reasoning traces in, a training mix you can trust out.

Usage: tracekit COMMAND [ARGUMENTS] [OPTIONS]

Commands:
{commands}

{EVERYWHERE}
  -h, --help                      of tracekit or of a command
  -V, --version

Exit codes: 0 done, 1 a check failed, 2 wrong use, 65 bad input or version, 70 a broken law,
74 I/O, 75 workspace locked, 130 and 143 interrupted.

Examples:
  tracekit demo
  tracekit sniff data
  tracekit run pipelines/quickstart.yaml
  tracekit ingest data/*.jsonl.zst -w work
  tracekit why -w work data:batch.jsonl#12
"""


class Bug(LawError):
    """An exception that nothing foresaw."""


def _told(error: BaseException) -> TracekitError:
    """Any error as one that can be shown."""
    if isinstance(error, TracekitError):
        return error
    if isinstance(error, OSError):
        name = error.errno and errno.errorcode.get(error.errno)
        path = error.filename if error.filename is not None else error.filename2
        return StorageError(
            f"{error.strerror or error}" + (f" ({name}, errno {error.errno})" if name else ""),
            where=os.fsdecode(path) if isinstance(path, (str, bytes)) else None,
            expected="an operation on a file that succeeds",
            fix="make room on the disk" if error.errno in (errno.ENOSPC, errno.EDQUOT) else None,
            wrote="finished parts are safe; run the same command again to go on",
        )
    if isinstance(error, MemoryError):
        return StorageError(
            "out of memory",
            fix="use fewer --workers or a smaller ingest.part_bytes in the recipe",
            wrote="finished parts are safe; run the same command again to go on",
        )
    first = str(error).strip().partition("\n")[0][:300]
    return Bug(f"{type(error).__name__}: {first}" if first else type(error).__name__)


def _is_bug(error: BaseException) -> bool:
    return not isinstance(error, (TracekitError, OSError, MemoryError))


def _stream(stream: TextIO | None) -> TextIO:
    """A stream that can take any text: closed ones go nowhere, narrow encodings escape."""
    if stream is None or stream.closed:
        return open(os.devnull, "w", encoding="utf-8")
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
    return stream
