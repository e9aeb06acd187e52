"""The errors that a user can cause, and the exit code of each.

    TracekitError                    exit
    |- UsageError                    2    wrong option, unknown name, recipe that does not parse
    |- InputError                    65   bad input, unknown or newer format version
    |- LawError                      70   a broken law: a bug of ours, never of the data
    |- StorageError                  74   disk full, I/O error, file altered behind our back
    |- LockedError                   75   another run holds the workspace
    |- CheckFailed                   1    an assertion of `tracekit check` or `verify` failed
    `- BadRecord                     --   never leaves ingest: becomes a reject

Every message has four parts: what, where (file:row, key, id), what was expected, what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

EXIT_OK = 0
EXIT_CHECK_FAILED = 1
EXIT_USAGE = 2
EXIT_INPUT = 65
EXIT_LAW = 70
EXIT_IO = 74
EXIT_LOCKED = 75
EXIT_SIGINT = 130
EXIT_SIGTERM = 143


class TracekitError(Exception):
    """Base of every error that is shown to a user without a traceback.

    what: one sentence. where: `file:row`, a key or an id. expected: what would have been right.
    fix: what to do. wrote: what was or was not written; None where nothing could have been.
    """

    exit_code = 1

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        expected: str | None = None,
        fix: str | None = None,
        wrote: str | None = None,
        excerpt: str | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.expected = expected
        self.fix = fix
        self.wrote = wrote
        self.excerpt = excerpt

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  --> {self.where}")
        if self.excerpt:
            lines.append(self.excerpt)
        if self.expected:
            lines.append(f"  expected: {self.expected}")
        if self.fix:
            lines.append(f"  fix: {self.fix}")
        if self.wrote:
            lines.append(f"  {self.wrote}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions cross process borders; keyword-only arguments need this to survive pickling.
        state = dict(self.__dict__)
        return (_rebuild, (type(self), self.what, state))


def _rebuild(cls: type[TracekitError], what: str, state: dict[str, object]) -> TracekitError:
    error = cls.__new__(cls)
    Exception.__init__(error, what)
    error.__dict__.update(state)
    return error


class UsageError(TracekitError):
    """A wrong option, an unknown name, a recipe that does not parse. Nothing was read."""

    exit_code = EXIT_USAGE


class InputError(TracekitError):
    """Input that cannot be used, or a format version that this release does not know."""

    exit_code = EXIT_INPUT


class LawError(TracekitError):
    """A conservation law does not hold. The run stops and leaves no manifest."""

    exit_code = EXIT_LAW


class StorageError(TracekitError):
    """The disk is full, an operation failed, or a file is not what the manifest says."""

    exit_code = EXIT_IO


class LockedError(TracekitError):
    """Another run holds the workspace."""

    exit_code = EXIT_LOCKED


class CheckFailed(TracekitError):
    """An assertion about a finished set failed."""

    exit_code = EXIT_CHECK_FAILED


class BadRecord(Exception):
    """A record that cannot become a trace. `code` is declared by the dialect that raises it."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code = code
        self.detail = detail


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` Did you mean 'x'?`, or an empty string where nothing is near.

    >>> did_you_mean("max_token", ["max_tokens", "seed"])
    " Did you mean 'max_tokens'?"
    """
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else ""
