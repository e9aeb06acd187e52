"""From words to a call: one typer application for the one command that was named."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import typer

from tracekit.cli import EVERYWHERE, Command
from tracekit.errors import UsageError

if TYPE_CHECKING:
    from tracekit.output import Out

_CLICK_ERROR: type[Exception] = next(
    c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException"
)
"""Typer carries its own click or depends on one; its public error leads to the right base."""

EXAMPLES = "Examples:"


def function_of(command: Command) -> Callable[..., int | None]:
    """The function of a command; imports its module."""
    module, _, name = command.target.partition(":")
    function: Callable[..., int | None] = getattr(importlib.import_module(module), name)
    return function


def click_command(name: str, command: Command) -> Any:
    """The parser of a command, with its examples and the common options after its help."""
    function = function_of(command)
    text, _, examples = inspect.cleandoc(function.__doc__ or "").partition(EXAMPLES)
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(
        name,
        help=_verbatim(text),
        epilog=_verbatim(f"{EVERYWHERE}\n\n{EXAMPLES}{examples}"),
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )(function)
    return typer.main.get_command(app)


def examples_of(command: Command) -> list[str]:
    """The command lines under `Examples:` in a command's docstring."""
    _, _, examples = (function_of(command).__doc__ or "").partition(EXAMPLES)
    return [line.strip() for line in examples.splitlines() if line.strip().startswith("tracekit")]


def invoke(name: str, command: Command, words: Sequence[str], out: Out) -> int:
    """Parse `words` and call the command; its `int` is the exit code. Raises UsageError."""
    import io
    from contextlib import redirect_stdout

    parser = click_command(name, command)
    # Help is printed by the parser itself; caught, it leaves by the same door as all output.
    help_text = io.StringIO()
    try:
        # Not `parser.main`: it turns an interruption into an error of its own.
        with redirect_stdout(help_text):
            context = parser.make_context(f"tracekit {name}", list(words), obj=out)
        with context:
            result = parser.invoke(context)
    except _CLICK_ERROR as error:
        format_message = getattr(error, "format_message", None)
        message = str(format_message() if format_message is not None else error)
        raise UsageError(message, fix=f"tracekit {name} --help") from error
    except typer.Exit as stop:
        out.document(help_text.getvalue())
        return int(stop.exit_code)
    return int(result or 0)


def _verbatim(text: str) -> str:
    """Help text whose lines stay as they are: `\\b` before each paragraph keeps click from
    wrapping it."""
    paragraphs = text.strip().split("\n\n")
    return "\n\n".join(f"\b\n{p}" for p in paragraphs if p.strip())
