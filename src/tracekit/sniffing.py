"""What is this folder: container, dialect, how sure and why, sizes, odd files, benchmarks.

Every file is looked into at its head, middle and tail and recognised by structure; nothing is
written and nothing is chosen: an ingest recognises again, or reads what a recipe names.
"""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tracekit import dialects, inputs, jsontext
from tracekit.benchmarks import benchmark_of
from tracekit.dialects.dialect import Dialect, Notes, Record
from tracekit.drawing import folded, lines
from tracekit.errors import BadRecord, InputError, TracekitError
from tracekit.glimpse import WHOLE_BYTES, Glimpse, glimpse, whole_records
from tracekit.report import Report, Table

SAMPLED_IN_ALL = 4000
"""Records that are looked at over all files; MIN_SAMPLES to MAX_SAMPLES of each."""
MIN_SAMPLES = 4
MAX_SAMPLES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Sniffed:
    """One file and what it seems to be."""

    root: Path
    """The folder that was named, or the folder of the file that was."""
    name: str
    """Path below root, with `/`."""
    n_bytes: int = 0
    container: str = ""
    dialect: str | None = None
    """The one dialect that fits; None for an odd file."""
    evidence: str = ""
    share: float = 0.0
    """Share of the sampled records that the dialect fits."""
    n_sampled: int = 0
    n_records: int = 0
    exact: bool = True
    example: str = ""
    """Place of the first record that was looked at."""
    benchmark: tuple[str, str] | None = None
    """(which one, why)."""
    odd: str = ""
    """Why the file is of no dialect."""
    problems: tuple[str, ...] = ()
    """What is broken at the places that were looked at."""

    @property
    def folder(self) -> str:
        """First folder below root; `.` for what lies in root itself."""
        first, slash, _ = self.name.partition("/")
        return first if slash else "."

    @property
    def path(self) -> Path:
        return self.root / self.name


@dataclass(frozen=True, slots=True)
class Group:
    """Files of one folder that are the same: container, dialect, benchmark."""

    root: Path
    folder: str
    container: str
    dialect: str
    benchmark: tuple[str, str] | None
    files: tuple[Sniffed, ...]

    @property
    def n_records(self) -> int:
        return sum(f.n_records for f in self.files)

    @property
    def exact(self) -> bool:
        return all(f.exact for f in self.files)

    @property
    def evidence(self) -> str:
        words = [f.evidence for f in self.files]
        return max(sorted(set(words)), key=words.count)

    @property
    def sure(self) -> str:
        """`yes`, or how many of the records that were looked at the dialect fits."""
        n = sum(f.n_sampled for f in self.files)
        n_fit = sum(round(f.share * f.n_sampled) for f in self.files)
        return "yes" if n_fit == n else f"{n_fit} of {n}"


def _is_record(value: Any) -> bool:
    return bool(dialects.recognise([value]))


