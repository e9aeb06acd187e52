"""Containers that other packages offer: files that tracekit does not know, as JSON records.

A package names a `Container` under the entry point group `tracekit.containers`. It is asked about
a file that is no JSON, Parquet or Arrow and that no dialect reads as text, and about zip archives.
What it gives is spooled once as JSON Lines; from there on it is a file like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tracekit import framing, jsontext
from tracekit.codes import Code
from tracekit.errors import BadRecord, InputError, UsageError
from tracekit.framing import Detected, Limits, open_source

ENTRY_POINTS = "tracekit.containers"
"""Group of entry points under which a package offers containers."""
HEAD_BYTES = 4096
"""What `fits` is shown of a file."""

CODES = (
    Code(
        name="container_failed",
        kind="reject",
        what="The container of an installed package failed here; whole records before are kept.",
        fix="Report it to the package; the detail holds its error.",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """How one kind of file holds its records."""

    name: str
    """Lower-case letters, digits and `_`; stands in the manifest."""
    version: int
    """Raised whenever the same file gives other records."""
    fits: Callable[[Path, bytes], str]
    """(path, first bytes) to evidence in words, or "". By structure, never by name."""
    records: Callable[[Path], Iterator[Any]]
    """JSON values of a file, in order, one after the other."""

    @property
    def label(self) -> str:
        """Name and version, as the manifest has them."""
        return f"{self.name} {self.version}"


@cache
def containers() -> Mapping[str, Container]:
    """Installed containers by label. Raises UsageError where one cannot be loaded."""
    from importlib.metadata import entry_points

    found: dict[str, Container] = {}
    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda p: (p.name, p.value)):
        package = point.dist.name if point.dist is not None else point.value
        try:
            held = point.load()
        except Exception as error:
            raise UsageError(
                f"the container {point.name!r} of the package {package} cannot be loaded: "
                f"{type(error).__name__}: {error}",
                fix=f"mend or uninstall {package}",
            ) from error
        if not isinstance(held, Container):
            raise UsageError(
                f"the entry point {point.name!r} of the package {package} is no container",
                expected="a value of type tracekit.Container",
                fix=f"mend or uninstall {package}",
            )
        if held.label in found:
            raise UsageError(
                f"two packages offer a container {held.label!r}", fix=f"uninstall {package}"
            )
        found[held.label] = held
    return found


def container_of(path: str | Path) -> Container | None:
    """The one installed container that fits a file. Raises UsageError where two do."""
    offered = containers()
    if not offered:
        return None
    with open_source(path) as file:
        head = framing.read_source(file, HEAD_BYTES)
    fitting = [c for c in offered.values() if c.fits(Path(path), head)]
    if len(fitting) > 1:
        names = " and ".join(c.label for c in fitting)
        raise UsageError(f"{names} both take this file", where=str(path), fix="uninstall one")
    return fitting[0] if fitting else None


def detect(
    path: str | Path,
    whole_is_record: Callable[[Any], bool] | None = None,
    limits: Limits | None = None,
) -> Detected:
    """`framing.detect`, with the installed containers: for what it does not know, and archives."""
    try:
        found = framing.detect(path, whole_is_record, limits)
    except InputError:
        own = container_of(path)
        if own is None:
            raise
        return Detected(own.label, "lines")
    own = container_of(path) if found.compression == "zip" else None
    return found if own is None else Detected(own.label, "lines")


def lines(path: Path, container: Container) -> Iterator[tuple[bytes, tuple[str, str] | None]]:
    """(JSON text without a newline, fault) of each record; a fault is the last line.

    One value that is no JSON is a fault of its own, and the others go on.
    """
    k = 0
    try:
        for k, value in enumerate(container.records(path), 1):
            try:
                text = jsontext.dump(value).encode("utf-8")
            except (TypeError, ValueError, RecursionError, BadRecord) as error:
                yield b"", ("container_failed", f"record {k - 1} is no JSON: {error}"[:500])
            else:
                yield text, None
    except Exception as error:
        detail = f"after record {k}: {type(error).__name__}: {error}"[:500]
        yield b"", ("container_failed", detail)
