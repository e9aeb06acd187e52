"""What an ingest will do: every file hashed, cut and recognised; one batch a source and dialect.

Files that the workspace has are skipped by path and hash; a file that changed stops the run with
the two ways out. Recognition is by structure: where no dialect fits a file, or more than one, the
run stops and names them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tracekit import dialects, ingesting, inputs, plugged, spool, tool_catalogue
from tracekit.containers import read_slices
from tracekit.dialects import mapping
from tracekit.dialects.dialect import Dialect
from tracekit.errors import InputError, TracekitError, UsageError
from tracekit.framing import Limits
from tracekit.ingesting import IngestJob
from tracekit.manifest import Batch, FileEntry, Manifest, PartEntry, fingerprint
from tracekit.parts import Part, Plan, plan_parts, plan_session_parts
from tracekit.recipe import Recipe
from tracekit.recipe_sections import INFERRED
from tracekit.types import SCHEMA_VERSION
from tracekit.workspace import Workspace

SAMPLED_RECORDS = 12
"""Records of the first and of the last slice of a file that recognition looks at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which records are read: all, or a part that is marked in the manifest."""

    limit: int | None = None
    sample: str | None = None

    def __str__(self) -> str:
        words = [f"limit {self.limit}"] if self.limit is not None else []
        words += [f"sample {self.sample}"] if self.sample is not None else []
        return ", ".join(words)


@dataclass(frozen=True, slots=True)
class Planned:
    """One batch before it is read."""

    batch: Batch
    dialect: Dialect
    evidence: str
    """Why this dialect, in words."""
    parts: tuple[Part, ...]
    jobs: tuple[IngestJob, ...]


@dataclass(frozen=True, slots=True)
class Planning:
    """What an ingest will do."""

    manifest: Manifest
    batches: tuple[Planned, ...]
    n_unchanged: int
    """Files that are in the workspace already."""
    skipped: tuple[inputs.Skipped, ...]
    empty: tuple[str, ...]
    """Files without a record."""
    known: dict[str, PartEntry]
    """`source/part` of batches that are read again: what is whole there is not made anew."""


def plan(
    recipe: Recipe, work: Workspace, manifest: Manifest, selection: Selection, *, replaced: bool
) -> Planning:
    """Hash, cut and recognise every file that the workspace does not have yet.

    Raises InputError for a file that changed since it was ingested (unless `replaced`) and for one
    that no dialect, or more than one, fits.
    """
    batches: list[Planned] = []
    skipped: list[inputs.Skipped] = []
    empty: list[str] = []
    n_unchanged = 0
    known = {f"{b.source}/{p.name}": p for b, p in manifest.parts()}
    for name in recipe.sources:
        try:
            found = inputs.expand(
                list(recipe.paths(name)), source=name, spool_folder=work.spool,
                whole_is_record=is_record(recipe, name),
            )  # fmt: skip
        except TracekitError as error:
            error.wrote = error.wrote or "nothing was written"
            raise
        skipped += found.skipped
        (source,) = found.sources
        fresh, manifest, n_same = _fresh(source, work, manifest, str(selection), replaced)
        n_unchanged += n_same
        if not fresh:
            continue
        taken = {b.number for b in manifest.batches if b.source == name}
        free = (n for n in itertools.count() if n not in taken)
        for dialect, evidence, files in _by_dialect(recipe, name, source.root, fresh, work, empty):
            planned = _batch(
                recipe, work, name, source.root, dialect, evidence, files, next(free), selection
            )
            batches.append(planned)
    return Planning(manifest, tuple(batches), n_unchanged, tuple(skipped), tuple(empty), known)


def _fresh(
    source: inputs.SourceFiles, work: Workspace, manifest: Manifest, partial: str, replaced: bool
) -> tuple[list[str], Manifest, int]:
    """Files to read, the manifest without batches that are replaced, and files already here."""
    here = {f.name: (f, b) for b in manifest.batches if b.source == source.name for f in b.files}
    fresh: list[str] = []
    # A part whose file is gone (deleted, as the error for a damaged one advises) is made anew.
    stale = {
        (b.source, b.number)
        for b, p in manifest.parts()
        if b.source == source.name
        and not all(work.file(thing, b.source, p.name).exists() for thing in p.files)
    }
    n_same = 0
    if replaced:
        # All is planned again: parts of the same bytes, dialect and options keep their fingerprint
        # and are not made anew.
        stale |= {(b.source, b.number) for b in manifest.batches if b.source == source.name}
    for name in source.files:
        if name not in here:
            fresh.append(name)
            continue
        entry, batch = here[name]
        if replaced:
            continue
        changed = spool.hash_of(source.root / name) != entry.xxh3_128
        other = (batch.partial or "") != partial
        if not changed and not other:
            n_same += 1
            continue
        if not other:
            raise InputError(
                "this file changed since it was ingested",
                where=str(source.root / name),
                expected="the bytes that the workspace was made from",
                fix="--replace reads its batch again, or give the new file to a new source "
                "(--source NAME=PATH)",
                wrote="nothing was written",
            )
        stale.add((batch.source, batch.number))
    if stale:
        keep = tuple(b for b in manifest.batches if (b.source, b.number) not in stale)
        again = [f.name for b in manifest.batches if (b.source, b.number) in stale for f in b.files]
        fresh = sorted({*fresh, *(f for f in again if f in source.files)})
        manifest = replace(manifest, batches=keep)
        n_same = len(source.files) - len(fresh)
    return fresh, manifest, n_same


def _fits_whole(dialect: Dialect | None) -> Callable[[Any], bool]:
    if dialect is not None:
        return lambda value: bool(dialect.fits(value))
    return lambda value: bool(dialects.recognise([value]))


def is_record(recipe: Recipe, source: str) -> Callable[[Any], bool]:
    """Does a value look like a record of a source? Of its dialect, or of any where none is."""
    return _fits_whole(_given(recipe, source))


def _given(recipe: Recipe, source: str) -> Dialect | None:
    """The dialect that the recipe names for a source, or that its mapping is."""
    name = _given_name(recipe, source)
    return None if name is None else dialects.get(name)


def _given_name(recipe: Recipe, source: str) -> str | None:
    """A name under which every process gets the dialect that the recipe states."""
    mapped, given = recipe.sources[source].mapping, recipe.sources[source].dialect
    if mapped is not None:
        return mapping.name_of(mapped.model_dump(mode="json", exclude_none=True))
    return recipe.resolve(given) if given is not None and given.endswith(".py") else given


def _by_dialect(
    recipe: Recipe, name: str, root: Path, files: Sequence[str], work: Workspace, empty: list[str]
) -> list[tuple[Dialect, str, list[str]]]:
    """Files grouped by the dialect that reads them, with the evidence."""
    dialect = _given(recipe, name)
    if dialect is not None:
        named = recipe.sources[name].mapping is None
        why = "named in the recipe" if named else "the mapping of the recipe"
        return [(dialect, why, list(files))]
    first = plan_parts(
        name, root, files, spool_folder=work.spool, part_bytes=recipe.ingest.part_bytes,
        whole_object_is_record=_fits_whole(None), limits=_limits(recipe),
    )  # fmt: skip
    groups: dict[str, tuple[Dialect, str, list[str]]] = {}
    slices: dict[str, list[Any]] = {}
    for part in first.parts:
        for one in part.slices:
            slices.setdefault(one.file, []).append(one)
    for file in first.files:
        values = _sampled_values(slices.get(file.name, []), _limits(recipe))
        if not values and file.n_rows == 0:
            empty.append(f"{name}:{file.name}")
        found = dialects.recognise(values)
        if not found and not values:
            # nothing parses, so any dialect gives the same rejects; the first one stands for all
            found = [(next(iter(dialects.DIALECTS)), "no record parses", 1.0)]
        chosen = dialects.choose(found)
        if chosen is None:
            raise _unrecognised(root / file.name, found, values)
        dialect = dialects.get(chosen)
        group = groups.setdefault(dialect.name, (dialect, found[0][1], []))
        group[2].append(file.name)
    return list(groups.values())


def _sampled_values(slices: Sequence[Any], limits: Limits) -> list[Any]:
    values: list[Any] = []
    for one in dict.fromkeys([*slices[:1], *slices[-1:]]):
        n = 0
        for _, record in read_slices([one], limits):
            if record.error is None:
                values.append(record.value)
            n += 1
            if n >= SAMPLED_RECORDS:
                break
    return values


def _unrecognised(
    path: Path, found: Sequence[tuple[str, str, float]], values: Sequence[Any]
) -> InputError:
    if found:
        many = "more than one dialect fits" if len(found) > 1 else "one dialect fits too little of"
        what = f"{many} this file: " + "; ".join(
            f"{name} ({evidence}, {share:.0%} of the records)" for name, evidence, share in found
        )
    else:
        shape = values[0] if values else None
        seen = (
            f"keys {', '.join(list(shape)[:12])}"
            if isinstance(shape, dict)
            else type(shape).__name__
        )
        what = f"no dialect fits this file (its first record: {seen})"
    return InputError(
        what,
        where=str(path),
        expected="records of one of: " + ", ".join(dialects.DIALECTS),
        fix="name it with --dialect NAME (or a Python file with a dialect), or leave the file out",
        wrote="nothing was written",
    )


def _limits(recipe: Recipe) -> Limits:
    return Limits(record_bytes=recipe.ingest.record_bytes)


def _batch(
    recipe: Recipe,
    work: Workspace,
    name: str,
    root: Path,
    dialect: Dialect,
    evidence: str,
    files: Sequence[str],
    number: int,
    selection: Selection,
) -> Planned:
    source = recipe.sources[name]
    options = dict(source.options)
    dialects.check_options(dialect, {k: str(v) for k, v in options.items()})
    common: dict[str, Any] = {
        "spool_folder": work.spool,
        "batch": number,
        "part_bytes": recipe.ingest.part_bytes,
        "whole_object_is_record": _fits_whole(dialect),
        "limits": _limits(recipe),
    }
    if dialect.unit == "session":
        made = plan_session_parts(
            name, root, files, key=dialect.key, joins=dialect.joins, links=dialect.links, **common
        )
    else:
        made = plan_parts(name, root, files, unit=dialect.unit, **common)
    hashes = {f.name: f.hash for f in made.files}
    limit = (
        selection.limit
        if source.limit is None
        else min(source.limit, selection.limit or source.limit)
    )
    share = _share(selection.sample, made, recipe.seed)
    given = _given_name(recipe, name)
    made_by = [_made_by(given)] if dialect.name not in dialects.DIALECTS else []
    made_by += sorted({f.compression for f in made.files} & plugged.containers().keys())
    tools = _tools(recipe, name)
    jobs = []
    n_left = limit
    for part in made.parts:
        n_units = len(part.unit_slices) if dialect.unit != "record" else _rows(part, made)
        if n_left is not None and n_left <= 0:
            break
        take = None if n_left is None or n_left >= n_units else n_left
        n_left = None if n_left is None else n_left - n_units
        made_from = fingerprint(
            [
                "traces", ingesting.VERSION, SCHEMA_VERSION, name, part.name,
                [
                    (s.file, hashes[s.file], s.framing, s.first_row, s.start, s.end, s.fault)
                    for s in part.slices
                ],
                dialect.name, dialect.version, *made_by, options, take, share,
                recipe.ingest.record_bytes, *([] if tools is None else [tools.made_from()]),
            ]
        )  # fmt: skip
        jobs.append(
            IngestJob(
                work=str(work.folder), part=part, dialect=given or dialect.name,
                options=options, tools=tools, fingerprint=made_from, limits=_limits(recipe),
                sample=share, max_units=take,
            )
        )  # fmt: skip
    entries = tuple(
        FileEntry(
            name=f.name, n_bytes=f.size_bytes, xxh3_128=f.hash, framing=f.framing,
            compression=f.compression, n_rows=f.n_rows,
        )
        for f in made.files
    )  # fmt: skip
    words = Selection(limit=limit, sample=selection.sample)
    batch = Batch(
        source=name, number=number, dialect=dialect.name, dialect_version=dialect.version,
        files=entries, parts=(), partial=str(words) or None,
    )  # fmt: skip
    return Planned(batch, dialect, evidence, made.parts, tuple(jobs))


def _made_by(name: str | None) -> str:
    """What a dialect of a recipe is made from beside its version: its file, or its mapping."""
    if name is None or not name.endswith(".py"):
        return name or ""
    return spool.hash_of(Path(name))


def _tools(recipe: Recipe, source: str) -> tool_catalogue.ToolSource | None:
    given = recipe.tools_from(source)
    if given is None:
        return None
    if given.catalogue == INFERRED:
        return tool_catalogue.ToolSource(None)
    return tool_catalogue.load(given.catalogue, given.offer)


def _rows(part: Part, made: Plan) -> int:
    """Rows of a part of unit `record`: to the next slice of the file, or to its end."""
    starts: dict[str, list[int]] = {}
    for p in made.parts:
        for s in p.slices:
            starts.setdefault(s.file, []).append(s.first_row)
    ends = {f.name: f.n_rows for f in made.files}
    total = 0
    for s in part.slices:
        later = [r for r in starts[s.file] if r > s.first_row]
        total += (min(later) if later else ends[s.file]) - s.first_row
    return total


def _share(sample: str | None, made: Plan, seed: int) -> tuple[int, float] | None:
    """(seed, share of the hash range) that takes the asked share, or about the asked number."""
    if sample is None:
        return None
    if sample.endswith("%"):
        return seed, float(sample[:-1]) / 100
    total = sum(len(p.unit_slices) for p in made.parts) or sum(f.n_rows for f in made.files)
    return seed, min(1.0, int(sample) / max(total, 1))


def dry_run(planning: Planning) -> list[tuple[Any, ...]]:
    """Rows of (source, dialect, why, files, parts, bytes) for what would be read."""
    return [
        (
            p.batch.source, p.dialect.name, p.evidence, len(p.batch.files), len(p.jobs),
            sum(f.n_bytes for f in p.batch.files),
        )
        for p in planning.batches
    ]  # fmt: skip


def check_selection(selection: Selection) -> None:
    """Raise UsageError for a selection that takes nothing."""
    if selection.limit is not None and selection.limit < 1:
        raise UsageError("--limit takes nothing", expected="a number of records from 1 on")
