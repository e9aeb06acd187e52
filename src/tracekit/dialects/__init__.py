"""The dialects that tracekit reads, by name; each is imported when it is asked for."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tracekit.dialects.dialect import Dialect, Notes, Option, Record
from tracekit.errors import UsageError, did_you_mean

__all__ = [
    "DIALECTS",
    "Dialect",
    "Notes",
    "Option",
    "Record",
    "check_options",
    "choose",
    "get",
    "recognise",
]

DIALECTS: dict[str, str] = {
    "openai": "tracekit.dialects.openai",
    "openai_turns": "tracekit.dialects.openai_turns",
    "anthropic": "tracekit.dialects.anthropic",
    "sharegpt": "tracekit.dialects.sharegpt",
    "alpaca": "tracekit.dialects.alpaca",
    "prompt_response": "tracekit.dialects.prompt_response",
    "question_answer": "tracekit.dialects.question_answer",
    "claude_code": "tracekit.dialects.claude_code",
}
"""Module of each built-in dialect; it holds the value `dialect`."""

ENTRY_POINTS = "tracekit.dialects"
"""Group of entry points under which a package offers dialects of its own."""


def get(name: str) -> Dialect:
    """The dialect of a name, of an installed package, or of a file `my_file.py`.

    A file defines a value `dialect`. Raises UsageError for names and files that give none.
    """
    if name in DIALECTS:
        found = importlib.import_module(DIALECTS[name]).dialect
        assert isinstance(found, Dialect)
        return found
    if name.endswith(".py"):
        return _of_file(Path(name))
    offered = _entry_points()
    if name in offered:
        return _checked(offered[name].load(), f"entry point {name}")
    known = sorted({*DIALECTS, *offered})
    raise UsageError(
        f"There is no dialect {name!r}.{did_you_mean(name, known)}",
        expected=", ".join(known),
        fix="Name one of these, or a Python file that defines a value `dialect`.",
    )


def _entry_points() -> Mapping[str, Any]:
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def _of_file(path: Path) -> Dialect:
    if not path.is_file():
        raise UsageError(
            f"The dialect file {path} does not exist.",
            where=str(path),
            expected="a Python file that defines a value `dialect`",
            fix="Check the path; it is taken from the current folder.",
        )
    spec = importlib.util.spec_from_file_location(f"tracekit_dialect_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UsageError(f"The dialect file {path} cannot be loaded.", where=str(path))
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UsageError(
            f"The dialect file {path} fails when it is imported: {type(error).__name__}: {error}",
            where=str(path),
            fix="Run it with `python` to see the whole error.",
        ) from error
    return _checked(getattr(module, "dialect", None), str(path))


def _checked(found: Any, where: str) -> Dialect:
    if isinstance(found, Dialect):
        return found
    raise UsageError(
        f"{where} gives no dialect.",
        where=where,
        expected="a value `dialect` of type tracekit.dialects.Dialect",
        fix="Define `dialect = Dialect(name=..., version=1, unit='record', fits=..., read=...)`.",
    )


def recognise(sampled: Iterable[Any]) -> list[tuple[str, str, float]]:
    """Built-in dialects that fit sampled values: (name, evidence, share of the samples that fit).

    Best first; one entry means recognised. Two or none: the caller stops and asks, for no dialect
    guesses.
    """
    values = list(sampled)
    found = []
    for name in DIALECTS:
        fits = get(name).fits
        evidence = [words for words in map(fits, values) if words]
        if evidence:
            most = max(sorted(set(evidence)), key=evidence.count)
            found.append((name, most, len(evidence) / len(values)))
    return sorted(found, key=lambda entry: (-entry[2], entry[0]))


MIN_SHARE = 0.5
"""Share of the samples that a dialect must fit to be chosen without asking."""


def choose(candidates: list[tuple[str, str, float]]) -> str | None:
    """The one dialect that `recognise` found for at least half of the samples, else None.

    >>> choose([("openai", "messages with role", 1.0)])
    'openai'
    >>> choose([("openai", "messages with role", 0.6), ("alpaca", "instruction and output", 0.4)])
    """
    if len(candidates) == 1 and candidates[0][2] >= MIN_SHARE:
        return candidates[0][0]
    return None


def check_options(dialect: Dialect, options: Mapping[str, str]) -> None:
    """Raises UsageError where an option is not declared by the dialect or has an unknown value."""
    declared = {option.name: option for option in dialect.options}
    for name, value in options.items():
        if name not in declared:
            raise UsageError(
                f"The dialect {dialect.name} has no option {name!r}.{did_you_mean(name, declared)}",
                expected=", ".join(declared) or "no options",
                fix="Take the option out of the recipe, or correct its name.",
            )
        if value not in declared[name].choices:
            raise UsageError(
                f"{value!r} is no value of the option {name} of the dialect {dialect.name}."
                + did_you_mean(str(value), declared[name].choices),
                expected=", ".join(declared[name].choices),
                fix="Choose one of these values.",
            )