def look(paths: Sequence[str]) -> tuple[list[Sniffed], list[inputs.Skipped]]:
    """Every file below paths, and what a folder holds that is no file of records.

    Raises InputError, UsageError where a path does not exist or a folder holds nothing.
    """
    found: list[tuple[Path, str]] = []
    skipped: list[inputs.Skipped] = []
    for path in dict.fromkeys(paths):
        expansion = inputs.expand([path], whole_is_record=_is_record)
        skipped += expansion.skipped
        found += [(source.root, name) for source in expansion.sources for name in source.files]
    n_samples = min(MAX_SAMPLES, max(MIN_SAMPLES, SAMPLED_IN_ALL // max(1, len(found))))
    return [_sniff(root, name, n_samples) for root, name in dict.fromkeys(found)], skipped


def _sniff(root: Path, name: str, n_samples: int) -> Sniffed:
    path = root / name
    try:
        seen = glimpse(path, n_samples, _is_record)
    except TracekitError as error:
        n_bytes = path.stat().st_size if path.exists() else 0
        return Sniffed(root=root, name=name, n_bytes=n_bytes, odd=error.what)
    candidates = dialects.recognise(seen.values)
    chosen = dialects.choose(candidates) or _mostly(candidates)
    _, evidence, share = candidates[0] if chosen is not None else ("", "", 0.0)
    strange = [
        f"about {other_share:.0%} of the records are of {other} ({words}): rejects under {chosen}"
        for other, words, other_share in candidates[1:]
        if chosen is not None
    ]
    return Sniffed(
        root=root,
        name=name,
        n_bytes=seen.n_bytes,
        container=seen.container,
        dialect=chosen,
        evidence=evidence,
        share=share,
        n_sampled=len(seen.values),
        n_records=seen.n_records,
        exact=seen.exact,
        example=name + (seen.places[0] if seen.places else ""),
        benchmark=benchmark_of(f"{root.name}/{name}", seen.values),
        odd="" if chosen is not None else _why_odd(candidates, seen),
        problems=(*seen.problems, *strange),
    )


MOSTLY_SHARE = 0.9
"""Share of the records from which a file is of one dialect, though others are in it too."""


def _mostly(candidates: Sequence[tuple[str, str, float]]) -> str | None:
    """The dialect of nearly all records, where the others fit only what it does not fit."""
    if not candidates or candidates[0][2] < MOSTLY_SHARE:
        return None
    return candidates[0][0] if sum(share for *_, share in candidates) <= 1.0001 else None


def _why_odd(candidates: Sequence[tuple[str, str, float]], seen: Glimpse) -> str:
    if len(candidates) > 1:
        return "more than one dialect fits: " + "; ".join(
            f"{name} ({evidence}, {share:.0%})" for name, evidence, share in candidates
        )
    if candidates:
        name, evidence, share = candidates[0]
        return f"{name} fits only {share:.0%} of {len(seen.values)} records ({evidence})"
    if seen.problems:
        return f"broken: {seen.problems[0]}"
    if not seen.values:
        return "empty: no record"
    first = seen.values[0]
    shape = f"keys {', '.join(list(first)[:8])}" if isinstance(first, dict) else _kind(first)
    return f"no dialect fits (first record: {shape})"


def _kind(value: Any) -> str:
    names = {list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def groups_of(files: Sequence[Sniffed]) -> list[Group]:
    """Recognised files by root, folder, container, dialect and benchmark, in order."""
    found: dict[tuple[Path, str, str, str, tuple[str, str] | None], list[Sniffed]] = {}
    for one in files:
        if one.dialect is not None:
            key = (one.root, one.folder, one.container, one.dialect, one.benchmark)
            found.setdefault(key, []).append(one)
    return [
        Group(root, folder, container, dialect, benchmark, tuple(held))
        for (root, folder, container, dialect, benchmark), held in found.items()
    ]


def sniff(paths: Sequence[str], *, n_shown: int = 0) -> Report:
    """What files and folders hold; n_shown: examples of each kind, parsed beside raw."""
    files, skipped = look(paths)
    groups = groups_of(files)
    odd = [f for f in files if f.dialect is None]
    left_out = [(s.path, s.reason) for s in skipped]
    broken = [(str(f.path), p) for f in files if f.dialect is not None for p in f.problems]
    columns = (
        "folder", "container", "dialect", "why", "sure", "files", "records", "counted", "bytes",
        "example",
    )  # fmt: skip
    n_roots = len({f.root for f in files})
    rows = [
        (
            _shown(g, n_roots), g.container, g.dialect, g.evidence, g.sure, len(g.files),
            g.n_records, "exactly" if g.exact else "about", sum(f.n_bytes for f in g.files),
            g.files[0].example,
        )
        for g in groups
    ]  # fmt: skip
    table = Table("", columns, tuple(rows))
    tables = [table] if rows else []
    if odd:
        tables.append(_odd_table(odd))
    for title, held in (("broken places", broken), ("left out", left_out)):
        if held:
            tables.append(Table(title, ("file", "why"), tuple(held)))
    n_sampled = sum(f.n_sampled for f in files)
    return Report(
        tables=tables,
        text=[block for g in groups for block in _examples(g, n_shown)] if n_shown else (),
        law=[
            f"{sum(len(g.files) for g in groups):,} of {n_of(len(files), 'file')} recognised by "
            f"{n_of(n_sampled, 'record')} from their head, middle and tail; "
            f"{sum(f.n_bytes for f in files):,} bytes in all"
        ],
        notes=_benchmark_notes(files),
        hints=_hints(paths, groups, odd),
        data={
            "groups": [
                {
                    **record,
                    "root": str(g.root),
                    "benchmark": g.benchmark and g.benchmark[0],
                    "files": [f.name for f in g.files],
                }
                for g, record in zip(groups, table.records(), strict=True)
            ],
            "odd": [{"file": str(f.path), "why": f.odd, "benchmark": f.benchmark} for f in odd],
            "broken": [{"file": file, "why": why} for file, why in broken],
            "left_out": [{"file": file, "why": why} for file, why in left_out],
        },
    )


def n_of(n: int, word: str) -> str:
    """A number with its word.

    >>> n_of(1, "file"), n_of(2000, "record")
    ('1 file', '2,000 records')
    """
    return f"{n:,} {word}" if n == 1 else f"{n:,} {word}s"


def odd_groups(files: Sequence[Sniffed]) -> list[list[Sniffed]]:
    """Files of no dialect, those of one folder with the same reason together."""
    found: dict[tuple[Path, str, str], list[Sniffed]] = {}
    for one in files:
        if one.dialect is None:
            found.setdefault((one.root, one.folder, one.odd), []).append(one)
    return list(found.values())


def _odd_table(files: Sequence[Sniffed]) -> Table:
    rows = [(g[0].folder, len(g), str(g[0].path), g[0].odd) for g in odd_groups(files)]
    return Table("odd files", ("folder", "files", "file", "why"), tuple(rows))


def _benchmark_notes(files: Sequence[Sniffed]) -> list[str]:
    found: dict[tuple[str, tuple[str, str]], list[Sniffed]] = {}
    for one in files:
        if one.benchmark is not None:
            found.setdefault((one.folder, one.benchmark), []).append(one)
    return [
        f"{folder} looks like {name}: {why} ({n_of(len(held), 'file')}, first {held[0].name}). "
        "Not to be trained on: `use: eval-only`, as `tracekit init` writes it"
        for (folder, (name, why)), held in found.items()
    ]


def _hints(paths: Sequence[str], groups: Sequence[Group], odd: Sequence[Sniffed]) -> list[str]:
    hints = [f"tracekit init {shlex.join(paths)} -o recipe.yaml"] if groups else []
    if odd:
        hints.append(f"tracekit ingest {shlex.quote(str(odd[0].path))} --dialect NAME")
    return hints


def _shown(group: Group, n_roots: int) -> str:
    """Folder of a group; with the name of its root where several were named."""
    if n_roots == 1:
        return group.folder
    return group.root.name if group.folder == "." else f"{group.root.name}/{group.folder}"


MOST_TRIED = 8
"""Files of a kind, and units of a file, that are tried for an example that becomes a trace."""


def _examples(group: Group, n_examples: int) -> list[str]:
    shown: list[str] = []
    for one in group.files[:MOST_TRIED]:
        blocks, n_traces = show(one, n_examples)
        shown = shown or blocks
        if n_traces:
            return blocks
    return shown


def show(one: Sniffed, n_examples: int) -> tuple[list[str], int]:
    """The raw records of the first units of a file, each with its traces, and how many those are.

    One block of text for the raw records of a unit, one for what it becomes.
    """
    assert one.dialect is not None
    dialect = dialects.get(one.dialect)
    blocks: list[str] = []
    n_traces = 0
    try:
        units = _units(one, dialect, max(n_examples, MOST_TRIED))
    except InputError as error:
        return [f"{one.path}: {error.what}"], 0
    tried = [(unit, *_parsed(unit, dialect)) for unit in units]
    # A session log may begin with lines that are no session: what becomes a trace comes first.
    tried.sort(key=lambda entry: not entry[2])
    for unit, parsed, n in tried[:n_examples]:
        raw = [folded(jsontext.dump(r.value)) for r in unit[:MAX_SHOWN_RECORDS]]
        if len(unit) > MAX_SHOWN_RECORDS:
            raw.append(f"... and {len(unit) - MAX_SHOWN_RECORDS:,} more records of this unit")
        n_traces += n
        blocks.append(f"{one.path} [{unit[0].row}], raw:\n" + "\n".join(raw))
        blocks.append(f"as {one.dialect}:\n" + "\n".join(parsed))
    return blocks, n_traces


MAX_SHOWN_RECORDS = 6
"""Raw records of a session that are shown."""


def _units(one: Sniffed, dialect: Dialect, n_units: int) -> list[list[Record]]:
    """Records of the first units of a file, read as an ingest does."""
    if dialect.unit != "record" and one.n_bytes > 4 * WHOLE_BYTES:
        raise InputError(f"too large to show a whole {dialect.unit} ({one.n_bytes:,} bytes)")
    units: dict[Any, list[Record]] = {}
    with tempfile.TemporaryDirectory(prefix="tracekit-") as folder:
        _, found = whole_records(one.path, _is_record, Path(folder))
        last: Any = None
        for _, raw in found:
            if raw.error is not None:
                continue
            key = raw.row if dialect.unit == "record" else dialect.key(raw.value) or last
            last = key
            units.setdefault(key, []).append(Record(one.name, raw.row, raw.value))
            if dialect.unit == "record" and len(units) >= n_units:
                break
    return list(units.values())[:n_units]


def _parsed(unit: Sequence[Record], dialect: Dialect) -> tuple[list[str], int]:
    """Lines of the traces that a unit becomes, or why it becomes none; how many traces."""
    from tracekit.schema import trace_door

    notes = Notes()
    try:
        found = dialect.read(unit, notes, {})
    except BadRecord as error:
        return [f"REJECT {error}"], 0
    out = []
    for k, value in enumerate(found):
        value.pop("rows", None)
        place = {"file": unit[0].file, "first": unit[0].row, "last": unit[-1].row}
        value |= {"id": f"s#{k}", "source": "s", "provenance": [place]}
        out += lines(asdict(trace_door().validate_python(value)))
    told = [*(f"{n} x {code}" for code, n in sorted(notes.repairs.items()))]
    told += [f"key {key} kept in meta" for key in sorted(notes.unknown_keys)]
    told += [n_of(len(notes.events), "event")] if notes.events else []
    told += [f"REJECT {code}: {detail}" for _, code, detail in notes.rejects]
    return [*out, *(["noted: " + "; ".join(told)] if told else [])], len(found)
