"""The dialects that tracekit reads, by name; each is imported when it is asked for."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tracekit.dialects.dialect import Dialect, Fits, Notes, Option, Record
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
    "installed",
    "recognise",
]

DIALECTS: dict[str, str] = {
    "openai": "tracekit.dialects.openai",
    "openai_turns": "tracekit.dialects.openai_turns",
    "litellm": "tracekit.dialects.litellm",
    "anthropic": "tracekit.dialects.anthropic",
    "openai_responses": "tracekit.dialects.openai_responses",
    "gemini": "tracekit.dialects.gemini",
    "managed_agents": "tracekit.dialects.managed_agents",
    "harmony": "tracekit.dialects.harmony",
    "sharegpt": "tracekit.dialects.sharegpt",
    "alpaca": "tracekit.dialects.alpaca",
    "prompt_response": "tracekit.dialects.prompt_response",
    "question_answer": "tracekit.dialects.question_answer",
    "claude_code": "tracekit.dialects.claude_code",
    "inspect_log": "tracekit.dialects.inspect_log",
    "langfuse": "tracekit.dialects.langfuse",
    "langsmith": "tracekit.dialects.langsmith",
    "otel_spans": "tracekit.dialects.otel_spans",
    "vcr": "tracekit.dialects.vcr",
    "tracekit": "tracekit.dialects.tracekit_rows",
    "codex": "tracekit.dialects.codex",
    "session_messages": "tracekit.dialects.session_messages",
    "copilot": "tracekit.dialects.copilot",
    "qwen_code": "tracekit.dialects.qwen_code",
    "gemini_cli": "tracekit.dialects.gemini_cli",
    "kimi": "tracekit.dialects.kimi",
    "opencode": "tracekit.dialects.opencode",
    "grok": "tracekit.dialects.grok",
    "cursor": "tracekit.dialects.cursor",
    "droid_stream": "tracekit.dialects.droid_stream",
    "antigravity": "tracekit.dialects.antigravity",
    "hermes": "tracekit.dialects.hermes",
    "agent_log": "tracekit.dialects.agent_log",
    "vscode_chatreplay": "tracekit.dialects.vscode_chatreplay",
    "swe_agent": "tracekit.dialects.swe_agent",
    "mini_swe_agent": "tracekit.dialects.mini_swe_agent",
    "nebius": "tracekit.dialects.nebius",
    "swe_smith": "tracekit.dialects.swe_smith",
    "math_samples": "tracekit.dialects.math_samples",
    "prm800k": "tracekit.dialects.prm800k",
    "reward_tree": "tracekit.dialects.reward_tree",
    "react": "tracekit.dialects.react",
    "reasoning_augmented_eval": "tracekit.dialects.reasoning_augmented_eval",
    "reflexion": "tracekit.dialects.reflexion",
    "verl": "tracekit.dialects.verl",
    "no_conversation": "tracekit.dialects.no_conversation",
    "openhands": "tracekit.dialects.openhands",
    "openhands_events": "tracekit.dialects.openhands_events",
    "openhands_sdk": "tracekit.dialects.openhands_sdk",
    "adp": "tracekit.dialects.adp",
    "codeact": "tracekit.dialects.codeact",
    "xlam": "tracekit.dialects.xlam",
    "bfcl": "tracekit.dialects.bfcl",
    "toolbench": "tracekit.dialects.toolbench",
    "toolalpaca": "tracekit.dialects.toolalpaca",
    "tooltalk": "tracekit.dialects.tooltalk",
    "toolrl": "tracekit.dialects.toolrl",
    "tau_bench": "tracekit.dialects.tau_bench",
    "tau2": "tracekit.dialects.tau2",
    "preference": "tracekit.dialects.preference",
    "atif": "tracekit.dialects.atif",
    "terminus": "tracekit.dialects.terminus",
    "web_agent": "tracekit.dialects.web_agent",
    "autogen": "tracekit.dialects.autogen",
    "who_and_when": "tracekit.dialects.who_and_when",
    "swe_predictions": "tracekit.dialects.swe_predictions",
}
"""Module of each built-in dialect; it holds the value `dialect`."""

MAPPING = "mapping:"
"""Beginning of the name of a field mapping; see `dialects.mapping`."""

NOTHING_SAID = "no_conversation"
"""The dialect of records in which nobody speaks."""

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
    if name.startswith(MAPPING):
        from tracekit.dialects import mapping

        return mapping.named(name)
    offered = _entry_points()
    if name in offered:
        return _offered(offered[name])
    known = sorted({*DIALECTS, *offered})
    raise UsageError(
        f"There is no dialect {name!r}.{did_you_mean(name, known)}",
        expected=", ".join(known),
        fix="Name one of these, or a Python file that defines a value `dialect`.",
    )


@cache
def _entry_points() -> Mapping[str, Any]:
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def _offered(point: Any) -> Dialect:
    """The dialect of an installed package. Raises UsageError where it cannot be loaded."""
    package = point.dist.name if point.dist is not None else point.value
    try:
        found = point.load()
    except Exception as error:
        raise UsageError(
            f"the dialect {point.name!r} of the package {package} cannot be loaded: "
            f"{type(error).__name__}: {error}",
            fix=f"mend or uninstall {package}",
        ) from error
    return _checked(found, f"entry point {point.name} of {package}")


def installed() -> tuple[str, ...]:
    """Names of the dialects that other packages offer; a built-in name cannot be taken over."""
    return tuple(name for name in sorted(_entry_points()) if name not in DIALECTS)


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


@cache
def _fitters() -> tuple[tuple[str, Fits], ...]:
    """Every dialect that is asked, with its test."""
    return tuple((name, get(name).fits) for name in (*DIALECTS, *installed()))


def recognise(sampled: Iterable[Any]) -> list[tuple[str, str, float]]:
    """Dialects that fit sampled values: (name, evidence, share of the samples that fit).

    Those of installed packages are asked like the built-in ones. Best first; one entry means
    recognised. Two or none: the caller stops and asks, for no dialect guesses. That a record can
    hold no conversation counts only where nothing else fits.
    """
    values = list(sampled)
    found = []
    for name, fits in _fitters():
        evidence = [words for words in map(fits, values) if words]
        if evidence:
            most = max(sorted(set(evidence)), key=evidence.count)
            found.append((name, most, len(evidence) / len(values)))
    if len(found) > 1:
        found = [entry for entry in found if entry[0] != NOTHING_SAID]
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
