"""The manifest: what a workspace holds, made from what. Written last: it is the commit.

No clock, no host, no path of the machine: two workspaces compare by `diff`. A worker's *receipt*
says the same of one part before the manifest does; a receipt counts only while the files that it
names have the hashes that it names.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tracekit import door
from tracekit.errors import InputError, StorageError
from tracekit.workspace import Workspace

if TYPE_CHECKING:
    from pydantic import TypeAdapter

FORMAT = 1
"""Version of the workspace. A newer one is refused, with nothing written."""

_CONFIG: dict[str, Any] = {"extra": "forbid", "use_attribute_docstrings": True}


def fingerprint(value: Any) -> str:
    """xxh3-128 of the canonical JSON of a value, as hex.

    >>> fingerprint({"b": 1, "a": 2}) == fingerprint({"a": 2, "b": 1})
    True
    """
    import orjson
    import xxhash

    return xxhash.xxh3_128_hexdigest(orjson.dumps(value, option=orjson.OPT_SORT_KEYS))


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """One ingested input file."""

    __pydantic_config__: ClassVar[Any] = _CONFIG

    name: str
    """Path below the source's root."""
    n_bytes: int
    xxh3_128: str
    """Hash of the bytes as they stand on disk, compressed or not."""
    framing: str
    compression: str
    n_rows: int
    """Rows that its records span, blank lines among them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartEntry:
    """One trace part and what became of its records."""

    __pydantic_config__: ClassVar[Any] = _CONFIG

    name: str
    fingerprint: str
    n_records: int = 0
    """Records read; blank lines are none."""
    n_merged: int = 0
    """Records in the provenance of a trace."""
    n_events: int = 0
    n_rejects: int = 0
    n_units: int = 0
    n_rejected_units: int = 0
    """Units without any trace."""
    n_traces: int = 0
    n_lost: int = 0
    """Rejects by time or memory limits: these rows are not reproducible."""
    rejects: dict[str, int] = field(default_factory=dict)
    events: dict[str, int] = field(default_factory=dict)
    repairs: dict[str, int] = field(default_factory=dict)
    unknown_keys: dict[str, int] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)
    """What else a dialect counted, such as the names of fields that it read from."""
    files: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each table: traces, rejects, events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one ingest added to a source."""

    __pydantic_config__: ClassVar[Any] = _CONFIG

    source: str
    number: int
    dialect: str
    dialect_version: int
    files: tuple[FileEntry, ...]
    parts: tuple[PartEntry, ...]
    partial: str | None = None
    """`limit 100`, `sample 5%`: only these records were read."""
    n_blank_lines: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceEntry:
    """One part of one evidence family."""

    __pydantic_config__: ClassVar[Any] = _CONFIG

    fingerprint: str
    sha256: str
    n_rows: int
    by_reference: bool = False
    """For `tokens`: the fast encoder was wrong on a sampled text, so its reference counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What is here, made from what."""

    __pydantic_config__: ClassVar[Any] = _CONFIG

    format: int = FORMAT
    tracekit: str = ""
    recipe: dict[str, Any] = field(default_factory=dict)
    """The effective recipe of the last run."""
    source_order: tuple[str, ...] = ()
    """Sources of the recipe by priority: JSON with sorted keys does not keep their order."""
    batches: tuple[Batch, ...] = ()
    evidence: dict[str, dict[str, EvidenceEntry]] = field(default_factory=dict)
    """family -> `source/part` -> entry."""
    pairs: dict[str, Any] = field(default_factory=dict)
    ledger: dict[str, Any] = field(default_factory=dict)
    law: tuple[str, ...] = ()
    """Both conservation laws in numbers, as last checked."""
    n_not_reproducible: int = 0
    """Rows lost to time or memory limits; 0 means a second run gives the same bytes."""

    def parts(self) -> list[tuple[Batch, PartEntry]]:
        """Every trace part, in the one order that all work uses."""
        return [(b, p) for b in self.batches for p in b.parts]


@cache
def _door() -> TypeAdapter[Manifest]:
    from pydantic import TypeAdapter

    return TypeAdapter(Manifest)


def load(work: Workspace) -> Manifest:
    """The manifest of a workspace, empty where there is none.

    Raises InputError for a newer format, StorageError for a manifest that is damaged.
    """
    if not work.manifest.exists():
        return Manifest()
    with door.guarded("read", work.manifest):
        text = work.manifest.read_bytes()
    try:
        raw = json.loads(text)
        version = raw["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(work.manifest, str(error)) from error
    if not isinstance(version, int) or version > FORMAT:
        raise InputError(
            f"this workspace has format {version}; this release of tracekit reads up to {FORMAT}",
            where=str(work.manifest),
            fix="upgrade tracekit, or make a new workspace",
            wrote="nothing was written",
        )
    seal = raw.pop("seal", None)
    if seal != fingerprint(raw):
        raise _damaged(work.manifest, "its seal does not fit its content")
    try:
        return _in_order(_door().validate_python(raw))
    except ValueError as error:
        raise _damaged(work.manifest, str(error)) from error


def _in_order(manifest: Manifest) -> Manifest:
    """Sources of the recipe in their order: an earlier one wins where a duplicate could stay."""
    sources = manifest.recipe.get("sources", {})
    if not manifest.source_order or set(manifest.source_order) != set(sources):
        return manifest
    recipe = {**manifest.recipe, "sources": {name: sources[name] for name in manifest.source_order}}
    return replace(manifest, recipe=recipe)


def _damaged(path: Path, detail: str) -> StorageError:
    return StorageError(
        f"the manifest is damaged or was edited by hand ({detail.splitlines()[0]})",
        where=str(path),
        expected="a manifest as tracekit wrote it",
        fix="restore it from a copy, or delete the workspace and ingest again",
        wrote="nothing was written",
    )


def save(work: Workspace, manifest: Manifest) -> None:
    """Write the manifest: the commit point of every command."""
    import orjson

    from tracekit import __version__

    value = orjson.loads(orjson.dumps(asdict(replace(manifest, tracekit=__version__))))
    door.write_json(work.manifest, {**value, "seal": fingerprint(value)})


def forget(work: Workspace, old: Manifest, new: Manifest) -> None:
    """Commit that the manifest names less, before what it named is overwritten.

    Without this, a run that dies in between leaves a manifest that names files with the hashes of
    other ones, and the recipe that they were made with would find them damaged.
    """
    if new != old and work.manifest.exists():
        save(work, new)


def read_receipt(path: Path, made_from: str, folder: Path) -> dict[str, Any] | None:
    """The receipt of a finished part, or None where it is absent, stale or its files differ.

    `folder` is where the relative file names of the receipt lie.
    """
    if not path.exists():
        return None
    try:
        receipt: dict[str, Any] = json.loads(path.read_bytes())
        if receipt["fingerprint"] != made_from:
            return None
        for name, sha256 in receipt["paths"].items():
            if not (folder / name).exists() or door.sha256_of(folder / name) != sha256:
                return None
    except (ValueError, KeyError, TypeError, StorageError):
        return None
    return receipt


def json_schema() -> dict[str, Any]:
    """JSON Schema of manifest.json."""
    return _door().json_schema()
